//! Random instances of x87 and SIMD instructions, and random register contents for them: values that floating point
//! treats specially are frequent.
#![allow(dead_code, unreachable_pub)]

use cpu_x86::fpu::Fpu;
use iced_x86::{
    Code, CpuidFeature, Encoder, EncodingKind, Instruction, OpCodeOperandKind as K, OpKind, Register as R,
    RoundingControl,
};

use super::native::{DATA, INSN, Rng};

/// Where memory operands are; the base register is RSI (index of it below).
pub const TARGET: u64 = DATA + 0x1000;
/// RSI.
pub const BASE: usize = 6;
/// RDI: for MASKMOV.
pub const STRING: usize = 7;

fn pick(rng: &mut Rng, first: R, n: u64) -> R {
    R::try_from(first as usize + rng.below(n) as usize).unwrap_or(first)
}

/// General registers that are not the base.
fn general(rng: &mut Rng, first: R) -> R {
    loop {
        let r = pick(rng, first, 16);
        if ![4, BASE, STRING].contains(&r.full_register().number()) {
            return r;
        }
    }
}

/// A random instance of `code` and its bytes; `None` when the encoder refuses it, or an operand kind is not SIMD's.
pub fn generate(rng: &mut Rng, code: Code) -> Option<(Instruction, Vec<u8>)> {
    let info = code.op_code();
    let evex = code.encoding() == EncodingKind::EVEX;
    let vectors = if evex { 32 } else { 16 };
    let mut i = Instruction::new();
    i.set_code(code);
    let memory = rng.one_in(2);
    let mut has_memory = false;
    for n in 0..info.op_count() {
        let kind = info.op_kind(n);
        let register = match kind {
            K::xmm_reg | K::xmm_rm | K::xmm_vvvv | K::xmm_is4 | K::xmm_is5 => Some(pick(rng, R::XMM0, vectors)),
            K::ymm_reg | K::ymm_rm | K::ymm_vvvv | K::ymm_is4 | K::ymm_is5 => Some(pick(rng, R::YMM0, vectors)),
            K::zmm_reg | K::zmm_rm | K::zmm_vvvv => Some(pick(rng, R::ZMM0, vectors)),
            K::k_reg | K::k_rm | K::k_vvvv => Some(pick(rng, R::K0, 8)),
            K::kp1_reg => Some(pick(rng, R::K0, 8)),
            K::mm_reg | K::mm_rm => Some(pick(rng, R::MM0, 8)),
            K::r32_reg | K::r32_rm | K::r32_vvvv => Some(general(rng, R::EAX)),
            K::r64_reg | K::r64_rm | K::r64_vvvv => Some(general(rng, R::RAX)),
            K::ax => Some(R::AX),
            K::st0 => Some(R::ST0),
            K::sti_opcode => Some(pick(rng, R::ST0, 8)),
            K::xmm_or_mem if !memory => Some(pick(rng, R::XMM0, vectors)),
            K::ymm_or_mem if !memory => Some(pick(rng, R::YMM0, vectors)),
            K::zmm_or_mem if !memory => Some(pick(rng, R::ZMM0, vectors)),
            K::k_or_mem if !memory => Some(pick(rng, R::K0, 8)),
            K::mm_or_mem if !memory => Some(pick(rng, R::MM0, 8)),
            K::r32_or_mem if !memory => Some(general(rng, R::EAX)),
            K::r64_or_mem if !memory => Some(general(rng, R::RAX)),
            _ => None,
        };
        if let Some(r) = register {
            i.set_op_kind(n, OpKind::Register);
            i.set_op_register(n, r);
            continue;
        }
        let vsib = match kind {
            K::mem_vsib32x | K::mem_vsib64x => R::XMM0,
            K::mem_vsib32y | K::mem_vsib64y => R::YMM0,
            K::mem_vsib32z | K::mem_vsib64z => R::ZMM0,
            _ => R::None,
        };
        match kind {
            K::imm8 if n > 0 && i.op_kind(n - 1) == OpKind::Immediate8 => {
                i.set_op_kind(n, OpKind::Immediate8_2nd);
                i.set_immediate8_2nd(rng.next() as u8);
            }
            K::imm8 => {
                i.set_op_kind(n, OpKind::Immediate8);
                i.set_immediate8(rng.next() as u8);
            }
            K::seg_rDI => i.set_op_kind(n, OpKind::MemorySegRDI),
            K::xmm_or_mem
            | K::ymm_or_mem
            | K::zmm_or_mem
            | K::k_or_mem
            | K::mm_or_mem
            | K::r32_or_mem
            | K::r64_or_mem
            | K::mem => {
                has_memory = true;
                i.set_op_kind(n, OpKind::Memory);
                i.set_memory_base(R::RSI);
                let aligned = !rng.one_in(4);
                let displacement = rng.below(4) * 64 + if aligned { 0 } else { rng.below(64) };
                i.set_memory_displacement64(displacement);
                i.set_memory_displ_size(if displacement == 0 { 0 } else { 8 });
            }
            _ if vsib != R::None => {
                i.set_op_kind(n, OpKind::Memory);
                i.set_memory_base(R::RSI);
                i.set_memory_index(pick(rng, vsib, vectors));
                i.set_memory_index_scale(1 << rng.below(4));
            }
            _ => return None,
        }
    }
    decorate(rng, &mut i, has_memory);
    let mut encoder = Encoder::new(64);
    encoder.encode(&i, INSN).ok()?;
    let bytes = encoder.take_buffer();
    // As decoded: what the processor sees.
    let i = iced_x86::Decoder::with_ip(64, &bytes, INSN, 0).decode();
    (i.code() == code).then_some((i, bytes))
}

