//! PCI configuration space, functions, base address registers, bridges, INTx, MSI, MSI-X, PCI Express capabilities,
//! configuration mechanism #1 and ECAM.
//!
//! A device owns a [`ConfigSpace`] and implements [`PciFunction`]; the machine adds it to the [`PciBus`] with what
//! is behind its BARs. **How mapping changes are carried out:** a configuration write locks the function, changes
//! its registers, asks for the places its BARs have now and for other deferred work
//! ([`PciFunction::placement`]), unlocks it, and only then changes the address and port spaces. The bus's own
//! placement lock keeps two writes in order; no device ever takes that lock. The lock of a bus comes before that of a bus
//! behind one of its bridges.

mod bridge;
mod bus;
mod config;
mod ecam;
mod express;
mod info;
mod intx;
mod mechanism1;
mod msi;
mod msix;
#[cfg(test)]
mod test_sink;

pub use bridge::{BridgePins, Forwarding};
pub use bus::{BAR_PRIORITY, BarBacking, Deferred, PciBus, PciError, PciFunction, devfn};
pub use config::{BarKind, BarSpec, ConfigSpace, ConfigState, Identity, command, reg, status};
pub use ecam::Ecam;
pub use express::{SlotSpec, access_control, advanced_errors, express_endpoint, express_reg, express_root_port};
pub use info::class_name;
pub use intx::{IntxPin, IntxRouter, swizzle};
pub use mechanism1::{ConfigAddressPort, ConfigDataPort, mechanism1};
pub use msi::Msi;
pub use msix::{Msix, MsixLayout, MsixState};
