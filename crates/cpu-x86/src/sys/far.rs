//! Far JMP, CALL and RET: direct, through call gates and tasks, to the same and another privilege (Intel SDM volume 2,
//! JMP, CALL, RET; volume 3, 5.8). Left out: shadow stacks.

use crate::bus::Bus;
use crate::fault::{Abort, Exec, vector};
use crate::state::{Cpu, Mode, Seg, SegReg};
use crate::sys::descriptor::{Descriptor, code, is_null};
use crate::sys::stack::Stack;
use crate::sys::task::Reason;

/// Where a far return or IRET goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReturnPoint {
    pub(crate) cs: SegReg,
    /// Privilege afterwards.
    pub(crate) cpl: u8,
    /// SS and SP, where they come from the stack too.
    pub(crate) outer: Option<(SegReg, u64)>,
}

impl Cpu {
    /// Whether segments work as in the 8086.
    pub(crate) fn real_or_v86(&self) -> bool {
        !self.mode.has(Mode::PROTECTED) || self.mode.has(Mode::V86)
    }

    /// Far JMP or CALL to `selector:offset` with operand size `size`; the next instruction is at `next`.
    pub(crate) fn far_transfer(
        &mut self,
        bus: &mut dyn Bus,
        call: bool,
        selector: u16,
        offset: u64,
        size: u8,
        next: u64,
    ) -> Exec {
        if self.real_or_v86() {
            return self.far_real(bus, call, selector, offset, size, next);
        }
        if is_null(selector) {
            return Err(self.gp(0));
        }
        let d = self.fetch_descriptor(bus, selector, vector::GP)?;
        let long = self.mode.has(Mode::LONG);
        let reason = if call { Reason::Call } else { Reason::Jump };
        match d.kind() {
            _ if d.s() => self.far_direct(bus, call, selector, d, offset, size, next),
            0xC => self.far_gate(bus, call, selector, d, next),
            4 if !long => self.far_gate(bus, call, selector, d, next),
            kind @ (1 | 3 | 5 | 9 | 0xB) if !long => {
                let rpl = (selector & 3) as u8;
                if d.dpl() < self.cpl.max(rpl) {
                    return Err(self.gp(code(selector)));
                }
                if !d.present() {
                    return Err(self.raise_error(vector::NP, code(selector)));
                }
                let tss = if kind == 5 { d.gate_selector() } else { selector };
                let ip = self.switch_task(bus, tss, reason, None, next)?;
                self.branch(ip);
                Ok(())
            }
            _ => Err(self.gp(code(selector))),
        }
    }

    fn far_real(&mut self, bus: &mut dyn Bus, call: bool, selector: u16, offset: u64, size: u8, next: u64) -> Exec {
        if offset > u64::from(self.segs[Seg::Cs as usize].limit) {
            return Err(self.gp(0));
        }
        if call {
            self.push_return(bus, size, next)?;
        }
        self.set_real_segment(Seg::Cs, selector);
        self.update_mode();
        self.branch(offset);
        Ok(())
    }

    fn push_return(&mut self, bus: &mut dyn Bus, size: u8, next: u64) -> Exec {
        let mut stack = Stack::current(self);
        let cs = self.segs[Seg::Cs as usize].selector;
        stack.push_all(self, bus, size, &[u64::from(cs), next])?;
        self.set_sp(stack.sp);
        Ok(())
    }

    fn far_direct(
        &mut self,
        bus: &mut dyn Bus,
        call: bool,
        selector: u16,
        d: Descriptor,
        offset: u64,
        size: u8,
        next: u64,
    ) -> Exec {
        let rpl = (selector & 3) as u8;
        let privilege = if d.conforming() { d.dpl() <= self.cpl } else { rpl <= self.cpl && d.dpl() == self.cpl };
        if !d.is_code() || !privilege || self.mode.has(Mode::LONG) && d.long() && d.big() {
            return Err(self.gp(code(selector)));
        }
        if !d.present() {
            return Err(self.raise_error(vector::NP, code(selector)));
        }
        let cs = SegReg { selector: selector & !3 | u16::from(self.cpl), ..d.segment(selector) };
        let offset = truncate(offset, size);
        self.check_target(&cs, offset)?;
        self.mark_accessed(bus, selector, d)?;
        if call {
            self.push_return(bus, size, next)?;
        }
        self.segs[Seg::Cs as usize] = cs;
        self.update_mode();
        self.branch(offset);
        Ok(())
    }

