//! Accesses that are checked together: those by one register in straight-line code, as the pushes and pops at both ends of
//! a function, its variables, and the members of a structure.
//!
//! A *window* is a run of instructions of 64-bit code of which several accesses have the same base, whose changes in
//! between are known constants: a *group*. Before the first of them, all bytes from the lowest to the highest of the group
//! are looked for in one page (by a site, or the TLB where that roams), and stores need a page whose flag byte is clear;
//! then none of them has a check. Where that fails, the window's *other copy* goes on at the same instruction, in which
//! every access has its own.
//!
//! That one check is enough holds because no translation of an address changes while translated code runs (as for
//! `rounds`). The flag byte is looked at again behind the last of stores that follow each other, before anything that may
//! leave translated code: the store protocol only asks for a look after the store.

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind};

use super::access::Named;
use super::asm::*;
use super::clock::reads_clock;
use super::interrupts;
use super::known::Holds;
use super::rounds::constant;
use super::sites::Field;
use super::strings;
use super::translate::{Cold, Done, Ea, Flags, Host, Miss, OFFSETS, Translator, Unsupported, held, register};
use super::x87::uses_stack;
use crate::op::{Op, gpr};
use crate::simd::Translatable;
use crate::state::{Mode, REG_PAGE};

const SP: u8 = 4;
const WORD: i64 = 8;
/// Most bytes from the first to the last of a group: a power of 2.
pub(super) const SPAN: usize = 512;
/// Most instructions of a window.
const LONGEST: usize = 64;
/// Registers that can be a base: the general ones and what stands for RIP.
const BASES: usize = REG_PAGE as usize + 1;

/// An access of a group.
#[derive(Clone, Copy)]
struct Member {
    group: usize,
    /// Of its first byte, from the group's origin: where the base pointed when it was last set to something unknown.
    at: i64,
    len: i64,
    write: bool,
    /// What has been added to the base since, before the instruction and after it.
    before: i64,
    after: i64,
}

/// Accesses by one register.
struct Group {
    base: u8,
    /// Which value of the base it is.
    epoch: u32,
    low: i64,
    high: i64,
    write: bool,
    /// The instruction with the first access.
    first: usize,
    count: usize,
    /// Once it is checked.
    site: Option<usize>,
}

/// Instructions that have two copies.
pub(super) struct Window {
    pub(super) start: usize,
    pub(super) end: usize,
    /// By instruction, from `start`.
    members: Vec<Option<Member>>,
    groups: Vec<Group>,
    /// Bytes of a group, from its origin, that were stored since its flag byte was last looked at.
    stored: Option<(i64, i64)>,
    /// By instruction: nothing of it leaves translated code.
    quiet: Vec<bool>,
}

/// What is known of the registers while windows are looked for.
struct Tracker {
    moved: [i64; BASES],
    epoch: [u32; BASES],
}

impl Tracker {
    fn set(&mut self, r: u8) {
        if let (Some(m), Some(e)) = (self.moved.get_mut(usize::from(r)), self.epoch.get_mut(usize::from(r))) {
            (*m, *e) = (0, e.wrapping_add(1));
        }
    }

    fn add(&mut self, r: u8, by: i64) {
        if let Some(m) = self.moved.get_mut(usize::from(r)) {
            *m = m.wrapping_add(by);
        }
    }

    fn of(&self, r: u8) -> (i64, u32) {
        let at = usize::from(r);
        (self.moved.get(at).copied().unwrap_or(0), self.epoch.get(at).copied().unwrap_or(0))
    }

    /// Follows an instruction.
    fn follow(&mut self, i: &Instruction, info: &mut InstructionInfoFactory) {
        match i.mnemonic() {
            Mnemonic::Push => self.add(SP, -WORD),
            Mnemonic::Pop => {
                self.add(SP, WORD);
                self.set(gpr(i.op0_register()));
            }
            _ => {
                if let Some((r, by)) = constant(i) {
                    return self.add(r as u8, by);
                }
                for u in info.info(i).used_registers() {
                    let read = matches!(u.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
                    if u.register().is_gpr() && !read {
                        self.set(gpr(u.register().full_register()));
                    }
                }
            }
        }
    }
}

impl Window {
    fn member(&self, n: usize) -> Option<&Member> {
        self.members.get(n.checked_sub(self.start)?)?.as_ref()
    }

    /// Whether another store of the group certainly follows instruction `n`, with nothing between that leaves.
    fn stores_follow(&self, n: usize, group: usize) -> bool {
        for k in n + 1..self.end {
            match self.member(k) {
                Some(m) if self.groups.get(m.group).is_none_or(|g| g.first == k) => return false,
                Some(m) if m.write => return m.group == group,
                Some(_) => {}
                None if self.quiet.get(k - self.start) == Some(&true) => {}
                None => return false,
            }
        }
        false
    }

