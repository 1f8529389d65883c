//! The check of a qcow2 image, and its repair: every reference counted and compared with the counts in the file.
//!
//! Repair changes counts and 'copied' flags; entries that point nowhere are told and left, since nobody knows where
//! they should point. A refcount table or block that is damaged is written anew at the end of the file.

use std::path::Path;

use super::chain::probe;
use super::header::{AUTOCLEAR_BITMAPS, CORRUPT, DIRTY, Use, field};
use super::qcow2::{COPIED, Cluster, OFFSET, Qcow2};
use super::refcounts::{Refcounts, sync, write_at, write_header};
use super::snapshot;
use super::walk::{Found, Tables};
use super::{Control, ImgError, Result};
use crate::Format;
use crate::lock::{Access, open_locked};

/// Findings that are kept as text.
const MAX_TEXTS: usize = 100;

/// What to repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Clusters that nobody uses are made free.
    Leaks,
    /// Also counts that are too low, flags, damaged refcount blocks.
    All,
}

/// What the check found; after a repair: what is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// End of the last cluster in use.
    pub image_end_offset: u64,
    /// Clusters of the disk.
    pub total_clusters: u64,
    /// Those that have data in this file.
    pub allocated_clusters: u64,
    /// Those that do not follow their predecessor in the file.
    pub fragmented_clusters: u64,
    /// Those that are compressed.
    pub compressed_clusters: u64,
    /// Clusters that are counted and not used.
    pub leaks: u64,
    /// Everything else that is wrong.
    pub corruptions: u64,
    /// Repaired.
    pub leaks_fixed: u64,
    /// Repaired.
    pub corruptions_fixed: u64,
    /// The first findings, a line each.
    pub findings: Vec<String>,
    /// More findings than are in `findings`.
    pub more_findings: u64,
}

impl CheckReport {
    fn tell(&mut self, text: impl FnOnce() -> String) {
        if self.findings.len() < MAX_TEXTS {
            self.findings.push(text());
        } else {
            self.more_findings += 1;
        }
    }

    fn corrupt(&mut self, text: impl FnOnce() -> String) {
        self.corruptions += 1;
        self.tell(|| format!("ERROR {}", text()));
    }
}

/// Checks an image, and repairs it if asked to. `None`: the format has nothing to check.
///
/// # Errors
/// The check could not be made.
pub fn check(
    path: &Path,
    format: Option<Format>,
    repair: Option<Repair>,
    share: bool,
    control: &Control,
) -> Result<Option<CheckReport>> {
    let file = open_locked(path, Access { write: repair.is_some(), direct: false, locking: !share })?;
    if probe(path, &file, format)? == Format::Raw {
        return Ok(None);
    }
    let mut image = Qcow2::from_file(path, file, Use::Check)?;
    let first = examine(&image, control)?;
    let Some(repair) = repair else { return Ok(Some(first.report)) };
    let dirty = image.header.incompatible & (DIRTY | CORRUPT) != 0;
    let before = (first.report.leaks, first.report.corruptions);
    if before == (0, 0) && !dirty {
        return Ok(Some(first.report));
    }
    let told = first.report.findings.clone();
    first.mend(&mut image, repair)?;
    let mut after = examine(&image, control)?.report;
    if after.corruptions == 0 && (repair == Repair::All || before.1 == 0) && dirty {
        let features = image.header.incompatible & !(DIRTY | CORRUPT);
        write_header(&image, field::INCOMPATIBLE, &features.to_be_bytes())?;
    }
    after.leaks_fixed = before.0.saturating_sub(after.leaks);
    after.corruptions_fixed = before.1.saturating_sub(after.corruptions);
    after.findings.splice(0..0, told);
    after.findings.truncate(MAX_TEXTS);
    Ok(Some(after))
}

struct Examined {
    report: CheckReport,
    /// Counts in the file.
    stored: Refcounts,
    /// Counts as they should be; without those of refcount table and blocks when these are damaged.
    wanted: Vec<u32>,
}

fn count(wanted: &mut [u32], cluster_bits: u32, at: u64, len: u64, times: u32) -> bool {
    if len == 0 {
        return true;
    }
    let (first, last) = (at >> cluster_bits, at.saturating_add(len - 1) >> cluster_bits);
    let range = usize::try_from(first).ok().zip(usize::try_from(last).ok());
    match range.and_then(|(first, last)| wanted.get_mut(first..=last)) {
        Some(clusters) => {
            clusters.iter_mut().for_each(|c| *c = c.saturating_add(times));
            true
        }
        None => false,
    }
}

