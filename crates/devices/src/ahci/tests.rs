//! The controller, from AHCI 1.3.1 and Serial ATA 2.6.

use std::sync::Arc;

use block::{BlockBackend, MemoryDisk};
use guest_memory::{GuestMemory, MapRange, RamBlock};
use pci::PciFunction;
use vm_core::{Device, MsiSink, RecordedLine};

use super::*;
use crate::ide::test_bench::{cd, pattern, queue};
use crate::ide::{CdromConfig, DiskConfig};

const LIST: u64 = 0x1000;
const RECEIVED: u64 = 0x2000;
const TABLES: u64 = 0x1_0000;
const DATA: u64 = 0x10_0000;
/// Bits of PxIS.
const SDBS: u32 = 1 << 3;
const OFS: u32 = 1 << 24;
const IFS: u32 = 1 << 27;
const HBFS: u32 = 1 << 29;
const TFES: u32 = 1 << 30;

#[derive(Default)]
struct Seen(Mutex<Vec<(u64, u32)>>);
impl MsiSink for Seen {
    fn signal(&self, address: u64, data: u32) {
        lock(&self.0).push((address, data));
    }
}

struct Bench {
    ahci: Shared<Ahci>,
    memory: GuestMemory,
    irq: Arc<RecordedLine>,
    messages: Arc<Seen>,
    disk: Arc<MemoryDisk>,
}

impl Bench {
    /// A disk of 8192 sectors at port 0, a disc of 64 sectors at port 1; both ports run.
    fn new() -> Self {
        let b = Self::stopped();
        for port in 0..2 {
            b.start(port);
        }
        b
    }

    fn stopped() -> Self {
        let disk = MemoryDisk::new(pattern(8192, 512), false);
        let memory = GuestMemory::new();
        let block = RamBlock::new("ram", 0x80_0000).unwrap();
        memory.set_ranges(vec![MapRange { gpa: 0, len: 0x80_0000, block, offset: 0, readonly: false }]);
        let (irq, line) = RecordedLine::line();
        let messages = Arc::new(Seen::default());
        let mut drives = [const { None }; PORTS];
        drives[0] = Some(DriveConfig::Disk(DiskConfig::new(queue(disk.clone()), 0)));
        drives[1] = Some(DriveConfig::Cdrom(CdromConfig::new(Some(cd(64)), 1)));
        let wiring =
            AhciWiring { drives, memory: memory.clone(), irq: line, msi: messages.clone(), multifunction: true };
        let ahci = Ahci::new("ahci", wiring);
        let b = Self { ahci, memory, irq, messages, disk };
        b.config(0x04, &[6, 0]);
        b
    }

    fn config(&self, offset: u8, data: &[u8]) {
        let mut a = lock(&self.ahci);
        a.config_mut().write(offset.into(), data);
        a.config_written(offset, data.len());
    }

    fn start(&self, port: u64) {
        let base = 0x100 + port * 0x80;
        self.w(base, (LIST + port * 0x400) as u32);
        self.w(base + 8, (RECEIVED + port * 0x100) as u32);
        self.w(base + 0x30, u32::MAX);
        self.w(base + 0x10, u32::MAX);
        self.w(base + 0x14, u32::MAX);
        self.w(base + 0x18, 0x10);
        self.w(base + 0x18, 0x11);
        self.w(base + 0x10, u32::MAX);
        self.w(8, u32::MAX);
        self.w(4, 2);
    }

    fn w(&self, at: u64, value: u32) {
        lock(&self.ahci).mmio_write(at, &value.to_le_bytes());
    }

    fn r(&self, at: u64) -> u32 {
        let mut x = [0; 4];
        lock(&self.ahci).mmio_read(at, &mut x);
        u32::from_le_bytes(x)
    }

    fn port(&self, port: u64, register: u64) -> u32 {
        self.r(0x100 + port * 0x80 + register)
    }

