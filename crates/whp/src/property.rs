//! Partition properties (`WHvGetPartitionProperty`, `WHvSetPartitionProperty`).

use crate::{ProcessorFeatures, ProcessorFeatures1, SyntheticProcessorFeatures, XsaveFeatures};

/// `WHV_PARTITION_PROPERTY_CODE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PropertyCode(pub u32);

#[allow(missing_docs)]
impl PropertyCode {
    pub const EXTENDED_VM_EXITS: Self = Self(1);
    pub const EXCEPTION_EXIT_BITMAP: Self = Self(2);
    pub const SEPARATE_SECURITY_DOMAIN: Self = Self(3);
    pub const NESTED_VIRTUALIZATION: Self = Self(4);
    pub const X64_MSR_EXIT_BITMAP: Self = Self(5);
    pub const PRIMARY_NUMA_NODE: Self = Self(6);
    pub const CPU_RESERVE: Self = Self(7);
    pub const CPU_CAP: Self = Self(8);
    pub const CPU_WEIGHT: Self = Self(9);
    pub const CPU_GROUP_ID: Self = Self(10);
    pub const PROCESSOR_FREQUENCY_CAP: Self = Self(11);
    pub const ALLOW_DEVICE_ASSIGNMENT: Self = Self(12);
    pub const DISABLE_SMT: Self = Self(13);
    pub const PROCESSOR_FEATURES: Self = Self(0x1001);
    pub const PROCESSOR_CL_FLUSH_SIZE: Self = Self(0x1002);
    pub const CPUID_EXIT_LIST: Self = Self(0x1003);
    pub const CPUID_RESULT_LIST: Self = Self(0x1004);
    pub const LOCAL_APIC_EMULATION_MODE: Self = Self(0x1005);
    pub const PROCESSOR_XSAVE_FEATURES: Self = Self(0x1006);
    pub const PROCESSOR_CLOCK_FREQUENCY: Self = Self(0x1007);
    pub const INTERRUPT_CLOCK_FREQUENCY: Self = Self(0x1008);
    pub const APIC_REMOTE_READ_SUPPORT: Self = Self(0x1009);
    pub const PROCESSOR_FEATURES_BANKS: Self = Self(0x100A);
    pub const REFERENCE_TIME: Self = Self(0x100B);
    pub const SYNTHETIC_PROCESSOR_FEATURES_BANKS: Self = Self(0x100C);
    pub const CPUID_RESULT_LIST2: Self = Self(0x100D);
    pub const PROCESSOR_PERFMON_FEATURES: Self = Self(0x100E);
    pub const MSR_ACTION_LIST: Self = Self(0x100F);
    pub const UNIMPLEMENTED_MSR_ACTION: Self = Self(0x1010);
    pub const PHYSICAL_ADDRESS_WIDTH: Self = Self(0x1011);
    pub const ARM64_IC_PARAMETERS: Self = Self(0x1012);
    pub const PROCESSOR_COUNT: Self = Self(0x1FFF);
}

bitflags::bitflags! {
    /// `WHV_EXTENDED_VM_EXITS`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
    pub struct ExtendedVmExits: u64 {
        /// CPUID of listed leaves.
        const X64_CPUID_EXIT = 1 << 0;
        /// MSRs as the MSR exit bitmap says.
        const X64_MSR_EXIT = 1 << 1;
        /// Exceptions as the exception exit bitmap says.
        const EXCEPTION_EXIT = 1 << 2;
        /// RDTSC and RDTSCP.
        const X64_RDTSC_EXIT = 1 << 3;
        /// SMIs sent by a local APIC.
        const X64_APIC_SMI_EXIT_TRAP = 1 << 4;
        /// VMCALL.
        const HYPERCALL_EXIT = 1 << 5;
        /// INIT and SIPI sent by a local APIC.
        const X64_APIC_INIT_SIPI_EXIT_TRAP = 1 << 6;
        /// Writes to LVT LINT0.
        const X64_APIC_WRITE_LINT0_EXIT_TRAP = 1 << 7;
        /// Writes to LVT LINT1.
        const X64_APIC_WRITE_LINT1_EXIT_TRAP = 1 << 8;
        /// Writes to SVR.
        const X64_APIC_WRITE_SVR_EXIT_TRAP = 1 << 9;
        /// SynIC connections nobody made.
        const UNKNOWN_SYNIC_CONNECTION = 1 << 10;
        /// Interrupts retargeted for unknown devices.
        const RETARGET_UNKNOWN_VPCI_DEVICE = 1 << 11;
        /// Writes to LDR.
        const X64_APIC_WRITE_LDR_EXIT_TRAP = 1 << 12;
        /// Writes to DFR.
        const X64_APIC_WRITE_DFR_EXIT_TRAP = 1 << 13;
        /// Accesses the host could not serve.
        const GPA_ACCESS_FAULT_EXIT = 1 << 14;
        const _ = !0;
    }

    /// `WHV_X64_MSR_EXIT_BITMAP`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
    pub struct MsrExitBitmap: u64 {
        /// MSRs the platform does not know (else #GP).
        const UNHANDLED_MSRS = 1 << 0;
        /// Writes of IA32_TIME_STAMP_COUNTER.
        const TSC_MSR_WRITE = 1 << 1;
        /// Reads of it.
        const TSC_MSR_READ = 1 << 2;
        /// Writes of IA32_APIC_BASE.
        const APIC_BASE_MSR_WRITE = 1 << 3;
        /// Reads of IA32_MISC_ENABLE.
        const MISC_ENABLE_MSR_READ = 1 << 4;
        /// Reads of IA32_BIOS_SIGN_ID.
        const MC_UPDATE_PATCH_LEVEL_MSR_READ = 1 << 5;
        const _ = !0;
    }
}

