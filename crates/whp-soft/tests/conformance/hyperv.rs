//! Hyper-V enlightenments (Hypervisor Top-Level Functional Specification): what `SyntheticProcessorFeaturesBanks` turns
//! on.

use std::time::Duration;

use whp::SyntheticProcessorFeatures as S;
use whp::*;

use crate::hyperv_snippets::*;
use crate::platform;
use crate::snippets::{HANDLER64, WAIT_ONE64};
use crate::vm::{CODE, Vm};

/// Second place for code.
const CODE2: u64 = 0x1C00;

fn offered() -> S {
    match platform().capability(CapabilityCode::SYNTHETIC_PROCESSOR_FEATURES_BANKS).unwrap() {
        Capability::SyntheticProcessorFeaturesBanks(f) => f,
        other => panic!("{other:?}"),
    }
}

/// With the local APICs in the platform, all enlightenments, and vector 0x40 handled.
fn vm(processors: u32, code: &[u8]) -> Vm {
    let properties = vec![
        Property::LocalApicEmulationMode(LocalApicEmulationMode::X2Apic),
        Property::SyntheticProcessorFeaturesBanks(offered()),
    ];
    let v = Vm::new(&platform(), processors, properties);
    for i in (0..processors as usize).rev() {
        v.long(i, code);
        v.set(i, RegisterName::INTERNAL_ACTIVITY_STATE, InternalActivity::default());
    }
    v.load(0x1800, HANDLER64);
    v.long_vector(0x40, 0x1800);
    v
}

/// Makes the hypercall `control` with two parameters in 64-bit code and returns its result.
fn call(v: &Vm, control: u64, first: u64, second: u64) -> u64 {
    use RegisterName as R;
    v.load(CODE, &[0x0F, 0x01, 0xC1, 0xE6, 0xF4]); // vmcall; out 0xF4,al
    let values = [CODE, control, first, second].map(RegisterValue::from);
    v.vp().set_registers(&[R::RIP, R::RCX, R::RDX, R::R8], &values).unwrap();
    v.run_to_f4();
    v.get(0, R::RAX)
}

/// A guest that has said who it is.
fn caller(processors: u32) -> Vm {
    let v = vm(processors, &[]);
    v.set(0, RegisterName::GUEST_OS_ID, 0x8100u64);
    v
}

#[test]
fn the_capability_has_what_monitors_ask_for() {
    let all = S::HYPERVISOR_PRESENT
        | S::HV1
        | S::ACCESS_VP_RUN_TIME_REG
        | S::ACCESS_PARTITION_REFERENCE_COUNTER
        | S::ACCESS_PARTITION_REFERENCE_TSC
        | S::ACCESS_HYPERCALL_REGS
        | S::ACCESS_VP_INDEX
        | S::FAST_HYPERCALL_OUTPUT
        | S::ACCESS_FREQUENCY_REGS
        | S::ACCESS_SYNIC_REGS
        | S::ACCESS_SYNTHETIC_TIMER_REGS
        | S::ACCESS_INTR_CTRL_REGS
        | S::SYNTHETIC_CLUSTER_IPI
        | S::DIRECT_SYNTHETIC_TIMERS
        | S::ACCESS_GUEST_IDLE_REG
        | S::TB_FLUSH_HYPERCALLS
        | S::ENABLE_EXTENDED_GVA_RANGES_FOR_FLUSH_VIRTUAL_ADDRESS_LIST;
    assert!(offered().contains(all), "{:?}", all - offered());
}

