//! A bootable raw disk: an MBR partition table with one partition, and GRUB's `boot.img` and `core.img` before it.
//!
//! From GRUB's manual ("BIOS installation"): `boot.img` is the 512 byte MBR; it loads one sector, whose number is the 64-bit word
//! at 0x5c (1 as shipped). That is the first sector of `core.img`, whose own block list (last 12 bytes of the sector: 64-bit start,
//! 16-bit count, 16-bit segment) names the rest, as shipped from sector 2 on. Written to sectors 1 and up, `core.img` thus needs no change;
//! both fields are checked here. The MBR's partition table is at 446, its signature 0x55aa at 510.

use anyhow::{Context, Result, bail, ensure};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// First sector of the partition: 1 MiB, which leaves the gap for GRUB.
pub const START: u64 = 2048;

/// Makes the MBR of a disk with one active Linux partition that takes everything from [`START`] to `sectors`.
pub fn mbr(boot_img: &[u8], sectors: u64) -> Result<[u8; 512]> {
    ensure!(boot_img.len() == 512, "GRUB's boot.img is not 512 bytes long");
    ensure!(u64_at(boot_img, 0x5c) == Some(1), "GRUB's boot.img does not load sector 1");
    let length = u32::try_from(sectors.saturating_sub(START)).context("the disk is too large for an MBR")?;
    ensure!(length > 0, "the disk is too small for a partition");
    let mut mbr = [0_u8; 512];
    mbr[..440].copy_from_slice(&boot_img[..440]);
    // Disk signature: any number that is not zero.
    mbr[440..444].copy_from_slice(b"whpx");
    // Active, CHS out of range (the addresses that count are the LBA ones), type 0x83 (Linux).
    mbr[446..454].copy_from_slice(&[0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff]);
    mbr[454..458].copy_from_slice(&(START as u32).to_le_bytes());
    mbr[458..462].copy_from_slice(&length.to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    Ok(mbr)
}

/// Checks that GRUB's core image may be written to sector 1 as it is.
pub fn check_core(core: &[u8]) -> Result<()> {
    let sectors = (core.len() as u64).div_ceil(SECTOR);
    ensure!((2..START).contains(&sectors), "GRUB's core image has {sectors} sectors: it does not fit the gap");
    ensure!(u64_at(core, 500) == Some(2), "GRUB's core image does not continue in sector 2");
    let count = core.get(508..510).map(|bytes| u64::from(bytes[0]) | u64::from(bytes[1]) << 8);
    ensure!(count == Some(sectors - 1), "GRUB's core image names {count:?} sectors of {}", sectors - 1);
    Ok(())
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// Writes the disk: MBR, core image, and the file system image as the partition, holes kept.
pub fn write(disk: &Path, boot_img: &[u8], core: &[u8], file_system: &Path) -> Result<()> {
    check_core(core)?;
    let mut source = File::open(file_system).with_context(|| format!("cannot open {}", file_system.display()))?;
    let length = source.metadata().context("cannot get the file system's size")?.len();
    let sectors = START + length.div_ceil(SECTOR);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(disk)
        .with_context(|| format!("cannot create {}", disk.display()))?;
    file.set_len(sectors * SECTOR).context("cannot set the disk's size")?;
    file.write_all(&mbr(boot_img, sectors)?).context("cannot write the MBR")?;
    file.write_all(core).context("cannot write GRUB's core image")?;
    copy_sparse(&mut source, &mut file, START * SECTOR)?;
    file.sync_all().context("cannot flush the disk image")
}

fn copy_sparse(source: &mut File, file: &mut File, mut at: u64) -> Result<()> {
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        let length = match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => bail!("cannot read the file system image: {error}"),
        };
        if buffer[..length].iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start(at)).context("cannot seek in the disk image")?;
            file.write_all(&buffer[..length]).context("cannot write the disk image")?;
        }
        at += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot_img() -> Vec<u8> {
        let mut boot = vec![0x90; 512];
        boot[0x5c..0x64].copy_from_slice(&1_u64.to_le_bytes());
        boot
    }

    #[test]
    fn partition_entry() {
        let mbr = mbr(&boot_img(), 4096).unwrap();
        assert_eq!(mbr[446], 0x80);
        assert_eq!(mbr[450], 0x83);
        assert_eq!(&mbr[454..462], &[0, 8, 0, 0, 0, 8, 0, 0]);
        assert_eq!(&mbr[510..], &[0x55, 0xaa]);
        assert_eq!(mbr[439], 0x90);
    }

    #[test]
    fn refuses_what_would_not_boot() {
        assert!(mbr(&[0; 512], 4096).is_err());
        assert!(mbr(&boot_img(), 2048).is_err());
        assert!(mbr(&boot_img(), 1 << 40).is_err());
        assert!(check_core(&[0; 4096]).is_err());
        let mut core = vec![0; 1024 + 10];
        core[500] = 2;
        core[508] = 2;
        assert!(check_core(&core).is_ok());
        core[508] = 3;
        assert!(check_core(&core).is_err());
    }
}
