//! Message-signalled interrupts: the MSI-X capability, its table and its pending bits in a BAR.
//!
//! PCI Local Bus Specification 3.0, section 6.8.2. The function hands accesses to the two areas of its BAR to
//! [`Msix::read`] and [`Msix::write`]. Left out: accesses to the table other than by whole dwords, which have no
//! meaning (6.8.2.9).

use serde::{Deserialize, Serialize};
use vm_core::MsiSink;

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// See the module's documentation. The state is the function's to keep.
#[derive(Clone, Copy, Debug)]
pub struct Msix {
    at: u8,
    layout: MsixLayout,
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
        (config, Self { at, layout })
    }

    /// All vectors masked, nothing pending.
    pub fn at_reset(&self) -> MsixState {
        MsixState { entries: vec![Entry::AT_RESET; self.layout.vectors.into()] }
    }

    /// Whether a saved state has the right number of vectors.
    pub fn fits(&self, state: &MsixState) -> bool {
        state.entries.len() == usize::from(self.layout.vectors)
    }

    /// The guest has switched it on: INTx is silent then.
    pub fn is_enabled(&self, config: &ConfigSpace) -> bool {
        config.u16(self.at + 2) & ENABLE != 0
    }

    fn open(&self, config: &ConfigSpace) -> bool {
        config.u16(self.at + 2) & (ENABLE | MASK_ALL) == ENABLE && config.may_master()
    }

    /// Sends the message of `vector`, or keeps it pending while it or the function is masked.
    pub fn signal(&self, state: &mut MsixState, config: &ConfigSpace, sink: &dyn MsiSink, vector: u16) {
        if !self.is_enabled(config) {
            return;
        }
        if let Some(entry) = state.entries.get_mut(usize::from(vector)) {
            entry.pending = true;
            self.deliver(state, config, sink);
        }
    }

    /// Sends what is pending and not masked; to be called after a configuration write.
    pub fn deliver(&self, state: &mut MsixState, config: &ConfigSpace, sink: &dyn MsiSink) {
        if self.open(config) {
            for entry in state.entries.iter_mut().filter(|e| e.pending && !e.masked()) {
                entry.pending = false;
                let [low, high, data, _] = entry.dwords;
                sink.signal(u64::from(high) << 32 | u64::from(low & !3), data);
            }
        }
    }

    /// The dword at `offset` of the BAR, if it is one of the table or of the pending bits.
    pub fn read(&self, state: &MsixState, offset: u64) -> Option<u32> {
        let entries = &state.entries;
        let dword = |at: u64, len: u64| offset.checked_sub(at).filter(|o| *o < len).map(|o| o / 4);
        if let Some(n) = dword(self.layout.table.into(), entries.len() as u64 * ENTRY) {
            return entries.get((n / 4) as usize)?.dwords.get((n % 4) as usize).copied();
        }
        let n = dword(self.layout.pending.into(), entries.len().div_ceil(64) as u64 * 8)?;
        let bit = |(i, e): (usize, &Entry)| u32::from(e.pending) << i;
        Some(entries.iter().skip(n as usize * 32).take(32).enumerate().map(bit).fold(0, |a, b| a | b))
    }

    /// Writes a dword. `false` when `offset` is not in the table; the pending bits are read only.
    pub fn write(
        &self,
        state: &mut MsixState,
        config: &ConfigSpace,
        sink: &dyn MsiSink,
        (offset, value): (u64, u32),
    ) -> bool {
        let Some(at) = offset.checked_sub(self.layout.table.into()) else { return false };
        let Some(entry) = state.entries.get_mut((at / ENTRY) as usize) else { return false };
        entry.dwords[(at % ENTRY / 4) as usize] = if at % ENTRY == 12 { value & VECTOR_MASKED } else { value };
        self.deliver(state, config, sink);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;
    use crate::test_sink::Seen;

    struct Function {
        c: ConfigSpace,
        m: Msix,
        state: MsixState,
        seen: Seen,
    }

    impl Function {
        fn new() -> Self {
            let id = Identity { vendor: 1, device: 2, revision: 0, class: 0, subsystem: (0, 0) };
            let layout = MsixLayout { bar: 2, vectors: 3, table: 0x3000, pending: 0x3800 };
            let (mut c, m) = Msix::add(ConfigSpace::endpoint(id), layout);
            c.write(4, &[4, 0]);
            let mut f = Self { c, m, state: m.at_reset(), seen: Seen::default() };
            for (i, v) in [0xFEE0_2000, 0, 0x31].into_iter().enumerate() {
                assert!(f.write(0x3010 + 4 * i as u64, v));
            }
            f
        }

        fn read(&self, offset: u64) -> Option<u32> {
            self.m.read(&self.state, offset)
        }

        fn write(&mut self, offset: u64, value: u32) -> bool {
            self.m.write(&mut self.state, &self.c, &self.seen, (offset, value))
        }

        fn signal(&mut self, vector: u16) {
            self.m.signal(&mut self.state, &self.c, &self.seen, vector);
        }

        fn control(&mut self, value: u16) {
            self.c.write(0x42, &value.to_le_bytes());
            self.m.deliver(&mut self.state, &self.c, &self.seen);
        }
    }

    #[test]
    fn the_capability_and_the_table_at_reset() {
        let mut f = Function::new();
        assert_eq!((f.c.u8(0x40), f.c.u16(0x42), f.c.u32(0x44), f.c.u32(0x48)), (0x11, 2, 0x3002, 0x3802));
        f.control(0xFFFF);
        assert_eq!(f.c.u16(0x42), 0xC002);
        assert_eq!([0x3000, 0x300C, 0x3018, 0x3800].map(|o| f.read(o)), [Some(0), Some(1), Some(0x31), Some(0)]);
        assert_eq!([0x2FFC, 0x3030, 0x3808].map(|o| f.read(o)), [None; 3], "three entries, eight bytes of bits");
        f.state.entries.pop();
        assert!(!f.m.fits(&f.state));
    }

    #[test]
    fn masked_vectors_and_functions_keep_messages_pending() {
        let mut f = Function::new();
        f.signal(1);
        assert_eq!(f.read(0x3800), Some(0), "off: nothing happens");
        f.control(0xC000);
        f.signal(1);
        f.signal(9);
        assert_eq!((f.read(0x3800), f.seen.take()), (Some(2), vec![]));
        f.write(0x301C, 0);
        assert_eq!(f.seen.take(), [], "the function is masked");
        f.control(0x8000);
        assert_eq!((f.read(0x3800), f.seen.take()), (Some(0), vec![(0xFEE0_2000, 0x31)]));
        f.write(0x301C, 1);
        f.signal(1);
        f.write(0x301C, 0xFFFF_FFFE);
        assert_eq!(f.seen.take(), [(0xFEE0_2000, 0x31)], "unmasking sends");
        assert!(!f.write(0x3800, 7), "pending bits are read only");
    }
}
