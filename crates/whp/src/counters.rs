//! Statistics (`WHvGetVirtualProcessorCounters`), counted since the processor was made.

/// All counter sets of a virtual processor. What a platform does not count stays zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub struct ProcessorCounters {
    pub runtime: RuntimeCounters,
    pub intercepts: InterceptCounters,
    pub events: EventCounters,
    pub apic: ApicCounters,
}

/// `WHV_PROCESSOR_RUNTIME_COUNTERS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub struct RuntimeCounters {
    pub total_runtime_100ns: u64,
    pub hypervisor_runtime_100ns: u64,
}

/// `WHV_PROCESSOR_INTERCEPT_COUNTERS`, the counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub struct InterceptCounters {
    pub io_instructions: u64,
    pub halt_instructions: u64,
    pub cpuid_instructions: u64,
    pub msr_accesses: u64,
    pub memory_intercepts: u64,
    pub pending_interrupts: u64,
    pub other_intercepts: u64,
}

/// `WHV_PROCESSOR_EVENT_COUNTERS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub struct EventCounters {
    pub page_fault_count: u64,
    pub exception_count: u64,
    pub interrupt_count: u64,
}

/// `WHV_PROCESSOR_APIC_COUNTERS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub struct ApicCounters {
    pub mmio_access_count: u64,
    pub eoi_access_count: u64,
    pub tpr_access_count: u64,
    pub sent_ipi_count: u64,
    pub self_ipi_count: u64,
}
