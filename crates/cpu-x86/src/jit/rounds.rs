//! Loops that are one block: one look at pages, the attention word and the code version for many rounds.
//!
//! In such a loop most addresses change by a constant in each round ([`Motion`]). Before the first round, the page of each
//! of these accesses is looked up, and how many rounds it stays in it; for the least of these (at most [`MOST`]) the *fast*
//! copy of the block runs, in which those accesses have no checks: the guest's address plus a constant of the page is the
//! host's. The end of the rounds is when a register that changes by a constant has a certain value. When a page is not
//! found, or an operand crosses pages, the *plain* copy runs one round. Loads by long steps may have a range of pages instead
//! of a page (`ranges`).
//!
//! This holds because no translation of an address changes while translated code runs: other accesses of the fast copy
//! may call handlers, which leave if one did, or if somebody wants this processor (`runtime::run_op`). Blocks with
//! instructions that are always left to handlers have no fast copy.

use std::mem::offset_of;

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::access::Named;
use super::asm::*;
use super::context::Context;
use super::interrupts;
use super::sites::Field;
use super::translate::{Cold, Done, Ea, Flags, Miss, Translator, Unsupported, held, register};
use super::vectors::{EVERYTHING, NOTHING, WHOLE, XMM};
use crate::op::{Op, gpr};
use crate::simd::Translatable;
use crate::state::{Cpu, Mode, REG_PAGE};

/// Rounds at most, so that the attention word is looked at soon.
const MOST: i32 = 256;
/// Steps that leave enough rounds in a page.
const SHORT: i64 = 1024;

/// Longer steps are out of a page after so few rounds that a load by them may have a range of pages (`ranges`).
const LONG: u64 = 128;

fn is_long(step: i64) -> bool {
    step.unsigned_abs() > LONG
}

/// Where in `Cpu`: the fewest rounds found so far, less one; the value of the counter that ends the rounds.
const ROUNDS: usize = offset_of!(Cpu, jit) + offset_of!(Context, rounds);
const LAST: usize = offset_of!(Cpu, jit) + offset_of!(Context, last);

/// By how much each general register has changed at some place of a round, or changes in a whole one; `None`: not by a
/// constant.
type Motion = [Option<i64>; 16];

/// An access that the fast copy does without checks.
struct Walk {
    /// Its address at the start of a round.
    e: Ea,
    step: i64,
    size: usize,
    /// Ones where the address must be zero.
    align: u8,
    write: bool,
    site: usize,
    /// The TLB is asked each time.
    roams: bool,
}

/// What is known while the fast copy is made.
pub(super) struct Rounds {
    /// Registers' changes in a round.
    whole: Motion,
    /// Until the instruction that is being translated.
    now: Motion,
    sites: Vec<Walk>,
    /// The register whose value ends the rounds, and its change in a round.
    counter: (u8, i64),
    /// Vector registers that the block needs.
    level: u8,
    /// It needs x87 registers.
    pub(super) stack: bool,
}

/// Whether the block at offset `at` of its page branches to itself by a conditional branch.
fn loops(decoded: &[Instruction], at: u64) -> bool {
    decoded.last().is_some_and(|last| {
        last.is_jcc_short_or_near() && last.op0_kind() == OpKind::NearBranch64 && last.near_branch_target() == at
    })
}

