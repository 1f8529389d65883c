//! xHCI 1.1: registers, commands, enumeration and transfers over rings, events and interrupts, ports, errors, devices
//! that go away, rings made by attackers.

use std::sync::Arc;

use block::BlockQueue;
use guest_memory::GuestMemory;
use input::{InputBus, InputEvent};
use pci::PciFunction;
use vm_core::{Clock, Device, Mmio, MsiSink, RecordedLine, Shared, lock};

use super::ring::kind;
use super::*;
use crate::test_util::{Random, bytes, disk, memory, peek, poke, setup, tablet};
use crate::{Speed, UsbBus, UsbDevice};

const MS: u64 = 1_000_000;
const COMMANDS: u32 = 0x1000;
const EVENTS: u32 = 0x2000;
const TABLE: u32 = 0x3000;
const ARRAY: u32 = 0x4000;
const INPUT: u32 = 0x5000;
const DEVICE: u32 = 0x6000;
const RINGS: u32 = 0x8000;
const DATA: u32 = 0x2_0000;
const OP: u64 = 0x40;
const INTERRUPTER: u64 = 0x1020;
/// Endpoint types.
const CONTROL: u32 = 4;
const BULK_OUT: u32 = 2;
const BULK_IN: u32 = 6;
const INTERRUPT_IN: u32 = 7;

#[derive(Default)]
struct Messages(std::sync::Mutex<Vec<u32>>);

impl MsiSink for Messages {
    fn signal(&self, _address: u64, data: u32) {
        lock(&self.0).push(data);
    }
}

struct Bench {
    clock: Clock,
    memory: GuestMemory,
    line: Arc<RecordedLine>,
    messages: Arc<Messages>,
    bus: Arc<UsbBus>,
    xhci: Shared<Xhci>,
    input: Arc<InputBus>,
    tablet: Shared<UsbDevice>,
    /// Next place in the command, event and endpoint rings.
    command: std::cell::Cell<u32>,
    event: std::cell::Cell<u32>,
    next: std::cell::RefCell<[u32; 32]>,
}

type Event = [u32; 4];

fn code(event: &Event) -> u32 {
    event[2] >> 24
}

fn kind_of(event: &Event) -> u32 {
    event[3] >> 10 & 0x3F
}

impl Bench {
    fn new() -> Self {
        let (clock, memory) = (Clock::manual(), memory());
        let (line, irq) = RecordedLine::line();
        let bus = UsbBus::new("usb-bus.0", PORTS);
        let messages = Arc::new(Messages::default());
        let host = Host { clock: clock.clone(), memory: memory.clone(), irq, bus: bus.clone(), multifunction: false };
        let sink: Arc<dyn MsiSink> = messages.clone();
        let options = Options { kind: XhciKind::Nec, ports2: 4, ports3: 4, msi: true, msix: true, express: true, sink };
        let xhci = Xhci::new("xhci", options, host);
        let (input, tablet) = tablet(&clock);
        bus.attach(1, &tablet).unwrap();
        lock(&xhci).config_mut().write(4, &[6, 0]);
        clock.advance(1);
        let next = std::cell::RefCell::new([0; 32]);
        Self { clock, memory, line, messages, bus, xhci, input, tablet, command: 0.into(), event: 0.into(), next }
    }

    fn read(&self, offset: u64) -> u32 {
        let mut d = [0; 4];
        lock(&self.xhci).mmio_read(offset, &mut d);
        u32::from_le_bytes(d)
    }

    fn write(&self, offset: u64, value: u32) {
        lock(&self.xhci).mmio_write(offset, &value.to_le_bytes());
    }

    fn port(&self, n: u64) -> u64 {
        OP + 0x400 + 16 * (n - 1)
    }

