//! Shifts and rotates: SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD (Intel SDM volume 2).
//!
//! A count of zero after masking changes no flag (a 32-bit destination is still written). OF, defined for counts of
//! one only, is computed by the same formula for all counts; AF, undefined, is set by shifts (both as on AMD's processors).

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::{Kind, Width, by_size, by_word_size, operand_size, operands};
use crate::bus::Bus;
use crate::fault::Exec;
use crate::flags::LazyFlags;
use crate::op::{DecodeCx, Handler, Op};
use crate::state::Cpu;

/// A shift or rotate by `n`, masked and not zero.
trait Shift {
    fn run<T: Width>(l: &mut LazyFlags, a: T, n: u32) -> T;
}

struct Shl;
struct Shr;
struct Sar;
struct Rol;
struct Ror;
struct Rcl;
struct Rcr;

#[inline(always)]
fn bit(v: u64, n: u32) -> bool {
    v >> (n & 63) & 1 != 0
}

impl Shift for Shl {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, n: u32) -> T {
        let wide = u128::from(a.to_u64()) << n;
        let r = T::from_u64(wide as u64);
        let cf = wide >> T::BITS & 1 != 0;
        T::shifted(l, r.to_u64());
        l.set_cf_of(cf, r.msb() != cf);
        r
    }
}
impl Shift for Shr {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, n: u32) -> T {
        let a = a.to_u64();
        let r = T::from_u64(a >> n);
        T::shifted(l, r.to_u64());
        l.set_cf_of(bit(a, n - 1), bit(r.to_u64() << 1 ^ r.to_u64(), T::BITS - 1));
        r
    }
}
impl Shift for Sar {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, n: u32) -> T {
        let a = a.sext() as i64;
        let r = T::from_u64((a >> n) as u64);
        T::shifted(l, r.to_u64());
        l.set_cf_of(bit(a as u64, n - 1), false);
        r
    }
}
impl Shift for Rol {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, n: u32) -> T {
        let (v, k) = (a.to_u64(), n & (T::BITS - 1));
        let r = T::from_u64(v << k | v >> ((T::BITS - k) & 63) & if k == 0 { 0 } else { u64::MAX });
        let cf = r.to_u64() & 1 != 0;
        l.set_cf_of(cf, r.msb() != cf);
        r
    }
}
impl Shift for Ror {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, n: u32) -> T {
        let (v, k) = (a.to_u64(), n & (T::BITS - 1));
        let r = T::from_u64(v >> k | if k == 0 { 0 } else { v << (T::BITS - k) });
        l.set_cf_of(r.msb(), r.msb() != bit(r.to_u64(), T::BITS - 2));
        r
    }
}
impl Shift for Rcl {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, n: u32) -> T {
        let k = n % (T::BITS + 1);
        let v = u128::from(l.cf()) << T::BITS | u128::from(a.to_u64());
        let w = v << k | v >> (T::BITS + 1 - k);
        let r = T::from_u64(w as u64);
        let cf = w >> T::BITS & 1 != 0;
        l.set_cf_of(cf, r.msb() != cf);
        r
    }
}
impl Shift for Rcr {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, n: u32) -> T {
        let k = n % (T::BITS + 1);
        let v = u128::from(l.cf()) << T::BITS | u128::from(a.to_u64());
        // The part that wraps around may not overflow 128 bits: it is at most 65 + 64 bits, and the top one is cut.
        let w = v >> k | if k == 0 { 0 } else { v << (T::BITS + 1 - k) };
        let r = T::from_u64(w as u64);
        let cf = w >> T::BITS & 1 != 0;
        l.set_cf_of(cf, r.msb() != bit(r.to_u64(), T::BITS - 2));
        r
    }
}

/// The count mask: 6 bits for 64-bit operands, 5 for all others.
#[inline(always)]
fn masked<T: Width>(n: u64) -> u32 {
    n as u32 & if T::BITS == 64 { 63 } else { 31 }
}

#[inline(always)]
fn on_reg<T: Width, S: Shift>(cpu: &mut Cpu, op: &Op, n: u32) -> Exec {
    let a = T::get(cpu, op.dst);
    let r = if n == 0 { a } else { S::run(&mut cpu.lazy, a, n) };
    T::set(cpu, op.dst, r);
    Ok(())
}
#[inline(always)]
fn on_mem<T: Width, S: Shift>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op, n: u32) -> Exec {
    let before = cpu.lazy;
    let mut after = before;
    cpu.modify(bus, op, |_, a: T| {
        after = before;
        if n == 0 { a } else { S::run(&mut after, a, n) }
    })?;
    cpu.lazy = after;
    Ok(())
}
fn reg_imm<T: Width, S: Shift>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    on_reg::<T, S>(cpu, op, masked::<T>(op.imm))
}
fn reg_cl<T: Width, S: Shift>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let n = masked::<T>(cpu.r64(1));
    on_reg::<T, S>(cpu, op, n)
}
fn mem_imm<T: Width, S: Shift>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    on_mem::<T, S>(cpu, bus, op, masked::<T>(op.imm))
}
fn mem_cl<T: Width, S: Shift>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let n = masked::<T>(cpu.r64(1));
    on_mem::<T, S>(cpu, bus, op, n)
}