#[test]
fn the_property_takes_what_is_offered() {
    let p = platform().create_partition().unwrap();
    let none = Property::SyntheticProcessorFeaturesBanks(S::empty());
    assert_eq!(p.property(PropertyCode::SYNTHETIC_PROCESSOR_FEATURES_BANKS).unwrap(), none);
    let more = S::from_bits_retain(offered().bits() | 1 << 63);
    let e = p.set_property(Property::SyntheticProcessorFeaturesBanks(more)).unwrap_err();
    assert_eq!(e.code, HResult::E_INVALIDARG);
    p.set_property(Property::SyntheticProcessorFeaturesBanks(offered())).unwrap();
    let all = Property::SyntheticProcessorFeaturesBanks(offered());
    assert_eq!(p.property(PropertyCode::SYNTHETIC_PROCESSOR_FEATURES_BANKS).unwrap(), all);
    // The SynIC and its like need local APICs.
    p.set_property(Property::ProcessorCount(1)).unwrap();
    assert_eq!(p.setup().unwrap_err().code, HResult::WHV_E_INVALID_PARTITION_CONFIG);
    p.set_property(Property::LocalApicEmulationMode(LocalApicEmulationMode::X2Apic)).unwrap();
    p.setup().unwrap();
    let e = p.set_property(Property::SyntheticProcessorFeaturesBanks(S::empty())).unwrap_err();
    assert_eq!(e.code, HResult::WHV_E_INVALID_VP_STATE);
}

#[test]
fn cpuid_shows_the_hypervisor_that_is_switched_on() {
    let v = vm(1, &[]);
    let leaf = |v: &Vm, n: u32| v.vp().cpuid_output(n, 0).unwrap();
    let [last, b, c, d] = leaf(&v, 0x4000_0000);
    assert!((0x4000_0005..0x4000_0100).contains(&last));
    assert_eq!([b, c, d].map(u32::to_le_bytes).concat(), b"Microsoft Hv");
    assert_eq!(leaf(&v, 0x4000_0001)[0].to_le_bytes(), *b"Hv#1");
    let [low, _, _, misc] = leaf(&v, 0x4000_0003);
    assert_eq!(low & 0xE7F, 0xE7F, "privileges {low:#x}");
    assert_eq!(misc & (1 << 8 | 1 << 19), 1 << 8 | 1 << 19, "frequencies, direct timers");
    let [hints, ..] = leaf(&v, 0x4000_0004);
    assert_eq!(hints & (1 << 2 | 1 << 10), 1 << 2 | 1 << 10, "remote flushes, cluster IPIs");
    assert_ne!(leaf(&v, 1)[2] >> 31, 0);

    let plain = Vm::new(&platform(), 1, vec![]);
    assert_ne!(leaf(&plain, 0x4000_0001)[0].to_le_bytes(), *b"Hv#1");
}

#[test]
fn the_hypercall_page_calls() {
    let v = vm(1, HYPERCALLS64);
    v.run_to_f4();
    assert_eq!((v.u64(0x7300), v.u64(0x7308)), (0, 2));
    assert_eq!(v.get(0, RegisterName::HYPERCALL), 0x3_0001);
    assert_eq!(v.get(0, RegisterName::GUEST_OS_ID), 0x8100);
    assert_eq!(v.u64(0x3_0000), 0, "what is beneath the page stays");
    v.partition.reset().unwrap();
    assert_eq!((v.get(0, RegisterName::HYPERCALL), v.get(0, RegisterName::GUEST_OS_ID)), (0, 0));
}

#[test]
fn reference_time_by_msr_and_by_page() {
    for tsc in [None, Some(1u64 << 40)] {
        let v = vm(1, REFERENCE_TIME64);
        if let Some(tsc) = tsc {
            v.set(0, RegisterName::TSC, tsc);
        }
        v.run_to_f4();
        let (a, page, b) = (v.u64(0x7300), v.u64(0x7308), v.u64(0x7310));
        // The page's offset is rounded to a tick.
        assert!(a <= page + 1 && page <= b + 1 && b - a < 10_000_000, "{a} {page} {b}");
        assert_ne!(v.u32(0x7318), 0, "a valid page");
        assert_eq!(v.u32(0x7320), 0, "index");
    }
}

#[test]
fn a_timer_that_cannot_serve_all_says_so() {
    let v = vm(2, REFERENCE_TIME64);
    v.set(1, RegisterName::TSC, 1u64 << 40);
    v.run_to_f4();
    assert_eq!(v.u32(0x7318), 0, "the processors' TSCs differ");
}

#[test]
fn a_synthetic_timer_in_direct_mode() {
    let v = vm(1, STIMER_DIRECT64);
    v.run_to_f4();
    assert_eq!(v.u32(0x7000), 1);
    assert!(v.u64(0x7308) >= v.u64(0x7300), "not before its time");
}

