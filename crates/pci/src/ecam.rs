//! The enhanced configuration access mechanism: configuration space as memory, 4 KiB a function.
//!
//! PCI Express Base Specification 3.0, section 7.2.2. The functions here have no extended configuration space: what is
//! past their 256 bytes reads all ones.

use std::sync::Arc;

use vm_core::{Mmio, Shared, shared};

use crate::PciBus;

/// The window; its first megabyte is bus 0. Holds no state, so nothing but the space's own lock of it is held while a
/// write changes mappings.
pub struct Ecam {
    bus: Arc<PciBus>,
}

impl Ecam {
    /// The window of `bus` and what is behind it.
    pub fn new(bus: &Arc<PciBus>) -> Shared<Self> {
        shared(Self { bus: bus.clone() })
    }

    /// Function and register that an access at `offset` means.
    fn target(offset: u64) -> Option<(u8, u8)> {
        let (bus, register) = (offset >> 20, offset & 0xFFF);
        (bus == 0).then_some(((offset >> 12) as u8, u8::try_from(register).ok()?))
    }
}

impl Mmio for Ecam {
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
        match Self::target(offset) {
            Some((devfn, register)) => self.bus.config_read(devfn, register, data),
            None => data.fill(0xFF),
        }
    }

    fn mmio_write(&mut self, offset: u64, data: &[u8]) {
        if let Some((devfn, register)) = Self::target(offset) {
            self.bus.config_write(devfn, register, data);
        }
    }
}
