//! Opening a file so that two machines do not write the same image.
//!
//! Linux: open-file-description byte locks (fcntl(2)), on the bytes that QEMU documents for its image locking
//! (docs/system/qemu-block-drivers, "Disk image file locking"; bytes 100+n: permission n is in use, 200+n: it is not
//! shared), so that its tools and we see each other. Windows: share modes. Elsewhere: whole-file advisory locks.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;

use crate::BlockError;

/// How to open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) write: bool,
    pub(crate) direct: bool,
    pub(crate) locking: bool,
}

/// A file with its locks, which end with it: a process that another thread is just starting has all descriptors of this one for a moment,
/// and the system keeps the locks of a file that is open anywhere.
#[derive(Debug)]
pub(crate) struct Locked {
    file: File,
    locking: bool,
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.file
    }
}

impl From<File> for Locked {
    /// A file without locks.
    fn from(file: File) -> Self {
        Self { file, locking: false }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if self.locking {
            imp::unlock(&self.file);
        }
    }
}

/// Opens a regular file or block device and locks it.
pub(crate) fn open_locked(path: &Path, access: Access) -> Result<Locked, BlockError> {
    let mut options = OpenOptions::new();
    options.read(true).write(access.write);
    imp::options(&mut options, access);
    // A directory opened for writing gives an error that names no directory on some hosts: look first.
    let kind = std::fs::metadata(path).map_err(|e| BlockError::open(path, &e))?;
    if kind.is_dir() {
        let reason = "it is a directory; name an image file (vvfat is not supported)".into();
        return Err(BlockError::Open { path: path.into(), reason });
    }
    let file = options.open(path).map_err(|e| imp::open_error(path, access, &e))?;
    let file = Locked { file, locking: access.locking };
    if access.locking {
        imp::lock(path, &file, access.write)?;
    }
    Ok(file)
}

/// The error of an open that cannot bypass the host's cache.
fn direct_error(path: &Path, access: Access, error: &io::Error) -> BlockError {
    if access.direct && error.kind() == io::ErrorKind::InvalidInput {
        let reason = "the file system does not support direct I/O; use cache=writeback".into();
        return BlockError::Open { path: path.into(), reason };
    }
    BlockError::open(path, error)
}

#[cfg(target_os = "linux")]
mod imp {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;

    const PERM: i64 = 100;
    const UNSHARED: i64 = 200;
    const READ: i64 = 0;
    const WRITE: i64 = 1;
    const RESIZE: i64 = 3;

    pub(super) fn options(options: &mut OpenOptions, access: Access) {
        if access.direct {
            options.custom_flags(libc::O_DIRECT);
        }
    }

    pub(super) fn open_error(path: &Path, access: Access, error: &io::Error) -> BlockError {
        direct_error(path, access, error)
    }

    fn byte(kind: i32, at: i64) -> libc::flock {
        // SAFETY: flock is plain integers; zero is valid for each.
        let mut l: libc::flock = unsafe { std::mem::zeroed() };
        l.l_type = kind as libc::c_short;
        l.l_whence = libc::SEEK_SET as libc::c_short;
        l.l_start = at;
        l.l_len = 1;
        l
    }

    /// Takes a shared lock on one byte. `false` when the file system has no locks.
    fn take(file: &File, at: i64) -> io::Result<bool> {
        let l = byte(libc::F_RDLCK, at);
        // SAFETY: the descriptor is open and `l` is a valid flock that outlives the call.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &l) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOLCK | libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS) => Ok(false),
            _ => Err(error),
        }
    }

    /// Somebody else holds a lock on the byte (locks of the same description never clash).
    fn held(file: &File, at: i64) -> bool {
        let mut l = byte(libc::F_WRLCK, at);
        // SAFETY: the descriptor is open and `l` is a valid flock that the kernel may write.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut l) == 0 && l.l_type != libc::F_UNLCK as i16 }
    }

    pub(super) fn unlock(file: &File) {
        let mut l = byte(libc::F_UNLCK, PERM);
        l.l_len = 2 * (UNSHARED - PERM);
        // SAFETY: the descriptor is open and `l` is a valid flock that outlives the call.
        let _not_held = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &l) };
    }

    pub(super) fn lock(path: &Path, file: &File, write: bool) -> Result<(), BlockError> {
        let used: &[i64] = if write { &[READ, WRITE, RESIZE] } else { &[READ] };
        let unshared = [WRITE, RESIZE];
        let mine = used.iter().map(|n| PERM + n).chain(unshared.iter().map(|n| UNSHARED + n));
        for at in mine {
            match take(file, at) {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!("{}: the file system has no file locks; the image is not protected", path.display());
                    return Ok(());
                }
                Err(_) => return Err(BlockError::Locked { path: path.into(), lock: "write" }),
            }
        }
        if unshared.iter().any(|n| held(file, PERM + n)) {
            let lock = if write { "\"write\"" } else { "shared \"write\"" };
            return Err(BlockError::Locked { path: path.into(), lock });
        }
        if used.iter().any(|n| held(file, UNSHARED + n)) {
            return Err(BlockError::Locked { path: path.into(), lock: "\"write\"" });
        }
        Ok(())
    }
}

#[cfg(windows)]
mod imp {
    use super::*;
    use std::os::windows::fs::OpenOptionsExt;

    const FILE_SHARE_READ: u32 = 1;
    const FILE_SHARE_WRITE: u32 = 2;
    const FILE_FLAG_NO_BUFFERING: u32 = 0x2000_0000;
    const ERROR_SHARING_VIOLATION: i32 = 32;

    pub(super) fn options(options: &mut OpenOptions, access: Access) {
        options.share_mode(if access.locking { FILE_SHARE_READ } else { FILE_SHARE_READ | FILE_SHARE_WRITE });
        if access.direct {
            options.custom_flags(FILE_FLAG_NO_BUFFERING);
        }
    }

    pub(super) fn open_error(path: &Path, access: Access, error: &io::Error) -> BlockError {
        if error.raw_os_error() == Some(ERROR_SHARING_VIOLATION) {
            return BlockError::Locked {
                path: path.into(),
                lock: if access.write { "\"write\"" } else { "shared \"write\"" },
            };
        }
        direct_error(path, access, error)
    }

    pub(super) fn unlock(_file: &File) {} // it ends with the handle

    pub(super) fn lock(_path: &Path, _file: &File, _write: bool) -> Result<(), BlockError> {
        Ok(()) // the share mode is the lock
    }
}

#[cfg(not(any(target_os = "linux", windows)))]
mod imp {
    use super::*;
    use std::fs::TryLockError;

    pub(super) fn options(_options: &mut OpenOptions, _access: Access) {}

    pub(super) fn open_error(path: &Path, access: Access, error: &io::Error) -> BlockError {
        direct_error(path, access, error)
    }

    pub(super) fn unlock(file: &File) {
        let _not_held = file.unlock();
    }

    pub(super) fn lock(path: &Path, file: &File, write: bool) -> Result<(), BlockError> {
        match if write { file.try_lock() } else { file.try_lock_shared() } {
            Err(TryLockError::WouldBlock) => Err(BlockError::Locked {
                path: path.into(),
                lock: if write { "\"write\"" } else { "shared \"write\"" },
            }),
            Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
        }
    }
}
