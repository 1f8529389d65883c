//! RFB pixel formats (RFC 6143, section 7.4): the screen's 0x00RRGGBB to what a client wants.

/// A colour channel: its largest value, and how far it is shifted to the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    max: u16,
    shift: u8,
}

impl Channel {
    fn of(self, value: u32) -> u32 {
        let scaled = ((value & 0xFF) * u32::from(self.max) + 127) / 255;
        scaled.checked_shl(self.shift.into()).unwrap_or(0)
    }

    /// The bits it takes.
    fn bits(self) -> u32 {
        u32::from(self.max).checked_shl(self.shift.into()).unwrap_or(0)
    }
}

/// A client's pixel format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PixelFormat {
    bits: u8,
    depth: u8,
    big_endian: bool,
    /// `false`: indices into the colour map that [`colour_map`] gives, in which bits are a colour anyway.
    pub(crate) true_colour: bool,
    channels: [Channel; 3],
}

/// The 256 colours of clients that want a colour map: three bits of red, three of green, two of blue.
pub(crate) fn colour_map() -> Vec<[u16; 3]> {
    let wide = |v: u32, max: u32| (v * 0xFFFF / max) as u16;
    (0..256u32).map(|i| [wide(i & 7, 7), wide(i >> 3 & 7, 7), wide(i >> 6, 3)]).collect()
}

const MAPPED: [Channel; 3] = [Channel { max: 7, shift: 0 }, Channel { max: 7, shift: 3 }, Channel { max: 3, shift: 6 }];

impl PixelFormat {
    /// What the server offers: 32 bits, depth 24, little-endian, 0x00RRGGBB.
    pub(crate) const SERVER: Self = Self {
        bits: 32,
        depth: 24,
        big_endian: false,
        true_colour: true,
        channels: [Channel { max: 255, shift: 16 }, Channel { max: 255, shift: 8 }, Channel { max: 255, shift: 0 }],
    };

    /// The 16 bytes of the protocol; `None` when they make no sense.
    pub(crate) fn parse(b: &[u8; 16]) -> Option<Self> {
        let max = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
        let mut f = Self {
            bits: b[0],
            depth: b[1],
            big_endian: b[2] != 0,
            true_colour: b[3] != 0,
            channels: std::array::from_fn(|c| Channel { max: max(4 + 2 * c), shift: b[10 + c] }),
        };
        if !matches!(f.bits, 8 | 16 | 32) {
            return None;
        }
        if !f.true_colour {
            f.channels = MAPPED;
            return (f.bits == 8).then_some(f);
        }
        let limit = u64::MAX >> (64 - u32::from(f.bits));
        let fits = |c: &Channel| c.shift < f.bits && u64::from(c.max) << c.shift <= limit;
        f.channels.iter().all(fits).then_some(f)
    }

    /// The 16 bytes of the protocol.
    pub(crate) fn bytes(&self) -> [u8; 16] {
        let mut b = [0; 16];
        (b[0], b[1], b[2], b[3]) = (self.bits, self.depth, self.big_endian.into(), self.true_colour.into());
        for (n, c) in self.channels.iter().enumerate() {
            b[4 + 2 * n..6 + 2 * n].copy_from_slice(&c.max.to_be_bytes());
            b[10 + n] = c.shift;
        }
        b
    }

    /// Bytes a pixel.
    pub(crate) fn size(&self) -> usize {
        usize::from(self.bits / 8)
    }

    /// A pixel's value.
    fn value(&self, pixel: u32) -> u32 {
        if *self == Self::SERVER {
            return pixel;
        }
        let [r, g, b] = self.channels;
        r.of(pixel >> 16) | g.of(pixel >> 8) | b.of(pixel)
    }

    /// Appends a pixel.
    pub(crate) fn put(&self, out: &mut Vec<u8>, pixel: u32) {
        let v = self.value(pixel);
        match (self.bits, self.big_endian) {
            (8, _) => out.push(v as u8),
            (16, false) => out.extend((v as u16).to_le_bytes()),
            (16, true) => out.extend((v as u16).to_be_bytes()),
            (_, false) => out.extend(v.to_le_bytes()),
            (_, true) => out.extend(v.to_be_bytes()),
        }
    }

