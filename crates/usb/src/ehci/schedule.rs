//! The schedules: frame list, queue heads, transfer descriptors.
//!
//! EHCI 1.0, chapter 3 (data structures) and sections 4.4 (periodic traversal), 4.8 (asynchronous schedule), 4.10
//! (queue head management), 4.15 (errors). A queue head runs until its endpoint NAKs, an error stops it, or it has had its
//! share; every walk is bounded in structures visited and bytes moved, so a schedule that loops costs no more than a
//! long one. What cannot be read or written by DMA is a host system error.

use guest_memory::MemoryAccessError;
use vm_core::{Shared, lock};

use super::{Ehci, cmd, sts};
use crate::bus::Owner;
use crate::device::{Fault, UsbDevice};

const TERMINATE: u32 = 1;
/// Link types (3.1).
const ITD: u32 = 0;
const QUEUE_HEAD: u32 = 1;
const SITD: u32 = 2;

/// qTD token (3.5.3).
mod token {
    pub(super) const TRANSACTION_ERROR: u32 = 1 << 3;
    pub(super) const BABBLE: u32 = 1 << 4;
    pub(super) const BUFFER_ERROR: u32 = 1 << 5;
    pub(super) const HALTED: u32 = 1 << 6;
    pub(super) const ACTIVE: u32 = 1 << 7;
    pub(super) const IOC: u32 = 1 << 15;
    pub(super) const TOGGLE: u32 = 1 << 31;
    pub(super) const ERROR_COUNT_SHIFT: u32 = 10;
    pub(super) const PAGE_SHIFT: u32 = 12;
    pub(super) const BYTES_SHIFT: u32 = 16;
    pub(super) const OUT: u32 = 0;
    pub(super) const IN: u32 = 1;
    pub(super) const SETUP: u32 = 2;
}

/// Dwords of a queue head (3.6); from `CURRENT` the overlay.
mod qh {
    pub(super) const CHARACTERISTICS: usize = 1;
    pub(super) const CAPABILITIES: usize = 2;
    pub(super) const CURRENT: usize = 3;
    pub(super) const NEXT: usize = 4;
    pub(super) const ALTERNATE: usize = 5;
    pub(super) const TOKEN: usize = 6;
    pub(super) const BUFFER: usize = 7;
    pub(super) const HEAD: u32 = 1 << 15;
    pub(super) const TOGGLE_CONTROL: u32 = 1 << 14;
    pub(super) const INACTIVATE: u32 = 1 << 7;
}

const PAGE: usize = 4096;
/// Bytes that the five buffer pointers of a qTD cover.
const SPAN: usize = 5 * PAGE;

/// Frames walked together at most; what is older is lost, as it would be on a host too busy to be served.
const FRAMES_AT_ONCE: u64 = 32;
/// Structures visited in one walk of the periodic schedule.
const PERIODIC_VISITS: u32 = 2048;
/// Structures visited in one frame.
const FRAME_VISITS: u32 = 256;
/// Queue heads visited in one walk of the asynchronous schedule.
const ASYNC_VISITS: u32 = 256;
/// Transactions done for a queue head at one visit.
const QUEUE_TRANSACTIONS: u32 = 64;
/// Bytes moved in one walk of the asynchronous schedule.
const ASYNC_BYTES: usize = 256 << 10;

type Dma<T> = Result<T, MemoryAccessError>;

/// What a transaction did to a queue.
enum Step {
    /// The descriptor is done: there may be another one.
    Done(usize),
    /// Data moved, the descriptor goes on.
    More(usize),
    /// Nothing moved, or the queue has stopped.
    Stop,
}

impl Ehci {
    fn load<const N: usize>(&self, at: u32) -> Dma<[u32; N]> {
        let mut bytes = [[0u8; 4]; N];
        self.memory.read(at.into(), bytes.as_flattened_mut())?;
        Ok(bytes.map(u32::from_le_bytes))
    }

    fn store(&self, at: u32, dwords: &[u32]) -> Dma<()> {
        let bytes: Vec<u8> = dwords.iter().flat_map(|d| d.to_le_bytes()).collect();
        self.memory.write(at.into(), &bytes)
    }

