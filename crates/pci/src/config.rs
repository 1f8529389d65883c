//! Configuration space, 256 bytes or the 4096 of PCI Express: values, write masks, base address registers, capabilities.
//!
//! PCI Local Bus Specification 3.0, chapter 6 (header type 0, sections 6.1 and 6.2; BARs 6.2.5), PCI-to-PCI Bridge
//! Architecture 1.2, section 3.2 (header type 1), PCI Express Base Specification 3.0, sections 7.2 and 7.9.1 (extended
//! space and its capabilities; what a device does not implement there reads 0).

use serde::{Deserialize, Serialize};
use vm_core::StateError;

/// Bytes of a conventional function's space, and of a PCI Express function's.
const CONVENTIONAL: usize = 256;
const EXTENDED: usize = 4096;

/// Register offsets of the common header.
pub mod reg {
    /// Vendor id, 16 bits.
    pub const VENDOR_ID: u8 = 0x00;
    /// Device id, 16 bits.
    pub const DEVICE_ID: u8 = 0x02;
    /// Command, 16 bits.
    pub const COMMAND: u8 = 0x04;
    /// Status, 16 bits.
    pub const STATUS: u8 = 0x06;
    /// Revision id.
    pub const REVISION: u8 = 0x08;
    /// Programming interface; subclass and base class follow.
    pub const CLASS_PROG: u8 = 0x09;
    /// Cache line size.
    pub const CACHE_LINE: u8 = 0x0C;
    /// Latency timer.
    pub const LATENCY: u8 = 0x0D;
    /// Header type.
    pub const HEADER_TYPE: u8 = 0x0E;
    /// First base address register.
    pub const BAR0: u8 = 0x10;
    /// Subsystem vendor id, 16 bits.
    pub const SUBSYSTEM_VENDOR: u8 = 0x2C;
    /// Subsystem id, 16 bits.
    pub const SUBSYSTEM: u8 = 0x2E;
    /// Expansion ROM base (header type 0).
    pub const ROM: u8 = 0x30;
    /// Capabilities pointer.
    pub const CAPABILITIES: u8 = 0x34;
    /// Interrupt line.
    pub const INTERRUPT_LINE: u8 = 0x3C;
    /// Interrupt pin.
    pub const INTERRUPT_PIN: u8 = 0x3D;
    /// Primary bus number (header type 1); secondary and subordinate follow.
    pub const PRIMARY_BUS: u8 = 0x18;
    /// Secondary bus number.
    pub const SECONDARY_BUS: u8 = 0x19;
    /// Subordinate bus number.
    pub const SUBORDINATE_BUS: u8 = 0x1A;
    /// I/O window: base, limit.
    pub const IO_BASE: u8 = 0x1C;
    /// Memory window: base, limit, 16 bits each.
    pub const MEMORY_BASE: u8 = 0x20;
    /// Prefetchable window: base, limit, 16 bits each.
    pub const PREFETCH_BASE: u8 = 0x24;
    /// Upper halves of its base and limit, 32 bits each.
    pub const PREFETCH_BASE_HIGH: u8 = 0x28;
    /// Bridge control, 16 bits.
    pub const BRIDGE_CONTROL: u8 = 0x3E;
}

/// Bits of the command register.
pub mod command {
    /// Answer I/O accesses.
    pub const IO: u16 = 1;
    /// Answer memory accesses.
    pub const MEMORY: u16 = 2;
    /// May act as a master (DMA, MSI).
    pub const MASTER: u16 = 4;
    /// Report parity errors.
    pub const PARITY: u16 = 0x40;
    /// SERR# enable.
    pub const SERR: u16 = 0x100;
    /// INTx is kept silent.
    pub const INTX_DISABLE: u16 = 0x400;
}

/// Bits of the status register.
pub mod status {
    /// The function wants its INTx.
    pub const INTERRUPT: u16 = 8;
    /// The capabilities list is there.
    pub const CAPABILITIES: u16 = 0x10;
    /// The bits that are cleared by writing one.
    pub const WRITE_CLEARS: u16 = 0xF900;
}

/// Who a function says it is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Revision id.
    pub revision: u8,
    /// Base class, subclass, programming interface: 0x010180 is an IDE controller.
    pub class: u32,
    /// Subsystem vendor and subsystem id; 0, 0 for none.
    pub subsystem: (u16, u16),
}

