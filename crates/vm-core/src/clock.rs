//! Virtual time and timers.
//!
//! A [`Clock`] counts nanoseconds while the machine runs. A [`Timer`] calls back once when its deadline has come,
//! on the clock's own thread, with no lock held; the callback locks its device itself. A manual clock moves only
//! when a test says so and then runs the due callbacks on the caller's thread.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

type Callback = Arc<dyn Fn() + Send + Sync>;

struct State {
    /// Virtual nanoseconds at `since`, or now when stopped.
    base: u64,
    /// When the clock was last started; `None` when it stands.
    since: Option<Instant>,
    /// (deadline, timer id) -> callback.
    armed: BTreeMap<(u64, u64), Weak<Inner>>,
    next_id: u64,
    thread_runs: bool,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    manual: bool,
}

struct Inner {
    id: u64,
    name: String,
    clock: Arc<Shared>,
    callback: Callback,
    deadline: Mutex<Option<u64>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let deadline = self.deadline.get_mut().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(d) = deadline {
            self.clock.lock().armed.remove(&(d, self.id));
        }
    }
}

/// Virtual time in nanoseconds; clones are the same clock.
#[derive(Clone)]
pub struct Clock(Arc<Shared>);

/// A named one-shot timer on a [`Clock`]. Dropping it disarms it.
#[derive(Clone)]
pub struct Timer(Arc<Inner>);

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timer({}, {:?})", self.0.name, self.deadline())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl State {
    fn now(&self) -> u64 {
        let run = self.since.map_or(0, |s| u64::try_from(s.elapsed().as_nanos()).unwrap_or(u64::MAX));
        self.base.saturating_add(run)
    }

    /// Takes the first timer whose deadline has passed at `now`.
    fn due(&mut self, now: u64) -> Option<Arc<Inner>> {
        while let Some((&(deadline, id), _)) = self.armed.first_key_value() {
            if deadline > now {
                return None;
            }
            if let Some(t) = self.armed.remove(&(deadline, id)).and_then(|w| w.upgrade()) {
                return Some(t);
            }
        }
        None
    }
}

impl Clock {
    /// A clock that follows the host's monotonic time, standing at 0 until [`Clock::start`].
    pub fn new() -> Self {
        Self::make(false)
    }

    /// A clock for tests: moves by [`Clock::advance`] only.
    pub fn manual() -> Self {
        Self::make(true)
    }

    fn make(manual: bool) -> Self {
        let state = State { base: 0, since: None, armed: BTreeMap::new(), next_id: 0, thread_runs: false };
        Self(Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new(), manual }))
    }

    /// Nanoseconds the machine has run.
    pub fn now(&self) -> u64 {
        self.0.lock().now()
    }

    /// Lets time run. No effect on a manual or a running clock.
    pub fn start(&self) {
        let mut s = self.0.lock();
        if !self.0.manual && s.since.is_none() {
            s.since = Some(Instant::now());
            if !s.thread_runs {
                s.thread_runs = true;
                let weak = Arc::downgrade(&self.0);
                let spawned = std::thread::Builder::new().name("timers".into()).spawn(move || timer_thread(&weak));
                assert!(spawned.is_ok(), "cannot start the timer thread: {spawned:?}");
            }
            self.0.wake.notify_all();
        }
    }

    /// Stops time: no timer fires until the next start.
    pub fn stop(&self) {
        let mut s = self.0.lock();
        s.base = s.now();
        s.since = None;
        self.0.wake.notify_all();
    }

    /// Sets the time of a stopped clock (restoring a saved machine).
    pub fn set(&self, now: u64) {
        let mut s = self.0.lock();
        s.base = now;
        if s.since.is_some() {
            s.since = Some(Instant::now());
        }
    }

    /// Moves a manual clock by `ns` and runs, in order and each at its own time, the callbacks that fall due.
    ///
    /// # Panics
    /// On a clock that is not manual.
    pub fn advance(&self, ns: u64) {
        assert!(self.0.manual, "only a manual clock can be advanced");
        let end = self.now().saturating_add(ns);
        loop {
            let timer = {
                let mut s = self.0.lock();
                let deadline = s.armed.first_key_value().map(|(k, _)| k.0).filter(|d| *d <= end);
                let Some(deadline) = deadline else {
                    s.base = end;
                    return;
                };
                s.base = s.base.max(deadline);
                s.due(deadline)
            };
            if let Some(t) = timer {
                t.fire();
            }
        }
    }

    /// Makes a disarmed timer. `callback` runs on the timer thread (or in `advance`) with no lock held.
    pub fn timer(&self, name: &str, callback: impl Fn() + Send + Sync + 'static) -> Timer {
        let mut s = self.0.lock();
        s.next_id += 1;
        Timer(Arc::new(Inner {
            id: s.next_id,
            name: name.into(),
            clock: self.0.clone(),
            callback: Arc::new(callback),
            deadline: Mutex::new(None),
        }))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    fn fire(&self) {
        *self.deadline.lock().unwrap_or_else(|e| e.into_inner()) = None;
        (self.callback)();
    }
}

