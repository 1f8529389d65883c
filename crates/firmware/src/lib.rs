//! ACPI, SMBIOS, fw_cfg contents, kernel loaders, firmware search path.
