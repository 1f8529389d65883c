//! The contents of the fw_cfg device: numbered items and the file directory (QEMU's docs/specs/fw_cfg).

use std::collections::BTreeMap;
use std::sync::Arc;

/// Item numbers of the fw_cfg specification.
#[allow(missing_docs)]
pub mod key {
    pub const SIGNATURE: u16 = 0x00;
    pub const ID: u16 = 0x01;
    pub const UUID: u16 = 0x02;
    pub const RAM_SIZE: u16 = 0x03;
    pub const NOGRAPHIC: u16 = 0x04;
    pub const NB_CPUS: u16 = 0x05;
    pub const KERNEL_SIZE: u16 = 0x08;
    pub const INITRD_SIZE: u16 = 0x0B;
    pub const BOOT_MENU: u16 = 0x0E;
    pub const MAX_CPUS: u16 = 0x0F;
    pub const KERNEL_DATA: u16 = 0x11;
    pub const INITRD_DATA: u16 = 0x12;
    pub const CMDLINE_SIZE: u16 = 0x14;
    pub const CMDLINE_DATA: u16 = 0x15;
    pub const SETUP_SIZE: u16 = 0x17;
    pub const SETUP_DATA: u16 = 0x18;
    pub const FILE_DIR: u16 = 0x19;
    pub const FILE_FIRST: u16 = 0x20;
}

/// Longest file name, with its terminating zero.
const NAME_SIZE: usize = 56;

/// All items; reading one beyond its end gives zeros.
#[derive(Clone, Default)]
pub struct FwCfgItems {
    items: BTreeMap<u16, Arc<[u8]>>,
    files: Vec<(String, u16)>,
}

impl FwCfgItems {
    /// Items that every machine has: signature, interface version with DMA, empty directory.
    pub fn new() -> Self {
        let mut s = Self::default();
        s.add(key::SIGNATURE, b"QEMU".to_vec());
        s.add(key::ID, 3u32.to_le_bytes().to_vec());
        s.directory();
        s
    }

    /// Sets a numbered item.
    pub fn add(&mut self, key: u16, data: Vec<u8>) {
        self.items.insert(key, data.into());
    }

    /// Sets an item pair: bytes that item `from` has, and their number.
    pub fn add_sized(&mut self, size: u16, data: u16, from: u16) {
        if let Some(bytes) = self.items.get(&from).cloned() {
            self.add(size, u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec());
            self.items.insert(data, bytes);
        }
    }

    /// Adds or replaces a file; returns its item number.
    ///
    /// # Panics
    /// For a name of 56 bytes or more, or when all 0x3FE0 numbers are used (host-side errors).
    pub fn add_file(&mut self, name: &str, data: Vec<u8>) -> u16 {
        assert!(name.len() < NAME_SIZE, "fw_cfg file name too long: {name}");
        let key = self.file_key(name).unwrap_or_else(|| {
            let key = key::FILE_FIRST + u16::try_from(self.files.len()).unwrap_or(u16::MAX).min(0x3FDF);
            self.files.push((name.into(), key));
            key
        });
        self.items.insert(key, data.into());
        self.directory();
        key
    }

    /// The item number of a file.
    pub fn file_key(&self, name: &str) -> Option<u16> {
        self.files.iter().find(|f| f.0 == name).map(|f| f.1)
    }

    /// The bytes of an item.
    pub fn get(&self, key: u16) -> Option<&Arc<[u8]>> {
        self.items.get(&key)
    }

    /// Names, numbers and sizes of the files.
    pub fn files(&self) -> impl Iterator<Item = (&str, u16, usize)> {
        self.files.iter().map(|(n, k)| (n.as_str(), *k, self.items.get(k).map_or(0, |d| d.len())))
    }

    fn directory(&mut self) {
        let mut sorted: Vec<_> = self.files().map(|(n, k, len)| (n.to_string(), k, len)).collect();
        sorted.sort();
        let mut dir = (sorted.len() as u32).to_be_bytes().to_vec();
        for (name, key, len) in sorted {
            dir.extend((len as u32).to_be_bytes());
            dir.extend(key.to_be_bytes());
            dir.extend([0, 0]);
            let mut field = [0; NAME_SIZE];
            field[..name.len()].copy_from_slice(name.as_bytes());
            dir.extend(field);
        }
        self.add(key::FILE_DIR, dir);
    }
}

/// Type of an e820 entry: usable RAM.
pub const E820_RAM: u32 = 1;
/// Type of an e820 entry: reserved.
pub const E820_RESERVED: u32 = 2;

/// The file `etc/e820`: 20-byte entries (address, length, type).
pub fn e820(entries: &[(u64, u64, u32)]) -> Vec<u8> {
    entries
        .iter()
        .flat_map(|(start, len, kind)| {
            start.to_le_bytes().into_iter().chain(len.to_le_bytes()).chain(kind.to_le_bytes())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_sorted_and_big_endian() {
        let mut f = FwCfgItems::new();
        let b = f.add_file("etc/b", vec![1; 300]);
        f.add_file("etc/a", vec![2]);
        assert_eq!(f.add_file("etc/b", vec![1; 2]), b, "replaced in place");
        let dir = f.get(key::FILE_DIR).unwrap();
        assert_eq!(dir[..4], 2u32.to_be_bytes());
        assert_eq!(&dir[12..17], b"etc/a");
        assert_eq!(dir[4 + 64..4 + 68], 2u32.to_be_bytes());
        assert_eq!(dir[4 + 68..4 + 70], 0x20u16.to_be_bytes());
    }
}
