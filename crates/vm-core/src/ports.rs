//! The port space and the access traits of devices.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use crate::{Shared, SpaceError, lock, number};

/// A device with I/O ports. Sizes are 1, 2 or 4 bytes; `offset` counts from the start of the registered range.
///
/// A read must fill `data` wholly (0xFF where nothing answers). An access wider than a byte-wide chip's register
/// arrives as it is; the device decides whether to split it ([`split_read`](PortSpace) is done by the bus for
/// ranges registered with `byte_wide`).
pub trait PortIo: Send {
    /// IN: fills `data` (length 1, 2 or 4), little-endian.
    fn port_read(&mut self, offset: u16, data: &mut [u8]);
    /// OUT: `data` (length 1, 2 or 4), little-endian.
    fn port_write(&mut self, offset: u16, data: &[u8]);
}

/// A device with memory-mapped registers. `offset` counts from the start of the region; `data` has any length from
/// 1 to 64 bytes, inside the region.
pub trait Mmio: Send {
    /// A load: fills `data`.
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]);
    /// A store.
    fn mmio_write(&mut self, offset: u64, data: &[u8]);
}

/// A registered range of ports.
#[derive(Clone)]
pub struct PortRange {
    /// First port.
    pub base: u16,
    /// Number of ports.
    pub len: u16,
    /// The device's name.
    pub name: String,
    device: Arc<Mutex<dyn PortIo>>,
    byte_wide: bool,
    accesses: Arc<AtomicU64>,
}

impl PortRange {
    /// Accesses so far.
    pub fn accesses(&self) -> u64 {
        self.accesses.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.accesses.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self, device: &mut dyn PortIo, port: u16, data: &mut [u8]) {
        self.count();
        device.port_read(port - self.base, data);
        tracing::trace!(target: "cpu_in", "addr={port:#06x} size={} value={:#x}", data.len(), number(data));
    }

    fn write(&self, device: &mut dyn PortIo, port: u16, data: &[u8]) {
        self.count();
        tracing::trace!(target: "cpu_out", "addr={port:#06x} size={} value={:#x}", data.len(), number(data));
        device.port_write(port - self.base, data);
    }

    fn ports(&self) -> RangeInclusive<u16> {
        self.base..=self.base + (self.len - 1)
    }
}

/// The 64 Ki I/O ports.
#[derive(Default)]
pub struct PortSpace {
    ranges: RwLock<Arc<[PortRange]>>,
}

impl PortSpace {
    /// An empty space: reads give all ones, writes are dropped.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Registers `len` ports from `base`. With `byte_wide`, 16 and 32-bit accesses reach the device as bytes, as on
    /// the ISA bus with 8-bit chips.
    ///
    /// # Errors
    /// [`SpaceError::Overlap`] with both names.
    pub fn add<T: PortIo + 'static>(
        &self,
        base: u16,
        len: u16,
        name: &str,
        byte_wide: bool,
        device: &Shared<T>,
    ) -> Result<(), SpaceError> {
        let device: Arc<Mutex<dyn PortIo>> = device.clone();
        if len == 0 || base.checked_add(len - 1).is_none() {
            return Err(SpaceError::Range { name: name.into(), start: base.into(), len: len.into() });
        }
        let new = PortRange { base, len, name: name.into(), device, byte_wide, accesses: Arc::default() };
        let mut ranges = self.ranges.write().unwrap_or_else(|e| e.into_inner());
        if let Some(old) =
            ranges.iter().find(|r| r.ports().start() <= new.ports().end() && new.ports().start() <= r.ports().end())
        {
            return Err(SpaceError::Overlap {
                new: name.into(),
                old: old.name.clone(),
                start: base.into(),
                len: len.into(),
            });
        }
        let mut all = ranges.to_vec();
        all.push(new);
        all.sort_by_key(|r| r.base);
        *ranges = all.into();
        Ok(())
    }

    /// Removes the range that starts at `base` and is called `name`; nothing when there is none.
    pub fn remove(&self, base: u16, name: &str) {
        let mut ranges = self.ranges.write().unwrap_or_else(|e| e.into_inner());
        *ranges = ranges.iter().filter(|r| r.base != base || r.name != name).cloned().collect();
    }

    /// The ranges, sorted.
    pub fn ranges(&self) -> Arc<[PortRange]> {
        self.ranges.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// IN from `port`, `data.len()` bytes (1, 2 or 4).
    pub fn read(&self, port: u16, data: &mut [u8]) {
        if let Some(r) = whole(&self.ranges(), port, data.len()) {
            return r.read(&mut *lock(&r.device), port, data);
        }
        if data.len() == 1 {
            tracing::trace!(target: "unassigned_port", "port={port:#06x} read");
            data.fill(0xFF);
            return;
        }
        for (i, byte) in data.chunks_mut(1).enumerate() {
            self.read(port.wrapping_add(i as u16), byte);
        }
    }

    /// OUT to `port`, `data.len()` bytes (1, 2 or 4).
    pub fn write(&self, port: u16, data: &[u8]) {
        if let Some(r) = whole(&self.ranges(), port, data.len()) {
            return r.write(&mut *lock(&r.device), port, data);
        }
        if data.len() == 1 {
            tracing::trace!(target: "unassigned_port", "port={port:#06x} write={:#04x}", data[0]);
            return;
        }
        for (i, byte) in data.chunks(1).enumerate() {
            self.write(port.wrapping_add(i as u16), byte);
        }
    }

    /// INs of a string instruction from `port`: as many of the elements of `size` bytes that `data` has, one after the other, as come
    /// before a change of the space. The bytes read; 0 where no device takes an element whole.
    pub fn read_elements(&self, port: u16, size: usize, data: &mut [u8]) -> usize {
        let elements = data.chunks_exact_mut(size.max(1));
        self.elements(port, size, elements, |r, device, element| r.read(device, port, element))
    }

    /// OUTs of a string instruction, as [`Self::read_elements`]. The bytes written.
    pub fn write_elements(&self, port: u16, size: usize, data: &[u8]) -> usize {
        let elements = data.chunks_exact(size.max(1));
        self.elements(port, size, elements, |r, device, element| r.write(device, port, element))
    }

    fn elements<T>(
        &self,
        port: u16,
        size: usize,
        elements: impl Iterator<Item = T>,
        access: impl Fn(&PortRange, &mut dyn PortIo, T),
    ) -> usize {
        let ranges = self.ranges();
        let Some(r) = whole(&ranges, port, size) else { return 0 };
        let mut device = lock(&r.device);
        let mut done = 0;
        for element in elements {
            if done != 0 && self.is_newer(&ranges) {
                break;
            }
            access(r, &mut *device, element);
            done += size;
        }
        done
    }

    /// Whether the ranges have changed since.
    fn is_newer(&self, ranges: &Arc<[PortRange]>) -> bool {
        !Arc::ptr_eq(ranges, &self.ranges.read().unwrap_or_else(|e| e.into_inner()))
    }
}

