//! `cargo xtask demo [--check]`: Debian 12 from its own disk, from SeaBIOS through GRUB to the login prompt.

use crate::vmm::{Machine, Vmm};
use crate::{apt, image, run, screen};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const STAGE: &str = "demo";
const CPUS: u32 = 2;
const MEMORY: u32 = 2048;

/// The command. Without `check` the user's terminal is the guest's serial line.
pub fn command(check_only: bool, vmm: Option<&str>, extra: &[String]) -> Result<ExitCode> {
    let vmm = Vmm::choose(vmm)?;
    if !vmm.is_qemu() {
        apt::ensure(STAGE, &[("/usr/share/seabios/bios-256k.bin", "seabios")])?;
    }
    let disk = image::demo()?;
    if check_only {
        for (stage, time) in check(&vmm, &disk)? {
            println!("  {stage:<28} {:7.1} s", time.as_secs_f64());
        }
        println!("demo: ok");
        return Ok(ExitCode::SUCCESS);
    }
    let mut command = vmm.command(CPUS, MEMORY);
    command.arg("-hda").arg(&disk).arg("-nographic").args(extra);
    run::say(STAGE, &run::show(&command));
    run::say(STAGE, "log in as root, without a password; `poweroff` ends it");
    let started = Instant::now();
    let status = command.status().with_context(|| format!("cannot start {}", vmm.program.display()))?;
    run::say(STAGE, &format!("ended with {status} after {:.1} s", started.elapsed().as_secs_f64()));
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Boots the disk, logs in, runs commands, powers off; the time of each stage since the start.
pub fn check(vmm: &Vmm, disk: &Path) -> Result<Vec<(&'static str, Duration)>> {
    let mut stages = Vec::new();
    let mut guest = Machine::new("demo").cpus(CPUS).memory(MEMORY).monitor().arg("-hda").arg(disk).start(vmm)?;
    guest.expect("GNU GRUB", 120)?;
    stages.push(("GRUB's menu (serial)", guest.elapsed()));
    guest.expect("Linux version", 180)?;
    stages.push(("kernel (serial)", guest.elapsed()));
    guest.expect("whpx-demo login: ", 600)?;
    stages.push(("login prompt (serial)", guest.elapsed()));
    screen::expect(&mut guest, "login prompt", 120, |line| line.contains("whpx-demo login:"))?;
    stages.push(("login prompt (screen)", guest.elapsed()));
    guest.line("root")?;
    guest.expect("root@whpx-demo:~# ", 120)?;
    stages.push(("root's shell", guest.elapsed()));
    let uname = guest.shell("uname -a", 60)?;
    run::say(STAGE, &uname);
    let cpus = guest.shell("nproc", 60)?;
    ensure!(cpus == CPUS.to_string(), "the guest sees {cpus} processors instead of {CPUS}");
    guest.shell("touch /root/was-here && sync", 60)?;
    stages.push(("commands", guest.elapsed()));
    guest.line("poweroff")?;
    guest.wait_success(240)?;
    stages.push(("power off, status 0", guest.elapsed()));
    Ok(stages)
}
