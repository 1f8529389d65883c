//! What the `q35` tests boot. Debian's generic kernel 6.1 (the cloud kernels have no AHCI driver) with the initramfs of [`super::kernel`] and
//! SATA, SCSI and file system modules; a disk that boots by BIOS and by UEFI: the demo disk with that kernel, and with an EFI system
//! partition behind it that holds GRUB; and OVMF, Debian's UEFI firmware.

use super::{cpio::Cpio, kernel, once, usb};
use crate::{apt, paths, run};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

const STAGE: &str = "image uefi";
const FOLDER: &str = "uefi-1";
/// What is loaded; what these need comes before them. ext4 asks for its checksum by name, so nothing depends on it.
const MODULES: [&str; 7] = ["ahci", "ata_piix", "sd_mod", "sr_mod", "crc32c_generic", "ext4", "isofs"];
const GRUB_MODULES: [&str; 17] = [
    "part_msdos",
    "ext2",
    "fat",
    "normal",
    "linux",
    "configfile",
    "serial",
    "terminal",
    "echo",
    "minicmd",
    "reboot",
    "halt",
    "search",
    "search_label",
    "search_fs_file",
    "boot",
    "test",
];
const EARLY: &str =
    "search --label whpx-root --set=root\nset prefix=($root)/boot/grub\nconfigfile /boot/grub/grub.cfg\n";
const GRUB: &str = "serial --unit=0 --speed=115200\nterminal_input console serial\nterminal_output console serial\n\
    set timeout=1\nset default=0\nmenuentry \"Debian GNU/Linux 12 (bookworm), generic kernel\" {\n\
    echo \"Loading the generic kernel\"\n\
    linux /boot/vmlinuz.sata root=LABEL=whpx-root ro console=tty0 console=ttyS0,115200\n\
    initrd /boot/initrd.sata\n}\n";
const INIT: &str = include_str!("../../guest/demo-init.sh");
const SECTOR: u64 = 512;
/// Bytes of the EFI system partition.
const ESP: u64 = 64 << 20;
const CD_STAGE: &str = "image installer-cd";
const CD_FOLDER: &str = "installer-cd-1";
/// Bytes of the disc's EFI file system.
const CD_ESP: u64 = 4 << 20;
const CD_EARLY: &str =
    "search --file /boot/initrd.gz --set=root\nset prefix=($root)/boot/grub\nconfigfile /boot/grub/grub.cfg\n";
const CD_GRUB: &str = "serial --unit=0 --speed=115200\nterminal_input console serial\nterminal_output console serial\n\
    set timeout=1\nset default=0\nmenuentry \"Install Debian\" {\n\
    echo \"Loading the installer\"\n\
    linux /boot/linux console=ttyS0,115200\n\
    initrd /boot/initrd.gz\n}\n";
/// OVMF's files: in the package, and their names here.
const OVMF: [(&str, &str); 3] = [
    ("usr/share/OVMF/OVMF_CODE_4M.fd", "OVMF_CODE_4M.fd"),
    ("usr/share/OVMF/OVMF_VARS_4M.fd", "OVMF_VARS_4M.fd"),
    ("usr/share/ovmf/OVMF.fd", "OVMF.fd"),
];

