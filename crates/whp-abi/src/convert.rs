//! Conversions (next commit).
