//! `-cpu` and `-smp` on a platform with processors of its own: what CPUID is to say where it differs from what the
//! platform says by itself (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E).
//!
//! `max` and `host` are the platform's processor, less what is switched off. A named model is that model's features as
//! far as the platform has them, with its name and signature; the vendor stays the host's, since features that depend
//! on it do. The topology is that of `-smp`. What only the hypervisor knows (APIC identifiers, OSXSAVE, sizes of
//! XSAVE areas) stays its own.

use cpu_x86::model::{CpuModel, CpuSpec, Topology, feature_names};
use whp::CpuidResult2;

/// Leaves and registers (0 to 3) that are feature words, with the bits that are not a matter of the model: in leaf 1
/// x2APIC, OSXSAVE, hypervisor, APIC and HTT.
const WORDS: [(u32, u32, usize, u32); 13] = [
    (1, 0, 2, 1 << 21 | 1 << 27 | 1 << 31),
    (1, 0, 3, 1 << 9 | 1 << 28),
    (6, 0, 0, 0),
    (7, 0, 1, 0),
    (7, 0, 2, 1 << 4),
    (7, 0, 3, 0),
    (7, 1, 0, 0),
    (0xD, 1, 0, 0),
    (0x8000_0001, 0, 2, 1 << 1),
    (0x8000_0001, 0, 3, 1 << 9),
    (0x8000_0007, 0, 3, 0),
    (0x8000_0008, 0, 1, 0),
    (0x8000_0021, 0, 0, 0),
];
/// Most subleaves of cache leaves that are looked at.
const CACHES: u32 = 8;

/// What the platform says to leaves that matter here.
pub(crate) struct Platform(Vec<((u32, u32), [u32; 4])>);

impl Platform {
    /// Asks `ask` (which gives nothing when the platform cannot tell).
    pub(crate) fn new(ask: impl FnOnce(&[(u32, u32)]) -> Vec<[u32; 4]>) -> Self {
        let mut leaves: Vec<(u32, u32)> = WORDS.iter().map(|w| (w.0, w.1)).collect();
        leaves.extend([(0, 0), (0x8000_0000, 0), (0xB, 0), (0x1F, 0), (0x8000_001E, 0)]);
        leaves.extend((0..CACHES).flat_map(|n| [(4, n), (0x8000_001D, n)]));
        leaves.dedup();
        let results = ask(&leaves);
        Self(leaves.into_iter().zip(results).collect())
    }

    fn leaf(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        self.0.iter().find(|l| l.0 == (leaf, subleaf)).map_or([0; 4], |l| l.1)
    }

    fn knows(&self) -> bool {
        !self.0.is_empty()
    }
}

fn result(function: u32, index: Option<u32>, output: [u32; 4], mask: [u32; 4]) -> CpuidResult2 {
    CpuidResult2 { function, index, vp_index: None, output, mask }
}

/// Leaves with subleaves need theirs named.
fn index(leaf: u32, subleaf: u32) -> Option<u32> {
    matches!(leaf, 4 | 7 | 0xB | 0xD | 0x1F | 0x8000_001D).then_some(subleaf)
}

/// A register's word in an output or mask.
fn word(register: usize, value: u32) -> [u32; 4] {
    let mut w = [0; 4];
    if let Some(w) = w.get_mut(register) {
        *w = value;
    }
    w
}

/// Everything there is to say; warnings are pushed to `warnings`.
pub(crate) fn results(
    spec: &CpuSpec,
    topology: Topology,
    processors: u32,
    platform: &Platform,
    warnings: &mut Vec<String>,
) -> Vec<CpuidResult2> {
    let mut list = Vec::new();
    let model = spec.model(topology, 0);
    let own = matches!(spec.name.as_str(), "max" | "host");
    if platform.knows() {
        features(&model, own, platform, &mut list, warnings);
    } else {
        warnings.push(format!(
            "-cpu {}: this version of Windows cannot tell what it offers; the guest gets the host's features",
            spec.name
        ));
    }
    if !own {
        identity(&model, &mut list);
    }
    arrange(topology, processors, platform, &mut list);
    merged(list)
}

