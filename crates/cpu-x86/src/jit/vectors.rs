//! Vector registers in translated code: loaded into their host registers where a block first uses them, stored back
//! before anything else looks at them (handlers, the end of the block). MXCSR likewise, and only while the guest masks
//! all exceptions and has no other special wishes: then the host's own setting is the same.

use std::mem::offset_of;

use iced_x86::{Instruction, OpAccess};

use super::asm::*;
use super::translate::{Cold, OFFSETS, Translator};
use crate::fpu::{Fpu, MXCSR_RESET};

const MXCSR: i32 = offset_of!(Fpu, mxcsr) as i32;
const _: () = assert!(offset_of!(Fpu, zmm) == 0 && size_of::<[u8; 64]>() == 64);

/// How much of the registers a block's instructions may touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Width {
    /// Legacy SSE only.
    #[default]
    Xmm,
    /// VEX, and the guest has no AVX-512.
    Ymm,
    /// VEX, which zeroes the rest of ZMM registers.
    Zmm,
}

/// What is in host registers at some point of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Vectors {
    loaded: u16,
    dirty: u16,
    mxcsr: bool,
}

impl Vectors {
    fn any(self) -> bool {
        self.loaded != 0 || self.mxcsr
    }
}

fn numbers(set: u16) -> impl Iterator<Item = u8> {
    (0..16).filter(move |n| set >> n & 1 != 0)
}

impl Translator<'_> {
    /// `store`: to, else from, the array at T1.
    fn move_vector(&mut self, n: u8, store: bool) {
        let op = 0x28 | u8::from(store);
        let m = Mem::base(T1, 64 * i32::from(n));
        let high = !n >> 3 & 1;
        let prefix: &[u8] = match self.width {
            Width::Xmm => return self.a.rm(false, &[0x0F, op], n, m),
            Width::Ymm => &[0xC4, high << 7 | 0x41, 0x7C],
            Width::Zmm => &[0x62, high << 7 | 0x51, 0x7C, 0x48],
        };
        self.a.bytes(prefix);
        self.a.bytes(&[op, 0x80 | (n & 7) << 3 | T1 & 7]);
        self.a.bytes(&m.disp.to_le_bytes());
    }

    fn base(&mut self) {
        self.a.load(T1, Mem::state(OFFSETS.fpu));
    }

    /// LDMXCSR (2) or STMXCSR (3).
    fn move_mxcsr(&mut self, which: u8) {
        self.a.rm(false, &[0x0F, 0xAE], which, Mem::base(T1, MXCSR));
    }

    /// At the start of a block: leaves when its instructions cannot be run natively now.
    pub(super) fn vector_guard(&mut self, vex: bool, float: bool) {
        let mut jumps = Vec::new();
        if vex {
            self.a.byte_is_zero(Mem::state(OFFSETS.avx));
            jumps.push(self.a.jcc(Cc::Equal as u8));
        }
        if float {
            self.base();
            self.a.load32(T2, Mem::base(T1, MXCSR));
            self.a.alu_imm(false, Alu::And, T2, 0xFFC0);
            self.a.alu_imm(false, Alu::Cmp, T2, MXCSR_RESET as i32);
            jumps.push(self.a.jcc(Cc::NotEqual as u8));
        }
        if !jumps.is_empty() {
            self.cold.push(Cold::Refuse { jumps });
        }
    }

    /// Before a vector instruction: its registers are loaded. What it writes counts as dirty from here on only for what
    /// comes after it; the state before is returned.
    pub(super) fn use_vectors(&mut self, i: &Instruction, float: bool) -> u16 {
        let (mut used, mut written) = (0, 0);
        for u in self.info.info(i).used_registers() {
            let r = u.register();
            if r.is_vector_register() {
                let bit = 1u16 << (r.number() & 15);
                used |= bit;
                if !matches!(u.access(), OpAccess::Read | OpAccess::CondRead) {
                    written |= bit;
                }
            }
        }
        let missing = used & !self.vectors.loaded;
        let mxcsr = float && !self.vectors.mxcsr;
        if missing != 0 || mxcsr {
            self.base();
            numbers(missing).for_each(|n| self.move_vector(n, false));
            if mxcsr {
                self.move_mxcsr(2);
            }
        }
        self.vectors.loaded |= used;
        self.vectors.mxcsr |= float;
        written
    }

    /// After it.
    pub(super) fn wrote_vectors(&mut self, written: u16) {
        self.vectors.dirty |= written;
    }

    /// Stores what `v` says is newer in host registers than in `Cpu`. T1 is lost, EFLAGS are not.
    pub(super) fn put_vectors(&mut self, v: Vectors) {
        if v.dirty != 0 || v.mxcsr {
            self.base();
            numbers(v.dirty).for_each(|n| self.move_vector(n, true));
            if v.mxcsr {
                self.move_mxcsr(3);
            }
        }
        if v.loaded != 0 && self.width != Width::Xmm {
            self.a.bytes(&[0xC5, 0xF8, 0x77]); // vzeroupper
        }
    }

    /// Loads again what `v` says is loaded.
    pub(super) fn get_vectors(&mut self, v: Vectors) {
        if v.any() {
            self.base();
            numbers(v.loaded).for_each(|n| self.move_vector(n, false));
            if v.mxcsr {
                self.move_mxcsr(2);
            }
        }
    }

    /// Everything is in `Cpu` from here on.
    pub(super) fn flush_vectors(&mut self) {
        let v = std::mem::take(&mut self.vectors);
        self.put_vectors(v);
    }
}
