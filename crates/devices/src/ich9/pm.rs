//! The power management ports of the ICH9: 128 at PMBASE.
//!
//! Intel ICH9 data sheet, section 13.8. PM1, the timer and processor control (00h-1Fh) and GPE0 (20h-2Fh, 64 bits of
//! which the low 16 exist) are [`AcpiPm`]'s. There is no system management mode: SMI_EN and the registers around it hold
//! what is written and raise nothing, SMI_STS reads 0; APMC_EN is set from the start, which firmware takes for "SMM was
//! set up already". The TCO watchdog (60h-7Fh) is [`Tco`]'s.

use serde::{Deserialize, Serialize};
use vm_core::{Device, PortIo, Shared, StateError, load_state, lock, save_state, shared};

use super::tco::{TCO_OFFSET, Tco};
use crate::acpi_pm::{AcpiPm, GpePorts};

/// Ports of the block.
pub const PM_LEN: u16 = 128;
/// Where GPE0 is in it.
pub const GPE0_OFFSET: u16 = 0x20;
/// Bytes of GPE0: status and enable.
pub const GPE0_LEN: u8 = 16;

const SMI_EN: u16 = 0x30;
const SMI_STS: u16 = 0x34;
const APMC_EN: u32 = 1 << 5;
/// SMI_EN, and ALT_GP_SMI_EN with what follows up to 5Fh but SMI_STS: by byte.
const KEPT: usize = 0x30;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// 30h to 5Fh.
    smi: Vec<u8>,
}

impl State {
    fn at_reset() -> Self {
        let mut smi = vec![0; KEPT];
        smi[..4].copy_from_slice(&APMC_EN.to_le_bytes());
        Self { smi }
    }
}

/// See the module's documentation.
pub struct Ich9Pm {
    state: State,
    pm: Shared<AcpiPm>,
    gpe: Shared<GpePorts>,
    tco: Shared<Tco>,
}

impl Ich9Pm {
    /// The ports of `pm` and `tco`.
    pub fn new(pm: &Shared<AcpiPm>, tco: &Shared<Tco>) -> Shared<Self> {
        shared(Self { state: State::at_reset(), pm: pm.clone(), gpe: AcpiPm::gpe_ports(pm), tco: tco.clone() })
    }

    /// GPE0's bytes that exist, as [`GpePorts`] numbers them.
    fn gpe(offset: u16) -> Option<u16> {
        match offset.checked_sub(GPE0_OFFSET)? {
            n @ 0..=1 => Some(n),
            n @ 8..=9 => Some(n - 6),
            _ => None,
        }
    }

    fn kept(&mut self, offset: u16) -> Option<&mut u8> {
        self.state.smi.get_mut(usize::from(offset.checked_sub(SMI_EN)?))
    }
}

impl PortIo for Ich9Pm {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        if offset < GPE0_OFFSET {
            return lock(&self.pm).port_read(offset, data);
        }
        if let Some(offset) = offset.checked_sub(TCO_OFFSET) {
            return lock(&self.tco).port_read(offset, data);
        }
        for (i, b) in data.iter_mut().enumerate() {
            let at = offset.wrapping_add(i as u16);
            *b = 0;
            if let Some(gpe) = Self::gpe(at) {
                lock(&self.gpe).port_read(gpe, std::slice::from_mut(b));
            } else if let Some(kept) = self.kept(at) {
                *b = *kept;
            }
        }
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        if offset < GPE0_OFFSET {
            return lock(&self.pm).port_write(offset, data);
        }
        if let Some(offset) = offset.checked_sub(TCO_OFFSET) {
            return lock(&self.tco).port_write(offset, data);
        }
        for (i, &v) in data.iter().enumerate() {
            let at = offset.wrapping_add(i as u16);
            if let Some(gpe) = Self::gpe(at) {
                lock(&self.gpe).port_write(gpe, &[v]);
            } else if !(SMI_STS..SMI_STS + 4).contains(&at)
                && let Some(kept) = self.kept(at)
            {
                *kept = v;
            }
        }
    }
}

impl Device for Ich9Pm {
    fn name(&self) -> &str {
        "ich9-pm"
    }

    fn reset(&mut self) {
        self.state = State::at_reset();
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let state: State = load_state(self.name(), bytes)?;
        if state.smi.len() != KEPT {
            return Err(StateError::Mismatch { device: self.name().into(), reason: "wrong length".into() });
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acpi_pm::{ACPI_ENABLE, AcpiPm};
    use crate::test_util::Requests;
    use std::sync::Arc;
    use vm_core::{Clock, RecordedLine};

    #[test]
    fn blocks_are_where_the_data_sheet_has_them() {
        let (sci, line) = RecordedLine::line();
        let (clock, requests) = (Clock::manual(), Arc::new(Requests::default()));
        let pm = AcpiPm::new(&clock, line, requests.clone());
        let ports = Ich9Pm::new(&pm, &Tco::new(&clock, Arc::default(), requests));
        let mut p = lock(&ports);
        let mut x = [0; 4];
        p.port_read(0x30, &mut x);
        assert_eq!(u32::from_le_bytes(x), APMC_EN);
        lock(&AcpiPm::apm_ports(&pm)).port_write(0, &[ACPI_ENABLE]);
        p.port_write(0x28, &[0x02, 0, 0, 0]);
        lock(&pm).raise_gpe(1);
        assert!(sci.is_high());
        p.port_read(0x20, &mut x);
        assert_eq!(x, [2, 0, 0, 0]);
        p.port_write(0x20, &[2, 0, 0, 0]);
        assert!(!sci.is_high());
        p.port_write(0x02, &[0x00, 0x01]);
        p.port_read(0x00, &mut x);
        assert_eq!(x, [0, 0, 0, 1], "power button enable");
        p.port_write(0x34, &[0xFF; 4]);
        p.port_read(0x34, &mut x);
        assert_eq!(x, [0; 4]);
        p.port_write(0x7F, &[1, 2, 3, 4]);
        p.port_read(0x68, &mut x);
        assert_eq!(x, [0, 8, 8, 0], "the TCO timer's control registers");
        p.port_write(0x30, &[0x21, 0, 0, 0]);
        crate::test_util::round_trip(&mut *p);
    }
}
