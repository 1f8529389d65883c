//! Task switches through 16- and 32-bit TSSs (Intel SDM volume 3, chapter 8).
//!
//! Until the switch commits nothing changes but the old TSS's own fields; after it, faults belong to the new task and
//! are delivered there.

use crate::bus::Bus;
use crate::fault::{Abort, AbortKind, Exec, vector};
use crate::flags::rflags;
use crate::state::{Cpu, Mode, Seg, SegReg, cr::*};
use crate::sys::descriptor::{Descriptor, code, is_null};
use crate::sys::interrupt::{Event, Source};
use crate::sys::stack::Stack;

/// What causes a task switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Jump,
    /// CALL, interrupt or exception: the new task is nested.
    Call,
    Return,
}

/// What a TSS holds.
#[derive(Clone, Copy, Debug, Default)]
struct Image {
    cr3: u32,
    eip: u32,
    flags: u32,
    regs: [u32; 8],
    /// ES, CS, SS, DS, FS, GS.
    segs: [u16; 6],
    ldt: u16,
    trap: bool,
}

impl Cpu {
    /// An interrupt or exception through a task gate. Returns the new task's instruction pointer.
    pub(crate) fn task_interrupt(
        &mut self,
        bus: &mut dyn Bus,
        selector: u16,
        error: Option<u32>,
        rip: u64,
    ) -> Result<u64, Abort> {
        self.switch_task(bus, selector, Reason::Call, error, rip)
    }

    /// Switches to the task of the TSS `selector`; `rip` is where the old task goes on. Returns the new task's
    /// instruction pointer.
    pub(crate) fn switch_task(
        &mut self,
        bus: &mut dyn Bus,
        selector: u16,
        reason: Reason,
        error: Option<u32>,
        rip: u64,
    ) -> Result<u64, Abort> {
        let d = self.check_tss(bus, selector, reason)?;
        let wide = d.kind() & 8 != 0;
        let base = u64::from(d.base());
        let image = self.read_tss(bus, base, wide)?;
        let mut old_flags = self.rflags();
        if reason == Reason::Return {
            old_flags &= !rflags::NT;
        }
        let old = self.tr;
        self.write_tss(bus, rip, old_flags)?;
        if reason == Reason::Call {
            self.store_system(bus, base, old.selector)?;
        }
        if reason != Reason::Call {
            self.mark_busy(bus, old.selector, false)?;
        }
        if reason != Reason::Return {
            self.mark_busy(bus, selector, true)?;
        }
        // The switch is committed.
        self.tr = d.segment(selector);
        self.tr.attributes |= 2;
        self.cr0 |= CR0_TS;
        if wide && self.cr0 & CR0_PG != 0 && self.cr3 != u64::from(image.cr3) {
            self.cr3 = u64::from(image.cr3);
            self.switch_address_space(false);
            self.paging_key[1] = self.cr3;
        }
        let mut flags = u64::from(image.flags) & FLAGS_OF_TSS;
        if reason == Reason::Call {
            flags |= rflags::NT;
        }
        self.commit_registers(&image, flags, wide);
        if let Err(Abort) = self.load_task_segments(bus, &image, wide, error) {
            let AbortKind::Exception(e) = self.abort else { return Err(Abort) };
            self.rip = u64::from(image.eip);
            self.update_mode();
            let external = u32::from(reason == Reason::Call && error.is_some());
            let event = Event { vector: e.vector, source: Source::Exception, error: e.error.map(|c| c | external) };
            self.settle(bus, event, e.payload)?;
            return Ok(self.rip);
        }
        if image.trap {
            self.pending_db |= 1 << 15; // BT
        }
        self.stop_block = true;
        Ok(u64::from(image.eip))
    }

    fn check_tss(&mut self, bus: &mut dyn Bus, selector: u16, reason: Reason) -> Result<Descriptor, Abort> {
        let fault = if reason == Reason::Return { vector::TS } else { vector::GP };
        let busy = if reason == Reason::Return { 2 } else { 0 };
        if is_null(selector) || selector & 4 != 0 {
            return Err(self.raise_error(fault, code(selector)));
        }
        let d = self.fetch_descriptor(bus, selector, fault)?;
        if d.s() || d.kind() & 7 != 1 | busy {
            return Err(self.raise_error(fault, code(selector)));
        }
        if !d.present() {
            return Err(self.raise_error(vector::NP, code(selector)));
        }
        let least = if d.kind() & 8 != 0 { 0x67 } else { 0x2B };
        if d.limit() < least {
            return Err(self.raise_error(vector::TS, code(selector)));
        }
        Ok(d)
    }

