//! Suspend to RAM (ACPI 6.4, section 16.1.3: S3): processors stand and memory stays, time goes on, and what the user or
//! the real-time clock does wakes the machine: everything is reset but what keeps its state with the memory
//! ([`vm_core::Device::wake`]), and firmware, told by the clock's shutdown status byte, jumps to where the guest wants to wake up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vm_core::{LineSink, MachineRequest, RequestSink, WakeCause, lock};

use crate::events::MachineEvent;
use crate::machine::{ExitReason, Inner, RunState};

/// What looks at keys and at the clock's alarm while the machine sleeps.
pub(crate) struct Sleep {
    requests: Arc<dyn RequestSink>,
    asleep: AtomicBool,
    /// The clock's alarm may wake.
    by_rtc: AtomicBool,
    /// The clock's interrupt is up.
    alarm: AtomicBool,
}

impl Sleep {
    /// Asks `requests` to wake the machine.
    pub(crate) fn new(requests: Arc<dyn RequestSink>) -> Arc<Self> {
        let off = || AtomicBool::new(false);
        Arc::new(Self { requests, asleep: off(), by_rtc: off(), alarm: off() })
    }

    /// A key or a button was pressed.
    pub(crate) fn pressed(&self) {
        if self.asleep.load(Ordering::SeqCst) {
            self.requests.request(MachineRequest::Wake(WakeCause::Other));
        }
    }

    fn set(&self, asleep: bool, by_rtc: bool) {
        self.by_rtc.store(by_rtc, Ordering::SeqCst);
        self.asleep.store(asleep, Ordering::SeqCst);
        self.look();
    }

    /// Whichever of alarm and sleep came last sees the other.
    fn look(&self) {
        let up = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
        if up(&self.asleep) && up(&self.by_rtc) && up(&self.alarm) {
            self.requests.request(MachineRequest::Wake(WakeCause::Rtc));
        }
    }
}

impl LineSink for Sleep {
    fn set_level(&self, _pin: u32, high: bool) {
        self.alarm.store(high, Ordering::SeqCst);
        self.look();
    }
}

/// The guest suspends.
pub(crate) fn suspend(machine: &Inner) {
    let mut state = lock(&machine.state);
    if *state != RunState::Running {
        return;
    }
    machine.accel.pause();
    lock(&machine.pc.rtc).set_suspended(true);
    let by_rtc = lock(&machine.pc.pm).wakes_by_rtc();
    machine.set_state(&mut state, RunState::Suspended);
    machine.events.emit(&MachineEvent::Suspend);
    machine.pc.sleep.set(true, by_rtc);
}

/// A reset ends the sleep: firmware is to begin anew.
pub(crate) fn forget(machine: &Inner) {
    machine.pc.sleep.set(false, false);
    lock(&machine.pc.rtc).set_suspended(false);
}

/// The guest goes on, if it is suspended.
pub(crate) fn wake(machine: &Inner, cause: WakeCause) -> Option<ExitReason> {
    let mut state = lock(&machine.state);
    if *state != RunState::Suspended {
        return None;
    }
    machine.pc.sleep.set(false, false);
    machine.drop_stale_requests();
    machine.reset_devices(|device| device.wake());
    if let Err(e) = machine.accel.wake() {
        tracing::error!("waking up failed: {e}");
        machine.set_state(&mut state, RunState::InternalError);
        return machine.pc.monitors.is_empty().then_some(ExitReason::GuestDied);
    }
    lock(&machine.pc.pm).woken(cause);
    machine.set_state(&mut state, RunState::Running);
    machine.events.emit(&MachineEvent::Wakeup);
    machine.accel.resume();
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Requests(Mutex<Vec<MachineRequest>>);

    impl RequestSink for Requests {
        fn request(&self, request: MachineRequest) {
            lock(&self.0).push(request);
        }
    }

    #[test]
    fn an_alarm_wakes_whether_it_comes_before_or_after_and_only_when_it_may() {
        let requests = Arc::new(Requests::default());
        let sleep = Sleep::new(requests.clone());
        let taken = || std::mem::take(&mut *lock(&requests.0));
        sleep.pressed();
        sleep.set_level(0, true);
        assert_eq!(taken(), []);
        sleep.set(true, true);
        assert_eq!(taken(), [MachineRequest::Wake(WakeCause::Rtc)]);
        sleep.set(false, false);
        sleep.set_level(0, false);
        sleep.set(true, true);
        assert_eq!(taken(), []);
        sleep.set_level(0, true);
        assert_eq!(taken(), [MachineRequest::Wake(WakeCause::Rtc)]);
        sleep.set(true, false);
        sleep.pressed();
        assert_eq!(taken(), [MachineRequest::Wake(WakeCause::Other)]);
    }
}