/// Debian's installer on a disc that boots by BIOS and by UEFI, with GRUB on the serial line: its netboot kernel and initrd.
pub(super) fn make_installer_cd() -> Result<()> {
    super::extras()?;
    let folder = once(CD_FOLDER, |folder| {
        let tools = [
            ("dpkg", "dpkg"),
            ("grub-mkimage", "grub-common"),
            ("/usr/lib/grub/i386-pc/cdboot.img", "grub-pc-bin"),
            ("mkfs.vfat", "dosfstools"),
            ("mcopy", "mtools"),
            ("xorriso", "xorriso"),
        ];
        apt::ensure(CD_STAGE, &tools)?;
        let packages = apt::Private::new(CD_STAGE)?;
        let tree = folder.join("tree");
        packages.unpack(CD_STAGE, "grub-efi-amd64-bin", &tree)?;
        let disc = folder.join("disc");
        fs::create_dir_all(disc.join("boot/grub")).context("cannot make the disc's folders")?;
        for (asset, name) in [("installer-kernel", "linux"), ("installer-initrd", "initrd.gz")] {
            fs::copy(paths::asset(asset)?, disc.join("boot").join(name)).context("cannot copy the installer")?;
        }
        let early = folder.join("early.cfg");
        fs::write(disc.join("boot/grub/grub.cfg"), CD_GRUB)
            .and_then(|()| fs::write(&early, CD_EARLY))
            .context("cannot write GRUB's configuration")?;
        let mkimage = |platform: &str, modules: &Path, out: &Path, more: &[&str]| {
            let mut command = Command::new("grub-mkimage");
            command.arg("-d").arg(modules).args(["-O", platform, "-p", "/boot/grub", "-c"]).arg(&early);
            run::output(command.arg("-o").arg(out).args(GRUB_MODULES).arg("iso9660").args(more))
        };
        let bios = Path::new("/usr/lib/grub/i386-pc");
        mkimage("i386-pc-eltorito", bios, &disc.join("boot/bios.img"), &["biosdisk"])?;
        let efi = folder.join("BOOTX64.EFI");
        mkimage("x86_64-efi", &tree.join("usr/lib/grub/x86_64-efi"), &efi, &[])?;
        esp(&disc.join("boot/efi.img"), &efi, CD_ESP)?;
        run::output(
            Command::new("xorriso")
                .args([
                    "-as",
                    "mkisofs",
                    "-quiet",
                    "-V",
                    "WHPX-INSTALLER",
                    "-R",
                    "-b",
                    "boot/bios.img",
                    "-no-emul-boot",
                ])
                .args(["-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info"])
                .args(["-eltorito-alt-boot", "-e", "boot/efi.img", "-no-emul-boot", "-o"])
                .arg(folder.join("installer.iso"))
                .arg(&disc),
        )?;
        for name in ["tree", "disc"] {
            fs::remove_dir_all(folder.join(name)).context("cannot remove the disc's parts")?;
        }
        fs::remove_file(early).and_then(|()| fs::remove_file(efi)).context("cannot remove the disc's parts")
    })?;
    paths::enter(&[("installer-cd", folder.join("installer.iso"))])
}

/// A FAT file system with `efi` where firmware looks for it.
pub(super) fn esp(path: &Path, efi: &Path, size: u64) -> Result<()> {
    File::create(path).and_then(|f| f.set_len(size)).context("cannot make the EFI system partition")?;
    let mkfs = run::find_program("mkfs.vfat").unwrap_or_else(|| "mkfs.vfat".into());
    run::output(Command::new(mkfs).args(["-n", "WHPX-ESP"]).arg(path))?;
    run::output(Command::new("mmd").arg("-i").arg(path).args(["::EFI", "::EFI/BOOT"]))?;
    run::output(Command::new("mcopy").arg("-i").arg(path).arg(efi).arg("::EFI/BOOT/BOOTX64.EFI"))?;
    Ok(())
}

pub(super) fn make() -> Result<()> {
    kernel::make()?;
    let demo = super::demo()?;
    let folder = once(FOLDER, |folder| {
        let tools =
            [("dpkg", "dpkg"), ("grub-mkimage", "grub-common"), ("mkfs.vfat", "dosfstools"), ("mcopy", "mtools")];
        apt::ensure(STAGE, &tools)?;
        let packages = apt::Private::new(STAGE)?;
        let tree = folder.join("tree");
        packages.unpack(STAGE, "ovmf", &tree)?;
        for (from, to) in OVMF {
            fs::copy(tree.join(from), folder.join(to)).with_context(|| format!("ovmf has no {from}"))?;
        }
        let name = packages.dependency("linux-image-amd64", apt::SUITE, "linux-image-")?;
        packages.unpack(STAGE, &name, &tree)?;
        fs::copy(kernel::find_kernel(&tree.join("boot"))?, folder.join("vmlinuz")).context("cannot copy the kernel")?;
        run::say(STAGE, "write the initial file systems");
        let base = fs::read(paths::asset("initramfs")?).context("cannot read the initramfs")?;
        fs::write(folder.join("initramfs.cpio"), [base, modules(&tree, true)?.finish()].concat())
            .context("cannot write the initramfs")?;
        packages.unpack(STAGE, "busybox-static", &tree)?;
        fs::write(folder.join("initrd"), initrd(&tree)?).context("cannot write the disk's initrd")?;
        packages.unpack(STAGE, "grub-efi-amd64-bin", &tree)?;
        disk(&demo, folder, &tree)?;
        fs::remove_dir_all(&tree).context("cannot remove the unpacked packages")
    })?;
    paths::enter(&[
        ("kernel-sata", folder.join("vmlinuz")),
        ("initramfs-sata", folder.join("initramfs.cpio")),
        ("uefi", folder.join("disk.img")),
        ("ovmf-code", folder.join("OVMF_CODE_4M.fd")),
        ("ovmf-vars", folder.join("OVMF_VARS_4M.fd")),
        ("ovmf", folder.join("OVMF.fd")),
    ])
}

