//! The root ports of a host controller, shared by an EHCI controller and its companions.
//!
//! EHCI 1.0, section 4.2 (port routing): each port belongs to the main controller or to a companion; the device is
//! visible to its owner only. Which controller owns a port is the main controller's state (PORTSC, CONFIGFLAG).

use std::sync::{Arc, Mutex};

use vm_core::{Shared, lock};

use crate::UsbDevice;

/// Tells a controller that something happened at a device. Never blocks, takes no lock of a controller.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Which of the controllers of a bus looks at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The bus's own controller.
    Main,
    /// A companion of it.
    Companion,
}

/// Why a device could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum UsbError {
    /// Another device is there.
    #[error("{bus}: port {port} is in use")]
    Taken {
        /// The bus.
        bus: String,
        /// The port, from 1.
        port: usize,
    },
    /// There is no such port.
    #[error("{bus}: there is no port {port}; it has ports 1 to {ports}")]
    NoPort {
        /// The bus.
        bus: String,
        /// The port, from 1.
        port: usize,
        /// Number of ports.
        ports: usize,
    },
}

#[derive(Default)]
struct Slot {
    device: Option<Shared<UsbDevice>>,
    /// Counts attachments, so that a quick replug is seen as one.
    generation: u32,
    companion: bool,
}

#[derive(Default)]
struct Ports {
    slots: Vec<Slot>,
    wakers: Vec<Waker>,
    companions: u8,
}

/// See the module's documentation.
pub struct UsbBus {
    name: String,
    ports: Arc<Mutex<Ports>>,
}

impl UsbBus {
    /// A bus called `name` (as in `bus=`) with `ports` empty ports.
    pub fn new(name: &str, ports: usize) -> Arc<Self> {
        let slots = (0..ports).map(|_| Slot::default()).collect();
        Arc::new(Self { name: name.into(), ports: Arc::new(Mutex::new(Ports { slots, ..Ports::default() })) })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A controller of this bus wants to be told of events.
    pub(crate) fn add_waker(&self, waker: Waker) {
        lock(&self.ports).wakers.push(waker);
    }

    /// A companion controller is there now.
    pub(crate) fn add_companion(&self) {
        lock(&self.ports).companions += 1;
    }

    pub(crate) fn companions(&self) -> u8 {
        lock(&self.ports).companions
    }

    pub(crate) fn wake(&self) {
        let wakers = lock(&self.ports).wakers.clone();
        wakers.iter().for_each(|w| w());
    }

    /// Plugs a device into port `port` (from 1).
    ///
    /// # Errors
    /// [`UsbError`] when there is no such port or it is in use.
    pub fn attach(&self, port: usize, device: &Shared<UsbDevice>) -> Result<(), UsbError> {
        let ports = lock(&self.ports).slots.len();
        let bad = || UsbError::NoPort { bus: self.name.clone(), port, ports };
        let index = port.checked_sub(1).filter(|i| *i < ports).ok_or_else(bad)?;
        {
            let mut p = lock(&self.ports);
            let slot = p.slots.get_mut(index).ok_or_else(bad)?;
            if slot.device.is_some() {
                return Err(UsbError::Taken { bus: self.name.clone(), port });
            }
            slot.device = Some(device.clone());
            slot.generation = slot.generation.wrapping_add(1);
        }
        let ports = Arc::downgrade(&self.ports);
        lock(device).set_waker(Some(Arc::new(move || {
            let wakers = ports.upgrade().map(|p| lock(&p).wakers.clone());
            wakers.iter().flatten().for_each(|w| w());
        })));
        self.wake();
        Ok(())
    }

    /// Unplugs what is in port `port` (from 1).
    pub fn detach(&self, port: usize) -> Option<Shared<UsbDevice>> {
        let index = port.checked_sub(1)?;
        let device = {
            let mut p = lock(&self.ports);
            let slot = p.slots.get_mut(index)?;
            slot.generation = slot.generation.wrapping_add(1);
            slot.device.take()?
        };
        lock(&device).set_waker(None);
        self.wake();
        Some(device)
    }

    /// The device that `owner` sees in the port with index `index`, and the port's generation.
    pub(crate) fn look(&self, index: usize, owner: Owner) -> (Option<Shared<UsbDevice>>, u32) {
        let p = lock(&self.ports);
        match p.slots.get(index) {
            Some(s) if s.companion == (owner == Owner::Companion) => (s.device.clone(), s.generation),
            Some(s) => (None, s.generation),
            None => (None, 0),
        }
    }

    /// The main controller gives a port away or takes it.
    pub(crate) fn set_owner(&self, index: usize, owner: Owner) {
        if let Some(s) = lock(&self.ports).slots.get_mut(index) {
            s.companion = owner == Owner::Companion;
        }
    }

    /// Port numbers (from 1) and the devices in them.
    pub fn devices(&self) -> Vec<(usize, Shared<UsbDevice>)> {
        let p = lock(&self.ports);
        p.slots.iter().enumerate().filter_map(|(i, s)| Some((i + 1, s.device.clone()?))).collect()
    }
}
