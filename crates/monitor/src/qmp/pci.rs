//! `query-pci`.

use pci::{BarKind, BarSpec, ConfigSpace, Forwarding, PciBus, reg};
use serde_json::{Value, json};
use vm_core::lock;

use super::args::Args;
use super::error::Outcome;
use crate::context::Context;

pub(super) fn query(c: &mut Context, _: &Args) -> Outcome {
    Ok(json!([{"bus": 0, "devices": devices(c.machine.pci(), 0)}]))
}

fn devices(bus: &PciBus, number: u8) -> Value {
    let functions = bus.functions().into_iter();
    functions
        .map(|(devfn, function)| {
            let (mut v, secondary) = {
                let function = lock(&function);
                let c = function.config();
                (device_json(number, devfn, c), bus.below(devfn).map(|below| (below, bridge_json(number, c))))
            };
            if let Some((below, (secondary, bridge))) = secondary {
                v["pci_bridge"] = json!({"bus": bridge, "devices": devices(&below, secondary)});
            }
            v
        })
        .collect()
}

/// The secondary bus's number, and what is said of the bridge's buses. A window that is off has its limit below its base.
fn bridge_json(number: u8, c: &ConfigSpace) -> (u8, Value) {
    let forwarding = Forwarding::of(c, true);
    let range = |window: Option<(u64, u64)>| {
        let (base, limit) = window.unwrap_or((1, 0));
        json!({"base": base, "limit": limit})
    };
    let secondary = c.u8(reg::SECONDARY_BUS);
    let v = json!({
        "number": number, "secondary": secondary, "subordinate": c.u8(reg::SUBORDINATE_BUS),
        "io_range": range(forwarding.io), "memory_range": range(forwarding.memory),
        "prefetchable_range": range(forwarding.prefetch),
    });
    (secondary, v)
}

fn device_json(bus: u8, devfn: u8, c: &ConfigSpace) -> Value {
    let class = c.u32(8) >> 8;
    let mut id = json!({"device": c.u16(reg::DEVICE_ID), "vendor": c.u16(reg::VENDOR_ID)});
    if c.u16(reg::SUBSYSTEM_VENDOR) != 0 {
        id["subsystem"] = c.u16(reg::SUBSYSTEM).into();
        id["subsystem-vendor"] = c.u16(reg::SUBSYSTEM_VENDOR).into();
    }
    let regions: Value = c.bars().iter().filter_map(|b| region_json(b, c.bar_address(b))).collect();
    let mut v = json!({
        "bus": bus, "slot": devfn >> 3, "function": devfn & 7, "qdev_id": "", "id": id, "regions": regions,
        "class_info": {"class": class >> 8, "desc": pci::class_name(class)}, "irq_pin": c.u8(reg::INTERRUPT_PIN),
    });
    if c.u8(reg::INTERRUPT_PIN) != 0 {
        v["irq"] = c.u8(reg::INTERRUPT_LINE).into();
    }
    v
}

/// Those that the guest has placed.
fn region_json(bar: &BarSpec, address: Option<u64>) -> Option<Value> {
    let mut v = json!({"bar": bar.index, "address": address?, "size": bar.size, "type": "memory"});
    let (prefetch, wide) = match bar.kind {
        BarKind::Io => {
            v["type"] = "io".into();
            return Some(v);
        }
        BarKind::Mem32 { prefetch } => (prefetch, false),
        BarKind::Mem64 { prefetch } => (prefetch, true),
        BarKind::Rom => (false, false),
    };
    (v["prefetch"], v["mem_type_64"]) = (prefetch.into(), wide.into());
    Some(v)
}