/// EVEX: masks, zeroing, broadcast, rounding.
fn decorate(rng: &mut Rng, i: &mut Instruction, has_memory: bool) {
    let info = i.code().op_code();
    let vsib = i.code().op_code().op_kinds().iter().any(|k| format!("{k:?}").contains("vsib"));
    if info.can_use_op_mask_register() && (vsib || !rng.one_in(3)) {
        i.set_op_mask(pick(rng, R::K1, 7));
        if info.can_use_zeroing_masking() && i.op_kind(0) == OpKind::Register && rng.one_in(2) {
            i.set_zeroing_masking(true);
        }
    }
    if has_memory && info.can_broadcast() && rng.one_in(2) {
        i.set_is_broadcast(true);
    }
    if !has_memory && rng.one_in(3) {
        if info.can_use_rounding_control() {
            let all = [
                RoundingControl::RoundToNearest,
                RoundingControl::RoundDown,
                RoundingControl::RoundUp,
                RoundingControl::RoundTowardZero,
            ];
            i.set_rounding_control(all[rng.below(4) as usize]);
        } else if info.can_suppress_all_exceptions() {
            i.set_suppress_all_exceptions(true);
        }
    }
}

/// Whether `code` is of the family, for 64-bit mode, and the host has it.
pub fn is_simd(code: Code) -> bool {
    if !code.op_code().mode64()
        || matches!(code.encoding(), EncodingKind::MVEX | EncodingKind::XOP | EncodingKind::D3NOW)
    {
        return false;
    }
    let x87 = [CpuidFeature::FPU, CpuidFeature::FPU287, CpuidFeature::FPU387];
    let features = code.cpuid_features();
    let vector = code.op_code().op_kinds().iter().any(|k| {
        let k = format!("{k:?}");
        k.contains("mm_") || k.contains("mmp3") || k.starts_with("k_") || k.starts_with("kp1")
    });
    let name = format!("{code:?}");
    let excluded = [
        "Fnstenv", "Fstenv", "Fnsave", "Fsave", "Fldenv", "Frstor", "Fsetpm", "Wait", "Fstcw", "Fstsw", "Fclex",
        "Finit",
    ];
    (vector || features.iter().any(|f| x87.contains(f)))
        && features.iter().all(|f| cpu_x86::simd::supports(*f))
        && !excluded.iter().any(|e| name.starts_with(e))
}

