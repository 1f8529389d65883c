//! Walks a processor's page tables for `info mem` and `info tlb`: Intel SDM volume 3, chapter 4 (32-bit, PAE,
//! 4-level and 5-level paging).
//!
//! Only RAM is read, so looking has no side effects, and the walk is bounded: tables that refer to themselves would
//! otherwise keep it busy for ever. Protection keys and reserved bits are not looked at.

use accel::CpuRegisters;
use guest_memory::GuestMemory;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NX: u64 = 1 << 63;
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

/// Tables read by one walk at most (1 GiB of them).
const MOST_TABLES: u32 = 1 << 18;

/// A page that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Linear address, not sign-extended.
    pub(crate) linear: u64,
    pub(crate) size: u64,
    pub(crate) physical: u64,
    /// Its own entry.
    pub(crate) entry: u64,
    /// Allowed by all levels: bits 1 (write) and 2 (user).
    pub(crate) rights: u64,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    /// There is no paging.
    Disabled,
    /// All of it.
    Done,
    /// It was cut short by the visitor or for its length.
    Cut,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bits32 { large: bool },
    Pae,
    Long { levels: u32 },
}

fn mode(r: &CpuRegisters) -> Option<Mode> {
    let [cr0, _, _, cr4, _] = r.cr;
    if cr0 >> 31 & 1 == 0 {
        return None;
    }
    Some(match (r.long_mode(), cr4 >> 5 & 1 != 0) {
        (true, _) => Mode::Long { levels: if cr4 >> 12 & 1 != 0 { 5 } else { 4 } },
        (false, true) => Mode::Pae,
        (false, false) => Mode::Bits32 { large: cr4 >> 4 & 1 != 0 },
    })
}

/// A linear address as it is written.
pub(crate) fn canonical(r: &CpuRegisters, linear: u64) -> u64 {
    let top = match mode(r) {
        Some(Mode::Long { levels }) => 12 + 9 * levels - 1,
        _ => return linear,
    };
    if linear >> top & 1 != 0 { linear | !0 << top } else { linear }
}

struct Walk<'a> {
    memory: &'a GuestMemory,
    visit: &'a mut dyn FnMut(Page) -> bool,
    tables_left: u32,
    /// Entries are 8 bytes and 512 a table.
    wide: bool,
    large: bool,
}

/// Calls `visit` with every mapped page in the order of linear addresses until it says `false`.
pub(crate) fn walk(r: &CpuRegisters, memory: &GuestMemory, visit: &mut dyn FnMut(Page) -> bool) -> Walked {
    let Some(mode) = mode(r) else { return Walked::Disabled };
    let cr3 = r.cr[2];
    let wide = !matches!(mode, Mode::Bits32 { .. });
    let large = mode != Mode::Bits32 { large: false };
    let mut w = Walk { memory, visit, tables_left: MOST_TABLES, wide, large };
    let rights = WRITABLE | USER;
    let all = match mode {
        Mode::Bits32 { .. } => w.table(cr3 & 0xFFFF_F000, 2, 1024, 0, rights),
        Mode::Pae => w.table(cr3 & 0xFFFF_FFE0, 3, 4, 0, rights),
        Mode::Long { levels } => w.table(cr3 & ADDRESS, levels, 512, 0, rights),
    };
    if all { Walked::Done } else { Walked::Cut }
}

impl Walk<'_> {
    fn table(&mut self, at: u64, level: u32, entries: usize, linear: u64, rights: u64) -> bool {
        let Some(left) = self.tables_left.checked_sub(1) else { return false };
        self.tables_left = left;
        let width = if self.wide { 8 } else { 4 };
        let mut bytes = [0; 4096];
        let Some(table) = bytes.get_mut(..entries * width) else { return false };
        if self.memory.read(at, table).is_err() {
            return true; // not RAM: nothing can be mapped through it
        }
        let bits = if self.wide { 9 } else { 10 };
        let shift = 12 + bits * (level - 1);
        let pae_top = self.wide && level == 3 && entries == 4;
        for (i, raw) in table.chunks_exact(width).enumerate() {
            let mut wide = [0; 8];
            wide.iter_mut().zip(raw).for_each(|(w, b)| *w = *b);
            let entry = u64::from_le_bytes(wide);
            if entry & PRESENT == 0 {
                continue;
            }
            let here = linear | (i as u64) << shift;
            // The PDPTEs of PAE have no rights.
            let rights = if pae_top { rights } else { rights & entry };
            let leaf = level == 1 || (entry & LARGE != 0 && level <= 3 && !pae_top && self.large);
            let go_on = if leaf {
                let size = 1 << shift;
                let physical = self.physical(entry, level, size);
                (self.visit)(Page { linear: here, size, physical, entry, rights })
            } else {
                let next = if self.wide { entry & ADDRESS } else { entry & 0xFFFF_F000 };
                self.table(next, level - 1, if self.wide { 512 } else { 1024 }, here, rights)
            };
            if !go_on {
                return false;
            }
        }
        true
    }

    fn physical(&self, entry: u64, level: u32, size: u64) -> u64 {
        match (self.wide, level) {
            (true, _) => entry & ADDRESS & !(size - 1),
            // PSE-36: bits 39:32 are in bits 20:13.
            (false, 2) => entry & 0xFFC0_0000 | (entry >> 13 & 0xFF) << 32,
            (false, _) => entry & 0xFFFF_F000,
        }
    }
}

