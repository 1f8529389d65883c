//! What may be translated, and what it is called: the list of instructions that run natively.

use iced_x86::{Code, CpuidFeature, Instruction, Mnemonic, OpKind, Register};

use super::{interrupts, strings};
use crate::simd::{self, Translatable};
use crate::state::Mode;

/// The register's name in iced, by number and size.
pub(super) fn named(n: u8, size: usize) -> Register {
    let n = u32::from(n);
    match size {
        1 if n < 4 => Register::AL + n,
        1 => Register::SPL + (n - 4),
        2 => Register::AX + n,
        4 => Register::EAX + n,
        _ => Register::RAX + n,
    }
}

/// The form with a ModRM byte of what has a short one: moves with an absolute address, and INC and DEC of 32-bit code.
pub(super) fn encodable(c: Code) -> Code {
    match c {
        Code::Inc_r16 => Code::Inc_rm16,
        Code::Inc_r32 => Code::Inc_rm32,
        Code::Dec_r16 => Code::Dec_rm16,
        Code::Dec_r32 => Code::Dec_rm32,
        Code::Mov_AL_moffs8 => Code::Mov_r8_rm8,
        Code::Mov_AX_moffs16 => Code::Mov_r16_rm16,
        Code::Mov_EAX_moffs32 => Code::Mov_r32_rm32,
        Code::Mov_RAX_moffs64 => Code::Mov_r64_rm64,
        Code::Mov_moffs8_AL => Code::Mov_rm8_r8,
        Code::Mov_moffs16_AX => Code::Mov_rm16_r16,
        Code::Mov_moffs32_EAX => Code::Mov_rm32_r32,
        Code::Mov_moffs64_RAX => Code::Mov_rm64_r64,
        c => c,
    }
}

/// The block's instructions that run on the host's vector registers.
pub(super) fn vectors(
    decoded: &[Instruction],
    mode: Mode,
    exists: impl Fn(&Instruction) -> bool,
) -> Vec<Option<Translatable>> {
    let translated = |i: &Instruction| {
        if mode.has(Mode::FPU_CHECK) || !exists(i) {
            return None;
        }
        match i.mnemonic() {
            // Of 32-bit code they leave half of the registers alone.
            Mnemonic::Vzeroupper | Mnemonic::Vzeroall if mode.has(Mode::CODE64) => {
                Some(Translatable { vex: true, evex: false, align: 0 })
            }
            _ => simd::translatable(i),
        }
    };
    decoded.iter().map(translated).collect()
}

/// Whether the host executes it. Of what the list below has, only these are not everywhere.
pub(super) fn host_has(i: &Instruction) -> bool {
    i.cpuid_features().iter().all(|f| match f {
        CpuidFeature::POPCNT => is_x86_feature_detected!("popcnt"),
        CpuidFeature::LZCNT => is_x86_feature_detected!("lzcnt"),
        CpuidFeature::BMI1 => is_x86_feature_detected!("bmi1"),
        CpuidFeature::BMI2 => is_x86_feature_detected!("bmi2"),
        CpuidFeature::MOVBE => is_x86_feature_detected!("movbe"),
        CpuidFeature::ADX => is_x86_feature_detected!("adx"),
        CpuidFeature::SSE4_2 => is_x86_feature_detected!("sse4.2"),
        _ => true,
    })
}

/// The instructions that may be translated (Intel SDM volume 2): everything else has to be left to its handler.
pub(super) fn is_native(i: &Instruction, mode: Mode) -> bool {
    use Mnemonic::*;
    let known = matches!(
        i.mnemonic(),
        Mov | Movzx
            | Movsx
            | Movsxd
            | Lea
            | Add
            | Or
            | Adc
            | Sbb
            | And
            | Sub
            | Xor
            | Cmp
            | Test
            | Inc
            | Dec
            | Neg
            | Not
            | Shl
            | Sal
            | Shr
            | Sar
            | Rol
            | Ror
            | Rcl
            | Rcr
            | Shld
            | Shrd
            | Imul
            | Mul
            | Div
            | Idiv
            | Bt
            | Bts
            | Btr
            | Btc
            | Bsf
            | Bsr
            | Tzcnt
            | Lzcnt
            | Popcnt
            | Bswap
            | Xchg
            | Xadd
            | Cmpxchg
            | Cmpxchg8b
            | Cmpxchg16b
            | Cbw
            | Cwde
            | Cdqe
            | Cwd
            | Cdq
            | Cqo
            | Clc
            | Stc
            | Cmc
            | Lahf
            | Sahf
            | Nop
            | Endbr64
            | Endbr32
            | Prefetchnta
            | Prefetcht0
            | Prefetcht1
            | Prefetcht2
            | Prefetchw
            | Andn
            | Bextr
            | Blsi
            | Blsmsk
            | Blsr
            | Rorx
            | Sarx
            | Shlx
            | Shrx
            | Pdep
            | Pext
            | Mulx
            | Bzhi
            | Movbe
            | Adcx
            | Adox
            | Crc32
            | Push
            | Pop
            | Leave
            | Call
            | Ret
            | Jmp
            | Lfence
            | Mfence
            | Sfence
    ) || i.is_jcc_short_or_near()
        || is_conditional(i)
        || strings::is_single(i)
        || interrupts::is_known(i, mode);
    let plain = (0..i.op_count()).all(|n| match i.op_kind(n) {
        OpKind::Register => i.op_register(n).is_gpr(),
        OpKind::NearBranch32 => !mode.has(Mode::CODE64),
        OpKind::FarBranch16 | OpKind::FarBranch32 | OpKind::NearBranch16 => false,
        _ => true,
    });
    // With a register as bit offset the memory operand is a string of bits.
    let bits = matches!(i.mnemonic(), Bt | Bts | Btr | Btc)
        && i.op_kind(0) == OpKind::Memory
        && i.op_kind(1) == OpKind::Register;
    known && plain && !bits
}

/// CMOVcc and SETcc.
pub(super) fn is_conditional(i: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(
        i.mnemonic(),
        Cmova
            | Cmovae
            | Cmovb
            | Cmovbe
            | Cmove
            | Cmovg
            | Cmovge
            | Cmovl
            | Cmovle
            | Cmovne
            | Cmovno
            | Cmovnp
            | Cmovns
            | Cmovo
            | Cmovp
            | Cmovs
            | Seta
            | Setae
            | Setb
            | Setbe
            | Sete
            | Setg
            | Setge
            | Setl
            | Setle
            | Setne
            | Setno
            | Setnp
            | Setns
            | Seto
            | Setp
            | Sets
    )
}
