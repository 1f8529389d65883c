//! The run loop: events between instructions, then block after block (Intel SDM volume 3, 6.9 for the priorities,
//! 17.3 for debug exceptions).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::block::Block;
use crate::bus::{Attention, Bus};
use crate::cache::Cache;
use crate::fault::{AbortKind, Exception, Stop, vector};
use crate::flags::rflags;
use crate::jit::{JitStatistics, Tier};
use crate::model::CpuModel;
use crate::op::Op;
use crate::state::{Cpu, LastInstruction, Mode, Seg};
use crate::sys::InterruptKind;

/// DR6.BS: single step.
const DR6_BS: u64 = 1 << 14;

/// A processor: registers and decoded code.
pub struct Processor {
    /// Registers and everything instructions work on. After changes from outside call `Cpu::update_mode`.
    pub cpu: Cpu,
    /// The interrupt or NMI that was taken and whose delivery ended in an access the bus did not serve: whoever asks for
    /// the next `run` has to see to it that it is delivered.
    pub undelivered: Option<(u8, InterruptKind)>,
    cache: Cache,
    #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
    engine: Option<Box<crate::jit::Engine>>,
}

/// How [`Processor::emulate_one`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulated {
    /// The instruction is done, or (REP) has made progress with RIP still at it.
    Done,
    /// It is not, or it left the processor in another state; exceptions are reported, not delivered.
    Stop(Stop),
}

/// What running a block led to.
enum Outcome {
    /// Go on at RIP.
    Continue,
    /// An exception to deliver at RIP.
    Exception(Exception),
    /// Leave.
    Stop(Stop),
}

impl Processor {
    /// A processor of the given model; call `cpu.reset` to make it start.
    pub fn new(model: Arc<CpuModel>) -> Self {
        Self {
            cpu: Cpu::new(model),
            undelivered: None,
            cache: Cache::default(),
            #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
            engine: None,
        }
    }

    /// Chooses how to execute. `false`: this host has no translator (or no memory for its code), so it interprets.
    pub fn set_tier(&mut self, tier: Tier) -> bool {
        self.cache.clear();
        #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
        {
            self.engine = match tier {
                Tier::Interpreter => None,
                other => {
                    let zmm = self.cpu.model.features.has(iced_x86::CpuidFeature::AVX512F);
                    crate::jit::Engine::new(other == Tier::Check, zmm).map(Box::new)
                }
            };
            tier == Tier::Interpreter || self.engine.is_some()
        }
        #[cfg(not(all(target_arch = "x86_64", any(target_os = "linux", windows))))]
        {
            tier == Tier::Interpreter
        }
    }

    /// After how many runs by the interpreter the translator takes a block (for tests: 1).
    pub fn set_translation_threshold(&mut self, runs: u32) {
        #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
        if let Some(e) = &mut self.engine {
            e.hot = runs;
        }
        #[cfg(not(all(target_arch = "x86_64", any(target_os = "linux", windows))))]
        let _ = runs;
    }

    /// What the translator has done, for other threads; `None` when there is none.
    pub fn shared_jit_statistics(&self) -> Option<Arc<crate::jit::SharedJitStatistics>> {
        #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
        {
            self.engine.as_ref().map(|e| e.shared.clone())
        }
        #[cfg(not(all(target_arch = "x86_64", any(target_os = "linux", windows))))]
        {
            None
        }
    }

    /// What the translator has done.
    pub fn jit_statistics(&self) -> JitStatistics {
        #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
        {
            self.engine.as_ref().map(|e| e.statistics).unwrap_or_default()
        }
        #[cfg(not(all(target_arch = "x86_64", any(target_os = "linux", windows))))]
        {
            JitStatistics::default()
        }
    }

    /// Runs until there is a reason to return.
    pub fn run(&mut self, bus: &mut dyn Bus) -> Stop {
        self.cpu.update_mode();
        loop {
            if let Some(stop) = self.round(bus, 0) {
                return stop;
            }
        }
    }

