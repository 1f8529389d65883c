//! The frame list: transfer descriptors and queue heads.
//!
//! UHCI 1.1, chapter 3 (data structures) and section 3.4 (traversal). Queues linked into a ring (bandwidth
//! reclamation) are gone round while something moves and the frame's share of bytes lasts. Structures visited are counted,
//! so a loop ends. A PID that does not exist is a process error, DMA outside RAM a system error.

use guest_memory::MemoryAccessError;
use vm_core::{Shared, lock};

use super::{PORTS, Uhci, port, sts};
use crate::device::{Fault, UsbDevice};

const TERMINATE: u32 = 1;
const QUEUE: u32 = 2;
const DEPTH: u32 = 4;

/// TD control and status (3.2.2).
mod td {
    pub(super) const BABBLE: u32 = 1 << 20;
    pub(super) const NAK: u32 = 1 << 19;
    pub(super) const TIMEOUT: u32 = 1 << 18;
    pub(super) const STALLED: u32 = 1 << 22;
    pub(super) const ACTIVE: u32 = 1 << 23;
    pub(super) const IOC: u32 = 1 << 24;
    pub(super) const ERROR_COUNT_SHIFT: u32 = 27;
    pub(super) const SHORT_DETECT: u32 = 1 << 29;
    pub(super) const LENGTH: u32 = 0x7FF;
}

const PID_IN: u32 = 0x69;
const PID_OUT: u32 = 0xE1;
const PID_SETUP: u32 = 0x2D;
/// The longest packet a descriptor may name.
const LONGEST: u32 = 0x500;

/// Frames walked together at most.
const FRAMES_AT_ONCE: u64 = 16;
/// Structures visited in a frame.
const VISITS: u32 = 512;
/// Bytes moved in a frame: more than the wire's 1280, so that bulk transfers are not slow.
const BYTES: usize = 16 << 10;

/// Why the controller stops.
#[derive(Debug)]
pub(super) enum Failure {
    Dma(MemoryAccessError),
    Process,
}

impl From<MemoryAccessError> for Failure {
    fn from(e: MemoryAccessError) -> Self {
        Self::Dma(e)
    }
}

/// What became of a TD.
enum Outcome {
    /// Done: the queue goes on.
    Done,
    /// Not active, NAK, or stopped by an error or short packet: the queue stays.
    Stays,
}

struct Walk {
    visits: u32,
    bytes: usize,
    moved: bool,
}

impl Uhci {
    fn load<const N: usize>(&self, at: u32) -> Result<[u32; N], MemoryAccessError> {
        let mut bytes = [[0u8; 4]; N];
        self.memory.read(at.into(), bytes.as_flattened_mut())?;
        Ok(bytes.map(u32::from_le_bytes))
    }

    fn store(&self, at: u32, dword: u32) -> Result<(), MemoryAccessError> {
        self.memory.write(at.into(), &dword.to_le_bytes())
    }

    /// Walks the frames that are due. Whether anything moved.
    pub(super) fn walk(&mut self) -> Result<bool, Failure> {
        let now = self.frame();
        let first = self.state.next_frame.max(now.saturating_sub(FRAMES_AT_ONCE - 1));
        let mut moved = false;
        for frame in first..=now {
            moved |= self.walk_frame(frame)?;
        }
        self.state.next_frame = now + 1;
        Ok(moved)
    }

    fn walk_frame(&mut self, frame: u64) -> Result<bool, Failure> {
        let [mut link] = self.load::<1>(self.state.base.wrapping_add((frame & 0x3FF) as u32 * 4))?;
        let mut walk = Walk { visits: VISITS, bytes: BYTES, moved: false };
        // Queue heads with nothing to do since something last moved: meeting one again ends the frame.
        let mut seen: Vec<u32> = Vec::new();
        while link & TERMINATE == 0 && walk.visits != 0 && walk.bytes != 0 {
            walk.visits -= 1;
            let at = link & !0xF;
            if link & QUEUE == 0 {
                let [next] = self.load::<1>(at)?;
                self.transfer(at, &mut walk)?;
                link = next;
                continue;
            }
            if seen.contains(&at) {
                break;
            }
            if self.queue(at, &mut walk)? {
                seen.clear();
            } else {
                seen.push(at);
            }
            [link] = self.load::<1>(at)?;
        }
        Ok(walk.moved)
    }

    /// Runs a queue as far as its links say: one TD, or more with depth first (3.4.2). Whether it went on.
    fn queue(&mut self, at: u32, walk: &mut Walk) -> Result<bool, Failure> {
        let mut went_on = false;
        loop {
            let [_, element] = self.load::<2>(at)?;
            if element & TERMINATE != 0 || walk.visits == 0 || walk.bytes == 0 {
                return Ok(went_on);
            }
            walk.visits -= 1;
            let head = element & !0xF;
            if element & QUEUE != 0 {
                // A queue in a queue: its element is run in its place, one level deep.
                let [_, inner] = self.load::<2>(head)?;
                if inner & (TERMINATE | QUEUE) == 0 {
                    let inner_at = inner & !0xF;
                    let [next] = self.load::<1>(inner_at)?;
                    if matches!(self.transfer(inner_at, walk)?, Outcome::Done) {
                        self.store(head.wrapping_add(4), next)?;
                        went_on = true;
                    }
                }
                return Ok(went_on);
            }
            let [next] = self.load::<1>(head)?;
            match self.transfer(head, walk)? {
                Outcome::Done => self.store(at.wrapping_add(4), next)?,
                Outcome::Stays => return Ok(went_on),
            }
            went_on = true;
            if next & DEPTH == 0 {
                return Ok(went_on);
            }
        }
    }

