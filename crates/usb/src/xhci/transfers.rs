//! Transfer rings: TDs gathered, moved to and from devices, and reported.
//!
//! xHCI 1.1, sections 3.2 (data structures), 4.10 (completion, short packets, errors), 4.11.2 to 4.11.5 (transfer
//! TRBs), 4.14 (scheduling). A TD is gathered whole each time it is looked at; how much of it is done is the
//! endpoint's state. TRBs visited, TDs done and bytes moved at once are bounded, so a ring that loops costs no more
//! than a long one. No device has an isochronous endpoint: such TDs end as unanswered and the ring goes on.

use vm_core::{Shared, lock};

use super::Xhci;
use super::contexts::{Endpoint, EndpointKind, EndpointState};
use super::ring::{Code, Dma, Place, Trb, control, kind};
use crate::device::{Fault, UsbDevice};

/// TRBs of a TD at most, Link TRBs before it included.
const TD_TRBS: usize = 1024;
/// TDs done for an endpoint at one visit.
const TDS_AT_ONCE: u32 = 64;
/// Bytes of one call of a device.
const PIECE: usize = 64 << 10;

enum Td {
    /// Nothing whole is there; Link TRBs lead to this place.
    Empty(Place),
    /// A TD and the place behind it.
    Whole(Vec<Trb>, Place),
    /// This TRB cannot be.
    Bad(Trb),
}

enum Step {
    /// The TD is done; with a short packet.
    Done {
        short: bool,
    },
    /// Bytes have moved; there are more.
    More,
    /// The device is not ready.
    Wait,
    Failed(Code),
    /// This TRB cannot be.
    Bad(Trb),
}

/// Which TRB of a TD byte `done` is in (the last one if in none), and how many of its bytes are left.
fn at_byte(trbs: &[Trb], done: usize) -> Option<(&Trb, usize)> {
    let mut end = 0;
    let mut last = None;
    for trb in trbs.iter().filter(|t| t.has_data() || t.kind() == kind::STATUS) {
        end += trb.len();
        last = Some((trb, end.saturating_sub(done)));
        if end > done {
            break;
        }
    }
    last
}

fn total(trbs: &[Trb]) -> usize {
    trbs.iter().filter(|t| t.has_data()).map(Trb::len).sum()
}

/// Whether a TD may have these TRBs on an endpoint of that kind.
fn check(endpoint: EndpointKind, trbs: &[Trb]) -> Result<(), Trb> {
    let control = endpoint == EndpointKind::Control;
    for (i, trb) in trbs.iter().enumerate() {
        let good = match trb.kind() {
            kind::SETUP => control && trbs.len() == 1 && trb.len() == 8 && trb.has(control::IMMEDIATE),
            kind::DATA | kind::STATUS => control && i == 0,
            kind::NORMAL => i != 0 || !control,
            kind::ISOCH => i == 0 && endpoint == EndpointKind::Isochronous,
            kind::EVENT_DATA | kind::NO_OP => true,
            _ => false,
        };
        // Immediate data is at most what the parameter holds.
        if !good || trb.has_data() && trb.has(control::IMMEDIATE) && trb.len() > 8 {
            return Err(*trb);
        }
    }
    Ok(())
}

impl Xhci {
    fn gather(&self, place: Place) -> Dma<Td> {
        let mut trbs: Vec<Trb> = Vec::new();
        let mut here = place;
        let mut last = Trb::default();
        for _ in 0..TD_TRBS {
            let Some(trb) = here.peek(&self.memory)? else {
                return Ok(Td::Empty(if trbs.is_empty() { here } else { place }));
            };
            here = here.after(&trb);
            last = trb;
            if trb.kind() == kind::LINK {
                continue;
            }
            trbs.push(trb);
            if !trb.has(control::CHAIN) {
                return Ok(Td::Whole(trbs, here));
            }
        }
        Ok(Td::Bad(last))
    }

    fn endpoint(&mut self, id: u8, index: u8) -> Option<&mut Endpoint> {
        self.slot(id)?.endpoint(index)
    }

