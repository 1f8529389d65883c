//! The hypervisor's CPUID leaves (TLFS, "Feature and Interface Discovery").

use whp::SyntheticProcessorFeatures as F;

/// The last leaf.
const LAST: u32 = 0x4000_0006;
/// The hypervisor that this one behaves like: Windows Server 2022, the first with all of these features.
const BUILD: u32 = 20348;
const VERSION: u32 = 10 << 16;
/// "Spin for ever": the guest is not asked to notify long waits.
const NEVER: u32 = u32::MAX;
/// Spins before a notification: short, since a lock's owner is often not running here.
const SPINS: u32 = 0x400;

/// Leaf 0x40000003 EAX and EBX: the partition's privileges.
fn privileges(f: F) -> u64 {
    const BITS: [(F, u32); 11] = [
        (F::ACCESS_VP_RUN_TIME_REG, 0),
        (F::ACCESS_PARTITION_REFERENCE_COUNTER, 1),
        (F::ACCESS_SYNIC_REGS, 2),
        (F::ACCESS_SYNTHETIC_TIMER_REGS, 3),
        (F::ACCESS_INTR_CTRL_REGS, 4),
        (F::ACCESS_HYPERCALL_REGS, 5),
        (F::ACCESS_VP_INDEX, 6),
        (F::ACCESS_PARTITION_REFERENCE_TSC, 9),
        (F::ACCESS_GUEST_IDLE_REG, 10),
        (F::ACCESS_FREQUENCY_REGS, 11),
        (F::SIGNAL_EVENTS, 37),
    ];
    bits(f, &BITS)
}

/// Leaf 0x40000003 EDX.
fn misc(f: F) -> u64 {
    const BITS: [(F, u32); 6] = [
        (F::ACCESS_HYPERCALL_REGS, 4), // input in XMM registers
        (F::ACCESS_GUEST_IDLE_REG, 5),
        (F::ACCESS_FREQUENCY_REGS, 8),
        (F::ENABLE_EXTENDED_GVA_RANGES_FOR_FLUSH_VIRTUAL_ADDRESS_LIST, 14),
        (F::FAST_HYPERCALL_OUTPUT, 15),
        (F::DIRECT_SYNTHETIC_TIMERS, 19),
    ];
    bits(f, &BITS)
}

/// Leaf 0x40000004 EAX: what the guest had better use. Time is relaxed: a processor may be away for long.
fn recommendations(f: F) -> u64 {
    const RELAXED_TIMING: u64 = 1 << 5;
    const BITS: [(F, u32); 5] = [
        (F::TB_FLUSH_HYPERCALLS, 2),
        (F::ACCESS_INTR_CTRL_REGS, 3),
        (F::ACCESS_SYNIC_REGS, 9), // no automatic EOI
        (F::SYNTHETIC_CLUSTER_IPI, 10),
        (F::EXTENDED_PROCESSOR_MASKS, 11),
    ];
    RELAXED_TIMING | bits(f, &BITS)
}

fn bits(f: F, table: &[(F, u32)]) -> u64 {
    table.iter().filter(|(feature, _)| f.contains(*feature)).fold(0, |all, (_, bit)| all | 1 << bit)
}

/// EAX, EBX, ECX, EDX of `leaf` for a guest with features `f`; `None`: not one of the hypervisor's.
pub(crate) fn leaf(f: F, leaf: u32, physical_bits: u32, max_processors: u32) -> Option<[u32; 4]> {
    if !f.contains(F::HYPERVISOR_PRESENT | F::HV1) {
        return None;
    }
    Some(match leaf {
        0x4000_0000 => [LAST, 0x7263_694D, 0x666F_736F, 0x7648_2074], // "Microsoft Hv"
        0x4000_0001 => [0x3123_7648, 0, 0, 0],                        // "Hv#1"
        0x4000_0002 => [BUILD, VERSION, 0, 0],
        0x4000_0003 => {
            let p = privileges(f);
            [p as u32, (p >> 32) as u32, 0, misc(f) as u32]
        }
        0x4000_0004 => {
            let spins = if f.contains(F::NOTIFY_LONG_SPIN_WAIT) { SPINS } else { NEVER };
            [recommendations(f) as u32, spins, physical_bits & 0x7F, 0]
        }
        0x4000_0005 => [max_processors, max_processors, 0, 0],
        0x4000_0006 => [0; 4],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(regs: &[u32]) -> Vec<u8> {
        regs.iter().flat_map(|r| r.to_le_bytes()).collect()
    }

    #[test]
    fn leaves_follow_the_features() {
        let all = super::super::supported();
        let get = |f, n| leaf(f, n, 40, 240).unwrap();
        assert_eq!(text(&get(all, 0x4000_0000)[1..]), b"Microsoft Hv");
        assert_eq!(text(&get(all, 0x4000_0001)[..1]), b"Hv#1");
        assert_eq!(get(all, 0x4000_0003), [0xE7F, 0, 0, 1 << 4 | 1 << 5 | 1 << 8 | 1 << 14 | 1 << 15 | 1 << 19]);
        assert_eq!(get(all, 0x4000_0004), [1 << 2 | 1 << 3 | 1 << 5 | 1 << 9 | 1 << 10 | 1 << 11, SPINS, 40, 0]);
        let few = F::HYPERVISOR_PRESENT | F::HV1 | F::ACCESS_VP_INDEX;
        assert_eq!(get(few, 0x4000_0003), [1 << 6, 0, 0, 0]);
        assert_eq!(get(few, 0x4000_0004), [1 << 5, NEVER, 40, 0]);
        assert_eq!(get(few, 0x4000_0005), [240, 240, 0, 0]);
        assert_eq!(leaf(all, 0x4000_0007, 40, 240), None);
        assert_eq!(leaf(F::HYPERVISOR_PRESENT, 0x4000_0000, 40, 240), None);
    }
}
