//! Interrupters: event rings, moderation, and the way of an interrupt to the guest.
//!
//! xHCI 1.1, sections 4.9.4 (event rings), 4.17 (interrupters), 5.5.2 (registers), 6.5 (segment table). Events for
//! which there is no room wait here, and the rings that cause them are not worked on meanwhile, so nothing is lost.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::ring::{Code, Dma, TRB, Trb, control, dword, kind};
use super::{INTERRUPTERS, Xhci, cmd, sts};

/// Interrupter registers, from the start of a set.
pub(super) mod reg {
    pub(crate) const IMAN: u64 = 0x00;
    pub(crate) const IMOD: u64 = 0x04;
    pub(crate) const ERSTSZ: u64 = 0x08;
    pub(crate) const ERSTBA: u64 = 0x10;
    pub(crate) const ERSTBA_HIGH: u64 = 0x14;
    pub(crate) const ERDP: u64 = 0x18;
    pub(crate) const ERDP_HIGH: u64 = 0x1C;
}

const PENDING: u32 = 1;
const ENABLE: u32 = 2;
const BUSY: u64 = 1 << 3;
/// Segments of an event ring at most: 2 to this (HCSPARAMS2).
pub(super) const SEGMENTS_ORDER: u32 = 4;
/// Events that wait for room at most; more come from ports only, and the guest is not reading.
const BACKLOG: usize = 1024;
/// The moderation interval at reset: a millisecond (5.5.2.2).
const IMOD_AT_RESET: u32 = 4000;

/// Where the next event goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Enqueue {
    segment: u32,
    base: u64,
    len: u32,
    index: u32,
    cycle: bool,
}

