//! `cargo xtask bench exits`: nanoseconds of an exit's round trip. The C API, decoded accesses and `/dev/kvm` are measured by the example
//! `round-trips` of the crate `winhvemulation`; QEMU's TCG by a ROM that does nothing but accesses, twice, with different counts.

use crate::{paths, run};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const STAGE: &str = "bench exits";
/// Accesses of the two runs under TCG.
const COUNTS: [u32; 2] = [1_000_000, 9_000_000];
const ROM: usize = 0x1_0000;

/// The command.
pub(super) fn command() -> Result<()> {
    let mut lines = ours()?;
    for (what, setup, access) in [
        ("QEMU TCG, OUT", &[][..], &[0xE6, 0x80][..]),
        // MOV AX, A000h; MOV DS, AX: the VGA's window
        ("QEMU TCG, store", &[0xB8, 0x00, 0xA0, 0x8E, 0xD8], &[0xA2, 0x00, 0x00]),
        ("QEMU TCG, load", &[0xB8, 0x00, 0xA0, 0x8E, 0xD8], &[0xA0, 0x00, 0x00]),
    ] {
        let value = match run::find_program("qemu-system-x86_64") {
            None => "skipped: qemu-system-x86_64 is not installed (package qemu-system-x86)".to_owned(),
            Some(_) => tcg(setup, access).map_or_else(|error| format!("failed: {error:#}"), |ns| format!("{ns:.0}")),
        };
        lines.push((what.to_owned(), value));
    }
    println!("\nround trip of one access or exit, nanoseconds");
    for (what, value) in lines {
        println!("  {what:<56} {value:>8}");
    }
    Ok(())
}

/// What the example prints.
fn ours() -> Result<Vec<(String, String)>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::root()).args([
        "run",
        "--release",
        "--package",
        "winhvemulation",
        "--example",
        "round-trips",
    ]);
    run::say(STAGE, &run::show(&cargo));
    let text = run::output(&mut cargo)?;
    let lines: Vec<_> =
        text.lines().filter_map(|line| line.split_once('\t')).map(|(what, ns)| (what.into(), ns.into())).collect();
    ensure!(!lines.is_empty(), "the example round-trips printed nothing");
    Ok(lines)
}

/// Code for the start of a ROM segment: `setup`, `count` times `access`, the end.
fn program(setup: &[u8], access: &[u8], count: u32) -> Vec<u8> {
    let mut code = setup.to_vec();
    code.extend([0x66, 0xB9]); // MOV ECX, count
    code.extend(count.to_le_bytes());
    code.extend(access);
    code.extend([0x66, 0x49, 0x75]); // DEC ECX; JNZ access
    code.push(0u8.wrapping_sub(access.len() as u8 + 4));
    code.extend([0xB0, 0x10, 0xE6, 0xF4, 0xF4, 0xEB, 0xFD]); // MOV AL, 10h; OUT F4h, AL; HLT
    code
}

fn tcg(setup: &[u8], access: &[u8]) -> Result<f64> {
    let mut times = [Duration::ZERO; 2];
    for (time, count) in times.iter_mut().zip(COUNTS) {
        let mut rom = program(setup, access, count);
        rom.resize(ROM - 16, 0xF4);
        rom.extend([0xEA, 0x00, 0x00, 0x00, 0xF0]); // JMP F000:0000
        rom.resize(ROM, 0);
        let file = paths::target().join("bench-exits.rom");
        fs::write(&file, rom).with_context(|| format!("cannot write {}", file.display()))?;
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg", "-M", "pc", "-m", "16", "-display", "none", "-nic", "none", "-bios"]).arg(&file);
        qemu.args(["-device", "isa-debug-exit,iobase=0xf4", "-serial", "none", "-monitor", "none"]);
        let started = Instant::now();
        let mut child = qemu.stdin(Stdio::null()).spawn().context("cannot start qemu-system-x86_64")?;
        let status = loop {
            match child.try_wait().context("cannot wait for QEMU")? {
                Some(status) => break status,
                None if started.elapsed() > Duration::from_secs(120) => {
                    child.kill().context("cannot end QEMU")?;
                    anyhow::bail!("QEMU did not end in 120 s");
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        *time = started.elapsed();
        ensure!(status.code() == Some(0x21), "QEMU ended with {status}");
    }
    let [short, long] = times;
    Ok((long.as_nanos() as f64 - short.as_nanos() as f64) / f64::from(COUNTS[1] - COUNTS[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_jumps_to_the_access() {
        let code = program(&[0x90], &[0xE6, 0x80], 0x0102_0304);
        assert_eq!(code[..9], [0x90, 0x66, 0xB9, 4, 3, 2, 1, 0xE6, 0x80]);
        assert_eq!(code[9..13], [0x66, 0x49, 0x75, 0xFA]);
    }
}
