//! Locked operations on guest memory (Intel SDM volume 3, 8.1): compare-and-exchange at any alignment inside a page.
//!
//! On x86-64 hosts the host's own `lock cmpxchg` does it, misaligned too. Elsewhere aligned accesses use the host's
//! atomics and misaligned ones a lock that all of them share (so they are atomic towards each other only).

use std::sync::{Mutex, MutexGuard, PoisonError};

static BUS_LOCK: Mutex<()> = Mutex::new(());

/// Held by locked accesses that no host instruction can do: those that cross a page.
pub(crate) fn bus_lock() -> MutexGuard<'static, ()> {
    BUS_LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

macro_rules! exchange {
    ($name:ident, $t:ty, $atomic:ident, $asm:literal, $class:ident, $a:tt) => {
        /// Stores `new` at `at` when `old` is there; returns what was there.
        ///
        /// # Safety
        /// `at` must be valid for reads and writes of the type's size, and all other accesses atomic or volatile.
        #[inline]
        pub(crate) unsafe fn $name(at: *mut $t, old: $t, new: $t) -> $t {
            #[cfg(target_arch = "x86_64")]
            {
                let seen: $t;
                // SAFETY: the caller's; the instruction touches nothing else.
                unsafe {
                    std::arch::asm!($asm, at = in(reg) at, new = in($class) new, inout($a) old => seen, options(nostack));
                }
                seen
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                use std::sync::atomic::{$atomic, Ordering};
                if at.is_aligned() {
                    // SAFETY: the caller's, and aligned.
                    let cell = unsafe { $atomic::from_ptr(at) };
                    return cell
                        .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
                        .unwrap_or_else(|seen| seen);
                }
                let _guard = bus_lock();
                // SAFETY: the caller's.
                unsafe {
                    let seen = at.read_unaligned();
                    if seen == old {
                        at.write_unaligned(new);
                    }
                    seen
                }
            }
        }
    };
}
exchange!(exchange_8, u8, AtomicU8, "lock cmpxchg byte ptr [{at}], {new}", reg_byte, "al");
exchange!(exchange_16, u16, AtomicU16, "lock cmpxchg word ptr [{at}], {new:x}", reg, "ax");
exchange!(exchange_32, u32, AtomicU32, "lock cmpxchg dword ptr [{at}], {new:e}", reg, "eax");
exchange!(exchange_64, u64, AtomicU64, "lock cmpxchg qword ptr [{at}], {new}", reg, "rax");

/// The same for 16 bytes.
///
/// # Safety
/// As above, and `at` must be 16-byte aligned.
pub(crate) unsafe fn exchange_128(at: *mut u128, old: u128, new: u128) -> u128 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("cmpxchg16b") {
        let (mut low, mut high) = (old as u64, (old >> 64) as u64);
        // SAFETY: the caller's; RBX, which the compiler keeps for itself, is restored.
        unsafe {
            std::arch::asm!(
                "xchg {new_low}, rbx",
                "lock cmpxchg16b [{at}]",
                "mov rbx, {new_low}",
                at = in(reg) at,
                new_low = inout(reg) new as u64 => _,
                in("rcx") (new >> 64) as u64,
                inout("rax") low,
                inout("rdx") high,
                options(nostack),
            );
        }
        return u128::from(high) << 64 | u128::from(low);
    }
    let _guard = bus_lock();
    // SAFETY: the caller's.
    unsafe {
        let seen = at.read();
        if seen == old {
            at.write(new);
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_at_any_alignment() {
        let mut bytes = [1u8, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        let at = bytes.as_mut_ptr().wrapping_add(1);
        // SAFETY: inside the array.
        unsafe {
            assert_eq!(exchange_32(at.cast(), 0, 9), 0x0504_0302, "not equal: unchanged");
            assert_eq!(exchange_64(at.cast(), 0x0908_0706_0504_0302, 0), 0x0908_0706_0504_0302);
            assert_eq!(exchange_16(at.cast(), 0, 0xAABB), 0);
            assert_eq!(exchange_8(at, 0xBB, 0xCC), 0xBB);
        }
        assert_eq!(bytes, [1, 0xCC, 0xAA, 0, 0, 0, 0, 0, 0, 10]);
        let mut wide = 5u128 << 64 | 7;
        // SAFETY: a local variable.
        unsafe {
            assert_eq!(exchange_128(&raw mut wide, 1, 2), 5 << 64 | 7);
            assert_eq!(exchange_128(&raw mut wide, 5 << 64 | 7, 3 << 64 | 1), 5 << 64 | 7);
        }
        assert_eq!(wide, 3 << 64 | 1);
    }
}
