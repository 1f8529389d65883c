//! Random instances of every form that accesses memory.

use iced_x86::{Code, Encoder, Instruction, Mnemonic as M, OpAccess, OpCodeOperandKind as K, OpKind, Register as R};

use crate::machine::CODE;

/// A small generator of numbers (xorshift).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    /// Numbers at which arithmetic changes its mind are frequent.
    pub fn interesting(&mut self) -> u64 {
        match self.below(4) {
            0 => self.below(4),
            1 => u64::MAX - self.below(4),
            2 => (1u64 << self.below(64)).wrapping_sub(self.below(2)),
            _ => self.next(),
        }
    }
}

fn pick(rng: &mut Rng, first: R, n: u64) -> R {
    R::try_from(first as usize + rng.below(n) as usize).unwrap()
}

/// A general register that holds no address: not SP, SI, DI, nor (for XLAT and REP) BX and CX.
fn general(rng: &mut Rng, first: R, bits: u32, taken: &[usize]) -> R {
    loop {
        let r = pick(rng, first, if bits == 64 { 16 } else { 8 });
        if !taken.contains(&r.full_register().number()) {
            return r;
        }
    }
}

fn low_byte(rng: &mut Rng) -> R {
    [R::AL, R::CL, R::DL][rng.below(3) as usize]
}

/// SI, DI of the address size.
pub fn address_registers(bits: u32) -> (R, R, R) {
    match bits {
        64 => (R::RSI, R::RDI, R::RBX),
        32 => (R::ESI, R::EDI, R::EBX),
        _ => (R::SI, R::DI, R::BX),
    }
}

fn sized(bits: u32, sixteen: OpKind, thirty_two: OpKind, sixty_four: OpKind) -> OpKind {
    match bits {
        64 => sixty_four,
        32 => thirty_two,
        _ => sixteen,
    }
}

