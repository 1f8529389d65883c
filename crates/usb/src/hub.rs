//! `usb-hub`: eight ports.
//!
//! USB 2.0, chapter 11: hub descriptor (11.23.2), class requests (11.24.2), port status (11.24.2.7), status change
//! endpoint (11.12.4). At high speed it is a hub with one transaction translator, at full speed one without. The
//! translator is never seen at work: the controller does split transactions whole. Left out: power switching, port
//! indicators, over-current; the requests for them are taken and change nothing.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use vm_core::{Shared, StateError, load_state, lock, save_state, shared};

use crate::bus::{UsbError, Waker};
use crate::descriptors::{Descriptors, Endpoint, Interface, Transfer};
use crate::device::{Fault, Function, Setup, Speed, UsbDevice};

/// Number of ports.
pub const PORTS: usize = 8;

/// wPortStatus and wPortChange.
mod bit {
    pub(super) const CONNECTION: u16 = 1;
    pub(super) const ENABLE: u16 = 1 << 1;
    pub(super) const SUSPEND: u16 = 1 << 2;
    pub(super) const RESET: u16 = 1 << 4;
    pub(super) const POWER: u16 = 1 << 8;
    pub(super) const HIGH_SPEED: u16 = 1 << 10;
    /// All that a port loses with its device.
    pub(super) const DEVICE: u16 = CONNECTION | ENABLE | SUSPEND | RESET | HIGH_SPEED;
}

/// Feature selectors (table 11-17): below 16 bits of wPortStatus, from 16 on bits of wPortChange.
mod feature {
    pub(super) const ENABLE: u16 = 1;
    pub(super) const SUSPEND: u16 = 2;
    pub(super) const RESET: u16 = 4;
    pub(super) const POWER: u16 = 8;
    pub(super) const FIRST_CHANGE: u16 = 16;
    pub(super) const LAST_CHANGE: u16 = 20;
    pub(super) const TEST: u16 = 21;
    pub(super) const INDICATOR: u16 = 22;
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Port {
    status: u16,
    change: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    speed: Speed,
    ports: [Port; PORTS],
}

#[derive(Default)]
struct Plugs {
    /// A device, and a count of attachments so that a quick replug is seen as one.
    children: [(Option<Shared<UsbDevice>>, u32); PORTS],
    waker: Option<Waker>,
}

/// The plugs of a hub's ports: the host's side of it.
pub struct HubPorts {
    name: String,
    plugs: Mutex<Plugs>,
}

impl HubPorts {
    /// Plugs a device into port `port` (from 1).
    ///
    /// # Errors
    /// [`UsbError`] when there is no such port or it is in use.
    pub fn attach(&self, port: usize, device: &Shared<UsbDevice>) -> Result<(), UsbError> {
        let bus = || self.name.clone();
        let waker = {
            let mut plugs = lock(&self.plugs);
            let slot = plugs.children.get_mut(port.wrapping_sub(1));
            let (child, generation) = slot.ok_or_else(|| UsbError::NoPort { bus: bus(), port, ports: PORTS })?;
            if child.is_some() {
                return Err(UsbError::Taken { bus: bus(), port });
            }
            *child = Some(device.clone());
            *generation = generation.wrapping_add(1);
            plugs.waker.clone()
        };
        if waker.is_some() {
            lock(device).set_waker(waker.clone());
        }
        waker.iter().for_each(|w| w());
        Ok(())
    }

    /// Unplugs what is in port `port` (from 1).
    pub fn detach(&self, port: usize) -> Option<Shared<UsbDevice>> {
        let (device, waker) = {
            let mut plugs = lock(&self.plugs);
            let (child, generation) = plugs.children.get_mut(port.checked_sub(1)?)?;
            *generation = generation.wrapping_add(1);
            (child.take()?, plugs.waker.clone())
        };
        lock(&device).set_waker(None);
        waker.iter().for_each(|w| w());
        Some(device)
    }

