//! Which handler executes which of the system instructions.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use crate::op::{DecodeCx, Handler, Op, gpr, segment, undefined};
use crate::state::{Mode, Seg};
use crate::sys::{control, fast, flagins, iret, misc, segins};

/// Makes `op` (prepared) execute `i`; `false` when `i` is not of this family.
pub(crate) fn decode(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> bool {
    if i.has_lock_prefix() {
        return false; // none of these can be locked
    }
    far(i, op) || segments(i, cx, op) || control(i, op) || rest(i, op)
}

/// Operand size in bytes from the opcode's table entry.
fn size(i: &Instruction) -> u8 {
    (i.op_code().operand_size() / 8) as u8
}

fn set(op: &mut Op, handler: Handler, flags: u8) -> bool {
    op.handler = handler;
    op.flags |= flags;
    true
}

/// Interrupts, far transfers, system calls. All end their block.
fn far(i: &Instruction, op: &mut Op) -> bool {
    use Mnemonic as M;
    op.size = size(i);
    let handler: Handler = match i.mnemonic() {
        M::Int => iret::int_n,
        M::Int3 => iret::int3,
        M::Into => iret::into,
        M::Int1 => iret::int1,
        M::Iret | M::Iretd | M::Iretq => iret::iret,
        M::Retf => iret::far_return,
        M::Syscall => fast::syscall,
        M::Sysret | M::Sysretq => fast::sysret,
        M::Sysenter => fast::sysenter,
        M::Sysexit | M::Sysexitq => fast::sysexit,
        _ => match i.code() {
            Code::Call_ptr1616 | Code::Call_ptr1632 => iret::far_pointer::<true>,
            Code::Jmp_ptr1616 | Code::Jmp_ptr1632 => iret::far_pointer::<false>,
            Code::Call_m1616 | Code::Call_m1632 | Code::Call_m1664 => iret::far_memory::<true>,
            Code::Jmp_m1616 | Code::Jmp_m1632 | Code::Jmp_m1664 => iret::far_memory::<false>,
            _ => return false,
        },
    };
    match i.op0_kind() {
        OpKind::Immediate8 => op.imm = u64::from(i.immediate8()),
        OpKind::Immediate16 => op.imm = u64::from(i.immediate16()),
        OpKind::FarBranch16 => (op.imm, op.aux) = (u64::from(i.far_branch16()), u64::from(i.far_branch_selector())),
        OpKind::FarBranch32 => (op.imm, op.aux) = (u64::from(i.far_branch32()), u64::from(i.far_branch_selector())),
        _ => {}
    }
    set(op, handler, Op::ENDS)
}

/// Segment and table registers.
fn segments(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> bool {
    use Mnemonic as M;
    op.size = size(i);
    if i.op0_kind() == OpKind::Register {
        op.dst = gpr(i.op0_register());
    }
    if i.op_count() > 1 && i.op1_kind() == OpKind::Register {
        op.src = gpr(i.op1_register());
    }
    let named = |op: &mut Op, s: Register| op.src = segment(s) as u8;
    let handler: Handler = match i.mnemonic() {
        M::Mov => return move_segment(i, cx, op),
        M::Push | M::Pop if segment(i.op0_register()) != Seg::None => {
            named(op, i.op0_register());
            op.size = i.stack_pointer_increment().unsigned_abs() as u8;
            if i.mnemonic() == M::Push {
                return set(op, segins::push, 0);
            }
            segins::pop
        }
        M::Les | M::Lds | M::Lss | M::Lfs | M::Lgs => {
            let s = match i.mnemonic() {
                M::Les => Seg::Es,
                M::Lds => Seg::Ds,
                M::Lss => Seg::Ss,
                M::Lfs => Seg::Fs,
                _ => Seg::Gs,
            };
            op.src = s as u8;
            segins::load_pointer
        }
        M::Lar => segins::lar,
        M::Lsl => segins::lsl,
        M::Verr => segins::verify::<false>,
        M::Verw => segins::verify::<true>,
        M::Arpl => segins::arpl,
        M::Sldt => segins::sldt,
        M::Str => segins::str,
        M::Lldt => segins::lldt,
        M::Ltr => segins::ltr,
        M::Sgdt => segins::store_table::<false>,
        M::Sidt => segins::store_table::<true>,
        M::Lgdt => segins::load_table::<false>,
        M::Lidt => segins::load_table::<true>,
        M::Smsw => segins::smsw,
        M::Lmsw => segins::lmsw,
        M::Clts => segins::clts,
        M::Swapgs => segins::swapgs,
        M::Rdfsbase | M::Rdgsbase | M::Wrfsbase | M::Wrgsbase => {
            let fs = matches!(i.mnemonic(), M::Rdfsbase | M::Wrfsbase);
            op.src = if fs { Seg::Fs } else { Seg::Gs } as u8;
            op.size = i.op0_register().size() as u8;
            let read = matches!(i.mnemonic(), M::Rdfsbase | M::Rdgsbase);
            return set(op, if read { segins::read_base } else { segins::write_base }, 0);
        }
        _ => return false,
    };
    let only_looks = matches!(i.mnemonic(), M::Lar | M::Lsl | M::Verr | M::Verw | M::Arpl | M::Sldt | M::Str | M::Smsw);
    set(op, handler, if only_looks || i.mnemonic() == M::Swapgs { 0 } else { Op::ENDS })
}

fn move_segment(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> bool {
    let seg_at = |n| if i.op_kind(n) == OpKind::Register { segment(i.op_register(n)) } else { Seg::None };
    let (to, from) = (seg_at(0), seg_at(1));
    if from != Seg::None {
        op.src = from as u8;
        return set(op, segins::mov_from, 0);
    }
    if to == Seg::None {
        return false;
    }
    if to == Seg::Cs {
        return set(op, undefined, Op::ENDS);
    }
    if i.op1_kind() == OpKind::Register {
        op.dst = gpr(i.op1_register());
    }
    op.src = to as u8;
    let quiet = cx.mode.has(Mode::CODE64) && to != Seg::Ss;
    set(op, segins::mov_to, if quiet { 0 } else { Op::ENDS })
}

/// Control and debug registers, flags, MSRs.
fn control(i: &Instruction, op: &mut Op) -> bool {
    use Mnemonic as M;
    let number = |r: Register| r.number() as u8;
    let (a, b) = (i.op0_register(), i.op1_register());
    op.size = size(i);
    let handler: Handler = match i.mnemonic() {
        M::Mov => {
            (op.dst, op.src) = if a.is_cr() || a.is_dr() { (number(a), gpr(b)) } else { (gpr(a), number(b)) };
            op.size = if a.is_cr() || a.is_dr() { b.size() } else { a.size() } as u8;
            match i.code() {
                Code::Mov_r32_cr | Code::Mov_r64_cr => return set(op, control::mov_from_cr, 0),
                Code::Mov_r32_dr | Code::Mov_r64_dr => return set(op, control::mov_from_dr, 0),
                Code::Mov_cr_r32 | Code::Mov_cr_r64 => control::mov_to_cr,
                Code::Mov_dr_r32 | Code::Mov_dr_r64 => control::mov_to_dr,
                _ => return false,
            }
        }
        M::Invlpg => control::invlpg,
        M::Invpcid => {
            op.dst = gpr(a);
            op.size = a.size() as u8;
            control::invpcid
        }
        M::Xgetbv => return set(op, control::xgetbv, 0),
        M::Xsetbv => control::xsetbv,
        M::Cli => return set(op, flagins::cli, 0),
        M::Sti => flagins::sti,
        M::Pushf | M::Pushfd | M::Pushfq => {
            op.size = i.stack_pointer_increment().unsigned_abs() as u8;
            return set(op, flagins::pushf, 0);
        }
        M::Popf | M::Popfd | M::Popfq => {
            op.size = i.stack_pointer_increment().unsigned_abs() as u8;
            flagins::popf
        }
        M::Clac => return set(op, flagins::ac::<false>, 0),
        M::Stac => return set(op, flagins::ac::<true>, 0),
        M::Rdmsr => return set(op, misc::rdmsr, 0),
        M::Wrmsr => misc::wrmsr,
        _ => return false,
    };
    set(op, handler, Op::ENDS)
}

/// Everything that has no effect on the mode.
fn rest(i: &Instruction, op: &mut Op) -> bool {
    use Mnemonic as M;
    let register = i.op0_kind() == OpKind::Register;
    if register {
        op.dst = gpr(i.op0_register());
        op.size = i.op0_register().size() as u8;
    }
    let handler: Handler = match i.mnemonic() {
        M::Hlt => return set(op, misc::hlt, Op::ENDS),
        M::Cpuid => misc::cpuid,
        M::Rdtsc => misc::rdtsc,
        M::Rdtscp => misc::rdtscp,
        M::Rdpid => misc::rdpid,
        M::Rdpmc => misc::rdpmc,
        M::Rdrand | M::Rdseed => misc::random,
        M::Invd | M::Wbinvd | M::Wbnoinvd => misc::cache_control,
        M::Clflush | M::Clflushopt | M::Clwb => misc::flush_line,
        M::Mfence | M::Serialize => misc::fence,
        M::Nop
        | M::Reservednop
        | M::Pause
        | M::Endbr32
        | M::Endbr64
        | M::Prefetch
        | M::Prefetchw
        | M::Prefetchwt1
        | M::Prefetchnta
        | M::Prefetcht0
        | M::Prefetcht1
        | M::Prefetcht2
        | M::Prefetchit0
        | M::Prefetchit1
        | M::Cldemote
        | M::Lfence
        | M::Sfence
        | M::Rdsspd
        | M::Rdsspq => misc::nop,
        M::Vmcall | M::Vmmcall => return set(op, misc::hypercall, Op::ENDS),
        M::Ud0 | M::Ud1 | M::Ud2 | M::Rsm => return set(op, undefined, Op::ENDS),
        _ => return false,
    };
    set(op, handler, 0)
}
