//! A processor's thread: wait, deliver, run, deal with the exit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use irqchip::lapic::Gp;
use vm_core::MachineRequest;
use whp::{AccessHandler, Exit, ExitContext, MsrAccess, VirtualProcessor, VpContext};

use crate::dump::{self, LastExits};
use crate::emulate::{Completion, Emulator};
use crate::exits;
use crate::invalid;
use crate::local_apic::LocalApics;
use crate::{Shared, Vcpu, stats};

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
    index: usize,
    /// Of the instruction whose exit is being completed.
    rip: AtomicU64,
}

/// No instruction is there: not canonical.
const NO_RIP: u64 = 1 << 63;

impl Handler<'_> {
    fn unassigned(&self, write: bool, gpa: u64, len: usize) {
        if invalid::is_logged() {
            let rip = Some(self.rip.load(Ordering::Relaxed)).filter(|rip| *rip != NO_RIP);
            let space = &self.shared.attachments.space;
            tracing::debug!(target: "invalid_mem", "{}", invalid::describe(space, write, gpa, len, self.index, rip));
        }
    }

    /// The local APIC outside of the platform, and where in its register page `gpa` is.
    fn local_apic(&self, gpa: u64) -> Option<(&LocalApics, u32)> {
        let apics = self.shared.apics.as_deref()?;
        Some((apics, apics.page_offset(self.index, gpa)?))
    }
}

impl AccessHandler for Handler<'_> {
    fn port_read(&self, port: u16, data: &mut [u8]) {
        stats::add(&self.vcpu.stats.port_accesses, 1);
        self.shared.attachments.ports.read(port, data);
    }

    fn port_write(&self, port: u16, data: &[u8]) {
        stats::add(&self.vcpu.stats.port_accesses, 1);
        self.shared.attachments.ports.write(port, data);
    }

    fn port_read_elements(&self, port: u16, size: usize, data: &mut [u8]) -> usize {
        let done = self.shared.attachments.ports.read_elements(port, size, data);
        stats::add(&self.vcpu.stats.port_accesses, (done / size.max(1)) as u64);
        done
    }

    fn port_write_elements(&self, port: u16, size: usize, data: &[u8]) -> usize {
        let done = self.shared.attachments.ports.write_elements(port, size, data);
        stats::add(&self.vcpu.stats.port_accesses, (done / size.max(1)) as u64);
        done
    }

    fn memory_read(&self, gpa: u64, data: &mut [u8]) {
        if let Some((apics, offset)) = self.local_apic(gpa) {
            return apics.read(self.index, offset, data);
        }
        stats::add(&self.vcpu.stats.memory_accesses, 1);
        if !self.shared.attachments.space.read(gpa, data) {
            self.unassigned(false, gpa, data.len());
        }
    }

    fn memory_write(&self, gpa: u64, data: &[u8]) {
        if let Some((apics, offset)) = self.local_apic(gpa) {
            return apics.write(self.index, offset, data, &|vector| self.eoi(vector));
        }
        stats::add(&self.vcpu.stats.memory_accesses, 1);
        if !self.shared.attachments.space.write(gpa, data) {
            self.unassigned(true, gpa, data.len());
        }
    }

    fn memory_read_elements(&self, gpa: u64, size: usize, data: &mut [u8]) -> usize {
        if self.local_apic(gpa).is_some() {
            return 0;
        }
        let done = self.shared.attachments.space.read_elements(gpa, size, data);
        stats::add(&self.vcpu.stats.memory_accesses, (done / size.max(1)) as u64);
        done
    }

    fn memory_write_elements(&self, gpa: u64, size: usize, data: &[u8]) -> usize {
        if self.local_apic(gpa).is_some() {
            return 0;
        }
        let done = self.shared.attachments.space.write_elements(gpa, size, data);
        stats::add(&self.vcpu.stats.memory_accesses, (done / size.max(1)) as u64);
        done
    }

    fn memory_copy_elements(&self, from: u64, to: u64, size: usize, count: usize) -> usize {
        if self.local_apic(from).is_some() || self.local_apic(to).is_some() {
            return 0;
        }
        let done = self.shared.attachments.space.copy_elements(from, to, size, count);
        stats::add(&self.vcpu.stats.memory_accesses, (2 * done / size.max(1)) as u64);
        done
    }

    /// The instruction's address is known only at an exit.
    fn declines(&self, gpa: u64, len: usize) -> bool {
        invalid::is_logged()
            && self.local_apic(gpa).is_none()
            && !invalid::is_assigned(&self.shared.attachments.space, gpa, len)
    }

    fn eoi(&self, vector: u8) {
        stats::add(&self.vcpu.stats.eois, 1);
        if let Some(eoi) = self.shared.eoi.get() {
            eoi(vector);
        }
    }
}

