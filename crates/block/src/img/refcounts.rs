//! Reference counts of an image, whole in memory: read, changed, written back. The specification's "Host cluster
//! management".
//!
//! [`Refcounts::flush`] writes blocks before the table entries that point to them, and a new table before the header's
//! field, so a kill in between leaves counts that are too high at worst.

use std::collections::BTreeSet;
use std::fs::File;

use super::build::big_endian;
use super::header::{Header, field};
use super::qcow2::{OFFSET, Qcow2};
use super::{ImgError, Result};
use crate::at;

/// The most clusters that an image file may have to be changed or checked here: a GiB of counts.
const MAX_CLUSTERS: u64 = 1 << 28;

/// Count `index` of a block, counts of `1 << order` bits.
pub(crate) fn get(block: &[u8], order: u32, index: usize) -> u64 {
    if order < 3 {
        let per_byte = 8 >> order;
        let byte = block.get(index / per_byte).copied().unwrap_or(0);
        return u64::from(byte >> ((index % per_byte) << order) & ((1u16 << (1 << order)) - 1) as u8);
    }
    let width = 1usize << (order - 3);
    let bytes = block.get(index * width..(index + 1) * width).unwrap_or(&[]);
    bytes.iter().fold(0, |value, b| value << 8 | u64::from(*b))
}

/// Sets count `index` of a block; `value` fits.
pub(crate) fn put(block: &mut [u8], order: u32, index: usize, value: u64) {
    if order < 3 {
        let per_byte = 8 >> order;
        let shift = (index % per_byte) << order;
        let mask = (((1u16 << (1 << order)) - 1) as u8) << shift;
        if let Some(byte) = block.get_mut(index / per_byte) {
            *byte = *byte & !mask | (value as u8) << shift & mask;
        }
        return;
    }
    let width = 1usize << (order - 3);
    if let Some(bytes) = block.get_mut(index * width..(index + 1) * width) {
        bytes.copy_from_slice(&value.to_be_bytes()[8 - width..]);
    }
}

/// See the module's documentation.
pub(crate) struct Refcounts {
    order: u32,
    cluster_bits: u32,
    /// Offsets of the blocks, 0 where there is none.
    table: Vec<u64>,
    /// Counts of the file's clusters; larger ones than fit are the largest.
    pub(crate) counts: Vec<u32>,
    /// Blocks that must be written.
    dirty: BTreeSet<usize>,
    /// No cluster below is free.
    hint: usize,
    /// What is wrong with the table or a block.
    pub(crate) damage: Vec<String>,
}

impl Refcounts {
    /// Reads all counts. What is wrong is in `damage`, and its counts are 0.
    pub(crate) fn read(image: &Qcow2) -> Result<Self> {
        let h = &image.header;
        let clusters = Self::clusters(image)?;
        let mut this = Self::empty(h, clusters);
        let entries = (u64::from(h.reftable_clusters) << h.cluster_bits) / 8;
        match image.table(h.reftable_at, entries, "the refcount table") {
            Ok(table) => this.table = table,
            Err(e) => {
                this.damage.push(e.to_string());
                return Ok(this);
            }
        }
        let mut block = vec![0; h.cluster() as usize];
        let per_block = this.per_block();
        let mut seen = BTreeSet::new();
        for (i, entry) in this.table.iter_mut().enumerate() {
            let at = *entry & OFFSET;
            if *entry == 0 {
                continue;
            }
            let why = if *entry & !OFFSET != 0 || at & (h.cluster() - 1) != 0 {
                "is not a cluster's offset"
            } else if at >= image.file_len {
                "is outside of the file"
            } else if !seen.insert(at) {
                "is there twice"
            } else {
                ""
            };
            if !why.is_empty() {
                this.damage.push(format!("refcount block {i}: {entry:#x} {why}"));
                *entry = 0;
                continue;
            }
            let first = i.saturating_mul(per_block);
            if first >= this.counts.len() {
                continue;
            }
            let got = at::read_up_to(&image.file, &mut block, at).map_err(image.io("read"))?;
            block[got..].fill(0);
            for (j, count) in this.counts[first..].iter_mut().take(per_block).enumerate() {
                *count = u32::try_from(get(&block, h.refcount_order, j)).unwrap_or(u32::MAX);
            }
        }
        Ok(this)
    }

