//! The hypervisor that CPUID names when the Hyper-V enlightenments are off: as QEMU's WHPX does, VMware's with its leaf of
//! frequencies, or with `-cpu MODEL,vmware-cpuid-freq=off` KVM's with nothing but x2APIC.

use cpu_x86::model::{CpuSpec, Topology};
use whp::{Capability, CapabilityCode, CpuidResult2, Platform};

/// KVM_FEATURE_MSI_EXT_DEST_ID and its like: destinations above 255 and x2APIC are all right.
const KVM_X2APIC: u32 = 1 << 15;
const HYPERVISOR: u32 = 1 << 31;

fn leaf(function: u32, output: [u32; 4]) -> CpuidResult2 {
    CpuidResult2 { function, index: None, vp_index: None, output, mask: [u32::MAX; 4] }
}

/// The name in EBX, ECX, EDX.
fn name(last: u32, name: &[u8; 12]) -> [u32; 4] {
    let word = |n: usize| name.get(n..).and_then(|w| w.first_chunk()).map_or(0, |w| u32::from_le_bytes(*w));
    [last, word(0), word(4), word(8)]
}

/// Whether the processor says that there is a hypervisor at all (`-cpu MODEL,-hypervisor`: no).
pub(crate) fn is_wanted(spec: &CpuSpec) -> bool {
    let model = spec.model(Topology { sockets: 1, cores: 1, threads: 1 }, 0);
    model.leaf(1, 0).is_some_and(|r| r[2] & HYPERVISOR != 0)
}

/// The leaves, for processors of these frequencies in Hz; none when nothing is to be said.
pub(crate) fn leaves(spec: &CpuSpec, platform: &dyn Platform) -> Vec<CpuidResult2> {
    if !is_wanted(spec) {
        return Vec::new();
    }
    let khz = |code| match platform.capability(code) {
        Ok(Capability::ProcessorClockFrequency(hz) | Capability::InterruptClockFrequency(hz)) => (hz / 1000) as u32,
        _ => 0,
    };
    let (tsc, apic) = (khz(CapabilityCode::PROCESSOR_CLOCK_FREQUENCY), khz(CapabilityCode::INTERRUPT_CLOCK_FREQUENCY));
    let frequencies =
        spec.platform.iter().rev().find(|(k, _)| k == "vmware-cpuid-freq").is_none_or(|(_, v)| v != "off");
    let present = CpuidResult2 { output: [0, 0, HYPERVISOR, 0], mask: [0, 0, HYPERVISOR, 0], ..leaf(1, [0; 4]) };
    // What a platform has between (interface, features) would be taken for its own.
    let mut list = vec![present];
    list.extend((2..=6).map(|n| leaf(0x4000_0000 + n, [0; 4])));
    if frequencies && tsc != 0 {
        list.push(leaf(0x4000_0000, name(0x4000_0010, b"VMwareVMware")));
        list.push(leaf(0x4000_0001, [0; 4]));
        list.push(leaf(0x4000_0010, [tsc, apic, 0, 0]));
    } else {
        list.push(leaf(0x4000_0000, name(0x4000_0001, b"KVMKVMKVM\0\0\0")));
        list.push(leaf(0x4000_0001, [KVM_X2APIC, KVM_X2APIC, KVM_X2APIC, 0]));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use whp_soft::SoftPlatform;

    fn shown(cpu: &str, function: u32) -> Option<[u32; 4]> {
        let list = leaves(&CpuSpec::parse(cpu).unwrap(), &SoftPlatform::default());
        list.iter().find(|l| l.function == function).map(|l| l.output)
    }

    #[test]
    fn vmware_kvm_or_nobody() {
        assert_eq!(shown("max", 0x4000_0000), Some([0x4000_0010, 0x6177_4D56, 0x4D56_6572, 0x6572_6177]));
        assert_eq!(shown("max", 0x4000_0010), Some([1_000_000, 1_000_000, 0, 0]));
        let kvm = "max,vmware-cpuid-freq=off";
        assert_eq!(shown(kvm, 0x4000_0000), Some([0x4000_0001, 0x4B4D_564B, 0x564B_4D56, 0x4D]));
        assert_eq!((shown(kvm, 0x4000_0001), shown(kvm, 0x4000_0010)), (Some([1 << 15, 1 << 15, 1 << 15, 0]), None));
        assert_eq!(shown("max,-hypervisor", 0x4000_0000), None);
    }
}
