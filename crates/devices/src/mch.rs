//! Q35 memory controller hub (MCH), device 0: the host bridge of the `q35` machine.
//!
//! Intel 3 Series Express Chipset Family data sheet (316966), section 5.1: PCIEXBAR 60h, PAM registers 90h-96h and SMRAM
//! 9Dh (see [`crate::shadow`]), ESMRAMC 9Eh, the memory limits A0h-B0h, CAPID0. PCIEXBAR places the configuration
//! window ([`pci::Ecam`]). Left out: system management mode, so ESMRAMC and TSEG hold what is written and hide nothing;
//! EPBAR, MCHBAR and DMIBAR hold what is written and have no registers behind them; the memory limits are as a board's
//! memory set-up code leaves them; ECC and error reporting.

use std::sync::Arc;

use pci::{ConfigSpace, ConfigState, Deferred, Ecam, Identity, PciBus, PciFunction};
use vm_core::{
    AddressSpace, Backing, Device, GuestWarnings, Region, RegionId, SpaceError, StateError, load_state, save_state,
};

use crate::shadow::{D_CLS, D_LCK, D_OPEN, G_SMRAME, HostBridgeWiring, PAM_WRITABLE, ShadowRam};
use crate::shadow::{lock_smram, unlock_smram};

const PCIEXBAR: u8 = 0x60;
const PAM0: u8 = 0x90;
const SMRAM: u8 = 0x9D;
/// The window hides RAM and BARs, and is hidden by the board's own registers.
const ECAM_PRIORITY: i32 = 1;
const MIB: u64 = 1 << 20;

/// Told of a new place of the configuration window, with no lock held: base and number of buses; `None` is off.
pub type OnEcam = Arc<dyn Fn(Option<(u64, u16)>) + Send + Sync>;

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct State {
    config: ConfigState,
}

/// See the module's documentation.
pub struct Mch {
    config: ConfigSpace,
    shadow: ShadowRam,
    space: Arc<AddressSpace>,
    ecam: RegionId,
    placed: Option<(u64, u16)>,
    on_ecam: OnEcam,
}

fn config(low: u64, high: u64) -> ConfigSpace {
    let id = Identity { vendor: 0x8086, device: 0x29C0, revision: 2, class: 0x06_0000, subsystem: (0x1AF4, 0x1100) };
    let megabytes = |bytes: u64| u16::try_from(bytes / MIB).unwrap_or(u16::MAX);
    let top = if high == 0 { low } else { (4 << 30) + high };
    let tolud = (megabytes(low) & 0xFFF) << 4;
    ConfigSpace::endpoint(id)
        .with(0x04, &[0x06, 0x00, 0x90, 0x00])
        .with_writable(0x04, &[0x00, 0x01]) // memory and master are always on
        .with_writable(0x0C, &[0x00, 0x00])
        .with_writable(0x3C, &[0x00])
        .with(0x34, &[0xE0])
        .with_writable(0x40, &[0x01, 0xF0, 0xFF, 0xFF, 0x0F]) // EPBAR
        .with_writable(0x48, &[0x01, 0xC0, 0xFF, 0xFF, 0x0F]) // MCHBAR
        .with(0x54, &[0xDB, 0x03]) // DEVEN
        .with_writable(PCIEXBAR, &[0x07, 0x00, 0x00, 0xFC, 0x0F])
        .with(PCIEXBAR, &[0x00, 0x00, 0x00, 0xE0])
        .with_writable(0x68, &[0x01, 0xF0, 0xFF, 0xFF, 0x0F]) // DMIBAR
        .with_writable(PAM0, &PAM_WRITABLE)
        .with_writable(0x97, &[0x80])
        .with(SMRAM, &[0x02, 0x38])
        .with_writable(SMRAM, &[D_OPEN | D_CLS | D_LCK | G_SMRAME, 0x87])
        .with_write_clears(0x9E, &[0x40])
        .with(0xA0, &megabytes(top / 64).to_le_bytes())
        .with(0xA2, &megabytes(top).to_le_bytes())
        .with_writable(0xA0, &[0xFF, 0x01, 0xFF, 0xFF])
        .with_writable(0xAC, &[0x00, 0x00, 0xF0, 0xFF])
        .with(0xB0, &tolud.to_le_bytes())
        .with_writable(0xB0, &[0xF0, 0xFF])
        .with_write_clears(0xC8, &[0xFF, 0x1F])
        .with_writable(0xCA, &[0xFF, 0x1F, 0xFF, 0x0F])
        .with_writable(0xDC, &[0xFF; 4]) // scratch pad
        .with(0xE0, &[0x09, 0x00, 0x0B, 0x01]) // CAPID0
}

