//! `WinHvPlatform.dll` (on Linux `libwinhvplatform.so`): Microsoft's C API ("Windows Hypervisor Platform",
//! learn.microsoft.com; `winhvplatform.h`) over the built-in platform, for monitors that none of us wrote. x64 guests.
//!
//! Every function that Microsoft's DLL exports is exported; [`functions`] says of each whether it works, and
//! `docs/whp-api.md` is made from that. Handles are numbers that are looked up, not addresses; null pointers, wrong
//! sizes and wrong handles give error codes. What cannot be checked is trusted as Microsoft's DLL trusts it: that a
//! pointer that is not null points to as much as its size says, and that memory stays allocated while it is mapped.
//!
//! Clients write guest memory as they like (DMA); decoded code in such memory is compared at every entry.
//!
//! What differs from Microsoft's: unmapping a range that is not (wholly) mapped is `S_OK` (QEMU 11 aborts otherwise);
//! exit contexts may be as short as the first SDK's 144 bytes; null pointers are `E_POINTER`, wrong handles `E_HANDLE`;
//! the guest's TSC runs at 1 GHz.
//!
//! Nothing is unloaded at process exit: a monitor may end with processors inside `WHvRunVirtualProcessor`.
//!
//! Environment: `WHPX_DLL_CPU` is the processor model, as `-cpu` takes it (default `max`); `WHPX_DLL_BEHAVE` is the
//! Windows to behave like (`native`, `windows10`, `windows11`; `whp_soft::Behave` says how they differ; functions that
//! Windows 10 does not have are exported all the same and answer `E_NOTIMPL`); `WHPX_TRACE` names a file for
//! a trace of all calls (`whp-trace`, `whpx trace`).
//!
//! Left out: virtual PCI, messages and events of the client for the SynIC, triggers, migration (`E_NOTIMPL`).
#![allow(unsafe_code)] // a C API: raw pointers from the caller, exported symbols
#![allow(non_snake_case, non_upper_case_globals)] // Microsoft's names

mod absent;
mod export;
mod handle;
mod interrupts;
mod memory;
mod os;
mod partition;
mod pointer;
mod processor;
mod state;

pub use absent::*;
pub use export::{Function, Status};
pub use interrupts::*;
pub use memory::*;
pub use partition::*;
pub use processor::*;
pub use state::*;

/// Every exported function with its status, by name.
pub fn functions() -> Vec<&'static Function> {
    let tables = [partition::TABLE, memory::TABLE, processor::TABLE, state::TABLE, interrupts::TABLE, absent::TABLE];
    let mut all: Vec<_> = tables.into_iter().flatten().collect();
    all.sort_by_key(|f| f.name);
    all
}

/// The functions as a Markdown table.
pub fn functions_as_markdown() -> String {
    whp_abi::export::as_markdown(functions())
}
