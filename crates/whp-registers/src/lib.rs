//! The registers of [`cpu_x86::Cpu`] by the names that WHP has for them (`WHV_REGISTER_NAME`): one map for the
//! built-in platform, which serves them, and the instruction emulator, which fetches and writes back those of a processor that
//! somebody else runs.
//!
//! Left out: what is not in `Cpu` (local APIC, time, pending events); the users of this map add it.

use cpu_x86::Cpu;
use cpu_x86::fpu::{Fpu, MXCSR_MASK};
use cpu_x86::state::{SegReg, TableReg};
use whp::{FpControlStatus, RegisterName as R, RegisterValue, SegmentRegister, TableRegister, XmmControlStatus};

/// RFLAGS bits that exist.
const RFLAGS_MASK: u64 = 0x3F_FFFF;
/// x87 control word: bit 6 reads 1.
const FCW_FIXED: u16 = 0x40;
/// Bits of the last x87 opcode.
const FOP_MASK: u16 = 0x7FF;

/// Number of `name` counted from `first`, when it is one of `count`.
fn nth(name: R, first: R, count: u32) -> Option<usize> {
    let n = name.0.wrapping_sub(first.0);
    (n < count).then_some(n as usize)
}

/// The plain 64-bit registers: a place in `Cpu`, by reference of either kind.
macro_rules! plain {
    ($cpu:expr, $name:expr $(, $m:tt)?) => {{
        let (cpu, name) = ($cpu, $name);
        if let Some(i) = nth(name, R::RAX, 16) {
            Some(&$($m)? cpu.regs[i])
        } else if let Some(i) = nth(name, R::DR0, 4) {
            Some(&$($m)? cpu.dr[i])
        } else if let Some(i) = nth(name, R::MSR_MTRR_PHYS_BASE0, 8) {
            Some(&$($m)? cpu.msr.mtrr_phys[2 * i])
        } else if let Some(i) = nth(name, R::MSR_MTRR_PHYS_MASK0, 8) {
            Some(&$($m)? cpu.msr.mtrr_phys[2 * i + 1])
        } else if let Some(i) = nth(name, R::MSR_MTRR_FIX64K_00000, 11) {
            Some(&$($m)? cpu.msr.mtrr_fixed[i])
        } else {
            Some(match name {
                R::RIP => &$($m)? cpu.rip,
                R::CR0 => &$($m)? cpu.cr0,
                R::CR2 => &$($m)? cpu.cr2,
                R::CR3 => &$($m)? cpu.cr3,
                R::CR4 => &$($m)? cpu.cr4,
                R::DR6 => &$($m)? cpu.dr[6],
                R::DR7 => &$($m)? cpu.dr[7],
                R::XCR0 => &$($m)? cpu.xcr0,
                R::EFER => &$($m)? cpu.msr.efer,
                R::KERNEL_GS_BASE => &$($m)? cpu.msr.kernel_gs_base,
                R::PAT => &$($m)? cpu.msr.pat,
                R::SYSENTER_CS => &$($m)? cpu.msr.sysenter_cs,
                R::SYSENTER_EIP => &$($m)? cpu.msr.sysenter_eip,
                R::SYSENTER_ESP => &$($m)? cpu.msr.sysenter_esp,
                R::STAR => &$($m)? cpu.msr.star,
                R::LSTAR => &$($m)? cpu.msr.lstar,
                R::CSTAR => &$($m)? cpu.msr.cstar,
                R::SFMASK => &$($m)? cpu.msr.sfmask,
                R::TSC_AUX => &$($m)? cpu.msr.tsc_aux,
                R::SPEC_CTRL => &$($m)? cpu.msr.spec_ctrl,
                R::XSS => &$($m)? cpu.msr.xss,
                R::MSR_IA32_MISC_ENABLE => &$($m)? cpu.msr.misc_enable,
                R::MSR_MTRR_DEF_TYPE => &$($m)? cpu.msr.mtrr_def_type,
                _ => return None,
            })
        }
    }};
}

fn plain(cpu: &Cpu, name: R) -> Option<&u64> {
    plain!(cpu, name)
}

fn plain_mut(cpu: &mut Cpu, name: R) -> Option<&mut u64> {
    plain!(cpu, name, mut)
}

/// Segment registers, LDTR and TR.
fn segment_place(cpu: &mut Cpu, name: R) -> Option<&mut SegReg> {
    match name {
        R::LDTR => Some(&mut cpu.ldtr),
        R::TR => Some(&mut cpu.tr),
        n => cpu.segs.get_mut(nth(n, R::ES, 6)?),
    }
}

/// A segment register as WHP has it.
pub fn segment(s: &SegReg) -> SegmentRegister {
    SegmentRegister { base: s.base, limit: s.limit, selector: s.selector, attributes: s.attributes }
}

