//! The qcow2 header, read and judged before imago sees the file.
//!
//! QEMU's docs/interop/qcow2: header, header extensions. imago ignores `crypt_method` (it would write plaintext into
//! an encrypted image), so what it must not open is refused here, with what to do.

use std::path::Path;

use crate::{BlockError, Format};

/// What the rest of the crate wants to know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) backing: Option<String>,
    pub(crate) backing_format: Option<Format>,
}

pub(crate) const MAGIC: [u8; 4] = *b"QFI\xFB";
/// Incompatible features.
pub(crate) const DIRTY: u64 = 1;
pub(crate) const CORRUPT: u64 = 2;
pub(crate) const EXTERNAL_DATA: u64 = 4;
pub(crate) const COMPRESSION: u64 = 8;
pub(crate) const EXTENDED_L2: u64 = 16;
/// The header extension with the backing file's format.
pub(crate) const EXT_BACKING_FORMAT: u32 = 0xE279_2ACA;
/// The longest header that is looked at: the largest cluster.
pub(crate) const MAX_HEADER: u64 = 2 << 20;

/// What is said of images that nothing here can use.
pub(crate) const ENCRYPTED: &str = "encrypted qcow2 images are not supported; decrypt it with qemu-img convert first";
pub(crate) const HAS_EXTERNAL_DATA: &str =
    "external data files are not supported; convert it with qemu-img convert -O qcow2";
pub(crate) const HAS_ZSTD: &str =
    "zstd compression is not supported; convert it with qemu-img convert -O qcow2 -o compression_type=zlib";
pub(crate) const HAS_EXTENDED_L2: &str =
    "extended L2 entries are not supported; convert it with qemu-img convert -O qcow2 -o extended_l2=off";

