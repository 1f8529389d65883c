//! `nec-usb-xhci` (1033:0194) and `qemu-xhci` (1B36:000D): xHCI controllers.
//!
//! eXtensible Host Controller Interface for USB 1.1, chapters 4 (operation), 5 (registers) and 7 (extended
//! capabilities). The registers are here and in [`regs`]; ports, event rings, commands, contexts and transfer rings
//! have a file each.
//!
//! **Time.** Doorbells, bus events and moderated interrupts arm one timer, whose run does what is due: commands, then
//! the rings of all endpoints that have been rung. What an endpoint NAKs waits for the device's waker, or a slow poll.
//! A run is bounded in TRBs, TDs and bytes.
//!
//! Left out, as the capability bits say: streams, 64-byte contexts, scratchpads (none is needed), port power, light
//! reset, L1, virtualisation, the debug capability. The MFINDEX wrap event is not sent.

mod commands;
mod contexts;
mod events;
mod ports;
mod regs;
mod ring;
#[cfg(test)]
mod tests;
mod transfers;

use std::sync::Arc;

use pci::{BarBacking, BarKind, BarSpec, ConfigSpace, Identity, Msi, Msix, MsixLayout, MsixState};
use serde::{Deserialize, Serialize};
use vm_core::{MsiSink, Shared};

use crate::controller::{Chip, Controller, Host};
use contexts::{Endpoint, EndpointKind, EndpointState, Slot, SlotState};
use events::Interrupter;
use ports::Port;
use ring::{Dma, Place};

/// Device slots.
const SLOTS: usize = 64;
/// Interrupters, each with its MSI-X vector.
const INTERRUPTERS: usize = 16;
/// The most ports of a protocol.
pub const MOST_PORTS: usize = 15;
/// Ports of each protocol if nothing else is said.
pub const PORTS: usize = 4;
const WINDOW: u64 = 0x4000;
const MSIX_TABLE: u32 = 0x3000;
const MSIX_PENDING: u32 = 0x3800;

/// USBCMD.
mod cmd {
    pub(super) const RUN: u32 = 1;
    pub(super) const RESET: u32 = 1 << 1;
    pub(super) const INTERRUPTS: u32 = 1 << 2;
    pub(super) const SAVE: u32 = 1 << 8;
    pub(super) const RESTORE: u32 = 1 << 9;
    /// Run, INTE, HSEE, EWE, EU3S.
    pub(super) const KEPT: u32 = RUN | INTERRUPTS | 1 << 3 | 1 << 10 | 1 << 11;
}

/// USBSTS.
mod sts {
    pub(super) const HALTED: u32 = 1;
    pub(super) const HOST_ERROR: u32 = 1 << 2;
    pub(super) const EVENT: u32 = 1 << 3;
    pub(super) const PORT_CHANGE: u32 = 1 << 4;
    pub(super) const RESTORE_ERROR: u32 = 1 << 10;
    pub(super) const WRITE_CLEARS: u32 = HOST_ERROR | EVENT | PORT_CHANGE | RESTORE_ERROR;
}

const MICROFRAME: u64 = 125_000;
/// When work is left, the next run is so much later: others use the timer thread too.
const SOON: u64 = 100_000;
/// How often endpoints that NAK are asked again without being told to (idle reports of HID devices).
const POLL: u64 = 8_000_000;
/// Bytes moved in a run.
const BYTES: usize = 512 << 10;
/// Times a run goes round the endpoints while anything moves.
const ROUNDS: u32 = 8;

/// All registers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    usbcmd: u32,
    /// Without HALTED, which follows from USBCMD.
    usbsts: u32,
    notifications: u32,
    config: u32,
    dcbaap: u64,
    command: Place,
    command_running: bool,
    /// Software has asked for a save since the last reset.
    saved: bool,
    /// Microframes at `counted_at`.
    microframes: u64,
    counted_at: u64,
    ports: Vec<Port>,
    slots: Vec<Slot>,
    interrupters: Vec<Interrupter>,
    msix: MsixState,
}

/// Which controller it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XhciKind {
    /// NEC µPD720200: `nec-usb-xhci`.
    Nec,
    /// `qemu-xhci`.
    Qemu,
}

impl XhciKind {
    fn is_nec(self) -> bool {
        self == Self::Nec
    }

    /// Whether it has MSI if nothing else is said; MSI-X both have.
    pub fn has_msi(self) -> bool {
        self.is_nec()
    }

    fn identity(self) -> Identity {
        let (vendor, device, revision) = match self {
            Self::Nec => (0x1033, 0x0194, 3),
            Self::Qemu => (0x1B36, 0x000D, 1),
        };
        Identity { vendor, device, revision, class: 0x0C_0330, subsystem: (0x1AF4, 0x1100) }
    }
}

