//! A processor's registers as a whole, for the monitor and for what is said when a guest dies.

use std::fmt::Write;

use whp::{RegisterName as R, RegisterValue, SegmentRegister, TableRegister, VirtualProcessor};

/// The general, segment, control and debug registers and the main MSRs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CpuRegisters {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub gpr: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    /// ES, CS, SS, DS, FS, GS, LDTR, TR.
    pub segments: [SegmentRegister; 8],
    pub idtr: TableRegister,
    pub gdtr: TableRegister,
    /// CR0, CR2, CR3, CR4, CR8.
    pub cr: [u64; 5],
    /// DR0 to DR3, DR6, DR7.
    pub dr: [u64; 6],
    pub efer: u64,
    pub halted: bool,
    pub interrupt_shadow: bool,
    pub waits_for_sipi: bool,
}

const NAMES: [R; 42] = [
    R::RAX,
    R::RCX,
    R::RDX,
    R::RBX,
    R::RSP,
    R::RBP,
    R::RSI,
    R::RDI,
    R::R8,
    R::R9,
    R::R10,
    R::R11,
    R::R12,
    R::R13,
    R::R14,
    R::R15,
    R::RIP,
    R::RFLAGS,
    R::ES,
    R::CS,
    R::SS,
    R::DS,
    R::FS,
    R::GS,
    R::LDTR,
    R::TR,
    R::IDTR,
    R::GDTR,
    R::CR0,
    R::CR2,
    R::CR3,
    R::CR4,
    R::CR8,
    R::DR0,
    R::DR1,
    R::DR2,
    R::DR3,
    R::DR6,
    R::DR7,
    R::EFER,
    R::INTERNAL_ACTIVITY_STATE,
    R::INTERRUPT_STATE,
];

impl CpuRegisters {
    /// Reads them in one batch from a processor that does not run.
    ///
    /// # Errors
    /// As the platform says.
    pub fn read(vp: &dyn VirtualProcessor) -> whp::Result<Self> {
        let mut v = [RegisterValue::default(); NAMES.len()];
        vp.registers(&NAMES, &mut v)?;
        let mut r = Self::default();
        r.gpr.iter_mut().zip(&v[..16]).for_each(|(g, v)| *g = v.u64());
        (r.rip, r.rflags) = (v[16].u64(), v[17].u64());
        r.segments.iter_mut().zip(&v[18..26]).for_each(|(s, v)| *s = v.segment());
        (r.idtr, r.gdtr) = (v[26].table(), v[27].table());
        r.cr.iter_mut().zip(&v[28..33]).for_each(|(c, v)| *c = v.u64());
        r.dr.iter_mut().zip(&v[33..39]).for_each(|(d, v)| *d = v.u64());
        r.efer = v[39].u64();
        let activity = v[40].internal_activity();
        (r.halted, r.waits_for_sipi) = (activity.halt_suspend, activity.startup_suspend);
        r.interrupt_shadow = v[41].interrupt_state().interrupt_shadow;
        Ok(r)
    }
}

const GPR: [&str; 16] =
    ["AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI", "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"];
/// The order in which they are shown.
const SHOWN: [usize; 16] = [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];

impl CpuRegisters {
    /// EFER.LMA: descriptors are 16 bytes, bases 64 bits.
    pub fn long_mode(&self) -> bool {
        self.efer >> 10 & 1 != 0
    }

    /// Bits of an address in the code segment: 16, 32 or 64.
    pub fn code_bits(&self) -> u32 {
        let cs = self.segments[1].attributes;
        match (self.long_mode() && cs >> 13 & 1 != 0, cs >> 14 & 1 != 0) {
            (true, _) => 64,
            (false, true) => 32,
            (false, false) => 16,
        }
    }
}

fn segment_text(name: &str, g: &SegmentRegister, r: &CpuRegisters) -> String {
    // As in a descriptor's second half: the attributes with the limit's upper four bits between them.
    let limit = if g.attributes >> 15 & 1 != 0 { g.limit >> 28 } else { g.limit >> 16 & 0xF };
    let flags = u32::from(g.attributes & 0xF0FF) << 8 | limit << 16;
    let base = if r.code_bits() == 64 { format!("{:016x}", g.base) } else { format!("{:08x}", g.base as u32) };
    let mut s = format!("{name:<3}={:04x} {base} {:08x} {flags:08x}", g.selector, g.limit);
    let bit = |n: u16, c: char| if g.attributes >> n & 1 != 0 { c } else { '-' };
    if r.cr[0] & 1 == 0 || g.attributes >> 7 & 1 == 0 {
        return s;
    }
    // Writing to a String cannot fail.
    let _ = write!(s, " DPL={} ", g.attributes >> 5 & 3);
    let big = g.attributes >> 14 & 1 != 0;
    let kind = usize::from(g.attributes & 15);
    if g.attributes >> 4 & 1 == 0 {
        const SYSTEM: [[&str; 16]; 2] = [
            [
                "Reserved",
                "TSS16-avl",
                "LDT",
                "TSS16-busy",
                "CallGate16",
                "TaskGate",
                "IntGate16",
                "TrapGate16",
                "Reserved",
                "TSS32-avl",
                "Reserved",
                "TSS32-busy",
                "CallGate32",
                "Reserved",
                "IntGate32",
                "TrapGate32",
            ],
            [
                "<hiword>",
                "Reserved",
                "LDT",
                "Reserved",
                "Reserved",
                "Reserved",
                "Reserved",
                "Reserved",
                "Reserved",
                "TSS64-avl",
                "Reserved",
                "TSS64-busy",
                "CallGate64",
                "Reserved",
                "IntGate64",
                "TrapGate64",
            ],
        ];
        return s + SYSTEM[usize::from(r.long_mode())][kind];
    }
    if kind & 8 != 0 {
        let name = if g.attributes >> 13 & 1 != 0 {
            "CS64"
        } else if big {
            "CS32"
        } else {
            "CS16"
        };
        let _ = write!(s, "{name} [{}{}{}]", bit(2, 'C'), bit(1, 'R'), bit(0, 'A'));
    } else {
        let name = if big || r.long_mode() { "DS  " } else { "DS16" };
        let _ = write!(s, "{name} [{}{}{}]", bit(2, 'E'), bit(1, 'W'), bit(0, 'A'));
    }
    s
}