    fn read(&self, at: u64, n: usize) -> Vec<u8> {
        let mut x = vec![0; n];
        self.memory.read(at, &mut x).unwrap();
        x
    }

    /// Puts a command into a slot: the frame's bytes from the command code on, and regions.
    fn prepare(&self, port: u64, slot: u64, frame: &[(usize, u8)], regions: &[(u64, u32)]) {
        let table = TABLES + port * 0x1_0000 + slot * 0x400;
        let header = LIST + port * 0x400 + slot * 32;
        self.memory.write(header, &(5 | (regions.len() as u32) << 16).to_le_bytes()).unwrap();
        self.memory.write(header + 4, &0u32.to_le_bytes()).unwrap();
        self.memory.write(header + 8, &table.to_le_bytes()).unwrap();
        let mut fis = [0; 64];
        (fis[0], fis[1]) = (0x27, 0x80);
        frame.iter().for_each(|(at, v)| fis[*at] = *v);
        self.memory.write(table, &fis).unwrap();
        for (i, (at, len)) in regions.iter().enumerate() {
            let entry = table + 0x80 + i as u64 * 16;
            self.memory.write(entry, &at.to_le_bytes()).unwrap();
            self.memory.write(entry + 8, &[0; 4]).unwrap();
            self.memory.write(entry + 12, &(len - 1).to_le_bytes()).unwrap();
        }
    }

    /// Frame bytes of a command with 48-bit parameters.
    fn frame(code: u8, lba: u64, count: u16) -> Vec<(usize, u8)> {
        let (b, c) = (lba.to_le_bytes(), count.to_le_bytes());
        let mut f = vec![(2, code), (4, b[0]), (5, b[1]), (6, b[2]), (7, 0x40), (8, b[3]), (9, b[4]), (10, b[5])];
        f.extend([(12, c[0]), (13, c[1])]);
        f
    }

    /// The same for a queued command.
    fn queued(code: u8, lba: u64, count: u16, tag: u8) -> Vec<(usize, u8)> {
        let c = count.to_le_bytes();
        let mut f = Self::frame(code, lba, u16::from(tag) << 3);
        f.extend([(3, c[0]), (11, c[1])]);
        f
    }

    fn issue(&self, port: u64, slots: u32) {
        self.w(0x100 + port * 0x80 + 0x38, slots);
        self.settle();
    }

    fn issue_queued(&self, slots: u32) {
        self.w(0x134, slots);
        self.issue(0, slots);
    }

    fn settle(&self) {
        // A command that ends may start the next one.
        for _ in 0..3 {
            let queues = lock(&self.ahci).queues();
            queues.iter().for_each(|q| q.drain());
        }
    }
}

#[test]
fn registers_say_what_there_is() {
    let b = Bench::stopped();
    assert_eq!(b.r(0), 0xC124_1F05);
    assert_eq!((b.r(0x04), b.r(0x0C), b.r(0x10)), (0x8000_0000, 0x3F, 0x0001_0301));
    assert_eq!((b.port(0, 0x28), b.port(0, 0x24), b.port(0, 0x20) & 0xFF), (0x123, 0x0000_0101, 0x50));
    assert_eq!((b.port(1, 0x28), b.port(1, 0x24)), (0x123, 0xEB14_0101));
    assert_eq!((b.port(2, 0x28), b.port(2, 0x24), b.port(2, 0x20)), (0, u32::MAX, 0x7F));
    assert_eq!(b.port(0, 0x10) & 0x40, 0x40, "the link came up");
    assert_eq!((b.r(0x400), b.r(0xFFC)), (0, 0), "no seventh port");
    let a = lock(&b.ahci);
    assert_eq!((a.config().u32(0), a.config().u32(8) >> 8), (0x2922_8086, 0x01_0601));
    assert_eq!(
        (a.config().u8(0x34), a.config().u8(0x80), a.config().u8(0x81), a.config().u32(0xA8)),
        (0x80, 5, 0xA8, 0x0010_0012)
    );
}

