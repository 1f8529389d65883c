//! Two cascaded Intel 8259A interrupt controllers with the edge/level control registers of the PC chip sets.
//!
//! Intel 8259A data sheet (231468-003): ICW1 to ICW4, OCW1 to OCW3, fully nested and special fully nested mode,
//! special mask mode, automatic EOI, rotation, poll. ELCR: Intel 82371SB data sheet, 2.5.8.
//!
//! Left out on purpose: MCS-80/85 mode (ICW4 uPM = 0 works as 8086 mode) and buffered mode (no pins to buffer).
//! An edge that was seen stays latched when the input falls again before INTA, so that a pulse is never lost; the
//! cascade input alone follows the slave, as on the real chip.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use vm_core::{Device, IrqLine, LineSink, PortIo, Shared, StateError, load_state, lock, save_state, shared};

/// The master's input that the slave drives.
const CASCADE: u8 = 2;

/// One 8259A.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Chip {
    /// Input levels.
    pins: u8,
    irr: u8,
    isr: u8,
    imr: u8,
    /// Inputs that are level triggered by the ELCR.
    elcr: u8,
    /// ICW1 LTIM: all inputs are level triggered.
    ltim: bool,
    single: bool,
    /// ICW1 IC4: an ICW4 is to follow.
    ic4: bool,
    /// The next initialisation word expected (2, 3, 4), or 0.
    icw: u8,
    initialised: bool,
    /// ICW2: vector of input 0.
    base: u8,
    /// ICW3: stored only, the wiring is fixed.
    icw3: u8,
    aeoi: bool,
    sfnm: bool,
    rotate_on_aeoi: bool,
    special_mask: bool,
    poll: bool,
    read_isr: bool,
    /// The input with the lowest priority.
    lowest: u8,
}

impl Chip {
    fn at_reset() -> Self {
        Self {
            pins: 0,
            irr: 0,
            isr: 0,
            imr: 0,
            elcr: 0,
            ltim: false,
            single: false,
            ic4: false,
            icw: 0,
            initialised: false,
            base: 0,
            icw3: 0,
            aeoi: false,
            sfnm: false,
            rotate_on_aeoi: false,
            special_mask: false,
            poll: false,
            read_isr: false,
            lowest: 7,
        }
    }

    fn is_level(&self, pin: u8) -> bool {
        self.ltim || self.elcr & (1 << pin) != 0
    }

    fn set_pin(&mut self, pin: u8, high: bool) {
        let bit = 1 << pin;
        let was = self.pins & bit != 0;
        self.pins = if high { self.pins | bit } else { self.pins & !bit };
        if self.is_level(pin) {
            self.irr = if high { self.irr | bit } else { self.irr & !bit };
        } else if high && !was {
            self.irr |= bit;
        }
    }

    /// How far down `pin` is in the present priority order: 0 is the highest.
    fn rank(&self, pin: u8) -> u8 {
        pin.wrapping_sub(self.lowest).wrapping_sub(1) & 7
    }

    fn highest(&self, set: u8) -> Option<u8> {
        (0..8).filter(|p| set & (1 << p) != 0).min_by_key(|p| self.rank(*p))
    }

    /// The input whose request wins now, if one may interrupt.
    fn request(&self) -> Option<u8> {
        if !self.initialised || self.icw != 0 {
            return None;
        }
        let pin = self.highest(self.irr & !self.imr)?;
        let in_service = if self.special_mask { self.isr & !self.imr } else { self.isr };
        match self.highest(in_service) {
            None => Some(pin),
            Some(s) if self.rank(pin) < self.rank(s) => Some(pin),
            // Special fully nested: the slave may interrupt its own service routine.
            Some(s) if self.sfnm && s == pin && pin == CASCADE => Some(pin),
            Some(_) => None,
        }
    }

    /// INTA (or a poll) accepts the request of `pin`.
    fn accept(&mut self, pin: u8) {
        let bit = 1 << pin;
        if !self.is_level(pin) {
            self.irr &= !bit;
        }
        if self.aeoi {
            if self.rotate_on_aeoi {
                self.lowest = pin;
            }
        } else {
            self.isr |= bit;
        }
    }

