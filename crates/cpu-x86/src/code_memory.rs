//! Memory for generated code: one anonymous object mapped twice, writable in one place and executable in the other, so
//! that no page is ever both.

#[cfg(target_os = "linux")]
mod large_pages;

use std::ptr;

#[cfg(target_os = "linux")]
use large_pages::{LARGE, LargePages};

/// The two views. Pages cost nothing until they are written. Unmapped when dropped: what runs code in it keeps it.
#[derive(Debug)]
pub(crate) struct CodeMemory {
    writable: *mut u8,
    executable: *const u8,
    capacity: usize,
    #[cfg(target_os = "linux")]
    pages: LargePages,
}

// SAFETY: the views are plain memory that lives as long as `self`; writes go through `&mut self`.
unsafe impl Send for CodeMemory {}

impl CodeMemory {
    /// Maps both views; `None` when the system refuses.
    #[cfg(target_os = "linux")]
    pub(crate) fn new(capacity: usize) -> Option<Self> {
        let (file, writable, executable) = map(capacity)?;
        let pages = LargePages::new(file, writable, executable, capacity);
        Some(Self { writable, executable, capacity, pages })
    }

    /// Maps both views; `None` when the system refuses.
    #[cfg(windows)]
    pub(crate) fn new(capacity: usize) -> Option<Self> {
        let (writable, executable) = map(capacity)?;
        Some(Self { writable, executable, capacity })
    }

    /// Where offset 0 can be executed.
    pub(crate) fn start(&self) -> u64 {
        self.executable as u64
    }

    /// Where offset 0 can be written.
    pub(crate) fn writable(&mut self) -> *mut u8 {
        self.writable
    }

    /// Zeroed memory for data that the code addresses relative to RIP; `None` when there is none within reach.
    pub(crate) fn near(&self, len: usize) -> Option<NearMemory> {
        /// Between two places that are tried.
        const STRIDE: usize = 32 << 20;
        const REACH: usize = i32::MAX as usize - STRIDE;
        let len = len.next_multiple_of(STRIDE);
        let code = self.executable as usize;
        let fits = |at: usize| at >= 1 << 20 && at.abs_diff(code).max((at + len).abs_diff(code)) < REACH;
        let after = code + self.capacity.next_multiple_of(1 << 16);
        let places = (0..REACH / STRIDE).flat_map(|n| [Some(after + n * STRIDE), code.checked_sub(len + n * STRIDE)]);
        places.flatten().filter(|at| fits(*at)).find_map(|at| allocate_at(at, len)).map(|at| NearMemory { at, len })
    }

    /// Has code among the first `used` bytes that is hardly written any more executed from large pages, where the system has
    /// them; how many. To be called now and then, while none of it runs.
    pub(crate) fn look(&mut self, used: usize) -> usize {
        #[cfg(target_os = "linux")]
        {
            self.pages.look(used.min(self.capacity));
            self.pages.count()
        }
        #[cfg(windows)]
        {
            let _none = used;
            0
        }
    }

    /// What was written since is going to be executed.
    #[inline]
    pub(crate) fn settle(&mut self) {
        #[cfg(target_os = "linux")]
        self.pages.settle();
    }

    /// Whether code there may be written by code that runs: all of it is executed from the same memory, so that it is never
    /// seen in part.
    pub(crate) fn is_whole(&self, offset: usize, len: usize) -> bool {
        #[cfg(target_os = "linux")]
        let whole = offset / LARGE == (offset + len - 1) / LARGE;
        #[cfg(windows)]
        let whole = offset + len <= self.capacity;
        whole
    }

    /// Everything is going to be written anew.
    pub(crate) fn reuse(&mut self) {
        #[cfg(target_os = "linux")]
        self.pages.share_all();
    }

    /// What was written to the writable view by others, `len` bytes at `offset`, is to be executed (after [`CodeMemory::settle`]).
    pub(crate) fn written(&mut self, offset: usize, len: usize) {
        let _inside = offset.checked_add(len).is_some_and(|end| end <= self.capacity);
        #[cfg(target_os = "linux")]
        if _inside {
            self.pages.written(offset, len);
        }
    }

    /// What is there, as it was written last.
    pub(crate) fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let inside = offset.checked_add(N).is_some_and(|end| end <= self.capacity);
        // SAFETY: inside the view, which translated code writes, but does not while `self` is lent.
        inside.then(|| unsafe { self.writable.add(offset).cast::<[u8; N]>().read() })
    }

    /// Copies `code` to `offset`, and returns where it can be executed after [`CodeMemory::settle`].
    pub(crate) fn write(&mut self, offset: usize, code: &[u8]) -> Option<u64> {
        if offset.checked_add(code.len())? > self.capacity {
            return None;
        }
        // SAFETY: both views are `capacity` bytes long, and the range was just checked. `code` is not inside the
        // writable view, which nobody else has a pointer to.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), self.writable.add(offset), code.len()) };
        self.written(offset, code.len());
        Some(self.executable as u64 + offset as u64)
    }
}

/// See [`CodeMemory::near`]. Unmapped when dropped.
#[derive(Debug)]
pub(crate) struct NearMemory {
    at: *mut u8,
    len: usize,
}

// SAFETY: plain memory; writes through the owner go through `&mut self`.
unsafe impl Send for NearMemory {}

impl NearMemory {
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.at
    }

    /// Writes zeros.
    pub(crate) fn clear(&mut self, len: usize) {
        // SAFETY: the memory is `self.len` bytes long.
        unsafe { ptr::write_bytes(self.at, 0, len.min(self.len)) };
    }
}

