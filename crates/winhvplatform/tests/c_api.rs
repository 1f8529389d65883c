//! The C functions with the arguments that real clients pass, and with wrong ones: sizes, nulls, handles, order.

#![allow(unsafe_code)] // calls a C API; buffers are as long as their sizes say unless the test is about that

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use guest_memory::RamBlock;
use whp::HResult;
use whp_abi::convert::result_of;
use whp_abi::x64::*;
use winhvplatform::*;

type Handle = WHV_PARTITION_HANDLE;

const RWX: u32 = 7;
const RAM: u64 = 0x2_0000;
const HLT: u8 = 0xF4;

fn failure(code: HRESULT) -> HResult {
    result_of(code).expect_err("a failure")
}

/// A real-mode machine with RAM at 0.
struct Machine {
    p: Handle,
    ram: Arc<RamBlock>,
}

impl Machine {
    fn new(apic_mode: u32, extended_exits: u64) -> Self {
        let mut p = null_mut();
        let ram = RamBlock::new("client", RAM).unwrap();
        // SAFETY: see the top of the file.
        unsafe {
            assert_eq!(WHvCreatePartition(&mut p), 0);
            let m = Self { p, ram };
            // As QEMU: the size of the whole union.
            let mut property = [0u8; 48];
            property[0] = 1;
            assert_eq!(m.set(WHvPartitionPropertyCodeProcessorCount, &property), 0);
            assert_eq!(m.set(WHvPartitionPropertyCodeLocalApicEmulationMode, &apic_mode.to_le_bytes()), 0);
            property[..8].copy_from_slice(&extended_exits.to_le_bytes());
            assert_eq!(m.set(WHvPartitionPropertyCodeExtendedVmExits, &property), 0);
            assert_eq!(WHvSetupPartition(p), 0);
            assert_eq!(WHvMapGpaRange(p, m.at(0), 0, RAM, RWX), 0);
            assert_eq!(WHvCreateVirtualProcessor(p, 0, 0), 0);
            m.registers(&[(WHvX64RegisterRip, 0x1000)]);
            m.segment(WHvX64RegisterCs, 0x9B);
            m
        }
    }

    fn at(&self, offset: u64) -> *const c_void {
        self.ram.host_ptr(offset).cast_const().cast()
    }

    /// Writes memory as a client does: without telling anybody.
    fn poke(&self, offset: u64, bytes: &[u8]) {
        for (i, b) in bytes.iter().enumerate() {
            // SAFETY: inside the block.
            unsafe { self.ram.host_ptr(offset + i as u64).write_volatile(*b) };
        }
    }

    fn peek(&self, offset: u64) -> u8 {
        // SAFETY: inside the block.
        unsafe { self.ram.host_ptr(offset).read_volatile() }
    }

    fn set(&self, code: i32, bytes: &[u8]) -> HRESULT {
        // SAFETY: see the top of the file.
        unsafe { WHvSetPartitionProperty(self.p, code, bytes.as_ptr().cast(), bytes.len() as u32) }
    }

    fn registers(&self, list: &[(i32, u64)]) {
        let names: Vec<_> = list.iter().map(|(n, _)| *n).collect();
        let value = |v: u64| WHV_REGISTER_VALUE { Reg128: WHV_UINT128 { Dword: [v as u32, (v >> 32) as u32, 0, 0] } };
        let values: Vec<_> = list.iter().map(|(_, v)| value(*v)).collect();
        let count = names.len() as u32;
        // SAFETY: see the top of the file.
        assert_eq!(unsafe { WHvSetVirtualProcessorRegisters(self.p, 0, names.as_ptr(), count, values.as_ptr()) }, 0);
    }

    fn segment(&self, name: i32, attributes: u16) {
        let segment = WHV_X64_SEGMENT_REGISTER {
            Base: 0,
            Limit: 0xFFFF,
            Selector: 0,
            Anonymous: WHV_X64_SEGMENT_REGISTER_0 { Attributes: attributes },
        };
        let value = WHV_REGISTER_VALUE { Segment: segment };
        // SAFETY: see the top of the file.
        assert_eq!(unsafe { WHvSetVirtualProcessorRegisters(self.p, 0, &name, 1, &value) }, 0);
    }