    /// Rings of 32 commands and 64 events; interrupts on.
    fn start(&self) {
        self.write(OP + 0x38, 8);
        self.write(OP + 0x30, ARRAY);
        self.write(OP + 0x18, COMMANDS | 1);
        poke(&self.memory, TABLE, &[EVENTS, 0, 64, 0]);
        self.write(INTERRUPTER + 4, 0);
        self.write(INTERRUPTER + 8, 1);
        lock(&self.xhci).mmio_write(INTERRUPTER + 0x18, &u64::from(EVENTS).to_le_bytes());
        lock(&self.xhci).mmio_write(INTERRUPTER + 0x10, &u64::from(TABLE).to_le_bytes());
        self.write(INTERRUPTER, 2);
        self.write(OP, 5);
    }

    /// Takes the next event, if there is one.
    fn event(&self) -> Option<Event> {
        let at = EVENTS + 16 * (self.event.get() % 64);
        let event = [0, 4, 8, 12].map(|o| peek(&self.memory, at + o));
        if event[3] & 1 != u32::from((self.event.get() / 64).is_multiple_of(2)) {
            return None;
        }
        self.event.set(self.event.get() + 1);
        self.write(INTERRUPTER + 0x18, (EVENTS + 16 * (self.event.get() % 64)) | 8);
        Some(event)
    }

    fn events(&self) -> Vec<Event> {
        std::iter::from_fn(|| self.event()).collect()
    }

    /// Runs a command; code and slot of its completion.
    fn run(&self, trb: [u32; 4]) -> (u32, u32) {
        let at = COMMANDS + 16 * self.command.get();
        poke(&self.memory, at, &[trb[0], trb[1], trb[2], trb[3] | 1]);
        self.command.set(self.command.get() + 1);
        self.write(0x2000, 0);
        self.clock.advance(MS);
        let done = self.events().into_iter().find(|e| kind_of(e) == kind::COMMAND_COMPLETION && e[0] == at);
        let done = done.expect("a completion");
        (code(&done), done[3] >> 24)
    }

    fn ring(index: u32) -> u32 {
        RINGS + 0x400 * index
    }

    fn endpoint_context(&self, index: u32, kind: u32, packet: u32) {
        let context = [0, kind << 3 | 3 << 1 | packet << 16, Self::ring(index) | 1, 0, 8];
        poke(&self.memory, INPUT + 0x20 * (index + 1), &context);
    }

    /// Resets port 5, the USB 2 half of the first connector, enables and addresses slot 1.
    fn address(&self) {
        self.write(self.port(5), 0x210);
        assert_eq!(self.run([0, 0, 0, kind::ENABLE_SLOT << 10]), (1, 1));
        poke(&self.memory, ARRAY + 8, &[DEVICE, 0]);
        poke(&self.memory, INPUT, &[0, 3]);
        poke(&self.memory, INPUT + 0x20, &[1 << 27 | 3 << 20, 5 << 16, 0, 0]);
        self.endpoint_context(1, CONTROL, 64);
        assert_eq!(self.run([INPUT, 0, 0, kind::ADDRESS_DEVICE << 10 | 1 << 24]), (1, 1));
    }

    fn configure(&self, endpoints: &[(u32, u32, u32)]) {
        poke(&self.memory, INPUT, &[0, endpoints.iter().fold(1, |a, e| a | 1 << e.0)]);
        endpoints.iter().for_each(|(index, kind, packet)| self.endpoint_context(*index, *kind, *packet));
        assert_eq!(self.run([INPUT, 0, 0, kind::CONFIGURE_ENDPOINT << 10 | 1 << 24]), (1, 1));
        assert_eq!(self.control(setup(0, 9, 1, 0, 0), 0), 1);
    }

    /// Puts TRBs into an endpoint's ring and rings. Where the first one is.
    fn queue(&self, index: u32, trbs: &[[u32; 4]]) -> u32 {
        let mut next = self.next.borrow_mut();
        let first = Self::ring(index) + 16 * next[index as usize];
        for trb in trbs {
            let at = Self::ring(index) + 16 * next[index as usize];
            poke(&self.memory, at, &[trb[0], trb[1], trb[2], trb[3] | 1]);
            next[index as usize] += 1;
        }
        self.write(0x2004, index);
        first
    }

