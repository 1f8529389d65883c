//! Accesses, cancelling, exits of instructions, interrupts without a local APIC.

use whp::*;

use crate::behave::old;
use crate::platform;
use crate::snippets::*;
use crate::vm::{CODE, Log, Seen, Vm};

fn vm(properties: Vec<Property>) -> Vm {
    Vm::new(&platform(), 1, properties)
}

fn exits(which: ExtendedVmExits) -> Property {
    Property::ExtendedVmExits(which)
}

#[test]
fn ports_exit_without_a_handler() {
    let v = vm(vec![]);
    v.real(0, OUT_IN);
    let c = v.run(0, None);
    let Exit::IoPortAccess(io) = c.exit else { panic!("{c:x?}") };
    assert!(io.is_write && !io.string_op && !io.rep_prefix);
    assert_eq!((io.port, io.access_size, io.rax as u8), (0x80, 1, 0x5A));
    assert_eq!((c.vp.rip, c.vp.instruction_length), (CODE + 2, 2));
    assert_eq!(io.instruction_bytes[..io.instruction_byte_count.into()], [0xE6, 0x80]);
    v.set(0, RegisterName::RIP, c.vp.rip + 2);
    let c = v.run(0, None);
    let Exit::IoPortAccess(io) = c.exit else { panic!("{c:x?}") };
    assert!(!io.is_write && io.port == 0x71);
    v.vp().set_registers(&[RegisterName::RIP, RegisterName::RAX], &[(c.vp.rip + 2).into(), 0x99u64.into()]).unwrap();
    let c = v.run(0, None);
    assert_eq!(c.exit, Exit::Halt);
    assert_eq!(c.vp.rip, CODE + OUT_IN.len() as u64, "after the HLT");
    assert_eq!(v.byte(0x500), 0x99);
}

#[test]
fn ports_are_served_by_the_handler() {
    if !crate::decoded() {
        return;
    }
    let v = vm(vec![]);
    v.real(0, OUT_IN);
    let log = Log::answering(0x42);
    assert_eq!(v.run(0, Some(&log)).exit, Exit::Halt);
    assert_eq!(log.take(), [Seen::Out(0x80, vec![0x5A]), Seen::In(0x71, 1)]);
    assert_eq!(v.byte(0x500), 0x42);
}

#[test]
fn memory_is_served_by_the_handler_or_exits() {
    let v = vm(vec![]);
    v.partition.unmap_gpa_range(0xA_0000, 0x1000).unwrap();
    v.real(0, MMIO);
    if crate::decoded() {
        let log = Log::answering(0x11);
        assert_eq!(v.run(0, Some(&log)).exit, Exit::Halt);
        assert_eq!(log.take(), [Seen::Read(0xA_0004, 2), Seen::Write(0xA_0008, vec![0x12, 0x11])]);
        v.real(0, MMIO);
    }
    let c = v.run(0, None);
    let Exit::MemoryAccess(m) = c.exit else { panic!("{c:x?}") };
    assert_eq!((m.gpa, m.gpa_unmapped, m.access_type), (0xA_0004, true, AccessType::Read));
    assert_eq!(c.vp.rip, CODE + 5);
    if !old() {
        assert_eq!((m.gva, m.gva_valid), (0xA_0004, true));
        assert_eq!(m.instruction(), &MMIO[5..8]);
    }
}

#[test]
fn cancel_is_sticky_and_works_from_another_thread() {
    let v = vm(vec![]);
    v.real(0, SPIN);
    v.vp().cancel();
    let c = v.run(0, None);
    assert_eq!((c.exit, c.vp.rip), (Exit::Canceled, CODE));
    let other = v.vps[0].clone();
    let t = std::thread::spawn(move || {
        while other.registers(&[RegisterName::RIP], &mut [RegisterValue::default()]).is_ok() {
            std::thread::yield_now();
        }
        let busy = other.registers(&[RegisterName::RIP], &mut [RegisterValue::default()]).unwrap_err();
        other.cancel();
        busy
    });
    assert_eq!(v.run(0, None).exit, Exit::Canceled);
    assert_eq!(t.join().unwrap().code, HResult::WHV_E_INVALID_VP_STATE);
    v.real(0, HALT);
    assert_eq!(v.run(0, None).exit, Exit::Halt, "one cancel, one exit");
}

#[test]
fn the_interrupt_window_opens_and_an_interrupt_goes_in() {
    let v = vm(vec![]);
    v.real(0, STI_SPIN);
    v.real_vector(0x30, 0x1800);
    v.load(0x1800, COUNT_7000);
    let want = DeliverabilityNotifications { interrupt: true, ..Default::default() };
    v.set(0, RegisterName::DELIVERABILITY_NOTIFICATIONS, want);
    let c = v.run(0, None);
    assert_eq!(c.exit, Exit::InterruptWindow { kind: PendingInterruption::INTERRUPT });
    assert!(c.vp.rflags & 0x200 != 0 && !c.vp.interrupt_shadow);
    assert_eq!(c.vp.rip, CODE + 5, "one instruction after STI");
    assert_eq!(v.get(0, RegisterName::DELIVERABILITY_NOTIFICATIONS), 0, "one notification");
    v.set(0, RegisterName::PENDING_INTERRUPTION, PendingInterruption::interrupt(0x30));
    let c = v.run_to_f4();
    assert_eq!(v.u32(0x7000), 1);
    assert!(c.vp.rflags & 0x200 == 0);
}

