//! Chipset configuration registers: 16 KiB of memory where RCBA says.
//!
//! Intel ICH9 data sheet, section 10.1. The interrupt route registers (DxxIR) have their effect, and the NO REBOOT bit of GCS
//! on the watchdog ([`super::Tco`]): it is what the strap says at reset, and cannot be cleared when the strap is high; the
//! others hold what is written (HPTC: the HPET answers always, at its
//! first address; function disable: nothing is hidden).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
        Self { bytes }
    }
}

/// See the module's documentation.
pub struct Rcba {
    state: State,
    router: Arc<Ich9Router>,
    /// The strap at the speaker pin: no reboots by the watchdog.
    strap: bool,
    no_reboot: Arc<AtomicBool>,
}

impl Rcba {
    /// Registers that program `router` and tell `no_reboot`; `strap` is the NO REBOOT strap.
    pub fn new(router: Arc<Ich9Router>, strap: bool, no_reboot: Arc<AtomicBool>) -> Shared<Self> {
        let mut rcba = Self { state: State::at_reset(), router, strap, no_reboot };
        rcba.apply_strap();
        shared(rcba)
    }

    fn apply_strap(&mut self) {
        self.state.bytes[GCS] |= if self.strap { NO_REBOOT } else { 0 };
        self.no_reboot.store(self.state.bytes[GCS] & NO_REBOOT != 0, Ordering::SeqCst);
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
        self.apply_strap();
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
        self.apply_strap();
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
        self.apply_strap();
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
        let no_reboot = Arc::new(AtomicBool::new(false));
        let rcba = Rcba::new(router.clone(), false, no_reboot.clone());
        let mut rcba = lock(&rcba);
        let mut x = [0; 4];
        rcba.mmio_read(0x3140, &mut x);
        assert_eq!(x, [0x10, 0x32, 0, 0]);
        rcba.mmio_write(0x3140, &[0x15, 0x32]);
        router.set_intx(devfn(31, 2), pci::swizzle(31, 0), true);
        assert!(apic[5].is_high() && !apic[0].is_high());
        rcba.reset();
        assert!(apic[0].is_high() && !apic[5].is_high());
        rcba.mmio_write(0x3410, &[0x20, 0, 0, 0]);
        assert!(no_reboot.load(Ordering::SeqCst));
        rcba.reset();
        assert!(!no_reboot.load(Ordering::SeqCst));
        let strapped = Rcba::new(router.clone(), true, no_reboot.clone());
        lock(&strapped).mmio_write(0x3410, &[0; 4]);
        lock(&strapped).mmio_read(0x3410, &mut x);
        assert_eq!((x[0], no_reboot.load(Ordering::SeqCst)), (0x20, true), "the strap is stronger");
        rcba.mmio_write(u64::MAX, &[1, 2]);
        rcba.mmio_write(0x34FF, &[1, 2, 3, 4]);
        crate::test_util::round_trip(&mut *rcba);
    }
}
