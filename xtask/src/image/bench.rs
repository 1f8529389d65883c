//! What `cargo xtask bench` runs in guests and here: `guest/kernels.c` as one static program, and an initramfs that is the one of the direct
//! boots with an archive behind it that has the program (Linux takes several archives in a row).

use super::{cpio::Cpio, once};
use crate::{apt, paths, run};
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;

const STAGE: &str = "image bench";
const FOLDER: &str = "bench-2";

pub(super) fn make() -> Result<()> {
    super::kernel()?;
    let initramfs = paths::asset("initramfs")?;
    let folder = once(FOLDER, |folder| {
        apt::ensure(STAGE, &[("gcc", "gcc"), ("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev")])?;
        let program = folder.join("kernels");
        let source = paths::root().join("xtask/guest/kernels.c");
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-static", "-s", "-pthread", "-o"]).arg(&program).arg(source);
        run::run(STAGE, "compile kernels", &mut gcc)?;
        let mut archive = Cpio::new();
        archive.folder("bench");
        archive.program("bench/kernels", &fs::read(&program).context("cannot read the program")?);
        let mut all = fs::read(&initramfs).context("cannot read the initramfs")?;
        all.resize(all.len().next_multiple_of(4), 0);
        all.extend(archive.finish());
        fs::write(folder.join("initramfs.cpio"), all).context("cannot write the initramfs")
    })?;
    paths::enter(&[("kernels", folder.join("kernels")), ("bench-initramfs", folder.join("initramfs.cpio"))])
}
