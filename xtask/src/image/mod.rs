//! `cargo xtask image demo|kernel|extras|bench|usb|uefi|installer-cd|pictures|all`: guest images, made from Debian packages only and each made once.
//!
//! Everything is built below a temporary name and renamed at the end, under a lock, so an interruption at any moment leaves
//! either no asset or a whole one. A recipe's number is part of an asset's folder: a changed recipe makes a new asset.

mod bench;
pub mod cpio;
mod demo;
pub mod disk;
mod extras;
mod kernel;
pub mod pictures;
mod uefi;
mod usb;

use crate::paths;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Makes the demo disk if it is not there; its path.
pub fn demo() -> Result<PathBuf> {
    demo::make()
}

/// Makes the direct-boot kernels and their initramfs if they are not there.
pub fn kernel() -> Result<()> {
    kernel::make()
}

/// Unpacks memtest86+, GRUB's rescue CD and the Debian installer if they are not there.
pub fn extras() -> Result<()> {
    extras::make()
}

/// Makes the programs of `cargo xtask bench` and an initramfs with them if they are not there.
pub fn bench() -> Result<()> {
    bench::make()
}

/// Makes the kernel and initramfs that look at USB if they are not there.
pub fn usb() -> Result<()> {
    usb::make()
}

/// Makes the disk that boots by BIOS and UEFI from SATA, its kernel and initramfs, and unpacks OVMF, if they are not there.
pub fn uefi() -> Result<()> {
    uefi::make()
}

/// Makes the installer's disc if it is not there.
pub fn installer_cd() -> Result<()> {
    uefi::make_installer_cd()
}

/// Makes the disc with GRUB's graphical menu and the graphical installer if it is not there.
pub fn pictures() -> Result<()> {
    pictures::make()
}

/// The command.
pub fn command(args: &[String]) -> Result<()> {
    let names: Vec<&str> = args.iter().map(String::as_str).collect();
    let names = if names.is_empty() { vec!["all"] } else { names };
    for name in names {
        match name {
            "demo" => drop(demo()?),
            "kernel" => kernel()?,
            "extras" => extras()?,
            "bench" => bench()?,
            "usb" => usb()?,
            "uefi" => uefi()?,
            "installer-cd" => installer_cd()?,
            "pictures" => pictures()?,
            "all" => {
                kernel()?;
                extras()?;
                bench()?;
                usb()?;
                demo()?;
                uefi()?;
                installer_cd()?;
                pictures()?;
            }
            other => bail!(
                "there is no image `{other}`: the images are demo, kernel, extras, bench, usb, uefi, installer-cd, pictures, all"
            ),
        }
    }
    for (name, path) in paths::manifest() {
        println!("{name} {}", path.display());
    }
    Ok(())
}

/// Makes `images/NAME` by calling `build` with a temporary folder that then gets this name. Does nothing where the folder exists.
fn once(name: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let images = paths::images();
    let done = images.join(name);
    if done.exists() {
        return Ok(done);
    }
    fs::create_dir_all(&images).with_context(|| format!("cannot create {}", images.display()))?;
    let lock = File::create(images.join(".lock")).context("cannot create images/.lock")?;
    lock.lock().context("cannot lock images/.lock")?;
    if done.exists() {
        return Ok(done);
    }
    let temporary = images.join(format!(".tmp-{name}"));
    if temporary.exists() {
        fs::remove_dir_all(&temporary).with_context(|| format!("cannot remove {}", temporary.display()))?;
    }
    fs::create_dir(&temporary).with_context(|| format!("cannot create {}", temporary.display()))?;
    build(&temporary)?;
    fs::rename(&temporary, &done).with_context(|| format!("cannot rename {}", temporary.display()))?;
    Ok(done)
}

/// Finds the path below `folder` that ends like `tail`: some packages put a release in the names of the folders above.
fn find_file(folder: &Path, tail: &str) -> Result<PathBuf> {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let entry = entry.context("cannot read a folder")?;
            if entry.path().ends_with(tail) {
                return Ok(entry.path());
            }
            if entry.file_type().context("cannot get a file's type")?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    bail!("no path ends in {tail}")
}