#[test]
fn identify_by_pio_and_a_read_by_dma() {
    let b = Bench::new();
    b.prepare(0, 3, &[(2, 0xEC)], &[(DATA, 512)]);
    b.issue(0, 8);
    assert_eq!(b.port(0, 0x38), 0);
    assert!(b.irq.is_high());
    let data = b.read(DATA, 512);
    assert_eq!((data[0], &data[54..58]), (0x40, &b"HWXP"[..]));
    assert_eq!((data[150], data[152], data[153], data[186]), (31, 0x06, 1, 0), "queue depth, queueing, not parallel");
    assert_eq!(b.read(RECEIVED + 0x20, 3), [0x5F, 0x60, 0x58]);
    assert_eq!(b.read(RECEIVED + 0x2F, 1), [0x50], "status after the block");
    assert_eq!(b.read(LIST + 3 * 32 + 4, 4), 512u32.to_le_bytes());
    // Three regions; 2050 sectors go through the queue in two pieces.
    b.prepare(0, 0, &Bench::frame(0x25, 100, 2050), &[(DATA, 510), (DATA + 0x1000, 2), (DATA + 0x2000, 2049 * 512)]);
    b.issue(0, 1);
    assert_eq!((b.port(0, 0x38), b.port(0, 0x20)), (0, 0x50));
    assert_eq!((b.read(DATA, 1), b.read(DATA + 0x1000, 3)), (vec![101], vec![101, 101, 0]));
    assert_eq!(b.read(DATA + 0x2000 + 2048 * 512, 2), [((100 + 2049) % 251) as u8 + 1; 2]);
    assert_eq!(b.read(LIST + 4, 4), (2050u32 * 512).to_le_bytes());
    assert_eq!(b.read(RECEIVED + 0x40, 3), [0x34, 0x40, 0x50]);
    // The interrupt goes when port and controller are acknowledged.
    b.w(0x110, u32::MAX);
    assert!(b.irq.is_high());
    b.w(8, 1);
    assert!(!b.irq.is_high());
}

#[test]
fn writes_by_dma_and_pio_and_a_flush() {
    let b = Bench::new();
    b.memory.write(DATA, &[0x5A; 1024]).unwrap();
    b.prepare(0, 0, &Bench::frame(0x35, 8, 2), &[(DATA, 1024)]);
    b.prepare(0, 1, &Bench::frame(0x34, 20, 1), &[(DATA, 512)]);
    b.prepare(0, 2, &[(2, 0xEA)], &[]);
    b.issue(0, 7);
    assert_eq!((b.port(0, 0x38), b.port(0, 0x20)), (0, 0x50));
    let mut disk = vec![0; 22 * 512];
    b.disk.read_at(0, &mut disk).unwrap();
    assert_eq!((disk[8 * 512], disk[10 * 512 - 1], disk[10 * 512]), (0x5A, 0x5A, 11));
    assert_eq!((disk[20 * 512], disk[21 * 512]), (0x5A, 22));
}

#[test]
fn queued_commands() {
    let b = Bench::new();
    b.memory.write(DATA, &[0xA5; 4096]).unwrap();
    b.prepare(0, 5, &Bench::queued(0x61, 40, 8, 5), &[(DATA, 4096)]);
    b.prepare(0, 0, &Bench::queued(0x60, 40, 1, 0), &[(DATA + 0x2000, 512)]);
    b.prepare(0, 31, &Bench::queued(0x60, 4000, 4096, 31), &[(DATA + 0x1_0000, 2 << 20)]);
    b.issue_queued(1 << 5);
    assert_eq!((b.port(0, 0x34), b.port(0, 0x38)), (0, 0));
    assert_eq!(b.read(RECEIVED + 0x58, 8), [0xA1, 0x40, 0x50, 0, 0x20, 0, 0, 0]);
    b.issue_queued(1 | 1 << 31);
    assert_eq!((b.port(0, 0x34), b.port(0, 0x38)), (0, 0));
    assert_eq!(b.read(DATA + 0x2000, 2), [0xA5, 0xA5], "what was queued before");
    assert_eq!(b.read(DATA + 0x1_0000 + 4095 * 512, 1), [((4000 + 4095) % 251) as u8 + 1], "in pieces");
    assert_eq!(b.port(0, 0x10) & SDBS, SDBS);
    assert_eq!(b.read(LIST + 31 * 32 + 4, 4), (4096u32 * 512).to_le_bytes());
}

