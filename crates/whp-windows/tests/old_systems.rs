//! Systems that lack functions, imitated with our own library.

use guest_memory::RamBlock;
use whp::{
    Capability, CapabilityCode, HResult, LocalApicEmulationMode, MapGpaRangeFlags, Partition, Platform, Property,
    RegisterName as R, RegisterValue, VirtualProcessor,
};
use whp_windows::WindowsPlatform;

fn without(hidden: &[&str]) -> WindowsPlatform {
    let name = format!("{}winhvplatform{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let program = std::env::current_exe().unwrap();
    WindowsPlatform::open_library_without(&program.with_file_name(name), hidden).unwrap()
}

fn partition(platform: &WindowsPlatform) -> std::sync::Arc<dyn Partition> {
    let p = platform.create_partition().unwrap();
    p.set_property(Property::ProcessorCount(2)).unwrap();
    p.set_property(Property::LocalApicEmulationMode(LocalApicEmulationMode::X2Apic)).unwrap();
    p.setup().unwrap();
    p
}

fn get(vp: &dyn VirtualProcessor, name: R) -> u64 {
    let mut v = [RegisterValue::default()];
    vp.registers(&[name], &mut v).unwrap();
    v[0].u64()
}

fn reset_works(platform: &WindowsPlatform) {
    let p = partition(platform);
    let vps: Vec<_> = (0..2).map(|i| p.create_virtual_processor(i).unwrap()).collect();
    vps[1].set_registers(&[R::INITIAL_APIC_ID, R::RBX], &[6u64.into(), 5u64.into()]).unwrap();
    vps[0].set_registers(&[R::RIP], &[0x1234u64.into()]).unwrap();
    p.reset().unwrap();
    assert_eq!((get(&*vps[0], R::RIP), get(&*vps[1], R::RBX)), (0xFFF0, 0));
    assert_eq!(get(&*vps[1], R::INITIAL_APIC_ID), 6, "a matter of the machine");
    assert_eq!(get(&*vps[0], R::INTERNAL_ACTIVITY_STATE), 0, "the first one runs");
    assert_eq!(get(&*vps[1], R::INTERNAL_ACTIVITY_STATE) & 1, 1, "the other waits for its SIPI");
}

#[test]
fn a_reset_is_the_functions_or_new_processors() {
    reset_works(&without(&[]));
    reset_works(&without(&["WHvResetPartition"]));
}

#[test]
fn xsave_state_comes_by_either_function() {
    let new = without(&["WHvGetVirtualProcessorXsaveState", "WHvSetVirtualProcessorXsaveState"]);
    let old = without(&["WHvGetVirtualProcessorState", "WHvSetVirtualProcessorState"]);
    for platform in [new, old] {
        let p = partition(&platform);
        let vp = p.create_virtual_processor(0).unwrap();
        vp.set_registers(&[R::XMM3], &[RegisterValue(77)]).unwrap();
        let area = vp.xsave_state().unwrap();
        vp.set_registers(&[R::XMM3], &[RegisterValue(0)]).unwrap();
        vp.set_xsave_state(&area).unwrap();
        assert_eq!(get(&*vp, R::XMM3), 77);
    }
}

#[test]
fn what_is_missing_says_so() {
    let hidden = [
        "WHvGetVirtualProcessorCpuidOutput",
        "WHvSuspendPartitionTime",
        "WHvQueryGpaRangeDirtyBitmap",
        "WHvRequestInterrupt",
        "WHvGetVirtualProcessorCounters",
        "WHvGetVirtualProcessorInterruptControllerState2",
        "WHvGetVirtualProcessorState",
    ];
    let platform = without(&hidden);
    assert!(platform.check().unwrap_err().to_string().contains("19041"));
    assert!(platform.cpuid(&[(0, 0)]).is_empty());
    let p = partition(&platform);
    let vp = p.create_virtual_processor(0).unwrap();
    assert_eq!(vp.cpuid_output(0, 0).unwrap_err().code, HResult::E_NOTIMPL);
    assert_eq!(p.suspend_time().unwrap_err().code, HResult::E_NOTIMPL);
    assert_eq!(vp.interrupt_controller_state().unwrap_err().code, HResult::E_NOTIMPL);
    assert_eq!(p.query_dirty_bitmap(0, 0x1000).unwrap_err().code, HResult::E_NOTIMPL);
    assert_eq!(vp.counters(), whp::ProcessorCounters::default());
}

#[test]
fn writes_of_the_guest_reach_the_dirty_log() {
    for hidden in [&[][..], &["WHvQueryGpaRangeDirtyBitmap"]] {
        let platform = without(hidden);
        platform.check().unwrap();
        let p = partition(&platform);
        let ram = RamBlock::new("ram", 0x10000).unwrap();
        ram.track_dirty(0, ram.len());
        // Real mode: mov [0x3000], al; out 0xF4, al
        ram.write(0x1000, &[0xA2, 0x00, 0x30, 0xE6, 0xF4]);
        let rwx = MapGpaRangeFlags::READ | MapGpaRangeFlags::WRITE | MapGpaRangeFlags::EXECUTE;
        p.map_gpa_range(&ram, 0, 0x10000, 0, rwx).unwrap();
        let take = || {
            let mut pages = vec![];
            ram.take_dirty(0, ram.len(), true, |page| pages.push(page));
            pages
        };
        assert_eq!(take().len(), 16, "fresh memory counts as written");
        if hidden.is_empty() {
            assert!(take().is_empty());
        }
        let vp = p.create_virtual_processor(0).unwrap();
        let segment = |attributes| whp::SegmentRegister { base: 0, limit: 0xFFFF, selector: 0, attributes };
        let names = [R::CS, R::DS, R::RIP];
        vp.set_registers(&names, &[segment(0x9B).into(), segment(0x93).into(), 0x1000u64.into()]).unwrap();
        assert!(matches!(vp.run(None).unwrap().exit, whp::Exit::IoPortAccess(a) if a.port == 0xF4));
        assert!(take().contains(&3), "{hidden:?}");
    }
}

#[test]
fn capabilities_are_as_the_options_say() {
    let platform = without(&[]);
    let all = platform.capability(CapabilityCode::PROCESSOR_FEATURES_BANKS).unwrap();
    let Capability::ProcessorFeaturesBanks(a, _) = all else { panic!("{all:?}") };
    let mut options = whp_windows::WindowsOptions { separate_security_domain: false, ..Default::default() };
    options.cpuid.push(whp::CpuidResult2 {
        function: 0x4000_0000,
        output: [7; 4],
        mask: [!0; 4],
        ..Default::default()
    });
    let other = platform.with_options(options);
    let some = other.capability(CapabilityCode::PROCESSOR_FEATURES_BANKS).unwrap();
    let Capability::ProcessorFeaturesBanks(b, _) = some else { panic!("{some:?}") };
    assert!(a.contains(b) && !b.contains(whp::ProcessorFeatures::IBRS));
    let p = partition(&other);
    let vp = p.create_virtual_processor(0).unwrap();
    assert_eq!(vp.cpuid_output(0x4000_0000, 0).unwrap(), [7; 4]);
}
