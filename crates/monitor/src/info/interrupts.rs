//! Interrupt controllers: `info pic`, `lapic`, `irq`. Intel 82093AA 3.2.4; Intel SDM volume 3, chapter 11.

use std::fmt::Write;

use super::plain;
use crate::args::{Outcome, failed, usage};
use crate::commands::some_words;
use crate::context::Context;

/// Names of the delivery modes of I/O APIC entries.
const MODES: [&str; 8] = ["fixed", "lowest", "SMI", "...", "NMI", "INIT", "...", "extINT"];

pub(super) fn pic(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |c| {
        let pic = if c.machine.plan().pic { c.machine.pic().describe() } else { "pic: none (-M pic=off)\n".into() };
        ioapic_text(&c.machine.ioapic().entries()) + &pic
    })
}

fn ioapic_text(entries: &[u64]) -> String {
    let mut s = String::from("ioapic0:\n");
    let mut waiting = String::new();
    // Writing to a String cannot fail.
    for (pin, e) in entries.iter().enumerate() {
        let pick = |bit: u32, one: &'static str, zero: &'static str| if e >> bit & 1 != 0 { one } else { zero };
        let _ = writeln!(
            s,
            "  pin {pin:<2} 0x{e:016x} dest={:x} vec={:<3} {} {:<5} {:<6} {:<6} {}",
            e >> 56,
            e & 0xFF,
            pick(13, "active-lo", "active-hi"),
            pick(15, "level", "edge"),
            pick(16, "masked", ""),
            MODES[(e >> 8 & 7) as usize],
            pick(11, "logical", "physical"),
        );
        if e >> 14 & 1 != 0 {
            let _ = write!(waiting, " {pin}");
        }
    }
    let _ = writeln!(s, "  Remote IRR{}", if waiting.is_empty() { "  (none)" } else { &waiting });
    s
}

pub(super) fn irq(context: &mut Context, rest: &str) -> Outcome {
    plain(context, rest, |c| irq_text(&c.machine.irq_counts()))
}

fn irq_text(counts: &[u64]) -> String {
    let lines = counts.iter().enumerate().filter(|c| *c.1 != 0).map(|(i, n)| format!("{i:2}: {n}\n"));
    "IRQ statistics for isa-i8259:\n".to_string() + &lines.collect::<String>()
}

pub(super) fn lapic(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 0, 1)?;
    let accel = context.machine.accel();
    let index = match words.first() {
        None => context.cpu,
        Some(word) => {
            let id: u32 = word.parse().map_err(|_| usage(format!("'{word}' is not an APIC identifier")))?;
            let found = (0..accel.count()).find(|i| accel.apic_id(*i) == Some(id));
            found.ok_or_else(|| failed("No local APIC"))?
        }
    };
    let page = context.machine.while_stopped(|a| a.local_apic(index)).map_err(failed)?;
    Ok(lapic_text(index, &page[..]))
}

/// Local vector table: name and offset.
const LVT: [(&str, usize); 6] =
    [("LVT0", 0x350), ("LVT1", 0x360), ("LVTPC", 0x340), ("LVTERR", 0x370), ("LVTTHMR", 0x330), ("LVTT", 0x320)];

