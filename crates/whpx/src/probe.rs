//! What can run guests here, and what `-accel whpx` makes of it: `whpx probe`.
//!
//! [`HostFacts`] and what was [`Found`] go in, a [`ProbeReport`] comes out: plain data, so that systems nobody has at hand
//! can be tested. Minimum versions: Windows 10 2004 for x64 (QEMU's documentation of WHPX), Windows 11 24H2 build
//! 26100.3915 for arm64, whose earlier builds have a pre-release API.

mod capabilities;
mod facts;
mod hardware;
mod report;
mod text;

pub use capabilities::{Bank, CapabilityReport, CapabilityValue};
pub use facts::{HostFacts, WindowsVersion};
pub use hardware::Hardware;
pub use report::{Choice, Found, FoundPlatform, ProbeReport, State, Verdict};

pub(crate) use text::text;

use std::sync::Arc;

use cpu_x86::model::{CpuSpec, Topology};
use whp_soft::{SoftOptions, SoftPlatform};

/// The report about this host.
pub fn probe() -> ProbeReport {
    let facts = HostFacts::of_this_host();
    let hardware = Hardware::open();
    ProbeReport::new(&facts, &hardware.found(), &built_in())
}

/// The built-in platform as `-accel whpx` makes it without `-cpu`.
fn built_in() -> SoftPlatform {
    let Ok(spec) = CpuSpec::parse("max") else { return SoftPlatform::default() };
    let model = spec.model(Topology { sockets: 1, cores: 1, threads: 1 }, 0);
    SoftPlatform::new(SoftOptions::new(Arc::new(model)))
}
