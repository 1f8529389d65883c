//! The integer instructions against the host's processor: every 64-bit form that `iced-x86` knows of the mnemonics
//! below, with random operands, registers, flags and memory; all registers, flags and the data area are compared.
//!
//! `WHPX_DIFF_SEED` and `WHPX_DIFF_CASES` vary it. Flags that the manuals leave undefined are masked by
//! [`undefined_flags`]; how often they differ from this host's is printed. Left out: 16- and 32-bit code (unit
//! tests in `src/int`), ports, and what this host lacks (printed).
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(unsafe_code)] // runs machine code

#[path = "machine/bus.rs"]
mod bus;
mod native;

use std::collections::BTreeMap;
use std::sync::Arc;

use bus::TestBus;
use cpu_x86::decode::decode;
use cpu_x86::fault::{AbortKind, Exception, vector};
use cpu_x86::features::Features;
use cpu_x86::flags::rflags::*;
use cpu_x86::model::CpuModel;
use cpu_x86::op::DecodeCx;
use cpu_x86::state::cr;
use cpu_x86::{Cpu, Mode};
use guest_memory::RamBlock;
use iced_x86::{
    Code, CpuidFeature, Encoder, Instruction, Mnemonic as M, OpCodeOperandKind as K, OpKind, Register as R,
};
use native::{DATA, DATA_LEN, End, Gprs, INSN, Native, PAD, Rng};

/// The mnemonics to test, all their forms.
const MNEMONICS: &[M] = {
    use M::*;
    &[
        Mov,
        Movzx,
        Movsx,
        Movsxd,
        Movbe,
        Movnti,
        Movdiri,
        Movdir64b,
        Lea,
        Xchg,
        Bswap,
        Push,
        Pop,
        Enter,
        Leave,
        Xlatb,
        Cbw,
        Cwde,
        Cdqe,
        Cwd,
        Cdq,
        Cqo,
        Lahf,
        Sahf,
        Clc,
        Stc,
        Cmc,
        Cld,
        Std,
        Nop,
        Add,
        Adc,
        Sub,
        Sbb,
        And,
        Or,
        Xor,
        Cmp,
        Test,
        Inc,
        Dec,
        Neg,
        Not,
        Cmpxchg,
        Cmpxchg8b,
        Cmpxchg16b,
        Xadd,
        Bt,
        Bts,
        Btr,
        Btc,
        Shl,
        Sal,
        Shr,
        Sar,
        Rol,
        Ror,
        Rcl,
        Rcr,
        Shld,
        Shrd,
        Mul,
        Imul,
        Div,
        Idiv,
        Bsf,
        Bsr,
        Lzcnt,
        Tzcnt,
        Popcnt,
        Andn,
        Bextr,
        Blsi,
        Blsmsk,
        Blsr,
        Bzhi,
        Mulx,
        Pdep,
        Pext,
        Rorx,
        Sarx,
        Shlx,
        Shrx,
        Adcx,
        Adox,
        Crc32,
        Movsb,
        Movsw,
        Movsd,
        Movsq,
        Stosb,
        Stosw,
        Stosd,
        Stosq,
        Lodsb,
        Lodsw,
        Lodsd,
        Lodsq,
        Scasb,
        Scasw,
        Scasd,
        Scasq,
        Cmpsb,
        Cmpsw,
        Cmpsd,
        Cmpsq,
        Cmovo,
        Cmovno,
        Cmovb,
        Cmovae,
        Cmove,
        Cmovne,
        Cmovbe,
        Cmova,
        Cmovs,
        Cmovns,
        Cmovp,
        Cmovnp,
        Cmovl,
        Cmovge,
        Cmovle,
        Cmovg,
        Seto,
        Setno,
        Setb,
        Setae,
        Sete,
        Setne,
        Setbe,
        Seta,
        Sets,
        Setns,
        Setp,
        Setnp,
        Setl,
        Setge,
        Setle,
        Setg,
        Jo,
        Jno,
        Jb,
        Jae,
        Je,
        Jne,
        Jbe,
        Ja,
        Js,
        Jns,
        Jp,
        Jnp,
        Jl,
        Jge,
        Jle,
        Jg,
        Jmp,
        Call,
        Ret,
        Loop,
        Loope,
        Loopne,
        Jecxz,
        Jrcxz,
        Endbr64,
        Endbr32,
        Prefetchnta,
        Prefetcht0,
        Prefetchw,
    ]
};

