//! `-accel` and `-cpu`: which platform, with which processors.

use std::sync::Arc;

use accel::AccelOptions;
use cli::{Accel, Config};
use cpu_x86::Tier;
use cpu_x86::model::{CpuSpec, Topology};
use whp::Platform;
use whp_soft::{Behave, SoftOptions, SoftPlatform};
use whp_windows::{Unusable, WindowsOptions, WindowsPlatform, windows_build};

use crate::{Errors, PerProcessor, identity, windows_cpu};

/// Accelerators and what they are, for `-accel help`.
pub(crate) const ACCELS: &[(&str, &str)] = &[
    ("whpx", "Windows Hypervisor Platform API: Microsoft's where there is one, else the built-in platform"),
    ("tcg", "the built-in platform, under the name scripts know"),
];

/// Properties of `-accel whpx`.
pub(crate) const PROPS: &[(&str, &str)] = &[
    ("platform", "auto|windows|soft: which implementation of the API (default auto)"),
    ("tier", "interpreter|translator|check: how the built-in platform executes (default translator)"),
    (
        "kernel-irqchip",
        "on|off: local APICs in the platform, or in this program (default on; off on Windows 10 with a PIC)",
    ),
    ("hyperv", "on|off|auto: Hyper-V enlightenments (default auto: on where the platform has them)"),
    (
        "ssd",
        "on|off|auto: separate security domain; off hides speculation controls and is faster on Windows (default on)",
    ),
    ("ignore-unknown-msr", "on|off|auto: unknown MSRs read 0 and ignore writes, or raise #GP (default on)"),
    ("intercept-msr-gp", "on|off|auto: tell which MSR accesses the platform answers with #GP (default off)"),
    (
        "behave",
        "native|windows10|windows11: the built-in platform does as that Windows does where they differ (default native)",
    ),
    ("x-decoded", "on|off: off makes the built-in platform exit for accesses as Microsoft's does (for tests)"),
];

/// A library to use in place of Microsoft's, for tests.
pub(crate) const LIBRARY_VARIABLE: &str = "WHPX_WINHVPLATFORM";

/// A platform, and how to drive it.
pub(crate) type Chosen = (Box<dyn Platform>, AccelOptions);

/// The first accelerator of the command line that can be used; why those before it cannot is a warning each.
pub(crate) fn choose(config: &Config) -> Result<Chosen, Errors> {
    let default = [Accel { name: "whpx".into(), props: vec![] }];
    let mut list = if config.accels.is_empty() { default.to_vec() } else { config.accels.clone() };
    if let Some(value) = &config.kernel_irqchip {
        property(&format!("-machine kernel-irqchip={value}"), "kernel-irqchip", value).map_err(|e| vec![e])?;
        for accel in list.iter_mut().filter(|a| a.name == "whpx" && a.get("kernel-irqchip").is_none()) {
            accel.props.push(("kernel-irqchip".into(), value.clone()));
        }
    }
    let mut errors = Vec::new();
    for accel in &list {
        let platform = check(accel).and_then(|()| {
            if accel.name == "tcg" {
                let options = AccelOptions::default();
                Ok((soft(config, spec(config, options, true)?, SoftChoice::default()), options))
            } else {
                whpx(config, accel)
            }
        });
        match platform {
            Ok(platform) => {
                errors.iter().for_each(|e| tracing::warn!("{e}"));
                return Ok(platform);
            }
            Err(e) => errors.push(e),
        }
    }
    Err(errors)
}

fn typed(accel: &Accel) -> String {
    let props: Vec<_> = accel.props.iter().map(|(k, v)| format!(",{k}={v}")).collect();
    format!("-accel {}{}", accel.name, props.concat())
}

fn check(accel: &Accel) -> Result<(), String> {
    let typed = typed(accel);
    match accel.name.as_str() {
        "whpx" => accel.props.iter().try_for_each(|(k, v)| property(&typed, k, v)),
        "tcg" => accel.props.iter().try_for_each(|(k, _)| match k.as_str() {
            "thread" | "tb-size" | "one-insn-per-tb" => Ok(()),
            _ => Err(format!("{typed}: unknown property '{k}'")),
        }),
        "kvm" | "hvf" | "xen" | "nvmm" | "mshv" => {
            Err(format!("{typed}: not an accelerator of this program; use -accel whpx"))
        }
        other => {
            let near = cli::nearest(other, ACCELS.iter().map(|a| a.0));
            let hint = near.map(|n| format!("; did you mean {n}?")).unwrap_or_default();
            Err(format!("{typed}: unknown accelerator{hint}; '-accel help' lists them"))
        }
    }
}

