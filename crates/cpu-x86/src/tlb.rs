//! The software translation look-aside buffer (Intel SDM volume 3, 4.10, as a model of what it allows).
//!
//! Direct mapped by linear page. An entry has one tag for each kind of access, so that one comparison answers "is
//! this page there, in this address space, and may it be read / written / executed": page address | generation. An
//! address space is a generation; a CR3 load takes a new one (or, with PCIDs, an old one) and touches no entry.
//! There is one table for user accesses, one for supervisor accesses, one for supervisor accesses with RFLAGS.AC
//! (SMAP), and one that is never filled, which sends every access down the slow path (alignment checking).
//! Supervisor accesses have generations of their own, so that what they found of global pages survives CR3 loads: as long as only few
//! of their entries are of others ([`Local`]), these are emptied instead. For user accesses global pages are treated as non-global,
//! and everything is cached in 4 KiB pieces: both only drop more than needed.
//!
//! Host pointers in here are alive because [`Tlb::blocks`] holds the blocks they point into; both go together.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use guest_memory::{PAGE_SIZE, RamBlock};

use crate::bus::{Attention, Bus, PhysPage};
use crate::cache::KeyHasher;
use crate::fault::Access;
use crate::large::{LargeArray, Zero};
use crate::state::{Cpu, Mode, cr::*};

/// Entries in a table: so many that two of the few dozen pages which a program uses all the time seldom share one.
pub(crate) const ENTRIES: usize = 32768;
const TABLES: usize = 4;
/// First entry of the table for accesses at CPL 3.
pub(crate) const USER: usize = 0;
/// For supervisor accesses (with SMAP: that must not reach user pages).
pub(crate) const SUPERVISOR: usize = ENTRIES;
/// For supervisor accesses that SMAP lets through.
pub(crate) const SUPERVISOR_AC: usize = 2 * ENTRIES;
/// Never filled.
pub(crate) const UNCACHED: usize = 3 * ENTRIES;

const PAGE_MASK: u64 = !0xFFF;
const GENERATIONS: u64 = 0x1000;
const PHYS_ENTRIES: usize = 256;
const PCIDS: usize = 16;

/// One translation of one table. A tag of zero never matches: generation 0 is not used.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Entry {
    pub(crate) read: u64,
    pub(crate) write: u64,
    pub(crate) exec: u64,
    /// Host address minus linear address.
    pub(crate) addend: usize,
    /// The page's flag byte.
    pub(crate) flags: *const AtomicU8,
    /// The page's code version.
    pub(crate) version: *const AtomicU32,
    /// Where in the block the page starts.
    pub(crate) offset: u64,
    /// Index in [`Tlb::blocks`].
    pub(crate) block: u32,
}

impl Entry {
    const EMPTY: Self = Self {
        read: 0,
        write: 0,
        exec: 0,
        addend: 0,
        flags: std::ptr::null(),
        version: std::ptr::null(),
        offset: 0,
        block: 0,
    };
}

// SAFETY: integers and raw pointers.
unsafe impl Zero for Entry {}

/// A guest-physical page as the bus described it. `host` is null for devices.
#[derive(Clone, Copy)]
pub(crate) struct Phys {
    pub(crate) gpa: u64,
    pub(crate) host: *mut u8,
    pub(crate) flags: *const AtomicU8,
    pub(crate) version: *const AtomicU32,
    pub(crate) offset: u64,
    pub(crate) block: u32,
    pub(crate) writable: bool,
    pub(crate) executable: bool,
}

impl Phys {
    const fn device(gpa: u64) -> Self {
        Self {
            gpa,
            host: std::ptr::null_mut(),
            flags: std::ptr::null(),
            version: std::ptr::null(),
            offset: 0,
            block: 0,
            writable: false,
            executable: false,
        }
    }
}

/// What a fill may be used for.
#[derive(Clone, Copy)]
pub(crate) struct Allowed {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) exec: bool,
}

