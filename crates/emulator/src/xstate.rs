//! The XSAVE area of a virtual processor (Intel SDM volume 1, 13.4), of which the emulator changes the components it
//! knows in place; what it does not know (CET, AMX, processor trace) stays as it is.

use cpu_x86::fpu::{self, Fpu};

const HEADER: usize = 512;
const EXTENDED: usize = 576;
const COMPACTED: u64 = 1 << 63;
/// Sizes of the components 2 to 9, on which the places in a compacted area depend (Intel SDM volume 1, 13.5).
const SIZES: [usize; 10] = [0, 0, 256, 64, 64, 64, 512, 1024, 128, 8];

/// An area as the platform gave it.
pub(super) struct Area {
    bytes: Vec<u8>,
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

impl Area {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    fn xcomp(&self) -> u64 {
        word(&self.bytes, HEADER + 8)
    }

    /// Where component `n` (2 to 9) is, if there is room for it.
    fn place(&self, n: usize) -> Option<std::ops::Range<usize>> {
        let xcomp = self.xcomp();
        let start = if xcomp & COMPACTED != 0 {
            if xcomp >> n & 1 == 0 {
                return None;
            }
            EXTENDED + (2..n).filter(|i| xcomp >> i & 1 != 0).map(|i| SIZES[i]).sum::<usize>()
        } else {
            fpu::components().get(n).filter(|c| c.size != 0)?.offset as usize
        };
        let range = start..start + SIZES[n];
        (range.end <= self.bytes.len()).then_some(range)
    }

    /// Where component `n` is in a compacted area of all `features`.
    fn place_in(features: u64, n: usize) -> std::ops::Range<usize> {
        let start = EXTENDED + (2..n).filter(|i| features >> i & 1 != 0).map(|i| SIZES[i]).sum::<usize>();
        start..start + SIZES[n]
    }

    fn known() -> u64 {
        fpu::supported_xcr0()
    }

    /// The registers it holds. `Err`: why they cannot be had.
    pub(super) fn load(&self) -> Result<Fpu, String> {
        if self.bytes.len() < EXTENDED {
            return Err(format!("XSAVE area of {} bytes", self.bytes.len()));
        }
        let features = Self::known();
        let xstate = word(&self.bytes, HEADER);
        let mut plain = vec![0; fpu::xsave_size(features, true)];
        plain[..HEADER].copy_from_slice(&self.bytes[..HEADER]);
        let mut present = xstate & 3;
        for n in (2..10).filter(|n| features >> n & 1 != 0 && xstate >> n & 1 != 0) {
            let to = Self::place_in(features, n);
            if let (Some(from), Some(to)) = (self.place(n), plain.get_mut(to)) {
                to.copy_from_slice(&self.bytes[from]);
                present |= 1 << n;
            }
        }
        plain[HEADER..HEADER + 8].copy_from_slice(&present.to_le_bytes());
        plain[HEADER + 8..HEADER + 16].copy_from_slice(&(features | COMPACTED).to_le_bytes());
        let mut registers = Fpu::default();
        registers.load_xsave_area(&plain, features).map_err(|e| e.to_string())?;
        Ok(registers)
    }

    /// The area with `registers` in it.
    pub(super) fn with(&self, registers: &Fpu) -> Vec<u8> {
        let features = Self::known();
        let plain = registers.xsave_area(features, true);
        let in_use = word(&plain, HEADER);
        let mut bytes = self.bytes.clone();
        let mut xstate = word(&bytes, HEADER) & !features;
        bytes[..416].copy_from_slice(&plain[..416]);
        xstate |= in_use & 3 | 2; // MXCSR counts with the XMM registers
        for n in (2..10).filter(|n| features >> n & 1 != 0 && in_use >> n & 1 != 0) {
            let Some(to) = self.place(n) else {
                // No room for what is in use now: only an area of our own has it.
                return plain;
            };
            if let Some(from) = plain.get(Self::place_in(features, n)) {
                bytes[to].copy_from_slice(from);
                xstate |= 1 << n;
            }
        }
        bytes[HEADER..HEADER + 8].copy_from_slice(&xstate.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_components_stay_and_known_ones_change() {
        let mut f = Fpu::default();
        f.zmm[3] = [7; 64];
        f.zmm[3][32..].fill(0);
        if fpu::supported_xcr0() & fpu::XCR0_AVX == 0 {
            f.zmm[3][16..].fill(0);
        }
        // Compacted: x87, SSE, AVX, both MPX components before the AVX-512 ones, and CET after all.
        let xcomp = COMPACTED | 0b1000_0001_1111 | 1 << 11;
        let mut bytes = vec![0; EXTENDED + 256 + 128 + 16];
        bytes[HEADER + 8..HEADER + 16].copy_from_slice(&xcomp.to_le_bytes());
        bytes[HEADER..HEADER + 8].copy_from_slice(&(1u64 << 11 | 1 << 3).to_le_bytes());
        let (bounds, cet) = (EXTENDED + 256, EXTENDED + 256 + 128);
        bytes[bounds] = 0xB0;
        bytes[cet] = 0xCE;
        let area = Area::new(bytes);
        assert_eq!(area.load().unwrap(), Fpu::default());
        let new = area.with(&f);
        assert_eq!((new[bounds], new[cet]), (0xB0, 0xCE));
        assert_eq!(word(&new, HEADER) & (1 << 11 | 1 << 3), 1 << 11 | 1 << 3);
        assert_eq!(Area::new(new).load().unwrap(), f);
    }

    #[test]
    fn short_areas_are_refused() {
        assert!(Area::new(vec![0; 100]).load().is_err());
    }
}