    /// Without groups of one, and without instructions before the first access and behind the last.
    fn shrunk(mut self) -> Option<Self> {
        let single: Vec<bool> = self.groups.iter().map(|g| g.count < 2).collect();
        for m in &mut self.members {
            if m.is_some_and(|m| single.get(m.group) != Some(&false)) {
                *m = None;
            }
        }
        let first = self.members.iter().position(Option::is_some)?;
        let last = self.members.iter().rposition(Option::is_some)?;
        self.members.truncate(last + 1);
        self.members.drain(..first);
        self.quiet.truncate(last + 1);
        self.quiet.drain(..first);
        (self.start, self.end) = (self.start + first, self.start + last + 1);
        Some(self)
    }
}

/// Whether its memory operand is no access.
fn is_nothing(i: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(i.mnemonic(), Lea | Nop | Prefetchnta | Prefetcht0 | Prefetcht1 | Prefetcht2 | Prefetchw)
}

impl Translator<'_> {
    /// The windows among the first `count` instructions.
    pub(super) fn windows(
        &mut self,
        native: &[bool],
        vector: &[Option<Translatable>],
        count: usize,
    ) -> std::vec::IntoIter<Window> {
        let mode = self.block.key.mode;
        let mut list = Vec::new();
        if !self.wide || mode.has(Mode::ALIGN) {
            return list.into_iter();
        }
        let (decoded, ops) = (self.decoded, &self.block.ops);
        let can = |n: usize| {
            let (Some(i), Some(op)) = (decoded.get(n), ops.get(n)) else { return false };
            let plain = native.get(n) == Some(&true) && vector.get(n).is_some_and(Option::is_none);
            let returns = i.mnemonic() == Mnemonic::Ret;
            plain
                && n < count
                && (!op.is(Op::ENDS) || returns)
                && uses_stack(i, op, mode).is_none()
                && !interrupts::is_known(i, mode)
                && !reads_clock(i)
                && !strings::is_single(i)
                && i.mnemonic() != Mnemonic::Leave
        };
        let mut n = 0;
        while n < count {
            let start = n;
            while n < count && n < start + LONGEST && can(n) {
                n += 1;
            }
            list.extend(self.window(start, n));
            n = n.max(start + 1);
        }
        list.into_iter()
    }

    /// The window in these instructions, if they have a group.
    fn window(&mut self, start: usize, end: usize) -> Option<Window> {
        let mut tracker = Tracker { moved: [0; BASES], epoch: [0; BASES] };
        let mut w = Window { start, end, members: Vec::new(), groups: Vec::new(), stored: None, quiet: Vec::new() };
        for n in start..end {
            let (i, op) = (self.decoded.get(n)?, self.block.ops.get(n)?);
            let found = self.groupable(i, op);
            let before = found.map(|(e, ..)| tracker.of(e.0));
            tracker.follow(i, &mut self.info);
            let member = found.zip(before).and_then(|(((base, disp), len, write), (moved, epoch))| {
                let (after, new) = tracker.of(base);
                if write && new != epoch {
                    return None; // where it stored is not known afterwards
                }
                let low = moved.wrapping_add(disp);
                let high = low.wrapping_add(len);
                // Differences of these are displacements.
                let fits = |v: &i64| v.unsigned_abs() < 1 << 30;
                if ![low, high, moved, after].iter().all(fits) {
                    return None;
                }
                let of = |g: &Group| {
                    let span = high.max(g.high) - low.min(g.low);
                    g.base == base && g.epoch == epoch && span <= SPAN as i64
                };
                let group = w.groups.iter().position(of).unwrap_or(w.groups.len());
                if group == w.groups.len() {
                    w.groups.push(Group { base, epoch, low, high, write, first: n, count: 0, site: None });
                }
                let g = w.groups.get_mut(group)?;
                (g.low, g.high) = (g.low.min(low), g.high.max(high));
                g.write |= write;
                g.count += 1;
                Some(Member { group, at: low, len, write, before: moved, after })
            });
            w.members.push(member);
            let leaves = op.is(Op::MEM) && !is_nothing(i)
                || matches!(i.mnemonic(), Mnemonic::Push | Mnemonic::Pop | Mnemonic::Ret)
                || matches!(i.mnemonic(), Mnemonic::Div | Mnemonic::Idiv);
            w.quiet.push(!leaves);
        }
        w.shrunk()
    }

