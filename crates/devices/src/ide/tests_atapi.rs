//! The CD-ROM drive, from ATA/ATAPI-6 (PACKET) and MMC-3.

use vm_core::lock;

use super::DriveBus;
use super::test_bench::{BM, Bench, cd, pattern};

const READ_10: u8 = 0x28;

fn read_10(lba: u8, count: u8) -> [u8; 10] {
    [READ_10, 0, 0, 0, 0, lba, 0, 0, count, 0]
}

#[test]
fn who_it_is() {
    let b = Bench::cdrom(Some(cd(16)));
    assert_eq!([0x1F2, 0x1F3, 0x1F4, 0x1F5, 0x1F7].map(|p| b.inb(p)), [1, 1, 0x14, 0xEB, 0]);
    assert_eq!(b.command(0, 0, 0, 0, 0xEC) & 0x89, 1);
    assert_eq!((b.inb(0x1F1), b.inb(0x1F4), b.inb(0x1F5)), (4, 0x14, 0xEB), "aborted, with the signature");
    assert_eq!(b.command(0, 0, 0, 0, 0xA1) & 8, 8);
    assert_eq!(b.read_data(512)[..2], [0xC0, 0x85]);
    let d = b.reply(&[0x12, 0, 0, 0, 36]);
    assert_eq!((d.len(), d[0], d[1], &d[8..23]), (36, 5, 0x80, b"WHPX    DVD-ROM".as_slice()));
    assert_eq!(b.reply(&[0x12, 0, 0, 0, 5]).len(), 5);
    b.outb(0x1F7, 0x08);
    assert_eq!((b.inb(0x1F7), b.inb(0x1F5)), (0, 0xEB), "DEVICE RESET");
}

#[test]
fn capacity_and_reading_by_pio_in_blocks_of_the_limit() {
    let b = Bench::cdrom(Some(cd(16)));
    assert_eq!(b.reply(&[0x25]), [0, 0, 0, 15, 0, 0, 8, 0]);
    assert_eq!(b.reply(&read_10(3, 2)), [[4; 2048], [5; 2048]].concat());
    let mut p = [0; 12];
    (p[0], p[5], p[9]) = (0xA8, 15, 1);
    assert_eq!(b.reply(&p), [16; 2048]);
    let edges = b.irq14.edges();
    b.packet(&read_10(0, 1), 1001, false);
    let mut sizes = vec![];
    while b.inb(0x1F7) & 8 != 0 {
        let n = usize::from(b.inb(0x1F4)) | usize::from(b.inb(0x1F5)) << 8;
        sizes.push(n);
        b.read_data(n);
    }
    assert_eq!(sizes, [1000, 1000, 48]);
    assert_eq!(b.irq14.edges() - edges, 4, "each block and the end");
    assert_eq!(b.refused(&read_10(15, 2)), (5, 0x21, 0));
    assert_eq!(b.reply(&read_10(0, 0)), [0u8; 0]);
}

#[test]
fn reading_by_dma() {
    let b = Bench::cdrom(Some(cd(600)));
    let regions: Vec<(u32, u16)> = (0..19).map(|i| (0x10_0000 + i * 0x1_0000, 0)).collect();
    b.prds(&regions, true);
    let p = [READ_10, 0, 0, 0, 0, 0, 0, 2, 0x58, 0];
    b.packet(&p, 0, true);
    let status = b.start();
    assert_eq!((status & 0x89, b.inb(0x1F2) & 3), (0, 3));
    assert_eq!(b.ram(0x10_0000, 600 * 2048), pattern(600, 2048));
    assert_eq!(b.inb(BM + 2) & 4, 4);
}

