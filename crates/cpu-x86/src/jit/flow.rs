//! Stack instructions and control transfer in 64-bit code.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::asm::*;
use super::translate::{Cold, Done, Ea, Flags, OFFSETS, Translator, Unsupported, held, register};
use super::vectors::Vectors;
use crate::op::{Op, gpr};

const SP: u8 = 4;
const BP: u8 = 5;
/// Scratch word for the code a call goes to.
const CODE: usize = OFFSETS.scratch + 16;

impl Translator<'_> {
    /// PUSH and POP of 64-bit registers and immediates, LEAVE.
    pub(super) fn stack(&mut self, n: usize, i: &Instruction) -> Done {
        if i.mnemonic() == Mnemonic::Leave {
            return self.leave(n, i);
        }
        if i.stack_pointer_increment().unsigned_abs() != 8 || i.op0_kind() == OpKind::Memory {
            return Err(Unsupported);
        }
        let mut misses = Vec::new();
        self.spare_flags(self.uses[n].before() != 0);
        if i.mnemonic() == Mnemonic::Pop {
            let to = gpr(i.op0_register());
            self.check(&Ea::base(SP, 0), 8, false, &mut misses)?;
            self.a.load(T1, Mem::base(T1, OFFSETS.entry_addend as i32));
            let m = Mem { base: Some(GUEST_RSP), index: Some((T1, 1)), disp: 0 };
            self.a.load(held(to).unwrap_or(T1), m);
            if to != SP {
                self.a.lea(GUEST_RSP, Mem::base(GUEST_RSP, 8));
            }
            if held(to).is_none() {
                self.a.store(Mem::state(register(to)), T1);
            }
        } else if i.op0_kind() == OpKind::Register {
            let from = gpr(i.op0_register());
            self.push(n, &mut misses, None, |t| match held(from) {
                Some(r) => t.a.store(Mem::base(T2, 0), r),
                None => t.with_t1(|t| {
                    t.a.load(T1, Mem::state(register(from)));
                    t.a.store(Mem::base(T2, 0), T1);
                }),
            })?;
        } else {
            let v = i32::try_from(i.immediate(0) as i64).map_err(|_| Unsupported)?;
            self.push(n, &mut misses, None, |t| t.a.store_imm(Mem::base(T2, 0), v))?;
        }
        self.slow(n, misses);
        Ok(())
    }

    /// Uses T1 for something else.
    fn with_t1(&mut self, f: impl FnOnce(&mut Self)) {
        let keep = Mem::state(OFFSETS.scratch);
        self.a.store(keep, T1);
        f(self);
        self.a.load(T1, keep);
    }

    /// Pushes what `store` stores at T2. Flags are in the slot.
    fn push(&mut self, n: usize, misses: &mut Vec<usize>, branch: Option<u64>, store: impl FnOnce(&mut Self)) -> Done {
        let e = Ea::base(SP, -8);
        self.check(&e, 8, true, misses)?;
        self.host(&e)?;
        store(self);
        self.a.lea(GUEST_RSP, Mem::base(GUEST_RSP, -8));
        self.marked(n, 8, branch);
        Ok(())
    }

    fn leave(&mut self, n: usize, i: &Instruction) -> Done {
        if i.stack_pointer_increment() != 0 && i.code() != iced_x86::Code::Leaveq {
            return Err(Unsupported);
        }
        let mut misses = Vec::new();
        self.spare_flags(self.uses[n].before() != 0);
        self.check(&Ea::base(BP, 0), 8, false, &mut misses)?;
        self.a.load(T1, Mem::base(T1, OFFSETS.entry_addend as i32));
        self.a.load(T1, Mem { base: Some(BP), index: Some((T1, 1)), disp: 0 });
        self.a.lea(GUEST_RSP, Mem::base(BP, 8));
        self.a.mov(BP, T1);
        self.slow(n, misses);
        Ok(())
    }

    /// What ends a block.
    pub(super) fn control(&mut self, n: usize, i: &Instruction, op: &Op) -> Done {
        let next = self.block.key.rip.wrapping_add(u64::from(op.end));
        let direct = i.op_count() > 0 && i.op0_kind() == OpKind::NearBranch64;
        if direct && !crate::int::canonical(i.near_branch_target()) {
            return Err(Unsupported);
        }
        match i.mnemonic() {
            Mnemonic::Jmp if direct => {
                self.go(i.near_branch_target());
                Ok(())
            }
            Mnemonic::Call if direct => self.call(n, i.near_branch_target(), next),
            Mnemonic::Jmp if i.is_jmp_near_indirect() => self.jump_indirect(n, i, op),
            Mnemonic::Call if i.is_call_near_indirect() => self.call_indirect(n, i, op, next),
            Mnemonic::Ret if matches!(i.code(), iced_x86::Code::Retnq | iced_x86::Code::Retnq_imm16) => self.ret(op),
            _ if i.is_jcc_short_or_near() && direct => {
                self.need_flags();
                let reg = self.flags == Flags::Reg;
                let place = self.a.jcc((i.condition_code() as u8).wrapping_sub(1));
                self.leave_by(place, i.near_branch_target(), reg);
                self.go(next);
                Ok(())
            }
            _ => Err(Unsupported),
        }
    }

    fn push_return(&mut self, n: usize, misses: &mut Vec<usize>, branch: Option<u64>, back: u64) -> Done {
        self.push(n, misses, branch, |t| match i32::try_from(back as i64) {
            Ok(v) => t.a.store_imm(Mem::base(T2, 0), v),
            Err(_) => t.with_t1(|t| {
                t.a.imm(T1, back);
                t.a.store(Mem::base(T2, 0), T1);
            }),
        })
    }

    fn call(&mut self, n: usize, target: u64, back: u64) -> Done {
        let mut misses = Vec::new();
        self.spare_flags(true);
        self.push_return(n, &mut misses, Some(target), back)?;
        self.go(target);
        self.cold.push(Cold::Op { jumps: misses, back: None, index: n, restore: false, vectors: Vectors::default() });
        Ok(())
    }

    fn ret(&mut self, op: &Op) -> Done {
        let n = self.block.ops.len() - 1;
        let mut misses = Vec::new();
        self.spare_flags(true);
        self.check(&Ea::base(SP, 0), 8, false, &mut misses)?;
        self.a.load(T1, Mem::base(T1, OFFSETS.entry_addend as i32));
        self.a.load(T2, Mem { base: Some(GUEST_RSP), index: Some((T1, 1)), disp: 0 });
        misses.push(self.lookup());
        self.a.lea(GUEST_RSP, Mem::base(GUEST_RSP, 8 + op.imm as i32));
        self.a.jmp_reg(T1);
        self.cold.push(Cold::Op { jumps: misses, back: None, index: n, restore: false, vectors: Vectors::default() });
        Ok(())
    }

    /// The target of an indirect branch into T2; flags are in the slot.
    fn target(&mut self, i: &Instruction, op: &Op, misses: &mut Vec<usize>) -> Done {
        if i.op0_kind() == OpKind::Register {
            let r = gpr(i.op0_register());
            match held(r) {
                Some(r) => self.a.mov(T2, r),
                None => self.a.load(T2, Mem::state(register(r))),
            }
            return Ok(());
        }
        if i.memory_size().size() != 8 {
            return Err(Unsupported);
        }
        let e = self.ea_of(i, op)?;
        self.check(&e, 8, false, misses)?;
        self.host(&e)?;
        self.a.load(T2, Mem::base(T2, 0));
        Ok(())
    }

    fn jump_indirect(&mut self, n: usize, i: &Instruction, op: &Op) -> Done {
        let mut misses = Vec::new();
        self.spare_flags(true);
        self.target(i, op, &mut misses)?;
        misses.push(self.lookup());
        self.a.jmp_reg(T1);
        self.cold.push(Cold::Op { jumps: misses, back: None, index: n, restore: false, vectors: Vectors::default() });
        Ok(())
    }

    fn call_indirect(&mut self, n: usize, i: &Instruction, op: &Op, back: u64) -> Done {
        let mut misses = Vec::new();
        self.spare_flags(true);
        self.target(i, op, &mut misses)?;
        self.a.store(Mem::state(OFFSETS.branch), T2);
        misses.push(self.lookup());
        self.a.store(Mem::state(CODE), T1);
        self.push_return(n, &mut misses, None, back)?;
        self.a.load(T1, Mem::state(CODE));
        self.a.jmp_reg(T1);
        self.cold.push(Cold::Op { jumps: misses, back: None, index: n, restore: false, vectors: Vectors::default() });
        Ok(())
    }
}