/// The kind of a base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory below 4 GiB.
    Mem32 {
        /// Reads have no side effects.
        prefetch: bool,
    },
    /// Memory anywhere; takes two registers.
    Mem64 {
        /// Reads have no side effects.
        prefetch: bool,
    },
    /// The expansion ROM.
    Rom,
}

/// A base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarSpec {
    /// 0 to 5, or [`BarSpec::ROM`].
    pub index: u8,
    /// Its kind.
    pub kind: BarKind,
    /// Its size, a power of two (I/O at least 4, memory at least 16, ROM at least 2048).
    pub size: u64,
}

impl BarSpec {
    /// The index of the expansion ROM.
    pub const ROM: u8 = 6;

    fn offset(&self) -> u8 {
        if self.index == Self::ROM { reg::ROM } else { reg::BAR0 + 4 * self.index }
    }

    fn check(&self) {
        let least = match self.kind {
            BarKind::Io => 4,
            BarKind::Mem32 { .. } | BarKind::Mem64 { .. } => 16,
            BarKind::Rom => 2048,
        };
        let registers = 1 + u8::from(matches!(self.kind, BarKind::Mem64 { .. }));
        let fits = (self.kind == BarKind::Rom) == (self.index == Self::ROM)
            && (self.index == Self::ROM || self.index + registers <= 6);
        assert!(fits && self.size.is_power_of_two() && self.size >= least, "impossible {self:?}");
        assert!(matches!(self.kind, BarKind::Mem64 { .. }) || self.size <= 1 << 31, "{self:?} is too big");
    }
}

/// The guest-visible state of a configuration space: its bytes. Devices put it into their `State`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigState {
    bytes: Vec<u8>,
}

/// See the module's documentation. Built with the `with_*` methods, which also set the reset value.
#[derive(Clone)]
pub struct ConfigSpace {
    bytes: Vec<u8>,
    reset: Vec<u8>,
    writable: Vec<u8>,
    write_clears: Vec<u8>,
    bars: Vec<BarSpec>,
    last_capability: u8,
    free: u8,
    /// Where the last extended capability is, and where the next would be.
    extended: (usize, usize),
}

impl ConfigSpace {
    /// A header of type 0.
    pub fn endpoint(id: Identity) -> Self {
        let mut c = Self {
            bytes: vec![0; CONVENTIONAL],
            reset: vec![0; CONVENTIONAL],
            writable: vec![0; CONVENTIONAL],
            write_clears: vec![0; CONVENTIONAL],
            bars: vec![],
            last_capability: 0,
            free: 0x40,
            extended: (0, CONVENTIONAL),
        };
        c.put(reg::VENDOR_ID, &id.vendor.to_le_bytes());
        c.put(reg::DEVICE_ID, &id.device.to_le_bytes());
        c.put(reg::REVISION, &[id.revision]);
        c.put(reg::CLASS_PROG, &id.class.to_le_bytes()[..3]);
        c.put(reg::SUBSYSTEM_VENDOR, &id.subsystem.0.to_le_bytes());
        c.put(reg::SUBSYSTEM, &id.subsystem.1.to_le_bytes());
        let commands =
            command::IO | command::MEMORY | command::MASTER | command::PARITY | command::SERR | command::INTX_DISABLE;
        c.with_writable(reg::COMMAND, &commands.to_le_bytes())
            .with_writable(reg::CACHE_LINE, &[0xFF, 0xFF])
            .with_writable(reg::INTERRUPT_LINE, &[0xFF])
            .with_write_clears(reg::STATUS, &status::WRITE_CLEARS.to_le_bytes())
    }

    /// A header of type 1 (PCI-to-PCI bridge) as a PCI Express port has it: bus numbers, windows (16-bit I/O, 64-bit
    /// prefetchable) and bridge control (parity, SERR#, secondary bus reset) writable; no VGA and ISA forwarding.
    pub fn bridge(id: Identity) -> Self {
        Self::endpoint(Identity { subsystem: (0, 0), ..id })
            .with(reg::HEADER_TYPE, &[1])
            .with_writable(reg::LATENCY, &[0])
            .with_writable(reg::PRIMARY_BUS, &[0xFF; 3])
            .with_writable(reg::IO_BASE, &[0xF0, 0xF0])
            .with_write_clears(0x1E, &status::WRITE_CLEARS.to_le_bytes())
            .with(reg::PREFETCH_BASE, &[1, 0, 1, 0])
            .with_writable(reg::MEMORY_BASE, &[0xF0, 0xFF, 0xF0, 0xFF, 0xF0, 0xFF, 0xF0, 0xFF])
            .with_writable(reg::PREFETCH_BASE_HIGH, &[0xFF; 8])
            .with_writable(reg::BRIDGE_CONTROL, &[0x43, 0x00])
    }

