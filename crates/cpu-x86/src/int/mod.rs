//! The integer instructions: data movement, arithmetic, logic, shifts, bits, strings, port I/O, near control
//! transfer (Intel SDM volume 2).
//!
//! Each file decodes and executes one group. Handlers are generic over the operand size ([`Width`]) and the operation,
//! one function for each form of operands, so that nothing about the instruction is looked at when it runs. Left to `sys`: all that
//! touches segment registers, control registers, RFLAGS as a whole, and far control transfer.

mod arith;
mod bcd;
mod bits;
mod bmi;
mod branch;
mod exchange;
mod io;
mod mov;
mod muldiv;
mod shift;
mod stack;
mod string;
#[cfg(test)]
mod tests;

use iced_x86::{Instruction, OpKind};

use crate::bus::Bus;
use crate::fault::Exec;
use crate::flags::LazyFlags;
use crate::mem::Int;
use crate::op::{DecodeCx, Handler, Op, gpr};
use crate::state::Cpu;

/// Makes `op` (prepared) execute `i`; `false` when `i` is not of this family.
pub(crate) fn decode(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> bool {
    type Group = fn(&Instruction, &DecodeCx, &mut Op) -> Option<Handler>;
    const GROUPS: [Group; 12] = [
        mov::decode,
        arith::decode,
        branch::decode,
        stack::decode,
        shift::decode,
        exchange::decode,
        bits::decode,
        muldiv::decode,
        string::decode,
        io::decode,
        bmi::decode,
        bcd::decode,
    ];
    for group in GROUPS {
        if let Some(handler) = group(i, cx, op) {
            op.handler = handler;
            return true;
        }
    }
    false
}

/// An operand size: the register accesses and flag updates of that size.
pub(crate) trait Width: Int {
    /// Size in bits.
    const BITS: u32;
    /// Reads a general register.
    fn get(cpu: &Cpu, i: u8) -> Self;
    /// Writes a general register (32 bits: the upper half becomes zero).
    fn set(cpu: &mut Cpu, i: u8, v: Self);
    /// Sign-extends.
    fn sext(self) -> u64;
    /// Flags of a logical result.
    fn logic(l: &mut LazyFlags, r: u64);
    /// Flags of a shift's result: AF, undefined, is set, as AMD's processors do.
    #[inline(always)]
    fn shifted(l: &mut LazyFlags, r: u64) {
        Self::arith(l, r, 1 << 3);
    }
    /// Flags of a result with its carries.
    fn arith(l: &mut LazyFlags, r: u64, carries: u64);
    /// The same, CF kept.
    fn arith_keep_cf(l: &mut LazyFlags, r: u64, carries: u64);
    /// Bit `BITS - 1`.
    #[inline(always)]
    fn msb(self) -> bool {
        self.to_u64() >> (Self::BITS - 1) & 1 != 0
    }
}

macro_rules! width {
    ($t:ty, $s:ty, $bits:literal, $get:ident, $set:ident) => {
        impl Width for $t {
            const BITS: u32 = $bits;
            #[inline(always)]
            fn get(cpu: &Cpu, i: u8) -> Self {
                cpu.$get(i)
            }
            #[inline(always)]
            fn set(cpu: &mut Cpu, i: u8, v: Self) {
                cpu.$set(i, v);
            }
            #[inline(always)]
            fn sext(self) -> u64 {
                self as $s as i64 as u64
            }
            #[inline(always)]
            fn logic(l: &mut LazyFlags, r: u64) {
                l.set_logic::<$bits>(r);
            }
            #[inline(always)]
            fn arith(l: &mut LazyFlags, r: u64, carries: u64) {
                l.set_arith::<$bits>(r, carries);
            }
            #[inline(always)]
            fn arith_keep_cf(l: &mut LazyFlags, r: u64, carries: u64) {
                l.set_keep_cf::<$bits>(r, carries);
            }
        }
    };
}
width!(u8, i8, 8, r8, set_r8);
width!(u16, i16, 16, r16, set_r16);
width!(u32, i32, 32, r32, set_r32);
width!(u64, i64, 64, r64, set_r64);

/// The kind of an operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    None,
    Reg,
    Mem,
    Imm,
}

