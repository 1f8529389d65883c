//! Message-signalled interrupts: the MSI-X capability, its table and its pending bits in a BAR.
//!
//! PCI Local Bus Specification 3.0, section 6.8.2. The function hands accesses to the two areas of its BAR to
//! [`Msix::read`] and [`Msix::write`]. Left out: accesses to the table other than by whole dwords, which have no
//! meaning (6.8.2.9).

use serde::{Deserialize, Serialize};
use vm_core::{MsiSink, StateError};

use crate::config::ConfigSpace;

const CAPABILITY: u8 = 0x11;
const ENABLE: u16 = 1 << 15;
const MASK_ALL: u16 = 1 << 14;
const VECTOR_MASKED: u32 = 1;
const ENTRY: u64 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// Address low and high, data, vector control.
    dwords: [u32; 4],
    pending: bool,
}

impl Entry {
    const AT_RESET: Self = Self { dwords: [0, 0, 0, VECTOR_MASKED], pending: false };

    fn masked(&self) -> bool {
        self.dwords[3] & VECTOR_MASKED != 0
    }
}

/// What is saved besides the configuration space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsixState {
    entries: Vec<Entry>,
}

/// Where the table and the pending bits are.
#[derive(Clone, Copy, Debug)]
pub struct MsixLayout {
    /// BAR of both.
    pub bar: u8,
    /// Number of vectors, at most 2048.
    pub vectors: u16,
    /// Offset of the table, a multiple of 8.
    pub table: u32,
    /// Offset of the pending bits, a multiple of 8.
    pub pending: u32,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Msix {
    at: u8,
    layout: MsixLayout,
    state: MsixState,
}

impl Msix {
    /// Adds the capability.
    ///
    /// # Panics
    /// For an impossible layout (a host-side error).
    #[must_use]
    pub fn add(config: ConfigSpace, layout: MsixLayout) -> (ConfigSpace, Self) {
        let MsixLayout { bar, vectors, table, pending } = layout;
        assert!((1..=2048).contains(&vectors) && bar < 6 && (table | pending) & 7 == 0, "impossible {layout:?}");
        let mut body = [0; 10];
        body[..2].copy_from_slice(&(vectors - 1).to_le_bytes());
        body[2..6].copy_from_slice(&(table | u32::from(bar)).to_le_bytes());
        body[6..].copy_from_slice(&(pending | u32::from(bar)).to_le_bytes());
        let (config, at) = config.with_capability(CAPABILITY, &body);
        let config = config.with_writable(at + 2, &(ENABLE | MASK_ALL).to_le_bytes());
        let state = MsixState { entries: vec![Entry::AT_RESET; vectors.into()] };
        (config, Self { at, layout, state })
    }

    /// The guest has switched it on: INTx is silent then.
    pub fn is_enabled(&self, config: &ConfigSpace) -> bool {
        config.u16(self.at + 2) & ENABLE != 0
    }

    fn open(&self, config: &ConfigSpace) -> bool {
        config.u16(self.at + 2) & (ENABLE | MASK_ALL) == ENABLE && config.may_master()
    }

    /// Sends the message of `vector`, or keeps it pending while it or the function is masked.
    pub fn signal(&mut self, config: &ConfigSpace, sink: &dyn MsiSink, vector: u16) {
        if !self.is_enabled(config) {
            return;
        }
        if let Some(entry) = self.state.entries.get_mut(usize::from(vector)) {
            entry.pending = true;
            self.deliver(config, sink);
        }
    }

    fn deliver(&mut self, config: &ConfigSpace, sink: &dyn MsiSink) {
        if self.open(config) {
            for entry in self.state.entries.iter_mut().filter(|e| e.pending && !e.masked()) {
                entry.pending = false;
                let [low, high, data, _] = entry.dwords;
                sink.signal(u64::from(high) << 32 | u64::from(low & !3), data);
            }
        }
    }

    /// After a configuration write: sends what is pending and no longer masked.
    pub fn config_written(&mut self, config: &ConfigSpace, sink: &dyn MsiSink) {
        self.deliver(config, sink);
    }

    /// The dword at `offset` of the BAR, if it is one of the table or of the pending bits.
    pub fn read(&self, offset: u64) -> Option<u32> {
        let entries = &self.state.entries;
        let dword = |at: u64, len: u64| offset.checked_sub(at).filter(|o| *o < len).map(|o| o / 4);
        if let Some(n) = dword(self.layout.table.into(), entries.len() as u64 * ENTRY) {
            return entries.get((n / 4) as usize)?.dwords.get((n % 4) as usize).copied();
        }
        let n = dword(self.layout.pending.into(), entries.len().div_ceil(64) as u64 * 8)?;
        let bit = |(i, e): (usize, &Entry)| u32::from(e.pending) << i;
        Some(entries.iter().skip(n as usize * 32).take(32).enumerate().map(bit).fold(0, |a, b| a | b))
    }