    /// Makes it 4096 bytes long, as a PCI Express function has it.
    #[must_use]
    pub fn extended(mut self) -> Self {
        for part in [&mut self.bytes, &mut self.reset, &mut self.writable, &mut self.write_clears] {
            part.resize(EXTENDED, 0);
        }
        self
    }

    fn put(&mut self, offset: u8, data: &[u8]) {
        let at = usize::from(offset);
        self.bytes[at..at + data.len()].copy_from_slice(data);
        self.reset[at..at + data.len()].copy_from_slice(data);
    }

    /// Sets bytes at `offset`, now and at every reset.
    #[must_use]
    pub fn with(mut self, offset: u8, data: &[u8]) -> Self {
        self.put(offset, data);
        self
    }

    /// Sets which bits at `offset` the guest can write (replaces the mask there).
    #[must_use]
    pub fn with_writable(mut self, offset: u8, mask: &[u8]) -> Self {
        let at = usize::from(offset);
        self.writable[at..at + mask.len()].copy_from_slice(mask);
        self
    }

    /// Sets which bits at `offset` are cleared by writing one.
    #[must_use]
    pub fn with_write_clears(mut self, offset: u8, mask: &[u8]) -> Self {
        let at = usize::from(offset);
        self.write_clears[at..at + mask.len()].copy_from_slice(mask);
        self
    }

    /// Marks the function's device as having several functions.
    #[must_use]
    pub fn multifunction(self) -> Self {
        let kind = self.bytes[usize::from(reg::HEADER_TYPE)] | 0x80;
        self.with(reg::HEADER_TYPE, &[kind])
    }

    /// The function has interrupt pin `pin` (1 is INTA).
    #[must_use]
    pub fn with_interrupt_pin(self, pin: u8) -> Self {
        self.with(reg::INTERRUPT_PIN, &[pin])
    }

    /// Adds a base address register.
    ///
    /// # Panics
    /// For an impossible one (a host-side error).
    #[must_use]
    pub fn with_bar(mut self, bar: BarSpec) -> Self {
        bar.check();
        assert!(self.bars.iter().all(|b| b.offset() != bar.offset()), "{bar:?} is there already");
        let address = !(bar.size - 1);
        let low = address as u32;
        let (type_bits, mask) = match bar.kind {
            BarKind::Io => (1, low & 0xFFFF_FFFC),
            BarKind::Mem32 { prefetch } => (u32::from(prefetch) << 3, low & 0xFFFF_FFF0),
            BarKind::Mem64 { prefetch } => (4 | u32::from(prefetch) << 3, low & 0xFFFF_FFF0),
            BarKind::Rom => (0, low & 0xFFFF_F800 | 1),
        };
        let offset = bar.offset();
        self.put(offset, &type_bits.to_le_bytes());
        self = self.with_writable(offset, &mask.to_le_bytes());
        if matches!(bar.kind, BarKind::Mem64 { .. }) {
            self = self.with_writable(offset + 4, &((address >> 32) as u32).to_le_bytes());
        }
        self.bars.push(bar);
        self
    }

    /// Adds a capability with the given body (what follows id and next pointer), at the next free place from 0x40,
    /// and returns where it is; its write masks are the caller's.
    ///
    /// # Panics
    /// When there is no room (a host-side error).
    #[must_use]
    pub fn with_capability(mut self, id: u8, body: &[u8]) -> (Self, u8) {
        let at = self.free;
        let end = usize::from(at) + 2 + body.len();
        assert!(end <= CONVENTIONAL, "no room for capability {id:#x}");
        self.put(at, &[id, 0]);
        self.put(at + 2, body);
        let link = if self.last_capability == 0 { reg::CAPABILITIES } else { self.last_capability + 1 };
        self.put(link, &[at]);
        let status = self.u16(reg::STATUS) | status::CAPABILITIES;
        self.put(reg::STATUS, &status.to_le_bytes());
        self.last_capability = at;
        self.free = u8::try_from(end.next_multiple_of(4)).unwrap_or(u8::MAX);
        (self, at)
    }

