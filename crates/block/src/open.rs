//! Opening an image: probing, judging the header, the backing chain, the overlay.

use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, StorageOpenOptions};

use crate::image::Image;
use crate::lock::{Access, open_locked};
use crate::overlay::Overlay;
use crate::qcow2_header::{self, Header, MAGIC, MAX_HEADER};
use crate::storage::GuardedFile;
use crate::{BlockBackend, BlockConfig, BlockError, Format, SECTOR, check_range};

/// A chain of backing files longer than this is taken for a loop.
const MAX_CHAIN: u32 = 64;

/// Opens an image as `config` says.
///
/// # Errors
/// [`BlockError`]: one line that names the file and says what to do. No file is changed then.
pub fn open(config: &BlockConfig) -> Result<Arc<dyn BlockBackend>, BlockError> {
    let readonly = config.readonly || config.snapshot;
    let access = Access { write: !readonly, direct: config.cache.direct(), locking: config.locking };
    let layer = open_layer(&config.path, config.format, access, 0)?;
    let image: Arc<dyn BlockBackend> = Arc::new(Image::new(layer, readonly, config.cache, config.discard));
    if config.snapshot && !config.readonly {
        return Ok(Arc::new(Overlay::new(image)?));
    }
    Ok(image)
}

/// The name of the format whose header `start` looks like; raw has none.
pub(crate) fn magic_format(start: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| start.get(offset..).is_some_and(|s| s.starts_with(magic));
    let known: [(usize, &[u8], &str); 10] = [
        (0, &MAGIC, "qcow2"),
        (0, b"KDMV", "vmdk"),
        (0, b"COWD", "vmdk"),
        (0, b"# Disk DescriptorFile", "vmdk"),
        (0, b"vhdxfile", "vhdx"),
        (0, b"conectix", "vpc"),
        (0, b"QED\0", "qed"),
        (0, b"LUKS\xBA\xBE", "luks"),
        (0, b"WithoutFreeSpace", "parallels"),
        (64, b"\x7F\x10\xDA\xBE", "vdi"),
    ];
    known.into_iter().find(|k| at(k.0, k.1)).map(|k| k.2)
}

/// An open image file.
pub(crate) struct Layer {
    pub(crate) access: FormatAccess<GuardedFile>,
    pub(crate) format: &'static str,
    /// The format was guessed to be raw.
    pub(crate) guessed_raw: bool,
    /// See [`GuardedFile::qcow2`].
    pub(crate) stale: Arc<AtomicBool>,
}

fn open_layer(path: &Path, format: Option<Format>, access: Access, depth: u32) -> Result<Layer, BlockError> {
    // The header is judged through a plain handle first: direct I/O wants alignment that a header read has not, and
    // a file that is refused must not have been touched.
    let mut plain = open_locked(path, Access { write: false, direct: false, locking: false })?;
    let start = read_start(path, &mut plain, 4096)?;
    let (format, guessed) = match (format, magic_format(&start)) {
        (Some(f), _) => (f, false),
        (None, Some("qcow2")) => (Format::Qcow2, false),
        (None, Some(other)) => {
            let how = format!("the format {other} is not supported; convert it with qemu-img convert -O qcow2");
            return Err(BlockError::format(path, how));
        }
        (None, None) => (Format::Raw, true),
    };
    let file_len = length(path, &mut plain)?;
    let header = match format {
        Format::Raw => None,
        Format::Qcow2 => {
            let start = read_start(path, &mut plain, MAX_HEADER)?;
            Some(qcow2_header::parse(path, &start, file_len)?)
        }
    };
    drop(plain);
    let lock = open_locked(path, access)?;
    let file = lock.try_clone().map_err(|e| BlockError::open(path, &e))?;
    let options = StorageOpenOptions::new().write(access.write).direct(access.direct).filename(path);
    let imago_error = |e: io::Error| BlockError::format(path, format!("{e}; `whpx img check` shows more"));
    let file = File::from_open_file(file, options).map_err(imago_error)?;
    let Some(header) = header else {
        let file = GuardedFile::plain(file, lock);
        let raw = Raw::builder(file).write(access.write).open(DenyImplicitOpenGate::default()).map_err(imago_error)?;
        return Ok(Layer {
            access: FormatAccess::new(raw),
            format: "raw",
            guessed_raw: guessed,
            stale: Arc::default(),
        });
    };
    let backing = open_backing(path, header, access, depth)?;
    let (file, stale) = match access.write {
        true => GuardedFile::qcow2(file, lock).map_err(imago_error)?,
        false => (GuardedFile::plain(file, lock), Arc::default()),
    };
    let image = Qcow2::<GuardedFile>::builder(file)
        .write(access.write)
        .backing(backing)
        .data_file(None)
        .open(DenyImplicitOpenGate::default())
        .map_err(imago_error)?;
    Ok(Layer { access: FormatAccess::new(image), format: "qcow2", guessed_raw: false, stale })
}

