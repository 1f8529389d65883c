//! Devices that come and go while the machine runs: the monitor's `device_add` and `device_del`, for USB devices and for PCI
//! devices behind PCI Express root ports.
//!
//! Unplugging a USB device is at once, as pulling a plug is: the guest sees its transfers fail and the port change. A PCI
//! device is asked of the guest ([`crate::pcie`]): `DEVICE_DELETED` says when it is gone. The drive of a storage device stays
//! and can be plugged in again.

use std::sync::Arc;

use block::BlockQueue;
use cli::DeviceSpec;
use vm_core::lock;

use crate::drives::Drives;
use crate::pc::device;
use crate::pcie::{Card, PortSlot};

use crate::plan::known;
use crate::usb_plan::{self, UsbPlanner};
use crate::usb_wiring::{self, Backends, Storage};
use crate::{MachineError, MachineEvent, MachineHandle, NodeError, sata};

/// A USB device as the monitor shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsbInfo {
    /// `id=`.
    pub id: Option<String>,
    /// Driver.
    pub driver: &'static str,
    /// Bus.
    pub bus: String,
    /// Port, or path through hubs.
    pub port: String,
    /// The address that the guest gave it.
    pub address: u8,
    /// Its speed now.
    pub speed: usb::Speed,
    /// Product name.
    pub product: String,
}

/// Controllers that can be plugged in.
const HOT: &[&str] = &["ahci", "nec-usb-xhci", "qemu-xhci"];

/// Everything that was written is on the medium after it.
pub(crate) fn flush(queue: &Arc<BlockQueue>) -> Result<(), String> {
    queue.drain();
    if queue.backend().readonly() {
        return Ok(());
    }
    queue.backend().flush().map_err(|e| format!("{}: flush failed: {e}", queue.name()))
}

impl MachineHandle {
    /// Plugs a device in: `options` as after `-device`.
    ///
    /// # Errors
    /// [`MachineError`]: not a device that can be, the id, the port or the slot is in use, no such bus or drive, ...
    pub fn device_add(&self, options: &str) -> Result<(), MachineError> {
        let plan = self.plan();
        let (driver, spec) = known(&DeviceSpec::parse(options)?, &plan.globals)?;
        let bad = |why: &str| MachineError::Config(format!("{}: {why}", spec.typed));
        if let Some(id) = spec.id.as_ref().filter(|id| self.has_device(id)) {
            return Err(bad(&format!("Duplicate device ID '{id}'")));
        }
        if spec.props.iter().any(|(key, _)| key == "bootindex") {
            return Err(bad("bootindex= is for devices that are there from the start"));
        }
        if HOT.contains(&driver) {
            return self.plug_card(driver, spec);
        }
        if !UsbPlanner::is_device(driver) {
            let why = "only USB devices and, behind a root port, ahci and xHCI controllers can";
            return Err(bad(&format!("Device '{driver}' cannot be hot-plugged; {why}")));
        }
        let mut usb = lock(self.usb());
        let new = usb_plan::unplaced(driver, spec.clone())?;
        let before = usb.ports.clone();
        let placed = usb.ports.place(new)?;
        let storage = |id: &str| self.storage(id);
        let backends = Backends { clock: self.clock(), input: self.input(), storage: &storage };
        // A hub that had to come first stays if the device behind it then cannot be made: it is a device of its own.
        for (made, device) in placed.into_iter().enumerate() {
            if let Err(e) = usb.attach(device, &backends) {
                if made == 0 {
                    usb.ports = before;
                }
                return Err(e);
            }
        }
        Ok(())
    }

    /// Whether some device that can be named has this id.
    fn has_device(&self, id: &str) -> bool {
        let plan = self.plan();
        let on_board = plan.root_ports.iter().map(|p| Some(&p.id)).chain(plan.ahci.iter().map(|a| a.id.as_ref()));
        let on_board = on_board.chain(plan.usb.controllers.iter().map(|c| c.id.as_ref()));
        // Cards of the plan are gone when their slot says so.
        let behind = |id: &str| {
            let ahci = plan.ahci.iter().any(|a| a.id.as_deref() == Some(id) && a.place.port.is_some());
            ahci || plan.usb.controllers.iter().any(|c| c.id.as_deref() == Some(id) && c.place.port.is_some())
        };
        let fixed = on_board.flatten().any(|known| known == id && !behind(known));
        fixed || lock(self.usb()).find(id).is_some() || self.slots().with_card(id).is_some()
    }

