//! Page walks (Intel SDM volume 3, 4.3 to 4.7): 32-bit paging with 4 MiB pages and PSE-36, PAE, 4-level with 2 MiB and
//! 1 GiB pages; NX, WP, SMEP, SMAP, reserved bits, accessed and dirty bits. Left out, and not in any CPU model:
//! 5-level paging and protection keys. Memory types (PAT, MTRR) mean nothing here.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::bus::{Bus, Untranslated};
use crate::fault::Access;
use crate::state::{Cpu, cr::*};
use crate::tlb::Allowed;

const P: u64 = 1 << 0;
const W: u64 = 1 << 1;
const U: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const NX: u64 = 1 << 63;

/// Page-fault error code bits.
mod code {
    pub(super) const P: u32 = 1;
    pub(super) const W: u32 = 2;
    pub(super) const U: u32 = 4;
    pub(super) const RSVD: u32 = 8;
    pub(super) const I: u32 = 16;
}

/// Who accesses, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Load, store or fetch.
    pub access: Access,
    /// User-mode access (CPL 3 and not implicit).
    pub user: bool,
    /// RFLAGS.AC lets an explicit supervisor access through SMAP.
    pub ac: bool,
    /// Set accessed and dirty bits.
    pub update: bool,
}

/// Where a linear page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Guest-physical address of the byte asked for.
    pub gpa: u64,
    /// log2 of the page size.
    pub shift: u32,
    user: bool,
    writable: bool,
    nx: bool,
    dirty: bool,
    /// It outlives loads of CR3.
    pub(crate) global: bool,
}

/// Why there is no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkFault {
    /// #PF with this error code.
    Page(u32),
    /// The address is not canonical.
    NonCanonical,
    /// A paging structure lies in a device that did not serve the read.
    Leave {
        /// Guest-physical address of the paging-structure entry.
        gpa: u64,
    },
}

/// One entry on the way: address, value, bits to set.
type Step = (u64, u64, u64);

/// The kind of paging in use and what it makes reserved.
#[derive(Clone, Copy)]
struct Format {
    wide: bool,
    long: bool,
    nxe: bool,
    pse: bool,
    gigabyte: bool,
    phys_bits: u32,
}

impl Format {
    /// Reserved bits of a present entry at the level that maps `1 << shift` bytes.
    fn reserved(&self, e: u64, shift: u32, large: bool) -> bool {
        if !self.wide {
            // PSE-36: bits 20:13 are address bits 39:32.
            let beyond = if self.phys_bits >= 40 { 0 } else { 0xFF << (self.phys_bits - 32) & 0xFF };
            return large && e & (1 << 21 | beyond << 13) != 0;
        }
        let top = if self.long { 52 } else { 63 };
        let mut mask = (1 << top) - (1 << self.phys_bits);
        if !self.nxe {
            mask |= NX;
        }
        if shift == 39 || shift == 30 && !self.gigabyte {
            mask |= PS;
        }
        if large {
            mask |= (1 << shift) - (1 << 13);
        }
        e & mask != 0
    }

    /// Whether an entry at this level maps a page.
    fn is_leaf(&self, e: u64, shift: u32) -> bool {
        shift == 12 || e & PS != 0 && if self.wide { shift == 21 || shift == 30 } else { self.pse }
    }

    /// The address of the page or the next structure.
    fn address(&self, e: u64, shift: u32, leaf: bool) -> u64 {
        let low = if leaf { !((1u64 << shift) - 1) } else { !0xFFF };
        if self.wide {
            e & 0x000F_FFFF_FFFF_FFFF & low
        } else if leaf && shift == 22 {
            e & 0xFFC0_0000 | (e >> 13 & 0xFF) << 32
        } else {
            e & 0xFFFF_F000
        }
    }
}

impl Cpu {
    /// Translates a linear address. With `update` clear it has no side effects (`WHvTranslateGva`).
    ///
    /// # Errors
    /// [`WalkFault`]; nothing is raised.
    pub fn translate(&mut self, bus: &mut dyn Bus, at: u64, request: Request) -> Result<Translation, WalkFault> {
        if self.msr.efer & EFER_LMA != 0 && !is_canonical(at) {
            return Err(WalkFault::NonCanonical);
        }
        if self.cr0 & CR0_PG == 0 {
            let gpa = at & 0xFFFF_FFFF;
            return Ok(Translation {
                gpa,
                shift: 12,
                user: true,
                writable: true,
                nx: false,
                dirty: true,
                global: false,
            });
        }
        if let Some(answer) = bus.translate(at & !0xFFF, request) {
            return self.translated_elsewhere(at, request, answer);
        }
        let format = self.format();
        loop {
            if let Some(t) = self.walk(bus, at, request, format)? {
                return Ok(t);
            }
        }
    }

