//! The report for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::capabilities::{Bank, CapabilityReport, CapabilityValue};
use super::report::{ProbeReport, State, Verdict};

const WIDTH: usize = 110;

/// The report in words.
pub(crate) fn text(report: &ProbeReport) -> String {
    let host = &report.host;
    let system = match &host.windows {
        Some(version) => version.to_string(),
        None if host.os == "linux" => "Linux".into(),
        None => host.os.clone(),
    };
    let emulated = host.native_arch.as_ref().map(|a| format!(", emulated on {a}")).unwrap_or_default();
    let mut out = format!("whpx {} on {system}, {}{emulated}, {} processors\n\n", report.version, host.arch, host.cpus);
    verdict(&mut out, &report.hardware);
    verdict(&mut out, &report.built_in);
    for choice in &report.choices {
        let platform = match choice.platform.as_str() {
            "windows" => &report.hardware.name,
            "soft" => &report.built_in.name,
            other => other,
        };
        let _ = match platform {
            "none" => writeln!(out, "-accel whpx: {} guests cannot run here ({})", choice.guest, choice.why),
            name => writeln!(out, "-accel whpx: {} guests run on {name} ({})", choice.guest, choice.why),
        };
    }
    out
}

fn verdict(out: &mut String, verdict: &Verdict) {
    let state = match verdict.state {
        State::Usable => "usable",
        State::NotTested => "usable, not tested",
        State::Refused => "not usable",
        State::Absent => "not there",
    };
    let _ = writeln!(out, "{}: {state}", verdict.name); // a String takes everything
    let mut line = |text: &str| {
        let _ = writeln!(out, "  {text}");
    };
    line(&verdict.why);
    if let Some(library) = &verdict.library {
        line(&format!("library: {library}"));
    }
    verdict.notes.iter().for_each(|n| line(&format!("note: {n}")));
    if !verdict.advice.is_empty() {
        line("what to do:");
    }
    verdict.advice.iter().for_each(|a| line(&format!("  - {a}")));
    if !verdict.missing_functions.is_empty() {
        line("optional functions that this version does not have:");
        wrapped(out, 4, &verdict.missing_functions);
    }
    // The banks say the same and more.
    let has_banks = verdict.capabilities.iter().any(|c| c.name == "ProcessorFeaturesBanks" && answered(c));
    let shown = |c: &&CapabilityReport| !(c.name == "ProcessorFeatures" && has_banks);
    let (answers, errors): (Vec<_>, Vec<_>) = verdict.capabilities.iter().filter(shown).partition(|c| answered(c));
    answers.iter().for_each(|c| capability(out, c));
    let mut by_error: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for c in errors {
        if let CapabilityValue::Error(e) = &c.value {
            by_error.entry(e).or_default().push(c.name.clone());
        }
    }
    for (error, names) in by_error {
        let _ = writeln!(out, "  error {error}:");
        wrapped(out, 4, &names);
    }
    out.push('\n');
}

fn answered(capability: &CapabilityReport) -> bool {
    !matches!(capability.value, CapabilityValue::Error(_))
}

fn capability(out: &mut String, capability: &CapabilityReport) {
    let name = &capability.name;
    let _ = match &capability.value {
        CapabilityValue::Value(value) => writeln!(out, "  {name}: {value}"),
        CapabilityValue::Error(_) => Ok(()), // with the others of its kind
        CapabilityValue::Banks(banks) => {
            for (i, b) in banks.iter().enumerate() {
                let number = if banks.len() > 1 { format!(", bank {i}") } else { String::new() };
                let _ = writeln!(out, "  {name}{number}: {}", b.bits);
                bank(out, b);
            }
            Ok(())
        }
    };
}

fn bank(out: &mut String, bank: &Bank) {
    let mut words = bank.set.clone();
    words.extend(bank.unknown.iter().map(|n| format!("bit{n}")));
    wrapped(out, 4, &words);
    if !bank.clear.is_empty() {
        let clear: Vec<_> = bank.clear.iter().map(|n| format!("-{n}")).collect();
        wrapped(out, 4, &clear);
    }
}

fn wrapped(out: &mut String, indent: usize, words: &[String]) {
    let mut line = String::new();
    for word in words {
        if !line.is_empty() && indent + line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(out, "{:indent$}{line}", "");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    if !line.is_empty() {
        let _ = writeln!(out, "{:indent$}{line}", "");
    }
}
