//! What is said of a processor that cannot go on: why, its registers, the code at RIP, its last exits.

use std::fmt::Write;

use vm_core::AddressSpace;
use whp::{ExitContext, ExitReason, TranslateGvaFlags, TranslateGvaResultCode, VirtualProcessor};

use crate::registers::{CpuRegisters, format_registers};

/// How many exits are remembered.
const EXITS: usize = 8;
/// Bytes of code before RIP and from it on.
const BEFORE: u64 = 16;
const FROM: u64 = 24;

/// The last exits of a processor, newest last.
#[derive(Default)]
pub(crate) struct LastExits {
    ring: [Option<(ExitReason, u64)>; EXITS],
    next: usize,
}

impl LastExits {
    pub(crate) fn note(&mut self, context: &ExitContext) {
        if let Some(slot) = self.ring.get_mut(self.next % EXITS) {
            *slot = Some((context.reason(), context.vp.rip));
        }
        self.next = self.next.wrapping_add(1);
    }

    fn describe(&self) -> String {
        let (newer, older) = self.ring.split_at(self.next % EXITS);
        let all = older.iter().chain(newer).flatten();
        let list: Vec<_> = all.map(|(reason, rip)| format!("{reason:?} at {rip:#x}")).collect();
        if list.is_empty() { "none".into() } else { list.join(", ") }
    }
}

/// The byte at a linear address, where RAM or ROM is.
fn byte(space: &AddressSpace, vp: &dyn VirtualProcessor, linear: u64) -> Option<u8> {
    let t = vp.translate_gva(linear, TranslateGvaFlags::PRIVILEGE_EXEMPT).ok()?;
    let gpa = (t.code == TranslateGvaResultCode::SUCCESS).then_some(t.gpa & !0xFFF | linear & 0xFFF)?;
    let flat = space.flat();
    let i = flat.partition_point(|r| r.start <= gpa).checked_sub(1)?;
    let range = flat.get(i).filter(|r| gpa - r.start < r.len)?;
    // Devices are not to be disturbed.
    let vm_core::Backing::Ram { block, offset, .. } = &range.backing else { return None };
    let mut b = [0];
    block.read(offset + (gpa - range.start), &mut b).then_some(b[0])
}

fn code(space: &AddressSpace, vp: &dyn VirtualProcessor, r: &CpuRegisters) -> String {
    let base = if r.code_bits() == 64 { 0 } else { r.segments[1].base };
    let mask = if r.code_bits() == 64 { u64::MAX } else { 0xFFFF_FFFF };
    let mut text = String::new();
    for n in 0..BEFORE + FROM {
        let linear = base.wrapping_add(r.rip).wrapping_sub(BEFORE).wrapping_add(n) & mask;
        let cell = byte(space, vp, linear).map_or("??".into(), |b| format!("{b:02x}"));
        // Writing to a String cannot fail.
        let _ = if n == BEFORE { write!(text, "<{cell}> ") } else { write!(text, "{cell} ") };
    }
    text.trim_end().into()
}

/// Everything that is known of the processor, with a line end at the end.
pub(crate) fn processor(
    space: &AddressSpace,
    vp: &dyn VirtualProcessor,
    index: usize,
    exits: Option<&LastExits>,
) -> String {
    let mut text = match CpuRegisters::read(vp) {
        Ok(registers) => {
            let code = code(space, vp, &registers);
            format!("{}Code={code}\n", format_registers(index, &registers))
        }
        Err(e) => format!("CPU#{index}: registers cannot be read: {e}\n"),
    };
    if let Some(exits) = exits {
        let _ = writeln!(text, "Last exits: {}", exits.describe());
    }
    text
}

#[cfg(test)]
mod tests {
    use whp::{Exit, VpContext};

    use super::*;

    #[test]
    fn the_last_exits_are_in_order() {
        let mut last = LastExits::default();
        assert_eq!(last.describe(), "none");
        for rip in 0..11 {
            let vp = VpContext { rip, ..VpContext::default() };
            last.note(&ExitContext { vp, exit: Exit::Canceled });
        }
        let text = last.describe();
        assert!(text.starts_with("Canceled at 0x3, ") || text.contains("at 0x3, "), "{text}");
        assert!(text.ends_with("at 0xa") && !text.contains("at 0x2,"), "{text}");
    }
}
