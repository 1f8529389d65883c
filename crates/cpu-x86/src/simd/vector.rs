//! MMX, SSE, AVX and AVX-512 instructions on registers and one ordinary, masked or broadcast memory operand.
//!
//! An op of this module: `aux` the unit's entry, `size` bytes of memory, `src` alignment mask, `src2` class, `imm` a
//! [`Lanes`].
//!
//! SIMD floating-point exceptions (Intel SDM volume 1, 11.5): the unit runs with all masked. When one that the guest has
//! not masked was flagged, the destination has not been written and #XM follows. Of a faulting instruction, numeric
//! (post-computation) flags are not set when a pre-computation exception is unmasked.

use iced_x86::{
    Code, EncodingKind, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register, RoundingControl,
};

use super::masked::{self, Lanes, Tiny};
use super::unit::{self, Buffer, Kind, Prepared};
use super::{OnStack, aligned, class, ready};
use crate::fault::{Exec, vector as exception};
use crate::fpu::MXCSR_RESET;
use crate::op::{DecodeCx, Handler, Op};
use crate::state::{Cpu, Seg, cr};

/// What an instruction does with memory.
mod access {
    pub(super) const NONE: u8 = 0;
    pub(super) const LOAD4: u8 = 1;
    pub(super) const LOAD8: u8 = 2;
    pub(super) const LOAD: u8 = 3;
    pub(super) const STORE: u8 = 4;
    pub(super) const LOAD_LANES: u8 = 5;
    pub(super) const STORE_LANES: u8 = 6;
}

const UE: u32 = 1 << 4;
/// IE, DE, ZE: found before the result is computed.
const BEFORE: u32 = 7;

/// An instruction that translated code may contain as it is, with vector registers in their places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Translatable {
    /// VEX-encoded: YMM registers.
    pub(crate) vex: bool,
    /// Mask registers, ZMM registers, or those from 16 on.
    pub(crate) evex: bool,
    /// Mask of the address bits that have to be zero.
    pub(crate) align: u8,
}

/// Whether `i` is one: SSE, AVX and AVX-512. (A memory operand of which only some elements are touched is one too: the whole of it is in
/// memory that is there, else the handler gets it.)
pub(crate) fn translatable(i: &Instruction) -> Option<Translatable> {
    let class = class_of(i)?;
    let vex = i.encoding() == EncodingKind::VEX;
    let plain = (0..i.op_count()).all(|n| match i.op_kind(n) {
        OpKind::Register => {
            let r = i.op_register(n);
            let evex = class == class::EVEX && (r.is_vector_register() || r.is_k());
            r.is_gpr() || evex || (r.is_xmm() || r.is_ymm()) && r.number() < 16
        }
        k => !is_rdi(k),
    });
    let memory = (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory);
    let size = if memory { i.memory_size().size() } else { 1 };
    let sized = matches!(size, 1 | 2 | 4 | 8 | 16 | 32 | 64) && !i.is_vsib();
    let known =
        matches!(class, class::SSE | class::VEX | class::EVEX) && i.cpuid_features().iter().all(|f| unit::has(*f));
    let align = if memory { alignment(i, size as u8) } else { 0 };
    (known && plain && sized).then_some(Translatable { vex, evex: class == class::EVEX, align })
}

/// See [`super::on_stack`]: MMX instructions, but for MOVNTQ and those with an operand at RDI.
pub(super) fn on_stack(i: &Instruction) -> Option<OnStack> {
    let plain = OnStack { opcode: None, seg: Seg::None, vectors: false, align: 0 };
    if i.code() == Code::Emms {
        return Some(plain);
    }
    let class = class_of(i).filter(|c| matches!(*c, class::MMX | class::MMX_SSE))?;
    let known = i.cpuid_features().iter().all(|f| unit::has(*f));
    let elsewhere = i.code() == Code::Movntq_m64_mm || (0..i.op_count()).any(|n| is_rdi(i.op_kind(n)));
    let memory = (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory);
    let align = if memory { alignment(i, i.memory_size().size() as u8) } else { 0 };
    (known && !elsewhere).then_some(OnStack { vectors: class == class::MMX_SSE || is_float(i), align, ..plain })
}

