//! USB, wired: controllers in PCI slots, devices in their ports.

use std::sync::{Arc, Mutex};

use block::{BlockQueue, CacheMode};
use input::InputBus;
use pci::PciBus;
use usb::ehci::{self, Ehci};
use usb::hid::{self, HidKind};
use usb::hub::{self, HubPorts};
use usb::storage::{self, StorageConfig};
use usb::uhci::{self, Uhci, UhciKind};
use usb::xhci::{self, Xhci};
use usb::{Host, UsbBus, UsbDevice, UsbError};
use vm_core::{Clock, Device, MsiSink, Shared};

use crate::MachineError;
use crate::boot_order::HostPlace;
use crate::drives::DriveInfo;
use crate::pc::{Board, device as erased};
use crate::pcie::{Card, Slots};
use crate::plan::Plan;
use crate::usb_plan::{UsbControllerPlan, UsbDevicePlan, UsbPorts, path};

/// A device in its port.
pub(crate) struct Attached {
    pub(crate) plan: UsbDevicePlan,
    pub(crate) device: Shared<UsbDevice>,
    /// The ports of a hub.
    hub: Option<Arc<HubPorts>>,
    /// What a storage device submits to.
    pub(crate) queue: Option<Arc<BlockQueue>>,
}

/// A drive that a storage device may have.
pub(crate) struct Storage {
    pub(crate) queue: Arc<BlockQueue>,
    pub(crate) cache: CacheMode,
    pub(crate) serial: Option<String>,
}

/// What a device may need.
pub(crate) struct Backends<'a> {
    pub(crate) clock: &'a Clock,
    pub(crate) input: &'a Arc<InputBus>,
    /// A drive by its id, and why there is none.
    pub(crate) storage: &'a dyn Fn(&str) -> Result<Storage, String>,
}

/// The drive with an id if it is free to be a storage device's: not on IDE, with an image. `None`: no such drive.
pub(crate) fn drive(drives: &[DriveInfo], id: &str) -> Option<Result<Storage, String>> {
    let drive = drives.iter().find(|i| i.id == id)?;
    if drive.ide.is_some() {
        return Some(Err("another device uses it".into()));
    }
    let (cache, serial) = (drive.cache, drive.serial.clone());
    Some(drive.medium().queue.map(|queue| Storage { queue, cache, serial }).ok_or_else(|| "it has no image".into()))
}

/// The buses and what is plugged in.
pub(crate) struct Usb {
    pub(crate) ports: UsbPorts,
    buses: Vec<Arc<UsbBus>>,
    attached: Vec<Attached>,
    /// The controllers that were there from the start, for firmware.
    pub(crate) hosts: Vec<HostPlace>,
}

/// Builds what the plan has of USB.
pub(crate) fn build(
    plan: &Plan,
    board: &Board,
    (pci, slots): (&Arc<PciBus>, &Slots),
    msi: &Arc<dyn MsiSink>,
    backends: &Backends<'_>,
    devices: &mut Vec<Arc<Mutex<dyn Device>>>,
) -> Result<Usb, MachineError> {
    let mut usb = Usb { ports: plan.usb.ports.clone(), buses: Vec::new(), attached: Vec::new(), hosts: Vec::new() };
    for c in &plan.usb.controllers {
        let target = slots.target(c.driver, &c.place, plan, pci)?;
        let made = usb.add_controller(c, board, (&target.bus, target.devfn, target.slot.is_some()), msi)?;
        usb.hosts.push(HostPlace { bus: c.bus.clone(), first_port: c.first_port, place: target.place() });
        match target.slot {
            None => devices.push(made),
            Some(slot) => slot.insert(card(c, target.devfn, made)),
        }
    }
    for d in &plan.usb.devices {
        usb.attach(d.clone(), backends)?;
    }
    Ok(usb)
}

