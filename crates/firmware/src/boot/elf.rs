//! As much of ELF (System V ABI, gABI 4.1) as loading a kernel needs: little-endian, 32 and 64 bits, x86.

/// A segment to load.
pub(super) struct Segment<'a> {
    /// Physical address.
    pub(super) address: u64,
    /// Size in memory; what `data` does not cover is zero.
    pub(super) size: u64,
    /// Bytes from the file.
    pub(super) data: &'a [u8],
}

/// A parsed image.
pub(super) struct Elf<'a> {
    pub(super) entry: u64,
    pub(super) is_64: bool,
    pub(super) segments: Vec<Segment<'a>>,
    notes: Vec<&'a [u8]>,
}

pub(super) fn is_elf(image: &[u8]) -> bool {
    image.starts_with(b"\x7FELF")
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&self, at: u64, len: u64) -> Option<&'a [u8]> {
        let end = at.checked_add(len)?;
        self.0.get(usize::try_from(at).ok()?..usize::try_from(end).ok()?)
    }
    fn u16(&self, at: u64) -> Option<u64> {
        Some(u16::from_le_bytes(self.bytes(at, 2)?.try_into().ok()?).into())
    }
    fn u32(&self, at: u64) -> Option<u64> {
        Some(u32::from_le_bytes(self.bytes(at, 4)?.try_into().ok()?).into())
    }
    fn u64(&self, at: u64) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(at, 8)?.try_into().ok()?))
    }
}

const PT_LOAD: u64 = 1;
const PT_NOTE: u64 = 4;

/// Parses `image`; the error says what is wrong.
pub(super) fn parse(image: &[u8]) -> Result<Elf<'_>, String> {
    let truncated = || "truncated ELF image".to_string();
    let r = Reader(image);
    let ident = r.bytes(0, 16).ok_or_else(truncated)?;
    let is_64 = match (ident[4], ident[5]) {
        (1, 1) => false,
        (2, 1) => true,
        _ => return Err("not a little-endian ELF image".into()),
    };
    let machine = r.u16(18).ok_or_else(truncated)?;
    if !matches!(machine, 3 | 62) {
        return Err(format!("ELF machine {machine} is not x86"));
    }
    parse_segments(&r, is_64).ok_or_else(truncated)
}

fn parse_segments<'a>(r: &Reader<'a>, is_64: bool) -> Option<Elf<'a>> {
    let (entry, table, entry_size, count) = if is_64 {
        (r.u64(24)?, r.u64(32)?, r.u16(54)?, r.u16(56)?)
    } else {
        (r.u32(24)?, r.u32(28)?, r.u16(42)?, r.u16(44)?)
    };
    let mut elf = Elf { entry, is_64, segments: vec![], notes: vec![] };
    for n in 0..count {
        let at = table.checked_add(n * entry_size)?;
        let kind = r.u32(at)?;
        let (offset, address, file_size, size) = if is_64 {
            (r.u64(at + 8)?, r.u64(at + 24)?, r.u64(at + 32)?, r.u64(at + 40)?)
        } else {
            (r.u32(at + 4)?, r.u32(at + 12)?, r.u32(at + 16)?, r.u32(at + 20)?)
        };
        match kind {
            PT_LOAD if size > 0 => {
                let data = r.bytes(offset, file_size.min(size))?;
                elf.segments.push(Segment { address, size, data });
            }
            PT_NOTE => elf.notes.push(r.bytes(offset, file_size)?),
            _ => {}
        }
    }
    Some(elf)
}

impl Elf<'_> {
    /// The descriptor of the note (`owner`, `kind`).
    pub(super) fn note(&self, owner: &[u8], kind: u32) -> Option<&[u8]> {
        self.notes.iter().find_map(|section| {
            let r = Reader(section);
            let mut at = 0u64;
            loop {
                let (name_len, len, this) = (r.u32(at)?, r.u32(at + 4)?, r.u32(at + 8)?);
                let name = r.bytes(at + 12, name_len)?;
                let start = at + 12 + name_len.next_multiple_of(4);
                if this == u64::from(kind) && name.strip_suffix(b"\0").unwrap_or(name) == owner {
                    return r.bytes(start, len);
                }
                at = start + len.next_multiple_of(4);
            }
        })
    }

    /// One contiguous image of all segments: (address, bytes).
    ///
    /// # Errors
    /// When they do not fit below `end`.
    pub(super) fn flatten(&self, end: u64) -> Result<(u64, Vec<u8>), String> {
        let low = self.segments.iter().map(|s| s.address).min().ok_or("nothing to load")?;
        let high = self.segments.iter().map(|s| s.address.saturating_add(s.size)).max().unwrap_or(low);
        if low < 0x10_0000 {
            return Err(format!("loads at {low:#x}, below 1 MiB, where the firmware is"));
        }
        if high > end {
            return Err(format!("needs RAM up to {high:#x}, there is RAM for it up to {end:#x}; give more with -m"));
        }
        let mut bytes = vec![0; (high - low) as usize];
        for s in &self.segments {
            let at = (s.address - low) as usize;
            bytes[at..at + s.data.len()].copy_from_slice(s.data);
        }
        Ok((low, bytes))
    }
}
