//! UHCI controllers: `piix3-usb-uhci` (8086:7020) and the ICH9's companions `ich9-usb-uhci1` to `3` (8086:2934-2936).
//!
//! Universal Host Controller Interface Design Guide 1.1, chapters 2 (registers) and 5 (PCI, legacy support). The frame
//! list is walked in [`schedule`]. A controller has two ports, of its own bus or, as a companion, of an EHCI
//! controller's.
//!
//! **Time.** A frame is a millisecond of the machine's clock. Frames are walked by a timer, every millisecond after
//! anything happened and several together while all endpoints NAK.
//!
//! Left out: the keyboard and mouse emulation behind LEGSUP (its bits are kept; USBPIRQDEN is obeyed), software debug
//! mode, global suspend's power saving (resume works).

mod schedule;
#[cfg(test)]
mod tests;

use pci::{BarBacking, BarKind, BarSpec, ConfigSpace, Identity};
use serde::{Deserialize, Serialize};
use vm_core::{PortIo, Shared, lock};

use crate::bus::Owner;
use crate::controller::{Chip, Controller, Host};
use crate::device::Speed;

/// Number of root ports.
pub const PORTS: usize = 2;
const BAR: u8 = 4;
const LEGSUP: u8 = 0xC0;
/// LEGSUP: the interrupt goes to the PCI pin.
const USBPIRQDEN: u16 = 1 << 13;

/// USBCMD.
mod cmd {
    pub(super) const RUN: u16 = 1;
    pub(super) const HCRESET: u16 = 1 << 1;
    pub(super) const GRESET: u16 = 1 << 2;
    pub(super) const SUSPEND: u16 = 1 << 3;
    pub(super) const RESUME: u16 = 1 << 4;
    pub(super) const WRITABLE: u16 = 0xFF;
}

/// USBSTS.
mod sts {
    pub(super) const INT: u16 = 1;
    pub(super) const ERROR: u16 = 1 << 1;
    pub(super) const RESUME: u16 = 1 << 2;
    pub(super) const SYSTEM_ERROR: u16 = 1 << 3;
    pub(super) const PROCESS_ERROR: u16 = 1 << 4;
    pub(super) const HALTED: u16 = 1 << 5;
}

/// USBINTR.
mod intr {
    pub(super) const TIMEOUT: u16 = 1;
    pub(super) const RESUME: u16 = 1 << 1;
    pub(super) const COMPLETE: u16 = 1 << 2;
    pub(super) const SHORT: u16 = 1 << 3;
}

/// PORTSC.
mod port {
    pub(super) const CONNECT: u16 = 1;
    pub(super) const CONNECT_CHANGE: u16 = 1 << 1;
    pub(super) const ENABLE: u16 = 1 << 2;
    pub(super) const ENABLE_CHANGE: u16 = 1 << 3;
    /// Line status: D+ high while idle.
    pub(super) const LINE_PLUS: u16 = 1 << 4;
    pub(super) const RESUME: u16 = 1 << 6;
    pub(super) const ALWAYS: u16 = 1 << 7;
    pub(super) const RESET: u16 = 1 << 9;
    pub(super) const SUSPEND: u16 = 1 << 12;
    pub(super) const WRITABLE: u16 = ENABLE | RESUME | RESET | SUSPEND;
}

const MS: u64 = 1_000_000;
const BUSY_NS: u64 = 64 * MS;
const IDLE_NS: u64 = 4 * MS;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Port {
    bits: u16,
    generation: u32,
}

/// All registers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    usbcmd: u16,
    /// Without HALTED, which follows from USBCMD.
    usbsts: u16,
    /// INT is set by IOC, or by a short packet: each has its own enable.
    by_ioc: bool,
    by_short: bool,
    usbintr: u16,
    /// Frame counter at `counted_at`.
    frames: u64,
    counted_at: u64,
    next_frame: u64,
    base: u32,
    sofmod: u8,
    ports: [Port; PORTS],
    busy_until: u64,
}

