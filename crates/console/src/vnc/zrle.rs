//! ZRLE (RFC 6143, section 7.7.6): tiles of 64 by 64 pixels, palettes and run lengths, in one zlib stream a client.

use std::io::Write;

use display::{Rect, Surface};
use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::pixel::PixelFormat;

/// Edge of a tile.
const TILE: u32 = 64;
/// Most colours of a packed palette.
const PALETTE: usize = 16;

/// The state of the encoding.
pub(crate) struct Zrle {
    stream: ZlibEncoder<Vec<u8>>,
    tile: Vec<u8>,
}

impl Zrle {
    pub(crate) fn new() -> Self {
        Self { stream: ZlibEncoder::new(vec![], Compression::fast()), tile: vec![] }
    }

    /// Appends the data of a rectangle.
    pub(crate) fn encode(&mut self, out: &mut Vec<u8>, surface: &Surface, r: Rect, format: &PixelFormat) {
        let mut pixels = Vec::with_capacity((TILE * TILE) as usize);
        for y in (r.y..r.y + r.height).step_by(TILE as usize) {
            for x in (r.x..r.x + r.width).step_by(TILE as usize) {
                let (width, height) = (TILE.min(r.x + r.width - x), TILE.min(r.y + r.height - y));
                pixels.clear();
                for row in (y..y + height).map(|y| surface.row(y)) {
                    pixels.extend((x..x + width).map(|x| row.get(x as usize).copied().unwrap_or(0)));
                }
                self.tile.clear();
                encode_tile(&mut self.tile, &pixels, width as usize, format);
                let _in_memory = self.stream.write_all(&self.tile);
            }
        }
        let _in_memory = self.stream.flush();
        let data = self.stream.get_mut();
        out.extend((data.len() as u32).to_be_bytes());
        out.append(data);
    }
}

/// The runs of equal pixels.
fn runs(pixels: &[u32]) -> impl Iterator<Item = (u32, usize)> + '_ {
    pixels.chunk_by(|a, b| a == b).map(|run| (run[0], run.len()))
}

fn put_run_length(out: &mut Vec<u8>, len: usize) {
    let mut left = len - 1;
    while left >= 255 {
        out.push(255);
        left -= 255;
    }
    out.push(left as u8);
}

fn encode_tile(out: &mut Vec<u8>, pixels: &[u32], width: usize, format: &PixelFormat) {
    let mut palette: Vec<u32> = vec![];
    let (mut run_count, mut length_bytes, mut singles) = (0, 0, 0);
    for (pixel, len) in runs(pixels) {
        run_count += 1;
        length_bytes += (len - 1) / 255 + 1;
        singles += usize::from(len == 1);
        if palette.len() <= 127 && !palette.contains(&pixel) {
            palette.push(pixel);
        }
    }
    let size = format.compact_size();
    let (raw, rle) = (pixels.len() * size, run_count * size + length_bytes);
    let colours = palette.len();
    let small = (2..=127).contains(&colours);
    // A single pixel has no length byte there.
    let palette_rle = if small { colours * size + run_count + length_bytes - singles } else { usize::MAX };
    let bits = match colours {
        2 => 1,
        3..=4 => 2,
        _ => 4,
    };
    let packed = if (2..=PALETTE).contains(&colours) {
        colours * size + (width * bits).div_ceil(8) * (pixels.len() / width.max(1))
    } else {
        usize::MAX
    };
    let least = raw.min(rle).min(palette_rle).min(packed);
    if colours == 1 {
        out.push(1);
        format.put_compact(out, palette[0]);
    } else if least == packed {
        put_packed(out, pixels, width, &palette, bits, format);
    } else if least == palette_rle {
        put_palette_rle(out, pixels, &palette, format);
    } else if least == rle {
        out.push(128);
        for (pixel, len) in runs(pixels) {
            format.put_compact(out, pixel);
            put_run_length(out, len);
        }
    } else {
        out.push(0);
        pixels.iter().for_each(|p| format.put_compact(out, *p));
    }
}

fn index_in(palette: &[u32], pixel: u32) -> u8 {
    palette.iter().position(|p| *p == pixel).unwrap_or(0) as u8
}

