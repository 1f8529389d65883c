//! Runs other programs with their output in a log file and a progress line on the terminal every few seconds, so that nothing long
//! is ever silent.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_secs(4);

/// Prints one progress line.
pub fn say(stage: &str, text: &str) {
    println!("[{stage}] {text}");
}

/// Prints lines, until whoever reads them has enough (`| head`).
pub fn list<T: std::fmt::Display>(lines: impl IntoIterator<Item = T>) {
    let mut out = std::io::stdout().lock();
    let _enough = lines.into_iter().try_for_each(|line| writeln!(out, "{line}"));
}

/// Runs `command` to its end. `label` names it in progress lines and in its log file's name; the error ends with the log's last lines.
pub fn run(stage: &str, label: &str, command: &mut Command) -> Result<()> {
    let log = log_file(&format!("{stage}-{label}"))?;
    let out = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
    say(stage, label);
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out.try_clone().context("cannot duplicate the log's handle")?)
        .stderr(out)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    let mut beat = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for a child process")? {
            break status;
        }
        if beat.elapsed() >= BEAT {
            beat = Instant::now();
            say(stage, &format!("{label} {:4} s  {}", started.elapsed().as_secs(), last_line(&log)));
        }
        thread::sleep(Duration::from_millis(20));
    };
    if !status.success() {
        bail!("{label}: {} failed ({status}); the end of {}:\n{}", show(command), log.display(), tail(&log, 15));
    }
    if started.elapsed() >= Duration::from_secs(1) {
        say(stage, &format!("{label} done in {:.1} s", started.elapsed().as_secs_f64()));
    }
    Ok(())
}

/// Runs `command` and returns what it printed on standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    if !out.status.success() {
        bail!("{} failed ({}): {}", show(command), out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// [`output`] with a time limit in seconds; a program that takes longer is killed.
pub fn output_within(command: &mut Command, seconds: u64) -> Result<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    let pipes = (child.stdout.take().context("no pipe")?, child.stderr.take().context("no pipe")?);
    let readers = (thread::spawn(move || read_all(pipes.0)), thread::spawn(move || read_all(pipes.1)));
    let limit = Instant::now() + Duration::from_secs(seconds);
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for a child process")? {
            break Some(status);
        }
        if Instant::now() >= limit {
            child.kill().context("cannot kill a child process")?;
            child.wait().context("cannot wait for a child process")?;
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let out = readers.0.join().unwrap_or_default();
    let errors = readers.1.join().unwrap_or_default();
    match status {
        Some(status) if status.success() => Ok(out),
        Some(status) => bail!("{} failed ({status}): {} {}", show(command), last(&out, 30), last(&errors, 30)),
        None => bail!("{} had not ended after {seconds} s: {}", show(command), last(&out, 30)),
    }
}

fn read_all(mut pipe: impl std::io::Read) -> String {
    let mut bytes = Vec::new();
    // What came before an error is still worth showing.
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last `count` lines of a text.
fn last(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A command as a line of text.
pub fn show(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

/// Whether a program of this name is in `PATH` (or in the `sbin` folders that an ordinary user's `PATH` lacks).
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(extra).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A path for a log file in `images/log`.
pub fn log_file(name: &str) -> Result<PathBuf> {
    let folder = crate::paths::images().join("log");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '-' }).collect();
    Ok(folder.join(format!("{name}.log")))
}

/// The last `count` lines of a file.
pub fn tail(file: &Path, count: usize) -> String {
    let text = String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned();
    last(&text, count)
}

fn last_line(file: &Path) -> String {
    let text = tail(file, 1);
    let line = text.rsplit('\r').find(|part| !part.trim().is_empty()).unwrap_or("");
    line.chars().filter(|c| !c.is_control()).take(90).collect()
}
