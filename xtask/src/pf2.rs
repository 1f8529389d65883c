//! GRUB's font files (PFF2, described in GRUB's developer documentation), and text in such a font found on a screen.

use crate::vga::Picture;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;

/// One character, as it lies on the baseline.
#[derive(Debug)]
struct Glyph {
    width: usize,
    height: usize,
    /// From the pen and the baseline to the left and the bottom row.
    offset: [i32; 2],
    advance: i32,
    /// Rows from the top, a bit a pixel, nothing between them.
    bits: Vec<u8>,
}

/// A font.
#[derive(Debug)]
pub(crate) struct Font {
    glyphs: BTreeMap<u32, Glyph>,
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    word(bytes, at).map(u32::from_be_bytes).and_then(|v| usize::try_from(v).ok())
}

fn i16_at(bytes: &[u8], at: usize) -> Option<i32> {
    word(bytes, at).map(i16::from_be_bytes).map(i32::from)
}

impl Font {
    /// The characters of ASCII.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.starts_with(b"FILE\0\0\0\x04PFF2"), "this is no font of GRUB");
        let mut at = 12;
        let index = loop {
            let name: [u8; 4] = word(bytes, at).context("the font has no index")?;
            let length = u32_at(bytes, at + 4).context("the font ends early")?;
            if &name == b"CHIX" {
                break bytes.get(at + 8..at + 8 + length).context("the font's index ends early")?;
            }
            at += 8 + length;
        };
        let entries = index.chunks_exact(9).filter_map(|e| Some((u32::from_be_bytes(word(e, 0)?), u32_at(e, 5)?)));
        let glyphs = entries.filter(|(code, _)| *code < 0x7F).filter_map(|(code, at)| {
            let (width, height) = (i16_at(bytes, at)?, i16_at(bytes, at + 2)?);
            let (width, height) = (usize::try_from(width).ok()?, usize::try_from(height).ok()?);
            let bits = bytes.get(at + 10..at + 10 + (width * height).div_ceil(8))?.to_vec();
            let offset = [i16_at(bytes, at + 4)?, i16_at(bytes, at + 6)?];
            Some((code, Glyph { width, height, offset, advance: i16_at(bytes, at + 8)?, bits }))
        });
        Ok(Self { glyphs: glyphs.collect() })
    }

    /// The places of the text's ink, from the pen at its start on the baseline, and how wide it is.
    fn ink(&self, text: &str) -> Option<(Vec<[i32; 2]>, i32)> {
        let (mut pen, mut ink) = (0, Vec::new());
        for c in text.chars() {
            let g = self.glyphs.get(&u32::from(c))?;
            for bit in (0..g.width * g.height).filter(|bit| g.bits[bit / 8] & 0x80 >> (bit % 8) != 0) {
                let (x, y) = ((bit % g.width) as i32, (bit / g.width) as i32);
                ink.push([pen + g.offset[0] + x, y - g.height as i32 - g.offset[1]]);
            }
            pen += g.advance;
        }
        Some((ink, pen))
    }

    /// Where the text is: all of its ink in one colour, none of that colour between. Its place on the baseline, and the colour.
    pub(crate) fn find(&self, text: &str, on: &Picture) -> Option<([usize; 2], u32)> {
        let (ink, width) = self.ink(text)?;
        let (top, bottom) = (ink.iter().map(|p| p[1]).min()?, ink.iter().map(|p| p[1]).max()?);
        let pixel = |x: i32, y: i32| {
            let (x, y) = (usize::try_from(x).ok()?, usize::try_from(y).ok()?);
            (x < on.width).then(|| on.pixels.get(y * on.width + x).copied())?
        };
        let area = (top..=bottom).flat_map(|dy| (0..width).map(move |dx| [dx, dy]));
        let gaps: Vec<[i32; 2]> = area.filter(|place| !ink.contains(place)).collect();
        for y in 0..on.height as i32 {
            for x in 0..on.width as i32 {
                let Some(colour) = pixel(x + ink[0][0], y + ink[0][1]) else { continue };
                // The gaps first: an empty screen is the same all over.
                if gaps.iter().all(|[dx, dy]| pixel(x + dx, y + dy) != Some(colour))
                    && ink.iter().all(|[dx, dy]| pixel(x + dx, y + dy) == Some(colour))
                {
                    return Some(([x as usize, y as usize], colour));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A font of two characters: `I`, two rows of one pixel, and `-`, a row of two pixels one above the baseline.
    fn font() -> Font {
        let mut f = b"FILE\0\0\0\x04PFF2NAME\0\0\0\x02x\0CHIX\0\0\0\x12".to_vec();
        let data = f.len() as u32 + 18 + 8;
        for (code, at) in [('-', data), ('I', data + 11)] {
            f.extend(u32::from(code).to_be_bytes());
            f.push(0);
            f.extend(at.to_be_bytes());
        }
        f.extend(b"DATA\xFF\xFF\xFF\xFF");
        for (words, bits) in [([2u16, 1, 0, 1, 3], 0xC0u8), ([1, 2, 1, 0, 3], 0xC0)] {
            f.extend(words.iter().flat_map(|w| w.to_be_bytes()));
            f.push(bits);
        }
        Font::read(&f).unwrap()
    }

    #[test]
    fn text_is_found_in_its_place_only() {
        let ink = [(5, 8), (5, 9), (7, 8), (8, 8)]; // I at 4, - at 7, baseline 10
        let mut picture = Picture::new(20, 20, |_, _| 1);
        ink.iter().for_each(|(x, y)| picture.pixels[y * 20 + x] = 7);
        assert_eq!(font().find("I-", &picture), Some(([4, 10], 7)));
        picture.pixels[8 * 20 + 6] = 7;
        assert_eq!(font().find("I-", &picture), None, "ink between the characters");
        assert!(Font::read(b"FILE\0\0\0\x04PFF3").is_err());
        assert_eq!(font().find("?", &picture), None);
    }
}
