//! The x87 instructions (Intel SDM volume 1, chapter 8).
//!
//! Computation, register moves and loads and stores of values run on the host's unit with the guest's own control word:
//! unmasked responses (nothing popped, nothing stored, scaled results), C1, tags and stack faults are the hardware's.
//! Control instructions and the environment and state images are done here. Instruction and data pointers are kept here
//! too: the last non-control instruction's, always (as processors without FOPCODE compatibility bits do).

use iced_x86::{Code, CpuidFeature, EncodingKind, Instruction, InstructionInfoFactory, OpAccess};

use super::shape::{Shape, shape};
use super::unit::{self, Buffer, Kind, Prepared};
use super::{OnStack, x87_error};
use crate::bus::Bus;
use crate::fault::{Exec, vector};
use crate::fpu::{Fpu, MXCSR_MASK};
use crate::op::{DecodeCx, Handler, Op, segment};
use crate::state::{Cpu, Mode, Seg, cr};

const NONE: u8 = 0;
const LOAD: u8 = 1;
const STORE: u8 = 2;

/// In `Op::imm`, above FOP and the segment (bits 11 to 13): a control instruction, the pointers stay.
const CONTROL: u64 = 1 << 14;
/// And above that the entry of the light form.
const LIGHT_SHIFT: u32 = 15;
const PE: u16 = 1 << 5;

/// Makes `op` execute `i`.
pub(super) fn decode(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> bool {
    if let Some(handler) = control(i.code()) {
        op.handler = handler;
        op.size = i.memory_size().size().min(128) as u8;
        op.dst = u8::from(matches!(
            i.code(),
            Code::Fldenv_m28byte | Code::Fnstenv_m28byte | Code::Frstor_m108byte | Code::Fnsave_m108byte
        ));
        return true;
    }
    if !is_x87(i) {
        return false;
    }
    let Some(fop) = opcode(i, cx) else {
        return false; // not D8 to DF
    };
    let Prepared::Entry(entry) = unit::prepare(i, Kind::X87) else {
        return true; // the few x87 instructions always fit; else #UD
    };
    let seg = if op.is(Op::MEM) { segment(i.memory_segment()) } else { Seg::None };
    let is_control = matches!(i.code(), Code::Fldcw_m2byte | Code::Fincstp | Code::Fdecstp | Code::Ffree_sti);
    op.aux = entry;
    op.imm = u64::from(fop) | (seg as u64) << 11 | if is_control { CONTROL } else { 0 };
    let mut how = NONE;
    if op.is(Op::MEM) {
        op.size = i.memory_size().size().min(64) as u8;
        let mut info = InstructionInfoFactory::new();
        let access = info.info(i).used_memory().first().map_or(OpAccess::Read, |m| m.access());
        how = if access == OpAccess::Read { LOAD } else { STORE };
    }
    let flags = unit::reads_flags(i) || unit::writes_flags(i);
    if let Some(s) = shape(i)
        && let Prepared::Entry(light) = unit::prepare(i, Kind::X87Light)
        && light >> (64 - LIGHT_SHIFT) == 0
    {
        op.imm |= light << LIGHT_SHIFT;
        Light::of(s).pack(op);
        op.handler = match (how, flags) {
            (LOAD, _) => run_light::<LOAD, false>,
            (STORE, _) => run_light::<STORE, false>,
            (_, true) => run_light::<NONE, true>,
            (_, false) => run_light::<NONE, false>,
        };
        return true;
    }
    op.handler = match (how, flags) {
        (LOAD, _) => run::<LOAD, false>,
        (STORE, _) => run::<STORE, false>,
        (_, true) => run::<NONE, true>,
        (_, false) => run::<NONE, false>,
    };
    true
}

/// See [`super::on_stack`].
pub(super) fn on_stack(i: &Instruction, op: &Op) -> Option<OnStack> {
    let seg = if op.is(Op::MEM) { segment(i.memory_segment()) } else { Seg::None };
    let keeps = OnStack { opcode: None, seg, vectors: false, align: 0 };
    match i.code() {
        Code::Wait | Code::Fnclex | Code::Fnstcw_m2byte | Code::Fnstsw_m2byte | Code::Fnstsw_AX => return Some(keeps),
        c if control(c).is_some() => return None,
        _ => {}
    }
    let x87 = is_x87(i) && op.aux != 0;
    x87.then(|| OnStack { opcode: (op.imm & CONTROL == 0).then_some(op.imm as u16 & 0x7FF), ..keeps })
}

fn is_x87(i: &Instruction) -> bool {
    let x87 = [CpuidFeature::FPU, CpuidFeature::FPU287, CpuidFeature::FPU387];
    i.encoding() == EncodingKind::Legacy && i.cpuid_features().iter().any(|f| x87.contains(f))
}

fn control(code: Code) -> Option<Handler> {
    Some(match code {
        Code::Wait => wait,
        Code::Fninit => fninit,
        Code::Fnclex => fnclex,
        Code::Fnstcw_m2byte => fnstcw,
        Code::Fnstsw_m2byte => fnstsw,
        Code::Fnstsw_AX => fnstsw_ax,
        Code::Fneni | Code::Fndisi | Code::Fnsetpm | Code::Frstpm => nothing,
        Code::Fnstenv_m14byte | Code::Fnstenv_m28byte => fnstenv,
        Code::Fldenv_m14byte | Code::Fldenv_m28byte => fldenv,
        Code::Fnsave_m94byte | Code::Fnsave_m108byte => fnsave,
        Code::Frstor_m94byte | Code::Frstor_m108byte => frstor,
        _ => return None,
    })
}

/// FOP: the low three bits of the first opcode byte, and the second byte.
fn opcode(i: &Instruction, cx: &DecodeCx) -> Option<u16> {
    let mut encoder = iced_x86::Encoder::new(cx.mode.bits());
    encoder.encode(i, i.ip()).ok()?;
    let bytes = encoder.take_buffer();
    let is_prefix = |b: &u8| matches!(b, 0x26 | 0x2E | 0x36 | 0x3E | 0x40..=0x4F | 0x64..=0x67 | 0xF0 | 0xF2 | 0xF3);
    let at = bytes.iter().position(|b| !is_prefix(b))?;
    let (first, second) = (*bytes.get(at)?, *bytes.get(at + 1)?);
    (first & 0xF8 == 0xD8).then_some(u16::from(first & 7) << 8 | u16::from(second))
}

/// #NM where there is no x87 unit now.
#[inline(always)]
fn present(cpu: &mut Cpu) -> Exec {
    if cpu.cr0 & (cr::CR0_EM | cr::CR0_TS) != 0 { Err(cpu.raise(vector::NM)) } else { Ok(()) }
}

fn run<const M: u8, const FLAGS: bool>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    present(cpu)?;
    x87_error(cpu)?;
    let mut buffer = Buffer::zero();
    let size = usize::from(op.size) & 127;
    let at = if M == NONE { 0 } else { cpu.ea(op) };
    match M {
        LOAD => cpu.load_bytes(bus, op.seg, at, &mut buffer.0[..size])?,
        STORE => cpu.check_write(bus, op.seg, at, size)?,
        _ => {}
    }
    if FLAGS {
        cpu.fpu.io.flags = cpu.lazy.get() | 0x202;
    }
    let before = Saved::of(&cpu.fpu);
    let ignored = cpu.fpu.pending();
    execute(cpu, op, &mut buffer, ignored);
    let stored = M == STORE && (ignored || cpu.fpu.fsw & !cpu.fpu.fcw & 0x3F & !PE == 0);
    if stored && let Err(abort) = cpu.store_bytes(bus, op.seg, at, &buffer.0[..size]) {
        before.restore(&mut cpu.fpu); // a device exit: nothing has happened
        return Err(abort);
    }
    if op.imm & CONTROL == 0 {
        pointers::<M>(cpu, op, at);
    }
    if FLAGS {
        cpu.lazy.set(cpu.fpu.io.flags);
    }
    Ok(())
}

