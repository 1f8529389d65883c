//! The instructions on segment and descriptor-table registers (Intel SDM volume 2: MOV, PUSH, POP, LDS..LGS, LAR, LSL,
//! VERR, VERW, ARPL, SLDT, STR, LLDT, LTR, SGDT, SIDT, LGDT, LIDT, SMSW, LMSW, SWAPGS, RDFSBASE ...).

use crate::bus::Bus;
use crate::fault::{Abort, Exec, vector};
use crate::flags::rflags;
use crate::op::Op;
use crate::state::{Cpu, Mode, Seg, TableReg, cr::*};
use crate::sys::descriptor::{Descriptor, is_null};
use crate::sys::iret::load_far;

/// The segment register an op names in `src` (decoded, so 0 to 5).
pub(crate) fn seg_of(n: u8) -> Seg {
    match n {
        0 => Seg::Es,
        1 => Seg::Cs,
        2 => Seg::Ss,
        3 => Seg::Ds,
        4 => Seg::Fs,
        _ => Seg::Gs,
    }
}

impl Cpu {
    /// Writes a register of `size` bytes.
    pub(crate) fn set_sized(&mut self, reg: u8, size: u8, v: u64) {
        match size {
            2 => self.set_r16(reg, v as u16),
            4 => self.set_r32(reg, v as u32),
            _ => self.set_r64(reg, v),
        }
    }

    /// A 16-bit source operand in `dst` or memory.
    fn word_operand(&mut self, bus: &mut dyn Bus, op: &Op, reg: u8) -> Result<u16, Abort> {
        if op.is(Op::MEM) { self.load(bus, op) } else { Ok(self.r16(reg)) }
    }

    /// Stores a selector-like value: 16 bits to memory, the operand size to a register.
    fn store_word(&mut self, bus: &mut dyn Bus, op: &Op, v: u64) -> Exec {
        if op.is(Op::MEM) {
            return self.store(bus, op, v as u16);
        }
        self.set_sized(op.dst, op.size, v);
        Ok(())
    }

    /// #GP(0) unless CPL is 0.
    pub(crate) fn privileged(&mut self) -> Exec {
        if self.cpl == 0 { Ok(()) } else { Err(self.gp(0)) }
    }

    /// #GP(0) when UMIP keeps the instruction from outer rings.
    fn umip(&mut self) -> Exec {
        if self.cr4 & CR4_UMIP != 0 && self.cpl != 0 { Err(self.gp(0)) } else { Ok(()) }
    }

    /// #UD in real-address and virtual-8086 mode.
    fn protected_only(&mut self) -> Exec {
        if self.real_or_v86() { Err(self.ud()) } else { Ok(()) }
    }
}

/// MOV r/m, Sreg.
pub(crate) fn mov_from(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let v = cpu.segs[seg_of(op.src) as usize].selector;
    cpu.store_word(bus, op, u64::from(v))
}

/// MOV Sreg, r/m.
pub(crate) fn mov_to(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let v = cpu.word_operand(bus, op, op.dst)?;
    cpu.load_segment(bus, seg_of(op.src), v)?;
    cpu.shadow.interrupt |= op.src == Seg::Ss as u8;
    Ok(())
}

/// PUSH Sreg.
pub(crate) fn push(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let v = cpu.segs[seg_of(op.src) as usize].selector;
    match op.size {
        2 => cpu.push(bus, v),
        4 => cpu.push(bus, u32::from(v)),
        _ => cpu.push(bus, u64::from(v)),
    }
}

/// POP Sreg.
pub(crate) fn pop(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let before = cpu.r64(4);
    let v = match op.size {
        2 => cpu.pop::<u16>(bus)?,
        4 => cpu.pop::<u32>(bus)? as u16,
        _ => cpu.pop::<u64>(bus)? as u16,
    };
    if let Err(e) = cpu.load_segment(bus, seg_of(op.src), v) {
        cpu.set_r64(4, before);
        return Err(e);
    }
    cpu.shadow.interrupt |= op.src == Seg::Ss as u8;
    Ok(())
}

