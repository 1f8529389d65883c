//! Writes a new qcow2 image in one pass: data and L2 tables in the order they come, then refcounts, L1, header.
//!
//! The specification's "Refcount table", "Cluster mapping". Nobody opens the file before it is complete
//! ([`super::output`]), so there is no order to keep.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::header::{Header, MAX_L1};
use super::qcow2::{COMPRESSED, COPIED};
use super::{ImgError, Result, is_zero};
use crate::at;

/// See the module's documentation. Guest clusters are written in rising order, each at most once.
pub(crate) struct Builder<'a> {
    file: &'a File,
    path: PathBuf,
    header: Header,
    l1: Vec<u64>,
    /// The L2 table that is being filled, and its index.
    l2: Option<(usize, Vec<u64>)>,
    /// Reference counts of the clusters so far.
    counts: Vec<u16>,
    /// Where the next compressed cluster goes: in a cluster that others began.
    packed: Option<u64>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(file: &'a File, path: &Path, header: Header) -> Result<Self> {
        let entries = header.l1_for(header.size);
        let mut this = Self { file, path: path.into(), header, l1: vec![], l2: None, counts: vec![], packed: None };
        if entries * 8 > MAX_L1 || i64::try_from(this.header.size).is_err() {
            let largest = this.header.l2_span().saturating_mul(MAX_L1 / 8);
            return Err(ImgError::Refused(format!(
                "'{}': {} bytes are too many for clusters of {} bytes (at most {}); use a larger -o cluster_size=",
                path.display(),
                this.header.size,
                this.header.cluster(),
                super::human_size(largest)
            )));
        }
        this.header.l1_entries = entries.max(1) as u32;
        this.allocate(1); // the header
        let tables = (u64::from(this.header.l1_entries) * 8).div_ceil(this.header.cluster());
        this.header.l1_at = this.allocate(tables);
        this.l1 = vec![0; this.header.l1_entries as usize];
        Ok(this)
    }

    pub(crate) fn cluster(&self) -> u64 {
        self.header.cluster()
    }

    fn allocate(&mut self, clusters: u64) -> u64 {
        let at = (self.counts.len() as u64) << self.header.cluster_bits;
        self.counts.resize(self.counts.len() + clusters as usize, 1);
        at
    }

    fn write(&self, data: &[u8], at: u64) -> Result<()> {
        at::write(self.file, data, at).map_err(ImgError::io("write", &self.path))
    }

    fn set(&mut self, guest: u64, entry: u64) -> Result<()> {
        let (span, cluster) = (self.header.l2_span(), self.cluster());
        let table = (guest / span) as usize;
        if self.l2.as_ref().is_none_or(|l2| l2.0 != table) {
            self.end_l2()?;
            self.l2 = Some((table, vec![0; (cluster / 8) as usize]));
        }
        if let Some(slot) = self.l2.as_mut().and_then(|l2| l2.1.get_mut((guest % span / cluster) as usize)) {
            *slot = entry;
        }
        Ok(())
    }

    fn end_l2(&mut self) -> Result<()> {
        let Some((index, table)) = self.l2.take() else { return Ok(()) };
        let at = self.allocate(1);
        self.write(&big_endian(&table), at)?;
        if let Some(entry) = self.l1.get_mut(index) {
            *entry = at | COPIED;
        }
        Ok(())
    }

    /// A guest cluster with its contents, of whole clusters or up to the end of the disk; zeros are left out, also
    /// when that means that `data` is cut in pieces.
    pub(crate) fn put(&mut self, guest: u64, data: &[u8]) -> Result<()> {
        let cluster = self.cluster() as usize;
        // One write for neighbours.
        let mut start: Option<(usize, u64)> = None;
        for (i, part) in data.chunks(cluster).enumerate() {
            let zero = is_zero(part);
            if zero {
                if let Some((from, at)) = start.take() {
                    self.write(&data[from * cluster..i * cluster], at)?;
                }
                continue;
            }
            self.packed = None;
            let guest = guest + (i * cluster) as u64;
            let span = self.header.l2_span();
            // The end of a table allocates: it ends a run of neighbours too.
            if self.l2.as_ref().is_some_and(|l2| l2.0 != (guest / span) as usize)
                && let Some((from, at)) = start.take()
            {
                self.write(&data[from * cluster..i * cluster], at)?;
            }
            if self.l2.as_ref().is_none_or(|l2| l2.0 != (guest / span) as usize) {
                self.set(guest, 0)?;
            }
            let at = self.allocate(1);
            self.set(guest, at | COPIED)?;
            start.get_or_insert((i, at));
        }
        if let Some((from, at)) = start {
            self.write(&data[from * cluster..], at)?;
        }
        Ok(())
    }

    /// One guest cluster, compressed when that makes it smaller.
    pub(crate) fn put_compressed(&mut self, guest: u64, data: &[u8]) -> Result<()> {
        use std::io::Write;
        if is_zero(data) {
            return Ok(());
        }
        let cluster = self.cluster();
        let mut whole = data.to_vec();
        whole.resize(cluster as usize, 0);
        let mut deflate = flate2::write::DeflateEncoder::new(vec![], flate2::Compression::default());
        let packed = deflate.write_all(&whole).and_then(|()| deflate.finish());
        let packed = packed.map_err(ImgError::io("compress for", &self.path))?;
        if packed.len() as u64 >= cluster {
            return self.put(guest, data);
        }
        self.set(guest, 0)?; // the table before may end here, and takes a cluster
        let len = packed.len() as u64;
        let most = (1u64 << (1 << self.header.refcount_order).min(16)) - 1;
        let here = self.packed.filter(|at| {
            // What goes over the edge must go on in the next cluster of the file.
            let last = self.counts.len() as u64 - 1;
            let full = self.counts.last().is_some_and(|c| u64::from(*c) >= most);
            at >> self.header.cluster_bits == last && !full
        });
        let at = match here {
            Some(at) => at,
            None => self.allocate(1),
        };
        let (first, end) = (at >> self.header.cluster_bits, at + len);
        // The sectors that are counted may reach into a cluster that the bytes do not.
        let last = (end.next_multiple_of(512) - 1) >> self.header.cluster_bits;
        while (self.counts.len() as u64) <= last {
            self.counts.push(0);
        }
        for c in first..=last {
            if let Some(count) = self.counts.get_mut(c as usize) {
                *count += u16::from(!(here.is_none() && c == first));
            }
        }
        self.write(&packed, at)?;
        let bits = 62 - (self.header.cluster_bits - 8);
        let sectors = (end - 1) / 512 - at / 512;
        self.set(guest, COMPRESSED | sectors << bits | at)?;
        self.packed = (end & (cluster - 1) != 0).then_some(end);
        Ok(())
    }

    /// A place for each guest cluster, not written: preallocation. Returns the part of the file that they are in, all
    /// of one piece: their tables come first.
    pub(crate) fn reserve_all(&mut self) -> Result<std::ops::Range<u64>> {
        let (cluster, span, size) = (self.cluster(), self.header.l2_span(), self.header.size);
        let tables = self.allocate(size.div_ceil(span));
        let start = self.allocate(size.div_ceil(cluster));
        for (i, l1) in self.l1.iter_mut().enumerate().take(size.div_ceil(span) as usize) {
            let first = i as u64 * span;
            let at = |j: u64| first + j * cluster;
            let entry = |j: u64| if at(j) < size { (start + at(j)) | COPIED } else { 0 };
            let table: Vec<u64> = (0..cluster / 8).map(entry).collect();
            let table_at = tables + i as u64 * cluster;
            at::write(self.file, &big_endian(&table), table_at).map_err(ImgError::io("write", &self.path))?;
            *l1 = table_at | COPIED;
        }
        Ok(start..(self.counts.len() as u64) << self.header.cluster_bits)
    }

    /// Writes the tables. The file is complete then, but not synced.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.end_l2()?;
        let cluster = self.cluster();
        let order = self.header.refcount_order;
        let per_block = (cluster * 8) >> order;
        // Blocks and table count themselves: go on until it fits.
        let used = self.counts.len() as u64;
        let (mut blocks, mut tables) = (0, 0);
        loop {
            let all = used + blocks + tables;
            let (b, t) = (all.div_ceil(per_block), (all.div_ceil(per_block) * 8).div_ceil(cluster));
            if (b, t) == (blocks, tables) {
                break;
            }
            (blocks, tables) = (b, t);
        }
        let blocks_at = self.allocate(blocks);
        self.header.reftable_at = self.allocate(tables);
        self.header.reftable_clusters = tables as u32;
        for (i, counts) in self.counts.chunks(per_block as usize).enumerate() {
            let mut block = vec![0; cluster as usize];
            for (j, count) in counts.iter().enumerate() {
                super::refcounts::put(&mut block, order, j, u64::from(*count));
            }
            self.write(&block, blocks_at + i as u64 * cluster)?;
        }
        let mut table: Vec<u64> = (0..blocks).map(|i| blocks_at + i * cluster).collect();
        table.resize((tables * cluster / 8) as usize, 0);
        self.write(&big_endian(&table), self.header.reftable_at)?;
        self.write(&big_endian(&self.l1), self.header.l1_at)?;
        let end = (self.counts.len() as u64) << self.header.cluster_bits;
        self.file.set_len(end).map_err(ImgError::io("write", &self.path))?;
        self.write(&self.header.to_bytes()?, 0)
    }
}

/// A table as it is in the file.
pub(crate) fn big_endian(table: &[u64]) -> Vec<u8> {
    table.iter().flat_map(|e| e.to_be_bytes()).collect()
}
