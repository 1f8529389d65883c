//! Exit statistics: counters that are always there.

use std::sync::atomic::{AtomicU64, Ordering};

use whp::ExitReason;

/// What is counted, in the order of [`StatsRow`].
const REASONS: [(ExitReason, &str); 10] = [
    (ExitReason::MEMORY_ACCESS, "memory access"),
    (ExitReason::X64_IO_PORT_ACCESS, "port access"),
    (ExitReason::X64_MSR_ACCESS, "MSR access"),
    (ExitReason::X64_CPUID, "CPUID"),
    (ExitReason::X64_INTERRUPT_WINDOW, "interrupt window"),
    (ExitReason::X64_HALT, "halt"),
    (ExitReason::X64_APIC_EOI, "EOI"),
    (ExitReason::CANCELED, "canceled"),
    (ExitReason::EXCEPTION, "exception"),
    (ExitReason::UNRECOVERABLE_EXCEPTION, "triple fault"),
];

/// Counters of one processor.
#[derive(Default)]
pub struct ExitStats {
    exits: [AtomicU64; REASONS.len()],
    other: AtomicU64,
    /// Accesses served inside the run.
    pub(crate) port_accesses: AtomicU64,
    pub(crate) memory_accesses: AtomicU64,
    pub(crate) eois: AtomicU64,
}

/// Counts in a processor's own counter: only its thread does, so nothing needs to be locked for it.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// A snapshot: name and count.
pub type StatsRow = Vec<(&'static str, u64)>;

impl ExitStats {
    pub(crate) fn count(&self, reason: ExitReason) {
        let slot = REASONS.iter().position(|r| r.0 == reason);
        add(slot.map_or(&self.other, |i| &self.exits[i]), 1);
    }

    /// The counters now.
    pub fn row(&self) -> StatsRow {
        let n = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let mut row: StatsRow = REASONS.iter().zip(&self.exits).map(|(r, c)| (r.1, n(c))).collect();
        row.push(("other exits", n(&self.other)));
        row.push(("ports served in the run", n(&self.port_accesses)));
        row.push(("device memory served in the run", n(&self.memory_accesses)));
        row.push(("EOIs served in the run", n(&self.eois)));
        row
    }
}
