//! The emulator through its C functions, with a client on the C functions of the platform: guests that do port and
//! memory accesses of every kind, callbacks that fail, and callers that pass nonsense.

#![allow(unreachable_pub)] // a test binary
#![allow(unsafe_code)] // calls C APIs
#![allow(non_upper_case_globals)] // Microsoft's names

mod client;

use std::ptr::{null, null_mut};

use client::{CODE, Call, Client, DATA, DEVICE, FAULTED, Which, callbacks};
use whp::HResult;
use whp_abi::convert::result_of;
use whp_abi::emulation::{status::*, *};
use whp_abi::x64::*;
use winhvemulation::*;

/// OUT F4h, AL: the end of a snippet.
const END: [u8; 2] = [0xE6, 0xF4];

fn client(code: &[u8]) -> Box<Client> {
    Client::new(&[code, &END].concat())
}

fn failure(code: HRESULT) -> HResult {
    result_of(code).expect_err("a failure")
}

#[test]
fn ports_of_one_element_read_no_registers() {
    let mut c = client(&[0xE5, 0x60, 0x66, 0xE5, 0x60, 0xEC, 0xE7, 0x62, 0x66, 0xEF]); // in eax; in ax; in al,dx; out 62h,eax; out dx,ax
    c.registers(&[(WHvX64RegisterRax, u64::MAX), (WHvX64RegisterRdx, 0x61)]);
    assert_eq!(c.run(), 0xF4);
    assert_eq!(c.register(WHvX64RegisterRax), 0x1312_1516, "32 bits clear the upper half, the others leave it");
    let rip_rax = || Call::Set(vec![WHvX64RegisterRip, WHvX64RegisterRax]);
    let rip = || Call::Set(vec![WHvX64RegisterRip]);
    let wanted = [
        Call::In(0x60, 4),
        rip_rax(),
        Call::In(0x60, 2),
        rip_rax(),
        Call::In(0x61, 1),
        rip_rax(),
        Call::Out(0x62, 4, 0x1312_1516),
        rip(),
        Call::Out(0x61, 2, 0x1516),
        rip(),
    ];
    assert_eq!(c.log, wanted);
}

#[test]
fn string_port_instructions() {
    let mut c = client(&[
        0xF3, 0x6E, // rep outsb
        0xB9, 0x03, 0, 0, 0, // mov ecx, 3
        0x66, 0xF3, 0x6D, // rep insw
        0x6C, // insb
    ]);
    c.load(DATA, b"abcd");
    c.registers(&[(WHvX64RegisterRcx, 4), (WHvX64RegisterRdx, 0x60), (WHvX64RegisterRdi, DATA + 16)]);
    assert_eq!(c.run(), 0xF4);
    assert_eq!(c.read::<8>(DATA + 16), [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0]);
    let out: Vec<_> = c.log.iter().filter(|call| matches!(call, Call::Out(..))).cloned().collect();
    assert_eq!(out, b"abcd".map(|b| Call::Out(0x60, 1, b.into())));
    assert_eq!((c.register(WHvX64RegisterRcx), c.register(WHvX64RegisterRdi)), (0, DATA + 23));
    let (gets, sets) = (
        c.log.iter().filter(|call| matches!(call, Call::Get(_))).count(),
        c.log.iter().filter(|call| matches!(call, Call::Set(_))).count(),
    );
    assert_eq!((gets, sets), (3, 3), "one of each an instruction, whatever its count");
}

