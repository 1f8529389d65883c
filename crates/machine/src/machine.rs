//! A machine that runs: its life (run, pause, reset, power off, exit) and what the monitor sees of it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use accel::{AccelConfig, AccelOptions, Accelerator, Attachments};
use chardev::{CharPeer, Chardev};
use devices::ide::DriveBus;
use display::{DisplaySource, RemoteDisplay};
use input::InputBus;
use irqchip::{IoApic, Pic};
use pci::PciBus;
use vm_core::{AddressSpace, Clock, Device, MachineRequest, PortSpace, RequestSink, Shared, WakeCause, lock};
use whp::Platform;

use crate::MachineError;
use crate::drives::DriveInfo;
use crate::events::{Cause, Events, MachineEvent};
use crate::hot_plug;
use crate::nodes::BlockNodes;
use crate::pc::{self, Board, MonitorBackend, Pc};
use crate::pcie::{PortSlot, Slots};
use crate::plan::Plan;

/// What the machine does, by QEMU's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Not started yet (`-S`).
    Prelaunch,
    /// The guest runs.
    Running,
    /// Stopped by the user.
    Paused,
    /// Suspended to RAM by the guest; its time goes on.
    Suspended,
    /// The guest has powered off and `-no-shutdown` was given.
    Shutdown,
    /// The guest cannot go on.
    InternalError,
}

impl RunState {
    /// QEMU's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prelaunch => "prelaunch",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Suspended => "suspended",
            Self::Shutdown => "shutdown",
            Self::InternalError => "internal-error",
        }
    }
}

/// Why [`Machine::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// The guest powered off, rebooted under `-no-reboot`, or the user quit.
    Done,
    /// isa-debug-exit asked for this status.
    Status(u8),
    /// The guest died and nobody can look at it.
    GuestDied,
}

enum Message {
    Guest(MachineRequest),
    /// The user's.
    Reset,
    /// The guest moved the tray of the drive at this place on IDE.
    Tray {
        ide: (u8, u8),
        open: bool,
    },
    Quit(Cause),
}

/// The queue that devices, processors and the monitor fill and the main thread empties.
#[derive(Default)]
struct Queue {
    messages: Mutex<VecDeque<Message>>,
    filled: Condvar,
}

impl Queue {
    fn push(&self, m: Message) {
        lock(&self.messages).push_back(m);
        self.filled.notify_all();
    }

    fn pop(&self) -> Message {
        let mut q = lock(&self.messages);
        loop {
            if let Some(m) = q.pop_front() {
                return m;
            }
            q = self.filled.wait(q).unwrap_or_else(|e| e.into_inner());
        }
    }
}

impl RequestSink for Queue {
    fn request(&self, request: MachineRequest) {
        self.push(Message::Guest(request));
    }
}

/// Everything a monitor or front end may look at or do; clones are the same machine.
#[derive(Clone)]
pub struct MachineHandle(Arc<Inner>);

pub(crate) struct Inner {
    plan: Plan,
    pub(crate) board: Board,
    pub(crate) accel: Accelerator,
    pub(crate) pc: Pc,
    queue: Arc<Queue>,
    pub(crate) state: Mutex<RunState>,
    remote: Mutex<Option<Arc<dyn RemoteDisplay>>>,
    pub(crate) events: Arc<Events>,
}

/// A built machine.
pub struct Machine {
    handle: MachineHandle,
}

/// Seconds east of UTC of the host's zone now.
pub(crate) fn local_offset() -> i32 {
    chrono::Local::now().offset().local_minus_utc()
}

impl Machine {
    /// Builds the planned machine on `platform`, stopped.
    ///
    /// # Errors
    /// [`MachineError`]: one line that names the option.
    pub fn new(plan: Plan, platform: &dyn Platform, options: AccelOptions) -> Result<Self, MachineError> {
        let board = Board::new(&plan)?;
        let queue = Arc::new(Queue::default());
        let requests: Arc<dyn RequestSink> = queue.clone();
        let attachments = Attachments {
            space: board.space.clone(),
            ports: board.ports.clone(),
            clock: board.clock.clone(),
            requests: requests.clone(),
        };
        let accel = Accelerator::new(platform, &AccelConfig { apic_ids: plan.apic_ids(), options }, attachments)?;
        let pc = pc::build(&plan, &board, &accel, &requests)?;
        let (state, remote) = (Mutex::new(RunState::Prelaunch), Mutex::default());
        let events = Arc::default();
        let inner = Inner { plan, board, accel, pc, queue, state, remote, events };
        let machine = Self { handle: MachineHandle(Arc::new(inner)) };
        machine.handle.0.reset()?;
        for (_, chardev) in machine.handle.chardevs() {
            let queue = machine.handle.0.queue.clone();
            chardev.on_quit(move || queue.push(Message::Quit(Cause::Quit)));
        }
        for (number, channel) in (0..).zip(&machine.handle.0.pc.channels) {
            let queue = machine.handle.0.queue.clone();
            let tray = move |unit: usize, open| queue.push(Message::Tray { ide: (number, unit as u8), open });
            lock(channel).on_tray(Arc::new(tray));
        }
        Ok(machine)
    }

