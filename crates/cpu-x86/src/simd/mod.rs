//! x87, MMX, SSE, AVX and their state: executed on the unit of the host (x86-64), with the
//! registers and control words of the guest.

use iced_x86::Instruction;

use crate::op::{DecodeCx, Op};

/// Makes `op` (prepared) execute `i`; `false` when `i` is not of this family.
pub(crate) fn decode(_i: &Instruction, _cx: &DecodeCx, _op: &mut Op) -> bool {
    false
}
