//! The PCI side of the AHCI controller, and the controller as a device.
//!
//! Intel ICH9 data sheet, section 15.1: 8086:2922, BAR 4 (index and data ports), BAR 5 (ABAR), MSI at 80h, the SATA
//! capability at A8h. MAP and PCS say AHCI mode and hold what is written.

use std::sync::atomic::Ordering;

use pci::{BarBacking, BarKind, BarSpec, ConfigSpace, Deferred, Identity, Msi, PciFunction};
use vm_core::{Device, Shared, StateError, load_state, save_state};

use super::{Ahci, PORTS, Saved, State, WINDOW};

const INDEX_BAR: u8 = 4;
const REGISTERS_BAR: u8 = 5;

pub(super) fn config(multifunction: bool) -> (ConfigSpace, Msi) {
    let id = Identity { vendor: 0x8086, device: 0x2922, revision: 2, class: 0x01_0601, subsystem: (0x1AF4, 0x1100) };
    let config = ConfigSpace::endpoint(id)
        .with_interrupt_pin(1)
        .with_bar(BarSpec { index: INDEX_BAR, kind: BarKind::Io, size: 32 })
        .with_bar(BarSpec { index: REGISTERS_BAR, kind: BarKind::Mem32 { prefetch: false }, size: WINDOW })
        .with(0x90, &[0x40, 0x00, 0x3F, 0x3F]) // MAP: AHCI; PCS: ports enabled and present
        .with_writable(0x92, &[0x3F, 0x00])
        .capabilities_from(0x80);
    let config = if multifunction { config.multifunction() } else { config };
    let (config, msi) = Msi::add(config, 1);
    // Revision 1.0; the index-data pair is in BAR 4, four doublewords in.
    let (config, _) = config.capabilities_from(0xA8).with_capability(0x12, &[0x10, 0x00, 0x48, 0x00, 0x00, 0x00]);
    (config, msi)
}

impl Ahci {
    /// What is behind the base address registers.
    pub fn bars(ahci: &Shared<Self>) -> Vec<(u8, BarBacking)> {
        vec![(INDEX_BAR, BarBacking::Io(Self::index_ports(ahci))), (REGISTERS_BAR, BarBacking::Mmio(ahci.clone()))]
    }

    fn command_changed(&mut self) {
        self.may_master.store(self.config.may_master(), Ordering::Release);
        self.pin.update(&self.config);
    }
}

impl Device for Ahci {
    fn name(&self) -> &str {
        &self.name
    }

    fn reset(&mut self) {
        self.config.reset();
        self.state = State::at_reset();
        self.drives.iter_mut().for_each(|p| p.reset_drive());
        self.reset_ports();
        self.command_changed();
        self.update_interrupt();
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        let bad = |reason: &str| StateError::Mismatch { device: self.name.clone(), reason: reason.into() };
        if self.drives.iter().any(|p| p.is_busy()) {
            return Err(bad("a disk request is under way; drain the block queues first"));
        }
        let drives = self.drives.iter().map(|p| p.channel.save()).collect::<Result<_, _>>()?;
        save_state(&self.name, &Saved { state: self.state.clone(), config: self.config.state(), drives })
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let Saved { state, config, drives } = load_state(&self.name, bytes)?;
        if state.ports.len() != PORTS || drives.len() != PORTS {
            return Err(StateError::Mismatch { device: self.name.clone(), reason: "not six ports".into() });
        }
        self.config.restore(&self.name, &config)?;
        for (port, drive) in self.drives.iter_mut().zip(&drives) {
            port.restore_drive(drive)?;
        }
        self.signalled = state.interrupts && state.status != 0;
        self.state = state;
        self.may_master.store(self.config.may_master(), Ordering::Release);
        self.pin.import(&self.config);
        Ok(())
    }
}

impl PciFunction for Ahci {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, _offset: u8, _len: usize) {
        self.msi.config_written(&mut self.config, &*self.sink);
        self.command_changed();
        self.update_interrupt();
        (0..PORTS).for_each(|n| self.issue(n));
    }

    fn placement(&mut self) -> Option<Deferred> {
        None
    }
}