/// Flags the manuals leave undefined (Intel SDM volume 1, appendix A; volume 2). `count` is the masked shift count.
fn undefined_flags(i: &Instruction, bits: u32, count: u32) -> u64 {
    match i.mnemonic() {
        M::And | M::Or | M::Xor | M::Test => AF,
        M::Andn | M::Blsi | M::Blsmsk | M::Blsr | M::Bzhi => AF | PF,
        M::Bextr => AF | SF | PF,
        M::Mul | M::Imul => SF | ZF | AF | PF,
        M::Div | M::Idiv => CF | OF | SF | ZF | AF | PF,
        M::Bt | M::Bts | M::Btr | M::Btc => OF | SF | AF | PF,
        M::Bsf | M::Bsr => CF | OF | SF | AF | PF,
        M::Lzcnt | M::Tzcnt => OF | SF | AF | PF,
        M::Shl | M::Sal | M::Shr | M::Sar | M::Shld | M::Shrd if count != 0 => {
            let sal_cf = if i.mnemonic() != M::Sar && count >= bits { CF } else { 0 };
            AF | sal_cf | if count > 1 { OF } else { 0 }
        }
        M::Rol | M::Ror | M::Rcl | M::Rcr if count > 1 => OF,
        _ => 0,
    }
}

/// Whether the host has a feature; features not listed count as missing.
fn host_has(f: CpuidFeature) -> bool {
    use CpuidFeature as F;
    match f {
        F::BMI1 => is_x86_feature_detected!("bmi1"),
        F::BMI2 => is_x86_feature_detected!("bmi2"),
        F::LZCNT => is_x86_feature_detected!("lzcnt"),
        F::POPCNT => is_x86_feature_detected!("popcnt"),
        F::ADX => is_x86_feature_detected!("adx"),
        F::MOVBE => is_x86_feature_detected!("movbe"),
        F::SSE4_2 => is_x86_feature_detected!("sse4.2"),
        F::CMPXCHG16B => is_x86_feature_detected!("cmpxchg16b"),
        F::MOVDIRI | F::MOVDIR64B => false, // no detection in std; unit-tested
        F::INTEL8086
        | F::INTEL186
        | F::INTEL286
        | F::INTEL386
        | F::INTEL486
        | F::X64
        | F::CMOV
        | F::CX8
        | F::SSE
        | F::SSE2
        | F::MULTIBYTENOP
        | F::PREFETCHW
        | F::CET_IBT => true,
        _ => false,
    }
}

/// Guest-physical address of the page tables.
const TABLES: u64 = 0x1000;

/// Only the data area exists, and the page tables that map nothing else.
fn data_bus() -> TestBus {
    let tables = RamBlock::new("tables", 0x4000).expect("host memory");
    for (level, shift) in [39, 30, 21].into_iter().enumerate() {
        let at = level as u64 * 0x1000 + 8 * (DATA >> shift & 511);
        tables.write(at, &(TABLES + (level as u64 + 1) * 0x1000 + 7).to_le_bytes());
    }
    for page in (DATA..DATA + DATA_LEN as u64).step_by(0x1000) {
        tables.write(0x3000 + 8 * (page >> 12 & 511), &(page | 7).to_le_bytes());
    }
    let mut bus = TestBus::only(DATA, DATA_LEN as u64);
    bus.others.push((TABLES, tables));
    bus
}

const RSP: usize = 4;
const RBP: usize = 5;

