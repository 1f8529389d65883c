//! UHCI 1.1: registers, a tablet enumerated and read at full speed, errors, schedules made by attackers, companions.

use std::sync::Arc;

use guest_memory::GuestMemory;
use input::{InputBus, InputEvent};
use pci::PciFunction;
use vm_core::{Clock, Device, Mmio, PortIo, RecordedLine, Shared, lock};

use super::*;
use crate::ehci::{self, Ehci};
use crate::test_util::{Random, bytes, memory, peek, poke, setup, tablet};
use crate::{UsbBus, UsbDevice};

const FRAMES: u32 = 0x1_0000;
const QH: u32 = 0x1000;
const TDS: u32 = 0x2000;
const DATA: u32 = 0x8000;
const ACTIVE: u32 = 3 << 27 | 1 << 23;

struct Bench {
    clock: Clock,
    memory: GuestMemory,
    line: Arc<RecordedLine>,
    uhci: Shared<Uhci>,
    input: Arc<InputBus>,
    tablet: Shared<UsbDevice>,
}

fn token(pid: u32, address: u32, endpoint: u32, len: u32) -> u32 {
    (len.wrapping_sub(1) & 0x7FF) << 21 | endpoint << 15 | address << 8 | pid
}

impl Bench {
    fn new() -> Self {
        let (clock, memory) = (Clock::manual(), memory());
        let (line, irq) = RecordedLine::line();
        let bus = UsbBus::new("usb-bus.0", PORTS);
        let (input, tablet) = tablet(&clock);
        bus.attach(1, &tablet).unwrap();
        let host = Host { clock: clock.clone(), memory: memory.clone(), irq, bus, multifunction: false };
        let uhci = Uhci::new("uhci", UhciKind::Piix3, None, host);
        lock(&uhci).config_mut().write(4, &[5, 0]);
        (0..1024).for_each(|i| poke(&memory, FRAMES + 4 * i, &[QH | 2]));
        poke(&memory, QH, &[1, 1]);
        Self { clock, memory, line, uhci, input, tablet }
    }

    fn read(&self, offset: u16) -> u16 {
        let mut d = [0; 2];
        lock(&self.uhci).port_read(offset, &mut d);
        u16::from_le_bytes(d)
    }

    fn write(&self, offset: u16, value: u16) {
        lock(&self.uhci).port_write(offset, &value.to_le_bytes());
    }

    fn start(&self) {
        self.write(0x10, 0x0200);
        self.write(0x10, 0);
        self.write(0x10, 0x0006);
        lock(&self.uhci).port_write(8, &FRAMES.to_le_bytes());
        self.write(4, 0xF);
        self.write(0, 0x81);
    }

    fn td(&self, n: u32, next: u32, control: u32, token: u32, buffer: u32) {
        poke(&self.memory, TDS + 0x20 * n, &[next, control, token, buffer]);
    }

    /// A control transfer without, or with up to 64 bytes of, data to the host. Returns the last TD's status.
    fn control(&self, address: u32, packet: [u8; 8], len: u32) -> u32 {
        self.memory.write(0x7000, &packet).unwrap();
        let at = |n: u32| (TDS + 0x20 * n) | 4;
        self.td(0, if len == 0 { at(2) } else { at(1) }, ACTIVE, token(0x2D, address, 0, 8), 0x7000);
        self.td(1, at(2), ACTIVE, token(0x69, address, 0, len), DATA);
        self.td(2, 1, ACTIVE | 1 << 24, token(if len == 0 { 0x69 } else { 0xE1 }, address, 0, 0), 0);
        poke(&self.memory, QH, &[1, TDS]);
        self.clock.advance(10 * MS);
        peek(&self.memory, TDS + 0x44)
    }

    fn configure(&self) {
        assert_eq!(self.control(0, setup(0, 5, 5, 0, 0), 0) >> 16 & 0xFF, 0);
        assert_eq!(self.control(5, setup(0, 9, 1, 0, 0), 0) >> 16 & 0xFF, 0);
    }
}

#[test]
fn ports_and_registers() {
    let b = Bench::new();
    assert_eq!(b.read(2), 0x20, "halted");
    assert_eq!(b.read(0x10), 0x93, "connected, changed, always, line");
    assert_eq!(b.read(0x12), 0x80);
    assert_eq!(b.read(0x14) & 0x80, 0, "no third port");
    b.start();
    assert_eq!(b.read(0x10), 0x95);
    b.clock.advance(10 * MS);
    assert_eq!(b.read(6), 10);
    assert_eq!(lock(&b.tablet).speed(), crate::Speed::Full);
}

