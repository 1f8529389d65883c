//! What IDENTIFY DEVICE and IDENTIFY PACKET DEVICE say.
//!
//! ATA/ATAPI-7 (T13 1532D volume 1), sections 6.17 and 6.18; word 169 from ACS-2 (TRIM).

use super::channel::DriveState;
use super::{CdromConfig, DiskConfig, Geometry};

/// Sectors that 28-bit addresses reach.
const LBA28_MAX: u64 = 0x0FFF_FFFF;

/// Commands that a SATA disk takes at once.
const QUEUE_DEPTH: u16 = 32;
/// Generations 1 and 2.
const SATA_SPEEDS: u16 = 0x06;

struct Words([u16; 256]);

impl Words {
    fn set(&mut self, at: usize, value: u16) {
        self.0[at] = value;
    }

    /// Two characters a word, the first one in the high byte, filled with spaces.
    fn text(&mut self, at: usize, words: usize, text: &str) {
        let mut bytes = text.bytes().map(|b| if (0x20..0x7F).contains(&b) { b } else { b'?' });
        for word in &mut self.0[at..at + words] {
            *word = u16::from(bytes.next().unwrap_or(b' ')) << 8 | u16::from(bytes.next().unwrap_or(b' '));
        }
    }

    fn long(&mut self, at: usize, words: usize, value: u64) {
        for i in 0..words {
            self.0[at + i] = (value >> (16 * i)) as u16;
        }
    }

    /// The bytes, with the integrity word (255) set.
    fn finish(self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.0.iter().flat_map(|w| w.to_le_bytes()).collect();
        bytes[510] = 0xA5;
        let sum = bytes[..511].iter().fold(0u8, |s, b| s.wrapping_add(*b));
        bytes[511] = sum.wrapping_neg();
        bytes
    }
}

/// Words 63 and 88: modes 0-2 and 0-5, and the one that is selected.
fn dma_modes(mode: u8) -> (u16, u16) {
    let bit = |kind: u8| if mode & 0xF8 == kind { 0x100u16 << (mode & 7) } else { 0 };
    (0x07 | bit(0x20), 0x3F | bit(0x40))
}

/// 512 bytes of IDENTIFY DEVICE.
pub(super) fn disk(c: &DiskConfig, geometry: Geometry, s: &DriveState, sata: bool) -> Vec<u8> {
    let sectors = c.queue.backend().size() / 512;
    let mut w = Words([0; 256]);
    w.set(0, 0x0040);
    w.set(1, geometry.cylinders);
    w.set(3, geometry.heads.into());
    w.set(6, geometry.sectors.into());
    w.text(10, 10, &c.serial);
    w.text(23, 4, &c.firmware);
    w.text(27, 20, &c.model);
    w.set(47, 0x8000 | 16);
    w.set(49, 0x0F00); // IORDY, may be disabled, LBA, DMA
    w.set(50, 0x4000);
    w.set(51, 0x0200);
    w.set(52, 0x0200);
    w.set(53, 0x0007);
    let per_cylinder = u32::from(s.heads) * u32::from(s.sectors);
    let cylinders = sectors.checked_div(per_cylinder.into()).unwrap_or(0).min(0xFFFF) as u16;
    let cylinders =
        if (s.heads, s.sectors) == (geometry.heads, geometry.sectors) { geometry.cylinders } else { cylinders };
    w.set(54, cylinders);
    w.set(55, s.heads.into());
    w.set(56, s.sectors.into());
    w.long(57, 2, u64::from(cylinders) * u64::from(per_cylinder));
    w.set(59, if s.multiple == 0 { 0 } else { 0x100 | u16::from(s.multiple) });
    w.long(60, 2, sectors.min(LBA28_MAX));
    let (multiword, ultra) = dma_modes(s.dma_mode);
    w.set(63, multiword);
    w.set(64, 0x0003);
    for at in 65..=68 {
        w.set(at, 120);
    }
    w.set(80, 0x00F0); // ATA/ATAPI-4 to -7
    w.set(81, 0x001A);
    let cache = u16::from(c.write_cache) << 5;
    w.set(82, 1 << 14 | 1 << 13 | 1 << 12 | 1 << 6 | cache | 1 << 3 | 1);
    w.set(83, 1 << 14 | 1 << 13 | 1 << 12 | 1 << 10);
    let world_wide = u16::from(c.wwn.is_some()) << 8;
    w.set(84, 1 << 14 | 1 << 6 | world_wide);
    let cache = u16::from(s.write_cache) << 5;
    w.set(85, 1 << 14 | 1 << 13 | 1 << 12 | u16::from(s.look_ahead) << 6 | cache | 1 << 3 | u16::from(s.smart));
    w.set(86, 1 << 13 | 1 << 12 | 1 << 10);
    w.set(87, 1 << 14 | 1 << 6 | world_wide);
    w.set(88, ultra);
    w.set(93, 0x6001);
    w.long(100, 4, sectors);
    if sata {
        serial_ata(&mut w);
        w.set(75, QUEUE_DEPTH - 1);
        w.set(76, 1 << 8 | SATA_SPEEDS);
        w.set(84, 1 << 14 | 1 << 6 | 1 << 5 | world_wide); // general purpose logging
        w.set(87, 1 << 14 | 1 << 6 | 1 << 5 | world_wide);
    }
    if let Some(wwn) = c.wwn {
        for i in 0..4 {
            w.set(108 + i, (wwn >> (48 - 16 * i)) as u16);
        }
    }
    if c.trim {
        w.set(105, 8);
        w.set(169, 1);
    }
    w.finish()
}

/// 512 bytes of IDENTIFY PACKET DEVICE.
pub(super) fn cdrom(c: &CdromConfig, s: &DriveState, sata: bool) -> Vec<u8> {
    let mut w = Words([0; 256]);
    w.set(0, 0x85C0); // packet device, CD-ROM, removable, DRQ within 50 us, 12-byte packets
    w.text(10, 10, &c.serial);
    w.text(23, 4, &c.firmware);
    w.text(27, 20, &c.model);
    w.set(49, 0x0F00);
    w.set(51, 0x0200);
    w.set(53, 0x0006);
    let (multiword, ultra) = dma_modes(s.dma_mode);
    w.set(63, multiword);
    w.set(64, 0x0003);
    for at in 65..=68 {
        w.set(at, 120);
    }
    w.set(80, 0x00F0);
    w.set(81, 0x001A);
    w.set(82, 1 << 14 | 1 << 9 | 1 << 4 | 1 << 3);
    w.set(83, 1 << 14);
    w.set(84, 1 << 14);
    w.set(85, 1 << 14 | 1 << 9 | 1 << 4 | 1 << 3);
    w.set(87, 1 << 14);
    w.set(88, ultra);
    w.set(93, 0x6001);
    if sata {
        serial_ata(&mut w);
    }
    w.finish()
}

/// What a drive on a serial cable says otherwise (ATA8-ACS 7.16; Serial ATA 2.6, 13.2.1).
fn serial_ata(w: &mut Words) {
    w.set(76, SATA_SPEEDS);
    w.set(93, 0);
}