impl State {
    fn at_reset() -> Self {
        Self {
            usbcmd: 0,
            usbsts: 0,
            by_ioc: false,
            by_short: false,
            usbintr: 0,
            frames: 0,
            counted_at: 0,
            next_frame: 0,
            base: 0,
            sofmod: 64,
            ports: Default::default(),
            busy_until: 0,
        }
    }
}

/// Which controller it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UhciKind {
    /// Function 2 of the PIIX3.
    Piix3,
    /// Companion 1 to 3 of the ICH9.
    Ich9(u8),
}

impl UhciKind {
    /// Interrupt pin, 0 for INTA.
    pub fn pin(self) -> u8 {
        match self {
            Self::Piix3 => 3,
            Self::Ich9(n) => n.wrapping_sub(1) & 3,
        }
    }

    fn config_space(self) -> ConfigSpace {
        let (device, revision) = match self {
            Self::Piix3 => (0x7020, 1),
            Self::Ich9(n) => (0x2933 + u16::from(n.clamp(1, 3)), 3),
        };
        let id = Identity { vendor: 0x8086, device, revision, class: 0x0C_0300, subsystem: (0x1AF4, 0x1100) };
        ConfigSpace::endpoint(id)
            .with_interrupt_pin(self.pin() + 1)
            .with_bar(BarSpec { index: BAR, kind: BarKind::Io, size: 32 })
            .with(0x60, &[0x10]) // serial bus release 1.0
            .with(LEGSUP, &[0x00, 0x20])
            .with_writable(LEGSUP, &[0xBF, 0x20])
            .with_write_clears(LEGSUP, &[0x00, 0x8F])
    }
}

/// What is particular to UHCI: whose ports it has.
pub struct Registers {
    owner: Owner,
    first_port: usize,
}

/// The controller.
pub type Uhci = Controller<Registers>;

impl Uhci {
    /// A controller called `name`. `host.irq` is its pin [`UhciKind::pin`]; `host.bus` is its own or, for a
    /// `companion`, its master's, where the companion's ports begin at that index.
    pub fn new(name: &str, kind: UhciKind, companion: Option<usize>, host: Host) -> Shared<Self> {
        if companion.is_some() {
            host.bus.add_companion();
        }
        let owner = if companion.is_some() { Owner::Companion } else { Owner::Main };
        let chip = Registers { owner, first_port: companion.unwrap_or(0) };
        Self::build(name, host, kind.config_space(), chip)
    }

    /// What is behind the BARs, for `PciBus::add`.
    pub fn bars(device: &Shared<Self>) -> Vec<(u8, BarBacking)> {
        vec![(BAR, BarBacking::Io(device.clone()))]
    }

    fn running(&self) -> bool {
        self.state.usbcmd & cmd::RUN != 0
    }

    /// The frame counter; FRNUM is its low 11 bits.
    fn frame(&self) -> u64 {
        let s = &self.state;
        let run = if self.running() { self.clock.now().saturating_sub(s.counted_at) / MS } else { 0 };
        s.frames.wrapping_add(run)
    }

    fn count_from(&mut self, frame: u64) {
        self.state.frames = frame;
        self.state.next_frame = frame;
        self.state.counted_at = self.clock.now();
    }

    fn update_irq(&mut self) {
        let s = &self.state;
        let on = |bit: u16| s.usbintr & bit != 0;
        let has = |bit: u16| s.usbsts & bit != 0;
        let wanted = has(sts::INT) && (s.by_ioc && on(intr::COMPLETE) || s.by_short && on(intr::SHORT))
            || has(sts::ERROR) && on(intr::TIMEOUT)
            || has(sts::RESUME) && on(intr::RESUME)
            || has(sts::SYSTEM_ERROR | sts::PROCESS_ERROR);
        let routed = self.config.u16(LEGSUP) & USBPIRQDEN != 0;
        self.pin.set(&mut self.config, wanted && routed);
    }

    fn stop(&mut self, bits: u16) {
        let frame = self.frame();
        self.state.usbcmd &= !cmd::RUN;
        self.count_from(frame);
        self.state.usbsts |= bits;
    }

