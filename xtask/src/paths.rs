//! Where things are: the repository, the guest images (`images/`, or `WHPX_IMAGES`), and the manifest by which tests find them.
//!
//! The manifest (`images/manifest.txt`) has one `name path` pair a line, paths absolute.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The repository's root folder.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map_or_else(|| xtask.to_path_buf(), Path::to_path_buf)
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The folder that holds guest images.
pub fn images() -> PathBuf {
    env::var_os("WHPX_IMAGES").map_or_else(|| root().join("images"), PathBuf::from)
}

/// A folder for a test's own disks and logs, emptied by no one.
pub fn work() -> Result<PathBuf> {
    let path = images().join("work");
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// Every asset of the manifest that is really there.
pub fn manifest() -> BTreeMap<String, PathBuf> {
    let text = fs::read_to_string(images().join("manifest.txt")).unwrap_or_default();
    parse_manifest(&text).into_iter().filter(|(_, path)| path.exists()).collect()
}

fn parse_manifest(text: &str) -> BTreeMap<String, PathBuf> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, path)| (name.to_owned(), PathBuf::from(path)))
        .collect()
}

/// The path of one asset; the error says how to make it.
pub fn asset(name: &str) -> Result<PathBuf> {
    match manifest().remove(name) {
        Some(path) => Ok(path),
        None => bail!("there is no guest asset `{name}` in {}: run `cargo xtask image all`", images().display()),
    }
}

/// Enters assets into the manifest; an interruption leaves the old manifest.
pub fn enter(assets: &[(&str, PathBuf)]) -> Result<()> {
    let lock = fs::File::create(images().join(".manifest-lock")).context("cannot create images/.manifest-lock")?;
    lock.lock().context("cannot lock images/.manifest-lock")?; // tests side by side enter theirs
    let mut all = manifest();
    for (name, path) in assets {
        all.insert((*name).to_owned(), path.clone());
    }
    let text: String = all.iter().map(|(name, path)| format!("{name} {}\n", path.display())).collect();
    let new = images().join(".tmp-manifest");
    fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, images().join("manifest.txt")).context("cannot rename the manifest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_lines_are_name_and_path() {
        let all = parse_manifest("demo /a b/demo.img\n\nbroken\nkernel-6.1 /k\n");
        assert_eq!(all.len(), 2);
        assert_eq!(all["demo"], PathBuf::from("/a b/demo.img"));
    }
}
