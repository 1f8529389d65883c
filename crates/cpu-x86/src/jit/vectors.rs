//! Vector registers in translated code: the guest's are in their host registers from the first block that uses them
//! until something else runs (a handler, the run loop). Which of them are there is `Context::level`; a block that
//! uses vector registers looks at it once. MXCSR goes with them, so they are only loaded while the guest masks all
//! exceptions; else the interpreter runs such instructions.

use std::mem::offset_of;

use super::asm::*;
use super::translate::{Cold, OFFSETS, Translator};
use crate::fpu::Fpu;

const MXCSR: i32 = offset_of!(Fpu, mxcsr) as i32;
const MASK_REGISTERS: i32 = offset_of!(Fpu, k) as i32;
/// The exception masks in MXCSR.
const MASKS: i32 = 0x1F80;
const _: () = assert!(offset_of!(Fpu, zmm) == 0 && size_of::<[u8; 64]>() == 64);

/// `Context::level`: nothing is in host registers.
pub(super) const NOTHING: u8 = 0;
/// XMM registers are.
pub(super) const XMM: u8 = 1;
/// YMM (with AVX-512 in the guest's model ZMM) registers are.
pub(super) const WHOLE: u8 = 2;

/// And ZMM16 to ZMM31 and the mask registers.
pub(super) const EVERYTHING: u8 = 3;

/// How VEX instructions' registers move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// The guest has no AVX-512.
    Ymm,
    /// VEX zeroes the rest of ZMM registers.
    Zmm,
}

/// Moves one register; `store`: to, else from, the array at T1. `whole`: how, `None` for XMM.
fn move_register(a: &mut Asm, n: u8, store: bool, whole: Option<Width>) {
    let op = 0x28 | u8::from(store);
    let m = Mem::base(T1, 64 * i32::from(n));
    let (high, top) = (!n >> 3 & 1, !n >> 4 & 1);
    let prefix: &[u8] = match whole {
        None => return a.rm(false, &[0x0F, op], n, m),
        Some(Width::Ymm) => &[0xC4, high << 7 | 0x41, 0x7C],
        Some(Width::Zmm) => &[0x62, high << 7 | top << 4 | 0x41, 0x7C, 0x48],
    };
    a.bytes(prefix);
    a.bytes(&[op, 0x80 | (n & 7) << 3 | T1 & 7]);
    a.bytes(&m.disp.to_le_bytes());
}

fn move_all(a: &mut Asm, store: bool, whole: Option<Width>) {
    (0..16).for_each(|n| move_register(a, n, store, whole));
}

/// What AVX-512 has more: the upper registers and the masks (KMOVQ).
fn move_rest(a: &mut Asm, store: bool) {
    (16..32).for_each(|n| move_register(a, n, store, Some(Width::Zmm)));
    for n in 0..8u8 {
        a.bytes(&[0xC4, 0xC1, 0xF8, 0x90 | u8::from(store), 0x80 | n << 3 | T1 & 7]);
        a.bytes(&(MASK_REGISTERS + 8 * i32::from(n)).to_le_bytes());
    }
}

fn set_level(a: &mut Asm, level: u8) {
    a.store_byte(Mem::state(OFFSETS.level), level);
}

/// LDMXCSR (2) or STMXCSR (3).
fn move_mxcsr(a: &mut Asm, which: u8, m: Mem) {
    a.rm(false, &[0x0F, 0xAE], which, m);
}

/// Stores what is in host registers (the level is not 0) and makes them the host's again. T1 and EFLAGS are lost.
pub(super) fn save_code(a: &mut Asm, width: Width) -> usize {
    let start = a.at();
    a.load(T1, Mem::state(OFFSETS.fpu));
    move_mxcsr(a, 3, Mem::base(T1, MXCSR));
    move_mxcsr(a, 2, Mem::state(OFFSETS.host_mxcsr));
    a.compare_byte(Mem::state(OFFSETS.level), WHOLE);
    set_level(a, NOTHING);
    let less = a.jcc(Cc::Below as u8);
    let only = a.jcc(Cc::Equal as u8);
    if width == Width::Zmm {
        move_rest(a, true);
    }
    a.fill_here(only);
    move_all(a, true, Some(width));
    a.bytes(&[0xC5, 0xF8, 0x77]); // vzeroupper
    a.ret();
    a.fill_here(less);
    move_all(a, true, None);
    a.ret();
    start
}

/// Makes the level at least `level`: no ZF when that cannot be now. T1, T2 and EFLAGS are lost.
pub(super) fn load_code(a: &mut Asm, level: u8, width: Width, save: usize) -> usize {
    let start = a.at();
    let mut fails = Vec::new();
    if level != XMM {
        a.compare_byte(Mem::state(OFFSETS.avx), level);
        fails.push(a.jcc(Cc::Below as u8));
        a.byte_is_zero(Mem::state(OFFSETS.level));
        let none = a.jcc(Cc::Equal as u8);
        let call = a.call();
        a.fill(call, save);
        a.fill_here(none);
    }
    a.load(T1, Mem::state(OFFSETS.fpu));
    a.load32(T2, Mem::base(T1, MXCSR));
    a.rr(false, &[0xF7], 2, T2); // not
    a.alu_imm(false, Alu::And, T2, MASKS);
    fails.push(a.jcc(Cc::NotEqual as u8));
    move_mxcsr(a, 2, Mem::base(T1, MXCSR));
    move_all(a, false, (level != XMM).then_some(width));
    if level == EVERYTHING && width == Width::Zmm {
        move_rest(a, false);
    }
    set_level(a, level);
    a.ret();
    fails.into_iter().for_each(|f| a.fill_here(f));
    a.alu_rr(true, Alu::Or, STATE, STATE); // not zero
    a.ret();
    start
}

impl Translator<'_> {
    /// Before vector instruction `n`: its registers are there from here on.
    pub(super) fn want_vectors(&mut self, n: usize, level: u8) {
        if self.level >= level {
            return;
        }
        self.spare_flags(self.uses[n].before() != 0);
        self.a.compare_byte(Mem::state(OFFSETS.level), level);
        let jump = self.a.jcc(Cc::Below as u8);
        self.cold.push(Cold::Vectors { jump, back: self.a.at(), index: n, level, loaded: self.loaded_before() });
        self.level = level;
    }
}
