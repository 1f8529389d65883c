//! The second tier (T1): blocks that run often are translated to host code (same-ISA: x86-64 guests on x86-64 hosts).
//!
//! *Rewrite, do not lower*: an instruction is copied when it only has registers, and re-encoded with its operands
//! replaced when it has a memory operand or uses a register that is not in its place. Guest RAX to RDI and R8 to R11 are
//! in the same host registers, RSP is in R12, guest R12 to R15 stay in `Cpu::regs`; R13 and R14 are temporaries, R15 is
//! `&mut Cpu`, the host's RSP is the host's stack.
//!
//! - *Flags* are the host's between instructions that set and use them. TLB checks destroy them, so they are saved
//!   (LAHF, SETO) to a slot when they are live across one; where nothing can read them any more they are lost. An
//!   exception or interrupt at such a place reports arithmetic flags in RFLAGS that were overwritten before being read.
//! - *Memory*: the page that an access found last is checked inline, then the software TLB (`sites`), the store protocol of
//!   guest-memory followed. Whatever is not a hit in
//!   one page is done by the interpreter's handler for the whole instruction, called from the block: precise by
//!   construction.
//! - *Control*: direct branches are linked, to other pages behind a look into the execution TLB; returns are predicted on
//!   the host's stack (`flow`); other targets are looked up in a table, or else found without leaving (`runtime::find`). Loops (branches to this or an earlier address of
//!   the page), and what comes from elsewhere, look at the attention word and at the page's code version; branches ahead
//!   in the page look at neither: both ends were fresh when the link was made, and it is undone before a block is used
//!   again whose page was written.
//! - *Accesses by one register* in straight-line code are checked together (`groups`); what the temporaries hold is kept from one
//!   instruction to the next (`known`).
//! - *Accesses that roam* over many pages, and are done very often, get runs of pages that follow each other in the address space,
//!   for which guest memory is mapped once more where they do not in the host's (`ranges`).
//! - *Loops* of one block look at pages, the attention word and the code version once for many rounds (`rounds`).
//! - *Vectors*: SSE, AVX and AVX-512 instructions run on the host's registers, where the guest's stay from the first
//!   block that uses them until something else runs (`vectors`).
//! - *x87 and MMX* registers stay in the host's unit likewise, while the guest masks all exceptions (`x87`).
//! - *RDTSC* reads the platform's clock without a call where that is made of the host's counter (`clock`).
//! - *Interrupts*: CLI, STI, PUSHF and POPF of ring 0 are done in place (`interrupts`).
//! - *Strings*: MOVS, STOS and LODS without a prefix are done in place (`strings`).
//! - *Locked* instructions are the host's; a CMPXCHG that lost to another processor waits a little (`backoff`).
//! - *Everything else* (system, repeated string, gather and scatter instructions) is done by the interpreter's handler from
//!   inside the block; 16-bit code and 32-bit code with segments that are not flat are left to the interpreter.
//! - *No host faults*: what could fault (divisions, alignment, unmasked exceptions) is checked and left to the handler, so
//!   there is no signal or exception handler. When translated code is left, nothing of it is on the host's stack.
//!
//! Not there yet: a poll page instead of the load and test at each loop, removal of parts of the buffer. Flags that the
//! manuals leave undefined (after IMUL, shifts ...) are what the host leaves, not what the interpreter does.
//!
//! Code is in a buffer of its own, mapped once for writing and once for executing, dropped as a whole when full. Slow
//! paths are in another part of it, so that what runs is close together.

#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod access;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod asm;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
#[doc(hidden)]
pub mod audit;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod backoff;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
pub(crate) mod check;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod clock;
mod context;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod engine;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod flow;
#[cfg(all(test, target_arch = "x86_64", any(target_os = "linux", windows)))]
mod golden;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod groups;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod interrupts;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod known;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod live;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod ranges;
mod rehearsal;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod rounds;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod runtime;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod select;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod sites;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod strings;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod translate;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod vectors;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod x87;

