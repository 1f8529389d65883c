//! BMI1 and BMI2: ANDN, BEXTR, BLSI, BLSMSK, BLSR, BZHI, MULX, PDEP, PEXT, RORX, SARX, SHLX, SHRX (Intel SDM volume 2). Being
//! VEX-encoded they do not exist in real and virtual-8086 mode. TZCNT and LZCNT are in `bits`.

use iced_x86::{Instruction, Mnemonic};

use super::{Kind, Width, operand_size, operands};
use crate::bus::Bus;
use crate::fault::Exec;
use crate::flags::LazyFlags;
use crate::op::{DecodeCx, Handler, Op};
use crate::state::{Cpu, Mode};

/// An operation on the r/m operand `v` and the other operand `o` (register or immediate) to a register.
trait Bmi {
    fn run<T: Width>(l: &mut LazyFlags, v: T, o: u64) -> u64;
}
struct Andn;
struct Bextr;
struct Blsi;
struct Blsmsk;
struct Blsr;
struct Bzhi;
struct Pdep;
struct Pext;
struct Rorx;
struct Sarx;
struct Shlx;
struct Shrx;

impl Bmi for Andn {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, v: T, o: u64) -> u64 {
        let r = v.to_u64() & !o;
        T::logic(l, r);
        r
    }
}
impl Bmi for Bextr {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, v: T, o: u64) -> u64 {
        let (start, len) = (o as u8, (o >> 8) as u8);
        let from = v.to_u64().checked_shr(u32::from(start)).unwrap_or(0);
        let r = if len < 64 { from & ((1 << len) - 1) } else { from };
        T::shifted(l, r);
        r
    }
}
impl Bmi for Blsi {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, v: T, _: u64) -> u64 {
        let v = v.to_u64();
        let r = v & v.wrapping_neg();
        T::logic(l, r);
        l.set_cf_of(v != 0, false);
        r
    }
}
impl Bmi for Blsmsk {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, v: T, _: u64) -> u64 {
        let v = v.to_u64();
        let r = v ^ v.wrapping_sub(1);
        T::logic(l, r);
        l.set_cf_of(v == 0, false);
        r
    }
}
impl Bmi for Blsr {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, v: T, _: u64) -> u64 {
        let v = v.to_u64();
        let r = v & v.wrapping_sub(1);
        T::logic(l, r);
        l.set_cf_of(v == 0, false);
        r
    }
}
impl Bmi for Bzhi {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, v: T, o: u64) -> u64 {
        let n = u32::from(o as u8);
        let r = if n < T::BITS { v.to_u64() & ((1 << n) - 1) } else { v.to_u64() };
        T::logic(l, r);
        l.set_cf_of(n > T::BITS - 1, false);
        r
    }
}
impl Bmi for Pdep {
    fn run<T: Width>(_: &mut LazyFlags, v: T, o: u64) -> u64 {
        // v is the mask (the r/m operand), o the source.
        let (mut mask, mut source, mut r) = (v.to_u64(), o, 0);
        while mask != 0 {
            let lowest = mask & mask.wrapping_neg();
            if source & 1 != 0 {
                r |= lowest;
            }
            source >>= 1;
            mask ^= lowest;
        }
        r
    }
}
impl Bmi for Pext {
    fn run<T: Width>(_: &mut LazyFlags, v: T, o: u64) -> u64 {
        let (mut mask, mut to, mut r) = (v.to_u64(), 1u64, 0);
        while mask != 0 {
            let lowest = mask & mask.wrapping_neg();
            if o & lowest != 0 {
                r |= to;
            }
            to = to.wrapping_shl(1);
            mask ^= lowest;
        }
        r
    }
}
impl Bmi for Rorx {
    #[inline(always)]
    fn run<T: Width>(_: &mut LazyFlags, v: T, o: u64) -> u64 {
        let n = o as u32;
        if T::BITS == 32 {
            u64::from((v.to_u64() as u32).rotate_right(n & 31))
        } else {
            v.to_u64().rotate_right(n & 63)
        }
    }
}
impl Bmi for Sarx {
    #[inline(always)]
    fn run<T: Width>(_: &mut LazyFlags, v: T, o: u64) -> u64 {
        (v.sext() as i64 >> (o as u32 & (T::BITS - 1))) as u64
    }
}
impl Bmi for Shlx {
    #[inline(always)]
    fn run<T: Width>(_: &mut LazyFlags, v: T, o: u64) -> u64 {
        v.to_u64() << (o as u32 & (T::BITS - 1))
    }
}
impl Bmi for Shrx {
    #[inline(always)]
    fn run<T: Width>(_: &mut LazyFlags, v: T, o: u64) -> u64 {
        v.to_u64() >> (o as u32 & (T::BITS - 1))
    }
}

