//! Stack instructions and control transfer.
//!
//! A call leaves a *prediction* on the host's stack: the guest's return address, and (by the host's own CALL) where in
//! the caller's code to go on. A return that goes to that address is the host's own RET, which the host predicts. What
//! changes the guest's stack behind the back of this only makes predictions fail. They are forgotten whenever
//! translated code is left, so that in their lifetime no translation of an address changes.

use std::mem::offset_of;

use iced_x86::{Code, Instruction, Mnemonic, OpKind};

use super::asm::*;
use super::engine::{JUMPS, Jump};
use super::translate::{Branch, Cold, Done, Ea, Flags, Found, OFFSETS, PAGE, Translator, Unsupported, held, register};
use crate::op::{Op, gpr};

const SP: u8 = 4;
const BP: u8 = 5;
/// Scratch word for the code a call goes to.
const CODE: usize = OFFSETS.scratch + 16;
/// In the slot's upper byte: SF, ZF, PF, CF; in the lower byte: OF.
const FLAG_BITS: [(usize, u8); 6] = [(0, 1), (1, 1), (1, 0x40), (1, 0x41), (1, 0x80), (1, 4)];

/// Looks up the RIP in T2 among the targets of indirect branches that were looked up before: its code is in T1 then, else jumps to
/// a miss. T2 is kept.
pub(super) fn lookup_known(a: &mut Asm, misses: &mut Vec<usize>) {
    let jump = |offset: usize| Mem::base(T1, offset as i32);
    a.mov(T1, T2);
    a.shift(true, 5, T1, 12);
    a.alu_rr(false, Alu::Xor, T1, T2);
    a.alu_imm(false, Alu::And, T1, JUMPS as i32 - 1);
    a.shift(false, 4, T1, 5);
    a.alu(Alu::Add, T1, Mem::state(OFFSETS.jumps));
    a.alu(Alu::Cmp, T2, jump(offset_of!(Jump, rip)));
    misses.push(a.jcc(Cc::NotEqual as u8));
    a.load(T2, Mem::state(OFFSETS.tag));
    a.alu(Alu::Cmp, T2, jump(offset_of!(Jump, tag)));
    a.load(T2, jump(offset_of!(Jump, rip)));
    misses.push(a.jcc(Cc::NotEqual as u8));
    a.load(T1, jump(offset_of!(Jump, code)));
}

/// From here on code runs in the page of the RIP in T2, which is lost.
fn now_in_page(a: &mut Asm) {
    a.alu_imm(true, Alu::And, T2, -4096);
    a.store(Mem::state(PAGE), T2);
}

/// To the code in T1 of the RIP in T2.
pub(super) fn enter_found(a: &mut Asm) {
    now_in_page(a);
    a.jmp_reg(T1);
}

/// Goes to the code of the RIP in T2; if it is not known, leaves by `exit_link` for the link in T1.
pub(super) fn search_code(a: &mut Asm, exit_link: usize) -> usize {
    let at = a.at();
    let mut misses = Vec::new();
    a.store(Mem::state(OFFSETS.scratch), T1);
    lookup_known(a, &mut misses);
    enter_found(a);
    misses.into_iter().for_each(|m| a.fill_here(m));
    a.load(T1, Mem::state(OFFSETS.scratch));
    let j = a.jmp();
    a.fill(j, exit_link);
    at
}

/// Called with the RIP of a return that was not predicted in T2: drops the top prediction; the code is in T1, or ZF.
pub(super) fn returned_code(a: &mut Asm, find: usize) -> usize {
    let at = a.at();
    a.pop(T1);
    a.alu(Alu::Cmp, RSP, Mem::state(OFFSETS.stack));
    let none = a.jcc(Cc::Equal as u8);
    a.lea(RSP, Mem::base(RSP, 16));
    a.fill_here(none);
    a.push(T1);
    let mut misses = Vec::new();
    lookup_known(a, &mut misses);
    a.alu_rr(true, Alu::Or, T1, T1);
    a.ret();
    misses.into_iter().for_each(|m| a.fill_here(m));
    let call = a.call();
    a.fill(call, find);
    a.alu_rr(true, Alu::Or, T1, T1);
    a.ret();
    at
}

