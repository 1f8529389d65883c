//! PCI Express root port with a slot: `pcie-root-port` (1B36:000C) and `ioh3420` (8086:3420).
//!
//! PCI Express Base Specification 3.0: registers 7.8.2 to 7.8.11 (see [`pci::express_root_port`]), hot plug 6.7. The slot has
//! an attention button, a power controller, attention and power indicators; surprise removal is not announced. Every write of
//! slot control is a command, completed at once.
//!
//! **Plugging in** shows the card in the presence bit; with power the link is up and the card answers; without, the attention
//! button is pressed, as whoever puts a card into such a slot does (6.7.1.5). **Unplugging** presses
//! the attention button: the guest lets go of the card, switches the power off and then the power indicator, which is the
//! specification's word for "may be taken out" (6.7.1.1.2), and only then is it taken out. A guest that does not know of
//! hot plug never does; a reset of the machine takes the card out then.
//!
//! Left out: power faults, latches and their sensor, the electromechanical interlock, power management of port and link,
//! errors (see [`pci::Forwarding`] for what a bridge here does not do).

use std::sync::Arc;

use pci::{
    BridgePins, ConfigSpace, ConfigState, Deferred, Forwarding, Identity, IntxPin, Msi, PciBus, PciFunction, SlotSpec,
    express_reg, reg,
};
use serde::{Deserialize, Serialize};
use vm_core::{Device, MsiSink, OrGate, Shared, StateError, load_state, save_state, shared};

/// Slot capabilities: attention button, power controller, both indicators.
const SLOT_HARDWARE: u32 = 1 | 1 << 1 | 1 << 3 | 1 << 4;
const HOT_PLUG_CAPABLE: u32 = 1 << 6;
/// Slot power limit: 25 W.
const SLOT_POWER: u32 = 25 << 7;

/// Slot control.
mod control {
    pub(super) const HOT_PLUG_INTERRUPT: u16 = 1 << 5;
    pub(super) const ATTENTION_OFF: u16 = 3 << 6;
    pub(super) const POWER_INDICATOR: u16 = 3 << 8;
    pub(super) const POWER_INDICATOR_ON: u16 = 1 << 8;
    pub(super) const POWER_OFF: u16 = 1 << 10;
    pub(super) const LINK_CHANGED: u16 = 1 << 12;
    /// Without the interlock.
    pub(super) const WRITABLE: u16 = 0x17FF;
}

/// Slot status; the events' enable bits have the same places in slot control, but for the link's.
mod status {
    pub(super) const ATTENTION_BUTTON: u16 = 1;
    pub(super) const PRESENCE_CHANGED: u16 = 1 << 3;
    pub(super) const COMMAND_COMPLETED: u16 = 1 << 4;
    pub(super) const PRESENT: u16 = 1 << 6;
    pub(super) const LINK_CHANGED: u16 = 1 << 8;
    pub(super) const WRITE_CLEARS: u16 = 0x011F;
    pub(super) const LIKE_CONTROL: u16 = 0x001F;
}

const LINK_DISABLE: u16 = 1 << 4;
/// Link status: data link layer active.
const LINK_ACTIVE: u16 = 1 << 13;
/// Bridge control: secondary bus reset.
const BUS_RESET: u16 = 1 << 6;

/// Which port it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootPortModel {
    /// `pcie-root-port`.
    Generic,
    /// `ioh3420`: of the Intel 5520.
    Ioh3420,
}

/// What a port is wired to.
pub struct RootPortWiring {
    /// The bus that the port is on, and where.
    pub bus: Arc<PciBus>,
    /// Its device and function there.
    pub devfn: u8,
    /// Where messages go.
    pub msi: Arc<dyn MsiSink>,
    /// Other functions are in the same slot.
    pub multifunction: bool,
    /// Number of the port.
    pub port: u8,
    /// Physical number of the slot.
    pub slot: u16,
    /// Cards can come and go.
    pub hot_plug: bool,
    /// Called, with no lock held, when the card may be taken out; then [`RootPort::removed`] is due.
    pub eject: Arc<dyn Fn() + Send + Sync>,
}

