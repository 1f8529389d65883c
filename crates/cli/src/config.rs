//! The configuration: plain data, defaults applied, validated as far as the text alone allows.

use std::path::PathBuf;

use crate::keyval::{KeyVal, parse_bool};
use crate::options::{Options, RawOption};
use crate::{UsageError, parse_size, smp};

mod display;
mod drives;
mod nodes;
mod parts;
mod trace;

pub use display::{DisplayKind, VncShare, VncSpec, WebSpec};
pub use nodes::{NodeDriver, NodeRef, NodeSpec};
pub use parts::*;
pub use trace::{Trace, TraceItem};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Help to print instead of running.
    pub help: Option<HelpTopic>,
    /// Machine type, `pc` when not given.
    pub machine: String,
    /// Machine properties as typed, in order, for the machine to interpret (`accel` taken out).
    pub machine_props: Vec<(String, String)>,
    /// Accelerators to try in order; empty: the default.
    pub accels: Vec<Accel>,
    /// `-M kernel-irqchip=`: the same property of every `-accel whpx` that does not have it.
    pub kernel_irqchip: Option<String>,
    /// The CPU model.
    pub cpu: Cpu,
    /// CPUs and their arrangement.
    pub smp: Topology,
    /// RAM in bytes.
    pub memory: u64,
    /// Name of the guest.
    pub name: Option<String>,
    /// `-uuid`.
    pub uuid: Option<String>,
    /// Drives in order.
    pub drives: Vec<Drive>,
    /// `-blockdev`, in order.
    pub nodes: Vec<NodeSpec>,
    /// `-snapshot`.
    pub snapshot: bool,
    /// Boot order and menu.
    pub boot: Boot,
    /// `-kernel`.
    pub kernel: Option<PathBuf>,
    /// `-initrd`: one file, or modules with arguments for multiboot, as typed.
    pub initrd: Option<String>,
    /// `-append`.
    pub append: Option<String>,
    /// `-bios`.
    pub bios: Option<PathBuf>,
    /// `-L`, in order.
    pub firmware_dirs: Vec<PathBuf>,
    /// Video card.
    pub vga: VgaKind,
    /// Display front end.
    pub display: DisplayKind,
    /// VNC server.
    pub vnc: Option<VncSpec>,
    /// Serial ports in order (defaults applied).
    pub serial: Vec<SerialTarget>,
    /// Monitors.
    pub monitors: Vec<MonitorSpec>,
    /// `-chardev`.
    pub chardevs: Vec<CharSpec>,
    /// `-debugcon`.
    pub debugcon: Option<SerialTarget>,
    /// `-device`, in order.
    pub devices: Vec<DeviceSpec>,
    /// `-global`, in order.
    pub globals: Vec<Global>,
    /// `-k`: the guest's keyboard layout.
    pub keyboard_layout: Option<String>,
    /// Real-time clock.
    pub rtc: Rtc,
    /// `-S`.
    pub paused: bool,
    /// `-no-reboot`.
    pub no_reboot: bool,
    /// `-no-shutdown`.
    pub no_shutdown: bool,
    /// `-nodefaults`.
    pub nodefaults: bool,
    /// `-pidfile`.
    pub pidfile: Option<PathBuf>,
    /// `-d` and `-D`.
    pub log: DebugLog,
    /// `-trace`.
    pub trace: Trace,
}

/// The smallest RAM a `pc` takes, in bytes.
const MIN_MEMORY: u64 = 1 << 20;
/// The largest RAM, in bytes: far below what 40 physical address bits hold.
const MAX_MEMORY: u64 = 1 << 39;

impl Config {
    /// Interprets the options.
    ///
    /// # Errors
    /// Every error found, one line each.
    pub fn new(options: &Options) -> Result<Self, Vec<UsageError>> {
        let mut b = Builder::default();
        for option in &options.0 {
            if let Err(e) = b.option(option) {
                b.errors.push(e);
            }
        }
        b.finish()
    }
}

