//! The `-cpu` option: `MODEL[,+feature|,-feature|,feature[=on|off]|,property=value]...`.

use thiserror::Error;

use super::build::{Topology, build};
use super::features::{FEATURES, Have, available, find, word};
use super::table::{Definition, MAX, MODELS, Vendor};
use super::{CpuModel, features, reasons};

/// The model of machines that are not given `-cpu`.
pub const DEFAULT_CPU: &str = MAX;

/// Why a `-cpu` option has no meaning.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CpuError {
    /// No such model.
    #[error("-cpu {name}: no such CPU model; the nearest is {nearest} (-cpu help lists all)")]
    Model {
        /// As typed.
        name: String,
        /// The nearest that exists.
        nearest: String,
    },
    /// No such feature or property.
    #[error("-cpu: no such feature or property: {name}; the nearest is {nearest} (-cpu help lists all)")]
    Feature {
        /// As typed.
        name: String,
        /// The nearest that exists.
        nearest: String,
    },
    /// A property's value is not one.
    #[error("-cpu: {name}={value}: {expected} is expected")]
    Value {
        /// The property.
        name: String,
        /// As typed.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// `enforce`: features that cannot be had.
    #[error("-cpu {model},enforce: not implemented: {missing}")]
    Enforce {
        /// The model.
        model: String,
        /// Names of the features.
        missing: String,
    },
}

/// The meaning of a `-cpu` option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuSpec {
    /// The model's name.
    pub name: String,
    /// What could not be had: one text for each.
    pub warnings: Vec<String>,
    /// `hv-*` options and others that the platform, not the processor, acts on: name and value as typed.
    pub platform: Vec<(String, String)>,
    pub(super) vendor: [u8; 12],
    pub(super) family: u32,
    pub(super) model: u32,
    pub(super) stepping: u32,
    pub(super) level: u32,
    pub(super) xlevel: u32,
    pub(super) brand: String,
    pub(super) physical_bits: u32,
    pub(super) words: [u32; word::COUNT],
}

/// Properties besides features.
const PROPERTIES: &[&str] = &[
    "vendor",
    "family",
    "model",
    "stepping",
    "level",
    "xlevel",
    "model-id",
    "phys-bits",
    "check",
    "enforce",
    "host-phys-bits",
    "host-cache-info",
    "l3-cache",
    "migratable",
    "kvm",
    "tcg-cpuid",
    "pmu",
    "tsc-frequency",
    "vmware-cpuid-freq",
];

