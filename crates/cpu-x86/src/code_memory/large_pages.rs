//! Large pages for code on Linux. Memory that is mapped twice is shared memory, which has no large pages unless the
//! administrator wants it; private memory has. So a piece of code that has come to rest is executed from a private copy of it,
//! which is made writable (and not executable meanwhile) for each of the few writes that still come. Code is spread over
//! megabytes; without this, much of the time of programs that run little of it often is page walks of the host.

use std::alloc::{Layout, handle_alloc_error};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::time::{Duration, Instant};

/// Size of large pages, and of the pieces.
pub(super) const LARGE: usize = 2 << 20;
/// Time between two looks at how often pieces were written.
const PERIOD: Duration = Duration::from_millis(100);
/// Writes in a period: up to so many, and a piece is at rest.
const FEW: u32 = 64;
/// More than so many, and it is not any more.
const MANY: u32 = 1024;

#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    writes: u32,
    /// It is executed from a copy.
    copied: bool,
}

/// Which pieces of a memory are copies.
#[derive(Debug)]
pub(super) struct LargePages {
    file: OwnedFd,
    writable: *const u8,
    executable: *mut u8,
    pieces: Vec<Piece>,
    /// What was written and has to be copied: pieces, and offsets and lengths inside them.
    written: Vec<(usize, usize, usize)>,
    looked: Instant,
}

impl LargePages {
    /// For `capacity` bytes of `file`, mapped at both places.
    pub(super) fn new(file: OwnedFd, writable: *mut u8, executable: *const u8, capacity: usize) -> Self {
        let there = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
            .is_ok_and(|text| !text.contains("[never]"));
        let pieces = if there { capacity / LARGE } else { 0 };
        let looked = Instant::now();
        Self {
            file,
            writable,
            executable: executable.cast_mut(),
            pieces: vec![Piece::default(); pieces],
            written: Vec::new(),
            looked,
        }
    }

    /// `len` bytes at `offset`, which are inside, were written.
    pub(super) fn written(&mut self, offset: usize, len: usize) {
        for n in offset / LARGE..(offset + len).div_ceil(LARGE) {
            let Some(piece) = self.pieces.get_mut(n) else { return };
            piece.writes = piece.writes.saturating_add(1);
            if piece.copied {
                let (start, end) = (offset.max(n * LARGE), (offset + len).min((n + 1) * LARGE));
                self.written.push((n, start, end - start));
            }
        }
    }

    /// What was written is to be executed from now on: protection changes once for all that was written to a piece. No code of the
    /// memory runs.
    #[inline]
    pub(super) fn settle(&mut self) {
        if !self.written.is_empty() {
            self.copy_written();
        }
    }

    #[cold]
    fn copy_written(&mut self) {
        let mut written = std::mem::take(&mut self.written);
        written.sort_unstable();
        for list in written.chunk_by(|a, b| a.0 == b.0) {
            let Some((n, ..)) = list.first().copied() else { continue };
            let copied = self.pieces.get(n).is_some_and(|piece| piece.copied);
            if copied && !self.copy(n, list) {
                self.share(n);
            }
        }
        written.clear();
        self.written = written;
    }

    /// Copies pieces among the first `used` bytes that have come to rest. No code of the memory runs.
    pub(super) fn look(&mut self, used: usize) {
        if self.looked.elapsed() < PERIOD {
            return;
        }
        self.looked = Instant::now();
        for n in 0..used / LARGE {
            let Some(piece) = self.pieces.get_mut(n) else { return };
            let Piece { writes, copied } = *piece;
            piece.writes = 0;
            match copied {
                false if writes <= FEW => self.own(n),
                true if writes > MANY => self.share(n),
                _ => {}
            }
        }
    }

    /// All pieces are about to be written.
    pub(super) fn share_all(&mut self) {
        for n in 0..self.pieces.len() {
            if self.pieces[n].copied {
                self.share(n);
            }
        }
    }

    /// How many pieces are copies.
    pub(super) fn count(&self) -> usize {
        self.pieces.iter().filter(|piece| piece.copied).count()
    }

