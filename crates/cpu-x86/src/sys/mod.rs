//! The system instructions: segments, far control transfer, interrupts, task switches, control registers, MSRs, CPUID
//! (Intel SDM volumes 2 and 3).

use iced_x86::Instruction;

use crate::op::{DecodeCx, Op};

/// Makes `op` (prepared) execute `i`; `false` when `i` is not of this family.
pub(crate) fn decode(_i: &Instruction, _cx: &DecodeCx, _op: &mut Op) -> bool {
    false
}
