//! What every device stands on: interrupt lines, MSI, port and memory spaces, clock and timers, life cycle and
//! saved state, requests to the machine, rate-limited guest warnings.
//!
//! Lock rules (DESIGN.md section 9, rule 9): every device is one `Arc<Mutex<Device>>`. With its lock held a device
//! may set lines (which lock interrupt controllers) and arm timers, and nothing else: no bus access, no other
//! device, no blocking back end. Order: device, interrupt controller, platform.

mod address_space;
mod clock;
mod device;
mod line;
mod ports;
mod request;
mod warn;

pub use address_space::{AddressSpace, Backing, FlatRange, MemoryListener, Region, RegionId, SpaceError};
pub use clock::{Clock, Timer};
pub use device::{Device, StateError, load_state, save_state};
pub use line::{IrqLine, LineSink, MsiSink, OrGate, RecordedLine};
pub use ports::{Mmio, PortIo, PortRange, PortSpace};
pub use request::{MachineRequest, RequestSink, WakeCause};
pub use warn::GuestWarnings;

/// A device as the machine holds it.
pub type Shared<T> = std::sync::Arc<std::sync::Mutex<T>>;

/// Wraps a device for sharing.
pub fn shared<T>(device: T) -> Shared<T> {
    std::sync::Arc::new(std::sync::Mutex::new(device))
}

/// Locks a device. A panic in another thread while it held the lock leaves plain data behind, so poison is ignored.
pub fn lock<T: ?Sized>(device: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    device.lock().unwrap_or_else(|e| e.into_inner())
}

/// The bytes of an access as a little-endian number, for traces.
fn number(data: &[u8]) -> u64 {
    data.iter().take(8).rev().fold(0, |n, b| n << 8 | u64::from(*b))
}
