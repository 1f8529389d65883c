//! What this host has for a machine: processors, memory, firmware files, machine types.

use std::path::{Path, PathBuf};

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) cpus: u32,
    /// MiB.
    pub(super) memory: u64,
    /// There is a machine type q35, which takes UEFI firmware in flash.
    pub(super) q35: bool,
    /// UEFI for x86-64: code, and the variables to begin with.
    pub(super) uefi: Option<(PathBuf, PathBuf)>,
}

/// Names of UEFI firmware in packages: code, variables.
const UEFI: [(&str, &str); 4] = [
    ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
    ("OVMF_CODE.fd", "OVMF_VARS.fd"),
    ("edk2-x86_64-code.fd", "edk2-i386-vars.fd"),
    ("OVMF_CODE.4m.fd", "OVMF_VARS.4m.fd"),
];

impl Host {
    /// This one. `firmware_dirs` are those of `-L`.
    pub(super) fn here(firmware_dirs: &[PathBuf]) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        let dirs = firmware::search::directories(firmware_dirs);
        let pair = |dir: &Path, names: (&str, &str)| {
            let pair = (dir.join(names.0), dir.join(names.1));
            (pair.0.is_file() && pair.1.is_file()).then_some(pair)
        };
        Self {
            cpus,
            memory: memory().unwrap_or(4096),
            q35: machine::machine_help(None).lines().any(|l| l.split_whitespace().next() == Some("q35")),
            uefi: UEFI.iter().find_map(|names| dirs.iter().find_map(|d| pair(d, *names))),
        }
    }
}

/// MiB of memory.
#[cfg(target_os = "linux")]
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    Some(kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

/// MiB of memory.
#[cfg(windows)]
#[allow(unsafe_code)] // what only the system knows
fn memory() -> Option<u64> {
    use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};
    let mut status = MEMORYSTATUSEX { dwLength: size_of::<MEMORYSTATUSEX>() as u32, ..Default::default() };
    // SAFETY: a structure of the length that it says.
    let ok = unsafe { GlobalMemoryStatusEx(&mut status) };
    (ok != 0).then_some(status.ullTotalPhys >> 20)
}

#[cfg(not(any(target_os = "linux", windows)))]
fn memory() -> Option<u64> {
    None
}
