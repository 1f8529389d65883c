//! `cargo xtask test`: every unit and integration test of the workspace, then the boot matrix; one closing line for both.

use crate::boot::{self, Tally};
use crate::{paths, run};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// The command; whether all was well.
pub fn command(boots: bool, vmm: Option<&str>) -> Result<bool> {
    let (mut tally, success) = cargo_test()?;
    let mut good = success && tally.failed == 0;
    if boots {
        match boot::command(&[], vmm) {
            Ok(more) => {
                good &= more.failed == 0;
                tally.passed += more.passed;
                tally.failed += more.failed;
                tally.skipped += more.skipped;
            }
            Err(error) => {
                // Guests that cannot even be started are a failure, and the closing line must still come.
                run::say("boot", &format!("FAILED: {error:#}"));
                tally.failed += 1;
                good = false;
            }
        }
    }
    if !success && tally.failed == 0 {
        tally.failed = 1;
    }
    println!("{tally}");
    Ok(good)
}

fn cargo_test() -> Result<(Tally, bool)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["test", "--workspace", "--no-fail-fast"])
        .current_dir(paths::root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    run::say("test", &run::show(&command));
    let mut child = command.spawn().context("cannot start cargo test")?;
    let stdout = child.stdout.take().context("no pipe from cargo test")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read from cargo test")?;
        println!("{line}");
        if let Some(more) = parse_result(&line) {
            tally.passed += more.passed;
            tally.failed += more.failed;
            tally.skipped += more.skipped;
        }
    }
    Ok((tally, child.wait().context("cannot wait for cargo test")?.success()))
}

/// `test result: ok. 11 passed; 0 failed; 2 ignored; ...`
fn parse_result(line: &str) -> Option<Tally> {
    let (_, rest) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut tally = Tally::default();
    for part in rest.split(';') {
        let (count, what) = part.trim().split_once(' ')?;
        match (what, count.parse::<u32>()) {
            ("passed", Ok(count)) => tally.passed = count,
            ("failed", Ok(count)) => tally.failed = count,
            ("ignored", Ok(count)) => tally.skipped = count,
            _ => {}
        }
    }
    Some(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_cargo_test() {
        let line = "test result: FAILED. 11 passed; 2 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(parse_result(line), Some(Tally { passed: 11, failed: 2, skipped: 3 }));
        assert_eq!(parse_result("running 3 tests"), None);
    }
}
