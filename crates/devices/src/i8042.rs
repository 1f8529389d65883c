//! Keyboard controller (Intel 8042 as programmed for the AT and PS/2) with its keyboard and mouse, and port 0x92.
//!
//! IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller"; port 0x92: Intel
//! 82371SB data sheet, 2.5.7. The A20 line is the OR of the controller's output port and port 0x92, and on after
//! reset, as PC firmware has long left it.
//!
//! Left out on purpose: the security (password) mode, parity and time-out errors of the serial links, and command
//! 0xAC (diagnostic dump), which are answered as a controller without them does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

use input::{Capabilities, HandlerId, InputBus, InputEvent, InputHandler, Leds};
use serde::{Deserialize, Serialize};
use vm_core::{
    Clock, Device, IrqLine, MachineRequest, PortIo, RequestSink, Shared, StateError, Timer, load_state, lock,
    save_state, shared,
};

use crate::ps2::{Keyboard, Mouse};

const STATUS_OBF: u8 = 0x01;
const STATUS_SYS: u8 = 0x04;
const STATUS_COMMAND: u8 = 0x08;
const STATUS_UNLOCKED: u8 = 0x10;
const STATUS_AUX: u8 = 0x20;

const MODE_KBD_INT: u8 = 0x01;
const MODE_AUX_INT: u8 = 0x02;
const MODE_SYS: u8 = 0x04;
const MODE_NO_KBD: u8 = 0x10;
const MODE_NO_AUX: u8 = 0x20;
const MODE_TRANSLATE: u8 = 0x40;

const OUT_NOT_RESET: u8 = 0x01;
const OUT_A20: u8 = 0x02;
const OUT_KBD_FULL: u8 = 0x10;
const OUT_AUX_FULL: u8 = 0x20;

/// Scan set 2 to set 1, the controller's table for codes below 0x80.
const TRANSLATE: [u8; 128] = [
    0xFF, 0x43, 0x41, 0x3F, 0x3D, 0x3B, 0x3C, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3E, 0x0F, 0x29, 0x59, //
    0x65, 0x38, 0x2A, 0x70, 0x1D, 0x10, 0x02, 0x5A, 0x66, 0x71, 0x2C, 0x1F, 0x1E, 0x11, 0x03, 0x5B, //
    0x67, 0x2E, 0x2D, 0x20, 0x12, 0x05, 0x04, 0x5C, 0x68, 0x39, 0x2F, 0x21, 0x14, 0x13, 0x06, 0x5D, //
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5E, 0x6A, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5F, //
    0x6B, 0x33, 0x25, 0x17, 0x18, 0x0B, 0x0A, 0x60, 0x6C, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0C, 0x61, //
    0x6D, 0x73, 0x28, 0x74, 0x1A, 0x0D, 0x62, 0x6E, 0x3A, 0x36, 0x1C, 0x1B, 0x75, 0x2B, 0x63, 0x76, //
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7A, 0x0E, 0x7B, 0x7C, 0x4F, 0x7D, 0x4B, 0x47, 0x7E, 0x7F, 0x6F, //
    0x52, 0x53, 0x50, 0x4C, 0x4D, 0x48, 0x01, 0x45, 0x57, 0x4E, 0x51, 0x4A, 0x37, 0x49, 0x46, 0x54, //
];

/// Where the byte in the output buffer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Source {
    Keyboard,
    Aux,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// The controller's RAM; byte 0 is the command byte.
    ram: [u8; 32],
    output_port: u8,
    port92: u8,
    output: Option<(u8, Source)>,
    /// The last byte read, which port 0x60 gives again.
    last: u8,
    /// Bytes of the controller itself that wait for the output buffer.
    replies: VecDeque<(u8, Source)>,
    /// A command that waits for its parameter at port 0x60.
    command: Option<u8>,
    command_last: bool,
    self_tested: bool,
    /// The translation has seen 0xF0: the next code is a break.
    break_prefix: bool,
    keyboard: Keyboard,
    mouse: Mouse,
}

