//! Random programs for differential tests: registers, flags, memory operands, x87, MMX, SSE, AVX and AVX-512, locked
//! instructions, pushes, branches, calls and a loop around it all. Left out: what stops, waits or is not deterministic.
#![allow(dead_code, missing_docs, unreachable_pub)] // each test program uses a part

use cpu_x86::flags::rflags;
use iced_x86::{
    Code, CpuidFeature, Decoder, Encoder, EncodingKind, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpCodeOperandKind as K, OpKind, Register as R, RoundingControl,
};

pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    pub fn value(&mut self) -> u64 {
        match self.below(5) {
            0 => self.below(4),
            1 => u64::MAX - self.below(4),
            2 => 1 << self.below(64),
            3 => u64::from(self.next() as u32),
            _ => self.next(),
        }
    }
}

/// Registers that addresses are made of; nothing writes them.
pub const POINTERS: [R; 4] = [R::RBX, R::RSP, R::R13, R::R9];
pub const INDICES: [R; 2] = [R::R14, R::RBP];
const FIXED: [R; 7] = [R::RBX, R::RSP, R::R13, R::R9, R::R14, R::RBP, R::R15];
/// How often the program runs.
pub const COUNTER: R = R::R15;

/// The codes blocks are made of.
pub fn codes() -> Vec<Code> {
    use Mnemonic::*;
    let left_out = |m: Mnemonic| {
        // What stops, waits, is not deterministic, or needs more than random operands.
        matches!(
            m,
            Hlt | Rdtsc
                | Rdtscp
                | Rdrand
                | Rdseed
                | Rdpmc
                | Rdpid
                | Cpuid
                | Clui
                | Stui
                | Testui
                | Senduipi
                | Umonitor
                | Umwait
                | Tpause
                | Pconfig
                | Enqcmd
                | Enqcmds
                | Movdir64b
                | Ptwrite
                | Wbinvd
                | Xlatb
                | Enter
                | Popf
                | Popfq
                | Popfd
                | Incsspd
                | Incsspq
                | Rdsspd
                | Rdsspq
                | Sti
                | Cli
                | Bsf
                | Bsr
                | Push
                | Pop
                | Leave
                | Pause
                | Rcpps
                | Rcpss
                | Rsqrtps
                | Rsqrtss
                | Vrcpps
                | Vrcpss
                | Vrsqrtps
                | Vrsqrtss
                | Rdfsbase
                | Rdgsbase
        )
    };
    let features = [
        CpuidFeature::INTEL8086,
        CpuidFeature::INTEL186,
        CpuidFeature::INTEL386,
        CpuidFeature::INTEL486,
        CpuidFeature::X64,
        CpuidFeature::CMOV,
        CpuidFeature::BMI1,
        CpuidFeature::BMI2,
        CpuidFeature::ADX,
        CpuidFeature::POPCNT,
        CpuidFeature::LZCNT,
        CpuidFeature::MOVBE,
        CpuidFeature::SSE,
        CpuidFeature::SSE2,
        CpuidFeature::SSE3,
        CpuidFeature::SSSE3,
        CpuidFeature::SSE4_1,
        CpuidFeature::SSE4_2,
        CpuidFeature::AVX,
        CpuidFeature::AVX2,
        CpuidFeature::FMA,
        CpuidFeature::AES,
    ];
    Code::values()
        .filter(|c| {
            let o = c.op_code();
            let host = c.cpuid_features().iter().all(|f| features.contains(f));
            host && o.mode64()
                && o.is_instruction()
                && !o.is_lock_rep_only()
                && matches!(o.encoding(), EncodingKind::Legacy | EncodingKind::VEX)
                && !left_out(c.mnemonic())
                && !o.must_be_cpl0()
        })
        .collect()
}

/// Where FLDCW finds its operand: from RBX.
pub const CONTROL_WORD: u64 = 0x40;

