//! The qcow2 header, whole: the specification's "Header", "Header extensions", "Bitmaps extension".
//!
//! Reading accepts what the tool cannot use (so that `info` can show it); [`Header::usable`] refuses it with what to do.
//! In place the tool changes single fields, so unknown extensions stay as they are.

use std::fs::File;
use std::path::Path;

use super::{ImgError, Result};
use crate::at;
use crate::qcow2_header::{
    COMPRESSION, ENCRYPTED, EXTERNAL_DATA, HAS_EXTENDED_L2, HAS_EXTERNAL_DATA, HAS_ZSTD, MAGIC, be32, be64,
};

pub(crate) use crate::qcow2_header::{CORRUPT, DIRTY, EXT_BACKING_FORMAT, EXTENDED_L2};

pub(crate) const LAZY_REFCOUNTS: u64 = 1;
pub(crate) const AUTOCLEAR_BITMAPS: u64 = 1;

pub(crate) const EXT_END: u32 = 0;
const EXT_BITMAPS: u32 = 0x2385_2875;
const EXT_DATA_FILE: u32 = 0x4441_5441;

/// Offsets of fields that are changed in place.
pub(crate) mod field {
    /// Size (8), encryption (4), L1 entries (4), L1 offset (8).
    pub(crate) const SIZE: u64 = 24;
    /// Refcount table offset (8), clusters (4).
    pub(crate) const REFTABLE: u64 = 48;
    /// Number of snapshots (4), offset of their table (8).
    pub(crate) const SNAPSHOTS: u64 = 60;
    /// Incompatible features (8).
    pub(crate) const INCOMPATIBLE: u64 = 72;
    /// Autoclear features (8).
    pub(crate) const AUTOCLEAR: u64 = 88;
}

/// The longest L1 table that is taken.
pub(crate) const MAX_L1: u64 = 32 << 20;
/// The longest refcount table that is taken.
const MAX_REFTABLE: u64 = 8 << 20;
/// The most snapshots.
pub(crate) const MAX_SNAPSHOTS: u32 = 65536;

/// Where the bitmap directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BitmapsExtension {
    pub(crate) count: u32,
    pub(crate) directory_len: u64,
    pub(crate) directory_at: u64,
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) cluster_bits: u32,
    pub(crate) size: u64,
    pub(crate) crypt: u32,
    pub(crate) l1_entries: u32,
    pub(crate) l1_at: u64,
    pub(crate) reftable_at: u64,
    pub(crate) reftable_clusters: u32,
    pub(crate) snapshots: u32,
    pub(crate) snapshots_at: u64,
    pub(crate) incompatible: u64,
    pub(crate) compatible: u64,
    pub(crate) autoclear: u64,
    pub(crate) refcount_order: u32,
    pub(crate) compression: u8,
    pub(crate) backing: Option<String>,
    pub(crate) backing_format: Option<String>,
    pub(crate) data_file: Option<String>,
    pub(crate) bitmaps: Option<BitmapsExtension>,
}

/// What the image is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Its contents are read.
    Read,
    /// It is changed.
    Change,
    /// It is checked, perhaps repaired.
    Check,
}

impl Header {
    /// Reads the header of `file`.
    pub(crate) fn read(path: &Path, file: &File) -> Result<Self> {
        // Header, extensions and backing name are in the first cluster, of at most 2 MiB; none fills more than this.
        let mut start = vec![0; 128 << 10];
        let len = at::read_up_to(file, &mut start, 0).map_err(ImgError::io("read", path))?;
        start.truncate(len);
        Self::parse(path, &start)
    }

