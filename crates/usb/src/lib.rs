//! USB: a bus of ports, devices behind them, and the host controllers in front of them.
//!
//! A [`UsbDevice`] is what answers at an address: the standard requests and the control pipe are done here, what is
//! particular to a device is its [`Function`] (HID, hub, storage). A [`UsbBus`] is a controller's set of root ports;
//! an EHCI controller and its UHCI companions share one. Controllers walk the guest's schedules on the machine's
//! clock.
//!
//! **Speeds.** Every device here is a high-speed device that also works at full speed (unless it is made with
//! [`Speed::Full`]): on an EHCI port, also one without companions, it is enumerated at high speed; on a UHCI port at
//! full speed. So a tablet on a lone `ich9-usb-ehci1` needs no companion and no transaction translator. Storage can be
//! made with [`Speed::Super`]: an xHCI controller shows it at a USB 3 port.
//!
//! A host controller is a [`Controller`] with its kind's [`Chip`]; all that is alike in them is in the former.
//!
//! Lock order: controller, then bus, then device, then hub's child, then a device's input queue. A device's back end
//! calls the controller's [`Waker`] with no lock of the crate held; the waker only arms a timer.

pub mod audit;
mod bus;
mod controller;
mod descriptors;
mod device;
pub mod ehci;
pub mod hid;
pub mod hub;
pub mod storage;
#[cfg(test)]
mod test_util;
pub mod uhci;
pub mod xhci;

pub use bus::{Owner, UsbBus, UsbError, Waker};
pub use controller::{Chip, Controller, Host};
pub use descriptors::{Descriptors, Endpoint, Interface, Transfer};
pub use device::{Fault, Function, Setup, Speed, UsbDevice};
