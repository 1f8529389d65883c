//! What is known to go wrong with QEMU's WHPX (`docs/known-issues.md`), with Linux as the guest: NMIs from the monitor, machines
//! without an 8259 pair, old systems behind the DLL (reboots are in [`super::reboots`]).

use super::tests::{fresh, power_off, shell_ready};
use super::{Test, skip};
use crate::vmm::{Guest, Machine, Vmm};
use crate::{paths, run};
use anyhow::{Result, bail, ensure};
use std::process::Command;

pub(super) fn all() -> Vec<Test> {
    let mut all = Vec::new();
    for (mode, options) in [
        ("on", "kernel-irqchip=on"),
        ("off", "kernel-irqchip=off"),
        ("windows11", "behave=windows11"),
        ("windows10", "behave=windows10"),
    ] {
        all.push(Test::new(&format!("nmi-{mode}"), 2, move |name, vmm| nmi(name, vmm, options)));
    }
    for (name, machine, options) in [
        ("pic-off", "pc,pic=off", "whpx"),
        ("pic-off-windows10", "pc,pic=off", "whpx,behave=windows10"),
        ("pic-off-q35-windows10", "q35,pic=off", "whpx,behave=windows10"),
    ] {
        all.push(Test::new(name, 2, move |name, vmm| pic_off(name, vmm, machine, options)));
    }
    for (name, behave, irqchip) in [
        ("dll-windows10", "windows10", ""),
        ("dll-windows10-irqchip-on", "windows10", ",kernel-irqchip=on"),
        ("dll-windows11", "windows11", ""),
    ] {
        all.push(Test::new(name, 2, move |name, vmm| through_the_dll(name, vmm, behave, irqchip)));
    }
    for (name, options) in [("log-and-trace", "hyperv=off"), ("log-and-trace-windows11", "hyperv=off,behave=windows11")]
    {
        all.push(Test::new(name, 1, move |name, vmm| log_and_trace(name, vmm, options)));
    }
    all
}

fn options_of(vmm: &Vmm, options: &str) -> Result<Vmm> {
    if vmm.is_qemu() {
        return skip("the options are those of -accel whpx");
    }
    Ok(vmm.with_accel(&format!("whpx,{options}")))
}

/// Whether the guest's kernel has met an NMI that it did not expect.
fn heard(guest: &mut Guest) -> Result<bool> {
    let text = guest.shell("dmesg | grep -c 'NMI received for unknown reason' || true", 60)?;
    Ok(text.trim() != "0")
}

/// The monitor's `nmi` reaches the guest's kernel, and the guest goes on.
fn nmi(name: &str, vmm: &Vmm, options: &str) -> Result<String> {
    let vmm = &options_of(vmm, options)?;
    let mut guest = Machine::new(name).cpus(2).memory(512).monitor().linux("kernel-6.1")?.start(vmm)?;
    shell_ready(&mut guest, 2)?;
    ensure!(!heard(&mut guest)?, "an NMI came before there was one");
    guest.monitor()?.line("nmi")?;
    let mut tries = 0;
    while !heard(&mut guest)? {
        tries += 1;
        ensure!(tries < 50, "the guest has not heard of the NMI");
        guest.shell("sleep 0.2", 60)?;
    }
    let sum = guest.shell("seq 2000 | sha256sum && nproc", 120)?;
    ensure!(sum.ends_with('2'), "the guest does not go on: {sum}");
    power_off(&mut guest)?;
    Ok("seen by the guest's kernel".into())
}

