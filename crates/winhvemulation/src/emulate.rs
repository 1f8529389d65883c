//! The four functions.

use std::ffi::c_void;

use cpu_x86::fault::Access;
use emulator::{Completion, Needs, Registers};
use whp::{Exit, ExitContext, HResult, IoPortAccess, RegisterName, RegisterValue, VpContext};
use whp_abi::convert;
use whp_abi::emulation::functions as dll_functions;
use whp_abi::emulation::*;
use whp_abi::x64::*;

use crate::bus::{ClientBus, LinearPage};
use crate::callbacks::{Callbacks, Client};
use crate::export::{Outcome, guard};
use crate::handle;

const TRAP_FLAG: u64 = 1 << 8;
const RESUME_FLAG: u64 = 1 << 16;
const PAGE_MASK: u64 = !0xFFF;

/// Slices of some hundred elements after which a REP instruction goes back to the guest with its progress.
const SLICES: u32 = 4096;

/// A value behind a pointer of the caller's.
///
/// # Safety
/// `from` is null or readable.
unsafe fn get<T: Copy>(from: *const T) -> Result<T, HResult> {
    if from.is_null() {
        return Err(HResult::E_POINTER);
    }
    // SAFETY: not null, hence readable by the caller's promise; alignment does not matter.
    Ok(unsafe { from.read_unaligned() })
}

/// # Safety
/// `to` is null or writable.
unsafe fn put<T>(to: *mut T, value: T) -> Outcome {
    if to.is_null() {
        return Err(HResult::E_POINTER);
    }
    // SAFETY: not null, hence writable by the caller's promise; alignment does not matter.
    unsafe { to.write_unaligned(value) };
    Ok(())
}

/// An exit as `WHvRunVirtualProcessor` gives it, put together again from its parts.
fn exit(vp: WHV_VP_EXIT_CONTEXT, reason: i32, fill: impl FnOnce(&mut WHV_RUN_VP_EXIT_CONTEXT_0)) -> ExitContext {
    let mut whole = WHV_RUN_VP_EXIT_CONTEXT { ExitReason: reason, VpContext: vp, ..Default::default() };
    fill(&mut whole.Anonymous);
    convert::exit_from_abi(&whole)
}

/// Whether [`simple_port`] will do: IN or OUT of one element, and nothing that the end of an instruction has an
/// effect on.
fn is_simple(vp: &VpContext, access: &IoPortAccess) -> bool {
    !access.string_op
        && vp.instruction_length != 0
        && !vp.interrupt_shadow
        && vp.rflags & (TRAP_FLAG | RESUME_FLAG) == 0
}

/// IN or OUT from what the exit says: no registers are read.
fn simple_port(client: &Client, vp: &VpContext, access: &IoPortAccess) -> u32 {
    let size = access.access_size;
    let mask = u64::MAX >> (64 - 8 * u32::from(size & 7).clamp(1, 4));
    let Ok(value) = client.port(access.port, size.into(), access.is_write, (access.rax & mask) as u32) else {
        return client.failed();
    };
    let next = vp.rip.wrapping_add(vp.instruction_length.into());
    let long = vp.efer_lma && vp.cs.attributes >> 13 & 1 != 0;
    let rip = RegisterValue::from(if long { next } else { next & 0xFFFF_FFFF });
    // 32 bits clear the upper half of RAX.
    let kept = if size == 4 { 0 } else { access.rax & !mask };
    let rax = RegisterValue::from(kept | u64::from(value) & mask);
    let count = if access.is_write { 1 } else { 2 };
    match client.set(&[RegisterName::RIP, RegisterName::RAX][..count], &[rip, rax][..count]) {
        Ok(()) => status::EMULATION_SUCCESSFUL,
        Err(_) => client.failed(),
    }
}

/// Executes the instruction; the status.
fn execute(entry: &handle::Entry, client: &Client, vp: &VpContext, bus: &mut ClientBus<'_>) -> Result<u32, HResult> {
    if bus.fetch(vp, |bytes| Needs::of_whole(vp, bytes).is_some()).is_err() {
        return Ok(failure(client, "the instruction cannot be fetched"));
    }
    use cpu_x86::Bus;
    // Not whole: the fetch faults, and will again.
    let needs = Needs::of_whole(vp, bus.instruction()).unwrap_or(Needs { system: true, ..Needs::default() });
    if needs.extended {
        return Ok(failure(client, "the instruction has to do with state that only the XSAVE area has"));
    }
    let mut user = entry.enter()?;
    Ok(match user.emulator().complete(bus, client, vp, needs, SLICES) {
        Ok(Completion::Done) => status::EMULATION_SUCCESSFUL,
        Ok(Completion::CannotFault | Completion::Shutdown) => status::GUEST_CANNOT_BE_FAULTED,
        Ok(Completion::Impossible(why)) => failure(client, &why),
        Err(error) => failure(client, &error.to_string()),
    })
}

/// The status of an emulation that did not come to its end: what failed of the client's, else the emulator.
fn failure(client: &Client, why: &str) -> u32 {
    tracing::debug!(target: "winhvemulation", "{why}");
    match client.failed() {
        0 => status::INTERNAL_EMULATION_FAILURE,
        bits => bits,
    }
}

