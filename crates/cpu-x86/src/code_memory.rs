//! Memory for generated code: one anonymous object mapped twice, writable in one place and executable in the other, so
//! that no page is ever both.

use std::ptr;

/// The two views. Pages cost nothing until they are written. Unmapped when dropped: what runs code in it keeps it.
#[derive(Debug)]
pub(crate) struct CodeMemory {
    writable: *mut u8,
    executable: *const u8,
    capacity: usize,
    /// By large page: asked for.
    #[cfg(target_os = "linux")]
    asked: Vec<bool>,
}

/// Size of large pages.
#[cfg(target_os = "linux")]
const LARGE: usize = 2 << 20;

// SAFETY: the views are plain memory that lives as long as `self`; writes go through `&mut self`.
unsafe impl Send for CodeMemory {}

impl CodeMemory {
    /// Maps both views; `None` when the system refuses.
    pub(crate) fn new(capacity: usize) -> Option<Self> {
        let (writable, executable) = map(capacity)?;
        Some(Self {
            writable,
            executable,
            capacity,
            #[cfg(target_os = "linux")]
            asked: vec![false; capacity / LARGE],
        })
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

    /// Asks for large pages for what is being written for the first time, so that code which is spread over megabytes does
    /// not wait for page walks. Without effect where the system has none for it (before Linux 6.1, Windows).
    fn use_large_pages(&mut self, end: usize) {
        #[cfg(target_os = "linux")]
        {
            const MADV_COLLAPSE: libc::c_int = 25;
            let chunk = end.saturating_sub(1) / LARGE;
            let Some(asked) = self.asked.get_mut(chunk) else { return };
            if std::mem::replace(asked, true) {
                return;
            }
            for view in [self.executable.cast_mut(), self.writable] {
                // SAFETY: inside the view; the contents do not change.
                unsafe { libc::madvise(view.wrapping_add(chunk * LARGE).cast(), LARGE, MADV_COLLAPSE) };
            }
        }
        #[cfg(windows)]
        let _none = end;
    }

    /// Copies `code` to `offset`, and returns where it can be executed.
    pub(crate) fn write(&mut self, offset: usize, code: &[u8]) -> Option<u64> {
        if offset.checked_add(code.len())? > self.capacity {
            return None;
        }
        self.use_large_pages(offset + code.len());
        // SAFETY: both views are `capacity` bytes long, and the range was just checked. `code` is not inside the
        // writable view, which nobody else has a pointer to.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), self.writable.add(offset), code.len()) };
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
fn map(capacity: usize) -> Option<(*mut u8, *const u8)> {
    // SAFETY: plain system calls on a descriptor made here; the mappings are new, so nothing else is affected. The
    // descriptor is closed once; the mappings keep the object.
    unsafe {
        let fd = libc::memfd_create(c"whpx-code".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return None;
        }
        // At a multiple of the size of large pages, with what is mapped too much taken away again.
        let view = |prot| {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let all = libc::mmap(ptr::null_mut(), capacity + LARGE, libc::PROT_NONE, flags, -1, 0);
            if all == libc::MAP_FAILED {
                return all;
            }
            let before = all.align_offset(LARGE) % LARGE;
            let at = all.wrapping_byte_add(before);
            if before != 0 {
                libc::munmap(all, before);
            }
            libc::munmap(at.wrapping_byte_add(capacity), LARGE - before);
            libc::mmap(at, capacity, prot, libc::MAP_SHARED | libc::MAP_FIXED, fd, 0)
        };
        let mut views = None;
        if libc::ftruncate(fd, capacity as libc::off_t) == 0 {
            let w = view(libc::PROT_READ | libc::PROT_WRITE);
            let x = view(libc::PROT_READ | libc::PROT_EXEC);
            if w != libc::MAP_FAILED && x != libc::MAP_FAILED {
                views = Some((w.cast::<u8>(), x.cast::<u8>().cast_const()));
            }
        }
        libc::close(fd);
        views
    }
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