    /// Copies what is listed, all in piece `n`, into private memory that is there; whether it can be executed.
    fn copy(&mut self, n: usize, list: &[(usize, usize, usize)]) -> bool {
        let piece = self.executable.wrapping_add(n * LARGE).cast();
        // SAFETY: the piece is mapped, ours, and not being executed; the ranges are inside the views, which do not overlap.
        unsafe {
            if libc::mprotect(piece, LARGE, libc::PROT_READ | libc::PROT_WRITE) != 0 {
                return false;
            }
            for (_, start, len) in list {
                ptr::copy_nonoverlapping(self.writable.add(*start), self.executable.add(*start), *len);
            }
            libc::mprotect(piece, LARGE, libc::PROT_READ | libc::PROT_EXEC) == 0
        }
    }

    /// Makes the piece a copy.
    fn own(&mut self, n: usize) {
        let piece = self.executable.wrapping_add(n * LARGE).cast();
        // SAFETY: it replaces the mapping of the piece, which is not being executed.
        let mapped = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
            let mapped = libc::mmap(piece, LARGE, libc::PROT_NONE, flags, -1, 0) == piece;
            mapped && libc::madvise(piece, LARGE, libc::MADV_HUGEPAGE) == 0
        };
        self.pieces[n].copied = mapped && self.copy(n, &[(n, n * LARGE, LARGE)]);
        if !self.pieces[n].copied {
            self.share(n);
            // As where private memory must not become executable (SELinux's `execmem`): it would fail again and again.
            self.share_all();
            self.pieces.clear();
        }
    }

    /// Makes the piece the shared memory again.
    fn share(&mut self, n: usize) {
        self.pieces[n].copied = false;
        let piece = self.executable.wrapping_add(n * LARGE).cast();
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        // SAFETY: as above, with the contents that the piece has in the file.
        let got =
            unsafe { libc::mmap(piece, LARGE, protection, flags, self.file.as_raw_fd(), (n * LARGE) as libc::off_t) };
        if got != piece {
            handle_alloc_error(Layout::new::<[u8; LARGE]>());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::CodeMemory;

    /// What code at `offset`, `mov eax, value; ret`, returns.
    fn run(m: &CodeMemory, offset: usize) -> u32 {
        // SAFETY: such code was written there by the tests.
        let f: extern "C" fn() -> u32 = unsafe { std::mem::transmute(m.start() + offset as u64) };
        f()
    }

    fn code(value: u32) -> [u8; 6] {
        let v = value.to_le_bytes();
        [0xB8, v[0], v[1], v[2], v[3], 0xC3]
    }

    fn rest(m: &mut CodeMemory, used: usize) -> usize {
        std::thread::sleep(super::PERIOD);
        m.look(used)
    }

    /// Writes, to be executed.
    fn write(m: &mut CodeMemory, offset: usize, code: &[u8]) {
        m.write(offset, code).expect("inside");
        m.settle();
    }

    #[test]
    fn pieces_at_rest_are_copied_and_can_still_be_written() {
        let size = 3 * super::LARGE;
        let mut m = CodeMemory::new(size).expect("memory");
        let end = super::LARGE - 3;
        for (at, value) in [(0, 1), (end, 2), (2 * super::LARGE, 3)] {
            write(&mut m, at, &code(value));
        }
        let copies = rest(&mut m, size - 1);
        if copies == 0 {
            println!("not tested: this system has no large pages");
            return;
        }
        assert_eq!(copies, 2, "the last piece is not full");
        assert_eq!([0, end, 2 * super::LARGE].map(|at| run(&m, at)), [1, 2, 3]);
        write(&mut m, end, &code(4)); // in both pieces
        assert_eq!([0, end].map(|at| run(&m, at)), [1, 4]);
        for value in 0..=super::MANY {
            write(&mut m, 0, &code(value));
            assert_eq!(run(&m, 0), value);
        }
        assert_eq!(rest(&mut m, size), 2, "the second and, full now, the third");
        assert_eq!([0, end].map(|at| run(&m, at)), [super::MANY, 4]);
        m.reuse();
        write(&mut m, 2 * super::LARGE, &code(5));
        assert_eq!([0, end, 2 * super::LARGE].map(|at| run(&m, at)), [super::MANY, 4, 5]);
        assert!(m.write(size - 5, &code(0)).is_none());
        assert!(m.is_whole(end - 2, 5) && !m.is_whole(end - 1, 5) && m.is_whole(super::LARGE, 5));
    }
}