impl Enqueue {
    fn at(&self) -> u64 {
        self.base.wrapping_add(u64::from(self.index) * TRB)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Interrupter {
    iman: u32,
    imod: u32,
    erstsz: u32,
    erstba: u64,
    erdp: u64,
    /// `None` until the first event after a new table.
    enqueue: Option<Enqueue>,
    /// What it was when software asked for a save.
    saved: Option<Enqueue>,
    backlog: VecDeque<Trb>,
    /// The guest has been told that the ring is full.
    full: bool,
    /// An event wants an interrupt (IPE).
    wanted: bool,
    /// Not before this time.
    next: u64,
}

impl Interrupter {
    pub(super) fn at_reset() -> Self {
        Self {
            iman: 0,
            imod: IMOD_AT_RESET,
            erstsz: 0,
            erstba: 0,
            erdp: 0,
            enqueue: None,
            saved: None,
            backlog: VecDeque::new(),
            full: false,
            wanted: false,
            next: 0,
        }
    }

    pub(super) fn is_valid(&self) -> bool {
        let is_place = |e: &Enqueue| e.len <= 4096 && e.index < e.len.max(1);
        self.backlog.len() <= BACKLOG && self.enqueue.iter().chain(&self.saved).all(is_place)
    }

    /// Saves what has no register (USBCMD.CSS, 5.4.1).
    pub(super) fn save(&mut self) {
        self.saved = self.enqueue;
    }

    /// Software has written the registers anew, which began the ring anew; it goes on where it was.
    pub(super) fn restore(&mut self) {
        self.enqueue = self.saved;
    }

    /// Every event so far is in the ring.
    fn has_room(&self) -> bool {
        self.backlog.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.backlog.is_empty() && self.enqueue.is_none_or(|e| e.at() == self.erdp & !0xF)
    }

    pub(super) fn read(&self, offset: u64) -> u32 {
        match offset {
            reg::IMAN => self.iman,
            reg::IMOD => self.imod,
            reg::ERSTSZ => self.erstsz,
            reg::ERSTBA => self.erstba as u32,
            reg::ERSTBA_HIGH => (self.erstba >> 32) as u32,
            reg::ERDP => self.erdp as u32,
            reg::ERDP_HIGH => (self.erdp >> 32) as u32,
            _ => 0,
        }
    }
}

/// A register pair's new value after a write to one half.
pub(super) fn half(old: u64, value: u32, high: bool) -> u64 {
    if high { old & 0xFFFF_FFFF | u64::from(value) << 32 } else { old & !0xFFFF_FFFF | u64::from(value) }
}

impl Xhci {
    fn interrupter(&mut self, n: u16) -> (&mut Interrupter, usize) {
        let n = usize::from(n);
        let n = if n < INTERRUPTERS { n } else { 0 };
        (&mut self.state.interrupters[n], n)
    }

    pub(super) fn write_interrupter(&mut self, n: u16, offset: u64, value: u32) -> Dma<()> {
        let (i, index) = self.interrupter(n);
        match offset {
            reg::IMAN => {
                let unmasked = i.iman & ENABLE == 0 && value & ENABLE != 0;
                i.iman = i.iman & !(value & PENDING) & !ENABLE | value & ENABLE;
                if unmasked && i.iman & PENDING != 0 {
                    self.deliver(index);
                }
                self.update_pin();
            }
            reg::IMOD => i.imod = value,
            reg::ERSTSZ => i.erstsz = value & 0xFFFF,
            reg::ERSTBA | reg::ERSTBA_HIGH => {
                i.erstba = half(i.erstba, value, offset == reg::ERSTBA_HIGH) & !0x3F;
                (i.enqueue, i.full) = (None, false);
            }
            reg::ERDP => {
                let busy = i.erdp & BUSY & !u64::from(value);
                i.erdp = half(i.erdp, value, false) & !BUSY | busy;
                self.moved_on(index)?;
            }
            reg::ERDP_HIGH => {
                i.erdp = half(i.erdp, value, true);
                self.moved_on(index)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The guest has taken events.
    fn moved_on(&mut self, n: usize) -> Dma<()> {
        if !self.state.interrupters[n].has_room() {
            self.flush(n)?;
            self.timer.set(0); // what stood still for want of room
        }
        let i = &mut self.state.interrupters[n];
        i.wanted &= !i.is_empty();
        self.raise(n);
        Ok(())
    }

    /// Work that brings events for interrupter `n` may be done.
    pub(super) fn may_post(&self, n: u16) -> bool {
        self.state
            .interrupters
            .get(usize::from(n))
            .or(self.state.interrupters.first())
            .is_none_or(Interrupter::has_room)
    }

    /// Puts an event into the ring of interrupter `n` (the first one if there is no such).
    pub(super) fn post(&mut self, n: u16, event: Trb) -> Dma<()> {
        let (i, n) = self.interrupter(n);
        if i.backlog.len() < BACKLOG {
            i.backlog.push_back(event);
        }
        self.flush(n)
    }

    /// Moves waiting events into the ring as far as there is room.
    fn flush(&mut self, n: usize) -> Dma<()> {
        while !self.state.interrupters[n].backlog.is_empty() {
            let Some(here) = self.enqueue(n)? else {
                self.state.interrupters[n].backlog.clear(); // no ring at all: nobody listens
                return Ok(());
            };
            let next = self.next_place(n, here)?;
            let dequeue = self.state.interrupters[n].erdp & !0xF;
            if next.at() == dequeue {
                break;
            }
            let last = self.next_place(n, next)?.at() == dequeue;
            let i = &mut self.state.interrupters[n];
            if last && i.full {
                break;
            }
            let mut event = if last {
                // The last free TRB says that there are no more (4.9.4); once, until all that waits is through.
                i.full = true;
                Trb {
                    status: (Code::EventRingFull as u32) << 24,
                    control: kind::HOST_CONTROLLER << 10,
                    ..Trb::default()
                }
            } else {
                let event = i.backlog.pop_front().unwrap_or_default();
                i.full &= !i.backlog.is_empty();
                event
            };
            event.at = here.at();
            i.wanted |= event.control & control::NO_INTERRUPT == 0;
            event.control = event.control & !(control::CYCLE | control::NO_INTERRUPT) | u32::from(here.cycle);
            i.enqueue = Some(next);
            event.store(&self.memory)?;
        }
        self.raise(n);
        Ok(())
    }

    fn enqueue(&mut self, n: usize) -> Dma<Option<Enqueue>> {
        if self.state.interrupters[n].enqueue.is_none() && self.state.interrupters[n].erstsz != 0 {
            let (base, len) = self.segment(n, 0)?;
            self.state.interrupters[n].enqueue = Some(Enqueue { segment: 0, base, len, index: 0, cycle: true });
        }
        Ok(self.state.interrupters[n].enqueue)
    }

    /// An entry of the segment table: base address and number of TRBs.
    fn segment(&self, n: usize, index: u32) -> Dma<(u64, u32)> {
        let mut entry = [0; 16];
        self.memory.read(self.state.interrupters[n].erstba.wrapping_add(u64::from(index) * 16), &mut entry)?;
        let base = u64::from(dword(&entry, 4)) << 32 | u64::from(dword(&entry, 0) & !0x3F);
        Ok((base, (dword(&entry, 8) & 0xFFFF).clamp(16, 4096)))
    }

    fn next_place(&self, n: usize, here: Enqueue) -> Dma<Enqueue> {
        if here.index + 1 < here.len {
            return Ok(Enqueue { index: here.index + 1, ..here });
        }
        let segments = self.state.interrupters[n].erstsz.clamp(1, 1 << SEGMENTS_ORDER);
        let segment = if here.segment + 1 < segments { here.segment + 1 } else { 0 };
        let (base, len) = self.segment(n, segment)?;
        Ok(Enqueue { segment, base, len, index: 0, cycle: here.cycle ^ (segment == 0) })
    }

    /// Interrupts if an event wants it, the handler is not busy, and it is time (4.17.2, 4.17.5).
    fn raise(&mut self, n: usize) {
        let now = self.clock.now();
        let i = &mut self.state.interrupters[n];
        if !i.wanted || i.erdp & BUSY != 0 {
            return;
        }
        if now < i.next {
            let at = i.next;
            if self.timer.deadline().is_none_or(|d| d > at) {
                self.timer.set(at);
            }
            return;
        }
        i.wanted = false;
        i.erdp |= BUSY;
        i.iman |= PENDING;
        i.next = now + u64::from(i.imod & 0xFFFF) * 250;
        self.state.usbsts |= sts::EVENT;
        self.deliver(n);
    }

    /// Interrupts that had to wait for their time; when the next one may come.
    pub(super) fn raise_all(&mut self) -> Option<u64> {
        (0..INTERRUPTERS).for_each(|n| self.raise(n));
        let waits = |i: &&Interrupter| i.wanted && i.erdp & BUSY == 0;
        self.state.interrupters.iter().filter(waits).map(|i| i.next).min()
    }

    /// Sends the message, or drives the pin. A message clears the pending bit (5.5.2.1).
    fn deliver(&mut self, n: usize) {
        let enabled = self.state.usbcmd & cmd::INTERRUPTS != 0 && self.state.interrupters[n].iman & ENABLE != 0;
        if enabled && self.has_messages() {
            self.state.interrupters[n].iman &= !PENDING;
            self.send_message(n as u16);
        }
        self.update_pin();
    }

    fn has_messages(&self) -> bool {
        let config = &self.config;
        self.chip.msix.is_some_and(|m| m.is_enabled(config)) || self.chip.msi.is_some_and(|m| m.is_enabled(config))
    }

    fn send_message(&mut self, n: u16) {
        let sink = self.chip.sink.clone();
        match (self.chip.msix, self.chip.msi) {
            (Some(m), _) if m.is_enabled(&self.config) => {
                m.signal(&mut self.state.msix, &self.config, sink.as_ref(), n);
            }
            (_, Some(m)) => m.signal(&mut self.config, sink.as_ref(), n.into()),
            _ => {}
        }
    }

    /// INTA follows the first interrupter (4.17.1).
    pub(super) fn update_pin(&mut self) {
        let pending = self.state.interrupters[0].iman & (PENDING | ENABLE) == PENDING | ENABLE;
        let wanted = pending && self.state.usbcmd & cmd::INTERRUPTS != 0 && !self.has_messages();
        self.pin.set(&mut self.config, wanted);
    }

    /// INTE was set: interrupters that are pending already interrupt now.
    pub(super) fn deliver_pending(&mut self) {
        for n in 0..INTERRUPTERS {
            if self.state.interrupters[n].iman & PENDING != 0 {
                self.deliver(n);
            }
        }
    }
}
