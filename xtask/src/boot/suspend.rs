//! Suspend to RAM in Linux: asleep by `/sys/power/state`, awake by everything that may wake, disks and USB devices as before; and
//! suspended USB devices that wake by what the user does; suspend to idle.

use super::Test;
use super::q35::{flash, fresh_variables, random_disk, ready, sata};
use super::tests::{power_off, reference_sum, shell_ready};
use super::usb::{SHELL, disk, drive, machine as usb_machine, until};
use crate::qmp::{self, Qmp};
use crate::vmm::{Guest, Machine, Vmm};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

pub(super) fn all() -> Vec<Test> {
    vec![
        Test::new("suspend-pc", 2, |name, vmm| suspend(name, vmm, Board::Pc)),
        Test::new("suspend-q35", 2, |name, vmm| suspend(name, vmm, Board::Q35)),
        Test::new("suspend-ovmf", 2, |name, vmm| suspend(name, vmm, Board::Ovmf)),
        Test::new("suspend-irqchip-off", 2, irqchip_off),
        Test::new("suspend-usb", 1, usb),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Board {
    Pc,
    Q35,
    Ovmf,
}

fn irqchip_off(name: &str, vmm: &Vmm) -> Result<String> {
    if vmm.is_qemu() {
        return super::skip("the option is that of -accel whpx");
    }
    suspend(name, &vmm.with_accel("whpx,kernel-irqchip=off"), Board::Pc)
}

/// The guest goes to sleep; it was awake before.
fn sleeps(guest: &mut Guest, qmp: &mut Qmp) -> Result<()> {
    guest.line("echo mem > /sys/power/state; echo AWA\"\"KE-$?-")?;
    qmp.event("SUSPEND", 60)?;
    let status = qmp.ask("query-status", json!({}))?;
    ensure!(status["status"] == "suspended" && status["running"] == false, "the guest sleeps, and is {status}");
    let text = qmp.ask("human-monitor-command", json!({"command-line": "info status"}))?;
    ensure!(text.as_str().is_some_and(|t| t.trim() == "VM status: paused (suspended)"), "info status: {text}");
    Ok(())
}

fn wakes(guest: &mut Guest, qmp: &mut Qmp) -> Result<()> {
    qmp.event("WAKEUP", 60)?;
    guest.expect("AWAKE-0-", 120)?;
    let status = qmp.ask("query-status", json!({}))?;
    ensure!(status["status"] == "running", "the guest is awake, and is {status}");
    Ok(())
}

fn suspend(name: &str, vmm: &Vmm, board: Board) -> Result<String> {
    let port = qmp::free_port()?;
    let (image, sum) = random_disk(&format!("{name}.img"))?;
    let mut machine = match board {
        Board::Pc => Machine::new(name).memory(512).linux("kernel-6.1")?,
        _ => sata(name)?,
    };
    if board == Board::Ovmf {
        machine = machine.args(flash(&fresh_variables(name)?)?);
    }
    let mut guest = machine
        .cpus(2)
        .args(["-drive", &format!("file={},format=raw", image.display())])
        .args(qmp::options(port))
        .start(vmm)?;
    let mut qmp = Qmp::connect(port)?;
    if board == Board::Pc {
        shell_ready(&mut guest, 2)?;
        guest.shell("disks", 120)?;
    } else {
        ready(&mut guest)?;
    }
    let support = qmp.ask("query-current-machine", json!({}))?;
    ensure!(support["wakeup-suspend-support"] == true, "query-current-machine says {support}");
    match qmp.ask("system_wakeup", json!({})) {
        Err(error) if error.to_string().contains("not in suspended state") => {}
        other => bail!("system_wakeup of a guest that is awake: {other:?}"),
    }
    let mut ways = vec!["system_wakeup", "alarm"];
    if !vmm.is_qemu() {
        ways.push("button"); // QEMU's does not wake
    }
    ways.push("key");
    for way in &ways {
        let started = Instant::now();
        if *way == "alarm" {
            guest.shell("echo 0 > /sys/class/rtc/rtc0/wakealarm; echo +4 > /sys/class/rtc/rtc0/wakealarm", 60)?;
        }
        sleeps(&mut guest, &mut qmp)?;
        match *way {
            "system_wakeup" => drop(qmp.ask("system_wakeup", json!({}))?),
            "button" => drop(qmp.ask("system_powerdown", json!({}))?),
            "key" => drop(qmp.ask("send-key", json!({"keys": [{"type": "qcode", "data": "shift"}]}))?),
            _ => {}
        }
        wakes(&mut guest, &mut qmp)?;
        ensure!(*way != "alarm" || started.elapsed() > Duration::from_secs(2), "the alarm came too early");
        let cpus = guest.shell("nproc", 60)?;
        ensure!(cpus == "2", "after waking by {way} the guest has {cpus} processors");
        let read = guest.shell("echo 3 > /proc/sys/vm/drop_caches; sha256sum < /dev/sda", 240)?;
        ensure!(read.starts_with(&sum), "after waking by {way} the disk reads as {read}, not {sum}");
        let check = guest.shell("seq 20000 | sha256sum", 60)?;
        ensure!(check.starts_with(&reference_sum()?), "after waking by {way} the guest computes {check}");
    }
    // A reset ends the sleep too.
    sleeps(&mut guest, &mut qmp)?;
    qmp.ask("system_reset", json!({}))?;
    qmp.event("RESET", 60)?;
    if board == Board::Pc {
        shell_ready(&mut guest, 2)?
    } else {
        ready(&mut guest)?
    }
    power_off(&mut guest)?;
    Ok(format!("awake by {}; after {:.1} s", ways.join(", "), guest.elapsed().as_secs_f64()))
}

fn usb(name: &str, vmm: &Vmm) -> Result<String> {
    let (path, sum) = disk("suspend-usb.img", 4)?;
    let port = qmp::free_port()?;
    let controllers = ["qemu-xhci,id=q", "ich9-usb-ehci1,id=e", "piix3-usb-uhci,id=u"];
    let mut guest = usb_machine(name)?
        .args(controllers.iter().flat_map(|c| ["-device", c]))
        .args(["-drive", &drive("d", &path), "-device", "usb-storage,drive=d,bus=q.0"])
        .args(["-device", "usb-kbd,bus=e.0,id=k"])
        .args(qmp::options(port))
        .start(vmm)?;
    let mut qmp = Qmp::connect(port)?;
    guest.expect("Linux version", SHELL)?;
    shell_ready(&mut guest, 1)?;
    guest.shell("usb", 240)?;
    until(&mut guest, "ls /dev", "sda", 60)?;
    until(&mut guest, "lsusb", "0627:0001", 60)?;
    let before = guest.shell("lsusb | cut -d' ' -f6 | sort", 60)?;
    for way in ["system_wakeup", "key"] {
        sleeps(&mut guest, &mut qmp)?;
        match way {
            "key" => drop(qmp.ask("send-key", json!({"keys": [{"type": "qcode", "data": "shift"}]}))?),
            _ => drop(qmp.ask("system_wakeup", json!({}))?),
        }
        wakes(&mut guest, &mut qmp)?;
        let read = guest.shell("echo 3 > /proc/sys/vm/drop_caches; sha256sum < /dev/sda", 240)?;
        ensure!(read.starts_with(&sum), "after waking by {way} the USB disk reads as {read}");
        let after = guest.shell("lsusb | cut -d' ' -f6 | sort", 60)?;
        ensure!(after == before, "after waking by {way} lsusb lists {after}, before {before}");
    }
    qmp.ask("device_add", json!({"driver": "usb-mouse", "id": "x", "bus": "q.0"}))?;
    until(&mut guest, "lsusb | grep -c 0627", "2", 60)?;
    qmp.ask("device_del", json!({"id": "x"}))?;
    until(&mut guest, "lsusb | grep -c 0627", "1", 60)?;
    qmp.ask("device_del", json!({"id": "k"}))?;
    for bus in BUSES {
        for hid in &[TABLET, KEYBOARD] {
            runtime(&mut guest, &mut qmp, bus, hid).with_context(|| format!("{} on {bus}", hid.driver))?;
        }
    }
    idle(&mut guest, &mut qmp, &sum)?;
    power_off(&mut guest)?;
    Ok(format!(
        "asleep twice and idle once, tablets and keyboards suspended and woken behind {}",
        controllers.join(" ")
    ))
}

/// The controllers' buses.
const BUSES: [&str; 3] = ["q.0", "e.0", "u.0"];

/// A device that nobody touches, and how it is touched: each time differently, for the same again is no event.
struct Hid {
    driver: &'static str,
    /// In the name that Linux gives it.
    name: &'static str,
    touch: fn(&mut Qmp, u32) -> Result<Value>,
}

const TABLET: Hid = Hid {
    driver: "usb-tablet",
    name: "Tablet",
    touch: |qmp, count| {
        let moves =
            ["x", "y"].map(|axis| json!({"type": "abs", "data": {"axis": axis, "value": 1000 + 500 * (count % 8)}}));
        qmp.ask("input-send-event", json!({"events": moves}))
    },
};

const KEYBOARD: Hid = Hid {
    driver: "usb-kbd",
    name: "USB Keyboard",
    touch: |qmp, _| qmp.ask("send-key", json!({"keys": [{"type": "qcode", "data": "shift"}]})),
};

/// A device that nobody touches is suspended; a touch wakes it and arrives.
fn runtime(guest: &mut Guest, qmp: &mut Qmp, bus: &str, hid: &Hid) -> Result<()> {
    qmp.ask("device_add", json!({"driver": hid.driver, "id": "t", "bus": bus}))?;
    until(guest, "lsusb | grep -c 0627", "1", 60)?;
    let find = format!(
        "for i in $(seq 50); do E=$(grep -l '{}' /sys/class/input/event*/device/name | head -n 1); [ -n \"$E\" ] && break; sleep 0.2; done; \
         E=${{E%/device/name}}; E=${{E##*/}}; echo $E",
        hid.name
    );
    guest.shell(&find, 60)?;
    guest.line("cat /dev/input/$E > /tmp/events & READER=$!")?;
    let find = "D=$(readlink -f /sys/class/input/$E/device); while [ ! -e $D/idVendor ]; do D=${D%/*}; done";
    guest.shell(&format!("{find}; echo 1000 > $D/power/autosuspend_delay_ms; echo auto > $D/power/control"), 60)?;
    for round in 0..2 {
        until(guest, "cat $D/power/runtime_status", "suspended", 100)?;
        guest.shell("wc -c < /tmp/events > /tmp/before", 60)?;
        (hid.touch)(qmp, 2 * round)?;
        until(guest, "cat $D/power/runtime_status", "active", 20)?;
        (hid.touch)(qmp, 2 * round + 1)?;
        until(guest, "[ $(wc -c < /tmp/events) -gt $(cat /tmp/before) ] && echo more", "more", 20)?;
    }
    guest.shell("kill $READER", 60)?;
    qmp.ask("device_del", json!({"id": "t"}))?;
    until(guest, "lsusb | grep -c 0627", "0", 60)?;
    thread::sleep(Duration::from_millis(100));
    Ok(())
}

/// Suspend to idle, where the machine knows of nothing and the controllers keep their state: a key of the PS/2 keyboard wakes, and disk
/// and tablets are as before.
fn idle(guest: &mut Guest, qmp: &mut Qmp, sum: &str) -> Result<()> {
    for (id, bus) in ["t1", "t2", "t3"].into_iter().zip(BUSES) {
        qmp.ask("device_add", json!({"driver": "usb-tablet", "id": id, "bus": bus}))?;
    }
    until(guest, "cat /sys/class/input/event*/device/name | grep -c Tablet", "3", 60)?;
    guest.shell("echo enabled > /sys/devices/platform/i8042/serio0/power/wakeup", 60)?;
    guest.shell("echo 1 > /sys/power/pm_debug_messages; dmesg -c > /dev/null", 60)?;
    guest.line("echo freeze > /sys/power/state; echo AWA\"\"KE-$?-")?;
    thread::sleep(Duration::from_secs(3)); // a key that comes while the guest falls asleep ends that
    qmp.ask("send-key", json!({"keys": [{"type": "qcode", "data": "shift"}]}))?;
    guest.expect("AWAKE-0-", 120)?;
    let log = guest.shell("dmesg | cut -d] -f2-", 60)?;
    ensure!(log.contains("resume from suspend-to-idle"), "the guest did not sleep:\n{log}");
    ensure!(!log.contains("HC died") && !log.contains("USB disconnect"), "USB did not survive:\n{log}");
    let read = guest.shell("echo 3 > /proc/sys/vm/drop_caches; sha256sum < /dev/sda", 240)?;
    ensure!(read.starts_with(sum), "after suspend to idle the USB disk reads as {read}");
    let tablets = guest.shell("lsusb | grep -c 0627", 60)?;
    ensure!(tablets == "3", "after suspend to idle there are {tablets} tablets");
    Ok(())
}
