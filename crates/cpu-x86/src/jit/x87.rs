//! The x87 and MMX registers in translated code: the guest's are in the host's unit, with the guest's control word, from
//! the first block that uses them until something else runs (a handler, the run loop). Whether they are there is
//! [`Words::loaded`]; a block that uses them looks at it once.
//!
//! They are only there while the guest masks all exceptions, so that the host never sees one; else the interpreter runs
//! such instructions (FLDCW that unmasks one is left to its handler, after which the block is left).
//!
//! What the unit cannot know are the guest's instruction and data pointers (FIP, FDP, their selectors, FOP). [`Last`] is
//! what they are, while a block is translated: the words are stored at the end of the block, before what may read them, and
//! before a register changes that the data pointer is computed from; on slow paths they are stored there.
//!
//! FNINIT, FLDENV, FNSTENV, FNSAVE, FRSTOR, FXSAVE and its relatives, MOVNTQ and MASKMOVQ are left to handlers.

use std::mem::offset_of;

use iced_x86::{Code, Instruction, OpAccess, OpKind};

use super::asm::*;
use super::context::Context;
use super::translate::{Cold, Done, Ea, OFFSETS, Translator, held, register};
use super::vectors::XMM;
use crate::fpu::Fpu;
use crate::op::{Op, gpr};
use crate::simd::{self, OnStack};
use crate::state::{Cpu, Mode, Seg, SegReg};

/// What translated code and the code that is there once know of the x87 unit.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Words {
    /// Of the last instruction that is not a control instruction, where `code` says so.
    fip: u64,
    /// Its operand, or that of the last one that had one, where `data` says so.
    fdp: u64,
    /// [`CODE`] and FOP; 0: as in `Fpu`.
    code: u32,
    /// One more than the number of the operand's segment; 0: as in `Fpu`.
    data: u32,
    /// What FLDCW loads.
    control: u32,
    /// The host's control word.
    host: u16,
    /// The registers are in the host's unit.
    loaded: u8,
}

/// In [`Words::code`].
const CODE: u32 = 1 << 16;
/// The exception masks in the control word.
const MASKS: i32 = 0x3F;
/// ES and B in the status word.
const SUMMARY: u16 = 0x8080;

const WORDS: usize = offset_of!(Cpu, jit) + offset_of!(Context, x87);
const IMAGE: i32 = offset_of!(Fpu, fcw) as i32;
const VECTORS: i32 = IMAGE + 160;
const MXCSR: i32 = offset_of!(Fpu, mxcsr) as i32;
const _: () = assert!(offset_of!(Fpu, image_rest) as i32 == VECTORS && IMAGE % 64 == 0);
const _: () = assert!(offset_of!(Fpu, image_header) as i32 == IMAGE + 512);

fn word(offset: usize) -> Mem {
    Mem::state(WORDS + offset)
}

fn fpu(offset: usize) -> Mem {
    Mem::base(RSI, offset as i32)
}

/// FNSTCW (7) or FLDCW (5).
fn control_word(a: &mut Asm, which: u8, m: Mem) {
    a.rm(false, &[0xD9], which, m);
}

/// FXSAVE64 (0), FXRSTOR64 (1), XSAVE64 (4).
fn image(a: &mut Asm, which: u8, base: u8) {
    a.rm(true, &[0x0F, 0xAE], which, Mem::base(base, IMAGE));
}

/// `mov word [m], r`
fn store16(a: &mut Asm, m: Mem, r: u8) {
    a.bytes(&[0x66]);
    a.rm(false, &[0x89], r, m);
}

/// `movzx r, word [m]`
fn load16(a: &mut Asm, r: u8, m: Mem) {
    a.rm(false, &[0x0F, 0xB7], r, m);
}

/// In the selector's place: where the segment register with number `n` is.
fn selector(n: usize) -> usize {
    offset_of!(Cpu, segs) + n * size_of::<SegReg>() + offset_of!(SegReg, selector)
}

