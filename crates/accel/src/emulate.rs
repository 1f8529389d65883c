//! Completes exits that come undecoded: memory accesses and string port accesses of platforms that report an
//! address and instruction bytes and leave the rest to the client (Microsoft's platform; Intel SDM volume 2 for the
//! instructions, "WHvRunVirtualProcessor" for the exits).
//!
//! The instruction is executed by [`cpu_x86::Processor::emulate_one`] with the virtual processor's registers: one
//! batch is read (general registers, segments, paging; x87 and SIMD state or system registers only when the
//! instruction has to do with them), RAM and devices are accessed as the processor would, and what changed is
//! written back in one batch. An exception of the instruction is left pending. Any instruction will do.
//!
//! Left out on purpose: data breakpoints on the emulated access, and accesses to the platform's own local APIC page
//! by an instruction that exits for another operand (they find nothing).

mod bus;
mod needs;
mod state;
mod xstate;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cpu_x86::bus::Attention;
use cpu_x86::flags::rflags;
use cpu_x86::model::{CpuSpec, Topology};
use cpu_x86::{AbortKind, Emulated, Exception, InterruptKind, Processor, Stop};
use vm_core::{AddressSpace, FlatRange};
use whp::{
    AccessHandler, ExitContext, InternalActivity, PendingEvent, PendingInterruption, RegisterName as R, RegisterValue,
    VirtualProcessor,
};

use bus::EmulatorBus;
pub(crate) use needs::Needs;
use state::Loaded;

/// Slices of a REP instruction before the guest gets a chance to take an interrupt in between.
const SLICES: u32 = 16;

/// How the completion of an exit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Completion {
    /// The guest can go on.
    Done,
    /// Triple fault.
    Shutdown,
    /// It cannot be done, and why.
    Impossible(String),
}

/// One processor's emulator. Big; made when the first exit needs it.
pub(crate) struct Emulator {
    processor: Processor,
    /// The map that the processor's TLB may know pages of.
    flat: Option<Arc<[FlatRange]>>,
}

impl Emulator {
    pub(crate) fn new() -> Self {
        // Everything the host can do, and no physical address is too wide: the guest has met its own processor's
        // limits before the exit.
        let spec = CpuSpec::parse("max,phys-bits=52").or_else(|_| CpuSpec::parse("max"));
        let model = spec.map(|s| s.model(Topology::default(), 0)).unwrap_or_default();
        let processor = Processor::new(Arc::new(model));
        // Long REP instructions stop now and then.
        processor.cpu.attention.store(Attention::LEAVE, Ordering::Relaxed);
        Self { processor, flat: None }
    }

    /// Completes the instruction at RIP, which left with `context`. `bytes`: the instruction as far as the platform
    /// knows it, possibly nothing.
    ///
    /// # Errors
    /// When registers cannot be read or written.
    pub(crate) fn complete(
        &mut self,
        space: &AddressSpace,
        handler: &dyn AccessHandler,
        vp: &dyn VirtualProcessor,
        context: &ExitContext,
        bytes: &[u8],
    ) -> whp::Result<Completion> {
        let flat = space.flat();
        if self.flat.as_ref().is_none_or(|f| !Arc::ptr_eq(f, &flat)) {
            self.processor.cpu.attention.fetch_or(Attention::FLUSH_TLB, Ordering::Relaxed);
            self.flat = Some(flat.clone());
        }
        let mut needs = Needs::of(&context.vp, bytes);
        needs.system |= context.vp.interruption_pending;
        let loaded = Loaded::read(vp, context, needs, &mut self.processor.cpu)?;
        let mut bus = EmulatorBus { flat, handler, vp, cr8: context.vp.cr8.into() };
        let stop = if loaded.interruption.pending {
            self.deliver(&mut bus, loaded.interruption)
        } else {
            self.execute(&mut bus)
        };
        self.write_back(vp, &bus, &loaded, stop)
    }

