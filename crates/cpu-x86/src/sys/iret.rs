//! IRET in every mode, and the software interrupts INT n, INT3, INTO, INT1 (Intel SDM volume 2; volume 3, 20.2 and 20.3
//! for virtual-8086 mode and VME).

use crate::bus::Bus;
use crate::fault::{Abort, Exec, vector};
use crate::flags::rflags;
use crate::op::Op;
use crate::state::{Cpu, Mode, Seg, SegReg, cr::*};
use crate::sys::far::truncate;
use crate::sys::interrupt::Source;
use crate::sys::stack::Stack;
use crate::sys::task::Reason;

/// Flags any IRET may load.
const ALWAYS: u64 = rflags::ARITH | rflags::TF | rflags::DF | rflags::NT;
/// Flags 32- and 64-bit IRET may load too.
const WIDE: u64 = rflags::RF | rflags::AC | rflags::ID;

impl Cpu {
    /// IRET with operand size `size`; the next instruction is at `next`.
    pub(crate) fn iret(&mut self, bus: &mut dyn Bus, size: u8, next: u64) -> Exec {
        if self.real_or_v86() {
            self.iret_real(bus, size)?;
        } else if self.sysflags & rflags::NT != 0 {
            if self.mode.has(Mode::LONG) {
                return Err(self.gp(0));
            }
            let at = self.table_address(self.tr.base, 0);
            let link: u16 = self.load_system(bus, at)?;
            let ip = self.switch_task(bus, link, Reason::Return, None, next)?;
            self.branch(ip);
        } else {
            self.iret_protected(bus, size)?;
        }
        self.shadow.nmi = false;
        self.stop_block = true;
        Ok(())
    }

    fn iret_real(&mut self, bus: &mut dyn Bus, size: u8) -> Exec {
        let v86 = self.mode.has(Mode::V86);
        let vme = v86 && self.iopl() < 3;
        if vme && (self.cr4 & CR4_VME == 0 || size != 2) {
            return Err(self.gp(0));
        }
        let mut stack = Stack::current(self);
        let ip = stack.pop(self, bus, size)?;
        let cs = stack.pop(self, bus, size)? as u16;
        let image = stack.pop(self, bus, size)?;
        if ip > u64::from(self.segs[Seg::Cs as usize].limit) {
            return Err(self.gp(0));
        }
        let old = self.rflags();
        let flags = if vme {
            let pending = old & rflags::VIP != 0 && image & rflags::IF != 0;
            if pending || image & rflags::TF != 0 {
                return Err(self.gp(0));
            }
            let vif = if image & rflags::IF != 0 { rflags::VIF } else { 0 };
            old & !(ALWAYS | rflags::VIF) | image & ALWAYS | vif
        } else {
            let iopl = if v86 { 0 } else { rflags::IOPL };
            let mask = ALWAYS | rflags::IF | iopl | if size > 2 { WIDE } else { 0 };
            old & !mask | image & mask
        };
        self.set_sp(stack.sp);
        self.set_real_segment(Seg::Cs, cs);
        self.set_returned_flags(flags);
        self.update_mode();
        self.branch(ip);
        Ok(())
    }

    /// RF matters only while instruction breakpoints are enabled, and nothing would clear it otherwise.
    fn set_returned_flags(&mut self, flags: u64) {
        let rf = if self.instruction_breakpoints() { 0 } else { rflags::RF };
        self.set_rflags(flags & !rf);
    }

    fn iret_protected(&mut self, bus: &mut dyn Bus, size: u8) -> Exec {
        let mut stack = Stack::current(self);
        let ip = stack.pop(self, bus, size)?;
        let cs = stack.pop(self, bus, size)? as u16;
        let image = stack.pop(self, bus, size)?;
        let to_v86 = size == 4 && image & rflags::VM != 0 && self.cpl == 0;
        if to_v86 && !self.mode.has(Mode::LONG) {
            return self.iret_to_v86(bus, ip, cs, image, &mut stack);
        }
        let with_stack = (cs & 3) as u8 > self.cpl || self.mode.has(Mode::CODE64);
        let mut mask = ALWAYS | if size > 2 { WIDE } else { 0 };
        if self.cpl <= self.iopl() {
            mask |= rflags::IF;
        }
        if self.cpl == 0 {
            mask |= rflags::IOPL | if size > 2 { rflags::VIF | rflags::VIP } else { 0 };
        }
        let point = self.return_point(bus, ip, cs, &mut stack, size, with_stack)?;
        let flags = self.rflags() & !mask | image & mask;
        self.set_returned_flags(flags);
        self.return_to(&point, stack.sp, 0);
        self.branch(ip);
        Ok(())
    }

