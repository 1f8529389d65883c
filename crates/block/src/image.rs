//! A raw or qcow2 image through imago, with the cache mode's rules.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use imago::FormatAccess;
use imago::format::PreallocateMode;

use crate::open::{Layer, magic_format};
use crate::storage::GuardedFile;
use crate::{BlockBackend, CacheMode, SECTOR, check_range};

/// An open image.
pub(crate) struct Image {
    /// Reads and writes share it; a discard, which invalidates imago's mappings, has it alone.
    access: RwLock<FormatAccess<GuardedFile>>,
    /// One writer at a time: the file's guard changes reference counts in place.
    writer: Mutex<()>,
    size: u64,
    /// The image does not end on a sector and was not yet made longer.
    short: AtomicBool,
    readonly: bool,
    cache: CacheMode,
    discard: bool,
    format: &'static str,
    /// The format was guessed to be raw: the guest must not turn it into another one by writing a header.
    guessed_raw: bool,
    /// A cluster was reused whose release is only in imago's cache.
    stale: Arc<AtomicBool>,
}

impl Image {
    pub(crate) fn new(layer: Layer, readonly: bool, cache: CacheMode, discard: bool) -> Self {
        let Layer { access, format, guessed_raw, stale } = layer;
        let real = access.size();
        let size = real.next_multiple_of(SECTOR);
        let short = AtomicBool::new(real != size);
        let access = RwLock::new(access);
        Self { access, writer: Mutex::new(()), size, short, readonly, cache, discard, format, guessed_raw, stale }
    }

    fn writable(&self) -> io::Result<()> {
        if self.readonly {
            return Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the disk is read-only"));
        }
        Ok(())
    }

    fn sync(&self, access: &FormatAccess<GuardedFile>) -> io::Result<()> {
        access.flush()?;
        access.sync()
    }
}

impl BlockBackend for Image {
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        check_range(self.size, offset, data.len() as u64)?;
        let access = self.access.read().unwrap_or_else(PoisonError::into_inner);
        let there = usize::try_from(access.size().saturating_sub(offset)).unwrap_or(usize::MAX).min(data.len());
        let (data, tail) = data.split_at_mut(there);
        tail.fill(0);
        if data.is_empty() { Ok(()) } else { access.read(data, offset) }
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writable()?;
        check_range(self.size, offset, data.len() as u64)?;
        if self.guessed_raw && offset == 0 && magic_format(data).is_some() {
            let why = "the image's format was guessed to be raw, and the guest tried to write another format's header; \
                       give format=raw to allow it";
            tracing::warn!("{why}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        if data.is_empty() {
            return Ok(());
        }
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let access = self.access.read().unwrap_or_else(PoisonError::into_inner);
        if self.short.load(Ordering::Acquire) && offset + data.len() as u64 > access.size() {
            access.resize_grow(self.size, PreallocateMode::None)?;
            self.short.store(false, Ordering::Release);
        }
        access.write(data, offset)?;
        if self.stale.swap(false, Ordering::AcqRel) {
            access.flush()?;
        }
        if self.cache.write_cache() { Ok(()) } else { self.sync(&access) }
    }

    fn flush(&self) -> io::Result<()> {
        if self.readonly || self.cache == CacheMode::Unsafe {
            return Ok(());
        }
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.sync(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.writable()?;
        check_range(self.size, offset, len)?;
        if !self.discard || len == 0 {
            return Ok(());
        }
        let mut access = self.access.write().unwrap_or_else(PoisonError::into_inner);
        let len = len.min(access.size().saturating_sub(offset));
        match access.discard_to_any(offset, len) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => return Ok(()), // a hint; version 2 images cannot
            result => result?,
        }
        // The released clusters must be free in the file before they are reused for tables.
        access.flush()
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn format(&self) -> &'static str {
        self.format
    }

    fn readonly(&self) -> bool {
        self.readonly
    }
}

impl Drop for Image {
    /// A clean end leaves nothing in imago's caches, also with `cache=unsafe`.
    fn drop(&mut self) {
        if !self.readonly
            && let Err(e) = self.access.get_mut().unwrap_or_else(PoisonError::into_inner).flush()
        {
            tracing::error!("disk image: the last writes could not be completed: {e}");
        }
    }
}
