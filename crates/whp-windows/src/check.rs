//! Whether the platform is good enough for a machine, and what the user can do if not.

use whp::{Capability, CapabilityCode, CapabilityFeatures, Platform};

use crate::library::OpenError;
use crate::platform::WindowsPlatform;

/// Windows 10 version 2004: the oldest that is meant to work; older ones may.
pub const MINIMUM_BUILD: u32 = 19041;

/// How to install the feature.
const INSTALL: &str = "install it with `DISM /online /Enable-Feature /FeatureName:HypervisorPlatform /All` in an \
     administrator's prompt (or optionalfeatures.exe: Windows Hypervisor Platform), then restart Windows";

/// Why Microsoft's platform cannot be used, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The program does not run on Windows.
    #[error("the Windows Hypervisor Platform exists on Windows only")]
    NotWindows,
    /// The library is not there.
    #[error("the Windows Hypervisor Platform is not installed ({0}); {INSTALL}")]
    NotInstalled(String),
    /// The library is of a version that lacks too much.
    #[error("{0}; this version of Windows is too old: Windows 10 version 2004 (build 19041) or later is needed")]
    TooOld(String),
    /// The hypervisor does not run.
    #[error(
        "the Windows Hypervisor Platform is installed but no hypervisor runs; switch on virtualization (VT-x or \
         AMD-V) in the firmware's set-up, run `bcdedit /set hypervisorlaunchtype auto` in an administrator's prompt, \
         then restart Windows. If the platform's feature is off: {INSTALL}"
    )]
    NoHypervisor,
    /// Another call failed.
    #[error("the Windows Hypervisor Platform does not answer: {0}")]
    Failed(#[from] whp::Error),
}

impl From<OpenError> for Unusable {
    fn from(e: OpenError) -> Self {
        match e {
            OpenError::NotWindows => Self::NotWindows,
            OpenError::Library { .. } => Self::NotInstalled(e.to_string()),
            OpenError::Function { .. } => Self::TooOld(e.to_string()),
        }
    }
}

impl WindowsPlatform {
    /// Whether a machine can run on it: a hypervisor is there and can have the local APICs.
    ///
    /// # Errors
    /// [`Unusable`]: why not, and what to do.
    pub fn check(&self) -> Result<(), Unusable> {
        match self.capability(CapabilityCode::HYPERVISOR_PRESENT)? {
            Capability::HypervisorPresent(true) => {}
            _ => return Err(Unusable::NoHypervisor),
        }
        let features = match self.capability(CapabilityCode::FEATURES)? {
            Capability::Features(f) => f,
            _ => CapabilityFeatures::empty(),
        };
        let has = |name: &str| self.optional_functions().iter().any(|(n, there)| *n == name && *there);
        if !features.contains(CapabilityFeatures::LOCAL_APIC_EMULATION) || !has("WHvRequestInterrupt") {
            return Err(Unusable::TooOld("the platform has no local APICs of its own".into()));
        }
        Ok(())
    }
}

/// Build number of the running Windows; `None` elsewhere.
pub fn windows_build() -> Option<u32> {
    #[cfg(windows)]
    {
        use windows_sys::Win32::System::SystemInformation::OSVERSIONINFOW;
        let mut info = OSVERSIONINFOW { dwOSVersionInfoSize: size_of::<OSVERSIONINFOW>() as u32, ..Default::default() };
        // SAFETY: the structure has its size in it. (GetVersionEx would lie to programs without a manifest.)
        let status = unsafe { windows_sys::Wdk::System::SystemServices::RtlGetVersion(&mut info) };
        (status == 0).then_some(info.dwBuildNumber)
    }
    #[cfg(not(windows))]
    {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_to_do() {
        let e = Unusable::from(OpenError::Library { path: "WinHvPlatform.dll".into(), reason: "not found".into() });
        assert!(e.to_string().contains("DISM /online /Enable-Feature /FeatureName:HypervisorPlatform /All"), "{e}");
        let e = Unusable::from(OpenError::Function { path: "WinHvPlatform.dll".into(), name: "WHvSetupPartition" });
        assert!(e.to_string().contains("19041"), "{e}");
    }

    #[cfg(not(windows))]
    #[test]
    fn there_is_none_elsewhere() {
        assert!(matches!(WindowsPlatform::open(), Err(OpenError::NotWindows)));
        assert_eq!(windows_build(), None);
    }
}
