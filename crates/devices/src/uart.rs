//! 16550A UART over a character back end.
//!
//! National Semiconductor PC16550D data sheet (TL/C/8652): registers, FIFOs, interrupt priorities, loopback. As on
//! PC boards, MCR OUT2 gates the interrupt line.
//!
//! Output leaves at once when the back end takes it; when its queue is full, bytes stay in the transmitter and THRE
//! stays clear until there is room, so nothing is lost. Input is taken when the receiver is empty, at most a FIFO
//! full every [`REFILL_NS`], so that a large paste does not keep the guest in its interrupt handler. Left out on
//! purpose: shortening characters to the word length (software that never sets LCR still prints), transmitting
//! breaks (no back end could pass one on), and the DMA pins; modem inputs are always CTS, DSR and DCD.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

use chardev::{CharError, CharEvent, CharFrontend, CharPort, Chardev};
use serde::{Deserialize, Serialize};
use vm_core::{Clock, Device, IrqLine, PortIo, Shared, StateError, Timer, load_state, lock, save_state};

/// Time from an emptied receiver to the next input.
pub const REFILL_NS: u64 = 100_000;
/// Input clock of the baud rate generator, divided by 16.
const BAUD_BASE: u64 = 115_200;
const FIFO: usize = 16;

const IER_RDA: u8 = 0x01;
const IER_THRE: u8 = 0x02;
const IER_RLS: u8 = 0x04;
const IER_MS: u8 = 0x08;

const LSR_DR: u8 = 0x01;
const LSR_OE: u8 = 0x02;
const LSR_BI: u8 = 0x10;
const LSR_ERRORS: u8 = 0x1E;
const LSR_THRE: u8 = 0x20;
const LSR_TEMT: u8 = 0x40;
const LSR_FIFO_ERROR: u8 = 0x80;

const LCR_DLAB: u8 = 0x80;
const LCR_BREAK: u8 = 0x40;
const MCR_LOOP: u8 = 0x10;
const MCR_OUT2: u8 = 0x08;
const FCR_ENABLE: u8 = 0x01;

/// Modem inputs when not looped back: DCD, DSR, CTS.
const MODEM_INPUTS: u8 = 0xB0;

const IIR_NONE: u8 = 0x01;
const IIR_THRE: u8 = 0x02;
const IIR_TIMEOUT: u8 = 0x0C;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    msr: u8,
    scr: u8,
    divisor: u16,
    /// Characters received, each with the LSR error bits it came with.
    rx: VecDeque<(u8, u8)>,
    /// The receiver buffer register's last character, read again when there is no new one.
    last_rx: u8,
    /// LSR error bits that were shown for the character on top and not yet read.
    errors: u8,
    tx: VecDeque<u8>,
    thre_pending: bool,
    timeout_pending: bool,
    /// Virtual time at which the character timeout comes.
    timeout_at: Option<u64>,
    /// Virtual time from which more input may be taken.
    refill_at: Option<u64>,
}

impl State {
    fn at_reset() -> Self {
        Self {
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: 0,
            msr: MODEM_INPUTS,
            scr: 0,
            divisor: 12,
            rx: VecDeque::new(),
            last_rx: 0,
            errors: 0,
            tx: VecDeque::new(),
            thre_pending: false,
            timeout_pending: false,
            timeout_at: None,
            refill_at: None,
        }
    }

    fn fifos(&self) -> bool {
        self.fcr & FCR_ENABLE != 0
    }

    fn rx_size(&self) -> usize {
        if self.fifos() { FIFO } else { 1 }
    }

    fn trigger(&self) -> usize {
        if self.fifos() { [1, 4, 8, 14][usize::from(self.fcr >> 6)] } else { 1 }
    }

    /// Start bit, data, parity, stop bits.
    fn character_ns(&self) -> u64 {
        let bits = 1 + 5 + u64::from(self.lcr & 3) + u64::from(self.lcr >> 3 & 1) + 1 + u64::from(self.lcr >> 2 & 1);
        bits * u64::from(self.divisor.max(1)) * 1_000_000_000 / BAUD_BASE
    }

    fn lsr(&self) -> u8 {
        let ready = if self.rx.is_empty() { 0 } else { LSR_DR };
        let empty = if self.tx.is_empty() { LSR_THRE | LSR_TEMT } else { 0 };
        let in_fifo = self.fifos() && self.rx.iter().any(|c| c.1 != 0);
        self.errors | ready | empty | if in_fifo { LSR_FIFO_ERROR } else { 0 }
    }

