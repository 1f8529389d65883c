//! Devices that come and go while the machine runs: the monitor's `device_add` and `device_del`, for USB devices.
//!
//! Unplugging is at once, as pulling a plug is: the guest sees its transfers fail and the port change. The drive of a
//! storage device stays and can be plugged in again.

use cli::DeviceSpec;
use vm_core::lock;

use crate::plan::known;
use crate::usb_plan::{self, UsbPlanner};
use crate::usb_wiring::{self, Backends, Storage};
use crate::{MachineError, MachineEvent, MachineHandle, NodeError};

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

impl MachineHandle {
    /// Plugs a device in: `options` as after `-device`.
    ///
    /// # Errors
    /// [`MachineError`]: not a USB device, the id or the port is in use, no such bus or drive, ...
    pub fn device_add(&self, options: &str) -> Result<(), MachineError> {
        let plan = self.plan();
        let (driver, spec) = known(&DeviceSpec::parse(options)?, &plan.globals)?;
        let bad = |why: &str| MachineError::Config(format!("{}: {why}", spec.typed));
        if !UsbPlanner::is_device(driver) {
            return Err(bad(&format!("Device '{driver}' cannot be hot-plugged; only USB devices can")));
        }
        let mut usb = lock(self.usb());
        let new = usb_plan::unplaced(driver, spec.clone())?;
        if let Some(id) = new.device.id.as_ref().filter(|id| usb.find(id).is_some()) {
            return Err(bad(&format!("Duplicate device ID '{id}'")));
        }
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

    /// Unplugs the device with this id, and what is behind it if it is a hub. What was written to its drive is on
    /// the medium when this returns.
    ///
    /// # Errors
    /// [`MachineError::DeviceNotFound`]; [`MachineError::Config`] for a drive that cannot be flushed (the device is
    /// gone all the same).
    pub fn device_del(&self, id: &str) -> Result<(), MachineError> {
        let gone = lock(self.usb()).detach(id);
        if gone.is_empty() {
            return Err(MachineError::DeviceNotFound(id.into()));
        }
        for device in &gone {
            self.events().emit(&MachineEvent::DeviceDeleted { id: device.plan.id.clone() });
        }
        for queue in gone.iter().filter_map(|a| a.queue.as_ref()) {
            queue.drain();
            if !queue.backend().readonly() {
                let failed = |e| MachineError::Config(format!("device_del {id}: {}: flush failed: {e}", queue.name()));
                queue.backend().flush().map_err(failed)?;
            }
        }
        Ok(())
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
