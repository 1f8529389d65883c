//! Wrong command lines and images: each must end with status 1 and one line on standard error that names what is wrong, without a panic
//! and without a change to any file.

use super::skip;
use crate::vmm::Vmm;
use crate::{paths, run};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What is given, and what the message must name.
type Case = (Vec<String>, &'static str);

pub(crate) fn run_all(name: &str, vmm: &Vmm) -> Result<String> {
    if vmm.is_qemu() {
        return skip("our own messages; QEMU's differ");
    }
    let folder = paths::work()?.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot empty the test's folder")?;
    }
    fs::create_dir_all(&folder).context("cannot create the test's folder")?;
    make_images(&folder)?;
    let before = contents(&folder)?;
    let cases = cases(&folder);
    let mut wrong = Vec::new();
    for (args, needle) in &cases {
        if let Err(error) = one(vmm, &folder, args, needle) {
            run::say(name, &format!("{}: {error:#}", args.join(" ")));
            wrong.push(format!("`{}`: {error:#}", args.join(" ")));
        }
    }
    ensure!(contents(&folder)? == before, "a file in {} was changed or made", folder.display());
    if !wrong.is_empty() {
        bail!(
            "{} of {} wrong inputs are not handled as they should:\n    {}",
            wrong.len(),
            cases.len(),
            wrong.join("\n    ")
        );
    }
    Ok(format!("{} wrong inputs, each one line and status 1", cases.len()))
}

fn cases(folder: &Path) -> Vec<Case> {
    let drive = |file: &str| format!("file={},format=qcow2", folder.join(file).display());
    let case = |args: &[&str], needle: &'static str| (args.iter().map(|arg| (*arg).to_owned()).collect(), needle);
    vec![
        case(&["-hda", "/nonexistent/disk.img"], "/nonexistent/disk.img"),
        case(&["-cdrom", "/nonexistent/cd.iso"], "/nonexistent/cd.iso"),
        case(&["-kernel", "/nonexistent/vmlinuz"], "/nonexistent/vmlinuz"),
        case(&["-frobnicate"], "-frobnicate"),
        case(&["-device", "frobnicator"], "frobnicator"),
        case(&["-M", "frobnicator"], "frobnicator"),
        case(&["-accel", "whpx,frobnicate=on"], "frobnicate"),
        case(&["-cpu", "frobnicator"], "frobnicator"),
        case(&["-drive", "file=/dev/null,frobnicate=on"], "frobnicate"),
        case(&["-smp", "cores=0"], "cores"),
        case(&["-m", "0"], "-m"),
        case(&["-m", "lots"], "lots"),
        case(&["-bios", "no-such-firmware.bin"], "no-such-firmware.bin"),
        case(&["-drive", &drive("bad-magic.qcow2")], "bad-magic.qcow2"),
        case(&["-drive", &drive("truncated.qcow2")], "truncated.qcow2"),
        case(&["-drive", &drive("half-header.qcow2")], "half-header.qcow2"),
        case(&["-drive", &drive("encrypted.qcow2")], "encrypted.qcow2"),
    ]
}

fn make_images(folder: &Path) -> Result<()> {
    let good = folder.join("good.qcow2");
    run::output(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&good).arg("64M"))?;
    let bytes = fs::read(&good).context("cannot read what qemu-img made")?;
    let mut bad = bytes.clone();
    bad[..4].copy_from_slice(b"QFJ\xfb");
    fs::write(folder.join("bad-magic.qcow2"), bad).context("cannot write an image")?;
    // The header is whole, what it points to (refcount table, L1 table) is beyond the end.
    fs::write(folder.join("truncated.qcow2"), &bytes[..bytes.len().min(65536)]).context("cannot write an image")?;
    fs::write(folder.join("half-header.qcow2"), &bytes[..50]).context("cannot write an image")?;
    let mut encrypted = Command::new("qemu-img");
    encrypted.args([
        "create",
        "-q",
        "-f",
        "qcow2",
        "--object",
        "secret,id=s,data=whpx",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
    ]);
    encrypted.arg(folder.join("encrypted.qcow2")).arg("16M");
    // qemu-img 7.2 cannot always time its key derivation.
    let mut tries = 0;
    while let Err(e) = run::output(&mut encrypted) {
        tries += 1;
        if tries == 20 {
            return Err(e);
        }
    }
    Ok(())
}

fn contents(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).context("cannot read the test's folder")? {
        let path = entry.context("cannot read the test's folder")?.path();
        all.push((path.clone(), fs::read(&path).context("cannot read an image")?));
    }
    all.sort();
    Ok(all)
}

fn one(vmm: &Vmm, folder: &Path, args: &[String], needle: &str) -> Result<()> {
    let mut command = vmm.process();
    if !args.iter().any(|arg| arg == "-accel") {
        command.args(["-accel", &vmm.accel]);
    }
    command.args(["-display", "none", "-serial", "none"]).args(args).current_dir(folder);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", vmm.program.display()))?;
    let limit = Instant::now() + Duration::from_secs(20);
    while child.try_wait().context("cannot wait for the process")?.is_none() {
        if Instant::now() >= limit {
            child.kill().context("cannot kill the process")?;
            child.wait().context("cannot wait for the process")?;
            bail!("it started as if nothing were wrong");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let out = child.wait_with_output().context("cannot wait for the process")?;
    let text = String::from_utf8_lossy(&out.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    ensure!(out.status.code() == Some(1), "ended with {} instead of exit status 1: {}", out.status, text.trim());
    ensure!(!text.contains("panicked"), "it panicked: {}", text.trim());
    ensure!(lines.len() == 1, "{} lines on standard error instead of one: {}", lines.len(), text.trim());
    ensure!(text.contains(needle), "the message does not name {needle}: {}", text.trim());
    Ok(())
}
