//! The seam behind which x87 and SIMD instructions are computed.
//!
//! One implementation so far: `native`, for x86-64 hosts (Linux and Windows), runs the instruction itself on the host's
//! unit. Elsewhere no instruction of the family exists ([`has`] says no to every feature, so that they are #UD).

use iced_x86::{CpuidFeature, Instruction};

use crate::fpu::Component;
use crate::state::Cpu;

#[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
use super::native as host;
#[cfg(not(all(target_arch = "x86_64", any(target_os = "linux", windows))))]
use absent as host;

/// What a prepared instruction does besides moving vector, mask and general registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// SIMD, without floating-point exceptions.
    Plain,
    /// SIMD, by the rules of MXCSR: `UnitIo::run`, `unmasked` and `out` are used, the destination registers change only
    /// when no unmasked exception was flagged.
    Float,
    /// x87, on the FXSAVE image in `Fpu`.
    X87,
}

/// An instruction ready to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prepared {
    /// [`run`] takes this.
    Entry(u64),
    /// No room to keep it; see [`one_shot`].
    Full,
    /// This unit cannot do it.
    Unknown,
}

/// The memory operand, always 64 bytes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Buffer(pub(crate) [u8; 64]);

impl Buffer {
    /// All zero.
    #[inline(always)]
    pub(crate) fn zero() -> Self {
        Self([0; 64])
    }
}

/// Whether instructions of the feature can be computed.
pub(crate) fn has(feature: CpuidFeature) -> bool {
    host::has(feature)
}

/// The state components that the unit has, as XCR0 bits.
pub(crate) fn xcr0() -> u64 {
    host::xcr0()
}

/// Where component `i` is in the XSAVE area.
pub(crate) fn xsave_component(i: u32) -> Component {
    host::xsave_component(i)
}

/// Makes the instruction runnable.
pub(crate) fn prepare(i: &Instruction, kind: Kind) -> Prepared {
    host::prepare(i, kind)
}

/// Runs `f` with a prepared instruction that is thrown away afterwards: for what comes when the memory for prepared
/// instructions is used up. `f` gets what [`prepare`] would have returned.
pub(crate) fn one_shot<R>(i: &Instruction, kind: Kind, f: impl FnOnce(Prepared) -> R) -> R {
    host::one_shot(i, kind, f)
}

/// Runs a prepared instruction with `buffer` as its memory operand. Returns the MXCSR flags it raised (`Kind::Float`).
#[inline(always)]
pub(crate) fn run(cpu: &mut Cpu, entry: u64, buffer: &mut Buffer) -> u32 {
    host::run(cpu, entry, buffer)
}

/// Gives the host its MXCSR back after `Kind::Float` ran with control bits other than the reset ones.
#[inline(always)]
pub(crate) fn restore_host() {
    host::restore_host();
}

#[cfg(not(all(target_arch = "x86_64", any(target_os = "linux", windows))))]
mod absent {
    use super::*;

    pub(super) fn has(_: CpuidFeature) -> bool {
        false
    }
    pub(super) fn xcr0() -> u64 {
        3
    }
    /// Intel's layout.
    pub(super) fn xsave_component(i: u32) -> Component {
        match i {
            2 => Component { offset: 576, size: 256, align64: false },
            5 => Component { offset: 1088, size: 64, align64: false },
            6 => Component { offset: 1152, size: 512, align64: false },
            7 => Component { offset: 1664, size: 1024, align64: false },
            9 => Component { offset: 2688, size: 8, align64: false },
            _ => Component::default(),
        }
    }
    pub(super) fn prepare(_: &Instruction, _: Kind) -> Prepared {
        Prepared::Unknown
    }
    pub(super) fn one_shot<R>(_: &Instruction, _: Kind, f: impl FnOnce(Prepared) -> R) -> R {
        f(Prepared::Unknown)
    }
    pub(super) fn run(_: &mut Cpu, _: u64, _: &mut Buffer) -> u32 {
        0
    }
    pub(super) fn restore_host() {}
}

/// The arithmetic flags of RFLAGS in the decoder's terms (its sets also have the x87 condition codes).
const ARITHMETIC: u32 = {
    use iced_x86::RflagsBits as F;
    F::CF | F::PF | F::AF | F::ZF | F::SF | F::OF
};

/// Whether the instruction writes arithmetic flags.
pub(crate) fn writes_flags(i: &Instruction) -> bool {
    i.rflags_modified() & ARITHMETIC != 0
}

/// Whether the instruction reads arithmetic flags.
pub(crate) fn reads_flags(i: &Instruction) -> bool {
    i.rflags_read() & ARITHMETIC != 0
}