/// A linear page that leads to a device: where it leads for the accessor of one table, and what it may do there without
/// another walk. Devices have no entry in the tables, since every access of theirs goes the slow way.
#[derive(Clone, Copy)]
struct Device {
    base: usize,
    page: u64,
    gpa: u64,
    read: bool,
    write: bool,
}

/// Pages of devices that are remembered; a string instruction has two, and programs few more.
const DEVICES: usize = 8;

/// log2 of the regions that entries made from large pages (of 2 or 4 MiB) and from 1 GiB pages are dropped by.
const LARGE: u32 = 22;
const HUGE: u32 = 30;

/// Numbers of regions: which ones, or (when there are too many) that it may be any.
#[derive(Default)]
struct Regions {
    known: HashSet<u64, BuildHasherDefault<KeyHasher>>,
    last: Option<u64>,
    any: bool,
}

impl Regions {
    const MOST: usize = 4096;

    fn insert(&mut self, region: u64) {
        if self.last == Some(region) || self.any {
            return;
        }
        self.last = Some(region);
        self.any = self.known.len() >= Self::MOST;
        self.known.insert(region);
    }

    fn has(&self, region: u64) -> bool {
        self.any || self.known.contains(&region)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// An address space that was left: its translations are found again when it comes back.
#[derive(Clone, Copy, Debug)]
struct Space {
    pcid: u16,
    /// Its generation for user accesses.
    user: u64,
    /// For supervisor accesses: all entries that have it are of this space, or of global pages. 0: none.
    kernel: u64,
}

/// Entries of the supervisor generation that are not of global pages, since the last CR3 load.
#[derive(Default)]
struct Local {
    /// Which ones, and the pages.
    entries: Vec<(usize, u64)>,
    /// There are others, too.
    more: bool,
}

impl Local {
    /// Most that are worth emptying one by one.
    const MOST: usize = 64;

    fn add(&mut self, at: usize, page: u64) {
        if self.more || self.entries.last() == Some(&(at, page)) {
            return;
        }
        self.more = self.entries.len() >= Self::MOST;
        self.entries.push((at, page));
    }
}

/// A page whose translations were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// All of them.
    All,
    Page(u64),
    /// Only for data accesses.
    Data(u64),
}

/// All tables of one processor.
pub(crate) struct Tlb {
    entries: LargeArray<Entry, { TABLES * ENTRIES }>,
    /// First entry of the table for the data accesses of instructions, by privilege and mode.
    pub(crate) base: usize,
    /// Of user accesses.
    generation: u64,
    /// Of supervisor accesses. (No two of these numbers are ever the same.)
    kernel: u64,
    /// The one of the two that accesses have now.
    current: u64,
    local: Local,
    last_generation: u64,
    /// Changes when a translation may have been dropped.
    pub(crate) epoch: u64,
    /// Whose translations were dropped since this was taken.
    dropped: Vec<Dropped>,
    /// Times generations started anew.
    wraps: u64,
    /// Most recently used first.
    spaces: Vec<Space>,
    blocks: Vec<Arc<RamBlock>>,
    phys: Box<[Phys; PHYS_ENTRIES]>,
    devices: [Option<Device>; DEVICES],
    /// `epoch` that `devices` is right for.
    devices_epoch: u64,
    /// The 4 MiB regions that have entries made from large pages.
    large: Regions,
    /// The 1 GiB regions that have entries made from 1 GiB pages.
    huge: Regions,
    /// PDPTE registers of PAE paging, once loaded.
    pub(crate) pdpte: Option<[u64; 4]>,
    /// `Cpu::walk_model`, as of the last full flush.
    pub(crate) model: (u32, bool),
    /// The debug registers, if any breakpoint is enabled: pages with data breakpoints are not cached.
    watch: [u64; 5],
}

// SAFETY: the pointers point to memory and atomics of the `RamBlock`s in `blocks`, which are Send and Sync.
unsafe impl Send for Tlb {}

fn array<T: Copy, const N: usize>(value: T) -> Box<[T; N]> {
    match vec![value; N].into_boxed_slice().try_into() {
        Ok(b) => b,
        Err(_) => unreachable!("the vector has N elements"),
    }
}

impl Default for Tlb {
    fn default() -> Self {
        Self {
            entries: LargeArray::new(),
            base: SUPERVISOR,
            generation: 1,
            kernel: 2,
            current: 2,
            local: Local::default(),
            last_generation: 2,
            epoch: 0,
            dropped: Vec::new(),
            wraps: 0,
            spaces: Vec::new(),
            blocks: Vec::new(),
            phys: array(Phys::device(u64::MAX)),
            devices: [None; DEVICES],
            devices_epoch: 0,
            large: Regions::default(),
            huge: Regions::default(),
            pdpte: None,
            model: (36, false),
            watch: [0; 5],
        }
    }
}

impl Tlb {
    /// The slot of `at` in the table that starts at `base`.
    #[inline(always)]
    pub(crate) fn slot(&self, base: usize, at: u64) -> &Entry {
        &self.entries[(base | (at >> 12) as usize & (ENTRIES - 1)) & (TABLES * ENTRIES - 1)]
    }

