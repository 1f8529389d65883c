//! The generated x64 types against a C compiler's: sizes, alignments, field offsets, constants, and bit positions,
//! with mingw-w64's `winhvplatformdefs.h` and `x86_64-w64-mingw32-gcc`. What mingw's header is too old for is left
//! out and counted. Skipped with a message where the compiler is not installed (Debian: `gcc-mingw-w64-x86-64`).

#![allow(unsafe_code)] // looks at the bytes of C structures

#[allow(clippy::all)]
mod generated;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use whp_abi::convert;
use whp_abi::emulation as e;

/// A type's layout in Rust.
pub(crate) struct Type {
    pub(crate) name: &'static str,
    pub(crate) size: usize,
    pub(crate) align: usize,
    /// Name in C, offset.
    pub(crate) fields: Vec<(&'static str, usize)>,
}

const COMPILER: &str = "x86_64-w64-mingw32-gcc";
const INCLUDES: &str =
    "#include <stddef.h>\n#include <windows.h>\n#include <winhvplatform.h>\n#include <winhvemulation.h>\n";

/// Runs the compiler on `source`; `None` when there is none.
fn compile(name: &str, source: &str, arguments: &[&str]) -> Option<(bool, String, PathBuf)> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (c, o) = (folder.join(format!("{name}.c")), folder.join(format!("{name}.o")));
    std::fs::write(&c, source).unwrap();
    let out = Command::new(COMPILER).args(arguments).args(["-Wno-overflow", "-o"]).arg(&o).arg(&c).output();
    match out {
        Ok(out) => Some((out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned(), o)),
        Err(why) => {
            eprintln!("skipped: {COMPILER}: {why}; install gcc-mingw-w64-x86-64");
            None
        }
    }
}

