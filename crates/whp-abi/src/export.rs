//! What the DLLs' exported functions have in common: symbol, a type checked against the generated one, a place in the
//! table of functions, and a wall that no panic crosses.
//!
//! A crate that uses [`export_functions`](crate::export_functions) brings its own
//! `guard(&'static str, impl FnOnce() -> Outcome) -> HRESULT`, which calls [`guarded`].

use std::panic::{AssertUnwindSafe, catch_unwind};

use whp::HResult;

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
pub type Outcome = Result<(), HResult>;

/// The outcome of `body`; a panic is `E_UNEXPECTED`.
///
/// # Errors
/// Those of `body`.
pub fn guarded(body: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(Err(HResult::E_UNEXPECTED))
}

/// Functions as a Markdown table.
pub fn as_markdown<'a>(functions: impl IntoIterator<Item = &'a Function>) -> String {
    let mut out = String::from("| function | status | notes |\n|---|---|---|\n");
    for f in functions {
        let status = match f.status {
            Status::Done => "done",
            Status::Partly => "partly",
            Status::Absent => "`E_NOTIMPL`",
        };
        out += &format!("| `{}` | {status} | {} |\n", f.name, f.note);
    }
    out
}

/// Exports functions and makes `TABLE` of them. `$guard` is called with the name and body of each; `$types` is the module with a type for each; it is written out so that
/// a wrong signature does not compile.
#[macro_export]
macro_rules! export_functions {
    ($guard:ident, $types:ident; $($status:ident $note:literal fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $body:block)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`. ", $note)]
            ///
            /// # Safety
            /// Pointers are null or valid for what Microsoft's documentation of the function says.
            #[unsafe(no_mangle)]
            pub unsafe extern "system" fn $name($($arg: $kind),*) -> $crate::x64::HRESULT {
                $guard(stringify!($name), || $body)
            }
            const _: $types::$name = $name;
        )*
        pub(crate) const TABLE: &[$crate::export::Function] = &[$($crate::export::Function {
            name: stringify!($name),
            status: $crate::export::Status::$status,
            note: $note,
        }),*];
    };
}