    fn run(&self) -> WHV_RUN_VP_EXIT_CONTEXT {
        let mut exit = WHV_RUN_VP_EXIT_CONTEXT::default();
        // SAFETY: see the top of the file.
        assert_eq!(unsafe { WHvRunVirtualProcessor(self.p, 0, (&raw mut exit).cast(), 224) }, 0);
        exit
    }

    fn run_code(&self, code: &[u8]) -> WHV_RUN_VP_EXIT_CONTEXT {
        self.poke(0x1000, code);
        self.registers(&[(WHvX64RegisterRip, 0x1000)]);
        self.run()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: no pointers.
        unsafe { WHvDeletePartition(self.p) };
    }
}

#[test]
fn buffers_may_be_larger_and_the_written_size_null() {
    let mut buffer = [0xEEu8; 24];
    let at = buffer.as_mut_ptr().cast();
    // SAFETY: see the top of the file.
    unsafe {
        let mut written = 0;
        assert_eq!(WHvGetCapability(WHvCapabilityCodeHypervisorPresent, at, 24, &mut written), 0);
        assert_eq!((written, buffer[..5].to_vec()), (4, vec![1, 0, 0, 0, 0xEE]));
        assert_eq!(WHvGetCapability(WHvCapabilityCodeFeatures, at, 8, null_mut()), 0);
        assert_eq!(buffer[0] & 0b111, 0b111, "partial unmap, local APIC, XSAVE");
        assert_eq!(
            failure(WHvGetCapability(WHvCapabilityCodeFeatures, at, 7, &mut written)),
            HResult::WHV_E_INSUFFICIENT_BUFFER
        );
        assert_eq!(written, 8, "what is needed");
        assert_eq!(failure(WHvGetCapability(WHvCapabilityCodeFeatures, null_mut(), 8, null_mut())), HResult::E_POINTER);
        for unknown in [0x7777, 0x2000] {
            assert_eq!(failure(WHvGetCapability(unknown, at, 24, null_mut())), HResult::WHV_E_UNKNOWN_CAPABILITY);
        }
    }
}

#[test]
fn wrong_handles_are_found_out_everywhere() {
    let mut page = [0u8; 4096];
    let at: *mut c_void = page.as_mut_ptr().cast();
    let gone = Machine::new(0, 0).p; // deleted when this statement ends
    let nowhere = &raw mut page as Handle;
    for h in [null_mut(), gone, nowhere, 0x7FFF_FFFF_0000usize as Handle] {
        // SAFETY: see the top of the file.
        let codes = unsafe {
            [
                WHvSetupPartition(h),
                WHvResetPartition(h),
                WHvDeletePartition(h),
                WHvGetPartitionProperty(h, WHvPartitionPropertyCodeProcessorCount, at, 4, null_mut()),
                WHvSetPartitionProperty(h, WHvPartitionPropertyCodeProcessorCount, at, 4),
                WHvMapGpaRange(h, at, 0, 4096, RWX),
                WHvUnmapGpaRange(h, 0, 4096),
                WHvCreateVirtualProcessor(h, 0, 0),
                WHvRunVirtualProcessor(h, 0, at, 224),
                WHvCancelRunVirtualProcessor(h, 0, 0),
                WHvSuspendPartitionTime(h),
                WHvCreateVpciDevice(h, 0, null_mut(), 0, null_mut()),
            ]
        };
        assert!(codes.iter().all(|c| failure(*c) == HResult::E_HANDLE), "{codes:x?}");
    }
}

