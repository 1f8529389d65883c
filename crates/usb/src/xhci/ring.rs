//! Transfer request blocks and the rings that software fills.
//!
//! xHCI 1.1, sections 4.9 (rings), 4.11 (TRBs), 6.4 (TRB formats).

use guest_memory::{GuestMemory, MemoryAccessError};
use serde::{Deserialize, Serialize};

pub(super) type Dma<T> = Result<T, MemoryAccessError>;

/// Bytes of a TRB.
pub(super) const TRB: u64 = 16;

/// TRB types (table 6-91).
pub(super) mod kind {
    pub(crate) const NORMAL: u32 = 1;
    pub(crate) const SETUP: u32 = 2;
    pub(crate) const DATA: u32 = 3;
    pub(crate) const STATUS: u32 = 4;
    pub(crate) const ISOCH: u32 = 5;
    pub(crate) const LINK: u32 = 6;
    pub(crate) const EVENT_DATA: u32 = 7;
    pub(crate) const NO_OP: u32 = 8;
    pub(crate) const ENABLE_SLOT: u32 = 9;
    pub(crate) const DISABLE_SLOT: u32 = 10;
    pub(crate) const ADDRESS_DEVICE: u32 = 11;
    pub(crate) const CONFIGURE_ENDPOINT: u32 = 12;
    pub(crate) const EVALUATE_CONTEXT: u32 = 13;
    pub(crate) const RESET_ENDPOINT: u32 = 14;
    pub(crate) const STOP_ENDPOINT: u32 = 15;
    pub(crate) const SET_DEQUEUE: u32 = 16;
    pub(crate) const RESET_DEVICE: u32 = 17;
    pub(crate) const PORT_BANDWIDTH: u32 = 21;
    pub(crate) const NO_OP_COMMAND: u32 = 23;
    pub(crate) const TRANSFER_EVENT: u32 = 32;
    pub(crate) const COMMAND_COMPLETION: u32 = 33;
    pub(crate) const PORT_STATUS_CHANGE: u32 = 34;
    pub(crate) const HOST_CONTROLLER: u32 = 37;
    /// NEC's own: the answer to, and the question for, the firmware's version.
    pub(crate) const NEC_COMPLETION: u32 = 48;
    pub(crate) const NEC_FIRMWARE: u32 = 49;
}

/// Bits of a TRB's last dword.
pub(super) mod control {
    pub(crate) const CYCLE: u32 = 1;
    /// Link TRBs: toggle the cycle.
    pub(crate) const TOGGLE: u32 = 1 << 1;
    pub(crate) const SHORT: u32 = 1 << 2;
    pub(crate) const EVENT_DATA: u32 = 1 << 2;
    pub(crate) const CHAIN: u32 = 1 << 4;
    pub(crate) const IOC: u32 = 1 << 5;
    pub(crate) const IMMEDIATE: u32 = 1 << 6;
    pub(crate) const NO_INTERRUPT: u32 = 1 << 9;
    /// Data and status stage: to the host.
    pub(crate) const IN: u32 = 1 << 16;
}

/// Completion codes (table 6-90).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Success = 1,
    Babble = 3,
    Transaction = 4,
    Trb = 5,
    Stall = 6,
    NoSlots = 9,
    SlotNotEnabled = 11,
    EndpointNotEnabled = 12,
    ShortPacket = 13,
    Parameter = 17,
    ContextState = 19,
    EventRingFull = 21,
    CommandRingStopped = 24,
    Stopped = 26,
}

/// A transfer request block and where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trb {
    pub(super) at: u64,
    pub(super) parameter: u64,
    pub(super) status: u32,
    pub(super) control: u32,
}

impl Trb {
    pub(super) fn load(memory: &GuestMemory, at: u64) -> Dma<Self> {
        let mut bytes = [0; TRB as usize];
        memory.read(at, &mut bytes)?;
        let [a, b, status, control] = [0, 4, 8, 12].map(|i| dword(&bytes, i));
        Ok(Self { at, parameter: u64::from(b) << 32 | u64::from(a), status, control })
    }

    pub(super) fn store(&self, memory: &GuestMemory) -> Dma<()> {
        let mut bytes = [0; TRB as usize];
        bytes[..8].copy_from_slice(&self.parameter.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.status.to_le_bytes());
        // The cycle bit last, so that the other side sees a whole TRB.
        memory.write(self.at, &bytes[..12])?;
        memory.write(self.at.wrapping_add(12), &self.control.to_le_bytes())
    }

    pub(super) fn kind(&self) -> u32 {
        self.control >> 10 & 0x3F
    }

    pub(super) fn has(&self, bit: u32) -> bool {
        self.control & bit != 0
    }

    pub(super) fn slot(&self) -> u8 {
        (self.control >> 24) as u8
    }

    pub(super) fn endpoint(&self) -> u8 {
        (self.control >> 16 & 0x1F) as u8
    }

    /// Bytes of a transfer TRB.
    pub(super) fn len(&self) -> usize {
        (self.status & 0x1_FFFF) as usize
    }

    pub(super) fn interrupter(&self) -> u16 {
        (self.status >> 22) as u16
    }

    /// It moves data (as opposed to Link, Event Data and No Op).
    pub(super) fn has_data(&self) -> bool {
        matches!(self.kind(), kind::NORMAL | kind::SETUP | kind::DATA | kind::ISOCH)
    }
}

pub(super) fn dword(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

/// A place in a ring: where the next TRB is and which cycle bit makes it valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) cycle: bool,
}

impl Place {
    /// From a register or context: pointer and dequeue cycle state.
    pub(super) fn new(value: u64) -> Self {
        Self { at: value & !0xF, cycle: value & 1 != 0 }
    }

    /// As contexts hold it.
    pub(super) fn bits(self) -> u64 {
        self.at | u64::from(self.cycle)
    }

    /// The TRB here, if software has filled it.
    pub(super) fn peek(self, memory: &GuestMemory) -> Dma<Option<Trb>> {
        let trb = Trb::load(memory, self.at)?;
        Ok((trb.has(control::CYCLE) == self.cycle).then_some(trb))
    }

    /// Behind `trb`, which is here; a Link TRB leads elsewhere.
    pub(super) fn after(self, trb: &Trb) -> Self {
        match trb.kind() {
            kind::LINK => Self { at: trb.parameter & !0xF, cycle: self.cycle ^ trb.has(control::TOGGLE) },
            _ => Self { at: self.at.wrapping_add(TRB), cycle: self.cycle },
        }
    }
}