fn put_packed(out: &mut Vec<u8>, pixels: &[u32], width: usize, palette: &[u32], bits: usize, format: &PixelFormat) {
    out.push(palette.len() as u8);
    palette.iter().for_each(|p| format.put_compact(out, *p));
    for row in pixels.chunks(width.max(1)) {
        for group in row.chunks(8 / bits) {
            let byte = group.iter().fold(0, |byte, p| byte << bits | index_in(palette, *p));
            out.push(byte << (bits * (8 / bits - group.len())));
        }
    }
}

fn put_palette_rle(out: &mut Vec<u8>, pixels: &[u32], palette: &[u32], format: &PixelFormat) {
    out.push(128 + palette.len() as u8);
    palette.iter().for_each(|p| format.put_compact(out, *p));
    for (pixel, len) in runs(pixels) {
        let index = index_in(palette, pixel);
        if len == 1 {
            out.push(index);
        } else {
            out.push(index | 0x80);
            put_run_length(out, len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vnc::test_pictures::pictures;
    use flate2::{Decompress, FlushDecompress};

    /// Decodes CPIXELs of the server's format.
    fn decode_tile(data: &mut &[u8], width: usize, height: usize) -> Vec<u32> {
        fn byte(d: &mut &[u8]) -> u8 {
            let (first, rest) = d.split_first().unwrap();
            *d = rest;
            *first
        }
        let colour = |d: &mut &[u8]| u32::from_le_bytes([byte(d), byte(d), byte(d), 0]);
        let run = |d: &mut &[u8]| {
            let mut len = 1;
            loop {
                let b = byte(d);
                len += usize::from(b);
                if b != 255 {
                    return len;
                }
            }
        };
        let total = width * height;
        let mut pixels = vec![];
        match byte(data) {
            0 => (0..total).for_each(|_| pixels.push(colour(data))),
            1 => pixels = vec![colour(data); total],
            n @ 2..=16 => {
                let palette: Vec<u32> = (0..n).map(|_| colour(data)).collect();
                let bits = [1, 2, 4][usize::from(n > 2) + usize::from(n > 4)];
                for _ in 0..height {
                    let bytes: Vec<u8> = (0..(width * bits).div_ceil(8)).map(|_| byte(data)).collect();
                    for x in 0..width {
                        let b = bytes[x * bits / 8] >> (8 - bits - x * bits % 8) & ((1 << bits) - 1);
                        pixels.push(palette[usize::from(b)]);
                    }
                }
            }
            128 => {
                while pixels.len() < total {
                    let c = colour(data);
                    pixels.extend(std::iter::repeat_n(c, run(data)));
                }
            }
            n @ 130.. => {
                let palette: Vec<u32> = (0..n - 128).map(|_| colour(data)).collect();
                while pixels.len() < total {
                    let b = byte(data);
                    let len = if b & 0x80 != 0 { run(data) } else { 1 };
                    pixels.extend(std::iter::repeat_n(palette[usize::from(b & 0x7F)], len));
                }
            }
            n => panic!("subencoding {n}"),
        }
        assert_eq!(pixels.len(), total);
        pixels
    }

    #[test]
    fn every_kind_of_tile_decodes_to_the_same_pixels() {
        let mut encoder = Zrle::new();
        let mut inflate = Decompress::new(true);
        let mut kinds = std::collections::BTreeSet::new();
        for s in pictures() {
            let r = Rect { x: 1, y: 2, width: s.width - 1, height: s.height - 3 };
            let mut out = vec![];
            encoder.encode(&mut out, &s, r, &PixelFormat::SERVER);
            assert_eq!(u32::from_be_bytes(out[..4].try_into().unwrap()) as usize, out.len() - 4);
            let mut plain = Vec::with_capacity(1 << 22);
            inflate.decompress_vec(&out[4..], &mut plain, FlushDecompress::Sync).unwrap();
            let mut data = &plain[..];
            for y in (r.y..r.y + r.height).step_by(64) {
                for x in (r.x..r.x + r.width).step_by(64) {
                    let (w, h) = (64.min(r.x + r.width - x), 64.min(r.y + r.height - y));
                    kinds.insert(data[0].clamp(0, 130));
                    let pixels = decode_tile(&mut data, w as usize, h as usize);
                    for (n, p) in (0..).zip(pixels) {
                        assert_eq!(p, s.pixel(x + n % w, y + n / w));
                    }
                }
            }
            assert!(data.is_empty());
        }
        assert!(kinds.is_superset(&[0, 1, 2, 128, 130].into()), "{kinds:?}");
    }
}
