//! Interrupt messages between processors and from outside.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use irqchip::lapic::{DeliveryMode, Destination, Ipi, Lvt, Shorthand};

use crate::shared::Shared;
use crate::vp::Vp;

impl Shared {
    /// Delivers to every processor that `destination` means, or, for lowest priority, to one of them. `except` is
    /// left out.
    pub(crate) fn deliver(
        &self,
        mode: DeliveryMode,
        vector: u8,
        level: bool,
        destination: Destination,
        except: Option<u32>,
    ) {
        let vps = self.vps();
        let targets = vps.iter().flatten().filter(|vp| Some(vp.index()) != except && vp.is_destination(destination));
        if mode == DeliveryMode::LowestPriority {
            let from = self.next_lowest.fetch_add(1, Ordering::Relaxed);
            let turn = |vp: &Vp| vp.index().wrapping_sub(from) % (vps.len() as u32).max(1);
            if let Some(vp) = targets.min_by_key(|vp| (vp.priority(), turn(vp))) {
                vp.deliver(mode, vector, level);
            }
        } else {
            targets.for_each(|vp| vp.deliver(mode, vector, level));
        }
    }

    /// Sends an interprocessor interrupt of processor `from`.
    pub(crate) fn send(&self, from: u32, ipi: Ipi) {
        let everybody = Destination { id: u32::MAX, logical: false, wide: true };
        match ipi.shorthand {
            Shorthand::Myself => {
                if let Some(vp) = self.vp(from) {
                    vp.deliver(ipi.mode, ipi.vector, false);
                }
            }
            Shorthand::None => self.deliver(ipi.mode, ipi.vector, false, ipi.destination, None),
            Shorthand::All => self.deliver(ipi.mode, ipi.vector, false, everybody, None),
            Shorthand::Others => self.deliver(ipi.mode, ipi.vector, false, everybody, Some(from)),
        }
    }

    /// The LINT1 pin of the processors becomes active (NMI, as firmware sets it up).
    pub(crate) fn local_int1(&self, destination: Destination) {
        let vps: Arc<[Option<Arc<Vp>>]> = self.vps();
        for vp in vps.iter().flatten().filter(|vp| vp.is_destination(destination)) {
            vp.local(Lvt::Lint1);
        }
    }
}
