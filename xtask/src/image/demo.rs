//! The demo disk: Debian 12 (bookworm) for amd64 on one ext4 partition, GRUB before it; about 2 GiB, sparse, raw.
//!
//! `mmdebstrap` makes the root file system as a tar file, `mke2fs -d` fills the partition, [`super::disk`] writes the boot loader:
//! nothing is mounted and no loop device is used. The kernel is Debian's cloud kernel, which has PIIX IDE and virtio as modules, and no
//! USB: GRUB starts Debian's generic kernel instead where it sees a USB controller. Each has an initrd of our own with only its disk
//! drivers and busybox. root's password is empty. `/opt/bench` has the two loops of `cargo xtask bench`.

use super::cpio::Cpio;
use super::{disk, find_file, once, usb};
use crate::{apt, paths, run};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const STAGE: &str = "image demo";
const FOLDER: &str = "demo-2";
/// Size of the file system; with the gap before it the disk is 2 GiB.
const SIZE_KIB: u64 = 2 * 1024 * 1024 - 1024;
const PACKAGES: &str = "linux-image-cloud-amd64,linux-image-amd64,initramfs-tools,lz4,systemd-sysv,udev,kmod,busybox-static,openssl,python3-minimal,usbutils,evtest";
/// Folders of the generic kernel's modules that a demo has no use for.
const UNUSED: [&str; 16] = [
    "drivers/net/wireless",
    "drivers/net/ethernet/[!ir]*",
    "drivers/media",
    "drivers/infiniband",
    "drivers/iio",
    "drivers/staging",
    "drivers/gpu/drm/amd",
    "drivers/gpu/drm/i915",
    "drivers/gpu/drm/nouveau",
    "drivers/gpu/drm/radeon",
    "drivers/scsi/[!s]*",
    "drivers/hwmon",
    "drivers/mtd",
    "drivers/isdn",
    "drivers/md",
    "sound",
];
/// The generic kernel's drivers of disks that the machines can have; what these need is found.
const GENERIC: [&str; 7] = ["ata_piix", "ahci", "sd_mod", "virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];
/// The line of [`INIT`] that loads modules for every disk.
pub(super) const LOADED: &str = "load scsi_common scsi_mod libata ata_piix sd_mod";
const INIT: &str = include_str!("../../guest/demo-init.sh");
const GRUB_MODULES: [&str; 21] = [
    "biosdisk",
    "part_msdos",
    "ext2",
    "normal",
    "linux",
    "configfile",
    "serial",
    "terminal",
    "echo",
    "minicmd",
    "reboot",
    "halt",
    "ls",
    "cat",
    "test",
    "search",
    "search_label",
    "boot",
    "cpuid",
    "chain",
    "setpci",
];
const TOOLS: [apt::Tool; 7] = [
    ("mmdebstrap", "mmdebstrap"),
    ("grub-mkimage", "grub-common"),
    ("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"),
    ("mke2fs", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("tar", "tar"),
    ("gcc", "gcc"),
];

pub(super) fn make() -> Result<PathBuf> {
    let folder = once(FOLDER, |folder| {
        apt::ensure(STAGE, &TOOLS)?;
        apt::ensure(STAGE, &[("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev")])?;
        if !apt::is_root()? {
            apt::ensure(STAGE, &[("fakeroot", "fakeroot"), ("newuidmap", "uidmap")])?;
        }
        build(folder)
    })?;
    let image = folder.join("demo.img");
    paths::enter(&[("demo", image.clone())])?;
    Ok(image)
}

fn build(folder: &Path) -> Result<()> {
    let bench = folder.join("bench");
    compile(&bench)?;
    let tar = folder.join("root.tar");
    bootstrap(&tar, &bench)?;
    for (name, generic) in [("initrd", false), ("initrd-generic", true)] {
        fs::write(folder.join(name), make_initrd(folder, &tar, generic)?).context("cannot write an initrd")?;
    }
    let file_system = folder.join("root.ext4");
    fill(folder, &tar, &file_system)?;
    let core = folder.join("core.img");
    run::run(
        STAGE,
        "grub-mkimage",
        Command::new("grub-mkimage")
            .args(["-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-o"])
            .arg(&core)
            .args(GRUB_MODULES),
    )?;
    run::say(STAGE, "write the disk image");
    let boot_img = fs::read("/usr/lib/grub/i386-pc/boot.img").context("cannot read GRUB's boot.img")?;
    disk::write(&folder.join("demo.img"), &boot_img, &fs::read(&core).context("cannot read core.img")?, &file_system)?;
    let work = folder.join("tmp");
    if work.exists() {
        fs::remove_dir_all(&work).context("cannot remove mmdebstrap's work folder")?;
    }
    for file in ["root.tar", "root.ext4", "core.img", "initrd", "initrd-generic"] {
        fs::remove_file(folder.join(file)).with_context(|| format!("cannot remove {file}"))?;
    }
    Ok(())
}

fn guest_file(name: &str) -> PathBuf {
    paths::root().join("xtask/guest").join(name)
}

fn compile(bench: &Path) -> Result<()> {
    fs::create_dir_all(bench).context("cannot create the folder of the bench programs")?;
    for name in ["int-loop", "fp-loop"] {
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-static", "-s", "-o"]).arg(bench.join(name)).arg(guest_file(&format!("{name}.c")));
        run::run(STAGE, &format!("compile {name}"), &mut gcc)?;
    }
    Ok(())
}

fn bootstrap(tar: &Path, bench: &Path) -> Result<()> {
    let hook = |file: &str| format!("sh '{}' \"$1\"", guest_file(file).display());
    let mut command = isolated(tar.parent().context("the tar file has no folder")?)?;
    command
        .args([
            "--variant=minbase",
            "--architectures=amd64",
            "--skip=cleanup/reproducible",
            "--aptopt=APT::Install-Recommends \"false\"",
        ])
        .arg(format!("--include={PACKAGES}"))
        .args(["doc", "man", "info", "locale"].map(|name| format!("--dpkgopt=path-exclude=/usr/share/{name}/*")))
        .args(UNUSED.map(|name| format!("--dpkgopt=path-exclude=/lib/modules/*-[0-9]*[0-9]-amd64/kernel/{name}/*")))
        .arg(format!("--setup-hook={}", hook("demo-setup.sh")))
        .arg(format!("--customize-hook={}", hook("demo-finish.sh")))
        .arg(apt::SUITE)
        .arg(tar)
        .args(apt::sources()?.iter().map(apt::Source::line))
        .env("WHPX_BENCH", bench)
        .env("LC_ALL", "C.UTF-8");
    run::run(STAGE, "mmdebstrap", &mut command)
}

/// `mmdebstrap` as root mounts `/proc` and more in its work folder. A mount name space of its own makes these vanish with it, however it
/// ends; only then may the work folder be one that the next attempt removes. Without root it makes such name spaces itself.
fn isolated(folder: &Path) -> Result<Command> {
    let unshare = ["--mount", "--fork", "--kill-child"];
    let can = apt::is_root()? && run::output(Command::new("unshare").args(unshare).arg("true")).is_ok();
    if !can {
        return Ok(Command::new("mmdebstrap"));
    }
    let work = folder.join("tmp");
    fs::create_dir_all(&work).context("cannot create mmdebstrap's work folder")?;
    let mut command = Command::new("unshare");
    command.args(unshare).arg("mmdebstrap").env("TMPDIR", work);
    Ok(command)
}

/// Our initrd, of files from the root file system. Not compressed: it is small, and reading it costs less than unpacking it.
fn make_initrd(folder: &Path, tar: &Path, generic: bool) -> Result<Vec<u8>> {
    let parts = folder.join("parts");
    fs::create_dir_all(&parts).context("cannot create a folder for the initrd's parts")?;
    let mut command = Command::new("tar");
    command.arg("-x").arg("-f").arg(tar).arg("-C").arg(&parts);
    command.args(["--wildcards", "--no-same-owner", "*bin/busybox"]);
    if generic {
        // Dependencies are found in the modules; the cloud kernel's have the same names.
        command.args(["--exclude=*-cloud-amd64", "*.ko"]);
    } else {
        command.args(super::kernel::MODULES.map(|module| format!("*-cloud-amd64/*/{module}.ko")));
    }
    run::run(STAGE, "collect the initrd's parts", &mut command)?;
    let mut archive = Cpio::new();
    for folder in ["bin", "dev", "lib", "lib/modules", "proc", "root", "sys"] {
        archive.folder(folder);
    }
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    archive.program("bin/busybox", &read(&find_file(&parts, "bin/busybox")?)?);
    let mut init = INIT.to_owned();
    if generic {
        let mut order = Vec::new();
        for module in GENERIC {
            usb::add_module(&parts, module, "lib/modules", &mut order, &mut archive)?;
        }
        init = init.replace(LOADED, &format!("load {}", order.join(" ")));
    } else {
        for module in super::kernel::MODULES {
            let name = format!("{module}.ko");
            archive.program(&format!("lib/modules/{name}"), &read(&find_file(&parts, &name)?)?);
        }
    }
    archive.program("init", init.as_bytes());
    fs::remove_dir_all(&parts).context("cannot remove the initrd's parts")?;
    Ok(archive.finish())
}

/// Unpacks the tar file and makes an ext4 image of it. Owners and device nodes need root, or `fakeroot`'s pretence.
fn fill(folder: &Path, tar: &Path, file_system: &Path) -> Result<()> {
    let tree = folder.join("tree");
    fs::create_dir_all(&tree).context("cannot create a folder for the root file system")?;
    // GRUB 2.06 reads neither the orphan file nor a separate checksum seed. The UUIDs are fixed, so that images are alike.
    let script = "set -e; tar -x --numeric-owner --xattrs-include='*' --exclude='./dev/*' -f \"$1\" -C \"$2\"; \
                  cp \"${1%/*}/initrd\" \"$2/boot/initrd.whpx\"; cp \"${1%/*}/initrd-generic\" \"$2/boot/\"; \
                  truncate -s \"$4K\" \"$3\"; \
                  mke2fs -q -F -t ext4 -b 4096 -O '^orphan_file,^metadata_csum_seed' -J size=32 -m 0 -L whpx-root \
                  -E lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0 -d \"$2\" \"$3\"; \
                  e2fsck -fn \"$3\"; rm -rf \"$2\"";
    let mut command = if apt::is_root()? { Command::new("sh") } else { Command::new("fakeroot") };
    if !apt::is_root()? {
        command.arg("sh");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.arg("-c").arg(script).arg("sh").arg(tar).arg(&tree).arg(file_system).arg(SIZE_KIB.to_string());
    run::run(STAGE, "fill the ext4 file system", &mut command)
}