    /// Executes the instruction, a REP one for a while.
    fn execute(&mut self, bus: &mut EmulatorBus<'_>) -> Option<Stop> {
        let start = self.processor.cpu.rip;
        for _ in 0..SLICES {
            match self.processor.emulate_one(bus) {
                Emulated::Done if self.processor.cpu.rip == start => {}
                Emulated::Done => break,
                Emulated::Stop(stop) => return Some(stop),
            }
        }
        None
    }

    /// Delivers an event whose delivery touched something that is no memory (a stack or table in a device).
    fn deliver(&mut self, bus: &mut EmulatorBus<'_>, event: PendingInterruption) -> Option<Stop> {
        let cpu = &mut self.processor.cpu;
        cpu.update_mode();
        cpu.flush_tlb(true);
        let done = match event.kind {
            PendingInterruption::NMI => cpu.deliver_interrupt(bus, 2, InterruptKind::Nmi),
            PendingInterruption::EXCEPTION => {
                let error = event.deliver_error_code.then_some(event.error_code);
                cpu.deliver_exception(bus, Exception { vector: event.vector as u8, error, payload: cpu.cr2 })
            }
            _ => cpu.deliver_interrupt(bus, event.vector as u8, InterruptKind::External),
        };
        done.err().map(|_| match std::mem::take(&mut cpu.abort) {
            AbortKind::Exception(e) => Stop::Exception(e),
            AbortKind::Shutdown => Stop::Shutdown,
            other => Stop::Access(other),
        })
    }

    fn write_back(
        &mut self,
        vp: &dyn VirtualProcessor,
        bus: &EmulatorBus<'_>,
        loaded: &Loaded,
        stop: Option<Stop>,
    ) -> whp::Result<Completion> {
        let cpu = &mut self.processor.cpu;
        let traced = loaded.rflags & rflags::TF != 0 && !loaded.interruption.pending;
        let mut extra: Vec<(R, RegisterValue)> = Vec::new();
        match stop {
            Some(Stop::Exception(e)) => {
                let (vector, parameter) = (e.vector.into(), e.payload);
                extra.push((
                    R::PENDING_EVENT,
                    PendingEvent::Exception { vector, error_code: e.error, parameter }.into(),
                ));
            }
            Some(Stop::Shutdown) => return Ok(Completion::Shutdown),
            Some(Stop::Halt) => {
                let halted = InternalActivity { halt_suspend: true, ..InternalActivity::default() };
                extra.push((R::INTERNAL_ACTIVITY_STATE, halted.into()));
            }
            Some(other) => return Ok(Completion::Impossible(format!("the instruction at RIP ended with {other:x?}"))),
            None => cpu.sysflags &= !rflags::RF,
        }
        if loaded.interruption.pending {
            extra.push((R::PENDING_INTERRUPTION, PendingInterruption::default().into()));
        }
        let done = !matches!(stop, Some(Stop::Exception(_)));
        loaded.write(vp, cpu, bus.cr8, done, extra)?;
        if done && (traced || cpu.pending_db != 0) {
            let bits = std::mem::take(&mut cpu.pending_db);
            debug_trap(vp, bits, traced)?;
        }
        Ok(Completion::Done)
    }
}

/// A single-step (or task-switch) trap after the instruction.
fn debug_trap(vp: &dyn VirtualProcessor, dr6: u64, single_step: bool) -> whp::Result<()> {
    let pending = dr6 & 0xF | u64::from(single_step || dr6 >> 14 & 1 != 0) << 4;
    vp.set_registers(&[R::PENDING_DEBUG_EXCEPTION], &[pending.into()]).or_else(|_| {
        // Systems without the register take it as an exception.
        let parameter = dr6 & 0xF | u64::from(single_step) << 14;
        let event = PendingEvent::Exception { vector: 1, error_code: None, parameter };
        vp.set_registers(&[R::PENDING_EVENT], &[event.into()])
    })
}

#[cfg(test)]
mod tests;
