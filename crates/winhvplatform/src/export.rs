//! How a function is exported: its symbol, its type checked against the generated one, its status in the table, and
//! a wall that no panic crosses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use whp::HResult;
use whp_abi::x64::HRESULT;

/// How much of a function there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As Microsoft documents it.
    Done,
    /// With the limits that the note names.
    Partly,
    /// Returns `E_NOTIMPL`.
    Absent,
}

/// An exported function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Microsoft's name.
    pub name: &'static str,
    /// How much of it there is.
    pub status: Status,
    /// What a user should know.
    pub note: &'static str,
}

/// What the body of an exported function returns.
pub(crate) type Outcome = Result<(), HResult>;

/// Turns an outcome, or a panic, into a code.
pub(crate) fn guard(name: &'static str, body: impl FnOnce() -> Outcome) -> HRESULT {
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or(Err(HResult::E_UNEXPECTED));
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
    ($($status:ident $note:literal fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $body:block)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`. ", $note)]
            ///
            /// # Safety
            /// Pointers are null or valid for what Microsoft's documentation of the function says.
            #[unsafe(no_mangle)]
            pub unsafe extern "system" fn $name($($arg: $kind),*) -> whp_abi::x64::HRESULT {
                $crate::export::guard(stringify!($name), || $body)
            }
            const _: whp_abi::x64::functions::$name = $name;
        )*
        pub(crate) const TABLE: &[$crate::export::Function] = &[$($crate::export::Function {
            name: stringify!($name),
            status: $crate::export::Status::$status,
            note: $note,
        }),*];
    };
}
pub(crate) use exports;
