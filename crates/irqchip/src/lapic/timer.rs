//! The timer: one-shot, periodic, TSC deadline (SDM 11.5.4).

use super::{Delivery, LVT_MASK, Lapic, Lvt};

/// The time, as the timer sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Timer input clocks (before the divider) since some moment.
    pub clocks: u64,
    /// The guest's TSC.
    pub tsc: u64,
}

/// When the timer fires next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// At this [`Now::clocks`].
    Clocks(u64),
    /// At this [`Now::tsc`].
    Tsc(u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    OneShot,
    Periodic,
    TscDeadline,
}

fn mode(lvt: u32) -> Mode {
    match lvt >> 17 & 3 {
        0 => Mode::OneShot,
        1 => Mode::Periodic,
        _ => Mode::TscDeadline,
    }
}

impl Lapic {
    fn divisor(&self) -> u64 {
        let d = self.state.divide;
        1 << ((((d >> 1 & 4) | (d & 3)) + 1) & 7)
    }

    /// Input clocks from start to zero.
    fn period(&self) -> u64 {
        u64::from(self.state.initial_count) * self.divisor()
    }

    pub(super) fn timer_mode_changes(&mut self, old: u32, new: u32) {
        if (mode(old) == Mode::TscDeadline) != (mode(new) == Mode::TscDeadline) {
            self.state.armed = false;
            self.state.tsc_deadline = 0;
        }
    }

    pub(super) fn set_initial_count(&mut self, count: u32, now: Now) {
        if mode(self.state.lvt[Lvt::Timer as usize]) == Mode::TscDeadline {
            return;
        }
        self.state.initial_count = count;
        self.state.start = now.clocks;
        self.state.armed = count != 0;
    }

    pub(super) fn set_divide(&mut self, divide: u32, now: Now) {
        let count = self.current_count(now);
        self.state.divide = divide;
        self.set_current_count(count, now);
    }

    /// Makes the count be `count` now.
    pub(super) fn set_current_count(&mut self, count: u32, now: Now) {
        let done = u64::from(self.state.initial_count.saturating_sub(count)) * self.divisor();
        self.state.start = now.clocks.wrapping_sub(done);
    }

    /// The current-count register.
    pub(super) fn current_count(&self, now: Now) -> u32 {
        let s = &self.state;
        if !s.armed || s.initial_count == 0 || mode(s.lvt[Lvt::Timer as usize]) == Mode::TscDeadline {
            return 0;
        }
        let done = now.clocks.wrapping_sub(s.start) / self.divisor();
        let count = u64::from(s.initial_count);
        match mode(s.lvt[Lvt::Timer as usize]) {
            Mode::Periodic => (count - done % count) as u32,
            _ => count.saturating_sub(done) as u32,
        }
    }

    /// IA32_TSC_DEADLINE as it reads.
    pub fn tsc_deadline(&self) -> u64 {
        self.state.tsc_deadline
    }

    /// WRMSR of IA32_TSC_DEADLINE; without effect in the other modes.
    pub fn set_tsc_deadline(&mut self, value: u64) {
        if mode(self.state.lvt[Lvt::Timer as usize]) == Mode::TscDeadline {
            self.state.tsc_deadline = value;
        }
    }

    /// When [`Lapic::fire`] is to be called; `None` while nothing will happen.
    pub fn next_deadline(&self) -> Option<Deadline> {
        let s = &self.state;
        let lvt = s.lvt[Lvt::Timer as usize];
        if lvt & LVT_MASK != 0 || !self.enabled() {
            return None;
        }
        match mode(lvt) {
            Mode::TscDeadline => (s.tsc_deadline != 0).then_some(Deadline::Tsc(s.tsc_deadline)),
            _ => s.armed.then(|| Deadline::Clocks(s.start.wrapping_add(self.period()))),
        }
    }

    /// Lets the timer do what is due at `now`.
    pub fn fire(&mut self, now: Now) -> Delivery {
        self.sync(now)
    }

    pub(super) fn sync(&mut self, now: Now) -> Delivery {
        let lvt = self.state.lvt[Lvt::Timer as usize];
        let due = match mode(lvt) {
            Mode::TscDeadline => {
                let due = self.state.tsc_deadline != 0 && now.tsc >= self.state.tsc_deadline;
                if due {
                    self.state.tsc_deadline = 0;
                }
                due
            }
            m => {
                let (period, run) = (self.period(), now.clocks.wrapping_sub(self.state.start));
                // A start in the future (restored state) makes `run` huge: that is not due.
                let due = self.state.armed && period != 0 && run >= period && run < 1 << 63;
                if due && m == Mode::Periodic {
                    self.state.start = self.state.start.wrapping_add(run - run % period);
                } else if due {
                    self.state.armed = false;
                }
                due
            }
        };
        if due { self.local(Lvt::Timer) } else { Delivery::Nothing }
    }
}
