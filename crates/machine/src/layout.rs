//! Where RAM is, and which APIC identifier a processor has.

use cli::Topology;

use crate::chipset::Chipset;

/// Size of the BIOS image that is also visible below 1 MiB.
pub(crate) const LOW_BIOS: u64 = 128 << 10;
/// End of the address space below 4 GiB.
pub(crate) const FOUR_GIB: u64 = 1 << 32;
/// RAM below 4 GiB ends here at the latest when there is more of it than [`MOST_LOW_RAM`].
const LOW_RAM_SPLIT: u64 = 0xC000_0000;
/// Up to here RAM may go below 4 GiB; devices and firmware are above.
const MOST_LOW_RAM: u64 = 0xE000_0000;
/// Last address of the PCI memory window (the I/O APIC follows).
const PCI_HOLE_END: u32 = 0xFEBF_FFFF;

/// On `q35` the PCI Express configuration window is in the middle of the addresses below 4 GiB: with this much RAM or
/// more, it ends at [`Q35_SPLIT`].
const Q35_MOST_LOW_RAM: u64 = 0xB000_0000;
const Q35_SPLIT: u64 = 0x8000_0000;

/// RAM of a PC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLayout {
    /// Bytes from address 0.
    pub low: u64,
    /// Bytes from 4 GiB.
    pub high: u64,
}

impl MemoryLayout {
    /// Splits `bytes` of RAM.
    pub fn new(chipset: Chipset, bytes: u64) -> Self {
        let (most, split) = match chipset {
            Chipset::I440fx => (MOST_LOW_RAM, LOW_RAM_SPLIT),
            Chipset::Q35 => (Q35_MOST_LOW_RAM, Q35_SPLIT),
        };
        if bytes >= most { Self { low: split, high: bytes - split } } else { Self { low: bytes, high: 0 } }
    }

    /// RAM ranges (start, length).
    pub fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges = vec![(0, self.low)];
        if self.high != 0 {
            ranges.push((FOUR_GIB, self.high));
        }
        ranges
    }

    /// The window for PCI memory below 4 GiB: first and last address.
    pub fn pci_hole(&self) -> (u32, u32) {
        (u32::try_from(self.low.max(0x8000_0000)).unwrap_or(MOST_LOW_RAM as u32), PCI_HOLE_END)
    }
}

/// Bits that numbers 0 to `n - 1` need.
fn bits(n: u32) -> u32 {
    n.next_power_of_two().trailing_zeros()
}

/// APIC identifier of processor `index`: fields for thread, core and socket, each as wide as it needs (Intel SDM
/// volume 3, 9.9.1).
pub fn apic_id(t: &Topology, index: u32) -> u32 {
    let (thread, core, socket) = (index % t.threads, index / t.threads % t.cores, index / (t.threads * t.cores));
    let core_shift = bits(t.threads);
    socket << (core_shift + bits(t.cores)) | core << core_shift | thread
}

/// APIC identifiers of all processors of the topology, present or not.
pub fn apic_ids(t: &Topology) -> Vec<u32> {
    (0..t.maxcpus).map(|i| apic_id(t, i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_is_split_around_the_hole() {
        assert_eq!(MemoryLayout::new(Chipset::I440fx, 2 << 30), MemoryLayout { low: 2 << 30, high: 0 });
        assert_eq!(MemoryLayout::new(Chipset::I440fx, 8 << 30), MemoryLayout { low: 3 << 30, high: 5 << 30 });
        assert_eq!(MemoryLayout::new(Chipset::I440fx, 2 << 30).pci_hole().0, 0x8000_0000);
        assert_eq!(MemoryLayout::new(Chipset::I440fx, 8 << 30).pci_hole().0, 0xC000_0000);
        assert_eq!(MemoryLayout::new(Chipset::Q35, 8 << 30), MemoryLayout { low: 2 << 30, high: 6 << 30 });
        assert_eq!(MemoryLayout::new(Chipset::Q35, 2500 << 20).low, 2500 << 20);
    }

    #[test]
    fn identifiers_leave_room_for_powers_of_two() {
        let t = Topology { cpus: 6, maxcpus: 6, sockets: 2, cores: 3, threads: 1 };
        assert_eq!(apic_ids(&t), [0, 1, 2, 4, 5, 6]);
        let t = Topology { cpus: 4, maxcpus: 4, sockets: 1, cores: 2, threads: 2 };
        assert_eq!(apic_ids(&t), [0, 1, 2, 3]);
    }
}
