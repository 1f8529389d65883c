//! What is tested under Wine with our program alone.

use super::{Wine, client};
use crate::boot::tests::{check, direct, ext4_as_qcow2, fresh, power_off, shell_ready};
use crate::boot::{Test, wrong_input};
use crate::run;
use crate::vmm::{Machine, Vmm};
use anyhow::{Context, Result, ensure};
use std::process::Command;
use std::time::Duration;

/// The tests' names, in order.
pub(super) fn names() -> Vec<String> {
    let mut all: Vec<String> = [
        "wine-starts",
        "wine-probe",
        "wine-wrong-input",
        "wine-linux-1cpu",
        "wine-linux-2cpu",
        "wine-monitor",
        "wine-disk",
    ]
    .map(str::to_owned)
    .to_vec();
    all.extend(client::names());
    all
}

/// The tests.
pub(super) fn all(wine: &Wine) -> Result<Vec<Test>> {
    let mut all = vec![
        Test::new("wine-starts", 1, |_, vmm| starts(vmm)),
        {
            let wine = wine.clone();
            Test::new("wine-probe", 1, move |_, _| probe(&wine))
        },
        Test::new("wine-wrong-input", 1, wrong_input::run_all),
        Test::new("wine-linux-1cpu", 1, |name, vmm| direct(name, vmm, "kernel-6.1", 1)),
        Test::new("wine-linux-2cpu", 2, |name, vmm| direct(name, vmm, "kernel-6.12", 2)),
        Test::new("wine-monitor", 1, monitor),
        Test::new("wine-disk", 1, disk),
    ];
    all.extend(client::all(wine));
    let made: Vec<&str> = all.iter().map(Test::name).collect();
    ensure!(made == names(), "the list of tests under Wine does not agree with the tests: {made:?}");
    Ok(all)
}

/// Options that only print.
fn starts(vmm: &Vmm) -> Result<String> {
    for (args, needle) in [
        (vec!["-version"], "whpx"),
        (vec!["-h"], "-accel"),
        (vec!["-M", "help"], "pc"),
        (vec!["-cpu", "help"], "qemu64"),
        (vec!["-device", "help"], "VGA"),
        (vec!["-accel", "help"], "whpx"),
    ] {
        let text = run::output(vmm.process().args(&args))?;
        ensure!(text.contains(needle), "{} does not print {needle}: {}", args.join(" "), text.trim());
    }
    // Without Microsoft's DLL, `auto` says what is missing and goes on; asked for by name, it is an error.
    for (accel, needle) in [("whpx", "the built-in platform is used"), ("whpx,platform=windows", "WinHvPlatform.dll")] {
        let args = ["-accel", accel, "-display", "none", "-serial", "none", "-kernel", "/nonexistent"];
        let out = vmm.process().args(args).output().context("cannot start wine")?;
        let error = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.code() == Some(1), "-accel {accel}: ended with {}", out.status);
        ensure!(error.contains(needle) && error.contains("DISM"), "-accel {accel} says: {}", error.trim());
    }
    Ok(run::output(vmm.process().arg("-version"))?.trim().to_owned())
}

/// `whpx probe` without any WHP DLL: what is missing, how to get it, and that guests run on the built-in platform (status 2).
fn probe(wine: &Wine) -> Result<String> {
    let probe = |args: &[&str]| super::status_and_text(wine.command(&wine.plain.join("whpx.exe")).args(args));
    let (status, text) = probe(&["probe"])?;
    ensure!(status == Some(2), "the status of `whpx probe` is {status:?}: {text}");
    for needle in
        ["Windows Hypervisor Platform: not there", "optionalfeatures.exe", "DISM", "built-in platform: usable", "Wine"]
    {
        ensure!(text.contains(needle), "`whpx probe` does not say {needle}: {text}");
    }
    let (status, json) = probe(&["probe", "--json"])?;
    let report: serde_json::Value = serde_json::from_str(&json).context("`whpx probe --json` is no JSON")?;
    ensure!(status == Some(2) && report["hardware"]["state"] == "absent", "--json, status {status:?}: {json}");
    let (status, _) = probe(&["probe", "--yaml"])?;
    ensure!(status == Some(1), "a wrong argument ends with {status:?}");
    Ok("status 2, what is missing and how to get it".to_owned())
}

/// The monitor's console on standard input and output, the serial line over TCP; `quit` while the guest runs.
fn monitor(name: &str, vmm: &Vmm) -> Result<String> {
    let mut guest = Machine::new(name).memory(512).monitor().linux("kernel-6.1")?.start(vmm)?;
    shell_ready(&mut guest, 1)?;
    let limit = Duration::from_secs(30);
    guest.monitor()?.line("info status")?;
    guest.monitor()?.expect("running", limit)?;
    guest.monitor()?.line("stop")?;
    guest.monitor()?.line("info status")?;
    guest.monitor()?.expect("paused", limit)?;
    guest.monitor()?.line("cont")?;
    guest.shell("true", 60)?;
    guest.monitor()?.line("quit")?;
    guest.wait_success(30)?;
    Ok("stop, cont and quit obeyed".to_owned())
}

/// A file system in a qcow2 image is written; the image must be clean and hold what was written.
fn disk(name: &str, vmm: &Vmm) -> Result<String> {
    let disk = ext4_as_qcow2(name)?;
    let mut guest = Machine::new(name).memory(512).linux("kernel-6.1")?.arg("-hda").arg(&disk).start(vmm)?;
    shell_ready(&mut guest, 1)?;
    guest.shell("disks", 120)?;
    guest.shell("mount -t ext4 /dev/sda /mnt", 60)?;
    guest.shell("seq 200000 > /mnt/numbers", 120)?;
    guest.shell("umount /mnt", 120)?;
    power_off(&mut guest)?;
    let verdict = check(&disk)?;
    ensure!(verdict == "no errors", "qemu-img check after a clean end: {verdict}");
    let raw = fresh(&format!("{name}.raw"))?;
    run::output(Command::new("qemu-img").args(["convert", "-q", "-f", "qcow2", "-O", "raw"]).arg(&disk).arg(&raw))?;
    let tool = |tool: &str| Command::new(run::find_program(tool).unwrap_or_else(|| tool.into()));
    run::output(tool("e2fsck").arg("-fn").arg(&raw))?;
    let text = run::output(tool("debugfs").args(["-R", "cat /numbers"]).arg(&raw))?;
    std::fs::remove_file(&raw).context("cannot remove the raw copy")?;
    ensure!(is_count_to(&text, 200_000), "the file in the image is not what the guest wrote");
    Ok("qcow2 clean, e2fsck clean, 1.3 MB read back".to_owned())
}

fn is_count_to(text: &str, last: u32) -> bool {
    let mut numbers = text.lines();
    (1..=last).all(|number| numbers.next() == Some(number.to_string().as_str())) && numbers.next().is_none()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn counting() {
        assert!(is_count_to("1\n2\n3\n", 3));
        assert!(!is_count_to("1\n2\n", 3));
        assert!(!is_count_to("1\n2\n3\n4\n", 3));
    }
}