    /// The interrupt with the highest priority.
    fn iir(&self) -> u8 {
        if self.ier & IER_RLS != 0 && self.errors != 0 {
            0x06
        } else if self.ier & IER_RDA != 0 && self.rx.len() >= self.trigger() {
            0x04
        } else if self.ier & IER_RDA != 0 && self.timeout_pending {
            IIR_TIMEOUT
        } else if self.ier & IER_THRE != 0 && self.thre_pending {
            IIR_THRE
        } else if self.ier & IER_MS != 0 && self.msr & 0x0F != 0 {
            0x00
        } else {
            IIR_NONE
        }
    }

    /// A character arrives.
    fn receive(&mut self, byte: u8, errors: u8, now: u64) {
        if self.rx.len() >= self.rx_size() {
            self.errors |= LSR_OE;
            if !self.fifos() {
                // The buffer register is overwritten; a full FIFO keeps what it has.
                self.rx.clear();
                self.rx.push_back((byte, errors));
            }
        } else {
            self.rx.push_back((byte, errors));
        }
        self.reveal();
        self.timeout_pending = false;
        self.timeout_at = self.fifos().then(|| now.saturating_add(4 * self.character_ns()));
    }

    /// Shows the errors of the character now on top.
    fn reveal(&mut self) {
        if let Some(c) = self.rx.front_mut() {
            self.errors |= std::mem::take(&mut c.1);
        }
    }

    fn clear_rx(&mut self) {
        self.rx.clear();
        self.timeout_pending = false;
        self.timeout_at = None;
    }

    fn set_modem_lines(&mut self, lines: u8) {
        let changed = (self.msr ^ lines) & 0xF0;
        // RI counts on its trailing edge only.
        let deltas = (changed >> 4) & 0x0B | if changed & self.msr & 0x40 != 0 { 0x04 } else { 0 };
        self.msr = lines & 0xF0 | self.msr & 0x0F | deltas;
    }
}

/// The chip. Ports, byte wide, 8 of them: 0x3F8 (IRQ 4), 0x2F8 (IRQ 3), 0x3E8 (IRQ 4), 0x2E8 (IRQ 3).
pub struct Uart {
    name: String,
    state: State,
    clock: Clock,
    irq: IrqLine,
    timer: Timer,
    port: Option<CharPort>,
}

struct Frontend(Weak<Mutex<Uart>>);

impl CharFrontend for Frontend {
    fn notify(&self, event: CharEvent) {
        let Some(uart) = self.0.upgrade() else { return };
        let mut u = lock(&uart);
        match event {
            CharEvent::Readable => u.refill(),
            CharEvent::Writable | CharEvent::Opened | CharEvent::Closed => u.transmit(),
            CharEvent::Break => {
                let now = u.clock.now();
                if u.state.mcr & MCR_LOOP == 0 {
                    u.state.receive(0, LSR_BI, now);
                }
            }
        }
        u.update();
    }
}

impl Uart {
    /// A chip called `name` ("serial0") on `clock` that drives `irq`, with nothing connected.
    pub fn new(name: &str, clock: &Clock, irq: IrqLine) -> Shared<Self> {
        Arc::new_cyclic(|weak: &Weak<Mutex<Self>>| {
            let weak = weak.clone();
            let timer = clock.timer(name, move || {
                if let Some(uart) = weak.upgrade() {
                    lock(&uart).on_timer();
                }
            });
            Mutex::new(Self {
                name: name.into(),
                state: State::at_reset(),
                clock: clock.clone(),
                irq,
                timer,
                port: None,
            })
        })
    }

    /// Connects the chip to a back end.
    ///
    /// # Errors
    /// When the back end has a user and is not multiplexed.
    pub fn attach(uart: &Shared<Self>, chardev: &Chardev) -> Result<(), CharError> {
        let port = chardev.attach(Arc::new(Frontend(Arc::downgrade(uart))))?;
        let mut u = lock(uart);
        u.port = Some(port);
        u.refill();
        u.update();
        Ok(())
    }

    fn on_timer(&mut self) {
        let now = self.clock.now();
        if self.state.timeout_at.is_some_and(|t| t <= now) {
            self.state.timeout_at = None;
            self.state.timeout_pending = !self.state.rx.is_empty();
        }
        self.refill();
        self.update();
    }

