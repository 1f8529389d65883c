//! The built-in platform's own way: accesses are decoded and served by a callback while the processor keeps running.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use guest_memory::RamBlock;
use whp::{
    AccessHandler, Exit, MapGpaRangeFlags, Platform, Property, RegisterName as R, SegmentRegister, VirtualProcessor,
};
use whp_soft::SoftPlatform;

/// Counts accesses; cancels after a while.
struct Counter {
    count: AtomicU64,
    until: Instant,
    vp: Arc<dyn VirtualProcessor>,
}

impl Counter {
    fn count(&self) {
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        if n.is_multiple_of(4096) && Instant::now() >= self.until {
            self.vp.cancel();
        }
    }
}

impl AccessHandler for Counter {
    fn port_read(&self, _port: u16, data: &mut [u8]) {
        data.fill(0);
        self.count();
    }
    fn port_write(&self, _port: u16, _data: &[u8]) {
        self.count();
    }
    fn memory_read(&self, _gpa: u64, data: &mut [u8]) {
        data.fill(0);
        self.count();
    }
    fn memory_write(&self, _gpa: u64, _data: &[u8]) {
        self.count();
    }
    fn eoi(&self, _vector: u8) {}
}

/// The time of an access in a loop of nothing else.
fn access(code: &[u8], time: Duration) -> whp::Result<f64> {
    let (at, device) = super::PLACES;
    let partition = SoftPlatform::default().create_partition()?;
    partition.set_property(Property::ProcessorCount(1))?;
    partition.setup()?;
    let ram = RamBlock::new("bench", 0x10_0000).map_err(|_| whp::HResult::E_OUTOFMEMORY).expect("memory for the guest");
    ram.write(at, code);
    let rwx = MapGpaRangeFlags::READ | MapGpaRangeFlags::WRITE | MapGpaRangeFlags::EXECUTE;
    partition.map_gpa_range(&ram, 0, 0x10_0000, 0, rwx)?;
    let vp = partition.create_virtual_processor(0)?;
    // 32-bit flat segments without paging.
    let segment = |selector, attributes| SegmentRegister { base: 0, limit: u32::MAX, selector, attributes };
    vp.set_registers(
        &[R::CR0, R::CS, R::DS, R::ES, R::SS, R::RIP, R::RDI],
        &[
            0x11u64.into(),
            segment(8, 0xC09B).into(),
            segment(16, 0xC093).into(),
            segment(16, 0xC093).into(),
            segment(16, 0xC093).into(),
            at.into(),
            device.into(),
        ],
    )?;
    let started = Instant::now();
    let counter = Counter { count: AtomicU64::new(0), until: started + time, vp: vp.clone() };
    let exit = vp.run(Some(&counter))?.exit;
    assert_eq!(exit, Exit::Canceled);
    Ok(started.elapsed().as_nanos() as f64 / counter.count.load(Ordering::Relaxed) as f64)
}

pub fn report(time: Duration) {
    for (what, code) in [
        ("decoded OUT, no exit", &[0xE6, 0x80, 0xEB, 0xFC][..]),
        ("decoded store, no exit", &[0x89, 0x07, 0xEB, 0xFC]),
        ("decoded load, no exit", &[0x8B, 0x07, 0xEB, 0xFC]),
    ] {
        match access(code, time) {
            Ok(ns) => super::say(what, ns),
            Err(error) => println!("{what}\t{error}"),
        }
    }
}
