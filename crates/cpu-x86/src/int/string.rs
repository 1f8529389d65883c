//! The string instructions MOVS, STOS, LODS, SCAS, CMPS with REP, REPE and REPNE (Intel SDM volume 2).
//!
//! RCX, RSI and RDI are up to date after every element, so a fault or an exit in the middle leaves the progress made,
//! with RIP at the instruction. A long one looks at the attention word now and then and asks to be run again.

use std::sync::atomic::Ordering;

use iced_x86::{Code, Instruction, OpKind, Register};

use super::Width;
use crate::bus::Bus;
use crate::fault::{Abort, AbortKind, Access, Exec};
use crate::flags::rflags;
use crate::op::{DecodeCx, Handler, Op, segment};
use crate::state::{Cpu, Mode, Seg};

pub(super) const RCX: u8 = 1;
pub(super) const RSI: u8 = 6;
pub(super) const RDI: u8 = 7;

/// Elements between two looks at the attention word.
const SLICE: u32 = 256;

/// Writes a counter or pointer with the address size of the instruction.
#[inline(always)]
pub(super) fn set_by_mask(cpu: &mut Cpu, reg: u8, v: u64, mask: u64) {
    match mask {
        0xFFFF => cpu.set_r16(reg, v as u16),
        0xFFFF_FFFF => cpu.set_r32(reg, v as u32),
        _ => cpu.set_r64(reg, v),
    }
}

/// Moves RSI or RDI past an element of `bytes`.
#[inline(always)]
pub(super) fn advance(cpu: &mut Cpu, op: &Op, reg: u8, bytes: usize) {
    let old = cpu.r64(reg);
    let bytes = bytes as u64;
    let v = if cpu.sysflags & rflags::DF == 0 { old.wrapping_add(bytes) } else { old.wrapping_sub(bytes) };
    set_by_mask(cpu, reg, v, op.addr_mask);
}

/// The segment of destinations: ES, not overridable.
#[inline(always)]
pub(super) fn destination(cpu: &Cpu) -> Seg {
    if cpu.mode.has(Mode::CODE64) || cpu.mode.has(Mode::FLAT) { Seg::None } else { Seg::Es }
}