/// Makes `op` execute `i`.
pub(super) fn decode(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> bool {
    let Some(class) = class_of(i) else {
        return false;
    };
    if !i.cpuid_features().iter().all(|f| unit::has(*f)) {
        return true; // #UD
    }
    op.src2 = class;
    let kind = if is_float(i) { Kind::Float } else { Kind::Plain };
    match unit::prepare(i, kind) {
        Prepared::Entry(entry) => install(i, cx, op, kind, entry),
        Prepared::Full => overflow_op(i, cx, op),
        Prepared::Unknown => {}
    }
    true
}

fn class_of(i: &Instruction) -> Option<u8> {
    let any =
        |is: fn(Register) -> bool| (0..i.op_count()).any(|n| is(i.op_register(n)) && i.op_kind(n) == OpKind::Register);
    let (vector, mask, mmx) = (any(Register::is_vector_register), any(Register::is_k), any(Register::is_mm));
    match i.encoding() {
        EncodingKind::Legacy if mmx => Some(if vector { class::MMX_SSE } else { class::MMX }),
        EncodingKind::Legacy if vector || to_integer(i) => Some(class::SSE),
        EncodingKind::VEX if mask => Some(class::EVEX),
        EncodingKind::VEX if vector || to_integer(i) => Some(class::VEX),
        EncodingKind::EVEX => Some(class::EVEX),
        _ => None,
    }
}

/// The instructions that may have no vector register: memory to general register.
fn to_integer(i: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(
        i.mnemonic(),
        Cvtss2si | Cvtsd2si | Cvttss2si | Cvttsd2si | Vcvtss2si | Vcvtsd2si | Vcvttss2si | Vcvttsd2si
    )
}

/// Whether MXCSR matters. Listed is what it does not matter to; the rest runs the slower but always right way.
fn is_float(i: &Instruction) -> bool {
    const PLAIN: &[&str] = &[
        "P",
        "K",
        "Mov",
        "And",
        "Or",
        "Xor",
        "Unpck",
        "Shuf",
        "Blend",
        "Broadcast",
        "Extract",
        "Insert",
        "Aes",
        "Sha",
        "Gf2p8",
        "Lddqu",
        "Mask",
        "Test",
        "Extrq",
        "Align",
        "Compress",
        "Expand",
        "Mpsad",
        "Dbpsad",
    ];
    let name = format!("{:?}", i.mnemonic());
    let root = match name.strip_prefix('V') {
        Some(rest) => {
            let mut c = rest.chars();
            c.next().map_or(String::new(), |f| f.to_ascii_uppercase().to_string() + c.as_str())
        }
        None => name,
    };
    !PLAIN.iter().any(|p| root.starts_with(p))
}

/// Fills in `op` for an instruction whose entry is known.
fn install(i: &Instruction, cx: &DecodeCx, op: &mut Op, kind: Kind, entry: u64) {
    op.aux = entry;
    let mut lanes = Lanes::default();
    let mut how = access::NONE;
    if op.is(Op::MEM) {
        op.size = i.memory_size().size().min(64) as u8;
        op.src = alignment(i, op.size);
        let mut info = InstructionInfoFactory::new();
        let access = info.info(i).used_memory().first().map_or(OpAccess::Read, |m| m.access());
        let store = matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite);
        lanes = masked::lanes(i);
        how = match (store, lanes.is_some(), op.size, op.src) {
            (true, false, ..) => access::STORE,
            (true, true, ..) => access::STORE_LANES,
            (false, true, ..) => access::LOAD_LANES,
            (false, false, 4, 0) => access::LOAD4,
            (false, false, 8, 0) => access::LOAD8,
            (false, false, ..) => access::LOAD,
        };
    } else if let Some(n) = (0..i.op_count()).find(|n| is_rdi(i.op_kind(*n))) {
        return masked::string_mask(i, cx, op, i.op_kind(n));
    }
    lanes.tiny = tiny(i);
    op.imm = lanes.pack();
    op.handler = handler(how, kind == Kind::Float, unit::writes_flags(i));
}

fn is_rdi(k: OpKind) -> bool {
    matches!(k, OpKind::MemorySegDI | OpKind::MemorySegEDI | OpKind::MemorySegRDI)
}

/// What becomes of tiny results.
fn tiny(i: &Instruction) -> Tiny {
    let name = format!("{:?}", i.mnemonic());
    let quiet = ["Rcp", "Rsqrt", "Vrcp", "Vrsqrt", "Vdpbf16", "Vcvtne"].iter().any(|p| name.starts_with(p));
    if quiet || i.suppress_all_exceptions() || i.rounding_control() != RoundingControl::None {
        Tiny::Quiet
    } else if name.starts_with("Vreduce") {
        Tiny::Kept
    } else {
        Tiny::Flagged
    }
}

/// Alignment mask: legacy 16-byte operands but those of the unaligned moves and string compares; of the rest the moves
/// that say so.
fn alignment(i: &Instruction, size: u8) -> u8 {
    use Mnemonic::*;
    let must = match i.mnemonic() {
        Vmovaps | Vmovapd | Vmovdqa | Vmovdqa32 | Vmovdqa64 | Vmovntps | Vmovntpd | Vmovntdq | Vmovntdqa => true,
        Movups | Movupd | Movdqu | Lddqu | Pcmpestri | Pcmpestrm | Pcmpistri | Pcmpistrm => false,
        Pcmpestri64 | Pcmpestrm64 => false,
        // The manual wants alignment; AMD's processors do without.
        Sha1msg1 | Sha1msg2 | Sha1nexte | Sha1rnds4 | Sha256msg1 | Sha256msg2 | Sha256rnds2 => false,
        _ => i.encoding() == EncodingKind::Legacy && size == 16,
    };
    if must { size.wrapping_sub(1) } else { 0 }
}