/// What an instruction does to the registers.
fn moved(motion: &mut Motion, info: &mut InstructionInfoFactory, i: &Instruction) {
    if let Some((r, by)) = constant(i) {
        motion[r] = motion[r].map(|s| s.wrapping_add(by));
        return;
    }
    for u in info.info(i).used_registers() {
        let read = matches!(u.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
        if u.register().is_gpr() && !read {
            motion[usize::from(gpr(u.register().full_register())) & 15] = None;
        }
    }
}

/// Additions of constants to 64-bit registers.
pub(super) fn constant(i: &Instruction) -> Option<(usize, i64)> {
    let r = i.op0_register();
    if i.op_count() == 0 || i.op0_kind() != OpKind::Register || !r.is_gpr64() {
        return None;
    }
    let number = usize::from(gpr(r)) & 15;
    let immediate = || i.op1_kind() != OpKind::Register && i.op1_kind() != OpKind::Memory;
    let by = match i.mnemonic() {
        Mnemonic::Inc => 1,
        Mnemonic::Dec => -1,
        Mnemonic::Add if immediate() => i.immediate(1) as i64,
        Mnemonic::Sub if immediate() => (i.immediate(1) as i64).wrapping_neg(),
        Mnemonic::Lea if i.memory_base() == r && i.memory_index() == Register::None => i.memory_displacement64() as i64,
        _ => return None,
    };
    Some((number, by))
}

impl Rounds {
    /// For a block that can have a fast copy.
    pub(super) fn of(
        decoded: &[Instruction],
        at: u64,
        mode: Mode,
        native: &[bool],
        vector: &[Option<Translatable>],
    ) -> Option<Self> {
        let interrupts = |i: &Instruction| interrupts::is_known(i, mode);
        if !loops(decoded, at) || native.contains(&false) || decoded.iter().any(interrupts) {
            return None;
        }
        let mut info = InstructionInfoFactory::new();
        let mut whole = [Some(0); 16];
        decoded.iter().for_each(|i| moved(&mut whole, &mut info, i));
        let counts = |r: &u8| {
            let step = whole.get(usize::from(*r)).copied().flatten()?;
            (step != 0 && i32::try_from(step).is_ok()).then_some((*r, step))
        };
        let counter = (0..16u8).filter(|r| held(*r).is_some()).find_map(|r| counts(&r));
        let counter = counter.or_else(|| (12..16u8).find_map(|r| counts(&r)))?;
        let level = vector.iter().flatten().map(level).max().unwrap_or(NOTHING);
        Some(Self { whole, now: [Some(0); 16], sites: Vec::new(), counter, level, stack: false })
    }

    /// The address of an access at the start of a round, and its change in one; `None` when it has to be checked each time.
    fn walk(&self, e: &Ea, align: u8) -> Option<(Ea, i64)> {
        let of = |m: &Motion, r: u8, s: u8| match r {
            REG_PAGE => Some(0),
            r => m.get(usize::from(r)).copied().flatten().map(|n| n.wrapping_mul(i64::from(s))),
        };
        let sum = |m: &Motion| {
            let base = e.base.map_or(Some(0), |r| of(m, r, 1))?;
            Some(base.wrapping_add(e.index.map_or(Some(0), |(r, s)| of(m, r, s))?))
        };
        let (step, so_far) = (sum(&self.whole)?, sum(&self.now)?);
        if step.unsigned_abs() > SHORT as u64 || step & i64::from(align) != 0 {
            return None;
        }
        let at_start = Ea { disp: e.disp.wrapping_add(so_far), ..*e };
        let absolute = e.base.is_none() && e.index.is_none();
        let fits = absolute || i32::try_from(e.disp).is_ok() && i32::try_from(at_start.disp).is_ok();
        fits.then_some((at_start, step))
    }
}

/// The vector registers that an instruction needs.
pub(super) fn level(v: &Translatable) -> u8 {
    match (v.evex, v.vex) {
        (true, _) => EVERYTHING,
        (false, true) => WHOLE,
        _ => XMM,
    }
}

impl Translator<'_> {
    /// An instruction's effect on what is known of the registers.
    pub(super) fn note_motion(&mut self, i: &Instruction) {
        if let Some(r) = &mut self.rounds {
            moved(&mut r.now, &mut self.info, i);
        }
    }

    /// How the fast copy names an operand that needs no check. No flags are changed.
    pub(super) fn unchecked(&mut self, e: &Ea, size: usize, write: bool, align: u8) -> Option<Named> {
        // Both in memory: the address takes an addition.
        if e.index.is_some_and(|(i, _)| held(i).is_none()) && e.base.is_some_and(|b| held(b).is_none()) {
            return None;
        }
        let (at_start, step) = self.rounds.as_ref()?.walk(e, align)?;
        let long = is_long(step);
        let (site, roams) = match self.site_alone(e, size) {
            Some(site) => (site, long && write),
            // (The site is where the accesses find what the TLB says.)
            None if long && self.may_have_site(e, size) => (self.sites - 1, true),
            None => return None,
        };
        let named = self.name(e, site, write, false).ok()?;
        self.rounds.as_mut()?.sites.push(Walk { e: at_start, step, size, align, write, site, roams });
        Some(named)
    }

    /// Makes the fast copy, and what comes before its rounds: the plain copy follows. `head`: the entry that looks at the
    /// attention word and the code version; `live`: flags are read in the next round.
    pub(super) fn fast(
        &mut self,
        decoded: &[Instruction],
        ops: &[Op],
        vector: &[Option<Translatable>],
        head: usize,
        live: bool,
    ) -> Done {
        let (Some(counter), Some(level)) =
            (self.rounds.as_ref().map(|r| r.counter), self.rounds.as_ref().map(|r| r.level))
        else {
            return Err(Unsupported);
        };
        let before = self.a.jmp();
        let start = self.a.at();
        self.level = level;
        let stack = self.rounds.as_ref().is_some_and(|r| r.stack);
        self.stack_in_rounds(stack);
        let last = decoded.len() - 1;
        for (n, (i, op)) in decoded.iter().zip(ops).enumerate().take(last) {
            self.stack_before(i, op);
            match vector.get(n).copied().flatten() {
                Some(v) => self.vector(n, i, op, v)?,
                None => self.instruction(n, i, op)?,
            }
            self.note_motion(i);
        }
        let (Some(i), Some(op)) = (decoded.get(last), ops.get(last)) else { return Err(Unsupported) };
        self.stack_before(i, op);
        let out = self.branch_on((i.condition_code() as u8).wrapping_sub(1) ^ 1);
        self.leave_by(out, self.rip_at(op.end), self.flags == Flags::Reg, None);
        if live && self.flags == Flags::Reg {
            self.a.save_flags(super::translate::OFFSETS.flags);
        }
        let counted = self.loaded(counter.0, T1);
        self.a.alu(Alu::Cmp, counted, Mem::state(LAST));
        let again = self.a.jcc(Cc::NotEqual as u8);
        self.a.fill(again, start);
        let enough = self.a.jmp();
        self.a.fill(enough, head);
        self.a.fill_here(before);
        self.flags = Flags::Slot;
        self.level = NOTHING;
        self.stack_in_rounds(false);
        if stack {
            self.want_stack(0);
        }
        self.before_rounds(counter, level, start)
    }

    /// Finds the pages and the number of rounds.
    fn before_rounds(&mut self, counter: (u8, i64), level: u8, start: usize) -> Done {
        if level != NOTHING {
            self.want_vectors(0, level);
        }
        let sites = self.rounds.take().map(|r| r.sites).unwrap_or_default();
        let mut plain = Vec::new();
        self.a.store_imm(Mem::state(ROUNDS), MOST - 1);
        for s in sites {
            if s.roams {
                self.by_tlb(&s, &mut plain)?;
            } else {
                self.by_site(&s)?;
            }
            if s.align != 0 {
                self.a.bytes(&[0x41, 0xF6, 0xC0 | T1 & 7, s.align]); // test r13b, align
                plain.push(self.a.jcc(Cc::NotEqual as u8));
            }
            if s.step == 0 {
                continue;
            }
            // Rounds after the first, too few for steps that are no powers of 2.
            let left = if s.step > 0 {
                self.a.rr(true, &[0x29], T1, T2); // sub
                T2
            } else {
                T1
            };
            let shift = s.step.unsigned_abs().next_power_of_two().trailing_zeros() as u8;
            if shift != 0 {
                self.a.shift(true, 5, left, shift);
            }
            self.a.alu(Alu::Cmp, left, Mem::state(ROUNDS));
            let more = self.a.jcc(Cc::AboveEqual as u8);
            self.a.store(Mem::state(ROUNDS), left);
            self.a.fill_here(more);
        }
        self.a.load(T1, Mem::state(ROUNDS));
        self.a.alu_imm(true, Alu::Add, T1, 1);
        let step = i32::try_from(counter.1).map_err(|_| Unsupported)?;
        self.a.rr(true, &[0x69], T1, T1); // imul
        self.a.bytes(&step.to_le_bytes());
        match held(counter.0) {
            Some(r) => self.a.rr(true, &[0x01], r, T1),
            None => self.a.alu(Alu::Add, T1, Mem::state(register(counter.0))),
        }
        self.a.store(Mem::state(LAST), T1);
        let go = self.a.jmp();
        self.a.fill(go, start);
        plain.into_iter().for_each(|j| self.a.fill_here(j));
        self.plain = self.a.at();
        self.level = NOTHING;
        Ok(())
    }

    /// T1: the offset in its site's page, or range of pages, of an access at the start of the rounds; T2: the last offset there.
    fn by_site(&mut self, w: &Walk) -> Done {
        let Walk { e, size, write, site, .. } = *w;
        let start = self.a.at();
        self.address(&e)?;
        self.a.mov(T1, T2);
        self.a.alu(Alu::Sub, T1, self.site(site, Field::Start));
        self.a.load(T2, self.site(site, Field::Room));
        self.a.alu_rr(true, Alu::Cmp, T1, T2);
        let jump = self.a.jcc(Cc::AboveEqual as u8);
        self.a.lea(T2, Mem::base(T2, -1));
        let back = self.a.at();
        // By short steps it is in a page for long: it does not roam.
        let roams = is_long(w.step).then_some(start);
        self.cold.push(Cold::Page { jump, back, miss: Miss::Plain, e, size, write, site, roams });
        Ok(())
    }

    /// The same in the page of the address in T2, after it was found anew.
    pub(super) fn in_page(&mut self, size: usize) {
        self.a.mov(T1, T2);
        self.a.alu_imm(true, Alu::And, T1, 4095);
        self.a.imm(T2, 4096 - size as u64);
    }

    /// The same, by the TLB; the site is where the accesses find what it says.
    fn by_tlb(&mut self, w: &Walk, misses: &mut Vec<usize>) -> Done {
        self.check(&w.e, w.size, w.write, misses)?;
        self.take_entry(w.write, w.site);
        self.address(&w.e)?;
        self.in_page(w.size);
        Ok(())
    }
}
