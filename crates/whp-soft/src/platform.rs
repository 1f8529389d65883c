//! The platform: what it can do, and its partitions.

use std::sync::Arc;

use whp::{
    Arch, Capability, CapabilityCode, CapabilityFeatures, Error, HResult, Partition, Platform, ProcessorVendor, Result,
    SyntheticProcessorFeatures,
};

use crate::config::{SUPPORTED_EXCEPTIONS, feature_banks, supported_exits, supported_msr_exits, xsave_features};
use crate::hyperv::supported;
use crate::options::SoftOptions;
use crate::partition::SoftPartition;
use crate::shared::capability_name;

/// The built-in platform with the processor model it gives its partitions.
#[derive(Clone, Debug, Default)]
pub struct SoftPlatform {
    options: SoftOptions,
}

impl SoftPlatform {
    /// A platform whose partitions have processors as `options` say.
    pub fn new(options: SoftOptions) -> Self {
        Self { options }
    }

    /// `WHvCreatePartition`, of the type that has more than the trait.
    pub fn partition(&self) -> Arc<SoftPartition> {
        Arc::new(SoftPartition::new(self.options.clone()))
    }
}

impl Platform for SoftPlatform {
    fn name(&self) -> &str {
        "built-in platform"
    }

    fn arch(&self) -> Arch {
        Arch::X64
    }

    fn capability(&self, code: CapabilityCode) -> Result<Capability> {
        let (model, behave) = ((self.options.model)(0), self.options.behave);
        if !behave.knows_capability(code) {
            return Err(Error::new(HResult::WHV_E_UNKNOWN_CAPABILITY, "GetCapability", capability_name(code)));
        }
        Ok(match code {
            CapabilityCode::HYPERVISOR_PRESENT => Capability::HypervisorPresent(true),
            CapabilityCode::FEATURES => {
                use CapabilityFeatures as F;
                let all =
                    F::PARTIAL_UNMAP | F::LOCAL_APIC_EMULATION | F::XSAVE | F::DIRTY_PAGE_TRACKING | F::IDLE_SUSPEND;
                Capability::Features(all & behave.features())
            }
            CapabilityCode::EXTENDED_VM_EXITS => Capability::ExtendedVmExits(supported_exits()),
            CapabilityCode::EXCEPTION_EXIT_BITMAP => Capability::ExceptionExitBitmap(SUPPORTED_EXCEPTIONS),
            CapabilityCode::X64_MSR_EXIT_BITMAP => Capability::X64MsrExitBitmap(supported_msr_exits()),
            CapabilityCode::PROCESSOR_VENDOR => {
                let vendor = match model.leaf(0, 0).map(|r| r[1]) {
                    Some(0x756E_6547) => ProcessorVendor::INTEL,
                    _ => ProcessorVendor::AMD,
                };
                Capability::ProcessorVendor(vendor)
            }
            CapabilityCode::PROCESSOR_FEATURES => Capability::ProcessorFeatures(feature_banks(&model).0),
            CapabilityCode::PROCESSOR_FEATURES_BANKS => {
                let (a, b) = feature_banks(&model);
                Capability::ProcessorFeaturesBanks(a, b)
            }
            CapabilityCode::PROCESSOR_CL_FLUSH_SIZE => Capability::ProcessorClFlushSize(8),
            CapabilityCode::PROCESSOR_XSAVE_FEATURES => Capability::ProcessorXsaveFeatures(xsave_features(&model)),
            CapabilityCode::PROCESSOR_CLOCK_FREQUENCY => {
                Capability::ProcessorClockFrequency(self.options.tsc_frequency)
            }
            CapabilityCode::INTERRUPT_CLOCK_FREQUENCY => {
                Capability::InterruptClockFrequency(self.options.apic_frequency)
            }
            CapabilityCode::SYNTHETIC_PROCESSOR_FEATURES_BANKS => {
                let offered = if self.options.hyperv { supported() } else { SyntheticProcessorFeatures::empty() };
                Capability::SyntheticProcessorFeaturesBanks(offered)
            }
            // There are no performance counters; clients take the answer as the sign of a Windows newer than 10.
            CapabilityCode::PROCESSOR_PERFMON_FEATURES => Capability::ProcessorPerfmonFeatures(0),
            CapabilityCode::PHYSICAL_ADDRESS_WIDTH => {
                Capability::PhysicalAddressWidth(model.leaf(0x8000_0008, 0).map_or(36, |r| r[0] & 0xFF))
            }
            code => {
                return Err(Error::new(HResult::WHV_E_UNKNOWN_CAPABILITY, "GetCapability", capability_name(code)));
            }
        })
    }

    fn create_partition(&self) -> Result<Arc<dyn Partition>> {
        Ok(self.partition())
    }
}