fn handler(how: u8, float: bool, flags: bool) -> Handler {
    macro_rules! pick {
        ($($m:ident),*) => {
            match (how, float, flags) {
                $((access::$m, false, false) => run::<{ access::$m }, false, false>,
                (access::$m, true, false) => run::<{ access::$m }, true, false>,
                (access::$m, false, true) => run::<{ access::$m }, false, true>,
                (access::$m, true, true) => run::<{ access::$m }, true, true>,)*
                _ => crate::op::undefined,
            }
        };
    }
    pick!(NONE, LOAD4, LOAD8, LOAD, STORE, LOAD_LANES, STORE_LANES)
}

fn run<const M: u8, const FLOAT: bool, const FLAGS: bool>(cpu: &mut Cpu, bus: &mut dyn crate::Bus, op: &Op) -> Exec {
    ready(cpu, op)?;
    let mut buffer = Buffer::zero();
    let size = usize::from(op.size) & 127;
    let mut at = 0;
    match M {
        access::LOAD4 => buffer.0[..4].copy_from_slice(&cpu.load::<u32>(bus, op)?.to_le_bytes()),
        access::LOAD8 => buffer.0[..8].copy_from_slice(&cpu.load::<u64>(bus, op)?.to_le_bytes()),
        access::LOAD => {
            at = aligned(cpu, op)?;
            cpu.load_bytes(bus, op.seg, at, &mut buffer.0[..size])?;
        }
        access::LOAD_LANES => {
            at = masked::address(cpu, op)?;
            masked::load(cpu, bus, op, at, &mut buffer)?;
        }
        access::STORE => {
            at = aligned(cpu, op)?;
            if FLOAT || op.src2 == class::MMX {
                cpu.check_write(bus, op.seg, at, size)?;
            }
        }
        access::STORE_LANES => {
            at = masked::address(cpu, op)?;
            masked::check_store(cpu, bus, op, at)?;
        }
        _ => {}
    }
    if matches!(op.src2, class::MMX | class::MMX_SSE) {
        enter_mmx(cpu);
    }
    let raised = if FLOAT { float(cpu, op, &mut buffer)? } else { unit::run(cpu, op.aux, &mut buffer) };
    match M {
        access::STORE => cpu.store_bytes(bus, op.seg, at, &buffer.0[..size])?,
        access::STORE_LANES => masked::store(cpu, bus, op, at, &buffer)?,
        _ => {}
    }
    if FLOAT {
        cpu.fpu.mxcsr |= raised;
    }
    if FLAGS {
        cpu.lazy.set(cpu.fpu.io.flags);
    }
    Ok(())
}

/// What every MMX instruction but EMMS does to the x87 unit: TOP becomes 0, all registers valid.
fn enter_mmx(cpu: &mut Cpu) {
    let fpu = &mut *cpu.fpu;
    if fpu.top() != 0 {
        fpu.rotate_to(0);
    }
    fpu.ftw = 0xFF;
}

/// Runs by the rules of MXCSR; returns the flags to add to it.
#[inline(always)]
fn float(cpu: &mut Cpu, op: &Op, buffer: &mut Buffer) -> Result<u32, crate::fault::Abort> {
    let mxcsr = cpu.fpu.mxcsr;
    let control = mxcsr & 0xFFC0 | MXCSR_RESET;
    let unmasked = !(mxcsr >> 7) & 0x3F;
    if unmasked & UE != 0 {
        return float_underflow(cpu, op, buffer, control, unmasked);
    }
    let raised = float_once(cpu, op, buffer, control, unmasked);
    if raised & unmasked != 0 { Err(float_fault(cpu, raised, unmasked)) } else { Ok(raised) }
}

#[inline(always)]
fn float_once(cpu: &mut Cpu, op: &Op, buffer: &mut Buffer, control: u32, keep: u32) -> u32 {
    cpu.fpu.io.run = control;
    cpu.fpu.io.unmasked = keep;
    let raised = unit::run(cpu, op.aux, buffer) & 0x3F;
    if control != MXCSR_RESET {
        unit::restore_host();
    }
    raised
}

