//! Guest-physical ranges and address translation.

bitflags::bitflags! {
    /// `WHV_MAP_GPA_RANGE_FLAGS`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
    pub struct MapGpaRangeFlags: u32 {
        /// Loads.
        const READ = 1;
        /// Stores.
        const WRITE = 2;
        /// Instruction fetches.
        const EXECUTE = 4;
        /// `WHvQueryGpaRangeDirtyBitmap` works on the range.
        const TRACK_DIRTY_PAGES = 8;
        const _ = !0;
    }

    /// `WHV_TRANSLATE_GVA_FLAGS`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
    pub struct TranslateGvaFlags: u32 {
        /// Check that a load is allowed.
        const VALIDATE_READ = 1;
        /// Check that a store is allowed.
        const VALIDATE_WRITE = 2;
        /// Check that a fetch is allowed.
        const VALIDATE_EXECUTE = 4;
        /// Ignore the privilege level.
        const PRIVILEGE_EXEMPT = 8;
        /// Set accessed and dirty bits.
        const SET_PAGE_TABLE_BITS = 0x10;
        /// Apply SMAP whatever RFLAGS.AC is.
        const ENFORCE_SMAP = 0x100;
        /// Ignore SMAP.
        const OVERRIDE_SMAP = 0x200;
        const _ = !0;
    }
}

/// `WHV_TRANSLATE_GVA_RESULT_CODE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TranslateGvaResultCode(pub u32);

#[allow(missing_docs)]
impl TranslateGvaResultCode {
    pub const SUCCESS: Self = Self(0);
    pub const PAGE_NOT_PRESENT: Self = Self(1);
    pub const PRIVILEGE_VIOLATION: Self = Self(2);
    pub const INVALID_PAGE_TABLE_FLAGS: Self = Self(3);
    pub const GPA_UNMAPPED: Self = Self(4);
    pub const GPA_NO_READ_ACCESS: Self = Self(5);
    pub const GPA_NO_WRITE_ACCESS: Self = Self(6);
    pub const GPA_ILLEGAL_OVERLAY_ACCESS: Self = Self(7);
    pub const INTERCEPT: Self = Self(8);
}

/// What `WHvTranslateGva` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TranslateGvaResult {
    /// Whether it worked.
    pub code: TranslateGvaResultCode,
    /// The guest-physical address (when it worked, or the map was in the way).
    pub gpa: u64,
}

/// `WHV_MEMORY_ACCESS_TYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub enum AccessType {
    Read,
    Write,
    Execute,
}
