//! Partition properties: their values, and when they may be set.

use cpu_x86::model::CpuModel;
use whp::{
    CpuidResult, CpuidResult2, Error, ExtendedVmExits, HResult, LocalApicEmulationMode, MsrAction, MsrActionEntry,
    MsrExitBitmap, ProcessorFeatures, ProcessorFeatures1, Property, PropertyCode, Result, SyntheticProcessorFeatures,
    XsaveFeatures,
};

use crate::hyperv;

/// The most processors a partition can have.
pub(crate) const MAX_PROCESSORS: u32 = 256;

/// All properties. Processors use the copy that was current when they were entered.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) exits: ExtendedVmExits,
    pub(crate) exception_exits: u64,
    pub(crate) msr_exits: MsrExitBitmap,
    pub(crate) cpuid_exits: Vec<u32>,
    pub(crate) cpuid_results: Vec<CpuidResult>,
    pub(crate) cpuid_results2: Vec<CpuidResult2>,
    pub(crate) apic_mode: LocalApicEmulationMode,
    pub(crate) tsc_hz: u64,
    pub(crate) apic_hz: u64,
    pub(crate) msr_actions: Vec<MsrActionEntry>,
    pub(crate) unimplemented_msr: MsrAction,
    pub(crate) processor_count: u32,
    pub(crate) xsave: XsaveFeatures,
    pub(crate) banks: (ProcessorFeatures, ProcessorFeatures1),
    pub(crate) physical_bits: u32,
    /// Enlightenments.
    pub(crate) synthetic: SyntheticProcessorFeatures,
    /// Accepted, without effect here.
    separate_security_domain: bool,
}

/// What exits exist.
pub(crate) fn supported_exits() -> ExtendedVmExits {
    use ExtendedVmExits as E;
    E::X64_CPUID_EXIT | E::X64_MSR_EXIT | E::EXCEPTION_EXIT | E::X64_APIC_INIT_SIPI_EXIT_TRAP
}

/// What MSR exits exist.
pub(crate) fn supported_msr_exits() -> MsrExitBitmap {
    use MsrExitBitmap as M;
    M::UNHANDLED_MSRS | M::TSC_MSR_WRITE | M::TSC_MSR_READ | M::APIC_BASE_MSR_WRITE
}

/// Vectors whose exceptions can exit.
pub(crate) const SUPPORTED_EXCEPTIONS: u64 = 0x001F_FFFF & !(1 << 2 | 1 << 9 | 1 << 15);

/// XSAVE features that `model` says it has.
pub(crate) fn xsave_features(model: &CpuModel) -> XsaveFeatures {
    use XsaveFeatures as X;
    let leaf = |l, s, r: usize| model.leaf(l, s).map_or(0, |regs| regs[r]);
    let mut f = X::empty();
    let mut set = |on: u32, bit: u32, what| f.set(what, on >> bit & 1 != 0);
    set(leaf(1, 0, 2), 26, X::XSAVE);
    set(leaf(1, 0, 2), 28, X::AVX);
    set(leaf(1, 0, 2), 12, X::FMA);
    set(leaf(7, 0, 1), 5, X::AVX2);
    set(leaf(7, 0, 1), 16, X::AVX512);
    set(leaf(0xD, 1, 0), 0, X::XSAVEOPT);
    set(leaf(0xD, 1, 0), 1, X::XSAVE_COMP);
    set(leaf(0xD, 1, 0), 3, X::XSAVE_SUPERVISOR);
    f
}

/// The feature banks in the terms of WHP: the bits with a CPUID bit of their own.
pub(crate) fn feature_banks(model: &CpuModel) -> (ProcessorFeatures, ProcessorFeatures1) {
    use ProcessorFeatures as F;
    use ProcessorFeatures1 as G;
    let leaf = |l, s, r: usize| model.leaf(l, s).map_or(0, |regs| regs[r]);
    let mut f = F::empty();
    let mut all = |value: u32, bits: &[(u32, F)]| bits.iter().for_each(|(b, what)| f.set(*what, value >> b & 1 != 0));
    all(
        leaf(1, 0, 2),
        &[
            (0, F::SSE3),
            (1, F::PCLMULQDQ),
            (9, F::SSSE3),
            (13, F::CMPXCHG16B),
            (17, F::PCID),
            (19, F::SSE4_1),
            (20, F::SSE4_2),
            (22, F::MOVBE),
            (23, F::POP_CNT),
            (25, F::AES),
            (29, F::F16_C),
            (30, F::RD_RAND),
        ],
    );
    all(
        leaf(7, 0, 1),
        &[
            (0, F::RD_WR_FS_GS),
            (3, F::BMI1),
            (7, F::SMEP),
            (8, F::BMI2),
            (9, F::ENHANCED_FAST_STRING),
            (10, F::INVPCID),
            (18, F::RD_SEED),
            (19, F::ADX),
            (20, F::SMAP),
            (23, F::CLFLUSHOPT),
            (24, F::CLWB),
            (29, F::SHA),
        ],
    );
    all(leaf(7, 0, 2), &[(2, F::UMIP), (22, F::RD_PID)]);
    all(leaf(0x8000_0001, 0, 2), &[(0, F::LAHF_SAHF), (5, F::LZCNT), (6, F::SSE4A)]);
    all(leaf(0x8000_0001, 0, 3), &[(22, F::MMX_EXT), (26, F::PAGE1_GB), (27, F::RDTSCP)]);
    let mut g = G::empty();
    g.set(G::TSC_INVARIANT, leaf(0x8000_0007, 0, 3) >> 8 & 1 != 0);
    g.set(G::TSC_DEADLINE_TMR, leaf(1, 0, 2) >> 24 & 1 != 0);
    g.set(G::TSC_ADJUST, leaf(7, 0, 1) >> 1 & 1 != 0);
    (f, g)
}

