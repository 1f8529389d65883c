//! A platform's capabilities as data: values in words, feature banks bit by bit.

use bitflags::Flags;
use serde::{Deserialize, Serialize};
use whp::{Arch, Capability, CapabilityCode as Code, Platform, ProcessorVendor};

/// A capability and what the platform says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityReport {
    /// `WHV_CAPABILITY_CODE`.
    pub code: u32,
    /// Microsoft's name without `WHvCapabilityCode`.
    pub name: String,
    /// The answer.
    #[serde(flatten)]
    pub value: CapabilityValue,
}

/// What the platform says about a capability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CapabilityValue {
    /// In words.
    Value(String),
    /// Bits by name.
    Banks(Vec<Bank>),
    /// The call failed: why.
    Error(String),
}

/// 64 bits with names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bank {
    /// All of it, in hexadecimal.
    pub bits: String,
    /// Names of set bits.
    pub set: Vec<String>,
    /// Names of clear bits.
    pub clear: Vec<String>,
    /// Numbers of set bits without a name here.
    pub unknown: Vec<u32>,
}

impl Bank {
    fn new<F: Flags<Bits = u64>>(flags: &F) -> Self {
        let bits = flags.bits();
        let mut bank = Self { bits: format!("{bits:#x}"), set: vec![], clear: vec![], unknown: vec![] };
        let mut named = 0;
        for flag in F::FLAGS.iter().filter(|f| f.is_named()) {
            let bit = flag.value().bits();
            named |= bit;
            let list = if bits & bit == bit { &mut bank.set } else { &mut bank.clear };
            list.push(flag.name().into());
        }
        bank.unknown = unnamed(bits & !named);
        bank
    }

    /// Bits whose names are not known.
    fn raw(bits: u64) -> Self {
        Self { bits: format!("{bits:#x}"), set: vec![], clear: vec![], unknown: unnamed(bits) }
    }
}

fn unnamed(bits: u64) -> Vec<u32> {
    (0..64).filter(|i| bits >> i & 1 != 0).collect()
}

/// The codes that are asked, with their names.
const CODES: &[(Code, &str)] = &[
    (Code::HYPERVISOR_PRESENT, "HypervisorPresent"),
    (Code::FEATURES, "Features"),
    (Code::EXTENDED_VM_EXITS, "ExtendedVmExits"),
    (Code::EXCEPTION_EXIT_BITMAP, "ExceptionExitBitmap"),
    (Code::X64_MSR_EXIT_BITMAP, "X64MsrExitBitmap"),
    (Code::GPA_RANGE_POPULATE_FLAGS, "GpaRangePopulateFlags"),
    (Code::SCHEDULER_FEATURES, "SchedulerFeatures"),
    (Code::PROCESSOR_VENDOR, "ProcessorVendor"),
    (Code::PROCESSOR_FEATURES, "ProcessorFeatures"),
    (Code::PROCESSOR_CL_FLUSH_SIZE, "ProcessorClFlushSize"),
    (Code::PROCESSOR_XSAVE_FEATURES, "ProcessorXsaveFeatures"),
    (Code::PROCESSOR_CLOCK_FREQUENCY, "ProcessorClockFrequency"),
    (Code::INTERRUPT_CLOCK_FREQUENCY, "InterruptClockFrequency"),
    (Code::PROCESSOR_FEATURES_BANKS, "ProcessorFeaturesBanks"),
    (Code::PROCESSOR_FREQUENCY_CAP, "ProcessorFrequencyCap"),
    (Code::SYNTHETIC_PROCESSOR_FEATURES_BANKS, "SyntheticProcessorFeaturesBanks"),
    (Code::PROCESSOR_PERFMON_FEATURES, "ProcessorPerfmonFeatures"),
    (Code::PHYSICAL_ADDRESS_WIDTH, "PhysicalAddressWidth"),
];

/// Codes and names of the nested-virtualisation MSRs, from `VMX_BASIC` on.
const VMX: &[&str] = &[
    "VmxBasic",
    "VmxPinbasedCtls",
    "VmxProcbasedCtls",
    "VmxExitCtls",
    "VmxEntryCtls",
    "VmxMisc",
    "VmxCr0Fixed0",
    "VmxCr0Fixed1",
    "VmxCr4Fixed0",
    "VmxCr4Fixed1",
    "VmxVmcsEnum",
    "VmxProcbasedCtls2",
    "VmxEptVpidCap",
    "VmxTruePinbasedCtls",
    "VmxTrueProcbasedCtls",
    "VmxTrueExitCtls",
    "VmxTrueEntryCtls",
];

/// Asks `platform` everything.
pub(super) fn all(platform: &dyn Platform) -> Vec<CapabilityReport> {
    let vmx = VMX.iter().zip(0..).map(|(name, i)| (Code(Code::VMX_BASIC.0 + i), *name));
    // Those of an architecture that has no such thing say nothing.
    let x64 = platform.arch() == Arch::X64;
    let codes = CODES.iter().copied().chain(vmx.filter(|_| x64));
    codes.map(|(code, name)| CapabilityReport { code: code.0, name: name.into(), value: ask(platform, code) }).collect()
}