impl Timer {
    /// Arms the timer for virtual time `deadline` (ns), replacing an earlier deadline; a past one fires at once.
    pub fn set(&self, deadline: u64) {
        self.change(Some(deadline));
    }

    /// Disarms the timer. A callback that already started may still be running.
    pub fn cancel(&self) {
        self.change(None);
    }

    /// The deadline, if armed.
    pub fn deadline(&self) -> Option<u64> {
        *self.0.deadline.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn change(&self, deadline: Option<u64>) {
        let mut s = self.0.clock.lock();
        let mut own = self.0.deadline.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(old) = own.take() {
            s.armed.remove(&(old, self.0.id));
        }
        *own = deadline;
        if let Some(d) = deadline {
            s.armed.insert((d, self.0.id), Arc::downgrade(&self.0));
            if s.armed.first_key_value().is_some_and(|(k, _)| k.1 == self.0.id) {
                self.0.clock.wake.notify_all();
            }
        }
    }
}

/// How long the timer thread sleeps at most before it looks whether its clock still exists.
const LOOK_AROUND: Duration = Duration::from_millis(500);

fn timer_thread(clock: &Weak<Shared>) {
    while let Some(shared) = clock.upgrade() {
        let mut s = shared.lock();
        let now = s.now();
        let due = if s.since.is_some() { s.due(now) } else { None };
        if let Some(timer) = due {
            drop(s);
            timer.fire();
            continue;
        }
        let running = s.since.is_some();
        let next = s.armed.first_key_value().map(|(k, _)| k.0).filter(|_| running);
        let wait = next.map_or(LOOK_AROUND, |d| Duration::from_nanos(d.saturating_sub(now)).min(LOOK_AROUND));
        drop(shared.wake.wait_timeout(s, wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_manual_clock_fires_in_order_and_at_the_right_time() {
        let clock = Clock::manual();
        let log = Arc::new(Mutex::new(vec![]));
        let make = |n: u32| {
            let (log, c) = (log.clone(), clock.clone());
            clock.timer("t", move || log.lock().unwrap().push((n, c.now())))
        };
        let (a, b) = (make(1), make(2));
        a.set(200);
        b.set(100);
        clock.advance(150);
        a.set(160);
        clock.advance(1000);
        assert_eq!(*log.lock().unwrap(), [(2, 100), (1, 160)]);
        assert_eq!(a.deadline(), None);
    }

    #[test]
    fn cancel_and_drop_disarm() {
        let clock = Clock::manual();
        let hits = Arc::new(AtomicU64::new(0));
        let h = hits.clone();
        let t = clock.timer("t", move || {
            h.fetch_add(1, Ordering::SeqCst);
        });
        t.set(10);
        t.cancel();
        clock.advance(20);
        t.set(30);
        drop(t);
        clock.advance(20);
        assert_eq!(hits.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_real_clock_fires() {
        let clock = Clock::new();
        let (tx, rx) = std::sync::mpsc::channel();
        let t = clock.timer("t", move || {
            let _ = tx.send(());
        });
        t.set(1_000_000);
        clock.start();
        rx.recv_timeout(Duration::from_secs(20)).expect("the timer fired");
        assert!(clock.now() >= 1_000_000);
    }
}
