//! `whpx run DISK`: looks at the disk, chooses a machine for it, says the command line, and runs it.

mod choose;
mod disk;
mod fat;
mod host;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use block::Format;
use cli::Options;

use choose::{Choice, Request, Wish, choose};
use disk::Disk;
use host::Host;

/// The program whose command lines these are.
const SYSTEM: &str = "whpx-system-x86_64";

pub(crate) const HELP: &str = "\
usage: whpx run [--dry-run] [--bios | --uefi] [--format raw|qcow2] DISK [OPTIONS of whpx-system-x86_64]
Looks at DISK (a disk or CD image), chooses a machine that boots it, prints the command line that this stands for, and runs it.
  --dry-run      only print
  --bios, --uefi start with this firmware, whatever the disk looks like
  --format FMT   of DISK; else it is looked at
Chosen are: machine (pc; q35 with UEFI firmware for disks that need it), memory (half of the host's, 1 to 4 GiB), processors (up
to 4), a USB tablet, the web console. OPTIONS come last and replace what is chosen: -m 8G, -nographic, -cdrom FILE, ...
UEFI keeps its settings in DISK.efivars, made from the firmware's own when it is not there.
examples:
  whpx run debian.qcow2
  whpx run debian-installer.iso
  whpx img create -f qcow2 new.qcow2 20G && whpx run new.qcow2 -cdrom debian-installer.iso
";

/// A command line, taken apart.
#[derive(Debug, Default)]
struct Command {
    dry_run: bool,
    wish: Wish,
    format: Option<Format>,
    disk: PathBuf,
    typed: Vec<String>,
}

fn parse(args: &[String]) -> Result<Command, String> {
    let mut command = Command::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--dry-run" => command.dry_run = true,
            "--bios" => command.wish = Wish::Bios,
            "--uefi" => command.wish = Wish::Uefi,
            "--format" => {
                let format = args.next().ok_or("--format needs raw or qcow2")?;
                command.format = Some(format.parse().map_err(|e| format!("--{e}"))?);
            }
            option if option.starts_with('-') && option != "-" => {
                let hint = "options of the machine come after DISK; see 'whpx run --help'";
                return Err(format!("unknown option '{option}': {hint}"));
            }
            disk => {
                command.disk = disk.into();
                break;
            }
        }
    }
    if command.disk == Path::new("") {
        return Err("name a disk image; see 'whpx run --help'".into());
    }
    command.typed = args.cloned().collect();
    // Remembered too late is fine too.
    if let Some(at) = command.typed.iter().position(|a| a == "--dry-run") {
        command.typed.remove(at);
        command.dry_run = true;
    }
    Ok(command)
}

/// The command.
pub(crate) fn command(args: &[String]) -> ExitCode {
    match run(args) {
        Ok(code) => code,
        Err(errors) => {
            errors.iter().for_each(|e| eprintln!("whpx run: {e}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<ExitCode, Vec<String>> {
    let one = |e: String| vec![e];
    let command = parse(args).map_err(one)?;
    let user = Options::parse(command.typed.iter().cloned()).map_err(crate::lines)?;
    let choice = look_and_choose(&command, &user).map_err(one)?;
    for note in &choice.notes {
        eprintln!("whpx run: {note}");
    }
    let copy = choice.copy.as_ref().filter(|c| !c.1.exists());
    if command.dry_run {
        if let Some((from, to)) = copy {
            let [from, to] = [from, to].map(|p| shell_word(&p.display().to_string()));
            println!("{} {from} {to}", if cfg!(windows) { "copy" } else { "cp" });
        }
        println!("{}", shell_line(&choice.args));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some((from, to)) = copy {
        copy_whole(from, to).map_err(|e| one(format!("cannot copy {} to {}: {e}", from.display(), to.display())))?;
    }
    eprintln!("{}", shell_line(&choice.args));
    crate::start(SYSTEM, choice.args.into_iter())
}

/// Copies a file so that it has its name only when it is whole.
fn copy_whole(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    // Not `copy`: the firmware's file is read-only, its copy must not be.
    std::fs::write(&part, std::fs::read(from)?)?;
    std::fs::rename(&part, to)
}

fn look_and_choose(command: &Command, user: &Options) -> Result<Choice, String> {
    let disk = Disk::open(&command.disk, command.format)?;
    let facts = disk.facts();
    let format = disk.format;
    drop(disk); // and its lock
    let bootable = facts.bios.is_some() || facts.esp;
    let cd = user.0.iter().rfind(|o| o.name == "cdrom").filter(|_| !bootable);
    // A CD that cannot be read is the machine's to complain about.
    let cd = cd.and_then(|o| Disk::open(Path::new(&o.value), Some(Format::Raw)).ok()).map(|d| d.facts());
    let dirs: Vec<PathBuf> = user.0.iter().filter(|o| o.name == "L").map(|o| PathBuf::from(&o.value)).collect();
    choose(
        &Host::here(&dirs),
        &Request {
            disk: &command.disk,
            format,
            facts: &facts,
            cd: cd.as_ref(),
            wish: command.wish,
            user,
            typed: &command.typed,
        },
    )
}

fn shell_line(args: &[String]) -> String {
    let words = args.iter().map(|a| shell_word(a));
    std::iter::once(SYSTEM.to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// A word as shells take it.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%".contains(c) || cfg!(windows) && c == '\\';
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    match cfg!(windows) {
        true => format!("\"{word}\""), // no file name has quotation marks there
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}