    fn icw1(&mut self, v: u8) {
        self.imr = 0;
        self.isr = 0;
        self.ltim = v & 0x08 != 0;
        self.single = v & 0x02 != 0;
        self.ic4 = v & 0x01 != 0;
        self.icw = 2;
        self.lowest = 7;
        self.special_mask = false;
        self.read_isr = false;
        self.poll = false;
        self.rotate_on_aeoi = false;
        self.aeoi = false;
        self.sfnm = false;
        // The edge sense circuit is reset: only level inputs still request.
        self.irr = if self.ltim { self.pins } else { self.pins & self.elcr };
    }

    fn ocw2(&mut self, v: u8) {
        let level = v & 7;
        let top = self.highest(if self.special_mask { self.isr & !self.imr } else { self.isr });
        match v >> 5 {
            0 => self.rotate_on_aeoi = false,
            4 => self.rotate_on_aeoi = true,
            1 | 5 => {
                if let Some(pin) = top {
                    self.isr &= !(1 << pin);
                    if v >> 5 == 5 {
                        self.lowest = pin;
                    }
                }
            }
            3 => self.isr &= !(1 << level),
            6 => self.lowest = level,
            7 => {
                self.isr &= !(1 << level);
                self.lowest = level;
            }
            _ => {}
        }
    }

    fn ocw3(&mut self, v: u8) {
        if v & 0x40 != 0 {
            self.special_mask = v & 0x20 != 0;
        }
        if v & 0x04 != 0 {
            self.poll = true;
        }
        if v & 0x02 != 0 {
            self.read_isr = v & 0x01 != 0;
        }
    }

    fn write(&mut self, a0: bool, v: u8) {
        if !a0 {
            match v & 0x18 {
                0x00 => self.ocw2(v),
                0x08 => self.ocw3(v),
                _ => self.icw1(v),
            }
            return;
        }
        let after_icw3 = if self.ic4 { 4 } else { 0 };
        match self.icw {
            2 => {
                self.base = v & 0xF8;
                self.icw = if self.single { after_icw3 } else { 3 };
            }
            3 => {
                self.icw3 = v;
                self.icw = after_icw3;
            }
            4 => {
                self.sfnm = v & 0x10 != 0;
                self.aeoi = v & 0x02 != 0;
                self.icw = 0;
            }
            _ => self.imr = v,
        }
        self.initialised |= self.icw == 0;
    }

