//! XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B (Intel SDM volume 2).

use iced_x86::{Instruction, Mnemonic};

use super::arith::sub;
use super::{Kind, Width, by_size, nop, operand_size, operands};
use crate::bus::Bus;
use crate::fault::Exec;
use crate::flags::{LazyFlags, rflags};
use crate::op::{DecodeCx, Handler, Op};
use crate::state::Cpu;

const RAX: u8 = 0;
const RCX: u8 = 1;
const RDX: u8 = 2;
const RBX: u8 = 3;

fn xchg_reg<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let (a, b) = (T::get(cpu, op.dst), T::get(cpu, op.src));
    T::set(cpu, op.dst, b);
    T::set(cpu, op.src, a);
    Ok(())
}
fn xchg_mem<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let new = T::get(cpu, op.src);
    let mut old = new;
    cpu.modify(bus, op, |_, m: T| {
        old = m;
        new
    })?;
    T::set(cpu, op.src, old);
    Ok(())
}
fn xchg(i: &Instruction, op: &mut Op) -> Option<Handler> {
    let k = operands(i, op)?;
    let size = operand_size(i, 0);
    Some(match (k[0], k[1]) {
        (Kind::Reg, Kind::Reg) => by_size!(size, xchg_reg),
        (Kind::Mem, Kind::Reg) => {
            op.flags |= Op::LOCK; // implied
            by_size!(size, xchg_mem)
        }
        (Kind::Reg, Kind::Mem) => {
            op.flags |= Op::LOCK;
            op.src = op.dst;
            by_size!(size, xchg_mem)
        }
        _ => return None,
    })
}

#[inline(always)]
fn sum<T: Width>(l: &mut LazyFlags, a: T, b: T) -> T {
    let (a, b) = (a.to_u64(), b.to_u64());
    let r = a.wrapping_add(b);
    T::arith(l, r, (a & b) | ((a | b) & !r));
    T::from_u64(r)
}
fn xadd_reg<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let (a, b) = (T::get(cpu, op.dst), T::get(cpu, op.src));
    let r = sum(&mut cpu.lazy, a, b);
    T::set(cpu, op.src, a);
    T::set(cpu, op.dst, r);
    Ok(())
}
fn xadd_mem<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let b = T::get(cpu, op.src);
    let mut flags = cpu.lazy;
    let mut old = b;
    cpu.modify(bus, op, |_, a: T| {
        old = a;
        sum(&mut flags, a, b)
    })?;
    cpu.lazy = flags;
    T::set(cpu, op.src, old);
    Ok(())
}

fn cmpxchg_reg<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let (acc, old) = (T::get(cpu, RAX), T::get(cpu, op.dst));
    sub(&mut cpu.lazy, acc, old, false);
    if acc == old {
        let new = T::get(cpu, op.src);
        T::set(cpu, op.dst, new);
    } else {
        T::set(cpu, RAX, old); // a 32-bit destination keeps its upper half, as on AMD's processors
    }
    Ok(())
}
fn cmpxchg_mem<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let (acc, new) = (T::get(cpu, RAX), T::get(cpu, op.src));
    let mut old = acc;
    cpu.modify(bus, op, |_, m: T| {
        old = m;
        if m == acc { new } else { m }
    })?;
    sub(&mut cpu.lazy, acc, old, false);
    if acc != old {
        T::set(cpu, RAX, old);
    }
    Ok(())
}

fn set_zf(cpu: &mut Cpu, on: bool) {
    let f = cpu.lazy.get() & !rflags::ZF;
    cpu.lazy.set(if on { f | rflags::ZF } else { f });
}

fn cmpxchg8b(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let expected = u64::from(cpu.r32(RDX)) << 32 | u64::from(cpu.r32(RAX));
    let new = u64::from(cpu.r32(RCX)) << 32 | u64::from(cpu.r32(RBX));
    let mut old = 0;
    cpu.modify(bus, op, |_, m: u64| {
        old = m;
        if m == expected { new } else { m }
    })?;
    set_zf(cpu, old == expected);
    if old != expected {
        cpu.set_r32(RAX, old as u32);
        cpu.set_r32(RDX, (old >> 32) as u32);
    }
    Ok(())
}

fn cmpxchg16b(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let at = cpu.ea(op);
    if cpu.seg_base[op.seg as usize & 7].wrapping_add(at) & 15 != 0 {
        return Err(cpu.gp(0));
    }
    let expected = u128::from(cpu.r64(RDX)) << 64 | u128::from(cpu.r64(RAX));
    let new = u128::from(cpu.r64(RCX)) << 64 | u128::from(cpu.r64(RBX));
    let old = cpu.compare_exchange_16(bus, op.seg, at, expected, new, op.is(Op::LOCK))?;
    set_zf(cpu, old == expected);
    if old != expected {
        cpu.set_r64(RAX, old as u64);
        cpu.set_r64(RDX, (old >> 64) as u64);
    }
    Ok(())
}

pub(super) fn decode(i: &Instruction, _: &DecodeCx, op: &mut Op) -> Option<Handler> {
    match i.mnemonic() {
        // XCHG rAX, rAX without REX.B is the one-byte NOP; iced calls it so. With REX.W it changes nothing either.
        Mnemonic::Xchg
            if i.op0_kind() == i.op1_kind() && i.op0_register() == i.op1_register() && operand_size(i, 0) == 8 =>
        {
            Some(nop)
        }
        Mnemonic::Xchg => xchg(i, op),
        Mnemonic::Xadd => {
            let k = operands(i, op)?;
            let size = operand_size(i, 0);
            Some(if k[0] == Kind::Reg { by_size!(size, xadd_reg) } else { by_size!(size, xadd_mem) })
        }
        Mnemonic::Cmpxchg => {
            let k = operands(i, op)?;
            let size = operand_size(i, 0);
            Some(if k[0] == Kind::Reg { by_size!(size, cmpxchg_reg) } else { by_size!(size, cmpxchg_mem) })
        }
        Mnemonic::Cmpxchg8b => Some(cmpxchg8b),
        Mnemonic::Cmpxchg16b => Some(cmpxchg16b),
        _ => None,
    }
}
