//! SATA controllers, wired: the south bridge's own and those of `-device ahci`.

use std::sync::{Arc, Mutex};

use devices::ahci::{Ahci, AhciWiring};
use pci::PciBus;
use vm_core::{Device, Shared};

use crate::MachineError;
use crate::drives::Drives;
use crate::pc::{Around, Channel, device};

/// Builds a controller at `devfn` with the drives of `channel`.
pub(crate) fn controller(
    name: &str,
    around: &Around<'_>,
    bus: &PciBus,
    devfn: u8,
    channel: u8,
    drives: &mut Drives,
) -> Result<Shared<Ahci>, MachineError> {
    let wiring = AhciWiring {
        drives: std::array::from_fn(|port| drives.remove(&(channel, port as u8))),
        memory: around.board.space.memory(),
        irq: bus.intx_line(devfn, 0),
        msi: around.msi.clone(),
        multifunction: devfn & 7 != 0,
    };
    let ahci = Ahci::new(name, wiring);
    bus.add(devfn, &ahci, Ahci::bars(&ahci))?;
    Ok(ahci)
}

/// Builds the controllers of `-device ahci`; their channels follow those that are there.
pub(crate) fn controllers(
    around: &Around<'_>,
    bus: &PciBus,
    drives: &mut Drives,
    channels: &mut Vec<Channel>,
    devices: &mut Vec<Arc<Mutex<dyn Device>>>,
) -> Result<(), MachineError> {
    for (n, plan) in around.plan.ahci.iter().enumerate() {
        let devfn = match plan.addr {
            Some((device, function)) => pci::devfn(device, function),
            None => pci::devfn(bus.free_device("ahci", around.plan.free_slot())?, 0),
        };
        let channel = u8::try_from(channels.len()).unwrap_or(u8::MAX);
        let name = plan.id.clone().unwrap_or_else(|| format!("ahci{n}"));
        let ahci = controller(&name, around, bus, devfn, channel, drives)?;
        devices.push(device(&ahci));
        channels.push(Channel { bus: ahci, devfn });
    }
    Ok(())
}
