//! Delivery of exceptions and interrupts in every mode (Intel SDM volume 3, chapter 6; volume 2, INT n; 20.1.4 and
//! 20.2 for real-address and virtual-8086 mode; 6.14 for 64-bit mode).
//!
//! Everything that can fault happens before the first register changes, so a failed delivery turns into the next
//! exception (or a double fault, or shutdown) with the interrupted context intact. Left out: shadow stacks.

use crate::bus::Bus;
use crate::fault::{Abort, AbortKind, Exception, Exec, vector};
use crate::flags::rflags;
use crate::state::{Cpu, Mode, Seg, SegReg};
use crate::sys::descriptor::{Descriptor, code, is_null};
use crate::sys::stack::Stack;

/// What kind of event the system delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptKind {
    /// A maskable interrupt.
    External,
    /// An NMI: blocks further ones until IRET.
    Nmi,
}

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A fault, trap or abort found by the processor.
    Exception,
    /// An interrupt from outside.
    External,
    /// INT n, INT3, INTO: the gate's DPL is checked, and faults of the delivery have EXT clear.
    Software,
    /// INT1: no DPL check.
    Privileged,
}

/// An event to deliver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) vector: u8,
    pub(crate) source: Source,
    pub(crate) error: Option<u32>,
}

/// Flags that entering a handler clears besides IF.
const CLEARED: u64 = rflags::TF | rflags::NT | rflags::RF | rflags::VM;

impl Cpu {
    /// Delivers an exception at RIP (for traps: RIP is already after the instruction). Exceptions on the way are
    /// handled here, double and triple faults included.
    ///
    /// # Errors
    /// [`AbortKind::Shutdown`], an access that must become an exit, or [`AbortKind::Exception`] when the exception
    /// that came up on the way is one of `exception_exits`.
    pub fn deliver_exception(&mut self, bus: &mut dyn Bus, e: Exception) -> Result<(), Abort> {
        self.settle(bus, Event { vector: e.vector, source: Source::Exception, error: e.error }, e.payload)
    }

    /// Delivers an interrupt that was acknowledged (or an NMI) at RIP.
    ///
    /// # Errors
    /// As [`Cpu::deliver_exception`].
    pub fn deliver_interrupt(&mut self, bus: &mut dyn Bus, vector: u8, kind: InterruptKind) -> Result<(), Abort> {
        let r = self.settle(bus, Event { vector, source: Source::External, error: None }, 0);
        if r.is_ok() && kind == InterruptKind::Nmi {
            self.shadow.nmi = true;
        }
        r
    }

    /// Delivers `event`, and what comes up on the way, until a handler is entered.
    pub(crate) fn settle(&mut self, bus: &mut dyn Bus, mut event: Event, mut payload: u64) -> Result<(), Abort> {
        self.next = None;
        self.shadow.interrupt = false;
        loop {
            if event.source == Source::Exception {
                self.apply_payload(event.vector, payload);
            }
            match self.dispatch(bus, event, self.rip) {
                Ok(rip) => {
                    self.rip = rip;
                    self.next = None;
                    self.abort = AbortKind::None;
                    return Ok(());
                }
                Err(Abort) => {
                    let AbortKind::Exception(second) = self.abort else { return Err(Abort) };
                    if second.vector == vector::PF {
                        self.cr2 = second.payload; // also when it only leads to a double fault
                    }
                    let Some(next) = escalate(event, second) else { return Err(self.leave(AbortKind::Shutdown)) };
                    if self.exception_exits >> (next.vector & 63) & 1 != 0 {
                        return Err(self.raise_exception(next));
                    }
                    event = Event { vector: next.vector, source: Source::Exception, error: next.error };
                    payload = next.payload;
                }
            }
        }
    }

    /// CR2 of #PF, DR6 of #DB.
    fn apply_payload(&mut self, vector: u8, payload: u64) {
        match vector {
            vector::PF => self.cr2 = payload,
            vector::DB => {
                self.dr[6] = self.dr[6] & !0xF | payload;
                self.dr[7] &= !DR7_GD;
                self.msr.debugctl &= !1; // LBR
                self.update_mode();
            }
            _ => {}
        }
    }