    /// The slot of `at` for data accesses.
    #[inline(always)]
    pub(crate) fn data(&self, at: u64) -> &Entry {
        self.slot(self.base, at)
    }

    /// The tag that a usable entry for the page of `at` has. With the address of an access's last byte and the
    /// slot of its first, equality also says that the access stays in its page.
    #[inline(always)]
    pub(crate) fn tag(&self, at: u64) -> u64 {
        at & PAGE_MASK | self.current
    }

    /// The same in the table that starts at `base`.
    #[inline(always)]
    pub(crate) fn tag_in(&self, base: usize, at: u64) -> u64 {
        at & PAGE_MASK | self.generation_in(base)
    }

    #[inline(always)]
    fn generation_in(&self, base: usize) -> u64 {
        // (The table that is never filled is for CPL 3.)
        if matches!(base, USER | UNCACHED) { self.generation } else { self.kernel }
    }

    /// What translated code looks things up in: the tables for data and for fetches at `exec`, and the generation.
    #[inline(always)]
    pub(crate) fn raw(&self, exec: usize) -> (*const Entry, *const Entry, u64) {
        let at = |base: usize| std::ptr::from_ref(&self.entries[base & (TABLES * ENTRIES - 1)]);
        (at(self.base), at(exec), self.current)
    }

    /// The address of a table, if it fits into a displacement.
    pub(crate) fn table(&self, base: usize) -> Option<i32> {
        i32::try_from(std::ptr::from_ref(self.slot(base, 0)).addr()).ok()
    }

    /// The block that a host address is in, and where.
    pub(crate) fn locate(&self, host: u64) -> Option<(u32, u64)> {
        self.blocks.iter().enumerate().find_map(|(i, b)| {
            let offset = host.wrapping_sub(b.host_ptr(0) as u64);
            (offset < b.len()).then_some((i as u32, offset))
        })
    }

    /// The block with this index.
    pub(crate) fn block(&self, index: u32) -> &Arc<RamBlock> {
        &self.blocks[index as usize]
    }

    /// Enters a translation; `shift` is the size of the page it comes from, and whether that is `global`.
    pub(crate) fn fill(&mut self, base: usize, at: u64, phys: &Phys, allowed: Allowed, (shift, global): (u32, bool)) {
        let tag = self.tag_in(base, at);
        let slot = (base | (at >> 12) as usize & (ENTRIES - 1)) & (TABLES * ENTRIES - 1);
        if base != USER && !global {
            self.local.add(slot, at >> 12);
            // Branch targets there would have to be looked for.
            self.local.more |= allowed.exec && phys.executable;
        }
        if shift > 12 {
            self.large.insert(at >> LARGE);
        }
        if shift >= HUGE {
            self.huge.insert(at >> HUGE);
        }
        let when = |on: bool| if on { tag } else { 0 };
        self.entries[slot] = Entry {
            read: when(allowed.read),
            write: when(allowed.write && phys.writable),
            exec: when(allowed.exec && phys.executable),
            addend: (phys.host as usize).wrapping_sub((at & PAGE_MASK) as usize),
            flags: phys.flags,
            version: phys.version,
            offset: phys.offset,
            block: phys.block,
        };
    }