    /// Executes one instruction, or takes one event, as `run` would. `None`: done, nothing to report.
    pub fn step(&mut self, bus: &mut dyn Bus) -> Option<Stop> {
        self.cpu.update_mode();
        self.round(bus, Mode::STEP)
    }

    /// Executes exactly one instruction, takes no interrupts and delivers no exceptions: completes an access for
    /// another platform. Translations and decoded code of before are not trusted, because that platform's
    /// processors change memory without telling. A REP instruction stops after some hundred elements when a bit of
    /// the attention word is set.
    pub fn emulate_one(&mut self, bus: &mut dyn Bus) -> Emulated {
        self.cpu.update_mode();
        if self.cpu.attention.load(Ordering::Relaxed) & Attention::FLUSH_TLB != 0 {
            self.flush_memory();
        } else {
            self.cpu.flush_tlb(true);
        }
        self.cpu.shadow.interrupt = false;
        match self.execute_afresh(bus) {
            Outcome::Continue => Emulated::Done,
            Outcome::Exception(e) => Emulated::Stop(Stop::Exception(e)),
            Outcome::Stop(stop) => Emulated::Stop(stop),
        }
    }

    fn execute_afresh(&mut self, bus: &mut dyn Bus) -> Outcome {
        let cpu = &mut self.cpu;
        let mode = Mode(cpu.mode.0 | Mode::STEP);
        let Ok(block) = self.cache.afresh(cpu, bus, mode) else {
            return not_completed(cpu, &[]);
        };
        let Some(op) = block.ops.first() else { return Outcome::Continue };
        cpu.stop_block = false;
        cpu.begin_block();
        if (op.handler)(cpu, bus, op).is_err() {
            return aborted(cpu, block, op);
        }
        cpu.retired += 1;
        stopped(cpu, block, op, mode)
    }

    /// Events, then a block (of one instruction with `step` being [`Mode::STEP`]).
    #[inline(always)]
    fn round(&mut self, bus: &mut dyn Bus, step: u32) -> Option<Stop> {
        let attention = self.cpu.attention.load(Ordering::Relaxed);
        let special = attention != 0 || self.cpu.shadow.interrupt || self.cpu.pending_db != 0;
        if special || step != 0 || self.cpu.mode.has(Mode::STEP) {
            return self.careful_round(bus, step, attention);
        }
        match self.execute(bus, 0) {
            Outcome::Continue => None,
            Outcome::Stop(stop) => Some(stop),
            Outcome::Exception(e) => self.exception(bus, e),
        }
    }

    #[inline(never)]
    fn careful_round(&mut self, bus: &mut dyn Bus, mut step: u32, attention: u32) -> Option<Stop> {
        if self.cpu.pending_db != 0 && !self.cpu.shadow.interrupt {
            let payload = std::mem::take(&mut self.cpu.pending_db);
            return self.exception(bus, Exception { vector: vector::DB, error: None, payload });
        }
        match self.events(bus, attention) {
            Event::None => {}
            Event::Taken => return None,
            Event::Stop(stop) => return Some(stop),
        }
        // The shadow lasts one instruction; that instruction may set it anew.
        if std::mem::take(&mut self.cpu.shadow.interrupt) {
            step = Mode::STEP;
        }
        step |= self.cpu.mode.0 & Mode::STEP;
        if step == 0 {
            return self.result(bus, 0);
        }
        if let Some(e) = self.instruction_breakpoint() {
            return self.exception(bus, e);
        }
        let flags = self.cpu.sysflags;
        let retired = self.cpu.retired;
        let stop = self.result(bus, step);
        if self.cpu.retired != retired {
            self.after_step(flags);
        }
        stop
    }

    fn result(&mut self, bus: &mut dyn Bus, step: u32) -> Option<Stop> {
        match self.execute(bus, step) {
            Outcome::Continue => None,
            Outcome::Stop(stop) => Some(stop),
            Outcome::Exception(e) => self.exception(bus, e),
        }
    }

