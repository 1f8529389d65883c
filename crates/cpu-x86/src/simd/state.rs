//! Instructions on whole states: FXSAVE and FXRSTOR, the XSAVE family (Intel SDM volume 1, 10.5 and 13), LDMXCSR and
//! STMXCSR, EMMS, VZEROALL and VZEROUPPER.
//!
//! The modified optimisation of XSAVEOPT and XSAVES is not used (the manual leaves it to the implementation); supervisor
//! components do not exist, so that XSAVES is XSAVEC and XRSTORS XRSTOR, but for privilege and form.

use iced_x86::{Code, Instruction};

use super::{aligned, class, ready};
use crate::bus::Bus;
use crate::fault::{Abort, Exec, vector};
use crate::fpu::{self, Fpu, Header, MXCSR_MASK, MXCSR_RESET, XCR0_AVX, XCR0_SSE, XCR0_X87};
use crate::op::{Handler, Op};
use crate::state::{Cpu, Mode, cr};

/// `Op::dst` of the XSAVE family.
mod form {
    pub(super) const PLAIN: u8 = 0;
    pub(super) const OPTIMIZED: u8 = 1;
    pub(super) const COMPACT: u8 = 2;
    pub(super) const SUPERVISOR: u8 = 3;
}

/// Makes `op` execute `i`. `Op::size` is 1 for the forms with 64-bit pointers.
pub(super) fn decode(i: &Instruction, op: &mut Op) -> bool {
    let (handler, class, align, form, wide): (Handler, u8, u8, u8, u8) = match i.code() {
        Code::Emms => (emms, class::MMX, 0, 0, 0),
        Code::Ldmxcsr_m32 => (ldmxcsr, class::SSE, 0, 0, 0),
        Code::Stmxcsr_m32 => (stmxcsr, class::SSE, 0, 0, 0),
        Code::VEX_Vldmxcsr_m32 => (ldmxcsr, class::VEX, 0, 0, 0),
        Code::VEX_Vstmxcsr_m32 => (stmxcsr, class::VEX, 0, 0, 0),
        Code::VEX_Vzeroupper => (vzeroupper, class::VEX, 0, 0, 0),
        Code::VEX_Vzeroall => (vzeroall, class::VEX, 0, 0, 0),
        Code::Fxsave_m512byte => (fxsave, class::NONE, 15, 0, 0),
        Code::Fxsave64_m512byte => (fxsave, class::NONE, 15, 0, 1),
        Code::Fxrstor_m512byte => (fxrstor, class::NONE, 15, 0, 0),
        Code::Fxrstor64_m512byte => (fxrstor, class::NONE, 15, 0, 1),
        Code::Xsave_mem => (xsave, class::NONE, 63, form::PLAIN, 0),
        Code::Xsave64_mem => (xsave, class::NONE, 63, form::PLAIN, 1),
        Code::Xsaveopt_mem => (xsave, class::NONE, 63, form::OPTIMIZED, 0),
        Code::Xsaveopt64_mem => (xsave, class::NONE, 63, form::OPTIMIZED, 1),
        Code::Xsavec_mem => (xsave, class::NONE, 63, form::COMPACT, 0),
        Code::Xsavec64_mem => (xsave, class::NONE, 63, form::COMPACT, 1),
        Code::Xsaves_mem => (xsave, class::NONE, 63, form::SUPERVISOR, 0),
        Code::Xsaves64_mem => (xsave, class::NONE, 63, form::SUPERVISOR, 1),
        Code::Xrstor_mem => (xrstor, class::NONE, 63, form::PLAIN, 0),
        Code::Xrstor64_mem => (xrstor, class::NONE, 63, form::PLAIN, 1),
        Code::Xrstors_mem => (xrstor, class::NONE, 63, form::SUPERVISOR, 0),
        Code::Xrstors64_mem => (xrstor, class::NONE, 63, form::SUPERVISOR, 1),
        _ => return false,
    };
    (op.handler, op.src2, op.src, op.dst, op.size) = (handler, class, align, form, wide);
    true
}

/// XMM registers that exist in this mode.
fn registers(cpu: &Cpu) -> usize {
    if cpu.mode.has(Mode::CODE64) { 16 } else { 8 }
}

fn emms(cpu: &mut Cpu, _bus: &mut dyn Bus, op: &Op) -> Exec {
    ready(cpu, op)?;
    cpu.fpu.rotate_to(0); // as by every MMX instruction (Intel SDM volume 3, table 12-1)
    cpu.fpu.ftw = 0;
    Ok(())
}

fn ldmxcsr(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    ready(cpu, op)?;
    let v: u32 = cpu.load(bus, op)?;
    if v & !MXCSR_MASK != 0 {
        return Err(cpu.gp(0));
    }
    cpu.fpu.mxcsr = v;
    Ok(())
}

