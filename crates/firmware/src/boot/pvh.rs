//! PVH: an ELF image with the Xen note PHYS32_ENTRY (Xen's public/arch-x86/hvm/start_info.h).

use super::{
    Entry, HANDOFF, HANDOFF_INFO, HANDOFF_MAP, Info, KernelBoot, KernelError, KernelFiles, Piece, elf, modules,
};

const PHYS32_ENTRY: u32 = 18;
const MAGIC: u32 = 0x336E_C578;
/// Offset of memmap_entries in the start information.
const MEMMAP_ENTRIES: usize = 48;

pub(super) fn load(files: &KernelFiles, image: &[u8]) -> Result<KernelBoot, KernelError> {
    let e = elf::parse(image).map_err(|e| files.bad(e))?;
    let note = e.note(b"Xen", PHYS32_ENTRY).and_then(|d| d.get(..4)).and_then(|d| d.try_into().ok());
    let entry = note
        .map(u32::from_le_bytes)
        .ok_or_else(|| files.bad("an ELF image without a PVH note (or multiboot header); use the bzImage"))?;
    let (address, bytes) = e.flatten(files.ram_end()).map_err(|e| files.bad(e))?;
    let end = address + bytes.len() as u64;
    let mut pieces = vec![Piece { name: "kernel", address, data: bytes }];
    let placed = modules(files, end, &mut pieces)?;
    let mut info = Info::new();
    info.bytes.resize(56, 0);
    let line = info.string(&files.append);
    // The module's own arguments, without its file name.
    let strings: Vec<_> = placed.iter().map(|m| info.string(m.2.split_once(' ').map_or("", |p| p.1))).collect();
    info.align();
    let list = info.here();
    for ((start, len, _), string) in placed.iter().zip(strings) {
        for v in [*start, *len, string, 0] {
            info.bytes.extend(v.to_le_bytes());
        }
    }
    let words: [(usize, u32); 3] = [(0, MAGIC), (4, 1), (12, placed.len() as u32)];
    for (at, v) in words {
        info.bytes[at..at + 4].copy_from_slice(&v.to_le_bytes());
    }
    let addresses =
        [(16, if placed.is_empty() { 0 } else { list }), (24, line), (40, HANDOFF + u64::from(HANDOFF_MAP))];
    for (at, v) in addresses {
        info.bytes[at..at + 8].copy_from_slice(&v.to_le_bytes());
    }
    let entry = Entry::Protected {
        address: entry,
        eax: 0,
        ebx: (HANDOFF + HANDOFF_INFO as u64) as u32,
        sized_map: false,
        map_length_at: (HANDOFF_INFO + MEMMAP_ENTRIES) as u16,
        info: info.finish(files)?,
    };
    Ok(KernelBoot { pieces, entry, setup: None })
}