    /// After an instruction that ran alone: RF goes, and a single-step trap comes if TF was set before it.
    fn after_step(&mut self, before: u64) {
        let cpu = &mut self.cpu;
        let opcode = cpu.last_instruction.bytes[0];
        let flag_load = matches!(opcode, 0x9D | 0xCF | 0x48); // POPF, IRET (with REX.W)
        if before & rflags::RF != 0 && !matches!(opcode, 0xCF | 0x48) {
            cpu.sysflags &= !rflags::RF;
        }
        // Entering a handler clears TF and must not trap; loading flags that have TF clear does.
        if before & rflags::TF != 0 && (cpu.sysflags & rflags::TF != 0 || flag_load) {
            cpu.pending_db |= DR6_BS;
        }
    }

    fn instruction_breakpoint(&self) -> Option<Exception> {
        let cpu = &self.cpu;
        let dr7 = cpu.dr[7];
        if dr7 & 0xFF == 0 || cpu.sysflags & rflags::RF != 0 {
            return None;
        }
        let at = if cpu.mode.has(Mode::CODE64) {
            cpu.rip
        } else {
            cpu.segs[Seg::Cs as usize].base.wrapping_add(cpu.rip) & 0xFFFF_FFFF
        };
        let hits = (0..4)
            .filter(|n| dr7 >> (2 * n) & 3 != 0 && dr7 >> (16 + 4 * n) & 3 == 0 && cpu.dr[*n as usize] == at)
            .fold(0, |h, n: u32| h | 1 << n);
        (hits != 0).then_some(Exception { vector: vector::DB, error: None, payload: hits })
    }

    fn flush_memory(&mut self) {
        self.cpu.attention.fetch_and(!Attention::FLUSH_TLB, Ordering::AcqRel);
        self.cpu.tlb.drop_memory();
        self.cpu.flush_tlb(true);
    }

    /// Looks at the attention word.
    fn events(&mut self, bus: &mut dyn Bus, attention: u32) -> Event {
        if attention == 0 {
            return Event::None;
        }
        if attention & Attention::FLUSH_TLB != 0 {
            self.flush_memory();
        }
        if attention & Attention::FLUSH_TRANSLATIONS != 0 {
            self.cpu.attention.fetch_and(!Attention::FLUSH_TRANSLATIONS, Ordering::AcqRel);
            self.cpu.flush_tlb(true);
        }
        if attention & Attention::LEAVE != 0 {
            return Event::Stop(Stop::Attention);
        }
        let shadow = self.cpu.shadow;
        if attention & Attention::NMI != 0 && !shadow.nmi && !shadow.interrupt {
            self.cpu.attention.fetch_and(!Attention::NMI, Ordering::AcqRel);
            return self.interrupt(bus, vector::NMI, InterruptKind::Nmi);
        }
        if attention & Attention::NMI_WINDOW != 0 && !shadow.nmi && !shadow.interrupt {
            return Event::Stop(Stop::Window);
        }
        if self.cpu.sysflags & rflags::IF == 0 || shadow.interrupt {
            return Event::None;
        }
        if attention & Attention::INTR != 0
            && let Some(v) = bus.acknowledge_interrupt()
        {
            return self.interrupt(bus, v, InterruptKind::External);
        }
        if attention & Attention::INTR_WINDOW != 0 {
            return Event::Stop(Stop::Window);
        }
        Event::None
    }

    fn interrupt(&mut self, bus: &mut dyn Bus, vector: u8, kind: InterruptKind) -> Event {
        let cpu = &mut self.cpu;
        tracing::trace!(target: "int", "{kind:?} {vector:#04x} at {:#06x}:{:#018x}", cpu.segs[1].selector, cpu.rip);
        if !cpu.mode.has(Mode::STEP) {
            cpu.sysflags &= !rflags::RF;
        }
        match cpu.deliver_interrupt(bus, vector, kind) {
            Ok(()) => Event::Taken,
            Err(_) => {
                let stop = self.failed_delivery();
                self.undelivered = matches!(stop, Stop::Access(_)).then_some((vector, kind));
                Event::Stop(stop)
            }
        }
    }

