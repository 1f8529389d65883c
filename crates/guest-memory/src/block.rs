//! Blocks of host memory that back guest RAM, ROM and video memory.

use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex};

use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;
use vm_memory::mmap::MmapRegion;

/// Size of the pages that flags and permissions are kept for, in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// `log2(PAGE_SIZE)`.
pub const PAGE_SHIFT: u32 = 12;

/// What a store must tell somebody about. The bits of a page's flag byte.
pub struct PageFlags;

impl PageFlags {
    /// Decoded code was made from the page's bytes.
    pub const CODE: u8 = 1;
    /// Dirty tracking is on and the page is clean.
    pub const CLEAN: u8 = 2;
}

/// Why a block could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RamError {
    /// The host refused the memory.
    #[error("cannot reserve {size} bytes of host memory for {name}: {reason}")]
    Host {
        /// Name of the block.
        name: String,
        /// Bytes asked for.
        size: u64,
        /// The host's words.
        reason: String,
    },
    /// A size that is not a multiple of the page size, or zero.
    #[error("{name}: size {size:#x} is not a positive multiple of 4096")]
    Size {
        /// Name of the block.
        name: String,
        /// Bytes asked for.
        size: u64,
    },
}

enum Backing {
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))] // kept so that it is unmapped last
    Mapped(MmapRegion<()>),
    Foreign,
}