    /// An instruction's access that may be in a group: base and displacement, length, whether it stores.
    fn groupable(&mut self, i: &Instruction, op: &Op) -> Option<((u8, i64), i64, bool)> {
        match i.mnemonic() {
            Mnemonic::Push | Mnemonic::Pop | Mnemonic::Ret => {
                let memory = i.op_count() > 0 && i.op0_kind() == OpKind::Memory;
                let words = i.stack_pointer_increment().unsigned_abs() as i64 == WORD;
                let push = i.mnemonic() == Mnemonic::Push;
                let returns = i.mnemonic() == Mnemonic::Ret;
                return (!memory && (words || returns)).then_some(((SP, if push { -WORD } else { 0 }), WORD, push));
            }
            Mnemonic::Div | Mnemonic::Idiv | Mnemonic::Cmpxchg16b => return None,
            _ if !op.is(Op::MEM) || is_nothing(i) => return None,
            _ => {}
        }
        let len = i.memory_size().size();
        let e = self.ea_of(i, op).ok()?;
        if e.index.is_some() || e.seg.is_some() || e.narrow || !matches!(len, 1 | 2 | 4 | 8) {
            return None;
        }
        i32::try_from(e.disp).ok()?;
        let at = (0..i.op_count()).find(|n| i.op_kind(*n) == OpKind::Memory)?;
        let write = !matches!(self.info.info(i).op_access(at), OpAccess::Read | OpAccess::CondRead);
        Some(((e.base?, e.disp), len as i64, write))
    }

    /// Makes both copies of a window's instructions; `Err`: it cannot be, and there is no trace.
    pub(super) fn windowed(&mut self, w: Window) -> Done {
        // Nothing in it is looked at by `stack_before`.
        self.flush_pointers();
        let (at, cold, links, joins) = (self.a.buf.len(), self.cold.len(), self.links.len(), self.joins.len());
        let (flags, sites) = (self.flags, self.sites);
        let (start, end) = (w.start, w.end);
        self.window = Some(w);
        let mut done = Ok(());
        for n in start..end {
            done = self.one(n);
            if done.is_err() {
                break;
            }
        }
        self.window = None;
        if done.is_err() {
            self.a.buf.truncate(at);
            self.cold.truncate(cold);
            self.links.truncate(links);
            self.joins.truncate(joins);
            (self.flags, self.sites) = (flags, sites);
            self.unknown();
            return done;
        }
        self.unknown();
        let (back, flags, level, stack) = (self.a.at(), self.flags, self.level, self.stack);
        self.cold.push(Cold::Window { start, end, back, flags, level, stack });
        Ok(())
    }

    /// Instruction `n` of a window.
    fn one(&mut self, n: usize) -> Done {
        let (Some(i), Some(op)) = (self.decoded.get(n), self.block.ops.get(n)) else { return Err(Unsupported) };
        if op.is(Op::ENDS) { self.control(n, i, op) } else { self.instruction(n, i, op) }
    }

    /// The other copy; the joins are the places where the first may go on in it.
    pub(super) fn other_copy(&mut self, start: usize, end: usize, back: usize, flags: Flags) {
        let Some(first) = self.joins.iter().map(|j| j.0).filter(|n| (start..end).contains(n)).min() else { return };
        self.flags = Flags::Slot;
        for n in first..end {
            let joins: Vec<usize> = self.joins.extract_if(.., |j| j.0 == n).map(|j| j.1).collect();
            if !joins.is_empty() {
                self.spare_flags(self.uses.get(n).is_some_and(|u| u.before() != 0));
                joins.into_iter().for_each(|j| self.a.fill_here(j));
                self.unknown();
            }
            let (Some(i), Some(op)) = (self.decoded.get(n), self.block.ops.get(n)) else { return };
            if self.attempt(n, i, op, None).is_err() {
                self.spare_flags(true);
                self.leave_for(self.rip_at(op.start), self.common.refuse);
            }
        }
        if self.block.ops.get(end - 1).is_some_and(|op| op.is(Op::ENDS)) {
            return;
        }
        if self.live_after(end - 1) {
            match (self.flags, flags) {
                (Flags::Slot, Flags::Reg | Flags::Both) => self.a.restore_flags(OFFSETS.flags, OFFSETS.scratch),
                (Flags::Reg, Flags::Slot | Flags::Both) => self.a.save_flags(OFFSETS.flags),
                _ => {}
            }
        }
        let j = self.a.jmp();
        self.a.fill(j, back);
    }

    /// Whether the access of instruction `n` is in a group.
    pub(super) fn is_grouped(&self, n: usize) -> bool {
        self.window.as_ref().is_some_and(|w| w.member(n).is_some())
    }

    /// The site of the group of instruction `n`, checked before the first of its accesses.
    fn group_site(&mut self, n: usize) -> Result<Option<usize>, Unsupported> {
        let Some(w) = &self.window else { return Ok(None) };
        let Some(m) = w.member(n).copied() else { return Ok(None) };
        let g = w.groups.get(m.group).ok_or(Unsupported)?;
        if g.first != n {
            return g.site.map(Some).ok_or(Unsupported);
        }
        let (base, low, write) = (g.base, g.low, g.write);
        let span = usize::try_from(g.high.wrapping_sub(low)).map_err(|_| Unsupported)?;
        let shared = !w.groups.iter().any(|g| g.base == SP && g.site.is_some());
        let (size, site, roams) = self.site_of_group(base, span, write, shared);
        let e = Ea::base(base, low.wrapping_sub(m.before));
        self.check_group(n, &e, size, write, site, roams)?;
        if let Some(g) = self.window.as_mut().and_then(|w| w.groups.get_mut(m.group)) {
            g.site = Some(site);
        }
        Ok(Some(site))
    }

