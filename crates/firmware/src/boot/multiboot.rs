//! Multiboot 0.6.96: ELF32 or address fields, modules, memory map.

use super::{
    Entry, HANDOFF, HANDOFF_INFO, HANDOFF_MAP, Info, KernelBoot, KernelError, KernelFiles, Piece, elf, modules,
};

const HEADER_MAGIC: u32 = 0x1BAD_B002;
const BOOT_MAGIC: u32 = 0x2BAD_B002;
/// Header flag: the address fields are valid.
const ADDRESSES: u32 = 1 << 16;
/// Offset of mmap_length in the information structure.
const MMAP_LENGTH: usize = 44;

/// A header found in the first 8 KiB.
pub(super) struct Header {
    at: usize,
    flags: u32,
    /// header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr.
    addresses: [u32; 5],
}

pub(super) fn find_header(image: &[u8]) -> Option<Header> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?));
    (0..8192 - 12).step_by(4).find_map(|at| {
        let (magic, flags, sum) = (word(at)?, word(at + 4)?, word(at + 8)?);
        if magic != HEADER_MAGIC || magic.wrapping_add(flags).wrapping_add(sum) != 0 {
            return None;
        }
        let mut addresses = [0; 5];
        if flags & ADDRESSES != 0 {
            for (i, a) in addresses.iter_mut().enumerate() {
                *a = word(at + 12 + 4 * i)?;
            }
        }
        Some(Header { at, flags, addresses })
    })
}

/// (load address, bytes, entry) by the header's address fields.
fn by_addresses(h: &Header, image: &[u8]) -> Option<(u64, Vec<u8>, u32)> {
    let [header, load, load_end, bss_end, entry] = h.addresses;
    let start = h.at.checked_sub(header.checked_sub(load)? as usize)?;
    let len = match load_end {
        0 => image.len().checked_sub(start)?,
        end => end.checked_sub(load)? as usize,
    };
    let mut bytes = image.get(start..start.checked_add(len)?)?.to_vec();
    if bss_end > load {
        bytes.resize(bytes.len().max((bss_end - load) as usize), 0);
    }
    Some((load.into(), bytes, entry))
}

pub(super) fn load(files: &KernelFiles, image: &[u8], header: &Header) -> Result<KernelBoot, KernelError> {
    let (address, bytes, entry) = if header.flags & ADDRESSES != 0 {
        by_addresses(header, image).ok_or_else(|| files.bad("the multiboot header's addresses do not fit the file"))?
    } else {
        let e = elf::parse(image).map_err(|e| files.bad(format!("multiboot: {e}")))?;
        if e.is_64 {
            return Err(files.bad("multiboot kernels must be 32-bit ELF images"));
        }
        let (low, bytes) = e.flatten(files.ram_end()).map_err(|e| files.bad(e))?;
        (low, bytes, e.entry as u32)
    };
    let end = address + bytes.len() as u64;
    if address < 0x10_0000 || end > files.ram_end() {
        return Err(
            files.bad(format!("loads at {address:#x} to {end:#x}, outside of the RAM there is; give more with -m"))
        );
    }
    let mut pieces = vec![Piece { name: "kernel", address, data: bytes }];
    let placed = modules(files, end, &mut pieces)?;
    let info = information(files, &placed)?;
    let entry = Entry::Protected {
        address: entry,
        eax: BOOT_MAGIC,
        ebx: (HANDOFF + HANDOFF_INFO as u64) as u32,
        sized_map: true,
        map_length_at: (HANDOFF_INFO + MMAP_LENGTH) as u16,
        info,
    };
    Ok(KernelBoot { pieces, entry, setup: None })
}

fn information(files: &KernelFiles, placed: &[(u64, u64, String)]) -> Result<Vec<u8>, KernelError> {
    let mut info = Info::new();
    info.bytes.resize(120, 0);
    let line = info.string(format!("{} {}", files.kernel.display(), files.append).trim_end());
    let loader = info.string("whpx");
    let strings: Vec<_> = placed.iter().map(|m| info.string(&m.2)).collect();
    info.align();
    let list = info.here();
    for ((start, len, _), string) in placed.iter().zip(strings) {
        for v in [*start, start + len, string, 0] {
            info.bytes.extend((v as u32).to_le_bytes());
        }
    }
    let mut put = |at: usize, v: u64| info.bytes[at..at + 4].copy_from_slice(&(v as u32).to_le_bytes());
    put(0, 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
    put(4, 639); // KiB from 0
    put(8, (files.low_ram >> 10).saturating_sub(1024)); // KiB from 1 MiB
    put(12, 0x8000_FFFF); // boot device: first disk
    put(16, line);
    put(20, placed.len() as u64);
    put(24, list);
    put(48, HANDOFF + u64::from(HANDOFF_MAP));
    put(64, loader);
    info.finish(files)
}
