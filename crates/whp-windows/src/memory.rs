//! Which block is mapped where: keeps the memory alive, and finds the pages behind a block's dirty log.

use std::sync::Arc;

use guest_memory::RamBlock;
use whp::MapGpaRangeFlags;

/// A mapped range.
#[derive(Clone)]
pub(crate) struct Mapping {
    pub(crate) gpa: u64,
    pub(crate) size: u64,
    pub(crate) block: Arc<RamBlock>,
    pub(crate) offset: u64,
    pub(crate) flags: MapGpaRangeFlags,
}

/// All mapped ranges, disjoint.
#[derive(Default)]
pub(crate) struct Mappings(Vec<Mapping>);

impl Mappings {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.0.iter()
    }

    /// Adds a range, in place of what was there.
    pub(crate) fn insert(&mut self, new: Mapping) {
        self.remove(new.gpa, new.size);
        self.0.push(new);
    }

    /// Removes a range; ranges that stick out keep their ends.
    pub(crate) fn remove(&mut self, gpa: u64, size: u64) {
        let end = gpa.saturating_add(size);
        let mut kept = Vec::with_capacity(self.0.len() + 1);
        for m in self.0.drain(..) {
            let m_end = m.gpa + m.size;
            if m_end <= gpa || end <= m.gpa {
                kept.push(m);
                continue;
            }
            if m.gpa < gpa {
                kept.push(Mapping { size: gpa - m.gpa, ..m.clone() });
            }
            if end < m_end {
                let into = end - m.gpa;
                kept.push(Mapping { gpa: end, size: m_end - end, offset: m.offset + into, ..m.clone() });
            }
        }
        self.0 = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_leaves_both_ends() {
        let block = RamBlock::new("b", 0x8000).unwrap();
        let all = |m: &Mappings| {
            let mut list: Vec<_> = m.iter().map(|m| (m.gpa, m.size, m.offset)).collect();
            list.sort_unstable();
            list
        };
        let flags = MapGpaRangeFlags::READ;
        let mut m = Mappings::default();
        m.insert(Mapping { gpa: 0x1_0000, size: 0x8000, block: block.clone(), offset: 0, flags });
        m.remove(0x1_2000, 0x1000);
        assert_eq!(all(&m), [(0x1_0000, 0x2000, 0), (0x1_3000, 0x5000, 0x3000)]);
        m.insert(Mapping { gpa: 0x1_1000, size: 0x3000, block, offset: 0x4000, flags });
        assert_eq!(all(&m), [(0x1_0000, 0x1000, 0), (0x1_1000, 0x3000, 0x4000), (0x1_4000, 0x4000, 0x4000)]);
    }
}
