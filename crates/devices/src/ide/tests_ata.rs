//! Disk commands and channel behaviour, from ATA/ATAPI-6 and the 82371SB data sheet.

use block::{BlockBackend, MemoryDisk};
use pci::devfn;
use vm_core::{Device, lock};

use super::test_bench::{BM, Bench, pattern, queue};
use super::{DiskConfig, DriveConfig};

const IDLE: u8 = 0x50;

fn word(data: &[u8], n: usize) -> u16 {
    u16::from_le_bytes([data[2 * n], data[2 * n + 1]])
}

fn stored(b: &Bench, lba: u64) -> [u8; 512] {
    let mut x = [0; 512];
    b.disk.read_at(lba * 512, &mut x).unwrap();
    x
}

#[test]
fn identify_and_its_checksum() {
    let b = Bench::disk();
    assert_eq!(b.command(0, 0, 0, 0, 0xEC), 0x58);
    assert!(b.irq14.is_high());
    assert_eq!(b.inb(0x1F7), 0x58);
    assert!(!b.irq14.is_high(), "reading the status register acknowledges");
    let d = b.read_data(512);
    assert_eq!(b.settle(), IDLE);
    assert!(!b.irq14.is_high(), "no interrupt after the last block");
    assert_eq!((word(&d, 1), word(&d, 3), word(&d, 6)), (4, 16, 63));
    assert_eq!(&d[54..68], b"HWXPH RADDSI K", "byte pairs are swapped");
    assert_eq!((word(&d, 60), word(&d, 61), word(&d, 100)), (4096, 0, 4096));
    assert_eq!(d.iter().fold(0u8, |s, x| s.wrapping_add(*x)), 0);
    assert_eq!(word(&d, 169), 1);
}

#[test]
fn pio_reads_interrupt_once_a_block() {
    let b = Bench::disk();
    assert_eq!(b.command(0, 3, 10, 0x40, 0x20), 0x58);
    for n in 0..3u8 {
        b.inb(0x1F7);
        assert_eq!(b.read_data(512), [11 + n; 512]);
    }
    assert_eq!((b.settle(), b.irq14.edges()), (IDLE, 3));
    assert_eq!(b.command(0, 0, 0, 0x40, 0x20), 0x58);
    assert_eq!(b.read_data(256 * 512), pattern(256, 512), "0 is 256 sectors");
    assert_eq!(b.settle(), IDLE);
}

#[test]
fn chs_follows_initialize_device_parameters() {
    let b = Bench::disk();
    let read = |c: u32, head: u8, s: u32| {
        b.command(0, 1, c << 8 | s, head, 0x20);
        b.read_data(512)[0]
    };
    assert_eq!(u64::from(read(1, 2, 3)), ((16 + 2) * 63 + 2) % 251 + 1);
    assert_eq!(b.command(0, 32, 0, 0x03, 0x91), IDLE);
    assert_eq!(u64::from(read(1, 2, 3)), (4 + 2) * 32 + 2 + 1);
    assert_eq!(b.command(0, 1, 0, 0, 0x20) & 0x89, 1, "sector 0");
    assert_eq!(b.inb(0x1F1) & 0x10, 0x10, "IDNF");
}

#[test]
fn multiple_mode() {
    let b = Bench::disk();
    assert_eq!(b.command(0, 3, 0, 0, 0xC6) & 1, 1, "not a power of two");
    assert_eq!(b.command(0, 4, 0, 0, 0xC6), IDLE);
    let edges = b.irq14.edges();
    b.command(0, 10, 0, 0x40, 0xC4);
    for n in [4, 4, 2] {
        b.inb(0x1F7);
        b.read_data(n * 512);
    }
    assert_eq!((b.settle(), b.irq14.edges() - edges), (IDLE, 3));
    let edges = b.irq14.edges();
    b.inb(0x1F7);
    assert_eq!(b.command(0, 6, 100, 0x40, 0xC5), 0x58);
    assert_eq!(b.irq14.edges(), edges, "no interrupt before the first block out");
    b.write_data(&[1; 2048]);
    b.inb(0x1F7);
    b.write_data(&[2; 1024]);
    assert_eq!((b.settle(), b.irq14.edges() - edges), (IDLE, 2));
    assert_eq!((stored(&b, 103)[0], stored(&b, 105)[511], stored(&b, 106)[0]), (1, 2, 107));
    b.command(0, 0, 0, 0, 0xC6);
    assert_eq!(b.command(0, 1, 0, 0x40, 0xC4) & 1, 1, "multiple mode is off");
}