fn ask(platform: &dyn Platform, code: Code) -> CapabilityValue {
    match platform.capability(code) {
        Ok(capability) => value(&capability, platform.arch()),
        Err(e) => CapabilityValue::Error(format!("{}: {}", e.code, e.code.meaning())),
    }
}

fn value(capability: &Capability, arch: Arch) -> CapabilityValue {
    use CapabilityValue::{Banks, Value};
    let x64 = arch == Arch::X64;
    match capability {
        Capability::HypervisorPresent(there) => Value(if *there { "yes" } else { "no" }.into()),
        Capability::Features(f) => Banks(vec![Bank::new(f)]),
        Capability::ExtendedVmExits(f) => Banks(vec![Bank::new(f)]),
        Capability::ExceptionExitBitmap(bits) => Value(exceptions(*bits)),
        Capability::X64MsrExitBitmap(f) => Banks(vec![Bank::new(f)]),
        Capability::ProcessorVendor(vendor) => Value(vendor_name(*vendor)),
        // The names are x64's.
        Capability::ProcessorFeatures(f) if !x64 => Banks(vec![Bank::raw(f.bits())]),
        Capability::ProcessorFeaturesBanks(a, b) if !x64 => Banks(vec![Bank::raw(a.bits()), Bank::raw(b.bits())]),
        Capability::ProcessorFeatures(f) => Banks(vec![Bank::new(f)]),
        Capability::ProcessorFeaturesBanks(a, b) => Banks(vec![Bank::new(a), Bank::new(b)]),
        Capability::ProcessorClFlushSize(n) => Value(format!("{n} (times 8 bytes)")),
        Capability::ProcessorXsaveFeatures(f) => Banks(vec![Bank::new(f)]),
        Capability::ProcessorClockFrequency(hz) | Capability::InterruptClockFrequency(hz) => Value(frequency(*hz)),
        Capability::SyntheticProcessorFeaturesBanks(f) => Banks(vec![Bank::new(f)]),
        Capability::ProcessorPerfmonFeatures(bits) => {
            let names = [(1, "PMU"), (2, "LBR")].iter().filter(|(bit, _)| bits & bit != 0).map(|(_, n)| *n);
            Value(format!("{bits:#x} {}", names.collect::<Vec<_>>().join(" ")).trim_end().into())
        }
        Capability::PhysicalAddressWidth(bits) => Value(format!("{bits} bits")),
        Capability::Other(_, bytes) => match <[u8; 8]>::try_from(&bytes[..]) {
            Ok(word) => Value(format!("{:#x}", u64::from_le_bytes(word))),
            Err(_) => Value(bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")),
        },
    }
}

fn exceptions(bits: u64) -> String {
    let vectors: Vec<_> = unnamed(bits).iter().map(ToString::to_string).collect();
    if vectors.is_empty() { "none".into() } else { format!("vectors {}", vectors.join(" ")) }
}

fn vendor_name(vendor: ProcessorVendor) -> String {
    match vendor {
        ProcessorVendor::AMD => "AMD".into(),
        ProcessorVendor::INTEL => "Intel".into(),
        ProcessorVendor::HYGON => "Hygon".into(),
        ProcessorVendor::ARM => "Arm".into(),
        ProcessorVendor(other) => format!("unknown vendor {other:#x}"),
    }
}

fn frequency(hz: u64) -> String {
    format!("{hz} Hz ({}.{:03} MHz)", hz / 1_000_000, hz / 1000 % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use whp::{CapabilityFeatures, ProcessorFeatures};

    #[test]
    fn bits_have_names_or_numbers() {
        let bank = Bank::new(&CapabilityFeatures::from_bits_retain(1 << 40 | 1 << 2));
        assert_eq!((&bank.set[..], &bank.unknown[..]), (&["XSAVE".to_string()][..], &[40][..]));
        assert!(bank.clear.contains(&"ARM64_SUPPORT".to_string()));
        let f = Capability::ProcessorFeatures(ProcessorFeatures::SSE3);
        let CapabilityValue::Banks(banks) = value(&f, Arch::Arm64) else { panic!() };
        assert_eq!((banks[0].set.len(), &banks[0].unknown[..]), (0, &[0][..]), "x64's names are not arm64's");
    }

    #[test]
    fn values_in_words() {
        assert_eq!(frequency(2_994_373_000), "2994373000 Hz (2994.373 MHz)");
        assert_eq!(exceptions(1 << 13 | 1 << 1), "vectors 1 13");
        let other = |bytes: &[u8]| value(&Capability::Other(Code(0x2000), bytes.into()), Arch::X64);
        assert_eq!(other(&[1, 0, 0, 0, 0, 0, 0, 0x80]), CapabilityValue::Value("0x8000000000000001".into()));
        assert_eq!(other(&[1, 2]), CapabilityValue::Value("01 02".into()));
    }
}
