//! A machine for a few instructions: RAM at 0, a ROM that jumps to 0x1000, an 8259 pair, the accelerator.
#![allow(dead_code, unreachable_pub)] // each test program uses a part

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use accel::{AccelConfig, AccelOptions, Accelerator, Attachments};
use guest_memory::RamBlock;
use irqchip::Pic;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use vm_core::{AddressSpace, Backing, Clock, MachineRequest, PortSpace, Region, RequestSink};
use whp::Platform;

/// Where guests start.
pub const CODE: u64 = 0x1000;
/// `jmp 0:0x1000`
const RESET: &[u8] = &[0xEA, 0x00, 0x10, 0x00, 0x00];
pub const RAM: u64 = 0xA_0000;

/// Notes what processors ask for.
#[derive(Default)]
pub struct Requests(pub Mutex<Vec<MachineRequest>>);

impl RequestSink for Requests {
    fn request(&self, request: MachineRequest) {
        self.0.lock().unwrap().push(request);
    }
}

pub struct Board {
    pub accel: Accelerator,
    pub pic: Pic,
    pub ram: Arc<RamBlock>,
    pub requests: Arc<Requests>,
}

impl Board {
    /// One processor, stopped; `code` at 0x1000.
    pub fn new(platform: &dyn Platform, options: AccelOptions, code: &[u8]) -> Self {
        let (clock, space, ports) = (Clock::new(), AddressSpace::new(), PortSpace::new());
        let ram = RamBlock::new("ram", RAM).unwrap();
        let rom = RamBlock::new("rom", 0x1_0000).unwrap();
        assert!(ram.write(CODE, code) && rom.write(0xFFF0, RESET));
        let region = |name: &str, start, len, backing| Region {
            name: name.into(),
            start,
            len,
            priority: 0,
            enabled: true,
            backing,
        };
        space.add(region("ram", 0, RAM, Backing::ram(&ram))).unwrap();
        space.add(region("rom", 0xFFFF_0000, rom.len(), Backing::rom(&rom))).unwrap();
        let requests = Arc::new(Requests::default());
        let attachments = Attachments { space, ports: ports.clone(), clock: clock.clone(), requests: requests.clone() };
        let config = AccelConfig { apic_ids: vec![0], options };
        let accel = Accelerator::new(platform, &config, attachments).unwrap();
        let pic = Pic::new(accel.intr_line());
        accel.connect_pic(pic.clone());
        ports.add(0x20, 2, "pic", true, &pic.master_ports()).unwrap();
        clock.start();
        Self { accel, pic, ram, requests }
    }

    pub fn load(&self, at: u64, bytes: &[u8]) {
        assert!(self.ram.write(at, bytes));
    }

    pub fn byte(&self, at: u64) -> u8 {
        let mut b = [0];
        assert!(self.ram.read(at, &mut b));
        b[0]
    }

    pub fn u32(&self, at: u64) -> u32 {
        let mut b = [0; 4];
        assert!(self.ram.read(at, &mut b));
        u32::from_le_bytes(b)
    }
}

/// Waits until something has happened.
pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The messages of some targets, or all errors.
#[derive(Clone, Default)]
pub struct Listener(pub Arc<Mutex<Vec<String>>>, pub &'static str);

struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, _field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{value:?}"));
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == self.1 || metadata.level() == &tracing::Level::ERROR
    }
    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut Message(&mut text));
        self.0.lock().unwrap().push(text);
    }
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}
