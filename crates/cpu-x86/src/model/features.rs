//! CPUID feature bits by QEMU's names, which of them this implementation has, and what they mean to the decoder
//! (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E).

use iced_x86::CpuidFeature::{self, *};

/// CPUID words that hold features.
pub(super) mod word {
    pub(in crate::model) const L1_EDX: usize = 0;
    pub(in crate::model) const L1_ECX: usize = 1;
    pub(in crate::model) const L7_EBX: usize = 2;
    pub(in crate::model) const L7_ECX: usize = 3;
    pub(in crate::model) const L7_EDX: usize = 4;
    pub(in crate::model) const L7_1_EAX: usize = 5;
    pub(in crate::model) const LD_1_EAX: usize = 6;
    pub(in crate::model) const L6_EAX: usize = 7;
    pub(in crate::model) const E1_EDX: usize = 8;
    pub(in crate::model) const E1_ECX: usize = 9;
    pub(in crate::model) const E7_EDX: usize = 10;
    pub(in crate::model) const E8_EBX: usize = 11;
    pub(in crate::model) const E21_EAX: usize = 12;
    pub(in crate::model) const L7_2_EDX: usize = 13;
    pub(in crate::model) const COUNT: usize = 14;
}
use word::*;

/// Whether this implementation has a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Have {
    /// Always; part of `max`.
    Yes,
    /// When asked for by name or by a model; not part of `max`.
    Asked,
    /// When the host's SIMD unit has it; the text is the host feature to ask for.
    Host(&'static str),
    /// Never.
    No,
}
use Have::{Asked, Host, No, Yes};

/// A feature: name, word, bit, availability, decoder features that exist with it.
pub(super) type Feature = (&'static str, usize, u32, Have, &'static [CpuidFeature]);

