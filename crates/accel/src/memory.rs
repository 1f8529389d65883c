//! RAM of the machine's address space, mapped into the partition.

use std::sync::{Arc, Weak};

use vm_core::{Backing, FlatRange, MemoryListener};
use whp::MapGpaRangeFlags;

use crate::Shared;

struct Listener(Weak<Shared>);

pub(crate) fn attach(shared: &Arc<Shared>) {
    shared.attachments.space.set_listener(Arc::new(Listener(Arc::downgrade(shared))));
}

impl MemoryListener for Listener {
    fn map(&self, range: &FlatRange) {
        let Some(shared) = self.0.upgrade() else { return };
        let Backing::Ram { block, offset, readonly } = &range.backing else { return };
        let mut flags = MapGpaRangeFlags::READ | MapGpaRangeFlags::EXECUTE;
        flags.set(MapGpaRangeFlags::WRITE, !readonly);
        if let Err(e) = shared.partition.map_gpa_range(block, *offset, range.len, range.start, flags) {
            // Without the mapping its accesses become exits, which are served from the same memory.
            tracing::error!("{}: cannot be mapped into the guest, accesses will be slow: {e}", range.name);
        }
    }

    fn unmap(&self, range: &FlatRange) {
        let Some(shared) = self.0.upgrade() else { return };
        if let Err(e) = shared.partition.unmap_gpa_range(range.start, range.len) {
            tracing::error!("{}: cannot be unmapped from the guest: {e}", range.name);
        }
    }
}
