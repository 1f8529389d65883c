//! 82441FX PCI and memory controller (PMC): the host bridge of the `pc` machine.
//!
//! Intel 82441FX data sheet (290549), section 3.2: PAM registers 59h-5Fh and SMRAM 72h (see [`crate::shadow`]), DRAM row
//! boundaries 60h-67h, ERRSTS. Without system management mode the SMRAM register only opens and closes the DRAM under
//! A0000h. Left out: DRAM timing (registers hold what is written), ECC, the turbo reset control register 93h.

use pci::{ConfigSpace, ConfigState, Deferred, Identity, PciFunction};
use vm_core::{Device, SpaceError, StateError, load_state, save_state};

use crate::shadow::{D_CLS, D_LCK, D_OPEN, G_SMRAME, HostBridgeWiring, PAM_WRITABLE, ShadowRam};
use crate::shadow::{lock_smram, unlock_smram};

const PAM0: u8 = 0x59;
const DRB0: u8 = 0x60;
const SMRAM: u8 = 0x72;

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct State {
    config: ConfigState,
}

/// See the module's documentation.
pub struct I440fx {
    config: ConfigSpace,
    shadow: ShadowRam,
}

fn config(ram_size: u64) -> ConfigSpace {
    let id = Identity { vendor: 0x8086, device: 0x1237, revision: 2, class: 0x06_0000, subsystem: (0x1AF4, 0x1100) };
    let units = u8::try_from(ram_size >> 23).unwrap_or(0xFF); // 8 MiB each
    ConfigSpace::endpoint(id)
        .with(0x04, &[0x06, 0x00, 0x80, 0x02])
        .with_writable(0x04, &[0x40, 0x01]) // memory and master are always on
        .with_writable(0x0C, &[0x00, 0xF8])
        .with_writable(0x3C, &[0x00])
        .with(0x50, &[0x00, 0x00, 0x00, 0x83]) // PMCCFG, DETURBO, DBC
        .with_writable(0x50, &[0xFF; 9])
        .with(0x57, &[0x01, 0x10]) // DRAMC, DRAMT
        .with_writable(PAM0, &PAM_WRITABLE)
        .with(DRB0, &[units; 8])
        .with_writable(DRB0, &[0xFF; 9])
        .with_writable(0x70, &[0xFF, 0xFF])
        .with(0x71, &[0x10])
        .with(SMRAM, &[0x02])
        .with_writable(SMRAM, &[D_OPEN | D_CLS | D_LCK | G_SMRAME])
        .with_writable(0x90, &[0xFF])
        .with_write_clears(0x91, &[0x11])
}

impl I440fx {
    /// Adds the shadow RAM regions, all closed, to the space and returns the bridge; it goes to devfn 0.
    ///
    /// # Errors
    /// [`SpaceError`] when a region does not fit (RAM smaller than 1 MiB, the priority used by others).
    pub fn new(wiring: HostBridgeWiring) -> Result<Self, SpaceError> {
        let HostBridgeWiring { space, low_ram, ram: (low, high), roms } = wiring;
        let shadow = ShadowRam::new(&space, &low_ram, &roms)?;
        Ok(Self { config: config(low + high), shadow })
    }
}

impl Device for I440fx {
    fn name(&self) -> &str {
        "i440fx"
    }

    fn reset(&mut self) {
        self.config.reset();
    }

    /// What says where memory is stays with it: by the shadow RAM firmware tells waking up from power-on.
    fn wake(&mut self) {}

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &State { config: self.config.state() })
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let State { config } = load_state(self.name(), bytes)?;
        self.config.restore("i440fx", &config)
    }
}

