//! Runs of pages that follow each other in an address space, for sites that roam: a site that has a *range* hits wherever in
//! it the access is.
//!
//! The pages are seldom next to each other in the host's memory. Where they are not, the guest's memory is mapped once more,
//! page by page in the right order, in a *window* of the host's address space ([`Views`]), to be read only: stores need the flag
//! byte of their page, which a range does not have.
//!
//! A range is made of what the software TLB knows, when sites have missed often; its pages are in the TLB then, so that
//! they may be read. It holds as a site does: until a translation of one of its pages is dropped, in its address space. Sites that
//! it is made for have its number, and fills take it as long as it holds (`sites::fill_code`); they are on the list of its first page.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use guest_memory::RamBlock;

use super::sites::SiteMemory;
use crate::state::Cpu;
use crate::tlb::USER;
use crate::views::{Views, can_show};

/// So many; number 0 is none. Those of CPL 3 have even numbers.
pub(super) const RANGES: usize = 64;
/// Bytes of linear addresses that a range can cover.
const WINDOW: u64 = 8 << 20;
const PAGE: u64 = 4096;
/// Pages from here on have no range, so that additions to the addresses of others do not overflow.
const LAST: u64 = u64::MAX - 2 * WINDOW;
/// What a site is tried for in one address space; then it is better off without.
const TRIES: u8 = 32;
/// What it costs to try in vain: it has no range then, or goes from one to another. (That a range becomes longer costs 1.)
const IN_VAIN: u8 = 8;
/// Pages outside the range, of those that were noted: finding another page costs more than the TLB alone.
const FEW: usize = 1;
/// Pages that the windows of all processors may hold: the host counts them (Linux: `vm.max_map_count`, 65530).
const MOST_PAGES: usize = 16384;
/// And do hold.
static PAGES: AtomicUsize = AtomicUsize::new(0);

/// What translated code knows of one.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Range {
    /// Linear address of the first page.
    pub(super) start: u64,
    /// 0: it does not hold (any more).
    pub(super) bytes: u64,
    /// From the linear address to the host's.
    pub(super) delta: u64,
    /// The address space.
    pub(super) space: u64,
}

/// What a range can cover, and what is mapped for it.
struct Window {
    /// The table of the TLB: whose accesses.
    base: usize,
    space: u64,
    /// Linear address of its first byte.
    origin: u64,
    /// By page: the number of the block plus one and the page's in the block; 0 for nothing.
    pages: Vec<u64>,
    /// Pages that are something.
    mapped: usize,
    /// The range's addresses lie in the window; else in the guest's memory.
    shown: bool,
}

/// The ranges of one processor.
#[derive(Default)]
pub(super) struct Ranges {
    windows: Vec<Option<Window>>,
    next: usize,
    /// `None` in it: there are none.
    views: Option<Option<Views>>,
    /// Memory that pages are mapped of.
    blocks: Vec<Weak<RamBlock>>,
    /// By site: in which address space, and how often it got one there.
    tries: HashMap<usize, (u64, u8)>,
}

/// A page in the TLB.
struct Page {
    addend: u64,
    block: u32,
    offset: u64,
}

fn page(cpu: &Cpu, base: usize, at: u64) -> Option<Page> {
    let e = cpu.tlb.slot(base, at);
    (at < LAST && e.read == cpu.tlb.tag_in(base, at)).then_some(Page {
        addend: e.addend as u64,
        block: e.block,
        offset: e.offset,
    })
}

/// Pages that follow each other, and may be read.
struct Run {
    /// The addresses of the first and of the one after the last.
    low: u64,
    high: u64,
    /// The same for those around one of them that follow each other in the host's memory, too.
    straight: (u64, u64),
    /// From their linear addresses to the host's.
    addend: u64,
}

impl Run {
    /// Those around the page at `at`, as the TLB has them, or `known` says; `None` when the TLB does not have that one.
    fn around(cpu: &Cpu, base: usize, at: u64, known: &dyn Fn(u64) -> bool) -> Option<Self> {
        let first = page(cpu, base, at)?;
        let from = |there: &dyn Fn(u64) -> bool| {
            let (mut low, mut high) = (at, at + PAGE);
            // Up to half a window before it, what there is behind it, and the rest before it.
            for most in [WINDOW / 2, WINDOW] {
                while high - low < most && there(low.wrapping_sub(PAGE)) {
                    low = low.wrapping_sub(PAGE);
                }
                while high - low < WINDOW && there(high) {
                    high += PAGE;
                }
            }
            (low, high)
        };
        let straight = from(&|at| page(cpu, base, at).is_some_and(|p| p.addend == first.addend));
        let can = |block: u32| can_show(cpu.tlb.block(block));
        let (low, high) = match can(first.block) {
            true => from(&|at| known(at) || page(cpu, base, at).is_some_and(|p| can(p.block))),
            false => straight,
        };
        Some(Self { low, high, straight, addend: first.addend })
    }
}

