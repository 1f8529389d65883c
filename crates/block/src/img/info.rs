//! What an image is: `whpx img info`. It shows also images that the rest refuses.

use std::path::{Path, PathBuf};

use super::chain::{length, probe};
use super::header::{CORRUPT, DIRTY, EXTENDED_L2, Header, LAZY_REFCOUNTS, Use};
use super::qcow2::Qcow2;
use super::{Result, Snapshot, snapshot};
use crate::lock::{Access, open_locked};
use crate::open::backing_path;
use crate::{Format, SECTOR};

/// An image's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// As typed.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Bytes of the disk.
    pub virtual_size: u64,
    /// Bytes that the file takes on the host.
    pub actual_size: u64,
    /// Length of the file.
    pub file_length: u64,
    /// What only qcow2 has.
    pub qcow2: Option<Qcow2Info>,
}

/// See [`ImageInfo`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qcow2Info {
    /// 2 or 3.
    pub version: u32,
    /// Bytes of a cluster.
    pub cluster_size: u64,
    /// Bits of a count.
    pub refcount_bits: u32,
    /// Counts are written later.
    pub lazy_refcounts: bool,
    /// Not closed cleanly: the counts are wrong perhaps.
    pub dirty: bool,
    /// Marked as damaged.
    pub corrupt: bool,
    /// Extended L2 entries.
    pub extended_l2: bool,
    /// zlib or zstd.
    pub compression: &'static str,
    /// Encrypted: aes or luks.
    pub encrypted: Option<&'static str>,
    /// External data file.
    pub data_file: Option<String>,
    /// As the image names it.
    pub backing: Option<String>,
    /// As it is found from here.
    pub backing_path: Option<PathBuf>,
    /// As the image says.
    pub backing_format: Option<String>,
    /// Internal snapshots.
    pub snapshots: Vec<Snapshot>,
}

/// The facts of one image.
///
/// # Errors
/// Not there, in use, or no image.
pub fn info(path: &Path, format: Option<Format>, share: bool) -> Result<ImageInfo> {
    let file = open_locked(path, Access { write: false, direct: false, locking: !share })?;
    let format = probe(path, &file, format)?;
    let file_length = length(path, &file)?;
    let metadata = file.metadata().map_err(super::ImgError::io("look at", path))?;
    #[cfg(unix)]
    let actual_size = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
    #[cfg(not(unix))]
    let actual_size = metadata.len();
    let mut info = ImageInfo {
        path: path.into(),
        format,
        virtual_size: file_length.next_multiple_of(SECTOR),
        actual_size,
        file_length,
        qcow2: None,
    };
    if format == Format::Qcow2 {
        let header = Header::read(path, &file)?;
        info.virtual_size = header.size;
        // Snapshots need tables; what only info can show has none here.
        let snapshots = match header.snapshots != 0 && header.usable(path, Use::Check).is_ok() {
            true => snapshot::read_table(&Qcow2::from_file(path, file, Use::Check)?)?.list,
            false => vec![],
        };
        info.qcow2 = Some(Qcow2Info {
            version: header.version,
            cluster_size: header.cluster(),
            refcount_bits: 1 << header.refcount_order,
            lazy_refcounts: header.compatible & LAZY_REFCOUNTS != 0,
            dirty: header.incompatible & DIRTY != 0,
            corrupt: header.incompatible & CORRUPT != 0,
            extended_l2: header.incompatible & EXTENDED_L2 != 0,
            compression: if header.compression == 0 { "zlib" } else { "zstd" },
            encrypted: match header.crypt {
                0 => None,
                1 => Some("aes"),
                _ => Some("luks"),
            },
            data_file: header.data_file,
            backing_path: header.backing.as_deref().and_then(|b| backing_path(path, b).ok()),
            backing: header.backing,
            backing_format: header.backing_format,
            snapshots,
        });
    }
    Ok(info)
}

/// The facts of an image and of all below it.
///
/// # Errors
/// As [`info`].
pub fn info_chain(path: &Path, format: Option<Format>, share: bool) -> Result<Vec<ImageInfo>> {
    let mut all = vec![info(path, format, share)?];
    while let Some(q) = all.last().and_then(|i| i.qcow2.as_ref()) {
        let Some(next) = q.backing_path.clone() else { break };
        if all.len() > 64 {
            return Err(super::ImgError::format(path, "its chain of backing files is a loop, or too long"));
        }
        let format = q.backing_format.as_deref().and_then(|f| f.parse().ok());
        all.push(info(&next, format, share)?);
    }
    Ok(all)
}