#[derive(Default)]
struct Builder {
    errors: Vec<UsageError>,
    help: Option<HelpTopic>,
    machine: Option<String>,
    machine_props: Vec<(String, String)>,
    accels: Vec<Accel>,
    machine_accels: Vec<Accel>,
    kernel_irqchip: Option<String>,
    cpu: Option<Cpu>,
    smp: Option<Topology>,
    memory: Option<u64>,
    name: Option<String>,
    uuid: Option<String>,
    drives: drives::Drives,
    nodes: Vec<NodeSpec>,
    snapshot: bool,
    boot: Boot,
    kernel: Option<PathBuf>,
    initrd: Option<String>,
    append: Option<String>,
    bios: Option<PathBuf>,
    firmware_dirs: Vec<PathBuf>,
    vga: Option<VgaKind>,
    displays: display::Displays,
    nographic: bool,
    serial: Vec<SerialTarget>,
    monitors: Vec<MonitorSpec>,
    monitor_given: bool,
    chardevs: Vec<CharSpec>,
    debugcon: Option<SerialTarget>,
    devices: Vec<DeviceSpec>,
    globals: Vec<Global>,
    keyboard_layout: Option<String>,
    rtc: Rtc,
    paused: bool,
    no_reboot: bool,
    no_shutdown: bool,
    nodefaults: bool,
    pidfile: Option<PathBuf>,
    log: DebugLog,
    trace: Trace,
}

impl Builder {
    fn option(&mut self, o: &RawOption) -> Result<(), UsageError> {
        let v = o.value.as_str();
        match o.name.as_str() {
            "h" | "help" => self.ask(HelpTopic::Options),
            "version" => self.ask(HelpTopic::Version),
            "machine" | "M" => return self.machine(&o.name, v),
            "cpu" if is_help(v) => self.ask(HelpTopic::Cpus),
            "cpu" => self.cpu = Some(Cpu::parse(v)?),
            "accel" => return self.accel(v),
            "smp" => self.smp = Some(smp::parse(v)?),
            "m" => self.memory = Some(memory(v)?),
            "name" => self.name = Some(name(v)?),
            "k" => self.keyboard_layout = Some(v.to_owned()),
            "uuid" => self.uuid = Some(uuid(v)?),
            "hda" | "hdb" | "hdc" | "hdd" | "cdrom" => self.drives.short(&o.name, v)?,
            "drive" => self.drives.drive(v)?,
            "blockdev" => self.nodes.push(NodeSpec::parse(v)?),
            "pflash" => self.drives.flash(v)?,
            "snapshot" => self.snapshot = true,
            "boot" => self.boot = Boot::parse(v)?,
            "kernel" => self.kernel = Some(v.into()),
            "initrd" => self.initrd = Some(v.into()),
            "append" => self.append = Some(v.into()),
            "bios" => self.bios = Some(v.into()),
            "L" if is_help(v) => self.ask(HelpTopic::FirmwareDirs),
            "L" => self.firmware_dirs.push(v.into()),
            _ => return self.option_devices(o),
        }
        Ok(())
    }

    fn option_devices(&mut self, o: &RawOption) -> Result<(), UsageError> {
        let v = o.value.as_str();
        match o.name.as_str() {
            "vga" => self.vga = Some(VgaKind::parse(v)?),
            "display" => return self.displays.display(v),
            "vnc" => return self.displays.vnc(v),
            "nographic" => self.nographic = true,
            "serial" => self.serial.push(SerialTarget::parse("serial", v)?),
            "monitor" => self.monitor("monitor", v, MonitorMode::Readline)?,
            "qmp" => self.monitor("qmp", v, MonitorMode::Control { pretty: false })?,
            "qmp-pretty" => self.monitor("qmp-pretty", v, MonitorMode::Control { pretty: true })?,
            "mon" => return self.mon(v),
            "chardev" if is_help(v) => self.ask(HelpTopic::Chardevs),
            "chardev" => self.chardevs.push(CharSpec::parse_chardev(v)?),
            "debugcon" => self.debugcon = Some(SerialTarget::parse("debugcon", v)?),
            "device" => return self.device(v),
            "usb" => self.machine_props.push(("usb".into(), "on".into())),
            "usbdevice" => self.usbdevice(v)?,
            "global" => self.globals.push(Global::parse(v)?),
            "rtc" => self.rtc = Rtc::parse(v)?,
            "S" => self.paused = true,
            "no-reboot" => self.no_reboot = true,
            "no-shutdown" => self.no_shutdown = true,
            "nodefaults" => self.nodefaults = true,
            "pidfile" => self.pidfile = Some(v.into()),
            "net" | "nic" | "parallel" if v == "none" => {}
            "net" | "nic" | "parallel" => {
                return Err(UsageError(format!("-{} {v}: not supported yet; only 'none' is", o.name)));
            }
            "d" if is_help(v) => self.ask(HelpTopic::LogItems),
            "d" => self.log = DebugLog { file: self.log.file.take(), ..DebugLog::parse_items(v)? },
            "D" => self.log.file = Some(v.into()),
            "trace" if is_help(v) => self.ask(HelpTopic::TraceEvents),
            "trace" => self.trace.option(v)?,
            _ => {} // -no-user-config: there is nothing to leave out
        }
        Ok(())
    }