fn operands(c: &Code, of: impl Fn(&str) -> bool) -> bool {
    c.op_code().op_kinds().iter().any(|k| of(&format!("{k:?}")))
}

/// Those of x87 and MMX.
pub fn stack_codes() -> Vec<Code> {
    let x87 = [CpuidFeature::FPU, CpuidFeature::FPU287, CpuidFeature::FPU387];
    // What begins with FWAIT is two instructions; environments have addresses, which processors disagree about.
    let excluded = [
        "Fstcw", "Fstsw", "Fclex", "Finit", "Feni", "Fdisi", "Fsetpm", "Frstpm", "Fnstenv", "Fstenv", "Fnsave",
        "Fsave", "Fldenv", "Frstor",
    ];
    Code::values()
        .filter(|c| {
            let mmx = operands(c, |k| k.starts_with("mm_")) || *c == Code::Emms;
            let features = c.cpuid_features();
            (mmx || features.iter().any(|f| x87.contains(f)))
                && features.iter().all(|f| cpu_x86::simd::supports(*f))
                && c.op_code().mode64()
                && c.encoding() == EncodingKind::Legacy
                && !excluded.iter().any(|e| format!("{c:?}").starts_with(e))
        })
        .collect()
}

/// Those of AVX-512 that the host has.
pub fn evex_codes() -> Vec<Code> {
    Code::values()
        .filter(|c| {
            let masks = operands(c, |k| k.starts_with("k_"));
            let features = c.cpuid_features();
            (c.encoding() == EncodingKind::EVEX || c.encoding() == EncodingKind::VEX && masks)
                && features.iter().all(|f| cpu_x86::simd::supports(*f))
                && c.op_code().mode64()
        })
        .collect()
}

/// Masks, zeroing, broadcast, rounding.
fn decorate(rng: &mut Rng, i: &mut Instruction) {
    let info = i.code().op_code();
    let memory = (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory);
    if info.can_use_op_mask_register() && (info.require_op_mask_register() || rng.below(2) == 0) {
        i.set_op_mask(R::K1 + rng.below(7) as u32);
        i.set_zeroing_masking(info.can_use_zeroing_masking() && i.op0_kind() == OpKind::Register && rng.below(2) == 0);
    }
    if memory && info.can_broadcast() && rng.below(3) == 0 {
        i.set_is_broadcast(true);
    }
    if !memory && rng.below(4) == 0 {
        let all = [
            RoundingControl::RoundToNearest,
            RoundingControl::RoundDown,
            RoundingControl::RoundUp,
            RoundingControl::RoundTowardZero,
        ];
        if info.can_use_rounding_control() {
            i.set_rounding_control(all[rng.below(4) as usize]);
        } else if info.can_suppress_all_exceptions() {
            i.set_suppress_all_exceptions(true);
        }
    }
}

trait OnlyPrefixes {
    fn is_lock_rep_only(&self) -> bool;
}
impl OnlyPrefixes for iced_x86::OpCodeInfo {
    fn is_lock_rep_only(&self) -> bool {
        self.is_privileged()
    }
}

