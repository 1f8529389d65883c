//! PCI Express root ports, wired, and the cards in their slots: those of the command line, and those that come and go.
//!
//! A card is plugged in at once. Taking one out is the guest's to allow (see [`devices::root_port`]): the port then asks the
//! machine to do it, on its own thread.

use std::sync::{Arc, Mutex};

use devices::root_port::{RootPort, RootPortWiring, UnplugError};
use pci::PciBus;
use vm_core::{Device, MachineRequest, Shared, lock};

use crate::MachineError;
use crate::boot_order::FunctionPlace;
use crate::pc::{Around, device};
use crate::pci_plan::{PciPlace, RootPortPlan};
use crate::plan::Plan;

/// A function in a slot.
pub(crate) struct Card {
    /// `id=`.
    pub(crate) id: Option<String>,
    /// Function number.
    pub(crate) devfn: u8,
    pub(crate) device: Arc<Mutex<dyn Device>>,
    /// The USB bus that it is the controller of.
    pub(crate) usb_bus: Option<String>,
    /// The channel that it is the controller of.
    pub(crate) channel: Option<u8>,
}

/// A root port and its slot.
pub(crate) struct PortSlot {
    pub(crate) plan: RootPortPlan,
    /// On the root bus.
    pub(crate) devfn: u8,
    root: Arc<PciBus>,
    port: Shared<RootPort>,
    /// The bus behind it.
    pub(crate) below: Arc<PciBus>,
    cards: Mutex<Vec<Card>>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Slots(Vec<PortSlot>);

/// Where a device goes: its bus, its place there, and the root port that it is behind.
pub(crate) struct Target<'a> {
    pub(crate) bus: Arc<PciBus>,
    pub(crate) devfn: u8,
    pub(crate) slot: Option<&'a PortSlot>,
}

impl Target<'_> {
    pub(crate) fn place(&self) -> FunctionPlace {
        FunctionPlace { devfn: self.devfn, behind: self.slot.map(|s| s.devfn) }
    }
}

/// The first slot of the root bus that nobody has or asks for.
fn free_devfn(name: &str, plan: &Plan, root: &PciBus) -> Result<u8, MachineError> {
    let mut device = root.free_device(name, plan.chipset.first_slot())?;
    while plan.asks_for_slot(device) {
        device = root.free_device(name, device + 1)?;
    }
    Ok(pci::devfn(device, 0))
}

impl Slots {
    /// Builds the root ports of the plan, with empty slots.
    pub(crate) fn build(
        around: &Around<'_>,
        root: &Arc<PciBus>,
        devices: &mut Vec<Arc<Mutex<dyn Device>>>,
    ) -> Result<Self, MachineError> {
        let mut slots = Vec::new();
        for (number, plan) in around.plan.root_ports.iter().enumerate() {
            let devfn = match plan.addr {
                Some((device, function)) => pci::devfn(device, function),
                None => free_devfn(&plan.id, around.plan, root)?,
            };
            let requests = around.requests.clone();
            let wiring = RootPortWiring {
                bus: root.clone(),
                devfn,
                msi: around.msi.clone(),
                multifunction: plan.multifunction,
                port: plan.port,
                slot: plan.slot,
                hot_plug: plan.hot_plug,
                eject: Arc::new(move || requests.request(MachineRequest::Eject(number))),
            };
            let (port, below) = RootPort::add(&plan.id, plan.model, wiring)?;
            devices.push(device(&port));
            slots.push(PortSlot {
                plan: plan.clone(),
                devfn,
                root: root.clone(),
                port,
                below,
                cards: Mutex::default(),
            });
        }
        Ok(Self(slots))
    }

    /// Where a device of the plan goes.
    pub(crate) fn target(
        &self,
        name: &str,
        place: &PciPlace,
        plan: &Plan,
        root: &Arc<PciBus>,
    ) -> Result<Target<'_>, MachineError> {
        let given = place.addr.map(|(device, function)| pci::devfn(device, function));
        let Some(port) = &place.port else {
            let devfn = given.map_or_else(|| free_devfn(name, plan, root), Ok)?;
            return Ok(Target { bus: root.clone(), devfn, slot: None });
        };
        let slot =
            self.with_id(port).ok_or_else(|| MachineError::Config(format!("{name}: bus={port}: no such port")))?;
        Ok(Target { bus: slot.below.clone(), devfn: given.unwrap_or(0), slot: Some(slot) })
    }

    /// The slot of the port with an id.
    pub(crate) fn with_id(&self, id: &str) -> Option<&PortSlot> {
        self.0.iter().find(|s| s.plan.id == id)
    }

    /// The slot of port number `number`.
    pub(crate) fn number(&self, number: usize) -> Option<&PortSlot> {
        self.0.get(number)
    }

    /// The slot that has the card with an id.
    pub(crate) fn with_card(&self, id: &str) -> Option<&PortSlot> {
        self.0.iter().find(|s| lock(&s.cards).iter().any(|c| c.id.as_deref() == Some(id)))
    }

    /// Slots whose card the user wants out and the guest has not let go of.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &PortSlot> {
        self.0.iter().filter(|s| s.unplug_is_pending())
    }

    /// The cards, for reset.
    pub(crate) fn devices(&self) -> Vec<Arc<Mutex<dyn Device>>> {
        self.0.iter().flat_map(|s| lock(&s.cards).iter().map(|c| c.device.clone()).collect::<Vec<_>>()).collect()
    }
}

impl PortSlot {
    /// Whether nothing is in the slot.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.cards).is_empty()
    }

    /// A function, which is on the bus already, is in the slot.
    pub(crate) fn insert(&self, card: Card) {
        let first = {
            let mut cards = lock(&self.cards);
            cards.push(card);
            cards.len() == 1
        };
        if first {
            lock(&self.port).plug();
            self.root.update(self.devfn);
        }
    }

    /// Presses the attention button.
    pub(crate) fn request_unplug(&self) -> Result<(), UnplugError> {
        lock(&self.port).request_unplug()?;
        self.root.update(self.devfn);
        Ok(())
    }

    pub(crate) fn unplug_is_pending(&self) -> bool {
        lock(&self.port).unplug_is_pending()
    }

    /// The USB buses of the controllers in the slot.
    pub(crate) fn usb_buses(&self) -> Vec<String> {
        lock(&self.cards).iter().filter_map(|card| card.usb_bus.clone()).collect()
    }

    /// Takes everything out of the slot.
    pub(crate) fn take_out(&self) -> Vec<Card> {
        let cards = std::mem::take(&mut *lock(&self.cards));
        cards.iter().for_each(|card| self.below.remove(card.devfn));
        lock(&self.port).removed();
        self.root.update(self.devfn);
        cards
    }
}