/// With underflow unmasked a tiny result faults even when it is exact, which masked execution does not flag. Flush to
/// zero does flag it: so the first run flushes, writing nothing if anything was flagged. Three differences to hardware
/// remain: with unmasked overflow or underflow PE may be flagged too (hardware rounds with unbounded exponent then), and
/// exact tiny results of VCVTPS2PH, which FTZ does not concern, do not fault; DPPS and DPPD fault as one step, where
/// hardware has two.
#[cold]
fn float_underflow(
    cpu: &mut Cpu,
    op: &Op,
    buffer: &mut Buffer,
    control: u32,
    unmasked: u32,
) -> Result<u32, crate::fault::Abort> {
    const FTZ: u32 = 1 << 15;
    let input = *buffer;
    let tiny = Lanes::unpack(op.imm).tiny;
    if tiny == Tiny::Flagged {
        let raised = float_once(cpu, op, buffer, control | FTZ, 0x3F);
        if raised == 0 {
            return Ok(0);
        }
        *buffer = input;
        if raised & UE != 0 {
            // UE set beforehand keeps the destination from being written.
            let raised = float_once(cpu, op, buffer, control & !FTZ | UE, UE);
            return Err(float_fault(cpu, raised, unmasked));
        }
    }
    let control = if tiny == Tiny::Quiet { control } else { control & !FTZ };
    let raised = float_once(cpu, op, buffer, control, unmasked);
    if raised & unmasked != 0 { Err(float_fault(cpu, raised, unmasked)) } else { Ok(raised) }
}

#[cold]
fn float_fault(cpu: &mut Cpu, raised: u32, unmasked: u32) -> crate::fault::Abort {
    cpu.fpu.mxcsr |= if raised & unmasked & BEFORE != 0 { raised & BEFORE } else { raised };
    if cpu.cr4 & cr::CR4_OSXMMEXCPT != 0 { cpu.raise(exception::XM) } else { cpu.ud() }
}

/// For an instruction that came after the code memory was used up: keeps its bytes, to make its code again each time.
fn overflow_op(i: &Instruction, cx: &DecodeCx, op: &mut Op) {
    let mut encoder = iced_x86::Encoder::new(cx.mode.bits());
    let mut bytes = [0u8; 16];
    if let Ok(n) = encoder.encode(i, i.ip()) {
        for (to, from) in bytes.iter_mut().zip(encoder.take_buffer()) {
            *to = from;
        }
        bytes[15] = n.min(15) as u8;
        let word = u128::from_le_bytes(bytes);
        (op.imm, op.aux) = (word as u64, (word >> 64) as u64);
        op.handler = overflow;
    }
}

fn overflow(cpu: &mut Cpu, bus: &mut dyn crate::Bus, op: &Op) -> Exec {
    let bytes = (u128::from(op.aux) << 64 | u128::from(op.imm)).to_le_bytes();
    let cx = DecodeCx { mode: cpu.mode, rip: cpu.rip, features: crate::features::Features::ALL };
    let n = usize::from(bytes[15]).min(15);
    let mut decoder = iced_x86::Decoder::with_ip(cx.mode.bits(), &bytes[..n], op.start.into(), 0);
    let i = decoder.decode();
    let kind = if is_float(&i) { Kind::Float } else { Kind::Plain };
    let mut again = Op::prepare(&i, &cx, op.start);
    (again.end, again.src2) = (op.end, op.src2);
    if again.is(Op::MEM) && again.seg == Seg::None {
        again.seg = op.seg;
    }
    unit::one_shot(&i, kind, |prepared| {
        if let Prepared::Entry(entry) = prepared {
            install(&i, &cx, &mut again, kind, entry);
        }
        (again.handler)(cpu, bus, &again)
    })
}

/// Zeroes a register above its lowest `bytes`.
pub(super) fn clear_above(cpu: &mut Cpu, register: usize, bytes: usize) {
    if let Some(upper) = cpu.fpu.zmm.get_mut(register).and_then(|r| r.get_mut(bytes..)) {
        upper.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Mode;
    use crate::test_bus::TestBus;

    #[test]
    fn instructions_without_room_for_their_stub_run_too() {
        let mut cpu = Cpu::new(std::sync::Arc::default());
        cpu.mode = Mode(Mode::CODE64 | Mode::LONG | Mode::PROTECTED);
        let bytes = [0x66, 0x0F, 0xFE, 0xCA]; // paddd xmm1, xmm2
        let cx = DecodeCx { mode: cpu.mode, rip: 0x1000, features: crate::features::Features::ALL };
        let i = iced_x86::Decoder::with_ip(64, &bytes, cx.rip, 0).decode();
        let mut op = Op::prepare(&i, &cx, 0);
        op.src2 = class::SSE;
        overflow_op(&i, &cx, &mut op);
        cpu.fpu.zmm[1].fill(1);
        cpu.fpu.zmm[2].fill(2);
        let mut bus = TestBus::only(0, 0x1000);
        for sum in [3, 5] {
            assert!((op.handler)(&mut cpu, &mut bus, &op).is_ok());
            assert_eq!(cpu.fpu.zmm[1][..16], [sum; 16]);
        }
    }
}