/// No 8259 pair: the kernel says so, and works with the I/O APIC.
fn pic_off(name: &str, vmm: &Vmm, machine: &'static str, accel: &str) -> Result<String> {
    if vmm.is_qemu() {
        return skip("the options are those of -accel whpx");
    }
    let vmm = &vmm.with_accel(accel);
    let mut guest = Machine::new(name).cpus(2).kind(machine).memory(512).linux("kernel-6.1")?.start(vmm)?;
    for reboot in [true, false] {
        shell_ready(&mut guest, 2)?;
        let says = guest.shell("dmesg | grep -c 'Using NULL legacy PIC' || true", 60)?;
        ensure!(says == "1", "the kernel has found an 8259 pair");
        let lines = guest.shell("grep -c XT-PIC /proc/interrupts || true", 60)?;
        ensure!(lines == "0", "{lines} interrupts of an 8259 pair");
        if reboot {
            guest.line("reboot -f")?;
        }
    }
    power_off(&mut guest)?;
    Ok("the I/O APIC alone, a reboot".into())
}

/// Our program on our own library in the place of Microsoft's DLL, through the C API.
fn through_the_dll(name: &str, vmm: &Vmm, behave: &str, irqchip: &str) -> Result<String> {
    if vmm.is_qemu() || cfg!(windows) {
        return skip("the library is Linux's, for our program");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--package", "winhvplatform", "--lib"]).current_dir(paths::root());
    run::run(name, "cargo build --release -p winhvplatform", &mut build)?;
    let library = paths::target().join("release/libwinhvplatform.so");
    let mut vmm = vmm.with_accel(&format!("whpx,platform=windows{irqchip}"));
    let environment = [("WHPX_WINHVPLATFORM", library.into_os_string()), ("WHPX_DLL_BEHAVE", behave.into())];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
    vmm.loader = Some(("/usr/bin/env".into(), environment));
    let mut guest = Machine::new(name).cpus(2).memory(512).linux("kernel-6.1")?.start(&vmm)?;
    for reboot in [true, false] {
        shell_ready(&mut guest, 2)?;
        let sum = guest.shell("seq 20000 | sha256sum", 240)?;
        ensure!(sum.starts_with(&super::tests::reference_sum()?), "the guest computes a wrong SHA-256: {sum}");
        if reboot {
            guest.line("reboot -f")?;
        }
    }
    power_off(&mut guest)?;
    Ok(format!("a reboot, off after {:.1} s", guest.elapsed().as_secs_f64()))
}

/// `-trace whpx_unsupported_msr_access` and `-d invalid_mem` say what a guest does that nobody is there for.
fn log_and_trace(name: &str, vmm: &Vmm, options: &str) -> Result<String> {
    const NOWHERE: &str = "0xc0000010";
    let vmm = &options_of(vmm, options)?;
    let (traced, logged) = (fresh(&format!("{name}.trace"))?, fresh(&format!("{name}.log"))?);
    let trace = format!("whpx_unsupported_msr_access,file={}", traced.display());
    let mut guest = Machine::new(name)
        .memory(512)
        .linux("kernel-6.1")?
        .args(["-trace", &trace, "-d", "invalid_mem"])
        .arg("-D")
        .arg(&logged)
        .start(vmm)?;
    shell_ready(&mut guest, 1)?;
    let value = guest.shell(&format!("busybox devmem {NOWHERE} 32"), 60)?;
    ensure!(value.eq_ignore_ascii_case("0xffffffff"), "nothing reads {value} and not all ones");
    power_off(&mut guest)?;
    let text = std::fs::read_to_string(&traced)?;
    let events =
        text.lines().filter(|l| l.starts_with("whpx_unsupported_msr_access msr=0x") && l.contains("is_write="));
    let events = events.count();
    ensure!(events > 0, "no MSR access in {}", traced.display());
    let text = std::fs::read_to_string(&logged)?;
    let line =
        text.lines().find(|l| l.contains(&format!("Invalid read at addr {NOWHERE}, size 4, device 'unassigned'")));
    let Some(line) = line else { bail!("the access is not in {}", logged.display()) };
    ensure!(line.contains("reason: ") && line.contains("RIP 0x"), "{line}");
    Ok(format!("{events} accesses to MSRs, and: {}", line.trim()))
}
