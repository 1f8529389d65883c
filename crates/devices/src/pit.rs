//! Intel 8254 programmable interval timer, and the speaker and NMI status port 0x61 around it.
//!
//! Intel 8254 data sheet (231164-005): modes 0 to 5, counter latch, read-back, BCD. Port 0x61: Intel 82371SB data
//! sheet, 2.5.5 (NSC).
//!
//! Nothing counts here: a counter's value and output follow from the virtual time since it was started. Left out on
//! purpose: the one-clock low pulse of modes 2, 4 and 5 has no width (channel 0's line makes an edge), a count
//! written to a running mode 3 counter is taken at the end of the whole period, and channel 0's edges are at least
//! [`MIN_INTERVAL`] ns apart so that a silly count cannot keep the host busy.

use std::sync::{Arc, Mutex, Weak};

use serde::{Deserialize, Serialize};
use vm_core::{Clock, Device, IrqLine, PortIo, Shared, StateError, Timer, load_state, lock, save_state, shared};

/// The input clock in Hz.
pub const FREQUENCY: u64 = 1_193_182;
/// The least time between two edges on channel 0's line.
pub const MIN_INTERVAL: u64 = 10_000;
/// The refresh request toggles at 15.085 us (ISA).
const REFRESH_NS: u64 = 15_085;

fn ticks_at(ns: u64) -> u64 {
    (u128::from(ns) * u128::from(FREQUENCY) / 1_000_000_000) as u64
}

/// The first nanosecond at which `ticks` have passed.
fn ns_of(ticks: u64) -> u64 {
    (u128::from(ticks) * 1_000_000_000).div_ceil(u128::from(FREQUENCY)) as u64
}

fn to_bcd(v: u64) -> u16 {
    let v = v % 10_000;
    ((v % 10) | ((v / 10 % 10) << 4) | ((v / 100 % 10) << 8) | ((v / 1000) << 12)) as u16
}

