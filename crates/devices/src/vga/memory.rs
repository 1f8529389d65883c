//! The window at 0xA0000: how the sequencer and the graphics controller turn a processor's access into plane bytes.
//!
//! Facts: IBM Video Subsystem Technical Reference, "Graphics Controller" (write modes 0-3, read modes 0-1) and
//! "Sequencer" (map mask, memory mode). Byte n of plane p is byte `4 n + p` of video memory. Chain-4 addresses are
//! packed (address a is byte a), so that a chain-4 or linear view is the memory as it lies; the CRTC's doubleword
//! mode, which undoes IBM's spreading of those addresses, is packed to match (`scanout`). Left out: the odd/even
//! page bit of the miscellaneous output register.

use guest_memory::RamBlock;

use super::State;
use super::registers::{gc, seq};

/// Size of the whole window.
pub(super) const WINDOW_LEN: u64 = 0x2_0000;
const BANK: u64 = 0x1_0000;

const MISC_RAM_ENABLE: u8 = 2;
const CHAIN_4: u8 = 8;
const NO_ODD_EVEN: u8 = 4;

/// Spreads the low four bits to four bytes, 0x00 or 0xFF each.
fn spread(bits: u8) -> [u8; 4] {
    std::array::from_fn(|p| if bits >> p & 1 != 0 { 0xFF } else { 0 })
}

impl State {
    /// The offset in the present aperture of window byte `at`; `None` outside it.
    fn aperture(&self, at: u64) -> Option<u64> {
        if self.vbe.linear() {
            return (at < BANK).then_some(at);
        }
        if self.registers.misc & MISC_RAM_ENABLE == 0 {
            return None;
        }
        match self.registers.gc[gc::MISC] >> 2 & 3 {
            0 => Some(at & 0xFFFF),
            1 => (at < BANK).then_some(at),
            2 => (0x1_0000..0x1_8000).contains(&at).then_some(at & 0x7FFF),
            _ => (0x1_8000..0x2_0000).contains(&at).then_some(at & 0x7FFF),
        }
    }

    fn bank_base(&self) -> u64 {
        u64::from(self.vbe.bank) * BANK
    }

    fn chain_4(&self) -> bool {
        self.registers.seq[seq::MEMORY_MODE] & CHAIN_4 != 0
    }

    /// The graphics controller passes bytes through as they are.
    fn plain_writes(&self) -> bool {
        let g = &self.registers.gc;
        g[gc::MODE] & 3 == 0
            && g[gc::ENABLE_SET_RESET] == 0
            && g[gc::DATA_ROTATE] == 0
            && g[gc::BIT_MASK] == 0xFF
            && self.registers.seq[seq::MAP_MASK] == 0xF
    }

    /// Where in video memory the 64 KiB at 0xA0000 could be mapped as plain RAM: `Some` in linear VBE modes, and in
    /// chain-4 modes with nothing between the processor and all four planes.
    pub(super) fn linear_window(&self, memory: u64) -> Option<u64> {
        let window = self.registers.gc[gc::MISC] >> 2 & 3 == 1 && self.registers.misc & MISC_RAM_ENABLE != 0;
        let reads = self.registers.gc[gc::MODE] & 8 == 0;
        let plain = self.vbe.linear() || window && self.chain_4() && reads && self.plain_writes();
        Some(self.bank_base()).filter(|base| plain && base + BANK <= memory)
    }

    pub(super) fn window_read(&mut self, memory: &RamBlock, at: u64) -> u8 {
        let Some(address) = self.aperture(at) else { return 0xFF };
        if self.vbe.linear() {
            let mut byte = [0xFF];
            memory.read(self.bank_base() + address, &mut byte);
            return byte[0];
        }
        let g = self.registers.gc;
        let linear = address + self.bank_base();
        let (offset, plane) = if self.chain_4() {
            (linear >> 2, address & 3)
        } else if g[gc::MODE] & 0x10 != 0 {
            (linear & !1, u64::from(g[gc::READ_MAP] & 2) | address & 1)
        } else {
            (linear, g[gc::READ_MAP].into())
        };
        let mut latches = [0xFF; 4];
        memory.read(offset.saturating_mul(4), &mut latches);
        self.latches = latches;
        if g[gc::MODE] & 8 == 0 {
            return latches.get(plane as usize).copied().unwrap_or(0xFF);
        }
        let (wanted, care) = (spread(g[gc::COLOUR_COMPARE]), spread(g[gc::DONT_CARE]));
        !(0..4).fold(0, |differs, p| differs | (latches[p] ^ wanted[p]) & care[p])
    }

    pub(super) fn window_write(&mut self, memory: &RamBlock, at: u64, value: u8) {
        let Some(address) = self.aperture(at) else { return };
        let linear = address + self.bank_base();
        if self.vbe.linear() || self.chain_4() && self.plain_writes() {
            memory.write(linear, &[value]);
            return;
        }
        let map_mask = self.registers.seq[seq::MAP_MASK];
        let (offset, planes) = if self.chain_4() {
            (linear >> 2, map_mask & 1 << (address & 3))
        } else if self.registers.seq[seq::MEMORY_MODE] & NO_ODD_EVEN == 0 {
            (linear & !1, map_mask & if address & 1 == 0 { 0b0101 } else { 0b1010 })
        } else {
            (linear, map_mask)
        };
        let new = self.written(value);
        let base = offset.saturating_mul(4);
        if planes == 0xF {
            memory.write(base, &new);
            return;
        }
        for (p, byte) in new.iter().enumerate().filter(|(p, _)| planes >> p & 1 != 0) {
            memory.write(base + p as u64, &[*byte]);
        }
    }

    /// What the graphics controller makes of `value` for each plane.
    fn written(&self, value: u8) -> [u8; 4] {
        let g = &self.registers.gc;
        let rotated = value.rotate_right(u32::from(g[gc::DATA_ROTATE] & 7));
        let set_reset = spread(g[gc::SET_RESET]);
        let mut mask = g[gc::BIT_MASK];
        let source = match g[gc::MODE] & 3 {
            0 => {
                let enabled = spread(g[gc::ENABLE_SET_RESET]);
                std::array::from_fn(|p| rotated & !enabled[p] | set_reset[p] & enabled[p])
            }
            1 => return self.latches,
            2 => spread(value),
            _ => {
                mask &= rotated;
                set_reset
            }
        };
        std::array::from_fn(|p| {
            let latch = self.latches[p];
            let result = match g[gc::DATA_ROTATE] >> 3 & 3 {
                0 => source[p],
                1 => source[p] & latch,
                2 => source[p] | latch,
                _ => source[p] ^ latch,
            };
            result & mask | latch & !mask
        })
    }
}
