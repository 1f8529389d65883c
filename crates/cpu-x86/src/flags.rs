//! The arithmetic flags, kept lazily.
//!
//! Two words hold all six: `result` (sign-extended to 64 bits) and `aux`. ZF is `result == 0`; SF is bit 63 of
//! `result` xor `aux.SD`; PF is the parity of the low byte of `result` xor `aux.PDB`; CF is `aux` bit 63; OF is bit
//! 63 xor bit 62; AF is bit 3. Arithmetic stores its carry-out vector, whose top two bits and bit 3 are just
//! that, so an ALU handler pays two stores and a few operations whatever flags are read later.

/// RFLAGS bits (Intel SDM volume 1, 3.4.3).
#[allow(missing_docs)]
pub mod rflags {
    pub const CF: u64 = 1 << 0;
    pub const ONE: u64 = 1 << 1;
    pub const PF: u64 = 1 << 2;
    pub const AF: u64 = 1 << 4;
    pub const ZF: u64 = 1 << 6;
    pub const SF: u64 = 1 << 7;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const DF: u64 = 1 << 10;
    pub const OF: u64 = 1 << 11;
    pub const IOPL: u64 = 3 << 12;
    pub const NT: u64 = 1 << 14;
    pub const RF: u64 = 1 << 16;
    pub const VM: u64 = 1 << 17;
    pub const AC: u64 = 1 << 18;
    pub const VIF: u64 = 1 << 19;
    pub const VIP: u64 = 1 << 20;
    pub const ID: u64 = 1 << 21;
    /// The six arithmetic flags.
    pub const ARITH: u64 = CF | PF | AF | ZF | SF | OF;
}

const AUX_CF: u64 = 1 << 63;
const AUX_PO: u64 = 1 << 62;
const AUX_AF: u64 = 1 << 3;
const AUX_SD: u64 = 1 << 0;
const AUX_KEEP: u64 = AUX_CF | AUX_PO | AUX_AF;

/// The lazily kept arithmetic flags.
#[derive(Clone, Copy, Debug, Default)]
pub struct LazyFlags {
    /// Sign-extended result.
    pub result: u64,
    /// Carries and corrections; see the module's documentation.
    pub aux: u64,
}

impl LazyFlags {
    /// After an operation of `BITS` bits (8, 16, 32, 64) with result `r` (its upper bits are ignored) and carry-out
    /// vector `carries` (bit i: carry or borrow out of bit i).
    #[inline(always)]
    pub fn set_arith<const BITS: u32>(&mut self, r: u64, carries: u64) {
        let up = 64 - BITS;
        self.result = (((r << up) as i64) >> up) as u64;
        self.aux = ((carries << up) & (AUX_CF | AUX_PO)) | (carries & AUX_AF);
    }

    /// After `a + b (+ carry) = r`.
    #[inline(always)]
    pub fn set_add<const BITS: u32>(&mut self, a: u64, b: u64, r: u64) {
        self.set_arith::<BITS>(r, (a & b) | ((a | b) & !r));
    }

    /// After `a - b (- borrow) = r`.
    #[inline(always)]
    pub fn set_sub<const BITS: u32>(&mut self, a: u64, b: u64, r: u64) {
        self.set_arith::<BITS>(r, (!a & b) | ((!a | b) & r));
    }

    /// After AND, OR, XOR, TEST: CF, OF and AF clear.
    #[inline(always)]
    pub fn set_logic<const BITS: u32>(&mut self, r: u64) {
        let up = 64 - BITS;
        self.result = (((r << up) as i64) >> up) as u64;
        self.aux = 0;
    }

    /// After INC or DEC: as `set_arith`, CF kept.
    #[inline(always)]
    pub fn set_keep_cf<const BITS: u32>(&mut self, r: u64, carries: u64) {
        let cf = self.cf();
        self.set_arith::<BITS>(r, carries);
        let of = (self.aux >> 63 ^ self.aux >> 62) & 1;
        self.set_cf_of(cf, of != 0);
    }