/// The thread's function.
pub(crate) fn thread(shared: &Arc<Shared>, index: usize) {
    let Some(vcpu) = shared.vcpus.get(index) else { return };
    let mut emulator = None;
    while let Some(resumes) = wait_for_start(shared) {
        run_until_stopped(shared, vcpu, index, &mut emulator);
        let mut control = shared.control();
        control.active -= 1;
        shared.changed.notify_all();
        // A processor that stopped by itself waits for the pause that belongs to the request it made.
        while control.running && control.resumes == resumes && !control.quit {
            control = shared.changed.wait(control).unwrap_or_else(|e| e.into_inner());
        }
    }
}

/// Waits until the machine runs; how often it has been resumed then. `None`: the thread is to end.
fn wait_for_start(shared: &Shared) -> Option<u64> {
    let mut control = shared.control();
    while !control.running && !control.quit {
        control = shared.changed.wait(control).unwrap_or_else(|e| e.into_inner());
    }
    if control.quit {
        return None;
    }
    control.active += 1;
    Some(control.resumes)
}

fn may_run(shared: &Shared) -> bool {
    let control = shared.control();
    control.running && !control.quit
}

fn run_until_stopped(shared: &Shared, vcpu: &Vcpu, index: usize, emulator: &mut Option<Box<Emulator>>) {
    let handler = &Handler { shared, vcpu, index, rip: AtomicU64::new(NO_RIP) };
    let last_exits = LastExits::default();
    let mut thread = Thread { shared, vcpu, index, handler, emulator: emulator.take(), last_exits };
    while may_run(shared) {
        let ready = match &shared.apics {
            Some(apics) => apics.prepare(index, shared.pic.get()),
            None if index == 0 => deliver_extint(shared, &*vcpu.vp).map(|()| true),
            None => Ok(true),
        };
        match (ready, &shared.apics) {
            (Ok(true), _) | (Ok(false), None) => {}
            (Ok(false), Some(apics)) => {
                apics.wait(index);
                continue;
            }
            (Err(e), _) => {
                thread.fail(&format!("cannot deliver an interrupt: {e}"));
                break;
            }
        }
        match vcpu.vp.run(Some(handler)) {
            Ok(exit) => {
                vcpu.stats.count(exit.reason());
                thread.last_exits.note(&exit);
                if let Some(apics) = &shared.apics {
                    apics.left(index, &exit.vp, matches!(exit.exit, Exit::InterruptWindow { .. }));
                } else if index == 0 {
                    shared.extint.left(&exit);
                }
                tracing::trace!(target: "whpx_exit", "cpu={index} rip={:#x} {:x?}", exit.vp.rip, exit.exit);
                if thread.dispatch(&exit) == Next::Stop {
                    break;
                }
            }
            Err(e) => {
                thread.fail(&e.to_string());
                break;
            }
        }
    }
    *emulator = thread.emulator;
}

/// Hands the 8259 pair's request to the boot processor.
fn deliver_extint(shared: &Shared, vp: &dyn VirtualProcessor) -> whp::Result<()> {
    let Some(pic) = shared.pic.get() else { return Ok(()) };
    shared.extint.deliver(pic, vp, &shared.attachments.clock)
}

/// What the thread knows when it deals with an exit.
struct Thread<'a> {
    shared: &'a Shared,
    vcpu: &'a Vcpu,
    index: usize,
    handler: &'a Handler<'a>,
    /// Completes undecoded accesses; made for the first one.
    emulator: Option<Box<Emulator>>,
    last_exits: LastExits,
}

