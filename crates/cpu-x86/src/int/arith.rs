//! ADD, ADC, SUB, SBB, CMP, AND, OR, XOR, TEST, INC, DEC, NEG, NOT, ADCX, ADOX, and the instructions that only
//! change flags (Intel SDM volume 2).

use iced_x86::{Instruction, Mnemonic};

use super::{Kind, Width, by_size, operand_size, operands};
use crate::bus::Bus;
use crate::fault::Exec;
use crate::flags::{LazyFlags, rflags};
use crate::op::{DecodeCx, Handler, Op};
use crate::state::Cpu;

/// A two-operand operation.
trait Binary {
    /// Whether the result is written (not CMP and TEST).
    const WRITES: bool = true;
    /// Computes, sets the flags.
    fn run<T: Width>(l: &mut LazyFlags, a: T, b: T) -> T;
}

struct Add;
struct Adc;
struct Sub;
struct Sbb;
struct Cmp;
struct And;
struct Or;
struct Xor;
struct Test;
struct Adcx;
struct Adox;

#[inline(always)]
fn add<T: Width>(l: &mut LazyFlags, a: T, b: T, carry: bool) -> T {
    let (a, b) = (a.to_u64(), b.to_u64());
    let r = a.wrapping_add(b).wrapping_add(u64::from(carry));
    T::arith(l, r, (a & b) | ((a | b) & !r));
    T::from_u64(r)
}

#[inline(always)]
pub(super) fn sub<T: Width>(l: &mut LazyFlags, a: T, b: T, borrow: bool) -> T {
    let (a, b) = (a.to_u64(), b.to_u64());
    let r = a.wrapping_sub(b).wrapping_sub(u64::from(borrow));
    T::arith(l, r, (!a & b) | ((!a | b) & r));
    T::from_u64(r)
}

#[inline(always)]
fn logic<T: Width>(l: &mut LazyFlags, r: u64) -> T {
    T::logic(l, r);
    T::from_u64(r)
}

/// `a + b + carry` and the carry out, flags untouched.
#[inline(always)]
fn add_carry<T: Width>(a: T, b: T, carry: bool) -> (T, bool) {
    let r = u128::from(a.to_u64()) + u128::from(b.to_u64()) + u128::from(carry);
    (T::from_u64(r as u64), r >> T::BITS != 0)
}

impl Binary for Add {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, b: T) -> T {
        add(l, a, b, false)
    }
}
impl Binary for Adc {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, b: T) -> T {
        let carry = l.cf();
        add(l, a, b, carry)
    }
}
impl Binary for Sub {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, b: T) -> T {
        sub(l, a, b, false)
    }
}
impl Binary for Sbb {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, b: T) -> T {
        let borrow = l.cf();
        sub(l, a, b, borrow)
    }
}
impl Binary for Cmp {
    const WRITES: bool = false;
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, b: T) -> T {
        sub(l, a, b, false)
    }
}
impl Binary for And {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, b: T) -> T {
        logic(l, a.to_u64() & b.to_u64())
    }
}
impl Binary for Or {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, b: T) -> T {
        logic(l, a.to_u64() | b.to_u64())
    }
}
impl Binary for Xor {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, b: T) -> T {
        logic(l, a.to_u64() ^ b.to_u64())
    }
}
impl Binary for Test {
    const WRITES: bool = false;
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, b: T) -> T {
        logic(l, a.to_u64() & b.to_u64())
    }
}
impl Binary for Adcx {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, b: T) -> T {
        let (r, carry) = add_carry(a, b, l.cf());
        l.set_cf(carry);
        r
    }
}
impl Binary for Adox {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T, b: T) -> T {
        let (r, carry) = add_carry(a, b, l.of());
        let cf = l.cf();
        l.set_cf_of(cf, carry);
        r
    }
}

fn reg_reg<T: Width, B: Binary>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let (a, b) = (T::get(cpu, op.dst), T::get(cpu, op.src));
    let r = B::run(&mut cpu.lazy, a, b);
    if B::WRITES {
        T::set(cpu, op.dst, r);
    }
    Ok(())
}

