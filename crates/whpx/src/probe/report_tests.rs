//! Verdicts on systems that are not at hand.

use std::sync::Arc;

use whp::{Arch, Error, HResult, Partition, ProcessorFeatures, ProcessorFeatures1, Result};
use whp_soft::SoftPlatform;

use super::super::capabilities::CapabilityValue;
use super::super::facts::WindowsVersion;
use super::super::text::text;
use super::*;

/// A platform that answers a few capability codes.
struct Fake {
    arch: Arch,
    answers: Vec<(CapabilityCode, Capability)>,
}

impl Platform for Fake {
    fn name(&self) -> &str {
        "Windows Hypervisor Platform"
    }
    fn arch(&self) -> Arch {
        self.arch
    }
    fn capability(&self, code: CapabilityCode) -> Result<Capability> {
        let answer = self.answers.iter().find(|(c, _)| *c == code).map(|(_, a)| a.clone());
        answer.ok_or_else(|| Error::new(HResult::WHV_E_UNKNOWN_CAPABILITY, "GetCapability", format!("{code:?}")))
    }
    fn create_partition(&self) -> Result<Arc<dyn Partition>> {
        Err(Error::new(HResult::E_NOTIMPL, "CreatePartition", "probing must not make partitions"))
    }
}

fn fake(present: bool, features: CapabilityFeatures) -> Fake {
    let answers = vec![
        (CapabilityCode::HYPERVISOR_PRESENT, Capability::HypervisorPresent(present)),
        (CapabilityCode::FEATURES, Capability::Features(features)),
        (
            CapabilityCode::PROCESSOR_FEATURES_BANKS,
            Capability::ProcessorFeaturesBanks(ProcessorFeatures::SMEP, ProcessorFeatures1::LA57),
        ),
        (CapabilityCode::PROCESSOR_CLOCK_FREQUENCY, Capability::ProcessorClockFrequency(2_994_373_000)),
    ];
    Fake { arch: Arch::X64, answers }
}

fn windows(arch: &str, build: u32, update: Option<u32>) -> HostFacts {
    let version =
        WindowsVersion { major: 10, build, update, product: Some("Windows 10 Pro".into()), ..Default::default() };
    HostFacts {
        os: "windows".into(),
        arch: arch.into(),
        native_arch: None,
        cpus: 8,
        windows: Some(version),
        wine: None,
    }
}

fn found(platform: &Fake) -> Found<'_> {
    let functions = vec![("WHvRequestInterrupt", true), ("WHvGetVirtualProcessorState", false)];
    let library = Some(r"C:\Windows\System32\WinHvPlatform.dll".into());
    Found::Platform(FoundPlatform { platform, library, foreign: false, functions })
}

fn report(host: &HostFacts, found: &Found<'_>) -> ProbeReport {
    let report = ProbeReport::new(host, found, &SoftPlatform::default());
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<ProbeReport>(&json).unwrap(), report, "it is plain data");
    assert!(!text(&report).contains("  \n\n\n"));
    report
}

const GOOD: CapabilityFeatures = CapabilityFeatures::LOCAL_APIC_EMULATION.union(CapabilityFeatures::XSAVE);

#[test]
fn windows_10_and_11() {
    let mut platform = fake(true, GOOD);
    let r = report(&windows("x86_64", 19045, Some(4170)), &found(&platform));
    assert_eq!((r.hardware.state, r.exit_status), (State::Usable, 0));
    assert!(r.hardware.notes[0].contains("20348"), "no perfmon capability: {:?}", r.hardware.notes);
    assert_eq!(r.hardware.missing_functions, ["WHvGetVirtualProcessorState"]);
    assert_eq!((r.choices.len(), &*r.choices[0].guest, &*r.choices[0].platform), (1, "x86_64", "windows"));
    let banks = r.hardware.capabilities.iter().find(|c| c.name == "ProcessorFeaturesBanks").unwrap();
    let CapabilityValue::Banks(banks) = &banks.value else { panic!("{banks:?}") };
    assert_eq!((&banks[0].set[..], &banks[1].set[..]), (&["SMEP".to_string()][..], &["LA57".to_string()][..]));
    let clock = r.hardware.capabilities.iter().find(|c| c.name == "ProcessorClockFrequency").unwrap();
    assert_eq!(clock.value, CapabilityValue::Value("2994373000 Hz (2994.373 MHz)".into()));
    let t = text(&r);
    assert!(t.contains("WHV_E_UNKNOWN_CAPABILITY") && t.contains("build 19045.4170"), "{t}");
    assert!(t.contains("-accel whpx: x86_64 guests run on Windows Hypervisor Platform"), "{t}");

    let perfmon = (CapabilityCode::PROCESSOR_PERFMON_FEATURES, Capability::ProcessorPerfmonFeatures(1));
    platform.answers.push(perfmon);
    let r = report(&windows("x86_64", 22631, None), &found(&platform));
    assert!(r.hardware.notes.is_empty());
    assert!(text(&r).contains("Windows 11 Pro"), "the registry says Windows 10");
}