fn stmxcsr(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    ready(cpu, op)?;
    let v = cpu.fpu.mxcsr;
    cpu.store(bus, op, v)
}

fn vzeroupper(cpu: &mut Cpu, _bus: &mut dyn Bus, op: &Op) -> Exec {
    ready(cpu, op)?;
    let n = registers(cpu);
    cpu.fpu.zmm[..n].iter_mut().for_each(|r| r[16..].fill(0));
    Ok(())
}

fn vzeroall(cpu: &mut Cpu, _bus: &mut dyn Bus, op: &Op) -> Exec {
    ready(cpu, op)?;
    let n = registers(cpu);
    cpu.fpu.zmm[..n].fill([0; 64]);
    Ok(())
}

fn fx_ready(cpu: &mut Cpu, op: &Op) -> Result<u64, Abort> {
    if cpu.cr0 & (cr::CR0_EM | cr::CR0_TS) != 0 {
        return Err(cpu.raise(vector::NM));
    }
    aligned(cpu, op)
}

fn fxsave(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let at = fx_ready(cpu, op)?;
    let mut image = [0; 416];
    image[..160].copy_from_slice(&cpu.fpu.legacy_x87(op.size != 0));
    put_mxcsr(&cpu.fpu, &mut image);
    let n = registers(cpu);
    put_xmm(&cpu.fpu, n, &mut image);
    cpu.store_bytes(bus, op.seg, at, &image[..160 + 16 * n])
}

fn put_mxcsr(fpu: &Fpu, image: &mut [u8]) {
    image[24..28].copy_from_slice(&fpu.mxcsr.to_le_bytes());
    image[28..32].copy_from_slice(&MXCSR_MASK.to_le_bytes());
}

fn put_xmm(fpu: &Fpu, n: usize, image: &mut [u8]) {
    for (slot, r) in image[160..160 + 16 * n].chunks_exact_mut(16).zip(&fpu.zmm) {
        slot.copy_from_slice(&r[..16]);
    }
}

fn fxrstor(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let at = fx_ready(cpu, op)?;
    let mut image = [0; 512];
    cpu.load_bytes(bus, op.seg, at, &mut image)?;
    let mxcsr = mxcsr_of(&image);
    if mxcsr & !MXCSR_MASK != 0 {
        return Err(cpu.gp(0));
    }
    let n = registers(cpu);
    cpu.fpu.mxcsr = mxcsr;
    if let Some(x87) = image.first_chunk::<160>() {
        cpu.fpu.set_legacy_x87(x87, op.size != 0);
    }
    cpu.fpu.set_component(1, n, Some(&image[160..160 + 16 * n]));
    Ok(())
}

fn mxcsr_of(image: &[u8]) -> u32 {
    image.get(24..28).and_then(|b| b.try_into().ok()).map_or(MXCSR_RESET, u32::from_le_bytes)
}

/// Availability, privilege and alignment; the address, and the components asked for.
fn xsave_ready(cpu: &mut Cpu, op: &Op) -> Result<(u64, u64), Abort> {
    if cpu.cr4 & cr::CR4_OSXSAVE == 0 {
        return Err(cpu.ud());
    }
    if cpu.cr0 & cr::CR0_TS != 0 {
        return Err(cpu.raise(vector::NM));
    }
    if op.dst == form::SUPERVISOR && cpu.cpl != 0 {
        return Err(cpu.gp(0));
    }
    let asked = u64::from(cpu.r32(2)) << 32 | u64::from(cpu.r32(0));
    Ok((aligned(cpu, op)?, asked & cpu.xcr0))
}

/// Pieces of an area to store, collected first so that all are checked before the first is stored.
struct Pieces {
    area: [u8; 4096],
    ranges: [(u16, u16); 16],
    n: usize,
}

impl Pieces {
    fn new() -> Self {
        Self { area: [0; 4096], ranges: [(0, 0); 16], n: 0 }
    }
    fn add(&mut self, from: usize, to: usize) {
        if let Some(slot) = self.ranges.get_mut(self.n).filter(|_| from < to) {
            *slot = (from as u16, to as u16);
            self.n += 1;
        }
    }
    fn store(&self, cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op, at: u64) -> Exec {
        let place = |from: u16| at.wrapping_add(u64::from(from)) & op.addr_mask;
        for &(from, to) in &self.ranges[..self.n] {
            cpu.check_write(bus, op.seg, place(from), usize::from(to - from))?;
        }
        for &(from, to) in &self.ranges[..self.n] {
            let data = self.area.get(usize::from(from)..usize::from(to)).unwrap_or(&[]);
            cpu.store_bytes(bus, op.seg, place(from), data)?;
        }
        Ok(())
    }
}