    /// The same for an image that will be changed: damage is an error.
    pub(crate) fn for_change(image: &Qcow2) -> Result<Self> {
        let this = Self::read(image)?;
        match this.damage.first() {
            Some(what) => Err(image.bad(what)),
            None => Ok(this),
        }
    }

    /// Counts to be written to blocks and a table of their own, at the end of the file.
    pub(crate) fn rebuilt(header: &Header, counts: Vec<u32>) -> Self {
        let mut this = Self::empty(header, 0);
        this.hint = counts.len();
        let per_block = this.per_block();
        let used = counts.chunks(per_block).enumerate().filter(|(_, c)| c.iter().any(|c| *c != 0));
        this.dirty = used.map(|(i, _)| i).collect();
        this.counts = counts;
        this
    }

    fn empty(header: &Header, clusters: usize) -> Self {
        Self {
            order: header.refcount_order,
            cluster_bits: header.cluster_bits,
            table: vec![],
            counts: vec![0; clusters],
            dirty: BTreeSet::new(),
            hint: 0,
            damage: vec![],
        }
    }

    /// Clusters of the file.
    pub(crate) fn clusters(image: &Qcow2) -> Result<usize> {
        let clusters = image.file_len.div_ceil(image.header.cluster());
        if clusters > MAX_CLUSTERS {
            let what = format!("the file has {clusters} clusters; at most {MAX_CLUSTERS} can be checked or changed");
            return Err(ImgError::format(&image.path, what));
        }
        Ok(clusters as usize)
    }

