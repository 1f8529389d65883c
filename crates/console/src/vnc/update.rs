//! FramebufferUpdate messages (RFC 6143, section 7.6.1): what has changed, in the client's encoding and pixel format.

use display::{Rect, Surface};
use input::Leds;

use super::message::encoding;
use super::pixel::PixelFormat;
use super::tight::{self, Tight};
use super::zrle::Zrle;

/// What a client shows where the user points: 1 is black, 2 white, 0 nothing.
const DOT: [[u8; 5]; 5] = [[0, 1, 1, 1, 0], [1, 2, 2, 2, 1], [1, 2, 2, 2, 1], [1, 2, 2, 2, 1], [0, 1, 1, 1, 0]];

/// A client's encodings with their state.
pub(crate) struct Encoders {
    tight: Tight,
    zrle: Zrle,
}

/// A message being made.
pub(crate) struct Update {
    bytes: Vec<u8>,
    count: u16,
}

impl Update {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; 4], count: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn header(&mut self, [x, y, width, height]: [u32; 4], encoding: i32) {
        // No more than the protocol can count; the rest is dirty at the next look.
        self.count = self.count.saturating_add(1);
        for v in [x, y, width, height] {
            self.bytes.extend((v as u16).to_be_bytes());
        }
        self.bytes.extend(encoding.to_be_bytes());
    }

    /// A rectangle without data that says something.
    pub(crate) fn say(&mut self, x: u32, width: u32, height: u32, encoding: i32) {
        self.header([x, 0, width, height], encoding);
    }

    /// CopyRect: what is in `to` was at row `from`.
    pub(crate) fn copy(&mut self, to: Rect, from: u32) {
        self.header([to.x, to.y, to.width, to.height], encoding::COPY_RECT);
        self.bytes.extend((to.x as u16).to_be_bytes());
        self.bytes.extend((from as u16).to_be_bytes());
    }

    /// ExtendedDesktopSize: why, the result, and one screen that is everything.
    pub(crate) fn extended_size(&mut self, reason: u32, status: u32, width: u32, height: u32) {
        self.header([reason, status, width, height], encoding::EXTENDED_DESKTOP_SIZE);
        self.bytes.extend([1, 0, 0, 0]);
        self.bytes.extend([0; 8]);
        self.bytes.extend((width as u16).to_be_bytes());
        self.bytes.extend((height as u16).to_be_bytes());
        self.bytes.extend([0; 4]);
    }

    /// The keyboard's lights: Scroll Lock is bit 0, Num Lock bit 1, Caps Lock bit 2.
    pub(crate) fn leds(&mut self, leds: Leds, encoding: i32) {
        let bits = u8::from(leds.scroll) | u8::from(leds.num) << 1 | u8::from(leds.caps) << 2;
        self.header([0; 4], encoding);
        if encoding == encoding::VMWARE_LED_STATE {
            self.bytes.extend([0; 3]);
        }
        self.bytes.push(bits);
    }

    /// The client's own pointer: a dot, since the guest draws its own in the picture.
    pub(crate) fn cursor(&mut self, format: &PixelFormat) {
        let (side, middle) = (DOT.len() as u32, DOT.len() as u32 / 2);
        self.header([middle, middle, side, side], encoding::CURSOR); // the place is the hot spot
        let dots = DOT.iter().flat_map(|row| row.iter());
        dots.for_each(|dot| format.put(&mut self.bytes, if *dot == 2 { 0xFF_FFFF } else { 0 }));
        self.bytes
            .extend(DOT.iter().map(|row| row.iter().enumerate().fold(0, |m, (x, d)| m | u8::from(*d != 0) << (7 - x))));
    }

    /// The message.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if let Some(count) = self.bytes.get_mut(2..4) {
            count.copy_from_slice(&self.count.to_be_bytes());
        }
        self.bytes
    }
}