/// Puts the registers of operands 0, 1 and 2 into `dst`, `src` and `src2` and the immediate into `imm`; tells the
/// kinds. `None` when an operand is something else than a general register, a memory operand or an immediate.
fn operands(i: &Instruction, op: &mut Op) -> Option<[Kind; 3]> {
    let mut kinds = [Kind::None; 3];
    for n in 0..i.op_count().min(3) {
        kinds[n as usize] = match i.op_kind(n) {
            OpKind::Register => {
                let r = i.op_register(n);
                if !r.is_gpr() {
                    return None;
                }
                match n {
                    0 => op.dst = gpr(r),
                    1 => op.src = gpr(r),
                    _ => op.src2 = gpr(r),
                }
                Kind::Reg
            }
            OpKind::Memory => Kind::Mem,
            OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64 => {
                op.imm = i.immediate(n);
                Kind::Imm
            }
            _ => return None,
        };
    }
    Some(kinds)
}

/// Size in bytes of operand `n` (a register or the memory operand).
fn operand_size(i: &Instruction, n: u32) -> usize {
    match i.op_kind(n) {
        OpKind::Register => i.op_register(n).size(),
        _ => i.memory_size().size(),
    }
}

/// Chooses the instance of a generic handler for a size in bytes.
macro_rules! by_size {
    ($size:expr, $f:ident $(, $g:ty)*) => {
        match $size {
            1 => $f::<u8 $(, $g)*> as $crate::op::Handler,
            2 => $f::<u16 $(, $g)*>,
            4 => $f::<u32 $(, $g)*>,
            8 => $f::<u64 $(, $g)*>,
            _ => return None,
        }
    };
}
pub(crate) use by_size;

/// The same for handlers with no 8-bit form.
macro_rules! by_word_size {
    ($size:expr, $f:ident $(, $g:ty)*) => {
        match $size {
            2 => $f::<u16 $(, $g)*> as $crate::op::Handler,
            4 => $f::<u32 $(, $g)*>,
            8 => $f::<u64 $(, $g)*>,
            _ => return None,
        }
    };
}
pub(crate) use by_word_size;

/// Chooses the instance of a handler for a condition (0 to 15 as in the encoding).
macro_rules! by_condition {
    ($cc:expr, $f:ident $(, $g:tt)*) => {
        match $cc {
            0 => $f::<0 $(, $g)*> as $crate::op::Handler,
            1 => $f::<1 $(, $g)*>,
            2 => $f::<2 $(, $g)*>,
            3 => $f::<3 $(, $g)*>,
            4 => $f::<4 $(, $g)*>,
            5 => $f::<5 $(, $g)*>,
            6 => $f::<6 $(, $g)*>,
            7 => $f::<7 $(, $g)*>,
            8 => $f::<8 $(, $g)*>,
            9 => $f::<9 $(, $g)*>,
            10 => $f::<10 $(, $g)*>,
            11 => $f::<11 $(, $g)*>,
            12 => $f::<12 $(, $g)*>,
            13 => $f::<13 $(, $g)*>,
            14 => $f::<14 $(, $g)*>,
            15 => $f::<15 $(, $g)*>,
            _ => return None,
        }
    };
}
pub(crate) use by_condition;

/// The condition of a Jcc, SETcc or CMOVcc as encoded (Intel SDM volume 1, appendix B).
fn condition(i: &Instruction) -> u8 {
    (i.condition_code() as u8).wrapping_sub(1)
}

/// Evaluates a condition.
#[inline(always)]
fn holds<const CC: u8>(l: &LazyFlags) -> bool {
    let base = match CC >> 1 {
        0 => l.of(),
        1 => l.cf(),
        2 => l.zf(),
        3 => l.cf() || l.zf(),
        4 => l.sf(),
        5 => l.pf(),
        6 => l.sf() != l.of(),
        _ => l.zf() || l.sf() != l.of(),
    };
    base != (CC & 1 != 0)
}

/// A 48-bit canonical address.
#[inline(always)]
pub(crate) fn canonical(at: u64) -> bool {
    ((at << 16) as i64 >> 16) as u64 == at
}

/// NOP.
fn nop(_: &mut Cpu, _: &mut dyn Bus, _: &Op) -> Exec {
    Ok(())
}
