//! CLI, STI, PUSHF, POPF, CLAC, STAC in every mode, VME and PVI included (Intel SDM volume 2; volume 3, 20.3, 20.4).

use crate::bus::Bus;
use crate::fault::Exec;
use crate::flags::rflags::{self, AC, ARITH, DF, ID, IF, IOPL, NT, RF, TF, VIF, VIP, VM};
use crate::op::Op;
use crate::state::{Cpu, Mode, cr::*};
use crate::sys::far::truncate;
use crate::sys::stack::Stack;

/// Which flag CLI and STI may change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Control {
    Real,
    Virtual,
}

impl Cpu {
    fn interrupt_control(&mut self) -> Result<Control, crate::fault::Abort> {
        if !self.mode.has(Mode::PROTECTED) || self.cpl <= self.iopl() {
            return Ok(Control::Real);
        }
        let v86 = self.mode.has(Mode::V86);
        let extension = if v86 { CR4_VME } else { CR4_PVI };
        if self.cr4 & extension != 0 && self.cpl == 3 { Ok(Control::Virtual) } else { Err(self.gp(0)) }
    }
}

/// CLI.
pub(crate) fn cli(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    match cpu.interrupt_control()? {
        Control::Real => cpu.sysflags &= !IF,
        Control::Virtual => cpu.sysflags &= !VIF,
    }
    Ok(())
}

/// STI: interrupts stay blocked for one more instruction when IF was clear.
pub(crate) fn sti(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    match cpu.interrupt_control()? {
        Control::Real => {
            if cpu.sysflags & IF == 0 {
                cpu.shadow.interrupt = true;
            }
            cpu.sysflags |= IF;
            cpu.stop_block = true;
        }
        Control::Virtual if cpu.sysflags & VIP != 0 => return Err(cpu.gp(0)),
        Control::Virtual => cpu.sysflags |= VIF,
    }
    Ok(())
}

/// PUSHF, PUSHFD, PUSHFQ.
pub(crate) fn pushf(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let mut image = cpu.rflags() & !(RF | VM);
    if cpu.mode.has(Mode::V86) && cpu.iopl() < 3 {
        if cpu.cr4 & CR4_VME == 0 || op.size != 2 {
            return Err(cpu.gp(0));
        }
        let interrupts = if image & VIF != 0 { IF } else { 0 };
        image = image & !IF | IOPL | interrupts;
    }
    match op.size {
        2 => cpu.push(bus, image as u16),
        4 => cpu.push(bus, image as u32),
        _ => cpu.push(bus, image),
    }
}

/// POPF, POPFD, POPFQ.
pub(crate) fn popf(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let v86 = cpu.mode.has(Mode::V86);
    let vme = v86 && cpu.iopl() < 3;
    if vme && (cpu.cr4 & CR4_VME == 0 || op.size != 2) {
        return Err(cpu.gp(0));
    }
    let mut stack = Stack::current(cpu);
    let image = truncate(stack.pop(cpu, bus, op.size)?, op.size);
    let old = cpu.rflags();
    let mut mask = ARITH | TF | DF | NT | RF;
    let mut new = image & !RF;
    if op.size > 2 {
        mask |= AC | ID;
    }
    if vme {
        if image & TF != 0 || old & VIP != 0 && image & IF != 0 {
            return Err(cpu.gp(0));
        }
        mask |= VIF;
        new = new & !VIF | if image & IF != 0 { VIF } else { 0 };
    } else {
        if cpu.cpl <= cpu.iopl() || !cpu.mode.has(Mode::PROTECTED) {
            mask |= IF;
        }
        if cpu.cpl == 0 && !v86 {
            mask |= IOPL;
            if op.size > 2 {
                mask |= VIF | VIP;
                new &= !(VIF | VIP);
            }
        }
    }
    cpu.set_sp(stack.sp);
    let flags = old & !mask | new & mask;
    cpu.set_rflags(flags);
    if (flags ^ old) & (rflags::TF | rflags::AC) != 0 {
        cpu.update_mode();
    }
    cpu.stop_block |= flags & !old & IF != 0;
    Ok(())
}

/// CLAC (`SET` false) and STAC.
pub(crate) fn ac<const SET: bool>(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    if !cpu.mode.has(Mode::PROTECTED) || cpu.cpl != 0 {
        return Err(cpu.ud());
    }
    if SET {
        cpu.sysflags |= AC;
    } else {
        cpu.sysflags &= !AC;
    }
    cpu.select_tlb(); // the mode depends on AC in ring 3 only
    Ok(())
}
