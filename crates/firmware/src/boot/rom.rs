//! The option ROM and the hand-off page. The code is `rom.S`; here its parameters are filled in.

use super::{Entry, HANDOFF, HANDOFF_INFO, HANDOFF_MAP};

const CODE: &[u8; 2048] = include_bytes!("rom.bin");
/// Offset of `parameters` in the ROM.
const PARAMETERS: usize = 0x180;
/// Offset of `descriptors`.
const DESCRIPTORS: usize = 0x1A0;
/// Length of the PnP expansion header at 0x20.
const PNP: std::ops::Range<usize> = 0x20..0x40;
/// Where the hand-off code starts in its page; the ROM's far jump goes there.
const START: usize = 0x40;
const FAR_JUMP_TARGET: u64 = 0x2_0040;
const _: () = assert!(HANDOFF + START as u64 == FAR_JUMP_TARGET);

/// The ROM that performs `transfers` (item, length, address) and enters the kernel.
pub(super) fn build(entry: &Entry, transfers: &[(u16, usize, u64)]) -> Vec<u8> {
    let mut rom = CODE.to_vec();
    let mut put = |at: usize, bytes: &[u8]| rom[at..at + bytes.len()].copy_from_slice(bytes);
    let handoff = (HANDOFF >> 4) as u16;
    match *entry {
        Entry::Real { data_segment, code_segment, stack } => {
            put(PARAMETERS + 2, &data_segment.to_le_bytes());
            put(PARAMETERS + 4, &stack.to_le_bytes());
            put(PARAMETERS + 8, &code_segment.to_le_bytes());
        }
        Entry::Protected { sized_map, map_length_at, .. } => {
            put(PARAMETERS, &[1, sized_map.into()]);
            put(PARAMETERS + 2, &handoff.to_le_bytes());
            put(PARAMETERS + 4, &0xFFF0u32.to_le_bytes());
            put(PARAMETERS + 10, &handoff.to_le_bytes());
            put(PARAMETERS + 12, &HANDOFF_MAP.to_le_bytes());
            put(PARAMETERS + 14, &map_length_at.to_le_bytes());
        }
    }
    put(PARAMETERS + 16, &(transfers.len() as u16).to_le_bytes());
    for (i, (key, len, address)) in transfers.iter().enumerate() {
        let control = u32::from(*key) << 16 | 0x08 | 0x02; // select, read
        let at = DESCRIPTORS + 16 * i;
        put(at, &control.to_be_bytes());
        put(at + 4, &(*len as u32).to_be_bytes());
        put(at + 8, &address.to_be_bytes());
    }
    let sum = |b: &[u8]| b.iter().fold(0u8, |s, x| s.wrapping_add(*x));
    rom[PNP.start + 9] = sum(&rom[PNP]).wrapping_neg();
    let last = rom.len() - 1;
    rom[last] = sum(&rom).wrapping_neg();
    rom
}

/// The hand-off page for protected mode: GDT at 0, GDTR at 0x20, code at 0x40, information at 0x100.
pub(super) fn handoff(entry: &Entry) -> Vec<u8> {
    let Entry::Protected { address, eax, ebx, info, .. } = entry else { return vec![] };
    let mut page = vec![0; HANDOFF_INFO];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(8, &0x00CF_9B00_0000_FFFFu64.to_le_bytes());
    put(16, &0x00CF_9300_0000_FFFFu64.to_le_bytes());
    put(0x20, &0x17u16.to_le_bytes());
    put(0x22, &(HANDOFF as u32).to_le_bytes());
    // mov ax, 0x10; mov ds/es/fs/gs/ss, ax; mov eax, ..; mov ebx, ..; mov ecx, entry; jmp ecx
    let mut code = vec![0x66, 0xB8, 0x10, 0x00, 0x8E, 0xD8, 0x8E, 0xC0, 0x8E, 0xE0, 0x8E, 0xE8, 0x8E, 0xD0];
    for (opcode, value) in [(0xB8, eax), (0xBB, ebx), (0xB9, address)] {
        code.push(opcode);
        code.extend(value.to_le_bytes());
    }
    code.extend([0xFF, 0xE1]);
    put(START, &code);
    page.extend(info);
    page
}
