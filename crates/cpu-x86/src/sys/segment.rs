//! Loading segment registers, LDTR and TR (Intel SDM volume 3, 3.4.3, 5.5 to 5.7; volume 2, MOV, LLDT, LTR).

use crate::bus::Bus;
use crate::fault::{Exec, vector};
use crate::state::{Cpu, Mode, Seg, SegReg};
use crate::sys::descriptor::{code, is_null};

impl Cpu {
    /// Loads ES, SS, DS, FS or GS as MOV Sreg does in the current mode (CS only in real and virtual-8086 mode).
    ///
    /// # Errors
    /// #GP, #NP, #SS with the selector, or an access's.
    pub fn load_segment(&mut self, bus: &mut dyn Bus, seg: Seg, selector: u16) -> Exec {
        if !self.mode.has(Mode::PROTECTED) || self.mode.has(Mode::V86) {
            self.set_real_segment(seg, selector);
        } else if seg == Seg::Ss {
            self.load_stack_segment(bus, selector)?;
        } else {
            self.load_data_segment(bus, seg, selector, vector::GP)?;
        }
        self.update_mode();
        Ok(())
    }

    /// Real-address mode: base from the selector, the hidden limit stays ("big real mode"). Virtual-8086 mode: a
    /// 64-KiB data segment of ring 3.
    pub(crate) fn set_real_segment(&mut self, seg: Seg, selector: u16) {
        let v86 = self.mode.has(Mode::V86);
        let s = &mut self.segs[seg as usize];
        if v86 {
            *s = SegReg { attributes: 0xF3, ..SegReg::real(selector) };
        } else {
            s.selector = selector;
            s.base = u64::from(selector) << 4;
            s.attributes = s.attributes & 0xF000 | 0x93;
            if seg == Seg::Cs {
                s.attributes &= !0x6000;
            }
        }
    }

    fn load_stack_segment(&mut self, bus: &mut dyn Bus, selector: u16) -> Exec {
        let rpl = (selector & 3) as u8;
        if is_null(selector) && self.mode.has(Mode::CODE64) && self.cpl < 3 && rpl == self.cpl {
            self.segs[Seg::Ss as usize] = SegReg { selector, ..SegReg::null_stack(self.cpl) };
            return Ok(());
        }
        if is_null(selector) {
            return Err(self.gp(0));
        }
        let ss = self.checked_stack_segment(bus, selector, self.cpl, vector::GP)?;
        self.segs[Seg::Ss as usize] = ss;
        Ok(())
    }

    /// ES, DS, FS, GS in protected mode; faults are `fault`(selector). The caller updates the mode.
    pub(crate) fn load_data_segment(&mut self, bus: &mut dyn Bus, seg: Seg, selector: u16, fault: u8) -> Exec {
        if is_null(selector) {
            self.segs[seg as usize] = SegReg { selector, ..SegReg::default() };
            return Ok(());
        }
        let d = self.fetch_descriptor(bus, selector, fault)?;
        let least = self.cpl.max((selector & 3) as u8);
        if !d.readable() || !d.conforming() && d.dpl() < least {
            return Err(self.raise_error(fault, code(selector)));
        }
        if !d.present() {
            return Err(self.raise_error(vector::NP, code(selector)));
        }
        self.mark_accessed(bus, selector, d)?;
        self.segs[seg as usize] = d.segment(selector);
        Ok(())
    }

    /// LLDT's load; faults are `fault`(selector).
    pub(crate) fn load_ldtr(&mut self, bus: &mut dyn Bus, selector: u16, fault: u8) -> Exec {
        if is_null(selector) {
            self.ldtr = SegReg { selector, ..SegReg::default() };
            return Ok(());
        }
        if selector & 4 != 0 {
            return Err(self.raise_error(fault, code(selector)));
        }
        let d = self.fetch_descriptor(bus, selector, fault)?;
        if d.s() || d.kind() != 2 {
            return Err(self.raise_error(fault, code(selector)));
        }
        let upper = self.system_upper(bus, selector, fault)?;
        if !d.present() {
            return Err(self.raise_error(if fault == vector::TS { fault } else { vector::NP }, code(selector)));
        }
        self.ldtr = d.segment(selector);
        self.ldtr.base |= upper;
        Ok(())
    }

    /// LTR's load.
    pub(crate) fn load_tr(&mut self, bus: &mut dyn Bus, selector: u16) -> Exec {
        if is_null(selector) {
            return Err(self.gp(0));
        }
        if selector & 4 != 0 {
            return Err(self.gp(code(selector)));
        }
        let d = self.fetch_descriptor(bus, selector, vector::GP)?;
        let narrow = d.kind() == 1 && !self.mode.has(Mode::LONG);
        if d.s() || d.kind() != 9 && !narrow {
            return Err(self.gp(code(selector)));
        }
        let upper = self.system_upper(bus, selector, vector::GP)?;
        if !d.present() {
            return Err(self.raise_error(vector::NP, code(selector)));
        }
        self.mark_busy(bus, selector, true)?;
        self.tr = d.segment(selector);
        self.tr.base |= upper;
        self.tr.attributes |= 2;
        Ok(())
    }

    /// Bits 63:32 of a system descriptor's base, in place; 0 outside long mode.
    fn system_upper(&mut self, bus: &mut dyn Bus, selector: u16, fault: u8) -> Result<u64, crate::fault::Abort> {
        if !self.mode.has(Mode::LONG) {
            return Ok(0);
        }
        let upper = self.fetch_upper(bus, selector, fault)?;
        let base = upper << 32;
        if upper >> 40 & 0x1F != 0 || !self.canonical(base) {
            return Err(self.raise_error(fault, code(selector)));
        }
        Ok(base)
    }
}
