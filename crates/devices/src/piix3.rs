//! 82371SB (PIIX3) function 0, the PCI-to-ISA bridge with its interrupt routing, and the power management function
//! of the 82371AB (PIIX4) that PCs of this kind carry as function 3. Function 1 is in `ide::pci`.
//!
//! Intel 82371FB/82371SB data sheet (290550), section 2.2 (PIRQRC 60h-63h); Intel 82371AB data sheet (290562),
//! section 7.1 (PMBA 40h, DEVACTB 58h, PMREGMISC 80h, SMBBA 90h, SMBHSTCFG D2h). The power management registers
//! themselves are another device, which is told where to be. Left out: the X-bus and DMA set-up registers hold
//! what is written and change nothing; SMIs (there is no system management mode).

use std::sync::{Arc, Mutex};

use pci::{ConfigSpace, ConfigState, Deferred, Identity, IntxRouter, PciFunction};
use serde::{Deserialize, Serialize};
use vm_core::{Device, IrqLine, StateError, load_state, lock, save_state};

const PIRQRC: u8 = 0x60;

/// The interrupts a PIRQ can be routed to; 0, 1, 2, 8 and 13 are reserved.
const ROUTABLE: u16 = 0b1101_1110_1111_1000;

#[derive(Clone, Serialize, Deserialize)]
struct RouterState {
    /// Per wire, one bit for each function that drives it high.
    driven: [[u64; 4]; 4],
    route: [u8; 4],
}

/// PIRQ A-D to ISA interrupts: what the PCI bus's interrupt lines lead to. Shared by the bus (which drives it) and
/// by [`Piix3Isa`] (which programs it).
pub struct PirqRouter {
    state: Mutex<RouterState>,
    irqs: [IrqLine; 16],
}

impl PirqRouter {
    /// A router that drives `irqs[n]` for ISA interrupt n (each to PIC and IOAPIC, ORed with the ISA devices there).
    pub fn new(irqs: [IrqLine; 16]) -> Arc<Self> {
        let state = Mutex::new(RouterState { driven: [[0; 4]; 4], route: [0x80; 4] });
        Arc::new(Self { state, irqs })
    }

    fn levels(state: &RouterState) -> u16 {
        let mut high = 0u16;
        for (driven, route) in state.driven.iter().zip(state.route) {
            if route & 0x80 == 0 && driven.iter().any(|d| *d != 0) {
                high |= 1 << (route & 0xF);
            }
        }
        high & ROUTABLE
    }

    fn drive(&self, state: &RouterState) {
        let high = Self::levels(state);
        for (n, line) in self.irqs.iter().enumerate() {
            line.set(high >> n & 1 != 0);
        }
    }

    fn set_routes(&self, route: [u8; 4]) {
        let mut state = lock(&self.state);
        state.route = route;
        self.drive(&state);
    }

    /// The ISA interrupts of the four wires now (`None` while routing is off), for `info irq` and ACPI.
    pub fn routes(&self) -> [Option<u8>; 4] {
        lock(&self.state).route.map(|r| (r & 0x80 == 0).then_some(r & 0xF))
    }
}

