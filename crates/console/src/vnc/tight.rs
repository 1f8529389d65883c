//! Tight (the community RFB specification, "Tight Encoding"): fill, palette and copy filters, three of its four zlib
//! streams, JPEG where loss is allowed. Left out: the gradient filter.

use std::io::Write;

use display::{Rect, Surface};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::pixel::PixelFormat;

/// The widest rectangle that the encoding allows.
pub(crate) const MAX_WIDTH: u32 = 2048;
/// Pixels of a rectangle, so that compressed lengths stay below what three bytes hold.
pub(crate) const MAX_PIXELS: u32 = 1 << 16;

const FILL: u8 = 0x80;
const JPEG: u8 = 0x90;
/// What the ten quality levels are on JPEG's scale of a hundred.
const QUALITIES: [u8; 10] = [15, 29, 41, 42, 62, 77, 79, 86, 92, 100];
/// Pixels below which JPEG's header is most of it.
const JPEG_PIXELS: u32 = 256;
const EXPLICIT_FILTER: u8 = 0x40;
const PALETTE_FILTER: u8 = 1;
/// Data shorter than this is sent as it is.
const MIN_TO_COMPRESS: usize = 12;

/// Streams: full colour, two colours, palette.
const FULL: usize = 0;
const MONO: usize = 1;
const INDEXED: usize = 2;

/// The state of the encoding.
pub(crate) struct Tight {
    streams: [ZlibEncoder<Vec<u8>>; 3],
    quality: Option<u8>,
}

impl Tight {
    pub(crate) fn new() -> Self {
        Self { streams: std::array::from_fn(|_| ZlibEncoder::new(vec![], Compression::fast())), quality: None }
    }

    /// The quality of JPEG, from 0 to 9, if there may be loss.
    pub(crate) fn set_quality(&mut self, quality: Option<u8>) {
        self.quality = quality;
    }

    /// The rectangle as JPEG, where that is wanted and possible.
    fn jpeg<'a>(&self, rows: impl Iterator<Item = &'a [u32]>, r: Rect, format: &PixelFormat) -> Option<Vec<u8>> {
        let level = usize::from(self.quality?);
        // Clients decode to their own format: one of few colours would get dots of other ones.
        if r.width * r.height < JPEG_PIXELS || format.size() == 1 {
            return None;
        }
        let rgb: Vec<u8> = rows.flatten().flat_map(|p| p.to_be_bytes().into_iter().skip(1)).collect();
        let mut bytes = vec![];
        let mut encoder = Encoder::new(&mut bytes, *QUALITIES.get(level)?);
        encoder.set_sampling_factor(if level < 7 { SamplingFactor::F_2_2 } else { SamplingFactor::F_1_1 });
        let size = (u16::try_from(r.width).ok()?, u16::try_from(r.height).ok()?);
        encoder.encode(&rgb, size.0, size.1, ColorType::Rgb).ok()?;
        Some(bytes)
    }

    /// Appends the data of a rectangle of at most [`MAX_WIDTH`] and [`MAX_PIXELS`].
    pub(crate) fn encode(&mut self, out: &mut Vec<u8>, surface: &Surface, r: Rect, format: &PixelFormat) {
        let columns = r.x as usize..(r.x + r.width) as usize;
        let rows = (r.y..r.y + r.height).map(|y| surface.row(y).get(columns.clone()).unwrap_or(&[]));
        let mut palette: Vec<u32> = vec![];
        for run in rows.clone().flat_map(|row| row.chunk_by(|a, b| a == b)) {
            if palette.len() <= 256 && !palette.contains(&run[0]) {
                palette.push(run[0]);
            }
            // More colours than pay off.
            if palette.len() > 96 {
                break;
            }
        }
        match palette.len() {
            1 => {
                out.push(FILL);
                format.put_tight(out, palette[0]);
            }
            2..=96 => {
                let stream = if palette.len() == 2 { MONO } else { INDEXED };
                out.extend([(stream as u8) << 4 | EXPLICIT_FILTER, PALETTE_FILTER, palette.len() as u8 - 1]);
                palette.iter().for_each(|p| format.put_tight(out, *p));
                let data = if palette.len() == 2 { mono(rows, palette[0]) } else { indexed(rows, &palette) };
                self.put(out, stream, &data);
            }
            _ => {
                if let Some(bytes) = self.jpeg(rows.clone(), r, format) {
                    out.push(JPEG);
                    put_length(out, bytes.len());
                    out.extend(bytes);
                    return;
                }
                out.push((FULL as u8) << 4);
                let mut data = vec![];
                rows.flatten().for_each(|p| format.put_tight(&mut data, *p));
                self.put(out, FULL, &data);
            }
        }
    }

    /// Appends data, compressed when that is to be.
    fn put(&mut self, out: &mut Vec<u8>, stream: usize, data: &[u8]) {
        let encoder = &mut self.streams[stream];
        if data.len() < MIN_TO_COMPRESS {
            out.extend(data);
            return;
        }
        let _in_memory = encoder.write_all(data).and_then(|()| encoder.flush());
        let compressed = encoder.get_mut();
        put_length(out, compressed.len());
        out.append(compressed);
    }
}

/// Seven bits a byte, the lowest first, all eight in the third.
fn put_length(out: &mut Vec<u8>, len: usize) {
    let [a, b, c] = [len & 0x7F, len >> 7 & 0x7F, len >> 14 & 0xFF].map(|n| n as u8);
    match len {
        0..0x80 => out.push(a),
        0x80..0x4000 => out.extend([a | 0x80, b]),
        _ => out.extend([a | 0x80, b | 0x80, c]),
    }
}

