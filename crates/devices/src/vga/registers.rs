//! The standard register files of the VGA and their ports.
//!
//! Facts: IBM Video Subsystem Technical Reference (Personal System/2), chapter "VGA", and the FreeVGA descriptions
//! of it. Left out: light pen and DAC comparator, and feature control's effect; CRTC 3 bit 7 is taken as set.

use serde::{Deserialize, Serialize};

/// Numbers of the registers that other parts read.
pub(super) mod seq {
    pub(crate) const CLOCKING: usize = 1;
    pub(crate) const MAP_MASK: usize = 2;
    pub(crate) const CHARACTER_MAP: usize = 3;
    pub(crate) const MEMORY_MODE: usize = 4;
}

pub(super) mod gc {
    pub(crate) const SET_RESET: usize = 0;
    pub(crate) const ENABLE_SET_RESET: usize = 1;
    pub(crate) const COLOUR_COMPARE: usize = 2;
    pub(crate) const DATA_ROTATE: usize = 3;
    pub(crate) const READ_MAP: usize = 4;
    pub(crate) const MODE: usize = 5;
    pub(crate) const MISC: usize = 6;
    pub(crate) const DONT_CARE: usize = 7;
    pub(crate) const BIT_MASK: usize = 8;
}

pub(super) mod attr {
    pub(crate) const MODE: usize = 0x10;
    pub(crate) const PLANE_ENABLE: usize = 0x12;
    pub(crate) const PANNING: usize = 0x13;
    pub(crate) const COLOUR_SELECT: usize = 0x14;
    /// Bit of the index register: the palette drives the screen (clear: the processor has it, the screen is dark).
    pub(crate) const PALETTE_SOURCE: u8 = 0x20;
}

const SEQ_MASKS: [u8; 5] = [0x03, 0x3D, 0x0F, 0x3F, 0x0E];
const GC_MASKS: [u8; 9] = [0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0x0F, 0xFF];
const ATTR_MODE_MASK: u8 = 0xEF;

/// The digital-to-analogue converter with its 256 colours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Dac {
    pub(super) mask: u8,
    write_index: u8,
    read_index: u8,
    component: u8,
    reading: bool,
    pending: [u8; 3],
    pub(super) colours: Vec<[u8; 3]>,
}

impl Dac {
    fn at_reset() -> Self {
        let colours = vec![[0; 3]; 256];
        Self { mask: 0xFF, write_index: 0, read_index: 0, component: 0, reading: false, pending: [0; 3], colours }
    }

    pub(super) fn is_valid(&self) -> bool {
        self.colours.len() == 256 && self.component < 3
    }

    fn read(&mut self, port: u16) -> u8 {
        match port {
            0x3C6 => self.mask,
            0x3C7 => u8::from(self.reading) * 3,
            0x3C8 => self.write_index,
            _ => {
                let colour = self.colours.get(usize::from(self.read_index)).copied().unwrap_or_default();
                let value = colour.get(usize::from(self.component)).copied().unwrap_or(0);
                self.component = (self.component + 1) % 3;
                if self.component == 0 {
                    self.read_index = self.read_index.wrapping_add(1);
                }
                value
            }
        }
    }

    fn write(&mut self, port: u16, value: u8, eight_bits: bool) {
        match port {
            0x3C6 => self.mask = value,
            0x3C7 => (self.read_index, self.component, self.reading) = (value, 0, true),
            0x3C8 => (self.write_index, self.component, self.reading) = (value, 0, false),
            _ => {
                if let Some(p) = self.pending.get_mut(usize::from(self.component)) {
                    *p = if eight_bits { value } else { value & 0x3F };
                }
                self.component = (self.component + 1) % 3;
                if self.component == 0 {
                    if let Some(colour) = self.colours.get_mut(usize::from(self.write_index)) {
                        *colour = self.pending;
                    }
                    self.write_index = self.write_index.wrapping_add(1);
                }
            }
        }
    }
}

/// All standard registers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Registers {
    pub(super) misc: u8,
    feature: u8,
    subsystem_enable: u8,
    seq_index: u8,
    pub(super) seq: [u8; 5],
    crtc_index: u8,
    pub(super) crtc: [u8; 25],
    gc_index: u8,
    pub(super) gc: [u8; 9],
    pub(super) attr_index: u8,
    attr_takes_data: bool,
    pub(super) attr: [u8; 21],
    pub(super) dac: Dac,
}