/// Stores the guest's registers and makes the unit the host's again. The guest's general registers are in `Cpu`; all but
/// RBX, RBP and R12 to R15 are lost.
pub(super) fn save_code(a: &mut Asm, xsave: bool) -> usize {
    const R8: u8 = 8;
    const R9: u8 = 9;
    const R10: u8 = 10;
    let start = a.at();
    a.load(RSI, Mem::state(OFFSETS.fpu));
    a.load(R8, fpu(offset_of!(Fpu, fip)));
    a.load(R9, fpu(offset_of!(Fpu, fdp)));
    load16(a, R10, fpu(offset_of!(Fpu, fop)));
    if xsave {
        a.imm(RAX, 1);
        a.imm(RDX, 0);
        image(a, 4, RSI);
    } else {
        a.load32(RCX, fpu(offset_of!(Fpu, mxcsr)));
        image(a, 0, RSI);
        a.store32(fpu(offset_of!(Fpu, mxcsr)), RCX);
    }
    a.bytes(&[0x0F, 0x77]); // emms
    control_word(a, 5, word(offset_of!(Words, host)));
    a.load32(RCX, word(offset_of!(Words, code)));
    a.alu_rr(false, Alu::Or, RCX, RCX);
    let no_code = a.jcc(Cc::Equal as u8);
    a.mov(R10, RCX);
    a.load(R8, word(offset_of!(Words, fip)));
    load16(a, RCX, Mem::state(selector(Seg::Cs as usize)));
    store16(a, fpu(offset_of!(Fpu, fcs)), RCX);
    a.fill_here(no_code);
    a.load32(RCX, word(offset_of!(Words, data)));
    a.alu_rr(false, Alu::Or, RCX, RCX);
    let no_data = a.jcc(Cc::Equal as u8);
    a.load(R9, word(offset_of!(Words, fdp)));
    a.rr(false, &[0x6B], RCX, RCX); // imul ecx, ecx, size
    a.bytes(&[size_of::<SegReg>() as u8]);
    let first = Mem::state(selector(0) - size_of::<SegReg>());
    load16(a, RCX, Mem { index: Some((RCX, 1)), ..first });
    store16(a, fpu(offset_of!(Fpu, fds)), RCX);
    a.fill_here(no_data);
    a.store(fpu(offset_of!(Fpu, fip)), R8);
    a.store(fpu(offset_of!(Fpu, fdp)), R9);
    store16(a, fpu(offset_of!(Fpu, fop)), R10);
    a.store_byte(word(offset_of!(Words, loaded)), 0);
    a.ret();
    start
}

/// Loads them: no ZF when that cannot be now. T1, T2 and EFLAGS are lost.
pub(super) fn load_code(a: &mut Asm) -> usize {
    let start = a.at();
    a.load(T1, Mem::state(OFFSETS.fpu));
    load16(a, T2, Mem::base(T1, IMAGE));
    a.rr(false, &[0xF7], 2, T2); // not
    a.alu_imm(false, Alu::And, T2, MASKS);
    let unmasked = a.jcc(Cc::NotEqual as u8);
    load16(a, T2, Mem::base(T1, offset_of!(Fpu, fsw) as i32));
    a.alu_imm(false, Alu::And, T2, i32::from(SUMMARY));
    let pending = a.jcc(Cc::NotEqual as u8);
    control_word(a, 7, word(offset_of!(Words, host)));
    // The image has XMM registers and MXCSR, too: as they are now.
    a.load32(T2, Mem::base(T1, MXCSR));
    a.rm(false, &[0x0F, 0xAE], 3, Mem::base(T1, MXCSR)); // stmxcsr
    for n in 0..16u8 {
        a.rm(false, &[0x0F, 0x29], n, Mem::base(T1, VECTORS + 16 * i32::from(n))); // movaps
    }
    image(a, 1, T1);
    a.store32(Mem::base(T1, MXCSR), T2);
    a.store_imm(word(offset_of!(Words, code)), 0); // and `data`
    a.store_byte(word(offset_of!(Words, loaded)), 1);
    a.alu_rr(false, Alu::Xor, T2, T2);
    a.ret();
    a.fill_here(unmasked);
    a.fill_here(pending);
    a.alu_rr(true, Alu::Or, STATE, STATE); // not zero
    a.ret();
    start
}
const _: () = assert!(offset_of!(Words, data) == offset_of!(Words, code) + 4);

