//! An open qcow2 image: its tables read, guest offsets resolved, contents read. The specification's "Cluster mapping".

use std::io::Read;
use std::path::{Path, PathBuf};

use super::header::{Header, Use};
use super::{ImgError, Result};
use crate::at;
use crate::lock::Locked;

/// Bits of a table entry that are a file offset.
pub(crate) const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;
/// The cluster belongs to the active image alone.
pub(crate) const COPIED: u64 = 1 << 63;
/// The L2 entry is a compressed cluster's.
pub(crate) const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros (version 3).
pub(crate) const ZERO: u64 = 1;
/// L2 tables that are kept.
const CACHED: usize = 8;

/// Where a guest cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cluster {
    /// In the backing file, or zero without one.
    Unallocated,
    /// Zero; perhaps with a place in the file.
    Zero(Option<u64>),
    /// At this offset of the file.
    Data(u64),
    /// Compressed, in the bytes from here on.
    Compressed {
        /// First byte.
        at: u64,
        /// Bytes at most.
        len: u64,
    },
}

/// Same kind of cluster for some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) cluster: Cluster,
    pub(crate) len: u64,
}

/// See the module's documentation.
pub(crate) struct Qcow2 {
    pub(crate) path: PathBuf,
    pub(crate) file: Locked,
    pub(crate) header: Header,
    /// The active L1 table.
    pub(crate) l1: Vec<u64>,
    /// Length of the file when it was opened.
    pub(crate) file_len: u64,
    l2: Vec<(u64, Vec<u64>)>,
    unpacked: Option<(u64, Vec<u8>)>,
}

impl Qcow2 {
    /// The image in a file that is open.
    pub(crate) fn from_file(path: &Path, file: Locked, purpose: Use) -> Result<Self> {
        let header = Header::read(path, &file)?;
        header.usable(path, purpose)?;
        let file_len = super::chain::length(path, &file)?;
        let mut this = Self { path: path.into(), file, header, l1: vec![], file_len, l2: vec![], unpacked: None };
        this.l1 = this.table(this.header.l1_at, u64::from(this.header.l1_entries), "the L1 table")?;
        Ok(this)
    }

    pub(crate) fn io(&self, what: &'static str) -> impl FnOnce(std::io::Error) -> ImgError {
        ImgError::io(what, &self.path)
    }

    pub(crate) fn bad(&self, what: impl std::fmt::Display) -> ImgError {
        ImgError::format(&self.path, format!("{what}; `whpx img check` shows more"))
    }