/// The header as the compiler sees it, or `None` without compiler (or header).
fn header() -> Option<String> {
    let mut command = Command::new(COMPILER);
    command.args(["-E", "-P", "-dD", "-x", "c", "-"]).stdin(std::process::Stdio::piped());
    let mut child = match command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn() {
        Ok(child) => child,
        Err(why) => {
            eprintln!("skipped: {COMPILER}: {why}; install gcc-mingw-w64-x86-64");
            return None;
        }
    };
    std::io::Write::write_all(&mut child.stdin.take()?, INCLUDES.as_bytes()).ok()?;
    let out = child.wait_with_output().ok()?;
    if !out.status.success() {
        eprintln!("skipped: mingw-w64 has no winhvplatform.h");
        return None;
    }
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn emulation_types() -> Vec<Type> {
    macro_rules! layout {
        ($($t:ident { $($f:ident),* })*) => {
            vec![$(Type {
                name: stringify!($t),
                size: size_of::<e::$t>(),
                align: align_of::<e::$t>(),
                fields: vec![$((stringify!($f), std::mem::offset_of!(e::$t, $f))),*],
            }),*]
        };
    }
    layout! {
        WHV_EMULATOR_STATUS { AsUINT32 }
        WHV_EMULATOR_MEMORY_ACCESS_INFO { GpaAddress, Direction, AccessSize, Data }
        WHV_EMULATOR_IO_ACCESS_INFO { Direction, Port, AccessSize, Data }
        WHV_EMULATOR_CALLBACKS {
            Size, Reserved, WHvEmulatorIoPortCallback, WHvEmulatorMemoryCallback,
            WHvEmulatorGetVirtualProcessorRegisters, WHvEmulatorSetVirtualProcessorRegisters, WHvEmulatorTranslateGvaPage
        }
    }
}

/// Types whose C alignment is smaller in mingw's header than Microsoft's says (DECLSPEC_ALIGN(16) is missing there).
const MINGW_UNALIGNED: [&str; 1] = ["WHV_UINT128"];

#[test]
fn layouts_and_constants_are_the_c_headers() {
    let Some(header) = header() else { return };
    let words: std::collections::HashSet<_> = header.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut source = String::from(INCLUDES);
    let (mut checked, mut skipped) = (0, Vec::new());
    let mut types = generated::types();
    types.extend(emulation_types());
    for t in &types {
        let name = t.name;
        if !words.contains(name) || !name.starts_with("WHV_") {
            skipped.push(name);
            continue;
        }
        let _ = writeln!(source, "_Static_assert(sizeof({name}) == {}, \"size of {name}\");", t.size);
        if !MINGW_UNALIGNED.contains(&name) && t.align < 16 {
            let _ = writeln!(source, "_Static_assert(_Alignof({name}) == {}, \"alignment of {name}\");", t.align);
        }
        for (field, offset) in &t.fields {
            if NEWER_FIELDS.contains(&(name, *field)) {
                skipped.push(field);
                continue;
            }
            let _ = writeln!(source, "_Static_assert(offsetof({name}, {field}) == {offset}, \"{name}.{field}\");");
            checked += 1;
        }
        checked += 2;
    }
    for (name, value) in generated::constants() {
        if !words.contains(name) {
            skipped.push(name);
            continue;
        }
        let value = if value > i64::from(i32::MAX) { value as i32 as i64 } else { value };
        let _ = writeln!(source, "_Static_assert((int)({name}) == (int)({value}), \"{name}\");");
        checked += 1;
    }
    let Some((good, messages, _)) = compile("layout", &source, &["-fsyntax-only"]) else { return };
    assert!(good, "{messages}");
    eprintln!("{checked} checked; not in mingw's header: {}", skipped.len());
    assert!(checked > 900, "{checked}");
}

/// Fields that Microsoft has added, or moved to make room for them, since mingw's header.
const NEWER_FIELDS: [(&str, &str); 21] = [
    ("WHV_ACCESS_GPA_CONTROLS", "InputVtl"),
    ("WHV_ACCESS_GPA_CONTROLS", "Reserved"),
    ("WHV_ACCESS_GPA_CONTROLS", "Reserved1"),
    ("WHV_CAPABILITY", "NestedFeatureRegister"),
    ("WHV_CAPABILITY", "PhysicalAddressWidth"),
    ("WHV_NOTIFICATION_PORT_PARAMETERS", "ConnectionVtl"),
    ("WHV_NOTIFICATION_PORT_PARAMETERS", "Reserved1"),
    ("WHV_PARTITION_PROPERTY", "PhysicalAddressWidth"),
    ("WHV_REGISTER_VALUE", "InvEpt"),
    ("WHV_REGISTER_VALUE", "InvVpid"),
    ("WHV_REGISTER_VALUE", "NestedState"),
    ("WHV_REGISTER_VALUE", "SvmNestedExit0"),
    ("WHV_REGISTER_VALUE", "SvmNestedExit1"),
    ("WHV_REGISTER_VALUE", "SvmNestedExit2"),
    ("WHV_REGISTER_VALUE", "SvmNestedExit3"),
    ("WHV_REGISTER_VALUE", "VmxNestedExit0"),
    ("WHV_REGISTER_VALUE", "VmxNestedExit1"),
    ("WHV_REGISTER_VALUE", "VmxNestedExit2"),
    ("WHV_REGISTER_VALUE", "VmxNestedExit3"),
    ("WHV_RUN_VP_EXIT_CONTEXT", "AsUINT64"),
    ("WHV_SYNIC_EVENT_PARAMETERS", "TargetVtl"),
];

/// C initialisers, and the same bytes by our conversions.
fn samples() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    use whp::*;
    let vp = VpContext {
        cpl: 2,
        cr0_am: true,
        efer_lma: true,
        interruption_pending: true,
        interrupt_shadow: true,
        instruction_length: 5,
        cr8: 9,
        ..VpContext::default()
    };
    let abi = convert::vp_context_to_abi(&vp);
    // SAFETY: plain old data without padding: 40 bytes, as the layout test asserts.
    let vp: [u8; 40] = unsafe { std::mem::transmute(abi) };
    let exit = |exit| {
        let c = convert::exit_to_abi(&ExitContext { vp: VpContext::default(), exit });
        // SAFETY: zeroed before it was filled, plain old data.
        unsafe { std::mem::transmute::<whp_abi::x64::WHV_RUN_VP_EXIT_CONTEXT, [u8; convert::EXIT_CONTEXT_SIZE]>(c) }
            .to_vec()
    };
    let port = IoPortAccess {
        instruction_byte_count: 1,
        instruction_bytes: [0; 16],
        is_write: true,
        access_size: 4,
        string_op: false,
        rep_prefix: true,
        port: 0x1F0,
        rax: 7,
        rcx: 0,
        rsi: 0,
        rdi: 0,
        ds: SegmentRegister { attributes: 0xC093, ..SegmentRegister::default() },
        es: SegmentRegister::default(),
    };
    let memory = MemoryAccess {
        instruction_byte_count: 2,
        instruction_bytes: [0; 16],
        access_type: AccessType::Write,
        gpa_unmapped: false,
        gva_valid: true,
        gpa: 0xFEE0_0000,
        gva: 0,
    };
    let interrupt = InterruptControl {
        kind: InterruptType::NMI,
        destination_mode: DestinationMode::Logical,
        trigger_mode: TriggerMode::Level,
        destination: 3,
        vector: 0x40,
    };
    let i = convert::interrupt_to_abi(&interrupt);
    let control =
        [i._bitfield.to_le_bytes().to_vec(), i.Destination.to_le_bytes().to_vec(), i.Vector.to_le_bytes().to_vec()];
    let value = |v: RegisterValue| v.bytes().to_vec();
    let property = |p: Property| convert::property_bytes(&p);
    let pending = PendingInterruption {
        pending: true,
        kind: PendingInterruption::EXCEPTION,
        deliver_error_code: true,
        instruction_length: 3,
        nested: true,
        vector: 0x8E,
        error_code: 0x1234_5678,
    };
    let e = ExtendedVmExits::EXCEPTION_EXIT
        | ExtendedVmExits::X64_APIC_INIT_SIPI_EXIT_TRAP
        | ExtendedVmExits::GPA_ACCESS_FAULT_EXIT;
    let notify = DeliverabilityNotifications { nmi: true, interrupt: true, interrupt_priority: 5, sint: 0 };
    vec![
        (
            "WHV_VP_EXIT_CONTEXT",
            ".ExecutionState={.Cpl=2,.Cr0Am=1,.EferLma=1,.InterruptionPending=1,.InterruptShadow=1},.InstructionLength=5,.Cr8=9",
            vp.to_vec(),
        ),
        (
            "WHV_RUN_VP_EXIT_CONTEXT",
            ".ExitReason=WHvRunVpExitReasonX64IoPortAccess,.IoPortAccess={.InstructionByteCount=1,.AccessInfo={.IsWrite=1,.AccessSize=4,.RepPrefix=1},.PortNumber=0x1f0,.Rax=7,.Ds={.Attributes=0xc093}}",
            exit(Exit::IoPortAccess(port)),
        ),
        (
            "WHV_RUN_VP_EXIT_CONTEXT",
            ".ExitReason=WHvRunVpExitReasonMemoryAccess,.MemoryAccess={.InstructionByteCount=2,.AccessInfo={.AccessType=WHvMemoryAccessWrite,.GvaValid=1},.Gpa=0xfee00000}",
            exit(Exit::MemoryAccess(memory)),
        ),
        (
            "WHV_RUN_VP_EXIT_CONTEXT",
            ".ExitReason=WHvRunVpExitReasonX64Rdtsc,.ReadTsc={.TscAux=1,.Tsc=2,.ReferenceTime=3,.RdtscInfo={.IsRdtscp=1}}",
            exit(Exit::Rdtsc { tsc_aux: 1, tsc: 2, reference_time: 3, is_rdtscp: true }),
        ),
        (
            "WHV_RUN_VP_EXIT_CONTEXT",
            ".ExitReason=WHvRunVpExitReasonX64InterruptWindow,.InterruptWindow={.DeliverableType=WHvX64PendingNmi}",
            exit(Exit::InterruptWindow { kind: PendingInterruption::NMI }),
        ),
        (
            "WHV_RUN_VP_EXIT_CONTEXT",
            ".ExitReason=WHvRunVpExitReasonX64MsrAccess,.MsrAccess={.AccessInfo={.IsWrite=1},.MsrNumber=0x10,.Rax=5,.Rdx=6}",
            exit(Exit::MsrAccess(MsrAccess { is_write: true, msr_number: 0x10, rax: 5, rdx: 6 })),
        ),
        (
            "WHV_INTERRUPT_CONTROL",
            ".Type=WHvX64InterruptTypeNmi,.DestinationMode=WHvX64InterruptDestinationModeLogical,.TriggerMode=WHvX64InterruptTriggerModeLevel,.Destination=3,.Vector=0x40",
            control.concat(),
        ),
        (
            "WHV_REGISTER_VALUE",
            ".PendingInterruption={.InterruptionPending=1,.InterruptionType=WHvX64PendingException,.DeliverErrorCode=1,.InstructionLength=3,.NestedEvent=1,.InterruptionVector=0x8e,.ErrorCode=0x12345678}",
            value(pending.into()),
        ),
        (
            "WHV_REGISTER_VALUE",
            ".DeliverabilityNotifications={.NmiNotification=1,.InterruptNotification=1,.InterruptPriority=5}",
            value(notify.into()),
        ),
        (
            "WHV_REGISTER_VALUE",
            ".InterruptState={.InterruptShadow=1,.NmiMasked=1}",
            value(InterruptState { interrupt_shadow: true, nmi_masked: true }.into()),
        ),
        (
            "WHV_REGISTER_VALUE",
            ".ExtIntEvent={.EventPending=1,.EventType=5,.Vector=0x30}",
            value(PendingEvent::ExtInt { vector: 0x30 }.into()),
        ),
        (
            "WHV_REGISTER_VALUE",
            ".ExceptionEvent={.EventPending=1,.DeliverErrorCode=1,.Vector=14,.ErrorCode=2,.ExceptionParameter=0x8000}",
            value(PendingEvent::Exception { vector: 14, error_code: Some(2), parameter: 0x8000 }.into()),
        ),
        (
            "WHV_REGISTER_VALUE",
            ".InternalActivity={.HaltSuspend=1}",
            value(InternalActivity { halt_suspend: true, ..Default::default() }.into()),
        ),
        (
            "WHV_REGISTER_VALUE",
            ".Segment={.Base=1,.Limit=2,.Selector=3,.SegmentType=11,.NonSystemSegment=1,.DescriptorPrivilegeLevel=2,.Present=1,.Long=1,.Granularity=1}",
            value(SegmentRegister { base: 1, limit: 2, selector: 3, attributes: 0xA0DB }.into()),
        ),
        (
            "WHV_REGISTER_VALUE",
            ".Table={.Limit=0x3ff,.Base=0x1234}",
            value(TableRegister { limit: 0x3FF, base: 0x1234 }.into()),
        ),
        (
            "WHV_REGISTER_VALUE",
            ".XmmControlStatus={.LastFpRdp=7,.XmmStatusControl=0x1f80,.XmmStatusControlMask=0xffff}",
            value(
                XmmControlStatus { last_fp_rdp: 7, xmm_status_control: 0x1F80, xmm_status_control_mask: 0xFFFF }.into(),
            ),
        ),
        (
            "WHV_REGISTER_VALUE",
            ".FpControlStatus={.FpControl=0x37f,.FpStatus=1,.FpTag=2,.LastFpOp=3,.LastFpRip=4}",
            value(FpControlStatus { fp_control: 0x37F, fp_status: 1, fp_tag: 2, last_fp_op: 3, last_fp_rip: 4 }.into()),
        ),
        (
            "WHV_EXTENDED_VM_EXITS",
            ".ExceptionExit=1,.X64ApicInitSipiExitTrap=1,.GpaAccessFaultExit=1",
            property(Property::ExtendedVmExits(e)),
        ),
        (
            "WHV_X64_MSR_EXIT_BITMAP",
            ".UnhandledMsrs=1,.ApicBaseMsrWrite=1",
            property(Property::X64MsrExitBitmap(MsrExitBitmap::UNHANDLED_MSRS | MsrExitBitmap::APIC_BASE_MSR_WRITE)),
        ),
        (
            "WHV_PROCESSOR_FEATURES",
            ".Sse3Support=1,.InvpcidSupport=1,.UmipSupport=1,.RdSeedSupport=1",
            property(Property::ProcessorFeatures(
                ProcessorFeatures::SSE3
                    | ProcessorFeatures::INVPCID
                    | ProcessorFeatures::UMIP
                    | ProcessorFeatures::RD_SEED,
            )),
        ),
        (
            "WHV_PROCESSOR_XSAVE_FEATURES",
            ".XsaveSupport=1,.XsaveCompSupport=1,.AvxVnniSupport=1",
            property(Property::ProcessorXsaveFeatures(
                XsaveFeatures::XSAVE | XsaveFeatures::XSAVE_COMP | XsaveFeatures::AVX_VNNI,
            )),
        ),
        (
            "WHV_PROCESSOR_FEATURES_BANKS",
            ".BanksCount=2,.Bank0={.AesSupport=1},.Bank1={.TscDeadlineTmrSupport=1}",
            property(Property::ProcessorFeaturesBanks(ProcessorFeatures::AES, ProcessorFeatures1::TSC_DEADLINE_TMR)),
        ),
        (
            "WHV_X64_CPUID_RESULT",
            ".Function=1,.Eax=2,.Ebx=3,.Ecx=4,.Edx=5",
            property(Property::CpuidResultList(vec![CpuidResult { function: 1, eax: 2, ebx: 3, ecx: 4, edx: 5 }])),
        ),
        (
            "WHV_X64_CPUID_RESULT2",
            ".Function=4,.Index=1,.VpIndex=2,.Flags=WHvX64CpuidResult2FlagSubleafSpecific|WHvX64CpuidResult2FlagVpSpecific,.Output={1,2,3,4},.Mask={5,6,7,8}",
            property(Property::CpuidResultList2(vec![CpuidResult2 {
                function: 4,
                index: Some(1),
                vp_index: Some(2),
                output: [1, 2, 3, 4],
                mask: [5, 6, 7, 8],
            }])),
        ),
        (
            "WHV_MSR_ACTION_ENTRY",
            ".Index=0x10,.ReadAction=WHvMsrActionExit,.WriteAction=WHvMsrActionIgnoreWriteReadZero",
            property(Property::MsrActionList(vec![MsrActionEntry {
                index: 0x10,
                read: MsrAction::Exit,
                write: MsrAction::IgnoreWriteReadZero,
            }])),
        ),
        (
            "WHV_CAPABILITY_FEATURES",
            ".PartialUnmap=1,.LocalApicEmulation=1,.VpHotAddRemove=1",
            convert::capability_bytes(&Capability::Features(
                CapabilityFeatures::PARTIAL_UNMAP
                    | CapabilityFeatures::LOCAL_APIC_EMULATION
                    | CapabilityFeatures::VP_HOT_ADD_REMOVE,
            )),
        ),
        (
            "WHV_EMULATOR_STATUS",
            ".EmulationSuccessful=1,.GuestCannotBeFaulted=1",
            (e::status::EMULATION_SUCCESSFUL | e::status::GUEST_CANNOT_BE_FAULTED).to_le_bytes().to_vec(),
        ),
    ]
}