fn reg_imm<T: Width, B: Binary>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let a = T::get(cpu, op.dst);
    let r = B::run(&mut cpu.lazy, a, T::from_u64(op.imm));
    if B::WRITES {
        T::set(cpu, op.dst, r);
    }
    Ok(())
}

fn reg_mem<T: Width, B: Binary>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let b = cpu.load::<T>(bus, op)?;
    let a = T::get(cpu, op.dst);
    let r = B::run(&mut cpu.lazy, a, b);
    if B::WRITES {
        T::set(cpu, op.dst, r);
    }
    Ok(())
}

/// Memory destination. The flags change only when the store has been done, and come from the last attempt.
#[inline(always)]
fn mem_value<T: Width, B: Binary>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op, b: T) -> Exec {
    if !B::WRITES {
        let a = cpu.load::<T>(bus, op)?;
        B::run(&mut cpu.lazy, a, b);
        return Ok(());
    }
    let before = cpu.lazy;
    let mut after = before;
    cpu.modify(bus, op, |_, a: T| {
        after = before;
        B::run(&mut after, a, b)
    })?;
    cpu.lazy = after;
    Ok(())
}

fn mem_reg<T: Width, B: Binary>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let b = T::get(cpu, op.src);
    mem_value::<T, B>(cpu, bus, op, b)
}

fn mem_imm<T: Width, B: Binary>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    mem_value::<T, B>(cpu, bus, op, T::from_u64(op.imm))
}

/// XOR and SUB of a register with itself.
fn zero<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    T::set(cpu, op.dst, T::from_u64(0));
    cpu.lazy = LazyFlags::default();
    Ok(())
}

/// TEST of a register with itself.
fn test_self<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let a = T::get(cpu, op.dst);
    T::logic(&mut cpu.lazy, a.to_u64());
    Ok(())
}

fn binary<B: Binary>(i: &Instruction, op: &mut Op) -> Option<Handler> {
    let k = operands(i, op)?;
    let size = operand_size(i, 0);
    Some(match (k[0], k[1]) {
        (Kind::Reg, Kind::Reg) => by_size!(size, reg_reg, B),
        (Kind::Reg, Kind::Imm) => by_size!(size, reg_imm, B),
        (Kind::Reg, Kind::Mem) => by_size!(size, reg_mem, B),
        (Kind::Mem, Kind::Reg) => by_size!(size, mem_reg, B),
        (Kind::Mem, Kind::Imm) => by_size!(size, mem_imm, B),
        _ => return None,
    })
}

/// A one-operand operation.
trait Unary {
    /// Computes, sets the flags.
    fn run<T: Width>(l: &mut LazyFlags, a: T) -> T;
}

struct Inc;
struct Dec;
struct Neg;
struct Not;

impl Unary for Inc {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T) -> T {
        let a = a.to_u64();
        let r = a.wrapping_add(1);
        T::arith_keep_cf(l, r, (a & 1) | ((a | 1) & !r));
        T::from_u64(r)
    }
}
impl Unary for Dec {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T) -> T {
        let a = a.to_u64();
        let r = a.wrapping_sub(1);
        T::arith_keep_cf(l, r, (!a & 1) | ((!a | 1) & r));
        T::from_u64(r)
    }
}
impl Unary for Neg {
    #[inline(always)]
    fn run<T: Width>(l: &mut LazyFlags, a: T) -> T {
        sub(l, T::from_u64(0), a, false)
    }
}
impl Unary for Not {
    #[inline(always)]
    fn run<T: Width>(_: &mut LazyFlags, a: T) -> T {
        T::from_u64(!a.to_u64())
    }
}

fn reg<T: Width, U: Unary>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let a = T::get(cpu, op.dst);
    let r = U::run(&mut cpu.lazy, a);
    T::set(cpu, op.dst, r);
    Ok(())
}

fn mem<T: Width, U: Unary>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let before = cpu.lazy;
    let mut after = before;
    cpu.modify(bus, op, |_, a: T| {
        after = before;
        U::run(&mut after, a)
    })?;
    cpu.lazy = after;
    Ok(())
}

fn unary<U: Unary>(i: &Instruction, op: &mut Op) -> Option<Handler> {
    let k = operands(i, op)?;
    let size = operand_size(i, 0);
    Some(match k[0] {
        Kind::Reg => by_size!(size, reg, U),
        Kind::Mem => by_size!(size, mem, U),
        _ => return None,
    })
}