    /// A control transfer; the code of its last event.
    fn control(&self, packet: [u8; 8], len: u32) -> u32 {
        let word = |at: usize| u32::from_le_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        let to_host = u32::from(packet[0] >> 7);
        let mut trbs = vec![[word(0), word(4), 8, kind::SETUP << 10 | 1 << 6]];
        if len != 0 {
            trbs.push([DATA, 0, len, kind::DATA << 10 | to_host << 16 | 1 << 2]);
        }
        let status_in = u32::from(to_host == 0 || len == 0);
        trbs.push([0, 0, 0, kind::STATUS << 10 | status_in << 16 | 1 << 5]);
        self.queue(1, &trbs);
        self.clock.advance(MS);
        self.events().last().map_or(0, code)
    }

    fn endpoint_state(&self, index: u32) -> u32 {
        peek(&self.memory, DEVICE + 0x20 * index) & 7
    }

    fn point(&self, x: u16, y: u16) {
        self.input.send(&InputEvent::AbsMove { x, y });
        self.input.send(&InputEvent::Sync);
    }

    fn storage(&self) -> Arc<BlockQueue> {
        let (_, queue) = disk(256);
        let config = crate::storage::StorageConfig {
            queue: queue.clone(),
            serial: "1".into(),
            removable: false,
            write_cache: true,
        };
        self.bus.detach(1);
        self.bus.attach(1, &crate::storage::device("disk", Speed::High, config)).unwrap();
        self.clock.advance(1);
        queue
    }
}

#[test]
fn capability_registers() {
    let b = Bench::new();
    assert_eq!([0, 4, 0x10, 0x14, 0x18].map(|o| b.read(o)), [0x0100_0040, 0x0800_1040, 0x0008_0081, 0x2000, 0x1000]);
    assert_eq!([0x20, 0x24, 0x28].map(|o| b.read(o)), [0x0200_0402, 0x2042_5355, 0x0405], "USB 2, ports 5 to 8");
    assert_eq!([0x30, 0x38].map(|o| b.read(o)), [0x0300_0002, 0x0401], "USB 3, ports 1 to 4");
    assert_eq!([0, 4, 8].map(|o| b.read(OP + o)), [0, 0x11, 1], "halted, a port has changed, 4 KiB pages");
    let mut id = [0; 12];
    lock(&b.xhci).config().read(0, &mut id);
    assert_eq!((&id[..4], &id[8..]), (&[0x33, 0x10, 0x94, 0x01][..], &[3, 0x30, 3, 0x0C][..]));
}

#[test]
fn no_op_slots_and_commands_that_cannot_be() {
    let b = Bench::new();
    b.start();
    assert_eq!(b.run([0, 0, 0, kind::NO_OP_COMMAND << 10]), (1, 0));
    assert!(b.line.edges() > 0);
    assert_eq!(b.read(OP + 0x18), 8, "the ring runs");
    for id in 1..=8 {
        assert_eq!(b.run([0, 0, 0, kind::ENABLE_SLOT << 10]), (1, id));
    }
    assert_eq!(b.run([0, 0, 0, kind::ENABLE_SLOT << 10]), (9, 0), "eight are allowed");
    assert_eq!(b.run([0, 0, 0, kind::DISABLE_SLOT << 10 | 3 << 24]), (1, 3));
    assert_eq!(b.run([0, 0, 0, kind::DISABLE_SLOT << 10 | 3 << 24]), (11, 3));
    assert_eq!(b.run([0, 0, 0, kind::ENABLE_SLOT << 10]), (1, 3));
    assert_eq!(b.run([0, 0, 0, kind::STOP_ENDPOINT << 10 | 1 << 24 | 1 << 16]), (12, 1), "no endpoint");
    assert_eq!(b.run([INPUT, 0, 0, kind::CONFIGURE_ENDPOINT << 10 | 1 << 24]), (19, 1), "no address");
    assert_eq!(b.run([INPUT, 0, 0, kind::ADDRESS_DEVICE << 10 | 1 << 24]), (17, 1), "an empty input context");
    assert_eq!(b.run([DATA, 0, 0, kind::PORT_BANDWIDTH << 10]), (1, 0));
    assert_eq!(bytes(&b.memory, DATA, 10), [0, 80, 80, 80, 80, 80, 80, 80, 80, 0]);
    assert_eq!(b.run([0, 0, 0, 22 << 10]), (5, 0), "force header");
    b.write(OP + 0x18, 2);
    assert_eq!(b.events().first().map(code), Some(24), "stopped");
    assert_eq!(b.read(OP + 0x18), 0);
}

