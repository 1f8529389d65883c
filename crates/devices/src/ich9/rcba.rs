//! Chipset configuration registers: 16 KiB of memory where RCBA says.
//!
//! Intel ICH9 data sheet, section 10.1. The interrupt route registers (DxxIR) have their effect; GCS says NO REBOOT and
//! keeps saying it, since there is no TCO timer; the others hold what is written (HPTC: the HPET answers always, at its
//! first address; function disable: nothing is hidden).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vm_core::{Device, Mmio, Shared, StateError, load_state, save_state, shared};

use super::router::Ich9Router;

/// Length of the window.
pub const RCBA_LEN: u64 = 0x4000;
/// The registers kept: 3000h to 34FFh.
const FIRST: u64 = 0x3000;
const KEPT: usize = 0x500;
/// DxxIR and the index the router has for it (device - 25).
const DEVICE_ROUTES: [(usize, usize); 6] = [(0x140, 6), (0x144, 4), (0x146, 3), (0x148, 2), (0x14C, 1), (0x150, 0)];
const GCS: usize = 0x410;
const NO_REBOOT: u8 = 1 << 5;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    bytes: Vec<u8>,
}

impl State {
    fn at_reset() -> Self {
        let mut bytes = vec![0; KEPT];
        for (at, _) in DEVICE_ROUTES {
            bytes[at..at + 2].copy_from_slice(&0x3210u16.to_le_bytes());
        }
        bytes[GCS] = NO_REBOOT;
        Self { bytes }
    }
}

/// See the module's documentation.
pub struct Rcba {
    state: State,
    router: Arc<Ich9Router>,
}

impl Rcba {
    /// Registers that program `router`.
    pub fn new(router: Arc<Ich9Router>) -> Shared<Self> {
        shared(Self { state: State::at_reset(), router })
    }

    fn index(offset: u64) -> Option<usize> {
        usize::try_from(offset.checked_sub(FIRST)?).ok().filter(|i| *i < KEPT)
    }
}

impl Mmio for Rcba {
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
        for (i, b) in data.iter_mut().enumerate() {
            *b = Self::index(offset.wrapping_add(i as u64)).map_or(0, |at| self.state.bytes[at]);
        }
    }

    fn mmio_write(&mut self, offset: u64, data: &[u8]) {
        for (i, b) in data.iter().enumerate() {
            if let Some(at) = Self::index(offset.wrapping_add(i as u64)) {
                self.state.bytes[at] = *b;
            }
        }
        self.state.bytes[GCS] |= NO_REBOOT;
        for (at, index) in DEVICE_ROUTES {
            let end = offset.saturating_add(data.len() as u64);
            if offset < FIRST + at as u64 + 2 && end > FIRST + at as u64 {
                let value = u16::from_le_bytes([self.state.bytes[at], self.state.bytes[at + 1]]);
                self.router.set_device_route(index, value);
            }
        }
    }
}

impl Device for Rcba {
    fn name(&self) -> &str {
        "ich9-rcba"
    }

    fn reset(&mut self) {
        self.state = State::at_reset();
        self.router.reset_device_routes();
    }

    /// What firmware sets at power-on only stays: SeaBIOS does not find its way to all of it again.
    fn wake(&mut self) {}

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let state: State = load_state(self.name(), bytes)?;
        if state.bytes.len() != KEPT {
            return Err(StateError::Mismatch { device: self.name().into(), reason: "wrong length".into() });
        }
        self.state = state; // the router restores its own view
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pci::{IntxRouter, devfn};
    use vm_core::{IrqLine, RecordedLine, lock};

    #[test]
    fn device_interrupt_routes_take_effect() {
        let (apic, lines): (Vec<_>, Vec<_>) = (0..8).map(|_| RecordedLine::line()).unzip();
        let router = Ich9Router::new(std::array::from_fn(|_| IrqLine::unconnected()), lines.try_into().unwrap());
        let rcba = Rcba::new(router.clone());
        let mut rcba = lock(&rcba);
        let mut x = [0; 4];
        rcba.mmio_read(0x3140, &mut x);
        assert_eq!(x, [0x10, 0x32, 0, 0]);
        rcba.mmio_write(0x3140, &[0x15, 0x32]);
        router.set_intx(devfn(31, 2), pci::swizzle(31, 0), true);
        assert!(apic[5].is_high() && !apic[0].is_high());
        rcba.reset();
        assert!(apic[0].is_high() && !apic[5].is_high());
        rcba.mmio_write(0x3410, &[0; 4]);
        rcba.mmio_read(0x3410, &mut x);
        assert_eq!(x[0], 0x20, "no reboot by the timer");
        rcba.mmio_write(u64::MAX, &[1, 2]);
        rcba.mmio_write(0x34FF, &[1, 2, 3, 4]);
        crate::test_util::round_trip(&mut *rcba);
    }
}
