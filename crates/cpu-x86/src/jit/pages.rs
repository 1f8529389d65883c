//! Pages found lately: a level above the software TLB for accesses that stay in one page for long, those of the stack
//! (a hit costs half of what the TLB costs) and those of loops that are one block (`rounds`).
//!
//! An entry holds for as long as no translation is dropped and the kind of accesses (privilege ...) stays: whoever enters
//! translated code, or ran a handler inside it, compares what it depends on ([`Context::forget_pages`]).

use std::mem::{offset_of, size_of};

use super::asm::*;
use super::context::Context;
use super::translate::OFFSETS;
use crate::state::Cpu;

/// Entry for accesses by RSP: a page that may be written.
pub(super) const STACK: usize = 0;
/// The same by RBP.
pub(super) const FRAME: usize = 1;
/// The first entry for loads in loops; those for stores follow.
pub(super) const LOADS: usize = 2;
/// Entries for loads in loops, and for stores.
pub(super) const SITES: usize = 12;
pub(super) const STORES: usize = LOADS + SITES;
/// All entries.
pub(crate) const PAGES: usize = STORES + SITES;
/// Access sizes, as powers of 2.
const SIZES: usize = 7;
/// The largest access.
pub(super) const LARGEST: usize = 1 << (SIZES - 1);

/// One of them.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Page {
    /// Linear address.
    start: u64,
    /// Host address.
    host: u64,
    /// From the linear address to the host's.
    delta: u64,
    /// The page's flag byte.
    flags: u64,
    /// By size: accesses at offsets below this are inside. Zero: no page.
    room: [u64; SIZES],
}

/// The offset in `Cpu` of a field of an entry.
fn field(page: usize, offset: usize) -> usize {
    offset_of!(Cpu, jit) + offset_of!(Context, pages) + page * size_of::<Page>() + offset
}

pub(super) fn start(page: usize) -> Mem {
    Mem::state(field(page, offset_of!(Page, start)))
}

pub(super) fn host(page: usize) -> Mem {
    Mem::state(field(page, offset_of!(Page, host)))
}

pub(super) fn delta(page: usize) -> Mem {
    Mem::state(field(page, offset_of!(Page, delta)))
}

pub(super) fn flags(page: usize) -> Mem {
    Mem::state(field(page, offset_of!(Page, flags)))
}

pub(super) fn room(page: usize, size: usize) -> Mem {
    let class = (size.trailing_zeros() as usize).min(SIZES - 1);
    Mem::state(field(page, offset_of!(Page, room) + 8 * class))
}

/// Code that is called with a TLB entry in T1 and the address in T2: fills the page's entry, host address into T1.
pub(super) fn fill_code(a: &mut Asm, page: usize) -> usize {
    let at = a.at();
    a.push(RCX);
    a.mov(RCX, T2);
    a.alu_imm(true, Alu::And, RCX, -4096);
    a.store(start(page), RCX);
    a.alu(Alu::Add, RCX, Mem::base(T1, OFFSETS.entry_addend as i32));
    a.store(host(page), RCX);
    a.load(RCX, Mem::base(T1, OFFSETS.entry_addend as i32));
    a.store(delta(page), RCX);
    a.load(RCX, Mem::base(T1, OFFSETS.entry_flags as i32));
    a.store(flags(page), RCX);
    for class in 0..SIZES {
        a.store_imm(room(page, 1 << class), 4097 - (1 << class));
    }
    a.pop(RCX);
    a.alu(Alu::Add, T2, Mem::base(T1, OFFSETS.entry_addend as i32));
    a.mov(T1, T2);
    a.ret();
    at
}

impl Context {
    /// Forgets the pages if what they depend on has changed: generation, table, dropped translations.
    #[inline(always)]
    pub(super) fn forget_pages(&mut self, depends: [u64; 3]) {
        if self.pages_depend != depends {
            self.pages_depend = depends;
            self.pages.iter_mut().for_each(|p| p.room = [0; SIZES]);
        }
    }
}
