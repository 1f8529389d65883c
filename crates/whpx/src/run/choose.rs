//! From what a disk is to the command line that runs it.

use std::path::{Path, PathBuf};

use cli::{Options, RawOption};

use super::disk::{Cpu, Facts};
use super::host::Host;

/// Which firmware the user wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wish {
    /// What the disk wants.
    #[default]
    Disk,
    /// `--bios`.
    Bios,
    /// `--uefi`.
    Uefi,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    pub(super) disk: &'a Path,
    pub(super) format: &'a str,
    pub(super) facts: &'a Facts,
    /// Of the CD of `-cdrom`, which an empty disk is installed from.
    pub(super) cd: Option<&'a Facts>,
    pub(super) wish: Wish,
    /// Options of the system emulator that the user typed, and their text.
    pub(super) user: &'a Options,
    pub(super) typed: &'a [String],
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Arguments of the system emulator.
    pub(super) args: Vec<String>,
    /// Lines for the user: what was found, what was chosen.
    pub(super) notes: Vec<String>,
    /// A file that is copied first if the second is not there: variables of the firmware.
    pub(super) copy: Option<(PathBuf, PathBuf)>,
}

/// MiB for the machine: half of the host's, from 1 to 4 GiB.
fn memory(host: &Host) -> u64 {
    (host.memory / 2).clamp(1024, 4096) / 256 * 256
}

fn has(user: &Options, names: &[&str]) -> bool {
    user.0.iter().any(|o| names.contains(&o.name.as_str()))
}

/// A pointer of the user's own.
fn has_pointer(option: &RawOption) -> bool {
    match option.name.as_str() {
        "usbdevice" => true,
        "device" => ["usb-tablet", "usb-mouse"].iter().any(|d| option.value.split(',').next() == Some(d)),
        "nodefaults" => true,
        _ => false,
    }
}

/// Boots with UEFI.
fn uefi(request: &Request<'_>, notes: &mut Vec<String>) -> Result<bool, String> {
    let facts = match request.cd {
        Some(cd) if request.facts.bios.is_none() && !request.facts.esp => cd,
        _ => request.facts,
    };
    let what = if std::ptr::eq(facts, request.facts) { request.disk.display().to_string() } else { "the CD".into() };
    let x64 = facts.efi.contains(&Cpu::X64);
    match request.wish {
        Wish::Bios => return Ok(false),
        Wish::Uefi => return Ok(true),
        Wish::Disk => {}
    }
    if let Some(why) = facts.bios {
        notes.push(format!("{what} boots with BIOS: {why}"));
        if x64 {
            notes.push("it can boot with UEFI too: --uefi".into());
        }
        return Ok(false);
    }
    if facts.esp && !x64 {
        if facts.efi.contains(&Cpu::Arm64) {
            return Err(format!(
                "{what} is for arm64 machines (\\EFI\\BOOT\\BOOTAA64.EFI): arm64 guests are not supported yet"
            ));
        }
        if let Some(Cpu::Other(machine)) = facts.efi.first() {
            return Err(format!(
                "{what} has EFI programs for PE machine {machine:#x} only; x86-64 is supported (--uefi or --bios tries)"
            ));
        }
        notes.push(format!("{what} has an EFI system partition without \\EFI\\BOOT\\BOOTX64.EFI: it may not start"));
    }
    if facts.esp {
        notes.push(format!("{what} boots with UEFI: an EFI system partition, and nothing for BIOS"));
        return Ok(true);
    }
    let another = has(request.user, &["kernel", "cdrom", "hdc", "hdd", "bios", "drive", "boot"]);
    match another {
        true => notes.push(format!("{what}: {}", if facts.empty { "empty" } else { "nothing to boot is on it" })),
        false if facts.empty => {
            return Err(format!("{what} is empty: add a CD to install from (-cdrom FILE), or use --bios or --uefi"));
        }
        false => {
            return Err(format!(
                "{what} has neither boot code nor an EFI system partition: add -cdrom FILE or -kernel FILE, or try \
                 --bios or --uefi"
            ));
        }
    }
    Ok(false)
}

/// Chooses a machine.
pub(super) fn choose(host: &Host, request: &Request<'_>) -> Result<Choice, String> {
    let mut notes = vec![];
    let mut copy = None;
    let uefi = uefi(request, &mut notes)?;
    let user = request.user;
    let mut args: Vec<String> = vec![];
    let mut add = |list: &[&str]| args.extend(list.iter().map(|s| (*s).to_owned()));
    if !has(user, &["accel"]) {
        add(&["-accel", "whpx"]);
    }
    if !has(user, &["M", "machine"]) {
        add(&["-M", if uefi { "q35" } else { "pc" }]);
    }
    if uefi && !has(user, &["bios"]) {
        if !host.q35 {
            return Err("this disk needs UEFI, and this version of whpx has no machine with UEFI (q35) yet; --bios tries without".into());
        }
        let Some((code, variables)) = &host.uefi else {
            let hint = if cfg!(unix) {
                "install the package 'ovmf' (Debian: apt install ovmf)"
            } else {
                "put OVMF_CODE_4M.fd and OVMF_VARS_4M.fd (Debian's package 'ovmf') beside the program"
            };
            return Err(format!(
                "this disk needs UEFI firmware, and none was found: {hint}, or name its directory with -L; --bios tries without"
            ));
        };
        let own = own_variables(request.disk);
        notes.push(format!("the firmware keeps its settings in {}", own.display()));
        let (code, own_text) = (quoted(code), quoted(&own));
        add(&["-drive", &format!("if=pflash,format=raw,unit=0,readonly=on,file={code}")]);
        add(&["-drive", &format!("if=pflash,format=raw,unit=1,file={own_text}")]);
        copy = Some((variables.clone(), own));
    }
    if !has(user, &["smp"]) {
        add(&["-smp", &format!("cores={}", host.cpus.clamp(1, 4))]);
    }
    if !has(user, &["m"]) {
        let mib = memory(host);
        let text = if mib.is_multiple_of(1024) { format!("{}G", mib / 1024) } else { format!("{mib}M") };
        add(&["-m", &text]);
    }
    if request.facts.cd {
        add(&["-cdrom", &request.disk.display().to_string()]);
        if !has(user, &["boot"]) {
            add(&["-boot", "d"]);
        }
    } else {
        add(&["-drive", &format!("file={},format={}", quoted(request.disk), request.format)]);
    }
    // An absolute pointer: the host's and the guest's are at the same place.
    if !user.0.iter().any(has_pointer) {
        add(&["-device", "ich9-usb-ehci1", "-device", "usb-tablet"]);
    }
    if !has(user, &["display", "vnc", "nographic"]) {
        add(&["-display", "web"]);
    }
    args.extend(request.typed.iter().cloned());
    Ok(Choice { args, notes, copy })
}

/// Where the firmware's variables of a disk are kept.
fn own_variables(disk: &Path) -> PathBuf {
    let mut name = disk.as_os_str().to_owned();
    name.push(".efivars");
    name.into()
}

/// A path as a value in a list with commas.
fn quoted(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