impl Mch {
    /// Adds the shadow RAM regions, all closed, and the configuration window of `bus`, switched off, to the space and
    /// returns the bridge; it goes to devfn 0. `on_ecam` hears where the window is.
    ///
    /// # Errors
    /// [`SpaceError`] when a region does not fit (RAM smaller than 1 MiB, the priority used by others).
    pub fn new(wiring: HostBridgeWiring, bus: &Arc<PciBus>, on_ecam: OnEcam) -> Result<Self, SpaceError> {
        let HostBridgeWiring { space, low_ram, ram: (low, high), roms } = wiring;
        let shadow = ShadowRam::new(&space, &low_ram, &roms)?;
        let ecam = space.add(Region {
            name: "pcie-mmcfg".into(),
            start: 0xE000_0000,
            len: 256 * MIB,
            priority: ECAM_PRIORITY,
            enabled: false,
            backing: Backing::mmio(&Ecam::new(bus)),
        })?;
        Ok(Self { config: config(low, high), shadow, space, ecam, placed: None, on_ecam })
    }

    /// Base and number of buses of the configuration window, while it is on.
    fn window(&self) -> Option<(u64, u16)> {
        let low = self.config.u32(PCIEXBAR);
        let address = u64::from(self.config.u32(PCIEXBAR + 4)) << 32 | u64::from(low & 0xF000_0000);
        let (buses, more) = match low >> 1 & 3 {
            0 => (256, 0),
            1 => (128, 0x0800_0000),
            2 => (64, 0x0C00_0000),
            _ => return None, // reserved
        };
        (low & 1 != 0).then_some((address | u64::from(low & more), buses))
    }
}

impl Device for Mch {
    fn name(&self) -> &str {
        "mch"
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
        self.config.restore("mch", &config)
    }
}

impl PciFunction for Mch {
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
        let shadow = self.shadow.placement(&self.config, PAM0, SMRAM);
        let wanted = self.window();
        if std::mem::replace(&mut self.placed, wanted) == wanted {
            return Some(shadow);
        }
        let (space, ecam, on_ecam) = (self.space.clone(), self.ecam, self.on_ecam.clone());
        Some(Box::new(move || {
            shadow();
            place_window(&space, ecam, wanted);
            on_ecam(wanted);
        }))
    }
}

