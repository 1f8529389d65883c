//! Pages found lately, by place in the code: a level above the software TLB. Each access of translated code has an entry
//! (a *site*) with the page that it found last; those by RSP share some. A hit costs half of what the TLB costs, and
//! the host's address does not wait for it: it is the guest's plus a number that is read from the site.
//!
//! A site holds for as long as no translation of its page is dropped and what the TLB says is for the same address space (`Tlb::space`: users'
//! accesses and the supervisor's have each their own, since global pages stay). Whoever enters translated code, or ran a handler inside it, compares
//! that ([`Context::forget_sites`]), and empties the sites that code of this privilege filled since; who drops a translation leaves translated code, and the sites of its page are emptied before that is
//! entered again ([`Context::drop_page`]). Privilege and mode are the block's, so they need not be compared; RFLAGS.AC with SMAP is no part of the
//! mode, so nothing is kept of what is found while it is set.
//!
//! An access that finds another page almost every time (it *roams*) is better off with the TLB alone. When fills follow
//! each other fast, those of each site are counted; when they are only frequent, those that bring back a page which the
//! site had lately. What is counted [`ROAMING`] times before the next change of address space becomes a jump to code that asks the TLB.
//! Soon afterwards its block is translated again, without the site (`Engine::settle`); but a load that is done so often that
//! [`SAMPLES`] pages are noted within `engine::PATIENCE` asks for a range of pages (`ranges`), and has its site back when it gets one.
//!
//! Branches to other pages have sites too: the linear address of the page that they were found to lead to.
//!
//! A site is filled by common code (`page_code`), which the slow path of its access calls with the site's number and the access's size.
//!
//! Sites lie near the code, so that it can address them relative to RIP.

use std::collections::BTreeSet;
use std::mem::{offset_of, size_of};

use super::asm::*;
use super::context::Context;
use super::groups::SPAN;
use super::ranges::{RANGES, Range};
use super::translate::{Ea, OFFSETS, TLB_MASK, Translator};
use crate::bus::Attention;
use crate::code_memory::{CodeMemory, NearMemory};
use crate::state::{Cpu, Mode};
use crate::tlb::Dropped;

/// There are so many.
pub(super) const SITES: usize = 768 << 10;
/// Access sizes, as powers of 2.
const SIZES: usize = 7;
/// The largest access.
pub(super) const LARGEST: usize = 1 << (SIZES - 1);
/// Sizes of groups of accesses by RSP, as powers of 2.
const GROUP_SIZES: usize = SPAN.trailing_zeros() as usize + 1;
/// The first sites are for accesses by RSP: by privilege, direction and size; single ones and groups.
pub(super) const SHARED: usize = 4 * (SIZES + GROUP_SIZES);
/// No page's address.
const NO_PAGE: u64 = 1;
/// So many fills while fills are fast, and a site roams.
const ROAMING: u8 = 32;
/// Lists of sites, by hash of their page.
const LISTS: usize = 1 << 12;
/// Members of all lists; when more than half of them are in use, all sites are emptied.
const MEMBERS: usize = 1 << 18;
/// Bytes of the jump to code that asks the TLB.
pub(super) const JUMP: usize = 5;
/// Sites that are remembered as roaming until their blocks are translated again.
const LIST: usize = 64;
/// Fills are fast when the host's TSC counts less in 256 of them.
const FAST: i32 = 256 * 150;
/// They are frequent when it counts less than this.
const FREQUENT: i32 = 256 * 2000;

const SP: u8 = 4;

/// One of them.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Site {
    /// Linear address of the page; 1 for none.
    start: u64,
    /// Accesses at offsets below this are inside. Zero: no page.
    room: u64,
    /// From the linear address to the host's. Of a branch: the code version counter of the page that it is linked to.
    delta: u64,
    /// The page's flag byte.
    flags: u64,
}

const SITE: usize = size_of::<Site>();
/// Bits of a site's number.
const SITE_BITS: u8 = 20;
/// Bytes of all.
pub(super) const BYTES: usize = SITES * SITE;
/// Bytes of what is rarely used of them, behind that.
const MORE_BYTES: usize = SITES * size_of::<More>();

/// What is rarely used of a site.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct More {
    /// Fills that speak for roaming, modulo 256. While it roams, and may have a range: pages noted.
    misses: u8,
    /// The range that fills take as long as it holds.
    range: u16,
    /// Offsets in the buffer: of the code that is to become a jump when it roams (0: never; with [`ASKS`]: it may have a range),
    /// and where to.
    at: u32,
    to: u32,
    /// Pages that it had lately: bits by their number, forgotten now and then. While it roams, and may have a range: accesses until
    /// its page is noted.
    lately: u32,
}

/// Accesses of a site that roams from one page that is noted to the next.
const SAMPLE: u32 = 256;
/// So many pages are noted before it asks for a range.
const SAMPLES: u8 = 16;
/// Pages noted of all sites: the last of them. A power of 2.
const NOTED: usize = 1024;
/// See [`More::at`].
const ASKS: u32 = 1 << 31;

