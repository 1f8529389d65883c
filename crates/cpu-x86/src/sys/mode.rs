//! What is derived from the registers: the decoding mode, segment bases for address formation, and whether the TLB
//! still fits (Intel SDM volume 3, 2.2, 3.4.4, 4.10.4).

use crate::flags::rflags;
use crate::state::{Cpu, Mode, Seg, SegReg, cr::*};

/// The bits of CR0, CR4 and EFER whose change invalidates translations.
const CR0_PAGING: u64 = CR0_PG | CR0_WP | CR0_PE;
const CR4_PAGING: u64 = CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE;
const EFER_PAGING: u64 = EFER_NXE | EFER_LMA;

impl Cpu {
    /// Recomputes everything derived: to be called after any change of CR0, CR3, CR4, EFER, a segment register, CPL,
    /// DR7 or the VM, TF and AC flags (from outside too). Ends the running block when the mode changed.
    pub fn update_mode(&mut self) {
        let mode = self.current_mode();
        if mode != self.mode {
            self.mode = mode;
            self.stop_block = true;
        }
        for (base, seg) in self.seg_base.iter_mut().zip(&self.segs) {
            *base = seg.base;
        }
        if mode.has(Mode::CODE64) {
            self.seg_base[..=Seg::Ds as usize].fill(0);
        }
        let bits =
            self.cr0 & CR0_PAGING | (self.cr4 & CR4_PAGING) << 32 | (self.msr.efer & EFER_PAGING) << 8 & 0xFF_FF00;
        let key = [bits, self.cr3];
        if key[0] != self.paging_key[0] {
            self.flush_tlb(true);
            self.stop_block = true;
        } else if key[1] != self.paging_key[1] {
            self.switch_address_space(false);
        }
        self.paging_key = key;
        self.select_tlb();
        self.select_tlb();
    }

    fn current_mode(&self) -> Mode {
        let mut m = 0;
        let mut set = |on: bool, bit: u32| {
            if on {
                m |= bit;
            }
        };
        let cs = &self.segs[Seg::Cs as usize];
        let protected = self.cr0 & CR0_PE != 0;
        let long = self.msr.efer & EFER_LMA != 0;
        let code64 = long && cs.long();
        set(protected, Mode::PROTECTED);
        set(protected && self.sysflags & rflags::VM != 0, Mode::V86);
        set(long, Mode::LONG);
        set(code64, Mode::CODE64);
        set(!code64 && cs.big(), Mode::CODE32);
        set(!code64 && self.segs[Seg::Ss as usize].big(), Mode::STACK32);
        set(!code64 && self.segs[..=Seg::Ds as usize].iter().all(flat), Mode::FLAT);
        set(self.cpl == 3, Mode::USER);
        set(self.sysflags & rflags::TF != 0 || self.instruction_breakpoints(), Mode::STEP);
        set(self.cr0 & (CR0_EM | CR0_TS) != 0 || self.cr4 & CR4_OSFXSR == 0, Mode::FPU_CHECK);
        set(self.cr0 & CR0_AM != 0 && self.sysflags & rflags::AC != 0 && self.cpl == 3, Mode::ALIGN);
        Mode(m)
    }

    /// Whether DR7 enables a breakpoint on execution.
    pub(crate) fn instruction_breakpoints(&self) -> bool {
        let dr7 = self.dr[7];
        dr7 & 0xFF != 0 && (0..4).any(|n| dr7 >> (2 * n) & 3 != 0 && dr7 >> (16 + 4 * n) & 3 == 0)
    }
}

/// Base 0, limit 4 GiB, present, and any access allowed (for CS: readable).
fn flat(s: &SegReg) -> bool {
    let code = s.attributes & 0x18 == 0x18;
    let expand_down = s.attributes & 0x1C == 0x14;
    s.base == 0 && s.limit == u32::MAX && s.present() && s.s() && s.attributes & 2 != 0 && (code || !expand_down)
}
