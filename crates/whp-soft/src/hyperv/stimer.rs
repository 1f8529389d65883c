//! A synthetic timer (TLFS, "Timers"): one-shot or periodic, expiring with a message to a SINT or, in direct mode, with
//! an interrupt. Times are the partition's reference time, in 100 ns. Periods that were missed are skipped, lazy or not.

/// Number of timers a processor has.
pub(crate) const TIMERS: usize = 4;

/// Bits of STIMERx_CONFIG.
pub(super) const ENABLED: u64 = 1;
const PERIODIC: u64 = 1 << 1;
const AUTO_ENABLE: u64 = 1 << 3;
pub(super) const DIRECT: u64 = 1 << 12;
/// Those that exist.
const WRITABLE: u64 = 0xF_1FFF;

/// The shortest period: a guest must not be able to keep the timer thread busy.
const SHORTEST: u64 = 200;

/// What an expired timer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// Asserts a vector.
    Direct(u8),
    /// Has a message for its SINT ([`Timer::message`]).
    Message,
}

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(super) config: u64,
    pub(super) count: u64,
    /// When it expires.
    pub(super) next: Option<u64>,
    /// It expired at this time, and its message waits.
    pub(super) message: Option<u64>,
}

impl Timer {
    /// The source that messages go to.
    pub(super) fn source(&self) -> usize {
        (self.config >> 16 & 15) as usize
    }

    pub(super) fn set_config(&mut self, value: u64, now: u64) {
        self.config = value & WRITABLE;
        if self.config & DIRECT == 0 && self.source() == 0 {
            self.config &= !ENABLED;
        }
        self.message = None;
        self.start(now);
    }

    pub(super) fn set_count(&mut self, value: u64, now: u64) {
        self.count = value;
        if value == 0 {
            self.config &= !ENABLED;
        } else if self.config & AUTO_ENABLE != 0 && (self.config & DIRECT != 0 || self.source() != 0) {
            self.config |= ENABLED;
        }
        self.message = None;
        self.start(now);
    }

    fn start(&mut self, now: u64) {
        self.next = match self.config & (ENABLED | PERIODIC) {
            _ if self.count == 0 => None,
            ENABLED => Some(self.count),
            0 | PERIODIC => None,
            _ => Some(now.saturating_add(self.count.max(SHORTEST))),
        };
    }

    /// What happens at `now`.
    pub(super) fn expire(&mut self, now: u64) -> Option<Expired> {
        let at = self.next.filter(|at| *at <= now)?;
        if self.config & PERIODIC != 0 {
            let period = self.count.max(SHORTEST);
            self.next = Some(now.saturating_add(period - (now - at) % period));
        } else {
            self.next = None;
            self.config &= !ENABLED;
        }
        if self.config & DIRECT != 0 {
            return Some(Expired::Direct((self.config >> 4) as u8));
        }
        self.message.get_or_insert(at);
        Some(Expired::Message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shot_in_direct_mode() {
        let mut t = Timer::default();
        t.set_config(DIRECT | 0x55 << 4 | AUTO_ENABLE, 0);
        assert_eq!((t.config & ENABLED, t.next), (0, None));
        t.set_count(1000, 10);
        assert_eq!((t.config & ENABLED, t.next), (ENABLED, Some(1000)));
        assert_eq!(t.expire(999), None);
        assert_eq!(t.expire(1001), Some(Expired::Direct(0x55)));
        assert_eq!((t.config & ENABLED, t.next), (0, None));
        t.set_count(5, 2000);
        assert_eq!(t.expire(2000), Some(Expired::Direct(0x55)), "in the past: at once");
        t.set_count(3000, 2000);
        t.set_count(0, 2000);
        assert_eq!((t.config & ENABLED, t.expire(9000)), (0, None));
    }

    #[test]
    fn periodic_with_messages() {
        let mut t = Timer::default();
        t.set_count(1000, 0);
        t.set_config(ENABLED | PERIODIC | 3 << 16, 100);
        assert_eq!((t.source(), t.next), (3, Some(1100)));
        assert_eq!(t.expire(1100), Some(Expired::Message));
        assert_eq!((t.message, t.next), (Some(1100), Some(2100)));
        assert_eq!(t.expire(5200), Some(Expired::Message));
        assert_eq!((t.message, t.next), (Some(1100), Some(6100)), "what was missed is skipped");
        t.set_config(ENABLED, 100);
        assert_eq!((t.config, t.next, t.message), (0, None, None), "SINT 0 is not for timers");
    }

    #[test]
    fn a_guest_cannot_have_a_tiny_period() {
        let mut t = Timer::default();
        t.set_config(ENABLED | PERIODIC | DIRECT, 0);
        t.set_count(1, 0);
        assert_eq!(t.next, Some(SHORTEST));
        t.set_count(u64::MAX, u64::MAX - 5);
        assert_eq!(t.next, Some(u64::MAX));
    }
}
