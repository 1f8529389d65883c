//! The TCO watchdog of the ICH9: 32 ports from PMBASE + 60h.
//!
//! Intel ICH9 data sheet, section 13.9 (registers) and 5.15 (operation). The timer counts ticks of 0.6 s down from TCO_TMR;
//! the first time it gets to zero it sets TIMEOUT and starts again, the second time, unless TCO_RLD was written between, it
//! sets SECOND_TO_STS and resets the machine, unless the NO REBOOT bit of GCS says not to ([`super::Rcba`]). SECOND_TO_STS
//! outlives that reset (it is in the resume well), so that whoever starts next can tell.
//!
//! After a reset the timer is halted, as a board's firmware leaves it. Left out, with system management mode: the SMIs of
//! the first time-out and of TCO_DAT_IN; the interrupt of TCO_DAT_OUT, NMIs by NMI_NOW, intrusion and the SMLink messages,
//! whose registers hold what is written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use serde::{Deserialize, Serialize};
use vm_core::{
    Clock, Device, MachineRequest, PortIo, RequestSink, Shared, StateError, Timer, load_state, lock, save_state,
};

/// Where the ports are in the power management block.
pub(super) const TCO_OFFSET: u16 = 0x60;
const LEN: usize = 0x20;
/// Nanoseconds.
const TICK: u64 = 600_000_000;

const RELOAD: usize = 0x00;
const DATA_IN: usize = 0x02;
const DATA_OUT: usize = 0x03;
const STATUS_1: usize = 0x04;
const STATUS_2: usize = 0x06;
const CONTROL_1: usize = 0x08;
const CONTROL_2: usize = 0x0A;
const IRQ_GEN: usize = 0x10;
const TIMER: usize = 0x12;

/// TCO1_STS.
const SW_SMI: u16 = 1 << 1;
const INT: u16 = 1 << 2;
const TIMEOUT: u16 = 1 << 3;
const STATUS_1_CLEARS: u16 = 0x038F;
/// TCO2_STS.
const SECOND: u16 = 1 << 1;
const STATUS_2_CLEARS: u16 = 0x0007;
/// TCO1_CNT.
const HALT: u16 = 1 << 11;
const LOCK: u16 = 1 << 12;
const CONTROL_1_WRITABLE: u16 = LOCK | HALT | 1 << 9;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    bytes: Vec<u8>,
    /// When the count gets to zero; what is left of it while halted.
    expires: u64,
    left: u64,
    /// It got there since the last reload.
    expired: bool,
}

