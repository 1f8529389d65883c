//! The guest-physical view: which address is which byte of which block. What devices do DMA through.

use std::sync::{Arc, RwLock};

use crate::RamBlock;

/// A guest-physical range backed by (a part of) a block.
#[derive(Clone, Debug)]
pub struct MapRange {
    /// First guest-physical address.
    pub gpa: u64,
    /// Length in bytes.
    pub len: u64,
    /// The host memory.
    pub block: Arc<RamBlock>,
    /// Where in the block the range starts.
    pub offset: u64,
    /// Writes by devices and loaders are dropped (ROM).
    pub readonly: bool,
}

/// A device or loader touched addresses that are not RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("guest-physical {gpa:#x}, {len} bytes: not (all) RAM")]
pub struct MemoryAccessError {
    /// First address of the access.
    pub gpa: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// Cheap handle to a guest's physical memory; clones see the same map.
#[derive(Clone, Default)]
pub struct GuestMemory {
    ranges: Arc<RwLock<Arc<[MapRange]>>>,
}

impl GuestMemory {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the map. Ranges must be sorted by address and must not overlap.
    ///
    /// # Panics
    /// When they are not (a host-side error).
    pub fn set_ranges(&self, ranges: Vec<MapRange>) {
        assert!(ranges.windows(2).all(|w| w[0].gpa + w[0].len <= w[1].gpa), "ranges overlap or are not sorted");
        assert!(ranges.iter().all(|r| r.offset + r.len <= r.block.len()), "range outside its block");
        *self.ranges.write().unwrap_or_else(|e| e.into_inner()) = ranges.into();
    }

    /// The present map.
    pub fn ranges(&self) -> Arc<[MapRange]> {
        self.ranges.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn walk(
        &self,
        gpa: u64,
        len: usize,
        mut each: impl FnMut(&MapRange, u64, std::ops::Range<usize>) -> bool,
    ) -> Result<(), MemoryAccessError> {
        let error = MemoryAccessError { gpa, len: len as u64 };
        let ranges = self.ranges();
        let mut done = 0;
        while done < len {
            let at = gpa.checked_add(done as u64).ok_or(error)?;
            let i = ranges.partition_point(|r| r.gpa <= at).checked_sub(1).ok_or(error)?;
            let r = &ranges[i];
            if at - r.gpa >= r.len {
                return Err(error);
            }
            let n = ((r.len - (at - r.gpa)) as usize).min(len - done);
            if !each(r, r.offset + (at - r.gpa), done..done + n) {
                return Err(error);
            }
            done += n;
        }
        Ok(())
    }

    /// Reads guest memory.
    ///
    /// # Errors
    /// When a byte is not RAM; what came before it may have been read.
    pub fn read(&self, gpa: u64, out: &mut [u8]) -> Result<(), MemoryAccessError> {
        let len = out.len();
        self.walk(gpa, len, |r, offset, part| r.block.read(offset, &mut out[part]))
    }

    /// Writes guest memory; bytes that fall on ROM are dropped.
    ///
    /// # Errors
    /// When a byte is neither RAM nor ROM; what came before it may have been written.
    pub fn write(&self, gpa: u64, data: &[u8]) -> Result<(), MemoryAccessError> {
        self.walk(gpa, data.len(), |r, offset, part| r.readonly || r.block.write(offset, &data[part]))
    }

    /// Reads a little-endian 32-bit value.
    ///
    /// # Errors
    /// When it is not in RAM.
    pub fn read_u32(&self, gpa: u64) -> Result<u32, MemoryAccessError> {
        let mut b = [0; 4];
        self.read(gpa, &mut b)?;
        Ok(u32::from_le_bytes(b))
    }

    /// Finds the block and offset behind `gpa`, and how many bytes from there are contiguous in it.
    pub fn find(&self, gpa: u64) -> Option<(MapRange, u64, u64)> {
        let ranges = self.ranges();
        let i = ranges.partition_point(|r| r.gpa <= gpa).checked_sub(1)?;
        let r = &ranges[i];
        let into = gpa - r.gpa;
        (into < r.len).then(|| (r.clone(), r.offset + into, r.len - into))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_cross_ranges_and_holes_are_errors() {
        let a = RamBlock::new("a", 4096).unwrap();
        let b = RamBlock::new("b", 4096).unwrap();
        let m = GuestMemory::new();
        let range = |gpa, block: &Arc<RamBlock>, readonly| MapRange {
            gpa,
            len: 4096,
            block: block.clone(),
            offset: 0,
            readonly,
        };
        m.set_ranges(vec![range(0, &a, false), range(4096, &b, true)]);
        m.write(4094, &[1, 2, 3, 4]).unwrap();
        let mut x = [0; 4];
        m.read(4094, &mut x).unwrap();
        assert_eq!(x, [1, 2, 0, 0], "the second range is ROM");
        assert!(m.read(8190, &mut x).is_err());
        assert!(m.read(u64::MAX - 1, &mut x).is_err());
        assert_eq!(m.read_u32(4094).unwrap(), 0x201);
    }
}
