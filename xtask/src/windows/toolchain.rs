//! The compilers and linkers: Debian's `rustc-web` (1.96) builds the standard library together with the program, which needs no target
//! from rustup; MinGW's gcc links for x64, Zig's clang (PyPI package `ziglang`) for arm64.

use super::{STAGE, Target};
use crate::{apt, paths, run};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that was tried.
const ZIG: &str = "ziglang==0.17.1";

/// Cargo's target folder for Windows builds: apart from the host's, which they would otherwise rebuild.
pub(super) fn folder() -> PathBuf {
    paths::target().join("windows")
}

/// Cargo for `target` without a subcommand; installs what is missing.
pub(super) fn cargo(target: Target) -> Result<Command> {
    // Named by dpkg's own lists: `rustc` alone could be Debian's 1.63.
    let mut tools = vec![
        ("/var/lib/dpkg/info/rustc-web.list", "rustc-web"),
        ("/var/lib/dpkg/info/rust-web-src.list", "rust-web-src"),
    ];
    match target {
        Target::X64 => tools.push(("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64")),
        Target::Arm64 => tools.extend([("python3", "python3"), ("pip3", "python3-pip")]),
    }
    apt::ensure(STAGE, &tools)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(paths::root())
        .env("CARGO_TARGET_DIR", folder())
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        // Function names stay for backtraces; line tables would make the programs four times as large.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    if target == Target::Arm64 {
        command.env("CARGO_TARGET_AARCH64_PC_WINDOWS_GNULLVM_LINKER", arm64_linker()?);
    }
    Ok(command)
}

/// Cargo's options for the target and its standard library, to follow the subcommand.
pub(super) fn std_with_it(target: Target) -> [&'static str; 4] {
    ["-Z", "build-std=std,panic_unwind", "--target", target.triple()]
}

/// Zig's folder, installed below the target folder by pip if it is not there.
pub(super) fn zig() -> Result<PathBuf> {
    let done = folder().join("tools").join(ZIG.replace("==", "-"));
    if !done.join("ziglang/zig").is_file() {
        let new = done.with_extension("tmp");
        if new.exists() {
            fs::remove_dir_all(&new).with_context(|| format!("cannot remove {}", new.display()))?;
        }
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--target"]).arg(&new).arg(ZIG);
        run::run(STAGE, &format!("pip install {ZIG}"), &mut pip)?;
        fs::rename(&new, &done).with_context(|| format!("cannot rename {}", new.display()))?;
    }
    Ok(done.join("ziglang"))
}

/// A script that is Zig's clang for the arm64 target, without those options of rustc that are meant for another MinGW. It knows the
/// functions of `synchronization.lib` (`WaitOnAddress`) by their API set's name only.
fn arm64_linker() -> Result<PathBuf> {
    let zig = zig()?;
    let script = folder().join("tools").join("arm64-linker.sh");
    write_program(
        &script,
        &format!(
            "#!/bin/sh\n\
             # Written by `cargo xtask windows`. Zig's clang brings its own libunwind and C run time.\n\
             for arg; do\n\
             \x20   shift\n\
             \x20   case $arg in\n\
             \x20   -nolibc | --unwindlib=none | -lmsvcrt | -lmingw32 | -lmingwex) ;;\n\
             \x20   -lsynchronization) set -- \"$@\" -lapi-ms-win-core-synch-l1-2-0 ;;\n\
             \x20   -lwindows.*) set -- \"$@\" -Wl,-Bstatic \"$arg\" -Wl,-Bdynamic ;;\n\
             \x20   *) set -- \"$@\" \"$arg\" ;;\n\
             \x20   esac\n\
             done\n\
             export ZIG_GLOBAL_CACHE_DIR='{cache}' ZIG_LOCAL_CACHE_DIR='{cache}'\n\
             exec '{zig}' cc -target aarch64-windows-gnu \"$@\"\n",
            cache = folder().join("tools/zig-cache").display(),
            zig = zig.join("zig").display(),
        ),
    )?;
    Ok(script)
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", path.display()))?;
    }
    Ok(())
}
