//! Whole states of a processor: local APIC, XSAVE area, by function or by type.

use std::ffi::c_void;

use whp::{HResult, INTERRUPT_CONTROLLER_STATE_SIZE};
use whp_abi::x64::{
    WHV_PARTITION_HANDLE, WHV_VIRTUAL_PROCESSOR_STATE_TYPE, WHvVirtualProcessorStateTypeInterruptControllerState2,
    WHvVirtualProcessorStateTypeSynicEventFlagPage, WHvVirtualProcessorStateTypeSynicMessagePage,
    WHvVirtualProcessorStateTypeSynicTimerState, WHvVirtualProcessorStateTypeXsaveState,
};

use whp_soft::SynicState;

use crate::export::{Outcome, code, exports};
use crate::handle;
use crate::pointer::{bytes, output};

/// # Safety
/// As `output`.
unsafe fn get_apic(h: WHV_PARTITION_HANDLE, vp: u32, state: *mut c_void, size: u32, written: *mut u32) -> Outcome {
    let page = handle::find(h)?.vp(vp)?.interrupt_controller_state().map_err(code)?;
    // SAFETY: the caller's buffer.
    unsafe { output(state, size, written, &page[..]) }
}

/// # Safety
/// As `bytes`.
unsafe fn set_apic(h: WHV_PARTITION_HANDLE, vp: u32, state: *const c_void, size: u32) -> Outcome {
    let vp = handle::find(h)?.vp(vp)?;
    // SAFETY: the caller's buffer.
    let value = unsafe { bytes(state, size)? };
    let page = value.first_chunk::<INTERRUPT_CONTROLLER_STATE_SIZE>().ok_or(HResult::E_INVALIDARG)?;
    vp.set_interrupt_controller_state(page).map_err(code)
}

/// # Safety
/// As `output`.
unsafe fn get_xsave(h: WHV_PARTITION_HANDLE, vp: u32, area: *mut c_void, size: u32, written: *mut u32) -> Outcome {
    let value = handle::find(h)?.vp(vp)?.xsave_state().map_err(code)?;
    // SAFETY: the caller's buffer.
    unsafe { output(area, size, written, &value) }
}

/// # Safety
/// As `bytes`.
unsafe fn set_xsave(h: WHV_PARTITION_HANDLE, vp: u32, area: *const c_void, size: u32) -> Outcome {
    let vp = handle::find(h)?.vp(vp)?;
    // SAFETY: the caller's buffer.
    vp.set_xsave_state(&unsafe { bytes(area, size)? }).map_err(code)
}

/// The SynIC's states.
fn synic(kind: WHV_VIRTUAL_PROCESSOR_STATE_TYPE) -> Result<SynicState, HResult> {
    Ok(match kind {
        WHvVirtualProcessorStateTypeSynicMessagePage => SynicState::MessagePage,
        WHvVirtualProcessorStateTypeSynicEventFlagPage => SynicState::EventFlagPage,
        WHvVirtualProcessorStateTypeSynicTimerState => SynicState::Timers,
        _ => return Err(HResult::E_INVALIDARG),
    })
}

exports! {
    Done "The xAPIC register page, 4096 bytes, as the newer function."
    fn WHvGetVirtualProcessorInterruptControllerState(
        partition: WHV_PARTITION_HANDLE,
        vp: u32,
        state: *mut c_void,
        size: u32,
        written: *mut u32,
    ) {
        // SAFETY: the caller's buffer.
        unsafe { get_apic(partition, vp, state, size, written) }
    }

    Done "As the newer function."
    fn WHvSetVirtualProcessorInterruptControllerState(
        partition: WHV_PARTITION_HANDLE,
        vp: u32,
        state: *const c_void,
        size: u32,
    ) {
        // SAFETY: the caller's buffer.
        unsafe { set_apic(partition, vp, state, size) }
    }

    Done "The xAPIC register page, 4096 bytes."
    fn WHvGetVirtualProcessorInterruptControllerState2(
        partition: WHV_PARTITION_HANDLE,
        vp: u32,
        state: *mut c_void,
        size: u32,
        written: *mut u32,
    ) {
        // SAFETY: the caller's buffer.
        unsafe { get_apic(partition, vp, state, size, written) }
    }

    Done ""
    fn WHvSetVirtualProcessorInterruptControllerState2(
        partition: WHV_PARTITION_HANDLE,
        vp: u32,
        state: *const c_void,
        size: u32,
    ) {
        // SAFETY: the caller's buffer.
        unsafe { set_apic(partition, vp, state, size) }
    }

    Done "Compacted format. A buffer of size 0 asks for the size."
    fn WHvGetVirtualProcessorXsaveState(
        partition: WHV_PARTITION_HANDLE,
        vp: u32,
        area: *mut c_void,
        size: u32,
        written: *mut u32,
    ) {
        // SAFETY: the caller's buffer.
        unsafe { get_xsave(partition, vp, area, size, written) }
    }

    Done "Standard or compacted format."
    fn WHvSetVirtualProcessorXsaveState(partition: WHV_PARTITION_HANDLE, vp: u32, area: *const c_void, size: u32) {
        // SAFETY: the caller's buffer.
        unsafe { set_xsave(partition, vp, area, size) }
    }

    Done "Local APIC, XSAVE and SynIC states; E_NOTIMPL for those of the SynIC in a partition without."
    fn WHvGetVirtualProcessorState(
        partition: WHV_PARTITION_HANDLE,
        vp: u32,
        kind: WHV_VIRTUAL_PROCESSOR_STATE_TYPE,
        buffer: *mut c_void,
        size: u32,
        written: *mut u32,
    ) {
        handle::since_build_20348()?;
        // SAFETY: the caller's buffer.
        unsafe {
            match kind {
                WHvVirtualProcessorStateTypeInterruptControllerState2 => get_apic(partition, vp, buffer, size, written),
                WHvVirtualProcessorStateTypeXsaveState => get_xsave(partition, vp, buffer, size, written),
                kind => {
                    let entry = handle::find(partition)?;
                    let value = entry.partition.synic_state(vp, synic(kind)?).map_err(code)?;
                    output(buffer, size, written, &value)
                }
            }
        }
    }

    Done "Local APIC, XSAVE and SynIC states; the SynIC's pages after SIMP and SIEFP, which clear them."
    fn WHvSetVirtualProcessorState(
        partition: WHV_PARTITION_HANDLE,
        vp: u32,
        kind: WHV_VIRTUAL_PROCESSOR_STATE_TYPE,
        buffer: *const c_void,
        size: u32,
    ) {
        handle::since_build_20348()?;
        // SAFETY: the caller's buffer.
        unsafe {
            match kind {
                WHvVirtualProcessorStateTypeInterruptControllerState2 => set_apic(partition, vp, buffer, size),
                WHvVirtualProcessorStateTypeXsaveState => set_xsave(partition, vp, buffer, size),
                kind => {
                    let entry = handle::find(partition)?;
                    entry.partition.set_synic_state(vp, synic(kind)?, &bytes(buffer, size)?).map_err(code)
                }
            }
        }
    }
}
