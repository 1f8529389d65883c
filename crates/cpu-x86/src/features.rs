//! Which instruction-set extensions a processor has, in the terms of the decoder (`iced_x86::CpuidFeature`).
//!
//! `CpuModel` computes the set once from its CPUID leaves; decoding asks it for every instruction, so that an
//! instruction outside the guest's CPUID is #UD whatever family executes it. Left out: extensions whose encodings
//! are hints on processors without them (CET's ENDBR and RDSSP, CLDEMOTE, PREFETCHW, PAUSE); see `decode.rs`.

use iced_x86::CpuidFeature;

/// A set of [`CpuidFeature`]s.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Features([u64; 4]);

impl Features {
    /// Everything the decoder knows: for tests, and for models that do not say.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// What every processor with 64-bit mode has without any CPUID bit of its own.
    pub const BASE: Self = Self([0; 4])
        .with(CpuidFeature::INTEL8086)
        .with(CpuidFeature::INTEL186)
        .with(CpuidFeature::INTEL286)
        .with(CpuidFeature::INTEL386)
        .with(CpuidFeature::INTEL486)
        .with(CpuidFeature::X64)
        .with(CpuidFeature::CPUID)
        .with(CpuidFeature::FPU)
        .with(CpuidFeature::FPU287)
        .with(CpuidFeature::FPU387)
        .with(CpuidFeature::MULTIBYTENOP)
        .with(CpuidFeature::PAUSE)
        .with(CpuidFeature::RDPMC)
        .with(CpuidFeature::SMM);

    /// The set with `f` added.
    #[must_use]
    pub const fn with(mut self, f: CpuidFeature) -> Self {
        let n = f as usize;
        self.0[(n / 64) & 3] |= 1 << (n % 64);
        self
    }

    /// The set without `f`.
    #[must_use]
    pub const fn without(mut self, f: CpuidFeature) -> Self {
        let n = f as usize;
        self.0[(n / 64) & 3] &= !(1 << (n % 64));
        self
    }

    /// Whether `f` is in the set.
    pub const fn has(&self, f: CpuidFeature) -> bool {
        let n = f as usize;
        (self.0[(n / 64) & 3] >> (n % 64)) & 1 != 0
    }
}

impl Default for Features {
    fn default() -> Self {
        Self::ALL
    }
}

impl std::fmt::Debug for Features {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(CpuidFeature::values().filter(|x| self.has(*x))).finish()
    }
}