/// A page's line in `info tlb`.
pub(crate) fn tlb_line(r: &CpuRegisters, page: &Page) -> String {
    let e = page.entry;
    let flag = |bit: u64, c: char| if e & bit != 0 { c } else { '-' };
    let nx = if r.efer >> 11 & 1 != 0 { flag(NX, 'X') } else { '-' };
    let large = if page.size > 4096 { 'P' } else { '-' };
    format!(
        "{:016x}: {:016x} {nx}{}{large}{}{}{}{}{}{}\n",
        canonical(r, page.linear),
        page.physical,
        flag(GLOBAL, 'G'),
        flag(1 << 6, 'D'),
        flag(1 << 5, 'A'),
        flag(1 << 4, 'C'),
        flag(1 << 3, 'T'),
        flag(USER, 'U'),
        flag(WRITABLE, 'W'),
    )
}

/// `info mem`: ranges with the same rights.
pub(crate) fn ranges(r: &CpuRegisters, memory: &GuestMemory) -> (Walked, String) {
    let mut out = String::new();
    let mut open: Option<(u64, u64, u64)> = None;
    let mut close = |range: Option<(u64, u64, u64)>| {
        if let Some((start, end, rights)) = range {
            let flag = |bit, c| if rights & bit != 0 { c } else { '-' };
            out += &format!(
                "{:016x}-{:016x} {:016x} {}r{}\n",
                canonical(r, start),
                canonical(r, end),
                end - start,
                flag(USER, 'u'),
                flag(WRITABLE, 'w')
            );
        }
    };
    let walked = walk(r, memory, &mut |page| {
        let end = page.linear + page.size;
        match &mut open {
            Some((_, to, rights)) if *to == page.linear && *rights == page.rights => *to = end,
            other => close(other.replace((page.linear, end, page.rights))),
        }
        true
    });
    close(open);
    (walked, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_memory::{MapRange, RamBlock};

    fn memory(entries: &[(u64, u64)], width: usize) -> GuestMemory {
        let block = RamBlock::new("ram", 0x10000).unwrap();
        for (at, value) in entries {
            block.write(*at, &value.to_le_bytes()[..width]);
        }
        let m = GuestMemory::new();
        m.set_ranges(vec![MapRange { gpa: 0, len: 0x10000, block, offset: 0, readonly: false }]);
        m
    }

    fn long() -> CpuRegisters {
        CpuRegisters { cr: [1 << 31 | 1, 0, 0x1000, 1 << 5, 0], efer: 0xD00, ..Default::default() }
    }

    #[test]
    fn four_levels() {
        let m = memory(
            &[
                (0x1000, 0x2007),
                (0x1FF8, 0x2003), // the same tables again, for the kernel
                (0x2000, 0x3007),
                (0x2008, 0x4000_0083), // 1 GiB
                (0x3000, 0x4007),
                (0x3008, 0x20_01E7),                           // 2 MiB
                (0x3010, 0xDEAD_0000_0000_1007 & ADDRESS | 7), // a table that is not RAM
                (0x4000, 0x5067),
                (0x4008, NX | 0x6001),
                (0x4010, 0x7005),
                (0x4018, 0x8005),
            ],
            8,
        );
        let (walked, text) = ranges(&long(), &m);
        assert_eq!(walked, Walked::Done);
        let want = "\
0000000000000000-0000000000001000 0000000000001000 urw
0000000000001000-0000000000002000 0000000000001000 -r-
0000000000002000-0000000000004000 0000000000002000 ur-
0000000000200000-0000000000400000 0000000000200000 urw
0000000040000000-0000000080000000 0000000040000000 -rw
ffffff8000000000-ffffff8000001000 0000000000001000 -rw
ffffff8000001000-ffffff8000004000 0000000000003000 -r-
ffffff8000200000-ffffff8000400000 0000000000200000 -rw
ffffff8040000000-ffffff8080000000 0000000040000000 -rw
";
        assert_eq!(text, want);
        let mut lines = Vec::new();
        walk(&long(), &m, &mut |p| {
            lines.push(tlb_line(&long(), &p));
            lines.len() < 5
        });
        assert_eq!(lines[0], "0000000000000000: 0000000000005000 ---DA--UW\n");
        assert_eq!(lines[1], "0000000000001000: 0000000000006000 X--------\n");
        assert_eq!(lines[4], "0000000000200000: 0000000000200000 -GPDA--UW\n");
    }

    #[test]
    fn tables_that_refer_to_themselves_end() {
        let entries: Vec<_> = (0..512).map(|i| (0x1000 + i * 8, 0x1007)).collect();
        let m = memory(&entries, 8);
        let mut pages = 0;
        let walked = walk(&long(), &m, &mut |_| {
            pages += 1;
            pages < 1000
        });
        assert_eq!((walked, pages), (Walked::Cut, 1000));
    }

    #[test]
    fn the_older_modes() {
        let m = memory(&[(0x1000, 0x2007), (0x1004, 0x0040_2083), (0x2FFC, 0x5003)], 4);
        let mut r = CpuRegisters { cr: [1 << 31 | 1, 0, 0x1000, 1 << 4, 0], ..Default::default() };
        let all = |r: &CpuRegisters, m: &GuestMemory| {
            let mut pages = Vec::new();
            walk(r, m, &mut |p| {
                pages.push((p.linear, p.physical, p.size));
                true
            });
            pages
        };
        assert_eq!(all(&r, &m), [(0x3F_F000, 0x5000, 4096), (0x40_0000, 0x1_0040_0000, 4 << 20)]);
        r.cr[3] = 1 << 5;
        let m = memory(&[(0x1018, 0x2001), (0x2008, 0x60_0087)], 8);
        assert_eq!(all(&r, &m), [(0xC020_0000, 0x60_0000, 2 << 20)]);
        r.cr[0] = 1;
        assert_eq!(ranges(&r, &m).0, Walked::Disabled);
    }
}