/// That a site was filled with a page of a list.
#[derive(Clone, Copy)]
#[repr(C)]
struct Member {
    site: u32,
    /// The member that was added before it, plus one.
    before: u32,
}

/// A page that a site was at while it roamed.
#[derive(Clone, Copy)]
#[repr(C)]
struct Sample {
    page: u64,
    site: u64,
}

/// In `Cpu`: which site is to be filled (its offset among the sites), and its `room`.
const WHICH: usize = OFFSETS.scratch + 32;
const ROOM: usize = OFFSETS.scratch + 40;

const fn in_context(offset: usize) -> usize {
    offset_of!(Cpu, jit) + offset
}

/// Those of one privilege that were filled.
#[derive(Debug)]
#[repr(C)]
struct Filled {
    /// Of `MEMBERS`, and how many of them are in use.
    members: *mut Member,
    used: u32,
    /// Of `LISTS`: the last member of each, plus one.
    lists: *mut u32,
    /// What they are for: `Tlb::space`.
    space: u64,
}

impl Default for Filled {
    fn default() -> Self {
        Self { members: std::ptr::null_mut(), used: 0, lists: std::ptr::null_mut(), space: 0 }
    }
}

/// What translated code and [`Context`] know of the sites.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Sites {
    /// The writable view.
    first: *mut u8,
    more: *mut More,
    /// Where code can be written.
    code: *mut u8,
    /// Those of the privilege that code has now.
    filled: Filled,
    /// Those of the other.
    others: Filled,
    /// That is CPL 3.
    user: bool,
    /// Of `RANGES`.
    ranges: *mut Range,
    /// Of `NOTED`, and how many were noted.
    samples: *mut Sample,
    noted: u32,
    /// Pages may be kept.
    keep: u8,
    /// Fills follow each other fast.
    fast: u8,
    /// Fills are frequent.
    frequent: u8,
    /// Sites that began to roam, and which these were (the last of them).
    roamed: u32,
    which: [u32; LIST],
    /// Fills, and the lower half of the TSC at the last multiple of 256.
    fills: u32,
    when: u32,
}

impl Default for Sites {
    fn default() -> Self {
        let nowhere = std::ptr::null_mut();
        Self {
            first: nowhere,
            more: std::ptr::null_mut(),
            code: nowhere,
            filled: Filled::default(),
            others: Filled::default(),
            user: false,
            ranges: std::ptr::null_mut(),
            samples: std::ptr::null_mut(),
            noted: 0,
            keep: 0,
            fast: 0,
            frequent: 0,
            roamed: 0,
            which: [0; LIST],
            fills: 0,
            when: 0,
        }
    }
}

const AT: usize = in_context(offset_of!(Context, sites));

fn ours(offset: usize) -> Mem {
    Mem::state(AT + offset)
}

/// Puts the site that the scratch words name on the list of the page at the address in T2; RCX is the site then. The jump is
/// taken when there is no room. RAX, RDX and T1 are lost.
fn enlist(a: &mut Asm) -> usize {
    a.load32(T1, ours(offset_of!(Sites, filled.used)));
    a.alu_imm(false, Alu::Cmp, T1, MEMBERS as i32);
    let full = a.jcc(Cc::AboveEqual as u8);
    a.lea32(RAX, Mem::base(T1, 1));
    a.store32(ours(offset_of!(Sites, filled.used)), RAX);
    a.shift(true, 4, T1, size_of::<Member>().trailing_zeros() as u8);
    a.alu(Alu::Add, T1, ours(offset_of!(Sites, filled.members)));
    a.mov(RDX, T2);
    a.shift(true, 5, RDX, 12);
    a.alu_imm(false, Alu::And, RDX, LISTS as i32 - 1);
    a.shift(true, 4, RDX, 2);
    a.alu(Alu::Add, RDX, ours(offset_of!(Sites, filled.lists)));
    a.load32(RCX, Mem::base(RDX, 0));
    a.store32(Mem::base(T1, offset_of!(Member, before) as i32), RCX);
    a.store32(Mem::base(RDX, 0), RAX);
    a.load(RCX, Mem::state(WHICH));
    a.shift(true, 5, RCX, SITE.trailing_zeros() as u8);
    a.store32(Mem::base(T1, offset_of!(Member, site) as i32), RCX);
    full
}

/// The site that the scratch words name into RCX.
fn which(a: &mut Asm) {
    a.load(RCX, Mem::state(WHICH));
    a.alu(Alu::Add, RCX, ours(offset_of!(Sites, first)));
}

/// `More` of the site that the scratch words name into `r`.
fn more_of(a: &mut Asm, r: u8) {
    const _: () = assert!(SITE == 2 * size_of::<More>());
    a.load(r, Mem::state(WHICH));
    a.shift(true, 5, r, 1);
    a.alu(Alu::Add, r, ours(offset_of!(Sites, more)));
}