/// The registers in the layout that QEMU's `info registers` has: 64-bit while the processor is in 64-bit code, else
/// 32-bit.
pub fn format_registers(index: usize, r: &CpuRegisters) -> String {
    let wide = r.code_bits() == 64;
    let word = |v: u64| if wide { format!("{v:016x}") } else { format!("{:08x}", v as u32) };
    let mut s = format!("\nCPU#{index}\n");
    for row in SHOWN[..if wide { 16 } else { 8 }].chunks(4) {
        let name = |i: usize| match (i < 8, wide) {
            (true, true) => format!("R{}", GPR[i]),
            (true, false) => format!("E{}", GPR[i]),
            _ => GPR[i].to_string(),
        };
        let cells: Vec<_> = row.iter().map(|i| format!("{}={}", name(*i), word(r.gpr[*i]))).collect();
        s += &(cells.join(" ") + "\n");
    }
    let flag = |bit: u64, c: char| if r.rflags >> bit & 1 != 0 { c } else { '-' };
    let flags: String = [(10, 'D'), (11, 'O'), (7, 'S'), (6, 'Z'), (4, 'A'), (2, 'P'), (0, 'C')]
        .map(|(b, c)| flag(b, c))
        .into_iter()
        .collect();
    // In SS, the descriptor privilege level is the current one also in real and virtual-8086 mode.
    let cpl = r.segments[2].attributes >> 5 & 3;
    let (ip, fl) = if wide { ("RIP", "RFL") } else { ("EIP", "EFL") };
    let halted = u8::from(r.halted || r.waits_for_sipi);
    // Writing to a String cannot fail.
    let _ = writeln!(
        s,
        "{ip}={} {fl}={:08x} [{flags}] CPL={cpl} II={} A20=1 SMM=0 HLT={halted}",
        word(r.rip),
        r.rflags,
        u8::from(r.interrupt_shadow),
    );
    for (name, g) in ["ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR"].iter().zip(&r.segments) {
        s += &(segment_text(name, g, r) + "\n");
    }
    for (name, t) in [("GDT", &r.gdtr), ("IDT", &r.idtr)] {
        let _ = writeln!(s, "{name}=     {} {:08x}", word(t.base), t.limit);
    }
    let [cr0, cr2, cr3, cr4, _] = r.cr;
    let _ = writeln!(s, "CR0={cr0:08x} CR2={} CR3={} CR4={cr4:08x}", word(cr2), word(cr3));
    let names = ["DR0", "DR1", "DR2", "DR3", "DR6", "DR7"];
    let cells: Vec<_> = names.iter().zip(r.dr).map(|(n, v)| format!("{n}={}", word(v))).collect();
    s += &(cells[..4].join(" ") + "\n" + &cells[4..].join(" ") + "\n");
    let _ = writeln!(s, "EFER={:016x}", r.efer);
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_of_reset_and_of_64_bit_code() {
        let mut r = CpuRegisters { rip: 0xFFF0, rflags: 2, ..Default::default() };
        r.segments[1] = SegmentRegister { base: 0xFFFF_0000, limit: 0xFFFF, selector: 0xF000, attributes: 0x9B };
        let s = format_registers(0, &r);
        assert!(s.contains("\nEAX=00000000 EBX=00000000 ECX=00000000 EDX=00000000\nESI="), "{s}");
        assert!(s.contains("EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\n"), "{s}");
        assert!(s.contains("CS =f000 ffff0000 0000ffff 00009b00\n"), "{s}");
        (r.efer, r.cr[0]) = (0xD01, 0x8005_0033);
        r.segments[1] = SegmentRegister { base: 0, limit: !0, selector: 0x10, attributes: 0xA09B };
        r.segments[7] =
            SegmentRegister { base: 0xFFFF_8000_0000_0000, limit: 0x4087, selector: 0x40, attributes: 0x8B };
        let s = format_registers(1, &r);
        assert!(s.contains("\nR8 =0000000000000000 R9 ="), "{s}");
        assert!(s.contains("CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]\n"), "{s}");
        assert!(s.contains("TR =0040 ffff800000000000 00004087 00008b00 DPL=0 TSS64-busy\n"), "{s}");
    }
}
