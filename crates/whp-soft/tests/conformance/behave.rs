//! What the Windows versions do differently (`whp_soft::Behave`), and the whole suite in each.
//!
//! WHPX_DLL_BEHAVE says what the platform under test behaves like, the DLL reads it itself; so the suite is run anew for
//! each, in a process of its own.

use std::process::Command;
use std::time::Duration;

use whp::*;

use crate::platform;
use crate::snippets::*;
use crate::vm::{Log, Vm};

/// What the platform under test is to behave like.
pub fn behaves() -> String {
    std::env::var("WHPX_DLL_BEHAVE").unwrap_or_else(|_| "native".into())
}

/// Windows 10.
pub fn old() -> bool {
    behaves() == "windows10"
}

#[test]
fn the_suite_passes_in_every_behaviour() {
    for behave in ["windows10", "windows11"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--skip", "in_every_behaviour"]).env("WHPX_DLL_BEHAVE", behave);
        if behave == "windows10" {
            command.args(["--skip", "hyperv::"]); // has no enlightenments that a client chooses
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{behave}:\n{}", String::from_utf8_lossy(&output.stdout));
    }
}

fn set_up(properties: Vec<Property>) -> Vm {
    Vm::new(&platform(), 1, properties)
}

#[test]
fn an_old_system_refuses_what_came_later() {
    let p = platform();
    for code in [CapabilityCode::SYNTHETIC_PROCESSOR_FEATURES_BANKS, CapabilityCode::PROCESSOR_PERFMON_FEATURES] {
        let got = p.capability(code).map_err(|e| e.code);
        let want = if old() { Some(HResult::WHV_E_UNKNOWN_CAPABILITY) } else { None };
        assert_eq!(got.err(), want, "{code:?}");
    }
    assert!(p.capability(CapabilityCode::PROCESSOR_FEATURES_BANKS).is_ok(), "Windows 10 2004 has it");
    let Ok(Capability::Features(features)) = p.capability(CapabilityCode::FEATURES) else { panic!() };
    assert_eq!(features.contains(CapabilityFeatures::IDLE_SUSPEND), !old());
    let partition = p.create_partition().unwrap();
    let later = [
        Property::SyntheticProcessorFeaturesBanks(SyntheticProcessorFeatures::empty()),
        Property::ProcessorPerfmonFeatures(0),
        Property::CpuidResultList2(vec![]),
        Property::MsrActionList(vec![]),
        Property::UnimplementedMsrAction(MsrAction::ArchitectureDefault),
    ];
    for property in later {
        let code = property.code();
        let want = if old() { Some(HResult::WHV_E_UNKNOWN_PROPERTY) } else { None };
        assert_eq!(partition.set_property(property).err().map(|e| e.code), want, "{code:?}");
        assert_eq!(partition.property(code).err().map(|e| e.code), want, "{code:?}");
    }
    partition.set_property(Property::SeparateSecurityDomain(true)).unwrap();
    let v = set_up(vec![]);
    for name in [RegisterName::XSS, RegisterName::TSC_DEADLINE, RegisterName::UMWAIT_CONTROL] {
        if old() {
            let e = v.vp().registers(&[name], &mut [RegisterValue::default()]).unwrap_err();
            assert_eq!(e.code, HResult::WHV_E_INVALID_VP_REGISTER_NAME, "{name:?}");
            let e = v.vp().set_registers(&[name], &[0u64.into()]).unwrap_err();
            assert_eq!(e.code, HResult::WHV_E_INVALID_VP_REGISTER_NAME, "{name:?}");
        } else if name != RegisterName::UMWAIT_CONTROL {
            v.vp().registers(&[name], &mut [RegisterValue::default()]).unwrap();
        }
    }
    v.vp().registers(&[RegisterName::TSC_AUX, RegisterName::PAT], &mut [RegisterValue::default(); 2]).unwrap();
    let cpuid = v.vp().cpuid_output(0, 0);
    assert_eq!(cpuid.err().map(|e| e.code), old().then_some(HResult::E_NOTIMPL));
    v.vp().xsave_state().unwrap();
}

#[test]
fn windows_decodes_nothing() {
    if behaves() == "native" || crate::decoded() {
        return; // a client that completes accesses itself shows nothing of this
    }
    let v = set_up(vec![]);
    v.partition.unmap_gpa_range(0xA_0000, 0x1000).unwrap();
    v.real(0, MMIO);
    let log = Log::answering(0x11);
    let c = v.run(0, Some(&log));
    let Exit::MemoryAccess(m) = c.exit else { panic!("{c:x?}") };
    assert_eq!((m.gpa, m.access_type, m.gpa_unmapped), (0xA_0004, AccessType::Read, true));
    assert_eq!((m.gva_valid, m.instruction_byte_count == 0), (!old(), old()), "an old system tells the address alone");
    v.real(0, OUT_IN);
    let c = v.run(0, Some(&log));
    let Exit::IoPortAccess(io) = c.exit else { panic!("{c:x?}") };
    assert_eq!((io.port, io.access_size, io.rax as u8, c.vp.instruction_length), (0x80, 1, 0x5A, 2));
    assert_eq!(log.take(), []);
}

fn apic_vm(code: &[u8]) -> Vm {
    let v = Vm::with_apic(&platform(), 1, LocalApicEmulationMode::X2Apic);
    v.long(0, code);
    v.load(0x1800, HANDLER64);
    v.long_vector(0x08, 0x1800);
    v.long_vector(0x40, 0x1800);
    v
}

/// Runs for a little while. (The tables of the decoder, made when the first instruction is decoded, take 20 ms of it in a debug build.)
fn run_a_while(v: &Vm) -> ExitContext {
    let vp = v.vps[0].clone();
    let t = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        vp.cancel();
    });
    let c = v.run(0, None);
    t.join().unwrap();
    c
}

