//! Interrupt routing: PCI pins to PIRQA-H, PIRQs to the I/O APIC (16 to 23, always) and to ISA interrupts (as the PIRQ
//! routing registers say).
//!
//! Intel ICH9 data sheet, section 5.8.6 (steerable PCI interrupts), 5.10 (I/O APIC mapping), 10.1.32 ff. (DxxIR: pins of
//! devices 25 to 31). Devices on the PCI and PCI Express slots, 0 to 24 here, are wired to PIRQE-H in rotation; device
//! 30, which has no register, in order.

use std::sync::{Arc, Mutex};

use pci::IntxRouter;
use serde::{Deserialize, Serialize};
use vm_core::{IrqLine, lock};

/// PIRQA to PIRQH.
pub const PIRQS: usize = 8;
/// The interrupts a PIRQ can be routed to; 0, 1, 2, 8 and 13 are reserved.
const ROUTABLE: u16 = 0b1101_1110_1111_1000;
/// Pins A to D of a device to PIRQA to PIRQD.
const IR_AT_RESET: u16 = 0x3210;
/// First device with a DxxIR register.
const FIRST_INTERNAL: u8 = 25;
const INTERNAL: usize = 7;
const NO_REGISTER: u8 = 30;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RouterState {
    /// Per pin, one bit for each function that drives it high.
    driven: [[u64; 4]; 4],
    /// PIRQx_ROUT: bit 7 off, else bits 3:0 the ISA interrupt.
    route: [u8; PIRQS],
    /// DxxIR of devices 25 to 31.
    device_routes: [u16; INTERNAL],
}

impl RouterState {
    fn at_reset() -> Self {
        Self { driven: [[0; 4]; 4], route: [0x80; PIRQS], device_routes: [IR_AT_RESET; INTERNAL] }
    }

    fn pirq(&self, device: u8, pin: u8) -> usize {
        let register = device.checked_sub(FIRST_INTERNAL).filter(|_| device != NO_REGISTER);
        match register.and_then(|i| self.device_routes.get(usize::from(i))) {
            Some(r) => usize::from(r >> (4 * u16::from(pin & 3)) & 7),
            None if device == NO_REGISTER => 4 + usize::from(pin & 3),
            None => 4 + usize::from(device.wrapping_add(pin) & 3),
        }
    }

    /// One bit for each PIRQ that is asserted.
    fn asserted(&self) -> u8 {
        let mut high = 0;
        for (pin, functions) in (0u8..).zip(&self.driven) {
            for (word, mut bits) in (0u8..).zip(*functions) {
                while bits != 0 {
                    let devfn = word << 6 | bits.trailing_zeros() as u8;
                    bits &= bits - 1;
                    high |= 1 << self.pirq(devfn >> 3, pin);
                }
            }
        }
        high
    }

    /// One bit for each ISA interrupt that a PIRQ asserts.
    fn isa(&self, asserted: u8) -> u16 {
        let on = |n: &usize| asserted >> n & 1 != 0 && self.route[*n] & 0x80 == 0;
        (0..PIRQS).filter(on).fold(0, |high, n| high | 1 << (self.route[n] & 0xF)) & ROUTABLE
    }
}

/// What the PCI bus's interrupt pins lead to. Shared by the bus (which drives it), the LPC bridge and the chipset
/// configuration registers (which program it).
pub struct Ich9Router {
    state: Mutex<RouterState>,
    isa: [IrqLine; 16],
    apic: [IrqLine; PIRQS],
}

