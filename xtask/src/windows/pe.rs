//! As much of a PE image as the checks need: machine, imported DLLs, exported names (Microsoft's "PE Format": COFF file header, optional
//! header's data directories, section table, `.idata`, `.edata`). Delay-loaded imports are left out: they do not stop a program from starting.

/// What is read of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `IMAGE_FILE_MACHINE_*`.
    pub machine: u16,
    /// Names of the DLLs it cannot start without.
    pub imports: Vec<String>,
    /// Exported names.
    pub exports: Vec<String>,
}

struct Reader<'a> {
    bytes: &'a [u8],
    sections: Vec<Section>,
}

struct Section {
    address: u32,
    size: u32,
    file: u32,
}

impl Image {
    /// Reads a 64-bit image; nothing if it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header = usize::try_from(u32_at(bytes, 0x3c)?).ok()?;
        if bytes.get(header..header.checked_add(4)?)? != b"PE\0\0" {
            return None;
        }
        let coff = header + 4;
        let optional = coff + 20;
        // IMAGE_NT_OPTIONAL_HDR64_MAGIC
        if u16_at(bytes, optional)? != 0x20b {
            return None;
        }
        let count = usize::from(u16_at(bytes, coff + 2)?);
        let table = optional + usize::from(u16_at(bytes, coff + 16)?);
        let sections = (0..count)
            .map(|index| {
                let at = table + index * 40;
                Some(Section {
                    address: u32_at(bytes, at + 12)?,
                    size: u32_at(bytes, at + 16)?.max(u32_at(bytes, at + 8)?),
                    file: u32_at(bytes, at + 20)?,
                })
            })
            .collect::<Option<_>>()?;
        let reader = Reader { bytes, sections };
        let (exports, imports) = (u32_at(bytes, optional + 112)?, u32_at(bytes, optional + 120)?);
        Some(Self {
            machine: u16_at(bytes, coff)?,
            imports: if imports == 0 { Vec::new() } else { reader.imports(imports)? },
            exports: if exports == 0 { Vec::new() } else { reader.exports(exports)? },
        })
    }
}

impl Reader<'_> {
    /// File offset of a relative virtual address.
    fn offset(&self, address: u32) -> Option<usize> {
        self.sections.iter().find_map(|section| {
            let inside = address.checked_sub(section.address).filter(|inside| *inside < section.size)?;
            usize::try_from(section.file.checked_add(inside)?).ok()
        })
    }

    fn text(&self, address: u32) -> Option<String> {
        let rest = self.bytes.get(self.offset(address)?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    fn imports(&self, directory: u32) -> Option<Vec<String>> {
        let mut at = self.offset(directory)?;
        let mut names = Vec::new();
        loop {
            match u32_at(self.bytes, at + 12)? {
                0 => break,
                name => names.push(self.text(name)?),
            }
            at += 20;
        }
        names.sort_unstable();
        names.dedup();
        Some(names)
    }

    fn exports(&self, directory: u32) -> Option<Vec<String>> {
        let at = self.offset(directory)?;
        let count = usize::try_from(u32_at(self.bytes, at + 24)?).ok()?;
        let names = self.offset(u32_at(self.bytes, at + 32)?)?;
        (0..count).map(|index| self.text(u32_at(self.bytes, names.checked_add(index.checked_mul(4)?)?)?)).collect()
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A smallest image: one section at address 0x1000, file offset 0x200, with an import table that names one DLL.
    fn image() -> Vec<u8> {
        let mut bytes = vec![0; 0x300];
        let mut put = |at: usize, data: &[u8]| bytes[at..at + data.len()].copy_from_slice(data);
        put(0x3c, &0x40_u32.to_le_bytes());
        put(0x40, b"PE\0\0");
        put(0x44, &0xaa64_u16.to_le_bytes());
        put(0x46, &1_u16.to_le_bytes());
        put(0x54, &0xf0_u16.to_le_bytes());
        put(0x58, &0x20b_u16.to_le_bytes());
        put(0x58 + 120, &0x1000_u32.to_le_bytes());
        let section = 0x58 + 0xf0;
        put(section + 8, &0x100_u32.to_le_bytes());
        put(section + 12, &0x1000_u32.to_le_bytes());
        put(section + 16, &0x100_u32.to_le_bytes());
        put(section + 20, &0x200_u32.to_le_bytes());
        put(0x20c, &0x1080_u32.to_le_bytes());
        put(0x280, b"ntdll.dll\0");
        bytes
    }

    #[test]
    fn machine_and_imports() {
        let image = Image::parse(&image()).unwrap();
        assert_eq!(image, Image { machine: 0xaa64, imports: vec!["ntdll.dll".to_owned()], exports: Vec::new() });
    }

    #[test]
    fn anything_else_is_refused() {
        let good = image();
        for length in 0..0x28a {
            // A shorter file must not panic; where the name is cut off there is no answer.
            assert!(Image::parse(&good[..length]).is_none(), "{length}");
        }
        let mut bad = good;
        bad[0x58] = 0;
        assert!(Image::parse(&bad).is_none(), "32-bit images are not read");
    }
}
