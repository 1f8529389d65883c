//! Interrupt controllers as plain models: LAPIC, IOAPIC, 8259 PIC.

pub mod ioapic;
pub mod lapic;
pub mod pic;

pub use ioapic::{IoApic, IsaRouter};
pub use pic::{Pic, PicPorts};