/// May also be set after `WHvSetupPartition`.
fn late(code: PropertyCode) -> bool {
    matches!(
        code,
        PropertyCode::EXTENDED_VM_EXITS
            | PropertyCode::EXCEPTION_EXIT_BITMAP
            | PropertyCode::CPUID_EXIT_LIST
            | PropertyCode::X64_MSR_EXIT_BITMAP
            | PropertyCode::MSR_ACTION_LIST
            | PropertyCode::UNIMPLEMENTED_MSR_ACTION
    )
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(HResult::E_INVALIDARG, "SetPartitionProperty", what)
}

impl Config {
    pub(crate) fn new(model: &CpuModel, tsc_hz: u64, apic_hz: u64) -> Self {
        Self {
            exits: ExtendedVmExits::empty(),
            exception_exits: 0,
            // X64MsrExit is older than the bitmap; alone it means these.
            msr_exits: MsrExitBitmap::UNHANDLED_MSRS,
            cpuid_exits: Vec::new(),
            cpuid_results: Vec::new(),
            cpuid_results2: Vec::new(),
            apic_mode: LocalApicEmulationMode::None,
            tsc_hz,
            apic_hz,
            msr_actions: Vec::new(),
            unimplemented_msr: MsrAction::ArchitectureDefault,
            processor_count: 0,
            xsave: xsave_features(model),
            banks: feature_banks(model),
            physical_bits: model.leaf(0x8000_0008, 0).map_or(36, |r| (r[0] & 0xFF).clamp(32, 52)),
            synthetic: SyntheticProcessorFeatures::empty(),
            separate_security_domain: false,
        }
    }

    pub(crate) fn property(&self, code: PropertyCode, reference_time: u64) -> Result<Property> {
        Ok(match code {
            PropertyCode::EXTENDED_VM_EXITS => Property::ExtendedVmExits(self.exits),
            PropertyCode::EXCEPTION_EXIT_BITMAP => Property::ExceptionExitBitmap(self.exception_exits),
            PropertyCode::SEPARATE_SECURITY_DOMAIN => Property::SeparateSecurityDomain(self.separate_security_domain),
            PropertyCode::NESTED_VIRTUALIZATION => Property::NestedVirtualization(false),
            PropertyCode::X64_MSR_EXIT_BITMAP => Property::X64MsrExitBitmap(self.msr_exits),
            PropertyCode::PROCESSOR_FEATURES => Property::ProcessorFeatures(self.banks.0),
            PropertyCode::PROCESSOR_FEATURES_BANKS => Property::ProcessorFeaturesBanks(self.banks.0, self.banks.1),
            PropertyCode::PROCESSOR_CL_FLUSH_SIZE => Property::ProcessorClFlushSize(8),
            PropertyCode::CPUID_EXIT_LIST => Property::CpuidExitList(self.cpuid_exits.clone()),
            PropertyCode::CPUID_RESULT_LIST => Property::CpuidResultList(self.cpuid_results.clone()),
            PropertyCode::CPUID_RESULT_LIST2 => Property::CpuidResultList2(self.cpuid_results2.clone()),
            PropertyCode::LOCAL_APIC_EMULATION_MODE => Property::LocalApicEmulationMode(self.apic_mode),
            PropertyCode::PROCESSOR_XSAVE_FEATURES => Property::ProcessorXsaveFeatures(self.xsave),
            PropertyCode::PROCESSOR_CLOCK_FREQUENCY => Property::ProcessorClockFrequency(self.tsc_hz),
            PropertyCode::INTERRUPT_CLOCK_FREQUENCY => Property::InterruptClockFrequency(self.apic_hz),
            PropertyCode::REFERENCE_TIME => Property::ReferenceTime(reference_time),
            PropertyCode::SYNTHETIC_PROCESSOR_FEATURES_BANKS => {
                Property::SyntheticProcessorFeaturesBanks(self.synthetic)
            }
            PropertyCode::PROCESSOR_PERFMON_FEATURES => Property::ProcessorPerfmonFeatures(0),
            PropertyCode::MSR_ACTION_LIST => Property::MsrActionList(self.msr_actions.clone()),
            PropertyCode::UNIMPLEMENTED_MSR_ACTION => Property::UnimplementedMsrAction(self.unimplemented_msr),
            PropertyCode::PHYSICAL_ADDRESS_WIDTH => Property::PhysicalAddressWidth(self.physical_bits),
            PropertyCode::PROCESSOR_COUNT => Property::ProcessorCount(self.processor_count),
            code => {
                let what = format!("code {:#x}", code.0);
                return Err(Error::new(HResult::WHV_E_UNKNOWN_PROPERTY, "GetPartitionProperty", what));
            }
        })
    }

