//! Which flags an instruction reads and writes (Intel SDM volume 1, appendix A), and which are live after it.

use iced_x86::{Instruction, Mnemonic, OpKind, RflagsBits};

const ARITH: u32 = RflagsBits::OF | RflagsBits::SF | RflagsBits::ZF | RflagsBits::AF | RflagsBits::CF | RflagsBits::PF;

/// Arithmetic flags of one instruction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Use {
    pub(super) reads: u32,
    /// May change.
    pub(super) changes: u32,
    /// Has certainly changed (or made undefined).
    pub(super) kills: u32,
    /// Live after it.
    pub(super) after: u32,
}

impl Use {
    /// Everything is read, nothing certainly written: an instruction that other code executes.
    pub(super) const OPAQUE: Self = Self { reads: ARITH, changes: ARITH, kills: 0, after: 0 };

    /// What `i` does.
    pub(super) fn of(i: &Instruction) -> Self {
        let changes = i.rflags_modified() & ARITH;
        let kills = match count(i) {
            None => changes,
            Some(Some(0)) => return Self::default(),
            Some(Some(_)) => changes,
            Some(None) => 0,
        };
        Self { reads: i.rflags_read() & ARITH, changes, kills, after: 0 }
    }

    /// Live before it.
    pub(super) fn before(&self) -> u32 {
        self.reads | self.after & !self.kills
    }

    /// The instruction itself needs the flags of before.
    pub(super) fn needs(&self) -> bool {
        self.reads != 0 || self.changes != 0 && self.after & !self.kills != 0
    }
}

/// The count of a shift: `None` when it is none, `Some(None)` when it is in CL.
fn count(i: &Instruction) -> Option<Option<u64>> {
    use Mnemonic::*;
    if !matches!(i.mnemonic(), Shl | Sal | Shr | Sar | Rol | Ror | Rcl | Rcr | Shld | Shrd) {
        return None;
    }
    let n = i.op_count() - 1;
    if i.op_kind(n) == OpKind::Register {
        return Some(None);
    }
    let size = if i.op_kind(0) == OpKind::Register { i.op_register(0).size() } else { i.memory_size().size() };
    Some(Some(i.immediate(n) & if size == 8 { 63 } else { 31 }))
}

/// Fills in `after`; everything is live at the end.
pub(super) fn solve(uses: &mut [Use]) {
    let mut live = ARITH;
    for u in uses.iter_mut().rev() {
        u.after = live;
        live = u.before();
    }
}