    fn write_elcr(&mut self, v: u8) {
        self.elcr = v;
        if !self.ltim {
            self.irr = (self.irr & !v) | (self.pins & v);
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    master: Chip,
    slave: Chip,
}

impl State {
    fn at_reset() -> Self {
        Self { master: Chip::at_reset(), slave: Chip::at_reset() }
    }

    /// Carries the slave's INT output to the master.
    fn cascade(&mut self) {
        let high = self.slave.request().is_some();
        self.master.set_pin(CASCADE, high);
        if !high {
            self.master.irr &= !(1 << CASCADE);
        }
    }

    /// The slave's INT falls with each acceptance, so that a further request is a new edge for the master.
    fn accept_slave(&mut self, pin: u8) {
        self.slave.accept(pin);
        self.master.set_pin(CASCADE, false);
        self.master.irr &= !(1 << CASCADE);
        self.cascade();
    }

    fn inta(&mut self) -> u8 {
        self.cascade();
        let Some(pin) = self.master.request() else {
            return self.master.base | 7;
        };
        self.master.accept(pin);
        if pin != CASCADE {
            return self.master.base | pin;
        }
        match self.slave.request() {
            Some(p) => {
                self.accept_slave(p);
                self.slave.base | p
            }
            None => self.slave.base | 7,
        }
    }

    fn read(&mut self, slave: bool, a0: bool) -> u8 {
        let chip = if slave { &mut self.slave } else { &mut self.master };
        if chip.poll {
            chip.poll = false;
            let Some(pin) = chip.request() else { return 0 };
            if slave {
                self.accept_slave(pin);
            } else {
                chip.accept(pin);
            }
            return 0x80 | pin;
        }
        match (a0, chip.read_isr) {
            (true, _) => chip.imr,
            (false, true) => chip.isr,
            (false, false) => chip.irr,
        }
    }
}

struct Inner {
    state: Mutex<State>,
    output: IrqLine,
    /// Publications asked for and not yet done; see [`Pic::publish`].
    unpublished: AtomicU32,
}

/// The pair of controllers; clones are the same pair.
///
/// As a [`LineSink`] its pins 0 to 15 are the ISA interrupt lines (2 is the cascade and ignored). The output line
/// (INTR) is driven with no lock held, so its sink may take any lock.
#[derive(Clone)]
pub struct Pic(Arc<Inner>);

impl Pic {
    /// A pair, not initialised, that drives `intr`.
    pub fn new(intr: IrqLine) -> Self {
        Self(Arc::new(Inner { state: Mutex::new(State::at_reset()), output: intr, unpublished: AtomicU32::new(0) }))
    }

    /// The master's ports, for 0x20-0x21 (byte wide).
    pub fn master_ports(&self) -> Shared<PicPorts> {
        shared(PicPorts { pic: self.clone(), block: Block::Master })
    }

    /// The slave's ports, for 0xA0-0xA1 (byte wide).
    pub fn slave_ports(&self) -> Shared<PicPorts> {
        shared(PicPorts { pic: self.clone(), block: Block::Slave })
    }

    /// The edge/level control registers, for 0x4D0-0x4D1 (byte wide).
    pub fn elcr_ports(&self) -> Shared<PicPorts> {
        shared(PicPorts { pic: self.clone(), block: Block::Elcr })
    }

    /// The interrupt acknowledge cycle: the vector of the highest request, or that of input 7 when the request has
    /// gone away (spurious).
    pub fn acknowledge(&self) -> u8 {
        let vector = self.state().inta();
        self.publish();
        tracing::trace!(target: "pic_acknowledge", "vector={vector:#04x}");
        vector
    }

    /// What INTR is now. The line's sink may hear of a change slightly later when another thread is driving it; ask
    /// here right before [`Pic::acknowledge`].
    pub fn is_pending(&self) -> bool {
        self.state().master.request().is_some()
    }

    /// One line a chip for `info pic`.
    pub fn describe(&self) -> String {
        let s = self.state().clone();
        [("pic0", &s.master), ("pic1", &s.slave)]
            .map(|(n, c)| {
                format!(
                    "{n}: irr={:02x} imr={:02x} isr={:02x} hprio={} irq_base={:02x} rr_sel={} elcr={:02x} fnm={}\n",
                    c.irr,
                    c.imr,
                    c.isr,
                    (c.lowest + 1) & 7,
                    c.base,
                    u8::from(c.read_isr),
                    c.elcr,
                    u8::from(c.sfnm)
                )
            })
            .concat()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// Drives INTR with no lock held. Several threads may want to at once: the first does it for all, again and
    /// again until nobody asked meanwhile, so the last level driven is the newest.
    fn publish(&self) {
        if self.0.unpublished.fetch_add(1, Ordering::SeqCst) != 0 {
            return;
        }
        loop {
            let seen = self.0.unpublished.load(Ordering::SeqCst);
            let level = self.is_pending();
            self.0.output.set(level);
            if self.0.unpublished.compare_exchange(seen, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return;
            }
        }
    }

    fn change<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let value = {
            let mut s = self.state();
            let value = f(&mut s);
            s.cascade();
            value
        };
        self.publish();
        value
    }
}

impl LineSink for Pic {
    fn set_level(&self, pin: u32, high: bool) {
        self.change(|s| match pin {
            2 => {}
            0..=7 => s.master.set_pin(pin as u8, high),
            8..=15 => s.slave.set_pin(pin as u8 - 8, high),
            _ => {}
        });
    }
}

impl Device for Pic {
    fn name(&self) -> &str {
        "pic"
    }

    fn reset(&mut self) {
        // The input levels are the devices' business: they drop their lines in their own reset.
        self.change(|s| {
            let (m, v) = (s.master.pins, s.slave.pins);
            *s = State::at_reset();
            s.master.pins = m & !(1 << CASCADE);
            s.slave.pins = v;
        });
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &*self.state())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut new: State = load_state(self.name(), bytes)?;
        for chip in [&mut new.master, &mut new.slave] {
            chip.lowest &= 7;
            chip.base &= 0xF8;
            chip.icw = if (2..=4).contains(&chip.icw) { chip.icw } else { 0 };
        }
        let level = new.master.request().is_some();
        *self.state() = new;
        self.0.output.import_level(level);
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Block {
    Master,
    Slave,
    Elcr,
}

/// A block of the pair's ports; see [`Pic::master_ports`], [`Pic::slave_ports`], [`Pic::elcr_ports`].
pub struct PicPorts {
    pic: Pic,
    block: Block,
}

impl PortIo for PicPorts {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let odd = offset & 1 != 0;
        let value = self.pic.change(|s| match self.block {
            Block::Master => s.read(false, odd),
            Block::Slave => s.read(true, odd),
            Block::Elcr if odd => s.slave.elcr,
            Block::Elcr => s.master.elcr,
        });
        data.fill(value);
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        let odd = offset & 1 != 0;
        let Some(&v) = data.first() else { return };
        self.pic.change(|s| match self.block {
            Block::Master => s.master.write(odd, v),
            Block::Slave => s.slave.write(odd, v),
            // Timer, keyboard, cascade, clock and FPU lines are always edge triggered.
            Block::Elcr if odd => s.slave.write_elcr(v & 0xDE),
            Block::Elcr => s.master.write_elcr(v & 0xF8),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_core::RecordedLine;

    struct Bench {
        pic: Pic,
        intr: Arc<RecordedLine>,
        ports: [Shared<PicPorts>; 3],
    }

    impl Bench {
        /// Initialised as a PC BIOS does: vectors 0x08 and 0x70, nothing masked.
        fn new(icw4: u8) -> Self {
            let (intr, line) = RecordedLine::line();
            let pic = Pic::new(line);
            let ports = [pic.master_ports(), pic.slave_ports(), pic.elcr_ports()];
            let b = Self { pic, intr, ports };
            for (chip, base, icw3) in [(0, 0x08, 4), (1, 0x70, 2)] {
                b.out(chip, 0, 0x11);
                b.out(chip, 1, base);
                b.out(chip, 1, icw3);
                b.out(chip, 1, icw4);
            }
            b
        }
        fn out(&self, chip: usize, port: u16, v: u8) {
            lock(&self.ports[chip]).port_write(port, &[v]);
        }
        fn inp(&self, chip: usize, port: u16) -> u8 {
            let mut d = [0];
            lock(&self.ports[chip]).port_read(port, &mut d);
            d[0]
        }
        fn pulse(&self, pin: u32) {
            self.pic.set_level(pin, true);
            self.pic.set_level(pin, false);
        }
    }

    #[test]
    fn priorities_nest_and_eoi_releases() {
        let b = Bench::new(1);
        b.pulse(3);
        assert!(b.intr.is_high());
        assert_eq!(b.pic.acknowledge(), 0x0B);
        assert!(!b.intr.is_high());
        b.pulse(4);
        assert!(!b.intr.is_high(), "lower priority waits");
        b.pulse(1);
        assert_eq!(b.pic.acknowledge(), 0x09);
        b.out(0, 0, 0x0B);
        assert_eq!(b.inp(0, 0), 0x0A, "ISR");
        b.out(0, 0, 0x20);
        assert_eq!(b.inp(0, 0), 0x08);
        b.out(0, 0, 0x63);
        assert_eq!(b.pic.acknowledge(), 0x0C);
    }

    #[test]
    fn nothing_before_initialisation_and_mask_works() {
        let (intr, line) = RecordedLine::line();
        let pic = Pic::new(line);
        pic.set_level(1, true);
        assert!(!intr.is_high());
        let b = Bench::new(1);
        b.out(0, 1, 0x02);
        b.pulse(1);
        assert!(!b.intr.is_high());
        b.out(0, 0, 0x0A);
        assert_eq!((b.inp(0, 0), b.inp(0, 1)), (2, 2));
        b.out(0, 1, 0);
        assert_eq!(b.pic.acknowledge(), 0x09);
    }

    #[test]
    fn the_slave_comes_through_input_2() {
        let b = Bench::new(1);
        b.pulse(14);
        b.pulse(12);
        assert_eq!(b.pic.acknowledge(), 0x74);
        assert!(!b.intr.is_high());
        b.out(1, 0, 0x20);
        assert!(!b.intr.is_high(), "the master still serves input 2");
        b.out(0, 0, 0x20);
        assert_eq!(b.pic.acknowledge(), 0x76);
    }

    #[test]
    fn a_vanished_request_is_spurious_7() {
        let b = Bench::new(1);
        assert_eq!(b.pic.acknowledge(), 0x0F);
        b.out(2, 0, 0x20);
        b.pic.set_level(5, true);
        b.pic.set_level(5, false);
        assert!(!b.intr.is_high());
        assert_eq!(b.pic.acknowledge(), 0x0F);
        b.out(0, 0, 0x0B);
        assert_eq!(b.inp(0, 0), 0, "spurious sets no ISR bit");
    }

    #[test]
    fn level_inputs_request_again_after_eoi() {
        let b = Bench::new(1);
        b.out(2, 1, 0xFF);
        assert_eq!(b.inp(2, 1), 0xDE);
        b.pic.set_level(11, true);
        assert_eq!(b.pic.acknowledge(), 0x73);
        b.out(1, 0, 0x20);
        b.out(0, 0, 0x20);
        assert!(b.intr.is_high());
        b.pic.set_level(11, false);
        assert!(!b.intr.is_high());
    }

    #[test]
    fn aeoi_and_slave_back_to_back() {
        let b = Bench::new(3);
        b.pulse(9);
        b.pulse(10);
        assert_eq!([b.pic.acknowledge(), b.pic.acknowledge()], [0x71, 0x72]);
        assert!(!b.intr.is_high());
    }

    #[test]
    fn rotation_and_set_priority() {
        let b = Bench::new(1);
        b.out(0, 0, 0xC0 | 3);
        b.pulse(3);
        b.pulse(4);
        assert_eq!(b.pic.acknowledge(), 0x0C);
        b.out(0, 0, 0xA0);
        b.pulse(4);
        assert_eq!(b.pic.acknowledge(), 0x0B, "4 is now the lowest");
    }

    #[test]
    fn special_mask_lets_lower_levels_through() {
        let b = Bench::new(1);
        b.pulse(1);
        assert_eq!(b.pic.acknowledge(), 0x09);
        b.pulse(6);
        assert!(!b.intr.is_high());
        b.out(0, 1, 0x02);
        b.out(0, 0, 0x68);
        assert_eq!(b.pic.acknowledge(), 0x0E);
        b.out(0, 0, 0x20);
        b.out(0, 0, 0x48);
        b.out(0, 0, 0x0B);
        assert_eq!(b.inp(0, 0), 0x02, "the masked level was not ended");
    }

    #[test]
    fn special_fully_nested_lets_the_slave_nest() {
        let b = Bench::new(0x11);
        b.pulse(14);
        assert_eq!(b.pic.acknowledge(), 0x76);
        b.pulse(8);
        assert_eq!(b.pic.acknowledge(), 0x70);
    }

    #[test]
    fn poll_takes_the_request() {
        let b = Bench::new(1);
        b.out(0, 0, 0x0C);
        assert_eq!(b.inp(0, 0), 0);
        b.pulse(6);
        b.out(0, 0, 0x0C);
        assert_eq!(b.inp(0, 0), 0x86);
        assert!(!b.intr.is_high());
    }

    #[test]
    fn save_reset_restore() {
        let b = Bench::new(1);
        b.pulse(3);
        b.pulse(12);
        let mut d = b.pic.clone();
        let saved = d.save().unwrap();
        d.reset();
        assert!(!b.intr.is_high());
        assert_ne!(d.save().unwrap(), saved);
        d.restore(&saved).unwrap();
        assert_eq!(d.save().unwrap(), saved);
        assert!(d.is_pending());
        assert!(d.restore(&saved[1..]).is_err());
    }
}
