//! Reads and writes at an offset of a file, whole or not at all.

use std::fs::File;
use std::io;

/// Fills `data` from `at`.
pub(crate) fn read(f: &File, data: &mut [u8], at: u64) -> io::Result<()> {
    match read_up_to(f, data, at)? {
        n if n == data.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Fills `data` from `at` as far as the file goes; says how far.
pub(crate) fn read_up_to(f: &File, data: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = data.get_mut(done..).filter(|r| !r.is_empty()) {
        let Some(here) = at.checked_add(done as u64).filter(|h| i64::try_from(*h).is_ok()) else { break };
        match imp::read(f, rest, here) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Writes all of `data` at `at`.
pub(crate) fn write(f: &File, data: &[u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while let Some(rest) = data.get(done..).filter(|r| !r.is_empty()) {
        match imp::write(f, rest, at.saturating_add(done as u64)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(unix)]
mod imp {
    use std::os::unix::fs::FileExt;
    pub(super) fn read(f: &std::fs::File, data: &mut [u8], at: u64) -> std::io::Result<usize> {
        f.read_at(data, at)
    }
    pub(super) fn write(f: &std::fs::File, data: &[u8], at: u64) -> std::io::Result<usize> {
        f.write_at(data, at)
    }
}

#[cfg(windows)]
mod imp {
    use std::os::windows::fs::FileExt;
    pub(super) fn read(f: &std::fs::File, data: &mut [u8], at: u64) -> std::io::Result<usize> {
        f.seek_read(data, at)
    }
    pub(super) fn write(f: &std::fs::File, data: &[u8], at: u64) -> std::io::Result<usize> {
        f.seek_write(data, at)
    }
}
