//! Port I/O: IN, OUT, INS, OUTS (Intel SDM volume 2; permission: volume 1, 19.5). Each element of a string
//! instruction is one access on the bus, though many may be asked for at once; RCX, RSI and RDI keep the progress when the bus does not serve one.

use iced_x86::{Code, Instruction, OpKind};

use super::Width;
use super::string::{AT_ONCE, RDI, RSI, advance, destination, prepare, reach, repeat_in_bulk};
use crate::bus::Bus;
use crate::fault::{Abort, AbortKind, Access, Exec};
use crate::op::{DecodeCx, Handler, Op};
use crate::state::{Cpu, Mode};

const RAX: u8 = 0;
const RDX: u8 = 2;

/// Whether `len` ports from `port` may be accessed: by CPL and IOPL, else by the TSS's permission bitmap.
#[inline(always)]
fn check_port(cpu: &mut Cpu, bus: &mut dyn Bus, port: u16, len: u64) -> Exec {
    if !cpu.mode.has(Mode::PROTECTED) || (!cpu.mode.has(Mode::V86) && cpu.cpl <= cpu.iopl()) {
        return Ok(());
    }
    check_bitmap(cpu, bus, port, len)
}

#[cold]
fn check_bitmap(cpu: &mut Cpu, bus: &mut dyn Bus, port: u16, len: u64) -> Exec {
    // Only a 32-bit or 64-bit TSS (types 9 and 11) has the bitmap's offset, at byte 102.
    let tr = cpu.tr;
    if !matches!(tr.kind(), 9 | 11) || tr.limit < 103 {
        return Err(cpu.gp(0));
    }
    let offset = u64::from(cpu.load_system::<u16>(bus, tr.base.wrapping_add(102))?);
    let at = offset + u64::from(port / 8);
    if at + 1 > u64::from(tr.limit) {
        return Err(cpu.gp(0)); // two bytes are read, whatever the port
    }
    let bits = u64::from(cpu.load_system::<u16>(bus, tr.base.wrapping_add(at))?);
    let mask = ((1 << len) - 1) << (port & 7);
    if bits & mask != 0 { Err(cpu.gp(0)) } else { Ok(()) }
}

fn left(cpu: &mut Cpu, port: u16, len: usize, write: bool, string: bool, op: &Op) -> Abort {
    let rep = string && op.is(Op::REP | Op::REPNE);
    cpu.leave(AbortKind::Port { port, len: len as u8, write, string, rep })
}

#[inline(always)]
fn port_of<const IMM: bool>(cpu: &Cpu, op: &Op) -> u16 {
    if IMM { op.imm as u16 } else { cpu.r16(RDX) }
}

fn read<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op, port: u16, string: bool) -> Result<T, Abort> {
    let mut data = [0; 8];
    match bus.port_read(port, &mut data[..T::BYTES]) {
        Ok(()) => Ok(T::from_le(&data)),
        Err(_) => Err(left(cpu, port, T::BYTES, false, string, op)),
    }
}
fn write<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op, port: u16, v: T, string: bool) -> Exec {
    bus.port_write(port, &v.to_u64().to_le_bytes()[..T::BYTES]).map_err(|_| left(cpu, port, T::BYTES, true, string, op))
}

fn input<T: Width, const IMM: bool>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let port = port_of::<IMM>(cpu, op);
    check_port(cpu, bus, port, T::BYTES as u64)?;
    let v = read::<T>(cpu, bus, op, port, false)?;
    T::set(cpu, RAX, v);
    Ok(())
}
fn output<T: Width, const IMM: bool>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let port = port_of::<IMM>(cpu, op);
    check_port(cpu, bus, port, T::BYTES as u64)?;
    write::<T>(cpu, bus, op, port, T::get(cpu, RAX), false)
}

/// The store is checked before the port is read: the device must not lose data to a page fault.
fn ins<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let port = cpu.r16(RDX);
    check_port(cpu, bus, port, T::BYTES as u64)?;
    let to = destination(cpu);
    let bulk = |cpu: &mut Cpu, bus: &mut dyn Bus, count| {
        let (target, n) = reach::<T>(cpu, op, RDI, count);
        let Some(span) = cpu.host_span(bus, to, target, n, Access::Write)? else { return Ok(0) };
        let mut elements = [0; AT_ONCE];
        let n = n.min(span.len()).min(AT_ONCE) / T::BYTES * T::BYTES;
        let n = bus.port_read_elements(port, T::BYTES, &mut elements[..n]);
        let done = span.write(cpu, &elements[..n]);
        advance(cpu, op, RDI, done);
        Ok((done / T::BYTES) as u64)
    };
    repeat_in_bulk(cpu, bus, op, bulk, |cpu, bus| {
        let at = cpu.r64(RDI) & op.addr_mask;
        cpu.check_write(bus, to, at, T::BYTES)?;
        let v = read::<T>(cpu, bus, op, port, true)?;
        cpu.store_at(bus, to, at, v)?;
        advance(cpu, op, RDI, T::BYTES);
        Ok(true)
    })
}
fn outs<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    let port = cpu.r16(RDX);
    check_port(cpu, bus, port, T::BYTES as u64)?;
    let bulk = |cpu: &mut Cpu, bus: &mut dyn Bus, count| {
        let (source, n) = reach::<T>(cpu, op, RSI, count);
        let Some(span) = cpu.host_span(bus, op.seg, source, n, Access::Read)? else { return Ok(0) };
        let mut elements = [0; AT_ONCE];
        let n = span.read(&mut elements[..n.min(AT_ONCE)]) / T::BYTES * T::BYTES;
        let done = bus.port_write_elements(port, T::BYTES, &elements[..n]);
        advance(cpu, op, RSI, done);
        Ok((done / T::BYTES) as u64)
    };
    repeat_in_bulk(cpu, bus, op, bulk, |cpu, bus| {
        let v = cpu.load_at::<T>(bus, op.seg, cpu.r64(RSI) & op.addr_mask)?;
        write(cpu, bus, op, port, v, true)?;
        advance(cpu, op, RSI, T::BYTES);
        Ok(true)
    })
}

/// A device may have raised a flag that `run` looks at between blocks, so every one ends its block.
pub(super) fn decode(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> Option<Handler> {
    let handler: Handler = match i.code() {
        Code::In_AL_imm8 => input::<u8, true>,
        Code::In_AX_imm8 => input::<u16, true>,
        Code::In_EAX_imm8 => input::<u32, true>,
        Code::In_AL_DX => input::<u8, false>,
        Code::In_AX_DX => input::<u16, false>,
        Code::In_EAX_DX => input::<u32, false>,
        Code::Out_imm8_AL => output::<u8, true>,
        Code::Out_imm8_AX => output::<u16, true>,
        Code::Out_imm8_EAX => output::<u32, true>,
        Code::Out_DX_AL => output::<u8, false>,
        Code::Out_DX_AX => output::<u16, false>,
        Code::Out_DX_EAX => output::<u32, false>,
        Code::Insb_m8_DX => ins::<u8>,
        Code::Insw_m16_DX => ins::<u16>,
        Code::Insd_m32_DX => ins::<u32>,
        Code::Outsb_DX_m8 => outs::<u8>,
        Code::Outsw_DX_m16 => outs::<u16>,
        Code::Outsd_DX_m32 => outs::<u32>,
        _ => return None,
    };
    op.flags |= Op::ENDS;
    for n in 0..i.op_count() {
        if i.op_kind(n) == OpKind::Immediate8 {
            op.imm = u64::from(i.immediate8());
        }
    }
    prepare(i, cx, op);
    Some(handler)
}
