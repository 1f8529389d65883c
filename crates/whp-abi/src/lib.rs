//! The C types of the Windows Hypervisor Platform API (`winhvplatformdefs.h`, `winhvplatform.h`, `winhvemulation.h`),
//! for both guest architectures on every host: [`x64`] and [`arm64`], generated from Microsoft's Windows metadata
//! (see `generator/`), and what the metadata lacks ([`emulation`]) by hand. Names are Microsoft's; an anonymous union
//! or struct `n` of a type `T` is `T_n`, a group of bit fields is `_bitfield`.
//!
//! Functions are types (`x64::functions::WHvGetCapability`) for whoever loads the DLL, or is one. Conversions
//! between the C types and `whp`'s are in [`convert`].
//!
//! Left out: linking to Microsoft's DLL, which would keep a program from starting where it is absent.
#![allow(unsafe_code)] // unions: reading a view of plain old data, and zeroed values

pub mod convert;
pub mod emulation;
pub mod export;

/// The types as they are for x64 guests (and hosts, on Microsoft's platform).
#[allow(missing_docs, non_camel_case_types, non_snake_case, non_upper_case_globals, clippy::all)]
#[allow(clippy::undocumented_unsafe_blocks)]
pub mod x64 {
    mod generated;
    pub use generated::*;
}

/// The types as they are for arm64.
#[allow(missing_docs, non_camel_case_types, non_snake_case, non_upper_case_globals, clippy::all)]
#[allow(clippy::undocumented_unsafe_blocks)]
pub mod arm64 {
    mod generated;
    pub use generated::*;
}
