//! The program `whpx` as its users start it: probing this host, tracing a machine of a few instructions.

use std::path::Path;
use std::process::{Command, Output};

fn whpx(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_whpx"));
    command.current_dir(folder).args(args).env_remove("WHPX_TRACE").env_remove("WHPX_WINHVPLATFORM");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(not(windows))]
#[test]
fn probe_elsewhere_than_on_windows() {
    let folder = tempfile::tempdir().unwrap();
    let out = whpx(folder.path(), &["probe"]);
    assert_eq!(out.status.code(), Some(2));
    let shown = text(&out.stdout);
    assert!(shown.contains("Windows Hypervisor Platform: not there\n  it exists on Windows only"), "{shown}");
    assert!(shown.contains("built-in platform: usable"), "{shown}");
    let out = whpx(folder.path(), &["probe", "--json"]);
    assert_eq!(out.status.code(), Some(2));
    let report: whpx::probe::ProbeReport = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&*report.choices[0].platform, report.exit_status), ("soft", 2));
    assert_eq!(whpx(folder.path(), &["probe", "-x"]).status.code(), Some(1));
}

#[test]
fn a_machine_traced_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut rom = vec![0xF4; 0x1_0000];
    // mov dx, 0x501; mov al, 0x10; out dx, al; hlt; jmp $-1
    rom[0xFFF0..0xFFF9].copy_from_slice(&[0xBA, 0x01, 0x05, 0xB0, 0x10, 0xEE, 0xF4, 0xEB, 0xFD]);
    std::fs::write(folder.path().join("rom.bin"), rom).unwrap();
    let machine = env!("CARGO_BIN_EXE_whpx-system-x86_64");
    let exit = "isa-debug-exit,iobase=0x501,iosize=2";
    let command = ["trace", "--", machine, "-m", "4", "-bios", "rom.bin", "-display", "none", "-device", exit];
    let out = whpx(folder.path(), &[&command[..], &["-nodefaults", "-accel", "tcg"]].concat());
    let errors = text(&out.stderr);
    assert_eq!(out.status.code(), Some(0x21), "the command's status: {errors}");
    assert!(errors.contains("port_write") && errors.contains("whpx-trace.jsonl"), "{errors}");
    let out = whpx(folder.path(), &["trace", "show", "whpx-trace.jsonl", "--call", "port_write", "--vp", "0"]);
    let shown = text(&out.stdout);
    assert!(shown.lines().any(|l| l.contains("port_write(data 10, port 0x501)")), "{shown}");
    let out = whpx(folder.path(), &["trace", "show", "--summary", "whpx-trace.jsonl"]);
    assert!(text(&out.stdout).contains("MapGpaRange"));
    let out = whpx(folder.path(), &["trace", "--", machine, "-accel", "help"]);
    assert!(out.status.success() && text(&out.stderr).contains("no trace"), "{}", text(&out.stderr));
}