/// Runs `element` until the counter is zero or `element` says `false` (then the result is `true`), at most `limit`
/// times.
#[inline(always)]
fn elements(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    op: &Op,
    limit: u32,
    element: &mut impl FnMut(&mut Cpu, &mut dyn Bus) -> Result<bool, Abort>,
) -> Result<bool, Abort> {
    for _ in 0..limit {
        let count = cpu.r64(RCX) & op.addr_mask;
        if count == 0 {
            return Ok(true);
        }
        let more = element(cpu, bus)?;
        set_by_mask(cpu, RCX, count - 1, op.addr_mask);
        if !more || count == 1 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// In the middle of a repeated instruction: whether there is something to look at between instructions.
#[inline(always)]
fn interruption(cpu: &mut Cpu) -> Exec {
    if cpu.attention.load(Ordering::Relaxed) != 0 { Err(cpu.leave(AbortKind::Retry)) } else { Ok(()) }
}

/// Runs `element` once, or with a REP prefix until the counter is zero or `element` says `false` (or fails).
#[inline(always)]
pub(super) fn repeat(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    op: &Op,
    mut element: impl FnMut(&mut Cpu, &mut dyn Bus) -> Result<bool, Abort>,
) -> Exec {
    if !op.is(Op::REP | Op::REPNE) {
        return element(cpu, bus).map(drop);
    }
    while !elements(cpu, bus, op, SLICE, &mut element)? {
        interruption(cpu)?;
    }
    Ok(())
}

/// Fewer elements than this are not worth the way through [`Cpu::host_span`].
const BULK: u64 = 8;

/// [`repeat`], upwards in pieces: see [`repeat_in_pieces`].
#[inline(always)]
pub(super) fn repeat_in_bulk(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    op: &Op,
    bulk: impl FnMut(&mut Cpu, &mut dyn Bus, u64) -> Result<u64, Abort>,
    element: impl FnMut(&mut Cpu, &mut dyn Bus) -> Result<bool, Abort>,
) -> Exec {
    if cpu.sysflags & rflags::DF == 0 {
        repeat_in_pieces(cpu, bus, op, bulk, element)
    } else {
        repeat(cpu, bus, op, element)
    }
}

/// [`repeat`], where `bulk` is given the counter and does as many elements as it can at once, maybe none (devices,
/// elements across pages); then some go one by one.
#[inline(always)]
fn repeat_in_pieces(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    op: &Op,
    mut bulk: impl FnMut(&mut Cpu, &mut dyn Bus, u64) -> Result<u64, Abort>,
    mut element: impl FnMut(&mut Cpu, &mut dyn Bus) -> Result<bool, Abort>,
) -> Exec {
    if op.is(Op::REP | Op::REPNE) {
        loop {
            let count = cpu.r64(RCX) & op.addr_mask;
            if count < BULK {
                break;
            }
            let done = bulk(cpu, bus, count)?;
            set_by_mask(cpu, RCX, count - done, op.addr_mask);
            if done == 0 && elements(cpu, bus, op, 16, &mut element)? || done == count {
                return Ok(());
            }
            interruption(cpu)?;
        }
    }
    repeat(cpu, bus, op, element)
}

/// The counter of an instruction with REP that goes upwards, if none of these offsets wraps within a page's length.
#[inline(always)]
fn up(cpu: &Cpu, op: &Op, offsets: &[u8]) -> Option<u64> {
    let count = cpu.r64(RCX) & op.addr_mask;
    let fits = |reg: &u8| op.addr_mask - (cpu.r64(*reg) & op.addr_mask) >= 4096;
    let rep = op.is(Op::REP | Op::REPNE) && cpu.sysflags & rflags::DF == 0;
    (rep && offsets.iter().all(fits)).then_some(count)
}

/// The most bytes of `count` elements that can be done at once from the offset in `reg`: not past its wrap, and not
/// past a page.
#[inline(always)]
pub(super) fn reach<T: Width>(cpu: &Cpu, op: &Op, reg: u8, count: u64) -> (u64, usize) {
    let offset = cpu.r64(reg) & op.addr_mask;
    let to_wrap = (op.addr_mask - offset).saturating_add(1);
    (offset, count.saturating_mul(T::BYTES as u64).min(to_wrap).min(4096) as usize)
}

/// Bytes of elements that go to a device at once: a device's lock is not held for longer, nor an interrupt kept waiting.
/// (From RAM to a device, so many bytes are read before the first store: a device that writes them in between, by DMA, is seen late.)
pub(super) const AT_ONCE: usize = 256;

fn movs<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let to = destination(cpu);
    // Most are short.
    if let Some(count) = up(cpu, op, &[RSI, RDI]) {
        let at = |cpu: &Cpu, reg| cpu.r64(reg) & op.addr_mask;
        if cpu.copy_in_pages::<T>((op.seg, at(cpu, RSI)), (to, at(cpu, RDI)), count) {
            [RSI, RDI].into_iter().for_each(|r| advance(cpu, op, r, count as usize * T::BYTES));
            set_by_mask(cpu, RCX, 0, op.addr_mask);
            return Ok(());
        }
    }
    let bulk = |cpu: &mut Cpu, bus: &mut dyn Bus, count| {
        if cpu.sysflags & rflags::DF != 0 {
            return Ok(move_down::<T>(cpu, op, to, count));
        }
        let (source, n) = reach::<T>(cpu, op, RSI, count);
        let (target, m) = reach::<T>(cpu, op, RDI, count);
        let done = match cpu.host_span(bus, op.seg, source, n, Access::Read)? {
            Some(from) => match cpu.host_span(bus, to, target, m, Access::Write)? {
                Some(span) => span.copy_from::<T>(cpu, &from, n.min(m)),
                None => {
                    let mut elements = [0; AT_ONCE];
                    let n = from.read(&mut elements[..n.min(m).min(AT_ONCE)]);
                    cpu.store_elements::<T>(bus, to, target, &elements[..n])?
                }
            },
            // An element is loaded before the access to its target can fault: the target must be known to be fine.
            None => match cpu.known_span(to, target, m) {
                Some(span) => {
                    let mut elements = [0; AT_ONCE];
                    let elements = &mut elements[..n.min(m).min(span.len()).min(AT_ONCE)];
                    let n = cpu.load_elements::<T>(bus, op.seg, source, elements)?;
                    span.write(cpu, &elements[..n])
                }
                None if cpu.is_known_device(to, target) => {
                    cpu.copy_elements::<T>(bus, (op.seg, source), (to, target), n.min(m).min(AT_ONCE))?
                }
                None => 0,
            },
        };
        advance(cpu, op, RSI, done);
        advance(cpu, op, RDI, done);
        Ok((done / T::BYTES) as u64)
    };
    repeat_in_pieces(cpu, bus, op, bulk, |cpu, bus| {
        let v = cpu.load_at::<T>(bus, op.seg, cpu.r64(RSI) & op.addr_mask)?;
        cpu.store_at(bus, to, cpu.r64(RDI) & op.addr_mask, v)?;
        advance(cpu, op, RSI, T::BYTES);
        advance(cpu, op, RDI, T::BYTES);
        Ok(true)
    })
}

/// As many elements of a REP MOVS downwards as can be moved at once: those in pages of RAM that the TLB knows.
fn move_down<T: Width>(cpu: &mut Cpu, op: &Op, to: Seg, count: u64) -> u64 {
    let want = count.saturating_mul(T::BYTES as u64).min(4096) as usize;
    let mut span = |seg, reg, access| {
        // One past the highest byte. (An element that wraps is left to others.)
        let last =
            (cpu.r64(reg) & op.addr_mask).checked_add(T::BYTES as u64 - 1).filter(|last| *last <= op.addr_mask)?;
        cpu.known_span_below(seg, last.checked_add(1)?, want, access)
    };
    let (Some(from), Some(target)) = (span(op.seg, RSI, Access::Read), span(to, RDI, Access::Write)) else { return 0 };
    let done = target.copy_down_from::<T>(cpu, &from, want);
    advance(cpu, op, RSI, done);
    advance(cpu, op, RDI, done);
    (done / T::BYTES) as u64
}

fn stos<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let (to, v) = (destination(cpu), T::get(cpu, 0));
    if let Some(count) = up(cpu, op, &[RDI])
        && cpu.fill_in_page::<T>((to, cpu.r64(RDI) & op.addr_mask), v, count)
    {
        advance(cpu, op, RDI, count as usize * T::BYTES);
        set_by_mask(cpu, RCX, 0, op.addr_mask);
        return Ok(());
    }
    let bulk = |cpu: &mut Cpu, bus: &mut dyn Bus, count| {
        let (target, n) = reach::<T>(cpu, op, RDI, count);
        let done = match cpu.host_span(bus, to, target, n, Access::Write)? {
            Some(span) => span.fill(cpu, v, n),
            None => {
                let mut elements = [0; AT_ONCE];
                let value = v.to_u64().to_le_bytes();
                elements.chunks_exact_mut(T::BYTES).for_each(|e| e.copy_from_slice(&value[..T::BYTES]));
                cpu.store_elements::<T>(bus, to, target, &elements[..n.min(AT_ONCE)])?
            }
        };
        advance(cpu, op, RDI, done);
        Ok((done / T::BYTES) as u64)
    };
    repeat_in_bulk(cpu, bus, op, bulk, |cpu, bus| {
        cpu.store_at(bus, to, cpu.r64(RDI) & op.addr_mask, v)?;
        advance(cpu, op, RDI, T::BYTES);
        Ok(true)
    })
}