    /// What the bus knows of a page is good for this kind of access only.
    fn translated_elsewhere(
        &self,
        at: u64,
        request: Request,
        answer: Result<u64, Untranslated>,
    ) -> Result<Translation, WalkFault> {
        let write = request.access == Access::Write;
        let page = answer.map_err(|why| match why {
            Untranslated::NotPresent => WalkFault::Page(self.fault_bits(request)),
            Untranslated::Protection => WalkFault::Page(code::P | self.fault_bits(request)),
            Untranslated::Reserved => WalkFault::Page(code::P | code::RSVD | self.fault_bits(request)),
            Untranslated::Leave => WalkFault::Leave { gpa: at },
        })?;
        let (user, nx) = (request.user, request.access != Access::Fetch);
        Ok(Translation { gpa: page | at & 0xFFF, shift: 12, user, writable: write, nx, dirty: write, global: false })
    }

    fn format(&self) -> Format {
        let (phys_bits, gigabyte) = self.tlb.model;
        Format {
            wide: self.cr4 & CR4_PAE != 0,
            long: self.msr.efer & EFER_LMA != 0,
            nxe: self.msr.efer & EFER_NXE != 0,
            pse: self.cr4 & CR4_PSE != 0,
            gigabyte,
            phys_bits,
        }
    }

    /// What of the CPU model walks need: MAXPHYADDR and 1 GiB pages.
    pub(crate) fn walk_model(&self) -> (u32, bool) {
        let gigabyte = self.model.leaf(0x8000_0001, 0).is_some_and(|r| r[3] >> 26 & 1 != 0);
        (self.model.physical_bits().clamp(32, 52), gigabyte)
    }

    /// One walk. `None`: an entry changed under it, walk again.
    fn walk(
        &mut self,
        bus: &mut dyn Bus,
        at: u64,
        request: Request,
        f: Format,
    ) -> Result<Option<Translation>, WalkFault> {
        let fault = |cpu: &Self, bits: u32| Err(WalkFault::Page(bits | cpu.fault_bits(request)));
        let (mut table, mut shift) = if f.long {
            (self.cr3 & ((1 << f.phys_bits) - 1) & !0xFFF, 39)
        } else if f.wide {
            let pdpte = self.pdptes(bus)?[(at >> 30) as usize & 3];
            if pdpte & P == 0 {
                return fault(self, 0);
            }
            (pdpte & 0x000F_FFFF_FFFF_F000, 21)
        } else {
            (self.cr3 & 0xFFFF_F000, 22)
        };
        let (mut user, mut writable, mut nx) = (true, true, false);
        let mut steps: [Step; 4] = [(0, 0, 0); 4];
        for step in &mut steps {
            let index = at >> shift & if f.wide { 511 } else { 1023 };
            let gpa = table + index * if f.wide { 8 } else { 4 };
            let e = self.table_entry(bus, gpa, f.wide)?;
            if e & P == 0 {
                return fault(self, 0);
            }
            let leaf = f.is_leaf(e, shift);
            if f.reserved(e, shift, leaf && shift > 12) {
                return fault(self, code::P | code::RSVD);
            }
            user &= e & U != 0;
            writable &= e & W != 0;
            nx |= f.wide && e & NX != 0;
            *step = (gpa, e, A);
            let address = f.address(e, shift, leaf);
            if leaf {
                let store = request.access == Access::Write;
                let t = Translation {
                    gpa: address | at & ((1 << shift) - 1),
                    shift,
                    user,
                    writable,
                    nx,
                    dirty: store || e & D != 0,
                    global: e & G != 0 && self.cr4 & CR4_PGE != 0,
                };
                if !self.may(&t, request) {
                    return fault(self, code::P);
                }
                if store {
                    step.2 |= D;
                }
                return Ok((!request.update || self.mark(bus, &steps, f.wide)).then_some(t));
            }
            table = address;
            shift -= if f.wide { 9 } else { 10 };
        }
        fault(self, 0) // not reached: the last level's entries are leaves
    }

