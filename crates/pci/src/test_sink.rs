//! A sink of messages for the tests of MSI and MSI-X.

use std::sync::Mutex;

use vm_core::{MsiSink, lock};

#[derive(Default)]
pub(crate) struct Seen(Mutex<Vec<(u64, u32)>>);

impl Seen {
    pub(crate) fn take(&self) -> Vec<(u64, u32)> {
        std::mem::take(&mut *lock(&self.0))
    }
}

impl MsiSink for Seen {
    fn signal(&self, address: u64, data: u32) {
        lock(&self.0).push((address, data));
    }
}