    /// The handle for monitors and front ends.
    pub fn handle(&self) -> MachineHandle {
        self.handle.clone()
    }

    /// Starts the guest (unless `-S`) and serves requests until the machine ends.
    pub fn run(self) -> ExitReason {
        let m = &self.handle.0;
        for (_, chardev) in &m.pc.chardevs {
            chardev.start();
        }
        if !m.plan.paused {
            m.start();
        }
        let reason = loop {
            let end = match m.queue.pop() {
                Message::Quit(cause) => m.shut_down(cause, ExitReason::Done),
                Message::Guest(request) => m.serve(request),
                Message::Reset => m.restart(Cause::SystemReset),
                Message::Tray { ide, open } => {
                    m.tray_moved(ide, open);
                    None
                }
            };
            if let Some(reason) = end {
                break reason;
            }
        };
        m.finish();
        reason
    }
}

impl Inner {
    /// Changes the state and tells it.
    pub(crate) fn set_state(&self, state: &mut RunState, to: RunState) {
        tracing::trace!(target: "runstate_set", "current_state={} new_state={}", state.name(), to.name());
        let from = std::mem::replace(state, to);
        if from != to {
            self.events.emit(&MachineEvent::State { from, to });
        }
    }

    fn go(&self, state: &mut RunState) {
        // Told first: an event that the guest causes comes after it.
        self.set_state(state, RunState::Running);
        self.board.clock.start();
        self.accel.resume();
    }

    fn halt(&self) {
        self.accel.pause();
        self.board.clock.stop();
    }

    fn start(&self) {
        let mut state = lock(&self.state);
        if *state != RunState::Running {
            self.go(&mut state);
        }
    }

    pub(crate) fn stop(&self, to: RunState) {
        let mut state = lock(&self.state);
        self.halt();
        self.set_state(&mut state, to);
    }

    /// Tells that the machine ends.
    fn shut_down(&self, cause: Cause, reason: ExitReason) -> Option<ExitReason> {
        let _order = lock(&self.state);
        self.events.emit(&MachineEvent::Shutdown(cause));
        Some(reason)
    }

    fn tray_moved(&self, ide: (u8, u8), open: bool) {
        if let Some(drive) = self.pc.drives.iter().find(|d| d.ide == Some(ide)) {
            self.events.emit(&drive.tray_moved(open));
        }
    }

    /// Devices, then processors, to their power-on state. Processors must be paused.
    fn reset(&self) -> Result<(), MachineError> {
        self.reset_devices(|device| device.reset());
        Ok(self.accel.reset()?)
    }

    /// USB devices to their power-on state, and the other devices to what `reset` makes of them.
    pub(crate) fn reset_devices(&self, reset: impl Fn(&mut dyn Device)) {
        self.pc.drives.iter().filter_map(|d| d.medium().queue).for_each(|q| q.drain());
        // USB devices before their controllers, which look at them.
        lock(&self.pc.usb).devices().for_each(|a| lock(&a.device).reset());
        for device in &self.pc.devices {
            reset(&mut *lock(device));
        }
        self.pc.slots.devices().iter().for_each(|card| lock(card).reset());
        self.pc.pci.sync();
    }

    /// Takes the cards out of a slot, and with them what they are the controllers of.
    fn take_out(&self, slot: &PortSlot) {
        let mut queues = Vec::new();
        // The buses first: when the ids of the cards are free, those of what was behind them are too.
        for bus in slot.usb_buses() {
            for device in lock(&self.pc.usb).remove_bus(&bus) {
                self.events.emit(&MachineEvent::DeviceDeleted { id: device.plan.id.clone() });
                queues.extend(device.queue);
            }
        }
        for card in slot.take_out() {
            let drives =
                self.pc.drives.iter().filter(|d| d.ide.is_some_and(|(channel, _)| Some(channel) == card.channel));
            queues.extend(drives.filter_map(|d| d.medium().queue));
            self.events.emit(&MachineEvent::DeviceDeleted { id: card.id.clone() });
        }
        if let Err(e) = queues.iter().try_for_each(hot_plug::flush) {
            tracing::error!("device_del: {e}");
        }
    }