#[rustfmt::skip]
pub(super) const FEATURES: &[Feature] = &[
    ("fpu", L1_EDX, 0, Yes, &[]), ("vme", L1_EDX, 1, Yes, &[]), ("de", L1_EDX, 2, Yes, &[]),
    ("pse", L1_EDX, 3, Yes, &[]), ("tsc", L1_EDX, 4, Yes, &[TSC]), ("msr", L1_EDX, 5, Yes, &[MSR]),
    ("pae", L1_EDX, 6, Yes, &[]), ("mce", L1_EDX, 7, Yes, &[]), ("cx8", L1_EDX, 8, Yes, &[CX8]),
    ("apic", L1_EDX, 9, Yes, &[]), ("sep", L1_EDX, 11, Yes, &[SEP]), ("mtrr", L1_EDX, 12, Yes, &[]),
    ("pge", L1_EDX, 13, Yes, &[]), ("mca", L1_EDX, 14, Yes, &[]), ("cmov", L1_EDX, 15, Yes, &[CMOV]),
    ("pat", L1_EDX, 16, Yes, &[]), ("pse36", L1_EDX, 17, Yes, &[]), ("pn", L1_EDX, 18, No, &[]),
    ("clflush", L1_EDX, 19, Yes, &[CLFSH]), ("ds", L1_EDX, 21, No, &[]), ("acpi", L1_EDX, 22, No, &[]),
    ("mmx", L1_EDX, 23, Yes, &[MMX]), ("fxsr", L1_EDX, 24, Yes, &[FXSR]), ("sse", L1_EDX, 25, Yes, &[SSE]),
    ("sse2", L1_EDX, 26, Yes, &[SSE2]), ("ss", L1_EDX, 27, Yes, &[]), ("ht", L1_EDX, 28, Asked, &[]),
    ("tm", L1_EDX, 29, No, &[]), ("ia64", L1_EDX, 30, No, &[]), ("pbe", L1_EDX, 31, No, &[]),

    ("pni", L1_ECX, 0, Host("sse3"), &[SSE3]), ("pclmulqdq", L1_ECX, 1, Host("pclmulqdq"), &[PCLMULQDQ]),
    ("dtes64", L1_ECX, 2, No, &[]), ("monitor", L1_ECX, 3, No, &[]), ("ds-cpl", L1_ECX, 4, No, &[]),
    ("vmx", L1_ECX, 5, No, &[]), ("smx", L1_ECX, 6, No, &[]), ("est", L1_ECX, 7, No, &[]), ("tm2", L1_ECX, 8, No, &[]),
    ("ssse3", L1_ECX, 9, Host("ssse3"), &[SSSE3]), ("cid", L1_ECX, 10, No, &[]), ("fma", L1_ECX, 12, Host("fma"), &[FMA]),
    ("cx16", L1_ECX, 13, Yes, &[CMPXCHG16B]), ("xtpr", L1_ECX, 14, No, &[]), ("pdcm", L1_ECX, 15, No, &[]),
    ("pcid", L1_ECX, 17, Yes, &[]), ("dca", L1_ECX, 18, No, &[]), ("sse4.1", L1_ECX, 19, Host("sse4.1"), &[SSE4_1]),
    ("sse4.2", L1_ECX, 20, Host("sse4.2"), &[SSE4_2]), ("x2apic", L1_ECX, 21, Yes, &[]),
    ("movbe", L1_ECX, 22, Yes, &[MOVBE]), ("popcnt", L1_ECX, 23, Yes, &[POPCNT]),
    ("tsc-deadline", L1_ECX, 24, Yes, &[]), ("aes", L1_ECX, 25, Host("aes"), &[AES]),
    ("xsave", L1_ECX, 26, Host("xsave"), &[XSAVE]), ("avx", L1_ECX, 28, Host("avx"), &[AVX]),
    ("f16c", L1_ECX, 29, Host("f16c"), &[F16C]), ("rdrand", L1_ECX, 30, Yes, &[RDRAND]),
    ("hypervisor", L1_ECX, 31, Yes, &[]),

    ("fsgsbase", L7_EBX, 0, Yes, &[FSGSBASE]), ("tsc-adjust", L7_EBX, 1, Asked, &[]), ("sgx", L7_EBX, 2, No, &[]),
    ("bmi1", L7_EBX, 3, Yes, &[BMI1]), ("hle", L7_EBX, 4, No, &[]), ("avx2", L7_EBX, 5, Host("avx2"), &[AVX2]),
    ("smep", L7_EBX, 7, Yes, &[]), ("bmi2", L7_EBX, 8, Yes, &[BMI2]), ("erms", L7_EBX, 9, Yes, &[]),
    ("invpcid", L7_EBX, 10, Yes, &[INVPCID]), ("rtm", L7_EBX, 11, No, &[]), ("mpx", L7_EBX, 14, No, &[]),
    ("avx512f", L7_EBX, 16, Host("avx512f"), &[AVX512F]), ("avx512dq", L7_EBX, 17, Host("avx512dq"), &[AVX512DQ]),
    ("rdseed", L7_EBX, 18, Yes, &[RDSEED]), ("adx", L7_EBX, 19, Yes, &[ADX]), ("smap", L7_EBX, 20, Yes, &[SMAP]),
    ("avx512ifma", L7_EBX, 21, Host("avx512ifma"), &[AVX512_IFMA]), ("pcommit", L7_EBX, 22, No, &[]),
    ("clflushopt", L7_EBX, 23, Yes, &[CLFLUSHOPT]), ("clwb", L7_EBX, 24, Yes, &[CLWB]),
    ("intel-pt", L7_EBX, 25, No, &[]), ("avx512pf", L7_EBX, 26, No, &[]), ("avx512er", L7_EBX, 27, No, &[]),
    ("avx512cd", L7_EBX, 28, Host("avx512cd"), &[AVX512CD]), ("sha-ni", L7_EBX, 29, Host("sha"), &[SHA]),
    ("avx512bw", L7_EBX, 30, Host("avx512bw"), &[AVX512BW]), ("avx512vl", L7_EBX, 31, Host("avx512vl"), &[AVX512VL]),

    ("avx512vbmi", L7_ECX, 1, Host("avx512vbmi"), &[AVX512_VBMI]), ("umip", L7_ECX, 2, Yes, &[]),
    ("pku", L7_ECX, 3, No, &[]), ("waitpkg", L7_ECX, 5, No, &[]),
    ("avx512vbmi2", L7_ECX, 6, Host("avx512vbmi2"), &[AVX512_VBMI2]), ("gfni", L7_ECX, 8, Host("gfni"), &[GFNI]),
    ("vaes", L7_ECX, 9, Host("vaes"), &[VAES]), ("vpclmulqdq", L7_ECX, 10, Host("vpclmulqdq"), &[VPCLMULQDQ]),
    ("avx512vnni", L7_ECX, 11, Host("avx512vnni"), &[AVX512_VNNI]),
    ("avx512bitalg", L7_ECX, 12, Host("avx512bitalg"), &[AVX512_BITALG]),
    ("avx512-vpopcntdq", L7_ECX, 14, Host("avx512vpopcntdq"), &[AVX512_VPOPCNTDQ]), ("la57", L7_ECX, 16, No, &[]),
    ("rdpid", L7_ECX, 22, Yes, &[RDPID]), ("cldemote", L7_ECX, 25, Asked, &[CLDEMOTE]),
    ("movdiri", L7_ECX, 27, Yes, &[MOVDIRI]), ("movdir64b", L7_ECX, 28, Yes, &[MOVDIR64B]), ("pks", L7_ECX, 31, No, &[]),

    ("fsrm", L7_EDX, 4, Yes, &[]), ("avx512-vp2intersect", L7_EDX, 8, No, &[]), ("md-clear", L7_EDX, 10, Yes, &[]),
    ("serialize", L7_EDX, 14, Asked, &[SERIALIZE]), ("tsx-ldtrk", L7_EDX, 16, No, &[]),
    ("spec-ctrl", L7_EDX, 26, Yes, &[]), ("stibp", L7_EDX, 27, Asked, &[]), ("flush-l1d", L7_EDX, 28, No, &[]),
    ("arch-capabilities", L7_EDX, 29, Yes, &[]), ("core-capability", L7_EDX, 30, No, &[]),
    ("ssbd", L7_EDX, 31, Asked, &[]),

    ("avx-vnni", L7_1_EAX, 4, No, &[]), ("avx512-bf16", L7_1_EAX, 5, Host("avx512bf16"), &[AVX512_BF16]),

    ("bhi-ctrl", L7_2_EDX, 4, Yes, &[]),

    ("xsaveopt", LD_1_EAX, 0, Host("xsave"), &[XSAVEOPT]), ("xsavec", LD_1_EAX, 1, Host("xsave"), &[XSAVEC]),
    ("xgetbv1", LD_1_EAX, 2, Host("xsave"), &[]), ("xsaves", LD_1_EAX, 3, Host("xsave"), &[XSAVES]),
    ("arat", L6_EAX, 2, Yes, &[]),

    ("syscall", E1_EDX, 11, Yes, &[SYSCALL]), ("nx", E1_EDX, 20, Yes, &[]), ("mmxext", E1_EDX, 22, No, &[]),
    ("fxsr-opt", E1_EDX, 25, No, &[]), ("pdpe1gb", E1_EDX, 26, Yes, &[]), ("rdtscp", E1_EDX, 27, Yes, &[RDTSCP]),
    ("lm", E1_EDX, 29, Yes, &[]), ("3dnowext", E1_EDX, 30, No, &[]), ("3dnow", E1_EDX, 31, No, &[]),

    ("lahf-lm", E1_ECX, 0, Yes, &[]), ("cmp-legacy", E1_ECX, 1, Asked, &[]), ("svm", E1_ECX, 2, No, &[]),
    ("cr8legacy", E1_ECX, 4, No, &[]), ("abm", E1_ECX, 5, Yes, &[LZCNT]), ("sse4a", E1_ECX, 6, Host("sse4a"), &[SSE4A]),
    ("misalignsse", E1_ECX, 7, No, &[]), ("3dnowprefetch", E1_ECX, 8, Yes, &[PREFETCHW]),
    ("osvw", E1_ECX, 9, No, &[]), ("xop", E1_ECX, 11, No, &[]), ("fma4", E1_ECX, 16, No, &[]),
    ("tbm", E1_ECX, 21, No, &[]), ("topoext", E1_ECX, 22, Asked, &[]), ("perfctr-core", E1_ECX, 23, No, &[]),

    ("invtsc", E7_EDX, 8, Asked, &[]),
    ("clzero", E8_EBX, 0, No, &[]), ("xsaveerptr", E8_EBX, 2, No, &[]), ("wbnoinvd", E8_EBX, 9, Yes, &[WBNOINVD]),
    ("ibpb", E8_EBX, 12, Asked, &[]), ("ibrs", E8_EBX, 14, Asked, &[]), ("amd-stibp", E8_EBX, 15, Asked, &[]),
    ("amd-ssbd", E8_EBX, 24, No, &[]), ("virt-ssbd", E8_EBX, 25, No, &[]), ("amd-no-ssb", E8_EBX, 26, Asked, &[]),
    ("null-sel-clr-base", E21_EAX, 6, Asked, &[]),
];

