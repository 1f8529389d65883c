//! Intel 82093AA I/O APIC with the EOI register of its successors (version 0x20).
//!
//! Intel 82093AA data sheet (290566-001) section 3; EOI register: Intel ICH9 data sheet, 13.5.5. Interrupts leave as
//! messages in the format of Intel SDM volume 3, 11.11.
//!
//! A pin's level means "asserted": the polarity bit is kept for the guest and not applied, since a line in this
//! program carries no electrical polarity and firmware tables describe the same lines in different ways. The
//! delivery status bit is always 0: messages are never held back.

use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use vm_core::{Device, LineSink, Mmio, MsiSink, StateError, load_state, lock, save_state};

use crate::Pic;

const PINS: usize = 24;
const VERSION: u32 = 0x20;
const REMOTE_IRR: u64 = 1 << 14;
const DELIVERY_STATUS: u64 = 1 << 12;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
/// Bits of an entry that software may write.
const WRITABLE: u64 = 0xFF00_0000_0001_AFFF;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    id: u8,
    select: u8,
    asserted: u32,
    entries: [u64; PINS],
}

/// A message: address and data.
type Message = (u64, u32);

fn message(entry: u64) -> Message {
    let mode = (entry >> 8) & 7;
    let dest = (entry >> 56) & 0xFF;
    let logical = (entry >> 11) & 1;
    let hint = u64::from(mode == 1);
    let address = 0xFEE0_0000 | dest << 12 | hint << 3 | logical << 2;
    let level = entry & LEVEL != 0;
    let data = (entry & 0x7FF) as u32 | u32::from(level) << 15 | 1 << 14;
    (address, data)
}

/// Whether the entry waits for an EOI: level triggered, fixed or lowest priority.
fn waits_for_eoi(entry: u64) -> bool {
    entry & LEVEL != 0 && matches!((entry >> 8) & 7, 0 | 1)
}

impl State {
    fn at_reset() -> Self {
        Self { id: 0, select: 0, asserted: 0, entries: [MASKED; PINS] }
    }

    /// Delivers a level pin if it is due.
    fn service_level(&mut self, pin: usize) -> Option<Message> {
        let asserted = self.asserted & (1 << pin) != 0;
        let entry = self.entries.get_mut(pin)?;
        if !asserted || *entry & (MASKED | REMOTE_IRR) != 0 || !waits_for_eoi(*entry) {
            return None;
        }
        *entry |= REMOTE_IRR;
        Some(message(*entry))
    }

    fn set_pin(&mut self, pin: usize, high: bool) -> Option<Message> {
        let bit = 1u32.checked_shl(pin as u32)?;
        let entry = *self.entries.get(pin)?;
        let was = self.asserted & bit != 0;
        self.asserted = if high { self.asserted | bit } else { self.asserted & !bit };
        if waits_for_eoi(entry) {
            return self.service_level(pin);
        }
        // Edges on a masked pin are ignored (data sheet 3.2.4, bit 16).
        (high && !was && entry & MASKED == 0).then(|| message(entry))
    }

    fn eoi(&mut self, vector: u8) -> Vec<Message> {
        let mut out = Vec::new();
        for pin in 0..PINS {
            let e = &mut self.entries[pin];
            if *e & REMOTE_IRR != 0 && *e as u8 == vector {
                *e &= !REMOTE_IRR;
                out.extend(self.service_level(pin));
            }
        }
        out
    }

    fn read_register(&self) -> u32 {
        match self.select {
            0 | 2 => u32::from(self.id) << 24,
            1 => (PINS as u32 - 1) << 16 | VERSION,
            n => {
                let Some(e) = n.checked_sub(0x10).and_then(|i| self.entries.get(usize::from(i / 2))) else { return 0 };
                if n & 1 == 0 { *e as u32 } else { (*e >> 32) as u32 }
            }
        }
    }

    fn write_register(&mut self, v: u32) -> Option<Message> {
        if self.select == 0 {
            self.id = (v >> 24) as u8 & 0x0F;
            return None;
        }
        let pin = usize::from(self.select.checked_sub(0x10)? / 2);
        let e = self.entries.get_mut(pin)?;
        let new = if self.select & 1 == 0 {
            (*e & 0xFFFF_FFFF_0000_0000) | u64::from(v)
        } else {
            (*e & 0xFFFF_FFFF) | u64::from(v) << 32
        };
        *e = (new & WRITABLE) | (*e & REMOTE_IRR);
        if !waits_for_eoi(*e) {
            // Switching to edge forgets the interrupt in service; that is how software without an EOI register ends it.
            *e &= !REMOTE_IRR;
        }
        *e &= !DELIVERY_STATUS;
        self.service_level(pin)
    }
}