pub(crate) use context::Context;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
pub(crate) use engine::{Engine, Ran};
pub(crate) use rehearsal::Rehearsal;

/// How a processor executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Decoded blocks, handler after handler.
    Interpreter,
    /// Translates what runs often.
    Translator,
    /// Runs every translated block by the interpreter too and panics with both results at the first difference. Slow; and
    /// devices that write memory that is being read make differences that are none.
    Check,
}

impl Default for Tier {
    /// The translator where there is one.
    fn default() -> Self {
        let there = cfg!(all(target_arch = "x86_64", any(target_os = "linux", windows)));
        if there { Self::Translator } else { Self::Interpreter }
    }
}

/// What the translator has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JitStatistics {
    /// Blocks translated.
    pub blocks: u64,
    /// Blocks that cannot be.
    pub refused: u64,
    /// Bytes of code made, without what is rarely run.
    pub bytes: u64,
    /// Bytes of code that is rarely run.
    pub cold_bytes: u64,
    /// Pieces of 2 MiB of it that are executed from large pages.
    pub large: u64,
    /// Guest instructions in them.
    pub instructions: u64,
    /// Of these, left to handlers.
    pub handlers: u64,
    /// Blocks that are loops with one look at pages for many rounds.
    pub loops: u64,
    /// Times translated code was entered from the run loop.
    pub entries: u64,
    /// Blocks run by the interpreter.
    pub interpreted: u64,
    /// Blocks translated again since accesses in them roam.
    pub settled: u64,
    /// Times a site that roams got a run of pages.
    pub ranged: u64,
    /// Branch targets found without leaving translated code.
    pub found: u64,
    /// Branches linked.
    pub links: u64,
    /// Times the buffer was dropped.
    pub flushes: u64,
    /// Blocks compared (tier "check").
    pub compared: u64,
    /// Times translated code was left for a branch that is not linked.
    pub left_unlinked: u64,
    /// For a look at the attention word, a changed page, or a target that was not found.
    pub left_checks: u64,
    /// After an instruction that ends what may be assumed (system instructions, stores to code).
    pub left_stopped: u64,
    /// With an exception or an exit.
    pub left_aborted: u64,
    /// For the interpreter.
    pub left_refused: u64,
}

impl JitStatistics {
    /// All of them, by name.
    pub fn rows(&self) -> Vec<(&'static str, u64)> {
        let starts = self.entries + self.interpreted;
        vec![
            ("per cent of block starts found translated", (self.entries * 100).checked_div(starts).unwrap_or(0)),
            ("blocks translated", self.blocks),
            ("blocks refused", self.refused),
            ("bytes of code", self.bytes),
            ("and of slow paths", self.cold_bytes),
            ("of 2 MiB in large pages", self.large),
            ("instructions", self.instructions),
            ("left to handlers", self.handlers),
            ("loops without checks", self.loops),
            ("translated again", self.settled),
            ("sites given runs of pages", self.ranged),
            ("links", self.links),
            ("targets found on the way", self.found),
            ("buffer flushes", self.flushes),
            ("entries", self.entries),
            ("left: not linked", self.left_unlinked),
            ("left: checks", self.left_checks),
            ("left: stopped", self.left_stopped),
            ("left: aborted", self.left_aborted),
            ("left: refused", self.left_refused),
            ("blocks interpreted", self.interpreted),
            ("blocks compared", self.compared),
        ]
    }
}

/// [`JitStatistics`] for other threads: what they were a short while ago.
#[derive(Debug, Default)]
pub struct SharedJitStatistics(std::sync::Mutex<JitStatistics>);

impl SharedJitStatistics {
    /// As of the last time they were told.
    pub fn snapshot(&self) -> JitStatistics {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
    fn tell(&self, s: &JitStatistics) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = *s;
    }
}
