//! What a disk boots with: read from its first sectors, its partitions, and the boot catalog of a CD.
//!
//! Sources: the PC's master boot record, UEFI specification 2.10 (5.2 MBR, 5.3 GPT, 3.5.1.1 removable media), ECMA-119 and the
//! El Torito specification 1.0 with UEFI's platform ID (13.3.2.1), PE/COFF header. Nothing of it is trusted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use block::{BlockBackend, BlockConfig, Format};

use super::fat::Fat;

/// A machine that an EFI program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cpu {
    X64,
    Arm64,
    /// Another one, with PE/COFF's number.
    Other(u16),
}

/// What was found on a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// It is a CD image.
    pub(super) cd: bool,
    /// A PC's BIOS starts it, and why that is thought.
    pub(super) bios: Option<&'static str>,
    /// There is an EFI system partition (or a CD's image of one).
    pub(super) esp: bool,
    /// Machines of the programs in \EFI\BOOT.
    pub(super) efi: Vec<Cpu>,
    /// Nothing at all is on it, as far as was looked.
    pub(super) empty: bool,
}

/// A disk for looking at.
pub(super) struct Disk {
    backend: Arc<dyn BlockBackend>,
    /// raw, qcow2, ...
    pub(super) format: &'static str,
}

pub(super) fn le16(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn le32(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

fn le64(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(b.get(at..at + 8)?.try_into().ok()?))
}

/// Type of an EFI system partition in a GPT: C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
const GPT_ESP: [u8; 16] =
    [0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B];
/// Type of a BIOS boot partition, which GRUB uses: 21686148-6449-6E6F-744E-656564454649.
const GPT_BIOS_BOOT: [u8; 16] = *b"Hah!IdontNeedEFI";
/// GPT attribute: a BIOS may boot it.
const LEGACY_BOOTABLE: u64 = 4;
const MBR_ESP: u8 = 0xEF;
const MBR_PROTECTIVE: u8 = 0xEE;
const CD_SECTOR: u64 = 2048;
/// Names in \EFI\BOOT.
const EFI_NAMES: [&[u8; 11]; 4] = [b"BOOTX64 EFI", b"BOOTAA64EFI", b"BOOTIA32EFI", b"BOOTARM EFI"];

impl Disk {
    /// Opens an image for reading.
    pub(super) fn open(path: &Path, format: Option<Format>) -> Result<Self, String> {
        let config = BlockConfig { format, readonly: true, ..BlockConfig::new(PathBuf::from(path)) };
        let backend = block::open(&config).map_err(|e| e.to_string())?;
        Ok(Self { format: backend.format(), backend })
    }

    #[cfg(test)]
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { backend: block::MemoryDisk::new(bytes, true), format: "raw" }
    }

    /// `len` bytes (not many) at `at`; `None` where there is no disk.
    pub(super) fn bytes(&self, at: u64, len: usize) -> Option<Vec<u8>> {
        if at.checked_add(len as u64).is_none_or(|end| end > self.backend.size()) {
            return None;
        }
        let mut data = vec![0; len];
        self.backend.read_at(at, &mut data).ok()?;
        Some(data)
    }

    /// Looks at it.
    pub(super) fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        if self.bytes(16 * CD_SECTOR + 1, 5).as_deref() == Some(b"CD001") {
            facts.cd = true;
            let _no_catalog = self.el_torito(&mut facts);
            return facts;
        }
        let Some(first) = self.bytes(0, 512) else {
            facts.empty = true;
            return facts;
        };
        // Some file systems begin later than the first sector.
        let start = self.bytes(0, 128 << 10).unwrap_or_else(|| first.clone());
        facts.empty = start.iter().all(|b| *b == 0);
        if first.get(510..) != Some(&[0x55, 0xAA]) {
            return facts;
        }
        let code = first.iter().take(440).any(|b| *b != 0);
        if let Some(fat) = Fat::open(self, 0) {
            self.programs(&fat, &mut facts);
            facts.esp = !facts.efi.is_empty();
            facts.bios = (!facts.esp && code).then_some("the boot sector of a FAT disk");
            return facts;
        }
        let entries: Vec<&[u8]> = first[446..510].chunks(16).collect();
        let active = entries.iter().any(|e| e[0] == 0x80);
        if entries.iter().any(|e| e[4] == MBR_PROTECTIVE) {
            let _no_table = self.gpt(&mut facts, code, active);
            return facts;
        }
        for entry in entries.iter().filter(|e| e[4] == MBR_ESP) {
            facts.esp = true;
            if let Some(fat) = le32(entry, 8).and_then(|lba| Fat::open(self, u64::from(lba) * 512)) {
                self.programs(&fat, &mut facts);
            }
        }
        let grub = first.windows(4).any(|w| w == b"GRUB");
        facts.bios = match (code, active, facts.esp) {
            (false, ..) => None,
            _ if grub => Some("GRUB in the master boot record"),
            (_, true, _) => Some("boot code and an active partition in the master boot record"),
            (_, false, true) => None,
            _ => Some("boot code in the master boot record"),
        };
        facts
    }

    fn gpt(&self, facts: &mut Facts, code: bool, active: bool) -> Option<()> {
        let header = self.bytes(512, 512)?;
        if !header.starts_with(b"EFI PART") {
            return None;
        }
        let table = le64(&header, 72)?.checked_mul(512)?;
        let (count, size) = (le32(&header, 80)?.min(1024), u64::from(le32(&header, 84)?));
        if !(128..=4096).contains(&size) {
            return None;
        }
        let (mut bios_boot, mut legacy) = (false, false);
        for i in 0..u64::from(count) {
            let entry = self.bytes(table.checked_add(i * size)?, 128)?;
            legacy |= entry.get(..16) != Some(&[0; 16]) && le64(&entry, 48)? & LEGACY_BOOTABLE != 0;
            bios_boot |= entry.get(..16) == Some(&GPT_BIOS_BOOT);
            if entry.get(..16) == Some(&GPT_ESP) {
                facts.esp = true;
                if let Some(fat) = le64(&entry, 32)?.checked_mul(512).and_then(|at| Fat::open(self, at)) {
                    self.programs(&fat, facts);
                }
            }
        }
        facts.bios = match code {
            false => None,
            true if bios_boot => Some("boot code and a BIOS boot partition"),
            true if legacy => Some("boot code and a partition with the attribute for BIOS boot"),
            true if active => Some("boot code and an active protective partition"),
            true if !facts.esp => Some("boot code, and no EFI system partition"),
            true => None,
        };
        Some(())
    }

    fn programs(&self, fat: &Fat<'_>, facts: &mut Facts) {
        for name in EFI_NAMES {
            let cpu = fat.boot_file(name).as_deref().and_then(pe_machine);
            facts.efi.extend(cpu.filter(|c| !facts.efi.contains(c)));
        }
    }

    fn el_torito(&self, facts: &mut Facts) -> Option<()> {
        let descriptors = (16..48).map_while(|s| self.bytes(s * CD_SECTOR, CD_SECTOR as usize));
        let mut descriptors = descriptors.take_while(|d| d.get(1..6) == Some(b"CD001") && d[0] != 255);
        let record = descriptors.find(|d| d[0] == 0 && d[7..].starts_with(b"EL TORITO SPECIFICATION"))?;
        let catalog = self.bytes(u64::from(le32(&record, 0x47)?) * CD_SECTOR, CD_SECTOR as usize)?;
        let mut entries = catalog.chunks(32);
        let validation = entries.next()?;
        if validation[0] != 1 || validation.get(30..) != Some(&[0x55, 0xAA]) {
            return None;
        }
        // The first entry is of the validation entry's platform; section headers say the others'.
        let mut platform = validation[1];
        for entry in entries {
            match entry[0] {
                0x90 | 0x91 => platform = entry[1],
                0x88 if platform == 0xEF => {
                    facts.esp = true;
                    if let Some(fat) = Fat::open(self, u64::from(le32(entry, 8)?) * CD_SECTOR) {
                        self.programs(&fat, facts);
                    }
                }
                0x88 if platform == 0 => facts.bios = Some("a boot image for BIOS on the CD"),
                _ => {}
            }
        }
        Some(())
    }
}

/// The machine of a PE program that begins with these bytes.
fn pe_machine(b: &[u8]) -> Option<Cpu> {
    let pe = usize::try_from(le32(b, 0x3C).filter(|_| b.starts_with(b"MZ"))?).ok()?;
    if b.get(pe..pe.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    Some(match le16(b, pe + 4)? {
        0x8664 => Cpu::X64,
        0xAA64 => Cpu::Arm64,
        other => Cpu::Other(other),
    })
}
