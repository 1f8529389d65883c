//! The buffer of translated code, the code that is in it once (entry, exits, thunks, look-up of branch targets), links
//! between blocks, and running it.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::BuildHasherDefault;
use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::asm::*;
use super::ranges::{Fate, Ranges};
use super::runtime;
use super::sites::{self, SiteMemory};
use super::translate::{self, Branch, Made, OFFSETS, Room, Way};
use super::vectors::{self, EVERYTHING, WHOLE, Width, XMM};
use super::{Context, JitStatistics, SharedJitStatistics, backoff, flow, x87};
use crate::block::{Block, CodePage, Key, Place};
use crate::bus::{Attention, Bus};
use crate::cache::KeyHasher;
use crate::code_memory::CodeMemory;
use crate::flags::rflags;
use crate::op::Op;
use crate::state::{Cpu, Mode, REG_PAGE};
use crate::tlb::{Dropped, SUPERVISOR, USER};

/// Entries between two times the statistics are told, and code is looked at for large pages.
const TELL: u64 = 1024;
const CAPACITY: usize = 128 << 20;
/// From here on is what is rarely run: what runs often lies close together.
const COLD: usize = 40 << 20;
/// Most code one block can become.
const BLOCK_ROOM: usize = 64 << 10;
/// Links that are remembered by a block.
const LEADING: usize = 64;
/// Hot places that are remembered.
const PLACES: usize = 1 << 20;
/// Time in which a site that is worth a range asks for one, and looks until it is not.
const PATIENCE: Duration = Duration::from_micros(400);
const LOOKS: u8 = 2;
/// Most sites of one block.
const BLOCK_SITES: usize = 1024;
/// `Engine::hot` unless a test says otherwise.
const HOT: u32 = 8;
/// Entries of the table of branch targets.
pub(super) const JUMPS: usize = 16384;
/// Words of the hash of the pages that they are in.
const PAGES: usize = 512;

/// Where a branch target's code is.
#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
pub(super) struct Jump {
    pub(super) rip: u64,
    /// Address space and mode that it is for.
    pub(super) tag: u64,
    pub(super) code: u64,
    unused: u64,
}

/// Offsets of the code that is there once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Common {
    /// Rust calls this: (cpu, code).
    pub(super) enter: usize,
    /// R13: block's instruction, R14: block. Called.
    pub(super) op: usize,
    /// The same, the store's host address in the context.
    pub(super) written: usize,
    /// Leaves for RIP in R14.
    pub(super) exit: usize,
    /// The same; R13 is a link plus one.
    pub(super) exit_link: usize,
    /// Leaves with REFUSED for RIP in R14.
    pub(super) refuse: usize,
    /// Called: the vector registers of a level are loaded; or no ZF.
    pub(super) vectors: [usize; 3],
    /// Called: the x87 registers are loaded; or no ZF.
    pub(super) stack: usize,
    /// Called with a RIP in R14: R13 is where its code starts, or 0.
    pub(super) find: usize,
    /// The same, left for as `exit_link` if there is none: goes there. R13 is a link plus one.
    pub(super) search: usize,
    /// Called with a RIP in R14 to return to that was not the predicted one, which is dropped: R13 is where its code starts, or ZF.
    pub(super) returned: usize,
    /// Goes to the code in R13 of the RIP in R14.
    pub(super) enter_found: usize,
    /// See [`sites::page_code`] and [`sites::roam_code`]: for loads and stores.
    pub(super) page: [usize; 2],
    pub(super) roam: [usize; 2],
    /// See [`sites::far_code`].
    pub(super) far: usize,
    /// See [`backoff::wait_code`].
    pub(super) wait: usize,
    /// Where the sites are: from offset 0.
    pub(super) sites: i32,
}

/// Code of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries {
    /// Entered with flags in EFLAGS.
    pub(super) reg: usize,
    /// Entered with flags in the slot.
    pub(super) slot: usize,
    /// The same, without a look at the attention word.
    pub(super) page: usize,
    /// The same, without any check: from earlier code of the page that was checked.
    pub(super) ahead: usize,
    /// The same with flags in EFLAGS.
    pub(super) reg_ahead: usize,
    /// Code at `ahead` may be replaced by a jump.
    pub(super) whole: bool,
}

/// A branch that can lead straight to another block.
struct Link {
    /// Offset of the displacement.
    place: usize,
    /// Where it leads while it is not linked.
    unlinked: usize,
    /// The block it is of, and the branch, if one leads there.
    of: (usize, Option<Branch>),
    /// The target when it is in the same page; else only mode and offset are right.
    key: Key,
    reg: bool,
    way: Way,
    /// Where it is linked to, and the code version counter that branches to other pages expect.
    leads: Option<(usize, u64)>,
    /// Of code that is not to be run any more: stays as it is.
    dead: bool,
}

