//! argv to options: names, arity, order. Nothing is interpreted and nothing is lost here.

use crate::{UsageError, nearest};

/// What an option takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
}

use Takes::{Nothing, Value};

/// An option we serve: name, aliases are separate entries, arity, help (argument, text).
pub(crate) struct Known {
    pub(crate) name: &'static str,
    takes: Takes,
    pub(crate) argument: &'static str,
    pub(crate) help: &'static str,
}

const fn k(name: &'static str, takes: Takes, argument: &'static str, help: &'static str) -> Known {
    Known { name, takes, argument, help }
}

pub(crate) const KNOWN: &[Known] = &[
    k("h", Nothing, "", "display this help and exit"),
    k("help", Nothing, "", ""),
    k("version", Nothing, "", "display version information and exit"),
    k("machine", Value, "[type=]name[,prop=value...]", "select the machine ('-machine help' for a list)"),
    k("M", Value, "", "same as -machine"),
    k("cpu", Value, "model[,+feature][,-feature]", "select the CPU ('-cpu help' for a list)"),
    k("accel", Value, "[accel=]name[,prop=value...]", "select an accelerator; several are tried in order"),
    k("smp", Value, "[cpus=]n[,maxcpus=][,sockets=][,cores=][,threads=]", "number and arrangement of CPUs"),
    k("m", Value, "[size=]megs", "guest RAM, MiB without a suffix (default 128)"),
    k("name", Value, "string", "name of the guest"),
    k("uuid", Value, "uuid", "the machine's UUID in SMBIOS"),
    k("hda", Value, "file", "disk image on IDE channel 0, master"),
    k("hdb", Value, "file", "disk image on IDE channel 0, slave"),
    k("hdc", Value, "file", "disk image on IDE channel 1, master"),
    k("hdd", Value, "file", "disk image on IDE channel 1, slave"),
    k("cdrom", Value, "file", "CD image on IDE channel 1, master"),
    k(
        "blockdev",
        Value,
        "driver=d,node-name=n[,file=...][,filename=f][,read-only=][,cache.direct=]",
        "define a block node",
    ),
    k("drive", Value, "file=f[,if=][,format=][,media=][,index=][,readonly=][,snapshot=][,cache=]", "define a drive"),
    k(
        "pflash",
        Value,
        "file",
        "flash chip with firmware (the first one) or its variables: -drive if=pflash,format=raw",
    ),
    k("snapshot", Nothing, "", "write to temporary files instead of the images"),
    k("boot", Value, "[order=]drives[,once=][,menu=on|off][,strict=on|off]", "boot order: c disk, d CD, n network"),
    k("kernel", Value, "file", "boot this kernel (bzImage, multiboot or PVH ELF)"),
    k("initrd", Value, "file[ args][,file...]", "initial RAM disk, or multiboot modules"),
    k("append", Value, "string", "kernel command line"),
    k("bios", Value, "file", "firmware image"),
    k("L", Value, "path", "add a directory to search firmware in ('-L help' lists them)"),
    k("vga", Value, "std|none", "video card"),
    k("display", Value, "none|window|web[,addr=host:port]|vnc=...", "display front end (default: web)"),
    k("vnc", Value, "host:display|none[,password=on][,websocket=on|port][,share=][,to=][,lossy=on]", "VNC server"),
    k("nographic", Nothing, "", "no display; serial port and monitor on the terminal"),
    k("serial", Value, "dev", "serial port: stdio, mon:stdio, vc, file:, null, none, pty, tcp:, unix:, chardev:"),
    k("monitor", Value, "dev", "human monitor: stdio, vc, tcp:, unix:, pty, none, chardev:"),
    k("chardev", Value, "backend,id=id[,prop=value...]", "define a character device"),
    k(
        "qmp",
        Value,
        "dev",
        "QMP for programs: tcp:host:port, unix:path, with ,server=on,wait=off; stdio, pty, chardev:",
    ),
    k("qmp-pretty", Value, "dev", "the same with indented answers"),
    k("mon", Value, "[chardev=]id[,mode=readline|control][,pretty=on|off]", "put a monitor on a character device"),
    k("debugcon", Value, "dev", "isa-debugcon at port 0xe9 on a character device"),
    k("device", Value, "driver[,prop=value...]", "add a device ('-device help' for a list)"),
    k("usb", Nothing, "", "USB controller of the machine (same as -machine usb=on)"),
    k("usbdevice", Value, "tablet|mouse|keyboard", "add a USB device, and the machine's USB controller"),
    k("k", Value, "LAYOUT", "the guest's keyboard layout (de, fr, en-gb, ...), for VNC clients and pasted text"),
    k("global", Value, "driver.prop=value", "default of a device property"),
    k("rtc", Value, "[base=utc|localtime|date][,clock=host|vm]", "real-time clock"),
    k("S", Nothing, "", "do not start the CPUs ('cont' in the monitor does)"),
    k("no-reboot", Nothing, "", "exit instead of rebooting"),
    k("no-shutdown", Nothing, "", "stop instead of exiting at power-off"),
    k("nodefaults", Nothing, "", "no default devices"),
    k("no-user-config", Nothing, "", "accepted; there are no user configuration files"),
    k("net", Value, "none", "no network card"),
    k("nic", Value, "none", "no network card"),
    k("parallel", Value, "none", "no parallel port"),
    k("pidfile", Value, "file", "write the process id to a file"),
    k("d", Value, "item,...", "log items ('-d help' for a list)"),
    k("D", Value, "file", "where the log goes"),
    k("trace", Value, "[[enable=]pattern][,events=file][,file=file]", "trace events ('-trace help' for a list)"),
];