    /// Writes a dword. `false` when `offset` is not in the table; the pending bits are read only.
    pub fn write(&mut self, config: &ConfigSpace, sink: &dyn MsiSink, offset: u64, value: u32) -> bool {
        let Some(at) = offset.checked_sub(self.layout.table.into()) else { return false };
        let Some(entry) = self.state.entries.get_mut((at / ENTRY) as usize) else { return false };
        entry.dwords[(at % ENTRY / 4) as usize] = if at % ENTRY == 12 { value & VECTOR_MASKED } else { value };
        self.deliver(config, sink);
        true
    }

    /// All vectors masked, nothing pending.
    pub fn reset(&mut self) {
        self.state.entries.fill(Entry::AT_RESET);
    }

    /// The state to save.
    pub fn state(&self) -> MsixState {
        self.state.clone()
    }

    /// Takes a saved state.
    ///
    /// # Errors
    /// [`StateError::Mismatch`] for another number of vectors.
    pub fn restore(&mut self, device: &str, state: MsixState) -> Result<(), StateError> {
        if state.entries.len() != self.state.entries.len() {
            let reason = format!("{} MSI-X vectors instead of {}", state.entries.len(), self.state.entries.len());
            return Err(StateError::Mismatch { device: device.into(), reason });
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;
    use crate::test_sink::Seen;

    fn function() -> (ConfigSpace, Msix, Seen) {
        let id = Identity { vendor: 1, device: 2, revision: 0, class: 0, subsystem: (0, 0) };
        let layout = MsixLayout { bar: 2, vectors: 3, table: 0x3000, pending: 0x3800 };
        let (mut c, mut m) = Msix::add(ConfigSpace::endpoint(id), layout);
        let seen = Seen::default();
        c.write(4, &[4, 0]);
        for (i, v) in [0xFEE0_2000, 0, 0x31].into_iter().enumerate() {
            assert!(m.write(&c, &seen, 0x3010 + 4 * i as u64, v));
        }
        (c, m, seen)
    }

    #[test]
    fn the_capability_and_the_table_at_reset() {
        let (mut c, m, _) = function();
        assert_eq!((c.u8(0x40), c.u16(0x42), c.u32(0x44), c.u32(0x48)), (0x11, 2, 0x3002, 0x3802));
        c.write(0x42, &[0xFF, 0xFF]);
        assert_eq!(c.u16(0x42), 0xC002);
        assert_eq!([0x3000, 0x300C, 0x3018, 0x3800].map(|o| m.read(o)), [Some(0), Some(1), Some(0x31), Some(0)]);
        assert_eq!([0x2FFC, 0x3030, 0x3808].map(|o| m.read(o)), [None; 3], "three entries, eight bytes of bits");
    }

    #[test]
    fn masked_vectors_and_functions_keep_messages_pending() {
        let (mut c, mut m, seen) = function();
        m.signal(&c, &seen, 1);
        assert_eq!(m.read(0x3800), Some(0), "off: nothing happens");
        c.write(0x42, &0xC000u16.to_le_bytes());
        m.signal(&c, &seen, 1);
        m.signal(&c, &seen, 9);
        assert_eq!((m.read(0x3800), seen.take()), (Some(2), vec![]));
        m.write(&c, &seen, 0x301C, 0);
        assert_eq!(seen.take(), [], "the function is masked");
        c.write(0x42, &0x8000u16.to_le_bytes());
        m.config_written(&c, &seen);
        assert_eq!((m.read(0x3800), seen.take()), (Some(0), vec![(0xFEE0_2000, 0x31)]));
        m.write(&c, &seen, 0x301C, 1);
        m.signal(&c, &seen, 1);
        m.write(&c, &seen, 0x301C, 0xFFFF_FFFE);
        assert_eq!(seen.take(), [(0xFEE0_2000, 0x31)], "unmasking sends");
        assert!(!m.write(&c, &seen, 0x3800, 7), "pending bits are read only");
    }

    #[test]
    fn a_state_of_another_size_is_refused() {
        let (_, mut m, _) = function();
        let saved = m.state();
        m.reset();
        assert_ne!(m.state(), saved);
        m.restore("m", saved.clone()).unwrap();
        assert_eq!(m.read(0x3018), Some(0x31));
        assert!(m.restore("m", MsixState { entries: saved.entries[1..].to_vec() }).is_err());
    }
}
