//! A stack that the processor pushes to or pops from before it commits to it: interrupt frames, call gates, IRET.
//! Nothing of `Cpu` changes until the caller takes [`Stack::sp`], so a fault leaves the instruction restartable.

use crate::bus::Bus;
use crate::fault::{Abort, Exec, vector};
use crate::state::{Cpu, Mode, Seg, SegReg};

/// The view of a stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stack {
    seg: SegReg,
    /// 64-bit: no segment, canonical check.
    flat: bool,
    /// Stack pointer, whole register.
    pub(crate) sp: u64,
    mask: u64,
    /// Accessed with the current privilege; otherwise by the processor for itself (a stack of an inner ring).
    own: bool,
    /// Error code of #SS.
    error: u32,
}

impl Stack {
    /// The current stack.
    pub(crate) fn current(cpu: &Cpu) -> Self {
        let seg = cpu.segs[Seg::Ss as usize];
        let mut s = Self::of_segment(seg, cpu.r64(4));
        s.flat = cpu.mode.has(Mode::CODE64);
        if s.flat {
            s.mask = u64::MAX;
        }
        s.own = true;
        s.error = 0;
        s
    }

    /// A stack segment of an inner ring.
    pub(crate) fn of_segment(seg: SegReg, sp: u64) -> Self {
        let mask = if seg.big() { 0xFFFF_FFFF } else { 0xFFFF };
        Self { seg, flat: false, sp, mask, own: false, error: u32::from(seg.selector & !3) }
    }

    /// A 64-bit stack.
    pub(crate) fn long(sp: u64) -> Self {
        Self { seg: SegReg::default(), flat: true, sp, mask: u64::MAX, own: false, error: 0 }
    }

    /// The stack the processor accesses with its current privilege.
    #[must_use]
    pub(crate) fn with_own_privilege(mut self, own: bool) -> Self {
        self.own = own;
        self
    }

    fn at(&self, cpu: &mut Cpu, sp: u64, len: u64) -> Result<u64, Abort> {
        let offset = sp & self.mask;
        if self.flat {
            if cpu.canonical(offset) && cpu.canonical(offset.wrapping_add(len - 1)) {
                return Ok(offset);
            }
        } else if within(&self.seg, offset, len) {
            return Ok(self.seg.base.wrapping_add(offset) & 0xFFFF_FFFF);
        }
        Err(cpu.raise_error(vector::SS, self.error))
    }

    fn moved(&self, sp: u64) -> u64 {
        self.sp & !self.mask & 0xFFFF_FFFF | sp & self.mask
    }

    /// Pushes `size` (2, 4, 8) bytes.
    pub(crate) fn push(&mut self, cpu: &mut Cpu, bus: &mut dyn Bus, size: u8, value: u64) -> Exec {
        let sp = self.moved(self.sp.wrapping_sub(u64::from(size)));
        let at = self.at(cpu, sp, u64::from(size))?;
        match (size, self.own) {
            (2, true) => cpu.store_at(bus, Seg::None, at, value as u16)?,
            (4, true) => cpu.store_at(bus, Seg::None, at, value as u32)?,
            (_, true) => cpu.store_at(bus, Seg::None, at, value)?,
            (2, false) => cpu.store_system(bus, at, value as u16)?,
            (4, false) => cpu.store_system(bus, at, value as u32)?,
            (_, false) => cpu.store_system(bus, at, value)?,
        }
        self.sp = sp;
        Ok(())
    }

    /// Pushes several values, the first one first.
    pub(crate) fn push_all(&mut self, cpu: &mut Cpu, bus: &mut dyn Bus, size: u8, values: &[u64]) -> Exec {
        values.iter().try_for_each(|v| self.push(cpu, bus, size, *v))
    }

    /// Pops `size` (2, 4, 8) bytes.
    pub(crate) fn pop(&mut self, cpu: &mut Cpu, bus: &mut dyn Bus, size: u8) -> Result<u64, Abort> {
        let at = self.at(cpu, self.sp, u64::from(size))?;
        let v = match size {
            2 => u64::from(cpu.load_at::<u16>(bus, Seg::None, at)?),
            4 => u64::from(cpu.load_at::<u32>(bus, Seg::None, at)?),
            _ => cpu.load_at::<u64>(bus, Seg::None, at)?,
        };
        self.skip(u64::from(size));
        Ok(v)
    }

    /// Releases `n` bytes.
    pub(crate) fn skip(&mut self, n: u64) {
        self.sp = self.moved(self.sp.wrapping_add(n));
    }
}

/// Whether `len` bytes at `offset` are inside the segment's limit (expand-down included).
pub(crate) fn within(seg: &SegReg, offset: u64, len: u64) -> bool {
    let last = offset.wrapping_add(len - 1);
    let limit = u64::from(seg.limit);
    if seg.attributes & 0x1C == 0x14 {
        let top = if seg.big() { 0xFFFF_FFFF } else { 0xFFFF };
        offset > limit && last <= top
    } else {
        last <= limit
    }
}