    /// Looks for the bytes of a group, else goes on in the other copy.
    fn check_group(&mut self, n: usize, e: &Ea, size: usize, write: bool, site: usize, roams: bool) -> Done {
        self.spare_flags(self.uses.get(n).is_some_and(|u| u.before() != 0));
        if roams {
            let mut misses = Vec::new();
            self.check(e, size, write, &mut misses)?;
            self.joins.extend(misses.into_iter().map(|j| (n, j)));
            self.take_entry(write, site);
        } else {
            self.in_site(Miss::Join(n), e, size, write, site)?;
        }
        if write {
            if !roams {
                self.a.load(T2, self.site(site, Field::Flags));
            }
            self.a.byte_is_zero(Mem::base(T2, 0));
            let marked = self.a.jcc(Cc::NotEqual as u8);
            self.joins.push((n, marked));
        }
        if roams {
            self.now_known([Holds::Distance(site), Holds::Nothing]);
        }
        Ok(())
    }

    /// How the operand of instruction `n` is named, if it is in a group.
    pub(super) fn grouped(&mut self, n: usize, e: &Ea) -> Result<Option<Named>, Unsupported> {
        let Some(site) = self.group_site(n)? else { return Ok(None) };
        let mut named = self.name(e, site, false, false)?;
        named.known[0] = Holds::Distance(site);
        Ok(Some(named))
    }

    /// PUSH of a register or constant, POP of a register, and the load of RET, in a group.
    pub(super) fn grouped_stack(&mut self, n: usize, i: &Instruction) -> Done {
        let site = self.group_site(n)?.ok_or(Unsupported)?;
        let [distance, mut other] = self.known();
        if distance != Holds::Distance(site) {
            self.a.load(T1, self.site(site, Field::Delta));
        }
        let at = |disp: i32| Mem { base: Some(GUEST_RSP), index: Some((T1, 1)), disp };
        match i.mnemonic() {
            Mnemonic::Push => {
                let to = at(-(WORD as i32));
                if i.op0_kind() == OpKind::Register {
                    let guest = gpr(i.op0_register());
                    let from = held(guest).unwrap_or(T2);
                    if from == T2 && other != Holds::Guest(guest) {
                        self.a.load(T2, Mem::state(register(guest)));
                        other = Holds::Guest(guest);
                    }
                    self.a.store(to, from);
                } else {
                    let v = i.immediate(0);
                    match i32::try_from(v as i64) {
                        Ok(v) => self.a.store_imm(to, v),
                        Err(_) => {
                            self.a.imm(T2, v);
                            self.a.store(to, T2);
                            other = Holds::Nothing;
                        }
                    }
                }
                self.a.lea(GUEST_RSP, Mem::base(GUEST_RSP, -(WORD as i32)));
            }
            Mnemonic::Pop => {
                let to = gpr(i.op0_register());
                let r = held(to).unwrap_or(T2);
                self.a.load(r, at(0));
                if to != SP {
                    self.a.lea(GUEST_RSP, Mem::base(GUEST_RSP, WORD as i32));
                }
                if held(to).is_none() {
                    self.a.store(Mem::state(register(to)), T2);
                    other = Holds::Guest(to);
                }
            }
            _ => {
                self.a.load(T2, at(0));
                other = Holds::Nothing;
            }
        }
        self.now_known([Holds::Distance(site), other]);
        if i.mnemonic() == Mnemonic::Push {
            self.stored(n);
        }
        Ok(())
    }

    /// After the store of instruction `n`, which is in a group: looks at the page's flag byte unless another store follows.
    pub(super) fn stored(&mut self, n: usize) {
        let Some(w) = &mut self.window else { return };
        let Some(m) = w.member(n).copied() else { return };
        let (low, high) = w.stored.map_or((m.at, m.at + m.len), |(l, h)| (l.min(m.at), h.max(m.at + m.len)));
        w.stored = Some((low, high));
        if w.stores_follow(n, m.group) {
            return;
        }
        w.stored = None;
        let Some((base, site)) = w.groups.get(m.group).and_then(|g| Some((g.base, g.site?))) else { return };
        let disp = low.wrapping_sub(m.after) as i32;
        self.a.load(T2, self.site(site, Field::Flags));
        self.look_at_flags(n, (high - low) as usize, None, T2, Host::Of { base, disp, site });
    }
}
