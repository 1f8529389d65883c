//! Memory operands of which only some elements are touched: AVX-512 write masks with their fault suppression (Intel SDM
//! volume 2, 2.7 and the exception types E4 to E6), VMASKMOV, VPMASKMOV, compress and expand, MASKMOVQ, MASKMOVDQU.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use super::unit::Buffer;
use super::{aligned, class, ready};
use crate::bus::Bus;
use crate::fault::{Abort, Exec};
use crate::op::{DecodeCx, Op, segment};
use crate::state::Cpu;

/// How the elements of a memory operand are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Choice {
    /// All are touched.
    #[default]
    All,
    /// Element i by bit i of a mask register.
    Mask,
    /// All, unless no bit of the mask register is set.
    AnyMask,
    /// Element i by any of bits i, i + count ... of the mask register: a block that is broadcast.
    Block,
    /// As many as bits of the mask register are set (compress, expand).
    Count,
    /// By the sign of element i of a vector register.
    Sign,
}

/// What an instruction does with tiny results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tiny {
    /// Flags underflow.
    #[default]
    Flagged,
    /// Raises no exceptions ({sae}, reciprocals): FTZ applies whether underflow is masked or not.
    Quiet,
    /// Does not flag underflow, but FTZ applies only when it is masked (VREDUCE).
    Kept,
}

/// The elements of a memory operand: `Op::imm` of vector instructions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lanes {
    choice: Choice,
    /// Mask or vector register.
    register: u8,
    /// Bytes of an element.
    element: u8,
    /// Elements.
    count: u8,
    /// Elements of the vector, for a block that is broadcast.
    total: u8,
    /// Stores fault as if all were touched (exception type E6NF).
    strict: bool,
    /// What the instruction does with tiny results.
    pub(super) tiny: Tiny,
}

impl Lanes {
    pub(super) fn is_some(&self) -> bool {
        self.choice != Choice::All
    }

    pub(super) fn pack(self) -> u64 {
        u64::from_le_bytes([
            self.choice as u8,
            self.register,
            self.element,
            self.count,
            self.tiny as u8,
            u8::from(self.strict),
            self.total,
            0,
        ])
    }

    pub(super) fn unpack(v: u64) -> Self {
        let [choice, register, element, count, tiny, strict, total, _] = v.to_le_bytes();
        let choice = match choice {
            1 => Choice::Mask,
            2 => Choice::AnyMask,
            3 => Choice::Block,
            4 => Choice::Count,
            5 => Choice::Sign,
            _ => Choice::All,
        };
        let tiny = match tiny {
            1 => Tiny::Quiet,
            2 => Tiny::Kept,
            _ => Tiny::Flagged,
        };
        Self { choice, register, element, count, total, strict: strict != 0, tiny }
    }

    /// The elements to touch, as bits.
    fn bits(&self, cpu: &Cpu) -> u64 {
        let all = if self.count >= 64 { u64::MAX } else { (1 << self.count) - 1 };
        let mask = cpu.fpu.k[usize::from(self.register) & 7] & all;
        match self.choice {
            Choice::All => all,
            Choice::Mask => mask,
            Choice::AnyMask => u64::from(mask != 0),
            Choice::Block => {
                let k = cpu.fpu.k[usize::from(self.register) & 7];
                let (count, total) = (u32::from(self.count.max(1)), u32::from(self.total.min(64)));
                (0..total).filter(|n| k >> n & 1 != 0).fold(0, |b, n| b | 1 << (n % count))
            }
            Choice::Count => (1u64.checked_shl(mask.count_ones()).unwrap_or(0)).wrapping_sub(1),
            Choice::Sign => {
                let r = &cpu.fpu.zmm[usize::from(self.register) & 31];
                let element = usize::from(self.element.max(1));
                r.chunks_exact(element)
                    .take(usize::from(self.count))
                    .enumerate()
                    .fold(0, |b, (i, e)| b | u64::from(e[element - 1] >> 7) << i)
            }
        }
    }
}

