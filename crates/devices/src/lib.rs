//! One file a chip.

pub mod pit;
pub mod rtc;

#[cfg(test)]
mod test_util;