/// What the light form needs at run time: in `Op::dst`, `src` and `src2`.
#[derive(Clone, Copy)]
struct Light {
    /// Bits, from ST0 up, of the registers that must hold something (7: ST7, the next to be pushed, must not).
    operands: u8,
    pushes: bool,
    pops: u8,
    codes: u16,
}

impl Light {
    fn of(s: Shape) -> Self {
        let operands = u8::from(s.reads0) | s.other.map_or(0, |n| 1 << (n & 7));
        Self { operands, pushes: s.pushes, pops: s.pops, codes: s.codes }
    }
    fn pack(self, op: &mut Op) {
        op.dst = self.operands;
        op.src = u8::from(self.pushes) | self.pops << 1;
        op.src2 = (self.codes >> 8) as u8;
    }
    #[inline(always)]
    fn unpack(op: &Op) -> Self {
        Self { operands: op.dst, pushes: op.src & 1 != 0, pops: op.src >> 1 & 3, codes: u16::from(op.src2) << 8 }
    }
}

/// As [`run`], on the operands only: where all are there and every exception is masked.
fn run_light<const M: u8, const FLAGS: bool>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let light = Light::unpack(op);
    let top = cpu.fpu.top() as u32;
    let full = cpu.fpu.ftw.rotate_right(top); // from ST0 up
    let there = full & light.operands == light.operands && !(light.pushes && full & 0x80 != 0);
    if !there || cpu.fpu.fcw & 0x3F != 0x3F || cpu.cr0 & (cr::CR0_EM | cr::CR0_TS) != 0 {
        return run::<M, FLAGS>(cpu, bus, op);
    }
    let mut buffer = Buffer::zero();
    let size = usize::from(op.size) & 127;
    let at = if M == NONE { 0 } else { cpu.ea(op) };
    if M == LOAD {
        cpu.load_bytes(bus, op.seg, at, &mut buffer.0[..size])?;
    }
    let status = unit::run(cpu, op.imm >> LIGHT_SHIFT, &mut buffer) as u16;
    if M == STORE {
        cpu.store_bytes(bus, op.seg, at, &buffer.0[..size])?;
    }
    let fpu = &mut *cpu.fpu;
    fpu.fsw = fpu.fsw & !(light.codes | 0x8080) | status & (light.codes | 0x3F);
    if light.pushes {
        fpu.rotate_to(top as usize + 7);
        fpu.ftw |= 1 << fpu.top();
        fpu.st[0][..10].copy_from_slice(&fpu.io.result[..10]);
    }
    for _ in 0..light.pops {
        fpu.ftw &= !(1 << fpu.top());
        fpu.rotate_to(fpu.top() + 1);
    }
    if FLAGS {
        cpu.lazy.set(cpu.fpu.io.flags);
    }
    pointers::<M>(cpu, op, at);
    Ok(())
}

