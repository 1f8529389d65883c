//! Disk images behind one small trait, and the worker that runs a device's requests on one.
//!
//! [`open`] gives a [`BlockBackend`] for a raw or qcow2 file with its backing chain, locked against other writers,
//! with the cache mode's flush rules and, for `snapshot=on`, a temporary overlay. A device does not call it
//! directly but through a [`BlockQueue`]. [`img`] is what `whpx img` does with images that no machine uses. Left out: other formats, encrypted, zstd and extended-L2 qcow2, external
//! data files, internal snapshots; each is refused with what to do about it.
#![allow(unsafe_code)] // file locks (fcntl), holes and room of files (lseek, fallocate), imago's Storage trait with its unsafe methods

mod at;
mod config;
mod error;
mod image;
pub mod img;
mod lock;
mod open;
mod overlay;
mod qcow2_header;
mod queue;
mod storage;

pub use config::{BlockConfig, CacheMode, Format};
pub use error::BlockError;
pub use open::{MemoryDisk, NullDisk, open};
pub use queue::{BlockOp, BlockQueue, BlockStats, Completion, OpStats};

use std::io;

/// Sector size that every size is a multiple of.
pub const SECTOR: u64 = 512;

/// A disk. All calls block; any thread may call at any time.
pub trait BlockBackend: Send + Sync {
    /// Fills `data` from byte `offset`.
    ///
    /// # Errors
    /// Past the end, or the host's I/O error.
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()>;
    /// Writes `data` at byte `offset`.
    ///
    /// # Errors
    /// Past the end, read-only, or the host's I/O error.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes everything written before durable, as the cache mode defines it.
    ///
    /// # Errors
    /// The host's I/O error.
    fn flush(&self) -> io::Result<()>;
    /// The range's contents are not needed any more; a hint.
    ///
    /// # Errors
    /// Past the end, read-only, or the host's I/O error.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Size in bytes, a multiple of [`SECTOR`].
    fn size(&self) -> u64;
    /// Writes are refused.
    fn readonly(&self) -> bool;
    /// The format, as `info block` shows it.
    fn format(&self) -> &'static str;
}

/// Refuses ranges that are not wholly on the disk.
pub(crate) fn check_range(size: u64, offset: u64, len: u64) -> io::Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("offset {offset:#x}, length {len:#x}: past the end of the disk ({size:#x})"),
        )),
    }
}