    /// Walks everything that is due. Whether data has moved.
    pub(super) fn walk(&mut self) -> Dma<bool> {
        let now = self.microframe() / 8;
        let first = self.state.next_frame.max(now.saturating_sub(FRAMES_AT_ONCE - 1));
        let mut moved = 0;
        if self.state.usbcmd & cmd::PERIODIC != 0 {
            let mut visits = PERIODIC_VISITS;
            for frame in first..=now {
                moved += self.walk_frame(frame, &mut visits)?;
            }
        }
        self.state.next_frame = now + 1;
        if self.state.usbcmd & cmd::ASYNC != 0 {
            moved += self.walk_async()?;
        }
        Ok(moved != 0)
    }

    fn walk_frame(&mut self, frame: u64, visits: &mut u32) -> Dma<usize> {
        let entry = self.state.periodic_base.wrapping_add((frame & 0x3FF) as u32 * 4);
        let [mut link] = self.load::<1>(entry)?;
        let mut moved = 0;
        for _ in 0..FRAME_VISITS {
            if link & TERMINATE != 0 || *visits == 0 {
                break;
            }
            *visits -= 1;
            let at = link & !0x1F;
            match link >> 1 & 3 {
                ITD => self.isochronous(at)?,
                QUEUE_HEAD => moved += self.interrupt_queue(at)?,
                SITD => self.split_isochronous(at)?,
                _ => {} // FSTN: its normal path is the way on; a save-place needs no keeping without real splits
            }
            [link] = self.load::<1>(at)?;
        }
        Ok(moved)
    }

    /// One transaction for each microframe of the S-mask (3.6.2).
    fn interrupt_queue(&mut self, at: u32) -> Dma<usize> {
        let [_, _, capabilities] = self.load::<3>(at)?;
        let mut moved = 0;
        for _ in 0..(capabilities & 0xFF).count_ones() {
            match self.queue_step(at, true)? {
                Step::Done(n) | Step::More(n) => moved += n.max(1),
                Step::Stop => break,
            }
        }
        Ok(moved)
    }

    /// iTD: no device has an isochronous endpoint, so each transaction goes unanswered (3.3.2).
    fn isochronous(&mut self, at: u32) -> Dma<()> {
        let dwords = self.load::<11>(at)?;
        let is_in = dwords.get(10).is_some_and(|b| b & 1 << 11 != 0);
        for (i, status) in dwords.iter().enumerate().skip(1).take(8) {
            if status & 1 << 31 != 0 {
                let error = if is_in { 1 << 28 } else { 0 };
                self.store(at.wrapping_add(i as u32 * 4), &[status & !(1 << 31) | error])?;
                self.state.pending |= if status & token::IOC != 0 { sts::INT } else { 0 };
            }
        }
        Ok(())
    }

    /// siTD: the same (3.4.3).
    fn split_isochronous(&mut self, at: u32) -> Dma<()> {
        let [.., state] = self.load::<4>(at)?;
        if state & token::ACTIVE != 0 {
            self.store(at.wrapping_add(12), &[state & !token::ACTIVE | token::TRANSACTION_ERROR])?;
            self.state.pending |= if state & 1 << 31 != 0 { sts::INT } else { 0 };
        }
        Ok(())
    }

    /// Goes round the asynchronous list until it is back at its head with nothing done (4.8.3).
    fn walk_async(&mut self) -> Dma<usize> {
        let mut moved = 0;
        let mut idle_heads = 0;
        for _ in 0..ASYNC_VISITS {
            let at = self.state.async_addr;
            let [link, characteristics] = self.load::<2>(at)?;
            if characteristics & qh::HEAD != 0 {
                idle_heads += 1;
                self.state.reclamation = idle_heads == 1;
                if idle_heads == 2 {
                    break;
                }
            }
            let done = self.drain_queue(at)?;
            if done != 0 {
                idle_heads = u32::from(characteristics & qh::HEAD != 0);
                moved += done;
            }
            if link & TERMINATE != 0 || link >> 1 & 3 != QUEUE_HEAD {
                break;
            }
            self.state.async_addr = link & !0x1F;
            if moved > ASYNC_BYTES {
                break;
            }
        }
        Ok(moved)
    }

