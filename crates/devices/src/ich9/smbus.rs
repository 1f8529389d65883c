//! The SMBus host controller, device 31 function 3, with nothing on its bus.
//!
//! Intel ICH9 data sheet, chapter 19: HOSTC 40h, SMB_BASE (BAR 4), and the host registers. Every transaction ends at once
//! in DEV_ERR, as when no device acknowledges its address. Left out: interrupts (the transactions that end do so before
//! software can wait for one; INTREN is kept), the slave, the memory BAR, SMBALERT.

use pci::{BarBacking, BarKind, BarSpec, ConfigSpace, ConfigState, Deferred, Identity, PciFunction};
use serde::{Deserialize, Serialize};
use vm_core::{Device, PortIo, Shared, StateError, load_state, save_state, shared};

/// The BAR that [`SmbusPorts`] is behind.
pub const SMBUS_BAR: u8 = 4;
const HOSTC: u8 = 0x40;
const HST_EN: u8 = 1;

const HST_STS: u16 = 0;
const HST_CNT: u16 = 2;
const DEV_ERR: u8 = 0x04;
const FAILED: u8 = 0x10;
const INUSE: u8 = 0x40;
const KILL: u8 = 0x02;
const START: u8 = 0x40;

/// The function: 8086:2930.
pub struct Ich9Smbus {
    config: ConfigSpace,
    ports: Shared<SmbusPorts>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Registers {
    status: u8,
    bytes: [u8; 32],
}

impl Registers {
    fn at_reset() -> Self {
        Self { status: 0, bytes: [0; 32] }
    }
}

/// The 32 ports.
pub struct SmbusPorts {
    state: Registers,
    enabled: bool,
}

impl Ich9Smbus {
    /// The function, and what is behind its BAR.
    pub fn new() -> (Shared<Self>, Vec<(u8, BarBacking)>) {
        let id =
            Identity { vendor: 0x8086, device: 0x2930, revision: 2, class: 0x0C_0500, subsystem: (0x1AF4, 0x1100) };
        let config = ConfigSpace::endpoint(id)
            .with(0x06, &[0x80, 0x02])
            .with_interrupt_pin(1)
            .with_bar(BarSpec { index: SMBUS_BAR, kind: BarKind::Io, size: 32 })
            .with_writable(HOSTC, &[0x0F]);
        let ports = shared(SmbusPorts { state: Registers::at_reset(), enabled: false });
        (shared(Self { config, ports: ports.clone() }), vec![(SMBUS_BAR, BarBacking::Io(ports))])
    }

    fn update(&self) {
        vm_core::lock(&self.ports).enabled = self.config.u8(HOSTC) & HST_EN != 0;
    }
}

impl PortIo for SmbusPorts {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        for (i, b) in data.iter_mut().enumerate() {
            *b = match offset.wrapping_add(i as u16) {
                _ if !self.enabled => 0xFF,
                HST_STS => {
                    // The semaphore: whoever reads it clear has it.
                    let now = self.state.status;
                    self.state.status |= INUSE;
                    now
                }
                HST_CNT => self.state.bytes[2] & !START,
                n => self.state.bytes.get(usize::from(n)).copied().unwrap_or(0),
            };
        }
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        for (i, &v) in data.iter().enumerate().filter(|_| self.enabled) {
            match offset.wrapping_add(i as u16) {
                HST_STS => self.state.status &= !(v & 0xFE),
                HST_CNT => {
                    self.state.bytes[2] = v;
                    if v & KILL != 0 {
                        self.state.status |= FAILED;
                    } else if v & START != 0 {
                        self.state.status |= DEV_ERR;
                    }
                }
                n => {
                    if let Some(b) = self.state.bytes.get_mut(usize::from(n)) {
                        *b = v;
                    }
                }
            }
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct State {
    config: ConfigState,
    registers: Registers,
}

impl Device for Ich9Smbus {
    fn name(&self) -> &str {
        "ich9-smbus"
    }

    fn reset(&mut self) {
        self.config.reset();
        vm_core::lock(&self.ports).state = Registers::at_reset();
        self.update();
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        let registers = vm_core::lock(&self.ports).state.clone();
        save_state(self.name(), &State { config: self.config.state(), registers })
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let State { config, registers } = load_state(self.name(), bytes)?;
        self.config.restore("ich9-smbus", &config)?;
        vm_core::lock(&self.ports).state = registers;
        self.update();
        Ok(())
    }
}

impl PciFunction for Ich9Smbus {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, _offset: u8, _len: usize) {
        self.update();
    }

    fn placement(&mut self) -> Option<Deferred> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_core::lock;

    #[test]
    fn nobody_answers() {
        let (function, _) = Ich9Smbus::new();
        let mut f = lock(&function);
        let ports = f.ports.clone();
        let read = |at| {
            let mut x = [0];
            lock(&ports).port_read(at, &mut x);
            x[0]
        };
        assert_eq!(read(0), 0xFF, "off");
        f.config_mut().write(HOSTC.into(), &[1]);
        f.config_written(HOSTC, 1);
        assert_eq!((read(0), read(0)), (0, INUSE), "the semaphore");
        lock(&ports).port_write(4, &[0xA1]);
        lock(&ports).port_write(2, &[0x48]);
        assert_eq!((read(2), read(4), read(0)), (0x08, 0xA1, INUSE | DEV_ERR));
        lock(&ports).port_write(0, &[0xFF]);
        assert_eq!(read(0), 0);
        lock(&ports).port_write(0x1F, &[1, 2, 3]);
        crate::test_util::round_trip(&mut *f);
    }
}
