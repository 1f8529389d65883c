//! `ich9-usb-ehci1`: the EHCI controller of the ICH9 (8086:293A), six ports.
//!
//! Enhanced Host Controller Interface Specification 1.0, chapters 2 (registers) and 4 (operation); Intel ICH9 data
//! sheet, chapter 17 (PCI registers). The schedules are in [`schedule`], the root ports in [`ports`].
//!
//! **Time.** Microframes are counted on the machine's clock while the controller runs. Schedules are walked by a
//! timer: every quarter millisecond while data moves, every millisecond after input or other events, and every few
//! milliseconds while all endpoints NAK; frames that went by in between are then walked together. A device with
//! something to say wakes the timer at once.
//!
//! Left out: isochronous transfers (no device has such an endpoint: their descriptors end as unanswered), programmable
//! frame list sizes, 64-bit addressing and asynchronous park (the capability bits say so), light reset, the debug
//! port, and timing inside a microframe: a split transaction is done whole at its start-split.

mod ports;
mod schedule;
#[cfg(test)]
mod tests;

use pci::{BarBacking, BarKind, BarSpec, ConfigSpace, Identity};
use serde::{Deserialize, Serialize};
use vm_core::{Mmio, Shared, lock};

use crate::controller::{Chip, Controller, Host};
use ports::Port;

/// Number of root ports.
pub const PORTS: usize = 6;
/// Size of the register window.
const WINDOW: u64 = 0x400;
/// Where the operational registers are in it.
const OPERATIONAL: u64 = 0x20;

/// Operational registers, from their start.
mod reg {
    pub(super) const USBCMD: u64 = 0x00;
    pub(super) const USBSTS: u64 = 0x04;
    pub(super) const USBINTR: u64 = 0x08;
    pub(super) const FRINDEX: u64 = 0x0C;
    pub(super) const CTRLDSSEGMENT: u64 = 0x10;
    pub(super) const PERIODICLISTBASE: u64 = 0x14;
    pub(super) const ASYNCLISTADDR: u64 = 0x18;
    pub(super) const CONFIGFLAG: u64 = 0x40;
    pub(super) const PORTSC: u64 = 0x44;
    pub(super) const PORTSC_END: u64 = PORTSC + 4 * super::PORTS as u64;
}

/// USBCMD.
mod cmd {
    pub(super) const RUN: u32 = 1;
    pub(super) const HCRESET: u32 = 1 << 1;
    pub(super) const PERIODIC: u32 = 1 << 4;
    pub(super) const ASYNC: u32 = 1 << 5;
    pub(super) const DOORBELL: u32 = 1 << 6;
    pub(super) const WRITABLE: u32 = 0x00FF_0000 | RUN | PERIODIC | ASYNC | DOORBELL;
    pub(super) const AT_RESET: u32 = 0x0008_0000;
}

/// USBSTS; bits 0 to 5 are also those of USBINTR.
mod sts {
    pub(super) const INT: u32 = 1;
    pub(super) const ERROR: u32 = 1 << 1;
    pub(super) const PORT_CHANGE: u32 = 1 << 2;
    pub(super) const ROLLOVER: u32 = 1 << 3;
    pub(super) const HOST_ERROR: u32 = 1 << 4;
    pub(super) const ADVANCE: u32 = 1 << 5;
    pub(super) const INTERRUPTS: u32 = 0x3F;
    pub(super) const HALTED: u32 = 1 << 12;
    pub(super) const RECLAMATION: u32 = 1 << 13;
    pub(super) const PERIODIC: u32 = 1 << 14;
    pub(super) const ASYNC: u32 = 1 << 15;
}

const NS_PER_MICROFRAME: u64 = 125_000;
const MS: u64 = 1_000_000;
/// How long after an event the schedules are walked every millisecond.
const BUSY_NS: u64 = 64 * MS;
/// How long after data moved they are walked every [`FAST_NS`].
const MOVING_NS: u64 = 3 * MS;
const FAST_NS: u64 = 2 * NS_PER_MICROFRAME;
/// How often they are walked otherwise.
const IDLE_ASYNC_NS: u64 = 2 * MS;
const IDLE_PERIODIC_NS: u64 = 8 * MS;

/// All registers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    usbcmd: u32,
    /// Bits 0 to 5; the others follow from the rest.
    usbsts: u32,
    usbintr: u32,
    /// Microframe counter at `counted_at`.
    microframes: u64,
    counted_at: u64,
    /// The first frame not yet walked.
    next_frame: u64,
    segment: u32,
    periodic_base: u32,
    async_addr: u32,
    reclamation: bool,
    config_flag: bool,
    ports: [Port; PORTS],
    /// Status bits that wait for the interrupt threshold.
    pending: u32,
    /// The microframe in which they may be shown.
    next_interrupt: u64,
    busy_until: u64,
    moving_until: u64,
}

