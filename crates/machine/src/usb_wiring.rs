//! USB, wired: controllers in PCI slots, devices in their ports.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex};

use input::InputBus;
use pci::PciBus;
use usb::ehci::{self, Ehci};
use usb::hid::{self, HidKind};
use usb::storage::{self, StorageConfig};
use usb::uhci::{self, Uhci, UhciKind};
use usb::{Host, Speed, UsbBus, UsbDevice, UsbError, hub};
use vm_core::{Device, Shared};

use crate::MachineError;
use crate::drives::{self, DriveInfo};
use crate::pc::Board;
use crate::plan::Plan;
use crate::usb_plan::{UsbControllerPlan, UsbDevicePlan};

/// The first PCI slot that devices get by themselves.
const FIRST_SLOT: u8 = 3;

/// Builds what the plan has of USB. Returns its drives.
pub(crate) fn build(
    plan: &Plan,
    board: &Board,
    pci: &PciBus,
    input: &Arc<InputBus>,
    devices: &mut Vec<Arc<Mutex<dyn Device>>>,
) -> Result<Vec<DriveInfo>, MachineError> {
    let mut buses: Vec<Arc<UsbBus>> = Vec::new();
    // Devices are reset before the controllers, which look at them.
    let mut controllers: Vec<Arc<Mutex<dyn Device>>> = Vec::new();
    for c in &plan.usb.controllers {
        let devfn = slot(c, plan, pci)?;
        controllers.push(controller(c, board, pci, devfn, &mut buses)?);
    }
    let mut drives = Vec::new();
    let mut made: Vec<(&UsbDevicePlan, Shared<UsbDevice>)> = Vec::new();
    // What is behind hubs first, so that a hub finds its children.
    let mut order: Vec<_> = plan.usb.devices.iter().collect();
    order.sort_by_key(|d| Reverse(d.port.len()));
    for d in order {
        let children = made.extract_if(.., |(c, _)| c.bus == d.bus && c.port.starts_with(&d.port)).collect();
        let device = make(d, plan, board, input, children, &mut drives)?;
        devices.push(device.clone());
        made.push((d, device));
    }
    for (d, device) in made {
        let bus = buses.iter().find(|b| b.name() == d.bus);
        match (bus, d.port.as_slice()) {
            (Some(bus), [port]) => bus.attach(usize::from(*port), &device).map_err(|e| error(d, e))?,
            _ => return Err(MachineError::Config(format!("{}: machine wiring: no such port", d.typed))),
        }
    }
    devices.append(&mut controllers);
    Ok(drives)
}

fn error(d: &UsbDevicePlan, source: UsbError) -> MachineError {
    MachineError::Usb { option: d.typed.clone(), source }
}

/// The place of a controller: as given, else the first slot that nobody has or asks for.
fn slot(c: &UsbControllerPlan, plan: &Plan, pci: &PciBus) -> Result<u8, MachineError> {
    if let Some((device, function)) = c.addr {
        return Ok(pci::devfn(device, function));
    }
    let asked = |device: u8| plan.usb.controllers.iter().any(|c| c.addr.is_some_and(|a| a.0 == device));
    let mut device = pci.free_device(c.driver, FIRST_SLOT)?;
    while asked(device) {
        device = pci.free_device(c.driver, device + 1)?;
    }
    Ok(pci::devfn(device, 0))
}

fn controller(
    c: &UsbControllerPlan,
    board: &Board,
    pci: &PciBus,
    devfn: u8,
    buses: &mut Vec<Arc<UsbBus>>,
) -> Result<Arc<Mutex<dyn Device>>, MachineError> {
    let (clock, memory, multifunction) = (board.clock.clone(), board.space.memory(), c.multifunction);
    let name = format!("{} {:02x}.{}", c.driver, devfn >> 3, devfn & 7);
    let ports = if c.driver == "ich9-usb-ehci1" { ehci::PORTS } else { uhci::PORTS };
    let bus = match buses.iter().find(|b| b.name() == c.bus) {
        Some(bus) if c.first_port.is_some() => bus.clone(),
        _ => UsbBus::new(&c.bus, ports),
    };
    if c.first_port.is_none() {
        buses.push(bus.clone());
    }
    let kind = match c.driver {
        "ich9-usb-ehci1" => {
            let host = Host { clock, memory, irq: pci.intx_line(devfn, 0), bus, multifunction };
            let controller = Ehci::new(&name, host);
            pci.add(devfn, &controller, Ehci::bars(&controller))?;
            return Ok(controller);
        }
        "ich9-usb-uhci1" => UhciKind::Ich9(1),
        "ich9-usb-uhci2" => UhciKind::Ich9(2),
        "ich9-usb-uhci3" => UhciKind::Ich9(3),
        _ => UhciKind::Piix3,
    };
    let irq = pci.intx_line(devfn, kind.pin());
    let host = Host { clock, memory, irq, bus, multifunction };
    let controller = Uhci::new(&name, kind, c.first_port, host);
    pci.add(devfn, &controller, Uhci::bars(&controller))?;
    Ok(controller)
}

fn make(
    d: &UsbDevicePlan,
    plan: &Plan,
    board: &Board,
    input: &Arc<InputBus>,
    children: Vec<(&UsbDevicePlan, Shared<UsbDevice>)>,
    drives: &mut Vec<DriveInfo>,
) -> Result<Shared<UsbDevice>, MachineError> {
    let path = d.port.iter().map(u8::to_string).collect::<Vec<_>>().join(".");
    let name = d.id.clone().unwrap_or_else(|| format!("{} {}/{path}", d.driver, d.bus));
    let most = if d.full_speed { Speed::Full } else { Speed::High };
    let serial = d.serial.clone().unwrap_or_else(|| format!("{}-{path}", d.bus));
    let hid = |kind| Ok(hid::device(kind, &name, &serial, most, &board.clock, input));
    match (d.driver, &d.drive) {
        ("usb-tablet", _) => hid(HidKind::Tablet),
        ("usb-mouse", _) => hid(HidKind::Mouse),
        ("usb-kbd", _) => hid(HidKind::Keyboard),
        ("usb-storage", Some(drive)) => {
            let (cache, queue) = drives::open_queue(plan, drive)?;
            let missing = || MachineError::Config(format!("{}: the drive has no image", d.typed));
            let queue = queue.ok_or_else(missing)?;
            drives.push(drives::info(drive, None, cache, Some(&queue)));
            let serial = d.serial.clone().or_else(|| drive.serial.clone()).unwrap_or(serial);
            let (removable, write_cache) = (d.removable, cache.write_cache());
            Ok(storage::device(&name, most, StorageConfig { queue, serial, removable, write_cache }))
        }
        _ => {
            let port = |c: &UsbDevicePlan| c.port.last().map_or(0, |p| usize::from(*p));
            let children = children.into_iter().map(|(c, device)| (port(c), device)).collect();
            hub::device(&name, &serial, most, children).map_err(|e| error(d, e))
        }
    }
}
