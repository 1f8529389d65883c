//! Partition properties and capabilities as bytes.

use whp::{
    Capability, CapabilityCode, CapabilityFeatures, CpuidResult, CpuidResult2, ExtendedVmExits, LocalApicEmulationMode,
    MsrAction, MsrActionEntry, MsrExitBitmap, ProcessorFeatures, ProcessorFeatures1, ProcessorVendor, Property,
    PropertyCode, SyntheticProcessorFeatures, XsaveFeatures,
};

/// Why bytes are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvertError {
    /// Shorter than the value, or not a whole number of list entries.
    Size,
    /// No value has these bytes.
    Value,
}

/// Reads numbers from the front; what is left over is ignored, as Microsoft's DLL ignores it.
struct Take<'a>(&'a [u8]);

impl Take<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ConvertError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(ConvertError::Size)?;
        self.0 = rest;
        Ok(*head)
    }
    fn u8(&mut self) -> Result<u8, ConvertError> {
        Ok(self.bytes::<1>()?[0])
    }
    fn u32(&mut self) -> Result<u32, ConvertError> {
        self.bytes().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Result<u64, ConvertError> {
        self.bytes().map(u64::from_le_bytes)
    }
    /// `BOOL`.
    fn bool(&mut self) -> Result<bool, ConvertError> {
        Ok(self.u32()? != 0)
    }
    /// Count, padding, that many words (the rest of `most` are 0).
    fn banks<const N: usize>(&mut self) -> Result<[u64; N], ConvertError> {
        let count = self.u32()? as usize;
        self.u32()?;
        if count == 0 || count > N {
            return Err(ConvertError::Value);
        }
        let mut banks = [0; N];
        for b in &mut banks[..count] {
            *b = self.u64()?;
        }
        Ok(banks)
    }
    fn list<T>(
        &mut self,
        size: usize,
        mut one: impl FnMut(&mut Self) -> Result<T, ConvertError>,
    ) -> Result<Vec<T>, ConvertError> {
        if !self.0.len().is_multiple_of(size) {
            return Err(ConvertError::Size);
        }
        (0..self.0.len() / size).map(|_| one(self)).collect()
    }
}

