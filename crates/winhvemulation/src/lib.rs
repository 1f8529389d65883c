//! `WinHvEmulation.dll` (on Linux `libwinhvemulation.so`): Microsoft's instruction emulator ("Windows Hypervisor
//! Platform Instruction Emulator API", learn.microsoft.com; `winhvemulation.h`) over `cpu-x86`, for monitors that none
//! of us wrote. x64 guests.
//!
//! An exit of `WHvRunVirtualProcessor` for a port or memory access goes in; the instruction is executed, with its
//! accesses and registers through the client's callbacks. The emulator needs no partition and keeps nothing between
//! calls, so it works over Microsoft's platform as well as over ours.
//!
//! - Registers: one call of the get callback, with what the instruction needs; one of the set callback, with what it
//!   changed, at the end of a successful call. IN and OUT without a string are done from the exit alone, with one set.
//! - Memory: every access, RAM included, is a memory callback of 1 to 8 bytes inside a page; wider ones come in pieces
//!   of 8 in ascending order, those across pages in a piece a page (a write then starts when both pages may be
//!   written). Pages are translated by the client's callback, once a call, an access and a page; the page of the exit
//!   itself is known from the exit.
//! - Instruction bytes: those of the exit; what is missing is fetched through the callbacks.
//! - REP: repeated until it is done, or for about a million elements, after which the instruction stands at its own
//!   RIP with its progress.
//! - Faults of the guest: `EmulationSuccessful`, with the exception in `WHvRegisterPendingEvent` and RIP at the
//!   instruction. An event that was pending already gives `GuestCannotBeFaulted`; an exit while an event was being
//!   delivered gives `InterruptCausedIntercept`. In both cases nothing was changed.
//! - Errors: a bad handle, a null pointer or a context that no exit has is an HRESULT; everything else is `S_OK` and a
//!   bit in the status. A callback that returns anything but `S_OK` ends the emulation with its bit.
//!
//! An emulator is for one thread at a time; a second thread waits, a callback that calls its own emulator gets
//! `E_UNEXPECTED`.
//!
//! Left out: instructions that need what only the XSAVE area has (upper halves of YMM and ZMM registers, mask
//! registers), because the API has no callback for it; they are `InternalEmulationFailure`, as everything is that
//! reads MSRs, CPUID or the time, which nothing that exits for a device does.
#![allow(unsafe_code)] // a C API: raw pointers from the caller, exported symbols, callbacks
#![allow(non_snake_case)] // Microsoft's names

mod bus;
mod callbacks;
mod emulate;
mod export;
mod handle;

pub use emulate::*;
pub use export::{Function, Status};

/// Every exported function with its status, by name.
pub fn functions() -> Vec<&'static Function> {
    let mut all: Vec<_> = emulate::TABLE.iter().collect();
    all.sort_by_key(|f| f.name);
    all
}

/// The functions as a Markdown table.
pub fn functions_as_markdown() -> String {
    whp_abi::export::as_markdown(functions())
}
