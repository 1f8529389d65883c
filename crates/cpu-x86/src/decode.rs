//! From bytes to [`Op`]s: `iced-x86` decodes, the family modules choose the handler.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction};

use crate::op::{DecodeCx, Op};

/// Decodes one instruction from `bytes`, `offset` bytes after the start of its block (which is at RIP
/// `cx.rip - offset`). `None` when the bytes end before the instruction does.
pub fn decode(bytes: &[u8], cx: &DecodeCx, offset: u16) -> Option<(Op, Instruction)> {
    let mut decoder = Decoder::with_ip(cx.mode.bits(), bytes, cx.rip, DecoderOptions::NONE);
    let i = decoder.decode();
    if i.code() == Code::INVALID && decoder.last_error() == iced_x86::DecoderError::NoMoreBytes && bytes.len() < 15 {
        return None;
    }
    let mut op = Op::prepare(&i, cx, offset);
    if i.code() != Code::INVALID {
        let _known = crate::int::decode(&i, cx, &mut op)
            || crate::sys::decode(&i, cx, &mut op)
            || crate::simd::decode(&i, cx, &mut op);
    }
    Some((op, i))
}