    /// Takes input from the back end if the receiver is empty and it is time.
    fn refill(&mut self) {
        let now = self.clock.now();
        let s = &mut self.state;
        if s.refill_at.is_some_and(|t| t > now) {
            return;
        }
        s.refill_at = None;
        // Emptying the receiver, and leaving loopback, set the time again.
        if !s.rx.is_empty() || s.mcr & MCR_LOOP != 0 {
            return;
        }
        let mut buffer = [0; FIFO];
        let room = s.rx_size();
        let taken = self.port.as_ref().map_or(0, |p| p.read(&mut buffer[..room]));
        for b in &buffer[..taken] {
            s.receive(*b, 0, now);
        }
    }

    /// Hands over what waits in the transmitter.
    fn transmit(&mut self) {
        let s = &mut self.state;
        if s.tx.is_empty() {
            return;
        }
        let taken = match &self.port {
            Some(p) => p.write(s.tx.make_contiguous()),
            None => s.tx.len(),
        };
        s.tx.drain(..taken.min(s.tx.len()));
        s.thre_pending |= s.tx.is_empty();
    }

    fn update(&mut self) {
        let s = &self.state;
        self.irq.set(s.iir() != IIR_NONE && s.mcr & MCR_OUT2 != 0);
        match s.timeout_at.into_iter().chain(s.refill_at).min() {
            Some(at) => self.timer.set(at),
            None => self.timer.cancel(),
        }
    }

    fn write_thr(&mut self, v: u8) {
        self.state.thre_pending = false;
        if self.state.mcr & MCR_LOOP != 0 {
            let now = self.clock.now();
            self.state.receive(v, 0, now);
            self.state.thre_pending = true;
            return;
        }
        let size = if self.state.fifos() { FIFO } else { 1 };
        if self.state.tx.len() >= size {
            // Written without looking at THRE: the newest character is overwritten.
            self.state.tx.pop_back();
        }
        self.state.tx.push_back(v);
        self.transmit();
    }

    fn read_rbr(&mut self) -> u8 {
        let s = &mut self.state;
        s.timeout_pending = false;
        s.timeout_at = None;
        let Some((byte, _)) = s.rx.pop_front() else { return s.last_rx };
        s.last_rx = byte;
        s.reveal();
        let now = self.clock.now();
        if s.rx.is_empty() {
            s.refill_at = Some(now.saturating_add(REFILL_NS));
        } else if s.fifos() {
            s.timeout_at = Some(now.saturating_add(4 * s.character_ns()));
        }
        byte
    }

    fn write_fcr(&mut self, v: u8) {
        let s = &mut self.state;
        let toggled = (s.fcr ^ v) & FCR_ENABLE != 0;
        if toggled || v & 0x02 != 0 {
            s.clear_rx();
            s.refill_at = Some(self.clock.now().saturating_add(REFILL_NS));
        }
        if toggled || v & 0x04 != 0 {
            s.tx.clear();
            s.thre_pending = true;
        }
        // The other bits are written only together with FIFO enable.
        s.fcr = if v & FCR_ENABLE != 0 { v & 0xC9 } else { 0 };
    }

    fn write_mcr(&mut self, v: u8) {
        let s = &mut self.state;
        let was_looped = s.mcr & MCR_LOOP != 0;
        s.mcr = v & 0x1F;
        if v & MCR_LOOP != 0 {
            // DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD.
            let lines = (v & 0x01) << 5 | (v & 0x02) << 3 | (v & 0x0C) << 4;
            s.set_modem_lines(lines);
        } else {
            s.set_modem_lines(MODEM_INPUTS);
            if was_looped && s.rx.is_empty() {
                s.refill_at = Some(self.clock.now().saturating_add(REFILL_NS));
            }
        }
    }

    fn write_lcr(&mut self, v: u8) {
        let begins = v & !self.state.lcr & LCR_BREAK != 0;
        self.state.lcr = v;
        if begins && self.state.mcr & MCR_LOOP != 0 {
            let now = self.clock.now();
            self.state.receive(0, LSR_BI, now);
        }
    }

