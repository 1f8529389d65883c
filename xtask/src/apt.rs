//! Debian packages: tools for this machine by `apt-get install`, files for guests by `apt-get download` and `dpkg -x`.
//!
//! Guest files are fetched through a private apt folder (`images/.apt`) that has the machine's own Debian sources plus the suite
//! `bookworm-backports` from the same mirror with the same key: the machine's configuration is not changed, no root is needed, and no mirror's
//! name is written down here.

use crate::{paths, run};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release that the guests are made of.
pub const SUITE: &str = "bookworm";

/// A program this machine needs and the package that has it.
pub type Tool = (&'static str, &'static str);

/// Installs the packages of those `tools` that are missing. A tool is a program's name, or an absolute path of any file.
/// Without root the error names the packages to install.
pub fn ensure(stage: &str, tools: &[Tool]) -> Result<()> {
    let is_there =
        |name: &str| if name.starts_with('/') { Path::new(name).exists() } else { run::find_program(name).is_some() };
    let mut missing: Vec<&str> =
        tools.iter().filter(|(name, _)| !is_there(name)).map(|(_, package)| *package).collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root()? {
        bail!("packages are missing; as root: apt-get install -y --no-install-recommends {}", missing.join(" "));
    }
    run::run(stage, "apt-get update", Command::new("apt-get").arg("update"))?;
    run::run(
        stage,
        &format!("install {}", missing.join(" ")),
        install(&missing).env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

fn install(packages: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-o", "DPkg::Lock::Timeout=600", "install", "-y", "--no-install-recommends"]).args(packages);
    command
}

/// Whether this process may install packages and keep files' owners.
pub fn is_root() -> Result<bool> {
    Ok(run::output(Command::new("id").arg("-u"))?.trim() == "0")
}

/// One entry of apt's sources, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The archive's address.
    pub uri: String,
    /// The suite, for example `bookworm-security`.
    pub suite: String,
    /// The key file or key, if the entry names one on one line.
    pub signed_by: Option<String>,
}

impl Source {
    /// The entry in apt's one-line format.
    pub fn line(&self) -> String {
        let key = self.signed_by.as_ref().map(|key| format!(" [signed-by={key}]")).unwrap_or_default();
        format!("deb{key} {} {} main", self.uri, self.suite)
    }
}

/// The machine's Debian sources of [`SUITE`]: the suite itself, updates and security.
pub fn sources() -> Result<Vec<Source>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(folder) = fs::read_dir("/etc/apt/sources.list.d") {
        let mut more: Vec<PathBuf> = folder.filter_map(|entry| Some(entry.ok()?.path())).collect();
        more.sort();
        files.extend(more);
    }
    let mut all: Vec<Source> = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let found = match file.extension().and_then(|name| name.to_str()) {
            Some("sources") => parse_deb822(&text),
            Some("list") => parse_list(&text),
            _ => continue,
        };
        for source in found {
            if !all.iter().any(|known| known.suite == source.suite) {
                all.push(source);
            }
        }
    }
    let wanted = [SUITE.to_owned(), format!("{SUITE}-updates"), format!("{SUITE}-security")];
    all.retain(|source| wanted.contains(&source.suite));
    if !all.iter().any(|source| source.suite == SUITE) {
        bail!("no apt source of this machine has Debian's suite `{SUITE}`: add one in /etc/apt/sources.list.d");
    }
    Ok(all)
}

/// Reads the deb822 format (`sources.list(5)`), binary entries with component `main` only.
fn parse_deb822(text: &str) -> Vec<Source> {
    let mut all = Vec::new();
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            let lines = stanza.lines().filter(|line| !line.starts_with('#'));
            lines
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim())
        };
        let words = |name: &str| field(name).unwrap_or("").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let off = field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        if off
            || !words("Types").iter().any(|kind| kind == "deb")
            || !words("Components").iter().any(|part| part == "main")
        {
            continue;
        }
        let signed_by = field("Signed-By").filter(|key| !key.is_empty()).map(str::to_owned);
        for suite in words("Suites") {
            for uri in words("URIs") {
                all.push(Source { uri, suite: suite.clone(), signed_by: signed_by.clone() });
            }
        }
    }
    all
}

