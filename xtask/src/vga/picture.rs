//! Pictures, and those that are expected: each dot computed from its place, as the IBM Video Subsystem Technical Reference (chapter
//! "VGA") defines what the CRT controller, the attribute controller and the DAC show.

/// Pixels, 0x00RRGGBB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) pixels: Vec<u32>,
}

impl Picture {
    pub(crate) fn new(width: usize, height: usize, pixel: impl Fn(usize, usize) -> u32) -> Self {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| pixel(x, y)).collect();
        Self { width, height, pixels }
    }

    /// A binary PPM file.
    pub(crate) fn from_ppm(bytes: &[u8]) -> Option<Self> {
        let mut fields = bytes.splitn(4, |b| b.is_ascii_whitespace());
        let mut text = || std::str::from_utf8(fields.next()?).ok();
        if text()? != "P6" {
            return None;
        }
        let (width, height) = (text()?.parse().ok()?, text()?.parse().ok()?);
        let rest = fields.next()?;
        let pixels = rest.get(rest.iter().position(|b| b.is_ascii_whitespace())? + 1..)?;
        let pixels: Vec<u32> = pixels.chunks_exact(3).map(|c| u32::from_be_bytes([0, c[0], c[1], c[2]])).collect();
        (pixels.len() == width * height).then_some(Self { width, height, pixels })
    }

    pub(crate) fn to_ppm(&self) -> Vec<u8> {
        let mut bytes = format!("P6\n{} {}\n255\n", self.width, self.height).into_bytes();
        bytes.extend(self.pixels.iter().flat_map(|p| p.to_be_bytes().into_iter().skip(1)));
        bytes
    }

    /// How this differs from what is expected, if it does.
    pub(crate) fn difference(&self, expected: &Self, tolerance: u32) -> Option<String> {
        if (self.width, self.height) != (expected.width, expected.height) {
            let size = |p: &Self| format!("{} x {}", p.width, p.height);
            return Some(format!("the screen has {} pixels instead of {}", size(self), size(expected)));
        }
        if self.pixels == expected.pixels {
            return None;
        }
        let far = |a: u32, b: u32| {
            a.to_be_bytes().iter().zip(b.to_be_bytes()).any(|(a, b)| u32::from(a.abs_diff(b)) > tolerance)
        };
        let wrong = |at: &usize| far(self.pixels[*at], expected.pixels[*at]);
        let mut all = (0..self.pixels.len()).filter(wrong);
        let first = all.next()?;
        Some(format!(
            "{} pixels differ, the first at {}, {}: {:06x} instead of {:06x}",
            all.count() + 1,
            first % self.width,
            first / self.width,
            self.pixels[first],
            expected.pixels[first]
        ))
    }
}

/// Six bits of the DAC on a screen of eight.
pub(crate) fn wide(c: u8) -> u32 {
    u32::from(c << 2 | c >> 4 & 3)
}

/// A DAC entry as a pixel.
pub(crate) fn rgb([r, g, b]: [u8; 3]) -> u32 {
    wide(r) << 16 | wide(g) << 8 | wide(b)
}

/// The 64 colours of an EGA monitor's six lines: primaries of two thirds, secondaries of one third.
pub(crate) fn ega(index: u8) -> u32 {
    let part = |primary: u8, secondary: u8| 42 * (index >> primary & 1) + 21 * (index >> secondary & 1);
    rgb([part(2, 5), part(1, 4), part(0, 3)])
}

/// The 16 colours of a CGA monitor, whose dark yellow is brown.
pub(crate) fn cga(index: u8) -> u32 {
    let bright = index >> 3 & 1;
    let part = |bit: u8| 42 * (index >> bit & 1) + 21 * bright;
    let green = if index & 15 == 6 { 21 } else { part(1) };
    rgb([part(2), green, part(0)])
}

/// The DAC of the monochrome modes: bit 3 is video, bit 4 intensity (alone it is as bright as video).
pub(crate) fn mono(index: u8) -> u32 {
    let grey = [0, 42, 42, 63][usize::from(index >> 3 & 3)];
    rgb([grey; 3])
}

/// The 256 colours of mode 13h: 16 of CGA, 16 greys, and nine circles of 24 hues of falling brightness and saturation.
pub(crate) fn mode_13(index: u8) -> u32 {
    const GREYS: [u8; 16] = [0, 5, 8, 11, 14, 17, 20, 24, 28, 32, 36, 40, 45, 50, 56, 63];
    const LEVELS: [[u8; 5]; 9] = [
        [0, 16, 31, 47, 63],
        [31, 39, 47, 55, 63],
        [45, 49, 54, 58, 63],
        [0, 7, 14, 21, 28],
        [14, 17, 21, 24, 28],
        [20, 22, 24, 26, 28],
        [0, 4, 8, 12, 16],
        [8, 10, 12, 14, 16],
        [11, 12, 13, 15, 16],
    ];
    match index {
        0..16 => cga(index),
        16..32 => rgb([GREYS[usize::from(index) - 16]; 3]),
        248.. => 0,
        _ => {
            let (circle, hue) = ((usize::from(index) - 32) / 24, (usize::from(index) - 32) % 24);
            let levels = &LEVELS[circle];
            // Blue; red rises, blue falls, green rises, red falls, blue rises, green falls.
            let (sixth, step) = (hue / 4, hue % 4);
            let (up, down) = (levels[step], levels[4 - step]);
            let (low, high) = (levels[0], levels[4]);
            rgb(match sixth {
                0 => [up, low, high],
                1 => [high, low, down],
                2 => [high, up, low],
                3 => [down, high, low],
                4 => [low, high, up],
                _ => [low, down, high],
            })
        }
    }
}