/// A lane as floating point finds it interesting.
pub fn lane(rng: &mut Rng) -> u64 {
    const F32: [u32; 16] = [
        0,
        0x8000_0000,
        0x3F80_0000,
        0xBF80_0000,
        0x7F80_0000,
        0xFF80_0000,
        0x7FC0_0000,
        0x7F80_0001,
        1,
        0x807F_FFFF,
        0x0080_0000,
        0x7F7F_FFFF,
        0x4F00_0000,
        0x4B00_0001,
        0x3F00_0000,
        0xFFC1_2345,
    ];
    const F64: [u64; 16] = [
        0,
        1 << 63,
        0x3FF0_0000_0000_0000,
        0xBFF0_0000_0000_0000,
        0x7FF0_0000_0000_0000,
        0xFFF0_0000_0000_0000,
        0x7FF8_0000_0000_0000,
        0x7FF0_0000_0000_0001,
        1,
        0x800F_FFFF_FFFF_FFFF,
        0x0010_0000_0000_0000,
        0x7FEF_FFFF_FFFF_FFFF,
        0x41DF_FFFF_FFC0_0000,
        0x43E0_0000_0000_0000,
        0x36A0_0000_0000_0000,
        0x3810_0000_0000_0001,
    ];
    match rng.below(5) {
        0 => F64[rng.below(16) as usize],
        1 => u64::from(F32[rng.below(16) as usize]) | u64::from(F32[rng.below(16) as usize]) << 32,
        2 => {
            // near 1, so that sums and products are ordinary
            let a = (0x3F00_0000 + rng.below(0x0200_0000)) | rng.below(2) << 31;
            a | (0x3F00_0000 + rng.below(0x0200_0000)) << 32
        }
        3 => 0x3FE0_0000_0000_0000 + rng.next() % 0x0040_0000_0000_0000,
        _ => rng.interesting(),
    }
}

fn x87_value(rng: &mut Rng) -> [u8; 16] {
    let fraction = match rng.below(4) {
        0 => 1 << 63,
        1 => rng.next() | 1 << 63,
        2 => 3 << 62,
        _ => rng.interesting(),
    };
    let exponent = match rng.below(6) {
        0 => 0,
        1 => 0x7FFF,
        2 => rng.next() as u16 & 0x7FFF,
        3 => [1, 0x7FFE, 0x3FFF, 0x403E][rng.below(4) as usize],
        _ => 0x3FF0 + rng.below(0x20) as u16,
    } | (rng.below(2) as u16) << 15;
    let mut b = [0; 16];
    b[..8].copy_from_slice(&fraction.to_le_bytes());
    b[8..10].copy_from_slice(&exponent.to_le_bytes());
    b
}

/// Fills everything. `unmask`: also x87 exceptions may be unmasked (never flagged and unmasked at once).
pub fn fill(rng: &mut Rng, f: &mut Fpu, unmask: bool) {
    for r in &mut f.zmm {
        for slot in r.chunks_exact_mut(8) {
            slot.copy_from_slice(&lane(rng).to_le_bytes());
        }
    }
    f.k = std::array::from_fn(|_| if rng.one_in(4) { 0 } else { rng.next() });
    f.st = std::array::from_fn(|_| x87_value(rng));
    f.ftw = if rng.one_in(3) { rng.next() as u8 } else { 0xFF };
    let masks = if unmask && rng.one_in(3) { rng.next() as u16 & 0x3F } else { 0x3F };
    let precision = [0u16, 2, 3][rng.below(3) as usize] << 8;
    f.fcw = 0x40 | masks | precision | (rng.below(4) as u16) << 10;
    f.fsw = (rng.next() as u16 & 0x7F00) | (rng.next() as u16 & masks);
    f.mxcsr = 0x1F80 | (rng.below(4) as u32) << 13 | (rng.next() as u32 & 0x8040) | (rng.next() as u32 & 0x3F);
    if rng.one_in(3) {
        f.mxcsr = 0x1F80;
    }
}
