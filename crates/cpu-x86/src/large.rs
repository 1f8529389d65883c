//! A large array that begins as zeros and costs nothing until it is touched, in large pages where the system has them, and
//! at an address that fits into a displacement where there is one.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Types of which all bits zero is a value.
///
/// # Safety
/// It is one, and needs no drop.
pub(crate) unsafe trait Zero: Copy + 'static {}

/// `N` of them. Freed when dropped.
pub(crate) struct LargeArray<T: Zero, const N: usize>(NonNull<[T; N]>);

// SAFETY: it owns its memory, as a Box does.
unsafe impl<T: Zero + Send, const N: usize> Send for LargeArray<T, N> {}

/// To what addresses are a multiple of.
#[cfg(target_os = "linux")]
const LARGE: usize = 2 << 20;

impl<T: Zero, const N: usize> LargeArray<T, N> {
    const BYTES: usize = size_of::<[T; N]>();

    /// All zeros.
    ///
    /// # Panics
    /// When there is no memory, as for every allocation.
    pub(crate) fn new() -> Self {
        const { assert!(align_of::<T>() <= 4096 && size_of::<[T; N]>() != 0) };
        let layout = || std::alloc::Layout::new::<[T; N]>();
        let Some(at) = NonNull::new(Self::allocate().cast()) else { std::alloc::handle_alloc_error(layout()) };
        Self(at)
    }

    #[cfg(target_os = "linux")]
    fn allocate() -> *mut u8 {
        let null = std::ptr::null_mut();
        // SAFETY: new mappings only; what is unmapped is a part of one made here.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let map =
                |more| libc::mmap(null, Self::BYTES + LARGE, libc::PROT_READ | libc::PROT_WRITE, flags | more, -1, 0);
            #[cfg(target_arch = "x86_64")]
            let mut all = map(libc::MAP_32BIT);
            #[cfg(not(target_arch = "x86_64"))]
            let mut all = libc::MAP_FAILED;
            if all == libc::MAP_FAILED {
                all = map(0);
            }
            if all == libc::MAP_FAILED {
                return null.cast();
            }
            let before = (all as usize).next_multiple_of(LARGE) - all as usize;
            let at = all.wrapping_byte_add(before);
            let end = at.wrapping_byte_add(Self::BYTES.next_multiple_of(4096));
            if before != 0 {
                libc::munmap(all, before);
            }
            let after = LARGE - before - (Self::BYTES.next_multiple_of(4096) - Self::BYTES);
            if after != 0 {
                libc::munmap(end, after);
            }
            libc::madvise(at, Self::BYTES, libc::MADV_HUGEPAGE);
            at.cast()
        }
    }

    #[cfg(windows)]
    fn allocate() -> *mut u8 {
        use windows_sys::Win32::System::Memory::{MEM_COMMIT, MEM_RESERVE, PAGE_READWRITE, VirtualAlloc};
        let low = (0x1000_0000..0x7000_0000usize).step_by(Self::BYTES.next_multiple_of(1 << 20));
        let mut places = low.chain([0]).map(|at| {
            // SAFETY: new memory.
            unsafe {
                VirtualAlloc(std::ptr::without_provenance(at), Self::BYTES, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE)
                    .cast::<u8>()
            }
        });
        places.find(|at| !at.is_null()).unwrap_or(std::ptr::null_mut())
    }

    #[cfg(not(any(target_os = "linux", windows)))]
    fn allocate() -> *mut u8 {
        // SAFETY: the size is not zero.
        unsafe { std::alloc::alloc_zeroed(std::alloc::Layout::new::<[T; N]>()) }
    }
}

impl<T: Zero, const N: usize> Drop for LargeArray<T, N> {
    fn drop(&mut self) {
        let at = self.0.as_ptr();
        // SAFETY: allocated by `allocate`, and nothing refers to it any more.
        unsafe {
            #[cfg(target_os = "linux")]
            libc::munmap(at.cast(), Self::BYTES.next_multiple_of(4096));
            #[cfg(windows)]
            windows_sys::Win32::System::Memory::VirtualFree(
                at.cast(),
                0,
                windows_sys::Win32::System::Memory::MEM_RELEASE,
            );
            #[cfg(not(any(target_os = "linux", windows)))]
            std::alloc::dealloc(at.cast(), std::alloc::Layout::new::<[T; N]>());
        }
    }
}

impl<T: Zero, const N: usize> Deref for LargeArray<T, N> {
    type Target = [T; N];
    fn deref(&self) -> &[T; N] {
        // SAFETY: it is ours, and zeros or what was written since are values of `T`.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Zero, const N: usize> DerefMut for LargeArray<T, N> {
    fn deref_mut(&mut self) -> &mut [T; N] {
        // SAFETY: as above.
        unsafe { self.0.as_mut() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    #[repr(align(64))]
    struct Line([u64; 3]);
    // SAFETY: integers.
    unsafe impl Zero for Line {}

    #[test]
    fn arrays_begin_as_zeros_and_keep_what_is_written() {
        let mut a = LargeArray::<Line, 1001>::new();
        assert!(a.iter().all(|l| l.0 == [0; 3]) && a.as_ptr().addr().is_multiple_of(64));
        a[1000] = Line([1, 2, 3]);
        a[0] = a[1000];
        assert_eq!(a.iter().map(|l| l.0[2]).sum::<u64>(), 6);
    }
}