fn shift<S: Shift>(i: &Instruction, op: &mut Op) -> Option<Handler> {
    let k = operands(i, op)?;
    let size = operand_size(i, 0);
    Some(match (k[0], k[1]) {
        (Kind::Reg, Kind::Imm) => by_size!(size, reg_imm, S),
        (Kind::Reg, Kind::Reg) => by_size!(size, reg_cl, S),
        (Kind::Mem, Kind::Imm) => by_size!(size, mem_imm, S),
        (Kind::Mem, Kind::Reg) => by_size!(size, mem_cl, S),
        _ => return None,
    })
}

/// SHLD (`LEFT`) or SHRD. Counts above 16 with 16-bit operands, undefined in the manual, shift the first operand
/// in again after the second, as Intel's processors do.
#[inline(always)]
fn double<T: Width, const LEFT: bool>(l: &mut LazyFlags, a: T, b: T, n: u32) -> T {
    if n == 0 {
        return a;
    }
    let (x, y) = (u128::from(a.to_u64()), u128::from(b.to_u64()));
    let (r, cf) = if LEFT {
        let w = if T::BITS == 16 { x << 32 | y << 16 | x } else { x << T::BITS | y };
        let top = if T::BITS == 16 { 32 } else { T::BITS };
        ((w << n >> top) as u64, w >> (top + T::BITS - n) & 1 != 0)
    } else {
        let w = if T::BITS == 16 { x << 32 | y << 16 | x } else { y << T::BITS | x };
        ((w >> n) as u64, w >> (n - 1) & 1 != 0)
    };
    let r = T::from_u64(r);
    T::shifted(l, r.to_u64());
    let of = if LEFT { cf } else { bit(r.to_u64(), T::BITS - 2) };
    l.set_cf_of(cf, r.msb() != of);
    r
}

fn double_reg<T: Width, C: Count, const LEFT: bool>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let n = C::get::<T>(cpu, op);
    let (a, b) = (T::get(cpu, op.dst), T::get(cpu, op.src));
    let r = double::<T, LEFT>(&mut cpu.lazy, a, b, n);
    T::set(cpu, op.dst, r);
    Ok(())
}
fn double_mem<T: Width, C: Count, const LEFT: bool>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let n = C::get::<T>(cpu, op);
    let b = T::get(cpu, op.src);
    let before = cpu.lazy;
    let mut after = before;
    cpu.modify(bus, op, |_, a: T| {
        after = before;
        double::<T, LEFT>(&mut after, a, b, n)
    })?;
    cpu.lazy = after;
    Ok(())
}

/// Where SHLD and SHRD take their count from.
trait Count {
    fn get<T: Width>(cpu: &Cpu, op: &Op) -> u32;
}
struct Imm;
struct Cl;
impl Count for Imm {
    #[inline(always)]
    fn get<T: Width>(_: &Cpu, op: &Op) -> u32 {
        masked::<T>(op.imm)
    }
}
impl Count for Cl {
    #[inline(always)]
    fn get<T: Width>(cpu: &Cpu, _: &Op) -> u32 {
        masked::<T>(cpu.r64(1))
    }
}

fn shld_reg<T: Width, C: Count>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    double_reg::<T, C, true>(cpu, bus, op)
}
fn shrd_reg<T: Width, C: Count>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    double_reg::<T, C, false>(cpu, bus, op)
}
fn shld_mem<T: Width, C: Count>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    double_mem::<T, C, true>(cpu, bus, op)
}
fn shrd_mem<T: Width, C: Count>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    double_mem::<T, C, false>(cpu, bus, op)
}

fn double_shift<C: Count>(i: &Instruction, op: &mut Op, left: bool) -> Option<Handler> {
    let k = operands(i, op)?;
    let size = operand_size(i, 0);
    Some(match (k[0], left) {
        (Kind::Reg, true) => by_word_size!(size, shld_reg, C),
        (Kind::Reg, false) => by_word_size!(size, shrd_reg, C),
        (_, true) => by_word_size!(size, shld_mem, C),
        (_, false) => by_word_size!(size, shrd_mem, C),
    })
}

pub(super) fn decode(i: &Instruction, _: &DecodeCx, op: &mut Op) -> Option<Handler> {
    match i.mnemonic() {
        Mnemonic::Shl | Mnemonic::Sal => shift::<Shl>(i, op),
        Mnemonic::Shr => shift::<Shr>(i, op),
        Mnemonic::Sar => shift::<Sar>(i, op),
        Mnemonic::Rol => shift::<Rol>(i, op),
        Mnemonic::Ror => shift::<Ror>(i, op),
        Mnemonic::Rcl => shift::<Rcl>(i, op),
        Mnemonic::Rcr => shift::<Rcr>(i, op),
        m @ (Mnemonic::Shld | Mnemonic::Shrd) => {
            let left = m == Mnemonic::Shld;
            if i.op2_kind() == OpKind::Register {
                double_shift::<Cl>(i, op, left)
            } else {
                double_shift::<Imm>(i, op, left)
            }
        }
        _ => None,
    }
}
