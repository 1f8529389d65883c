//! Removable media: what the monitor's `eject` and `change` do, and the tray that `info block` shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use block::{BlockConfig, BlockQueue, Format};
use vm_core::lock;

use crate::{DriveInfo, MachineHandle};

/// Why a medium could not be changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are named in the messages
pub enum MediaError {
    /// No drive has that name.
    #[error("Device '{0}' not found")]
    NotFound(String),
    /// It is a disk.
    #[error("Device '{0}' is not removable")]
    NotRemovable(String),
    /// The guest has locked the tray.
    #[error("Device '{0}' is locked and force was not specified, wait for tray to open and try again")]
    Locked(String),
    /// The new image cannot be opened.
    #[error("Could not open '{}': {source}", path.display())]
    Open { path: PathBuf, source: block::BlockError },
    /// The host has no thread for it.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl MachineHandle {
    /// The drive called `id`.
    ///
    /// # Errors
    /// [`MediaError::NotFound`].
    pub fn drive(&self, id: &str) -> Result<&DriveInfo, MediaError> {
        self.drives().iter().find(|d| d.id == id).ok_or_else(|| MediaError::NotFound(id.into()))
    }

    /// Whether the guest has locked the tray of a CD-ROM drive, and whether the tray is open; `None` for disks.
    pub fn tray(&self, drive: &DriveInfo) -> Option<(bool, bool)> {
        let (channel, unit) = self.ide_channel(drive)?;
        drive.removable.then(|| lock(channel).tray(unit)).flatten()
    }

    /// Takes the medium out of a drive; of one that the guest has locked only with `force`.
    ///
    /// # Errors
    /// [`MediaError`].
    pub fn eject(&self, id: &str, force: bool) -> Result<(), MediaError> {
        self.set_medium(id, force, None)
    }

    /// Puts the image `path` into a CD-ROM drive in place of what is there.
    ///
    /// # Errors
    /// [`MediaError`]; the old medium stays then.
    pub fn change_medium(&self, id: &str, path: &Path, format: Option<Format>, force: bool) -> Result<(), MediaError> {
        let drive = self.drive(id)?;
        if !drive.removable {
            return Err(MediaError::NotRemovable(id.into()));
        }
        let mut config = BlockConfig::new(path);
        config.format = Some(format.unwrap_or(Format::Raw));
        config.readonly = true;
        let backend = block::open(&config).map_err(|source| MediaError::Open { path: path.into(), source })?;
        let queue = BlockQueue::new(id, backend).map_err(MediaError::Thread)?;
        self.set_medium(id, force, Some((path.into(), queue)))
    }

    fn set_medium(&self, id: &str, force: bool, new: Option<(PathBuf, Arc<BlockQueue>)>) -> Result<(), MediaError> {
        let drive = self.drive(id)?;
        let channel = self.ide_channel(drive).filter(|_| drive.removable);
        let (channel, unit) = channel.ok_or_else(|| MediaError::NotRemovable(id.into()))?;
        let (file, queue) = new.unzip();
        let mut guard = lock(channel);
        let (locked, open) = guard.tray(unit).unwrap_or_default();
        if locked && !open && !force {
            return Err(MediaError::Locked(id.into()));
        }
        let old = guard.change_medium(unit, queue.clone());
        drop(guard);
        // Dropped here, with the channel unlocked: it waits for its worker, which may want the channel.
        let Ok(_old) = old else { return Err(MediaError::NotRemovable(id.into())) };
        drive.set_medium(file, queue);
        Ok(())
    }
}