#[test]
fn exceptions_exit_and_can_be_put_back() {
    let v = vm(vec![exits(ExtendedVmExits::EXCEPTION_EXIT), Property::ExceptionExitBitmap(1 << 6)]);
    v.real(0, UD2);
    v.real_vector(6, 0x1800);
    v.load(0x1800, SKIP_2_HLT);
    let c = v.run(0, None);
    let Exit::Exception(e) = c.exit else { panic!("{c:x?}") };
    assert_eq!((e.exception_type, e.error_code_valid, c.vp.rip), (6, false, CODE + 1));
    v.set(0, RegisterName::PENDING_INTERRUPTION, PendingInterruption::exception(6, None));
    let c = v.run(0, None);
    assert_eq!((c.exit, c.vp.rip), (Exit::Halt, 0x1801));
    v.partition.set_property(Property::ExceptionExitBitmap(0)).unwrap();
    v.real(0, UD2);
    assert_eq!(v.run(0, None).vp.rip, 0x1801, "delivered");
}

#[test]
fn a_triple_fault_is_unrecoverable() {
    let v = vm(vec![]);
    v.real(0, UD2);
    v.set(0, RegisterName::IDTR, TableRegister { limit: 0, base: 0 });
    assert_eq!(v.run(0, None).exit, Exit::UnrecoverableException);
}

#[test]
fn cpuid_exits_and_result_lists() {
    let list = CpuidResult { function: 0x4000_0000, eax: 0x4000_0001, ebx: 0x1234, ecx: 0, edx: 0 };
    let v = vm(vec![
        exits(ExtendedVmExits::X64_CPUID_EXIT),
        Property::CpuidExitList(vec![0x4000_0000]),
        Property::CpuidResultList(vec![list]),
    ]);
    v.real(0, CPUID_7);
    let c = v.run(0, None);
    let Exit::Cpuid(id) = c.exit else { panic!("{c:x?}") };
    assert_eq!((id.rax, id.default_result_rax, id.default_result_rbx), (0x4000_0000, 0x4000_0001, 0x1234));
    assert_eq!(c.vp.instruction_length, 2);
    if old() {
        return; // has no function that tells
    }
    assert_eq!(v.vp().cpuid_output(0x4000_0000, 0).unwrap()[1], 0x1234);
    v.partition.set_property(Property::CpuidExitList(vec![])).unwrap();
    assert_eq!(v.run(0, None).exit, Exit::Halt);
    assert_eq!(v.u32(0x500), v.vp().cpuid_output(1, 0).unwrap()[1]);
}

#[test]
fn without_the_platforms_apic_its_timer_is_not_announced() {
    if old() {
        return; // has no function that tells
    }
    // A client's own APIC would never see IA32_TSC_DEADLINE written, and a guest that was told of it would wait for ever.
    const X2APIC_AND_TSC_DEADLINE: u32 = 1 << 21 | 1 << 24;
    let apic = Vm::with_apic(&platform(), 1, whp::LocalApicEmulationMode::X2Apic);
    assert_eq!(apic.vp().cpuid_output(1, 0).unwrap()[2] & X2APIC_AND_TSC_DEADLINE, X2APIC_AND_TSC_DEADLINE);
    assert_eq!(vm(vec![]).vp().cpuid_output(1, 0).unwrap()[2] & X2APIC_AND_TSC_DEADLINE, 0);
    let list = CpuidResult { function: 1, eax: 0, ebx: 0, ecx: X2APIC_AND_TSC_DEADLINE, edx: 0 };
    let own = vm(vec![Property::CpuidResultList(vec![list])]);
    assert_eq!(own.vp().cpuid_output(1, 0).unwrap()[2] & X2APIC_AND_TSC_DEADLINE, X2APIC_AND_TSC_DEADLINE);
}

#[test]
fn unknown_msrs_fault_or_exit_or_are_ignored() {
    // As clients do that are older than the bitmap.
    let v = vm(vec![exits(ExtendedVmExits::X64_MSR_EXIT)]);
    v.real(0, MSR);
    assert!(matches!(v.run(0, None).exit, Exit::MsrAccess(_)));
    let v = vm(vec![exits(ExtendedVmExits::X64_MSR_EXIT), Property::X64MsrExitBitmap(MsrExitBitmap::UNHANDLED_MSRS)]);
    v.real(0, MSR);
    let c = v.run(0, None);
    let Exit::MsrAccess(m) = c.exit else { panic!("{c:x?}") };
    assert!(m.is_write);
    assert_eq!((m.msr_number, m.rax, m.rdx, c.vp.instruction_length), (0xC0DE, 0x11, 0x22, 2));
    v.set(0, RegisterName::RIP, c.vp.rip + 2);
    let c = v.run(0, None);
    assert!(matches!(c.exit, Exit::MsrAccess(MsrAccess { is_write: false, msr_number: 0xC0DE, .. })), "{c:x?}");
    if !old() {
        let v = vm(vec![Property::UnimplementedMsrAction(MsrAction::IgnoreWriteReadZero)]);
        v.real(0, MSR);
        assert_eq!(v.run(0, None).exit, Exit::Halt);
        assert_eq!(v.u32(0x500), 0);
    }
    let v = vm(vec![exits(ExtendedVmExits::EXCEPTION_EXIT), Property::ExceptionExitBitmap(1 << 13)]);
    v.real(0, MSR);
    let c = v.run(0, None);
    assert!(matches!(c.exit, Exit::Exception(VpException { exception_type: 13, .. })), "{c:x?}");
}

#[test]
fn impossible_registers_are_an_exit() {
    let v = vm(vec![]);
    v.real(0, HALT);
    v.set(0, RegisterName::CR0, 0x8000_0010u64);
    assert_eq!(v.run(0, None).exit, Exit::InvalidVpRegisterValue);
}
