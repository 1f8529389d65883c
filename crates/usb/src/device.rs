//! A USB device: addresses, configurations, endpoint 0 and the standard requests.
//!
//! USB 2.0, chapters 8 (control transfers, 8.5.3) and 9 (states, 9.1; standard requests, 9.4); USB 3.0, chapter 9. Transfers come in as
//! whole tokens with any amount of data: a controller may run several packets in one call. One configuration, one
//! interface, no alternate settings. Left out: isochronous endpoints, test modes, and data toggles on the device's
//! side (nothing is lost between controller and device).

use serde::{Deserialize, Serialize};
use vm_core::{Device, Shared, StateError, load_state, lock, save_state};

use crate::bus::Waker;
use crate::descriptors::Descriptors;

/// Bus speeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Speed {
    /// 12 Mbit/s.
    Full,
    /// 480 Mbit/s.
    High,
    /// 5 Gbit/s.
    Super,
}

/// What a transaction came to, when not to an ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing to send, or no room: try later.
    Nak,
    /// The endpoint is halted, or the request is not understood.
    Stall,
    /// The device sent more than was asked for.
    Babble,
    /// Nobody answers.
    NoResponse,
}

/// The eight bytes of a SETUP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Direction (bit 7: to the host), type, recipient.
    pub request_type: u8,
    /// Request.
    pub request: u8,
    /// wValue.
    pub value: u16,
    /// wIndex.
    pub index: u16,
    /// wLength.
    pub length: u16,
}

impl Setup {
    /// From the packet.
    pub fn new(p: [u8; 8]) -> Self {
        let [request_type, request, v0, v1, i0, i1, l0, l1] = p;
        let word = |a, b| u16::from_le_bytes([a, b]);
        Self { request_type, request, value: word(v0, v1), index: word(i0, i1), length: word(l0, l1) }
    }

    fn to_host(self) -> bool {
        self.request_type & 0x80 != 0
    }
}

/// What makes a device what it is. Standard requests other than descriptors of the class do not come here.
pub trait Function: Send {
    /// A class or vendor request, or GET_DESCRIPTOR to the interface, that wants data.
    ///
    /// # Errors
    /// [`Fault::Stall`] for what is not understood.
    fn control_in(&mut self, setup: &Setup) -> Result<Vec<u8>, Fault>;
    /// A class or vendor request with its data, if any.
    ///
    /// # Errors
    /// [`Fault::Stall`] for what is not understood.
    fn control_out(&mut self, setup: &Setup, data: &[u8]) -> Result<(), Fault>;
    /// IN from an endpoint (number without bit 7) other than 0, at most `max` bytes. Fewer bytes than `max` that end
    /// on a packet boundary mean that more may come.
    ///
    /// # Errors
    /// Any [`Fault`].
    fn data_in(&mut self, endpoint: u8, max: usize) -> Result<Vec<u8>, Fault>;
    /// OUT to an endpoint other than 0; all of it is taken, or none.
    ///
    /// # Errors
    /// Any [`Fault`].
    fn data_out(&mut self, endpoint: u8, data: &[u8]) -> Result<(), Fault>;
    /// Bus reset or power-on: runs at `speed` from now on.
    fn reset(&mut self, speed: Speed);
    /// The guest has configured the device, or taken the configuration back.
    fn configured(&mut self, on: bool);
    /// The guest has cleared an endpoint's halt (address with bit 7 for IN).
    fn halt_cleared(&mut self, endpoint: u8);
    /// Who to tell when there is something to send.
    fn set_waker(&mut self, waker: Option<Waker>);
    /// There is something to send that is worth waking a suspended host for.
    fn pending(&self) -> bool;
    /// The device with this address behind this one (hubs).
    fn child(&self, address: u8) -> Option<Shared<UsbDevice>>;
    /// The state as bytes.
    ///
    /// # Errors
    /// When it cannot be encoded.
    fn save(&self) -> Result<Vec<u8>, StateError>;
    /// Takes a saved state.
    ///
    /// # Errors
    /// [`StateError`]; nothing is changed then.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError>;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Control {
    Idle,
    In { data: Vec<u8>, at: usize },
    Out { setup: Setup, data: Vec<u8> },
    Stalled,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    speed: Speed,
    address: u8,
    configuration: u8,
    remote_wakeup: bool,
    /// Bit n: OUT endpoint n; bit 16 + n: IN endpoint n.
    halted: u32,
    control: Control,
}

impl State {
    fn at_reset(speed: Speed) -> Self {
        Self { speed, address: 0, configuration: 0, remote_wakeup: false, halted: 0, control: Control::Idle }
    }
}

/// Standard requests.
mod request {
    pub(super) const GET_STATUS: u8 = 0;
    pub(super) const CLEAR_FEATURE: u8 = 1;
    pub(super) const SET_FEATURE: u8 = 3;
    pub(super) const SET_ADDRESS: u8 = 5;
    pub(super) const GET_DESCRIPTOR: u8 = 6;
    pub(super) const GET_CONFIGURATION: u8 = 8;
    pub(super) const SET_CONFIGURATION: u8 = 9;
    pub(super) const GET_INTERFACE: u8 = 10;
    pub(super) const SET_INTERFACE: u8 = 11;
    pub(super) const SET_SEL: u8 = 0x30;
    pub(super) const SET_ISOCH_DELAY: u8 = 0x31;
}

