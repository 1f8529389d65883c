//! A small assembler for the instructions translated code is made of besides the guest's own (Intel SDM volume 2,
//! chapter 2: REX, ModRM, SIB). Registers are numbers, 0 to 15, as encoded.

pub(super) const RAX: u8 = 0;
pub(super) const RCX: u8 = 1;
pub(super) const RDX: u8 = 2;
pub(super) const RBX: u8 = 3;
pub(super) const RSP: u8 = 4;
pub(super) const RSI: u8 = 6;
pub(super) const RDI: u8 = 7;
/// Holds the guest's RSP.
pub(super) const GUEST_RSP: u8 = 12;
/// First temporary.
pub(super) const T1: u8 = 13;
/// Second temporary.
pub(super) const T2: u8 = 14;
/// `&mut Cpu`, and [`BIAS`] bytes more.
pub(super) const STATE: u8 = 15;
/// From the start of `Cpu` to where R15 points: what is used most has displacements of one byte.
pub(super) const BIAS: i32 = 224;

/// As a base: the displacement is an offset of the buffer.
const RIP: u8 = 16;

/// A memory operand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mem {
    pub(super) base: Option<u8>,
    pub(super) index: Option<(u8, u8)>,
    pub(super) disp: i32,
}

impl Mem {
    pub(super) fn base(base: u8, disp: i32) -> Self {
        Self { base: Some(base), index: None, disp }
    }
    /// At an offset of the buffer that the code is in, relative to RIP: for instructions without an immediate.
    pub(super) fn buffer(offset: i32) -> Self {
        Self::base(RIP, offset)
    }
    /// Of the processor's state.
    pub(super) fn state(offset: usize) -> Self {
        Self::base(STATE, offset as i32 - BIAS)
    }
}

/// The two-operand operations of opcodes 01 to 3B.
#[derive(Clone, Copy)]
pub(super) enum Alu {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// Conditions of Jcc.
#[derive(Clone, Copy)]
pub(super) enum Cc {
    Below = 2,
    AboveEqual = 3,
    Equal = 4,
    NotEqual = 5,
    BelowEqual = 6,
}

/// Code in the making.
#[derive(Default)]
pub(super) struct Asm {
    pub(super) buf: Vec<u8>,
    /// Where in the buffer it will be.
    pub(super) origin: usize,
    /// The bytes before the gap, and those that it has.
    gap: Option<(usize, usize)>,
}

impl Asm {
    /// Code for `origin`.
    pub(super) fn new(origin: usize) -> Self {
        Self { buf: Vec::with_capacity(1024), origin, gap: None }
    }

    /// Where the next byte will be, from the origin.
    pub(super) fn at(&self) -> usize {
        self.buf.len() + self.gap.map_or(0, |g| g.1)
    }

    /// What follows will be at `place` of the buffer, which is behind all that is there.
    pub(super) fn go_on_at(&mut self, place: usize) {
        let here = self.origin + self.buf.len();
        self.gap = Some((self.buf.len(), place.saturating_sub(here)));
    }

    /// The bytes before the gap, and those behind it.
    pub(super) fn parts(mut self) -> (Vec<u8>, Vec<u8>) {
        let behind = self.gap.map_or(Vec::new(), |(at, _)| self.buf.split_off(at));
        (self.buf, behind)
    }

    /// Makes the displacement at `place` `d`.
    pub(super) fn set(&mut self, place: usize, d: i32) {
        let index = match self.gap {
            Some((at, gap)) if place >= at => place.saturating_sub(gap),
            _ => place,
        };
        if let Some(b) = self.buf.get_mut(index..index + 4) {
            b.copy_from_slice(&d.to_le_bytes());
        }
    }

    pub(super) fn bytes(&mut self, b: &[u8]) {
        self.buf.extend_from_slice(b);
    }
    fn imm32(&mut self, v: i32) {
        self.bytes(&v.to_le_bytes());
    }

    /// An instruction with a register and a memory operand. `op`: opcode bytes; `w`: REX.W.
    pub(super) fn rm(&mut self, w: bool, op: &[u8], reg: u8, m: Mem) {
        let index = m.index.map_or(4, |i| i.0);
        let base = m.base.unwrap_or(5);
        let rex = 0x40 | u8::from(w) << 3 | (reg >> 3) << 2 | (index >> 3 & 1) << 1 | base >> 3 & 1;
        if rex != 0x40 {
            self.buf.push(rex);
        }
        self.bytes(op);
        if m.base == Some(RIP) {
            self.buf.push((reg & 7) << 3 | 5);
            let next = self.origin + self.at() + 4;
            self.imm32((i64::from(m.disp) - next as i64) as i32);
            return;
        }
        let short = m.base.is_some() && i8::try_from(m.disp).is_ok();
        let mode: u8 = match (m.base, m.disp) {
            (None, _) => 0,
            (Some(b), 0) if b & 7 != 5 => 0,
            _ if short => 1,
            _ => 2,
        };
        let sib = m.index.is_some() || m.base.is_none() || base & 7 == 4;
        self.buf.push(mode << 6 | (reg & 7) << 3 | if sib { 4 } else { base & 7 });
        if sib {
            let scale = m.index.map_or(0, |i| i.1.trailing_zeros() as u8);
            self.buf.push(scale << 6 | (index & 7) << 3 | base & 7);
        }
        match mode {
            0 if m.base.is_some() => {}
            1 => self.buf.push(m.disp as u8),
            _ => self.imm32(m.disp),
        }
    }
    /// An instruction with two registers (`rm` the one in ModRM.rm).
    pub(super) fn rr(&mut self, w: bool, op: &[u8], reg: u8, rm: u8) {
        let rex = 0x40 | u8::from(w) << 3 | (reg >> 3) << 2 | rm >> 3;
        if rex != 0x40 {
            self.buf.push(rex);
        }
        self.bytes(op);
        self.buf.push(0xC0 | (reg & 7) << 3 | rm & 7);
    }