/// Hides features. For `max` and `host` only those that the user switched off: what our own processor lacks, the
/// platform's may well have.
fn features(model: &CpuModel, own: bool, p: &Platform, list: &mut Vec<CpuidResult2>, warnings: &mut Vec<String>) {
    let everything = CpuSpec::parse("max").map(|s| s.model(Topology::default(), 0)).unwrap_or_default();
    let mut lacking = Vec::new();
    for (leaf, subleaf, register, fixed) in WORDS {
        let get = |m: &CpuModel| m.leaf(leaf, subleaf).map_or(0, |r| r[register]) & !fixed;
        let offered = p.leaf(leaf, subleaf)[register];
        let wanted = get(model);
        let hidden = if own { get(&everything) & !wanted } else { offered & !wanted & !fixed };
        lacking.extend(feature_names(leaf, subleaf, register, wanted & !offered));
        if hidden & offered != 0 {
            list.push(result(leaf, index(leaf, subleaf), [0; 4], word(register, hidden)));
        }
    }
    if !own && !lacking.is_empty() {
        let names = lacking.join(" ");
        let why = "the platform's processor, or the hypervisor, does not have them";
        warnings.push(format!("-cpu {}: left out: {names}: {why}", model.name));
    }
}

/// Signature and name.
fn identity(model: &CpuModel, list: &mut Vec<CpuidResult2>) {
    if let Some(r) = model.leaf(1, 0) {
        list.push(result(1, None, word(0, r[0]), word(0, u32::MAX)));
    }
    for leaf in 0x8000_0002..=0x8000_0004 {
        if let Some(r) = model.leaf(leaf, 0) {
            list.push(result(leaf, None, r, [u32::MAX; 4]));
        }
    }
}

fn bits(count: u32) -> u32 {
    count.max(1).next_power_of_two().trailing_zeros()
}

/// Threads, cores and what shares the caches.
fn arrange(t: Topology, processors: u32, p: &Platform, list: &mut Vec<CpuidResult2>) {
    let (threads, cores) = (t.threads.max(1), t.cores.max(1));
    let count = threads.saturating_mul(cores);
    let (thread_bits, package_bits) = (bits(threads), (bits(threads) + bits(cores)).min(31));
    let all = u32::MAX;
    let htt = u32::from(count > 1) << 28;
    list.push(result(1, None, [0, count.min(255) << 16, 0, htt], [0, 0xFF << 16, 0, 1 << 28]));
    for leaf in [0xB, 0x1F] {
        if p.knows() && p.leaf(0, 0)[0] < leaf {
            continue;
        }
        if !p.knows() && leaf == 0x1F {
            continue;
        }
        let levels = [[thread_bits, threads, 1 << 8, 0], [package_bits, count, 2 << 8 | 1, 0], [0, 0, 2, 0]];
        for (n, level) in (0..).zip(levels) {
            list.push(result(leaf, Some(n), level, [all, all, all, 0])); // EDX is the APIC identifier
        }
    }
    for (leaf, n) in [4, 0x8000_001D].into_iter().flat_map(|leaf| (0..CACHES).map(move |n| (leaf, n))) {
        let cache = p.leaf(leaf, n);
        if cache[0] & 0x1F == 0 {
            continue;
        }
        let sharing = if cache[0] >> 5 & 7 >= 3 { (1 << package_bits) - 1 } else { (1 << thread_bits) - 1 };
        let mut eax = (sharing & 0xFFF) << 14;
        let mut mask = 0xFFF << 14;
        if leaf == 4 {
            eax |= (((1u32 << bits(cores)) - 1) & 0x3F) << 26;
            mask |= 0x3F << 26;
        }
        list.push(result(leaf, Some(n), word(0, eax), word(0, mask)));
    }
    if p.leaf(0, 0)[1] == u32::from_le_bytes(*b"Auth") {
        amd(t, count, package_bits, processors, p, list);
    }
}

/// AMD's own topology leaves.
fn amd(t: Topology, count: u32, package_bits: u32, processors: u32, p: &Platform, list: &mut Vec<CpuidResult2>) {
    let many = u32::from(count > 1) << 1; // CmpLegacy
    list.push(result(0x8000_0001, None, word(2, many), word(2, 1 << 1)));
    let size = (count - 1).min(255) | package_bits << 12;
    list.push(result(0x8000_0008, None, word(2, size), word(2, 0xF0FF)));
    if p.leaf(0x8000_0000, 0)[0] < 0x8000_001E || p.leaf(0x8000_001E, 0) == [0; 4] {
        return;
    }
    for vp in 0..processors {
        let core = vp / t.threads.max(1) % t.cores.max(1);
        let ebx = core & 0xFF | (t.threads.max(1) - 1).min(255) << 8;
        let node = vp / count;
        let one = result(0x8000_001E, None, [0, ebx, node & 0xFF, 0], [0, 0xFFFF, 0x7FF, 0]);
        list.push(CpuidResult2 { vp_index: Some(vp), ..one });
    }
}

