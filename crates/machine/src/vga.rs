//! The standard VGA, wired: PCI slot 2, legacy ports, the window at 0xA0000.

use std::path::Path;
use std::sync::{Arc, Mutex};

use devices::vga::{VgaDevice, VgaDisplay, WINDOW_BASE, WINDOW_LEN};
use pci::PciBus;
use vm_core::{Backing, Device, Region, Shared};

use crate::MachineError;
use crate::pc::Board;
use crate::plan::Plan;

/// PCI slot of the video card.
const SLOT: u8 = pci::devfn(2, 0);
/// File name of the video card's BIOS.
const BIOS: &str = "vgabios-stdvga.bin";
/// Above RAM, below nothing.
const WINDOW_PRIORITY: i32 = 10;

/// The video card and its screen.
pub(crate) struct Vga {
    #[allow(dead_code)] // for the monitor's `info` commands
    pub(crate) device: Shared<VgaDevice>,
    pub(crate) display: Arc<VgaDisplay>,
}

/// Builds the video card that the plan has, if any.
pub(crate) fn build(
    plan: &Plan,
    board: &Board,
    bus: &PciBus,
    devices: &mut Vec<Arc<Mutex<dyn Device>>>,
) -> Result<Option<Vga>, MachineError> {
    let Some(mib) = plan.vga else { return Ok(None) };
    let (_, bios) = firmware::search::read("-vga std", Path::new(BIOS), &plan.firmware_dirs)?;
    let device = VgaDevice::new(&board.clock, mib, &bios)?;
    bus.add(SLOT, &device, VgaDevice::bars(&device))?;
    VgaDevice::add_ports(&device, &board.ports)?;
    board.space.add(Region {
        name: "vga-window".into(),
        start: WINDOW_BASE,
        len: WINDOW_LEN,
        priority: WINDOW_PRIORITY,
        enabled: true,
        backing: Backing::mmio(&VgaDevice::window(&device)),
    })?;
    devices.push(device.clone());
    let display = VgaDisplay::new(&device);
    Ok(Some(Vga { device, display }))
}