/// Why a card cannot be unplugged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnplugError {
    /// There is none.
    #[error("the slot is empty")]
    Empty,
    /// It was asked for already.
    #[error("it is in the process of unplug already: the guest has not let go of it yet")]
    Pending,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Card {
    present: bool,
    /// The user wants it out.
    wanted: bool,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    config: ConfigState,
    card: Card,
    pins: [u8; 4],
}

/// See the module's documentation.
pub struct RootPort {
    name: String,
    config: ConfigSpace,
    /// The PCI Express capability.
    express: u8,
    msi: Msi,
    sink: Arc<dyn MsiSink>,
    pin: IntxPin,
    pins: Arc<BridgePins>,
    below: Arc<PciBus>,
    eject: Arc<dyn Fn() + Send + Sync>,
    card: Card,
    /// A hot-plug interrupt was wanted when last looked at.
    signalled: bool,
    /// For `placement`.
    reset_below: bool,
    eject_now: bool,
    bus_reset: bool,
}

impl RootPort {
    /// Adds a port called `name` to its bus, with an empty slot, and returns it with the bus behind it.
    ///
    /// # Errors
    /// [`pci::PciError`] when the place is taken.
    pub fn add(
        name: &str,
        model: RootPortModel,
        wiring: RootPortWiring,
    ) -> Result<(Shared<Self>, Arc<PciBus>), pci::PciError> {
        let RootPortWiring { bus, devfn, msi: sink, multifunction, port, slot, hot_plug, eject } = wiring;
        let (config, express, msi) = config(model, port, slot, hot_plug);
        let config = if multifunction { config.multifunction() } else { config };
        // Pin A is that of the port itself and of INTA behind it.
        let gate = OrGate::new(bus.intx_line(devfn, 0));
        let line = |n: u8| if n == 0 { gate.input("behind") } else { bus.intx_line(devfn, n) };
        let pins = BridgePins::new([line(0), line(1), line(2), line(3)]);
        let below = bus.add_below(devfn, pins.clone());
        let port = shared(Self {
            name: name.into(),
            config,
            express,
            msi,
            sink,
            pin: IntxPin::new(gate.input("port")),
            pins,
            below: below.clone(),
            eject,
            card: Card::default(),
            signalled: false,
            reset_below: false,
            eject_now: false,
            bus_reset: false,
        });
        bus.add(devfn, &port, vec![])?;
        Ok((port, below))
    }

    /// A card is put into the slot. The bus must be brought in line after it ([`PciBus::update`]), as after the other two.
    pub fn plug(&mut self) {
        self.card = Card { present: true, wanted: false };
        self.presence_changed();
        if self.control() & control::POWER_OFF != 0 {
            self.raise(status::ATTENTION_BUTTON);
        }
    }

    /// The user wants the card out: the attention button is pressed.
    ///
    /// # Errors
    /// [`UnplugError`].
    pub fn request_unplug(&mut self) -> Result<(), UnplugError> {
        match self.card {
            Card { present: false, .. } => return Err(UnplugError::Empty),
            Card { wanted: true, .. } => return Err(UnplugError::Pending),
            Card { .. } => self.card.wanted = true,
        }
        self.raise(status::ATTENTION_BUTTON);
        self.look_at_power();
        Ok(())
    }

    /// The card is out.
    pub fn removed(&mut self) {
        self.card = Card::default();
        self.presence_changed();
    }

    /// The user wants the card out and the guest has not let it go.
    pub fn unplug_is_pending(&self) -> bool {
        self.card.wanted
    }

    fn at(&self, register: u8) -> u8 {
        self.express + register
    }

    fn control(&self) -> u16 {
        self.config.u16(self.at(express_reg::SLOT_CONTROL))
    }

    fn link_is_up(&self) -> bool {
        let disabled = self.config.u16(self.at(express_reg::LINK_CONTROL)) & LINK_DISABLE != 0;
        self.card.present && !disabled && self.control() & control::POWER_OFF == 0
    }

    fn change(&mut self, register: u8, clear: u16, set: u16) {
        let at = self.at(register);
        let new = self.config.u16(at) & !clear | set;
        self.config.set(at, &new.to_le_bytes());
    }

    fn raise(&mut self, event: u16) {
        self.change(express_reg::SLOT_STATUS, 0, event);
        self.update_interrupt();
    }

