//! Rows that are programs in a guest, and the same programs on this machine: the kernels of `guest/kernels.c` (one static program, from the
//! initramfs), and what people run (openssl, gzip and Python of the demo disk; on this machine its own, if they are installed).

use super::{Column, Group, Row, Values, boots};
use crate::{paths, run};
use anyhow::{Context, Result, bail};
use std::process::Command;

const fn kernel(name: &'static str, what: &'static str) -> Row {
    Row { name, what, unit: "us", digits: 0 }
}

pub(super) const KERNELS: Group = Group {
    rows: &[
        kernel("sieve", "integer: sieve"),
        kernel("crc", "integer: crc"),
        kernel("heap-sort", "integer: heap sort"),
        kernel("list-chase", "integer: list chase"),
        kernel("recursion", "integer: recursion"),
        kernel("matrix", "floating point: matrix"),
        kernel("sse-double", "SIMD: SSE double"),
        kernel("avx2-int", "SIMD: AVX2 int"),
    ],
    has: |_| true,
    measure: kernels,
};

pub(super) const LOCKED: Group = Group {
    rows: &[Row { name: "locked", what: "locked counters, 4 threads on 4 vCPUs", unit: "Mop/s", digits: 2 }],
    has: |_| true,
    measure: locked,
};

const fn tool(name: &'static str, what: &'static str, unit: &'static str) -> Row {
    Row { name, what, unit, digits: 1 }
}

pub(super) const TOOLS: Group = Group {
    rows: &[
        tool("openssl-sha256", "openssl speed sha256, 16 KiB", "MB/s"),
        tool("openssl-aes", "openssl speed aes-128-cbc, 16 KiB", "MB/s"),
        tool("gzip", "gzip of 4 MB of text", "MB/s"),
        tool("python3", "python3: a loop of 300000, with its start", "ms"),
        tool("python3-loop", "python3: a loop of 3000000, with its start", "ms"),
        tool("python3-start", "python3: start and end", "ms"),
    ],
    has: |_| true,
    measure: tools,
};

/// Runs a line of shell in a guest (which `start` makes) or here.
fn shells(column: &Column, start: impl FnOnce() -> Result<crate::vmm::Guest>, lines: &[String]) -> Result<Vec<String>> {
    if column.vmm().is_none() {
        return lines.iter().map(|line| run::output(Command::new("bash").args(["-c", line]))).collect();
    }
    let mut guest = start()?;
    lines.iter().map(|line| guest.shell(line, 600)).collect()
}

/// Where the program is.
fn program(column: &Column) -> Result<String> {
    Ok(if column.vmm().is_some() {
        "/bench/kernels".to_owned()
    } else {
        paths::asset("kernels")?.display().to_string()
    })
}

fn kernels(column: &Column) -> Result<Values> {
    let start = || boots::shell(column, "kernels", "kernel-6.1", 1);
    let text = shells(column, start, &[program(column)?])?.concat();
    let mut values = Values::new();
    for row in KERNELS.rows {
        match field(&text, row.name, "us=")? {
            Some(value) => values.push((row.name, value)),
            None => run::say("bench", &format!("{}, {}: the processor has no AVX2", row.name, column.short())),
        }
    }
    Ok(values)
}

fn locked(column: &Column) -> Result<Values> {
    let start = || boots::shell(column, "locked", "kernel-6.1", 4);
    let text = shells(column, start, &[format!("{} locked", program(column)?)])?.concat();
    let rate = field(&text, "locked", "rate=")?.with_context(|| format!("no rate: {text}"))?;
    Ok(vec![("locked", rate)])
}