impl State {
    fn at_reset() -> Self {
        let mut ram = [0; 32];
        ram[0] = MODE_KBD_INT | MODE_AUX_INT;
        Self {
            ram,
            output_port: OUT_NOT_RESET | OUT_A20 | 0xC0,
            port92: 0,
            output: None,
            last: 0,
            replies: VecDeque::new(),
            command: None,
            command_last: false,
            self_tested: false,
            break_prefix: false,
            keyboard: Keyboard::at_reset(),
            mouse: Mouse::at_reset(),
        }
    }

    fn mode(&self) -> u8 {
        self.ram[0]
    }

    fn reply(&mut self, byte: u8) {
        self.queue(byte, Source::Keyboard);
    }

    fn queue(&mut self, byte: u8, source: Source) {
        if self.replies.len() < 32 {
            self.replies.push_back((byte, source));
        }
    }

    /// A byte of the keyboard as the host sees it; `None` for a prefix that the translation keeps.
    fn translate(&mut self, byte: u8) -> Option<u8> {
        if self.mode() & MODE_TRANSLATE == 0 {
            return Some(byte);
        }
        if byte == 0xF0 {
            self.break_prefix = true;
            return None;
        }
        let code = match byte {
            0x83 => 0x41,
            0x84 => 0x54,
            _ => TRANSLATE.get(usize::from(byte)).copied().unwrap_or(byte),
        };
        if std::mem::take(&mut self.break_prefix) && byte != 0xE0 { Some(code | 0x80) } else { Some(code) }
    }

    /// Fills the output buffer if it is empty: the controller's own bytes, then keyboard, then mouse.
    fn fill(&mut self) {
        if self.output.is_some() {
            return;
        }
        self.output = self.replies.pop_front();
        while self.output.is_none() && self.mode() & MODE_NO_KBD == 0 {
            let Some(byte) = self.keyboard.pop() else { break };
            self.output = self.translate(byte).map(|b| (b, Source::Keyboard));
        }
        if self.output.is_none() && self.mode() & MODE_NO_AUX == 0 {
            self.output = self.mouse.pop().map(|b| (b, Source::Aux));
        }
    }

    fn status(&self) -> u8 {
        let full = match self.output {
            None => 0,
            Some((_, Source::Keyboard)) => STATUS_OBF,
            Some((_, Source::Aux)) => STATUS_OBF | STATUS_AUX,
        };
        let system = if self.self_tested || self.mode() & MODE_SYS != 0 { STATUS_SYS } else { 0 };
        full | system | if self.command_last { STATUS_COMMAND } else { 0 } | STATUS_UNLOCKED
    }

    fn output_port(&self) -> u8 {
        let full = match self.output {
            None => 0,
            Some((_, Source::Keyboard)) => OUT_KBD_FULL,
            Some((_, Source::Aux)) => OUT_AUX_FULL,
        };
        self.output_port & !(OUT_KBD_FULL | OUT_AUX_FULL) | full
    }

    /// Levels of IRQ 1 and IRQ 12.
    fn irqs(&self) -> (bool, bool) {
        let source = self.output.map(|o| o.1);
        let keyboard = source == Some(Source::Keyboard) && self.mode() & MODE_KBD_INT != 0;
        (keyboard, source == Some(Source::Aux) && self.mode() & MODE_AUX_INT != 0)
    }

    fn a20(&self) -> bool {
        self.output_port & OUT_A20 != 0 || self.port92 & 0x02 != 0
    }
}

/// The controller with both devices. Ports, each one and byte wide: 0x60 [`I8042::data_port`], 0x64
/// [`I8042::command_port`], 0x92 [`I8042::port92`].
pub struct I8042 {
    state: State,
    clock: Clock,
    irq1: IrqLine,
    irq12: IrqLine,
    a20: IrqLine,
    requests: Arc<dyn RequestSink>,
    timer: Timer,
    /// Where the keyboard's lights are shown.
    lights: Option<(Arc<InputBus>, HandlerId)>,
}

