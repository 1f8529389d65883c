//! I/O controller hub 9 (ICH9): the south bridge of the `q35` machine. Its LPC bridge with interrupt routing, the power
//! management ports, the TCO watchdog, and the SMBus controller; the SATA controller is [`crate::ahci`].
//!
//! Intel ICH9 Family data sheet (316972).

mod lpc;
mod pm;
mod rcba;
mod router;
mod smbus;
mod tco;

pub use lpc::{Ich9Lpc, LpcPlacement, PlaceLpc};
pub use pm::{GPE0_LEN, GPE0_OFFSET, Ich9Pm, PM_LEN};
pub use rcba::{RCBA_LEN, Rcba};
pub use router::{Ich9Router, PIRQS};
pub use smbus::{Ich9Smbus, SMBUS_BAR, SmbusPorts};
pub use tco::Tco;