#[test]
fn a_device_that_goes_away_times_out() {
    let b = Bench::new();
    b.start();
    b.configure();
    b.td(0, 1, ACTIVE | 1 << 24, token(0x69, 5, 1, 8), DATA);
    poke(&b.memory, QH, &[1, TDS]);
    b.clock.advance(20 * MS);
    assert_eq!(peek(&b.memory, TDS + 4) >> 16 & 0xFF, 0x88, "active, NAK");
    lock(&b.uhci).bus.clone().detach(1);
    b.clock.advance(20 * MS);
    assert_eq!(peek(&b.memory, TDS + 4) >> 16 & 0x18C4, 0x0044, "stalled, timeout, no tries left");
    assert_eq!(b.read(0x10) & 7, 2, "gone: changed, disabled");
    assert_eq!(b.read(2) & 2, 2, "error interrupt");
}

#[test]
fn a_suspended_bus_is_woken_by_the_tablet() {
    let b = Bench::new();
    b.start();
    b.configure();
    assert_eq!(b.control(5, setup(0, 3, 1, 0, 0), 0) >> 16 & 0x7F, 0, "remote wakeup on");
    b.write(0x10, 0x1004);
    b.write(0, 0x88);
    b.write(2, 0x3F);
    b.input.send(&InputEvent::AbsMove { x: 1, y: 2 });
    b.input.send(&InputEvent::Sync);
    b.clock.advance(2 * MS);
    assert_eq!(b.read(0x10) & 0x1044, 0x1044, "the port resumes");
    assert_eq!((b.read(2) & 4, b.read(0) & 0x10), (4, 0x10), "resume detected, global resume forced");
    b.write(2, 4);
    b.clock.advance(5 * MS);
    assert_eq!(b.read(2) & 4, 0, "told once, though the device still asks");
    b.write(0x10, 0x0004);
    assert_eq!(b.read(0x10) & 0x1044, 4);
}

#[test]
fn enumerate_and_read_a_report() {
    let b = Bench::new();
    b.start();
    b.control(0, setup(0x80, 6, 0x0100, 0, 64), 64);
    assert_eq!(peek(&b.memory, TDS + 0x24) & 0xFF_07FF, 17, "18 bytes");
    assert_eq!(bytes(&b.memory, DATA, 4), [18, 1, 0, 2]);
    assert!(b.line.is_high(), "IOC");
    b.write(2, 0x3F);
    assert!(!b.line.is_high());
    b.configure();
    b.write(2, 0x3F);
    b.td(0, 1, ACTIVE | 1 << 24, token(0x69, 5, 1, 8), DATA);
    poke(&b.memory, QH, &[1, TDS]);
    b.clock.advance(100 * MS);
    assert_eq!(peek(&b.memory, TDS + 4) >> 16 & 0xFF, 0x88, "active, NAK");
    b.input.send(&InputEvent::AbsMove { x: 0x1234, y: 0x7FFF });
    b.input.send(&InputEvent::Sync);
    b.clock.advance(2 * MS);
    assert_eq!(peek(&b.memory, TDS + 4) & 0xFF_07FF, 5);
    assert_eq!(bytes(&b.memory, DATA, 6), [0, 0x34, 0x12, 0xFF, 0x7F, 0]);
    assert_eq!(peek(&b.memory, QH + 4), 1, "the queue went on");
    assert!(b.line.is_high());
}

#[test]
fn short_packets_stop_a_queue_that_asks_for_it() {
    let b = Bench::new();
    b.start();
    b.memory.write(0x7000, &setup(0x80, 6, 0x0100, 0, 64)).unwrap();
    b.td(0, TDS + 0x24, ACTIVE, token(0x2D, 0, 0, 8), 0x7000);
    b.td(1, 1, ACTIVE | 1 << 29, token(0x69, 0, 0, 64), DATA);
    poke(&b.memory, QH, &[1, TDS]);
    b.clock.advance(5 * MS);
    assert_eq!(peek(&b.memory, QH + 4), TDS + 0x24);
    assert_eq!(b.read(2) & 1, 1);
}

#[test]
fn errors() {
    let b = Bench::new();
    b.start();
    b.control(0, setup(0x80, 6, 0x0900, 0, 64), 64);
    assert_eq!(peek(&b.memory, TDS + 0x24) >> 16 & 0xFF, 0x40, "stalled");
    assert_eq!(b.read(2) & 2, 2);
    b.control(99, setup(0x80, 6, 0x0100, 0, 64), 64);
    assert_eq!(peek(&b.memory, TDS + 4) >> 16 & 0xFF, 0x44, "timeout three times");
    b.td(0, 1, ACTIVE, token(0x99, 0, 0, 8), 0);
    poke(&b.memory, QH, &[1, TDS]);
    b.clock.advance(5 * MS);
    assert_eq!(b.read(2) & 0x30, 0x30, "no such PID: process error, halted");
    let b = Bench::new();
    b.start();
    lock(&b.uhci).port_write(8, &0xFFFF_F000u32.to_le_bytes());
    b.clock.advance(5 * MS);
    assert_eq!(b.read(2) & 0x28, 0x28, "host system error");
}

