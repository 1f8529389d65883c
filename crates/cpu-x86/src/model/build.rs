//! From features to CPUID leaves (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E).

use super::features::{FEATURES, available, word::*};
use super::spec::CpuSpec;
use super::{CpuModel, CpuidLeaf};
use crate::features::Features;

/// How processors are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Packages.
    pub sockets: u32,
    /// Cores of a package.
    pub cores: u32,
    /// Threads of a core.
    pub threads: u32,
}

impl Default for Topology {
    fn default() -> Self {
        Self { sockets: 1, cores: 1, threads: 1 }
    }
}

impl Topology {
    fn thread_bits(self) -> u32 {
        self.threads.max(1).next_power_of_two().trailing_zeros()
    }

    fn core_bits(self) -> u32 {
        self.cores.max(1).next_power_of_two().trailing_zeros()
    }

    /// Bits of the APIC ID below the package's number.
    fn package_bits(self) -> u32 {
        (self.thread_bits() + self.core_bits()).min(31)
    }

    fn per_package(self) -> u32 {
        self.cores.max(1).saturating_mul(self.threads.max(1))
    }

    /// The APIC ID of the processor with this number: package, core and thread numbers in fields of whole bits.
    pub fn apic_id(self, index: u32) -> u32 {
        let threads = self.threads.max(1);
        let (thread, core) = (index % threads, index / threads % self.cores.max(1));
        let package = index / self.per_package();
        package << self.package_bits() | core << self.thread_bits() | thread
    }
}

/// A cache: level, type (1 data, 2 instruction, 3 unified), ways, sets, shared by the whole package.
const CACHES: [(u32, u32, u32, u32, bool); 4] =
    [(1, 1, 8, 64, false), (1, 2, 8, 64, false), (2, 3, 16, 1024, false), (3, 3, 16, 16384, true)];

struct Leaves(Vec<CpuidLeaf>);

impl Leaves {
    fn set(&mut self, leaf: u32, subleaf: u32, regs: [u32; 4]) {
        self.0.push(CpuidLeaf { leaf, subleaf, regs });
    }
}

/// The model of one processor.
pub(super) fn build(spec: &CpuSpec, topology: Topology, apic_id: u32) -> CpuModel {
    let words = consistent(spec.words, topology, is_amd(spec));
    let mut l = Leaves(Vec::new());
    let level = basic_level(spec, &words, topology);
    let xlevel = spec.xlevel.max(if words[E21_EAX] != 0 { 0x8000_0021 } else { 0x8000_0008 });
    let text = |at: usize| word_of(&spec.vendor, at);
    l.set(0, 0, [level, text(0), text(8), text(4)]);
    basic(&mut l, spec, &words, topology, apic_id);
    xsave(&mut l, &words);
    l.set(0x8000_0000, 0, [xlevel, text(0), text(8), text(4)]);
    extended(&mut l, spec, &words, topology, apic_id);
    l.0.retain(|x| x.leaf <= level || x.leaf >= 0x8000_0000 && x.leaf <= xlevel);
    l.0.sort_by_key(|x| (x.leaf, x.subleaf));
    CpuModel { name: spec.name.clone(), leaves: l.0, features: decoder_features(&words) }
}

fn is_amd(spec: &CpuSpec) -> bool {
    &spec.vendor == b"AuthenticAMD"
}

fn word_of(bytes: &[u8], at: usize) -> u32 {
    let mut w = [0; 4];
    for (to, from) in w.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    u32::from_le_bytes(w)
}

/// Features whose requirements are missing go too; bits that follow the topology are set.
fn consistent(mut w: [u32; COUNT], topology: Topology, amd: bool) -> [u32; COUNT] {
    const AVX: u32 = 1 << 28;
    const AVX_FAMILY: u32 = 1 << 12 | 1 << 29;
    const AVX512: u32 = 1 << 16;
    const AVX512_L7_EBX: u32 = 1 << 17 | 1 << 21 | 1 << 28 | 1 << 30 | 1 << 31;
    const AVX512_L7_ECX: u32 = 1 << 1 | 1 << 6 | 1 << 11 | 1 << 12 | 1 << 14;
    if w[L1_ECX] >> 26 & 1 == 0 {
        w[L1_ECX] &= !AVX;
        w[LD_1_EAX] = 0;
    }
    if w[L1_ECX] & AVX == 0 {
        w[L1_ECX] &= !AVX_FAMILY;
        w[L7_EBX] &= !(AVX512 | 1 << 5);
        w[L7_ECX] &= !(1 << 9 | 1 << 10);
    }
    if w[L7_EBX] & AVX512 == 0 {
        w[L7_EBX] &= !AVX512_L7_EBX;
        w[L7_ECX] &= !AVX512_L7_ECX;
        w[L7_1_EAX] &= !(1 << 5);
    }
    if w[E1_EDX] >> 29 & 1 == 0 {
        w[E1_EDX] &= !(1 << 11) | u32::from(amd) << 11;
        w[L1_ECX] &= !(1 << 17);
    }
    if topology.per_package() > 1 {
        w[L1_EDX] |= 1 << 28;
        w[E1_ECX] |= u32::from(amd) << 1;
    }
    w
}