    /// RAM at `at`, if the table at `base` knows that it may be read (or written).
    pub(crate) fn cached(&self, base: usize, at: u64, write: bool) -> Option<Phys> {
        let e = self.slot(base, at);
        ((if write { e.write } else { e.read }) == self.tag_in(base, at)).then(|| Phys {
            host: e.addend.wrapping_add((at & PAGE_MASK) as usize) as *mut u8,
            flags: e.flags,
            version: e.version,
            offset: e.offset,
            block: e.block,
            writable: write,
            ..Phys::device(0)
        })
    }

    /// The device at `at`, if it is remembered that the accessor of the table at `base` may do this there.
    pub(crate) fn device(&self, base: usize, at: u64, access: Access) -> Option<Phys> {
        let d = self.devices[(at >> 12) as usize & (DEVICES - 1)]?;
        let may = match access {
            Access::Read => d.read,
            Access::Write => d.write,
            Access::Fetch => false,
        };
        let known = self.devices_epoch == self.epoch && d.base == base && d.page == at & PAGE_MASK;
        (known && may).then(|| Phys::device(d.gpa))
    }

    /// Remembers the page of a device.
    pub(crate) fn note_device(&mut self, base: usize, at: u64, gpa: u64, allowed: Allowed) {
        if self.devices_epoch != self.epoch {
            self.devices = [None; DEVICES];
            self.devices_epoch = self.epoch;
        }
        let device = Device { base, page: at & PAGE_MASK, gpa, read: allowed.read, write: allowed.write };
        self.devices[(at >> 12) as usize & (DEVICES - 1)] = Some(device);
    }

    /// What is behind the guest-physical page of `gpa`.
    pub(crate) fn physical(&mut self, bus: &mut dyn Bus, gpa: u64) -> Phys {
        let gpa = gpa & PAGE_MASK;
        let slot = (gpa >> 12) as usize & (PHYS_ENTRIES - 1);
        if self.phys[slot].gpa != gpa {
            self.phys[slot] = self.ask(bus, gpa);
        }
        self.phys[slot]
    }

    fn ask(&mut self, bus: &mut dyn Bus, gpa: u64) -> Phys {
        let PhysPage::Ram { block, offset, writable, executable } = bus.page(gpa) else { return Phys::device(gpa) };
        let inside = offset.checked_add(PAGE_SIZE).is_some_and(|end| end <= block.len());
        if !offset.is_multiple_of(PAGE_SIZE) || !inside {
            return Phys::device(gpa); // flags and versions are kept for whole pages
        }
        let host = block.host_ptr(offset);
        let (flags, version) =
            (std::ptr::from_ref(block.flags(offset)), std::ptr::from_ref(block.code_version(offset)));
        let index = self.blocks.iter().position(|b| Arc::ptr_eq(b, &block)).unwrap_or_else(|| {
            self.blocks.push(block);
            self.blocks.len() - 1
        });
        Phys { gpa, host, flags, version, offset, block: index as u32, writable, executable }
    }

    fn clear(&mut self) {
        self.entries.fill(Entry::EMPTY);
        self.large.clear();
        self.huge.clear();
    }

    /// A generation no entry has.
    fn fresh(&mut self) -> u64 {
        self.last_generation += 1;
        if self.last_generation >= GENERATIONS {
            self.clear();
            self.spaces.clear();
            self.local = Local::default();
            self.wraps += 1;
            (self.generation, self.kernel, self.last_generation) = (1, 2, 3);
        }
        self.last_generation
    }

