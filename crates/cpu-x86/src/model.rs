//! CPU models: what CPUID says and which instructions exist.
//!
//! [`CpuSpec`] is the meaning of a `-cpu` option; [`CpuSpec::model`] makes the model of one processor of it. Only
//! implemented features are ever visible: what a model has and this implementation (or the host's SIMD unit) lacks
//! is left out, and named in [`CpuSpec::warnings`]. `max` and `host` are the same here: everything implemented, without
//! `invtsc`; `max` is the default, since it runs guests fastest.

mod build;
mod features;
mod reasons;
mod spec;
mod table;

pub use build::{Topology, host_xsave_component};
pub use features::feature_names;
pub use spec::{CpuError, CpuSpec, DEFAULT_CPU};

use crate::features::Features;
use crate::state::cr::*;
use iced_x86::CpuidFeature;

/// One CPUID leaf as configured; dynamic bits are filled in when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuidLeaf {
    /// EAX on entry.
    pub leaf: u32,
    /// ECX on entry, where the leaf has subleaves.
    pub subleaf: u32,
    /// EAX, EBX, ECX, EDX.
    pub regs: [u32; 4],
}

/// A processor model, features already limited to what this implementation can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuModel {
    /// Name as in `-cpu`.
    pub name: String,
    /// All leaves, sorted by (leaf, subleaf).
    pub leaves: Vec<CpuidLeaf>,
    /// Which instructions exist: what `leaves` say in the decoder's terms.
    pub features: Features,
}

impl CpuModel {
    /// The configured values of a leaf: exact subleaf, else `None`.
    pub fn leaf(&self, leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
        self.leaves
            .binary_search_by_key(&(leaf, subleaf), |l| (l.leaf, l.subleaf))
            .ok()
            .and_then(|i| self.leaves.get(i))
            .map(|l| l.regs)
    }

    /// What CPUID returns for any leaf, without the bits that follow control registers.
    pub fn query(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let highest = |base: u32| self.leaf(base, 0).map_or(base, |r| r[0]);
        let mut leaf = leaf;
        match leaf {
            0x4000_0000..=0x4FFF_FFFF => return [0; 4], // the hypervisor's: the bus fills them in
            0x8000_0000.. if leaf > highest(0x8000_0000) && self.is_amd() => return [0; 4],
            0x8000_0000.. if leaf <= highest(0x8000_0000) => {}
            _ if leaf > highest(0) && self.is_amd() => return [0; 4],
            _ if leaf > highest(0) => leaf = highest(0), // Intel: the highest basic leaf answers
            _ => {}
        }
        if !matches!(leaf, 4 | 7 | 0xB | 0xD | 0xF | 0x10 | 0x12 | 0x14 | 0x1F | 0x8000_001D | 0x8000_0020) {
            return self.leaf(leaf, 0).unwrap_or_default();
        }
        match (self.leaf(leaf, subleaf), leaf) {
            (Some(r), _) => r,
            // Past the last level: only the subleaf's number and the APIC ID.
            (None, 0xB | 0x1F) => self.leaf(leaf, 0).map_or([0; 4], |r| [0, 0, subleaf & 0xFF, r[3]]),
            (None, _) => [0; 4],
        }
    }

    /// CPUID leaf 1's EAX: family, model, stepping; EDX after reset.
    pub fn signature(&self) -> u32 {
        self.leaf(1, 0).map_or(0x0600, |r| r[0])
    }

    /// Whether the processor has an instruction-set extension in the decoder's terms.
    pub fn has(&self, feature: CpuidFeature) -> bool {
        self.features.has(feature)
    }

    /// Whether the vendor is AMD.
    pub fn is_amd(&self) -> bool {
        self.leaf(0, 0).is_some_and(|r| r[1] == u32::from_le_bytes(*b"Auth"))
    }

    /// Width of physical addresses.
    pub fn physical_bits(&self) -> u32 {
        self.leaf(0x8000_0008, 0).map_or(40, |r| r[0] & 0xFF).clamp(32, 52)
    }

    /// A feature bit; a model without leaves (tests) has them all.
    fn bit(&self, leaf: u32, subleaf: u32, reg: usize, bit: u32) -> bool {
        if self.leaves.is_empty() {
            return true;
        }
        self.leaf(leaf, subleaf).is_some_and(|r| r.get(reg).is_some_and(|v| v >> bit & 1 != 0))
    }

    /// The bits MOV to CR4 may set.
    pub fn cr4_mask(&self) -> u64 {
        let bits = [
            (self.bit(1, 0, 3, 1), CR4_VME | CR4_PVI),
            (self.bit(1, 0, 3, 4), CR4_TSD),
            (self.bit(1, 0, 3, 2), CR4_DE),
            (self.bit(1, 0, 3, 3), CR4_PSE),
            (self.bit(1, 0, 3, 6), CR4_PAE),
            (self.bit(1, 0, 3, 7), CR4_MCE),
            (self.bit(1, 0, 3, 13), CR4_PGE),
            (true, CR4_PCE),
            (self.bit(1, 0, 3, 24), CR4_OSFXSR),
            (self.bit(1, 0, 3, 25), CR4_OSXMMEXCPT),
            (self.bit(7, 0, 2, 2), CR4_UMIP),
            (self.bit(7, 0, 1, 0), CR4_FSGSBASE),
            (self.bit(1, 0, 2, 17), CR4_PCIDE),
            (self.bit(1, 0, 2, 26), CR4_OSXSAVE),
            (self.bit(7, 0, 1, 7), CR4_SMEP),
            (self.bit(7, 0, 1, 20), CR4_SMAP),
        ];
        bits.iter().filter(|b| b.0).fold(0, |m, b| m | b.1)
    }

    /// The bits of EFER that may be set (LMA apart).
    pub fn efer_mask(&self) -> u64 {
        let bits = [(11, EFER_SCE), (29, EFER_LME), (20, EFER_NXE)];
        bits.iter().filter(|b| self.bit(0x8000_0001, 0, 3, b.0)).fold(0, |m, b| m | b.1)
    }

    /// The bits of XCR0 that exist.
    pub fn xcr0_mask(&self) -> u64 {
        if self.leaves.is_empty() {
            return 0xE7;
        }
        self.leaf(0xD, 0).map_or(1, |r| u64::from(r[0]) | u64::from(r[3]) << 32)
    }

    /// Size of the XSAVE area for the components of `features`.
    pub fn xsave_size(&self, features: u64, compacted: bool) -> u32 {
        let mut end = 576;
        for n in 2..63 {
            let Some([size, offset, flags, _]) = self.leaf(0xD, n).filter(|_| features >> n & 1 != 0) else { continue };
            end = match compacted {
                true if flags & 2 != 0 => ((end + 63) & !63) + size,
                true => end + size,
                false => end.max(offset + size),
            };
        }
        end
    }

    pub(crate) fn has_spec_ctrl(&self) -> bool {
        self.bit(7, 0, 3, 26) || self.bit(0x8000_0008, 0, 1, 12) || self.bit(0x8000_0008, 0, 1, 14)
    }

    pub(crate) fn has_arch_capabilities(&self) -> bool {
        self.bit(7, 0, 3, 29)
    }

    pub(crate) fn has_xsaves(&self) -> bool {
        self.bit(0xD, 1, 0, 3)
    }

    pub(crate) fn has_tsc_aux(&self) -> bool {
        self.bit(0x8000_0001, 0, 3, 27) || self.bit(7, 0, 2, 22)
    }
}
