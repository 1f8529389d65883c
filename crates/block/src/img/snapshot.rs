//! Internal snapshots: the specification's "Snapshots". A snapshot is a copy of the L1 table, and each cluster that it
//! reaches is counted once more.
//!
//! Order of every change: counts up, flags 'copied' off, new tables, header, counts down, flags on.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::build::big_endian;
use super::chain::{length, probe};
use super::check::set_copied_flags;
use super::header::{MAX_L1, Use, field};
use super::qcow2::{COPIED, Qcow2};
use super::refcounts::{Refcounts, sync, write_at, write_header};
use super::walk::{Found, Tables};
use super::{Control, ImgError, Result};
use crate::lock::{Access, open_locked};
use crate::{Format, at};

/// The longest table of snapshots.
const MAX_TABLE: u64 = 64 << 20;
/// The most extra data of a snapshot.
const MAX_EXTRA: u32 = 1024;
/// L1 entries of all snapshots together.
const MAX_L1_ENTRIES: u64 = 1 << 26;

/// A snapshot in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// A number, mostly.
    pub id: String,
    /// The tag.
    pub name: String,
    /// When it was made: seconds since 1970, and nanoseconds.
    pub date: (u32, u32),
    /// How long the guest had run.
    pub vm_clock_ns: u64,
    /// Bytes of the machine's state; 0: the disk only.
    pub vm_state_size: u64,
    /// Instructions executed; all ones: not recorded.
    pub icount: Option<u64>,
    /// Size of the disk then.
    pub disk_size: Option<u64>,
    pub(crate) l1_at: u64,
    pub(crate) l1_entries: u32,
    /// Extra data that is not known here.
    extra: Vec<u8>,
}

/// All snapshots, and where their table is.
pub(crate) struct Snapshots {
    pub(crate) list: Vec<Snapshot>,
    /// Offset and length.
    pub(crate) place: (u64, u64),
}

/// Reads the table. The image's header has bounded the number.
pub(crate) fn read_table(image: &Qcow2) -> Result<Snapshots> {
    let h = &image.header;
    let (count, start) = (h.snapshots, h.snapshots_at);
    if count == 0 {
        return Ok(Snapshots { list: vec![], place: (0, 0) });
    }
    if start & (h.cluster() - 1) != 0 || start >= image.file_len {
        return Err(image.bad(format!("the snapshot table is at {start:#x}")));
    }
    let most = MAX_TABLE.min(image.file_len - start);
    // Names are short, mostly: the whole of what a table could be is read only when it must be.
    let usual = most.min(u64::from(count) * 512);
    parse_table(image, usual).or_else(|_| parse_table(image, most))
}

fn parse_table(image: &Qcow2, len: u64) -> Result<Snapshots> {
    let h = &image.header;
    let (count, start) = (h.snapshots, h.snapshots_at);
    let mut bytes = vec![0; len as usize];
    at::read(&image.file, &mut bytes, start).map_err(image.io("read"))?;
    let mut at = 0;
    let mut list = vec![];
    let mut entries = 0;
    for i in 0..count {
        let cut = || image.bad(format!("entry {i} of the snapshot table is cut off"));
        let (snapshot, len) = bytes.get(at..).and_then(Snapshot::parse).ok_or_else(cut)?;
        entries += u64::from(snapshot.l1_entries);
        let l1_len = u64::from(snapshot.l1_entries) * 8;
        if l1_len > MAX_L1 || entries > MAX_L1_ENTRIES || snapshot.l1_at & (h.cluster() - 1) != 0 {
            let (at, n) = (snapshot.l1_at, snapshot.l1_entries);
            return Err(image.bad(format!("snapshot {i} has an L1 table of {n} entries at {at:#x}")));
        }
        list.push(snapshot);
        at += len;
    }
    Ok(Snapshots { list, place: (start, at as u64) })
}

