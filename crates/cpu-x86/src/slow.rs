//! The slow path of memory accesses: TLB refills, page crossings, devices, segment and alignment checks, data
//! breakpoints, locked accesses across pages (Intel SDM volume 3, 5.3, 6.15, 8.1.2.2, 17.2).

use std::sync::atomic::{Ordering, compiler_fence};

use guest_memory::PAGE_SIZE;

use crate::atomic;
use crate::bus::{Attention, Bus};
use crate::fault::{Abort, AbortKind, Access, Exception, vector};
use crate::flags::rflags;
use crate::mem::Int;
use crate::state::{Cpu, Mode, Seg, cr::*};
use crate::tlb::{Entry, Phys, SUPERVISOR, SUPERVISOR_AC, UNCACHED, USER};
use crate::walk::{Request, WalkFault, is_canonical};

/// Largest access handed to the bus at once.
const DEVICE_ACCESS: usize = 64;

/// A page ready for an access.
#[derive(Clone, Copy)]
pub(crate) struct Page {
    pub(crate) phys: Phys,
    /// Linear address of the first byte of the access in it.
    pub(crate) at: u64,
}

impl Page {
    pub(crate) fn gpa(&self) -> u64 {
        self.phys.gpa | self.at & 0xFFF
    }
}

/// Whether `second` is writable memory right behind `first`'s page, in the host as in the guest's block.
fn adjoins(first: &Page, second: &Page) -> bool {
    let (a, b) = (&first.phys, &second.phys);
    b.writable && a.block == b.block && a.offset.wrapping_add(PAGE_SIZE) == b.offset && !b.host.is_null()
}

impl Cpu {
    /// Limit, type and presence checks; legacy and compatibility mode only.
    #[inline(never)]
    pub(crate) fn segment_checked(&mut self, seg: Seg, offset: u64, len: usize, access: Access) -> Result<u64, Abort> {
        let s = self.segs[seg as usize % 6];
        let typed = self.mode.has(Mode::PROTECTED) && !self.mode.has(Mode::V86);
        let kind = s.kind();
        let bad_type = typed
            && (!s.present()
                || match access {
                    Access::Write => kind & 8 != 0 || kind & 2 == 0,
                    _ => kind & 8 != 0 && kind & 2 == 0,
                });
        let last = offset.wrapping_add(len as u64).wrapping_sub(1);
        let limit = u64::from(s.limit);
        let outside = if typed && kind & 0xC == 4 {
            let top = if s.big() { 0xFFFF_FFFF } else { 0xFFFF };
            offset <= limit || last > top
        } else {
            last > limit
        };
        if bad_type || outside || last < offset {
            return Err(self.raise_error(if seg == Seg::Ss { vector::SS } else { vector::GP }, 0));
        }
        Ok(s.base.wrapping_add(offset) & 0xFFFF_FFFF)
    }

    /// Canonical and alignment checks of a data access.
    fn check_address(&mut self, seg: Seg, at: u64, len: usize) -> Result<(), Abort> {
        let last = at.wrapping_add(len as u64).wrapping_sub(1);
        if self.mode.has(Mode::CODE64) && !(is_canonical(at) && is_canonical(last)) {
            return Err(self.raise_error(if seg == Seg::Ss { vector::SS } else { vector::GP }, 0));
        }
        let unit = if len == 10 { 8 } else { len as u64 };
        if self.mode.has(Mode::ALIGN) && matches!(unit, 2 | 4 | 8) && at & (unit - 1) != 0 {
            return Err(self.raise_error(vector::AC, 0));
        }
        Ok(())
    }

    /// What raises or leaves for a failed translation.
    fn translation_failed(&mut self, at: u64, access: Access, fault: WalkFault) -> Abort {
        match fault {
            WalkFault::Page(code) => {
                self.raise_exception(Exception { vector: vector::PF, error: Some(code), payload: at })
            }
            WalkFault::NonCanonical => self.gp(0),
            WalkFault::Leave { gpa } => self.leave(AbortKind::Memory { gpa, gva: at, len: 8, access }),
        }
    }

