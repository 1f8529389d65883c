//! Guest-physical memory: ranges, dirty pages, reads and writes, advice.

use std::ffi::c_void;
use std::ptr::NonNull;

use guest_memory::{PAGE_SIZE, RamBlock};
use whp::{HResult, MapGpaRangeFlags};
use whp_abi::x64::{
    HANDLE, WHV_ACCESS_GPA_CONTROLS, WHV_ADVISE_GPA_RANGE_CODE, WHV_GUEST_PHYSICAL_ADDRESS, WHV_MAP_GPA_RANGE_FLAGS,
    WHV_MEMORY_RANGE_ENTRY, WHV_PARTITION_HANDLE, WHV_READ_WRITE_GPA_RANGE_MAX_SIZE,
};

use crate::export::{Outcome, code, exports};
use crate::handle;
use crate::os::is_this_process;
use crate::pointer::{array, bytes};

/// The most that can be mapped at once: page tables of our own go with it.
const MOST: u64 = 1 << 40;

/// # Safety
/// `source` is null or `size` bytes of memory that stay allocated while they are mapped.
unsafe fn map(handle: WHV_PARTITION_HANDLE, source: *const c_void, gpa: u64, size: u64, flags: u32) -> Outcome {
    let entry = handle::find(handle)?;
    let base = NonNull::new(source.cast_mut().cast::<u8>()).ok_or(HResult::E_POINTER)?;
    let aligned = (base.as_ptr() as u64 | gpa | size).is_multiple_of(PAGE_SIZE);
    let fits =
        (base.as_ptr() as u64).checked_add(size).is_some() && gpa.checked_add(size).is_some_and(|e| e <= 1 << 52);
    if !aligned || size == 0 || !fits {
        return Err(HResult::E_INVALIDARG);
    }
    if size > MOST {
        return Err(HResult::E_OUTOFMEMORY);
    }
    // SAFETY: aligned, and allocated until it is unmapped by the caller's promise; afterwards nothing touches it.
    let block = unsafe { RamBlock::foreign("client", base, size) };
    entry.api.map_gpa_range(&block, 0, size, gpa, MapGpaRangeFlags::from_bits_retain(flags)).map_err(code)
}