/// The device that takes an access whole: it fits its range and the device takes wide accesses.
fn whole(ranges: &[PortRange], port: u16, len: usize) -> Option<&PortRange> {
    let i = ranges.partition_point(|r| r.base <= port).checked_sub(1)?;
    ranges
        .get(i)
        .filter(|r| port - r.base < r.len)
        .filter(|r| len == 1 || (!r.byte_wide && u32::from(port - r.base) + len as u32 <= u32::from(r.len)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared;

    struct Log(Vec<(u16, Vec<u8>)>);
    impl PortIo for Log {
        fn port_read(&mut self, offset: u16, data: &mut [u8]) {
            data.fill(offset as u8);
        }
        fn port_write(&mut self, offset: u16, data: &[u8]) {
            self.0.push((offset, data.to_vec()));
        }
    }

    #[test]
    fn wide_accesses_are_split_for_byte_wide_chips_and_at_range_ends() {
        let s = PortSpace::new();
        let (bytes, words) = (shared(Log(vec![])), shared(Log(vec![])));
        s.add(0x70, 2, "rtc", true, &bytes).unwrap();
        s.add(0x1F0, 8, "ide", false, &words).unwrap();
        s.write(0x70, &[0x0A, 0x55]);
        assert_eq!(lock(&bytes).0, [(0, vec![0x0A]), (1, vec![0x55])]);
        s.write(0x1F0, &[1, 2, 3, 4]);
        s.write(0x1F6, &[1, 2, 3, 4]);
        assert_eq!(lock(&words).0, [(0, vec![1, 2, 3, 4]), (6, vec![1]), (7, vec![2])]);
        let mut x = [0; 2];
        s.read(0x71, &mut x);
        assert_eq!(x, [1, 0xFF]);
        assert!(matches!(s.add(0x71, 1, "x", true, &bytes), Err(SpaceError::Overlap { .. })));
        lock(&words).0.clear();
        assert_eq!(s.write_elements(0x1F0, 2, &[1, 2, 3, 4, 5]), 4);
        assert_eq!(lock(&words).0, [(0, vec![1, 2]), (0, vec![3, 4])]);
        let mut x = [9; 6];
        assert_eq!((s.read_elements(0x1F2, 4, &mut x), x), (4, [2, 2, 2, 2, 9, 9]));
        let mut nothing = |port, size| s.read_elements(port, size, &mut x);
        assert_eq!([nothing(0x70, 2), nothing(0x1F7, 2), nothing(0x300, 1)], [0; 3]);
        assert_eq!(s.ranges().iter().map(PortRange::accesses).sum::<u64>(), 6 + 2 + 1);
    }
}
