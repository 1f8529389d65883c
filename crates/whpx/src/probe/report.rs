//! The verdict.

use serde::{Deserialize, Serialize};
use whp::{Capability, CapabilityCode, CapabilityFeatures, Platform};

use super::capabilities::{self, CapabilityReport};
use super::facts::HostFacts;

/// Windows 10 version 2004: the oldest tested release, x64.
const X64_BUILD: u32 = 19041;
/// Windows 11 24H2 with the updates that released the API, arm64.
const ARM64_BUILD: (u32, u32) = (26100, 3915);

/// How the feature is installed: all ways, in full.
pub(crate) const INSTALL: &[&str] = &[
    "run optionalfeatures.exe, tick \"Windows Hypervisor Platform\", restart Windows",
    "on Windows Server: Server Manager, Manage, Add Roles and Features, Features, Windows Hypervisor Platform",
    "or, as administrator: DISM /online /Enable-Feature /FeatureName:HypervisorPlatform /All",
];

/// What to do when the feature is there and no hypervisor runs.
const START: &[&str] = &[
    "switch on virtualization (VT-x, AMD-V or SVM) in the firmware's set-up",
    "as administrator: bcdedit /set hypervisorlaunchtype auto, then restart Windows",
    "in a virtual machine: its host must offer nested virtualization",
];

/// What was found of a platform of the host's hypervisor.
pub enum Found<'a> {
    /// The host's system has none that this program can use.
    NotOnThisSystem,
    /// Its library is not there or does not load: the system's words.
    NotInstalled(String),
    /// Its library lacks functions that are needed: which.
    Incomplete(String),
    /// It answers.
    Platform(FoundPlatform<'a>),
}

/// A platform that could be opened.
pub struct FoundPlatform<'a> {
    /// To be asked.
    pub platform: &'a dyn Platform,
    /// Where its library was loaded from.
    pub library: Option<String>,
    /// The library is not in the system's directory.
    pub foreign: bool,
    /// Functions that not every version has, and whether this one does.
    pub functions: Vec<(&'static str, bool)>,
}

/// Whether a platform can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Yes.
    Usable,
    /// Perhaps: it is older than what was tested.
    NotTested,
    /// It is there but will not do.
    Refused,
    /// It is not there.
    Absent,
}

/// A platform and whether it can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The platform's name.
    pub name: String,
    /// Whether it can be used.
    pub state: State,
    /// Why.
    pub why: String,
    /// What the user can do about it.
    pub advice: Vec<String>,
    /// What else there is to know.
    pub notes: Vec<String>,
    /// Its library's path.
    pub library: Option<String>,
    /// Optional functions that it does not have.
    pub missing_functions: Vec<String>,
    /// What it says about itself.
    pub capabilities: Vec<CapabilityReport>,
}

impl Verdict {
    fn usable(&self) -> bool {
        matches!(self.state, State::Usable | State::NotTested)
    }
}

/// What `-accel whpx` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The guest's architecture: `x86_64`, `aarch64`.
    pub guest: String,
    /// As `-accel whpx,platform=` has it: `windows`, `soft`; `none` when guests of this architecture cannot run.
    pub platform: String,
    /// Why.
    pub why: String,
}

/// Everything that `whpx probe` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// This program's.
    pub version: String,
    /// The host.
    pub host: HostFacts,
    /// The platform of the host's hypervisor.
    pub hardware: Verdict,
    /// The built-in platform.
    pub built_in: Verdict,
    /// By guest.
    pub choices: Vec<Choice>,
    /// The status that the program ends with: [`ProbeReport::HARDWARE`] or [`ProbeReport::BUILT_IN_ONLY`].
    pub exit_status: u8,
}

impl ProbeReport {
    /// Guests run on the host's hypervisor.
    pub const HARDWARE: u8 = 0;
    /// Guests run on the built-in platform only.
    pub const BUILT_IN_ONLY: u8 = 2;

    /// Judges.
    pub fn new(host: &HostFacts, found: &Found<'_>, built_in: &dyn Platform) -> Self {
        let hardware = hardware(host, found);
        let built_in = Verdict {
            name: built_in.name().into(),
            state: State::Usable,
            why: "an x86-64 processor in software, part of this program: it needs no hypervisor and no rights".into(),
            advice: vec![],
            notes: vec![],
            library: None,
            missing_functions: vec![],
            capabilities: capabilities::all(built_in),
        };
        let choices = choices(host, &hardware);
        let exit_status = if hardware.usable() { Self::HARDWARE } else { Self::BUILT_IN_ONLY };
        let version = env!("CARGO_PKG_VERSION").into();
        Self { version, host: host.clone(), hardware, built_in, choices, exit_status }
    }
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(ToString::to_string).collect()
}

fn hardware(host: &HostFacts, found: &Found<'_>) -> Verdict {
    let mut verdict = Verdict {
        name: "Windows Hypervisor Platform".into(),
        state: State::Absent,
        why: String::new(),
        advice: vec![],
        notes: vec![],
        library: None,
        missing_functions: vec![],
        capabilities: vec![],
    };
    match found {
        Found::NotOnThisSystem => {
            verdict.why = "it exists on Windows only".into();
        }
        Found::NotInstalled(reason) => {
            verdict.why = format!("the feature is not installed ({reason})");
            verdict.advice = owned(INSTALL);
        }
        Found::Incomplete(what) => {
            verdict.state = State::Refused;
            verdict.why = format!("this version of Windows is too old: {what}");
            verdict.advice = vec![format!("update to Windows 10 version 2004 (build {X64_BUILD}) or later")];
        }
        Found::Platform(found) => judge(&mut verdict, host, found),
    }
    if let Some(wine) = &host.wine {
        verdict.notes.push(format!("this is Wine {wine}, which has no hypervisor platform of its own"));
    }
    verdict
}

