//! Boot tests of USB: what `lsusb` and the disk driver of Linux see behind the xHCI controllers, and devices that come and go.

use super::tests::{power_off, shell_ready};
use crate::vmm::{Guest, Machine, Vmm};
use crate::{image, paths, run};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Seconds for the generic kernel to its shell: an interpreter unpacks it slowly.
pub(super) const SHELL: u64 = 900;
/// MiB of the test disks.
const SIZE: usize = 4;

/// A disk whose every sector differs, and its SHA-256.
pub(super) fn disk(name: &str, seed: u32) -> Result<(PathBuf, String)> {
    let path = paths::work()?.join(name);
    let mut state = seed;
    let words = (0..SIZE << 18).flat_map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()
    });
    std::fs::write(&path, words.collect::<Vec<u8>>()).with_context(|| format!("cannot write {}", path.display()))?;
    let sum = run::output(Command::new("sha256sum").arg(&path))?;
    Ok((path, sum.split_whitespace().next().unwrap_or_default().to_owned()))
}

pub(super) fn machine(name: &str) -> Result<Machine> {
    image::usb()?;
    Ok(Machine::new(name)
        .memory(512)
        .arg("-kernel")
        .arg(paths::asset("kernel-usb")?)
        .arg("-initrd")
        .arg(paths::asset("initramfs-usb")?)
        .args(["-append", "console=ttyS0,115200"]))
}

pub(super) fn drive(id: &str, path: &Path) -> String {
    format!("file={},format=raw,if=none,id={id}", path.display())
}

/// Repeats a command in the guest until its output has `wanted`.
pub(super) fn until(guest: &mut Guest, command: &str, wanted: &str, tries: u32) -> Result<String> {
    let mut text = String::new();
    for _ in 0..tries {
        text = guest.shell(&format!("{command} || true"), 120)?;
        if text.contains(wanted) {
            return Ok(text);
        }
        guest.shell("sleep 0.3", 60)?;
    }
    bail!("in the guest, `{command}` never said {wanted}; last: {text}")
}

/// Tablet, keyboard and a disk at each controller: listed, and the disks read right.
pub(super) fn xhci(name: &str, vmm: &Vmm) -> Result<String> {
    let (first, first_sum) = disk("xhci-1.img", 1)?;
    let (second, second_sum) = disk("xhci-2.img", 2)?;
    let mut machine = machine(name)?.args(["-device", "qemu-xhci,id=q", "-device", "nec-usb-xhci,id=n"]);
    for bus in ["q.0", "n.0"] {
        machine = machine.arg("-device").arg(format!("usb-hub,bus={bus},port=1"));
        machine = machine.arg("-device").arg(format!("usb-tablet,bus={bus},port=1.2"));
        machine = machine.arg("-device").arg(format!("usb-kbd,bus={bus},port=2"));
    }
    machine = machine.args(["-drive", &drive("d1", &first), "-device", "usb-storage,drive=d1,bus=q.0,port=3"]);
    machine = machine.args(["-drive", &drive("d2", &second), "-device", "usb-storage,drive=d2,bus=n.0,port=1.3"]);
    let mut guest = machine.start(vmm)?;
    guest.expect("Linux version", SHELL)?;
    shell_ready(&mut guest, 1)?;
    guest.shell("usb", 240)?;
    until(&mut guest, "ls /dev/sd?", "/dev/sdb", 60)?;
    let count = |text: &str, id: &str| text.lines().filter(|l| l.contains(id)).count();
    let list = guest.shell("lsusb", 120)?;
    for (id, wanted) in [("0627:0001", 4), ("46f4:0001", 2), ("1d6b:0003", 2)] {
        ensure!(count(&list, id) == wanted, "lsusb lists {} times {id} instead of {wanted}:\n{list}", count(&list, id));
    }
    let details = guest.shell("lsusb -v 2>/dev/null", 240)?;
    ensure!(count(&details, "bInterfaceProtocol") >= 8 && details.contains("SuperSpeed"), "lsusb -v says:\n{details}");
    let mut sums = vec![];
    for disk in ["sda", "sdb"] {
        sums.push(guest.shell(&format!("sha256sum < /dev/{disk}"), 240)?.replace(" -", "").trim().to_owned());
    }
    sums.sort();
    let mut wanted = vec![first_sum, second_sum];
    wanted.sort();
    ensure!(sums == wanted, "the disks read differently: {sums:?} instead of {wanted:?}");
    guest.shell("dd if=/dev/sda of=/dev/sdb bs=64k conv=fsync 2>/dev/null; cmp /dev/sda /dev/sdb || sha256sum /dev/sda /dev/sdb", 240)?;
    power_off(&mut guest)?;
    ensure!(
        std::fs::read(&first)? == std::fs::read(&second)?,
        "what the guest wrote over one disk is not on the other"
    );
    Ok(format!("{} devices, {SIZE} MiB read from each disk", list.lines().count()))
}

