//! One file a chip.

pub mod i440fx;
pub mod piix3;