fn lapic_text(index: usize, page: &[u8]) -> String {
    let reg = |at: usize| {
        let bytes = page.get(at..at + 4).and_then(|b| b.try_into().ok());
        bytes.map_or(0, u32::from_le_bytes)
    };
    let lvt: String = LVT.iter().map(|(name, at)| lvt_line(name, reg(*at))).collect();
    let mut s = format!("dumping local APIC state for CPU {index}\n\n{lvt}");
    let dcr = reg(0x3E0);
    let divide = match dcr >> 1 & 4 | dcr & 3 {
        7 => 1,
        n => 2 << n,
    };
    // Writing to a String cannot fail.
    let (initial, current) = (reg(0x380), reg(0x390));
    let _ =
        writeln!(s, "Timer\t DCR=0x{dcr:x} (divide by {divide}) initial_count = {initial} current_count = {current}");
    let spiv = reg(0xF0);
    let on = |bit: u32, yes: &'static str, no: &'static str| if spiv >> bit & 1 != 0 { yes } else { no };
    let (enabled, focus) = (on(8, "enabled", "disabled"), on(9, "off", "on"));
    let _ = writeln!(s, "SPIV\t 0x{spiv:08x} APIC {enabled}, focus={focus}, spurious vec {}", spiv & 0xFF);
    let icr = reg(0x300);
    let pick = |bit: u32, one: &'static str, zero: &'static str| if icr >> bit & 1 != 0 { one } else { zero };
    let shorthand = ["no-shorthand", "self", "all-self", "all"][(icr >> 18 & 3) as usize];
    let (destination, trigger) = (pick(11, "logical", "physical"), pick(15, "level", "edge"));
    let _ = writeln!(s, "ICR\t 0x{icr:08x} {destination} {trigger} {} {shorthand}", pick(14, "assert", "de-assert"));
    let _ = writeln!(s, "ICR2\t 0x{:08x}\nESR\t 0x{:08x}", reg(0x310), reg(0x280));
    for (name, at) in [("ISR", 0x100), ("IRR", 0x200)] {
        let set = |bank: usize, v: usize| reg(bank + v / 32 * 0x10) >> (v % 32) & 1 != 0;
        let text = |v: usize| format!(" {v}{}", if set(0x180, v) { "(level)" } else { "" });
        let list: String = (0..256).filter(|v| set(at, *v)).map(text).collect();
        let _ = writeln!(s, "{name}\t{}", if list.is_empty() { " (none)" } else { &list });
    }
    let (apr, tpr, ppr) = (reg(0x90) & 0xFF, reg(0x80) & 0xFF, reg(0xA0) & 0xFF);
    let (dfr, ldr) = (reg(0xE0) >> 28, reg(0xD0) >> 24);
    s + &format!("\nAPR 0x{apr:02x} TPR 0x{tpr:02x} DFR 0x{dfr:02x} LDR 0x{ldr:02x} PPR 0x{ppr:02x}\n")
}

fn lvt_line(name: &str, v: u32) -> String {
    let pick = |bit: u32, one: &'static str, zero: &'static str| if v >> bit & 1 != 0 { one } else { zero };
    let timer = if name == "LVTT" { ["one-shot", "periodic", "tsc-deadline", ""][(v >> 17 & 3) as usize] } else { "" };
    let mode = ["Fixed", "Lowest", "SMI", "...", "NMI", "INIT", "...", "ExtINT"][(v >> 8 & 7) as usize];
    // The timer's and the error's entries have no mode.
    let mode = if matches!(name, "LVTT" | "LVTERR") { "Fixed" } else { mode };
    let vector = if matches!(mode, "Fixed" | "ExtINT") { format!(" (vec {})", v & 0xFF) } else { String::new() };
    let line = format!(
        "{name}\t 0x{v:08x} {} {:<5} {:<6} {:<7} {timer:<12} {mode:<6}{vector}",
        pick(13, "active-lo", "active-hi"),
        pick(15, "level", "edge"),
        pick(16, "masked", ""),
        pick(12, "pending", ""),
    );
    line.trim_end().to_string() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ioapic_entries() {
        let s = ioapic_text(&[0x0001_0000, 0x0100_0000_0000_E931]);
        assert!(
            s.contains("  pin 0  0x0000000000010000 dest=0 vec=0   active-hi edge  masked fixed  physical\n"),
            "{s}"
        );
        assert!(
            s.contains("  pin 1  0x010000000000e931 dest=1 vec=49  active-lo level        lowest logical\n"),
            "{s}"
        );
        assert!(s.ends_with("  Remote IRR 1\n"));
    }

    #[test]
    fn local_apic() {
        let mut page = vec![0; 4096];
        let mut set = |at: usize, v: u32| page[at..at + 4].copy_from_slice(&v.to_le_bytes());
        set(0x320, 0x400EF);
        set(0x350, 0x10700);
        set(0x3E0, 0xB);
        set(0xF0, 0x3FF);
        set(0x170, 1 << 15);
        set(0x210, 3);
        set(0x190, 2);
        let s = lapic_text(1, &page);
        assert!(
            s.starts_with("dumping local APIC state for CPU 1\n\nLVT0\t 0x00010700 active-hi edge  masked "),
            "{s}"
        );
        assert!(s.contains("LVTT\t 0x000400ef active-hi edge                 tsc-deadline Fixed  (vec 239)\n"), "{s}");
        assert!(s.contains("(divide by 1)") && s.contains("APIC enabled, focus=off, spurious vec 255\n"), "{s}");
        assert!(s.contains("ISR\t 239\nIRR\t 32 33(level)\n"), "{s}");
        assert!(lapic_text(0, &[]).contains("ISR\t (none)\n"));
    }

    #[test]
    fn counts() {
        assert_eq!(irq_text(&[5, 0, 0, 12]), "IRQ statistics for isa-i8259:\n 0: 5\n 3: 12\n");
    }
}
