//! The tests of memory and of system instructions once more, with the translator (`machine::set_tier` knows this program).
#![allow(clippy::duplicate_mod)] // each of the two brings its `machine`

#[path = "memory.rs"]
mod memory;
#[path = "system.rs"]
mod system;