    /// The page of `at` for the accessor that owns the TLB table at `base`; enters it there.
    pub(crate) fn resolve(&mut self, bus: &mut dyn Bus, at: u64, access: Access, base: usize) -> Result<Page, Abort> {
        // Accesses across pages, and in lockstep everything, come here.
        if access != Access::Fetch
            && let Some(phys) = self.tlb.cached(base, at, access == Access::Write)
        {
            return Ok(Page { phys, at });
        }
        let request =
            Request { access, user: base == USER || base == UNCACHED, ac: base == SUPERVISOR_AC, update: true };
        if base != UNCACHED
            && let Some(phys) = self.tlb.device(base, at, access)
        {
            return Ok(Page { phys, at });
        }
        let t = self.translate(bus, at, request).map_err(|f| self.translation_failed(at, access, f))?;
        let phys = self.tlb.physical(bus, t.gpa);
        if phys.host.is_null() && base != UNCACHED {
            self.tlb.note_device(base, at, phys.gpa, self.rights(&t, request));
        }
        if !phys.host.is_null() && base != UNCACHED {
            let mut allowed = self.rights(&t, request);
            if self.watched(at & !0xFFF, PAGE_SIZE, None) != 0 {
                (allowed.read, allowed.write) = (false, false);
            }
            self.tlb.fill(base, at, &phys, allowed, (t.shift, t.global));
        }
        Ok(Page { phys, at })
    }

    /// The one or two pages of an access.
    fn resolve_all(
        &mut self,
        bus: &mut dyn Bus,
        at: u64,
        len: usize,
        access: Access,
        base: usize,
    ) -> Result<[Option<(Page, usize)>; 2], Abort> {
        let first = (4096 - (at as usize & 0xFFF)).min(len);
        let page = self.resolve(bus, at, access, base)?;
        let mut pages = [Some((page, first)), None];
        if first < len {
            let next = self.wrap_linear(at.wrapping_add(first as u64));
            pages[1] = Some((self.resolve(bus, next, access, base)?, len - first));
        }
        Ok(pages)
    }

    /// Linear addresses have 32 bits outside IA-32e mode.
    fn wrap_linear(&self, at: u64) -> u64 {
        if self.msr.efer & EFER_LMA != 0 { at } else { at & 0xFFFF_FFFF }
    }

