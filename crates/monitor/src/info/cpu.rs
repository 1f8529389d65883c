//! Processors: `info registers`, `cpus`, `exits`.

use std::collections::BTreeMap;
use std::fmt::Write;

use whp::{RegisterName as R, RegisterValue};

use super::plain;
use crate::args::{CommandError, Outcome, expect, failed, take_flag, usage, words};
use crate::commands::some_words;
use crate::context::{Context, register};

pub(super) fn registers(context: &mut Context, rest: &str) -> Outcome {
    let mut words = words(rest)?;
    let (all, vector) = (take_flag(&mut words, "-a"), take_flag(&mut words, "-v"));
    expect(&words, 0, 1)?;
    let index = match words.first() {
        Some(word) => word.parse().map_err(|_| usage(format!("'{word}' is not a CPU index")))?,
        None => context.cpu,
    };
    let count = context.machine.accel().count();
    if index >= count {
        return Err(failed("CPU not available"));
    }
    let wanted = if all { 0..count } else { index..index + 1 };
    let one = |a: &accel::Accelerator, i| {
        let r = a.registers(i).map_err(failed)?;
        let more = if vector { vectors(a, i)? } else { String::new() };
        Ok(accel::format_registers(i, &r) + &more)
    };
    context.machine.while_stopped(|a| wanted.map(|i| one(a, i)).collect())
}

/// System registers that `-v` adds.
const SYSTEM: [(&str, R); 13] = [
    ("STAR", R::STAR),
    ("LSTAR", R::LSTAR),
    ("CSTAR", R::CSTAR),
    ("SFMASK", R::SFMASK),
    ("KERNEL_GS_BASE", R::KERNEL_GS_BASE),
    ("SYSENTER_CS", R::SYSENTER_CS),
    ("SYSENTER_ESP", R::SYSENTER_ESP),
    ("SYSENTER_EIP", R::SYSENTER_EIP),
    ("APIC_BASE", R::APIC_BASE),
    ("PAT", R::PAT),
    ("TSC", R::TSC),
    ("XCR0", R::XCR0),
    ("CR8", R::CR8),
];

/// The FPU, SSE and system registers of processor `index`.
fn vectors(a: &accel::Accelerator, index: usize) -> Result<String, CommandError> {
    let range = |first: R, n: u32| (0..n).map(move |i| first.offset(i));
    let mut names: Vec<R> = range(R::FP_MMX0, 8).chain(range(R::XMM0, 16)).collect();
    names.extend([R::FP_CONTROL_STATUS, R::XMM_CONTROL_STATUS]);
    let values = a.read(index, &names).map_err(failed)?;
    let mut s = vector_text(&values);
    for (name, register) in SYSTEM {
        // Not every platform has them all.
        if let Some(v) = a.read(index, &[register]).ok().and_then(|v| v.first().copied()) {
            let _ = writeln!(s, "{name}={:016x}", v.u64()); // writing to a String cannot fail
        }
    }
    Ok(s)
}

/// ST0 to ST7, XMM0 to XMM15 and the two control registers, in this order.
fn vector_text(values: &[RegisterValue]) -> String {
    let (st, rest) = values.split_at(values.len().min(8));
    let (xmm, control) = rest.split_at(rest.len().min(16));
    let fp = control.first().copied().unwrap_or_default().fp_control_status();
    let mxcsr = control.get(1).copied().unwrap_or_default().xmm_control_status().xmm_status_control;
    let mut s = format!(
        "FCW={:04x} FSW={:04x} [ST={}] FTW={:02x} MXCSR={mxcsr:08x}\n",
        fp.fp_control,
        fp.fp_status & !(7 << 11),
        fp.fp_status >> 11 & 7,
        fp.fp_tag,
    );
    let mut table = |cells: Vec<String>| {
        for pair in cells.chunks(2) {
            s += &(pair.join(" ") + "\n");
        }
    };
    table(st.iter().enumerate().map(|(i, v)| format!("FPR{i}={:016x} {:04x}", v.u64(), v.high64() as u16)).collect());
    table(xmm.iter().enumerate().map(|(i, v)| format!("XMM{i:02}={:016x} {:016x}", v.high64(), v.u64())).collect());
    s
}

pub(super) fn cpus(context: &mut Context, rest: &str) -> Outcome {
    some_words(rest, 0, 0)?;
    let threads = threads();
    let current = context.cpu;
    let one = |a: &accel::Accelerator, i: usize| {
        let r = a.registers(i).map_err(failed)?;
        let star = if i == current { '*' } else { ' ' };
        let halted = if r.halted || r.waits_for_sipi { " (halted)" } else { "" };
        let thread = threads.iter().find(|t| t.0 == i).map(|t| format!(" thread_id={}", t.1)).unwrap_or_default();
        let pc = register(&r, "pc").unwrap_or_default();
        Ok(format!("{star} CPU #{i}: pc=0x{pc:016x}{halted}{thread}\n"))
    };
    context.machine.while_stopped(|a| (0..a.count()).map(|i| one(a, i)).collect())
}