impl PciFunction for I440fx {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, offset: u8, len: usize) {
        let written = usize::from(offset)..usize::from(offset) + len;
        if written.contains(&usize::from(SMRAM)) {
            lock_smram(&mut self.config, SMRAM);
        }
    }

    fn placement(&mut self) -> Option<Deferred> {
        unlock_smram(&mut self.config, SMRAM);
        Some(self.shadow.placement(&self.config, PAM0, SMRAM))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shadow::Shadowed;
    use guest_memory::RamBlock;
    use pci::{IntxRouter, PciBus};
    use std::sync::Arc;
    use vm_core::{AddressSpace, Backing, PortSpace, Region, shared};

    struct NoRouter;
    impl IntxRouter for NoRouter {
        fn set_intx(&self, _: u8, _: u8, _: bool) {}
    }

    fn board() -> (Arc<AddressSpace>, Arc<PciBus>, vm_core::Shared<I440fx>) {
        let space = AddressSpace::new();
        let ram = RamBlock::new("pc.ram", 0x20_0000).unwrap();
        let rom = RamBlock::new("bios", 0x2_0000).unwrap();
        rom.fill(0, 0x2_0000, 0xB1);
        let add = |name: &str, start, len, backing| {
            space.add(Region { name: name.into(), start, len, priority: 0, enabled: true, backing }).unwrap();
        };
        add("ram-low", 0, 0xA_0000, Backing::ram(&ram));
        add("bios", 0xE_0000, 0x2_0000, Backing::rom(&rom));
        let roms = vec![Shadowed { start: 0xE_0000, len: 0x2_0000, block: rom, offset: 0 }];
        let bridge =
            I440fx::new(HostBridgeWiring { space: space.clone(), low_ram: ram, ram: (2 << 30, 0), roms }).unwrap();
        let bus = PciBus::new(space.clone(), PortSpace::new(), Arc::new(NoRouter));
        let bridge = shared(bridge);
        bus.add(0, &bridge, vec![]).unwrap();
        (space, bus, bridge)
    }

    fn rd(space: &AddressSpace, gpa: u64) -> u8 {
        let mut x = [0];
        space.read(gpa, &mut x);
        x[0]
    }

    #[test]
    fn the_four_states_of_a_segment() {
        let (space, bus, _) = board();
        space.write(0xF_0000, &[1]);
        assert_eq!(rd(&space, 0xF_0000), 0xB1, "ROM at reset");
        bus.config_write(0, 0x59, &[0x20]);
        space.write(0xF_0000, &[2]);
        assert_eq!(rd(&space, 0xF_0000), 0xB1, "write only: reads still ROM");
        bus.config_write(0, 0x59, &[0x10]);
        space.write(0xF_0000, &[3]);
        assert_eq!(rd(&space, 0xF_0000), 2, "read only");
        bus.config_write(0, 0x59, &[0x30]);
        space.write(0xF_0000, &[4]);
        assert_eq!(rd(&space, 0xF_0000), 4);
        assert_eq!(rd(&space, 0xE_FFFF), 0xB1, "the next segment is untouched");
    }

    #[test]
    fn nibbles_are_16k_segments_and_reset_closes_them() {
        let (space, bus, bridge) = board();
        assert_eq!(rd(&space, 0xC_4000), 0xFF);
        bus.config_write(0, 0x5A, &[0x30]);
        space.write(0xC_4000, &[7]);
        assert_eq!((rd(&space, 0xC_3FFF), rd(&space, 0xC_4000), rd(&space, 0xC_8000)), (0xFF, 7, 0xFF));
        vm_core::lock(&bridge).reset();
        bus.sync();
        assert_eq!(rd(&space, 0xC_4000), 0xFF);
        bus.config_write(0, 0x5A, &[0x30]);
        assert_eq!(rd(&space, 0xC_4000), 7, "DRAM keeps its contents");
        let mut x = [0];
        bus.config_read(0, 0x5A, &mut x);
        assert_eq!(x, [0x30]);
    }

    #[test]
    fn smram_opens_and_locks() {
        let (space, bus, bridge) = board();
        bus.config_write(0, 0x72, &[0x4A]);
        space.write(0xA_0000, &[9]);
        assert_eq!(rd(&space, 0xA_0000), 9);
        bus.config_write(0, 0x72, &[0x1A]);
        bus.config_write(0, 0x72, &[0x4A]);
        assert_eq!(rd(&space, 0xA_0000), 0xFF, "locked");
        vm_core::lock(&bridge).reset();
        bus.sync();
        bus.config_write(0, 0x72, &[0x4A]);
        assert_eq!(rd(&space, 0xA_0000), 9);
    }

    #[test]
    fn identity_and_rows() {
        let (_, bus, _) = board();
        let mut x = [0; 4];
        bus.config_read(0, 0, &mut x);
        assert_eq!(u32::from_le_bytes(x), 0x1237_8086);
        bus.config_read(0, 0x64, &mut x);
        assert_eq!(x, [0xFF; 4], "2 GiB saturates");
    }

    #[test]
    fn save_and_restore() {
        let (space, bus, bridge) = board();
        bus.config_write(0, 0x59, &[0x30]);
        space.write(0xF_0000, &[4]);
        let saved = vm_core::lock(&bridge).save().unwrap();
        vm_core::lock(&bridge).reset();
        bus.sync();
        assert_eq!(rd(&space, 0xF_0000), 0xB1);
        vm_core::lock(&bridge).restore(&saved).unwrap();
        bus.sync();
        assert_eq!(rd(&space, 0xF_0000), 4);
        assert!(vm_core::lock(&bridge).restore(&saved[1..]).is_err());
    }
}
