//! The guest-physical map: sorted ranges, replaced whole on every change, with a generation that processors compare.
//!
//! Over what the client mapped lie the overlay pages of the Hyper-V enlightenments (TLFS, "Overlay pages"): what is
//! beneath keeps its contents and comes back when the overlay goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use guest_memory::{PAGE_SIZE, RamBlock};
use whp::{Error, HResult, MapGpaRangeFlags, Result};

/// A mapped range.
#[derive(Clone)]
pub(crate) struct Range {
    pub(crate) gpa: u64,
    pub(crate) len: u64,
    pub(crate) block: Arc<RamBlock>,
    pub(crate) offset: u64,
    pub(crate) flags: MapGpaRangeFlags,
    /// An overlay page: stores that it does not allow are nobody's.
    pub(crate) overlay: bool,
}

/// Which overlay page; of those that belong to a processor, with its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlay {
    Hypercall,
    ReferenceTsc,
    Assist(u32),
    EventFlags(u32),
    Messages(u32),
}

#[derive(Default)]
struct Layers {
    /// What the client mapped.
    base: Vec<Range>,
    /// The last one is on top.
    overlays: Vec<(Overlay, Range)>,
}

impl Layers {
    /// Everything in `base` outside `gpa..end`, in order, and what was inside.
    fn carve(&self, gpa: u64, end: u64) -> (Vec<Range>, Vec<Range>) {
        carve(&self.base, gpa, end)
    }

    fn merged(&self) -> Vec<Range> {
        self.overlays.iter().fold(self.base.clone(), |ranges, (_, page)| {
            let (mut ranges, _) = carve(&ranges, page.gpa, page.end());
            let at = ranges.partition_point(|r| r.gpa < page.gpa);
            ranges.insert(at, page.clone());
            ranges
        })
    }
}

fn carve(ranges: &[Range], gpa: u64, end: u64) -> (Vec<Range>, Vec<Range>) {
    let (mut kept, mut cut) = (Vec::new(), Vec::new());
    for r in ranges {
        kept.extend(r.part(0, gpa));
        cut.extend(r.part(gpa, end));
        kept.extend(r.part(end, u64::MAX));
    }
    (kept, cut)
}

impl Range {
    fn end(&self) -> u64 {
        self.gpa + self.len
    }

    /// The part in `gpa..end`.
    fn part(&self, gpa: u64, end: u64) -> Option<Self> {
        let (from, to) = (self.gpa.max(gpa), self.end().min(end));
        (from < to).then(|| Self { gpa: from, len: to - from, offset: self.offset + (from - self.gpa), ..self.clone() })
    }
}

/// The map; readers take a snapshot.
#[derive(Default)]
pub(crate) struct GpaMap {
    layers: Mutex<Layers>,
    ranges: RwLock<Arc<[Range]>>,
    generation: AtomicU64,
}

fn bad(operation: &'static str, gpa: u64, size: u64, why: &str) -> Error {
    Error::new(HResult::E_INVALIDARG, operation, format!("gpa {gpa:#x}, size {size:#x}: {why}"))
}

fn check(operation: &'static str, gpa: u64, size: u64) -> Result<u64> {
    if !gpa.is_multiple_of(PAGE_SIZE) || !size.is_multiple_of(PAGE_SIZE) || size == 0 {
        return Err(bad(operation, gpa, size, "not a positive multiple of the page size"));
    }
    let end = gpa.checked_add(size).filter(|e| *e <= 1 << 52);
    end.ok_or_else(|| bad(operation, gpa, size, "beyond the physical address space"))
}

/// The range that holds `gpa`.
pub(crate) fn find(ranges: &[Range], gpa: u64) -> Option<&Range> {
    let i = ranges.partition_point(|r| r.gpa <= gpa).checked_sub(1)?;
    ranges.get(i).filter(|r| gpa - r.gpa < r.len)
}

