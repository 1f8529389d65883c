//! `ramfb`: a picture in guest RAM at a place that the guest writes into the fw_cfg file `etc/ramfb`.
//!
//! Facts: the file is a big-endian structure of address (64 bits), pixel format (a DRM "fourcc" code), flags, width,
//! height and stride in bytes (32 bits each); the formats are those of Linux's drm_fourcc.h. The state is the file's
//! contents, which [`crate::fw_cfg`] keeps, resets and saves. Left out: dirty tracking (a hypervisor's log of writes
//! to all RAM would be needed, so each look compares the picture) and flags, of which none is defined.

use std::sync::{Arc, Mutex};

use display::{DisplaySource, Rect, Surface};
use guest_memory::GuestMemory;
use vm_core::lock;

/// Name of the fw_cfg file.
pub const FILE: &str = "etc/ramfb";
/// Its length.
pub const FILE_LEN: usize = 28;

/// Largest width and height.
const MOST: u32 = 4096;
/// A surface that has this picture; never a generation of another source, which count from 1.
const GENERATION: u64 = u64::MAX;

/// A pixel format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Xrgb8888,
    Rgb888,
    Rgb565,
}

impl Format {
    fn of(fourcc: u32) -> Option<Self> {
        match &fourcc.to_le_bytes() {
            b"XR24" | b"AR24" => Some(Self::Xrgb8888),
            b"RG24" => Some(Self::Rgb888),
            b"RG16" => Some(Self::Rgb565),
            _ => None,
        }
    }

    fn size(self) -> u32 {
        match self {
            Self::Xrgb8888 => 4,
            Self::Rgb888 => 3,
            Self::Rgb565 => 2,
        }
    }

    fn pixel(self, b: &[u8]) -> u32 {
        let byte = |n: usize| u32::from(b.get(n).copied().unwrap_or(0));
        match self {
            Self::Xrgb8888 | Self::Rgb888 => byte(2) << 16 | byte(1) << 8 | byte(0),
            Self::Rgb565 => {
                let v = byte(1) << 8 | byte(0);
                let (r, g, b) = (v >> 11, v >> 5 & 0x3F, v & 0x1F);
                (r << 3 | r >> 2) << 16 | (g << 2 | g >> 4) << 8 | b << 3 | b >> 2
            }
        }
    }
}

/// What the guest wrote, when it makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Config {
    address: u64,
    format: Format,
    width: u32,
    height: u32,
    stride: u32,
}

impl Config {
    fn parse(b: &[u8]) -> Option<Self> {
        let word = |at: usize| b.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        let format = Format::of(word(8)?)?;
        let (width, height, stride) = (word(16)?, word(20)?, word(24)?);
        let line = width.checked_mul(format.size())?;
        let stride = if stride == 0 { line } else { stride };
        let good = (1..=MOST).contains(&width) && (1..=MOST).contains(&height) && (line..=MOST * 16).contains(&stride);
        let address = u64::from(word(0)?) << 32 | u64::from(word(4)?);
        address.checked_add(u64::from(stride) * u64::from(height))?;
        good.then_some(Self { address, format, width, height, stride })
    }
}

/// See the module's documentation.
pub struct RamFb {
    memory: GuestMemory,
    config: Mutex<Option<Config>>,
    /// What is shown while the guest has not set it up.
    other: Option<Arc<dyn DisplaySource>>,
}

impl RamFb {
    /// A picture in `memory`; `other` is shown without one.
    pub fn new(memory: GuestMemory, other: Option<Arc<dyn DisplaySource>>) -> Arc<Self> {
        Arc::new(Self { memory, config: Mutex::default(), other })
    }

    /// The fw_cfg file has these contents now.
    pub fn configure(&self, file: &[u8]) {
        let config = Config::parse(file);
        if config.is_none() && file.iter().any(|b| *b != 0) {
            tracing::debug!(target: "guest", "ramfb: {file:02x?} makes no sense");
        }
        *lock(&self.config) = config;
    }

    fn without(&self, surface: &mut Surface) -> Vec<Rect> {
        if surface.generation == GENERATION {
            surface.generation = 0;
        }
        match &self.other {
            Some(other) => other.render(surface),
            None if surface.generation == 0 || surface.bounds().is_none() => {
                surface.resize(640, 480);
                surface.pixels.fill(0);
                surface.generation = 1;
                surface.bounds().into_iter().collect()
            }
            None => vec![],
        }
    }
}