/// Reads the one-line format.
fn parse_list(text: &str) -> Vec<Source> {
    let mut all = Vec::new();
    for line in text.lines() {
        let Some(mut rest) = line.trim().strip_prefix("deb ").map(str::trim_start) else { continue };
        let mut signed_by = None;
        if let Some((options, after)) = rest.strip_prefix('[').and_then(|text| text.split_once(']')) {
            signed_by =
                options.split_whitespace().find_map(|option| option.strip_prefix("signed-by=")).map(str::to_owned);
            rest = after;
        }
        let words: Vec<&str> = rest.split_whitespace().collect();
        if let [uri, suite, parts @ ..] = words.as_slice()
            && parts.contains(&"main")
        {
            all.push(Source { uri: (*uri).to_owned(), suite: (*suite).to_owned(), signed_by });
        }
    }
    all
}

/// A private apt configuration from which guest packages are fetched.
#[derive(Debug)]
pub struct Private {
    folder: PathBuf,
}

impl Private {
    /// Sets it up below `images/.apt` and reads the package lists.
    pub fn new(stage: &str) -> Result<Self> {
        let folder = paths::images().join(".apt");
        for part in ["lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(folder.join(part))
                .with_context(|| format!("cannot create {}", folder.join(part).display()))?;
        }
        let mut all = sources()?;
        let main = all.iter().find(|source| source.suite == SUITE).context("no main source")?.clone();
        all.push(Source { suite: format!("{SUITE}-backports"), ..main });
        let lines: String = all.iter().map(|source| source.line() + "\n").collect();
        fs::write(folder.join("sources.list"), lines).context("cannot write the private sources.list")?;
        let this = Self { folder };
        run::run(stage, "apt-get update (private lists)", this.command("apt-get")?.arg("update"))?;
        Ok(this)
    }

    fn command(&self, program: &str) -> Result<Command> {
        let folder = fs::canonicalize(&self.folder).context("cannot find images/.apt")?;
        let at = |key: &str, part: &str| format!("{key}={}", folder.join(part).display());
        let mut command = Command::new(program);
        for option in [
            at("Dir::Etc::sourcelist", "sources.list"),
            at("Dir::Etc::sourceparts", "parts"),
            at("Dir::State::lists", "lists"),
            at("Dir::Cache", "cache"),
            "APT::Sandbox::User=".to_owned(),
            "APT::Get::List-Cleanup=false".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        Ok(command)
    }

    /// The package that a meta package depends on, its name starting with `prefix`. `suite` chooses the version.
    pub fn dependency(&self, package: &str, suite: &str, prefix: &str) -> Result<String> {
        let text = run::output(self.command("apt-cache")?.args(["show", &format!("{package}/{suite}")]))?;
        let depends = text.lines().find_map(|line| line.strip_prefix("Depends:"));
        let depends = depends.with_context(|| format!("{package}/{suite} has no dependencies"))?;
        let mut names = depends.split([',', '|']).filter_map(|part| part.split_whitespace().next());
        names
            .find(|name| name.starts_with(prefix))
            .map(str::to_owned)
            .with_context(|| format!("{package}/{suite} depends on no package {prefix}*"))
    }

    /// Downloads `package` (or `package/suite`) and unpacks its files into `into`.
    pub fn unpack(&self, stage: &str, package: &str, into: &Path) -> Result<()> {
        let debs = into.join("deb");
        fs::create_dir_all(&debs).with_context(|| format!("cannot create {}", debs.display()))?;
        run::run(
            stage,
            &format!("download {package}"),
            self.command("apt-get")?.args(["download", package]).current_dir(&debs),
        )?;
        for entry in fs::read_dir(&debs).context("cannot read the download folder")? {
            let deb = entry.context("cannot read the download folder")?.path();
            run::run(stage, &format!("unpack {package}"), Command::new("dpkg").arg("-x").arg(&deb).arg(into))?;
        }
        fs::remove_dir_all(&debs).context("cannot remove the download folder")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deb822_entries() {
        let text = "Types: deb\n# comment: x\nURIs: http://a/debian\nSuites: bookworm bookworm-updates\nComponents: main contrib\n\
                    Signed-By: /k.gpg\n\nTypes: deb-src\nURIs: http://b\nSuites: s\nComponents: main\n\nTypes: deb\nEnabled: no\nURIs: http://c\n\
                    Suites: s\nComponents: main\n";
        let all = parse_deb822(text);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].line(), "deb [signed-by=/k.gpg] http://a/debian bookworm main");
        assert_eq!(all[1].suite, "bookworm-updates");
    }

    #[test]
    fn one_line_entries() {
        let text = "# deb http://x y main\ndeb [arch=amd64 signed-by=/k] http://a bookworm main\ndeb http://b s contrib\n\
                    deb-src http://a bookworm main\ndeb http://c t contrib main\n";
        let all = parse_list(text);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].signed_by.as_deref(), Some("/k"));
        assert_eq!(all[1].line(), "deb http://c t main");
    }
}
