//! Address space of the host in which pages of guest memory are mapped once more, in an order of ours, to be read.
//!
//! Windows maps files in pieces of 64 KiB only, so there is none of it there.

use guest_memory::RamBlock;

/// Windows of address space, all of one size.
#[derive(Debug)]
pub(crate) struct Views {
    #[cfg(target_os = "linux")]
    start: *mut u8,
    #[cfg(target_os = "linux")]
    len: usize,
    #[cfg(target_os = "linux")]
    window: usize,
    /// The host refused something: others may have what was there.
    #[cfg(target_os = "linux")]
    broken: bool,
}

// SAFETY: address space of ours; it is changed through `&mut self` only.
unsafe impl Send for Views {}

#[cfg(target_os = "linux")]
impl Views {
    /// `count` windows of `window` bytes (a multiple of the page size); nothing is in them. `None` when there is no room.
    pub(crate) fn new(count: usize, window: usize) -> Option<Self> {
        let len = count.checked_mul(window)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        (start != libc::MAP_FAILED).then(|| Self { start: start.cast(), len, window, broken: false })
    }

    /// Where byte `at` of a window is.
    pub(crate) fn address(&self, window: usize, at: usize) -> u64 {
        self.start as u64 + (window * self.window + at) as u64
    }

    /// Maps `len` bytes of a block from `offset` on at byte `at` of a window (multiples of the page size). `false`: it cannot be,
    /// and nothing may be there now.
    pub(crate) fn map(&mut self, window: usize, at: usize, block: &RamBlock, offset: u64, len: usize) -> bool {
        use std::os::fd::AsRawFd;
        let inside = self.has(window, at, len) && offset.checked_add(len as u64).is_some_and(|end| end <= block.len());
        let (Some(file), Ok(offset), true) = (block.file(), libc::off_t::try_from(offset), inside) else {
            return false;
        };
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        let done = self.replace(window, at, len, |place| {
            // SAFETY: replaces what is ours (see `replace`), by memory of a file that is as long as the block.
            unsafe { libc::mmap(place, len, libc::PROT_READ, flags, file.as_raw_fd(), offset) }
        });
        // What was there may be gone, so that it would be given to others.
        done || {
            self.take_out(window, at, len);
            false
        }
    }

    /// Takes everything out of a window; `false`: that cannot be done.
    pub(crate) fn clear(&mut self, window: usize) -> bool {
        self.take_out(window, 0, self.window)
    }

    fn take_out(&mut self, window: usize, at: usize, len: usize) -> bool {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
        let done = self.replace(window, at, len, |place| {
            // SAFETY: replaces what is ours (see `replace`).
            unsafe { libc::mmap(place, len, libc::PROT_NONE, flags, -1, 0) }
        });
        self.broken |= !done;
        done
    }

    fn has(&self, window: usize, at: usize, len: usize) -> bool {
        at.checked_add(len).is_some_and(|end| end <= self.window) && window < self.len / self.window
    }

    /// Calls `map` with where that is, if it is inside the window.
    fn replace(
        &self,
        window: usize,
        at: usize,
        len: usize,
        map: impl FnOnce(*mut libc::c_void) -> *mut libc::c_void,
    ) -> bool {
        !self.broken
            && self.has(window, at, len)
            && map(self.start.wrapping_add(window * self.window + at).cast()) != libc::MAP_FAILED
    }
}

#[cfg(target_os = "linux")]
impl Drop for Views {
    fn drop(&mut self) {
        if !self.broken {
            // SAFETY: all of it is ours, and nothing uses it any more.
            unsafe { libc::munmap(self.start.cast(), self.len) };
        }
    }
}

#[cfg(windows)]
impl Views {
    /// There are none.
    pub(crate) fn new(_count: usize, _window: usize) -> Option<Self> {
        None
    }

    pub(crate) fn address(&self, _window: usize, _at: usize) -> u64 {
        0
    }

    pub(crate) fn map(&mut self, _window: usize, _at: usize, _block: &RamBlock, _offset: u64, _len: usize) -> bool {
        false
    }

    pub(crate) fn clear(&mut self, _window: usize) -> bool {
        false
    }
}

/// Whether pages of the block can be mapped.
pub(crate) fn can_show(block: &RamBlock) -> bool {
    #[cfg(target_os = "linux")]
    let can = block.file().is_some();
    #[cfg(windows)]
    let can = {
        let _block = block;
        false
    };
    can
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn pages_are_seen_in_another_order() {
        let b = RamBlock::shareable("b", 4 * 4096).unwrap();
        let mut v = Views::new(3, 4 * 4096).unwrap();
        assert!(v.map(1, 4096, &b, 2 * 4096, 4096) && v.map(1, 2 * 4096, &b, 0, 4096));
        assert!(b.write(2 * 4096 + 4095, &[7, 8]) && b.write(0, &[9]));
        // SAFETY: mapped above.
        let read = |at| unsafe { (v.address(1, at) as *const u8).read_volatile() };
        assert_eq!((read(2 * 4096 - 1), read(2 * 4096)), (7, 9));
        assert!(!v.map(1, 4096, &b, 4 * 4096, 4096), "beyond the block");
        assert!(v.clear(2) && !v.map(3, 0, &b, 0, 4096) && !v.map(2, 3 * 4096, &b, 0, 2 * 4096), "beyond the window");
        assert!(!v.map(0, 0, &RamBlock::new("p", 4096).unwrap(), 0, 4096), "no file");
        assert!(v.clear(1));
    }
}
