//! What the registers say is to be shown: everything that drawing needs, compared from one picture to the next.
//!
//! Facts: IBM Video Subsystem Technical Reference, "CRT Controller" and "Attribute Controller". Left out: horizontal
//! timing other than the displayed width, interlace, count-by-two and count-by-four, shift-load rates, and
//! borders.

use super::State;
use super::registers::{Registers, attr, gc, seq};

/// Bytes of a standard VGA's memory: four planes of 64 KiB.
const VGA_MEMORY: u64 = 0x4_0000;
/// Frames a second; blinking is counted in them.
const FRAME_RATE: u64 = 70;
const NS: u64 = 1_000_000_000;
pub(super) const FRAME_NS: u64 = NS / FRAME_RATE;

/// The picture's source.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scanout {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Blank,
    Text(Text),
    Graphics(Graphics),
    Linear(Linear),
}

/// A text mode.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Text {
    pub(super) walk: Walk,
    pub(super) colours: [u32; 16],
    pub(super) nine_dots: bool,
    /// Plane 2 offsets of the fonts for attribute bit 3 clear and set.
    pub(super) fonts: [u32; 2],
    /// Attribute bit 7 blinks the character instead of making its background bright.
    pub(super) blink: bool,
    /// Blinking characters are seen now.
    pub(super) blink_shown: bool,
    /// The ninth dot of characters 0xC0-0xDF repeats the eighth.
    pub(super) line_graphics: bool,
    pub(super) underline: u8,
    /// Address, first and last line of the cursor, when it is seen now.
    pub(super) cursor: Option<(u32, u8, u8)>,
}

/// How the shift registers take the planes apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shift {
    /// One bit from each plane.
    Planar,
    /// Two bits from each of two planes, even planes first (CGA).
    Interleaved,
    /// A byte a pixel, each two dots wide.
    Bytes,
}

/// A planar, CGA or 256-colour mode.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Graphics {
    pub(super) walk: Walk,
    pub(super) shift: Shift,
    /// Bits of a dot that count: the enabled planes, without the fourth while dots that have it blink.
    pub(super) mask: u8,
    /// Bits turned over: the fourth in monochrome modes, half of the time.
    pub(super) turn: u8,
    pub(super) colours: Vec<u32>,
}

/// A VBE mode with whole pixels in memory.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Linear {
    pub(super) start: u64,
    pub(super) pitch: u32,
    pub(super) bpp: u16,
    pub(super) big_endian: bool,
    pub(super) colours: Vec<u32>,
}

/// How the CRTC's counter becomes an address in a plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Addressing {
    /// Word mode, with the counter bit that becomes address bit 0.
    word: Option<u32>,
    /// Row-scan bits 0 and 1 replace address bits 13 and 14 (CGA, Hercules).
    row_bit_13: bool,
    row_bit_14: bool,
    mask: u32,
}

impl Addressing {
    pub(super) fn apply(&self, counter: u32, row: u8) -> u32 {
        let mut a = match self.word {
            Some(bit) => counter << 1 | counter >> bit & 1,
            None => counter,
        };
        if self.row_bit_13 {
            a = a & !0x2000 | u32::from(row & 1) << 13;
        }
        if self.row_bit_14 {
            a = a & !0x4000 | u32::from(row >> 1 & 1) << 14;
        }
        a & self.mask
    }
}

/// Scan lines and where each comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Walk {
    start: u32,
    pitch: u32,
    preset_row: u8,
    max_row: u8,
    double_scan: bool,
    line_compare: u32,
    /// Dots that the picture is moved to the left.
    pan: u32,
    /// Below the split nothing is panned.
    split_unpanned: bool,
    byte_pan: u32,
    pub(super) addressing: Addressing,
    /// Characters (8 or 9 dots) in a line.
    pub(super) columns: u32,
    /// Every dot is two pixels wide.
    pub(super) wide: bool,
}

/// A scan line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) counter: u32,
    pub(super) row: u8,
    pub(super) pan: u32,
}

impl Walk {
    /// The first `height` scan lines.
    pub(super) fn lines(&self, height: u32) -> impl Iterator<Item = Line> + '_ {
        let mut line = Line { counter: self.start.wrapping_add(self.byte_pan), row: self.preset_row, pan: self.pan };
        let mut repeated = false;
        (0..height).map(move |y| {
            let this = line;
            if y == self.line_compare {
                let (byte_pan, pan) = if self.split_unpanned { (0, 0) } else { (self.byte_pan, self.pan) };
                line = Line { counter: byte_pan, row: 0, pan };
                repeated = false;
            } else if self.double_scan && !repeated {
                repeated = true;
            } else {
                repeated = false;
                if line.row == self.max_row {
                    line.row = 0;
                    line.counter = line.counter.wrapping_add(self.pitch);
                } else {
                    line.row = (line.row + 1) & 0x1F;
                }
            }
            this
        })
    }
}

