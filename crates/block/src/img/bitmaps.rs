//! Where persistent dirty bitmaps are in the file: the specification's "Bitmaps". They are counted by the check and
//! otherwise left alone; a command that would make them wrong refuses.

use super::header::{AUTOCLEAR_BITMAPS, BitmapsExtension};
use super::qcow2::{OFFSET, Qcow2};
use super::{ImgError, Result};
use crate::at;

/// The longest directory, and the longest tables of all bitmaps together, in bytes.
const MAX_DIRECTORY: u64 = 64 << 20;
const MAX_TABLES: u64 = 256 << 20;

impl Qcow2 {
    /// The bitmaps, if there are any and they are valid.
    pub(crate) fn bitmaps(&self) -> Option<BitmapsExtension> {
        self.header.bitmaps.filter(|b| self.header.autoclear & AUTOCLEAR_BITMAPS != 0 && b.count != 0)
    }

    /// Refuses a change of the contents when there are bitmaps.
    pub(crate) fn no_bitmaps(&self, what: &str) -> Result<()> {
        match self.bitmaps() {
            None => Ok(()),
            Some(_) => {
                let path = self.path.display();
                Err(ImgError::Refused(format!(
                    "'{path}' has persistent dirty bitmaps, which {what} would make wrong; remove them with qemu-img bitmap --remove"
                )))
            }
        }
    }

    /// Calls `each` for offset and length of everything that belongs to the bitmaps. `Err` is a problem of the image.
    pub(crate) fn bitmap_references(
        &self,
        bitmaps: BitmapsExtension,
        mut each: impl FnMut(u64, u64),
    ) -> std::result::Result<(), String> {
        let in_file = |at: u64, len: u64| at.checked_add(len).is_some_and(|end| end <= self.file_len);
        let BitmapsExtension { count, directory_len, directory_at } = bitmaps;
        if directory_len > MAX_DIRECTORY || !in_file(directory_at, directory_len) {
            return Err(format!("the bitmap directory at {directory_at:#x} is not in the file"));
        }
        let mut directory = vec![0; directory_len as usize];
        at::read(&self.file, &mut directory, directory_at).map_err(|e| e.to_string())?;
        each(directory_at, directory_len);
        let mut rest = &directory[..];
        let mut tables = 0;
        for i in 0..count {
            let cut = || format!("entry {i} of the bitmap directory is cut off");
            let (head, _) = rest.split_first_chunk::<24>().ok_or_else(cut)?;
            let be = |from: usize, to: usize| head[from..to].iter().fold(0, |v: u64, b| v << 8 | u64::from(*b));
            let (table_at, entries) = (be(0, 8), be(8, 12));
            let len = (24 + be(18, 20) + be(20, 24)).next_multiple_of(8);
            rest = usize::try_from(len).ok().and_then(|len| rest.get(len..)).ok_or_else(cut)?;
            tables += entries * 8;
            if tables > MAX_TABLES || !in_file(table_at, entries * 8) {
                return Err(format!("the table of bitmap {i} at {table_at:#x} is not in the file"));
            }
            each(table_at, entries * 8);
            let table = self.table(table_at, entries, "a bitmap table").map_err(|e| e.to_string())?;
            for at in table.iter().map(|e| e & OFFSET).filter(|at| *at != 0) {
                if at & (self.header.cluster() - 1) != 0 || !in_file(at, 1) {
                    return Err(format!("bitmap {i} has data at {at:#x}"));
                }
                each(at, self.header.cluster());
            }
        }
        Ok(())
    }
}