impl Snapshot {
    fn parse(b: &[u8]) -> Option<(Self, usize)> {
        let head = b.first_chunk::<40>()?;
        let be = |from: usize, to: usize| head[from..to].iter().fold(0, |v: u64, b| v << 8 | u64::from(*b));
        let (id_len, name_len, extra_len) = (be(12, 14) as usize, be(14, 16) as usize, be(36, 40) as u32);
        if extra_len > MAX_EXTRA {
            return None;
        }
        let extra = b.get(40..40 + extra_len as usize)?;
        let extra64 = |at: usize| Some(u64::from_be_bytes(extra.get(at..at + 8)?.try_into().ok()?));
        let id_at = 40 + extra.len();
        let text = |at: usize, len: usize| Some(String::from_utf8_lossy(b.get(at..at + len)?).into_owned());
        let snapshot = Self {
            id: text(id_at, id_len)?,
            name: text(id_at + id_len, name_len)?,
            date: (be(16, 20) as u32, be(20, 24) as u32),
            vm_clock_ns: be(24, 32),
            vm_state_size: extra64(0).unwrap_or(be(32, 36)),
            disk_size: extra64(8),
            icount: extra64(16),
            l1_at: be(0, 8),
            l1_entries: be(8, 12) as u32,
            extra: extra.get(24..).unwrap_or(&[]).to_vec(),
        };
        Some((snapshot, (id_at + id_len + name_len).next_multiple_of(8)))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut extra = vec![];
        if let Some(disk) = self.disk_size {
            extra.extend(self.vm_state_size.to_be_bytes());
            extra.extend(disk.to_be_bytes());
            if let Some(icount) = self.icount {
                extra.extend(icount.to_be_bytes());
                extra.extend(&self.extra);
            }
        }
        let mut b = self.l1_at.to_be_bytes().to_vec();
        b.extend(self.l1_entries.to_be_bytes());
        b.extend((self.id.len() as u16).to_be_bytes());
        b.extend((self.name.len() as u16).to_be_bytes());
        b.extend(self.date.0.to_be_bytes());
        b.extend(self.date.1.to_be_bytes());
        b.extend(self.vm_clock_ns.to_be_bytes());
        // With extra data the size is there; this field is for machines' states below 4 GiB.
        b.extend(u32::try_from(self.vm_state_size).unwrap_or(u32::MAX).to_be_bytes());
        b.extend((extra.len() as u32).to_be_bytes());
        b.extend(extra);
        b.extend(self.id.as_bytes());
        b.extend(self.name.as_bytes());
        b.resize(b.len().next_multiple_of(8), 0);
        b
    }
}

/// The snapshot that a user means: an ID, else a name.
fn find(image: &Qcow2, list: &[Snapshot], name: &str) -> Result<usize> {
    let found = list.iter().position(|s| s.id == name).or_else(|| list.iter().position(|s| s.name == name));
    found.ok_or_else(|| {
        let path = image.path.display();
        ImgError::Refused(format!("'{path}' has no snapshot '{name}'; `whpx img snapshot -l` lists them"))
    })
}

/// Makes the snapshot `name` what is read from the image.
pub(crate) fn look_at(image: &mut Qcow2, name: &str) -> Result<()> {
    let snapshots = read_table(image)?.list;
    let snapshot = &snapshots[find(image, &snapshots, name)?];
    image.l1 = image.table(snapshot.l1_at, u64::from(snapshot.l1_entries), "the snapshot's L1 table")?;
    image.header.size = snapshot.disk_size.unwrap_or(image.header.size);
    image.forget_tables();
    if (image.l1.len() as u64) < image.header.l1_for(image.header.size) {
        return Err(image.bad(format!("the L1 table of snapshot '{name}' is too short")));
    }
    Ok(())
}

fn open(path: &Path, format: Option<Format>, write: bool, share: bool) -> Result<Qcow2> {
    let file = open_locked(path, Access { write, direct: false, locking: !share })?;
    if probe(path, &file, format)? == Format::Raw {
        return Err(ImgError::Refused(format!("'{}' is raw: it has no snapshots", path.display())));
    }
    Qcow2::from_file(path, file, if write { Use::Change } else { Use::Check })
}

/// The snapshots of an image.
///
/// # Errors
/// The image cannot be used.
pub fn list_snapshots(path: &Path, format: Option<Format>, share: bool) -> Result<Vec<Snapshot>> {
    Ok(read_table(&open(path, format, false, share)?)?.list)
}

