//! `cargo xtask docs [--check]`: the pages of `docs` that are made from the code.
//!
//! `whp-api.md` has every function of Microsoft's DLLs with its status. The tables come from the crates that export the functions: each
//! has an example `whp-api` that prints its own, so that this program does not have to be built with all of them.

use crate::{paths, run};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::Command;

const STAGE: &str = "docs";

/// A DLL: the crate that makes it, and what is said before its table.
struct Dll {
    package: &'static str,
    title: &'static str,
}

const DLLS: &[Dll] = &[
    Dll { package: "winhvplatform", title: "WinHvPlatform.dll" },
    Dll { package: "winhvemulation", title: "WinHvEmulation.dll" },
];

const HEAD: &str = "\
# The functions of our WinHvPlatform.dll and WinHvEmulation.dll

Made from the code by `cargo xtask docs`; do not edit. *done*: as Microsoft documents the function; *partly*: with the limits that the
note names; an error code in code type: the function is there and returns that, because there is no hardware or hypervisor
behind it.
";

/// The command: writes the pages, or with `check` fails when one differs from what would be written.
pub fn command(check: bool) -> Result<()> {
    let mut page = HEAD.to_owned();
    for dll in DLLS {
        if let Some(table) = table(dll.package)? {
            page += &format!("\n## {}\n\n{table}", dll.title);
        }
    }
    let path = paths::root().join("docs/whp-api.md");
    if check {
        let there = fs::read_to_string(&path).unwrap_or_default();
        ensure!(there == page, "{} is not what the code says; run `cargo xtask docs` and commit it", path.display());
        run::say(STAGE, "docs/whp-api.md is what the code says");
        return Ok(());
    }
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    run::say(STAGE, "docs/whp-api.md written");
    Ok(())
}

/// The table of `package`; `None` when the workspace has no such crate.
fn table(package: &str) -> Result<Option<String>> {
    if !paths::root().join("crates").join(package).join("examples/whp-api.rs").is_file() {
        return Ok(None);
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::root()).args(["run", "--quiet", "--package", package, "--example", "whp-api"]);
    let output = cargo.stderr(std::process::Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the example whp-api of {package} cannot be built or run");
    Ok(Some(String::from_utf8(output.stdout).context("a table that is no text")?))
}
