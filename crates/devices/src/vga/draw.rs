//! Pixels from video memory.

use super::scanout::{Graphics, Kind, Line, Linear, Scanout, Shift, Text};

/// Bytes of a character in a font.
const GLYPH: u32 = 32;

/// The bytes of the four planes at `address`; zero past the end.
fn planes(memory: &[u8], address: u32) -> [u8; 4] {
    let at = address as usize * 4;
    memory.get(at..at + 4).and_then(|b| b.try_into().ok()).unwrap_or_default()
}

impl Scanout {
    /// Calls `row` with the number and pixels of each line that `wanted` says yes to. `memory` is what
    /// [`Scanout::memory_range`] names.
    pub(super) fn draw(&self, memory: &[u8], wanted: impl Fn(u32) -> bool, mut row: impl FnMut(u32, &[u32])) {
        let mut pixels = vec![0u32; self.width as usize];
        let mut dots = Vec::new();
        match &self.kind {
            Kind::Blank => (0..self.height).filter(|y| wanted(*y)).for_each(|y| row(y, &pixels)),
            Kind::Linear(l) => (0..self.height).filter(|y| wanted(*y)).for_each(|y| {
                let start = (y as usize * l.pitch as usize).min(memory.len());
                l.line(&memory[start..], &mut pixels);
                row(y, &pixels);
            }),
            Kind::Text(t) => {
                for (y, line) in (0..).zip(t.walk.lines(self.height)).filter(|(y, _)| wanted(*y)) {
                    dots.clear();
                    t.line(memory, line, &mut dots);
                    place(&dots, line.pan, t.walk.wide, |d| t.colours[usize::from(d & 0xF)], &mut pixels);
                    row(y, &pixels);
                }
            }
            Kind::Graphics(g) => {
                for (y, line) in (0..).zip(g.walk.lines(self.height)).filter(|(y, _)| wanted(*y)) {
                    dots.clear();
                    g.line(memory, line, &mut dots);
                    let colour = |d: u8| g.colours.get(usize::from(d)).copied().unwrap_or(0);
                    place(&dots, line.pan, g.walk.wide, colour, &mut pixels);
                    row(y, &pixels);
                }
            }
        }
    }
}

/// Dots to pixels, `pan` dots moved to the left.
fn place(dots: &[u8], pan: u32, wide: bool, colour: impl Fn(u8) -> u32, pixels: &mut [u32]) {
    let shown = dots.get(pan as usize..).unwrap_or(&[]).iter().map(|d| colour(*d));
    if wide {
        pixels.iter_mut().zip(shown.flat_map(|c| [c, c])).for_each(|(p, c)| *p = c);
    } else {
        pixels.iter_mut().zip(shown).for_each(|(p, c)| *p = c);
    }
}

impl Text {
    fn line(&self, memory: &[u8], line: Line, dots: &mut Vec<u8>) {
        for column in 0..=self.walk.columns {
            let counter = line.counter.wrapping_add(column);
            let [code, attribute, ..] = planes(memory, self.walk.addressing.apply(counter, line.row));
            let font = self.fonts[usize::from(attribute >> 3 & 1)];
            let glyph = planes(memory, font + u32::from(code) * GLYPH + u32::from(line.row))[2];
            let mut bits = u16::from(glyph) << 1;
            if self.line_graphics && (0xC0..=0xDF).contains(&code) {
                bits |= u16::from(glyph & 1);
            }
            if line.row == self.underline && attribute & 7 == 1 {
                bits = 0x1FF;
            }
            if self.blink && attribute & 0x80 != 0 && !self.blink_shown {
                bits = 0;
            }
            if self.cursor.is_some_and(|(at, first, last)| at == counter & 0xFFFF && (first..=last).contains(&line.row))
            {
                bits = 0x1FF;
            }
            let back = if self.blink { attribute >> 4 & 7 } else { attribute >> 4 };
            let width = if self.nine_dots { 9 } else { 8 };
            dots.extend((0..width).map(|x| if bits >> (8 - x) & 1 != 0 { attribute & 0xF } else { back }));
        }
    }

    /// The characters of the screen, a line each.
    pub(super) fn lines(&self, memory: &[u8], height: u32) -> Vec<String> {
        let mut text = Vec::new();
        let mut last = None;
        for line in self.walk.lines(height).filter(|l| last.replace(l.counter) != Some(l.counter)) {
            let code = |column| {
                let at = self.walk.addressing.apply(line.counter.wrapping_add(column), line.row);
                display::cp437(planes(memory, at)[0])
            };
            let characters: String = (0..self.walk.columns).map(code).collect();
            text.push(characters.trim_end().to_owned());
        }
        text
    }
}

impl Graphics {
    fn line(&self, memory: &[u8], line: Line, dots: &mut Vec<u8>) {
        for column in 0..=self.walk.columns {
            let address = self.walk.addressing.apply(line.counter.wrapping_add(column), line.row);
            let p = planes(memory, address);
            match self.shift {
                Shift::Bytes => dots.extend(p.iter().flat_map(|b| [*b, *b])),
                Shift::Interleaved => {
                    for (low, high) in [(p[0], p[2]), (p[1], p[3])] {
                        let pixel = |shift: u8| (low >> shift & 3 | (high >> shift & 3) << 2) & self.mask ^ self.turn;
                        dots.extend([6, 4, 2, 0].map(pixel));
                    }
                }
                Shift::Planar => {
                    let pixel = |bit: u8| (0..4).fold(0, |i, n| i | (p[n] >> bit & 1) << n) & self.mask ^ self.turn;
                    dots.extend([7, 6, 5, 4, 3, 2, 1, 0].map(pixel));
                }
            }
        }
    }
}

/// Five bits to eight.
fn five(v: u32) -> u32 {
    (v & 0x1F) << 3 | (v & 0x1F) >> 2
}

/// Six bits to eight.
fn six(v: u32) -> u32 {
    (v & 0x3F) << 2 | (v & 0x3F) >> 4
}

impl Linear {
    fn line(&self, memory: &[u8], pixels: &mut [u32]) {
        let word = |b: &[u8]| {
            let b = [b[0], b[1]];
            u32::from(if self.big_endian { u16::from_be_bytes(b) } else { u16::from_le_bytes(b) })
        };
        match self.bpp {
            8 => fill(pixels, memory, 1, |b| self.colours.get(usize::from(b[0])).copied().unwrap_or(0)),
            15 => fill(pixels, memory, 2, |b| {
                let v = word(b);
                five(v >> 10) << 16 | five(v >> 5) << 8 | five(v)
            }),
            16 => fill(pixels, memory, 2, |b| {
                let v = word(b);
                five(v >> 11) << 16 | six(v >> 5) << 8 | five(v)
            }),
            24 if self.big_endian => fill(pixels, memory, 3, |b| u32::from_be_bytes([0, b[0], b[1], b[2]])),
            24 => fill(pixels, memory, 3, |b| u32::from_le_bytes([b[0], b[1], b[2], 0])),
            _ if self.big_endian => fill(pixels, memory, 4, |b| u32::from_be_bytes([0, b[1], b[2], b[3]])),
            _ => fill(pixels, memory, 4, |b| u32::from_le_bytes([b[0], b[1], b[2], 0])),
        }
    }
}

/// Whole pixels as far as the memory goes, black after that.
fn fill(pixels: &mut [u32], memory: &[u8], bytes: usize, colour: impl Fn(&[u8]) -> u32) {
    let mut source = memory.chunks_exact(bytes);
    pixels.iter_mut().for_each(|p| *p = source.next().map_or(0, &colour));
}
