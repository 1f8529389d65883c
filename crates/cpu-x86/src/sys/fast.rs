//! SYSCALL, SYSRET, SYSENTER, SYSEXIT (Intel SDM volume 2; AMD APM volume 3 for their 32-bit forms).

use crate::bus::Bus;
use crate::fault::Exec;
use crate::flags::rflags;
use crate::op::Op;
use crate::state::{Cpu, Mode, Seg, SegReg, cr::*};

/// A flat segment of ring `cpl`: `code` is none for data, else whether it is 64-bit.
fn flat(selector: u16, cpl: u8, code64: Option<bool>) -> SegReg {
    let kind = match code64 {
        None => 0xC093,
        Some(false) => 0xC09B,
        Some(true) => 0xA09B,
    };
    SegReg { selector, base: 0, limit: u32::MAX, attributes: kind | u16::from(cpl) << 5 }
}

fn enter(cpu: &mut Cpu, cs: u16, ss: u16, cpl: u8, code64: bool) {
    let rpl = u16::from(cpl);
    cpu.segs[Seg::Cs as usize] = flat(cs & !3 | rpl, cpl, Some(code64));
    cpu.segs[Seg::Ss as usize] = flat(ss & !3 | rpl, cpl, None);
    cpu.cpl = cpl;
}

/// SYSCALL.
pub(crate) fn syscall(cpu: &mut Cpu, _bus: &mut dyn Bus, op: &Op) -> Exec {
    let code64 = cpu.mode.has(Mode::CODE64);
    let usable = code64 || cpu.model.is_amd() && cpu.mode.has(Mode::PROTECTED);
    if cpu.msr.efer & EFER_SCE == 0 || !usable {
        return Err(cpu.ud());
    }
    let next = cpu.next_rip(op);
    let flags = cpu.rflags();
    let star = cpu.msr.star;
    let cs = (star >> 32) as u16;
    let target = if cpu.mode.has(Mode::LONG) {
        cpu.set_r64(1, next);
        cpu.set_r64(11, flags & !rflags::RF);
        cpu.set_rflags(flags & !cpu.msr.sfmask & !rflags::RF);
        if code64 { cpu.msr.lstar } else { cpu.msr.cstar }
    } else {
        cpu.set_r32(1, next as u32);
        cpu.set_rflags(flags & !(rflags::VM | rflags::IF | rflags::RF));
        star & 0xFFFF_FFFF
    };
    enter(cpu, cs, cs.wrapping_add(8), 0, cpu.mode.has(Mode::LONG));
    cpu.update_mode();
    cpu.branch(target);
    Ok(())
}

/// SYSRET; operand size 8 returns to 64-bit code.
pub(crate) fn sysret(cpu: &mut Cpu, _bus: &mut dyn Bus, op: &Op) -> Exec {
    let usable = cpu.mode.has(Mode::CODE64) || cpu.model.is_amd() && cpu.mode.has(Mode::PROTECTED);
    if cpu.msr.efer & EFER_SCE == 0 || !usable {
        return Err(cpu.ud());
    }
    let to64 = op.size == 8;
    let target = if to64 { cpu.r64(1) } else { u64::from(cpu.r32(1)) };
    if cpu.cpl != 0 || to64 && !cpu.canonical(target) {
        return Err(cpu.gp(0));
    }
    let base = (cpu.msr.star >> 48) as u16;
    if cpu.mode.has(Mode::LONG) {
        // RF and VM come out clear, reserved bits too.
        cpu.set_rflags(cpu.r64(11) & 0x3C_7FD7);
    } else {
        cpu.set_rflags(cpu.rflags() | rflags::IF);
    }
    enter(cpu, if to64 { base.wrapping_add(16) } else { base }, base.wrapping_add(8), 3, to64);
    cpu.update_mode();
    cpu.branch(target);
    Ok(())
}

/// SYSENTER.
pub(crate) fn sysenter(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    let long = cpu.mode.has(Mode::LONG);
    if long && cpu.model.is_amd() {
        return Err(cpu.ud());
    }
    let cs = cpu.msr.sysenter_cs as u16;
    if !cpu.mode.has(Mode::PROTECTED) || cs & !3 == 0 {
        return Err(cpu.gp(0));
    }
    let mask = if long { u64::MAX } else { 0xFFFF_FFFF };
    cpu.set_rflags(cpu.rflags() & !(rflags::VM | rflags::IF | rflags::RF));
    enter(cpu, cs, (cs & !3).wrapping_add(8), 0, long);
    cpu.set_r64(4, cpu.msr.sysenter_esp & mask);
    cpu.update_mode();
    cpu.branch(cpu.msr.sysenter_eip & mask);
    Ok(())
}

/// SYSEXIT; operand size 8 returns to 64-bit code.
pub(crate) fn sysexit(cpu: &mut Cpu, _bus: &mut dyn Bus, op: &Op) -> Exec {
    if cpu.mode.has(Mode::LONG) && cpu.model.is_amd() {
        return Err(cpu.ud());
    }
    let cs = cpu.msr.sysenter_cs as u16 & !3;
    if !cpu.mode.has(Mode::PROTECTED) || cs == 0 || cpu.cpl != 0 {
        return Err(cpu.gp(0));
    }
    let to64 = op.size == 8;
    let (ip, sp) = (cpu.r64(2), cpu.r64(1));
    if to64 && !(cpu.canonical(ip) && cpu.canonical(sp)) {
        return Err(cpu.gp(0));
    }
    let mask = if to64 { u64::MAX } else { 0xFFFF_FFFF };
    let up = if to64 { 32 } else { 16 };
    enter(cpu, cs.wrapping_add(up), cs.wrapping_add(up + 8), 3, to64);
    cpu.set_r64(4, sp & mask);
    cpu.update_mode();
    cpu.branch(ip & mask);
    Ok(())
}