fn property(typed: &str, key: &str, value: &str) -> Result<(), String> {
    let allowed: &[&str] = match key {
        "platform" => &["auto", "windows", "soft"],
        "tier" => &["interpreter", "translator", "check"],
        "behave" => &Behave::NAMES,
        "kernel-irqchip" | "x-decoded" => &["on", "off"],
        "hyperv" | "ssd" | "ignore-unknown-msr" | "intercept-msr-gp" => &["on", "off", "auto"],
        _ => {
            let near = cli::nearest(key, PROPS.iter().map(|p| p.0)).map(|n| format!("; did you mean {n}?"));
            let near = near.unwrap_or_default();
            return Err(format!("{typed}: unknown property '{key}'{near}; '-accel whpx,help' lists them"));
        }
    };
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(match (key, value) {
        ("platform", "kvm" | "mshv") => {
            format!("{typed}: platform={value} is not there yet; use platform=soft")
        }
        ("kernel-irqchip", "split") => {
            format!("{typed}: kernel-irqchip=split is not supported; use kernel-irqchip=on or off")
        }
        _ => format!("{typed}: {key}={value} is not supported; available: {}", allowed.join(", ")),
    })
}

/// The meaning of `-cpu`.
fn spec(config: &Config, options: AccelOptions, ssd: bool) -> Result<CpuSpec, String> {
    let cpu = &config.cpu;
    let mut text = cpu.model.clone().unwrap_or_else(|| "max".into());
    for (feature, value) in &cpu.features {
        text += &format!(",{feature}={value}");
    }
    // What other options take away; asked for all the same it is a warning.
    let mut taken: Vec<(&str, &str)> = Vec::new();
    if !options.kernel_irqchip {
        let why = "with kernel-irqchip=off the timers of the local APICs do not follow the guest's TSC";
        taken.push(("tsc-deadline", why));
    }
    if !ssd {
        // What ssd=off hides on Windows (qemu-whpx-behaviour.md, 0.2).
        let controls = ["spec-ctrl", "stibp", "ssbd", "ibpb", "ibrs", "amd-stibp"];
        taken.extend(controls.map(|name| (name, "ssd=off hides the speculation controls")));
    }
    let asked =
        |name: &str| cpu.features.iter().rev().find(|f| f.0.replace('_', "-") == name).is_some_and(|f| f.1 == "on");
    let mut warnings = Vec::new();
    for (name, why) in taken {
        text += &format!(",{name}=off");
        if asked(name) {
            warnings.push(format!("-cpu: {name} is left out: {why}"));
        }
    }
    let mut spec = CpuSpec::parse(&text).map_err(|e| e.to_string())?;
    spec.warnings.extend(warnings);
    Ok(spec)
}

fn topology(config: &Config) -> Topology {
    Topology { sockets: config.smp.sockets, cores: config.smp.cores, threads: config.smp.threads }
}

/// `-accel whpx`: Microsoft's platform or the built-in one.
fn whpx(config: &Config, accel: &Accel) -> Result<Chosen, String> {
    let get = |key: &str| accel.get(key);
    let mut options = AccelOptions {
        kernel_irqchip: get("kernel-irqchip") != Some("off"),
        ignore_unknown_msr: get("ignore-unknown-msr") != Some("off"),
        intercept_msr_gp: get("intercept-msr-gp") == Some("on"),
    };
    let decoded = get("x-decoded") != Some("off");
    let behave =
        get("behave").map(|b| b.parse::<Behave>().map_err(|e| format!("{}: {e}", typed(accel)))).transpose()?;
    if behave.is_some() && get("platform") == Some("windows") {
        return Err(format!("{}: behave= is the built-in platform's; leave away one of the two", typed(accel)));
    }
    let behave = behave.unwrap_or_default();
    let which = get("platform").unwrap_or("auto");
    let why = match which {
        "soft" => None,
        "auto" if !decoded || behave != Behave::Native => None,
        _ => match windows(config, accel, options) {
            Ok(chosen) => return Ok(chosen),
            Err(e) if which == "windows" => return Err(e),
            Err(e) => Some(e),
        },
    };
    if behave == Behave::Windows10 {
        old_system(config, accel, &mut options, "")?;
    }
    let spec = spec(config, options, get("ssd") != Some("off"))?;
    let hyperv = hyperv(accel, &spec)?;
    // On other systems nobody expects Microsoft's platform.
    if let Some(why) = why.filter(|_| cfg!(windows)) {
        tracing::warn!("the built-in platform is used, which is slower: {why}");
    }
    let tier = match get("tier") {
        Some("translator") => Tier::Translator,
        Some("check") => Tier::Check,
        Some("interpreter") => Tier::Interpreter,
        _ => Tier::default(),
    };
    Ok((soft(config, spec, SoftChoice { decoded, tier, hyperv, behave }), options))
}

