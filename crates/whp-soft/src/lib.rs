//! The built-in platform: the Windows Hypervisor Platform API (`whp`) on a processor in software (`cpu-x86`).
//!
//! A partition has a guest-physical map, partition time, and virtual processors that run on their callers' threads.
//! With the local APIC in the platform (`LocalApicEmulationMode`), interrupts, IPIs, timers, HLT and the start of
//! application processors are all served inside `run`; without, HLT exits and the client injects.
//!
//! The Hyper-V enlightenments that the client switches on are in `hyperv`. Left out: nested virtualisation, SMM (SMIs are
//! dropped), RDTSC exits, APIC write traps. What is left out is not in the capabilities.

mod apic;
mod behave;
mod client;
mod config;
mod gate;
mod hyperv;
mod map;
mod options;
mod partition;
mod platform;
mod shared;
mod time;
mod timers;
mod vp;

pub use behave::{Behave, UnknownBehaviour};
pub use client::{DoorbellAction, DoorbellMatch};
pub use hyperv::SynicState;
pub use options::SoftOptions;
pub use partition::SoftPartition;
pub use platform::SoftPlatform;