    fn read_tss(&mut self, bus: &mut dyn Bus, base: u64, wide: bool) -> Result<Image, Abort> {
        let mut t = Image::default();
        let at = |n: u64| base.wrapping_add(n) & 0xFFFF_FFFF;
        if wide {
            t.cr3 = self.load_system(bus, at(0x1C))?;
            t.eip = self.load_system(bus, at(0x20))?;
            t.flags = self.load_system(bus, at(0x24))?;
            for n in 0..8 {
                t.regs[n] = self.load_system(bus, at(0x28 + 4 * n as u64))?;
            }
            for n in 0..6 {
                t.segs[n] = self.load_system(bus, at(0x48 + 4 * n as u64))?;
            }
            t.ldt = self.load_system(bus, at(0x60))?;
            t.trap = self.load_system::<u16>(bus, at(0x64))? & 1 != 0;
        } else {
            let mut word = |n: u64| self.load_system::<u16>(bus, at(n));
            t.eip = u32::from(word(0x0E)?);
            t.flags = u32::from(word(0x10)?);
            for n in 0..8 {
                t.regs[n] = u32::from(word(0x12 + 2 * n as u64)?);
            }
            for n in 0..4 {
                t.segs[n] = word(0x22 + 2 * n as u64)?;
            }
            t.ldt = word(0x2A)?;
        }
        Ok(t)
    }

    /// Saves the running task.
    fn write_tss(&mut self, bus: &mut dyn Bus, rip: u64, flags: u64) -> Exec {
        let base = self.tr.base;
        let at = |n: u64| base.wrapping_add(n) & 0xFFFF_FFFF;
        if self.tr.kind() & 8 != 0 {
            self.store_system(bus, at(0x20), rip as u32)?;
            self.store_system(bus, at(0x24), flags as u32)?;
            for n in 0..8 {
                self.store_system(bus, at(0x28 + 4 * u64::from(n)), self.r32(n))?;
            }
            for n in 0..6 {
                self.store_system(bus, at(0x48 + 4 * n as u64), self.segs[n].selector)?;
            }
        } else {
            self.store_system(bus, at(0x0E), rip as u16)?;
            self.store_system(bus, at(0x10), flags as u16)?;
            for n in 0..8 {
                self.store_system(bus, at(0x12 + 2 * u64::from(n)), self.r16(n))?;
            }
            for n in 0..4 {
                self.store_system(bus, at(0x22 + 2 * n as u64), self.segs[n].selector)?;
            }
        }
        Ok(())
    }

    fn commit_registers(&mut self, t: &Image, flags: u64, wide: bool) {
        for (n, v) in t.regs.iter().enumerate() {
            if wide {
                self.set_r32(n as u8, *v);
            } else {
                self.set_r32(n as u8, 0xFFFF_0000 | *v); // upper halves are undefined
            }
        }
        self.set_rflags(flags);
        for (seg, selector) in self.segs.iter_mut().zip(t.segs) {
            *seg = SegReg { selector, ..SegReg::default() };
        }
        self.ldtr = SegReg { selector: t.ldt, ..SegReg::default() };
        self.cpl = if flags & rflags::VM != 0 { 3 } else { (t.segs[1] & 3) as u8 };
        self.dr[7] &= !0x155; // local enables
        self.update_mode();
    }

    fn load_task_segments(&mut self, bus: &mut dyn Bus, t: &Image, wide: bool, error: Option<u32>) -> Exec {
        self.load_ldtr(bus, t.ldt, vector::TS)?;
        if self.mode.has(Mode::V86) {
            for (n, s) in ALL.iter().enumerate() {
                self.set_real_segment(*s, t.segs[n]);
            }
        } else {
            self.load_task_code(bus, t.segs[1])?;
            let ss = self.checked_stack_segment(bus, t.segs[2], self.cpl, vector::TS)?;
            self.segs[Seg::Ss as usize] = ss;
            for s in [Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs] {
                self.load_data_segment(bus, s, t.segs[s as usize], vector::TS)?;
            }
        }
        self.update_mode();
        if let Some(e) = error {
            let mut stack = Stack::current(self);
            stack.push(self, bus, if wide { 4 } else { 2 }, u64::from(e))?;
            self.set_sp(stack.sp);
        }
        let cs = self.segs[Seg::Cs as usize];
        self.check_target(&cs, u64::from(t.eip))
    }

    fn load_task_code(&mut self, bus: &mut dyn Bus, selector: u16) -> Exec {
        if is_null(selector) {
            return Err(self.raise_error(vector::TS, code(selector)));
        }
        let d = self.fetch_descriptor(bus, selector, vector::TS)?;
        let rpl = (selector & 3) as u8;
        let privilege = if d.conforming() { d.dpl() <= rpl } else { d.dpl() == rpl };
        if !d.is_code() || !privilege {
            return Err(self.raise_error(vector::TS, code(selector)));
        }
        if !d.present() {
            return Err(self.raise_error(vector::NP, code(selector)));
        }
        self.mark_accessed(bus, selector, d)?;
        self.segs[Seg::Cs as usize] = d.segment(selector);
        Ok(())
    }
}

/// All segment registers in their order.
const ALL: [Seg; 6] = [Seg::Es, Seg::Cs, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs];

/// What EFLAGS in a TSS can set.
const FLAGS_OF_TSS: u64 = 0x3F_7FD7;