#[test]
fn wrong_arguments_are_errors() {
    let m = Machine::new(0, 0);
    let mut exit = [0u8; 224];
    let at = exit.as_mut_ptr().cast();
    // SAFETY: see the top of the file.
    unsafe {
        assert_eq!(failure(WHvCreatePartition(null_mut())), HResult::E_POINTER);
        assert_eq!(failure(WHvRunVirtualProcessor(m.p, 0, null_mut(), 224)), HResult::E_POINTER);
        assert_eq!(failure(WHvRunVirtualProcessor(m.p, 0, at, 100)), HResult::WHV_E_INSUFFICIENT_BUFFER);
        assert_eq!(failure(WHvRunVirtualProcessor(m.p, 1, at, 224)), HResult::WHV_E_VP_DOES_NOT_EXIST);
        assert_eq!(failure(WHvCreateVirtualProcessor(m.p, 0, 0)), HResult::WHV_E_VP_ALREADY_EXISTS);
        assert_eq!(failure(WHvCreateVirtualProcessor(m.p, 0, 1)), HResult::E_INVALIDARG);
        assert_eq!(failure(WHvMapGpaRange(m.p, null(), 0, 4096, RWX)), HResult::E_POINTER);
        assert_eq!(failure(WHvMapGpaRange(m.p, m.at(1), 0, 4096, RWX)), HResult::E_INVALIDARG);
        assert_eq!(failure(WHvMapGpaRange(m.p, m.at(0), 0x800, 4096, RWX)), HResult::E_INVALIDARG);
        assert_eq!(failure(WHvMapGpaRange(m.p, m.at(0), 0, 0, RWX)), HResult::E_INVALIDARG);
        assert_eq!(failure(WHvMapGpaRange(m.p, m.at(0), 0, !0xFFF, RWX)), HResult::E_INVALIDARG);
        assert_eq!(failure(WHvMapGpaRange(m.p, m.at(0), 0, 1 << 51, RWX)), HResult::E_OUTOFMEMORY);
        let name = WHvX64RegisterRax;
        let mut value = WHV_REGISTER_VALUE::default();
        assert_eq!(failure(WHvGetVirtualProcessorRegisters(m.p, 0, null(), 1, &mut value)), HResult::E_POINTER);
        assert_eq!(failure(WHvGetVirtualProcessorRegisters(m.p, 0, &name, 1, null_mut())), HResult::E_POINTER);
        assert_eq!(
            failure(WHvGetVirtualProcessorRegisters(m.p, 0, &name, u32::MAX, &mut value)),
            HResult::E_INVALIDARG
        );
        assert_eq!(
            failure(WHvGetVirtualProcessorRegisters(m.p, 0, &0x7777, 1, &mut value)),
            HResult::WHV_E_INVALID_VP_REGISTER_NAME
        );
        assert_eq!(WHvGetVirtualProcessorRegisters(m.p, 0, null(), 0, null_mut()), 0);
        assert_eq!(failure(WHvRequestInterrupt(m.p, null(), 16)), HResult::E_POINTER);
        let i = WHV_INTERRUPT_CONTROL { _bitfield: 0xF00, Destination: 0, Vector: 0x40 };
        assert_eq!(failure(WHvRequestInterrupt(m.p, &i, 16)), HResult::E_INVALIDARG);
        assert_eq!(failure(WHvRequestInterrupt(m.p, &i, 8)), HResult::E_INVALIDARG);
        assert_eq!(failure(WHvTranslateGva(m.p, 0, 0, 0, null_mut(), null_mut())), HResult::E_POINTER);
        assert_eq!(failure(m.set(0x7777, &[0; 8])), HResult::WHV_E_UNKNOWN_PROPERTY);
        assert_eq!(failure(m.set(WHvPartitionPropertyCodeExtendedVmExits, &[0; 4])), HResult::E_INVALIDARG);
        assert_eq!(failure(m.set(WHvPartitionPropertyCodeCpuidExitList, &[0; 5])), HResult::E_INVALIDARG);
        assert_eq!(
            failure(WHvGetVirtualProcessorInterruptControllerState2(m.p, 0, at, 224, null_mut())),
            HResult::WHV_E_INVALID_PARTITION_CONFIG
        );
        assert_eq!(failure(WHvCreateTrigger(m.p, null(), null_mut(), null_mut())), HResult::E_NOTIMPL);
    }
}