    /// Adds an extended capability at the next free place from 0x100, with what follows its header and the bits of that
    /// which can be written and which are cleared by writing one. Returns where it is.
    ///
    /// # Panics
    /// When there is no extended space or no room (a host-side error).
    #[must_use]
    pub fn with_extended_capability(
        mut self,
        (id, version): (u16, u8),
        body: &[u8],
        writable: &[u8],
        write_clears: &[u8],
    ) -> (Self, u16) {
        let (last, at) = self.extended;
        let start = at + 4;
        let end = start + body.len().max(writable.len()).max(write_clears.len());
        assert!(end <= self.bytes.len(), "no room for extended capability {id:#x}");
        let header = u32::from(id) | u32::from(version & 0xF) << 16;
        for (part, data) in [(&mut self.bytes, body), (&mut self.reset, body)] {
            part[at..start].copy_from_slice(&header.to_le_bytes());
            part[start..start + data.len()].copy_from_slice(data);
        }
        self.writable[start..start + writable.len()].copy_from_slice(writable);
        self.write_clears[start..start + write_clears.len()].copy_from_slice(write_clears);
        if last != 0 {
            for part in [&mut self.bytes, &mut self.reset] {
                let link = u16::from_le_bytes([part[last + 2], part[last + 3]]) & 0xF | (at as u16) << 4;
                part[last + 2..last + 4].copy_from_slice(&link.to_le_bytes());
            }
        }
        self.extended = (at, end.next_multiple_of(4));
        (self, at as u16)
    }

    /// Capabilities added from now on are placed from `offset` (for chips with registers at 0x40).
    #[must_use]
    pub fn capabilities_from(mut self, offset: u8) -> Self {
        self.free = offset;
        self
    }

    /// A byte.
    pub fn u8(&self, offset: u8) -> u8 {
        self.bytes[usize::from(offset)]
    }

    /// A 16-bit register; wraps at the end of the space.
    pub fn u16(&self, offset: u8) -> u16 {
        u16::from_le_bytes([self.u8(offset), self.u8(offset.wrapping_add(1))])
    }

    /// A 32-bit register; wraps at the end of the space.
    pub fn u32(&self, offset: u8) -> u32 {
        u32::from(self.u16(offset)) | u32::from(self.u16(offset.wrapping_add(2))) << 16
    }

    /// The device itself changes bytes (not their reset value). Wraps at the end of the space.
    pub fn set(&mut self, offset: u8, data: &[u8]) {
        for (i, b) in data.iter().enumerate() {
            self.bytes[usize::from(offset.wrapping_add(i as u8))] = *b;
        }
    }

    /// Sets or clears bits of the status register.
    pub fn set_status(&mut self, bits: u16, on: bool) {
        let old = self.u16(reg::STATUS);
        let new = if on { old | bits } else { old & !bits };
        self.set(reg::STATUS, &new.to_le_bytes());
    }

    /// The command register.
    pub fn command(&self) -> u16 {
        self.u16(reg::COMMAND)
    }

    /// The function may do DMA.
    pub fn may_master(&self) -> bool {
        self.command() & command::MASTER != 0
    }

