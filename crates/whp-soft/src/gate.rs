//! One processor of a partition alone with guest memory: for locked accesses that no instruction of the host can do
//! (across two pages that are apart in the host's memory).
//!
//! A processor is inside guest memory or outside (`Vp::outside`): in a callback, asleep, not running. Whoever closes the
//! gate goes outside first, waits until the gate is its own, and until every other processor is outside; they are asked
//! to leave by their attention words. Whoever wants in again waits while the gate is closed. So two that want it wait for
//! each other outside, and no processor waits for it with a lock held that the one inside could want: that one
//! does nothing but the access. (Devices' DMA does not come by here.)

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub(crate) struct Gate {
    /// What `taken` says, for a look without the lock.
    closed: AtomicBool,
    taken: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn taken(&self) -> MutexGuard<'_, bool> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while_taken(&self) -> MutexGuard<'_, bool> {
        self.opened.wait_while(self.taken(), |taken| *taken).unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes it, when it is open. By a processor that is outside.
    pub(crate) fn close(&self) {
        *self.wait_while_taken() = true;
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Opens it again.
    pub(crate) fn open(&self) {
        let mut taken = self.taken();
        self.closed.store(false, Ordering::SeqCst);
        *taken = false;
        drop(taken);
        self.opened.notify_all();
    }

    /// Whether somebody is alone inside.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Waits until it is open, or was.
    #[cold]
    pub(crate) fn wait(&self) {
        drop(self.wait_while_taken());
    }
}
