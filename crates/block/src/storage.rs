//! The file under an image, as imago sees it, with one rule added: a table entry that is written to the file never
//! points to a cluster whose reference count there is still zero.
//!
//! imago 0.2.6 writes a new L2 table's L1 entry (and a new refcount block's table entry) at once, but the count of
//! the new cluster stays in its cache until the next flush. A process killed in between leaves an image whose next
//! user hands the cluster out again. So before such an entry goes out, the count is written here; the value is the
//! one imago's own cache holds and writes later. Format: QEMU's docs/interop/qcow2, "Host cluster management".

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use imago::file::File;
use imago::io_buffers::{IoVector, IoVectorMut};
use imago::storage::PreallocateMode;
use imago::storage::drivers::CommonStorageHelper;
use imago::{Storage, StorageExt};

use crate::lock::Locked;

/// Bits of a table entry that are a file offset.
const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;
/// The header's fields that say where the tables are.
const HEADER: usize = 104;

#[derive(Clone, Debug)]
struct Tables {
    cluster_bits: u32,
    refcount_order: u32,
    l1: Range<u64>,
    reftable: Range<u64>,
}

impl Tables {
    fn read(file: &File) -> io::Result<Self> {
        let mut h = [0; HEADER];
        file.read(&mut h[..], 0)?;
        let be32 = |at: usize| u32::from_be_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
        let be64 = |at: usize| u64::from(be32(at)) << 32 | u64::from(be32(at + 4));
        let cluster_bits = be32(20);
        let refcount_order = if be32(4) == 2 { 4 } else { be32(96) };
        let (l1_at, reftable_at) = (be64(40), be64(48));
        let l1_end = l1_at.checked_add(u64::from(be32(36)) * 8);
        let reftable_end = u64::from(be32(56)).checked_shl(cluster_bits).and_then(|n| reftable_at.checked_add(n));
        match (l1_end, reftable_end) {
            (Some(l1), Some(rt)) if (9..=21).contains(&cluster_bits) && refcount_order <= 6 => {
                Ok(Self { cluster_bits, refcount_order, l1: l1_at..l1, reftable: reftable_at..rt })
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the qcow2 header is corrupt")),
        }
    }
}

/// See the module's documentation.
pub(crate) struct GuardedFile {
    file: File,
    helper: CommonStorageHelper,
    tables: Option<RwLock<Tables>>,
    stale: Arc<AtomicBool>,
    /// The same open file, for its locks.
    _lock: Locked,
}

impl GuardedFile {
    /// A file whose writes are not looked at: a raw image, or one that is only read.
    pub(crate) fn plain(file: File, lock: Locked) -> Self {
        Self { file, helper: CommonStorageHelper::default(), tables: None, stale: Arc::default(), _lock: lock }
    }

    /// A qcow2 file that will be written. The flag is set when a cluster was reused whose release is not yet in the
    /// file: the image should be flushed soon.
    pub(crate) fn qcow2(file: File, lock: Locked) -> io::Result<(Self, Arc<AtomicBool>)> {
        let tables = Some(RwLock::new(Tables::read(&file)?));
        let stale = Arc::new(AtomicBool::new(false));
        Ok((Self { file, helper: CommonStorageHelper::default(), tables, stale: stale.clone(), _lock: lock }, stale))
    }

    fn before_write(&self, data: &IoVector<'_>, offset: u64) -> io::Result<()> {
        let Some(tables) = &self.tables else { return Ok(()) };
        let tables = tables.read().unwrap_or_else(PoisonError::into_inner).clone();
        let end = offset.saturating_add(data.len());
        for table in [&tables.l1, &tables.reftable] {
            let (from, to) = (offset.max(table.start), end.min(table.end));
            if from < to {
                let mut new = vec![0; usize::try_from(data.len()).map_err(io::Error::other)?];
                data.copy_into_slice(&mut new);
                self.check_entries(&tables, &new, offset, from..to, table.start == tables.l1.start)?;
            }
        }
        Ok(())
    }

    /// Looks at the entries in `range` of the file that `new`, about to be written at `offset`, changes.
    fn check_entries(&self, tables: &Tables, new: &[u8], offset: u64, range: Range<u64>, l1: bool) -> io::Result<()> {
        let mut at = range.start.next_multiple_of(8);
        while at + 8 <= range.end {
            let cluster = be64(new, at - offset) & OFFSET;
            if cluster != 0 && self.entry(at)? & OFFSET != cluster {
                let counted = self.count_at_least_one(tables, cluster, |entry_at| {
                    let inside = entry_at >= offset && entry_at + 8 <= offset + new.len() as u64;
                    if inside { Ok(be64(new, entry_at - offset)) } else { self.entry(entry_at) }
                })?;
                if counted && l1 {
                    self.stale.store(true, Ordering::Release);
                }
            }
            at += 8;
        }
        Ok(())
    }

