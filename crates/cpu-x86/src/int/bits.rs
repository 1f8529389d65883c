//! Bit instructions: BT, BTS, BTR, BTC (with the bit strings of their memory forms), BSF, BSR, LZCNT, TZCNT, POPCNT,
//! CRC32 (Intel SDM volume 2).

use iced_x86::{Instruction, Mnemonic};

use super::{Kind, Width, by_size, by_word_size, operand_size, operands};
use crate::bus::Bus;
use crate::fault::Exec;
use crate::flags::{LazyFlags, rflags};
use crate::op::{DecodeCx, Handler, Op};
use crate::state::Cpu;

/// What becomes of the tested bit.
trait BitOp {
    /// BT does not store.
    const WRITES: bool = true;
    fn run(v: u64, mask: u64) -> u64;
}
struct Keep;
struct Set;
struct Reset;
struct Complement;
impl BitOp for Keep {
    const WRITES: bool = false;
    #[inline(always)]
    fn run(v: u64, _: u64) -> u64 {
        v
    }
}
impl BitOp for Set {
    #[inline(always)]
    fn run(v: u64, mask: u64) -> u64 {
        v | mask
    }
}
impl BitOp for Reset {
    #[inline(always)]
    fn run(v: u64, mask: u64) -> u64 {
        v & !mask
    }
}
impl BitOp for Complement {
    #[inline(always)]
    fn run(v: u64, mask: u64) -> u64 {
        v ^ mask
    }
}

#[inline(always)]
fn bit_of_reg<T: Width, B: BitOp>(cpu: &mut Cpu, op: &Op, index: u64) -> Exec {
    let mask = 1 << (index & u64::from(T::BITS - 1));
    let v = T::get(cpu, op.dst).to_u64();
    cpu.lazy.set_cf(v & mask != 0);
    if B::WRITES {
        T::set(cpu, op.dst, T::from_u64(B::run(v, mask)));
    }
    Ok(())
}

#[inline(always)]
fn bit_of_mem<T: Width, B: BitOp>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op, at: u64, index: u64) -> Exec {
    let mask = 1 << (index & u64::from(T::BITS - 1));
    let mut old = 0;
    if B::WRITES {
        cpu.modify_at(bus, op.seg, at, op.is(Op::LOCK), |_, v: T| {
            old = v.to_u64();
            T::from_u64(B::run(old, mask))
        })?;
    } else {
        old = cpu.load_at::<T>(bus, op.seg, at)?.to_u64();
    }
    cpu.lazy.set_cf(old & mask != 0);
    Ok(())
}

fn bit_reg_reg<T: Width, B: BitOp>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let index = cpu.r64(op.src);
    bit_of_reg::<T, B>(cpu, op, index)
}
fn bit_reg_imm<T: Width, B: BitOp>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    bit_of_reg::<T, B>(cpu, op, op.imm)
}
/// The register is a signed index into a bit string: it moves the address by whole operands.
fn bit_mem_reg<T: Width, B: BitOp>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let index = T::get(cpu, op.src).sext();
    let operand = (index as i64) >> T::BITS.trailing_zeros();
    let at = cpu.ea(op).wrapping_add((operand as u64).wrapping_mul(T::BYTES as u64)) & op.addr_mask;
    bit_of_mem::<T, B>(cpu, bus, op, at, index)
}
fn bit_mem_imm<T: Width, B: BitOp>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let at = cpu.ea(op);
    bit_of_mem::<T, B>(cpu, bus, op, at, op.imm)
}

fn bit_test<B: BitOp>(i: &Instruction, op: &mut Op) -> Option<Handler> {
    let k = operands(i, op)?;
    let size = operand_size(i, 0);
    Some(match (k[0], k[1]) {
        (Kind::Reg, Kind::Reg) => by_word_size!(size, bit_reg_reg, B),
        (Kind::Reg, Kind::Imm) => by_word_size!(size, bit_reg_imm, B),
        (Kind::Mem, Kind::Reg) => by_word_size!(size, bit_mem_reg, B),
        (Kind::Mem, Kind::Imm) => by_word_size!(size, bit_mem_imm, B),
        _ => return None,
    })
}

/// An operation of one source to a register; `None`: the destination stays.
trait Scan {
    fn run<T: Width>(l: &mut LazyFlags, v: T) -> Option<T>;
}
struct Bsf;
struct Bsr;
struct Lzcnt;
struct Tzcnt;
struct Popcnt;