    fn tick(&mut self) {
        let now = self.clock.now();
        if self.take_woken() {
            self.state.busy_until = now + BUSY_NS;
        }
        self.sync_ports();
        if self.running() && self.config.may_master() {
            match self.walk() {
                Ok(true) => self.state.busy_until = now + BUSY_NS,
                Ok(false) => {}
                Err(schedule::Failure::Dma(error)) => {
                    tracing::debug!("{}: host system error: {error}", self.name);
                    self.stop(sts::SYSTEM_ERROR);
                }
                Err(schedule::Failure::Process) => self.stop(sts::PROCESS_ERROR),
            }
        }
        self.update_irq();
        self.arm();
    }

    fn arm(&self) {
        if self.running() && self.config.may_master() {
            let now = self.clock.now();
            let frame = MS - now.saturating_sub(self.state.counted_at) % MS;
            let idle = if now < self.state.busy_until { 0 } else { IDLE_NS - MS };
            self.run_at(now + frame + idle);
        }
    }

    /// Brings the ports in line with what is plugged in, and lets devices wake the host.
    fn sync_ports(&mut self) {
        let mut wakes = false;
        for (i, p) in self.state.ports.iter_mut().enumerate() {
            let (device, generation) = self.bus.look(self.chip.first_port + i, self.chip.owner);
            let was = p.bits & port::CONNECT != 0;
            let replugged = was && device.is_some() && generation != p.generation;
            p.generation = generation;
            if device.is_some() != was || replugged {
                p.bits &= !(port::CONNECT | port::ENABLE | port::SUSPEND | port::RESUME);
                p.bits |= port::CONNECT_CHANGE | if device.is_some() { port::CONNECT } else { 0 };
                wakes = true;
            }
            let asks = device.is_some_and(|d| lock(&d).wants_wakeup());
            if asks && p.bits & port::ENABLE != 0 {
                // Once: the device asks until it is heard, and the guest has cleared the status before that.
                let asleep = p.bits & port::SUSPEND != 0;
                wakes |= asleep && p.bits & port::RESUME == 0;
                wakes |= self.state.usbcmd & (cmd::SUSPEND | cmd::RESUME) == cmd::SUSPEND;
                p.bits |= if asleep { port::RESUME } else { 0 };
            }
        }
        let suspended = self.state.usbcmd & cmd::SUSPEND != 0;
        let asleep = self.state.ports.iter().any(|p| p.bits & port::SUSPEND != 0 && p.bits & port::RESUME != 0);
        if wakes && (suspended || asleep) {
            self.state.usbsts |= sts::RESUME;
            if suspended {
                self.state.usbcmd |= cmd::RESUME; // 2.1.1: set by a resume that a device asks for
            }
            self.update_irq();
        }
    }

    fn write_port(&mut self, index: usize, value: u16) {
        self.sync_ports();
        let Some(p) = self.state.ports.get_mut(index) else { return };
        let old = p.bits;
        let mut new = old & !(value & (port::CONNECT_CHANGE | port::ENABLE_CHANGE));
        new = new & !port::WRITABLE | value & port::WRITABLE;
        if old & port::CONNECT == 0 {
            new &= !port::ENABLE;
        }
        if new & port::RESET != 0 {
            new &= !(port::ENABLE | port::SUSPEND | port::RESUME);
        }
        if old & port::RESUME != 0 && value & port::RESUME == 0 {
            new &= !port::SUSPEND;
        }
        p.bits = new;
        if old & port::RESET != 0 && new & port::RESET == 0 {
            self.reset_device(index);
        }
    }

    fn reset_device(&self, index: usize) {
        if let Some(device) = self.bus.look(self.chip.first_port + index, self.chip.owner).0 {
            lock(&device).bus_reset(Speed::Full);
        }
    }

