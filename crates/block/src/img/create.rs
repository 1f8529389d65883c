//! New, empty images.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::build::Builder;
use super::chain::Chain;
use super::header::{Header, LAZY_REFCOUNTS};
use super::output::Output;
use super::{Control, ImgError, Result};
use crate::open::backing_path;
use crate::{Format, SECTOR, at};

/// What is done for data that is not there yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preallocation {
    /// Nothing.
    #[default]
    Off,
    /// qcow2: every cluster has its place.
    Metadata,
    /// The host's file system keeps the room.
    Falloc,
    /// Zeros are written.
    Full,
}

impl std::str::FromStr for Preallocation {
    type Err = String;
    fn from_str(s: &str) -> std::result::Result<Self, String> {
        match s {
            "off" => Ok(Self::Off),
            "metadata" => Ok(Self::Metadata),
            "falloc" => Ok(Self::Falloc),
            "full" => Ok(Self::Full),
            _ => Err(format!("preallocation={s}: it is one of off, metadata, falloc, full")),
        }
    }
}

/// `-o` of a qcow2 image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewQcow2 {
    /// `compat=`: 2 (0.10) or 3 (1.1).
    pub version: u32,
    /// `cluster_size=`.
    pub cluster_size: u64,
    /// `refcount_bits=`.
    pub refcount_bits: u32,
    /// `lazy_refcounts=`.
    pub lazy_refcounts: bool,
    /// `preallocation=`.
    pub preallocation: Preallocation,
    /// `-b`, and `-F`.
    pub backing: Option<(String, Format)>,
}

impl Default for NewQcow2 {
    fn default() -> Self {
        Self {
            version: 3,
            cluster_size: 64 << 10,
            refcount_bits: 16,
            lazy_refcounts: false,
            preallocation: Preallocation::Off,
            backing: None,
        }
    }
}

impl NewQcow2 {
    /// The header of a disk of `size` bytes, tables not placed.
    pub(crate) fn header(&self, size: u64) -> Result<Header> {
        let refuse = |what: String| Err(ImgError::Refused(what));
        if !self.cluster_size.is_power_of_two() || !(512..=2 << 20).contains(&self.cluster_size) {
            return refuse(format!("cluster_size={}: a power of two from 512 to 2M", self.cluster_size));
        }
        if !self.refcount_bits.is_power_of_two() || self.refcount_bits > 64 {
            return refuse(format!("refcount_bits={}: a power of two up to 64", self.refcount_bits));
        }
        if self.version == 2 && (self.refcount_bits != 16 || self.lazy_refcounts) {
            return refuse("compat=0.10 has refcount_bits=16 and no lazy_refcounts; use compat=1.1".into());
        }
        if self.preallocation != Preallocation::Off && self.backing.is_some() {
            return refuse("preallocation= hides the backing file; use one of them".into());
        }
        Ok(Header {
            version: self.version,
            cluster_bits: self.cluster_size.trailing_zeros(),
            size,
            crypt: 0,
            l1_entries: 0,
            l1_at: 0,
            reftable_at: 0,
            reftable_clusters: 0,
            snapshots: 0,
            snapshots_at: 0,
            incompatible: 0,
            compatible: if self.lazy_refcounts { LAZY_REFCOUNTS } else { 0 },
            autoclear: 0,
            refcount_order: self.refcount_bits.trailing_zeros(),
            compression: 0,
            backing: self.backing.as_ref().map(|b| b.0.clone()),
            backing_format: self.backing.as_ref().map(|b| b.1.to_string()),
            data_file: None,
            bitmaps: None,
        })
    }
}

/// An image to make.
#[derive(Clone, Debug)]
pub struct Creation {
    /// Its file.
    pub path: PathBuf,
    /// Bytes; the backing file's size when absent.
    pub size: Option<u64>,
    /// `None`: raw, with this preallocation.
    pub qcow2: Option<NewQcow2>,
    /// Of a raw image.
    pub preallocation: Preallocation,
    /// `-u`: the backing file need not be there.
    pub unsafe_backing: bool,
    /// A file that is there is replaced.
    pub force: bool,
}

/// Makes an empty image; returns its size.
///
/// # Errors
/// The file is there, the options make no sense, or the host refuses.
pub fn create(new: &Creation, control: &Control) -> Result<u64> {
    let backing = new.qcow2.as_ref().and_then(|q| q.backing.as_ref());
    let mut size = new.size;
    if let Some((name, format)) = backing
        && !new.unsafe_backing
    {
        let below = Chain::open(&backing_path(&new.path, name)?, Some(*format), false);
        let below = below.map_err(|e| ImgError::Refused(format!("the backing file: {e}")))?;
        size = size.or(Some(below.size()));
    }
    let size = size.and_then(|s| s.checked_next_multiple_of(SECTOR)).filter(|s| i64::try_from(*s).is_ok());
    let size = size
        .ok_or_else(|| ImgError::Refused(format!("'{}': say how large the disk is, as in 20G", new.path.display())))?;
    let header = new.qcow2.as_ref().map(|q| q.header(size)).transpose()?;
    let output = Output::new(&new.path, new.force)?;
    match header {
        None => {
            output.file().set_len(size).map_err(ImgError::io("create", &new.path))?;
            reserve(output.file(), &new.path, 0..size, new.preallocation, control)?;
        }
        Some(header) => {
            let preallocation = new.qcow2.as_ref().map_or(Preallocation::Off, |q| q.preallocation);
            let mut builder = Builder::new(output.file(), &new.path, header)?;
            if preallocation != Preallocation::Off {
                let clusters = builder.reserve_all()?;
                reserve(output.file(), &new.path, clusters, preallocation, control)?;
            }
            builder.finish()?;
        }
    }
    output.finish()?;
    Ok(size)
}

/// Makes the host keep room for a part of a file that has no data yet.
pub(crate) fn reserve(
    file: &File,
    path: &Path,
    part: Range<u64>,
    preallocation: Preallocation,
    control: &Control,
) -> Result<()> {
    match preallocation {
        Preallocation::Off | Preallocation::Metadata => Ok(()),
        Preallocation::Falloc if allocate(file, &part).map_err(ImgError::io("reserve room for", path))? => Ok(()),
        Preallocation::Falloc | Preallocation::Full => {
            let zeros = vec![0; 1 << 20];
            let mut at = part.start;
            while at < part.end {
                control.step(at - part.start, part.end - part.start)?;
                let n = (part.end - at).min(zeros.len() as u64);
                at::write(file, &zeros[..n as usize], at).map_err(ImgError::io("write", path))?;
                at += n;
            }
            Ok(())
        }
    }
}

/// `false`: the host cannot.
#[cfg(target_os = "linux")]
fn allocate(file: &File, part: &Range<u64>) -> std::io::Result<bool> {
    use std::os::fd::AsRawFd;
    let (Ok(at), Ok(len)) = (i64::try_from(part.start), i64::try_from(part.end - part.start)) else { return Ok(false) };
    if len == 0 {
        return Ok(true);
    }
    // SAFETY: the descriptor is open; the call takes numbers only.
    if unsafe { libc::fallocate(file.as_raw_fd(), 0, at, len) } == 0 {
        return Ok(true);
    }
    let error = std::io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::ENOSYS) => Ok(false),
        _ => Err(error),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(_file: &File, _part: &Range<u64>) -> std::io::Result<bool> {
    Ok(false)
}