    fn serve(&self, request: MachineRequest) -> Option<ExitReason> {
        match request {
            MachineRequest::Exit(status) => self.shut_down(Cause::GuestShutdown, ExitReason::Status(status)),
            MachineRequest::Reset(by) => {
                tracing::info!("reset by {by}");
                self.restart(Cause::GuestReset)
            }
            MachineRequest::PowerOff(by) => {
                tracing::info!("powered off by {by}");
                let end = self.shut_down(Cause::GuestShutdown, ExitReason::Done);
                if !self.plan.no_shutdown {
                    return end;
                }
                self.stop(RunState::Shutdown);
                None
            }
            MachineRequest::Eject(port) => {
                if let Some(slot) = self.pc.slots.number(port).filter(|s| s.unplug_is_pending()) {
                    self.take_out(slot);
                }
                None
            }
            MachineRequest::Suspend => {
                crate::suspend::suspend(self);
                None
            }
            MachineRequest::SuspendToDisk => {
                self.events.emit(&MachineEvent::SuspendToDisk);
                self.serve(MachineRequest::PowerOff("ACPI S4"))
            }
            MachineRequest::Wake(cause) => crate::suspend::wake(self, cause),
            MachineRequest::Panicked(why) => {
                self.stop(RunState::InternalError);
                if self.pc.monitors.is_empty() {
                    tracing::error!("the guest died: {why}");
                    return Some(ExitReason::GuestDied);
                }
                tracing::error!("the guest died: {why}; it is stopped, see 'info registers' in the monitor");
                None
            }
        }
    }

    /// Resets a machine, running or not, and lets it go on as before.
    fn restart(&self, cause: Cause) -> Option<ExitReason> {
        if self.plan.no_reboot {
            return self.shut_down(cause, ExitReason::Done);
        }
        let mut state = lock(&self.state);
        self.halt();
        self.drop_stale_requests();
        // What the guest has not let go of it loses now.
        self.pc.slots.pending().for_each(|slot| self.take_out(slot));
        if *state == RunState::Suspended {
            crate::suspend::forget(self);
        }
        if let Err(e) = self.reset() {
            tracing::error!("reset failed: {e}");
            self.set_state(&mut state, RunState::InternalError);
            return self.pc.monitors.is_empty().then_some(ExitReason::GuestDied);
        }
        self.events.emit(&MachineEvent::Reset(cause));
        match *state {
            RunState::Running | RunState::Suspended | RunState::Shutdown | RunState::InternalError => {
                self.go(&mut state);
            }
            RunState::Prelaunch | RunState::Paused => {}
        }
        None
    }

    /// Requests that the guest made before a reset (a second triple fault, the other processors') mean nothing
    /// after it.
    pub(crate) fn drop_stale_requests(&self) {
        lock(&self.queue.messages).retain(|m| {
            !matches!(m, Message::Reset | Message::Guest(MachineRequest::Reset(_) | MachineRequest::Panicked(_)))
        });
    }

    /// Stops everything and leaves nothing unwritten.
    fn finish(&self) {
        let added = self.pc.nodes.queues();
        let state = lock(&self.state);
        self.halt();
        drop(state);
        for queue in self.pc.drives.iter().filter_map(|d| d.medium().queue).chain(added) {
            queue.drain();
            if !queue.backend().readonly()
                && let Err(e) = queue.backend().flush()
            {
                tracing::error!("{}: flush failed: {e}", queue.name());
            }
        }
        for (_, chardev) in &self.pc.chardevs {
            chardev.flush(Duration::from_secs(2));
        }
    }
}

impl MachineHandle {
    /// The plan it was built from.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// What it does.
    pub fn state(&self) -> RunState {
        *lock(&self.0.state)
    }

    /// `stop`.
    pub fn stop(&self) {
        let mut state = lock(&self.0.state);
        if *state == RunState::Running {
            self.0.halt();
            self.0.set_state(&mut state, RunState::Paused);
        }
    }