struct Inner {
    state: Mutex<State>,
    sink: Arc<dyn MsiSink>,
}

/// The I/O APIC; clones are the same chip.
///
/// As a [`LineSink`] its pins are 0 to 23; as [`Mmio`] it belongs at 0xFEC00000, length 0x1000. Messages are sent
/// with no lock held.
#[derive(Clone)]
pub struct IoApic(Arc<Inner>);

impl IoApic {
    /// A chip with everything masked that sends to `sink`.
    pub fn new(sink: Arc<dyn MsiSink>) -> Self {
        Self(Arc::new(Inner { state: Mutex::new(State::at_reset()), sink }))
    }

    /// An EOI for `vector` of a level interrupt was broadcast by a local APIC.
    pub fn eoi(&self, vector: u8) {
        tracing::trace!(target: "ioapic_eoi_broadcast", "vector={vector:#04x}");
        let messages = self.state().eoi(vector);
        self.send(messages);
    }

    /// The redirection entries, for `info pic`.
    pub fn entries(&self) -> [u64; PINS] {
        self.state().entries
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    fn send(&self, messages: impl IntoIterator<Item = Message>) {
        for (address, data) in messages {
            tracing::trace!(target: "ioapic_deliver", "address={address:#x} data={data:#x}");
            self.0.sink.signal(address, data);
        }
    }
}

impl LineSink for IoApic {
    fn set_level(&self, pin: u32, high: bool) {
        let message = self.state().set_pin(pin as usize, high);
        self.send(message);
    }
}

impl Mmio for IoApic {
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
        let s = self.state();
        let value = match offset & 0xFFC {
            0x00 => u32::from(s.select),
            0x10 => s.read_register(),
            _ => 0,
        };
        data.fill(0);
        let bytes = value.to_le_bytes();
        for (d, b) in data.iter_mut().zip(bytes.iter().skip((offset & 3) as usize)) {
            *d = *b;
        }
    }

    fn mmio_write(&mut self, offset: u64, data: &[u8]) {
        let mut bytes = [0; 4];
        for (b, d) in bytes.iter_mut().zip(data) {
            *b = *d;
        }
        let v = u32::from_le_bytes(bytes);
        let messages = match offset & 0xFFF {
            0x00 => {
                self.state().select = v as u8;
                vec![]
            }
            // Only whole registers are written (data sheet 3.1).
            0x10 if data.len() >= 4 => self.state().write_register(v).into_iter().collect(),
            0x40 => self.state().eoi(v as u8),
            _ => vec![],
        };
        self.send(messages);
    }
}

impl Device for IoApic {
    fn name(&self) -> &str {
        "ioapic"
    }

    fn reset(&mut self) {
        let mut s = self.state();
        // Input levels are the devices' business: they drop their lines in their own reset.
        let asserted = s.asserted;
        *s = State { asserted, ..State::at_reset() };
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &*self.state())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut new: State = load_state(self.name(), bytes)?;
        new.id &= 0x0F;
        new.entries.iter_mut().for_each(|e| *e &= WRITABLE | REMOTE_IRR);
        *self.state() = new;
        Ok(())
    }
}

/// Leads each interrupt line of a PC to both controllers: pins 0 to 15 are ISA lines (to the 8259 pair and the I/O
/// APIC, where the timer's line 0 is pin 2), 16 to 23 go to the I/O APIC alone.
pub struct IsaRouter {
    pic: Pic,
    ioapic: Option<IoApic>,
}

impl IsaRouter {
    /// A router to `pic` and, where there is one, `ioapic`.
    pub fn new(pic: Pic, ioapic: Option<IoApic>) -> Arc<Self> {
        Arc::new(Self { pic, ioapic })
    }
}

