//! The asymmetric barrier of the store protocol: writers pay nothing, the rare reader pays a system call.

/// Makes every store that any thread of this process executed before this call visible to the caller.
///
/// Linux: `membarrier(PRIVATE_EXPEDITED)`; Windows: `FlushProcessWriteBuffers`; where neither can be had, a fence
/// and a pause longer than any store buffer takes to drain.
pub fn write_barrier() {
    imp::barrier();
}

#[cfg(target_os = "linux")]
mod imp {
    use std::sync::atomic::{AtomicU8, Ordering, fence};

    const UNKNOWN: u8 = 0;
    const REGISTERED: u8 = 1;
    const MISSING: u8 = 2;
    static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: membarrier takes two integers and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    pub(super) fn barrier() {
        if STATE.load(Ordering::Acquire) == UNKNOWN {
            let ok = membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
            STATE.store(if ok { REGISTERED } else { MISSING }, Ordering::Release);
        }
        fence(Ordering::SeqCst);
        if STATE.load(Ordering::Acquire) != REGISTERED || !membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
            super::slow_barrier();
        }
    }
}

#[cfg(windows)]
mod imp {
    pub(super) fn barrier() {
        // SAFETY: takes no arguments and touches no memory of ours.
        unsafe { windows_sys::Win32::System::Threading::FlushProcessWriteBuffers() }
    }
}

#[cfg(not(any(target_os = "linux", windows)))]
mod imp {
    pub(super) fn barrier() {
        super::slow_barrier();
    }
}

#[cfg(not(windows))]
fn slow_barrier() {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    std::thread::sleep(std::time::Duration::from_micros(50));
}
