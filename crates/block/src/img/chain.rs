//! An image with its backing files: what is where ([`Chain::map`]), and its contents.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::header::{Header, Use};
use super::qcow2::{Cluster, Qcow2, Run};
use super::{Control, ImgError, Result};
use crate::lock::{Access, Locked, open_locked};
use crate::open::{backing_path, magic_format};
use crate::{Format, SECTOR, at};

/// A chain of backing files longer than this is taken for a loop.
const MAX_CHAIN: usize = 64;

/// A part of a disk that is in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset on the disk.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// 0: in the image itself; 1: in its backing file; and so on.
    pub depth: usize,
    /// A file of the chain says what is there.
    pub present: bool,
    /// It reads as zeros.
    pub zero: bool,
    /// It takes room in a file.
    pub data: bool,
    /// It is compressed.
    pub compressed: bool,
    /// Where in the file it starts.
    pub offset: Option<u64>,
}

impl Extent {
    /// `next` goes on where this one ends, in the same way.
    fn goes_on(&self, next: &Self) -> bool {
        let like = |e: &Self| (e.depth, e.present, e.zero, e.data, e.compressed, e.offset.is_some());
        like(self) == like(next)
            && self.start + self.len == next.start
            && self.offset.is_none_or(|at| at.checked_add(self.len) == next.offset)
    }
}

struct Raw {
    path: PathBuf,
    file: Locked,
    size: u64,
}

enum Layer {
    Raw(Raw),
    Qcow2(Box<Qcow2>),
}

impl Layer {
    fn size(&self) -> u64 {
        match self {
            Self::Raw(raw) => raw.size,
            Self::Qcow2(image) => image.header.size,
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Raw(raw) => &raw.path,
            Self::Qcow2(image) => &image.path,
        }
    }
}

/// See the module's documentation.
pub struct Chain {
    layers: Vec<Layer>,
}

/// Length of a file or block device.
pub(crate) fn length(path: &Path, mut file: &File) -> Result<u64> {
    file.seek(SeekFrom::End(0)).map_err(ImgError::io("find the size of", path))
}

/// The format of a file: what is said, or what its first bytes look like.
pub(crate) fn probe(path: &Path, file: &File, said: Option<Format>) -> Result<Format> {
    if let Some(format) = said {
        return Ok(format);
    }
    let mut start = [0; 512];
    let len = at::read_up_to(file, &mut start, 0).map_err(ImgError::io("read", path))?;
    match magic_format(&start[..len]) {
        Some("qcow2") => Ok(Format::Qcow2),
        None => Ok(Format::Raw),
        Some(other) => {
            let how = format!("the format {other} is not supported; convert it with qemu-img convert -O qcow2");
            Err(ImgError::format(path, how))
        }
    }
}

/// The file below an image, if there is one: name, and format as far as it is said.
pub(crate) fn backing_of(path: &Path, header: &Header) -> Result<Option<(PathBuf, Option<Format>)>> {
    let Some(name) = &header.backing else { return Ok(None) };
    let file = backing_path(path, name)?;
    let format = header.backing_format.as_deref().map(str::parse).transpose();
    Ok(Some((file, format.map_err(|e| ImgError::format(path, format!("backing {e}")))?)))
}

impl Chain {
    /// Opens an image and everything below it for reading, locked unless `share`.
    ///
    /// # Errors
    /// Not there, in use, damaged, not supported.
    pub fn open(path: &Path, format: Option<Format>, share: bool) -> Result<Self> {
        Self::open_with(path, format, share, |_| Ok(()))
    }

    /// The same for a snapshot in the image, by ID or name.
    ///
    /// # Errors
    /// As for [`Chain::open`], and when there is no such snapshot.
    pub fn open_snapshot(path: &Path, format: Option<Format>, share: bool, name: &str) -> Result<Self> {
        Self::open_with(path, format, share, |top| match top {
            Layer::Qcow2(image) => super::snapshot::look_at(image, name),
            Layer::Raw(raw) => Err(ImgError::Refused(format!("'{}' is raw: it has no snapshots", raw.path.display()))),
        })
    }

    fn open_with(
        path: &Path,
        format: Option<Format>,
        share: bool,
        top: impl FnOnce(&mut Layer) -> Result<()>,
    ) -> Result<Self> {
        let mut layers = vec![];
        let mut next = Some((path.to_path_buf(), format));
        let mut top = Some(top);
        while let Some((path, format)) = next.take() {
            if layers.len() >= MAX_CHAIN {
                return Err(ImgError::format(&path, "its chain of backing files is a loop, or too long"));
            }
            let file = open_locked(&path, Access { write: false, direct: false, locking: !share })?;
            let mut layer = match probe(&path, &file, format)? {
                Format::Raw => {
                    let size = length(&path, &file)?.next_multiple_of(SECTOR);
                    Layer::Raw(Raw { path, file, size })
                }
                Format::Qcow2 => Layer::Qcow2(Box::new(Qcow2::from_file(&path, file, Use::Read)?)),
            };
            if let Some(top) = top.take() {
                top(&mut layer)?;
            }
            if let Layer::Qcow2(image) = &layer {
                next = backing_of(&image.path, &image.header)?;
            }
            layers.push(layer);
        }
        Ok(Self { layers })
    }

    /// Size of the disk in bytes.
    pub fn size(&self) -> u64 {
        self.layers.first().map_or(0, Layer::size)
    }

    /// The file of an extent.
    pub fn path(&self, depth: usize) -> &Path {
        self.layers.get(depth).map_or(Path::new(""), Layer::path)
    }