#[test]
fn a_synthetic_timer_with_messages() {
    let v = vm(1, STIMER_MESSAGE64);
    v.run_to_f4();
    assert_eq!((v.u32(0x7300), v.u32(0x7304), v.byte(0x7308)), (0x8000_0010, 1, 1));
    let get = |name| v.get(0, name);
    assert_eq!((get(RegisterName::SIMP), get(RegisterName::SCONTROL)), (0x3_3001, 1));
    assert_eq!((get(RegisterName::SINT0.offset(2)), get(RegisterName::SINT0)), (0x40, 0x1_0000));
    assert_eq!((get(RegisterName::SVERSION), get(RegisterName::SIEFP)), (1, 0));
}

#[test]
fn idle_ends_with_interrupts_off() {
    let v = vm(1, GUEST_IDLE64);
    let p = v.partition.clone();
    let t = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        p.request_interrupt(&InterruptControl::fixed(0, 0x40)).unwrap();
    });
    let c = v.run_to_f4();
    t.join().unwrap();
    assert_eq!(c.vp.rflags & 1 << 9, 0);
    assert_eq!(v.u32(0x7000), 0, "pending, not taken");
}

/// A kick for a processor that waits for a lock inside the handler of a more urgent vector.
#[test]
fn idle_ends_for_a_vector_that_is_held_back() {
    let v = vm(1, GUEST_IDLE64);
    v.set(0, RegisterName::CR8, 15u64);
    let p = v.partition.clone();
    let t = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        p.request_interrupt(&InterruptControl::fixed(0, 0x40)).unwrap();
    });
    v.run_to_f4();
    t.join().unwrap();
    assert_eq!(v.u32(0x7000), 0, "pending, not taken");
}

/// A processor that waits for a lock before it has switched its local APIC on: the kick is lost, so idle must not last.
#[test]
fn idle_does_not_last_while_no_interrupt_can_come() {
    const WITHOUT_SVR: usize = 15;
    let v = vm(1, &GUEST_IDLE64[WITHOUT_SVR..]);
    v.run_to_f4();
}

#[test]
fn the_apic_by_synthetic_msrs() {
    let v = vm(1, HV_SELF_IPI64);
    v.load(CODE2, HV_EOI64);
    v.long_vector(0x40, CODE2);
    v.run_to_f4();
    assert_eq!((v.u32(0x7000), v.u32(0x7300)), (1, 3));
    assert_eq!(v.get(0, RegisterName::APIC_ISR2), 0, "ended");
}

#[test]
fn a_cluster_ipi_reaches_the_other_processor() {
    // Fast, in memory, and extended.
    for form in 0..3 {
        let v = caller(2);
        v.load(CODE2, WAIT_ONE64);
        v.set(1, RegisterName::RIP, CODE2);
        let other = v.vps[1].clone();
        let t = std::thread::spawn(move || other.run(None).unwrap());
        while v.vps[1].counters().intercepts.halt_instructions == 0 {
            std::thread::yield_now();
        }
        let words: &[u64] = if form == 2 { &[0x40, 0, 1, 2] } else { &[0x40, 2] };
        for (i, w) in (0u64..).zip(words) {
            v.load(0x3_2000 + 8 * i, &w.to_le_bytes());
        }
        let result = match form {
            0 => call(&v, 0x1_000B, 0x40, 2),
            1 => call(&v, 0x000B, 0x3_2000, 0),
            _ => call(&v, 0x0015 | 1 << 17, 0x3_2000, 0),
        };
        assert_eq!(result, 0, "form {form}");
        assert!(matches!(t.join().unwrap().exit, Exit::IoPortAccess(_)));
        assert_eq!(v.u32(0x7000), 1);
    }
}

#[test]
fn a_flush_reaches_the_other_processor() {
    let v = caller(2);
    v.load(CODE, REMAP_200000_64);
    v.load(CODE2, SHOW_200000_64);
    v.set(1, RegisterName::RIP, CODE2);
    v.load(0x2_2008, &0x2_4003u64.to_le_bytes());
    v.load(0x2_4000, &0x4_0003u64.to_le_bytes());
    v.load(0x4_0000, &[0x11]);
    v.load(0x4_1000, &[0x22]);
    let other = v.vps[1].clone();
    let t = std::thread::spawn(move || other.run(None).unwrap());
    v.run_to_f4();
    v.vps[1].cancel();
    t.join().unwrap();
    assert_eq!(v.get(0, RegisterName::RAX), 0x22);
}

