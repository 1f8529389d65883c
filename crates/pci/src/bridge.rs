//! What a bridge does for the bus behind it: the windows that it forwards, and the interrupt pins.
//!
//! PCI-to-PCI Bridge Architecture 1.2, sections 3.2.5.6 to 3.2.5.10 (windows) and 9.1 (pins); PCI Express Base Specification
//! 3.0, section 2.2.8.1. Left out: bridges behind bridges; VGA and ISA forwarding, which the headers here say they do not
//! have; the master enable bit of a bridge, by which it would refuse DMA and messages from below.

use std::sync::{Arc, Mutex};

use vm_core::{IrqLine, lock};

use crate::config::{BarKind, ConfigSpace, command, reg};
use crate::intx::IntxRouter;

/// First and last address.
type Window = (u64, u64);

/// What comes through to a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// The bus is there: functions answer configuration accesses.
    pub link: bool,
    /// Ports.
    pub io: Option<Window>,
    /// Memory.
    pub memory: Option<Window>,
    /// More memory; below 4 GiB or above it.
    pub prefetch: Option<Window>,
}

impl Forwarding {
    /// What comes through to the root bus.
    pub const EVERYTHING: Self =
        Self { link: true, io: Some((0, u64::MAX)), memory: Some((0, u64::MAX)), prefetch: Some((0, u64::MAX)) };
    /// Of a bridge at reset.
    pub const NOTHING: Self = Self { link: false, io: None, memory: None, prefetch: None };

    /// What a bridge with these registers forwards to a bus that is there, or not.
    pub fn of(config: &ConfigSpace, link: bool) -> Self {
        if !link {
            return Self::NOTHING;
        }
        let on =
            |bit: u16, first: u64, last: u64| (config.command() & bit != 0 && first <= last).then_some((first, last));
        let ports = |offset: u8| u64::from(config.u8(offset) & 0xF0) << 8;
        let megabytes = |offset: u8| u64::from(config.u16(offset) & 0xFFF0) << 16;
        let high = |offset: u8| u64::from(config.u32(offset)) << 32;
        let io = on(command::IO, ports(reg::IO_BASE), ports(reg::IO_BASE + 1) | 0xFFF);
        let memory = on(command::MEMORY, megabytes(reg::MEMORY_BASE), megabytes(reg::MEMORY_BASE + 2) | 0xF_FFFF);
        let prefetch = on(
            command::MEMORY,
            high(reg::PREFETCH_BASE_HIGH) | megabytes(reg::PREFETCH_BASE),
            high(reg::PREFETCH_BASE_HIGH + 4) | megabytes(reg::PREFETCH_BASE + 2) | 0xF_FFFF,
        );
        Self { link, io, memory, prefetch }
    }

    /// Whether all of a base address register's range comes through. A bridge forwards addresses and knows nothing of
    /// kinds of memory, so either memory window will do.
    pub(crate) fn passes(&self, kind: BarKind, start: u64, len: u64) -> bool {
        let last = start.saturating_add(len.saturating_sub(1));
        let within = |window: &Option<Window>| window.is_some_and(|(first, end)| first <= start && last <= end);
        match kind {
            BarKind::Io => within(&self.io),
            BarKind::Mem32 { .. } | BarKind::Mem64 { .. } | BarKind::Rom => {
                within(&self.memory) || within(&self.prefetch)
            }
        }
    }
}

/// The pins of a bridge that the pins of the functions behind it lead to.
pub struct BridgePins {
    lines: [IrqLine; 4],
    /// Per pin of the bridge, one bit for each function that drives it; the link has one device.
    driven: Mutex<[u8; 4]>,
}

impl BridgePins {
    /// Drives `lines`, the pins A to D of the bridge.
    pub fn new(lines: [IrqLine; 4]) -> Arc<Self> {
        Arc::new(Self { lines, driven: Mutex::new([0; 4]) })
    }

    /// Who drives, to save.
    pub fn state(&self) -> [u8; 4] {
        *lock(&self.driven)
    }

    /// Takes a saved state without telling anyone.
    pub fn restore(&self, state: [u8; 4]) {
        *lock(&self.driven) = state;
        self.lines.iter().zip(state).for_each(|(line, driven)| line.import_level(driven != 0));
    }
}

impl IntxRouter for BridgePins {
    fn set_intx(&self, devfn: u8, wire: u8, high: bool) {
        let device = devfn >> 3;
        // The bus numbers wires as a board with four of them (`swizzle`); behind a bridge it is device plus pin.
        let pin = wire.wrapping_sub(device).wrapping_add(1);
        let at = usize::from(device.wrapping_add(pin) & 3);
        let mut driven = lock(&self.driven);
        let bit = 1 << (devfn & 7);
        driven[at] = if high { driven[at] | bit } else { driven[at] & !bit };
        self.lines[at].set(driven[at] != 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Identity, swizzle};
    use vm_core::RecordedLine;

    #[test]
    fn windows_follow_the_registers() {
        let id = Identity { vendor: 1, device: 2, revision: 0, class: 0x06_0400, subsystem: (0, 0) };
        let mut c = ConfigSpace::bridge(id);
        c.write(0x1C, &[0x10, 0x20]);
        c.write(0x20, &[0x00, 0xFE, 0x10, 0xFE]);
        c.write(0x24, &[0x00, 0x00, 0xF0, 0xFF]);
        c.write(0x28, &[8, 0, 0, 0, 8, 0, 0, 0]);
        assert_eq!(Forwarding::of(&c, true), Forwarding { link: true, ..Forwarding::NOTHING }, "the command register");
        c.write(0x04, &[3]);
        let f = Forwarding::of(&c, true);
        assert_eq!((f.io, f.memory), (Some((0x1000, 0x2FFF)), Some((0xFE00_0000, 0xFE1F_FFFF))));
        assert_eq!(f.prefetch, Some((0x8_0000_0000, 0x8_FFFF_FFFF)));
        assert_eq!(Forwarding::of(&c, false), Forwarding::NOTHING);
        let memory = BarKind::Mem64 { prefetch: false };
        assert!(f.passes(memory, 0xFE1F_F000, 0x1000) && !f.passes(memory, 0xFE1F_F000, 0x2000));
        assert!(f.passes(memory, 0x8_0000_0000, 0x1000) && !f.passes(BarKind::Io, 0x0FF0, 0x20));
        c.write(0x22, &[0xF0, 0xFD]);
        assert_eq!(Forwarding::of(&c, true).memory, None, "a limit below the base is no window");
    }

    #[test]
    fn pins_are_shared_by_functions() {
        let (seen, lines): (Vec<_>, Vec<_>) = (0..4).map(|_| RecordedLine::line()).unzip();
        let pins = BridgePins::new(lines.try_into().unwrap());
        pins.set_intx(0, swizzle(0, 0), true);
        pins.set_intx(1, swizzle(0, 0), true);
        pins.set_intx(2, swizzle(0, 3), true);
        pins.set_intx(0, swizzle(0, 0), false);
        let high = || seen.iter().map(|s| s.is_high()).collect::<Vec<_>>();
        assert_eq!(high(), [true, false, false, true]);
        let saved = pins.state();
        pins.set_intx(1, swizzle(0, 0), false);
        assert!(!seen[0].is_high());
        pins.restore(saved);
        pins.set_intx(1, swizzle(0, 0), false);
        pins.set_intx(2, swizzle(0, 3), false);
        assert_eq!(high(), [false; 4]);
    }
}
