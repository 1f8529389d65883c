//! EHCI 1.0: registers, a tablet enumerated over the asynchronous list and read over the periodic one, errors, and
//! schedules made by attackers.

use std::sync::Arc;

use guest_memory::GuestMemory;
use input::{InputBus, InputEvent};
use pci::PciFunction;
use vm_core::{Clock, Device, Mmio, RecordedLine, Shared, lock};

use super::*;
use crate::test_util::{Random, bytes, disk, memory, peek, poke, setup, tablet};
use crate::{UsbBus, UsbDevice};

const QH: u32 = 0x1000;
const QTDS: u32 = 0x2000;
const DATA: u32 = 0x8000;
const FRAMES: u32 = 0x1_0000;
const INT_QH: u32 = 0x3000;
const PORT0: u64 = 0x64;
const MS: u64 = 1_000_000;

struct Bench {
    clock: Clock,
    memory: GuestMemory,
    line: Arc<RecordedLine>,
    bus: Arc<UsbBus>,
    ehci: Shared<Ehci>,
    input: Arc<InputBus>,
    tablet: Shared<UsbDevice>,
}

impl Bench {
    fn new() -> Self {
        let (clock, memory) = (Clock::manual(), memory());
        let (line, irq) = RecordedLine::line();
        let bus = UsbBus::new("usb-bus.0", PORTS);
        let host = Host { clock: clock.clone(), memory: memory.clone(), irq, bus: bus.clone(), multifunction: false };
        let ehci = Ehci::new("ehci", host);
        let (input, tablet) = tablet(&clock);
        bus.attach(1, &tablet).unwrap();
        lock(&ehci).config_mut().write(4, &[6, 0]);
        (0..1024).for_each(|i| poke(&memory, FRAMES + 4 * i, &[1]));
        Self { clock, memory, line, bus, ehci, input, tablet }
    }

    fn read(&self, offset: u64) -> u32 {
        let mut d = [0; 4];
        lock(&self.ehci).mmio_read(offset, &mut d);
        u32::from_le_bytes(d)
    }

    fn write(&self, offset: u64, value: u32) {
        lock(&self.ehci).mmio_write(offset, &value.to_le_bytes());
    }

    /// Takes all ports, resets port 1 and starts the controller with both schedules.
    fn start(&self) {
        self.write(0x60, 1);
        self.clock.advance(MS);
        self.write(PORT0, 0x1100);
        self.write(PORT0, 0x1000);
        self.write(0x28, 0x37);
        self.write(0x34, FRAMES);
        self.write(0x38, QH);
        self.write(0x20, 0x0001_0031);
    }

    /// A queue head of the asynchronous list, alone in it, with `qtds` chained from [`QTDS`].
    fn control(&self, address: u32, packet: [u8; 8], len: u32) -> u32 {
        self.memory.write(0x7000, &packet).unwrap();
        let data_in = packet[0] & 0x80 != 0;
        let q = |n: u32| QTDS + 0x40 * n;
        let has_data = len != 0;
        poke(&self.memory, q(0), &[if has_data { q(1) } else { q(2) }, 1, 8 << 16 | 3 << 10 | 2 << 8 | 0x80, 0x7000]);
        let pid = u32::from(data_in) << 8;
        poke(&self.memory, q(1), &[q(2), q(2), 1 << 31 | len << 16 | 3 << 10 | pid | 0x80, DATA, 0, 0, 0, 0]);
        let status_pid = u32::from(!data_in || !has_data) << 8;
        poke(&self.memory, q(2), &[1, 1, 1 << 31 | 1 << 15 | 3 << 10 | status_pid | 0x80, 0]);
        poke(&self.memory, QH, &[QH | 2, address | 2 << 12 | 1 << 14 | 1 << 15 | 64 << 16, 1 << 30, 0, q(0), 1, 0]);
        self.clock.advance(10 * MS);
        peek(&self.memory, q(2) + 8)
    }

    /// Address 5, configuration 1.
    fn configure(&self) {
        assert_eq!(self.control(0, setup(0, 5, 5, 0, 0), 0) & 0xC0, 0, "SET_ADDRESS");
        assert_eq!(self.control(5, setup(0, 9, 1, 0, 0), 0) & 0xC0, 0, "SET_CONFIGURATION");
    }

