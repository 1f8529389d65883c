//! Which registers an instruction has to do with, beyond the general ones, the data segments and paging.

use iced_x86::{
    CpuidFeature, Decoder, DecoderError, DecoderOptions, EncodingKind, FlowControl, Instruction, Mnemonic, OpKind,
};
use whp::VpContext;

/// What must be read before the instruction can be executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// x87, MMX and XMM registers.
    pub fpu: bool,
    /// The whole XSAVE area, and XCR0.
    pub extended: bool,
    /// XCR0, without which the instruction is not valid.
    pub xcr0: bool,
    /// Descriptor tables, task register, debug registers, MSRs, interruptibility.
    pub system: bool,
}

/// What integer instructions belong to; all others have to do with x87 or SIMD state.
const INTEGER: &[CpuidFeature] = &[
    CpuidFeature::INTEL8086,
    CpuidFeature::INTEL8086_ONLY,
    CpuidFeature::INTEL186,
    CpuidFeature::INTEL286,
    CpuidFeature::INTEL386,
    CpuidFeature::INTEL486,
    CpuidFeature::X64,
    CpuidFeature::CPUID,
    CpuidFeature::CX8,
    CpuidFeature::CMPXCHG16B,
    CpuidFeature::CMOV,
    CpuidFeature::MOVBE,
    CpuidFeature::BMI1,
    CpuidFeature::BMI2,
    CpuidFeature::ADX,
    CpuidFeature::LZCNT,
    CpuidFeature::POPCNT,
    CpuidFeature::MULTIBYTENOP,
    CpuidFeature::CLFSH,
    CpuidFeature::CLFLUSHOPT,
    CpuidFeature::CLWB,
    CpuidFeature::PREFETCHW,
    CpuidFeature::MSR,
    CpuidFeature::TSC,
    CpuidFeature::SYSCALL,
    CpuidFeature::SEP,
    CpuidFeature::FSGSBASE,
    CpuidFeature::SMAP,
    CpuidFeature::INVPCID,
    CpuidFeature::RDTSCP,
    CpuidFeature::RDPID,
];

impl Needs {
    /// Everything.
    pub const ALL: Self = Self { fpu: true, extended: true, xcr0: true, system: true };

    /// Of the instruction in `bytes` at the exit; everything when they are not a whole instruction.
    pub fn of(vp: &VpContext, bytes: &[u8]) -> Self {
        Self::of_whole(vp, bytes).unwrap_or(Self::ALL)
    }

    /// The same; `None` when they are not a whole instruction.
    pub fn of_whole(vp: &VpContext, bytes: &[u8]) -> Option<Self> {
        const LONG: u16 = 1 << 13;
        const DEFAULT_BIG: u16 = 1 << 14;
        let bitness = match vp.cs.attributes {
            a if vp.efer_lma && a & LONG != 0 => 64,
            a if vp.cr0_pe && a & DEFAULT_BIG != 0 => 32,
            a if a & DEFAULT_BIG != 0 => 32, // "unreal" code segments
            _ => 16,
        };
        let mut decoder = Decoder::with_ip(bitness, bytes, vp.rip, DecoderOptions::NONE);
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            let raises_ud = decoder.last_error() != DecoderError::NoMoreBytes;
            return raises_ud.then_some(Self { system: true, ..Self::default() });
        }
        let fpu = instruction.cpuid_features().iter().any(|f| !INTEGER.contains(f));
        let saves = instruction.cpuid_features().iter().any(|f| {
            use CpuidFeature as F;
            matches!(f, F::XSAVE | F::XSAVEC | F::XSAVEOPT | F::XSAVES | F::PKU)
        });
        let xcr0 = fpu && (instruction.encoding() != EncodingKind::Legacy || saves);
        let extended = xcr0 && (saves || !stores_xmm(&instruction));
        Some(Self { fpu, extended, xcr0, system: is_system(&instruction) })
    }
}

/// Only stores XMM registers, and leaves all registers as they are: the upper halves have no part in it.
fn stores_xmm(i: &Instruction) -> bool {
    i.encoding() == EncodingKind::VEX
        && i.op0_kind() == OpKind::Memory
        && (1..i.op_count())
            .all(|n| i.op_kind(n) != OpKind::Register || i.op_register(n).is_xmm() || i.op_register(n).is_gpr())
}

