//! The program `whpx`: running a disk, disk images, probing, tracing.

mod img;
mod trace;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::{probe, run};

const HELP: &str = "\
usage: whpx COMMAND
  run DISK [OPTIONS]      boots a disk or CD image on a machine that suits it
  img COMMAND ...         disk images: create, info, check, convert, snapshot, resize, map
  probe [--json]          what can run guests here, why, and what to do if it is less than it could be
  trace [-o FILE] [--full] -- COMMAND ARGS...
                          run a command, and write down every call it makes to the hypervisor platform
  trace show FILE [--call NAME] [--vp N] [--errors] [--slow US] [--summary]
                          print such a file
  help [COMMAND]          this, or more about a command
  version                 the program's version
whpx-system-x86_64 runs machines with QEMU's options.
";

const PROBE_HELP: &str = "\
usage: whpx probe [--json]
Says whether the Windows Hypervisor Platform is there and good enough, everything it says about itself, how it is
installed, and which platform `-accel whpx` takes. Makes no machine and needs no rights.
  --json   the same as data
status: 0 guests run on the host's hypervisor
        2 guests run on the built-in platform only
        1 an error in the command line
";

const TRACE_HELP: &str = "\
usage: whpx trace [-o FILE] [--full] -- COMMAND ARGS...
Runs COMMAND with WHPX_TRACE set, which makes whpx's programs and WinHvPlatform.dll write each call to the platform with its
arguments, result and time to FILE, one JSON object a line; then prints counts and times. The status is COMMAND's.
  -o FILE   default whpx-trace.jsonl; a file that is there is replaced
  --full    buffers (XSAVE areas, APIC pages, dirty bitmaps) whole, not as length and hash
The file has registers and what goes through ports and device windows in it, but not the guest's memory.

usage: whpx trace show FILE [--call NAME] [--vp N] [--errors] [--slow US] [--summary]
Prints FILE (- is the standard input), a line a call.
  --call NAME   only calls, or reasons of exits, with NAME in their names
  --vp N        only of virtual processor N
  --errors      only calls that failed
  --slow US     only calls of at least US microseconds
  --summary     how many there were, and how long they took
";

/// A command line that makes no sense: a line for standard error.
type Usage = String;

/// The whole of the program `whpx`.
pub fn tool_main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("whpx: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[OsString]) -> Result<ExitCode, Usage> {
    let Some((command, rest)) = args.split_first() else {
        eprint!("{HELP}");
        return Ok(ExitCode::FAILURE);
    };
    let wants_help = || rest.first().is_some_and(|a| a == "-h" || a == "--help");
    match command.to_string_lossy().as_ref() {
        "run" if wants_help() => print(run::HELP),
        "run" => {
            let rest: Vec<String> = rest.iter().map(|a| a.to_string_lossy().into_owned()).collect();
            Ok(run::command(&rest))
        }
        "img" => Ok(img::command(rest)),
        "probe" if wants_help() => print(PROBE_HELP),
        "trace" if wants_help() => print(TRACE_HELP),
        "probe" => probe_command(rest),
        "trace" => trace::command(rest),
        "help" | "-h" | "-help" | "--help" => match rest.first().map(|a| a.to_string_lossy()).as_deref() {
            Some("run") => print(run::HELP),
            Some("img") => print(img::HELP),
            Some("probe") => print(PROBE_HELP),
            Some("trace") => print(TRACE_HELP),
            None | Some("help" | "version") => print(HELP),
            Some(other) => Err(unknown(other)),
        },
        "version" | "-version" | "--version" | "-V" => print(&format!("whpx {}\n", env!("CARGO_PKG_VERSION"))),
        other => Err(unknown(other)),
    }
}

fn unknown(command: &str) -> Usage {
    let near = cli::nearest(command, ["run", "img", "probe", "trace", "help", "version"]);
    let hint = near.map(|n| format!(" Did you mean {n}?")).unwrap_or_default();
    format!("there is no command '{command}'.{hint} 'whpx help' lists them")
}

/// To standard output; somebody who closes it early is no error.
fn print(text: &str) -> Result<ExitCode, Usage> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(ExitCode::SUCCESS)
}

fn probe_command(args: &[OsString]) -> Result<ExitCode, Usage> {
    let json = match args {
        [] => false,
        [one] if one == "--json" => true,
        [first, ..] => return Err(format!("probe: unknown argument '{}'; see 'whpx help probe'", first.display())),
    };
    let report = probe::probe();
    let text = if json {
        serde_json::to_string_pretty(&report).map_err(|e| format!("probe: {e}"))? + "\n"
    } else {
        probe::text(&report)
    };
    print(&text)?;
    Ok(ExitCode::from(report.exit_status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(args: &[&str]) -> Result<ExitCode, Usage> {
        run(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn wrong_command_lines_are_named() {
        assert_eq!(
            status(&["prob"]).unwrap_err(),
            "there is no command 'prob'. Did you mean probe? 'whpx help' lists them"
        );
        assert!(status(&["probe", "--yaml"]).unwrap_err().contains("'--yaml'"));
        assert!(status(&["help", "nothing"]).is_err());
        assert_eq!(status(&["probe", "--help"]), Ok(ExitCode::SUCCESS));
    }
}
