//! A board with both channels for the tests: ports, PCI bus, RAM, recorded interrupts.

use std::sync::Arc;

use block::{BlockBackend, BlockQueue, MemoryDisk};
use guest_memory::{GuestMemory, MapRange, RamBlock};
use pci::{IntxRouter, PciBus, devfn};
use vm_core::{AddressSpace, PortSpace, RecordedLine, lock};

use super::{CdromConfig, DiskConfig, DriveConfig, Ide, IdeWiring};

struct NoRouter;
impl IntxRouter for NoRouter {
    fn set_intx(&self, _: u8, _: u8, _: bool) {}
}

pub(super) struct Bench {
    pub(super) ports: Arc<PortSpace>,
    pub(super) bus: Arc<PciBus>,
    pub(super) ide: Ide,
    pub(super) memory: GuestMemory,
    pub(super) irq14: Arc<RecordedLine>,
    pub(super) disk: Arc<MemoryDisk>,
}

pub(super) const BM: u16 = 0xC000;

/// Sector n of the test disk is filled with n (mod 251) + 1.
pub(crate) fn pattern(sectors: usize, size: usize) -> Vec<u8> {
    (0..sectors).flat_map(|n| vec![(n % 251) as u8 + 1; size]).collect()
}

pub(crate) fn queue(backend: Arc<dyn BlockBackend>) -> Arc<BlockQueue> {
    BlockQueue::new("test", backend).unwrap()
}

pub(crate) fn cd(sectors: usize) -> Arc<BlockQueue> {
    queue(MemoryDisk::new(pattern(sectors, 2048), true))
}

impl Bench {
    /// A disk of 4096 sectors as primary master.
    pub(super) fn disk() -> Self {
        let disk = MemoryDisk::new(pattern(4096, 512), false);
        let config = DiskConfig { trim: true, ..DiskConfig::new(queue(disk.clone()), 0) };
        Self::with([Some(DriveConfig::Disk(config)), None], disk)
    }

    /// A CD drive as primary master.
    pub(super) fn cdrom(medium: Option<Arc<BlockQueue>>) -> Self {
        let config = DriveConfig::Cdrom(CdromConfig::new(medium, 0));
        Self::with([Some(config), None], MemoryDisk::new(vec![], false))
    }

    pub(super) fn with(drives: [Option<DriveConfig>; 2], disk: Arc<MemoryDisk>) -> Self {
        let memory = GuestMemory::new();
        let block = RamBlock::new("ram", 0x40_0000).unwrap();
        memory.set_ranges(vec![MapRange { gpa: 0, len: 0x40_0000, block, offset: 0, readonly: false }]);
        let (irq14, line14) = RecordedLine::line();
        let (_, line15) = RecordedLine::line();
        let [a, b] = drives;
        let wiring = IdeWiring { drives: [a, b, None, None], irqs: [line14, line15], memory: memory.clone() };
        let (ide, ports) = (Ide::new(wiring), PortSpace::new());
        let bus = PciBus::new(AddressSpace::new(), ports.clone(), Arc::new(NoRouter));
        ide.install(&ports, &bus, devfn(1, 1)).unwrap();
        bus.config_write(devfn(1, 1), 0x20, &u32::from(BM).to_le_bytes());
        bus.config_write(devfn(1, 1), 0x04, &[5]);
        Self { ports, bus, ide, memory, irq14, disk }
    }

    pub(super) fn inb(&self, port: u16) -> u8 {
        let mut x = [0];
        self.ports.read(port, &mut x);
        x[0]
    }

    pub(super) fn outb(&self, port: u16, value: u8) {
        self.ports.write(port, &[value]);
    }

    /// Waits for the block queues; the alternate status.
    pub(super) fn settle(&self) -> u8 {
        for channel in &self.ide.channels {
            let queues = lock(channel).queues();
            queues.iter().for_each(|q| q.drain());
        }
        self.inb(0x3F6)
    }

    /// Writes features, count, LBA (28-bit registers), device, command.
    pub(super) fn command(&self, features: u8, count: u8, lba: u32, device: u8, command: u8) -> u8 {
        let b = lba.to_le_bytes();
        self.outb(0x1F6, device | b[3] & 0xF);
        for (port, value) in [(0x1F1, features), (0x1F2, count), (0x1F3, b[0]), (0x1F4, b[1]), (0x1F5, b[2])] {
            self.outb(port, value);
        }
        self.outb(0x1F7, command);
        self.settle()
    }

