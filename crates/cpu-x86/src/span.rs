//! Bulk access to guest memory for string instructions: a piece of one page as host memory.

use std::sync::Arc;

use guest_memory::RamBlock;

use crate::bus::Bus;
use crate::fault::{Abort, Access};
use crate::mem::{Int, host, marked};
use crate::state::{Cpu, Seg};
use crate::tlb::{Entry, UNCACHED};

/// Part of a page of guest memory, access rights checked. Keeps its block alive.
#[derive(Clone)]
pub struct Span {
    block: Arc<RamBlock>,
    offset: u64,
    len: usize,
}

impl Cpu {
    /// The first of `want` bytes at `offset` in `seg` as host memory: as many as are in the first page, and inside
    /// the segment. `None` when the way through [`Cpu::load_at`] and [`Cpu::store_at`] has to be taken: devices, ROM
    /// (for stores), less than one byte, data breakpoints, alignment checking, segments not wholly covering it.
    ///
    /// # Errors
    /// As [`Cpu::load`], for the first byte.
    pub fn host_span(
        &mut self,
        bus: &mut dyn Bus,
        seg: Seg,
        offset: u64,
        want: usize,
        access: Access,
    ) -> Result<Option<Span>, Abort> {
        if want == 0 || !self.may_have_spans() {
            return Ok(None);
        }
        let at = self.linear(seg, offset, 1, access)?;
        let len = want.min(4096 - (at as usize & 0xFFF));
        if self.linear(seg, offset, len, access).is_err() {
            return Ok(None); // the element-wise way raises the fault at the right element
        }
        let known = self.known_at(at, len, access);
        if known.is_some() {
            return Ok(known);
        }
        if access == Access::Write {
            self.check_write(bus, seg, offset, 1)?;
        } else if let Some(canonical) = crate::walk::is_canonical(at).then_some(at) {
            self.resolve(bus, canonical, access, self.tlb.base)?;
        }
        Ok(self.known_at(at, len, access))
    }

    /// Not without the TLB, nor with data breakpoints.
    fn may_have_spans(&self) -> bool {
        self.tlb.base != UNCACHED && self.dr[7] & 0xFF == 0
    }

    /// [`Cpu::host_span`] for stores, where the TLB knows it already: nothing is looked up and nothing can fault.
    pub(crate) fn known_span(&mut self, seg: Seg, offset: u64, want: usize) -> Option<Span> {
        if want == 0 || !self.may_have_spans() {
            return None;
        }
        let at = self.linear(seg, offset, 1, Access::Write).ok()?;
        let len = want.min(4096 - (at as usize & 0xFFF));
        self.linear(seg, offset, len, Access::Write).ok()?;
        self.known_at(at, len, Access::Write)
    }

    /// The last of `want` bytes below the offset `end` in `seg` that are in the page of the last one, if the TLB knows it already:
    /// nothing is looked up and nothing can fault.
    pub(crate) fn known_span_below(&mut self, seg: Seg, end: u64, want: usize, access: Access) -> Option<Span> {
        if want == 0 || !self.may_have_spans() {
            return None;
        }
        let last = self.linear(seg, end.checked_sub(1)?, 1, access).ok()?;
        let len = want.min((last as usize & 0xFFF) + 1);
        let at = self.linear(seg, end.checked_sub(len as u64)?, len, access).ok()?;
        self.known_at(at, len, access)
    }

    /// The bytes of one page at a linear address, if the TLB knows it for this access.
    fn known_at(&self, at: u64, len: usize, access: Access) -> Option<Span> {
        let e = self.tlb.data(at);
        let tag = if access == Access::Write { e.write } else { e.read };
        (tag == self.tlb.tag(at)).then(|| Span {
            block: self.tlb.block(e.block).clone(),
            offset: e.offset + (at & 0xFFF),
            len,
        })
    }

    /// Copies `count` elements upwards as REP MOVS does, if each of both ranges is in a page that the TLB has: whether it did. Offsets in
    /// segments; they do not wrap.
    #[inline(always)]
    pub(crate) fn copy_in_pages<T: Int>(&mut self, from: (Seg, u64), to: (Seg, u64), count: u64) -> bool {
        let Some((n, source, e)) = self.in_page::<T>(from, count, Access::Read) else { return false };
        let Some((_, target, f)) = self.in_page::<T>(to, count, Access::Write) else { return false };
        // SAFETY: `in_page` says that these are inside pages that the TLB keeps alive.
        unsafe { copy_up::<T>(host::<u8>(&e, source), host::<u8>(&f, target), n) };
        if marked(&f) {
            self.written(f, target, n);
        }
        true
    }

    /// Stores `value` in `count` elements, likewise.
    #[inline(always)]
    pub(crate) fn fill_in_page<T: Int>(&mut self, to: (Seg, u64), value: T, count: u64) -> bool {
        let Some((n, target, f)) = self.in_page::<T>(to, count, Access::Write) else { return false };
        // SAFETY: as above.
        unsafe { fill_up::<T>(host::<u8>(&f, target), value, n) };
        if marked(&f) {
            self.written(f, target, n);
        }
        true
    }

    /// The bytes of `count` elements, their linear address and the TLB's entry, if they are all in one page that it has for this access.
    #[inline(always)]
    fn in_page<T: Int>(
        &mut self,
        (seg, offset): (Seg, u64),
        count: u64,
        access: Access,
    ) -> Option<(usize, u64, Entry)> {
        if count == 0 || count > (4096 / T::BYTES) as u64 {
            return None;
        }
        let n = count as usize * T::BYTES;
        let at = self.linear(seg, offset, n, access).ok()?;
        let e = *self.tlb.data(at);
        let tag = if access == Access::Write { e.write } else { e.read };
        (tag == self.tlb.tag(at.wrapping_add(n as u64 - 1))).then_some((n, at, e))
    }