#[test]
fn bad_hypercalls_have_their_status() {
    const REP: u64 = 1 << 32;
    const FAST: u64 = 1 << 16;
    let v = caller(1);
    for (control, first, second, status) in [
        (0x0000, 0, 0, 2),                     // no such call
        (0x7FFF, 0, 0, 2),                     //
        (0x0002 | REP, 0x3_2000, 0, 3),        // not a rep call
        (0x0003, 0x3_2000, 0, 3),              // no elements
        (0x0002 | 1 << 63, 0x3_2000, 0, 3),    // reserved bit
        (0x0002 | 1 << 17, 0x3_2000, 0, 3),    // a variable header that it does not have
        (0x0003 | (20 * REP) | FAST, 0, 0, 3), // more than the registers hold
        (0x0002, 0x3_2004, 0, 4),              // not aligned
        (0x0002, 0x3_2FF0, 0, 4),              // over the end of its page
        (0x0002, 0x8000_0000, 0, 4),           // no memory
        (0x0002, u64::MAX - 7, 0, 4),          //
        (0x000B | FAST, 0x0F, 1, 5),           // vector
        (0x000B | FAST, 0x100, 1, 5),          //
        (0x000B | FAST, 0x40 | 1 << 32, 1, 5), // trust level
        (0x000B | FAST, 0x40, 0xFF00, 0),      // nobody there
        (0x0008 | FAST, 5, 0, 0),              // a long wait
        (0x005C, 0x3_2000, 0, 6),              // post message: no privilege
        (0x005D | FAST, 1, 0, 6),              // signal event
        (0x0003 | REP, 0x3_2000, 0, REP),      // one element done
        (0x0013 | 1 << 17, 0x3_2000, 0, 3),    // a bank too many
    ] {
        assert_eq!(call(&v, control, first, second), status, "{control:#x} {first:#x} {second:#x}");
    }
    v.load(0x3_2008, &0x100u64.to_le_bytes());
    assert_eq!(call(&v, 0x0002, 0x3_2000, 0), 5, "unknown flag");
    v.load(0x3_2008, &[0; 24]);
    v.load(0x3_2010, &[2]);
    assert_eq!(call(&v, 0x0013, 0x3_2000, 0), 5, "unknown format of a processor set");
}

#[test]
fn output_goes_to_memory_and_to_registers() {
    let v = caller(2);
    v.load(0x3_2000, &u64::MAX.to_le_bytes());
    v.load(0x3_2008, &[0; 8]);
    v.load(0x3_2010, &[1, 0, 0, 0, 0, 0, 0, 0]);
    const INDEX: u64 = 0x9A | 2 << 32;
    assert_eq!(call(&v, INDEX, 0x3_2000, 0x3_3000), 2 << 32);
    assert_eq!(v.u64(0x3_3000), 1, "APIC IDs 1 and 0 are processors 1 and 0");
    // Fast: input is RDX, R8 and XMM0, output comes in XMM1.
    v.set(0, RegisterName::XMM0, 1u64);
    assert_eq!(call(&v, INDEX | 1 << 16, u64::MAX, 0), 2 << 32);
    assert_eq!(v.get(0, RegisterName::XMM0.offset(1)), 1);
    v.load(0x3_2014, &[9]);
    assert_eq!(call(&v, INDEX, 0x3_2000, 0x3_3000), 5 | 1 << 32, "no processor 9; one done");
    assert_eq!(call(&v, INDEX, 0x3_2000, 0x3_3004), 4, "output not aligned");
}

