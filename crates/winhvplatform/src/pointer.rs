//! The caller's pointers: null is an error, alignment is not required (mingw's headers lack Microsoft's 16 bytes for
//! `WHV_REGISTER_VALUE`).

use std::ffi::c_void;

use whp::HResult;

use crate::export::Outcome;

/// The most entries of an array that is plausible.
const MOST: u32 = 1 << 16;

/// Reads a value.
///
/// # Safety
/// `from` is null or readable.
pub(crate) unsafe fn get<T: Copy>(from: *const T) -> Result<T, HResult> {
    if from.is_null() {
        return Err(HResult::E_POINTER);
    }
    // SAFETY: not null, hence readable by the caller's promise; alignment does not matter.
    Ok(unsafe { from.read_unaligned() })
}

/// Writes a value.
///
/// # Safety
/// `to` is null or writable.
pub(crate) unsafe fn put<T>(to: *mut T, value: T) -> Outcome {
    if to.is_null() {
        return Err(HResult::E_POINTER);
    }
    // SAFETY: not null, hence writable by the caller's promise; alignment does not matter.
    unsafe { to.write_unaligned(value) };
    Ok(())
}

/// Reads an array.
///
/// # Safety
/// `from` is null or readable for `count` entries.
pub(crate) unsafe fn array<T: Copy>(from: *const T, count: u32) -> Result<Vec<T>, HResult> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if from.is_null() {
        return Err(HResult::E_POINTER);
    }
    if count > MOST {
        return Err(HResult::E_INVALIDARG);
    }
    // SAFETY: inside the caller's array.
    Ok((0..count as usize).map(|i| unsafe { from.add(i).read_unaligned() }).collect())
}

/// Reads a buffer.
///
/// # Safety
/// `from` is null or readable for `size` bytes.
pub(crate) unsafe fn bytes(from: *const c_void, size: u32) -> Result<Vec<u8>, HResult> {
    if size > 1 << 24 {
        return Err(HResult::E_INVALIDARG);
    }
    if size == 0 {
        return Ok(Vec::new());
    }
    if from.is_null() {
        return Err(HResult::E_POINTER);
    }
    // SAFETY: readable for `size` bytes by the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(from.cast::<u8>(), size as usize) }.to_vec())
}

/// Hands out a value of variable size: `written`, where wanted, gets its size also when the buffer is too small.
///
/// # Safety
/// `buffer` is null or writable for `size` bytes, `written` is null or writable.
pub(crate) unsafe fn output(buffer: *mut c_void, size: u32, written: *mut u32, value: &[u8]) -> Outcome {
    if !written.is_null() {
        // SAFETY: not null, hence writable.
        unsafe { put(written, value.len() as u32)? };
    }
    if (size as usize) < value.len() {
        return Err(HResult::WHV_E_INSUFFICIENT_BUFFER);
    }
    if value.is_empty() {
        return Ok(());
    }
    if buffer.is_null() {
        return Err(HResult::E_POINTER);
    }
    // SAFETY: writable for `size` bytes, which are enough; `value` is ours.
    unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), buffer.cast::<u8>(), value.len()) };
    Ok(())
}
