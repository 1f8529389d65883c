//! The enhanced configuration access mechanism: configuration space as memory, 4 KiB a function.
//!
//! PCI Express Base Specification 3.0, section 7.2.2. What is past the 256 bytes of a conventional function reads all ones.

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

    /// Bus, function and register that an access at `offset` means.
    fn target(&self, offset: u64) -> Option<(Arc<PciBus>, u8, u16)> {
        let bus = self.bus.numbered(u8::try_from(offset >> 20).ok()?)?;
        Some((bus, (offset >> 12) as u8, (offset & 0xFFF) as u16))
    }
}

impl Mmio for Ecam {
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
        match self.target(offset) {
            Some((bus, devfn, register)) => bus.config_read(devfn, register, data),
            None => data.fill(0xFF),
        }
    }

    fn mmio_write(&mut self, offset: u64, data: &[u8]) {
        if let Some((bus, devfn, register)) = self.target(offset) {
            bus.config_write(devfn, register, data);
        }
    }
}