/// The lanes of an instruction with a memory operand.
pub(super) fn lanes(i: &Instruction) -> Lanes {
    use Mnemonic::*;
    let size = i.memory_size();
    let bytes = size.size().min(64);
    if matches!(i.mnemonic(), Vmaskmovps | Vmaskmovpd | Vpmaskmovd | Vpmaskmovq) {
        let element = if matches!(i.mnemonic(), Vmaskmovps | Vpmaskmovd) { 4 } else { 8 };
        let register = i.op_register(1).number() as u8;
        let count = (bytes / usize::from(element)) as u8;
        return Lanes { choice: Choice::Sign, register, element, count, ..Lanes::default() };
    }
    if i.op_mask() == Register::None {
        return Lanes::default();
    }
    let register = i.op_mask().number() as u8;
    let element = element(i);
    let vector = (0..i.op_count()).map(|n| i.op_register(n)).filter(|r| r.is_vector_register());
    let vector = vector.map(Register::size).max().unwrap_or(bytes);
    let name = format!("{:?}", i.mnemonic());
    if size.is_broadcast() || name.starts_with("Vbroadcast") || name.starts_with("Vpbroadcast") {
        if whole(i, &name) {
            return Lanes::default();
        }
        let block = i.memory_size().element_size();
        if !size.is_broadcast() && (1..bytes).contains(&block) {
            let (count, total) = ((bytes / block) as u8, (vector / block) as u8);
            return Lanes { choice: Choice::Block, register, element: block as u8, count, total, ..Lanes::default() };
        }
        let span = if size.is_broadcast() { i.code().op_code().memory_size().size() } else { vector };
        let count = (span / usize::from(element.max(1))).min(64) as u8;
        return Lanes { choice: Choice::AnyMask, register, element: bytes as u8, count, ..Lanes::default() };
    }
    if whole(i, &name) {
        return Lanes::default();
    }
    let count = (bytes / usize::from(element.max(1))).min(64) as u8;
    let choice = if ["Vcompress", "Vpcompress", "Vexpand", "Vpexpand"].iter().any(|p| name.starts_with(p)) {
        Choice::Count
    } else {
        Choice::Mask
    };
    let strict = name.starts_with("Vextract");
    Lanes { choice, register, element, count, strict, ..Lanes::default() }
}

/// Bytes of memory per mask bit.
fn element(i: &Instruction) -> u8 {
    use Mnemonic::*;
    match i.mnemonic() {
        Vpdpbusd | Vpdpbusds | Vpdpwssd | Vpdpwssds | Vdpbf16ps => 4,
        Vpmuludq | Vpmuldq | Vmovdqu64 | Vmovdqa64 | Vpmadd52luq | Vpmadd52huq => 8,
        Vmovdqu32 | Vmovdqa32 => 4,
        Vmovdqu16 => 2,
        Vmovdqu8 | Vpshufbitqmb => 1,
        _ => i.memory_size().element_size().clamp(1, 64) as u8,
    }
}

/// Whether the mask says nothing about the memory operand (exception types E4NF, E5NF, E6NF).
fn whole(i: &Instruction, name: &str) -> bool {
    const WHOLE: &[&str] = &[
        "Vpack",
        "Vpunpck",
        "Vunpck",
        "Vperm",
        "Vshuf",
        "Vpshufd",
        "Vpshufh",
        "Vpshufl",
        "Vpalignr",
        "Valign",
        "Vpsadbw",
        "Vdbpsadbw",
        "Vinsert",
        "Vpmaddwd",
        "Vpmaddubsw",
        "Vpmultishiftqb",
        "Vgf2p8affine",
        "Vpconflict",
        "Vmovshdup",
        "Vmovsldup",
        "Vmovddup",
        "Vcvtne2ps2bf16",
    ];
    let shift = ["Vpsll", "Vpsrl", "Vpsra"].iter().any(|p| name.starts_with(p)) && !name.contains('v');
    let by_register = shift && i.op_count() == 3 && i.op_kind(2) == OpKind::Memory;
    i.mnemonic() == Mnemonic::Vpshufb || by_register || WHOLE.iter().any(|p| name.starts_with(p))
}

