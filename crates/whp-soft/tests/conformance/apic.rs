//! The local APIC in the platform: interrupts, timers, processors that start processors.

use std::time::Duration;

use whp::LocalApicEmulationMode::{X2Apic, XApic};
use whp::*;

use crate::behave::old;
use crate::platform;
use crate::snippets::*;
use crate::vm::{CODE, Log, Seen, Vm};

/// One processor, vector 0x40 handled by `HANDLER64`.
fn vm(code: &[u8]) -> Vm {
    let v = Vm::with_apic(&platform(), 1, X2Apic);
    v.long(0, code);
    v.load(0x1800, HANDLER64);
    v.long_vector(0x40, 0x1800);
    v.long_vector(0x41, 0x1800);
    v
}

/// Calls `f` after a while on another thread.
fn soon(f: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        f();
    })
}

#[test]
fn an_interrupt_ends_a_halt() {
    let v = vm(WAIT_ONE64);
    let p = v.partition.clone();
    let t = soon(move || p.request_interrupt(&InterruptControl::fixed(0, 0x40)).unwrap());
    v.run_to_f4();
    t.join().unwrap();
    assert_eq!(v.u32(0x7000), 1);
    assert_eq!(v.vp().counters().events.interrupt_count, 1);
}

#[test]
fn a_cancel_ends_a_halt_and_the_halt_goes_on() {
    let v = vm(WAIT_ONE64);
    // On a busy host a cancel can come before the HLT: then once more.
    let halted = (0..100).any(|_| {
        let vp = v.vps[0].clone();
        let t = soon(move || vp.cancel());
        assert_eq!(v.run(0, None).exit, Exit::Canceled);
        t.join().unwrap();
        let mut a = [RegisterValue::default()];
        v.vp().registers(&[RegisterName::INTERNAL_ACTIVITY_STATE], &mut a).unwrap();
        a[0].internal_activity().halt_suspend
    });
    assert!(halted);
    v.partition.request_interrupt(&InterruptControl::fixed(0, 0x40)).unwrap();
    v.run_to_f4();
    assert_eq!(v.u32(0x7000), 1);
}

/// An interrupt whose delivery needs memory that is not there is still pending when it is.
#[test]
fn an_interrupt_outlives_an_exit_of_its_delivery() {
    use RegisterName as R;
    let stack = 0x20_0000u64;
    for injected in [false, true] {
        let v = vm(WAIT_ONE64);
        v.set(0, R::RSP, stack + 0x1000);
        if injected {
            v.load(CODE, STI_HLT64);
            v.set(0, R::PENDING_INTERRUPTION, PendingInterruption::interrupt(0x40));
        } else {
            // Enables the APIC, and halts.
            v.vp().cancel();
            v.run(0, None);
            v.partition.request_interrupt(&InterruptControl::fixed(0, 0x40)).unwrap();
            let mut page = v.vp().interrupt_controller_state().unwrap();
            page[0xF1] |= 1;
            page[0x220] = 1; // IRR, vector 0x40
            v.vp().set_interrupt_controller_state(&page).unwrap();
        }
        for _ in 0..2 {
            let c = v.run(0, None);
            assert!(matches!(c.exit, Exit::MemoryAccess(MemoryAccess { gpa_unmapped: true, .. })), "{c:x?}");
            assert!(c.vp.interruption_pending);
            let mut value = [RegisterValue::default()];
            v.vp().registers(&[R::PENDING_INTERRUPTION], &mut value).unwrap();
            let p = value[0].pending_interruption();
            assert_eq!((p.pending, p.kind, p.vector), (true, PendingInterruption::INTERRUPT, 0x40));
        }
        let more = guest_memory::RamBlock::new("stack", 0x1000).unwrap();
        v.partition.map_gpa_range(&more, 0, 0x1000, stack, crate::vm::rwx()).unwrap();
        if injected {
            // Its handler ends it, and then the guest halts.
            let vp = v.vps[0].clone();
            let t = soon(move || vp.cancel());
            assert_eq!(v.run(0, None).exit, Exit::Canceled);
            t.join().unwrap();
        } else {
            v.run_to_f4();
        }
        assert_eq!(v.u32(0x7000), 1, "once");
    }
}

