//! HID class: tablet, mouse, keyboard.
//!
//! Device Class Definition for Human Interface Devices 1.11: class requests (7.2), HID descriptor (6.2.1), boot
//! interfaces (appendix B). What the device reports is in [`Reports`]; its events come from the input bus on the
//! front end's thread and wait in a queue that both sides lock.

mod keyboard;
mod pointer;

use std::sync::{Arc, Mutex, Weak};

use input::{Capabilities, HandlerId, InputBus, InputEvent, InputHandler, Leds};
use serde::{Deserialize, Serialize};
use vm_core::{Clock, Shared, StateError, load_state, lock, save_state, shared};

use crate::bus::Waker;
use crate::descriptors::{Descriptors, Endpoint, Interface, Transfer};
use crate::device::{Fault, Function, Setup, Speed, UsbDevice};

use keyboard::Keyboard;
use pointer::Pointer;

/// The kinds of HID devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HidKind {
    /// Absolute pointer: `usb-tablet`.
    Tablet,
    /// Relative pointer: `usb-mouse`.
    Mouse,
    /// `usb-kbd`.
    Keyboard,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Reports {
    Pointer(Pointer),
    Keyboard(Keyboard),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    reports: Reports,
    /// 0 boot, 1 report.
    protocol: u8,
    /// In units of 4 ms; 0: report changes only.
    idle: u8,
    /// When the last report was sent.
    reported_at: u64,
    configured: bool,
}

impl State {
    fn at_reset(kind: HidKind) -> Self {
        let reports = match kind {
            HidKind::Tablet => Reports::Pointer(Pointer::new(true)),
            HidKind::Mouse => Reports::Pointer(Pointer::new(false)),
            HidKind::Keyboard => Reports::Keyboard(Keyboard::default()),
        };
        Self { reports, protocol: 1, idle: 0, reported_at: 0, configured: false }
    }

    fn pending(&self) -> bool {
        match &self.reports {
            Reports::Pointer(p) => p.pending(),
            Reports::Keyboard(k) => k.pending(),
        }
    }

    fn next(&mut self) -> Vec<u8> {
        match &mut self.reports {
            Reports::Pointer(p) => p.next(self.protocol == 0),
            Reports::Keyboard(k) => k.next(),
        }
    }

    fn current(&self) -> Vec<u8> {
        match &self.reports {
            Reports::Pointer(p) => p.current(self.protocol == 0),
            Reports::Keyboard(k) => k.report(),
        }
    }
}

/// What front end and guest side share.
struct Queue {
    state: Mutex<State>,
    waker: Mutex<Option<Waker>>,
}

impl InputHandler for Queue {
    fn input(&self, event: &InputEvent) {
        let wake = {
            let mut s = lock(&self.state);
            // Before the guest listens there is nobody to report to; only the position is kept.
            let listens = s.configured;
            match &mut s.reports {
                Reports::Pointer(p) => p.event(event, listens),
                Reports::Keyboard(k) if listens => k.event(event),
                Reports::Keyboard(_) => {}
            }
            listens && s.pending()
        };
        let waker = lock(&self.waker).clone().filter(|_| wake);
        if let Some(waker) = waker {
            waker();
        }
    }
}

/// The guest's side.
struct Hid {
    kind: HidKind,
    queue: Arc<Queue>,
    clock: Clock,
    input: Arc<InputBus>,
    id: HandlerId,
}

/// Class requests (HID 1.11, 7.2).
mod request {
    pub(super) const GET_REPORT: u8 = 1;
    pub(super) const GET_IDLE: u8 = 2;
    pub(super) const GET_PROTOCOL: u8 = 3;
    pub(super) const GET_DESCRIPTOR: u8 = 6;
    pub(super) const SET_REPORT: u8 = 9;
    pub(super) const SET_IDLE: u8 = 0x0A;
    pub(super) const SET_PROTOCOL: u8 = 0x0B;
}