impl Scanout {
    /// The bytes of video memory that the picture comes from: start and length.
    pub(super) fn memory_range(&self, memory: u64) -> (u64, u64) {
        match &self.kind {
            Kind::Blank => (0, 0),
            Kind::Text(_) => (0, VGA_MEMORY.min(memory)),
            Kind::Graphics(g) => {
                let last = u64::from(g.walk.start) + u64::from(g.walk.pitch) * u64::from(self.height) + 1;
                (0, if g.walk.addressing.mask == 0xFFFF { VGA_MEMORY } else { last * 4 }.min(memory))
            }
            Kind::Linear(l) => {
                let start = l.start.min(memory);
                (start, (u64::from(l.pitch) * u64::from(self.height)).min(memory - start))
            }
        }
    }
}

impl State {
    /// The picture at clock time `now`.
    pub(super) fn scanout(&self, now: u64) -> Scanout {
        let r = &self.registers;
        let dark = r.attr_index & attr::PALETTE_SOURCE == 0 || r.seq[seq::CLOCKING] & 0x20 != 0;
        let mut scanout = if self.vbe.enabled() { self.vbe_scanout() } else { self.vga_scanout(now) };
        if dark {
            scanout.kind = Kind::Blank;
        }
        scanout
    }

    /// The picture of a card without VGA.
    pub(super) fn bochs_scanout(&self) -> Scanout {
        if self.vbe.linear() { self.vbe_scanout() } else { Scanout { width: 640, height: 480, kind: Kind::Blank } }
    }

    fn vga_scanout(&self, now: u64) -> Scanout {
        let r = &self.registers;
        if r.crtc[1] == 0 {
            return Scanout { width: 640, height: 480, kind: Kind::Blank }; // not programmed yet
        }
        let graphics = r.gc[gc::MISC] & 1 != 0;
        let nine_dots = !graphics && r.seq[seq::CLOCKING] & 1 == 0;
        let walk = self.vga_walk(graphics);
        let width = (walk.columns * if nine_dots { 9 } else { 8 }) << u32::from(walk.wide);
        let end = u32::from(r.crtc[0x12]) | u32::from(r.crtc[7] & 2) << 7 | u32::from(r.crtc[7] & 0x40) << 3;
        let height = (end + 1) << u32::from(r.crtc[0x17] & 4 != 0);
        let kind = if graphics {
            let shift = match r.gc[gc::MODE] >> 5 & 3 {
                0 => Shift::Planar,
                1 => Shift::Interleaved,
                _ => Shift::Bytes,
            };
            let colours = if shift == Shift::Bytes { self.dac_colours() } else { self.attribute_colours().to_vec() };
            let (mask, turn) = self.blinking_dots(now);
            Kind::Graphics(Graphics { walk, shift, mask: r.attr[attr::PLANE_ENABLE] & mask, turn, colours })
        } else {
            Kind::Text(self.text(walk, nine_dots, now))
        };
        Scanout { width, height, kind }
    }

    /// Mask and bits to turn of dots now: blinking in graphics modes.
    fn blinking_dots(&self, now: u64) -> (u8, u8) {
        let mode = self.registers.attr[attr::MODE];
        match (mode & 8 != 0 && (now / FRAME_NS) & 0x10 != 0, mode & 2 != 0) {
            (false, _) => (0xF, 0),
            (true, true) => (0xF, 8),
            (true, false) => (7, 0),
        }
    }

    fn vga_walk(&self, graphics: bool) -> Walk {
        let r = &self.registers;
        let c = &r.crtc;
        let word = (c[0x14] & 0x40 == 0 && c[0x17] & 0x40 == 0).then(|| if c[0x17] & 0x20 != 0 { 15 } else { 13 });
        let pan = u32::from(r.attr[attr::PANNING] & 0xF);
        let nine_dots = !graphics && r.seq[seq::CLOCKING] & 1 == 0;
        Walk {
            start: u32::from(c[0xC]) << 8 | u32::from(c[0xD]),
            pitch: u32::from(c[0x13]) * 2,
            preset_row: c[8] & 0x1F,
            max_row: c[9] & 0x1F,
            double_scan: c[9] & 0x80 != 0,
            line_compare: u32::from(c[0x18]) | u32::from(c[7] & 0x10) << 4 | u32::from(c[9] & 0x40) << 3,
            pan: if nine_dots { (pan + 1) % 9 } else { pan & 7 }, // of nine dots, 8 stands for "not moved"
            split_unpanned: r.attr[attr::MODE] & 0x20 != 0,
            byte_pan: u32::from(c[8] >> 5 & 3),
            addressing: Addressing { word, row_bit_13: c[0x17] & 1 == 0, row_bit_14: c[0x17] & 2 == 0, mask: 0xFFFF },
            columns: u32::from(c[1]) + 1,
            wide: r.seq[seq::CLOCKING] & 8 != 0,
        }
    }

