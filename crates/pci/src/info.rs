//! The list that the monitor's `info pci` prints.

use std::fmt::Write as _;

use vm_core::lock;

use crate::bridge::Forwarding;
use crate::bus::PciBus;
use crate::config::{BarKind, BarSpec, ConfigSpace, reg};

impl PciBus {
    /// The list that the monitor's `info pci` prints.
    pub fn info(&self) -> String {
        let mut out = String::new();
        self.list(0, &mut out);
        out
    }

    fn list(&self, number: u8, out: &mut String) {
        for (devfn, slot) in self.slots() {
            let below = self.below(devfn);
            let secondary = {
                let function = lock(&slot.function);
                let c = function.config();
                describe(number, devfn, c, out);
                if below.is_some() {
                    bridge(number, c, out);
                }
                let _ = writeln!(out, "      id \"{}\"", slot.name);
                c.u8(reg::SECONDARY_BUS)
            };
            if let Some(below) = below.filter(|_| secondary != 0) {
                below.list(secondary, out);
            }
        }
    }
}

fn describe(bus: u8, devfn: u8, c: &ConfigSpace, out: &mut String) {
    let (class, vendor, device) = (c.u32(8) >> 8, c.u16(reg::VENDOR_ID), c.u16(reg::DEVICE_ID));
    let _ = writeln!(out, "  Bus {bus:2}, device {:3}, function {}:", devfn >> 3, devfn & 7);
    let _ = writeln!(out, "    {}: PCI device {vendor:04x}:{device:04x}", class_name(class));
    let (sub_vendor, sub) = (c.u16(reg::SUBSYSTEM_VENDOR), c.u16(reg::SUBSYSTEM));
    if sub_vendor != 0 && c.u8(reg::HEADER_TYPE) & 0x7F == 0 {
        let _ = writeln!(out, "      PCI subsystem {sub_vendor:04x}:{sub:04x}");
    }
    let pin = c.u8(reg::INTERRUPT_PIN);
    if (1..=4).contains(&pin) {
        let _ = writeln!(out, "      IRQ {}, pin {}", c.u8(reg::INTERRUPT_LINE), (b'@' + pin) as char);
    }
    for bar in c.bars() {
        let _ = writeln!(out, "      {}", bar_text(bar, c.bar_address(bar)));
    }
}

fn bridge(bus: u8, c: &ConfigSpace, out: &mut String) {
    let _ = writeln!(out, "      BUS {bus}.");
    let _ = writeln!(out, "      secondary bus {}.", c.u8(reg::SECONDARY_BUS));
    let _ = writeln!(out, "      subordinate bus {}.", c.u8(reg::SUBORDINATE_BUS));
    let f = Forwarding::of(c, true);
    for (name, window) in [("IO", f.io), ("memory", f.memory), ("prefetchable memory", f.prefetch)] {
        let _ = match window {
            Some((first, last)) => writeln!(out, "      {name} range [{first:#010x}, {last:#010x}]"),
            None => writeln!(out, "      {name} range: none"),
        };
    }
}

fn bar_text(bar: &BarSpec, address: Option<u64>) -> String {
    let kind = match bar.kind {
        BarKind::Io => "I/O",
        BarKind::Mem32 { prefetch: false } => "32 bit memory",
        BarKind::Mem32 { prefetch: true } => "32 bit prefetchable memory",
        BarKind::Mem64 { prefetch: false } => "64 bit memory",
        BarKind::Mem64 { prefetch: true } => "64 bit prefetchable memory",
        BarKind::Rom => "expansion ROM",
    };
    match address {
        Some(a) => format!("BAR{}: {kind} at {a:#010x} [{:#010x}]", bar.index, a + (bar.size - 1)),
        None => format!("BAR{}: {kind}, not mapped, size {:#x}", bar.index, bar.size),
    }
}

/// What a class code (base class, subclass, programming interface) means.
pub fn class_name(class: u32) -> String {
    let name = match class >> 8 {
        0x0100 => "SCSI controller",
        0x0101 => "IDE controller",
        0x0106 => "SATA controller",
        0x0108 => "NVMe controller",
        0x0200 => "Ethernet controller",
        0x0300 => "VGA controller",
        0x0380 => "Display controller",
        0x0401 => "Audio controller",
        0x0403 => "HD audio controller",
        0x0600 => "Host bridge",
        0x0601 => "ISA bridge",
        0x0604 => "PCI bridge",
        0x0680 => "Bridge",
        0x0780 => "Communication controller",
        0x0C03 => "USB controller",
        0x0C05 => "SMBus",
        other => return format!("Class {other:04x}"),
    };
    name.into()
}