    fn far_gate(&mut self, bus: &mut dyn Bus, call: bool, selector: u16, gate: Descriptor, next: u64) -> Exec {
        let long = self.mode.has(Mode::LONG);
        if gate.dpl() < self.cpl.max((selector & 3) as u8) {
            return Err(self.gp(code(selector)));
        }
        let upper = if long { self.fetch_upper(bus, selector, vector::GP)? } else { 0 };
        if upper >> 40 & 0x1F != 0 {
            return Err(self.gp(code(selector)));
        }
        if !gate.present() {
            return Err(self.raise_error(vector::NP, code(selector)));
        }
        let target = gate.gate_selector();
        if is_null(target) {
            return Err(self.gp(0));
        }
        let d = self.fetch_descriptor(bus, target, vector::GP)?;
        let same = d.conforming() || d.dpl() == self.cpl;
        if !d.is_code() || d.dpl() > self.cpl || !call && !same || long && (!d.long() || d.big()) {
            return Err(self.gp(code(target)));
        }
        if !d.present() {
            return Err(self.raise_error(vector::NP, code(target)));
        }
        let cpl = if same { self.cpl } else { d.dpl() };
        let size = if long {
            8
        } else if gate.kind() & 8 != 0 {
            4
        } else {
            2
        };
        let entry = truncate(u64::from(gate.gate_offset()) | upper << 32, size);
        let cs = SegReg { selector: target & !3 | u16::from(cpl), ..d.segment(target) };
        self.check_target(&cs, entry)?;
        self.mark_accessed(bus, target, d)?;
        if call && !same {
            self.call_inner(bus, cpl, size, gate, next)?;
        } else if call {
            self.push_return(bus, size, next)?;
        }
        self.segs[Seg::Cs as usize] = cs;
        self.cpl = cpl;
        self.update_mode();
        self.branch(entry);
        Ok(())
    }

    /// Switches to the stack of ring `cpl` and pushes the frame of a call gate.
    fn call_inner(&mut self, bus: &mut dyn Bus, cpl: u8, size: u8, gate: Descriptor, next: u64) -> Exec {
        let (ss, mut stack) = if size == 8 {
            let sp = self.tss_rsp(bus, 4 + 8 * u64::from(cpl))?;
            (SegReg::null_stack(cpl), Stack::long(sp))
        } else {
            let (ss, sp) = self.inner_stack(bus, cpl)?;
            (ss, Stack::of_segment(ss, sp))
        };
        let outer_ss = self.segs[Seg::Ss as usize].selector;
        stack.push_all(self, bus, size, &[u64::from(outer_ss), self.r64(4)])?;
        let count = if size == 8 { 0 } else { (gate.0 >> 32 & 0x1F) as usize };
        let mut parameters = [0; 31];
        let mut outer = Stack::current(self);
        for p in &mut parameters[..count] {
            *p = outer.pop(self, bus, size)?;
        }
        for p in parameters[..count].iter().rev() {
            stack.push(self, bus, size, *p)?;
        }
        let cs = self.segs[Seg::Cs as usize].selector;
        stack.push_all(self, bus, size, &[u64::from(cs), next])?;
        self.segs[Seg::Ss as usize] = ss;
        if size == 8 {
            self.set_r64(4, stack.sp);
        } else {
            self.set_r32(4, stack.sp as u32);
        }
        Ok(())
    }