    /// An interrupt queue head for endpoint 1 of address 5 in every frame, with one qTD of `len` bytes.
    fn interrupt_in(&self, len: u32) {
        poke(&self.memory, QTDS, &[1, 1, len << 16 | 1 << 15 | 3 << 10 | 1 << 8 | 0x80, DATA, 0, 0, 0, 0]);
        poke(&self.memory, INT_QH, &[1, 5 | 1 << 8 | 2 << 12 | 8 << 16, 1 << 30 | 1, 0, QTDS, 1, 0]);
        (0..1024).for_each(|i| poke(&self.memory, FRAMES + 4 * i, &[INT_QH | 2]));
    }

    fn point(&self, x: u16, y: u16) {
        self.input.send(&InputEvent::AbsMove { x, y });
        self.input.send(&InputEvent::Sync);
    }
}

#[test]
fn capability_registers() {
    let b = Bench::new();
    assert_eq!((b.read(0), b.read(4), b.read(8)), (0x0100_0020, 6, 0x6870));
    assert_eq!(b.read(0x20), 0x0008_0000);
    assert_eq!(b.read(0x24), 0x1000, "halted");
    let mut id = [0; 4];
    lock(&b.ehci).config().read(0, &mut id);
    assert_eq!(u32::from_le_bytes(id), 0x293A_8086);
}

#[test]
fn ports_belong_to_companions_until_the_flag_is_set() {
    let b = Bench::new();
    assert_eq!(b.read(PORT0), 0x3000, "powered, routed away, nothing to see");
    b.write(0x60, 1);
    assert_eq!(b.read(PORT0), 0x1803, "connected, changed, line state J");
    assert_eq!(b.read(0x24) & 4, 4, "port change");
    b.write(PORT0, 0x1002);
    assert_eq!(b.read(PORT0), 0x1801);
    b.write(PORT0, 0x1100);
    assert_eq!(b.read(PORT0) & 0x104, 0x100, "in reset");
    b.write(PORT0, 0x1000);
    assert_eq!(b.read(PORT0), 0x1005, "high speed: enabled");
    assert_eq!(lock(&b.tablet).speed(), crate::Speed::High);
    b.write(PORT0, 0x3005);
    assert_eq!(b.read(PORT0) & 0x2003, 0x2002, "given to a companion: gone here");
    b.bus.detach(1);
    b.clock.advance(1);
    assert_eq!(b.read(PORT0) & 1, 0);
}

#[test]
fn a_full_speed_device_is_not_enabled() {
    let b = Bench::new();
    let slow = crate::hid::device(crate::hid::HidKind::Mouse, "m", "1", crate::Speed::Full, &b.clock, &b.input);
    b.bus.attach(2, &slow).unwrap();
    b.write(0x60, 1);
    b.write(PORT0 + 4, 0x1100);
    b.write(PORT0 + 4, 0x1000);
    assert_eq!(b.read(PORT0 + 4) & 0xD, 1, "connected, not enabled, as the driver must see to hand it over");
}

#[test]
fn enumerate_and_read_a_report() {
    let b = Bench::new();
    b.start();
    let token = b.control(0, setup(0x80, 6, 0x0100, 0, 64), 64);
    assert_eq!(token & 0xFF, 0);
    assert_eq!(peek(&b.memory, QTDS + 0x48) >> 16 & 0x7FFF, 64 - 18, "a short packet ends the data stage");
    assert_eq!(bytes(&b.memory, DATA, 18)[..12], [18, 1, 0, 2, 0, 0, 0, 64, 0x27, 6, 1, 0]);
    assert!(b.line.is_high(), "IOC");
    b.write(0x24, 0x3F);
    assert!(!b.line.is_high());
    b.configure();
    assert_eq!(lock(&b.tablet).address(), 5);
    assert!(b.input.is_absolute(), "a configured tablet is the first choice");
    b.write(0x24, 0x3F);
    b.interrupt_in(8);
    b.clock.advance(50 * MS);
    assert_eq!(peek(&b.memory, QTDS + 8) & 0x80, 0x80, "nothing to report: NAK");
    b.point(0x1234, 0x7FFF);
    b.clock.advance(2 * MS);
    assert_eq!(peek(&b.memory, QTDS + 8) & 0x7FFF_00FF, 2 << 16, "done, two bytes short");
    assert_eq!(bytes(&b.memory, DATA, 6), [0, 0x34, 0x12, 0xFF, 0x7F, 0]);
    assert!(b.line.is_high());
}