    fn read(&mut self, register: u16) -> u8 {
        let dlab = self.state.lcr & LCR_DLAB != 0;
        let [dll, dlm] = self.state.divisor.to_le_bytes();
        match register & 7 {
            0 if dlab => dll,
            0 => self.read_rbr(),
            1 if dlab => dlm,
            1 => self.state.ier,
            2 => {
                let iir = self.state.iir();
                if iir == IIR_THRE {
                    self.state.thre_pending = false;
                }
                iir | if self.state.fifos() { 0xC0 } else { 0 }
            }
            3 => self.state.lcr,
            4 => self.state.mcr,
            5 => {
                let lsr = self.state.lsr();
                self.state.errors &= !LSR_ERRORS;
                lsr
            }
            6 => {
                let msr = self.state.msr;
                self.state.msr &= 0xF0;
                msr
            }
            _ => self.state.scr,
        }
    }

    fn write(&mut self, register: u16, v: u8) {
        let dlab = self.state.lcr & LCR_DLAB != 0;
        let [dll, dlm] = self.state.divisor.to_le_bytes();
        match register & 7 {
            0 if dlab => self.state.divisor = u16::from_le_bytes([v, dlm]),
            0 => self.write_thr(v),
            1 if dlab => self.state.divisor = u16::from_le_bytes([dll, v]),
            1 => {
                let enables = v & !self.state.ier & IER_THRE != 0;
                self.state.ier = v & 0x0F;
                // Enabling the interrupt while the register is empty raises it.
                self.state.thre_pending |= enables && self.state.tx.is_empty();
            }
            2 => self.write_fcr(v),
            3 => self.write_lcr(v),
            4 => self.write_mcr(v),
            // LSR and MSR: factory test only.
            5 | 6 => {}
            _ => self.state.scr = v,
        }
    }
}

impl PortIo for Uart {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let v = self.read(offset);
        data.fill(v);
        self.update();
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        if let Some(v) = data.first() {
            self.write(offset, *v);
            self.update();
        }
    }
}

impl Device for Uart {
    fn name(&self) -> &str {
        &self.name
    }