    pub(super) fn mov(&mut self, to: u8, from: u8) {
        self.rr(true, &[0x89], from, to);
    }
    pub(super) fn load(&mut self, r: u8, m: Mem) {
        self.rm(true, &[0x8B], r, m);
    }
    pub(super) fn load32(&mut self, r: u8, m: Mem) {
        self.rm(false, &[0x8B], r, m);
    }
    pub(super) fn store(&mut self, m: Mem, r: u8) {
        self.rm(true, &[0x89], r, m);
    }
    pub(super) fn lea(&mut self, r: u8, m: Mem) {
        self.rm(true, &[0x8D], r, m);
    }
    pub(super) fn lea32(&mut self, r: u8, m: Mem) {
        self.rm(false, &[0x8D], r, m);
    }
    pub(super) fn alu(&mut self, op: Alu, r: u8, m: Mem) {
        self.rm(true, &[(op as u8) << 3 | 3], r, m);
    }
    pub(super) fn alu32(&mut self, op: Alu, r: u8, m: Mem) {
        self.rm(false, &[(op as u8) << 3 | 3], r, m);
    }
    pub(super) fn alu_rr(&mut self, w: bool, op: Alu, to: u8, from: u8) {
        self.rr(w, &[(op as u8) << 3 | 1], from, to);
    }
    pub(super) fn alu_imm(&mut self, w: bool, op: Alu, r: u8, v: i32) {
        if let Ok(short) = i8::try_from(v) {
            self.rr(w, &[0x83], op as u8, r);
            self.buf.push(short as u8);
        } else {
            self.rr(w, &[0x81], op as u8, r);
            self.imm32(v);
        }
    }
    /// SHR (5), SAR (7), SHL (4).
    pub(super) fn shift(&mut self, w: bool, kind: u8, r: u8, by: u8) {
        self.rr(w, &[0xC1], kind, r);
        self.buf.push(by);
    }
    /// Loads a constant, flags untouched.
    pub(super) fn imm(&mut self, r: u8, v: u64) {
        if u32::try_from(v).is_ok() {
            if r > 7 {
                self.buf.push(0x41);
            }
            self.buf.push(0xB8 | r & 7);
            self.bytes(&(v as u32).to_le_bytes());
        } else if let Ok(signed) = i32::try_from(v as i64) {
            self.rr(true, &[0xC7], 0, r);
            self.imm32(signed);
        } else {
            self.bytes(&[0x48 | r >> 3, 0xB8 | r & 7]);
            self.bytes(&v.to_le_bytes());
        }
    }
    /// `mov qword [m], v` (sign-extended).
    pub(super) fn store_imm(&mut self, m: Mem, v: i32) {
        self.rm(true, &[0xC7], 0, m);
        self.imm32(v);
    }
    /// `cmp byte [m], 0`.
    pub(super) fn byte_is_zero(&mut self, m: Mem) {
        self.rm(false, &[0x80], Alu::Cmp as u8, m);
        self.buf.push(0);
    }

    /// `add byte [m], v`.
    pub(super) fn add_byte(&mut self, m: Mem, v: u8) {
        self.rm(false, &[0x80], Alu::Add as u8, m);
        self.buf.push(v);
    }