    fn ask(&mut self, topic: HelpTopic) {
        self.help.get_or_insert(topic);
    }

    fn machine(&mut self, option: &str, v: &str) -> Result<(), UsageError> {
        if is_help(v) {
            self.ask(HelpTopic::Machines);
            return Ok(());
        }
        let mut k = KeyVal::parse(option, v, Some("type"))?;
        if let Some(t) = k.take("type") {
            self.machine = Some(t);
        }
        if let Some(value) = k.take("kernel-irqchip").or_else(|| k.take("kernel_irqchip")) {
            self.kernel_irqchip = Some(value);
        }
        if let Some(list) = k.take("accel") {
            self.machine_accels = list.split(':').map(|n| Accel { name: n.into(), props: vec![] }).collect();
        }
        for (key, value) in k.take_rest() {
            if key == "help" {
                self.ask(HelpTopic::MachineProps(self.machine.clone().unwrap_or_else(|| "pc".into())));
            } else {
                self.machine_props.push((key, value));
            }
        }
        Ok(())
    }

    fn accel(&mut self, v: &str) -> Result<(), UsageError> {
        if is_help(v) {
            self.ask(HelpTopic::Accels);
            return Ok(());
        }
        let mut k = KeyVal::parse("accel", v, Some("accel"))?;
        let name = k.take("accel").ok_or_else(|| k.error("the accelerator's name is missing"))?;
        let props = k.take_rest();
        if props.iter().any(|p| p.0 == "help") {
            self.ask(HelpTopic::AccelProps(name));
            return Ok(());
        }
        for (i, n) in name.split(':').enumerate() {
            self.accels.push(Accel { name: n.into(), props: if i == 0 { props.clone() } else { vec![] } });
        }
        Ok(())
    }

    fn device(&mut self, v: &str) -> Result<(), UsageError> {
        if is_help(v) {
            self.ask(HelpTopic::Devices);
            return Ok(());
        }
        let d = DeviceSpec::parse(v)?;
        if d.props.iter().any(|p| p.0 == "help") {
            self.ask(HelpTopic::DeviceProps(d.driver));
        } else {
            self.devices.push(d);
        }
        Ok(())
    }

    /// QEMU's shorthand for the machine's own controller and a device on it.
    fn usbdevice(&mut self, v: &str) -> Result<(), UsageError> {
        let typed = format!("-usbdevice {v}");
        let driver = match v {
            "tablet" => "usb-tablet",
            "mouse" => "usb-mouse",
            "keyboard" => "usb-kbd",
            _ => {
                return Err(UsageError(format!(
                    "{typed}: available: tablet, mouse, keyboard; use -device usb-... for others"
                )));
            }
        };
        self.machine_props.push(("usb".into(), "on".into()));
        self.devices.push(DeviceSpec { typed, driver: driver.into(), ..DeviceSpec::default() });
        Ok(())
    }

    fn monitor(&mut self, option: &str, v: &str, mode: MonitorMode) -> Result<(), UsageError> {
        let target = SerialTarget::parse(option, v)?;
        self.monitor_given = true;
        self.monitors.push(MonitorSpec { target, mode });
        Ok(())
    }