    /// Reads the header in `b`, the file's first bytes.
    pub(crate) fn parse(path: &Path, b: &[u8]) -> Result<Self> {
        if b.get(..4) != Some(&MAGIC[..]) {
            return Err(ImgError::format(path, "it is not a qcow2 image (bad magic)"));
        }
        let mut header = Self::fields(b).ok_or_else(|| {
            ImgError::format(path, "the header is cut off: the file is truncated; copy or create it again")
        })?;
        let bad = |what: String| Err(ImgError::format(path, format!("the header is corrupt: {what}")));
        if !(2..=3).contains(&header.version) {
            let what = format!("qcow2 version {} is not known; versions 2 and 3 are", header.version);
            return Err(ImgError::format(path, what));
        }
        if !(9..=21).contains(&header.cluster_bits) {
            return bad(format!("cluster size 2^{}", header.cluster_bits));
        }
        if header.refcount_order > 6 {
            return bad(format!("refcount width 2^{}", header.refcount_order));
        }
        if u64::from(header.l1_entries) * 8 > MAX_L1 {
            return bad(format!("{} L1 entries", header.l1_entries));
        }
        if u64::from(header.reftable_clusters) << header.cluster_bits > MAX_REFTABLE {
            return bad(format!("a refcount table of {} clusters", header.reftable_clusters));
        }
        if header.snapshots > MAX_SNAPSHOTS {
            return bad(format!("{} snapshots", header.snapshots));
        }
        for (what, at) in [("L1 table", header.l1_at), ("refcount table", header.reftable_at)] {
            if at & (header.cluster() - 1) != 0 || i64::try_from(at).is_err() {
                return bad(format!("the {what} is at {at:#x}"));
            }
        }
        let length = if header.version == 2 { 72 } else { be32(b, 100).unwrap_or(104) };
        if length < 72 || u64::from(length) > header.cluster() || header.version == 3 && length < 104 {
            return bad(format!("header length {length}"));
        }
        if length > 104 {
            header.compression = b.get(104).copied().unwrap_or(0);
        }
        header.extensions(path, b, length as usize)?;
        header.backing_name(path, b)?;
        Ok(header)
    }

    fn fields(b: &[u8]) -> Option<Self> {
        let version = be32(b, 4)?;
        let v3 = version >= 3;
        Some(Self {
            version,
            cluster_bits: be32(b, 20)?,
            size: be64(b, 24)?,
            crypt: be32(b, 32)?,
            l1_entries: be32(b, 36)?,
            l1_at: be64(b, 40)?,
            reftable_at: be64(b, 48)?,
            reftable_clusters: be32(b, 56)?,
            snapshots: be32(b, 60)?,
            snapshots_at: be64(b, 64)?,
            incompatible: if v3 { be64(b, 72)? } else { 0 },
            compatible: if v3 { be64(b, 80)? } else { 0 },
            autoclear: if v3 { be64(b, 88)? } else { 0 },
            refcount_order: if v3 { be32(b, 96)? } else { 4 },
            compression: 0,
            backing: None,
            backing_format: None,
            data_file: None,
            bitmaps: None,
        })
    }

    fn extensions(&mut self, path: &Path, b: &[u8], mut at: usize) -> Result<()> {
        let end = usize::try_from(self.cluster()).unwrap_or(usize::MAX).min(b.len());
        while let (Some(kind), Some(len)) = (be32(b, at), be32(b, at + 4)) {
            if kind == EXT_END || at + 8 > end {
                break;
            }
            let data = (at + 8).checked_add(len as usize).filter(|e| *e <= end).and_then(|e| b.get(at + 8..e));
            let Some(data) = data else {
                return Err(ImgError::format(path, "the header is corrupt: an extension is longer than the header"));
            };
            match kind {
                EXT_BACKING_FORMAT => self.backing_format = Some(String::from_utf8_lossy(data).into_owned()),
                EXT_DATA_FILE => self.data_file = Some(String::from_utf8_lossy(data).into_owned()),
                EXT_BITMAPS => {
                    if let (Some(count), Some(directory_len), Some(directory_at)) =
                        (be32(data, 0), be64(data, 8), be64(data, 16))
                    {
                        self.bitmaps = Some(BitmapsExtension { count, directory_len, directory_at });
                    }
                }
                _ => {}
            }
            at += 8 + (len as usize).next_multiple_of(8);
        }
        Ok(())
    }

