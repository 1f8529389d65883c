//! Warnings that a guest can cause, limited in number.

use std::sync::atomic::{AtomicU32, Ordering};

/// A counter that lets the first few warnings of one kind through. Make it a `static` at the call site.
pub struct GuestWarnings {
    left: AtomicU32,
}

impl GuestWarnings {
    /// Lets `n` warnings through.
    pub const fn new(n: u32) -> Self {
        Self { left: AtomicU32::new(n) }
    }

    /// Logs the message at level debug, and as a warning while the allowance lasts.
    pub fn warn(&self, message: impl FnOnce() -> String) {
        let left = self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, |l| l.checked_sub(1));
        match left {
            Ok(1) => tracing::warn!(target: "guest", "{} (further warnings of this kind are not shown)", message()),
            Ok(_) => tracing::warn!(target: "guest", "{}", message()),
            Err(_) => tracing::debug!(target: "guest", "{}", message()),
        }
    }
}