/// QEMU's other names of the same features.
const ALIASES: &[(&str, &str)] = &[
    ("sse3", "pni"),
    ("pclmuldq", "pclmulqdq"),
    ("sse4-1", "sse4.1"),
    ("sse4-2", "sse4.2"),
    ("xd", "nx"),
    ("i64", "lm"),
    ("ffxsr", "fxsr-opt"),
    ("lzcnt", "abm"),
    ("tsc-adjust", "tsc-adjust"),
    ("hypervisor-present", "hypervisor"),
    ("sha", "sha-ni"),
];

/// A feature by any of its names (`_` and `-` are the same).
pub(super) fn find(name: &str) -> Option<&'static Feature> {
    let name = name.replace('_', "-");
    let name = ALIASES.iter().find(|a| a.0 == name).map_or(name.as_str(), |a| a.1);
    FEATURES.iter().find(|f| f.0 == name)
}

/// Leaf, subleaf and register (EAX is 0) of each word.
const PLACES: [(u32, u32, usize); COUNT] = [
    (1, 0, 3),
    (1, 0, 2),
    (7, 0, 1),
    (7, 0, 2),
    (7, 0, 3),
    (7, 1, 0),
    (0xD, 1, 0),
    (6, 0, 0),
    (0x8000_0001, 0, 3),
    (0x8000_0001, 0, 2),
    (0x8000_0007, 0, 3),
    (0x8000_0008, 0, 1),
    (0x8000_0021, 0, 0),
    (7, 2, 3),
];

