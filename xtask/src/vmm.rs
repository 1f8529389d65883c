//! The monitor under test: ours (`whpx-system-x86_64`, release build) or QEMU with TCG as a reference, started with the same options.

use crate::channel::Channel;
use crate::{paths, run};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A program that takes QEMU's options.
#[derive(Debug, Clone)]
pub struct Vmm {
    /// The program.
    pub program: PathBuf,
    /// The value of `-accel`.
    pub accel: String,
    /// Whether it is QEMU, whose messages and monitor differ from ours.
    pub qemu: bool,
    /// What runs the program where the system does not do so itself: a loader and its environment.
    pub loader: Option<(PathBuf, Vec<(String, OsString)>)>,
}

impl Vmm {
    fn native(program: PathBuf, qemu: bool) -> Self {
        Self { program, accel: if qemu { "tcg" } else { "whpx" }.to_owned(), qemu, loader: None }
    }

    /// Our own program, built in release mode first.
    pub fn whpx() -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build
            .args(["build", "--release", "--package", "whpx", "--bin", "whpx-system-x86_64", "--bin", "whpx"])
            .current_dir(paths::root());
        run::run("build", "cargo build --release -p whpx", &mut build)?;
        let name = format!("whpx-system-x86_64{}", std::env::consts::EXE_SUFFIX);
        Ok(Self::native(paths::target().join("release").join(name), false))
    }

    /// Debian's QEMU, if it is installed.
    pub fn qemu() -> Option<Self> {
        run::find_program("qemu-system-x86_64").map(|program| Self::native(program, true))
    }

    /// What `--vmm` names: `whpx`, `qemu`, or a path (a name with `qemu` in it gets `-accel tcg`). Nothing: ours.
    pub fn choose(name: Option<&str>) -> Result<Self> {
        match name {
            None | Some("whpx") => Self::whpx(),
            Some("qemu") => {
                Self::qemu().context("--vmm qemu: qemu-system-x86_64 is not installed (package qemu-system-x86)")
            }
            Some(path) => {
                let program = Path::new(path);
                if !program.is_file() {
                    bail!("--vmm {path}: there is no such program");
                }
                let is_qemu = program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("qemu"));
                Ok(Self::native(program.to_owned(), is_qemu))
            }
        }
    }

    /// The same with another `-accel`.
    pub fn with_accel(&self, accel: &str) -> Self {
        Self { accel: accel.to_owned(), ..self.clone() }
    }

    /// Whether this is QEMU.
    pub fn is_qemu(&self) -> bool {
        self.qemu
    }

    /// The program without any option.
    pub fn process(&self) -> Command {
        match &self.loader {
            None => Command::new(&self.program),
            Some((loader, environment)) => {
                let mut command = Command::new(loader);
                command.arg(&self.program).envs(environment.iter().map(|(name, value)| (name, value)));
                command
            }
        }
    }

    /// The program `whpx` beside it, with its first argument.
    pub fn tool(&self, command: &str) -> Command {
        let name = format!("whpx{}", std::env::consts::EXE_SUFFIX);
        let mut tool = Self { program: self.program.with_file_name(name), ..self.clone() }.process();
        tool.arg(command);
        tool
    }

    /// A command for a machine with so many vCPUs and MiB of memory, nothing else set.
    pub fn command(&self, cpus: u32, memory: u32) -> Command {
        self.command_for("pc", cpus, memory)
    }

    /// The same for a machine type.
    fn command_for(&self, machine: &str, cpus: u32, memory: u32) -> Command {
        let mut command = self.process();
        command.args(["-accel", &self.accel, "-M", machine, "-smp", &format!("cores={cpus}")]);
        command.args(["-m", &format!("{memory}M")]);
        command
    }
}

/// What to start.
#[derive(Debug)]
pub struct Machine {
    name: String,
    kind: &'static str,
    cpus: u32,
    memory: u32,
    monitor: bool,
    /// Instead of machine type, vCPUs and memory: arguments of `whpx run`.
    run: Option<Vec<OsString>>,
    args: Vec<OsString>,
}