/// Microsoft's platform. The error says why not and what to do.
fn windows(config: &Config, accel: &Accel, mut accel_options: AccelOptions) -> Result<Chosen, String> {
    let error = |e: Unusable| format!("{}: {e}{}", typed(accel), version());
    let opened = match std::env::var_os(LIBRARY_VARIABLE) {
        Some(path) => WindowsPlatform::open_library(path.as_ref()),
        None => WindowsPlatform::open(),
    };
    let platform = opened.map_err(|e| error(e.into()))?;
    platform.check().map_err(error)?;
    let get = |key: &str| accel.get(key);
    if platform.is_legacy() {
        old_system(config, accel, &mut accel_options, &version())?;
    }
    let spec = &spec(config, accel_options, true)?; // the platform hides what ssd=off hides
    let mut warnings = Vec::new();
    let offers = windows_cpu::Platform::new(|leaves| platform.cpuid(leaves));
    let mut cpuid = windows_cpu::results(spec, topology(config), config.smp.cpus, &offers, &mut warnings);
    warnings.iter().for_each(|w| tracing::warn!("{w}"));
    let hyperv = hyperv(accel, spec)?;
    if !hyperv && !platform.is_legacy() {
        cpuid.extend(identity::leaves(spec, &platform));
    }
    let options = WindowsOptions { hyperv, separate_security_domain: get("ssd") != Some("off"), cpuid };
    Ok((Box::new(platform.with_options(options)), accel_options))
}

/// What is different with a Windows older than build 20348; `version`: which one it is, for messages.
fn old_system(config: &Config, accel: &Accel, options: &mut AccelOptions, version: &str) -> Result<(), String> {
    if accel.get("hyperv") == Some("on") {
        return Err(format!(
            "{}: hyperv=on needs Windows 11 or Windows Server 2022 (build 20348){version}; leave it away",
            typed(accel)
        ));
    }
    let pic = config.machine_props.iter().rev().find(|(k, _)| k == "pic").is_none_or(|(_, v)| v != "off");
    if !pic {
        return Ok(());
    }
    if accel.get("kernel-irqchip").is_none() {
        // An interrupt of the 8259 pair does not end a HLT there (the reference text, "PIC interrupts on Windows 10").
        tracing::info!("Windows older than build 20348{version}: kernel-irqchip=off is used");
        options.kernel_irqchip = false;
    } else if options.kernel_irqchip {
        tracing::warn!(
            "kernel-irqchip=on with Windows older than build 20348{version}: an interrupt of the 8259 pair does not end a \
             HLT there by itself; if the guest hangs, leave kernel-irqchip=on away, or use -M pic=off"
        );
    }
    Ok(())
}

/// The running Windows, for messages.
fn version() -> String {
    windows_build().map(|b| format!(" (this is build {b})")).unwrap_or_default()
}

/// Whether the guest is to have the enlightenments that its platform offers.
fn hyperv(accel: &Accel, spec: &CpuSpec) -> Result<bool, String> {
    let value = accel.props.iter().rev().find(|(k, _)| k == "hyperv").map(|(_, v)| v.as_str());
    match (value, identity::is_wanted(spec)) {
        (Some("off"), _) => Ok(false),
        (Some("on"), false) => {
            Err(format!("{}: hyperv=on and -cpu ...,-hypervisor contradict each other; leave one away", typed(accel)))
        }
        (_, wanted) => Ok(wanted),
    }
}

/// What was chosen for the built-in platform.
struct SoftChoice {
    decoded: bool,
    tier: Tier,
    hyperv: bool,
    behave: Behave,
}