#[test]
fn conversions_make_the_bytes_that_c_makes() {
    if header().is_none() {
        return;
    }
    let samples = samples();
    let mut source =
        format!("{INCLUDES}__attribute__((section(\"samples\"))) const struct __attribute__((packed)) {{\n");
    for (n, (kind, ..)) in samples.iter().enumerate() {
        let _ = writeln!(source, "{kind} s{n};");
    }
    source.push_str("} samples = {\n");
    for (n, (_, init, _)) in samples.iter().enumerate() {
        let _ = writeln!(source, ".s{n} = {{ {init} }},");
    }
    source.push_str("};\n");
    let Some((good, messages, object)) = compile("samples", &source, &["-c", "-Wno-missing-braces"]) else { return };
    assert!(good, "{messages}");
    let raw = object.with_extension("bin");
    let done = Command::new("x86_64-w64-mingw32-objcopy")
        .args(["-O", "binary", "-j", "samples"])
        .arg(&object)
        .arg(&raw)
        .status();
    assert!(done.unwrap().success());
    let mut bytes = &std::fs::read(raw).unwrap()[..];
    for (kind, init, ours) in &samples {
        let (c, rest) = bytes.split_at(ours.len());
        assert_eq!(c, ours, "{kind} {{ {init} }}");
        bytes = rest;
    }
}