#[test]
fn addresses_of_48_bits() {
    let b = Bench::disk();
    assert_eq!(b.command48(2, 4094, 0x24), 0x58);
    b.read_data(1024);
    assert_eq!(b.command48(1, 0x1_0000_0000, 0x24), 0x51);
    assert_eq!(b.inb(0x1F1) & 0x10, 0x10);
    b.outb(0x1F2, 0x12);
    b.outb(0x1F2, 0x34);
    b.outb(0x3F6, 0x80);
    assert_eq!(b.inb(0x1F2), 0x12, "HOB shows the previous value");
    b.outb(0x1F1, 0);
    assert_eq!(b.inb(0x1F2), 0x34, "a register write clears HOB");
    assert_eq!(b.command(0, 0, 0, 0x40, 0x27), IDLE);
    assert_eq!((b.inb(0x1F3), b.inb(0x1F4), b.inb(0x1F5)), (0xFF, 0x0F, 0));
    assert_eq!(b.command48(2, 4095, 0x42) & 1, 1);
}

#[test]
fn dma_read_and_write() {
    let b = Bench::disk();
    b.prds(&[(0x1_0000, 1024), (0x2_0000, 512)], true);
    b.command(0, 3, 20, 0x40, 0xC8);
    assert_eq!(b.start(), IDLE);
    assert_eq!(b.ram(0x1_0000, 1024), [[21; 512], [22; 512]].concat());
    assert_eq!(b.ram(0x2_0000, 513)[511..], [23, 0]);
    assert_eq!((b.inb(BM + 2) & 7, b.irq14.is_high()), (4, true));
    b.outb(BM, 0);
    b.outb(BM + 2, 4);
    assert_eq!(b.inb(BM + 2) & 7, 0);
    b.inb(0x1F7);
    b.memory.write(0x3_0000, &[0xAB; 2048]).unwrap();
    b.prds(&[(0x3_0000, 2048)], false);
    assert_eq!(b.start(), IDLE, "the engine may start first");
    b.command(0, 4, 40, 0x40, 0xCA);
    assert_eq!((b.settle(), b.inb(BM + 2) & 7), (IDLE, 4));
    assert_eq!((stored(&b, 43), stored(&b, 44)[0]), ([0xAB; 512], 45));
}

#[test]
fn dma_with_tables_of_another_size_and_without_bus_mastering() {
    let b = Bench::disk();
    b.prds(&[(0x1_0000, 2048)], true);
    b.command(0, 1, 0, 0x40, 0xC8);
    b.start();
    assert_eq!(b.inb(BM + 2) & 7, 5, "memory is larger: interrupt and still active");
    b.outb(BM, 0);
    assert_eq!(b.inb(BM + 2) & 1, 0);
    b.prds(&[(0x1_0000, 512)], true);
    b.command(0, 2, 0, 0x40, 0xC8);
    b.start();
    assert_eq!(b.inb(BM + 2) & 7, 0, "memory is smaller: neither");
    b.outb(0x3F6, 4);
    assert_eq!(b.inb(0x1F7), 0x80);
    b.outb(0x3F6, 0);
    assert_eq!(b.inb(0x1F7), IDLE);
    b.prds(&[(0x8000_0000, 512)], true);
    b.command(0, 1, 0, 0x40, 0xC8);
    b.start();
    assert_eq!(b.inb(BM + 2) & 7, 2, "not memory: error");
    b.outb(0x3F6, 4);
    b.outb(0x3F6, 0);
    b.bus.config_write(devfn(1, 1), 4, &[1]);
    b.prds(&[(0x1_0000, 512)], true);
    b.command(0, 1, 0, 0x40, 0xC8);
    b.start();
    assert_eq!(b.inb(BM + 2) & 7, 2, "bus master enable is off");
}

#[test]
fn large_dma_goes_in_pieces() {
    let b = Bench::disk();
    let regions: Vec<(u32, u16)> = (0..32).map(|i| (0x10_0000 + i * 0x1_0000, 0)).collect();
    b.prds(&regions, true);
    b.command48(4096, 0, 0x25);
    assert_eq!(b.start(), IDLE);
    assert_eq!(b.ram(0x10_0000, 4096 * 512), pattern(4096, 512));
    assert_eq!(b.inb(BM + 2) & 7, 4);
}

