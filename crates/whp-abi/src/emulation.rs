//! `winhvemulation.h`: the instruction emulator's types (`WHvEmulator*`), x64 only, which Microsoft's metadata lacks.
#![allow(missing_docs, non_camel_case_types, non_snake_case)] // Microsoft's names are the documentation

use core::ffi::c_void;

use crate::x64::{
    HRESULT, WHV_GUEST_PHYSICAL_ADDRESS, WHV_GUEST_VIRTUAL_ADDRESS, WHV_MEMORY_ACCESS_CONTEXT, WHV_REGISTER_NAME,
    WHV_REGISTER_VALUE, WHV_TRANSLATE_GVA_FLAGS, WHV_TRANSLATE_GVA_RESULT_CODE, WHV_VP_EXIT_CONTEXT,
    WHV_X64_IO_PORT_ACCESS_CONTEXT,
};

/// What came of an emulation; bits in `status`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WHV_EMULATOR_STATUS {
    pub AsUINT32: u32,
}

/// Bits of [`WHV_EMULATOR_STATUS`].
pub mod status {
    pub const EMULATION_SUCCESSFUL: u32 = 1 << 0;
    pub const INTERNAL_EMULATION_FAILURE: u32 = 1 << 1;
    pub const IO_PORT_CALLBACK_FAILED: u32 = 1 << 2;
    pub const MEMORY_CALLBACK_FAILED: u32 = 1 << 3;
    pub const TRANSLATE_GVA_PAGE_CALLBACK_FAILED: u32 = 1 << 4;
    pub const TRANSLATE_GVA_PAGE_CALLBACK_GPA_IS_NOT_ALIGNED: u32 = 1 << 5;
    pub const GET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK_FAILED: u32 = 1 << 6;
    pub const SET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK_FAILED: u32 = 1 << 7;
    pub const INTERRUPT_CAUSED_INTERCEPT: u32 = 1 << 8;
    pub const GUEST_CANNOT_BE_FAULTED: u32 = 1 << 9;
}

/// `Direction` 0 is a read, 1 a write.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WHV_EMULATOR_MEMORY_ACCESS_INFO {
    pub GpaAddress: WHV_GUEST_PHYSICAL_ADDRESS,
    pub Direction: u8,
    pub AccessSize: u8,
    pub Data: [u8; 8],
}

/// `Direction` 0 is IN, 1 is OUT.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WHV_EMULATOR_IO_ACCESS_INFO {
    pub Direction: u8,
    pub Port: u16,
    pub AccessSize: u16,
    pub Data: u32,
}

pub type WHV_EMULATOR_IO_PORT_CALLBACK =
    unsafe extern "system" fn(context: *mut c_void, ioaccess: *mut WHV_EMULATOR_IO_ACCESS_INFO) -> HRESULT;
pub type WHV_EMULATOR_MEMORY_CALLBACK =
    unsafe extern "system" fn(context: *mut c_void, memoryaccess: *mut WHV_EMULATOR_MEMORY_ACCESS_INFO) -> HRESULT;
pub type WHV_EMULATOR_GET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK = unsafe extern "system" fn(
    context: *mut c_void,
    registernames: *const WHV_REGISTER_NAME,
    registercount: u32,
    registervalues: *mut WHV_REGISTER_VALUE,
) -> HRESULT;
pub type WHV_EMULATOR_SET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK = unsafe extern "system" fn(
    context: *mut c_void,
    registernames: *const WHV_REGISTER_NAME,
    registercount: u32,
    registervalues: *const WHV_REGISTER_VALUE,
) -> HRESULT;
pub type WHV_EMULATOR_TRANSLATE_GVA_PAGE_CALLBACK = unsafe extern "system" fn(
    context: *mut c_void,
    gva: WHV_GUEST_VIRTUAL_ADDRESS,
    translateflags: WHV_TRANSLATE_GVA_FLAGS,
    translationresult: *mut WHV_TRANSLATE_GVA_RESULT_CODE,
    gpa: *mut WHV_GUEST_PHYSICAL_ADDRESS,
) -> HRESULT;

/// `None` is a null pointer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct WHV_EMULATOR_CALLBACKS {
    pub Size: u32,
    pub Reserved: u32,
    pub WHvEmulatorIoPortCallback: Option<WHV_EMULATOR_IO_PORT_CALLBACK>,
    pub WHvEmulatorMemoryCallback: Option<WHV_EMULATOR_MEMORY_CALLBACK>,
    pub WHvEmulatorGetVirtualProcessorRegisters: Option<WHV_EMULATOR_GET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK>,
    pub WHvEmulatorSetVirtualProcessorRegisters: Option<WHV_EMULATOR_SET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK>,
    pub WHvEmulatorTranslateGvaPage: Option<WHV_EMULATOR_TRANSLATE_GVA_PAGE_CALLBACK>,
}

pub type WHV_EMULATOR_HANDLE = *mut c_void;

/// The type of each function of WinHvEmulation.dll, under the function's name.
pub mod functions {
    use super::*;
    pub type WHvEmulatorCreateEmulator = unsafe extern "system" fn(
        callbacks: *const WHV_EMULATOR_CALLBACKS,
        emulator: *mut WHV_EMULATOR_HANDLE,
    ) -> HRESULT;
    pub type WHvEmulatorDestroyEmulator = unsafe extern "system" fn(emulator: WHV_EMULATOR_HANDLE) -> HRESULT;
    pub type WHvEmulatorTryIoEmulation = unsafe extern "system" fn(
        emulator: WHV_EMULATOR_HANDLE,
        context: *mut c_void,
        vpcontext: *const WHV_VP_EXIT_CONTEXT,
        ioinstructioncontext: *const WHV_X64_IO_PORT_ACCESS_CONTEXT,
        emulatorreturnstatus: *mut WHV_EMULATOR_STATUS,
    ) -> HRESULT;
    pub type WHvEmulatorTryMmioEmulation = unsafe extern "system" fn(
        emulator: WHV_EMULATOR_HANDLE,
        context: *mut c_void,
        vpcontext: *const WHV_VP_EXIT_CONTEXT,
        mmioinstructioncontext: *const WHV_MEMORY_ACCESS_CONTEXT,
        emulatorreturnstatus: *mut WHV_EMULATOR_STATUS,
    ) -> HRESULT;
}

/// The functions of WinHvEmulation.dll.
pub const FUNCTIONS: [&str; 4] = [
    "WHvEmulatorCreateEmulator",
    "WHvEmulatorDestroyEmulator",
    "WHvEmulatorTryIoEmulation",
    "WHvEmulatorTryMmioEmulation",
];