#[test]
fn integer_instructions_reach_a_device() {
    let mut c = client(&[
        0x89, 0x07, // mov [rdi], eax
        0x8B, 0x1F, // mov ebx, [rdi]
        0x0F, 0xB6, 0x4F, 0x01, // movzx ecx, byte [rdi+1]
        0x83, 0x07, 0x7F, // add dword [rdi], 0x7F
        0x87, 0x07, // xchg [rdi], eax
        0x8B, 0x17, // mov edx, [rdi]
        0x89, 0xD0, // mov eax, edx
        0xF0, 0x0F, 0xB1, 0x0F, // lock cmpxchg [rdi], ecx
        0x0F, 0x94, 0x47, 0x08, // sete [rdi+8]
        0xFF, 0x37, // push qword [rdi]
        0x8F, 0x47, 0x10, // pop qword [rdi+16]
        0x0F, 0x38, 0xF1, 0x5F, 0x18, // movbe [rdi+24], ebx
        0xC1, 0x67, 0x18, 0x04, // shl dword [rdi+24], 4
        0xF0, 0x48, 0x0F, 0xAB, 0x4F, 0x20, // lock bts [rdi+32], rcx
    ]);
    c.registers(&[(WHvX64RegisterRax, 0x1122_3344)]);
    assert_eq!(c.run(), 0xF4);
    assert_eq!(c.register(WHvX64RegisterRbx), 0x1122_3344);
    assert_eq!(c.register(WHvX64RegisterRcx), 0x33);
    assert_eq!(c.register(WHvX64RegisterRax), 0x1122_3344, "cmpxchg found it equal");
    assert_eq!((c.dword(0), c.dword(8), c.dword(16)), (0x33, 1, 0x33));
    assert_eq!(c.dword(24), 0x4433_2211u32 << 4);
    assert_eq!(c.dword(36), 1 << (0x33 - 32));
    assert_eq!(c.register(WHvX64RegisterRsp), 0x8000);
}

#[test]
fn the_first_access_is_translated_by_the_exit() {
    let mut c = client(&[0x01, 0x07]); // add [rdi], eax
    c.registers(&[(WHvX64RegisterRax, 3)]);
    assert_eq!(c.run(), 0xF4);
    let sets = [WHvX64RegisterRip, WHvX64RegisterRflags];
    let [Call::Get(_), Call::Read(DEVICE, 4), Call::Write(DEVICE, 4), Call::Set(names)] = &c.log[..] else {
        panic!("{:x?}", c.log)
    };
    assert!(sets.iter().all(|n| names.contains(n)) && names.len() == 2, "only what changed: {names:?}");
}

#[test]
fn wide_accesses_come_in_pieces_of_eight() {
    let mut c = client(&[
        0xDB, 0xE3, // fninit
        0x0F, 0x10, 0x0E, // movups xmm1, [rsi]
        0x0F, 0x11, 0x0F, // movups [rdi], xmm1
        0x66, 0x0F, 0xFC, 0x0F, // paddb xmm1, [rdi]
        0x0F, 0x11, 0x4E, 0x40, // movups [rsi+64], xmm1
        0xC5, 0xFA, 0x7F, 0x4F, 0x20, // vmovdqu [rdi+32], xmm1
        0xDB, 0x07, // fild dword [rdi]
        0xDB, 0x7F, 0x40, // fstp tbyte [rdi+64]
    ]);
    let pattern: [u8; 16] = std::array::from_fn(|i| i as u8 + 1);
    c.load(DATA, &pattern);
    assert_eq!(c.run(), 0xF4);
    assert_eq!(c.device[..16], pattern);
    assert_eq!(c.read::<16>(DATA + 64), pattern.map(|b| b * 2));
    assert_eq!(c.device[32..48], pattern.map(|b| b * 2));
    assert_eq!(c.device[64..74], [0, 0, 0, 0, 0x20, 0x40, 0x60, 0x80, 0x19, 0x40][..]);
    let accesses: Vec<_> = c.log.iter().filter(|c| matches!(c, Call::Read(..) | Call::Write(..))).cloned().collect();
    let wanted = [
        Call::Write(DEVICE, 8),
        Call::Write(DEVICE + 8, 8),
        Call::Read(DEVICE, 8),
        Call::Read(DEVICE + 8, 8),
        Call::Write(DEVICE + 32, 8),
        Call::Write(DEVICE + 40, 8),
        Call::Read(DEVICE, 4),
        Call::Write(DEVICE + 64, 8),
        Call::Write(DEVICE + 72, 2),
    ];
    assert_eq!(accesses, wanted);
}