#[test]
fn stall_halts_and_nobody_is_a_transaction_error() {
    let b = Bench::new();
    b.start();
    b.control(0, setup(0x80, 6, 0x0900, 0, 64), 64);
    assert_eq!(peek(&b.memory, QTDS + 0x48) & 0xFF, 0x40, "halted, no error bits: STALL");
    assert_eq!(b.read(0x24) & 2, 2);
    b.control(77, setup(0x80, 6, 0x0100, 0, 64), 64);
    assert_eq!(peek(&b.memory, QTDS + 8) & 0xCFF, 0x248 & 0xFF, "halted with a transaction error, no tries left");
}

#[test]
fn a_device_that_goes_away_is_a_transaction_error() {
    let b = Bench::new();
    b.start();
    b.configure();
    b.interrupt_in(8);
    b.clock.advance(20 * MS);
    assert_eq!(peek(&b.memory, QTDS + 8) & 0xFF, 0x80, "waits");
    b.bus.detach(1);
    b.clock.advance(30 * MS);
    assert_eq!(peek(&b.memory, QTDS + 8) & 0xCFF, 0x48, "halted, transaction error, no tries left");
    assert_eq!(b.read(PORT0) & 7, 2, "gone: changed, disabled");
    assert_eq!(b.read(0x24) & 6, 6);
}

#[test]
fn a_report_longer_than_the_buffer_is_babble() {
    let b = Bench::new();
    b.start();
    b.configure();
    b.interrupt_in(3);
    b.point(1, 1);
    b.clock.advance(20 * MS);
    assert_eq!(peek(&b.memory, QTDS + 8) & 0xFF, 0x50);
}

#[test]
fn bad_pointers_are_host_system_errors() {
    for (what, at, value) in [("list", 0x38, 0xFFFF_F000), ("frames", 0x34, 0xFFFF_F000)] {
        let b = Bench::new();
        b.start();
        b.write(at, value);
        b.clock.advance(20 * MS);
        assert_eq!(b.read(0x24) & 0x1010, 0x1010, "{what}: error, halted");
        assert!(b.line.is_high());
    }
}

#[test]
fn schedules_that_loop_end() {
    let b = Bench::new();
    b.start();
    // An interrupt queue head that links to itself, a list of queue heads without a head, and a ring of active qTDs.
    (0..1024).for_each(|i| poke(&b.memory, FRAMES + 4 * i, &[INT_QH | 2]));
    poke(&b.memory, INT_QH, &[INT_QH | 2, 5 | 2 << 12 | 8 << 16, 0xFF, 0, 1, 1, 0]);
    poke(&b.memory, QTDS, &[QTDS, 1, 1 << 8 | 0x80, DATA, 0, 0, 0, 0]);
    poke(&b.memory, QH, &[QH | 2, 2 << 12 | 64 << 16, 0, 0, QTDS, 1, 0]);
    b.clock.advance(200 * MS);
    assert_eq!(b.read(0x24) & 0x1000, 0, "it still runs");
}

#[test]
fn the_doorbell_answers_and_frindex_counts() {
    let b = Bench::new();
    b.start();
    poke(&b.memory, QH, &[QH | 2, 1 << 15 | 2 << 12 | 64 << 16, 0, 0, 1, 1, 0]);
    let before = b.read(0x2C);
    b.write(0x20, 0x0001_0071);
    b.clock.advance(MS);
    assert_eq!(b.read(0x24) & 0x20, 0x20);
    assert_eq!(b.read(0x20) & 0x40, 0);
    assert_eq!(b.read(0x2C) - before, 8);
    b.write(0x20, 0x0001_0000);
    let stopped = b.read(0x2C);
    b.clock.advance(MS);
    assert_eq!(b.read(0x2C), stopped);
}

#[test]
fn a_suspended_port_is_woken_by_the_tablet() {
    let b = Bench::new();
    b.start();
    b.configure();
    assert_eq!(b.control(5, setup(0, 3, 1, 0, 0), 0) & 0xC0, 0, "remote wakeup on");
    b.write(PORT0, 0x1085);
    b.write(0x24, 0x3F);
    assert_eq!(b.read(PORT0) & 0xC0, 0x80);
    b.point(3, 4);
    b.clock.advance(MS);
    assert_eq!(b.read(PORT0) & 0xC0, 0xC0, "resuming");
    assert_eq!(b.read(0x24) & 4, 4);
    b.write(PORT0, 0x1005);
    assert_eq!(b.read(PORT0) & 0xC5, 5);
}

