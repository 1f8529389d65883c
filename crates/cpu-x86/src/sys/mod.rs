//! The system instructions: segments, far control transfer, interrupts, task switches, control registers, MSRs, CPUID
//! (Intel SDM volumes 2 and 3).
//!
//! Left out, and in no CPU model: system-management mode, VMX and SVM, CET, 5-level paging, protection keys.

mod control;
mod descriptor;
mod far;
mod fast;
mod flagins;
mod interrupt;
mod iret;
mod misc;
mod mode;
mod msr;
mod reset;
mod segins;
mod segment;
mod stack;
mod table;
mod task;

pub(crate) use table::decode;

pub use interrupt::InterruptKind;
pub use reset::ResetKind;