#[test]
fn a_cancel_is_kept_for_the_next_run() {
    let m = Machine::new(0, 0);
    m.poke(0x1000, &[HLT]);
    // SAFETY: no pointers.
    assert_eq!(unsafe { WHvCancelRunVirtualProcessor(m.p, 0, 0) }, 0);
    assert_eq!(m.run().ExitReason, WHvRunVpExitReasonCanceled);
    assert_eq!(m.run().ExitReason, WHvRunVpExitReasonX64Halt);
}

#[test]
fn exit_lists_change_after_set_up() {
    let m = Machine::new(0, 1);
    let cpuid = [0x66, 0xB8, 0x00, 0x00, 0x00, 0x40, 0x0F, 0xA2, HLT]; // MOV EAX, 40000000h; CPUID
    assert_eq!(m.run_code(&cpuid).ExitReason, WHvRunVpExitReasonX64Halt);
    assert_eq!(m.set(WHvPartitionPropertyCodeCpuidExitList, &0x4000_0000u32.to_le_bytes()), 0);
    let exit = m.run_code(&cpuid);
    assert_eq!((exit.ExitReason, exit.VpContext.Rip), (WHvRunVpExitReasonX64Cpuid, 0x1006));
    assert_eq!(exit.VpContext._bitfield & 15, 2, "instruction length");
}

#[test]
fn a_page_may_be_at_two_addresses() {
    let m = Machine::new(0, 0);
    // SAFETY: see the top of the file.
    assert_eq!(unsafe { WHvMapGpaRange(m.p, m.at(0x8000), 0x3_0000, 0x1000, RWX) }, 0);
    // MOV byte [8010h], 55h through its first address; MOV AX, 3000h; MOV DS, AX; INC byte [0010h] through the other.
    m.segment(WHvX64RegisterDs, 0x93);
    let code = [0xC6, 0x06, 0x10, 0x80, 0x55, 0xB8, 0x00, 0x30, 0x8E, 0xD8, 0xFE, 0x06, 0x10, 0x00, HLT];
    assert_eq!(m.run_code(&code).ExitReason, WHvRunVpExitReasonX64Halt);
    assert_eq!(m.peek(0x8010), 0x56);
    let mut data = [0u8; 2];
    // SAFETY: see the top of the file.
    unsafe {
        let any = WHV_ACCESS_GPA_CONTROLS { AsUINT64: 0 };
        assert_eq!(WHvReadGpaRange(m.p, 0, 0x3_0010, any, data.as_mut_ptr().cast(), 2), 0);
        assert_eq!(WHvWriteGpaRange(m.p, 0, 0x3_0011, any, [7u8].as_ptr().cast(), 1), 0);
        assert_eq!(
            failure(WHvReadGpaRange(m.p, 0, 0x9_0000, any, data.as_mut_ptr().cast(), 2)),
            HResult::WHV_E_GPA_RANGE_NOT_FOUND
        );
        assert_eq!(failure(WHvReadGpaRange(m.p, 0, 0, any, data.as_mut_ptr().cast(), 17)), HResult::E_INVALIDARG);
    }
    assert_eq!((data[0], m.peek(0x8011)), (0x56, 7));
}

#[test]
fn unmapping_what_is_not_mapped_is_no_error() {
    let m = Machine::new(0, 0);
    // SAFETY: no pointers.
    unsafe {
        assert_eq!(WHvUnmapGpaRange(m.p, 0x10_0000, 0x1000), 0);
        assert_eq!(WHvUnmapGpaRange(m.p, 0x8000, 0x10_0000), 0, "some of it is");
        assert_eq!(failure(WHvUnmapGpaRange(m.p, 0x800, 0x1000)), HResult::E_INVALIDARG);
    }
    let exit = m.run_code(&[0xA0, 0x00, 0x90, HLT]); // MOV AL, [9000h]
    assert_eq!(exit.ExitReason, WHvRunVpExitReasonMemoryAccess);
    // SAFETY: the view of this reason.
    let memory = unsafe { exit.Anonymous.MemoryAccess };
    assert_eq!((memory.Gpa, &memory.InstructionBytes[..3]), (0x9000, &[0xA0, 0x00, 0x90][..]));
}