fn examine(image: &Qcow2, control: &Control) -> Result<Examined> {
    let h = &image.header;
    let mut report = CheckReport { total_clusters: h.size.div_ceil(h.cluster()), ..CheckReport::default() };
    let stored = Refcounts::read(image)?;
    let mut wanted = vec![0u32; stored.counts.len()];
    let bits = h.cluster_bits;
    let mut refer = |report: &mut CheckReport, what: &str, at: u64, len: u64| {
        if !count(&mut wanted, bits, at, len, 1) {
            report.corrupt(|| format!("{what} at {at:#x} is outside of the file"));
        }
    };
    refer(&mut report, "the header", 0, h.cluster());
    refer(&mut report, "the L1 table", h.l1_at, u64::from(h.l1_entries) * 8);
    if u64::from(h.l1_entries) < h.l1_for(h.size) {
        report.corrupt(|| format!("the L1 table has {} entries, the disk needs {}", h.l1_entries, h.l1_for(h.size)));
    }
    for text in &stored.damage {
        report.corrupt(|| text.clone());
    }
    if stored.damage.is_empty() {
        refer(&mut report, "the refcount table", h.reftable_at, u64::from(h.reftable_clusters) << bits);
        for at in stored.blocks() {
            refer(&mut report, "a refcount block", at, h.cluster());
        }
    }
    let mut tables = Tables::default();
    tables.add(image, &image.l1, "the image");
    if let Err(e) = snapshots(image, &mut tables, &mut report, &mut refer) {
        report.corrupt(|| e.to_string());
    }
    if let Some(bitmaps) = image.bitmaps()
        && let Err(what) = image.bitmap_references(bitmaps, |at, len| refer(&mut report, "a bitmap", at, len))
    {
        report.corrupt(|| what);
    }
    tables.references(image, control, |found| {
        match found {
            Found::Reference { at, len, times } => {
                if !count(&mut wanted, bits, at, len, times) {
                    report.corrupt(|| format!("a cluster at {at:#x} is outside of the file"));
                }
            }
            Found::Problem(text) => report.corrupt(|| text),
        }
        Ok(())
    })?;
    compare(&mut report, &stored, &wanted);
    active(image, &stored, &mut report, control)?;
    let last = wanted.iter().zip(&stored.counts).rposition(|(w, s)| *w != 0 || *s != 0);
    report.image_end_offset = last.map_or(0, |c| (c as u64 + 1) << bits);
    Ok(Examined { report, stored, wanted })
}

/// The snapshots' tables.
fn snapshots(
    image: &Qcow2,
    tables: &mut Tables,
    report: &mut CheckReport,
    refer: &mut dyn FnMut(&mut CheckReport, &str, u64, u64),
) -> Result<()> {
    let snapshots = snapshot::read_table(image)?;
    let (at, len) = snapshots.place;
    refer(report, "the snapshot table", at, len);
    for s in &snapshots.list {
        refer(report, "a snapshot's L1 table", s.l1_at, u64::from(s.l1_entries) * 8);
        match image.table(s.l1_at, u64::from(s.l1_entries), "a snapshot's L1 table") {
            Ok(l1) => tables.add(image, &l1, "a snapshot"),
            Err(e) => report.corrupt(|| e.to_string()),
        }
    }
    Ok(())
}

fn compare(report: &mut CheckReport, stored: &Refcounts, wanted: &[u32]) {
    for (cluster, (have, want)) in stored.counts.iter().zip(wanted).enumerate() {
        if have < want {
            report.corrupt(|| format!("cluster {cluster} refcount={have} reference={want}"));
        } else if have > want {
            report.leaks += 1;
            report.tell(|| format!("Leaked cluster {cluster} refcount={have} reference={want}"));
        }
    }
}

