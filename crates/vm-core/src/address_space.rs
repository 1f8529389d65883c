//! The guest-physical address space: named regions with priorities, flattened to a sorted table.
//!
//! Regions may overlap; the higher priority wins, equal priorities that overlap are an error. Every change is
//! flattened again, RAM that appeared or went away is told to the [`MemoryListener`] (the accelerator, which maps
//! it into the platform), and the [`GuestMemory`] handle that devices do DMA through follows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use guest_memory::{GuestMemory, MapRange, PAGE_SIZE, RamBlock};

use crate::{Mmio, Shared, lock, number};

/// Why a region or port range was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpaceError {
    /// It would share addresses with another one.
    #[error("{new}: {start:#x}, length {len:#x}, overlaps {old}")]
    Overlap {
        /// The refused one.
        new: String,
        /// The one that is there.
        old: String,
        /// First address.
        start: u64,
        /// Length.
        len: u64,
    },
    /// Empty, past the end of the space, or RAM that is not page aligned.
    #[error("{name}: bad range {start:#x}, length {len:#x}")]
    Range {
        /// The refused one.
        name: String,
        /// First address.
        start: u64,
        /// Length.
        len: u64,
    },
}

/// What is behind a region.
#[derive(Clone)]
pub enum Backing {
    /// Host memory, mapped into the guest.
    Ram {
        /// The memory.
        block: Arc<RamBlock>,
        /// Where in the block the region starts.
        offset: u64,
        /// Guest writes are dropped.
        readonly: bool,
    },
    /// Device registers.
    Mmio(Arc<Mutex<dyn Mmio>>),
    /// Host memory that the guest reads as ROM, whose writes go to a device (flash in read array mode). The offsets
    /// that the device is given are those in the region.
    RomDevice {
        /// The memory.
        block: Arc<RamBlock>,
        /// Where in the block the region starts.
        offset: u64,
        /// Takes the writes.
        device: Arc<Mutex<dyn Mmio>>,
    },
}

impl Backing {
    /// RAM from the start of `block`.
    pub fn ram(block: &Arc<RamBlock>) -> Self {
        Self::Ram { block: block.clone(), offset: 0, readonly: false }
    }

    /// ROM from the start of `block`.
    pub fn rom(block: &Arc<RamBlock>) -> Self {
        Self::Ram { block: block.clone(), offset: 0, readonly: true }
    }

    /// A device.
    pub fn mmio<T: Mmio + 'static>(device: &Shared<T>) -> Self {
        Self::Mmio(device.clone())
    }

    fn same(&self, other: &Self, into: u64) -> bool {
        match (self, other) {
            (Self::Ram { block: a, offset: x, readonly: r }, Self::Ram { block: b, offset: y, readonly: s }) => {
                Arc::ptr_eq(a, b) && x.wrapping_add(into) == *y && r == s
            }
            _ => false,
        }
    }
}

/// A region to add.
#[derive(Clone)]
pub struct Region {
    /// Name in `info mtree` and in errors.
    pub name: String,
    /// First guest-physical address.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// Wins over lower ones where they overlap.
    pub priority: i32,
    /// Disabled regions keep their place and count as absent.
    pub enabled: bool,
    /// What is behind it.
    pub backing: Backing,
}

/// Names a region of an [`AddressSpace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionId(u64);

/// A piece of the flattened space.
#[derive(Clone)]
pub struct FlatRange {
    /// First guest-physical address.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// Which region it is a piece of.
    pub region: RegionId,
    /// The region's name.
    pub name: Arc<str>,
    /// Where in the region the piece starts.
    pub into: u64,
    /// The backing, for RAM with the offset moved to this piece; never [`Backing::RomDevice`], which is read-only RAM
    /// here.
    pub backing: Backing,
    /// Who takes the writes to read-only RAM.
    writes: Option<Arc<Mutex<dyn Mmio>>>,
    accesses: Arc<AtomicU64>,
}

impl FlatRange {
    /// Accesses that reached the device so far.
    pub fn accesses(&self) -> u64 {
        self.accesses.load(Ordering::Relaxed)
    }

    /// Whether `len` bytes at `at` are in it.
    fn has(&self, at: u64, len: usize) -> bool {
        at.checked_sub(self.start).and_then(|into| into.checked_add(len as u64)).is_some_and(|end| end <= self.len)
    }

