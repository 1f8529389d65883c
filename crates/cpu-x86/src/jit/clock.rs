//! RDTSC and RDTSCP in translated code, where the platform's clock is one that can be read without a call (`crate::clock`):
//! the same reading as the handler's. Both wait for earlier loads, as RDTSCP has to: without that the host may read its
//! counter early, and a guest that waits for another processor without a fence would see time go back. Where it is not, or CR4.TSD is set in an outer ring, their handler.

use std::mem::offset_of;

use iced_x86::{Instruction, Mnemonic};

use super::asm::*;
use super::context::Context;
use super::translate::{Done, Translator};
use crate::clock::{HostClock, LIMIT};
use crate::state::{Cpu, Msrs, cr};

/// What translated code knows of it.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Words {
    /// Address of the clock; 0: there is none.
    clock: u64,
    /// Address of what is to be added.
    offset: u64,
}

const WORDS: usize = offset_of!(Cpu, jit) + offset_of!(Context, clock);
const AUX: usize = offset_of!(Cpu, msr) + offset_of!(Msrs, tsc_aux);

/// Whether the instruction is one of those.
pub(super) fn reads_clock(i: &Instruction) -> bool {
    matches!(i.mnemonic(), Mnemonic::Rdtsc | Mnemonic::Rdtscp)
}

impl Cpu {
    /// Before translated code is entered: whether it may read the clock. (What changes that leaves it.)
    #[inline(always)]
    pub(super) fn refresh_clock(&mut self) {
        let allowed = self.cr4 & cr::CR4_TSD == 0 || self.cpl == 0;
        self.jit.clock = match &self.counter {
            Some(c) if allowed => {
                Words { clock: std::sync::Arc::as_ptr(&c.clock) as u64, offset: c.offset.as_ptr() as u64 }
            }
            _ => Words::default(),
        };
    }
}

impl Translator<'_> {
    /// RDTSC and RDTSCP. RAX and RDX are free from the start: when the handler has to do it, it writes them.
    pub(super) fn read_clock(&mut self, n: usize, i: &Instruction) -> Done {
        let clock = |offset: usize| Mem::base(T1, offset as i32);
        let mut misses = Vec::new();
        self.spare_flags(self.uses[n].before() != 0);
        self.a.load(T1, Mem::state(WORDS + offset_of!(Words, clock)));
        self.a.alu_rr(true, Alu::Or, T1, T1);
        misses.push(self.a.jcc(Cc::Equal as u8));
        self.a.load32(T2, clock(offset_of!(HostClock, sequence)));
        self.a.bytes(&[0x41, 0xF6, 0xC0 | T2 & 7, 1]); // test r14b, 1
        misses.push(self.a.jcc(Cc::NotEqual as u8));
        const LFENCE: [u8; 3] = [0x0F, 0xAE, 0xE8];
        let before = n.checked_sub(1).and_then(|n| self.block.ops.get(n));
        if before.is_none_or(|op| self.block.bytes_of(op) != LFENCE) {
            self.a.bytes(&LFENCE);
        }
        self.a.bytes(&[0x0F, 0x31]); // rdtsc
        self.a.shift(true, 4, RDX, 32);
        self.a.alu_rr(true, Alu::Or, RAX, RDX);
        self.a.alu(Alu::Sub, RAX, clock(offset_of!(HostClock, base)));
        self.a.alu_imm(true, Alu::Cmp, RAX, LIMIT as i32);
        misses.push(self.a.jcc(Cc::AboveEqual as u8));
        self.a.rm(true, &[0x0F, 0xAF], RAX, clock(offset_of!(HostClock, rate))); // imul
        self.a.shift(true, 5, RAX, 32);
        self.a.alu(Alu::Add, RAX, clock(offset_of!(HostClock, ns)));
        self.a.rm(false, &[0x3B], T2, clock(offset_of!(HostClock, sequence))); // cmp
        misses.push(self.a.jcc(Cc::NotEqual as u8));
        self.a.load(T1, Mem::state(WORDS + offset_of!(Words, offset)));
        self.a.alu(Alu::Add, RAX, Mem::base(T1, 0));
        self.a.mov(RDX, RAX);
        self.a.shift(true, 5, RDX, 32);
        self.a.rr(false, &[0x89], RAX, RAX); // the upper half is zero
        if i.mnemonic() == Mnemonic::Rdtscp {
            self.a.load32(RCX, Mem::state(AUX));
        }
        self.slow(n, misses);
        Ok(())
    }
}