#[test]
fn trim_discards() {
    let b = Bench::disk();
    b.memory.write(0x1_0000, &[0; 512]).unwrap();
    b.memory.write(0x1_0000, &(4u64 << 48 | 100).to_le_bytes()).unwrap();
    b.prds(&[(0x1_0000, 512)], false);
    b.outb(0x1F2, 0);
    b.command(1, 1, 0, 0x40, 0x06);
    assert_eq!(b.start(), IDLE);
    assert_eq!((stored(&b, 99)[0], stored(&b, 103)[0], stored(&b, 104)[0]), (100, 0, 105));
    b.memory.write(0x1_0000, &(4u64 << 48 | 4094).to_le_bytes()).unwrap();
    b.prds(&[(0x1_0000, 512)], false);
    b.outb(0x1F2, 0);
    b.command(1, 1, 0, 0x40, 0x06);
    assert_eq!(b.start() & 1, 1, "past the end");
}

#[test]
fn small_commands() {
    let b = Bench::disk();
    for (command, features, count, lba, status) in [
        (0x10u8, 0u8, 0u8, 0u32, IDLE),
        (0x70, 0, 0, 1, IDLE),
        (0xE7, 0, 0, 0, IDLE),
        (0xEA, 0, 0, 0, IDLE),
        (0x00, 0, 0, 0, 0x51),
        (0x08, 0, 0, 0, 0x51),
        (0xA0, 0, 0, 0, 0x51),
        (0xF1, 0, 0, 0, 0x51),
        (0xEF, 0x03, 0x45, 0, IDLE),
        (0xEF, 0x03, 0x46, 0, 0x51),
        (0xEF, 0x82, 0, 0, IDLE),
        (0xEF, 0x99, 0, 0, 0x51),
        (0xB0, 0xD8, 0, 0xC24F00, IDLE),
        (0xB0, 0xDA, 0, 0xC24F00, IDLE),
        (0xB0, 0xDA, 0, 0, 0x51),
        (0xE0, 0, 0, 0, IDLE),
    ] {
        assert_eq!(b.command(features, count, lba, 0x40, command), status, "{command:#x} {features:#x} {count:#x}");
        assert_eq!(b.inb(0x1F1) != 0, status & 1 != 0);
    }
    b.command(0, 0, 0, 0, 0xE5);
    assert_eq!(b.inb(0x1F2), 0, "standby");
    b.command(0, 0, 0, 0, 0xE1);
    b.command(0, 0, 0, 0, 0xE5);
    assert_eq!(b.inb(0x1F2), 0xFF);
    b.command(0, 0, 0, 0, 0xEC);
    let d = b.read_data(512);
    assert_eq!((word(&d, 88), word(&d, 85) & 0x20), (0x203F, 0));
}

#[test]
fn resets_signatures_and_absent_drives() {
    let b = Bench::disk();
    b.command(0, 5, 0x123456, 0x40, 0x91);
    b.outb(0x3F6, 4);
    assert_eq!(b.inb(0x3F6), 0x80);
    b.outb(0x3F6, 0);
    let signature = [0x1F1, 0x1F2, 0x1F3, 0x1F4, 0x1F5].map(|p| b.inb(p));
    assert_eq!((signature, b.inb(0x1F7)), ([1, 1, 1, 0, 0], IDLE));
    b.outb(0x1F6, 0x10);
    assert_eq!((b.inb(0x1F7), b.inb(0x1F2)), (0, 0), "no slave");
    assert_eq!(b.inb(0x177), 0x7F, "nothing on the secondary cable");
    b.outb(0x1F6, 0);
    assert_eq!(b.command(0, 0, 0, 0, 0x90), IDLE);
    assert_eq!(b.inb(0x1F1), 1);
    b.inb(0x1F7);
    b.outb(0x3F6, 2);
    b.command(0, 0, 0, 0, 0xE7);
    assert!(!b.irq14.is_high(), "nIEN");
    b.outb(0x3F6, 0);
    assert!(b.irq14.is_high(), "pending behind nIEN");
}

