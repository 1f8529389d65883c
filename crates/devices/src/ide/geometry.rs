//! Cylinders, heads and sectors of a disk that has none.
//!
//! ATA/ATAPI-6 section 6.2 (default translation): 16 heads and 63 sectors, at most 16383 cylinders.

use serde::{Deserialize, Serialize};

/// A disk geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// Cylinders, 1 to 16383.
    pub cylinders: u16,
    /// Heads, 1 to 16.
    pub heads: u8,
    /// Sectors a track, 1 to 63.
    pub sectors: u8,
}

/// How the BIOS makes CHS addresses of a disk; the numbers are those of CMOS register 39h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// The drive's own geometry fits the BIOS interface.
    None = 0,
    /// LBA-assisted.
    Lba = 1,
}

impl Geometry {
    /// The default geometry of a disk of `sectors` sectors.
    pub fn of_size(sectors: u64) -> Self {
        let cylinders = (sectors / (16 * 63)).clamp(1, 16383) as u16;
        Self { cylinders, heads: 16, sectors: 63 }
    }

    /// How the BIOS should translate it.
    pub fn translation(self) -> Translation {
        if self.cylinders <= 1024 && self.heads <= 16 && self.sectors <= 63 {
            Translation::None
        } else {
            Translation::Lba
        }
    }

    /// Sectors that CHS addresses reach.
    pub fn capacity(self) -> u32 {
        u32::from(self.cylinders) * u32::from(self.heads) * u32::from(self.sectors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(Geometry::of_size(0), Geometry { cylinders: 1, heads: 16, sectors: 63 });
        assert_eq!(Geometry::of_size(1024 * 1008).translation(), Translation::None);
        assert_eq!(Geometry::of_size(1025 * 1008).translation(), Translation::Lba);
        assert_eq!(Geometry::of_size(1 << 40).cylinders, 16383);
    }
}
