//! The sample of the crate `libwhp` 0.1.3 (Cloudbase Solutions, 2018; Apache-2.0), a WHP client that none of us wrote: it starts a
//! small guest in 64-bit mode, has port and memory accesses emulated by `WinHvEmulation.dll`, and answers CPUID and MSR exits.
//!
//! The crate comes from crates.io by `cargo vendor`. Its code is built as it is; only its manifest is ours (no dynamic library, and
//! lints off that its age has earned it), and its guest program, which is C, is linked with `memset` and `memcpy`, which its makefile
//! leaves to the compiler.

use super::{STAGE, Wine, copy};
use crate::{paths, run, windows};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "0.1.3";
/// The edition, dependencies and targets are those of the crate's own manifest.
const MANIFEST: &str = "[package]\nname = \"libwhp\"\nversion = \"0.1.3\"\nedition = \"2015\"\n\
    [lib]\ncrate-type = [\"rlib\"]\n[dependencies]\nbitflags = \"1\"\nlibc = \"0.2\"\n[workspace]\n\
    [lints.rust]\narithmetic_overflow = \"allow\"\ninvalid_reference_casting = \"allow\"\n";
/// It asks the linker for `-lWinHvPlatform`, whose file has no capitals here.
const BUILD: &str = "fn main() {\n    \
    println!(\"cargo:rustc-link-search=native={}/lib\", std::env::var(\"CARGO_MANIFEST_DIR\").unwrap());\n}\n";
const LIBRARIES: [&str; 3] = ["WinHvEmulation", "WinHvPlatform", "Kernel32"];
const MEMORY: &str = "#include <stddef.h>\n\
    void *memset(void *d, int c, size_t n) { char *p = d; while (n--) *p++ = c; return d; }\n\
    void *memcpy(void *d, const void *s, size_t n) { char *p = d; const char *q = s; while (n--) *p++ = *q++; return d; }\n";

/// Runs it, with our DLLs beside it.
pub(super) fn sample(wine: &Wine) -> Result<String> {
    let source = source()?;
    let program = windows::foreign_example(windows::Target::X64, &source, "demo")?;
    let folder = wine.plain.with_file_name("libwhp");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    wine.beside(&folder, &wine.libraries)?;
    copy(&program, &folder)?;
    let text = run::output_within(wine.command(&folder.join("demo.exe")).current_dir(&folder), 60)?;
    for line in [
        "Greetings from the guest!",
        "Got CPUID leaf: 1",
        "Hypervisor present",
        "Hypervisor ID: libwhp",
        "MSR read. Number: 0x1, Rax: 0x2000, Rdx: 0x2001",
        "MSR write. Number: 0x1, Rax: 0x2001, Rdx: 0x2002",
        "MMIO read: 0x1000",
        "MMIO write: 0x1001",
        "All done!",
    ] {
        ensure!(text.lines().any(|found| found.trim_end() == line), "the sample did not print `{line}`: {text}");
    }
    Ok(format!("libwhp {VERSION}: ports and MMIO by WinHvEmulation.dll, CPUID and MSR exits"))
}

/// The crate's source with its guest program, prepared once.
fn source() -> Result<PathBuf> {
    let tools = paths::target().join("windows").join("tools");
    let done = tools.join(format!("libwhp-{VERSION}"));
    if done.is_dir() {
        return Ok(done);
    }
    let new = done.with_extension("tmp");
    if new.exists() {
        fs::remove_dir_all(&new).with_context(|| format!("cannot remove {}", new.display()))?;
    }
    fs::create_dir_all(new.join("src")).with_context(|| format!("cannot create {}", new.display()))?;
    let write =
        |file: &Path, text: &str| fs::write(file, text).with_context(|| format!("cannot write {}", file.display()));
    write(&new.join("src/lib.rs"), "")?;
    let wanted = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\n[dependencies]\nlibwhp = \"={VERSION}\"\n[workspace]\n"
    );
    write(&new.join("Cargo.toml"), &wanted)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut vendor = Command::new(cargo);
    run::run(STAGE, "cargo vendor libwhp", vendor.args(["vendor", "--quiet"]).current_dir(&new))?;
    let crate_ = new.join("vendor/libwhp");
    write(&crate_.join("Cargo.toml"), MANIFEST)?;
    write(&crate_.join("build.rs"), BUILD)?;
    let lib = crate_.join("lib");
    fs::create_dir_all(&lib).with_context(|| format!("cannot create {}", lib.display()))?;
    for name in LIBRARIES {
        let from = Path::new("/usr/x86_64-w64-mingw32/lib").join(format!("lib{}.a", name.to_ascii_lowercase()));
        fs::copy(&from, lib.join(format!("lib{name}.a"))).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    guest(&crate_.join("examples/payload"))?;
    fs::rename(&crate_, &done).with_context(|| format!("cannot rename {}", crate_.display()))?;
    fs::remove_dir_all(&new).with_context(|| format!("cannot remove {}", new.display()))?;
    Ok(done)
}

/// The guest program, a flat binary.
fn guest(folder: &Path) -> Result<()> {
    fs::write(folder.join("memory.c"), MEMORY).context("cannot write memory.c")?;
    for name in ["payload", "memory"] {
        let mut gcc = Command::new("gcc");
        gcc.args(["-O1", "-m64", "-ffreestanding", "-fno-pic", "-fno-stack-protector", "-fcf-protection=none"]);
        gcc.args(["-fno-tree-loop-distribute-patterns", "-c", "-o"]).arg(format!("{name}.o")).arg(format!("{name}.c"));
        run::output(gcc.current_dir(folder))?;
    }
    let mut ld = Command::new("ld");
    ld.args(["-T", "payload.ld", "payload.o", "memory.o", "-o", "payload.img"]);
    run::output(ld.current_dir(folder)).map(drop)
}