fn error(d: &UsbDevicePlan, source: UsbError) -> MachineError {
    MachineError::Usb { option: d.typed.clone(), source }
}

impl Usb {
    /// Makes a controller and its bus; see `controller` for `pci`.
    pub(crate) fn add_controller(
        &mut self,
        c: &UsbControllerPlan,
        board: &Board,
        pci: (&PciBus, u8, bool),
        msi: &Arc<dyn MsiSink>,
    ) -> Result<Arc<Mutex<dyn Device>>, MachineError> {
        controller(c, board, pci, msi, &mut self.buses)
    }

    /// A controller is gone: its bus, and all that was plugged in there, those behind hubs first.
    pub(crate) fn remove_bus(&mut self, name: &str) -> Vec<Attached> {
        let mut gone: Vec<Attached> = self.attached.extract_if(.., |a| a.plan.bus == name).collect();
        gone.sort_by_key(|a| std::cmp::Reverse(a.plan.port.len()));
        self.buses.retain(|b| b.name() != name);
        self.ports.remove_bus(name);
        gone
    }

    /// The devices, for reset: before the controllers, which look at them.
    pub(crate) fn devices(&self) -> impl Iterator<Item = &Attached> {
        self.attached.iter()
    }

    /// The device with an id.
    pub(crate) fn find(&self, id: &str) -> Option<&Attached> {
        self.attached.iter().find(|a| a.plan.id.as_deref() == Some(id))
    }

    fn hub(&self, bus: &str, port: &[u8]) -> Option<&Arc<HubPorts>> {
        self.attached.iter().find(|a| a.plan.bus == bus && a.plan.port == port)?.hub.as_ref()
    }

    /// Makes a device and plugs it into the port that its plan names.
    pub(crate) fn attach(&mut self, plan: UsbDevicePlan, backends: &Backends<'_>) -> Result<(), MachineError> {
        if let Some(drive) =
            plan.drive.as_ref().filter(|d| self.attached.iter().any(|a| a.plan.drive.as_ref() == Some(d)))
        {
            return Err(MachineError::Config(format!("{}: drive={drive}: another device uses it", plan.typed)));
        }
        let Made { device, hub, queue } = make(&plan, backends)?;
        let wiring = || MachineError::Config(format!("{}: machine wiring: no such port", plan.typed));
        match plan.port.split_last() {
            Some((port, [])) => {
                let bus = self.buses.iter().find(|b| b.name() == plan.bus).ok_or_else(wiring)?;
                bus.attach((*port).into(), &device).map_err(|e| error(&plan, e))?;
            }
            Some((port, parent)) => {
                let ports = self.hub(&plan.bus, parent).ok_or_else(wiring)?;
                ports.attach((*port).into(), &device).map_err(|e| error(&plan, e))?;
            }
            None => return Err(wiring()),
        }
        self.attached.push(Attached { plan, device, hub, queue });
        Ok(())
    }

    /// Unplugs a device and, for a hub, what is behind it. Returns them, those behind first.
    pub(crate) fn detach(&mut self, id: &str) -> Vec<Attached> {
        let Some((bus, port)) = self.find(id).map(|a| (a.plan.bus.clone(), a.plan.port.clone())) else {
            return Vec::new();
        };
        let behind = |a: &mut Attached| a.plan.bus == bus && a.plan.port.starts_with(&port);
        let mut gone: Vec<Attached> = self.attached.extract_if(.., behind).collect();
        gone.sort_by_key(|a| std::cmp::Reverse(a.plan.port.len()));
        for a in &gone {
            match a.plan.port.split_last() {
                Some((port, [])) => {
                    let bus = self.buses.iter().find(|b| b.name() == a.plan.bus);
                    bus.and_then(|b| b.detach((*port).into()));
                }
                Some((port, parent)) => {
                    let with_hub = |h: &&Attached| h.plan.bus == a.plan.bus && h.plan.port == parent;
                    let hub = gone.iter().find(with_hub).and_then(|h| h.hub.as_ref());
                    hub.or_else(|| self.hub(&a.plan.bus, parent)).and_then(|h| h.detach((*port).into()));
                }
                None => {}
            }
            self.ports.release(&a.plan);
        }
        gone
    }
}

