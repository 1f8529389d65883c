//! Interrupt messages between processors and from outside.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use irqchip::lapic::{self, DeliveryMode, Destination, Ipi, Lvt};

use crate::shared::Shared;
use crate::vp::Vp;

/// The processors of this moment.
struct Processors<'a> {
    shared: &'a Shared,
    vps: Arc<[Option<Arc<Vp>>]>,
}

impl Processors<'_> {
    fn vp(&self, index: u32) -> Option<&Arc<Vp>> {
        self.vps.get(index as usize)?.as_ref()
    }
}

impl lapic::Processors for Processors<'_> {
    fn count(&self) -> u32 {
        self.vps.len() as u32
    }

    fn is_destination(&self, index: u32, destination: Destination) -> bool {
        self.vp(index).is_some_and(|vp| vp.is_destination(destination))
    }

    fn priority(&self, index: u32) -> u32 {
        self.vp(index).map_or(u32::MAX, |vp| vp.priority())
    }

    fn turn(&self) -> u32 {
        self.shared.next_lowest.fetch_add(1, Ordering::Relaxed)
    }

    fn deliver(&self, index: u32, mode: DeliveryMode, vector: u8, level: bool) {
        if let Some(vp) = self.vp(index) {
            vp.deliver(mode, vector, level);
        }
    }
}

impl Shared {
    fn processors(&self) -> Processors<'_> {
        Processors { shared: self, vps: self.vps() }
    }

    /// Delivers to every processor that `destination` means, or, for lowest priority, to one of them.
    pub(crate) fn deliver(&self, mode: DeliveryMode, vector: u8, level: bool, destination: Destination) {
        lapic::route(&self.processors(), mode, vector, level, destination, None);
    }

    /// Sends an interprocessor interrupt of processor `from`.
    pub(crate) fn send(&self, from: u32, ipi: Ipi) {
        lapic::send(&self.processors(), from, ipi);
    }

    /// The LINT1 pin of the processors becomes active (NMI, as firmware sets it up).
    pub(crate) fn local_int1(&self, destination: Destination) {
        let vps: Arc<[Option<Arc<Vp>>]> = self.vps();
        for vp in vps.iter().flatten().filter(|vp| vp.is_destination(destination)) {
            vp.local(Lvt::Lint1);
        }
    }
}
