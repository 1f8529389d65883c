//! Memory operands: the address, the check against the software TLB, the access, the store protocol; and the two
//! instructions next to it, LEA and the divisions.

use iced_x86::{Instruction, Mnemonic, OpAccess, OpKind, Register};

use super::asm::*;
use super::known::{Holds, Temporaries, but};
use super::select::{encodable, named};
use super::sites::{Field, SHARED};
use super::translate::{
    Cold, Done, Ea, Flags, Found, Host, Miss, OFFSETS, TLB_MASK, Translator, Unsupported, held, register,
};
use crate::op::{Op, gpr};

/// How an operand is named in the host.
pub(super) struct Named {
    base: Register,
    index: Register,
    disp: i64,
    site: usize,
    /// The temporary that is free, if one is.
    free: Option<u8>,
    /// What the temporaries hold besides.
    pub(super) known: Temporaries,
}

impl Translator<'_> {
    /// The address (plus `more`) into T2; flags are destroyed.
    pub(super) fn address(&mut self, e: &Ea) -> Done {
        let disp = i32::try_from(e.disp).map_err(|_| Unsupported);
        let host = |g: u8| held(g);
        let mut base;
        let (mut index, mut add) = (None, None);
        match (e.base, e.index) {
            (None, None) => {
                self.a.imm(T2, if e.narrow { e.disp as u64 & 0xFFFF_FFFF } else { e.disp as u64 });
                self.segment(e);
                return Ok(());
            }
            (b, Some((i, s))) => {
                index = Some((host(i).unwrap_or(T2), s));
                base = b.and_then(host);
                match (b.filter(|b| host(*b).is_none()), host(i)) {
                    (Some(b), Some(_)) => {
                        self.fetch(T2, b);
                        base = Some(T2);
                    }
                    (Some(b), None) => {
                        self.fetch(T2, i);
                        add = Some(b);
                    }
                    (None, None) => self.fetch(T2, i),
                    (None, Some(_)) => {}
                }
            }
            (Some(b), None) => {
                base = host(b);
                if base.is_none() {
                    self.fetch(T2, b);
                    base = Some(T2);
                }
            }
        }
        let m = Mem { base, index, disp: disp? };
        if e.narrow {
            self.a.lea32(T2, m);
        } else if !(m.base == Some(T2) && index.is_none() && m.disp == 0) {
            self.a.lea(T2, m);
        }
        if let Some(b) = add {
            let m = Mem::state(register(b));
            if e.narrow { self.a.alu32(Alu::Add, T2, m) } else { self.a.alu(Alu::Add, T2, m) }
        }
        self.segment(e);
        Ok(())
    }

    pub(super) fn segment(&mut self, e: &Ea) {
        if let Some(seg) = e.seg {
            self.a.alu(Alu::Add, T2, Mem::state(OFFSETS.seg_base + 8 * seg as usize));
        }
    }

    /// The TLB check of an access: jumps away on a miss, else T1 is the entry. T2 is lost.
    pub(super) fn check(&mut self, e: &Ea, size: usize, write: bool, misses: &mut Vec<usize>) -> Done {
        let last = size as i64 - 1;
        if let (Some(b), None, None, false) = (e.base.and_then(held), e.index, e.seg, e.narrow) {
            let at = |d: i64| i32::try_from(d).map(|d| Mem::base(b, d)).map_err(|_| Unsupported);
            let (first, end) = (at(e.disp)?, at(e.disp + last)?);
            if first.disp == 0 {
                self.a.mov(T1, b)
            } else {
                self.a.lea(T1, first)
            }
            self.a.lea(T2, end);
        } else {
            self.address(e)?;
            self.a.mov(T1, T2);
            if last != 0 {
                self.a.lea(T2, Mem::base(T2, last as i32));
            }
        }
        self.a.shift(true, 5, T1, 6);
        self.a.alu_imm(false, Alu::And, T1, TLB_MASK);
        if self.table.is_none() {
            self.a.alu(Alu::Add, T1, Mem::state(OFFSETS.data));
        }
        self.a.alu_imm(true, Alu::And, T2, -4096);
        self.a.alu(Alu::Or, T2, Mem::state(OFFSETS.generation));
        let tag = if write { OFFSETS.entry_write } else { OFFSETS.entry_read };
        self.a.alu(Alu::Cmp, T2, self.entry(T1, tag));
        misses.push(self.a.jcc(Cc::NotEqual as u8));
        Ok(())
    }

    /// A field of the TLB entry that a register says after [`Self::check`].
    pub(super) fn entry(&self, r: u8, field: usize) -> Mem {
        Mem::base(r, self.table.unwrap_or(0) + field as i32)
    }

    /// Whether the operand is in the page of its site: T1 is the offset in it, else to cold code, which makes it so, or
    /// goes on as `miss` says.
    pub(super) fn in_site(&mut self, miss: Miss, e: &Ea, size: usize, write: bool, site: usize) -> Done {
        let start = self.a.at();
        match (e.base.and_then(held), e.index) {
            (Some(b), None) => match i32::try_from(e.disp).map_err(|_| Unsupported)? {
                0 => self.a.mov(T1, b),
                disp => self.a.lea(T1, Mem::base(b, disp)),
            },
            _ => {
                self.address(e)?;
                self.a.mov(T1, T2);
            }
        }
        self.a.alu(Alu::Sub, T1, self.site(site, Field::Start));
        self.a.alu(Alu::Cmp, T1, self.site(site, Field::Room));
        let jump = self.a.jcc(Cc::AboveEqual as u8);
        let roams = (site >= SHARED).then_some(start);
        self.cold.push(Cold::Page { jump, back: self.a.at(), miss, e: *e, size, write, site, roams });
        Ok(())
    }

    /// How an operand is named whose site is known to be right; T1 is its address when it has to be alone (`whole`). No
    /// flags are changed. T2 may be the guest's address (`there`), else it is computed if need be.
    pub(super) fn name(&mut self, e: &Ea, site: usize, whole: bool, there: bool) -> Result<Named, Unsupported> {
        let reg = |r: u8| Register::RAX + u32::from(r);
        let fits = i32::try_from(e.disp).is_ok();
        let known = Temporaries::default();
        let mut named = Named { base: reg(T2), index: reg(T1), disp: e.disp, site, free: Some(T2), known };
        // In a group T1 may be right already.
        let [distance, _] = self.known();
        match (e.base, e.index) {
            (Some(b), None) if fits && let Some(b) = held(b) => named.base = reg(b),
            (Some(b), None) if fits && !there => {
                self.fetch(T2, b);
                (named.free, named.known[1]) = (None, Holds::Guest(b));
            }
            _ => {
                if !there {
                    self.address(e)?;
                }
                (named.base, named.disp, named.free) = (reg(T2), 0, None);
            }
        }
        if distance != Holds::Distance(site) {
            self.a.load(T1, self.site(site, Field::Delta));
        }
        if whole {
            let number = |r: Register| (r as u32 - Register::RAX as u32) as u8;
            self.a.lea(T1, Mem { base: Some(number(named.base)), index: Some((T1, 1)), disp: named.disp as i32 });
            named = Named { base: reg(T1), index: Register::None, disp: 0, free: Some(T2), ..named };
        }
        Ok(named)
    }

    /// Where the operand is in the host: by its site, or by the TLB.
    pub(super) fn find(
        &mut self,
        n: usize,
        e: &Ea,
        size: usize,
        write: bool,
        misses: &mut Vec<usize>,
    ) -> Result<Found, Unsupported> {
        let Some(site) = self.site_of(e, size, write) else {
            self.check(e, size, write, misses)?;
            self.host(e)?;
            return Ok(Found { host: T2, free: T1, site: None });
        };
        self.in_site(Miss::Op(n), e, size, write, site)?;
        self.name(e, site, true, self.has_address(e))?;
        Ok(Found { host: T1, free: T2, site: Some(site) })
    }

    /// Whether [`Self::in_site`] leaves the guest's address in T2.
    fn has_address(&self, e: &Ea) -> bool {
        e.base.and_then(held).is_none() || e.index.is_some()
    }

    /// After [`Self::check`]: the host address into T2.
    pub(super) fn host(&mut self, e: &Ea) -> Done {
        self.address(e)?;
        self.a.alu(Alu::Add, T2, self.entry(T1, OFFSETS.entry_addend));
        Ok(())
    }

    /// After a store of `len` bytes to what was found.
    pub(super) fn marked(&mut self, n: usize, len: usize, branch: Option<i32>, to: Found) {
        let of = to.free;
        match to.site {
            Some(site) => self.a.load(of, self.site(site, Field::Flags)),
            None => self.a.load(of, self.entry(of, OFFSETS.entry_flags)),
        }
        self.look_at_flags(n, len, branch, of, Host::At(to.host));
    }

    /// Looks at the flag byte that register `of` points to, after instruction `n` stored `len` bytes at `host`.
    pub(super) fn look_at_flags(&mut self, n: usize, len: usize, branch: Option<i32>, of: u8, host: Host) {
        let live = self.flags == Flags::Reg && self.live_after(n);
        let jump = if live {
            // Nothing is stored: a locked instruction that follows soon would wait for that, and its line be another processor's again.
            self.a.rm(false, &[0x0F, 0xB6], of, Mem::base(of, 0)); // movzx of, byte
            self.a.rr(true, &[0x87], of, RCX); // xchg rcx, of
            self.a.bytes(&[0xE3, 0x08]); // jrcxz over the move and the jump
            self.a.mov(RCX, of);
            let jump = self.a.jmp();
            self.a.mov(RCX, of);
            jump
        } else {
            self.a.byte_is_zero(Mem::base(of, 0));
            if self.flags == Flags::Both {
                self.flags = Flags::Slot;
            }
            self.a.jcc(Cc::NotEqual as u8)
        };
        self.cold.push(Cold::Written {
            jump,
            back: self.a.at(),
            index: n,
            len,
            save: live,
            branch,
            host,
            loaded: self.loaded_now(),
        });
    }

    pub(super) fn lea(&mut self, i: &Instruction, op: &Op) -> Done {
        let e = self.ea_of(i, op)?;
        let size = i.op0_register().size();
        if size < 4 || op.addr_mask == 0xFFFF {
            return Err(Unsupported);
        }
        let to = gpr(i.op0_register());
        let target = held(to).unwrap_or(T1);
        let short = size == 4 || e.narrow;
        if e.base.is_none() && e.index.is_none() {
            let v = e.disp as u64;
            self.a.imm(target, if short { v & 0xFFFF_FFFF } else { v });
        } else {
            // The other may be in either.
            let swapped = e.base.is_some_and(|b| self.known()[1] == Holds::Guest(b));
            let [t, u] = if swapped { [T2, T1] } else { [T1, T2] };
            let mut known = self.known();
            let mut place = |this: &mut Self, guest: u8, t: u8| {
                held(guest).unwrap_or_else(|| {
                    let holds = &mut known[usize::from(t - T1)];
                    if *holds != Holds::Guest(guest) {
                        this.a.load(t, Mem::state(register(guest)));
                    }
                    *holds = Holds::Guest(guest);
                    t
                })
            };
            let base = e.base.map(|b| place(self, b, t));
            let index = e.index.map(|(x, s)| (place(self, x, u), s));
            let m = Mem { base, index, disp: i32::try_from(e.disp).map_err(|_| Unsupported)? };
            if short {
                self.a.lea32(target, m)
            } else {
                self.a.lea(target, m)
            }
            if held(to).is_none() {
                self.a.store(Mem::state(register(to)), target);
                known = but(known, to);
                known[0] = Holds::Guest(to);
            }
            self.now_known(known);
            return Ok(());
        }
        if held(to).is_none() {
            self.a.store(Mem::state(register(to)), target);
            self.now_known([Holds::Guest(to), Holds::Nothing]);
        }
        Ok(())
    }

    /// The host register with the guest's: its own, or `t` after loading it.
    pub(super) fn loaded(&mut self, guest: u8, t: u8) -> u8 {
        held(guest).unwrap_or_else(|| {
            self.fetch(t, guest);
            t
        })
    }

    pub(super) fn memory(&mut self, n: usize, i: &Instruction, op: &Op) -> Done {
        if i.memory_size().size() > 8 && i.mnemonic() != Mnemonic::Cmpxchg16b {
            return Err(Unsupported);
        }
        let align = if i.mnemonic() == Mnemonic::Cmpxchg16b { 15 } else { 0 };
        self.access(n, i, op, align)
    }

    /// An instruction with a memory operand, `align`ed.
    pub(super) fn access(&mut self, n: usize, i: &Instruction, op: &Op, align: u8) -> Done {
        let len = i.memory_size().size();
        // 10 bytes are found where there is room for 16.
        let size = if len == 10 { 16 } else { len };
        let e = self.ea_of(i, op)?;
        let list = self.spilled(i);
        if !matches!(size, 1 | 2 | 4 | 8 | 16 | 32 | 64) || list.len() > 1 {
            return Err(Unsupported);
        }
        let write = {
            let info = self.info.info(i);
            let at = (0..i.op_count()).find(|n| i.op_kind(*n) == OpKind::Memory).ok_or(Unsupported)?;
            !matches!(info.op_access(at), OpAccess::Read | OpAccess::CondRead)
        };
        let mut j = *i;
        j.set_code(encodable(i.code()));
        j.set_segment_prefix(Register::None);
        j.set_has_xacquire_prefix(false);
        j.set_has_xrelease_prefix(false);
        j.set_memory_index_scale(1);
        if let Some(named) = self.unchecked(&e, size, write, align) {
            return self.access_named(n, j, &list, &named, write);
        }
        if let Some(named) = self.grouped(n, &e)? {
            return self.access_named(n, j, &list, &named, write);
        }
        let mut misses = Vec::new();
        self.spare_flags(self.uses[n].before() != 0);
        if let Some(site) = self.site_of(&e, size, write) {
            self.in_site(Miss::Op(n), &e, size, write, site)?;
            if align != 0 {
                self.a.bytes(&[0x41, 0xF6, 0xC0 | T1 & 7, align]); // test r13b, align
                misses.push(self.a.jcc(Cc::NotEqual as u8));
            }
            let named = self.name(&e, site, write, self.has_address(&e))?;
            self.access_named(n, j, &list, &named, write)?;
            self.slow(n, misses);
            return Ok(());
        }
        if !write && align == 0 {
            self.check(&e, size, write, &mut misses)?;
            // (The address, made again, does not wait for the entry.)
            self.a.load(T1, self.entry(T1, OFFSETS.entry_addend));
            let reg = |r: u8| Register::RAX + u32::from(r);
            let known = Temporaries::default();
            let mut named = Named { base: reg(T2), index: reg(T1), disp: 0, site: 0, free: None, known };
            match e.base.and_then(held).filter(|_| e.index.is_none() && e.seg.is_none() && !e.narrow) {
                Some(b) => (named.base, named.disp, named.free) = (reg(b), e.disp, Some(T2)),
                None => self.address(&e)?,
            }
            self.access_named(n, j, &list, &named, write)?;
            self.slow(n, misses);
            return Ok(());
        }
        self.check(&e, size, write, &mut misses)?;
        self.host(&e)?;
        let found = Found { host: T2, free: T1, site: None };
        if align != 0 {
            self.a.bytes(&[0x41, 0xF6, 0xC0 | found.host & 7, align]); // test r14b, align
            misses.push(self.a.jcc(Cc::NotEqual as u8));
        }
        j.set_memory_base(named(found.host, 8));
        j.set_memory_index(Register::None);
        j.set_memory_displacement64(0);
        j.set_memory_displ_size(0);
        let entry = Mem::state(OFFSETS.scratch + 16);
        let spare = found.free;
        Self::rename(&mut j, &list, &[spare]);
        if let Some(x) = list.first() {
            if write {
                self.a.store(entry, spare);
            }
            if x.1 {
                self.a.load(spare, Mem::state(register(x.0)));
            }
        }
        self.before(n);
        self.encode(&j)?;
        self.wait_if_lost(&j);
        self.after(n);
        if let Some(x) = list.first() {
            if x.2 {
                self.a.store(Mem::state(register(x.0)), spare);
            }
            if write {
                self.a.load(spare, entry);
            }
        }
        if write {
            self.marked(n, len, None, found);
        }
        self.slow(n, misses);
        Ok(())
    }

    /// The same where the page is known.
    fn access_named(
        &mut self,
        n: usize,
        mut j: Instruction,
        list: &[(u8, bool, bool)],
        at: &Named,
        write: bool,
    ) -> Done {
        j.set_memory_base(at.base);
        j.set_memory_index(at.index);
        j.set_memory_displacement64(at.disp as u64);
        j.set_memory_displ_size(u32::from(at.disp != 0));
        let mut known = at.known;
        // With the operand in both, the register takes the place of the index: the address is not needed afterwards.
        let spare = match (list.first(), at.free) {
            (Some(x), None) if x.1 => {
                self.a.lea(T2, Mem { base: Some(T2), index: Some((T1, 1)), disp: at.disp as i32 });
                j.set_memory_base(named(T2, 8));
                j.set_memory_index(Register::None);
                j.set_memory_displacement64(0);
                j.set_memory_displ_size(0);
                known = Temporaries::default();
                T1
            }
            (_, None) => T1,
            (_, Some(t)) => t,
        };
        Self::rename(&mut j, list, &[spare]);
        if let Some(x) = list.first().filter(|x| x.1) {
            self.a.load(spare, Mem::state(register(x.0)));
        }
        self.before(n);
        self.encode(&j)?;
        self.wait_if_lost(&j);
        self.after(n);
        if let Some(x) = list.first() {
            if x.2 {
                self.a.store(Mem::state(register(x.0)), spare);
            }
            known = but(known, x.0);
            known[usize::from(spare - T1)] = Holds::Guest(x.0);
        }
        self.now_known(known);
        if write && self.is_grouped(n) {
            self.stored(n);
        } else if write {
            self.marked(n, j.memory_size().size(), None, Found { host: T1, free: T2, site: Some(at.site) });
        }
        Ok(())
    }

    /// DIV and IDIV of 32 and 64 bits, where they cannot fault; else their handler.
    pub(super) fn divide(&mut self, n: usize, i: &Instruction, op: &Op) -> Done {
        let size = if op.is(Op::MEM) { i.memory_size().size() } else { i.op0_register().size() };
        let wide = size == 8;
        if size < 4 {
            return Err(Unsupported);
        }
        let mut slow = Vec::new();
        self.spare_flags(self.uses[n].before() != 0);
        let divisor = if op.is(Op::MEM) {
            let e = self.ea_of(i, op)?;
            self.check(&e, size, false, &mut slow)?;
            self.host(&e)?;
            self.a.rm(wide, &[0x8B], T1, Mem::base(T2, 0));
            T1
        } else {
            self.loaded(gpr(i.op0_register()), T1)
        };
        let signed = i.mnemonic() == Mnemonic::Idiv;
        if signed {
            // The dividend is a sign-extended RAX, the divisor neither 0 nor -1.
            self.a.rr(wide, &[0x89], RAX, T2);
            self.a.shift(wide, 7, T2, if wide { 63 } else { 31 });
            self.a.alu_rr(wide, Alu::Cmp, T2, 2);
            slow.push(self.a.jcc(Cc::NotEqual as u8));
            self.a.rm(wide, &[0x8D], T2, Mem::base(divisor, 1));
            self.a.alu_imm(wide, Alu::Cmp, T2, 1);
            slow.push(self.a.jcc(Cc::BelowEqual as u8));
        } else {
            self.a.alu_rr(wide, Alu::Cmp, 2, divisor);
            slow.push(self.a.jcc(Cc::AboveEqual as u8));
        }
        self.a.rr(wide, &[0xF7], if signed { 7 } else { 6 }, divisor);
        self.after(n);
        self.slow(n, slow);
        Ok(())
    }
}