    fn presence_changed(&mut self) {
        self.show_presence();
        self.raise(status::PRESENCE_CHANGED);
        self.update_link();
    }

    fn show_presence(&mut self) {
        let present = if self.card.present { status::PRESENT } else { 0 };
        self.change(express_reg::SLOT_STATUS, status::PRESENT, present);
    }

    fn show_link(&mut self) {
        let active = if self.link_is_up() { LINK_ACTIVE } else { 0 };
        self.change(express_reg::LINK_STATUS, LINK_ACTIVE, active);
    }

    fn update_link(&mut self) {
        let was_up = self.config.u16(self.at(express_reg::LINK_STATUS)) & LINK_ACTIVE != 0;
        if was_up != self.link_is_up() {
            self.show_link();
            self.raise(status::LINK_CHANGED);
        }
    }

    /// Whether the guest says that the card may be taken out.
    fn look_at_power(&mut self) {
        let off = control::POWER_OFF | control::POWER_INDICATOR;
        self.eject_now |= self.card.wanted && self.control() & off == off;
    }

    fn interrupt_wanted(&self) -> bool {
        let (events, enabled) = (self.config.u16(self.at(express_reg::SLOT_STATUS)), self.control());
        let link = events & status::LINK_CHANGED != 0 && enabled & control::LINK_CHANGED != 0;
        let pending = events & enabled & status::LIKE_CONTROL != 0 || link;
        pending && enabled & control::HOT_PLUG_INTERRUPT != 0
    }

    /// A message goes out when the condition begins to hold (6.7.3.4); the pin follows it.
    fn update_interrupt(&mut self) {
        let wanted = self.interrupt_wanted();
        let before = std::mem::replace(&mut self.signalled, wanted);
        let with_messages = self.msi.is_enabled(&self.config);
        self.pin.set(&mut self.config, wanted && !with_messages);
        if with_messages && wanted && !before {
            self.msi.signal(&mut self.config, &*self.sink, 0);
        }
    }
}

fn config(model: RootPortModel, port: u8, slot: u16, hot_plug: bool) -> (ConfigSpace, u8, Msi) {
    let (vendor, device, revision) = match model {
        RootPortModel::Generic => (0x1B36, 0x000C, 0),
        RootPortModel::Ioh3420 => (0x8086, 0x3420, 2),
    };
    let id = Identity { vendor, device, revision, class: 0x06_0400, subsystem: (0, 0) };
    let spec = SlotSpec {
        port,
        slot,
        capabilities: SLOT_HARDWARE | SLOT_POWER | if hot_plug { HOT_PLUG_CAPABLE } else { 0 },
        control: control::WRITABLE,
        status: status::WRITE_CLEARS,
    };
    let config = ConfigSpace::bridge(id).with_interrupt_pin(1);
    let (config, express) = pci::express_root_port(config, spec);
    let indicators = control::ATTENTION_OFF | control::POWER_INDICATOR_ON;
    let config = config.with(express + express_reg::SLOT_CONTROL, &indicators.to_le_bytes());
    let (config, msi) = Msi::add(config, 1);
    (pci::access_control(pci::advanced_errors(config)), express, msi)
}

impl Device for RootPort {
    fn name(&self) -> &str {
        &self.name
    }

    /// The slot's power is on after a reset. A card that the user wants out is taken out by the machine before it.
    fn reset(&mut self) {
        self.config.reset();
        (self.signalled, self.reset_below, self.eject_now, self.bus_reset) = (false, false, false, false);
        self.show_presence();
        self.show_link();
        self.pin.update(&self.config);
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(&self.name, &Saved { config: self.config.state(), card: self.card, pins: self.pins.state() })
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let Saved { config, card, pins } = load_state(&self.name, bytes)?;
        self.config.restore(&self.name, &config)?;
        self.card = card;
        self.pins.restore(pins);
        self.bus_reset = self.config.u16(reg::BRIDGE_CONTROL) & BUS_RESET != 0;
        (self.reset_below, self.eject_now) = (false, false);
        self.pin.import(&self.config);
        self.signalled = self.interrupt_wanted();
        Ok(())
    }
}