const DESCRIPTOR_HID: u8 = 0x21;
const DESCRIPTOR_REPORT: u8 = 0x22;
const INPUT: u8 = 1;
const OUTPUT: u8 = 2;

impl HidKind {
    fn report_descriptor(self) -> &'static [u8] {
        match self {
            Self::Tablet => pointer::TABLET,
            Self::Mouse => pointer::MOUSE,
            Self::Keyboard => keyboard::DESCRIPTOR,
        }
    }

    fn hid_descriptor(self) -> Vec<u8> {
        let len = self.report_descriptor().len() as u16;
        let mut d = vec![9, DESCRIPTOR_HID, 0x11, 0x01, 0, 1, DESCRIPTOR_REPORT];
        d.extend(len.to_le_bytes());
        d
    }

    fn descriptors(self, serial: &str) -> Descriptors {
        // Subclass 1: boot interface; protocol 1 keyboard, 2 mouse. A tablet has no boot protocol.
        let (product, class, packet, ms) = match self {
            Self::Tablet => ("QEMU USB Tablet", [3, 0, 0], 8, 4),
            Self::Mouse => ("QEMU USB Mouse", [3, 1, 2], 4, 4),
            Self::Keyboard => ("QEMU USB Keyboard", [3, 1, 1], 8, 8),
        };
        Descriptors {
            vendor: 0x0627,
            product: 0x0001,
            release: 0,
            class: [0; 3],
            strings: ["QEMU".into(), product.into(), serial.into()],
            remote_wakeup: true,
            self_powered: false,
            max_power: 100,
            interface: Interface {
                class,
                extra: self.hid_descriptor(),
                endpoints: vec![Endpoint { address: 0x81, transfer: Transfer::Interrupt { packet, ms } }],
            },
        }
    }
}

/// Usages 1 to 3 of the LED page.
fn lights(leds: u8) -> Leds {
    Leds { num: leds & 1 != 0, caps: leds & 2 != 0, scroll: leds & 4 != 0 }
}

/// Makes a HID device called `name` and puts it on the input bus. It becomes the first choice there when the guest
/// configures it.
pub fn device(
    kind: HidKind,
    name: &str,
    serial: &str,
    most: Speed,
    clock: &Clock,
    input: &Arc<InputBus>,
) -> Shared<UsbDevice> {
    let queue = Arc::new(Queue { state: Mutex::new(State::at_reset(kind)), waker: Mutex::default() });
    let capabilities = Capabilities {
        keyboard: kind == HidKind::Keyboard,
        relative: kind == HidKind::Mouse,
        absolute: kind == HidKind::Tablet,
    };
    let handler: Arc<dyn InputHandler> = queue.clone();
    let weak: Weak<dyn InputHandler> = Arc::downgrade(&handler);
    let id = input.register(name, capabilities, weak);
    let function = Hid { kind, queue, clock: clock.clone(), input: input.clone(), id };
    shared(UsbDevice::new(name, most, kind.descriptors(serial), Box::new(function)))
}

impl Function for Hid {
    fn control_in(&mut self, s: &Setup) -> Result<Vec<u8>, Fault> {
        let [low, high] = s.value.to_le_bytes();
        let state = lock(&self.queue.state);
        match (s.request_type, s.request) {
            (0x81, request::GET_DESCRIPTOR) => match high {
                DESCRIPTOR_HID => Ok(self.kind.hid_descriptor()),
                DESCRIPTOR_REPORT => Ok(self.kind.report_descriptor().to_vec()),
                _ => Err(Fault::Stall),
            },
            (0xA1, request::GET_REPORT) if (high, low) == (INPUT, 0) => Ok(state.current()),
            (0xA1, request::GET_IDLE) => Ok(vec![state.idle]),
            (0xA1, request::GET_PROTOCOL) => Ok(vec![state.protocol]),
            _ => Err(Fault::Stall),
        }
    }

