//! Configuration mechanism #1: CONFADD at port 0xCF8, CONFDATA at port 0xCFC.
//!
//! 82441FX data sheet, sections 3.1.1 and 3.1.2: the address register answers doubleword accesses only. Narrower
//! ones are plain I/O; the one that means something on a PC, the byte at 0xCF9, is handed to the reset control
//! device, since one device must own ports 0xCF8-0xCFB for the doubleword to arrive whole.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use vm_core::{Device, PortIo, Shared, StateError, load_state, lock, save_state, shared};

use crate::PciBus;

/// CONFADD; register it at port 0xCF8, 4 ports, not byte wide.
pub struct ConfigAddressPort {
    address: Arc<AtomicU32>,
    reset_control: Option<Arc<Mutex<dyn PortIo>>>,
}

/// CONFDATA; register it at port 0xCFC, 4 ports, not byte wide. Holds no state, so nothing but the port space's own
/// lock of it is held while a write changes mappings.
pub struct ConfigDataPort {
    address: Arc<AtomicU32>,
    bus: Arc<PciBus>,
}

/// The two ports of `bus`. Byte accesses to port 0xCF9 go to `reset_control` with offset 0.
pub fn mechanism1(
    bus: &Arc<PciBus>,
    reset_control: Option<Arc<Mutex<dyn PortIo>>>,
) -> (Shared<ConfigAddressPort>, Shared<ConfigDataPort>) {
    let address = Arc::new(AtomicU32::new(0));
    let data = ConfigDataPort { address: address.clone(), bus: bus.clone() };
    (shared(ConfigAddressPort { address, reset_control }), shared(data))
}

/// Bits 1:0 and 30:24 are reserved and read 0.
const ADDRESS_BITS: u32 = 0x80FF_FFFC;

impl PortIo for ConfigAddressPort {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        match (offset, data.len(), &self.reset_control) {
            (0, 4, _) => data.copy_from_slice(&self.address.load(Ordering::SeqCst).to_le_bytes()),
            (1, 1, Some(device)) => lock(device).port_read(0, data),
            _ => data.fill(0xFF),
        }
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        match (offset, data, &self.reset_control) {
            (0, &[a, b, c, d], _) => {
                self.address.store(u32::from_le_bytes([a, b, c, d]) & ADDRESS_BITS, Ordering::SeqCst);
            }
            (1, &[_], Some(device)) => lock(device).port_write(0, data),
            _ => tracing::trace!(target: "pci_confadd_narrow", offset, ?data),
        }
    }
}

impl Device for ConfigAddressPort {
    fn name(&self) -> &str {
        "pci-config-address"
    }

    fn reset(&mut self) {
        self.address.store(0, Ordering::SeqCst);
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &self.address.load(Ordering::SeqCst))
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let value: u32 = load_state(self.name(), bytes)?;
        self.address.store(value & ADDRESS_BITS, Ordering::SeqCst);
        Ok(())
    }
}

impl ConfigDataPort {
    /// Bus, function and register that an access at `offset` means.
    fn target(&self, offset: u16) -> Option<(Arc<PciBus>, u8, u16)> {
        let address = self.address.load(Ordering::SeqCst);
        let register = (address & 0xFC) as u16 | offset & 3;
        let bus = self.bus.numbered((address >> 16) as u8).filter(|_| address >> 31 == 1)?;
        Some((bus, (address >> 8) as u8, register))
    }
}

impl PortIo for ConfigDataPort {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        match self.target(offset) {
            Some((bus, devfn, register)) => bus.config_read(devfn, register, data),
            None => data.fill(0xFF),
        }
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        if let Some((bus, devfn, register)) = self.target(offset) {
            bus.config_write(devfn, register, data);
        }
    }
}
