//! The chips of the `pc` machine, wired: i440FX host bridge and PIIX3 south bridge.

use std::sync::{Arc, Mutex};

use devices::acpi_pm::{self, AcpiPm, PlacedPorts, Smbus};
use devices::i440fx::I440fx;
use devices::ide::{Ide, IdeWiring};
use devices::piix3::{Piix3Isa, Piix4Pm, PirqRouter, PmPlacement};
use pci::PciBus;
use vm_core::{Device, Shared, lock, shared};

use crate::MachineError;
use crate::boot_order::FunctionPlace;
use crate::drives;
use crate::pc::{Around, Channel, Chips, Placed, PlacedHook, device, tell};
use crate::pcie::Slots;
use crate::sata;

const HOST_BRIDGE: u8 = pci::devfn(0, 0);
const ISA_BRIDGE: u8 = pci::devfn(1, 0);
const IDE: u8 = pci::devfn(1, 1);
const PM: u8 = pci::devfn(1, 3);

/// Builds the chips.
pub(crate) fn build(around: &Around<'_>, devices: &mut Vec<Arc<Mutex<dyn Device>>>) -> Result<Chips, MachineError> {
    let Around { plan, board, isa, .. } = around;
    let (ports, space) = (&board.ports, &board.space);
    let router = PirqRouter::new(std::array::from_fn(|n| isa.line(n as u8, "pirq")));
    let bus = PciBus::new(space.clone(), ports.clone(), router.clone());
    around.mechanism1(&bus, devices)?;
    let host = shared(I440fx::new(board.host_bridge(plan))?);
    bus.add(HOST_BRIDGE, &host, vec![])?;
    let bridge = shared(Piix3Isa::new(router));
    bus.add(ISA_BRIDGE, &bridge, vec![])?;
    devices.extend([device(&host), device(&bridge)]);

    let (mut drives, infos) = drives::open(plan)?;
    let four = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|place| drives.remove(&place));
    let irqs = [isa.line(14, "ide0"), isa.line(15, "ide1")];
    let ide = Ide::new(IdeWiring { drives: four, irqs, memory: space.memory() });
    ide.install(ports, &bus, IDE).map_err(|e| MachineError::Config(format!("machine wiring: {e}")))?;
    devices.push(device(&ide.function));
    devices.extend(ide.channels.iter().map(device));
    let placed = PlacedHook::default();
    let pm = power_management(around, &bus, &placed, devices)?;
    let mut channels: Vec<_> =
        ide.channels.into_iter().map(|c| Channel { bus: c, place: FunctionPlace::root(IDE) }).collect();
    let slots = Slots::default(); // no PCI Express here
    sata::controllers(around, &bus, &slots, &mut drives, &mut channels, devices)?;
    Ok(Chips { pci: bus, pm, drives: infos, channels, slots, placed })
}

fn power_management(
    around: &Around<'_>,
    bus: &PciBus,
    hook: &PlacedHook,
    devices: &mut Vec<Arc<Mutex<dyn Device>>>,
) -> Result<Shared<AcpiPm>, MachineError> {
    let ports = &around.board.ports;
    let pm = AcpiPm::new(&around.board.clock, around.isa.line(9, "sci"), around.requests.clone());
    let smbus = Smbus::new();
    ports.add(acpi_pm::GPE0_BASE, acpi_pm::GPE0_LEN, "acpi-gpe0", true, &AcpiPm::gpe_ports(&pm))?;
    ports.add(acpi_pm::APM_BASE, 2, "apm", true, &AcpiPm::apm_ports(&pm))?;
    let pm_ports = Mutex::new(PlacedPorts::new(ports, "acpi-pm", acpi_pm::PM_LEN, false, &pm));
    let smbus_ports = Mutex::new(PlacedPorts::new(ports, "smbus", acpi_pm::SMBUS_LEN, true, &smbus));
    let hook = hook.clone();
    let place = move |p: PmPlacement| {
        if let Some(base) = p.pm_base {
            tell(&hook, Placed::Pm(base));
        }
        let pm = lock(&pm_ports).place(p.pm_base.unwrap_or(0), p.pm_base.is_some());
        let smbus = lock(&smbus_ports).place(p.smbus_base.unwrap_or(0), p.smbus_base.is_some());
        for error in [pm, smbus].into_iter().filter_map(Result::err) {
            tracing::warn!("power management registers stay unmapped: {error}");
        }
    };
    let function = shared(Piix4Pm::new(Arc::new(place)));
    bus.add(PM, &function, vec![])?;
    devices.extend([device(&pm), device(&smbus), device(&function)]);
    Ok(pm)
}
