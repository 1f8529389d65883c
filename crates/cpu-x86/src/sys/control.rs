//! Control and debug registers, TLB invalidation, XCR0 (Intel SDM volume 3, 2.5, 2.6, 4.10.4, 18.2; volume 2).
//! Left out: 5-level paging, protection keys, CET.

use crate::bus::{Bus, PhysPage};
use crate::fault::{Abort, Exception, Exec, vector};
use crate::op::Op;
use crate::state::{Cpu, Mode, Seg, cr::*};
use crate::sys::interrupt::DR7_GD;

const CR0_KNOWN: u64 = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;

impl Cpu {
    /// MOV to CR0, with all checks; the mode is updated.
    ///
    /// # Errors
    /// #GP(0).
    pub fn set_cr0(&mut self, bus: &mut dyn Bus, v: u64) -> Exec {
        let on = |bit| v & bit != 0;
        if v >> 32 != 0 || on(CR0_NW) && !on(CR0_CD) || on(CR0_PG) && !on(CR0_PE) {
            return Err(self.gp(0));
        }
        let v = v & CR0_KNOWN | CR0_ET;
        let was_on = self.cr0 & CR0_PG != 0;
        let mut efer = self.msr.efer;
        if on(CR0_PG) && !was_on {
            if efer & EFER_LME != 0 {
                let long_code = self.segs[Seg::Cs as usize].long();
                let narrow_tss = self.tr.kind() & 8 == 0;
                if self.cr4 & CR4_PAE == 0 || long_code || narrow_tss {
                    return Err(self.gp(0));
                }
                efer |= EFER_LMA;
            } else if self.cr4 & CR4_PAE != 0 {
                self.check_pdptes(bus, self.cr3)?;
            }
        }
        if !on(CR0_PG) && was_on {
            if self.mode.has(Mode::CODE64) || self.cr4 & CR4_PCIDE != 0 {
                return Err(self.gp(0));
            }
            efer &= !EFER_LMA;
        }
        self.cr0 = v;
        self.msr.efer = efer;
        self.update_mode();
        Ok(())
    }

    /// MOV to CR3.
    ///
    /// # Errors
    /// #GP(0).
    pub fn set_cr3(&mut self, bus: &mut dyn Bus, v: u64) -> Exec {
        let long = self.mode.has(Mode::LONG);
        let mut v = v;
        let mut keep = false;
        if long {
            if self.cr4 & CR4_PCIDE != 0 {
                keep = v >> 63 != 0;
                v &= !(1 << 63);
            }
            if v >> self.model.physical_bits() != 0 {
                return Err(self.gp(0));
            }
        } else {
            v &= 0xFFFF_FFFF;
            if self.cr4 & CR4_PAE != 0 && self.cr0 & CR0_PG != 0 {
                self.check_pdptes(bus, v)?;
            }
        }
        self.cr3 = v;
        self.paging_key[1] = v;
        self.switch_address_space(keep);
        self.stop_block = true;
        Ok(())
    }

    /// MOV to CR4.
    ///
    /// # Errors
    /// #GP(0).
    pub fn set_cr4(&mut self, bus: &mut dyn Bus, v: u64) -> Exec {
        let long = self.mode.has(Mode::LONG);
        let turns_on = |bit: u64, old: u64| v & bit != 0 && old & bit == 0;
        let pcid = turns_on(CR4_PCIDE, self.cr4) && (!long || self.cr3 & 0xFFF != 0);
        if v & !self.model.cr4_mask() != 0 || long && v & CR4_PAE == 0 || pcid {
            return Err(self.gp(0));
        }
        let watched = CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP;
        if !long && self.cr0 & CR0_PG != 0 && v & CR4_PAE != 0 && (v ^ self.cr4) & watched != 0 {
            self.check_pdptes(bus, self.cr3)?;
        }
        self.cr4 = v;
        self.update_mode();
        self.stop_block = true;
        Ok(())
    }

    /// #GP(0) when a present PDPTE of PAE paging has reserved bits set (Intel SDM volume 3, 4.4.1).
    fn check_pdptes(&mut self, bus: &mut dyn Bus, cr3: u64) -> Exec {
        let reserved = u64::MAX << self.model.physical_bits() | 0x1E6;
        let table = cr3 & 0xFFFF_FFE0;
        for n in 0..4 {
            let mut b = [0; 8];
            let gpa = table + 8 * n;
            match bus.page(gpa & !0xFFF) {
                PhysPage::Ram { block, offset, .. } => _ = block.read(offset + (gpa & 0xFFF), &mut b),
                PhysPage::None => _ = bus.mem_read(gpa, &mut b),
            }
            let e = u64::from_le_bytes(b);
            if e & 1 != 0 && e & reserved != 0 {
                return Err(self.gp(0));
            }
        }
        Ok(())
    }

    /// XSETBV of XCR0.
    ///
    /// # Errors
    /// #GP(0).
    pub fn set_xcr0(&mut self, v: u64) -> Exec {
        let any = |bits| v & bits != 0;
        let avx512 = v & 0xE0;
        if v & !self.model.xcr0_mask() != 0
            || v & 1 == 0
            || any(4) && !any(2)
            || avx512 != 0 && (avx512 != 0xE0 || !any(4))
        {
            return Err(self.gp(0));
        }
        self.xcr0 = v;
        self.stop_block = true;
        Ok(())
    }

