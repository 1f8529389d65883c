//! Makes `../src/x64/generated.rs`, `../src/arm64/generated.rs` and `../tests/layout/generated.rs` from Microsoft's
//! Windows metadata (`windows-default`) with `windows-bindgen`:
//! `cargo run --manifest-path crates/whp-abi/generator/Cargo.toml`.
//!
//! windows-bindgen chooses the architecture by `cfg(target_arch)`, that is: the host's. Here the guest's architecture
//! is a value, so the two are taken apart into a module each, and the imports become function pointer types.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

const HEAD: &str = "//! Made by `crates/whp-abi/generator` from Microsoft's Windows metadata; do not edit.\n\n";

/// Names in the metadata's string heap that are types or functions of the API.
fn names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for s in windows_default::WIN32.split(|b| !b.is_ascii_alphanumeric() && *b != b'_') {
        let Ok(s) = std::str::from_utf8(s) else { continue };
        let nested = s.rsplit_once('_').is_some_and(|(_, n)| n.bytes().all(|b| b.is_ascii_digit()));
        let is_type = s.starts_with("WHV_") && !s.bytes().any(|b| b.is_ascii_lowercase());
        if !nested && (is_type || is_function(s)) {
            names.insert(s.to_string());
        }
    }
    names
}

/// Enumerators start with `WHv` as functions do; those with a verb after it are told apart here.
fn is_function(s: &str) -> bool {
    const VERBS: [&str; 25] = [
        "Accept",
        "Advise",
        "Allocate",
        "Cancel",
        "Complete",
        "Create",
        "Delete",
        "Get",
        "Map",
        "Post",
        "Query",
        "Read",
        "RegisterPartition",
        "Request",
        "Reset",
        "Resume",
        "Retarget",
        "RunVirtual",
        "Set",
        "Signal",
        "Start",
        "Suspend",
        "Translate",
        "Unmap",
        "Unregister",
    ];
    const MORE: [&str; 3] = ["Setup", "Update", "Write"];
    const ENUMS: [&str; 5] =
        ["CreateVpciDeviceFlag", "TranslateGvaResult", "TranslateGvaFlag", "AdviseGpaRangeCode", "MapGpaRangeFlag"];
    let Some(rest) = s.strip_prefix("WHv") else { return false };
    let verb =
        VERBS.iter().chain(&MORE).any(|v| rest.strip_prefix(v).is_some_and(|r| r.starts_with(char::is_uppercase)));
    verb && !ENUMS.iter().any(|e| rest.starts_with(e)) && !rest.starts_with("AllocateVpciResourceFlag")
}

/// A top-level item with the attributes above it.
struct Item {
    attributes: Vec<String>,
    text: String,
}

impl Item {
    fn is_for(&self, arch: &str) -> bool {
        let cfg = self.attributes.iter().find(|a| a.starts_with("#[cfg"));
        cfg.is_none_or(|c| c.contains(&format!("\"{arch}\"")))
    }
}

fn items(source: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut attributes = Vec::new();
    let mut lines = source.lines();
    while let Some(first) = lines.next() {
        let mut text = first.to_string();
        let ends: &[&str] = if first.starts_with("#[") { &["]"] } else { &["}", ";"] };
        while !ends.iter().any(|e| text.ends_with(e)) || text.lines().last().is_some_and(|l| l.starts_with(' ')) {
            let Some(next) = lines.next() else { break };
            text.push('\n');
            text.push_str(next);
        }
        if first.starts_with("#[") {
            attributes.push(text);
        } else if !first.is_empty() && !first.starts_with("//") {
            items.push(Item { attributes: std::mem::take(&mut attributes), text });
        }
    }
    items
}

/// `windows_link::link!("winhvplatform.dll" "system" fn NAME(ARGS) -> HRESULT);` as name and arguments.
fn function(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("windows_link::link!")?.split_once(" fn ")?.1;
    let (name, rest) = rest.split_once('(')?;
    Some((name, rest.rsplit_once(") ->")?.0))
}

