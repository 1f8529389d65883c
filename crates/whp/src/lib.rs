//! The Windows Hypervisor Platform API as Rust types and traits.