    fn drain_queue(&mut self, at: u32) -> Dma<usize> {
        let mut moved = 0;
        for _ in 0..QUEUE_TRANSACTIONS {
            match self.queue_step(at, false)? {
                Step::Done(n) | Step::More(n) => moved += n.max(1),
                Step::Stop => break,
            }
        }
        Ok(moved)
    }

    /// One transaction of a queue head: takes the next descriptor if none is active, runs it, writes back.
    fn queue_step(&mut self, at: u32, periodic: bool) -> Dma<Step> {
        let old = self.load::<12>(at)?;
        let mut q = old;
        if q[qh::TOKEN] & token::ACTIVE == 0 && !self.advance(&mut q)? {
            return Ok(Step::Stop);
        }
        let fetched = q[qh::TOKEN];
        let step = if q[qh::CHARACTERISTICS] & qh::INACTIVATE != 0 && periodic {
            q[qh::TOKEN] &= !token::ACTIVE;
            Step::Done(0)
        } else {
            self.transaction(&mut q, periodic)?
        };
        if q != old {
            self.store(at.wrapping_add(4 * qh::CURRENT as u32), &q[qh::CURRENT..])?;
        }
        if q[qh::TOKEN] != fetched {
            self.store((q[qh::CURRENT] & !0x1F).wrapping_add(8), &[q[qh::TOKEN]])?;
        }
        Ok(step)
    }

    /// 4.10.2: fetches the next descriptor into the overlay. `false` when there is none.
    fn advance(&self, q: &mut [u32; 12]) -> Dma<bool> {
        let old = q[qh::TOKEN];
        if old & token::HALTED != 0 {
            return Ok(false);
        }
        let short = old >> token::BYTES_SHIFT & 0x7FFF != 0 && q[qh::ALTERNATE] & TERMINATE == 0;
        let link = if short { q[qh::ALTERNATE] } else { q[qh::NEXT] };
        if link & TERMINATE != 0 {
            return Ok(false);
        }
        let at = link & !0x1F;
        let [next, alternate, new, buffers @ ..] = self.load::<8>(at)?;
        if new & token::ACTIVE == 0 {
            return Ok(false);
        }
        let own_toggle = q[qh::CHARACTERISTICS] & qh::TOGGLE_CONTROL == 0;
        let toggle = if own_toggle { old } else { new } & token::TOGGLE;
        let nak_count = q[qh::CHARACTERISTICS] >> 28;
        q[qh::CURRENT] = at;
        q[qh::NEXT] = next;
        q[qh::ALTERNATE] = alternate & !0x1E | nak_count << 1;
        q[qh::TOKEN] = new & !token::TOGGLE | toggle;
        q[qh::BUFFER..].copy_from_slice(&buffers);
        Ok(true)
    }

    fn find(&self, address: u8) -> Option<Shared<UsbDevice>> {
        self.active_ports().find_map(|i| UsbDevice::find(&self.bus.look(i, Owner::Main).0?, address))
    }

    fn transaction(&mut self, q: &mut [u32; 12], periodic: bool) -> Dma<Step> {
        let characteristics = q[qh::CHARACTERISTICS];
        let (address, endpoint) = ((characteristics & 0x7F) as u8, (characteristics >> 8 & 0xF) as u8);
        let packet = (characteristics >> 16 & 0x7FF).max(1) as usize;
        let t = q[qh::TOKEN];
        let total = (t >> token::BYTES_SHIFT & 0x7FFF) as usize;
        let position = (t >> token::PAGE_SHIFT & 7) as usize * PAGE + (q[qh::BUFFER] & 0xFFF) as usize;
        let mut room = total.min(SPAN.saturating_sub(position));
        if room < total && room == 0 {
            return Ok(self.halt(q, token::BUFFER_ERROR));
        }
        if periodic {
            let packets = (q[qh::CAPABILITIES] >> 30).max(1) as usize;
            room = room.min(packet * packets);
        }
        let Some(device) = self.find(address) else { return Ok(self.fault(q, Fault::NoResponse)) };
        let pid = t >> 8 & 3;
        let mut data = Vec::new();
        if pid != token::IN {
            data.resize(room, 0);
            self.copy(q, position, &mut data, false)?;
        }
        let result = match pid {
            token::OUT => lock(&device).data_out(endpoint, &data),
            token::IN => lock(&device).data_in(endpoint, room).map(|d| data = d),
            token::SETUP => match <[u8; 8]>::try_from(data.as_slice()) {
                Ok(setup) => {
                    lock(&device).setup(setup);
                    Ok(())
                }
                Err(_) => Err(Fault::NoResponse),
            },
            _ => return Ok(self.halt(q, token::BUFFER_ERROR)),
        };
        if let Err(fault) = result {
            return Ok(self.fault(q, fault));
        }
        if pid == token::IN {
            if data.len() > room {
                return Ok(self.fault(q, Fault::Babble));
            }
            self.copy(q, position, &mut data, true)?;
        }
        Ok(self.moved(q, data.len(), packet, pid == token::IN))
    }