/// A disk with a bad sector 5, and no room for writes.
struct Broken;
impl BlockBackend for Broken {
    fn read_at(&self, offset: u64, data: &mut [u8]) -> std::io::Result<()> {
        data.fill(0x77);
        let bad = (offset..offset + data.len() as u64).contains(&(5 * 512));
        if bad { Err(std::io::Error::other("bad sector")) } else { Ok(()) }
    }
    fn write_at(&self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::StorageFull.into())
    }
    fn flush(&self) -> std::io::Result<()> {
        Err(std::io::Error::other("flush"))
    }
    fn discard(&self, _: u64, _: u64) -> std::io::Result<()> {
        Ok(())
    }
    fn size(&self) -> u64 {
        1 << 20
    }
    fn readonly(&self) -> bool {
        false
    }
    fn format(&self) -> &'static str {
        "broken"
    }
}

#[test]
fn read_only_and_failing_disks_report() {
    let disk = MemoryDisk::new(pattern(8, 512), true);
    let b = Bench::with([Some(DriveConfig::Disk(DiskConfig::new(queue(disk.clone()), 0))), None], disk.clone());
    assert_eq!(b.command(0, 1, 0, 0x40, 0x30), 0x51);
    assert_eq!(b.inb(0x1F1), 4);
    assert_eq!(b.command(0, 1, 8, 0x40, 0x20), 0x51);
    let broken = DiskConfig::new(queue(std::sync::Arc::new(Broken)), 0);
    let b = Bench::with([Some(DriveConfig::Disk(broken)), None], disk);
    assert_eq!(b.command(0, 1, 4, 0x40, 0x20), 0x58);
    b.read_data(512);
    assert_eq!(b.command(0, 2, 4, 0x40, 0x20), 0x51);
    assert_eq!((b.inb(0x1F1), b.irq14.is_high()), (0x40, true), "UNC, with the interrupt");
    b.prds(&[(0x1_0000, 512)], true);
    b.command(0, 1, 5, 0x40, 0xC8);
    assert_eq!(b.start(), 0x51);
    assert_eq!(b.inb(BM + 2) & 4, 4);
    b.command(0, 1, 0, 0x40, 0x30);
    b.write_data(&[0; 512]);
    assert_eq!((b.settle(), b.inb(0x1F1)), (0x51, 4), "no space: ABRT");
    assert_eq!(b.command(0, 0, 0, 0x40, 0xE7), 0x51, "a flush that fails is told");
}

#[test]
fn save_and_restore_in_the_middle_of_a_transfer() {
    let (a, b) = (Bench::disk(), Bench::disk());
    a.command(0, 2, 7, 0x40, 0x20);
    assert_eq!(a.read_data(100), [8; 100]);
    let saved = lock(&a.ide.channels[0]).save().unwrap();
    lock(&b.ide.channels[0]).restore(&saved).unwrap();
    assert_eq!(b.read_data(924), [vec![8; 412], vec![9; 512]].concat());
    assert_eq!(b.settle(), IDLE);
    assert!(lock(&b.ide.channels[1]).restore(&saved).is_err(), "other drives");
    assert!(lock(&b.ide.channels[0]).restore(&saved[..20]).is_err());
    lock(&b.ide.channels[0]).reset();
    assert_eq!((b.settle(), b.irq14.is_high()), (IDLE, false));
}

#[test]
fn no_sequence_of_port_writes_panics() {
    let b = Bench::disk();
    b.prds(&[(0x1_0000, 512), (0xFFFF_0000, 0)], true);
    let mut x = 12345u32;
    for _ in 0..30_000 {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        let port = [0x1F0, 0x1F1, 0x1F2, 0x1F3, 0x1F4, 0x1F5, 0x1F6, 0x1F7, 0x3F6, BM, BM + 2, 0x1F7, 0x1F0, 0x1F0]
            [(x >> 8) as usize % 14];
        let value = if port == 0x1F6 { x as u8 & 0x4F } else { x as u8 };
        match x >> 30 {
            0 => b.ports.write(port, &[value, 0x20, 3, 9]),
            1 => {
                let mut d = [0; 4];
                b.ports.read(port, &mut d);
            }
            _ => b.outb(port, value),
        }
        if x >> 24 == 7 {
            b.settle();
        }
    }
    b.settle();
    b.outb(0x3F6, 4);
    b.outb(0x3F6, 0);
    b.outb(0x1F6, 0);
    assert_eq!(b.settle(), IDLE);
}
