//! Root hub ports: PORTSC, reset, link states, suspend and resume.
//!
//! xHCI 1.1, sections 4.15 (suspend and resume), 4.19 (root hub), 5.4.8 to 5.4.11 (registers). The first ports are the
//! USB 3 halves of the connectors, the others the USB 2 halves, as in QEMU's: OVMF counts on it for the `bootindex=` of a disk
//! at super speed. A device appears at the half that is as fast as it is.
//! Resets and link changes are done at once. Left out: port power, over-current, L1, compliance and test modes.

use serde::{Deserialize, Serialize};
use vm_core::{Shared, lock};

use super::ring::{Code, Dma, Trb, kind};
use super::{Xhci, sts};
use crate::bus::Owner;
use crate::device::{Fault, Speed, UsbDevice};

/// PORTSC.
mod bit {
    pub(super) const CONNECT: u32 = 1;
    pub(super) const ENABLE: u32 = 1 << 1;
    pub(super) const RESET: u32 = 1 << 4;
    pub(super) const LINK_SHIFT: u32 = 5;
    pub(super) const POWER: u32 = 1 << 9;
    pub(super) const SPEED_SHIFT: u32 = 10;
    pub(super) const LINK_WRITE: u32 = 1 << 16;
    pub(super) const CONNECT_CHANGE: u32 = 1 << 17;
    pub(super) const RESET_CHANGE: u32 = 1 << 21;
    pub(super) const WARM_RESET_CHANGE: u32 = 1 << 19;
    pub(super) const LINK_CHANGE: u32 = 1 << 22;
    /// All change bits.
    pub(super) const CHANGES: u32 = 0x7F << 17;
    /// Port indicators, wake on connect, disconnect, over-current: kept as written.
    pub(super) const KEPT: u32 = 3 << 14 | 7 << 25;
    pub(super) const WARM_RESET: u32 = 1 << 31;
}

/// Port link states.
mod link {
    pub(super) const U0: u8 = 0;
    pub(super) const U3: u8 = 3;
    pub(super) const DISABLED: u8 = 4;
    pub(super) const RX_DETECT: u8 = 5;
    pub(super) const POLLING: u8 = 7;
    pub(super) const RESUME: u8 = 15;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Port {
    /// PORTSC without link state and speed.
    bits: u32,
    link: u8,
    speed: u8,
    /// PORTPMSC, PORTHLPMC.
    power: [u32; 2],
    /// The attachment last seen.
    generation: u32,
}

impl Port {
    pub(super) fn at_reset() -> Self {
        Self { bits: bit::POWER, link: link::RX_DETECT, speed: 0, power: [0; 2], generation: 0 }
    }

    pub(super) fn is_valid(&self) -> bool {
        self.link < 16 && self.speed < 16
    }

    fn portsc(&self) -> u32 {
        self.bits | u32::from(self.link) << bit::LINK_SHIFT | u32::from(self.speed) << bit::SPEED_SHIFT
    }

    fn is(&self, bits: u32) -> bool {
        self.bits & bits == bits
    }
}

/// Protocol speed ids (7.2.2.1.1).
fn speed_id(speed: Speed) -> u8 {
    match speed {
        Speed::Full => 1,
        Speed::High => 3,
        Speed::Super => 4,
    }
}

impl Xhci {
    /// Whether a port is the USB 3 half of its connector.
    fn is_usb3(&self, index: usize) -> bool {
        index < self.chip.ports3
    }

    /// The device at a port.
    fn at_port(&self, index: usize) -> (Option<Shared<UsbDevice>>, u32) {
        let usb3 = self.is_usb3(index);
        let connector = if usb3 { index } else { index - self.chip.ports3 };
        let (device, generation) = self.bus.look(connector, Owner::Main);
        // The connector may lack a USB 3 half.
        let has_usb3 = connector < self.chip.ports3;
        let here = |d: &Shared<UsbDevice>| (lock(d).most() == Speed::Super && has_usb3) == usb3;
        (device.filter(here), generation)
    }

    /// The device at the root port that a slot's context names, for transfers.
    pub(super) fn reachable(&self, index: usize) -> Result<Shared<UsbDevice>, Fault> {
        let port = self.state.ports.get(index).filter(|p| p.is(bit::ENABLE | bit::CONNECT)).ok_or(Fault::NoResponse)?;
        if port.link != link::U0 {
            return Err(Fault::Nak); // nothing is sent over a suspended link
        }
        let (device, generation) = self.at_port(index);
        device.filter(|_| generation == port.generation).ok_or(Fault::NoResponse)
    }

    pub(super) fn read_port(&self, index: usize, register: u64) -> u32 {
        match (self.state.ports.get(index), register) {
            (Some(p), 0) => p.portsc(),
            (Some(p), 4) => p.power[0],
            (Some(p), 12) => p.power[1],
            _ => 0,
        }
    }

    pub(super) fn write_port(&mut self, index: usize, register: u64, value: u32) -> Dma<()> {
        let Some(port) = self.state.ports.get_mut(index) else { return Ok(()) };
        match register {
            0 => return self.write_portsc(index, value),
            4 => port.power[0] = value & 0x0000_FFFF,
            12 => port.power[1] = value & 0x0000_3FFF,
            _ => {}
        }
        Ok(())
    }