#[test]
fn enumerate_and_read_a_report() {
    let b = Bench::new();
    b.start();
    assert_eq!(b.read(b.port(5)) & 0x0002_FFFF, 0x0002_0EE1, "connected and changed, polling, high speed, powered");
    assert_eq!(b.events().first().map(|e| (kind_of(e), e[0])), Some((kind::PORT_STATUS_CHANGE, 5 << 24)));
    b.write(b.port(5), 0x0002_0200);
    b.address();
    assert_eq!(b.read(b.port(5)) & 0x0020_1FFF, 0x0020_0E03, "enabled in U0");
    assert_eq!(peek(&b.memory, DEVICE + 12), 2 << 27 | 1, "addressed, address 1");
    assert_eq!(b.endpoint_state(1), 1);
    assert_eq!(b.control(setup(0x80, 6, 0x0100, 0, 64), 64), 1);
    assert_eq!(bytes(&b.memory, DATA, 18)[..12], [18, 1, 0, 2, 0, 0, 0, 64, 0x27, 6, 1, 0]);
    b.configure(&[(3, INTERRUPT_IN, 8)]);
    assert_eq!(peek(&b.memory, DEVICE + 12) >> 27, 3, "configured");
    assert!(b.input.is_absolute());
    let at = b.queue(3, &[[DATA, 0, 8, kind::NORMAL << 10 | 1 << 5 | 1 << 2]]);
    b.clock.advance(50 * MS);
    assert!(b.events().is_empty(), "NAK");
    b.point(0x1234, 0x7FFF);
    b.clock.advance(2 * MS);
    assert_eq!(
        b.events(),
        [[at, 0, 13 << 24 | 2, 1 | kind::TRANSFER_EVENT << 10 | 3 << 16 | 1 << 24]],
        "two bytes short"
    );
    assert_eq!(bytes(&b.memory, DATA, 6), [0, 0x34, 0x12, 0xFF, 0x7F, 0]);
}

#[test]
fn a_stall_halts_until_the_endpoint_is_reset() {
    let b = Bench::new();
    b.start();
    b.address();
    assert_eq!(b.control(setup(0x80, 6, 0x0900, 0, 64), 64), 6);
    assert_eq!(b.endpoint_state(1), 2);
    assert_eq!(b.run([DATA | 1, 0, 0, kind::SET_DEQUEUE << 10 | 1 << 24 | 1 << 16]), (19, 1), "it must be stopped");
    assert_eq!(b.run([0, 0, 0, kind::RESET_ENDPOINT << 10 | 1 << 24 | 1 << 16]), (1, 1));
    assert_eq!(b.endpoint_state(1), 3);
    let ring = Bench::ring(1) + 16 * b.next.borrow()[1];
    assert_eq!(b.run([ring | 1, 0, 0, kind::SET_DEQUEUE << 10 | 1 << 24 | 1 << 16]), (1, 1));
    assert_eq!(peek(&b.memory, DEVICE + 0x28), ring | 1);
    assert_eq!(b.control(setup(0x80, 8, 0, 0, 1), 1), 1);
    b.queue(1, &[[0, 0, 4, kind::NORMAL << 10]]);
    b.clock.advance(MS);
    assert_eq!(b.events().last().map(code), Some(5), "a Normal TRB cannot begin a control transfer");
    assert_eq!(b.endpoint_state(1), 4);
}

