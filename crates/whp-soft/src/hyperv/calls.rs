//! The hypercalls: TLB flushes (TLFS, "Virtual MMU"), cluster IPIs (TLFS, "Virtual Interrupt Controllers"), long spin
//! waits and processor indexes (TLFS, "Virtual Processors").
//!
//! A flush drops all translations of another processor whatever part of them was named, which is allowed; one's own are
//! dropped page by page when they are few. Posting messages and signalling events need privileges that no guest has.

use cpu_x86::Cpu;
use irqchip::lapic::DeliveryMode;
use whp::SyntheticProcessorFeatures as F;

use super::hypercall::{Definition, Input, Status};
use crate::vp::{VpBus, count};

/// Flags of a flush.
const ALL_PROCESSORS: u64 = 1 << 0;
const ALL_SPACES: u64 = 1 << 1;
const NON_GLOBAL_ONLY: u64 = 1 << 2;
const EXTENDED_RANGES: u64 = 1 << 3;

/// Formats of a processor set.
const SPARSE_4K: u64 = 0;
const ALL: u64 = 1;

/// Up to this many pages are dropped singly.
const FEW: u64 = 32;
/// `HV_PARTITION_ID_SELF`.
const SELF: u64 = u64::MAX;

/// Post message and signal event: privileges that are never given.
pub(super) fn needs_a_privilege(code: u16) -> bool {
    matches!(code, 0x5C | 0x5D)
}

/// All calls.
pub(super) const CALLS: [Definition; 8] = [
    Definition {
        code: 0x02,
        feature: F::TB_FLUSH_HYPERCALLS,
        header: 24,
        variable: false,
        rep: None,
        run: flush_space,
    },
    Definition {
        code: 0x03,
        feature: F::TB_FLUSH_HYPERCALLS,
        header: 24,
        variable: false,
        rep: Some((8, 0)),
        run: flush_list,
    },
    Definition {
        code: 0x08,
        feature: F::NOTIFY_LONG_SPIN_WAIT,
        header: 8,
        variable: false,
        rep: None,
        run: long_spin_wait,
    },
    Definition { code: 0x0B, feature: F::SYNTHETIC_CLUSTER_IPI, header: 16, variable: false, rep: None, run: send_ipi },
    Definition {
        code: 0x13,
        feature: F::TB_FLUSH_HYPERCALLS.union(F::EXTENDED_PROCESSOR_MASKS),
        header: 32,
        variable: true,
        rep: None,
        run: flush_space_ex,
    },
    Definition {
        code: 0x14,
        feature: F::TB_FLUSH_HYPERCALLS.union(F::EXTENDED_PROCESSOR_MASKS),
        header: 32,
        variable: true,
        rep: Some((8, 0)),
        run: flush_list_ex,
    },
    Definition {
        code: 0x15,
        feature: F::SYNTHETIC_CLUSTER_IPI.union(F::EXTENDED_PROCESSOR_MASKS),
        header: 24,
        variable: true,
        rep: None,
        run: send_ipi_ex,
    },
    Definition {
        code: 0x9A,
        feature: F::ACCESS_VP_INDEX,
        header: 16,
        variable: false,
        rep: Some((4, 4)),
        run: index_from_apic_id,
    },
];

type Outcome = (Status, usize);

/// Which processors a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Processors {
    All,
    /// Banks of 64: number and bits.
    Banks(Vec<(u32, u64)>),
}

impl Processors {
    /// A plain mask of the first 64.
    fn mask(mask: u64) -> Self {
        Self::Banks(vec![(0, mask)])
    }

    /// `HV_VP_SET` at byte `at`, its banks in the variable header.
    fn set(input: &Input<'_>, at: usize) -> Result<Self, Status> {
        let (format, valid) = (input.u64(at), input.u64(at + 8));
        match format {
            ALL => Ok(Self::All),
            SPARSE_4K => {
                let numbers = (0..64).filter(|n| valid >> n & 1 != 0);
                if input.variable().count() != valid.count_ones() as usize {
                    return Err(Status::InvalidHypercallInput);
                }
                Ok(Self::Banks(numbers.zip(input.variable()).collect()))
            }
            _ => Err(Status::InvalidParameter),
        }
    }

    fn contains(&self, index: u32) -> bool {
        match self {
            Self::All => true,
            Self::Banks(banks) => banks.iter().any(|(n, bits)| *n == index / 64 && bits >> (index % 64) & 1 != 0),
        }
    }
}

fn flush_space(bus: &mut VpBus<'_>, cpu: &mut Cpu, input: &Input<'_>, _: &mut [u8]) -> Outcome {
    (flush(bus, cpu, input, Ok(Processors::mask(input.u64(16))), false), 0)
}

fn flush_list(bus: &mut VpBus<'_>, cpu: &mut Cpu, input: &Input<'_>, _: &mut [u8]) -> Outcome {
    all_or_none(flush(bus, cpu, input, Ok(Processors::mask(input.u64(16))), true), input)
}

fn flush_space_ex(bus: &mut VpBus<'_>, cpu: &mut Cpu, input: &Input<'_>, _: &mut [u8]) -> Outcome {
    (flush(bus, cpu, input, Processors::set(input, 16), false), 0)
}

