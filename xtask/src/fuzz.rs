//! `cargo xtask fuzz [TARGET...] [--seconds N]`: libFuzzer on the targets of `fuzz/`, one after the other. Installs `cargo-fuzz` where it is
//! missing and needs no nightly compiler: the stable one with `RUSTC_BOOTSTRAP=1` instruments, without a sanitizer. What was found to reach
//! new code is kept in `target/fuzz-corpus/TARGET`, an input that crashes in `target/fuzz-artifacts/TARGET`.

use crate::{paths, run};
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::Command;

/// Seconds a target unless `--seconds` says otherwise.
pub const SECONDS: usize = 60;

/// The names in the package's manifest.
fn targets(manifest: &str) -> Vec<String> {
    let parts = manifest.split("[[bin]]").skip(1);
    let name = |part: &str| {
        let line = part.lines().find_map(|line| line.trim().strip_prefix("name = \""))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    parts.filter_map(name).collect()
}

/// The command; `names` are targets, none means all.
pub fn command(names: &[String], seconds: usize) -> Result<()> {
    let folder = paths::root().join("fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).context("cannot read fuzz/Cargo.toml")?;
    let all = targets(&manifest);
    if names.iter().any(|name| name == "list") {
        run::list(&all);
        return Ok(());
    }
    if let Some(name) = names.iter().find(|name| !all.contains(name)) {
        bail!("there is no fuzz target `{name}`: they are {}", all.join(", "));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    if run::output(Command::new(&cargo).args(["fuzz", "--version"])).is_err() {
        run::run("fuzz", "cargo install cargo-fuzz", Command::new(&cargo).args(["install", "--locked", "cargo-fuzz"]))?;
    }
    let mut failed = Vec::new();
    for name in all.iter().filter(|name| names.is_empty() || names.contains(name)) {
        let place = |what: &str| -> Result<String> {
            let path = paths::target().join(what).join(name);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
            Ok(path.display().to_string())
        };
        let (corpus, artifacts) = (place("fuzz-corpus")?, place("fuzz-artifacts")?);
        for (n, seed) in seeds(name).iter().enumerate() {
            fs::write(format!("{corpus}/seed-{n}"), seed).with_context(|| format!("cannot write into {corpus}"))?;
        }
        let mut fuzz = Command::new(&cargo);
        fuzz.current_dir(&folder).env("RUSTC_BOOTSTRAP", "1");
        fuzz.args(["fuzz", "run", "-s", "none", "--target-dir"]).arg(paths::target().join("fuzz"));
        fuzz.arg(name).arg(&corpus).args(["--", "-print_final_stats=1", "-timeout=30", "-rss_limit_mb=4096"]);
        fuzz.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={artifacts}/"));
        match run::run("fuzz", name, &mut fuzz) {
            Ok(()) => run::say("fuzz", &format!("{name}: {}", summary(name)?)),
            Err(error) => {
                run::say("fuzz", &format!("{name} FAILED; inputs that crash are in {artifacts}\n{error:#}"));
                failed.push(name.as_str());
            }
        }
    }
    if !failed.is_empty() {
        bail!("crashes in {}", failed.join(", "));
    }
    Ok(())
}

/// A client of RFC 6143 that says each message once.
fn rfb(version: u8) -> Vec<u8> {
    let mut bytes = format!("RFB 003.00{version}\n").into_bytes();
    bytes.extend(if version == 3 { &[1][..] } else { &[1, 1] }); // security type none, shared
    bytes.extend([0, 0, 0, 0, 16, 16, 0, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0]); // SetPixelFormat: 565
    bytes.extend([2, 0, 0, 3, 0, 0, 0, 16, 0, 0, 0, 7, 0xFF, 0xFF, 0xFE, 0xFE]); // SetEncodings: ZRLE, Tight, keys
    bytes.extend([3, 0, 0, 0, 0, 0, 0, 40, 0, 24]); // FramebufferUpdateRequest
    bytes.extend([4, 1, 0, 0, 0, 0, 0, b'a', 5, 1, 0, 9, 0, 8]); // KeyEvent, PointerEvent
    bytes.extend([255, 0, 0, 1, 0, 0, 0, b'b', 0, 0, 0, 0x30]); // QEMU's extended key
    bytes.extend([6, 0, 0, 0, 0, 0, 0, 2, b'h', b'i']); // ClientCutText
    bytes
}

/// A frame of RFC 6455 from a client.
fn frame(opcode: u8, body: &[u8]) -> Vec<u8> {
    [&[0x80 | opcode, 0x80 | body.len() as u8, 0, 0, 0, 0], body].concat()
}

/// What gets libFuzzer past greetings that it would not guess.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let handshake = b"GET /token/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: binary\r\nOrigin: http://127.0.0.1\r\n\r\n";
    match target {
        "vnc" => [3, 7, 8].map(rfb).to_vec(),
        "web" => {
            let frames = [frame(2, &rfb(8)), frame(1, b"key KeyA 1"), frame(9, b"ping"), frame(8, &[])].concat();
            vec![[&handshake[..], &frames].concat(), b"GET /token/ HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()]
        }
        _ => vec![],
    }
}

/// What libFuzzer says at the end of a run.
fn summary(name: &str) -> Result<String> {
    let log = run::tail(&run::log_file(&format!("fuzz-{name}"))?, usize::MAX);
    let value = |key: &str| {
        let line = log.lines().find_map(|line| line.trim().strip_prefix(key));
        line.map_or("?", str::trim).to_owned()
    };
    let coverage = log.lines().rev().find_map(|line| line.split("cov: ").nth(1)?.split_whitespace().next());
    Ok(format!(
        "{} executions, {} a second, {} edges",
        value("stat::number_of_executed_units:"),
        value("stat::average_exec_per_sec:"),
        coverage.unwrap_or("?")
    ))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_target_of_the_package_is_found() {
        let found = super::targets(include_str!("../../fuzz/Cargo.toml"));
        for entry in std::fs::read_dir(crate::paths::root().join("fuzz/fuzz_targets")).unwrap() {
            let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
            assert!(found.contains(&name), "{name} is not in fuzz/Cargo.toml");
        }
        assert_eq!(found.len(), 8);
    }
}
