//! `usb-hub`: eight ports.
//!
//! USB 2.0, chapter 11: hub descriptor (11.23.2), class requests (11.24.2), port status (11.24.2.7), status change
//! endpoint (11.12.4). At high speed it is a hub with one transaction translator, at full speed one without. The
//! translator is never seen at work: the controller does split transactions whole. Left out: power switching, port
//! indicators, over-current; the requests for them are taken and change nothing.

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

struct Hub {
    state: State,
    children: [Option<Shared<UsbDevice>>; PORTS],
    waker: Option<Waker>,
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

/// Makes a hub with `children` in its ports (from 1).
///
/// # Errors
/// [`UsbError`] for a port that does not exist or is given twice.
pub fn device(
    name: &str,
    serial: &str,
    most: Speed,
    children: Vec<(usize, Shared<UsbDevice>)>,
) -> Result<Shared<UsbDevice>, UsbError> {
    let mut hub = Hub { state: State::at_reset(Speed::Full), children: Default::default(), waker: None };
    for (port, child) in children {
        let bus = || name.to_owned();
        let slot = hub.children.get_mut(port.wrapping_sub(1));
        let slot = slot.ok_or_else(|| UsbError::NoPort { bus: bus(), port, ports: PORTS })?;
        if slot.replace(child).is_some() {
            return Err(UsbError::Taken { bus: bus(), port });
        }
    }
    Ok(shared(UsbDevice::new(name, most, descriptors(serial), Box::new(hub))))
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

    fn set_feature(&mut self, index: usize, feature: u16) -> Result<(), Fault> {
        let limit = self.state.speed;
        let child = self.children.get(index).cloned().flatten();
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
        if let Some(waker) = self.waker.as_ref().filter(|_| self.pending()) {
            waker();
        }
    }

    /// A suspended port whose device wants to be heard resumes (11.9).
    fn resume_ports(&mut self) {
        for (port, child) in self.state.ports.iter_mut().zip(&self.children) {
            if port.status & bit::SUSPEND != 0 && child.as_ref().is_some_and(|c| lock(c).wants_wakeup()) {
                port.status &= !bit::SUSPEND;
                port.change |= bit::SUSPEND;
            }
        }
    }
}

impl Function for Hub {
    fn control_in(&mut self, s: &Setup) -> Result<Vec<u8>, Fault> {
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
        for child in self.children.iter().flatten() {
            lock(child).set_waker(waker.clone());
        }
        self.waker = waker;
    }

    fn pending(&self) -> bool {
        let wants = |c: &Option<Shared<UsbDevice>>| c.as_ref().is_some_and(|c| lock(c).wants_wakeup());
        let suspended = |p: &Port| p.status & bit::SUSPEND != 0;
        self.state.ports.iter().zip(&self.children).any(|(p, c)| p.change != 0 || suspended(p) && wants(c))
    }

    fn child(&self, address: u8) -> Option<Shared<UsbDevice>> {
        let active = |p: &Port| p.status & (bit::ENABLE | bit::SUSPEND) == bit::ENABLE;
        let children = self.state.ports.iter().zip(&self.children).filter(|(p, _)| active(p));
        children.filter_map(|(_, c)| c.as_ref()).find_map(|c| UsbDevice::find(c, address))
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state("usb-hub", &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let state: State = load_state("usb-hub", bytes)?;
        let there = |(p, c): (&Port, &Option<_>)| c.is_some() || p.status & bit::DEVICE == 0;
        if !state.ports.iter().zip(&self.children).all(there) {
            let reason = "a device is missing at one of its ports".into();
            return Err(StateError::Mismatch { device: "usb-hub".into(), reason });
        }
        self.state = state;
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
        let hub = device("hub", "1", Speed::High, vec![(3, child.clone())]).unwrap();
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
    fn saved_states_fit_the_ports() {
        let (hub, _child) = hub();
        control(&hub, setup(0x23, 3, 8, 3, 0)).unwrap();
        let saved = lock(&hub).save().unwrap();
        let empty = device("hub", "1", Speed::High, vec![]).unwrap();
        assert!(lock(&empty).restore(&saved).is_err(), "the device at port 3 is missing");
        lock(&hub).restore(&saved).unwrap();
    }

    use std::sync::Arc;
}
