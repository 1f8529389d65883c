//! `usb-storage`: a disk behind the bulk-only transport.
//!
//! USB Mass Storage Class, Bulk-Only Transport 1.0: command and status wrappers (5), host and device disagreeing about
//! data (6.7, "the thirteen cases"), reset recovery (5.3.4). The commands are in [`scsi`]. Data goes through the
//! drive's queue in pieces; meanwhile the endpoints NAK, and the controller is woken when a piece is there. Left out: more
//! than one logical unit, CD-ROMs.

mod scsi;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex};

use block::{BlockOp, BlockQueue};
use serde::{Deserialize, Serialize};
use vm_core::{Shared, StateError, load_state, lock, save_state, shared};

use crate::bus::Waker;
use crate::descriptors::{Descriptors, Endpoint, Interface, Transfer};
use crate::device::{Fault, Function, Setup, Speed, UsbDevice};
use scsi::{Action, Disk, Sense, Target};

const IN: u8 = 1;
const OUT: u8 = 2;
/// Bytes asked of the drive at once.
const PIECE: u64 = 128 << 10;
const CBW_SIGNATURE: [u8; 4] = *b"USBC";
const CSW_SIGNATURE: [u8; 4] = *b"USBS";
const CBW_LEN: usize = 31;
const CSW_LEN: usize = 13;

/// A disk to put behind USB.
pub struct StorageConfig {
    /// The drive.
    pub queue: Arc<BlockQueue>,
    /// Serial number.
    pub serial: String,
    /// The medium says it can be taken out.
    pub removable: bool,
    /// The drive has a volatile write cache.
    pub write_cache: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Waits for a command wrapper.
    Command,
    /// Sends data.
    In,
    /// Takes data.
    Out,
    /// Sends the status wrapper.
    Status,
    /// Lost: everything stalls until reset recovery.
    Broken,
}

/// dCSWStatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Verdict {
    Good = 0,
    Failed = 1,
    PhaseError = 2,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    phase: Phase,
    tag: [u8; 4],
    /// Bytes the host still expects to move.
    expected: u32,
    verdict: Verdict,
    /// IN stalls once before the status, for want of data.
    stall: bool,
    buffer: Vec<u8>,
    at: usize,
    /// Next byte of the drive and bytes to go.
    position: u64,
    left: u64,
    target: Target,
    speed: Speed,
}

impl State {
    fn at_reset(speed: Speed) -> Self {
        Self {
            phase: Phase::Command,
            tag: [0; 4],
            expected: 0,
            verdict: Verdict::Good,
            stall: false,
            buffer: Vec::new(),
            at: 0,
            position: 0,
            left: 0,
            target: Target::default(),
            speed,
        }
    }

    fn packet(&self) -> usize {
        match self.speed {
            Speed::Full => 64,
            Speed::High => 512,
            Speed::Super => 1024,
        }
    }

    /// Data is over; what the host still expects is the residue.
    fn finish(&mut self, verdict: Verdict) {
        self.phase = Phase::Status;
        self.verdict = verdict;
        self.buffer = Vec::new();
        (self.at, self.left) = (0, 0);
    }

    fn fail(&mut self, sense: Sense) {
        self.target.sense = sense;
        self.finish(Verdict::Failed);
    }
}

struct Inner {
    state: State,
    /// Requests of earlier generations are nobody's any more.
    generation: u64,
    /// A request is at the drive.
    busy: bool,
    waker: Option<Waker>,
}

struct Storage {
    inner: Arc<Mutex<Inner>>,
    queue: Arc<BlockQueue>,
    disk: Disk,
}

/// Makes a storage device called `name`.
pub fn device(name: &str, most: Speed, config: StorageConfig) -> Shared<UsbDevice> {
    let StorageConfig { queue, serial, removable, write_cache } = config;
    let backend = queue.backend();
    let disk = Disk {
        blocks: backend.size() / scsi::BLOCK,
        readonly: backend.readonly(),
        removable,
        write_cache,
        serial: serial.clone(),
    };
    let state = State::at_reset(Speed::Full);
    let inner = Arc::new(Mutex::new(Inner { state, generation: 0, busy: false, waker: None }));
    let descriptors = Descriptors {
        vendor: 0x46F4,
        product: 0x0001,
        release: 0,
        class: [0; 3],
        strings: ["QEMU".into(), "QEMU USB HARDDRIVE".into(), serial],
        remote_wakeup: false,
        self_powered: true,
        max_power: 0,
        interface: Interface {
            class: [8, 6, 0x50],
            extra: vec![],
            endpoints: vec![
                Endpoint { address: 0x80 | IN, transfer: Transfer::Bulk },
                Endpoint { address: OUT, transfer: Transfer::Bulk },
            ],
        },
    };
    shared(UsbDevice::new(name, most, descriptors, Box::new(Storage { inner, queue, disk })))
}