    /// Where `offset` is, and how far that goes; at most `max` bytes, which is not 0.
    ///
    /// # Errors
    /// The image is damaged, or the host's I/O error.
    pub fn extent(&mut self, offset: u64, max: u64) -> Result<Extent> {
        Ok(self.locate(offset, max)?.0)
    }

    fn locate(&mut self, offset: u64, max: u64) -> Result<(Extent, Option<Run>)> {
        let mut max = max.min(self.size().saturating_sub(offset));
        let nothing = |depth: usize, len: u64| Extent {
            start: offset,
            len,
            depth,
            present: false,
            zero: true,
            data: false,
            compressed: false,
            offset: None,
        };
        let deepest = self.layers.len().saturating_sub(1);
        for (depth, layer) in self.layers.iter_mut().enumerate() {
            let left = layer.size().saturating_sub(offset);
            if left == 0 {
                return Ok((nothing(depth.saturating_sub(1), max), None));
            }
            max = max.min(left);
            match layer {
                Layer::Raw(raw) => {
                    let (data, len) = data_at(&raw.file, offset, max);
                    let extent =
                        Extent { present: true, zero: !data, data, offset: Some(offset), ..nothing(depth, len) };
                    return Ok((extent, None));
                }
                Layer::Qcow2(image) => {
                    let run = image.run(offset, max)?;
                    max = run.len;
                    let found = Extent { present: true, zero: false, data: true, ..nothing(depth, max) };
                    match run.cluster {
                        Cluster::Unallocated if depth == deepest => return Ok((nothing(depth, max), None)),
                        Cluster::Unallocated => {}
                        Cluster::Zero(offset) => {
                            return Ok((Extent { zero: true, data: false, offset, ..found }, Some(run)));
                        }
                        // A place in the file that was never written reads as zeros: preallocation.
                        Cluster::Data(at) => {
                            let (data, len) = data_at(&image.file, at, max);
                            let run = Run { len, ..run };
                            return Ok((Extent { zero: !data, len, offset: Some(at), ..found }, Some(run)));
                        }
                        Cluster::Compressed { .. } => return Ok((Extent { compressed: true, ..found }, Some(run))),
                    }
                }
            }
        }
        Ok((nothing(deepest, max), None))
    }

    /// Fills `data` from `offset`; the range must be on the disk.
    ///
    /// # Errors
    /// The image is damaged, or the host's I/O error.
    pub fn read(&mut self, mut offset: u64, mut data: &mut [u8]) -> Result<()> {
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > self.size()) {
            return Err(ImgError::Refused(format!("offset {offset:#x} is past the end of the disk")));
        }
        while !data.is_empty() {
            let (extent, run) = self.locate(offset, data.len() as u64)?;
            if extent.len == 0 {
                return Err(ImgError::Refused(format!("offset {offset:#x} is nowhere in the chain")));
            }
            let (part, rest) = data.split_at_mut(extent.len as usize);
            match self.layers.get_mut(extent.depth) {
                _ if extent.zero => part.fill(0),
                Some(Layer::Raw(raw)) => {
                    let len = at::read_up_to(&raw.file, part, offset).map_err(ImgError::io("read", &raw.path))?;
                    part[len..].fill(0);
                }
                Some(Layer::Qcow2(image)) => {
                    let run = run.unwrap_or(Run { cluster: Cluster::Unallocated, len: 0 });
                    image.read_run(offset, run, part)?;
                }
                None => part.fill(0),
            }
            data = rest;
            offset += extent.len;
        }
        Ok(())
    }

    /// Calls `each` for every extent from `start` on, like neighbours joined.
    ///
    /// # Errors
    /// The image is damaged, the host's I/O error, or what `each` returns.
    pub fn map(
        &mut self,
        start: u64,
        len: u64,
        control: &Control,
        mut each: impl FnMut(&Extent) -> Result<()>,
    ) -> Result<()> {
        let end = self.size().min(start.saturating_add(len));
        let mut last: Option<Extent> = None;
        let mut offset = start;
        while offset < end {
            control.step(offset - start, end - start)?;
            let next = self.extent(offset, end - offset)?;
            offset += next.len;
            match &mut last {
                Some(last) if last.goes_on(&next) => last.len += next.len,
                _ => {
                    if let Some(done) = last.replace(next) {
                        each(&done)?;
                    }
                }
            }
        }
        last.map_or(Ok(()), |done| each(&done))
    }
}

/// Whether the file has data at `offset`, or a hole, and for how many of `max` bytes.
#[cfg(target_os = "linux")]
fn data_at(file: &File, offset: u64, max: u64) -> (bool, u64) {
    use std::os::fd::AsRawFd;
    let seek = |whence: i32| -> std::result::Result<u64, Option<i32>> {
        let at = i64::try_from(offset).map_err(|_| None)?;
        // SAFETY: lseek on an open descriptor; the position is not used by anybody (all reads give their offset).
        let found = unsafe { libc::lseek(file.as_raw_fd(), at, whence) };
        u64::try_from(found).map_err(|_| std::io::Error::last_os_error().raw_os_error())
    };
    match seek(libc::SEEK_DATA) {
        Ok(data) if data > offset => (false, max.min(data - offset)),
        Ok(_) => match seek(libc::SEEK_HOLE) {
            Ok(hole) if hole > offset => (true, max.min((hole - offset).next_multiple_of(SECTOR))),
            _ => (true, max),
        },
        Err(Some(libc::ENXIO)) => (false, max), // no data until the end
        Err(_) => (true, max),
    }
}

/// Holes are not asked for elsewhere: all is data.
#[cfg(not(target_os = "linux"))]
fn data_at(_file: &File, _offset: u64, max: u64) -> (bool, u64) {
    (true, max)
}