/// What both functions begin with: the handle and the pointers.
///
/// # Safety
/// Pointers are null or valid.
unsafe fn begin<T: Copy>(
    emulator: WHV_EMULATOR_HANDLE,
    vp: *const WHV_VP_EXIT_CONTEXT,
    exit: *const T,
    result: *mut WHV_EMULATOR_STATUS,
) -> Result<(std::sync::Arc<handle::Entry>, WHV_VP_EXIT_CONTEXT, T), HResult> {
    let entry = handle::find(emulator)?;
    // SAFETY: the caller's variables.
    unsafe {
        let (vp, exit) = (get(vp)?, get(exit)?);
        put(result, WHV_EMULATOR_STATUS::default())?;
        Ok((entry, vp, exit))
    }
}

fn io(entry: &handle::Entry, client: &Client, context: &ExitContext) -> Result<u32, HResult> {
    let vp = &context.vp;
    let Exit::IoPortAccess(access) = &context.exit else { return Err(HResult::E_INVALIDARG) };
    if !matches!(access.access_size, 1 | 2 | 4) {
        return Err(HResult::E_INVALIDARG);
    }
    if vp.interruption_pending {
        return Ok(status::INTERRUPT_CAUSED_INTERCEPT);
    }
    if is_simple(vp, access) {
        return Ok(simple_port(client, vp, access));
    }
    execute(entry, client, vp, &mut ClientBus::new(client, vp, access.instruction()))
}

fn memory(entry: &handle::Entry, client: &Client, context: &ExitContext) -> Result<u32, HResult> {
    let vp = &context.vp;
    let Exit::MemoryAccess(access) = &context.exit else { return Err(HResult::E_INVALIDARG) };
    if vp.interruption_pending {
        return Ok(status::INTERRUPT_CAUSED_INTERCEPT);
    }
    let mut bus = ClientBus::new(client, vp, access.instruction());
    let kind = match access.access_type {
        whp::AccessType::Read => Access::Read,
        whp::AccessType::Write => Access::Write,
        whp::AccessType::Execute => Access::Fetch,
    };
    if access.gva_valid {
        let page = LinearPage { page: access.gva & PAGE_MASK, access: kind, user: vp.cpl == 3 };
        bus.know(page, access.gpa);
    }
    execute(entry, client, vp, &mut bus)
}

whp_abi::export_functions! {
    guard, dll_functions;

    Done ""
    fn WHvEmulatorCreateEmulator(callbacks: *const WHV_EMULATOR_CALLBACKS, emulator: *mut WHV_EMULATOR_HANDLE) {
        if callbacks.is_null() || emulator.is_null() {
            return Err(HResult::E_POINTER);
        }
        // SAFETY: not null, hence at least the size is readable; the rest is when the size says so.
        let callbacks = unsafe {
            if (callbacks.cast::<u32>().read_unaligned() as usize) < size_of::<WHV_EMULATOR_CALLBACKS>() {
                return Err(HResult::E_INVALIDARG);
            }
            get(callbacks)?
        };
        let callbacks = Callbacks::new(&callbacks).ok_or(HResult::E_INVALIDARG)?;
        // SAFETY: the caller's variable.
        unsafe { put(emulator, handle::create(callbacks)) }
    }

    Done ""
    fn WHvEmulatorDestroyEmulator(emulator: WHV_EMULATOR_HANDLE) {
        handle::remove(emulator).map(drop)
    }

    Done "String instructions too. IN and OUT need no register but those of the exit."
    fn WHvEmulatorTryIoEmulation(
        emulator: WHV_EMULATOR_HANDLE,
        context: *mut c_void,
        vp: *const WHV_VP_EXIT_CONTEXT,
        access: *const WHV_X64_IO_PORT_ACCESS_CONTEXT,
        result: *mut WHV_EMULATOR_STATUS,
    ) {
        // SAFETY: the caller's pointers.
        let (entry, vp, access) = unsafe { begin(emulator, vp, access, result)? };
        if access.InstructionByteCount > 16 {
            return Err(HResult::E_INVALIDARG);
        }
        let exit = exit(vp, WHvRunVpExitReasonX64IoPortAccess, |u| u.IoPortAccess = access);
        let bits = io(&entry, &Client::new(entry.callbacks, context), &exit)?;
        // SAFETY: the caller's variable.
        unsafe { put(result, WHV_EMULATOR_STATUS { AsUINT32: bits }) }
    }

    Partly "Any instruction but those with YMM, ZMM or mask registers: the API has no callback for the XSAVE area."
    fn WHvEmulatorTryMmioEmulation(
        emulator: WHV_EMULATOR_HANDLE,
        context: *mut c_void,
        vp: *const WHV_VP_EXIT_CONTEXT,
        access: *const WHV_MEMORY_ACCESS_CONTEXT,
        result: *mut WHV_EMULATOR_STATUS,
    ) {
        // SAFETY: the caller's pointers.
        let (entry, vp, access) = unsafe { begin(emulator, vp, access, result)? };
        // SAFETY: both views of the union are 32 bits of integers.
        if access.InstructionByteCount > 16 || unsafe { access.AccessInfo.AsUINT32 } & 3 == 3 {
            return Err(HResult::E_INVALIDARG);
        }
        let exit = exit(vp, WHvRunVpExitReasonMemoryAccess, |u| u.MemoryAccess = access);
        let bits = memory(&entry, &Client::new(entry.callbacks, context), &exit)?;
        // SAFETY: the caller's variable.
        unsafe { put(result, WHV_EMULATOR_STATUS { AsUINT32: bits }) }
    }
}