impl IntxRouter for PirqRouter {
    fn set_intx(&self, devfn: u8, pirq: u8, high: bool) {
        let mut state = lock(&self.state);
        let bit = 1u64 << (devfn & 63);
        if let Some(word) = state.driven.get_mut(usize::from(pirq & 3)).and_then(|w| w.get_mut(usize::from(devfn >> 6)))
        {
            *word = if high { *word | bit } else { *word & !bit };
        }
        self.drive(&state);
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct IsaState {
    config: ConfigState,
    router: RouterState,
}

/// Function 0: 8086:7000.
pub struct Piix3Isa {
    config: ConfigSpace,
    router: Arc<PirqRouter>,
}

impl Piix3Isa {
    /// The bridge that programs `router`.
    pub fn new(router: Arc<PirqRouter>) -> Self {
        let id =
            Identity { vendor: 0x8086, device: 0x7000, revision: 0, class: 0x06_0100, subsystem: (0x1AF4, 0x1100) };
        let config = ConfigSpace::endpoint(id)
            .multifunction()
            .with(0x04, &[0x07, 0x00, 0x00, 0x02])
            .with_writable(0x04, &[0x00, 0x01])
            .with_writable(0x0C, &[0, 0])
            .with_writable(0x3C, &[0])
            .with(0x4C, &[0x4D, 0x00, 0x03, 0x00]) // IORT, XBCS
            .with_writable(0x4C, &[0xFF, 0x00, 0xFF, 0x01])
            .with(PIRQRC, &[0x80; 4])
            .with_writable(PIRQRC, &[0x8F; 4])
            .with(0x69, &[0x02]) // TOM
            .with_writable(0x69, &[0xFE])
            .with_writable(0x6A, &[0x80, 0x00])
            .with(0x70, &[0x80])
            .with_writable(0x70, &[0xEF])
            .with(0x76, &[0x0C, 0x0C])
            .with_writable(0x76, &[0x87, 0x87, 0xFE, 0xFF])
            .with_writable(0x80, &[0x7F, 0x00, 0x0F])
            .with(0xA0, &[0x08])
            .with_writable(0xA0, &[0xFF, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF])
            .with_write_clears(0xAA, &[0xFF]);
        Self { config, router }
    }

    fn route(&self) {
        self.router.set_routes(std::array::from_fn(|i| self.config.u8(PIRQRC + i as u8)));
    }
}

impl Device for Piix3Isa {
    fn name(&self) -> &str {
        "piix3"
    }

    fn reset(&mut self) {
        self.config.reset();
        self.route();
    }

    /// What firmware sets at power-on only stays: SeaBIOS does not find its way to all of it again.
    fn wake(&mut self) {}

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &IsaState { config: self.config.state(), router: lock(&self.router.state).clone() })
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let IsaState { config, router } = load_state(self.name(), bytes)?;
        self.config.restore("piix3", &config)?;
        let high = PirqRouter::levels(&router);
        *lock(&self.router.state) = router;
        for (n, line) in self.router.irqs.iter().enumerate() {
            line.import_level(high >> n & 1 != 0);
        }
        Ok(())
    }
}

impl PciFunction for Piix3Isa {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, offset: u8, len: usize) {
        if usize::from(offset) < 0x64 && usize::from(offset) + len > 0x60 {
            self.route();
        }
    }

    fn placement(&mut self) -> Option<Deferred> {
        None
    }
}

/// Where the guest wants the register blocks of the power management function; `None` is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PmPlacement {
    /// First of the 64 power management ports (PMBA, when PMREGMISC bit 0 is set).
    pub pm_base: Option<u16>,
    /// First of the 16 SMBus host ports (SMBBA, when SMBHSTCFG bit 0 and the I/O enable are set).
    pub smbus_base: Option<u16>,
}

/// Told of changes with no lock held; adds, moves or removes the port ranges.
pub type PlacePm = Arc<dyn Fn(PmPlacement) + Send + Sync>;

/// Function 3: 8086:7113.
pub struct Piix4Pm {
    config: ConfigSpace,
    place: PlacePm,
    placed: PmPlacement,
}

impl Piix4Pm {
    /// The function; `place` moves the register block that belongs to it.
    pub fn new(place: PlacePm) -> Self {
        let id =
            Identity { vendor: 0x8086, device: 0x7113, revision: 3, class: 0x06_8000, subsystem: (0x1AF4, 0x1100) };
        let config = ConfigSpace::endpoint(id)
            .with(0x06, &[0x80, 0x02])
            .with_writable(0x04, &[0x01, 0x00])
            .with_writable(0x0C, &[0, 0])
            .with_interrupt_pin(1)
            .with(0x3C, &[9]) // the SCI is wired to IRQ9
            .with(0x40, &[0x01])
            .with_writable(0x40, &[0xC0, 0xFF, 0x00, 0x00])
            .with_writable(0x44, &[0xFF; 0x18])
            // DEVACTB bit 25, APMC SMI enable: firmware takes it for "SMM was set up already"; there is no SMM here.
            .with(0x58, &[0x00, 0x00, 0x00, 0x02])
            .with_writable(0x58, &[0xFF; 0x20])
            .with(0x5F, &[0x90]) // DEVRESD: parallel and serial decoded, as the ISA devices are
            .with_writable(0x80, &[0x01])
            .with(0x90, &[0x01])
            .with_writable(0x90, &[0xF0, 0xFF, 0x00, 0x00])
            .with_writable(0xD2, &[0x0F, 0xFF, 0xFF, 0xFF]);
        Self { config, place, placed: PmPlacement::default() }
    }

