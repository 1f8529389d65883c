//! Slots and endpoints, and the contexts in guest memory that show them.
//!
//! xHCI 1.1, sections 4.5 (slots), 4.8 (endpoints), 6.2 (contexts, of 32 bytes). The controller works from its own
//! copy, so what software does to an output context behind its back changes nothing.

use serde::{Deserialize, Serialize};

use super::ring::{Dma, Place};
use super::{SLOTS, Xhci};

/// Bytes of a context.
const CONTEXT: u64 = 32;
/// Endpoint contexts of a slot; device context index 1 is the first.
pub(super) const ENDPOINTS: usize = 31;
/// Nanoseconds of a microframe.
const MICROFRAME: u64 = 125_000;

/// Slot states (6.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum SlotState {
    /// Shown as 0, as [`SlotState::Enabled`] is.
    Disabled,
    Enabled,
    Default,
    Addressed,
    Configured,
}

impl SlotState {
    fn code(self) -> u32 {
        (self as u32).saturating_sub(1)
    }
}

/// Endpoint states (6.2.3); `Disabled` is an endpoint that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum EndpointState {
    Running = 1,
    Halted = 2,
    Stopped = 3,
    Error = 4,
}

/// Endpoint types (table 6-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum EndpointKind {
    Control,
    Bulk,
    Interrupt,
    Isochronous,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Endpoint {
    pub(super) kind: EndpointKind,
    pub(super) state: EndpointState,
    /// The TD that is next or under way.
    pub(super) place: Place,
    pub(super) max_packet: usize,
    /// Between two transactions of a periodic endpoint, in ns.
    pub(super) interval: u64,
    /// Not before this time.
    pub(super) next: u64,
    /// The doorbell was rung, and the ring has not been seen empty since.
    pub(super) ready: bool,
    /// Bytes of the TD that are done.
    pub(super) done: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Slot {
    pub(super) state: SlotState,
    /// Address of the output device context.
    pub(super) context: u64,
    /// Index of the root port.
    pub(super) port: usize,
    pub(super) address: u8,
    pub(super) endpoints: Vec<Option<Endpoint>>,
}

impl Slot {
    pub(super) fn at_reset() -> Self {
        let endpoints = vec![None; ENDPOINTS];
        Self { state: SlotState::Disabled, context: 0, port: 0, address: 0, endpoints }
    }

    pub(super) fn is_valid(&self) -> bool {
        self.endpoints.len() == ENDPOINTS && self.address < 128
    }

    /// The endpoint with a device context index.
    pub(super) fn endpoint(&mut self, index: u8) -> Option<&mut Endpoint> {
        self.endpoints.get_mut(usize::from(index).checked_sub(1)?)?.as_mut()
    }
}

/// A context as it is in memory.
pub(super) type Context = [u32; 8];

/// The root port that a slot context names, from 1.
pub(super) fn root_port(slot: &Context) -> u32 {
    slot[1] >> 16 & 0xFF
}

/// The endpoint that an input endpoint context describes, if that is possible for device context index `index`.
pub(super) fn parse(index: u8, context: &Context) -> Option<Endpoint> {
    let (kind, to_host) = match context[1] >> 3 & 7 {
        1 => (EndpointKind::Isochronous, false),
        2 => (EndpointKind::Bulk, false),
        3 => (EndpointKind::Interrupt, false),
        4 => (EndpointKind::Control, true),
        5 => (EndpointKind::Isochronous, true),
        6 => (EndpointKind::Bulk, true),
        7 => (EndpointKind::Interrupt, true),
        _ => return None,
    };
    let max_packet = (context[1] >> 16) as usize;
    let streams = context[0] >> 10 & 0x1F;
    if max_packet == 0 || streams != 0 || to_host != (index & 1 == 1) {
        return None;
    }
    let exponent = (context[0] >> 16 & 0xFF).min(16);
    Some(Endpoint {
        kind,
        state: EndpointState::Running,
        place: Place::new(u64::from(context[3]) << 32 | u64::from(context[2])),
        max_packet,
        interval: MICROFRAME << exponent,
        next: 0,
        ready: false,
        done: 0,
    })
}

impl Xhci {
    pub(super) fn slot(&mut self, id: u8) -> Option<&mut Slot> {
        let slot = self.state.slots.get_mut(usize::from(id).checked_sub(1)?)?;
        (slot.state != SlotState::Disabled).then_some(slot)
    }

    pub(super) fn load_context(&self, at: u64, index: u64) -> Dma<Context> {
        let mut bytes = [[0; 4]; 8];
        self.memory.read(at.wrapping_add(index * CONTEXT), bytes.as_flattened_mut())?;
        Ok(bytes.map(u32::from_le_bytes))
    }

    fn store_context(&self, at: u64, index: u64, context: &Context) -> Dma<()> {
        let bytes = context.map(u32::to_le_bytes);
        self.memory.write(at.wrapping_add(index * CONTEXT), bytes.as_flattened())
    }

    /// The device context that the base address array names for a slot.
    pub(super) fn device_context(&self, id: u8) -> Dma<u64> {
        let mut bytes = [0; 8];
        self.memory.read(self.state.dcbaap.wrapping_add(u64::from(id) * 8), &mut bytes)?;
        Ok(u64::from_le_bytes(bytes) & !0x3F)
    }

    /// Writes the slot context: `input` (or what is there), with state and address.
    pub(super) fn show_slot(&mut self, id: u8, input: Option<Context>) -> Dma<()> {
        let Some(&Slot { state, context, address, .. }) = self.slot(id).as_deref() else { return Ok(()) };
        let mut shown = match input {
            Some(c) => c,
            None => self.load_context(context, 0)?,
        };
        shown[3] = state.code() << 27 | u32::from(address);
        self.store_context(context, 0, &shown)
    }

    /// Writes an endpoint context: `input` (or what is there), with state and dequeue pointer.
    pub(super) fn show_endpoint(&mut self, id: u8, index: u8, input: Option<Context>) -> Dma<()> {
        let Some(slot) = self.slot(id) else { return Ok(()) };
        let at = slot.context;
        let shown = slot.endpoint(index).map(|e| (e.state as u32, e.place.bits()));
        let mut c = match input {
            Some(c) => c,
            None => self.load_context(at, index.into())?,
        };
        let (state, place) = shown.unwrap_or_default();
        c[0] = c[0] & !7 | state;
        (c[2], c[3]) = (place as u32, (place >> 32) as u32);
        self.store_context(at, index.into(), &c)
    }

    /// Takes a slot out of use.
    pub(super) fn free_slot(&mut self, id: u8) -> Dma<()> {
        let Some(slot) = self.slot(id) else { return Ok(()) };
        let had = slot.context;
        *slot = Slot::at_reset();
        if had != 0 {
            let mut shown = self.load_context(had, 0)?;
            shown[3] = 0;
            self.store_context(had, 0, &shown)?;
        }
        Ok(())
    }

    /// The lowest slot that is free and that software has allowed.
    pub(super) fn free_id(&self) -> Option<u8> {
        let allowed = usize::from(self.state.config as u8).min(SLOTS);
        let free = self.state.slots.iter().take(allowed).position(|s| s.state == SlotState::Disabled);
        free.and_then(|i| u8::try_from(i + 1).ok())
    }
}