#[test]
fn a_device_that_goes_away_ends_its_transfers() {
    let b = Bench::new();
    b.start();
    b.address();
    b.configure(&[(3, INTERRUPT_IN, 8)]);
    let at = b.queue(3, &[[DATA, 0, 8, kind::NORMAL << 10 | 1 << 5]]);
    b.clock.advance(MS);
    b.events();
    b.bus.detach(1);
    b.clock.advance(MS);
    let events = b.events();
    let transfer = events.iter().find(|e| kind_of(e) == kind::TRANSFER_EVENT).expect("a transfer event");
    assert_eq!((transfer[0], code(transfer), transfer[2] & 0xFF_FFFF), (at, 4, 8), "USB transaction error");
    assert_eq!(b.endpoint_state(3), 2);
    assert_eq!(b.read(b.port(5)) & 0x0002_01E3, 0x0002_00A0, "gone: changed, RxDetect");
    b.bus.attach(1, &b.tablet).unwrap();
    b.clock.advance(MS);
    assert_eq!(b.control(setup(0x80, 8, 0, 0, 1), 1), 4, "another attachment is not the addressed device");
}

#[test]
fn stop_tells_how_far_it_has_come_and_a_doorbell_goes_on() {
    let b = Bench::new();
    b.start();
    b.address();
    b.configure(&[(3, INTERRUPT_IN, 8)]);
    let at = b.queue(3, &[[DATA, 0, 8, kind::NORMAL << 10 | 1 << 5]]);
    let stop = COMMANDS + 16 * b.command.get();
    poke(&b.memory, stop, &[0, 0, 0, kind::STOP_ENDPOINT << 10 | 1 << 24 | 3 << 16 | 1]);
    b.command.set(b.command.get() + 1);
    b.write(0x2000, 0);
    b.clock.advance(MS);
    let events = b.events();
    assert_eq!(events.iter().map(|e| (e[0], code(e))).collect::<Vec<_>>(), [(at, 26), (stop, 1)]);
    assert_eq!((b.endpoint_state(3), peek(&b.memory, DEVICE + 0x68)), (3, at | 1));
    b.point(1, 1);
    b.clock.advance(20 * MS);
    assert!(b.events().is_empty());
    b.write(0x2004, 3);
    b.clock.advance(MS);
    assert_eq!((b.events().first().map(code), b.endpoint_state(3)), (Some(13), 1));
}

#[test]
fn bulk_over_links_event_data_and_short_packets() {
    let b = Bench::new();
    let queue = b.storage();
    b.start();
    b.address();
    b.configure(&[(3, BULK_IN, 512), (4, BULK_OUT, 512)]);
    let mut wrapper = *b"USBCtag1\0\x10\0\0\x80\0\x0A\x28\0\0\0\0\x02\0\0\x08\0\0\0\0\0\0\0";
    wrapper[8..12].copy_from_slice(&4096u32.to_le_bytes());
    b.memory.write(0x7000, &wrapper).unwrap();
    let normal = kind::NORMAL << 10;
    b.queue(4, &[[0x7000, 0, 31, normal | 1 << 5]]);
    // 4096 bytes in three pieces (not at packet boundaries) with a link between them, then Event Data; then the status
    // in a TD of two TRBs that is too long.
    let away = RINGS + 0x7000;
    b.queue(3, &[[DATA, 0, 100, normal | 1 << 4], [away, 0, 0, kind::LINK << 10 | 1 << 4]]);
    poke(&b.memory, away, &[0x3_0000, 0, 3000, normal | 1 << 4 | 1]);
    poke(&b.memory, away + 0x10, &[0x4_0000, 0, 996, normal | 1 << 4 | 1]);
    poke(&b.memory, away + 0x20, &[0x1234_5678, 9, 0, kind::EVENT_DATA << 10 | 1 << 5 | 1]);
    poke(&b.memory, away + 0x30, &[0x5_0000, 0, 64, normal | 1 << 4 | 1 << 2 | 1]);
    poke(&b.memory, away + 0x40, &[0x5_1000, 0, 64, normal | 1 << 5 | 1]);
    b.clock.advance(MS);
    queue.drain();
    b.clock.advance(MS);
    let head = 1 | kind::TRANSFER_EVENT << 10 | 1 << 24;
    let expected: [Event; 4] = [
        [Bench::ring(4), 0, 1 << 24, head | 4 << 16],
        [0x1234_5678, 9, 1 << 24 | 4096, head | 3 << 16 | 1 << 2],
        [away + 0x30, 0, 13 << 24 | 51, head | 3 << 16],
        [away + 0x40, 0, 13 << 24 | 64, head | 3 << 16],
    ];
    assert_eq!(b.events(), expected);
    let read =
        [bytes(&b.memory, DATA, 100), bytes(&b.memory, 0x3_0000, 3000), bytes(&b.memory, 0x4_0000, 996)].concat();
    assert_eq!(read, (2..10u8).flat_map(|n| [n; 512]).collect::<Vec<_>>());
    assert_eq!(bytes(&b.memory, 0x5_0000, 13), b"USBStag1\0\0\0\0\0");
}

