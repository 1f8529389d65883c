//! Which chips a machine has, and what follows from that.

/// The chips of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chipset {
    /// 440FX and PIIX3: `pc`.
    I440fx,
    /// Q35 and ICH9: `q35`.
    Q35,
}

impl Chipset {
    /// The chips of the machine type called `machine` (not an alias).
    pub(crate) fn of(machine: &str) -> Self {
        if machine == "q35" { Self::Q35 } else { Self::I440fx }
    }

    /// The machine's name in full, as SMBIOS has it.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::I440fx => "Standard PC (i440FX + PIIX, 1996)",
            Self::Q35 => "Standard PC (Q35 + ICH9, 2009)",
        }
    }

    /// PCI slot of the video card.
    pub(crate) fn video_slot(self) -> u8 {
        match self {
            Self::I440fx => 2,
            Self::Q35 => 1,
        }
    }

    /// The first PCI slot that devices get by themselves.
    pub(crate) fn first_slot(self) -> u8 {
        match self {
            Self::I440fx => 3,
            Self::Q35 => 2,
        }
    }

    /// Name of the root bus.
    pub(crate) fn root_bus(self) -> &'static str {
        match self {
            Self::I440fx => "pci.0",
            Self::Q35 => "pcie.0",
        }
    }

    /// Where SeaBIOS puts the PCI Express configuration window: base and number of buses.
    pub(crate) fn usual_ecam(self) -> Option<(u64, u16)> {
        (self == Self::Q35).then_some((0xB000_0000, 256))
    }
}
