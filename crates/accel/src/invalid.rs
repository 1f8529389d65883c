//! `-d invalid_mem`: what is said of an access to guest-physical addresses where nothing is.

use vm_core::{AddressSpace, FlatRange};

/// How far away a region may be to be worth naming.
const NEAR: u64 = 1 << 20;

/// Whether somebody wants to know.
pub(crate) fn is_logged() -> bool {
    tracing::enabled!(target: "invalid_mem", tracing::Level::DEBUG)
}

/// Whether every byte has something behind it.
pub(crate) fn is_assigned(space: &AddressSpace, gpa: u64, len: usize) -> bool {
    let flat = space.flat();
    let mut at = gpa;
    let end = gpa.saturating_add(len as u64);
    while at < end {
        match range_at(&flat, at) {
            Some(r) => at = r.start.saturating_add(r.len),
            None => return false,
        }
    }
    true
}

fn range_at(flat: &[FlatRange], gpa: u64) -> Option<&FlatRange> {
    let i = flat.partition_point(|r| r.start <= gpa).checked_sub(1)?;
    flat.get(i).filter(|r| gpa - r.start < r.len)
}

/// The region that is nearest to `gpa`, and where `gpa` is from it.
fn nearest(flat: &[FlatRange], gpa: u64) -> Option<String> {
    let i = flat.partition_point(|r| r.start <= gpa);
    let below = i.checked_sub(1).and_then(|i| flat.get(i)).map(|r| (gpa - (r.start + (r.len - 1)), r, "behind"));
    let above = flat.get(i).map(|r| (r.start - gpa, r, "before"));
    let (distance, r, side) = below.into_iter().chain(above).min_by_key(|n| n.0).filter(|n| n.0 <= NEAR)?;
    Some(format!("{distance:#x} {side} '{}'", r.name))
}

/// One line. `rip`: of the instruction, where it is known.
pub(crate) fn describe(
    space: &AddressSpace,
    write: bool,
    gpa: u64,
    len: usize,
    cpu: usize,
    rip: Option<u64>,
) -> String {
    let flat = space.flat();
    let direction = if write { "write" } else { "read" };
    let (device, reason) = match range_at(&flat, gpa) {
        Some(r) => (format!("'{}'", r.name), "reaches beyond its end"),
        None => {
            let near = nearest(&flat, gpa).map(|n| format!(" ({n})")).unwrap_or_default();
            (format!("'unassigned'{near}"), "rejected: nothing is mapped there")
        }
    };
    let rip = rip.map_or_else(|| "unknown".into(), |rip| format!("{rip:#x}"));
    format!("Invalid {direction} at addr {gpa:#x}, size {len}, device {device}, reason: {reason}, CPU {cpu}, RIP {rip}")
}

#[cfg(test)]
mod tests {
    use guest_memory::RamBlock;
    use vm_core::{Backing, Region};

    use super::*;

    #[test]
    fn the_line_says_where_what_and_why() {
        let space = AddressSpace::new();
        let ram = RamBlock::new("ram", 0x4000).unwrap();
        let region = |name: &str, start, len| Region {
            name: name.into(),
            start,
            len,
            priority: 0,
            enabled: true,
            backing: Backing::ram(&ram),
        };
        space.add(region("ram", 0, 0x4000)).unwrap();
        space.add(region("hpet", 0xFED0_0000, 0x1000)).unwrap();
        assert!(is_assigned(&space, 0xFF8, 8) && !is_assigned(&space, 0x3FFC, 8));
        assert!(!is_assigned(&space, 1 << 51, 8));
        let text = |write, gpa, len, rip| describe(&space, write, gpa, len, 1, rip);
        let near = "Invalid write at addr 0xfed01010, size 4, device 'unassigned' (0x11 behind 'hpet'), \
            reason: rejected: nothing is mapped there, CPU 1, RIP 0x1234";
        assert_eq!(text(true, 0xFED0_1010, 4, Some(0x1234)), near);
        let before = text(false, 0xFECF_FFF0, 2, None);
        assert!(before.contains("(0x10 before 'hpet')") && before.ends_with("RIP unknown"), "{before}");
        assert!(text(false, 0x8000_0000, 2, None).contains("device 'unassigned', reason"), "nothing is near");
        assert!(text(false, 0x3FFC, 8, None).contains("device 'ram', reason: reaches beyond its end"));
    }
}