impl State {
    fn at_reset() -> Self {
        let mut s = Self { bytes: vec![0; LEN], expires: 0, left: 4 * TICK, expired: false };
        s.set(CONTROL_1, HALT);
        s.set(CONTROL_2, 0x0008);
        s.set(IRQ_GEN, 0x0003);
        s.set(TIMER, 0x0004);
        s
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn set(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn halted(&self) -> bool {
        self.word(CONTROL_1) & HALT != 0
    }

    fn period(&self) -> u64 {
        u64::from(self.word(TIMER)) * TICK
    }
}

/// See the module's documentation. It is its own port block.
pub struct Tco {
    state: State,
    clock: Clock,
    timer: Timer,
    no_reboot: Arc<AtomicBool>,
    requests: Arc<dyn RequestSink>,
}

impl Tco {
    /// A watchdog that `no_reboot` keeps from resetting the machine.
    pub fn new(clock: &Clock, no_reboot: Arc<AtomicBool>, requests: Arc<dyn RequestSink>) -> Shared<Self> {
        Arc::new_cyclic(|me: &Weak<Mutex<Self>>| {
            let me = me.clone();
            let timer = clock.timer("tco", move || {
                if let Some(tco) = me.upgrade() {
                    lock(&tco).look();
                }
            });
            Mutex::new(Self { state: State::at_reset(), clock: clock.clone(), timer, no_reboot, requests })
        })
    }

    /// Starts to count from `left`.
    fn count(&mut self, left: u64) {
        self.state.left = left;
        if self.state.halted() {
            self.timer.cancel();
        } else {
            self.state.expires = self.clock.now().saturating_add(left);
            self.timer.set(self.state.expires);
        }
    }

    fn left(&self) -> u64 {
        match self.state.halted() {
            true => self.state.left,
            false => self.state.expires.saturating_sub(self.clock.now()),
        }
    }

    /// The timer's time may have come.
    fn look(&mut self) {
        if self.state.halted() || self.clock.now() < self.state.expires {
            return;
        }
        if std::mem::replace(&mut self.state.expired, true) {
            self.state.set(STATUS_2, self.state.word(STATUS_2) | SECOND);
            if !self.no_reboot.load(Ordering::SeqCst) {
                self.requests.request(MachineRequest::Reset("the TCO watchdog"));
            }
        }
        self.state.set(STATUS_1, self.state.word(STATUS_1) | TIMEOUT);
        self.count(self.state.period());
    }

    /// A register with some of its bytes written: `value` where `mask` is, the others as they are.
    fn write_word(&mut self, at: usize, value: u16, mask: u16) {
        let old = self.state.word(at);
        let merged = old & !mask | value & mask;
        match at {
            RELOAD => {
                self.state.expired = false;
                self.count(self.state.period());
            }
            DATA_IN => {
                self.state.set(at, merged);
                let sent = if mask & 0xFF != 0 { SW_SMI } else { 0 } | if mask >> 8 != 0 { INT } else { 0 };
                self.state.set(STATUS_1, self.state.word(STATUS_1) | sent);
            }
            STATUS_1 => self.state.set(at, old & !(value & mask & STATUS_1_CLEARS)),
            STATUS_2 => self.state.set(at, old & !(value & mask & STATUS_2_CLEARS)),
            CONTROL_1 => {
                let left = self.left();
                self.state.set(at, merged & CONTROL_1_WRITABLE | old & LOCK);
                self.count(left);
            }
            CONTROL_2 => self.state.set(at, merged & 0x003E),
            IRQ_GEN => self.state.set(at, merged & 0x0003),
            // 0 and 1 are ignored.
            TIMER if merged & 0x03FF > 1 => self.state.set(at, merged & 0x03FF),
            0x0C => self.state.set(at, merged), // messages
            0x0E => self.state.set(at, merged & 0x00FF),
            _ => {}
        }
    }
}

/// TCO_DAT_OUT is the upper half of the word that TCO_DAT_IN begins.
const _: () = assert!(DATA_OUT == DATA_IN + 1);

impl PortIo for Tco {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let ticks = self.left().div_ceil(TICK).min(0x3FF) as u16;
        self.state.set(RELOAD, ticks);
        for (i, b) in data.iter_mut().enumerate() {
            *b = self.state.bytes.get(usize::from(offset) + i).copied().unwrap_or(0);
        }
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        let first = usize::from(offset);
        let byte = |at: usize| at.checked_sub(first).and_then(|i| data.get(i)).copied();
        for at in (0..LEN).step_by(2) {
            let (low, high) = (byte(at), byte(at + 1));
            if low.is_some() || high.is_some() {
                let value = u16::from_le_bytes([low.unwrap_or(0), high.unwrap_or(0)]);
                let mask = low.map_or(0, |_| 0x00FF) | high.map_or(0, |_| 0xFF00);
                self.write_word(at, value, mask);
            }
        }
    }
}

impl Device for Tco {
    fn name(&self) -> &str {
        "ich9-tco"
    }

