//! Gather and scatter (Intel SDM volume 2, VGATHER..., VPGATHER..., VSCATTER..., VPSCATTER...): element after element, in
//! order from the lowest; an element that is done has its mask cleared, so that a fault in the middle can be resumed.
//! The AVX-512PF prefetches stay #UD.

use iced_x86::{EncodingKind, Instruction, OpKind, Register};

use super::vector::clear_above;
use super::{class, ready, unit};
use crate::bus::Bus;
use crate::fault::{Abort, Exec};
use crate::op::{DecodeCx, Op};
use crate::state::{Cpu, Mode, REG_ZERO};

/// `Op::imm` of these: everything about the elements. `Op::dst` is the data register.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// Vector register of the indices.
    index: u8,
    /// Bytes of an index.
    index_bytes: u8,
    /// Bytes of an element.
    element: u8,
    /// Elements.
    count: u8,
    /// Mask register or vector register.
    mask: u8,
}

impl Form {
    fn unpack(v: u64) -> Self {
        let [index, index_bytes, element, count, mask, ..] = v.to_le_bytes();
        Self { index, index_bytes, element, count, mask }
    }
    fn pack(self) -> u64 {
        u64::from_le_bytes([self.index, self.index_bytes, self.element, self.count, self.mask, 0, 0, 0])
    }
}

/// Makes `op` execute `i`.
pub(super) fn decode(i: &Instruction, cx: &DecodeCx, op: &mut Op) -> bool {
    if !i.is_vsib() {
        return false;
    }
    let name = format!("{:?}", i.mnemonic());
    let scatter = name.contains("scatter");
    let evex = i.encoding() == EncodingKind::EVEX;
    let data = i.op_register(if scatter { 1 } else { 0 });
    let known = matches!(i.encoding(), EncodingKind::VEX | EncodingKind::EVEX)
        && i.cpuid_features().iter().all(|f| unit::has(*f))
        && data.is_vector_register();
    let index = i.memory_index();
    let mask = if evex { i.op_mask() } else { i.op_register(2) };
    let clash = !scatter && (data.number() == index.number())
        || !evex && (mask.number() == data.number() || mask.number() == index.number());
    if !known || clash {
        return true; // #UD
    }
    let index_bytes = if i.is_vsib64() { 8 } else { 4 };
    let element = i.memory_size().size().clamp(4, 8) as u8;
    let count = (index.size() / usize::from(index_bytes)).min(data.size() / usize::from(element)) as u8;
    op.index = REG_ZERO;
    op.addr_mask = address_mask(i, cx);
    op.dst = data.number() as u8;
    op.src2 = if evex { class::EVEX } else { class::VEX };
    op.imm = Form { index: index.number() as u8, index_bytes, element, count, mask: mask.number() as u8 }.pack();
    debug_assert!((0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory));
    op.handler = match (scatter, evex) {
        (true, _) => scatter_masked,
        (false, true) => gather::<true>,
        (false, false) => gather::<false>,
    };
    true
}

fn address_mask(i: &Instruction, cx: &DecodeCx) -> u64 {
    let wide = match i.memory_base() {
        Register::None => cx.mode.has(Mode::CODE64) && i.memory_displ_size() != 4,
        base => base.size() == 8,
    };
    if wide { u64::MAX } else { 0xFFFF_FFFF }
}

fn address(cpu: &Cpu, op: &Op, f: Form, lane: usize) -> u64 {
    let indices = &cpu.fpu.zmm[usize::from(f.index) & 31];
    let at = lane * usize::from(f.index_bytes);
    let mut b = [0; 8];
    let index = match indices.get(at..at + usize::from(f.index_bytes)) {
        Some(s) => {
            b[..s.len()].copy_from_slice(s);
            if s.len() == 4 { u64::from_le_bytes(b) as u32 as i32 as i64 as u64 } else { u64::from_le_bytes(b) }
        }
        None => 0,
    };
    cpu.r64(op.base).wrapping_add(index << (op.scale & 3)).wrapping_add(op.disp) & op.addr_mask
}

fn gather<const EVEX: bool>(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    ready(cpu, op)?;
    let f = Form::unpack(op.imm);
    let element = usize::from(f.element);
    let (data, mask) = (usize::from(op.dst) & 31, usize::from(f.mask) & 31);
    for lane in 0..usize::from(f.count) {
        let place = lane * element..(lane + 1) * element;
        let wanted = if EVEX {
            cpu.fpu.k[mask & 7] >> lane & 1 != 0
        } else {
            cpu.fpu.zmm[mask].get(place.clone()).is_some_and(|e| e[element - 1] & 0x80 != 0)
        };
        if wanted {
            let at = address(cpu, op, f, lane);
            let mut b = [0; 8];
            cpu.load_bytes(bus, op.seg, at, &mut b[..element])?;
            if let Some(to) = cpu.fpu.zmm[data].get_mut(place.clone()) {
                to.copy_from_slice(&b[..element]);
            }
        }
        if EVEX {
            cpu.fpu.k[mask & 7] &= !(1 << lane);
        } else if let Some(m) = cpu.fpu.zmm[mask].get_mut(place) {
            m.fill(0);
        }
    }
    clear_above(cpu, data, usize::from(f.count) * element);
    if EVEX {
        cpu.fpu.k[mask & 7] = 0;
    } else {
        clear_above(cpu, mask, 0);
    }
    Ok(())
}

fn scatter_masked(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    ready(cpu, op)?;
    let f = Form::unpack(op.imm);
    let element = usize::from(f.element);
    let k = usize::from(f.mask) & 7;
    for lane in 0..usize::from(f.count) {
        if cpu.fpu.k[k] >> lane & 1 != 0 {
            let at = address(cpu, op, f, lane);
            store_lane(cpu, bus, op, at, lane * element, element)?;
            cpu.fpu.k[k] &= !(1 << lane);
        }
    }
    cpu.fpu.k[k] = 0;
    Ok(())
}

fn store_lane(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op, at: u64, from: usize, n: usize) -> Result<(), Abort> {
    let r = cpu.fpu.zmm[usize::from(op.dst) & 31];
    match r.get(from..from + n) {
        Some(b) => cpu.store_bytes(bus, op.seg, at, b),
        None => Ok(()),
    }
}