    /// Offsets of the blocks.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = u64> {
        self.table.iter().copied().filter(|at| *at != 0)
    }

    fn per_block(&self) -> usize {
        (8usize << self.cluster_bits) >> self.order
    }

    /// The largest count there is room for.
    pub(crate) fn largest(&self) -> u32 {
        u32::try_from((1u64 << (1u32 << self.order).min(63)) - 1).unwrap_or(u32::MAX)
    }

    /// Count of the cluster at byte `at`.
    pub(crate) fn at(&self, at: u64) -> u32 {
        usize::try_from(at >> self.cluster_bits).ok().and_then(|c| self.counts.get(c)).copied().unwrap_or(0)
    }

    /// Sets the count of a cluster.
    pub(crate) fn set(&mut self, cluster: usize, value: u32) {
        let per_block = self.per_block();
        if let Some(count) = self.counts.get_mut(cluster)
            && *count != value
        {
            *count = value;
            self.dirty.insert(cluster / per_block);
            if value == 0 {
                self.hint = self.hint.min(cluster);
            }
        }
    }

    /// Adds `by` to the counts of all clusters that `len` bytes at `at` touch. `false`: a count would be impossible.
    #[must_use]
    pub(crate) fn change(&mut self, at: u64, len: u64, by: i64) -> bool {
        let first = at >> self.cluster_bits;
        let last = at.saturating_add(len.max(1) - 1) >> self.cluster_bits;
        for cluster in first..=last {
            let Some(old) = usize::try_from(cluster).ok().and_then(|c| self.counts.get(c)).copied() else {
                return false;
            };
            let new = u32::try_from(i64::from(old) + by).ok().filter(|n| *n <= self.largest());
            let Some(new) = new else { return false };
            self.set(cluster as usize, new);
        }
        true
    }

    /// Takes `n` neighbouring free clusters, at the end of the file if there are none. Byte offset of the first.
    pub(crate) fn allocate(&mut self, n: usize) -> u64 {
        let mut run = 0;
        let mut start = self.counts.len();
        let mut lowest = None;
        for (i, count) in self.counts.iter().enumerate().skip(self.hint) {
            if *count != 0 {
                run = 0;
                continue;
            }
            lowest.get_or_insert(i);
            run += 1;
            if run == n {
                start = i + 1 - n;
                break;
            }
        }
        if run < n {
            start = self.counts.len() - run;
            self.counts.resize(start + n, 0);
        }
        self.hint = lowest.unwrap_or(start);
        for cluster in start..start + n {
            self.set(cluster, 1);
        }
        (start as u64) << self.cluster_bits
    }

    /// Writes what changed, makes it durable.
    pub(crate) fn flush(&mut self, image: &mut Qcow2) -> Result<()> {
        if self.dirty.is_empty() {
            return Ok(());
        }
        let mut new_blocks = BTreeSet::new();
        let mut new_table = None;
        let mut replaced = vec![];
        // A new block or table is itself in a block that may be new.
        loop {
            let missing = |i: &&usize| self.table.get(**i).is_none_or(|at| *at == 0);
            let missing: Vec<usize> = self.dirty.iter().filter(missing).copied().collect();
            let Some(last) = missing.last().copied() else { break };
            if last >= self.table.len() {
                let clusters = ((last + 1 + last / 4) * 8).div_ceil(1 << self.cluster_bits);
                replaced.extend(new_table.replace((self.allocate(clusters), clusters)));
                self.table.resize((clusters << self.cluster_bits) / 8, 0);
            }
            for i in missing {
                self.table[i] = self.allocate(1);
                new_blocks.insert(i);
            }
        }
        let dirty = std::mem::take(&mut self.dirty);
        let per_block = self.per_block();
        for i in dirty {
            let mut block = vec![0; 1 << self.cluster_bits];
            if !new_blocks.contains(&i) {
                let got = at::read_up_to(&image.file, &mut block, self.table[i]).map_err(image.io("read"))?;
                block[got..].fill(0);
            }
            let counts = self.counts.iter().skip(i * per_block).take(per_block);
            for (j, count) in counts.enumerate() {
                put(&mut block, self.order, j, u64::from(*count));
            }
            at::write(&image.file, &block, self.table[i]).map_err(image.io("write"))?;
        }
        sync(image)?;
        let table_at = new_table.map_or(image.header.reftable_at, |t| t.0);
        if new_table.is_some() {
            at::write(&image.file, &big_endian(&self.table), table_at).map_err(image.io("write"))?;
        } else {
            for i in new_blocks {
                let entry = self.table[i].to_be_bytes();
                at::write(&image.file, &entry, table_at + i as u64 * 8).map_err(image.io("write"))?;
            }
        }
        sync(image)?;
        if let Some((at, clusters)) = new_table {
            let old = (image.header.reftable_at, image.header.reftable_clusters as usize);
            let mut bytes = at.to_be_bytes().to_vec();
            bytes.extend((clusters as u32).to_be_bytes());
            write_header(image, field::REFTABLE, &bytes)?;
            (image.header.reftable_at, image.header.reftable_clusters) = (at, clusters as u32);
            replaced.push(old);
            for (at, clusters) in replaced {
                // A rebuilt table's predecessor is counted nowhere.
                let _free_already = self.change(at, (clusters as u64) << self.cluster_bits, -1);
            }
            return self.flush(image);
        }
        Ok(())
    }
}

/// Makes what was written durable.
pub(crate) fn sync(image: &Qcow2) -> Result<()> {
    image.file.sync_data().map_err(image.io("write"))
}

/// Changes a field of the header, after everything before it, and durably.
pub(crate) fn write_header(image: &Qcow2, at: u64, bytes: &[u8]) -> Result<()> {
    sync(image)?;
    write_at(&image.file, image, bytes, at)?;
    sync(image)
}

/// Writes bytes of an image.
pub(crate) fn write_at(file: &File, image: &Qcow2, bytes: &[u8], at: u64) -> Result<()> {
    at::write(file, bytes, at).map_err(image.io("write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_every_width() {
        for order in 0..=6 {
            let mut block = vec![0; 64];
            let most = if order == 6 { u64::MAX } else { (1u64 << (1 << order)) - 1 };
            put(&mut block, order, 3, most);
            put(&mut block, order, 5, 1);
            assert_eq!((2..7).map(|i| get(&block, order, i)).collect::<Vec<_>>(), [0, most, 0, 1, 0], "{order}");
            put(&mut block, order, 3, 0);
            assert_eq!(get(&block, order, 3), 0);
        }
        // The specification: low bits first in a byte; wider ones big-endian.
        let mut block = [0; 8];
        put(&mut block, 1, 1, 2);
        assert_eq!(block[0], 0b1000);
        put(&mut block, 4, 1, 0x1234);
        assert_eq!(block[2..4], [0x12, 0x34]);
    }
}
