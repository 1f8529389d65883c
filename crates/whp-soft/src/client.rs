//! What Microsoft's API has beyond `whp`'s traits, for a client on the other side of the C API: guest memory by
//! guest-physical address, doorbells (`WHvRegisterPartitionDoorbellEvent`), interrupt targets, lenient unmapping.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use irqchip::lapic::Destination;
use whp::{Error, HResult, MapGpaRangeFlags, Result};

use crate::map::{Range, find};
use crate::partition::SoftPartition;

/// `WHV_DOORBELL_MATCH_DATA`: which guest stores ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorbellMatch {
    /// Where the store goes, exactly.
    pub gpa: u64,
    /// Only stores of this value.
    pub value: Option<u64>,
    /// Only stores of this many bytes.
    pub length: Option<u32>,
}

impl DoorbellMatch {
    fn fits(&self, gpa: u64, data: &[u8]) -> bool {
        let mut value = [0; 8];
        value.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        let value = u64::from_le_bytes(value);
        let mask = if data.len() >= 8 { u64::MAX } else { (1 << (8 * data.len())) - 1 };
        self.gpa == gpa
            && self.value.is_none_or(|v| v & mask == value && v & !mask == 0)
            && self.length.is_none_or(|l| l as usize == data.len())
    }
}

/// Called on the processor's thread; must not block, nor call into the partition.
pub type DoorbellAction = Arc<dyn Fn() + Send + Sync>;

/// All doorbells of a partition.
#[derive(Default)]
pub(crate) struct Doorbells {
    any: AtomicBool,
    list: RwLock<Vec<(DoorbellMatch, DoorbellAction)>>,
}

impl fmt::Debug for Doorbells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbells").field("any", &self.any).finish_non_exhaustive()
    }
}

impl Doorbells {
    /// Whether there is any.
    pub(crate) fn are_there(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// A guest store to where no writable memory is. `true`: it rang, and is done.
    pub(crate) fn ring(&self, gpa: u64, data: &[u8]) -> bool {
        if !self.are_there() {
            return false;
        }
        let list = self.list.read().unwrap_or_else(|e| e.into_inner());
        let action = list.iter().find(|(m, _)| m.fits(gpa, data)).map(|(_, action)| action.clone());
        drop(list);
        action.inspect(|action| action()).is_some()
    }
}

fn not_found(operation: &'static str, gpa: u64, len: usize, why: &str) -> Error {
    Error::new(HResult::WHV_E_GPA_RANGE_NOT_FOUND, operation, format!("gpa {gpa:#x}, {len} bytes: {why}"))
}

impl SoftPartition {
    /// Unmaps what of the range is mapped, which may be nothing.
    ///
    /// # Errors
    /// `E_INVALIDARG` for a range that is not page aligned or is empty.
    pub fn unmap_whatever_is_mapped(&self, gpa: u64, size: u64) -> Result<()> {
        self.shared.map.unmap_any(gpa, size)?;
        self.shared.forget_old_map();
        Ok(())
    }

    /// Bytes of guest-physical address space that are mapped.
    pub fn mapped_bytes(&self) -> u64 {
        self.shared.map.mapped_bytes()
    }

    /// `WHvReadGpaRange`.
    ///
    /// # Errors
    /// `WHV_E_GPA_RANGE_NOT_FOUND` when a byte of it is not mapped for reading.
    pub fn read_gpa(&self, gpa: u64, data: &mut [u8]) -> Result<()> {
        let len = data.len();
        for (i, byte) in data.iter_mut().enumerate() {
            self.at("ReadGpaRange", gpa, len, i, MapGpaRangeFlags::READ, |r, offset| {
                r.block.read(offset, std::slice::from_mut(byte))
            })?;
        }
        Ok(())
    }

    /// `WHvWriteGpaRange`.
    ///
    /// # Errors
    /// `WHV_E_GPA_RANGE_NOT_FOUND` when a byte of it is not mapped for writing; those before it are written.
    pub fn write_gpa(&self, gpa: u64, data: &[u8]) -> Result<()> {
        for (i, byte) in data.iter().enumerate() {
            self.at("WriteGpaRange", gpa, data.len(), i, MapGpaRangeFlags::WRITE, |r, offset| {
                r.block.write(offset, std::slice::from_ref(byte))
            })?;
        }
        Ok(())
    }

