//! Random guests: every chip takes random accesses, in and out of its range, with time moving, and its saved states
//! come back damaged. Overflow checks are on in tests, so a panic is all there is to look for. The seeds are fixed.

use std::sync::Arc;

use chardev::Chardev;
use input::{InputBus, InputEvent, Key, MouseButton};
use vm_core::{Clock, Device, IrqLine, LineSink, Mmio, MsiSink, PortIo, Shared, lock};

use crate::acpi_pm::{AcpiPm, Smbus};
use crate::dma8237::Dma;
use crate::hpet::{Hpet, LegacyGate};
use crate::i8042::I8042;
use crate::ich9::{Ich9Pm, Ich9Router, Ich9Smbus, Rcba, Tco};
use crate::pflash::{Pflash, PflashConfig};
use crate::pit::Pit;
use crate::root_port::{RootPort, RootPortModel, RootPortWiring};
use crate::rtc::{Rtc, RtcBase};
use crate::test_util::Requests;
use crate::uart::Uart;

const STEPS: u32 = 30_000;

/// Hands a chip's ports to its argument.
type Block<'a> = dyn Fn(&mut dyn FnMut(&mut dyn PortIo)) + 'a;

struct Random(u64);

impl Random {
    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 20) % n
    }

    /// Often a value at an edge.
    fn value(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << self.below(64),
            _ => self.next() >> 7,
        }
    }
}

struct Nowhere;
impl LineSink for Nowhere {
    fn set_level(&self, _pin: u32, _high: bool) {}
}
impl MsiSink for Nowhere {
    fn signal(&self, _address: u64, _data: u32) {}
}

/// Moves time: mostly a little, now and then by days.
fn pass_time(clock: &Clock, r: &mut Random) {
    match r.below(1000) {
        // Jumped over: only the last of a million interrupts would be seen.
        0 => clock.set(clock.now().saturating_add(3_600_000_000_000 * r.below(50))),
        1..=100 => clock.advance(r.below(300_000)),
        _ => clock.advance(r.below(3_000)),
    }
}

/// Saves, damages, and offers the result to the device; what it takes must be safe to go on with.
fn damaged_restore<D: Device>(device: &Shared<D>, r: &mut Random) {
    let mut d = lock(device);
    let mut bytes = d.save().expect("save");
    for _ in 0..r.below(4) {
        let at = r.below(bytes.len() as u64) as usize;
        bytes[at] = r.next() as u8;
    }
    let _ = d.restore(&bytes);
}

fn attack_ports<D: Device>(seed: u64, clock: &Clock, device: &Shared<D>, blocks: &[&Block]) {
    let mut r = Random(seed);
    for _ in 0..STEPS {
        let block = blocks[r.below(blocks.len() as u64) as usize];
        let offset = if r.below(50) == 0 { r.next() as u16 } else { r.below(20) as u16 };
        let len = [1, 1, 1, 2, 4][r.below(5) as usize];
        let value = r.value().to_le_bytes();
        let read = r.below(3) == 0;
        block(&mut |p| {
            let mut data = [0; 4];
            if read {
                p.port_read(offset, &mut data[..len]);
            } else {
                p.port_write(offset, &value[..len]);
            }
        });
        pass_time(clock, &mut r);
        if r.below(500) == 0 {
            damaged_restore(device, &mut r);
        }
        if r.below(2000) == 0 {
            lock(device).reset();
        }
    }
}

/// A port block for [`attack_ports`].
macro_rules! block {
    ($ports:expr) => {
        &|f: &mut dyn FnMut(&mut dyn PortIo)| f(&mut *lock(&$ports))
    };
}

#[test]
fn timers_and_clock() {
    let clock = Clock::manual();
    let pit = Pit::new(&clock, IrqLine::unconnected());
    let speaker = Pit::speaker_port(&pit);
    attack_ports(1, &clock, &pit, &[block!(pit), block!(speaker)]);
    let clock = Clock::manual();
    let rtc = Rtc::new(&clock, IrqLine::unconnected(), RtcBase::Date(0));
    attack_ports(2, &clock, &rtc, &[block!(rtc)]);
}