fn halted(v: &Vm) -> bool {
    let mut a = [RegisterValue::default()];
    v.vp().registers(&[RegisterName::INTERNAL_ACTIVITY_STATE], &mut a).unwrap();
    a[0].internal_activity().halt_suspend
}

fn halt(v: &Vm) {
    assert!((0..100).any(|_| run_a_while(v).exit == Exit::Canceled && halted(v)));
}

#[test]
fn an_event_of_the_8259_pair_and_a_halt() {
    use RegisterName as R;
    let v = apic_vm(STI_HLT64);
    halt(&v);
    v.set(0, R::PENDING_EVENT, PendingEvent::ExtInt { vector: 8 });
    if behaves() != "native" {
        assert_eq!(run_a_while(&v).exit, Exit::Canceled, "on Windows the event alone does not end a halt");
        assert!(halted(&v) && v.u32(0x7000) == 0);
        v.set(0, R::INTERNAL_ACTIVITY_STATE, InternalActivity::default());
    }
    if old() {
        assert_eq!(run_a_while(&v).exit, Exit::Canceled, "on Windows 10 nothing the client does about it helps");
        assert!(halted(&v) && v.u32(0x7000) == 0);
        // But an interruption does.
        v.set(0, R::PENDING_EVENT, PendingEvent::None);
        v.set(0, R::PENDING_INTERRUPTION, PendingInterruption::interrupt(8));
    }
    v.run_to_f4();
    assert_eq!(v.u32(0x7000), 1);
}

#[test]
fn an_interrupt_of_the_local_apic_takes_the_other_one_with_it() {
    let v = apic_vm(WAIT_ONE64);
    halt(&v);
    v.set(0, RegisterName::PENDING_EVENT, PendingEvent::ExtInt { vector: 8 });
    v.partition.request_interrupt(&InterruptControl::fixed(0, 0x40)).unwrap();
    v.run_to_f4();
    assert_eq!(v.u32(0x7000), 2);
}

#[test]
fn the_window_that_never_comes() {
    let want = DeliverabilityNotifications { interrupt: true, ..Default::default() };
    let v = apic_vm(SPIN64);
    v.set(0, RegisterName::DELIVERABILITY_NOTIFICATIONS, want);
    let c = run_a_while(&v);
    if old() {
        assert_eq!(c.exit, Exit::Canceled);
        assert!(c.vp.rflags & 0x200 != 0 && !c.vp.interrupt_shadow && !c.vp.interruption_pending);
        let urgent = DeliverabilityNotifications { interrupt_priority: 3, ..want };
        let e = v.vp().set_registers(&[RegisterName::DELIVERABILITY_NOTIFICATIONS], &[urgent.into()]).unwrap_err();
        assert_eq!(e.code, HResult::ERROR_HV_INVALID_PARAMETER);
    } else {
        assert_eq!(c.exit, Exit::InterruptWindow { kind: PendingInterruption::INTERRUPT });
    }
    // Without the local APIC in the platform it comes everywhere.
    let v = set_up(vec![]);
    v.long(0, SPIN64);
    v.set(0, RegisterName::DELIVERABILITY_NOTIFICATIONS, want);
    assert_eq!(v.run(0, None).exit, Exit::InterruptWindow { kind: PendingInterruption::INTERRUPT });
}
