//! Copies the contents of an image, with everything below it, to a new one that stands alone. What reads as zeros takes
//! no room there.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::build::Builder;
use super::chain::Chain;
use super::create::{NewQcow2, Preallocation, reserve};
use super::output::Output;
use super::{Control, ImgError, Result, is_zero};
use crate::{Format, at};

/// Bytes read at once.
const CHUNK: u64 = 2 << 20;

/// A copy to make.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// The image.
    pub source: PathBuf,
    /// Its format; else it is looked at.
    pub source_format: Option<Format>,
    /// A snapshot in it, by ID or name.
    pub snapshot: Option<String>,
    /// Read it also while others write.
    pub share: bool,
    /// The new image.
    pub target: PathBuf,
    /// `None`: raw.
    pub qcow2: Option<NewQcow2>,
    /// Of a raw image.
    pub preallocation: Preallocation,
    /// qcow2: clusters are compressed.
    pub compress: bool,
    /// So many zero bytes take no room in a raw image; 0: all are written.
    pub sparse: u64,
    /// A file that is there is replaced.
    pub force: bool,
}

/// Makes the copy; returns the disk's size.
///
/// # Errors
/// See [`ImgError`]; the target is as it was then.
pub fn convert(conversion: &Conversion, control: &Control) -> Result<u64> {
    let c = conversion;
    let mut source = match &c.snapshot {
        None => Chain::open(&c.source, c.source_format, c.share)?,
        Some(name) => Chain::open_snapshot(&c.source, c.source_format, c.share, name)?,
    };
    let size = source.size();
    if same_file(&c.source, &c.target) {
        return Err(ImgError::Refused(format!("'{}' cannot be converted onto itself", c.source.display())));
    }
    let header = c.qcow2.as_ref().map(|q| q.header(size)).transpose()?;
    let output = Output::new(&c.target, c.force)?;
    match header {
        None => {
            output.file().set_len(size).map_err(ImgError::io("create", &c.target))?;
            reserve(
                output.file(),
                &c.target,
                0..size,
                c.preallocation,
                &Control { progress: None, ..control.clone() },
            )?;
            let target = RawTarget { file: output.file(), path: &c.target, sparse: c.sparse };
            copy(&mut source, c.sparse != 0, CHUNK, control, |at, data| target.put(at, data))?;
        }
        Some(header) => {
            let mut builder = Builder::new(output.file(), &c.target, header)?;
            let cluster = builder.cluster() as usize;
            copy(&mut source, true, CHUNK, control, |at, data| {
                if !c.compress {
                    return builder.put(at, data);
                }
                let mut clusters = data.chunks(cluster).enumerate();
                clusters.try_for_each(|(i, part)| builder.put_compressed(at + (i * cluster) as u64, part))
            })?;
            builder.finish()?;
        }
    }
    output.finish()?;
    Ok(size)
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((std::fs::canonicalize(a), std::fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// Reads the disk in chunks that start at multiples of `chunk`, and gives those that are not known to be zero to `put`.
fn copy(
    source: &mut Chain,
    skip_zeros: bool,
    chunk: u64,
    control: &Control,
    mut put: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let size = source.size();
    let mut buffer = vec![0; chunk as usize];
    let mut at = 0;
    while at < size {
        control.step(at, size)?;
        if skip_zeros {
            let extent = source.extent(at, size - at)?;
            let end = at + extent.len;
            if extent.zero && (end == size || end - at >= chunk) {
                at = if end == size { size } else { end / chunk * chunk };
                continue;
            }
        }
        let len = chunk.min(size - at);
        let part = &mut buffer[..len as usize];
        source.read(at, part)?;
        put(at, part)?;
        at += len;
    }
    control.step(size, size)
}

struct RawTarget<'a> {
    file: &'a File,
    path: &'a Path,
    sparse: u64,
}

impl RawTarget<'_> {
    /// Writes runs of data, leaves out pieces of zeros.
    fn put(&self, at: u64, data: &[u8]) -> Result<()> {
        let write = |from: usize, to: usize| {
            at::write(self.file, &data[from..to], at + from as u64).map_err(ImgError::io("write", self.path))
        };
        if self.sparse == 0 {
            return write(0, data.len());
        }
        let piece = self.sparse.clamp(512, CHUNK) as usize;
        let mut start = None;
        for (i, part) in data.chunks(piece).enumerate() {
            if !is_zero(part) {
                start.get_or_insert(i * piece);
            } else if let Some(from) = start.take() {
                write(from, i * piece)?;
            }
        }
        start.map_or(Ok(()), |from| write(from, data.len()))
    }
}
