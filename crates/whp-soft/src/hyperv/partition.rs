//! What a partition has once: the guest's identity, the hypercall page (TLFS, "Hypercall Interface") and the reference
//! TSC page (TLFS, "Timers"). Both pages are overlays that the guest can read and not write.
//!
//! The reference time is made from the partition's TSC with the very numbers of the reference TSC page, so that the
//! page, the counter MSR and the timers agree to the tick.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use guest_memory::{PAGE_SIZE, RamBlock};
use whp::MapGpaRangeFlags;

use super::{ENABLE, PAGE};
use crate::map::Overlay;
use crate::shared::Shared;

/// Reference time ticks a second.
const HZ: u64 = 10_000_000;
/// HYPERCALL: it stays as it is until a reset.
const LOCKED: u64 = 1 << 1;
/// Code of the hypercall page.
const VMCALL: [u8; 4] = [0x0F, 0x01, 0xC1, 0xC3];
const VMMCALL: [u8; 4] = [0x0F, 0x01, 0xD9, 0xC3];
/// What the rest of it is filled with: INT3.
const FILLER: u8 = 0xCC;

/// See the module's documentation. The values are read without a lock: a processor that waits for one cannot answer
/// to a change of the map.
#[derive(Default)]
pub(crate) struct Hyperv {
    guest_os_id: AtomicU64,
    hypercall: AtomicU64,
    reference_tsc: AtomicU64,
    /// Held while a page moves, by a processor that is outside guest memory.
    moving: Mutex<()>,
    /// Number of the reference TSC page's contents.
    sequence: Mutex<u32>,
    hypercall_page: OnceLock<Arc<RamBlock>>,
    tsc_page: OnceLock<Arc<RamBlock>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn page(slot: &OnceLock<Arc<RamBlock>>, name: &str) -> Option<Arc<RamBlock>> {
    if slot.get().is_none() {
        let _raced = slot.set(RamBlock::new(name, PAGE_SIZE).ok()?); // then the other's is as good
    }
    slot.get().cloned()
}

/// TscScale: reference time is TSC * scale / 2^64. `None` for a TSC too slow for it.
fn scale(tsc_hz: u64) -> Option<u64> {
    u64::try_from((u128::from(HZ) << 64) / u128::from(tsc_hz.max(1))).ok()
}

fn multiply(tsc: u64, scale: u64) -> u64 {
    ((u128::from(tsc) * u128::from(scale)) >> 64) as u64
}

impl Hyperv {
    pub(crate) fn guest_os_id(&self) -> u64 {
        self.guest_os_id.load(Ordering::SeqCst)
    }

    pub(crate) fn hypercall(&self) -> u64 {
        self.hypercall.load(Ordering::SeqCst)
    }

    pub(crate) fn reference_tsc(&self) -> u64 {
        self.reference_tsc.load(Ordering::SeqCst)
    }

    pub(crate) fn tsc_sequence(&self) -> u32 {
        *lock(&self.sequence)
    }
}

/// Methods that move pages must be called by a processor that is outside guest memory, or by none.
impl Shared {
    /// A guest-physical page that exists.
    pub(crate) fn is_page(&self, value: u64) -> bool {
        (value & PAGE) >> self.config().physical_bits.min(52) == 0
    }

    /// Writes GUEST_OS_ID. Without an identity there is no hypercall page.
    pub(crate) fn set_guest_os_id(&self, value: u64) {
        let _moving = lock(&self.hyperv.moving);
        self.hyperv.guest_os_id.store(value, Ordering::SeqCst);
        if value == 0 {
            self.move_hypercall_page(self.hyperv.hypercall() & !ENABLE);
        }
    }

    /// Writes HYPERCALL. `false`: #GP.
    pub(crate) fn set_hypercall(&self, value: u64) -> bool {
        let _moving = lock(&self.hyperv.moving);
        if !self.is_page(value) {
            return false;
        }
        if self.hyperv.hypercall() & LOCKED == 0 {
            let identified = self.hyperv.guest_os_id() != 0;
            self.move_hypercall_page(if identified { value } else { value & !ENABLE });
        }
        true
    }

    fn move_hypercall_page(&self, value: u64) {
        let block = page(&self.hyperv.hypercall_page, "hypercall page").filter(|_| value & ENABLE != 0);
        if let Some(block) = &block {
            let intel = (self.options.model)(0).leaf(0, 0).is_some_and(|r| r[1] == 0x756E_6547);
            block.fill(0, PAGE_SIZE, FILLER);
            block.write(0, if intel { &VMCALL } else { &VMMCALL });
        }
        self.hyperv.hypercall.store(value, Ordering::SeqCst);
        let flags = MapGpaRangeFlags::READ | MapGpaRangeFlags::EXECUTE;
        self.map.set_overlay(Overlay::Hypercall, block.map(|b| (value & PAGE, b, flags)));
        self.forget_old_map();
    }

    /// Writes REFERENCE_TSC. `false`: #GP.
    pub(crate) fn set_reference_tsc(&self, value: u64) -> bool {
        let _moving = lock(&self.hyperv.moving);
        if !self.is_page(value) {
            return false;
        }
        let block = page(&self.hyperv.tsc_page, "reference TSC page").filter(|_| value & ENABLE != 0);
        self.hyperv.reference_tsc.store(value, Ordering::SeqCst);
        self.refresh_reference_tsc();
        self.map.set_overlay(Overlay::ReferenceTsc, block.map(|b| (value & PAGE, b, MapGpaRangeFlags::READ)));
        self.forget_old_map();
        true
    }

