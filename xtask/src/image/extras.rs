//! Other guests, straight out of Debian packages: memtest86+, GRUB's rescue CD and floppy, the netboot installer; and SeaBIOS with its
//! VGA BIOS files for machines where the package cannot be installed.

use super::{find_file, once};
use crate::{apt, paths, run};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

const STAGE: &str = "image extras";
const FOLDER: &str = "extras-1";
/// Asset name, package, file in the package, our file name.
const FILES: [(&str, &str, &str, &str); 6] = [
    ("memtest", "memtest86+", "boot/memtest86+x64.bin", "memtest86+x64.bin"),
    ("grub-cd", "grub-rescue-pc", "usr/lib/grub-rescue/grub-rescue-cdrom.iso", "grub-rescue-cdrom.iso"),
    ("grub-floppy", "grub-rescue-pc", "usr/lib/grub-rescue/grub-rescue-floppy.img", "grub-rescue-floppy.img"),
    ("installer-kernel", "debian-installer-12-netboot-amd64", "text/debian-installer/amd64/linux", "installer-linux"),
    (
        "installer-initrd",
        "debian-installer-12-netboot-amd64",
        "text/debian-installer/amd64/initrd.gz",
        "installer-initrd.gz",
    ),
    ("seabios", "seabios", "usr/share/seabios", "seabios"),
];

pub(super) fn make() -> Result<()> {
    let folder = once(FOLDER, |folder| {
        apt::ensure(STAGE, &[("dpkg", "dpkg")])?;
        let packages = apt::Private::new(STAGE)?;
        let tree = folder.join("tree");
        let mut unpacked = "";
        for (_, package, file, name) in FILES {
            if package != unpacked {
                packages.unpack(STAGE, package, &tree)?;
                unpacked = package;
            }
            let found = find_file(&tree, file).with_context(|| format!("package {package} has no file {file}"))?;
            fs::rename(&found, folder.join(name)).with_context(|| format!("cannot move {}", found.display()))?;
        }
        run::say(STAGE, "remove what is not needed");
        fs::remove_dir_all(&tree).context("cannot remove the unpacked packages")
    })?;
    let assets: Vec<(&str, PathBuf)> = FILES.iter().map(|(asset, _, _, name)| (*asset, folder.join(name))).collect();
    paths::enter(&assets)
}
