//! A file that has its name when it is complete, and not before.

use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{ImgError, Result};
use crate::lock::{Access, Locked, open_locked};

/// See the module's documentation. Dropped without [`Output::finish`], nothing is left.
pub(crate) struct Output {
    temporary: NamedTempFile,
    path: PathBuf,
    /// The file that will be replaced, held against others until then.
    replaced: Option<Locked>,
}

impl Output {
    /// A new file for `path`, which must not be there unless `force`.
    pub(crate) fn new(path: &Path, force: bool) -> Result<Self> {
        let replaced = match std::fs::symlink_metadata(path) {
            Ok(_) if !force => return Err(ImgError::Exists(path.into())),
            Ok(_) => {
                let kind = std::fs::metadata(path).map_err(ImgError::io("look at", path))?;
                if !kind.is_file() {
                    let what = format!("'{}' is not a file; only files are replaced", path.display());
                    return Err(ImgError::Refused(what));
                }
                Some(open_locked(path, Access { write: true, direct: false, locking: true })?)
            }
            Err(_) => None,
        };
        // Through a symbolic link the file behind it is replaced, not the link.
        let path = if replaced.is_some() {
            std::fs::canonicalize(path).map_err(ImgError::io("look at", path))?
        } else {
            path.to_path_buf()
        };
        let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().ok_or_else(|| ImgError::Refused(format!("'{}' names no file", path.display())))?;
        let mut builder = tempfile::Builder::new();
        let prefix = format!(".{}.", name.to_string_lossy());
        builder.prefix(&prefix).suffix(".part");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
        let temporary = builder.tempfile_in(dir).map_err(ImgError::io("create", &path))?;
        Ok(Self { temporary, path, replaced })
    }

    /// The file as it grows.
    pub(crate) fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// Makes it durable and gives it its name.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { temporary, path, replaced } = self;
        temporary.as_file().sync_all().map_err(ImgError::io("write", &path))?;
        // Windows replaces no file that is open.
        let force = replaced.is_some();
        if cfg!(windows) {
            drop(replaced);
        }
        let named = if force { temporary.persist(&path) } else { temporary.persist_noclobber(&path) };
        match named {
            Ok(_) => {}
            Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => return Err(ImgError::Exists(path)),
            Err(e) => return Err(ImgError::Io { what: "create", path, source: e.error }),
        }
        #[cfg(unix)]
        if let Some(dir) = path.parent() {
            let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
            // The name must be on the disk too; a folder that cannot be synced has file systems of its own mind.
            let _best_effort = File::open(dir).and_then(|d| d.sync_all());
        }
        Ok(())
    }
}
