//! The SCSI commands of a disk with 512-byte blocks.
//!
//! SPC-3 (INQUIRY 6.4 and vital product data 7.6, REQUEST SENSE 6.27, MODE SENSE 6.9 and pages 7.4, REPORT LUNS 6.21) and
//! SBC-2 (READ, WRITE, READ CAPACITY, VERIFY, SYNCHRONIZE CACHE, START STOP UNIT). VERIFY checks the range, not the
//! medium. Left out: WRITE SAME, UNMAP, reservations, format.

use serde::{Deserialize, Serialize};

/// Bytes of a block.
pub(super) const BLOCK: u64 = 512;

/// Sense key, additional sense code and qualifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sense {
    key: u8,
    code: u8,
    qualifier: u8,
}

impl Sense {
    pub(super) const NONE: Self = Self::new(0, 0, 0);
    pub(super) const NOT_READY: Self = Self::new(2, 0x04, 2);
    pub(super) const READ_ERROR: Self = Self::new(3, 0x11, 0);
    pub(super) const WRITE_ERROR: Self = Self::new(3, 0x0C, 0);
    pub(super) const BAD_COMMAND: Self = Self::new(5, 0x20, 0);
    pub(super) const OUT_OF_RANGE: Self = Self::new(5, 0x21, 0);
    pub(super) const BAD_FIELD: Self = Self::new(5, 0x24, 0);
    pub(super) const BAD_LUN: Self = Self::new(5, 0x25, 0);
    pub(super) const WRITE_PROTECTED: Self = Self::new(7, 0x27, 0);

    const fn new(key: u8, code: u8, qualifier: u8) -> Self {
        Self { key, code, qualifier }
    }

    fn fixed_format(self) -> Vec<u8> {
        let mut d = vec![0; 18];
        d[0] = 0x70;
        d[2] = self.key;
        d[7] = 10;
        d[12] = self.code;
        d[13] = self.qualifier;
        d
    }
}

/// What the commands tell of.
pub(super) struct Disk {
    pub(super) blocks: u64,
    pub(super) readonly: bool,
    pub(super) removable: bool,
    pub(super) write_cache: bool,
    pub(super) serial: String,
}

/// What a command needs to be done. Ranges are inside the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    None,
    Data(Vec<u8>),
    Read { offset: u64, len: u64 },
    Write { offset: u64, len: u64 },
    Flush,
}

/// The logical unit's own state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) sense: Sense,
    /// START STOP UNIT has stopped it.
    stopped: bool,
}

fn be16(c: &[u8; 16], at: usize) -> u64 {
    u64::from(u16::from_be_bytes([c[at], c[at + 1]]))
}

fn be32(c: &[u8; 16], at: usize) -> u64 {
    be16(c, at) << 16 | be16(c, at + 2)
}

fn be64(c: &[u8; 16], at: usize) -> u64 {
    be32(c, at) << 32 | be32(c, at + 4)
}

/// First block and number of blocks of a READ, WRITE or VERIFY.
fn range(c: &[u8; 16]) -> (u64, u64) {
    match c[0] >> 5 {
        0 => {
            let count = if c[4] == 0 { 256 } else { u64::from(c[4]) };
            (be32(c, 0) & 0x1F_FFFF, count)
        }
        1 => (be32(c, 2), be16(c, 7)),
        5 => (be32(c, 2), be32(c, 6)),
        _ => (be64(c, 2), be32(c, 10)),
    }
}