impl State {
    fn at_reset() -> Self {
        Self {
            usbcmd: cmd::AT_RESET,
            usbsts: 0,
            usbintr: 0,
            microframes: 0,
            counted_at: 0,
            next_frame: 0,
            segment: 0,
            periodic_base: 0,
            async_addr: 0,
            reclamation: false,
            config_flag: false,
            ports: Default::default(),
            pending: 0,
            next_interrupt: 0,
            busy_until: 0,
            moving_until: 0,
        }
    }
}

/// What is particular to EHCI: nothing but its registers.
pub struct Registers;

/// The controller.
pub type Ehci = Controller<Registers>;

fn config_space() -> ConfigSpace {
    let id = Identity { vendor: 0x8086, device: 0x293A, revision: 3, class: 0x0C_0320, subsystem: (0x1AF4, 0x1100) };
    ConfigSpace::endpoint(id)
        .with_interrupt_pin(1)
        .with_bar(BarSpec { index: 0, kind: BarKind::Mem32 { prefetch: false }, size: WINDOW })
        .with(0x60, &[0x20, 0x20]) // serial bus release 2.0, frame length adjustment
        .with_writable(0x61, &[0x3F])
        .with(0x62, &[0x7F, 0]) // port wake capability
        .with_writable(0x62, &[0x7F, 0])
        .with(0x68, &[1, 0, 0, 0]) // USBLEGSUP: no BIOS holds it at reset
        .with_writable(0x6A, &[1, 1])
        .with_writable(0x6C, &[0x3F, 0xE0])
}

impl Ehci {
    /// A controller called `name`.
    pub fn new(name: &str, host: Host) -> Shared<Self> {
        let controller = Self::build(name, host, config_space(), Registers);
        lock(&controller).route_ports();
        controller
    }

    /// What is behind the BARs, for `PciBus::add`.
    pub fn bars(device: &Shared<Self>) -> Vec<(u8, BarBacking)> {
        vec![(0, BarBacking::Mmio(device.clone()))]
    }

    fn running(&self) -> bool {
        self.state.usbcmd & cmd::RUN != 0
    }

    /// The microframe counter now; FRINDEX is its low 14 bits.
    fn microframe(&self) -> u64 {
        let s = &self.state;
        let run = if self.running() { self.clock.now().saturating_sub(s.counted_at) / NS_PER_MICROFRAME } else { 0 };
        s.microframes.wrapping_add(run)
    }

    fn count_from(&mut self, microframes: u64) {
        self.state.microframes = microframes;
        self.state.counted_at = self.clock.now();
        self.state.next_frame = microframes / 8;
        self.state.next_interrupt = microframes;
    }

    fn status(&self) -> u32 {
        let s = &self.state;
        let on = |bit: bool, value: u32| if bit { value } else { 0 };
        s.usbsts
            | on(!self.running(), sts::HALTED)
            | on(s.reclamation, sts::RECLAMATION)
            | on(self.running() && s.usbcmd & cmd::PERIODIC != 0, sts::PERIODIC)
            | on(self.running() && s.usbcmd & cmd::ASYNC != 0, sts::ASYNC)
    }

    fn update_irq(&mut self) {
        let wanted = self.state.usbsts & self.state.usbintr & sts::INTERRUPTS != 0;
        self.pin.set(&mut self.config, wanted);
    }

    /// A status bit that is shown at once (2.3.2: all but those of transactions).
    fn raise(&mut self, bits: u32) {
        self.state.usbsts |= bits;
        self.update_irq();
    }

    fn host_error(&mut self) {
        let now = self.microframe();
        self.state.usbcmd &= !cmd::RUN;
        self.count_from(now);
        self.raise(sts::HOST_ERROR);
    }

    /// Shows what transactions have brought, at most once in an interrupt threshold (2.3.1).
    fn show_pending(&mut self) {
        let now = self.microframe();
        if self.state.pending != 0 && now >= self.state.next_interrupt {
            let threshold = u64::from(self.state.usbcmd >> 16 & 0xFF).max(1);
            self.state.next_interrupt = now + threshold;
            let bits = std::mem::take(&mut self.state.pending);
            self.raise(bits);
        }
    }

    /// Looks after the ports and walks what is due of the schedules.
    fn tick(&mut self) {
        let now = self.clock.now();
        if self.take_woken() {
            self.state.busy_until = now + BUSY_NS;
            self.sync_ports();
        }
        if self.running() && self.config.may_master() {
            let before = self.state.next_frame;
            match self.walk() {
                Ok(true) => {
                    self.state.busy_until = now + BUSY_NS;
                    self.state.moving_until = now + MOVING_NS;
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!("{}: host system error: {error}", self.name);
                    self.host_error();
                }
            }
            // FRINDEX has 14 bits; a frame list of 1024 entries rolls over with bit 13 (2.3.2).
            if before >> 10 != self.state.next_frame >> 10 {
                self.raise(sts::ROLLOVER);
            }
            self.show_pending();
        }
        self.arm();
    }