    /// Reads a table of 8-byte entries that must be in the file. The caller has bounded `entries`.
    pub(crate) fn table(&self, at: u64, entries: u64, what: &str) -> Result<Vec<u64>> {
        if at.checked_add(entries * 8).is_none_or(|end| end > self.file_len) {
            return Err(self.bad(format!("{what} at {at:#x} is not in the file (truncated?)")));
        }
        let mut bytes = vec![0; (entries * 8) as usize];
        at::read(&self.file, &mut bytes, at).map_err(self.io("read"))?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|b| u64::from_be_bytes(*b)).collect())
    }

    /// The L2 table at `at`; outside of the cache.
    pub(crate) fn l2_table(&self, at: u64) -> Result<Vec<u64>> {
        if at & (self.header.cluster() - 1) != 0 {
            return Err(self.bad(format!("an L2 table is at {at:#x}, which is not a cluster")));
        }
        self.table(at, self.header.cluster() / 8, "an L2 table")
    }

    /// After a change of L2 tables in the file.
    pub(crate) fn forget_tables(&mut self) {
        self.l2.clear();
    }

    fn cached_l2(&mut self, at: u64) -> Result<&[u64]> {
        match self.l2.iter().position(|t| t.0 == at) {
            Some(i) => self.l2[..=i].rotate_right(1),
            None => {
                let table = self.l2_table(at)?;
                self.l2.truncate(CACHED - 1);
                self.l2.insert(0, (at, table));
            }
        }
        Ok(self.l2.first().map_or(&[], |t| &t.1))
    }

    /// What an L2 entry says.
    pub(crate) fn decode(header: &Header, entry: u64) -> Cluster {
        if entry & COMPRESSED != 0 {
            let bits = 62 - (header.cluster_bits - 8);
            let at = entry & ((1 << bits) - 1);
            let sectors = (entry & (COMPRESSED - 1)) >> bits;
            return Cluster::Compressed { at, len: (sectors + 1) * 512 - at % 512 };
        }
        let host = entry & OFFSET;
        match entry & ZERO != 0 && header.version >= 3 {
            true => Cluster::Zero((host != 0).then_some(host)),
            false if host == 0 => Cluster::Unallocated,
            false => Cluster::Data(host),
        }
    }

    /// The longest run of like clusters from `offset` on, of at most `max` bytes. `max` is not 0 and the range is on the disk.
    pub(crate) fn run(&mut self, offset: u64, max: u64) -> Result<Run> {
        let (cluster_size, span) = (self.header.cluster(), self.header.l2_span());
        let l1_entry =
            |l1: &[u64], at: u64| usize::try_from(at / span).ok().and_then(|i| l1.get(i)).map_or(0, |e| e & OFFSET);
        let l2_at = l1_entry(&self.l1, offset);
        let mut end = (offset / span + 1) * span;
        if l2_at == 0 {
            while end < offset.saturating_add(max) && l1_entry(&self.l1, end) == 0 {
                end += span;
            }
            return Ok(Run { cluster: Cluster::Unallocated, len: max.min(end - offset) });
        }
        let header = self.header.clone();
        let table = self.cached_l2(l2_at)?;
        let index = |at: u64| (at % span / cluster_size) as usize;
        let decode = |at: u64| table.get(index(at)).map_or(Cluster::Unallocated, |e| Self::decode(&header, *e));
        let into = offset % cluster_size;
        let first = decode(offset);
        let end = end.min(offset.saturating_add(max));
        let mut next = offset - into + cluster_size;
        while next < end && follows(first, decode(next), next - (offset - into)) {
            next += cluster_size;
        }
        let cluster = match first {
            Cluster::Data(at) => Cluster::Data(at + into),
            Cluster::Zero(Some(at)) => Cluster::Zero(Some(at + into)),
            other => other,
        };
        Ok(Run { cluster, len: next.min(end) - offset })
    }

    /// Fills `data` from a run that [`Self::run`] gave for `offset` (neither zero nor unallocated).
    pub(crate) fn read_run(&mut self, offset: u64, run: Run, data: &mut [u8]) -> Result<()> {
        match run.cluster {
            Cluster::Data(at) => {
                if at & 511 != (offset & 511) {
                    return Err(self.bad(format!("a cluster is at {at:#x}")));
                }
                // A file that ends inside of its last cluster: the rest was never written.
                let len = at::read_up_to(&self.file, data, at).map_err(self.io("read"))?;
                data[len..].fill(0);
            }
            Cluster::Compressed { at, len } => {
                let into = (offset % self.header.cluster()) as usize;
                self.unpack(at, len)?;
                let whole = self.unpacked.as_ref().map_or(&[][..], |u| &u.1);
                let part = whole.get(into..into + data.len());
                data.copy_from_slice(part.ok_or_else(|| self.bad("a compressed cluster is cut off"))?);
            }
            Cluster::Zero(_) | Cluster::Unallocated => data.fill(0),
        }
        Ok(())
    }

    fn unpack(&mut self, at: u64, len: u64) -> Result<()> {
        if self.unpacked.as_ref().is_some_and(|u| u.0 == at) {
            return Ok(());
        }
        let mut packed = vec![0; len.min(2 * self.header.cluster() + 512) as usize];
        let got = at::read_up_to(&self.file, &mut packed, at).map_err(self.io("read"))?;
        packed.truncate(got);
        let mut whole = vec![0; self.header.cluster() as usize];
        let mut inflate = flate2::read::DeflateDecoder::new(&packed[..]);
        inflate.read_exact(&mut whole).map_err(|e| self.bad(format!("the compressed cluster at {at:#x}: {e}")))?;
        self.unpacked = Some((at, whole));
        Ok(())
    }
}

/// `next`, `distance` bytes after `first`, goes on with it.
fn follows(first: Cluster, next: Cluster, distance: u64) -> bool {
    match (first, next) {
        (Cluster::Data(a), Cluster::Data(b)) | (Cluster::Zero(Some(a)), Cluster::Zero(Some(b))) => {
            a.checked_add(distance) == Some(b)
        }
        (Cluster::Unallocated, Cluster::Unallocated) | (Cluster::Zero(None), Cluster::Zero(None)) => true,
        _ => false,
    }
}