/// An instruction with what its registers must hold for its memory operand to be in the data area.
struct Form {
    i: Instruction,
    bytes: Vec<u8>,
    /// Where the memory operand is.
    target: u64,
    /// 32-bit addresses.
    addr32: bool,
}

fn reg(rng: &mut Rng, base: R) -> R {
    let n = rng.below(16) as u32;
    R::try_from(base as usize + n as usize).unwrap_or(base)
}
fn reg8(rng: &mut Rng) -> R {
    R::try_from(R::AL as usize + rng.below(20) as usize).unwrap_or(R::AL)
}

fn memory(rng: &mut Rng, i: &mut Instruction, addr32: bool, target: u64) {
    let bank = if addr32 { R::EAX } else { R::RAX };
    i.set_memory_index_scale(1 << rng.below(4));
    let disp = match rng.below(3) {
        0 => 0,
        1 => rng.next() as i8 as i64 as u64,
        _ => rng.next() as i32 as i64 as u64,
    };
    let disp = if addr32 { disp & 0xFFFF_FFFF } else { disp };
    i.set_memory_displacement64(disp);
    i.set_memory_displ_size(if addr32 { 4 } else { 8 });
    match rng.below(8) {
        0 => {
            i.set_memory_base(if addr32 { R::EIP } else { R::RIP });
            i.set_memory_displacement64(target);
            i.set_memory_index_scale(1);
        }
        1 => {
            i.set_memory_displacement64(target);
            i.set_memory_index_scale(1);
        }
        2 | 3 => {
            i.set_memory_base(reg(rng, bank));
            i.set_memory_index_scale(1);
        }
        4 => {
            i.set_memory_index(reg(rng, bank));
            i.set_memory_displacement64(target & !0x7F); // the index is solved for below
        }
        _ => {
            i.set_memory_base(reg(rng, bank));
            i.set_memory_index(reg(rng, bank));
        }
    }
}