#[test]
fn power_management_and_dma() {
    let clock = Clock::manual();
    let pm = AcpiPm::new(&clock, IrqLine::unconnected(), Arc::new(Requests::default()));
    let (gpe, apm) = (AcpiPm::gpe_ports(&pm), AcpiPm::apm_ports(&pm));
    attack_ports(3, &clock, &pm, &[block!(pm), block!(gpe), block!(apm)]);
    let smbus = Smbus::new();
    attack_ports(4, &clock, &smbus, &[block!(smbus)]);
    let dma = Dma::new();
    let (first, second, pages) = (Dma::first_ports(&dma), Dma::second_ports(&dma), Dma::page_ports(&dma));
    let transfer = |_: &mut dyn FnMut(&mut dyn PortIo)| {
        for channel in 0..9 {
            let segment = lock(&dma).next_segment(channel);
            lock(&dma).complete(channel, segment.map_or(7, |s| s.len));
        }
    };
    attack_ports(5, &clock, &dma, &[block!(first), block!(second), block!(pages), &transfer]);
}

#[test]
fn serial_port() {
    let clock = Clock::manual();
    let uart = Uart::new("serial0", &clock, IrqLine::unconnected());
    let (dev, peer) = Chardev::in_memory("fuzz", 24, false);
    Uart::attach(&uart, &dev).unwrap();
    let host = |_: &mut dyn FnMut(&mut dyn PortIo)| {
        peer.send(b"some input that is longer than the FIFO");
        peer.send_break();
        peer.take();
    };
    attack_ports(6, &clock, &uart, &[block!(uart), block!(uart), block!(uart), &host]);
}

#[test]
fn keyboard_controller() {
    let clock = Clock::manual();
    let lines = [(); 3].map(|()| IrqLine::unconnected());
    let [irq1, irq12, a20] = lines;
    let chip = I8042::new(&clock, irq1, irq12, a20, Arc::new(Requests::default()));
    let (data, command, p92) = (I8042::data_port(&chip), I8042::command_port(&chip), I8042::port92(&chip));
    let bus = InputBus::new();
    let _input = I8042::connect(&chip, &bus);
    let user = |_: &mut dyn FnMut(&mut dyn PortIo)| {
        bus.key(Key::Delete, true);
        bus.key(Key::Pause, true);
        bus.key(Key::Pause, false);
        bus.send(&InputEvent::RelMove { dx: i32::MIN, dy: i32::MIN });
        bus.send(&InputEvent::Wheel { vertical: i32::MIN, horizontal: 1 });
        bus.send(&InputEvent::Button { button: MouseButton::Extra, down: true });
        bus.send(&InputEvent::Sync);
    };
    attack_ports(7, &clock, &chip, &[block!(data), block!(data), block!(command), block!(p92), &user]);
}

#[test]
fn event_timers() {
    let clock = Clock::manual();
    let gate = LegacyGate::new(IrqLine::unconnected(), IrqLine::unconnected());
    let hpet = Hpet::new(&clock, Arc::new(Nowhere), Arc::new(Nowhere), &gate);
    let mut r = Random(8);
    for _ in 0..STEPS {
        let registers = [0x00, 0x10, 0x20, 0xF0, 0x100, 0x108, 0x110, 0x120, 0x128, 0x140, 0x148, 0x160, 0x3F8];
        let offset = registers[r.below(13) as usize] + if r.below(4) == 0 { r.below(8) } else { 0 };
        let len = [1, 2, 4, 8, 64][r.below(5) as usize];
        let mut data = [0; 64];
        data[..8].copy_from_slice(&r.value().to_le_bytes());
        if r.below(3) == 0 {
            lock(&hpet).mmio_read(offset, &mut data[..len]);
        } else {
            lock(&hpet).mmio_write(offset, &data[..len]);
        }
        // No long jumps: each interrupt on the way is played.
        clock.advance(r.below(100_000));
        if r.below(500) == 0 {
            damaged_restore(&hpet, &mut r);
        }
    }
}

#[test]
fn south_bridge() {
    let clock = Clock::manual();
    let requests = Arc::new(Requests::default());
    let pm = AcpiPm::new(&clock, IrqLine::unconnected(), requests.clone());
    let tco = Tco::new(&clock, Arc::default(), requests);
    let ports = Ich9Pm::new(&pm, &tco);
    attack_ports(9, &clock, &ports, &[block!(ports)]);
    attack_ports(12, &clock, &tco, &[block!(tco), block!(ports)]);
    let (smbus, bars) = Ich9Smbus::new();
    let pci::BarBacking::Io(registers) = bars[0].1.clone() else { panic!("ports") };
    attack_ports(10, &clock, &smbus, &[&|f: &mut dyn FnMut(&mut dyn PortIo)| f(&mut *lock(&registers))]);
    let no_lines = || std::array::from_fn(|_| IrqLine::unconnected());
    let router = Ich9Router::new(no_lines(), std::array::from_fn(|_| IrqLine::unconnected()));
    let rcba = Rcba::new(router.clone(), false, Arc::default());
    attack_memory(11, &rcba, 0x3800);
}