    /// Works on an endpoint's ring until it is empty, waits, or has had its share. Whether anything has moved.
    pub(super) fn run_endpoint(&mut self, id: u8, index: u8, bytes: &mut usize) -> Dma<bool> {
        let now = self.clock.now();
        let mut moved = false;
        for _ in 0..TDS_AT_ONCE {
            let Some(e) = self.endpoint(id, index).filter(|e| e.ready && e.state == EndpointState::Running) else {
                break;
            };
            let (periodic, place, ring) = (e.is_periodic(), e.place, e.kind);
            if periodic && now < e.next || *bytes == 0 {
                break;
            }
            let (trbs, after) = match self.gather(place)? {
                Td::Whole(trbs, after) => (trbs, after),
                Td::Empty(place) => {
                    if let Some(e) = self.endpoint(id, index) {
                        (e.place, e.ready) = (place, false);
                    }
                    break;
                }
                Td::Bad(trb) => {
                    self.fail(id, index, &trb, 0, Code::Trb)?;
                    break;
                }
            };
            if !trbs.iter().all(|t| self.may_post(t.interrupter())) {
                break;
            }
            let step = match check(ring, &trbs) {
                Ok(()) => self.transfer(id, index, &trbs, bytes)?,
                Err(trb) => Step::Bad(trb),
            };
            match step {
                Step::Done { short } => self.finish(id, index, &trbs, after, short)?,
                Step::More => {}
                Step::Wait => break,
                Step::Bad(trb) => self.fail(id, index, &trb, trb.len(), Code::Trb)?,
                Step::Failed(code) => self.failed(id, index, &trbs, after, code)?,
            }
            moved = true;
        }
        Ok(moved)
    }

    /// The device that a slot is for.
    fn target(&mut self, id: u8) -> Result<Shared<UsbDevice>, Fault> {
        let (port, address) = self.slot(id).map(|s| (s.port, s.address)).ok_or(Fault::NoResponse)?;
        let root = self.reachable(port)?;
        UsbDevice::find(&root, address).ok_or(Fault::NoResponse)
    }

    /// One step of a TD.
    fn transfer(&mut self, id: u8, index: u8, trbs: &[Trb], bytes: &mut usize) -> Dma<Step> {
        let Some(first) = trbs.iter().find(|t| !matches!(t.kind(), kind::EVENT_DATA | kind::NO_OP)) else {
            return Ok(Step::Done { short: false });
        };
        let device = match self.target(id) {
            Ok(device) => device,
            Err(Fault::Nak) => return Ok(Step::Wait),
            Err(_) => return Ok(Step::Failed(Code::Transaction)),
        };
        let endpoint = index / 2;
        let Some((done, packet)) = self.endpoint(id, index).map(|e| (e.done, e.max_packet)) else {
            return Ok(Step::Wait);
        };
        let left = total(trbs).saturating_sub(done);
        let room = left.min((PIECE / packet).max(1) * packet).min(PIECE);
        let to_host = if endpoint == 0 { first.has(control::IN) } else { index & 1 == 1 };
        let result = match first.kind() {
            kind::SETUP => {
                lock(&device).setup(first.parameter.to_le_bytes());
                Ok(8)
            }
            kind::STATUS if to_host => lock(&device).data_in(0, 0).map(|_| 0),
            kind::STATUS => lock(&device).data_out(0, &[]).map(|()| 0),
            _ if to_host => match lock(&device).data_in(endpoint, room) {
                Ok(data) if data.len() > room => Err(Fault::Babble),
                Ok(data) => {
                    self.scatter(trbs, done, &data)?;
                    Ok(data.len())
                }
                Err(fault) => Err(fault),
            },
            _ => {
                let data = self.collect(trbs, done, room)?;
                lock(&device).data_out(endpoint, &data).map(|()| room)
            }
        };
        let n = match result {
            Ok(n) => n,
            Err(Fault::Nak) => return Ok(Step::Wait),
            Err(Fault::Stall) => return Ok(Step::Failed(Code::Stall)),
            Err(Fault::Babble) => return Ok(Step::Failed(Code::Babble)),
            Err(Fault::NoResponse) => return Ok(Step::Failed(Code::Transaction)),
        };
        *bytes = bytes.saturating_sub(n.max(64));
        if let Some(e) = self.endpoint(id, index) {
            e.done += n;
        }
        let short = to_host && n < left && (n == 0 || !n.is_multiple_of(packet));
        Ok(if short || n >= left { Step::Done { short } } else { Step::More })
    }

    /// Goes through the buffers of a TD from byte `from` on: `each` gets the TRB, the place in it and the range of the
    /// data.
    fn pieces(
        trbs: &[Trb],
        from: usize,
        len: usize,
        mut each: impl FnMut(&Trb, usize, std::ops::Range<usize>) -> Dma<()>,
    ) -> Dma<()> {
        let (mut start, mut at) = (0, 0);
        for trb in trbs.iter().filter(|t| t.has_data()) {
            let end = start + trb.len();
            let begin = (from + at).max(start);
            let n = end.saturating_sub(begin).min(len - at);
            if n != 0 {
                each(trb, begin - start, at..at + n)?;
                at += n;
            }
            start = end;
        }
        Ok(())
    }

    fn scatter(&self, trbs: &[Trb], from: usize, data: &[u8]) -> Dma<()> {
        Self::pieces(trbs, from, data.len(), |trb, at, range| {
            self.memory.write(trb.parameter.wrapping_add(at as u64), data.get(range).unwrap_or_default())
        })
    }