impl Ich9Router {
    /// A router that drives `isa[n]` for ISA interrupt n (each to PIC and IOAPIC, ORed with the ISA devices there) and
    /// `apic[n]` (I/O APIC pin 16 + n) for PIRQ n.
    pub fn new(isa: [IrqLine; 16], apic: [IrqLine; PIRQS]) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(RouterState::at_reset()), isa, apic })
    }

    fn drive(&self, state: &RouterState, how: fn(&IrqLine, bool)) {
        let asserted = state.asserted();
        let isa = state.isa(asserted);
        self.isa.iter().enumerate().for_each(|(n, line)| how(line, isa >> n & 1 != 0));
        self.apic.iter().enumerate().for_each(|(n, line)| how(line, asserted >> n & 1 != 0));
    }

    pub(super) fn set_routes(&self, route: [u8; PIRQS]) {
        let mut state = lock(&self.state);
        state.route = route;
        self.drive(&state, IrqLine::set);
    }

    /// DxxIR of device 25 + `index`.
    pub(super) fn set_device_route(&self, index: usize, value: u16) {
        let mut state = lock(&self.state);
        if let Some(r) = state.device_routes.get_mut(index) {
            *r = value;
            self.drive(&state, IrqLine::set);
        }
    }

    pub(super) fn reset_device_routes(&self) {
        let mut state = lock(&self.state);
        state.device_routes = [IR_AT_RESET; INTERNAL];
        self.drive(&state, IrqLine::set);
    }

    pub(super) fn save(&self) -> RouterState {
        lock(&self.state).clone()
    }

    pub(super) fn restore(&self, new: RouterState) {
        let mut state = lock(&self.state);
        *state = new;
        self.drive(&state, IrqLine::import_level);
    }

    /// The ISA interrupts of PIRQA to PIRQH now (`None` while routing is off).
    pub fn routes(&self) -> [Option<u8>; PIRQS] {
        lock(&self.state).route.map(|r| (r & 0x80 == 0).then_some(r & 0xF))
    }
}

impl IntxRouter for Ich9Router {
    fn set_intx(&self, devfn: u8, wire: u8, high: bool) {
        // The bus numbers wires as a board with four of them: `pci::swizzle` undone.
        let pin = wire.wrapping_sub(devfn >> 3).wrapping_add(1) & 3;
        let mut state = lock(&self.state);
        let bit = 1u64 << (devfn & 63);
        if let Some(word) = state.driven.get_mut(usize::from(pin)).and_then(|w| w.get_mut(usize::from(devfn >> 6))) {
            *word = if high { *word | bit } else { *word & !bit };
        }
        self.drive(&state, IrqLine::set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pci::{PciBus, devfn};
    use vm_core::{AddressSpace, PortSpace, RecordedLine};

    struct Bench {
        router: Arc<Ich9Router>,
        bus: Arc<PciBus>,
        isa: Vec<Arc<RecordedLine>>,
        apic: Vec<Arc<RecordedLine>>,
    }

    fn bench() -> Bench {
        let (isa, isa_lines): (Vec<_>, Vec<_>) = (0..16).map(|_| RecordedLine::line()).unzip();
        let (apic, apic_lines): (Vec<_>, Vec<_>) = (0..8).map(|_| RecordedLine::line()).unzip();
        let router = Ich9Router::new(isa_lines.try_into().unwrap(), apic_lines.try_into().unwrap());
        let bus = PciBus::new(AddressSpace::new(), PortSpace::new(), router.clone());
        Bench { router, bus, isa, apic }
    }

    impl Bench {
        fn high(&self) -> (Vec<usize>, Vec<usize>) {
            let on = |lines: &[Arc<RecordedLine>]| (0..lines.len()).filter(|&i| lines[i].is_high()).collect();
            (on(&self.isa), on(&self.apic))
        }
    }

    #[test]
    fn slots_rotate_and_internal_devices_are_routed_by_register() {
        let b = bench();
        let apic_pin = |device, pin| {
            let line = b.bus.intx_line(devfn(device, 0), pin);
            line.set(true);
            let high = b.high().1;
            line.set(false);
            high[0] + 16
        };
        assert_eq!([(0, 0), (1, 0), (2, 1), (3, 3), (24, 0)].map(|(d, p)| apic_pin(d, p)), [20, 21, 23, 22, 20]);
        assert_eq!([(31, 0), (31, 1), (29, 3), (30, 0)].map(|(d, p)| apic_pin(d, p)), [16, 17, 19, 20]);
        b.router.set_device_route(6, 0x3217);
        assert_eq!(apic_pin(31, 0), 23);
    }

    #[test]
    fn isa_interrupts_follow_the_routing_registers() {
        let b = bench();
        let (sata, nic) = (b.bus.intx_line(devfn(31, 2), 0), b.bus.intx_line(devfn(28, 0), 0));
        sata.set(true);
        assert_eq!(b.high(), (vec![], vec![0]), "the I/O APIC always, ISA when routed");
        b.router.set_routes([10, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]);
        nic.set(true);
        sata.set(false);
        assert_eq!(b.high(), (vec![10], vec![0]), "shared");
        b.router.set_routes([8; 8]);
        assert_eq!(b.high(), (vec![], vec![0]), "IRQ8 is reserved");
        let saved = b.router.save();
        nic.set(false);
        b.router.restore(saved);
        nic.import_level(true);
        nic.set(false);
        assert_eq!(b.high(), (vec![], vec![]));
    }
}
