//! High precision event timers: three timers on a 64-bit counter of 100 MHz, and the gate that gives the interrupt
//! lines of the PIT and the RTC to the first two ("LegacyReplacement").
//!
//! IA-PC HPET Specification 1.0a, section 2.3. A comparator that already lies behind the counter when it is written
//! fires at once: the guest's store arrives here later than real hardware would see it, and an interrupt too many
//! does no harm where a lost one does. Edges of one timer are at least [`MIN_INTERVAL`] ns apart.

use std::sync::{Arc, Mutex, MutexGuard, Weak};

use serde::{Deserialize, Serialize};
use vm_core::{
    Clock, Device, IrqLine, LineSink, Mmio, MsiSink, Shared, StateError, Timer, load_state, lock, save_state,
};

/// Where the registers are on a PC.
pub const HPET_BASE: u64 = 0xFED0_0000;
/// Length of the register block.
pub const HPET_LEN: u64 = 0x400;
/// The least time between two interrupts of a timer.
pub const MIN_INTERVAL: u64 = 10_000;

const TICK_NS: u64 = 10;
const TIMERS: usize = 3;
/// Revision 1, three timers, 64 bits, legacy replacement, vendor 8086h, 10 ns in femtoseconds.
pub const CAPABILITIES: u64 = 0x0098_9680_8086_A201;
/// I/O APIC pins that the timers can drive.
const ROUTES: u64 = 0x00F0_0104;

const ENABLE: u64 = 1;
const LEGACY: u64 = 2;

const INT_LEVEL: u64 = 1 << 1;
const INT_ENABLE: u64 = 1 << 2;
const PERIODIC: u64 = 1 << 3;
const PERIODIC_CAP: u64 = 1 << 4;
const SIZE_CAP: u64 = 1 << 5;
const VALUE_SET: u64 = 1 << 6;
const MODE_32: u64 = 1 << 8;
const FSB_ENABLE: u64 = 1 << 14;
const FSB_CAP: u64 = 1 << 15;
const FIXED: u64 = ROUTES << 32 | FSB_CAP | SIZE_CAP | PERIODIC_CAP;
const WRITABLE: u64 = 0x3E00 | FSB_ENABLE | MODE_32 | VALUE_SET | PERIODIC | INT_ENABLE | INT_LEVEL;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Comparator {
    config: u64,
    value: u64,
    period: u64,
    fsb: u64,
    /// Counter value (all 64 bits) of the next match.
    due: Option<u64>,
}

impl Comparator {
    fn at_reset() -> Self {
        Self { config: FIXED, value: u64::MAX, period: 0, fsb: 0, due: None }
    }

    fn mask(&self) -> u64 {
        if self.config & MODE_32 != 0 { 0xFFFF_FFFF } else { u64::MAX }
    }

    /// When the comparator, as it stands, matches next.
    fn set_due(&mut self, now: u64) {
        let ahead = self.value.wrapping_sub(now) & self.mask();
        let half = self.mask() / 2;
        // Never written: nothing is wanted.
        let idle = self.value & self.mask() == self.mask() && self.period == 0;
        self.due = match () {
            () if idle => None,
            () if ahead <= half => now.checked_add(ahead),
            () => Some(now),
        };
    }

    /// Takes a match at `now`: moves on to the next one.
    fn advance(&mut self, now: u64) {
        let Some(due) = self.due else { return };
        let late = now.saturating_sub(due);
        if self.config & PERIODIC != 0 && self.period != 0 {
            let steps = (late / self.period).saturating_add(1).saturating_mul(self.period);
            self.value = self.value.wrapping_add(steps) & self.mask();
            self.due = due.checked_add(steps);
        } else if self.config & MODE_32 != 0 {
            // The low half comes round again.
            self.due = due.checked_add(((late >> 32) + 1) << 32);
        } else {
            self.due = None;
        }
    }