const FEATURE_ENDPOINT_HALT: u16 = 0;
const FEATURE_REMOTE_WAKEUP: u16 = 1;
/// U1, U2 and latency tolerance messages (USB 3.0, table 9-6).
const FEATURES_SUPER: std::ops::RangeInclusive<u16> = 48..=50;

/// See the module's documentation.
pub struct UsbDevice {
    name: String,
    most: Speed,
    descriptors: Descriptors,
    state: State,
    function: Box<dyn Function>,
}

fn halt_bit(endpoint: u8) -> u32 {
    1 << (u32::from(endpoint & 0xF) + if endpoint & 0x80 != 0 { 16 } else { 0 })
}

impl UsbDevice {
    /// A device that can run at `most`, in power-on state.
    pub fn new(name: &str, most: Speed, descriptors: Descriptors, function: Box<dyn Function>) -> Self {
        let state = State::at_reset(Speed::Full);
        let mut device = Self { name: name.into(), most, descriptors, state, function };
        device.function.reset(Speed::Full);
        device
    }

    /// Product string, for `info usb`.
    pub fn product(&self) -> &str {
        &self.descriptors.strings[1]
    }

    /// The speed it runs at.
    pub fn speed(&self) -> Speed {
        self.state.speed
    }

    /// The address the guest gave it.
    pub fn address(&self) -> u8 {
        self.state.address
    }

    /// The fastest it can run.
    pub fn most(&self) -> Speed {
        self.most
    }

    /// The port drives a reset; it can run at `limit` at most.
    pub fn bus_reset(&mut self, limit: Speed) {
        let speed = self.most.min(limit);
        self.unconfigure();
        self.state = State::at_reset(speed);
        self.function.reset(speed);
    }

    /// Asks to be woken, if the guest allows it, when the bus is suspended.
    pub fn wants_wakeup(&self) -> bool {
        self.state.remote_wakeup && self.function.pending()
    }

    pub(crate) fn set_waker(&mut self, waker: Option<Waker>) {
        if waker.is_none() {
            self.unconfigure();
        }
        self.function.set_waker(waker);
    }

    fn unconfigure(&mut self) {
        if self.state.configuration != 0 {
            self.state.configuration = 0;
            self.function.configured(false);
        }
    }

    /// `device` or the one behind it that answers at `address`.
    pub(crate) fn find(device: &Shared<Self>, address: u8) -> Option<Shared<Self>> {
        let d = lock(device);
        if d.state.address == address {
            return Some(device.clone());
        }
        d.function.child(address)
    }

    /// SETUP to endpoint 0: always acknowledged.
    pub fn setup(&mut self, packet: [u8; 8]) {
        let setup = Setup::new(packet);
        self.state.control = if !setup.to_host() {
            Control::Out { setup, data: Vec::new() }
        } else {
            match self.request_in(&setup) {
                Ok(mut data) => {
                    data.truncate(setup.length.into());
                    Control::In { data, at: 0 }
                }
                Err(_) => Control::Stalled,
            }
        };
    }

