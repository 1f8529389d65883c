//! The state after power-on, INIT and a start-up IPI (Intel SDM volume 3, table 10-1 "IA-32 and Intel 64 processor
//! states following power-up, reset, or INIT"; 9.4 for SIPI).

use crate::flags::rflags;
use crate::fpu::Fpu;
use crate::state::{Cpu, Msrs, Seg, SegReg, Shadow, TableReg, cr::*};

/// What resets the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetKind {
    /// Power-on or RESET#.
    PowerOn,
    /// INIT: keeps the x87 and SIMD state, most MSRs, and CR0.CD and NW.
    Init,
    /// Start-up IPI with this vector: execution starts at `vector << 12`. The processor has had INIT before.
    Sipi(u8),
}

/// PAT after reset: WB, WT, UC-, UC, twice.
pub(crate) const PAT_RESET: u64 = 0x0007_0406_0007_0406;

impl Cpu {
    /// Puts the processor into the state that `kind` leaves.
    pub fn reset(&mut self, kind: ResetKind) {
        match kind {
            ResetKind::PowerOn => {
                *self.fpu = Fpu::default();
                self.fpu.fcw = 0x40;
                self.fpu.ftw = 0xFF;
                self.msr = Msrs { pat: PAT_RESET, misc_enable: super::msr::MISC_ENABLE_RESET, ..Msrs::default() };
                self.xcr0 = 1;
                self.cr0 = CR0_CD | CR0_NW | CR0_ET;
                self.common_reset();
            }
            ResetKind::Init => {
                self.cr0 = self.cr0 & (CR0_CD | CR0_NW) | CR0_ET;
                self.common_reset();
            }
            ResetKind::Sipi(vector) => {
                self.segs[Seg::Cs as usize] = SegReg { attributes: 0x9B, ..SegReg::real(u16::from(vector) << 8) };
                self.rip = 0;
                self.next = None;
                self.update_mode();
            }
        }
    }

    fn common_reset(&mut self) {
        self.regs.fill(0);
        self.regs[2] = u64::from(self.model.signature());
        self.set_rflags(rflags::ONE);
        self.rip = 0xFFF0;
        self.next = None;
        self.segs = [SegReg::real(0); 6];
        self.segs[Seg::Cs as usize] = SegReg { selector: 0xF000, base: 0xFFFF_0000, limit: 0xFFFF, attributes: 0x9B };
        self.ldtr = SegReg { limit: 0xFFFF, attributes: 0x82, ..SegReg::default() };
        self.tr = SegReg { limit: 0xFFFF, attributes: 0x8B, ..SegReg::default() };
        self.gdtr = TableReg { base: 0, limit: 0xFFFF };
        self.idtr = TableReg { base: 0, limit: 0xFFFF };
        self.cr2 = 0;
        self.cr3 = 0;
        self.cr4 = 0;
        self.msr.efer = 0;
        self.msr.debugctl = 0;
        self.dr = [0, 0, 0, 0, 0, 0, 0xFFFF_0FF0, 0x400];
        self.cpl = 0;
        self.shadow = Shadow::default();
        self.pending_db = 0;
        self.flush_tlb(true);
        self.update_mode();
        self.stop_block = true;
    }
}
