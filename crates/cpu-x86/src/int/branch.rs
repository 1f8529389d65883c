//! Near control transfer: Jcc, JMP, CALL, RET, LOOP, JCXZ (Intel SDM volume 2). In 64-bit code an operand-size prefix
//! is ignored, as Intel's processors do (and `iced` decodes).

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use super::{Kind, Width, by_condition, by_word_size, canonical, condition, holds, operand_size, operands};
use crate::bus::Bus;
use crate::fault::Exec;
use crate::op::{DecodeCx, Handler, Op};
use crate::state::{Cpu, Mode, REG_RIP, Seg};

/// The target of a direct branch, which is `op.imm` bytes from the block's start.
#[inline(always)]
fn near(cpu: &Cpu, op: &Op) -> u64 {
    cpu.r64(REG_RIP).wrapping_add(op.imm) & op.addr_mask
}

/// The check of a branch target: canonical in 64-bit code, within the code segment else.
#[inline(always)]
fn check_target(cpu: &mut Cpu, target: u64) -> Exec {
    let good = if cpu.mode.has(Mode::CODE64) {
        canonical(target)
    } else {
        target <= u64::from(cpu.segs[Seg::Cs as usize].limit)
    };
    if good { Ok(()) } else { Err(cpu.gp(0)) }
}

/// A direct jump; `CHECK`: its target may be wrong.
fn jmp<const CHECK: bool>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let target = near(cpu, op);
    if CHECK {
        check_target(cpu, target)?;
    }
    cpu.branch(target);
    Ok(())
}
fn jcc<const CC: u8, const CHECK: bool>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    if holds::<CC>(&cpu.lazy) { jmp::<CHECK>(cpu, bus, op) } else { Ok(()) }
}

fn jmp_reg<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let target = T::get(cpu, op.dst).to_u64();
    check_target(cpu, target)?;
    cpu.branch(target);
    Ok(())
}
fn jmp_mem<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let target = cpu.load::<T>(bus, op)?.to_u64();
    check_target(cpu, target)?;
    cpu.branch(target);
    Ok(())
}

#[inline(always)]
fn call_to<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op, target: u64) -> Exec {
    let back = T::from_u64(cpu.next_rip(op));
    cpu.push(bus, back)?;
    cpu.branch(target);
    Ok(())
}
/// CALL rel in flat 32-bit code.
fn call<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    call_to::<T>(cpu, bus, op, near(cpu, op))
}
fn call_checked<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let target = near(cpu, op);
    check_target(cpu, target)?;
    call_to::<T>(cpu, bus, op, target)
}
fn call_reg<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let target = T::get(cpu, op.dst).to_u64();
    check_target(cpu, target)?;
    call_to::<T>(cpu, bus, op, target)
}
fn call_mem<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let target = cpu.load::<T>(bus, op)?.to_u64();
    check_target(cpu, target)?;
    call_to::<T>(cpu, bus, op, target)
}

/// RET, `imm` more bytes released.
fn ret<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let (seg, mask) = cpu.stack();
    let sp = cpu.r64(4);
    let target = cpu.load_at::<T>(bus, seg, sp & mask)?.to_u64();
    check_target(cpu, target)?;
    cpu.set_sp(sp.wrapping_add(T::BYTES as u64).wrapping_add(op.imm));
    cpu.branch(target);
    Ok(())
}

fn jcxz<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    if T::get(cpu, 1).to_u64() == 0 { jmp::<true>(cpu, bus, op) } else { Ok(()) }
}

/// LOOP, LOOPE, LOOPNE with the counter of size `T`; `op.aux`: 0 any, 1 while ZF, 2 while not ZF.
fn loop_<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let count = T::from_u64(T::get(cpu, 1).to_u64().wrapping_sub(1));
    let go = match op.aux {
        0 => true,
        1 => cpu.lazy.zf(),
        _ => !cpu.lazy.zf(),
    };
    if go && count.to_u64() != 0 {
        jmp::<true>(cpu, bus, op)?;
    }
    T::set(cpu, 1, count);
    Ok(())
}