fn words(list: impl IntoIterator<Item = u32>) -> Vec<u8> {
    list.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn banks(list: &[u64]) -> Vec<u8> {
    let mut out = words([list.len() as u32, 0]);
    list.iter().for_each(|b| out.extend(b.to_le_bytes()));
    out
}

fn long(v: u64) -> Vec<u8> {
    v.to_le_bytes().to_vec()
}

fn flag(v: bool) -> Vec<u8> {
    words([u32::from(v)])
}

fn action(code: u32) -> Result<MsrAction, ConvertError> {
    match code {
        0 => Ok(MsrAction::ArchitectureDefault),
        1 => Ok(MsrAction::IgnoreWriteReadZero),
        2 => Ok(MsrAction::Exit),
        _ => Err(ConvertError::Value),
    }
}

fn action_code(a: MsrAction) -> u8 {
    match a {
        MsrAction::ArchitectureDefault => 0,
        MsrAction::IgnoreWriteReadZero => 1,
        MsrAction::Exit => 2,
    }
}

fn apic_mode(code: u32) -> Result<LocalApicEmulationMode, ConvertError> {
    match code {
        0 => Ok(LocalApicEmulationMode::None),
        1 => Ok(LocalApicEmulationMode::XApic),
        2 => Ok(LocalApicEmulationMode::X2Apic),
        _ => Err(ConvertError::Value),
    }
}

const SUBLEAF_SPECIFIC: u32 = 1;
const VP_SPECIFIC: u32 = 2;

fn cpuid_result(t: &mut Take<'_>) -> Result<CpuidResult, ConvertError> {
    let function = t.u32()?;
    t.bytes::<12>()?;
    Ok(CpuidResult { function, eax: t.u32()?, ebx: t.u32()?, ecx: t.u32()?, edx: t.u32()? })
}

fn cpuid_result2(t: &mut Take<'_>) -> Result<CpuidResult2, ConvertError> {
    let (function, index, vp, flags) = (t.u32()?, t.u32()?, t.u32()?, t.u32()?);
    if flags & !(SUBLEAF_SPECIFIC | VP_SPECIFIC) != 0 {
        return Err(ConvertError::Value);
    }
    Ok(CpuidResult2 {
        function,
        index: (flags & SUBLEAF_SPECIFIC != 0).then_some(index),
        vp_index: (flags & VP_SPECIFIC != 0).then_some(vp),
        output: [t.u32()?, t.u32()?, t.u32()?, t.u32()?],
        mask: [t.u32()?, t.u32()?, t.u32()?, t.u32()?],
    })
}

fn msr_entry(t: &mut Take<'_>) -> Result<MsrActionEntry, ConvertError> {
    let index = t.u32()?;
    let (read, write) = (action(t.u8()?.into())?, action(t.u8()?.into())?);
    t.bytes::<2>()?;
    Ok(MsrActionEntry { index, read, write })
}

/// Bytes of a property of fixed size; `None` for lists and unknown ones.
pub fn property_size(code: PropertyCode) -> Option<usize> {
    Some(match code {
        PropertyCode::PROCESSOR_CL_FLUSH_SIZE => 1,
        PropertyCode::PRIMARY_NUMA_NODE => 2,
        PropertyCode::SEPARATE_SECURITY_DOMAIN
        | PropertyCode::NESTED_VIRTUALIZATION
        | PropertyCode::CPU_RESERVE
        | PropertyCode::CPU_CAP
        | PropertyCode::CPU_WEIGHT
        | PropertyCode::PROCESSOR_FREQUENCY_CAP
        | PropertyCode::ALLOW_DEVICE_ASSIGNMENT
        | PropertyCode::DISABLE_SMT
        | PropertyCode::LOCAL_APIC_EMULATION_MODE
        | PropertyCode::APIC_REMOTE_READ_SUPPORT
        | PropertyCode::UNIMPLEMENTED_MSR_ACTION
        | PropertyCode::PHYSICAL_ADDRESS_WIDTH
        | PropertyCode::PROCESSOR_COUNT => 4,
        PropertyCode::EXTENDED_VM_EXITS
        | PropertyCode::EXCEPTION_EXIT_BITMAP
        | PropertyCode::X64_MSR_EXIT_BITMAP
        | PropertyCode::CPU_GROUP_ID
        | PropertyCode::PROCESSOR_FEATURES
        | PropertyCode::PROCESSOR_XSAVE_FEATURES
        | PropertyCode::PROCESSOR_CLOCK_FREQUENCY
        | PropertyCode::INTERRUPT_CLOCK_FREQUENCY
        | PropertyCode::REFERENCE_TIME
        | PropertyCode::PROCESSOR_PERFMON_FEATURES => 8,
        PropertyCode::SYNTHETIC_PROCESSOR_FEATURES_BANKS => 16,
        PropertyCode::PROCESSOR_FEATURES_BANKS => 24,
        _ => return None,
    })
}

/// As C has it.
pub fn property_bytes(p: &Property) -> Vec<u8> {
    match p {
        Property::ExtendedVmExits(v) => long(v.bits()),
        Property::ExceptionExitBitmap(v)
        | Property::ProcessorClockFrequency(v)
        | Property::InterruptClockFrequency(v)
        | Property::ReferenceTime(v)
        | Property::ProcessorPerfmonFeatures(v) => long(*v),
        Property::SeparateSecurityDomain(v)
        | Property::NestedVirtualization(v)
        | Property::ApicRemoteReadSupport(v) => flag(*v),
        Property::X64MsrExitBitmap(v) => long(v.bits()),
        Property::ProcessorFeatures(v) => long(v.bits()),
        Property::ProcessorClFlushSize(v) => vec![*v],
        Property::CpuidExitList(v) => words(v.iter().copied()),
        Property::CpuidResultList(v) => words(v.iter().flat_map(|r| [r.function, 0, 0, 0, r.eax, r.ebx, r.ecx, r.edx])),
        Property::CpuidResultList2(v) => words(v.iter().flat_map(|r| {
            let flags = r.index.map_or(0, |_| SUBLEAF_SPECIFIC) | r.vp_index.map_or(0, |_| VP_SPECIFIC);
            let head = [r.function, r.index.unwrap_or(0), r.vp_index.unwrap_or(0), flags];
            head.into_iter().chain(r.output).chain(r.mask)
        })),
        Property::LocalApicEmulationMode(v) => words([match v {
            LocalApicEmulationMode::None => 0,
            LocalApicEmulationMode::XApic => 1,
            LocalApicEmulationMode::X2Apic => 2,
        }]),
        Property::ProcessorXsaveFeatures(v) => long(v.bits()),
        Property::ProcessorFeaturesBanks(a, b) => banks(&[a.bits(), b.bits()]),
        Property::SyntheticProcessorFeaturesBanks(v) => banks(&[v.bits()]),
        Property::MsrActionList(v) => {
            let entry =
                |e: &MsrActionEntry| [e.index, u32::from(action_code(e.read)) | u32::from(action_code(e.write)) << 8];
            words(v.iter().flat_map(entry))
        }
        Property::UnimplementedMsrAction(v) => words([action_code(*v).into()]),
        Property::PhysicalAddressWidth(v) | Property::ProcessorCount(v) => words([*v]),
        Property::Other(_, bytes) => bytes.clone(),
    }
}

/// From C; more bytes than the value has are ignored, except in lists.
///
/// # Errors
/// [`ConvertError`].
pub fn property_from_bytes(code: PropertyCode, bytes: &[u8]) -> Result<Property, ConvertError> {
    let t = &mut Take(bytes);
    Ok(match code {
        PropertyCode::EXTENDED_VM_EXITS => Property::ExtendedVmExits(ExtendedVmExits::from_bits_retain(t.u64()?)),
        PropertyCode::EXCEPTION_EXIT_BITMAP => Property::ExceptionExitBitmap(t.u64()?),
        PropertyCode::SEPARATE_SECURITY_DOMAIN => Property::SeparateSecurityDomain(t.bool()?),
        PropertyCode::NESTED_VIRTUALIZATION => Property::NestedVirtualization(t.bool()?),
        PropertyCode::X64_MSR_EXIT_BITMAP => Property::X64MsrExitBitmap(MsrExitBitmap::from_bits_retain(t.u64()?)),
        PropertyCode::PROCESSOR_FEATURES => Property::ProcessorFeatures(ProcessorFeatures::from_bits_retain(t.u64()?)),
        PropertyCode::PROCESSOR_CL_FLUSH_SIZE => Property::ProcessorClFlushSize(t.u8()?),
        PropertyCode::CPUID_EXIT_LIST => Property::CpuidExitList(t.list(4, Take::u32)?),
        PropertyCode::CPUID_RESULT_LIST => Property::CpuidResultList(t.list(32, cpuid_result)?),
        PropertyCode::CPUID_RESULT_LIST2 => Property::CpuidResultList2(t.list(48, cpuid_result2)?),
        PropertyCode::LOCAL_APIC_EMULATION_MODE => Property::LocalApicEmulationMode(apic_mode(t.u32()?)?),
        PropertyCode::PROCESSOR_XSAVE_FEATURES => {
            Property::ProcessorXsaveFeatures(XsaveFeatures::from_bits_retain(t.u64()?))
        }
        PropertyCode::PROCESSOR_CLOCK_FREQUENCY => Property::ProcessorClockFrequency(t.u64()?),
        PropertyCode::INTERRUPT_CLOCK_FREQUENCY => Property::InterruptClockFrequency(t.u64()?),
        PropertyCode::APIC_REMOTE_READ_SUPPORT => Property::ApicRemoteReadSupport(t.bool()?),
        PropertyCode::PROCESSOR_FEATURES_BANKS => {
            let [a, b] = t.banks()?;
            let (a, b) = (ProcessorFeatures::from_bits_retain(a), ProcessorFeatures1::from_bits_retain(b));
            Property::ProcessorFeaturesBanks(a, b)
        }
        PropertyCode::REFERENCE_TIME => Property::ReferenceTime(t.u64()?),
        PropertyCode::SYNTHETIC_PROCESSOR_FEATURES_BANKS => {
            let [a] = t.banks()?;
            Property::SyntheticProcessorFeaturesBanks(SyntheticProcessorFeatures::from_bits_retain(a))
        }
        PropertyCode::PROCESSOR_PERFMON_FEATURES => Property::ProcessorPerfmonFeatures(t.u64()?),
        PropertyCode::MSR_ACTION_LIST => Property::MsrActionList(t.list(8, msr_entry)?),
        PropertyCode::UNIMPLEMENTED_MSR_ACTION => Property::UnimplementedMsrAction(action(t.u32()?)?),
        PropertyCode::PHYSICAL_ADDRESS_WIDTH => Property::PhysicalAddressWidth(t.u32()?),
        PropertyCode::PROCESSOR_COUNT => Property::ProcessorCount(t.u32()?),
        code => Property::Other(code, bytes.to_vec()),
    })
}

/// Bytes of a capability; `None` for unknown ones.
pub fn capability_size(code: CapabilityCode) -> Option<usize> {
    Some(match code {
        CapabilityCode::PROCESSOR_CL_FLUSH_SIZE => 1,
        CapabilityCode::HYPERVISOR_PRESENT
        | CapabilityCode::GPA_RANGE_POPULATE_FLAGS
        | CapabilityCode::PROCESSOR_VENDOR
        | CapabilityCode::PHYSICAL_ADDRESS_WIDTH => 4,
        CapabilityCode::FEATURES
        | CapabilityCode::EXTENDED_VM_EXITS
        | CapabilityCode::EXCEPTION_EXIT_BITMAP
        | CapabilityCode::X64_MSR_EXIT_BITMAP
        | CapabilityCode::SCHEDULER_FEATURES
        | CapabilityCode::PROCESSOR_FEATURES
        | CapabilityCode::PROCESSOR_XSAVE_FEATURES
        | CapabilityCode::PROCESSOR_CLOCK_FREQUENCY
        | CapabilityCode::INTERRUPT_CLOCK_FREQUENCY
        | CapabilityCode::PROCESSOR_PERFMON_FEATURES => 8,
        CapabilityCode::SYNTHETIC_PROCESSOR_FEATURES_BANKS => 16,
        CapabilityCode::PROCESSOR_FREQUENCY_CAP => 20,
        CapabilityCode::PROCESSOR_FEATURES_BANKS => 24,
        CapabilityCode(0x2000..=0x2010) => 8,
        _ => return None,
    })
}

/// As C has it.
pub fn capability_bytes(c: &Capability) -> Vec<u8> {
    match c {
        Capability::HypervisorPresent(v) => flag(*v),
        Capability::Features(v) => long(v.bits()),
        Capability::ExtendedVmExits(v) => long(v.bits()),
        Capability::X64MsrExitBitmap(v) => long(v.bits()),
        Capability::ProcessorVendor(v) => words([v.0]),
        Capability::ProcessorFeatures(v) => long(v.bits()),
        Capability::ProcessorClFlushSize(v) => vec![*v],
        Capability::ProcessorXsaveFeatures(v) => long(v.bits()),
        Capability::ExceptionExitBitmap(v)
        | Capability::ProcessorClockFrequency(v)
        | Capability::InterruptClockFrequency(v)
        | Capability::ProcessorPerfmonFeatures(v) => long(*v),
        Capability::ProcessorFeaturesBanks(a, b) => banks(&[a.bits(), b.bits()]),
        Capability::SyntheticProcessorFeaturesBanks(v) => banks(&[v.bits()]),
        Capability::PhysicalAddressWidth(v) => words([*v]),
        Capability::Other(_, bytes) => bytes.clone(),
    }
}

/// From C; more bytes than the value has are ignored.
///
/// # Errors
/// [`ConvertError`].
pub fn capability_from_bytes(code: CapabilityCode, bytes: &[u8]) -> Result<Capability, ConvertError> {
    let t = &mut Take(bytes);
    Ok(match code {
        CapabilityCode::HYPERVISOR_PRESENT => Capability::HypervisorPresent(t.bool()?),
        CapabilityCode::FEATURES => Capability::Features(CapabilityFeatures::from_bits_retain(t.u64()?)),
        CapabilityCode::EXTENDED_VM_EXITS => Capability::ExtendedVmExits(ExtendedVmExits::from_bits_retain(t.u64()?)),
        CapabilityCode::EXCEPTION_EXIT_BITMAP => Capability::ExceptionExitBitmap(t.u64()?),
        CapabilityCode::X64_MSR_EXIT_BITMAP => Capability::X64MsrExitBitmap(MsrExitBitmap::from_bits_retain(t.u64()?)),
        CapabilityCode::PROCESSOR_VENDOR => Capability::ProcessorVendor(ProcessorVendor(t.u32()?)),
        CapabilityCode::PROCESSOR_FEATURES => {
            Capability::ProcessorFeatures(ProcessorFeatures::from_bits_retain(t.u64()?))
        }
        CapabilityCode::PROCESSOR_CL_FLUSH_SIZE => Capability::ProcessorClFlushSize(t.u8()?),
        CapabilityCode::PROCESSOR_XSAVE_FEATURES => {
            Capability::ProcessorXsaveFeatures(XsaveFeatures::from_bits_retain(t.u64()?))
        }
        CapabilityCode::PROCESSOR_CLOCK_FREQUENCY => Capability::ProcessorClockFrequency(t.u64()?),
        CapabilityCode::INTERRUPT_CLOCK_FREQUENCY => Capability::InterruptClockFrequency(t.u64()?),
        CapabilityCode::PROCESSOR_FEATURES_BANKS => {
            let [a, b] = t.banks()?;
            let (a, b) = (ProcessorFeatures::from_bits_retain(a), ProcessorFeatures1::from_bits_retain(b));
            Capability::ProcessorFeaturesBanks(a, b)
        }
        CapabilityCode::SYNTHETIC_PROCESSOR_FEATURES_BANKS => {
            let [a] = t.banks()?;
            Capability::SyntheticProcessorFeaturesBanks(SyntheticProcessorFeatures::from_bits_retain(a))
        }
        CapabilityCode::PROCESSOR_PERFMON_FEATURES => Capability::ProcessorPerfmonFeatures(t.u64()?),
        CapabilityCode::PHYSICAL_ADDRESS_WIDTH => Capability::PhysicalAddressWidth(t.u32()?),
        code => Capability::Other(code, bytes.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_survive_the_round_trip_in_larger_buffers_too() {
        let list = [
            Property::ExtendedVmExits(ExtendedVmExits::from_bits_retain(0x47)),
            Property::ExceptionExitBitmap(1 << 13),
            Property::SeparateSecurityDomain(true),
            Property::ProcessorClFlushSize(8),
            Property::LocalApicEmulationMode(LocalApicEmulationMode::X2Apic),
            Property::ProcessorFeaturesBanks(
                ProcessorFeatures::from_bits_retain(0x1234),
                ProcessorFeatures1::from_bits_retain(0x5678),
            ),
            Property::SyntheticProcessorFeaturesBanks(SyntheticProcessorFeatures::from_bits_retain(3)),
            Property::UnimplementedMsrAction(MsrAction::Exit),
            Property::ProcessorCount(4),
        ];
        for p in list {
            let mut bytes = property_bytes(&p);
            assert_eq!(Some(bytes.len()), property_size(p.code()), "{p:?}");
            assert_eq!(property_from_bytes(p.code(), &bytes[..bytes.len() - 1]), Err(ConvertError::Size), "{p:?}");
            bytes.resize(48, 0xEE);
            assert_eq!(property_from_bytes(p.code(), &bytes), Ok(p));
        }
    }

    #[test]
    fn lists_are_counted_by_their_size() {
        let result = CpuidResult { function: 1, eax: 2, ebx: 3, ecx: 4, edx: 5 };
        let result2 =
            CpuidResult2 { function: 4, index: Some(0), vp_index: None, output: [1, 2, 3, 4], mask: [u32::MAX; 4] };
        let entry = MsrActionEntry { index: 0x10, read: MsrAction::Exit, write: MsrAction::IgnoreWriteReadZero };
        let lists = [
            (Property::CpuidExitList(vec![1, 0x8000_0001]), 8),
            (Property::CpuidResultList(vec![result; 2]), 64),
            (Property::CpuidResultList2(vec![result2; 3]), 144),
            (Property::MsrActionList(vec![entry]), 8),
            (Property::CpuidExitList(vec![]), 0),
        ];
        for (p, size) in lists {
            let bytes = property_bytes(&p);
            assert_eq!(bytes.len(), size);
            assert_eq!(property_from_bytes(p.code(), &bytes), Ok(p));
        }
        assert_eq!(property_from_bytes(PropertyCode::CPUID_EXIT_LIST, &[0; 5]), Err(ConvertError::Size));
        assert_eq!(
            property_from_bytes(PropertyCode::LOCAL_APIC_EMULATION_MODE, &[9, 0, 0, 0]),
            Err(ConvertError::Value)
        );
    }

    #[test]
    fn capabilities_survive_the_round_trip() {
        let list = [
            (CapabilityCode::HYPERVISOR_PRESENT, Capability::HypervisorPresent(true)),
            (CapabilityCode::PROCESSOR_VENDOR, Capability::ProcessorVendor(ProcessorVendor::INTEL)),
            (CapabilityCode::PROCESSOR_CLOCK_FREQUENCY, Capability::ProcessorClockFrequency(1_000_000_000)),
            (CapabilityCode::PHYSICAL_ADDRESS_WIDTH, Capability::PhysicalAddressWidth(40)),
        ];
        for (code, c) in list {
            let mut bytes = capability_bytes(&c);
            assert_eq!(Some(bytes.len()), capability_size(code));
            bytes.resize(24, 0);
            assert_eq!(capability_from_bytes(code, &bytes), Ok(c));
        }
    }
}
