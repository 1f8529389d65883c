//! The zip for Windows users: programs, DLLs in a folder of their own (beside a program they would take the place of Microsoft's),
//! firmware, README and the licences of everything that is in it.

use super::{Product, STAGE, Target, plan, toolchain};
use crate::{paths, run};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const README: &str = include_str!("../../windows/README.txt");
const FIRMWARE: [&str; 3] = ["bios-256k.bin", "vgabios-stdvga.bin", "vgabios.bin"];
const LICENCES: &str = "/usr/share/common-licenses";

/// Makes `whpx-VERSION-windows-ARCH.zip` of the files that were built.
pub(super) fn zip(target: Target, built: &[PathBuf]) -> Result<PathBuf> {
    let name = format!("whpx-{}-windows-{}", env!("CARGO_PKG_VERSION"), target.arch());
    let above = paths::target().join("windows").join("zip");
    let folder = above.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for file in built {
        let is_library = file.extension().is_some_and(|kind| kind == "dll");
        copy(file, &if is_library { folder.join("dll") } else { folder.clone() })?;
    }
    text(&folder.join("README.txt"), README)?;
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        copy(&paths::root().join(licence), &folder)?;
    }
    text(&folder.join("THIRD-PARTY.txt"), &third_party(target, built)?)?;
    firmware(&folder.join("firmware"))?;
    let zip = above.join(format!("{name}.zip"));
    if zip.exists() {
        fs::remove_file(&zip).with_context(|| format!("cannot remove {}", zip.display()))?;
    }
    let mut command = Command::new("zip");
    command.args(["-q", "-r", "-X", "-9"]).arg(&zip).arg(&name).current_dir(&above);
    run::run(STAGE, &format!("zip {name}"), &mut command)?;
    Ok(zip)
}

fn copy(file: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let name = file.file_name().context("a file without a name")?;
    fs::copy(file, folder.join(name)).with_context(|| format!("cannot copy {}", file.display()))?;
    Ok(())
}

/// Text with the line ends that Windows' editors know.
fn text(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text.replace("\r\n", "\n").replace('\n', "\r\n"))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// SeaBIOS from Debian's package, with its licences (LGPL 3, and GPL 3 that it builds on) and where its source is.
fn firmware(folder: &Path) -> Result<()> {
    for file in FIRMWARE {
        copy(&Path::new("/usr/share/seabios").join(file), folder)?;
    }
    let version = run::output(Command::new("dpkg-query").args(["-W", "-f", "${source:Version}", "seabios"]))?;
    let version = version.trim();
    let copyright =
        fs::read_to_string("/usr/share/doc/seabios/copyright").context("cannot read seabios's copyright file")?;
    text(
        &folder.join("SeaBIOS-COPYRIGHT.txt"),
        &format!(
            "These files are unchanged from Debian's binary package seabios, version {version}.\n\
             Their complete source is Debian's source package seabios {version}:\n\
             \x20   https://snapshot.debian.org/package/seabios/{version}/\n\
             \x20   or on a Debian system: apt-get source seabios={version}\n\
             They are separate programs that the guest runs; whpx only reads them. You may replace them by your own build\n\
             (https://www.seabios.org) under the same file names.\n\n\
             Debian's copyright file follows; the licences it names are the other files here.\n\n{copyright}"
        ),
    )?;
    for (licence, name) in [("LGPL-3", "LGPL-3.txt"), ("GPL-3", "GPL-3.txt")] {
        let words = fs::read_to_string(Path::new(LICENCES).join(licence))
            .with_context(|| format!("cannot read {LICENCES}/{licence} (package base-files)"))?;
        text(&folder.join(name), &words)?;
    }
    Ok(())
}