fn clc(cpu: &mut Cpu, _: &mut dyn Bus, _: &Op) -> Exec {
    cpu.lazy.set_cf(false);
    Ok(())
}
fn stc(cpu: &mut Cpu, _: &mut dyn Bus, _: &Op) -> Exec {
    cpu.lazy.set_cf(true);
    Ok(())
}
fn cmc(cpu: &mut Cpu, _: &mut dyn Bus, _: &Op) -> Exec {
    let cf = cpu.lazy.cf();
    cpu.lazy.set_cf(!cf);
    Ok(())
}
fn cld(cpu: &mut Cpu, _: &mut dyn Bus, _: &Op) -> Exec {
    cpu.sysflags &= !rflags::DF;
    Ok(())
}
fn std(cpu: &mut Cpu, _: &mut dyn Bus, _: &Op) -> Exec {
    cpu.sysflags |= rflags::DF;
    Ok(())
}

const AH_FLAGS: u64 = rflags::SF | rflags::ZF | rflags::AF | rflags::PF | rflags::CF;

fn lahf(cpu: &mut Cpu, _: &mut dyn Bus, _: &Op) -> Exec {
    let f = cpu.lazy.get() & AH_FLAGS | rflags::ONE;
    cpu.set_r8(crate::state::HIGH8, f as u8);
    Ok(())
}
fn sahf(cpu: &mut Cpu, _: &mut dyn Bus, _: &Op) -> Exec {
    let ah = u64::from(cpu.r8(crate::state::HIGH8));
    let f = cpu.lazy.get() & !AH_FLAGS | ah & AH_FLAGS;
    cpu.lazy.set(f);
    Ok(())
}
/// SALC (D6, not in the SDM but on every Intel and AMD processor): AL = CF ? FF : 0.
fn salc(cpu: &mut Cpu, _: &mut dyn Bus, _: &Op) -> Exec {
    let al = if cpu.lazy.cf() { 0xFF } else { 0 };
    cpu.set_r8(0, al);
    Ok(())
}

fn same_register(i: &Instruction) -> bool {
    i.op_count() == 2
        && i.op0_kind() == iced_x86::OpKind::Register
        && i.op1_kind() == iced_x86::OpKind::Register
        && i.op0_register() == i.op1_register()
}

pub(super) fn decode(i: &Instruction, _: &DecodeCx, op: &mut Op) -> Option<Handler> {
    let same = same_register(i);
    match i.mnemonic() {
        Mnemonic::Xor | Mnemonic::Sub if same => {
            operands(i, op)?;
            Some(by_size!(operand_size(i, 0), zero))
        }
        Mnemonic::Test if same => {
            operands(i, op)?;
            Some(by_size!(operand_size(i, 0), test_self))
        }
        Mnemonic::Add => binary::<Add>(i, op),
        Mnemonic::Adc => binary::<Adc>(i, op),
        Mnemonic::Sub => binary::<Sub>(i, op),
        Mnemonic::Sbb => binary::<Sbb>(i, op),
        Mnemonic::Cmp => binary::<Cmp>(i, op),
        Mnemonic::And => binary::<And>(i, op),
        Mnemonic::Or => binary::<Or>(i, op),
        Mnemonic::Xor => binary::<Xor>(i, op),
        Mnemonic::Test => binary::<Test>(i, op),
        Mnemonic::Adcx => binary::<Adcx>(i, op),
        Mnemonic::Adox => binary::<Adox>(i, op),
        Mnemonic::Inc => unary::<Inc>(i, op),
        Mnemonic::Dec => unary::<Dec>(i, op),
        Mnemonic::Neg => unary::<Neg>(i, op),
        Mnemonic::Not => unary::<Not>(i, op),
        Mnemonic::Clc => Some(clc),
        Mnemonic::Stc => Some(stc),
        Mnemonic::Cmc => Some(cmc),
        Mnemonic::Cld => Some(cld),
        Mnemonic::Std => Some(std),
        Mnemonic::Lahf => Some(lahf),
        Mnemonic::Sahf => Some(sahf),
        Mnemonic::Salc => Some(salc),
        _ => None,
    }
}
