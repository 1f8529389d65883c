//! `query-pci`.

use pci::{BarKind, BarSpec, ConfigSpace, reg};
use serde_json::{Value, json};
use vm_core::lock;

use super::args::Args;
use super::error::Outcome;
use crate::context::Context;

pub(super) fn query(c: &mut Context, _: &Args) -> Outcome {
    let devices: Value = c
        .machine
        .pci()
        .functions()
        .into_iter()
        .map(|(devfn, function)| device_json(devfn, lock(&function).config()))
        .collect();
    Ok(json!([{"bus": 0, "devices": devices}]))
}

fn device_json(devfn: u8, c: &ConfigSpace) -> Value {
    let class = c.u32(8) >> 8;
    let mut id = json!({"device": c.u16(reg::DEVICE_ID), "vendor": c.u16(reg::VENDOR_ID)});
    if c.u16(reg::SUBSYSTEM_VENDOR) != 0 {
        id["subsystem"] = c.u16(reg::SUBSYSTEM).into();
        id["subsystem-vendor"] = c.u16(reg::SUBSYSTEM_VENDOR).into();
    }
    let regions: Value = c.bars().iter().filter_map(|b| region_json(b, c.bar_address(b))).collect();
    let mut v = json!({
        "bus": 0, "slot": devfn >> 3, "function": devfn & 7, "qdev_id": "", "id": id, "regions": regions,
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