    /// A software interrupt from an instruction whose successor is at `next`: everything about INT n but the fetch.
    /// On success the handler's address is in `Cpu::next`.
    pub(crate) fn software_interrupt(&mut self, bus: &mut dyn Bus, vector: u8, source: Source, next: u64) -> Exec {
        let rip = self.dispatch(bus, Event { vector, source, error: None }, next)?;
        self.shadow.interrupt = false;
        self.branch(rip);
        Ok(())
    }

    /// Enters the handler of `event` with `rip` as the return address; returns the handler's address.
    fn dispatch(&mut self, bus: &mut dyn Bus, event: Event, rip: u64) -> Result<u64, Abort> {
        let mut flags = self.rflags();
        let trap = matches!(event.vector, vector::DB | vector::BP | vector::OF | vector::DF | vector::MC);
        if event.source == Source::Exception && !trap {
            flags |= rflags::RF;
        }
        if !self.mode.has(Mode::PROTECTED) {
            self.deliver_real(bus, event.vector, self.idtr.base, u32::from(self.idtr.limit), flags, rip)
        } else if self.mode.has(Mode::LONG) {
            self.deliver_long(bus, event, flags, rip)
        } else {
            self.deliver_protected(bus, event, flags, rip)
        }
    }

    /// Real-address mode, and software interrupts that VME redirects (then `base` is 0 and `flags` is prepared).
    pub(crate) fn deliver_real(
        &mut self,
        bus: &mut dyn Bus,
        vector: u8,
        base: u64,
        limit: u32,
        flags: u64,
        rip: u64,
    ) -> Result<u64, Abort> {
        let offset = u32::from(vector) * 4;
        if offset + 3 > limit {
            return Err(self.gp(u32::from(vector) * 8 + 2));
        }
        let at = self.table_address(base, u64::from(offset));
        let entry = if self.mode.has(Mode::V86) {
            self.load_at::<u32>(bus, Seg::None, at)?
        } else {
            self.load_system::<u32>(bus, at)?
        };
        let cs = self.segs[Seg::Cs as usize].selector;
        let mut stack = Stack::current(self);
        stack.push_all(self, bus, 2, &[flags, u64::from(cs), rip])?;
        self.set_sp(stack.sp);
        self.set_real_segment(Seg::Cs, (entry >> 16) as u16);
        let now = self.rflags() & !(rflags::TF | rflags::RF | rflags::AC);
        if self.mode.has(Mode::V86) {
            let interrupts = if self.iopl() == 3 { rflags::IF } else { rflags::VIF };
            self.set_rflags(self.rflags() & !(rflags::TF | rflags::RF | rflags::NT | interrupts));
        } else {
            self.set_rflags(now & !rflags::IF);
        }
        self.update_mode();
        Ok(u64::from(entry & 0xFFFF))
    }

    /// Reads the low eight bytes of the vector's gate and checks what does not depend on its type.
    fn read_gate(&mut self, bus: &mut dyn Bus, event: Event, size: u64) -> Result<Descriptor, Abort> {
        let error = u32::from(event.vector) * 8 + 2;
        let offset = u64::from(event.vector) * size;
        if offset + size - 1 > u64::from(self.idtr.limit) {
            return Err(self.gp(error));
        }
        let at = self.table_address(self.idtr.base, offset);
        let gate = Descriptor(self.load_system(bus, at)?);
        let known =
            if size == 16 { matches!(gate.kind(), 0xE | 0xF) } else { matches!(gate.kind(), 5..=7 | 0xE | 0xF) };
        if gate.s() || !known || event.source == Source::Software && gate.dpl() < self.cpl {
            return Err(self.gp(error));
        }
        if !gate.present() {
            return Err(self.raise_error(vector::NP, error));
        }
        Ok(gate)
    }

    /// The handler's code segment: descriptor and the privilege it runs with.
    fn handler_segment(&mut self, bus: &mut dyn Bus, selector: u16) -> Result<(Descriptor, u8), Abort> {
        if is_null(selector) {
            return Err(self.gp(0));
        }
        let d = self.fetch_descriptor(bus, selector, vector::GP)?;
        let long = self.mode.has(Mode::LONG);
        if !d.is_code() || d.dpl() > self.cpl || long && (!d.long() || d.big()) {
            return Err(self.gp(code(selector)));
        }
        if !d.present() {
            return Err(self.raise_error(vector::NP, code(selector)));
        }
        Ok((d, if d.conforming() { self.cpl } else { d.dpl() }))
    }