    fn child(&self, index: usize) -> (Option<Shared<UsbDevice>>, u32) {
        lock(&self.plugs).children.get(index).cloned().unwrap_or_default()
    }
}

struct Hub {
    state: State,
    plugs: Arc<HubPorts>,
    /// The attachments last seen.
    seen: [u32; PORTS],
}

fn descriptors(serial: &str) -> Descriptors {
    let change = Transfer::Interrupt { packet: 2, ms: 32 };
    Descriptors {
        vendor: 0x0409,
        product: 0x55AA,
        release: 0x0101,
        class: [9, 0, 1],
        strings: ["QEMU".into(), "QEMU USB Hub".into(), serial.into()],
        remote_wakeup: true,
        self_powered: true,
        max_power: 0,
        interface: Interface {
            class: [9, 0, 0],
            extra: vec![],
            endpoints: vec![Endpoint { address: 0x81, transfer: change }],
        },
    }
}

/// Makes a hub, and the plugs of its ports.
pub fn device(name: &str, serial: &str, most: Speed) -> (Shared<UsbDevice>, Arc<HubPorts>) {
    let plugs = Arc::new(HubPorts { name: name.into(), plugs: Mutex::default() });
    let hub = Hub { state: State::at_reset(Speed::Full), plugs: plugs.clone(), seen: [0; PORTS] };
    let most = most.min(Speed::High);
    (shared(UsbDevice::new(name, most, descriptors(serial), Box::new(hub))), plugs)
}

impl State {
    fn at_reset(speed: Speed) -> Self {
        Self { speed, ports: Default::default() }
    }
}

fn hub_descriptor() -> Vec<u8> {
    // All ports powered at once, no over-current protection; 100 ms to good power; nothing fixed.
    vec![11, 0x29, PORTS as u8, 0x10, 0x00, 50, 0, 0, 0, 0xFF, 0xFF]
}

impl Hub {
    /// wIndex to a port's index.
    fn index(s: &Setup) -> Result<usize, Fault> {
        let index = usize::from(s.index & 0xFF).wrapping_sub(1);
        if index < PORTS { Ok(index) } else { Err(Fault::Stall) }
    }

    /// Brings powered ports in line with what is plugged in.
    fn sync(&mut self) {
        for (i, (port, seen)) in self.state.ports.iter_mut().zip(&mut self.seen).enumerate() {
            let (child, generation) = self.plugs.child(i);
            let was = port.status & bit::CONNECTION != 0;
            let replugged = was && child.is_some() && generation != *seen;
            *seen = generation;
            if port.status & bit::POWER != 0 && (child.is_some() != was || replugged) {
                port.status &= !bit::DEVICE;
                port.status |= if child.is_some() { bit::CONNECTION } else { 0 };
                port.change |= bit::CONNECTION;
            }
        }
    }

    /// Whether [`Hub::sync`] would change anything.
    fn is_stale(&self) -> bool {
        self.state.ports.iter().enumerate().any(|(i, port)| {
            let (child, generation) = self.plugs.child(i);
            let was = port.status & bit::CONNECTION != 0;
            let replugged = was && self.seen.get(i).is_some_and(|s| *s != generation);
            port.status & bit::POWER != 0 && (child.is_some() != was || replugged)
        })
    }

    fn set_feature(&mut self, index: usize, feature: u16) -> Result<(), Fault> {
        self.sync();
        let limit = self.state.speed;
        let child = self.plugs.child(index).0;
        let port = self.state.ports.get_mut(index).ok_or(Fault::Stall)?;
        match feature {
            feature::POWER => {
                if port.status & bit::POWER == 0 {
                    port.status = bit::POWER;
                    if child.is_some() {
                        port.status |= bit::CONNECTION;
                        port.change |= bit::CONNECTION;
                    }
                }
            }
            feature::RESET => {
                let Some(child) = child.filter(|_| port.status & bit::CONNECTION != 0) else { return Ok(()) };
                let mut device = lock(&child);
                device.bus_reset(limit);
                port.status &= !(bit::SUSPEND | bit::HIGH_SPEED);
                port.status |= bit::ENABLE | if device.speed() == Speed::High { bit::HIGH_SPEED } else { 0 };
                port.change |= bit::RESET;
            }
            feature::SUSPEND => {
                if port.status & bit::ENABLE != 0 {
                    port.status |= bit::SUSPEND;
                }
            }
            feature::TEST | feature::INDICATOR => {}
            _ => return Err(Fault::Stall),
        }
        self.wake();
        Ok(())
    }

    fn clear_feature(&mut self, index: usize, feature: u16) -> Result<(), Fault> {
        self.sync();
        let port = self.state.ports.get_mut(index).ok_or(Fault::Stall)?;
        match feature {
            feature::ENABLE => port.status &= !bit::ENABLE,
            feature::SUSPEND => {
                if port.status & bit::SUSPEND != 0 {
                    port.status &= !bit::SUSPEND;
                    port.change |= bit::SUSPEND;
                }
            }
            feature::POWER => *port = Port::default(),
            feature::INDICATOR => {}
            feature::FIRST_CHANGE..=feature::LAST_CHANGE => port.change &= !(1 << (feature - feature::FIRST_CHANGE)),
            _ => return Err(Fault::Stall),
        }
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        if self.pending() {
            let waker = lock(&self.plugs.plugs).waker.clone();
            waker.iter().for_each(|w| w());
        }
    }