    fn at(
        &self,
        operation: &'static str,
        gpa: u64,
        len: usize,
        i: usize,
        want: MapGpaRangeFlags,
        access: impl FnOnce(&Range, u64) -> bool,
    ) -> Result<()> {
        let at = gpa.wrapping_add(i as u64);
        let ranges = self.shared.map.ranges();
        let range = find(&ranges, at).filter(|r| r.flags.contains(want));
        let range = range.ok_or_else(|| not_found(operation, gpa, len, "not mapped so"))?;
        let inside = access(range, range.offset + (at - range.gpa));
        if inside { Ok(()) } else { Err(not_found(operation, gpa, len, "beyond its block")) }
    }

    /// `WHvAdviseGpaRange` with populate: brings the range's pages into the host's memory.
    ///
    /// # Errors
    /// `WHV_E_GPA_RANGE_NOT_FOUND` when a page of it is not mapped.
    pub fn populate(&self, gpa: u64, size: u64) -> Result<()> {
        let end =
            gpa.checked_add(size).ok_or_else(|| not_found("AdviseGpaRange", gpa, 0, "beyond the address space"))?;
        let mut at = gpa;
        while at < end {
            self.read_gpa(at, &mut [0])?;
            at = (at | 0xFFF) + 1;
        }
        Ok(())
    }

    /// `WHvRegisterPartitionDoorbellEvent`: `action` takes the place of the exits of matching stores.
    ///
    /// # Errors
    /// `E_INVALIDARG` when there is one with the same match data.
    pub fn register_doorbell(&self, which: DoorbellMatch, action: DoorbellAction) -> Result<()> {
        let mut list = self.shared.doorbells.list.write().unwrap_or_else(|e| e.into_inner());
        if list.iter().any(|(m, _)| *m == which) {
            let what = format!("{which:x?}: registered already");
            return Err(Error::new(HResult::E_INVALIDARG, "RegisterPartitionDoorbellEvent", what));
        }
        list.push((which, action));
        self.shared.doorbells.any.store(true, Ordering::Release);
        Ok(())
    }

    /// `WHvUnregisterPartitionDoorbellEvent`.
    ///
    /// # Errors
    /// `E_INVALIDARG` when there is none with this match data.
    pub fn unregister_doorbell(&self, which: DoorbellMatch) -> Result<()> {
        let mut list = self.shared.doorbells.list.write().unwrap_or_else(|e| e.into_inner());
        let before = list.len();
        list.retain(|(m, _)| *m != which);
        self.shared.doorbells.any.store(!list.is_empty(), Ordering::Release);
        if list.len() == before {
            let what = format!("{which:x?}: not registered");
            return Err(Error::new(HResult::E_INVALIDARG, "UnregisterPartitionDoorbellEvent", what));
        }
        Ok(())
    }

    /// `WHvGetInterruptTargetVpSet`: the processors that a destination means.
    ///
    /// # Errors
    /// `WHV_E_INVALID_PARTITION_CONFIG` without local APIC.
    pub fn interrupt_targets(&self, destination: u32, logical: bool) -> Result<Vec<u32>> {
        if !self.shared.has_apic() {
            let what = "the local APIC is not in the platform (LocalApicEmulationMode)";
            return Err(Error::new(HResult::WHV_E_INVALID_PARTITION_CONFIG, "GetInterruptTargetVpSet", what));
        }
        let destination = Destination { id: destination, logical, wide: destination > 0xFF };
        let vps = self.shared.vps();
        Ok(vps.iter().flatten().filter(|vp| vp.is_destination(destination)).map(|vp| vp.index()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doorbells_match_value_and_length() {
        let any = DoorbellMatch { gpa: 0x1000, value: None, length: None };
        assert!(any.fits(0x1000, &[1]) && any.fits(0x1000, &[0; 8]) && !any.fits(0x1001, &[1]));
        let value = DoorbellMatch { value: Some(0x102), ..any };
        assert!(value.fits(0x1000, &[2, 1]) && value.fits(0x1000, &[2, 1, 0, 0]));
        assert!(!value.fits(0x1000, &[2]), "the byte is not the value");
        let both = DoorbellMatch { length: Some(4), ..value };
        assert!(both.fits(0x1000, &[2, 1, 0, 0]) && !both.fits(0x1000, &[2, 1]));
    }
}