const fn of_site(offset: usize) -> Mem {
    Mem { base: Some(RCX), index: None, disp: offset as i32 }
}

/// The range of the site in RCX, if it holds and has the page in T2: its first page into T2, and what the site needs of it into the
/// site and the scratch words; else to one of the jumps. RAX, RDX and T1 are lost.
fn take_range(a: &mut Asm) -> [usize; 3] {
    let range = |offset: usize| Mem::base(RAX, offset as i32);
    more_of(a, T1);
    a.rm(false, &[0x0F, 0xB7], RAX, Mem::base(T1, offset_of!(More, range) as i32)); // movzx eax, word
    a.alu_rr(false, Alu::Or, RAX, RAX);
    let none = a.jcc(Cc::Equal as u8);
    a.shift(false, 4, RAX, size_of::<Range>().trailing_zeros() as u8);
    a.alu(Alu::Add, RAX, ours(offset_of!(Sites, ranges)));
    a.load(RDX, ours(offset_of!(Sites, filled.space)));
    a.alu(Alu::Cmp, RDX, range(offset_of!(Range, space)));
    let other = a.jcc(Cc::NotEqual as u8);
    a.mov(RDX, T2);
    a.alu(Alu::Sub, RDX, range(offset_of!(Range, start)));
    a.load(T1, range(offset_of!(Range, bytes)));
    a.alu_rr(true, Alu::Cmp, RDX, T1);
    let outside = a.jcc(Cc::AboveEqual as u8);
    // What is less room than a page has is less room than these have.
    a.alu_imm(true, Alu::Sub, T1, 4096);
    a.alu(Alu::Add, T1, Mem::state(ROOM));
    a.store(Mem::state(ROOM), T1);
    a.load(RDX, range(offset_of!(Range, delta)));
    a.store(of_site(offset_of!(Site, delta)), RDX);
    a.load(T2, range(offset_of!(Range, start)));
    a.store(of_site(offset_of!(Site, start)), T2);
    [none, other, outside]
}

/// How code names a site and the size of an access to common code: in one constant.
pub(super) fn packed(site: usize, size: usize) -> u64 {
    const _: () = assert!(SITES <= 1 << SITE_BITS && (SPAN - 1) << SITE_BITS <= i32::MAX as usize);
    (site | (size - 1) << SITE_BITS) as u64
}

/// Takes what [`packed`] gave from T2: the scratch words name the site, which is in RCX, `More` of it in RDX, the size less one
/// in RAX. T2 is lost.
fn named(a: &mut Asm) {
    a.rr(false, &[0x89], T2, RAX); // mov eax, r14d
    a.shift(false, 5, RAX, SITE_BITS);
    a.alu_imm(false, Alu::And, T2, (1 << SITE_BITS) - 1);
    a.shift(false, 4, T2, SITE.trailing_zeros() as u8);
    a.store(Mem::state(WHICH), T2);
    more_of(a, RDX);
    // What the TLB says comes first, but both are far away.
    a.rm(false, &[0x0F, 0x18], 1, Mem::base(RDX, 0)); // prefetcht0
    a.imm(RCX, 4096);
    a.rr(false, &[0x29], RAX, RCX); // sub ecx, eax
    a.store(Mem::state(ROOM), RCX);
    which(a);
}

/// The entry for the page of the address in T1 in the TLB table that `Cpu` has at `table` into RDX.
fn slot(a: &mut Asm, table: usize) {
    a.mov(RDX, T1);
    a.shift(true, 5, RDX, 6);
    a.alu_imm(false, Alu::And, RDX, TLB_MASK);
    a.alu(Alu::Add, RDX, Mem::state(table));
}

/// The TLB's entry for the address in T1, RAX more bytes of the same page being accessed, into RDX, and its tag into T2; the jump is taken
/// when it has none.
fn ask_tlb(a: &mut Asm, write: bool) -> usize {
    a.lea(T2, Mem { base: Some(T1), index: Some((RAX, 1)), disp: 0 });
    slot(a, OFFSETS.data);
    a.alu_imm(true, Alu::And, T2, -4096);
    a.alu(Alu::Or, T2, Mem::state(OFFSETS.generation));
    let tag = if write { OFFSETS.entry_write } else { OFFSETS.entry_read };
    a.alu(Alu::Cmp, T2, Mem::base(RDX, tag as i32));
    a.jcc(Cc::NotEqual as u8)
}

fn save(a: &mut Asm) {
    [RAX, RCX, RDX].into_iter().for_each(|r| a.push(r));
}

/// Returns, flags untouched.
fn restored(a: &mut Asm) {
    [RDX, RCX, RAX].into_iter().for_each(|r| a.pop(r));
    a.ret();
}

/// Returns with ZF; what comes next (from `miss`) returns without it.
fn returns(a: &mut Asm, miss: &[usize]) {
    a.alu_rr(false, Alu::Cmp, RAX, RAX);
    restored(a);
    miss.iter().for_each(|j| a.fill_here(*j));
    restored(a);
}