#[test]
fn schedules_that_loop_end() {
    let b = Bench::new();
    b.start();
    poke(&b.memory, QH, &[QH | 2, QH | 2]);
    b.clock.advance(20 * MS);
    b.td(0, TDS, ACTIVE, token(0x69, 9, 1, 8), DATA);
    (0..1024).for_each(|i| poke(&b.memory, FRAMES + 4 * i, &[TDS]));
    b.clock.advance(20 * MS);
    assert_eq!(b.read(2) & 0x20, 0);
}

#[test]
fn a_ring_of_queues_moves_more_than_one_packet_a_frame() {
    let b = Bench::new();
    b.start();
    b.memory.write(0x7000, &setup(0x80, 6, 0x0200, 0, 255)).unwrap();
    b.td(0, TDS + 0x20, ACTIVE, token(0x2D, 0, 0, 8), 0x7000);
    (1..4).for_each(|n| b.td(n, TDS + 0x20 * (n + 1), ACTIVE, token(0x69, 0, 0, 8), DATA + 8 * n));
    b.td(4, 1, 0, 0, 0);
    // The queue and a second one without work, linked to each other, breadth first.
    poke(&b.memory, QH + 0x20, &[QH | 2, 1]);
    poke(&b.memory, QH, &[(QH + 0x20) | 2, TDS]);
    b.clock.advance(MS);
    assert_eq!(peek(&b.memory, QH + 4), TDS + 0x80, "all four done in one frame");
    assert_eq!(bytes(&b.memory, DATA + 8, 2), [9, 2]);
}

#[test]
fn save_and_restore() {
    let b = Bench::new();
    b.start();
    b.configure();
    let (device, controller) = (lock(&b.tablet).save().unwrap(), lock(&b.uhci).save().unwrap());
    let c = Bench::new();
    lock(&c.tablet).restore(&device).unwrap();
    lock(&c.uhci).restore(&controller).unwrap();
    assert_eq!(c.read(0x10), b.read(0x10));
    assert_eq!(c.control(5, setup(0x80, 8, 0, 0, 1), 1) >> 16 & 0xFF, 0);
    assert_eq!(bytes(&c.memory, DATA, 1), [1], "the configuration");
}

#[test]
fn a_companion_gets_what_the_main_controller_gives_away() {
    let (clock, memory) = (Clock::manual(), memory());
    let bus = UsbBus::new("usb-bus.0", ehci::PORTS);
    let (_input, tablet) = tablet(&clock);
    bus.attach(3, &tablet).unwrap();
    let irq = || RecordedLine::line().1;
    let (c, m, b) = (clock.clone(), memory.clone(), bus.clone());
    let main = Ehci::new("ehci", Host { clock: c, memory: m, irq: irq(), bus: b, multifunction: true });
    let host = Host { clock, memory, irq: irq(), bus, multifunction: true };
    let uhci = Uhci::new("uhci2", UhciKind::Ich9(2), Some(2), host);
    let port = |offset| {
        let mut d = [0; 2];
        lock(&uhci).port_read(offset, &mut d);
        u16::from_le_bytes(d)
    };
    let mut parameters = [0; 4];
    lock(&main).mmio_read(4, &mut parameters);
    assert_eq!(u32::from_le_bytes(parameters), 0x1206, "one companion of two ports");
    assert_eq!(port(0x10) & 1, 1, "without a driver for the main controller the companion has it");
    lock(&main).mmio_write(0x60, &[1, 0, 0, 0]);
    assert_eq!(port(0x10) & 3, 2, "taken away");
    lock(&main).mmio_write(0x6C, &0x3000u32.to_le_bytes());
    assert_eq!(port(0x10) & 1, 1, "given back");
}

/// As the EHCI's: no panic in random memory.
#[test]
fn random_schedules() {
    let mut r = Random(11);
    for _ in 0..60 {
        let b = Bench::new();
        b.start();
        for _ in 0..1500 {
            let value = match r.next() % 4 {
                0 => r.next() as u32,
                1 => r.next() as u32 & 0x1FFF6,
                2 => ACTIVE,
                _ => token([0x69, 0xE1, 0x2D][r.next() as usize % 3], 0, r.next() as u32 & 1, r.next() as u32 & 0x7F),
            };
            poke(&b.memory, r.next() as u32 & 0x1FFFC, &[value]);
        }
        for _ in 0..40 {
            match r.next() % 2 {
                0 => b.write(r.next() as u16 & 0x1E, r.next() as u16),
                _ => b.write(0, 0x81),
            }
            b.clock.advance(r.next() % (5 * MS));
        }
    }
}
