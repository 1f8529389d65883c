//! Machines: wiring only, from Plan to running devices.