/// A random instance of `code`; `None` when an operand kind is not covered or the encoder refuses it.
fn generate(rng: &mut Rng, code: Code) -> Result<Option<Form>, K> {
    let info = code.op_code();
    let mut i = Instruction::new();
    i.set_code(code);
    let addr32 = rng.one_in(6);
    let align = [1, 1, 8, 64][rng.below(4) as usize];
    let align = if info.mnemonic() == M::Cmpxchg16b && !rng.one_in(4) { 16 } else { align };
    let target = (DATA + 0x800 + rng.below(0x400)) & !(align - 1);
    for n in 0..info.op_count() {
        let set_reg = |i: &mut Instruction, r: R| {
            i.set_op_kind(n, OpKind::Register);
            i.set_op_register(n, r);
        };
        let set_imm = |i: &mut Instruction, kind: OpKind, v: u64| {
            i.set_op_kind(n, kind);
            i.set_immediate_u64(n, v);
        };
        let rm = rng.one_in(2);
        match info.op_kind(n) {
            K::r8_reg | K::r8_opcode => set_reg(&mut i, reg8(rng)),
            K::r16_reg | K::r16_rm | K::r16_opcode => set_reg(&mut i, reg(rng, R::AX)),
            K::r32_reg | K::r32_rm | K::r32_opcode | K::r32_vvvv => set_reg(&mut i, reg(rng, R::EAX)),
            K::r64_reg | K::r64_rm | K::r64_opcode | K::r64_vvvv => set_reg(&mut i, reg(rng, R::RAX)),
            K::r64_reg_mem => set_reg(&mut i, reg(rng, R::RAX)),
            K::r8_or_mem if rm => set_reg(&mut i, reg8(rng)),
            K::r16_or_mem if rm => set_reg(&mut i, reg(rng, R::AX)),
            K::r32_or_mem if rm => set_reg(&mut i, reg(rng, R::EAX)),
            K::r64_or_mem if rm => set_reg(&mut i, reg(rng, R::RAX)),
            K::r8_or_mem | K::r16_or_mem | K::r32_or_mem | K::r64_or_mem | K::mem => {
                i.set_op_kind(n, OpKind::Memory);
                memory(rng, &mut i, addr32, target);
            }
            K::mem_offs => {
                i.set_op_kind(n, OpKind::Memory);
                i.set_memory_displacement64(target);
                i.set_memory_displ_size(if addr32 { 4 } else { 8 });
            }
            K::al => set_reg(&mut i, R::AL),
            K::cl => set_reg(&mut i, R::CL),
            K::ax => set_reg(&mut i, R::AX),
            K::eax => set_reg(&mut i, R::EAX),
            K::rax => set_reg(&mut i, R::RAX),
            K::imm8_const_1 => set_imm(&mut i, OpKind::Immediate8, 1),
            K::imm8 if n == 1 && info.mnemonic() == M::Enter => {
                i.set_op_kind(n, OpKind::Immediate8_2nd);
                i.set_immediate8_2nd(rng.next() as u8);
            }
            K::imm8 => set_imm(&mut i, OpKind::Immediate8, rng.next() & 0xFF),
            K::imm8sex16 => set_imm(&mut i, OpKind::Immediate8to16, rng.next() as i8 as u64),
            K::imm8sex32 => set_imm(&mut i, OpKind::Immediate8to32, rng.next() as i8 as u64),
            K::imm8sex64 => set_imm(&mut i, OpKind::Immediate8to64, rng.next() as i8 as u64),
            K::imm16 if info.mnemonic() == M::Enter => set_imm(&mut i, OpKind::Immediate16, rng.below(0x400)),
            K::imm16 => set_imm(&mut i, OpKind::Immediate16, rng.interesting() & 0xFFFF),
            K::imm32 => set_imm(&mut i, OpKind::Immediate32, rng.interesting() & 0xFFFF_FFFF),
            K::imm32sex64 => set_imm(&mut i, OpKind::Immediate32to64, rng.interesting() as i32 as u64),
            K::imm64 => set_imm(&mut i, OpKind::Immediate64, rng.interesting()),
            K::seg_rSI => {
                i.set_op_kind(n, if addr32 { OpKind::MemorySegESI } else { OpKind::MemorySegRSI });
            }
            K::es_rDI => i.set_op_kind(n, if addr32 { OpKind::MemoryESEDI } else { OpKind::MemoryESRDI }),
            K::seg_rBX_al => {
                i.set_op_kind(n, OpKind::Memory);
                i.set_memory_base(if addr32 { R::EBX } else { R::RBX });
                i.set_memory_index(R::AL);
            }
            K::br64_1 | K::br64_4 => {
                i.set_op_kind(n, OpKind::NearBranch64);
                i.set_near_branch64(PAD);
            }
            other => return Err(other),
        }
    }
    let has_mem = (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory);
    if has_mem && i.op_kind(0) == OpKind::Memory && info.can_use_lock_prefix() {
        i.set_has_lock_prefix(rng.one_in(4));
    }
    let string = matches!(
        code.mnemonic(),
        M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq | M::Scasb | M::Scasw | M::Scasd | M::Scasq
    );
    if info.can_use_rep_prefix() && !matches!(code.mnemonic(), M::Ret | M::Call | M::Jmp) {
        match rng.below(3) {
            0 => i.set_has_rep_prefix(true),
            1 if string => i.set_has_repne_prefix(true),
            _ => {}
        }
    }
    let mut encoder = Encoder::new(64);
    if encoder.encode(&i, INSN).is_err() {
        return Ok(None);
    }
    Ok(Some(Form { i, bytes: encoder.take_buffer(), target, addr32 }))
}

