//! Disks made of block nodes: `-blockdev` behind IDE and USB, and nodes and devices that QMP adds and takes away while the guest runs.

use super::tests::{check, fresh, power_off, shell_ready};
use super::usb::{SHELL, disk, machine as usb_machine, until};
use crate::qmp::{self, Qmp};
use crate::run;
use crate::vmm::{Machine, Vmm};
use anyhow::{Result, bail, ensure};
use serde_json::json;
use std::process::Command;

pub(super) fn run_all(name: &str, vmm: &Vmm) -> Result<String> {
    ide(&format!("{name}-ide"), vmm)?;
    usb(&format!("{name}-usb"), vmm)?;
    Ok("IDE and USB disks of nodes; nodes added, used and deleted".to_owned())
}

/// A raw file described in place, in JSON, and a disk that forgets.
fn ide(name: &str, vmm: &Vmm) -> Result<()> {
    let (path, sum) = disk(&format!("{name}.img"), 11)?;
    let node =
        json!({"driver": "raw", "node-name": "r", "read-only": true, "file": {"driver": "file", "filename": path}});
    let mut guest = Machine::new(name)
        .memory(512)
        .linux("kernel-6.1")?
        .args(["-blockdev", &node.to_string(), "-device", "ide-hd,drive=r,id=one"])
        .args(["-blockdev", "driver=null-co,node-name=n,size=4194304,read-zeroes=on", "-device", "ide-hd,drive=n"])
        .start(vmm);
    if let Ok(guest) = &mut guest
        && let Err(error) = shell_ready(guest, 1)
    {
        let said = run::tail(guest.errors(), 5);
        // QEMU refuses a disk on IDE that may not be written.
        if !said.contains("read-only") {
            return Err(error);
        }
        return Ok(());
    }
    let mut guest = guest?;
    guest.shell("disks", 120)?;
    // The kernel names disks in no order.
    guest.shell("for n in 0 1; do ln -s /dev/$(ls /sys/bus/scsi/devices/0:0:$n:0/block) /tmp/disk$n; done", 60)?;
    let read = guest.shell("sha256sum < /tmp/disk0", 240)?;
    ensure!(read.starts_with(&sum), "the raw node reads as {read}");
    let zeros = guest.shell("echo x | dd of=/tmp/disk1 conv=fsync 2>/dev/null; echo 3 > /proc/sys/vm/drop_caches; tr -d '\\000' < /tmp/disk1 | wc -c", 120)?;
    ensure!(zeros == "0", "{zeros} bytes of the disk that forgets are not zero");
    power_off(&mut guest)
}

/// A qcow2 node over a file node that has a name; another disk by QMP.
fn usb(name: &str, vmm: &Vmm) -> Result<()> {
    let (first, first_sum) = disk(&format!("{name}-1.img"), 12)?;
    let (second, second_sum) = disk(&format!("{name}-2.img"), 13)?;
    let image = fresh(&format!("{name}.qcow2"))?;
    run::output(Command::new("qemu-img").args(["convert", "-q", "-f", "raw", "-O", "qcow2"]).arg(&first).arg(&image))?;
    let port = qmp::free_port()?;
    let mut guest = usb_machine(name)?
        .args(["-device", "qemu-xhci,id=x"])
        .args(["-blockdev", &format!("driver=file,node-name=f,filename={}", image.display())])
        .args(["-blockdev", "driver=qcow2,node-name=q,file=f,discard=unmap,cache.direct=off"])
        .args(["-device", "usb-storage,drive=q,bus=x.0,id=one"])
        .args(qmp::options(port))
        .start(vmm)?;
    let mut qmp = Qmp::connect(port)?;
    guest.expect("Linux version", SHELL)?;
    shell_ready(&mut guest, 1)?;
    guest.shell("usb", 240)?;
    until(&mut guest, "ls /dev", "sda", 60)?;
    let read = guest.shell("sha256sum < /dev/sda", 240)?;
    ensure!(read.starts_with(&first_sum), "the qcow2 node reads as {read}");
    for round in 0..3 {
        let file = json!({"driver": "file", "filename": second});
        qmp.ask("blockdev-add", json!({"driver": "raw", "node-name": "s", "file": file}))?;
        qmp.ask("device_add", json!({"driver": "usb-storage", "id": "two", "drive": "s", "bus": "x.0"}))?;
        until(&mut guest, "ls /dev", "sdb", 60)?;
        let read = guest.shell("sha256sum < /dev/sdb", 240)?;
        ensure!(read.starts_with(&second_sum), "round {round}: the added disk reads as {read}");
        if qmp.ask("blockdev-del", json!({"node-name": "s"})).is_ok() {
            bail!("a node that a device uses was deleted");
        }
        qmp.ask("device_del", json!({"id": "two"}))?;
        until(&mut guest, "echo left=$(ls /dev | grep -c sdb)", "left=0", 60)?;
        qmp.event("DEVICE_DELETED", 20)?;
        qmp.ask("blockdev-del", json!({"node-name": "s"}))?;
    }
    let nodes = qmp.ask("query-named-block-nodes", json!({}))?;
    ensure!(nodes.as_array().is_some_and(|n| n.len() == 2), "the nodes at the end: {nodes}");
    let of_device = qmp.ask("qom-get", json!({"path": "/machine/peripheral/one", "property": "type"}))?;
    ensure!(of_device == "usb-storage", "the type of the device is {of_device}");
    guest.shell("echo written | dd of=/dev/sda bs=512 seek=7 conv=notrunc,fsync 2>/dev/null", 60)?;
    power_off(&mut guest)?;
    check(&image)?;
    let raw = fresh(&format!("{name}.raw"))?;
    run::output(Command::new("qemu-img").args(["convert", "-q", "-f", "qcow2", "-O", "raw"]).arg(&image).arg(&raw))?;
    let bytes = std::fs::read(&raw)?;
    ensure!(bytes.get(7 * 512..).is_some_and(|b| b.starts_with(b"written\n")), "what the guest wrote is not there");
    Ok(())
}
