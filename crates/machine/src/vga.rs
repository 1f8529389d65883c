//! Screens, wired: the standard VGA (legacy ports, the window at 0xA0000), `bochs-display` in its place, `ramfb`.

use std::path::Path;
use std::sync::{Arc, Mutex};

use devices::fw_cfg::FwCfg;
use devices::ramfb::{self, RamFb};
use devices::vga::{VgaDevice, VgaDisplay, VgaModel, WINDOW_BASE, WINDOW_LEN};
use display::DisplaySource;
use firmware::FwCfgItems;
use pci::PciBus;
use vm_core::{Backing, Device, Region, Shared, lock};

use crate::MachineError;
use crate::pc::Board;
use crate::plan::Plan;

/// File name of the video card's BIOS.
const BIOS: &str = "vgabios-stdvga.bin";
const BOCHS_BIOS: &str = "vgabios-bochs-display.bin";
const RAMFB_BIOS: &str = "vgabios-ramfb.bin";
/// Above RAM, below nothing.
const WINDOW_PRIORITY: i32 = 10;

/// The video card and its screen.
pub(crate) struct Vga {
    pub(crate) display: Arc<VgaDisplay>,
}

/// Builds the video card that the plan has, if any.
pub(crate) fn build(
    plan: &Plan,
    board: &Board,
    bus: &PciBus,
    devices: &mut Vec<Arc<Mutex<dyn Device>>>,
) -> Result<Option<Vga>, MachineError> {
    let (model, mib, option, bios) = match (plan.vga, plan.bochs_display) {
        (Some(mib), _) => (VgaModel::Standard, mib, "-vga std", BIOS),
        (None, Some(mib)) => (VgaModel::BochsDisplay, mib, "-device bochs-display", BOCHS_BIOS),
        (None, None) => return Ok(None),
    };
    let (_, bios) = firmware::search::read(option, Path::new(bios), &plan.firmware_dirs)?;
    let device = VgaDevice::with_model(model, &board.clock, mib, &bios)?;
    bus.add(pci::devfn(plan.chipset.video_slot(), 0), &device, VgaDevice::bars(&device))?;
    if model == VgaModel::Standard {
        VgaDevice::add_ports(&device, &board.ports)?;
        board.space.add(Region {
            name: "vga-window".into(),
            start: WINDOW_BASE,
            len: WINDOW_LEN,
            priority: WINDOW_PRIORITY,
            enabled: true,
            backing: Backing::mmio(&VgaDevice::window(&device)),
        })?;
    }
    devices.push(device.clone());
    let display = VgaDisplay::new(&device);
    Ok(Some(Vga { display }))
}

/// Puts the files of `ramfb` into `items`, when the plan has it; the BIOS shows text on it.
pub(crate) fn ramfb_items(plan: &Plan, items: &mut FwCfgItems) -> Result<(), MachineError> {
    if plan.ramfb {
        let (_, bios) = firmware::search::read("-device ramfb", Path::new(RAMFB_BIOS), &plan.firmware_dirs)?;
        items.add_file(&format!("vgaroms/{RAMFB_BIOS}"), bios);
        items.add_file(ramfb::FILE, vec![0; ramfb::FILE_LEN]);
    }
    Ok(())
}

/// The screen: `ramfb` while the guest uses it, the video card's otherwise.
pub(crate) fn screen(
    plan: &Plan,
    fw_cfg: &Shared<FwCfg>,
    board: &Board,
    vga: Option<&Vga>,
) -> Option<Arc<dyn DisplaySource>> {
    let card = vga.map(|v| v.display.clone() as Arc<dyn DisplaySource>);
    if !plan.ramfb {
        return card;
    }
    let screen = RamFb::new(board.space.memory(), card);
    let for_device = screen.clone();
    let mut device = lock(fw_cfg);
    let mut key = None;
    device.edit(|items| key = items.file_key(ramfb::FILE));
    if let Some(key) = key {
        device.make_writable(key, Arc::new(move |file: &[u8]| for_device.configure(file)));
    }
    Some(screen)
}
