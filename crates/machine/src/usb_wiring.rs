//! USB, wired: controllers in PCI slots, devices in their ports.

use std::sync::{Arc, Mutex};

use input::InputBus;
use pci::PciBus;
use usb::ehci::{self, Ehci};
use usb::hid::{self, HidKind};
use usb::{Speed, UsbBus, UsbDevice};
use vm_core::{Device, Shared};

use crate::MachineError;
use crate::pc::Board;
use crate::plan::Plan;
use crate::usb_plan::{UsbControllerPlan, UsbDevicePlan};

/// The first PCI slot that devices get by themselves.
const FIRST_SLOT: u8 = 3;

/// Builds what the plan has of USB.
pub(crate) fn build(
    plan: &Plan,
    board: &Board,
    pci: &PciBus,
    input: &Arc<InputBus>,
    devices: &mut Vec<Arc<Mutex<dyn Device>>>,
) -> Result<(), MachineError> {
    let mut buses: Vec<Arc<UsbBus>> = Vec::new();
    // Devices are reset before the controllers, which look at them.
    let mut controllers: Vec<Arc<Mutex<dyn Device>>> = Vec::new();
    let (given, free): (Vec<_>, Vec<_>) = plan.usb.controllers.iter().partition(|c| c.addr.is_some());
    for c in given.into_iter().chain(free) {
        let (device, function) = match c.addr {
            Some(addr) => addr,
            None => (pci.free_device(c.driver, FIRST_SLOT)?, 0),
        };
        controllers.push(controller(c, board, pci, pci::devfn(device, function), &mut buses)?);
    }
    for d in &plan.usb.devices {
        let device = make(d, board, input);
        let bus = buses.iter().find(|b| b.name() == d.bus);
        let error = |source| MachineError::Usb { option: d.typed.clone(), source };
        match (bus, d.port.as_slice()) {
            (Some(bus), [port]) => bus.attach(usize::from(*port), &device).map_err(error)?,
            _ => return Err(MachineError::Config(format!("{}: machine wiring: no such port", d.typed))),
        }
        devices.push(device);
    }
    devices.append(&mut controllers);
    Ok(())
}

fn controller(
    c: &UsbControllerPlan,
    board: &Board,
    pci: &PciBus,
    devfn: u8,
    buses: &mut Vec<Arc<UsbBus>>,
) -> Result<Arc<Mutex<dyn Device>>, MachineError> {
    let bus = UsbBus::new(&c.bus, ehci::PORTS);
    buses.push(bus.clone());
    let wiring = ehci::Wiring {
        clock: board.clock.clone(),
        memory: board.space.memory(),
        irq: pci.intx_line(devfn, 0),
        bus,
        multifunction: c.multifunction,
    };
    let controller = Ehci::new(&format!("{} {}", c.driver, c.bus), wiring);
    pci.add(devfn, &controller, Ehci::bars(&controller))?;
    Ok(controller)
}

fn make(d: &UsbDevicePlan, board: &Board, input: &Arc<InputBus>) -> Shared<UsbDevice> {
    let path = d.port.iter().map(u8::to_string).collect::<Vec<_>>().join(".");
    let name = d.id.clone().unwrap_or_else(|| format!("{} {}/{path}", d.driver, d.bus));
    let most = if d.full_speed { Speed::Full } else { Speed::High };
    let serial = d.serial.clone().unwrap_or_else(|| format!("{}-{path}", d.bus));
    let kind = match d.driver {
        "usb-tablet" => HidKind::Tablet,
        "usb-mouse" => HidKind::Mouse,
        _ => HidKind::Keyboard,
    };
    hid::device(kind, &name, &serial, most, &board.clock, input)
}