exports! {
    Done "A host page may appear at several guest-physical addresses; dirty pages are known by guest address."
    fn WHvMapGpaRange(
        partition: WHV_PARTITION_HANDLE,
        source: *const c_void,
        gpa: WHV_GUEST_PHYSICAL_ADDRESS,
        size: u64,
        flags: WHV_MAP_GPA_RANGE_FLAGS,
    ) {
        // SAFETY: the caller's memory.
        unsafe { map(partition, source, gpa, size, flags) }
    }

    Partly "The process must be the calling one, else E_NOTIMPL."
    fn WHvMapGpaRange2(
        partition: WHV_PARTITION_HANDLE,
        process: HANDLE,
        source: *const c_void,
        gpa: WHV_GUEST_PHYSICAL_ADDRESS,
        size: u64,
        flags: WHV_MAP_GPA_RANGE_FLAGS,
    ) {
        if !is_this_process(process) {
            return Err(HResult::E_NOTIMPL);
        }
        // SAFETY: the caller's memory.
        unsafe { map(partition, source, gpa, size, flags) }
    }

    Done "Pages of the range that are not mapped are no error. When it returns, the memory is not touched any more."
    fn WHvUnmapGpaRange(partition: WHV_PARTITION_HANDLE, gpa: WHV_GUEST_PHYSICAL_ADDRESS, size: u64) {
        handle::find(partition)?.unmap(gpa, size).map_err(code)
    }

    Done "The bitmap may be null: pages only become clean. A client's own writes are not seen."
    fn WHvQueryGpaRangeDirtyBitmap(
        partition: WHV_PARTITION_HANDLE,
        gpa: WHV_GUEST_PHYSICAL_ADDRESS,
        size: u64,
        bitmap: *mut u64,
        bitmap_size: u32,
    ) {
        let entry = handle::find(partition)?;
        let need = (size / PAGE_SIZE).div_ceil(64).saturating_mul(8);
        if !bitmap.is_null() && u64::from(bitmap_size) < need {
            return Err(HResult::WHV_E_INSUFFICIENT_BUFFER);
        }
        if size > MOST {
            return Err(HResult::E_INVALIDARG);
        }
        let words = entry.api.query_dirty_bitmap(gpa, size).map_err(code)?;
        if !bitmap.is_null() {
            for (i, word) in words.iter().enumerate() {
                // SAFETY: the caller's bitmap has `need` bytes, which is all the words.
                unsafe { bitmap.add(i).write_unaligned(*word) };
            }
        }
        Ok(())
    }

    Done "At most 16 bytes. Cache type and processor make no difference."
    fn WHvReadGpaRange(
        partition: WHV_PARTITION_HANDLE,
        vp: u32,
        gpa: WHV_GUEST_PHYSICAL_ADDRESS,
        controls: WHV_ACCESS_GPA_CONTROLS,
        data: *mut c_void,
        size: u32,
    ) {
        let _any_cache_type = controls;
        let entry = handle::find(partition)?;
        entry.vp(vp)?;
        if size == 0 || size > WHV_READ_WRITE_GPA_RANGE_MAX_SIZE as u32 {
            return Err(HResult::E_INVALIDARG);
        }
        let mut value = [0; WHV_READ_WRITE_GPA_RANGE_MAX_SIZE as usize];
        let value = &mut value[..size as usize];
        entry.partition.read_gpa(gpa, value).map_err(code)?;
        // SAFETY: the caller's buffer.
        unsafe { crate::pointer::output(data, size, std::ptr::null_mut(), value) }
    }

    Done "At most 16 bytes. Cache type and processor make no difference."
    fn WHvWriteGpaRange(
        partition: WHV_PARTITION_HANDLE,
        vp: u32,
        gpa: WHV_GUEST_PHYSICAL_ADDRESS,
        controls: WHV_ACCESS_GPA_CONTROLS,
        data: *const c_void,
        size: u32,
    ) {
        let _any_cache_type = controls;
        let entry = handle::find(partition)?;
        entry.vp(vp)?;
        if size == 0 || size > WHV_READ_WRITE_GPA_RANGE_MAX_SIZE as u32 {
            return Err(HResult::E_INVALIDARG);
        }
        // SAFETY: the caller's buffer.
        let value = unsafe { bytes(data, size)? };
        entry.partition.write_gpa(gpa, &value).map_err(code)
    }

    Partly "Populate reads every page once. Pinning is E_NOTIMPL."
    fn WHvAdviseGpaRange(
        partition: WHV_PARTITION_HANDLE,
        ranges: *const WHV_MEMORY_RANGE_ENTRY,
        count: u32,
        advice: WHV_ADVISE_GPA_RANGE_CODE,
        buffer: *const c_void,
        buffer_size: u32,
    ) {
        let entry = handle::find(partition)?;
        match advice {
            whp_abi::x64::WHvAdviseGpaRangeCodePopulate => {}
            whp_abi::x64::WHvAdviseGpaRangeCodePin | whp_abi::x64::WHvAdviseGpaRangeCodeUnpin => {
                return Err(HResult::E_NOTIMPL);
            }
            _ => return Err(HResult::E_INVALIDARG),
        }
        if buffer.is_null() || (buffer_size as usize) < size_of::<whp_abi::x64::WHV_ADVISE_GPA_RANGE_POPULATE>() {
            return Err(HResult::E_INVALIDARG);
        }
        // SAFETY: the caller's array.
        let ranges = unsafe { array(ranges, count)? };
        ranges.iter().try_for_each(|r| entry.partition.populate(r.GuestAddress, r.SizeInBytes).map_err(code))
    }
}