impl Translator<'_> {
    /// Bytes of a stack slot and of an address.
    fn word(&self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    /// Memory at the address in guest register `base` plus `disp`.
    fn at(&self, base: u8, disp: i64) -> Ea {
        Ea { narrow: !self.wide, ..Ea::base(base, disp) }
    }

    /// Loads a word.
    fn load_word(&mut self, r: u8, m: Mem) {
        if self.wide { self.a.load(r, m) } else { self.a.load32(r, m) }
    }

    fn store_word(&mut self, m: Mem, r: u8) {
        if self.wide { self.a.store(m, r) } else { self.a.store32(m, r) }
    }

    fn move_stack(&mut self, from: u8, by: i32) {
        let m = Mem::base(from, by);
        if self.wide { self.a.lea(GUEST_RSP, m) } else { self.a.lea32(GUEST_RSP, m) }
    }

    /// Loads the word at guest register `base` into `to`.
    fn load_from(&mut self, n: usize, to: u8, base: u8, misses: &mut Vec<usize>) -> Done {
        let at = self.find(n, &self.at(base, 0), self.word(), false, misses)?;
        self.load_word(to, Mem::base(at.host, 0));
        Ok(())
    }

    /// PUSH and POP of registers and immediates of the stack's size, LEAVE.
    pub(super) fn stack(&mut self, n: usize, i: &Instruction) -> Done {
        if i.mnemonic() == Mnemonic::Leave {
            return self.leave(n, i);
        }
        let word = self.word();
        if i.stack_pointer_increment().unsigned_abs() as usize != word || i.op0_kind() == OpKind::Memory {
            return Err(Unsupported);
        }
        if self.is_grouped(n) {
            return self.grouped_stack(n, i);
        }
        let mut misses = Vec::new();
        self.spare_flags(self.uses[n].before() != 0);
        if i.mnemonic() == Mnemonic::Pop {
            let to = gpr(i.op0_register());
            self.load_from(n, held(to).unwrap_or(T1), SP, &mut misses)?;
            if to != SP {
                self.move_stack(GUEST_RSP, word as i32);
            }
            if held(to).is_none() {
                self.a.store(Mem::state(register(to)), T1);
            }
        } else if i.op0_kind() == OpKind::Register {
            let from = gpr(i.op0_register());
            self.push(n, &mut misses, None, |t, to| match held(from) {
                Some(r) => t.store_word(Mem::base(to.host, 0), r),
                None => t.with_free(to, |t| {
                    t.a.load(to.free, Mem::state(register(from)));
                    t.a.store(Mem::base(to.host, 0), to.free);
                }),
            })?;
        } else {
            let v = i.immediate(0);
            self.push_value(n, &mut misses, v)?;
        }
        self.slow(n, misses);
        Ok(())
    }

    /// Uses the free register of an access, and keeps what the rest of the access needs of it.
    pub(super) fn with_free(&mut self, to: Found, f: impl FnOnce(&mut Self)) {
        let keep = Mem::state(OFFSETS.scratch);
        if to.site.is_none() {
            self.a.store(keep, to.free);
        }
        f(self);
        if to.site.is_none() {
            self.a.load(to.free, keep);
        }
    }

    /// Pushes what `store` stores. Flags are in the slot.
    pub(super) fn push(
        &mut self,
        n: usize,
        misses: &mut Vec<usize>,
        branch: Option<i32>,
        store: impl FnOnce(&mut Self, Found),
    ) -> Done {
        let word = self.word();
        let e = self.at(SP, -(word as i64));
        let to = self.find(n, &e, word, true, misses)?;
        store(self, to);
        self.move_stack(GUEST_RSP, -(word as i32));
        self.marked(n, word, branch, to);
        Ok(())
    }

    /// Pushes the return address `back`, which counts from the start of the page, and its half of the prediction.
    fn push_return(&mut self, n: usize, misses: &mut Vec<usize>, branch: Option<i32>, back: i32) -> Done {
        self.push(n, misses, branch, |t, to| {
            t.with_free(to, |t| {
                t.here(to.free, back);
                t.store_word(Mem::base(to.host, 0), to.free);
                if t.single {
                    return;
                }
                t.a.alu(Alu::Cmp, RSP, Mem::state(OFFSETS.stack_limit));
                let jump = t.a.jcc(Cc::Below as u8);
                t.cold.push(Cold::Forget { jump, back: t.a.at() });
                t.a.push(to.free);
            });
        })
    }

    fn push_value(&mut self, n: usize, misses: &mut Vec<usize>, v: u64) -> Done {
        self.push(n, misses, None, |t, to| match i32::try_from(v as i64) {
            _ if !t.wide => t.a.store_imm32(Mem::base(to.host, 0), v as u32),
            Ok(v) => t.a.store_imm(Mem::base(to.host, 0), v),
            Err(_) => t.with_free(to, |t| {
                t.a.imm(to.free, v);
                t.a.store(Mem::base(to.host, 0), to.free);
            }),
        })
    }

    fn leave(&mut self, n: usize, i: &Instruction) -> Done {
        let code = if self.wide { Code::Leaveq } else { Code::Leaved };
        if i.code() != code {
            return Err(Unsupported);
        }
        let mut misses = Vec::new();
        self.spare_flags(self.uses[n].before() != 0);
        self.load_from(n, T1, BP, &mut misses)?;
        self.move_stack(BP, self.word() as i32);
        self.a.mov(BP, T1);
        self.slow(n, misses);
        Ok(())
    }

    /// What ends a block.
    pub(super) fn control(&mut self, n: usize, i: &Instruction, op: &Op) -> Done {
        let next = self.rip_at(op.end);
        let kind = if self.wide { OpKind::NearBranch64 } else { OpKind::NearBranch32 };
        let direct = i.op_count() > 0 && i.op0_kind() == kind;
        let target = match i.near_branch_target() {
            _ if !direct => 0,
            t if self.wide => i32::try_from(t as i64).map_err(|_| Unsupported)?,
            t => t as i32,
        };
        let returns = if self.wide { [Code::Retnq, Code::Retnq_imm16] } else { [Code::Retnd, Code::Retnd_imm16] };
        match i.mnemonic() {
            Mnemonic::Jmp if direct => {
                self.go(target, Some(Branch { index: n, call: false }));
                Ok(())
            }
            Mnemonic::Call if direct => self.call(n, target, next),
            Mnemonic::Jmp if i.is_jmp_near_indirect() => self.jump_indirect(n, i, op),
            Mnemonic::Call if i.is_call_near_indirect() => self.call_indirect(n, i, op, next),
            Mnemonic::Ret if returns.contains(&i.code()) => self.ret(n, i),
            _ if i.is_jcc_short_or_near() && direct => {
                let place = self.branch_on((i.condition_code() as u8).wrapping_sub(1));
                let of = Some(Branch { index: n, call: false });
                self.leave_by(place, target, self.flags == Flags::Reg, of);
                self.go(next, None);
                Ok(())
            }
            _ => Err(Unsupported),
        }
    }

    /// A conditional jump by the guest's flags, wherever they are.
    pub(super) fn branch_on(&mut self, condition: u8) -> usize {
        let bits = match condition >> 1 {
            c @ 0..=4 => FLAG_BITS.get(usize::from(c)),
            5 => FLAG_BITS.get(5),
            _ => None,
        };
        match bits {
            Some((byte, bits)) if self.flags == Flags::Slot => {
                self.a.test_byte(Mem::state(OFFSETS.flags + byte), *bits);
                let set = condition & 1 == 0;
                self.a.jcc(if set { Cc::NotEqual as u8 } else { Cc::Equal as u8 })
            }
            _ => {
                self.need_flags();
                self.a.jcc(condition)
            }
        }
    }

    /// `call` is to call the target, which is the rest of the prediction for `back`; then what the return comes to.
    fn predicted_call(&mut self, back: i32, call: impl FnOnce(&mut Self)) {
        call(self);
        // The return left its address in T2.
        self.a.lea(RSP, Mem::base(RSP, 8));
        let page = Mem::base(T2, -back);
        if self.wide {
            self.a.lea(T2, page)
        } else {
            self.a.lea32(T2, page)
        }
        self.a.store(Mem::state(PAGE), T2);
        self.flags = Flags::Slot;
        self.go(back, None);
    }

    fn call(&mut self, n: usize, target: i32, back: i32) -> Done {
        let mut misses = Vec::new();
        let of = Some(Branch { index: n, call: true });
        self.spare_flags(true);
        self.push_return(n, &mut misses, Some(target), back)?;
        if self.single {
            self.go(target, of);
        } else {
            self.predicted_call(back, |t| {
                let place = t.a.call();
                t.call_by(place, target, of);
            });
        }
        self.slow_end(n, misses);
        Ok(())
    }

    fn ret(&mut self, n: usize, i: &Instruction) -> Done {
        let mut misses = Vec::new();
        self.spare_flags(true);
        if self.is_grouped(n) {
            self.grouped_stack(n, i)?;
        } else {
            self.load_from(n, T2, SP, &mut misses)?;
        }
        self.a.alu(Alu::Cmp, T2, Mem::base(RSP, 8));
        let jump = self.a.jcc(Cc::NotEqual as u8);
        self.drop_return(n);
        self.a.ret();
        self.cold.push(Cold::Return { jump, index: n });
        self.slow_end(n, misses);
        Ok(())
    }

    /// Takes the return address, and what RET `n` says, off the guest's stack.
    pub(super) fn drop_return(&mut self, n: usize) {
        let more = self.block.ops.get(n).map_or(0, |o| o.imm as i32);
        self.move_stack(GUEST_RSP, self.word() as i32 + more);
    }

    /// The target of an indirect branch into T2; flags are in the slot.
    fn target(&mut self, n: usize, i: &Instruction, op: &Op, misses: &mut Vec<usize>) -> Done {
        if i.op0_kind() == OpKind::Register {
            if i.op0_register().size() != self.word() {
                return Err(Unsupported);
            }
            let r = gpr(i.op0_register());
            match held(r) {
                Some(r) if self.wide => self.a.mov(T2, r),
                Some(r) => self.a.rr(false, &[0x89], r, T2),
                None => self.a.load(T2, Mem::state(register(r))),
            }
            return Ok(());
        }
        if i.memory_size().size() != self.word() {
            return Err(Unsupported);
        }
        let e = self.ea_of(i, op)?;
        let at = self.find(n, &e, self.word(), false, misses)?;
        self.load_word(T2, Mem::base(at.host, 0));
        Ok(())
    }

    fn jump_indirect(&mut self, n: usize, i: &Instruction, op: &Op) -> Done {
        let mut misses = Vec::new();
        self.spare_flags(true);
        self.target(n, i, op, &mut misses)?;
        self.lookup(n);
        enter_found(&mut self.a);
        self.slow_end(n, misses);
        Ok(())
    }

    /// The code that an indirect call goes to into T1; from here on its page counts.
    fn load_branch(&mut self) {
        self.a.load(T2, Mem::state(OFFSETS.branch));
        now_in_page(&mut self.a);
        self.a.load(T1, Mem::state(CODE));
    }

    fn call_indirect(&mut self, n: usize, i: &Instruction, op: &Op, back: i32) -> Done {
        let mut misses = Vec::new();
        self.spare_flags(true);
        self.target(n, i, op, &mut misses)?;
        self.a.store(Mem::state(OFFSETS.branch), T2);
        self.lookup(n);
        self.a.store(Mem::state(CODE), T1);
        self.push_return(n, &mut misses, None, back)?;
        if self.single {
            self.load_branch();
            self.a.jmp_reg(T1);
        } else {
            self.predicted_call(back, |t| {
                t.load_branch();
                t.a.call_reg(T1);
            });
        }
        self.slow_end(n, misses);
        Ok(())
    }
}
