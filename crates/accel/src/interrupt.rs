//! Interrupts into the partition: messages and NMIs.

use std::sync::{Arc, Weak};

use irqchip::lapic::{DeliveryMode, Destination};
use vm_core::{GuestWarnings, MsiSink};
use whp::{DestinationMode, InterruptControl, InterruptType, Partition, TriggerMode};

use crate::Shared;

/// Where messages end.
pub(crate) struct Msi(pub(crate) Weak<Shared>);

/// Addresses of messages (Intel SDM volume 3, 11.11.1): 0xFEE in bits 31:20.
const MESSAGE_BASE: u64 = 0xFEE;

impl MsiSink for Msi {
    fn signal(&self, address: u64, data: u32) {
        static WARNINGS: GuestWarnings = GuestWarnings::new(5);
        let Some(shared) = self.0.upgrade() else { return };
        if address >> 20 != MESSAGE_BASE {
            return WARNINGS.warn(|| format!("interrupt message to {address:#x}, which is no local APIC, is dropped"));
        }
        let kind = InterruptType((data >> 8 & 7) as u8);
        let vector = data & 0xFF;
        if vector < 16 && matches!(kind, InterruptType::FIXED | InterruptType::LOWEST_PRIORITY) {
            // Stray message of a device that has not been set up (vector 0); real APICs log it and drop it.
            return WARNINGS.warn(|| format!("interrupt message with vector {vector} is dropped"));
        }
        tracing::trace!(target: "whpx_msi", "address={address:#x} data={data:#x}");
        if let Some(apics) = &shared.apics {
            let id = (address >> 12 & 0xFF) as u32;
            let destination = Destination { id, logical: address & 4 != 0, wide: false };
            let mode = DeliveryMode::from_bits(data >> 8);
            return apics.message(mode, vector as u8, data & 1 << 15 != 0, destination);
        }
        let interrupt = InterruptControl {
            kind,
            destination_mode: if address & 4 != 0 { DestinationMode::Logical } else { DestinationMode::Physical },
            trigger_mode: if data & 1 << 15 != 0 { TriggerMode::Level } else { TriggerMode::Edge },
            destination: (address >> 12 & 0xFF) as u32,
            vector,
        };
        if let Err(e) = shared.partition.request_interrupt(&interrupt) {
            WARNINGS.warn(|| format!("interrupt message {address:#x} {data:#x} is lost: {e}"));
        }
    }
}

pub(crate) fn nmi(partition: &Arc<dyn Partition>, apic_id: u32) -> whp::Result<()> {
    partition.request_interrupt(&InterruptControl {
        kind: InterruptType::NMI,
        destination_mode: DestinationMode::Physical,
        trigger_mode: TriggerMode::Edge,
        destination: apic_id,
        vector: 0,
    })
}
