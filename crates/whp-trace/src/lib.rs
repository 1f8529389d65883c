//! A trace of everything that is asked of a [`whp::Platform`]: recorded, shown, replayed.
//!
//! - [`TracePlatform`] wraps a platform and writes each call with its arguments, result and duration to a file, one
//!   JSON object a line ([`record`] has the format). [`from_env`] does so when the environment says `WHPX_TRACE=FILE`.
//! - [`view`] prints a file, filtered, or as counts and times.
//! - [`ReplayPlatform`] answers from a file, so that what a client did on somebody's machine can be repeated as a test
//!   without that machine; what the client does differently is reported.
//!
//! Guest memory is never in a trace, save for the instruction bytes of exits. Registers, and what goes through ports and
//! device windows, are. Buffers above 64 bytes (XSAVE areas, APIC pages, dirty bitmaps) are length and hash, unless a
//! full trace is asked for. Left out on purpose: what a guest did to its memory, so a client that reads guest memory sees
//! only its own writes when replayed; the order of events between processors, which no two runs share.

mod platform;
pub mod record;
mod recorder;
mod replay;
pub mod view;

pub use platform::TracePlatform;
pub use recorder::{TraceError, TraceOptions, flush_all};
pub use replay::{Difference, ReplayError, ReplayPlatform};

use whp::Platform;

/// Names the file to write: switches tracing on.
pub const TRACE_VARIABLE: &str = "WHPX_TRACE";
/// Set to `1`: buffers are written whole.
pub const FULL_VARIABLE: &str = "WHPX_TRACE_FULL";

/// `platform`, traced when `WHPX_TRACE` names a file (`WHPX_TRACE_FULL=1`: with whole buffers). Takes a `Box<dyn Platform>`
/// or an `Arc<dyn Platform>`. Several platforms of one process, and several processes that inherit the variable, have a
/// file each: the second gets its process's number and a count into its name.
///
/// # Errors
/// When the file cannot be made.
pub fn from_env<P: Platform + 'static>(platform: P) -> Result<Box<dyn Platform>, TraceError> {
    match std::env::var_os(TRACE_VARIABLE).filter(|path| !path.is_empty()) {
        None => Ok(Box::new(platform)),
        Some(path) => {
            let full = std::env::var_os(FULL_VARIABLE).is_some_and(|v| v == "1");
            let options = TraceOptions { full, keep_existing: true };
            Ok(Box::new(TracePlatform::new(platform, path.as_ref(), options)?))
        }
    }
}
