//! Direct-boot assets: Debian's cloud kernels 6.1 (bookworm) and 6.12 (bookworm-backports) as bzImage, and one initramfs for both
//! with Debian's `busybox-static` and a script as `/init`. Nothing is loaded as a module: console, PCI and power are built in. The initramfs
//! has the disk drivers of 6.1 too, which `/bin/disks` loads.

use super::{cpio::Cpio, find_file, once};
use crate::{apt, paths, run};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

const STAGE: &str = "image kernel";
const FOLDER: &str = "kernel-2";
const INIT: &str = include_str!("../../guest/init.sh");
const APPLETS: &str = "[ ash awk cat chmod cp cttyhack cut date dd df dmesg echo env false find free grep gzip gunzip head hexdump kill ln ls \
    mkdir mknod mount mv nproc od poweroff printf ps pwd reboot rm sed seq setsid sh sha256sum sleep sort stty sync tail test time top touch tr \
    true umount uname uniq uptime vi wc yes lspci insmod";
/// The disk drivers, in the order in which they load.
pub(super) const MODULES: [&str; 11] = [
    "scsi_common",
    "scsi_mod",
    "libata",
    "ata_piix",
    "sd_mod",
    "virtio",
    "virtio_ring",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
];
const DISKS: &str = "#!/bin/sh\n# Loads the disk drivers (kernel 6.1 only) and waits for the first disk.\n\
    for module in $(cat /lib/modules/order); do insmod /lib/modules/$module.ko; done\n\
    for i in $(seq 600); do [ -b /dev/sda ] && exit 0; sleep 0.1; done\nexit 1\n";

pub(super) fn make() -> Result<()> {
    let folder = once(FOLDER, |folder| {
        apt::ensure(STAGE, &[("dpkg", "dpkg")])?;
        let packages = apt::Private::new(STAGE)?;
        let mut archive = skeleton();
        for (version, suite) in [("6.1", apt::SUITE.to_owned()), ("6.12", format!("{}-backports", apt::SUITE))] {
            let name = packages.dependency("linux-image-cloud-amd64", &suite, "linux-image-")?;
            let tree = folder.join("tree");
            packages.unpack(STAGE, &name, &tree)?;
            fs::copy(find_kernel(&tree.join("boot"))?, folder.join(format!("vmlinuz-{version}")))
                .context("cannot copy the kernel")?;
            if version == "6.1" {
                for module in MODULES {
                    let name = format!("{module}.ko");
                    let bytes =
                        fs::read(find_file(&tree.join("lib/modules"), &name)?).context("cannot read a module")?;
                    archive.program(&format!("lib/modules/{name}"), &bytes);
                }
            }
            fs::remove_dir_all(&tree).context("cannot remove the unpacked kernel package")?;
        }
        let tree = folder.join("tree");
        packages.unpack(STAGE, "busybox-static", &tree)?;
        let busybox = fs::read(tree.join("bin/busybox")).context("busybox-static has no bin/busybox")?;
        fs::remove_dir_all(&tree).context("cannot remove the unpacked busybox package")?;
        run::say(STAGE, "write the initramfs");
        fs::write(folder.join("initramfs.cpio"), initramfs(archive, &busybox)).context("cannot write the initramfs")
    })?;
    paths::enter(&[
        ("kernel-6.1", folder.join("vmlinuz-6.1")),
        ("kernel-6.12", folder.join("vmlinuz-6.12")),
        ("initramfs", folder.join("initramfs.cpio")),
    ])
}

pub(super) fn find_kernel(boot: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(boot).with_context(|| format!("cannot read {}", boot.display()))?;
    let mut files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    files
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
        .with_context(|| format!("{} has no kernel", boot.display()))
}

fn skeleton() -> Cpio {
    let mut archive = Cpio::new();
    for folder in ["bin", "sbin", "dev", "etc", "lib", "lib/modules", "proc", "sys", "tmp", "root", "mnt", "run"] {
        archive.folder(folder);
    }
    archive.program("lib/modules/order", MODULES.join(" ").as_bytes());
    archive.program("bin/disks", DISKS.as_bytes());
    archive
}

/// Not compressed: it is small, and unpacking would cost an interpreted CPU more than reading it.
fn initramfs(mut archive: Cpio, busybox: &[u8]) -> Vec<u8> {
    archive.program("bin/busybox", busybox);
    for applet in APPLETS.split_whitespace() {
        archive.link(&format!("bin/{applet}"), "busybox");
    }
    archive.program("init", INIT.as_bytes());
    archive.finish()
}