    /// Sets the timer for the next walk, if one is needed.
    fn arm(&self) {
        let s = &self.state;
        let now = self.clock.now();
        let schedules = s.usbcmd & (cmd::PERIODIC | cmd::ASYNC);
        let wanted = schedules != 0 || s.usbintr & sts::ROLLOVER != 0;
        if !self.running() || !self.config.may_master() || !wanted {
            return;
        }
        let period = match schedules {
            _ if now < s.moving_until => FAST_NS,
            _ if now < s.busy_until || s.pending != 0 => MS,
            cmd::PERIODIC | 0 => IDLE_PERIODIC_NS,
            _ => IDLE_ASYNC_NS,
        };
        self.run_at(now + period);
    }

    fn capability(&self, offset: u64) -> u32 {
        let companions = u32::from(self.bus.companions());
        match offset {
            0x00 => 0x0100_0000 | OPERATIONAL as u32, // HCIVERSION, CAPLENGTH
            // HCSPARAMS: ports, ports a companion (two each), companions
            0x04 if companions == 0 => PORTS as u32,
            0x04 => PORTS as u32 | 2 << 8 | companions.min(15) << 12,
            0x08 => 0x6870, // HCCPARAMS: extended capabilities at 0x68, threshold 7
            _ => 0,
        }
    }

    fn read(&self, offset: u64) -> u32 {
        let s = &self.state;
        let Some(op) = offset.checked_sub(OPERATIONAL) else { return self.capability(offset) };
        match op {
            reg::USBCMD => s.usbcmd,
            reg::USBSTS => self.status(),
            reg::USBINTR => s.usbintr,
            reg::FRINDEX => self.microframe() as u32 & 0x3FFF,
            reg::CTRLDSSEGMENT => s.segment,
            reg::PERIODICLISTBASE => s.periodic_base,
            reg::ASYNCLISTADDR => s.async_addr,
            reg::CONFIGFLAG => s.config_flag.into(),
            reg::PORTSC..reg::PORTSC_END => self.read_port(((op - reg::PORTSC) / 4) as usize),
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, value: u32) {
        let Some(op) = offset.checked_sub(OPERATIONAL) else { return };
        match op {
            reg::USBCMD => self.write_command(value),
            reg::USBSTS => {
                self.state.usbsts &= !(value & sts::INTERRUPTS);
                self.update_irq();
            }
            reg::USBINTR => {
                self.state.usbintr = value & sts::INTERRUPTS;
                self.update_irq();
                self.arm();
            }
            reg::FRINDEX if !self.running() => self.count_from(u64::from(value & 0x3FFF)),
            reg::PERIODICLISTBASE => self.state.periodic_base = value & 0xFFFF_F000,
            reg::ASYNCLISTADDR => self.state.async_addr = value & 0xFFFF_FFE0,
            reg::CONFIGFLAG => self.set_config_flag(value & 1 != 0),
            reg::PORTSC..reg::PORTSC_END => self.write_port(((op - reg::PORTSC) / 4) as usize, value),
            _ => {}
        }
    }

    fn write_command(&mut self, value: u32) {
        if value & cmd::HCRESET != 0 {
            Registers::host_reset(self);
            return;
        }
        let now = self.microframe();
        let old = self.state.usbcmd;
        // The doorbell can be rung, not silenced.
        self.state.usbcmd = value & cmd::WRITABLE | old & cmd::DOORBELL;
        if (old ^ value) & cmd::RUN != 0 {
            self.count_from(now);
        }
        // Nothing of the schedule is kept between two walks: the advance is done as soon as it is asked for.
        if self.running() && self.state.usbcmd & (cmd::DOORBELL | cmd::ASYNC) == cmd::DOORBELL | cmd::ASYNC {
            self.state.usbcmd &= !cmd::DOORBELL;
            self.state.pending |= sts::ADVANCE;
        }
        if self.running() {
            self.state.busy_until = self.clock.now() + BUSY_NS;
            self.timer.set(0);
        }
    }
}

impl Chip for Registers {
    type State = State;

    fn at_reset(&self) -> State {
        State::at_reset()
    }

    fn run(ehci: &mut Ehci) {
        ehci.tick();
    }

    /// HCRESET: everything here, not the devices (2.3.1).
    fn host_reset(ehci: &mut Ehci) {
        ehci.state = State::at_reset();
        ehci.timer.cancel();
        ehci.route_ports();
        ehci.sync_ports();
        ehci.update_irq();
    }

    fn config_written(ehci: &mut Ehci) {
        ehci.pin.update(&ehci.config);
        ehci.arm();
    }

    fn check(&self, _state: &State) -> Result<(), String> {
        Ok(())
    }

    fn restored(ehci: &mut Ehci) {
        ehci.adopt_ports();
    }
}

impl Mmio for Ehci {
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            *byte = self.read(at & !3).to_le_bytes()[(at & 3) as usize];
        }
    }

    fn mmio_write(&mut self, offset: u64, data: &[u8]) {
        // The registers are written as dwords (2.3); nothing else has a meaning.
        if offset.is_multiple_of(4) {
            for (at, dword) in (offset..).step_by(4).zip(data.as_chunks::<4>().0) {
                self.write(at, u32::from_le_bytes(*dword));
            }
        }
    }
}