/// How translated code came back.
pub(crate) enum Ran<'a> {
    /// Go on at RIP.
    Continue,
    /// The instruction did not complete.
    Aborted(&'a Block, &'a Op),
    /// The block ends after the instruction.
    Stopped(&'a Block, &'a Op),
    /// Run the block by the interpreter.
    Interpret,
}

/// The translator of one processor.
pub(crate) struct Engine {
    memory: CodeMemory,
    sites: SiteMemory,
    ranges: Ranges,
    /// By the first of their sites: indices of blocks.
    owners: Vec<(usize, usize)>,
    /// Where in memory code was hot before: at another address, or before the buffer was dropped.
    places: HashSet<Place, BuildHasherDefault<KeyHasher>>,
    /// Sites that roam, and may ask for a range: since when, and how often they were looked at.
    patient: VecDeque<(usize, Instant, u8)>,
    /// What roams, by block.
    roaming: HashMap<Key, Vec<usize>, BuildHasherDefault<KeyHasher>>,
    /// All sites were emptied, which the processor does not know yet.
    lost: bool,
    /// What code for CPL 3 takes for the address of its TLB table.
    table: Option<Option<i32>>,
    /// Bytes in use at the start, and the end of those from `COLD` on.
    used: usize,
    used_cold: usize,
    common: Common,
    common_end: usize,
    known: HashMap<Key, (Entries, usize), BuildHasherDefault<KeyHasher>>,
    /// Keeps alive what code has addresses of.
    blocks: Vec<Arc<Block>>,
    links: Vec<Link>,
    /// By block: links that lead there, if there are not too many, and some that do not any more.
    leading: Vec<Vec<usize>>,
    /// The branch that translated code was left by, and its target.
    wanted: Option<(usize, u64)>,
    jumps: Box<[Jump]>,
    /// Hash of the pages that `jumps` has targets in.
    pages: Box<[u64; PAGES]>,
    /// `Tlb::epoch` that `jumps` is right for.
    epoch: u64,
    /// Blocks are not linked, to be compared one by one.
    pub(crate) single: bool,
    /// Times the interpreter runs a block before it is translated.
    pub(crate) hot: u32,
    pub(crate) statistics: JitStatistics,
    pub(crate) shared: Arc<SharedJitStatistics>,
}

type Enter = unsafe extern "sysv64" fn(*mut Cpu, u64) -> u32;

impl Engine {
    /// `None` when the system gives no executable memory.
    pub(crate) fn new(single: bool, zmm: bool) -> Option<Self> {
        let mut memory = CodeMemory::new(CAPACITY)?;
        let sites = SiteMemory::new(&mut memory)?;
        let (code, mut common) = common_code(if zmm { Width::Zmm } else { Width::Ymm });
        memory.write(0, &code)?;
        common.sites = sites.offset(&memory);
        let used = code.len().next_multiple_of(64);
        Some(Self {
            sites,
            ranges: Ranges::default(),
            owners: Vec::new(),
            places: HashSet::default(),
            patient: VecDeque::new(),
            roaming: HashMap::default(),
            lost: true,
            table: None,
            memory,
            used,
            used_cold: COLD,
            common,
            common_end: used,
            known: HashMap::default(),
            blocks: Vec::new(),
            links: Vec::new(),
            leading: Vec::new(),
            wanted: None,
            jumps: vec![Jump::default(); JUMPS].into(),
            pages: Box::new([0; PAGES]),
            epoch: 0,
            single,
            hot: if single { 1 } else { HOT },
            statistics: JitStatistics::default(),
            shared: Arc::default(),
        })
    }

    /// Whether there may be no room for another block, or what there is is another processor's.
    pub(crate) fn full(&self, cpu: &Cpu) -> bool {
        self.table.is_some_and(|t| t != cpu.tlb.table(USER)) || self.no_room()
    }

    fn no_room(&self) -> bool {
        self.used + BLOCK_ROOM > COLD || self.used_cold + BLOCK_ROOM > CAPACITY || self.sites.full(BLOCK_SITES)
    }

