//! A clock made from the host's time-stamp counter (Intel SDM volume 3, 17.17), which other threads and translated code
//! read without a lock or a call: nanoseconds at some count, and a rate from there on.
//!
//! Whoever owns a [`HostClock`] gives it a new rate from time to time. Readers take what they find when its sequence number
//! was the same before and after, and ask the owner where it was not, while the clock stands, and when the last change was
//! long ago. As long as the owner continues where the clock is, no reader on any processor sees it go back: those that
//! find the old rate read the counter before the change was complete, those that find the new one read it afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};

/// Counts after which a clock that was not changed is not read any more.
pub(crate) const LIMIT: u64 = 1 << 30;

/// See the module's documentation.
#[derive(Debug)]
#[repr(C)]
pub struct HostClock {
    /// Odd: it stands, or is being changed.
    pub(crate) sequence: AtomicU32,
    /// Count of the host's at which it showed `ns`.
    pub(crate) base: AtomicU64,
    /// Nanoseconds in a count, times 2^32.
    pub(crate) rate: AtomicU64,
    pub(crate) ns: AtomicU64,
}

impl Default for HostClock {
    /// Stands.
    fn default() -> Self {
        Self { sequence: AtomicU32::new(1), base: AtomicU64::new(0), rate: AtomicU64::new(0), ns: AtomicU64::new(0) }
    }
}

impl HostClock {
    /// The host's counter, where it counts at one rate whatever the host does.
    pub fn counter() -> Option<u64> {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{__cpuid, _mm_lfence, _rdtsc};
            use std::sync::OnceLock;
            static INVARIANT: OnceLock<bool> = OnceLock::new();
            let there = *INVARIANT
                .get_or_init(|| __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx >> 8 & 1 != 0);
            // (After what was read before: RDTSC alone may be executed early.)
            // SAFETY: both are there wherever CPUID says that the counter is invariant, and touch no memory.
            there.then(|| unsafe {
                _mm_lfence();
                _rdtsc()
            })
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            None
        }
    }

    /// Nanoseconds now; `None`: ask the owner.
    #[inline]
    pub fn read(&self) -> Option<u64> {
        let sequence = self.sequence.load(Ordering::Acquire);
        if sequence & 1 != 0 {
            return None;
        }
        let passed = Self::counter()?.wrapping_sub(self.base.load(Ordering::Relaxed));
        let (rate, ns) = (self.rate.load(Ordering::Relaxed), self.ns.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let same = self.sequence.load(Ordering::Relaxed) == sequence;
        (same && passed < LIMIT).then(|| ns.wrapping_add(passed.wrapping_mul(rate) >> 32))
    }

    /// What it shows at count `at`, or would, however long after the last change. For its owner.
    pub fn at(&self, at: u64) -> u64 {
        let passed = at.wrapping_sub(self.base.load(Ordering::Relaxed));
        let ns = (u128::from(passed) * u128::from(self.rate.load(Ordering::Relaxed))) >> 32;
        self.ns.load(Ordering::Relaxed).wrapping_add(ns as u64)
    }

    /// The most that somebody can have read. For its owner.
    pub fn last(&self) -> u64 {
        self.at(self.base.load(Ordering::Relaxed).wrapping_add(LIMIT))
    }

    /// Goes on from `ns` at count `base` with `rate` (times 2^32, at most one nanosecond a count). For its owner, one
    /// thread at a time.
    pub fn go_on(&self, base: u64, ns: u64, rate: u64) {
        assert!(rate < 1 << 32, "LIMIT counts must fit");
        self.stand();
        self.base.store(base, Ordering::Relaxed);
        self.rate.store(rate, Ordering::Relaxed);
        self.ns.store(ns, Ordering::Relaxed);
        self.sequence.fetch_add(1, Ordering::Release);
    }

    /// Stands from now on. For its owner, one thread at a time.
    pub fn stand(&self) {
        self.sequence.fetch_or(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

/// A time-stamp counter that counts a clock's nanoseconds: what [`Bus::tsc`](crate::Bus::tsc) returns, for translated code
/// to read by itself.
#[derive(Clone, Debug)]
pub struct GuestCounter {
    /// The clock.
    pub clock: Arc<HostClock>,
    /// To be added.
    pub offset: Arc<AtomicI64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_never_see_it_go_back() {
        let Some(start) = HostClock::counter() else {
            println!("skipped: the host's counter is not invariant");
            return;
        };
        let clock = HostClock::default();
        assert_eq!(clock.read(), None);
        clock.go_on(start, 1000, 1 << 31);
        let last = AtomicU64::new(0);
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    for _ in 0..100_000 {
                        let seen = last.load(Ordering::SeqCst);
                        let Some(now) = clock.read() else { continue };
                        assert!(now >= seen, "{now} after {seen}");
                        last.fetch_max(now, Ordering::SeqCst);
                    }
                });
            }
            for n in 0..2000u64 {
                let at = HostClock::counter().unwrap();
                clock.go_on(at, clock.at(at), (1 << 30) + n * 1_000_000);
                std::thread::yield_now();
            }
        });
        clock.stand();
        assert_eq!(clock.read(), None);
    }
}