/// One entry for each leaf, subleaf and processor.
fn merged(list: Vec<CpuidResult2>) -> Vec<CpuidResult2> {
    let mut out: Vec<CpuidResult2> = Vec::new();
    for r in list {
        let same = |o: &&mut CpuidResult2| (o.function, o.index, o.vp_index) == (r.function, r.index, r.vp_index);
        let Some(o) = out.iter_mut().find(same) else {
            out.push(r);
            continue;
        };
        for n in 0..4 {
            o.output[n] = o.output[n] & !r.mask[n] | r.output[n] & r.mask[n];
            o.mask[n] |= r.mask[n];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intel() -> Platform {
        Platform::new(|leaves| {
            let say = |l: &(u32, u32)| match *l {
                (0, 0) => [0x1F, u32::from_le_bytes(*b"Genu"), 0, 0],
                (1, 0) => [0x906A3, 0, u32::MAX, u32::MAX],
                (7, 0) => [0, u32::MAX, 0, 0],
                (4, 0) => [1 | 1 << 5, 0, 0, 0],
                (4, 3) => [3 | 3 << 5, 0, 0, 0],
                _ => [0; 4],
            };
            leaves.iter().map(say).collect()
        })
    }

    fn find(list: &[CpuidResult2], leaf: u32, index: Option<u32>) -> CpuidResult2 {
        *list.iter().find(|r| (r.function, r.index) == (leaf, index)).unwrap()
    }

    #[test]
    fn max_hides_what_is_switched_off_and_nothing_else() {
        let spec = CpuSpec::parse("max,-bmi2").unwrap();
        let mut warnings = vec![];
        let list = results(&spec, Topology::default(), 1, &intel(), &mut warnings);
        let bmi2 = find(&list, 7, Some(0));
        assert_eq!((bmi2.mask, bmi2.output), ([0, 1 << 8, 0, 0], [0; 4]));
        assert_eq!(find(&list, 1, None).mask[2], 0, "all of leaf 1's features stay");
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn a_named_model_has_its_features_and_name_only() {
        let spec = CpuSpec::parse("qemu64").unwrap();
        let model = spec.model(Topology::default(), 0);
        let list = results(&spec, Topology::default(), 1, &intel(), &mut vec![]);
        let one = find(&list, 1, None);
        assert_ne!(one.mask[2] & 1 << 28, 0, "AVX is hidden");
        assert_eq!(one.mask[2] & (1 << 31 | 1 << 27 | 1 << 21), 0, "the hypervisor's bits stay its own");
        assert_eq!(one.output[0], model.signature());
        assert_eq!(find(&list, 0x8000_0002, None).output, model.leaf(0x8000_0002, 0).unwrap());
        assert_eq!(one.output[2] & one.mask[2], 0, "no feature appears from nowhere");
        let mut warnings = vec![];
        let haswell = CpuSpec::parse("Haswell").unwrap();
        results(&haswell, Topology::default(), 1, &intel(), &mut warnings);
        let said: Vec<_> = warnings.iter().filter(|w| w.split_whitespace().any(|w| w == "lahf-lm")).collect();
        assert_eq!(said.len(), 1, "named once, with the reason: {warnings:?}");
    }

    #[test]
    fn the_topology_is_that_of_smp() {
        let t = Topology { sockets: 1, cores: 3, threads: 2 };
        let spec = CpuSpec::parse("max").unwrap();
        let list = results(&spec, t, 6, &intel(), &mut vec![]);
        let one = find(&list, 1, None);
        assert_eq!((one.output[1] >> 16 & 0xFF, one.output[3] >> 28 & 1), (6, 1));
        assert_eq!(one.mask[1], 0xFF << 16, "the APIC identifier stays");
        for leaf in [0xB, 0x1F] {
            assert_eq!(find(&list, leaf, Some(0)).output, [1, 2, 0x100, 0]);
            assert_eq!(find(&list, leaf, Some(1)).output, [3, 6, 0x201, 0]);
        }
        assert_eq!(find(&list, 4, Some(0)).output[0], 1 << 14 | 3 << 26, "L1: the two threads of a core");
        assert_eq!(find(&list, 4, Some(3)).output[0], 7 << 14 | 3 << 26, "L3: the package");
    }

    #[test]
    fn a_platform_that_cannot_tell_gets_the_topology_and_a_warning() {
        let mut warnings = vec![];
        let spec = CpuSpec::parse("max").unwrap();
        let list = results(&spec, Topology::default(), 1, &Platform::new(|_| vec![]), &mut warnings);
        assert_eq!(warnings.len(), 1);
        assert!(list.iter().all(|r| matches!(r.function, 1 | 0xB)));
    }
}