#[test]
fn save_and_restore_keep_a_configured_tablet() {
    let b = Bench::new();
    b.start();
    b.configure();
    let (device, controller) = (lock(&b.tablet).save().unwrap(), lock(&b.ehci).save().unwrap());
    let c = Bench::new();
    lock(&c.tablet).restore(&device).unwrap();
    lock(&c.ehci).restore(&controller).unwrap();
    assert_eq!(c.read(PORT0), b.read(PORT0));
    assert!(c.input.is_absolute());
    c.interrupt_in(8);
    c.point(7, 8);
    c.clock.advance(30 * MS);
    assert_eq!(bytes(&c.memory, DATA, 5), [0, 7, 0, 8, 0]);
    assert!(lock(&c.ehci).restore(&controller[..controller.len() - 1]).is_err());
}

#[test]
fn bulk_transfers_reach_a_disk() {
    let b = Bench::new();
    let (_, queue) = disk(64);
    let config =
        crate::storage::StorageConfig { queue: queue.clone(), serial: "1".into(), removable: false, write_cache: true };
    b.bus.detach(1);
    b.bus.attach(1, &crate::storage::device("disk", crate::Speed::High, config)).unwrap();
    b.start();
    b.configure();
    let mut wrapper = *b"USBCtag1\0\x10\0\0\x80\0\x0A\x28\0\0\0\0\x02\0\0\x08\0\0\0\0\0\0\0";
    wrapper[8..12].copy_from_slice(&4096u32.to_le_bytes());
    b.memory.write(0x7000, &wrapper).unwrap();
    // OUT 31 bytes; IN 4096 bytes over two pages, from the middle of one; IN 13 bytes.
    let q = |n: u32| QTDS + 0x40 * n;
    poke(&b.memory, q(0), &[1, 1, 31 << 16 | 3 << 10 | 0x80, 0x7000, 0, 0, 0, 0]);
    poke(&b.memory, q(1), &[q(2), 1, 4096 << 16 | 3 << 10 | 1 << 8 | 0x80, 0x2_0800, 0x3_0000, 0, 0, 0]);
    poke(&b.memory, q(2), &[1, 1, 13 << 16 | 3 << 10 | 1 << 8 | 0x80, 0x4_0000, 0, 0, 0, 0]);
    let other = 0x1100;
    let high = 5 | 2 << 12 | 512 << 16;
    poke(&b.memory, other, &[QH | 2, high | 1 << 8, 1 << 30, 0, q(1), 1, 0]);
    poke(&b.memory, QH, &[other | 2, high | 2 << 8 | 1 << 15, 1 << 30, 0, q(0), 1, 0]);
    b.clock.advance(3 * MS);
    queue.drain();
    b.clock.advance(3 * MS);
    assert_eq!(peek(&b.memory, q(1) + 8) & 0x7FFF_00FF, 0);
    assert_eq!(bytes(&b.memory, 0x2_0800, 2), [2, 2]);
    assert_eq!(bytes(&b.memory, 0x3_0000, 2048), [vec![6; 512], vec![7; 512], vec![8; 512], vec![9; 512]].concat());
    assert_eq!(bytes(&b.memory, 0x4_0000, 13), b"USBStag1\0\0\0\0\0");
}

/// Random schedules in random memory: overflow checks are on, so a panic is all there is to look for.
#[test]
fn random_schedules() {
    let mut r = Random(7);
    for _ in 0..60 {
        let b = Bench::new();
        b.start();
        for _ in 0..2000 {
            let value = match r.next() % 4 {
                0 => r.next() as u32,
                1 => (r.next() as u32 & 0x1FFE0) | 2,
                2 => (r.next() as u32 & 0x7FFF_8380) | 0x80,
                _ => 5 | 2 << 12 | 8 << 16 | (r.next() as u32 & 0xF00),
            };
            poke(&b.memory, r.next() as u32 & 0x1FFFC, &[value]);
        }
        for _ in 0..40 {
            match r.next() % 3 {
                0 => b.write(r.next() & 0x7C, r.next() as u32),
                1 => b.write(0x20, 0x0001_0031),
                _ => b.point(r.next() as u16, 0),
            }
            b.clock.advance(r.next() % (2 * MS));
        }
    }
}
