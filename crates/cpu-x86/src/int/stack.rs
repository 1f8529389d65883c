//! PUSH, POP, PUSHA, POPA, ENTER, LEAVE (Intel SDM volume 2). Segment registers and RFLAGS on the stack are `sys`'s.

use iced_x86::{Code, Instruction, Mnemonic, OpKind};

use super::{Kind, Width, by_word_size, operand_size, operands};
use crate::bus::Bus;
use crate::fault::{Abort, Exec};
use crate::op::{DecodeCx, Handler, Op};
use crate::state::Cpu;

const SP: u8 = 4;
const BP: u8 = 5;

fn push_reg<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.push(bus, T::get(cpu, op.dst))
}
fn push_imm<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.push(bus, T::from_u64(op.imm))
}
fn push_mem<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let v = cpu.load::<T>(bus, op)?;
    cpu.push(bus, v)
}
fn pop_reg<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let v = cpu.pop::<T>(bus)?;
    T::set(cpu, op.dst, v);
    Ok(())
}
/// The address is computed with the stack pointer after the pop.
fn pop_mem<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    keeping_sp(cpu, |cpu| {
        let v = cpu.pop::<T>(bus)?;
        cpu.store(bus, op, v)
    })
}

/// Runs `f`; the stack pointer is as before when it fails.
#[inline(always)]
fn keeping_sp(cpu: &mut Cpu, f: impl FnOnce(&mut Cpu) -> Exec) -> Exec {
    let sp = cpu.r64(SP);
    let done = f(cpu);
    if done.is_err() {
        cpu.set_r64(SP, sp);
    }
    done
}

fn pusha<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, _: &Op) -> Exec {
    let values: [T; 8] = std::array::from_fn(|i| T::get(cpu, i as u8));
    keeping_sp(cpu, |cpu| values.iter().try_for_each(|v| cpu.push(bus, *v)))
}
fn popa<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, _: &Op) -> Exec {
    let mut values = [T::from_u64(0); 8];
    keeping_sp(cpu, |cpu| {
        for v in values.iter_mut().rev() {
            *v = cpu.pop::<T>(bus)?;
        }
        Ok(())
    })?;
    for (i, v) in (0..8).zip(values) {
        if i != SP {
            T::set(cpu, i, v);
        }
    }
    Ok(())
}

/// `imm`: bytes to reserve; `aux`: nesting level, 0 to 31.
fn enter<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let mut frame = 0;
    let (seg, mask) = cpu.stack();
    keeping_sp(cpu, |cpu| {
        let mut link = cpu.r64(BP);
        cpu.push(bus, T::get(cpu, BP))?;
        frame = cpu.r64(SP);
        if op.aux > 0 {
            for _ in 1..op.aux {
                link = link.wrapping_sub(T::BYTES as u64);
                let v = cpu.load_at::<T>(bus, seg, link & mask)?;
                cpu.push(bus, v)?;
            }
            cpu.push(bus, T::from_u64(frame))?;
        }
        let sp = cpu.r64(SP).wrapping_sub(op.imm);
        cpu.check_write(bus, seg, sp & mask, T::BYTES)?; // the new top must be writable, though nothing is written
        cpu.set_sp(sp);
        Ok(())
    })?;
    T::set(cpu, BP, T::from_u64(frame));
    Ok(())
}

fn leave<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, _: &Op) -> Exec {
    let (seg, mask) = cpu.stack();
    let bp = cpu.r64(BP);
    let v: Result<T, Abort> = cpu.load_at(bus, seg, bp & mask);
    let v = v?;
    cpu.set_sp(bp.wrapping_add(T::BYTES as u64));
    T::set(cpu, BP, v);
    Ok(())
}

pub(super) fn decode(i: &Instruction, _: &DecodeCx, op: &mut Op) -> Option<Handler> {
    match i.mnemonic() {
        Mnemonic::Push => {
            let k = operands(i, op)?;
            let size = i.stack_pointer_increment().unsigned_abs();
            Some(match k[0] {
                Kind::Reg => by_word_size!(size, push_reg),
                Kind::Mem => by_word_size!(size, push_mem),
                _ => by_word_size!(size, push_imm),
            })
        }
        Mnemonic::Pop => {
            let k = operands(i, op)?;
            let size = operand_size(i, 0);
            Some(if k[0] == Kind::Reg { by_word_size!(size, pop_reg) } else { by_word_size!(size, pop_mem) })
        }
        Mnemonic::Pusha => Some(pusha::<u16>),
        Mnemonic::Pushad => Some(pusha::<u32>),
        Mnemonic::Popa => Some(popa::<u16>),
        Mnemonic::Popad => Some(popa::<u32>),
        Mnemonic::Enter => {
            debug_assert_eq!(i.op1_kind(), OpKind::Immediate8_2nd);
            op.imm = u64::from(i.immediate16());
            op.aux = u64::from(i.immediate8_2nd() & 31);
            Some(match i.code() {
                Code::Enterw_imm16_imm8 => enter::<u16>,
                Code::Enterd_imm16_imm8 => enter::<u32>,
                _ => enter::<u64>,
            })
        }
        Mnemonic::Leave => Some(match i.code() {
            Code::Leavew => leave::<u16>,
            Code::Leaved => leave::<u32>,
            _ => leave::<u64>,
        }),
        _ => None,
    }
}