/// Called with an address in T1, from the start of a site, and [`packed`] in T2, when that is not inside: fills the site. ZF: T1 is from its
/// start now, T2 the address. Else the TLB does not have it, and both are lost.
pub(super) fn page_code(a: &mut Asm, write: bool) -> usize {
    let at = a.at();
    save(a);
    named(a);
    a.alu(Alu::Add, T1, of_site(offset_of!(Site, start)));
    let miss = ask_tlb(a, write);
    a.push(T1);
    a.alu_imm(true, Alu::And, T2, -4096);
    a.store(of_site(offset_of!(Site, start)), T2);
    a.load(RAX, Mem::base(RDX, OFFSETS.entry_addend as i32));
    a.store(of_site(offset_of!(Site, delta)), RAX);
    a.load(RAX, Mem::base(RDX, OFFSETS.entry_flags as i32));
    a.store(of_site(offset_of!(Site, flags)), RAX);
    // What may not be kept is used once.
    a.store_imm(of_site(offset_of!(Site, room)), 0);
    a.byte_is_zero(ours(offset_of!(Sites, keep)));
    let once = a.jcc(Cc::Equal as u8);
    let no_range = take_range(a);
    let none_left = fill_room(a);
    let ranged = a.jmp();
    no_range.into_iter().for_each(|j| a.fill_here(j));
    let full = fill_room(a);
    more_of(a, T1);
    count_fill(a);
    [once, none_left, ranged, full].into_iter().for_each(|j| a.fill_here(j));
    which(a);
    a.pop(T2);
    a.mov(T1, T2);
    a.alu(Alu::Sub, T1, of_site(offset_of!(Site, start)));
    returns(a, &[miss]);
    at
}

/// Called with an address in T2 and [`packed`] in T1, of a site that roams: the site says what the TLB does, for once; loads are counted. ZF:
/// T1 and T2 are the address. Else the TLB does not have it, and both are lost.
pub(super) fn roam_code(a: &mut Asm, write: bool, sample: usize) -> usize {
    let at = a.at();
    save(a);
    a.rr(true, &[0x87], T1, T2); // xchg
    named(a);
    if !write {
        a.rm(false, &[0xFF], 1, Mem::base(RDX, offset_of!(More, lately) as i32)); // dec
        let few = a.jcc(Cc::NotEqual as u8);
        a.push(T1);
        a.mov(T2, T1);
        a.load(T1, Mem::state(WHICH));
        a.shift(true, 5, T1, SITE.trailing_zeros() as u8);
        let call = a.call();
        a.fill(call, sample);
        a.pop(T1);
        a.fill_here(few);
    }
    let miss = ask_tlb(a, write);
    a.load(RAX, Mem::base(RDX, OFFSETS.entry_addend as i32));
    a.store(of_site(offset_of!(Site, delta)), RAX);
    // Which is not what its page has, should it be looked at again.
    a.store_imm(of_site(offset_of!(Site, room)), 0);
    if write {
        a.load(RAX, Mem::base(RDX, OFFSETS.entry_flags as i32));
        a.store(of_site(offset_of!(Site, flags)), RAX);
    }
    a.mov(T2, T1);
    returns(a, &[miss]);
    at
}

/// The site has what it was filled with, and is on the list of the page in T2; the jump is taken when there is no room, so that it
/// is used once.
fn fill_room(a: &mut Asm) -> usize {
    let full = enlist(a);
    which(a);
    a.load(RAX, Mem::state(ROOM));
    a.store(of_site(offset_of!(Site, room)), RAX);
    full
}

/// Called with the linear address of a page in T1 and the number of a branch's site in T2. ZF: the page is the one that the
/// branch was linked to, and the site has it. Else T2 is lost.
pub(super) fn far_code(a: &mut Asm) -> usize {
    let at = a.at();
    save(a);
    a.shift(false, 4, T2, SITE.trailing_zeros() as u8);
    a.store(Mem::state(WHICH), T2);
    which(a);
    slot(a, OFFSETS.exec);
    a.mov(RAX, T1);
    a.alu(Alu::Or, RAX, Mem::state(OFFSETS.generation));
    a.alu(Alu::Cmp, RAX, Mem::base(RDX, OFFSETS.entry_exec as i32));
    let unknown = a.jcc(Cc::NotEqual as u8);
    a.load(RAX, of_site(offset_of!(Site, delta)));
    a.alu(Alu::Cmp, RAX, Mem::base(RDX, OFFSETS.entry_version as i32));
    let other = a.jcc(Cc::NotEqual as u8);
    a.store_imm(of_site(offset_of!(Site, start)), NO_PAGE as i32);
    a.mov(T2, T1);
    let full = enlist(a);
    which(a);
    a.store(of_site(offset_of!(Site, start)), T2);
    a.fill_here(full);
    a.mov(T1, T2);
    returns(a, &[unknown, other]);
    at
}

