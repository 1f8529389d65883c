//! What `-drive`, `-hda` and `-blockdev` say about an image.

use std::path::PathBuf;
use std::str::FromStr;

/// An image format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes and nothing else.
    Raw,
    /// QEMU's copy-on-write format, versions 2 and 3.
    Qcow2,
}

impl FromStr for Format {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "raw" => Ok(Self::Raw),
            "qcow2" => Ok(Self::Qcow2),
            _ => Err(format!("format={s}: supported are raw and qcow2 (qemu-img convert -O qcow2 converts others)")),
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        })
    }
}

/// `cache=`: how writes and flushes reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// Through the host's cache; a flush makes it durable.
    #[default]
    Writeback,
    /// Around the host's cache; a flush makes it durable.
    None,
    /// Through the host's cache; every write is durable when it completes.
    Writethrough,
    /// Around the host's cache; every write is durable when it completes.
    DirectSync,
    /// Through the host's cache; flushes are ignored.
    Unsafe,
}

impl CacheMode {
    /// Around the host's cache.
    pub fn direct(self) -> bool {
        matches!(self, Self::None | Self::DirectSync)
    }

    /// The device tells the guest that there is a volatile write cache.
    pub fn write_cache(self) -> bool {
        !matches!(self, Self::Writethrough | Self::DirectSync)
    }
}

impl FromStr for CacheMode {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "writeback" => Ok(Self::Writeback),
            "none" | "off" => Ok(Self::None),
            "writethrough" => Ok(Self::Writethrough),
            "directsync" => Ok(Self::DirectSync),
            "unsafe" => Ok(Self::Unsafe),
            _ => Err(format!("cache={s}: it is one of none, writeback, writethrough, directsync, unsafe")),
        }
    }
}

/// An image to open.
#[derive(Clone, Debug)]
pub struct BlockConfig {
    /// `file=`.
    pub path: PathBuf,
    /// `format=`; probed by the file's first bytes when absent.
    pub format: Option<Format>,
    /// `readonly=on`.
    pub readonly: bool,
    /// `snapshot=on` or `-snapshot`: writes go to a temporary file that ends with the process.
    pub snapshot: bool,
    /// `cache=`.
    pub cache: CacheMode,
    /// `discard=unmap`: what the guest discards is given back to the host.
    pub discard: bool,
    /// `file.locking=`: on or auto.
    pub locking: bool,
}

impl BlockConfig {
    /// `path` with every default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: None,
            readonly: false,
            snapshot: false,
            cache: CacheMode::default(),
            discard: false,
            locking: true,
        }
    }
}
