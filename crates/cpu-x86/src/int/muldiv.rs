//! MUL, IMUL, DIV, IDIV (Intel SDM volume 2). Flags left undefined are as on AMD's
//! processors: MUL and IMUL keep them; DIV and IDIV keep CF and OF, set AF, clear the rest.

use iced_x86::{Instruction, Mnemonic};

use super::{Kind, Width, by_size, by_word_size, operand_size, operands};
use crate::bus::Bus;
use crate::fault::{Exec, vector};
use crate::flags::rflags;
use crate::op::{DecodeCx, Handler, Op};
use crate::state::Cpu;

const AX: u8 = 0;
const DX: u8 = 2;

/// The double-width accumulator: AX, DX:AX, EDX:EAX, RDX:RAX.
#[inline(always)]
fn accumulator<T: Width>(cpu: &Cpu) -> u128 {
    if T::BITS == 8 {
        u128::from(cpu.r16(AX))
    } else {
        u128::from(T::get(cpu, DX).to_u64()) << T::BITS | u128::from(T::get(cpu, AX).to_u64())
    }
}
#[inline(always)]
fn set_halves<T: Width>(cpu: &mut Cpu, low: u64, high: u64) {
    if T::BITS == 8 {
        cpu.set_r16(AX, (low & 0xFF | high << 8) as u16);
    } else {
        T::set(cpu, AX, T::from_u64(low));
        T::set(cpu, DX, T::from_u64(high));
    }
}

#[inline(always)]
fn set_divided_flags(cpu: &mut Cpu) {
    let f = cpu.lazy.get() & (rflags::CF | rflags::OF) | rflags::AF;
    cpu.lazy.set(f);
}

/// An operation on the accumulator.
trait Wide {
    fn run<T: Width>(cpu: &mut Cpu, b: T) -> Exec;
}
struct Mul;
struct Imul;
struct Div;
struct Idiv;

impl Wide for Mul {
    #[inline(always)]
    fn run<T: Width>(cpu: &mut Cpu, b: T) -> Exec {
        let p = u128::from(T::get(cpu, AX).to_u64()) * u128::from(b.to_u64());
        let high = (p >> T::BITS) as u64;
        set_halves::<T>(cpu, p as u64, high);
        cpu.lazy.set_cf_of(high != 0, high != 0);
        Ok(())
    }
}
impl Wide for Imul {
    #[inline(always)]
    fn run<T: Width>(cpu: &mut Cpu, b: T) -> Exec {
        let p = i128::from(T::get(cpu, AX).sext() as i64) * i128::from(b.sext() as i64);
        set_halves::<T>(cpu, p as u64, (p >> T::BITS) as u64);
        let over = i128::from(T::from_u64(p as u64).sext() as i64) != p;
        cpu.lazy.set_cf_of(over, over);
        Ok(())
    }
}
impl Wide for Div {
    #[inline(always)]
    fn run<T: Width>(cpu: &mut Cpu, b: T) -> Exec {
        let (n, d) = (accumulator::<T>(cpu), b.to_u64());
        if d == 0 || n >> T::BITS >= u128::from(d) {
            return Err(cpu.raise(vector::DE));
        }
        let (q, r) = match u64::try_from(n) {
            Ok(n) => (n / d, n % d),
            Err(_) => ((n / u128::from(d)) as u64, (n % u128::from(d)) as u64),
        };
        set_halves::<T>(cpu, q, r);
        set_divided_flags(cpu);
        Ok(())
    }
}
impl Wide for Idiv {
    #[inline(always)]
    fn run<T: Width>(cpu: &mut Cpu, b: T) -> Exec {
        let up = 128 - 2 * T::BITS;
        let n = (accumulator::<T>(cpu) << up) as i128 >> up;
        let d = b.sext() as i64;
        let both = match i64::try_from(n) {
            Ok(n) => n.checked_div(d).map(|q| (i128::from(q), n.wrapping_rem(d))),
            Err(_) => n.checked_div(i128::from(d)).map(|q| (q, n.wrapping_rem(i128::from(d)) as i64)),
        };
        match both {
            Some((q, r)) if i128::from(T::from_u64(q as u64).sext() as i64) == q => {
                set_halves::<T>(cpu, q as u64, r as u64);
                set_divided_flags(cpu);
                Ok(())
            }
            _ => Err(cpu.raise(vector::DE)),
        }
    }
}

fn wide_reg<T: Width, W: Wide>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let b = T::get(cpu, op.dst);
    W::run(cpu, b)
}
fn wide_mem<T: Width, W: Wide>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let b = cpu.load::<T>(bus, op)?;
    W::run(cpu, b)
}
fn wide<W: Wide>(i: &Instruction, op: &mut Op) -> Option<Handler> {
    let k = operands(i, op)?;
    let size = operand_size(i, 0);
    Some(if k[0] == Kind::Reg { by_size!(size, wide_reg, W) } else { by_size!(size, wide_mem, W) })
}

/// IMUL with a destination register.
#[inline(always)]
fn imul<T: Width>(cpu: &mut Cpu, op: &Op, a: T, b: T) -> Exec {
    let p = i128::from(a.sext() as i64) * i128::from(b.sext() as i64);
    let r = T::from_u64(p as u64);
    let over = i128::from(r.sext() as i64) != p;
    T::set(cpu, op.dst, r);
    cpu.lazy.set_cf_of(over, over);
    Ok(())
}
fn imul_reg<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let (a, b) = (T::get(cpu, op.dst), T::get(cpu, op.src));
    imul(cpu, op, a, b)
}
fn imul_mem<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let b = cpu.load::<T>(bus, op)?;
    let a = T::get(cpu, op.dst);
    imul(cpu, op, a, b)
}
fn imul_reg_imm<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let a = T::get(cpu, op.src);
    imul(cpu, op, a, T::from_u64(op.imm))
}
fn imul_mem_imm<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let a = cpu.load::<T>(bus, op)?;
    imul(cpu, op, a, T::from_u64(op.imm))
}

pub(super) fn decode(i: &Instruction, _: &DecodeCx, op: &mut Op) -> Option<Handler> {
    match i.mnemonic() {
        Mnemonic::Mul => wide::<Mul>(i, op),
        Mnemonic::Div => wide::<Div>(i, op),
        Mnemonic::Idiv => wide::<Idiv>(i, op),
        Mnemonic::Imul if i.op_count() == 1 => wide::<Imul>(i, op),
        Mnemonic::Imul => {
            let k = operands(i, op)?;
            let size = operand_size(i, 0);
            Some(match (k[1], k[2]) {
                (Kind::Reg, Kind::None) => by_word_size!(size, imul_reg),
                (Kind::Mem, Kind::None) => by_word_size!(size, imul_mem),
                (Kind::Reg, _) => by_word_size!(size, imul_reg_imm),
                _ => by_word_size!(size, imul_mem_imm),
            })
        }
        _ => None,
    }
}