impl LineSink for IsaRouter {
    fn set_level(&self, pin: u32, high: bool) {
        if pin < 16 {
            self.pic.set_level(pin, high);
        }
        if let Some(ioapic) = &self.ioapic {
            match pin {
                0 => ioapic.set_level(2, high),
                2 => {}
                n => ioapic.set_level(n, high),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_core::IrqLine;

    #[derive(Default)]
    struct Sent(Mutex<Vec<Message>>);
    impl MsiSink for Sent {
        fn signal(&self, address: u64, data: u32) {
            self.0.lock().unwrap().push((address, data));
        }
    }

    struct Bench {
        chip: IoApic,
        sent: Arc<Sent>,
    }

    impl Bench {
        fn new() -> Self {
            let sent = Arc::new(Sent::default());
            Self { chip: IoApic::new(sent.clone()), sent }
        }
        fn write(&mut self, reg: u8, v: u32) {
            self.chip.mmio_write(0, &u32::from(reg).to_le_bytes());
            self.chip.mmio_write(0x10, &v.to_le_bytes());
        }
        fn read(&mut self, reg: u8) -> u32 {
            self.chip.mmio_write(0, &[reg]);
            let mut d = [0; 4];
            self.chip.mmio_read(0x10, &mut d);
            u32::from_le_bytes(d)
        }
        fn take(&self) -> Vec<Message> {
            std::mem::take(&mut *self.sent.0.lock().unwrap())
        }
    }

    #[test]
    fn registers_as_in_the_data_sheet() {
        let mut b = Bench::new();
        assert_eq!(b.read(1), 0x0017_0020);
        assert_eq!(b.read(0x10), 0x0001_0000);
        b.write(0, 0xFFFF_FFFF);
        assert_eq!((b.read(0), b.read(2)), (0x0F00_0000, 0x0F00_0000));
        b.write(0x3E, 0xFFFF_FFFF);
        b.write(0x3F, 0xFFFF_FFFF);
        assert_eq!((b.read(0x3E), b.read(0x3F)), (0x0001_AFFF, 0xFF00_0000));
        b.write(0x40, 1);
        assert_eq!(b.read(0x40), 0);
    }

    #[test]
    fn edges_deliver_once_and_are_lost_when_masked() {
        let mut b = Bench::new();
        let line = IrqLine::new("l", Arc::new(b.chip.clone()), 4);
        line.pulse();
        b.write(0x19, 0x0100_0000);
        b.write(0x18, 0x0000_0834);
        assert_eq!(b.take(), []);
        line.set(true);
        assert_eq!(b.take(), [(0xFEE0_1004, 0x4034)]);
        line.pulse();
        assert_eq!(b.take(), []);
        line.pulse();
        assert_eq!(b.take().len(), 1);
    }

    #[test]
    fn level_waits_for_eoi_and_delivers_again() {
        let mut b = Bench::new();
        b.chip.set_level(9, true);
        b.write(0x22, 0x8000 | 0x55);
        assert_eq!(b.take(), [(0xFEE0_0000, 0xC055)]);
        assert_eq!(b.read(0x22), 0xC055);
        b.chip.eoi(0x54);
        assert_eq!(b.take(), []);
        b.chip.eoi(0x55);
        assert_eq!(b.take().len(), 1, "still asserted");
        b.chip.set_level(9, false);
        b.chip.mmio_write(0x40, &[0x55, 0, 0, 0]);
        assert_eq!(b.take(), []);
        assert_eq!(b.read(0x22), 0x8055);
        b.chip.set_level(9, true);
        assert_eq!(b.take().len(), 1);
        b.write(0x22, 0x1_0055);
        assert_eq!(b.read(0x22), 0x1_0055, "edge mode forgets remote IRR");
    }

    #[test]
    fn extint_on_pin_0_and_timer_on_pin_2() {
        let mut b = Bench::new();
        let pic = Pic::new(IrqLine::new("intr", Arc::new(b.chip.clone()), 0));
        b.write(0x10, 0x700);
        b.write(0x14, 0x30);
        let p = pic.master_ports();
        for (port, v) in [(0, 0x11), (1, 8), (1, 4), (1, 1)] {
            vm_core::PortIo::port_write(&mut *lock(&p), port, &[v]);
        }
        let router = IsaRouter::new(pic, Some(b.chip.clone()));
        router.set_level(0, true);
        let mut sent = b.take();
        sent.sort_unstable();
        assert_eq!(sent, [(0xFEE0_0000, 0x4030), (0xFEE0_0000, 0x4700)]);
    }

    #[test]
    fn save_reset_restore() {
        let mut b = Bench::new();
        b.chip.set_level(9, true);
        b.write(0x22, 0x8055);
        let saved = b.chip.save().unwrap();
        b.chip.reset();
        assert_ne!(b.chip.save().unwrap(), saved);
        b.chip.restore(&saved).unwrap();
        assert_eq!(b.chip.save().unwrap(), saved);
        b.take();
        b.chip.eoi(0x55);
        assert_eq!(b.take().len(), 1);
    }
}