/// The active tables: statistics, and the flags 'copied', which say that the count is 1.
fn active(image: &Qcow2, stored: &Refcounts, report: &mut CheckReport, control: &Control) -> Result<()> {
    let h = &image.header;
    let mut seen = std::collections::BTreeSet::new();
    for (i, entry) in image.l1.iter().enumerate() {
        control.step(i as u64, image.l1.len() as u64)?;
        let at = entry & OFFSET;
        // The same table twice is an error that the counts show; once is enough for the rest.
        if at == 0 || at & (h.cluster() - 1) != 0 || !seen.insert(at) {
            continue;
        }
        if (entry & COPIED != 0) != (stored.at(at) == 1) {
            report.corrupt(|| format!("L1 entry {i}, {entry:#x}: the flag 'copied' with refcount {}", stored.at(at)));
        }
        let Ok(table) = image.l2_table(at) else { continue };
        let mut follows = None;
        for (j, entry) in table.iter().enumerate() {
            let host = match Qcow2::decode(h, *entry) {
                Cluster::Compressed { .. } => {
                    report.allocated_clusters += 1;
                    report.compressed_clusters += 1;
                    report.fragmented_clusters += 1;
                    continue;
                }
                Cluster::Data(host) | Cluster::Zero(Some(host)) => host,
                Cluster::Zero(None) | Cluster::Unallocated => continue,
            };
            report.allocated_clusters += 1;
            report.fragmented_clusters += u64::from(follows.is_some_and(|f| f != host));
            follows = host.checked_add(h.cluster());
            if host & (h.cluster() - 1) == 0 && (entry & COPIED != 0) != (stored.at(host) == 1) {
                let count = stored.at(host);
                report.corrupt(|| {
                    format!("L2 entry {j} at {at:#x}, {entry:#x}: the flag 'copied' with refcount {count}")
                });
            }
        }
    }
    Ok(())
}

impl Examined {
    fn mend(mut self, image: &mut Qcow2, repair: Repair) -> Result<()> {
        let largest = self.stored.largest();
        if self.wanted.iter().any(|w| *w > largest) {
            return Err(ImgError::Refused(format!(
                "'{}': a cluster is used more often than its count of {} bits can say; copy the image with convert",
                image.path.display(),
                1 << image.header.refcount_order
            )));
        }
        if repair == Repair::All && !self.stored.damage.is_empty() {
            self.stored = Refcounts::rebuilt(&image.header, self.wanted);
        } else {
            for (cluster, want) in self.wanted.iter().enumerate() {
                let have = self.stored.counts.get(cluster).copied().unwrap_or(0);
                if have > *want || repair == Repair::All {
                    self.stored.set(cluster, *want);
                }
            }
        }
        self.stored.flush(image)?;
        image.file_len = super::chain::length(&image.path, &image.file)?;
        if repair == Repair::All {
            set_copied_flags(image, &self.stored)?;
            // Bitmaps whose directory is there but not valid stay so; nothing of them was changed.
            let known = image.header.autoclear & AUTOCLEAR_BITMAPS;
            if image.header.version >= 3 && known != image.header.autoclear {
                write_header(image, field::AUTOCLEAR, &known.to_be_bytes())?;
            }
        }
        sync(image)
    }
}

/// Makes the flags 'copied' of the active tables say which counts are 1.
pub(crate) fn set_copied_flags(image: &mut Qcow2, counts: &Refcounts) -> Result<()> {
    let cluster = image.header.cluster();
    let right = |entry: u64, at: u64| if counts.at(at) == 1 { entry | COPIED } else { entry & !COPIED };
    let mut seen = std::collections::BTreeSet::new();
    for i in 0..image.l1.len() {
        let entry = image.l1[i];
        let at = entry & OFFSET;
        if at == 0 || at & (cluster - 1) != 0 || !seen.insert(at) {
            continue;
        }
        let Ok(mut table) = image.l2_table(at) else { continue };
        let mut changed = false;
        for slot in &mut table {
            let new = match Qcow2::decode(&image.header, *slot) {
                Cluster::Data(host) | Cluster::Zero(Some(host)) => right(*slot, host),
                Cluster::Compressed { .. } => *slot & !COPIED,
                Cluster::Zero(None) | Cluster::Unallocated => *slot,
            };
            changed |= new != *slot;
            *slot = new;
        }
        if changed {
            write_at(&image.file, image, &super::build::big_endian(&table), at)?;
        }
        let new = right(entry, at);
        if new != entry {
            image.l1[i] = new;
            write_at(&image.file, image, &new.to_be_bytes(), image.header.l1_at + i as u64 * 8)?;
        }
    }
    image.forget_tables();
    sync(image)
}
