//! Lockstep: a block's translation against the interpreter.
//!
//! The interpreter goes first, on the real state, with its stores noted; then they are undone, the registers put back,
//! and the translation runs for good. At the first difference the program ends with both results. Translations of this
//! tier end before the first instruction that is left to a handler, and blocks are not linked; instructions that
//! reach devices are run once, by the interpreter. Processors of this tier run one at a time.

use std::sync::{Mutex, MutexGuard, TryLockError};

use iced_x86::{Decoder, Instruction, Mnemonic, RflagsBits};

use super::Rehearsal;
use super::engine::Ran;
use crate::block::Block;
use crate::bus::Bus;
use crate::fault::AbortKind;
use crate::flags::{LazyFlags, rflags};
use crate::fpu::Fpu;
use crate::state::{Cpu, REG_FILE};
use crate::tlb::UNCACHED;

/// Held while a block is run twice: other processors must not change memory meanwhile.
static ALONE: Mutex<()> = Mutex::new(());

/// The right to execute; `None`: another processor of this tier has it at the moment.
pub(crate) fn alone() -> Option<MutexGuard<'static, ()>> {
    for _ in 0..100 {
        match ALONE.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(e)) => return Some(e.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    None
}

/// What translated code may change besides memory.
#[derive(Clone)]
struct State {
    regs: [u64; REG_FILE],
    lazy: LazyFlags,
    sysflags: u64,
    shadow: bool,
    rip: u64,
    /// Only where vector registers are used.
    fpu: Option<Fpu>,
}

impl State {
    fn of(cpu: &Cpu, vectors: bool) -> Self {
        let fpu = vectors.then(|| (*cpu.fpu).clone());
        let (sysflags, shadow) = (cpu.sysflags, cpu.shadow.interrupt);
        Self { regs: cpu.regs, lazy: cpu.lazy, sysflags, shadow, rip: cpu.rip, fpu }
    }

    fn restore(&self, cpu: &mut Cpu) {
        (cpu.regs, cpu.lazy, cpu.rip) = (self.regs, self.lazy, self.rip);
        (cpu.sysflags, cpu.shadow.interrupt) = (self.sysflags, self.shadow);
        if let Some(fpu) = &self.fpu {
            *cpu.fpu = fpu.clone();
        }
    }

    fn text(&self) -> String {
        let regs: Vec<String> = self.regs[..16].iter().map(|r| format!("{r:016x}")).collect();
        let mxcsr = self.fpu.as_ref().map_or(0, |f| f.mxcsr);
        format!("rip {:016x} flags {:03x} mxcsr {:04x}\n  {}", self.rip, self.lazy.get(), mxcsr, regs.join(" "))
    }
}

/// What the interpreter did with a block.
pub(crate) struct Expected {
    before: State,
    after: State,
    rehearsal: Box<Rehearsal>,
    abort: Option<(usize, AbortKind)>,
}

/// Runs the first `count` instructions of `block`, and undoes it. `None`: they cannot be run twice.
pub(crate) fn rehearse(cpu: &mut Cpu, bus: &mut dyn Bus, block: &Block, count: usize) -> Option<Expected> {
    if cpu.dr[7] & 0xFF != 0 || cpu.tlb.base == UNCACHED {
        return None;
    }
    let vectors = block.vectors();
    let before = State::of(cpu, vectors);
    let table = cpu.tlb.base;
    cpu.begin_block();
    cpu.rehearsal = Some(Box::new(Rehearsal::of(table)));
    cpu.tlb.base = UNCACHED;
    let mut abort = None;
    for (n, op) in block.ops.iter().take(count).enumerate() {
        if (op.handler)(cpu, bus, op).is_err() {
            abort = Some((n, std::mem::take(&mut cpu.abort)));
            break;
        }
    }
    if let Some(op) = count.checked_sub(1).and_then(|n| block.ops.get(n)).filter(|_| abort.is_none()) {
        cpu.rip = cpu.next.take().unwrap_or_else(|| cpu.next_rip(op));
    }
    cpu.tlb.base = table;
    let after = State::of(cpu, vectors);
    let mut rehearsal = cpu.rehearsal.take()?;
    rehearsal.undo();
    before.restore(cpu);
    (cpu.next, cpu.stop_block) = (None, false);
    (!rehearsal.device).then_some(Expected { before, after, rehearsal, abort })
}