/// Adds `by` to the counts of all that an L1 table reaches.
fn change_counts(image: &Qcow2, counts: &mut Refcounts, l1: &[u64], by: i64) -> Result<()> {
    let mut tables = Tables::default();
    tables.add(image, l1, "the image or a snapshot");
    // Not to be stopped in the middle: a command that changes an image does so to its end.
    tables.references(image, &Control::default(), |found| match found {
        Found::Problem(text) => Err(image.bad(text)),
        Found::Reference { at, len, times } => match counts.change(at, len, by * i64::from(times)) {
            true => Ok(()),
            false if counts.at(at) >= counts.largest().saturating_sub(times - 1) => Err(ImgError::Refused(format!(
                "'{}': counts of {} bits are too small for one more snapshot; delete one, or convert it with -o refcount_bits=16",
                image.path.display(),
                1 << image.header.refcount_order
            ))),
            false => Err(image.bad(format!("the count of the cluster at {at:#x} cannot be changed by {by}"))),
        },
    })
}

/// Writes a new table of snapshots and makes the header name it. The old one is still counted.
fn write_table(image: &mut Qcow2, counts: &mut Refcounts, list: &[Snapshot]) -> Result<()> {
    let bytes: Vec<u8> = list.iter().flat_map(Snapshot::to_bytes).collect();
    let mut place = 0;
    if !bytes.is_empty() {
        place = counts.allocate(bytes.len().div_ceil(image.header.cluster() as usize));
        counts.flush(image)?;
        write_at(&image.file, image, &bytes, place)?;
        grow_to_cluster(image)?;
    }
    let mut field = (list.len() as u32).to_be_bytes().to_vec();
    field.extend(place.to_be_bytes());
    write_header(image, field::SNAPSHOTS, &field)?;
    (image.header.snapshots, image.header.snapshots_at) = (list.len() as u32, place);
    Ok(())
}

/// The file ends with a whole cluster, so that tables in its last one are in the file.
pub(crate) fn grow_to_cluster(image: &mut Qcow2) -> Result<()> {
    let len = length(&image.path, &image.file)?;
    let whole = len.next_multiple_of(image.header.cluster());
    if whole != len {
        image.file.set_len(whole).map_err(image.io("write"))?;
    }
    image.file_len = whole;
    Ok(())
}

fn free(image: &mut Qcow2, counts: &mut Refcounts, places: &[(u64, u64)]) -> Result<()> {
    for (at, len) in places.iter().filter(|p| p.1 != 0) {
        if !counts.change(*at, *len, -1) {
            return Err(image.bad(format!("the count of the cluster at {at:#x} is wrong")));
        }
    }
    counts.flush(image)
}

