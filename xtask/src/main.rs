//! Developer commands: `cargo xtask image | demo | boot | test | bench | windows | docs | known-issues`.

use anyhow::{Result, bail};
use std::process::ExitCode;
use xtask::{bench, boot, demo, docs, fuzz, image, known_issues, suite, windows, wine};

const USAGE: &str = "usage: cargo xtask COMMAND
  demo [--check] [-- OPTIONS]            boot Debian 12 from a disk to its login; with --check log in, power off and report by itself
  boot [NAME...|list]                    boot real guests and check what they do
  test [--no-boot]                       all unit tests, then `boot`
  test --wine [NAME...|list]             the Windows build under Wine
  windows [--check|--quick]              programs and DLLs for Windows in target/windows; --check: only compile all for both targets;
                                         --quick: arm64's, which nothing here runs, barely optimised
  known-issues                           run every command of docs/known-issues.md
  docs [--check]                         tables in docs that are made from the code; with --check fail when one is out of date
  bench [--runs N] [--fast] [ROW...|list]  times and speeds, beside QEMU's TCG and this machine itself; --fast: without the interpreter
  bench exits                            round trips of exits in ns: C API, decoded accesses, /dev/kvm, QEMU's TCG
  fuzz [TARGET...|list] [--seconds N]    libFuzzer on the targets of fuzz/, a minute each by default
  image [demo|kernel|extras|bench|pictures|all]...  make guest images from Debian packages, each once, in images/ (or $WHPX_IMAGES)
demo, boot and bench take --vmm whpx|qemu|PATH: the program to run (default: our release build).
";

/// What was given after the command's name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Args {
    names: Vec<String>,
    flags: Vec<String>,
    vmm: Option<String>,
    runs: Option<usize>,
    seconds: Option<usize>,
    extra: Vec<String>,
}

fn parse(args: &[String], flags: &[&str]) -> Result<Args> {
    let mut parsed = Args::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--" => parsed.extra = args.by_ref().cloned().collect(),
            "--vmm" | "--runs" | "--seconds" if flags.contains(&arg.as_str()) => {
                let Some(value) = args.next() else { bail!("{arg} needs a value\n{USAGE}") };
                match arg.as_str() {
                    "--vmm" => parsed.vmm = Some(value.clone()),
                    "--seconds" => match value.parse() {
                        Ok(seconds @ 1..) => parsed.seconds = Some(seconds),
                        _ => bail!("--seconds {value}: give a number of seconds"),
                    },
                    _ => match value.parse() {
                        Ok(count @ 1..=99) => parsed.runs = Some(count),
                        _ => bail!("--runs {value}: give a number from 1 to 99"),
                    },
                }
            }
            flag if flags.contains(&flag) => parsed.flags.push(arg.clone()),
            flag if flag.starts_with('-') => bail!("there is no option `{flag}` here\n{USAGE}"),
            _ => parsed.names.push(arg.clone()),
        }
    }
    Ok(parsed)
}

fn status(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn command(args: &[String]) -> Result<ExitCode> {
    let Some((name, rest)) = args.split_first() else {
        print!("{USAGE}");
        return Ok(ExitCode::FAILURE);
    };
    match name.as_str() {
        "demo" => {
            let args = parse(rest, &["--check", "--vmm"])?;
            demo::command(!args.flags.is_empty(), args.vmm.as_deref(), &args.extra)
        }
        "boot" => {
            let args = parse(rest, &["--vmm"])?;
            Ok(status(boot::command(&args.names, args.vmm.as_deref())?.failed == 0))
        }
        "test" => {
            let args = parse(rest, &["--no-boot", "--wine", "--vmm"])?;
            if args.flags.iter().any(|flag| flag == "--wine") {
                return Ok(status(wine::command(&args.names)?.failed == 0));
            }
            Ok(status(suite::command(args.flags.is_empty(), args.vmm.as_deref())?))
        }
        "bench" => {
            let args = parse(rest, &["--runs", "--vmm", "--fast"])?;
            let tiers: &[&str] = if args.flags.is_empty() { &["translator", "interpreter"] } else { &["translator"] };
            bench::command(&args.names, args.runs.unwrap_or(3), args.vmm.as_deref(), tiers).map(|()| ExitCode::SUCCESS)
        }
        "windows" => {
            let args = parse(rest, &["--check", "--quick"])?;
            let has = |flag: &str| args.flags.iter().any(|f| f == flag);
            let effort = match (has("--check"), has("--quick")) {
                (true, _) => windows::Effort::Check,
                (false, true) => windows::Effort::Quick,
                (false, false) => windows::Effort::Full,
            };
            windows::command(effort).map(|()| ExitCode::SUCCESS)
        }
        "known-issues" => Ok(status(known_issues::command()?.failed == 0)),
        "docs" => docs::command(!parse(rest, &["--check"])?.flags.is_empty()).map(|()| ExitCode::SUCCESS),
        "fuzz" => {
            let args = parse(rest, &["--seconds"])?;
            fuzz::command(&args.names, args.seconds.unwrap_or(fuzz::SECONDS)).map(|()| ExitCode::SUCCESS)
        }
        "image" => image::command(&parse(rest, &[])?.names).map(|()| ExitCode::SUCCESS),
        "-h" | "--help" | "help" => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("there is no command `{other}`\n{USAGE}"),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    command(&args).unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_names_and_the_rest() {
        let args = parse(&words("a --vmm qemu b -- -snapshot --x"), &["--vmm"]).unwrap();
        assert_eq!(args.names, ["a", "b"]);
        assert_eq!(args.vmm.as_deref(), Some("qemu"));
        assert_eq!(args.extra, ["-snapshot", "--x"]);
    }

    #[test]
    fn wrong_options_are_errors() {
        assert!(parse(&words("--check"), &["--vmm"]).is_err());
        assert!(parse(&words("--vmm"), &["--vmm"]).is_err());
        assert!(parse(&words("--runs 0"), &["--runs"]).is_err());
    }
}