    /// Drops all code. The caller drops all blocks, too, since they say where their code was.
    pub(crate) fn reset(&mut self) {
        (self.used, self.used_cold) = (self.common_end, COLD);
        self.memory.reuse();
        self.ranges.clear(&self.sites);
        self.sites.clear();
        self.owners.clear();
        self.patient.clear();
        self.roaming.clear();
        self.lost = true;
        self.table = None;
        self.known.clear();
        self.links.clear();
        self.leading.clear();
        self.wanted = None;
        self.jumps.fill(Jump::default());
        self.blocks.clear();
        self.statistics.flushes += 1;
    }

    /// Where the block's code starts, made now if it has become hot; `None`: interpret it.
    #[inline]
    pub(crate) fn code(&mut self, cpu: &Cpu, block: &Arc<Block>) -> Option<u64> {
        match block.code.load(Ordering::Relaxed) {
            Block::NEVER => None,
            Block::NO_CODE => {
                let heat = block.heat.load(Ordering::Relaxed) + 1;
                block.heat.store(heat, Ordering::Relaxed);
                let hot = heat >= self.hot || heat == 1 && self.places.contains(&block.key.place);
                if hot { self.translate(cpu, block, &[]) } else { None }
            }
            code => Some(code),
        }
    }

    #[cold]
    fn translate(&mut self, cpu: &Cpu, block: &Arc<Block>, roaming: &[usize]) -> Option<u64> {
        let ours = |p: &CodePage| !p.watched();
        let can = block.page.as_ref().is_some_and(ours)
            && block.second.as_ref().is_none_or(ours)
            && translatable(block.key.mode);
        let room = Room { hot: self.used, cold: Some(self.used_cold) };
        let made = can
            .then(|| translate::translate(cpu, block, self.common, room, (self.sites.used, roaming), self.single))
            .flatten();
        let fits = |m: &Made| self.used + m.code.len() <= COLD && self.used_cold + m.cold.len() <= CAPACITY;
        let made = made.filter(|m| fits(m) && m.sites <= sites::SITES);
        let Some(made) = made else {
            block.code.store(Block::NEVER, Ordering::Relaxed);
            self.statistics.refused += 1;
            return None;
        };
        if self.places.len() >= PLACES {
            self.places.clear();
        }
        self.places.insert(block.key.place);
        self.table = Some(cpu.tlb.table(USER));
        self.owners.push((self.sites.used, self.blocks.len()));
        self.sites.used = made.sites;
        let base = self.used;
        self.memory.write(base, &made.code)?;
        self.memory.write(self.used_cold, &made.cold)?;
        for (site, at, to, asks) in made.roams {
            if self.memory.is_whole(base + at, sites::JUMP)
                && let Some(bytes) = self.memory.read(base + at)
            {
                self.sites.roams(site, base + at, base + to, asks, bytes);
            }
        }
        self.used_cold += made.cold.len();
        self.used = (base + made.code.len()).next_multiple_of(16);
        let e = made.entries;
        let entries = Entries {
            reg: base + e.reg,
            slot: base + e.slot,
            page: base + e.page,
            ahead: base + e.ahead,
            reg_ahead: base + e.reg_ahead,
            whole: e.whole,
        };
        let first = self.links.len();
        for (n, l) in made.links.iter().enumerate() {
            self.add_link(block.key, base, l);
            // Leaving through the link says which it is.
            self.patch32(base + l.id_place, (first + n + 1) as u32);
        }
        if let Some(site) = made.second_site {
            self.sites.lead(site, block.second.as_ref().map_or(0, |p| p.counter() as u64));
        }
        block.set_links(first..self.links.len(), made.versions.map(|v| if v == 0 { 0 } else { base + v }));
        self.leading.push(Vec::new());
        if let Some((old, of)) = self.known.insert(block.key, (entries, self.blocks.len())) {
            self.jump(old.reg, entries.reg);
            self.jump(old.slot, entries.slot);
            self.jump(old.page, entries.page);
            // The first bytes of the old code are none that links lead from.
            if old.whole {
                self.jump(old.ahead, entries.ahead);
            }
            self.lead_on(of, &old, &entries);
        }
        self.blocks.push(block.clone());
        for n in first..self.links.len() {
            self.link(n, None);
        }
        let code = self.memory.start() + (base + made.body) as u64;
        block.set_counted(made.count, made.vectors);
        block.entry.store(self.memory.start() + entries.slot as u64, Ordering::Relaxed);
        block.code.store(code, Ordering::Relaxed);
        let s = &mut self.statistics;
        s.blocks += 1;
        s.bytes += made.code.len() as u64;
        s.cold_bytes += made.cold.len() as u64;
        s.instructions += block.ops.len() as u64;
        s.handlers += made.handlers;
        s.loops += u64::from(made.rounds);
        Some(code)
    }

