//! The physical region descriptor table of an AHCI command: where a SATA drive's data goes and comes from.
//!
//! AHCI 1.3.1, section 4.2.3.3. Entries are read when they are needed.

use guest_memory::GuestMemory;

use super::bus_master::{DmaStop, Regions};

const COUNT: u32 = 0x3F_FFFF;
const INTERRUPT: u32 = 1 << 31;

/// A table and the position in it.
#[derive(Debug, Default)]
pub(crate) struct Scatter {
    next: u64,
    entries: u32,
    region: u64,
    left: u32,
    /// Bytes moved so far.
    pub(crate) moved: u32,
    /// The drive had more than there is room for; the rest was dropped.
    pub(crate) overflow: bool,
    /// A region that asks for an interrupt is full.
    pub(crate) interrupt: bool,
    interrupt_at_end: bool,
    /// Memory was not there.
    pub(crate) fault: bool,
}

impl Scatter {
    /// The `entries` entries at `table`.
    pub(crate) fn new(table: u64, entries: u16) -> Self {
        Self { next: table, entries: entries.into(), ..Self::default() }
    }
}

impl Regions for Scatter {
    fn piece(&mut self, memory: &GuestMemory, want: usize) -> Result<(u64, usize), DmaStop> {
        while self.left == 0 {
            self.entries = self.entries.checked_sub(1).ok_or(DmaStop::Exhausted)?;
            let mut prd = [0; 16];
            memory.read(self.next, &mut prd).map_err(|_| DmaStop::Fault)?;
            self.next = self.next.wrapping_add(16);
            let word = |at: usize| u32::from_le_bytes([prd[at], prd[at + 1], prd[at + 2], prd[at + 3]]);
            self.region = u64::from(word(4)) << 32 | u64::from(word(0) & !1);
            self.left = (word(12) & COUNT | 1) + 1; // a count is even
            self.interrupt_at_end = word(12) & INTERRUPT != 0;
        }
        let n = (self.left as usize).min(want);
        let at = self.region;
        self.region = self.region.wrapping_add(n as u64);
        self.left -= n as u32;
        self.moved = self.moved.wrapping_add(n as u32);
        self.interrupt |= self.left == 0 && self.interrupt_at_end;
        Ok((at, n))
    }

    fn stopped(&mut self, stop: DmaStop) -> DmaStop {
        match stop {
            DmaStop::Exhausted => self.overflow = true,
            DmaStop::Fault => self.fault = true,
        }
        stop
    }

    /// What does not fit is dropped.
    fn drive_to_memory(&mut self, memory: &GuestMemory, data: &[u8]) -> Result<(), DmaStop> {
        match self.all_to_memory(memory, data) {
            Err(DmaStop::Exhausted) => Ok(()),
            other => other,
        }
    }
}