    /// RET far with operand size `size`, releasing `release` bytes of parameters.
    pub(crate) fn far_return(&mut self, bus: &mut dyn Bus, size: u8, release: u16) -> Exec {
        let mut stack = Stack::current(self);
        let ip = stack.pop(self, bus, size)?;
        let selector = stack.pop(self, bus, size)? as u16;
        stack.skip(u64::from(release));
        if self.real_or_v86() {
            if ip > u64::from(self.segs[Seg::Cs as usize].limit) {
                return Err(self.gp(0));
            }
            self.set_sp(stack.sp);
            self.set_real_segment(Seg::Cs, selector);
            self.update_mode();
            self.branch(ip);
            return Ok(());
        }
        let rpl = (selector & 3) as u8;
        let point = self.return_point(bus, ip, selector, &mut stack, size, rpl > self.cpl)?;
        self.return_to(&point, stack.sp, release);
        self.branch(ip);
        Ok(())
    }

    /// Checks a far return's target and reads SS:SP when `with_stack`. Changes nothing but accessed bits.
    pub(crate) fn return_point(
        &mut self,
        bus: &mut dyn Bus,
        ip: u64,
        selector: u16,
        stack: &mut Stack,
        size: u8,
        with_stack: bool,
    ) -> Result<ReturnPoint, Abort> {
        if is_null(selector) {
            return Err(self.gp(0));
        }
        let d = self.fetch_descriptor(bus, selector, vector::GP)?;
        let cpl = (selector & 3) as u8;
        let privilege = if d.conforming() { d.dpl() <= cpl } else { d.dpl() == cpl };
        let long = self.mode.has(Mode::LONG);
        if cpl < self.cpl || !d.is_code() || !privilege || long && d.long() && d.big() {
            return Err(self.gp(code(selector)));
        }
        if !d.present() {
            return Err(self.raise_error(vector::NP, code(selector)));
        }
        let cs = d.segment(selector);
        let outer = if with_stack {
            let sp = stack.pop(self, bus, size)?;
            let ss = stack.pop(self, bus, size)? as u16;
            let to64 = long && d.long();
            let seg = if is_null(ss) && to64 && cpl < 3 && (ss & 3) as u8 == cpl {
                SegReg { selector: ss, ..SegReg::null_stack(cpl) }
            } else if is_null(ss) {
                return Err(self.gp(0));
            } else {
                self.checked_stack_segment(bus, ss, cpl, vector::GP)?
            };
            Some((seg, sp))
        } else {
            None
        };
        self.check_target(&cs, ip)?;
        self.mark_accessed(bus, selector, d)?;
        Ok(ReturnPoint { cs, cpl, outer })
    }

    /// Commits a far return: `sp` is the inner stack's pointer, used when SS stays.
    pub(crate) fn return_to(&mut self, point: &ReturnPoint, sp: u64, release: u16) {
        let outward = point.cpl > self.cpl;
        if point.outer.is_none() {
            self.set_sp(sp);
        }
        self.segs[Seg::Cs as usize] = point.cs;
        self.cpl = point.cpl;
        if let Some((ss, sp)) = point.outer {
            self.segs[Seg::Ss as usize] = ss;
            self.update_mode();
            self.set_sp(sp.wrapping_add(u64::from(release)));
        }
        if outward {
            self.drop_inner_segments();
        }
        self.update_mode();
    }

    /// Data segments that the outer ring may not have become null (Intel SDM volume 3, 5.8.6).
    fn drop_inner_segments(&mut self) {
        for s in [Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs] {
            let cpl = self.cpl;
            let seg = &mut self.segs[s as usize];
            let conforming = seg.attributes & 0x1C == 0x1C;
            if seg.present() && !conforming && seg.dpl() < cpl {
                *seg = SegReg::default();
            }
        }
    }
}

/// The low `size` bytes.
pub(crate) fn truncate(v: u64, size: u8) -> u64 {
    match size {
        2 => v & 0xFFFF,
        4 => v & 0xFFFF_FFFF,
        _ => v,
    }
}
