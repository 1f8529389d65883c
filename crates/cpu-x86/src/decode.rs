//! From bytes to [`Op`]s: `iced-x86` decodes, the family modules choose the handler.
//!
//! Here, for all families: an instruction whose CPUID feature the guest's processor lacks stays #UD (Intel SDM
//! volume 2, the CPUID column of each instruction), except where the encoding is a hint on processors without it.

use iced_x86::{Code, CpuidFeature, Decoder, DecoderError, DecoderOptions, Instruction};

use crate::bus::Bus;
use crate::fault::Exec;
use crate::features::Features;
use crate::op::{DecodeCx, Op};
use crate::state::Cpu;

/// Longest instruction in bytes.
pub const MAX_INSTRUCTION: usize = 15;

/// Decodes one instruction from `bytes`, `offset` bytes after the start of its block, from which branch targets and
/// RIP-relative operands count: wherever the block is, it is the same. `None` when the bytes end before the instruction does.
pub fn decode(bytes: &[u8], cx: &DecodeCx, offset: u16) -> Option<(Op, Instruction)> {
    let bytes = bytes.get(..MAX_INSTRUCTION).unwrap_or(bytes);
    let mut decoder = Decoder::with_ip(cx.mode.bits(), bytes, offset.into(), options(&cx.features));
    let i = decoder.decode();
    let invalid = i.code() == Code::INVALID;
    if invalid && bytes.len() < MAX_INSTRUCTION && decoder.last_error() == DecoderError::NoMoreBytes {
        return None;
    }
    let mut op = Op::prepare(&i, cx, offset);
    if invalid && bytes.len() == MAX_INSTRUCTION && is_cut(&bytes[..MAX_INSTRUCTION - 1], cx) {
        op.handler = too_long;
        op.end = offset + MAX_INSTRUCTION as u16;
        op.flags |= Op::ENDS;
    }
    if invalid {
        op.flags |= Op::ENDS;
    }
    if !invalid && exists(&i, &cx.features) {
        let _known = crate::int::decode(&i, cx, &mut op)
            || crate::sys::decode(&i, cx, &mut op)
            || crate::simd::decode(&i, cx, &mut op);
    }
    Some((op, i))
}

/// The handler of what does not end within 15 bytes: #GP(0).
fn too_long(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    Err(cpu.gp(0))
}

/// Whether `bytes` end inside an instruction. (The decoder calls one of more than 15 bytes just invalid.)
fn is_cut(bytes: &[u8], cx: &DecodeCx) -> bool {
    let mut decoder = Decoder::with_ip(cx.mode.bits(), bytes, 0, options(&cx.features));
    decoder.decode().code() == Code::INVALID && decoder.last_error() == DecoderError::NoMoreBytes
}

/// TZCNT and LZCNT are BSF and BSR, WBNOINVD is WBINVD, on processors that do not have them.
pub(crate) fn options(features: &Features) -> u32 {
    let mut o = DecoderOptions::NONE;
    if !features.has(CpuidFeature::BMI1) {
        o |= DecoderOptions::NO_MPFX_0FBC;
    }
    if !features.has(CpuidFeature::LZCNT) {
        o |= DecoderOptions::NO_MPFX_0FBD;
    }
    if !features.has(CpuidFeature::WBNOINVD) {
        o |= DecoderOptions::NO_WBNOINVD;
    }
    o
}

/// Whether the processor has the instruction.
pub(crate) fn exists(i: &Instruction, features: &Features) -> bool {
    i.cpuid_features().iter().all(|f| {
        features.has(*f)
            || match f {
                // The encodings were NOPs, or ignored prefixes, before they got a meaning.
                CpuidFeature::CET_IBT => matches!(i.code(), Code::Endbr32 | Code::Endbr64),
                CpuidFeature::CET_SS => matches!(i.code(), Code::Rdsspd_r32 | Code::Rdsspq_r64),
                // To the hypervisor, if there is one: its handler knows.
                CpuidFeature::VMX => i.code() == Code::Vmcall,
                CpuidFeature::SVM => i.code() == Code::Vmmcall,
                CpuidFeature::CLDEMOTE
                | CpuidFeature::PREFETCHW
                | CpuidFeature::PREFETCHWT1
                | CpuidFeature::PREFETCHITI
                | CpuidFeature::HLE
                | CpuidFeature::PAUSE => true,
                CpuidFeature::SSE => matches!(
                    i.code(),
                    Code::Prefetchnta_m8 | Code::Prefetcht0_m8 | Code::Prefetcht1_m8 | Code::Prefetcht2_m8
                ),
                _ => false,
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Mode;

    fn cx(features: Features) -> DecodeCx {
        DecodeCx { mode: Mode(Mode::CODE64 | Mode::LONG | Mode::PROTECTED), rip: 0x1000, features }
    }

    #[test]
    fn missing_extensions_do_not_exist_and_hints_do() {
        let code = |bytes: &[u8], f: Features| {
            let (_, i) = decode(bytes, &cx(f), 0).unwrap();
            (i.code(), exists(&i, &f))
        };
        let popcnt = [0xF3, 0x0F, 0xB8, 0xC1];
        assert_eq!(code(&popcnt, Features::ALL), (Code::Popcnt_r32_rm32, true));
        assert_eq!(code(&popcnt, Features::BASE), (Code::Popcnt_r32_rm32, false));
        assert_eq!(code(&[0xF3, 0x0F, 0x1E, 0xFA], Features::BASE), (Code::Endbr64, true));
        assert_eq!(code(&[0xF3, 0x0F, 0xBC, 0xC1], Features::BASE), (Code::Bsf_r32_rm32, true));
        assert!(decode(&[0x48], &cx(Features::ALL), 0).is_none(), "needs more bytes");
    }
}
