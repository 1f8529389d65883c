//! `-d invalid_mem` names the instruction, on platforms that decode accesses and on those that do not.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use accel::{AccelConfig, AccelOptions, Accelerator, Attachments};
use guest_memory::RamBlock;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use vm_core::{AddressSpace, Backing, Clock, MachineRequest, PortSpace, Region, RequestSink};
use whp_soft::{Behave, SoftOptions, SoftPlatform};

/// (16 bits, at 0x1000) `mov ax,0xA000; mov ds,ax; mov eax,[4]; mov [8],al; 1: hlt; jmp 1b`
const GUEST: &[u8] = &[0xB8, 0x00, 0xA0, 0x8E, 0xD8, 0x66, 0xA1, 0x04, 0x00, 0xA2, 0x08, 0x00, 0xF4, 0xEB, 0xFD];
/// `jmp 0:0x1000`
const RESET: &[u8] = &[0xEA, 0x00, 0x10, 0x00, 0x00];

struct Nobody;

impl RequestSink for Nobody {
    fn request(&self, _request: MachineRequest) {}
}

/// Takes the messages of one target.
struct Listener(Arc<Mutex<Vec<String>>>);

struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, _field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{value:?}"));
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "invalid_mem"
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

fn accesses(behave: Behave, heard: &Mutex<Vec<String>>) -> Vec<String> {
    let space = AddressSpace::new();
    let ram = RamBlock::new("ram", 0xA_0000).unwrap();
    let rom = RamBlock::new("rom", 0x1_0000).unwrap();
    assert!(ram.write(0x1000, GUEST) && rom.write(0xFFF0, RESET));
    let region =
        |name: &str, start, len, backing| Region { name: name.into(), start, len, priority: 0, enabled: true, backing };
    space.add(region("ram", 0, ram.len(), Backing::ram(&ram))).unwrap();
    space.add(region("rom", 0xFFFF_0000, rom.len(), Backing::rom(&rom))).unwrap();
    let clock = Clock::new();
    let attachments = Attachments { space, ports: PortSpace::new(), clock, requests: Arc::new(Nobody) };
    let platform = SoftPlatform::new(SoftOptions { behave, ..SoftOptions::default() });
    let config = AccelConfig { apic_ids: vec![0], options: AccelOptions::default() };
    let accel = Accelerator::new(&platform, &config, attachments).unwrap();
    accel.resume();
    let start = Instant::now();
    while heard.lock().unwrap().len() < 2 {
        assert!(start.elapsed() < Duration::from_secs(20), "{behave:?}: {:?}", heard.lock().unwrap());
        std::thread::sleep(Duration::from_millis(1));
    }
    accel.pause();
    std::mem::take(&mut *heard.lock().unwrap())
}

#[test]
fn the_message_has_address_size_direction_reason_device_and_rip() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::set_global_default(Listener(heard.clone())).unwrap();
    for behave in [Behave::Native, Behave::Windows11, Behave::Windows10] {
        let line = |what: &str, at: u32, size: u32, far: u32, rip: u32| {
            format!(
                "Invalid {what} at addr {at:#x}, size {size}, device 'unassigned' ({far:#x} behind 'ram'), \
                 reason: rejected: nothing is mapped there, CPU 0, RIP {rip:#x}"
            )
        };
        let wanted = [line("read", 0xA_0004, 4, 5, 0x1005), line("write", 0xA_0008, 1, 9, 0x1009)];
        assert_eq!(accesses(behave, &heard), wanted, "{behave:?}");
    }
}