    fn control_out(&mut self, s: &Setup, data: &[u8]) -> Result<(), Fault> {
        let [low, high] = s.value.to_le_bytes();
        let mut state = lock(&self.queue.state);
        match (s.request_type, s.request) {
            (0x21, request::SET_REPORT) if high == OUTPUT => match (&mut state.reports, data) {
                (Reports::Keyboard(k), [leds, ..]) => {
                    k.leds = *leds & 0x1F;
                    self.input.set_leds(self.id, lights(k.leds));
                }
                _ => return Err(Fault::Stall),
            },
            (0x21, request::SET_IDLE) => state.idle = high,
            (0x21, request::SET_PROTOCOL) if low <= 1 && self.kind != HidKind::Tablet => state.protocol = low,
            _ => return Err(Fault::Stall),
        }
        Ok(())
    }

    fn data_in(&mut self, _endpoint: u8, max: usize) -> Result<Vec<u8>, Fault> {
        let now = self.clock.now();
        let mut s = lock(&self.queue.state);
        let idle = s.idle != 0 && now.saturating_sub(s.reported_at) >= u64::from(s.idle) * 4_000_000;
        let report = match (s.pending(), idle) {
            (true, _) => s.next(),
            (false, true) => s.current(),
            (false, false) => return Err(Fault::Nak),
        };
        s.reported_at = now;
        if report.len() > max { Err(Fault::Babble) } else { Ok(report) }
    }

    fn data_out(&mut self, _endpoint: u8, _data: &[u8]) -> Result<(), Fault> {
        Err(Fault::Stall)
    }

    fn reset(&mut self, _speed: Speed) {
        *lock(&self.queue.state) = State::at_reset(self.kind);
        self.input.set_leds(self.id, Leds::default());
        self.input.deactivate(self.id);
    }

    fn configured(&mut self, on: bool) {
        lock(&self.queue.state).configured = on;
        if on {
            self.input.activate(self.id);
        } else {
            self.input.deactivate(self.id);
        }
    }

    fn halt_cleared(&mut self, _endpoint: u8) {}

    fn set_waker(&mut self, waker: Option<Waker>) {
        *lock(&self.queue.waker) = waker;
    }

    fn pending(&self) -> bool {
        lock(&self.queue.state).pending()
    }

    fn child(&self, _address: u8) -> Option<Shared<UsbDevice>> {
        None
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state("usb-hid", &*lock(&self.queue.state))
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut state: State = load_state("usb-hid", bytes)?;
        let bad = |reason: &str| Err(StateError::Mismatch { device: "usb-hid".into(), reason: reason.into() });
        match (&mut state.reports, self.kind) {
            (Reports::Keyboard(k), HidKind::Keyboard) if k.is_valid() => {}
            (Reports::Pointer(p), HidKind::Tablet | HidKind::Mouse) if p.is_valid(self.kind == HidKind::Tablet) => {}
            _ => return bad("another kind of device, or an impossible queue"),
        }
        if let Reports::Keyboard(k) = &state.reports {
            self.input.set_leds(self.id, lights(k.leds));
        }
        *lock(&self.queue.state) = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::setup;

    #[test]
    fn the_lights_come_back_to_the_input_bus() {
        let (clock, input) = (Clock::manual(), InputBus::new());
        let keyboard = device(HidKind::Keyboard, "kbd", "1", Speed::High, &clock, &input);
        let mut d = lock(&keyboard);
        d.setup(setup(0x21, 9, 0x0200, 0, 1));
        d.data_out(0, &[0b101]).unwrap();
        d.data_in(0, 0).unwrap();
        assert_eq!(input.leds(), Leds { num: true, caps: false, scroll: true });
        let saved = vm_core::Device::save(&*d).unwrap();
        d.bus_reset(Speed::High);
        assert_eq!(input.leds(), Leds::default());
        vm_core::Device::restore(&mut *d, &saved).unwrap();
        assert!(input.leds().scroll);
    }
}
