//! Completes one instruction of a virtual processor that somebody else runs (Intel SDM volume 2 for the instructions,
//! "WHvRunVirtualProcessor" for the exits): the instruction is executed by [`cpu_x86::Processor::emulate_one`] with
//! the virtual processor's registers. One batch is read (general registers, segments, paging; x87 and SIMD state or
//! system registers only when the instruction has to do with them), memory and devices are accessed through a
//! [`Bus`], and what changed is written back in one batch. An exception of the instruction is left pending.
//!
//! Two users: `accel` completes the exits of platforms that leave instructions undecoded, `winhvemulation` is
//! Microsoft's instruction emulator DLL. Registers come through [`Registers`], so that neither a whole platform nor a
//! partition is needed.
//!
//! Left out on purpose: data breakpoints on the emulated access.

mod needs;
mod state;
mod xstate;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cpu_x86::bus::Attention;
use cpu_x86::flags::rflags;
use cpu_x86::model::{CpuSpec, Topology};
use cpu_x86::{AbortKind, Bus, Emulated, Exception, InterruptKind, Processor, Stop};
use whp::{InternalActivity, PendingEvent, PendingInterruption, RegisterName as R, RegisterValue, VpContext};

pub use needs::Needs;
use state::Loaded;

/// The registers of the virtual processor.
pub trait Registers {
    /// Reads some; `values` is as long as `names`.
    ///
    /// # Errors
    /// When they cannot be had.
    fn get(&self, names: &[R], values: &mut [RegisterValue]) -> whp::Result<()>;

    /// Writes some, in order.
    ///
    /// # Errors
    /// When they cannot be set.
    fn set(&self, names: &[R], values: &[RegisterValue]) -> whp::Result<()>;

    /// The XSAVE area, compacted format. `None`: there is no way to it.
    ///
    /// # Errors
    /// When it cannot be had.
    fn xsave(&self) -> whp::Result<Option<Vec<u8>>>;

    /// Sets the XSAVE area.
    ///
    /// # Errors
    /// When it cannot be set.
    fn set_xsave(&self, area: &[u8]) -> whp::Result<()>;
}

/// How the completion of an exit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The guest can go on.
    Done,
    /// Triple fault.
    Shutdown,
    /// The instruction faults, but another event is pending already; nothing was changed. Only when asked for by
    /// [`Emulator::with_one_event`].
    CannotFault,
    /// It cannot be done, and why.
    Impossible(String),
}

/// One processor's emulator. Big; to be made when the first exit needs it.
pub struct Emulator {
    processor: Processor,
    one_event: bool,
}

impl Default for Emulator {
    fn default() -> Self {
        Self::new()
    }
}

impl Emulator {
    /// An emulator of a processor that has every feature of the host's.
    pub fn new() -> Self {
        // Everything the host can do, and no physical address is too wide: the guest has met its own processor's
        // limits before the exit.
        let spec = CpuSpec::parse("max,phys-bits=52").or_else(|_| CpuSpec::parse("max"));
        let model = spec.map(|s| s.model(Topology::default(), 0)).unwrap_or_default();
        let processor = Processor::new(Arc::new(model));
        // Long REP instructions stop now and then.
        processor.cpu.attention.store(Attention::LEAVE, Ordering::Relaxed);
        Self { processor, one_event: false }
    }

    /// An exception of the instruction does not take the place of an event that is pending already: the answer is
    /// [`Completion::CannotFault`] then.
    #[must_use]
    pub fn with_one_event(self) -> Self {
        Self { one_event: true, ..self }
    }

    /// What the bus said about pages is no longer true.
    pub fn forget_memory(&mut self) {
        self.processor.cpu.attention.fetch_or(Attention::FLUSH_TLB, Ordering::Relaxed);
    }

    /// Completes the instruction at RIP, which left with `context`, or the delivery of the event that did. `needs` is
    /// what [`Needs::of`] says of the instruction, or more. A REP instruction goes on for at most `slices` pieces of
    /// some hundred elements each, and is then left with its progress at its own RIP.
    ///
    /// # Errors
    /// When registers cannot be read or written.
    pub fn complete(
        &mut self,
        bus: &mut dyn Bus,
        registers: &dyn Registers,
        context: &VpContext,
        needs: Needs,
        slices: u32,
    ) -> whp::Result<Completion> {
        let loaded = Loaded::read(registers, context, needs, &mut self.processor.cpu)?;
        let stop = if loaded.interruption.pending {
            self.deliver(bus, loaded.interruption)
        } else {
            self.execute(bus, slices)
        };
        self.write_back(registers, bus, &loaded, stop)
    }

    /// Executes the instruction, a REP one for a while.
    fn execute(&mut self, bus: &mut dyn Bus, slices: u32) -> Option<Stop> {
        let start = self.processor.cpu.rip;
        for _ in 0..slices {
            match self.processor.emulate_one(bus) {
                Emulated::Done if self.processor.cpu.rip == start => {}
                Emulated::Done => break,
                Emulated::Stop(stop) => return Some(stop),
            }
        }
        None
    }

    /// Delivers an event whose delivery touched something that is no memory (a stack or table in a device).
    fn deliver(&mut self, bus: &mut dyn Bus, event: PendingInterruption) -> Option<Stop> {
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
        registers: &dyn Registers,
        bus: &mut dyn Bus,
        loaded: &Loaded,
        stop: Option<Stop>,
    ) -> whp::Result<Completion> {
        let cpu = &mut self.processor.cpu;
        let traced = loaded.rflags & rflags::TF != 0 && !loaded.interruption.pending;
        let mut extra: Vec<(R, RegisterValue)> = Vec::new();
        match stop {
            Some(Stop::Exception(e)) => {
                if self.one_event && state::event_pending(registers)? {
                    return Ok(Completion::CannotFault);
                }
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
        loaded.write(registers, cpu, bus.cr8(), done, extra)?;
        if done && (traced || cpu.pending_db != 0) {
            let bits = std::mem::take(&mut cpu.pending_db);
            debug_trap(registers, bits, traced)?;
        }
        Ok(Completion::Done)
    }
}

/// A single-step (or task-switch) trap after the instruction.
fn debug_trap(registers: &dyn Registers, dr6: u64, single_step: bool) -> whp::Result<()> {
    let pending = dr6 & 0xF | u64::from(single_step || dr6 >> 14 & 1 != 0) << 4;
    registers.set(&[R::PENDING_DEBUG_EXCEPTION], &[pending.into()]).or_else(|_| {
        // Systems without the register take it as an exception.
        let parameter = dr6 & 0xF | u64::from(single_step) << 14;
        let event = PendingEvent::Exception { vector: 1, error_code: None, parameter };
        registers.set(&[R::PENDING_EVENT], &[event.into()])
    })
}
