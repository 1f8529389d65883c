//! One file a chip.

pub mod i440fx;
pub mod ide;
pub mod piix3;