    fn write_value(&mut self, keep: u64, v: u64) {
        let mask = self.mask();
        if self.config & PERIODIC == 0 || self.config & VALUE_SET != 0 {
            self.value = (self.value & keep | v) & mask;
        }
        if self.config & PERIODIC != 0 {
            self.period = (self.period & keep | v) & mask;
        }
        self.config &= !VALUE_SET;
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    config: u64,
    status: u64,
    /// The counter while stopped; while running, what to add to the clock's ticks.
    counter: u64,
    timers: [Comparator; TIMERS],
    /// Level lines that are driven: the pin, by timer.
    driven: [Option<u8>; TIMERS],
}

impl State {
    fn at_reset() -> Self {
        Self {
            config: 0,
            status: 0,
            counter: 0,
            timers: [(); TIMERS].map(|()| Comparator::at_reset()),
            driven: [None; TIMERS],
        }
    }
}

/// Lines that are not I/O APIC pins in [`State::driven`].
const LEGACY_PINS: u8 = 32;

/// The timer block: [`HPET_LEN`] bytes of MMIO at [`HPET_BASE`].
pub struct Hpet {
    state: State,
    clock: Clock,
    gate: LegacyGate,
    pins: Vec<IrqLine>,
    legacy: [IrqLine; 2],
    msi: Arc<dyn MsiSink>,
    timer: Timer,
}

impl Hpet {
    /// A block on `clock` whose timers drive pins of `ioapic`, send messages to `msi`, or take the lines of `gate`.
    pub fn new(clock: &Clock, ioapic: Arc<dyn LineSink>, msi: Arc<dyn MsiSink>, gate: &LegacyGate) -> Shared<Self> {
        let pins = (0..24).map(|pin| IrqLine::new("hpet", ioapic.clone(), pin)).collect();
        let legacy = [gate.input("hpet timer 0", 2), gate.input("hpet timer 1", 3)];
        Arc::new_cyclic(|weak: &Weak<Mutex<Self>>| {
            let weak = weak.clone();
            let timer = clock.timer("hpet", move || {
                if let Some(hpet) = weak.upgrade() {
                    lock(&hpet).update();
                }
            });
            let (clock, gate) = (clock.clone(), gate.clone());
            Mutex::new(Self { state: State::at_reset(), clock, gate, pins, legacy, msi, timer })
        })
    }

    fn counter(&self) -> u64 {
        let run = if self.state.config & ENABLE != 0 { self.clock.now() / TICK_NS } else { 0 };
        self.state.counter.wrapping_add(run)
    }

    /// The line of timer `n` as it is routed now.
    fn pin_of(&self, n: usize) -> u8 {
        if self.state.config & LEGACY != 0 && n < 2 {
            return LEGACY_PINS + n as u8;
        }
        (self.state.timers[n].config >> 9 & 0x1F) as u8
    }

    fn line(&self, pin: u8) -> Option<&IrqLine> {
        match pin.checked_sub(LEGACY_PINS) {
            Some(n) => self.legacy.get(usize::from(n)),
            None => self.pins.get(usize::from(pin)).filter(|_| ROUTES >> pin & 1 != 0),
        }
    }

    fn fire(&mut self, n: usize) {
        let config = self.state.timers[n].config;
        if config & INT_ENABLE == 0 {
            return;
        }
        if config & INT_LEVEL != 0 {
            self.state.status |= 1 << n;
        } else if config & FSB_ENABLE != 0 {
            let route = self.state.timers[n].fsb;
            self.msi.signal(route >> 32, route as u32);
        } else if let Some(line) = self.line(self.pin_of(n)) {
            line.pulse();
        }
    }

