//! Which x87 instructions need only one or two registers of the stack, so that they can run without loading all of it,
//! as long as no operand is missing and every exception is masked.

use iced_x86::{Code, Instruction, OpKind, RflagsBits};

/// What such an instruction does with the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// ST0 is an operand.
    pub(crate) reads0: bool,
    /// ST(i), i not 0, is an operand.
    pub(crate) other: Option<u8>,
    /// The result goes to ST0, or with `pushes` to the new one.
    pub(crate) writes0: bool,
    /// The result goes to ST(i).
    pub(crate) writes_other: bool,
    /// Registers pushed.
    pub(crate) pushes: bool,
    /// Registers popped.
    pub(crate) pops: u8,
    /// Condition codes it defines, in their places in the status word.
    pub(crate) codes: u16,
}

/// The shape of `i`; `None` when it has to run with the whole stack.
pub(crate) fn shape(i: &Instruction) -> Option<Shape> {
    use iced_x86::Mnemonic::*;
    let memory =
        i.op_kind(0) == OpKind::Memory && i.op_count() > 0 || i.op_count() > 1 && i.op_kind(1) == OpKind::Memory;
    let sti = (0..i.op_count()).filter(|n| i.op_kind(*n) == OpKind::Register).map(|n| i.op_register(n));
    let sti = sti.filter(|r| r.is_st() && r.number() != 0).map(|r| r.number() as u8).next();
    let defined = i.rflags_written() | i.rflags_cleared() | i.rflags_set();
    let code = |bit: u32, place: u16| if defined & bit != 0 { place } else { 0 };
    let mut s = Shape { other: sti, ..Shape::default() };
    s.codes = code(RflagsBits::C0, 0x100)
        | code(RflagsBits::C1, 0x200)
        | code(RflagsBits::C2, 0x400)
        | code(RflagsBits::C3, 0x4000);
    if matches!(i.mnemonic(), Fcomi | Fucomi | Fcomip | Fucomip) {
        s.codes = 0; // the manual clears C1; AMD's processors leave it
    }
    match i.mnemonic() {
        Fld | Fild if memory => (s.pushes, s.writes0) = (true, true),
        Fld1 | Fldz | Fldpi | Fldl2e | Fldl2t | Fldlg2 | Fldln2 => (s.pushes, s.writes0) = (true, true),
        Fst | Fist if memory => s.reads0 = true,
        Fstp | Fistp | Fisttp if memory => (s.reads0, s.pops) = (true, 1),
        Fadd | Fmul | Fsub | Fsubr | Fdiv | Fdivr | Fiadd | Fimul | Fisub | Fisubr | Fidiv | Fidivr => {
            s.reads0 = true;
            s.writes_other = !memory && sti.is_some() && i.op0_register().number() != 0;
            s.writes0 = !s.writes_other;
        }
        Faddp | Fmulp | Fsubp | Fsubrp | Fdivp | Fdivrp => {
            (s.reads0, s.writes_other, s.pops) = (true, true, 1);
            s.other?;
        }
        Fchs | Fabs | Fsqrt | Frndint => (s.reads0, s.writes0) = (true, true),
        Ftst | Fxam | Fcom | Fucom | Ficom | Fcomi | Fucomi => s.reads0 = true,
        Fcomp | Fucomp | Ficomp | Fcomip | Fucomip => (s.reads0, s.pops) = (true, 1),
        Fcompp | Fucompp => (s.reads0, s.other, s.pops) = (true, Some(1), 2),
        _ => return None,
    }
    let plain = matches!(
        i.code(),
        Code::Fcom_st0_sti_DCD0 | Code::Fcomp_st0_sti_DCD8 | Code::Fcomp_st0_sti_DED0 // undocumented: rarely run
    );
    (!plain).then_some(s)
}