    fn write_portsc(&mut self, index: usize, value: u32) -> Dma<()> {
        let usb3 = self.is_usb3(index);
        let Some(port) = self.state.ports.get_mut(index) else { return Ok(()) };
        port.bits &= !(value & bit::CHANGES);
        port.bits = port.bits & !bit::KEPT | value & bit::KEPT;
        if value & bit::WARM_RESET != 0 && usb3 {
            return self.reset_port(index, bit::RESET_CHANGE | bit::WARM_RESET_CHANGE);
        }
        if value & bit::RESET != 0 {
            return self.reset_port(index, bit::RESET_CHANGE);
        }
        if value & bit::ENABLE != 0 && port.is(bit::ENABLE) {
            port.bits &= !bit::ENABLE; // writing one disables
            port.link = if usb3 { link::DISABLED } else { link::POLLING };
        } else if value & bit::LINK_WRITE != 0 {
            return self.write_link(index, (value >> bit::LINK_SHIFT & 0xF) as u8);
        }
        Ok(())
    }

    /// Software asks for a link state (4.15, 4.19.1.2.13).
    fn write_link(&mut self, index: usize, wanted: u8) -> Dma<()> {
        let usb3 = self.is_usb3(index);
        let Some(port) = self.state.ports.get_mut(index) else { return Ok(()) };
        match (wanted, port.link) {
            (link::U3, link::U0) if port.is(bit::ENABLE) => port.link = link::U3,
            (link::RESUME, link::U3) if !usb3 => port.link = link::RESUME,
            (link::U0, link::U3 | link::RESUME) => {
                port.link = link::U0;
                self.timer.set(0); // transfers go on
                return self.change(index, bit::LINK_CHANGE);
            }
            (link::RX_DETECT, link::DISABLED) if usb3 => {
                port.link = link::RX_DETECT;
                if port.is(bit::CONNECT) {
                    self.train(index);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Reset: ends at once. A USB 2 port is enabled by it, a USB 3 port stays so.
    fn reset_port(&mut self, index: usize, changes: u32) -> Dma<()> {
        if self.state.ports.get(index).is_some_and(|p| p.is(bit::CONNECT)) {
            self.train(index);
            self.change(index, changes)?;
        }
        Ok(())
    }

    /// The device is reset and the port enabled, in U0.
    fn train(&mut self, index: usize) {
        let limit = if self.is_usb3(index) { Speed::Super } else { Speed::High };
        let Some(device) = self.at_port(index).0 else { return };
        let speed = {
            let mut d = lock(&device);
            d.bus_reset(limit);
            d.speed()
        };
        if let Some(port) = self.state.ports.get_mut(index) {
            (port.link, port.speed) = (link::U0, speed_id(speed));
            port.bits |= bit::ENABLE;
        }
    }

    /// Sets change bits; tells of the first of them (4.19.2).
    fn change(&mut self, index: usize, bits: u32) -> Dma<()> {
        let Some(port) = self.state.ports.get_mut(index) else { return Ok(()) };
        let first = port.bits & bit::CHANGES == 0;
        port.bits |= bits;
        self.state.usbsts |= sts::PORT_CHANGE;
        if first { self.tell(index) } else { Ok(()) }
    }

    fn tell(&mut self, index: usize) -> Dma<()> {
        if !self.running() {
            return Ok(()); // told when it runs
        }
        let parameter = (index as u64 + 1) << 24;
        let control = kind::PORT_STATUS_CHANGE << 10;
        self.post(0, Trb { parameter, status: (Code::Success as u32) << 24, control, ..Trb::default() })
    }

    /// The controller begins to run: ports that have changed say so.
    pub(super) fn tell_all(&mut self) -> Dma<()> {
        let changed = |i: &usize| self.state.ports[*i].bits & bit::CHANGES != 0;
        let changed: Vec<usize> = (0..self.state.ports.len()).filter(changed).collect();
        changed.into_iter().try_for_each(|i| self.tell(i))
    }

    /// After a restore: the devices that are there are those that were there.
    pub(super) fn adopt_ports(&mut self) {
        for i in 0..self.state.ports.len() {
            let generation = self.at_port(i).1;
            self.state.ports[i].generation = generation;
        }
    }

    /// Brings the ports in line with what is plugged in, and resumes those whose device asks for it.
    pub(super) fn sync_ports(&mut self) -> Dma<()> {
        for i in 0..self.state.ports.len() {
            let (usb3, (device, generation)) = (self.is_usb3(i), self.at_port(i));
            let port = &mut self.state.ports[i];
            let was = port.is(bit::CONNECT);
            let replugged = was && device.is_some() && generation != port.generation;
            port.generation = generation;
            if device.is_some() != was || replugged {
                self.plugged(i, device.as_ref())?;
                continue;
            }
            let asks = port.link == link::U3 && device.is_some_and(|d| lock(&d).wants_wakeup());
            if asks {
                // A USB 2 port shows Resume until software ends it; a USB 3 link comes up by itself (4.15.2).
                port.link = if usb3 { link::U0 } else { link::RESUME };
                self.change(i, bit::LINK_CHANGE)?;
            }
        }
        Ok(())
    }

    fn plugged(&mut self, index: usize, device: Option<&Shared<UsbDevice>>) -> Dma<()> {
        let usb3 = self.is_usb3(index);
        let Some(port) = self.state.ports.get_mut(index) else { return Ok(()) };
        port.bits &= !(bit::CONNECT | bit::ENABLE);
        (port.link, port.speed) = (link::RX_DETECT, 0);
        if let Some(device) = device {
            port.bits |= bit::CONNECT;
            if usb3 {
                self.train(index);
            } else {
                port.link = link::POLLING;
                port.speed = speed_id(lock(device).most().min(Speed::High));
            }
        }
        self.change(index, bit::CONNECT_CHANGE)
    }
}
