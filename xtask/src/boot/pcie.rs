//! Boot tests of PCI Express root ports: what Linux sees of them in `/sys`, controllers plugged into their slots and taken out
//! again, a disk behind one of them that firmware boots from, and the watchdog of the south bridge.

use super::Test;
use super::tests::{fresh, power_off, shell_ready};
use super::usb::{command, until};
use crate::vmm::{Guest, Machine, Vmm};
use crate::{image, paths};
use anyhow::{Context, Result, ensure};

/// Seconds for the generic kernel to its shell.
const SHELL: u64 = 900;
/// Seconds for firmware to a boot loader.
const FIRMWARE: u64 = 240;
/// Times that a controller comes and goes.
const ROUNDS: u32 = 4;
/// Linux waits for five seconds after a button was pressed, in case it is pressed again.
const TRIES: u32 = 100;

pub(super) fn all() -> Vec<Test> {
    vec![
        // Linux waits five seconds after each press of an attention button.
        Test::new("pcie-hotplug", 0, |name, vmm| hot_plug(name, vmm, false)),
        Test::new("pcie-hotplug-ovmf", 0, |name, vmm| hot_plug(name, vmm, true)),
        Test::new("pcie-boot-disk", 1, |name, vmm| boot_disk(name, vmm, false)),
        Test::new("pcie-boot-disk-ovmf", 1, |name, vmm| boot_disk(name, vmm, true)),
        Test::new("q35-watchdog", 1, watchdog),
    ]
}

/// A monitor command that says nothing when it works.
fn quietly(guest: &mut Guest, text: &str) -> Result<()> {
    let said = command(guest, text)?;
    ensure!(said.is_empty(), "{text}: {said}");
    Ok(())
}

/// Vendor, device, class and length of configuration space of a function, as Linux has them.
fn function(guest: &mut Guest, at: &str) -> Result<String> {
    let path = format!("/sys/bus/pci/devices/0000:{at}");
    guest.shell(&format!("cd {path}; echo $(cat vendor device class) $(wc -c < config); cd /"), 60)
}

fn hot_plug(name: &str, vmm: &Vmm, uefi: bool) -> Result<String> {
    image::usb()?;
    let mut machine = Machine::new(name)
        .kind("q35")
        .memory(512)
        .monitor()
        .args(["-device", "pcie-root-port,id=rp0,chassis=1,slot=1,addr=4.0,multifunction=on"])
        .args(["-device", "pcie-root-port,id=rp1,chassis=1,slot=2,addr=4.1"])
        .args(["-device", "ioh3420,id=rp2,chassis=1,slot=3,addr=5", "-device", "qemu-xhci,id=cold,bus=rp1"])
        .args(["-device", "usb-tablet,bus=cold.0"]);
    if uefi {
        machine = machine.args(super::q35::flash(&super::q35::fresh_variables(name)?)?);
    }
    let mut guest = machine.linux_with("kernel-usb", "initramfs-usb")?.start(vmm)?;
    guest.expect("Linux version", SHELL)?;
    shell_ready(&mut guest, 1)?;
    let native = guest.shell("dmesg | grep -c 'OS now controls .*PCIeHotplug' || true", 60)?;
    ensure!(native == "1", "the guest's kernel was not granted native hot plug");
    for (at, wanted) in [
        ("00:04.0", "0x1b36 0x000c 0x060400 4096"),
        ("00:04.1", "0x1b36 0x000c 0x060400 4096"),
        ("00:05.0", "0x8086 0x3420 0x060400 4096"),
    ] {
        let seen = function(&mut guest, at)?;
        ensure!(vmm.is_qemu() || seen == wanted, "{at} is {seen} in the guest, not {wanted}");
    }
    let slots = guest.shell("cd /sys/bus/pci/slots; for s in 1 2 3; do cat $s/power; done; cd /", 60)?;
    ensure!(slots.split_whitespace().eq(["0", "1", "0"]), "power of the slots: {slots}");
    guest.shell("usb", 240)?;
    until(&mut guest, "lsusb", "0627:0001", 60)?;
    for round in 1..=ROUNDS {
        let (driver, id) =
            if round % 2 == 1 { ("nec-usb-xhci", "0x1033 0x0194") } else { ("qemu-xhci", "0x1b36 0x000d") };
        quietly(&mut guest, &format!("device_add {driver},id=hot,bus=rp0"))?;
        let said = command(&mut guest, "device_add qemu-xhci,id=more,bus=rp0")?;
        ensure!(!said.is_empty(), "a second controller was not refused");
        let bus = guest.shell(
            "for i in $(seq 100); do ls /sys/bus/pci/devices/0000:00:04.0/*/usb* -d && break; sleep 0.3; done",
            240,
        )?;
        let at = bus.split('/').find_map(|part| part.strip_prefix("0000:").filter(|at| !at.starts_with("00:0")));
        let at = at.with_context(|| format!("round {round}: no USB bus behind the port: {bus}"))?.to_owned();
        let seen = function(&mut guest, &at)?;
        ensure!(seen.starts_with(id), "round {round}: {at} is {seen}");
        quietly(&mut guest, "device_add usb-kbd,id=k,bus=hot.0")?;
        until(&mut guest, "lsusb | wc -l", if vmm.is_qemu() { "" } else { "6" }, 60)?;
        quietly(&mut guest, "device_del hot")?;
        let said = command(&mut guest, "device_del hot")?;
        ensure!(said.contains("already") || said.contains("in the process"), "a second device_del said {said:?}");
        until(&mut guest, &format!("[ -e /sys/bus/pci/devices/0000:{at} ] || echo gone"), "gone", TRIES)?;
        until(&mut guest, "cat /sys/bus/pci/slots/1/power", "0", TRIES)?;
        let mut tries = 0;
        while command(&mut guest, "info pci")?.contains("id \"hot\"") {
            tries += 1;
            ensure!(tries < TRIES, "round {round}: the controller stays on the bus");
            guest.shell("sleep 0.3", 60)?;
        }
        ensure!(guest.shell("lsusb | wc -l", 60)? == "3", "round {round}: what was behind the controller stays");
    }
    // Off and on by the guest: the card stays in its slot.
    guest.shell("echo 0 > /sys/bus/pci/slots/2/power", 120)?;
    ensure!(guest.shell("lsusb | wc -l", 60)? == "0", "a slot without power has USB buses");
    guest.shell("echo 1 > /sys/bus/pci/slots/2/power", 120)?;
    until(&mut guest, "lsusb", "0627:0001", 60)?;
    // What a guest does not let go of goes with a reset.
    quietly(&mut guest, "device_del cold")?;
    quietly(&mut guest, "system_reset")?;
    guest.expect("Linux version", SHELL)?;
    shell_ready(&mut guest, 1)?;
    let bridges = command(&mut guest, "info pci")?;
    ensure!(!bridges.contains("1b36:000d") && bridges.contains("secondary bus"), "after the reset: {bridges}");
    power_off(&mut guest)?;
    Ok(format!("{ROUNDS} controllers came and went, off after {:.1} s", guest.elapsed().as_secs_f64()))
}

