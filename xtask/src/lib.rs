//! Developer commands of the whpx workspace as a library: guest images, a driver for monitors under test, the boot matrix, the benchmark.
//! The program `xtask` (`cargo xtask ...`) is a thin shell around it; other crates' tests may use [`paths::asset`] to find guests.

pub mod apt;
pub mod bench;
pub mod boot;
pub mod channel;
pub mod demo;
pub mod docs;
pub mod fuzz;
pub mod image;
pub mod known_issues;
pub mod paths;
mod pf2;
mod qmp;
pub mod run;
pub mod screen;
pub mod suite;
mod vga;
pub mod vmm;
mod vnc;
pub mod windows;
pub mod wine;
mod xvfb;