#[test]
fn an_nmi_ends_a_halt_with_interrupts_off() {
    let v = vm(CLI_HLT64);
    v.long_vector(2, 0x1800);
    let nmi = InterruptControl { kind: InterruptType::NMI, ..InterruptControl::fixed(0, 0) };
    let p = v.partition.clone();
    let t = soon(move || p.request_interrupt(&nmi).unwrap());
    v.run_to_f4();
    t.join().unwrap();
    assert_eq!(v.u32(0x7000), 1);
}

#[test]
fn an_external_interrupt_goes_in_by_window_and_pending_event() {
    if old() {
        return; // see the test of that
    }
    let v = vm(STI_HLT64);
    v.long_vector(0x08, 0x1800);
    let window = DeliverabilityNotifications { interrupt: true, ..Default::default() };
    v.set(0, RegisterName::DELIVERABILITY_NOTIFICATIONS, window);
    assert_eq!(v.run(0, None).exit, Exit::InterruptWindow { kind: PendingInterruption::INTERRUPT });
    v.set(0, RegisterName::PENDING_EVENT, PendingEvent::ExtInt { vector: 8 });
    v.set(0, RegisterName::INTERNAL_ACTIVITY_STATE, InternalActivity::default());
    v.run_to_f4();
    assert_eq!(v.u32(0x7000), 1);
}

#[test]
fn a_processor_starts_another() {
    for mode in [XApic, X2Apic] {
        let v = Vm::with_apic(&platform(), 2, mode);
        v.long(0, START_AP64);
        v.load(0x9000, AP);
        let ap = v.vps[1].clone();
        let t = std::thread::spawn(move || ap.run(None).unwrap().exit);
        v.run_to_f4();
        assert_eq!(v.byte(0x7100), 0xA5);
        v.vps[1].cancel();
        assert_eq!(t.join().unwrap(), Exit::Canceled);
        assert_eq!(v.get(1, RegisterName::CS) & 0xFFFF_FFFF, 0x9000);
    }
}

#[test]
fn init_and_sipi_can_be_trapped() {
    let v = Vm::new(
        &platform(),
        2,
        vec![
            Property::LocalApicEmulationMode(XApic),
            Property::ExtendedVmExits(ExtendedVmExits::X64_APIC_INIT_SIPI_EXIT_TRAP),
        ],
    );
    v.long(0, START_AP64);
    assert_eq!(v.run(0, None).exit, Exit::ApicInitSipiTrap { icr: 0x0100_0000_0000_4500 });
    assert_eq!(v.run(0, None).exit, Exit::ApicInitSipiTrap { icr: 0x0100_0000_0000_4609 });
}

#[test]
fn timers_fire() {
    let v = vm(TIMER_ONE_SHOT64);
    let c = v.run_to_f4();
    assert_eq!((v.u32(0x7000), v.get(0, RegisterName::RAX)), (1, 0), "{c:x?}");
    let v = vm(TIMER_PERIODIC64);
    v.run_to_f4();
    assert!(v.u32(0x7000) >= 5);
    let v = vm(TIMER_DEADLINE64);
    v.run_to_f4();
    assert_eq!(v.u32(0x7000), 1);
    assert!(v.u64(0x7208) >= v.u64(0x7200), "not before the deadline");
}

#[test]
fn the_end_of_a_level_interrupt_is_told() {
    let level = InterruptControl { trigger_mode: TriggerMode::Level, ..InterruptControl::fixed(0, 0x41) };
    let v = vm(WAIT_ONE64);
    let p = v.partition.clone();
    let t = soon(move || p.request_interrupt(&level).unwrap());
    assert_eq!(v.run(0, None).exit, Exit::ApicEoi { vector: 0x41 });
    t.join().unwrap();
    v.run_to_f4();
    if !crate::decoded() {
        return;
    }
    let v = vm(WAIT_ONE64);
    let p = v.partition.clone();
    let t = soon(move || p.request_interrupt(&level).unwrap());
    let log = Log::default();
    let vp = v.vps[0].clone();
    let end = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        vp.cancel();
    });
    assert_eq!(v.run(0, Some(&log)).exit, Exit::Canceled);
    t.join().unwrap();
    end.join().unwrap();
    assert_eq!(log.take(), [Seen::Eoi(0x41), Seen::Out(0xF4, vec![0])]);
}