#[test]
fn rep_string_instructions_are_done_in_one_call() {
    let mut c = client(&[
        0xF3, 0xAA, // rep stosb
        0xB9, 0x06, 0, 0, 0, // mov ecx, 6
        0x48, 0x89, 0xF7, // mov rdi, rsi
        0x48, 0x89, 0xD6, // mov rsi, rdx
        0xF3, 0xA4, // rep movsb
    ]);
    let start = DEVICE + 0x1EFD;
    c.registers(&[(WHvX64RegisterRax, 0x5A), (WHvX64RegisterRcx, 0x1F00), (WHvX64RegisterRdx, start)]);
    assert_eq!(c.run(), 0xF4);
    assert!(c.device[..0x1F00].iter().all(|b| *b == 0x5A));
    assert_eq!(c.read::<8>(DATA), [0x5A, 0x5A, 0x5A, 0, 0, 0, 0, 0]);
    assert_eq!((c.register(WHvX64RegisterRcx), c.register(WHvX64RegisterRsi)), (0, DEVICE + 0x1F03));
    assert_eq!(c.log.iter().filter(|call| matches!(call, Call::Set(_))).count(), 2);
    let pages: Vec<_> =
        c.log.iter().filter_map(|c| if let Call::Translate(at, _) = c { Some(*at) } else { None }).collect();
    assert_eq!(pages, [DEVICE + 0x1000, DATA], "each page once, that of an exit not at all");
}