impl PciFunction for RootPort {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, offset: u8, len: usize) {
        let written = usize::from(offset)..usize::from(offset) + len;
        let touches = |register: u8| {
            let at = usize::from(register);
            written.contains(&at) || written.contains(&(at + 1))
        };
        if touches(self.at(express_reg::SLOT_CONTROL)) {
            self.change(express_reg::SLOT_STATUS, 0, status::COMMAND_COMPLETED);
            self.look_at_power();
        }
        let bus_reset = self.config.u16(reg::BRIDGE_CONTROL) & BUS_RESET != 0;
        let before = std::mem::replace(&mut self.bus_reset, bus_reset);
        self.reset_below |= bus_reset && !before;
        self.update_link();
        self.update_interrupt();
        self.msi.config_written(&mut self.config, &*self.sink);
    }

    fn placement(&mut self) -> Option<Deferred> {
        let forwarding = Forwarding::of(&self.config, self.link_is_up());
        let reset = std::mem::take(&mut self.reset_below);
        let eject = std::mem::take(&mut self.eject_now).then(|| self.eject.clone());
        let below = self.below.clone();
        Some(Box::new(move || {
            below.forward(forwarding);
            if reset {
                below.reset_functions();
            }
            if let Some(eject) = eject {
                eject();
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::round_trip;
    use pci::{BarSpec, IntxRouter, devfn};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};
    use vm_core::{AddressSpace, PortSpace, lock};

    #[derive(Default)]
    struct Wires(Mutex<Vec<(u8, u8, bool)>>);
    impl IntxRouter for Wires {
        fn set_intx(&self, devfn: u8, wire: u8, high: bool) {
            lock(&self.0).push((devfn, wire, high));
        }
    }

    #[derive(Default)]
    struct Messages(Mutex<Vec<(u64, u32)>>);
    impl MsiSink for Messages {
        fn signal(&self, address: u64, data: u32) {
            lock(&self.0).push((address, data));
        }
    }

    struct Endpoint {
        config: ConfigSpace,
        pin: IntxPin,
        resets: u32,
    }
    impl Device for Endpoint {
        fn name(&self) -> &str {
            "endpoint"
        }
        fn reset(&mut self) {
            self.config.reset();
            self.pin.update(&self.config);
            self.resets += 1;
        }
        fn save(&self) -> Result<Vec<u8>, StateError> {
            save_state("endpoint", &self.config.state())
        }
        fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
            self.config.restore("endpoint", &load_state("endpoint", bytes)?)
        }
    }
    impl PciFunction for Endpoint {
        fn config(&self) -> &ConfigSpace {
            &self.config
        }
        fn config_mut(&mut self) -> &mut ConfigSpace {
            &mut self.config
        }
        fn config_written(&mut self, _: u8, _: usize) {}
        fn placement(&mut self) -> Option<Deferred> {
            None
        }
    }

    const AT: u8 = devfn(2, 1);
    const EXPRESS: u16 = 0x40;
    const CONTROL: u16 = EXPRESS + 0x18;
    const STATUS: u16 = EXPRESS + 0x1A;
    const LINK: u16 = EXPRESS + 0x12;
    const MSI: u16 = 0x7C;

    struct Bench {
        bus: Arc<PciBus>,
        below: Arc<PciBus>,
        port: Shared<RootPort>,
        card: Shared<Endpoint>,
        wires: Arc<Wires>,
        messages: Arc<Messages>,
        ejected: Arc<AtomicU32>,
    }

    impl Bench {
        fn new() -> Self {
            let (wires, messages, ejected) = <(Arc<Wires>, Arc<Messages>, Arc<AtomicU32>)>::default();
            let bus = PciBus::new(AddressSpace::new(), PortSpace::new(), wires.clone());
            let count = ejected.clone();
            let wiring = RootPortWiring {
                bus: bus.clone(),
                devfn: AT,
                msi: messages.clone(),
                multifunction: true,
                port: 3,
                slot: 9,
                hot_plug: true,
                eject: Arc::new(move || {
                    let _ = count.fetch_add(1, Ordering::SeqCst);
                }),
            };
            let (port, below) = RootPort::add("rp0", RootPortModel::Generic, wiring).unwrap();
            let id = Identity { vendor: 0x1AF4, device: 7, revision: 0, class: 0x02_0000, subsystem: (0, 0) };
            let config = ConfigSpace::endpoint(id);
            let pin = IntxPin::new(below.intx_line(0, 1));
            let card = shared(Endpoint { config, pin, resets: 0 });
            let b = Self { bus, below, port, card, wires, messages, ejected };
            b.write(0x18, &[0, 1, 1]);
            b.write(0x04, &[7, 0]);
            b
        }

        fn write(&self, offset: u16, data: &[u8]) {
            self.bus.config_write(AT, offset, data);
        }

        fn control(&self, value: u16) {
            self.write(CONTROL, &value.to_le_bytes());
        }

        fn word(&self, offset: u16) -> u16 {
            let mut x = [0; 2];
            self.bus.config_read(AT, offset, &mut x);
            u16::from_le_bytes(x)
        }

        /// The status register, and all events cleared.
        fn events(&self) -> u16 {
            let s = self.word(STATUS);
            self.write(STATUS, &s.to_le_bytes());
            s
        }

        fn plug(&self) {
            self.below.add(0, &self.card, vec![]).unwrap();
            lock(&self.port).plug();
            self.bus.update(AT);
        }

        fn card_id(&self) -> u32 {
            let mut x = [0; 4];
            self.below.config_read(0, 0, &mut x);
            u32::from_le_bytes(x)
        }

        fn with_messages(&self) {
            self.write(MSI + 4, &0xFEE0_0000u32.to_le_bytes());
            self.write(MSI + 12, &[0x31, 0]);
            self.write(MSI + 2, &[1, 0]);
        }

        fn sent(&self) -> usize {
            std::mem::take(&mut *lock(&self.messages.0)).len()
        }
    }

    #[test]
    fn it_says_what_it_is() {
        let b = Bench::new();
        let port = lock(&b.port);
        let c = port.config();
        assert_eq!((c.u32(0), c.u32(8) >> 8, c.u8(0x0E)), (0x000C_1B36, 0x06_0400, 0x81));
        assert_eq!((c.u16(0x40) & 0xFF, c.u16(0x42), c.u8(0x34)), (0x10, 0x0142, 0x40));
        assert_eq!(c.u32(0x4C) >> 24, 3, "port number");
        assert_eq!(c.u32(0x54), 9 << 19 | 25 << 7 | 0x5B, "slot 9, hot plug by button, power, indicators");
        assert_eq!((c.u16(0x58), c.u16(0x5A), c.u8(0x7C)), (0x01C0, 0, 5), "power on; nothing there; MSI");
        assert_eq!(c.bars(), [] as [BarSpec; 0]);
        let mut x = [0; 4];
        c.read(0x100, &mut x);
        assert_eq!(u32::from_le_bytes(x), 0x1482_0001, "advanced error reporting first");
    }

    #[test]
    fn a_card_comes_with_the_link_when_there_is_power() {
        let b = Bench::new();
        b.plug();
        assert_eq!((b.word(LINK), b.card_id()), (0x2011, 0x0007_1AF4));
        assert_eq!(b.events(), status::PRESENT | status::PRESENCE_CHANGED | status::LINK_CHANGED);
        b.control(control::POWER_OFF | control::POWER_INDICATOR);
        assert_eq!((b.word(LINK), b.card_id()), (0x0011, u32::MAX));
        assert_eq!(b.events(), status::PRESENT | status::COMMAND_COMPLETED | status::LINK_CHANGED);
        assert_eq!((lock(&b.card).resets, b.ejected.load(Ordering::SeqCst)), (1, 0), "nobody wants it out");
        b.control(control::POWER_INDICATOR_ON);
        assert_eq!((b.card_id(), b.events() & status::LINK_CHANGED), (0x0007_1AF4, status::LINK_CHANGED));
        b.write(EXPRESS + 0x10, &[0x10, 0]);
        assert_eq!((b.card_id(), b.word(STATUS)), (u32::MAX, status::PRESENT | status::LINK_CHANGED), "link disabled");
    }

    #[test]
    fn the_guest_lets_go_before_a_card_is_taken_out() {
        let b = Bench::new();
        assert_eq!(lock(&b.port).request_unplug(), Err(UnplugError::Empty));
        b.plug();
        b.events();
        lock(&b.port).request_unplug().unwrap();
        b.bus.update(AT);
        assert_eq!(lock(&b.port).request_unplug(), Err(UnplugError::Pending));
        assert_eq!(b.events(), status::PRESENT | status::ATTENTION_BUTTON);
        b.control(2 << 8); // the indicator blinks
        b.control(control::POWER_OFF | control::POWER_INDICATOR_ON);
        assert_eq!(b.ejected.load(Ordering::SeqCst), 0);
        b.control(control::POWER_OFF | control::POWER_INDICATOR);
        assert_eq!(b.ejected.load(Ordering::SeqCst), 1);
        b.events();
        b.below.remove(0);
        lock(&b.port).removed();
        b.bus.update(AT);
        assert_eq!(b.events(), status::PRESENCE_CHANGED);
        assert!(!lock(&b.port).unplug_is_pending());
        // A slot without power: the next one may come and go at once.
        b.plug();
        let pressed = status::PRESENT | status::PRESENCE_CHANGED | status::ATTENTION_BUTTON;
        assert_eq!((b.card_id(), b.events()), (u32::MAX, pressed), "who wants power presses the button");
        lock(&b.port).request_unplug().unwrap();
        b.bus.update(AT);
        assert_eq!(b.ejected.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn messages_go_out_when_the_condition_begins_to_hold() {
        let b = Bench::new();
        b.with_messages();
        b.plug();
        assert_eq!(b.sent(), 0, "no event is enabled");
        b.control(control::HOT_PLUG_INTERRUPT | status::PRESENCE_CHANGED | status::COMMAND_COMPLETED);
        assert_eq!(b.sent(), 1);
        b.control(control::HOT_PLUG_INTERRUPT | status::PRESENCE_CHANGED | status::COMMAND_COMPLETED);
        assert_eq!(b.sent(), 0, "it holds all the time");
        b.events();
        b.control(control::HOT_PLUG_INTERRUPT | status::COMMAND_COMPLETED);
        assert_eq!(b.sent(), 1, "command completed");
        b.events();
        b.control(control::HOT_PLUG_INTERRUPT | control::LINK_CHANGED | control::POWER_OFF);
        assert_eq!(b.sent(), 1, "the link's enable bit is elsewhere");
        assert_eq!(*lock(&b.wires.0), [], "the pin is silent");
    }

    #[test]
    fn without_messages_the_pin_follows_and_is_shared_with_the_card() {
        let b = Bench::new();
        b.plug();
        b.control(control::HOT_PLUG_INTERRUPT | status::PRESENCE_CHANGED);
        let wire = pci::swizzle(2, 0);
        assert_eq!(std::mem::take(&mut *lock(&b.wires.0)), [(AT, wire, true)]);
        b.events();
        assert_eq!(std::mem::take(&mut *lock(&b.wires.0)), [(AT, wire, false)]);
        let card = &mut *lock(&b.card);
        card.pin.set(&mut card.config, true);
        assert_eq!(std::mem::take(&mut *lock(&b.wires.0)), [(AT, pci::swizzle(2, 1), true)], "INTB behind it");
    }

    #[test]
    fn bus_reset_reset_and_state() {
        let b = Bench::new();
        b.plug();
        b.write(0x3E, &[0x40, 0]);
        b.write(0x3E, &[0x40, 0]);
        b.write(0x3E, &[0x00, 0]);
        assert_eq!(lock(&b.card).resets, 1, "once for each setting of the bit");
        b.write(0x20, &[0x00, 0xFE, 0x10, 0xFE]);
        round_trip(&mut *lock(&b.port));
        let saved = lock(&b.port).save().unwrap();
        lock(&b.port).reset();
        b.bus.sync();
        assert_eq!((b.word(STATUS), b.word(LINK), b.word(0x20)), (status::PRESENT, 0x2011, 0));
        lock(&b.port).restore(&saved).unwrap();
        assert_eq!(b.word(0x20), 0xFE00);
        assert!(lock(&b.port).restore(&saved[1..]).is_err());
        assert_eq!(b.sent(), 0);
    }
}