/// The processors' host threads, found by their names; none where the host does not list them.
pub(crate) fn threads() -> Vec<(usize, u64)> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let one = |entry: std::fs::DirEntry| {
        let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        let index = name.trim().strip_prefix("CPU ")?.strip_suffix("/WHPX")?.parse().ok()?;
        Some((index, entry.file_name().to_str()?.parse().ok()?))
    };
    tasks.flatten().filter_map(one).collect()
}

pub(super) fn exits(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |c| {
        let mut s = exit_table(&c.machine.accel().stats());
        s.push_str(&access_table(accesses(&c.machine)));
        s
    })
}

/// How often each device was reached: its name, by ports, by memory.
fn accesses(machine: &machine::MachineHandle) -> BTreeMap<String, (u64, u64)> {
    let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for range in machine.ports().ranges().iter() {
        counts.entry(range.name.to_string()).or_default().0 += range.accesses();
    }
    for range in machine.space().flat().iter().filter(|r| matches!(r.backing, vm_core::Backing::Mmio(_))) {
        counts.entry(range.name.to_string()).or_default().1 += range.accesses();
    }
    counts
}

/// Those that were reached at all, the busiest first.
fn access_table(counts: BTreeMap<String, (u64, u64)>) -> String {
    let mut rows: Vec<_> = counts.into_iter().filter(|(_, (ports, memory))| ports + memory != 0).collect();
    rows.sort_by_key(|(_, (ports, memory))| std::cmp::Reverse(ports + memory));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max("accesses of".len());
    let mut s = format!("\n{:<width$} {:>14} {:>14}\n", "accesses of", "ports", "memory");
    for (name, (ports, memory)) in rows {
        let _ = writeln!(s, "{name:<width$} {ports:>14} {memory:>14}");
    }
    s
}

pub(super) fn jit(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |c| translator_table(&c.machine.accel().translator_stats()))
}

fn translator_table(rows: &[accel::StatsRow]) -> String {
    if rows.is_empty() {
        return "nothing is translated: the processors are a hypervisor's, or interpret\n".to_owned();
    }
    table("translator", rows)
}

fn exit_table(rows: &[accel::StatsRow]) -> String {
    table("exits", rows)
}

/// A column a processor.
fn table(head: &str, rows: &[accel::StatsRow]) -> String {
    let names: Vec<&str> = rows.first().map(|r| r.iter().map(|c| c.0).collect()).unwrap_or_default();
    let width = names.iter().map(|n| n.len()).max().unwrap_or(0);
    let width = width.max(head.len());
    let mut s = format!("{head:<width$}");
    // Writing to a String cannot fail.
    for i in 0..rows.len() {
        let _ = write!(s, " {:>14}", format!("CPU#{i}"));
    }
    s.push('\n');
    for (at, name) in names.iter().enumerate() {
        let _ = write!(s, "{name:<width$}");
        for row in rows {
            let _ = write!(s, " {:>14}", row.get(at).map_or(0, |c| c.1));
        }
        s.push('\n');
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_a_table() {
        let rows = [vec![("halt", 3), ("port access", 12)], vec![("halt", 4), ("port access", 0)]];
        let want = "\
exits                CPU#0          CPU#1
halt                     3              4
port access             12              0
";
        assert_eq!(exit_table(&rows), want);
    }

    #[test]
    fn accesses_of_devices_are_listed_by_their_number() {
        let counts = [("pit", (7, 0)), ("rtc", (0, 0)), ("vga-window", (0, 900))].map(|(n, c)| (n.to_owned(), c));
        let want = "
accesses of          ports         memory
vga-window               0            900
pit                      7              0
";
        assert_eq!(access_table(counts.into()), want);
    }

    #[test]
    fn translators_are_a_table_or_a_sentence() {
        let rows = [vec![("blocks", 3), ("bytes of code", 12)]];
        let want = "\
translator             CPU#0
blocks                     3
bytes of code             12
";
        assert_eq!(translator_table(&rows), want);
        assert!(translator_table(&[]).starts_with("nothing is translated"));
    }

    #[test]
    fn vector_registers_have_qemus_layout() {
        let mut v = vec![RegisterValue::default(); 26];
        v[1] = RegisterValue::from_halves(1 << 63, 0x3FFF);
        v[8 + 2] = RegisterValue::from_halves(1, 2);
        v[24] = RegisterValue::from_halves(0x3800_037F, 0);
        v[25] = RegisterValue::from_halves(0, 0x1F80);
        let s = vector_text(&v);
        let lines: Vec<_> = s.lines().collect();
        assert_eq!(lines[0], "FCW=037f FSW=0000 [ST=7] FTW=00 MXCSR=00001f80");
        assert_eq!(lines[1], "FPR0=0000000000000000 0000 FPR1=8000000000000000 3fff");
        assert_eq!(lines[6], "XMM02=0000000000000002 0000000000000001 XMM03=0000000000000000 0000000000000000");
        assert_eq!(lines.len(), 1 + 4 + 8);
        assert!(vector_text(&[]).starts_with("FCW=0000"));
    }
}
