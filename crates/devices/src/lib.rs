//! One file a chip.

pub mod acpi_pm;
pub mod ahci;
pub mod debug_ports;
pub mod dma8237;
pub mod fw_cfg;
pub mod hpet;
pub mod i440fx;
pub mod i8042;
pub mod ich9;
pub mod ide;
pub mod mch;
pub mod pflash;
pub mod piix3;
pub mod pit;
mod ps2;
pub mod ramfb;
pub mod root_port;
pub mod rtc;
pub mod shadow;
pub mod uart;
pub mod vga;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod test_util;