/// A random instance of `code` in code of `bits`, with the memory operand at SI, and its bytes as the processor decodes
/// them. `Err`: an operand kind that is not covered. `None`: it cannot be encoded there.
pub fn generate(rng: &mut Rng, code: Code, bits: u32) -> Result<Option<(Instruction, Vec<u8>)>, K> {
    let info = code.op_code();
    let (si, di, bx) = address_registers(bits);
    let mut i = Instruction::new();
    i.set_code(code);
    let vectors = if bits != 64 {
        8
    } else if code.encoding() == iced_x86::EncodingKind::EVEX {
        32
    } else {
        16
    };
    let taken = [4, 6, 7, 3, 1];
    for n in 0..info.op_count() {
        let kind = info.op_kind(n);
        let register = match kind {
            K::r8_reg | K::r8_opcode => Some(low_byte(rng)),
            K::r16_reg | K::r16_rm | K::r16_opcode => Some(general(rng, R::AX, bits, &taken)),
            K::r32_reg | K::r32_rm | K::r32_opcode | K::r32_vvvv => Some(general(rng, R::EAX, bits, &taken)),
            K::r64_reg | K::r64_rm | K::r64_opcode | K::r64_vvvv => Some(general(rng, R::RAX, bits, &taken)),
            K::r16_reg_mem | K::r32_reg_mem | K::r64_reg_mem => Some(di),
            K::xmm_reg | K::xmm_rm | K::xmm_vvvv | K::xmm_is4 | K::xmm_is5 => Some(pick(rng, R::XMM0, vectors)),
            K::xmmp3_vvvv => Some(pick(rng, R::XMM0, 2)),
            K::ymm_reg | K::ymm_rm | K::ymm_vvvv | K::ymm_is4 | K::ymm_is5 => Some(pick(rng, R::YMM0, vectors)),
            K::zmm_reg | K::zmm_rm | K::zmm_vvvv => Some(pick(rng, R::ZMM0, vectors)),
            K::zmmp3_vvvv => Some(pick(rng, R::ZMM0, 2)),
            K::k_reg | K::k_rm | K::k_vvvv => Some(pick(rng, R::K0, 8)),
            K::kp1_reg => Some(pick(rng, R::K0, 8)),
            K::mm_reg | K::mm_rm => Some(pick(rng, R::MM0, 8)),
            K::st0 => Some(R::ST0),
            K::sti_opcode => Some(pick(rng, R::ST0, 8)),
            K::al => Some(R::AL),
            K::cl => Some(R::CL),
            K::ax => Some(R::AX),
            K::dx => Some(R::DX),
            K::eax => Some(R::EAX),
            K::rax => Some(R::RAX),
            K::es => Some(R::ES),
            K::cs => Some(R::CS),
            K::ss => Some(R::SS),
            K::ds => Some(R::DS),
            K::fs => Some(R::FS),
            K::gs => Some(R::GS),
            K::seg_reg => Some([R::ES, R::DS, R::FS, R::GS][rng.below(4) as usize]),
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
        let immediate = |i: &mut Instruction, kind: OpKind, v: u64| {
            i.set_op_kind(n, kind);
            i.set_immediate_u64(n, v);
        };
        match kind {
            _ if vsib != R::None => {
                i.set_op_kind(n, OpKind::Memory);
                i.set_memory_base(if bits == 64 { si } else { R::ESI });
                i.set_memory_index(pick(rng, vsib, vectors));
                i.set_memory_index_scale(1 << rng.below(4));
            }
            K::mem
            | K::mem_mpx
            | K::mem_mib
            | K::r8_or_mem
            | K::r16_or_mem
            | K::r32_or_mem
            | K::r32_or_mem_mpx
            | K::r64_or_mem
            | K::r64_or_mem_mpx
            | K::mm_or_mem
            | K::xmm_or_mem
            | K::ymm_or_mem
            | K::zmm_or_mem
            | K::k_or_mem => {
                i.set_op_kind(n, OpKind::Memory);
                i.set_memory_base(si);
            }
            K::mem_offs => {
                i.set_op_kind(n, OpKind::Memory);
                i.set_memory_displacement64(OFFSET);
                i.set_memory_displ_size(bits / 8);
            }
            K::imm8_const_1 => immediate(&mut i, OpKind::Immediate8, 1),
            K::imm8 if n > 0 && matches!(i.op_kind(n - 1), OpKind::Immediate8 | OpKind::Immediate16) => {
                i.set_op_kind(n, OpKind::Immediate8_2nd);
                i.set_immediate8_2nd(rng.next() as u8 & if code.mnemonic() == M::Enter { 3 } else { 0xFF });
            }
            K::imm8 | K::imm4_m2z => immediate(&mut i, OpKind::Immediate8, rng.next() & 0xFF),
            K::imm8sex16 => immediate(&mut i, OpKind::Immediate8to16, rng.next() as i8 as u64),
            K::imm8sex32 => immediate(&mut i, OpKind::Immediate8to32, rng.next() as i8 as u64),
            K::imm8sex64 => immediate(&mut i, OpKind::Immediate8to64, rng.next() as i8 as u64),
            K::imm16 if code.mnemonic() == M::Enter => immediate(&mut i, OpKind::Immediate16, rng.below(0x40)),
            K::imm16 => immediate(&mut i, OpKind::Immediate16, rng.interesting() & 0xFFFF),
            K::imm32 => immediate(&mut i, OpKind::Immediate32, rng.interesting() & 0xFFFF_FFFF),
            K::imm32sex64 => immediate(&mut i, OpKind::Immediate32to64, rng.interesting() as i32 as u64),
            K::imm64 => immediate(&mut i, OpKind::Immediate64, rng.interesting()),
            K::seg_rSI => {
                i.set_op_kind(n, sized(bits, OpKind::MemorySegSI, OpKind::MemorySegESI, OpKind::MemorySegRSI));
            }
            K::es_rDI => i.set_op_kind(n, sized(bits, OpKind::MemoryESDI, OpKind::MemoryESEDI, OpKind::MemoryESRDI)),
            K::seg_rDI => {
                i.set_op_kind(n, sized(bits, OpKind::MemorySegDI, OpKind::MemorySegEDI, OpKind::MemorySegRDI));
            }
            K::seg_rBX_al => {
                i.set_op_kind(n, OpKind::Memory);
                i.set_memory_base(bx);
                i.set_memory_index(R::AL);
            }
            K::br16_1 | K::br16_2 => {
                i.set_op_kind(n, OpKind::NearBranch16);
                i.set_near_branch16(CODE as u16);
            }
            K::br32_1 | K::br32_4 => {
                i.set_op_kind(n, OpKind::NearBranch32);
                i.set_near_branch32(CODE as u32);
            }
            K::br64_1 | K::br64_4 => {
                i.set_op_kind(n, OpKind::NearBranch64);
                i.set_near_branch64(CODE);
            }
            other => return Err(other),
        }
    }
    decorate(rng, &mut i);
    let mut encoder = Encoder::new(bits);
    if encoder.encode(&i, CODE).is_err() {
        return Ok(None);
    }
    let bytes = encoder.take_buffer();
    let i = iced_x86::Decoder::with_ip(bits, &bytes, CODE, 0).decode();
    Ok((i.code() == code).then_some((i, bytes)))
}

/// What `mem_offs` operands say; SI has it too.
pub const OFFSET: u64 = crate::machine::WINDOW + 0x400;

/// LOCK, REP, masks, zeroing, broadcast.
fn decorate(rng: &mut Rng, i: &mut Instruction) {
    let info = i.code().op_code();
    let memory = i.op_kinds().any(|k| k == OpKind::Memory);
    if memory && i.op_kind(0) == OpKind::Memory && info.can_use_lock_prefix() && rng.one_in(3) {
        i.set_has_lock_prefix(true);
    }
    let compares =
        matches!(i.mnemonic(), M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq | M::Scasb | M::Scasw | M::Scasd | M::Scasq);
    if info.can_use_rep_prefix() && !matches!(i.mnemonic(), M::Ret | M::Call | M::Jmp) {
        match rng.below(3) {
            0 => i.set_has_rep_prefix(true),
            1 if compares => i.set_has_repne_prefix(true),
            _ => {}
        }
    }
    let vsib = i.is_vsib();
    if info.can_use_op_mask_register() && (vsib || !rng.one_in(3)) {
        i.set_op_mask(pick(rng, R::K1, 7));
        if info.can_use_zeroing_masking() && i.op_kind(0) == OpKind::Register && rng.one_in(2) {
            i.set_zeroing_masking(true);
        }
    }
    if info.can_broadcast() && memory && rng.one_in(3) {
        i.set_is_broadcast(true);
    }
}

/// Whether the instruction accesses memory that this test can put into the window.
pub fn accesses_memory(i: &Instruction) -> bool {
    let mut factory = iced_x86::InstructionInfoFactory::new();
    factory.info(i).used_memory().iter().any(|m| m.access() != OpAccess::NoMemAccess && m.access() != OpAccess::None)
}
