//! Where firmware images are found, under QEMU's file names.

use std::path::{Path, PathBuf};

/// Places that Debian's packages and installers use.
const PLACES: &[&str] = &[
    "/usr/share/seabios",
    "/usr/share/qemu",
    "/usr/share/OVMF",
    "/usr/share/ovmf",
    "/usr/share/qemu-efi-aarch64",
    "/usr/share/AAVMF",
    "/usr/lib/ipxe/qemu",
];

/// Which package has which file, for error messages.
const PACKAGES: &[(&str, &str)] = &[
    ("bios", "seabios"),
    ("vgabios", "seabios"),
    ("OVMF", "ovmf"),
    ("edk2-x86", "ovmf"),
    ("QEMU_EFI", "qemu-efi-aarch64"),
    ("edk2-aarch64", "qemu-efi-aarch64"),
    ("efi-", "ipxe-qemu"),
    ("pxe-", "ipxe-qemu"),
];

/// A firmware file was not found or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    /// In none of the places.
    #[error("{option}: firmware '{name}' not found{hint} (looked in: {places})")]
    NotFound {
        /// What asked for it, as typed where it was typed.
        option: String,
        /// The file's name.
        name: String,
        /// What to install.
        hint: String,
        /// Directories.
        places: String,
    },
    /// There, but not readable.
    #[error("{option}: cannot read firmware '{path}': {source}")]
    Read {
        /// What asked for it.
        option: String,
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Not a firmware image.
    #[error("{option}: '{path}' is not a firmware image: {reason}")]
    Bad {
        /// What asked for it.
        option: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The directories searched, in order: `-L`, `WHPX_FIRMWARE_DIR`, beside the executable, the system's.
pub fn directories(given: &[PathBuf]) -> Vec<PathBuf> {
    let mut dirs = given.to_vec();
    dirs.extend(std::env::var_os("WHPX_FIRMWARE_DIR").map(PathBuf::from));
    if let Some(dir) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        dirs.extend([dir.join("firmware"), dir.join("share"), dir.to_path_buf()]);
    }
    if cfg!(unix) {
        dirs.extend(PLACES.iter().map(PathBuf::from));
    }
    dirs
}

/// Reads the firmware `name`: a path is taken as it is, a plain name is searched for when no such file is here.
///
/// # Errors
/// [`FirmwareError`], with what to install.
pub fn read(option: &str, name: &Path, given: &[PathBuf]) -> Result<(PathBuf, Vec<u8>), FirmwareError> {
    let load = |path: PathBuf| match std::fs::read(&path) {
        Ok(data) => Ok((path, data)),
        Err(source) => Err(FirmwareError::Read { option: option.into(), path, source }),
    };
    if name.exists() {
        return load(name.to_path_buf());
    }
    let dirs = if name.components().count() == 1 { directories(given) } else { vec![] };
    if let Some(path) = dirs.iter().map(|d| d.join(name)).find(|p| p.is_file()) {
        return load(path);
    }
    let text = name.to_string_lossy();
    let package = PACKAGES.iter().find(|(prefix, _)| text.starts_with(prefix)).map(|p| p.1);
    let hint = match package {
        Some(p) if cfg!(unix) => format!("; install the package '{p}' or name a directory with -L"),
        Some(p) => format!("; put the files of Debian's package '{p}' beside the program or name a directory with -L"),
        None => String::new(),
    };
    let places = if dirs.is_empty() {
        "this path only".to_string()
    } else {
        dirs.iter().map(|d| d.display().to_string()).collect::<Vec<_>>().join(", ")
    };
    Err(FirmwareError::NotFound { option: option.into(), name: text.into(), hint, places })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_bios_says_what_to_install() {
        let e = read("-bios bios-256k.bin.missing", Path::new("bios-256k.bin.missing"), &[]).unwrap_err().to_string();
        assert!(e.contains("seabios") && e.contains("-L"), "{e}");
        assert!(read("-bios /nowhere/x", Path::new("/nowhere/x"), &[]).is_err());
    }
}