/// The pieces of a rectangle that the Tight encoding can hold.
fn pieces(r: Rect) -> impl Iterator<Item = Rect> {
    let width = r.width.clamp(1, tight::MAX_WIDTH);
    let height = (tight::MAX_PIXELS / width).max(1);
    let columns = (r.x..r.x + r.width).step_by(width as usize);
    columns.flat_map(move |x| {
        let rows = (r.y..r.y + r.height).step_by(height as usize);
        rows.map(move |y| Rect { x, y, width: width.min(r.x + r.width - x), height: height.min(r.y + r.height - y) })
    })
}

impl Encoders {
    pub(crate) fn new() -> Self {
        Self { tight: Tight::new(), zrle: Zrle::new() }
    }

    /// The quality of JPEG, from 0 to 9, if there may be loss.
    pub(crate) fn set_quality(&mut self, quality: Option<u8>) {
        self.tight.set_quality(quality);
    }

    /// Adds the pixels of `r`, which lies in `surface`.
    pub(crate) fn add(&mut self, update: &mut Update, surface: &Surface, r: Rect, kind: i32, format: &PixelFormat) {
        let header = |u: &mut Update, r: Rect| u.header([r.x, r.y, r.width, r.height], kind);
        match kind {
            encoding::ZRLE => {
                header(update, r);
                self.zrle.encode(&mut update.bytes, surface, r, format);
            }
            encoding::TIGHT => {
                for piece in pieces(r) {
                    header(update, piece);
                    self.tight.encode(&mut update.bytes, surface, piece, format);
                }
            }
            _ => {
                header(update, r);
                for row in (r.y..r.y + r.height).map(|y| surface.row(y)) {
                    let part = row.get(r.x as usize..(r.x + r.width) as usize).unwrap_or(&[]);
                    part.iter().for_each(|p| format.put(&mut update.bytes, *p));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vnc::pixel::tests::rgb565;

    #[test]
    fn raw_pixels_of_a_part() {
        let mut s = Surface::new();
        s.resize(4, 2);
        s.row_mut(1)[2] = 0xFF_FFFF;
        let mut u = Update::new();
        let r = Rect { x: 1, y: 1, width: 2, height: 1 };
        Encoders::new().add(&mut u, &s, r, encoding::RAW, &rgb565(false));
        let expected = [&[0, 0, 0, 1][..], &[0, 1, 0, 1, 0, 2, 0, 1, 0, 0, 0, 0], &[0, 0, 0xFF, 0xFF]].concat();
        assert_eq!(u.finish(), expected);
    }

    #[test]
    fn lights_and_the_dot() {
        let mut u = Update::new();
        let leds = Leds { num: true, caps: true, scroll: false };
        u.leds(leds, encoding::LED_STATE);
        u.leds(leds, encoding::VMWARE_LED_STATE);
        u.cursor(&rgb565(false));
        let bytes = u.finish();
        assert_eq!(bytes[..4], [0, 0, 0, 3]);
        assert_eq!(bytes[4..17], [0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFE, 0xFB, 6]);
        assert_eq!(bytes[17..33], [0, 0, 0, 0, 0, 0, 0, 0, 0x57, 0x4D, 0x56, 0x68, 0, 0, 0, 6]);
        assert_eq!(bytes[33..45], [0, 2, 0, 2, 0, 5, 0, 5, 0xFF, 0xFF, 0xFF, 0x11]);
        assert_eq!(bytes.len(), 45 + 50 + 5);
        assert_eq!(bytes[95..], [0x70, 0xF8, 0xF8, 0xF8, 0x70]);
        assert_eq!(bytes[45 + 2 * 6..][..4], [0xFF; 4]);
    }

    #[test]
    fn tight_pieces_cover_the_rectangle() {
        let r = Rect { x: 3, y: 5, width: 2560, height: 1600 };
        let all: Vec<Rect> = pieces(r).collect();
        assert!(all.iter().all(|p| p.width <= 2048 && p.width * p.height <= 65536));
        assert_eq!(all.iter().map(|p| p.width * p.height).sum::<u32>(), 2560 * 1600);
    }
}
