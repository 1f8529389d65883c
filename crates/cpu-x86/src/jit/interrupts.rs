//! CLI, STI, PUSHF and POPF of 64-bit code in ring 0, which kernels execute all the time (Intel SDM volume 2). What any of
//! them does besides changing or reading IF and the arithmetic flags is left to its handler.
//!
//! Where interrupts are enabled, the attention word is looked at: after POPF, and before STI, whose shadow covers the next
//! instruction: when nobody wants the processor then, somebody who does later is noticed as at any other time; else the STI is
//! left to its handler.

use std::mem::offset_of;

use iced_x86::{Code, Instruction};

use super::asm::*;
use super::translate::{Cold, Done, Ea, OFFSETS, Translator, Unsupported};
use crate::bus::Attention;
use crate::flags::rflags::{AC, ARITH, DF, ID, IF, IOPL, NT, ONE, RF, TF, VIF, VIP, VM};
use crate::state::{Cpu, Mode};

const SYSFLAGS: usize = offset_of!(Cpu, sysflags);
const CPL: usize = offset_of!(Cpu, cpl);
const SP: u8 = 4;
/// The bits of the attention word that matter while IF is clear.
const UNMASKABLE: u32 = !(Attention::INTR | Attention::INTR_WINDOW);
/// What POPF changes and is not done here.
const OTHERS: u64 = TF | DF | NT | RF | AC | ID | IOPL | VIF | VIP;
const LAHF: i32 = 0xD5;

/// Whether it is one of these instructions.
pub(super) fn is_known(i: &Instruction, mode: Mode) -> bool {
    let known = matches!(i.code(), Code::Cli | Code::Sti | Code::Pushfq | Code::Popfq);
    known && mode.has(Mode::CODE64) && !mode.has(Mode::USER)
}

impl Translator<'_> {
    /// One of them.
    pub(super) fn interrupt_flag(&mut self, n: usize, i: &Instruction) -> Done {
        let mut misses = Vec::new();
        let enables = matches!(i.code(), Code::Sti | Code::Popfq);
        if enables && self.single {
            return Err(Unsupported); // to be compared, it must not leave
        }
        self.spare_flags(true);
        self.a.compare_byte(Mem::state(CPL), 0);
        misses.push(self.a.jcc(Cc::NotEqual as u8));
        match i.code() {
            Code::Cli => {
                self.a.rm(true, &[0x81], Alu::And as u8, Mem::state(SYSFLAGS));
                self.a.bytes(&(!IF as u32).to_le_bytes());
                self.a.store_imm32(Mem::state(OFFSETS.attention_mask), UNMASKABLE);
            }
            Code::Sti => {
                self.a.load(T1, Mem::state(OFFSETS.attention));
                self.a.rm(false, &[0x83], Alu::Cmp as u8, Mem::base(T1, 0));
                self.a.bytes(&[0]);
                misses.push(self.a.jcc(Cc::NotEqual as u8));
                self.a.rm(true, &[0x81], Alu::Or as u8, Mem::state(SYSFLAGS));
                self.a.bytes(&(IF as u32).to_le_bytes());
                self.a.store_imm32(Mem::state(OFFSETS.attention_mask), u32::MAX);
            }
            Code::Pushfq => self.pushf(n, &mut misses)?,
            _ => self.popf(n, &mut misses)?,
        }
        self.slow(n, misses);
        Ok(())
    }

    fn pushf(&mut self, n: usize, misses: &mut Vec<usize>) -> Done {
        let image = Mem::state(OFFSETS.scratch + 16);
        self.a.rm(false, &[0x0F, 0xB7], T1, Mem::state(OFFSETS.flags)); // movzx
        self.a.mov(T2, T1);
        self.a.shift(false, 5, T1, 8);
        self.a.alu_imm(false, Alu::And, T1, LAHF);
        self.a.alu_imm(false, Alu::And, T2, 1);
        self.a.shift(false, 4, T2, 11);
        self.a.alu_rr(false, Alu::Or, T1, T2);
        self.a.load(T2, Mem::state(SYSFLAGS));
        self.a.alu_imm(true, Alu::And, T2, !(RF | VM) as i32);
        self.a.alu_rr(true, Alu::Or, T1, T2);
        self.a.alu_imm(false, Alu::Or, T1, ONE as i32);
        self.a.store(image, T1);
        self.push(n, misses, None, |t, to| {
            t.with_free(to, |t| {
                t.a.load(to.free, image);
                t.a.store(Mem::base(to.host, 0), to.free);
            });
        })
    }

    fn popf(&mut self, n: usize, misses: &mut Vec<usize>) -> Done {
        let at = self.find(n, &Ea::base(SP, 0), 8, false, misses)?;
        self.a.load(T2, Mem::base(at.host, 0));
        self.a.load(T1, Mem::state(SYSFLAGS));
        self.a.alu_rr(false, Alu::Xor, T1, T2);
        self.a.rr(false, &[0xF7], 0, T1); // test
        self.a.bytes(&(OTHERS as u32).to_le_bytes());
        misses.push(self.a.jcc(Cc::NotEqual as u8));
        self.a.lea(GUEST_RSP, Mem::base(GUEST_RSP, 8));
        // IF, and what it makes of the attention word.
        self.a.mov(T1, T2);
        self.a.alu_imm(false, Alu::And, T1, IF as i32);
        self.a.rm(true, &[0x81], Alu::And as u8, Mem::state(SYSFLAGS));
        self.a.bytes(&(!IF as u32).to_le_bytes());
        self.a.rm(true, &[0x09], T1, Mem::state(SYSFLAGS)); // or
        self.a.shift(false, 5, T1, IF.trailing_zeros() as u8);
        self.a.rr(false, &[0xF7], 3, T1); // neg
        self.a.alu_imm(false, Alu::Or, T1, UNMASKABLE as i32);
        self.a.store32(Mem::state(OFFSETS.attention_mask), T1);
        // The arithmetic flags.
        self.a.mov(T1, T2);
        self.a.alu_imm(false, Alu::And, T1, LAHF);
        self.a.shift(false, 4, T1, 8);
        self.a.shift(false, 5, T2, 11);
        self.a.alu_imm(false, Alu::And, T2, 1);
        self.a.alu_rr(false, Alu::Or, T1, T2);
        self.a.store16(Mem::state(OFFSETS.flags), T1);
        self.flush_pointers();
        self.look(n);
        Ok(())
    }

    /// After instruction `n`: leaves when somebody wants this processor. Flags are in the slot.
    pub(super) fn look(&mut self, n: usize) {
        self.a.load(T1, Mem::state(OFFSETS.attention));
        self.a.load32(T2, Mem::state(OFFSETS.attention_mask));
        self.a.rm(false, &[0x85], T2, Mem::base(T1, 0)); // test
        let jump = self.a.jcc(Cc::NotEqual as u8);
        let end = self.block.ops.get(n).map_or(0, |op| op.end);
        self.cold.push(Cold::LeaveAfter { jump, target: self.rip_at(end) });
    }
}

const _: () = assert!(ARITH == LAHF as u64 | 1 << 11);