#[test]
fn a_queued_command_that_fails_stops_the_port_and_is_in_the_log() {
    let b = Bench::new();
    b.prepare(0, 7, &Bench::queued(0x60, 8190, 8, 7), &[(DATA, 4096)]);
    b.prepare(0, 8, &Bench::queued(0x60, 1, 1, 8), &[(DATA, 512)]);
    b.issue_queued(1 << 7 | 1 << 8);
    assert_eq!(b.port(0, 0x10) & TFES, TFES);
    assert_eq!(b.port(0, 0x20), 0x1051, "IDNF");
    assert_eq!(b.port(0, 0x34), 1 << 7 | 1 << 8, "software sees which were active");
    b.w(0x118, 0x10);
    assert_eq!((b.port(0, 0x34), b.port(0, 0x38)), (0, 0));
    b.w(0x118, 0x11);
    b.prepare(0, 0, &Bench::frame(0x2F, 0x10, 1), &[(DATA, 512)]);
    b.issue(0, 1);
    let log = b.read(DATA, 512);
    assert_eq!((log[0], log[2], log[3]), (7, 0x51, 0x10));
    assert_eq!(log.iter().fold(0u8, |s, x| s.wrapping_add(*x)), 0);
    b.prepare(0, 0, &Bench::queued(0x60, 1, 1, 0), &[(DATA, 512)]);
    b.issue_queued(1);
    assert_eq!((b.port(0, 0x34), b.read(DATA, 1)), (0, vec![2]), "all is well again");
}

#[test]
fn packets() {
    let b = Bench::new();
    let table = TABLES + 0x1_0000;
    let packet = |bytes: &[u8], dma: u8, regions: &[(u64, u32)]| {
        b.prepare(1, 0, &[(2, 0xA0), (3, dma), (5, 0xFE), (6, 0xFF)], regions);
        b.memory.write(table + 0x40, &[0; 16]).unwrap();
        b.memory.write(table + 0x40, bytes).unwrap();
        b.issue(1, 1);
    };
    b.prepare(1, 0, &[(2, 0xA1)], &[(DATA, 512)]);
    b.issue(1, 1);
    assert_eq!(b.read(DATA, 2), [0xC0, 0x85]);
    packet(&[0], 0, &[]);
    assert_eq!((b.port(1, 0x38), b.port(1, 0x20) & 0xFF), (0, 0x40));
    // 40 sectors by PIO need two blocks of the queue and many of the drive; then by DMA.
    for dma in [0, 1] {
        b.memory.write(DATA, &[0; 64]).unwrap();
        packet(&[0x28, 0, 0, 0, 0, 2, 0, 0, 40], dma, &[(DATA, 40 * 2048)]);
        assert_eq!((b.port(1, 0x38), b.port(1, 0x20) & 0xFF), (0, 0x40));
        assert_eq!((b.read(DATA, 1), b.read(DATA + 39 * 2048, 1)), (vec![3], vec![42]));
        assert_eq!(b.read(LIST + 0x400 + 4, 4), (40u32 * 2048).to_le_bytes());
    }
    packet(&[0xFE], 0, &[]);
    assert_eq!((b.port(1, 0x10) & TFES, b.port(1, 0x20)), (TFES, 0x5441), "check condition");
    assert_eq!(b.port(1, 0x38), 1, "stays for software to see");
    b.w(0x198, 0x10);
    b.w(0x198, 0x11);
    packet(&[0x03, 0, 0, 0, 18], 0, &[(DATA, 18)]);
    assert_eq!(b.read(DATA, 3), [0x70, 0, 5]);
}

