//! The CPU models by QEMU's names: vendor, version and features of the processors they are named after, from their
//! makers' data sheets.

/// Who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    Intel,
    Amd,
}

/// A named model.
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) vendor: Vendor,
    pub(super) family: u32,
    pub(super) model: u32,
    pub(super) stepping: u32,
    pub(super) level: u32,
    pub(super) xlevel: u32,
    pub(super) brand: &'static str,
    /// Features: lists of names separated by blanks.
    pub(super) features: &'static [&'static str],
}

const P6: &str = "fpu de pse tsc msr pae mce cx8 apic sep pge cmov pat mmx fxsr sse sse2";
const PC: &str = "vme mtrr mca pse36 clflush";
const LONG: &str = "lm syscall nx";
const CORE2: &str = "ss pni ssse3 cx16 lahf-lm";
const NEHALEM: &str = "sse4.1 sse4.2 popcnt";
const WESTMERE: &str = "aes pclmulqdq arat";
const SANDY: &str = "avx xsave xsaveopt tsc-deadline x2apic rdtscp";
const IVY: &str = "f16c rdrand fsgsbase smep erms";
const HASWELL: &str = "fma pcid movbe avx2 bmi1 bmi2 invpcid abm";
const BROADWELL: &str = "rdseed adx smap 3dnowprefetch";
const SKYLAKE: &str = "xsavec xgetbv1";
const AVX512: &str = "avx512f avx512dq avx512bw avx512cd avx512vl clwb clflushopt pdpe1gb";
const ICELAKE: &str = "avx512vbmi avx512vbmi2 avx512vnni avx512bitalg avx512-vpopcntdq gfni vaes vpclmulqdq umip rdpid \
    fsrm wbnoinvd spec-ctrl ssbd";
const ZEN: &str = "pni pclmulqdq ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt aes xsave avx f16c rdrand fsgsbase bmi1 \
    avx2 smep bmi2 rdseed adx smap clflushopt sha-ni xsaveopt xsavec xgetbv1 xsaves arat pdpe1gb rdtscp lahf-lm \
    cmp-legacy abm sse4a 3dnowprefetch topoext ibpb";
const ROME: &str = "clwb umip rdpid wbnoinvd amd-stibp";
const MILAN: &str = "erms fsrm invpcid pcid vaes vpclmulqdq ibrs ss null-sel-clr-base";
const HYPERVISOR: &str = "hypervisor";

macro_rules! model {
    ($name:literal, $vendor:ident $f:literal $m:literal $s:literal, $level:literal $xlevel:literal, $brand:literal,
     [$($features:expr),*]) => {
        Definition { name: $name, vendor: Vendor::$vendor, family: $f, model: $m, stepping: $s, level: $level,
            xlevel: $xlevel, brand: $brand, features: &[$($features),*] }
    };
}

/// The model whose features are all that is implemented.
pub(super) const MAX: &str = "max";