struct Listener(Weak<Mutex<I8042>>);

impl InputHandler for Listener {
    fn input(&self, event: &InputEvent) {
        let Some(chip) = self.0.upgrade() else { return };
        let mut c = lock(&chip);
        let now = c.clock.now();
        match event {
            InputEvent::Key { key, down } => c.state.keyboard.key(*key, *down, now),
            other => c.state.mouse.input(other),
        }
        c.update();
    }
}

/// Keeps the controller registered with an input bus.
pub struct I8042Input {
    _listener: Arc<dyn InputHandler>,
}

impl I8042 {
    /// A controller that drives `irq1`, `irq12` and the A20 gate `a20` (high: address bit 20 is not forced to 0),
    /// and asks `requests` for resets.
    pub fn new(
        clock: &Clock,
        irq1: IrqLine,
        irq12: IrqLine,
        a20: IrqLine,
        requests: Arc<dyn RequestSink>,
    ) -> Shared<Self> {
        a20.set(true);
        Arc::new_cyclic(|weak: &Weak<Mutex<Self>>| {
            let weak = weak.clone();
            let timer = clock.timer("ps2-typematic", move || {
                if let Some(chip) = weak.upgrade() {
                    let mut c = lock(&chip);
                    let now = c.clock.now();
                    c.state.keyboard.tick(now);
                    c.update();
                }
            });
            let state = State::at_reset();
            Mutex::new(Self { state, clock: clock.clone(), irq1, irq12, a20, requests, timer, lights: None })
        })
    }

    /// Connects keyboard and mouse to `bus` for as long as the result lives.
    pub fn connect(chip: &Shared<Self>, bus: &Arc<InputBus>) -> I8042Input {
        let listener: Arc<dyn InputHandler> = Arc::new(Listener(Arc::downgrade(chip)));
        let all = Capabilities { keyboard: true, relative: true, absolute: false };
        let id = bus.register("PS/2 keyboard and mouse", all, Arc::downgrade(&listener));
        lock(chip).lights = Some((bus.clone(), id));
        I8042Input { _listener: listener }
    }

    /// Tells front ends of the keyboard's lights.
    fn show_leds(&self) {
        let leds = self.leds();
        if let Some((bus, id)) = &self.lights {
            bus.set_leds(*id, Leds { scroll: leds & 1 != 0, num: leds & 2 != 0, caps: leds & 4 != 0 });
        }
    }

    /// Port 0x60.
    pub fn data_port(chip: &Shared<Self>) -> Shared<I8042Port> {
        shared(I8042Port { chip: chip.clone(), which: Which::Data })
    }

    /// Port 0x64.
    pub fn command_port(chip: &Shared<Self>) -> Shared<I8042Port> {
        shared(I8042Port { chip: chip.clone(), which: Which::Command })
    }

    /// Port 0x92: fast A20 and reset.
    pub fn port92(chip: &Shared<Self>) -> Shared<I8042Port> {
        shared(I8042Port { chip: chip.clone(), which: Which::Port92 })
    }

    /// The keyboard's lights: bit 0 Scroll Lock, 1 Num Lock, 2 Caps Lock.
    pub fn leds(&self) -> u8 {
        self.state.keyboard.leds()
    }

    /// Fills the output buffer and brings lines and timer in agreement with the state.
    fn update(&mut self) {
        self.state.fill();
        let (keyboard, aux) = self.state.irqs();
        self.irq1.set(keyboard);
        self.irq12.set(aux);
        self.a20.set(self.state.a20());
        match self.state.keyboard.repeat_at() {
            Some(at) => self.timer.set(at),
            None => self.timer.cancel(),
        }
    }