/// A monitor command; what it said.
pub(super) fn command(guest: &mut Guest, text: &str) -> Result<String> {
    let monitor = guest.monitor()?;
    monitor.take();
    monitor.line(text)?;
    let said = monitor.expect("(qemu) ", Duration::from_secs(60))?;
    Ok(crate::channel::strip_escapes(&said).lines().skip(1).collect::<Vec<_>>().join("\n").trim().to_owned())
}

/// A disk and a tablet plugged and unplugged ten times, while the guest reads from the disk.
pub(super) fn hot_plug(name: &str, vmm: &Vmm) -> Result<String> {
    let (path, sum) = disk("hotplug.img", 3)?;
    let machine = machine(name)?.args(["-device", "qemu-xhci,id=q", "-device", "ich9-usb-ehci1,id=e"]).monitor();
    let mut guest = machine.args(["-drive", &drive("d", &path)]).start(vmm)?;
    guest.expect("Linux version", SHELL)?;
    shell_ready(&mut guest, 1)?;
    if command(&mut guest, "help device_add")?.contains("unknown") {
        return super::skip("the monitor has no device_add yet");
    }
    guest.shell("usb", 240)?;
    for round in 1..=10 {
        let bus = if round % 2 == 0 { "e.0" } else { "q.0" };
        for device in [format!("usb-storage,drive=d,id=s,bus={bus}"), format!("usb-tablet,id=t,bus={bus}")] {
            let said = command(&mut guest, &format!("device_add {device}"))?;
            ensure!(said.is_empty(), "device_add {device}: {said}");
        }
        let said = command(&mut guest, "device_add usb-mouse,id=t")?;
        ensure!(said.contains("'t'"), "a second device called t was not refused: {said}");
        until(&mut guest, "ls /dev", "sd", 60)?;
        until(&mut guest, "lsusb", "0627:0001", 60)?;
        let read = guest.shell("sha256sum < $(ls /dev/sd? | head -n 1)", 240)?;
        ensure!(read.starts_with(&sum), "round {round}: the disk reads differently: {read}");
        guest.line(
            "while cat /dev/sd? > /dev/null 2>&1; do echo 3 > /proc/sys/vm/drop_caches; done; echo READER\"\"-ENDED",
        )?;
        std::thread::sleep(Duration::from_millis(300)); // the reader is under way
        for id in ["s", "t"] {
            let said = command(&mut guest, &format!("device_del {id}"))?;
            ensure!(said.is_empty(), "device_del {id}: {said}");
        }
        guest.expect("READER-ENDED", 120)?;
        until(&mut guest, "echo left=$(ls /dev | grep -c ^sd),$(lsusb | grep -c 0627)", "left=0,0", 60)?;
    }
    let said = command(&mut guest, "device_del s")?;
    ensure!(said.contains("not found"), "a device that is gone was found: {said}");
    power_off(&mut guest)?;
    Ok("10 rounds of plugging on xHCI and EHCI while the guest reads".to_owned())
}
