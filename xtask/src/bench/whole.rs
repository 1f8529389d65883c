//! Rows about the program as a whole: from its start to the guest's first instruction, and how fast a processor leaves translated code.

use super::{Column, Group, Row, Values};
use crate::vmm::Machine;
use crate::{paths, run};
use anyhow::{Context, Result};
use std::process::Command;
use std::time::Duration;

pub(super) const START: Group = Group {
    rows: &[Row { name: "start", what: "start of process to first guest instruction", unit: "ms", digits: 1 }],
    has: |column| column.vmm().is_some(),
    measure: start,
};

pub(super) const KICK: Group = Group {
    rows: &[
        Row { name: "kick", what: "kick latency (cancel to exit), median", unit: "us", digits: 1 },
        Row { name: "kick-p99", what: "kick latency (cancel to exit), 99th percentile", unit: "us", digits: 1 },
    ],
    has: |column| matches!(column, Column::Whpx(..)),
    measure: kick,
};

/// At the reset vector: `mov dx, 3f8h; mov al, '!'; out dx, al; hlt; jmp` to the HLT.
const RESET: [u8; 9] = [0xBA, 0xF8, 0x03, 0xB0, b'!', 0xEE, 0xF4, 0xEB, 0xFD];

/// A firmware whose first instructions write to the serial line; the least of ten starts.
fn start(column: &Column) -> Result<Values> {
    let vmm = column.vmm().context("a guest needs a monitor")?;
    let file = paths::work()?.join("first-instruction.bin");
    let mut rom = vec![0xF4; 0x1_0000];
    rom[0xFFF0..0xFFF0 + RESET.len()].copy_from_slice(&RESET);
    std::fs::write(&file, &rom).with_context(|| format!("cannot write {}", file.display()))?;
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        let machine = Machine::new(&format!("bench-{}-start", column.short())).arg("-bios").arg(&file);
        let mut guest = machine.args(["-nodefaults", "-no-user-config"]).start(vmm)?;
        guest.serial()?.expect("!", Duration::from_secs(20))?;
        best = best.min(guest.elapsed().as_secs_f64() * 1e3);
    }
    Ok(vec![("start", best)])
}

fn kick(column: &Column) -> Result<Values> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["run", "--quiet", "--release", "-p", "whp-soft", "--example", "kick", "--", column.short()])
        .current_dir(paths::root());
    let text = run::output(&mut command)?;
    run::say("bench", text.trim());
    let value = |key: &str| text.split_whitespace().find_map(|word| word.strip_prefix(key)?.parse().ok());
    Ok(vec![
        ("kick", value("median=").with_context(|| format!("no median: {text}"))?),
        ("kick-p99", value("p99=").with_context(|| format!("no percentile: {text}"))?),
    ])
}
