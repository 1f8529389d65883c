//! Which accesses of the device an instruction may make: from what `iced-x86` says it touches, how often, how large and in
//! which order (Intel SDM volume 1, 4.1 and 13.8, volume 3, 8.1, for what is one access).

use std::collections::BTreeMap;

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic as M, OpAccess, OpKind, Register as R};

use crate::machine::{Access, WINDOW, WINDOW_LEN};

/// A range that the instruction touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    pub at: u64,
    pub len: usize,
    pub reads: bool,
    pub writes: bool,
}

fn in_window(at: u64) -> bool {
    (WINDOW..WINDOW + WINDOW_LEN).contains(&at)
}

/// What the instruction touches in the window, by the registers before it. `None`: which bytes it are depends on more.
pub fn touched(i: &Instruction, register: impl Fn(R) -> u64) -> Option<Vec<Touched>> {
    let conditional = i.op_mask() != R::None || i.is_vsib() || i.has_rep_prefix() || i.has_repne_prefix();
    let by_bit_offset = matches!(i.mnemonic(), M::Bt | M::Bts | M::Btr | M::Btc) && i.op_kind(1) == OpKind::Register;
    // Areas of which the header, or a level, says how much of them is used.
    let by_content = matches!(
        i.mnemonic(),
        M::Enter
            | M::Fxsave
            | M::Fxsave64
            | M::Fxrstor
            | M::Fxrstor64
            | M::Xsave
            | M::Xsave64
            | M::Xsavec
            | M::Xsavec64
            | M::Xsaveopt
            | M::Xsaveopt64
            | M::Xsaves
            | M::Xsaves64
            | M::Xrstor
            | M::Xrstor64
            | M::Xrstors
            | M::Xrstors64
    );
    // ARPL stores when it changes something; POPA's load of the stack pointer's slot is up to the processor.
    let by_processor = matches!(i.mnemonic(), M::Arpl | M::Popa | M::Popad);
    let masked = format!("{:?}", i.mnemonic()).to_lowercase().contains("maskmov");
    if masked || conditional || by_bit_offset || by_content || by_processor {
        return None;
    }
    let mut factory = InstructionInfoFactory::new();
    let mut list: Vec<Touched> = Vec::new();
    for m in factory.info(i).used_memory() {
        let (reads, writes) = match m.access() {
            OpAccess::Read => (true, false),
            OpAccess::Write => (false, true),
            OpAccess::ReadWrite | OpAccess::ReadCondWrite => (true, true),
            OpAccess::NoMemAccess | OpAccess::None => continue,
            OpAccess::CondRead | OpAccess::CondWrite => return None,
        };
        let at = m.virtual_address(0, |r, _, _| Some(if r.is_segment_register() { 0 } else { register(r) }))?;
        let len = m.memory_size().size();
        if len == 0 {
            return None;
        }
        if in_window(at) {
            list.push(Touched { at, len, reads, writes });
        }
    }
    Some(list)
}

/// Pairs that are two loads: far pointers and bounds.
pub fn is_pair(i: &Instruction) -> bool {
    let far = matches!(i.mnemonic(), M::Lds | M::Les | M::Lfs | M::Lgs | M::Lss | M::Bound);
    far || i.is_jmp_far_indirect() || i.is_call_far_indirect()
}

/// Operands that are more than one access on a processor too: far pointers, table registers, 80-bit numbers, images.
fn in_pieces(len: usize) -> bool {
    !matches!(len, 1 | 2 | 4 | 8 | 16 | 32 | 64)
}

fn bytes_of(log: &[Access], kind: char) -> BTreeMap<u64, usize> {
    let mut bytes = BTreeMap::new();
    for a in log.iter().filter(|a| a.kind == kind) {
        (a.gpa..a.gpa + a.len as u64).for_each(|b| *bytes.entry(b).or_default() += 1);
    }
    bytes
}

fn wanted(list: &[Touched], writes: bool) -> BTreeMap<u64, usize> {
    let mut bytes = BTreeMap::new();
    for t in list.iter().filter(|t| if writes { t.writes } else { t.reads }) {
        (t.at..t.at + t.len as u64).for_each(|b| *bytes.entry(b).or_default() += 1);
    }
    bytes
}

/// What is wrong with the accesses of an instruction under an EVEX mask: masked elements are neither read nor written
/// (Intel SDM volume 1, 15.6).
pub fn mask_complaint(i: &Instruction, target: u64, mask: u64, log: &[Access]) -> Option<String> {
    let explicit = i.op_kinds().any(|k| k == OpKind::Memory);
    if i.op_mask() == R::None || i.is_vsib() || i.is_broadcast() || !explicit {
        return None;
    }
    let (size, element) = (i.memory_size().size() as u64, i.memory_size().element_size() as u64);
    let name = format!("{:?}", i.mnemonic()).to_lowercase();
    let packed = name.contains("compress") || name.contains("expand");
    let stores = i.op_kind(0) == OpKind::Memory;
    // Of loads only those whose elements are the destination's: the others (shuffles, ...) read everything.
    let elementwise = ["vmovup", "vmovap", "vmovdq", "vadd", "vsub", "vmul", "vdiv", "vpadd", "vpsub"];
    let by_element = stores || packed || elementwise.iter().any(|start| name.starts_with(start));
    if !by_element || element == 0 || size % element != 0 {
        return None;
    }
    let lanes = size / element;
    let mask = if lanes >= 64 { mask } else { mask & ((1 << lanes) - 1) };
    let wanted: BTreeMap<u64, usize> = (0..lanes)
        .filter(|n| if packed { *n < u64::from(mask.count_ones()) } else { mask >> n & 1 != 0 })
        .flat_map(|n| (0..element).map(move |b| (target + n * element + b, 1)))
        .collect();
    let wrong = bytes_of(log, if stores { 'w' } else { 'r' }) != wanted;
    wrong.then(|| format!("mask {mask:#x} of {lanes} elements of {element} bytes: {log:x?}"))
}

/// What is wrong with the accesses of an instruction that was completed.
pub fn complaint(i: &Instruction, list: Option<&[Touched]>, log: &[Access]) -> Option<String> {
    let string = i.has_rep_prefix() || i.has_repne_prefix();
    let Some(list) = list else {
        // At least nothing twice, but by strings and gathers whose elements may be the same.
        let again = |kind| bytes_of(log, kind).values().any(|n| *n > 1);
        return (!string && !i.is_vsib() && (again('r') || again('w'))).then(|| "the same byte twice".into());
    };
    for (kind, writes) in [('r', false), ('w', true)] {
        if bytes_of(log, kind) != wanted(list, writes) {
            return Some(format!("{kind}: {log:x?} instead of {list:x?}"));
        }
    }
    for t in list.iter().filter(|t| !in_pieces(t.len)) {
        let inside = |a: &&Access| a.gpa >= t.at && a.gpa + a.len as u64 <= t.at + t.len as u64;
        let pages = 1 + usize::from(t.at >> 12 != (t.at + t.len as u64 - 1) >> 12);
        let count = log.iter().filter(inside).count();
        let wanted = pages * (usize::from(t.reads) + usize::from(t.writes));
        if list.len() == 1 && !is_pair(i) && count != wanted {
            return Some(format!("{count} accesses instead of {wanted}: {log:x?}"));
        }
    }
    let first_write = log.iter().position(|a| a.kind == 'w');
    let last_read = log.iter().rposition(|a| a.kind == 'r');
    if list.len() == 1 && first_write.zip(last_read).is_some_and(|(w, r)| w < r) {
        return Some(format!("a load after a store: {log:x?}"));
    }
    None
}