fn basic_level(spec: &CpuSpec, w: &[u32; COUNT], topology: Topology) -> u32 {
    let mut level = spec.level.min(0x20);
    if w[L7_EBX] | w[L7_ECX] | w[L7_EDX] != 0 {
        level = level.max(7);
    }
    if w[L1_ECX] >> 26 & 1 != 0 {
        level = level.max(0xD);
    }
    if topology.per_package() > 1 {
        level = level.max(0xB);
    }
    level.max(1)
}

fn basic(l: &mut Leaves, spec: &CpuSpec, w: &[u32; COUNT], topology: Topology, apic_id: u32) {
    let (family, extended) = if spec.family > 0xF { (0xF, spec.family - 0xF) } else { (spec.family, 0) };
    let signature =
        spec.stepping | (spec.model & 0xF) << 4 | family << 8 | (spec.model >> 4 & 0xF) << 16 | extended << 20;
    let count = topology.per_package().min(255);
    l.set(1, 0, [signature, apic_id << 24 | count << 16 | 8 << 8, w[L1_ECX], w[L1_EDX]]);
    if !is_amd(spec) {
        l.set(2, 0, [0xFF01, 0, 0, 0]); // descriptor FFH: see leaf 4
        for (n, c) in CACHES.iter().enumerate() {
            l.set(4, n as u32, cache(c, topology, true));
        }
        l.set(4, CACHES.len() as u32, [0; 4]);
    }
    l.set(6, 0, [w[L6_EAX], 0, 0, 0]);
    let subleaves = if w[L7_2_EDX] != 0 { 2 } else { u32::from(w[L7_1_EAX] != 0) };
    l.set(7, 0, [subleaves, w[L7_EBX], w[L7_ECX], w[L7_EDX]]);
    l.set(7, 1, [w[L7_1_EAX], 0, 0, 0]);
    l.set(7, 2, [0, 0, 0, w[L7_2_EDX]]);
    for leaf in [0xB, 0x1F] {
        l.set(leaf, 0, [topology.thread_bits(), topology.threads.max(1), 1 << 8, apic_id]);
        l.set(leaf, 1, [topology.package_bits(), topology.per_package(), 2 << 8 | 1, apic_id]);
    }
}

/// Leaf 4 (or AMD's 8000001DH) for one cache.
fn cache(c: &(u32, u32, u32, u32, bool), topology: Topology, intel: bool) -> [u32; 4] {
    let (level, kind, ways, sets, shared) = *c;
    let sharing = if shared { 1 << topology.package_bits() } else { 1 << topology.thread_bits() };
    let sharing = if intel {
        sharing
    } else if shared {
        topology.per_package()
    } else {
        topology.threads.max(1)
    };
    let cores = if intel { ((1u32 << topology.core_bits()) - 1).min(63) << 26 } else { 0 };
    let eax = kind | level << 5 | 1 << 8 | (sharing - 1).min(0xFFF) << 14 | cores;
    [eax, 63 | (ways - 1) << 22, sets - 1, if shared { 2 } else { 0 }]
}

/// Leaf 0DH: the state components of the features, laid out as the host does.
fn xsave(l: &mut Leaves, w: &[u32; COUNT]) {
    if w[L1_ECX] >> 26 & 1 == 0 {
        return;
    }
    let mut mask = 3;
    if w[L1_ECX] >> 28 & 1 != 0 {
        mask |= 4;
    }
    if w[L7_EBX] >> 16 & 1 != 0 {
        mask |= 0xE0;
    }
    let mut end = 576;
    for n in (2..8).filter(|n| mask >> n & 1 != 0) {
        let [size, offset, flags, _] = host_xsave_component(n);
        l.set(0xD, n, [size, offset, flags & 2, 0]);
        end = end.max(offset + size);
    }
    l.set(0xD, 0, [mask, 576, end, 0]);
    l.set(0xD, 1, [w[LD_1_EAX], 576, 0, 0]);
}

/// Size, offset, flags of an XSAVE component as the host lays it out (CPUID leaf 0DH); Intel's layout elsewhere.
pub fn host_xsave_component(n: u32) -> [u32; 4] {
    #[cfg(target_arch = "x86_64")]
    {
        #[allow(unused_unsafe)]
        // SAFETY: every x86-64 processor has CPUID; a leaf that does not exist reads as something harmless.
        let (top, r) = unsafe { (std::arch::x86_64::__cpuid(0).eax, std::arch::x86_64::__cpuid_count(0xD, n)) };
        if top >= 0xD && r.eax != 0 {
            return [r.eax, r.ebx, r.ecx, 0];
        }
    }
    match n {
        2 => [256, 576, 0, 0],
        5 => [64, 1088, 0, 0],
        6 => [512, 1152, 0, 0],
        7 => [1024, 1664, 0, 0],
        _ => [0; 4],
    }
}