/// The big-endian word at `at`; `None` past the end.
pub(crate) fn be32(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(b.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// The same of 8 bytes.
pub(crate) fn be64(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(b.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// Judges the header in `b` (the file's first bytes, at most [`MAX_HEADER`]) of a file of `file_len` bytes.
pub(crate) fn parse(path: &Path, b: &[u8], file_len: u64) -> Result<Header, BlockError> {
    if b.get(..4) != Some(&MAGIC[..]) {
        let why = "it is not a qcow2 image (bad magic); leave format= out, or use the format that it has";
        return Err(BlockError::format(path, why));
    }
    read(path, b, file_len)?.ok_or_else(|| truncated(path, "the header"))
}

fn truncated(path: &Path, what: &str) -> BlockError {
    BlockError::format(path, format!("{what} is cut off: the file is truncated; copy or create it again"))
}

/// `None` when the header is cut off.
fn read(path: &Path, b: &[u8], file_len: u64) -> Result<Option<Header>, BlockError> {
    let bad = |reason: String| Err(BlockError::format(path, reason));
    let fields =
        || Some((be32(b, 4)?, be64(b, 8)?, be32(b, 16)?, be32(b, 20)?, be64(b, 24)?, be32(b, 32)?, be32(b, 36)?));
    let Some((version, backing_at, backing_len, cluster_bits, size, crypt, l1_entries)) = fields() else {
        return Ok(None);
    };
    let (Some(l1_at), Some(refcounts_at), Some(_)) = (be64(b, 40), be64(b, 48), be64(b, 64)) else { return Ok(None) };
    if !(2..=3).contains(&version) {
        return bad(format!("qcow2 version {version} is not known; versions 2 and 3 are"));
    }
    if !(9..=21).contains(&cluster_bits) {
        return bad(format!("the header is corrupt: cluster size 2^{cluster_bits}"));
    }
    if crypt != 0 {
        return bad(ENCRYPTED.into());
    }
    let mut end = 72;
    if version == 3 {
        let (Some(features), Some(len)) = (be64(b, 72), be32(b, 100)) else { return Ok(None) };
        check_features(path, features, if len > 104 { b.get(104).copied() } else { None })?;
        end = u64::from(len);
        if end < 104 || end > 1 << cluster_bits {
            return bad(format!("the header is corrupt: header length {end}"));
        }
    }
    let l1_needed = size.div_ceil(1 << (2 * cluster_bits - 3)); // a cluster of 8-byte entries maps clusters
    if u64::from(l1_entries) > (32 << 20) / 8 || u64::from(l1_entries) < l1_needed {
        return bad(format!("the header is corrupt: {l1_entries} L1 entries for a disk of {size} bytes"));
    }
    let l1_end = l1_at.checked_add(u64::from(l1_entries) * 8);
    if l1_end.is_none_or(|e| e > file_len) || refcounts_at >= file_len {
        return Err(truncated(path, "the cluster map"));
    }
    let backing = match backing_at {
        0 => None,
        at => Some(backing_name(path, b, at, backing_len, 1 << cluster_bits)?),
    };
    let backing_format = if backing.is_some() { backing_format(path, b, end)? } else { None };
    Ok(Some(Header { backing, backing_format }))
}

fn check_features(path: &Path, features: u64, compression: Option<u8>) -> Result<(), BlockError> {
    let refuse = |reason: &str| Err(BlockError::format(path, reason));
    if features & CORRUPT != 0 {
        return refuse("it is marked corrupt; repair it with `whpx img check -r all`");
    }
    if features & DIRTY != 0 {
        return refuse("it was not closed cleanly with lazy refcounts on; repair it with `whpx img check -r all`");
    }
    if features & EXTERNAL_DATA != 0 {
        return refuse(HAS_EXTERNAL_DATA);
    }
    if features & COMPRESSION != 0 || compression.is_some_and(|c| c != 0) {
        return refuse(HAS_ZSTD);
    }
    if features & EXTENDED_L2 != 0 {
        return refuse(HAS_EXTENDED_L2);
    }
    if features != 0 {
        return Err(BlockError::format(
            path,
            format!("it uses unknown incompatible features {features:#x}; convert it with qemu-img convert"),
        ));
    }
    Ok(())
}

fn backing_name(path: &Path, b: &[u8], at: u64, len: u32, cluster: u64) -> Result<String, BlockError> {
    let range = usize::try_from(at).ok().and_then(|a| Some((a, a.checked_add(len as usize)?)));
    let bytes = range.filter(|r| len <= 1023 && r.1 as u64 <= cluster).and_then(|r| b.get(r.0..r.1));
    let bytes = bytes.ok_or_else(|| BlockError::format(path, "the header is corrupt: backing file name"))?;
    String::from_utf8(bytes.into()).map_err(|_| BlockError::format(path, "the backing file name is not UTF-8"))
}

fn backing_format(path: &Path, b: &[u8], mut at: u64) -> Result<Option<Format>, BlockError> {
    loop {
        let here = usize::try_from(at).unwrap_or(usize::MAX - 8);
        let (Some(kind), Some(len)) = (be32(b, here), be32(b, here.saturating_add(4))) else { return Ok(None) };
        let data = here.checked_add(8).and_then(|s| b.get(s..s.checked_add(len as usize)?));
        match (kind, data) {
            (0, _) | (_, None) => return Ok(None),
            (EXT_BACKING_FORMAT, Some(name)) => {
                let name = String::from_utf8_lossy(name);
                return name.parse().map(Some).map_err(|e| BlockError::format(path, format!("backing {e}")));
            }
            _ => at += 8 + u64::from(len).next_multiple_of(8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v3() -> Vec<u8> {
        let mut b = vec![0; 65536];
        b[..4].copy_from_slice(&MAGIC);
        b[7] = 3;
        b[23] = 16;
        b[24..32].copy_from_slice(&(1u64 << 30).to_be_bytes());
        b[36..40].copy_from_slice(&2u32.to_be_bytes());
        b[40..48].copy_from_slice(&0x30000u64.to_be_bytes());
        b[48..56].copy_from_slice(&0x10000u64.to_be_bytes());
        b[100..104].copy_from_slice(&104u32.to_be_bytes());
        b
    }

    fn reason(b: &[u8]) -> String {
        parse(Path::new("x.qcow2"), b, 0x40000).unwrap_err().to_string()
    }

    #[test]
    fn a_good_header_with_a_backing_file() {
        let mut b = v3();
        b[104..112].copy_from_slice(&[0xE2, 0x79, 0x2A, 0xCA, 0, 0, 0, 3]);
        b[112..115].copy_from_slice(b"raw");
        b[8..16].copy_from_slice(&512u64.to_be_bytes());
        b[16..20].copy_from_slice(&4u32.to_be_bytes());
        b[512..516].copy_from_slice(b"base");
        let h = parse(Path::new("x"), &b, 0x40000).unwrap();
        assert_eq!(h, Header { backing: Some("base".into()), backing_format: Some(Format::Raw) });
    }

    #[test]
    fn what_is_refused() {
        let with = |at: usize, value: u8| {
            let mut b = v3();
            b[at] = value;
            reason(&b)
        };
        assert!(with(35, 2).contains("encrypted"));
        assert!(with(79, 1).contains("whpx img check"));
        assert!(with(79, 2).contains("corrupt"));
        assert!(with(79, 4).contains("external data"));
        assert!(with(79, 8).contains("zstd"));
        assert!(with(79, 16).contains("extended L2"));
        assert!(with(75, 1).contains("unknown incompatible"));
        assert!(with(23, 22).contains("cluster size"));
        assert!(with(7, 4).contains("version 4"));
        assert!(with(0, 0).contains("bad magic"));
        assert!(with(36, 0xFF).contains("L1"));
        assert!(with(42, 0xFF).contains("truncated"));
        assert!(reason(&v3()[..90]).contains("truncated"));
        assert!(reason(&v3()[..5]).contains("truncated"));
    }

    #[test]
    fn no_header_panics() {
        let mut b = v3();
        for at in 4..120 {
            for value in [0, 1, 0x7F, 0xFF] {
                let old = std::mem::replace(&mut b[at], value);
                let _ = parse(Path::new("x"), &b, 0x40000);
                b[at] = old;
            }
        }
    }
}
