//! The two IDE channels of the PC with ATA disks and ATAPI CD-ROM drives. The drives serve SATA ports too ([`crate::ahci`]).
//!
//! ATA/ATAPI-6 and -7 (T13 1410D, 1532D): registers (section 7), protocols (section 9), commands (section 8); Intel
//! 82371SB data sheet for the PCI function and the bus master. Transfers run on the drive's [`block::BlockQueue`]:
//! the channel is BSY until the worker calls back, locks the channel, moves the data and raises the interrupt.
//! Left out: overlapped and queued commands, the security, HPA (beyond READ NATIVE MAX) and power-up-in-standby
//! feature sets, SMART self tests, CFA; timing registers have no effect; the legacy ports answer always, whatever
//! the I/O enable and IDETIM bits say.

pub(crate) mod ata;
pub(crate) mod bus_master;
pub(crate) mod channel;
mod geometry;
mod identify;
mod mmc;
mod packet;
mod pci;
pub(crate) mod scatter;

#[cfg(test)]
pub(crate) mod test_bench;
#[cfg(test)]
mod tests_ata;
#[cfg(test)]
mod tests_atapi;

pub use bus_master::BusMasterPorts;
pub use channel::{ControlPort, DriveBus, IdeChannel, TrayHook};
pub use geometry::{Geometry, Translation};
pub use pci::{Ide, IdeWiring, Piix3Ide};

use std::sync::Arc;

use block::BlockQueue;

/// A hard disk (`-device ide-hd`).
#[derive(Clone)]
pub struct DiskConfig {
    /// The image.
    pub queue: Arc<BlockQueue>,
    /// `model=`, at most 40 characters.
    pub model: String,
    /// `serial=`, at most 20 characters.
    pub serial: String,
    /// `ver=`, at most 8 characters.
    pub firmware: String,
    /// `wwn=`.
    pub wwn: Option<u64>,
    /// `cyls=,heads=,secs=`; by the size when absent.
    pub geometry: Option<Geometry>,
    /// A volatile write cache is announced and on (every cache mode but writethrough and directsync).
    pub write_cache: bool,
    /// DATA SET MANAGEMENT (TRIM) is announced (`discard=unmap`).
    pub trim: bool,
}

impl DiskConfig {
    /// A disk with the defaults; `unit` (0 to 3) makes the serial number.
    pub fn new(queue: Arc<BlockQueue>, unit: usize) -> Self {
        Self {
            queue,
            model: "WHPX HARDDISK".into(),
            serial: format!("WH{:05}", unit + 1),
            firmware: "1.0".into(),
            wwn: None,
            geometry: None,
            write_cache: true,
            trim: false,
        }
    }
}

/// A CD-ROM drive (`-device ide-cd`).
#[derive(Clone)]
pub struct CdromConfig {
    /// The disc; `None` for an empty drive.
    pub queue: Option<Arc<BlockQueue>>,
    /// `model=`, at most 40 characters (16 in INQUIRY).
    pub model: String,
    /// `serial=`, at most 20 characters.
    pub serial: String,
    /// `ver=`, at most 8 characters (4 in INQUIRY).
    pub firmware: String,
}

impl CdromConfig {
    /// A drive with the defaults; `unit` (0 to 3) makes the serial number.
    pub fn new(queue: Option<Arc<BlockQueue>>, unit: usize) -> Self {
        let serial = format!("WH{:05}", unit + 1);
        Self { queue, model: "WHPX DVD-ROM".into(), serial, firmware: "1.0".into() }
    }
}

/// What is on a channel's connector.
#[derive(Clone)]
pub enum DriveConfig {
    /// A hard disk.
    Disk(DiskConfig),
    /// A CD-ROM drive.
    Cdrom(CdromConfig),
}
