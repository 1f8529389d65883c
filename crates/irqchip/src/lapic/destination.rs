//! Who an interrupt message is for (SDM 11.6.2, 11.12.10).

use super::{DeliveryMode, Lapic};

/// ICR bits 19:18.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Shorthand {
    None,
    Myself,
    All,
    Others,
}

/// A destination field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// 8 bits, or 32 when `wide`.
    pub id: u32,
    /// Logical mode.
    pub logical: bool,
    /// 32 bits (from an x2APIC); otherwise 0xFF is everybody.
    pub wide: bool,
}

/// An interprocessor interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipi {
    /// What.
    pub mode: DeliveryMode,
    /// Its vector.
    pub vector: u8,
    /// Trigger mode, as it was set; IPIs are always delivered as edges.
    pub level: bool,
    /// Whom, without a shorthand.
    pub destination: Destination,
    /// Whom, with one.
    pub shorthand: Shorthand,
}

impl Ipi {
    /// From an ICR value.
    pub fn from_icr(icr: u64, x2apic: bool) -> Self {
        let high = (icr >> 32) as u32;
        Self {
            mode: DeliveryMode::from_bits((icr >> 8) as u32),
            vector: icr as u8,
            level: icr >> 15 & 1 != 0,
            destination: Destination {
                id: if x2apic { high } else { high >> 24 },
                logical: icr >> 11 & 1 != 0,
                wide: x2apic,
            },
            shorthand: match icr >> 18 & 3 {
                0 => Shorthand::None,
                1 => Shorthand::Myself,
                2 => Shorthand::All,
                _ => Shorthand::Others,
            },
        }
    }
}

/// The logical ID that an x2APIC has by its ID (SDM 11.12.10.2).
pub(super) fn x2apic_ldr(id: u32) -> u32 {
    (id >> 4) << 16 | 1 << (id & 15)
}

impl Lapic {
    /// Whether a message to `d` is for this APIC.
    pub fn is_destination(&self, d: Destination) -> bool {
        if d.id == u32::MAX || (!d.wide && d.id == 0xFF) {
            return true;
        }
        if !d.logical {
            return d.id == self.id();
        }
        let ldr = self.state.ldr;
        if self.x2apic() {
            return d.id >> 16 == ldr >> 16 && d.id & ldr & 0xFFFF != 0;
        }
        let (mine, theirs) = (ldr >> 24, d.id & 0xFF);
        match self.state.dfr >> 28 {
            0xF => mine & theirs != 0,
            0 => (theirs >> 4 == 0xF || theirs >> 4 == mine >> 4) && mine & theirs & 0xF != 0,
            _ => false,
        }
    }
}