    fn find(&self, address: u8) -> Option<Shared<UsbDevice>> {
        let active = |p: &super::Port| p.bits & (port::ENABLE | port::SUSPEND | port::RESET) == port::ENABLE;
        let ports = (0..PORTS).filter(|i| active(&self.state.ports[*i]));
        ports
            .filter_map(|i| self.bus.look(self.chip.first_port + i, self.chip.owner).0)
            .find_map(|d| UsbDevice::find(&d, address))
    }

    /// One transfer descriptor.
    fn transfer(&mut self, at: u32, walk: &mut Walk) -> Result<Outcome, Failure> {
        let [_, control, token, buffer] = self.load::<4>(at)?;
        if control & td::ACTIVE == 0 {
            return Ok(Outcome::Stays);
        }
        let len = (token >> 21).wrapping_add(1) & td::LENGTH;
        if len > LONGEST {
            return Err(Failure::Process);
        }
        let (address, endpoint) = ((token >> 8 & 0x7F) as u8, (token >> 15 & 0xF) as u8);
        let device = self.find(address);
        let mut data = Vec::new();
        let pid = token & 0xFF;
        match pid {
            PID_IN => {}
            PID_OUT | PID_SETUP => {
                data.resize(len as usize, 0);
                self.memory.read(buffer.into(), &mut data)?;
            }
            _ => return Err(Failure::Process),
        }
        let result = match device {
            None => Err(Fault::NoResponse),
            Some(device) => {
                let mut d = lock(&device);
                match (pid, <[u8; 8]>::try_from(data.as_slice())) {
                    (PID_IN, _) => d.data_in(endpoint, len as usize).map(|r| data = r),
                    (PID_OUT, _) => d.data_out(endpoint, &data),
                    (_, Ok(setup)) => {
                        d.setup(setup);
                        Ok(())
                    }
                    (_, Err(_)) => Err(Fault::NoResponse),
                }
            }
        };
        let result = match result {
            Ok(()) if data.len() > len as usize => Err(Fault::Babble),
            other => other,
        };
        match result {
            Ok(()) => {
                if pid == PID_IN {
                    self.memory.write(buffer.into(), &data)?;
                }
                walk.moved = true;
                walk.bytes = walk.bytes.saturating_sub(data.len() + 16);
                self.complete(at, control, pid, data.len() as u32, len)
            }
            Err(fault) => self.fault(at, control, fault),
        }
    }

    fn complete(&mut self, at: u32, control: u32, pid: u32, n: u32, len: u32) -> Result<Outcome, Failure> {
        let status = control & !(td::ACTIVE | td::NAK | td::LENGTH) | n.wrapping_sub(1) & td::LENGTH;
        self.store(at.wrapping_add(4), status)?;
        let short = pid == PID_IN && n < len && control & td::SHORT_DETECT != 0;
        if control & td::IOC != 0 {
            self.interrupt(true);
        }
        if short {
            self.interrupt(false);
            return Ok(Outcome::Stays);
        }
        Ok(Outcome::Done)
    }

    fn interrupt(&mut self, ioc: bool) {
        self.state.usbsts |= sts::INT;
        self.state.by_ioc |= ioc;
        self.state.by_short |= !ioc;
    }

    fn fault(&mut self, at: u32, control: u32, fault: Fault) -> Result<Outcome, Failure> {
        let count = control >> td::ERROR_COUNT_SHIFT & 3;
        let (mut status, stops) = match fault {
            Fault::Nak => (control | td::NAK, false),
            Fault::Stall => (control | td::STALLED, true),
            Fault::Babble => (control | td::BABBLE | td::STALLED, true),
            Fault::NoResponse if count == 1 => {
                ((control | td::TIMEOUT | td::STALLED) & !(3 << td::ERROR_COUNT_SHIFT), true)
            }
            Fault::NoResponse if count == 0 => (control | td::TIMEOUT, false),
            Fault::NoResponse => ((control | td::TIMEOUT) - (1 << td::ERROR_COUNT_SHIFT), false),
        };
        if stops {
            status = status & !(td::ACTIVE | td::LENGTH) | td::LENGTH;
            self.state.usbsts |= sts::ERROR;
            if control & td::IOC != 0 {
                self.interrupt(true);
            }
        }
        if status != control {
            self.store(at.wrapping_add(4), status)?;
        }
        Ok(Outcome::Stays)
    }
}