    /// The same for 48-bit commands.
    pub(super) fn command48(&self, count: u16, lba: u64, command: u8) -> u8 {
        let b = lba.to_le_bytes();
        let c = count.to_le_bytes();
        self.outb(0x1F6, 0x40);
        for (port, value) in [(0x1F2, c[1]), (0x1F3, b[3]), (0x1F4, b[4]), (0x1F5, b[5])] {
            self.outb(port, value);
        }
        for (port, value) in [(0x1F2, c[0]), (0x1F3, b[0]), (0x1F4, b[1]), (0x1F5, b[2])] {
            self.outb(port, value);
        }
        self.outb(0x1F7, command);
        self.settle()
    }

    /// Reads `n` bytes of the data port in words.
    pub(super) fn read_data(&self, n: usize) -> Vec<u8> {
        let mut out = vec![];
        while out.len() < n {
            let mut w = [0; 2];
            self.ports.read(0x1F0, &mut w);
            out.extend(w);
        }
        self.settle();
        out
    }

    /// Writes the data port in doublewords.
    pub(super) fn write_data(&self, data: &[u8]) {
        data.chunks(4).for_each(|d| self.ports.write(0x1F0, d));
        self.settle();
    }

    /// A PRD table at 1000h with these regions, and the pointer to it; RWCON for reads from the drive.
    pub(super) fn prds(&self, regions: &[(u32, u16)], from_drive: bool) {
        for (i, (base, count)) in regions.iter().enumerate() {
            let at = 0x1000 + 8 * i as u64;
            let last = u32::from(i + 1 == regions.len()) << 31;
            self.memory.write(at, &base.to_le_bytes()).unwrap();
            self.memory.write(at + 4, &(u32::from(*count) | last).to_le_bytes()).unwrap();
        }
        self.ports.write(BM + 4, &0x1000u32.to_le_bytes());
        self.outb(BM, u8::from(from_drive) << 3);
        self.outb(BM + 2, 6);
    }

    pub(super) fn start(&self) -> u8 {
        let command = self.inb(BM);
        self.outb(BM, command | 1);
        self.settle()
    }

    pub(super) fn ram(&self, at: u64, n: usize) -> Vec<u8> {
        let mut x = vec![0; n];
        self.memory.read(at, &mut x).unwrap();
        x
    }

    /// Sends a packet by PIO or for DMA; the alternate status.
    pub(super) fn packet(&self, packet: &[u8], limit: u16, dma: bool) -> u8 {
        let status = self.command(u8::from(dma), 0, u32::from(limit) << 8, 0, 0xA0);
        assert_eq!(status & 0x89, 0x08, "ready for the packet");
        assert_eq!(self.inb(0x1F2) & 3, 1, "command, to the drive");
        let mut p = packet.to_vec();
        p.resize(12, 0);
        self.write_data(&p);
        self.settle()
    }

    /// A packet whose reply comes by PIO, whole.
    pub(super) fn reply(&self, packet: &[u8]) -> Vec<u8> {
        let mut status = self.packet(packet, 0xFFFE, false);
        let mut out = vec![];
        while status & 0x08 != 0 {
            let n = usize::from(self.inb(0x1F4)) | usize::from(self.inb(0x1F5)) << 8;
            assert_eq!(self.inb(0x1F2) & 3, 2, "data, to the host");
            let data = self.read_data(n);
            out.extend(&data[..n]);
            status = self.settle();
        }
        assert_eq!((status & 0x89, self.inb(0x1F2) & 3), (0, 3));
        out
    }

    /// A packet that must fail; key, code, qualifier.
    pub(super) fn refused(&self, packet: &[u8]) -> (u8, u8, u8) {
        let status = self.packet(packet, 0xFFFE, false);
        assert_eq!(status & 0x89, 0x01, "check condition");
        let key = self.inb(0x1F1) >> 4;
        let s = self.reply(&[3, 0, 0, 0, 18]);
        assert_eq!(s[2], key);
        (s[2], s[12], s[13])
    }
}