/// QEMU's disk DMA writes into memory whose code has run.
#[test]
fn code_that_the_client_overwrites_is_the_new_code() {
    let m = Machine::new(0, 0);
    for n in 0..50u8 {
        // MOV BL, n; JMP +0; HLT, again and again at the same place
        let exit = m.run_code(&[0xB3, n, 0xEB, 0x00, HLT]);
        assert_eq!(exit.ExitReason, WHvRunVpExitReasonX64Halt);
        let mut value = WHV_REGISTER_VALUE::default();
        // SAFETY: see the top of the file.
        unsafe {
            assert_eq!(WHvGetVirtualProcessorRegisters(m.p, 0, &WHvX64RegisterRbx, 1, &mut value), 0);
            assert_eq!(value.Reg8, n);
        }
    }
}

/// A loop that another thread of the client ends by overwriting its jump.
#[test]
fn a_running_loop_sees_the_clients_write() {
    let m = Machine::new(0, 0);
    m.poke(0x1000, &[0x40, 0xEB, 0xFD]); // INC AX; JMP -3
    m.poke(0x1003, &[HLT]);
    std::thread::scope(|s| {
        let (ram, at) = (&m.ram, 0x1001);
        s.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            // SAFETY: inside the block.
            unsafe { ram.host_ptr(at).write_volatile(HLT) };
        });
        let exit = m.run();
        assert_eq!((exit.ExitReason, exit.VpContext.Rip), (WHvRunVpExitReasonX64Halt, 0x1002));
    });
}

/// An event of the host's: a pipe in the place of an eventfd.
#[cfg(unix)]
struct HostEvent(std::io::PipeReader, std::io::PipeWriter);

#[cfg(unix)]
impl HostEvent {
    fn new() -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        Self(reader, writer)
    }
    fn handle(&self) -> HANDLE {
        std::os::fd::AsRawFd::as_raw_fd(&self.1) as isize as HANDLE
    }
    /// Fails (by waiting) when it was not signalled.
    fn take(&mut self) {
        let mut eight = [0; 8];
        std::io::Read::read_exact(&mut self.0, &mut eight).unwrap();
        assert_eq!(u64::from_ne_bytes(eight), 1);
    }
}

/// An event of the host's.
#[cfg(windows)]
struct HostEvent(HANDLE);

#[cfg(windows)]
impl HostEvent {
    fn new() -> Self {
        // SAFETY: null is allowed.
        Self(unsafe { windows_sys::Win32::System::Threading::CreateEventW(null(), 0, 0, null()) })
    }
    fn handle(&self) -> HANDLE {
        self.0
    }
    fn take(&mut self) {
        // SAFETY: a handle of ours.
        assert_eq!(unsafe { windows_sys::Win32::System::Threading::WaitForSingleObject(self.0, 0) }, 0);
    }
}

