//! A disc that looks as Debian's does: GRUB's graphical menu over a background picture, by BIOS and by UEFI, and behind it the installer's
//! graphical front end, its text front end in a framebuffer, and that in the card's text mode. The background's every pixel is known
//! ([`background`]), and so is the menu's font: `cargo xtask boot picture` looks for both on the screen.

use super::{cpio, find_file, once, uefi};
use crate::{apt, paths, run};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

const STAGE: &str = "image pictures";
const FOLDER: &str = "pictures-2";
/// The menu's resolution.
pub const SIZE: [u32; 2] = [1024, 768];
/// The menu's entries: graphical, framebuffer, text.
pub const ENTRIES: [&str; 3] = ["Graphical install", "Install", "Install in text mode"];
const ESP: u64 = 8 << 20;
const MODULES: [&str; 18] = [
    "part_msdos",
    "iso9660",
    "normal",
    "linux",
    "configfile",
    "terminal",
    "echo",
    "minicmd",
    "reboot",
    "halt",
    "search",
    "search_fs_file",
    "boot",
    "test",
    "all_video",
    "gfxterm",
    "gfxterm_background",
    "tga",
];
const EARLY: &str =
    "search --file /boot/grub/back.tga --set=root\nset prefix=($root)/boot/grub\nconfigfile /boot/grub/grub.cfg\n";

fn config() -> String {
    let [width, height] = SIZE;
    let mut text = format!(
        "set gfxmode={width}x{height}x32\nloadfont /boot/grub/unicode.pf2\nterminal_output gfxterm\n\
         background_image /boot/grub/back.tga\nset color_normal=light-gray/black\n\
         set menu_color_normal=white/black\nset menu_color_highlight=yellow/blue\nset timeout=-1\nset default=0\n"
    );
    // Only the first gets the kernel's driver for the card; the others keep the mode that GRUB has set.
    for (name, payload, options, initrd) in [
        (ENTRIES[0], "800x600x16", "vga=788", "gtk.gz"),
        (ENTRIES[1], "800x600x16", "vga=788 modprobe.blacklist=bochs", "text.gz"),
        (ENTRIES[2], "text", "vga=normal fb=false modprobe.blacklist=bochs", "text.gz"),
    ] {
        text += &format!(
            "menuentry \"{name}\" {{\nset gfxpayload={payload}\nlinux /boot/linux {options} --- quiet\ninitrd /boot/{initrd}\n}}\n"
        );
    }
    text
}

/// The background at a place: all levels of each primary are in it.
pub fn background(x: u32, y: u32) -> u32 {
    let (red, green, blue) = (x / 4, y / 3, (x ^ y) & 0xFF);
    (red & 0xFF) << 16 | (green & 0xFF) << 8 | blue
}

/// An uncompressed Truevision TGA file, top row first.
fn tga() -> Vec<u8> {
    let [width, height] = SIZE;
    let mut bytes = vec![0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend((width as u16).to_le_bytes());
    bytes.extend((height as u16).to_le_bytes());
    bytes.extend([24, 0x20]);
    for y in 0..height {
        bytes.extend((0..width).flat_map(|x| background(x, y).to_le_bytes().into_iter().take(3)));
    }
    bytes
}

/// A file of a compressed initrd.
fn from_initrd(initrd: &Path, name: &str) -> Result<Vec<u8>> {
    let out = Command::new("gzip").arg("-dc").arg(initrd).output().context("cannot start gzip")?;
    cpio::find(&out.stdout, name).with_context(|| format!("the initrd has no {name}")).map(<[u8]>::to_vec)
}

pub(super) fn make() -> Result<()> {
    let folder = once(FOLDER, |folder| {
        let tools = [
            ("dpkg", "dpkg"),
            ("grub-mkimage", "grub-common"),
            ("/usr/share/grub/unicode.pf2", "grub-common"),
            ("/usr/lib/grub/i386-pc/cdboot.img", "grub-pc-bin"),
            ("mkfs.vfat", "dosfstools"),
            ("mcopy", "mtools"),
            ("xorriso", "xorriso"),
        ];
        apt::ensure(STAGE, &tools)?;
        let packages = apt::Private::new(STAGE)?;
        let tree = folder.join("tree");
        packages.unpack(STAGE, "grub-efi-amd64-bin", &tree)?;
        packages.unpack(STAGE, "debian-installer-12-netboot-amd64", &tree)?;
        let disc = folder.join("disc");
        fs::create_dir_all(disc.join("boot/grub")).context("cannot make the disc's folders")?;
        for (file, name) in [
            ("text/debian-installer/amd64/linux", "linux"),
            ("text/debian-installer/amd64/initrd.gz", "text.gz"),
            ("gtk/debian-installer/amd64/initrd.gz", "gtk.gz"),
        ] {
            fs::rename(find_file(&tree, file)?, disc.join("boot").join(name)).context("cannot move the installer")?;
        }
        let (early, font) = (folder.join("early.cfg"), folder.join("unicode.pf2"));
        let logo = from_initrd(&disc.join("boot/gtk.gz"), "usr/share/graphics/logo_debian.png")?;
        fs::write(folder.join("logo.png"), logo).context("cannot write the installer's banner")?;
        fs::copy("/usr/share/grub/unicode.pf2", &font)
            .and_then(|_| fs::copy(&font, disc.join("boot/grub/unicode.pf2")))
            .context("cannot copy GRUB's font")?;
        fs::write(disc.join("boot/grub/grub.cfg"), config())
            .and_then(|()| fs::write(disc.join("boot/grub/back.tga"), tga()))
            .and_then(|()| fs::write(&early, EARLY))
            .context("cannot write GRUB's configuration")?;
        let mkimage = |platform: &str, modules: &Path, out: &Path, more: &[&str]| {
            let mut command = Command::new("grub-mkimage");
            command.arg("-d").arg(modules).args(["-O", platform, "-p", "/boot/grub", "-c"]).arg(&early);
            run::output(command.arg("-o").arg(out).args(MODULES).args(more))
        };
        let bios = Path::new("/usr/lib/grub/i386-pc");
        mkimage("i386-pc-eltorito", bios, &disc.join("boot/bios.img"), &["biosdisk"])?;
        let efi = folder.join("BOOTX64.EFI");
        mkimage("x86_64-efi", &tree.join("usr/lib/grub/x86_64-efi"), &efi, &["fat"])?;
        uefi::esp(&disc.join("boot/efi.img"), &efi, ESP)?;
        run::output(
            Command::new("xorriso")
                .args(["-as", "mkisofs", "-quiet", "-V", "WHPX-PICTURES", "-R", "-b", "boot/bios.img"])
                .args(["-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info"])
                .args(["-eltorito-alt-boot", "-e", "boot/efi.img", "-no-emul-boot", "-o"])
                .arg(folder.join("pictures.iso"))
                .arg(&disc),
        )?;
        for name in ["tree", "disc"] {
            fs::remove_dir_all(folder.join(name)).context("cannot remove the disc's parts")?;
        }
        fs::remove_file(early).and_then(|()| fs::remove_file(efi)).context("cannot remove the disc's parts")
    })?;
    paths::enter(&[
        ("pictures", folder.join("pictures.iso")),
        ("grub-font", folder.join("unicode.pf2")),
        ("installer-banner", folder.join("logo.png")),
    ])
}