    fn patch32(&mut self, place: usize, v: u32) {
        let _inside = self.memory.write(place, &v.to_le_bytes());
    }

    /// Makes the code at `from` a jump.
    fn jump(&mut self, from: usize, to: usize) {
        let mut code = [0xE9, 0, 0, 0, 0];
        code[1..].copy_from_slice(&((to as i64 - (from as i64 + 5)) as i32).to_le_bytes());
        let _inside = self.memory.write(from, &code);
    }

    fn add_link(&mut self, from: Key, base: usize, l: &translate::LinkSite) {
        let way = match l.way {
            Way::Far { site, miss, back } => {
                self.sites.lead(site, 0);
                Way::Far { site, miss: base + miss, back }
            }
            other => other,
        };
        self.links.push(Link {
            place: base + l.place,
            unlinked: base + l.unlinked,
            of: (self.blocks.len(), l.of),
            key: translate::key_at(from, l.target),
            reg: l.reg,
            way,
            leads: None,
            dead: false,
        });
    }

    fn lead(&mut self, place: usize, to: usize) {
        self.patch32(place, (to as i64 - (place as i64 + 4)) as i32 as u32);
    }

    /// Links to a block, which has become jumps to the last one, lead straight there.
    fn lead_on(&mut self, block: usize, old: &Entries, new: &Entries) {
        let Some(leading) = self.leading.get_mut(block).map(std::mem::take) else { return };
        let pairs = |e: &Entries| [e.reg, e.slot, e.page, e.ahead, e.reg_ahead];
        let changed: Vec<(usize, usize)> = pairs(old).into_iter().zip(pairs(new)).collect();
        for n in leading {
            let Some(l) = self.links.get_mut(n).filter(|l| !l.dead) else { continue };
            let Some((to, expected)) = l.leads else { continue };
            let Some((_, to)) = changed.iter().find(|(old, _)| *old == to).copied() else { continue };
            l.leads = Some((to, expected));
            let place = l.place;
            self.lead(place, to);
            if let Some(leading) = self.leading.last_mut() {
                leading.push(n);
            }
        }
    }

    /// Makes the branch lead to its block, if that is translated. `at`: the block that control came to through it.
    fn link(&mut self, n: usize, at: Option<&Block>) {
        let Some(l) = self.links.get_mut(n).filter(|l| !self.single && !l.dead) else { return };
        let key = match (l.way, at) {
            (Way::Far { .. }, Some(b)) if key_offset(b.key) == key_offset(l.key) => b.key,
            (Way::Far { .. }, _) => return,
            _ => l.key,
        };
        let Some((e, of)) = self.known.get(&key) else { return };
        if l.way == Way::Ahead && !self.blocks.get(*of).is_some_and(|b| b.fresh()) {
            return;
        }
        let to = match l.way {
            Way::Ahead if l.reg => e.reg_ahead,
            Way::Ahead => e.ahead,
            Way::Back if l.reg => e.reg,
            Way::Back | Way::Far { back: true, .. } => e.slot,
            Way::Far { .. } => e.page,
        };
        let expected = at.and_then(|b| b.page.as_ref()).map_or(0, |p| p.counter() as u64);
        // It may have been left because nothing knew where the page is.
        if l.leads == Some((to, expected)) {
            return;
        }
        l.leads = Some((to, expected));
        let (place, way) = (l.place, l.way);
        if let Some(leading) = self.leading.get_mut(*of).filter(|l| l.len() < LEADING && !l.contains(&n)) {
            leading.push(n);
        }
        self.statistics.links += 1;
        if let Way::Far { site, miss, .. } = way {
            self.sites.lead(site, expected);
            self.lead(miss, self.common.search);
        }
        self.lead(place, to);
    }

    /// The bytes of the block were found unchanged after something else in its page was written: what it is linked to
    /// without a check may not be.
    #[cold]
    fn unlink(&mut self, block: &Block) {
        for (at, page) in block.version_places().into_iter().zip([&block.page, &block.second]) {
            if let (true, Some(page)) = (at != 0, page) {
                self.patch32(at, page.version());
            }
        }
        for n in block.links() {
            let Some(l) = self.links.get_mut(n).filter(|l| l.leads.is_some() && l.way == Way::Ahead) else { continue };
            l.leads = None;
            let (place, to) = (l.place, l.unlinked);
            self.lead(place, to);
        }
    }