/// Random registers that suit `form`; `None` when they cannot.
fn registers(rng: &mut Rng, form: &Form) -> Option<Gprs> {
    let mut g = Gprs::default();
    for r in &mut g.regs {
        *r = rng.interesting();
    }
    g.rflags = (rng.next() & (ARITH | DF)) | ONE;
    g.regs[RSP] = DATA + 0x1000 + rng.below(0x200);
    let i = &form.i;
    let m = i.mnemonic();
    let at = |rng: &mut Rng| {
        let v = DATA + 0x800 + rng.below(0x100);
        if form.addr32 { v | rng.next() << 32 } else { v }
    };
    let strings = i
        .op_kinds()
        .any(|k| matches!(k, OpKind::MemorySegRSI | OpKind::MemorySegESI | OpKind::MemoryESRDI | OpKind::MemoryESEDI));
    if strings {
        (g.regs[6], g.regs[7]) = (at(rng), at(rng));
        if rng.one_in(3) {
            g.regs[7] = g.regs[6].wrapping_add(rng.below(17)).wrapping_sub(8); // overlapping
        }
        g.regs[1] = rng.below(20) | if form.addr32 { rng.next() << 32 } else { 0 };
        if form.addr32 && g.regs[1] as u32 == 0 {
            g.regs[1] = 1; // processors differ in whether RCX's upper half survives no iteration
        }
        return Some(g);
    }
    match m {
        M::Leave | M::Enter => g.regs[RBP] = DATA + 0x1400 + rng.below(0x100),
        M::Loop | M::Loope | M::Loopne | M::Jecxz | M::Jrcxz => {
            g.regs[1] = rng.below(3) | if rng.one_in(2) { rng.next() << 32 } else { 0 };
        }
        M::Xlatb => g.regs[3] = at(rng),
        M::Div | M::Idiv if !rng.one_in(4) => {
            // A high half that makes most quotients fit.
            let hi = if m == M::Idiv && (g.regs[0] as i64) < 0 { u64::MAX } else { rng.below(3) };
            g.regs[2] = hi;
            if i.op_kind(0) == OpKind::Register && i.op0_register().size() == 1 {
                g.regs[0] = if m == M::Idiv { g.regs[0] as i8 as u64 } else { g.regs[0] & 0x3FF };
            }
        }
        M::Jmp | M::Call if i.op_kind(0) == OpKind::Register => {
            g.regs[i.op0_register().full_register().number()] = PAD;
        }
        _ => {}
    }
    if !(0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory) || m == M::Xlatb {
        return Some(g);
    }
    place_memory(rng, form, &mut g)?;
    Some(g)
}

/// Solves the base or index register for the memory operand's address.
fn place_memory(rng: &mut Rng, form: &Form, g: &mut Gprs) -> Option<()> {
    let i = &form.i;
    let number = |r: R| r.full_register().number();
    let (base, index) = (i.memory_base(), i.memory_index());
    let bit_string = matches!(i.mnemonic(), M::Bt | M::Bts | M::Btr | M::Btc) && i.op_kind(1) == OpKind::Register;
    if bit_string {
        let src = i.op1_register();
        if base.is_gpr() && number(base) == number(src) || index.is_gpr() && number(index) == number(src) {
            return None;
        }
        let v = rng.below(4000).wrapping_sub(2000);
        let r = &mut g.regs[number(src)];
        *r = match src.size() {
            2 => *r & !0xFFFF | v & 0xFFFF,
            4 => *r & !0xFFFF_FFFF | v & 0xFFFF_FFFF,
            _ => v,
        };
    }
    let keep = if form.addr32 { 0xFFFF_FFFFu64 << 32 } else { 0 };
    let disp = i.memory_displacement64();
    let scale = i.memory_index_scale();
    if matches!(base, R::RIP | R::EIP) {
        return Some(());
    }
    if base.is_gpr() && index.is_gpr() {
        if number(base) == number(index) {
            return None;
        }
        let offset = g.regs[number(index)].wrapping_mul(u64::from(scale));
        let v = form.target.wrapping_sub(disp).wrapping_sub(offset);
        let r = &mut g.regs[number(base)];
        *r = *r & keep | v & !keep;
    } else if base.is_gpr() {
        let r = &mut g.regs[number(base)];
        *r = *r & keep | form.target.wrapping_sub(disp) & !keep;
    } else if index.is_gpr() {
        let r = &mut g.regs[number(index)];
        *r = *r & keep | rng.below(16) & !keep;
    }
    Some(())
}

