//! What WHP has no property for: the processor model.

use std::fmt;
use std::sync::Arc;

use cpu_x86::Tier;
use cpu_x86::model::CpuModel;
use whp::CpuidResult2;

use crate::behave::Behave;

/// Which processor a partition's virtual processors are.
#[derive(Clone)]
pub struct SoftOptions {
    /// The model of the virtual processor with this index (topology leaves differ between them).
    pub model: Arc<dyn Fn(u32) -> Arc<CpuModel> + Send + Sync>,
    /// The initial APIC ID of the virtual processor with this index.
    pub apic_id: Arc<dyn Fn(u32) -> u32 + Send + Sync>,
    /// Guest TSC, in Hz. The default is 1 GHz: the TSC then counts nanoseconds, exactly.
    pub tsc_frequency: u64,
    /// Local APIC timer before its divider, in Hz.
    pub apic_frequency: u64,
    /// The machine's I/O APICs have an EOI register, so EOI broadcasts may be suppressed (SVR bit 12).
    pub eoi_suppression: bool,
    /// How processors execute.
    pub tier: Tier,
    /// Decoded accesses go to the handler given to `run`. Off: they exit, undecoded, as Microsoft's platform has it
    /// (to test what completes such exits).
    pub decoded: bool,
    /// Which Windows the platform behaves like.
    pub behave: Behave,
    /// Hyper-V enlightenments are among the capabilities.
    pub hyperv: bool,
    /// What CPUID is to say beyond the model: every partition starts with this `CpuidResultList2`.
    pub cpuid: Vec<CpuidResult2>,
}

impl SoftOptions {
    /// Every processor is of `model`, APIC IDs count from 0.
    pub fn new(model: Arc<CpuModel>) -> Self {
        Self {
            model: Arc::new(move |_| model.clone()),
            apic_id: Arc::new(|index| index),
            tsc_frequency: 1_000_000_000,
            apic_frequency: 1_000_000_000,
            eoi_suppression: false,
            tier: Tier::default(),
            decoded: true,
            behave: Behave::Native,
            hyperv: true,
            cpuid: Vec::new(),
        }
    }
}

impl Default for SoftOptions {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl fmt::Debug for SoftOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftOptions")
            .field("model", &(self.model)(0).name)
            .field("tier", &self.tier)
            .field("behave", &self.behave)
            .field("tsc_frequency", &self.tsc_frequency)
            .field("apic_frequency", &self.apic_frequency)
            .finish()
    }
}