fn direct(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> bool {
    op.flags |= Op::ENDS;
    op.imm = i.near_branch_target();
    op.addr_mask = match i.op0_kind() {
        OpKind::NearBranch16 => 0xFFFF,
        OpKind::NearBranch32 => 0xFFFF_FFFF,
        _ => u64::MAX,
    };
    cx.mode.has(Mode::CODE64) || !cx.mode.has(Mode::FLAT)
}

fn decode_call(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> Option<Handler> {
    if i.is_call_near() {
        let check = direct(i, cx, op);
        let size = i.stack_pointer_increment().unsigned_abs();
        return Some(if check { by_word_size!(size, call_checked) } else { by_word_size!(size, call) });
    }
    if !i.is_call_near_indirect() {
        return None;
    }
    op.flags |= Op::ENDS;
    let k = operands(i, op)?;
    let size = operand_size(i, 0);
    Some(if k[0] == Kind::Reg { by_word_size!(size, call_reg) } else { by_word_size!(size, call_mem) })
}

fn decode_jmp(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> Option<Handler> {
    if i.is_jmp_short_or_near() {
        return Some(if direct(i, cx, op) { jmp::<true> } else { jmp::<false> });
    }
    if !i.is_jmp_near_indirect() {
        return None;
    }
    op.flags |= Op::ENDS;
    let k = operands(i, op)?;
    let size = operand_size(i, 0);
    Some(if k[0] == Kind::Reg { by_word_size!(size, jmp_reg) } else { by_word_size!(size, jmp_mem) })
}

fn decode_ret(i: &Instruction, op: &mut Op) -> Option<Handler> {
    op.flags |= Op::ENDS;
    if i.op_count() != 0 {
        op.imm = u64::from(i.immediate16());
    }
    Some(match i.code() {
        Code::Retnw | Code::Retnw_imm16 => ret::<u16>,
        Code::Retnd | Code::Retnd_imm16 => ret::<u32>,
        _ => ret::<u64>,
    })
}

fn decode_loop(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> Option<Handler> {
    direct(i, cx, op);
    op.aux = match i.mnemonic() {
        Mnemonic::Loope => 1,
        Mnemonic::Loopne => 2,
        _ => 0,
    };
    let counter = match i.code() {
        Code::Loop_rel8_16_CX
        | Code::Loop_rel8_32_CX
        | Code::Loope_rel8_16_CX
        | Code::Loope_rel8_32_CX
        | Code::Loopne_rel8_16_CX
        | Code::Loopne_rel8_32_CX => Register::CX,
        Code::Loop_rel8_16_ECX
        | Code::Loop_rel8_32_ECX
        | Code::Loop_rel8_64_ECX
        | Code::Loope_rel8_16_ECX
        | Code::Loope_rel8_32_ECX
        | Code::Loope_rel8_64_ECX
        | Code::Loopne_rel8_16_ECX
        | Code::Loopne_rel8_32_ECX
        | Code::Loopne_rel8_64_ECX => Register::ECX,
        _ => Register::RCX,
    };
    Some(by_word_size!(counter.size(), loop_))
}

pub(super) fn decode(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> Option<Handler> {
    if i.is_jcc_short_or_near() {
        let cc = condition(i);
        return Some(if direct(i, cx, op) { by_condition!(cc, jcc, true) } else { by_condition!(cc, jcc, false) });
    }
    match i.mnemonic() {
        Mnemonic::Jmp => decode_jmp(i, cx, op),
        Mnemonic::Call => decode_call(i, cx, op),
        Mnemonic::Ret => decode_ret(i, op),
        Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne => decode_loop(i, cx, op),
        Mnemonic::Jcxz => {
            direct(i, cx, op);
            Some(jcxz::<u16>)
        }
        Mnemonic::Jecxz => {
            direct(i, cx, op);
            Some(jcxz::<u32>)
        }
        Mnemonic::Jrcxz => {
            direct(i, cx, op);
            Some(jcxz::<u64>)
        }
        _ => None,
    }
}