    fn deliver_protected(&mut self, bus: &mut dyn Bus, event: Event, flags: u64, rip: u64) -> Result<u64, Abort> {
        let gate = self.read_gate(bus, event, 8)?;
        let selector = gate.gate_selector();
        if gate.kind() == 5 {
            return self.task_interrupt(bus, selector, event.error, rip);
        }
        let (d, cpl) = self.handler_segment(bus, selector)?;
        let v86 = self.mode.has(Mode::V86);
        if v86 && cpl != 0 {
            return Err(self.gp(code(selector)));
        }
        let size = if gate.kind() & 8 != 0 { 4 } else { 2 };
        let mask = if size == 4 { u64::MAX } else { 0xFFFF };
        let entry = u64::from(gate.gate_offset()) & mask;
        let cs = SegReg { selector: selector & !3 | u16::from(cpl), ..d.segment(selector) };
        let outer = [u64::from(self.segs[Seg::Ss as usize].selector), self.r64(4)];
        let (new_ss, mut stack) = if cpl < self.cpl {
            let (ss, sp) = self.inner_stack(bus, cpl)?;
            let mut stack = Stack::of_segment(ss, sp);
            if v86 {
                for s in [Seg::Gs, Seg::Fs, Seg::Ds, Seg::Es] {
                    let selector = self.segs[s as usize].selector;
                    stack.push(self, bus, size, u64::from(selector))?;
                }
            }
            stack.push_all(self, bus, size, &outer)?;
            (Some(ss), stack)
        } else {
            (None, Stack::current(self).with_own_privilege(self.cpl == 3))
        };
        let old_cs = u64::from(self.segs[Seg::Cs as usize].selector);
        stack.push_all(self, bus, size, &[flags, old_cs, rip])?;
        if let Some(e) = event.error {
            stack.push(self, bus, size, u64::from(e))?;
        }
        self.check_target(&cs, entry)?;
        self.mark_accessed(bus, selector, d)?;
        self.enter_handler(cs, cpl, gate);
        if let Some(ss) = new_ss {
            self.segs[Seg::Ss as usize] = ss;
            self.set_r32(4, stack.sp as u32);
            if v86 {
                for s in [Seg::Gs, Seg::Fs, Seg::Ds, Seg::Es] {
                    self.segs[s as usize] = SegReg::default();
                }
            }
        } else {
            self.set_sp(stack.sp);
        }
        self.update_mode();
        Ok(entry)
    }

    fn deliver_long(&mut self, bus: &mut dyn Bus, event: Event, flags: u64, rip: u64) -> Result<u64, Abort> {
        let gate = self.read_gate(bus, event, 16)?;
        let at = self.table_address(self.idtr.base, u64::from(event.vector) * 16 + 8);
        let upper: u64 = self.load_system(bus, at)?;
        if upper >> 40 & 0x1F != 0 {
            return Err(self.gp(u32::from(event.vector) * 8 + 2));
        }
        let selector = gate.gate_selector();
        let entry = u64::from(gate.gate_offset()) | upper << 32;
        let (d, cpl) = self.handler_segment(bus, selector)?;
        let ist = gate.0 >> 32 & 7;
        let sp = if ist != 0 {
            self.tss_rsp(bus, 0x1C + 8 * ist)?
        } else if cpl < self.cpl {
            self.tss_rsp(bus, 4 + 8 * u64::from(cpl))?
        } else {
            self.r64(4)
        };
        let cs = SegReg { selector: selector & !3 | u16::from(cpl), ..d.segment(selector) };
        self.check_target(&cs, entry)?;
        let mut stack = Stack::long(sp & !0xF).with_own_privilege(cpl == 3);
        let (ss, old_cs) = (self.segs[Seg::Ss as usize].selector, self.segs[Seg::Cs as usize].selector);
        stack.push_all(self, bus, 8, &[u64::from(ss), self.r64(4), flags, u64::from(old_cs), rip])?;
        if let Some(e) = event.error {
            stack.push(self, bus, 8, u64::from(e))?;
        }
        self.mark_accessed(bus, selector, d)?;
        if cpl < self.cpl {
            self.segs[Seg::Ss as usize] = SegReg::null_stack(cpl);
        }
        self.enter_handler(cs, cpl, gate);
        self.set_r64(4, stack.sp);
        self.update_mode();
        Ok(entry)
    }