    fn mon(&mut self, v: &str) -> Result<(), UsageError> {
        let mut k = KeyVal::parse("mon", v, Some("chardev"))?;
        let id = k.take("chardev").ok_or_else(|| k.error("chardev= is missing"))?;
        let mode = k.take_word("mode", &["readline", "control"])?;
        let pretty = k.take_bool("pretty")?;
        let mode = match (mode, pretty) {
            (Some("control"), pretty) => MonitorMode::Control { pretty: pretty.unwrap_or(false) },
            (_, Some(true)) => return Err(k.error("pretty=on is for mode=control (QMP)")),
            _ => MonitorMode::Readline,
        };
        k.finish()?;
        self.monitor_given = true;
        self.monitors.push(MonitorSpec { target: SerialTarget::Chardev(id), mode });
        Ok(())
    }

    /// Default serial port and monitor, as QEMU gives them.
    fn default_consoles(&mut self, display: &DisplayKind) {
        if matches!(display, DisplayKind::Web(_)) && !self.nodefaults {
            if self.serial.is_empty() {
                self.serial.push(SerialTarget::spec("vc"));
            }
            if !self.monitor_given && !self.serial.contains(&SerialTarget::MonStdio) {
                let target = SerialTarget::spec("vc");
                self.monitors.push(MonitorSpec { target, mode: MonitorMode::Readline });
            }
        } else if self.nographic && !self.nodefaults && self.serial.is_empty() && !self.monitor_given {
            self.serial.push(SerialTarget::MonStdio);
        } else if self.nographic && self.serial.is_empty() && !self.nodefaults {
            self.serial.push(SerialTarget::spec("stdio"));
        }
        self.monitors.retain(|m| m.target != SerialTarget::None);
    }

    fn finish(mut self) -> Result<Config, Vec<UsageError>> {
        let headless = self.nographic || self.nodefaults || self.vga == Some(VgaKind::None);
        let (display, vnc) = std::mem::take(&mut self.displays).finish(headless);
        self.default_consoles(&display);
        let users = |t: &SerialTarget| matches!(t, SerialTarget::MonStdio) || *t == SerialTarget::spec("stdio");
        let stdio = self.serial.iter().chain(self.monitors.iter().map(|m| &m.target)).chain(&self.debugcon);
        let stdio = stdio.filter(|t| users(t)).count();
        if stdio > 1 {
            let text = "stdio can have only one user: use '-serial mon:stdio' for serial port and monitor together";
            self.errors.push(UsageError(text.into()));
        }
        if self.kernel.is_none() {
            for (name, given) in [("initrd", self.initrd.is_some()), ("append", self.append.is_some())] {
                if given {
                    self.errors.push(UsageError(format!("-{name}: only allowed with -kernel")));
                }
            }
        }
        let ide = drives::IdeShape::of_machine(self.machine.as_deref().unwrap_or("pc"));
        let drives = self.drives.finish(self.nodefaults, ide, &mut self.errors);
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        let vga = self.vga.unwrap_or(if self.nodefaults { VgaKind::None } else { VgaKind::Std });
        let accels = if self.accels.is_empty() { self.machine_accels } else { self.accels };
        Ok(Config {
            help: self.help,
            machine: self.machine.unwrap_or_else(|| "pc".into()),
            machine_props: self.machine_props,
            accels,
            kernel_irqchip: self.kernel_irqchip,
            cpu: self.cpu.unwrap_or_default(),
            smp: self.smp.unwrap_or_default(),
            memory: self.memory.unwrap_or(128 << 20),
            name: self.name,
            uuid: self.uuid,
            drives,
            nodes: self.nodes,
            snapshot: self.snapshot,
            boot: self.boot,
            kernel: self.kernel,
            initrd: self.initrd,
            append: self.append,
            bios: self.bios,
            firmware_dirs: self.firmware_dirs,
            vga,
            display,
            vnc,
            serial: self.serial,
            monitors: self.monitors,
            chardevs: self.chardevs,
            debugcon: self.debugcon,
            devices: self.devices,
            globals: self.globals,
            keyboard_layout: self.keyboard_layout,
            rtc: self.rtc,
            paused: self.paused,
            no_reboot: self.no_reboot,
            no_shutdown: self.no_shutdown,
            nodefaults: self.nodefaults,
            pidfile: self.pidfile,
            log: self.log,
            trace: self.trace,
        })
    }
}

