//! How a function is exported (see `whp_abi::export`).

pub use whp_abi::export::{Function, Status};

use whp_abi::x64::HRESULT;

pub(crate) use whp_abi::export::Outcome;

/// Turns an outcome, or a panic, into a code.
pub(crate) fn guard(name: &'static str, body: impl FnOnce() -> Outcome) -> HRESULT {
    match whp_abi::export::guarded(body) {
        Ok(()) => 0,
        Err(code) => {
            tracing::debug!(target: "winhvemulation", "{name}: {code}");
            whp_abi::convert::code_of(code)
        }
    }
}