    /// Delivers an exception at RIP, or leaves with it.
    #[inline(never)]
    fn exception(&mut self, bus: &mut dyn Bus, e: Exception) -> Option<Stop> {
        let cpu = &mut self.cpu;
        tracing::trace!(
            target: "int",
            "exception {:#04x} error {:x?} payload {:#x} at {:#06x}:{:#018x}",
            e.vector, e.error, e.payload, cpu.segs[1].selector, cpu.rip
        );
        if cpu.exception_exits >> (e.vector & 63) & 1 != 0 {
            return Some(Stop::Exception(e));
        }
        match cpu.deliver_exception(bus, e) {
            Ok(()) => None,
            Err(_) => Some(self.failed_delivery()),
        }
    }

    fn failed_delivery(&mut self) -> Stop {
        match self.cpu.abort {
            AbortKind::Exception(e) => Stop::Exception(e),
            AbortKind::Shutdown => Stop::Shutdown,
            other => Stop::Access(other),
        }
    }

    /// Runs the block at RIP.
    #[inline(always)]
    fn execute(&mut self, bus: &mut dyn Bus, step: u32) -> Outcome {
        #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
        if let Some(engine) = &self.engine {
            if engine.single {
                // Without it: another look at the attention word, since the processor that has it may wait for this one.
                let Some(_alone) = crate::jit::check::alone() else { return Outcome::Continue };
                return if step == 0 { self.execute_translated(bus) } else { self.interpret(bus, step) };
            }
            if step == 0 {
                return self.execute_translated(bus);
            }
        }
        self.interpret(bus, step)
    }

    /// Runs the block at RIP, by its translation if it has one.
    #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
    fn execute_translated(&mut self, bus: &mut dyn Bus) -> Outcome {
        use crate::jit::Ran;
        let (cpu, Some(engine)) = (&mut self.cpu, &mut self.engine) else { return self.interpret(bus, 0) };
        if engine.full(cpu) || std::mem::take(&mut self.cache.overflowed) {
            engine.reset();
            self.cache.clear();
        }
        let mode = cpu.mode;
        let Ok(block) = self.cache.find(cpu, bus, mode) else {
            return not_completed(cpu, &[]);
        };
        // Each block is to be seen, so none runs linked to others.
        let seen = tracing::enabled!(target: "exec", tracing::Level::TRACE);
        if !seen && let Some(code) = engine.code(cpu, block) {
            if engine.single {
                let block = block.clone();
                return self.execute_checked(bus, &block, code);
            }
            match engine.run(cpu, bus, block, code) {
                Ran::Continue => return Outcome::Continue,
                Ran::Aborted(block, op) => return aborted(cpu, block, op),
                Ran::Stopped(block, op) => return stopped(cpu, block, op, mode),
                Ran::Interpret => {}
            }
        }
        engine.statistics.interpreted += 1;
        let step = if engine.single { Mode::STEP } else { 0 };
        self.interpret(bus, step)
    }

    /// Runs the block at RIP by the interpreter and by its translation.
    #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
    fn execute_checked(&mut self, bus: &mut dyn Bus, block: &Block, code: u64) -> Outcome {
        use crate::jit::{Ran, check};
        let (cpu, Some(engine)) = (&mut self.cpu, &mut self.engine) else { return self.interpret(bus, 0) };
        let count = block.counted();
        let Some(expected) = check::rehearse(cpu, bus, block, count) else {
            engine.statistics.interpreted += 1;
            return self.interpret(bus, Mode::STEP);
        };
        engine.statistics.compared += 1;
        let mode = cpu.mode;
        let ran = engine.run(cpu, bus, block, code);
        check::compare(cpu, block, count, &expected, &ran);
        match ran {
            Ran::Continue => Outcome::Continue,
            Ran::Aborted(block, op) => aborted(cpu, block, op),
            Ran::Stopped(block, op) => stopped(cpu, block, op, mode),
            Ran::Interpret => self.interpret(bus, Mode::STEP),
        }
    }