/// `WHV_X64_LOCAL_APIC_EMULATION_MODE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum LocalApicEmulationMode {
    /// The caller has the local APICs; HLT exits.
    #[default]
    None,
    /// In the platform, MMIO only.
    XApic,
    /// In the platform, x2APIC too.
    X2Apic,
}

/// `WHV_X64_CPUID_RESULT`: a leaf's result for every subleaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub struct CpuidResult {
    pub function: u32,
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// `WHV_X64_CPUID_RESULT2`: bits of a leaf's result, perhaps of one subleaf or one processor only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CpuidResult2 {
    /// EAX on entry.
    pub function: u32,
    /// ECX on entry, for that only (`WHvX64CpuidResult2FlagSubleafSpecific`).
    pub index: Option<u32>,
    /// For that processor only (`WHvX64CpuidResult2FlagVpSpecific`).
    pub vp_index: Option<u32>,
    /// EAX, EBX, ECX, EDX.
    pub output: [u32; 4],
    /// Which bits of `output` count; the others stay as the platform has them.
    pub mask: [u32; 4],
}

/// `WHV_MSR_ACTION`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub enum MsrAction {
    #[default]
    ArchitectureDefault,
    IgnoreWriteReadZero,
    Exit,
}

/// `WHV_MSR_ACTION_ENTRY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub struct MsrActionEntry {
    pub index: u32,
    pub read: MsrAction,
    pub write: MsrAction,
}

/// `WHV_PARTITION_PROPERTY`, typed by its code.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub enum Property {
    ExtendedVmExits(ExtendedVmExits),
    /// Bit = vector.
    ExceptionExitBitmap(u64),
    SeparateSecurityDomain(bool),
    NestedVirtualization(bool),
    X64MsrExitBitmap(MsrExitBitmap),
    ProcessorFeatures(ProcessorFeatures),
    ProcessorClFlushSize(u8),
    CpuidExitList(Vec<u32>),
    CpuidResultList(Vec<CpuidResult>),
    CpuidResultList2(Vec<CpuidResult2>),
    LocalApicEmulationMode(LocalApicEmulationMode),
    ProcessorXsaveFeatures(XsaveFeatures),
    /// Guest TSC, in Hz.
    ProcessorClockFrequency(u64),
    /// Local APIC timer before the divider, in Hz.
    InterruptClockFrequency(u64),
    ApicRemoteReadSupport(bool),
    ProcessorFeaturesBanks(ProcessorFeatures, ProcessorFeatures1),
    /// 100 ns units since the partition's time started.
    ReferenceTime(u64),
    SyntheticProcessorFeaturesBanks(SyntheticProcessorFeatures),
    ProcessorPerfmonFeatures(u64),
    MsrActionList(Vec<MsrActionEntry>),
    UnimplementedMsrAction(MsrAction),
    PhysicalAddressWidth(u32),
    ProcessorCount(u32),
    /// Another one, as bytes.
    Other(PropertyCode, Vec<u8>),
}

impl Property {
    /// Which property it is.
    pub fn code(&self) -> PropertyCode {
        match self {
            Self::ExtendedVmExits(_) => PropertyCode::EXTENDED_VM_EXITS,
            Self::ExceptionExitBitmap(_) => PropertyCode::EXCEPTION_EXIT_BITMAP,
            Self::SeparateSecurityDomain(_) => PropertyCode::SEPARATE_SECURITY_DOMAIN,
            Self::NestedVirtualization(_) => PropertyCode::NESTED_VIRTUALIZATION,
            Self::X64MsrExitBitmap(_) => PropertyCode::X64_MSR_EXIT_BITMAP,
            Self::ProcessorFeatures(_) => PropertyCode::PROCESSOR_FEATURES,
            Self::ProcessorClFlushSize(_) => PropertyCode::PROCESSOR_CL_FLUSH_SIZE,
            Self::CpuidExitList(_) => PropertyCode::CPUID_EXIT_LIST,
            Self::CpuidResultList(_) => PropertyCode::CPUID_RESULT_LIST,
            Self::CpuidResultList2(_) => PropertyCode::CPUID_RESULT_LIST2,
            Self::LocalApicEmulationMode(_) => PropertyCode::LOCAL_APIC_EMULATION_MODE,
            Self::ProcessorXsaveFeatures(_) => PropertyCode::PROCESSOR_XSAVE_FEATURES,
            Self::ProcessorClockFrequency(_) => PropertyCode::PROCESSOR_CLOCK_FREQUENCY,
            Self::InterruptClockFrequency(_) => PropertyCode::INTERRUPT_CLOCK_FREQUENCY,
            Self::ApicRemoteReadSupport(_) => PropertyCode::APIC_REMOTE_READ_SUPPORT,
            Self::ProcessorFeaturesBanks(..) => PropertyCode::PROCESSOR_FEATURES_BANKS,
            Self::ReferenceTime(_) => PropertyCode::REFERENCE_TIME,
            Self::SyntheticProcessorFeaturesBanks(_) => PropertyCode::SYNTHETIC_PROCESSOR_FEATURES_BANKS,
            Self::ProcessorPerfmonFeatures(_) => PropertyCode::PROCESSOR_PERFMON_FEATURES,
            Self::MsrActionList(_) => PropertyCode::MSR_ACTION_LIST,
            Self::UnimplementedMsrAction(_) => PropertyCode::UNIMPLEMENTED_MSR_ACTION,
            Self::PhysicalAddressWidth(_) => PropertyCode::PHYSICAL_ADDRESS_WIDTH,
            Self::ProcessorCount(_) => PropertyCode::PROCESSOR_COUNT,
            Self::Other(code, _) => *code,
        }
    }
}