impl Target {
    /// Decodes a command for `lun`.
    pub(super) fn command(&mut self, disk: &Disk, lun: u8, c: &[u8; 16]) -> Result<Action, Sense> {
        let sense = std::mem::replace(&mut self.sense, Sense::NONE);
        // INQUIRY, REQUEST SENSE and REPORT LUNS answer for any unit.
        match c[0] {
            0x03 => {
                let sense = if lun == 0 { sense } else { Sense::BAD_LUN };
                return Ok(limited(sense.fixed_format(), u64::from(c[4])));
            }
            0x12 => return inquiry(disk, lun, c),
            0xA0 => {
                let mut d = vec![0; 16];
                d[3] = 8;
                return Ok(limited(d, be32(c, 6)));
            }
            _ if lun != 0 => return Err(Sense::BAD_LUN),
            _ => {}
        }
        match c[0] {
            0x1B => {
                let start = c[4] & 1 != 0;
                self.stopped = !start;
                return Ok(if start { Action::None } else { Action::Flush });
            }
            0x1E => return Ok(Action::None), // PREVENT ALLOW MEDIUM REMOVAL
            0x1A | 0x5A => return mode_sense(disk, c),
            _ if self.stopped => return Err(Sense::NOT_READY),
            _ => {}
        }
        match c[0] {
            0x00 => Ok(Action::None),
            0x25 => {
                let last = u32::try_from(disk.blocks.saturating_sub(1)).unwrap_or(u32::MAX);
                Ok(Action::Data([last.to_be_bytes(), (BLOCK as u32).to_be_bytes()].concat()))
            }
            0x9E if c[1] & 0x1F == 0x10 => {
                let mut d = disk.blocks.saturating_sub(1).to_be_bytes().to_vec();
                d.extend((BLOCK as u32).to_be_bytes());
                d.resize(32, 0);
                Ok(limited(d, be32(c, 10)))
            }
            0x23 => {
                // READ FORMAT CAPACITIES (MMC): one descriptor, formatted medium
                let mut d = vec![0, 0, 0, 8];
                d.extend(u32::try_from(disk.blocks).unwrap_or(u32::MAX).to_be_bytes());
                d.extend((BLOCK as u32 | 2 << 24).to_be_bytes());
                Ok(limited(d, be16(c, 7)))
            }
            0x08 | 0x28 | 0xA8 | 0x88 => {
                let (offset, len) = self.bytes(disk, c)?;
                Ok(if len == 0 { Action::None } else { Action::Read { offset, len } })
            }
            0x0A | 0x2A | 0xAA | 0x8A if disk.readonly => Err(Sense::WRITE_PROTECTED),
            0x0A | 0x2A | 0xAA | 0x8A => {
                let (offset, len) = self.bytes(disk, c)?;
                Ok(if len == 0 { Action::None } else { Action::Write { offset, len } })
            }
            0x2F | 0xAF | 0x8F if c[1] & 6 != 0 => Err(Sense::BAD_FIELD), // comparing is not offered
            0x2F | 0xAF | 0x8F => self.bytes(disk, c).map(|_| Action::None),
            0x35 | 0x91 if disk.readonly => Ok(Action::None),
            0x35 | 0x91 => Ok(Action::Flush),
            _ => Err(Sense::BAD_COMMAND),
        }
    }

    fn bytes(&self, disk: &Disk, c: &[u8; 16]) -> Result<(u64, u64), Sense> {
        let (first, count) = range(c);
        match first.checked_add(count) {
            Some(end) if end <= disk.blocks => Ok((first * BLOCK, count * BLOCK)),
            _ => Err(Sense::OUT_OF_RANGE),
        }
    }
}

fn limited(mut data: Vec<u8>, most: u64) -> Action {
    data.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    Action::Data(data)
}

fn inquiry(disk: &Disk, lun: u8, c: &[u8; 16]) -> Result<Action, Sense> {
    let kind = if lun == 0 { 0 } else { 0x7F }; // direct access, or no such unit
    let most = be16(c, 3);
    if c[1] & 1 != 0 {
        let serial: Vec<u8> = disk.serial.bytes().filter(u8::is_ascii_graphic).take(32).collect();
        let body = match c[2] {
            0x00 => vec![0x00, 0x80, 0x83],
            0x80 => serial,
            0x83 => [&[2, 1, 0, 8 + serial.len() as u8], b"QEMU    ".as_slice(), &serial].concat(),
            _ => return Err(Sense::BAD_FIELD),
        };
        return Ok(limited([&[kind, c[2], 0, body.len() as u8], body.as_slice()].concat(), most));
    }
    if c[2] != 0 {
        return Err(Sense::BAD_FIELD);
    }
    let removable = if disk.removable { 0x80 } else { 0 };
    let mut d = vec![kind, removable, 5, 2, 31, 0, 0, 0];
    d.extend(b"QEMU    QEMU HARDDISK   1.0 ");
    Ok(limited(d, most))
}

fn mode_sense(disk: &Disk, c: &[u8; 16]) -> Result<Action, Sense> {
    let changeable = c[2] >> 6 == 1;
    let caching = || {
        let mut p = vec![0x08, 0x12];
        p.resize(20, 0);
        p[2] = if disk.write_cache && !changeable { 4 } else { 0 };
        p
    };
    let geometry = || {
        // Rigid disk geometry with 255 heads of 63 sectors, as firmware translates it.
        let mut p = vec![0x04, 0x16];
        p.resize(24, 0);
        if !changeable {
            let cylinders = u32::try_from(disk.blocks / (255 * 63)).unwrap_or(u32::MAX).min(0xFF_FFFF);
            p[2..5].copy_from_slice(&cylinders.to_be_bytes()[1..]);
            p[5] = 255;
            p[20..22].copy_from_slice(&5400u16.to_be_bytes());
        }
        p
    };
    let pages = match c[2] & 0x3F {
        0x04 => geometry(),
        0x08 => caching(),
        0x3F => [geometry(), caching()].concat(),
        0x00 => vec![],
        _ => return Err(Sense::BAD_FIELD),
    };
    let protect = if disk.readonly { 0x80 } else { 0 };
    if c[0] == 0x1A {
        let d = [&[3 + pages.len() as u8, 0, protect, 0], pages.as_slice()].concat();
        return Ok(limited(d, u64::from(c[4])));
    }
    let d = [&[0, 6 + pages.len() as u8, 0, protect, 0, 0, 0, 0], pages.as_slice()].concat();
    Ok(limited(d, be16(c, 7)))
}