/// LES, LDS, LSS, LFS, LGS.
pub(crate) fn load_pointer(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let (offset, selector) = load_far(cpu, bus, op)?;
    cpu.load_segment(bus, seg_of(op.src), selector)?;
    cpu.set_sized(op.dst, op.size, offset);
    Ok(())
}

/// The descriptor that LAR, LSL, VERR and VERW look at, if it can be seen from here.
fn visible(cpu: &mut Cpu, bus: &mut dyn Bus, selector: u16) -> Result<Option<Descriptor>, Abort> {
    if is_null(selector) {
        return Ok(None);
    }
    let Some(at) = cpu.descriptor_address(selector, 8) else { return Ok(None) };
    let d = Descriptor(cpu.load_system(bus, at)?);
    let least = cpu.cpl.max((selector & 3) as u8);
    Ok((d.conforming() || d.dpl() >= least).then_some(d))
}

fn set_zf(cpu: &mut Cpu, on: bool) {
    let f = cpu.lazy.get();
    cpu.lazy.set(if on { f | rflags::ZF } else { f & !rflags::ZF });
}

/// LAR.
pub(crate) fn lar(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.protected_only()?;
    let selector = cpu.word_operand(bus, op, op.src)?;
    let types: u16 = if cpu.mode.has(Mode::LONG) { 0b0001_1010_0000_0100 } else { 0b0001_1010_0011_1110 };
    let d = visible(cpu, bus, selector)?.filter(|d| d.s() || types >> d.kind() & 1 != 0);
    if let Some(d) = d {
        cpu.set_sized(op.dst, op.size, d.0 >> 32 & 0x00FF_FF00);
    }
    set_zf(cpu, d.is_some());
    Ok(())
}

/// LSL.
pub(crate) fn lsl(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.protected_only()?;
    let selector = cpu.word_operand(bus, op, op.src)?;
    let types: u16 = if cpu.mode.has(Mode::LONG) { 0b0000_1010_0000_0100 } else { 0b0000_1010_0000_1110 };
    let d = visible(cpu, bus, selector)?.filter(|d| d.s() || types >> d.kind() & 1 != 0);
    if let Some(d) = d {
        cpu.set_sized(op.dst, op.size, u64::from(d.limit()));
    }
    set_zf(cpu, d.is_some());
    Ok(())
}

/// VERR (`WRITE` false) and VERW.
pub(crate) fn verify<const WRITE: bool>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.protected_only()?;
    let selector = cpu.word_operand(bus, op, op.dst)?;
    let d = visible(cpu, bus, selector)?;
    set_zf(cpu, d.is_some_and(|d| if WRITE { d.writable() } else { d.readable() }));
    Ok(())
}

/// ARPL.
pub(crate) fn arpl(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.protected_only()?;
    let least = cpu.r16(op.src) & 3;
    let old = cpu.word_operand(bus, op, op.dst)?;
    let adjust = old & 3 < least;
    if adjust {
        let new = old & !3 | least;
        if op.is(Op::MEM) {
            cpu.store(bus, op, new)?;
        } else {
            cpu.set_r16(op.dst, new);
        }
    }
    set_zf(cpu, adjust);
    Ok(())
}

/// SLDT.
pub(crate) fn sldt(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.protected_only()?;
    cpu.umip()?;
    cpu.store_word(bus, op, u64::from(cpu.ldtr.selector))
}

/// STR.
pub(crate) fn str(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.protected_only()?;
    cpu.umip()?;
    cpu.store_word(bus, op, u64::from(cpu.tr.selector))
}

/// LLDT.
pub(crate) fn lldt(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.protected_only()?;
    cpu.privileged()?;
    let v = cpu.word_operand(bus, op, op.dst)?;
    cpu.load_ldtr(bus, v, vector::GP)
}

