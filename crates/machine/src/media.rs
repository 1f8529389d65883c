//! Removable media: what the monitor's `eject` and `change` and QMP's `blockdev-...` commands do, and the tray that
//! `info block` shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use block::{BlockConfig, BlockQueue, Format};
use vm_core::lock;

use crate::{DriveInfo, MachineEvent, MachineHandle, NodeError};

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
    /// A medium can be put in and taken out with the tray open only.
    #[error("Tray of device '{0}' is not open")]
    TrayClosed(String),
    /// There is a medium.
    #[error("There already is a medium in device '{0}'")]
    Occupied(String),
    /// The node cannot be its medium.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The host has no thread for it.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl DriveInfo {
    /// Its tray moved.
    pub(crate) fn tray_moved(&self, open: bool) -> MachineEvent {
        // A drive that is made of a node has only its device's name.
        let drive = if self.node.is_some() { String::new() } else { self.id.clone() };
        MachineEvent::TrayMoved { drive, device: self.device.clone().unwrap_or_else(|| self.id.clone()), open }
    }
}

impl MachineHandle {
    /// The drive called `id`, or else that of the device called so.
    ///
    /// # Errors
    /// [`MediaError::NotFound`].
    pub fn drive(&self, id: &str) -> Result<&DriveInfo, MediaError> {
        let device = || self.drives().iter().find(|d| d.device.as_deref() == Some(id));
        self.drives().iter().find(|d| d.id == id).or_else(device).ok_or_else(|| MediaError::NotFound(id.into()))
    }

    /// Whether the guest has locked the tray of a CD-ROM drive, and whether the tray is open; `None` for disks.
    pub fn tray(&self, drive: &DriveInfo) -> Option<(bool, bool)> {
        let (channel, unit) = self.ide_channel(drive)?;
        drive.removable.then(|| lock(channel).tray(unit)).flatten()
    }

    /// Takes the medium out of a drive and leaves the tray open; of a drive that the guest has locked only with
    /// `force`.
    ///
    /// # Errors
    /// [`MediaError`].
    pub fn eject(&self, id: &str, force: bool) -> Result<(), MediaError> {
        self.open_tray(id, force)?;
        self.replace(id, None)
    }

    /// Puts the image `path` into a CD-ROM drive in place of what is there.
    ///
    /// # Errors
    /// [`MediaError`]; the old medium stays then.
    pub fn change_medium(&self, id: &str, path: &Path, format: Option<Format>, force: bool) -> Result<(), MediaError> {
        self.removable(id)?;
        let mut config = BlockConfig::new(path);
        config.format = Some(format.unwrap_or(Format::Raw));
        config.readonly = true;
        let backend = block::open(&config).map_err(|source| MediaError::Open { path: path.into(), source })?;
        let queue = BlockQueue::new(id, backend).map_err(MediaError::Thread)?;
        self.open_tray(id, force)?;
        self.replace(id, Some((path.into(), queue)))?;
        self.close_tray(id)
    }

    /// Puts what `blockdev-add` has opened into an empty drive whose tray is open.
    ///
    /// # Errors
    /// [`MediaError`].
    pub fn insert_medium(&self, id: &str, node: &str) -> Result<(), MediaError> {
        self.check_tray_open(id)?;
        if self.drive(id)?.medium().queue.is_some() {
            return Err(MediaError::Occupied(id.into()));
        }
        let file = self.node(node)?.file;
        let (_, queue) = self.take_node(node)?;
        self.replace(id, Some((file, queue)))
    }

    /// Takes the medium out of a drive whose tray is open.
    ///
    /// # Errors
    /// [`MediaError`].
    pub fn remove_medium(&self, id: &str) -> Result<(), MediaError> {
        self.check_tray_open(id)?;
        self.replace(id, None)
    }

    /// Opens the tray of a drive; of one that the guest has locked only with `force`.
    ///
    /// # Errors
    /// [`MediaError`].
    pub fn open_tray(&self, id: &str, force: bool) -> Result<(), MediaError> {
        let (locked, open) = self.removable(id)?;
        if locked && !open && !force {
            return Err(MediaError::Locked(id.into()));
        }
        self.move_tray(id, true)
    }

    /// Closes the tray of a drive.
    ///
    /// # Errors
    /// [`MediaError`].
    pub fn close_tray(&self, id: &str) -> Result<(), MediaError> {
        self.removable(id)?;
        self.move_tray(id, false)
    }

    /// Locked and open of a drive with a tray.
    fn removable(&self, id: &str) -> Result<(bool, bool), MediaError> {
        self.tray(self.drive(id)?).ok_or_else(|| MediaError::NotRemovable(id.into()))
    }

    fn check_tray_open(&self, id: &str) -> Result<(), MediaError> {
        let (_, open) = self.removable(id)?;
        if open { Ok(()) } else { Err(MediaError::TrayClosed(id.into())) }
    }

    fn move_tray(&self, id: &str, open: bool) -> Result<(), MediaError> {
        let none = || MediaError::NotRemovable(id.into());
        let drive = self.drive(id)?;
        let (channel, unit) = self.ide_channel(drive).ok_or_else(none)?;
        let moved = lock(channel).move_tray(unit, open).ok_or_else(none)?;
        if moved {
            self.events().emit(&drive.tray_moved(open));
        }
        Ok(())
    }

    /// Another disc, or none; the tray stays where it is.
    fn replace(&self, id: &str, new: Option<(PathBuf, Arc<BlockQueue>)>) -> Result<(), MediaError> {
        let drive = self.drive(id)?;
        let none = || MediaError::NotRemovable(id.into());
        let (channel, unit) = self.ide_channel(drive).filter(|_| drive.removable).ok_or_else(none)?;
        let (file, queue) = new.unzip();
        let mut guard = lock(channel);
        let open = guard.tray(unit).is_some_and(|t| t.1);
        let old = guard.change_medium(unit, queue.clone());
        guard.move_tray(unit, open);
        drop(guard);
        // Dropped here, with the channel unlocked: it waits for its worker, which may want the channel.
        let Ok(_old) = old else { return Err(none()) };
        drive.set_medium(file, queue);
        Ok(())
    }
}