/// An instruction with random operands, if one can be made.
fn instruction(rng: &mut Rng, code: Code) -> Option<Instruction> {
    let info = code.op_code();
    let mut i = Instruction::new();
    i.set_code(code);
    for n in 0..info.op_count() {
        let number = rng.below(if code.encoding() == EncodingKind::EVEX { 32 } else { 16 }) as u32;
        let general = number & 15;
        let mut reg = |base: R| {
            let number = match base {
                R::XMM0 | R::YMM0 | R::ZMM0 => number,
                R::MM0 | R::K0 | R::ST0 => general & 7,
                _ => general,
            };
            i.set_op_kind(n, OpKind::Register);
            i.set_op_register(n, base + number);
        };
        match info.op_kind(n) {
            K::r8_reg | K::r8_opcode => reg(R::AL),
            K::r16_reg | K::r16_rm | K::r16_opcode => reg(R::AX),
            K::r32_reg | K::r32_rm | K::r32_opcode | K::r32_vvvv => reg(R::EAX),
            K::r64_reg | K::r64_rm | K::r64_opcode | K::r64_vvvv => reg(R::RAX),
            K::xmm_reg | K::xmm_rm | K::xmm_vvvv | K::xmm_is4 => reg(R::XMM0),
            K::ymm_reg | K::ymm_rm | K::ymm_vvvv | K::ymm_is4 => reg(R::YMM0),
            K::zmm_reg | K::zmm_rm | K::zmm_vvvv => reg(R::ZMM0),
            K::k_reg | K::k_rm | K::k_vvvv => reg(R::K0),
            K::mm_reg | K::mm_rm => reg(R::MM0),
            K::sti_opcode => reg(R::ST0),
            K::zmm_or_mem if number & 1 == 0 => reg(R::ZMM0),
            K::k_or_mem if number & 1 == 0 => reg(R::K0),
            K::mm_or_mem if number & 1 == 0 => reg(R::MM0),
            K::r8_or_mem if number & 1 == 0 => reg(R::AL),
            K::r16_or_mem if number & 1 == 0 => reg(R::AX),
            K::r32_or_mem if number & 1 == 0 => reg(R::EAX),
            K::r64_or_mem if number & 1 == 0 => reg(R::RAX),
            K::xmm_or_mem if number & 1 == 0 => reg(R::XMM0),
            K::ymm_or_mem if number & 1 == 0 => reg(R::YMM0),
            K::r8_or_mem
            | K::r16_or_mem
            | K::r32_or_mem
            | K::r64_or_mem
            | K::xmm_or_mem
            | K::ymm_or_mem
            | K::zmm_or_mem
            | K::k_or_mem
            | K::mm_or_mem
            | K::mem => {
                i.set_op_kind(n, OpKind::Memory);
                i.set_memory_base(POINTERS[rng.below(4) as usize]);
                let unit = if rng.below(4) == 0 { 1 } else { 32 };
                i.set_memory_displacement64((rng.below(0x100) / unit * unit).wrapping_sub(0x80));
                i.set_memory_displ_size(1);
                if rng.below(3) == 0 {
                    i.set_memory_index(INDICES[rng.below(2) as usize]);
                    i.set_memory_index_scale(1 << rng.below(4));
                }
            }
            K::st0 => i.set_op_register(n, R::ST0),
            K::al => i.set_op_register(n, R::AL),
            K::cl => i.set_op_register(n, R::CL),
            K::ax => i.set_op_register(n, R::AX),
            K::eax => i.set_op_register(n, R::EAX),
            K::rax => i.set_op_register(n, R::RAX),
            K::imm8_const_1 => {
                i.set_op_kind(n, OpKind::Immediate8);
                i.set_immediate8(1);
            }
            kind @ (K::imm8
            | K::imm8sex16
            | K::imm8sex32
            | K::imm8sex64
            | K::imm16
            | K::imm32
            | K::imm32sex64
            | K::imm64) => {
                i.set_op_kind(
                    n,
                    match kind {
                        K::imm8 => OpKind::Immediate8,
                        K::imm8sex16 => OpKind::Immediate8to16,
                        K::imm8sex32 => OpKind::Immediate8to32,
                        K::imm8sex64 => OpKind::Immediate8to64,
                        K::imm16 => OpKind::Immediate16,
                        K::imm32 => OpKind::Immediate32,
                        K::imm32sex64 => OpKind::Immediate32to64,
                        _ => OpKind::Immediate64,
                    },
                );
                let v = rng.value();
                i.set_immediate_u64(
                    n,
                    match kind {
                        K::imm8 => v & 0xFF,
                        K::imm8sex16 | K::imm8sex32 | K::imm8sex64 => v as i8 as u64,
                        K::imm16 => v & 0xFFFF,
                        K::imm32 => v & 0xFFFF_FFFF,
                        K::imm32sex64 => v as i32 as u64,
                        _ => v,
                    },
                );
            }
            _ => return None,
        }
    }
    if i.op0_kind() == OpKind::Memory && info.can_use_lock_prefix() && rng.below(4) == 0 {
        i.set_has_lock_prefix(true);
    }
    if code == Code::Fldcw_m2byte {
        i.set_memory_base(R::RBX);
        i.set_memory_index(R::None);
        i.set_memory_displacement64(CONTROL_WORD);
    }
    if code.encoding() == EncodingKind::EVEX {
        decorate(rng, &mut i);
    }
    let mut encoder = Encoder::new(64);
    encoder.encode(&i, 0x1000).ok()?;
    let bytes = encoder.take_buffer();
    let i = Decoder::with_ip(64, &bytes, 0x1000, 0).decode();
    if i.is_invalid() || i.flow_control() != FlowControl::Next {
        return None;
    }
    let writes_fixed = InstructionInfoFactory::new().info(&i).used_registers().iter().any(|u| {
        FIXED.contains(&u.register().full_register()) && !matches!(u.access(), OpAccess::Read | OpAccess::CondRead)
    });
    // A register as bit offset reaches far.
    let far = matches!(i.mnemonic(), Mnemonic::Bt | Mnemonic::Btc | Mnemonic::Btr | Mnemonic::Bts)
        && i.op0_kind() == OpKind::Memory
        && i.op1_kind() == OpKind::Register;
    (!writes_fixed && !far).then_some(i)
}

