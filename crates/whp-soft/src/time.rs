//! Partition time: nanoseconds that stand still while suspended, and the guest's clocks made from them.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const GIGA: u64 = 1_000_000_000;

#[derive(Default)]
struct Base {
    ns: u64,
    since: Option<Instant>,
}

/// The partition's clock. Host time is monotonic across threads, so the guest's TSCs are across processors.
pub(crate) struct PartitionTime {
    base: RwLock<Base>,
    suspended: AtomicBool,
    tsc_hz: AtomicU64,
    apic_hz: AtomicU64,
}

fn scale(ns: u64, hz: u64) -> u64 {
    if hz == GIGA { ns } else { (u128::from(ns) * u128::from(hz) / u128::from(GIGA)) as u64 }
}

/// The first nanosecond at which a clock of `hz` has reached `ticks`.
fn unscale(ticks: u64, hz: u64) -> u64 {
    if hz == GIGA {
        return ticks;
    }
    u64::try_from((u128::from(ticks) * u128::from(GIGA)).div_ceil(u128::from(hz.max(1)))).unwrap_or(u64::MAX)
}

impl PartitionTime {
    /// Suspended at 0.
    pub(crate) fn new() -> Self {
        Self {
            base: RwLock::default(),
            suspended: AtomicBool::new(true),
            tsc_hz: AtomicU64::new(GIGA),
            apic_hz: AtomicU64::new(GIGA),
        }
    }

    pub(crate) fn set_rates(&self, tsc_hz: u64, apic_hz: u64) {
        self.tsc_hz.store(tsc_hz, Ordering::Relaxed);
        self.apic_hz.store(apic_hz, Ordering::Relaxed);
    }

    pub(crate) fn tsc_hz(&self) -> u64 {
        self.tsc_hz.load(Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> u64 {
        let b = self.base.read().unwrap_or_else(|e| e.into_inner());
        b.ns.wrapping_add(b.since.map_or(0, |s| s.elapsed().as_nanos() as u64))
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Relaxed)
    }

    pub(crate) fn suspend(&self) {
        let mut b = self.base.write().unwrap_or_else(|e| e.into_inner());
        if let Some(s) = b.since.take() {
            b.ns = b.ns.wrapping_add(s.elapsed().as_nanos() as u64);
        }
        self.suspended.store(true, Ordering::Relaxed);
    }

    /// `true` when it was suspended.
    pub(crate) fn resume(&self) -> bool {
        let mut b = self.base.write().unwrap_or_else(|e| e.into_inner());
        let was = b.since.is_none();
        if was {
            b.since = Some(Instant::now());
        }
        self.suspended.store(false, Ordering::Relaxed);
        was
    }

    /// Back to 0, suspended.
    pub(crate) fn reset(&self) {
        *self.base.write().unwrap_or_else(|e| e.into_inner()) = Base::default();
        self.suspended.store(true, Ordering::Relaxed);
    }

    /// The TSC of a processor without an offset.
    pub(crate) fn tsc(&self, ns: u64) -> u64 {
        scale(ns, self.tsc_hz.load(Ordering::Relaxed))
    }

    /// When that TSC reaches `tsc`.
    pub(crate) fn tsc_to_ns(&self, tsc: u64) -> u64 {
        unscale(tsc, self.tsc_hz.load(Ordering::Relaxed))
    }

    /// The APIC timers' input clocks.
    pub(crate) fn apic_clocks(&self, ns: u64) -> u64 {
        scale(ns, self.apic_hz.load(Ordering::Relaxed))
    }

    /// When they reach `clocks`.
    pub(crate) fn clocks_to_ns(&self, clocks: u64) -> u64 {
        unscale(clocks, self.apic_hz.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_back_is_never_early() {
        for hz in [GIGA, 200_000_000, 2_893_202_117, 1_000_000] {
            for ticks in [0, 1, 7, 1_000_003, 1 << 40] {
                assert!(scale(unscale(ticks, hz), hz) >= ticks, "{hz} {ticks}");
            }
        }
    }

    #[test]
    fn suspended_time_stands() {
        let t = PartitionTime::new();
        assert_eq!(t.now(), 0);
        assert!(t.resume());
        assert!(!t.resume());
        while t.now() == 0 {}
        t.suspend();
        let n = t.now();
        assert_eq!(t.now(), n);
    }
}