    /// Sets the number of the reference TSC page's contents.
    pub(crate) fn set_tsc_sequence(&self, value: u32) {
        *lock(&self.hyperv.sequence) = value;
        self.refresh_reference_tsc();
    }

    /// Fills the reference TSC page for the processors' TSCs as they are: one scale and offset must do for all.
    pub(crate) fn refresh_reference_tsc(&self) {
        let Some(page) = self.hyperv.tsc_page.get().filter(|_| self.hyperv.reference_tsc() & ENABLE != 0) else {
            return;
        };
        let mut sequence = lock(&self.hyperv.sequence);
        // Sequence 0: the page is of no use now.
        page.write(0, &[0; 8]);
        let offsets: Vec<i64> = self.vps().iter().flatten().map(|vp| vp.tsc_offset()).collect();
        let first = offsets.first().copied().unwrap_or(0);
        let same = offsets.iter().all(|o| *o == first);
        let Some(scale) = scale(self.time.tsc_hz()).filter(|_| same) else { return };
        let offset = multiply(first.unsigned_abs(), scale) as i64;
        let offset = if first < 0 { offset.wrapping_add(1) } else { offset.wrapping_neg() };
        page.write(8, &scale.to_le_bytes());
        page.write(16, &offset.to_le_bytes());
        // 0 and all ones are no numbers.
        *sequence = if *sequence >= u32::MAX - 1 { 1 } else { *sequence + 1 };
        page.write(0, &sequence.to_le_bytes());
    }

    /// As at power-on; the processors stand.
    pub(crate) fn reset_hyperv(&self) {
        let _moving = lock(&self.hyperv.moving);
        self.hyperv.guest_os_id.store(0, Ordering::SeqCst);
        self.hyperv.hypercall.store(0, Ordering::SeqCst);
        self.hyperv.reference_tsc.store(0, Ordering::SeqCst);
        *lock(&self.hyperv.sequence) = 0;
        if self.map.remove_overlays() {
            self.forget_old_map();
        }
    }

    /// The reference time at partition time `ns`.
    pub(crate) fn reference_time(&self, ns: u64) -> u64 {
        scale(self.time.tsc_hz()).map_or(ns / 100, |s| multiply(self.time.tsc(ns), s))
    }

    /// The first partition time at which the reference time has reached `ticks`.
    pub(crate) fn reference_to_ns(&self, ticks: u64) -> u64 {
        let Some(scale) = scale(self.time.tsc_hz()) else { return ticks.saturating_mul(100) };
        let tsc = (u128::from(ticks) << 64).div_ceil(u128::from(scale.max(1)));
        u64::try_from(tsc).map_or(u64::MAX, |tsc| self.time.tsc_to_ns(tsc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::SoftOptions;

    #[test]
    fn reference_time_and_back() {
        for hz in [1_000_000, 10_000_000, 999_999_937, 1_000_000_000, 2_893_202_117] {
            let shared = Shared::new(SoftOptions::default());
            shared.time.set_rates(hz, hz);
            for ticks in [0, 1, 7, 10_000_019, 864_000_000_007, 1 << 50] {
                let ns = shared.reference_to_ns(ticks);
                let (at, long_after) = (shared.reference_time(ns), ticks + 1 + HZ * 4 / hz);
                assert!((ticks..=long_after).contains(&at), "{hz} {ticks} {at}");
            }
        }
    }

    #[test]
    fn the_tsc_page_gives_the_reference_time() {
        let shared = Shared::new(SoftOptions::default());
        assert!(shared.set_reference_tsc(0x7000 | ENABLE));
        assert!(!shared.set_reference_tsc(1 << 60 | ENABLE), "beyond the address space");
        let mut page = [0; 24];
        shared.hyperv.tsc_page.get().unwrap().read(0, &mut page);
        let word = |n: usize| u64::from_le_bytes(page[n * 8..][..8].try_into().unwrap());
        assert_eq!((word(0), word(2)), (1, 0));
        for ns in [0, 99, 100, 12_345_678_900] {
            assert_eq!(multiply(shared.time.tsc(ns), word(1)), shared.reference_time(ns));
        }
    }

    #[test]
    fn the_hypercall_page_wants_an_identity_and_can_be_locked() {
        let shared = Shared::new(SoftOptions::default());
        assert!(shared.set_hypercall(0x5000 | ENABLE));
        assert_eq!(shared.hyperv.hypercall(), 0x5000);
        shared.set_guest_os_id(7);
        assert!(shared.set_hypercall(0x5000 | LOCKED | ENABLE));
        assert!(shared.set_hypercall(0x6000 | ENABLE));
        assert_eq!(shared.hyperv.hypercall(), 0x5003, "locked");
        assert!(shared.map.ranges().iter().any(|r| r.gpa == 0x5000));
        shared.set_guest_os_id(0);
        assert!(shared.map.ranges().is_empty());
        shared.reset_hyperv();
        assert_eq!(shared.hyperv.hypercall(), 0);
    }
}
