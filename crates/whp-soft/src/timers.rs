//! The thread that wakes processors when their local APIC timers are due: one a partition.

use std::sync::{Condvar, Mutex, Weak};
use std::time::Duration;

use crate::shared::Shared;

/// The longest the thread sleeps before it looks whether its partition still exists.
const LOOK_AROUND: u64 = 500_000_000;

#[derive(Default)]
struct State {
    /// By processor index: partition time in ns.
    deadlines: Vec<Option<u64>>,
    /// What the thread sleeps until.
    asleep_until: Option<u64>,
    stop: bool,
}

/// Deadlines of a partition.
#[derive(Default)]
pub(crate) struct Timers {
    state: Mutex<State>,
    changed: Condvar,
}

impl Timers {
    /// Sets or clears the deadline of processor `index`.
    pub(crate) fn set(&self, index: u32, deadline: Option<u64>) {
        let mut s = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let i = index as usize;
        if s.deadlines.len() <= i {
            s.deadlines.resize(i + 1, None);
        }
        s.deadlines[i] = deadline;
        if deadline.is_some_and(|d| s.asleep_until.is_some_and(|a| d < a)) {
            self.changed.notify_all();
        }
    }

    /// Time was suspended, resumed or reset: look again.
    pub(crate) fn look_again(&self) {
        drop(self.state.lock().unwrap_or_else(|e| e.into_inner()));
        self.changed.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.state.lock().unwrap_or_else(|e| e.into_inner()).stop = true;
        self.changed.notify_all();
    }

    /// Sleeps until something is due and takes it; `None` to stop. An empty list means: look around.
    fn next(&self, shared: &Shared) -> Option<Vec<u32>> {
        let mut s = self.state.lock().unwrap_or_else(|e| e.into_inner());
        if s.stop {
            return None;
        }
        let now = shared.time.now();
        let due: Vec<u32> =
            (0u32..).zip(&s.deadlines).filter(|(_, d)| d.is_some_and(|d| d <= now)).map(|d| d.0).collect();
        if !due.is_empty() && !shared.time.is_suspended() {
            due.iter().for_each(|i| s.deadlines[*i as usize] = None);
            return Some(due);
        }
        let first = s.deadlines.iter().flatten().min().copied().filter(|_| !shared.time.is_suspended());
        let sleep = first.map_or(LOOK_AROUND, |d| d.saturating_sub(now).min(LOOK_AROUND));
        s.asleep_until = Some(now.saturating_add(sleep));
        let (mut s, _) = self.changed.wait_timeout(s, Duration::from_nanos(sleep)).unwrap_or_else(|e| e.into_inner());
        s.asleep_until = None;
        Some(Vec::new())
    }
}

/// The thread's body.
pub(crate) fn run(shared: &Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        let Some(due) = shared.timers.next(&shared) else { return };
        for index in due {
            if let Some(vp) = shared.vp(index) {
                vp.timer_due(&shared);
            }
        }
    }
}
