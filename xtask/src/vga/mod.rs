//! The boot test `vga-modes`: a guest program sets and draws every mode of the BIOS, and every screen is compared, pixel by pixel, with the
//! picture that the specification says (IBM Video Subsystem Technical Reference, chapter "VGA"; VESA BIOS Extension 2.0).
//!
//! Fonts are read from the guest's ROM; palettes, layouts and what the controllers do are computed here, from the book, not by the
//! model's code. `--vmm qemu` runs the same on QEMU, where the cases fail in which its VGA departs from the book.

mod agent;
mod code;
mod graphics;
mod memory;
mod modes;
mod picture;
mod text;
mod vbe;

pub(crate) use agent::Agent;
pub(crate) use code::Code;
pub(crate) use picture::Picture;

use crate::vmm::Vmm;
use anyhow::{Result, bail};

/// What the cases share.
pub(crate) struct Fonts {
    /// Eight by eight.
    f8: Vec<u8>,
    f14: Vec<u8>,
    f16: Vec<u8>,
}

type Case = fn(&mut Agent, &Fonts) -> Result<()>;

/// The boot test; all cases run, the error names those that failed.
pub(crate) fn modes(name: &str, vmm: &Vmm) -> Result<String> {
    let mut agent = Agent::start(name, vmm, &[])?;
    let fonts = Fonts {
        f8: [agent.font(3, 1024)?, agent.font(4, 1024)?].concat(),
        f14: agent.font(2, 14 * 256)?,
        f16: agent.font(6, 16 * 256)?,
    };
    let cases = [text::CASES, modes::CASES, graphics::CASES, memory::CASES, vbe::CASES].concat();
    let mut failed = vec![];
    for (what, case) in &cases {
        if let Err(error) = case(&mut agent, &fonts) {
            failed.push(format!("{what}: {error:#}"));
        }
    }
    if !failed.is_empty() {
        bail!("{} of {} cases failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
    }
    Ok(format!("{} cases, every pixel as in the book", cases.len()))
}