/// The palette registers after a mode set: EGA's 16 of 64, CGA's bright ones in the modes of 200 lines.
pub(crate) fn default_palette(lines_200: bool) -> [u32; 16] {
    std::array::from_fn(|i| {
        let i = i as u8;
        if lines_200 {
            cga(i)
        } else {
            ega(if i & 7 == 6 && i < 8 { 0x14 } else { i & 7 | if i > 7 { 0x38 } else { 0 } })
        }
    })
}

/// Where the picture comes from, line by line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Scan lines of a row of memory.
    pub(crate) row: usize,
    /// From one row to the next, in characters.
    pub(crate) pitch: usize,
    pub(crate) start: usize,
    /// Dots to the left.
    pub(crate) pan: usize,
    pub(crate) preset: usize,
    /// Dots are two pixels wide.
    pub(crate) wide: bool,
    /// The last line before memory begins again at 0.
    pub(crate) split: usize,
    /// And is not panned.
    pub(crate) split_unpanned: bool,
}

impl Walk {
    pub(crate) fn new(width: usize, height: usize, row: usize, pitch: usize) -> Self {
        let (start, pan, preset) = (0, 0, 0);
        Self { width, height, row, pitch, start, pan, preset, wide: false, split: usize::MAX, split_unpanned: false }
    }

    /// Character address of the row, line in it, dot from its left edge.
    pub(crate) fn at(&self, x: usize, y: usize) -> (usize, usize, usize) {
        let below = y > self.split;
        let (start, y) = if below { (0, y - self.split - 1) } else { (self.start, y + self.preset) };
        let pan = if below && self.split_unpanned { 0 } else { self.pan };
        (start + y / self.row * self.pitch, y % self.row, (x >> usize::from(self.wide)) + pan)
    }

    pub(crate) fn draw(&self, dot: impl Fn(usize, usize, usize) -> u32) -> Picture {
        Picture::new(self.width, self.height, |x, y| {
            let (base, line, at) = self.at(x, y);
            dot(base, line, at)
        })
    }
}

/// A text screen.
#[derive(Debug, Clone)]
pub(crate) struct Text<'a> {
    pub(crate) walk: Walk,
    /// Characters and attributes.
    pub(crate) cells: &'a [u8],
    /// Fonts for attribute bit 3 clear and set, and the bytes of a character in them.
    pub(crate) fonts: [&'a [u8]; 2],
    pub(crate) glyph: usize,
    pub(crate) dots: usize,
    pub(crate) palette: [u32; 16],
    /// Attribute bit 7 blinks, and whether blinking characters are seen; else it is a bright background.
    pub(crate) blink: Option<bool>,
    pub(crate) line_graphics: bool,
    pub(crate) underline: usize,
    /// Character address, first and last line.
    pub(crate) cursor: Option<(usize, usize, usize)>,
}

impl Text<'_> {
    pub(crate) fn picture(&self) -> Picture {
        self.walk.draw(|base, line, at| {
            let (cell, dot) = (base + at / self.dots, at % self.dots);
            let byte = |n: usize| self.cells.get(cell * 2 + n).copied().unwrap_or(0);
            let (code, attribute) = (byte(0), byte(1));
            let font = self.fonts[usize::from(attribute >> 3 & 1)];
            let glyph = if line < self.glyph { font[usize::from(code) * self.glyph + line] } else { 0 };
            let mut lit = match dot {
                0..8 => glyph >> (7 - dot) & 1 != 0,
                _ => self.line_graphics && (0xC0..0xE0).contains(&code) && glyph & 1 != 0,
            };
            lit |= line == self.underline && attribute & 7 == 1;
            lit &= !(self.blink == Some(false) && attribute & 0x80 != 0);
            lit |= self.cursor.is_some_and(|(at, first, last)| at == cell && (first..=last).contains(&line));
            let back = if self.blink.is_some() { attribute >> 4 & 7 } else { attribute >> 4 };
            self.palette[usize::from(if lit { attribute & 15 } else { back })]
        })
    }
}

/// The colour number of a dot of four planes.
pub(crate) fn planar(planes: &[Vec<u8>; 4], base: usize, at: usize) -> usize {
    let bit = |p: &Vec<u8>| usize::from(p.get((base + at / 8) & 0xFFFF).copied().unwrap_or(0) >> (7 - at % 8) & 1);
    planes.iter().enumerate().map(|(n, p)| bit(p) << n).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn palettes_have_the_colours_of_the_books() {
        assert_eq!(
            [default_palette(false)[6], cga(6), ega(0x3F), mono(0x18)],
            [0xAA5500, 0xAA5500, 0xFFFFFF, 0xFFFFFF]
        );
        assert_eq!([32, 36, 40, 44, 48, 52].map(mode_13), [0xFF, 0xFF00FF, 0xFF0000, 0xFFFF00, 0xFF00, 0xFFFF]);
        assert_eq!((mode_13(55), mode_13(247)), (rgb([0, 16, 63]), rgb([11, 12, 16])));
    }

    #[test]
    fn a_ppm_comes_back() {
        let picture = Picture::new(3, 2, |x, y| (x * 7 + y * 0x30201) as u32);
        assert_eq!(Picture::from_ppm(&picture.to_ppm()), Some(picture));
        assert_eq!(Picture::from_ppm(b"P6\n2 2\n255\nxx"), None);
    }
}
