//! The guest that looks at USB: Debian's generic kernel 6.1 (the cloud kernels have no USB) with the initramfs of [`super::kernel`], to
//! which an archive with USB, HID and disk modules and `lsusb` (Debian's usbutils with its libraries) is appended.

use super::{cpio::Cpio, find_file, kernel, once};
use crate::{apt, paths, run};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

const STAGE: &str = "image usb";
const FOLDER: &str = "usb-2";
/// What is loaded; what these need comes before them.
const MODULES: [&str; 8] =
    ["ehci-pci", "uhci-hcd", "xhci-pci", "sd_mod", "usb-storage", "hid-generic", "usbhid", "evdev"];
/// Programs and libraries: package, file in it, place in the guest.
const FILES: [(&str, &str, &str); 6] = [
    ("usbutils", "usr/bin/lsusb", "bin/lsusb"),
    ("libusb-1.0-0", "libusb-1.0.so.0", "lib/libusb-1.0.so.0"),
    ("libudev1", "libudev.so.1", "lib/libudev.so.1"),
    ("libc6", "libc.so.6", "lib/libc.so.6"),
    ("libc6", "libpthread.so.0", "lib/libpthread.so.0"),
    ("libc6", "ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2"),
];
const LOAD: &str = "#!/bin/sh\n# Loads the USB drivers.\n\
    for module in $(cat /lib/usb/order); do insmod /lib/usb/$module.ko || echo \"no $module\"; done\n";

pub(super) fn make() -> Result<()> {
    kernel::make()?;
    let folder = once(FOLDER, |folder| {
        apt::ensure(STAGE, &[("dpkg", "dpkg")])?;
        let packages = apt::Private::new(STAGE)?;
        let tree = folder.join("tree");
        let mut archive = Cpio::new();
        archive.folder("lib64");
        archive.folder("lib/usb");
        let mut unpacked = "";
        for (package, file, place) in FILES {
            if package != unpacked {
                packages.unpack(STAGE, package, &tree)?;
                unpacked = package;
            }
            archive.program(place, &fs::read(find_file(&tree, file)?).context("cannot read a library")?);
        }
        let name = packages.dependency("linux-image-amd64", apt::SUITE, "linux-image-")?;
        packages.unpack(STAGE, &name, &tree)?;
        fs::copy(kernel::find_kernel(&tree.join("boot"))?, folder.join("vmlinuz")).context("cannot copy the kernel")?;
        let mut order = Vec::new();
        for module in MODULES {
            add_module(&tree.join("lib/modules"), module, "lib/usb", &mut order, &mut archive)?;
        }
        archive.program("lib/usb/order", order.join(" ").as_bytes());
        archive.program("bin/usb", LOAD.as_bytes());
        fs::remove_dir_all(&tree).context("cannot remove the unpacked packages")?;
        run::say(STAGE, "write the initramfs");
        let base = fs::read(paths::asset("initramfs")?).context("cannot read the initramfs")?;
        fs::write(folder.join("initramfs.cpio"), [base, archive.finish()].concat())
            .context("cannot write the initramfs")
    })?;
    paths::enter(&[("kernel-usb", folder.join("vmlinuz")), ("initramfs-usb", folder.join("initramfs.cpio"))])
}

/// Adds a module to `folder` behind those that it says it depends on.
pub(super) fn add_module(
    modules: &Path,
    name: &str,
    folder: &str,
    order: &mut Vec<String>,
    archive: &mut Cpio,
) -> Result<()> {
    if order.iter().any(|known| known.replace('_', "-") == name.replace('_', "-")) {
        return Ok(());
    }
    let spelled = [name.to_owned(), name.replace('_', "-"), name.replace('-', "_")];
    let found = spelled.iter().find_map(|name| Some((name, find_file(modules, &format!("{name}.ko")).ok()?)));
    // What is not there is built in.
    let Some((name, path)) = found else { return Ok(()) };
    let bytes = fs::read(path).context("cannot read a module")?;
    for needed in dependencies(&bytes) {
        add_module(modules, &needed, folder, order, archive)?;
    }
    archive.program(&format!("{folder}/{name}.ko"), &bytes);
    order.push(name.clone());
    Ok(())
}

/// The word `depends=` of a module's information.
fn dependencies(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|w| w == key) else { return Vec::new() };
    let text = module[at + key.len()..].split(|b| *b == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn dependencies_are_read_from_the_module() {
        let module = b"\x7fELF\0license=GPL\0depends=usbcore,xhci-hcd\0name=x\0";
        assert_eq!(super::dependencies(module), ["usbcore", "xhci-hcd"]);
        assert!(super::dependencies(b"\0depends=\0").is_empty());
    }
}
