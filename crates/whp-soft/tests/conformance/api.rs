//! Properties, capabilities, registers, XSAVE state.

use whp::*;

use crate::behave::{behaves, old};
use crate::platform;
use crate::snippets::*;
use crate::vm::Vm;

#[test]
fn capabilities_are_known_or_refused() {
    let p = platform();
    assert_eq!(p.capability(CapabilityCode::HYPERVISOR_PRESENT).unwrap(), Capability::HypervisorPresent(true));
    assert!(matches!(
        p.capability(CapabilityCode::PROCESSOR_CLOCK_FREQUENCY),
        Ok(Capability::ProcessorClockFrequency(1..))
    ));
    assert_eq!(p.capability(CapabilityCode(0x7777)).unwrap_err().code, HResult::WHV_E_UNKNOWN_CAPABILITY);
}

#[test]
fn properties_have_their_time() {
    let p = platform().create_partition().unwrap();
    assert_eq!(p.setup().unwrap_err().code, HResult::WHV_E_INVALID_PARTITION_CONFIG);
    assert_eq!(p.set_property(Property::ProcessorCount(0)).unwrap_err().code, HResult::E_INVALIDARG);
    p.set_property(Property::ProcessorCount(2)).unwrap();
    assert!(p.create_virtual_processor(0).is_err(), "not set up");
    p.setup().unwrap();
    assert_eq!(p.property(PropertyCode::PROCESSOR_COUNT).unwrap(), Property::ProcessorCount(2));
    assert!(p.set_property(Property::ProcessorCount(3)).is_err(), "too late");
    p.set_property(Property::CpuidExitList(vec![1])).unwrap();
    p.set_property(Property::ExceptionExitBitmap(1 << 13)).unwrap();
    assert_eq!(p.property(PropertyCode(0x7777)).unwrap_err().code, HResult::WHV_E_UNKNOWN_PROPERTY);
    p.create_virtual_processor(1).unwrap();
    assert_eq!(p.create_virtual_processor(1).err().unwrap().code, HResult::WHV_E_VP_ALREADY_EXISTS);
    assert_eq!(p.create_virtual_processor(2).err().unwrap().code, HResult::E_INVALIDARG);
    assert_eq!(p.delete_virtual_processor(0).unwrap_err().code, HResult::WHV_E_VP_DOES_NOT_EXIST);
    p.delete_virtual_processor(1).unwrap();
    let i = InterruptControl::fixed(0, 0x40);
    assert_eq!(p.request_interrupt(&i).unwrap_err().code, HResult::WHV_E_INVALID_PARTITION_CONFIG);
}

#[test]
fn vector_zero_is_refused() {
    let v = Vm::with_apic(&platform(), 1, LocalApicEmulationMode::XApic);
    let e = v.partition.request_interrupt(&InterruptControl::fixed(0, 0)).unwrap_err();
    let hypervisors = HResult::ERROR_HV_INVALID_PARAMETER;
    assert_eq!(e.code, if behaves() == "native" { HResult::E_INVALIDARG } else { hypervisors });
}

/// Names, and a value each takes.
fn all_registers() -> Vec<(RegisterName, RegisterValue)> {
    use RegisterName as R;
    let mut list: Vec<(R, RegisterValue)> = vec![
        (R::RIP, 0x1234u64.into()),
        (R::RFLAGS, 0x246u64.into()),
        (R::CR2, 0x5555u64.into()),
        (R::CR3, 0x3000u64.into()),
        (R::CR8, 3u64.into()),
        (R::DR0, 0x77u64.into()),
        (R::DR1, 0x88u64.into()),
        (R::DR2, 0x99u64.into()),
        (R::DR3, 0xAAu64.into()),
        (R::DR6, 0xFFFF_0FF1u64.into()),
        (R::DR7, 0x403u64.into()),
        (R::KERNEL_GS_BASE, 0x8888u64.into()),
        (R::STAR, 1u64.into()),
        (R::LSTAR, 2u64.into()),
        (R::CSTAR, 3u64.into()),
        (R::SFMASK, 4u64.into()),
        (R::SYSENTER_CS, 8u64.into()),
        (R::SYSENTER_EIP, 9u64.into()),
        (R::SYSENTER_ESP, 10u64.into()),
        (R::TSC_AUX, 11u64.into()),
        (R::PAT, 0x0007_0406_0007_0406u64.into()),
        (R::MSR_MTRR_DEF_TYPE, 0xC06u64.into()),
        (R::MSR_MTRR_PHYS_BASE0, 6u64.into()),
        (R::MSR_MTRR_PHYS_MASK0.offset(7), 0x800u64.into()),
        (R::MSR_MTRR_FIX4K_F8000, 0x0606u64.into()),
        (R::GDTR, TableRegister { limit: 0x7F, base: 0x9000 }.into()),
        (R::IDTR, TableRegister { limit: 0xFFF, base: 0xA000 }.into()),
        (R::FP_CONTROL_STATUS, FpControlStatus { fp_control: 0x37F, fp_tag: 1, ..Default::default() }.into()),
        (
            R::XMM_CONTROL_STATUS,
            XmmControlStatus { xmm_status_control: 0x1FA0, xmm_status_control_mask: 0xFFFF, last_fp_rdp: 0 }.into(),
        ),
        (R::PENDING_INTERRUPTION, PendingInterruption::exception(14, Some(4)).into()),
        (R::INTERRUPT_STATE, InterruptState { interrupt_shadow: true, nmi_masked: true }.into()),
        (R::PENDING_EVENT, PendingEvent::ExtInt { vector: 0x20 }.into()),
        (
            R::DELIVERABILITY_NOTIFICATIONS,
            DeliverabilityNotifications { nmi: true, interrupt: true, interrupt_priority: 5, sint: 0 }.into(),
        ),
    ];
    if !old() {
        list.push((R::XSS, 0x800u64.into()));
    }
    list.extend((0..16).map(|i| (R::RAX.offset(i), RegisterValue::from(0x1111_1111_1111u64 * u64::from(i + 1)))));
    list.extend((0..16).map(|i| (R::XMM0.offset(i), RegisterValue(u128::MAX / u128::from(i + 3)))));
    list.extend((0..8).map(|i| (R::FP_MMX0.offset(i), RegisterValue((u128::MAX >> 48) / u128::from(i + 3)))));
    for i in 0..8u16 {
        let s = SegmentRegister { base: 0x100, limit: 0xFFFF, selector: i * 8, attributes: 0x93 };
        list.push((R::ES.offset(i.into()), s.into()));
    }
    list
}

