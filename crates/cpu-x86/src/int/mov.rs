//! MOV and its kin: MOVZX, MOVSX, MOVSXD, MOVBE, MOVNTI, MOVDIRI, MOVDIR64B, LEA, BSWAP, CMOVcc, SETcc, XLAT, the
//! CBW and CWD families, NOP and what executes as NOP (Intel SDM volume 2). MOV of segment, control and debug
//! registers is in `sys`.

use iced_x86::{Instruction, Mnemonic, Register};

use super::{Kind, Width, by_condition, by_size, by_word_size, condition, holds, nop, operand_size, operands};
use crate::bus::Bus;
use crate::fault::Exec;
use crate::op::{DecodeCx, Handler, Op, gpr};
use crate::state::{Cpu, Mode, REG_ZERO, Seg};

fn mov_reg_reg<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let v = T::get(cpu, op.src);
    T::set(cpu, op.dst, v);
    Ok(())
}
fn mov_reg_imm<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    T::set(cpu, op.dst, T::from_u64(op.imm));
    Ok(())
}
fn mov_reg_mem<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let v = cpu.load::<T>(bus, op)?;
    T::set(cpu, op.dst, v);
    Ok(())
}
fn mov_mem_reg<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.store(bus, op, T::get(cpu, op.src))
}
fn mov_mem_imm<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.store(bus, op, T::from_u64(op.imm))
}

fn mov(i: &Instruction, op: &mut Op) -> Option<Handler> {
    let k = operands(i, op)?;
    let size = operand_size(i, 0);
    Some(match (k[0], k[1]) {
        (Kind::Reg, Kind::Reg) => by_size!(size, mov_reg_reg),
        (Kind::Reg, Kind::Imm) => by_size!(size, mov_reg_imm),
        (Kind::Reg, Kind::Mem) => by_size!(size, mov_reg_mem),
        (Kind::Mem, Kind::Reg) => by_size!(size, mov_mem_reg),
        (Kind::Mem, Kind::Imm) => by_size!(size, mov_mem_imm),
        _ => return None,
    })
}

fn zx_reg<T: Width, F: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let v = F::get(cpu, op.src);
    T::set(cpu, op.dst, T::from_u64(v.to_u64()));
    Ok(())
}
fn zx_mem<T: Width, F: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let v = cpu.load::<F>(bus, op)?;
    T::set(cpu, op.dst, T::from_u64(v.to_u64()));
    Ok(())
}
fn sx_reg<T: Width, F: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let v = F::get(cpu, op.src);
    T::set(cpu, op.dst, T::from_u64(v.sext()));
    Ok(())
}
fn sx_mem<T: Width, F: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let v = cpu.load::<F>(bus, op)?;
    T::set(cpu, op.dst, T::from_u64(v.sext()));
    Ok(())
}

fn extend(i: &Instruction, op: &mut Op, signed: bool) -> Option<Handler> {
    let k = operands(i, op)?;
    let (to, from) = (operand_size(i, 0), operand_size(i, 1));
    Some(match (signed, k[1] == Kind::Mem, from) {
        (false, false, 1) => by_word_size!(to, zx_reg, u8),
        (false, false, 2) => by_word_size!(to, zx_reg, u16),
        (false, true, 1) => by_word_size!(to, zx_mem, u8),
        (false, true, 2) => by_word_size!(to, zx_mem, u16),
        (true, false, 1) => by_word_size!(to, sx_reg, u8),
        (true, false, 2) => by_word_size!(to, sx_reg, u16),
        (true, false, 4) => by_word_size!(to, sx_reg, u32),
        (true, true, 1) => by_word_size!(to, sx_mem, u8),
        (true, true, 2) => by_word_size!(to, sx_mem, u16),
        (true, true, 4) => by_word_size!(to, sx_mem, u32),
        _ => return None,
    })
}

fn lea<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let at = cpu.ea(op);
    T::set(cpu, op.dst, T::from_u64(at));
    Ok(())
}

