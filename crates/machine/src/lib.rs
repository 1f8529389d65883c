//! Machines: from [`cli::Config`] to a [`Plan`] (everything decided, printable, nothing built) to a running
//! [`Machine`]. Wiring only: what a chip does is in its crate, how processors run is in `accel`.

mod boot_order;
mod catalog;
mod chars;
mod chipset;
mod drives;
mod events;
mod flash;
mod hot_plug;
mod i440fx;
mod irq_counts;
mod layout;
mod machine;
mod media;
mod nodes;
mod pc;
mod pci_plan;
mod pcie;
mod plan;
mod q35;
mod sata;
mod suspend;
mod usb_plan;
mod usb_wiring;
mod vga;

pub use catalog::{DeviceInfo, MachineInfo, device_help, device_list, machine_help, machine_list};
pub use chipset::Chipset;
pub use drives::{DriveInfo, Medium};
pub use events::{Cause, MachineEvent, Subscription};
pub use hot_plug::UsbInfo;
pub use layout::{MemoryLayout, apic_id, apic_ids};
pub use machine::{ExitReason, Machine, MachineHandle, RunState};
pub use media::MediaError;
pub use nodes::{BlockNode, NodeError};
pub use pc::MonitorBackend;
pub use pci_plan::{PciPlace, RootPortPlan};
pub use plan::{AhciPlan, DebugConPlan, DebugExitPlan, DrivePlan, Plan, SerialPlan};
pub use usb_plan::{UsbControllerPlan, UsbDevicePlan, UsbPlan, XhciPlan};

/// A machine could not be planned or built: one line that names the option.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each variant is its source's error
pub enum MachineError {
    #[error("{0}")]
    Config(String),
    #[error(transparent)]
    Firmware(#[from] firmware::search::FirmwareError),
    #[error(transparent)]
    Kernel(#[from] firmware::boot::KernelError),
    #[error("{option}: {source}")]
    Drive { option: String, source: block::BlockError },
    #[error("{option}: {source}")]
    Char { option: String, source: chardev::CharError },
    #[error(transparent)]
    Accel(#[from] accel::AccelError),
    #[error("guest RAM: {0}")]
    Ram(#[from] guest_memory::RamError),
    #[error("machine wiring: {0}")]
    Space(#[from] vm_core::SpaceError),
    #[error("machine wiring: {0}")]
    Pci(#[from] pci::PciError),
    #[error("{option}: {source}")]
    Usb { option: String, source: usb::UsbError },
    #[error("Device '{0}' not found")]
    DeviceNotFound(String),
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

impl From<cli::UsageError> for MachineError {
    fn from(e: cli::UsageError) -> Self {
        Self::Config(e.0)
    }
}