#[test]
fn an_old_windows_10_may_work() {
    let platform = fake(true, GOOD);
    let r = report(&windows("x86_64", 18363, Some(1)), &found(&platform));
    assert_eq!((r.hardware.state, r.exit_status), (State::NotTested, 0));
    assert!(r.hardware.why.contains("may work, not tested"), "{}", r.hardware.why);
    let r = report(&windows("x86_64", 17134, None), &found(&fake(true, CapabilityFeatures::empty())));
    assert_eq!((r.hardware.state, r.exit_status), (State::Refused, 2));
    assert!(r.hardware.why.contains("local APICs"));
    let r = report(&windows("x86_64", 17134, None), &Found::Incomplete("it has no function WHvSetupPartition".into()));
    assert_eq!((r.hardware.state, &*r.choices[0].platform), (State::Refused, "soft"));
}

#[test]
fn a_missing_feature_says_how_to_install_it() {
    let r = report(&windows("x86_64", 22631, None), &Found::NotInstalled("module not found".into()));
    assert_eq!((r.hardware.state, r.exit_status, &*r.choices[0].platform), (State::Absent, 2, "soft"));
    let t = text(&r);
    for way in
        ["optionalfeatures.exe", "Server Manager", "DISM /online /Enable-Feature /FeatureName:HypervisorPlatform /All"]
    {
        assert!(t.contains(way), "{way} in {t}");
    }
    let r = report(&windows("x86_64", 22631, None), &found(&fake(false, GOOD)));
    assert_eq!((r.hardware.state, r.exit_status), (State::Absent, 2));
    assert!(r.hardware.advice.iter().any(|a| a.contains("bcdedit")) && r.hardware.advice.len() > INSTALL.len());
}

#[test]
fn a_platform_that_answers_nothing_is_no_crash() {
    let r = report(&windows("x86_64", 22631, None), &found(&Fake { arch: Arch::X64, answers: vec![] }));
    assert_eq!((r.hardware.state, r.exit_status), (State::Refused, 2));
    assert!(r.hardware.why.contains("0x80370300"), "{}", r.hardware.why);
    assert!(r.hardware.capabilities.iter().all(|c| matches!(c.value, CapabilityValue::Error(_))));
}

#[test]
fn arm64_needs_the_released_version() {
    let arm = |features| Fake { arch: Arch::Arm64, ..fake(true, features) };
    let released = CapabilityFeatures::ARM64_SUPPORT;
    for (build, update, features, state) in [
        (26100, Some(3915), released, State::Usable),
        (26200, None, released, State::Usable),
        (26100, Some(3914), released, State::Refused),
        (26100, Some(4000), CapabilityFeatures::empty(), State::Refused),
        (22631, Some(9999), released, State::Refused),
    ] {
        let platform = arm(features);
        let r = report(&windows("aarch64", build, update), &found(&platform));
        assert_eq!(r.hardware.state, state, "{build}.{update:?}");
        assert_eq!(r.exit_status, if state == State::Usable { 0 } else { 2 });
        let choice = |guest: &str| r.choices.iter().find(|c| c.guest == guest).unwrap().platform.clone();
        assert_eq!(choice("x86_64"), "soft");
        assert_eq!(choice("aarch64"), if state == State::Usable { "windows" } else { "none" });
        if state == State::Refused {
            assert!(r.hardware.why.contains("26100.3915"), "{}", r.hardware.why);
        }
    }
    let emulated = HostFacts { native_arch: Some("aarch64".into()), ..windows("x86_64", 26100, Some(4000)) };
    let r = report(&emulated, &found(&fake(true, GOOD)));
    assert_eq!(r.hardware.state, State::Refused);
    assert!(r.hardware.why.contains("emulated"));
}

#[test]
fn elsewhere_and_under_wine() {
    let host = HostFacts { os: "linux".into(), windows: None, ..windows("x86_64", 0, None) };
    let r = report(&host, &Found::NotOnThisSystem);
    assert_eq!((r.hardware.state, r.exit_status), (State::Absent, 2));
    let t = text(&r);
    assert!(t.contains("Windows only") && t.contains("built-in platform: usable"), "{t}");
    let wine = HostFacts { wine: Some("8.0".into()), ..windows("x86_64", 19043, None) };
    let r = report(&wine, &Found::NotInstalled("not found".into()));
    assert!(r.hardware.notes[0].contains("Wine 8.0"));
    let platform = fake(true, GOOD);
    let Found::Platform(beside) = found(&platform) else { panic!() };
    let beside = FoundPlatform { foreign: true, library: Some(r"Z:\x\WinHvPlatform.dll".into()), ..beside };
    let r = report(&wine, &Found::Platform(beside));
    assert_eq!((r.hardware.state, r.exit_status), (State::Usable, 0));
    assert!(r.hardware.notes.iter().any(|n| n.contains(r"Z:\x\WinHvPlatform.dll is not the system's")));
}