/// Options of QEMU that exist and that we do not serve (yet), so that the error can say so.
const UNSUPPORTED: &[&str] = &[
    "netdev",
    "virtfs",
    "spice",
    "object",
    "gdb",
    "s",
    "incoming",
    "loadvm",
    "tb-size",
    "icount",
    "watchdog-action",
    "action",
    "daemonize",
    "run-with",
    "sandbox",
    "fda",
    "fdb",
    "mtdblock",
    "sd",
    "blockdev",
    "fsdev",
    "acpitable",
    "smbios",
    "audio",
    "audiodev",
    "full-screen",
    "g",
    "numa",
    "add-fd",
    "set",
    "plugin",
    "dtb",
    "shim",
    "fw_cfg",
    "mem-path",
    "mem-prealloc",
    "readconfig",
    "only-migratable",
    "msg",
    "compat",
    "preconfig",
    "prom-env",
    "semihosting",
    "old-param",
    "enable-fips",
    "dump-vmstate",
    "enable-sync-profile",
    "overcommit",
    "iscsi",
    "tpmdev",
    "qtest",
    "win2k-hack",
    "no-fd-bootchk",
    "no-hpet",
    "no-acpi",
    "enable-kvm",
    "xen-domid",
    "chroot",
    "runas",
    "option-rom",
    "virtioconsole",
];

/// One option as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawOption {
    /// Its name without dashes (`M` is not yet `machine`).
    pub name: String,
    /// Its argument; empty for options without one.
    pub value: String,
}

/// All options, in order. A plain argument is `-hda` as in QEMU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(pub Vec<RawOption>);

impl Options {
    /// Splits the arguments (without the program's name).
    ///
    /// # Errors
    /// All unknown options and missing arguments, one error each.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, Vec<UsageError>> {
        let mut options = Vec::new();
        let mut errors = Vec::new();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let Some(name) = arg.strip_prefix('-').filter(|n| !n.is_empty()) else {
                options.push(RawOption { name: "hda".into(), value: arg });
                continue;
            };
            let name = name.strip_prefix('-').unwrap_or(name);
            match KNOWN.iter().find(|k| k.name == name) {
                Some(k) if k.takes == Nothing => options.push(RawOption { name: name.into(), value: String::new() }),
                Some(_) => match args.next() {
                    Some(value) => options.push(RawOption { name: name.into(), value }),
                    None => errors.push(UsageError(format!("-{name}: requires an argument"))),
                },
                None => errors.push(unknown(&arg, name)),
            }
        }
        if errors.is_empty() { Ok(Self(options)) } else { Err(errors) }
    }
}

fn unknown(typed: &str, name: &str) -> UsageError {
    let names = || KNOWN.iter().map(|k| k.name);
    UsageError(match name {
        "enable-kvm" => format!("{typed}: KVM is not a platform of this program; use -accel whpx"),
        "no-hpet" => format!("{typed}: use -machine hpet=off"),
        "no-acpi" => format!("{typed}: use -machine acpi=off"),
        "s" | "gdb" => format!("{typed}: the gdb stub is not supported yet"),
        _ if UNSUPPORTED.contains(&name) => format!("{typed}: this QEMU option is not supported yet"),
        _ => match nearest(name, names()) {
            Some(near) => format!("{typed}: invalid option; did you mean -{near}?"),
            None => format!("{typed}: invalid option; -h lists what there is"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Vec<UsageError>> {
        Options::parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn order_and_dashes() {
        let o = parse("--accel whpx -S disk.img -m 2G").unwrap();
        let names: Vec<_> = o.0.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, ["accel", "S", "hda", "m"]);
    }

    #[test]
    fn all_errors_at_once() {
        let e = parse("-crom x -gdb -m").unwrap_err();
        let text: Vec<_> = e.iter().map(|e| e.0.as_str()).collect();
        assert_eq!(
            text,
            [
                "-crom: invalid option; did you mean -cdrom?",
                "-gdb: the gdb stub is not supported yet",
                "-m: requires an argument"
            ]
        );
    }
}