struct Bench {
    native: Native,
    cpu: Cpu,
    bus: TestBus,
    rng: Rng,
    failures: Vec<String>,
    /// Mnemonic: cases, then how often each undefined flag differed.
    undefined: BTreeMap<String, (u32, [u32; 6])>,
    run: u64,
    outside: u64,
}

const FLAG_NAMES: [(u64, &str); 6] = [(CF, "CF"), (PF, "PF"), (AF, "AF"), (ZF, "ZF"), (SF, "SF"), (OF, "OF")];

impl Bench {
    fn new(seed: u64) -> Self {
        let mut native = Native::lock();
        let mut rng = Rng::from_env(seed);
        let bus = data_bus();
        for b in native.data().chunks_mut(8) {
            b.copy_from_slice(&rng.next().to_le_bytes());
        }
        bus.ram.write(0, native.data());
        let mut cpu = Cpu::new(Arc::new(CpuModel::default()));
        cpu.mode = Mode(Mode::CODE64 | Mode::LONG | Mode::PROTECTED);
        (cpu.cr0, cpu.cr3, cpu.cr4) = (cr::CR0_PG | cr::CR0_PE, TABLES, cr::CR4_PAE);
        cpu.msr.efer = cr::EFER_LME | cr::EFER_LMA;
        cpu.flush_tlb(true);
        Self { native, cpu, bus, rng, failures: Vec::new(), undefined: BTreeMap::new(), run: 0, outside: 0 }
    }

    /// New random bytes around what the form accesses, the same on both sides.
    fn fill(&mut self, form: &Form, g: &Gprs) {
        let m = form.i.mnemonic();
        let around = [form.target, g.regs[RSP], g.regs[6] & 0xFFFF_FFFF, g.regs[7] & 0xFFFF_FFFF];
        let around = around[self.rng.below(4) as usize];
        if (DATA + 64..DATA + DATA_LEN as u64 - 64).contains(&around) {
            let from = (around - DATA - 32) as usize;
            let repeated = self.rng.one_in(3).then(|| self.rng.interesting());
            for b in self.native.data()[from..from + 64].chunks_mut(8) {
                b.copy_from_slice(&repeated.unwrap_or(0).to_le_bytes());
            }
            if repeated.is_none() {
                for at in (from..from + 64).step_by(8) {
                    let v = self.rng.interesting().to_le_bytes();
                    self.native.data()[at..at + 8].copy_from_slice(&v);
                }
            }
        }
        let mut put = |at: u64, v: &[u8]| {
            if let Some(o) = at.checked_sub(DATA).filter(|o| o + v.len() as u64 <= DATA_LEN as u64) {
                self.native.data()[o as usize..o as usize + v.len()].copy_from_slice(v);
            }
        };
        match m {
            M::Jmp | M::Call => put(form.target, &PAD.to_le_bytes()),
            M::Ret => put(g.regs[RSP], &PAD.to_le_bytes()),
            M::Cmpxchg if self.rng.one_in(2) => put(form.target, &g.regs[0].to_le_bytes()),
            M::Cmpxchg8b | M::Cmpxchg16b if self.rng.one_in(2) => {
                let half = if m == M::Cmpxchg8b { 4 } else { 8 };
                put(form.target, &g.regs[0].to_le_bytes()[..half]);
                put(form.target + half as u64, &g.regs[2].to_le_bytes()[..half]);
            }
            _ => {}
        }
        let data = self.native.data().to_vec();
        self.bus.ram.write(0, &data);
    }

