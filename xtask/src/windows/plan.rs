//! What is built for which target, as far as the workspace has it (from `cargo metadata`).

use crate::{paths, run};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// A Windows target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `x86_64-pc-windows-gnu`, linked by MinGW's gcc.
    X64,
    /// `aarch64-pc-windows-gnullvm`, linked by Zig's clang.
    Arm64,
}

impl Target {
    /// Both.
    pub const ALL: [Self; 2] = [Self::X64, Self::Arm64];

    /// Rust's name.
    pub fn triple(self) -> &'static str {
        match self {
            Self::X64 => "x86_64-pc-windows-gnu",
            Self::Arm64 => "aarch64-pc-windows-gnullvm",
        }
    }

    /// Short name in file names.
    pub fn arch(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::Arm64 => "arm64",
        }
    }

    /// `IMAGE_FILE_MACHINE_*` of the PE header.
    pub fn machine(self) -> u16 {
        match self {
            Self::X64 => 0x8664,
            Self::Arm64 => 0xaa64,
        }
    }
}

/// Something that is shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// The workspace's package.
    pub package: &'static str,
    /// The name under which it is shipped.
    pub file: &'static str,
}

const PROGRAMS: [Product; 3] = [
    Product { package: "whpx", file: "whpx-system-x86_64.exe" },
    Product { package: "whpx", file: "whpx-system-aarch64.exe" },
    Product { package: "whpx", file: "whpx.exe" },
];
const LIBRARIES: [Product; 2] = [
    Product { package: "winhvplatform", file: "WinHvPlatform.dll" },
    Product { package: "winhvemulation", file: "WinHvEmulation.dll" },
];

impl Product {
    /// The file's name in Cargo's release folder.
    pub fn made(&self) -> String {
        if self.is_library() { self.file.to_ascii_lowercase() } else { self.file.to_owned() }
    }

    /// Whether it is a DLL.
    pub fn is_library(&self) -> bool {
        self.file.ends_with(".dll")
    }

    fn is_in(&self, metadata: &Value) -> bool {
        let kind = if self.is_library() { "cdylib" } else { "bin" };
        let made = self.made();
        let name = made.rsplit_once('.').map_or(made.as_str(), |(name, _)| name);
        list(metadata, "packages").iter().filter(|package| package["name"] == self.package).any(|package| {
            list(package, "targets")
                .iter()
                .any(|target| target["name"] == name && list(target, "kind").iter().any(|found| found == kind))
        })
    }
}

/// What is to be built for `target`: what the workspace has, and what it does not have yet.
pub(super) fn products(target: Target, metadata: &Value) -> (Vec<Product>, Vec<Product>) {
    let mut all = PROGRAMS.to_vec();
    if target == Target::X64 {
        all.extend(LIBRARIES);
    }
    all.into_iter().partition(|product| product.is_in(metadata))
}

/// `cargo metadata` with the dependencies of `target`.
pub(super) fn metadata(target: Target) -> Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version=1", "--filter-platform", target.triple()]).current_dir(paths::root());
    serde_json::from_str(&run::output(&mut command)?).context("cannot read what cargo metadata printed")
}

/// The test programs that `cargo test --no-run --message-format=json` made.
pub(super) fn executables(text: &str) -> Vec<PathBuf> {
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .filter(|file| file.to_string_lossy().contains("deps"))
        .collect()
}

/// An array member of a JSON object; what is not there is empty.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_workspace_has() {
        let metadata = serde_json::json!({"packages": [
            {"name": "whpx", "targets": [{"name": "whpx", "kind": ["lib"]}, {"name": "whpx-system-x86_64", "kind": ["bin"]}]},
            {"name": "winhvplatform", "targets": [{"name": "winhvplatform", "kind": ["cdylib", "rlib"]}]},
        ]});
        let names = |products: Vec<Product>| products.iter().map(|product| product.file).collect::<Vec<_>>();
        let (there, absent) = products(Target::X64, &metadata);
        assert_eq!(names(there), ["whpx-system-x86_64.exe", "WinHvPlatform.dll"]);
        assert_eq!(names(absent), ["whpx-system-aarch64.exe", "whpx.exe", "WinHvEmulation.dll"]);
        let (there, absent) = products(Target::Arm64, &metadata);
        assert_eq!(names(there), ["whpx-system-x86_64.exe"]);
        assert_eq!(absent.len(), 2, "no DLLs for arm64");
    }
}