    /// Drives each level line that its status bit asks for, and lets go of the others.
    fn drive_levels(&mut self) {
        for n in 0..TIMERS {
            let config = self.state.timers[n].config;
            let fsb = config & FSB_ENABLE != 0;
            let high = self.state.status >> n & 1 != 0 && config & INT_ENABLE != 0 && config & INT_LEVEL != 0 && !fsb;
            let pin = high.then(|| self.pin_of(n));
            let before = std::mem::replace(&mut self.state.driven[n], pin);
            if before == pin {
                continue;
            }
            if let Some(p) = before.filter(|p| !self.state.driven.contains(&Some(*p)))
                && let Some(line) = self.line(p)
            {
                line.set(false);
            }
            if let Some(line) = pin.and_then(|p| self.line(p)) {
                line.set(true);
            }
        }
    }

    /// Fires what is due, drives the lines and sets the timer.
    fn update(&mut self) {
        let now = self.counter();
        if self.state.config & ENABLE != 0 {
            for n in 0..TIMERS {
                if self.state.timers[n].due.is_some_and(|d| d <= now) {
                    self.fire(n);
                    self.state.timers[n].advance(now);
                }
            }
        }
        self.drive_levels();
        let waiting = self.state.timers.iter().filter(|t| t.config & INT_ENABLE != 0);
        let next = waiting.filter_map(|t| t.due).min().filter(|_| self.state.config & ENABLE != 0);
        match next {
            Some(due) => {
                let ticks = (self.clock.now() / TICK_NS).saturating_add(due.saturating_sub(now));
                let at = ticks.saturating_mul(TICK_NS);
                let soonest = self.clock.now().saturating_add(if due > now { 0 } else { MIN_INTERVAL });
                let fastest = self.clock.now().saturating_add(self.fastest());
                self.timer.set(at.max(soonest).max(fastest));
            }
            None => self.timer.cancel(),
        }
    }

    /// The bound on the interrupt rate: only a periodic timer with a silly period meets it.
    fn fastest(&self) -> u64 {
        let silly = |t: &Comparator| {
            t.config & (PERIODIC | INT_ENABLE) == PERIODIC | INT_ENABLE
                && (1..MIN_INTERVAL / TICK_NS).contains(&t.period)
        };
        if self.state.timers.iter().any(silly) { MIN_INTERVAL } else { 0 }
    }

    fn write_config(&mut self, v: u64) {
        let was = self.state.config;
        let now = self.counter();
        self.state.config = v & (ENABLE | LEGACY);
        if (was ^ v) & ENABLE != 0 {
            let run = if v & ENABLE != 0 { self.clock.now() / TICK_NS } else { 0 };
            self.state.counter = now.wrapping_sub(run);
            self.state.timers.iter_mut().for_each(|t| t.set_due(now));
        }
        if (was ^ v) & LEGACY != 0 {
            self.gate.select(v & LEGACY != 0);
        }
    }