fn fpu_get(fpu: &Fpu, name: R) -> Option<RegisterValue> {
    if let Some(i) = nth(name, R::XMM0, 16) {
        let low = fpu.zmm[i].first_chunk::<16>();
        return Some(RegisterValue(low.map_or(0, |b| u128::from_le_bytes(*b))));
    }
    if let Some(i) = nth(name, R::FP_MMX0, 8) {
        return Some(RegisterValue(u128::from_le_bytes(fpu.st[i]) & ((1 << 80) - 1)));
    }
    Some(match name {
        R::FP_CONTROL_STATUS => FpControlStatus {
            fp_control: fpu.fcw,
            fp_status: fpu.fsw,
            fp_tag: fpu.ftw,
            last_fp_op: fpu.fop,
            last_fp_rip: fpu.fip,
        }
        .into(),
        R::XMM_CONTROL_STATUS => XmmControlStatus {
            last_fp_rdp: fpu.fdp,
            xmm_status_control: fpu.mxcsr,
            xmm_status_control_mask: MXCSR_MASK,
        }
        .into(),
        _ => return None,
    })
}

fn fpu_set(fpu: &mut Fpu, name: R, value: RegisterValue) -> Option<()> {
    if let Some(i) = nth(name, R::XMM0, 16) {
        fpu.zmm[i][..16].copy_from_slice(&value.bytes());
        return Some(());
    }
    if let Some(i) = nth(name, R::FP_MMX0, 8) {
        fpu.st[i][..10].copy_from_slice(&value.bytes()[..10]);
        return Some(());
    }
    match name {
        R::FP_CONTROL_STATUS => {
            let f = value.fp_control_status();
            (fpu.fcw, fpu.fsw, fpu.ftw) = (f.fp_control | FCW_FIXED, f.fp_status, f.fp_tag);
            (fpu.fop, fpu.fip) = (f.last_fp_op & FOP_MASK, f.last_fp_rip);
        }
        R::XMM_CONTROL_STATUS => {
            let x = value.xmm_control_status();
            (fpu.fdp, fpu.mxcsr) = (x.last_fp_rdp, x.xmm_status_control & MXCSR_MASK);
        }
        _ => return None,
    }
    Some(())
}

/// Reads a register; `None`: `Cpu` has none of that name.
pub fn get(cpu: &Cpu, name: R) -> Option<RegisterValue> {
    let table = |t: &TableReg| RegisterValue::from(TableRegister { limit: t.limit, base: t.base });
    Some(match name {
        R::RFLAGS => cpu.rflags().into(),
        R::LDTR => segment(&cpu.ldtr).into(),
        R::TR => segment(&cpu.tr).into(),
        R::IDTR => table(&cpu.idtr),
        R::GDTR => table(&cpu.gdtr),
        n => match nth(n, R::ES, 6) {
            Some(i) => segment(&cpu.segs[i]).into(),
            None => fpu_get(&cpu.fpu, n).or_else(|| plain(cpu, n).map(|v| (*v).into()))?,
        },
    })
}

/// Sets a register, without what follows from it (translations, the mode); bits that do not exist are dropped. `None`:
/// `Cpu` has none of that name.
pub fn set(cpu: &mut Cpu, name: R, value: RegisterValue) -> Option<()> {
    match name {
        R::RFLAGS => cpu.set_rflags(value.u64() & RFLAGS_MASK),
        R::IDTR | R::GDTR => {
            let t = value.table();
            let to = if name == R::IDTR { &mut cpu.idtr } else { &mut cpu.gdtr };
            *to = TableReg { base: t.base, limit: t.limit };
        }
        n => {
            if let Some(to) = segment_place(cpu, n) {
                let s = value.segment();
                *to = SegReg { selector: s.selector, base: s.base, limit: s.limit, attributes: s.attributes };
            } else if fpu_set(&mut cpu.fpu, n, value).is_none() {
                *plain_mut(cpu, n)? = value.u64();
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_and_nothing_else_changes() {
        let names = (0..0x60).map(R).chain([R::XMM0, R::XMM15, R::FP_MMX0, R::FP_MMX7]);
        let names = names.chain([R::FP_CONTROL_STATUS, R::XMM_CONTROL_STATUS, R::EFER, R::LSTAR, R::PAT, R::TSC_AUX]);
        let names: Vec<R> =
            names.chain([R::MSR_MTRR_PHYS_BASE0.offset(7), R::MSR_MTRR_PHYS_MASK0, R::MSR_MTRR_FIX64K_00000]).collect();
        let mut cpu = Cpu::new(Default::default());
        let read = |cpu: &Cpu| names.iter().map(|n| get(cpu, *n)).collect::<Vec<_>>();
        for (i, name) in names.iter().enumerate() {
            let before = read(&cpu);
            let Some(old) = before[i] else {
                assert!(set(&mut cpu, *name, RegisterValue(1)).is_none(), "{name:?}");
                continue;
            };
            // A bit that each of them has: tables begin with six unused bytes.
            let bit = if matches!(*name, R::IDTR | R::GDTR) { 1 << 48 } else { 1 };
            set(&mut cpu, *name, RegisterValue(old.0 ^ bit)).unwrap();
            let after = read(&cpu);
            for (j, (was, is)) in before.iter().zip(&after).enumerate() {
                assert_eq!(was == is, i != j, "{name:?} and {:?}", names[j]);
            }
            set(&mut cpu, *name, old).unwrap();
        }
        assert!(get(&cpu, R::RAX).is_some() && get(&cpu, R::TSC).is_none());
    }
}
