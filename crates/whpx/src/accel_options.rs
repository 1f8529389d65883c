//! `-accel` and `-cpu`: which platform, with which processors.

use std::sync::Arc;

use cli::{Accel, Config};
use cpu_x86::Tier;
use cpu_x86::model::{CpuSpec, Topology};
use whp::Platform;
use whp_soft::{SoftOptions, SoftPlatform};

use crate::{Errors, PerProcessor};

/// Accelerators and what they are, for `-accel help`.
pub(crate) const ACCELS: &[(&str, &str)] = &[
    ("whpx", "Windows Hypervisor Platform API: the built-in platform here"),
    ("tcg", "the built-in platform, under the name scripts know"),
];

/// Properties of `-accel whpx`.
pub(crate) const PROPS: &[(&str, &str)] = &[
    ("platform", "auto|soft: which implementation of the API (default auto)"),
    ("tier", "interpreter|translator|check: how the built-in platform executes (default interpreter)"),
    ("kernel-irqchip", "on: local APICs in the platform (default on)"),
    ("hyperv", "off|auto: Hyper-V enlightenments are not there yet (default auto)"),
    ("ssd", "on|off|auto: separate security domain; no effect on the built-in platform"),
    ("ignore-unknown-msr", "on: unknown MSRs read 0 and ignore writes (default on)"),
    ("intercept-msr-gp", "off: not there yet (default off)"),
];

/// The first accelerator of the command line that can be used.
pub(crate) fn choose(config: &Config) -> Result<Box<dyn Platform>, Errors> {
    let default = [Accel { name: "whpx".into(), props: vec![] }];
    let list = if config.accels.is_empty() { &default[..] } else { &config.accels };
    let mut errors = Vec::new();
    for accel in list {
        match check(accel) {
            Ok(()) => return soft(config, tier(accel)),
            Err(e) => errors.push(e),
        }
    }
    Err(errors)
}

/// The accelerator's `tier`, checked before.
fn tier(accel: &Accel) -> Tier {
    match accel.props.iter().find(|(k, _)| k == "tier").map(|(_, v)| v.as_str()) {
        Some("translator") => Tier::Translator,
        Some("check") => Tier::Check,
        _ => Tier::Interpreter,
    }
}

fn check(accel: &Accel) -> Result<(), String> {
    let props: Vec<_> = accel.props.iter().map(|(k, v)| format!(",{k}={v}")).collect();
    let typed = format!("-accel {}{}", accel.name, props.concat());
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
            Err(format!("{typed}: unknown accelerator{hint} '-accel help' lists them"))
        }
    }
}

fn property(typed: &str, key: &str, value: &str) -> Result<(), String> {
    let allowed: &[&str] = match key {
        "platform" => &["auto", "soft"],
        "tier" => &["interpreter", "translator", "check"],
        "kernel-irqchip" | "ignore-unknown-msr" => &["on"],
        "hyperv" => &["off", "auto"],
        "ssd" => &["on", "off", "auto"],
        "intercept-msr-gp" => &["off", "auto"],
        _ => {
            let near = cli::nearest(key, PROPS.iter().map(|p| p.0)).map(|n| format!("; did you mean {n}?"));
            return Err(format!("{typed}: unknown property '{key}'{}", near.unwrap_or_default()));
        }
    };
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(match (key, value) {
        ("platform", "windows" | "kvm" | "mshv") => {
            format!("{typed}: platform={value} is not there yet; use platform=soft")
        }
        ("kernel-irqchip", "split") => format!("{typed}: kernel-irqchip=split is not supported; use kernel-irqchip=on"),
        _ => format!("{typed}: {key}={value} is not supported; available: {}", allowed.join(", ")),
    })
}

/// The built-in platform with the processors of `-cpu` and `-smp`.
fn soft(config: &Config, tier: Tier) -> Result<Box<dyn Platform>, Errors> {
    let cpu = &config.cpu;
    let mut text = cpu.model.clone().unwrap_or_else(|| "max".into());
    for (feature, value) in &cpu.features {
        text += &format!(",{feature}={value}");
    }
    let spec = CpuSpec::parse(&text).map_err(|e| vec![format!("-cpu {text}: {e}")])?;
    spec.warnings.iter().for_each(|w| tracing::warn!("{w}"));
    let topology = Topology { sockets: config.smp.sockets, cores: config.smp.cores, threads: config.smp.threads };
    let smp = config.smp;
    let apic_id: PerProcessor<u32> = Arc::new(move |index| machine::apic_id(&smp, index));
    let ids = apic_id.clone();
    let mut options = SoftOptions::new(Arc::new(spec.model(topology, 0)));
    options.model = Arc::new(move |index| Arc::new(spec.model(topology, ids(index))));
    options.apic_id = apic_id;
    options.eoi_suppression = true;
    options.tier = tier;
    Ok(Box::new(SoftPlatform::new(options)))
}