    /// Makes `pcid` the current address space, with its old translations if `keep` and there are some.
    fn switch(&mut self, pcid: u16, keep: bool) {
        self.epoch = self.epoch.wrapping_add(1);
        let wraps = self.wraps;
        let old = self.spaces.first().map(|s| s.pcid);
        let known = self.spaces.iter().position(|s| s.pcid == pcid).map(|i| self.spaces.remove(i)).filter(|_| keep);
        if self.local.more {
            // What supervisor accesses found is the old space's.
            let kernel = self.kernel;
            for s in self.spaces.iter_mut().filter(|s| s.kernel == kernel && Some(s.pcid) != old) {
                s.kernel = 0;
            }
            let ours = known.filter(|s| s.kernel != 0 && (s.kernel != kernel || old == Some(pcid)));
            // (There may be more of a space that is found again.)
            self.local = Local { entries: Vec::new(), more: ours.is_some() };
            self.kernel = match ours {
                Some(s) => s.kernel,
                None => self.fresh(),
            };
        } else {
            for (at, page) in std::mem::take(&mut self.local.entries) {
                self.entries[at & (TABLES * ENTRIES - 1)] = Entry::EMPTY;
                self.note_dropped(Dropped::Data(page));
            }
        }
        let user = match known {
            Some(s) if wraps == self.wraps => s.user,
            _ => self.fresh(),
        };
        self.generation = user;
        self.choose();
        self.spaces.truncate(PCIDS - 1);
        self.spaces.insert(0, Space { pcid, user, kernel: self.kernel });
    }

    /// After a change of generations, or of the table.
    fn choose(&mut self) {
        self.current = self.generation_in(self.base);
    }

    /// Forgets what supervisor accesses found.
    fn drop_kernel(&mut self) {
        self.local = Local::default();
        self.kernel = self.fresh();
        self.choose();
    }

    /// Forgets the translations of the page (of any size) that holds `at`, in all address spaces.
    fn flush_page(&mut self, at: u64) {
        self.epoch = self.epoch.wrapping_add(1);
        self.note_dropped(Dropped::Page(at >> 12));
        if self.huge.has(at >> HUGE) {
            self.note_dropped(Dropped::All);
            self.drop_region(at, HUGE);
        } else if self.large.has(at >> LARGE) {
            self.note_dropped(Dropped::All);
            self.drop_region(at, LARGE);
        }
        for base in [USER, SUPERVISOR, SUPERVISOR_AC] {
            self.entries[base | (at >> 12) as usize & (ENTRIES - 1)] = Entry::EMPTY;
        }
    }

    fn note_dropped(&mut self, what: Dropped) {
        const MOST: usize = 256;
        if what == Dropped::All || self.dropped.len() >= MOST {
            self.dropped.clear();
            self.dropped.push(Dropped::All);
        } else if self.dropped.last() != Some(&Dropped::All) {
            self.dropped.push(what);
        }
    }

    /// Whose translations were dropped since last time. (New generations not counted.)
    pub(crate) fn take_dropped(&mut self) -> Vec<Dropped> {
        std::mem::take(&mut self.dropped)
    }

    /// A number of what accesses find now, in the current address space, that is never used for anything else.
    pub(crate) fn space(&self) -> u64 {
        self.wraps * GENERATIONS + self.current
    }

    /// The same for accesses by the table that starts at `base`.
    pub(crate) fn space_in(&self, base: usize) -> u64 {
        self.wraps * GENERATIONS + self.generation_in(base)
    }

    fn drop_region(&mut self, at: u64, shift: u32) {
        let same = |tag: u64| tag != 0 && tag >> shift == at >> shift;
        // Of each table, those that its pages can be in.
        let many = (1usize << (shift - 12)).min(ENTRIES);
        let first = (at >> shift << shift >> 12) as usize & (ENTRIES - 1);
        for table in self.entries.chunks_exact_mut(ENTRIES) {
            for e in table.iter_mut().skip(first).take(many) {
                if same(e.read) || same(e.write) || same(e.exec) {
                    *e = Entry::EMPTY;
                }
            }
        }
    }

