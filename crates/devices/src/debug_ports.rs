//! Small single-register devices: debug console, exit port, POST code port, reset control register.
//!
//! QEMU's documentation of `isa-debugcon` and `isa-debug-exit`; port 0x80: IBM AT technical reference; reset control
//! register 0xCF9: Intel 82371SB (PIIX3) data sheet, 2.5.9. None but the last has guest-visible state.

use std::sync::Arc;

use chardev::{CharError, CharEvent, CharFrontend, CharPort, Chardev};
use serde::{Deserialize, Serialize};
use vm_core::{
    Device, GuestWarnings, MachineRequest, PortIo, RequestSink, Shared, StateError, load_state, save_state, shared,
};

/// Debug console: bytes written go to a back end, reads give the `readback` value. One port, byte wide, at
/// `iobase` (0xE9).
pub struct DebugCon {
    port: CharPort,
    readback: u8,
}

struct Deaf;

impl CharFrontend for Deaf {
    fn notify(&self, _event: CharEvent) {}
}

impl DebugCon {
    /// Default of `iobase=`.
    pub const IOBASE: u16 = 0xE9;
    /// Default of `readback=`, by which guests detect the port.
    pub const READBACK: u8 = 0xE9;

    /// A console on `chardev`.
    ///
    /// # Errors
    /// When the back end has a user and is not multiplexed.
    pub fn new(chardev: &Chardev, readback: u8) -> Result<Shared<Self>, CharError> {
        Ok(shared(Self { port: chardev.attach(Arc::new(Deaf))?, readback }))
    }
}

impl PortIo for DebugCon {
    fn port_read(&mut self, _offset: u16, data: &mut [u8]) {
        data.fill(self.readback);
    }

    fn port_write(&mut self, _offset: u16, data: &[u8]) {
        static WARN: GuestWarnings = GuestWarnings::new(1);
        // The port has no ready bit to hold the guest with.
        if self.port.write(data) < data.len() {
            WARN.warn(|| "debugcon: the back end is too slow, output is lost".into());
        }
    }
}

/// Exit port: a write ends the process with status `(value << 1) | 1`. Ports, whole accesses: `iosize` (1, 2, 4) at
/// `iobase` (0x501).
pub struct DebugExit {
    requests: Arc<dyn RequestSink>,
}

impl DebugExit {
    /// Default of `iobase=`.
    pub const IOBASE: u16 = 0x501;
    /// Default of `iosize=`.
    pub const IOSIZE: u16 = 2;

    /// A port that asks `requests`.
    pub fn new(requests: Arc<dyn RequestSink>) -> Shared<Self> {
        shared(Self { requests })
    }
}

impl PortIo for DebugExit {
    fn port_read(&mut self, _offset: u16, data: &mut [u8]) {
        data.fill(0);
    }

    fn port_write(&mut self, _offset: u16, data: &[u8]) {
        // The status of a process is a byte.
        let value = data.first().copied().unwrap_or(0);
        self.requests.request(MachineRequest::Exit(value << 1 | 1));
    }
}

/// POST code port 0x80 (one port, byte wide): reads give the last code, as the DMA page register there does.
#[derive(Default)]
pub struct PostPort {
    code: u8,
}

impl PostPort {
    /// A port that shows 0.
    pub fn new() -> Shared<Self> {
        shared(Self::default())
    }
}

impl PortIo for PostPort {
    fn port_read(&mut self, _offset: u16, data: &mut [u8]) {
        data.fill(self.code);
    }

    fn port_write(&mut self, _offset: u16, data: &[u8]) {
        if let Some(v) = data.first() {
            self.code = *v;
            tracing::trace!(target: "port80", code = self.code);
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ResetState {
    rcr: u8,
}

/// Reset control register, port 0xCF9 (byte accesses only: the port lies inside the PCI configuration address
/// register at 0xCF8, whose device passes byte accesses of offset 1 on to this one).
pub struct ResetControl {
    state: ResetState,
    requests: Arc<dyn RequestSink>,
}

impl ResetControl {
    /// A register that asks `requests`.
    pub fn new(requests: Arc<dyn RequestSink>) -> Shared<Self> {
        shared(Self { state: ResetState::default(), requests })
    }
}

impl PortIo for ResetControl {
    fn port_read(&mut self, _offset: u16, data: &mut [u8]) {
        data.fill(self.state.rcr);
    }

    fn port_write(&mut self, _offset: u16, data: &[u8]) {
        let Some(&v) = data.first() else { return };
        // Bit 2 going from 0 to 1 resets; bit 1 says how, which makes no difference here.
        let rises = v & !self.state.rcr & 0x04 != 0;
        self.state.rcr = v & 0x0E;
        if rises {
            self.requests.request(MachineRequest::Reset("port 0xCF9"));
        }
    }
}

impl Device for ResetControl {
    fn name(&self) -> &str {
        "reset-control"
    }

    fn reset(&mut self) {
        self.state = ResetState::default();
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.state = load_state(self.name(), bytes)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::Requests;
    use vm_core::lock;

    #[test]
    fn debugcon_prints_and_reads_back() {
        let (dev, peer) = Chardev::in_memory("d", 64, false);
        let con = DebugCon::new(&dev, 0xE9).unwrap();
        lock(&con).port_write(0, b"x");
        let mut d = [0];
        lock(&con).port_read(0, &mut d);
        assert_eq!((peer.take(), d), (b"x".to_vec(), [0xE9]));
    }

    #[test]
    fn exit_status_is_odd() {
        let r = Arc::new(Requests::default());
        let exit = DebugExit::new(r.clone());
        lock(&exit).port_write(0, &[0x10, 0]);
        assert_eq!(r.take(), [MachineRequest::Exit(0x21)]);
    }

    #[test]
    fn reset_needs_a_rising_bit_2() {
        let r = Arc::new(Requests::default());
        let rcr = ResetControl::new(r.clone());
        lock(&rcr).port_write(0, &[0x02]);
        assert_eq!(r.take(), []);
        lock(&rcr).port_write(0, &[0x06]);
        lock(&rcr).port_write(0, &[0x06]);
        assert_eq!(r.take(), [MachineRequest::Reset("port 0xCF9")]);
        crate::test_util::round_trip(&mut *lock(&rcr));
    }
}
