//! Memory as instructions see it: effective address, segment, linear address, page, host byte.
//!
//! First version: no TLB and no paging, so that instruction families can be tested; the interface stays.

use crate::bus::{Bus, PhysPage};
use crate::fault::{Abort, AbortKind, Access};
use crate::op::Op;
use crate::state::{Cpu, Mode, Seg};

/// The integers that instructions load and store.
pub trait Int: Copy + Eq + Send + Sync + 'static {
    /// Size in bytes.
    const BYTES: usize;
    /// Zero-extends.
    fn to_u64(self) -> u64;
    /// Truncates.
    fn from_u64(v: u64) -> Self;
    /// From little-endian bytes (at least `BYTES` of them).
    fn from_le(b: &[u8]) -> Self;
}

macro_rules! int {
    ($($t:ty),*) => {$(
        impl Int for $t {
            const BYTES: usize = size_of::<$t>();
            #[inline(always)]
            fn to_u64(self) -> u64 { self as u64 }
            #[inline(always)]
            fn from_u64(v: u64) -> Self { v as $t }
            #[inline(always)]
            fn from_le(b: &[u8]) -> Self {
                let mut x = [0; size_of::<$t>()];
                x.copy_from_slice(&b[..size_of::<$t>()]);
                <$t>::from_le_bytes(x)
            }
        }
    )*};
}
int!(u8, u16, u32, u64);

/// The largest single access in bytes (a ZMM register).
pub const MAX_ACCESS: usize = 64;

impl Cpu {
    /// The effective address (offset in the segment) of the memory operand.
    #[inline(always)]
    pub fn ea(&self, op: &Op) -> u64 {
        self.r64(op.base).wrapping_add(self.r64(op.index) << (op.scale & 3)).wrapping_add(op.disp) & op.addr_mask
    }

    /// Loads the memory operand.
    ///
    /// # Errors
    /// `Abort` as for every access: #GP, #SS, #PF, #AC, or an exit.
    #[inline(always)]
    pub fn load<T: Int>(&mut self, bus: &mut dyn Bus, op: &Op) -> Result<T, Abort> {
        self.load_at(bus, op.seg, self.ea(op))
    }

    /// Stores to the memory operand.
    ///
    /// # Errors
    /// As [`Cpu::load`]; nothing is stored then.
    #[inline(always)]
    pub fn store<T: Int>(&mut self, bus: &mut dyn Bus, op: &Op, value: T) -> Result<(), Abort> {
        self.store_at(bus, op.seg, self.ea(op), value)
    }

    /// Loads, calls `f`, stores its result; atomically with a LOCK prefix (then `f` may be called again with a newer
    /// value, so what it sets in `Cpu` must come from its last call only). Store permission is checked first.
    ///
    /// # Errors
    /// As [`Cpu::load`]; `f` has not been called then unless the exit came from a device.
    #[inline(always)]
    pub fn modify<T: Int>(&mut self, bus: &mut dyn Bus, op: &Op, f: impl FnMut(&mut Cpu, T) -> T) -> Result<(), Abort> {
        let at = self.ea(op);
        self.modify_at(bus, op.seg, at, op.is(Op::LOCK), f)
    }

    /// Loads from `offset` in `seg`. The caller has applied the address-size mask.
    ///
    /// # Errors
    /// As [`Cpu::load`].
    pub fn load_at<T: Int>(&mut self, bus: &mut dyn Bus, seg: Seg, offset: u64) -> Result<T, Abort> {
        let mut b = [0; 8];
        self.load_bytes(bus, seg, offset, &mut b[..T::BYTES])?;
        Ok(T::from_le(&b))
    }

    /// Stores at `offset` in `seg`.
    ///
    /// # Errors
    /// As [`Cpu::store`].
    pub fn store_at<T: Int>(&mut self, bus: &mut dyn Bus, seg: Seg, offset: u64, value: T) -> Result<(), Abort> {
        self.store_bytes(bus, seg, offset, &value.to_u64().to_le_bytes()[..T::BYTES])
    }

    /// [`Cpu::modify`] at `offset` in `seg`.
    ///
    /// # Errors
    /// As [`Cpu::modify`].
    pub fn modify_at<T: Int>(
        &mut self,
        bus: &mut dyn Bus,
        seg: Seg,
        offset: u64,
        _lock: bool,
        mut f: impl FnMut(&mut Cpu, T) -> T,
    ) -> Result<(), Abort> {
        self.check_write(bus, seg, offset, T::BYTES)?;
        let old = self.load_at(bus, seg, offset)?;
        let new = f(self, old);
        self.store_at(bus, seg, offset, new)
    }