/// ZF: the source is zero. The others, undefined, as on AMD's processors: PF is of the result, the rest clear.
#[inline(always)]
fn set_scan_flags(l: &mut LazyFlags, source_zero: bool, result: u32) {
    let pf = if result.count_ones() & 1 == 0 { rflags::PF } else { 0 };
    l.set(pf | if source_zero { rflags::ZF } else { 0 });
}
/// CF: the source is zero; ZF: the result is. The others, undefined, as on AMD's processors: OF stays, the rest clear.
#[inline(always)]
fn set_count_flags(l: &mut LazyFlags, source_zero: bool, result_zero: bool) {
    let of = if l.of() { rflags::OF } else { 0 };
    l.set(of | if result_zero { rflags::ZF } else { 0 } | u64::from(source_zero));
}

impl Scan for Bsf {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, v: T) -> Option<T> {
        let v = v.to_u64();
        let n = v.trailing_zeros() & 63;
        set_scan_flags(l, v == 0, n);
        (v != 0).then(|| T::from_u64(u64::from(n)))
    }
}
impl Scan for Bsr {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, v: T) -> Option<T> {
        let v = v.to_u64();
        let n = 63u32.saturating_sub(v.leading_zeros());
        set_scan_flags(l, v == 0, n);
        (v != 0).then(|| T::from_u64(u64::from(n)))
    }
}
impl Scan for Lzcnt {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, v: T) -> Option<T> {
        let v = v.to_u64();
        let n = v.leading_zeros() - (64 - T::BITS);
        set_count_flags(l, v == 0, n == 0);
        Some(T::from_u64(u64::from(n)))
    }
}
impl Scan for Tzcnt {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, v: T) -> Option<T> {
        let v = v.to_u64();
        let n = v.trailing_zeros().min(T::BITS);
        set_count_flags(l, v == 0, n == 0);
        Some(T::from_u64(u64::from(n)))
    }
}
impl Scan for Popcnt {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, v: T) -> Option<T> {
        let v = v.to_u64();
        l.set(if v == 0 { rflags::ZF } else { 0 });
        Some(T::from_u64(u64::from(v.count_ones())))
    }
}

fn scan_reg<T: Width, S: Scan>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let v = T::get(cpu, op.src);
    if let Some(r) = S::run(&mut cpu.lazy, v) {
        T::set(cpu, op.dst, r);
    }
    Ok(())
}
fn scan_mem<T: Width, S: Scan>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let v = cpu.load::<T>(bus, op)?;
    if let Some(r) = S::run(&mut cpu.lazy, v) {
        T::set(cpu, op.dst, r);
    }
    Ok(())
}
fn scan<S: Scan>(i: &Instruction, op: &mut Op) -> Option<Handler> {
    let k = operands(i, op)?;
    let size = operand_size(i, 0);
    Some(if k[1] == Kind::Reg { by_word_size!(size, scan_reg, S) } else { by_word_size!(size, scan_mem, S) })
}

/// CRC-32C (polynomial 11EDC6F41), bits reflected, one byte a step.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut c = n as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 != 0 { c >> 1 ^ 0x82F6_3B78 } else { c >> 1 };
            bit += 1;
        }
        table[n] = c;
        n += 1;
    }
    table
};

#[inline(always)]
fn crc<T: Width>(cpu: &mut Cpu, op: &Op, v: T) -> Exec {
    let bytes = v.to_u64().to_le_bytes();
    let c = bytes.iter().take(T::BYTES).fold(cpu.r32(op.dst), |c, b| CRC_TABLE[usize::from(c as u8 ^ b)] ^ c >> 8);
    cpu.set_r32(op.dst, c);
    Ok(())
}
fn crc_reg<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let v = T::get(cpu, op.src);
    crc(cpu, op, v)
}
fn crc_mem<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let v = cpu.load::<T>(bus, op)?;
    crc(cpu, op, v)
}

pub(super) fn decode(i: &Instruction, _: &DecodeCx, op: &mut Op) -> Option<Handler> {
    match i.mnemonic() {
        Mnemonic::Bt => bit_test::<Keep>(i, op),
        Mnemonic::Bts => bit_test::<Set>(i, op),
        Mnemonic::Btr => bit_test::<Reset>(i, op),
        Mnemonic::Btc => bit_test::<Complement>(i, op),
        Mnemonic::Bsf => scan::<Bsf>(i, op),
        Mnemonic::Bsr => scan::<Bsr>(i, op),
        Mnemonic::Lzcnt => scan::<Lzcnt>(i, op),
        Mnemonic::Tzcnt => scan::<Tzcnt>(i, op),
        Mnemonic::Popcnt => scan::<Popcnt>(i, op),
        Mnemonic::Crc32 => {
            let k = operands(i, op)?;
            let size = operand_size(i, 1);
            Some(if k[1] == Kind::Reg { by_size!(size, crc_reg) } else { by_size!(size, crc_mem) })
        }
        _ => None,
    }
}
