//! `whpx trace`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use whp_trace::view::{self, Filter};
use whp_trace::{FULL_VARIABLE, TRACE_VARIABLE};

use super::Usage;

pub(super) fn command(args: &[OsString]) -> Result<ExitCode, Usage> {
    match args.split_first() {
        Some((first, rest)) if first == "show" => show(&Show::parse(rest)?),
        _ => Run::parse(args)?.run(),
    }
}

fn usage(what: impl std::fmt::Display) -> Usage {
    format!("trace: {what}; see 'whpx help trace'")
}

/// `whpx trace show`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Show {
    file: PathBuf,
    filter: Filter,
    summary: bool,
}

impl Show {
    fn parse(args: &[OsString]) -> Result<Self, Usage> {
        let mut show = Self::default();
        let mut file = None;
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let text = arg.to_string_lossy();
            let mut value = || {
                let value = args.next().ok_or_else(|| usage(format!("{text} needs a value")))?;
                Ok::<_, Usage>(value.to_string_lossy().into_owned())
            };
            let number = |v: String| v.parse().map_err(|_| usage(format!("{text} {v}: not a number")));
            match text.as_ref() {
                "--call" => show.filter.call = Some(value()?),
                "--vp" => show.filter.vp = Some(number(value()?)?),
                "--slow" => show.filter.slow = Some(number(value()?)?),
                "--errors" => show.filter.errors = true,
                "--summary" => show.summary = true,
                other if other.starts_with('-') && other != "-" => {
                    return Err(usage(format!("unknown option '{other}'")));
                }
                _ if file.is_none() => file = Some(PathBuf::from(arg)),
                other => return Err(usage(format!("one file, not '{other}' too"))),
            }
        }
        show.file = file.ok_or_else(|| usage("show needs a FILE"))?;
        Ok(show)
    }
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, Usage> {
    if path == "-" {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let file = File::open(path).map_err(|e| format!("trace: cannot read {}: {e}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

fn show(args: &Show) -> Result<ExitCode, Usage> {
    let input = open(&args.file)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let done = if args.summary {
        view::totals(input, &args.filter).and_then(|t| out.write_all(view::summary(&t).as_bytes()))
    } else {
        view::show(input, &args.filter, &mut out)
    };
    match done.and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("trace show {}: {e}", args.file.display())),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// `whpx trace -- COMMAND`.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    file: PathBuf,
    full: bool,
    program: OsString,
    args: Vec<OsString>,
}

impl Run {
    fn parse(args: &[OsString]) -> Result<Self, Usage> {
        let mut run = Self { file: "whpx-trace.jsonl".into(), full: false, program: OsString::new(), args: Vec::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.to_string_lossy().as_ref() {
                "--" => {
                    run.program = args.next().ok_or_else(|| usage("'--' needs a COMMAND"))?.clone();
                    run.args = args.cloned().collect();
                    return Ok(run);
                }
                "--full" => run.full = true,
                "-o" => run.file = args.next().ok_or_else(|| usage("-o needs a FILE"))?.into(),
                other => return Err(usage(format!("unknown argument '{other}' (a command comes after '--')"))),
            }
        }
        Err(usage("say 'show FILE' or '-- COMMAND'"))
    }

    fn run(&self) -> Result<ExitCode, Usage> {
        let file = std::path::absolute(&self.file).map_err(|e| usage(format!("-o {}: {e}", self.file.display())))?;
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("trace: cannot replace {}: {e}", file.display()));
            }
            _ => {}
        }
        // Ctrl-C is for the command; what it did by then is shown.
        let _no_handler = ctrlc::set_handler(|| {});
        let mut command = Command::new(&self.program);
        command.args(&self.args).env(TRACE_VARIABLE, &file);
        if self.full {
            command.env(FULL_VARIABLE, "1");
        } else {
            command.env_remove(FULL_VARIABLE);
        }
        let status = command.status().map_err(|e| format!("trace: cannot run {}: {e}", self.program.display()))?;
        match File::open(&file) {
            Ok(input) => {
                let totals = view::totals(BufReader::new(input), &Filter::default());
                let totals = totals.map_err(|e| format!("trace: cannot read {}: {e}", file.display()))?;
                eprint!("{}", view::summary(&totals));
                eprintln!("the calls are in {}; print them with 'whpx trace show'", self.file.display());
            }
            Err(_) => eprintln!("whpx: no trace: {} used no platform that whpx can trace", self.program.display()),
        }
        Ok(ExitCode::from(code(status)))
    }
}

/// The command's status, as shells have it.
fn code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(signal).map_or(255, |s| s.saturating_add(128));
    }
    status.code().map_or(255, |c| u8::try_from(c).unwrap_or(255))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn command_lines() {
        let show = Show::parse(&args("f --call Run --vp 1 --errors --slow 20 --summary")).unwrap();
        let filter = Filter { call: Some("Run".into()), vp: Some(1), errors: true, slow: Some(20) };
        assert_eq!(show, Show { file: "f".into(), filter, summary: true });
        assert!(Show::parse(&args("f --slow x")).unwrap_err().contains("--slow x: not a number"));
        assert!(Show::parse(&args("--call")).is_err() && Show::parse(&[]).is_err());
        let run = Run::parse(&args("--full -o x -- prog -h --")).unwrap();
        assert_eq!((run.full, run.file, run.args), (true, "x".into(), args("-h --")));
        assert!(Run::parse(&args("prog")).unwrap_err().contains("after '--'"));
        assert!(Run::parse(&args("--")).is_err() && Run::parse(&[]).is_err());
    }
}