/// `More` of the site is in T1, its new page in T2; RAX, RCX, RDX, T2 are free.
fn count_fill(a: &mut Asm) {
    a.load32(RCX, ours(offset_of!(Sites, fills)));
    a.alu_imm(false, Alu::Add, RCX, 1);
    a.store32(ours(offset_of!(Sites, fills)), RCX);
    a.bytes(&[0x84, 0xC9]); // test cl, cl
    let not_now = a.jcc(Cc::NotEqual as u8);
    a.bytes(&[0x0F, 0x31]); // rdtsc (RDX is lost)
    a.load32(RCX, ours(offset_of!(Sites, when)));
    a.store32(ours(offset_of!(Sites, when)), RAX);
    a.rr(false, &[0x29], RCX, RAX); // sub eax, ecx
    a.alu_imm(false, Alu::Cmp, RAX, FAST);
    a.rm(false, &[0x0F, 0x92], 0, ours(offset_of!(Sites, fast))); // setb
    a.alu_imm(false, Alu::Cmp, RAX, FREQUENT);
    a.rm(false, &[0x0F, 0x92], 0, ours(offset_of!(Sites, frequent))); // setb
    a.fill_here(not_now);
    let more = |offset: usize| Mem::base(T1, offset as i32);
    // Back at a page that it had lately?
    a.shift(true, 5, T2, 12);
    a.load32(RDX, more(offset_of!(More, lately)));
    a.rr(false, &[0x0F, 0xAB], T2, RDX); // bts
    a.store32(more(offset_of!(More, lately)), RDX);
    let other = a.jcc(Cc::AboveEqual as u8);
    a.byte_is_zero(ours(offset_of!(Sites, frequent)));
    let rare = a.jcc(Cc::Equal as u8);
    let counts = a.jmp();
    a.fill_here(other);
    a.load32(RCX, ours(offset_of!(Sites, fills)));
    a.alu_imm(false, Alu::And, RCX, 7);
    let keep = a.jcc(Cc::NotEqual as u8);
    a.store_imm32(more(offset_of!(More, lately)), 0);
    a.fill_here(keep);
    a.byte_is_zero(ours(offset_of!(Sites, fast)));
    let slow = a.jcc(Cc::Equal as u8);
    a.fill_here(counts);
    a.add_byte(more(offset_of!(More, misses)), 1);
    a.compare_byte(more(offset_of!(More, misses)), ROAMING);
    let few = a.jcc(Cc::NotEqual as u8);
    a.load32(RCX, more(offset_of!(More, at)));
    a.alu_rr(false, Alu::Or, RCX, RCX);
    let never = a.jcc(Cc::Equal as u8);
    a.alu_imm(false, Alu::And, RCX, !ASKS as i32);
    a.load32(RAX, more(offset_of!(More, to)));
    a.rr(false, &[0x29], RCX, RAX); // sub eax, ecx
    a.alu_imm(false, Alu::Sub, RAX, JUMP as i32);
    a.alu(Alu::Add, RCX, ours(offset_of!(Sites, code)));
    a.store_byte(Mem::base(RCX, 0), 0xE9);
    a.store32(Mem::base(RCX, 1), RAX);
    a.store_imm32(more(offset_of!(More, lately)), SAMPLE);
    a.store_byte(more(offset_of!(More, misses)), 0);
    a.alu(Alu::Sub, T1, ours(offset_of!(Sites, more)));
    a.shift(true, 5, T1, size_of::<More>().trailing_zeros() as u8);
    note(a);
    [slow, rare, few, never].into_iter().for_each(|j| a.fill_here(j));
}

/// Tells [`Context::take_roamed`] of the site whose number is in T1. RAX and RCX are lost.
fn note(a: &mut Asm) {
    a.load32(RCX, ours(offset_of!(Sites, roamed)));
    a.mov(RAX, RCX);
    a.alu_imm(false, Alu::And, RAX, LIST as i32 - 1);
    a.alu_imm(false, Alu::Add, RCX, 1);
    a.store32(ours(offset_of!(Sites, roamed)), RCX);
    let list = ours(offset_of!(Sites, which));
    a.store32(Mem { index: Some((RAX, 4)), ..list }, T1);
}

