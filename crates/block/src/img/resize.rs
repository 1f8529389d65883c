//! Another size for the disk of an image, in place.

use std::fs::File;
use std::path::Path;

use super::chain::{Chain, backing_of, length, probe};
use super::create::{Preallocation, reserve};
use super::header::{MAX_L1, Use};
use super::qcow2::{COPIED, Cluster, OFFSET, Qcow2};
use super::refcounts::{Refcounts, sync, write_at};
use super::snapshot::{grow_to_cluster, put_l1};
use super::{ImgError, Result, human_size, is_zero};
use crate::lock::{Access, open_locked};
use crate::{Format, SECTOR, at};

/// The size that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// This size.
    To(u64),
    /// So much more.
    By(u64),
    /// So much less.
    Less(u64),
}

impl Resize {
    fn from(self, old: u64) -> Option<u64> {
        match self {
            Self::To(size) => Some(size),
            Self::By(more) => old.checked_add(more),
            Self::Less(less) => old.checked_sub(less),
        }
    }
}

/// Changes the size; returns the old and the new one. What is past a smaller size is lost, which needs `shrink`.
///
/// # Errors
/// Not possible for this image, or in use.
pub fn resize(
    path: &Path,
    format: Option<Format>,
    change: Resize,
    shrink: bool,
    preallocation: Preallocation,
) -> Result<(u64, u64)> {
    let file = open_locked(path, Access { write: true, direct: false, locking: true })?;
    let format = probe(path, &file, format)?;
    let mut image = match format {
        Format::Raw => None,
        Format::Qcow2 => {
            Some(Qcow2::from_file(path, file.try_clone().map_err(ImgError::io("open", path))?.into(), Use::Change)?)
        }
    };
    let old = match &image {
        Some(image) => image.header.size,
        None => length(path, &file)?,
    };
    let new = change.from(old).and_then(|n| n.checked_next_multiple_of(SECTOR)).filter(|n| i64::try_from(*n).is_ok());
    let new = new.ok_or_else(|| {
        ImgError::Refused(format!("'{}' has {old} bytes: the new size is impossible", path.display()))
    })?;
    if new < old && !shrink {
        return Err(ImgError::Refused(format!(
            "'{}' has {}, the new size is {}: what is past it would be lost; use --shrink if you mean it",
            path.display(),
            human_size(old),
            human_size(new)
        )));
    }
    match &mut image {
        None => raw(path, &file, old, new, preallocation)?,
        Some(_) if preallocation != Preallocation::Off => {
            let what =
                "resize --preallocation: for raw images only; convert with -o preallocation= makes another image";
            return Err(ImgError::Refused(what.into()));
        }
        Some(image) if new >= old => grow(image, new)?,
        Some(image) => reduce(image, new)?,
    }
    Ok((old, new))
}

fn raw(path: &Path, file: &File, old: u64, new: u64, preallocation: Preallocation) -> Result<()> {
    let is_file = file.metadata().map_err(ImgError::io("look at", path))?.is_file();
    if !is_file {
        return Err(ImgError::Refused(format!("'{}' is a device: its size cannot be changed here", path.display())));
    }
    file.set_len(new).map_err(ImgError::io("resize", path))?;
    if new > old {
        reserve(file, path, old..new, preallocation, &super::Control::default())?;
    }
    file.sync_all().map_err(ImgError::io("write", path))
}

/// Old bytes of the last cluster that are past the end of the disk become zero, so that a larger disk has none of them.
fn clear_tail(image: &mut Qcow2) -> Result<()> {
    let size = image.header.size;
    let into = size % image.header.cluster();
    if into == 0 || image.l1.is_empty() {
        return Ok(());
    }
    let start = size - into;
    let entry = image.l1.get((start / image.header.l2_span()) as usize).copied().unwrap_or(0);
    let run = image.run(start, image.header.cluster())?;
    let mut whole = vec![0; image.header.cluster() as usize];
    match run.cluster {
        Cluster::Unallocated | Cluster::Zero(_) => return Ok(()),
        Cluster::Data(_) | Cluster::Compressed { .. } => image.read_run(start, run, &mut whole)?,
    }
    let tail = &mut whole[into as usize..];
    if is_zero(tail) {
        return Ok(());
    }
    match run.cluster {
        Cluster::Data(at) if entry & COPIED != 0 && Refcounts::for_change(image)?.at(at) == 1 => {
            tail.fill(0);
            at::write(&image.file, tail, at + into).map_err(image.io("write"))
        }
        _ => Err(ImgError::Refused(format!(
            "'{}': its last cluster has old data past the end and is shared or compressed; convert it first",
            image.path.display()
        ))),
    }
}

