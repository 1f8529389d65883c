//! Model-specific registers.

/// MISC_ENABLE after reset: fast strings, BTS and PEBS unavailable.
pub(crate) const MISC_ENABLE_RESET: u64 = 1 | 1 << 11 | 1 << 12;