    fn read_register(&self, register: u64) -> u64 {
        let timer = |r: u64| self.state.timers.get(((r - 0x100) / 0x20) as usize);
        match register {
            0x000 => CAPABILITIES,
            0x010 => self.state.config,
            0x020 => self.state.status,
            0x0F0 => self.counter(),
            r @ 0x100.. => match (timer(r), r & 0x18) {
                (Some(t), 0x00) => t.config,
                (Some(t), 0x08) => t.value,
                (Some(t), 0x10) => t.fsb,
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Writes the bits of a register that are not in `keep`.
    fn write_register(&mut self, register: u64, keep: u64, v: u64) {
        let merged = self.read_register(register) & keep | v;
        let now = self.counter();
        match register {
            0x010 => self.write_config(merged),
            0x020 => self.state.status &= !v,
            0x0F0 => {
                let run = if self.state.config & ENABLE != 0 { self.clock.now() / TICK_NS } else { 0 };
                self.state.counter = merged.wrapping_sub(run);
                self.state.timers.iter_mut().for_each(|t| t.set_due(merged));
            }
            r @ 0x100.. => {
                let n = ((r - 0x100) / 0x20) as usize;
                let Some(t) = self.state.timers.get_mut(n) else { return };
                match r & 0x18 {
                    0x00 => {
                        let narrowed = merged & !t.config & MODE_32 != 0;
                        t.config = merged & WRITABLE | FIXED;
                        if narrowed {
                            t.value &= 0xFFFF_FFFF;
                            t.period &= 0xFFFF_FFFF;
                        }
                        if t.config & INT_LEVEL == 0 {
                            self.state.status &= !(1 << n);
                        }
                    }
                    0x08 => {
                        t.write_value(keep, v);
                        t.set_due(now);
                    }
                    0x10 => t.fsb = merged,
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

impl Mmio for Hpet {
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
        self.update();
        data.fill(0);
        // Accesses do not cross a register (specification 2.3.3).
        let bytes = self.read_register(offset & !7).to_le_bytes();
        for (d, b) in data.iter_mut().zip(bytes.iter().skip((offset & 7) as usize)) {
            *d = *b;
        }
    }

    fn mmio_write(&mut self, offset: u64, data: &[u8]) {
        self.update();
        let mut keep = [0xFF; 8];
        let mut value = [0; 8];
        for (i, d) in data.iter().enumerate().take(8 - (offset & 7) as usize) {
            let at = (offset & 7) as usize + i;
            keep[at] = 0;
            value[at] = *d;
        }
        self.write_register(offset & !7, u64::from_le_bytes(keep), u64::from_le_bytes(value));
        self.update();
    }
}

impl Device for Hpet {
    fn name(&self) -> &str {
        "hpet"
    }

    fn reset(&mut self) {
        let driven = self.state.driven;
        self.state = State { driven, ..State::at_reset() };
        self.gate.select(false);
        self.update();
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut new: State = load_state(self.name(), bytes)?;
        new.config &= ENABLE | LEGACY;
        new.timers.iter_mut().for_each(|t| t.config = t.config & WRITABLE | FIXED);
        for line in self.pins.iter().chain(&self.legacy) {
            line.import_level(false);
        }
        self.state = new;
        for pin in self.state.driven.into_iter().flatten() {
            if let Some(line) = self.line(pin) {
                line.import_level(true);
            }
        }
        // Soon, for whatever is due; nothing moves here.
        self.timer.set(self.clock.now());
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct GateState {
    legacy: bool,
    /// PIT, RTC, HPET timer 0, HPET timer 1.
    inputs: [bool; 4],
}

struct GateInner {
    state: Mutex<GateState>,
    irq0: IrqLine,
    irq8: IrqLine,
}

/// Who drives IRQ 0 and IRQ 8: PIT and RTC, or the first two HPET timers. Clones are the same gate.
#[derive(Clone)]
pub struct LegacyGate(Arc<GateInner>);

impl LegacyGate {
    /// A gate in front of `irq0` and `irq8` that lets PIT and RTC through.
    pub fn new(irq0: IrqLine, irq8: IrqLine) -> Self {
        Self(Arc::new(GateInner { state: Mutex::default(), irq0, irq8 }))
    }

    /// The PIT's line.
    pub fn pit_input(&self) -> IrqLine {
        self.input("pit", 0)
    }

    /// The RTC's line.
    pub fn rtc_input(&self) -> IrqLine {
        self.input("rtc", 1)
    }

    fn input(&self, name: &str, pin: u32) -> IrqLine {
        IrqLine::new(name, Arc::new(self.clone()), pin)
    }

    fn select(&self, legacy: bool) {
        let mut s = lock(&self.0.state);
        s.legacy = legacy;
        self.drive(&s);
    }

    fn drive(&self, s: &MutexGuard<'_, GateState>) {
        let [pit, rtc, t0, t1] = s.inputs;
        self.0.irq0.set(if s.legacy { t0 } else { pit });
        self.0.irq8.set(if s.legacy { t1 } else { rtc });
    }
}

impl LineSink for LegacyGate {
    fn set_level(&self, pin: u32, high: bool) {
        let mut s = lock(&self.0.state);
        if let Some(input) = s.inputs.get_mut(pin as usize) {
            *input = high;
        }
        self.drive(&s);
    }
}

impl Device for LegacyGate {
    fn name(&self) -> &str {
        "legacy-gate"
    }

    /// The inputs follow their devices, which drop them in their own reset.
    fn reset(&mut self) {
        self.select(false);
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &*lock(&self.0.state))
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let new: GateState = load_state(self.name(), bytes)?;
        let [pit, rtc, t0, t1] = new.inputs;
        self.0.irq0.import_level(if new.legacy { t0 } else { pit });
        self.0.irq8.import_level(if new.legacy { t1 } else { rtc });
        *lock(&self.0.state) = new;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_core::RecordedLine;

    #[derive(Default)]
    struct Seen {
        edges: Mutex<Vec<u32>>,
        levels: Mutex<Vec<(u32, bool)>>,
        messages: Mutex<Vec<(u64, u32)>>,
    }
    impl LineSink for Seen {
        fn set_level(&self, pin: u32, high: bool) {
            self.levels.lock().unwrap().push((pin, high));
            if high {
                self.edges.lock().unwrap().push(pin);
            }
        }
    }
    impl MsiSink for Seen {
        fn signal(&self, address: u64, data: u32) {
            self.messages.lock().unwrap().push((address, data));
        }
    }

    struct Bench {
        clock: Clock,
        hpet: Shared<Hpet>,
        seen: Arc<Seen>,
        gate: LegacyGate,
        irq0: Arc<RecordedLine>,
        irq8: Arc<RecordedLine>,
    }

    impl Bench {
        fn new() -> Self {
            let clock = Clock::manual();
            clock.advance(12_345);
            let (irq0, l0) = RecordedLine::line();
            let (irq8, l8) = RecordedLine::line();
            let gate = LegacyGate::new(l0, l8);
            let seen = Arc::new(Seen::default());
            let hpet = Hpet::new(&clock, seen.clone(), seen.clone(), &gate);
            Self { clock, hpet, seen, gate, irq0, irq8 }
        }
        fn rd(&self, at: u64) -> u64 {
            let mut d = [0; 8];
            lock(&self.hpet).mmio_read(at, &mut d);
            u64::from_le_bytes(d)
        }
        fn wr(&self, at: u64, v: u64) {
            lock(&self.hpet).mmio_write(at, &v.to_le_bytes());
        }
        fn wr32(&self, at: u64, v: u32) {
            lock(&self.hpet).mmio_write(at, &v.to_le_bytes());
        }
        fn edges(&self) -> Vec<u32> {
            std::mem::take(&mut *self.seen.edges.lock().unwrap())
        }
    }

    #[test]
    fn registers_and_counter() {
        let b = Bench::new();
        assert_eq!(b.rd(0), 0x0098_9680_8086_A201);
        assert_eq!(b.rd(0x100), 0x00F0_0104_0000_8030);
        let mut d = [0; 4];
        lock(&b.hpet).mmio_read(4, &mut d);
        assert_eq!(u32::from_le_bytes(d), 10_000_000);
        b.clock.advance(1000);
        assert_eq!(b.rd(0xF0), 0);
        b.wr(0xF0, 5);
        b.wr(0x10, 1);
        b.clock.advance(1000);
        assert_eq!(b.rd(0xF0), 105);
        b.wr(0x10, 0);
        b.clock.advance(1000);
        assert_eq!(b.rd(0xF0), 105);
    }

    #[test]
    fn one_shot_edge_on_a_routed_pin() {
        let b = Bench::new();
        b.wr(0x10, 1);
        b.wr(0x140, 20 << 9 | INT_ENABLE);
        b.wr(0x148, 1000);
        b.clock.advance(9_990);
        assert_eq!(b.edges(), [0u32; 0]);
        b.clock.advance(20);
        assert_eq!(b.edges(), [20]);
        b.clock.advance(1 << 40);
        assert_eq!(b.edges(), [0u32; 0]);
        b.wr(0x148, 3);
        b.clock.advance(MIN_INTERVAL);
        assert_eq!(b.edges(), [20], "a comparator in the past fires at once");
    }

    #[test]
    fn periodic_with_value_set_as_linux_does() {
        let b = Bench::new();
        b.wr32(0x100, (2 << 9 | MODE_32 | VALUE_SET | PERIODIC | INT_ENABLE) as u32);
        b.wr32(0x108, 500_000);
        b.wr32(0x108, 100_000);
        b.wr32(0x10, 1);
        b.clock.advance(4_999_000);
        assert_eq!(b.edges(), [0u32; 0]);
        b.clock.advance(10_000_000);
        assert_eq!(b.edges().len(), 10);
        assert_eq!(b.rd(0x108), 1_500_000);
    }

    #[test]
    fn legacy_replacement_takes_the_lines_over() {
        let b = Bench::new();
        let (pit, rtc) = (b.gate.pit_input(), b.gate.rtc_input());
        pit.pulse();
        rtc.set(true);
        assert_eq!((b.irq0.edges(), b.irq8.is_high()), (1, true));
        b.wr(0x100, INT_ENABLE);
        b.wr(0x108, 100);
        b.wr(0x120, INT_ENABLE);
        b.wr(0x128, 200);
        b.wr(0x10, 3);
        assert!(!b.irq8.is_high());
        pit.pulse();
        assert_eq!(b.irq0.edges(), 1);
        b.clock.advance(5_000);
        assert_eq!((b.irq0.edges(), b.irq8.edges()), (2, 2));
        b.wr(0x10, 1);
        assert!(b.irq8.is_high(), "the clock's level is seen again");
    }

    #[test]
    fn level_interrupts_stay_until_cleared() {
        let b = Bench::new();
        b.wr(0x10, 1);
        b.wr(0x100, 21 << 9 | INT_ENABLE | INT_LEVEL);
        b.wr(0x108, 100);
        b.clock.advance(2_000);
        assert_eq!(b.rd(0x20), 1);
        b.wr(0x20, 1);
        assert_eq!(b.rd(0x20), 0);
        assert_eq!(*b.seen.levels.lock().unwrap(), [(21, true), (21, false)]);
    }

    #[test]
    fn messages() {
        let b = Bench::new();
        b.wr(0x10, 1);
        b.wr(0x110, 0xFEE0_1000_0000_4033);
        b.wr(0x100, INT_ENABLE | FSB_ENABLE);
        b.wr(0x108, 100);
        b.clock.advance(2_000);
        assert_eq!(*b.seen.messages.lock().unwrap(), [(0xFEE0_1000, 0x4033)]);
    }

    #[test]
    fn a_tiny_period_is_bounded() {
        let b = Bench::new();
        b.wr(0x100, 2 << 9 | VALUE_SET | PERIODIC | INT_ENABLE);
        b.wr(0x108, 1);
        b.wr(0x10, 1);
        b.clock.advance(1_000_000);
        assert!(b.edges().len() <= 1 + (1_000_000 / MIN_INTERVAL) as usize);
    }

    #[test]
    fn save_reset_restore() {
        let b = Bench::new();
        b.wr(0x100, 2 << 9 | VALUE_SET | PERIODIC | INT_ENABLE);
        b.wr(0x108, 100_000);
        b.wr(0x10, 3);
        b.gate.pit_input().set(true);
        crate::test_util::round_trip(&mut *lock(&b.hpet));
        let mut gate = b.gate.clone();
        gate.select(true);
        crate::test_util::round_trip(&mut gate);
        let edges = b.irq0.edges();
        b.clock.advance(10_000_000);
        assert_eq!(b.irq0.edges() - edges, 10);
    }
}
