//! Pixels of a screen at one moment, and rectangles in them.

/// An area of a surface in pixels; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// A picture: `height` rows of `stride` pixels, of which the first `width` are seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surface {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Pixels from one row to the next.
    pub stride: u32,
    /// The pixels, 0x00RRGGBB.
    pub pixels: Vec<u32>,
    /// What the source counts changes with; 0 for a surface that was never rendered to.
    pub generation: u64,
}

impl Surface {
    /// An empty surface, for a source to fill.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes it `width` by `height`, all black, when it is not that size yet. `true` when it changed.
    pub fn resize(&mut self, width: u32, height: u32) -> bool {
        if (self.width, self.height) == (width, height) {
            return false;
        }
        (self.width, self.height, self.stride) = (width, height, width);
        self.pixels.clear();
        self.pixels.resize(width as usize * height as usize, 0);
        true
    }

    /// The visible pixels of row `y`; empty outside the surface.
    pub fn row(&self, y: u32) -> &[u32] {
        let at = y as usize * self.stride as usize;
        self.pixels.get(at..at + self.width as usize).filter(|_| y < self.height).unwrap_or(&[])
    }

    /// The visible pixels of row `y`, to change; empty outside the surface.
    pub fn row_mut(&mut self, y: u32) -> &mut [u32] {
        let at = y as usize * self.stride as usize;
        match self.pixels.get_mut(at..at + self.width as usize) {
            Some(row) if y < self.height => row,
            _ => &mut [],
        }
    }

    /// The pixel at `x`, `y`; black outside the surface.
    pub fn pixel(&self, x: u32, y: u32) -> u32 {
        self.row(y).get(x as usize).copied().unwrap_or(0)
    }

    /// The whole surface; `None` when it has no pixels.
    pub fn bounds(&self) -> Option<Rect> {
        (self.width != 0 && self.height != 0).then_some(Rect { x: 0, y: 0, width: self.width, height: self.height })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_end_where_the_surface_does() {
        let mut s = Surface::new();
        assert_eq!(s.bounds(), None);
        assert!(s.resize(3, 2));
        assert!(!s.resize(3, 2));
        s.row_mut(1)[2] = 7;
        assert_eq!((s.pixel(2, 1), s.pixel(3, 1), s.pixel(0, 2)), (7, 0, 0));
        assert!(s.row(2).is_empty() && s.row_mut(2).is_empty());
    }
}