#[test]
fn doorbells_take_the_place_of_exits() {
    let m = Machine::new(0, 0);
    let mut host = HostEvent::new();
    let event = host.handle();
    let which = WHV_DOORBELL_MATCH_DATA { GuestAddress: 0x5_0000, Value: 0x1234, Length: 2, _bitfield: 3 };
    // SAFETY: see the top of the file.
    unsafe {
        assert_eq!(WHvRegisterPartitionDoorbellEvent(m.p, &which, event), 0);
        assert_eq!(failure(WHvRegisterPartitionDoorbellEvent(m.p, &which, event)), HResult::E_INVALIDARG);
        assert_eq!(failure(WHvRegisterPartitionDoorbellEvent(m.p, &which, 9999 as HANDLE)), HResult::E_HANDLE);
        assert_eq!(failure(WHvRegisterPartitionDoorbellEvent(m.p, null(), event)), HResult::E_POINTER);
    }
    // MOV AX, 5000h; MOV DS, AX; MOV word [0], 1234h; HLT
    let ring = [0xB8, 0x00, 0x50, 0x8E, 0xD8, 0xC7, 0x06, 0x00, 0x00, 0x34, 0x12, HLT];
    assert_eq!(m.run_code(&ring).ExitReason, WHvRunVpExitReasonX64Halt);
    host.take();
    let mut other = ring;
    other[9] = 0x35;
    assert_eq!(m.run_code(&other).ExitReason, WHvRunVpExitReasonMemoryAccess, "another value");
    // SAFETY: see the top of the file.
    unsafe {
        assert_eq!(WHvUnregisterPartitionDoorbellEvent(m.p, &which), 0);
        assert_eq!(failure(WHvUnregisterPartitionDoorbellEvent(m.p, &which)), HResult::E_INVALIDARG);
    }
    assert_eq!(m.run_code(&ring).ExitReason, WHvRunVpExitReasonMemoryAccess);
}

#[test]
fn the_register_batch_and_apic_state_of_qemu() {
    let m = Machine::new(1, 0x47);
    let mut page = [0u8; 4096];
    let at: *mut c_void = page.as_mut_ptr().cast();
    // SAFETY: see the top of the file.
    unsafe {
        assert_eq!(WHvGetVirtualProcessorInterruptControllerState2(m.p, 0, at, 4096, null_mut()), 0);
        assert_eq!(WHvSetVirtualProcessorInterruptControllerState2(m.p, 0, at, 4096), 0);
        assert_eq!(failure(WHvSetVirtualProcessorInterruptControllerState2(m.p, 0, at, 1024)), HResult::E_INVALIDARG);
        let mut size = 0;
        let state = WHvVirtualProcessorStateTypeXsaveState;
        assert_eq!(
            failure(WHvGetVirtualProcessorState(m.p, 0, state, null_mut(), 0, &mut size)),
            HResult::WHV_E_INSUFFICIENT_BUFFER
        );
        let mut area = vec![0u8; size as usize];
        assert_eq!(WHvGetVirtualProcessorState(m.p, 0, state, area.as_mut_ptr().cast(), size, &mut size), 0);
        assert_eq!(WHvSetVirtualProcessorState(m.p, 0, state, area.as_ptr().cast(), size), 0);
        let i = WHV_INTERRUPT_CONTROL { _bitfield: 0, Destination: 0, Vector: 0 };
        assert_eq!(failure(WHvRequestInterrupt(m.p, &i, 16)), HResult::E_INVALIDARG, "QEMU's at reset");
        let mut targets = [9u32; 4];
        let mut count = 0;
        assert_eq!(WHvGetInterruptTargetVpSet(m.p, 0xFF, 0, targets.as_mut_ptr(), 4, &mut count), 0);
        assert_eq!((count, targets[0]), (1, 0));
    }
    let general = (WHvX64RegisterRax..=WHvX64RegisterRflags).chain(WHvX64RegisterEs..=WHvX64RegisterGdtr);
    let rest = [
        WHvX64RegisterCr0,
        WHvX64RegisterCr2,
        WHvX64RegisterCr3,
        WHvX64RegisterCr4,
        WHvX64RegisterCr8,
        WHvX64RegisterFpControlStatus,
        WHvX64RegisterXmmControlStatus,
        WHvX64RegisterEfer,
        WHvX64RegisterKernelGsBase,
        WHvX64RegisterApicBase,
        WHvX64RegisterSysenterCs,
        WHvX64RegisterSysenterEip,
        WHvX64RegisterSysenterEsp,
        WHvX64RegisterStar,
        WHvX64RegisterLstar,
        WHvX64RegisterCstar,
        WHvX64RegisterSfmask,
    ];
    let names: Vec<i32> = general.chain(WHvX64RegisterXmm0..=WHvX64RegisterFpMmx7).chain(rest).collect();
    assert_eq!(names.len(), 69);
    let mut values = vec![WHV_REGISTER_VALUE::default(); 69];
    // SAFETY: see the top of the file.
    unsafe {
        assert_eq!(WHvGetVirtualProcessorRegisters(m.p, 0, names.as_ptr(), 69, values.as_mut_ptr()), 0);
        assert_eq!(WHvSetVirtualProcessorRegisters(m.p, 0, names.as_ptr(), 69, values.as_ptr()), 0);
    }
}