#[test]
fn hypercalls_in_32_bit_code() {
    use RegisterName as R;
    let v = caller(1);
    v.load(CODE, &[0x0F, 0x01, 0xD9, 0xE6, 0xF4]); // vmmcall; out 0xF4,al
    let code = SegmentRegister { base: 0, limit: u32::MAX, selector: 8, attributes: 0xC09B };
    v.set(0, R::CS, code);
    let names = [R::RIP, R::RDX, R::RAX, R::RBX, R::RCX, R::RDI, R::RSI];
    v.vp().set_registers(&names, &[CODE, 0, 0x1_000B, 0, 0x40, 0, 0].map(RegisterValue::from)).unwrap();
    v.run_to_f4();
    assert_eq!((v.get(0, R::RAX), v.get(0, R::RDX)), (0, 0));
    v.vp().set_registers(&names, &[CODE, 2, 0x2, 0, 0, 0, 0].map(RegisterValue::from)).unwrap();
    v.run_to_f4();
    assert_eq!((v.get(0, R::RAX), v.get(0, R::RDX)), (3, 0));
}

#[test]
fn nobody_calls_without_identity_or_enlightenments() {
    let exceptions = [
        Property::LocalApicEmulationMode(LocalApicEmulationMode::X2Apic),
        Property::ExtendedVmExits(ExtendedVmExits::EXCEPTION_EXIT),
        Property::ExceptionExitBitmap(1 << 6 | 1 << 13),
    ];
    let with = |f| [exceptions.to_vec(), vec![Property::SyntheticProcessorFeaturesBanks(f)]].concat();
    for (features, names) in [(S::empty(), false), (offered(), true)] {
        let v = Vm::new(&platform(), 1, with(features));
        v.long(0, &[0x0F, 0x01, 0xC1]);
        let c = v.run(0, None);
        assert!(matches!(c.exit, Exit::Exception(VpException { exception_type: 6, .. })), "{c:x?}");
        let mut value = [RegisterValue::default()];
        assert_eq!(v.vp().registers(&[RegisterName::SCONTROL], &mut value).is_ok(), names);
        let set = v.vp().set_registers(&[RegisterName::HYPERCALL], &[RegisterValue::from(1u64 << 60 | 1)]);
        assert!(set.is_err(), "beyond the address space, or no such register");
    }
}

/// Whatever a guest puts into the registers of a hypercall or a synthetic MSR, the platform stands.
#[test]
fn hostile_values_do_no_harm() {
    use RegisterName as R;
    let v = caller(2);
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for page in (0x3_2000..0x3_3000).step_by(8) {
        v.load(page, &random().to_le_bytes());
    }
    let codes = [0x02u64, 0x03, 0x08, 0x0B, 0x13, 0x14, 0x15, 0x9A, 0x5C];
    for _ in 0..3000 {
        let r = random();
        let control = codes[(r % 9) as usize] | r & 0x3 << 16 | (r >> 8 & 7) << 17 | (r >> 20 & 0x1F) << 32;
        call(&v, control, 0x3_2000 + (r >> 40 & 0x1FF8), 0x3_4000 + (r >> 30 & 0x1FF8));
    }
    // wrmsr; out 0xF4,al, with #GP handled by going on to the OUT.
    v.load(CODE, &[0x0F, 0x30, 0xE6, 0xF4]);
    v.load(CODE + 4, &[0x48, 0x83, 0x44, 0x24, 0x08, 0x02, 0x48, 0x83, 0xC4, 0x08, 0x48, 0xCF]);
    v.long_vector(13, CODE + 4);
    for n in 0..2000 {
        let r = random();
        let msr = 0x4000_0000 + (r >> 33) % 0x100;
        let value = if n % 2 == 0 { r & 0x3F_F001 } else { r >> (r & 63) };
        // Not over the code, tables and stack of this test, and no interrupts to nowhere.
        let value = if matches!(msr & 0xFF, 1 | 0x21 | 0x73 | 0x82 | 0x83) { value | 0x40_0000 } else { value };
        let value = if msr & 0xFF == 0x71 { value & !0x700 } else { value }; // no INIT, no NMI
        let values = [CODE, msr, value & 0xFFFF_FFFF, value >> 32, 2].map(RegisterValue::from);
        v.vp().set_registers(&[R::RIP, R::RCX, R::RAX, R::RDX, R::RFLAGS], &values).unwrap();
        v.run_to_f4();
    }
}
