//! Commands that tell what the machine is and does.

use serde_json::{Value, json};

use super::args::Args;
use super::error::{Outcome, failed};
use super::table::COMMANDS;
use crate::context::Context;
use crate::info;

/// The QEMU whose names and meanings are followed; programs look at it to know what to expect.
const LEVEL: [u32; 3] = [10, 0, 0];

/// The most processors a machine can have: one byte of APIC identifier.
const MOST_CPUS: u32 = 255;

pub(super) fn version_json() -> Value {
    let [major, minor, micro] = LEVEL;
    let package = concat!("whpx ", env!("CARGO_PKG_VERSION"));
    json!({"qemu": {"major": major, "minor": minor, "micro": micro}, "package": package})
}

pub(super) fn version(_: &mut Context, _: &Args) -> Outcome {
    Ok(version_json())
}

pub(super) fn status(c: &mut Context, _: &Args) -> Outcome {
    let state = c.machine.state();
    // `singlestep` is about TCG; QEMU 7.2's schema wants it.
    Ok(json!({"running": state == machine::RunState::Running, "singlestep": false, "status": state.name()}))
}

pub(super) fn commands(_: &mut Context, _: &Args) -> Outcome {
    Ok(COMMANDS.iter().map(|c| json!({"name": c.name})).collect())
}

/// For lists of what this program does not have.
pub(super) fn nothing(_: &mut Context, _: &Args) -> Outcome {
    Ok(json!([]))
}

pub(super) fn cpus(c: &mut Context, _: &Args) -> Outcome {
    let threads = info::threads();
    let smp = c.machine.plan().smp;
    let (threads_each, cores) = (smp.threads.max(1) as usize, smp.cores.max(1) as usize);
    let one = |i: usize| {
        let props = json!({
            "socket-id": i / threads_each / cores,
            "core-id": i / threads_each % cores,
            "thread-id": i % threads_each,
        });
        // The process stands for a thread that the host does not list.
        let thread = threads.iter().find(|t| t.0 == i).map_or_else(|| u64::from(std::process::id()), |t| t.1);
        let path = format!("/machine/unattached/device[{i}]");
        json!({"cpu-index": i, "qom-path": path, "thread-id": thread, "target": "x86_64", "props": props})
    };
    Ok((0..c.machine.accel().count()).map(one).collect())
}

pub(super) fn chardev(c: &mut Context, _: &Args) -> Outcome {
    let one = |(label, d): &(String, chardev::Chardev)| json!({"label": label, "filename": d.description(), "frontend-open": d.has_user()});
    Ok(c.machine.chardevs().iter().map(one).collect())
}

pub(super) fn chardev_backends(_: &mut Context, _: &Args) -> Outcome {
    let all = ["file", "null", "pipe", "pty", "ringbuf", "socket", "stdio"];
    Ok(all.iter().filter(|n| cfg!(unix) || **n != "pty").map(|n| json!({"name": n})).collect())
}

pub(super) fn current_machine(c: &mut Context, _: &Args) -> Outcome {
    Ok(json!({"wakeup-suspend-support": c.machine.plan().acpi}))
}

pub(super) fn kvm(_: &mut Context, _: &Args) -> Outcome {
    Ok(json!({"enabled": false, "present": false}))
}

pub(super) fn machines(c: &mut Context, _: &Args) -> Outcome {
    let default = c.machine.plan().machine;
    let one = |m: &machine::MachineInfo| {
        let (alias, name) = (m.names.first().copied().unwrap_or_default(), m.names.last().copied().unwrap_or_default());
        let mut v = json!({
            "name": name, "cpu-max": MOST_CPUS, "hotpluggable-cpus": false, "numa-mem-supported": false,
            "deprecated": false, "acpi": m.props.iter().any(|p| p.0 == "acpi"),
        });
        if alias != name {
            v["alias"] = alias.into();
        }
        if alias == "pc" && default == "pc" {
            v["is-default"] = true.into();
        }
        v
    };
    Ok(machine::machine_list().iter().map(one).collect())
}

pub(super) fn memory(c: &mut Context, _: &Args) -> Outcome {
    let m = &c.machine.plan().memory;
    Ok(json!({"base-memory": m.low + m.high, "plugged-memory": 0}))
}

pub(super) fn mice(c: &mut Context, _: &Args) -> Outcome {
    let list = c.machine.input().pointers();
    let one = |(i, (_, name, absolute)): (usize, &(input::HandlerId, String, bool))| json!({"index": i, "name": name, "current": i == 0, "absolute": absolute});
    Ok(list.iter().enumerate().map(one).collect())
}

pub(super) fn name(c: &mut Context, _: &Args) -> Outcome {
    Ok(c.machine.plan().name.as_ref().map_or_else(|| json!({}), |n| json!({"name": n})))
}

pub(super) fn uuid(c: &mut Context, _: &Args) -> Outcome {
    Ok(json!({"UUID": c.machine.plan().uuid.as_deref().unwrap_or("00000000-0000-0000-0000-000000000000")}))
}

pub(super) fn target(_: &mut Context, _: &Args) -> Outcome {
    Ok(json!({"arch": "x86_64"}))
}

/// The devices of `-device`; the object model's other types are not told.
pub(super) fn types(_: &mut Context, args: &Args) -> Outcome {
    if args.str("implements").is_some_and(|i| i != "device") {
        return Err(failed("only implements=device is supported"));
    }
    Ok(machine::device_list().iter().map(|d| json!({"name": d.name, "parent": "device"})).collect())
}

/// `info exits` for programs: exits of each processor, accesses of each device.
pub(super) fn exits(c: &mut Context, _: &Args) -> Outcome {
    let key = |name: &str| name.replace(' ', "-");
    let cpu = |(i, row): (usize, accel::StatsRow)| {
        let counts: serde_json::Map<_, _> = row.into_iter().map(|(n, v)| (key(n), v.into())).collect();
        json!({"cpu-index": i, "counts": counts})
    };
    let cpus: Value = c.machine.accel().stats().into_iter().enumerate().map(cpu).collect();
    let ports = c.machine.ports().ranges();
    let port =
        |r: &vm_core::PortRange| json!({"device": r.name, "port": r.base, "length": r.len, "accesses": r.accesses()});
    let ports: Value = ports.iter().map(port).collect();
    let flat = c.machine.space().flat();
    let windows = flat.iter().filter(|r| matches!(r.backing, vm_core::Backing::Mmio(_)));
    let window = |r: &vm_core::FlatRange| json!({"device": &*r.name, "address": r.start, "length": r.len, "accesses": r.accesses()});
    Ok(json!({"cpus": cpus, "ports": ports, "memory": windows.map(window).collect::<Value>()}))
}
