//! The Bochs VBE extension ("DISPI") registers.
//!
//! Facts: "VBE DISPI interface" API documentation of the Bochs project (versions B0C0 to B0C5). A mode is what the
//! registers say while ENABLE bit 0 is set, whatever the VGA's registers hold.

use serde::{Deserialize, Serialize};

pub(super) const MAX_XRES: u16 = 2560;
pub(super) const MAX_YRES: u16 = 1600;
const FIRST_ID: u16 = 0xB0C0;
const LAST_ID: u16 = 0xB0C5;

mod index {
    pub(super) const ID: u16 = 0;
    pub(super) const XRES: u16 = 1;
    pub(super) const YRES: u16 = 2;
    pub(super) const BPP: u16 = 3;
    pub(super) const ENABLE: u16 = 4;
    pub(super) const BANK: u16 = 5;
    pub(super) const VIRT_WIDTH: u16 = 6;
    pub(super) const VIRT_HEIGHT: u16 = 7;
    pub(super) const X_OFFSET: u16 = 8;
    pub(super) const Y_OFFSET: u16 = 9;
    pub(super) const MEMORY_64K: u16 = 10;
}

mod enable {
    pub(super) const ENABLED: u16 = 1;
    pub(super) const GET_CAPS: u16 = 2;
    pub(super) const DAC_8BIT: u16 = 0x20;
    pub(super) const LFB: u16 = 0x40;
    pub(super) const NO_CLEAR: u16 = 0x80;
}

/// Bytes of video memory to clear, from its start, after a register write.
pub(super) type Clear = Option<u64>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Vbe {
    pub(super) index: u16,
    id: u16,
    pub(super) xres: u16,
    pub(super) yres: u16,
    pub(super) bpp: u16,
    enable: u16,
    pub(super) bank: u16,
    virt_width: u16,
    pub(super) x_offset: u16,
    pub(super) y_offset: u16,
}

impl Vbe {
    pub(super) fn at_reset() -> Self {
        Self {
            index: 0,
            id: LAST_ID,
            xres: 640,
            yres: 480,
            bpp: 8,
            enable: 0,
            bank: 0,
            virt_width: 640,
            x_offset: 0,
            y_offset: 0,
        }
    }

    pub(super) fn is_valid(&self) -> bool {
        (1..=MAX_XRES).contains(&self.xres)
            && (1..=MAX_YRES).contains(&self.yres)
            && matches!(self.bpp, 4 | 8 | 15 | 16 | 24 | 32)
    }

    pub(super) fn enabled(&self) -> bool {
        self.enable & enable::ENABLED != 0
    }

    /// A mode whose pixels lie one after the other in memory.
    pub(super) fn linear(&self) -> bool {
        self.enabled() && self.bpp != 4
    }

    pub(super) fn dac_8bit(&self) -> bool {
        self.enable & enable::DAC_8BIT != 0
    }

    /// Bytes a pixel (0 in planar modes).
    pub(super) fn pixel_bytes(&self) -> u32 {
        (u32::from(self.bpp) + 1) / 8
    }

    /// Pixels from one line to the next: never fewer than are shown.
    pub(super) fn line_pixels(&self) -> u32 {
        u32::from(self.virt_width.max(self.xres))
    }

    /// Bytes of video memory from one line to the next.
    pub(super) fn line_bytes(&self) -> u32 {
        if self.bpp == 4 { self.line_pixels().div_ceil(8) * 4 } else { self.line_pixels() * self.pixel_bytes() }
    }

    pub(super) fn read(&self, index: u16, memory: u64) -> u16 {
        let caps = self.enable & enable::GET_CAPS != 0;
        match index {
            index::ID => self.id,
            index::XRES if caps => MAX_XRES,
            index::YRES if caps => MAX_YRES,
            index::BPP if caps => 32,
            index::XRES => self.xres,
            index::YRES => self.yres,
            index::BPP => self.bpp,
            index::ENABLE => self.enable,
            index::BANK => self.bank,
            index::VIRT_WIDTH => self.line_pixels() as u16,
            index::VIRT_HEIGHT => u16::try_from(memory / u64::from(self.line_bytes().max(1))).unwrap_or(u16::MAX),
            index::X_OFFSET => self.x_offset,
            index::Y_OFFSET => self.y_offset,
            index::MEMORY_64K => u16::try_from(memory >> 16).unwrap_or(u16::MAX),
            _ => 0,
        }
    }

    #[must_use]
    pub(super) fn write(&mut self, index: u16, value: u16, memory: u64) -> Clear {
        match index {
            index::ID if (FIRST_ID..=LAST_ID).contains(&value) => self.id = value,
            index::XRES => self.xres = value.clamp(1, MAX_XRES),
            index::YRES => self.yres = value.clamp(1, MAX_YRES),
            index::BPP if value == 0 => self.bpp = 8,
            index::BPP if matches!(value, 4 | 8 | 15 | 16 | 24 | 32) => self.bpp = value,
            index::BANK if u64::from(value) << 16 < memory => self.bank = value,
            index::VIRT_WIDTH => self.virt_width = value,
            index::X_OFFSET => self.x_offset = value,
            index::Y_OFFSET => self.y_offset = value,
            index::ENABLE => return self.write_enable(value, memory),
            _ => {}
        }
        None
    }

    fn write_enable(&mut self, value: u16, memory: u64) -> Clear {
        use enable::{DAC_8BIT, ENABLED, GET_CAPS, LFB, NO_CLEAR};
        let was = std::mem::replace(&mut self.enable, value & (ENABLED | GET_CAPS | DAC_8BIT | LFB | NO_CLEAR));
        if value & ENABLED == 0 {
            self.bank = 0;
            return None;
        }
        if was & ENABLED != 0 {
            return None;
        }
        (self.virt_width, self.x_offset, self.y_offset, self.bank) = (self.xres, 0, 0, 0);
        let size = u64::from(self.line_bytes()) * u64::from(self.yres);
        (value & NO_CLEAR == 0).then_some(size.min(memory))
    }
}