/// Random accesses to `device`'s registers, and damaged states.
fn attack_memory<D: Device + Mmio>(seed: u64, device: &Shared<D>, len: u64) {
    let mut r = Random(seed);
    for _ in 0..STEPS {
        let offset = if r.below(50) == 0 { r.value() } else { r.below(len) };
        let n = [1, 1, 2, 4, 8][r.below(5) as usize];
        let mut data = r.value().to_le_bytes();
        if r.below(3) == 0 {
            lock(device).mmio_read(offset, &mut data[..n]);
        } else {
            lock(device).mmio_write(offset, &data[..n]);
        }
        if r.below(500) == 0 {
            damaged_restore(device, &mut r);
        }
    }
}

#[test]
fn flash() {
    let space = vm_core::AddressSpace::new();
    let block = guest_memory::RamBlock::new("flash", 0x2000).unwrap();
    let config = PflashConfig { name: "flash".into(), block, file: None, readonly: false };
    let chip = Pflash::new(config, &space, 0xFFFF_E000).unwrap();
    let mut r = Random(12);
    for _ in 0..STEPS {
        let commands = [0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xD0, 0xE8, 0xFF, 0x01, 0x03];
        let (at, n) = (0xFFFF_E000 + r.below(0x2010), r.below(5) as usize);
        let mut data = [commands[r.below(13) as usize]; 4];
        if r.below(4) == 0 {
            space.read(at, &mut data[..n]);
        } else {
            space.write(at, &data[..n]);
        }
        if r.below(500) == 0 {
            damaged_restore(&chip, &mut r);
        }
    }
}

struct NoRouter;
impl pci::IntxRouter for NoRouter {
    fn set_intx(&self, _: u8, _: u8, _: bool) {}
}

/// Random configuration writes of port and card, cards that come and go, damaged states.
#[test]
fn root_port() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let ports = vm_core::PortSpace::new();
    let bus = pci::PciBus::new(vm_core::AddressSpace::new(), ports.clone(), Arc::new(NoRouter));
    let ejected = Arc::new(AtomicBool::new(false));
    let flag = ejected.clone();
    let wiring = RootPortWiring {
        bus: bus.clone(),
        devfn: pci::devfn(3, 0),
        msi: Arc::new(Nowhere),
        multifunction: false,
        port: 0,
        slot: 0,
        hot_plug: true,
        eject: Arc::new(move || flag.store(true, Ordering::SeqCst)),
    };
    let at = wiring.devfn;
    let (port, below) = RootPort::add("port", RootPortModel::Ioh3420, wiring).expect("a free place");
    let (smbus, bars) = Ich9Smbus::new();
    let mut r = Random(77);
    let mut there = false;
    for _ in 0..STEPS {
        let offset = if r.below(4) == 0 {
            r.below(4096)
        } else {
            [0x04, 0x18, 0x1C, 0x20, 0x3E, 0x50, 0x58][r.below(7) as usize]
        };
        let data = r.value().to_le_bytes();
        let len = [1, 2, 4][r.below(3) as usize];
        let bus_to_write = if r.below(3) == 0 { (&below, 0) } else { (&bus, at) };
        bus_to_write.0.config_write(bus_to_write.1, offset as u16, &data[..len]);
        match r.below(40) {
            0 if !there => {
                there = true;
                below.add(0, &smbus, bars.clone()).expect("an empty slot");
                lock(&port).plug();
            }
            1 => drop(lock(&port).request_unplug()),
            2 => lock(&port).reset(),
            3 => damaged_restore(&port, &mut r),
            _ => {}
        }
        bus.update(at);
        if ejected.swap(false, Ordering::SeqCst) || r.below(500) == 0 {
            there = false;
            below.remove(0);
            lock(&port).removed();
            bus.update(at);
        }
    }
}