    fn read_page(&mut self, bus: &mut dyn Bus, page: &Page, out: &mut [u8], access: Access) -> Result<(), Abort> {
        if !page.phys.host.is_null() {
            let from = page.phys.host.wrapping_add(page.at as usize & 0xFFF);
            // SAFETY: a page of a block that the TLB keeps alive; `resolve_all` gave the piece's length inside it.
            unsafe { std::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), out.len()) };
            return Ok(());
        }
        self.no_device_in_rehearsal()?;
        let mut gpa = page.gpa();
        for part in out.chunks_mut(DEVICE_ACCESS) {
            if bus.mem_read(gpa, part).is_err() {
                let kind = AbortKind::Memory { gpa, gva: page.at, len: part.len() as u8, access };
                return Err(self.leave(kind));
            }
            gpa += part.len() as u64;
        }
        self.device_answered();
        Ok(())
    }

    fn write_page(&mut self, bus: &mut dyn Bus, page: &Page, data: &[u8]) -> Result<(), Abort> {
        if page.phys.writable {
            let to = page.phys.host.wrapping_add(page.at as usize & 0xFFF);
            if let Some(r) = &mut self.rehearsal {
                r.store(to, data);
                return Ok(());
            }
            // SAFETY: as in `read_page`.
            unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) };
            self.tell(page.phys.block, page.phys.offset + (page.at & 0xFFF), data.len());
            return Ok(());
        }
        self.no_device_in_rehearsal()?;
        let mut gpa = page.gpa();
        for part in data.chunks(DEVICE_ACCESS) {
            if bus.mem_write(gpa, part).is_err() {
                let kind = AbortKind::Memory { gpa, gva: page.at, len: part.len() as u8, access: Access::Write };
                return Err(self.leave(kind));
            }
            gpa += part.len() as u64;
        }
        self.device_answered();
        Ok(())
    }

    /// The TLB table that the instruction's data accesses belong to.
    fn data_table(&self) -> usize {
        self.rehearsal.as_ref().map_or(self.tlb.base, |r| r.table)
    }

    /// A rehearsed instruction must not reach devices: it is to be run for good.
    fn no_device_in_rehearsal(&mut self) -> Result<(), Abort> {
        match &mut self.rehearsal {
            None => Ok(()),
            Some(r) => {
                r.device = true;
                Err(self.leave(AbortKind::Retry))
            }
        }
    }

    /// A device access may have raised an interrupt or changed the physical map: nothing but this instruction may
    /// use what is cached.
    fn device_answered(&mut self) {
        let asked = self.attention.load(Ordering::Relaxed);
        // Interrupts that the guest has switched off wait for the instruction that switches them on, which ends its block.
        let held_back = if self.sysflags & rflags::IF == 0 { Attention::INTR | Attention::INTR_WINDOW } else { 0 };
        if asked & !held_back != 0 {
            self.stop_block = true;
        }
    }

    fn load_pages(&mut self, bus: &mut dyn Bus, at: u64, out: &mut [u8], base: usize) -> Result<(), Abort> {
        let mut rest = out;
        for (page, n) in self.resolve_all(bus, at, rest.len(), Access::Read, base)?.into_iter().flatten() {
            let (part, after) = rest.split_at_mut(n);
            self.read_page(bus, &page, part, Access::Read)?;
            rest = after;
        }
        Ok(())
    }

    fn store_pages(&mut self, bus: &mut dyn Bus, at: u64, data: &[u8], base: usize) -> Result<(), Abort> {
        let mut rest = data;
        for (page, n) in self.resolve_all(bus, at, data.len(), Access::Write, base)?.into_iter().flatten() {
            let (part, after) = rest.split_at(n);
            self.write_page(bus, &page, part)?;
            rest = after;
        }
        Ok(())
    }

    /// The page of a string instruction's elements at `offset` in `seg` when it is a device's, and how many of `want`
    /// bytes are in it; `None` when they have to go one by one ([`Cpu::host_span`] has the list of reasons, and a
    /// rehearsal, which stops at devices).
    fn device_elements(
        &mut self,
        bus: &mut dyn Bus,
        seg: Seg,
        offset: u64,
        want: usize,
        access: Access,
    ) -> Result<Option<(Page, usize)>, Abort> {
        if want == 0 || self.tlb.base == UNCACHED || self.dr[7] & 0xFF != 0 || self.rehearsal.is_some() {
            return Ok(None);
        }
        let at = self.linear(seg, offset, 1, access)?;
        let len = want.min(4096 - (at as usize & 0xFFF));
        if self.linear(seg, offset, len, access).is_err() || !is_canonical(at) {
            return Ok(None);
        }
        let page = self.resolve(bus, at, access, self.tlb.base)?;
        Ok(page.phys.host.is_null().then_some((page, len)))
    }

    /// Stores the elements of `T` in `data` to a device at `offset` in `seg`, one after the other: how many bytes. With 0
    /// they have to go another way.
    ///
    /// # Errors
    /// As [`Cpu::store_at`], for the first element.
    pub(crate) fn store_elements<T: Int>(
        &mut self,
        bus: &mut dyn Bus,
        seg: Seg,
        offset: u64,
        data: &[u8],
    ) -> Result<usize, Abort> {
        let Some((page, len)) = self.device_elements(bus, seg, offset, data.len(), Access::Write)? else {
            return Ok(0);
        };
        let done = match data.get(..len / T::BYTES * T::BYTES) {
            Some(data) if !data.is_empty() => bus.mem_write_elements(page.gpa(), T::BYTES, data).min(data.len()),
            _ => 0,
        };
        self.device_answered();
        Ok(done / T::BYTES * T::BYTES)
    }

    /// Loads elements likewise, from `offset` in `seg` into `data`.
    ///
    /// # Errors
    /// As [`Cpu::load_at`], for the first element.
    pub(crate) fn load_elements<T: Int>(
        &mut self,
        bus: &mut dyn Bus,
        seg: Seg,
        offset: u64,
        data: &mut [u8],
    ) -> Result<usize, Abort> {
        let Some((page, len)) = self.device_elements(bus, seg, offset, data.len(), Access::Read)? else { return Ok(0) };
        let done = match data.get_mut(..len / T::BYTES * T::BYTES) {
            Some(data) if !data.is_empty() => bus.mem_read_elements(page.gpa(), T::BYTES, data).min(data.len()),
            _ => 0,
        };
        self.device_answered();
        Ok(done / T::BYTES * T::BYTES)
    }

    /// Moves elements, `want` bytes of them, between devices, each load before its store.
    ///
    /// # Errors
    /// As the first load or store.
    pub(crate) fn copy_elements<T: Int>(
        &mut self,
        bus: &mut dyn Bus,
        (from, source): (Seg, u64),
        (to, target): (Seg, u64),
        want: usize,
    ) -> Result<usize, Abort> {
        let Some((from, n)) = self.device_elements(bus, from, source, want, Access::Read)? else { return Ok(0) };
        let Some((to, m)) = self.device_elements(bus, to, target, want, Access::Write)? else { return Ok(0) };
        let count = n.min(m) / T::BYTES;
        if count == 0 {
            return Ok(0);
        }
        let done = bus.mem_copy_elements(from.gpa(), to.gpa(), T::BYTES, count).min(count * T::BYTES);
        self.device_answered();
        Ok(done / T::BYTES * T::BYTES)
    }

    /// A load that the TLB does not serve.
    #[cold]
    #[inline(never)]
    pub(crate) fn load_slow(&mut self, bus: &mut dyn Bus, seg: Seg, at: u64, out: &mut [u8]) -> Result<(), Abort> {
        if out.is_empty() {
            return Ok(());
        }
        self.check_address(seg, at, out.len())?;
        self.load_pages(bus, at, out, self.data_table())?;
        self.watch(at, out.len(), Access::Read);
        Ok(())
    }

    /// A store that the TLB does not serve.
    #[cold]
    #[inline(never)]
    pub(crate) fn store_slow(&mut self, bus: &mut dyn Bus, seg: Seg, at: u64, data: &[u8]) -> Result<(), Abort> {
        if data.is_empty() {
            return Ok(());
        }
        self.check_address(seg, at, data.len())?;
        self.store_pages(bus, at, data, self.data_table())?;
        self.watch(at, data.len(), Access::Write);
        Ok(())
    }

    /// [`Cpu::load_slow`] for integers.
    #[cold]
    #[inline(never)]
    pub(crate) fn load_miss<T: Int>(&mut self, bus: &mut dyn Bus, seg: Seg, at: u64) -> Result<T, Abort> {
        let mut b = [0; 8];
        self.load_slow(bus, seg, at, &mut b[..T::BYTES])?;
        Ok(T::from_le(&b))
    }

    /// [`Cpu::store_slow`] for integers.
    #[cold]
    #[inline(never)]
    pub(crate) fn store_miss(
        &mut self,
        bus: &mut dyn Bus,
        seg: Seg,
        at: u64,
        value: u64,
        len: usize,
    ) -> Result<(), Abort> {
        self.store_slow(bus, seg, at, &value.to_le_bytes()[..len])
    }

    /// A read-modify-write that the TLB does not serve.
    #[cold]
    #[inline(never)]
    pub(crate) fn modify_miss<T: Int>(
        &mut self,
        bus: &mut dyn Bus,
        seg: Seg,
        at: u64,
        lock: bool,
        f: &mut dyn FnMut(&mut Cpu, T) -> T,
    ) -> Result<(), Abort> {
        self.check_address(seg, at, T::BYTES)?;
        let base = self.data_table();
        let pages = self.resolve_all(bus, at, T::BYTES, Access::Write, base)?;
        if let [Some((page, n)), second] = pages
            && page.phys.writable
            && second.is_none_or(|(second, _)| adjoins(&page, &second))
            && self.rehearsal.is_none()
        {
            // Across a page the host locks its bus itself, as long as the two are neighbours there too.
            let p = page.phys.host.wrapping_add(page.at as usize & 0xFFF).cast::<T>();
            loop {
                // SAFETY: inside one writable page, or two in a row, of a block that the TLB keeps alive.
                let old = unsafe { p.read_unaligned() };
                let new = f(self, old);
                // SAFETY: as above.
                if unsafe { T::exchange(p, old, new) } == old {
                    break;
                }
            }
            self.tell(page.phys.block, page.phys.offset + (at & 0xFFF), n);
            if let Some((second, n)) = second {
                self.tell(second.phys.block, second.phys.offset, n);
            }
        } else {
            let [first, second] = &pages;
            let apart = second.is_some() && [first, second].into_iter().flatten().all(|(page, _)| page.phys.writable);
            if lock && apart && self.rehearsal.is_none() && bus.exclude() {
                // While this processor waited for the others the map may have changed.
                self.drop_old_map();
                let done = self.modify_in_steps(bus, at, base, lock, f);
                bus.readmit();
                done?;
            } else {
                self.modify_in_steps(bus, at, base, lock, f)?;
            }
        }
        self.watch(at, T::BYTES, Access::Write);
        Ok(())
    }

    /// A read-modify-write of devices, or of pages that are apart in the host: with `lock` only others of this kind are kept
    /// out here.
    fn modify_in_steps<T: Int>(
        &mut self,
        bus: &mut dyn Bus,
        at: u64,
        base: usize,
        lock: bool,
        f: &mut dyn FnMut(&mut Cpu, T) -> T,
    ) -> Result<(), Abort> {
        let pages = self.resolve_all(bus, at, T::BYTES, Access::Write, base)?;
        let _guard = lock.then(atomic::bus_lock);
        let mut b = [0; 8];
        let mut done = 0;
        for (page, n) in pages.iter().flatten() {
            self.read_page(bus, page, &mut b[done..done + n], Access::Write)?;
            done += n;
        }
        let new = f(self, T::from_le(&b)).to_u64().to_le_bytes();
        done = 0;
        for (page, n) in pages.iter().flatten() {
            self.write_page(bus, page, &new[done..done + n])?;
            done += n;
        }
        Ok(())
    }

    /// CMPXCHG16B's access: replaces the 16 bytes at `offset` by `new` when they equal `expected`, atomically with
    /// `lock`; returns what was there. Always a store access (the old value is written back on a mismatch).
    ///
    /// # Errors
    /// As [`Cpu::modify`], and #GP(0) when the address is not a multiple of 16.
    pub fn compare_exchange_16(
        &mut self,
        bus: &mut dyn Bus,
        seg: Seg,
        offset: u64,
        expected: u128,
        new: u128,
        _lock: bool,
    ) -> Result<u128, Abort> {
        let at = self.linear(seg, offset, 16, Access::Write)?;
        self.check_address(seg, at, 16)?;
        if at & 15 != 0 {
            return Err(self.gp(0));
        }
        let page = self.resolve(bus, at, Access::Write, self.data_table())?;
        let old = if page.phys.writable && self.rehearsal.is_none() {
            let p = page.phys.host.wrapping_add(at as usize & 0xFFF).cast::<u128>();
            // SAFETY: inside a writable page of a block that the TLB keeps alive, aligned because pages are.
            let old = unsafe { atomic::exchange_128(p, expected, new) };
            self.tell(page.phys.block, page.phys.offset + (at & 0xFFF), 16);
            old
        } else {
            let mut b = [0; 16];
            self.read_page(bus, &page, &mut b, Access::Write)?;
            let old = u128::from_le_bytes(b);
            self.write_page(bus, &page, &if old == expected { new } else { old }.to_le_bytes())?;
            old
        };
        self.watch(at, 16, Access::Write);
        Ok(old)
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn check_write_slow(&mut self, bus: &mut dyn Bus, seg: Seg, at: u64, len: usize) -> Result<(), Abort> {
        if len == 0 {
            return Ok(());
        }
        self.check_address(seg, at, len)?;
        self.resolve_all(bus, at, len, Access::Write, self.data_table()).map(drop)
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn load_system_slow(&mut self, bus: &mut dyn Bus, at: u64, out: &mut [u8]) -> Result<(), Abort> {
        let at = self.wrap_linear(at);
        self.load_pages(bus, at, out, SUPERVISOR)
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn store_system_slow(&mut self, bus: &mut dyn Bus, at: u64, data: &[u8]) -> Result<(), Abort> {
        let at = self.wrap_linear(at);
        self.store_pages(bus, at, data, SUPERVISOR)
    }

    /// The rest of the store protocol for a fast store to a page whose flags are not zero.
    #[cold]
    #[inline(never)]
    pub(crate) fn written(&mut self, e: Entry, at: u64, len: usize) {
        self.tell(e.block, e.offset + (at & 0xFFF), len);
    }

    /// The store protocol; ends the running block when decoded code went stale (it may be the block's own).
    pub(crate) fn tell(&mut self, block: u32, offset: u64, len: usize) {
        compiler_fence(Ordering::SeqCst); // bytes first, flags afterwards
        let ram = self.tlb.block(block);
        let version = ram.code_version(offset).load(Ordering::Relaxed);
        ram.after_write(offset, len as u64);
        if ram.code_version(offset).load(Ordering::Relaxed) != version {
            self.stop_block = true;
        }
    }

    /// DR6 bits of the enabled data breakpoints that the range touches (any kind of access with `None`).
    fn watched(&self, at: u64, len: u64, access: Option<Access>) -> u64 {
        let dr7 = self.dr[7];
        if dr7 & 0xFF == 0 {
            return 0;
        }
        let mut hits = 0;
        for n in 0..4 {
            let (kind, size) = (dr7 >> (16 + 4 * n) & 3, dr7 >> (18 + 4 * n) & 3);
            let fits = match kind {
                1 => access != Some(Access::Read),
                3 => true,
                _ => false,
            };
            let bytes = [1, 2, 8, 4][size as usize];
            let start = self.dr[n] & !(bytes - 1);
            if dr7 >> (2 * n) & 3 != 0 && fits && at < start.wrapping_add(bytes) && start < at.wrapping_add(len) {
                hits |= 1 << n;
            }
        }
        hits
    }

    /// Notes the data breakpoints an access hit; the trap comes after the instruction.
    fn watch(&mut self, at: u64, len: usize, access: Access) {
        let hits = self.watched(at, len as u64, Some(access));
        if hits != 0 {
            self.pending_db |= hits;
            self.stop_block = true;
        }
    }
}