/// The modules, and their order for `/bin/disks`.
fn modules(tree: &Path, order_too: bool) -> Result<Cpio> {
    let mut archive = Cpio::new();
    for folder in ["lib", "lib/modules"] {
        archive.folder(folder);
    }
    let mut order = Vec::new();
    for module in MODULES {
        usb::add_module(&tree.join("lib/modules"), module, "lib/modules", &mut order, &mut archive)?;
    }
    if order_too {
        archive.program("lib/modules/order", order.join(" ").as_bytes());
    } else {
        archive.program("init", INIT.replace(super::demo::LOADED, &format!("load {}", order.join(" "))).as_bytes());
    }
    Ok(archive)
}

/// The disk's own initrd: the demo's, with other modules.
fn initrd(tree: &Path) -> Result<Vec<u8>> {
    let mut archive = modules(tree, false)?;
    for folder in ["bin", "dev", "proc", "root", "sys"] {
        archive.folder(folder);
    }
    let busybox = fs::read(tree.join("bin/busybox")).context("busybox-static has no bin/busybox")?;
    archive.program("bin/busybox", &busybox);
    Ok(archive.finish())
}

/// The demo disk with another kernel, and a partition more.
fn disk(demo: &Path, folder: &Path, tree: &Path) -> Result<()> {
    run::say(STAGE, "copy the demo disk and add the EFI system partition");
    let image = folder.join("disk.img");
    run::output(Command::new("cp").arg("--sparse=always").arg(demo).arg(&image))?;
    let (grub, early) = (folder.join("grub.cfg"), folder.join("early.cfg"));
    fs::write(&grub, GRUB).and_then(|()| fs::write(&early, EARLY)).context("cannot write GRUB's configuration")?;
    let script = format!(
        "write {0}/vmlinuz /boot/vmlinuz.sata\nwrite {0}/initrd /boot/initrd.sata\nrm /boot/grub/grub.cfg\n\
         write {0}/grub.cfg /boot/grub/grub.cfg\n",
        folder.display()
    );
    let commands = folder.join("debugfs");
    fs::write(&commands, script).context("cannot write the commands of debugfs")?;
    let mut file = File::options().read(true).write(true).open(&image).context("cannot open the disk")?;
    let mut mbr = [0; 512];
    file.read_exact(&mut mbr).context("cannot read the disk's partition table")?;
    let first = u64::from(u32::from_le_bytes([mbr[454], mbr[455], mbr[456], mbr[457]])) * SECTOR;
    let debugfs = run::find_program("debugfs").unwrap_or_else(|| "debugfs".into());
    let at = format!("{}?offset={first}", image.display());
    let text = run::output(Command::new(debugfs).arg("-w").arg("-f").arg(&commands).arg(at))?;
    anyhow::ensure!(text.contains("Allocated inode"), "debugfs has not written the files: {text}");

    let efi = folder.join("BOOTX64.EFI");
    let mut mkimage = Command::new("grub-mkimage");
    mkimage.arg("-d").arg(tree.join("usr/lib/grub/x86_64-efi")).args(["-O", "x86_64-efi", "-p", "/boot/grub"]);
    run::output(mkimage.arg("-c").arg(&early).arg("-o").arg(&efi).args(GRUB_MODULES))?;
    let partition = folder.join("esp.img");
    esp(&partition, &efi, ESP)?;
    let end = file.metadata().context("cannot read the disk's size")?.len();
    let entry = entry(0xEF, end / SECTOR, ESP / SECTOR);
    mbr[462..478].copy_from_slice(&entry);
    let write = |file: &mut File| {
        file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&mbr))?;
        file.seek(SeekFrom::Start(end))?;
        std::io::copy(&mut File::open(&partition)?, file)
    };
    write(&mut file).context("cannot write the EFI system partition")?;
    for name in ["grub.cfg", "early.cfg", "debugfs", "esp.img", "BOOTX64.EFI", "initrd"] {
        fs::remove_file(folder.join(name)).with_context(|| format!("cannot remove {name}"))?;
    }
    Ok(())
}

/// An entry of the partition table, with addresses that cylinders do not reach.
fn entry(kind: u8, first: u64, sectors: u64) -> [u8; 16] {
    let mut e = [0, 0xFE, 0xFF, 0xFF, kind, 0xFE, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0];
    e[8..12].copy_from_slice(&(first as u32).to_le_bytes());
    e[12..16].copy_from_slice(&(sectors as u32).to_le_bytes());
    e
}
