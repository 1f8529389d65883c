//! One file a chip.