/// The SynIC's pages and timers, which have no registers, in a partition that has one.
#[test]
fn synic_states_are_read_and_written() {
    const SYNIC_AND_TIMERS: u64 = 1 << 4 | 1 << 5;
    let mut p = null_mut();
    let set = |p, code, bytes: &[u8]| {
        // SAFETY: see the top of the file.
        unsafe { WHvSetPartitionProperty(p, code, bytes.as_ptr().cast(), bytes.len() as u32) }
    };
    // SAFETY: see the top of the file.
    unsafe { assert_eq!(WHvCreatePartition(&mut p), 0) };
    let mut banks = [0u8; 16];
    banks[0] = 1;
    banks[8..].copy_from_slice(&SYNIC_AND_TIMERS.to_le_bytes());
    assert_eq!(set(p, WHvPartitionPropertyCodeProcessorCount, &1u32.to_le_bytes()), 0);
    assert_eq!(set(p, WHvPartitionPropertyCodeLocalApicEmulationMode, &2u32.to_le_bytes()), 0);
    assert_eq!(set(p, WHvPartitionPropertyCodeSyntheticProcessorFeaturesBanks, &banks), 0);
    let without = Machine::new(1, 0);
    let mut bytes = [0u8; 4096];
    let at: *mut c_void = bytes.as_mut_ptr().cast();
    let from = at.cast_const();
    let mut written = 0;
    // SAFETY: see the top of the file.
    unsafe {
        assert_eq!(WHvSetupPartition(p), 0);
        assert_eq!(WHvCreateVirtualProcessor(p, 0, 0), 0);
        let (page, timers) =
            (WHvVirtualProcessorStateTypeSynicMessagePage, WHvVirtualProcessorStateTypeSynicTimerState);
        assert_eq!(
            failure(WHvGetVirtualProcessorState(without.p, 0, page, at, 4096, &mut written)),
            HResult::E_NOTIMPL
        );
        let m = Machine { p, ram: without.ram.clone() };
        m.registers(&[(WHvRegisterSimp, 0x5001), (WHvRegisterScontrol, 1)]);
        *at.cast::<u8>().add(0x210) = 7;
        assert_eq!(WHvSetVirtualProcessorState(p, 0, page, from, 4096), 0);
        *at.cast::<u8>().add(0x210) = 0;
        assert_eq!(WHvGetVirtualProcessorState(p, 0, page, at, 4096, &mut written), 0);
        assert_eq!((written, *at.cast::<u8>().add(0x210)), (4096, 7));
        assert_eq!(WHvGetVirtualProcessorState(p, 0, timers, at, 4096, &mut written), 0);
        assert_eq!(written, 200);
        // Timer 1: not enabled, auto-enable, SINT 2; count 5.
        at.cast::<u64>().add(6).write(0x2_0008);
        at.cast::<u64>().add(7).write(5);
        assert_eq!(WHvSetVirtualProcessorState(p, 0, timers, from, 200), 0);
        assert_eq!(WHvGetVirtualProcessorState(p, 0, timers, at, 200, &mut written), 0);
        assert_eq!((at.cast::<u64>().add(6).read(), at.cast::<u64>().add(7).read()), (0x2_0008, 5));
        assert_eq!(failure(WHvSetVirtualProcessorState(p, 0, timers, from, 199)), HResult::E_INVALIDARG);
    }
}