/// In `exit` and `thunk`, where the guest's general registers have been stored: calls `save` when need be.
pub(super) fn put_away(a: &mut Asm, save: usize) {
    a.byte_is_zero(word(offset_of!(Words, loaded)));
    let none = a.jcc(Cc::Equal as u8);
    let call = a.call();
    a.fill(call, save);
    a.fill_here(none);
}

/// What is known of the unit while a block is translated.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stack {
    /// The registers are certainly in the host's unit.
    loaded: bool,
    /// What the pointers are; before the instruction that is being translated, and now.
    before: Last,
    now: Last,
}

/// Pointers that are not in [`Words`] yet.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    /// Where the instruction starts in the block, and FOP.
    code: Option<(u16, u16)>,
    /// Its operand and the segment.
    data: Option<(Ea, Seg)>,
}

/// What is in the host's registers at a place of the block, for slow paths to put back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loaded {
    pub(super) vectors: u8,
    stack: bool,
    last: Last,
}

/// Whether the instruction is one of those that run here.
pub(super) fn uses_stack(i: &Instruction, op: &Op, mode: Mode) -> Option<OnStack> {
    if mode.has(Mode::FPU_CHECK) { None } else { simd::on_stack(i, op) }
}

impl Translator<'_> {
    /// For the slow path of an instruction that is run by its handler.
    pub(super) fn loaded_before(&self) -> Loaded {
        Loaded { vectors: self.level, stack: self.stack.loaded, last: self.stack.before }
    }

    /// For what comes after an instruction.
    pub(super) fn loaded_now(&self) -> Loaded {
        Loaded { last: self.stack.now, ..self.loaded_before() }
    }

    /// In cold code, before something that stores the registers: the pointers. Flags are kept.
    pub(super) fn tell_pointers(&mut self, l: &Loaded) {
        self.store_last(&l.last);
    }

    /// In cold code, after a handler; flags are in the slot. It may have unmasked exceptions: the block is left at `next`.
    pub(super) fn stack_again(&mut self, l: &Loaded, next: u16) {
        if !l.stack {
            return;
        }
        let call = self.a.call();
        self.join_common(call, self.common.stack);
        let done = self.a.jcc(Cc::Equal as u8);
        self.leave_for(self.rip_at(next), self.common.refuse);
        self.a.fill_here(done);
    }

    /// Before each instruction: what has to be stored now. Flags are kept; T1 and T2 are lost.
    pub(super) fn stack_before(&mut self, i: &Instruction, op: &Op) {
        if op.is(Op::ENDS) {
            self.flush_pointers();
        } else if let Some((e, _)) = self.stack.now.data
            && self.changes(i, &e)
        {
            self.store_data();
        }
        self.stack.before = self.stack.now;
    }

    fn changes(&mut self, i: &Instruction, e: &Ea) -> bool {
        let used = self.info.info(i).used_registers();
        used.iter().any(|u| {
            let read = matches!(u.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
            let of = |r: u8| u.register().is_gpr() && gpr(u.register().full_register()) == r;
            !read && (e.base.is_some_and(of) || e.index.is_some_and(|x| of(x.0)))
        })
    }

    fn store_data(&mut self) {
        let last = Last { data: self.stack.now.data.take(), code: None };
        self.store_last(&last);
    }

    /// Stores the pointers: at the end of a block, and before a handler. Flags are kept.
    pub(super) fn flush_pointers(&mut self) {
        let last = std::mem::take(&mut self.stack.now);
        self.stack.before = Last::default();
        self.store_last(&last);
    }

    fn store_last(&mut self, last: &Last) {
        if let Some((start, fop)) = last.code {
            self.here(T2, self.rip_at(start));
            self.a.store(word(offset_of!(Words, fip)), T2);
            self.a.store_imm32(word(offset_of!(Words, code)), CODE | u32::from(fop));
        }
        if let Some((e, seg)) = last.data {
            match (e.base, e.index) {
                (Some(b), Some((x, scale))) if held(b).is_none() && held(x).is_none() => {
                    self.a.load(T1, Mem::state(register(b)));
                    self.a.load(T2, Mem::state(register(x)));
                    let m = Mem { base: Some(T1), index: Some((T2, scale)), disp: e.disp as i32 };
                    if e.narrow { self.a.lea32(T2, m) } else { self.a.lea(T2, m) }
                }
                // It was computed before, so it can be again.
                _ => drop(self.address(&e)),
            }
            self.a.store(word(offset_of!(Words, fdp)), T2);
            self.a.store_imm32(word(offset_of!(Words, data)), seg as u32 + 1);
        }
    }

    /// An instruction is left to its handler, which finds the registers in `Fpu`.
    pub(super) fn stack_away(&mut self) {
        self.flush_pointers();
        self.stack = Stack::default();
    }

    /// Before instruction `n`: the registers are there from here on.
    pub(super) fn want_stack(&mut self, n: usize) {
        if self.stack.loaded {
            return;
        }
        self.spare_flags(self.uses[n].before() != 0);
        self.a.byte_is_zero(word(offset_of!(Words, loaded)));
        let jump = self.a.jcc(Cc::Equal as u8);
        self.cold.push(Cold::Stack { jump, back: self.a.at(), index: n });
        self.stack = Stack { loaded: true, ..Stack::default() };
    }

    /// The fast copy of a loop: the registers are there, if it has use for them.
    pub(super) fn stack_in_rounds(&mut self, loaded: bool) {
        self.stack = Stack { loaded, ..Stack::default() };
    }

    /// In cold code: loads the registers, or leaves for the interpreter.
    pub(super) fn load_stack(&mut self, jump: usize, back: usize, index: usize) {
        self.a.fill_here(jump);
        let call = self.a.call();
        self.join_common(call, self.common.stack);
        let done = self.a.jcc(Cc::Equal as u8);
        self.a.fill(done, back);
        let start = self.block.ops.get(index).map_or(0, |o| o.start);
        self.leave_for(self.rip_at(start), self.common.refuse);
    }

    /// x87 and MMX.
    pub(super) fn on_stack(&mut self, n: usize, i: &Instruction, op: &Op, s: OnStack) -> Done {
        self.want_stack(n);
        if s.vectors {
            self.want_vectors(n, XMM);
        }
        if let Some(fop) = s.opcode {
            self.stack.now.code = Some((op.start, fop));
            if op.is(Op::MEM) {
                let e = Ea { seg: None, ..self.ea_of(i, op)? };
                self.stack.now.data = Some((e, s.seg));
            }
        }
        match i.code() {
            Code::Wait => Ok(()), // nothing is pending
            Code::Fldcw_m2byte => self.load_control(n, i, op),
            _ if op.is(Op::MEM) => self.access(n, i, op, s.align),
            _ => self.registers(n, i, op),
        }
    }

    /// FLDCW with all exceptions masked; else by its handler.
    fn load_control(&mut self, n: usize, i: &Instruction, op: &Op) -> Done {
        debug_assert_eq!(i.op0_kind(), OpKind::Memory);
        let e = self.ea_of(i, op)?;
        let mut misses = Vec::new();
        self.spare_flags(self.uses[n].before() != 0);
        let at = self.find(n, &e, 2, false, &mut misses)?;
        // Read once: another processor may change it.
        load16(&mut self.a, at.free, Mem::base(at.host, 0));
        self.a.store32(word(offset_of!(Words, control)), at.free);
        self.a.rr(false, &[0xF7], 2, at.free); // not
        self.a.alu_imm(false, Alu::And, at.free, MASKS);
        misses.push(self.a.jcc(Cc::NotEqual as u8));
        control_word(&mut self.a, 5, word(offset_of!(Words, control)));
        self.slow(n, misses);
        Ok(())
    }
}
