//! The boot tests themselves. Time limits are for our interpreter on a machine of two processors, with room.

use super::{Test, skip, usb, wrong_input};
use crate::vmm::{Guest, Machine, Vmm};
use crate::{demo, paths, run, screen};
use anyhow::{Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seconds for a direct kernel boot to the shell.
const SHELL: u64 = 240;

pub(super) fn all() -> Vec<Test> {
    let mut all = vec![Test::new("wrong-input", 1, wrong_input::run_all)];
    for kernel in ["kernel-6.1", "kernel-6.12"] {
        for cpus in [1, 2, 4] {
            let name = format!("{kernel}-{cpus}cpu");
            all.push(Test::new(&name, cpus, move |name, vmm| direct(name, vmm, kernel, cpus)));
        }
    }
    for cpus in [1, 2, 4] {
        all.push(Test::new(&format!("hyperv-on-{cpus}cpu"), cpus, move |name, vmm| hyperv(name, vmm, cpus, true)));
    }
    all.push(Test::new("hyperv-off", 2, |name, vmm| hyperv(name, vmm, 2, false)));
    for (name, cpus, options) in [
        ("irqchip-off-1cpu", 1, "kernel-irqchip=off"),
        ("irqchip-off-4cpu", 4, "kernel-irqchip=off,hyperv=off"),
        ("irqchip-off-undecoded", 2, "kernel-irqchip=off,x-decoded=off"),
        ("undecoded", 2, "x-decoded=off"),
        ("windows10", 2, "behave=windows10"),
        ("windows10-irqchip-on", 2, "behave=windows10,kernel-irqchip=on"),
        ("windows11", 2, "behave=windows11"),
        ("interpreter", 2, "tier=interpreter"),
        ("msr-faults", 2, "ignore-unknown-msr=off,intercept-msr-gp=on,ssd=off"),
    ] {
        all.push(Test::new(name, cpus, move |name, vmm| accel_options(name, vmm, cpus, options)));
    }
    all.push(Test::new("installer", 1, installer));
    all.push(Test::new("grub-cd", 1, |name, vmm| grub_cd(name, vmm, "pc")));
    all.push(Test::new("q35-grub-cd", 1, |name, vmm| grub_cd(name, vmm, "q35")));
    all.push(Test::new("kill-9", 1, kill_9));
    all.push(Test::new("memtest", 1, |name, vmm| memtest(name, vmm, true)));
    all.push(Test::new("reboot-20", 2, reboot_20));
    all.push(Test::new("vga-modes", 1, crate::vga::modes));
    all.push(Test::new("vnc-clients", 2, super::vnc_clients::run_all));
    all.push(Test::new("qmp", 2, super::qmp::run_all));
    all.push(Test::new("blockdev", 1, super::blockdev::run_all));
    all.push(Test::new("demo", 2, |_, vmm| demo_overlay(vmm)));
    all.extend(super::run_disk::all());
    all.extend(super::usb_boot::all());
    all.push(super::leds::test());
    all.push(Test::new("xhci", 1, usb::xhci));
    all.push(Test::new("hotplug", 1, usb::hot_plug));
    all.extend(super::q35::all());
    all.extend(super::pcie::all());
    all.extend(super::front_ends::all());
    all.extend(super::pictures::all());
    all.extend(super::suspend::all());
    all.extend(super::defects::all());
    all.extend(super::reboots::all());
    let mut full = Test::new("full-memtest", 1, |name, vmm| memtest(name, vmm, false));
    full.only_named = Some("the bit fade test waits for minutes");
    all.push(full);
    for (name, run) in [("lockstep-kernel", lockstep_kernel as fn(&str, &Vmm) -> _), ("lockstep-demo", lockstep_demo)] {
        let mut test = Test::new(name, 1, run);
        test.only_named = Some("interpreter and translator in lockstep take many minutes");
        all.push(test);
    }
    all
}

/// Waits until the guest's `/init` says that it is there. A message of the kernel may come between what the serial port's
/// FIFO takes at once, 16 bytes, and the rest.
pub(crate) fn shell_mark(guest: &mut Guest, seconds: u64) -> Result<()> {
    guest.expect("WHPX-SHELL-READY", seconds)?;
    guest.expect("cpus=", 60).map(drop)
}

pub(crate) fn shell_ready(guest: &mut Guest, cpus: u32) -> Result<()> {
    shell_mark(guest, SHELL)?;
    let count = guest.expect("\n", 30)?;
    ensure!(count.trim() == cpus.to_string(), "the guest sees {} processors instead of {cpus}", count.trim());
    guest.expect("# ", 60)?;
    // The kernel's later messages must not cut the shell's lines.
    guest.shell("dmesg -n 1", 60)?;
    Ok(())
}

pub(crate) fn power_off(guest: &mut Guest) -> Result<()> {
    guest.line("poweroff -f")?;
    guest.wait_success(60)
}

pub(crate) fn direct(name: &str, vmm: &Vmm, kernel: &str, cpus: u32) -> Result<String> {
    let mut guest = Machine::new(name).cpus(cpus).memory(512).linux(kernel)?.start(vmm)?;
    shell_ready(&mut guest, cpus)?;
    let ready = guest.elapsed();
    let release = guest.shell("uname -r", 60)?;
    let sum = guest.shell("seq 20000 | sha256sum", 60)?;
    // SHA-256 of the numbers 1 to 20000, one a line.
    ensure!(sum.starts_with(&reference_sum()?), "the guest computes a wrong SHA-256: {sum}");
    power_off(&mut guest)?;
    Ok(format!("Linux {release}, shell after {:.1} s", ready.as_secs_f64()))
}

/// The Hyper-V enlightenments, asked for or refused: what the guest's kernel finds and uses, and a reboot.
fn hyperv(name: &str, vmm: &Vmm, cpus: u32, on: bool) -> Result<String> {
    if vmm.is_qemu() {
        return skip("the options are those of -accel whpx");
    }
    let vmm = &vmm.with_accel(&format!("whpx,hyperv={}", if on { "on" } else { "off" }));
    let mut guest = Machine::new(name).cpus(cpus).memory(512).linux("kernel-6.1")?.start(vmm)?;
    for _ in 0..2 {
        shell_ready(&mut guest, cpus)?;
        let says = guest.shell("dmesg | grep -o 'Hypervisor detected: .*' || echo none", 60)?;
        let clock = guest.shell("cat /sys/devices/system/clocksource/clocksource0/current_clocksource", 60)?;
        let wanted = if on { "Microsoft Hyper-V" } else { "VMware" };
        ensure!(says.contains(wanted), "the guest says: hypervisor {says}");
        ensure!((clock == "hyperv_clocksource_tsc_page") == on, "the guest's clock source is {clock}");
        let ipis =
            guest.shell("dmesg | grep -c 'Using hypercall for remote TLB flush\\|Using IPI hypercalls' || true", 60)?;
        ensure!((ipis == "2") == on, "the guest uses {ipis} of the two kinds of hypercalls");
        let sum = guest.shell("seq 20000 | sha256sum", 60)?;
        ensure!(sum.starts_with(&reference_sum()?), "the guest computes a wrong SHA-256: {sum}");
        guest.line("reboot -f")?;
    }
    shell_ready(&mut guest, cpus)?;
    power_off(&mut guest)?;
    Ok(format!("two reboots, the last shell after {:.1} s", guest.elapsed().as_secs_f64()))
}

/// Linux with other accelerator options: a shell, right sums, a reboot.
fn accel_options(name: &str, vmm: &Vmm, cpus: u32, options: &str) -> Result<String> {
    if vmm.is_qemu() {
        return skip("the options are those of -accel whpx");
    }
    let vmm = &vmm.with_accel(&format!("whpx,{options}"));
    let mut guest = Machine::new(name).cpus(cpus).memory(512).linux("kernel-6.1")?.start(vmm)?;
    shell_ready(&mut guest, cpus)?;
    let sum = guest.shell("seq 20000 | sha256sum", 120)?;
    ensure!(sum.starts_with(&reference_sum()?), "the guest computes a wrong SHA-256: {sum}");
    guest.line("reboot -f")?;
    shell_ready(&mut guest, cpus)?;
    power_off(&mut guest)?;
    Ok(format!("a reboot, the second shell after {:.1} s", guest.elapsed().as_secs_f64()))
}

/// The same command on this machine.
pub(crate) fn reference_sum() -> Result<String> {
    let text = run::output(Command::new("sh").args(["-c", "seq 20000 | sha256sum"]))?;
    Ok(text.split_whitespace().next().unwrap_or("?").to_owned())
}

fn installer(name: &str, vmm: &Vmm) -> Result<String> {
    let mut guest = Machine::new(name)
        .memory(1024)
        .arg("-kernel")
        .arg(paths::asset("installer-kernel")?)
        .arg("-initrd")
        .arg(paths::asset("installer-initrd")?)
        .args(["-append", "console=ttyS0,115200"])
        .start(vmm)?;
    guest.expect("Select a language", 900)?;
    guest.expect("English", 60)?;
    Ok(format!("language menu after {:.1} s", guest.elapsed().as_secs_f64()))
}

fn grub_cd(name: &str, vmm: &Vmm, kind: &'static str) -> Result<String> {
    let mut guest = Machine::new(name).kind(kind).monitor().arg("-cdrom").arg(paths::asset("grub-cd")?).start(vmm)?;
    screen::expect(&mut guest, "menu of GRUB", 120, |line| line.contains("GNU GRUB"))?;
    screen::key(&mut guest, "c")?;
    screen::expect(&mut guest, "prompt of GRUB", 60, |line| line.starts_with("grub>"))?;
    Ok(format!("prompt after {:.1} s", guest.elapsed().as_secs_f64()))
}

/// One pass of all tests. The bit fade test (#10) waits for 160 s and more of real time doing nothing; `skip_fade` skips it by memtest86+'s own menu.
fn memtest(name: &str, vmm: &Vmm, skip_fade: bool) -> Result<String> {
    let mut guest = Machine::new(name)
        .memory(64)
        .monitor()
        .arg("-kernel")
        .arg(paths::asset("memtest")?)
        .args(["-append", "console=ttyS0,115200"])
        .start(vmm)?;
    screen::expect(&mut guest, "title of memtest86+", 120, |line| line.contains("Memtest86+"))?;
    let limit = 1500;
    let number = |line: &str, label: &str| -> Option<u32> {
        line.split_once(label)?.1.split_whitespace().next()?.parse::<u32>().ok()
    };
    let mut skipped = false;
    loop {
        let line = screen::expect(&mut guest, "completed pass", limit, |line| {
            number(line, "Pass:").is_some_and(|passes| passes > 0) || !skipped && line.contains("Test #10")
        })?;
        if line.contains("Test #10") {
            skipped = true;
            if skip_fade {
                screen::key(&mut guest, "f1")?;
                screen::expect(&mut guest, "menu of memtest86+", 60, |line| line.contains("Skip current test"))?;
                screen::key(&mut guest, "f5")?;
            }
            continue;
        }
        ensure!(number(&line, "Errors:") == Some(0), "memtest86+ found errors: {line}");
        let note = if skip_fade { ", bit fade test skipped" } else { "" };
        return Ok(format!("pass 1 without errors after {:.1} s{note}", guest.elapsed().as_secs_f64()));
    }
}

fn reboot_20(name: &str, vmm: &Vmm) -> Result<String> {
    let mut guest = Machine::new(name).cpus(2).linux("kernel-6.1")?.start(vmm)?;
    shell_ready(&mut guest, 2)?;
    for count in 1..=20 {
        guest.line("reboot -f")?;
        shell_ready(&mut guest, 2)?;
        run::say(name, &format!("reboot {count} of 20 after {:.1} s", guest.elapsed().as_secs_f64()));
    }
    power_off(&mut guest)?;
    Ok(format!("20 reboots in {:.1} s", guest.elapsed().as_secs_f64()))
}

/// A fresh disk in `images/work` under this name.
pub(crate) fn fresh(name: &str) -> Result<PathBuf> {
    let path = paths::work()?.join(name);
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    Ok(path)
}

/// A fresh overlay of the demo disk.
pub(super) fn overlay(name: &str) -> Result<PathBuf> {
    let disk = fresh(name)?;
    let base = std::fs::canonicalize(paths::asset("demo")?)?;
    run::output(
        Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(base).arg(&disk),
    )?;
    Ok(disk)
}

pub(crate) fn ext4_as_qcow2(name: &str) -> Result<PathBuf> {
    let (raw, disk) = (fresh(&format!("{name}.raw"))?, fresh(&format!("{name}.qcow2"))?);
    let mke2fs = run::find_program("mke2fs").unwrap_or_else(|| "mke2fs".into());
    run::output(Command::new(mke2fs).args(["-q", "-F", "-t", "ext4"]).arg(&raw).arg("512M"))?;
    run::output(Command::new("qemu-img").args(["convert", "-q", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(&disk))?;
    std::fs::remove_file(&raw)?;
    Ok(disk)
}

/// `qemu-img check`: status 0 is clean, 3 means leaked clusters only (allowed after a kill), anything else is damage.
pub(crate) fn check(disk: &Path) -> Result<&'static str> {
    let out = Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(disk).output()?;
    match out.status.code() {
        Some(0) => Ok("no errors"),
        Some(3) => Ok("leaks only"),
        _ => bail!(
            "qemu-img check: {} {}",
            String::from_utf8_lossy(&out.stdout).trim(),
            String::from_utf8_lossy(&out.stderr).trim()
        ),
    }
}

fn kill_9(name: &str, vmm: &Vmm) -> Result<String> {
    let disk = ext4_as_qcow2(name)?;
    let start = |part: &str| -> Result<Guest> {
        let mut guest = Machine::new(&format!("{name}-{part}"))
            .memory(512)
            .linux("kernel-6.1")?
            .arg("-hda")
            .arg(&disk)
            .start(vmm)?;
        shell_ready(&mut guest, 1)?;
        guest.shell("disks", 120)?;
        Ok(guest)
    };
    let mut guest = start("write")?;
    guest.shell("mount -t ext4 /dev/sda /mnt", 60)?;
    guest.shell("echo kept > /mnt/first && sync", 60)?;
    guest.line("i=0; while true; do i=$((i+1)); mkdir /mnt/d$i; dd if=/dev/urandom of=/mnt/d$i/f bs=16k count=20 2>/dev/null; [ $((i % 8)) = 0 ] && sync && echo RO\"\"UND $i; done")?;
    for _ in 0..4 {
        guest.expect("ROUND", 240)?;
    }
    // No sleep after the sync's line: the next writes are under way.
    guest.kill()?;
    let verdict = check(&disk)?;
    let mut guest = start("recover")?;
    guest.shell("mount -t ext4 /dev/sda /mnt", 60)?;
    let journal = guest.shell("dmesg | grep -c 'recovery complete'", 60)?;
    ensure!(journal == "1", "the guest's kernel did not recover the journal");
    let first = guest.shell("cat /mnt/first", 60)?;
    ensure!(first == "kept", "what was synced before the kill is gone: {first:?}");
    let size = guest.shell("wc -c < /mnt/d32/f", 60)?;
    ensure!(size == "327680", "the 32nd file, synced before the kill, has {size} bytes instead of 327680");
    guest.shell("umount /mnt", 120)?;
    power_off(&mut guest)?;
    check(&disk)?;
    let raw = fresh(&format!("{name}.raw"))?;
    run::output(Command::new("qemu-img").args(["convert", "-q", "-f", "qcow2", "-O", "raw"]).arg(&disk).arg(&raw))?;
    let e2fsck = run::find_program("e2fsck").unwrap_or_else(|| "e2fsck".into());
    run::output(Command::new(e2fsck).arg("-fn").arg(&raw))?;
    std::fs::remove_file(&raw)?;
    Ok(format!("after the kill: {verdict}; journal recovered, e2fsck clean"))
}

/// The monitor with translator and interpreter in lockstep: it ends at the first difference, with both traces.
fn in_lockstep(vmm: &Vmm) -> Result<Vmm> {
    if vmm.is_qemu() {
        return super::skip("QEMU has no lockstep");
    }
    Ok(Vmm { accel: "whpx,tier=check".to_owned(), ..vmm.clone() })
}

/// Seconds for a boot in lockstep.
const LOCKSTEP: u64 = 3600;

fn lockstep_kernel(name: &str, vmm: &Vmm) -> Result<String> {
    let mut guest = Machine::new(name).memory(512).linux("kernel-6.1")?.start(&in_lockstep(vmm)?)?;
    shell_mark(&mut guest, LOCKSTEP)?;
    let ready = guest.elapsed();
    let sum = guest.shell("seq 2000 | sha256sum", LOCKSTEP)?;
    let reference = run::output(Command::new("sh").args(["-c", "seq 2000 | sha256sum"]))?;
    ensure!(reference.starts_with(sum.split(' ').next().unwrap_or("?")), "the guest computes a wrong SHA-256: {sum}");
    guest.line("poweroff -f")?;
    guest.wait_success(LOCKSTEP)?;
    Ok(format!(
        "no difference, shell after {:.0} s, off after {:.0} s",
        ready.as_secs_f64(),
        guest.elapsed().as_secs_f64()
    ))
}

fn lockstep_demo(name: &str, vmm: &Vmm) -> Result<String> {
    let drive = format!("file={},format=raw,if=ide", paths::asset("demo")?.display());
    let machine = Machine::new(name).memory(2048).args(["-drive", &drive, "-snapshot"]);
    let mut guest = machine.start(&in_lockstep(vmm)?)?;
    guest.expect("whpx-demo login: ", 2 * LOCKSTEP)?;
    Ok(format!("no difference, login after {:.0} s", guest.elapsed().as_secs_f64()))
}

/// The demo on a throw-away overlay.
fn demo_overlay(vmm: &Vmm) -> Result<String> {
    let disk = overlay("demo.qcow2")?;
    let stages = demo::check(vmm, &disk)?;
    check(&disk)?;
    Ok(stages.iter().map(|(stage, time)| format!("{stage} {:.1} s", time.as_secs_f64())).collect::<Vec<_>>().join(", "))
}