    pub(crate) fn set(&mut self, property: Property, is_setup: bool) -> Result<()> {
        let code = property.code();
        if is_setup && !late(code) && !matches!(property, Property::Other(..)) {
            let what = format!("code {:#x}: the partition is set up", code.0);
            return Err(Error::new(HResult::WHV_E_INVALID_VP_STATE, "SetPartitionProperty", what));
        }
        let wrong = || invalid(format!("{property:?}: more than the capabilities have"));
        match &property {
            Property::ExtendedVmExits(v) if supported_exits().contains(*v) => self.exits = *v,
            Property::ExceptionExitBitmap(v) if v & !SUPPORTED_EXCEPTIONS == 0 => self.exception_exits = *v,
            Property::X64MsrExitBitmap(v) if supported_msr_exits().contains(*v) => self.msr_exits = *v,
            Property::ProcessorFeatures(v) if self.banks.0.contains(*v) => self.banks.0 = *v,
            Property::ProcessorFeaturesBanks(a, b) if self.banks.0.contains(*a) && self.banks.1.contains(*b) => {
                self.banks = (*a, *b);
            }
            Property::ProcessorXsaveFeatures(v) if self.xsave.contains(*v) => self.xsave = *v,
            Property::SyntheticProcessorFeaturesBanks(v) if hyperv::supported().contains(*v) => self.synthetic = *v,
            Property::ProcessorPerfmonFeatures(0) => {}
            Property::NestedVirtualization(false) => {}
            Property::SeparateSecurityDomain(v) => self.separate_security_domain = *v,
            Property::ProcessorClFlushSize(8) => {}
            Property::CpuidExitList(v) => self.cpuid_exits = v.clone(),
            Property::CpuidResultList(v) => self.cpuid_results = v.clone(),
            Property::CpuidResultList2(v) => self.cpuid_results2 = v.clone(),
            Property::LocalApicEmulationMode(v) => self.apic_mode = *v,
            Property::ProcessorClockFrequency(v) if (1_000_000..=100_000_000_000).contains(v) => self.tsc_hz = *v,
            Property::InterruptClockFrequency(v) if (1_000_000..=10_000_000_000).contains(v) => self.apic_hz = *v,
            Property::MsrActionList(v) => self.msr_actions = v.clone(),
            Property::UnimplementedMsrAction(v) => self.unimplemented_msr = *v,
            Property::PhysicalAddressWidth(v) if *v == self.physical_bits => {}
            Property::ProcessorCount(v) if (1..=MAX_PROCESSORS).contains(v) => self.processor_count = *v,
            Property::Other(..) | Property::ReferenceTime(_) => {
                let what = format!("code {:#x}", code.0);
                return Err(Error::new(HResult::WHV_E_UNKNOWN_PROPERTY, "SetPartitionProperty", what));
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// Why a partition with these properties cannot be, if so.
    pub(crate) fn conflict(&self) -> Option<String> {
        if self.processor_count == 0 {
            return Some("no ProcessorCount was set".into());
        }
        let homeless = self.synthetic & hyperv::of_the_apic();
        if self.apic_mode == LocalApicEmulationMode::None && !homeless.is_empty() {
            return Some(format!("{homeless:?} without the local APIC in the platform (LocalApicEmulationMode)"));
        }
        None
    }

    /// What to do about an MSR that nobody knows.
    pub(crate) fn unknown_msr(&self, msr: u32, write: bool) -> MsrAction {
        let listed = self.msr_actions.iter().find(|e| e.index == msr).map(|e| if write { e.write } else { e.read });
        if let Some(action) = listed.filter(|a| *a != MsrAction::ArchitectureDefault) {
            return action;
        }
        if self.exits.contains(ExtendedVmExits::X64_MSR_EXIT) && self.msr_exits.contains(MsrExitBitmap::UNHANDLED_MSRS)
        {
            return MsrAction::Exit;
        }
        self.unimplemented_msr
    }

    /// Whether an access that has its own bit in the MSR exit bitmap exits.
    pub(crate) fn msr_exits(&self, bit: MsrExitBitmap) -> bool {
        self.exits.contains(ExtendedVmExits::X64_MSR_EXIT) && self.msr_exits.contains(bit)
    }
}
