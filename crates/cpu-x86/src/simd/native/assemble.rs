//! Making a stub: which registers an instruction uses, and the code around it.

use std::mem::offset_of;

use iced_x86::{
    Code, Encoder, EncodingKind, Instruction, InstructionInfoFactory, MemoryOperand, OpAccess, OpKind, Register,
};

use super::features;
use crate::fpu::{Fpu, UnitIo};
use crate::op::gpr;
use crate::simd::shape::{Shape, shape};
use crate::simd::unit::{Kind, reads_flags, writes_flags};

const IO: i64 = offset_of!(Fpu, io) as i64;
const RUN: i64 = IO + offset_of!(UnitIo, run) as i64;
const OUT: i64 = IO + offset_of!(UnitIo, out) as i64;
const UNMASKED: i64 = IO + offset_of!(UnitIo, unmasked) as i64;
const HOST_MXCSR: i64 = IO + offset_of!(UnitIo, host_mxcsr) as i64;
const FLAGS: i64 = IO + offset_of!(UnitIo, flags) as i64;
const HOST_FCW: i64 = IO + offset_of!(UnitIo, host_fcw) as i64;
const RESULT: i64 = IO + offset_of!(UnitIo, result) as i64;
const IMAGE: i64 = offset_of!(Fpu, fcw) as i64;
const K: i64 = offset_of!(Fpu, k) as i64;
const ST: i64 = offset_of!(Fpu, st) as i64;
const _: () = assert!(offset_of!(Fpu, zmm) == 0 && IMAGE % 64 == 0);
const _: () = assert!(offset_of!(Fpu, st) - offset_of!(Fpu, fcw) == 32);
const _: () = assert!(offset_of!(Fpu, mxcsr) - offset_of!(Fpu, fcw) == 24);
const _: () = assert!(offset_of!(Fpu, image_header) - offset_of!(Fpu, fcw) == 512);

/// The instruction without what the stub is not made for: address and prefixes. Non-temporal moves become ordinary
/// ones, since their operand is in the buffer.
pub(super) fn normalize(i: &Instruction) -> Instruction {
    let mut n = *i;
    n.set_ip(0);
    n.set_segment_prefix(Register::None);
    n.set_has_rep_prefix(false);
    n.set_has_repne_prefix(false);
    n.set_has_lock_prefix(false);
    n.set_code(temporal(i.code()));
    if (0..n.op_count()).any(|o| n.op_kind(o) == OpKind::Memory) {
        n.set_memory_base(Register::RSI);
        n.set_memory_index(Register::None);
        n.set_memory_index_scale(1);
        n.set_memory_displ_size(0);
        n.set_memory_displacement64(0);
    }
    n
}

/// The ordinary move that does what a non-temporal one does.
fn temporal(code: Code) -> Code {
    match code {
        Code::Movntps_m128_xmm | Code::Movntpd_m128_xmm => Code::Movaps_xmmm128_xmm,
        Code::Movntdq_m128_xmm => Code::Movdqa_xmmm128_xmm,
        Code::Movntq_m64_mm => Code::Movq_mmm64_mm,
        Code::Movntss_m32_xmm => Code::Movss_xmmm32_xmm,
        Code::Movntsd_m64_xmm => Code::Movsd_xmmm64_xmm,
        Code::VEX_Vmovntps_m128_xmm | Code::VEX_Vmovntpd_m128_xmm | Code::VEX_Vmovntdq_m128_xmm => {
            Code::VEX_Vmovaps_xmmm128_xmm
        }
        Code::VEX_Vmovntps_m256_ymm | Code::VEX_Vmovntpd_m256_ymm | Code::VEX_Vmovntdq_m256_ymm => {
            Code::VEX_Vmovaps_ymmm256_ymm
        }
        other => other,
    }
}

struct Assembler {
    encoder: Encoder,
    ok: bool,
}

