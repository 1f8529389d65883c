//! Registers, segments, interrupts, result codes.

use whp::{DestinationMode, HResult, InterruptControl, InterruptType, RegisterValue, SegmentRegister, TriggerMode};

use crate::x64::{
    HRESULT, WHV_INTERRUPT_CONTROL, WHV_REGISTER_VALUE, WHV_UINT128, WHV_X64_SEGMENT_REGISTER,
    WHV_X64_SEGMENT_REGISTER_0,
};

/// As C has it.
pub fn register_to_abi(value: RegisterValue) -> WHV_REGISTER_VALUE {
    let b = value.bytes();
    let word = |n: usize| u32::from_le_bytes([b[4 * n], b[4 * n + 1], b[4 * n + 2], b[4 * n + 3]]);
    WHV_REGISTER_VALUE { Reg128: WHV_UINT128 { Dword: [word(0), word(1), word(2), word(3)] } }
}

/// From C.
pub fn register_from_abi(value: &WHV_REGISTER_VALUE) -> RegisterValue {
    // SAFETY: every view of the union is integers, and `Dword` covers all of it.
    let words = unsafe { value.Reg128.Dword };
    RegisterValue(words.iter().rev().fold(0, |v, w| v << 32 | u128::from(*w)))
}

/// As C has it.
pub fn segment_to_abi(s: SegmentRegister) -> WHV_X64_SEGMENT_REGISTER {
    WHV_X64_SEGMENT_REGISTER {
        Base: s.base,
        Limit: s.limit,
        Selector: s.selector,
        Anonymous: WHV_X64_SEGMENT_REGISTER_0 { Attributes: s.attributes },
    }
}

/// From C.
pub fn segment_from_abi(s: &WHV_X64_SEGMENT_REGISTER) -> SegmentRegister {
    // SAFETY: both views of the union are 16 bits of integers.
    let attributes = unsafe { s.Anonymous.Attributes };
    SegmentRegister { base: s.Base, limit: s.Limit, selector: s.Selector, attributes }
}

/// As C has it: type 7:0, destination mode 11:8, trigger mode 15:12.
pub fn interrupt_to_abi(i: &InterruptControl) -> WHV_INTERRUPT_CONTROL {
    let logical = u64::from(i.destination_mode == DestinationMode::Logical);
    let level = u64::from(i.trigger_mode == TriggerMode::Level);
    WHV_INTERRUPT_CONTROL {
        _bitfield: u64::from(i.kind.0) | logical << 8 | level << 12,
        Destination: i.destination,
        Vector: i.vector,
    }
}

/// From C; `None` for modes that do not exist.
pub fn interrupt_from_abi(i: &WHV_INTERRUPT_CONTROL) -> Option<InterruptControl> {
    Some(InterruptControl {
        kind: InterruptType(i._bitfield as u8),
        destination_mode: match i._bitfield >> 8 & 15 {
            0 => DestinationMode::Physical,
            1 => DestinationMode::Logical,
            _ => return None,
        },
        trigger_mode: match i._bitfield >> 12 & 15 {
            0 => TriggerMode::Edge,
            1 => TriggerMode::Level,
            _ => return None,
        },
        destination: i.Destination,
        vector: i.Vector,
    })
}

/// A code as C has it.
pub fn code_of(code: HResult) -> HRESULT {
    code.0 as HRESULT
}

/// Success, or the failure's code.
///
/// # Errors
/// For negative codes, which are failures.
pub fn result_of(code: HRESULT) -> Result<(), HResult> {
    if code < 0 { Err(HResult(code as u32)) } else { Ok(()) }
}