fn lods<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    repeat(cpu, bus, op, |cpu, bus| {
        let v = cpu.load_at::<T>(bus, op.seg, cpu.r64(RSI) & op.addr_mask)?;
        T::set(cpu, 0, v);
        advance(cpu, op, RSI, T::BYTES);
        Ok(true)
    })
}

/// Sets the flags of a comparison; whether REPE or REPNE goes on.
#[inline(always)]
fn compare<T: Width>(cpu: &mut Cpu, op: &Op, a: T, b: T) -> bool {
    super::arith::sub(&mut cpu.lazy, a, b, false);
    (a == b) != op.is(Op::REPNE)
}

/// A fault restores the flags of before the instruction.
#[inline(always)]
fn restoring_flags(cpu: &mut Cpu, f: impl FnOnce(&mut Cpu) -> Exec) -> Exec {
    let before = cpu.lazy;
    let done = f(cpu);
    if done.is_err() && cpu.abort != AbortKind::Retry {
        cpu.lazy = before;
    }
    done
}

fn scas<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let (to, a) = (destination(cpu), T::get(cpu, 0));
    restoring_flags(cpu, |cpu| {
        repeat(cpu, bus, op, |cpu, bus| {
            let b = cpu.load_at::<T>(bus, to, cpu.r64(RDI) & op.addr_mask)?;
            advance(cpu, op, RDI, T::BYTES);
            Ok(compare(cpu, op, a, b))
        })
    })
}