#[test]
fn super_speed_devices_are_at_the_usb_3_half() {
    let b = Bench::new();
    let (_, queue) = disk(8);
    let config = crate::storage::StorageConfig { queue, serial: "1".into(), removable: false, write_cache: true };
    b.bus.attach(2, &crate::storage::device("disk", Speed::Super, config)).unwrap();
    b.clock.advance(1);
    assert_eq!(b.read(b.port(6)) & 1, 0);
    assert_eq!(b.read(b.port(2)), 0x0002_1203, "connected, enabled in U0 at once, super speed");
    b.write(b.port(2), 0x8002_0200);
    assert_eq!(b.read(b.port(2)), 0x0028_1203, "warm reset done");
    b.write(b.port(2), 0x0028_0202);
    assert_eq!(b.read(b.port(2)) & 0x01FF, 0x81, "disabled");
    b.write(b.port(2), 0x0001_02A0);
    assert_eq!(b.read(b.port(2)) & 0x01FF, 3, "RxDetect trains again");
    let attached = b.bus.devices();
    let mut array = lock(&attached[1].1);
    array.setup(setup(0x80, 6, 0x0F00, 0, 64));
    assert_eq!(array.data_in(0, 64).unwrap()[..5], [5, 15, 22, 0, 2]);
}

#[test]
fn a_suspended_port_is_woken_by_the_tablet() {
    let b = Bench::new();
    b.start();
    b.address();
    b.configure(&[(3, INTERRUPT_IN, 8)]);
    assert_eq!(b.control(setup(0, 3, 1, 0, 0), 0), 1, "remote wakeup on");
    b.write(b.port(5), 0x00FE_0200);
    b.write(b.port(5), 0x0001_0260);
    assert_eq!(b.read(b.port(5)) & 0x0040_01E0, 0x60, "U3, no change");
    b.queue(3, &[[DATA, 0, 8, kind::NORMAL << 10 | 1 << 5]]);
    b.clock.advance(MS);
    assert!(b.events().is_empty(), "nothing moves");
    b.point(3, 4);
    b.clock.advance(MS);
    assert_eq!(b.read(b.port(5)) & 0x0040_01E0, 0x0040_01E0, "Resume");
    assert_eq!(b.events().first().map(kind_of), Some(kind::PORT_STATUS_CHANGE));
    b.write(b.port(5), 0x0041_0200);
    b.clock.advance(MS);
    assert_eq!(b.read(b.port(5)) & 0x0040_01E3, 0x0040_0003, "U0");
    assert!(b.events().iter().any(|e| kind_of(e) == kind::TRANSFER_EVENT), "the transfer goes on");
}