/// LTR.
pub(crate) fn ltr(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.protected_only()?;
    cpu.privileged()?;
    let v = cpu.word_operand(bus, op, op.dst)?;
    cpu.load_tr(bus, v)
}

/// SGDT (`IDT` false) and SIDT.
pub(crate) fn store_table<const IDT: bool>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.umip()?;
    let t = if IDT { cpu.idtr } else { cpu.gdtr };
    let mut b = [0; 10];
    b[..2].copy_from_slice(&t.limit.to_le_bytes());
    b[2..].copy_from_slice(&t.base.to_le_bytes());
    let len = if cpu.mode.has(Mode::CODE64) { 10 } else { 6 };
    let at = cpu.ea(op);
    cpu.store_bytes(bus, op.seg, at, &b[..len])
}

/// LGDT (`IDT` false) and LIDT.
pub(crate) fn load_table<const IDT: bool>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    if cpu.mode.has(Mode::V86) {
        return Err(cpu.gp(0));
    }
    cpu.privileged()?;
    let mut b = [0; 10];
    let long = cpu.mode.has(Mode::CODE64);
    let at = cpu.ea(op);
    cpu.load_bytes(bus, op.seg, at, &mut b[..if long { 10 } else { 6 }])?;
    let limit = u16::from_le_bytes([b[0], b[1]]);
    let mut base = [0; 8];
    base.copy_from_slice(&b[2..]);
    let mut base = u64::from_le_bytes(base);
    if !long && op.size == 2 {
        base &= 0xFF_FFFF;
    }
    if !cpu.canonical(base) {
        return Err(cpu.gp(0));
    }
    let t = TableReg { base, limit };
    if IDT {
        cpu.idtr = t;
    } else {
        cpu.gdtr = t;
    }
    Ok(())
}

/// SMSW.
pub(crate) fn smsw(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.umip()?;
    cpu.store_word(bus, op, cpu.cr0)
}

/// LMSW.
pub(crate) fn lmsw(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.privileged()?;
    let v = u64::from(cpu.word_operand(bus, op, op.dst)?);
    let keep = cpu.cr0 & CR0_PE;
    cpu.set_cr0(bus, cpu.cr0 & !0xF | v & 0xF | keep)
}

/// CLTS.
pub(crate) fn clts(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    cpu.privileged()?;
    cpu.cr0 &= !CR0_TS;
    cpu.update_mode();
    Ok(())
}

/// SWAPGS.
pub(crate) fn swapgs(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    if !cpu.mode.has(Mode::CODE64) {
        return Err(cpu.ud());
    }
    cpu.privileged()?;
    let base = &mut cpu.segs[Seg::Gs as usize].base;
    std::mem::swap(base, &mut cpu.msr.kernel_gs_base);
    cpu.seg_base[Seg::Gs as usize] = *base;
    Ok(())
}

fn base_access(cpu: &mut Cpu) -> Exec {
    if cpu.cr4 & CR4_FSGSBASE == 0 || !cpu.mode.has(Mode::CODE64) { Err(cpu.ud()) } else { Ok(()) }
}

/// RDFSBASE, RDGSBASE: the segment in `src`.
pub(crate) fn read_base(cpu: &mut Cpu, _bus: &mut dyn Bus, op: &Op) -> Exec {
    base_access(cpu)?;
    cpu.set_sized(op.dst, op.size, cpu.segs[seg_of(op.src) as usize].base);
    Ok(())
}

/// WRFSBASE, WRGSBASE.
pub(crate) fn write_base(cpu: &mut Cpu, _bus: &mut dyn Bus, op: &Op) -> Exec {
    base_access(cpu)?;
    let v = if op.size == 8 { cpu.r64(op.dst) } else { u64::from(cpu.r32(op.dst)) };
    if !cpu.canonical(v) {
        return Err(cpu.gp(0));
    }
    let seg = seg_of(op.src) as usize;
    cpu.segs[seg].base = v;
    cpu.seg_base[seg] = v;
    Ok(())
}