    fn text(&self, walk: Walk, nine_dots: bool, now: u64) -> Text {
        let r = &self.registers;
        let c = &r.crtc;
        let frame = now / FRAME_NS;
        let location = u32::from(c[0xE]) << 8 | u32::from(c[0xF]);
        let cursor = (c[0xA] & 0x20 == 0 && frame & 8 == 0).then_some((location, c[0xA] & 0x1F, c[0xB] & 0x1F));
        let mode = r.attr[attr::MODE];
        let blink = mode & 8 != 0;
        Text {
            walk,
            colours: self.attribute_colours(),
            nine_dots,
            fonts: fonts(r),
            blink,
            blink_shown: !blink || frame & 0x10 == 0,
            line_graphics: mode & 4 != 0,
            underline: c[0x14] & 0x1F,
            cursor,
        }
    }

    fn vbe_scanout(&self) -> Scanout {
        let vbe = &self.vbe;
        let (width, height) = (u32::from(vbe.xres), u32::from(vbe.yres));
        let line = u64::from(vbe.line_bytes());
        let (x, y) = (u64::from(vbe.x_offset), u64::from(vbe.y_offset));
        let kind = if vbe.linear() {
            Kind::Linear(Linear {
                start: y * line + x * u64::from(vbe.pixel_bytes()),
                pitch: vbe.line_bytes(),
                bpp: vbe.bpp,
                big_endian: self.big_endian,
                colours: if vbe.bpp == 8 { self.dac_colours() } else { vec![] },
            })
        } else {
            let walk = Walk {
                start: (y * line / 4 + x / 8) as u32,
                pitch: vbe.line_bytes() / 4,
                preset_row: 0,
                max_row: 0,
                double_scan: false,
                line_compare: u32::MAX,
                pan: u32::from(vbe.x_offset & 7),
                split_unpanned: false,
                byte_pan: 0,
                addressing: Addressing { word: None, row_bit_13: false, row_bit_14: false, mask: u32::MAX >> 2 },
                columns: width.div_ceil(8),
                wide: false,
            };
            let mask = self.registers.attr[attr::PLANE_ENABLE] & 0xF;
            let colours = self.attribute_colours().to_vec();
            Kind::Graphics(Graphics { walk, shift: Shift::Planar, mask, turn: 0, colours })
        };
        Scanout { width, height, kind }
    }

    fn dac_colour(&self, index: u8) -> u32 {
        let dac = &self.registers.dac;
        let colour = dac.colours.get(usize::from(index & dac.mask)).copied().unwrap_or_default();
        let wide = |c: u8| u32::from(if self.vbe.dac_8bit() { c } else { c << 2 | c >> 4 & 3 });
        colour.into_iter().fold(0, |rgb, c| rgb << 8 | wide(c))
    }

    fn dac_colours(&self) -> Vec<u32> {
        (0..=255).map(|i| self.dac_colour(i)).collect()
    }

    /// The 16 colours through palette registers, colour select and DAC.
    fn attribute_colours(&self) -> [u32; 16] {
        let a = &self.registers.attr;
        let select = a[attr::COLOUR_SELECT];
        std::array::from_fn(|i| {
            let index = if a[attr::MODE] & 0x80 != 0 {
                a[i] & 0xF | (select & 0xF) << 4
            } else {
                a[i] & 0x3F | (select & 0xC) << 4
            };
            self.dac_colour(index)
        })
    }
}

/// Sequencer register 3 names two of eight 8 KiB fonts: the even ones first.
fn fonts(r: &Registers) -> [u32; 2] {
    let map = r.seq[seq::CHARACTER_MAP];
    let offset = |low: u8, high: u8| u32::from(low & 3) * 0x4000 + u32::from(high & 1) * 0x2000;
    [offset(map, map >> 4), offset(map >> 2, map >> 5)]
}
