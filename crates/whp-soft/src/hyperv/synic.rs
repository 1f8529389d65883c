//! The synthetic interrupt controller of a processor (TLFS, "Virtual Interrupt Controllers"): 16 sources, the message
//! page and the event flags page. Messages here are those of the timers; event flags are signalled by nobody yet.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use guest_memory::RamBlock;

use super::ENABLE;

/// Number of sources.
pub(crate) const SOURCES: usize = 16;
/// Bytes of a message slot.
const SLOT: u64 = 256;
/// A slot's fields: type (0 when free), payload size, flags.
const SIZE_AND_FLAGS: u64 = 4;
const FLAGS: u64 = 5;
const SENDER: u64 = 8;
const PAYLOAD: u64 = 16;
/// The flag for "more is waiting: write EOM".
const PENDING: u8 = 1;

/// Bits of SINTx.
const MASKED: u64 = 1 << 16;
const AUTO_EOI: u64 = 1 << 17;
const POLLING: u64 = 1 << 18;

/// A message of the hypervisor (sender 0).
pub(super) struct Message<'a> {
    pub(super) kind: u32,
    /// At most 240 bytes.
    pub(super) payload: &'a [u8],
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// It is in its slot; this vector is to be asserted.
    Yes(Option<u8>),
    /// The slot is taken, or there is no page: later.
    Not,
}

/// See the module's documentation.
#[derive(Clone, Default)]
pub(crate) struct Synic {
    pub(super) control: u64,
    pub(super) event_flags: u64,
    pub(super) messages: u64,
    pub(super) sint: [u64; SOURCES],
    pub(super) event_flags_page: Option<Arc<RamBlock>>,
    pub(super) message_page: Option<Arc<RamBlock>>,
}

impl Synic {
    /// All sources masked, nothing enabled. Pages that were made are kept for the next use.
    pub(super) fn reset(&mut self) {
        (self.control, self.event_flags, self.messages) = (0, 0, 0);
        self.sint = [MASKED; SOURCES];
    }

    /// SCONTROL.
    pub(crate) fn control(&self) -> u64 {
        self.control
    }

    /// Writes SCONTROL.
    pub(crate) fn set_control(&mut self, value: u64) {
        self.control = value;
    }

    /// Writes SINTx. `false`: #GP (a vector below 16 that could be asserted).
    pub(crate) fn set_sint(&mut self, source: usize, value: u64) -> bool {
        let asserts = value & (MASKED | POLLING) == 0;
        if asserts && value & 0xFF < 16 {
            return false;
        }
        if let Some(sint) = self.sint.get_mut(source) {
            *sint = value;
        }
        true
    }

    /// An interrupt with `vector` ends by itself when it is delivered.
    pub(crate) fn auto_eoi(&self, vector: u8) -> bool {
        let of = |sint: &u64| sint & (MASKED | AUTO_EOI) == AUTO_EOI && sint & 0xFF == u64::from(vector);
        self.control & ENABLE != 0 && self.sint.iter().any(of)
    }

    /// Puts a message into the slot of `source`.
    pub(super) fn post(&self, source: usize, message: &Message<'_>) -> Posted {
        let enabled = self.control & self.messages & ENABLE != 0;
        let (Some(page), Some(sint), true) = (&self.message_page, self.sint.get(source), enabled) else {
            return Posted::Not;
        };
        let slot = source as u64 * SLOT;
        if !take(page, slot) {
            return Posted::Not;
        }
        let size = message.payload.len().min(240);
        page.write(slot + SIZE_AND_FLAGS, &[size as u8, 0, 0, 0]);
        page.write(slot + SENDER, &[0; 8]);
        page.write(slot + PAYLOAD, &message.payload[..size]);
        // The guest looks at the type first.
        fence(Ordering::SeqCst);
        page.write(slot, &message.kind.to_le_bytes());
        Posted::Yes((sint & (MASKED | POLLING) == 0).then_some(*sint as u8))
    }
}

/// Whether the slot is free; if not, the guest is told to say when it is.
fn take(page: &RamBlock, slot: u64) -> bool {
    let free = || {
        let mut kind = [0; 4];
        page.read(slot, &mut kind) && kind == [0; 4]
    };
    if free() {
        return true;
    }
    let mut flags = [0];
    page.read(slot + FLAGS, &mut flags);
    page.write(slot + FLAGS, &[flags[0] | PENDING]);
    fence(Ordering::SeqCst);
    // It may have been freed before the flag could be seen.
    free()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synic() -> Synic {
        let mut s = Synic { message_page: Some(RamBlock::new("messages", 4096).unwrap()), ..Synic::default() };
        s.reset();
        (s.control, s.messages) = (1, 0x5001);
        s
    }

    fn slot(s: &Synic, n: u64) -> [u8; 32] {
        let mut bytes = [0; 32];
        assert!(s.message_page.as_ref().unwrap().read(n * SLOT, &mut bytes));
        bytes
    }

    #[test]
    fn a_taken_slot_is_flagged_and_waits() {
        let mut s = synic();
        assert!(s.set_sint(2, 0x50));
        let m = Message { kind: 0x8000_0010, payload: &[1, 2, 3, 4] };
        assert_eq!(s.post(2, &m), Posted::Yes(Some(0x50)));
        assert_eq!(slot(&s, 2)[..20], [0x10, 0, 0, 0x80, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(s.post(2, &m), Posted::Not);
        assert_eq!(slot(&s, 2)[5], PENDING);
        s.message_page.as_ref().unwrap().write(2 * SLOT, &[0; 4]);
        assert_eq!(s.post(2, &m), Posted::Yes(Some(0x50)));
        assert_eq!(slot(&s, 2)[5], 0);
        assert_eq!(s.post(3, &m), Posted::Yes(None), "masked: the message comes, no interrupt does");
        s.control = 0;
        assert_eq!(s.post(4, &m), Posted::Not);
    }

    #[test]
    fn sources_have_their_rules() {
        let mut s = synic();
        assert!(!s.set_sint(0, 15) && s.set_sint(0, MASKED) && s.set_sint(0, POLLING));
        assert!(s.set_sint(1, AUTO_EOI | 0x40));
        assert!(s.auto_eoi(0x40) && !s.auto_eoi(0x41));
        assert!(s.set_sint(1, AUTO_EOI | MASKED | 0x40));
        assert!(!s.auto_eoi(0x40));
    }
}