impl GpaMap {
    pub(crate) fn ranges(&self) -> Arc<[Range]> {
        self.ranges.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Changes with every change of the map.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn layers(&self) -> MutexGuard<'_, Layers> {
        self.layers.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn publish(&self, layers: &Layers) {
        *self.ranges.write().unwrap_or_else(|e| e.into_inner()) = layers.merged().into();
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Bytes that the client has mapped.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.layers().base.iter().map(|r| r.len).sum()
    }

    /// Puts an overlay page at `gpa` (page aligned), or takes it away.
    pub(crate) fn set_overlay(&self, which: Overlay, page: Option<(u64, Arc<RamBlock>, MapGpaRangeFlags)>) {
        let mut layers = self.layers();
        layers.overlays.retain(|(w, _)| *w != which);
        if let Some((gpa, block, flags)) = page {
            let page = Range { gpa, len: PAGE_SIZE, block, offset: 0, flags, overlay: true };
            layers.overlays.push((which, page));
        }
        self.publish(&layers);
    }

    /// Takes all overlay pages away. `true`: there were some.
    pub(crate) fn remove_overlays(&self) -> bool {
        let mut layers = self.layers();
        let any = !layers.overlays.is_empty();
        layers.overlays.clear();
        self.publish(&layers);
        any
    }

    pub(crate) fn map(
        &self,
        block: &Arc<RamBlock>,
        offset: u64,
        size: u64,
        gpa: u64,
        flags: MapGpaRangeFlags,
    ) -> Result<()> {
        const NAME: &str = "MapGpaRange";
        let end = check(NAME, gpa, size)?;
        if !offset.is_multiple_of(PAGE_SIZE) || offset.checked_add(size).is_none_or(|e| e > block.len()) {
            return Err(bad(NAME, gpa, size, &format!("offset {offset:#x} does not fit {block:?}")));
        }
        if !flags.difference(known_flags()).is_empty() {
            return Err(bad(NAME, gpa, size, &format!("unknown flags {flags:?}")));
        }
        let mut layers = self.layers();
        let (mut ranges, _) = layers.carve(gpa, end);
        let at = ranges.partition_point(|r| r.gpa < gpa);
        ranges.insert(at, Range { gpa, len: size, block: block.clone(), offset, flags, overlay: false });
        if flags.contains(MapGpaRangeFlags::TRACK_DIRTY_PAGES) {
            block.track_dirty(offset, size);
        }
        layers.base = ranges;
        self.publish(&layers);
        Ok(())
    }

    pub(crate) fn unmap(&self, gpa: u64, size: u64) -> Result<()> {
        let end = check("UnmapGpaRange", gpa, size)?;
        let mut layers = self.layers();
        let (kept, cut) = layers.carve(gpa, end);
        not_found_unless_whole("UnmapGpaRange", &cut, gpa, size)?;
        layers.base = kept;
        self.publish(&layers);
        Ok(())
    }

    /// Unmaps what of the range is mapped.
    pub(crate) fn unmap_any(&self, gpa: u64, size: u64) -> Result<()> {
        let end = check("UnmapGpaRange", gpa, size)?;
        let mut layers = self.layers();
        let (kept, _) = layers.carve(gpa, end);
        layers.base = kept;
        self.publish(&layers);
        Ok(())
    }

    pub(crate) fn query_dirty(&self, gpa: u64, size: u64) -> Result<Vec<u64>> {
        const NAME: &str = "QueryGpaRangeDirtyBitmap";
        let end = check(NAME, gpa, size)?;
        let (_, parts) = self.layers().carve(gpa, end);
        not_found_unless_whole(NAME, &parts, gpa, size)?;
        let mut bits = vec![0u64; usize::try_from((size / PAGE_SIZE).div_ceil(64)).unwrap_or(0)];
        for r in &parts {
            if !r.flags.contains(MapGpaRangeFlags::TRACK_DIRTY_PAGES) {
                let what = format!("gpa {gpa:#x}, size {size:#x}: not mapped with dirty tracking");
                return Err(Error::new(HResult::WHV_E_GPA_RANGE_NOT_FOUND, NAME, what));
            }
            r.block.take_dirty(r.offset, r.len, true, |page| {
                let at = page.wrapping_sub(r.offset / PAGE_SIZE).wrapping_add((r.gpa - gpa) / PAGE_SIZE);
                if let Some(word) = bits.get_mut((at / 64) as usize) {
                    *word |= 1 << (at % 64);
                }
            });
        }
        Ok(bits)
    }
}

fn known_flags() -> MapGpaRangeFlags {
    use MapGpaRangeFlags as F;
    F::READ | F::WRITE | F::EXECUTE | F::TRACK_DIRTY_PAGES
}

fn not_found_unless_whole(operation: &'static str, parts: &[Range], gpa: u64, size: u64) -> Result<()> {
    if parts.iter().map(|r| r.len).sum::<u64>() == size {
        return Ok(());
    }
    let what = format!("gpa {gpa:#x}, size {size:#x}: not wholly mapped");
    Err(Error::new(HResult::WHV_E_GPA_RANGE_NOT_FOUND, operation, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RW: MapGpaRangeFlags = MapGpaRangeFlags::READ.union(MapGpaRangeFlags::WRITE);

    fn shape(m: &GpaMap) -> Vec<(u64, u64, u64)> {
        m.ranges().iter().map(|r| (r.gpa, r.len, r.offset)).collect()
    }

    #[test]
    fn a_new_range_replaces_what_it_covers() {
        let m = GpaMap::default();
        let a = RamBlock::new("a", 0x8000).unwrap();
        let b = RamBlock::new("b", 0x2000).unwrap();
        m.map(&a, 0, 0x8000, 0x1_0000, RW).unwrap();
        m.map(&b, 0x1000, 0x1000, 0x1_2000, RW).unwrap();
        assert_eq!(shape(&m), [(0x1_0000, 0x2000, 0), (0x1_2000, 0x1000, 0x1000), (0x1_3000, 0x5000, 0x3000)]);
        m.unmap(0x1_1000, 0x3000).unwrap();
        assert_eq!(shape(&m), [(0x1_0000, 0x1000, 0), (0x1_4000, 0x4000, 0x4000)]);
        assert_eq!(m.unmap(0x1_0000, 0x2000).unwrap_err().code, HResult::WHV_E_GPA_RANGE_NOT_FOUND);
        assert_eq!(m.map(&b, 0x1000, 0x2000, 0, RW).unwrap_err().code, HResult::E_INVALIDARG);
        assert_eq!(m.map(&b, 0, 0x800, 0, RW).unwrap_err().code, HResult::E_INVALIDARG);
    }

    #[test]
    fn overlays_hide_and_give_back() {
        let m = GpaMap::default();
        let a = RamBlock::new("a", 0x4000).unwrap();
        let page = RamBlock::new("page", 0x1000).unwrap();
        m.map(&a, 0, 0x4000, 0, RW).unwrap();
        m.set_overlay(Overlay::Hypercall, Some((0x1000, page.clone(), MapGpaRangeFlags::READ)));
        m.set_overlay(Overlay::Messages(0), Some((0x9000, page.clone(), RW)));
        assert_eq!(shape(&m), [(0, 0x1000, 0), (0x1000, 0x1000, 0), (0x2000, 0x2000, 0x2000), (0x9000, 0x1000, 0)]);
        assert!(find(&m.ranges(), 0x1800).unwrap().overlay);
        assert_eq!(m.mapped_bytes(), 0x4000);
        m.unmap(0, 0x4000).unwrap();
        assert_eq!(shape(&m), [(0x1000, 0x1000, 0), (0x9000, 0x1000, 0)], "the client's map does not touch them");
        m.map(&a, 0, 0x4000, 0, RW).unwrap();
        m.set_overlay(Overlay::Hypercall, None);
        assert!(m.remove_overlays() && !m.remove_overlays());
        assert_eq!(shape(&m), [(0, 0x4000, 0)]);
    }

    #[test]
    fn dirty_bits_are_relative_to_the_question() {
        let m = GpaMap::default();
        let a = RamBlock::new("a", 0x8000).unwrap();
        m.map(&a, 0x2000, 0x4000, 0x1_0000, RW | MapGpaRangeFlags::TRACK_DIRTY_PAGES).unwrap();
        a.write(0x4000, &[1]);
        assert_eq!(m.query_dirty(0x1_1000, 0x2000).unwrap(), [0b10]);
        assert_eq!(m.query_dirty(0x1_1000, 0x2000).unwrap(), [0]);
        assert!(m.query_dirty(0x1_1000, 0x8000).is_err());
    }
}
