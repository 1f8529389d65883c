//! Memory: `info mem`, `tlb`, `mtree`, `roms`.

use std::fmt::Write;

use vm_core::{Backing, PortRange, Region};

use super::plain;
use crate::args::{Outcome, expect, take_flag, words};
use crate::commands::some_words;
use crate::context::Context;
use crate::paging::{self, Walked};

/// Lines of `info tlb` at most.
const MOST_PAGES: u32 = 1 << 20;

fn end_of_walk(walked: Walked) -> &'static str {
    match walked {
        Walked::Disabled => "PG disabled\n",
        Walked::Done => "",
        Walked::Cut => "(cut off: the page tables map too much to show)\n",
    }
}

pub(super) fn mem(context: &mut Context, rest: &str) -> Outcome {
    some_words(rest, 0, 0)?;
    let registers = context.registers(context.cpu)?;
    let (walked, text) = paging::ranges(&registers, &context.machine.space().memory());
    Ok(text + end_of_walk(walked))
}

pub(super) fn tlb(context: &mut Context, rest: &str) -> Outcome {
    some_words(rest, 0, 0)?;
    let registers = context.registers(context.cpu)?;
    let mut out = String::new();
    let mut left = MOST_PAGES;
    let walked = paging::walk(&registers, &context.machine.space().memory(), &mut |page| {
        out += &paging::tlb_line(&registers, &page);
        left -= 1;
        left > 0
    });
    Ok(out + end_of_walk(walked))
}

fn kind(backing: &Backing) -> &'static str {
    match backing {
        Backing::Ram { readonly: true, .. } => "rom",
        Backing::Ram { readonly: false, .. } => "ram",
        Backing::Mmio(_) => "i/o",
        Backing::RomDevice { .. } => "romd",
    }
}

/// The last address of a range.
fn last(start: u64, len: u64) -> u64 {
    start.wrapping_add(len.wrapping_sub(1))
}

fn line(indent: &str, start: u64, len: u64, priority: i32, kind: &str, name: &str) -> String {
    format!("{indent}{start:016x}-{:016x} (prio {priority}, {kind}): {name}", last(start, len))
}

pub(super) fn mtree(context: &mut Context, rest: &str) -> Outcome {
    let mut words = words(rest)?;
    let (flat, disabled) = (take_flag(&mut words, "-f"), take_flag(&mut words, "-D"));
    expect(&words, 0, 0)?;
    Ok(if flat { flat_view(context) } else { tree(context, disabled) })
}

fn port_lines(indent: &str, ports: &[PortRange]) -> String {
    ports.iter().map(|r| line(indent, r.base.into(), r.len.into(), 0, "i/o", &r.name) + "\n").collect()
}

fn tree(context: &Context, disabled: bool) -> String {
    let mut s = String::from("address-space: memory\n  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n");
    let mut regions: Vec<Region> = context.machine.space().regions().into_iter().map(|r| r.1).collect();
    regions.sort_by_key(|r| (r.start, -i64::from(r.priority)));
    for r in regions.iter().filter(|r| r.enabled || disabled) {
        let off = if r.enabled { "" } else { " [disabled]" };
        // Writing to a String cannot fail.
        let _ = writeln!(s, "{}{off}", line("    ", r.start, r.len, r.priority, kind(&r.backing), &r.name));
    }
    s += "\naddress-space: I/O\n  0000000000000000-000000000000ffff (prio 0, i/o): io\n";
    s + &port_lines("    ", &context.machine.ports().ranges()) + "\n"
}

fn flat_view(context: &Context) -> String {
    let mut s = String::from("FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n");
    for r in context.machine.space().flat().iter() {
        let into = if r.into == 0 { String::new() } else { format!(" @{:016x}", r.into) };
        // Writing to a String cannot fail.
        let _ = writeln!(s, "{}{into}", line("  ", r.start, r.len, 0, kind(&r.backing), &r.name));
    }
    s += "\nFlatView #1\n AS \"I/O\", root: io\n Root memory region: io\n";
    s + &port_lines("  ", &context.machine.ports().ranges()) + "\n"
}

pub(super) fn roms(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |c| {
        let bios = c.machine.plan().bios.file_name().map(|n| n.to_string_lossy().into_owned());
        let line = |r: &Region| {
            let name = bios.as_deref().filter(|_| r.name.ends_with("bios")).unwrap_or(&r.name);
            format!("addr={:016x} size={:#08x} mem=rom name=\"{name}\"\n", r.start, r.len)
        };
        let regions = c.machine.space().regions();
        regions.iter().map(|r| &r.1).filter(|r| r.enabled && kind(&r.backing) == "rom").map(line).collect()
    })
}