    fn read_data(&mut self) -> u8 {
        if let Some((byte, _)) = self.state.output.take() {
            self.state.last = byte;
            // Low before the next byte raises it again: an edge for each byte.
            self.irq1.set(false);
            self.irq12.set(false);
        }
        self.state.last
    }

    fn write_output_port(&mut self, v: u8) {
        self.state.output_port = v & !(OUT_KBD_FULL | OUT_AUX_FULL);
        if v & OUT_NOT_RESET == 0 {
            self.requests.request(MachineRequest::Reset("keyboard controller"));
        }
    }

    fn write_data(&mut self, v: u8) {
        let s = &mut self.state;
        s.command_last = false;
        match s.command.take() {
            None => {
                // Talking to the keyboard switches its line on.
                s.ram[0] &= !MODE_NO_KBD;
                s.break_prefix = false;
                s.keyboard.write(v);
                self.show_leds();
            }
            Some(c @ 0x60..=0x7F) => {
                s.ram[usize::from(c & 0x1F)] = v;
                if c == 0x60 {
                    s.self_tested = v & MODE_SYS != 0;
                }
            }
            Some(0xD1) => self.write_output_port(v),
            Some(0xD2) => s.queue(v, Source::Keyboard),
            Some(0xD3) => s.queue(v, Source::Aux),
            Some(0xD4) => {
                s.ram[0] &= !MODE_NO_AUX;
                s.mouse.write(v);
            }
            Some(_) => {}
        }
    }

    fn write_command(&mut self, v: u8) {
        let s = &mut self.state;
        s.command_last = true;
        s.command = None;
        match v {
            0x00..=0x1F => s.reply(s.ram[usize::from(v)]),
            0x20..=0x3F => {
                let byte = s.ram[usize::from(v & 0x1F)];
                s.reply(byte);
            }
            0x60..=0x7F | 0xD1..=0xD4 => s.command = Some(v),
            // No password installed.
            0xA4 => s.reply(0xF1),
            0xA7 => s.ram[0] |= MODE_NO_AUX,
            0xA8 => s.ram[0] &= !MODE_NO_AUX,
            0xA9 | 0xAB => s.reply(0x00),
            0xAA => {
                s.self_tested = true;
                s.ram[0] |= MODE_SYS;
                s.reply(0x55);
            }
            0xAD => s.ram[0] |= MODE_NO_KBD,
            0xAE => s.ram[0] &= !MODE_NO_KBD,
            // Input port: keyboard not locked.
            0xC0 => s.reply(0x80),
            0xD0 => {
                let port = s.output_port();
                s.reply(port);
            }
            0xDD => s.output_port &= !OUT_A20,
            0xDF => s.output_port |= OUT_A20,
            // Test inputs: both clock lines are high unless disabled.
            0xE0 => {
                let mode = s.mode();
                s.reply(u8::from(mode & MODE_NO_KBD == 0) | u8::from(mode & MODE_NO_AUX == 0) << 1);
            }
            // Pulses the output port bits that are 0; only the reset line notices.
            0xF0..=0xFF if v & OUT_NOT_RESET == 0 => {
                self.requests.request(MachineRequest::Reset("keyboard controller"));
            }
            _ => {}
        }
    }

    fn write_port92(&mut self, v: u8) {
        let rises = v & !self.state.port92 & 0x01 != 0;
        self.state.port92 = v & 0x03;
        if rises {
            self.requests.request(MachineRequest::Reset("port 0x92"));
        }
    }
}

impl Device for I8042 {
    fn name(&self) -> &str {
        "i8042"
    }