    fn collect(&self, trbs: &[Trb], from: usize, len: usize) -> Dma<Vec<u8>> {
        let mut data = vec![0; len];
        Self::pieces(trbs, from, len, |trb, at, range| {
            let part = data.get_mut(range).unwrap_or_default();
            if trb.has(control::IMMEDIATE) {
                let bytes = trb.parameter.to_le_bytes();
                part.iter_mut().zip(bytes.iter().skip(at)).for_each(|(to, from)| *to = *from);
                return Ok(());
            }
            self.memory.read(trb.parameter.wrapping_add(at as u64), part)
        })?;
        Ok(data)
    }

    fn event(&mut self, id: u8, index: u8, trb: &Trb, code: Code, residue: usize) -> Dma<()> {
        let status = (code as u32) << 24 | residue as u32 & 0xFF_FFFF;
        let control = trb.control & control::NO_INTERRUPT
            | kind::TRANSFER_EVENT << 10
            | u32::from(index) << 16
            | u32::from(id) << 24;
        self.post(trb.interrupter(), Trb { at: 0, parameter: trb.at, status, control })
    }

    /// Event Data: the software's own word, and the bytes since the last such TRB (4.11.5.2).
    fn event_data(&mut self, id: u8, index: u8, trb: &Trb, code: Code, bytes: usize) -> Dma<()> {
        let status = (code as u32) << 24 | bytes as u32 & 0xFF_FFFF;
        let control = trb.control & control::NO_INTERRUPT
            | control::EVENT_DATA
            | kind::TRANSFER_EVENT << 10
            | u32::from(index) << 16
            | u32::from(id) << 24;
        self.post(trb.interrupter(), Trb { at: 0, parameter: trb.parameter, status, control })
    }

    /// Reports a TD that is done, and goes on behind it.
    fn finish(&mut self, id: u8, index: u8, trbs: &[Trb], after: Place, short: bool) -> Dma<()> {
        let now = self.clock.now();
        let Some(e) = self.endpoint(id, index) else { return Ok(()) };
        let done = std::mem::take(&mut e.done);
        (e.place, e.next) = (after, now + e.interval);
        let (mut start, mut reported, mut cut) = (0, 0, false);
        for (i, trb) in trbs.iter().enumerate() {
            let end = if trb.has_data() { start + trb.len() } else { start };
            let ioc = trb.has(control::IOC);
            if trb.kind() == kind::EVENT_DATA {
                if ioc {
                    let code = if cut { Code::ShortPacket } else { Code::Success };
                    self.event_data(id, index, trb, code, start.min(done) - reported)?;
                }
                reported = start.min(done);
            } else if cut {
                // Behind a short packet only the last TRB speaks (4.10.1.1).
                if ioc && i + 1 == trbs.len() {
                    self.event(id, index, trb, Code::ShortPacket, trb.len())?;
                }
            } else if short && end > done {
                cut = true;
                if ioc || trb.has(control::SHORT) {
                    self.event(id, index, trb, Code::ShortPacket, end - done)?;
                }
            } else if ioc {
                self.event(id, index, trb, Code::Success, 0)?;
            }
            start = end;
        }
        Ok(())
    }

    /// A transaction has failed: told of at the TRB where it happened. The endpoint halts, unless it is isochronous.
    fn failed(&mut self, id: u8, index: u8, trbs: &[Trb], after: Place, code: Code) -> Dma<()> {
        let now = self.clock.now();
        let Some(e) = self.endpoint(id, index) else { return Ok(()) };
        let done = e.done;
        let goes_on = e.kind == EndpointKind::Isochronous;
        if goes_on {
            (e.place, e.done, e.next) = (after, 0, now + e.interval);
        } else {
            (e.state, e.ready) = (EndpointState::Halted, false);
        }
        if let Some((trb, left)) = at_byte(trbs, done) {
            self.event(id, index, trb, code, left)?;
        }
        if goes_on { Ok(()) } else { self.show_endpoint(id, index, None) }
    }

    /// A TRB that cannot be: the endpoint is in error until software sets its dequeue pointer.
    fn fail(&mut self, id: u8, index: u8, trb: &Trb, left: usize, code: Code) -> Dma<()> {
        if let Some(e) = self.endpoint(id, index) {
            (e.state, e.ready, e.done) = (EndpointState::Error, false, 0);
        }
        self.event(id, index, trb, code, left)?;
        self.show_endpoint(id, index, None)
    }

    /// An endpoint is being stopped: the TD that was under way says how far it has come.
    pub(super) fn tell_stopped(&mut self, id: u8, index: u8) -> Dma<()> {
        let Some((place, done)) = self.endpoint(id, index).filter(|e| e.ready).map(|e| (e.place, e.done)) else {
            return Ok(());
        };
        if let Td::Whole(trbs, _) = self.gather(place)?
            && let Some((trb, left)) = at_byte(&trbs, done)
        {
            let (trb, left) = (*trb, left);
            self.event(id, index, &trb, Code::Stopped, left)?;
        }
        Ok(())
    }
}
