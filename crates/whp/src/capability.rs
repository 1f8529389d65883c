//! What a platform can do (`WHvGetCapability`).

use crate::{
    ExtendedVmExits, MsrExitBitmap, ProcessorFeatures, ProcessorFeatures1, SyntheticProcessorFeatures, XsaveFeatures,
};

/// `WHV_CAPABILITY_CODE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CapabilityCode(pub u32);

#[allow(missing_docs)]
impl CapabilityCode {
    pub const HYPERVISOR_PRESENT: Self = Self(0);
    pub const FEATURES: Self = Self(1);
    pub const EXTENDED_VM_EXITS: Self = Self(2);
    pub const EXCEPTION_EXIT_BITMAP: Self = Self(3);
    pub const X64_MSR_EXIT_BITMAP: Self = Self(4);
    pub const GPA_RANGE_POPULATE_FLAGS: Self = Self(5);
    pub const SCHEDULER_FEATURES: Self = Self(6);
    pub const PROCESSOR_VENDOR: Self = Self(0x1000);
    pub const PROCESSOR_FEATURES: Self = Self(0x1001);
    pub const PROCESSOR_CL_FLUSH_SIZE: Self = Self(0x1002);
    pub const PROCESSOR_XSAVE_FEATURES: Self = Self(0x1003);
    pub const PROCESSOR_CLOCK_FREQUENCY: Self = Self(0x1004);
    pub const INTERRUPT_CLOCK_FREQUENCY: Self = Self(0x1005);
    pub const PROCESSOR_FEATURES_BANKS: Self = Self(0x1006);
    pub const PROCESSOR_FREQUENCY_CAP: Self = Self(0x1007);
    pub const SYNTHETIC_PROCESSOR_FEATURES_BANKS: Self = Self(0x1008);
    pub const PROCESSOR_PERFMON_FEATURES: Self = Self(0x1009);
    pub const PHYSICAL_ADDRESS_WIDTH: Self = Self(0x100A);
    /// The first of the nested-virtualisation MSRs (`WHvCapabilityCodeVmxBasic`); 17 codes.
    pub const VMX_BASIC: Self = Self(0x2000);
}

bitflags::bitflags! {
    /// `WHV_CAPABILITY_FEATURES`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
    pub struct CapabilityFeatures: u64 {
        /// A part of a mapped range can be unmapped.
        const PARTIAL_UNMAP = 1 << 0;
        /// The local APIC can be in the platform.
        const LOCAL_APIC_EMULATION = 1 << 1;
        /// XSAVE state.
        const XSAVE = 1 << 2;
        /// `TRACK_DIRTY_PAGES` works.
        const DIRTY_PAGE_TRACKING = 1 << 3;
        /// Speculation controls.
        const SPECULATION_CONTROL = 1 << 4;
        /// Remote reads of local APIC registers.
        const APIC_REMOTE_READ = 1 << 5;
        /// Guest idle state.
        const IDLE_SUSPEND = 1 << 6;
        /// Virtual PCI devices.
        const VIRTUAL_PCI_DEVICE_SUPPORT = 1 << 7;
        /// IOMMU.
        const IOMMU_SUPPORT = 1 << 8;
        /// Processors can come and go.
        const VP_HOT_ADD_REMOVE = 1 << 9;
        /// Access tracking by devices.
        const DEVICE_ACCESS_TRACKING = 1 << 10;
        /// A released arm64 platform.
        const ARM64_SUPPORT = 1 << 11;
        const _ = !0;
    }
}

/// `WHV_PROCESSOR_VENDOR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub struct ProcessorVendor(pub u32);

#[allow(missing_docs)]
impl ProcessorVendor {
    pub const AMD: Self = Self(0);
    pub const INTEL: Self = Self(1);
    pub const HYGON: Self = Self(2);
    pub const ARM: Self = Self(0x10);
}

/// `WHV_CAPABILITY`, typed by its code.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub enum Capability {
    HypervisorPresent(bool),
    Features(CapabilityFeatures),
    ExtendedVmExits(ExtendedVmExits),
    /// Bit = vector.
    ExceptionExitBitmap(u64),
    X64MsrExitBitmap(MsrExitBitmap),
    ProcessorVendor(ProcessorVendor),
    ProcessorFeatures(ProcessorFeatures),
    /// CPUID.1:EBX[15:8]: in 8-byte units.
    ProcessorClFlushSize(u8),
    ProcessorXsaveFeatures(XsaveFeatures),
    /// Guest TSC, in Hz.
    ProcessorClockFrequency(u64),
    /// Local APIC timer before the divider, in Hz.
    InterruptClockFrequency(u64),
    ProcessorFeaturesBanks(ProcessorFeatures, ProcessorFeatures1),
    SyntheticProcessorFeaturesBanks(SyntheticProcessorFeatures),
    /// Bit 0 PMU, bit 1 LBR.
    ProcessorPerfmonFeatures(u64),
    PhysicalAddressWidth(u32),
    /// Another one, as bytes.
    Other(CapabilityCode, Vec<u8>),
}