/// The figure of a `KERNEL name` line; `None` when it says `missing`.
fn field(text: &str, name: &str, key: &str) -> Result<Option<f64>> {
    let mut line =
        text.lines().filter_map(|line| line.trim().strip_prefix("KERNEL ")?.strip_prefix(name)?.strip_prefix(' '));
    let line = line.next_back().with_context(|| format!("nothing about {name}: {text}"))?;
    if line.contains("WRONG") || line.contains("LOST") {
        bail!("{name} computed something wrong: {line}");
    }
    if line == "missing" {
        return Ok(None);
    }
    let value = line.split_whitespace().find_map(|word| word.strip_prefix(key)?.parse().ok());
    Ok(Some(value.with_context(|| format!("{name}: {line}"))?))
}

/// Times in nanoseconds by the shell's clock, `openssl` by its own.
fn tools(column: &Column) -> Result<Values> {
    let openssl = |args: &str| format!("openssl speed -mr -seconds 1 -bytes 16384 {args} 2>/dev/null");
    let timed = |what: &str| {
        format!("for i in 1 2 3; do a=$(date +%s%N); {what} || echo WRONG; b=$(date +%s%N); echo TIME $((b - a)); done")
    };
    // Text that is compressed to about a quarter.
    let lines = [
        openssl("-evp sha256"),
        openssl("-evp aes-128-cbc"),
        "f=/tmp/whpx-bench.txt; seq 1 600000 | head -c 4000000 > $f; echo made".to_owned(),
        timed("gzip -c /tmp/whpx-bench.txt > /dev/null"),
        timed("python3 -c 'x = 0\nfor i in range(300000): x = (x * 31 + i) & 0xFFFFFF\nassert x == 2124272, x'")
            .replace('\n', "\\n")
            .replacen("-c '", "-c $'", 1),
        timed("python3 -c 'x = 0\nfor i in range(3000000): x = (x * 31 + i) & 0xFFFFFF\nassert x == 16261984, x'")
            .replace('\n', "\\n")
            .replacen("-c '", "-c $'", 1),
        timed("python3 -c pass"),
    ];
    let text = shells(column, || boots::root(column, "tools"), &lines)?;
    let get = |at: usize| text.get(at).map_or("", String::as_str);
    if let Some(wrong) = text.iter().position(|t| t.lines().any(|l| l.trim() == "WRONG")) {
        bail!("a program failed: {}", get(wrong));
    }
    let time = |at: usize| best(get(at)).with_context(|| format!("no time: {}", get(at)));
    Ok(vec![
        ("openssl-sha256", speed(get(0)).with_context(|| format!("no speed: {}", get(0)))? / 1e6),
        ("openssl-aes", speed(get(1)).with_context(|| format!("no speed: {}", get(1)))? / 1e6),
        ("gzip", 4.0 / time(3)?),
        ("python3", time(4)? * 1e3),
        ("python3-loop", time(5)? * 1e3),
        ("python3-start", time(6)? * 1e3),
    ])
}

/// Bytes a second, of `+F:nr:name:rate`.
fn speed(text: &str) -> Option<f64> {
    text.lines().find(|line| line.trim().starts_with("+F:"))?.trim().rsplit(':').next()?.parse().ok()
}

/// The least of the `TIME` lines, in seconds.
fn best(text: &str) -> Option<f64> {
    let times = text.lines().filter_map(|line| line.trim().strip_prefix("TIME ")?.trim().parse::<f64>().ok());
    times.min_by(f64::total_cmp).map(|time| time / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_print() {
        let text = "KERNEL sieve us=508.7 sum=12\nKERNEL avx2-int missing\nKERNEL crc us=1 sum=2 WRONG\n";
        assert_eq!(field(text, "sieve", "us=").unwrap(), Some(508.7));
        assert_eq!(field(text, "avx2-int", "us=").unwrap(), None);
        assert!(field(text, "crc", "us=").is_err() && field(text, "list", "us=").is_err());
        assert_eq!(speed("+H:16384\n+F:24:sha256:2064384000.00\n"), Some(2_064_384_000.0));
        assert_eq!(best("TIME 2000000000\nTIME 1500000000\n"), Some(1.5));
    }
}
