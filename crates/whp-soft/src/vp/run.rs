//! The run loop (`WHvRunVirtualProcessor`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use cpu_x86::bus::Attention;
use cpu_x86::fault::{AbortKind, Exception, Stop, vector};
use cpu_x86::flags::rflags;
use cpu_x86::state::cr;
use cpu_x86::{Abort, Cpu, InterruptKind, ResetKind};
use irqchip::lapic::{Lapic, apic_base};
use whp::{AccessHandler, Exit, ExitContext, ExtendedVmExits, PendingEvent, PendingInterruption};

use super::bus::VpBus;
use super::context::{access_exit, exception_exit, terse, vp_context};
use super::{Core, Vp, count};
use crate::map::find;
use crate::shared::Shared;

/// What an exit is, and the length of its instruction.
type Left = (Exit, u8);

/// While it lives the core is in use by a run.
struct Running<'a>(&'a AtomicBool);

impl<'a> Running<'a> {
    fn new(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::SeqCst);
        Self(flag)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Vp {
    /// Runs the core on this thread until an exit.
    pub(super) fn run(&self, shared: &Shared, core: &mut Core, handler: Option<&dyn AccessHandler>) -> ExitContext {
        let _running = Running::new(&self.running);
        shared.resume_time();
        let config = shared.config();
        let exceptions = config.exits.contains(ExtendedVmExits::EXCEPTION_EXIT);
        core.processor.cpu.exception_exits = if exceptions { config.exception_exits } else { 0 };
        let cpu = &mut core.processor.cpu;
        if cpu.counter.is_none() {
            cpu.counter = shared.time.counter(&self.tsc_offset);
        }
        let mut bus = VpBus::new(self, shared, handler, config, core.apic_id);
        let (exit, length) = self.run_loop(core, &mut bus);
        self.outside.store(true, Ordering::SeqCst);
        let elapsed = u64::try_from(bus.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let ns = elapsed.saturating_sub(self.counters.slept_ns.swap(0, Ordering::Relaxed));
        self.counters.runtime_ns.fetch_add(ns, Ordering::Relaxed);
        let cr8 = self.irq().cr8();
        ExitContext { vp: vp_context(core, cr8, length), exit }
    }

    fn run_loop(&self, core: &mut Core, bus: &mut VpBus<'_>) -> Left {
        loop {
            self.attention.fetch_and(!Attention::LEAVE, Ordering::SeqCst);
            core.pending_exits.extend(bus.exits.drain(..));
            if let Some(exit) = core.pending_exits.pop_front() {
                if !core.pending_exits.is_empty() {
                    self.leave();
                }
                return (exit, 0);
            }
            if self.cancelled.swap(false, Ordering::SeqCst) {
                return (Exit::Canceled, 0);
            }
            if self.sleeps(bus.shared, core) {
                continue;
            }
            if impossible(&core.processor.cpu) {
                return (Exit::InvalidVpRegisterValue, 0);
            }
            self.enter();
            let stop = inject(core, bus).unwrap_or_else(|| core.processor.run(bus));
            self.outside.store(true, Ordering::SeqCst);
            if let Some(left) = self.stopped(core, bus, stop) {
                core.pending_exits.extend(bus.exits.drain(..));
                return left;
            }
        }
    }

    /// Carries out INIT and SIPI, and sleeps in HLT and wait-for-SIPI. `true`: slept, or must look around again.
    fn sleeps(&self, shared: &Shared, core: &mut Core) -> bool {
        let mut irq = self.irq();
        if irq.init {
            irq.init = false;
            core.processor.cpu.reset(ResetKind::Init);
            core.pending_interruption = PendingInterruption::default();
            core.pending_exception = PendingEvent::None;
            self.attention.fetch_and(!Attention::NMI, Ordering::SeqCst);
            (irq.halted, irq.idle) = (false, false);
            irq.ext_int = None;
            if let Some(lapic) = &mut irq.lapic {
                lapic.init();
            }
            irq.startup_suspend = irq.apic_base() & apic_base::BSP == 0;
            if !irq.startup_suspend {
                irq.sipi = None;
            }
            self.refresh(&irq);
            self.arm(shared, &irq);
        }
        if irq.startup_suspend
            && let Some(page) = irq.sipi.take()
        {
            core.processor.cpu.reset(ResetKind::Sipi(page));
            (irq.startup_suspend, irq.halted, irq.idle) = (false, false, false);
        }
        let cpu = &core.processor.cpu;
        let (interrupts_on, nmi_blocked) = (cpu.sysflags & rflags::IF != 0, cpu.shadow.nmi);
        let injection = core.pending_interruption.pending || core.pending_exception != PendingEvent::None;
        // On Windows an event of the 8259 pair waits until something else ends the halt.
        let requested = irq.lapic.as_ref().is_some_and(|l| l.pending().is_some());
        let deaf = !self.behave.ext_int_wakes() && irq.ext_int.is_some() && !requested;
        let window = interrupts_on && self.attention.load(Ordering::SeqCst) & Attention::INTR_WINDOW != 0;
        let wakes = window || self.wakes(interrupts_on && !deaf, nmi_blocked);
        if irq.halted && (irq.lapic.is_none() || injection || wakes) {
            // A window exit leaves the processor halted, as the client will see in InternalActivityState.
            let a = self.attention.load(Ordering::SeqCst);
            let taken = injection
                || irq.lapic.is_none()
                || (interrupts_on && a & Attention::INTR != 0 && !deaf)
                || (!nmi_blocked && a & Attention::NMI != 0);
            irq.halted = !taken;
            return false;
        }
        // Linux waits for locks in idle with interrupts off, also inside the handler of a vector that holds the kick back.
        let requested = irq.lapic.as_ref().is_some_and(Lapic::has_requests);
        // A local APIC that is switched off takes no kick, and there is none: Linux's processors wait for locks before they
        // have switched theirs on.
        let kicks = irq.lapic.as_ref().is_none_or(Lapic::software_enabled);
        if irq.idle && (injection || requested || !kicks || self.wakes(true, nmi_blocked)) {
            irq.idle = false;
        }
        if !irq.halted && !irq.startup_suspend && !irq.idle {
            return false;
        }
        // A cause set after LEAVE was cleared sets it again, under this lock or before taking it to wake us.
        if !self.cancelled.load(Ordering::SeqCst) && !irq.init {
            let asleep = Instant::now();
            irq.sleeping = true;
            irq = self.wake.wait(irq).unwrap_or_else(|e| e.into_inner());
            irq.sleeping = false;
            let ns = u64::try_from(asleep.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.counters.slept_ns.fetch_add(ns, Ordering::Relaxed);
        }
        true
    }

    /// What a stop of the processor means. `None`: go on.
    fn stopped(&self, core: &mut Core, bus: &mut VpBus<'_>, stop: Stop) -> Option<Left> {
        let cpu = &core.processor.cpu;
        match stop {
            Stop::Attention => None,
            Stop::Window => {
                count(&self.counters.windows);
                let mut irq = self.irq();
                let open = irq.window_interrupt && cpu.sysflags & rflags::IF != 0 && !cpu.shadow.interrupt;
                let nmi = irq.window_nmi && !cpu.shadow.nmi && !cpu.shadow.interrupt;
                let kind = if nmi { PendingInterruption::NMI } else { PendingInterruption::INTERRUPT };
                if nmi {
                    irq.window_nmi = false;
                } else if open {
                    irq.window_interrupt = false;
                }
                self.refresh(&irq);
                Some((Exit::InterruptWindow { kind }, 0))
            }
            Stop::Halt => {
                count(&self.counters.halt);
                let mut irq = self.irq();
                irq.halted = true;
                if irq.lapic.is_some() {
                    return None;
                }
                Some((Exit::Halt, cpu.last_instruction.len))
            }
            Stop::Shutdown => {
                count(&self.counters.other);
                Some((Exit::UnrecoverableException, 0))
            }
            Stop::Exception(e) => {
                count(&self.counters.exceptions);
                Some(exception_exit(cpu, e))
            }
            Stop::Access(kind) => {
                match core.processor.undelivered.take() {
                    Some((_, InterruptKind::Nmi)) => core.pending_interruption = PendingInterruption::nmi(),
                    Some((vector, _)) => core.pending_interruption = PendingInterruption::interrupt(vector),
                    None => {}
                }
                let cpu = &core.processor.cpu;
                let ranges = bus.shared.map.ranges();
                let (exit, length) = access_exit(cpu, kind, |gpa| find(&ranges, gpa).is_some());
                Some(if self.behave.is_old() { terse(exit, length) } else { (exit, length) })
            }
        }
    }
}

/// Delivers what the client put into the pending-interruption and pending-event registers.
fn inject(core: &mut Core, bus: &mut VpBus<'_>) -> Option<Stop> {
    let cpu = &mut core.processor.cpu;
    let p = std::mem::take(&mut core.pending_interruption);
    let event = std::mem::take(&mut core.pending_exception);
    if !p.pending && event == PendingEvent::None {
        return None;
    }
    cpu.update_mode();
    let flushes = Attention::FLUSH_TLB | Attention::FLUSH_TRANSLATIONS;
    if cpu.attention.load(Ordering::SeqCst) & flushes != 0 {
        // The processor drops its TLB where it looks at the word; nothing is cached of the old map if it does first.
        // LEAVE stays set: the run loop clears it and looks at every cause again.
        cpu.attention.fetch_or(Attention::LEAVE, Ordering::SeqCst);
        let stop = core.processor.run(bus);
        if stop != Stop::Attention {
            (core.pending_interruption, core.pending_exception) = (p, event);
            return Some(stop);
        }
    }
    let cpu = &mut core.processor.cpu;
    let done = if p.pending {
        let vector = p.vector as u8;
        match p.kind {
            PendingInterruption::NMI => cpu.deliver_interrupt(bus, vector::NMI, InterruptKind::Nmi),
            PendingInterruption::EXCEPTION => {
                let error = p.deliver_error_code.then_some(p.error_code);
                let payload = if vector == vector::PF { cpu.cr2 } else { 0 };
                cpu.deliver_exception(bus, Exception { vector, error, payload })
            }
            _ => cpu.deliver_interrupt(bus, vector, InterruptKind::External),
        }
    } else if let PendingEvent::Exception { vector, error_code, parameter } = event {
        cpu.deliver_exception(bus, Exception { vector: vector as u8, error: error_code, payload: parameter })
    } else {
        Ok(())
    };
    done.err().map(|Abort| match core.processor.cpu.abort {
        AbortKind::Exception(e) => Stop::Exception(e),
        AbortKind::Shutdown => Stop::Shutdown,
        other => {
            // Nothing of it has happened: the next run begins with it again.
            (core.pending_interruption, core.pending_exception) = (p, event);
            Stop::Access(other)
        }
    })
}

/// Register combinations that no sequence of instructions leads to.
fn impossible(cpu: &Cpu) -> bool {
    let paging_without_protection = cpu.cr0 & cr::CR0_PG != 0 && cpu.cr0 & cr::CR0_PE == 0;
    let long_without_paging = cpu.msr.efer & cr::EFER_LMA != 0 && cpu.cr0 & cr::CR0_PG == 0;
    let long_without_pae = cpu.msr.efer & cr::EFER_LMA != 0 && cpu.cr0 & cr::CR0_PG != 0 && cpu.cr4 & cr::CR4_PAE == 0;
    paging_without_protection || long_without_paging || long_without_pae
}