/// The names of the features of these bits of a CPUID register.
pub fn feature_names(leaf: u32, subleaf: u32, register: usize, bits: u32) -> Vec<&'static str> {
    let Some(word) = PLACES.iter().position(|p| *p == (leaf, subleaf, register)) else { return Vec::new() };
    FEATURES.iter().filter(|f| f.1 == word && bits >> f.2 & 1 != 0).map(|f| f.0).collect()
}

/// Whether the implementation has the feature on this host.
pub(super) fn available(have: Have) -> bool {
    match have {
        Yes | Asked => true,
        Host(name) => host_has(name),
        No => false,
    }
}

/// The host's SIMD unit, as the operating system lets it be used.
#[cfg(target_arch = "x86_64")]
fn host_has(name: &str) -> bool {
    macro_rules! detect {
        ($($f:tt)*) => { match name { $($f => std::arch::is_x86_feature_detected!($f),)* _ => false } };
    }
    detect!("sse3" "pclmulqdq" "ssse3" "fma" "sse4.1" "sse4.2" "aes" "xsave" "avx" "f16c" "avx2" "sha" "gfni" "vaes"
        "vpclmulqdq" "sse4a" "avx512f" "avx512dq" "avx512ifma" "avx512cd" "avx512bw" "avx512vl" "avx512vbmi"
        "avx512vbmi2" "avx512vnni" "avx512bitalg" "avx512vpopcntdq" "avx512bf16")
}

/// Other hosts have no unit to run on.
#[cfg(not(target_arch = "x86_64"))]
fn host_has(_name: &str) -> bool {
    false
}
