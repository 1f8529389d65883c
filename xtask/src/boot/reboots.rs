//! Reboots of guests with four processors: on both machines, by both firmwares, with the local APICs in the platform and outside
//! of it (`kernel-irqchip=`), and as Windows 10 and 11 behave. QEMU's WHPX does not survive the first of them.

use super::q35::{flash, fresh_variables};
use super::tests::{power_off, reference_sum, shell_ready};
use super::{Test, skip};
use crate::run;
use crate::vmm::{Machine, Vmm};
use anyhow::{Result, ensure};

const CPUS: u32 = 4;
/// Reboots in a test that runs when it is named.
const MANY: u32 = 50;

/// A machine, the firmware that starts the kernel, and where the local APICs are.
#[derive(Clone, Copy)]
struct Kind {
    machine: &'static str,
    uefi: bool,
    options: &'static str,
}

pub(super) fn all() -> Vec<Test> {
    let mut all = Vec::new();
    for machine in ["pc", "q35"] {
        for (firmware, uefi, some) in [("seabios", false, 5), ("ovmf", true, 3)] {
            for (irqchip, options) in [("on", "kernel-irqchip=on"), ("off", "kernel-irqchip=off")] {
                let name = format!("smp-reboot-{machine}-{firmware}-{irqchip}");
                add(&mut all, &name, Kind { machine, uefi, options }, Some(some));
            }
        }
    }
    for (name, options) in [("windows10", "behave=windows10"), ("windows11", "behave=windows11")] {
        add(&mut all, &format!("smp-reboot-{name}"), Kind { machine: "pc", uefi: false, options }, None);
    }
    all
}

fn add(all: &mut Vec<Test>, name: &str, kind: Kind, some: Option<u32>) {
    if let Some(some) = some {
        all.push(Test::new(name, CPUS, move |name, vmm| reboots(name, vmm, kind, some)));
    }
    let mut many = Test::new(&format!("{name}-{MANY}"), CPUS, move |name, vmm| reboots(name, vmm, kind, MANY));
    many.only_named = Some("fifty reboots take many minutes");
    all.push(many);
}

/// All processors come back each time, and the time of one reboot is told.
fn reboots(name: &str, vmm: &Vmm, kind: Kind, count: u32) -> Result<String> {
    if vmm.is_qemu() {
        return skip("the options are those of -accel whpx");
    }
    let vmm = &vmm.with_accel(&format!("whpx,{}", kind.options));
    let mut machine = Machine::new(name).kind(kind.machine).cpus(CPUS).memory(512);
    if kind.uefi {
        machine = machine.args(flash(&fresh_variables(name)?)?);
    }
    let mut guest = machine.linux("kernel-6.1")?.start(vmm)?;
    shell_ready(&mut guest, CPUS)?;
    let firmware = guest.shell("[ -d /sys/firmware/efi ] && echo UEFI || echo BIOS", 60)?;
    ensure!((firmware == "UEFI") == kind.uefi, "the guest was booted by {firmware}");
    let first = guest.elapsed();
    for n in 1..=count {
        guest.line("reboot -f")?;
        shell_ready(&mut guest, CPUS)?;
        run::say(name, &format!("reboot {n} of {count} after {:.1} s", guest.elapsed().as_secs_f64()));
    }
    let one = (guest.elapsed() - first).as_secs_f64() / f64::from(count);
    let sum = guest.shell("seq 20000 | sha256sum", 120)?;
    ensure!(sum.starts_with(&reference_sum()?), "the guest computes a wrong SHA-256: {sum}");
    power_off(&mut guest)?;
    Ok(format!("{count} reboots with {CPUS} processors, {one:.2} s each"))
}
