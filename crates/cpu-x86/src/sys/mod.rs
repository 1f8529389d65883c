//! The system instructions: segments, far control transfer, interrupts, task switches, control registers, MSRs, CPUID
//! (Intel SDM volumes 2 and 3).

mod descriptor;
mod interrupt;
mod mode;
mod msr;
mod reset;
mod segment;
mod stack;
mod task;

use iced_x86::Instruction;

use crate::op::{DecodeCx, Op};

pub use interrupt::InterruptKind;
pub use reset::ResetKind;

/// Makes `op` (prepared) execute `i`; `false` when `i` is not of this family.
pub(crate) fn decode(_i: &Instruction, _cx: &DecodeCx, _op: &mut Op) -> bool {
    false
}