#[test]
fn region_tables_that_are_too_short_or_nowhere() {
    let b = Bench::new();
    b.prepare(0, 0, &Bench::frame(0x25, 0, 2), &[(DATA, 512)]);
    b.issue(0, 1);
    assert_eq!((b.port(0, 0x38), b.port(0, 0x10) & OFS), (0, OFS), "overflow; what fits is there");
    assert_eq!(b.read(LIST + 4, 4), 512u32.to_le_bytes());
    b.w(0x110, u32::MAX);
    b.prepare(0, 0, &Bench::frame(0x35, 0, 2), &[(DATA, 512)]);
    b.issue(0, 1);
    assert_eq!((b.port(0, 0x10) & TFES, b.port(0, 0x38)), (TFES, 1), "a write with too little data");
    b.w(0x118, 0x10);
    b.w(0x118, 0x11);
    b.w(0x110, u32::MAX);
    b.prepare(0, 0, &Bench::frame(0x25, 0, 2), &[(1 << 40, 1024)]);
    b.issue(0, 1);
    assert_eq!(b.port(0, 0x10) & HBFS, HBFS);
    b.w(0x12C, 1);
    b.w(0x12C, 0);
    assert_eq!((b.port(0, 0x24), b.port(0, 0x20)), (0x101, 0x150));
    b.w(0x118, 0x10);
    b.w(0x110, u32::MAX);
    b.prepare(0, 0, &[(0, 0x34), (2, 0xEC)], &[]);
    b.w(0x118, 0x11);
    b.issue(0, 1);
    assert_eq!(b.port(0, 0x10) & IFS, IFS, "not a frame for a drive");
}

#[test]
fn resets_bring_the_signature_back() {
    let b = Bench::new();
    b.w(0x12C, 0x301);
    assert_eq!((b.port(0, 0x28), b.port(0, 0x20), b.port(0, 0x24)), (0, 0x7F, u32::MAX));
    b.w(0x12C, 0x300);
    assert_eq!((b.port(0, 0x28), b.port(0, 0x20), b.port(0, 0x24)), (0x123, 0x150, 0x101));
    assert_eq!(b.port(0, 0x30) & 1 << 26, 1 << 26);
    assert_eq!(b.read(RECEIVED + 0x40, 8), [0x34, 0x40, 0x50, 1, 1, 0, 0, 0]);
    // Software reset in two frames.
    b.prepare(1, 0, &[(1, 0), (15, 4)], &[]);
    b.issue(1, 1);
    assert_eq!(b.port(1, 0x20) & 0x80, 0x80, "busy");
    b.prepare(1, 0, &[(1, 0), (15, 0)], &[]);
    b.issue(1, 1);
    assert_eq!((b.port(1, 0x20) & 0xFF, b.port(1, 0x24), b.port(1, 0x38)), (0, 0xEB14_0101, 0));
    // The whole controller.
    b.w(4, 3);
    assert_eq!((b.r(4), b.r(8), b.port(0, 0x18), b.port(0, 0)), (0x8000_0000, 0, 6, 0));
    assert!(!b.irq.is_high());
}

#[test]
fn messages_in_place_of_the_pin() {
    let b = Bench::new();
    b.config(0x84, &0xFEE0_0000u32.to_le_bytes());
    b.config(0x8C, &[0x41, 0]);
    b.config(0x82, &[1, 0]);
    b.prepare(0, 0, &[(2, 0xEA)], &[]);
    b.issue(0, 1);
    assert_eq!(*lock(&b.messages.0), [(0xFEE0_0000, 0x41)]);
    assert!(!b.irq.is_high());
    b.w(8, 1);
    assert_eq!(lock(&b.messages.0).len(), 2, "the port still has one");
    b.w(0x110, u32::MAX);
    b.w(8, 1);
    assert_eq!((b.r(8), lock(&b.messages.0).len()), (0, 2));
}