    /// Sets CF and OF, keeps the rest.
    #[inline(always)]
    pub fn set_cf_of(&mut self, cf: bool, of: bool) {
        let po = cf ^ of;
        self.aux = (self.aux & !(AUX_CF | AUX_PO)) | (u64::from(cf) << 63) | (u64::from(po) << 62);
    }

    /// Sets CF, keeps the rest.
    #[inline(always)]
    pub fn set_cf(&mut self, cf: bool) {
        let of = self.of();
        self.set_cf_of(cf, of);
    }

    /// CF.
    #[inline(always)]
    pub fn cf(&self) -> bool {
        (self.aux as i64) < 0
    }

    /// OF.
    #[inline(always)]
    pub fn of(&self) -> bool {
        ((self.aux ^ (self.aux << 1)) as i64) < 0
    }

    /// AF.
    #[inline(always)]
    pub fn af(&self) -> bool {
        self.aux & AUX_AF != 0
    }

    /// ZF.
    #[inline(always)]
    pub fn zf(&self) -> bool {
        self.result == 0
    }

    /// SF.
    #[inline(always)]
    pub fn sf(&self) -> bool {
        ((self.result >> 63) ^ (self.aux & AUX_SD)) != 0
    }

    /// PF.
    #[inline(always)]
    pub fn pf(&self) -> bool {
        ((self.result ^ (self.aux >> 8)) as u8).count_ones() & 1 == 0
    }

    /// The six flags in RFLAGS positions.
    pub fn get(&self) -> u64 {
        use rflags::*;
        let bit = |on: bool, mask: u64| if on { mask } else { 0 };
        bit(self.cf(), CF)
            | bit(self.pf(), PF)
            | bit(self.af(), AF)
            | bit(self.zf(), ZF)
            | bit(self.sf(), SF)
            | bit(self.of(), OF)
    }

    /// Takes the six flags from RFLAGS positions (any combination, also SF and ZF together).
    pub fn set(&mut self, f: u64) {
        use rflags::*;
        self.result = u64::from(f & ZF == 0);
        let sd = u64::from(f & SF != 0); // bit 63 of result is 0
        let parity_even = (self.result as u8).count_ones() & 1 == 0;
        let pdb = u64::from(parity_even != (f & PF != 0)) << 8;
        self.aux = sd | pdb | if f & AF != 0 { AUX_AF } else { 0 };
        self.set_cf_of(f & CF != 0, f & OF != 0);
        debug_assert_eq!(self.aux & AUX_KEEP & !self.aux, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_combination_survives() {
        for bits in 0..64u64 {
            let spread = [0, 2, 4, 6, 7, 11].iter().enumerate().fold(0, |f, (i, p)| f | (bits >> i & 1) << p);
            let mut l = LazyFlags::default();
            l.set(spread);
            assert_eq!(l.get(), spread);
        }
    }

    #[test]
    fn add_and_sub_in_eight_bits_exhaustively() {
        for a in 0..256u64 {
            for b in 0..256u64 {
                let mut l = LazyFlags::default();
                let r = a + b;
                l.set_add::<8>(a, b, r);
                assert_eq!(l.cf(), r > 255);
                assert_eq!(l.zf(), r as u8 == 0);
                assert_eq!(l.sf(), r & 0x80 != 0);
                assert_eq!(l.of(), i16::from(a as i8) + i16::from(b as i8) != i16::from(r as i8));
                assert_eq!(l.af(), (a & 15) + (b & 15) > 15);
                assert_eq!(l.pf(), (r as u8).count_ones().is_multiple_of(2));
                let r = a.wrapping_sub(b);
                l.set_sub::<8>(a, b, r);
                assert_eq!(l.cf(), a < b);
                assert_eq!(l.of(), i16::from(a as i8) - i16::from(b as i8) != i16::from(r as i8));
                assert_eq!(l.af(), (a & 15) < (b & 15));
            }
        }
    }

    #[test]
    fn inc_keeps_cf() {
        let mut l = LazyFlags::default();
        l.set_cf(true);
        l.set_keep_cf::<8>(0x80, 0x7F); // 0x7F + 1: carries out of bits 0..6
        assert!(l.cf() && l.of() && l.sf() && !l.zf());
    }
}
