//! Booting from a USB disk. SeaBIOS finds it behind each kind of controller, GRUB takes keys of a USB keyboard at the same controller,
//! and the demo disk's kernel and initrd are read from it. OVMF boots what `bootindex=` says.

use super::Test;
use super::q35::{flash, fresh_variables};
use super::usb::{command, drive};
use crate::vmm::{Guest, Machine, Vmm};
use crate::{image, paths, screen};
use anyhow::{Context, Result, ensure};
use std::thread;
use std::time::Duration;

pub(super) fn all() -> Vec<Test> {
    let test = |name, controller, beside| Test::new(name, 1, move |name, vmm| boot(name, vmm, controller, beside));
    vec![
        test("usb-boot-ehci", "ich9-usb-ehci1", false),
        test("usb-boot-uhci", "piix3-usb-uhci", false),
        test("usb-boot-xhci", "qemu-xhci", true),
        Test::new("usb-boot-ovmf", 1, ovmf),
    ]
}

/// How often the guest was told of a key by PS/2.
fn ps2_interrupts(guest: &mut Guest) -> Result<u32> {
    let text = command(guest, "info irq")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("1:"));
    line.map_or(Ok(0), |count| count.trim().parse().with_context(|| format!("info irq says:\n{text}")))
}

/// `beside`: an IDE disk that would be booted otherwise is there too, and only `bootindex=` says which comes first.
fn boot(name: &str, vmm: &Vmm, controller: &str, beside: bool) -> Result<String> {
    let disk = format!("{},snapshot=on", drive("u", &paths::asset("demo")?));
    let mut machine = Machine::new(name).memory(512).monitor().args(["-device", &format!("{controller},id=h")]);
    machine = machine.args(["-device", "usb-kbd,bus=h.0", "-drive", &disk]);
    machine = match beside {
        false => machine.args(["-device", "usb-storage,drive=u,bus=h.0"]),
        true => {
            let other = format!("{},readonly=on", drive("o", &paths::asset("grub-cd")?));
            let devices = ["usb-storage,drive=u,bus=h.0,bootindex=1", "ide-hd,drive=o,bootindex=2"];
            machine.args(["-drive", &other]).args(devices.iter().flat_map(|d| ["-device", d]))
        }
    };
    let mut guest = machine.start(vmm)?;
    screen::expect(&mut guest, "demo disk in GRUB's menu", 60, |line| line.contains("(bookworm), with USB"))?;
    let before = ps2_interrupts(&mut guest)?;
    screen::key(&mut guest, "c")?;
    screen::expect(&mut guest, "prompt of GRUB", 30, |line| line.starts_with("grub>"))?;
    for key in "e c h o spc 4 2 ret".split(' ') {
        screen::key(&mut guest, key)?;
        thread::sleep(Duration::from_millis(100)); // a key after the other
    }
    screen::expect(&mut guest, "answer of GRUB", 30, |line| line == "42")?;
    ensure!(ps2_interrupts(&mut guest)? == before, "the keys came by PS/2");
    screen::key(&mut guest, "esc")?;
    screen::expect(&mut guest, "menu again", 30, |line| line.contains("(bookworm), with USB"))?;
    screen::key(&mut guest, "ret")?;
    guest.expect("Linux version", 120)?;
    let kernel = guest.elapsed();
    // The initrd's parts are all there.
    guest.expect("Run /init as init process", 60)?;
    Ok(format!("kernel after {:.1} s, keys by USB", kernel.as_secs_f64()))
}

/// The disk comes first, before the empty CD drive: it has super speed, and a path by the number of its port.
fn ovmf(name: &str, vmm: &Vmm) -> Result<String> {
    image::uefi()?;
    let disk = format!("{},snapshot=on", drive("u", &paths::asset("uefi")?));
    let machine = Machine::new(name).kind("q35").memory(512).args(flash(&fresh_variables(name)?)?);
    let devices = ["-device", "qemu-xhci,id=h", "-device", "usb-storage,drive=u,bus=h.0,port=2,bootindex=0"];
    let mut guest = machine.args(["-drive", &disk]).args(devices).start(vmm)?;
    let before = guest.expect("BdsDxe: starting", 120)?;
    ensure!(!before.contains("BdsDxe: failed"), "OVMF tried something else first:\n{before}");
    let entry = guest.expect("\n", 10)?;
    ensure!(entry.contains("USB HARDDRIVE"), "OVMF starts {entry}");
    guest.expect("Run /init as init process", 120)?;
    Ok(format!("initrd after {:.1} s", guest.elapsed().as_secs_f64()))
}