    fn entry(&self, at: u64) -> io::Result<u64> {
        let mut b = [0; 8];
        self.file.read(&mut b[..], at)?;
        Ok(u64::from_be_bytes(b))
    }

    /// Makes the count of the cluster at `host` in the file 1 if it is 0; says whether it was not.
    fn count_at_least_one(
        &self,
        tables: &Tables,
        host: u64,
        reftable_entry: impl Fn(u64) -> io::Result<u64>,
    ) -> io::Result<bool> {
        let cluster = host >> tables.cluster_bits;
        let block_bits = tables.cluster_bits + 3 - tables.refcount_order;
        let entry_at = tables.reftable.start.saturating_add((cluster >> block_bits) * 8);
        if entry_at + 8 > tables.reftable.end {
            return Ok(false);
        }
        let block = reftable_entry(entry_at)? & OFFSET;
        if block == 0 {
            return Ok(false);
        }
        let bit = (cluster & ((1 << block_bits) - 1)) << tables.refcount_order;
        let width = 1usize << tables.refcount_order;
        let mut count = [0; 8];
        let count = &mut count[..width.div_ceil(8)];
        let at = block + bit / 8;
        self.file.read(&mut *count, at)?;
        let (shift, mask) = if width < 8 { (bit % 8, ((1u16 << width) - 1) as u8) } else { (0, 0xFF) };
        if count.iter().any(|b| b >> shift & mask != 0) {
            return Ok(true);
        }
        if let Some(last) = count.last_mut() {
            *last |= 1 << shift; // big-endian counts, and the low bits first in shared bytes
        }
        self.file.write(&*count, at)?;
        Ok(false)
    }

    fn after_write(&self, offset: u64) -> io::Result<()> {
        if let Some(tables) = &self.tables
            && offset < HEADER as u64
        {
            *tables.write().unwrap_or_else(PoisonError::into_inner) = Tables::read(&self.file)?;
        }
        Ok(())
    }
}

/// The entry at `at` of `b`, which the caller has checked to be inside.
fn be64(b: &[u8], at: u64) -> u64 {
    let at = usize::try_from(at).unwrap_or(usize::MAX - 8);
    b.get(at..at + 8).and_then(|s| s.try_into().ok()).map_or(0, u64::from_be_bytes)
}

impl fmt::Debug for GuardedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuardedFile({:?})", self.file)
    }
}

impl fmt::Display for GuardedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl Storage for GuardedFile {
    fn mem_align(&self) -> usize {
        self.file.mem_align()
    }

    fn req_align(&self) -> usize {
        self.file.req_align()
    }

    fn zero_align(&self) -> usize {
        self.file.zero_align()
    }

    fn discard_align(&self) -> usize {
        self.file.discard_align()
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn resolve_relative_path<P: AsRef<Path>>(&self, relative: P) -> io::Result<PathBuf> {
        self.file.resolve_relative_path(relative)
    }

    fn get_filename(&self) -> Option<PathBuf> {
        self.file.get_filename()
    }

    unsafe fn pure_readv(&self, bufv: IoVectorMut<'_>, offset: u64) -> io::Result<()> {
        // SAFETY: the caller's promises (alignment, blockers) are passed on; the alignments are the file's.
        unsafe { self.file.pure_readv(bufv, offset) }
    }

    unsafe fn pure_writev(&self, bufv: IoVector<'_>, offset: u64) -> io::Result<()> {
        self.before_write(&bufv, offset)?;
        // SAFETY: as for reading.
        unsafe { self.file.pure_writev(bufv, offset) }?;
        self.after_write(offset)
    }

    unsafe fn pure_write_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        // SAFETY: as for reading.
        unsafe { self.file.pure_write_zeroes(offset, length) }
    }

    unsafe fn pure_write_allocated_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        // SAFETY: as for reading.
        unsafe { self.file.pure_write_allocated_zeroes(offset, length) }
    }

    unsafe fn pure_discard(&self, offset: u64, length: u64) -> io::Result<()> {
        // SAFETY: as for reading.
        unsafe { self.file.pure_discard(offset, length) }
    }

    fn flush(&self) -> io::Result<()> {
        self.file.flush()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn settle_writes(&self) -> io::Result<()> {
        self.file.settle_writes()
    }

    unsafe fn invalidate_cache(&self) -> io::Result<()> {
        // SAFETY: the caller's promise is passed on.
        unsafe { self.file.invalidate_cache() }
    }

    fn get_storage_helper(&self) -> &CommonStorageHelper {
        &self.helper
    }

    fn resize(&self, new_size: u64, mode: PreallocateMode) -> io::Result<()> {
        self.file.resize(new_size, mode)
    }
}
