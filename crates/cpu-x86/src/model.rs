//! CPU models: what CPUID says and which instructions exist.

use crate::features::Features;

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
    /// The configured values of a leaf: exact subleaf, else zeros.
    pub fn leaf(&self, leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
        self.leaves.binary_search_by_key(&(leaf, subleaf), |l| (l.leaf, l.subleaf)).ok().map(|i| self.leaves[i].regs)
    }

    /// CPUID leaf 1's EAX: family, model, stepping; EDX after reset.
    pub fn signature(&self) -> u32 {
        self.leaf(1, 0).map_or(0x0600, |r| r[0])
    }
}
