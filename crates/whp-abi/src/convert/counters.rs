//! Counter sets (`WHvGetVirtualProcessorCounters`, `WHvGetPartitionCounters`) as bytes.

use whp::{ApicCounters, EventCounters, InterceptCounters, RuntimeCounters};

fn bytes(words: impl IntoIterator<Item = u64>) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// `WHV_PROCESSOR_RUNTIME_COUNTERS`.
pub fn runtime_counters_bytes(c: &RuntimeCounters) -> Vec<u8> {
    bytes([c.total_runtime_100ns, c.hypervisor_runtime_100ns])
}

/// `WHV_PROCESSOR_INTERCEPT_COUNTERS`: count and time of each; times are not measured.
pub fn intercept_counters_bytes(c: &InterceptCounters) -> Vec<u8> {
    let counts = [
        0, // page invalidations
        0, // control register accesses
        c.io_instructions,
        c.halt_instructions,
        c.cpuid_instructions,
        c.msr_accesses,
        c.other_intercepts,
        c.pending_interrupts,
        0, // emulated instructions
        0, // debug register accesses
        0, // page faults
        c.memory_intercepts,
        0, // hypercalls
        0, // RDPMC
    ];
    bytes(counts.into_iter().flat_map(|n| [n, 0]))
}

/// `WHV_PROCESSOR_EVENT_COUNTERS`.
pub fn event_counters_bytes(c: &EventCounters) -> Vec<u8> {
    bytes([c.page_fault_count, c.exception_count, c.interrupt_count])
}

/// `WHV_PROCESSOR_APIC_COUNTERS`.
pub fn apic_counters_bytes(c: &ApicCounters) -> Vec<u8> {
    bytes([c.mmio_access_count, c.eoi_access_count, c.tpr_access_count, c.sent_ipi_count, c.self_ipi_count])
}

/// `WHV_PROCESSOR_SYNTHETIC_FEATURES_COUNTERS`, of a platform without synthetic features.
pub fn synthetic_counters_bytes() -> Vec<u8> {
    bytes([0; 6])
}

/// `WHV_PARTITION_MEMORY_COUNTERS`: mapped pages of 4 KiB; larger ones are not used.
pub fn partition_memory_counters_bytes(pages_4k: u64) -> Vec<u8> {
    bytes([pages_4k, 0, 0])
}
