//! Segment, gate and system descriptors in memory (Intel SDM volume 3, 3.4.5, 3.5, 5.8, 8.2).

use crate::bus::Bus;
use crate::fault::{Abort, Exec, vector};
use crate::state::{Cpu, Mode, SegReg};

/// An eight-byte descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor(pub(crate) u64);

impl Descriptor {
    /// Type, bits 43:40.
    pub(crate) fn kind(self) -> u8 {
        (self.0 >> 40 & 0xF) as u8
    }
    /// Code or data.
    pub(crate) fn s(self) -> bool {
        self.0 >> 44 & 1 != 0
    }
    pub(crate) fn dpl(self) -> u8 {
        (self.0 >> 45 & 3) as u8
    }
    pub(crate) fn present(self) -> bool {
        self.0 >> 47 & 1 != 0
    }
    pub(crate) fn long(self) -> bool {
        self.0 >> 53 & 1 != 0
    }
    pub(crate) fn big(self) -> bool {
        self.0 >> 54 & 1 != 0
    }
    pub(crate) fn is_code(self) -> bool {
        self.s() && self.kind() & 8 != 0
    }
    pub(crate) fn conforming(self) -> bool {
        self.is_code() && self.kind() & 4 != 0
    }
    /// Data, or readable code.
    pub(crate) fn readable(self) -> bool {
        self.s() && (self.kind() & 8 == 0 || self.kind() & 2 != 0)
    }
    /// Writable data.
    pub(crate) fn writable(self) -> bool {
        self.s() && self.kind() & 0xA == 2
    }
    pub(crate) fn base(self) -> u32 {
        (self.0 >> 16 & 0xFF_FFFF) as u32 | (self.0 >> 32 & 0xFF00_0000) as u32
    }
    /// In bytes, granularity applied.
    pub(crate) fn limit(self) -> u32 {
        let l = (self.0 & 0xFFFF) as u32 | (self.0 >> 32 & 0xF_0000) as u32;
        if self.0 >> 55 & 1 != 0 { l << 12 | 0xFFF } else { l }
    }
    /// As [`SegReg::attributes`].
    pub(crate) fn attributes(self) -> u16 {
        (self.0 >> 40 & 0xF0FF) as u16
    }
    /// The segment register it loads, with the accessed bit set.
    pub(crate) fn segment(self, selector: u16) -> SegReg {
        let accessed = u16::from(self.s());
        SegReg { selector, base: u64::from(self.base()), limit: self.limit(), attributes: self.attributes() | accessed }
    }
    /// A gate's selector.
    pub(crate) fn gate_selector(self) -> u16 {
        (self.0 >> 16) as u16
    }
    /// A gate's offset, bits 31:0.
    pub(crate) fn gate_offset(self) -> u32 {
        (self.0 & 0xFFFF) as u32 | (self.0 >> 32 & 0xFFFF_0000) as u32
    }
}

/// Whether the selector is null (index 0 in the GDT).
pub(crate) fn is_null(selector: u16) -> bool {
    selector & !3 == 0
}

/// The error code that names a selector.
pub(crate) fn code(selector: u16) -> u32 {
    u32::from(selector & !3)
}

impl Cpu {
    /// An address the processor forms for itself from a table's base.
    pub(crate) fn table_address(&self, base: u64, offset: u64) -> u64 {
        let at = base.wrapping_add(offset);
        if self.mode.has(Mode::LONG) { at } else { at & 0xFFFF_FFFF }
    }

    /// Linear address of the selector's descriptor of `len` bytes, `None` when it is outside its table.
    pub(crate) fn descriptor_address(&self, selector: u16, len: u64) -> Option<u64> {
        let (base, limit) = if selector & 4 != 0 {
            if !self.ldtr.present() {
                return None;
            }
            (self.ldtr.base, u64::from(self.ldtr.limit))
        } else {
            (self.gdtr.base, u64::from(self.gdtr.limit))
        };
        let index = u64::from(selector & !7);
        (index + len - 1 <= limit).then(|| self.table_address(base, index))
    }

    /// The descriptor of a selector; outside its table it is `fault`(selector).
    pub(crate) fn fetch_descriptor(
        &mut self,
        bus: &mut dyn Bus,
        selector: u16,
        fault: u8,
    ) -> Result<Descriptor, Abort> {
        match self.descriptor_address(selector, 8) {
            Some(at) => Ok(Descriptor(self.load_system(bus, at)?)),
            None => Err(self.raise_error(fault, code(selector))),
        }
    }

    /// The upper half of a 16-byte descriptor of long mode.
    pub(crate) fn fetch_upper(&mut self, bus: &mut dyn Bus, selector: u16, fault: u8) -> Result<u64, Abort> {
        match self.descriptor_address(selector, 16) {
            Some(at) => self.load_system(bus, at.wrapping_add(8)),
            None => Err(self.raise_error(fault, code(selector))),
        }
    }

    /// Sets the accessed bit in memory where it is clear.
    pub(crate) fn mark_accessed(&mut self, bus: &mut dyn Bus, selector: u16, d: Descriptor) -> Exec {
        if d.s() && d.kind() & 1 == 0 {
            self.rewrite_type(bus, selector, d, |b| b | 1)?;
        }
        Ok(())
    }

    /// Sets or clears the busy bit of a TSS descriptor.
    pub(crate) fn mark_busy(&mut self, bus: &mut dyn Bus, selector: u16, busy: bool) -> Exec {
        let d = self.fetch_descriptor(bus, selector, vector::TS)?;
        self.rewrite_type(bus, selector, d, |b| if busy { b | 2 } else { b & !2 })
    }

    fn rewrite_type(&mut self, bus: &mut dyn Bus, selector: u16, d: Descriptor, f: impl Fn(u8) -> u8) -> Exec {
        match self.descriptor_address(selector, 8) {
            Some(at) => self.store_system(bus, at.wrapping_add(5), f((d.0 >> 40) as u8)),
            None => Ok(()),
        }
    }

    /// Whether an address is canonical (48 bits).
    pub(crate) fn canonical(&self, at: u64) -> bool {
        ((at << 16) as i64 >> 16) as u64 == at
    }

    /// #GP(0) when `ip` cannot be executed in the code segment `cs`.
    pub(crate) fn check_target(&mut self, cs: &SegReg, ip: u64) -> Exec {
        let ok = if self.mode.has(Mode::LONG) && cs.long() { self.canonical(ip) } else { ip <= u64::from(cs.limit) };
        if ok { Ok(()) } else { Err(self.gp(0)) }
    }
}
