//! x87, MMX, SSE, AVX, AVX-512 and their state: computed by the unit of the host (`unit`), with the registers and control
//! words of the guest. Here: when these instructions are available at all (Intel SDM volume 3, 2.5 and 13; volume 2,
//! 2.4 to 2.8: exception types), and which module executes which instruction.
//!
//! Left out: 3DNow!, XOP, FMA4, AMX (they stay #UD).

mod masked;
pub(crate) mod shape;
mod state;
pub(crate) mod unit;
mod vector;
mod vsib;
mod x87;

#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
mod native;

pub(crate) use vector::{Translatable, translatable};

/// An instruction that translated code may contain as it is, with the x87 and MMX registers in their places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnStack {
    /// FOP; `None`: the pointers stay.
    pub(crate) opcode: Option<u16>,
    /// Segment of the data pointer.
    pub(crate) seg: Seg,
    /// XMM registers or MXCSR are used, too.
    pub(crate) vectors: bool,
    /// Mask of the address bits that have to be zero.
    pub(crate) align: u8,
}

/// Whether `i` (decoded as `op`) is one.
pub(crate) fn on_stack(i: &Instruction, op: &Op) -> Option<OnStack> {
    x87::on_stack(i, op).or_else(|| vector::on_stack(i))
}

use iced_x86::{CpuidFeature, Instruction};

use crate::fault::{Exec, vector as exception};
use crate::fpu::{XCR0_AVX, XCR0_AVX512, XCR0_SSE};
use crate::op::{DecodeCx, Op};
use crate::state::{Cpu, Mode, Seg, cr};

/// What has to be enabled for an instruction: `Op::src2` of this family.
mod class {
    /// Nothing.
    pub(super) const NONE: u8 = 0;
    /// CR4.OSFXSR.
    pub(super) const SSE: u8 = 1;
    /// MMX registers: no pending x87 exception.
    pub(super) const MMX: u8 = 2;
    /// Both.
    pub(super) const MMX_SSE: u8 = 3;
    /// CR4.OSXSAVE and XCR0's AVX state.
    pub(super) const VEX: u8 = 4;
    /// And XCR0's AVX-512 state.
    pub(super) const EVEX: u8 = 5;
}

/// Whether this host can compute instructions of the feature: what a CPU model may offer of this family's features.
pub fn supports(feature: CpuidFeature) -> bool {
    unit::has(feature)
}

/// Makes `op` (prepared) execute `i`; `false` when `i` is not of this family.
pub(crate) fn decode(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> bool {
    state::decode(i, op) || x87::decode(i, cx, op) || vsib::decode(i, cx, op) || vector::decode(i, cx, op)
}

/// #UD or #NM where the instruction is not available now, #MF before an MMX instruction.
#[inline(always)]
fn ready(cpu: &mut Cpu, op: &Op) -> Exec {
    if op.src2 <= class::SSE && !cpu.mode.has(Mode::FPU_CHECK) { Ok(()) } else { ready_checked(cpu, op.src2) }
}

#[inline(never)]
fn ready_checked(cpu: &mut Cpu, class: u8) -> Exec {
    let exists = match class {
        class::NONE => return Ok(()),
        class::VEX | class::EVEX => {
            let need = if class == class::EVEX { XCR0_SSE | XCR0_AVX | XCR0_AVX512 } else { XCR0_SSE | XCR0_AVX };
            cpu.cr4 & cr::CR4_OSXSAVE != 0
                && cpu.xcr0 & need == need
                && cpu.mode.has(Mode::PROTECTED)
                && !cpu.mode.has(Mode::V86)
        }
        class::MMX => cpu.cr0 & cr::CR0_EM == 0,
        _ => cpu.cr0 & cr::CR0_EM == 0 && cpu.cr4 & cr::CR4_OSFXSR != 0,
    };
    if !exists {
        return Err(cpu.ud());
    }
    if cpu.cr0 & cr::CR0_TS != 0 {
        return Err(cpu.raise(exception::NM));
    }
    if matches!(class, class::MMX | class::MMX_SSE) { x87_error(cpu) } else { Ok(()) }
}

/// What a waiting instruction does first: #MF when an unmasked exception is pending, or FERR# where CR0.NE says so (it
/// then goes on, as with IGNNE# asserted).
fn x87_error(cpu: &mut Cpu) -> Exec {
    if cpu.fpu.pending() {
        if cpu.cr0 & cr::CR0_NE != 0 {
            return Err(cpu.raise(exception::MF));
        }
        cpu.fpu.ferr = true;
    }
    Ok(())
}

/// The memory operand's address, checked against the alignment the instruction wants (`Op::src`, a mask): #GP(0).
#[inline(always)]
fn aligned(cpu: &mut Cpu, op: &Op) -> Result<u64, crate::fault::Abort> {
    let at = cpu.ea(op);
    if op.src != 0 && at.wrapping_add(cpu.seg_base[op.seg as usize & 7]) & u64::from(op.src) != 0 {
        return Err(cpu.gp(0));
    }
    Ok(at)
}