fn features(platform: &dyn Platform) -> CapabilityFeatures {
    match platform.capability(CapabilityCode::FEATURES) {
        Ok(Capability::Features(features)) => features,
        _ => CapabilityFeatures::empty(),
    }
}

fn judge(verdict: &mut Verdict, host: &HostFacts, found: &FoundPlatform<'_>) {
    let platform = found.platform;
    verdict.name = platform.name().into();
    verdict.library = found.library.clone();
    verdict.missing_functions =
        found.functions.iter().filter(|(_, there)| !there).map(|(n, _)| n.to_string()).collect();
    verdict.capabilities = capabilities::all(platform);
    if found.foreign {
        let library = found.library.as_deref().unwrap_or("the library");
        verdict.notes.push(format!("{library} is not the system's; what is behind it may be software"));
    }
    let present = match platform.capability(CapabilityCode::HYPERVISOR_PRESENT) {
        Ok(Capability::HypervisorPresent(present)) => Ok(present),
        Ok(_) => Err("an answer that makes no sense".into()),
        Err(e) => Err(e.to_string()),
    };
    verdict.state = State::Refused;
    match present {
        Err(why) => {
            verdict.why = format!("the library is there but cannot say whether a hypervisor runs: {why}");
            verdict.advice = [owned(START), owned(INSTALL)].concat();
        }
        Ok(false) => {
            verdict.state = State::Absent;
            verdict.why = "the library is there but no hypervisor runs".into();
            verdict.advice = [owned(START), owned(INSTALL)].concat();
        }
        Ok(true) if host.machine_arch() == "aarch64" => arm64(verdict, host, platform),
        Ok(true) => x64(verdict, host, found),
    }
}

fn x64(verdict: &mut Verdict, host: &HostFacts, found: &FoundPlatform<'_>) {
    let lacks_request = found.functions.contains(&("WHvRequestInterrupt", false));
    if !features(found.platform).contains(CapabilityFeatures::LOCAL_APIC_EMULATION) || lacks_request {
        verdict.why = "a hypervisor runs, but this version has no local APICs of its own".into();
        verdict.advice = vec![format!("update to Windows 10 version 2004 (build {X64_BUILD}) or later")];
        return;
    }
    if found.platform.capability(CapabilityCode::PROCESSOR_PERFMON_FEATURES).is_err() {
        verdict.notes.push(
            "older than Windows Server 2022 (build 20348): no choice of Hyper-V enlightenments, and interrupts of the \
             8259 pair need help to end a HLT"
                .into(),
        );
    }
    match &host.windows {
        Some(v) if !v.at_least(X64_BUILD, 0) => {
            verdict.state = State::NotTested;
            verdict.why =
                format!("a hypervisor runs; build {} is older than {X64_BUILD}: may work, not tested", v.build);
            verdict.advice = vec![format!("update to Windows 10 version 2004 (build {X64_BUILD}) or later")];
        }
        _ => {
            verdict.state = State::Usable;
            verdict.why = "a hypervisor runs".into();
        }
    }
}

fn arm64(verdict: &mut Verdict, host: &HostFacts, platform: &dyn Platform) {
    let (build, update) = ARM64_BUILD;
    let needed = format!("Windows 11 24H2 build {build}.{update} or later");
    let old = host.windows.as_ref().is_some_and(|v| !v.at_least(build, update));
    let released = features(platform).contains(CapabilityFeatures::ARM64_SUPPORT);
    if host.arch != "aarch64" {
        verdict.why = "this program is for x64 and runs emulated; the hypervisor is open to arm64 programs only".into();
        verdict.advice = vec!["use whpx for arm64 (the aarch64 executables)".into()];
    } else if old || !released {
        let reason = if released { "" } else { " (the feature bit Arm64Support is not set)" };
        verdict.why = format!("this build has a pre-release version of the platform{reason}; {needed} is needed");
        verdict.advice = vec![format!("install Windows' updates up to build {build}.{update} or later")];
    } else {
        verdict.state = State::Usable;
        verdict.why = "a hypervisor runs".into();
    }
}

fn choices(host: &HostFacts, hardware: &Verdict) -> Vec<Choice> {
    let choice = |guest: &str, platform: &str, why: &str| Choice {
        guest: guest.into(),
        platform: platform.into(),
        why: why.into(),
    };
    let usable = hardware.usable();
    let soft = format!("{}: {}", hardware.name, hardware.why);
    if host.machine_arch() == "aarch64" {
        let arm = if usable {
            choice("aarch64", "windows", &hardware.why)
        } else {
            choice("aarch64", "none", &format!("{soft}; the built-in platform runs x86-64 guests only"))
        };
        return vec![choice("x86_64", "soft", "this host's hypervisor runs arm64 guests only"), arm];
    }
    if usable { vec![choice("x86_64", "windows", &hardware.why)] } else { vec![choice("x86_64", "soft", &soft)] }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
