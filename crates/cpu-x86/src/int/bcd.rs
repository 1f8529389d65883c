//! Decimal adjustment: AAA, AAS, AAM, AAD, DAA, DAS, and BOUND (Intel SDM volume 2). Not in 64-bit code. The flags the
//! manual leaves undefined are of the result (OF clear).

use iced_x86::{Code, Instruction, Mnemonic};

use super::{Width, operands};
use crate::bus::Bus;
use crate::fault::{Exec, vector};
use crate::flags::rflags;
use crate::op::{DecodeCx, Handler, Op};
use crate::state::Cpu;

/// SF, ZF and PF of `al`, CF and AF as given, OF clear.
fn set_flags(cpu: &mut Cpu, al: u8, cf: bool, af: bool) {
    cpu.lazy.set_logic::<8>(u64::from(al));
    let f = cpu.lazy.get() | if cf { rflags::CF } else { 0 } | if af { rflags::AF } else { 0 };
    cpu.lazy.set(f);
}

/// AAA and AAS.
fn ascii<const ADD: bool>(cpu: &mut Cpu, _: &mut dyn Bus, _: &Op) -> Exec {
    let ax = cpu.r16(0);
    let adjust = ax & 15 > 9 || cpu.lazy.af();
    let ax = match (adjust, ADD) {
        (false, _) => ax,
        (true, true) => ax.wrapping_add(0x106),
        (true, false) => ax.wrapping_sub(0x106),
    };
    let ax = ax & 0xFF0F;
    cpu.set_r16(0, ax);
    set_flags(cpu, ax as u8, adjust, adjust);
    Ok(())
}

/// DAA and DAS.
fn decimal<const ADD: bool>(cpu: &mut Cpu, _: &mut dyn Bus, _: &Op) -> Exec {
    let (old, old_cf) = (cpu.r8(0), cpu.lazy.cf());
    let (mut al, mut cf) = (old, false);
    let af = old & 15 > 9 || cpu.lazy.af();
    if af {
        let (r, carry) = if ADD { al.overflowing_add(6) } else { al.overflowing_sub(6) };
        al = r;
        cf = old_cf || carry;
    }
    if old > 0x99 || old_cf {
        al = if ADD { al.wrapping_add(0x60) } else { al.wrapping_sub(0x60) };
        cf = true;
    } else if ADD {
        cf = false;
    }
    cpu.set_r8(0, al);
    set_flags(cpu, al, cf, af);
    Ok(())
}

fn aam(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let (al, base) = (cpu.r8(0), op.imm as u8);
    if base == 0 {
        return Err(cpu.raise(vector::DE));
    }
    cpu.set_r16(0, u16::from(al / base) << 8 | u16::from(al % base));
    set_flags(cpu, al % base, false, false);
    Ok(())
}

fn aad(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let ax = cpu.r16(0);
    let al = (ax as u8).wrapping_add(((ax >> 8) as u8).wrapping_mul(op.imm as u8));
    cpu.set_r16(0, u16::from(al));
    set_flags(cpu, al, false, false);
    Ok(())
}

/// BOUND: #BR when the signed index is outside the pair of bounds.
fn bound<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let at = cpu.ea(op);
    let low = cpu.load_at::<T>(bus, op.seg, at)?.sext() as i64;
    let high = cpu.load_at::<T>(bus, op.seg, at.wrapping_add(T::BYTES as u64) & op.addr_mask)?.sext() as i64;
    let index = T::get(cpu, op.dst).sext() as i64;
    if index < low || index > high { Err(cpu.raise(vector::BR)) } else { Ok(()) }
}

pub(super) fn decode(i: &Instruction, _: &DecodeCx, op: &mut Op) -> Option<Handler> {
    match i.mnemonic() {
        Mnemonic::Aaa => Some(ascii::<true>),
        Mnemonic::Aas => Some(ascii::<false>),
        Mnemonic::Daa => Some(decimal::<true>),
        Mnemonic::Das => Some(decimal::<false>),
        Mnemonic::Aam => {
            operands(i, op)?;
            Some(aam)
        }
        Mnemonic::Aad => {
            operands(i, op)?;
            Some(aad)
        }
        Mnemonic::Bound => {
            operands(i, op)?;
            Some(if i.code() == Code::Bound_r16_m1616 { bound::<u16> } else { bound::<u32> })
        }
        _ => None,
    }
}