#[rustfmt::skip]
pub(super) const MODELS: &[Definition] = &[
    model!("base", Intel 6 6 3, 1 0x8000_0008, "whpx base CPU", ["fpu tsc msr cx8 apic cmov", HYPERVISOR]),
    model!("qemu32", Intel 6 6 3, 4 0x8000_0004, "QEMU Virtual CPU version 2.5+", [P6, "pni", HYPERVISOR]),
    model!("qemu64", Amd 15 107 1, 0xD 0x8000_000A, "QEMU Virtual CPU version 2.5+",
        [P6, "mtrr mca pse36 clflush pni cx16 lahf-lm", LONG, HYPERVISOR]),
    model!("kvm32", Intel 15 6 1, 5 0x8000_0008, "Common 32-bit KVM processor", [P6, PC, "pni", HYPERVISOR]),
    model!("kvm64", Intel 15 6 1, 0xD 0x8000_0008, "Common KVM processor", [P6, PC, "pni cx16", LONG, HYPERVISOR]),
    model!("core2duo", Intel 6 15 11, 10 0x8000_0008, "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz",
        [P6, PC, LONG, CORE2, HYPERVISOR]),
    model!("Nehalem", Intel 6 26 3, 11 0x8000_0008, "Intel Core i7 9xx (Nehalem Class Core i7)",
        [P6, PC, LONG, CORE2, NEHALEM, HYPERVISOR]),
    model!("Westmere", Intel 6 44 1, 11 0x8000_0008, "Westmere E56xx/L56xx/X56xx (Nehalem-C)",
        [P6, PC, LONG, CORE2, NEHALEM, WESTMERE, HYPERVISOR]),
    model!("SandyBridge", Intel 6 42 1, 0xD 0x8000_0008, "Intel Xeon E312xx (Sandy Bridge)",
        [P6, PC, LONG, CORE2, NEHALEM, WESTMERE, SANDY, HYPERVISOR]),
    model!("IvyBridge", Intel 6 58 9, 0xD 0x8000_0008, "Intel Xeon E3-12xx v2 (Ivy Bridge)",
        [P6, PC, LONG, CORE2, NEHALEM, WESTMERE, SANDY, IVY, HYPERVISOR]),
    model!("Haswell", Intel 6 60 4, 0xD 0x8000_0008, "Intel Core Processor (Haswell)",
        [P6, PC, LONG, CORE2, NEHALEM, WESTMERE, SANDY, IVY, HASWELL, HYPERVISOR]),
    model!("Broadwell", Intel 6 61 2, 0xD 0x8000_0008, "Intel Core Processor (Broadwell)",
        [P6, PC, LONG, CORE2, NEHALEM, WESTMERE, SANDY, IVY, HASWELL, BROADWELL, HYPERVISOR]),
    model!("Skylake-Client", Intel 6 94 3, 0xD 0x8000_0008, "Intel Core Processor (Skylake)",
        [P6, PC, LONG, CORE2, NEHALEM, WESTMERE, SANDY, IVY, HASWELL, BROADWELL, SKYLAKE, HYPERVISOR]),
    model!("Skylake-Server", Intel 6 85 4, 0xD 0x8000_0008, "Intel Xeon Processor (Skylake)",
        [P6, PC, LONG, CORE2, NEHALEM, WESTMERE, SANDY, IVY, HASWELL, BROADWELL, SKYLAKE, AVX512, HYPERVISOR]),
    model!("Cascadelake-Server", Intel 6 85 6, 0xD 0x8000_0008, "Intel Xeon Processor (Cascadelake)",
        [P6, PC, LONG, CORE2, NEHALEM, WESTMERE, SANDY, IVY, HASWELL, BROADWELL, SKYLAKE, AVX512,
         "avx512vnni spec-ctrl ssbd", HYPERVISOR]),
    model!("Icelake-Server", Intel 6 134 0, 0xD 0x8000_0008, "Intel Xeon Processor (Icelake)",
        [P6, PC, LONG, CORE2, NEHALEM, WESTMERE, SANDY, IVY, HASWELL, BROADWELL, SKYLAKE, AVX512, ICELAKE, HYPERVISOR]),
    model!("EPYC", Amd 23 1 2, 0xD 0x8000_001E, "AMD EPYC Processor", [P6, PC, LONG, ZEN, HYPERVISOR]),
    model!("EPYC-Rome", Amd 23 49 0, 0xD 0x8000_001E, "AMD EPYC-Rome Processor", [P6, PC, LONG, ZEN, ROME, HYPERVISOR]),
    model!("EPYC-Milan", Amd 25 1 1, 0xD 0x8000_0021, "AMD EPYC-Milan Processor",
        [P6, PC, LONG, ZEN, ROME, MILAN, HYPERVISOR]),
    model!("max", Intel 6 0x6A 6, 0xD 0x8000_0008, "whpx virtual CPU", []),
    model!("host", Intel 6 0x6A 6, 0xD 0x8000_0008, "whpx virtual CPU", []),
];