fn is_system(i: &Instruction) -> bool {
    use Mnemonic as M;
    let special_register = (0..i.op_count()).filter(|n| i.op_kind(*n) == OpKind::Register).any(|n| {
        let r = i.op_register(n);
        r.is_segment_register() || r.is_cr() || r.is_dr() || r.is_tr()
    });
    let named = matches!(
        i.mnemonic(),
        M::Sgdt
            | M::Sidt
            | M::Sldt
            | M::Str
            | M::Smsw
            | M::Verr
            | M::Verw
            | M::Lar
            | M::Lsl
            | M::Lds
            | M::Les
            | M::Lfs
            | M::Lgs
            | M::Lss
            | M::Insb
            | M::Insw
            | M::Insd
            | M::Outsb
            | M::Outsw
            | M::Outsd
            | M::In
            | M::Out
            | M::Popf
            | M::Popfd
            | M::Popfq
            | M::Pushf
            | M::Pushfd
            | M::Pushfq
            | M::Sti
            | M::Cli
            | M::Cpuid
            | M::Rdtsc
            | M::Rdtscp
            | M::Rdpid
            | M::Xgetbv
            | M::Xsetbv
            | M::Rdfsbase
            | M::Rdgsbase
            | M::Wrfsbase
            | M::Wrgsbase
            | M::Hlt
    );
    let near_call = i.is_call_near_indirect() || i.is_jmp_near_indirect();
    named || special_register || i.is_privileged() || (i.flow_control() != FlowControl::Next && !near_call)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Needs {
        let mut vp = VpContext { efer_lma: true, cr0_pe: true, ..VpContext::default() };
        vp.cs.attributes = 0xA09B;
        Needs::of(&vp, bytes)
    }

    #[test]
    fn plain_instructions_need_nothing_more() {
        assert_eq!(of(&[0x8B, 0x07]), Needs::default(), "mov eax, [rdi]");
        assert_eq!(of(&[0xF3, 0x48, 0xAB]), Needs::default(), "rep stosq");
        assert_eq!(of(&[0x0F, 0x38, 0xF0, 0x07]), Needs::default(), "movbe eax, [rdi]");
        assert_eq!(of(&[0xC4, 0xE2, 0x78, 0xF2, 0x07]), Needs::default(), "andn eax, eax, [rdi]: VEX, no vectors");
        assert_eq!(of(&[0xF0, 0x48, 0x0F, 0xC7, 0x0F]), Needs::default(), "lock cmpxchg16b [rdi]");
        assert_eq!(of(&[0xFF, 0x37]), Needs::default(), "push qword [rdi]");
    }

    #[test]
    fn vectors_and_system_state_are_seen() {
        let fpu = Needs { fpu: true, ..Needs::default() };
        assert_eq!(of(&[0x0F, 0x11, 0x07]), fpu, "movups [rdi], xmm0");
        assert_eq!(of(&[0xDD, 0x07]), fpu, "fld qword [rdi]");
        let extended = Needs { extended: true, xcr0: true, ..fpu };
        assert_eq!(of(&[0xC5, 0xFE, 0x7F, 0x07]), extended, "vmovdqu [rdi], ymm0");
        assert_eq!(of(&[0xC5, 0xFA, 0x6F, 0x07]), extended, "vmovdqu xmm0, [rdi]: clears the upper half");
        assert_eq!(of(&[0xC5, 0xFA, 0x7F, 0x07]), Needs { xcr0: true, ..fpu }, "vmovdqu [rdi], xmm0");
        assert_eq!(of(&[0x0F, 0xC7, 0x27]), extended, "xsavec [rdi]");
        let system = Needs { system: true, ..Needs::default() };
        assert_eq!(of(&[0x0F, 0x01, 0x17]), system, "lgdt [rdi]");
        assert_eq!(of(&[0x8E, 0x1F]), system, "mov ds, [rdi]");
        assert_eq!(of(&[0xF3, 0x6E]), system, "rep outsb");
        assert_eq!(of(&[]), Needs::ALL);
        assert_eq!(of(&[0x0F, 0x38]), Needs::ALL, "not whole");
        assert_eq!(of(&[0x06, 0x90]), system, "no instruction in 64-bit mode");
    }
}
