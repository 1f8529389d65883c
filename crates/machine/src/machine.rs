//! A machine that runs: its life (run, pause, reset, power off, exit) and what the monitor sees of it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use accel::{AccelConfig, AccelOptions, Accelerator, Attachments};
use chardev::{CharPeer, Chardev};
use devices::ide::IdeChannel;
use display::{DisplaySource, RemoteDisplay};
use input::InputBus;
use irqchip::{IoApic, Pic};
use pci::PciBus;
use vm_core::{AddressSpace, Clock, MachineRequest, PortSpace, RequestSink, Shared, lock};
use whp::Platform;

use crate::MachineError;
use crate::drives::DriveInfo;
use crate::pc::{self, Board, Pc};
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
    Quit,
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

struct Inner {
    plan: Plan,
    board: Board,
    accel: Accelerator,
    pc: Pc,
    queue: Arc<Queue>,
    state: Mutex<RunState>,
    remote: Mutex<Option<Arc<dyn RemoteDisplay>>>,
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
        let inner = Inner { plan, board, accel, pc, queue, state, remote };
        let machine = Self { handle: MachineHandle(Arc::new(inner)) };
        machine.handle.0.reset()?;
        for (_, chardev) in machine.handle.chardevs() {
            let queue = machine.handle.0.queue.clone();
            chardev.on_quit(move || queue.push(Message::Quit));
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
        if !m.plan.paused {
            m.start();
        }
        let reason = loop {
            match m.queue.pop() {
                Message::Quit => break ExitReason::Done,
                Message::Guest(request) => {
                    if let Some(reason) = m.serve(request) {
                        break reason;
                    }
                }
            }
        };
        m.finish();
        reason
    }
}

fn change_state(state: &mut RunState, new: RunState) {
    tracing::trace!(target: "runstate_set", "current_state={} new_state={}", state.name(), new.name());
    *state = new;
}

impl Inner {
    fn set_state(&self, state: RunState) {
        let mut current = lock(&self.state);
        change_state(&mut current, state);
    }

    fn start(&self) {
        let mut state = lock(&self.state);
        if *state != RunState::Running {
            change_state(&mut state, RunState::Running);
            self.board.clock.start();
            self.accel.resume();
        }
    }

    fn stop(&self, to: RunState) {
        let mut state = lock(&self.state);
        self.accel.pause();
        self.board.clock.stop();
        change_state(&mut state, to);
    }

    /// Devices, then processors, to their power-on state. Processors must be paused.
    fn reset(&self) -> Result<(), MachineError> {
        self.pc.drives.iter().filter_map(|d| d.medium().queue).for_each(|q| q.drain());
        for device in &self.pc.devices {
            lock(device).reset();
        }
        self.pc.pci.sync();
        self.accel.reset()?;
        Ok(())
    }

    fn serve(&self, request: MachineRequest) -> Option<ExitReason> {
        match request {
            MachineRequest::Exit(status) => Some(ExitReason::Status(status)),
            MachineRequest::Reset(by) => {
                tracing::info!("reset by {by}");
                if self.plan.no_reboot {
                    return Some(ExitReason::Done);
                }
                self.restart()
            }
            MachineRequest::PowerOff(by) => {
                tracing::info!("powered off by {by}");
                if !self.plan.no_shutdown {
                    return Some(ExitReason::Done);
                }
                self.stop(RunState::Shutdown);
                None
            }
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
    fn restart(&self) -> Option<ExitReason> {
        let before = *lock(&self.state);
        self.stop(RunState::Paused);
        self.drop_stale_requests();
        if let Err(e) = self.reset() {
            tracing::error!("reset failed: {e}");
            self.set_state(RunState::InternalError);
            return self.pc.monitors.is_empty().then_some(ExitReason::GuestDied);
        }
        match before {
            RunState::Running | RunState::Shutdown | RunState::InternalError => self.start(),
            other => self.set_state(other),
        }
        None
    }

    /// Requests that the guest made before a reset (a second triple fault, the other processors') mean nothing
    /// after it.
    fn drop_stale_requests(&self) {
        lock(&self.queue.messages)
            .retain(|m| !matches!(m, Message::Guest(MachineRequest::Reset(_) | MachineRequest::Panicked(_))));
    }

    /// Stops everything and leaves nothing unwritten.
    fn finish(&self) {
        self.stop(RunState::Paused);
        for queue in self.pc.drives.iter().filter_map(|d| d.medium().queue) {
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
        if self.state() == RunState::Running {
            self.0.stop(RunState::Paused);
        }
    }

    /// `cont`.
    ///
    /// # Errors
    /// When the guest has died or is powered off: it must be reset first.
    pub fn cont(&self) -> Result<(), &'static str> {
        match self.state() {
            RunState::Shutdown | RunState::InternalError => Err("Resetting the Virtual Machine is required"),
            _ => {
                self.0.start();
                Ok(())
            }
        }
    }

    /// `system_reset`.
    pub fn reset(&self) {
        self.0.queue.push(Message::Guest(MachineRequest::Reset("the monitor")));
    }

    /// `system_powerdown`: presses the power button.
    pub fn power_button(&self) {
        lock(&self.0.pc.pm).press_power_button();
    }

    /// `quit`.
    pub fn quit(&self) {
        self.0.queue.push(Message::Quit);
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

    /// Where keys and pointer events go.
    pub fn input(&self) -> &Arc<InputBus> {
        &self.0.pc.input
    }

    /// The drives.
    pub fn drives(&self) -> &[DriveInfo] {
        &self.0.pc.drives
    }

    /// The IDE channel that a drive is on, and its unit there.
    pub(crate) fn ide_channel(&self, drive: &DriveInfo) -> Option<(&Shared<IdeChannel>, usize)> {
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

    /// Back ends that want a monitor.
    pub fn monitor_chardevs(&self) -> &[Chardev] {
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