    /// A link of code that was replaced leads to nothing any more.
    fn bury(&mut self, n: usize) {
        let Some(l) = self.links.get_mut(n) else { return };
        l.dead = true;
        let (place, to, way) = (l.place, l.unlinked, l.way);
        match (l.leads.take(), way) {
            (None, _) => {}
            // No page is the one it leads to.
            (Some(_), Way::Far { site, .. }) => self.sites.lead(site, 0),
            (Some(_), _) => self.lead(place, to),
        }
    }

    /// Sites that may have a range, but roam seldom, so that they do not ask for one soon, are not worth one.
    #[cold]
    fn lose_patience(&mut self, cpu: &mut Cpu) {
        let mut few = BTreeSet::new();
        while let Some((site, _, looks)) = self.patient.pop_front_if(|p| p.1.elapsed() >= PATIENCE) {
            match self.sites.asking(site) {
                Some((0, false)) if looks + 1 >= LOOKS => {
                    self.sites.asked(site);
                    few.insert(site);
                }
                // (The host may have done something else meanwhile.)
                Some((0, false)) => self.patient.push_back((site, Instant::now(), looks + 1)),
                _ => {}
            }
        }
        self.settle(cpu, &few);
    }

    /// Gives the sites that roam ranges, or translates their blocks again without them.
    #[cold]
    fn settle(&mut self, cpu: &mut Cpu, sites: &BTreeSet<usize>) {
        let mut changed: Vec<Arc<Block>> = Vec::new();
        for site in sites {
            let jump = self.sites.jump_of(*site);
            if let Some((at, _)) = jump {
                self.memory.written(at, sites::JUMP);
            }
            let at = self.owners.partition_point(|(first, _)| first <= site);
            let owner = at.checked_sub(1).and_then(|at| self.owners.get(at));
            let Some((first, Some(block))) = owner.map(|(first, of)| (first, self.blocks.get(*of))) else { continue };
            if let Some((has, asks)) = self.sites.asking(*site) {
                if !asks {
                    self.patient.push_back((*site, Instant::now(), 0));
                    continue;
                }
                self.patient.retain(|p| p.0 != *site);
                let base = if block.key.mode.has(Mode::USER) { USER } else { SUPERVISOR };
                match self.ranges.of(cpu, &self.sites, (*site, has), base) {
                    Fate::Ranged(n) => {
                        self.sites.give(*site, n);
                        if let Some((at, Some(code))) = jump {
                            let _inside = self.memory.write(at, &code);
                        }
                        self.statistics.ranged += 1;
                        continue;
                    }
                    Fate::Later => {
                        self.sites.wait(*site);
                        self.patient.push_back((*site, Instant::now(), 0));
                        continue;
                    }
                    Fate::Never => self.sites.asked(*site),
                }
            }
            // (Where the block cannot be translated again it is told of more than once.)
            let roaming = self.roaming.entry(block.key).or_default();
            if !roaming.contains(&(site - first)) {
                roaming.push(site - first);
            }
            if !changed.iter().any(|b| Arc::ptr_eq(b, block)) {
                changed.push(block.clone());
            }
        }
        for block in changed {
            let Some(roaming) = self.roaming.remove(&block.key) else { continue };
            // Not what was decoded anew meanwhile, what would still be run, or where there is no room: it goes on with
            // jumps.
            let known = self.known.get(&block.key).filter(|(e, _)| e.whole && !self.no_room() && block.fresh());
            let of = known.map(|(_, of)| *of);
            if let Some(of) = of.filter(|of| self.blocks.get(*of).is_some_and(|b| Arc::ptr_eq(b, &block))) {
                block.links().for_each(|n| self.bury(n));
                // Its sites are not used any more.
                let at = self.owners.partition_point(|(_, owner)| *owner < of);
                let first = |at: usize| self.owners.get(at).map_or(self.sites.used, |(first, _)| *first);
                let old = first(at)..first(at + 1);
                self.patient.retain(|p| !old.contains(&p.0));
                self.translate(cpu, &block, &roaming);
                self.statistics.settled += 1;
            }
            self.roaming.insert(block.key, roaming);
        }
    }

    /// Makes the block known to indirect branches.
    #[inline]
    fn remember(&mut self, cpu: &Cpu, block: &Block) {
        self.remember_at(cpu, cpu.rip, block.entry.load(Ordering::Relaxed));
    }

