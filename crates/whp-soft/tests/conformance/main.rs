//! What every platform must do: small guest snippets and API calls. The tests take a `&dyn Platform`, so that another
//! provider can be put in `platform()`'s place.

#![allow(unreachable_pub)] // a test binary

mod api;
mod apic;
mod basic;
mod behave;
mod hyperv;
mod hyperv_snippets;
mod locks;
mod memory;
mod snippets;
mod vm;

use std::sync::Arc;

use cpu_x86::model::{CpuSpec, Topology};
use whp_soft::{SoftOptions, SoftPlatform};

/// Whether it hands decoded accesses to a handler.
pub fn decoded() -> bool {
    behave::behaves() == "native"
}

/// The platform under test.
pub fn platform() -> SoftPlatform {
    let spec = CpuSpec::parse("max").unwrap();
    let topology = Topology { sockets: 1, cores: 4, threads: 1 };
    let model = move |index| Arc::new(spec.model(topology, index));
    let behave = behave::behaves().parse().unwrap();
    SoftPlatform::new(SoftOptions { model: Arc::new(model), behave, ..SoftOptions::default() })
}