impl Drop for NearMemory {
    fn drop(&mut self) {
        // SAFETY: it was allocated by `allocate_at` with this length, and nothing uses it any more.
        unsafe {
            #[cfg(target_os = "linux")]
            libc::munmap(self.at.cast(), self.len);
            #[cfg(windows)]
            windows_sys::Win32::System::Memory::VirtualFree(
                self.at.cast(),
                0,
                windows_sys::Win32::System::Memory::MEM_RELEASE,
            );
        }
    }
}

/// Zeroed memory at this very address, if nothing is there.
fn allocate_at(at: usize, len: usize) -> Option<*mut u8> {
    let wanted = ptr::without_provenance_mut::<u8>(at);
    // SAFETY: a new mapping that replaces nothing.
    #[cfg(target_os = "linux")]
    let got = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
        let got = libc::mmap(wanted.cast(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if got != libc::MAP_FAILED && got != wanted.cast() {
            libc::munmap(got, len); // an old kernel takes the address for a hint
            return None;
        }
        if got == libc::MAP_FAILED {
            return None;
        }
        libc::madvise(got, len, libc::MADV_HUGEPAGE);
        got.cast::<u8>()
    };
    // SAFETY: the same.
    #[cfg(windows)]
    let got = unsafe {
        use windows_sys::Win32::System::Memory::{MEM_COMMIT, MEM_RESERVE, PAGE_READWRITE, VirtualAlloc};
        VirtualAlloc(wanted.cast(), len, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE).cast::<u8>()
    };
    (!got.is_null()).then_some(got)
}

#[cfg(target_os = "linux")]
fn map(capacity: usize) -> Option<(std::os::fd::OwnedFd, *mut u8, *const u8)> {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    // SAFETY: a new descriptor, which nobody else owns.
    let file = unsafe {
        let fd = libc::memfd_create(c"whpx-code".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return None;
        }
        OwnedFd::from_raw_fd(fd)
    };
    // At a multiple of the size of large pages, with what is mapped too much taken away again.
    // SAFETY: plain system calls; the mappings are new, so nothing else is affected.
    let view = |prot| unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let all = libc::mmap(ptr::null_mut(), capacity + LARGE, libc::PROT_NONE, flags, -1, 0);
        if all == libc::MAP_FAILED {
            return None;
        }
        let before = all.align_offset(LARGE) % LARGE;
        let at = all.wrapping_byte_add(before);
        if before != 0 {
            libc::munmap(all, before);
        }
        libc::munmap(at.wrapping_byte_add(capacity), LARGE - before);
        let got = libc::mmap(at, capacity, prot, libc::MAP_SHARED | libc::MAP_FIXED, file.as_raw_fd(), 0);
        (got == at).then_some(at.cast::<u8>())
    };
    // SAFETY: it is a descriptor of ours.
    if unsafe { libc::ftruncate(file.as_raw_fd(), capacity as libc::off_t) } != 0 {
        return None;
    }
    let writable = view(libc::PROT_READ | libc::PROT_WRITE)?;
    let executable = view(libc::PROT_READ | libc::PROT_EXEC)?;
    Some((file, writable, executable.cast_const()))
}

#[cfg(windows)]
fn map(capacity: usize) -> Option<(*mut u8, *const u8)> {
    use windows_sys::Win32::Foundation::{CloseHandle, INVALID_HANDLE_VALUE};
    use windows_sys::Win32::System::Memory::{
        CreateFileMappingW, FILE_MAP_EXECUTE, FILE_MAP_READ, FILE_MAP_WRITE, MapViewOfFile, PAGE_EXECUTE_READWRITE,
    };
    // SAFETY: plain system calls on a section object made here; the views are new, so nothing else is affected, and
    // they keep the section after its handle is closed.
    unsafe {
        let section = CreateFileMappingW(
            INVALID_HANDLE_VALUE,
            ptr::null(),
            PAGE_EXECUTE_READWRITE,
            0,
            capacity as u32,
            ptr::null(),
        );
        if section.is_null() {
            return None;
        }
        let w = MapViewOfFile(section, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, capacity).Value;
        let x = MapViewOfFile(section, FILE_MAP_READ | FILE_MAP_EXECUTE, 0, 0, capacity).Value;
        CloseHandle(section);
        (!w.is_null() && !x.is_null()).then_some((w.cast::<u8>(), x.cast::<u8>().cast_const()))
    }
}

impl Drop for CodeMemory {
    #[cfg(target_os = "linux")]
    fn drop(&mut self) {
        // SAFETY: both views were made by `map` with this length and nothing uses them any more.
        unsafe {
            libc::munmap(self.writable.cast(), self.capacity);
            libc::munmap(self.executable.cast_mut().cast(), self.capacity);
        }
    }

    #[cfg(windows)]
    fn drop(&mut self) {
        use windows_sys::Win32::System::Memory::{MEMORY_MAPPED_VIEW_ADDRESS, UnmapViewOfFile};
        // SAFETY: both views were made by `map` and nothing uses them any more.
        unsafe {
            UnmapViewOfFile(MEMORY_MAPPED_VIEW_ADDRESS { Value: self.writable.cast() });
            UnmapViewOfFile(MEMORY_MAPPED_VIEW_ADDRESS { Value: self.executable.cast_mut().cast() });
        }
    }
}