    #[inline]
    fn remember_at(&mut self, cpu: &Cpu, rip: u64, entry: u64) {
        let at = (rip ^ rip >> 12) as usize & (JUMPS - 1);
        let j = &mut self.jumps[at];
        if (j.rip, j.tag, j.code) != (rip, cpu.jit.tag, entry) {
            *j = Jump { rip, tag: cpu.jit.tag, code: entry, unused: 0 };
            let page = (rip >> 12) as usize;
            self.pages[page >> 6 & (PAGES - 1)] |= 1 << (page & 63);
        }
    }

    /// Where the code of the block at `rip` starts, which indirect branches know from now on; 0 when it is not translated, or the TLB
    /// does not know its page. Called while translated code runs.
    pub(super) fn find(&mut self, cpu: &Cpu, rip: u64) -> u64 {
        let e = cpu.tlb.slot(crate::cache::table(cpu), rip);
        if e.exec != cpu.tlb.tag(rip) || self.single {
            return 0;
        }
        let key = Key { place: Place::new(e.version, rip), mode: cpu.mode };
        // (If its page was written, the code finds out.)
        let Some((entries, _)) = self.known.get(&key) else { return 0 };
        let entry = self.memory.start() + entries.slot as u64;
        self.remember_at(cpu, rip, entry);
        self.statistics.found += 1;
        entry
    }

    /// Forgets branch targets, and what sites found, in pages whose translations were dropped.
    #[cold]
    fn forget_jumps(&mut self, cpu: &mut Cpu) {
        self.epoch = cpu.tlb.epoch;
        for dropped in cpu.tlb.take_dropped() {
            cpu.jit.drop_page(dropped);
            match dropped {
                Dropped::All => {
                    self.jumps.fill(Jump::default());
                    self.pages.fill(0);
                }
                Dropped::Page(page) if self.pages[page as usize >> 6 & (PAGES - 1)] >> (page & 63) & 1 != 0 => {
                    self.jumps.iter_mut().filter(|j| j.rip >> 12 == page).for_each(|j| *j = Jump::default());
                }
                Dropped::Page(_) | Dropped::Data(_) => {}
            }
        }
    }

    /// Goes back to a direct branch whose target is no address, which the interpreter makes a fault. What a call pushed
    /// is not part of the stack then.
    fn undo_branch(&mut self, cpu: &mut Cpu) -> bool {
        let Some((n, _)) = self.wanted.filter(|(_, rip)| !crate::int::canonical(*rip)) else { return false };
        let Some(Link { of: (block, Some(branch)), .. }) = self.links.get(n) else { return false };
        let Some(block) = self.blocks.get(*block) else { return false };
        let start = block.ops.get(branch.index).map_or(0, |op| op.start);
        cpu.rip = cpu.r64(REG_PAGE) + block.key.place.offset() + u64::from(start);
        if branch.call {
            cpu.set_r64(4, cpu.r64(4).wrapping_add(8));
        }
        self.wanted = None;
        true
    }

