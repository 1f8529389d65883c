//! Capabilities, partitions, properties, partition time.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use whp::{CapabilityCode, HResult, Property, PropertyCode};
use whp_abi::convert;
use whp_abi::x64::{WHV_CAPABILITY_CODE, WHV_PARTITION_COUNTER_SET, WHV_PARTITION_HANDLE, WHV_PARTITION_PROPERTY_CODE};

use crate::export::{code, exports};
use crate::handle;
use crate::pointer::{bytes, output, put};

/// The end of the guest-physical address space.
const ALL: u64 = 1 << 52;

/// A capability's bytes: the platform's, and those that are the C API's own.
fn capability(which: WHV_CAPABILITY_CODE) -> Result<Vec<u8>, HResult> {
    let which = CapabilityCode(which as u32);
    match which {
        // Populating is possible; its options (prefetch, no hard faults) mean nothing here.
        CapabilityCode::GPA_RANGE_POPULATE_FLAGS => Ok(vec![0; 4]),
        CapabilityCode::SCHEDULER_FEATURES => Ok(vec![0; 8]),
        _ => handle::platform()?.capability(which).map(|c| convert::capability_bytes(&c)).map_err(code),
    }
}

exports! {
    Done "Code 0, hypervisor present, is always TRUE. Nested virtualisation's codes are unknown."
    fn WHvGetCapability(
        capability_code: WHV_CAPABILITY_CODE,
        buffer: *mut c_void,
        size: u32,
        written: *mut u32,
    ) {
        let value = capability(capability_code)?;
        // SAFETY: the caller's buffer.
        unsafe { output(buffer, size, written, &value) }
    }

    Done "The processor model is `max`, or that of WHPX_DLL_CPU."
    fn WHvCreatePartition(partition: *mut WHV_PARTITION_HANDLE) {
        if partition.is_null() {
            return Err(HResult::E_POINTER);
        }
        let handle = handle::create()?;
        // SAFETY: the caller's variable.
        unsafe { put(partition, handle) }
    }

    Done ""
    fn WHvSetupPartition(partition: WHV_PARTITION_HANDLE) {
        handle::find(partition)?.api.setup().map_err(code)
    }

    Done "All processors to their reset state, partition time to 0; memory stays."
    fn WHvResetPartition(partition: WHV_PARTITION_HANDLE) {
        handle::find(partition)?.api.reset().map_err(code)
    }

    Done "Processors that run are cancelled; no memory of the caller's is touched after it returns."
    fn WHvDeletePartition(partition: WHV_PARTITION_HANDLE) {
        let entry = handle::remove(partition)?;
        entry.cancel_all();
        entry.unmap(0, ALL).map_err(code)
    }

    Done ""
    fn WHvGetPartitionProperty(
        partition: WHV_PARTITION_HANDLE,
        property_code: WHV_PARTITION_PROPERTY_CODE,
        buffer: *mut c_void,
        size: u32,
        written: *mut u32,
    ) {
        let entry = handle::find(partition)?;
        let property = entry.api.property(PropertyCode(property_code as u32)).map_err(code)?;
        // SAFETY: the caller's buffer.
        unsafe { output(buffer, size, written, &convert::property_bytes(&property)) }
    }

    Done "Exit lists and bitmaps also after WHvSetupPartition. Scheduling properties (CpuCap ...) are unknown."
    fn WHvSetPartitionProperty(
        partition: WHV_PARTITION_HANDLE,
        property_code: WHV_PARTITION_PROPERTY_CODE,
        buffer: *const c_void,
        size: u32,
    ) {
        let entry = handle::find(partition)?;
        // SAFETY: the caller's buffer.
        let value = unsafe { bytes(buffer, size)? };
        let property = convert::property_from_bytes(PropertyCode(property_code as u32), &value);
        let property = property.map_err(|_| HResult::E_INVALIDARG)?;
        let count = if let Property::ProcessorCount(n) = property { Some(n) } else { None };
        entry.api.set_property(property).map_err(code)?;
        if let Some(n) = count {
            entry.processor_count.store(n, Ordering::Relaxed);
        }
        Ok(())
    }

    Done ""
    fn WHvSuspendPartitionTime(partition: WHV_PARTITION_HANDLE) {
        handle::find(partition)?.api.suspend_time().map_err(code)
    }

    Done "Running a processor does it too."
    fn WHvResumePartitionTime(partition: WHV_PARTITION_HANDLE) {
        handle::find(partition)?.api.resume_time().map_err(code)
    }

    Done "Everything counts as 4 KiB pages."
    fn WHvGetPartitionCounters(
        partition: WHV_PARTITION_HANDLE,
        counter_set: WHV_PARTITION_COUNTER_SET,
        buffer: *mut c_void,
        size: u32,
        written: *mut u32,
    ) {
        let entry = handle::find(partition)?;
        if counter_set != whp_abi::x64::WHvPartitionCounterSetMemory {
            return Err(HResult::E_INVALIDARG);
        }
        let value = convert::partition_memory_counters_bytes(entry.partition.mapped_bytes() / 4096);
        // SAFETY: the caller's buffer.
        unsafe { output(buffer, size, written, &value) }
    }
}