/// What becomes of a site that roams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has the range with this number.
    Ranged(u16),
    /// There is none now: it goes on as it is.
    Later,
    /// It is better off without a page.
    Never,
}

/// The number of a block in a list of them.
fn number(blocks: &mut Vec<Weak<RamBlock>>, block: &Arc<RamBlock>) -> usize {
    blocks.iter().position(|b| std::ptr::eq(b.as_ptr(), Arc::as_ptr(block))).unwrap_or_else(|| {
        blocks.push(Arc::downgrade(block));
        blocks.len() - 1
    })
}

impl Ranges {
    /// A range for site `site`, which has range `has` (0: none), by means of the TLB table at `base`.
    pub(super) fn of(&mut self, cpu: &mut Cpu, sites: &SiteMemory, (site, has): (usize, u16), base: usize) -> Fate {
        let space = cpu.tlb.space_in(base);
        let tries = self.tries.entry(site).or_insert((space, 0));
        if tries.0 != space {
            *tries = (space, 0);
        }
        if tries.1 >= TRIES {
            return Fate::Never;
        }
        tries.1 += 1;
        let pages = cpu.jit.noted(site);
        let mut fate = pages.first().map_or(Fate::Later, |at| self.find(cpu, sites, has, base, *at));
        if let Fate::Ranged(n) = fate {
            let range = sites.range(usize::from(n)).unwrap_or_default();
            let outside = pages.iter().filter(|p| p.wrapping_sub(range.start) >= range.bytes).count();
            if outside > FEW {
                fate = Fate::Later;
            }
        }
        if (fate == Fate::Later || has != 0 && fate != Fate::Ranged(has))
            && let Some(tries) = self.tries.get_mut(&site)
        {
            tries.1 += IN_VAIN - 1;
        }
        fate
    }

    fn find(&mut self, cpu: &mut Cpu, sites: &SiteMemory, has: u16, base: usize, at: u64) -> Fate {
        let fate = |n: usize| u16::try_from(n).map_or(Fate::Later, Fate::Ranged);
        let space = cpu.tlb.space_in(base);
        let ours = |w: &Window| w.base == base && w.space == space;
        let range = |n: usize| sites.range(n).filter(|r| r.bytes != 0).unwrap_or_default();
        let mut live = self.windows.iter().enumerate().filter(|(_, w)| w.as_ref().is_some_and(ours));
        let inside = live.clone().find(|(n, _)| at.wrapping_sub(range(*n).start) < range(*n).bytes).map(|(n, _)| n);
        if let Some(n) = inside.filter(|n| *n != usize::from(has)) {
            return fate(n);
        }
        let old = inside.map(|n| (n, range(n)));
        let known = |at: u64| old.is_some_and(|(_, r)| at.wrapping_sub(r.start) < r.bytes);
        let Some(run) = Run::around(cpu, base, at, &known) else { return Fate::Later };
        let touches = |n: usize| {
            let r = range(n);
            r.start <= run.high && r.start + r.bytes >= run.low
        };
        let fits = |w: &Window| w.origin <= run.low && run.high <= w.origin + WINDOW;
        let found = live.find(|(n, w)| match old {
            Some((old, _)) => *n == old,
            None => w.as_ref().is_some_and(fits) && (range(*n).bytes == 0 || touches(*n)),
        });
        match (found.map(|(n, _)| n), old) {
            (Some(n), _) if self.build(cpu, sites, n, base, &run).is_some() => fate(n),
            (None, None) => match self.recycle(cpu, sites, base, &run) {
                Some(n) if self.build(cpu, sites, n, base, &run).is_some() => fate(n),
                _ => Fate::Later,
            },
            _ => Fate::Later,
        }
    }

    /// A window around this run.
    fn recycle(&mut self, cpu: &mut Cpu, sites: &SiteMemory, base: usize, run: &Run) -> Option<usize> {
        self.next = (self.next + 1) % (RANGES / 2 - 1);
        let n = 2 * (self.next + 1) + usize::from(base == USER) - 1;
        if self.windows.len() < RANGES {
            self.windows.resize_with(RANGES, || None);
        }
        Self::set(cpu, sites, n, Range::default());
        let window = self.windows.get_mut(n)?;
        let mut pages = Vec::new();
        if let Some(w) = window.take() {
            let mut clear = || self.views.as_mut().and_then(Option::as_mut).is_some_and(|v| v.clear(n));
            if w.mapped == 0 || clear() {
                PAGES.fetch_sub(w.mapped, Ordering::Relaxed);
            }
            pages = w.pages;
            pages.clear();
        }
        let room = (WINDOW - (run.high - run.low)) / 2 / PAGE * PAGE;
        let origin = run.low.saturating_sub(room);
        *window = Some(Window { base, space: cpu.tlb.space_in(base), origin, pages, mapped: 0, shown: false });
        Some(n)
    }

