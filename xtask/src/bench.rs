//! `cargo xtask bench`: times and speeds of our monitor beside QEMU's TCG, medians of some runs. Not a test: it fails only if a guest does not run.

use crate::vmm::{Machine, Vmm};
use crate::{apt, image, paths, run};
use anyhow::{Context, Result};
use std::time::Duration;

/// One line of the table.
struct Row {
    what: &'static str,
    unit: &'static str,
    /// The digits after the point.
    digits: usize,
    columns: Vec<Result<f64>>,
}

const ROWS: [(&str, &str, usize); 6] = [
    ("start to login, 1 vCPU", "s", 1),
    ("start to login, 2 vCPUs", "s", 1),
    ("direct kernel 6.1 to shell", "s", 1),
    ("direct kernel 6.12 to shell", "s", 1),
    ("integer loop", "Minstr/s", 1),
    ("floating-point loop", "Minstr/s", 1),
];

/// The command.
pub fn command(runs: usize, vmm: Option<&str>) -> Result<()> {
    let first = Vmm::choose(vmm)?;
    if !first.is_qemu() {
        apt::ensure("bench", &[("/usr/share/seabios/bios-256k.bin", "seabios")])?;
    }
    image::kernel()?;
    image::demo()?;
    let mut vmms = vec![first];
    if !vmms[0].is_qemu() {
        match Vmm::qemu() {
            Some(qemu) => vmms.push(qemu),
            None => run::say("bench", "QEMU is skipped: qemu-system-x86_64 is not installed (package qemu-system-x86)"),
        }
    }
    let mut rows: Vec<Row> =
        ROWS.iter().map(|&(what, unit, digits)| Row { what, unit, digits, columns: Vec::new() }).collect();
    for vmm in &vmms {
        measure_all(&mut rows, vmm, runs);
    }
    print_table(&rows, &vmms, runs);
    if rows.iter().flat_map(|row| &row.columns).any(Result::is_err) {
        anyhow::bail!("some measurements failed");
    }
    Ok(())
}

fn measure_all(rows: &mut [Row], vmm: &Vmm, runs: usize) {
    let one = median(runs, || login(vmm, 1, true));
    let (login_1, int, fp) = match one {
        Ok([login, int, fp]) => (Ok(login), Ok(int), Ok(fp)),
        Err(error) => {
            let again = || anyhow::anyhow!("{error:#}");
            (Err(again()), Err(again()), Err(again()))
        }
    };
    let login_2 = median(runs, || login(vmm, 2, false)).map(|[time, ..]| time);
    let kernel = |kernel: &'static str| median(runs, || Ok([direct(vmm, kernel)?, 0.0, 0.0])).map(|[time, ..]| time);
    let values = [login_1, login_2, kernel("kernel-6.1"), kernel("kernel-6.12"), int, fp];
    for (row, value) in rows.iter_mut().zip(values) {
        if let Err(error) = &value {
            run::say("bench", &format!("{}: {error:#}", row.what));
        }
        row.columns.push(value);
    }
}

/// The median of each of three values.
fn median(runs: usize, mut measure: impl FnMut() -> Result<[f64; 3]>) -> Result<[f64; 3]> {
    let mut all = Vec::with_capacity(runs);
    for _ in 0..runs {
        all.push(measure()?);
    }
    Ok([0, 1, 2].map(|which| {
        let mut values: Vec<f64> = all.iter().map(|triple| triple[which]).collect();
        values.sort_by(f64::total_cmp);
        middle(&values)
    }))
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match sorted {
        [] => f64::NAN,
        _ if sorted.len() % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

/// Seconds from start to login of the demo disk, and the rates of the two loops.
fn login(vmm: &Vmm, cpus: u32, loops: bool) -> Result<[f64; 3]> {
    let name = format!("bench-{}-login-{cpus}", vmm.accel);
    let drive = format!("file={},format=raw,if=ide", paths::asset("demo")?.display());
    let mut guest = Machine::new(&name).cpus(cpus).memory(2048).args(["-drive", &drive, "-snapshot"]).start(vmm)?;
    guest.expect("whpx-demo login: ", 900)?;
    let time = guest.elapsed().as_secs_f64();
    run::say(&name, &format!("login after {time:.1} s"));
    let mut rates = [0.0; 2];
    if loops {
        guest.line("root")?;
        guest.expect("root@whpx-demo:~# ", 120)?;
        for (rate, program) in rates.iter_mut().zip(["int-loop", "fp-loop"]) {
            let text = guest.shell(&format!("/opt/bench/{program}"), 300)?;
            run::say(&name, &text);
            *rate = parse_rate(&text).with_context(|| format!("{program} printed no rate: {text}"))?;
        }
    }
    Ok([time, rates[0], rates[1]])
}

fn parse_rate(text: &str) -> Option<f64> {
    text.split_whitespace().find_map(|word| word.strip_prefix("Minstr/s="))?.parse().ok()
}

fn direct(vmm: &Vmm, kernel: &str) -> Result<f64> {
    let name = format!("bench-{}-{kernel}", vmm.accel);
    let mut guest = Machine::new(&name).memory(512).linux(kernel)?.start(vmm)?;
    guest.serial()?.expect("WHPX-SHELL-READY", Duration::from_secs(600))?;
    let time = guest.elapsed().as_secs_f64();
    run::say(&name, &format!("shell after {time:.1} s"));
    Ok(time)
}

fn print_table(rows: &[Row], vmms: &[Vmm], runs: usize) {
    println!("\nmedians of {runs} runs");
    let head: Vec<String> =
        vmms.iter().map(|vmm| format!("{:>12}", if vmm.is_qemu() { "QEMU tcg" } else { "whpx" })).collect();
    println!("{:<30} {:<9}{}", "", "", head.join(""));
    for row in rows {
        let cells: Vec<String> = row
            .columns
            .iter()
            .map(|value| {
                value.as_ref().map_or_else(|_| format!("{:>12}", "failed"), |value| format!("{value:12.*}", row.digits))
            })
            .collect();
        println!("{:<30} {:<9}{}", row.what, row.unit, cells.join(""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(middle(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(middle(&[1.0, 2.0]), 1.5);
        let mut values = [[3.0, 1.0, 0.0], [1.0, 2.0, 0.0], [2.0, 3.0, 0.0]].into_iter();
        assert_eq!(median(3, || Ok(values.next().unwrap())).unwrap(), [2.0, 2.0, 0.0]);
    }

    #[test]
    fn rates() {
        assert_eq!(parse_rate("INT-LOOP seconds=1.0 Minstr/s=61.5 sum=0"), Some(61.5));
        assert_eq!(parse_rate("nothing"), None);
    }
}