    /// A suspended port whose device wants to be heard resumes (11.9).
    fn resume_ports(&mut self) {
        for (i, port) in self.state.ports.iter_mut().enumerate() {
            if port.status & bit::SUSPEND != 0 && self.plugs.child(i).0.is_some_and(|c| lock(&c).wants_wakeup()) {
                port.status &= !bit::SUSPEND;
                port.change |= bit::SUSPEND;
            }
        }
    }
}

impl Function for Hub {
    fn control_in(&mut self, s: &Setup) -> Result<Vec<u8>, Fault> {
        self.sync();
        match (s.request_type, s.request) {
            (0xA0, 0) => Ok(vec![0; 4]), // hub status: local power good, no over-current
            (0xA0, 6) => Ok(hub_descriptor()),
            (0xA3, 0) => {
                let port = self.state.ports.get(Self::index(s)?).ok_or(Fault::Stall)?;
                Ok([port.status.to_le_bytes(), port.change.to_le_bytes()].concat())
            }
            _ => Err(Fault::Stall),
        }
    }

    fn control_out(&mut self, s: &Setup, _data: &[u8]) -> Result<(), Fault> {
        match (s.request_type, s.request) {
            (0x20, 1 | 3) if s.value <= 1 => Ok(()), // C_HUB_LOCAL_POWER, C_HUB_OVER_CURRENT: never set
            (0x23, 1) => self.clear_feature(Self::index(s)?, s.value),
            (0x23, 3) => self.set_feature(Self::index(s)?, s.value),
            (0x23, 8..=11) => Ok(()), // the translator's buffers are always empty
            _ => Err(Fault::Stall),
        }
    }

    fn data_in(&mut self, _endpoint: u8, max: usize) -> Result<Vec<u8>, Fault> {
        self.sync();
        self.resume_ports();
        let changed = |(i, p): (usize, &Port)| if p.change != 0 { 2u16 << i } else { 0 };
        let map = self.state.ports.iter().enumerate().map(changed).fold(0, |a, b| a | b);
        match (map, map.to_le_bytes().get(..max.min(2))) {
            (0, _) => Err(Fault::Nak),
            (_, bytes) => Ok(bytes.unwrap_or_default().to_vec()),
        }
    }

    fn data_out(&mut self, _endpoint: u8, _data: &[u8]) -> Result<(), Fault> {
        Err(Fault::Stall)
    }

    fn reset(&mut self, speed: Speed) {
        self.state = State::at_reset(speed);
    }

    fn configured(&mut self, on: bool) {
        if !on {
            self.state.ports = Default::default();
        }
    }

    fn halt_cleared(&mut self, _endpoint: u8) {}

    fn set_waker(&mut self, waker: Option<Waker>) {
        let children = {
            let mut plugs = lock(&self.plugs.plugs);
            plugs.waker.clone_from(&waker);
            plugs.children.clone()
        };
        children.iter().filter_map(|c| c.0.as_ref()).for_each(|c| lock(c).set_waker(waker.clone()));
    }

    fn pending(&self) -> bool {
        let wants = |i: usize| self.plugs.child(i).0.is_some_and(|c| lock(&c).wants_wakeup());
        let ports = self.state.ports.iter().enumerate();
        self.is_stale() || ports.into_iter().any(|(i, p)| p.change != 0 || p.status & bit::SUSPEND != 0 && wants(i))
    }