impl Assembler {
    fn new() -> Self {
        Self { encoder: Encoder::new(64), ok: true }
    }
    fn put(&mut self, i: &Instruction) {
        self.ok &= self.encoder.encode(i, 0).is_ok();
    }
    fn load(&mut self, code: Code, r: Register, base: Register, at: i64) {
        match Instruction::with2(code, r, MemoryOperand::with_base_displ(base, at)) {
            Ok(i) => self.put(&i),
            Err(_) => self.ok = false,
        }
    }
    fn store(&mut self, code: Code, base: Register, at: i64, r: Register) {
        match Instruction::with2(code, MemoryOperand::with_base_displ(base, at), r) {
            Ok(i) => self.put(&i),
            Err(_) => self.ok = false,
        }
    }
    fn memory(&mut self, code: Code, at: i64) {
        match Instruction::with1(code, MemoryOperand::with_base_displ(Register::RDI, at)) {
            Ok(i) => self.put(&i),
            Err(_) => self.ok = false,
        }
    }
    fn bare(&mut self, code: Code) {
        self.put(&Instruction::with(code));
    }
    fn bytes(&mut self, b: &[u8]) {
        b.iter().for_each(|b| self.encoder.write_u8(*b));
    }
    fn finish(mut self) -> Option<Vec<u8>> {
        self.ok.then(|| self.encoder.take_buffer())
    }
}

/// Where in the register file a general register of the rewritten instruction belongs.
#[derive(Clone, Copy)]
struct General {
    host: Register,
    guest: u8,
}

/// Gives the explicit general-register operands the names R9, R10, R11, which collide with nothing.
fn rename(i: &mut Instruction) -> Option<Vec<General>> {
    const POOL: [[Register; 4]; 3] = [
        [Register::R9L, Register::R9W, Register::R9D, Register::R9],
        [Register::R10L, Register::R10W, Register::R10D, Register::R10],
        [Register::R11L, Register::R11W, Register::R11D, Register::R11],
    ];
    let mut all: Vec<General> = Vec::new();
    for n in 0..i.op_count() {
        let r = i.op_register(n);
        if i.op_kind(n) == OpKind::Register && r.is_gpr() {
            let guest = gpr(r);
            if guest > 15 {
                return None; // AH, CH, DH, BH: no SIMD instruction has them
            }
            let names = match all.iter().position(|g| g.guest == guest) {
                Some(at) => POOL.get(at)?,
                None => {
                    all.push(General { host: POOL.get(all.len())?[3], guest });
                    POOL.get(all.len() - 1)?
                }
            };
            i.set_op_register(n, names[r.size().trailing_zeros() as usize & 3]);
        }
    }
    Some(all)
}

#[derive(Default)]
struct Uses {
    vectors: Vec<(usize, bool)>,
    masks: Vec<(usize, bool)>,
    mmx: Vec<(usize, bool)>,
    generals: Vec<(General, bool)>,
}

/// Registers used, each with whether it is written.
fn uses(i: &Instruction, renamed: &[General]) -> Uses {
    let mut u = Uses::default();
    let mut info = InstructionInfoFactory::new();
    let note = |list: &mut Vec<(usize, bool)>, n: usize, written: bool| match list.iter_mut().find(|x| x.0 == n) {
        Some(x) => x.1 |= written,
        None => list.push((n, written)),
    };
    for used in info.info(i).used_registers() {
        let r = used.register();
        let written = !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
        if r.is_vector_register() {
            note(&mut u.vectors, r.number(), written);
        } else if r.is_k() {
            note(&mut u.masks, r.number(), written);
        } else if r.is_mm() {
            note(&mut u.mmx, r.number(), written);
        } else if r.is_gpr() && !matches!(r.full_register(), Register::RSI | Register::RSP) {
            let host = r.full_register();
            let guest = renamed.iter().find(|g| g.host == host).map_or(gpr(host), |g| g.guest);
            match u.generals.iter_mut().find(|g| g.0.guest == guest) {
                Some(g) => g.1 |= written,
                None => u.generals.push((General { host, guest }, written)),
            }
        }
    }
    u
}

/// How vector registers move: code to load, code to store, and the register's name for each.
struct VectorMoves {
    load: Code,
    load_base: Register,
    store: Code,
    store_base: Register,
}