/// Runs on the unit. `ignored`: an unmasked exception is flagged and CR0.NE is clear, so the program goes on regardless;
/// the host must not see it.
fn execute(cpu: &mut Cpu, op: &Op, buffer: &mut Buffer, ignored: bool) {
    let fpu = &mut *cpu.fpu;
    let (fip, fdp, fop) = (fpu.fip, fpu.fdp, fpu.fop);
    fpu.mxcsr &= MXCSR_MASK; // a reserved bit would fault in the stub
    fpu.fsw &= !0x8080;
    let fcw = fpu.fcw;
    if ignored {
        fpu.fcw |= 0x3F;
    }
    unit::run(cpu, op.aux, buffer);
    let fpu = &mut *cpu.fpu;
    // The image has the host's pointers now, if any.
    (fpu.fip, fpu.fdp, fpu.fop) = (fip, fdp, fop);
    if ignored {
        let loaded = op.imm & CONTROL != 0 && op.is(Op::MEM); // FLDCW
        fpu.fcw = if loaded { u16::from_le_bytes([buffer.0[0], buffer.0[1]]) & 0x1F7F | 0x40 } else { fcw };
        fpu.summarize();
    }
}

fn pointers<const M: u8>(cpu: &mut Cpu, op: &Op, at: u64) {
    let fip = cpu.this_rip(op);
    let fcs = cpu.segs[Seg::Cs as usize].selector;
    let fpu = &mut *cpu.fpu;
    fpu.fop = op.imm as u16 & 0x7FF;
    (fpu.fip, fpu.fcs) = (fip, fcs);
    if M != NONE {
        let seg = (op.imm >> 11 & 7) as usize;
        (fpu.fdp, fpu.fds) = (at, cpu.segs.get(seg).map_or(0, |s| s.selector));
    }
}

/// What an x87 instruction can change but for the pointers.
struct Saved {
    control: [u16; 2],
    ftw: u8,
    st: [[u8; 16]; 8],
}

impl Saved {
    fn of(f: &Fpu) -> Self {
        Self { control: [f.fcw, f.fsw], ftw: f.ftw, st: f.st }
    }
    fn restore(self, f: &mut Fpu) {
        ([f.fcw, f.fsw], f.ftw, f.st) = (self.control, self.ftw, self.st);
    }
}

fn wait(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    let both = cr::CR0_TS | cr::CR0_MP;
    if cpu.cr0 & both == both {
        return Err(cpu.raise(vector::NM));
    }
    x87_error(cpu)
}

fn nothing(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    present(cpu)
}

fn fninit(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    present(cpu)?;
    // TOP becomes 0 and the registers keep what they hold.
    cpu.fpu.rotate_to(0);
    cpu.fpu.init_x87();
    Ok(())
}

fn fnclex(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    present(cpu)?;
    cpu.fpu.fsw &= 0x7F00;
    Ok(())
}

fn fnstcw(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    present(cpu)?;
    let v = cpu.fpu.fcw;
    cpu.store(bus, op, v)
}

fn fnstsw(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    present(cpu)?;
    let v = cpu.fpu.fsw;
    cpu.store(bus, op, v)
}

fn fnstsw_ax(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    present(cpu)?;
    let v = cpu.fpu.fsw;
    cpu.set_r16(0, v);
    Ok(())
}