    /// Accounts for `n` bytes moved.
    fn moved(&mut self, q: &mut [u32; 12], n: usize, packet: usize, is_in: bool) -> Step {
        let t = q[qh::TOKEN];
        let total = (t >> token::BYTES_SHIFT & 0x7FFF) as usize;
        let end = (t >> token::PAGE_SHIFT & 7) as usize * PAGE + (q[qh::BUFFER] & 0xFFF) as usize + n;
        let left = total.saturating_sub(n);
        let short = is_in && left != 0 && (n == 0 || !n.is_multiple_of(packet));
        let toggles = n.div_ceil(packet).max(1) as u32 & 1;
        let page = (end / PAGE).min(7) as u32;
        let kept = token::TOGGLE | token::IOC | 0xF00 | 0xFF & !(1 << 2); // toggle, IOC, errors left, PID, status
        let mut new = (t & kept) ^ toggles << 31;
        new |= (left as u32) << token::BYTES_SHIFT | page << token::PAGE_SHIFT;
        q[qh::BUFFER] = q[qh::BUFFER] & !0xFFF | (end % PAGE) as u32;
        let done = left == 0 || short;
        if done {
            new &= !token::ACTIVE;
            if t & token::IOC != 0 || short {
                self.state.pending |= sts::INT;
            }
        }
        q[qh::TOKEN] = new;
        if done { Step::Done(n) } else { Step::More(n) }
    }

    fn halt(&mut self, q: &mut [u32; 12], bits: u32) -> Step {
        q[qh::TOKEN] = q[qh::TOKEN] & !token::ACTIVE | token::HALTED | bits;
        let ioc = if q[qh::TOKEN] & token::IOC != 0 { sts::INT } else { 0 };
        self.state.pending |= sts::ERROR | ioc;
        Step::Stop
    }

    /// 4.15.1: a transaction that brought no ACK.
    fn fault(&mut self, q: &mut [u32; 12], fault: Fault) -> Step {
        match fault {
            Fault::Nak => Step::Stop,
            Fault::Stall => self.halt(q, 0),
            Fault::Babble => self.halt(q, token::BABBLE),
            Fault::NoResponse => {
                let count = q[qh::TOKEN] >> token::ERROR_COUNT_SHIFT & 3;
                if count == 1 {
                    q[qh::TOKEN] &= !(3 << token::ERROR_COUNT_SHIFT);
                    return self.halt(q, token::TRANSACTION_ERROR);
                }
                q[qh::TOKEN] |= token::TRANSACTION_ERROR;
                if count != 0 {
                    q[qh::TOKEN] -= 1 << token::ERROR_COUNT_SHIFT;
                }
                Step::Stop
            }
        }
    }

    /// Moves `data` between the qTD's pages, from byte `position` of them, and `data`.
    fn copy(&self, q: &[u32; 12], position: usize, data: &mut [u8], to_guest: bool) -> Dma<()> {
        let mut at = position;
        let mut rest = data;
        while !rest.is_empty() {
            let page = q.get(qh::BUFFER + at / PAGE).copied().unwrap_or(0) & 0xFFFF_F000;
            let n = rest.len().min(PAGE - at % PAGE);
            let (part, tail) = rest.split_at_mut(n);
            let gpa = u64::from(page) + (at % PAGE) as u64;
            if to_guest {
                self.memory.write(gpa, part)?;
            } else {
                self.memory.read(gpa, part)?;
            }
            at += n;
            rest = tail;
        }
        Ok(())
    }
}
