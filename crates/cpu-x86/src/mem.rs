//! Memory as instructions see it: effective address, segment, linear address, page, host byte (Intel SDM volume 3,
//! chapters 3 to 5). Here are the fast paths: one TLB lookup and the access; `slow.rs` does all the rest.
//!
//! Guest memory is only ever accessed through raw pointers, by all threads; a plain load or store of up to 8 bytes
//! is one machine instruction on the hosts we run on, and nothing is ever assumed about what another processor
//! leaves in memory. Every pointer comes from a TLB entry, and the TLB keeps the block behind it alive.

use std::sync::atomic::{Ordering, compiler_fence};

use crate::atomic;
use crate::bus::Bus;
use crate::fault::{Abort, Access};
use crate::op::Op;
use crate::state::{Cpu, Mode, Seg};
use crate::tlb::{Entry, SUPERVISOR};

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
    /// Atomic compare-and-exchange; returns what was there.
    ///
    /// # Safety
    /// `at` must be valid for reads and writes of `BYTES` bytes of guest memory, at any alignment.
    unsafe fn exchange(at: *mut Self, old: Self, new: Self) -> Self;
}

macro_rules! int {
    ($($t:ty, $exchange:ident);*) => {$(
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
            #[inline(always)]
            unsafe fn exchange(at: *mut Self, old: Self, new: Self) -> Self {
                // SAFETY: the caller's.
                unsafe { atomic::$exchange(at, old, new) }
            }
        }
    )*};
}
int!(u8, exchange_8; u16, exchange_16; u32, exchange_32; u64, exchange_64);

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
    #[inline(always)]
    pub fn load_at<T: Int>(&mut self, bus: &mut dyn Bus, seg: Seg, offset: u64) -> Result<T, Abort> {
        let at = self.linear(seg, offset, T::BYTES, Access::Read)?;
        let e = self.tlb.data(at);
        if e.read == self.tlb.tag(at.wrapping_add(T::BYTES as u64 - 1)) {
            // SAFETY: the tag matches, so the access is inside the readable page the entry points to (see above).
            return Ok(unsafe { host::<T>(e, at).read_unaligned() });
        }
        self.load_miss(bus, seg, at)
    }

    /// Stores at `offset` in `seg`.
    ///
    /// # Errors
    /// As [`Cpu::store`].
    #[inline(always)]
    pub fn store_at<T: Int>(&mut self, bus: &mut dyn Bus, seg: Seg, offset: u64, value: T) -> Result<(), Abort> {
        let at = self.linear(seg, offset, T::BYTES, Access::Write)?;
        let e = self.tlb.data(at);
        if e.write == self.tlb.tag(at.wrapping_add(T::BYTES as u64 - 1)) {
            // SAFETY: the tag matches, so the access is inside the writable page the entry points to (see above).
            unsafe { host::<T>(e, at).write_unaligned(value) };
            if marked(e) {
                self.written(*e, at, T::BYTES);
            }
            return Ok(());
        }
        self.store_miss(bus, seg, at, value.to_u64(), T::BYTES)
    }

    /// [`Cpu::modify`] at `offset` in `seg`.
    ///
    /// # Errors
    /// As [`Cpu::modify`].
    #[inline(always)]
    pub fn modify_at<T: Int>(
        &mut self,
        bus: &mut dyn Bus,
        seg: Seg,
        offset: u64,
        lock: bool,
        mut f: impl FnMut(&mut Cpu, T) -> T,
    ) -> Result<(), Abort> {
        let at = self.linear(seg, offset, T::BYTES, Access::Write)?;
        let e = *self.tlb.data(at);
        if e.write != self.tlb.tag(at.wrapping_add(T::BYTES as u64 - 1)) {
            return self.modify_miss(bus, seg, at, lock, &mut f);
        }
        let p = host::<T>(&e, at);
        // SAFETY: the tag matches, so the access is inside the writable page the entry points to (see above).
        let mut old = unsafe { p.read_unaligned() };
        if lock {
            loop {
                let new = f(self, old);
                // SAFETY: as above.
                let seen = unsafe { T::exchange(p, old, new) };
                if seen == old {
                    break;
                }
                old = seen;
            }
        } else {
            let new = f(self, old);
            // SAFETY: as above.
            unsafe { p.write_unaligned(new) };
        }
        if marked(&e) {
            self.written(e, at, T::BYTES);
        }
        Ok(())
    }

    /// Loads 1 to 4096 bytes (one architectural access for SIMD and state-saving instructions).
    ///
    /// # Errors
    /// As [`Cpu::load`].
    #[inline]
    pub fn load_bytes(&mut self, bus: &mut dyn Bus, seg: Seg, offset: u64, out: &mut [u8]) -> Result<(), Abort> {
        let at = self.linear(seg, offset, out.len(), Access::Read)?;
        let e = self.tlb.data(at);
        if e.read == self.tlb.tag(at.wrapping_add(out.len() as u64).wrapping_sub(1)) && out.len() <= 4096 {
            // SAFETY: the tag of the last byte matches and the length is at most a page, so the access is inside the
            // readable page the entry points to; `out` is our own memory.
            unsafe { std::ptr::copy_nonoverlapping(host::<u8>(e, at), out.as_mut_ptr(), out.len()) };
            return Ok(());
        }
        self.load_slow(bus, seg, at, out)
    }

    /// Stores 1 to 4096 bytes; the permission of all of them is checked before the first is stored.
    ///
    /// # Errors
    /// As [`Cpu::store`].
    #[inline]
    pub fn store_bytes(&mut self, bus: &mut dyn Bus, seg: Seg, offset: u64, data: &[u8]) -> Result<(), Abort> {
        let at = self.linear(seg, offset, data.len(), Access::Write)?;
        let e = self.tlb.data(at);
        if e.write == self.tlb.tag(at.wrapping_add(data.len() as u64).wrapping_sub(1)) && data.len() <= 4096 {
            // SAFETY: as in `load_bytes`, for a writable page.
            unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), host::<u8>(e, at), data.len()) };
            if marked(e) {
                self.written(*e, at, data.len());
            }
            return Ok(());
        }
        self.store_slow(bus, seg, at, data)
    }

    /// Checks that `len` bytes (1 to 4096) could be stored.
    ///
    /// # Errors
    /// The exception the store would raise.
    #[inline]
    pub fn check_write(&mut self, bus: &mut dyn Bus, seg: Seg, offset: u64, len: usize) -> Result<(), Abort> {
        let at = self.linear(seg, offset, len, Access::Write)?;
        if self.tlb.data(at).write == self.tlb.tag(at.wrapping_add(len as u64).wrapping_sub(1)) && len <= 4096 {
            return Ok(());
        }
        self.check_write_slow(bus, seg, at, len)
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
            (Seg::Ss, u64::MAX)
        } else if self.mode.has(Mode::FLAT | Mode::STACK32) {
            (Seg::None, 0xFFFF_FFFF)
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

    /// Linear address of `offset` in `seg`, segment checks done where the segment has any.
    #[inline(always)]
    pub(crate) fn linear(&mut self, seg: Seg, offset: u64, len: usize, access: Access) -> Result<u64, Abort> {
        if self.mode.has(Mode::CODE64) {
            return Ok(offset.wrapping_add(self.seg_base[seg as usize & 7]));
        }
        if seg == Seg::None {
            return Ok(offset & 0xFFFF_FFFF);
        }
        self.segment_checked(seg, offset, len, access)
    }

    /// A load the processor does for itself (descriptor, TSS, IDT entry): supervisor access at a linear address.
    ///
    /// # Errors
    /// #PF or an exit.
    #[inline]
    pub fn load_system<T: Int>(&mut self, bus: &mut dyn Bus, at: u64) -> Result<T, Abort> {
        let e = self.tlb.slot(SUPERVISOR, at);
        if e.read == self.tlb.tag_in(SUPERVISOR, at.wrapping_add(T::BYTES as u64 - 1)) {
            // SAFETY: as in `load_at`.
            return Ok(unsafe { host::<T>(e, at).read_unaligned() });
        }
        let mut b = [0; 8];
        self.load_system_slow(bus, at, &mut b[..T::BYTES])?;
        Ok(T::from_le(&b))
    }

    /// A store the processor does for itself (accessed and busy bits, TSS, interrupt frames on another stack).
    ///
    /// # Errors
    /// #PF or an exit.
    #[inline]
    pub fn store_system<T: Int>(&mut self, bus: &mut dyn Bus, at: u64, value: T) -> Result<(), Abort> {
        let e = self.tlb.slot(SUPERVISOR, at);
        if e.write == self.tlb.tag_in(SUPERVISOR, at.wrapping_add(T::BYTES as u64 - 1)) {
            // SAFETY: as in `store_at`.
            unsafe { host::<T>(e, at).write_unaligned(value) };
            if marked(e) {
                self.written(*e, at, T::BYTES);
            }
            return Ok(());
        }
        self.store_system_slow(bus, at, &value.to_u64().to_le_bytes()[..T::BYTES])
    }

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

/// Host address of `at` by its entry.
#[inline(always)]
pub(crate) fn host<T>(e: &Entry, at: u64) -> *mut T {
    (at as usize).wrapping_add(e.addend) as *mut T
}

/// Whether somebody wants to know of stores to the entry's page. To be asked after the store (the store protocol of
/// guest-memory); the fence keeps the compiler from asking before.
#[inline(always)]
pub(crate) fn marked(e: &Entry) -> bool {
    compiler_fence(Ordering::SeqCst);
    // SAFETY: flag bytes live as long as their block, which the TLB keeps alive while it has the entry.
    unsafe { (*e.flags).load(Ordering::Relaxed) != 0 }
}