    /// With the device's lock held, so that no other thread counts meanwhile.
    fn count(&self) {
        self.accesses.store(self.accesses.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// A load at `at`, which is in it, from its device.
    fn load(&self, device: &mut dyn Mmio, at: u64, data: &mut [u8]) {
        self.count();
        device.mmio_read(self.into + (at - self.start), data);
        tracing::trace!(
            target: "memory_region_ops_read",
            "addr={at:#x} size={} value={:#x} name={}", data.len(), number(data), self.name
        );
    }

    /// A store at `at`, which is in it, to its device.
    fn store(&self, device: &mut dyn Mmio, at: u64, data: &[u8]) {
        self.count();
        tracing::trace!(
            target: "memory_region_ops_write",
            "addr={at:#x} size={} value={:#x} name={}", data.len(), number(data), self.name
        );
        device.mmio_write(self.into + (at - self.start), data);
    }
}

/// Hears of RAM that appears in and goes away from the space. Called with no other lock than the space's update
/// lock held; must not change the space.
pub trait MemoryListener: Send + Sync {
    /// `range` (always RAM, page aligned) is to be mapped.
    fn map(&self, range: &FlatRange);
    /// A range mapped before is gone; called with exactly the ranges that were mapped.
    fn unmap(&self, range: &FlatRange);
}

#[derive(Default)]
struct Regions {
    next: u64,
    list: Vec<(RegionId, Region, Arc<AtomicU64>)>,
    listener: Option<Arc<dyn MemoryListener>>,
}

/// See the module's documentation.
#[derive(Default)]
pub struct AddressSpace {
    update: Mutex<Regions>,
    flat: RwLock<Arc<[FlatRange]>>,
    memory: GuestMemory,
}

impl AddressSpace {
    /// An empty space.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The handle for DMA.
    pub fn memory(&self) -> GuestMemory {
        self.memory.clone()
    }

    /// Sets who hears of RAM ranges; it is told of the present ones at once.
    pub fn set_listener(&self, listener: Arc<dyn MemoryListener>) {
        let mut regions = lock(&self.update);
        for r in self.flat().iter().filter(|r| matches!(r.backing, Backing::Ram { .. })) {
            listener.map(r);
        }
        regions.listener = Some(listener);
    }

    /// Adds a region.
    ///
    /// # Errors
    /// [`SpaceError`] for a bad range or an overlap with an enabled region of the same priority.
    pub fn add(&self, region: Region) -> Result<RegionId, SpaceError> {
        let mut regions = lock(&self.update);
        check(&regions.list, &region, None)?;
        regions.next += 1;
        let id = RegionId(regions.next);
        regions.list.push((id, region, Arc::default()));
        self.commit(&regions);
        Ok(id)
    }

    /// Removes a region; nothing when it is not there.
    pub fn remove(&self, id: RegionId) {
        let mut regions = lock(&self.update);
        regions.list.retain(|r| r.0 != id);
        self.commit(&regions);
    }

    /// Changes regions in one step: the closure is given each named region to edit (start, enabled, backing ...).
    ///
    /// # Errors
    /// [`SpaceError`]; nothing is changed then.
    pub fn change(&self, ids: &[RegionId], mut edit: impl FnMut(RegionId, &mut Region)) -> Result<(), SpaceError> {
        let mut regions = lock(&self.update);
        let mut list = regions.list.clone();
        for (id, region, _) in list.iter_mut().filter(|r| ids.contains(&r.0)) {
            edit(*id, region);
        }
        for (id, region, _) in list.iter().filter(|r| ids.contains(&r.0)) {
            check(&list, region, Some(*id))?;
        }
        regions.list = list;
        self.commit(&regions);
        Ok(())
    }

    /// Moves a region or switches it on or off.
    ///
    /// # Errors
    /// [`SpaceError`]; nothing is changed then.
    pub fn place(&self, id: RegionId, start: u64, enabled: bool) -> Result<(), SpaceError> {
        self.change(&[id], |_, r| {
            r.start = start;
            r.enabled = enabled;
        })
    }

    /// All regions as added, for `info mtree`.
    pub fn regions(&self) -> Vec<(RegionId, Region)> {
        lock(&self.update).list.iter().map(|(id, r, _)| (*id, r.clone())).collect()
    }

    /// The flattened space, sorted by address.
    pub fn flat(&self) -> Arc<[FlatRange]> {
        self.flat.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn commit(&self, regions: &Regions) {
        let new = flatten(&regions.list);
        let old = self.flat();
        let kept = |a: &FlatRange, list: &[FlatRange]| {
            let i = list.partition_point(|b| b.start < a.start);
            list.get(i).is_some_and(|b| b.start == a.start && b.len == a.len && a.backing.same(&b.backing, 0))
        };
        let is_ram = |r: &&FlatRange| matches!(r.backing, Backing::Ram { .. });
        if let Some(listener) = &regions.listener {
            old.iter().filter(is_ram).filter(|r| !kept(r, &new)).for_each(|r| listener.unmap(r));
        }
        self.memory.set_ranges(new.iter().filter_map(dma_range).collect());
        *self.flat.write().unwrap_or_else(|e| e.into_inner()) = new.clone().into();
        if let Some(listener) = &regions.listener {
            new.iter().filter(is_ram).filter(|r| !kept(r, &old)).for_each(|r| listener.map(r));
        }
    }

    /// The name of what is at `gpa`.
    pub fn name_at(&self, gpa: u64) -> Option<Arc<str>> {
        find(&self.flat(), gpa).map(|r| r.name.clone())
    }

    /// A load by a processor, `data.len()` bytes, RAM and devices alike; where nothing is, all ones.
    /// `false` when some byte had nothing behind it.
    pub fn read(&self, gpa: u64, data: &mut [u8]) -> bool {
        let mut all = true;
        let mut done = 0;
        while done < data.len() {
            let flat = self.flat();
            let at = gpa.wrapping_add(done as u64);
            let left = data.len() - done;
            let Some(r) = find(&flat, at) else {
                data[done] = 0xFF;
                done += 1;
                all = false;
                continue;
            };
            let n = left.min(usize::try_from(r.len - (at - r.start)).unwrap_or(left));
            let part = &mut data[done..done + n];
            match &r.backing {
                Backing::Ram { block, offset, .. } => {
                    block.read(offset + (at - r.start), part);
                }
                Backing::RomDevice { block, offset, .. } => {
                    block.read(offset + (at - r.start), part);
                }
                Backing::Mmio(device) => r.load(&mut *lock(device), at, part),
            }
            done += n;
        }
        all
    }

    /// A store by a processor; dropped where nothing (or ROM) is. `false` when some byte had nothing behind it.
    pub fn write(&self, gpa: u64, data: &[u8]) -> bool {
        let mut all = true;
        let mut done = 0;
        while done < data.len() {
            let flat = self.flat();
            let at = gpa.wrapping_add(done as u64);
            let left = data.len() - done;
            let Some(r) = find(&flat, at) else {
                done += 1;
                all = false;
                continue;
            };
            let n = left.min(usize::try_from(r.len - (at - r.start)).unwrap_or(left));
            let part = &data[done..done + n];
            match (&r.backing, &r.writes) {
                (Backing::Ram { readonly: true, .. }, None) => {}
                (Backing::Ram { block, offset, readonly: false }, _) => {
                    block.write(offset + (at - r.start), part);
                }
                (Backing::Mmio(device) | Backing::RomDevice { device, .. }, _)
                | (Backing::Ram { readonly: true, .. }, Some(device)) => r.store(&mut *lock(device), at, part),
            }
            done += n;
        }
        all
    }

    /// Loads of a string instruction: as many of the elements of `size` bytes that `data` has, one after the other and
    /// upwards, as are wholly in the device at `gpa`, and no more when one of them changes the space. The bytes loaded;
    /// 0 where no device is.
    pub fn read_elements(&self, gpa: u64, size: usize, data: &mut [u8]) -> usize {
        let (flat, size) = (self.flat(), size.max(1));
        let Some((r, device)) = device_at(&flat, gpa) else { return 0 };
        let mut device = lock(device);
        let (mut at, mut done) = (gpa, 0);
        for part in data.chunks_exact_mut(size) {
            if !r.has(at, size) || done != 0 && self.is_newer(&flat) {
                break;
            }
            r.load(&mut *device, at, part);
            (at, done) = (at + size as u64, done + size);
        }
        done
    }

    /// Stores of a string instruction, as [`Self::read_elements`]. The bytes stored.
    pub fn write_elements(&self, gpa: u64, size: usize, data: &[u8]) -> usize {
        let (flat, size) = (self.flat(), size.max(1));
        let Some((r, device)) = device_at(&flat, gpa) else { return 0 };
        let mut device = lock(device);
        let (mut at, mut done) = (gpa, 0);
        for part in data.chunks_exact(size) {
            if !r.has(at, size) || done != 0 && self.is_newer(&flat) {
                break;
            }
            r.store(&mut *device, at, part);
            (at, done) = (at + size as u64, done + size);
        }
        done
    }

    /// Loads and stores of a string instruction that moves `count` elements of `size` bytes (at most 64) inside one device,
    /// each load before its store. The bytes moved; 0 where the two are not the same device.
    pub fn copy_elements(&self, from: u64, to: u64, size: usize, count: usize) -> usize {
        let mut element = [0; 64];
        let Some(element) = element.get_mut(..size.max(1)) else { return 0 };
        let (flat, size) = (self.flat(), element.len());
        let (Some((source, device)), Some((target, other))) = (device_at(&flat, from), device_at(&flat, to)) else {
            return 0;
        };
        if !Arc::ptr_eq(device, other) {
            return 0;
        }
        let mut device = lock(device);
        let mut done = 0;
        for _ in 0..count {
            let (from, to) = (from + done as u64, to + done as u64);
            if !source.has(from, size) || !target.has(to, size) || done != 0 && self.is_newer(&flat) {
                break;
            }
            source.load(&mut *device, from, element);
            target.store(&mut *device, to, element);
            done += size;
        }
        done
    }

    /// The space is not the one of `flat` any more.
    fn is_newer(&self, flat: &Arc<[FlatRange]>) -> bool {
        !Arc::ptr_eq(flat, &self.flat.read().unwrap_or_else(|e| e.into_inner()))
    }
}

fn find(flat: &[FlatRange], gpa: u64) -> Option<&FlatRange> {
    let i = flat.partition_point(|r| r.start <= gpa).checked_sub(1)?;
    flat.get(i).filter(|r| gpa - r.start < r.len)
}

/// The device at `gpa`, where loads and stores go to one.
fn device_at(flat: &[FlatRange], gpa: u64) -> Option<(&FlatRange, &Arc<Mutex<dyn Mmio>>)> {
    find(flat, gpa).and_then(|r| match &r.backing {
        Backing::Mmio(device) => Some((r, device)),
        _ => None,
    })
}

fn dma_range(r: &FlatRange) -> Option<MapRange> {
    match &r.backing {
        Backing::Ram { block, offset, readonly } => {
            Some(MapRange { gpa: r.start, len: r.len, block: block.clone(), offset: *offset, readonly: *readonly })
        }
        Backing::Mmio(_) | Backing::RomDevice { .. } => None,
    }
}

fn check(list: &[(RegionId, Region, Arc<AtomicU64>)], new: &Region, own: Option<RegionId>) -> Result<(), SpaceError> {
    let bad = || SpaceError::Range { name: new.name.clone(), start: new.start, len: new.len };
    let end = new.start.checked_add(new.len).filter(|_| new.len != 0).ok_or_else(bad)?;
    if let Backing::Ram { block, offset, .. } | Backing::RomDevice { block, offset, .. } = &new.backing {
        let fits = offset.checked_add(new.len).is_some_and(|e| e <= block.len());
        if !fits || [new.start, new.len, *offset].iter().any(|x| x % PAGE_SIZE != 0) {
            return Err(bad());
        }
    }
    let clash = list
        .iter()
        .filter(|(id, r, _)| Some(*id) != own && r.enabled && new.enabled)
        .find(|(_, r, _)| r.priority == new.priority && r.start < end && new.start < r.start.saturating_add(r.len));
    match clash {
        Some((_, old, _)) => {
            Err(SpaceError::Overlap { new: new.name.clone(), old: old.name.clone(), start: new.start, len: new.len })
        }
        None => Ok(()),
    }
}

fn flatten(list: &[(RegionId, Region, Arc<AtomicU64>)]) -> Vec<FlatRange> {
    let active: Vec<_> = list.iter().filter(|(_, r, _)| r.enabled).collect();
    let mut edges: Vec<u64> = active.iter().flat_map(|(_, r, _)| [r.start, r.start + r.len]).collect();
    edges.sort_unstable();
    edges.dedup();
    let mut flat: Vec<FlatRange> = Vec::new();
    for pair in edges.windows(2) {
        let (start, end) = (pair[0], pair[1]);
        let top =
            active.iter().filter(|(_, r, _)| r.start <= start && end <= r.start + r.len).max_by_key(|r| r.1.priority);
        let Some((id, region, accesses)) = top else { continue };
        let into = start - region.start;
        if let Some(last) = flat.last_mut()
            && last.region == *id
            && last.start + last.len == start
        {
            last.len += end - start;
            continue;
        }
        let (backing, writes) = match &region.backing {
            Backing::Ram { block, offset, readonly } => {
                (Backing::Ram { block: block.clone(), offset: offset + into, readonly: *readonly }, None)
            }
            Backing::RomDevice { block, offset, device } => {
                let rom = Backing::Ram { block: block.clone(), offset: offset + into, readonly: true };
                (rom, Some(device.clone()))
            }
            mmio => (mmio.clone(), None),
        };
        flat.push(FlatRange {
            start,
            len: end - start,
            region: *id,
            name: region.name.as_str().into(),
            into,
            backing,
            writes,
            accesses: accesses.clone(),
        });
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared;

    struct Reg(u8);
    impl Mmio for Reg {
        fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
            data.fill(self.0.wrapping_add(offset as u8));
        }
        fn mmio_write(&mut self, _offset: u64, data: &[u8]) {
            self.0 = data[0];
        }
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<(char, u64, u64)>>);
    impl MemoryListener for Heard {
        fn map(&self, r: &FlatRange) {
            self.0.lock().unwrap().push(('+', r.start, r.len));
        }
        fn unmap(&self, r: &FlatRange) {
            self.0.lock().unwrap().push(('-', r.start, r.len));
        }
    }

    fn region(name: &str, start: u64, len: u64, priority: i32, backing: Backing) -> Region {
        Region { name: name.into(), start, len, priority, enabled: true, backing }
    }

    #[test]
    fn a_higher_region_cuts_a_hole_and_gives_it_back() {
        let s = AddressSpace::new();
        let heard = Arc::new(Heard::default());
        let ram = RamBlock::new("ram", 0x4000).unwrap();
        s.add(region("ram", 0, 0x4000, 0, Backing::ram(&ram))).unwrap();
        s.set_listener(heard.clone());
        let dev = shared(Reg(7));
        let id = s.add(region("dev", 0x1000, 0x1000, 1, Backing::mmio(&dev))).unwrap();
        let mut x = [0; 2];
        assert!(s.read(0x1FFF, &mut x));
        assert_eq!(x, [7u8.wrapping_add(0xFF), 0], "an access that crosses is split");
        s.place(id, 0x1000, false).unwrap();
        assert_eq!(
            *heard.0.lock().unwrap(),
            [
                ('+', 0, 0x4000),
                ('-', 0, 0x4000),
                ('+', 0, 0x1000),
                ('+', 0x2000, 0x2000),
                ('-', 0, 0x1000),
                ('-', 0x2000, 0x2000),
                ('+', 0, 0x4000)
            ]
        );
        assert!(!s.read(0x3FFF, &mut x));
        assert_eq!(x, [0, 0xFF]);
    }

    /// Notes accesses; a store of 0xEE switches the region off.
    struct Notes(Vec<(char, u64, usize)>, Option<(Arc<AddressSpace>, RegionId)>);
    impl Mmio for Notes {
        fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
            self.0.push(('r', offset, data.len()));
            data.fill(offset as u8);
        }
        fn mmio_write(&mut self, offset: u64, data: &[u8]) {
            self.0.push(('w', offset, data.len()));
            if let Some((space, id)) = self.1.take_if(|_| data[0] == 0xEE) {
                space.place(id, 0x1000, false).unwrap();
            }
        }
    }

    #[test]
    fn elements_go_one_by_one_to_a_device_as_far_as_it_reaches() {
        let s = AddressSpace::new();
        let (dev, other) = (shared(Notes(vec![], None)), shared(Notes(vec![], None)));
        let id = s.add(region("dev", 0x1000, 0x1000, 1, Backing::mmio(&dev))).unwrap();
        s.add(region("other", 0x3000, 0x1000, 1, Backing::mmio(&other))).unwrap();
        let ram = RamBlock::new("ram", 0x1000).unwrap();
        s.add(region("ram", 0, 0x1000, 0, Backing::ram(&ram))).unwrap();
        let mut x = [0; 8];
        assert_eq!(s.read_elements(0x1FFA, 2, &mut x), 6);
        assert_eq!(x, [0xFA, 0xFA, 0xFC, 0xFC, 0xFE, 0xFE, 0, 0]);
        assert_eq!(s.write_elements(0x1FFB, 4, &x), 4, "the second one reaches out of it");
        assert_eq!(s.copy_elements(0x1000, 0x1004, 4, 2), 8);
        let seen = std::mem::take(&mut lock(&dev).0);
        let expected = [('r', 0xFFA, 2), ('r', 0xFFC, 2), ('r', 0xFFE, 2), ('w', 0xFFB, 4)];
        assert_eq!(seen[..4], expected);
        assert_eq!(seen[4..], [('r', 0, 4), ('w', 4, 4), ('r', 4, 4), ('w', 8, 4)]);
        assert_eq!(s.flat().iter().find(|r| &*r.name == "dev").unwrap().accesses(), 8);
        let nothing = [0, 0x1000 - 2, 0x2000, u64::MAX];
        assert_eq!(nothing.map(|at| s.write_elements(at, 2, &x)), [0; 4]);
        assert_eq!((s.copy_elements(0x1000, 0x3000, 4, 2), s.copy_elements(0, 0x1000, 4, 2)), (0, 0));
        assert_eq!(s.copy_elements(0x1000, 0x1000, 65, 2), 0);
        lock(&dev).1 = Some((s.clone(), id));
        assert_eq!(s.write_elements(0x1000, 1, &[1, 0xEE, 2, 3]), 2, "not past a change of the space");
    }

    #[test]
    fn overlaps_and_misalignment_are_refused() {
        let s = AddressSpace::new();
        let ram = RamBlock::new("ram", 0x4000).unwrap();
        s.add(region("ram", 0, 0x4000, 0, Backing::ram(&ram))).unwrap();
        assert!(matches!(s.add(region("b", 0x3000, 0x1000, 0, Backing::ram(&ram))), Err(SpaceError::Overlap { .. })));
        assert!(matches!(s.add(region("b", 0x10, 0x1000, 1, Backing::ram(&ram))), Err(SpaceError::Range { .. })));
        assert!(matches!(s.add(region("b", 0x8000, 0x8000, 1, Backing::ram(&ram))), Err(SpaceError::Range { .. })));
    }

    #[test]
    fn a_rom_device_is_rom_to_readers_and_hears_writes() {
        let s = AddressSpace::new();
        let heard = Arc::new(Heard::default());
        let rom = RamBlock::new("flash", 0x2000).unwrap();
        rom.write(0x1000, &[0x55]);
        let dev = shared(Reg(0));
        let backing = Backing::RomDevice { block: rom, offset: 0x1000, device: dev.clone() };
        s.add(region("flash", 0xF000, 0x1000, 0, backing)).unwrap();
        s.set_listener(heard.clone());
        assert_eq!(*heard.0.lock().unwrap(), [('+', 0xF000, 0x1000)], "mapped as memory");
        assert!(matches!(s.flat()[0].backing, Backing::Ram { readonly: true, .. }));
        assert!(s.write(0xF000, &[9]));
        let mut x = [0];
        s.read(0xF000, &mut x);
        assert_eq!((x, lock(&dev).0), ([0x55], 9));
    }

    #[test]
    fn rom_drops_writes_also_by_dma() {
        let s = AddressSpace::new();
        let rom = RamBlock::new("rom", 0x1000).unwrap();
        rom.write(0, &[0x55]);
        s.add(region("rom", 0xF000, 0x1000, 0, Backing::rom(&rom))).unwrap();
        assert!(s.write(0xF000, &[1]));
        s.memory().write(0xF000, &[2]).unwrap();
        let mut x = [0];
        s.read(0xF000, &mut x);
        assert_eq!(x, [0x55]);
    }
}