#[test]
fn registers_round_trip() {
    let v = Vm::new(&platform(), 1, vec![]);
    let (names, values): (Vec<_>, Vec<_>) = all_registers().into_iter().unzip();
    v.vp().set_registers(&names, &values).unwrap();
    let mut read = vec![RegisterValue::default(); names.len()];
    v.vp().registers(&names, &mut read).unwrap();
    for ((name, want), got) in names.iter().zip(&values).zip(&read) {
        assert_eq!(got, want, "{name:?}");
    }
    let e = v.vp().registers(&[RegisterName(0x4444)], &mut [RegisterValue(0)]).unwrap_err();
    assert_eq!(e.code, HResult::WHV_E_INVALID_VP_REGISTER_NAME);
    assert!(v.vp().registers(&[RegisterName::RAX], &mut []).is_err());
}

/// Registers may be read between two runs by any thread: a run that meets such a call waits for it.
#[test]
fn a_run_and_a_register_call_can_meet() {
    let v = Vm::new(&platform(), 1, vec![]);
    let vp = v.vps[0].clone();
    let end = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ended = end.clone();
    let reader = std::thread::spawn(move || {
        let mut value = [RegisterValue::default(); 2];
        while !ended.load(std::sync::atomic::Ordering::Relaxed) {
            // "It runs" is a right answer here.
            let _ = vp.registers(&[RegisterName::RIP, RegisterName::CS], &mut value);
        }
    });
    for _ in 0..3000 {
        v.real(0, HALT);
        assert_eq!(v.vps[0].run(None).unwrap().exit, Exit::Halt);
    }
    end.store(true, std::sync::atomic::Ordering::Relaxed);
    reader.join().unwrap();
}

#[test]
fn xsave_state_round_trips_compacted() {
    let v = Vm::new(&platform(), 1, vec![]);
    v.set(0, RegisterName::XMM0.offset(5), RegisterValue(0x1234_5678_9ABC_DEF0));
    v.set(0, RegisterName::FP_MMX0, RegisterValue(0x3FFF_8000_0000_0000_0000));
    let area = v.vp().xsave_state().unwrap();
    assert_eq!(area[527], 0x80, "XCOMP_BV bit 63");
    assert_eq!(area[160 + 80..][..8], 0x1234_5678_9ABC_DEF0u64.to_le_bytes());
    let w = Vm::new(&platform(), 1, vec![]);
    w.vp().set_xsave_state(&area).unwrap();
    assert_eq!(w.vp().xsave_state().unwrap(), area);
    assert_eq!(w.get(0, RegisterName::XMM0.offset(5)), 0x1234_5678_9ABC_DEF0);
    let mut standard = vec![0; 576 + 256];
    standard[..512].copy_from_slice(&area[..512]);
    standard[512] = 3;
    w.vp().set_xsave_state(&standard).unwrap();
    assert_eq!(w.get(0, RegisterName::XMM0.offset(5)), 0x1234_5678_9ABC_DEF0);
    standard[519] = 0x40;
    assert_eq!(w.vp().set_xsave_state(&standard).unwrap_err().code, HResult::E_INVALIDARG);
    assert!(w.vp().set_xsave_state(&area[..100]).is_err());
}

#[test]
fn a_dropped_partition_ends_its_threads() {
    let v = Vm::with_apic(&platform(), 1, LocalApicEmulationMode::XApic);
    v.long(0, CLI_HLT64);
    let vp = v.vps[0].clone();
    let t = std::thread::spawn(move || vp.run(None).unwrap().exit);
    drop(v);
    assert_eq!(t.join().unwrap(), Exit::Canceled);
}
