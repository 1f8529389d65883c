//! CPUID: the partition's result lists over the model's leaves and the hypervisor's, then what depends on the processor.

use whp::{CpuidResult2, ExtendedVmExits, SyntheticProcessorFeatures};

use crate::config::{Config, MAX_PROCESSORS};
use crate::hyperv;

/// What of a result depends on the processor's state and place.
pub(super) struct Place {
    pub(super) index: u32,
    pub(super) apic_id: u32,
    /// IA32_APIC_BASE.EN.
    pub(super) apic_enabled: bool,
    /// x2APIC mode exists.
    pub(super) x2apic: bool,
    /// The local APIC is in the platform.
    pub(super) platform_apic: bool,
}

fn merge(regs: &mut [u32; 4], list: &CpuidResult2) {
    for ((reg, output), mask) in regs.iter_mut().zip(list.output).zip(list.mask) {
        *reg = *reg & !mask | output & mask;
    }
}

/// Turns the processor's own result into the guest's.
pub(super) fn result(config: &Config, place: &Place, leaf: u32, subleaf: u32, regs: &mut [u32; 4]) {
    if leaf == 1 && !place.platform_apic {
        // x2APIC and the TSC-deadline timer are the platform's APIC's; a client with them in its own says so in its lists.
        regs[2] &= !(1 << 21 | 1 << 24);
    }
    if let Some(r) = hyperv::leaf(config.synthetic, leaf, config.physical_bits, MAX_PROCESSORS) {
        *regs = r;
    }
    if leaf == 1 && config.synthetic.contains(SyntheticProcessorFeatures::HYPERVISOR_PRESENT) {
        regs[2] |= 1 << 31;
    }
    let own = *regs;
    if let Some(r) = config.cpuid_results.iter().find(|r| r.function == leaf) {
        *regs = [r.eax, r.ebx, r.ecx, r.edx];
    }
    let fits = |r: &&CpuidResult2| {
        r.function == leaf && r.index.is_none_or(|i| i == subleaf) && r.vp_index.is_none_or(|i| i == place.index)
    };
    config.cpuid_results2.iter().filter(fits).for_each(|r| merge(regs, r));
    match leaf {
        1 => {
            regs[1] = regs[1] & 0x00FF_FFFF | place.apic_id << 24;
            regs[2] = regs[2] & !(1 << 27) | own[2] & 1 << 27; // OSXSAVE
            if place.platform_apic {
                if !place.x2apic {
                    regs[2] &= !(1 << 21);
                }
                if !place.apic_enabled {
                    regs[3] &= !(1 << 9);
                }
            }
        }
        7 if subleaf == 0 => regs[2] = regs[2] & !(1 << 4) | own[2] & 1 << 4, // OSPKE
        // Levels of a topology that is not there stay all zero.
        0xB | 0x1F if config.cpuid_results2.iter().any(|r| fits(&r)) || own != [0; 4] => regs[3] = place.apic_id,
        0xD if subleaf <= 1 => regs[1] = own[1], // sizes follow XCR0 and XSS
        0x8000_001E if *regs != [0; 4] => regs[0] = place.apic_id,
        _ => {}
    }
}

/// Whether the leaf is to exit.
pub(super) fn exits(config: &Config, leaf: u32) -> bool {
    config.exits.contains(ExtendedVmExits::X64_CPUID_EXIT) && config.cpuid_exits.contains(&leaf)
}