    /// CMPXCHG16B's access: replaces the 16 bytes at `offset` by `new` when they equal `expected`, atomically with
    /// `lock`; returns what was there. Always a store access (the old value is written back on a mismatch).
    ///
    /// # Errors
    /// As [`Cpu::modify`].
    pub fn compare_exchange_16(
        &mut self,
        bus: &mut dyn Bus,
        seg: Seg,
        offset: u64,
        expected: u128,
        new: u128,
        _lock: bool,
    ) -> Result<u128, Abort> {
        self.check_write(bus, seg, offset, 16)?;
        let mut b = [0; 16];
        self.load_bytes(bus, seg, offset, &mut b)?;
        let old = u128::from_le_bytes(b);
        let value = if old == expected { new } else { old };
        self.store_bytes(bus, seg, offset, &value.to_le_bytes())?;
        Ok(old)
    }

    /// Loads 1 to 4096 bytes (one architectural access for SIMD and state-saving instructions).
    ///
    /// # Errors
    /// As [`Cpu::load`].
    pub fn load_bytes(&mut self, bus: &mut dyn Bus, seg: Seg, offset: u64, out: &mut [u8]) -> Result<(), Abort> {
        let at = self.linear(seg, offset, out.len(), Access::Read)?;
        self.physical(bus, at, out.len(), Access::Read, |bus, gpa, part| match bus.page(gpa & !0xFFF) {
            PhysPage::Ram { block, offset, .. } => Ok(_ = block.read(offset + (gpa & 0xFFF), &mut out[part])),
            PhysPage::None => bus.mem_read(gpa, &mut out[part]),
        })
    }

    /// Stores 1 to 4096 bytes; the permission of all of them is checked before the first is stored.
    ///
    /// # Errors
    /// As [`Cpu::store`].
    pub fn store_bytes(&mut self, bus: &mut dyn Bus, seg: Seg, offset: u64, data: &[u8]) -> Result<(), Abort> {
        let at = self.linear(seg, offset, data.len(), Access::Write)?;
        self.physical(bus, at, data.len(), Access::Write, |bus, gpa, part| match bus.page(gpa & !0xFFF) {
            PhysPage::Ram { block, offset, writable: true, .. } => {
                Ok(_ = block.write(offset + (gpa & 0xFFF), &data[part]))
            }
            _ => bus.mem_write(gpa, &data[part]),
        })
    }

    /// Checks that `len` bytes could be stored.
    ///
    /// # Errors
    /// The exception the store would raise.
    pub fn check_write(&mut self, _bus: &mut dyn Bus, seg: Seg, offset: u64, len: usize) -> Result<(), Abort> {
        self.linear(seg, offset, len, Access::Write).map(drop)
    }

    /// Pushes with the stack's address size; RSP changes only when the store succeeded.
    ///
    /// # Errors
    /// #SS, #PF, #AC, or an exit.
    #[inline(always)]
    pub fn push<T: Int>(&mut self, bus: &mut dyn Bus, value: T) -> Result<(), Abort> {
        let sp = self.r64(4).wrapping_sub(T::BYTES as u64);
        let (seg, mask) = self.stack();
        self.store_at(bus, seg, sp & mask, value)?;
        self.set_sp(sp);
        Ok(())
    }

    /// Pops with the stack's address size; RSP changes only when the load succeeded.
    ///
    /// # Errors
    /// #SS, #PF, #AC, or an exit.
    #[inline(always)]
    pub fn pop<T: Int>(&mut self, bus: &mut dyn Bus) -> Result<T, Abort> {
        let (seg, mask) = self.stack();
        let sp = self.r64(4);
        let v = self.load_at(bus, seg, sp & mask)?;
        self.set_sp(sp.wrapping_add(T::BYTES as u64));
        Ok(v)
    }

    /// Segment and address mask of stack accesses.
    #[inline(always)]
    pub fn stack(&self) -> (Seg, u64) {
        if self.mode.has(Mode::CODE64) {
            (Seg::None, u64::MAX)
        } else {
            (Seg::Ss, if self.mode.has(Mode::STACK32) { 0xFFFF_FFFF } else { 0xFFFF })
        }
    }