impl Default for SoftChoice {
    fn default() -> Self {
        Self { decoded: true, tier: Tier::default(), hyperv: false, behave: Behave::Native }
    }
}

/// The built-in platform with the processors of `-cpu` and `-smp`.
fn soft(config: &Config, spec: CpuSpec, choice: SoftChoice) -> Box<dyn Platform> {
    spec.warnings.iter().for_each(|w| tracing::warn!("{w}"));
    let (smp, topology) = (config.smp, topology(config));
    let apic_id: PerProcessor<u32> = Arc::new(move |index| machine::apic_id(&smp, index));
    let ids = apic_id.clone();
    let leaves = identity::leaves(&spec, &SoftPlatform::default());
    let mut options = SoftOptions::new(Arc::new(spec.model(topology, 0)));
    options.model = Arc::new(move |index| Arc::new(spec.model(topology, ids(index))));
    options.apic_id = apic_id;
    options.eoi_suppression = true;
    options.decoded = choice.decoded;
    options.behave = choice.behave;
    options.tier = choice.tier;
    options.hyperv = choice.hyperv;
    if !choice.hyperv {
        options.cpuid = leaves;
    }
    Box::new(SoftPlatform::new(options))
}

#[cfg(test)]
mod tests {
    use cli::Options;
    use whp::{LocalApicEmulationMode, Property};

    use super::*;

    /// What each processor of a guest says of its place: package, core and thread by the APIC identifier and the widths of
    /// leaf 0BH, and whether leaves 1, 4, 0BH and 8000001EH agree.
    fn places(command: &str, mode: LocalApicEmulationMode) -> Vec<(u32, u32, u32)> {
        let args = command.split(' ').map(str::to_owned);
        let config = Config::new(&Options::parse(args).unwrap()).unwrap();
        let topology = topology(&config);
        let (platform, _) = choose(&config).unwrap();
        let partition = platform.create_partition().unwrap();
        partition.set_property(Property::ProcessorCount(config.smp.cpus)).unwrap();
        partition.set_property(Property::LocalApicEmulationMode(mode)).unwrap();
        partition.setup().unwrap();
        let per_package = topology.cores * topology.threads;
        let one = |index| {
            let vp = partition.create_virtual_processor(index).unwrap();
            let cpuid = |leaf, subleaf| vp.cpuid_output(leaf, subleaf).unwrap();
            let (leaf1, smt, package) = (cpuid(1, 0), cpuid(0xB, 0), cpuid(0xB, 1));
            let id = smt[3];
            assert_eq!(leaf1[1] >> 24, id & 0xFF, "leaf 1 and 0BH: the APIC identifier");
            assert_eq!(leaf1[1] >> 16 & 0xFF, per_package, "leaf 1: processors of a package");
            assert_eq!(leaf1[3] >> 28 & 1 != 0, per_package > 1, "leaf 1: HTT");
            assert_eq!((smt[1], smt[2] >> 8), (topology.threads, 1), "leaf 0BH: threads of a core");
            assert_eq!((package[1], package[2] >> 8, package[3]), (per_package, 2, id), "leaf 0BH: of a package");
            let (thread_bits, package_bits) = (smt[0], package[0]);
            let field = |low: u32, high: u32| id >> low & ((1 << (high - low)) - 1);
            let place = (id >> package_bits, field(thread_bits, package_bits), field(0, thread_bits));
            let l1 = cpuid(4, 0);
            if l1[0] & 0x1F != 0 {
                assert_eq!(l1[0] >> 14 & 0xFFF, (1 << thread_bits) - 1, "leaf 4: L1 belongs to a core");
                assert_eq!(l1[0] >> 26, (1 << (package_bits - thread_bits)) - 1, "leaf 4: cores of a package");
                assert_eq!(cpuid(4, 3)[0] >> 14 & 0xFFF, (1 << package_bits) - 1, "leaf 4: L3 belongs to a package");
            }
            let amd = cpuid(0x8000_001E, 0);
            if cpuid(0x8000_0000, 0)[0] >= 0x8000_001E && amd != [0; 4] {
                let expected = [id, (topology.threads - 1) << 8 | place.1, place.0, 0];
                assert_eq!(amd, expected, "leaf 8000001EH");
                assert_eq!(cpuid(0x8000_0008, 0)[2] & 0xFF, per_package - 1, "leaf 80000008H");
            }
            place
        };
        (0..config.smp.cpus).map(one).collect()
    }

