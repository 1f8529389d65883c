//! Which Windows the built-in platform behaves like, where Windows 10, Windows 11 and the API's text differ: for tests
//! of clients without either ("Windows Hypervisor Platform", learn.microsoft.com, for what came with which release;
//! what clients report for the rest).
//!
//! Both Windows: accesses are not decoded, whatever handler `run` has been given; an ExtInt event does not end a HLT;
//! an interrupt with a vector below 16 is the hypervisor's own error. Windows 10 (2004 to 22H2) besides: codes,
//! registers and functions that came with build 20348 are not known; an ExtInt event keeps its processor in HLT even
//! when the client clears HaltSuspend; with the local APIC in the platform the interrupt window never comes, and one
//! with a priority is refused; memory exits carry no instruction bytes and no linear address.
//!
//! Left out on purpose: Windows 10 before 2004, and speed.

use std::str::FromStr;

use whp::{CapabilityCode, CapabilityFeatures, HResult, PropertyCode, RegisterName};

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behave {
    /// Everything there is, as comfortable as the API allows.
    #[default]
    Native,
    /// Windows 10 2004 and later.
    Windows10,
    /// Windows 11 and Windows Server 2022.
    Windows11,
}

impl Behave {
    /// The names that [`Behave::from_str`] takes.
    pub const NAMES: [&'static str; 3] = ["native", "windows10", "windows11"];

    /// Whether decoded accesses may be served inside a run.
    pub(crate) fn decodes(self) -> bool {
        self == Self::Native
    }

    /// Whether an ExtInt event ends a HLT by itself.
    pub(crate) fn ext_int_wakes(self) -> bool {
        self == Self::Native
    }

    /// Older than build 20348.
    pub(crate) fn is_old(self) -> bool {
        self == Self::Windows10
    }

    /// What a message with a reserved vector is answered with.
    pub(crate) fn reserved_vector(self) -> HResult {
        if self == Self::Native { HResult::E_INVALIDARG } else { HResult::ERROR_HV_INVALID_PARAMETER }
    }

    /// Which features the system can have.
    pub(crate) fn features(self) -> CapabilityFeatures {
        use CapabilityFeatures as F;
        if self.is_old() { F::all() - F::IDLE_SUSPEND } else { F::all() }
    }

    /// Whether the capability's code is known.
    pub(crate) fn knows_capability(self, code: CapabilityCode) -> bool {
        !self.is_old() || !(0x1007..0x2000).contains(&code.0)
    }

    /// Whether the property's code is known.
    pub(crate) fn knows_property(self, code: PropertyCode) -> bool {
        use PropertyCode as P;
        !self.is_old()
            || matches!(code, P::REFERENCE_TIME | P::PROCESSOR_COUNT)
            || !(0x100B..0x2000).contains(&code.0)
                && !(P::ALLOW_DEVICE_ASSIGNMENT.0..=P::DISABLE_SMT.0).contains(&code.0)
    }

    /// Whether the register's name is known.
    pub(crate) fn knows_register(self, name: RegisterName) -> bool {
        use RegisterName as R;
        // SPEC_CTRL and PRED_CMD were there; what follows them (XSS, CET, TSX, TSC deadline ...) came later.
        let later = (R::TSC_VIRTUAL_OFFSET.0 + 1..0x20B0).contains(&name.0);
        !self.is_old() || !later
    }
}

/// No such name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no behaviour; there are native, windows10 and windows11")]
pub struct UnknownBehaviour(String);

impl FromStr for Behave {
    type Err = UnknownBehaviour;

    fn from_str(s: &str) -> Result<Self, UnknownBehaviour> {
        match s {
            "native" => Ok(Self::Native),
            "windows10" => Ok(Self::Windows10),
            "windows11" => Ok(Self::Windows11),
            other => Err(UnknownBehaviour(other.into())),
        }
    }
}