/// A program of one instruction, if one can be made.
pub fn single(rng: &mut Rng, code: Code, at: u64) -> Option<Program> {
    let i = instruction(rng, code)?;
    let undefined = undefined_after(&i, 0)?;
    let mut encoder = Encoder::new(64);
    encoder.encode(&i, at).ok()?;
    Some(Program { code: encoder.take_buffer(), undefined: from_bits(undefined), at })
}

/// A program.
pub struct Program {
    pub code: Vec<u8>,
    /// Flags that are undefined after it.
    pub undefined: u64,
    at: u64,
}

impl Program {
    pub fn text(&self) -> String {
        let all: Vec<String> =
            Decoder::with_ip(64, &self.code, self.at, 0).iter().map(|i| format!("{:x}: {i}", i.ip())).collect();
        all.join("\n")
    }
}

/// What is undefined after `i`, where `undefined` was before it; `None`: it must not come here.
fn undefined_after(i: &Instruction, mut undefined: u32) -> Option<u32> {
    const ARITH: u32 = rflags_bits(rflags::ARITH);
    let double = matches!(i.mnemonic(), Mnemonic::Shld | Mnemonic::Shrd);
    // (The result of double shifts of words is undefined for counts above 16.)
    if i.rflags_read() & undefined != 0 || double && i.op_register(1).size() == 2 {
        return None;
    }
    let shift = i.op_count() > 1 && i.op_register(i.op_count() - 1) == R::CL;
    if !shift {
        undefined &= !(i.rflags_written() | i.rflags_set() | i.rflags_cleared());
    }
    undefined |= i.rflags_undefined() & ARITH;
    if matches!(i.mnemonic(), Mnemonic::Mul | Mnemonic::Imul) {
        undefined |= rflags_bits(rflags::ARITH & !(rflags::CF | rflags::OF));
    }
    use Mnemonic::*;
    if matches!(i.mnemonic(), Rol | Ror | Rcl | Rcr | Shl | Sal | Shr | Sar | Shld | Shrd) {
        // Of counts past the operand's size CF and, for double shifts of words, all is undefined.
        undefined |= rflags_bits(rflags::OF | rflags::AF | rflags::CF);
        if double {
            undefined |= ARITH;
        }
    }
    Some(undefined)
}