    /// Forgets everything, host memory included: the physical map changed.
    pub(crate) fn drop_memory(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.note_dropped(Dropped::All);
        self.spaces.clear();
        self.drop_kernel();
        self.generation = self.fresh();
        self.choose();
        self.phys.fill(Phys::device(u64::MAX));
        self.blocks.clear();
    }
}

impl Cpu {
    /// Drops what is cached of the map, if that was asked for.
    pub(crate) fn drop_old_map(&mut self) {
        let asked = self.attention.fetch_and(!Attention::FLUSH_TLB, Ordering::AcqRel) & Attention::FLUSH_TLB != 0;
        if asked {
            self.tlb.drop_memory();
            self.flush_tlb(true);
        }
    }

    /// Chooses the TLB table for data accesses: to be called (`update_mode` does) when the CPL, RFLAGS.AC, CR4.SMAP
    /// or a debug register changed.
    #[inline]
    pub fn select_tlb(&mut self) {
        self.tlb.base = if self.mode.has(Mode::ALIGN) {
            UNCACHED
        } else if self.mode.has(Mode::USER) {
            USER
        } else if self.cr4 & CR4_SMAP != 0 && self.sysflags & crate::flags::rflags::AC != 0 {
            SUPERVISOR_AC
        } else {
            SUPERVISOR
        };
        self.tlb.choose();
        let mut watch = [0; 5];
        if self.dr[7] & 0xFF != 0 {
            watch[..4].copy_from_slice(&self.dr[..4]);
            watch[4] = self.dr[7];
        }
        if watch != self.tlb.watch {
            self.tlb.watch = watch;
            self.flush_tlb(true);
        }
    }

    fn pcid(&self) -> u16 {
        if self.cr4 & CR4_PCIDE != 0 { (self.cr3 & 0xFFF) as u16 } else { 0 }
    }

    /// Drops the cached translations of the current address space, or (`all`) of all of them, as for changes of CR0,
    /// CR4, EFER and DR7.
    pub fn flush_tlb(&mut self, all: bool) {
        if all {
            self.tlb.spaces.clear();
            self.tlb.drop_kernel();
            self.tlb.model = self.walk_model();
        }
        self.switch_address_space(false);
        self.select_tlb();
    }

    /// Follows a load of CR3. `keep`: bit 63 of the value was set with CR4.PCIDE, so that what is cached for its
    /// PCID stays usable.
    pub fn switch_address_space(&mut self, keep: bool) {
        let pcid = self.pcid();
        self.tlb.switch(pcid, keep);
        self.tlb.pdpte = None;
    }

    /// Drops the translations of one page, in all address spaces.
    pub fn flush_page(&mut self, at: u64) {
        self.tlb.flush_page(at);
    }