#[inline(always)]
fn swapped<T: Width>(v: T) -> T {
    T::from_u64(v.to_u64().swap_bytes() >> (64 - T::BITS))
}
fn movbe_load<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let v = cpu.load::<T>(bus, op)?;
    T::set(cpu, op.dst, swapped(v));
    Ok(())
}
fn movbe_store<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.store(bus, op, swapped(T::get(cpu, op.src)))
}
fn movbe(i: &Instruction, op: &mut Op) -> Option<Handler> {
    let k = operands(i, op)?;
    let size = operand_size(i, 0);
    Some(match k[0] {
        Kind::Reg => by_word_size!(size, movbe_load),
        _ => by_word_size!(size, movbe_store),
    })
}

fn bswap<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    // BSWAP r16 is undefined in the manual; processors clear the register.
    let v = if T::BITS == 16 { T::from_u64(0) } else { swapped(T::get(cpu, op.dst)) };
    T::set(cpu, op.dst, v);
    Ok(())
}

/// MOVDIR64B: 64 bytes from memory to ES:`dst`, which must be aligned.
fn movdir64b(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let seg = if cpu.mode.has(Mode::CODE64) { Seg::None } else { Seg::Es };
    let to = cpu.r64(op.dst) & op.addr_mask;
    if cpu.seg_base[seg as usize & 7].wrapping_add(to) & 63 != 0 {
        return Err(cpu.gp(0));
    }
    let mut data = [0; 64];
    let from = cpu.ea(op);
    cpu.load_bytes(bus, op.seg, from, &mut data)?;
    cpu.store_bytes(bus, seg, to, &data)
}

fn cmov_reg<const CC: u8, T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let v = if holds::<CC>(&cpu.lazy) { T::get(cpu, op.src) } else { T::get(cpu, op.dst) };
    T::set(cpu, op.dst, v); // also when the condition is false: a 32-bit form clears the upper half
    Ok(())
}
fn cmov_mem<const CC: u8, T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let m = cpu.load::<T>(bus, op)?; // faults whatever the condition
    let v = if holds::<CC>(&cpu.lazy) { m } else { T::get(cpu, op.dst) };
    T::set(cpu, op.dst, v);
    Ok(())
}
fn cmov(i: &Instruction, op: &mut Op) -> Option<Handler> {
    let k = operands(i, op)?;
    let cc = condition(i);
    Some(match (k[1], operand_size(i, 0)) {
        (Kind::Reg, 2) => by_condition!(cc, cmov_reg, u16),
        (Kind::Reg, 4) => by_condition!(cc, cmov_reg, u32),
        (Kind::Reg, 8) => by_condition!(cc, cmov_reg, u64),
        (Kind::Mem, 2) => by_condition!(cc, cmov_mem, u16),
        (Kind::Mem, 4) => by_condition!(cc, cmov_mem, u32),
        (Kind::Mem, 8) => by_condition!(cc, cmov_mem, u64),
        _ => return None,
    })
}

fn set_reg<const CC: u8>(cpu: &mut Cpu, _: &mut dyn Bus, op: &Op) -> Exec {
    let v = u8::from(holds::<CC>(&cpu.lazy));
    cpu.set_r8(op.dst, v);
    Ok(())
}
fn set_mem<const CC: u8>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let v = u8::from(holds::<CC>(&cpu.lazy));
    cpu.store(bus, op, v)
}
fn set(i: &Instruction, op: &mut Op) -> Option<Handler> {
    let k = operands(i, op)?;
    let cc = condition(i);
    Some(match k[0] {
        Kind::Reg => by_condition!(cc, set_reg),
        _ => by_condition!(cc, set_mem),
    })
}

fn xlat(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let at = cpu.r64(3).wrapping_add(u64::from(cpu.r8(0))) & op.addr_mask;
    let v = cpu.load_at::<u8>(bus, op.seg, at)?;
    cpu.set_r8(0, v);
    Ok(())
}

/// CBW, CWDE, CDQE: the accumulator from its lower half.
fn cbw<T: Width, F: Width>(cpu: &mut Cpu, _: &mut dyn Bus, _: &Op) -> Exec {
    let v = F::get(cpu, 0).sext();
    T::set(cpu, 0, T::from_u64(v));
    Ok(())
}
/// CWD, CDQ, CQO: DX from the accumulator's sign.
fn cwd<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, _: &Op) -> Exec {
    let v = if T::get(cpu, 0).msb() { u64::MAX } else { 0 };
    T::set(cpu, 2, T::from_u64(v));
    Ok(())
}