/// A program for address `at` of up to `most` instructions, branches included.
pub fn program(rng: &mut Rng, codes: &[Code], at: u64, most: u64) -> Program {
    let mut code = Vec::new();
    let mut undefined = 0;
    // Forward branches: where the displacement is, and how many instructions are left until the target.
    let mut open: Vec<(usize, u64, u32)> = Vec::new();
    let mut encoder = Encoder::new(64);
    let mut left = 1 + rng.below(most);
    while left > 0 || !open.is_empty() {
        left = left.saturating_sub(1);
        open.retain_mut(|(place, count, flags)| {
            *count = count.saturating_sub(1);
            if *count == 0 {
                let d = (code.len() - (*place + 4)) as u32;
                code[*place..*place + 4].copy_from_slice(&d.to_le_bytes());
                undefined |= *flags;
            }
            *count != 0
        });
        if rng.below(7) == 0 && branch(rng, &mut code, &mut open, undefined) {
            continue;
        }
        loop {
            let form = codes[rng.below(codes.len() as u64) as usize];
            let Some(i) = instruction(rng, form) else { continue };
            let Some(after) = undefined_after(&i, undefined) else { continue };
            undefined = after;
            encoder.encode(&i, at + code.len() as u64).unwrap();
            code.extend(encoder.take_buffer());
            break;
        }
    }
    if rng.below(3) != 0 {
        return Program { code, undefined: from_bits(undefined), at };
    }
    // sub r15d, 1; jne to the start: all flags are defined there again.
    code.extend([0x41, 0x83, 0xEF, 0x01, 0x0F, 0x85]);
    let d = (code.len() as i32 + 4).wrapping_neg();
    code.extend(d.to_le_bytes());
    Program { code, undefined: 0, at }
}

/// Something with a branch or the stack.
fn branch(rng: &mut Rng, code: &mut Vec<u8>, open: &mut Vec<(usize, u64, u32)>, undefined: u32) -> bool {
    match rng.below(6) {
        // A conditional branch over some instructions.
        0..=2 => {
            let cc = rng.below(16) as u32;
            // O, B, E, BE, S, P, L, LE and their opposites, as iced numbers flags (OF SF ZF AF CF PF).
            let reads = [1, 16, 4, 20, 2, 32, 3, 7][cc as usize / 2];
            if reads & undefined != 0 {
                return false;
            }
            code.extend([0x0F, 0x80 | cc as u8, 0, 0, 0, 0]);
            open.push((code.len() - 4, 1 + rng.below(6), undefined));
        }
        // push one, pop into another
        3 => {
            let (from, to) = (rng.below(16) as u8, [0, 1, 2, 6, 7, 8, 10, 11, 12][rng.below(9) as usize]);
            code.extend([0x40 | from >> 3, 0x50 | from & 7, 0x40 | to >> 3, 0x58 | to & 7]);
        }
        // call f; jmp over; f: ret; over:
        4 => code.extend([0xE8, 5, 0, 0, 0, 0xE9, 1, 0, 0, 0, 0xC3]),
        // lea rax, [rip+2]; jmp rax
        _ => code.extend([0x48, 0x8D, 0x05, 2, 0, 0, 0, 0xFF, 0xE0]),
    }
    true
}

/// RFLAGS as `iced` numbers them.
const fn rflags_bits(f: u64) -> u32 {
    let mut out = 0;
    let table = [(11, 0), (7, 1), (6, 2), (4, 3), (0, 4), (2, 5)];
    let mut n = 0;
    while n < 6 {
        if f >> table[n].0 & 1 != 0 {
            out |= 1 << table[n].1;
        }
        n += 1;
    }
    out
}

fn from_bits(b: u32) -> u64 {
    [(11, 0), (7, 1), (6, 2), (4, 3), (0, 4), (2, 5)].iter().filter(|t| b >> t.1 & 1 != 0).fold(0, |f, t| f | 1 << t.0)
}