    #[test]
    fn guests_see_the_topology_that_was_asked_for() {
        for cpu in ["Haswell", "EPYC", "max", "qemu64"] {
            for mode in [LocalApicEmulationMode::X2Apic, LocalApicEmulationMode::None] {
                for (sockets, cores, threads) in [(1, 1, 1), (1, 4, 1), (2, 1, 1), (2, 3, 2), (1, 3, 2), (3, 2, 1)] {
                    let n = sockets * cores * threads;
                    let smp = format!("{n},sockets={sockets},cores={cores},threads={threads}");
                    let found = places(&format!("-accel whpx,platform=soft -cpu {cpu} -smp {smp}"), mode);
                    let wanted: Vec<_> =
                        (0..n).map(|i| (i / (cores * threads), i / threads % cores, i % threads)).collect();
                    assert_eq!(found, wanted, "-cpu {cpu} -smp {smp}");
                }
            }
        }
    }

    #[test]
    fn what_other_options_take_away_is_said_when_it_was_asked_for() {
        let warnings = |command: &str, kernel_irqchip, ssd| {
            let args = command.split(' ').map(str::to_owned);
            let config = Config::new(&Options::parse(args).unwrap()).unwrap();
            let options = AccelOptions { kernel_irqchip, ..AccelOptions::default() };
            spec(&config, options, ssd).unwrap().warnings
        };
        assert!(warnings("-cpu max", false, false).is_empty());
        let said = warnings("-cpu max,+tsc_deadline,+ibrs,-stibp", false, false);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("tsc-deadline is left out: with kernel-irqchip=off"), "{said:?}");
        assert!(said[1].contains("ibrs is left out: ssd=off"), "{said:?}");
        assert!(warnings("-cpu max,+tsc-deadline,+ibrs", true, true).is_empty());
    }

    #[test]
    fn ssd_off_hides_the_speculation_controls() {
        let controls = |options: &str| {
            let command = format!("-accel whpx,platform=soft{options} -cpu max,+stibp,+ssbd,+ibpb,+ibrs,+amd-stibp");
            let args = command.split(' ').map(str::to_owned);
            let (platform, _) = choose(&Config::new(&Options::parse(args).unwrap()).unwrap()).unwrap();
            let partition = platform.create_partition().unwrap();
            partition.set_property(Property::ProcessorCount(1)).unwrap();
            partition.set_property(Property::SeparateSecurityDomain(options.is_empty())).unwrap();
            partition.setup().unwrap();
            let vp = partition.create_virtual_processor(0).unwrap();
            // SPEC_CTRL, STIBP, SSBD; IBPB, IBRS, STIBP.
            let (intel, amd) = (vp.cpuid_output(7, 0).unwrap()[3], vp.cpuid_output(0x8000_0008, 0).unwrap()[1]);
            (intel >> 26 & 0b10_0011, amd >> 12 & 0b1101)
        };
        assert_eq!(controls(""), (0b10_0011, 0b1101));
        assert_eq!(controls(",ssd=off"), (0, 0));
    }

    #[test]
    fn behaviours_choose_the_interrupt_controller() {
        let kernel_irqchip = |command: &str| {
            let args = command.split(' ').map(str::to_owned);
            choose(&Config::new(&Options::parse(args).unwrap()).unwrap()).map(|c| c.1.kernel_irqchip)
        };
        assert!(kernel_irqchip("-accel whpx,behave=windows11").unwrap());
        assert!(!kernel_irqchip("-accel whpx,behave=windows10").unwrap(), "there is a PIC");
        assert!(kernel_irqchip("-accel whpx,behave=windows10 -M pc,pic=off").unwrap());
        assert!(kernel_irqchip("-accel whpx,behave=windows10,kernel-irqchip=on").unwrap());
        assert!(kernel_irqchip("-accel whpx,behave=windows10,hyperv=on").is_err());
        assert!(kernel_irqchip("-accel whpx,behave=windows7").is_err());
        assert!(kernel_irqchip("-accel whpx,platform=windows,behave=windows10").is_err());
        let split = kernel_irqchip("-accel whpx,kernel-irqchip=split").unwrap_err();
        assert!(split[0].ends_with("use kernel-irqchip=on or off"), "{split:?}");
    }
}
