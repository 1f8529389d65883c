//! A read-only FAT file system, as far as finding \EFI\BOOT\*.EFI needs: 8.3 names, no long ones.
//!
//! Microsoft's "FAT: General Overview of On-Disk Format" 1.03 (fatgen103). Everything is bounded by the number of clusters that the
//! boot sector and the disk allow; a file system that makes no sense has no files.

use super::disk::{Disk, le16, le32};

/// The most entries of a directory that are looked at.
const MAX_ENTRIES: usize = 65536;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fat12,
    Fat16,
    Fat32,
}

/// Where a directory is.
#[derive(Clone, Copy)]
enum Place {
    /// FAT12 and FAT16: offset and bytes of the root directory.
    Fixed(u64, u64),
    /// Its first cluster.
    Cluster(u32),
}

/// See the module's documentation.
pub(super) struct Fat<'a> {
    disk: &'a Disk,
    kind: Kind,
    fat_at: u64,
    data_at: u64,
    cluster: u64,
    clusters: u32,
    root: Place,
}

impl<'a> Fat<'a> {
    /// The file system that starts at byte `start`, if there is one.
    pub(super) fn open(disk: &'a Disk, start: u64) -> Option<Self> {
        let b = disk.bytes(start, 512)?;
        if b.get(510..) != Some(&[0x55, 0xAA]) {
            return None;
        }
        let sector = u64::from(le16(&b, 11)?);
        let per_cluster = u64::from(*b.get(13)?);
        let (reserved, fats, root_entries) =
            (u64::from(le16(&b, 14)?), u64::from(*b.get(16)?), u64::from(le16(&b, 17)?));
        let either = |small: u16, large: u32| u64::from(if small != 0 { u32::from(small) } else { large });
        let total = either(le16(&b, 19)?, le32(&b, 32)?);
        let fat_size = either(le16(&b, 22)?, le32(&b, 36)?);
        if !matches!(sector, 512 | 1024 | 2048 | 4096)
            || !per_cluster.is_power_of_two()
            || reserved == 0
            || !matches!(fats, 1 | 2)
        {
            return None;
        }
        let root_sectors = (root_entries * 32).div_ceil(sector);
        let first_data = reserved + fats * fat_size + root_sectors;
        let clusters = u32::try_from(total.checked_sub(first_data)? / per_cluster).ok()?;
        let kind = match clusters {
            0..4085 => Kind::Fat12,
            4085..65525 => Kind::Fat16,
            _ => Kind::Fat32,
        };
        let root_at = start.checked_add((reserved + fats * fat_size) * sector)?;
        let root = match kind {
            Kind::Fat32 => Place::Cluster(le32(&b, 44)?),
            _ => Place::Fixed(root_at, root_entries * 32),
        };
        let fat_at = start.checked_add(reserved * sector)?;
        let data_at = start.checked_add(first_data * sector)?;
        Some(Self { disk, kind, fat_at, data_at, cluster: per_cluster * sector, clusters, root })
    }

    /// The cluster after `cluster`; `None` at the end of the chain, or where it makes no sense.
    fn next(&self, cluster: u32) -> Option<u32> {
        let n = u64::from(cluster);
        let value = match self.kind {
            Kind::Fat12 => {
                let two = le16(&self.disk.bytes(self.fat_at + n + n / 2, 2)?, 0)?;
                u32::from(if cluster % 2 == 1 { two >> 4 } else { two & 0xFFF })
            }
            Kind::Fat16 => u32::from(le16(&self.disk.bytes(self.fat_at + 2 * n, 2)?, 0)?),
            Kind::Fat32 => le32(&self.disk.bytes(self.fat_at + 4 * n, 4)?, 0)? & 0x0FFF_FFFF,
        };
        self.valid(value).then_some(value)
    }

    fn valid(&self, cluster: u32) -> bool {
        cluster >= 2 && cluster - 2 < self.clusters
    }

    fn at(&self, cluster: u32) -> u64 {
        self.data_at + u64::from(cluster - 2) * self.cluster
    }

    /// First cluster and size of an entry of a directory; `name` as on the disk: `BOOTX64 EFI`.
    fn find(&self, place: Place, name: &[u8; 11], directory: bool) -> Option<(u32, u32)> {
        let mut left = MAX_ENTRIES;
        let mut look = |bytes: &[u8]| -> Option<Option<(u32, u32)>> {
            for entry in bytes.as_chunks::<32>().0 {
                left = left.checked_sub(1).filter(|_| entry[0] != 0)?;
                let attributes = entry[11];
                // Volume labels and parts of long names are no files.
                if attributes & 0x08 != 0 || (attributes & 0x10 != 0) != directory || entry[..11] != name[..] {
                    continue;
                }
                let high = if self.kind == Kind::Fat32 { u32::from(le16(entry, 20)?) << 16 } else { 0 };
                return Some(Some((high | u32::from(le16(entry, 26)?), le32(entry, 28)?)));
            }
            Some(None)
        };
        match place {
            Place::Fixed(at, len) => look(&self.disk.bytes(at, len.min(MAX_ENTRIES as u64 * 32) as usize)?)?,
            Place::Cluster(first) => {
                let mut cluster = Some(first).filter(|c| self.valid(*c));
                for _ in 0..self.clusters.min(MAX_ENTRIES as u32) {
                    let here = cluster?;
                    let bytes = self.disk.bytes(self.at(here), self.cluster as usize)?;
                    if let Some(found) = look(&bytes)? {
                        return Some(found);
                    }
                    cluster = self.next(here);
                }
                None
            }
        }
    }

    /// The first bytes, at most 4096, of a file in \EFI\BOOT.
    pub(super) fn boot_file(&self, name: &[u8; 11]) -> Option<Vec<u8>> {
        let efi = self.find(self.root, b"EFI        ", true)?.0;
        let boot = self.find(Place::Cluster(efi), b"BOOT       ", true)?.0;
        let (first, size) = self.find(Place::Cluster(boot), name, false)?;
        let len = u64::from(size).min(4096).min(self.cluster);
        if !self.valid(first) {
            return None;
        }
        self.disk.bytes(self.at(first), len as usize)
    }
}
