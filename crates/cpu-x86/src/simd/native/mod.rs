//! The unit of an x86-64 host: every guest instruction becomes a small function ("stub") that loads the registers it
//! uses from `Cpu`, executes it with the memory operand at `[rsi]`, and stores the registers back.
//!
//! Stubs are made once per distinct instruction and shared by the whole process. Their calling convention is System
//! V's on every system: `extern "sysv64" fn(rdi: *mut Fpu, rsi: *mut Buffer, rdx: *mut [u64; 32]) -> eax`. All vector
//! registers are volatile in it, and rustc knows that xmm6 to xmm15 are clobbered when the caller is Windows code. The
//! x87 control word and MXCSR of the host are the same afterwards, but for `Kind::Float` (see [`restore_host`]).
//!
//! x87 exceptions never reach the host: they are signalled by the *next waiting* instruction (Intel SDM volume 1,
//! 8.7), and what follows the guest's instruction in the stub is FXSAVE and FNINIT, which do not wait. Callers make sure
//! that none is pending before. SIMD exceptions are masked while a stub runs.

mod assemble;
mod features;

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use iced_x86::Instruction;

use super::unit::{Buffer, Kind, Prepared};
use crate::code_memory::CodeMemory;
use crate::fpu::{Fpu, MXCSR_RESET};
use crate::state::{Cpu, REG_FILE};

pub(super) use features::{has, xcr0, xsave_component};

type Stub = unsafe extern "sysv64" fn(*mut Fpu, *mut Buffer, *mut [u64; REG_FILE]) -> u32;

/// Bytes of code the process keeps.
const CAPACITY: usize = 32 << 20;

/// Room at the end of the code memory for the one stub that is not kept.
const SLOT: usize = 4096;

/// Room that only x87 stubs get, which are few (register and memory forms, no immediates) and have no [`one_shot`].
const X87_ROOM: usize = 1 << 20;

struct Stubs {
    memory: CodeMemory,
    used: usize,
    known: HashMap<(Instruction, Kind), u64>,
}

fn stubs() -> Option<&'static Mutex<Stubs>> {
    static STUBS: OnceLock<Option<Mutex<Stubs>>> = OnceLock::new();
    STUBS
        .get_or_init(|| {
            let memory = CodeMemory::new(CAPACITY)?;
            Some(Mutex::new(Stubs { memory, used: 0, known: HashMap::new() }))
        })
        .as_ref()
}

/// See `unit::prepare`.
pub(super) fn prepare(i: &Instruction, kind: Kind) -> Prepared {
    let Some(stubs) = stubs() else {
        return Prepared::Unknown;
    };
    let mut s = stubs.lock().unwrap_or_else(PoisonError::into_inner);
    // The memory operand and prefixes do not matter to the stub: normal form first, so that they share one.
    let normal = assemble::normalize(i);
    if let Some(&entry) = s.known.get(&(normal, kind)) {
        return Prepared::Entry(entry);
    }
    let Some(code) = assemble::stub(&normal, kind) else {
        return Prepared::Unknown;
    };
    let at = s.used.next_multiple_of(32);
    let kept = if matches!(kind, Kind::X87 | Kind::X87Light) { SLOT } else { SLOT + X87_ROOM };
    if at + code.len() > CAPACITY - kept {
        return Prepared::Full;
    }
    let Some(entry) = s.memory.write(at, &code) else {
        return Prepared::Full;
    };
    s.used = at + code.len();
    s.known.insert((normal, kind), entry);
    Prepared::Entry(entry)
}

/// See `unit::one_shot`.
pub(super) fn one_shot<R>(i: &Instruction, kind: Kind, f: impl FnOnce(Prepared) -> R) -> R {
    static SLOT_IN_USE: Mutex<()> = Mutex::new(());
    let _one_user = SLOT_IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    let prepared = stubs().map_or(Prepared::Unknown, |stubs| {
        let code = assemble::stub(&assemble::normalize(i), kind).filter(|c| c.len() <= SLOT);
        let mut s = stubs.lock().unwrap_or_else(PoisonError::into_inner);
        code.and_then(|c| s.memory.write(CAPACITY - SLOT, &c)).map_or(Prepared::Unknown, Prepared::Entry)
    });
    f(prepared)
}

/// See `unit::run`.
#[inline(always)]
pub(super) fn run(cpu: &mut Cpu, entry: u64, buffer: &mut Buffer) -> u32 {
    // SAFETY: entries come from `prepare` and `one_shot` only: complete stubs in executable memory that is never
    // unmapped nor, while the entry is in use, rewritten. A stub touches `Fpu`, the buffer and the register file, by
    // their `repr(C)` offsets, and nothing else.
    unsafe {
        let stub = std::mem::transmute::<u64, Stub>(entry);
        stub(&raw mut *cpu.fpu, buffer, &raw mut cpu.regs)
    }
}

/// See `unit::restore_host`.
#[inline(always)]
pub(super) fn restore_host() {
    let value = MXCSR_RESET;
    // SAFETY: loads MXCSR with the value Rust code expects (all exceptions masked, round to nearest).
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, readonly, preserves_flags));
    }
}
