//! Hyper-V enlightenments: what a guest is offered by the hypervisor itself, as the Hypervisor Top-Level Functional
//! Specification (TLFS, Microsoft, public) has it. `SyntheticProcessorFeaturesBanks` chooses; by itself a partition
//! has none.
//!
//! | file | TLFS chapter |
//! | --- | --- |
//! | `cpuid.rs` | Feature and Interface Discovery |
//! | `msr.rs` | the synthetic MSRs |
//! | `partition.rs` | Hypercall Interface (page), Timers (reference TSC page): what the partition has once |
//! | `hypercall.rs`, `calls.rs` | Hypercall Interface, Virtual Processors, Virtual MMU |
//! | `synic.rs`, `stimer.rs`, `processor.rs` | Virtual Interrupt Controllers, Timers |
//!
//! Left out: virtual trust levels, partition management, ports and connections, nested virtualisation, debugging,
//! crash and reset MSRs, the EOI assist (the page is there, its "no EOI required" stays 0), the statistics pages.

mod calls;
mod cpuid;
mod hypercall;
mod msr;
mod partition;
mod processor;
mod state;
mod stimer;
mod synic;

use whp::SyntheticProcessorFeatures as Features;

pub(crate) use cpuid::leaf;
pub(crate) use partition::Hyperv;
pub use state::SynicState;

pub(crate) use processor::{PageMsr, VpHyperv};

/// What a partition may ask for: all that is implemented.
pub(crate) fn supported() -> Features {
    Features::HYPERVISOR_PRESENT
        | Features::HV1
        | Features::ACCESS_VP_RUN_TIME_REG
        | Features::ACCESS_PARTITION_REFERENCE_COUNTER
        | Features::ACCESS_HYPERCALL_REGS
        | Features::ACCESS_VP_INDEX
        | Features::ACCESS_PARTITION_REFERENCE_TSC
        | Features::ACCESS_FREQUENCY_REGS
        | Features::ENABLE_EXTENDED_GVA_RANGES_FOR_FLUSH_VIRTUAL_ADDRESS_LIST
        | Features::FAST_HYPERCALL_OUTPUT
        | Features::EXTENDED_PROCESSOR_MASKS
        | Features::TB_FLUSH_HYPERCALLS
        | Features::NOTIFY_LONG_SPIN_WAIT
        | of_the_apic()
}

/// What works only with the local APIC in the platform.
pub(crate) fn of_the_apic() -> Features {
    Features::ACCESS_SYNIC_REGS
        | Features::ACCESS_SYNTHETIC_TIMER_REGS
        | Features::ACCESS_INTR_CTRL_REGS
        | Features::ACCESS_GUEST_IDLE_REG
        | Features::DIRECT_SYNTHETIC_TIMERS
        | Features::SYNTHETIC_CLUSTER_IPI
}

/// SVERSION: the only version.
pub(crate) const SYNIC_VERSION: u64 = 1;
/// Registers that name a page have it in bits 63:12 and whether it is enabled in bit 0.
pub(crate) const ENABLE: u64 = 1;
/// See [`ENABLE`].
pub(crate) const PAGE: u64 = !0xFFF;