/// A controller as a card.
pub(crate) fn card(c: &UsbControllerPlan, devfn: u8, device: Arc<Mutex<dyn Device>>) -> Card {
    let usb_bus = c.first_port.is_none().then(|| c.bus.clone());
    Card { id: c.id.clone(), devfn, device, usb_bus, channel: None }
}

/// `pci` is the bus, the place there, and whether it is behind a PCI Express port.
fn controller(
    c: &UsbControllerPlan,
    board: &Board,
    (pci, devfn, express): (&PciBus, u8, bool),
    msi: &Arc<dyn MsiSink>,
    buses: &mut Vec<Arc<UsbBus>>,
) -> Result<Arc<Mutex<dyn Device>>, MachineError> {
    let (clock, memory, multifunction) = (board.clock.clone(), board.space.memory(), c.multifunction);
    let place = || format!("{} {:02x}.{}", c.driver, devfn >> 3, devfn & 7);
    let name = c.id.clone().unwrap_or_else(place);
    let ports = match (c.xhci, c.driver) {
        (Some(x), _) => x.ports.0,
        (None, "ich9-usb-ehci1") => ehci::PORTS,
        _ => uhci::PORTS,
    };
    let bus = match buses.iter().find(|b| b.name() == c.bus) {
        Some(bus) if c.first_port.is_some() => bus.clone(),
        _ => UsbBus::new(&c.bus, ports),
    };
    if c.first_port.is_none() {
        buses.push(bus.clone());
    }
    if let Some(x) = c.xhci {
        let (ports2, ports3) = x.ports;
        let (sink, msi, msix) = (msi.clone(), x.msi, x.msix);
        let options = xhci::Options { kind: x.kind, ports2, ports3, msi, msix, express, sink };
        let controller =
            Xhci::new(&name, options, Host { clock, memory, irq: pci.intx_line(devfn, 0), bus, multifunction });
        pci.add(devfn, &controller, Xhci::bars(&controller))?;
        return Ok(erased(&controller));
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

struct Made {
    device: Shared<UsbDevice>,
    hub: Option<Arc<HubPorts>>,
    queue: Option<Arc<BlockQueue>>,
}

fn make(d: &UsbDevicePlan, backends: &Backends<'_>) -> Result<Made, MachineError> {
    let path = path(&d.port);
    let name = d.id.clone().unwrap_or_else(|| format!("{} {}/{path}", d.driver, d.bus));
    let serial = d.serial.clone().unwrap_or_else(|| format!("{}-{path}", d.bus));
    let kind = match (d.driver, &d.drive) {
        ("usb-tablet", _) => HidKind::Tablet,
        ("usb-mouse", _) => HidKind::Mouse,
        ("usb-kbd", _) => HidKind::Keyboard,
        ("usb-storage", Some(id)) => {
            let bad = |why| MachineError::Config(format!("{}: drive={id}: {why}", d.typed));
            let found = (backends.storage)(id).map_err(bad)?;
            let queue = found.queue;
            let config = StorageConfig {
                queue: queue.clone(),
                serial: d.serial.clone().or(found.serial).unwrap_or(serial),
                removable: d.removable,
                write_cache: found.cache.write_cache(),
            };
            return Ok(Made { device: storage::device(&name, d.most, config), hub: None, queue: Some(queue) });
        }
        _ => {
            let (device, ports) = hub::device(&name, &serial, d.most);
            return Ok(Made { device, hub: Some(ports), queue: None });
        }
    };
    let device = hid::device(kind, &name, &serial, d.most, backends.clock, backends.input);
    Ok(Made { device, hub: None, queue: None })
}
