//! What translated code calls: handlers of single instructions, and the rest of the store protocol.
//!
//! Called through the thunks of `engine` with the guest's registers in `Cpu`. They return 0 to go on, or how to leave.

use std::sync::atomic::Ordering;

use crate::block::Block;
use crate::op::Op;
use crate::state::{Cpu, REG_PAGE};

/// Leave: RIP is where to go on.
pub(super) const GO_ON: u32 = 0;
/// Leave: the instruction did not complete.
pub(super) const ABORTED: u32 = 1;
/// Leave: the block ends after the instruction.
pub(super) const STOPPED: u32 = 2;
/// Leave: the block cannot be run translated now.
pub(super) const REFUSED: u32 = 3;

/// RIP of the start of the block that runs.
fn start_of(cpu: &Cpu, block: &Block) -> u64 {
    cpu.r64(REG_PAGE) + block.key.place.offset()
}

/// Runs instruction `index` of `block` by its handler.
///
/// # Safety
/// To be called by translated code only: `cpu` is the processor running it (with the bus in its context), `block` the
/// block.
pub(super) unsafe extern "sysv64" fn run_op(cpu: *mut Cpu, block: *const Block, index: u32) -> u32 {
    // SAFETY: the caller's; the run loop has lent both to the translated code and does not touch them meanwhile.
    let (cpu, block) = unsafe { (&mut *cpu, &*block) };
    cpu.rip = start_of(cpu, block);
    cpu.begin_block();
    cpu.lazy.set(cpu.jit.flags.flags());
    cpu.stop_block = false;
    let epoch = cpu.tlb.epoch;
    let (Some(op), Some(mut bus)) = (block.ops.get(index as usize), cpu.jit.bus) else { return REFUSED };
    // SAFETY: the bus that `Engine::run` was called with, used by nobody else while translated code runs.
    let bus = unsafe { bus.as_mut() };
    let done = (op.handler)(cpu, bus, op);
    cpu.refresh_context();
    match done {
        Err(_) => ABORTED,
        // Predicted returns and loops rely on translations of addresses.
        Ok(()) if cpu.stop_block || op.is(Op::ENDS) || cpu.tlb.epoch != epoch => STOPPED,
        // Devices may take long, and loops do not look at it in every round.
        Ok(()) if cpu.attention.load(Ordering::Relaxed) & cpu.jit.attention_mask != 0 => STOPPED,
        Ok(()) => GO_ON,
    }
}

/// Where the code of the block at `rip` starts; 0 when it is not translated, or not known to be there.
///
/// # Safety
/// As for [`run_op`].
pub(super) unsafe extern "sysv64" fn find(cpu: *mut Cpu, rip: u64) -> u64 {
    // SAFETY: as above; the engine that runs does not touch what this does until translated code is left.
    unsafe {
        let cpu = &*cpu;
        cpu.jit.engine.map_or(0, |mut engine| engine.as_mut().find(cpu, rip))
    }
}

/// After a store to a marked page. `what`: the instruction's index, and the number of bytes from bit 16 on.
///
/// # Safety
/// As for [`run_op`].
pub(super) unsafe extern "sysv64" fn written(cpu: *mut Cpu, block: *const Block, what: u32) -> u32 {
    // SAFETY: as above.
    let (cpu, block) = unsafe { (&mut *cpu, &*block) };
    cpu.stop_block = false;
    if let Some((index, offset)) = cpu.tlb.locate(cpu.jit.host) {
        cpu.tell(index, offset, (what >> 16) as usize);
    }
    if !cpu.stop_block {
        return GO_ON;
    }
    cpu.rip = start_of(cpu, block);
    if block.ops.get(what as usize & 0xFFFF).is_some_and(|op| op.is(Op::ENDS)) {
        cpu.next = Some(cpu.jit.branch);
    }
    STOPPED
}