/// One bit a pixel, set for what is not `first`.
fn mono<'a>(rows: impl Iterator<Item = &'a [u32]>, first: u32) -> Vec<u8> {
    let mut data = vec![];
    for group in rows.flat_map(|row| row.chunks(8)) {
        let byte = group.iter().fold(0u8, |byte, p| byte << 1 | u8::from(*p != first));
        data.push(byte << (8 - group.len()));
    }
    data
}

fn indexed<'a>(rows: impl Iterator<Item = &'a [u32]>, palette: &[u32]) -> Vec<u8> {
    let mut last = (palette[0], 0);
    let mut index = |p: u32| {
        if p != last.0 {
            last = (p, palette.iter().position(|c| *c == p).unwrap_or(0) as u8);
        }
        last.1
    };
    rows.flatten().map(|p| index(*p)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vnc::test_pictures::pictures;
    use flate2::{Decompress, FlushDecompress};

    struct Decoder {
        streams: [Decompress; 4],
    }

    impl Decoder {
        fn data(&mut self, at: &mut &[u8], stream: u8, len: usize) -> Vec<u8> {
            if len < 12 {
                let (now, rest) = at.split_at(len);
                *at = rest;
                return now.to_vec();
            }
            let mut size = 0;
            for shift in [0, 7, 14] {
                let b = at[0];
                *at = &at[1..];
                size |= usize::from(if shift == 14 { b } else { b & 0x7F }) << shift;
                if b & 0x80 == 0 {
                    break;
                }
            }
            let (now, rest) = at.split_at(size);
            *at = rest;
            let mut plain = Vec::with_capacity(len + 100);
            self.streams[usize::from(stream)].decompress_vec(now, &mut plain, FlushDecompress::Sync).unwrap();
            assert_eq!(plain.len(), len);
            plain
        }

        fn rect(&mut self, at: &mut &[u8], w: usize, h: usize) -> Vec<u32> {
            let colour = |b: &[u8]| u32::from_be_bytes([0, b[0], b[1], b[2]]);
            let control = at[0];
            *at = &at[1..];
            if control == 0x80 {
                let c = colour(at);
                *at = &at[3..];
                return vec![c; w * h];
            }
            if control & 0x40 == 0 {
                return self.data(at, control >> 4 & 3, w * h * 3).chunks(3).map(colour).collect();
            }
            assert_eq!(at[0], 1);
            let n = usize::from(at[1]) + 1;
            let palette: Vec<u32> = at[2..2 + n * 3].chunks(3).map(colour).collect();
            *at = &at[2 + n * 3..];
            let pitch = if n == 2 { w.div_ceil(8) } else { w };
            let data = self.data(at, control >> 4 & 3, pitch * h);
            let pixel = |x: usize, y: usize| {
                if n == 2 { data[y * pitch + x / 8] >> (7 - x % 8) & 1 } else { data[y * pitch + x] }
            };
            (0..w * h).map(|i| palette[usize::from(pixel(i % w, i / w))]).collect()
        }
    }

    #[test]
    fn rectangles_decode_to_the_same_pixels() {
        let mut encoder = Tight::new();
        let mut decoder = Decoder { streams: std::array::from_fn(|_| Decompress::new(true)) };
        for s in pictures() {
            for r in [
                Rect { x: 1, y: 2, width: s.width - 1, height: s.height - 3 },
                Rect { x: 0, y: 0, width: 3, height: 1 },
            ] {
                let mut out = vec![];
                encoder.encode(&mut out, &s, r, &PixelFormat::SERVER);
                let mut at = &out[..];
                for (n, p) in (0..).zip(decoder.rect(&mut at, r.width as usize, r.height as usize)) {
                    assert_eq!(p, s.pixel(r.x + n % r.width, r.y + n / r.width));
                }
                assert!(at.is_empty());
            }
        }
    }

    #[test]
    fn jpeg_where_loss_is_allowed() {
        let all = pictures();
        let photo = all.last().unwrap();
        let r = Rect { x: 4, y: 1, width: 100, height: 60 };
        let mut encoder = Tight::new();
        let mut sizes = vec![];
        for quality in [0, 9] {
            encoder.set_quality(Some(quality));
            let mut out = vec![];
            encoder.encode(&mut out, photo, r, &PixelFormat::SERVER);
            assert_eq!(out[0], 0x90);
            let len = usize::from(out[1] & 0x7F) | usize::from(out[2] & 0x7F) << 7;
            assert_eq!(out.len(), 3 + len);
            let mut decoder = jpeg_decoder::Decoder::new(&out[3..]);
            let pixels = decoder.decode().unwrap();
            let info = decoder.info().unwrap();
            assert_eq!((info.width, info.height, pixels.len()), (100, 60, 18_000));
            if quality == 9 {
                for (n, p) in (0..).zip(pixels.chunks(3)) {
                    let wanted = photo.pixel(r.x + n % r.width, r.y + n / r.width).to_be_bytes();
                    assert!(p.iter().zip(&wanted[1..]).all(|(a, b)| a.abs_diff(*b) <= 6), "{p:?} {wanted:?}");
                }
            }
            sizes.push(len);
        }
        assert!(sizes[0] < sizes[1], "{sizes:?}");
        // Few colours stay exact.
        let mut out = vec![];
        encoder.encode(&mut out, &all[3], r, &PixelFormat::SERVER);
        assert_eq!(out[0] & 0x40, 0x40);
    }

    #[test]
    fn lengths() {
        let put = |n| {
            let mut v = vec![];
            put_length(&mut v, n);
            v
        };
        assert_eq!((put(127), put(128), put(10_000)), (vec![127], vec![0x80, 1], vec![0x90, 0x4E]));
        assert_eq!(put(16_384), [0x80, 0x80, 1]);
    }
}