fn is_help(v: &str) -> bool {
    v == "help" || v == "?"
}

fn memory(v: &str) -> Result<u64, UsageError> {
    let mut k = KeyVal::parse("m", v, Some("size"))?;
    let size = k.take("size").ok_or_else(|| k.error("size= is missing"))?;
    let bytes = parse_size(&size, 1 << 20).ok_or_else(|| k.bad("size", &size, "expected a size such as 512M or 2G"))?;
    for key in ["slots", "maxmem"] {
        if k.take(key).is_some() {
            return Err(k.error("memory hot plug (slots, maxmem) is not supported yet"));
        }
    }
    if !(MIN_MEMORY..=MAX_MEMORY).contains(&bytes) {
        return Err(k.error("RAM must be at least 1 MiB and at most 512 GiB"));
    }
    k.finish()?;
    Ok(bytes.next_multiple_of(8192))
}

fn name(v: &str) -> Result<String, UsageError> {
    let mut k = KeyVal::parse("name", v, Some("guest"))?;
    let name = k.take("guest").unwrap_or_default();
    k.take("process");
    k.take_bool("debug-threads")?;
    k.finish()?;
    Ok(name)
}

fn uuid(v: &str) -> Result<String, UsageError> {
    let digits: String = v.chars().filter(|c| *c != '-').collect();
    let dashes = v.char_indices().filter(|(_, c)| *c == '-').map(|(i, _)| i).eq([8, 13, 18, 23]);
    if digits.len() == 32 && dashes && digits.chars().all(|c| c.is_ascii_hexdigit()) {
        Ok(v.to_ascii_lowercase())
    } else {
        Err(UsageError(format!("-uuid {v}: expected 8-4-4-4-12 hexadecimal digits")))
    }
}

impl Global {
    fn parse(v: &str) -> Result<Self, UsageError> {
        let parts = v.split_once('=').and_then(|(path, value)| Some((path.rsplit_once('.')?, value)));
        let Some(((driver, property), value)) = parts else {
            return Err(UsageError(format!("-global {v}: expected driver.property=value")));
        };
        Ok(Self { driver: driver.into(), property: property.into(), value: value.into() })
    }
}

impl Boot {
    fn parse(v: &str) -> Result<Self, UsageError> {
        let mut k = KeyVal::parse("boot", v, Some("order"))?;
        let mut b = Self::default();
        let check = |k: &KeyVal, key: &str, s: String| {
            let mut seen = std::collections::HashSet::new();
            match s.chars().find(|c| !"abcdefghijklmnop".contains(*c) || !seen.insert(*c)) {
                Some(c) => Err(k.bad(
                    key,
                    &s,
                    &format!("'{c}' is not a boot drive (a floppy, c disk, d CD, n network), or is there twice"),
                )),
                None => Ok(s),
            }
        };
        if let Some(s) = k.take("order") {
            b.order = Some(check(&k, "order", s)?);
        }
        if let Some(s) = k.take("once") {
            b.once = Some(check(&k, "once", s)?);
        }
        b.menu = k.take_bool("menu")?.unwrap_or(false);
        b.strict = k.take_bool("strict")?.unwrap_or(false);
        b.splash_time = k.take_number("splash-time")?.map(|n| n.min(65535) as u16);
        b.reboot_timeout = k.take_number("reboot-timeout")?.map(|n| n.min(65535) as u16);
        k.finish()?;
        Ok(b)
    }
}