pub(super) fn decode(i: &Instruction, _: &DecodeCx, op: &mut Op) -> Option<Handler> {
    match i.mnemonic() {
        Mnemonic::Mov | Mnemonic::Movnti | Mnemonic::Movdiri => mov(i, op),
        Mnemonic::Movzx => extend(i, op, false),
        // MOVSXD r16, r/m16 and r32, r/m32 are plain moves.
        Mnemonic::Movsxd if operand_size(i, 0) <= operand_size(i, 1) => mov(i, op),
        Mnemonic::Movsx | Mnemonic::Movsxd => extend(i, op, true),
        Mnemonic::Lea => {
            operands(i, op)?;
            Some(by_word_size!(operand_size(i, 0), lea))
        }
        Mnemonic::Movbe => movbe(i, op),
        Mnemonic::Bswap => {
            operands(i, op)?;
            Some(by_word_size!(operand_size(i, 0), bswap))
        }
        Mnemonic::Movdir64b => {
            op.dst = gpr(i.op0_register());
            op.addr_mask = match i.op0_register().size() {
                2 => 0xFFFF,
                4 => 0xFFFF_FFFF,
                _ => u64::MAX,
            };
            Some(movdir64b)
        }
        Mnemonic::Xlatb => {
            op.base = 3;
            op.index = REG_ZERO; // AL is added by the handler
            op.addr_mask = match i.memory_base() {
                Register::BX => 0xFFFF,
                Register::EBX => 0xFFFF_FFFF,
                _ => u64::MAX,
            };
            Some(xlat)
        }
        Mnemonic::Cbw => Some(cbw::<u16, u8>),
        Mnemonic::Cwde => Some(cbw::<u32, u16>),
        Mnemonic::Cdqe => Some(cbw::<u64, u32>),
        Mnemonic::Cwd => Some(cwd::<u16>),
        Mnemonic::Cdq => Some(cwd::<u32>),
        Mnemonic::Cqo => Some(cwd::<u64>),
        Mnemonic::Cmovo
        | Mnemonic::Cmovno
        | Mnemonic::Cmovb
        | Mnemonic::Cmovae
        | Mnemonic::Cmove
        | Mnemonic::Cmovne
        | Mnemonic::Cmovbe
        | Mnemonic::Cmova
        | Mnemonic::Cmovs
        | Mnemonic::Cmovns
        | Mnemonic::Cmovp
        | Mnemonic::Cmovnp
        | Mnemonic::Cmovl
        | Mnemonic::Cmovge
        | Mnemonic::Cmovle
        | Mnemonic::Cmovg => cmov(i, op),
        Mnemonic::Seto
        | Mnemonic::Setno
        | Mnemonic::Setb
        | Mnemonic::Setae
        | Mnemonic::Sete
        | Mnemonic::Setne
        | Mnemonic::Setbe
        | Mnemonic::Seta
        | Mnemonic::Sets
        | Mnemonic::Setns
        | Mnemonic::Setp
        | Mnemonic::Setnp
        | Mnemonic::Setl
        | Mnemonic::Setge
        | Mnemonic::Setle
        | Mnemonic::Setg => set(i, op),
        // Hints. Processors without CET, prefetch or cache-line demotion execute these encodings as NOP too.
        Mnemonic::Nop
        | Mnemonic::Reservednop
        | Mnemonic::Endbr32
        | Mnemonic::Endbr64
        | Mnemonic::Rdsspd
        | Mnemonic::Rdsspq
        | Mnemonic::Cldemote
        | Mnemonic::Prefetch
        | Mnemonic::Prefetchw
        | Mnemonic::Prefetchwt1
        | Mnemonic::Prefetchnta
        | Mnemonic::Prefetcht0
        | Mnemonic::Prefetcht1
        | Mnemonic::Prefetcht2 => Some(nop),
        _ => None,
    }
}
