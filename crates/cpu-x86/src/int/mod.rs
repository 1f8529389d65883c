//! The integer instructions: data movement, arithmetic, logic, shifts, bits, strings, port I/O, near control
//! transfer (Intel SDM volume 2).

use iced_x86::Instruction;

use crate::op::{DecodeCx, Op};

/// Makes `op` (prepared) execute `i`; `false` when `i` is not of this family.
pub(crate) fn decode(_i: &Instruction, _cx: &DecodeCx, _op: &mut Op) -> bool {
    false
}
