//! Images opened and put behind IDE drives.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use block::{BlockConfig, BlockQueue, CacheMode};
use cli::Media;
use devices::ide::{CdromConfig, DiskConfig, DriveConfig};
use vm_core::lock;

use crate::MachineError;
use crate::nodes::BlockNodes;
use crate::plan::{DrivePlan, Plan};

/// A drive as the monitor knows it.
pub struct DriveInfo {
    /// Name ("ide0-hd0").
    pub id: String,
    /// IDE channel and unit (master 0, slave 1), or SATA controller and port; `None` for a drive elsewhere.
    pub ide: Option<(u8, u8)>,
    /// The medium can be changed (CD-ROM drives).
    pub removable: bool,
    /// Cache mode.
    pub cache: CacheMode,
    /// The block node that it is made of.
    pub node: Option<String>,
    /// `id=` of its device.
    pub device: Option<String>,
    /// `serial=`.
    pub(crate) serial: Option<String>,
    medium: Mutex<Medium>,
}

/// What is in a drive; all `None` for an empty CD-ROM drive.
#[derive(Clone, Default)]
pub struct Medium {
    /// The image.
    pub file: Option<PathBuf>,
    /// The queue that its device submits to.
    pub queue: Option<Arc<BlockQueue>>,
}

impl DriveInfo {
    /// What is in it now.
    pub fn medium(&self) -> Medium {
        lock(&self.medium).clone()
    }

    /// The node name of its image, made from the drive's name as QEMU makes one up.
    pub fn node_name(&self) -> String {
        self.node.clone().unwrap_or_else(|| format!("#block-{}", self.id))
    }

    /// The node name of the file below [`DriveInfo::node_name`], when the drive was given as `-drive`.
    pub fn file_node_name(&self) -> Option<String> {
        self.node.is_none().then(|| format!("#file-{}", self.id))
    }

    pub(crate) fn set_medium(&self, file: Option<PathBuf>, queue: Option<Arc<BlockQueue>>) {
        let old = std::mem::replace(&mut *lock(&self.medium), Medium { file, queue });
        drop(old); // with the lock open: the last user of a queue waits for its worker
    }
}

/// Drives by their places: channel (or controller) and unit (or port).
pub(crate) type Drives = BTreeMap<(u8, u8), DriveConfig>;

/// What is open: the drives, and the nodes of `-blockdev`.
pub(crate) struct Opened {
    pub(crate) drives: Vec<DriveInfo>,
    pub(crate) nodes: BlockNodes,
}

/// Opens the images of the plan.
pub(crate) fn open(plan: &Plan) -> Result<(Drives, Opened), MachineError> {
    let nodes = BlockNodes::open(&plan.nodes).map_err(|e| MachineError::Config(format!("-blockdev: {e}")))?;
    let mut configs = Drives::new();
    let mut infos = Vec::new();
    for d in &plan.drives {
        let (config, info) = open_one(plan, &nodes, d)?;
        configs.insert((d.channel, d.unit), config);
        infos.push(info);
    }
    for drive in &plan.other_drives {
        let (cache, queue) = open_queue(plan, &nodes, drive)?;
        infos.push(info(drive, None, cache, queue.as_ref()));
    }
    Ok((configs, Opened { drives: infos, nodes }))
}

fn open_one(plan: &Plan, nodes: &BlockNodes, d: &DrivePlan) -> Result<(DriveConfig, DriveInfo), MachineError> {
    let drive = &d.drive;
    let (cache, queue) = open_queue(plan, nodes, drive)?;
    let info = info(drive, Some((d.channel, d.unit)), cache, queue.as_ref());
    let number = plan.drive_number(d);
    let config = match (drive.media, queue) {
        (Media::Disk, Some(queue)) => {
            let mut disk = DiskConfig::new(queue, number);
            disk.write_cache = cache.write_cache();
            disk.trim = drive.discard;
            if let Some(serial) = &drive.serial {
                disk.serial.clone_from(serial);
            }
            DriveConfig::Disk(disk)
        }
        (_, queue) => {
            let mut cd = CdromConfig::new(queue, number);
            if let Some(serial) = &drive.serial {
                cd.serial.clone_from(serial);
            }
            DriveConfig::Cdrom(cd)
        }
    };
    Ok((config, info))
}

/// What the monitor shows of a drive.
fn info(drive: &cli::Drive, ide: Option<(u8, u8)>, cache: CacheMode, queue: Option<&Arc<BlockQueue>>) -> DriveInfo {
    DriveInfo {
        id: drive.device.as_ref().filter(|_| drive.node.is_some()).unwrap_or(&drive.id).clone(),
        node: drive.node.clone(),
        device: drive.device.clone(),
        ide,
        removable: ide.is_some() && drive.media == Media::Cdrom,
        cache,
        serial: drive.serial.clone(),
        medium: Mutex::new(Medium { file: drive.file.clone(), queue: queue.cloned() }),
    }
}

/// Opens a drive's image; no queue for an empty CD drive.
fn open_queue(
    plan: &Plan,
    nodes: &BlockNodes,
    drive: &cli::Drive,
) -> Result<(CacheMode, Option<Arc<BlockQueue>>), MachineError> {
    if let Some(node) = &drive.node {
        let taken = nodes.take(node).map_err(|e| MachineError::Config(format!("drive={node}: {e}")));
        return taken.map(|(cache, queue)| (cache, Some(queue)));
    }
    let error = |source| MachineError::Drive { option: drive.typed.clone(), source };
    let cache: CacheMode = match drive.cache {
        Some(text) => text.parse().map_err(|e: String| MachineError::Config(format!("{}: {e}", drive.typed)))?,
        None => CacheMode::default(),
    };
    let queue = match &drive.file {
        None => None,
        Some(path) => {
            let mut config = BlockConfig::new(path);
            config.format = match &drive.format {
                Some(f) => {
                    Some(f.parse().map_err(|e| MachineError::Config(format!("{}: format={f}: {e}", drive.typed)))?)
                }
                None if drive.media == Media::Cdrom => Some(block::Format::Raw),
                None => None,
            };
            config.readonly = drive.readonly;
            config.snapshot = drive.snapshot.unwrap_or(plan.snapshot && !drive.readonly);
            config.cache = cache;
            config.discard = drive.discard;
            let backend = block::open(&config).map_err(error)?;
            Some(BlockQueue::new(&drive.id, backend).map_err(MachineError::Thread)?)
        }
    };
    Ok((cache, queue))
}
