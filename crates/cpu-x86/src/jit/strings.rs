//! MOVS, STOS and LODS without a prefix, upwards (Intel SDM volume 2): boot loaders copy by them, byte by byte. With a prefix,
//! or downwards, their handler.

use std::mem::offset_of;

use iced_x86::{Code, Instruction};

use super::asm::*;
use super::translate::{Done, Ea, Found, OFFSETS, Translator, Unsupported};
use crate::flags::rflags;
use crate::op::Op;
use crate::state::{Cpu, Seg};

const SI: u8 = 6;
const DI: u8 = 7;
/// Scratch word for the element that MOVS has loaded.
const ELEMENT: usize = OFFSETS.scratch + 24;

/// Whether it loads, whether it stores, and the bytes of an element.
fn element(i: &Instruction) -> Option<(bool, bool, usize)> {
    let what = match i.code() {
        Code::Movsb_m8_m8 => (true, true, 1),
        Code::Movsw_m16_m16 => (true, true, 2),
        Code::Movsd_m32_m32 => (true, true, 4),
        Code::Movsq_m64_m64 => (true, true, 8),
        Code::Stosb_m8_AL => (false, true, 1),
        Code::Stosw_m16_AX => (false, true, 2),
        Code::Stosd_m32_EAX => (false, true, 4),
        Code::Stosq_m64_RAX => (false, true, 8),
        Code::Lodsb_AL_m8 => (true, false, 1),
        Code::Lodsw_AX_m16 => (true, false, 2),
        Code::Lodsd_EAX_m32 => (true, false, 4),
        Code::Lodsq_RAX_m64 => (true, false, 8),
        _ => return None,
    };
    (!i.has_rep_prefix() && !i.has_repne_prefix()).then_some(what)
}

/// Whether the instruction is one of those.
pub(super) fn is_single(i: &Instruction) -> bool {
    element(i).is_some()
}

impl Translator<'_> {
    /// MOVS, STOS and LODS.
    pub(super) fn single_string(&mut self, n: usize, i: &Instruction, op: &Op) -> Done {
        let (loads, stores, size) = element(i).ok_or(Unsupported)?;
        let mask = if self.wide { u64::MAX } else { u64::from(u32::MAX) };
        if op.addr_mask != mask || op.is(Op::SEG_CHECK) && !self.wide {
            return Err(Unsupported);
        }
        let seg = Some(op.seg).filter(|s| self.wide && matches!(s, Seg::Fs | Seg::Gs));
        let at = |base, seg| Ea { seg, narrow: mask != u64::MAX, ..Ea::base(base, 0) };
        let mut misses = Vec::new();
        self.spare_flags(self.uses[n].before() != 0);
        self.a.test_byte(Mem::state(offset_of!(Cpu, sysflags) + 1), (rflags::DF >> 8) as u8);
        misses.push(self.a.jcc(Cc::NotEqual as u8));
        if loads {
            let from = self.find(n, &at(SI, seg), size, false, &mut misses)?;
            let to = if stores { from.host } else { RAX };
            self.load_element(size, to, from.host, stores);
            if stores {
                self.a.store(Mem::state(ELEMENT), to);
            }
        }
        let to: Option<Found> = match stores {
            true => Some(self.find(n, &at(DI, None), size, true, &mut misses)?),
            false => None,
        };
        if let Some(to) = to {
            if loads {
                self.with_free(to, |t| {
                    t.a.load(to.free, Mem::state(ELEMENT));
                    t.store_element(size, to.host, to.free);
                });
            } else {
                self.store_element(size, to.host, RAX);
            }
        }
        for (r, moves) in [(SI, loads), (DI, stores)] {
            let past = Mem::base(r, size as i32);
            match moves {
                true if self.wide => self.a.lea(r, past),
                true => self.a.lea32(r, past),
                false => {}
            }
        }
        if let Some(to) = to {
            self.marked(n, size, None, to);
        }
        self.slow(n, misses);
        Ok(())
    }

    /// Loads what is at the host's address in `at`; `zero`: what is above it in the register may be lost.
    fn load_element(&mut self, size: usize, r: u8, at: u8, zero: bool) {
        let m = Mem::base(at, 0);
        match size {
            1 if zero => self.a.rm(false, &[0x0F, 0xB6], r, m),
            1 => self.a.rm(false, &[0x8A], r, m),
            2 if zero => self.a.rm(false, &[0x0F, 0xB7], r, m),
            2 => self.a.load16(r, m),
            4 => self.a.load32(r, m),
            _ => self.a.load(r, m),
        }
    }

    fn store_element(&mut self, size: usize, at: u8, r: u8) {
        let m = Mem::base(at, 0);
        match size {
            1 => self.a.rm(false, &[0x88], r, m),
            2 => self.a.store16(m, r),
            4 => self.a.store32(m, r),
            _ => self.a.store(m, r),
        }
    }
}