    fn reset(&mut self) {
        let second = self.state.word(STATUS_2) & SECOND;
        self.state = State::at_reset();
        self.state.set(STATUS_2, second);
        self.timer.cancel();
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let state: State = load_state(self.name(), bytes)?;
        let bad = |reason: &str| StateError::Mismatch { device: "ich9-tco".into(), reason: reason.into() };
        if state.bytes.len() != LEN {
            return Err(bad("wrong length"));
        }
        if !(2..=0x3FF).contains(&state.word(TIMER)) {
            return Err(bad("an impossible period"));
        }
        self.state = state;
        if self.state.halted() {
            self.timer.cancel()
        } else {
            self.timer.set(self.state.expires)
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::{Requests, round_trip};

    struct Bench {
        clock: Clock,
        tco: Shared<Tco>,
        no_reboot: Arc<AtomicBool>,
        requests: Arc<Requests>,
    }

    fn bench() -> Bench {
        let (clock, requests, no_reboot) = (Clock::manual(), Arc::new(Requests::default()), Arc::default());
        let tco = Tco::new(&clock, Arc::clone(&no_reboot), requests.clone());
        Bench { clock, tco, no_reboot, requests }
    }

    impl Bench {
        fn word(&self, offset: u16) -> u16 {
            let mut x = [0; 2];
            lock(&self.tco).port_read(offset, &mut x);
            u16::from_le_bytes(x)
        }

        fn write(&self, offset: u16, value: u16) {
            lock(&self.tco).port_write(offset, &value.to_le_bytes());
        }

        /// Ten ticks, running, as a driver starts it.
        fn start(&self) {
            self.write(0x12, 10);
            self.write(0x00, 1);
            self.write(0x08, 0);
        }
    }

    #[test]
    fn registers_at_reset_and_what_can_be_written() {
        let b = bench();
        assert_eq!([0x00, 0x04, 0x06, 0x08, 0x0A, 0x10, 0x12].map(|o| b.word(o)), [4, 0, 0, 0x0800, 8, 3, 4]);
        b.write(0x12, 1);
        assert_eq!(b.word(0x12), 4, "ignored");
        b.write(0x12, 0xFFFF);
        assert_eq!(b.word(0x12), 0x03FF);
        b.write(0x0C, 0x1234);
        b.write(0x0E, 0x5678);
        assert_eq!((b.word(0x0C), b.word(0x0E)), (0x1234, 0x0078));
        b.write(0x08, 0x1000);
        b.write(0x08, 0x0800);
        assert_eq!(b.word(0x08), 0x1800, "the lock stays");
        lock(&b.tco).port_write(0x03, &[7]);
        assert_eq!((b.word(0x02), b.word(0x04)), (0x0700, INT));
        b.write(0x04, 0xFFFF);
        assert_eq!(b.word(0x04), 0);
        lock(&b.tco).port_write(0x1F, &[1, 2, 3, 4]);
        lock(&b.tco).port_write(u16::MAX, &[1, 2]);
        round_trip(&mut *lock(&b.tco));
    }

    #[test]
    fn the_second_time_out_resets() {
        let b = bench();
        b.start();
        b.clock.advance(4 * TICK);
        assert_eq!(b.word(0), 6);
        b.clock.advance(6 * TICK);
        assert_eq!((b.word(4), b.word(6), b.word(0)), (TIMEOUT, 0, 10));
        assert_eq!(b.requests.take(), []);
        b.write(4, TIMEOUT); // clearing the bit is not feeding the dog
        b.clock.advance(10 * TICK);
        assert_eq!((b.word(4), b.word(6)), (TIMEOUT, SECOND));
        assert_eq!(b.requests.take(), [MachineRequest::Reset("the TCO watchdog")]);
        lock(&b.tco).reset();
        assert_eq!((b.word(4), b.word(6), b.word(8)), (0, SECOND, 0x0800), "whoever starts next can tell");
        b.clock.advance(100 * TICK);
        assert_eq!((b.word(4), b.requests.take()), (0, vec![]), "halted");
        b.write(6, SECOND);
        assert_eq!(b.word(6), 0);
    }

    #[test]
    fn reloads_and_halts_keep_it_quiet() {
        let b = bench();
        b.start();
        for _ in 0..5 {
            b.clock.advance(9 * TICK);
            b.write(0, 0);
        }
        b.clock.advance(10 * TICK);
        b.write(0, 0);
        b.clock.advance(10 * TICK);
        assert_eq!((b.word(6), b.requests.take()), (0, vec![]), "a reload between the two");
        b.write(0, 0);
        b.clock.advance(3 * TICK);
        b.write(8, HALT);
        b.clock.advance(1000 * TICK);
        assert_eq!(b.word(0), 7, "what was left");
        b.write(8, 0);
        b.clock.advance(7 * TICK);
        b.clock.advance(10 * TICK);
        assert_eq!(b.requests.take().len(), 1);
    }

    #[test]
    fn no_reboot_is_obeyed_and_a_state_goes_on_counting() {
        let b = bench();
        b.no_reboot.store(true, Ordering::SeqCst);
        b.start();
        b.clock.advance(10 * TICK);
        b.clock.advance(10 * TICK);
        assert_eq!((b.word(6), b.requests.take()), (SECOND, vec![]));
        b.no_reboot.store(false, Ordering::SeqCst);
        let saved = lock(&b.tco).save().unwrap();
        lock(&b.tco).reset();
        lock(&b.tco).restore(&saved).unwrap();
        b.clock.advance(10 * TICK);
        assert_eq!(b.requests.take().len(), 1);
        let mut bad: State = load_state("t", &saved).unwrap();
        bad.set(TIMER, 0);
        assert!(lock(&b.tco).restore(&save_state("t", &bad).unwrap()).is_err());
    }
}