/// What is particular to an xHCI controller.
pub struct Options {
    /// Which one.
    pub kind: XhciKind,
    /// USB 2 halves of the connectors, 1 to [`MOST_PORTS`]: as many as the bus has ports.
    pub ports2: usize,
    /// USB 3 halves of the first connectors, up to [`MOST_PORTS`].
    pub ports3: usize,
    /// The MSI capability is there.
    pub msi: bool,
    /// The MSI-X capability is there.
    pub msix: bool,
    /// It is behind a PCI Express port: the capability is there, and the extended configuration space.
    pub express: bool,
    /// Where messages go.
    pub sink: Arc<dyn MsiSink>,
}

/// What is particular to xHCI as wired.
pub struct Registers {
    kind: XhciKind,
    ports2: usize,
    ports3: usize,
    msi: Option<Msi>,
    msix: Option<Msix>,
    sink: Arc<dyn MsiSink>,
}

/// The controller.
pub type Xhci = Controller<Registers>;

impl Xhci {
    /// A controller called `name`.
    pub fn new(name: &str, options: Options, host: Host) -> Shared<Self> {
        let Options { kind, ports2, ports3, msi, msix, express, sink } = options;
        let mut config = ConfigSpace::endpoint(kind.identity())
            .with_interrupt_pin(1)
            .with_bar(BarSpec { index: 0, kind: BarKind::Mem64 { prefetch: false }, size: WINDOW })
            .with(0x60, &[0x30, 0x20]) // serial bus release 3.0, frame length adjustment
            .with_writable(0x61, &[0x3F])
            .capabilities_from(0x70);
        let (mut has_msi, mut has_msix) = (None, None);
        if msi {
            let (c, m) = Msi::add(config, INTERRUPTERS as u8);
            (config, has_msi) = (c.capabilities_from(0x90), Some(m));
        }
        if msix {
            let layout = MsixLayout { bar: 0, vectors: INTERRUPTERS as u16, table: MSIX_TABLE, pending: MSIX_PENDING };
            let (c, m) = Msix::add(config, layout);
            (config, has_msix) = (c, Some(m));
        }
        if express {
            config = pci::express_endpoint(config.capabilities_from(0xA0));
        }
        let ports = |n: usize| n.min(MOST_PORTS);
        let (ports2, ports3) = (ports(ports2), ports(ports3));
        Self::build(name, host, config, Registers { kind, ports2, ports3, msi: has_msi, msix: has_msix, sink })
    }

    /// What is behind the BARs, for `PciBus::add`.
    pub fn bars(device: &Shared<Self>) -> Vec<(u8, BarBacking)> {
        vec![(0, BarBacking::Mmio(device.clone()))]
    }

    /// It runs and may do DMA.
    fn running(&self) -> bool {
        self.state.usbcmd & cmd::RUN != 0 && self.config.may_master()
    }

    /// The microframe counter; MFINDEX is its low 14 bits.
    fn microframe(&self) -> u64 {
        let s = &self.state;
        let run = if s.usbcmd & cmd::RUN != 0 { self.clock.now().saturating_sub(s.counted_at) / MICROFRAME } else { 0 };
        s.microframes.wrapping_add(run)
    }

    /// DMA outside RAM stops the controller.
    fn guard<T: Default>(&mut self, result: Dma<T>) -> T {
        result.unwrap_or_else(|error| {
            tracing::debug!("{}: host system error: {error}", self.name);
            self.stop(sts::HOST_ERROR);
            T::default()
        })
    }

    fn stop(&mut self, bits: u32) {
        self.state.microframes = self.microframe();
        self.state.usbcmd &= !cmd::RUN;
        self.state.command_running = false;
        self.state.usbsts |= bits;
    }

    fn tick(&mut self) {
        if self.take_woken() {
            let result = self.sync_ports();
            self.guard(result);
        }
        let mut soon = false;
        if self.running() {
            let result = self.work();
            soon = self.guard(result);
        }
        let interrupt = self.raise_all();
        self.arm(soon, interrupt);
    }

    /// Commands, then endpoints. Whether there is more to do at once.
    fn work(&mut self) -> Dma<bool> {
        let commands = self.run_commands()?;
        let mut endpoints = false;
        let mut bytes = BYTES;
        for _ in 0..ROUNDS {
            let mut moved = false;
            for (id, index) in self.rung() {
                moved |= self.run_endpoint(id, index, &mut bytes)?;
            }
            endpoints = moved;
            if !moved || bytes == 0 {
                break;
            }
        }
        Ok(commands || endpoints)
    }