    /// Puts a controller into the slot of the root port that it names.
    fn plug_card(&self, driver: &'static str, mut spec: DeviceSpec) -> Result<(), MachineError> {
        let typed = spec.typed.clone();
        let bad = |why: &str| MachineError::Config(format!("{typed}: {why}"));
        let buses = self.plan().pci_buses();
        if driver == "ahci" {
            let place = buses.place(&mut spec)?;
            let slot = self.empty_slot(&typed, place.port.as_deref())?;
            let name = spec.id.clone().unwrap_or_else(|| format!("ahci behind {}", slot.plan.id));
            let wiring = (self.board(), &self.accel().msi());
            // No channel of the plan: there are no drives to put behind it.
            let ahci = sata::controller(&name, wiring, &slot.below, 0, u8::MAX, &mut Drives::new())?;
            slot.insert(Card { id: spec.id, devfn: 0, device: device(&ahci), usb_bus: None, channel: None });
            return Ok(());
        }
        let mut usb = lock(self.usb());
        let before = usb.ports.clone();
        let planned = usb_plan::controller(driver, spec, buses, &mut usb.ports);
        let made = planned.and_then(|(plan, _)| {
            if plan.place.addr.is_some_and(|a| a != (0, 0)) {
                return Err(bad("addr=: function 0 only"));
            }
            let slot = self.empty_slot(&typed, plan.place.port.as_deref())?;
            let made = usb.add_controller(&plan, self.board(), (&slot.below, 0, true), &self.accel().msi())?;
            Ok((slot, usb_wiring::card(&plan, 0, made)))
        });
        match made {
            Ok((slot, card)) => {
                drop(usb);
                slot.insert(card);
                Ok(())
            }
            Err(e) => {
                usb.ports = before;
                Err(e)
            }
        }
    }

    /// The slot of a root port, if something can be put into it.
    fn empty_slot(&self, typed: &str, port: Option<&str>) -> Result<&PortSlot, MachineError> {
        let bad = |why: String| MachineError::Config(format!("{typed}: {why}"));
        let Some(slot) = port.and_then(|id| self.slots().with_id(id)) else {
            let root = self.plan().chipset.root_bus();
            let how = "name a root port: -device pcie-root-port,id=ID on -machine q35, and bus=ID here";
            return Err(bad(format!("Bus '{root}' does not support hotplugging; {how}")));
        };
        if !slot.plan.hot_plug {
            return Err(bad(format!("bus={}: the port has hotplug=off", slot.plan.id)));
        }
        match slot.is_empty() {
            true => Ok(slot),
            false => Err(bad(format!("bus={}: the slot is in use", slot.plan.id))),
        }
    }

    /// Unplugs the device with this id, and what is behind it if it is a hub. What was written to its drive is on
    /// the medium when this returns. A PCI device behind a root port is asked of the guest.
    ///
    /// # Errors
    /// [`MachineError::DeviceNotFound`]; [`MachineError::Config`] for a drive that cannot be flushed (the device is
    /// gone all the same), for a device that cannot be unplugged, and for one that is on its way out.
    pub fn device_del(&self, id: &str) -> Result<(), MachineError> {
        let bad = |why: String| MachineError::Config(format!("device_del {id}: {why}"));
        if let Some(slot) = self.slots().with_card(id) {
            if !slot.plan.hot_plug {
                return Err(bad(format!("the port {} has hotplug=off", slot.plan.id)));
            }
            return slot.request_unplug().map_err(|e| bad(e.to_string()));
        }
        let gone = lock(self.usb()).detach(id);
        if gone.is_empty() {
            return match self.has_device(id) {
                true => Err(bad(format!("Bus '{}' does not support hotplugging", self.plan().chipset.root_bus()))),
                false => Err(MachineError::DeviceNotFound(id.into())),
            };
        }
        for device in &gone {
            self.events().emit(&MachineEvent::DeviceDeleted { id: device.plan.id.clone() });
        }
        gone.iter().filter_map(|a| a.queue.as_ref()).try_for_each(flush).map_err(bad)
    }

    /// The drive or block node with this name.
    fn storage(&self, id: &str) -> Result<Storage, String> {
        usb_wiring::drive(self.drives(), id).unwrap_or_else(|| match self.take_node(id) {
            Ok((cache, queue)) => Ok(Storage { queue, cache, serial: None }),
            Err(NodeError::NotFound(_)) => {
                Err("no drive or block node with this name; give -drive if=none or -blockdev, or blockdev-add it"
                    .into())
            }
            Err(e) => Err(e.to_string()),
        })
    }

    /// The USB devices, by bus and port.
    pub fn usb_devices(&self) -> Vec<UsbInfo> {
        let usb = lock(self.usb());
        let info = |a: &crate::usb_wiring::Attached| {
            let device = lock(&a.device);
            UsbInfo {
                id: a.plan.id.clone(),
                driver: a.plan.driver,
                bus: a.plan.bus.clone(),
                port: usb_plan::path(&a.plan.port),
                address: device.address(),
                speed: device.speed(),
                product: device.product().into(),
            }
        };
        let mut list: Vec<UsbInfo> = usb.devices().map(info).collect();
        list.sort_by(|a, b| (&a.bus, &a.port).cmp(&(&b.bus, &b.port)));
        list
    }
}