    /// Sets RSP, ESP or SP by the stack's address size (ESP writes zero the upper half).
    #[inline(always)]
    pub fn set_sp(&mut self, sp: u64) {
        if self.mode.has(Mode::CODE64) {
            self.set_r64(4, sp);
        } else if self.mode.has(Mode::STACK32) {
            self.set_r32(4, sp as u32);
        } else {
            self.set_r16(4, sp as u16);
        }
    }

    /// Segment checks (where the segment needs them) and base.
    fn linear(&mut self, seg: Seg, offset: u64, _len: usize, _access: Access) -> Result<u64, Abort> {
        let at = self.seg_base[seg as usize & 7].wrapping_add(offset);
        Ok(if self.mode.has(Mode::CODE64) { at } else { at & 0xFFFF_FFFF })
    }

    fn physical(
        &mut self,
        bus: &mut dyn Bus,
        at: u64,
        len: usize,
        access: Access,
        mut each: impl FnMut(&mut dyn Bus, u64, std::ops::Range<usize>) -> Result<(), crate::bus::Leave>,
    ) -> Result<(), Abort> {
        let mut done = 0;
        while done < len {
            let gpa = at.wrapping_add(done as u64);
            let n = (4096 - (gpa as usize & 0xFFF)).min(len - done);
            if each(bus, gpa, done..done + n).is_err() {
                return Err(self.leave(AbortKind::Memory { gpa, gva: gpa, len: n as u8, access }));
            }
            done += n;
        }
        Ok(())
    }

    /// A load the processor does for itself (descriptor, TSS, IDT entry): supervisor access at a linear address.
    ///
    /// # Errors
    /// #PF or an exit.
    pub fn load_system<T: Int>(&mut self, bus: &mut dyn Bus, at: u64) -> Result<T, Abort> {
        let mut b = [0; 8];
        self.physical(bus, at, T::BYTES, Access::Read, |bus, gpa, part| match bus.page(gpa & !0xFFF) {
            PhysPage::Ram { block, offset, .. } => Ok(_ = block.read(offset + (gpa & 0xFFF), &mut b[part])),
            PhysPage::None => bus.mem_read(gpa, &mut b[part]),
        })?;
        Ok(T::from_le(&b))
    }

    /// A store the processor does for itself (accessed and busy bits, TSS, interrupt frames on another stack).
    ///
    /// # Errors
    /// #PF or an exit.
    pub fn store_system<T: Int>(&mut self, bus: &mut dyn Bus, at: u64, value: T) -> Result<(), Abort> {
        let b = value.to_u64().to_le_bytes();
        self.physical(bus, at, T::BYTES, Access::Write, |bus, gpa, part| match bus.page(gpa & !0xFFF) {
            PhysPage::Ram { block, offset, writable: true, .. } => {
                Ok(_ = block.write(offset + (gpa & 0xFFF), &b[part]))
            }
            _ => bus.mem_write(gpa, &b[part]),
        })
    }

    /// Drops all cached translations (`globals` too, as for CR4 changes).
    pub fn flush_tlb(&mut self, _globals: bool) {}

    /// Drops the translations of one page, in all address spaces.
    pub fn flush_page(&mut self, _at: u64) {}

    /// RIP after this instruction, wrapped to the code's size.
    #[inline(always)]
    pub fn next_rip(&self, op: &Op) -> u64 {
        self.wrap_ip(self.rip.wrapping_add(u64::from(op.end)))
    }

    /// RIP of this instruction.
    #[inline(always)]
    pub fn this_rip(&self, op: &Op) -> u64 {
        self.wrap_ip(self.rip.wrapping_add(u64::from(op.start)))
    }

    /// Wraps an instruction pointer to the code's size.
    #[inline(always)]
    pub fn wrap_ip(&self, ip: u64) -> u64 {
        if self.mode.has(Mode::CODE64) {
            ip
        } else {
            ip & 0xFFFF_FFFF // 16-bit code that runs past 64 KiB faults on its limit, it does not wrap
        }
    }

    /// Ends the block by going to `ip`: for branch handlers (whose op has [`Op::ENDS`]). RIP is `ip` afterwards.
    #[inline(always)]
    pub fn branch(&mut self, ip: u64) {
        self.next = Some(ip);
    }
}