    /// Runs the block at RIP, instruction by instruction.
    #[inline(always)]
    fn interpret(&mut self, bus: &mut dyn Bus, step: u32) -> Outcome {
        #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
        let translator = self.engine.is_some();
        #[cfg(not(all(target_arch = "x86_64", any(target_os = "linux", windows))))]
        let translator = false;
        let cpu = &mut self.cpu;
        let mode = Mode(cpu.mode.0 | step);
        let Ok(block) = self.cache.find(cpu, bus, mode) else {
            return not_completed(cpu, &[]);
        };
        let block: &Block = block;
        cpu.stop_block = false;
        loop {
            let mut done = 0;
            cpu.begin_block();
            tracing::trace!(target: "exec", "{:#018x} {} instructions", cpu.rip, block.ops.len());
            for op in &block.ops {
                if (op.handler)(cpu, bus, op).is_err() {
                    cpu.retired += done;
                    return aborted(cpu, block, op);
                }
                done += 1;
                if cpu.stop_block {
                    cpu.retired += done;
                    return stopped(cpu, block, op, mode);
                }
            }
            cpu.retired += done;
            let Some(last) = block.ops.last() else { return Outcome::Continue };
            if step != 0 {
                return stopped(cpu, block, last, mode);
            }
            let start = cpu.rip;
            cpu.rip = cpu.next.take().unwrap_or_else(|| cpu.next_rip(last));
            // A block that loops to itself needs no look-up; nothing that could change its place let it come here.
            // (The translator wants to see it come back.)
            let wanted = translator && block.code.load(Ordering::Relaxed) != Block::NEVER;
            if cpu.rip != start || wanted || !block.loops() || cpu.attention.load(Ordering::Relaxed) != 0 {
                return Outcome::Continue;
            }
        }
    }
}

enum Event {
    None,
    Taken,
    Stop(Stop),
}

/// The block ends after `op`, which completed.
fn stopped(cpu: &mut Cpu, block: &Block, op: &Op, mode: Mode) -> Outcome {
    if mode.has(Mode::STEP) {
        remember(cpu, block.bytes_of(op));
    }
    cpu.rip = cpu.next.take().unwrap_or_else(|| cpu.next_rip(op));
    Outcome::Continue
}

fn remember(cpu: &mut Cpu, bytes: &[u8]) {
    let mut l = LastInstruction { bytes: [0; 16], len: bytes.len().min(15) as u8 };
    for (to, from) in l.bytes[..15].iter_mut().zip(bytes) {
        *to = *from;
    }
    cpu.last_instruction = l;
}

/// `op` did not complete (or asks for something).
#[inline(never)]
fn aborted(cpu: &mut Cpu, block: &Block, op: &Op) -> Outcome {
    let bytes = block.bytes_of(op);
    if cpu.abort == AbortKind::Halt {
        remember(cpu, bytes);
        cpu.retired += 1;
        cpu.rip = cpu.next.take().unwrap_or_else(|| cpu.next_rip(op));
        cpu.shadow.interrupt = false;
        let attention = cpu.attention.load(Ordering::Relaxed);
        let wake = attention & Attention::INTR != 0 && cpu.sysflags & rflags::IF != 0
            || attention & Attention::NMI != 0 && !cpu.shadow.nmi;
        return if wake { Outcome::Continue } else { Outcome::Stop(Stop::Halt) };
    }
    cpu.rip = cpu.this_rip(op);
    not_completed(cpu, bytes)
}

fn not_completed(cpu: &mut Cpu, bytes: &[u8]) -> Outcome {
    cpu.next = None;
    match std::mem::take(&mut cpu.abort) {
        AbortKind::Exception(e) => Outcome::Exception(e),
        AbortKind::Shutdown => Outcome::Stop(Stop::Shutdown),
        AbortKind::Retry | AbortKind::None => Outcome::Continue,
        other => {
            remember(cpu, bytes);
            Outcome::Stop(Stop::Access(other))
        }
    }
}
