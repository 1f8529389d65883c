//! Host controllers in the hands of a hostile guest: bytes become schedules, rings and contexts in guest memory, register writes, input
//! and time. Nothing may panic or hang. `fuzz/` feeds libFuzzer's bytes, `tests/audit.rs` a seeded stream.

use std::sync::Arc;

use guest_memory::{GuestMemory, MapRange, RamBlock};
use input::{InputBus, InputEvent};
use pci::PciFunction;
use vm_core::{Clock, Device, IrqLine, Mmio, MsiSink, PortIo, Shared, lock};

use crate::hid::{self, HidKind};
use crate::uhci::{Uhci, UhciKind};
use crate::xhci::{Options, Xhci, XhciKind};
use crate::{Host, Speed, UsbBus, UsbDevice, ehci, uhci, xhci};

/// Which controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// EHCI 1.0.
    Ehci,
    /// UHCI 1.1.
    Uhci,
    /// xHCI 1.1.
    Xhci,
}

const MEMORY: u64 = 1 << 18;
const MS: u64 = 1_000_000;
/// Frame lists of EHCI and UHCI.
const FRAMES: u64 = 0x1_0000;
/// One operation's bytes at most, so that an input of some KiB does not take long.
const OPERATIONS: usize = 4096;

struct Nowhere;

impl MsiSink for Nowhere {
    fn signal(&self, _address: u64, _data: u32) {}
}

/// Numbers from bytes; `None` at their end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (now, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*now)
    }

    fn byte(&mut self) -> Option<u8> {
        self.number::<1>().map(|b| b[0])
    }

    fn word(&mut self) -> Option<u16> {
        self.number().map(u16::from_le_bytes)
    }

    fn long(&mut self) -> Option<u32> {
        self.number().map(u32::from_le_bytes)
    }
}

enum Controller {
    Ehci(Shared<ehci::Ehci>),
    Uhci(Shared<Uhci>),
    Xhci(Shared<Xhci>),
}

impl Controller {
    fn write(&self, offset: u16, value: u32) {
        let bytes = value.to_le_bytes();
        match self {
            Self::Ehci(c) => lock(c).mmio_write((offset & 0xFF).into(), &bytes),
            Self::Uhci(c) if offset & 0x1C == 8 => lock(c).port_write(8, &bytes),
            Self::Uhci(c) => lock(c).port_write(offset & 0x1F, &bytes[..2]),
            Self::Xhci(c) => lock(c).mmio_write((offset & 0x3FFF).into(), &bytes),
        }
    }

    fn read(&self, offset: u16) -> u32 {
        let mut bytes = [0; 4];
        match self {
            Self::Ehci(c) => lock(c).mmio_read((offset & 0xFF).into(), &mut bytes),
            Self::Uhci(c) => lock(c).port_read(offset & 0x1F, &mut bytes[..2]),
            Self::Xhci(c) => lock(c).mmio_read((offset & 0x3FFF).into(), &mut bytes),
        }
        u32::from_le_bytes(bytes)
    }

    fn reset(&self) {
        match self {
            Self::Ehci(c) => lock(c).reset(),
            Self::Uhci(c) => lock(c).reset(),
            Self::Xhci(c) => lock(c).reset(),
        }
    }

    /// Restores what was saved with a byte changed; what it takes must be safe to go on with.
    fn damage(&self, at: usize, value: u8) {
        fn one<D: Device>(device: &Shared<D>, at: usize, value: u8) {
            let mut d = lock(device);
            let Ok(mut bytes) = d.save() else { return };
            let at = at % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            let _refused = d.restore(&bytes);
        }
        match self {
            Self::Ehci(c) => one(c, at, value),
            Self::Uhci(c) => one(c, at, value),
            Self::Xhci(c) => one(c, at, value),
        }
    }
}

/// A running controller with a tablet at its first port.
struct Bench {
    clock: Clock,
    memory: GuestMemory,
    input: Arc<InputBus>,
    controller: Controller,
    _tablet: Shared<UsbDevice>,
}

