//! What `whpx img` does with images that no machine uses: create, inform, check and repair, convert, snapshots, resize,
//! map. On plain file calls, not on imago: a check must see what is in the file, not what a driver makes of it.
//!
//! qcow2 is written from QEMU's docs/interop/qcow2 ("the specification" in this folder). Tables are bounded before
//! memory is taken for them; entries that point outside of the file, or nowhere sensible, are errors or findings of
//! the check. What changes an image in place writes in an order that loses no data when the process is killed: at worst clusters are
//! leaked and flags 'copied' are wrong in the harmless way, which `check -r all` sets right.
//! New images are written to a temporary file that gets its name when it is complete and on the disk.
//!
//! Left out on purpose: encryption, zstd, external data files, extended L2 entries (`info` shows them, the rest refuses),
//! other formats.

mod bitmaps;
mod build;
mod chain;
mod check;
mod convert;
mod create;
mod header;
mod info;
mod json;
mod output;
mod qcow2;
mod refcounts;
mod resize;
mod snapshot;
mod walk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use chain::{Chain, Extent};
pub use check::{CheckReport, Repair, check};
pub use convert::{Conversion, convert};
pub use create::{Creation, NewQcow2, Preallocation, create};
pub use info::{ImageInfo, Qcow2Info, info, info_chain};
pub use json::info_json;
pub use resize::{Resize, resize};
pub use snapshot::{Snapshot, apply_snapshot, create_snapshot, delete_snapshot, list_snapshots};

use crate::BlockError;

/// Why a command did not do what it was asked for: one line.
#[derive(Debug, thiserror::Error)]
pub enum ImgError {
    /// The image could not be opened, is in use, or is damaged.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The host refused.
    #[error("cannot {what} '{}': {source}", path.display())]
    Io {
        /// Which operation.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The host's words.
        source: io::Error,
    },
    /// The file that should be made is there.
    #[error("'{}' exists; use --force to replace it", .0.display())]
    Exists(PathBuf),
    /// Not possible with this image or these options; says what to do.
    #[error("{0}")]
    Refused(String),
    /// The user stopped it; nothing is left behind.
    #[error("stopped; nothing was written")]
    Stopped,
}

impl ImgError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.into(), source }
    }

    pub(crate) fn format(path: &Path, reason: impl Into<String>) -> Self {
        BlockError::format(path, reason).into()
    }
}

/// Result of this module's functions.
pub type Result<T> = std::result::Result<T, ImgError>;

/// How a long command tells where it is, and is told to stop.
#[derive(Clone, Default)]
pub struct Control {
    /// Set (by Ctrl-C): the command ends with [`ImgError::Stopped`].
    pub stop: Arc<AtomicBool>,
    /// Called now and then with the part that is done, 0 to 1.
    pub progress: Option<Arc<dyn Fn(f64) + Send + Sync>>,
}

impl Control {
    /// Reports `done` of `all`.
    pub(crate) fn step(&self, done: u64, all: u64) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(ImgError::Stopped);
        }
        if let Some(progress) = &self.progress {
            progress(if all == 0 { 1.0 } else { done as f64 / all as f64 });
        }
        Ok(())
    }
}

/// All bytes are zero.
pub(crate) fn is_zero(data: &[u8]) -> bool {
    // A loop without an exit inside of a piece is one that the compiler makes wide.
    data.chunks(256).all(|piece| piece.iter().fold(0, |all, b| all | b) == 0)
}

/// Shortest name of a number of bytes, as qemu-img has it: `10 GiB`.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut value = bytes as f64;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    // Three significant digits without zeros at the end.
    let digits = match value {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    let mut text = format!("{value:.digits$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{text} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (197_120, "192 KiB"),
            (200_704, "196 KiB"),
            (10 << 20, "10 MiB"),
            (3 << 29, "1.5 GiB"),
            (1_288_490_188, "1.2 GiB"),
            (1000 << 20, "0.977 GiB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }

    #[test]
    fn zeros() {
        let mut data = vec![0; 1000];
        assert!(is_zero(&data) && is_zero(&data[3..]) && is_zero(&[]));
        data[999] = 1;
        assert!(!is_zero(&data[1..]) && is_zero(&data[..999]));
    }
}