fn grow(image: &mut Qcow2, new: u64) -> Result<()> {
    let path = image.path.clone();
    let old = image.header.size;
    if new == old {
        return Ok(());
    }
    image.no_bitmaps("another size")?;
    if image.header.version == 2 && image.header.snapshots != 0 {
        let what = "is a version 2 image with snapshots, which say no size; delete them, or convert it";
        return Err(ImgError::Refused(format!("'{}' {what}", path.display())));
    }
    if let Some((file, format)) = backing_of(&path, &image.header)? {
        // The new part would show what the backing file has there.
        let size = Chain::open(&file, format, false)?.size();
        if size > old {
            return Err(ImgError::Refused(format!(
                "'{}' is smaller than its backing file, whose data would appear; convert it first",
                path.display()
            )));
        }
    }
    let entries = image.header.l1_for(new);
    if entries * 8 > MAX_L1 {
        let most = human_size(image.header.l2_span().saturating_mul(MAX_L1 / 8));
        let what = format!("with clusters of {} bytes an image has at most {most}", image.header.cluster());
        return Err(ImgError::Refused(format!("'{}': {what}; convert it with -o cluster_size=", path.display())));
    }
    if image.l1.iter().skip(image.header.l1_for(old) as usize).any(|e| *e != 0) {
        let what = "has a machine's state past the end of its disk, which would appear; convert it first";
        return Err(ImgError::Refused(format!("'{}' {what}", path.display())));
    }
    clear_tail(image)?;
    if entries <= u64::from(image.header.l1_entries) {
        let (l1, at) = (std::mem::take(&mut image.l1), image.header.l1_at);
        return put_l1(image, new, l1, at);
    }
    let mut counts = Refcounts::for_change(image)?;
    let at = counts.allocate((entries * 8).div_ceil(image.header.cluster()) as usize);
    counts.flush(image)?;
    let old = (image.header.l1_at, image.l1.len() as u64 * 8);
    let mut l1 = std::mem::take(&mut image.l1);
    l1.resize(entries as usize, 0);
    // The allocated clusters may have old data in them.
    let mut bytes = super::build::big_endian(&l1);
    bytes.resize(bytes.len().next_multiple_of(image.header.cluster() as usize), 0);
    write_at(&image.file, image, &bytes, at)?;
    grow_to_cluster(image)?;
    put_l1(image, new, l1, at)?;
    if old.1 != 0 && !counts.change(old.0, old.1, -1) {
        return Err(image.bad("the count of the L1 table is wrong"));
    }
    counts.flush(image)
}

fn reduce(image: &mut Qcow2, new: u64) -> Result<()> {
    if image.header.snapshots != 0 {
        let what = "has snapshots, and cannot be made smaller; delete them first";
        return Err(ImgError::Refused(format!("'{}' {what}", image.path.display())));
    }
    image.no_bitmaps("another size")?;
    let mut counts = Refcounts::for_change(image)?;
    // The header first: what is past the end is of no meaning then.
    let (l1, at) = (std::mem::take(&mut image.l1), image.header.l1_at);
    put_l1(image, new, l1, at)?;
    let (cluster, span) = (image.header.cluster(), image.header.l2_span());
    let mut freed = vec![];
    for i in (new / span) as usize..image.l1.len() {
        let l2_at = image.l1[i] & OFFSET;
        if l2_at == 0 {
            continue;
        }
        let mut table = image.l2_table(l2_at)?;
        let start = i as u64 * span;
        for (j, entry) in table.iter_mut().enumerate() {
            if start + j as u64 * cluster < new {
                continue;
            }
            match Qcow2::decode(&image.header, std::mem::take(entry)) {
                Cluster::Data(at) | Cluster::Zero(Some(at)) => freed.push((at, cluster)),
                Cluster::Compressed { at, len } => freed.push((at, len)),
                Cluster::Zero(None) | Cluster::Unallocated => {}
            }
        }
        if start >= new {
            image.l1[i] = 0;
            write_at(&image.file, image, &[0; 8], image.header.l1_at + i as u64 * 8)?;
            freed.push((l2_at, cluster));
        } else {
            write_at(&image.file, image, &super::build::big_endian(&table), l2_at)?;
        }
    }
    image.forget_tables();
    sync(image)?;
    for (at, len) in freed {
        if !counts.change(at, len, -1) {
            return Err(image.bad(format!("the count of the cluster at {at:#x} is wrong")));
        }
    }
    counts.flush(image)?;
    clear_tail(image)?;
    // The end of the file goes back to the host.
    let used = counts.counts.iter().rposition(|c| *c != 0).map_or(0, |c| (c as u64 + 1) << image.header.cluster_bits);
    if used < length(&image.path, &image.file)? {
        image.file.set_len(used).map_err(image.io("resize"))?;
    }
    sync(image)
}