#[test]
fn accesses_across_pages_are_split_and_a_faulting_half_faults_whole() {
    let store = [0x48, 0x89, 0x07]; // mov [rdi], rax
    let mut c = client(&store);
    c.registers(&[(WHvX64RegisterRax, 0x0807_0605_0403_0201), (WHvX64RegisterRdi, DEVICE + 0xFFE)]);
    assert_eq!(c.run(), 0xF4);
    assert_eq!(c.device[0xFFD..0x1007], [0, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
    assert_eq!(c.log[2..4], [Call::Write(DEVICE + 0xFFE, 2), Call::Write(DEVICE + 0x1000, 6)], "{:x?}", c.log);

    let mut c = client(&store);
    let exit = c.enter();
    c.registers(&[(WHvX64RegisterRdi, DEVICE + 0x1F_FFFC)]); // the built-in platform would fault, not exit
    assert_eq!(c.emulate(&exit), (0, EMULATION_SUCCESSFUL));
    assert!(!c.log.iter().any(|call| matches!(call, Call::Write(..))), "nothing is written: {:x?}", c.log);
    assert_eq!(c.register(WHvX64RegisterRip), CODE, "the fault is pending at the instruction");
    assert_eq!(c.run(), 0xF5, "page fault");
    assert_eq!(c.register(WHvX64RegisterCr2), DEVICE + 0x20_0000);
    let frame = c.register(WHvX64RegisterRsp);
    assert_eq!(u64::from_le_bytes(c.read(frame)), 2, "error code: a write, not present");
    assert_eq!(u64::from_le_bytes(c.read(frame + 8)), CODE);
    assert_eq!(c.enter().VpContext.Rip, FAULTED);
}

#[test]
fn instruction_bytes_that_the_exit_lacks_are_fetched() {
    for count in [0, 1, 3] {
        let mut c = client(&[0xC7, 0x47, 0x04, 0x78, 0x56, 0x34, 0x12]); // mov dword [rdi+4], 12345678h
        let mut exit = c.enter();
        // SAFETY: the view of this reason; the byte count is what the hypervisor may leave open.
        unsafe {
            exit.Anonymous.MemoryAccess.InstructionByteCount = count;
            exit.Anonymous.MemoryAccess.InstructionBytes[usize::from(count)..].fill(0xCC);
        }
        assert_eq!(c.emulate(&exit), (0, EMULATION_SUCCESSFUL));
        assert_eq!(c.dword(4), 0x1234_5678);
        let execute = WHvTranslateGvaFlagValidateExecute | WHvTranslateGvaFlagSetPageTableBits;
        assert_eq!(c.log[0], Call::Translate(CODE, execute));
        assert_eq!(c.log[1], Call::Read(CODE + u64::from(count), 8));
        assert_eq!(c.run(), 0xF4);
    }
}

#[test]
fn code_in_a_device_runs() {
    let mut c = client(&[0xFF, 0xD7]); // call rdi
    c.device[..7].copy_from_slice(&[0xB0, 0x42, 0x31, 0xDB, 0x90, 0xC3, 0xCC]); // mov al, 42h; xor ebx, ebx; nop; ret
    c.registers(&[(WHvX64RegisterRbx, 7)]);
    assert_eq!(c.run(), 0xF4);
    assert_eq!((c.register(WHvX64RegisterRax) & 0xFF, c.register(WHvX64RegisterRbx)), (0x42, 0));
    assert_eq!(c.register(WHvX64RegisterRsp), 0x8000);
}

#[test]
fn user_code_and_the_processors_own_accesses() {
    // CPL 3 with IOPL 0: IN asks the TSS's bitmap, a supervisor's page, by a string instruction (which is executed).
    let mut c = client(&[0x6C, 0x8A, 0x07]); // insb; mov al, [rdi]
    let tss = 0x9000u64;
    c.load(tss + 102, &104u16.to_le_bytes());
    c.load(tss + 104, &[0; 32]);
    c.registers(&[(WHvX64RegisterRdx, 0x60), (WHvX64RegisterRdi, DATA)]);
    let exit = c.enter();
    let mut exit = exit;
    let segment = |base, limit, selector, attributes| WHV_REGISTER_VALUE {
        Segment: WHV_X64_SEGMENT_REGISTER {
            Base: base,
            Limit: limit,
            Selector: selector,
            Anonymous: WHV_X64_SEGMENT_REGISTER_0 { Attributes: attributes },
        },
    };
    let names = [WHvX64RegisterTr, WHvX64RegisterCs, WHvX64RegisterSs];
    let values =
        [segment(tss, 0x80, 0x18, 0x8B), segment(0, u32::MAX, 0x23, 0xA0FB), segment(0, u32::MAX, 0x2B, 0xC0F3)];
    // SAFETY: variables of ours; both views of the union are integers.
    unsafe {
        assert_eq!(winhvplatform::WHvSetVirtualProcessorRegisters(c.p, 0, names.as_ptr(), 3, values.as_ptr()), 0);
        exit.VpContext.ExecutionState.AsUINT16 |= 3;
        exit.VpContext.Cs = values[1].Segment;
    }
    assert_eq!(c.emulate(&exit), (0, EMULATION_SUCCESSFUL));
    assert_eq!(c.read::<1>(DATA), [0x10]);
    let own =
        WHvTranslateGvaFlagValidateRead | WHvTranslateGvaFlagSetPageTableBits | WHvTranslateGvaFlagPrivilegeExempt;
    assert!(c.log.contains(&Call::Translate(tss, own)), "{:x?}", c.log);
    let users = WHvTranslateGvaFlagValidateWrite | WHvTranslateGvaFlagSetPageTableBits;
    assert!(c.log.contains(&Call::Translate(DATA, users)), "{:x?}", c.log);
    // A forbidden port is #GP.
    c.load(tss + 104 + 12, &[1]);
    c.registers(&[(WHvX64RegisterRip, CODE)]);
    assert_eq!(c.emulate(&exit), (0, EMULATION_SUCCESSFUL));
    assert_eq!(c.register(WHvRegisterPendingEvent) & 0xFF_FFFF, 13 << 16 | 0x101, "a pending #GP with an error code");
}

#[test]
fn each_callbacks_failure_has_its_bit() {
    let bits = [
        (Which::Memory, MEMORY_CALLBACK_FAILED),
        (Which::Get, GET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK_FAILED),
        (Which::Set, SET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK_FAILED),
        (Which::Translate, TRANSLATE_GVA_PAGE_CALLBACK_FAILED),
        (Which::Io, IO_PORT_CALLBACK_FAILED),
    ];
    for (which, bit) in bits {
        // MOVSB from memory to the device; for ports INSB.
        let mut c = client(if which == Which::Io { &[0x6C] } else { &[0xA4] });
        if which == Which::Io {
            c.registers(&[(WHvX64RegisterRdi, DATA)]);
        }
        let exit = c.enter();
        c.fails = Some(which);
        assert_eq!(c.emulate(&exit), (0, bit), "{which:?}");
        assert_eq!(c.register(WHvX64RegisterRip), CODE);
        c.fails = None;
        assert_eq!(c.run(), 0xF4, "{which:?}: nothing was changed");
    }
    let mut c = client(&[0xEC]);
    let exit = c.enter();
    for (which, bit) in
        [(Which::Io, IO_PORT_CALLBACK_FAILED), (Which::Set, SET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK_FAILED)]
    {
        c.fails = Some(which);
        assert_eq!(c.emulate(&exit), (0, bit), "{which:?}, IN");
    }
    let mut c = client(&[0xA4]);
    let exit = c.enter();
    c.skew = 8;
    assert_eq!(c.emulate(&exit), (0, TRANSLATE_GVA_PAGE_CALLBACK_GPA_IS_NOT_ALIGNED));
}

#[test]
fn a_guest_that_cannot_be_faulted() {
    let c = client(&[0xA4]); // movsb from an unmapped page
    c.registers(&[(WHvX64RegisterRsi, 0x5000_0000)]);
    let mut exit = c.enter(); // the fault itself: no exit but the handler's OUT
    assert_eq!(exit.VpContext.Rip, FAULTED);
    let mut c2 = client(&[0xA4]);
    exit = c2.enter();
    // As if it had exited for its store; the load faults, and something is pending.
    c2.registers(&[(WHvX64RegisterRsi, 0x5000_0000), (WHvRegisterPendingEvent, 5 << 1 | 1 | 0x30 << 8)]);
    assert_eq!(c2.emulate(&exit), (0, GUEST_CANNOT_BE_FAULTED));
    assert_eq!(c2.register(WHvX64RegisterRip), CODE);
    // SAFETY: both views of the union are 16 bits.
    unsafe { exit.VpContext.ExecutionState.AsUINT16 |= 1 << 6 };
    c2.log.clear();
    assert_eq!(c2.emulate(&exit), (0, INTERRUPT_CAUSED_INTERCEPT));
    assert_eq!(c2.log, []);
}

#[test]
fn the_end_of_the_instruction_counts() {
    let mut c = client(&[0x89, 0x07]);
    let mut exit = c.enter();
    c.registers(&[(WHvRegisterInterruptState, 1)]);
    // SAFETY: both views of the union are 16 bits.
    unsafe { exit.VpContext.ExecutionState.AsUINT16 |= 1 << 12 };
    assert_eq!(c.emulate(&exit), (0, EMULATION_SUCCESSFUL));
    assert_eq!(c.register(WHvRegisterInterruptState), 0, "the shadow of STI is over");
    assert_eq!(c.log.iter().filter(|call| matches!(call, Call::Get(_))).count(), 1);

    for code in [&[0x89, 0x07, 0x90][..], &[0xE6, 0x80, 0x90]] {
        let mut c = client(code);
        c.registers(&[(WHvX64RegisterRflags, 0x102)]);
        assert_eq!(c.run(), 0xF5, "the single-step trap comes");
        assert_eq!(u64::from_le_bytes(c.read(c.register(WHvX64RegisterRsp))), CODE + 2);
        assert_eq!(c.register(WHvX64RegisterDr6) >> 14 & 1, 1);
    }
}

#[test]
fn what_only_the_xsave_area_has_is_a_failure() {
    let mut c = client(&[0xC5, 0xFE, 0x7F, 0x17]); // vmovdqu [rdi], ymm2
    let exit = c.enter();
    assert_eq!(c.emulate(&exit), (0, INTERNAL_EMULATION_FAILURE));
    assert_eq!(c.log, []);
    let mut c = client(&[0x0F, 0x38, 0xC8]); // not whole, and then UD2's bytes
    c.load(CODE, &[0x0F, 0x0B]);
    let mut exit = client(&[0x88, 0x07]).enter();
    // SAFETY: the view of this reason.
    unsafe { exit.Anonymous.MemoryAccess.InstructionBytes[..2].copy_from_slice(&[0x0F, 0x0B]) };
    assert_eq!(c.emulate(&exit), (0, EMULATION_SUCCESSFUL), "UD2 is the guest's fault");
    assert_eq!(c.run(), 0xF5);
}

#[test]
fn wrong_arguments_are_errors() {
    let mut emulator = null_mut();
    let c = client(&[0x88, 0x07]);
    let exit = c.enter();
    // SAFETY: what is not null is a variable of ours.
    unsafe {
        let memory = exit.Anonymous.MemoryAccess;
        let io = WHV_X64_IO_PORT_ACCESS_CONTEXT::default();
        let mut status = WHV_EMULATOR_STATUS::default();
        assert_eq!(failure(WHvEmulatorCreateEmulator(null(), &mut emulator)), HResult::E_POINTER);
        assert_eq!(failure(WHvEmulatorCreateEmulator(&callbacks(), null_mut())), HResult::E_POINTER);
        let short = WHV_EMULATOR_CALLBACKS { Size: 40, ..callbacks() };
        assert_eq!(failure(WHvEmulatorCreateEmulator(&short, &mut emulator)), HResult::E_INVALIDARG);
        let none = WHV_EMULATOR_CALLBACKS { WHvEmulatorTranslateGvaPage: None, ..callbacks() };
        assert_eq!(failure(WHvEmulatorCreateEmulator(&none, &mut emulator)), HResult::E_INVALIDARG);
        for bad in [null_mut(), 0x1234usize as WHV_EMULATOR_HANDLE, c.p.cast()] {
            assert_eq!(failure(WHvEmulatorDestroyEmulator(bad)), HResult::E_INVALIDARG);
            let vp = &exit.VpContext;
            let code = WHvEmulatorTryMmioEmulation(bad, null_mut(), vp, &memory, &mut status);
            assert_eq!(failure(code), HResult::E_INVALIDARG);
            assert_eq!(
                failure(WHvEmulatorTryIoEmulation(bad, null_mut(), vp, &io, &mut status)),
                HResult::E_INVALIDARG
            );
        }
        let vp = &exit.VpContext;
        let try_memory =
            |vp, memory, status| failure(WHvEmulatorTryMmioEmulation(c.emulator, null_mut(), vp, memory, status));
        assert_eq!(try_memory(null(), &memory, &mut status), HResult::E_POINTER);
        assert_eq!(try_memory(vp, null(), &mut status), HResult::E_POINTER);
        assert_eq!(try_memory(vp, &memory, null_mut()), HResult::E_POINTER);
        let mut wrong = memory;
        wrong.InstructionByteCount = 17;
        assert_eq!(try_memory(vp, &wrong, &mut status), HResult::E_INVALIDARG);
        let mut wrong = memory;
        wrong.AccessInfo.AsUINT32 |= 3;
        assert_eq!(try_memory(vp, &wrong, &mut status), HResult::E_INVALIDARG);
        for size in [0, 3, 5, 7] {
            let mut wrong = io;
            wrong.AccessInfo.AsUINT32 = size << 1;
            let code = WHvEmulatorTryIoEmulation(c.emulator, null_mut(), vp, &wrong, &mut status);
            assert_eq!(failure(code), HResult::E_INVALIDARG, "size {size}");
        }
        assert_eq!(WHvEmulatorCreateEmulator(&callbacks(), &mut emulator), 0);
        assert_eq!(WHvEmulatorDestroyEmulator(emulator), 0);
        assert_eq!(failure(WHvEmulatorDestroyEmulator(emulator)), HResult::E_INVALIDARG, "twice");
    }
}

#[test]
fn a_callback_must_not_call_its_own_emulator() {
    let mut c = client(&[0x88, 0x07]);
    let exit = c.enter();
    c.again = Some(0);
    assert_eq!(c.emulate(&exit), (0, EMULATION_SUCCESSFUL));
    assert_eq!(c.again.map(failure), Some(HResult::E_UNEXPECTED));
    c.again = None;
    assert_eq!(c.run(), 0xF4);
}

#[test]
fn every_function_of_the_dll_is_here_and_documented() {
    let names: Vec<_> = functions().iter().map(|f| f.name).collect();
    assert_eq!(names, whp_abi::emulation::FUNCTIONS);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/whp-api.md");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    assert!(text.contains(&functions_as_markdown()), "docs/whp-api.md is old: run `cargo xtask docs`");
}
