//! Partition time: nanoseconds that stand still while suspended, and the guest's clocks made from them.
//!
//! Where the host's time-stamp counter is invariant, partition time is read from it (`cpu_x86::clock`), by everybody,
//! so that RDTSC in translated code and everything else agree. Its rate is measured against the host's monotonic clock and
//! corrected each time it is older than `LIMIT` counts (a third of a second or so): time goes a little faster or slower
//! then, by a thousandth at most, until both agree again. It never goes back.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use cpu_x86::clock::{GuestCounter, HostClock};

const GIGA: u64 = 1_000_000_000;

/// The rate of the host's counter is measured over this at least; until then the host's clock is read.
const CALIBRATION: Duration = Duration::from_millis(100);
/// What the host's counter and its clock differ by is made up for in so many nanoseconds.
const SLEW: i64 = 400_000_000;
/// A difference that is not made up for: the host slept, or its counter cannot be trusted.
const JUMP: i64 = 50_000_000;

#[derive(Default)]
struct Base {
    ns: u64,
    since: Option<Instant>,
    /// Time is what the clock shows.
    runs_on_counter: bool,
    /// The host's counter did what it should not.
    distrusted: bool,
}

impl Base {
    /// By the host's clock.
    fn by_host(&self, at: Instant) -> u64 {
        self.ns.wrapping_add(self.since.map_or(0, |s| at.saturating_duration_since(s).as_nanos() as u64))
    }
}

/// The host's clock and its counter at the same time, as nearly as that can be told.
#[derive(Clone, Copy)]
struct Pair {
    at: Instant,
    count: u64,
}

impl Pair {
    fn now() -> Option<Self> {
        let once = || {
            let before = HostClock::counter()?;
            let at = Instant::now();
            let width = HostClock::counter()?.wrapping_sub(before);
            Some((width, Self { at, count: before.wrapping_add(width / 2) }))
        };
        (0..4).map_while(|_| once()).min_by_key(|(width, _)| *width).map(|(_, pair)| pair)
    }

    /// The first that was looked at.
    fn first() -> Option<Self> {
        static FIRST: OnceLock<Option<Pair>> = OnceLock::new();
        *FIRST.get_or_init(Self::now)
    }

    /// Nanoseconds in a count, times 2^32, since `first`: `None` when that was not long ago, or counts are longer than a
    /// nanosecond.
    fn rate(self, first: Self) -> Option<u64> {
        let time = self.at.saturating_duration_since(first.at);
        let counts = self.count.wrapping_sub(first.count);
        if time < CALIBRATION || counts == 0 {
            return None;
        }
        let rate = (time.as_nanos() << 32) / u128::from(counts);
        u64::try_from(rate).ok().filter(|r| *r < (1 << 32) - (1 << 24))
    }
}

/// The partition's clock. Host time is monotonic across threads, so the guest's TSCs are across processors.
pub(crate) struct PartitionTime {
    clock: Arc<HostClock>,
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
        Pair::first();
        Self {
            clock: Arc::default(),
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

    fn base(&self) -> RwLockWriteGuard<'_, Base> {
        self.base.write().unwrap_or_else(|e| e.into_inner())
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.read().unwrap_or_else(|| self.ask())
    }

    /// A guest TSC that is read without a call; `None` when it does not count nanoseconds.
    pub(crate) fn counter(&self, offset: &Arc<AtomicI64>) -> Option<GuestCounter> {
        (self.tsc_hz() == GIGA).then(|| GuestCounter { clock: self.clock.clone(), offset: offset.clone() })
    }

    /// What the clock does not say: it stands, somebody changes it, or it is to be corrected.
    #[cold]
    fn ask(&self) -> u64 {
        {
            // Without the counter many may ask at once.
            let b = self.base.read().unwrap_or_else(|e| e.into_inner());
            if b.distrusted || HostClock::counter().is_none() {
                return b.by_host(Instant::now());
            }
        }
        let mut b = self.base();
        // Somebody else did it meanwhile.
        self.clock.read().unwrap_or_else(|| self.correct(&mut b))
    }

    /// Partition time by the host's clock; the clock is started, or corrected, if it can be.
    fn correct(&self, b: &mut Base) -> u64 {
        if b.since.is_none() {
            return b.ns;
        }
        let pair = if b.distrusted { None } else { Pair::now() };
        let rate = pair.and_then(|p| p.rate(Pair::first()?));
        let now = pair.map_or_else(Instant::now, |p| p.at);
        let is = b.by_host(now);
        let shown = b.runs_on_counter.then(|| pair.map_or_else(|| self.clock.last(), |p| self.clock.at(p.count)));
        let late = is.wrapping_sub(shown.unwrap_or(is)) as i64;
        let (Some(pair), Some(rate)) = (pair, rate.filter(|_| late >= -JUMP)) else {
            if shown.is_some() {
                // The counter is ahead by what cannot be drift, or was reset: the host slept.
                self.clock.stand();
                *b = Base { ns: is.max(self.clock.last()), since: Some(now), runs_on_counter: false, distrusted: true };
                return b.ns;
            }
            return is;
        };
        b.runs_on_counter = true;
        let shown = shown.unwrap_or(is);
        let (from, late) = if late > JUMP { (is, 0) } else { (shown, late) };
        let most = i128::from(rate) / 1000;
        let more = (i128::from(rate) * i128::from(late) / i128::from(SLEW)).clamp(-most, most);
        self.clock.go_on(pair.count, from, (i128::from(rate) + more) as u64);
        from
    }

    /// It stands from now on, at what it returns.
    fn stand(&self, b: &mut Base) -> u64 {
        let now = self.clock.read().unwrap_or_else(|| self.correct(b));
        self.clock.stand();
        b.runs_on_counter = false;
        now
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Relaxed)
    }

    pub(crate) fn suspend(&self) {
        let mut b = self.base();
        b.ns = self.stand(&mut b);
        b.since = None;
        self.suspended.store(true, Ordering::Relaxed);
    }

    /// `true` when it was suspended.
    pub(crate) fn resume(&self) -> bool {
        let mut b = self.base();
        let was = b.since.is_none();
        if was {
            b.since = Some(Instant::now());
        }
        self.suspended.store(false, Ordering::Relaxed);
        was
    }

    /// Back to 0, suspended.
    pub(crate) fn reset(&self) {
        let mut b = self.base();
        self.clock.stand();
        *b = Base::default();
        drop(b);
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
    fn time_never_goes_back_and_is_that_of_the_host() {
        let t = PartitionTime::new();
        t.resume();
        let start = Instant::now();
        let before = t.now();
        let last = AtomicU64::new(0);
        std::thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    while start.elapsed() < Duration::from_millis(1200) {
                        let seen = last.load(Ordering::SeqCst);
                        let now = t.now();
                        assert!(now >= seen, "{now} after {seen}");
                        last.fetch_max(now, Ordering::SeqCst);
                    }
                });
            }
        });
        let (by_host, by_clock) = (start.elapsed().as_nanos() as i64, (t.now() - before) as i64);
        assert!((by_host - by_clock).abs() < 1_000_000, "{by_host} and {by_clock}");
        if HostClock::counter().is_some() {
            assert!(t.base().runs_on_counter && !t.base().distrusted);
        }
        // What was suspended goes on from where it stood.
        t.suspend();
        let stood = t.now();
        assert!(t.clock.read().is_none());
        t.resume();
        let now = t.now();
        assert!(now >= stood && now - stood < 500_000_000, "{now} after {stood}");
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