fn place_window(space: &AddressSpace, ecam: RegionId, wanted: Option<(u64, u16)>) {
    static REFUSED: GuestWarnings = GuestWarnings::new(4);
    let result = space.change(&[ecam], |_, r| {
        r.enabled = wanted.is_some();
        if let Some((start, buses)) = wanted {
            (r.start, r.len) = (start, u64::from(buses) * MIB);
        }
    });
    if let Err(e) = result {
        REFUSED.warn(|| format!("mch: the configuration window could not be placed: {e}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_memory::RamBlock;
    use pci::IntxRouter;
    use std::sync::Mutex;
    use vm_core::{PortSpace, lock, shared};

    struct NoRouter;
    impl IntxRouter for NoRouter {
        fn set_intx(&self, _: u8, _: u8, _: bool) {}
    }

    type Windows = Vec<Option<(u64, u16)>>;

    struct Board {
        space: Arc<AddressSpace>,
        bus: Arc<PciBus>,
        mch: vm_core::Shared<Mch>,
        heard: Arc<Mutex<Windows>>,
    }

    fn board() -> Board {
        let space = AddressSpace::new();
        let ram = RamBlock::new("pc.ram", 0x20_0000).unwrap();
        let bus = PciBus::new(space.clone(), PortSpace::new(), Arc::new(NoRouter));
        let heard = Arc::new(Mutex::new(vec![]));
        let log = heard.clone();
        let wiring =
            HostBridgeWiring { space: space.clone(), low_ram: ram, ram: (0x8000_0000, 0x8000_0000), roms: vec![] };
        let mch = shared(Mch::new(wiring, &bus, Arc::new(move |w| lock(&log).push(w))).unwrap());
        bus.add(0, &mch, vec![]).unwrap();
        Board { space, bus, mch, heard }
    }

    fn word(b: &Board, gpa: u64) -> u32 {
        let mut x = [0; 4];
        b.space.read(gpa, &mut x);
        u32::from_le_bytes(x)
    }

    #[test]
    fn the_configuration_window_follows_pciexbar() {
        let b = board();
        assert_eq!(word(&b, 0xE000_0000), u32::MAX, "off at reset");
        b.bus.config_write(0, 0x60, &0xB000_0001u32.to_le_bytes());
        assert_eq!(word(&b, 0xB000_0000), 0x29C0_8086);
        assert_eq!(word(&b, 0xB000_0100), u32::MAX, "a conventional function");
        assert_eq!(word(&b, 0xB010_0000), u32::MAX, "bus 1 is empty");
        // Through the window itself: 64 buses at 0xBC000000.
        b.space.write(0xB000_0060, &0xBC00_0005u32.to_le_bytes());
        assert_eq!((word(&b, 0xB000_0000), word(&b, 0xBC00_0000)), (u32::MAX, 0x29C0_8086));
        assert_eq!(word(&b, 0xBC00_0060), 0xBC00_0005);
        lock(&b.mch).reset();
        b.bus.sync();
        assert_eq!(*lock(&b.heard), [Some((0xB000_0000, 256)), Some((0xBC00_0000, 64)), None]);
    }

    #[test]
    fn pam_smram_and_limits() {
        let b = board();
        b.bus.config_write(0, 0x90, &[0x30]);
        b.space.write(0xF_0000, &[4]);
        assert_eq!(word(&b, 0xF_0000) & 0xFF, 4);
        b.bus.config_write(0, 0x9D, &[0x4A]);
        b.space.write(0xA_0000, &[9]);
        assert_eq!(word(&b, 0xA_0000) & 0xFF, 9);
        b.bus.config_write(0, 0x9D, &[0x1A]);
        b.bus.config_write(0, 0x9D, &[0x4A]);
        assert_eq!(word(&b, 0xA_0000), u32::MAX, "locked");
        let mut x = [0; 4];
        b.bus.config_read(0, 0xB0, &mut x);
        assert_eq!(u16::from_le_bytes([x[0], x[1]]), 0x8000, "TOLUD: 2 GiB");
        b.bus.config_read(0, 0xA0, &mut x);
        assert_eq!(x, [0x60, 0, 0x00, 0x18], "TOM in 64 MiB, TOUUD in MiB: 6 GiB");
    }

    #[test]
    fn save_and_restore() {
        let b = board();
        b.bus.config_write(0, 0x60, &0xB000_0001u32.to_le_bytes());
        let saved = lock(&b.mch).save().unwrap();
        lock(&b.mch).reset();
        b.bus.sync();
        assert_eq!(word(&b, 0xB000_0000), u32::MAX);
        lock(&b.mch).restore(&saved).unwrap();
        b.bus.sync();
        assert_eq!(word(&b, 0xB000_0000), 0x29C0_8086);
        assert!(lock(&b.mch).restore(&saved[1..]).is_err());
    }
}