    /// Slots and endpoints that have something to do.
    fn rung(&self) -> Vec<(u8, u8)> {
        let mut rung = Vec::new();
        for (s, slot) in self.state.slots.iter().enumerate().filter(|(_, s)| s.state > SlotState::Enabled) {
            let ready = slot.endpoints.iter().enumerate().filter(|(_, e)| e.as_ref().is_some_and(Endpoint::is_rung));
            rung.extend(ready.map(|(e, _)| (s as u8 + 1, e as u8 + 1)));
        }
        rung
    }

    /// Sets the timer for the next run, if one is needed.
    fn arm(&self, soon: bool, interrupt: Option<u64>) {
        let now = self.clock.now();
        let mut at = interrupt;
        let mut by = |deadline: u64| at = Some(at.map_or(deadline, |a| a.min(deadline)));
        if soon {
            by(now + SOON);
        }
        if self.running() {
            for endpoint in self.state.slots.iter().flat_map(|s| s.endpoints.iter().flatten()).filter(|e| e.is_rung()) {
                by(if endpoint.is_periodic() && endpoint.next > now { endpoint.next } else { now + POLL });
            }
        }
        if let Some(at) = at {
            self.run_at(at);
        }
    }

    fn ring(&mut self, slot: u64, target: u32) {
        if !self.running() {
            return;
        }
        let target = (target & 0xFF) as u8;
        let mut restarted = false;
        match u8::try_from(slot) {
            Ok(0) if target == 0 => self.state.command_running = true,
            Ok(id @ 1..) => {
                let Some(e) = self.slot(id).and_then(|s| s.endpoint(target)) else { return };
                match e.state {
                    EndpointState::Halted | EndpointState::Error => return,
                    EndpointState::Running => {}
                    EndpointState::Stopped => (e.state, restarted) = (EndpointState::Running, true),
                }
                e.ready = true;
                if restarted {
                    let result = self.show_endpoint(id, target, None);
                    self.guard(result);
                }
            }
            _ => return,
        }
        self.timer.set(0);
    }

    /// HCRST: everything but PCI's own (4.2).
    fn host_controller_reset(&mut self) {
        let msix = self.state.msix.clone();
        self.state = State { msix, ..self.chip.at_reset() };
        self.timer.cancel();
        let result = self.sync_ports();
        self.guard(result);
        self.update_pin();
    }
}

impl Endpoint {
    /// Has something to do.
    fn is_rung(&self) -> bool {
        self.ready && self.state == EndpointState::Running
    }

    fn is_periodic(&self) -> bool {
        matches!(self.kind, EndpointKind::Interrupt | EndpointKind::Isochronous)
    }
}

impl Chip for Registers {
    type State = State;

    fn at_reset(&self) -> State {
        State {
            usbcmd: 0,
            usbsts: 0,
            notifications: 0,
            config: 0,
            dcbaap: 0,
            command: Place::default(),
            command_running: false,
            saved: false,
            microframes: 0,
            counted_at: 0,
            ports: vec![Port::at_reset(); self.ports2 + self.ports3],
            slots: vec![Slot::at_reset(); SLOTS],
            interrupters: vec![Interrupter::at_reset(); INTERRUPTERS],
            msix: self.msix.map(|m| m.at_reset()).unwrap_or_default(),
        }
    }

    fn run(xhci: &mut Xhci) {
        xhci.tick();
    }

    fn host_reset(xhci: &mut Xhci) {
        xhci.state.msix = xhci.chip.at_reset().msix;
        xhci.host_controller_reset();
    }

    fn config_written(xhci: &mut Xhci) {
        let sink = xhci.chip.sink.clone();
        if let Some(m) = xhci.chip.msi {
            m.config_written(&mut xhci.config, sink.as_ref());
        }
        if let Some(m) = xhci.chip.msix {
            m.deliver(&mut xhci.state.msix, &xhci.config, sink.as_ref());
        }
        xhci.update_pin();
        xhci.timer.set(0);
    }

    fn check(&self, state: &State) -> Result<(), String> {
        let ports = state.ports.len() == self.ports2 + self.ports3 && state.ports.iter().all(Port::is_valid);
        let slots = state.slots.len() == SLOTS && state.slots.iter().all(Slot::is_valid);
        let rings = state.interrupters.len() == INTERRUPTERS && state.interrupters.iter().all(Interrupter::is_valid);
        let messages = self.msix.is_none_or(|m| m.fits(&state.msix));
        match ports && slots && rings && messages {
            true => Ok(()),
            false => Err("another number of ports, or impossible slots or rings".into()),
        }
    }

    fn restored(xhci: &mut Xhci) {
        xhci.adopt_ports();
    }
}
