//! Conversions between the x64 C types and `whp`'s: values, exits, and the bytes of properties, capabilities and
//! counters ("Windows Hypervisor Platform API definitions", learn.microsoft.com).

mod counters;
mod exit;
mod properties;
mod values;

pub use counters::{
    apic_counters_bytes, event_counters_bytes, intercept_counters_bytes, partition_memory_counters_bytes,
    runtime_counters_bytes, synthetic_counters_bytes,
};
pub use exit::{EXIT_CONTEXT_SIZE, exit_from_abi, exit_to_abi, vp_context_from_abi, vp_context_to_abi};
pub use properties::{
    ConvertError, capability_bytes, capability_from_bytes, capability_size, property_bytes, property_from_bytes,
    property_size,
};
pub use values::{
    code_of, interrupt_from_abi, interrupt_to_abi, register_from_abi, register_to_abi, result_of, segment_from_abi,
    segment_to_abi,
};