impl Machine {
    /// A machine with one vCPU and 256 MiB; `name` begins log files and progress lines.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), kind: "pc", cpus: 1, memory: 256, monitor: false, run: None, args: Vec::new() }
    }

    /// The machine type; `pc` if not called.
    pub fn kind(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    /// The number of vCPUs.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Memory in MiB.
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.memory = mebibytes;
        self
    }

    /// A machine that `whpx run` chooses for this disk, with options before it.
    pub fn run_disk(mut self, options: &[&str], disk: &Path) -> Self {
        self.run = Some(options.iter().map(OsString::from).chain([disk.into()]).collect());
        self
    }

    /// With the monitor's console on standard input and output; the serial line goes over TCP on this machine then.
    pub fn monitor(mut self) -> Self {
        self.monitor = true;
        self
    }

    /// One more option or value.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// More options.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Direct boot of a kernel asset with our initramfs.
    pub fn linux(self, kernel: &str) -> Result<Self> {
        self.linux_with(kernel, "initramfs")
    }

    /// The same with another initramfs asset.
    pub fn linux_with(self, kernel: &str, initramfs: &str) -> Result<Self> {
        Ok(self
            .arg("-kernel")
            .arg(paths::asset(kernel)?)
            .arg("-initrd")
            .arg(paths::asset(initramfs)?)
            .args(["-append", "console=ttyS0,115200"]))
    }

    /// Starts it.
    pub fn start(self, vmm: &Vmm) -> Result<Guest> {
        let listener = if self.monitor {
            Some(TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?)
        } else {
            None
        };
        let mut command = match &self.run {
            Some(_) => vmm.tool("run"),
            None => vmm.command_for(self.kind, self.cpus, self.memory),
        };
        command.args(self.run.iter().flatten()).args(["-display", "none"]);
        match &listener {
            Some(listener) => {
                let port = listener.local_addr().context("cannot get the listening port")?.port();
                command.args(["-monitor", "stdio", "-serial", &format!("tcp:127.0.0.1:{port}")]);
            }
            None => drop(command.args(["-serial", "stdio"])),
        }
        command.args(&self.args);
        let errors = run::log_file(&format!("{}-stderr", self.name))?;
        let file = std::fs::File::create(&errors).with_context(|| format!("cannot create {}", errors.display()))?;
        run::say(&self.name, &run::show(&command));
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", vmm.program.display()))?;
        let stdin = child.stdin.take().context("no pipe to the process")?;
        let stdout = child.stdout.take().context("no pipe from the process")?;
        // From here on a failure must end the process.
        let mut guest = Guest { child, errors, started, serial: None, monitor: None };
        let serial_log = run::log_file(&format!("{}-serial", self.name))?;
        match listener {
            None => guest.serial = Some(Channel::new(&self.name, &serial_log, stdout, stdin)?),
            Some(listener) => {
                let monitor_log = run::log_file(&format!("{}-monitor", self.name))?;
                guest.monitor = Some(Channel::new(&self.name, &monitor_log, stdout, stdin)?.quiet());
                let stream = guest.accept(&listener)?;
                let reader = stream.try_clone().context("cannot duplicate a socket")?;
                guest.serial = Some(Channel::new(&self.name, &serial_log, reader, stream)?);
            }
        }
        Ok(guest)
    }
}

/// A running machine; dropping it kills the process.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    errors: PathBuf,
    started: Instant,
    serial: Option<Channel>,
    monitor: Option<Channel>,
}

impl Guest {
    /// Since the start of the process.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file with what the process says on standard error.
    pub fn errors(&self) -> &Path {
        &self.errors
    }

    /// The serial line.
    pub fn serial(&mut self) -> Result<&mut Channel> {
        self.serial.as_mut().context("this machine has no serial line")
    }