fn get(file: &[u8], index: u8) -> u8 {
    file.get(usize::from(index)).copied().unwrap_or(0)
}

fn set(file: &mut [u8], index: u8, value: u8) {
    if let Some(r) = file.get_mut(usize::from(index)) {
        *r = value;
    }
}

impl Registers {
    pub(super) fn at_reset() -> Self {
        Self {
            misc: 0,
            feature: 0,
            subsystem_enable: 1,
            seq_index: 0,
            seq: [0; 5],
            crtc_index: 0,
            crtc: [0; 25],
            gc_index: 0,
            gc: [0; 9],
            attr_index: 0,
            attr_takes_data: false,
            attr: [0; 21],
            dac: Dac::at_reset(),
        }
    }

    /// Which of 0x3B_ and 0x3D_ answers: misc output bit 0.
    fn is_decoded(&self, port: u16) -> bool {
        match port & 0xFFF0 {
            0x3B0 => self.misc & 1 == 0,
            0x3D0 => self.misc & 1 != 0,
            _ => true,
        }
    }

    /// IN. `status1` is input status register 1 now.
    pub(super) fn read(&mut self, port: u16, status1: u8) -> u8 {
        if !self.is_decoded(port) {
            return 0xFF;
        }
        match port {
            0x3C0 => self.attr_index,
            0x3C1 => get(&self.attr, self.attr_index & 0x1F),
            0x3C2 => 0x10, // switch sense: a colour monitor is there
            0x3C3 => self.subsystem_enable,
            0x3C4 => self.seq_index,
            0x3C5 => get(&self.seq, self.seq_index),
            0x3C6..=0x3C9 => self.dac.read(port),
            0x3CA => self.feature,
            0x3CC => self.misc,
            0x3CE => self.gc_index,
            0x3CF => get(&self.gc, self.gc_index),
            0x3B4 | 0x3D4 => self.crtc_index,
            0x3B5 | 0x3D5 => get(&self.crtc, self.crtc_index),
            0x3BA | 0x3DA => {
                self.attr_takes_data = false;
                status1
            }
            _ => 0xFF,
        }
    }

    /// OUT. `eight_bits` is the DAC's width.
    pub(super) fn write(&mut self, port: u16, value: u8, eight_bits: bool) {
        if !self.is_decoded(port) {
            return;
        }
        match port {
            0x3C0 => self.write_attribute(value),
            0x3C2 => self.misc = value & 0xEF,
            0x3C3 => self.subsystem_enable = value & 1,
            0x3C4 => self.seq_index = value & 7,
            0x3C5 => set(&mut self.seq, self.seq_index, value & get(&SEQ_MASKS, self.seq_index)),
            0x3C6..=0x3C9 => self.dac.write(port, value, eight_bits),
            0x3CE => self.gc_index = value & 0xF,
            0x3CF => set(&mut self.gc, self.gc_index, value & get(&GC_MASKS, self.gc_index)),
            0x3B4 | 0x3D4 => self.crtc_index = value & 0x3F,
            0x3B5 | 0x3D5 => self.write_crtc(value),
            0x3BA | 0x3DA => self.feature = value & 0x0B,
            _ => {}
        }
    }

    fn write_attribute(&mut self, value: u8) {
        let is_data = self.attr_takes_data;
        self.attr_takes_data = !is_data;
        if is_data {
            let mask = match usize::from(self.attr_index & 0x1F) {
                0..=0xF => 0x3F,
                attr::MODE => ATTR_MODE_MASK,
                0x11 => 0xFF,
                attr::PLANE_ENABLE => 0x3F,
                _ => 0x0F,
            };
            set(&mut self.attr, self.attr_index & 0x1F, value & mask);
        } else {
            self.attr_index = value & 0x3F;
        }
    }

    /// CRTC 0x11 bit 7 protects registers 0 to 7, but for bit 4 of register 7 (line compare bit 8).
    fn write_crtc(&mut self, value: u8) {
        let protected = self.crtc[0x11] & 0x80 != 0 && self.crtc_index <= 7;
        match (protected, self.crtc_index) {
            (true, 7) => self.crtc[7] = self.crtc[7] & !0x10 | value & 0x10,
            (true, _) => {}
            (false, index) => set(&mut self.crtc, index, value),
        }
    }
}