    fn reset(&mut self) {
        self.state = State::at_reset();
        self.show_leds();
        self.update();
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let new: State = load_state(self.name(), bytes)?;
        if !new.keyboard.is_sane() || !new.mouse.is_sane() || new.replies.len() > 32 {
            return Err(StateError::Mismatch { device: "i8042".into(), reason: "queues or settings".into() });
        }
        let (keyboard, aux) = new.irqs();
        self.irq1.import_level(keyboard);
        self.irq12.import_level(aux);
        self.state = new;
        self.show_leds();
        // Not `update`: nothing may move. The A20 gate's owner needs to hear of the level.
        self.a20.set(self.state.a20());
        match self.state.keyboard.repeat_at() {
            Some(at) => self.timer.set(at),
            None => self.timer.cancel(),
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Which {
    Data,
    Command,
    Port92,
}

/// One of the controller's ports; see [`I8042`].
pub struct I8042Port {
    chip: Shared<I8042>,
    which: Which,
}

impl PortIo for I8042Port {
    fn port_read(&mut self, _offset: u16, data: &mut [u8]) {
        let mut c = lock(&self.chip);
        let value = match self.which {
            Which::Data => c.read_data(),
            Which::Command => c.state.status(),
            Which::Port92 => c.state.port92,
        };
        c.update();
        data.fill(value);
    }

    fn port_write(&mut self, _offset: u16, data: &[u8]) {
        let Some(&v) = data.first() else { return };
        let mut c = lock(&self.chip);
        match self.which {
            Which::Data => c.write_data(v),
            Which::Command => c.write_command(v),
            Which::Port92 => c.write_port92(v),
        }
        c.update();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::Requests;
    use input::{Key, MouseButton};
    use vm_core::{PortSpace, RecordedLine};

    struct Bench {
        clock: Clock,
        ports: Arc<PortSpace>,
        chip: Shared<I8042>,
        irq1: Arc<RecordedLine>,
        irq12: Arc<RecordedLine>,
        a20: Arc<RecordedLine>,
        requests: Arc<Requests>,
        bus: Arc<InputBus>,
        _input: I8042Input,
    }

    impl Bench {
        fn new() -> Self {
            let clock = Clock::manual();
            let [(irq1, l1), (irq12, l12), (a20, la)] = [(); 3].map(|()| RecordedLine::line());
            let requests = Arc::new(Requests::default());
            let chip = I8042::new(&clock, l1, l12, la, requests.clone());
            let ports = PortSpace::new();
            ports.add(0x60, 1, "kbd", true, &I8042::data_port(&chip)).unwrap();
            ports.add(0x64, 1, "kbc", true, &I8042::command_port(&chip)).unwrap();
            ports.add(0x92, 1, "port92", true, &I8042::port92(&chip)).unwrap();
            let bus = InputBus::new();
            let _input = I8042::connect(&chip, &bus);
            Self { clock, ports, chip, irq1, irq12, a20, requests, bus, _input }
        }
        fn inb(&self, port: u16) -> u8 {
            let mut d = [0];
            self.ports.read(port, &mut d);
            d[0]
        }
        fn outb(&self, port: u16, v: u8) {
            self.ports.write(port, &[v]);
        }
        fn all(&self) -> Vec<u8> {
            std::iter::from_fn(|| (self.inb(0x64) & STATUS_OBF != 0).then(|| self.inb(0x60))).collect()
        }
        /// As a BIOS does: self test, translation and both interrupts on.
        fn started(self) -> Self {
            self.outb(0x64, 0xAA);
            assert_eq!(self.all(), [0x55]);
            self.outb(0x64, 0x60);
            self.outb(0x60, 0x47);
            self
        }
    }

    #[test]
    fn self_tests_and_command_byte() {
        let b = Bench::new();
        assert_eq!(b.inb(0x64), 0x10);
        let b = b.started();
        assert_eq!(b.inb(0x64), 0x14);
        for (command, reply) in [(0x20, 0x47), (0xA9, 0), (0xAB, 0), (0xA4, 0xF1), (0xE0, 3), (0xD0, 0xC3)] {
            b.outb(0x64, command);
            assert_eq!(b.inb(0x64), 0x1D);
            assert_eq!(b.all(), [reply], "{command:#x}");
        }
        b.outb(0x64, 0x6A);
        b.outb(0x60, 0x99);
        b.outb(0x64, 0x2A);
        assert_eq!(b.all(), [0x99]);
    }

    #[test]
    fn translated_keys_interrupt_once_a_byte() {
        let b = Bench::new().started();
        let edges = b.irq1.edges();
        b.bus.chord(&[Key::Ctrl, Key::Delete]);
        assert!(b.irq1.is_high());
        assert_eq!(b.all(), [0x1D, 0xE0, 0x53, 0xE0, 0xD3, 0x9D]);
        assert_eq!(b.irq1.edges() - edges, 6);
        assert!(!b.irq1.is_high());
        b.outb(0x60, 0xF2);
        assert_eq!(b.all(), [0xFA, 0xAB, 0x41]);
    }

    #[test]
    fn every_key_translates_to_set_1() {
        let b = Bench::new().started();
        for k in Key::ALL {
            b.bus.key(*k, true);
            assert_eq!(b.all(), k.make(1), "{}", k.name());
            b.bus.key(*k, false);
            assert_eq!(b.all(), k.release(1), "{}", k.name());
        }
    }

    #[test]
    fn a_disabled_keyboard_waits() {
        let b = Bench::new().started();
        b.outb(0x64, 0xAD);
        b.bus.key(Key::A, true);
        assert_eq!(b.all(), [0; 0]);
        b.outb(0x64, 0xAE);
        assert_eq!(b.all(), [0x1E]);
        b.clock.advance(501_000_000);
        assert_eq!(b.all(), [0x1E], "typematic");
    }

    #[test]
    fn mouse_through_the_second_channel() {
        let b = Bench::new().started();
        b.outb(0x64, 0xD4);
        b.outb(0x60, 0xF4);
        assert_eq!(b.inb(0x64) & 0x21, 0x21);
        assert!(b.irq12.is_high() && !b.irq1.is_high());
        assert_eq!(b.all(), [0xFA]);
        b.bus.send(&InputEvent::Button { button: MouseButton::Left, down: true });
        b.bus.send(&InputEvent::RelMove { dx: 2, dy: -3 });
        b.bus.send(&InputEvent::Sync);
        assert_eq!(b.all(), [0x09, 0, 0, 0x09, 2, 3]);
        b.outb(0x64, 0xD3);
        b.outb(0x60, 0x5A);
        assert_eq!((b.inb(0x64) & 0x21, b.inb(0x60)), (0x21, 0x5A), "aux loop");
    }

    #[test]
    fn a20_from_both_sides() {
        let b = Bench::new();
        assert!(b.a20.is_high());
        b.outb(0x64, 0xDD);
        assert!(!b.a20.is_high());
        b.outb(0x92, 0x02);
        assert!(b.a20.is_high());
        b.outb(0x92, 0x00);
        b.outb(0x64, 0xD1);
        b.outb(0x60, 0x03);
        assert!(b.a20.is_high());
        assert_eq!(b.inb(0x92), 0);
    }

    #[test]
    fn resets() {
        let b = Bench::new();
        b.outb(0x64, 0xFF);
        b.outb(0x92, 0x02);
        assert_eq!(b.requests.take(), []);
        b.outb(0x64, 0xFE);
        b.outb(0x64, 0xD1);
        b.outb(0x60, 0x02);
        b.outb(0x92, 0x03);
        let kbc = MachineRequest::Reset("keyboard controller");
        assert_eq!(b.requests.take(), [kbc, kbc, MachineRequest::Reset("port 0x92")]);
    }

    #[test]
    fn save_reset_restore() {
        let b = Bench::new().started();
        b.bus.chord(&[Key::Ctrl, Key::Delete]);
        b.inb(0x60);
        crate::test_util::round_trip(&mut *lock(&b.chip));
        assert_eq!(b.all(), [0xE0, 0x53, 0xE0, 0xD3, 0x9D]);
    }
}
