//! Writes and searches cpio archives in the `newc` format that Linux takes as an initramfs (kernel documentation, `driver-api/early-userspace/
//! buffer-format.rst`). Left out: hard links, device nodes, checksums.

const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

/// An archive under construction.
#[derive(Debug, Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder.
    pub fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER | 0o755, &[]);
    }

    /// Adds a file that everyone may run.
    pub fn program(&mut self, name: &str, data: &[u8]) {
        self.entry(name, FILE | 0o755, data);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, target: &str) {
        self.entry(name, LINK | 0o777, target.as_bytes());
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entries = u32::MAX;
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.entries = self.entries.wrapping_add(1);
        let links = if mode & FOLDER == FOLDER { 2 } else { 1 };
        // c_magic, then ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        let fields = [self.entries, mode, 0, 0, links, 0, data.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The contents of a file in an archive.
pub fn find<'a>(archive: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut at = 0usize;
    loop {
        let header = archive.get(at..at.checked_add(110)?)?;
        let field =
            |n: usize| usize::from_str_radix(std::str::from_utf8(&header[6 + 8 * n..14 + 8 * n]).ok()?, 16).ok();
        let (size, length) = (field(6)?, field(11)?);
        let found = archive.get(at + 110..(at + 110).checked_add(length.checked_sub(1)?)?)?;
        let start = (at + 110 + length).next_multiple_of(4);
        let data = archive.get(start..start.checked_add(size)?)?;
        match found.strip_prefix(b"./").unwrap_or(found) {
            b"TRAILER!!!" => return None,
            this if this == name.as_bytes() => return Some(data),
            _ => at = (start + size).next_multiple_of(4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_byte_for_byte() {
        let mut archive = Cpio::new();
        archive.program("init", b"hello");
        let bytes = archive.finish();
        let head = "07070100000001000081ED000000000000000000000001000000000000000500000000000000000000000000000000\
                    0000000500000000init\0";
        assert_eq!(&bytes[..head.len()], head.as_bytes());
        // 110 bytes of header and 5 of name, padded to 116; 5 bytes of data, padded to 124.
        assert_eq!(&bytes[116..124], b"hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert!(bytes[124..].windows(10).any(|part| part == b"TRAILER!!!"));
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn files_are_found_again() {
        let mut archive = Cpio::new();
        archive.folder("a");
        archive.program("./a/one", b"first");
        archive.program("two", b"");
        let bytes = archive.finish();
        assert_eq!(find(&bytes, "a/one"), Some(&b"first"[..]));
        assert_eq!(find(&bytes, "two"), Some(&b""[..]));
        assert_eq!(find(&bytes, "three"), None);
        assert!((0..bytes.len()).all(|end| find(&bytes[..end], "three").is_none()));
    }
}
