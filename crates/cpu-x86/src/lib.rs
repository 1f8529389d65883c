//! An x86-64 processor in software.
//!
//! [`Processor`] is a whole CPU: registers, MMU with a software TLB, decoded-block cache, every instruction family,
//! exceptions and interrupts, CPUID models. It knows registers and memory only; everything outside (guest-physical
//! pages, devices, ports, the local APIC, time) comes through the [`Bus`] trait.
//!
//! How an instruction runs: `iced-x86` decodes it once; each family module turns it into an [`op::Op`] (a handler
//! function and its operands); ops up to the next branch or page end form a block; the block cache finds the block
//! of an address and CPU mode; `run` calls handler after handler. A handler returns `Err(Abort)` when the
//! instruction did not complete; what happened is in `Cpu::abort`, and no architectural state but what the manual
//! says (REP progress) has changed.
#![allow(unsafe_code)] // guest memory through host pointers, and instructions run on the host's SIMD unit

#[cfg(test)]
extern crate self as cpu_x86; // `test_bus` is a part of the integration tests too

mod atomic;
mod block;
pub mod bus;
mod cache;
pub mod clock;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod code_memory;
pub mod decode;
pub mod fault;
pub mod features;
pub mod flags;
pub mod fpu;
mod int;
pub mod jit;
mod large;
pub mod mem;
pub mod model;
pub mod op;
mod processor;
pub mod simd;
mod slow;
pub mod span;
pub mod state;
mod sys;
#[cfg(test)]
#[path = "../tests/machine/bus.rs"]
mod test_bus;
mod tlb;
#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod views;
pub mod walk;

pub use bus::{Bus, CpuidAction, MsrAction, PhysPage, Untranslated};
pub use fault::Stop;
pub use fault::{Abort, AbortKind, Exception, Exec};
pub use jit::{JitStatistics, SharedJitStatistics, Tier};
pub use processor::{Emulated, Processor};
pub use state::{Cpu, Mode, Seg, SegReg};
pub use sys::{InterruptKind, ResetKind};