fn vector_moves(encoding: EncodingKind) -> VectorMoves {
    let wide = features::has(iced_x86::CpuidFeature::AVX512F);
    match (encoding, wide) {
        (EncodingKind::Legacy, _) => VectorMoves {
            load: Code::Movaps_xmm_xmmm128,
            load_base: Register::XMM0,
            store: Code::Movaps_xmmm128_xmm,
            store_base: Register::XMM0,
        },
        (EncodingKind::EVEX, _) => VectorMoves {
            load: Code::EVEX_Vmovaps_zmm_k1z_zmmm512,
            load_base: Register::ZMM0,
            store: Code::EVEX_Vmovaps_zmmm512_k1z_zmm,
            store_base: Register::ZMM0,
        },
        // What VEX writes is zero above: with ZMM registers that has to reach their upper halves.
        (_, true) => VectorMoves {
            load: Code::VEX_Vmovaps_ymm_ymmm256,
            load_base: Register::YMM0,
            store: Code::EVEX_Vmovaps_zmmm512_k1z_zmm,
            store_base: Register::ZMM0,
        },
        (_, false) => VectorMoves {
            load: Code::VEX_Vmovaps_ymm_ymmm256,
            load_base: Register::YMM0,
            store: Code::VEX_Vmovaps_ymmm256_ymm,
            store_base: Register::YMM0,
        },
    }
}

/// The code of the stub of a normalized instruction.
pub(super) fn stub(i: &Instruction, kind: Kind) -> Option<Vec<u8>> {
    match kind {
        Kind::X87 => x87(i),
        Kind::X87Light => x87_light(i, shape(i)?),
        Kind::Plain => vector(i, false),
        Kind::Float => vector(i, true),
    }
}

fn vector(i: &Instruction, float: bool) -> Option<Vec<u8>> {
    let mut i = *i;
    let renamed = rename(&mut i)?;
    let u = uses(&i, &renamed);
    let moves = vector_moves(i.encoding());
    let flags = writes_flags(&i);
    let mut a = Assembler::new();
    if !u.generals.is_empty() {
        a.bytes(&[0x49, 0x89, 0xD0]); // mov r8, rdx
    }
    for &(n, _) in &u.vectors {
        a.load(moves.load, moves.load_base + n as u32, Register::RDI, 64 * n as i64);
    }
    for &(n, _) in &u.masks {
        a.load(Code::VEX_Kmovq_kr_km64, Register::K0 + n as u32, Register::RDI, K + 8 * n as i64);
    }
    for &(n, _) in &u.mmx {
        a.load(Code::Movq_mm_mmm64, Register::MM0 + n as u32, Register::RDI, ST + 16 * n as i64);
    }
    for &(g, _) in &u.generals {
        a.load(Code::Mov_r64_rm64, g.host, Register::R8, 8 * i64::from(g.guest));
    }
    if float {
        a.memory(Code::Ldmxcsr_m32, RUN);
    }
    a.put(&i);
    if flags {
        a.bare(Code::Pushfq);
        a.memory(Code::Pop_rm64, FLAGS);
    }
    let results = results(&u, &moves)?;
    if float {
        a.memory(Code::Stmxcsr_m32, OUT);
        a.load(Code::Mov_r32_rm32, Register::EAX, Register::RDI, OUT);
        a.bytes(&[0x83, 0xE0, 0x3F]); // and eax, 3Fh
        a.store(Code::Test_rm32_r32, Register::RDI, UNMASKED, Register::EAX);
        a.bytes(&[0x0F, 0x85]); // jnz after the results
        a.bytes(&(results.len() as u32).to_le_bytes());
    }
    a.bytes(&results);
    if !u.mmx.is_empty() {
        a.bare(Code::Emms);
    }
    if i.encoding() != EncodingKind::Legacy {
        a.bare(Code::VEX_Vzeroupper);
    }
    a.bare(Code::Retnq);
    a.finish()
}

