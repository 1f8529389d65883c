//! A processor's thread: wait, deliver, run, deal with the exit.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vm_core::{GuestWarnings, MachineRequest};
use whp::{
    AccessHandler, DeliverabilityNotifications, Exit, ExitContext, PendingEvent, RegisterName, RegisterValue,
    VirtualProcessor,
};

use crate::registers::{CpuRegisters, format_registers};
use crate::{Shared, Vcpu};

/// What the thread does after an exit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Run,
    /// Nothing more until the machine is reset or resumed anew.
    Stop,
}

/// Serves a processor's decoded accesses.
pub(crate) struct Handler<'a> {
    shared: &'a Shared,
    vcpu: &'a Vcpu,
}

impl AccessHandler for Handler<'_> {
    fn port_read(&self, port: u16, data: &mut [u8]) {
        self.vcpu.stats.port_accesses.fetch_add(1, Ordering::Relaxed);
        self.shared.attachments.ports.read(port, data);
    }

    fn port_write(&self, port: u16, data: &[u8]) {
        self.vcpu.stats.port_accesses.fetch_add(1, Ordering::Relaxed);
        self.shared.attachments.ports.write(port, data);
    }

    fn memory_read(&self, gpa: u64, data: &mut [u8]) {
        self.vcpu.stats.memory_accesses.fetch_add(1, Ordering::Relaxed);
        if !self.shared.attachments.space.read(gpa, data) {
            unassigned("read from", gpa, data.len());
        }
    }

    fn memory_write(&self, gpa: u64, data: &[u8]) {
        self.vcpu.stats.memory_accesses.fetch_add(1, Ordering::Relaxed);
        if !self.shared.attachments.space.write(gpa, data) {
            unassigned("write to", gpa, data.len());
        }
    }

    fn eoi(&self, vector: u8) {
        self.vcpu.stats.eois.fetch_add(1, Ordering::Relaxed);
        if let Some(eoi) = self.shared.eoi.get() {
            eoi(vector);
        }
    }
}

fn unassigned(what: &str, gpa: u64, len: usize) {
    tracing::debug!(target: "invalid_mem", "{what} unassigned address {gpa:#x}, {len} bytes");
}

/// The thread's function.
pub(crate) fn thread(shared: &Arc<Shared>, index: usize) {
    let Some(vcpu) = shared.vcpus.get(index) else { return };
    while wait_for_start(shared) {
        run_until_stopped(shared, vcpu, index);
        let mut control = shared.control();
        control.active -= 1;
        shared.changed.notify_all();
        // A processor that stopped by itself waits for the pause that belongs to the request it made.
        while control.running && !control.quit {
            control = shared.changed.wait(control).unwrap_or_else(|e| e.into_inner());
        }
    }
}

/// Waits until the machine runs; `false` when the thread is to end.
fn wait_for_start(shared: &Shared) -> bool {
    let mut control = shared.control();
    while !control.running && !control.quit {
        control = shared.changed.wait(control).unwrap_or_else(|e| e.into_inner());
    }
    if control.quit {
        return false;
    }
    control.active += 1;
    true
}

fn may_run(shared: &Shared) -> bool {
    let control = shared.control();
    control.running && !control.quit
}

fn run_until_stopped(shared: &Shared, vcpu: &Vcpu, index: usize) {
    let handler = Handler { shared, vcpu };
    while may_run(shared) {
        if index == 0
            && let Err(e) = deliver_extint(shared, &*vcpu.vp)
        {
            return fail(shared, vcpu, index, &format!("cannot deliver an interrupt: {e}"));
        }
        match vcpu.vp.run(Some(&handler)) {
            Ok(exit) => {
                vcpu.stats.count(exit.reason());
                if dispatch(shared, vcpu, index, &exit) == Next::Stop {
                    return;
                }
            }
            Err(e) => return fail(shared, vcpu, index, &e.to_string()),
        }
    }
}

/// Hands the 8259 pair's request to the boot processor: asks for an interrupt window first, then acknowledges.
fn deliver_extint(shared: &Shared, vp: &dyn VirtualProcessor) -> whp::Result<()> {
    let extint = &shared.extint;
    let Some(pic) = shared.pic.get() else { return Ok(()) };
    if extint.take_window() && pic.is_pending() {
        let event = PendingEvent::ExtInt { vector: pic.acknowledge() };
        // The event alone does not end a halt on Microsoft's platform.
        let names = [RegisterName::PENDING_EVENT, RegisterName::INTERNAL_ACTIVITY_STATE];
        vp.set_registers(&names, &[event.into(), RegisterValue::default()])?;
    }
    if extint.is_pending() && pic.is_pending() && extint.ask_window() {
        let ask = DeliverabilityNotifications { interrupt: true, ..Default::default() };
        vp.set_registers(&[RegisterName::DELIVERABILITY_NOTIFICATIONS], &[ask.into()])?;
    }
    Ok(())
}

fn dispatch(shared: &Shared, vcpu: &Vcpu, index: usize, context: &ExitContext) -> Next {
    match &context.exit {
        Exit::Canceled | Exit::None => Next::Run,
        Exit::InterruptWindow { .. } => {
            shared.extint.window_opened();
            Next::Run
        }
        Exit::ApicEoi { vector } => {
            if let Some(eoi) = shared.eoi.get() {
                eoi(*vector as u8);
            }
            Next::Run
        }
        Exit::MsrAccess(access) => match unknown_msr(vcpu, context, access) {
            Ok(()) => Next::Run,
            Err(e) => {
                fail(shared, vcpu, index, &format!("cannot complete an MSR access: {e}"));
                Next::Stop
            }
        },
        Exit::UnrecoverableException => {
            tracing::debug!(target: "cpu_reset", "triple fault\n{}", dump(vcpu, index));
            shared.attachments.requests.request(MachineRequest::Reset("triple fault"));
            Next::Stop
        }
        other => {
            fail(shared, vcpu, index, &format!("exit {other:?} cannot be handled"));
            Next::Stop
        }
    }
}

/// MSRs nobody knows read as zero and ignore writes, as QEMU's WHPX does by default.
fn unknown_msr(vcpu: &Vcpu, context: &ExitContext, access: &whp::MsrAccess) -> whp::Result<()> {
    static WARNINGS: GuestWarnings = GuestWarnings::new(10);
    let what = if access.is_write { "write to" } else { "read of" };
    WARNINGS.warn(|| format!("{what} unknown MSR {:#x} at {:#x}", access.msr_number, context.vp.rip));
    let rip = context.vp.rip.wrapping_add(context.vp.instruction_length.into());
    let names = [RegisterName::RIP, RegisterName::RAX, RegisterName::RDX];
    let values = [RegisterValue::from(rip), RegisterValue::default(), RegisterValue::default()];
    let count = if access.is_write { 1 } else { 3 };
    vcpu.vp.set_registers(&names[..count], &values[..count])
}

fn dump(vcpu: &Vcpu, index: usize) -> String {
    match CpuRegisters::read(&*vcpu.vp) {
        Ok(registers) => format_registers(index, &registers),
        Err(e) => format!("CPU#{index}: registers cannot be read: {e}"),
    }
}

/// The guest cannot go on: says why with everything that is known, and stops the machine.
fn fail(shared: &Shared, vcpu: &Vcpu, index: usize, why: &str) {
    tracing::error!("processor {index} stopped: {why}\n{}", dump(vcpu, index));
    shared.attachments.requests.request(MachineRequest::Panicked("a processor cannot continue"));
}