#[test]
fn the_index_data_pair() {
    let b = Bench::new();
    let ports = Ahci::index_ports(&b.ahci);
    let mut p = lock(&ports);
    p.port_write(0x10, &0x128u32.to_le_bytes());
    let mut x = [0; 4];
    p.port_read(0x14, &mut x);
    assert_eq!(x, [0x23, 1, 0, 0]);
    p.port_write(0x10, &0x04u32.to_le_bytes());
    p.port_write(0x14, &[0; 4]);
    assert_eq!(b.r(4), 0x8000_0000);
    p.port_read(0x1F, &mut x);
    p.port_read(0x12, &mut x);
    assert_eq!(x[..2], [0, 0]);
}

#[test]
fn discs_change_and_state_is_kept() {
    let b = Bench::new();
    let mut a = lock(&b.ahci);
    assert_eq!((a.tray(1), a.tray(0).is_some(), a.tray(6)), (Some((false, false)), true, None));
    assert!(a.geometry(0).is_some() && a.geometry(1).is_none());
    assert_eq!(a.move_tray(1, true), Some(true));
    assert!(a.change_medium(0, None).is_err());
    assert!(a.change_medium(1, None).is_ok_and(|old| old.is_some()));
    crate::test_util::round_trip(&mut *a);
    assert_eq!(a.register(0x118), 0xC017);
    let mut bytes = a.save().unwrap();
    let at = bytes.len() - 1;
    bytes.truncate(at);
    assert!(a.restore(&bytes).is_err());
}

/// Registers, frames and tables at random: nothing to check but that nobody panics.
#[test]
fn random_guests() {
    let b = Bench::new();
    let mut x = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = || {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    };
    let codes = [0x25, 0x35, 0x60, 0x61, 0xA0, 0xEC, 0xA1, 0x2F, 0xC4, 0x39, 0x06, 0xEF, 0x08, 0x90, 0xB0, 0xE7];
    for step in 0..6000 {
        let port = random() % 3;
        match random() % 8 {
            0..=3 => {
                let slot = random() % 32;
                let code = codes[(random() % 16) as usize];
                let mut frame = Bench::queued(code, random() % 9000, (random() % 40) as u16, slot as u8);
                if random() % 3 == 0 {
                    frame = Bench::frame(code, random() % 9000, (random() % 40) as u16);
                }
                if random() % 8 == 0 {
                    frame.push(((random() % 20) as usize, random() as u8));
                }
                let regions: Vec<(u64, u32)> =
                    (0..random() % 4).map(|_| (random() % 0x90_0000, (random() % 0x3000) as u32 + 1)).collect();
                b.prepare(port, slot, &frame, &regions);
                b.memory.write(TABLES + port * 0x1_0000 + slot * 0x400 + 0x40, &random().to_le_bytes()).unwrap();
                b.w(0x100 + port * 0x80 + 0x34, 1 << slot);
                b.w(0x100 + port * 0x80 + 0x38, 1 << slot);
            }
            4 => b.w(random() % 0x420, random() as u32),
            5 => {
                b.w(0x118 + port * 0x80, 0x10);
                b.start(port);
            }
            6 => {
                b.w(0x12C + port * 0x80, 1);
                b.w(0x12C + port * 0x80, 0);
            }
            _ => drop(b.r(random() % 0x1100)),
        }
        if step % 200 == 0 {
            b.settle();
            let saved = lock(&b.ahci).save();
            if let Ok(mut bytes) = saved {
                let at = (random() % bytes.len() as u64) as usize;
                bytes[at] ^= 1 << (random() % 8);
                let _ = lock(&b.ahci).restore(&bytes);
            }
            lock(&b.ahci).reset();
            b.config(0x04, &[6, 0]);
            b.start(0);
            b.start(1);
        }
    }
    b.settle();
}