/// Called with the number of a site in T1 and the address that it is at in T2, every [`SAMPLE`] accesses while it roams: notes its
/// page, and asks for a range when that was so often. T1 and T2 are lost.
pub(super) fn sample_code(a: &mut Asm) -> usize {
    let at = a.at();
    [RAX, RCX].into_iter().for_each(|r| a.push(r));
    a.load32(RCX, ours(offset_of!(Sites, noted)));
    a.lea32(RAX, Mem::base(RCX, 1));
    a.store32(ours(offset_of!(Sites, noted)), RAX);
    a.alu_imm(false, Alu::And, RCX, NOTED as i32 - 1);
    a.shift(false, 4, RCX, size_of::<Sample>().trailing_zeros() as u8);
    a.alu(Alu::Add, RCX, ours(offset_of!(Sites, samples)));
    a.alu_imm(true, Alu::And, T2, -4096);
    a.store(Mem::base(RCX, offset_of!(Sample, page) as i32), T2);
    a.store(Mem::base(RCX, offset_of!(Sample, site) as i32), T1);
    a.mov(T2, T1);
    a.shift(true, 4, T2, size_of::<More>().trailing_zeros() as u8);
    a.alu(Alu::Add, T2, ours(offset_of!(Sites, more)));
    a.store_imm32(Mem::base(T2, offset_of!(More, lately) as i32), SAMPLE);
    a.add_byte(Mem::base(T2, offset_of!(More, misses) as i32), 1);
    a.compare_byte(Mem::base(T2, offset_of!(More, misses) as i32), SAMPLES);
    let more = a.jcc(Cc::NotEqual as u8);
    note(a);
    a.load(RCX, Mem::state(OFFSETS.attention));
    a.bytes(&[0xF0]); // lock
    a.rm(false, &[0x81], Alu::Or as u8, Mem::base(RCX, 0));
    a.bytes(&Attention::LOOK.to_le_bytes());
    a.fill_here(more);
    [RCX, RAX].into_iter().for_each(|r| a.pop(r));
    a.ret();
    at
}

/// A field of a site, as code names it.
#[derive(Clone, Copy)]
pub(super) enum Field {
    Start = offset_of!(Site, start) as isize,
    Room = offset_of!(Site, room) as isize,
    Delta = offset_of!(Site, delta) as isize,
    Flags = offset_of!(Site, flags) as isize,
}

impl Translator<'_> {
    pub(super) fn site(&self, site: usize, field: Field) -> Mem {
        Mem::buffer(self.common.sites + (site * SITE) as i32 + field as i32)
    }

    /// The site for an access, if it may have one.
    pub(super) fn site_of(&mut self, e: &Ea, size: usize, write: bool) -> Option<usize> {
        let mode = self.block.key.mode;
        if !self.may_have_site(e, size) {
            return None;
        }
        if e.base == Some(SP) && e.index.is_none() {
            let set = usize::from(mode.has(Mode::USER)) * 2 + usize::from(write);
            return Some(set * SIZES + size.trailing_zeros() as usize);
        }
        self.site_alone(e, size)
    }

    /// The same, shared with no other access.
    pub(super) fn site_alone(&mut self, e: &Ea, size: usize) -> Option<usize> {
        if !self.may_have_site(e, size) {
            return None;
        }
        let number = self.sites - self.first_site;
        self.sites += 1;
        (!self.roaming.contains(&number)).then_some(self.sites - 1)
    }

    /// The site of a group of accesses by `base` in `span` bytes, how many bytes are to be looked for, and whether it roams,
    /// which one that is shared never does.
    pub(super) fn site_of_group(&mut self, base: u8, span: usize, write: bool, shared: bool) -> (usize, usize, bool) {
        if base == SP && shared {
            let set = usize::from(self.block.key.mode.has(Mode::USER)) * 2 + usize::from(write);
            let size = span.next_power_of_two();
            return (size, 4 * SIZES + set * GROUP_SIZES + size.trailing_zeros() as usize, false);
        }
        // (Of several groups by RSP in a window only the first can have the shared site: accesses of the others may come between.)
        let number = self.sites - self.first_site;
        self.sites += 1;
        (span, self.sites - 1, self.roaming.contains(&number))
    }

    pub(super) fn may_have_site(&self, e: &Ea, size: usize) -> bool {
        !e.narrow && e.seg.is_none() && size <= LARGEST && !self.block.key.mode.has(Mode::ALIGN)
    }
}

impl Context {
    /// Code of this privilege (`user`: CPL 3) is to run, which finds what `space` says: forgets what it found in another. `keep`: what is
    /// found from now on may be kept.
    #[inline(always)]
    pub(super) fn forget_sites(&mut self, user: bool, space: u64, keep: bool) {
        let s = &mut self.sites;
        s.keep = u8::from(keep);
        if s.user != user {
            s.change();
        }
        if s.filled.space != space || s.filled.used as usize > MEMBERS / 2 {
            s.filled.space = space;
            s.forget();
        }
    }

    /// Forgets what was dropped.
    pub(super) fn drop_page(&mut self, what: Dropped) {
        match what {
            Dropped::All => {
                self.sites.drop_ranges(|_| true);
                self.sites.forget_all();
            }
            Dropped::Page(page) | Dropped::Data(page) => {
                self.sites.drop_ranges(|r| (page << 12).wrapping_sub(r.start) < r.bytes);
                self.sites.empty(page);
            }
        }
    }

    /// Empties the sites whose first page has this number.
    pub(super) fn empty_sites(&mut self, page: u64) {
        self.sites.empty(page);
    }