/// Makes a snapshot of the disk with this name.
///
/// # Errors
/// The name is taken, or the image cannot be used.
pub fn create_snapshot(path: &Path, format: Option<Format>, name: &str) -> Result<()> {
    let mut image = open(path, format, true, false)?;
    let Snapshots { mut list, place } = read_table(&image)?;
    if name.is_empty() || name.len() > 1023 {
        return Err(ImgError::Refused(format!("a snapshot's name has 1 to 1023 bytes, not {}", name.len())));
    }
    if list.iter().any(|s| s.name == name || s.id == name) {
        return Err(ImgError::Refused(format!("'{}' has a snapshot '{name}'; take another name", path.display())));
    }
    if list.len() as u32 >= super::header::MAX_SNAPSHOTS {
        return Err(ImgError::Refused(format!("'{}' has as many snapshots as there can be", path.display())));
    }
    let mut counts = Refcounts::for_change(&image)?;
    let l1 = image.l1.clone();
    change_counts(&image, &mut counts, &l1, 1)?;
    let bytes = l1.len().max(1) * 8;
    let l1_at = counts.allocate(bytes.div_ceil(image.header.cluster() as usize));
    counts.flush(&mut image)?;
    set_copied_flags(&mut image, &counts)?;
    write_at(&image.file, &image, &big_endian(&image.l1), l1_at)?;
    grow_to_cluster(&mut image)?;
    let id = list.iter().filter_map(|s| s.id.parse::<u64>().ok()).max().unwrap_or(0).saturating_add(1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    list.push(Snapshot {
        id: id.to_string(),
        name: name.into(),
        date: (u32::try_from(now.as_secs()).unwrap_or(u32::MAX), now.subsec_nanos()),
        vm_clock_ns: 0,
        vm_state_size: 0,
        icount: Some(0),
        disk_size: Some(image.header.size),
        l1_at,
        l1_entries: image.header.l1_entries,
        extra: vec![],
    });
    write_table(&mut image, &mut counts, &list)?;
    free(&mut image, &mut counts, &[place])
}

/// Deletes a snapshot, by ID or name.
///
/// # Errors
/// There is none, or the image cannot be used.
pub fn delete_snapshot(path: &Path, format: Option<Format>, name: &str) -> Result<()> {
    let mut image = open(path, format, true, false)?;
    let Snapshots { mut list, place } = read_table(&image)?;
    let gone = list.remove(find(&image, &list, name)?);
    let mut counts = Refcounts::for_change(&image)?;
    let l1 = image.table(gone.l1_at, u64::from(gone.l1_entries), "the snapshot's L1 table")?;
    write_table(&mut image, &mut counts, &list)?;
    change_counts(&image, &mut counts, &l1, -1)?;
    free(&mut image, &mut counts, &[(gone.l1_at, u64::from(gone.l1_entries) * 8), place])?;
    set_copied_flags(&mut image, &counts)
}

/// Makes the disk what it was when a snapshot was made.
///
/// # Errors
/// There is none, or the image cannot be used.
pub fn apply_snapshot(path: &Path, format: Option<Format>, name: &str) -> Result<()> {
    let mut image = open(path, format, true, false)?;
    image.no_bitmaps("applying a snapshot")?;
    let list = read_table(&image)?.list;
    let snapshot = &list[find(&image, &list, name)?];
    let size = snapshot.disk_size.unwrap_or(image.header.size);
    let mut l1 = image.table(snapshot.l1_at, u64::from(snapshot.l1_entries), "the snapshot's L1 table")?;
    let needed = image.header.l1_for(size);
    if needed * 8 > MAX_L1 {
        return Err(image.bad(format!("the snapshot says that the disk has {size} bytes")));
    }
    // A machine's state, which is past the end of the disk, stays in the snapshot alone.
    l1.resize(needed as usize, 0);
    let mut counts = Refcounts::for_change(&image)?;
    change_counts(&image, &mut counts, &l1, 1)?;
    let new_at = counts.allocate((l1.len().max(1) * 8).div_ceil(image.header.cluster() as usize));
    counts.flush(&mut image)?;
    l1.iter_mut().for_each(|e| *e &= !COPIED);
    // L2 tables of the snapshot can be ones that the active image owned no longer; their flags say 'shared' already.
    write_at(&image.file, &image, &big_endian(&l1), new_at)?;
    grow_to_cluster(&mut image)?;
    let old = (std::mem::take(&mut image.l1), image.header.l1_at);
    put_l1(&mut image, size, l1, new_at)?;
    change_counts(&image, &mut counts, &old.0, -1)?;
    free(&mut image, &mut counts, &[(old.1, old.0.len() as u64 * 8)])?;
    set_copied_flags(&mut image, &counts)?;
    sync(&image)
}

/// Makes the header name another L1 table and size.
pub(crate) fn put_l1(image: &mut Qcow2, size: u64, l1: Vec<u64>, at: u64) -> Result<()> {
    let mut bytes = size.to_be_bytes().to_vec();
    bytes.extend(image.header.crypt.to_be_bytes());
    bytes.extend((l1.len() as u32).to_be_bytes());
    bytes.extend(at.to_be_bytes());
    write_header(image, field::SIZE, &bytes)?;
    (image.header.size, image.header.l1_entries, image.header.l1_at) = (size, l1.len() as u32, at);
    image.l1 = l1;
    image.forget_tables();
    Ok(())
}