    /// `cont`.
    ///
    /// # Errors
    /// When the guest has died or is powered off: it must be reset first.
    pub fn cont(&self) -> Result<(), &'static str> {
        match self.state() {
            RunState::Suspended => Ok(()), // only what wakes it lets it go on
            RunState::Shutdown | RunState::InternalError => Err("Resetting the Virtual Machine is required"),
            _ => {
                self.0.start();
                Ok(())
            }
        }
    }

    /// `system_reset`.
    pub fn reset(&self) {
        self.0.queue.push(Message::Reset);
    }

    /// `system_powerdown`: presses the power button.
    pub fn power_button(&self) {
        self.0.events.emit(&MachineEvent::PowerButton);
        if self.state() == RunState::Suspended {
            self.0.queue.request(MachineRequest::Wake(WakeCause::PowerButton));
        } else {
            lock(&self.0.pc.pm).press_power_button();
        }
    }

    /// `system_wakeup`.
    ///
    /// # Errors
    /// When the guest is not suspended.
    pub fn wake(&self) -> Result<(), &'static str> {
        if self.state() != RunState::Suspended {
            return Err("Unable to wake up: guest is not in suspended state");
        }
        self.0.queue.request(MachineRequest::Wake(WakeCause::Other));
        Ok(())
    }

    /// Ends the machine: `quit`, a signal, a closed window.
    pub fn quit(&self, cause: Cause) {
        self.0.queue.push(Message::Quit(cause));
    }

    pub(crate) fn events(&self) -> &Arc<Events> {
        &self.0.events
    }

    pub(crate) fn nodes(&self) -> &BlockNodes {
        &self.0.pc.nodes
    }

    /// Runs `f` with the processors standing, and lets them go on if they ran.
    pub fn while_stopped<T>(&self, f: impl FnOnce(&Accelerator) -> T) -> T {
        let state = lock(&self.0.state);
        let running = *state == RunState::Running;
        if running {
            self.0.accel.pause();
        }
        let result = f(&self.0.accel);
        if running {
            self.0.accel.resume();
        }
        result
    }

    /// The accelerator, for what needs no stop.
    pub fn accel(&self) -> &Accelerator {
        &self.0.accel
    }

    /// Guest-physical memory.
    pub fn space(&self) -> &Arc<AddressSpace> {
        &self.0.board.space
    }

    /// Ports.
    pub fn ports(&self) -> &Arc<PortSpace> {
        &self.0.board.ports
    }

    /// The machine's clock.
    pub fn clock(&self) -> &Clock {
        &self.0.board.clock
    }

    /// The PCI bus.
    pub fn pci(&self) -> &Arc<PciBus> {
        &self.0.pc.pci
    }

    /// The 8259 pair.
    pub fn pic(&self) -> &Pic {
        &self.0.pc.pic
    }

    /// The I/O APIC.
    pub fn ioapic(&self) -> &IoApic {
        &self.0.pc.ioapic
    }

    /// The real-time clock.
    pub fn rtc(&self) -> &Shared<devices::rtc::Rtc> {
        &self.0.pc.rtc
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.0.pc.slots
    }

    pub(crate) fn board(&self) -> &Board {
        &self.0.board
    }

    pub(crate) fn usb(&self) -> &Mutex<crate::usb_wiring::Usb> {
        &self.0.pc.usb
    }

    /// Where keys and pointer events go.
    pub fn input(&self) -> &Arc<InputBus> {
        &self.0.pc.input
    }

    /// The drives.
    pub fn drives(&self) -> &[DriveInfo] {
        &self.0.pc.drives
    }

    /// The IDE channel that a drive is on, and its unit there.
    pub(crate) fn ide_channel(&self, drive: &DriveInfo) -> Option<(&Arc<Mutex<dyn DriveBus>>, usize)> {
        let (channel, unit) = drive.ide?;
        Some((self.0.pc.channels.get(usize::from(channel))?, unit.into()))
    }

    /// How often each ISA interrupt line was raised.
    pub fn irq_counts(&self) -> [u64; 16] {
        self.0.pc.irq_counts.edges()
    }

    /// Open character back ends by name.
    pub fn chardevs(&self) -> &[(String, Chardev)] {
        &self.0.pc.chardevs
    }

    /// Back ends that want a monitor, and which.
    pub fn monitor_backends(&self) -> &[MonitorBackend] {
        &self.0.pc.monitors
    }

    /// What is on the screen; `None` without a video card.
    pub fn screen(&self) -> Option<Arc<dyn DisplaySource>> {
        self.0.pc.screen.clone()
    }

    /// Takes the front ends' sides of the text consoles (`vc`), with their names: for whoever shows them. Their output
    /// must be taken, or their users wait.
    pub fn take_text_consoles(&self) -> Vec<(String, CharPeer)> {
        std::mem::take(&mut *lock(&self.0.pc.consoles))
    }

    /// Says which remote display server there is.
    pub fn set_remote_display(&self, remote: Arc<dyn RemoteDisplay>) {
        *lock(&self.0.remote) = Some(remote);
    }

    /// The remote display server (VNC), if there is one.
    pub fn remote_display(&self) -> Option<Arc<dyn RemoteDisplay>> {
        lock(&self.0.remote).clone()
    }
}
