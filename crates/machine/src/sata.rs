//! SATA controllers, wired: the south bridge's own and those of `-device ahci`.

use std::sync::{Arc, Mutex};

use devices::ahci::{Ahci, AhciWiring};
use pci::PciBus;
use vm_core::{Device, MsiSink, Shared};

use crate::MachineError;
use crate::drives::Drives;
use crate::pc::{Around, Board, Channel, device};
use crate::pcie::{Card, Slots};

/// Builds a controller at `devfn` with the drives of `channel`.
pub(crate) fn controller(
    name: &str,
    (board, msi): (&Board, &Arc<dyn MsiSink>),
    bus: &PciBus,
    devfn: u8,
    channel: u8,
    drives: &mut Drives,
) -> Result<Shared<Ahci>, MachineError> {
    let wiring = AhciWiring {
        drives: std::array::from_fn(|port| drives.remove(&(channel, port as u8))),
        memory: board.space.memory(),
        irq: bus.intx_line(devfn, 0),
        msi: msi.clone(),
        multifunction: devfn & 7 != 0,
    };
    let ahci = Ahci::new(name, wiring);
    bus.add(devfn, &ahci, Ahci::bars(&ahci))?;
    Ok(ahci)
}

/// Builds the controllers of `-device ahci`; their channels follow those that are there.
pub(crate) fn controllers(
    around: &Around<'_>,
    bus: &Arc<PciBus>,
    slots: &Slots,
    drives: &mut Drives,
    channels: &mut Vec<Channel>,
    devices: &mut Vec<Arc<Mutex<dyn Device>>>,
) -> Result<(), MachineError> {
    for (n, plan) in around.plan.ahci.iter().enumerate() {
        let name = plan.id.clone().unwrap_or_else(|| format!("ahci{n}"));
        let target = slots.target(&name, &plan.place, around.plan, bus)?;
        let (devfn, place) = (target.devfn, target.place());
        let channel = u8::try_from(channels.len()).unwrap_or(u8::MAX);
        let ahci = controller(&name, (around.board, &around.msi), &target.bus, devfn, channel, drives)?;
        match target.slot {
            None => devices.push(device(&ahci)),
            Some(slot) => {
                let (id, device, channel) = (plan.id.clone(), device(&ahci), Some(channel));
                slot.insert(Card { id, devfn, device, usb_bus: None, channel });
            }
        }
        channels.push(Channel { bus: ahci, place });
    }
    Ok(())
}