impl Bench {
    fn new(kind: Kind) -> Option<Self> {
        let (clock, memory) = (Clock::manual(), GuestMemory::new());
        let block = RamBlock::new("audit", MEMORY).ok()?;
        memory.set_ranges(vec![MapRange { gpa: 0, len: MEMORY, block, offset: 0, readonly: false }]);
        let ports = match kind {
            Kind::Ehci => ehci::PORTS,
            Kind::Uhci => uhci::PORTS,
            Kind::Xhci => xhci::PORTS,
        };
        let bus = UsbBus::new("usb-bus.0", ports);
        let input = InputBus::new();
        let tablet = hid::device(HidKind::Tablet, "tablet", "1", Speed::High, &clock, &input);
        bus.attach(1, &tablet).ok()?;
        let irq = IrqLine::unconnected();
        let host = Host { clock: clock.clone(), memory: memory.clone(), irq, bus, multifunction: false };
        let controller = match kind {
            Kind::Ehci => {
                let c = ehci::Ehci::new("ehci", host);
                lock(&c).config_mut().write(4, &[6, 0]);
                Controller::Ehci(c)
            }
            Kind::Uhci => {
                let c = Uhci::new("uhci", UhciKind::Piix3, None, host);
                lock(&c).config_mut().write(4, &[5, 0]);
                Controller::Uhci(c)
            }
            Kind::Xhci => {
                let sink: Arc<dyn MsiSink> = Arc::new(Nowhere);
                let options =
                    Options { kind: XhciKind::Nec, ports2: 4, ports3: 4, msi: true, msix: true, express: true, sink };
                let c = Xhci::new("xhci", options, host);
                lock(&c).config_mut().write(4, &[6, 0]);
                Controller::Xhci(c)
            }
        };
        clock.advance(1);
        let this = Self { clock, memory, input, controller, _tablet: tablet };
        this.start(kind);
        Some(this)
    }

    fn poke(&self, at: u64, value: u32) {
        let _outside = self.memory.write(at, &value.to_le_bytes());
    }

    /// As a driver leaves it: the port reset and enabled, lists and rings in place, running.
    fn start(&self, kind: Kind) {
        let c = &self.controller;
        match kind {
            Kind::Ehci => {
                c.write(0x60, 1);
                c.write(0x64, 0x1100);
                self.clock.advance(MS);
                c.write(0x64, 0x1000);
                self.clock.advance(3 * MS);
                c.write(0x34, FRAMES as u32);
                c.write(0x38, 0x1000);
                c.write(0x28, 0x3F);
                c.write(0x20, 0x0001_0031);
                (0..1024).for_each(|n| self.poke(FRAMES + 4 * n, 0x1002));
            }
            Kind::Uhci => {
                c.write(0x10, 0x0200);
                c.write(0x10, 0);
                c.write(0x10, 6);
                c.write(8, FRAMES as u32);
                c.write(4, 0xF);
                c.write(0, 0x81);
                (0..1024).for_each(|n| self.poke(FRAMES + 4 * n, 0x1002));
            }
            Kind::Xhci => {
                // Capability length, runtime space; then contexts, command ring, one event ring segment.
                let (operational, runtime) = (c.read(0) as u16 & 0xFF, c.read(0x18) as u16);
                for (at, value) in [(0x38, 8), (0x30, 0x1000), (0x18, 0x2001)] {
                    c.write(operational + at, value);
                }
                [0x4000, 0, 64, 0].iter().zip(0..).for_each(|(v, n)| self.poke(0x3000 + 4 * n, *v));
                for (at, value) in [(0x28, 1), (0x38, 0x4000), (0x3C, 0), (0x30, 0x3000), (0x34, 0), (0x20, 2)] {
                    c.write(runtime + at, value);
                }
                c.write(operational, 5);
            }
        }
    }

    /// Does what the next bytes say.
    fn operation(&self, bytes: &mut Bytes) -> Option<()> {
        match bytes.byte()? % 16 {
            0..=6 => self.poke(u64::from(bytes.word()?) * 4 % MEMORY, bytes.long()?),
            // Pointers to what is there already, and terminators.
            7 => self.poke(u64::from(bytes.word()?) * 4 % MEMORY, bytes.word()?.into()),
            8 | 9 => self.controller.write(bytes.word()?, bytes.long()?),
            10 => drop(self.controller.read(bytes.word()?)),
            // Doorbells and run bits.
            11 => self.controller.write(0x2000 | u16::from(bytes.byte()? & 0x3C), u32::from(bytes.byte()?)),
            12 => {
                self.input.send(&InputEvent::AbsMove { x: bytes.word()? & 0x7FFF, y: 3 });
                self.input.send(&InputEvent::Sync);
            }
            13 if bytes.byte()? == 7 => self.controller.reset(),
            13 => self.controller.damage(bytes.word()?.into(), bytes.byte()?),
            _ => self.clock.advance(u64::from(bytes.byte()?) * MS / 64),
        }
        Some(())
    }
}

/// A fresh controller lives through what the bytes say.
pub fn feed(kind: Kind, data: &[u8]) {
    let Some(bench) = Bench::new(kind) else { return };
    let mut bytes = Bytes(data);
    for _ in 0..OPERATIONS {
        if bench.operation(&mut bytes).is_none() {
            break;
        }
    }
    bench.clock.advance(4 * MS);
}