/// `MEM`: r/m is memory, else register `src`; `IMM`: the other operand is `imm`, else register `src2`.
fn handler<T: Width, B: Bmi, const MEM: bool, const IMM: bool>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let v = if MEM { cpu.load::<T>(bus, op)? } else { T::get(cpu, op.src) };
    let o = if IMM { op.imm } else { T::get(cpu, op.src2).to_u64() };
    let r = B::run(&mut cpu.lazy, v, o);
    T::set(cpu, op.dst, T::from_u64(r));
    Ok(())
}

/// Operand `rm` (1 or 2) is the r/m one.
fn bmi<B: Bmi>(i: &Instruction, op: &mut Op, rm: usize) -> Option<Handler> {
    let k = operands(i, op)?;
    if rm == 2 {
        std::mem::swap(&mut op.src, &mut op.src2);
    }
    let imm = k[3 - rm] == Kind::Imm;
    Some(match (operand_size(i, 0), k[rm] == Kind::Mem, imm) {
        (4, false, false) => handler::<u32, B, false, false>,
        (4, true, false) => handler::<u32, B, true, false>,
        (4, false, true) => handler::<u32, B, false, true>,
        (4, true, true) => handler::<u32, B, true, true>,
        (8, false, false) => handler::<u64, B, false, false>,
        (8, true, false) => handler::<u64, B, true, false>,
        (8, false, true) => handler::<u64, B, false, true>,
        (8, true, true) => handler::<u64, B, true, true>,
        _ => return None,
    })
}

/// MULX: high half to `dst`, low half to `src` (written first: with the same register the high half stays).
fn mulx<T: Width, const MEM: bool>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let v = if MEM { cpu.load::<T>(bus, op)? } else { T::get(cpu, op.src2) };
    let p = u128::from(T::get(cpu, 2).to_u64()) * u128::from(v.to_u64());
    T::set(cpu, op.src, T::from_u64(p as u64));
    T::set(cpu, op.dst, T::from_u64((p >> T::BITS) as u64));
    Ok(())
}

pub(super) fn decode(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> Option<Handler> {
    if !cx.mode.has(Mode::PROTECTED) || cx.mode.has(Mode::V86) {
        return None;
    }
    match i.mnemonic() {
        Mnemonic::Andn => bmi::<Andn>(i, op, 2),
        Mnemonic::Bextr if i.op2_kind() == iced_x86::OpKind::Register => bmi::<Bextr>(i, op, 1),
        Mnemonic::Blsi => bmi::<Blsi>(i, op, 1),
        Mnemonic::Blsmsk => bmi::<Blsmsk>(i, op, 1),
        Mnemonic::Blsr => bmi::<Blsr>(i, op, 1),
        Mnemonic::Bzhi => bmi::<Bzhi>(i, op, 1),
        Mnemonic::Pdep => bmi::<Pdep>(i, op, 2),
        Mnemonic::Pext => bmi::<Pext>(i, op, 2),
        Mnemonic::Rorx => bmi::<Rorx>(i, op, 1),
        Mnemonic::Sarx => bmi::<Sarx>(i, op, 1),
        Mnemonic::Shlx => bmi::<Shlx>(i, op, 1),
        Mnemonic::Shrx => bmi::<Shrx>(i, op, 1),
        Mnemonic::Mulx => {
            let k = operands(i, op)?;
            Some(match (operand_size(i, 0), k[2] == Kind::Mem) {
                (4, false) => mulx::<u32, false>,
                (4, true) => mulx::<u32, true>,
                (_, false) => mulx::<u64, false>,
                (_, true) => mulx::<u64, true>,
            })
        }
        _ => None,
    }
}
