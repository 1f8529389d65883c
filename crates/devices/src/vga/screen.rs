//! The screen as front ends pull it: one picture kept up to date, each line with the generation that changed it.
//!
//! In linear modes only lines on written pages are drawn again (the dirty bits of the video memory are for this use
//! alone); in the others the whole picture is, when anything in it may have changed, and compared.

use std::sync::{Arc, Mutex};

use display::{DisplaySource, Rect, Surface};
use guest_memory::{PAGE_SIZE, RamBlock};
use vm_core::{Shared, lock};

use super::VgaDevice;
use super::scanout::{Kind, Scanout};

struct Picture {
    scanout: Option<Scanout>,
    surface: Surface,
    /// The generation that last changed each line.
    lines: Vec<u64>,
    bytes: Vec<u8>,
}

/// See the module's documentation. One for a device, shared by all that look at it.
pub struct VgaDisplay {
    device: Shared<VgaDevice>,
    memory: Arc<RamBlock>,
    picture: Mutex<Picture>,
}

impl VgaDisplay {
    /// The screen of `device`.
    pub fn new(device: &Shared<VgaDevice>) -> Arc<Self> {
        let memory = lock(device).memory().clone();
        memory.track_dirty(0, memory.len());
        let picture = Picture { scanout: None, surface: Surface::new(), lines: vec![], bytes: vec![] };
        Arc::new(Self { device: device.clone(), memory, picture: Mutex::new(picture) })
    }

    /// Fills `bytes` with what `scanout` is drawn from.
    fn fetch(&self, scanout: &Scanout, bytes: &mut Vec<u8>) {
        let (start, len) = scanout.memory_range(self.memory.len());
        bytes.clear();
        bytes.resize(len as usize, 0);
        self.memory.read(start, bytes);
    }

    fn refresh(&self, picture: &mut Picture) {
        let scanout = lock(&self.device).scanout();
        let (start, len) = scanout.memory_range(self.memory.len());
        let mut pages = vec![];
        if len != 0 {
            self.memory.take_dirty(start, len, true, |page| pages.push(page));
        }
        let new = picture.scanout.as_ref() != Some(&scanout);
        if !new && pages.is_empty() {
            return;
        }
        let generation = picture.surface.generation + 1;
        let mut changed = picture.surface.resize(scanout.width, scanout.height);
        if changed {
            picture.lines = vec![generation; scanout.height as usize];
        }
        let wanted = wanted_lines(&scanout, start, &pages, new);
        let Picture { surface, lines, bytes, .. } = picture;
        let only = |y: u32| wanted.as_ref().is_none_or(|w| w.get(y as usize).copied().unwrap_or(false));
        self.fetch(&scanout, bytes);
        scanout.draw(bytes, only, |y, pixels| {
            let row = surface.row_mut(y);
            if row != pixels {
                row.copy_from_slice(pixels);
                changed = true;
                if let Some(line) = lines.get_mut(y as usize) {
                    *line = generation;
                }
            }
        });
        if changed {
            surface.generation = generation;
        }
        picture.scanout = Some(scanout);
    }
}

/// The lines that written pages are in; `None` for all.
fn wanted_lines(scanout: &Scanout, start: u64, pages: &[u64], all: bool) -> Option<Vec<bool>> {
    let Kind::Linear(linear) = &scanout.kind else { return None };
    if all {
        return None;
    }
    let mut wanted = vec![false; scanout.height as usize];
    let pitch = u64::from(linear.pitch.max(1));
    for page in pages {
        let from = (page * PAGE_SIZE).saturating_sub(start) / pitch;
        let to = ((page + 1) * PAGE_SIZE - 1).saturating_sub(start) / pitch;
        let to = to.min(u64::from(scanout.height.saturating_sub(1)));
        (from..=to).for_each(|y| wanted[y as usize] = true);
    }
    Some(wanted)
}

impl DisplaySource for VgaDisplay {
    fn render(&self, surface: &mut Surface) -> Vec<Rect> {
        let mut picture = lock(&self.picture);
        self.refresh(&mut picture);
        let (from, lines) = (&picture.surface, &picture.lines);
        let seen = std::mem::replace(&mut surface.generation, from.generation);
        if surface.resize(from.width, from.height) || seen == 0 {
            (0..from.height).for_each(|y| surface.row_mut(y).copy_from_slice(from.row(y)));
            return surface.bounds().into_iter().collect();
        }
        if seen == from.generation {
            return vec![];
        }
        let mut rects: Vec<Rect> = vec![];
        for (y, _) in (0..).zip(lines).filter(|(_, generation)| **generation > seen) {
            if let Some((x, width)) = copy_row(surface.row_mut(y), from.row(y)) {
                join(&mut rects, Rect { x, y, width, height: 1 });
            }
        }
        rects
    }

    fn text(&self) -> Option<Vec<String>> {
        let scanout = lock(&self.device).scanout();
        let Kind::Text(text) = &scanout.kind else { return None };
        let mut bytes = vec![];
        self.fetch(&scanout, &mut bytes);
        Some(text.lines(&bytes, scanout.height))
    }
}

/// Copies a row of the same length; the first differing pixel and how many there are to the last.
fn copy_row(to: &mut [u32], from: &[u32]) -> Option<(u32, u32)> {
    let first = to.iter().zip(from).position(|(a, b)| a != b)?;
    let last = to.iter().zip(from).rposition(|(a, b)| a != b)?;
    to[first..=last].copy_from_slice(&from[first..=last]);
    Some((first as u32, (last - first + 1) as u32))
}

/// Adds a line to the rectangle that ends above it.
fn join(rects: &mut Vec<Rect>, line: Rect) {
    match rects.last_mut() {
        Some(r) if r.y + r.height == line.y => {
            let end = (r.x + r.width).max(line.x + line.width);
            r.x = r.x.min(line.x);
            r.width = end - r.x;
            r.height += 1;
        }
        _ => rects.push(line),
    }
}