impl DisplaySource for RamFb {
    fn render(&self, surface: &mut Surface) -> Vec<Rect> {
        let config = *lock(&self.config);
        let Some(c) = config else { return self.without(surface) };
        let whole = surface.resize(c.width, c.height) || surface.generation != GENERATION;
        surface.generation = GENERATION;
        let mut rects: Vec<Rect> = vec![];
        let mut line = vec![0; (c.width * c.format.size()) as usize];
        for y in 0..c.height {
            let at = c.address + u64::from(y) * u64::from(c.stride);
            if self.memory.read(at, &mut line).is_err() {
                line.fill(0);
            }
            let mut changed = false;
            let pixels = line.chunks_exact(c.format.size() as usize).map(|p| c.format.pixel(p));
            for (old, new) in surface.row_mut(y).iter_mut().zip(pixels) {
                changed |= *old != new;
                *old = new;
            }
            match rects.last_mut() {
                _ if !changed => {}
                Some(r) if r.y + r.height == y => r.height += 1,
                _ => rects.push(Rect { x: 0, y, width: c.width, height: 1 }),
            }
        }
        if whole { surface.bounds().into_iter().collect() } else { rects }
    }

    fn text(&self) -> Option<Vec<String>> {
        let configured = lock(&self.config).is_some();
        self.other.as_ref().filter(|_| !configured)?.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_memory::{MapRange, RamBlock};

    fn memory() -> GuestMemory {
        let memory = GuestMemory::new();
        let block = RamBlock::new("ram", 0x1_0000).unwrap();
        memory.set_ranges(vec![MapRange { gpa: 0, len: 0x1_0000, block, offset: 0, readonly: false }]);
        memory
    }

    fn file(address: u64, fourcc: &[u8; 4], width: u32, height: u32, stride: u32) -> Vec<u8> {
        let words = [u32::from_le_bytes(*fourcc), 0, width, height, stride].map(u32::to_be_bytes);
        [&address.to_be_bytes()[..], &words.concat()].concat()
    }

    #[test]
    fn pictures_in_every_format() {
        let memory = memory();
        let fb = RamFb::new(memory.clone(), None);
        let mut s = Surface::new();
        assert_eq!(fb.render(&mut s).len(), 1);
        assert_eq!((s.width, fb.render(&mut s).len()), (640, 0), "not set up: black");
        for (fourcc, bytes, pixel) in [
            (b"XR24", &[3, 2, 1, 9][..], 0x01_0203),
            (b"RG24", &[3, 2, 1], 0x01_0203),
            (b"RG16", &[0xE0, 0x07], 0x00_FF00),
        ] {
            memory.write(0x1000, &[0; 400]).unwrap();
            fb.configure(&file(0x1000, fourcc, 8, 4, 64));
            assert_eq!(fb.render(&mut s), [Rect { x: 0, y: 0, width: 8, height: 4 }]);
            memory.write(0x1000 + 64 * 2 + bytes.len() as u64, bytes).unwrap();
            assert_eq!(fb.render(&mut s), [Rect { x: 0, y: 2, width: 8, height: 1 }]);
            assert_eq!((s.pixel(0, 2), s.pixel(1, 2)), (0, pixel));
            assert!(fb.render(&mut s).is_empty());
            fb.configure(&[0; FILE_LEN]);
            assert_eq!(fb.render(&mut s), [Rect { x: 0, y: 0, width: 640, height: 480 }]);
        }
    }

    #[test]
    fn nonsense_shows_nothing() {
        assert!(Config::parse(&file(0, b"XR24", 800, 600, 0)).is_some());
        for bad in [
            file(0, b"YV12", 800, 600, 0),
            file(0, b"XR24", 0, 600, 0),
            file(0, b"XR24", 800, 5000, 0),
            file(0, b"XR24", u32::MAX, 1, 0),
            file(0, b"XR24", 800, 600, 3199),
            file(0, b"XR24", 800, 600, u32::MAX),
            file(u64::MAX - 10, b"XR24", 800, 600, 0),
            vec![0; FILE_LEN],
            vec![1; 5],
        ] {
            assert_eq!(Config::parse(&bad), None, "{bad:02x?}");
        }
        let fb = RamFb::new(memory(), None);
        fb.configure(&file(0xFFF0, b"XR24", 100, 100, 0));
        let mut s = Surface::new();
        fb.render(&mut s);
        assert!(s.pixels.iter().all(|p| *p == 0), "outside RAM it is black");
    }
}
