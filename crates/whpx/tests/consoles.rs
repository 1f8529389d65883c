//! The program's consoles from outside: a terminal that serial port and monitor share.

use std::io::Write;
use std::process::{Command, Stdio};

/// Runs the program with `args` and `input` on its standard input, written before it can have started.
fn run(args: &[&str], input: &[u8]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let bios = dir.path().join("bios.bin");
    std::fs::write(&bios, vec![0xF4; 0x10000]).unwrap(); // hlt
    let mut child = Command::new(env!("CARGO_BIN_EXE_whpx-system-x86_64"))
        .args(["-accel", "whpx,platform=soft", "-m", "16", "-vga", "none", "-S", "-bios"])
        .arg(&bios)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let out = child.wait_with_output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Ctrl-A c in what is there before the monitor is: nothing of it may reach the serial port instead.
#[test]
fn a_piped_ctrl_a_c_reaches_the_monitor() {
    for args in [
        &["-nographic"][..],
        &["-display", "none", "-chardev", "stdio,id=t,mux=on,signal=off", "-serial", "chardev:t", "-mon", "t"],
    ] {
        let (status, text) = run(args, b"\x01cinfo status\nquit\n");
        assert_eq!(status, Some(0), "{text}");
        assert!(text.contains("(qemu) info status\r\nVM status: paused (prelaunch)\r\n"), "{text}");
    }
}

/// QMP on the terminal, one command after another, to the last event.
#[test]
fn qmp_on_standard_streams() {
    let input =
        b"{\"execute\": \"qmp_capabilities\"}{\"execute\": \"query-status\"}\n{\"execute\": \"quit\", \"id\": 1}";
    let (status, text) = run(&["-display", "none", "-qmp", "stdio"], input);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.starts_with("{\"QMP\": {\"capabilities\": [], \"version\": "), "{text}");
    assert!(
        text.contains("\r\n{\"return\": {\"running\": false, \"singlestep\": false, \"status\": \"prelaunch\"}}\r\n"),
        "{text}"
    );
    assert!(
        text.contains("{\"data\": {\"guest\": false, \"reason\": \"host-qmp-quit\"}, \"event\": \"SHUTDOWN\""),
        "{text}"
    );
}
