//! What happens to a machine, told to whoever subscribes: QMP, consoles.
//!
//! Names and meanings are those of QMP's run-state events (QEMU QMP Reference, "VM run state"). A listener is called
//! on the thread that made it happen, with the machine's state locked, so that everybody hears the same order: it
//! must only store the event and wake somebody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

use vm_core::lock;

use crate::{MachineHandle, RunState};

/// Why a machine was reset or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The guest powered off.
    GuestShutdown,
    /// The guest reset itself.
    GuestReset,
    /// The monitor's or QMP's `quit`.
    Quit,
    /// The monitor's or QMP's `system_reset`.
    SystemReset,
    /// A signal to the process.
    Signal,
    /// The user closed the display.
    Ui,
}

impl Cause {
    /// QMP's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::GuestShutdown => "guest-shutdown",
            Self::GuestReset => "guest-reset",
            Self::Quit => "host-qmp-quit",
            Self::SystemReset => "host-qmp-system-reset",
            Self::Signal => "host-signal",
            Self::Ui => "host-ui",
        }
    }

    /// The guest did it.
    pub fn by_guest(self) -> bool {
        matches!(self, Self::GuestShutdown | Self::GuestReset)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineEvent {
    /// The machine does something else now.
    State {
        /// Before.
        from: RunState,
        /// Now.
        to: RunState,
    },
    /// It was reset.
    Reset(Cause),
    /// It powered off or ends.
    Shutdown(Cause),
    /// The guest suspended itself to RAM.
    Suspend,
    /// The guest suspended itself to its disk; it powers off.
    SuspendToDisk,
    /// It goes on after a suspend to RAM.
    Wakeup,
    /// The power button was pressed.
    PowerButton,
    /// A device is gone.
    DeviceDeleted {
        /// Its `id=`, if it had one.
        id: Option<String>,
    },
    /// The tray of a drive moved, by the guest or by the user.
    TrayMoved {
        /// The drive; empty when it is made of a node.
        drive: String,
        /// Its device, or the drive again when that has no name.
        device: String,
        /// Out or in.
        open: bool,
    },
}

type Listener = Arc<dyn Fn(&MachineEvent, SystemTime) + Send + Sync>;

/// Who listens.
#[derive(Default)]
pub(crate) struct Events {
    next: AtomicU64,
    listeners: Mutex<Vec<(u64, Listener)>>,
}

impl Events {
    pub(crate) fn emit(&self, event: &MachineEvent) {
        let now = SystemTime::now();
        tracing::debug!(?event, "machine event");
        let listeners: Vec<Listener> = lock(&self.listeners).iter().map(|l| l.1.clone()).collect();
        listeners.iter().for_each(|l| l(event, now));
    }

    fn subscribe(self: &Arc<Self>, listener: Listener) -> Subscription {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.listeners).push((id, listener));
        Subscription { events: Arc::downgrade(self), id }
    }
}

/// A listener's membership; it ends when dropped.
pub struct Subscription {
    events: Weak<Events>,
    id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(events) = self.events.upgrade() {
            let mut listeners = lock(&events.listeners);
            let at = listeners.iter().position(|l| l.0 == self.id);
            let gone = at.map(|i| listeners.remove(i));
            drop(listeners);
            drop(gone);
        }
    }
}

impl MachineHandle {
    /// Calls `listener` with every event and its time until the subscription is dropped. See the rules for
    /// listeners in this module's documentation: store and wake, nothing else.
    pub fn subscribe(&self, listener: impl Fn(&MachineEvent, SystemTime) + Send + Sync + 'static) -> Subscription {
        self.events().subscribe(Arc::new(listener))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn every_listener_hears_until_it_leaves() {
        let events = Arc::new(Events::default());
        let listen = || {
            let (tx, rx) = mpsc::channel();
            let listener: Listener = Arc::new(move |e: &MachineEvent, _| {
                let _ = tx.send(e.clone());
            });
            (events.subscribe(listener), rx)
        };
        let ((a, heard_a), (_b, heard_b)) = (listen(), listen());
        events.emit(&MachineEvent::PowerButton);
        drop(a);
        events.emit(&MachineEvent::Reset(Cause::GuestReset));
        assert_eq!(heard_a.iter().collect::<Vec<_>>(), [MachineEvent::PowerButton]);
        assert_eq!(heard_b.try_iter().count(), 2);
    }
}
