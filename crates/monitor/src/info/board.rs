//! What the machine is and consists of: status, name, devices, back ends.

use std::fmt::Write;

use machine::RunState;
use vm_core::Backing;

use super::plain;
use crate::args::{Outcome, failed};
use crate::commands::some_words;
use crate::context::Context;

pub(super) fn status(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |c| status_line(c.machine.state()))
}

fn status_line(state: RunState) -> String {
    match state {
        RunState::Running => "VM status: running\n".into(),
        RunState::Paused => "VM status: paused\n".into(),
        other => format!("VM status: paused ({})\n", other.name()),
    }
}

pub(super) fn version(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |_| concat!(env!("CARGO_PKG_VERSION"), " (whpx)\n").into())
}

pub(super) fn name(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |c| c.machine.plan().name.as_ref().map(|n| format!("{n}\n")).unwrap_or_default())
}

pub(super) fn uuid(context: &mut Context, rest: &str) -> Outcome {
    const NONE: &str = "00000000-0000-0000-0000-000000000000";
    plain(context, rest, |c| format!("{}\n", c.machine.plan().uuid.as_deref().unwrap_or(NONE)))
}

/// There are no network devices yet; QEMU prints nothing then.
pub(super) fn network(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |_| String::new())
}

pub(super) fn history(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |c| c.history.iter().enumerate().map(|(i, l)| format!("{i}: '{l}'\n")).collect())
}

pub(super) fn chardev(context: &mut Context, rest: &str) -> Outcome {
    let line = |(label, c): &(String, chardev::Chardev)| format!("{label}: filename={}\n", c.description());
    plain(context, rest, |c| c.machine.chardevs().iter().map(line).collect())
}

/// Numbered by the order of their buses.
pub(super) fn usb(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |c| {
        let mut buses: Vec<String> = Vec::new();
        let mut s = String::new();
        for d in c.machine.usb_devices() {
            let bus = buses.iter().position(|b| *b == d.bus).unwrap_or_else(|| {
                buses.push(d.bus.clone());
                buses.len() - 1
            });
            let id = d.id.map(|id| format!(", ID: {id}")).unwrap_or_default();
            let speed = match d.speed {
                usb::Speed::Full => "12",
                usb::Speed::High => "480",
                usb::Speed::Super => "5000",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                s,
                "  Device {bus}.{}, Port {}, Speed {speed} Mb/s, Product {}{id}",
                d.address, d.port, d.product
            );
        }
        s
    })
}

/// This program has platforms of its own.
pub(super) fn kvm(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |_| "kvm support: not compiled\n".into())
}

pub(super) fn memory_size(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |c| {
        let m = &c.machine.plan().memory;
        format!("base memory: {}\nplugged memory: 0\n", m.low + m.high)
    })
}

pub(super) fn mice(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |c| {
        let list = c.machine.input().pointers();
        if list.is_empty() {
            return "No mouse devices connected\n".into();
        }
        let mut s = String::new();
        for (i, (_, name, absolute)) in list.iter().enumerate() {
            let star = if i == 0 { '*' } else { ' ' };
            s += &format!("{star} Mouse #{i}: {name}{}\n", if *absolute { " (absolute)" } else { "" });
        }
        s
    })
}

pub(super) fn pci(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |c| c.machine.pci().info())
}

/// The devices by the bus that they are on, with the addresses they answer.
pub(super) fn qtree(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |c| {
        let m = &c.machine;
        let mut s = String::from("bus: main-system-bus\n  type System\n");
        // Writing to a String cannot fail.
        for (_, r) in m.space().regions() {
            if r.enabled && matches!(r.backing, Backing::Mmio(_)) {
                let _ = writeln!(s, "  dev: {}, id \"\"\n    mmio {:016x}/{:016x}", r.name, r.start, r.len);
            }
        }
        s += "  bus: pci.0\n    type PCI\n";
        for line in m.pci().info().lines() {
            let _ = writeln!(s, "    {line}");
        }
        s += "  bus: ide\n    type IDE\n";
        for (d, (channel, unit)) in m.drives().iter().filter_map(|d| Some((d, d.ide?))) {
            let kind = if d.removable { "ide-cd" } else { "ide-hd" };
            let _ = writeln!(s, "    dev: {kind}, id \"{}\"\n      channel = {channel}\n      unit = {unit}", d.id);
        }
        s + &isa(m.ports().ranges().as_ref())
    })
}

fn isa(ports: &[vm_core::PortRange]) -> String {
    let mut s = String::from("  bus: isa.0\n    type ISA\n");
    let mut names: Vec<&str> = Vec::new();
    for r in ports {
        if !names.contains(&r.name.as_str()) {
            names.push(&r.name);
        }
    }
    for name in names {
        // Writing to a String cannot fail.
        let _ = writeln!(s, "    dev: {name}, id \"\"");
        for r in ports.iter().filter(|r| r.name == name) {
            let last = r.base.saturating_add(r.len.saturating_sub(1));
            let _ = writeln!(s, "      ports {:#06x}-{last:#06x}, accesses {}", r.base, r.accesses());
        }
    }
    s
}

pub(super) fn trace_events(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 0, 1)?;
    // Without a log nothing can be on.
    let events = context
        .log
        .as_ref()
        .map_or_else(|| cli::Trace::EVENTS.iter().map(|e| (e.0, false)).collect(), |log| log.events());
    let wanted = match words.first() {
        Some(pattern) => Some(cli::Trace::select(pattern).map_err(failed)?.0),
        None => None,
    };
    let shown = events.iter().filter(|e| wanted.as_ref().is_none_or(|w| w.contains(&e.0)));
    Ok(shown.map(|(name, on)| format!("{name} : state {}\n", u8::from(*on))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines_are_qemus() {
        assert_eq!(status_line(RunState::Running), "VM status: running\n");
        assert_eq!(status_line(RunState::Paused), "VM status: paused\n");
        assert_eq!(status_line(RunState::Prelaunch), "VM status: paused (prelaunch)\n");
        assert_eq!(status_line(RunState::InternalError), "VM status: paused (internal-error)\n");
    }
}