    fn iret_to_v86(&mut self, bus: &mut dyn Bus, ip: u64, cs: u16, image: u64, stack: &mut Stack) -> Exec {
        let sp = stack.pop(self, bus, 4)?;
        let mut selectors = [0; 5]; // SS, ES, DS, FS, GS
        for s in &mut selectors {
            *s = stack.pop(self, bus, 4)? as u16;
        }
        if ip > 0xFFFF {
            return Err(self.gp(0));
        }
        self.set_returned_flags(image & 0x3F_7FD7);
        self.cpl = 3;
        self.segs[Seg::Ss as usize] = SegReg::default();
        self.update_mode();
        self.set_real_segment(Seg::Cs, cs);
        for (seg, selector) in [Seg::Ss, Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs].into_iter().zip(selectors) {
            self.set_real_segment(seg, selector);
        }
        self.set_r32(4, sp as u32);
        self.update_mode();
        self.branch(ip);
        Ok(())
    }

    /// INT n.
    pub(crate) fn int_n(&mut self, bus: &mut dyn Bus, vector: u8, next: u64) -> Exec {
        if !self.mode.has(Mode::V86) {
            return self.software_interrupt(bus, vector, Source::Software, next);
        }
        if self.cr4 & CR4_VME != 0 && !self.redirected_to_monitor(bus, vector)? {
            let mut flags = self.rflags();
            if self.iopl() < 3 {
                flags = flags & !rflags::IF | rflags::IOPL;
                if flags & rflags::VIF != 0 {
                    flags |= rflags::IF;
                }
            }
            let ip = self.deliver_real(bus, vector, 0, 0x3FF, flags, next)?;
            self.branch(ip);
            return Ok(());
        }
        if self.iopl() < 3 {
            return Err(self.gp(0));
        }
        self.software_interrupt(bus, vector, Source::Software, next)
    }

    /// The software-interrupt redirection bitmap: the 32 bytes below the I/O permission bitmap.
    fn redirected_to_monitor(&mut self, bus: &mut dyn Bus, vector: u8) -> Result<bool, Abort> {
        if self.tr.limit < 0x67 {
            return Err(self.gp(0));
        }
        let at = self.table_address(self.tr.base, 0x66);
        let io: u16 = self.load_system(bus, at)?;
        let offset = u64::from(io).wrapping_sub(32).wrapping_add(u64::from(vector / 8));
        if offset > u64::from(self.tr.limit) {
            return Err(self.gp(0));
        }
        let at = self.table_address(self.tr.base, offset);
        let byte: u8 = self.load_system(bus, at)?;
        Ok(byte >> (vector & 7) & 1 != 0)
    }
}

/// IRET, IRETD, IRETQ: size in the op.
pub(crate) fn iret(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let next = cpu.next_rip(op);
    cpu.iret(bus, op.size, next)
}

/// INT imm8.
pub(crate) fn int_n(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let next = cpu.next_rip(op);
    cpu.int_n(bus, op.imm as u8, next)
}

/// INT3.
pub(crate) fn int3(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    software(cpu, bus, op, vector::BP, Source::Software)
}

/// INTO.
pub(crate) fn into(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    if cpu.lazy.of() { software(cpu, bus, op, vector::OF, Source::Software) } else { Ok(()) }
}

/// INT1.
pub(crate) fn int1(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    software(cpu, bus, op, vector::DB, Source::Privileged)
}

/// Exceptions that an instruction raises on purpose: `exception_exits` sees them with RIP at the next instruction's
/// predecessor, as hypervisors report them.
fn software(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op, vector: u8, source: Source) -> Exec {
    if cpu.exception_exits >> vector & 1 != 0 {
        return Err(cpu.raise(vector));
    }
    let next = cpu.next_rip(op);
    cpu.software_interrupt(bus, vector, source, next)
}

/// JMP or CALL ptr16:16, ptr16:32.
pub(crate) fn far_pointer<const CALL: bool>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let next = cpu.next_rip(op);
    cpu.far_transfer(bus, CALL, op.aux as u16, op.imm, op.size, next)
}

/// JMP or CALL m16:16, m16:32, m16:64.
pub(crate) fn far_memory<const CALL: bool>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let next = cpu.next_rip(op);
    let (offset, selector) = load_far(cpu, bus, op)?;
    cpu.far_transfer(bus, CALL, selector, offset, op.size, next)
}

/// Loads offset and selector of a far pointer in memory.
pub(crate) fn load_far(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Result<(u64, u16), Abort> {
    let at = cpu.ea(op);
    let offset = match op.size {
        2 => u64::from(cpu.load_at::<u16>(bus, op.seg, at)?),
        4 => u64::from(cpu.load_at::<u32>(bus, op.seg, at)?),
        _ => cpu.load_at::<u64>(bus, op.seg, at)?,
    };
    let selector = cpu.load_at::<u16>(bus, op.seg, at.wrapping_add(u64::from(op.size)) & op.addr_mask)?;
    Ok((truncate(offset, op.size), selector))
}

/// RET far, RET far imm16.
pub(crate) fn far_return(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.far_return(bus, op.size, op.imm as u16)
}
