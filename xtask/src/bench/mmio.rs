//! `cargo xtask bench mmio`: accesses to device memory a second, by instruction kind, to the planar VGA window and to a register of the
//! HPET: on the built-in platform decoded (served in the run) and undecoded (an exit each, completed by the instruction emulator, as with
//! Microsoft's platform), and by QEMU's TCG. The guest is `guest/mmio.S`, bare metal; the host takes the time.

use crate::vmm::{Guest, Machine, Vmm};
use crate::{apt, paths, run};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const STAGE: &str = "bench mmio";
/// A measurement takes at least so long.
const ENOUGH: Duration = Duration::from_millis(250);
/// Rounds are powers of two up to this.
const MOST: u8 = 26;
/// What the guest counts as a round of a string instruction.
const STRING: u32 = 64;

/// Where the kinds' accesses go, and what they are, in the order of the guest's table; accesses of a round.
const KINDS: [(&str, &str, u32); 27] = [
    ("VGA", "MOV load, 1 byte", 1),
    ("VGA", "MOV load, 2 bytes", 1),
    ("VGA", "MOV load, 4 bytes", 1),
    ("VGA", "MOV load, 8 bytes", 1),
    ("VGA", "MOV store, 1 byte", 1),
    ("VGA", "MOV store, 2 bytes", 1),
    ("VGA", "MOV store, 4 bytes", 1),
    ("VGA", "MOV store, 8 bytes", 1),
    ("VGA", "OR, 1 byte (load and store)", 1),
    ("VGA", "REP STOSB, per byte", STRING),
    ("VGA", "REP STOSD, per 4 bytes", STRING),
    ("VGA", "REP MOVSD from the window, per 4 bytes", STRING),
    ("VGA", "REP MOVSD to the window, per 4 bytes", STRING),
    ("VGA", "MOVDQU load, 16 bytes", 1),
    ("VGA", "MOVDQU store, 16 bytes", 1),
    ("VGA", "VMOVDQU store, 32 bytes", 1),
    ("HPET", "MOV load, 4 bytes", 1),
    ("HPET", "MOV load, 8 bytes", 1),
    ("HPET", "MOV store, 4 bytes", 1),
    ("HPET", "MOV store, 8 bytes", 1),
    ("HPET", "ADD, 4 bytes (load and store)", 1),
    ("HPET", "LOCK XADD, 4 bytes (load and store)", 1),
    ("HPET", "MOVZX load, 2 bytes", 1),
    ("HPET", "MOVQ load (MMX), 8 bytes", 1),
    ("HPET", "FLD load, 8 bytes", 1),
    ("HPET", "MOVDQU load, 16 bytes", 1),
    ("HPET", "VMOVDQU load, 32 bytes", 1),
];

/// The command.
pub(super) fn command(vmm: Option<&str>) -> Result<()> {
    apt::ensure(STAGE, &[("gcc", "gcc")])?;
    let guest = guest()?;
    let first = Vmm::choose(vmm)?;
    let mut columns: Vec<(&str, Vmm)> = Vec::new();
    if !first.is_qemu() {
        columns.push(("decoded", first.with_accel("whpx")));
        columns.push(("undecoded", first.with_accel("whpx,x-decoded=off")));
    }
    match if first.is_qemu() { Some(first) } else { Vmm::qemu() } {
        Some(qemu) => columns.push(("QEMU TCG", qemu)),
        None => run::say(STAGE, "QEMU is skipped: qemu-system-x86_64 is not installed (package qemu-system-x86)"),
    }
    let mut values = Vec::new();
    for (title, vmm) in &columns {
        run::say(STAGE, title);
        values.push(measure(title, vmm, &guest).with_context(|| format!("column {title}"))?);
    }
    println!("\nthousands of accesses a second; {}", super::conditions(1));
    let titles: Vec<_> = columns.iter().map(|c| format!(" {:>10} |", c.0)).collect();
    println!("| {:<4} | {:<40} |{}", "to", "instruction", titles.concat());
    println!("| ---- | {} |{}", "-".repeat(40), " ---------: |".repeat(columns.len()));
    for (n, (to, what, _)) in KINDS.iter().enumerate() {
        let cell = |column: &Vec<Option<f64>>| match column.get(n).copied().flatten() {
            Some(rate) => format!(" {:>10.0} |", rate / 1e3),
            None => format!(" {:>10} |", "-"),
        };
        println!("| {to:<4} | {what:<40} |{}", values.iter().map(cell).collect::<String>());
    }
    Ok(())
}

/// The guest program, compiled.
fn guest() -> Result<PathBuf> {
    let program = paths::work()?.join("mmio.elf");
    let mut gcc = Command::new("gcc");
    gcc.args([
        "-m32",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,-Ttext=0x100000,--build-id=none,-N,--no-warn-rwx-segments",
    ]);
    gcc.arg("-o").arg(&program).arg(paths::root().join("xtask/guest/mmio.S"));
    run::run(STAGE, "compile the guest", &mut gcc)?;
    Ok(program)
}

/// Accesses a second of every kind; `None` where the guest has no such instruction.
fn measure(title: &str, vmm: &Vmm, program: &PathBuf) -> Result<Vec<Option<f64>>> {
    let name = format!("bench-mmio-{}", title.replace(' ', "-"));
    let mut guest = Machine::new(&name).memory(64).args(["-cpu", "max", "-kernel"]).arg(program).start(vmm)?;
    guest.expect(">", 60)?;
    KINDS.iter().enumerate().map(|(n, kind)| rate(&mut guest, n as u8, kind.2)).collect()
}

/// More and more rounds, until they take long enough.
fn rate(guest: &mut Guest, kind: u8, accesses: u32) -> Result<Option<f64>> {
    for rounds in 6..=MOST {
        let started = Instant::now();
        let text = String::from_utf8(vec![b'a' + kind, b'0' + rounds]).context("letters beyond ASCII")?;
        guest.serial()?.send(&text)?;
        if guest.serial()?.expect_any(&["!", "-"], Duration::from_secs(60))?.0 == 1 {
            return Ok(None);
        }
        let time = started.elapsed();
        if time >= ENOUGH || rounds == MOST {
            let count = f64::from(accesses) * f64::from(1u32 << rounds);
            return Ok(Some(count / time.as_secs_f64()));
        }
    }
    bail!("no measurement")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The letters of the last kind and of the most rounds go over the line as one byte each.
    #[test]
    fn kinds_are_those_of_the_guest() {
        let source = std::fs::read_to_string(paths::root().join("xtask/guest/mmio.S")).unwrap();
        let entries: Vec<&str> = source.lines().filter(|l| l.contains("ENTRY   ")).collect();
        assert_eq!(entries.len(), KINDS.len());
        for (entry, (to, ..)) in entries.iter().zip(KINDS) {
            assert!(entry.contains(if to == "VGA" { "WINDOW" } else { "HPET" }), "{entry}");
        }
        assert!(b'a' as usize + KINDS.len() < 128 && b'0' + MOST < 128);
    }
}
