//! Errors: an HRESULT, what was asked for, and what it means ("Windows Hypervisor Platform API error codes",
//! `winerror.h` facility 0x37).

use std::fmt;

/// A COM result code; only failures are made.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HResult(pub u32);

macro_rules! codes {
    ($($name:ident = $code:literal, $symbol:literal, $meaning:literal;)*) => {
        impl HResult {
            $(#[doc = concat!("`", $symbol, "`: ", $meaning)] pub const $name: Self = Self($code);)*

            /// The symbol of `winerror.h`, where known.
            pub fn symbol(self) -> Option<&'static str> {
                match self.0 { $($code => Some($symbol),)* _ => None }
            }

            /// What the code means, in words.
            pub fn meaning(self) -> &'static str {
                match self.0 { $($code => $meaning,)* _ => "an error this program does not know" }
            }
        }
    };
}

codes! {
    E_NOTIMPL = 0x8000_4001, "E_NOTIMPL", "the platform does not implement it";
    E_POINTER = 0x8000_4003, "E_POINTER", "a null pointer";
    E_FAIL = 0x8000_4005, "E_FAIL", "unspecified failure";
    E_UNEXPECTED = 0x8000_FFFF, "E_UNEXPECTED", "not possible in the present state";
    E_ACCESSDENIED = 0x8007_0005, "E_ACCESSDENIED", "access is denied";
    E_HANDLE = 0x8007_0006, "E_HANDLE", "not a handle of a partition";
    E_OUTOFMEMORY = 0x8007_000E, "E_OUTOFMEMORY", "the host has no memory for it";
    E_INVALIDARG = 0x8007_0057, "E_INVALIDARG", "an argument is not valid";
    WHV_E_UNKNOWN_CAPABILITY = 0x8037_0300, "WHV_E_UNKNOWN_CAPABILITY", "the platform does not know this capability code";
    WHV_E_INSUFFICIENT_BUFFER = 0x8037_0301, "WHV_E_INSUFFICIENT_BUFFER", "the buffer is too small for the result";
    WHV_E_UNKNOWN_PROPERTY = 0x8037_0302, "WHV_E_UNKNOWN_PROPERTY", "the platform does not know this partition property";
    WHV_E_UNSUPPORTED_HYPERVISOR_CONFIG = 0x8037_0303, "WHV_E_UNSUPPORTED_HYPERVISOR_CONFIG",
        "the hypervisor's configuration does not support it";
    WHV_E_INVALID_PARTITION_CONFIG = 0x8037_0304, "WHV_E_INVALID_PARTITION_CONFIG",
        "the partition's configuration is not complete or not consistent";
    WHV_E_GPA_RANGE_NOT_FOUND = 0x8037_0305, "WHV_E_GPA_RANGE_NOT_FOUND", "the guest-physical range is not mapped";
    WHV_E_VP_ALREADY_EXISTS = 0x8037_0306, "WHV_E_VP_ALREADY_EXISTS", "the virtual processor exists already";
    WHV_E_VP_DOES_NOT_EXIST = 0x8037_0307, "WHV_E_VP_DOES_NOT_EXIST", "there is no such virtual processor";
    WHV_E_INVALID_VP_STATE = 0x8037_0308, "WHV_E_INVALID_VP_STATE",
        "the virtual processor is in a state (running, usually) that does not allow it";
    WHV_E_INVALID_VP_REGISTER_NAME = 0x8037_0309, "WHV_E_INVALID_VP_REGISTER_NAME",
        "the platform does not know this register";
    WHV_E_UNSUPPORTED_PROCESSOR_CONFIG = 0x8037_0310, "WHV_E_UNSUPPORTED_PROCESSOR_CONFIG",
        "the host processor's configuration does not support it";
    ERROR_HV_INVALID_PARAMETER = 0xC035_0005, "ERROR_HV_INVALID_PARAMETER", "the hypervisor refused a parameter";
    ERROR_HV_INVALID_PARTITION_STATE = 0xC035_0007, "ERROR_HV_INVALID_PARTITION_STATE",
        "not possible in the partition's state";
    ERROR_HV_INVALID_VP_STATE = 0xC035_0015, "ERROR_HV_INVALID_VP_STATE",
        "not possible in the virtual processor's state";
    ERROR_HV_NOT_PRESENT = 0xC035_1000, "ERROR_HV_NOT_PRESENT", "no hypervisor is running on this host";
}

impl fmt::Debug for HResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.symbol() {
            Some(s) => write!(f, "{:#010x} ({s})", self.0),
            None => write!(f, "{:#010x}", self.0),
        }
    }
}

impl fmt::Display for HResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation}({operands}): {code}, {}", .code.meaning())]
pub struct Error {
    /// The code as the platform gave it.
    pub code: HResult,
    /// Microsoft's name of the function without `WHv`.
    pub operation: &'static str,
    /// The operands that matter, in words.
    pub operands: String,
}

impl Error {
    /// `operation` on `operands` failed with `code`.
    pub fn new(code: HResult, operation: &'static str, operands: impl Into<String>) -> Self {
        Self { code, operation, operands: operands.into() }
    }
}

/// What every call returns.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_operation_operands_and_meaning() {
        let e = Error::new(HResult::WHV_E_GPA_RANGE_NOT_FOUND, "UnmapGpaRange", "gpa 0x1000, size 0x1000");
        assert_eq!(
            e.to_string(),
            "UnmapGpaRange(gpa 0x1000, size 0x1000): 0x80370305 (WHV_E_GPA_RANGE_NOT_FOUND), \
             the guest-physical range is not mapped"
        );
        assert_eq!(HResult(0x8037_0399).symbol(), None);
    }
}
