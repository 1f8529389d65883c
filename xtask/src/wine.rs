//! `cargo xtask test --wine [NAME...]`: the x64 Windows build under Debian's Wine: that it starts, says what is wrong, boots Linux, keeps disks
//! whole; and, where the workspace has them, our DLLs under our own program and under QEMU for Windows.
//!
//! Wine 8 lacks `bcryptprimitives.dll`, which Rust's standard library asks for random numbers; a shim of one function beside the program
//! takes its place here. It is never shipped. Nothing needs a screen.

mod client;
mod libwhp;
mod tests;

use crate::boot::{self, Tally, Test};
use crate::vmm::Vmm;
use crate::{apt, image, paths, run, windows};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const STAGE: &str = "wine";
const LOADER: &str = "/usr/lib/wine/wine64";
/// `ProcessPrng` by the function that Windows had before it.
const SHIM: &str = "#include <windows.h>\n\
    BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);\n\
    __declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) { return SystemFunction036(data, (ULONG)size); }\n";

/// The command. `names` are beginnings of test names; none means all.
pub fn command(names: &[String]) -> Result<Tally> {
    // The list needs nothing built, so the tests get their set-up when it is there.
    if names.iter().any(|name| name == "list") {
        run::list(tests::names());
        return Ok(Tally::default());
    }
    if let Some(name) = names.iter().find(|name| !tests::names().iter().any(|known| known.starts_with(name.as_str()))) {
        bail!("there is no test `{name}` under Wine: `cargo xtask test --wine list` lists them");
    }
    let wine = Wine::set_up()?;
    image::kernel().context("the direct-boot kernels could not be made")?;
    let tests: Vec<Test> = tests::all(&wine)?
        .into_iter()
        .filter(|test| names.is_empty() || names.iter().any(|name| test.name().starts_with(name.as_str())))
        .collect();
    let tally = boot::schedule(&tests, &wine.whpx());
    wine.end();
    println!("{tally}");
    Ok(tally)
}

/// Wine with a prefix of its own, and the programs to test.
#[derive(Debug, Clone)]
pub(crate) struct Wine {
    prefix: PathBuf,
    /// The program with the shim beside it, without our DLLs.
    plain: PathBuf,
    /// Our DLLs, if the workspace has them.
    libraries: Vec<PathBuf>,
}

impl Wine {
    /// Installs what is missing, builds for Windows, makes the prefix.
    fn set_up() -> Result<Self> {
        apt::ensure(
            STAGE,
            &[
                (LOADER, "wine64"),
                ("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64"),
                ("qemu-img", "qemu-utils"),
                ("gcc", "gcc"),
                ("mke2fs", "e2fsprogs"),
                ("/usr/share/seabios/bios-256k.bin", "seabios"),
                ("unzip", "unzip"),
                ("pip3", "python3-pip"),
            ],
        )?;
        let built = windows::build(windows::Target::X64)?;
        let folder = paths::target().join("windows").join("wine");
        let this = Self {
            prefix: folder.join("prefix"),
            plain: folder.join("plain"),
            libraries: built
                .iter()
                .filter(|file| file.extension().is_some_and(|kind| kind == "dll"))
                .cloned()
                .collect(),
        };
        fs::create_dir_all(&this.plain).with_context(|| format!("cannot create {}", this.plain.display()))?;
        this.beside(&this.plain, &[])?;
        for program in built.iter().filter(|file| file.extension().is_some_and(|kind| kind == "exe")) {
            copy(program, &this.plain)?;
        }
        run::run(STAGE, "wineboot", this.command(Path::new("wineboot.exe")).arg("--init"))?;
        Ok(this)
    }

    /// Puts the shim and `libraries` into `folder`.
    pub(crate) fn beside(&self, folder: &Path, libraries: &[PathBuf]) -> Result<()> {
        let (source, shim) = (self.plain.join("shim.c"), folder.join("bcryptprimitives.dll"));
        fs::write(&source, SHIM).with_context(|| format!("cannot write {}", source.display()))?;
        let mut gcc = Command::new("x86_64-w64-mingw32-gcc");
        let new = shim.with_extension("new");
        gcc.args(["-shared", "-O1", "-s", "-o"]).arg(&new).arg(&source).arg("-ladvapi32");
        run::output(&mut gcc)?;
        replace(&new, &shim)?;
        libraries.iter().try_for_each(|library| copy(library, folder))
    }

    fn environment(&self) -> Vec<(String, OsString)> {
        let value = |name: &str, value: &str| (name.to_owned(), OsString::from(value));
        vec![
            ("WINEPREFIX".to_owned(), self.prefix.clone().into()),
            value("WINEDEBUG", &std::env::var("WINEDEBUG").unwrap_or_else(|_| "-all".to_owned())),
            // Neither HTML nor .NET: the prefix is made without questions.
            value("WINEDLLOVERRIDES", "mscoree,mshtml="),
            // The firmware is the machine's, as for the tests without Wine.
            value("WHPX_FIRMWARE_DIR", "Z:\\usr\\share\\seabios"),
        ]
    }

    /// A Windows program.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(LOADER);
        command.arg(program).envs(self.environment());
        command
    }

    /// A monitor under test.
    pub(crate) fn vmm(&self, program: PathBuf, accel: &str, qemu: bool) -> Vmm {
        Vmm { program, accel: accel.to_owned(), qemu, loader: Some((LOADER.into(), self.environment())) }
    }

    /// Our program on the built-in platform.
    fn whpx(&self) -> Vmm {
        self.vmm(self.plain.join("whpx-system-x86_64.exe"), "whpx,platform=soft", false)
    }

    /// Ends the prefix's server with what still runs in it.
    fn end(&self) {
        let mut server = Command::new("/usr/lib/wine/wineserver64");
        // It fails where none runs any more.
        let _ = run::output(server.arg("-k").envs(self.environment()));
    }
}

/// The status and standard output of a program that may end with any status.
fn status_and_text(command: &mut Command) -> Result<(Option<i32>, String)> {
    let out = command.output().context("cannot start wine")?;
    Ok((out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned()))
}

fn copy(file: &Path, folder: &Path) -> Result<()> {
    let to = folder.join(file.file_name().context("a file without a name")?);
    let new = to.with_extension("new");
    fs::copy(file, &new).with_context(|| format!("cannot copy {} to {}", file.display(), folder.display()))?;
    replace(&new, &to)
}

/// `new` under the name of `old`. What another test has mapped of `old` stays as it is: written over, it would be gone for a
/// moment, and the program that runs from it crash.
fn replace(new: &Path, old: &Path) -> Result<()> {
    fs::rename(new, old).with_context(|| format!("cannot rename {}", new.display()))
}
