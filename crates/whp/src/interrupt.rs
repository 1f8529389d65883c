//! Interrupt requests from outside (`WHvRequestInterrupt`).

/// `WHV_INTERRUPT_TYPE`; the codes are the local APIC's delivery modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct InterruptType(pub u8);

#[allow(missing_docs)]
impl InterruptType {
    pub const FIXED: Self = Self(0);
    pub const LOWEST_PRIORITY: Self = Self(1);
    pub const NMI: Self = Self(4);
    pub const INIT: Self = Self(5);
    pub const SIPI: Self = Self(6);
    pub const LOCAL_INT1: Self = Self(9);
}

/// `WHV_INTERRUPT_DESTINATION_MODE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub enum DestinationMode {
    #[default]
    Physical,
    Logical,
}

/// `WHV_INTERRUPT_TRIGGER_MODE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub enum TriggerMode {
    #[default]
    Edge,
    Level,
}

/// `WHV_INTERRUPT_CONTROL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct InterruptControl {
    /// Delivery mode.
    pub kind: InterruptType,
    /// How `destination` is to be read.
    pub destination_mode: DestinationMode,
    /// Level-triggered ones make an EOI exit.
    pub trigger_mode: TriggerMode,
    /// APIC ID, or logical destination. 0xFF is everybody in xAPIC form; 0xFFFF_FFFF always.
    pub destination: u32,
    /// Vector (16 to 255 for fixed ones; the start page for SIPI).
    pub vector: u32,
}

impl InterruptControl {
    /// An edge-triggered fixed interrupt for the processor with APIC ID `destination`.
    pub fn fixed(destination: u32, vector: u8) -> Self {
        Self {
            kind: InterruptType::FIXED,
            destination_mode: DestinationMode::Physical,
            trigger_mode: TriggerMode::Edge,
            destination,
            vector: vector.into(),
        }
    }
}
