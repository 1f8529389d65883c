//! The provider over `WinHvPlatform.dll`: Microsoft's, or whatever has its C interface (learn.microsoft.com, "Windows
//! Hypervisor Platform API"; which old systems lack what: qemu-whpx-behaviour.md, sections 2 to 6).
//!
//! Every function is resolved at run time, so that a program with this crate starts where the DLL is absent, and
//! old systems are served with what they have: a method whose function is missing returns `E_NOTIMPL`. Accesses are
//! reported undecoded; the handler given to `run` is not used.
//!
//! Threads: everything may be called from any thread, as the DLL documents. What it wants a processor not to be
//! running for is refused here while one runs.
//!
//! Left out on purpose: virtual PCI, SynIC, VTLs, nested state. On systems other than Windows there is no such
//! platform ([`OpenError::NotWindows`]); a shared library with the same interface can be opened by path for tests.
#![allow(unsafe_code)] // calls into a DLL through function pointers

mod api;
mod check;
mod library;
mod memory;
mod partition;
mod platform;
mod processor;

pub use check::{MINIMUM_BUILD, Unusable, windows_build};
pub use library::OpenError;
pub use platform::{WindowsOptions, WindowsPlatform};
