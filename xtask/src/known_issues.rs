//! `docs/known-issues.md`: every statement of the reference text with a command that shows what whpx does. `cargo xtask
//! known-issues` runs the commands; a unit test checks that each is one that exists and that `cargo xtask test` runs.

use crate::boot::{self, Tally};
use crate::{paths, run};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const STAGE: &str = "known-issues";
const PAGE: &str = "docs/known-issues.md";

/// Rows of the page's tables: cells.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let lines = page.lines().filter(|line| line.starts_with('|') && !line.starts_with("| ---"));
    lines.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// The commands of a cell: what stands between backquotes and begins with `cargo`.
fn commands(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).filter(|span| span.starts_with("cargo ")).collect()
}

/// All commands of the page, each once.
fn all(page: &str) -> BTreeSet<&str> {
    rows(page).into_iter().filter_map(|row| row.last().copied()).flat_map(commands).collect()
}

/// Whether some source below `folder` has a test of this name.
fn has_test(folder: &Path, name: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    let function = format!("fn {name}(");
    entries.flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return path.file_name().is_some_and(|name| name != "target") && has_test(&path, name);
        }
        let text = path.extension().filter(|e| *e == "rs").and_then(|_| std::fs::read_to_string(&path).ok());
        text.is_some_and(|text| {
            text.match_indices(&function).any(|(at, _)| {
                let before = text[..at].trim_end();
                before.ends_with("#[test]")
            })
        })
    })
}

/// Why `cargo test ...` is not a command that `cargo xtask test` runs.
fn wrong_test(words: &[&str]) -> Option<String> {
    let (mut package, mut target, mut names) = (None, None, Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "-p" => package = words.next(),
            "--test" => target = words.next(),
            "--lib" => {}
            option if option.starts_with('-') => return Some(format!("unknown option {option}")),
            name => names.push(name),
        }
    }
    let Some(package) = package else { return Some("no -p PACKAGE".into()) };
    let root = paths::root();
    let folder =
        [root.join("crates").join(package), root.join(package)].into_iter().find(|f| f.join("Cargo.toml").is_file());
    let Some(folder) = folder else { return Some(format!("no package {package}")) };
    if let Some(target) = target {
        let there = folder.join("tests").join(format!("{target}.rs")).is_file()
            || folder.join("tests").join(target).join("main.rs").is_file();
        if !there {
            return Some(format!("{package} has no test {target}"));
        }
    }
    let missing = names.into_iter().find(|name| !has_test(&folder, name));
    missing.map(|name| format!("{package} has no test `{name}`"))
}

/// Why the command is none that `cargo xtask test` runs; `None`: it is.
fn wrong(command: &str) -> Option<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["cargo", "test", rest @ ..] => wrong_test(rest),
        ["cargo", "xtask", "boot", names @ ..] if !names.is_empty() => {
            let always = boot::names_that_run_always();
            let unknown = names.iter().find(|name| !always.iter().any(|known| known == *name));
            unknown.map(|name| format!("no boot test `{name}` that runs always"))
        }
        _ => Some("neither `cargo test -p ...` nor `cargo xtask boot NAME`".into()),
    }
}

/// The command: runs every command of the page.
pub fn command() -> Result<Tally> {
    let path = paths::root().join(PAGE);
    let page = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut tally = Tally::default();
    for line in all(&page) {
        if let Some(why) = wrong(line) {
            run::say(STAGE, &format!("{line}: {why}"));
            tally.failed += 1;
            continue;
        }
        let mut words = line.split_whitespace().skip(1);
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(paths::root()).args(words.by_ref());
        run::say(STAGE, line);
        match cargo.status().with_context(|| format!("cannot run {line}"))?.success() {
            true => tally.passed += 1,
            false => {
                run::say(STAGE, &format!("FAILED: {line}"));
                tally.failed += 1;
            }
        }
    }
    println!("{tally}");
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> String {
        std::fs::read_to_string(paths::root().join(PAGE)).unwrap()
    }

    /// What the reference text has headings and options for.
    const STATEMENTS: &[&str] = &[
        "implemented on `Vid`",
        "x86_64 and arm64 Windows machines",
        "Installation",
        "Minimum OS version, x86_64",
        "Minimum OS version, arm64",
        "## Quick Start",
        "`virtio-gpu-pci` against `ramfb`",
        "`-trace whpx_unsupported_msr_access`",
        "`-d invalid_mem`",
        "`-accel whpx,ssd=off`",
        "Guests using legacy VGA modes",
        "Guests using MMX, SSE or AVX instructions for MMIO",
        "PIC interrupts on Windows 10",
        "`-M q35,pic=off`",
        "`-M kernel-irqchip=`",
        "Known issues on Windows 11",
        "ISA feature support",
    ];

    #[test]
    fn every_command_is_one_that_the_tests_run() {
        let page = page();
        let all = all(&page);
        assert!(all.len() > 40, "{}", all.len());
        let wrong: Vec<_> = all.iter().filter_map(|c| wrong(c).map(|why| format!("{c}: {why}"))).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn every_statement_has_a_row_and_every_row_a_command() {
        let page = page();
        let missing: Vec<_> = STATEMENTS.iter().filter(|s| !page.contains(**s)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        for row in rows(&page).iter().filter(|row| row.last().is_none_or(|cell| *cell != "shown by")) {
            assert_eq!(row.len(), 4, "{row:?}");
            let absent = row[3] == "-" && row[2].contains("not yet");
            assert!(absent || !commands(row[3]).is_empty(), "{row:?}");
        }
    }

    #[test]
    fn wrong_commands_are_found_out() {
        for command in [
            "cargo test -p no-such-package",
            "cargo test -p accel --test no_such_target",
            "cargo test -p accel --lib no_such_test",
            "cargo xtask boot no-such-guest",
            "cargo xtask boot lockstep-demo",
            "cargo xtask boot",
            "cargo build",
        ] {
            assert!(wrong(command).is_some(), "{command}");
        }
    }
}