    fn backing_name(&mut self, path: &Path, b: &[u8]) -> Result<()> {
        let (Some(at), Some(len)) = (be64(b, 8), be32(b, 16)) else { return Ok(()) };
        if at == 0 {
            return Ok(());
        }
        let start = usize::try_from(at).ok().filter(|_| len <= 1023 && at < self.cluster());
        let name = start.and_then(|s| b.get(s..s + len as usize));
        let name = name.ok_or_else(|| ImgError::format(path, "the header is corrupt: backing file name"))?;
        let name = String::from_utf8(name.into());
        self.backing = Some(name.map_err(|_| ImgError::format(path, "the backing file name is not UTF-8"))?);
        Ok(())
    }

    /// Cluster size.
    pub(crate) fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Bytes that one L2 table maps.
    pub(crate) fn l2_span(&self) -> u64 {
        1 << (2 * self.cluster_bits - 3)
    }

    /// Entries that the L1 table of a disk of `size` bytes has.
    pub(crate) fn l1_for(&self, size: u64) -> u64 {
        size.div_ceil(self.l2_span())
    }

    /// Bytes of a v3 header with the field of the compression type.
    pub(crate) const V3_LENGTH: u32 = 112;

    /// Refuses what the tool cannot use.
    pub(crate) fn usable(&self, path: &Path, purpose: Use) -> Result<()> {
        let refuse = |reason: &str| Err(ImgError::format(path, reason));
        if self.crypt != 0 {
            return refuse(ENCRYPTED);
        }
        if self.incompatible & EXTERNAL_DATA != 0 {
            return refuse(HAS_EXTERNAL_DATA);
        }
        if self.incompatible & EXTENDED_L2 != 0 {
            return refuse(HAS_EXTENDED_L2);
        }
        if purpose == Use::Read && (self.compression != 0 || self.incompatible & COMPRESSION != 0) {
            return refuse(HAS_ZSTD);
        }
        let unknown = self.incompatible & !(DIRTY | CORRUPT | COMPRESSION);
        if unknown != 0 {
            return Err(ImgError::format(path, format!("it uses unknown incompatible features {unknown:#x}")));
        }
        if purpose == Use::Change && self.incompatible & (DIRTY | CORRUPT) != 0 {
            return refuse("it was not closed cleanly or is damaged; repair it with `whpx img check -r all` first");
        }
        if purpose != Use::Check {
            let needed = self.l1_for(self.size);
            if u64::from(self.l1_entries) < needed {
                let what = format!("the header is corrupt: {} L1 entries, {needed} needed", self.l1_entries);
                return Err(ImgError::format(path, what));
            }
        }
        Ok(())
    }

    /// The header's first cluster for a new image, as far as it is used.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut b = vec![0; if self.version == 2 { 72 } else { Self::V3_LENGTH as usize }];
        let mut put = |at: usize, bytes: &[u8]| b[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(4, &self.version.to_be_bytes());
        put(20, &self.cluster_bits.to_be_bytes());
        put(24, &self.size.to_be_bytes());
        put(36, &self.l1_entries.to_be_bytes());
        put(40, &self.l1_at.to_be_bytes());
        put(48, &self.reftable_at.to_be_bytes());
        put(56, &self.reftable_clusters.to_be_bytes());
        if self.version == 3 {
            put(80, &self.compatible.to_be_bytes());
            put(96, &self.refcount_order.to_be_bytes());
            put(100, &Self::V3_LENGTH.to_be_bytes());
        }
        if let Some(format) = &self.backing_format {
            b.extend(EXT_BACKING_FORMAT.to_be_bytes());
            b.extend((format.len() as u32).to_be_bytes());
            b.extend(format.as_bytes());
            b.resize(b.len().next_multiple_of(8), 0);
        }
        b.extend([0; 8]); // the end of the extensions
        if let Some(name) = &self.backing {
            let at = b.len() as u64;
            if name.is_empty() || name.len() > 1023 || at + name.len() as u64 > self.cluster() {
                return Err(ImgError::Refused(format!(
                    "the backing file's name has {} bytes; 1 to 1023 are possible, and they must fit into a cluster",
                    name.len()
                )));
            }
            b[8..16].copy_from_slice(&at.to_be_bytes());
            b[16..20].copy_from_slice(&(name.len() as u32).to_be_bytes());
            b.extend(name.as_bytes());
        }
        Ok(b)
    }
}