    /// Runs `code` of `block`, which is at RIP.
    #[inline]
    pub(crate) fn run<'a>(&mut self, cpu: &mut Cpu, bus: &mut dyn Bus, block: &'a Block, code: u64) -> Ran<'a> {
        if block.renewed() {
            self.unlink(block);
        }
        if let Some((n, target)) = self.wanted.take()
            && target == cpu.rip
        {
            self.link(n, Some(block));
        }
        self.statistics.entries += 1;
        if self.statistics.entries.is_multiple_of(TELL) {
            self.statistics.large = self.memory.look(self.used) as u64;
            self.shared.tell(&self.statistics);
        }
        if self.lost {
            self.lost = false;
            cpu.jit.lose_sites();
        }
        cpu.jit.use_sites(&self.sites);
        cpu.refresh_context();
        if self.epoch != cpu.tlb.epoch {
            self.forget_jumps(cpu);
        }
        if !self.single {
            self.remember(cpu, block);
        }
        cpu.jit.attention = Arc::as_ptr(&cpu.attention) as u64;
        // Enabling interrupts leaves translated code.
        let interrupts = Attention::INTR | Attention::INTR_WINDOW;
        cpu.jit.attention_mask = if cpu.sysflags & rflags::IF != 0 { u32::MAX } else { !interrupts };
        cpu.jit.jumps = self.jumps.as_ptr() as u64;
        cpu.jit.avx = translate::avx_enabled(cpu);
        cpu.jit.link = 0;
        cpu.refresh_clock();
        cpu.set_r64(REG_PAGE, cpu.rip & !0xFFF);
        cpu.jit.host_mxcsr = crate::fpu::MXCSR_RESET;
        self.memory.settle();
        let bus: *mut dyn Bus = bus;
        // SAFETY: only the lifetime is changed; the pointer is used by what `enter` calls, while `bus` is borrowed, and
        // forgotten below.
        cpu.jit.bus = NonNull::new(unsafe { std::mem::transmute::<*mut dyn Bus, *mut (dyn Bus + 'static)>(bus) });
        // SAFETY: the common code was written by `new` and is never changed; `code` is the start of a translated block,
        // which stays until `reset`. Translated code touches `cpu`, guest memory through TLB entries that `cpu` keeps
        // alive, and what `blocks` and `jumps` keep alive.
        let how = unsafe {
            let enter = std::mem::transmute::<u64, Enter>(self.memory.start() + self.common.enter as u64);
            cpu.jit.engine = Some(NonNull::from(&mut *self));
            enter(cpu, code)
        };
        cpu.jit.bus = None;
        cpu.jit.engine = None;
        if let Some(sites) = cpu.jit.take_roamed() {
            cpu.attention.fetch_and(!Attention::LOOK, Ordering::AcqRel);
            self.settle(cpu, &sites);
        }
        if !self.patient.is_empty() {
            self.lose_patience(cpu);
        }
        cpu.lazy.set(cpu.jit.flags.flags());
        self.wanted = (cpu.jit.link as usize).checked_sub(1).map(|n| (n, cpu.rip));
        let s = &mut self.statistics;
        match (how, self.wanted) {
            (runtime::GO_ON, Some(_)) => s.left_unlinked += 1,
            (runtime::GO_ON, None) => s.left_checks += 1,
            (runtime::REFUSED, _) => s.left_refused += 1,
            (runtime::ABORTED, _) => s.left_aborted += 1,
            _ => s.left_stopped += 1,
        }
        match how {
            runtime::GO_ON if self.undo_branch(cpu) => Ran::Interpret,
            runtime::GO_ON => Ran::Continue,
            runtime::REFUSED => Ran::Interpret,
            _ => {
                let at = cpu.jit.block as *const Block;
                // Of this block, or of one that was linked.
                // SAFETY: the block whose instruction a thunk ran: `blocks` keeps it alive until `reset`, which needs
                // `&mut self` and comes before the next block at the earliest; the run loop is done with it then.
                let of: &'a Block = unsafe { &*at };
                let index = (cpu.jit.op & 0xFFFF) as usize;
                let Some(op) = of.ops.get(index) else { return Ran::Continue };
                if how == runtime::ABORTED { Ran::Aborted(of, op) } else { Ran::Stopped(of, op) }
            }
        }
    }
}

/// What both ends of a branch to another page agree in.
fn key_offset(key: Key) -> (u64, Mode) {
    (key.place.offset(), key.mode)
}

/// Host registers of the guest's, and which they are.
const HELD: [(u8, u8); 12] =
    [(0, 0), (1, 1), (2, 2), (3, 3), (5, 5), (6, 6), (7, 7), (8, 8), (9, 9), (10, 10), (11, 11), (GUEST_RSP, 4)];
/// Registers that the caller wants back.
const SAVED: [u8; 6] = [3, 5, 12, 13, 14, 15];

/// Bytes of the host's stack for predicted returns.
const STACK: i32 = 16 << 10;
/// No return address: it is not canonical.
const NO_RETURN: u64 = 1 << 63;

/// Whether code of this mode can be translated: 64-bit code, and 32-bit code with flat segments.
pub(super) fn translatable(mode: Mode) -> bool {
    mode.has(Mode::CODE64)
        || mode.has(Mode::CODE32 | Mode::STACK32 | Mode::FLAT | Mode::PROTECTED) && !mode.has(Mode::V86)
}

fn spill(a: &mut Asm) {
    for (host, guest) in HELD {
        a.store(Mem::state(translate::register(guest)), host);
    }
}

fn reload(a: &mut Asm) {
    for (host, guest) in HELD {
        a.load(host, Mem::state(translate::register(guest)));
    }
}

/// Calls `save` when something is in vector registers, and `stack` when x87 registers are. T1 is lost; and what those lose.
fn save_registers(a: &mut Asm, [save, stack]: [usize; 2]) {
    x87::put_away(a, stack);
    a.byte_is_zero(Mem::state(OFFSETS.level));
    let none = a.jcc(Cc::Equal as u8);
    let call = a.call();
    a.fill(call, save);
    a.fill_here(none);
}

/// The code that is there once.
fn common_code(width: Width) -> (Vec<u8>, Common) {
    let mut a = Asm::default();
    let mut c = Common { enter: a.at(), ..Common::default() };
    SAVED.iter().for_each(|r| a.push(*r));
    a.alu_imm(true, Alu::Sub, RSP, 8);
    a.lea(STATE, Mem::base(RDI, BIAS));
    a.mov(T2, RSI);
    reload(&mut a);
    // At the bottom of the predictions is one that no return address equals (but a bad one, which leaves).
    a.imm(T1, NO_RETURN);
    a.push(T1);
    let bottom = a.call();
    let bad = a.jmp();
    a.fill_here(bottom);
    a.store(Mem::state(OFFSETS.stack), RSP);
    a.lea(T1, Mem::base(RSP, -STACK));
    a.store(Mem::state(OFFSETS.stack_limit), T1);
    a.jmp_reg(T2);

    // The registers are in `Cpu`, EAX is what to return.
    let leave = a.at();
    a.load(RSP, Mem::state(OFFSETS.stack));
    a.alu_imm(true, Alu::Add, RSP, 24);
    SAVED.iter().rev().for_each(|r| a.pop(*r));
    a.ret();
    let save = vectors::save_code(&mut a, width);
    c.vectors = [XMM, WHOLE, EVERYTHING].map(|level| vectors::load_code(&mut a, level, width, save));
    c.stack = x87::load_code(&mut a);
    let stack = x87::save_code(&mut a, is_x86_feature_detected!("xsave"));
    let save = [save, stack];

    c.exit_link = a.at();
    a.store(Mem::state(OFFSETS.link), T1);
    a.fill_here(bad);
    c.exit = exit(&mut a, runtime::GO_ON, save, leave);
    c.refuse = exit(&mut a, runtime::REFUSED, save, leave);
    c.op = thunk(&mut a, runtime::run_op as *const () as u64, save, leave);
    c.find = find(&mut a, save);
    c.written = thunk(&mut a, runtime::written as *const () as u64, save, leave);
    let sample = sites::sample_code(&mut a);
    c.page = [false, true].map(|write| sites::page_code(&mut a, write));
    c.roam = [false, true].map(|write| sites::roam_code(&mut a, write, sample));
    c.far = sites::far_code(&mut a);
    c.search = flow::search_code(&mut a, c.exit_link);
    c.returned = flow::returned_code(&mut a, c.find);
    c.enter_found = a.at();
    flow::enter_found(&mut a);
    c.wait = backoff::wait_code(&mut a);
    (a.buf, c)
}

/// Leaves with `how` for the RIP in R14.
fn exit(a: &mut Asm, how: u32, save: [usize; 2], leave: usize) -> usize {
    let start = a.at();
    a.store(Mem::state(OFFSETS.rip), T2);
    spill(a);
    save_registers(a, save);
    a.imm(RAX, u64::from(how));
    let j = a.jmp();
    a.fill(j, leave);
    start
}

/// Calls `f`; the guest's registers are in `Cpu`.
fn call_rust(a: &mut Asm, f: u64) {
    a.imm(RAX, f);
    // There may be half a prediction on the stack.
    a.mov(RBX, RSP);
    a.alu_imm(true, Alu::And, RSP, -16);
    a.call_reg(RAX);
    a.mov(RSP, RBX);
}

/// Calls `f(cpu, block R14, instruction R13)`; returns to the block, or leaves.
fn thunk(a: &mut Asm, f: u64, save: [usize; 2], leave: usize) -> usize {
    let start = a.at();
    spill(a);
    a.store(Mem::state(OFFSETS.op), T1);
    a.store(Mem::state(OFFSETS.block), T2);
    save_registers(a, save);
    a.lea(RDI, Mem::state(0));
    a.mov(RSI, T2);
    a.load32(2, Mem::state(OFFSETS.op));
    call_rust(a, f);
    a.bytes(&[0x85, 0xC0]); // test eax, eax
    let out = a.jcc(Cc::NotEqual as u8);
    reload(a);
    a.ret();
    a.fill(out, leave);
    start
}

/// Calls [`runtime::find`] for the RIP in R14: the code is in R13 then.
fn find(a: &mut Asm, save: [usize; 2]) -> usize {
    let start = a.at();
    spill(a);
    a.store(Mem::state(OFFSETS.rip), T2);
    save_registers(a, save);
    a.lea(RDI, Mem::state(0));
    a.mov(RSI, T2);
    call_rust(a, runtime::find as *const () as u64);
    a.mov(T1, RAX);
    a.load(T2, Mem::state(OFFSETS.rip));
    reload(a);
    a.ret();
    start
}

const _: () = assert!(size_of::<Jump>() == 32 && offset_of!(Context, flags) == 0);
