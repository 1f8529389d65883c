//! ACPI, SMBIOS, fw_cfg contents, kernel loaders, and where firmware images are found.
//!
//! Everything here is bytes computed from a description of the machine; nothing touches devices.

pub mod acpi;
pub mod boot;
pub mod fw_cfg;
pub mod search;
pub mod smbios;

pub use fw_cfg::FwCfgItems;