/// Every crate that is linked in, with its licence files, then the run-time libraries of the compilers.
fn third_party(target: Target, built: &[PathBuf]) -> Result<String> {
    let metadata = plan::metadata(target)?;
    let (products, _) = plan::products(target, &metadata);
    let shipped: Vec<Product> =
        products.into_iter().filter(|product| built.iter().any(|file| file.ends_with(product.file))).collect();
    let mut head = String::from("Software of others that is part of the programs in this archive.\n\n");
    // One licence text, and the crates that carry it.
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in linked(&metadata, &shipped) {
        let word = |key: &str| package[key].as_str().unwrap_or("?").to_owned();
        let name = format!("{} {}", word("name"), word("version"));
        writeln!(head, "  {name:<34} {}", word("license")).context("out of memory")?;
        let folder = PathBuf::from(word("manifest_path"));
        for file in licence_files(folder.parent().context("a manifest without a folder")?)? {
            let words = String::from_utf8_lossy(&fs::read(&file).context("cannot read a licence")?).into_owned();
            texts.entry(words.trim().replace("\r\n", "\n")).or_default().insert(name.clone());
        }
    }
    for (title, file) in run_time(target)? {
        let words =
            fs::read(&file).with_context(|| format!("cannot read the licence of {title}: {}", file.display()))?;
        writeln!(head, "  {title}").context("out of memory")?;
        texts.entry(String::from_utf8_lossy(&words).trim().to_owned()).or_default().insert(title.to_owned());
    }
    for (words, names) in texts {
        let names: Vec<String> = names.into_iter().collect();
        write!(head, "\n{}\n{}\n\n{words}\n", "=".repeat(100), names.join(", ")).context("out of memory")?;
    }
    Ok(head)
}

/// Packages from elsewhere that `products` contain: reached over normal dependencies, without what runs only while compiling.
fn linked<'a>(metadata: &'a Value, products: &[Product]) -> Vec<&'a Value> {
    let packages = plan::list(metadata, "packages");
    let nodes = plan::list(&metadata["resolve"], "nodes");
    let mut waiting: Vec<&Value> = packages
        .iter()
        .filter(|package| {
            package["source"].is_null() && products.iter().any(|product| package["name"] == product.package)
        })
        .map(|package| &package["id"])
        .collect();
    let is_macro = |id: &Value| {
        let package = packages.iter().find(|package| package["id"] == *id);
        package.is_some_and(|package| {
            let targets = plan::list(package, "targets");
            targets.iter().any(|target| plan::list(target, "kind").iter().any(|kind| kind == "proc-macro"))
        })
    };
    let mut seen: Vec<&Value> = Vec::new();
    while let Some(id) = waiting.pop() {
        // What a macro depends on runs in the compiler too.
        if seen.contains(&id) || is_macro(id) {
            continue;
        }
        seen.push(id);
        let Some(node) = nodes.iter().find(|node| node["id"] == *id) else { continue };
        for dependency in plan::list(node, "deps") {
            if plan::list(dependency, "dep_kinds").iter().any(|kind| kind["kind"].is_null()) {
                waiting.push(&dependency["pkg"]);
            }
        }
    }
    packages.iter().filter(|package| !package["source"].is_null() && seen.contains(&&package["id"])).collect()
}

fn licence_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry.context("cannot read a crate's folder")?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_uppercase();
        if path.is_file()
            && ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"]
                .iter()
                .any(|start| name.starts_with(start))
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What the compilers add by themselves.
fn run_time(target: Target) -> Result<Vec<(&'static str, PathBuf)>> {
    let debian = |package: &str| Path::new("/usr/share/doc").join(package).join("copyright");
    let mut all = vec![("Rust's standard library (MIT or Apache-2.0)", debian("rust-web-src"))];
    match target {
        Target::X64 => all.extend([
            ("MinGW-w64's run time", debian("mingw-w64-x86-64-dev")),
            ("GCC's run-time library (GPL 3 with the GCC Runtime Library Exception)", debian("gcc-mingw-w64-base")),
        ]),
        Target::Arm64 => {
            let lib = toolchain::zig()?.join("lib");
            all.extend([
                ("MinGW-w64's run time", lib.join("libc/mingw/COPYING")),
                ("LLVM's libunwind", lib.join("libunwind/LICENSE.TXT")),
            ]);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_linked_in() {
        let package = |name: &str, source: Value, kind: &str| json!({"id": name, "name": name, "source": source, "targets": [{"kind": [kind]}]});
        let to = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [
                package("whpx", Value::Null, "bin"),
                package("a", json!("registry"), "lib"),
                package("b", json!("registry"), "lib"),
                package("builder", json!("registry"), "lib"),
                package("derive", json!("registry"), "proc-macro"),
                package("syn", json!("registry"), "lib"),
            ],
            "resolve": {"nodes": [
                {"id": "whpx", "deps": [to("a", Value::Null), to("builder", json!("build")), to("derive", Value::Null)]},
                {"id": "a", "deps": [to("b", Value::Null)]},
                {"id": "derive", "deps": [to("syn", Value::Null)]},
            ]},
        });
        let names: Vec<&Value> = linked(&metadata, &[Product { package: "whpx", file: "whpx.exe" }])
            .into_iter()
            .map(|package| &package["name"])
            .collect();
        assert_eq!(names, ["a", "b"]);
    }
}