    fn read(&mut self, offset: u16) -> u16 {
        match offset {
            0x00 => self.state.usbcmd,
            0x02 => self.state.usbsts | if self.running() { 0 } else { sts::HALTED },
            0x04 => self.state.usbintr,
            0x06 => (self.frame() & 0x7FF) as u16,
            0x08 => self.state.base as u16,
            0x0A => (self.state.base >> 16) as u16,
            0x0C => self.state.sofmod.into(),
            0x10 | 0x12 => {
                self.sync_ports();
                let p = &self.state.ports[usize::from(offset == 0x12)];
                let idle = p.bits & port::CONNECT != 0 && p.bits & (port::RESET | port::RESUME) == 0;
                p.bits | port::ALWAYS | if idle { port::LINE_PLUS } else { 0 }
            }
            0x14..0x20 => 0xFF7F, // no more ports: bit 7 clear, as drivers that count them look for
            _ => 0,
        }
    }

    fn write(&mut self, offset: u16, value: u16) {
        match offset {
            0x00 => self.write_command(value),
            0x02 => {
                self.state.usbsts &= !value;
                if value & sts::INT != 0 {
                    (self.state.by_ioc, self.state.by_short) = (false, false);
                }
                self.update_irq();
            }
            0x04 => {
                self.state.usbintr = value & 0xF;
                self.update_irq();
            }
            0x06 if !self.running() => self.count_from(u64::from(value & 0x7FF)),
            0x08 => self.state.base = self.state.base & 0xFFFF_0000 | u32::from(value & 0xF000),
            0x0A => self.state.base = self.state.base & 0xFFFF | u32::from(value) << 16,
            0x0C => self.state.sofmod = value as u8 & 0x7F,
            0x10 | 0x12 => self.write_port(usize::from(offset == 0x12), value),
            _ => {}
        }
    }

    fn write_command(&mut self, value: u16) {
        let old = self.state.usbcmd;
        if value & cmd::HCRESET != 0 {
            Registers::host_reset(self);
            return;
        }
        let frame = self.frame();
        self.state.usbcmd = value & cmd::WRITABLE;
        if (old ^ value) & cmd::RUN != 0 {
            self.count_from(frame);
        }
        if value & cmd::GRESET == 0 && old & cmd::GRESET != 0 {
            (0..PORTS).for_each(|i| self.reset_device(i));
        }
        if value & cmd::GRESET != 0 {
            for p in &mut self.state.ports {
                p.bits &= !(port::ENABLE | port::SUSPEND | port::RESUME);
            }
        }
        if self.running() {
            self.state.busy_until = self.clock.now() + BUSY_NS;
            self.arm();
        }
    }
}

impl Chip for Registers {
    type State = State;

    fn at_reset(&self) -> State {
        State::at_reset()
    }

    fn run(uhci: &mut Uhci) {
        uhci.tick();
    }

    fn host_reset(uhci: &mut Uhci) {
        uhci.state = State::at_reset();
        uhci.timer.cancel();
        uhci.sync_ports();
        uhci.update_irq();
    }

    fn config_written(uhci: &mut Uhci) {
        uhci.update_irq();
        uhci.arm();
    }

    fn check(&self, _state: &State) -> Result<(), String> {
        Ok(())
    }

    fn restored(uhci: &mut Uhci) {
        for (i, p) in uhci.state.ports.iter_mut().enumerate() {
            p.generation = uhci.bus.look(uhci.chip.first_port + i, uhci.chip.owner).1;
        }
    }
}

impl PortIo for Uhci {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            *byte = self.read(at & !1).to_le_bytes()[usize::from(at & 1)];
        }
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        if let &[byte] = data {
            // SOFMOD is a byte register; elsewhere a byte goes into its half of the word.
            let value = if offset & 1 == 0 { u16::from(byte) } else { u16::from(byte) << 8 };
            let kept = match offset & !1 {
                0x02 | 0x0C => 0,
                0x10 | 0x12 => self.read(offset & !1) & !(port::CONNECT_CHANGE | port::ENABLE_CHANGE),
                other => self.read(other),
            };
            let mask = if offset & 1 == 0 { 0xFF00 } else { 0x00FF };
            self.write(offset & !1, kept & mask | value);
        } else if offset & 1 == 0 {
            for (at, word) in (offset..).step_by(2).zip(data.as_chunks::<2>().0) {
                self.write(at, u16::from_le_bytes(*word));
            }
        }
    }
}