    /// Whether a store to `offset` in `seg` is known to go to a device.
    pub(crate) fn is_known_device(&mut self, seg: Seg, offset: u64) -> bool {
        self.linear(seg, offset, 1, Access::Write)
            .is_ok_and(|at| self.tlb.device(self.tlb.base, at, Access::Write).is_some())
    }
}

/// Copies `n` bytes, whole elements, upwards: where the ranges overlap, what was stored is loaded again.
///
/// # Safety
/// Both ranges are valid.
#[inline(always)]
unsafe fn copy_up<T: Int>(source: *const u8, to: *mut u8, n: usize) {
    let distance = (to as usize).wrapping_sub(source as usize);
    if distance == 0 || distance >= n {
        // SAFETY: the caller's; `copy` allows overlap (the target is below the source).
        unsafe { std::ptr::copy(source, to, n) };
        return;
    }
    for i in (0..n).step_by(T::BYTES) {
        // SAFETY: the caller's.
        unsafe {
            let v = source.add(i).cast::<T>().read_unaligned();
            to.add(i).cast::<T>().write_unaligned(v);
        }
    }
}

/// The same downwards.
///
/// # Safety
/// Both ranges are valid.
unsafe fn copy_down<T: Int>(source: *const u8, to: *mut u8, n: usize) {
    let distance = (source as usize).wrapping_sub(to as usize);
    if distance == 0 || distance >= n {
        // SAFETY: the caller's; `copy` allows overlap (the target is above the source).
        unsafe { std::ptr::copy(source, to, n) };
        return;
    }
    for i in (0..n).step_by(T::BYTES).rev() {
        // SAFETY: the caller's.
        unsafe {
            let v = source.add(i).cast::<T>().read_unaligned();
            to.add(i).cast::<T>().write_unaligned(v);
        }
    }
}

/// Stores `value` in `n` bytes, whole elements.
///
/// # Safety
/// The range is valid.
#[inline(always)]
unsafe fn fill_up<T: Int>(to: *mut u8, value: T, n: usize) {
    for i in (0..n).step_by(T::BYTES) {
        // SAFETY: the caller's.
        unsafe { to.add(i).cast::<T>().write_unaligned(value) };
    }
}

impl Span {
    /// Bytes in the span.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn host(&self) -> *mut u8 {
        self.block.host_ptr(self.offset)
    }

    /// Copies the first `bytes` bytes of `from` here, in elements of `T`, upwards: where the ranges overlap, what was
    /// stored is loaded again, as REP MOVS does. Returns how many bytes (whole elements) fitted both spans.
    pub fn copy_from<T: Int>(&self, cpu: &mut Cpu, from: &Span, bytes: usize) -> usize {
        let n = bytes.min(self.len).min(from.len) / T::BYTES * T::BYTES;
        let (to, source) = (self.host(), from.host());
        // SAFETY: both ranges are inside live blocks.
        unsafe { copy_up::<T>(source, to, n) };
        self.written(cpu, n);
        n
    }

    /// Copies the last `bytes` bytes of `from` to the last ones here, downwards: as [`Span::copy_from`] otherwise.
    pub fn copy_down_from<T: Int>(&self, cpu: &mut Cpu, from: &Span, bytes: usize) -> usize {
        let n = bytes.min(self.len).min(from.len) / T::BYTES * T::BYTES;
        let (to, source) = (self.last(n), from.last(n));
        // SAFETY: both ranges are inside live blocks.
        unsafe { copy_down::<T>(source.host(), to.host(), n) };
        to.written(cpu, n);
        n
    }

    /// The last `n` bytes, of which there are so many.
    fn last(&self, n: usize) -> Self {
        Self { block: self.block.clone(), offset: self.offset + (self.len - n) as u64, len: n }
    }

    /// Stores `value` over and over in the first `bytes` bytes. Returns how many bytes (whole elements) fitted.
    pub fn fill<T: Int>(&self, cpu: &mut Cpu, value: T, bytes: usize) -> usize {
        let n = bytes.min(self.len) / T::BYTES * T::BYTES;
        let to = self.host();
        // SAFETY: inside the span.
        unsafe { fill_up::<T>(to, value, n) };
        self.written(cpu, n);
        n
    }

    /// The element at byte `at` of the span; `None` when it is not wholly inside.
    pub fn get<T: Int>(&self, at: usize) -> Option<T> {
        let end = at.checked_add(T::BYTES)?;
        // SAFETY: inside the span.
        (end <= self.len).then(|| unsafe { self.host().add(at).cast::<T>().read_unaligned() })
    }

    /// Copies the first bytes out, as many as `out` and the span have.
    pub fn read(&self, out: &mut [u8]) -> usize {
        let n = out.len().min(self.len);
        self.block.read(self.offset, &mut out[..n]);
        n
    }

    /// Copies `data` to the start of the span, as much as fits.
    pub fn write(&self, cpu: &mut Cpu, data: &[u8]) -> usize {
        let n = data.len().min(self.len);
        // SAFETY: inside the span; `data` is not guest memory.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.host(), n) };
        self.written(cpu, n);
        n
    }

    fn written(&self, cpu: &mut Cpu, n: usize) {
        use std::sync::atomic::{Ordering, compiler_fence};
        if n == 0 {
            return;
        }
        compiler_fence(Ordering::SeqCst);
        let version = self.block.code_version(self.offset).load(Ordering::Relaxed);
        self.block.after_write(self.offset, n as u64);
        if self.block.code_version(self.offset).load(Ordering::Relaxed) != version {
            cpu.stop_block = true;
        }
    }
}