impl Storage {
    /// Gives the drive a request; `then` takes its result into the state.
    fn submit(
        &self,
        inner: &mut Inner,
        op: BlockOp,
        then: impl FnOnce(&mut State, io::Result<Vec<u8>>) + Send + 'static,
    ) {
        inner.busy = true;
        let generation = inner.generation;
        let shared = self.inner.clone();
        self.queue.submit(op, move |result| {
            let waker = {
                let mut inner = lock(&shared);
                if inner.generation != generation {
                    return;
                }
                inner.busy = false;
                then(&mut inner.state, result);
                inner.waker.clone()
            };
            if let Some(waker) = waker {
                waker();
            }
        });
    }

    fn read_piece(&self, inner: &mut Inner) {
        let s = &mut inner.state;
        let len = s.left.min(PIECE);
        let offset = s.position;
        s.position += len;
        s.left -= len;
        self.submit(inner, BlockOp::Read { offset, len: len as usize }, |s, result| match result {
            Ok(data) => (s.buffer, s.at) = (data, 0),
            Err(_) => {
                s.stall = s.expected != 0;
                s.fail(Sense::READ_ERROR);
            }
        });
    }

    fn write_piece(&self, inner: &mut Inner) {
        let s = &mut inner.state;
        let data = std::mem::take(&mut s.buffer);
        let offset = s.position;
        s.position += data.len() as u64;
        s.left = s.left.saturating_sub(data.len() as u64);
        self.submit(inner, BlockOp::Write { offset, data }, |s, result| match result {
            Ok(_) if s.left != 0 => {}
            result => {
                match result {
                    Ok(_) => s.finish(Verdict::Good),
                    Err(_) => s.fail(Sense::WRITE_ERROR),
                }
                if s.expected != 0 {
                    s.phase = Phase::Out; // what the host still sends is thrown away
                }
            }
        });
    }

    fn command(&self, inner: &mut Inner, data: &[u8]) -> Result<(), Fault> {
        let wrapper = <[u8; CBW_LEN]>::try_from(data).ok().filter(|w| w[..4] == CBW_SIGNATURE);
        let Some(w) = wrapper.filter(|w| w[13] & 0xF0 == 0 && (1..=16).contains(&w[14])) else {
            inner.state.phase = Phase::Broken;
            return Err(Fault::Stall);
        };
        let s = &mut inner.state;
        s.tag = [w[4], w[5], w[6], w[7]];
        s.expected = u32::from_le_bytes([w[8], w[9], w[10], w[11]]);
        s.stall = false;
        let to_host = w[12] & 0x80 != 0;
        let mut cdb = [0; 16];
        let len = usize::from(w[14]);
        cdb[..len].copy_from_slice(&w[15..15 + len]);
        let action = s.target.command(&self.disk, w[13] & 0xF, &cdb);
        let expected = u64::from(s.expected);
        match action {
            Err(sense) => {
                s.fail(sense);
                return self.no_data(inner, to_host);
            }
            Ok(Action::None) => s.finish(Verdict::Good),
            Ok(Action::Flush) => {
                s.finish(Verdict::Good);
                self.submit(inner, BlockOp::Flush, |s, result| {
                    if result.is_err() {
                        s.fail(Sense::WRITE_ERROR);
                    }
                });
            }
            Ok(Action::Data(mut data)) if to_host && expected != 0 => {
                data.truncate(s.expected as usize);
                (s.buffer, s.at, s.left, s.phase) = (data, 0, 0, Phase::In);
                self.after_in(inner);
                return Ok(());
            }
            Ok(Action::Data(_)) if expected == 0 => s.finish(Verdict::Good),
            Ok(Action::Read { offset, len }) if to_host && len <= expected => {
                (s.position, s.left, s.phase) = (offset, len, Phase::In);
                s.buffer.clear();
                self.read_piece(inner);
                return Ok(());
            }
            Ok(Action::Write { offset, len }) if !to_host && len <= expected => {
                (s.position, s.left, s.phase) = (offset, len, Phase::Out);
                s.buffer.clear();
                return Ok(());
            }
            // Cases 2, 3, 7, 8, 10, 13: what the wrapper says does not go with the command.
            Ok(_) => s.finish(Verdict::PhaseError),
        }
        self.no_data(inner, to_host)
    }

    /// The host expects data that will not come, or wants to send data that nobody takes.
    fn no_data(&self, inner: &mut Inner, to_host: bool) -> Result<(), Fault> {
        let s = &mut inner.state;
        if s.expected != 0 && to_host {
            s.stall = true;
        } else if s.expected != 0 {
            s.phase = Phase::Out; // data is taken and thrown away
        }
        Ok(())
    }

    /// After bytes went to the host (or none did): what comes next.
    fn after_in(&self, inner: &mut Inner) {
        let s = &mut inner.state;
        if s.at < s.buffer.len() {
            return;
        }
        if s.left != 0 {
            self.read_piece(inner);
            return;
        }
        // A short packet tells the host that this was all; without one the endpoint stalls (case 5).
        let ended = s.expected == 0 || !s.buffer.len().is_multiple_of(s.packet());
        s.stall = !ended;
        s.finish(Verdict::Good);
    }