    /// Runs the form in our core.
    fn ours(&mut self, bytes: &[u8], g: &mut Gprs) -> End {
        let cpu = &mut self.cpu;
        cpu.regs[..16].copy_from_slice(&g.regs);
        cpu.set_rflags(g.rflags);
        cpu.rip = INSN;
        cpu.begin_block();
        cpu.next = None;
        cpu.stop_block = false;
        let cx = DecodeCx { mode: cpu.mode, rip: INSN, features: Features::ALL };
        let (op, _) = decode(bytes, &cx, 0).expect("whole instruction");
        let end = loop {
            cpu.abort = AbortKind::None;
            match (op.handler)(cpu, &mut self.bus, &op) {
                Ok(()) => {
                    break match cpu.next.take() {
                        None => End::Next,
                        Some(PAD) => End::Branched,
                        Some(_) => End::Signal(0), // would leave the trampoline
                    };
                }
                Err(_) => match cpu.abort {
                    AbortKind::Retry => {}
                    AbortKind::Exception(Exception { vector: vector::DE, .. }) => break End::Signal(libc::SIGFPE),
                    AbortKind::Exception(Exception { vector: vector::UD, .. }) => break End::Signal(libc::SIGILL),
                    AbortKind::Exception(Exception { vector: vector::PF, .. }) => break End::Signal(0), // outside
                    AbortKind::Exception(Exception { vector: vector::SS, .. }) => break End::Signal(libc::SIGBUS),
                    AbortKind::Exception(_) => break End::Signal(libc::SIGSEGV),
                    _ => break End::Signal(0), // outside the data area
                },
            }
        };
        g.regs.copy_from_slice(&cpu.regs[..16]);
        g.rflags = cpu.rflags();
        end
    }

    fn case(&mut self, form: &Form) {
        let Some(before) = registers(&mut self.rng, form) else { return };
        self.fill(form, &before);
        let (mut ours, mut theirs) = (before, before);
        let our_end = self.ours(&form.bytes, &mut ours);
        if our_end == End::Signal(0) {
            self.outside += 1;
            let data = self.native.data().to_vec();
            self.bus.ram.write(0, &data); // a partial store
            return;
        }
        self.run += 1;
        let their_end = self.native.run(&mut theirs);
        let i = &form.i;
        let bits = 8 * match i.op_kind(0) {
            OpKind::Register => i.op0_register().size(),
            _ => i.memory_size().size(),
        } as u32;
        let count = shift_count(i, &before, bits);
        if matches!(i.mnemonic(), M::Shld | M::Shrd) && count > bits {
            self.resync(); // the result itself is undefined
            return;
        }
        let undefined = undefined_flags(i, bits, count);
        let wrong = (ours.rflags ^ theirs.rflags) & (ARITH | DF);
        if undefined != 0 && !matches!(their_end, End::Signal(_)) {
            let entry = self.undefined.entry(format!("{:?}", i.mnemonic())).or_default();
            entry.0 += 1;
            for (n, (flag, _)) in FLAG_NAMES.iter().enumerate() {
                entry.1[n] += u32::from(wrong & undefined & flag != 0);
            }
        }
        let mut data = vec![0; DATA_LEN];
        self.bus.ram.read(0, &mut data);
        let memory_differs = data != self.native.data();
        if ours.regs != theirs.regs || our_end != their_end || wrong & !undefined != 0 || memory_differs {
            self.report(form, &before, (&ours, our_end), (&theirs, their_end), wrong & !undefined, &data);
            self.resync();
        }
    }

    /// Makes our memory the host's.
    fn resync(&mut self) {
        let data = self.native.data().to_vec();
        self.bus.ram.write(0, &data);
    }