    /// The sites of the engine that is about to run.
    #[inline(always)]
    pub(super) fn use_sites(&mut self, memory: &SiteMemory) {
        let first = memory.sites.as_ptr();
        if self.sites.first != first {
            // Of another engine, or none: there is nothing in these yet.
            let SiteMemory { more, code, members, lists, ranges, samples, .. } = *memory;
            let [filled, others] = [0, 1].map(|n| Filled { members: members[n], lists: lists[n], ..Filled::default() });
            self.sites = Sites { first, more, code, filled, others, ranges, samples, ..Sites::default() };
            self.sites.forget_all();
        }
    }

    /// Which sites began to roam since this was taken.
    #[inline(always)]
    pub(super) fn take_roamed(&mut self) -> Option<BTreeSet<usize>> {
        let s = &mut self.sites;
        let count = std::mem::take(&mut s.roamed) as usize;
        (count != 0).then(|| s.which.iter().take(count).map(|n| *n as usize).collect())
    }

    /// The pages that were noted of a site that asks for a range, the last one first.
    pub(super) fn noted(&self, site: usize) -> Vec<u64> {
        let s = &self.sites;
        let all = if s.samples.is_null() { 0 } else { (s.noted as usize).min(NOTED) };
        // SAFETY: there are `NOTED`; no translated code runs.
        let sample = |back: usize| unsafe { *s.samples.add((s.noted as usize).wrapping_sub(back) & (NOTED - 1)) };
        let ours = (1..=all).map(sample).filter(|s| s.site == site as u64).take(usize::from(SAMPLES));
        ours.map(|s| s.page).collect()
    }

    /// All sites were emptied.
    pub(super) fn lose_sites(&mut self) {
        self.sites = Sites::default();
    }
}

impl Sites {
    /// The site with this number.
    ///
    /// # Safety
    /// `n` is of a member: a site that translated code filled. `use_sites` was called with the engine's memory.
    unsafe fn site(&mut self, n: u32) -> (&mut Site, &mut More) {
        // SAFETY: such sites are in bounds of both arrays, and nothing else refers to them while no translated code runs.
        unsafe { (&mut *self.first.cast::<Site>().add(n as usize), &mut *self.more.add(n as usize)) }
    }

    /// These ranges do not hold any more.
    fn drop_ranges(&mut self, which: impl Fn(&Range) -> bool) {
        if self.ranges.is_null() {
            return;
        }
        for n in 1..RANGES {
            // SAFETY: there are so many, and nothing else refers to them while no translated code runs.
            let range = unsafe { &mut *self.ranges.add(n) };
            if range.bytes != 0 && which(range) {
                range.bytes = 0;
                let page = range.start >> 12;
                self.empty(page);
            }
        }
    }

    /// From now on code has another privilege.
    fn change(&mut self) {
        std::mem::swap(&mut self.filled, &mut self.others);
        self.user = !self.user;
    }

    /// Empties those whose (first) page it is.
    fn empty(&mut self, page: u64) {
        for _ in 0..2 {
            self.empty_now(page);
            self.change();
        }
    }

    fn empty_now(&mut self, page: u64) {
        let Filled { members, used, lists, .. } = self.filled;
        if lists.is_null() {
            return;
        }
        let hash = page as usize & (LISTS - 1);
        // SAFETY: there are `LISTS` lists.
        let mut at = unsafe { *lists.add(hash) };
        while let Some(n) = at.checked_sub(1).filter(|n| *n < used) {
            // SAFETY: member `n` is in use.
            let member = unsafe { *members.add(n as usize) };
            // SAFETY: it is a member's.
            let (site, _) = unsafe { self.site(member.site) };
            if site.start >> 12 == page {
                (site.start, site.room) = (NO_PAGE, 0);
            }
            at = member.before;
        }
    }

    /// Empties all that code of the privilege it has now filled.
    fn forget(&mut self) {
        let Filled { members, lists, .. } = self.filled;
        if lists.is_null() {
            return;
        }
        // SAFETY: there are so many lists.
        unsafe { lists.write_bytes(0, LISTS) };
        for n in 0..std::mem::take(&mut self.filled.used) {
            // SAFETY: member `n` was in use, and its site is a member's.
            unsafe {
                let member = *members.add(n as usize);
                let (site, more) = self.site(member.site);
                (site.start, site.room) = (NO_PAGE, 0);
                more.misses = 0;
            }
        }
    }

    /// Empties all.
    fn forget_all(&mut self) {
        for _ in 0..2 {
            self.forget();
            self.change();
        }
    }
}

/// The engine's part: where the sites are.
pub(super) struct SiteMemory {
    sites: NearMemory,
    /// Of `SITES`; translated code writes them.
    more: *mut More,
    code: *mut u8,
    /// By privilege.
    members: [*mut Member; 2],
    lists: [*mut u32; 2],
    ranges: *mut Range,
    samples: *mut Sample,
    /// By site: the first bytes of the code that becomes a jump, of those that may have a range.
    code_of: Vec<[u8; JUMP]>,
    /// Sites in use.
    pub(super) used: usize,
}

