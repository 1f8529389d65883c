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

pub use platform::{TracePartition, TracePlatform};
pub use recorder::{TraceError, TraceOptions, flush_all};
pub use replay::{Difference, ReplayError, ReplayPlatform};

use std::path::PathBuf;

use whp::Platform;

/// Names the file to write: switches tracing on.
pub const TRACE_VARIABLE: &str = "WHPX_TRACE";
/// Set to `1`: buffers are written whole.
pub const FULL_VARIABLE: &str = "WHPX_TRACE_FULL";

/// `platform`, traced when `WHPX_TRACE` names a file (`WHPX_TRACE_FULL=1`: with whole buffers). Takes a `Box<dyn Platform>`
/// or an `Arc<dyn Platform>` as well. Several platforms of one process, and several processes that inherit the variable,
/// have a file each: all but the first get their process's number into its name.
///
/// # Errors
/// When the file cannot be made.
pub fn from_env<P: Platform + 'static>(platform: P) -> Result<Box<dyn Platform>, TraceError> {
    match variables() {
        None => Ok(Box::new(platform)),
        Some((path, options)) => Ok(Box::new(TracePlatform::new(platform, &path, options)?)),
    }
}

/// The traced `platform` when the environment asks for a trace, for callers that want [`TracePlatform::adopt`].
///
/// # Errors
/// When the file cannot be made.
pub fn tracer_from_env<P: Platform>(platform: P) -> Result<Option<TracePlatform<P>>, TraceError> {
    variables().map(|(path, options)| TracePlatform::new(platform, &path, options)).transpose()
}

fn variables() -> Option<(PathBuf, TraceOptions)> {
    let path = std::env::var_os(TRACE_VARIABLE).filter(|path| !path.is_empty())?;
    let full = std::env::var_os(FULL_VARIABLE).is_some_and(|v| v == "1");
    Some((path.into(), TraceOptions { full, keep_existing: true }))
}
