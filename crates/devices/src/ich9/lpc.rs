//! The LPC bridge, device 31 function 0: PIRQ routing registers, and where the power management ports and the chipset
//! configuration registers are.
//!
//! Intel ICH9 data sheet, section 13.1: PMBASE 40h, ACPI_CNTL 44h, PIRQx_ROUT 60h-63h and 68h-6Bh, GEN_PMCON A0h ff.,
//! RCBA F0h. Reset control (port CF9h) is [`crate::debug_ports::ResetControl`]. Left out: the decode ranges of ISA
//! devices, the firmware hub's and the interrupt selection of the SCI hold what is written and change nothing (the SCI
//! is IRQ 9); GPIO; SMIs, since there is no system management mode.

use std::sync::Arc;

use pci::{ConfigSpace, ConfigState, Deferred, Identity, PciFunction};
use serde::{Deserialize, Serialize};
use vm_core::{Device, StateError, load_state, save_state};

use super::router::{Ich9Router, PIRQS, RouterState};

const PMBASE: u8 = 0x40;
const ACPI_CNTL: u8 = 0x44;
const ROUTES: [u8; PIRQS] = [0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x6A, 0x6B];
const RCBA: u8 = 0xF0;

/// Where the guest wants the bridge's register blocks; `None` is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LpcPlacement {
    /// First of the 128 power management ports.
    pub pm_base: Option<u16>,
    /// First byte of the 16 KiB of chipset configuration registers.
    pub rcba: Option<u64>,
}

/// Told of changes with no lock held; adds, moves or removes ports and registers.
pub type PlaceLpc = Arc<dyn Fn(LpcPlacement) + Send + Sync>;

#[derive(Clone, Serialize, Deserialize)]
struct State {
    config: ConfigState,
    router: RouterState,
}

/// Function 0: 8086:2918.
pub struct Ich9Lpc {
    config: ConfigSpace,
    router: Arc<Ich9Router>,
    place: PlaceLpc,
    placed: LpcPlacement,
}

impl Ich9Lpc {
    /// The bridge that programs `router`; `place` moves what belongs to it.
    pub fn new(router: Arc<Ich9Router>, place: PlaceLpc) -> Self {
        let id =
            Identity { vendor: 0x8086, device: 0x2918, revision: 2, class: 0x06_0100, subsystem: (0x1AF4, 0x1100) };
        let config = ConfigSpace::endpoint(id)
            .multifunction()
            .with(0x04, &[0x07, 0x00, 0x00, 0x02])
            .with_writable(0x04, &[0x00, 0x01])
            .with_writable(0x0C, &[0, 0])
            .with_writable(0x3C, &[0])
            .with(PMBASE, &[0x01])
            .with_writable(PMBASE, &[0x80, 0xFF])
            .with_writable(ACPI_CNTL, &[0x87])
            .with(0x48, &[0x01]) // GPIOBASE
            .with_writable(0x48, &[0x80, 0xFF])
            .with_writable(0x4C, &[0x10])
            .with(ROUTES[0], &[0x80; 4])
            .with_writable(ROUTES[0], &[0x8F; 4])
            .with(0x64, &[0x10]) // SIRQ_CNTL
            .with_writable(0x64, &[0xFF])
            .with(ROUTES[4], &[0x80; 4])
            .with_writable(ROUTES[4], &[0x8F; 4])
            .with_writable(0x80, &[0x77, 0x03, 0x0F, 0x3F, 0xFD, 0xFF, 0xFC, 0x00]) // LPC_I/O_DEC, LPC_EN, GEN1_DEC
            .with_writable(0x88, &[0xFD, 0xFF, 0xFC, 0x00, 0xFD, 0xFF, 0xFC, 0x00])
            .with_writable(0x90, &[0xFD, 0xFF, 0xFC, 0x00])
            .with_writable(0xA0, &[0xBF, 0x07]) // GEN_PMCON_1
            .with_writable(0xA2, &[0x00, 0x00, 0xFE, 0xFF]) // GEN_PMCON_2 and _3
            .with_write_clears(0xA2, &[0x1B, 0x00, 0x06, 0x00])
            .with_writable(0xA9, &[0x77])
            .with_writable(0xB8, &[0xFF; 4]) // GPI_ROUT
            .with(0xD0, &[0x33, 0x22, 0x11, 0x00, 0x67, 0x45, 0x00, 0x00]) // FWH_SEL1 and _2
            .with_writable(0xD0, &[0xFF; 6])
            .with(0xD8, &[0xCF, 0xFF]) // FWH_DEC_EN1
            .with_writable(0xD8, &[0xCF, 0x7F])
            .with_writable(0xDC, &[0x1F]) // BIOS_CNTL
            .with_writable(RCBA, &[0x01, 0xC0, 0xFF, 0xFF]);
        Self { config, router, place, placed: LpcPlacement::default() }
    }