/// A monitor ends with a processor in Run and nothing deleted; the second process of this test is that monitor.
#[test]
fn a_process_may_end_with_processors_running() {
    const CHILD: &str = "WINHVPLATFORM_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let m = Box::leak(Box::new(Machine::new(2, 0)));
        m.poke(0x1000, &[0xEB, 0xFE]);
        let p = m.p as usize;
        std::thread::spawn(move || {
            let mut exit = [0u8; 224];
            // SAFETY: see the top of the file.
            unsafe { WHvRunVirtualProcessor(p as Handle, 0, exit.as_mut_ptr().cast(), 224) }
        });
        std::thread::sleep(std::time::Duration::from_millis(30));
        std::process::exit(7);
    }
    let this = std::env::current_exe().unwrap();
    let test = ["--exact", "a_process_may_end_with_processors_running"];
    let status = std::process::Command::new(this).args(test).env(CHILD, "1").status().unwrap();
    assert_eq!(status.code(), Some(7));
}

/// The second process of this test is a client that is traced.
#[test]
fn a_trace_has_what_never_reached_the_platform() {
    const CHILD: &str = "WINHVPLATFORM_TRACED_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let mut exit = [0u8; 224];
        // SAFETY: see the top of the file.
        unsafe {
            assert_eq!(
                failure(WHvRunVirtualProcessor(null_mut(), 0, exit.as_mut_ptr().cast(), 224)),
                HResult::E_HANDLE
            );
            let m = Machine::new(0, 0);
            assert_eq!(failure(WHvCreateVirtualProcessor(m.p, 0, 0)), HResult::WHV_E_VP_ALREADY_EXISTS);
            assert_eq!(failure(WHvCreatePartition(null_mut())), HResult::E_POINTER);
        }
        return;
    }
    let this = std::env::current_exe().unwrap();
    let file = this.with_extension("refused.jsonl");
    let _none_yet = std::fs::remove_file(&file);
    let test = ["--exact", "a_trace_has_what_never_reached_the_platform"];
    let mut child = std::process::Command::new(this);
    assert!(child.args(test).env(CHILD, "1").env("WHPX_TRACE", &file).status().unwrap().success());
    let text = std::fs::read_to_string(&file).unwrap();
    let failed: Vec<_> = text.lines().skip(1).filter(|line| line.contains("\"err\"")).collect();
    let has = |line: &str, words: [&str; 2]| words.iter().all(|word| line.contains(word));
    assert_eq!(failed.len(), 3, "{failed:#?}");
    assert!(has(failed[0], ["\"call\":\"Refused\",\"args\":{\"function\":\"WHvRunVirtualProcessor\"}", "E_HANDLE"]));
    assert!(has(failed[1], ["\"call\":\"CreateVirtualProcessor\"", "WHV_E_VP_ALREADY_EXISTS"]));
    assert!(has(failed[2], ["WHvCreatePartition", "E_POINTER"]));
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn deleting_a_partition_ends_its_processors() {
    let m = Machine::new(0, 0);
    m.poke(0x1000, &[0xEB, 0xFE]);
    std::thread::scope(|s| {
        let p = m.p as usize;
        let running = s.spawn(move || {
            let mut exit = WHV_RUN_VP_EXIT_CONTEXT::default();
            // SAFETY: see the top of the file.
            let code = unsafe { WHvRunVirtualProcessor(p as Handle, 0, (&raw mut exit).cast(), 224) };
            (code, exit.ExitReason)
        });
        std::thread::sleep(std::time::Duration::from_millis(30));
        // SAFETY: no pointers.
        assert_eq!(unsafe { WHvDeletePartition(m.p) }, 0);
        assert_eq!(running.join().unwrap(), (0, WHvRunVpExitReasonCanceled));
    });
}

#[test]
fn every_function_of_the_dll_is_here_and_documented() {
    let names: Vec<_> = functions().iter().map(|f| f.name).collect();
    let mut wanted = FUNCTIONS.to_vec();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/whp-api.md");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let table = functions_as_markdown();
    assert!(text.contains(&table), "docs/whp-api.md is old: run `cargo xtask docs`");
}
