//! The video card in its slot. (The card itself is being written; until it is there, machines have none.)

use std::sync::{Arc, Mutex};

use pci::PciBus;
use vm_core::Device;

use crate::MachineError;
use crate::pc::Board;
use crate::plan::Plan;

/// The video card as the machine keeps it.
pub(crate) struct Vga {}

pub(crate) fn build(
    _plan: &Plan,
    _board: &Board,
    _bus: &PciBus,
    _devices: &mut Vec<Arc<Mutex<dyn Device>>>,
) -> Result<Option<Vga>, MachineError> {
    Ok(None)
}
