//! Why an image could not be opened: one line that names the file and says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// See the module's documentation.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The host would not open it.
    #[error("Could not open '{}': {reason}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The host's words and what to do.
        reason: String,
    },
    /// Another process has it.
    #[error("Could not open '{}': Failed to get {lock} lock: another process is using the image; stop it, \
             or use snapshot=on on both sides, or file.locking=off if you know that it is safe", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// Which access clashes: "write" or "shared".
        lock: &'static str,
    },
    /// The file is not what its format says, or uses what is not supported.
    #[error("Image '{}' cannot be used: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A file further down a backing chain.
    #[error("Could not open the backing file of '{}': {source}", path.display())]
    Backing {
        /// The file that names it.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<BlockError>,
    },
    /// The temporary file of `snapshot=on`.
    #[error("snapshot=on: cannot make a temporary file in '{}': {reason}; set TMPDIR to a place with room", dir.display())]
    Temporary {
        /// Where.
        dir: PathBuf,
        /// The host's words.
        reason: String,
    },
}

impl BlockError {
    pub(crate) fn open(path: &Path, error: &io::Error) -> Self {
        let what = match error.kind() {
            io::ErrorKind::NotFound => {
                "No such file or directory; check the name (relative to the working directory)".into()
            }
            io::ErrorKind::PermissionDenied => {
                "Permission denied; give your user access to the file, or use readonly=on or snapshot=on".into()
            }
            io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only; use readonly=on or snapshot=on".into(),
            _ => error.to_string(),
        };
        Self::Open { path: path.into(), reason: what }
    }

    pub(crate) fn format(path: &Path, reason: impl Into<String>) -> Self {
        Self::Format { path: path.into(), reason: reason.into() }
    }
}