/// The code that stores what was written.
fn results(u: &Uses, moves: &VectorMoves) -> Option<Vec<u8>> {
    let mut a = Assembler::new();
    for &(n, _) in u.vectors.iter().filter(|v| v.1) {
        a.store(moves.store, Register::RDI, 64 * n as i64, moves.store_base + n as u32);
    }
    for &(n, _) in u.masks.iter().filter(|k| k.1) {
        a.store(Code::VEX_Kmovq_m64_kr, Register::RDI, K + 8 * n as i64, Register::K0 + n as u32);
    }
    for &(n, _) in u.mmx.iter().filter(|m| m.1) {
        let at = ST + 16 * n as i64;
        a.store(Code::Movq_mmm64_mm, Register::RDI, at, Register::MM0 + n as u32);
        // Sign and exponent of a written MMX register are all ones.
        a.bytes(&[0x66, 0xC7, 0x87]); // mov word [rdi + disp32], FFFFh
        a.bytes(&(at as u32 + 8).to_le_bytes());
        a.bytes(&[0xFF, 0xFF]);
    }
    for &(g, _) in u.generals.iter().filter(|g| g.1) {
        a.store(Code::Mov_rm64_r64, Register::R8, 8 * i64::from(g.guest), g.host);
    }
    a.finish()
}

fn x87(i: &Instruction) -> Option<Vec<u8>> {
    let mut a = Assembler::new();
    a.memory(Code::Stmxcsr_m32, HOST_MXCSR);
    a.memory(Code::Fnstcw_m2byte, HOST_FCW);
    a.memory(Code::Fxrstor64_m512byte, IMAGE);
    if reads_flags(i) {
        a.load(Code::Mov_r64_rm64, Register::RAX, Register::RDI, FLAGS);
        a.bytes(&[0x50, 0x9D]); // push rax; popfq
    }
    a.put(i);
    if writes_flags(i) {
        a.bare(Code::Pushfq);
        a.memory(Code::Pop_rm64, FLAGS);
    }
    a.memory(Code::Fxsave64_m512byte, IMAGE);
    a.bare(Code::Fninit);
    a.memory(Code::Fldcw_m2byte, HOST_FCW);
    a.memory(Code::Ldmxcsr_m32, HOST_MXCSR);
    a.bare(Code::Retnq);
    a.finish()
}

/// The host's x87 stack is empty between stubs, its exceptions are masked, but flags may have stayed set: they do no harm
/// when the guest has them set too, else they are cleared first (FNCLEX is slow).
fn x87_light(i: &Instruction, s: Shape) -> Option<Vec<u8>> {
    let place = |n: u8| ST + 16 * i64::from(n);
    let mut i = *i;
    for n in 0..i.op_count() {
        if i.op_kind(n) == OpKind::Register && i.op_register(n).is_st() && i.op_register(n) != Register::ST0 {
            i.set_op_register(n, Register::ST1);
        }
    }
    let mut a = Assembler::new();
    a.memory(Code::Fnstcw_m2byte, HOST_FCW);
    a.bytes(&[0xDF, 0xE0]); // fnstsw ax
    a.load(Code::Movzx_r32_rm16, Register::ECX, Register::RDI, IMAGE + 2);
    a.bytes(&[0xF7, 0xD1]); // not ecx
    a.bytes(&[0x21, 0xC8]); // and eax, ecx
    a.bytes(&[0xA8, 0x3F]); // test al, 3Fh
    a.bytes(&[0x74, 0x02]); // jz +2
    a.bytes(&[0xDB, 0xE2]); // fnclex
    a.memory(Code::Fldcw_m2byte, IMAGE);
    if let Some(n) = s.other {
        a.memory(Code::Fld_m80fp, place(n));
    }
    if s.reads0 {
        a.memory(Code::Fld_m80fp, place(0));
    }
    a.put(&i);
    if writes_flags(&i) {
        a.bare(Code::Pushfq);
        a.memory(Code::Pop_rm64, FLAGS);
    }
    a.bytes(&[0xDF, 0xE0]); // fnstsw ax
    if s.writes_other && s.pops == 0 {
        a.bytes(&[0xDD, 0xD8]); // fstp st0
    }
    match (s.writes_other, s.other) {
        (true, Some(n)) => a.memory(Code::Fstp_m80fp, place(n)),
        _ if s.writes0 => a.memory(Code::Fstp_m80fp, if s.pushes { RESULT } else { place(0) }),
        _ => {}
    }
    a.bare(Code::Emms);
    a.memory(Code::Fldcw_m2byte, HOST_FCW);
    a.bytes(&[0x0F, 0xB7, 0xC0]); // movzx eax, ax
    a.bare(Code::Retnq);
    a.finish()
}
