//! The guest-physical map.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use guest_memory::RamBlock;
use whp::*;

use crate::platform;
use crate::snippets::*;
use crate::vm::{F, Log, Seen, Vm, rwx};

#[test]
fn a_store_to_rom_exits_or_is_handled_and_changes_nothing() {
    let v = Vm::new(&platform(), 1, vec![]);
    let rom = RamBlock::new("rom", 0x1000).unwrap();
    rom.write(0x10, &[0x33]);
    v.partition.map_gpa_range(&rom, 0, 0x1000, 0x8_0000, F::READ | F::EXECUTE).unwrap();
    v.real(0, ROM_WRITE);
    let c = v.run(0, None);
    let Exit::MemoryAccess(m) = c.exit else { panic!("{c:x?}") };
    assert_eq!((m.gpa, m.access_type, m.gpa_unmapped), (0x8_0010, AccessType::Write, false));
    if !crate::decoded() {
        return;
    }
    let log = Log::default();
    assert_eq!(v.run(0, Some(&log)).exit, Exit::Halt);
    assert_eq!(log.take(), [Seen::Write(0x8_0010, vec![0x77])]);
    assert_eq!(v.get(0, RegisterName::RBX) as u8, 0x33);
}

#[test]
fn fetches_need_the_execute_flag() {
    let v = Vm::new(&platform(), 1, vec![]);
    v.partition.map_gpa_range(&v.ram, 0x8_0000, 0x1000, 0x8_0000, F::READ | F::WRITE).unwrap();
    v.load(0x8_0000, HALT);
    v.real(0, JUMP_8000);
    let c = v.run(0, Some(&Log::default()));
    let Exit::MemoryAccess(m) = c.exit else { panic!("{c:x?}") };
    assert_eq!((m.gpa, m.access_type, m.gpa_unmapped), (0x8_0000, AccessType::Execute, false));
    v.partition.map_gpa_range(&v.ram, 0x8_0000, 0x1000, 0x8_0000, rwx()).unwrap();
    assert_eq!(v.run(0, None).exit, Exit::Halt);
}

#[test]
fn dirty_pages_are_known() {
    let v = Vm::new(&platform(), 1, vec![]);
    v.partition.map_gpa_range(&v.ram, 0, 0x10_000, 0, rwx() | F::TRACK_DIRTY_PAGES).unwrap();
    v.real(0, DIRTY);
    v.partition.query_dirty_bitmap(0, 0x10_000).unwrap();
    assert_eq!(v.run(0, None).exit, Exit::Halt);
    assert_eq!(v.partition.query_dirty_bitmap(0, 0x10_000).unwrap(), [1 << 3 | 1 << 5]);
    v.real(0, DIRTY);
    v.partition.query_dirty_bitmap(0, 0x10_000).unwrap();
    assert_eq!(v.run(0, None).exit, Exit::Halt, "tracked again through what the processor has cached");
    assert_eq!(v.partition.query_dirty_bitmap(0x2000, 0x2000).unwrap(), [0b10]);
}

#[test]
fn after_unmapping_nothing_is_written_any_more() {
    let v = Vm::new(&platform(), 1, vec![]);
    v.long(0, COUNT_50000_64);
    let vp = v.vps[0].clone();
    let t = std::thread::spawn(move || vp.run(None).unwrap());
    while v.u32(0x5_0000) < 1000 {
        std::thread::yield_now();
    }
    v.partition.unmap_gpa_range(0x5_0000, 0x1000).unwrap();
    let count = v.u32(0x5_0000);
    let c = t.join().unwrap();
    let Exit::MemoryAccess(m) = c.exit else { panic!("{c:x?}") };
    assert_eq!(m.gpa, 0x5_0000);
    assert_eq!(v.u32(0x5_0000), count);
}

/// Moves a page in and out of the map from inside its callback.
struct Remapper {
    partition: Arc<dyn Partition>,
    page: Arc<RamBlock>,
    gpa: u64,
    mapped: AtomicBool,
    left: AtomicU32,
    vp: Arc<dyn VirtualProcessor>,
}

impl AccessHandler for Remapper {
    fn port_read(&self, _port: u16, _data: &mut [u8]) {}
    fn port_write(&self, _port: u16, _data: &[u8]) {
        if self.mapped.fetch_xor(true, Ordering::Relaxed) {
            self.partition.unmap_gpa_range(self.gpa, 0x1000).unwrap();
        } else {
            self.partition.map_gpa_range(&self.page, 0, 0x1000, self.gpa, rwx()).unwrap();
        }
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.vp.cancel();
        }
    }
    fn memory_read(&self, _gpa: u64, _data: &mut [u8]) {}
    fn memory_write(&self, _gpa: u64, _data: &[u8]) {}
    fn eoi(&self, _vector: u8) {}
}

#[test]
fn two_processors_change_the_map_at_once() {
    if !crate::decoded() {
        return;
    }
    let v = Vm::new(&platform(), 2, vec![]);
    v.real(0, PORT_SPIN);
    v.real(1, PORT_SPIN);
    let threads: Vec<_> = (0..2)
        .map(|i| {
            let handler = Remapper {
                partition: v.partition.clone(),
                page: RamBlock::new("page", 0x1000).unwrap(),
                gpa: 0x20_0000 + 0x1000 * i as u64,
                mapped: AtomicBool::new(false),
                left: AtomicU32::new(200),
                vp: v.vps[i].clone(),
            };
            let vp = v.vps[i].clone();
            std::thread::spawn(move || vp.run(Some(&handler)).unwrap().exit)
        })
        .collect();
    for t in threads {
        assert_eq!(t.join().unwrap(), Exit::Canceled);
    }
}

#[test]
fn translation_without_side_effects() {
    let v = Vm::new(&platform(), 1, vec![]);
    v.long(0, SPIN64);
    let t = v.vp().translate_gva(0x12_3456, TranslateGvaFlags::VALIDATE_READ).unwrap();
    assert_eq!((t.code, t.gpa), (TranslateGvaResultCode::GPA_UNMAPPED, 0x12_3456));
    let t = v.vp().translate_gva(0x1_2345, TranslateGvaFlags::VALIDATE_WRITE).unwrap();
    assert_eq!((t.code, t.gpa), (TranslateGvaResultCode::SUCCESS, 0x1_2345));
    assert_eq!(v.u64(0x2_2000), 0x83, "no accessed bit");
    let t = v.vp().translate_gva(0x8000_0000, TranslateGvaFlags::VALIDATE_READ).unwrap();
    assert_eq!(t.code, TranslateGvaResultCode::PAGE_NOT_PRESENT);
}