/// Whether images have the real-mode form: pointers linear, without selectors.
fn real_form(cpu: &Cpu) -> bool {
    !cpu.mode.has(Mode::PROTECTED) || cpu.mode.has(Mode::V86)
}

/// Bytes of the environment.
fn env_len(op: &Op) -> usize {
    if op.dst != 0 { 28 } else { 14 }
}

/// The environment as FNSTENV stores it (Intel SDM volume 1, figures 8-9 to 8-12).
fn environment(cpu: &Cpu, op: &Op) -> [u8; 28] {
    let f = &*cpu.fpu;
    let mut out = [0; 28];
    let wide = op.dst != 0;
    let pointers: [u32; 4] = if real_form(cpu) {
        let ip = (f.fip as u32).wrapping_add(u32::from(f.fcs) << 4);
        let dp = (f.fdp as u32).wrapping_add(u32::from(f.fds) << 4);
        [ip & 0xFFFF, (ip >> 16) << 12 | u32::from(f.fop), dp & 0xFFFF, (dp >> 16) << 12]
    } else {
        let fop = if wide { u32::from(f.fop) << 16 } else { 0 };
        [f.fip as u32, u32::from(f.fcs) | fop, f.fdp as u32, u32::from(f.fds) | 0xFFFF_0000]
    };
    let words = [u32::from(f.fcw), u32::from(f.fsw), u32::from(f.full_tags())].map(|w| w | 0xFFFF_0000);
    let step = if wide { 4 } else { 2 };
    for (slot, v) in out.chunks_exact_mut(step).zip(words.into_iter().chain(pointers)) {
        slot.copy_from_slice(&v.to_le_bytes()[..step]);
    }
    out
}

fn set_environment(cpu: &mut Cpu, op: &Op, image: &[u8]) {
    let step = if op.dst != 0 { 4 } else { 2 };
    let mut v = [0u32; 7];
    for (v, slot) in v.iter_mut().zip(image.chunks_exact(step)) {
        let mut b = [0; 4];
        b[..step].copy_from_slice(slot);
        *v = u32::from_le_bytes(b);
    }
    let real = real_form(cpu);
    let f = &mut *cpu.fpu;
    f.fcw = v[0] as u16 & 0x1F7F | 0x40;
    // Physical registers stay where they are when TOP changes.
    f.rotate_to(usize::from(v[1] as u16 >> 11 & 7));
    f.fsw = v[1] as u16;
    f.set_full_tags(v[2] as u16);
    if real {
        f.fip = u64::from(v[3] & 0xFFFF | (v[4] >> 12) << 16);
        f.fdp = u64::from(v[5] & 0xFFFF | (v[6] >> 12) << 16);
        (f.fcs, f.fds, f.fop) = (0, 0, v[4] as u16 & 0x7FF);
    } else {
        (f.fip, f.fcs) = (u64::from(v[3]), v[4] as u16);
        (f.fdp, f.fds) = (u64::from(v[5]), v[6] as u16);
        f.fop = (v[4] >> 16) as u16 & 0x7FF;
    }
    f.summarize();
}

fn fnstenv(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    present(cpu)?;
    let image = environment(cpu, op);
    let at = cpu.ea(op);
    cpu.store_bytes(bus, op.seg, at, &image[..env_len(op)])?;
    cpu.fpu.fcw |= 0x3F;
    cpu.fpu.summarize();
    Ok(())
}

fn fldenv(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    present(cpu)?;
    x87_error(cpu)?;
    let mut image = [0; 28];
    let at = cpu.ea(op);
    cpu.load_bytes(bus, op.seg, at, &mut image[..env_len(op)])?;
    set_environment(cpu, op, &image);
    Ok(())
}

fn fnsave(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    present(cpu)?;
    let n = env_len(op);
    let mut image = [0; 108];
    image[..n].copy_from_slice(&environment(cpu, op)[..n]);
    for (slot, r) in image[n..].chunks_exact_mut(10).zip(&cpu.fpu.st) {
        slot.copy_from_slice(&r[..10]);
    }
    let at = cpu.ea(op);
    cpu.store_bytes(bus, op.seg, at, &image[..n + 80])?;
    cpu.fpu.rotate_to(0);
    cpu.fpu.init_x87();
    Ok(())
}

fn frstor(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    present(cpu)?;
    x87_error(cpu)?;
    let n = env_len(op);
    let mut image = [0; 108];
    let at = cpu.ea(op);
    cpu.load_bytes(bus, op.seg, at, &mut image[..n + 80])?;
    set_environment(cpu, op, &image[..n]);
    for (slot, r) in image[n..].chunks_exact(10).zip(&mut cpu.fpu.st) {
        r[..10].copy_from_slice(slot);
    }
    Ok(())
}