impl Rtc {
    fn parse(v: &str) -> Result<Self, UsageError> {
        let mut k = KeyVal::parse("rtc", v, None)?;
        let mut rtc = Self::default();
        if let Some(base) = k.take("base") {
            rtc.base = match base.as_str() {
                "utc" => RtcBase::Utc,
                "localtime" => RtcBase::LocalTime,
                date => RtcBase::Date(parse_date(date).ok_or_else(|| {
                    k.bad("base", date, "expected utc, localtime or a date such as 2026-01-31T12:00:00")
                })?),
            };
        }
        if k.take_word("clock", &["host", "rt", "vm"])? == Some("vm") {
            rtc.vm_clock = true;
        }
        if k.take_word("driftfix", &["none", "slew"])? == Some("slew") {
            return Err(k.error("driftfix=slew is not supported"));
        }
        k.finish()?;
        Ok(rtc)
    }
}

/// Seconds since 1970 of `YYYY-MM-DD[THH:MM:SS]`.
fn parse_date(s: &str) -> Option<i64> {
    let (date, time) = s.split_once('T').unwrap_or((s, "00:00:00"));
    let numbers = |s: &str, sep| s.split(sep).map(|p| p.parse::<i64>().ok()).collect::<Option<Vec<_>>>();
    let [y, m, d] = numbers(date, '-')?.try_into().ok()?;
    let [h, min, sec] = numbers(time, ':')?.try_into().ok()?;
    let ok = (1970..=9999).contains(&y) && (1..=12).contains(&m) && (1..=31).contains(&d) && (0..24).contains(&h);
    if !ok || !(0..60).contains(&min) || !(0..60).contains(&sec) {
        return None;
    }
    // Days from civil date (proleptic Gregorian), year starting in March.
    let (y, m) = if m <= 2 { (y - 1, m + 9) } else { (y, m - 3) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + d - 1 - 719_468;
    Some(days * 86_400 + h * 3600 + min * 60 + sec)
}

impl Cpu {
    fn parse(v: &str) -> Result<Self, UsageError> {
        let mut items = v.split(',');
        let model = items.next().filter(|m| !m.is_empty() && !m.contains('='));
        let model = model.ok_or_else(|| UsageError(format!("-cpu {v}: the model's name is missing")))?.to_string();
        let mut features = Vec::new();
        for item in items {
            let feature = match (item.chars().next(), item.split_once('=')) {
                (Some('+'), _) => (item[1..].to_string(), "on".to_string()),
                (Some('-'), _) => (item[1..].to_string(), "off".to_string()),
                (Some(_), Some((k, v))) => (k.to_string(), v.to_string()),
                (Some(_), None) => (item.to_string(), "on".to_string()),
                (None, _) => return Err(UsageError(format!("-cpu {v}: a feature's name is missing"))),
            };
            features.push(feature);
        }
        Ok(Self { model: Some(model), features })
    }
}

impl DeviceSpec {
    /// From the value of `-device`.
    ///
    /// # Errors
    /// When there is no driver, or a property is not `name=value`.
    pub fn parse(v: &str) -> Result<Self, UsageError> {
        let mut k = KeyVal::parse("device", v, Some("driver"))?;
        let driver = k.take("driver").ok_or_else(|| k.error("the driver's name is missing"))?;
        let id = k.take("id");
        Ok(Self { typed: k.typed.clone(), driver, id, props: k.take_rest() })
    }

    /// Takes a property as on/off.
    ///
    /// # Errors
    /// For any other word.
    pub fn take_bool(&mut self, key: &str) -> Result<Option<bool>, UsageError> {
        let Some(v) = self.take(key) else { return Ok(None) };
        let bad = || UsageError(format!("{}: {key}={v}: expected on or off", self.typed));
        parse_bool(&v).map(Some).ok_or_else(bad)
    }

    /// Takes a property as a number.
    ///
    /// # Errors
    /// When it is not one.
    pub fn take_number(&mut self, key: &str) -> Result<Option<u64>, UsageError> {
        let Some(v) = self.take(key) else { return Ok(None) };
        let bad = || UsageError(format!("{}: {key}={v}: expected a number", self.typed));
        crate::keyval::parse_number(&v).map(Some).ok_or_else(bad)
    }

    /// Takes a property as it is.
    pub fn take(&mut self, key: &str) -> Option<String> {
        let value = self.props.iter().rev().find(|p| p.0 == key).map(|p| p.1.clone());
        self.props.retain(|p| p.0 != key);
        value
    }
}

#[cfg(test)]
mod tests;