    /// IN: at most `max` bytes. Fewer than `max` at a packet boundary, but not zero, mean that more may come.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub fn data_in(&mut self, endpoint: u8, max: usize) -> Result<Vec<u8>, Fault> {
        if endpoint != 0 {
            self.check(0x80 | endpoint)?;
            let result = self.function.data_in(endpoint, max);
            return self.note(0x80 | endpoint, result);
        }
        match std::mem::replace(&mut self.state.control, Control::Stalled) {
            Control::In { data, at } => {
                let end = data.len().min(at.saturating_add(max));
                let part = data.get(at..end).unwrap_or_default().to_vec();
                self.state.control = Control::In { data, at: end };
                Ok(part)
            }
            Control::Out { setup, data } if data.len() == usize::from(setup.length) => {
                self.request_out(&setup, &data)?;
                self.state.control = Control::Idle;
                Ok(Vec::new())
            }
            _ => Err(Fault::Stall),
        }
    }

    /// OUT.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub fn data_out(&mut self, endpoint: u8, data: &[u8]) -> Result<(), Fault> {
        if endpoint != 0 {
            self.check(endpoint)?;
            let result = self.function.data_out(endpoint, data);
            return self.note(endpoint, result);
        }
        match &mut self.state.control {
            Control::In { .. } if data.is_empty() => self.state.control = Control::Idle,
            Control::Out { setup, data: all } if all.len() + data.len() <= usize::from(setup.length) => {
                all.extend(data);
            }
            other => {
                *other = Control::Stalled;
                return Err(Fault::Stall);
            }
        }
        Ok(())
    }

    fn check(&self, endpoint: u8) -> Result<(), Fault> {
        if self.state.configuration == 0 || !self.descriptors.has_endpoint(endpoint) {
            return Err(Fault::NoResponse);
        }
        if self.state.halted & halt_bit(endpoint) != 0 { Err(Fault::Stall) } else { Ok(()) }
    }

    fn note<T>(&mut self, endpoint: u8, result: Result<T, Fault>) -> Result<T, Fault> {
        if matches!(result, Err(Fault::Stall)) {
            self.state.halted |= halt_bit(endpoint);
        }
        result
    }

    fn request_in(&mut self, s: &Setup) -> Result<Vec<u8>, Fault> {
        let configured = self.state.configuration != 0;
        match (s.request_type, s.request) {
            (0x80, request::GET_STATUS) => {
                let self_powered = u8::from(self.descriptors.self_powered);
                Ok(vec![self_powered | u8::from(self.state.remote_wakeup) << 1, 0])
            }
            (0x81, request::GET_STATUS) if configured && s.index == 0 => Ok(vec![0, 0]),
            (0x82, request::GET_STATUS) => {
                let endpoint = self.endpoint(s.index)?;
                Ok(vec![u8::from(self.state.halted & halt_bit(endpoint) != 0), 0])
            }
            (0x80, request::GET_DESCRIPTOR) => {
                let [index, kind] = s.value.to_le_bytes();
                self.descriptors.get(kind, index, self.state.speed, self.most).ok_or(Fault::Stall)
            }
            (0x80, request::GET_CONFIGURATION) => Ok(vec![self.state.configuration]),
            (0x81, request::GET_INTERFACE) if configured && s.index == 0 => Ok(vec![0]),
            (0x81, request::GET_DESCRIPTOR) => self.function.control_in(s),
            (t, _) if t & 0x60 != 0 => self.function.control_in(s),
            _ => Err(Fault::Stall),
        }
    }

    /// An endpoint named by wIndex: 0, or one of the configuration's.
    fn endpoint(&self, index: u16) -> Result<u8, Fault> {
        let endpoint = u8::try_from(index).map_err(|_| Fault::Stall)?;
        let there = endpoint & 0x7F == 0 || self.state.configuration != 0 && self.descriptors.has_endpoint(endpoint);
        if there { Ok(endpoint) } else { Err(Fault::Stall) }
    }

    fn request_out(&mut self, s: &Setup, data: &[u8]) -> Result<(), Fault> {
        let set = s.request == request::SET_FEATURE;
        match (s.request_type, s.request) {
            (0x00, request::SET_ADDRESS) if s.value < 128 => self.state.address = s.value as u8,
            (0x00, request::SET_CONFIGURATION) => return self.set_configuration(s.value),
            (0x00, request::SET_FEATURE | request::CLEAR_FEATURE)
                if s.value == FEATURE_REMOTE_WAKEUP && self.descriptors.remote_wakeup =>
            {
                self.state.remote_wakeup = set;
            }
            // Links here are always fast and awake: what tunes their power saving is taken and changes nothing.
            (0x00, request::SET_FEATURE | request::CLEAR_FEATURE)
                if self.state.speed == Speed::Super && FEATURES_SUPER.contains(&s.value) => {}
            (0x00, request::SET_SEL | request::SET_ISOCH_DELAY) if self.state.speed == Speed::Super => {}
            (0x01, request::SET_INTERFACE) if self.state.configuration != 0 && (s.index, s.value) == (0, 0) => {
                self.state.halted = 0;
            }
            (0x02, request::SET_FEATURE | request::CLEAR_FEATURE) if s.value == FEATURE_ENDPOINT_HALT => {
                let endpoint = self.endpoint(s.index)?;
                if endpoint & 0x7F == 0 {
                    return Ok(()); // endpoint 0 recovers with the next SETUP
                }
                if set {
                    self.state.halted |= halt_bit(endpoint);
                } else {
                    self.state.halted &= !halt_bit(endpoint);
                    self.function.halt_cleared(endpoint);
                }
            }
            (t, _) if t & 0x60 != 0 => return self.function.control_out(s, data),
            _ => return Err(Fault::Stall),
        }
        Ok(())
    }

    fn set_configuration(&mut self, value: u16) -> Result<(), Fault> {
        match value {
            0 => self.unconfigure(),
            1 => {
                self.state.halted = 0;
                self.state.configuration = 1;
                self.function.configured(true);
            }
            _ => return Err(Fault::Stall),
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    state: State,
    function: Vec<u8>,
}

impl Device for UsbDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn reset(&mut self) {
        self.bus_reset(Speed::Full);
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(&self.name, &Saved { state: self.state.clone(), function: self.function.save()? })
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let Saved { state, function } = load_state(&self.name, bytes)?;
        let fits = state.speed <= self.most && state.address < 128 && state.configuration <= 1;
        if !fits {
            let reason = "impossible speed, address or configuration".into();
            return Err(StateError::Mismatch { device: self.name.clone(), reason });
        }
        self.function.restore(&function)?;
        self.state = state;
        self.function.configured(self.state.configuration != 0);
        Ok(())
    }
}