fn cmps<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let to = destination(cpu);
    restoring_flags(cpu, |cpu| {
        repeat(cpu, bus, op, |cpu, bus| {
            let a = cpu.load_at::<T>(bus, op.seg, cpu.r64(RSI) & op.addr_mask)?;
            let b = cpu.load_at::<T>(bus, to, cpu.r64(RDI) & op.addr_mask)?;
            advance(cpu, op, RSI, T::BYTES);
            advance(cpu, op, RDI, T::BYTES);
            Ok(compare(cpu, op, a, b))
        })
    })
}

/// Address size and source segment from the implicit memory operands.
pub(super) fn prepare(i: &Instruction, cx: &DecodeCx, op: &mut Op) {
    for n in 0..i.op_count() {
        op.addr_mask = match i.op_kind(n) {
            OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => 0xFFFF,
            OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => 0xFFFF_FFFF,
            OpKind::MemorySegRSI | OpKind::MemorySegRDI | OpKind::MemoryESRDI => u64::MAX,
            _ => continue,
        };
    }
    let source = match i.memory_segment() {
        Register::None => Seg::Ds,
        r => segment(r),
    };
    op.set_segment(source, cx);
}

pub(super) fn decode(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> Option<Handler> {
    let handler: Handler = match i.code() {
        Code::Movsb_m8_m8 => movs::<u8>,
        Code::Movsw_m16_m16 => movs::<u16>,
        Code::Movsd_m32_m32 => movs::<u32>,
        Code::Movsq_m64_m64 => movs::<u64>,
        Code::Stosb_m8_AL => stos::<u8>,
        Code::Stosw_m16_AX => stos::<u16>,
        Code::Stosd_m32_EAX => stos::<u32>,
        Code::Stosq_m64_RAX => stos::<u64>,
        Code::Lodsb_AL_m8 => lods::<u8>,
        Code::Lodsw_AX_m16 => lods::<u16>,
        Code::Lodsd_EAX_m32 => lods::<u32>,
        Code::Lodsq_RAX_m64 => lods::<u64>,
        Code::Scasb_AL_m8 => scas::<u8>,
        Code::Scasw_AX_m16 => scas::<u16>,
        Code::Scasd_EAX_m32 => scas::<u32>,
        Code::Scasq_RAX_m64 => scas::<u64>,
        Code::Cmpsb_m8_m8 => cmps::<u8>,
        Code::Cmpsw_m16_m16 => cmps::<u16>,
        Code::Cmpsd_m32_m32 => cmps::<u32>,
        Code::Cmpsq_m64_m64 => cmps::<u64>,
        _ => return None,
    };
    prepare(i, cx, op);
    Some(handler)
}