#[test]
fn x2apic_mode_by_msr() {
    let v = vm(X2APIC64);
    v.load(0x1800, HANDLER64_X2);
    v.run_to_f4();
    assert_eq!((v.u32(0x7000), v.u32(0x7400)), (1, 0));
    assert_eq!(v.get(0, RegisterName::APIC_BASE), 0xFEE0_0D00);
}

#[test]
fn the_apic_base_register_keeps_its_rules() {
    let v = Vm::new(
        &platform(),
        1,
        vec![
            Property::LocalApicEmulationMode(X2Apic),
            Property::ExtendedVmExits(ExtendedVmExits::EXCEPTION_EXIT),
            Property::ExceptionExitBitmap(1 << 13),
        ],
    );
    v.real(0, X2_BASE_GP);
    let c = v.run(0, None);
    assert!(matches!(c.exit, Exit::Exception(VpException { exception_type: 13, .. })), "{c:x?}");
    assert_eq!(v.get(0, RegisterName::APIC_BASE), 0xFEE0_0D00);
}

#[test]
fn the_tsc_is_monotonic_across_processors() {
    let v = Vm::with_apic(&platform(), 2, XApic);
    for i in 0..2 {
        v.long(i, TSC64);
        v.set(i, RegisterName::RDI, i as u64);
        v.set(i, RegisterName::INTERNAL_ACTIVITY_STATE, InternalActivity::default());
    }
    let other = v.vps[1].clone();
    let t = std::thread::spawn(move || other.run(None).unwrap());
    v.run_to_f4();
    assert!(matches!(t.join().unwrap().exit, Exit::IoPortAccess(_)));
    assert_eq!(v.u32(0x7310), 0, "times the TSC went back");
}

#[test]
fn the_register_page_round_trips() {
    let v = vm(WAIT_ONE64);
    let mut page = v.vp().interrupt_controller_state().unwrap();
    assert_eq!(page[0xF0..0xF4], [0xFF, 0, 0, 0]);
    page[0xF1] = 1;
    page[0x80] = 0x20;
    page[0x200 + 0x20] = 1; // IRR, vector 0x40
    v.vp().set_interrupt_controller_state(&page).unwrap();
    assert_eq!(v.get(0, RegisterName::CR8), 2);
    assert_eq!(v.get(0, RegisterName::APIC_IRR2), 1);
    v.run_to_f4();
    assert_eq!(v.u32(0x7000), 1);
    let none = Vm::new(&platform(), 1, vec![]);
    assert!(none.vp().interrupt_controller_state().is_err());
}

#[test]
fn time_can_stand_still() {
    let v = vm(WAIT_ONE64);
    v.partition.suspend_time().unwrap();
    v.set(0, RegisterName::TSC, 5000u64);
    assert_eq!(v.get(0, RegisterName::TSC), 5000);
    assert_eq!(v.get(0, RegisterName::TSC), 5000);
    v.partition.resume_time().unwrap();
    while v.get(0, RegisterName::TSC) == 5000 {}
}

#[test]
fn reset_gives_the_power_on_state() {
    let v = Vm::with_apic(&platform(), 2, X2Apic);
    v.long(0, WAIT_ONE64);
    v.vp().cancel();
    v.run(0, None);
    v.partition.reset().unwrap();
    let mut cs = [RegisterValue::default()];
    v.vp().registers(&[RegisterName::CS], &mut cs).unwrap();
    assert_eq!((cs[0].segment().base, v.get(0, RegisterName::RIP)), (0xFFFF_0000, 0xFFF0));
    assert_eq!(v.get(0, RegisterName::CR0) & 0x8000_0001, 0);
    assert_eq!(v.get(0, RegisterName::INTERNAL_ACTIVITY_STATE), 0);
    assert_eq!(v.get(1, RegisterName::INTERNAL_ACTIVITY_STATE), 1, "waits for a start-up IPI");
    v.long(0, CLI_HLT64);
    assert_eq!(v.get(0, RegisterName::RIP), CODE);
}