    fn child(&self, address: u8) -> Option<Shared<UsbDevice>> {
        let active = |p: &Port| p.status & (bit::ENABLE | bit::SUSPEND) == bit::ENABLE;
        let ports = self.state.ports.iter().enumerate().filter(|(_, p)| active(p));
        ports
            .filter_map(|(i, _)| {
                let (child, generation) = self.plugs.child(i);
                child.filter(|_| self.seen.get(i) == Some(&generation))
            })
            .find_map(|c| UsbDevice::find(&c, address))
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state("usb-hub", &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let state: State = load_state("usb-hub", bytes)?;
        let there = |(i, p): (usize, &Port)| self.plugs.child(i).0.is_some() || p.status & bit::DEVICE == 0;
        if !state.ports.iter().enumerate().all(there) {
            let reason = "a device is missing at one of its ports".into();
            return Err(StateError::Mismatch { device: "usb-hub".into(), reason });
        }
        self.state = state;
        self.seen = std::array::from_fn(|i| self.plugs.child(i).1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::{setup, tablet};
    use vm_core::{Clock, Device};

    fn control(hub: &Shared<UsbDevice>, packet: [u8; 8]) -> Result<Vec<u8>, Fault> {
        let mut d = lock(hub);
        d.setup(packet);
        let data = d.data_in(0, 64)?;
        if packet[0] & 0x80 != 0 {
            d.data_out(0, &[])?;
        }
        Ok(data)
    }

    fn hub() -> (Shared<UsbDevice>, Shared<UsbDevice>) {
        let (_, child) = tablet(&Clock::manual());
        let (hub, plugs) = device("hub", "1", Speed::High);
        plugs.attach(3, &child).unwrap();
        lock(&hub).bus_reset(Speed::High);
        control(&hub, setup(0, 5, 1, 0, 0)).unwrap();
        control(&hub, setup(0, 9, 1, 0, 0)).unwrap();
        (hub, child)
    }

    #[test]
    fn a_device_appears_is_reset_and_answers() {
        let (hub, child) = hub();
        assert_eq!(control(&hub, setup(0xA0, 6, 0x2900, 0, 64)).unwrap()[..3], [11, 0x29, 8]);
        assert_eq!(lock(&hub).data_in(1, 2), Err(Fault::Nak));
        control(&hub, setup(0x23, 3, 8, 3, 0)).unwrap();
        assert_eq!(lock(&hub).data_in(1, 2), Ok(vec![8, 0]), "port 3 has changed");
        assert_eq!(control(&hub, setup(0xA3, 0, 0, 3, 4)), Ok(vec![1, 1, 1, 0]));
        control(&hub, setup(0x23, 1, 16, 3, 0)).unwrap();
        assert!(UsbDevice::find(&hub, 0).is_none(), "not enabled yet");
        control(&hub, setup(0x23, 3, 4, 3, 0)).unwrap();
        assert_eq!(control(&hub, setup(0xA3, 0, 0, 3, 4)), Ok(vec![3, 5, 0x10, 0]), "high speed, reset done");
        assert!(Arc::ptr_eq(&UsbDevice::find(&hub, 0).unwrap(), &child));
        assert_eq!(lock(&child).speed(), Speed::High);
        assert_eq!(control(&hub, setup(0xA3, 0, 0, 9, 4)), Err(Fault::Stall), "no port 9");
    }

    #[test]
    fn a_suspended_child_wakes_the_hub() {
        let (hub, child) = hub();
        for feature in [8, 4, 2] {
            control(&hub, setup(0x23, 3, feature, 3, 0)).unwrap();
        }
        for feature in [16, 20] {
            control(&hub, setup(0x23, 1, feature, 3, 0)).unwrap();
        }
        assert!(UsbDevice::find(&hub, 0).is_none(), "suspended");
        assert_eq!(lock(&hub).data_in(1, 2), Err(Fault::Nak));
        drop(child);
    }

    #[test]
    fn devices_come_and_go() {
        let (hub, plugs) = device("hub", "1", Speed::High);
        lock(&hub).bus_reset(Speed::High);
        let woken = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let count = woken.clone();
        lock(&hub).set_waker(Some(Arc::new(move || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        })));
        control(&hub, setup(0, 5, 1, 0, 0)).unwrap();
        control(&hub, setup(0, 9, 1, 0, 0)).unwrap();
        control(&hub, setup(0x23, 3, 8, 2, 0)).unwrap();
        assert_eq!(lock(&hub).data_in(1, 2), Err(Fault::Nak), "nothing there");
        let (_, child) = tablet(&Clock::manual());
        plugs.attach(2, &child).unwrap();
        assert!(matches!(plugs.attach(2, &child), Err(UsbError::Taken { port: 2, .. })));
        assert!(matches!(plugs.attach(9, &child), Err(UsbError::NoPort { port: 9, .. })));
        assert_eq!(woken.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert_eq!(lock(&hub).data_in(1, 2), Ok(vec![4, 0]));
        control(&hub, setup(0x23, 3, 4, 2, 0)).unwrap();
        assert!(UsbDevice::find(&hub, 0).is_some());
        plugs.detach(2).unwrap();
        plugs.attach(2, &child).unwrap();
        assert!(UsbDevice::find(&hub, 0).is_none(), "another attachment: not enabled");
        assert_eq!(control(&hub, setup(0xA3, 0, 0, 2, 4)), Ok(vec![1, 1, 0x11, 0]), "connected, changed");
        plugs.detach(2).unwrap();
        assert_eq!(control(&hub, setup(0xA3, 0, 0, 2, 4)), Ok(vec![0, 1, 0x11, 0]));
    }

    #[test]
    fn saved_states_fit_the_ports() {
        let (hub, _child) = hub();
        control(&hub, setup(0x23, 3, 8, 3, 0)).unwrap();
        let saved = lock(&hub).save().unwrap();
        let (empty, _) = device("hub", "1", Speed::High);
        assert!(lock(&empty).restore(&saved).is_err(), "the device at port 3 is missing");
        lock(&hub).restore(&saved).unwrap();
    }
}