    /// Which three of a pixel's four bytes ZRLE sends ("CPIXEL"): the first of them; `None` for all bytes.
    fn compact(&self) -> Option<usize> {
        if self.bits != 32 || self.depth > 24 || !self.true_colour {
            return None;
        }
        let used = self.channels.iter().fold(0, |bits, c| bits | c.bits());
        match (used & 0xFF00_0000 == 0, used & 0xFF == 0, self.big_endian) {
            (true, _, false) | (false, true, true) => Some(0),
            (true, _, true) | (false, true, false) => Some(1),
            (false, false, _) => None,
        }
    }

    /// Bytes of a CPIXEL.
    pub(crate) fn compact_size(&self) -> usize {
        if self.compact().is_some() { 3 } else { self.size() }
    }

    /// Appends a CPIXEL.
    pub(crate) fn put_compact(&self, out: &mut Vec<u8>, pixel: u32) {
        let Some(first) = self.compact() else { return self.put(out, pixel) };
        let v = self.value(pixel);
        let bytes = if self.big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
        out.extend(&bytes[first..first + 3]);
    }

    /// Tight sends red, green and blue bytes instead of pixels ("TPIXEL").
    pub(crate) fn is_tight_rgb(&self) -> bool {
        self.bits == 32 && self.depth == 24 && self.true_colour && self.channels.iter().all(|c| c.max == 255)
    }

    /// Appends a TPIXEL.
    pub(crate) fn put_tight(&self, out: &mut Vec<u8>, pixel: u32) {
        if self.is_tight_rgb() {
            out.extend([(pixel >> 16) as u8, (pixel >> 8) as u8, pixel as u8]);
        } else {
            self.put(out, pixel);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn rgb565(big_endian: bool) -> PixelFormat {
        let mut b = [16, 16, big_endian.into(), 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0];
        let f = PixelFormat::parse(&b).unwrap();
        b[0] = 24;
        assert_eq!(PixelFormat::parse(&b), None);
        f
    }

    #[test]
    fn pixels() {
        let put = |f: &PixelFormat, p| {
            let mut v = vec![];
            f.put(&mut v, p);
            v
        };
        assert_eq!(PixelFormat::parse(&PixelFormat::SERVER.bytes()), Some(PixelFormat::SERVER));
        assert_eq!(put(&PixelFormat::SERVER, 0x12_3456), [0x56, 0x34, 0x12, 0]);
        assert_eq!(put(&rgb565(false), 0xFF_0000), [0, 0xF8]);
        assert_eq!(put(&rgb565(true), 0xFF_FF00), [0xFF, 0xE0]);
        let mapped = PixelFormat::parse(&[8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(put(&mapped, 0x00_FF00), [0x38]);
        assert_eq!(colour_map()[0x38], [0, 0xFFFF, 0]);
    }

    #[test]
    fn compact_pixels() {
        let compact = |f: PixelFormat| {
            let mut v = vec![];
            f.put_compact(&mut v, 0x12_3456);
            assert_eq!(v.len(), f.compact_size());
            v
        };
        let mut b = PixelFormat::SERVER.bytes();
        assert_eq!(compact(PixelFormat::SERVER), [0x56, 0x34, 0x12]);
        b[2] = 1;
        assert_eq!(compact(PixelFormat::parse(&b).unwrap()), [0x12, 0x34, 0x56]);
        (b[10], b[11], b[12]) = (24, 16, 8);
        assert_eq!(compact(PixelFormat::parse(&b).unwrap()), [0x12, 0x34, 0x56]);
        b[2] = 0;
        assert_eq!(compact(PixelFormat::parse(&b).unwrap()), [0x56, 0x34, 0x12]);
        b[1] = 32;
        assert_eq!(compact(PixelFormat::parse(&b).unwrap()), [0, 0x56, 0x34, 0x12]);
    }

    #[test]
    fn nonsense_is_refused() {
        let good = PixelFormat::SERVER.bytes();
        for (at, v) in [(0, 0), (0, 7), (0, 64), (10, 32), (10, 255), (10, 25), (4, 0xFF)] {
            let mut b = good;
            b[at] = v;
            assert_eq!(PixelFormat::parse(&b).is_some(), (at, v) == (4, 0xFF) && b[10] < 17, "{at} {v}");
        }
    }
}