    /// Whether the page's rights allow the access (Intel SDM volume 3, 4.6.1).
    fn may(&self, t: &Translation, r: Request) -> bool {
        if r.user {
            return t.user
                && match r.access {
                    Access::Read => true,
                    Access::Write => t.writable,
                    Access::Fetch => !t.nx,
                };
        }
        match r.access {
            Access::Fetch => !(t.nx || t.user && self.cr4 & CR4_SMEP != 0),
            _ if t.user && self.cr4 & CR4_SMAP != 0 && !r.ac => false,
            Access::Read => true,
            Access::Write => t.writable || self.cr0 & CR0_WP == 0,
        }
    }

    /// All that the translation allows the same accessor without another walk.
    pub(crate) fn rights(&self, t: &Translation, r: Request) -> Allowed {
        let may = |access| self.cr0 & CR0_PG == 0 || self.may(t, Request { access, ..r });
        Allowed { read: may(Access::Read), write: t.dirty && may(Access::Write), exec: may(Access::Fetch) }
    }

    fn fault_bits(&self, r: Request) -> u32 {
        let fetch_bit = self.cr4 & CR4_PAE != 0 && self.msr.efer & EFER_NXE != 0 || self.cr4 & CR4_SMEP != 0;
        let mut bits = if r.user { code::U } else { 0 };
        match r.access {
            Access::Write => bits |= code::W,
            Access::Fetch if fetch_bit => bits |= code::I,
            _ => {}
        }
        bits
    }

    fn table_entry(&mut self, bus: &mut dyn Bus, gpa: u64, wide: bool) -> Result<u64, WalkFault> {
        let page = self.tlb.physical(bus, gpa);
        if page.host.is_null() {
            let mut b = [0; 8];
            let n = if wide { 8 } else { 4 };
            bus.mem_read(gpa, &mut b[..n]).map_err(|_| WalkFault::Leave { gpa })?;
            return Ok(u64::from_le_bytes(b));
        }
        let at = page.host.wrapping_add(gpa as usize & 0xFFF);
        // SAFETY: inside a page of a block that the TLB keeps alive, aligned by construction (tables are pages).
        Ok(unsafe {
            if wide {
                AtomicU64::from_ptr(at.cast()).load(Ordering::Relaxed)
            } else {
                u64::from(AtomicU32::from_ptr(at.cast()).load(Ordering::Relaxed))
            }
        })
    }

    /// Sets accessed and dirty bits. `false` when an entry is no longer what the walk read.
    fn mark(&mut self, bus: &mut dyn Bus, steps: &[Step], wide: bool) -> bool {
        for &(gpa, e, bits) in steps {
            let new = e | bits;
            if e == new {
                continue; // also the unused steps
            }
            let page = self.tlb.physical(bus, gpa);
            if page.host.is_null() || !page.writable {
                continue; // tables in ROM or devices keep their bits
            }
            let at = page.host.wrapping_add(gpa as usize & 0xFFF);
            // SAFETY: as in `table_entry`.
            let done = unsafe {
                if wide {
                    AtomicU64::from_ptr(at.cast()).compare_exchange(e, new, Ordering::SeqCst, Ordering::Relaxed).is_ok()
                } else {
                    AtomicU32::from_ptr(at.cast())
                        .compare_exchange(e as u32, new as u32, Ordering::SeqCst, Ordering::Relaxed)
                        .is_ok()
                }
            };
            if !done {
                return false;
            }
            self.tlb.block(page.block).after_write(page.offset + (gpa & 0xFFF), if wide { 8 } else { 4 });
        }
        true
    }

    /// The PDPTE registers, loaded now if they were not since the last change of CR3. (The #GP of a CR3 load for
    /// reserved bits is MOV's matter.)
    fn pdptes(&mut self, bus: &mut dyn Bus) -> Result<[u64; 4], WalkFault> {
        if let Some(p) = self.tlb.pdpte {
            return Ok(p);
        }
        let mut p = [0; 4];
        for (i, e) in p.iter_mut().enumerate() {
            *e = self.table_entry(bus, (self.cr3 & 0xFFFF_FFE0) + 8 * i as u64, true)?;
        }
        self.tlb.pdpte = Some(p);
        Ok(p)
    }
}

/// Whether bits 63:47 are equal.
#[inline]
pub fn is_canonical(at: u64) -> bool {
    ((at << 16) as i64 >> 16) as u64 == at
}