/// Firmware boots from a disk behind a SATA controller behind a root port.
fn boot_disk(name: &str, vmm: &Vmm, uefi: bool) -> Result<String> {
    image::uefi()?;
    let blank = fresh(&format!("{name}.img"))?;
    std::fs::write(&blank, vec![0; 4 << 20]).context("cannot write a disk")?;
    let disk = format!("file={},format=raw,snapshot=on,if=none,id=d", paths::asset("uefi")?.display());
    let mut machine = Machine::new(name)
        .kind("q35")
        .memory(1024)
        .args(["-drive", &format!("file={},format=raw", blank.display()), "-drive", &disk])
        .args(["-device", "pcie-root-port,id=rp,chassis=1", "-device", "ahci,id=far,bus=rp"])
        .args(["-device", "ide-hd,drive=d,bus=far.2,bootindex=0"]);
    if uefi {
        machine = machine.args(super::q35::flash(&super::q35::fresh_variables(name)?)?);
    }
    let mut guest = machine.start(vmm)?;
    guest.expect("GNU GRUB", FIRMWARE)?;
    let grub = guest.elapsed();
    guest.expect("login: ", SHELL)?;
    guest.kill()?;
    Ok(format!("GRUB after {:.1} s, login after {:.1} s", grub.as_secs_f64(), guest.elapsed().as_secs_f64()))
}

/// The guest sets the watchdog by its ports and lets it bite; whoever starts next sees that it did.
fn watchdog(name: &str, vmm: &Vmm) -> Result<String> {
    // TCO_RLD, TCO2_STS, TCO1_CNT and TCO_TMR where SeaBIOS puts them.
    let [reload, status, control, timer] = [0x660, 0x666, 0x668, 0x672];
    image::usb()?; // the cloud kernel has no /dev/port
    let machine = Machine::new(name).kind("q35").memory(512);
    let mut guest = machine.linux_with("kernel-usb", "initramfs-usb")?.start(vmm)?;
    shell_ready(&mut guest, 1)?;
    let status = format!("dd if=/dev/port bs=1 skip={status} count=1 2>/dev/null | od -An -tu1");
    let before = guest.shell(&status, 60)?;
    ensure!(before.trim() == "0", "TCO2_STS is {before} at the start");
    let write = |port: u32, bytes: &str| {
        format!("printf '{bytes}' | dd of=/dev/port bs=1 seek={port} conv=notrunc 2>/dev/null")
    };
    // Three ticks of 0.6 s, twice.
    guest.shell(&write(timer, "\\003\\000"), 60)?;
    guest.shell(&write(reload, "\\001"), 60)?;
    let started = guest.elapsed();
    guest.line(&write(control, "\\000\\000"))?;
    guest.expect("Linux version", 60)?;
    let bitten = (guest.elapsed() - started).as_secs_f64();
    ensure!(bitten > 3.0, "the reset came after {bitten:.1} s");
    shell_ready(&mut guest, 1)?;
    let after = guest.shell(&status, 60)?;
    ensure!(vmm.is_qemu() || after.trim() == "2", "TCO2_STS is {after} after the watchdog's reset");
    power_off(&mut guest)?;
    Ok(format!("reset and booted again {bitten:.1} s after it was started"))
}
