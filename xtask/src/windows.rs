//! `cargo xtask windows [--check|--quick]`: builds the programs and DLLs for Windows from Linux and packs them for Windows users.
//!
//! Targets are `x86_64-pc-windows-gnu` (programs and DLLs) and `aarch64-pc-windows-gnullvm` (programs). With `--check` the whole
//! workspace, tests included, is only type-checked for both. With `--quick` the arm64 programs, which nothing here can run, are
//! compiled with few optimisations: what is left of the time is that they compile, link and need what Windows has. Nothing of this was ever run on real Windows; `cargo xtask test --wine`
//! runs the x64 build under Wine.

mod pack;
mod pe;
mod plan;
mod toolchain;

pub use pe::Image;
pub use plan::{Product, Target};

use crate::{apt, paths, run};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

const STAGE: &str = "windows";

/// How much of [`command`] is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Type checks.
    Check,
    /// Everything, the arm64 programs barely optimised.
    Quick,
    /// What users get.
    Full,
}

/// The command: type checks, or executables, DLLs and one zip a target.
pub fn command(effort: Effort) -> Result<()> {
    if effort == Effort::Check {
        for target in Target::ALL {
            let mut cargo = toolchain::cargo(target)?;
            cargo.args(["check", "--workspace", "--all-targets"]).args(toolchain::std_with_it(target));
            run::run(STAGE, &format!("cargo check --workspace for {}", target.triple()), &mut cargo)?;
        }
        println!("windows: the whole workspace compiles for both targets");
        return Ok(());
    }
    apt::ensure(STAGE, &[("zip", "zip"), ("/usr/share/seabios/bios-256k.bin", "seabios")])?;
    let mut zips = Vec::new();
    for target in Target::ALL {
        let built = build_with(target, effort)?;
        zips.push(pack::zip(target, &built)?);
    }
    for zip in zips {
        println!("{:>9} KiB  {}", kib(&zip)?, zip.display());
    }
    Ok(())
}

/// Builds everything the workspace has for `target`; the files, named as they are shipped, in [`folder`].
pub fn build(target: Target) -> Result<Vec<PathBuf>> {
    build_with(target, Effort::Full)
}

fn build_with(target: Target, effort: Effort) -> Result<Vec<PathBuf>> {
    let metadata = plan::metadata(target)?;
    let (products, absent) = plan::products(target, &metadata);
    ensure!(!products.is_empty(), "the workspace has nothing to build for {}", target.triple());
    let mut cargo = toolchain::cargo(target)?;
    cargo.args(["build", "--release"]).args(toolchain::std_with_it(target));
    if effort == Effort::Quick && target == Target::Arm64 {
        cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    }
    let mut packages: Vec<&str> = products.iter().map(|product| product.package).collect();
    packages.dedup();
    for package in packages {
        cargo.args(["--package", package]);
    }
    let started = Instant::now();
    run::run(STAGE, &format!("cargo build --release for {}", target.triple()), &mut cargo)?;
    let folder = folder(target);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut files = Vec::new();
    for product in &products {
        let file = folder.join(product.file);
        let made = toolchain::folder().join(target.triple()).join("release").join(product.made());
        fs::copy(&made, &file).with_context(|| format!("cannot copy {}", made.display()))?;
        inspect(target, &file)?;
        println!("{:>9} KiB  {}", kib(&file)?, file.display());
        files.push(file);
    }
    for product in absent {
        println!("{:>13}  {}: not in the workspace yet", "-", product.file);
    }
    run::say(STAGE, &format!("{} built in {:.0} s", target.triple(), started.elapsed().as_secs_f64()));
    Ok(files)
}

/// Builds the integration tests of `packages` for `target`, in release mode; the programs.
pub fn test_programs(target: Target, packages: &[&str]) -> Result<Vec<PathBuf>> {
    let mut cargo = toolchain::cargo(target)?;
    cargo.args(["test", "--release", "--no-run", "--test", "*", "--message-format=json-render-diagnostics"]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    cargo.args(toolchain::std_with_it(target));
    run::say(STAGE, &run::show(&cargo));
    let text = run::output(&mut cargo)?;
    Ok(plan::executables(&text))
}

/// Builds an example of a package of somebody else's in `folder`, with the compilers of `target`, in release mode; the program.
pub fn foreign_example(target: Target, folder: &Path, name: &str) -> Result<PathBuf> {
    let mut cargo = toolchain::cargo(target)?;
    cargo.args(["build", "--release", "--example", name]).args(toolchain::std_with_it(target)).current_dir(folder);
    run::run(STAGE, &format!("cargo build --example {name} in {}", folder.display()), &mut cargo)?;
    let made = toolchain::folder().join(target.triple()).join("release/examples").join(name).with_extension("exe");
    ensure!(made.is_file(), "cargo left no {}", made.display());
    Ok(made)
}

/// Where [`build`] puts what it made.
pub fn folder(target: Target) -> PathBuf {
    paths::target().join("windows").join("dist").join(target.arch())
}

/// The file must be for the target's machine and need nothing that Windows does not have: no MinGW run-time DLL, and not the
/// hypervisor platform, which is an optional feature and is looked up at run time.
fn inspect(target: Target, file: &Path) -> Result<()> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let image = Image::parse(&bytes).with_context(|| format!("{} is no PE image", file.display()))?;
    ensure!(image.machine == target.machine(), "{} is for machine {:#06x}", file.display(), image.machine);
    if let Some(name) = image.imports.iter().find(|name| !of_the_system(name)) {
        bail!("{} needs {name}, which a plain Windows does not have", file.display());
    }
    Ok(())
}

/// DLLs that every Windows since 10 has.
fn of_the_system(name: &str) -> bool {
    const KNOWN: [&str; 18] = [
        "advapi32.dll",
        "bcrypt.dll",
        "bcryptprimitives.dll",
        "dwmapi.dll",
        "gdi32.dll",
        "imm32.dll",
        "iphlpapi.dll",
        "kernel32.dll",
        "msvcrt.dll",
        "ntdll.dll",
        "ole32.dll",
        "psapi.dll",
        "shell32.dll",
        "user32.dll",
        "userenv.dll",
        "uxtheme.dll",
        "winmm.dll",
        "ws2_32.dll",
    ];
    let name = name.to_ascii_lowercase();
    KNOWN.contains(&name.as_str()) || name.starts_with("api-ms-win-")
}

fn kib(file: &Path) -> Result<u64> {
    Ok(fs::metadata(file).with_context(|| format!("cannot find {}", file.display()))?.len().div_ceil(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_windows_has() {
        assert!(of_the_system("KERNEL32.dll"));
        assert!(of_the_system("api-ms-win-core-synch-l1-2-0.dll"));
        assert!(!of_the_system("libgcc_s_seh-1.dll"));
        assert!(!of_the_system("WinHvPlatform.dll"));
    }
}
