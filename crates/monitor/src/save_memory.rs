//! `memsave` and `pmemsave`: guest memory into a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use machine::MachineHandle;

/// Why memory was not saved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    #[error("cannot write '{}': {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("Invalid addr {from:#018x}/size {size} specified: {at:#x} cannot be read")]
    Address { from: u64, size: u64, at: u64 },
}

const PAGE: u64 = 4096;

/// Saves guest-physical memory.
pub(crate) fn physical(machine: &MachineHandle, from: u64, size: u64, path: &Path) -> Result<(), SaveError> {
    let space = machine.space();
    save(from, size, path, |at, data| space.read(at, data))
}

/// Saves what processor `cpu` sees at linear addresses.
pub(crate) fn linear(machine: &MachineHandle, cpu: usize, from: u64, size: u64, path: &Path) -> Result<(), SaveError> {
    let space = machine.space();
    save(from, size, path, |at, data| {
        let page = machine.while_stopped(|a| a.translate(cpu, at)).ok().flatten();
        page.is_some_and(|physical| space.read(physical, data))
    })
}

/// Calls `read` for pieces that cross no page.
fn save(from: u64, size: u64, path: &Path, mut read: impl FnMut(u64, &mut [u8]) -> bool) -> Result<(), SaveError> {
    let write = |source| SaveError::Write { path: path.into(), source };
    let mut file = BufWriter::new(File::create(path).map_err(write)?);
    let mut buffer = [0; PAGE as usize];
    let (mut at, mut left) = (from, size);
    while left != 0 {
        let n = left.min(PAGE - at % PAGE);
        let data = buffer.get_mut(..n as usize).unwrap_or_default();
        if !read(at, data) {
            return Err(SaveError::Address { from, size, at });
        }
        file.write_all(data).map_err(write)?;
        (at, left) = (at.wrapping_add(n), left - n);
    }
    file.flush().map_err(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_at_pages_and_errors_name_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        let mut pieces = Vec::new();
        let read = |at: u64, data: &mut [u8]| {
            pieces.push((at, data.len()));
            data.fill(at as u8);
            at < 0x3000
        };
        save(0xFFE, 0x1003, &path, read).unwrap();
        assert_eq!(pieces, [(0xFFE, 2), (0x1000, 0x1000), (0x2000, 1)]);
        assert_eq!(std::fs::read(&path).unwrap().len(), 0x1003);
        let e = save(0x2FFF, 5, &path, |at, _| at < 0x3000).unwrap_err().to_string();
        assert_eq!(e, "Invalid addr 0x0000000000002fff/size 5 specified: 0x3000 cannot be read");
        assert!(save(0, 1, Path::new("/nowhere/m"), |_, _| true).unwrap_err().to_string().contains("/nowhere/m"));
    }
}