/// The module of one architecture.
fn module(items: &[Item], arch: &str) -> String {
    let mut out = String::from(HEAD);
    let mut functions = String::new();
    let mut list = Vec::new();
    for item in items.iter().filter(|i| i.is_for(arch)) {
        if let Some((name, arguments)) = function(&item.text) {
            let _ = writeln!(functions, "    pub type {name} = unsafe extern \"system\" fn({arguments}) -> HRESULT;");
            list.push(name);
            continue;
        }
        for a in item.attributes.iter().filter(|a| !a.starts_with("#[cfg")) {
            let _ = writeln!(out, "{a}");
        }
        let zeroed = "unsafe { core::mem::zeroed() }";
        let safe = format!(
            "// SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.\n        {zeroed}"
        );
        let _ = writeln!(out, "{}", item.text.replace(zeroed, &safe));
    }
    let _ =
        writeln!(out, "\n/// The type of each function of the DLL, under the function's name.\npub mod functions {{");
    let _ = writeln!(out, "    use super::*;\n{functions}}}\n");
    let _ = writeln!(
        out,
        "/// The functions that the DLL of this architecture has.\npub const FUNCTIONS: [&str; {}] = {list:?};",
        list.len()
    );
    out
}

/// Fields of structs and unions, by type.
fn fields(items: &[Item], arch: &str) -> BTreeMap<String, Vec<(String, String)>> {
    let mut map = BTreeMap::new();
    for item in items.iter().filter(|i| i.is_for(arch)) {
        let Some(rest) = item.text.strip_prefix("pub struct ").or_else(|| item.text.strip_prefix("pub union ")) else {
            continue;
        };
        let Some((name, body)) = rest.split_once(" {") else { continue };
        let list = body.lines().filter_map(|l| l.trim().strip_prefix("pub ")?.trim_end_matches(',').split_once(": "));
        map.insert(name.to_string(), list.map(|(a, b)| (a.to_string(), b.to_string())).collect());
    }
    map
}

/// C path and Rust path of every field that C can name: bit fields have no offset.
fn paths(map: &BTreeMap<String, Vec<(String, String)>>, of: &str, prefix: &str, out: &mut Vec<(String, String)>) {
    for (name, kind) in &map[of] {
        if name.starts_with("Anonymous") {
            paths(map, kind, &format!("{prefix}{name}."), out);
        } else if !name.starts_with('_') {
            out.push((name.clone(), format!("{prefix}{name}")));
        }
    }
}

/// The tables that the layout test compares with a C compiler's.
fn layout(items: &[Item], arch: &str) -> String {
    let map = fields(items, arch);
    let mut out = format!("{HEAD}use whp_abi::x64::*;\n\n/// Type, size, alignment, offsets of its fields.\n");
    let _ = writeln!(out, "pub(crate) fn types() -> Vec<crate::Type> {{\n    vec![");
    for name in map.keys().filter(|n| !n.rsplit('_').next().is_some_and(|s| s.bytes().all(|b| b.is_ascii_digit()))) {
        let mut list = Vec::new();
        paths(&map, name, "", &mut list);
        let list: Vec<_> = list.iter().map(|(c, r)| format!("(\"{c}\", core::mem::offset_of!({name}, {r}))")).collect();
        let _ = writeln!(
            out,
            "crate::Type {{ name: \"{name}\", size: size_of::<{name}>(), align: align_of::<{name}>(), fields: vec![{}] }},",
            list.join(", ")
        );
    }
    let _ = writeln!(
        out,
        "    ]\n}}\n\n/// Constants.\npub(crate) fn constants() -> Vec<(&'static str, i64)> {{\n    vec!["
    );
    for item in items.iter().filter(|i| i.is_for(arch) && i.text.starts_with("pub const ")) {
        let name = item.text["pub const ".len()..].split(':').next().unwrap_or_default();
        let _ = writeln!(out, "(\"{name}\", {name} as i64),");
    }
    out + "    ]\n}\n"
}

fn write(path: &Path, text: &str) {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).expect("the folder can be made");
    }
    std::fs::write(path, text).expect("the file can be written");
    let done = std::process::Command::new("rustfmt").args(["--edition", "2024"]).arg(path).status();
    assert!(done.is_ok_and(|s| s.success()), "rustfmt {}", path.display());
}

fn main() {
    let whole = std::env::temp_dir().join("whp-abi-generated.rs");
    let mut bindgen = windows_bindgen::builder();
    bindgen.input_bytes(windows_default::WIN32).flat().sys().output(&whole);
    for name in names() {
        bindgen.filter(&name);
    }
    bindgen.write();
    let source = std::fs::read_to_string(&whole).expect("windows-bindgen wrote its output");
    let items = items(&source);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    write(&root.join("src/x64/generated.rs"), &module(&items, "x86_64"));
    write(&root.join("src/arm64/generated.rs"), &module(&items, "aarch64"));
    write(&root.join("tests/layout/generated.rs"), &layout(&items, "x86_64"));
}