impl Thread<'_> {
    fn dispatch(&mut self, context: &ExitContext) -> Next {
        let shared = self.shared;
        let vp = &*self.vcpu.vp;
        let done = match &context.exit {
            Exit::Canceled | Exit::None | Exit::InterruptWindow { .. } => Ok(()),
            Exit::ApicEoi { vector } => {
                if let Some(eoi) = shared.eoi.get() {
                    eoi(*vector as u8);
                }
                Ok(())
            }
            Exit::MsrAccess(access) => self.msr(&context.vp, access),
            Exit::Cpuid(access) => exits::cpuid(vp, &context.vp, access, |leaf, result| shared.announced(leaf, result)),
            Exit::Exception(exception) => {
                exits::note_msr_gp(vp, &context.vp, exception);
                exits::reinject(vp, &context.vp, exception)
            }
            Exit::IoPortAccess(access) if exits::is_simple(&context.vp, access) => {
                exits::port(vp, &context.vp, access, self.handler)
            }
            Exit::IoPortAccess(access) => return self.emulate(context, access.instruction()),
            Exit::MemoryAccess(access) => return self.emulate(context, access.instruction()),
            Exit::Halt => self.wait_halted(context),
            Exit::UnrecoverableException => return self.triple_fault(),
            other => {
                self.fail(&exits::explain(other));
                return Next::Stop;
            }
        };
        match done {
            Ok(()) => Next::Run,
            Err(e) => {
                self.fail(&format!("exit {:?} cannot be completed: {e}", context.reason()));
                Next::Stop
            }
        }
    }

    /// Has an access completed that the platform did not decode.
    fn emulate(&mut self, context: &ExitContext, bytes: &[u8]) -> Next {
        let emulator = self.emulator.get_or_insert_with(|| Box::new(Emulator::new()));
        let space = &self.shared.attachments.space;
        self.handler.rip.store(context.vp.rip, Ordering::Relaxed);
        let completed = emulator.complete(space, self.handler, &*self.vcpu.vp, context, bytes);
        self.handler.rip.store(NO_RIP, Ordering::Relaxed);
        let why = match completed {
            Ok(Completion::Done) => return Next::Run,
            Ok(Completion::Shutdown) => return self.triple_fault(),
            Ok(Completion::Impossible(why)) => why,
            Ok(Completion::CannotFault) => "another event is pending".into(), // not asked for
            Err(e) => e.to_string(),
        };
        self.fail(&format!("an access cannot be completed ({:x?}): {why}", context.exit));
        Next::Stop
    }

    /// RDMSR and WRMSR that the platform does not serve.
    fn msr(&self, context: &VpContext, access: &MsrAccess) -> whp::Result<()> {
        let vp = &*self.vcpu.vp;
        if let Some(apics) = &self.shared.apics {
            let write = access.is_write.then_some(access.rdx << 32 | access.rax & 0xFFFF_FFFF);
            let done = apics.msr(self.index, access.msr_number, write, &|vector| self.handler.eoi(vector));
            match done {
                Some(Ok(value)) => return exits::msr_done(vp, context, access, value),
                Some(Err(Gp)) => return exits::general_protection(vp),
                None => {}
            }
        }
        exits::unknown_msr(vp, context, access, self.shared.options.ignore_unknown_msr)
    }

    /// HLT where the local APIC is not in the platform: stands still until the 8259 pair has something.
    fn wait_halted(&self, context: &ExitContext) -> whp::Result<()> {
        if let Some(apics) = &self.shared.apics {
            apics.halt(self.index);
            return Ok(());
        }
        const INTERRUPT_FLAG: u64 = 1 << 9;
        let wakes = || {
            context.vp.rflags & INTERRUPT_FLAG != 0
                && self.index == 0
                && self.shared.extint.is_pending()
                && self.shared.pic.get().is_some_and(|pic| pic.is_pending())
        };
        let mut control = self.shared.control();
        while control.running && !control.quit && !wakes() {
            let wait = self.shared.changed.wait_timeout(control, std::time::Duration::from_millis(1));
            control = wait.unwrap_or_else(|e| e.into_inner()).0;
        }
        Ok(())
    }

    fn triple_fault(&self) -> Next {
        tracing::debug!(target: "cpu_reset", "triple fault\n{}", self.dump());
        self.shared.attachments.requests.request(MachineRequest::Reset("triple fault"));
        Next::Stop
    }

    fn dump(&self) -> String {
        dump::processor(&self.shared.attachments.space, &*self.vcpu.vp, self.index, Some(&self.last_exits))
    }

    /// The guest cannot go on: says why with everything that is known, and stops the machine.
    fn fail(&self, why: &str) {
        tracing::error!("processor {} stopped: {why}\n{}", self.index, self.dump());
        self.shared.attachments.requests.request(MachineRequest::Panicked("a processor cannot continue"));
    }
}
