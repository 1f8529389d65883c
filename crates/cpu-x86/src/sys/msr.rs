//! Model-specific registers (Intel SDM volume 4; volume 3, chapter 12 for MTRRs and PAT, 16 for machine check; AMD APM
//! volume 2, appendix A). TSC, APIC_BASE, the x2APIC range, TSC_DEADLINE and unknown ones are the bus's.

use crate::bus::{Bus, MsrAction};
use crate::fault::{Abort, AbortKind, Exec};
use crate::state::{Cpu, Seg, cr::*};

/// MISC_ENABLE after reset: fast strings, BTS and PEBS unavailable.
pub(crate) const MISC_ENABLE_RESET: u64 = 1 | 1 << 11 | 1 << 12;
/// IA32_MTRRCAP: 8 variable ranges, fixed ranges, write combining.
const MTRR_CAP: u64 = 0x508;
/// Machine-check banks.
const BANKS: u32 = 10;
/// MCG_CAP: the banks, MCG_CTL present.
const MCG_CAP: u64 = 0x100 | BANKS as u64;
/// The microcode revision every model shows (Intel: in the upper half).
const MICROCODE_INTEL: u64 = 0x1_0000_0000;
const MICROCODE_AMD: u64 = 0x0100_0065;
/// IA32_ARCH_CAPABILITIES: an interpreter does not speculate, so every "not susceptible" bit holds: RDCL_NO,
/// IBRS_ALL, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO,
/// GDS_NO, RFDS_NO, ITS_NO.
const ARCH_CAPABILITIES: u64 = 0x17B | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 20 | 1 << 24 | 1 << 26 | 1 << 27 | 1 << 62;

/// AMD registers that kernels touch while they set a processor up; plain storage here.
const AMD_PLAIN: [u32; 16] = [
    0xC001_0010, // SYSCFG
    0xC001_0015, // HWCR
    0xC001_001F, // NB_CFG
    0xC001_0055, // INT_PENDING
    0xC001_0058, // MMIO_CFG_BASE
    0xC001_0112, // SMM_ADDR
    0xC001_0113, // SMM_MASK
    0xC001_0114, // VM_CR
    0xC001_0117, // VM_HSAVE_PA
    0xC001_100D, // LOGICAL_CPUS_NUM
    0xC001_1020, // LS_CFG
    0xC001_1021, // IC_CFG
    0xC001_1022, // DC_CFG
    0xC001_1029, // DE_CFG
    0xC001_102A, // BU_CFG2
    0xC001_102B, // BU_CFG3
];

/// Memory types that MTRRs and the PAT know: UC, WC, WT, WP, WB (and UC- in the PAT).
fn memory_type(t: u64) -> bool {
    matches!(t, 0 | 1 | 4 | 5 | 6)
}

/// Index in `mtrr_fixed`.
fn fixed_mtrr(msr: u32) -> Option<usize> {
    match msr {
        0x250 => Some(0),
        0x258 | 0x259 => Some((msr - 0x258 + 1) as usize),
        0x268..=0x26F => Some((msr - 0x268 + 3) as usize),
        _ => None,
    }
}

fn amd_plain(msr: u32) -> Option<usize> {
    AMD_PLAIN.iter().position(|m| *m == msr)
}

impl Cpu {
    /// RDMSR without the privilege check.
    ///
    /// # Errors
    /// #GP(0), or an exit that the bus asks for.
    pub fn msr_get(&mut self, bus: &mut dyn Bus, msr: u32) -> Result<u64, Abort> {
        if let Some(v) = self.own_msr(msr) {
            return Ok(v);
        }
        match bus.msr_read(msr) {
            MsrAction::Done(v) => Ok(v),
            MsrAction::Fault => Err(self.gp(0)),
            MsrAction::Leave => Err(self.leave(AbortKind::Msr { msr, write: false })),
        }
    }

    /// WRMSR without the privilege check.
    ///
    /// # Errors
    /// #GP(0), or an exit that the bus asks for.
    pub fn msr_set(&mut self, bus: &mut dyn Bus, msr: u32, v: u64) -> Exec {
        match self.set_own_msr(msr, v) {
            Some(true) => {
                self.stop_block = true;
                Ok(())
            }
            Some(false) => Err(self.gp(0)),
            None => match bus.msr_write(msr, v) {
                MsrAction::Done(_) => Ok(()),
                MsrAction::Fault => Err(self.gp(0)),
                MsrAction::Leave => Err(self.leave(AbortKind::Msr { msr, write: true })),
            },
        }
    }