#[test]
fn raw_frames_and_table_of_contents() {
    let b = Bench::cdrom(Some(cd(16)));
    let mut p = [0; 12];
    (p[0], p[5], p[8], p[9]) = (0xBE, 2, 1, 0xF8);
    let d = b.reply(&p);
    assert_eq!(
        (d.len(), &d[..16]),
        (2352, [0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 2, 2, 1].as_slice())
    );
    assert_eq!((d[16], d[2063], d[2064]), (3, 3, 0));
    p[9] = 0x10;
    assert_eq!(b.reply(&p), [3; 2048]);
    p[9] = 0x20;
    assert_eq!(b.refused(&p), (5, 0x24, 0));
    let toc = |format: u8, msf: u8| b.reply(&[0x43, msf, format, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(toc(0, 0), [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xAA, 0, 0, 0, 0, 16]);
    assert_eq!(toc(0, 2)[16..], [0, 0, 2, 16]);
    assert_eq!(toc(1, 0), [0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0]);
    let full = toc(2, 2);
    assert_eq!((full.len(), full[1], &full[26..37]), (48, 46, [1, 0x14, 0, 0xA2, 0, 0, 0, 0, 0, 2, 16].as_slice()));
}

#[test]
fn configuration_modes_and_information() {
    let b = Bench::cdrom(Some(cd(16)));
    let d = b.reply(&[0x46, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(d[..8], [0, 0, 0, (d.len() - 4) as u8, 0, 0, 0, 8], "CD-ROM is current");
    assert_eq!(b.reply(&[0x46, 2, 0, 3, 0, 0, 0, 1, 0, 0])[8..], [0, 3, 3, 4, 0x29, 0, 0, 0]);
    let m = b.reply(&[0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 64, 0]);
    assert_eq!((m.len(), m[1], m[2], m[8]), (28, 26, 1, 0x2A));
    assert_eq!(b.reply(&[0x1A, 0, 0x01, 0, 64])[..6], [11, 1, 0, 0, 1, 6]);
    assert_eq!(b.refused(&[0x5A, 0, 0x05, 0, 0, 0, 0, 0, 64, 0]), (5, 0x24, 0));
    assert_eq!(b.reply(&[0x51, 0, 0, 0, 0, 0, 0, 0, 34, 0])[..3], [0, 32, 0x0E]);
    assert_eq!(b.reply(&[0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]).len(), 8);
    assert_eq!(b.refused(&[0xFF]), (5, 0x20, 0));
}

#[test]
fn trays_locks_and_changes() {
    let b = Bench::cdrom(None);
    assert_eq!(b.refused(&[0]), (2, 0x3A, 1));
    assert_eq!(b.refused(&read_10(0, 1)), (2, 0x3A, 1));
    assert!(lock(&b.ide.channels[0]).change_medium(0, Some(cd(4))).is_ok());
    assert!(lock(&b.ide.channels[0]).change_medium(1, None).is_err());
    let event = [0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8, 0];
    assert_eq!(b.reply(&event), [0, 6, 4, 0x10, 2, 2, 0, 0], "new media, present");
    assert_eq!(b.reply(&event)[4], 0, "told once");
    assert_eq!(b.refused(&[0]), (6, 0x28, 0));
    assert_eq!(b.reply(&[0]), [0u8; 0]);
    b.reply(&[0x1E, 0, 0, 0, 1]);
    assert_eq!(b.refused(&[0x1B, 0, 0, 0, 2]), (5, 0x53, 2), "locked");
    b.reply(&[0x1E, 0, 0, 0, 0]);
    b.reply(&[0x1B, 0, 0, 0, 2]);
    assert_eq!(lock(&b.ide.channels[0]).tray(0), Some((false, true)));
    assert_eq!(b.refused(&[0]), (2, 0x3A, 2), "open");
    b.reply(&[0x1B, 0, 0, 0, 3]);
    assert_eq!(b.refused(&[0]), (6, 0x28, 0));
    assert_eq!(b.reply(&read_10(0, 1)), [1; 2048]);
}

#[test]
fn random_packets_do_not_panic() {
    let b = Bench::cdrom(Some(cd(16)));
    let mut x = 99u32;
    for _ in 0..3000 {
        let mut p = [0u8; 12];
        for byte in &mut p {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            *byte = if x & 0x300 == 0 { x as u8 } else { x as u8 & 3 };
        }
        if x & 0x400 != 0 {
            p[0] = [0x12, 3, 0x1A, 0x5A, 0x1B, 0x46, 0x4A, 0xBD, 0x25, 0x28, 0xA8, 0xBE, 0xB9, 0x43, 0x51, 0x2B]
                [x as usize % 16];
        }
        b.packet(&p, (x >> 8) as u16 & 0xFFF, false);
        b.outb(0x1F7, 0x08);
    }
}