/// Compares with what the translation did. Panics at a difference: that is what the tier is for.
pub(crate) fn compare(cpu: &Cpu, block: &Block, count: usize, expected: &Expected, ran: &Ran<'_>) {
    let mut after = State::of(cpu, block.vectors());
    let last = |of: &Block, start: u16| of.ops.get(count.wrapping_sub(1)).is_some_and(|l| l.start == start);
    let mut mask = defined(block, count);
    let difference = match (ran, expected.abort) {
        (Ran::Interpret, _) => return,
        (Ran::Stopped(of, op), None) if last(of, op.start) => {
            after.rip = cpu.next.unwrap_or_else(|| cpu.next_rip(op));
            None
        }
        (Ran::Stopped(..), _) => return, // its code changed
        (Ran::Continue, None) => None,
        (Ran::Aborted(of, op), Some((n, kind))) if of.ops.get(n).is_some_and(|o| o.start == op.start) => {
            mask = 0;
            (kind != cpu.abort).then(|| format!("{kind:x?} and {:x?}", cpu.abort))
        }
        (Ran::Aborted(_, op), e) => Some(format!("{e:x?}, and {:x?} at +{:#x}", cpu.abort, op.start)),
        (Ran::Continue, Some(e)) => Some(format!("{e:x?}, and nothing")),
    };
    let e = &expected.after;
    let difference = difference
        .or((e.regs[..17] != after.regs[..17]).then(|| "registers".into()))
        .or((e.rip != after.rip).then(|| "RIP".into()))
        .or(((e.lazy.get() ^ after.lazy.get()) & mask != 0).then(|| "flags".into()))
        .or((e.sysflags != after.sysflags).then(|| "system flags".into()))
        .or((e.fpu != after.fpu).then(|| "x87 and vector registers".into()))
        .or(expected.rehearsal.difference().map(|(a, b)| format!("memory {a:x?} {b:x?}")));
    if let Some(what) = difference {
        let code: Vec<String> =
            decoded(block, expected.before.rip).iter().take(count).map(|i| format!("  {:016x} {i}", i.ip())).collect();
        panic!(
            "the translation is wrong: {what}\n{}\nbefore      {}\ninterpreter {}\ntranslation {}",
            code.join("\n"),
            expected.before.text(),
            expected.after.text(),
            after.text()
        );
    }
}

fn decoded(block: &Block, rip: u64) -> Vec<Instruction> {
    let mode = block.key.mode;
    Decoder::with_ip(mode.bits(), &block.bytes, rip, 0).iter().collect()
}

/// The flags that are defined after the first `count` instructions.
fn defined(block: &Block, count: usize) -> u64 {
    use Mnemonic::*;
    const PLACES: [(u32, u64); 6] = [
        (RflagsBits::OF, rflags::OF),
        (RflagsBits::SF, rflags::SF),
        (RflagsBits::ZF, rflags::ZF),
        (RflagsBits::AF, rflags::AF),
        (RflagsBits::CF, rflags::CF),
        (RflagsBits::PF, rflags::PF),
    ];
    let places = |bits: u32| PLACES.iter().filter(|p| bits & p.0 != 0).fold(0, |f, p| f | p.1);
    let mut undefined = 0;
    for i in decoded(block, 0).iter().take(count) {
        let shift = matches!(i.mnemonic(), Shl | Sal | Shr | Sar | Rol | Ror | Rcl | Rcr | Shld | Shrd);
        if shift {
            undefined |= rflags::OF | rflags::AF;
            if i.op_register(0).size() < 4 || matches!(i.mnemonic(), Shld | Shrd) {
                undefined |= rflags::CF;
            }
        } else {
            undefined &= !places(i.rflags_written() | i.rflags_set() | i.rflags_cleared());
        }
        undefined |= places(i.rflags_undefined());
        if matches!(i.mnemonic(), Mul | Imul) {
            undefined |= rflags::ARITH & !(rflags::CF | rflags::OF); // all of them, whatever the decoder says
        }
    }
    rflags::ARITH & !undefined
}
