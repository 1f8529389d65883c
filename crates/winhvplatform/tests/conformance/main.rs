//! The conformance suite of `whp-soft`, the very same files, through the C functions of this library.

#![allow(unreachable_pub)] // a test binary
#![allow(unsafe_code)] // calls a C API

#[path = "../../../whp-soft/tests/conformance/api.rs"]
mod api;
#[path = "../../../whp-soft/tests/conformance/apic.rs"]
mod apic;
#[path = "../../../whp-soft/tests/conformance/basic.rs"]
mod basic;
#[path = "../../../whp-soft/tests/conformance/behave.rs"]
mod behave;
mod client;
mod emulate;
#[path = "../../../whp-soft/tests/conformance/hyperv.rs"]
mod hyperv;
#[path = "../../../whp-soft/tests/conformance/hyperv_snippets.rs"]
mod hyperv_snippets;
#[path = "../../../whp-soft/tests/conformance/memory.rs"]
mod memory;
#[path = "../../../whp-soft/tests/conformance/snippets.rs"]
mod snippets;
#[path = "../../../whp-soft/tests/conformance/vm.rs"]
mod vm;

/// The client completes accesses for the handler, so all tests of decoded accesses apply.
pub fn decoded() -> bool {
    true
}

/// The platform under test: a client of the C API.
pub fn platform() -> client::ClientPlatform {
    client::ClientPlatform
}
