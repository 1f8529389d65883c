//! The platforms' conformance suite (`whp-soft/tests/conformance`) through the C interface of our own library, which
//! stands in for Microsoft's.
#![allow(unreachable_pub)] // a test binary

#[path = "../../../whp-soft/tests/conformance/api.rs"]
mod api;
#[path = "../../../whp-soft/tests/conformance/apic.rs"]
mod apic;
#[path = "../../../whp-soft/tests/conformance/basic.rs"]
mod basic;
#[path = "../../../whp-soft/tests/conformance/behave.rs"]
mod behave;
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

use whp_windows::WindowsPlatform;

/// Microsoft's platform does not decode accesses, and the C interface has no handlers.
pub fn decoded() -> bool {
    false
}

/// The platform under test.
pub fn platform() -> WindowsPlatform {
    let name = format!("{}winhvplatform{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let program = std::env::current_exe().unwrap();
    WindowsPlatform::open_library(&program.with_file_name(name)).unwrap()
}