fn from_bcd(v: u16) -> u64 {
    let d = |s: u32| u64::from(v >> s & 0xF);
    d(0) + 10 * d(4) + 100 * d(8) + 1000 * d(12)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Channel {
    mode: u8,
    bcd: bool,
    /// Access mode: 1 low byte, 2 high byte, 3 low then high.
    rw: u8,
    gate: bool,
    /// The count in force (1 to 0x10000).
    count: u64,
    /// A count written while a period of mode 2 or 3 runs, and the tick it is taken at.
    next: Option<(u64, u64)>,
    /// Ticks when counting began; `None` while there is nothing to count.
    start: Option<u64>,
    /// Ticks counted before the gate stopped mode 0 or 4.
    held: Option<u64>,
    /// A count has been written since the control word.
    written: bool,
    low_byte: Option<u8>,
    read_high: bool,
    latched: Option<u16>,
    status: Option<u8>,
}

impl Channel {
    fn at_reset(gate: bool) -> Self {
        Self {
            mode: 0,
            bcd: false,
            rw: 3,
            gate,
            count: 0x10000,
            next: None,
            start: None,
            held: None,
            written: false,
            low_byte: None,
            read_high: false,
            latched: None,
            status: None,
        }
    }

    /// Takes a count that was waiting for the end of a period.
    fn settle(&mut self, now: u64) {
        if let Some((count, at)) = self.next
            && now >= at
        {
            self.count = count;
            self.start = self.start.map(|_| at);
            self.next = None;
        }
    }

    fn elapsed(&self, now: u64) -> Option<u64> {
        self.held.or_else(|| self.start.map(|s| now.saturating_sub(s)))
    }

    fn out(&self, now: u64) -> bool {
        let elapsed = self.elapsed(now);
        match (self.mode, elapsed) {
            (0, None) => false,
            (0, Some(d)) => d >= self.count,
            (1, Some(d)) => d >= self.count,
            (3, Some(d)) if self.gate => d % self.count < self.count.div_ceil(2),
            _ => true,
        }
    }

    fn value(&self, now: u64) -> u16 {
        let modulus = if self.bcd { 10_000 } else { 0x10000 };
        let d = self.elapsed(now).unwrap_or(0);
        let n = self.count;
        let v = match self.mode {
            2 => n - d % n,
            3 => {
                let (p, half) = (d % n, n.div_ceil(2));
                let into = if p < half { p } else { p - half };
                (n & !1).saturating_sub(2 * into)
            }
            _ => (n + modulus - d % modulus) % modulus,
        } % modulus;
        if self.bcd { to_bcd(v) } else { v as u16 }
    }

    /// The tick of the next change of the output, if one is to come.
    fn next_event(&self, now: u64) -> Option<u64> {
        let start = self.start.filter(|_| self.held.is_none())?;
        let d = now.saturating_sub(start);
        let at = match self.mode {
            2 => (d / self.count + 1).saturating_mul(self.count),
            3 => {
                let (p, half) = (d % self.count, self.count.div_ceil(2));
                (d - p).saturating_add(if p < half && half < self.count { half } else { self.count })
            }
            _ if d < self.count => self.count,
            _ => return None,
        };
        Some(start.saturating_add(at))
    }

    fn control(&mut self, v: u8) {
        let mode = v >> 1 & 7;
        *self = Self {
            mode: if mode > 5 { mode & 3 } else { mode },
            bcd: v & 1 != 0,
            rw: v >> 4 & 3,
            ..Self::at_reset(self.gate)
        };
    }

    fn latch(&mut self, now: u64) {
        if self.latched.is_none() {
            self.latched = Some(self.value(now));
        }
    }

    fn latch_status(&mut self, now: u64) {
        if self.status.is_none() {
            let null = !self.written || self.next.is_some();
            self.status = Some(
                u8::from(self.out(now)) << 7 | u8::from(null) << 6 | self.rw << 4 | self.mode << 1 | u8::from(self.bcd),
            );
        }
    }

    fn read(&mut self, now: u64) -> u8 {
        if let Some(s) = self.status.take() {
            return s;
        }
        let [low, high] = self.latched.unwrap_or_else(|| self.value(now)).to_le_bytes();
        let take_high = self.rw == 2 || (self.rw == 3 && self.read_high);
        if self.rw == 3 {
            self.read_high = !self.read_high;
        }
        if self.rw != 3 || take_high {
            self.latched = None;
        }
        if take_high { high } else { low }
    }

    fn write(&mut self, now: u64, v: u8) {
        let raw = match (self.rw, self.low_byte.take()) {
            (1, _) => u16::from(v),
            (2, _) => u16::from(v) << 8,
            (_, None) => {
                self.low_byte = Some(v);
                if self.mode == 0 {
                    // The first byte stops the counter and lowers the output.
                    self.start = None;
                    self.held = None;
                }
                return;
            }
            (_, Some(low)) => u16::from_le_bytes([low, v]),
        };
        let count = match (self.bcd, raw) {
            (true, 0) => 10_000,
            (false, 0) => 0x10000,
            (true, raw) => from_bcd(raw).max(1),
            (false, raw) => u64::from(raw),
        };
        self.written = true;
        match (self.mode, self.start) {
            (2 | 3, Some(start)) if self.gate => {
                let d = now.saturating_sub(start);
                let end = (d / self.count + 1).saturating_mul(self.count);
                self.next = Some((count, start.saturating_add(end)));
            }
            (1 | 5, Some(_)) => self.next = Some((count, u64::MAX)),
            (0 | 4, _) => {
                self.count = count;
                self.start = Some(now);
                self.held = (!self.gate).then_some(0);
            }
            (2 | 3, _) => {
                self.count = count;
                self.start = self.gate.then_some(now);
            }
            _ => self.count = count,
        }
    }

    fn set_gate(&mut self, now: u64, high: bool) {
        let rising = high && !self.gate;
        let falling = !high && self.gate;
        self.settle(now);
        self.gate = high;
        match self.mode {
            0 | 4 if falling => self.held = self.elapsed(now),
            0 | 4 if rising => {
                if let Some(d) = self.held.take() {
                    self.start = Some(now.saturating_sub(d));
                }
            }
            1 | 5 if rising && self.written => {
                if let Some((count, _)) = self.next.take() {
                    self.count = count;
                }
                self.start = Some(now);
            }
            2 | 3 if falling => self.start = None,
            2 | 3 if rising && self.written => {
                if let Some((count, _)) = self.next.take() {
                    self.count = count;
                }
                self.start = Some(now);
            }
            _ => {}
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    channels: [Channel; 3],
    /// Bits 0 to 3 of port 0x61 as written.
    nsc: u8,
    /// Tick of channel 0's next output change, as the timer was set for.
    event: Option<u64>,
    /// Level of channel 0's line.
    irq: bool,
}

impl State {
    fn at_reset() -> Self {
        Self {
            channels: [Channel::at_reset(true), Channel::at_reset(true), Channel::at_reset(false)],
            nsc: 0,
            event: None,
            irq: false,
        }
    }
}

/// The timer chip. Ports, byte wide: 0x40-0x43; and port 0x61 through [`Pit::speaker_port`].
pub struct Pit {
    state: State,
    clock: Clock,
    irq0: IrqLine,
    timer: Timer,
}

impl Pit {
    /// A chip on `clock` whose channel 0 drives `irq0`.
    pub fn new(clock: &Clock, irq0: IrqLine) -> Shared<Self> {
        Arc::new_cyclic(|weak: &Weak<Mutex<Self>>| {
            let weak = weak.clone();
            let timer = clock.timer("pit", move || {
                if let Some(pit) = weak.upgrade() {
                    lock(&pit).update();
                }
            });
            Mutex::new(Self { state: State::at_reset(), clock: clock.clone(), irq0, timer })
        })
    }

    /// Port 0x61 (one port, byte wide): channel 2's gate and output, speaker, refresh toggle.
    pub fn speaker_port(pit: &Shared<Self>) -> Shared<SpeakerPort> {
        shared(SpeakerPort { pit: pit.clone() })
    }

    /// The speaker's frequency in Hz while it sounds, for an audio back end.
    pub fn tone(&self) -> Option<u32> {
        let c = &self.state.channels[2];
        let on = self.state.nsc & 3 == 3 && c.mode == 3 && c.start.is_some();
        on.then(|| u32::try_from(FREQUENCY / c.count).unwrap_or(0))
    }

    fn now(&self) -> u64 {
        ticks_at(self.clock.now())
    }

    /// Brings channel 0's line and timer up to now.
    fn update(&mut self) {
        let now = self.now();
        let s = &mut self.state;
        for c in &mut s.channels {
            c.settle(now);
        }
        let c = &s.channels[0];
        let level = c.out(now);
        if s.event.is_some_and(|at| now >= at) && level {
            // Whatever was missed meanwhile is one edge.
            self.irq0.set(false);
        }
        self.irq0.set(level);
        s.irq = level;
        let next = c.next_event(now);
        s.event = next;
        match next {
            Some(at) => self.timer.set(ns_of(at).max(self.clock.now().saturating_add(MIN_INTERVAL))),
            None => self.timer.cancel(),
        }
    }

    fn control(&mut self, v: u8) {
        let now = self.now();
        if v >> 6 == 3 {
            for (i, c) in self.state.channels.iter_mut().enumerate() {
                if v & (2 << i) != 0 {
                    if v & 0x20 == 0 {
                        c.latch(now);
                    }
                    if v & 0x10 == 0 {
                        c.latch_status(now);
                    }
                }
            }
            return;
        }
        let index = usize::from(v >> 6);
        let Some(c) = self.state.channels.get_mut(index) else { return };
        if v & 0x30 == 0 {
            c.latch(now);
            return;
        }
        c.control(v);
        if index == 0 {
            self.state.event = None;
            self.update();
        }
    }
}

impl PortIo for Pit {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let now = self.now();
        let value = match self.state.channels.get_mut(usize::from(offset)) {
            Some(c) => {
                c.settle(now);
                c.read(now)
            }
            // The control register cannot be read.
            None => 0,
        };
        data.fill(value);
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        let Some(&v) = data.first() else { return };
        let now = self.now();
        match self.state.channels.get_mut(usize::from(offset)) {
            Some(c) => {
                c.settle(now);
                c.write(now, v);
                if offset == 0 {
                    self.state.event = None;
                    self.update();
                }
            }
            None => self.control(v),
        }
    }
}

impl Device for Pit {
    fn name(&self) -> &str {
        "pit"
    }

    fn reset(&mut self) {
        self.state = State::at_reset();
        self.timer.cancel();
        self.irq0.set(false);
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let new: State = load_state(self.name(), bytes)?;
        let bad = |c: &Channel| {
            let range = 1..=0x10000;
            !range.contains(&c.count)
                || c.next.is_some_and(|n| !range.contains(&n.0))
                || c.mode > 5
                || !(1..=3).contains(&c.rw)
        };
        if new.channels.iter().any(bad) {
            return Err(StateError::Mismatch { device: "pit".into(), reason: "a counter is out of range".into() });
        }
        self.irq0.import_level(new.irq);
        match new.event {
            Some(at) => self.timer.set(ns_of(at)),
            None => self.timer.cancel(),
        }
        self.state = new;
        Ok(())
    }
}

/// Port 0x61, the NMI status and control register; see [`Pit::speaker_port`].
pub struct SpeakerPort {
    pit: Shared<Pit>,
}

impl PortIo for SpeakerPort {
    fn port_read(&mut self, _offset: u16, data: &mut [u8]) {
        let mut pit = lock(&self.pit);
        let ns = pit.clock.now();
        let ticks = ticks_at(ns);
        pit.state.channels[2].settle(ticks);
        let refresh = (ns / REFRESH_NS) as u8 & 1;
        let out2 = u8::from(pit.state.channels[2].out(ticks));
        data.fill(pit.state.nsc | refresh << 4 | out2 << 5);
    }

    fn port_write(&mut self, _offset: u16, data: &[u8]) {
        let Some(&v) = data.first() else { return };
        let mut pit = lock(&self.pit);
        let now = pit.now();
        pit.state.nsc = v & 0x0F;
        pit.state.channels[2].set_gate(now, v & 1 != 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_core::RecordedLine;

    struct Bench {
        clock: Clock,
        pit: Shared<Pit>,
        irq: Arc<RecordedLine>,
        speaker: Shared<SpeakerPort>,
    }

    impl Bench {
        fn new() -> Self {
            let clock = Clock::manual();
            let (irq, line) = RecordedLine::line();
            let pit = Pit::new(&clock, line);
            let speaker = Pit::speaker_port(&pit);
            Self { clock, pit, irq, speaker }
        }
        fn out(&self, port: u16, v: u8) {
            lock(&self.pit).port_write(port, &[v]);
        }
        fn inp(&self, port: u16) -> u8 {
            let mut d = [0];
            lock(&self.pit).port_read(port, &mut d);
            d[0]
        }
        fn word(&self, port: u16) -> u16 {
            u16::from_le_bytes([self.inp(port), self.inp(port)])
        }
        fn nsc(&self) -> u8 {
            let mut d = [0];
            lock(&self.speaker).port_read(0, &mut d);
            d[0]
        }
        /// To the start of tick `t` of virtual time.
        fn to_tick(&self, t: u64) {
            self.clock.advance(ns_of(t) - self.clock.now());
        }
    }

    #[test]
    fn mode_2_ticks_at_its_rate() {
        let b = Bench::new();
        b.out(3, 0x34);
        assert!(b.irq.is_high(), "OUT is high after the control word");
        b.out(0, 0x9C);
        b.out(0, 0x2E);
        let edges = b.irq.edges();
        b.clock.advance(1_000_000_000);
        assert_eq!(b.irq.edges() - edges, FREQUENCY / 0x2E9C);
    }

    #[test]
    fn mode_3_is_a_square_wave_with_a_readable_count() {
        let b = Bench::new();
        b.out(3, 0x36);
        b.out(0, 0);
        b.out(0, 0);
        b.clock.advance(1_000_000_000);
        assert_eq!(b.irq.edges(), 1 + 18);
        let b = Bench::new();
        b.out(3, 0x36);
        b.out(0, 100);
        b.out(0, 0);
        b.to_tick(10);
        assert_eq!(b.word(0), 80);
        b.to_tick(60);
        assert!(!b.irq.is_high());
        assert_eq!(b.word(0), 80);
    }

    #[test]
    fn mode_0_goes_high_at_the_end_and_wraps() {
        let b = Bench::new();
        b.out(3, 0x30);
        assert!(!b.irq.is_high());
        b.out(0, 0xE8);
        b.out(0, 0x03);
        b.to_tick(400);
        b.out(3, 0x00);
        b.to_tick(500);
        assert_eq!(b.word(0), 600, "latched");
        assert_eq!(b.word(0), 500, "running");
        assert!(!b.irq.is_high());
        b.to_tick(1000);
        assert!(b.irq.is_high());
        b.to_tick(1001);
        assert_eq!(b.word(0), 0xFFFF);
    }

    #[test]
    fn channel_2_gate_and_port_61() {
        let b = Bench::new();
        b.out(3, 0xB0);
        b.out(2, 0x64);
        b.out(2, 0x00);
        b.to_tick(200);
        assert_eq!(b.nsc() & 0x20, 0, "gate low: not counting");
        lock(&b.speaker).port_write(0, &[1]);
        b.to_tick(250);
        lock(&b.speaker).port_write(0, &[0]);
        b.to_tick(400);
        assert_eq!(b.word(2), 50);
        lock(&b.speaker).port_write(0, &[1]);
        b.to_tick(449);
        assert_eq!(b.nsc() & 0x21, 0x01);
        b.to_tick(451);
        assert_eq!(b.nsc() & 0x21, 0x21);
        let before = b.nsc() & 0x10;
        b.clock.advance(REFRESH_NS);
        assert_ne!(b.nsc() & 0x10, before);
    }

    #[test]
    fn one_shot_modes_wait_for_the_gate() {
        let b = Bench::new();
        b.out(3, 0xB2);
        b.out(2, 100);
        b.out(2, 0);
        assert_eq!(b.nsc() & 0x20, 0x20);
        lock(&b.speaker).port_write(0, &[1]);
        assert_eq!(b.nsc() & 0x20, 0);
        b.to_tick(60);
        lock(&b.speaker).port_write(0, &[0]);
        lock(&b.speaker).port_write(0, &[1]);
        b.to_tick(150);
        assert_eq!(b.nsc() & 0x20, 0, "triggered again at 60");
        b.to_tick(161);
        assert_eq!(b.nsc() & 0x20, 0x20);
    }

    #[test]
    fn read_back_gives_status_then_count() {
        let b = Bench::new();
        b.out(3, 0x34);
        b.out(3, 0xE2);
        assert_eq!(b.inp(0), 0xC0 | 0x34, "OUT, null count");
        b.out(0, 0x10);
        b.out(0, 0x20);
        b.out(3, 0xC2);
        assert_eq!(b.inp(0), 0x80 | 0x34);
        assert_eq!(b.word(0), 0x2010);
    }

    #[test]
    fn bcd_and_single_byte_access() {
        let b = Bench::new();
        b.out(3, 0x31);
        b.out(0, 0x00);
        b.out(0, 0x10);
        b.to_tick(1);
        assert_eq!(b.word(0), 0x0999);
        b.out(3, 0x14);
        b.out(0, 50);
        b.to_tick(11);
        assert_eq!(b.inp(0), 40);
        b.out(3, 0x24);
        b.out(0, 0x02);
        assert_eq!(b.inp(0), 2);
    }

    #[test]
    fn a_new_count_waits_for_the_period_and_a_tiny_one_is_bounded() {
        let b = Bench::new();
        b.out(3, 0x34);
        b.out(0, 100);
        b.out(0, 0);
        b.to_tick(30);
        b.out(0, 200);
        b.out(0, 0);
        b.to_tick(99);
        assert_eq!(b.word(0), 1);
        b.to_tick(101);
        assert_eq!(b.word(0), 199);
        b.out(3, 0x14);
        b.out(0, 1);
        let edges = b.irq.edges();
        b.clock.advance(1_000_000);
        assert!(b.irq.edges() - edges <= 1_000_000 / MIN_INTERVAL);
    }

    #[test]
    fn save_reset_restore() {
        let b = Bench::new();
        b.out(3, 0x34);
        b.out(0, 0x9C);
        b.out(0, 0x2E);
        b.clock.advance(3_000_000);
        crate::test_util::round_trip(&mut *lock(&b.pit));
        let edges = b.irq.edges();
        b.clock.advance(100_000_000);
        assert!(b.irq.edges() - edges >= 9);
    }
}
