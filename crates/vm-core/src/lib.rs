//! What every device stands on: lines, buses, clock and timers, life cycle, saved state.