    /// The debug register an instruction names, after the checks all accesses share.
    fn debug_register(&mut self, n: u8) -> Result<usize, Abort> {
        if matches!(n, 4 | 5) && self.cr4 & CR4_DE != 0 || n > 7 {
            return Err(self.ud());
        }
        self.privileged()?;
        if self.dr[7] & DR7_GD != 0 {
            return Err(self.raise_exception(Exception { vector: vector::DB, error: None, payload: 1 << 13 }));
        }
        Ok(usize::from(if matches!(n, 4 | 5) { n + 2 } else { n }))
    }
}

/// MOV r, CRn: register in `dst`, number in `src`.
pub(crate) fn mov_from_cr(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let read = |cpu: &Cpu, bus: &mut dyn Bus| match op.src {
        0 => Some(cpu.cr0),
        2 => Some(cpu.cr2),
        3 => Some(cpu.cr3),
        4 => Some(cpu.cr4),
        8 => Some(bus.cr8()),
        _ => None,
    };
    if !matches!(op.src, 0 | 2 | 3 | 4 | 8) {
        return Err(cpu.ud());
    }
    cpu.privileged()?;
    let v = read(cpu, bus).unwrap_or(0);
    cpu.set_sized(op.dst, op.size, v);
    Ok(())
}

/// MOV CRn, r: register in `src`, number in `dst`.
pub(crate) fn mov_to_cr(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    if !matches!(op.dst, 0 | 2 | 3 | 4 | 8) {
        return Err(cpu.ud());
    }
    cpu.privileged()?;
    let v = if op.size == 8 { cpu.r64(op.src) } else { u64::from(cpu.r32(op.src)) };
    match op.dst {
        0 => cpu.set_cr0(bus, v),
        2 => {
            cpu.cr2 = v;
            Ok(())
        }
        3 => cpu.set_cr3(bus, v),
        4 => cpu.set_cr4(bus, v),
        _ if v > 15 => Err(cpu.gp(0)),
        _ => {
            bus.set_cr8(v);
            Ok(())
        }
    }
}

/// MOV r, DRn.
pub(crate) fn mov_from_dr(cpu: &mut Cpu, _bus: &mut dyn Bus, op: &Op) -> Exec {
    let n = cpu.debug_register(op.src)?;
    cpu.set_sized(op.dst, op.size, cpu.dr[n & 7]);
    Ok(())
}

/// MOV DRn, r.
pub(crate) fn mov_to_dr(cpu: &mut Cpu, _bus: &mut dyn Bus, op: &Op) -> Exec {
    let n = cpu.debug_register(op.dst)?;
    let v = if op.size == 8 { cpu.r64(op.src) } else { u64::from(cpu.r32(op.src)) };
    if n >= 6 && v >> 32 != 0 {
        return Err(cpu.gp(0));
    }
    cpu.dr[n & 7] = match n {
        6 => v & 0xE00F | 0xFFFF_0FF0,
        7 => v & 0xFFFF_23FF | 0x400,
        _ => v,
    };
    cpu.update_mode();
    Ok(())
}

/// INVLPG.
pub(crate) fn invlpg(cpu: &mut Cpu, _bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.privileged()?;
    let mut at = cpu.seg_base[op.seg as usize & 7].wrapping_add(cpu.ea(op));
    if !cpu.mode.has(Mode::CODE64) {
        at &= 0xFFFF_FFFF;
    }
    if cpu.canonical(at) {
        cpu.flush_page(at);
        cpu.stop_block = true;
    }
    Ok(())
}

/// INVPCID: type register in `dst`, descriptor in memory.
pub(crate) fn invpcid(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    if cpu.mode.has(Mode::V86) {
        return Err(cpu.gp(0));
    }
    cpu.privileged()?;
    let mut b = [0; 16];
    let at = cpu.ea(op);
    cpu.load_bytes(bus, op.seg, at, &mut b)?;
    let d = u128::from_le_bytes(b);
    let (pcid, linear) = (d as u64, (d >> 64) as u64);
    let kind = if op.size == 8 { cpu.r64(op.dst) } else { u64::from(cpu.r32(op.dst)) };
    let bad_pcid = pcid >> 12 != 0 || pcid != 0 && cpu.cr4 & CR4_PCIDE == 0;
    match kind {
        0 if !bad_pcid && cpu.canonical(linear) => cpu.flush_page(linear),
        1 if !bad_pcid => cpu.flush_pcid(pcid as u16),
        2 | 3 => cpu.flush_tlb(true),
        _ => return Err(cpu.gp(0)),
    }
    cpu.stop_block = true;
    Ok(())
}

fn xsave_enabled(cpu: &mut Cpu) -> Exec {
    if cpu.cr4 & CR4_OSXSAVE == 0 { Err(cpu.ud()) } else { Ok(()) }
}

/// XGETBV. XINUSE (ECX = 1) is all enabled components: they may always be in use.
pub(crate) fn xgetbv(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    xsave_enabled(cpu)?;
    let inuse = cpu.model.leaf(0xD, 1).is_some_and(|r| r[0] & 4 != 0);
    match cpu.r32(1) {
        0 => {}
        1 if inuse => {}
        _ => return Err(cpu.gp(0)),
    }
    cpu.set_r32(0, cpu.xcr0 as u32);
    cpu.set_r32(2, (cpu.xcr0 >> 32) as u32);
    Ok(())
}

/// XSETBV.
pub(crate) fn xsetbv(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    xsave_enabled(cpu)?;
    cpu.privileged()?;
    if cpu.r32(1) != 0 {
        return Err(cpu.gp(0));
    }
    cpu.set_xcr0(u64::from(cpu.r32(2)) << 32 | u64::from(cpu.r32(0)))
}
