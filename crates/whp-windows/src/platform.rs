//! The platform: capabilities, and partitions made with the program's options.

use std::path::Path;
use std::sync::Arc;

use whp::{
    Arch, Capability, CapabilityCode, CapabilityFeatures, CpuidResult2, Error, HResult, Partition, Platform,
    ProcessorFeatures, ProcessorFeatures1, Property, Result, SyntheticProcessorFeatures,
};
use whp_abi::convert::capability_from_bytes;
use whp_abi::x64::WHV_CAPABILITY;

use crate::api::{Api, check};
use crate::library::{Library, OpenError};
use crate::partition::WindowsPartition;

/// What the user can choose that WHP has properties for.
#[derive(Clone, Debug)]
pub struct WindowsOptions {
    /// Hyper-V enlightenments, where the system can choose them.
    pub hyperv: bool,
    /// A separate security domain; without, mitigations between guest and host are off and exits are faster.
    pub separate_security_domain: bool,
    /// What CPUID is to say beyond the platform's own answers.
    pub cpuid: Vec<CpuidResult2>,
}

impl Default for WindowsOptions {
    fn default() -> Self {
        Self { hyperv: true, separate_security_domain: true, cpuid: Vec::new() }
    }
}

/// See the crate's documentation.
#[derive(Clone)]
pub struct WindowsPlatform {
    api: Arc<Api>,
    pub(crate) options: WindowsOptions,
}

impl WindowsPlatform {
    /// The system's: Microsoft's, or a library of that name beside the program.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open() -> std::result::Result<Self, OpenError> {
        Self::with(Library::system()?, &[])
    }

    /// Another library with the same interface.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_library(path: &Path) -> std::result::Result<Self, OpenError> {
        Self::with(Library::load(path)?, &[])
    }

    /// The same, as if it had none of the optional functions in `hidden`: an older system, for tests.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_library_without(path: &Path, hidden: &[&str]) -> std::result::Result<Self, OpenError> {
        Self::with(Library::load(path)?, hidden)
    }

    fn with(library: Library, hidden: &[&str]) -> std::result::Result<Self, OpenError> {
        Ok(Self { api: Arc::new(Api::new(library, hidden)?), options: WindowsOptions::default() })
    }

    /// With other options.
    #[must_use]
    pub fn with_options(mut self, options: WindowsOptions) -> Self {
        self.options = options;
        self
    }

    /// Functions that not every version has, and whether this one does.
    pub fn optional_functions(&self) -> Vec<(&'static str, bool)> {
        self.api.optional()
    }

    /// Whether it is older than Windows Server 2022 (build 20348): no choice of enlightenments, and an interrupt of
    /// the 8259 pair does not end a HLT with the local APIC in the platform.
    pub fn is_legacy(&self) -> bool {
        // Both capabilities came with that build; one alone may be missing for another reason.
        let new = [CapabilityCode::PROCESSOR_PERFMON_FEATURES, CapabilityCode::SYNTHETIC_PROCESSOR_FEATURES_BANKS];
        new.into_iter().all(|code| self.raw_capability(code).is_err())
    }

    /// The platform's CPUID results for `leaves` (EAX and ECX), as a processor of a partition with default features
    /// has them; empty where the system cannot tell.
    pub fn cpuid(&self, leaves: &[(u32, u32)]) -> Vec<[u32; 4]> {
        let ask = || -> Result<Vec<[u32; 4]>> {
            let plain = self.clone().with_options(WindowsOptions::default());
            let partition = plain.create_partition()?;
            partition.set_property(Property::ProcessorCount(1))?;
            if let Ok(Capability::ProcessorFeaturesBanks(a, b)) =
                plain.capability(CapabilityCode::PROCESSOR_FEATURES_BANKS)
            {
                partition.set_property(Property::ProcessorFeaturesBanks(a, b))?;
            }
            partition.setup()?;
            let vp = partition.create_virtual_processor(0)?;
            leaves.iter().map(|(eax, ecx)| vp.cpuid_output(*eax, *ecx)).collect()
        };
        ask().unwrap_or_default()
    }

    fn raw_capability(&self, code: CapabilityCode) -> Result<Capability> {
        const NAME: &str = "GetCapability";
        // 64-bit words for alignment, at least as many as the union has bytes.
        let mut buffer = [0u64; size_of::<WHV_CAPABILITY>().div_ceil(8) + 8];
        // Banks of features: how many there is room for goes in.
        match code {
            CapabilityCode::PROCESSOR_FEATURES_BANKS => buffer[0] = 2,
            CapabilityCode::SYNTHETIC_PROCESSOR_FEATURES_BANKS => buffer[0] = 1,
            _ => {}
        }
        let size = size_of_val(&buffer) as u32;
        let mut written = 0;
        // SAFETY: the buffer has `size` writable bytes, and `written` is a place for a number.
        let hr = unsafe { (self.api.get_capability)(code.0 as i32, buffer.as_mut_ptr().cast(), size, &mut written) };
        check(hr, NAME, || format!("code {:#x}", code.0))?;
        let bytes: Vec<u8> = buffer.iter().flat_map(|w| w.to_le_bytes()).take(written.min(size) as usize).collect();
        capability_from_bytes(code, &bytes)
            .map_err(|e| Error::new(HResult::E_UNEXPECTED, NAME, format!("code {:#x}: {e:?} in {bytes:x?}", code.0)))
    }
}

/// The bits that `ssd=off` takes away: without them the hypervisor does not switch speculation controls at exits.
fn without_mitigations(a: ProcessorFeatures, b: ProcessorFeatures1) -> (ProcessorFeatures, ProcessorFeatures1) {
    use ProcessorFeatures as F;
    (a - (F::IBRS | F::STIBP | F::IBPB | F::SSBD | F::IBRS_ALL), b - ProcessorFeatures1::PSFD)
}

impl whp::Platform for WindowsPlatform {
    fn name(&self) -> &str {
        "Windows Hypervisor Platform"
    }

    fn arch(&self) -> Arch {
        Arch::X64
    }

    /// Capabilities as the options leave them.
    fn capability(&self, code: CapabilityCode) -> Result<Capability> {
        let capability = self.raw_capability(code)?;
        Ok(match capability {
            Capability::ProcessorFeaturesBanks(a, b) if !self.options.separate_security_domain => {
                let (a, b) = without_mitigations(a, b);
                Capability::ProcessorFeaturesBanks(a, b)
            }
            Capability::SyntheticProcessorFeaturesBanks(_) if !self.options.hyperv => {
                Capability::SyntheticProcessorFeaturesBanks(SyntheticProcessorFeatures::empty())
            }
            other => other,
        })
    }

    fn create_partition(&self) -> Result<Arc<dyn Partition>> {
        let features = match self.raw_capability(CapabilityCode::FEATURES) {
            Ok(Capability::Features(f)) => f,
            _ => CapabilityFeatures::empty(),
        };
        let partition = WindowsPartition::new(self.api.clone(), features, self.options.cpuid.clone())?;
        if !self.options.separate_security_domain
            && let Err(e) = partition.set_property(Property::SeparateSecurityDomain(false))
        {
            tracing::warn!("ssd=off has only part of its effect: {e}"); // some releases of Windows 10 lack it
        }
        Ok(Arc::new(partition))
    }
}