    fn reset(&mut self) {
        self.state = State::at_reset();
        // Input that came before the reset is for whoever listens next.
        self.state.refill_at = Some(self.clock.now().saturating_add(REFILL_NS));
        self.update();
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(&self.name, &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let new: State = load_state(&self.name, bytes)?;
        if new.rx.len() > FIFO || new.tx.len() > FIFO {
            let reason = "more characters than a FIFO holds".into();
            return Err(StateError::Mismatch { device: self.name.clone(), reason });
        }
        self.state = new;
        self.irq.import_level(self.state.iir() != IIR_NONE && self.state.mcr & MCR_OUT2 != 0);
        self.update();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chardev::CharPeer;
    use vm_core::RecordedLine;

    struct Bench {
        clock: Clock,
        uart: Shared<Uart>,
        irq: Arc<RecordedLine>,
        peer: CharPeer,
    }

    impl Bench {
        fn new(room: usize) -> Self {
            let clock = Clock::manual();
            let (irq, line) = RecordedLine::line();
            let uart = Uart::new("serial0", &clock, line);
            let (dev, peer) = Chardev::in_memory("t", room, false);
            Uart::attach(&uart, &dev).unwrap();
            let b = Self { clock, uart, irq, peer };
            b.wr(3, 0x83);
            b.wr(0, 1);
            b.wr(1, 0);
            b.wr(3, 0x03);
            b.wr(4, 0x0B);
            b
        }
        fn rd(&self, r: u16) -> u8 {
            let mut d = [0];
            lock(&self.uart).port_read(r, &mut d);
            d[0]
        }
        fn wr(&self, r: u16, v: u8) {
            lock(&self.uart).port_write(r, &[v]);
        }
        fn refill(&self) {
            self.clock.advance(REFILL_NS);
        }
    }

    #[test]
    fn reset_values_and_registers() {
        let clock = Clock::manual();
        let uart = Uart::new("serial0", &clock, IrqLine::unconnected());
        let rd = |r| {
            let mut d = [0];
            lock(&uart).port_read(r, &mut d);
            d[0]
        };
        assert_eq!([1, 2, 3, 4, 5, 6].map(rd), [0, 1, 0, 0, 0x60, 0xB0]);
        let b = Bench::new(64);
        b.wr(7, 0xA5);
        b.wr(1, 0xFF);
        b.wr(4, 0xFF);
        assert_eq!((b.rd(7), b.rd(1), b.rd(4)), (0xA5, 0x0F, 0x1F));
        b.wr(3, 0x80);
        b.wr(0, 0x34);
        b.wr(1, 0x12);
        assert_eq!((b.rd(0), b.rd(1)), (0x34, 0x12));
    }

    #[test]
    fn output_and_thre_interrupt() {
        let b = Bench::new(64);
        b.wr(1, IER_THRE);
        assert!(b.irq.is_high());
        assert_eq!(b.rd(2), 0x02);
        assert!(!b.irq.is_high(), "reading IIR ends it");
        b.wr(0, b'H');
        assert_eq!(b.peer.take(), b"H");
        assert!(b.irq.is_high());
        b.wr(4, 0x03);
        assert!(!b.irq.is_high(), "OUT2 gates");
    }

    #[test]
    fn a_full_back_end_holds_the_transmitter() {
        let b = Bench::new(2);
        b.wr(2, 0x01);
        b.wr(1, IER_THRE);
        b.rd(2);
        for c in b"abcdef" {
            b.wr(0, *c);
        }
        assert_eq!(b.rd(5), 0);
        assert!(!b.irq.is_high());
        let mut out = b.peer.take();
        out.extend(b.peer.take());
        assert_eq!(b.rd(5), 0x60);
        assert!(b.irq.is_high());
        out.extend(b.peer.take());
        assert_eq!(out, b"abcdef");
    }

    #[test]
    fn fifo_trigger_and_timeout() {
        let b = Bench::new(64);
        b.wr(2, 0x81);
        b.wr(1, IER_RDA);
        b.refill();
        b.peer.send(b"12345");
        assert!(!b.irq.is_high());
        assert_eq!(b.rd(5) & 1, 1);
        // Four characters of ten bits at 115200 baud.
        b.clock.advance(347_000);
        assert!(!b.irq.is_high());
        b.clock.advance(1_000);
        assert!(b.irq.is_high());
        assert_eq!(b.rd(2), 0xCC);
        assert_eq!(b.rd(0), b'1');
        assert!(!b.irq.is_high());
        assert_eq!([b.rd(0), b.rd(0), b.rd(0), b.rd(0)], *b"2345");
        b.peer.send(b"12345678901234567890");
        b.refill();
        assert_eq!(b.rd(2), 0xC4);
        for _ in 0..16 {
            b.rd(0);
        }
        assert_eq!(b.rd(5) & 1, 0, "paced");
        b.refill();
        assert_eq!(b.rd(0), b'7');
        assert_eq!(b.rd(5) & LSR_OE, 0);
    }

    #[test]
    fn without_fifos_one_character_at_a_time() {
        let b = Bench::new(64);
        b.wr(1, IER_RDA);
        b.peer.send(b"xy");
        assert_eq!((b.rd(2), b.rd(0)), (0x04, b'x'));
        assert_eq!((b.rd(2), b.rd(0)), (0x01, b'x'));
        b.refill();
        assert_eq!((b.rd(2), b.rd(0)), (0x04, b'y'));
    }

    #[test]
    fn break_and_line_status_interrupt() {
        let b = Bench::new(64);
        b.wr(2, 0x01);
        b.wr(1, IER_RLS | IER_RDA);
        b.peer.send_break();
        assert_eq!(b.rd(2), 0xC6);
        assert_eq!(b.rd(5) & (LSR_BI | LSR_DR), LSR_BI | LSR_DR);
        assert_eq!(b.rd(2), 0xC4);
        assert_eq!((b.rd(0), b.rd(5)), (0, 0x60));
    }

    #[test]
    fn loopback_of_data_and_modem_lines() {
        let b = Bench::new(64);
        b.rd(6);
        b.wr(4, 0x1A);
        assert_eq!(b.rd(6) & 0xF0, 0x90);
        b.wr(0, 0x5A);
        assert_eq!(b.rd(0), 0x5A);
        assert_eq!(b.peer.take(), b"");
        b.wr(4, 0x14);
        b.rd(6);
        b.wr(4, 0x10);
        assert_eq!(b.rd(6), 0x04, "trailing edge of RI");
        b.wr(0, 1);
        b.wr(0, 2);
        assert_eq!(b.rd(5) & LSR_OE, LSR_OE);
        assert_eq!(b.rd(5) & LSR_OE, 0);
        assert_eq!(b.rd(0), 2);
    }

    #[test]
    fn save_reset_restore() {
        let b = Bench::new(64);
        b.wr(2, 0xC1);
        b.wr(1, IER_RDA);
        b.refill();
        b.peer.send(b"abc");
        crate::test_util::round_trip(&mut *lock(&b.uart));
        b.clock.advance(400_000);
        assert!(b.irq.is_high());
        assert_eq!(b.rd(0), b'a');
    }
}