#[test]
fn a_full_event_ring_loses_nothing() {
    let b = Bench::new();
    b.start();
    poke(&b.memory, TABLE, &[EVENTS, 0, 16, 0]);
    b.write(INTERRUPTER + 0x10, TABLE);
    for i in 0..40 {
        poke(&b.memory, COMMANDS + 16 * i, &[0, 0, 0, kind::NO_OP_COMMAND << 10 | 1]);
    }
    b.write(0x2000, 0);
    b.clock.advance(10 * MS);
    let mut seen = Vec::new();
    for n in 0..100 {
        let at = EVENTS + 16 * (n % 16);
        let event = [0, 4, 8, 12].map(|o| peek(&b.memory, at + o));
        if event[3] & 1 != u32::from(n / 16 % 2 == 0) {
            break;
        }
        seen.push((kind_of(&event), event[0]));
        b.write(INTERRUPTER + 0x18, (EVENTS + 16 * ((n + 1) % 16)) | 8);
        b.clock.advance(MS);
    }
    assert!(seen.contains(&(kind::HOST_CONTROLLER, 0)), "the guest is told that the ring is full");
    let done: Vec<u32> = seen.iter().filter(|e| e.0 == kind::COMMAND_COMPLETION).map(|e| e.1).collect();
    assert_eq!(done, (0..40).map(|i| COMMANDS + 16 * i).collect::<Vec<_>>());
}

#[test]
fn messages_and_moderation() {
    let b = Bench::new();
    lock(&b.xhci).config_mut().write(0x92, &0x8000u16.to_le_bytes());
    assert_eq!(b.read(0x300C), 1, "masked at reset");
    for (i, v) in [0xFEE0_0000, 0, 0x41, 0].into_iter().enumerate() {
        b.write(0x3000 + 4 * i as u64, v);
    }
    b.start();
    b.write(INTERRUPTER + 4, 16_000); // 4 ms
    b.events();
    lock(&b.messages.0).clear();
    b.clock.advance(5 * MS);
    assert_eq!(b.run([0, 0, 0, kind::NO_OP_COMMAND << 10]), (1, 0));
    assert_eq!(*lock(&b.messages.0), [0x41]);
    assert_eq!(b.read(INTERRUPTER) & 1, 0, "a message clears the pending bit");
    assert!(!b.line.is_high());
    assert_eq!(b.run([0, 0, 0, kind::NO_OP_COMMAND << 10]), (1, 0));
    assert_eq!(lock(&b.messages.0).len(), 1, "too soon");
    poke(&b.memory, COMMANDS + 16 * b.command.get(), &[0, 0, 0, kind::NO_OP_COMMAND << 10 | 1]);
    b.write(0x2000, 0);
    b.clock.advance(10 * MS);
    assert_eq!(lock(&b.messages.0).len(), 2, "when its time has come");
}

/// Linux suspends to idle: it writes the registers of the interrupter again before it asks for a restore (4.23.2).
#[test]
fn events_go_on_where_they_were_after_a_restore() {
    let b = Bench::new();
    b.start();
    for _ in 0..3 {
        assert_eq!(b.run([0, 0, 0, kind::NO_OP_COMMAND << 10]), (1, 0));
    }
    let resume = || {
        b.write(INTERRUPTER + 8, 1);
        lock(&b.xhci).mmio_write(INTERRUPTER + 0x10, &u64::from(TABLE).to_le_bytes());
        b.write(OP, cmd::RESTORE | 4);
        b.write(OP + 0x18, (COMMANDS + 16 * b.command.get()) | 1);
        b.read(OP + 4) & sts::RESTORE_ERROR
    };
    b.write(OP, 4);
    b.write(OP, cmd::SAVE | 4);
    assert_eq!(resume(), 0);
    b.write(OP, 5);
    assert_eq!(b.run([0, 0, 0, kind::NO_OP_COMMAND << 10]), (1, 0));
    b.write(OP, cmd::RESET);
    assert_eq!(resume(), sts::RESTORE_ERROR, "nothing was saved since the reset");
}