fn xsave(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let (at, features) = xsave_ready(cpu, op)?;
    let compacted = op.dst >= form::COMPACT;
    let regs = registers(cpu);
    let mut p = Pieces::new();
    let header_at = at.wrapping_add(512) & op.addr_mask;
    let fpu = &*cpu.fpu;
    let mut in_use = fpu.in_use();
    if compacted && fpu.mxcsr != MXCSR_RESET {
        in_use |= XCR0_SSE;
    }
    let written = if op.dst == form::PLAIN { features } else { features & in_use };
    if written & XCR0_X87 != 0 {
        p.area[..160].copy_from_slice(&fpu.legacy_x87(op.size != 0));
        p.add(0, 24);
        p.add(32, 160);
    }
    if if compacted { written & XCR0_SSE != 0 } else { features & (XCR0_SSE | XCR0_AVX) != 0 } {
        put_mxcsr(fpu, &mut p.area);
        p.add(24, 32);
    }
    if written & XCR0_SSE != 0 {
        put_xmm(fpu, regs, &mut p.area);
        p.add(160, 160 + 16 * regs);
    }
    let mut part = [0; 1024];
    for (i, offset) in fpu::offsets(features, compacted).filter(|(i, _)| written >> i & 1 != 0) {
        let n = fpu.component(i, regs, &mut part);
        if let Some(to) = p.area.get_mut(offset..offset + n) {
            to.copy_from_slice(&part[..n]);
            p.add(offset, offset + n);
        }
    }
    let mut xstate_bv = in_use & features;
    if compacted {
        p.area[520..528].copy_from_slice(&(features | 1 << 63).to_le_bytes());
        p.add(512, 528);
    } else {
        let old: u64 = cpu.load_at(bus, op.seg, header_at)?;
        xstate_bv |= old & !features;
        p.add(512, 520);
    }
    p.area[512..520].copy_from_slice(&xstate_bv.to_le_bytes());
    p.store(cpu, bus, op, at)
}

fn xrstor(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let (at, features) = xsave_ready(cpu, op)?;
    let regs = registers(cpu);
    let mut area = [0; 4096];
    let place = |from: usize| at.wrapping_add(from as u64) & op.addr_mask;
    cpu.load_bytes(bus, op.seg, place(512), &mut area[512..576])?;
    let Ok(header) = Header::parse(&area[512..576], cpu.xcr0, op.dst == form::SUPERVISOR) else {
        return Err(cpu.gp(0));
    };
    let present = header.xstate_bv & features;
    if present & XCR0_X87 != 0 || features & (XCR0_SSE | XCR0_AVX) != 0 {
        cpu.load_bytes(bus, op.seg, at, &mut area[..160])?;
    }
    if present & XCR0_SSE != 0 {
        cpu.load_bytes(bus, op.seg, place(160), &mut area[160..160 + 16 * regs])?;
    }
    let layout = header.layout();
    for (i, offset) in fpu::offsets(layout, header.compacted()).filter(|(i, _)| present >> i & 1 != 0) {
        let n = Fpu::component_len(i, regs);
        if let Some(to) = area.get_mut(offset..offset + n).filter(|to| !to.is_empty()) {
            cpu.load_bytes(bus, op.seg, place(offset), to)?;
        }
    }
    let mxcsr = match (header.compacted(), features & XCR0_SSE != 0, features & XCR0_AVX != 0) {
        (true, true, _) if present & XCR0_SSE == 0 => MXCSR_RESET,
        (true, true, _) | (false, true, _) | (false, _, true) => mxcsr_of(&area),
        _ => cpu.fpu.mxcsr,
    };
    if mxcsr & !MXCSR_MASK != 0 {
        return Err(cpu.gp(0));
    }
    take(&mut cpu.fpu, &area, features, present, header, (regs, op.size != 0));
    cpu.fpu.mxcsr = mxcsr;
    Ok(())
}

/// Gives the components of `features` what the area has, or their initial configuration.
fn take(f: &mut Fpu, area: &[u8; 4096], features: u64, present: u64, header: Header, (regs, wide): (usize, bool)) {
    if features & XCR0_X87 != 0 {
        match area.first_chunk::<160>().filter(|_| present & XCR0_X87 != 0) {
            Some(x87) => f.set_legacy_x87(x87, wide),
            None => f.init_component_x87(),
        }
    }
    if features & XCR0_SSE != 0 {
        f.set_component(1, regs, area.get(160..160 + 16 * regs).filter(|_| present & XCR0_SSE != 0));
    }
    for i in (2..10).filter(|i| features >> i & 1 != 0 && present >> i & 1 == 0) {
        f.set_component(i, regs, None);
    }
    for (i, at) in fpu::offsets(header.layout(), header.compacted()).filter(|(i, _)| present >> i & 1 != 0) {
        let n = Fpu::component_len(i, regs);
        if let Some(data) = area.get(at..at + n).filter(|d| !d.is_empty()) {
            f.set_component(i, regs, Some(data));
        }
    }
}