/// Calls `f` with offset and length of every run of touched elements.
fn runs(bits: u64, element: u8, mut f: impl FnMut(usize, usize) -> Exec) -> Exec {
    let element = usize::from(element);
    let (mut bits, mut at) = (bits, 0);
    while bits != 0 {
        let skip = bits.trailing_zeros() as usize;
        bits >>= skip;
        let n = bits.trailing_ones() as usize;
        bits = bits.checked_shr(n as u32).unwrap_or(0);
        at += skip;
        f(at * element, n * element)?;
        at += n;
    }
    Ok(())
}

/// The operand's address, checked for alignment when anything is touched.
pub(super) fn address(cpu: &mut Cpu, op: &Op) -> Result<u64, Abort> {
    if Lanes::unpack(op.imm).bits(cpu) == 0 { Ok(cpu.ea(op)) } else { aligned(cpu, op) }
}

/// Loads the touched elements to their places.
pub(super) fn load(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op, at: u64, buffer: &mut Buffer) -> Exec {
    let lanes = Lanes::unpack(op.imm);
    runs(lanes.bits(cpu), lanes.element, |from, n| match buffer.0.get_mut(from..from + n) {
        Some(to) => cpu.load_bytes(bus, op.seg, at.wrapping_add(from as u64) & op.addr_mask, to),
        None => Ok(()),
    })
}

/// Checks that the touched elements can be stored.
pub(super) fn check_store(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op, at: u64) -> Exec {
    let lanes = Lanes::unpack(op.imm);
    if lanes.strict {
        return cpu.check_write(bus, op.seg, at, usize::from(lanes.element) * usize::from(lanes.count));
    }
    runs(lanes.bits(cpu), lanes.element, |from, n| {
        cpu.check_write(bus, op.seg, at.wrapping_add(from as u64) & op.addr_mask, n)
    })
}

/// Stores the touched elements.
pub(super) fn store(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op, at: u64, buffer: &Buffer) -> Exec {
    let lanes = Lanes::unpack(op.imm);
    runs(lanes.bits(cpu), lanes.element, |from, n| match buffer.0.get(from..from + n) {
        Some(data) => cpu.store_bytes(bus, op.seg, at.wrapping_add(from as u64) & op.addr_mask, data),
        None => Ok(()),
    })
}

/// MASKMOVQ, MASKMOVDQU, VMASKMOVDQU.
pub(super) fn string_mask(i: &Instruction, cx: &DecodeCx, op: &mut Op, kind: OpKind) {
    op.base = 7;
    op.addr_mask = match kind {
        OpKind::MemorySegDI => 0xFFFF,
        OpKind::MemorySegEDI => 0xFFFF_FFFF,
        _ => u64::MAX,
    };
    op.set_segment(segment(i.memory_segment()), cx);
    op.dst = i.op_register(1).number() as u8;
    op.src = i.op_register(2).number() as u8;
    op.handler = if i.code() == Code::Maskmovq_rDI_mm_mm { maskmovq } else { maskmovdqu };
}

fn maskmovdqu(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    ready(cpu, op)?;
    let data = cpu.fpu.zmm[usize::from(op.dst) & 31];
    let mask = cpu.fpu.zmm[usize::from(op.src) & 31];
    store_bytes_by_sign(cpu, bus, op, &data[..16], &mask[..16])
}

fn maskmovq(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    ready(cpu, op)?;
    debug_assert_eq!(op.src2, class::MMX);
    // By physical number, whatever TOP is.
    let top = cpu.fpu.top();
    let register = |n: u8| cpu.fpu.st[usize::from(n).wrapping_sub(top) & 7];
    let (data, mask) = (register(op.dst), register(op.src));
    store_bytes_by_sign(cpu, bus, op, &data[..8], &mask[..8])?;
    cpu.fpu.rotate_to(0);
    cpu.fpu.ftw = 0xFF;
    Ok(())
}

fn store_bytes_by_sign(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op, data: &[u8], mask: &[u8]) -> Exec {
    let at = cpu.ea(op);
    let bits = mask.iter().enumerate().fold(0, |b, (i, m)| b | u64::from(m >> 7) << i);
    let place = |from: usize| at.wrapping_add(from as u64) & op.addr_mask;
    runs(bits, 1, |from, n| cpu.check_write(bus, op.seg, place(from), n))?;
    runs(bits, 1, |from, n| cpu.store_bytes(bus, op.seg, place(from), &data[from..from + n]))
}