#[test]
fn save_and_restore_keep_a_configured_tablet() {
    let b = Bench::new();
    b.start();
    b.address();
    b.configure(&[(3, INTERRUPT_IN, 8)]);
    let (device, controller) = (lock(&b.tablet).save().unwrap(), lock(&b.xhci).save().unwrap());
    let c = Bench::new();
    let mut ram = vec![0; 1 << 20];
    b.memory.read(0, &mut ram).unwrap();
    c.memory.write(0, &ram).unwrap();
    lock(&c.tablet).restore(&device).unwrap();
    lock(&c.xhci).restore(&controller).unwrap();
    c.event.set(b.event.get());
    c.next.replace(*b.next.borrow());
    assert_eq!(c.read(c.port(5)), b.read(b.port(5)));
    c.queue(3, &[[DATA, 0, 8, kind::NORMAL << 10 | 1 << 5]]);
    c.point(7, 8);
    c.clock.advance(20 * MS);
    assert_eq!(bytes(&c.memory, DATA, 5), [0, 7, 0, 8, 0]);
    assert!(lock(&c.xhci).restore(&controller[..controller.len() - 1]).is_err());
    lock(&c.xhci).reset();
    assert_eq!(c.read(OP), 0);
}

#[test]
fn rings_that_loop_and_pointers_to_nowhere() {
    let b = Bench::new();
    b.start();
    b.address();
    b.configure(&[(3, INTERRUPT_IN, 8)]);
    poke(&b.memory, Bench::ring(3), &[Bench::ring(3), 0, 0, kind::LINK << 10 | 1]);
    b.write(0x2004, 3);
    b.clock.advance(50 * MS);
    assert_eq!(b.endpoint_state(3), 4, "a ring without TDs is an error");
    let at = COMMANDS + 16 * b.command.get();
    poke(&b.memory, at, &[at, 0, 0, kind::LINK << 10 | 1]);
    b.write(0x2000, 0);
    b.clock.advance(50 * MS);
    assert_eq!(b.read(OP + 4) & 5, 0, "it still runs");
    poke(&b.memory, at, &[0xFFFF_0000, 0xFF, 0, kind::LINK << 10 | 1]);
    b.clock.advance(50 * MS);
    assert_eq!(b.read(OP + 4) & 5, 5, "host system error, halted");
    b.write(OP, 2);
    assert_eq!(b.read(OP + 4) & 5, 1);
}

/// Random rings and contexts in random memory: overflow checks are on, so a panic is all there is to look for.
#[test]
fn random_rings() {
    let mut r = Random(3);
    for round in 0..60 {
        let b = Bench::new();
        b.start();
        if round % 2 == 0 {
            b.address();
            b.configure(&[(3, INTERRUPT_IN, 8), (2, BULK_OUT, 512), (5, BULK_IN, 512)]);
        }
        for _ in 0..1500 {
            let value = match r.next() % 4 {
                0 => r.next() as u32,
                1 => r.next() as u32 & 0x2_FFF1,
                2 => (r.next() as u32 % 24) << 10 | (r.next() as u32 & 0x1F_0277) | 1 << 24 | 1,
                _ => 1 << 27 | 3 << 20 | (r.next() as u32 & 0xFF),
            };
            poke(&b.memory, (r.next() as u32 & 0xFFFC) % 0xC000 + 0x1000, &[value]);
        }
        for _ in 0..60 {
            match r.next() % 5 {
                0 => b.write(r.next() & 0x3FFC, r.next() as u32),
                1 => b.write(0x2000 + 4 * (r.next() % 3), r.next() as u32 % 8),
                2 => b.write(b.port(1 + r.next() % 8), r.next() as u32),
                3 => b.write(OP, 5),
                _ => b.point(r.next() as u16, 0),
            }
            b.clock.advance(r.next() % (2 * MS));
        }
    }
}