fn extended(l: &mut Leaves, spec: &CpuSpec, w: &[u32; COUNT], topology: Topology, apic_id: u32) {
    let amd = is_amd(spec);
    // AMD repeats part of leaf 1.
    let repeated = if amd { w[L1_EDX] & 0x0183_F3FF } else { 0 };
    l.set(0x8000_0001, 0, [0, 0, w[E1_ECX], w[E1_EDX] | repeated]);
    let mut brand = spec.brand.as_bytes().to_vec();
    brand.resize(48, 0);
    for n in 0..3 {
        let at = |i: usize| word_of(&brand, 16 * n as usize + i);
        l.set(0x8000_0002 + n, 0, [at(0), at(4), at(8), at(12)]);
    }
    if amd {
        l.set(
            0x8000_0005,
            0,
            [0x01FF_01FF, 0x01FF_01FF, 32 << 24 | 8 << 16 | 1 << 8 | 64, 32 << 24 | 8 << 16 | 1 << 8 | 64],
        );
    }
    // L2: 1 MiB, 16 ways (code 8), 64-byte lines; L3: 16 MiB in units of 512 KiB.
    let l3 = if amd { 32 << 18 | 8 << 12 | 1 << 8 | 64 } else { 0 };
    l.set(0x8000_0006, 0, [0, 0, 1024 << 16 | 8 << 12 | 64, l3]);
    l.set(0x8000_0007, 0, [0, 0, 0, w[E7_EDX]]);
    let linear = if w[E1_EDX] >> 29 & 1 != 0 { 48 << 8 } else { 32 << 8 };
    let counts = if amd { (topology.per_package() - 1) & 0xFF | topology.package_bits() << 12 } else { 0 };
    let physical = if linear == 48 << 8 { spec.physical_bits } else { 36 };
    l.set(0x8000_0008, 0, [physical | linear, w[E8_EBX], counts, 0]);
    if w[E1_ECX] >> 22 & 1 != 0 {
        for (n, c) in CACHES.iter().enumerate() {
            l.set(0x8000_001D, n as u32, cache(c, topology, false));
        }
        let core = apic_id >> topology.thread_bits() & ((1 << topology.core_bits()) - 1);
        let node = apic_id >> topology.package_bits();
        l.set(0x8000_001E, 0, [apic_id, (topology.threads.max(1) - 1) << 8 | core & 0xFF, node & 0xFF, 0]);
    }
    if amd {
        l.set(0x8000_0021, 0, [w[E21_EAX], 0, 0, 0]);
    }
}

fn decoder_features(w: &[u32; COUNT]) -> Features {
    let mut set = Features::BASE;
    for f in FEATURES.iter().filter(|f| w[f.1] >> f.2 & 1 != 0 && available(f.3)) {
        set = f.4.iter().fold(set, |s, d| s.with(*d));
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::CpuidFeature;

    fn of(text: &str) -> CpuModel {
        CpuSpec::parse(text).unwrap().model(Topology::default(), 0)
    }

    #[test]
    fn version_and_vendor() {
        let m = of("qemu64");
        assert!(m.is_amd());
        assert_eq!(m.signature(), 0x0006_0FB1); // family 15, model 107, stepping 1
        let m = of("EPYC-Milan");
        assert_eq!(m.signature(), 0x00A0_0F11);
        assert_eq!(of("Haswell").signature(), 0x0003_06C4);
    }

    #[test]
    fn features_follow_their_requirements() {
        let m = of("max,-xsave");
        assert!(!m.has(CpuidFeature::AVX) && !m.has(CpuidFeature::AVX512F) && !m.has(CpuidFeature::FMA));
        assert_eq!(m.query(0xD, 0), [0; 4]);
        assert!(!of("qemu64").has(CpuidFeature::POPCNT));
        assert!(of("max").has(CpuidFeature::POPCNT) && !of("max").has(CpuidFeature::VMX));
        assert_eq!(of("qemu32").efer_mask(), 0);
    }

    #[test]
    fn topology_is_in_the_apic_id_and_its_leaves() {
        let t = Topology { sockets: 2, cores: 3, threads: 2 };
        let ids: Vec<u32> = (0..12).map(|n| t.apic_id(n)).collect();
        assert_eq!(ids, [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]);
        let m = CpuSpec::parse("max").unwrap().model(t, 9);
        assert_eq!(m.query(1, 0)[1] >> 16, 9 << 8 | 6);
        assert_eq!(m.query(0xB, 0), [1, 2, 0x100, 9]);
        assert_eq!(m.query(0xB, 1), [3, 6, 0x201, 9]);
        assert_eq!(m.query(0xB, 5), [0, 0, 5, 9]);
        assert_eq!(m.query(1, 0)[3] >> 28 & 1, 1);
    }

    #[test]
    fn leaves_past_the_end() {
        assert_eq!(of("EPYC").query(0x30, 0), [0; 4]);
        let m = of("Haswell");
        assert_eq!(m.query(0x30, 1), m.query(0xD, 1));
        assert_eq!(m.query(0x4000_0000, 0), [0; 4]);
    }
}
