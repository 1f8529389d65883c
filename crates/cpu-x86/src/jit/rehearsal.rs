//! Stores of instructions that are run by the interpreter, to be undone and compared with what translated code stores.

/// One store to RAM.
struct Store {
    at: *mut u8,
    len: usize,
    old: [u8; 64],
    new: [u8; 64],
}

/// All of a run. Every access goes the slow way meanwhile, so that it is seen.
#[derive(Default)]
pub(crate) struct Rehearsal {
    /// The TLB table that data accesses belong to.
    pub(crate) table: usize,
    /// A device was to be accessed.
    pub(crate) device: bool,
    stores: Vec<Store>,
}

// SAFETY: the pointers are into RAM blocks, used while the TLB that resolved them keeps the blocks, on one thread.
unsafe impl Send for Rehearsal {}

impl Rehearsal {
    /// Nothing stored yet.
    #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
    pub(crate) fn of(table: usize) -> Self {
        Self { table, ..Self::default() }
    }

    /// Stores `data` (inside one page of RAM) at `at`.
    pub(crate) fn store(&mut self, at: *mut u8, data: &[u8]) {
        for (n, part) in data.chunks(64).enumerate() {
            let mut s = Store { at: at.wrapping_add(64 * n), len: part.len(), old: [0; 64], new: [0; 64] };
            // SAFETY: the caller resolved the page, and the piece is inside it.
            unsafe {
                std::ptr::copy_nonoverlapping(s.at, s.old.as_mut_ptr(), s.len);
                std::ptr::copy_nonoverlapping(part.as_ptr(), s.at, s.len);
            }
            self.stores.push(s);
        }
    }

    /// Notes what is in memory now, then puts back what was there.
    pub(crate) fn undo(&mut self) {
        for s in &mut self.stores {
            // SAFETY: as in `store`.
            unsafe { std::ptr::copy_nonoverlapping(s.at, s.new.as_mut_ptr(), s.len) };
        }
        for s in self.stores.iter().rev() {
            // SAFETY: as in `store`.
            unsafe { std::ptr::copy_nonoverlapping(s.old.as_ptr(), s.at, s.len) };
        }
    }

    /// The first store whose bytes are not what they were before `undo`: what was there then, and what is.
    pub(crate) fn difference(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        self.stores.iter().find_map(|s| {
            let mut now = [0; 64];
            // SAFETY: as in `store`.
            unsafe { std::ptr::copy_nonoverlapping(s.at, now.as_mut_ptr(), s.len) };
            (now[..s.len] != s.new[..s.len]).then(|| (s.new[..s.len].to_vec(), now[..s.len].to_vec()))
        })
    }
}