    fn wanted(&self) -> PmPlacement {
        let base = |offset: u8, mask: u16, on: bool| {
            let b = self.config.u16(offset) & mask;
            (on && b != 0).then_some(b)
        };
        let io = self.config.command() & pci::command::IO != 0;
        PmPlacement {
            pm_base: base(0x40, 0xFFC0, self.config.u8(0x80) & 1 != 0),
            smbus_base: base(0x90, 0xFFF0, io && self.config.u8(0xD2) & 1 != 0),
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct PmState {
    config: ConfigState,
}

impl Device for Piix4Pm {
    fn name(&self) -> &str {
        "piix4-pm"
    }

    fn reset(&mut self) {
        self.config.reset();
    }

    /// What firmware sets at power-on only stays: SeaBIOS does not find its way to all of it again.
    fn wake(&mut self) {}

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &PmState { config: self.config.state() })
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let PmState { config } = load_state(self.name(), bytes)?;
        self.config.restore("piix4-pm", &config)
    }
}

impl PciFunction for Piix4Pm {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, _offset: u8, _len: usize) {}

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
    use vm_core::{AddressSpace, PortSpace, RecordedLine, shared};

    type Irqs = Vec<Arc<RecordedLine>>;

    fn router() -> (Arc<PirqRouter>, Irqs) {
        let (seen, lines): (Irqs, Vec<_>) = (0..16).map(|_| RecordedLine::line()).unzip();
        let lines: [IrqLine; 16] = lines.try_into().unwrap();
        (PirqRouter::new(lines), seen)
    }

    fn high(seen: &Irqs) -> Vec<usize> {
        (0..16).filter(|&i| seen[i].is_high()).collect()
    }

    #[test]
    fn wires_are_ored_and_follow_the_routing_registers() {
        let (router, seen) = router();
        let bus = PciBus::new(AddressSpace::new(), PortSpace::new(), router.clone());
        let isa = shared(Piix3Isa::new(router.clone()));
        bus.add(devfn(1, 0), &isa, vec![]).unwrap();
        let (nic, usb) = (bus.intx_line(devfn(3, 0), 0), bus.intx_line(devfn(7, 2), 0)); // both PIRQC
        nic.set(true);
        assert_eq!(high(&seen), [0usize; 0], "routing is off at reset");
        bus.config_write(devfn(1, 0), 0x62, &[11]);
        assert_eq!(high(&seen), [11]);
        usb.set(true);
        nic.set(false);
        assert_eq!(high(&seen), [11]);
        bus.config_write(devfn(1, 0), 0x60, &0x050A_0A0Au32.to_le_bytes());
        assert_eq!(high(&seen), [10]);
        let saved = lock(&isa).save().unwrap();
        usb.set(false);
        assert_eq!(high(&seen), [0usize; 0]);
        lock(&isa).restore(&saved).unwrap();
        usb.import_level(true);
        usb.set(false);
        assert_eq!(high(&seen), [0usize; 0]);
        assert_eq!(router.routes(), [Some(10), Some(10), Some(10), Some(5)]);
        bus.config_write(devfn(1, 0), 0x62, &[8]);
        usb.set(true);
        assert_eq!(high(&seen), [0usize; 0], "IRQ8 is reserved");
        lock(&isa).reset();
        assert_eq!(router.routes(), [None; 4]);
    }

    #[test]
    fn power_management_is_placed_when_enabled() {
        let (router, _) = router();
        let bus = PciBus::new(AddressSpace::new(), PortSpace::new(), router);
        let log = Arc::new(Mutex::new(vec![]));
        let l = log.clone();
        let pm = shared(Piix4Pm::new(Arc::new(move |p| lock(&l).push((p.pm_base, p.smbus_base)))));
        bus.add(devfn(1, 3), &pm, vec![]).unwrap();
        bus.config_write(devfn(1, 3), 0x40, &0x601u32.to_le_bytes());
        assert!(lock(&log).is_empty());
        bus.config_write(devfn(1, 3), 0x80, &[1]);
        bus.config_write(devfn(1, 3), 0x90, &0x701u32.to_le_bytes());
        bus.config_write(devfn(1, 3), 0xD2, &[9]);
        bus.config_write(devfn(1, 3), 0x04, &[1]);
        lock(&pm).reset();
        bus.sync();
        let all = [(Some(0x600), None), (Some(0x600), Some(0x700)), (None, None)];
        assert_eq!(*lock(&log), all);
        let mut x = [0; 4];
        bus.config_read(devfn(1, 3), 0x58, &mut x);
        assert_eq!(x[3] & 2, 2);
    }
}
