//! The root ports: PORTSC, routing to companions, reset, suspend and resume.
//!
//! EHCI 1.0, sections 2.3.8 (CONFIGFLAG), 2.3.9 (PORTSC), 4.2 (routing), 4.3 (suspend and resume). A port without a
//! companion behind it that is routed away shows no device, as on a board where nobody takes it.

use serde::{Deserialize, Serialize};
use vm_core::lock;

use super::{Ehci, PORTS, sts};
use crate::bus::Owner;
use crate::device::Speed;

/// PORTSC.
mod bit {
    pub(super) const CONNECT: u32 = 1;
    pub(super) const CONNECT_CHANGE: u32 = 1 << 1;
    pub(super) const ENABLE: u32 = 1 << 2;
    pub(super) const ENABLE_CHANGE: u32 = 1 << 3;
    pub(super) const OVERCURRENT_CHANGE: u32 = 1 << 5;
    pub(super) const RESUME: u32 = 1 << 6;
    pub(super) const SUSPEND: u32 = 1 << 7;
    pub(super) const RESET: u32 = 1 << 8;
    /// Line status J: D+ high, as full- and high-speed devices idle.
    pub(super) const LINE_J: u32 = 2 << 10;
    pub(super) const POWER: u32 = 1 << 12;
    pub(super) const OWNER: u32 = 1 << 13;
    /// Indicators, test control, wake enables: kept as written.
    pub(super) const KEPT: u32 = 0x007F_C000;
    pub(super) const CHANGES: u32 = CONNECT_CHANGE | ENABLE_CHANGE | OVERCURRENT_CHANGE;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Port {
    /// PORTSC without line status.
    bits: u32,
    /// The attachment last seen.
    generation: u32,
}

impl Default for Port {
    fn default() -> Self {
        Self { bits: bit::POWER | bit::OWNER, generation: 0 }
    }
}

impl Port {
    /// Transactions reach the device.
    pub(super) fn is_active(&self) -> bool {
        self.bits & (bit::ENABLE | bit::SUSPEND | bit::RESET) == bit::ENABLE
    }

    fn is_ours(&self) -> bool {
        self.bits & bit::OWNER == 0
    }
}

impl Ehci {
    pub(super) fn read_port(&self, index: usize) -> u32 {
        let Some(port) = self.state.ports.get(index) else { return 0 };
        let idle = port.bits & (bit::CONNECT | bit::ENABLE | bit::RESET) == bit::CONNECT;
        port.bits | if idle { bit::LINE_J } else { 0 }
    }

    pub(super) fn set_config_flag(&mut self, on: bool) {
        if on != self.state.config_flag {
            self.state.config_flag = on;
            for port in &mut self.state.ports {
                port.bits = if on { port.bits & !bit::OWNER } else { port.bits | bit::OWNER };
            }
            self.route_ports();
            self.sync_ports();
        }
    }

    /// Tells the bus who owns which port.
    pub(super) fn route_ports(&self) {
        for (i, port) in self.state.ports.iter().enumerate() {
            self.bus.set_owner(i, if port.is_ours() { Owner::Main } else { Owner::Companion });
        }
    }

    /// After a restore: the devices that are there are those that were there.
    pub(super) fn adopt_ports(&mut self) {
        self.route_ports();
        for (i, port) in self.state.ports.iter_mut().enumerate() {
            port.generation = self.bus.look(i, Owner::Main).1;
        }
        self.sync_ports();
    }

    /// Brings the ports in line with what is plugged in, and resumes those whose device asks for it.
    pub(super) fn sync_ports(&mut self) {
        let mut changed = false;
        for (i, port) in self.state.ports.iter_mut().enumerate() {
            let (device, generation) = self.bus.look(i, Owner::Main);
            let was = port.bits & bit::CONNECT != 0;
            let replugged = was && device.is_some() && generation != port.generation;
            port.generation = generation;
            if device.is_some() != was || replugged {
                port.bits &= !(bit::CONNECT | bit::ENABLE | bit::SUSPEND | bit::RESUME | bit::RESET);
                port.bits |= bit::CONNECT_CHANGE | if device.is_some() { bit::CONNECT } else { 0 };
                changed = true;
            }
            let suspended = port.bits & (bit::SUSPEND | bit::RESUME) == bit::SUSPEND;
            if suspended && device.is_some_and(|d| lock(&d).wants_wakeup()) {
                port.bits |= bit::RESUME;
                changed = true;
            }
        }
        if changed {
            self.raise(sts::PORT_CHANGE);
        }
    }

    pub(super) fn write_port(&mut self, index: usize, value: u32) {
        let config_flag = self.state.config_flag;
        let Some(port) = self.state.ports.get_mut(index) else { return };
        let old = port.bits;
        let mut new = old & !(value & bit::CHANGES);
        new = new & !bit::KEPT | value & bit::KEPT;
        if config_flag {
            new = new & !bit::OWNER | value & bit::OWNER;
        }
        if value & bit::ENABLE == 0 {
            new &= !bit::ENABLE; // software can disable only
        }
        let connected = old & bit::CONNECT != 0;
        let reset_ends = old & bit::RESET != 0 && value & bit::RESET == 0;
        if value & bit::RESET != 0 && connected {
            new = (new | bit::RESET) & !(bit::ENABLE | bit::SUSPEND | bit::RESUME);
        }
        new = suspend_and_resume(old, new, value);
        if reset_ends {
            new &= !bit::RESET;
        }
        port.bits = new;
        if reset_ends {
            self.finish_reset(index);
        }
        if (old ^ new) & bit::OWNER != 0 {
            self.route_ports();
            self.sync_ports();
            self.wake_bus();
        }
        self.timer.set(0);
    }

    /// The chirp: a high-speed device enables the port, another one is the companion's business (4.2.2).
    fn finish_reset(&mut self, index: usize) {
        let Some(device) = self.bus.look(index, Owner::Main).0 else { return };
        let speed = {
            let mut d = lock(&device);
            d.bus_reset(Speed::High);
            d.speed()
        };
        if let Some(port) = self.state.ports.get_mut(index)
            && speed == Speed::High
        {
            port.bits |= bit::ENABLE;
        }
    }

    /// Ports that devices can be reached through.
    pub(super) fn active_ports(&self) -> impl Iterator<Item = usize> {
        (0..PORTS).filter(|i| self.state.ports[*i].is_active())
    }

    /// A companion may have got a port: it looks when it is told.
    fn wake_bus(&self) {
        self.bus.wake();
    }
}

fn suspend_and_resume(old: u32, mut new: u32, value: u32) -> u32 {
    if value & bit::SUSPEND != 0 && new & bit::ENABLE != 0 && new & bit::RESET == 0 {
        new |= bit::SUSPEND;
    }
    let suspended = old & bit::SUSPEND != 0;
    if suspended && value & bit::RESUME != 0 {
        new |= bit::RESUME;
    }
    if old & bit::RESUME != 0 && value & bit::RESUME == 0 {
        new &= !(bit::RESUME | bit::SUSPEND);
    }
    new
}