    fn route(&self) {
        self.router.set_routes(ROUTES.map(|at| self.config.u8(at)));
    }

    fn wanted(&self) -> LpcPlacement {
        let pm = self.config.u16(PMBASE) & 0xFF80;
        let rcba = self.config.u32(RCBA);
        let base = u64::from(rcba & 0xFFFF_C000);
        LpcPlacement {
            pm_base: (self.config.u8(ACPI_CNTL) & 0x80 != 0 && pm != 0).then_some(pm),
            rcba: (rcba & 1 != 0 && base != 0).then_some(base),
        }
    }
}

impl Device for Ich9Lpc {
    fn name(&self) -> &str {
        "ich9-lpc"
    }

    fn reset(&mut self) {
        self.config.reset();
        self.route();
    }

    /// What firmware sets at power-on only stays: SeaBIOS does not find its way to all of it again.
    fn wake(&mut self) {}

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &State { config: self.config.state(), router: self.router.save() })
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let State { config, router } = load_state(self.name(), bytes)?;
        self.config.restore("ich9-lpc", &config)?;
        self.router.restore(router);
        Ok(())
    }
}

impl PciFunction for Ich9Lpc {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, offset: u8, len: usize) {
        let written = usize::from(offset)..usize::from(offset) + len;
        if ROUTES.iter().any(|r| written.contains(&usize::from(*r))) {
            self.route();
        }
    }

    fn placement(&mut self) -> Option<Deferred> {
        let wanted = self.wanted();
        if std::mem::replace(&mut self.placed, wanted) == wanted {
            return None;
        }
        let place = self.place.clone();
        Some(Box::new(move || place(wanted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pci::{PciBus, devfn};
    use std::sync::Mutex;
    use vm_core::{AddressSpace, IrqLine, PortSpace, RecordedLine, lock, shared};

    #[test]
    fn routes_and_places() {
        let (seen, lines): (Vec<_>, Vec<_>) = (0..16).map(|_| RecordedLine::line()).unzip();
        let router = Ich9Router::new(lines.try_into().unwrap(), std::array::from_fn(|_| IrqLine::unconnected()));
        let bus = PciBus::new(AddressSpace::new(), PortSpace::new(), router.clone());
        let log = Arc::new(Mutex::new(vec![]));
        let l = log.clone();
        let lpc = shared(Ich9Lpc::new(router.clone(), Arc::new(move |p| lock(&l).push((p.pm_base, p.rcba)))));
        let at = devfn(31, 0);
        bus.add(at, &lpc, vec![]).unwrap();
        bus.intx_line(devfn(3, 0), 0).set(true); // PIRQH
        bus.config_write(at, 0x6B, &[11]);
        assert!(seen[11].is_high());
        assert_eq!(router.routes()[7], Some(11));
        bus.config_write(at, 0x40, &0x600u32.to_le_bytes());
        bus.config_write(at, 0x44, &[0x80]);
        bus.config_write(at, 0xF0, &0xFED1_C001u32.to_le_bytes());
        let saved = lock(&lpc).save().unwrap();
        lock(&lpc).reset();
        bus.sync();
        assert!(!seen[11].is_high());
        lock(&lpc).restore(&saved).unwrap();
        bus.sync();
        let on = [(Some(0x600), None), (Some(0x600), Some(0xFED1_C000))];
        assert_eq!(*lock(&log), [on[0], on[1], (None, None), on[1]]);
        let mut x = [0; 4];
        bus.config_read(at, 0x40, &mut x);
        assert_eq!(x, [1, 6, 0, 0]);
        assert!(lock(&lpc).restore(&saved[1..]).is_err());
    }
}
