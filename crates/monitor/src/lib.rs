//! The human monitor.