    /// Changes what translated code knows; sites that have it lose it if it begins elsewhere.
    fn set(cpu: &mut Cpu, sites: &SiteMemory, n: usize, range: Range) {
        let old = sites.range(n).unwrap_or_default();
        if old.bytes != 0 && (old.start != range.start || range.bytes == 0) {
            cpu.jit.empty_sites(old.start >> 12);
        }
        sites.set_range(n, range);
    }

    /// The range of a window becomes this run, and what it was so far where that is next to it; `None`: it is one page only.
    fn build(&mut self, cpu: &mut Cpu, sites: &SiteMemory, n: usize, base: usize, run: &Run) -> Option<()> {
        let w = self.windows.get_mut(n)?.as_mut()?;
        let old = sites.range(n).filter(|r| w.shown && r.bytes != 0).unwrap_or_default();
        let is_old = |at: u64| at.wrapping_sub(old.start) < old.bytes;
        let (mut low, mut high) = (run.low.max(w.origin), run.high.min(w.origin + WINDOW));
        if old.bytes != 0 {
            (low, high) = (low.min(old.start), high.max(old.start + old.bytes));
        }
        let space = w.space;
        let mut shown = false;
        let mut made =
            Range { start: run.straight.0, bytes: run.straight.1 - run.straight.0, delta: run.addend, space };
        if (low, high) != run.straight
            && let Some(delta) = self.show(cpu, n, base, (low, high), &is_old)
        {
            made = Range { start: low, bytes: high - low, delta, space };
            shown = true;
        }
        if old.bytes != 0 && !shown {
            return Some(()); // it was better
        }
        if made.bytes <= PAGE {
            return None;
        }
        if let Some(w) = self.windows.get_mut(n).and_then(Option::as_mut) {
            w.shown = shown;
        }
        Self::set(cpu, sites, n, made);
        Some(())
    }

    /// Maps these pages in the window, but for those that are there; from the linear addresses to the window's.
    fn show(
        &mut self,
        cpu: &Cpu,
        n: usize,
        base: usize,
        (low, high): (u64, u64),
        there: &dyn Fn(u64) -> bool,
    ) -> Option<u64> {
        let views = self.views.get_or_insert_with(|| Views::new(RANGES, WINDOW as usize)).as_mut()?;
        let w = self.windows.get_mut(n)?.as_mut()?;
        w.pages.resize((WINDOW / PAGE) as usize, 0);
        let blocks = &mut self.blocks;
        let mut wanted = |at: u64| {
            let p = page(cpu, base, at).filter(|_| !there(at))?;
            let block = cpu.tlb.block(p.block);
            let which = number(blocks, block) as u64 + 1;
            Some((block, p.offset, (which << 40) | (p.offset / PAGE)))
        };
        let mut at = low;
        while at < high {
            let place = ((at - w.origin) / PAGE) as usize;
            if there(at) {
                at += PAGE;
                continue;
            }
            let (block, offset, id) = wanted(at)?;
            if w.pages.get(place) == Some(&id) {
                at += PAGE;
                continue;
            }
            // As many as follow each other in the memory, too.
            let mut count = 1;
            while at + count * PAGE < high && wanted(at + count * PAGE).is_some_and(|x| x.2 == id + count) {
                count += 1;
            }
            let places = w.pages.get_mut(place..place + count as usize)?;
            let new = places.iter().filter(|p| **p == 0).count();
            if PAGES.load(Ordering::Relaxed) + new > MOST_PAGES {
                return None;
            }
            let len = (count * PAGE) as usize;
            if !views.map(n, place * PAGE as usize, block, offset, len) {
                places.fill(0);
                return None;
            }
            w.mapped += new;
            PAGES.fetch_add(new, Ordering::Relaxed);
            places.iter_mut().zip(id..).for_each(|(p, id)| *p = id);
            at += count * PAGE;
        }
        Some(views.address(n, 0).wrapping_sub(w.origin))
    }

    /// Forgets all.
    pub(super) fn clear(&mut self, sites: &SiteMemory) {
        self.tries.clear();
        for (n, window) in self.windows.iter_mut().enumerate() {
            sites.set_range(n, Range::default());
            if let Some(w) = window {
                w.space = u64::MAX;
            }
        }
    }
}

impl Drop for Ranges {
    fn drop(&mut self) {
        let mapped: usize = self.windows.iter().flatten().map(|w| w.mapped).sum();
        PAGES.fetch_sub(mapped, Ordering::Relaxed);
    }
}
