//! How registers change in a round of a block that branches to itself: what an access is likely to find next time.

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::translate::Ea;
use crate::op::gpr;

/// By how much each general register changes; `None`: not by a constant.
pub(super) type Steps = [Option<i64>; 16];

/// Steps that are short enough for a page to be of use for long.
const SHORT: i64 = 256;

/// The steps of the block at `rip`, if it branches to itself.
pub(super) fn of(decoded: &[Instruction], rip: u64) -> Option<Steps> {
    let last = decoded.last()?;
    let direct = matches!(last.op0_kind(), OpKind::NearBranch64 | OpKind::NearBranch32);
    if !direct || last.near_branch_target() != rip || last.mnemonic() == Mnemonic::Call {
        return None;
    }
    let mut steps = [Some(0i64); 16];
    let mut info = InstructionInfoFactory::new();
    for i in decoded {
        if let Some((r, by)) = constant(i) {
            steps[r] = steps[r].map(|s| s.wrapping_add(by));
            continue;
        }
        for u in info.info(i).used_registers() {
            let read = matches!(u.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
            if u.register().is_gpr() && !read {
                steps[usize::from(gpr(u.register().full_register())) & 15] = None;
            }
        }
    }
    Some(steps)
}

/// Additions of constants to 64-bit registers.
fn constant(i: &Instruction) -> Option<(usize, i64)> {
    let r = i.op0_register();
    if i.op_count() == 0 || i.op0_kind() != OpKind::Register || !r.is_gpr64() {
        return None;
    }
    let number = usize::from(gpr(r)) & 15;
    let by = match i.mnemonic() {
        Mnemonic::Inc => 1,
        Mnemonic::Dec => -1,
        Mnemonic::Add if i.op1_kind() != OpKind::Register && i.op1_kind() != OpKind::Memory => i.immediate(1) as i64,
        Mnemonic::Sub if i.op1_kind() != OpKind::Register && i.op1_kind() != OpKind::Memory => {
            (i.immediate(1) as i64).wrapping_neg()
        }
        Mnemonic::Lea if i.memory_base() == r && i.memory_index() == Register::None => i.memory_displacement64() as i64,
        _ => return None,
    };
    Some((number, by))
}

/// Whether an access stays in its page for some rounds.
pub(super) fn stays(steps: &Steps, e: &Ea) -> bool {
    let step = |r: u8| steps.get(usize::from(r)).copied().flatten();
    let base = e.base.map_or(Some(0), step);
    let index = e.index.map_or(Some(0), |(r, s)| step(r).map(|n| n.wrapping_mul(i64::from(s))));
    match (base, index) {
        (Some(b), Some(i)) => b.wrapping_add(i).unsigned_abs() <= SHORT as u64,
        (Some(0), None) => true, // a table, maybe a small one
        _ => false,
    }
}