    /// The monitor's console.
    pub fn monitor(&mut self) -> Result<&mut Channel> {
        self.monitor.as_mut().context("this machine has no monitor console")
    }

    /// Waits for a string on the serial line; a process that died is reported with what it said on standard error.
    pub fn expect(&mut self, text: &str, seconds: u64) -> Result<String> {
        let result = self.serial()?.expect(text, Duration::from_secs(seconds));
        result.map_err(|error| self.explain(error))
    }

    /// Sends a line to the guest.
    pub fn line(&mut self, text: &str) -> Result<()> {
        let result = self.serial()?.line(text);
        result.map_err(|error| self.explain(error))
    }

    /// Runs a command in the guest's shell and returns its output. The marks are split by quotes, so that the terminal's echo of the command is not taken for them.
    pub fn shell(&mut self, command: &str, seconds: u64) -> Result<String> {
        self.line(&format!("echo BE\"\"GIN; {command}; echo E\"\"ND-$?-"))?;
        self.expect("BEGIN", seconds)?;
        let text = self.expect("END-", seconds)?;
        let status = self.expect("-", seconds)?;
        if status.trim() != "0" {
            bail!(
                "in the guest, `{command}` ended with status {status}: {}",
                crate::channel::strip_escapes(&text).trim()
            );
        }
        let text = crate::channel::strip_escapes(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !is_kernel_message(line)).collect();
        Ok(lines.join("\n").trim().to_owned())
    }

    /// Waits for the process to end.
    pub fn wait(&mut self, seconds: u64) -> Result<ExitStatus> {
        let limit = Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for the process")? {
                return Ok(status);
            }
            if Instant::now() >= limit {
                bail!("the process had not ended {seconds} s after the guest powered off");
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the process to end with status 0.
    pub fn wait_success(&mut self, seconds: u64) -> Result<()> {
        let status = self.wait(seconds)?;
        if !status.success() {
            bail!("the process ended with {status}{}", self.said());
        }
        Ok(())
    }

    /// Ends the process at once (`SIGKILL`).
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("cannot kill the process")?;
        self.child.wait().context("cannot wait for the process")?;
        Ok(())
    }

    fn accept(&mut self, listener: &TcpListener) -> Result<std::net::TcpStream> {
        listener.set_nonblocking(true).context("cannot make a socket non-blocking")?;
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(false).context("cannot make a socket blocking")?;
                stream.set_nodelay(true).context("cannot set a socket option")?;
                return Ok(stream);
            }
            if let Some(status) = self.child.try_wait().context("cannot wait for the process")? {
                bail!("the process ended with {status} before its serial line was connected{}", self.said());
            }
            if Instant::now() >= limit {
                bail!("the process did not connect its serial line to us within 20 s{}", self.said());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        // Give a process that closed its line a moment to end.
        thread::sleep(Duration::from_millis(100));
        match self.child.try_wait() {
            Ok(Some(status)) => error.context(format!("the process ended with {status}{}", self.said())),
            _ => error,
        }
    }

    fn said(&self) -> String {
        let text = run::tail(&self.errors, 8);
        if text.is_empty() { String::new() } else { format!("; on standard error:\n{text}") }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the guest's kernel wrote the line (`[    1.693194] tsc: ...`): it shares the console with the shell.
fn is_kernel_message(line: &str) -> bool {
    let stamp = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("] "));
    stamp.is_some_and(|(time, _)| time.contains('.') && time.trim().bytes().all(|c| c == b'.' || c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn kernel_messages_are_told_from_output() {
        assert!(super::is_kernel_message("[    1.693194] tsc: Refined TSC clocksource calibration: 1000.0 MHz"));
        assert!(super::is_kernel_message("[12345.693194] x"));
        for output in ["b1946ac9  -", "[ ok ] done", "[1] + 12 done", "", "[1.2.3"] {
            assert!(!super::is_kernel_message(output), "{output}");
        }
    }
}
