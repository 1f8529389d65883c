//! What the host's unit can do: CPUID and XCR0 (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E).

use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

use iced_x86::CpuidFeature as F;

use crate::fpu::{Component, XCR0_AVX, XCR0_AVX512};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reg {
    B,
    C,
    D,
}

/// Feature, leaf, register, bit. Those of leaf 7 and up and all VEX and EVEX ones also depend on XCR0, below.
const BITS: &[(F, u32, Reg, u32)] = &[
    (F::FPU, 1, Reg::D, 0),
    (F::FPU287, 1, Reg::D, 0),
    (F::FPU387, 1, Reg::D, 0),
    (F::CMOV, 1, Reg::D, 15),
    (F::MMX, 1, Reg::D, 23),
    (F::FXSR, 1, Reg::D, 24),
    (F::SSE, 1, Reg::D, 25),
    (F::SSE2, 1, Reg::D, 26),
    (F::SSE3, 1, Reg::C, 0),
    (F::PCLMULQDQ, 1, Reg::C, 1),
    (F::SSSE3, 1, Reg::C, 9),
    (F::FMA, 1, Reg::C, 12),
    (F::SSE4_1, 1, Reg::C, 19),
    (F::SSE4_2, 1, Reg::C, 20),
    (F::AES, 1, Reg::C, 25),
    (F::AVX, 1, Reg::C, 28),
    (F::F16C, 1, Reg::C, 29),
    (F::AVX2, 7, Reg::B, 5),
    (F::AVX512F, 7, Reg::B, 16),
    (F::AVX512DQ, 7, Reg::B, 17),
    (F::AVX512_IFMA, 7, Reg::B, 21),
    (F::AVX512CD, 7, Reg::B, 28),
    (F::SHA, 7, Reg::B, 29),
    (F::AVX512BW, 7, Reg::B, 30),
    (F::AVX512VL, 7, Reg::B, 31),
    (F::AVX512_VBMI, 7, Reg::C, 1),
    (F::AVX512_VBMI2, 7, Reg::C, 6),
    (F::GFNI, 7, Reg::C, 8),
    (F::VAES, 7, Reg::C, 9),
    (F::VPCLMULQDQ, 7, Reg::C, 10),
    (F::AVX512_VNNI, 7, Reg::C, 11),
    (F::AVX512_BITALG, 7, Reg::C, 12),
    (F::AVX512_VPOPCNTDQ, 7, Reg::C, 14),
    (F::AVX512_VP2INTERSECT, 7, Reg::D, 8),
    (F::AVX512_FP16, 7, Reg::D, 23),
    (F::SSE4A, 0x8000_0001, Reg::C, 6),
];

/// Features that VEX or EVEX encodings of other features depend on: need the register state to be enabled.
const AVX512: &[F] = &[
    F::AVX512F,
    F::AVX512DQ,
    F::AVX512_IFMA,
    F::AVX512CD,
    F::AVX512BW,
    F::AVX512VL,
    F::AVX512_VBMI,
    F::AVX512_VBMI2,
    F::AVX512_VNNI,
    F::AVX512_BITALG,
    F::AVX512_VPOPCNTDQ,
    F::AVX512_VP2INTERSECT,
    F::AVX512_FP16,
    F::AVX512_BF16,
];
const AVX: &[F] = &[F::AVX, F::AVX2, F::FMA, F::F16C, F::VAES, F::VPCLMULQDQ, F::AVX_VNNI, F::AVX_IFMA];

struct Host {
    features: Vec<F>,
    xcr0: u64,
}

fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| {
        let max = __cpuid(0).eax;
        let max_extended = __cpuid(0x8000_0000).eax;
        let leaf = |leaf: u32, sub: u32| {
            let exists = if leaf >= 0x8000_0000 { leaf <= max_extended } else { leaf <= max };
            exists.then(|| __cpuid_count(leaf, sub))
        };
        let bit = |l: u32, sub: u32, reg: Reg, bit: u32| {
            leaf(l, sub).is_some_and(|r| {
                let word = match reg {
                    Reg::B => r.ebx,
                    Reg::C => r.ecx,
                    Reg::D => r.edx,
                };
                word >> bit & 1 != 0
            })
        };
        let xcr0 = if bit(1, 0, Reg::C, 27) { xgetbv() } else { 3 };
        let mut features: Vec<F> = BITS.iter().filter(|b| bit(b.1, 0, b.2, b.3)).map(|b| b.0).collect();
        if let Some(r) = leaf(7, 1) {
            let more = [(F::AVX_VNNI, 4), (F::AVX512_BF16, 5), (F::AVX_IFMA, 23)];
            features.extend(more.iter().filter(|m| r.eax >> m.1 & 1 != 0).map(|m| m.0));
        }
        // The stubs move whole registers with VL and BW instructions: AVX-512 without them is treated as absent.
        let avx512 = [F::AVX512F, F::AVX512BW, F::AVX512VL, F::AVX512DQ].iter().all(|f| features.contains(f))
            && xcr0 & (XCR0_AVX | XCR0_AVX512) == XCR0_AVX | XCR0_AVX512;
        features.retain(|f| (avx512 || !AVX512.contains(f)) && (xcr0 & XCR0_AVX != 0 || !AVX.contains(f)));
        let xcr0 = if avx512 { xcr0 } else { xcr0 & !XCR0_AVX512 };
        Host { features, xcr0 }
    })
}

fn xgetbv() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: CPUID says OSXSAVE, so XGETBV exists; it reads XCR0 and touches nothing else.
    unsafe {
        std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Whether the host has the feature.
pub(crate) fn has(feature: F) -> bool {
    host().features.contains(&feature)
}

/// The host's XCR0, without AVX-512 where not all of it that is needed is there.
pub(crate) fn xcr0() -> u64 {
    host().xcr0
}

/// CPUID leaf 0DH.
pub(crate) fn xsave_component(i: u32) -> Component {
    if __cpuid(0).eax < 0xD || __cpuid(1).ecx >> 26 & 1 == 0 {
        return Component::default();
    }
    let r = __cpuid_count(0xD, i);
    if r.ecx & 1 != 0 || r.eax == 0 {
        return Component::default(); // supervisor state, or not there
    }
    Component { offset: r.ebx, size: r.eax, align64: r.ecx & 2 != 0 }
}