/// Asks the host for large pages: guests touch most of their memory, and a miss in the host's TLB costs more than the
/// guest's instruction. Where the host has none nothing changes.
fn prefer_large_pages(base: NonNull<u8>, len: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: advice about a mapping of that length; its contents stay as they are.
    unsafe {
        libc::madvise(base.as_ptr().cast(), len, libc::MADV_HUGEPAGE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (base, len);
}

/// Memory that is a file's, which nobody else has; `None` when the host has none.
#[cfg(target_os = "linux")]
fn shared_region(size: u64) -> Option<MmapRegion<()>> {
    use std::os::fd::FromRawFd;
    // SAFETY: a new descriptor, which nobody else owns.
    let file = unsafe {
        let fd = libc::memfd_create(c"whpx-ram".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return None;
        }
        std::fs::File::from_raw_fd(fd)
    };
    file.set_len(size).ok()?;
    MmapRegion::from_file(vm_memory::FileOffset::new(file, 0), usize::try_from(size).ok()?).ok()
}

/// Host memory with one flag byte, one code version and one 64-byte-line code mask per page.
pub struct RamBlock {
    name: String,
    base: NonNull<u8>,
    len: u64,
    flags: Box<[AtomicU8]>,
    code_version: Box<[AtomicU32]>,
    code_lines: Box<[AtomicU64]>,
    /// One more than the code version in which all processors are known to see that the page has code.
    code_seen: Box<[AtomicU32]>,
    dirty: Box<[AtomicU64]>,
    tracked: AtomicBool,
    source: Mutex<Option<DirtySource>>,
    backing: Backing,
}

/// Called before the dirty log of a block is read, with the range: notes (with [`RamBlock::after_write`]) the writes
/// that a hypervisor has seen and nobody else has.
pub type DirtySource = Arc<dyn Fn(&RamBlock, u64, u64) + Send + Sync>;

// SAFETY: the memory behind `base` is only touched through volatile or atomic accesses, and all else is atomic.
unsafe impl Send for RamBlock {}
// SAFETY: as above.
unsafe impl Sync for RamBlock {}

impl fmt::Debug for RamBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RamBlock({}, {:#x} bytes)", self.name, self.len)
    }
}

fn zeroed<T: Default>(n: u64) -> Box<[T]> {
    (0..n).map(|_| T::default()).collect()
}

impl RamBlock {
    /// Reserves `size` bytes (a multiple of the page size), zero, committed by the host on first touch.
    ///
    /// # Errors
    /// [`RamError`] for a bad size or when the host has no such address range.
    pub fn new(name: &str, size: u64) -> Result<Arc<Self>, RamError> {
        if size == 0 || !size.is_multiple_of(PAGE_SIZE) {
            return Err(RamError::Size { name: name.into(), size });
        }
        let host = |reason: String| RamError::Host { name: name.into(), size, reason };
        let bytes = usize::try_from(size).map_err(|e| host(e.to_string()))?;
        let region = MmapRegion::<()>::new(bytes).map_err(|e| host(e.to_string()))?;
        Self::mapped(name, size, region)
    }

    /// The same, so that its pages can be mapped once more elsewhere ([`RamBlock::file`]) where the host can do that.
    ///
    /// # Errors
    /// As [`RamBlock::new`].
    pub fn shareable(name: &str, size: u64) -> Result<Arc<Self>, RamError> {
        #[cfg(target_os = "linux")]
        if size != 0
            && size.is_multiple_of(PAGE_SIZE)
            && let Some(region) = shared_region(size)
        {
            return Self::mapped(name, size, region);
        }
        Self::new(name, size)
    }

    fn mapped(name: &str, size: u64, region: MmapRegion<()>) -> Result<Arc<Self>, RamError> {
        let null = || RamError::Host { name: name.into(), size, reason: "null mapping".into() };
        let base = NonNull::new(region.as_ptr()).ok_or_else(null)?;
        prefer_large_pages(base, region.size());
        Ok(Arc::new(Self::with(name, base, size, Backing::Mapped(region))))
    }

    /// Wraps memory that somebody else owns (a caller of the C API).
    ///
    /// # Safety
    /// `base` must be page aligned, and `size` bytes (a multiple of the page size) from it must stay readable
    /// and writable until the block is dropped.
    pub unsafe fn foreign(name: &str, base: NonNull<u8>, size: u64) -> Arc<Self> {
        Arc::new(Self::with(name, base, size, Backing::Foreign))
    }

    fn with(name: &str, base: NonNull<u8>, len: u64, backing: Backing) -> Self {
        let pages = len.div_ceil(PAGE_SIZE);
        Self {
            name: name.into(),
            base,
            len,
            flags: zeroed(pages),
            code_version: zeroed(pages),
            code_lines: zeroed(pages),
            code_seen: zeroed(pages),
            dirty: zeroed(pages.div_ceil(64)),
            tracked: AtomicBool::new(false),
            source: Mutex::new(None),
            backing,
        }
    }

    /// Whether others write to the memory without telling ([`RamBlock::foreign`]): the has-code and dirty marks do not
    /// know of their writes.
    pub fn is_foreign(&self) -> bool {
        matches!(self.backing, Backing::Foreign)
    }

    /// The file whose bytes are the block's, at the same offsets, if it is memory of a file
    /// ([`RamBlock::shareable`]).
    #[cfg(target_os = "linux")]
    pub fn file(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        match &self.backing {
            Backing::Mapped(region) => region.file_offset().map(|f| f.file().as_fd()),
            Backing::Foreign => None,
        }
    }

    /// Name, as monitor commands show it ("pc.ram", "vga.vram").
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Size in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Never true: blocks have at least a page. Here because `len` is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Host address of byte `offset`, for processors and platforms that map the memory themselves.
    ///
    /// # Panics
    /// When `offset` is outside the block (a host-side error).
    pub fn host_ptr(&self, offset: u64) -> *mut u8 {
        assert!(offset < self.len, "{self:?}: offset {offset:#x} out of range");
        // SAFETY: inside the block by the check above.
        unsafe { self.base.as_ptr().add(offset as usize) }
    }

    /// The flag byte of the page that holds `offset`; zero lets a store go on without telling anybody.
    pub fn flags(&self, offset: u64) -> &AtomicU8 {
        &self.flags[(offset >> PAGE_SHIFT) as usize]
    }

    /// The code version of the page that holds `offset`: changes whenever bytes that code was decoded from change.
    pub fn code_version(&self, offset: u64) -> &AtomicU32 {
        &self.code_version[(offset >> PAGE_SHIFT) as usize]
    }

    /// Notes that code was, or is about to be, decoded from `len` bytes at `offset`, within one page.
    ///
    /// Call it **before** reading the bytes. Returns the code version to compare with later.
    pub fn mark_code(&self, offset: u64, len: u64) -> u32 {
        let page = (offset >> PAGE_SHIFT) as usize;
        let first = (offset % PAGE_SIZE) / 64;
        let last = ((offset % PAGE_SIZE + len.max(1) - 1) / 64).min(63);
        let mask = (u64::MAX << first) & (u64::MAX >> (63 - last));
        let version = self.code_version[page].load(Ordering::SeqCst);
        self.code_lines[page].fetch_or(mask, Ordering::SeqCst);
        self.flags[page].fetch_or(PageFlags::CODE, Ordering::SeqCst);
        let seen = version.wrapping_add(1);
        if self.code_seen[page].load(Ordering::SeqCst) == seen {
            // Since a barrier of this version every store finds the flag, and looks at the lines behind a fence as this does at the
            // bytes.
            fence(Ordering::SeqCst);
        } else {
            super::write_barrier();
            self.code_seen[page].store(seen, Ordering::SeqCst);
        }
        version
    }

    /// To be called after every store to `len` bytes at `offset` (the store protocol of the crate's documentation).
    #[inline]
    pub fn after_write(&self, offset: u64, len: u64) {
        let last = (offset + len.max(1) - 1) >> PAGE_SHIFT;
        for page in offset >> PAGE_SHIFT..=last {
            if let Some(flags) = self.flags.get(page as usize)
                && flags.load(Ordering::Relaxed) != 0
            {
                self.page_written(page, offset, len);
            }
        }
    }

    #[cold]
    fn page_written(&self, page: u64, offset: u64, len: u64) {
        let i = page as usize;
        // Behind the store: `mark_code` has no barrier for more lines of a page.
        fence(Ordering::SeqCst);
        let start = offset.max(page << PAGE_SHIFT) & (PAGE_SIZE - 1);
        let end = (offset + len.max(1)).min((page + 1) << PAGE_SHIFT) - (page << PAGE_SHIFT) - 1;
        let mask = (u64::MAX << (start / 64)) & (u64::MAX >> (63 - end / 64));
        let flags = self.flags[i].load(Ordering::SeqCst);
        if flags & PageFlags::CODE != 0 && self.code_lines[i].load(Ordering::SeqCst) & mask != 0 {
            self.drop_code(page);
        }
        if flags & PageFlags::CLEAN != 0 {
            self.flags[i].fetch_and(!PageFlags::CLEAN, Ordering::SeqCst);
            self.dirty[i / 64].fetch_or(1 << (i % 64), Ordering::SeqCst);
        }
    }

    /// Makes everything decoded from page number `page` stale.
    pub fn drop_code(&self, page: u64) {
        let i = page as usize;
        self.code_version[i].fetch_add(1, Ordering::SeqCst);
        self.code_lines[i].store(0, Ordering::SeqCst);
        self.flags[i].fetch_and(!PageFlags::CODE, Ordering::SeqCst);
        // What was marked in between is stale, too: its marks may be gone.
        self.code_version[i].fetch_add(1, Ordering::SeqCst);
    }

    /// Starts dirty tracking on `len` bytes at `offset`: all their pages are clean from now on.
    pub fn track_dirty(&self, offset: u64, len: u64) {
        self.tracked.store(true, Ordering::SeqCst);
        for page in offset >> PAGE_SHIFT..(offset + len).div_ceil(PAGE_SIZE).min(self.flags.len() as u64) {
            self.dirty[page as usize / 64].fetch_and(!(1 << (page % 64)), Ordering::SeqCst);
            self.flags[page as usize].fetch_or(PageFlags::CLEAN, Ordering::SeqCst);
        }
    }

    /// Whether dirty tracking was ever started: whoever lets a hypervisor write the block must then provide a
    /// [`DirtySource`].
    pub fn is_tracked(&self) -> bool {
        self.tracked.load(Ordering::SeqCst)
    }

    /// Sets who knows of more writes.
    pub fn set_dirty_source(&self, source: DirtySource) {
        *self.source.lock().unwrap_or_else(|e| e.into_inner()) = Some(source);
    }

    /// Ends dirty tracking on the range; later writes are not noted.
    pub fn untrack_dirty(&self, offset: u64, len: u64) {
        for page in offset >> PAGE_SHIFT..(offset + len).div_ceil(PAGE_SIZE).min(self.flags.len() as u64) {
            self.flags[page as usize].fetch_and(!PageFlags::CLEAN, Ordering::SeqCst);
        }
    }

    /// Calls `each` with the page number of every page of the range written since the last call, and makes them
    /// clean again. `keep_tracking` re-arms them. A page's bytes are to be read after this, not before.
    pub fn take_dirty(&self, offset: u64, len: u64, keep_tracking: bool, mut each: impl FnMut(u64)) {
        let source = self.source.lock().unwrap_or_else(|e| e.into_inner()).clone();
        if let Some(source) = source {
            source(self, offset, len);
        }
        let mut any = false;
        let pages = offset >> PAGE_SHIFT..(offset + len).div_ceil(PAGE_SIZE).min(self.flags.len() as u64);
        for page in pages {
            let (i, bit) = (page as usize, 1u64 << (page % 64));
            if self.dirty[i / 64].load(Ordering::Relaxed) & bit != 0 {
                self.dirty[i / 64].fetch_and(!bit, Ordering::SeqCst);
                if keep_tracking {
                    self.flags[i].fetch_or(PageFlags::CLEAN, Ordering::SeqCst);
                }
                any = true;
                each(page);
            }
        }
        if any {
            super::write_barrier();
        }
    }

    /// Reads bytes at `offset`. `false` when the range is not wholly inside the block (nothing is read then).
    pub fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        match self.slice(offset, out.len()) {
            Some(s) => {
                s.copy_to(out);
                true
            }
            None => false,
        }
    }

    /// Writes bytes at `offset`. `false` when the range is not wholly inside the block (nothing is written then).
    pub fn write(&self, offset: u64, data: &[u8]) -> bool {
        match self.slice(offset, data.len()) {
            Some(s) => {
                s.copy_from(data);
                self.after_write(offset, data.len() as u64);
                true
            }
            None => false,
        }
    }

    /// Fills `len` bytes at `offset` with `value`; `false` when out of range.
    pub fn fill(&self, offset: u64, len: u64, value: u8) -> bool {
        let chunk = [value; 4096];
        let Some(end) = offset.checked_add(len).filter(|e| *e <= self.len) else { return false };
        let mut at = offset;
        while at < end {
            let n = (end - at).min(4096);
            self.write(at, &chunk[..n as usize]);
            at += n;
        }
        true
    }

    fn slice(&self, offset: u64, len: usize) -> Option<VolatileSlice<'_, impl BitmapSlice + '_>> {
        let end = offset.checked_add(len as u64)?;
        if end > self.len || offset > self.len {
            return None;
        }
        // SAFETY: the range is inside the block, which lives as long as `self`.
        Some(unsafe { VolatileSlice::new(self.base.as_ptr().add(offset as usize), len) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_shareable_block_is_its_file() {
        use std::os::fd::AsFd;
        use std::os::unix::fs::FileExt;
        assert!(RamBlock::new("x", 4096).unwrap().file().is_none());
        assert!(RamBlock::shareable("x", 4095).is_err());
        let b = RamBlock::shareable("x", 8192).unwrap();
        let file = std::fs::File::from(b.file().expect("a file").as_fd().try_clone_to_owned().unwrap());
        assert!(b.write(5000, &[1, 2, 3]));
        let mut got = [0; 3];
        file.read_exact_at(&mut got, 5000).unwrap();
        assert_eq!(got, [1, 2, 3]);
        assert_eq!(file.metadata().unwrap().len(), 8192);
    }

    #[test]
    fn sizes_are_checked() {
        assert!(RamBlock::new("x", 0).is_err());
        assert!(RamBlock::new("x", 5000).is_err());
    }

    #[test]
    fn out_of_range_is_refused_whole() {
        let b = RamBlock::new("b", 8192).unwrap();
        assert!(!b.write(8190, &[1, 2, 3]));
        let mut x = [9; 2];
        assert!(b.read(8190, &mut x));
        assert_eq!(x, [0, 0]);
        assert!(!b.read(u64::MAX, &mut x));
    }

    #[test]
    fn a_store_into_code_bumps_the_version_and_only_there() {
        let b = RamBlock::new("b", 8192).unwrap();
        let v = b.mark_code(64, 10);
        b.write(200, &[1]);
        assert_eq!(b.code_version(64).load(Ordering::SeqCst), v, "another line of the page");
        b.write(62, &[1, 2, 3]);
        assert_ne!(b.code_version(64).load(Ordering::SeqCst), v);
        assert_eq!(b.flags(64).load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_dirty_source_is_asked_first() {
        let b = RamBlock::new("b", 4 * 4096).unwrap();
        assert!(!b.is_tracked());
        b.track_dirty(0, b.len());
        assert!(b.is_tracked());
        b.set_dirty_source(Arc::new(|b, offset, len| {
            assert_eq!((offset, len), (4096, 8192));
            b.after_write(2 * 4096, 1);
        }));
        let mut seen = vec![];
        b.take_dirty(4096, 8192, true, |p| seen.push(p));
        assert_eq!(seen, [2]);
    }

    #[test]
    fn dirty_pages_are_reported_once() {
        let b = RamBlock::new("b", 4 * 4096).unwrap();
        b.track_dirty(0, b.len());
        b.write(4095, &[1, 2]);
        let mut seen = vec![];
        b.take_dirty(0, b.len(), true, |p| seen.push(p));
        assert_eq!(seen, [0, 1]);
        seen.clear();
        b.take_dirty(0, b.len(), true, |p| seen.push(p));
        assert!(seen.is_empty());
        b.write(0, &[1]);
        b.take_dirty(0, b.len(), false, |p| seen.push(p));
        assert_eq!(seen, [0]);
    }

    #[test]
    fn no_store_is_missed_by_code_that_is_marked_meanwhile() {
        const LINES: u64 = 6;
        const ROUNDS: u64 = 30_000;
        let b = RamBlock::new("ram", 2 * PAGE_SIZE).unwrap();
        let word = |line: u64| {
            // SAFETY: an aligned word of the block.
            unsafe { AtomicU64::from_ptr(b.host_ptr(line * 64).cast()) }
        };
        let (begin, end) = (AtomicU64::new(0), AtomicU64::new(0));
        let wait = |counter: &AtomicU64, for_value| {
            while counter.load(Ordering::SeqCst) < for_value {
                std::hint::spin_loop();
            }
        };
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for round in 1..=ROUNDS {
                    begin.fetch_add(1, Ordering::SeqCst);
                    wait(&begin, 2 * round);
                    for line in 0..LINES {
                        let line = if round % 2 == 0 { line } else { LINES - 1 - line };
                        word(line).store(round, Ordering::Relaxed);
                        b.after_write(line * 64, 8);
                    }
                    end.fetch_add(1, Ordering::SeqCst);
                    wait(&end, 2 * round);
                }
            });
            for round in 1..=ROUNDS {
                // Sometimes the page has had code for long, sometimes it has not.
                if round % 3 != 0 {
                    b.mark_code(60 * 64, 8);
                }
                begin.fetch_add(1, Ordering::SeqCst);
                wait(&begin, 2 * round);
                let seen: Vec<_> = (0..LINES)
                    .map(|line| (line, b.mark_code(line * 64, 8), word(line).load(Ordering::Relaxed)))
                    .collect();
                end.fetch_add(1, Ordering::SeqCst);
                wait(&end, 2 * round);
                let missed = |(_, version, value): &(u64, u32, u64)| {
                    b.code_version(0).load(Ordering::SeqCst) == *version && *value != round
                };
                if let Some((line, _, value)) = seen.into_iter().find(missed) {
                    // (The other thread is not to wait.)
                    [&begin, &end].into_iter().for_each(|counter| counter.store(u64::MAX / 2, Ordering::SeqCst));
                    panic!("line {line}, round {round}: {value}");
                }
            }
        });
    }
}
