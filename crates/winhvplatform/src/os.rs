//! The host's events and processes: on Windows an event object, on Linux a file descriptor (an eventfd) in the place
//! of its handle.

use whp::HResult;
use whp_abi::x64::HANDLE;

#[cfg(windows)]
pub(crate) use windows::{Event, is_this_process};

#[cfg(unix)]
pub(crate) use unix::{Event, is_this_process};

#[cfg(windows)]
mod windows {
    use windows_sys::Win32::Foundation::{CloseHandle, DUPLICATE_SAME_ACCESS, DuplicateHandle, HANDLE as Raw};
    use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetCurrentProcessId, GetProcessId, SetEvent};

    use super::*;

    /// Our own handle of the caller's event.
    pub(crate) struct Event(usize);

    impl Event {
        /// The event stays alive when the caller closes its handle.
        pub(crate) fn new(handle: HANDLE) -> Result<Self, HResult> {
            let mut own: Raw = std::ptr::null_mut();
            // SAFETY: a wrong handle is an error of the call; `own` is writable.
            let done = unsafe {
                let this = GetCurrentProcess();
                DuplicateHandle(this, handle, this, &mut own, 0, 0, DUPLICATE_SAME_ACCESS)
            };
            if done == 0 { Err(HResult::E_HANDLE) } else { Ok(Self(own as usize)) }
        }

        pub(crate) fn signal(&self) {
            // SAFETY: our own handle, open until drop.
            unsafe { SetEvent(self.0 as Raw) };
        }
    }

    impl Drop for Event {
        fn drop(&mut self) {
            // SAFETY: our own handle, closed once.
            unsafe { CloseHandle(self.0 as Raw) };
        }
    }

    /// Whether the handle (or pseudo handle) means this process.
    pub(crate) fn is_this_process(handle: HANDLE) -> bool {
        // SAFETY: a wrong handle gives 0.
        handle as isize == -1 || unsafe { GetProcessId(handle) == GetCurrentProcessId() }
    }
}

#[cfg(unix)]
mod unix {
    use std::fs::File;
    use std::io::Write;
    use std::mem::ManuallyDrop;
    use std::os::fd::FromRawFd;

    use super::*;

    /// Our own descriptor of the caller's eventfd.
    pub(crate) struct Event(File);

    impl Event {
        /// The event stays alive when the caller closes its descriptor.
        pub(crate) fn new(handle: HANDLE) -> Result<Self, HResult> {
            let fd = i32::try_from(handle as isize).ok().filter(|fd| *fd >= 0).ok_or(HResult::E_HANDLE)?;
            // SAFETY: only asks; a number that is no descriptor is an error.
            if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
                return Err(HResult::E_HANDLE);
            }
            // SAFETY: an open descriptor of the caller's, not closed here.
            let theirs = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
            theirs.try_clone().map(Self).map_err(|_| HResult::E_HANDLE)
        }

        pub(crate) fn signal(&self) {
            // A full counter is signalled already.
            let _signalled = (&self.0).write(&1u64.to_ne_bytes());
        }
    }

    /// Whether the handle means this process: Windows' pseudo handle.
    pub(crate) fn is_this_process(handle: HANDLE) -> bool {
        handle as isize == -1
    }
}