// SAFETY: the pointers are to memory of the engine that has this, used by whoever runs the engine.
unsafe impl Send for SiteMemory {}

impl SiteMemory {
    pub(super) fn new(memory: &mut CodeMemory) -> Option<Self> {
        let more = BYTES;
        let members = more + MORE_BYTES;
        let lists = members + 2 * MEMBERS * size_of::<Member>();
        let ranges = lists + 2 * LISTS * size_of::<u32>();
        let samples = ranges + RANGES * size_of::<Range>();
        let sites = memory.near(samples + NOTED * size_of::<Sample>())?;
        let at = |offset: usize| sites.as_ptr().wrapping_add(offset);
        let members = [0, 1].map(|n| at(members + n * MEMBERS * size_of::<Member>()).cast());
        let lists = [0, 1].map(|n| at(lists + n * LISTS * size_of::<u32>()).cast());
        let more = at(more).cast();
        let (ranges, samples) = (at(ranges).cast(), at(samples).cast());
        Some(Self {
            sites,
            more,
            code: memory.writable(),
            members,
            lists,
            ranges,
            samples,
            code_of: Vec::new(),
            used: SHARED,
        })
    }

    /// From the start of the code.
    pub(super) fn offset(&self, memory: &CodeMemory) -> i32 {
        (self.sites.as_ptr() as i64).wrapping_sub(memory.start() as i64) as i32
    }

    /// Whether there may be no room for those of another block.
    pub(super) fn full(&self, most: usize) -> bool {
        self.used + most > SITES
    }

    /// A site's code at offset `at`, which is `bytes` now, becomes a jump to `to` when it roams. `asks`: it may have a range.
    pub(super) fn roams(&mut self, site: usize, at: usize, to: usize, asks: bool, bytes: [u8; JUMP]) {
        let flag = if asks { ASKS } else { 0 };
        self.set_more(site, |m| *m = More { at: at as u32 | flag, to: to as u32, ..More::default() });
        if asks {
            self.code_of.resize(self.code_of.len().max(site + 1), [0; JUMP]);
            if let Some(b) = self.code_of.get_mut(site) {
                *b = bytes;
            }
        }
    }

    fn set_more(&mut self, site: usize, set: impl FnOnce(&mut More)) {
        if site < SITES {
            // SAFETY: in bounds; no translated code runs.
            set(unsafe { &mut *self.more.add(site) });
        }
    }

    fn more(&self, site: usize) -> More {
        // SAFETY: in bounds; no translated code runs.
        if site < SITES { unsafe { *self.more.add(site) } } else { More::default() }
    }

    /// Where the jump is that code wrote when this site began to roam, and what was there.
    pub(super) fn jump_of(&self, site: usize) -> Option<(usize, Option<[u8; JUMP]>)> {
        let at = Some(self.more(site).at).filter(|at| *at != 0)?;
        Some(((at & !ASKS) as usize, (at & ASKS != 0).then(|| self.code_of.get(site).copied()).flatten()))
    }

    /// Of a site that roams and may have a range: which one it has (0: none), and whether it asks for one.
    pub(super) fn asking(&self, site: usize) -> Option<(u16, bool)> {
        let more = self.more(site);
        (more.at & ASKS != 0).then_some((more.range, more.misses >= SAMPLES))
    }

    /// It does not roam, and has this range from now on.
    pub(super) fn give(&mut self, site: usize, range: u16) {
        self.set_more(site, |m| (m.range, m.misses, m.lately) = (range, 0, 0));
    }

    /// It goes on to roam, and asks again later.
    pub(super) fn wait(&mut self, site: usize) {
        self.set_more(site, |m| (m.misses, m.lately) = (0, SAMPLE));
    }

    /// It is not to be asked any more.
    pub(super) fn asked(&mut self, site: usize) {
        self.set_more(site, |m| m.at &= !ASKS);
    }

    /// The range with this number.
    pub(super) fn range(&self, n: usize) -> Option<Range> {
        // SAFETY: there are so many; no translated code runs.
        (n < RANGES).then(|| unsafe { *self.ranges.add(n) })
    }

    /// Changes it.
    pub(super) fn set_range(&self, n: usize, range: Range) {
        if n < RANGES {
            // SAFETY: as above.
            unsafe { *self.ranges.add(n) = range };
        }
    }

    /// A branch's site has no page (any more), and takes the one with this code version counter (0: none).
    pub(super) fn lead(&mut self, site: usize, counter: u64) {
        if site < SITES {
            // SAFETY: in bounds; no translated code runs.
            let site = unsafe { &mut *self.sites.as_ptr().cast::<Site>().add(site) };
            (site.start, site.delta) = (NO_PAGE, counter);
        }
    }

    /// Empties all.
    pub(super) fn clear(&mut self) {
        self.sites.clear(self.used * SITE);
        (SHARED..self.used).for_each(|s| self.set_more(s, |m| *m = More::default()));
        self.used = SHARED;
    }
}