    /// A register the processor holds; `None` when it is not one of them.
    fn own_msr(&self, msr: u32) -> Option<u64> {
        let m = &self.msr;
        let amd = self.model.is_amd();
        Some(match msr {
            0x48 if self.model.has_spec_ctrl() => m.spec_ctrl,
            0x8B => {
                if amd {
                    MICROCODE_AMD
                } else {
                    MICROCODE_INTEL
                }
            }
            0x17 | 0x2A | 0xCE | 0x140 if !amd => 0,
            0x3A if !amd => 1, // FEATURE_CONTROL: locked, nothing enabled
            0xFE => MTRR_CAP,
            0x10A if self.model.has_arch_capabilities() => ARCH_CAPABILITIES,
            0x174 => m.sysenter_cs,
            0x175 => m.sysenter_esp,
            0x176 => m.sysenter_eip,
            0x179 => MCG_CAP,
            0x17A => m.mcg_status,
            0x17B => m.mcg_ctl,
            0x1A0 if !amd => m.misc_enable,
            0x1D9 => m.debugctl,
            0x200..=0x20F => m.mtrr_phys[(msr - 0x200) as usize],
            0x277 => m.pat,
            0x2FF => m.mtrr_def_type,
            0x400..=0x427 => m.mc_banks[(msr - 0x400) as usize],
            0xDA0 if self.model.has_xsaves() => m.xss,
            0xC000_0080 => m.efer,
            0xC000_0081 => m.star,
            0xC000_0082 => m.lstar,
            0xC000_0083 => m.cstar,
            0xC000_0084 => m.sfmask,
            0xC000_0100 => self.segs[Seg::Fs as usize].base,
            0xC000_0101 => self.segs[Seg::Gs as usize].base,
            0xC000_0102 => m.kernel_gs_base,
            0xC000_0103 if self.model.has_tsc_aux() => m.tsc_aux,
            _ if amd && amd_plain(msr).is_some() => m.amd[amd_plain(msr)?],
            _ => m.mtrr_fixed[fixed_mtrr(msr)?],
        })
    }

    /// Writes a register the processor holds: `Some(false)` is #GP(0), `None` means it is not one of them.
    fn set_own_msr(&mut self, msr: u32, v: u64) -> Option<bool> {
        let canonical = self.canonical(v);
        let amd = self.model.is_amd();
        let physical = self.model.physical_bits();
        let store = |at: &mut u64, ok: bool| {
            if ok {
                *at = v;
            }
            Some(ok)
        };
        let m = &mut self.msr;
        match msr {
            0x48 if self.model.has_spec_ctrl() => store(&mut m.spec_ctrl, v & !0x407 == 0),
            0x49 if self.model.has_spec_ctrl() => Some(v & !1 == 0),
            0x79 if !amd => Some(true),
            0x8B => Some(true),
            0x17 | 0x2A | 0xCE | 0x140 if !amd => Some(msr == 0x140),
            0x3A if !amd => Some(false),
            0xFE | 0x179 => Some(false),
            0x10A if self.model.has_arch_capabilities() => Some(false),
            0x174 => store(&mut m.sysenter_cs, true),
            0x175 => store(&mut m.sysenter_esp, canonical),
            0x176 => store(&mut m.sysenter_eip, canonical),
            0x17A => store(&mut m.mcg_status, v == 0),
            0x17B => store(&mut m.mcg_ctl, v == 0 || v == u64::MAX),
            0x1A0 if !amd => store(&mut m.misc_enable, v >> 39 == 0),
            0x1D9 => store(&mut m.debugctl, v & !0x3F == 0),
            0x200..=0x20F => store(&mut m.mtrr_phys[(msr - 0x200) as usize], variable_mtrr(msr, v, physical)),
            0x277 => store(&mut m.pat, v.to_le_bytes().iter().all(|t| memory_type((*t).into()) || *t == 7)),
            0x2FF => store(&mut m.mtrr_def_type, v & !0xCFF == 0 && memory_type(v & 0xFF)),
            0x400..=0x427 => {
                let bank = &mut m.mc_banks[(msr - 0x400) as usize];
                store(bank, msr & 3 == 0 || v == 0)
            }
            0xDA0 if self.model.has_xsaves() => store(&mut m.xss, v == 0),
            0xC000_0080 => Some(self.set_efer(v)),
            0xC000_0081 => store(&mut m.star, true),
            0xC000_0082 => store(&mut m.lstar, canonical),
            0xC000_0083 => store(&mut m.cstar, canonical),
            0xC000_0084 => {
                m.sfmask = v & 0xFFFF_FFFF;
                Some(amd || v >> 32 == 0)
            }
            0xC000_0100 | 0xC000_0101 => {
                let seg = if msr & 1 == 0 { Seg::Fs } else { Seg::Gs } as usize;
                if canonical {
                    self.segs[seg].base = v;
                    self.seg_base[seg] = v;
                }
                Some(canonical)
            }
            0xC000_0102 => store(&mut m.kernel_gs_base, canonical),
            0xC000_0103 if self.model.has_tsc_aux() => store(&mut m.tsc_aux, v >> 32 == 0),
            _ if amd && amd_plain(msr).is_some() => store(&mut m.amd[amd_plain(msr)?], true),
            _ => {
                let ok = v.to_le_bytes().iter().all(|t| memory_type((*t).into()));
                store(&mut m.mtrr_fixed[fixed_mtrr(msr)?], ok)
            }
        }
    }

    /// WRMSR of EFER: false is #GP.
    fn set_efer(&mut self, v: u64) -> bool {
        let old = self.msr.efer;
        let v = v & !EFER_LMA | old & EFER_LMA; // read-only, writes are ignored
        let toggles_long = (v ^ old) & EFER_LME != 0;
        if v & !(self.model.efer_mask() | EFER_LMA) != 0 || toggles_long && self.cr0 & CR0_PG != 0 {
            return false;
        }
        self.msr.efer = v;
        self.update_mode();
        true
    }
}

/// Whether a value is valid for PHYSBASEn (even) or PHYSMASKn (odd).
fn variable_mtrr(msr: u32, v: u64, physical: u32) -> bool {
    let high = u64::MAX << physical;
    if msr & 1 == 0 { v & (high | 0xF00) == 0 && memory_type(v & 0xFF) } else { v & (high | 0x7FF) == 0 }
}
