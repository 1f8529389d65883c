//! Rows that are the time of a boot, and two loops of a known number of instructions.

use super::{Column, Group, Row, Values};
use crate::vmm::{Guest, Machine};
use crate::{paths, run};
use anyhow::{Context, Result, bail};
use std::time::Duration;

fn guests(column: &Column) -> bool {
    column.vmm().is_some()
}

const fn seconds(name: &'static str, what: &'static str) -> Row {
    Row { name, what, unit: "s", digits: 1 }
}

const fn rate(name: &'static str, what: &'static str) -> Row {
    Row { name, what, unit: "Minstr/s", digits: 0 }
}

pub(super) const LOGIN_1: Group = Group {
    rows: &[
        seconds("login-1", "Debian disk from SeaBIOS to login, 1 vCPU"),
        rate("int-loop", "integer loop"),
        rate("fp-loop", "floating-point loop"),
    ],
    has: guests,
    measure: login_1,
};

pub(super) const LOGIN_2: Group =
    Group { rows: &[seconds("login-2", "Debian disk from SeaBIOS to login, 2 vCPUs")], has: guests, measure: login_2 };

pub(super) const KERNEL_6_1: Group = Group {
    rows: &[seconds("kernel-6.1", "direct kernel 6.1 to shell, 1 vCPU")],
    has: guests,
    measure: |column| direct(column, "kernel-6.1", "kernel-6.1", 1),
};

pub(super) const KERNEL_6_12: Group = Group {
    rows: &[seconds("kernel-6.12", "direct kernel 6.12 to shell, 1 vCPU")],
    has: guests,
    measure: |column| direct(column, "kernel-6.12", "kernel-6.12", 1),
};

pub(super) const KERNEL_4_CPUS: Group = Group {
    rows: &[seconds("smp-kernel", "direct kernel 6.1 to shell, 4 vCPUs")],
    has: guests,
    measure: |column| direct(column, "smp-kernel", "kernel-6.1", 4),
};

pub(super) const REBOOT_4_CPUS: Group = Group {
    rows: &[seconds("smp-reboot", "reboot of kernel 6.1, 4 vCPUs, shell to shell")],
    has: guests,
    measure: reboot,
};

/// The mean of five: an interpreter's is the same each time.
fn reboot(column: &Column) -> Result<Values> {
    const REBOOTS: u32 = 5;
    let mut guest = shell(column, "smp-reboot", "kernel-6.1", 4)?;
    guest.expect("# ", 60)?;
    let first = guest.elapsed();
    for _ in 0..REBOOTS {
        guest.line("reboot -f")?;
        ready(&mut guest)?;
        guest.expect("# ", 60)?;
    }
    Ok(vec![("smp-reboot", (guest.elapsed() - first).as_secs_f64() / f64::from(REBOOTS))])
}

/// The demo disk at its login prompt.
pub(super) fn login(column: &Column, name: &str, cpus: u32) -> Result<Guest> {
    let vmm = column.vmm().context("a guest needs a monitor")?;
    let name = format!("bench-{}-{name}", column.short());
    let drive = format!("file={},format=raw,if=ide", paths::asset("demo")?.display());
    let machine = Machine::new(&name).cpus(cpus).memory(2048);
    let mut guest = machine.args(["-cpu", "max", "-drive", &drive, "-snapshot"]).start(vmm)?;
    guest.expect("whpx-demo login: ", 900)?;
    Ok(guest)
}

/// And with root's prompt.
pub(super) fn root(column: &Column, name: &str) -> Result<Guest> {
    let mut guest = login(column, name, 1)?;
    log_in(&mut guest)?;
    Ok(guest)
}

fn log_in(guest: &mut Guest) -> Result<()> {
    guest.line("root")?;
    guest.expect("root@whpx-demo:~# ", 300)?;
    Ok(())
}

fn login_1(column: &Column) -> Result<Values> {
    let mut guest = login(column, "login-1", 1)?;
    let mut values = vec![("login-1", guest.elapsed().as_secs_f64())];
    log_in(&mut guest)?;
    for program in ["int-loop", "fp-loop"] {
        let text = guest.shell(&format!("/opt/bench/{program}"), 300)?;
        run::say("bench", &text);
        values.push((program, parse_rate(&text).with_context(|| format!("{program} printed no rate: {text}"))?));
    }
    Ok(values)
}

fn login_2(column: &Column) -> Result<Values> {
    Ok(vec![("login-2", login(column, "login-2", 2)?.elapsed().as_secs_f64())])
}

fn parse_rate(text: &str) -> Option<f64> {
    text.split_whitespace().find_map(|word| word.strip_prefix("Minstr/s="))?.parse().ok()
}

/// A kernel with the initramfs of the bench programs, at its shell.
pub(super) fn shell(column: &Column, name: &str, kernel: &str, cpus: u32) -> Result<Guest> {
    let vmm = column.vmm().context("a guest needs a monitor")?;
    let mut guest = Machine::new(&format!("bench-{}-{name}", column.short()))
        .cpus(cpus)
        .memory(512)
        .args(["-cpu", "max"])
        .linux_with(kernel, "bench-initramfs")?
        .start(vmm)?;
    ready(&mut guest)?;
    Ok(guest)
}

/// (A panic waits for nothing: QEMU's timer test fails now and then on a busy machine.)
fn ready(guest: &mut Guest) -> Result<()> {
    let ends = ["WHPX-SHELL-READY", "Kernel panic"];
    match guest.serial()?.expect_any(&ends, Duration::from_secs(600))? {
        (0, _) => Ok(()),
        _ => bail!("the guest's kernel panicked: {}", guest.expect("\n", 10)?.trim()),
    }
}

fn direct(column: &Column, row: &'static str, kernel: &str, cpus: u32) -> Result<Values> {
    Ok(vec![(row, shell(column, row, kernel, cpus)?.elapsed().as_secs_f64())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        assert_eq!(parse_rate("INT-LOOP seconds=1.0 Minstr/s=61.5 sum=0"), Some(61.5));
        assert_eq!(parse_rate("nothing"), None);
    }
}