    fn enter_handler(&mut self, cs: SegReg, cpl: u8, gate: Descriptor) {
        self.segs[Seg::Cs as usize] = cs;
        self.cpl = cpl;
        let mut flags = self.rflags() & !CLEARED;
        if gate.kind() & 1 == 0 {
            flags &= !rflags::IF;
        }
        self.set_rflags(flags);
    }

    /// A stack pointer of the 64-bit TSS.
    pub(crate) fn tss_rsp(&mut self, bus: &mut dyn Bus, offset: u64) -> Result<u64, Abort> {
        if offset + 7 > u64::from(self.tr.limit) {
            return Err(self.raise_error(vector::TS, code(self.tr.selector)));
        }
        let at = self.table_address(self.tr.base, offset);
        self.load_system(bus, at)
    }

    /// SS and ESP for an inner ring from the 16- or 32-bit TSS, checked (Intel SDM volume 3, 5.8.5).
    pub(crate) fn inner_stack(&mut self, bus: &mut dyn Bus, cpl: u8) -> Result<(SegReg, u64), Abort> {
        let wide = self.tr.kind() & 8 != 0;
        let offset = if wide { 4 + 8 * u64::from(cpl) } else { 2 + 4 * u64::from(cpl) };
        let len = if wide { 6 } else { 4 };
        if offset + len - 1 > u64::from(self.tr.limit) {
            return Err(self.raise_error(vector::TS, code(self.tr.selector)));
        }
        let at = self.table_address(self.tr.base, offset);
        let (sp, selector) = if wide {
            (u64::from(self.load_system::<u32>(bus, at)?), self.load_system::<u16>(bus, at.wrapping_add(4))?)
        } else {
            (u64::from(self.load_system::<u16>(bus, at)?), self.load_system::<u16>(bus, at.wrapping_add(2))?)
        };
        let ss = self.checked_stack_segment(bus, selector, cpl, vector::TS)?;
        Ok((ss, sp))
    }

    /// A stack segment for `cpl`: faults are `fault`(selector), #SS when not present.
    pub(crate) fn checked_stack_segment(
        &mut self,
        bus: &mut dyn Bus,
        selector: u16,
        cpl: u8,
        fault: u8,
    ) -> Result<SegReg, Abort> {
        if is_null(selector) {
            return Err(self.raise_error(fault, code(selector)));
        }
        let d = self.fetch_descriptor(bus, selector, fault)?;
        if (selector & 3) as u8 != cpl || d.dpl() != cpl || !d.writable() {
            return Err(self.raise_error(fault, code(selector)));
        }
        if !d.present() {
            return Err(self.raise_error(vector::SS, code(selector)));
        }
        self.mark_accessed(bus, selector, d)?;
        Ok(d.segment(selector))
    }
}

/// DR7.GD.
pub(crate) const DR7_GD: u64 = 1 << 13;

impl SegReg {
    /// SS as a long-mode entry to ring `cpl` leaves it: null with that RPL.
    pub(crate) fn null_stack(cpl: u8) -> Self {
        // Usable as WHP and VMX show it: a flat writable segment of that DPL is not claimed, only the DPL is.
        Self { selector: u16::from(cpl), base: 0, limit: 0, attributes: u16::from(cpl) << 5 }
    }
}

/// How bad an exception is when it meets another one (Intel SDM volume 3, table 6-5).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
    DoubleFault,
}

fn class(vector: u8) -> Class {
    match vector {
        vector::DE | vector::TS | vector::NP | vector::SS | vector::GP => Class::Contributory,
        vector::PF => Class::PageFault,
        vector::DF => Class::DoubleFault,
        _ => Class::Benign,
    }
}

/// What to deliver when `second` came up while delivering `first`; `None` is shutdown.
fn escalate(first: Event, mut second: Exception) -> Option<Exception> {
    let before = if first.source == Source::Exception { class(first.vector) } else { Class::Benign };
    if first.source != Source::Software && second.vector != vector::PF && second.vector != vector::AC {
        second.error = second.error.map(|e| e | 1); // EXT
    }
    let double = Exception { vector: vector::DF, error: Some(0), payload: 0 };
    match (before, class(second.vector)) {
        (Class::DoubleFault, Class::Contributory | Class::PageFault | Class::DoubleFault) => None,
        (Class::Contributory, Class::Contributory) => Some(double),
        (Class::PageFault, Class::Contributory | Class::PageFault) => Some(double),
        _ => Some(second),
    }
}
