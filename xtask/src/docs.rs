//! `cargo xtask docs [--check]`: the parts of pages in `docs` that are made from the code.
//!
//! `whp-api.md` has every function of Microsoft's DLLs with its status, each DLL's table between two comment lines. The tables come from
//! the crates that export the functions: each has an example `whp-api` that prints its own, so that this program does not have to be
//! built with all of them.

use crate::{paths, run};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::process::{Command, Stdio};

const STAGE: &str = "docs";
const PAGE: &str = "docs/whp-api.md";

/// Crates that have a table, and the line above it in the page.
const TABLES: &[(&str, &str)] = &[
    ("winhvplatform", "<!-- functions: made by the code -->\n"),
    ("winhvemulation", "<!-- functions of WinHvEmulation.dll: made by the code -->\n"),
];
/// The line below a table.
const END: &str = "<!-- end of functions -->\n";

/// The command: renews the tables, or with `check` fails when one is out of date.
pub fn command(check: bool) -> Result<()> {
    let path = paths::root().join(PAGE);
    let there = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut page = there.clone();
    for (package, begin) in TABLES {
        if let Some(table) = table(package)? {
            page = replaced(&page, begin, &table).with_context(|| format!("{PAGE}, table of {package}"))?;
        }
    }
    if check {
        ensure!(there == page, "{PAGE} is not what the code says; run `cargo xtask docs` and commit it");
        run::say(STAGE, &format!("{PAGE} is what the code says"));
        return Ok(());
    }
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    run::say(STAGE, &format!("{PAGE} written"));
    Ok(())
}

/// `page` with `table` between `begin` and the next [`END`].
fn replaced(page: &str, begin: &str, table: &str) -> Result<String> {
    let Some((head, rest)) = page.split_once(begin) else { bail!("there is no line {}", begin.trim_end()) };
    let Some((_, tail)) = rest.split_once(END) else { bail!("there is no line {} after the table", END.trim_end()) };
    Ok(format!("{head}{begin}{table}{END}{tail}"))
}

/// The table of `package`; `None` when the workspace has no such crate.
fn table(package: &str) -> Result<Option<String>> {
    if !paths::root().join("crates").join(package).join("examples/whp-api.rs").is_file() {
        return Ok(None);
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::root()).args(["run", "--quiet", "--package", package, "--example", "whp-api"]);
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the example whp-api of {package} cannot be built or run");
    Ok(Some(String::from_utf8(output.stdout).context("a table that is no text")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_table_is_replaced() {
        let page = format!("a\n<!-- x -->\nold\n{END}b\n<!-- y -->\nother\n{END}");
        let new = replaced(&page, "<!-- x -->\n", "new\n").unwrap();
        assert_eq!(new, format!("a\n<!-- x -->\nnew\n{END}b\n<!-- y -->\nother\n{END}"));
        assert!(replaced(&page, "<!-- z -->\n", "").is_err());
        assert!(replaced("<!-- x -->\n", "<!-- x -->\n", "").is_err());
    }
}