    /// `cmp byte [m], v`.
    pub(super) fn compare_byte(&mut self, m: Mem, v: u8) {
        self.rm(false, &[0x80], Alu::Cmp as u8, m);
        self.buf.push(v);
    }
    /// `mov byte [m], v`.
    pub(super) fn store_byte(&mut self, m: Mem, v: u8) {
        self.rm(false, &[0xC6], 0, m);
        self.buf.push(v);
    }
    /// `test byte [m], v`.
    pub(super) fn test_byte(&mut self, m: Mem, v: u8) {
        self.rm(false, &[0xF6], 0, m);
        self.buf.push(v);
    }
    /// `mov dword [m], r`.
    pub(super) fn store32(&mut self, m: Mem, r: u8) {
        self.rm(false, &[0x89], r, m);
    }
    /// `mov r, word [m]`: the rest of the register stays.
    pub(super) fn load16(&mut self, r: u8, m: Mem) {
        self.buf.push(0x66); // REX follows the prefix
        self.rm(false, &[0x8B], r, m);
    }
    /// `mov word [m], r`.
    pub(super) fn store16(&mut self, m: Mem, r: u8) {
        self.buf.push(0x66); // REX follows the prefix
        self.rm(false, &[0x89], r, m);
    }
    /// `mov dword [m], v`.
    pub(super) fn store_imm32(&mut self, m: Mem, v: u32) {
        self.rm(false, &[0xC7], 0, m);
        self.imm32(v as i32);
    }
    pub(super) fn push(&mut self, r: u8) {
        if r > 7 {
            self.buf.push(0x41);
        }
        self.buf.push(0x50 | r & 7);
    }
    pub(super) fn pop(&mut self, r: u8) {
        if r > 7 {
            self.buf.push(0x41);
        }
        self.buf.push(0x58 | r & 7);
    }
    pub(super) fn ret(&mut self) {
        self.buf.push(0xC3);
    }

    /// JMP to be filled in: the place of its displacement.
    pub(super) fn jmp(&mut self) -> usize {
        self.buf.push(0xE9);
        self.imm32(0);
        self.at() - 4
    }
    /// Jcc likewise.
    pub(super) fn jcc(&mut self, cc: u8) -> usize {
        self.bytes(&[0x0F, 0x80 | cc & 15]);
        self.imm32(0);
        self.at() - 4
    }
    /// CALL likewise.
    pub(super) fn call(&mut self) -> usize {
        self.buf.push(0xE8);
        self.imm32(0);
        self.at() - 4
    }
    pub(super) fn jmp_reg(&mut self, r: u8) {
        self.rr(false, &[0xFF], 4, r);
    }
    pub(super) fn call_reg(&mut self, r: u8) {
        self.rr(false, &[0xFF], 2, r);
    }
    /// Makes the displacement at `place` lead to `target` (both offsets here).
    pub(super) fn fill(&mut self, place: usize, target: usize) {
        self.set(place, (target as i64 - (place as i64 + 4)) as i32);
    }
    /// Makes it lead to what comes next.
    pub(super) fn fill_here(&mut self, place: usize) {
        self.fill(place, self.at());
    }

    /// Flags to the slot; `temporary` is free or (`None`) the scratch word at `scratch` is used.
    pub(super) fn save_flags(&mut self, slot: usize) {
        self.mov(T1, RAX);
        self.buf.push(0x9F); // lahf
        self.bytes(&[0x0F, 0x90, 0xC0]); // seto al
        self.store16(Mem::state(slot), RAX);
        self.mov(RAX, T1);
    }
    /// Flags from the slot, both temporaries kept.
    pub(super) fn restore_flags(&mut self, slot: usize, scratch: usize) {
        self.store(Mem::state(scratch), RAX);
        self.rm(false, &[0x0F, 0xB7], RAX, Mem::state(slot)); // movzx eax, word
        self.bytes(&[0x04, 0x7F]); // add al, 127: OF
        self.buf.push(0x9E); // sahf
        self.load(RAX, Mem::state(scratch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions};

    fn text(f: impl FnOnce(&mut Asm)) -> Vec<String> {
        let mut a = Asm::default();
        f(&mut a);
        Decoder::with_ip(64, &a.buf, 0x1000, DecoderOptions::NONE).iter().map(|i| i.to_string()).collect()
    }

    #[test]
    fn encodings_are_what_they_should_be() {
        assert_eq!(text(|a| a.load(13, Mem::state(8))), ["mov -0xD8(%r15),%r13"]);
        assert_eq!(text(|a| a.load(13, Mem::base(13, 0))), ["mov (%r13),%r13"]);
        assert_eq!(text(|a| a.load(14, Mem::base(12, 0x400))), ["mov 0x400(%r12),%r14"]);
        assert_eq!(text(|a| a.store(Mem::base(14, 0), 3)), ["mov %rbx,(%r14)"]);
        let m = Mem { base: Some(12), index: Some((13, 8)), disp: -8 };
        assert_eq!(text(|a| a.lea(14, m)), ["lea -8(%r12,%r13,8),%r14"]);
        let m = Mem { base: None, index: Some((14, 4)), disp: 16 };
        assert_eq!(text(|a| a.lea(14, m)), ["lea 0x10(,%r14,4),%r14"]);
        assert_eq!(text(|a| a.imm(13, u64::MAX)), ["mov $0xFFFFFFFFFFFFFFFF,%r13"]);
        assert_eq!(text(|a| a.alu_imm(true, Alu::And, 14, -4096)), ["and $0xFFFFFFFFFFFFF000,%r14"]);
        assert_eq!(text(|a| a.shift(true, 5, 13, 6)), ["shr $6,%r13"]);
    }
}
