//! Interrupts from outside, doorbells, notification ports.

use std::sync::Arc;

use whp::HResult;
use whp_abi::convert;
use whp_abi::x64::{
    HANDLE, WHV_DOORBELL_MATCH_DATA, WHV_INTERRUPT_CONTROL, WHV_INTERRUPT_DESTINATION_MODE,
    WHV_NOTIFICATION_PORT_HANDLE, WHV_NOTIFICATION_PORT_PARAMETERS, WHV_PARTITION_HANDLE,
    WHvNotificationPortTypeDoorbell, WHvNotificationPortTypeEvent,
};
use whp_soft::DoorbellMatch;

use crate::export::{Outcome, code, exports};
use crate::handle::{self, Entry};
use crate::os::Event;
use crate::pointer::{get, put};

const MATCH_ON_VALUE: u32 = 1;
const MATCH_ON_LENGTH: u32 = 2;

fn doorbell(d: &WHV_DOORBELL_MATCH_DATA) -> Result<DoorbellMatch, HResult> {
    let length = (d._bitfield & MATCH_ON_LENGTH != 0).then_some(d.Length);
    if d._bitfield & !(MATCH_ON_VALUE | MATCH_ON_LENGTH) != 0 || length.is_some_and(|l| !matches!(l, 1 | 2 | 4 | 8)) {
        return Err(HResult::E_INVALIDARG);
    }
    Ok(DoorbellMatch { gpa: d.GuestAddress, value: (d._bitfield & MATCH_ON_VALUE != 0).then_some(d.Value), length })
}

fn register(entry: &Entry, which: DoorbellMatch, event: HANDLE) -> Outcome {
    let event = Event::new(event)?;
    entry.partition.register_doorbell(which, Arc::new(move || event.signal())).map_err(code)
}

exports! {
    Done "Needs the local APIC in the platform."
    fn WHvRequestInterrupt(partition: WHV_PARTITION_HANDLE, interrupt: *const WHV_INTERRUPT_CONTROL, size: u32) {
        let entry = handle::find(partition)?;
        if (size as usize) < size_of::<WHV_INTERRUPT_CONTROL>() {
            return Err(HResult::E_INVALIDARG);
        }
        // SAFETY: the caller's structure.
        let control = convert::interrupt_from_abi(&unsafe { get(interrupt)? }).ok_or(HResult::E_INVALIDARG)?;
        entry.api.request_interrupt(&control).map_err(code)
    }

    Done "Needs the local APIC in the platform."
    fn WHvGetInterruptTargetVpSet(
        partition: WHV_PARTITION_HANDLE,
        destination: u64,
        mode: WHV_INTERRUPT_DESTINATION_MODE,
        targets: *mut u32,
        count: u32,
        target_count: *mut u32,
    ) {
        let entry = handle::find(partition)?;
        let destination = u32::try_from(destination).map_err(|_| HResult::E_INVALIDARG)?;
        let logical = match mode {
            0 => false,
            1 => true,
            _ => return Err(HResult::E_INVALIDARG),
        };
        let list = entry.partition.interrupt_targets(destination, logical).map_err(code)?;
        // SAFETY: the caller's variable.
        unsafe { put(target_count, list.len() as u32)? };
        if (count as usize) < list.len() {
            return Err(HResult::WHV_E_INSUFFICIENT_BUFFER);
        }
        if targets.is_null() && !list.is_empty() {
            return Err(HResult::E_POINTER);
        }
        for (i, vp) in list.into_iter().enumerate() {
            // SAFETY: inside the caller's array of `count`.
            unsafe { targets.add(i).write_unaligned(vp) };
        }
        Ok(())
    }

    Done "On Linux the handle is a file descriptor (eventfd)."
    fn WHvRegisterPartitionDoorbellEvent(
        partition: WHV_PARTITION_HANDLE,
        match_data: *const WHV_DOORBELL_MATCH_DATA,
        event: HANDLE,
    ) {
        let entry = handle::find(partition)?;
        // SAFETY: the caller's structure.
        let which = doorbell(&unsafe { get(match_data)? })?;
        register(&entry, which, event)
    }

    Done ""
    fn WHvUnregisterPartitionDoorbellEvent(
        partition: WHV_PARTITION_HANDLE,
        match_data: *const WHV_DOORBELL_MATCH_DATA,
    ) {
        let entry = handle::find(partition)?;
        // SAFETY: the caller's structure.
        entry.partition.unregister_doorbell(doorbell(&unsafe { get(match_data)? })?).map_err(code)
    }

    Partly "Doorbells; ports for SynIC events are E_NOTIMPL."
    fn WHvCreateNotificationPort(
        partition: WHV_PARTITION_HANDLE,
        parameters: *const WHV_NOTIFICATION_PORT_PARAMETERS,
        event: HANDLE,
        port: *mut WHV_NOTIFICATION_PORT_HANDLE,
    ) {
        let entry = handle::find(partition)?;
        if port.is_null() {
            return Err(HResult::E_POINTER);
        }
        // SAFETY: the caller's structure.
        let parameters = unsafe { get(parameters)? };
        match parameters.NotificationPortType {
            WHvNotificationPortTypeDoorbell => {}
            WHvNotificationPortTypeEvent => return Err(HResult::E_NOTIMPL),
            _ => return Err(HResult::E_INVALIDARG),
        }
        // SAFETY: the union is plain integers; the type says which.
        let which = doorbell(unsafe { &parameters.Anonymous.Doorbell })?;
        register(&entry, which, event)?;
        let handle = handle::number();
        entry.ports.lock().unwrap_or_else(|e| e.into_inner()).insert(handle, which);
        // SAFETY: the caller's variable.
        unsafe { put(port, handle as WHV_NOTIFICATION_PORT_HANDLE) }
    }

    Done ""
    fn WHvDeleteNotificationPort(partition: WHV_PARTITION_HANDLE, port: WHV_NOTIFICATION_PORT_HANDLE) {
        let entry = handle::find(partition)?;
        let which = entry.ports.lock().unwrap_or_else(|e| e.into_inner()).remove(&(port as usize));
        entry.partition.unregister_doorbell(which.ok_or(HResult::E_HANDLE)?).map_err(code)
    }
}