    /// A read by the guest; bytes past the end are all ones.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        for (i, b) in data.iter_mut().enumerate() {
            *b = self.bytes.get(usize::from(offset) + i).copied().unwrap_or(0xFF);
        }
    }

    /// A write by the guest, through the masks.
    pub fn write(&mut self, offset: u16, data: &[u8]) {
        for (i, &value) in data.iter().enumerate() {
            let at = usize::from(offset) + i;
            if let Some(byte) = self.bytes.get_mut(at) {
                let mask = self.writable[at];
                *byte = (*byte & !mask | value & mask) & !(value & self.write_clears[at]);
            }
        }
    }

    /// The base address registers.
    pub fn bars(&self) -> &[BarSpec] {
        &self.bars
    }

    /// Where the guest has put a base address register: `None` while it is switched off, at address 0, or does not
    /// fit its space (as the all-ones of a size probe does not).
    pub fn bar_address(&self, bar: &BarSpec) -> Option<u64> {
        let low = self.u32(bar.offset());
        let command = self.command();
        let memory = command & command::MEMORY != 0;
        let (on, address, limit) = match bar.kind {
            BarKind::Io => (command & command::IO != 0, u64::from(low & !3), 0x1_0000),
            BarKind::Mem32 { .. } => (memory, u64::from(low & !0xF), 0xFFFF_FFFF),
            BarKind::Rom => (memory && low & 1 != 0, u64::from(low & 0xFFFF_F800), 0xFFFF_FFFF),
            BarKind::Mem64 { .. } => {
                let high = u64::from(self.u32(bar.offset() + 4));
                (memory, high << 32 | u64::from(low & !0xF), 1 << 52)
            }
        };
        let fits = address.checked_add(bar.size).is_some_and(|end| end <= limit);
        // The 64-bit probe leaves 32 ones below a zero upper half for a moment.
        let probe = address == u64::from(!(bar.size as u32).wrapping_sub(1)) && bar.size < 1 << 32;
        (on && address != 0 && fits && !(probe && bar.kind != BarKind::Io)).then_some(address)
    }

    /// Back to the reset values.
    pub fn reset(&mut self) {
        self.bytes.copy_from_slice(&self.reset);
    }

    /// The state to save.
    pub fn state(&self) -> ConfigState {
        ConfigState { bytes: self.bytes.clone() }
    }

    /// Takes a saved state of the same function.
    ///
    /// # Errors
    /// [`StateError::Mismatch`] when it is another function's: read-only bits of the header differ.
    pub fn restore(&mut self, device: &str, state: &ConfigState) -> Result<(), StateError> {
        let bad = |reason: String| StateError::Mismatch { device: device.into(), reason };
        let bytes = &state.bytes;
        if bytes.len() != self.bytes.len() {
            return Err(bad(format!("not {} bytes", self.bytes.len())));
        }
        let ids = [0, 1, 2, 3, 9, 10, 11, 14];
        if let Some(i) = ids.into_iter().find(|&i| bytes[i] != self.reset[i]) {
            return Err(bad(format!("configuration byte {i:#x} is {:#x}, not {:#x}", bytes[i], self.reset[i])));
        }
        self.bytes.clone_from(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Identity {
        Identity { vendor: 0x8086, device: 0x1234, revision: 1, class: 0x02_0000, subsystem: (0x1AF4, 0x1100) }
    }

    fn bar(index: u8, kind: BarKind, size: u64) -> BarSpec {
        BarSpec { index, kind, size }
    }

    fn probe(c: &mut ConfigSpace, offset: u8) -> u32 {
        c.write(offset.into(), &[0xFF; 4]);
        c.u32(offset)
    }

    fn dword(c: &ConfigSpace, offset: u16) -> u32 {
        let mut x = [0; 4];
        c.read(offset, &mut x);
        u32::from_le_bytes(x)
    }

    #[test]
    fn extended_capabilities_link_and_the_rest_reads_zero() {
        let c = ConfigSpace::endpoint(id());
        assert_eq!(dword(&c, 0x100), u32::MAX, "a conventional function ends at 256");
        let (c, first) = c.extended().with_extended_capability((1, 2), &[0; 8], &[0xFF; 4], &[]);
        let (mut c, second) = c.with_extended_capability((0x0D, 1), &[0x1D, 0], &[], &[]);
        assert_eq!((first, second, dword(&c, 0x100), dword(&c, 0x10C)), (0x100, 0x10C, 0x10C2_0001, 0x0001_000D));
        assert_eq!((dword(&c, 0x110), dword(&c, 0xFFC)), (0x1D, 0));
        c.write(0x102, &[0xFF; 8]);
        assert_eq!([0x100, 0x104, 0x108].map(|o| dword(&c, o)), [0x10C2_0001, u32::MAX, 0]);
        c.write(0xFFF, &[1, 2, 3, 4]);
        let saved = c.state();
        c.reset();
        assert_eq!(dword(&c, 0x104), 0);
        c.restore("c", &saved).unwrap();
        assert_eq!(dword(&c, 0x104), u32::MAX);
        assert!(ConfigSpace::endpoint(id()).restore("c", &saved).is_err(), "another length");
    }

    #[test]
    fn a_bridge_header() {
        let mut c = ConfigSpace::bridge(id());
        (0x04..0x40).step_by(4).for_each(|o| c.write(o, &[0xFF; 4]));
        assert_eq!((c.u8(0x0E), c.u32(0x18), c.u16(0x1C)), (1, 0x00FF_FFFF, 0xF0F0));
        assert_eq!((c.u32(0x20), c.u32(0x24)), (0xFFF0_FFF0, 0xFFF1_FFF1), "memory; 64-bit prefetchable");
        assert_eq!([0x28, 0x2C, 0x30, 0x38].map(|o| c.u32(o)), [u32::MAX, u32::MAX, 0, 0], "I/O is 16-bit, no ROM");
        assert_eq!((c.u16(0x3E), c.u8(0x0D)), (0x0043, 0));
    }

    #[test]
    fn sizing_gives_size_and_type() {
        let mut c = ConfigSpace::endpoint(id())
            .with_bar(bar(0, BarKind::Mem32 { prefetch: true }, 0x1000))
            .with_bar(bar(1, BarKind::Io, 32))
            .with_bar(bar(2, BarKind::Mem64 { prefetch: false }, 1 << 33))
            .with_bar(bar(BarSpec::ROM, BarKind::Rom, 0x1_0000));
        assert_eq!(probe(&mut c, 0x10), 0xFFFF_F008);
        assert_eq!(probe(&mut c, 0x14), 0xFFFF_FFE1);
        assert_eq!(probe(&mut c, 0x18), 0x0000_0004);
        assert_eq!(probe(&mut c, 0x1C), 0xFFFF_FFFE);
        assert_eq!(probe(&mut c, 0x24), 0, "not implemented");
        assert_eq!(probe(&mut c, 0x30), 0xFFFF_0001);
        assert_eq!(probe(&mut c, 0x00), 0x1234_8086, "read only");
    }

    #[test]
    fn bars_are_off_until_enabled_and_while_probed() {
        let mem = bar(0, BarKind::Mem32 { prefetch: false }, 0x1000);
        let io = bar(1, BarKind::Io, 16);
        let rom = bar(6, BarKind::Rom, 0x800);
        let mut c = ConfigSpace::endpoint(id()).with_bar(mem).with_bar(io).with_bar(rom);
        c.write(0x10, &0xFEBF_0000u32.to_le_bytes());
        c.write(0x14, &0xC001u32.to_le_bytes());
        c.write(0x30, &0xFEBE_0000u32.to_le_bytes());
        assert_eq!(c.bar_address(&mem), None);
        c.write(0x04, &[3, 0]);
        assert_eq!(c.bar_address(&mem), Some(0xFEBF_0000));
        assert_eq!(c.bar_address(&io), Some(0xC000));
        assert_eq!(c.bar_address(&rom), None, "its own enable bit");
        c.write(0x30, &0xFEBE_0001u32.to_le_bytes());
        assert_eq!(c.bar_address(&rom), Some(0xFEBE_0000));
        c.write(0x10, &[0xFF; 4]);
        assert_eq!(c.bar_address(&mem), None);
        c.write(0x14, &[0xFF; 4]);
        assert_eq!(c.bar_address(&io), None, "above the port space");
        c.reset();
        assert_eq!((c.u32(0x10), c.command()), (0, 0));
    }

    #[test]
    fn status_bits_clear_by_one_and_capabilities_link() {
        let (c, first) = ConfigSpace::endpoint(id()).with_capability(5, &[0; 8]);
        let (mut c, second) = c.with_capability(1, &[0; 6]);
        assert_eq!((first, second), (0x40, 0x4C));
        assert_eq!((c.u8(0x34), c.u8(0x41), c.u8(0x4D)), (0x40, 0x4C, 0));
        c.set_status(0x2000, true);
        c.write(0x06, &[0x00, 0x20]);
        assert_eq!(c.u16(0x06), status::CAPABILITIES);
    }

    #[test]
    fn a_state_of_another_function_is_refused() {
        let mut a = ConfigSpace::endpoint(id());
        a.write(0x3C, &[11]);
        let mut b = ConfigSpace::endpoint(id());
        b.restore("b", &a.state()).unwrap();
        assert_eq!(b.u8(0x3C), 11);
        let mut other = ConfigSpace::endpoint(Identity { device: 1, ..id() });
        assert!(other.restore("o", &a.state()).is_err());
        assert!(other.restore("o", &ConfigState { bytes: vec![1] }).is_err());
    }
}