    /// Drops the translations of one PCID (INVPCID type 1).
    pub fn flush_pcid(&mut self, pcid: u16) {
        if pcid == self.pcid() {
            self.tlb.switch(pcid, false);
        } else {
            self.tlb.spaces.retain(|s| s.pcid != pcid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(shift: u32) -> Tlb {
        let mut t = Tlb::default();
        let all = Allowed { read: true, write: true, exec: true };
        t.fill(USER, 0x40_3000, &Phys { writable: true, executable: true, ..Phys::device(0) }, all, (shift, false));
        t
    }

    #[test]
    fn what_is_cached_can_be_asked_for() {
        let mut t = Tlb::default();
        let ram = Phys { host: 0x7000_0000 as *mut u8, offset: 0x5000, writable: true, ..Phys::device(0) };
        t.fill(USER, 0x40_3000, &ram, Allowed { read: true, write: false, exec: false }, (12, false));
        let found = t.cached(USER, 0x40_3123, false).expect("a page");
        assert_eq!((found.host as usize, found.offset, found.writable), (0x7000_0000, 0x5000, false));
        assert!(t.cached(USER, 0x40_3123, true).is_none() && t.cached(SUPERVISOR, 0x40_3123, false).is_none());
    }

    fn hit(t: &Tlb, at: u64) -> bool {
        t.slot(USER, at).read == t.tag_in(USER, at)
    }

    fn kernel_hit(t: &Tlb, at: u64) -> bool {
        t.slot(SUPERVISOR, at).read == t.tag_in(SUPERVISOR, at)
    }

    /// Enters a page for supervisor accesses.
    fn enter(t: &mut Tlb, at: u64, exec: bool, global: bool) {
        let ram = Phys { writable: true, executable: true, ..Phys::device(0) };
        t.fill(SUPERVISOR, at, &ram, Allowed { read: true, write: true, exec }, (12, global));
    }

    #[test]
    fn global_pages_outlive_their_address_space() {
        let mut t = Tlb::default();
        enter(&mut t, 0x9000, true, true);
        enter(&mut t, 0xA000, false, false);
        t.take_dropped();
        t.switch(1, true);
        assert!(kernel_hit(&t, 0x9000) && !kernel_hit(&t, 0xA000));
        assert_eq!(t.take_dropped(), [Dropped::Data(0xA)]);
        t.flush_page(0x9000);
        assert!(!kernel_hit(&t, 0x9000));
        enter(&mut t, 0x9000, true, true);
        t.drop_kernel();
        assert!(!kernel_hit(&t, 0x9000));
    }

    #[test]
    fn many_pages_that_are_not_global_are_kept_for_their_address_space() {
        for exec in [false, true] {
            let pages = if exec { 1 } else { 2 * Local::MOST as u64 };
            let all = |t: &Tlb| (0..pages).map(|n| kernel_hit(t, n << 12)).collect::<Vec<_>>();
            let mut t = Tlb::default();
            t.switch(1, false);
            t.switch(2, false);
            t.switch(1, true);
            let before = t.space_in(SUPERVISOR);
            (0..pages).for_each(|n| enter(&mut t, n << 12, exec, false));
            t.switch(2, true);
            assert!(all(&t).iter().all(|hit| !hit), "another address space");
            let second = t.space_in(SUPERVISOR);
            assert!(second != before && second != t.space_in(USER));
            enter(&mut t, 0x20_0000, true, false);
            t.switch(3, true);
            enter(&mut t, 0x10_0000, true, false);
            t.switch(1, true);
            assert!(all(&t).iter().all(|hit| *hit) && t.space_in(SUPERVISOR) == before, "found again");
            t.switch(2, true);
            assert!(kernel_hit(&t, 0x20_0000) && t.space_in(SUPERVISOR) == second);
            t.switch(1, false);
            assert!(all(&t).iter().all(|hit| !hit), "not wanted");
        }
    }

    #[test]
    fn what_several_spaces_share_is_no_ones_once_it_is_not_global() {
        let mut t = Tlb::default();
        t.switch(1, false);
        enter(&mut t, 0x9000, true, true);
        t.switch(2, false);
        t.switch(1, true);
        // Of space 1, in the generation that space 2 had, too.
        enter(&mut t, 0xB000, true, false);
        t.switch(2, true);
        assert!(!kernel_hit(&t, 0xB000) && !kernel_hit(&t, 0x9000));
        enter(&mut t, 0xC000, true, false);
        t.switch(1, true);
        assert!(!kernel_hit(&t, 0xC000));
        assert!(kernel_hit(&t, 0xB000) && kernel_hit(&t, 0x9000));
    }

    #[test]
    fn pages_and_large_pages_are_dropped() {
        let mut t = filled(12);
        assert!(hit(&t, 0x40_3FFF) && !hit(&t, 0x80_3000));
        t.flush_page(0x40_4000);
        assert!(hit(&t, 0x40_3000), "another page");
        t.flush_page(0x40_3008);
        assert!(!hit(&t, 0x40_3000));
        let mut t = filled(21);
        t.flush_page(0x40_0000);
        assert!(!hit(&t, 0x40_3000), "same large page");
        let mut t = filled(30);
        t.flush_page(0x3000_0000);
        assert!(!hit(&t, 0x40_3000), "same 1 GiB page");
    }

    #[test]
    fn address_spaces_are_kept_apart_and_found_again() {
        let mut t = filled(12);
        t.switch(1, true);
        assert!(!hit(&t, 0x40_3000));
        let all = Allowed { read: true, write: true, exec: true };
        t.fill(USER, 0x40_3000, &Phys::device(0), all, (12, false));
        assert!(hit(&t, 0x40_3000));
        t.switch(2, true);
        assert!(!hit(&t, 0x40_3000));
        t.switch(1, true);
        assert!(hit(&t, 0x40_3000));
        t.switch(1, false);
        assert!(!hit(&t, 0x40_3000));
    }

    #[test]
    fn generations_wrap_without_ghosts() {
        let mut t = filled(12);
        for _ in 0..2 * GENERATIONS {
            t.switch(0, false);
            assert!(!hit(&t, 0x40_3000) && !kernel_hit(&t, 0x5000));
            enter(&mut t, 0x5000, true, false);
            assert!(kernel_hit(&t, 0x5000) && t.generation != t.kernel);
        }
    }

    /// What the tables say is what the (random) page tables say, as far as processors have to know.
    #[test]
    fn no_translation_is_another_spaces() {
        const SPACES: usize = 5;
        const PAGES: usize = 100;
        for seed in 1..40u64 {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut below = |n: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 20) as usize % n
            };
            // Some kernels have all pages global, some none.
            let local = [0, 5, 50, 100][below(4)];
            let code = below(2) == 0;
            let global: Vec<bool> = (0..PAGES).map(|_| below(100) >= local).collect();
            let mut t = Tlb::default();
            let mut next = 0;
            let mut fresh = || {
                next += 1;
                next << 12
            };
            let mut map = [[0usize; PAGES]; SPACES];
            for page in 0..PAGES {
                let shared = fresh();
                for space in &mut map {
                    space[page] = if global[page] { shared } else { fresh() };
                }
            }
            let mut now = 0;
            t.switch(0, false);
            for _ in 0..20_000 {
                let page = below(PAGES);
                let at = (page as u64) << 12;
                match below(100) {
                    0..=1 => {
                        now = below(SPACES);
                        t.switch(now as u16, true);
                    }
                    2 => {
                        // The page tables of a space are other ones.
                        now = below(SPACES);
                        (0..PAGES).filter(|p| !global[*p]).for_each(|p| map[now][p] = fresh());
                        t.switch(now as u16, false);
                    }
                    3..=4 => {
                        let new = fresh();
                        map.iter_mut()
                            .enumerate()
                            .filter(|(s, _)| global[page] || *s == now)
                            .for_each(|(_, m)| m[page] = new);
                        t.flush_page(at);
                    }
                    5 if below(50) == 0 => {
                        map.iter_mut()
                            .for_each(|m| (0..PAGES).filter(|p| global[*p]).for_each(|p| m[p] = (1 << 40) + (p << 12)));
                        t.spaces.clear();
                        t.drop_kernel();
                        t.switch(now as u16, false);
                    }
                    _ => {
                        t.base = [USER, SUPERVISOR, SUPERVISOR_AC][below(3)];
                        t.choose();
                        let (base, want) = (t.base, map[now][page]);
                        if let Some(found) = t.cached(base, at, false) {
                            assert_eq!(
                                found.host as usize, want,
                                "seed {seed}: page {page} in space {now}, table {base:#x}"
                            );
                        }
                        let ram = Phys { host: want as *mut u8, executable: code, ..Phys::device(0) };
                        let exec = code && page % 7 == 0;
                        t.fill(base, at, &ram, Allowed { read: true, write: false, exec }, (12, global[page]));
                    }
                }
            }
        }
    }
}