    fn take_out(&self, inner: &mut Inner, data: &[u8]) {
        let s = &mut inner.state;
        s.expected = s.expected.saturating_sub(data.len() as u32);
        if s.left != 0 {
            let room = s.left.saturating_sub(s.buffer.len() as u64);
            s.buffer.extend(data.iter().take(usize::try_from(room).unwrap_or(usize::MAX)));
            if s.buffer.len() as u64 >= s.left.min(PIECE) {
                self.write_piece(inner);
            }
        } else if s.expected == 0 {
            s.phase = Phase::Status;
        }
    }

    fn status(s: &mut State, max: usize) -> Result<Vec<u8>, Fault> {
        if max < CSW_LEN {
            return Err(Fault::Babble);
        }
        s.phase = Phase::Command;
        let mut wrapper = CSW_SIGNATURE.to_vec();
        wrapper.extend(s.tag);
        wrapper.extend(s.expected.to_le_bytes());
        wrapper.push(s.verdict as u8);
        Ok(wrapper)
    }

    fn restart(&self, speed: Option<Speed>) {
        let mut inner = lock(&self.inner);
        inner.generation += 1;
        inner.busy = false;
        let speed = speed.unwrap_or(inner.state.speed);
        inner.state = State::at_reset(speed);
    }
}

impl Function for Storage {
    fn control_in(&mut self, s: &Setup) -> Result<Vec<u8>, Fault> {
        // Get Max LUN
        if (s.request_type, s.request) == (0xA1, 0xFE) { Ok(vec![0]) } else { Err(Fault::Stall) }
    }

    fn control_out(&mut self, s: &Setup, _data: &[u8]) -> Result<(), Fault> {
        if (s.request_type, s.request) != (0x21, 0xFF) {
            return Err(Fault::Stall);
        }
        self.restart(None); // Bulk-Only Mass Storage Reset
        Ok(())
    }

    fn data_in(&mut self, _endpoint: u8, max: usize) -> Result<Vec<u8>, Fault> {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        if inner.busy {
            return Err(Fault::Nak);
        }
        let s = &mut inner.state;
        match s.phase {
            Phase::In => {
                let end = s.buffer.len().min(s.at.saturating_add(max)).min(s.at.saturating_add(s.expected as usize));
                let part = s.buffer.get(s.at..end).unwrap_or_default().to_vec();
                s.at = end;
                s.expected = s.expected.saturating_sub(part.len() as u32);
                self.after_in(inner);
                Ok(part)
            }
            Phase::Status if std::mem::take(&mut s.stall) => Err(Fault::Stall),
            Phase::Status => Self::status(s, max),
            Phase::Command | Phase::Out => Err(Fault::Nak),
            Phase::Broken => Err(Fault::Stall),
        }
    }

    fn data_out(&mut self, _endpoint: u8, data: &[u8]) -> Result<(), Fault> {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        if inner.busy {
            return Err(Fault::Nak);
        }
        match inner.state.phase {
            Phase::Command => self.command(inner, data),
            Phase::Out => {
                self.take_out(inner, data);
                Ok(())
            }
            // A wrapper out of turn is not valid (6.6.1).
            Phase::In | Phase::Status => {
                inner.state.finish(Verdict::PhaseError);
                inner.state.phase = Phase::Broken;
                Err(Fault::Stall)
            }
            Phase::Broken => Err(Fault::Stall),
        }
    }

    fn reset(&mut self, speed: Speed) {
        self.restart(Some(speed));
    }

    fn configured(&mut self, _on: bool) {}

    fn halt_cleared(&mut self, _endpoint: u8) {}

    fn set_waker(&mut self, waker: Option<Waker>) {
        lock(&self.inner).waker = waker;
    }

    fn pending(&self) -> bool {
        false
    }

    fn child(&self, _address: u8) -> Option<Shared<UsbDevice>> {
        None
    }

    /// The drive's queue must be drained before.
    fn save(&self) -> Result<Vec<u8>, StateError> {
        let inner = lock(&self.inner);
        if inner.busy {
            let reason = "a request is still at the drive".into();
            return Err(StateError::Mismatch { device: "usb-storage".into(), reason });
        }
        save_state("usb-storage", &inner.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let state: State = load_state("usb-storage", bytes)?;
        let bad = |reason: &str| Err(StateError::Mismatch { device: "usb-storage".into(), reason: reason.into() });
        let size = self.disk.blocks.saturating_mul(scsi::BLOCK);
        if state.position.checked_add(state.left).is_none_or(|end| end > size) {
            return bad("a transfer reaches past the end of the drive");
        }
        if state.at > state.buffer.len() || state.buffer.len() as u64 > PIECE {
            return bad("impossible buffer");
        }
        let mut inner = lock(&self.inner);
        inner.generation += 1;
        inner.busy = false;
        inner.state = state;
        Ok(())
    }
}
