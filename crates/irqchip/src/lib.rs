//! Interrupt controllers as plain models: LAPIC, IOAPIC, 8259 PIC.

pub mod lapic;
