//! `-trace`: which events are written, and where. Patterns are QEMU's: `*` and `?`, a leading `-` switches off.

use std::path::PathBuf;

use super::KeyVal;
use crate::{UsageError, nearest};

/// A part of `-trace`, in the order typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceItem {
    /// A pattern.
    Pattern(String),
    /// `events=FILE`: a pattern a line, `#` begins a comment.
    Events(PathBuf),
}

/// `-trace`, all of them together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Patterns and files of patterns.
    pub items: Vec<TraceItem>,
    /// `file=FILE`; the log when absent.
    pub file: Option<PathBuf>,
}

impl Trace {
    /// Events that exist, with what they say. A name is the `tracing` target of the event.
    pub const EVENTS: &'static [(&'static str, &'static str)] = &[
        ("cpu_in", "IN by a processor: address, size, value"),
        ("cpu_out", "OUT by a processor: address, size, value"),
        ("hyperv", "hypercall of the guest to the built-in platform, with its status"),
        ("ide_atapi_packet", "packet command of an IDE drive and what comes of it"),
        ("ide_bus_master_stop", "the IDE bus master stopped before the drive did"),
        ("ide_exec_cmd", "command of an IDE drive, with its registers"),
        ("ide_ignored_cmd", "command written to a busy IDE drive"),
        ("ioapic_deliver", "message sent by the I/O APIC"),
        ("ioapic_eoi_broadcast", "end of interrupt that reached the I/O APIC"),
        ("memory_region_ops_read", "load from a device window: address, size, value, device"),
        ("memory_region_ops_write", "store to a device window: address, size, value, device"),
        ("pci_cfg_read", "read of PCI configuration space"),
        ("pci_cfg_write", "write of PCI configuration space"),
        ("pci_confadd_narrow", "narrow write to the PCI address port"),
        ("pic_acknowledge", "vector that the 8259 pair gave to the processor"),
        ("port80", "POST code"),
        ("runstate_set", "the machine's run state changed"),
        ("unassigned_port", "access to a port where nothing is"),
        ("whpx_exit", "exit of a virtual processor: reason and RIP"),
        ("whpx_extint", "interrupt of the 8259 pair handed to the platform"),
        ("whpx_msi", "interrupt message handed to the platform"),
        ("whpx_unsupported_msr_access", "RDMSR or WRMSR of an MSR that nobody knows"),
    ];

    /// Takes one `-trace`.
    ///
    /// # Errors
    /// For a property that does not exist.
    pub(super) fn option(&mut self, v: &str) -> Result<(), UsageError> {
        let mut k = KeyVal::parse("trace", v, Some("enable"))?;
        self.items.extend(k.take("enable").map(TraceItem::Pattern));
        self.items.extend(k.take("events").map(|f| TraceItem::Events(f.into())));
        if let Some(file) = k.take("file") {
            self.file = Some(file.into());
        }
        k.finish()
    }

    /// The events of `pattern` and whether they are switched on; an exact name that does not exist is an error text.
    ///
    /// # Errors
    /// One line that names the event, and the nearest.
    pub fn select(pattern: &str) -> Result<(Vec<&'static str>, bool), String> {
        let (pattern, on) = pattern.strip_prefix('-').map_or((pattern, true), |rest| (rest, false));
        let names = || Self::EVENTS.iter().map(|e| e.0);
        let found: Vec<_> = names().filter(|name| fits(pattern.as_bytes(), name.as_bytes())).collect();
        if found.is_empty() && !pattern.contains(['*', '?']) {
            let near = nearest(pattern, names()).map(|n| format!("; did you mean {n}?"));
            return Err(format!("trace event '{pattern}' does not exist{}", near.unwrap_or_default()));
        }
        Ok((found, on))
    }
}

/// Whether `name` fits `pattern` (`*`: any number of characters, `?`: one).
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    // The last star and what it stands for so far: where to go on when the rest does not fit.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, want) in [
            ("whpx*", "whpx_exit", true),
            ("*exit", "whpx_exit", true),
            ("w*x*t", "whpx_exit", true),
            ("whpx_exi?", "whpx_exit", true),
            ("whpx", "whpx_exit", false),
            ("", "whpx_exit", false),
            ("*", "", true),
            ("?", "", false),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), want, "{pattern} {name}");
        }
    }

    #[test]
    fn selection() {
        assert_eq!(Trace::select("cpu_*"), Ok((vec!["cpu_in", "cpu_out"], true)));
        assert_eq!(Trace::select("-cpu_in"), Ok((vec!["cpu_in"], false)));
        assert_eq!(Trace::select("virtio*"), Ok((vec![], true)));
        assert!(Trace::select("whpx_exits").is_err_and(|e| e.ends_with("did you mean whpx_exit?")));
    }

    #[test]
    fn options() {
        let mut trace = Trace::default();
        trace.option("cpu_*,file=t.log").unwrap();
        trace.option("enable=-cpu_in,events=list").unwrap();
        let pattern = |p: &str| TraceItem::Pattern(p.into());
        assert_eq!(trace.items, [pattern("cpu_*"), pattern("-cpu_in"), TraceItem::Events("list".into())]);
        assert_eq!(trace.file.as_deref(), Some(std::path::Path::new("t.log")));
        assert!(trace.option("cpu_in,flie=x").is_err());
    }
}
