//! The translator against the interpreter: random blocks (registers, flags, memory, vector registers compared), code that
//! changes while it runs, control flow of all kinds, faults in the middle of blocks.
//!
//! `WHPX_DIFF_SEED` and `WHPX_DIFF_CASES` vary the random blocks. Flags that are undefined are neither compared nor read.
#![cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]

mod machine;

use cpu_x86::flags::rflags;
use cpu_x86::state::cr::*;
use cpu_x86::{Stop, Tier};
use iced_x86::code_asm::*;
use iced_x86::{
    Code, CpuidFeature, Decoder, Encoder, EncodingKind, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpCodeOperandKind as K, OpKind, Register as R,
};
use machine::{CODE, DATA, DEVICE, Machine};

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn value(&mut self) -> u64 {
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
const POINTERS: [R; 4] = [R::RBX, R::RSP, R::R13, R::R9];
const INDICES: [R; 2] = [R::R14, R::RBP];
const FIXED: [R; 6] = [R::RBX, R::RSP, R::R13, R::R9, R::R14, R::RBP];

/// The codes blocks are made of.
fn codes() -> Vec<Code> {
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
        let number = rng.below(16) as u32;
        let mut reg = |base: R| {
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
            K::r8_or_mem if number & 1 == 0 => reg(R::AL),
            K::r16_or_mem if number & 1 == 0 => reg(R::AX),
            K::r32_or_mem if number & 1 == 0 => reg(R::EAX),
            K::r64_or_mem if number & 1 == 0 => reg(R::RAX),
            K::xmm_or_mem if number & 1 == 0 => reg(R::XMM0),
            K::ymm_or_mem if number & 1 == 0 => reg(R::YMM0),
            K::r8_or_mem | K::r16_or_mem | K::r32_or_mem | K::r64_or_mem | K::xmm_or_mem | K::ymm_or_mem | K::mem => {
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
    let mut encoder = Encoder::new(64);
    encoder.encode(&i, CODE).ok()?;
    let bytes = encoder.take_buffer();
    let i = Decoder::with_ip(64, &bytes, CODE, 0).decode();
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

/// A block, and the flags that are undefined after it.
fn block(rng: &mut Rng, codes: &[Code]) -> (Vec<Instruction>, u64) {
    const ARITH: u32 = rflags_bits(rflags::ARITH);
    let mut undefined = 0;
    let mut all = Vec::new();
    let len = 1 + rng.below(24);
    while (all.len() as u64) < len {
        let code = codes[rng.below(codes.len() as u64) as usize];
        let Some(i) = instruction(rng, code) else { continue };
        let double = matches!(i.mnemonic(), Mnemonic::Shld | Mnemonic::Shrd);
        // (The result of double shifts of words is undefined for counts above 16.)
        if i.rflags_read() & undefined != 0 || double && i.op_register(1).size() == 2 {
            continue;
        }
        let shift = i.op_count() > 1 && i.op_register(i.op_count() - 1) == R::CL;
        let defined = i.rflags_written() | i.rflags_set() | i.rflags_cleared();
        if !shift {
            undefined &= !defined;
        }
        undefined |= i.rflags_undefined() & ARITH;
        if matches!(i.mnemonic(), Mnemonic::Mul | Mnemonic::Imul) {
            undefined |= rflags_bits(rflags::ARITH & !(rflags::CF | rflags::OF));
        }
        if matches!(
            i.mnemonic(),
            Mnemonic::Rol | Mnemonic::Ror | Mnemonic::Rcl | Mnemonic::Rcr | Mnemonic::Shl | Mnemonic::Sal
        ) || matches!(i.mnemonic(), Mnemonic::Shr | Mnemonic::Sar | Mnemonic::Shld | Mnemonic::Shrd)
        {
            // Of counts past the operand's size CF and, for double shifts of words, all is undefined.
            undefined |= rflags_bits(rflags::OF | rflags::AF | rflags::CF);
            if double {
                undefined |= ARITH;
            }
        }
        all.push(i);
    }
    (all, from_bits(undefined))
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

fn machine(tier: Tier) -> Machine {
    let mut m = Machine::long();
    assert!(m.p.set_tier(tier));
    m.p.set_translation_threshold(1);
    m.p.cpu.cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    m.p.cpu.xcr0 = 7;
    m.p.cpu.update_mode();
    m
}

/// Fills registers and data by `seed`.
fn fill(m: &mut Machine, seed: u64) {
    let mut rng = Rng(seed);
    for n in 0..16 {
        m.p.cpu.regs[n] = rng.value();
        for b in m.p.cpu.fpu.zmm[n][..32].chunks_exact_mut(4) {
            let v = if rng.below(2) == 0 { (rng.below(2000) as f32 / 7.0).to_bits() } else { rng.next() as u32 };
            b.copy_from_slice(&v.to_le_bytes());
        }
    }
    for p in POINTERS {
        // One of them near the end of a page: some accesses cross it.
        let at = if p == R::R9 { 0xF90 } else { 0x800 };
        m.p.cpu.regs[p.number()] = DATA + at;
    }
    m.p.cpu.regs[R::R14.number()] = 8;
    m.p.cpu.regs[R::RBP.number()] = 3;
    let f = rng.next() & rflags::ARITH;
    m.p.cpu.set_rflags(f);
    let data: Vec<u8> = (0..0x2000).map(|_| rng.next() as u8).collect();
    assert!(m.bus.ram.write(DATA, &data));
}

struct Result {
    stop: Stop,
    regs: [u64; 16],
    rip: u64,
    flags: u64,
    data: Vec<u8>,
}

fn run(m: &mut Machine, code: &[u8], seed: u64) -> Result {
    fill(m, seed);
    m.p.cpu.rip = CODE;
    assert!(m.bus.ram.write(CODE, code));
    m.p.cpu.fpu.mxcsr = 0x1F80;
    let stop = m.run();
    let mut data = vec![0; 0x2000];
    assert!(m.bus.ram.read(DATA, &mut data));
    let mut regs = [0; 16];
    regs.copy_from_slice(&m.p.cpu.regs[..16]);
    Result { stop, regs, rip: m.p.cpu.rip, flags: m.p.cpu.rflags() & rflags::ARITH, data }
}

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[test]
fn random_blocks_do_what_the_interpreter_does() {
    let codes = codes();
    let (seed, cases) = (env("WHPX_DIFF_SEED", 1), env("WHPX_DIFF_CASES", 3000));
    let (mut a, mut b) = (machine(Tier::Interpreter), machine(Tier::Translator));
    let mut checked = machine(Tier::Check);
    for case in 0..cases {
        let mut rng = Rng(seed << 32 | case);
        let (list, undefined) = block(&mut rng, &codes);
        let mut code = Vec::new();
        let mut encoder = Encoder::new(64);
        for i in &list {
            encoder.encode(i, CODE + code.len() as u64).unwrap();
            code.extend(encoder.take_buffer());
        }
        code.push(0xF4);
        let (x, y) = (run(&mut a, &code, seed ^ case), run(&mut b, &code, seed ^ case));
        if case % 4 == 0 {
            run(&mut checked, &code, seed ^ case);
        }
        let text: Vec<String> = list.iter().map(ToString::to_string).collect();
        let context = || format!("seed {seed} case {case}\n{}", text.join("\n"));
        assert_eq!(x.stop, y.stop, "{}", context());
        assert_eq!(x.rip, y.rip, "{}", context());
        assert_eq!(x.regs.map(|r| format!("{r:x}")), y.regs.map(|r| format!("{r:x}")), "{}", context());
        assert!(x.data == y.data, "memory: {}", context());
        let different = (0..32).filter(|n| a.p.cpu.fpu.zmm[*n] != b.p.cpu.fpu.zmm[*n]).collect::<Vec<_>>();
        assert!(different.is_empty(), "vector registers {different:?}: {}", context());
        assert_eq!(a.p.cpu.fpu.mxcsr, b.p.cpu.fpu.mxcsr, "{}", context());
        if x.stop == Stop::Halt {
            assert_eq!(x.flags & !undefined, y.flags & !undefined, "flags: {}", context());
        }
    }
    let s = b.p.jit_statistics();
    assert!(checked.p.jit_statistics().compared > cases / 8);
    assert!(s.blocks >= cases / 2 && s.handlers * 2 < s.instructions, "{s:?}");
}

/// Assembles, runs with both tiers, compares what is left; the machine of the translator.
fn both(set: impl Fn(&mut Machine), program: impl Fn(&mut CodeAssembler)) -> Machine {
    let mut result = Vec::new();
    for tier in [Tier::Interpreter, Tier::Check, Tier::Translator] {
        let mut m = machine(tier);
        set(&mut m);
        m.code(CODE, &program);
        let stop = m.run();
        let mut data = vec![0; 0x2000];
        assert!(m.bus.ram.read(DATA, &mut data));
        let data = data.iter().fold(0u64, |h, b| h.rotate_left(7).wrapping_mul(31) ^ u64::from(*b));
        let regs: Vec<_> = m.p.cpu.regs[..16].iter().map(|r| format!("{r:x}")).collect();
        result.push(((stop, m.p.cpu.rip, regs, m.p.cpu.rflags(), data), m));
    }
    let (b, m) = result.pop().unwrap();
    for other in result {
        assert_eq!(other.0, b);
    }
    assert!(m.p.jit_statistics().entries > 0);
    m
}

#[test]
fn calls_returns_loops_and_indirect_jumps() {
    let m = both(
        |m| m.p.cpu.regs[7] = DATA,
        |a| {
            let (mut f, mut top, mut out) = (a.create_label(), a.create_label(), a.create_label());
            a.mov(ecx, 1000).unwrap();
            a.lea(r12, qword_ptr(f)).unwrap();
            a.set_label(&mut top).unwrap();
            a.call(f).unwrap();
            a.call(r12).unwrap();
            a.mov(qword_ptr(rdi + 8), r12).unwrap();
            a.call(qword_ptr(rdi + 8)).unwrap();
            a.dec(rcx).unwrap();
            a.jne(top).unwrap();
            a.lea(rax, qword_ptr(out)).unwrap();
            a.jmp(rax).unwrap();
            a.ud2().unwrap();
            a.set_label(&mut out).unwrap();
            a.hlt().unwrap();
            a.set_label(&mut f).unwrap();
            a.push(r15).unwrap();
            a.push(rcx).unwrap();
            a.add(r15, 3).unwrap();
            a.pop(rcx).unwrap();
            a.add(qword_ptr(rdi), r15).unwrap();
            a.pop(r14).unwrap();
            a.stc().unwrap();
            a.adc(rdx, r14).unwrap();
            a.ret().unwrap();
        },
    );
    assert!(m.p.jit_statistics().links > 0);
    assert!(m.p.jit_statistics().entries < 200, "it stays in translated code: {:?}", m.p.jit_statistics());
}

#[test]
fn code_that_rewrites_its_own_block_and_others() {
    both(
        |m| m.p.cpu.regs[1] = 50,
        |a| {
            let (mut top, mut patch) = (a.create_label(), a.create_label());
            a.set_label(&mut top).unwrap();
            a.lea(rsi, qword_ptr(patch)).unwrap();
            a.add(byte_ptr(rsi + 2), 1).unwrap(); // the immediate, a few instructions later
            a.set_label(&mut patch).unwrap();
            a.db(&[0x83, 0xC0, 0x01]).unwrap(); // add eax, 1
            a.push(rax).unwrap();
            a.pop(rdx).unwrap();
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
        },
    );
}

#[test]
fn code_changed_from_outside_is_seen() {
    let mut m = machine(Tier::Translator);
    let program = |v: i32| {
        move |a: &mut CodeAssembler| {
            let mut top = a.create_label();
            a.mov(ecx, 100).unwrap();
            a.set_label(&mut top).unwrap();
            a.add(eax, v).unwrap();
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
        }
    };
    for v in [1, 2, 3] {
        m.p.cpu.regs[0] = 0;
        m.code(CODE, program(v)); // as a device does: `RamBlock::write` follows the store protocol
        m.halts();
        assert_eq!(m.reg(0), 100 * v as u64);
    }
}

#[test]
fn faults_in_the_middle_leave_what_was_done_before() {
    let m = both(
        |m| {
            m.set_pte(0x4_0000, 0);
            m.p.cpu.regs[6] = 0x4_0000 - 4;
        },
        |a| {
            a.mov(eax, 7).unwrap();
            a.mov(r12, 9u64).unwrap();
            a.cmp(eax, 8).unwrap();
            a.mov(rdx, qword_ptr(rsi)).unwrap();
            a.mov(eax, 1).unwrap();
            a.setb(al).unwrap();
            a.hlt().unwrap();
        },
    );
    assert_eq!((m.reg(0), m.reg(12)), (7, 9));
}

#[test]
fn devices_are_reached_once() {
    let m = both(
        |m| m.p.cpu.regs[6] = DEVICE,
        |a| {
            a.mov(eax, dword_ptr(rsi + 4)).unwrap();
            a.mov(dword_ptr(rsi + 8), eax).unwrap();
            a.xadd(dword_ptr(rsi + 12), eax).unwrap();
            a.hlt().unwrap();
        },
    );
    assert_eq!(m.bus.device_writes.len(), 2);
    assert_eq!(m.bus.device_reads.len(), 2);
}

#[test]
fn divisions_fault_as_they_should() {
    for (low, high, divisor) in [(10, 0, 0), (10, 5, 3), (i64::MIN as u64, u64::MAX, u64::MAX), (100, 0, 7), (1, 2, 3)]
    {
        for signed in [false, true] {
            both(
                |m| (m.p.cpu.regs[0], m.p.cpu.regs[2], m.p.cpu.regs[12]) = (low, high, divisor),
                |a| {
                    if signed {
                        a.idiv(r12).unwrap()
                    } else {
                        a.div(r12).unwrap()
                    }
                    a.test(eax, eax).unwrap(); // the flags were undefined
                    a.hlt().unwrap();
                },
            );
        }
    }
}

#[test]
fn unmasked_vector_exceptions_are_raised() {
    let m = both(
        |m| m.p.cpu.fpu.mxcsr = 0x1D00, // divide by zero and invalid unmasked
        |a| {
            a.pxor(xmm1, xmm1).unwrap();
            a.mov(eax, 1).unwrap();
            a.cvtsi2sd(xmm0, eax).unwrap();
            a.divsd(xmm0, xmm1).unwrap();
            a.hlt().unwrap();
        },
    );
    assert_eq!(m.p.cpu.rip, CODE + 4 + 5 + 4);
}

#[test]
fn code_rewritten_through_another_address_of_its_page() {
    let m = both(
        |m| {
            m.set_pte(0x5_0000, CODE | machine::P | machine::W | machine::U);
            m.p.cpu.regs[1] = 40;
            m.p.cpu.regs[6] = 0x5_0000;
        },
        |a| {
            let mut top = a.create_label();
            a.set_label(&mut top).unwrap();
            a.db(&[0x83, 0xC0, 0x01]).unwrap(); // add eax, 1: at offset 0
            a.add(byte_ptr(rsi + 2), 1).unwrap();
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
        },
    );
    assert_eq!(m.reg(0), (1..=40).sum::<u64>());
}

#[test]
fn switching_address_spaces_and_dropping_pages_reaches_the_right_code() {
    // The page at 0x5_0000 is one of two by turns; the same call has to find either.
    let m = both(
        |m| {
            for (page, v) in [(0x6_0000u64, 1u8), (0x7_0000, 100)] {
                assert!(m.bus.ram.write(page, &[0x83, 0xC0, v, 0xC3])); // add eax, v; ret
            }
            m.p.cpu.regs[1] = 60;
            m.p.cpu.regs[6] = Machine::pte(0x5_0000);
            m.p.cpu.regs[12] = 0x6_0000 | machine::P;
            m.p.cpu.regs[13] = 0x7_0000 | machine::P;
            m.p.cpu.regs[7] = 0x5_0000;
        },
        |a| {
            let mut top = a.create_label();
            a.set_label(&mut top).unwrap();
            a.mov(qword_ptr(rsi), r12).unwrap();
            a.invlpg(byte_ptr(rdi)).unwrap();
            a.call(rdi).unwrap();
            a.mov(qword_ptr(rsi), r13).unwrap();
            a.mov(rdx, cr3).unwrap();
            a.mov(cr3, rdx).unwrap();
            a.call(rdi).unwrap();
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
        },
    );
    assert_eq!(m.reg(0), 60 * 101);
}

#[test]
fn locked_operations_of_two_processors_do_not_get_lost() {
    const EACH: u64 = 100_000;
    let ram = guest_memory::RamBlock::new("ram", machine::RAM).unwrap();
    Machine::on(ram.clone(), 64).map_long();
    std::thread::scope(|s| {
        for n in 0..2u64 {
            let ram = ram.clone();
            s.spawn(move || {
                let mut m = Machine::on(ram, 64);
                m.start_long();
                assert!(m.p.set_tier(Tier::Translator));
                m.code(CODE + 0x1000 * n, |a| {
                    let mut top = a.create_label();
                    a.set_label(&mut top).unwrap();
                    a.lock().inc(qword_ptr(rdi)).unwrap();
                    a.mov(eax, 1).unwrap();
                    a.lock().xadd(dword_ptr(rdi + 13), eax).unwrap(); // not aligned
                    a.dec(rcx).unwrap();
                    a.jne(top).unwrap();
                    a.hlt().unwrap();
                });
                m.p.cpu.regs[4] -= 0x1000 * n;
                m.p.cpu.regs[7] = DATA;
                m.p.cpu.regs[1] = EACH;
                m.halts();
            });
        }
    });
    let mut b = [0; 24];
    assert!(ram.read(DATA, &mut b));
    assert_eq!(u64::from_le_bytes(b[..8].try_into().unwrap()), 2 * EACH);
    assert_eq!(u32::from_le_bytes(b[13..17].try_into().unwrap()), 2 * EACH as u32);
}

#[test]
fn attention_is_seen_inside_linked_code() {
    let mut m = machine(Tier::Translator);
    m.code(CODE, |a| {
        let mut top = a.create_label();
        a.set_label(&mut top).unwrap();
        a.inc(rax).unwrap();
        a.jmp(top).unwrap();
    });
    let attention = m.p.cpu.attention.clone();
    let (started, wait) = std::sync::mpsc::channel::<()>();
    let kicker = std::thread::spawn(move || {
        wait.recv().unwrap();
        attention.fetch_or(cpu_x86::bus::Attention::LEAVE, std::sync::atomic::Ordering::SeqCst);
    });
    started.send(()).unwrap();
    assert_eq!(m.run(), Stop::Attention);
    kicker.join().unwrap();
    assert_eq!(m.p.cpu.rip, CODE);
}