fn flush_list_ex(bus: &mut VpBus<'_>, cpu: &mut Cpu, input: &Input<'_>, _: &mut [u8]) -> Outcome {
    all_or_none(flush(bus, cpu, input, Processors::set(input, 16), true), input)
}

/// A list is done as a whole.
fn all_or_none(status: Status, input: &Input<'_>) -> Outcome {
    (status, if status == Status::Success { input.count } else { 0 })
}

fn flush(
    bus: &mut VpBus<'_>,
    cpu: &mut Cpu,
    input: &Input<'_>,
    processors: Result<Processors, Status>,
    list: bool,
) -> Status {
    let flags = input.u64(8);
    let known = ALL_PROCESSORS | ALL_SPACES | NON_GLOBAL_ONLY | EXTENDED_RANGES;
    let extended = flags & EXTENDED_RANGES != 0;
    let ranges = F::ENABLE_EXTENDED_GVA_RANGES_FOR_FLUSH_VIRTUAL_ADDRESS_LIST;
    if flags & !known != 0 || extended && !bus.config.synthetic.contains(ranges) {
        return Status::InvalidParameter;
    }
    let processors = match processors {
        _ if flags & ALL_PROCESSORS != 0 => Processors::All,
        Ok(processors) => processors,
        Err(status) => return status,
    };
    let vps = bus.shared.vps();
    let me = bus.vp.index();
    let others = || vps.iter().flatten().filter(|vp| vp.index() != me && processors.contains(vp.index()));
    others().for_each(|vp| vp.request_translation_flush());
    if processors.contains(me) {
        flush_own(cpu, input, list && !extended);
    }
    bus.vp.outside(|| others().for_each(|vp| vp.wait_flushed()));
    Status::Success
}

/// The caller's own translations.
fn flush_own(cpu: &mut Cpu, input: &Input<'_>, list: bool) {
    let elements = || (input.start..input.count).map(|n| input.element64(n));
    let pages: u64 = elements().map(|e| (e & 0xFFF) + 1).sum();
    if !list || pages > FEW {
        cpu.flush_tlb(true);
        return;
    }
    for element in elements() {
        for n in 0..=element & 0xFFF {
            cpu.flush_page((element & !0xFFF).wrapping_add(n << 12));
        }
    }
}

/// The owner of a lock may want this host processor.
fn long_spin_wait(bus: &mut VpBus<'_>, _: &mut Cpu, _: &Input<'_>, _: &mut [u8]) -> Outcome {
    bus.vp.outside(std::thread::yield_now);
    (Status::Success, 0)
}

fn send_ipi(bus: &mut VpBus<'_>, _: &mut Cpu, input: &Input<'_>, _: &mut [u8]) -> Outcome {
    (send(bus, input, Ok(Processors::mask(input.u64(8)))), 0)
}

fn send_ipi_ex(bus: &mut VpBus<'_>, _: &mut Cpu, input: &Input<'_>, _: &mut [u8]) -> Outcome {
    (send(bus, input, Processors::set(input, 8)), 0)
}

/// A fixed interrupt; behind the vector is the target's trust level, of which there is only 0.
fn send(bus: &VpBus<'_>, input: &Input<'_>, processors: Result<Processors, Status>) -> Status {
    let (vector, level) = (input.u32(0), input.u32(4) & 0xFF);
    let processors = match processors {
        Ok(processors) => processors,
        Err(status) => return status,
    };
    let Some(vector) = u8::try_from(vector).ok().filter(|v| *v >= 16 && level == 0) else {
        return Status::InvalidParameter;
    };
    count(&bus.vp.counters.ipis);
    for vp in bus.shared.vps().iter().flatten().filter(|vp| processors.contains(vp.index())) {
        vp.deliver(DeliveryMode::Fixed, vector, false);
    }
    Status::Success
}

fn index_from_apic_id(bus: &mut VpBus<'_>, _: &mut Cpu, input: &Input<'_>, output: &mut [u8]) -> Outcome {
    if input.u64(0) != SELF || input.u64(8) & 0xFF != 0 {
        return (Status::InvalidParameter, 0);
    }
    let vps = bus.shared.vps();
    for n in input.start..input.count {
        let id = input.element32(n);
        let found = vps.iter().flatten().find(|vp| vp.initial_apic_id() == id);
        let (Some(vp), Some(to)) = (found, output.get_mut(n * 4..n * 4 + 4)) else {
            return (Status::InvalidParameter, n);
        };
        to.copy_from_slice(&vp.index().to_le_bytes());
    }
    (Status::Success, input.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_sets() {
        let mask = Processors::mask(0b101);
        assert!(mask.contains(0) && !mask.contains(1) && mask.contains(2) && !mask.contains(64) && !mask.contains(66));
        let banks = Processors::Banks(vec![(0, 1), (3, 1 << 5)]);
        assert!(banks.contains(0) && banks.contains(197) && !banks.contains(5) && !banks.contains(133));
        assert!(Processors::All.contains(255));
    }
}
