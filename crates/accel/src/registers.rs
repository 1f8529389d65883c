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
    pub waits_for_sipi: bool,
}

const NAMES: [R; 41] = [
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
        Ok(r)
    }
}

/// The registers in the layout that QEMU's `info registers` has.
pub fn format_registers(index: usize, r: &CpuRegisters) -> String {
    const GPR: [&str; 16] = [
        "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15",
    ];
    const SHOWN: [usize; 16] = [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut s = format!("CPU#{index}\n");
    for row in SHOWN.chunks(4) {
        let cells: Vec<_> = row.iter().map(|i| format!("{}={:016x}", GPR[*i], r.gpr[*i])).collect();
        s += &(cells.join(" ") + "\n");
    }
    let flag = |bit: u64, c: char| if r.rflags >> bit & 1 != 0 { c } else { '-' };
    let flags: String = [(10, 'D'), (11, 'O'), (7, 'S'), (6, 'Z'), (4, 'A'), (2, 'P'), (0, 'C')]
        .map(|(b, c)| flag(b, c))
        .into_iter()
        .collect();
    let cpl = r.segments[1].selector & 3;
    // Writing to a String cannot fail.
    let _ = writeln!(
        s,
        "RIP={:016x} RFL={:08x} [{flags}] CPL={cpl} IF={} HLT={}",
        r.rip,
        r.rflags,
        r.rflags >> 9 & 1,
        u8::from(r.halted || r.waits_for_sipi)
    );
    for (name, g) in ["ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR"].iter().zip(&r.segments) {
        let _ = writeln!(s, "{name:<3}={:04x} {:016x} {:08x} {:04x}", g.selector, g.base, g.limit, g.attributes);
    }
    for (name, t) in [("GDT", &r.gdtr), ("IDT", &r.idtr)] {
        let _ = writeln!(s, "{name}=     {:016x} {:08x}", t.base, t.limit);
    }
    let [cr0, cr2, cr3, cr4, cr8] = r.cr;
    let _ = writeln!(s, "CR0={cr0:08x} CR2={cr2:016x} CR3={cr3:016x} CR4={cr4:08x} CR8={cr8:x}");
    let names = ["DR0", "DR1", "DR2", "DR3", "DR6", "DR7"];
    let cells: Vec<_> = names.iter().zip(r.dr).map(|(n, v)| format!("{n}={v:016x}")).collect();
    s += &(cells[..4].join(" ") + "\n" + &cells[4..].join(" ") + "\n");
    let _ = writeln!(s, "EFER={:016x}", r.efer);
    s
}