fn open_backing(
    path: &Path,
    header: Header,
    access: Access,
    depth: u32,
) -> Result<Option<FormatAccess<GuardedFile>>, BlockError> {
    let Some(name) = header.backing else { return Ok(None) };
    if depth >= MAX_CHAIN {
        return Err(BlockError::format(path, "its chain of backing files is a loop, or too long"));
    }
    let backing = backing_path(path, &name)?;
    let below = Access { write: false, ..access };
    match open_layer(&backing, header.backing_format, below, depth + 1) {
        Ok(layer) => Ok(Some(layer.access)),
        Err(e) => Err(BlockError::Backing { path: path.into(), source: Box::new(e) }),
    }
}

/// The file that a header's backing name means: relative names count from the image's folder.
pub(crate) fn backing_path(image: &Path, name: &str) -> Result<PathBuf, BlockError> {
    let name = name.strip_prefix("file:").unwrap_or(name);
    let scheme =
        name.split_once(':').map(|s| s.0).filter(|s| s.len() > 1 && s.chars().all(|c| c.is_ascii_alphanumeric()));
    if scheme.is_some() {
        let how = format!("its backing file {name:?} is not a plain file name; change it with qemu-img rebase -u");
        return Err(BlockError::format(image, how));
    }
    Ok(image.parent().unwrap_or(Path::new("")).join(name))
}

fn read_start(path: &Path, file: &mut std::fs::File, len: u64) -> Result<Vec<u8>, BlockError> {
    let mut start = vec![];
    file.rewind().and_then(|()| file.take(len).read_to_end(&mut start)).map_err(|e| BlockError::open(path, &e))?;
    Ok(start)
}

fn length(path: &Path, file: &mut std::fs::File) -> Result<u64, BlockError> {
    file.seek(io::SeekFrom::End(0)).map_err(|e| BlockError::open(path, &e)) // block devices have no length in metadata
}

/// A disk that forgets what is written and reads as zeros (`null-co`).
pub struct NullDisk {
    size: u64,
}

impl NullDisk {
    /// A disk of `size` bytes, cut down to whole sectors.
    pub fn new(size: u64) -> Self {
        Self { size: size / SECTOR * SECTOR }
    }
}

impl BlockBackend for NullDisk {
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        check_range(self.size, offset, data.len() as u64)?;
        data.fill(0);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        check_range(self.size, offset, data.len() as u64)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        check_range(self.size, offset, len)
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn format(&self) -> &'static str {
        "null-co"
    }

    fn readonly(&self) -> bool {
        false
    }
}

/// A disk in memory, for tests and for small generated disks.
pub struct MemoryDisk {
    bytes: RwLock<Vec<u8>>,
    readonly: bool,
}

impl MemoryDisk {
    /// A disk with these contents, filled up to whole sectors.
    pub fn new(mut bytes: Vec<u8>, readonly: bool) -> Arc<Self> {
        bytes.resize(bytes.len().next_multiple_of(SECTOR as usize), 0);
        Arc::new(Self { bytes: RwLock::new(bytes), readonly })
    }
}

impl BlockBackend for MemoryDisk {
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        check_range(self.size(), offset, data.len() as u64)?;
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        data.copy_from_slice(&bytes[offset as usize..][..data.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.readonly {
            return Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the disk is read-only"));
        }
        check_range(self.size(), offset, data.len() as u64)?;
        self.bytes.write().unwrap_or_else(PoisonError::into_inner)[offset as usize..][..data.len()]
            .copy_from_slice(data);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        check_range(self.size(), offset, len)?;
        self.bytes.write().unwrap_or_else(PoisonError::into_inner)[offset as usize..][..len as usize].fill(0);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    fn format(&self) -> &'static str {
        "memory"
    }

    fn readonly(&self) -> bool {
        self.readonly
    }
}