impl CpuSpec {
    /// Parses what follows `-cpu`.
    ///
    /// # Errors
    /// [`CpuError`] for names and values that do not exist.
    pub fn parse(text: &str) -> Result<Self, CpuError> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let d = MODELS.iter().find(|m| m.name.eq_ignore_ascii_case(name)).ok_or_else(|| CpuError::Model {
            name: name.into(),
            nearest: nearest(name, MODELS.iter().map(|m| m.name)),
        })?;
        let mut spec = Self::of(d);
        let mut missing = spec.take_model_features(d);
        let mut enforce = false;
        for part in parts.filter(|p| !p.is_empty()) {
            let (key, value) = match (part.strip_prefix('+'), part.strip_prefix('-')) {
                (Some(k), _) => (k, "on"),
                (_, Some(k)) => (k, "off"),
                _ => part.split_once('=').unwrap_or((part, "on")),
            };
            enforce |= key == "enforce" && value == "on";
            missing.extend(spec.set(key, value)?);
        }
        if enforce && !missing.is_empty() {
            return Err(CpuError::Enforce { model: spec.name, missing: missing.join(" ") });
        }
        let mut said = std::collections::BTreeSet::new();
        missing.retain(|f| said.insert(f.clone()));
        let why = |f: &String| match f.as_str() {
            "pmu" => "no performance counters".into(),
            f => find(f).and_then(reasons::reason).unwrap_or_else(|| "not implemented".into()),
        };
        spec.warnings = missing.iter().map(|f| format!("-cpu {}: {f} is left out: {}", spec.name, why(f))).collect();
        Ok(spec)
    }

    fn of(d: &Definition) -> Self {
        Self {
            name: d.name.into(),
            warnings: Vec::new(),
            platform: Vec::new(),
            vendor: match d.vendor {
                Vendor::Intel => *b"GenuineIntel",
                Vendor::Amd => *b"AuthenticAMD",
            },
            family: d.family,
            model: d.model,
            stepping: d.stepping,
            level: d.level,
            xlevel: d.xlevel,
            brand: d.brand.into(),
            physical_bits: 40,
            words: [0; word::COUNT],
        }
    }

    /// Returns the names of those that cannot be had.
    fn take_model_features(&mut self, d: &Definition) -> Vec<String> {
        if d.features.is_empty() {
            for f in FEATURES.iter().filter(|f| f.3 != Have::Asked && available(f.3)) {
                self.words[f.1] |= 1 << f.2;
            }
            return Vec::new();
        }
        let names = d.features.iter().flat_map(|l| l.split_whitespace());
        names.filter_map(find).filter_map(|f| self.turn_on(f)).collect()
    }

    fn turn_on(&mut self, f: &features::Feature) -> Option<String> {
        if !available(f.3) {
            return Some(f.0.into());
        }
        self.words[f.1] |= 1 << f.2;
        None
    }

    fn set(&mut self, key: &str, value: &str) -> Result<Option<String>, CpuError> {
        let bad = |expected| CpuError::Value { name: key.into(), value: value.into(), expected };
        if let Some(f) = find(key) {
            return match value {
                "on" | "yes" | "true" => Ok(self.turn_on(f)),
                "off" | "no" | "false" => {
                    self.words[f.1] &= !(1 << f.2);
                    Ok(None)
                }
                _ => Err(bad("on or off")),
            };
        }
        let number = || {
            let (digits, radix) = value.strip_prefix("0x").map_or((value, 10), |d| (d, 16));
            u32::from_str_radix(digits, radix).map_err(|_| bad("a number"))
        };
        match key.replace('_', "-").as_str() {
            "vendor" => self.vendor = value.as_bytes().try_into().map_err(|_| bad("twelve characters"))?,
            "family" => self.family = number()?.min(0xF + 0xFF),
            "model" => self.model = number()? & 0xFF,
            "stepping" => self.stepping = number()? & 0xF,
            "level" => self.level = number()?,
            "xlevel" => self.xlevel = number()?,
            "model-id" => self.brand = value.into(),
            "phys-bits" => {
                self.physical_bits = match number()? {
                    n @ 32..=52 => n,
                    _ => return Err(bad("a number from 32 to 52")),
                }
            }
            "check" | "enforce" | "host-phys-bits" | "host-cache-info" | "l3-cache" | "migratable" | "kvm"
            | "tcg-cpuid" => {}
            "pmu" if value == "off" => {}
            "pmu" => return Ok(Some("pmu".into())),
            "vmware-cpuid-freq" => match value {
                "on" | "off" => self.platform.push((key.into(), value.into())),
                _ => return Err(bad("on or off")),
            },
            k if k.starts_with("hv-") || k == "tsc-frequency" => self.platform.push((k.into(), value.into())),
            _ => {
                let names = FEATURES.iter().map(|f| f.0).chain(PROPERTIES.iter().copied());
                return Err(CpuError::Feature { name: key.into(), nearest: nearest(key, names) });
            }
        }
        Ok(None)
    }

    /// The model of the processor with this APIC ID.
    pub fn model(&self, topology: Topology, apic_id: u32) -> CpuModel {
        build(self, topology, apic_id)
    }

    /// What `-cpu help` prints: models, then features.
    pub fn help() -> String {
        let mut s = String::from("Available CPUs:\n");
        for m in MODELS {
            let note = if m.name == DEFAULT_CPU { " (default)" } else { "" };
            s += &format!("  {:<20}  {}{note}\n", m.name, m.brand);
        }
        s += "\nRecognized CPUID flags:\n";
        let mut line = String::from(" ");
        for f in FEATURES.iter().filter(|f| available(f.3)) {
            if line.len() + f.0.len() > 76 {
                s += &line;
                s.push('\n');
                line = String::from(" ");
            }
            line.push(' ');
            line += f.0;
        }
        s + &line + "\n" + &reasons::help(FEATURES)
    }
}

/// The name with the smallest edit distance.
fn nearest<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> String {
    let name = name.to_ascii_lowercase();
    all.min_by_key(|c| distance(&name, &c.to_ascii_lowercase())).unwrap_or_default().into()
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, cb) in row.iter_mut().skip(1).zip(&b) {
            let up = *cell;
            *cell = (diagonal + usize::from(ca != *cb)).min(up + 1).min(left + 1);
            diagonal = up;
            left = *cell;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_models_exists() {
        for m in MODELS {
            for f in m.features.iter().flat_map(|l| l.split_whitespace()) {
                assert!(find(f).is_some(), "{}: {f}", m.name);
            }
        }
    }

    #[test]
    fn errors_name_the_nearest() {
        let e = CpuSpec::parse("haswel").unwrap_err();
        assert_eq!(e, CpuError::Model { name: "haswel".into(), nearest: "Haswell".into() });
        let e = CpuSpec::parse("max,+rdrnd").unwrap_err();
        assert_eq!(e, CpuError::Feature { name: "rdrnd".into(), nearest: "rdrand".into() });
        assert!(CpuSpec::parse("max,phys-bits=70").is_err());
        assert!(CpuSpec::help().contains("qemu64"));
    }

    #[test]
    fn what_is_not_implemented_is_left_out_and_said() {
        let s = CpuSpec::parse("qemu64,+vmx,-lahf_lm,invtsc=on").unwrap();
        assert_eq!(s.warnings, ["-cpu qemu64: vmx is left out: no virtual machines inside of the guest"]);
        let m = s.model(Topology::default(), 0);
        assert_eq!(m.query(1, 0)[2] & 1 << 5, 0);
        assert_eq!(m.query(0x8000_0001, 0)[2] & 1, 0);
        assert_eq!(m.query(0x8000_0007, 0)[3] & 1 << 8, 1 << 8);
        assert!(CpuSpec::parse("qemu64,+vmx,enforce").is_err());
    }
}
