//! How a function is exported (see `whp_abi::export`), and what is said of the calls that fail.

pub use whp_abi::export::{Function, Status};

use whp::HResult;
use whp_abi::x64::HRESULT;

use crate::handle;

pub(crate) use whp_abi::export::Outcome;

/// Turns an outcome, or a panic, into a code.
pub(crate) fn guard(name: &'static str, body: impl FnOnce() -> Outcome) -> HRESULT {
    let guarded = || whp_abi::export::guarded(body);
    let outcome = match handle::open_tracer() {
        None => guarded(),
        Some(tracer) => {
            tracer.refusals(name, || guarded().map_err(|code| whp::Error::new(code, name, ""))).map_err(|e| e.code)
        }
    };
    match outcome {
        Ok(()) => 0,
        Err(code) => {
            tracing::debug!(target: "winhvplatform", "{name}: {code}");
            whp_abi::convert::code_of(code)
        }
    }
}

/// The code of a platform's error; the words go to the log.
pub(crate) fn code(error: whp::Error) -> HResult {
    tracing::debug!(target: "winhvplatform", "{error}");
    error.code
}

macro_rules! exports {
    ($($all:tt)*) => {
        use $crate::export::guard as dll_guard;
        use whp_abi::x64::functions as dll_functions;
        whp_abi::export_functions! { dll_guard, dll_functions; $($all)* }
    };
}
pub(crate) use exports;