    fn report(
        &mut self,
        form: &Form,
        before: &Gprs,
        ours: (&Gprs, End),
        theirs: (&Gprs, End),
        flags: u64,
        data: &[u8],
    ) {
        let mut s = format!("{:?} {:02x?}: ours {:?}, host {:?}", form.i.code(), form.bytes, ours.1, theirs.1);
        for n in 0..16 {
            if ours.0.regs[n] != theirs.0.regs[n] || before.regs[n] != theirs.0.regs[n] {
                s += &format!(" r{n}:{:#x}->{:#x}/{:#x}", before.regs[n], ours.0.regs[n], theirs.0.regs[n]);
            }
        }
        s += &format!(" target={:#x} rcx={:#x} flags before {:#x}", form.target, before.regs[1], before.rflags);
        for (flag, name) in FLAG_NAMES {
            if flags & flag != 0 {
                s += &format!(" {name} host={}", u8::from(theirs.0.rflags & flag != 0));
            }
        }
        for (n, (a, b)) in data.iter().zip(self.native.data().iter()).enumerate().filter(|(_, (a, b))| a != b).take(8) {
            s += &format!(" [{:#x}] {a:#x}/{b:#x}", DATA + n as u64);
        }
        self.failures.push(s);
    }
}

/// The masked count of a shift or rotate, else 0.
fn shift_count(i: &Instruction, before: &Gprs, bits: u32) -> u32 {
    let last = i.op_count().saturating_sub(1);
    let count = match i.op_kind(last) {
        OpKind::Immediate8 => u32::from(i.immediate8()),
        OpKind::Register if i.op_register(last) == R::CL => before.regs[1] as u32,
        _ => 0,
    };
    count & if bits == 64 { 63 } else { 31 }
}

fn selected(code: Code) -> bool {
    let info = code.op_code();
    info.is_instruction()
        && info.mode64()
        && info.intel_decoder64()
        && MNEMONICS.contains(&code.mnemonic())
        && !matches!(code, Code::Bswap_r16) // undefined
        && !code.is_jmp_far_indirect() // not of this family
        && !code.is_call_far_indirect()
}

#[test]
fn integer_instructions_do_as_the_host_does() {
    let mut bench = Bench::new(0x1234_5678);
    let cases = native::cases(1000);
    let (mut forms, mut not_covered, mut missing) = (0, Vec::new(), Vec::new());
    'codes: for code in Code::values().filter(|c| selected(*c)) {
        if let Some(f) = code.cpuid_features().iter().find(|f| !host_has(**f)) {
            missing.push(format!("{code:?} ({f:?})"));
            continue;
        }
        let (from, mut tried) = (bench.run, 0);
        while bench.run - from < u64::from(cases) && tried < 20 * cases {
            tried += 1;
            let form = match generate(&mut bench.rng, code) {
                Ok(Some(form)) => form,
                Ok(None) => continue,
                Err(kind) => {
                    not_covered.push(format!("{code:?} ({kind:?})"));
                    continue 'codes;
                }
            };
            bench.native.load(&form.bytes);
            let failed = bench.failures.len();
            for _ in 0..8 {
                bench.case(&form);
            }
            if bench.failures.len() > failed + 1 {
                bench.failures.truncate(failed + 2);
                break; // enough of this one
            }
        }
        if bench.run - from < u64::from(cases) / 2 && bench.failures.is_empty() {
            bench.failures.push(format!("{code:?}: only {} cases could be made", bench.run - from));
        }
        forms += 1;
    }
    println!("{forms} forms, {} cases, {} outside the data area", bench.run, bench.outside);
    println!("not covered: {}", not_covered.join(", "));
    println!("this host lacks: {}", missing.join(", "));
    println!("undefined flags that differ from this host's:");
    for (mnemonic, (n, differ)) in &bench.undefined {
        let list = FLAG_NAMES.iter().zip(differ).filter(|(_, d)| **d != 0).map(|((_, name), d)| format!(" {name} {d}"));
        let list: String = list.collect();
        if !list.is_empty() {
            println!("  {mnemonic} ({n}):{list}");
        }
    }
    let failed = bench.failures.len();
    let shown = bench.failures.iter().take(60).cloned().collect::<Vec<_>>().join("\n");
    assert_eq!(failed, 0, "{failed} differences:\n{shown}");
}
