//! Where the guest's picture is in the window: as large as fits, in its own proportions, in the middle.

use display::Surface;
use input::InputEvent;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Place {
    /// The place of a picture of `picture` pixels in a window of `window`.
    pub(crate) fn new(picture: (u32, u32), window: (u32, u32)) -> Self {
        let (pw, ph) = (u64::from(picture.0.max(1)), u64::from(picture.1.max(1)));
        let (ww, wh) = (u64::from(window.0), u64::from(window.1));
        let (width, height) = if ww * ph <= wh * pw { (ww, ww * ph / pw) } else { (wh * pw / ph, wh) };
        let (width, height) = (width as u32, height as u32);
        Self { x: (window.0 - width) / 2, y: (window.1 - height) / 2, width, height }
    }

    /// A point of the window on the absolute axes of the input bus; outside the picture it is the nearest edge.
    pub(crate) fn absolute(&self, x: f64, y: f64) -> (u16, u16) {
        let axis = |at: f64, start: u32, size: u32| {
            let most = f64::from(size.max(2) - 1);
            ((at.floor() - f64::from(start)).clamp(0.0, most) / most * f64::from(InputEvent::ABS_MAX)) as u16
        };
        (axis(x, self.x, self.width), axis(y, self.y, self.height))
    }

    /// Draws `picture` into the window's pixels (`window_width` in a row), black around it.
    pub(crate) fn draw(&self, picture: &Surface, pixels: &mut [u32], window_width: u32) {
        if window_width == 0 {
            return;
        }
        let columns: Vec<usize> = (0..u64::from(self.width))
            .map(|x| (x * u64::from(picture.width) / u64::from(self.width)) as usize)
            .collect();
        let same = self.width == picture.width;
        for (y, row) in (0..).zip(pixels.chunks_exact_mut(window_width as usize)) {
            let inside = y >= self.y && y - self.y < self.height;
            let from = if inside {
                (u64::from(y - self.y) * u64::from(picture.height) / u64::from(self.height)) as u32
            } else {
                0
            };
            let (left, rest) = row.split_at_mut(self.x.min(window_width) as usize);
            let (middle, right) = rest.split_at_mut((self.width as usize).min(rest.len()));
            left.fill(0);
            right.fill(0);
            match picture.row(from) {
                _ if !inside => middle.fill(0),
                source if same && source.len() == middle.len() => middle.copy_from_slice(source),
                source => {
                    middle.iter_mut().zip(&columns).for_each(|(p, at)| *p = source.get(*at).copied().unwrap_or(0));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_that_fits() {
        let place = |p, w| {
            let Place { x, y, width, height } = Place::new(p, w);
            (x, y, width, height)
        };
        assert_eq!(place((640, 480), (640, 480)), (0, 0, 640, 480));
        assert_eq!(place((640, 480), (1920, 1080)), (240, 0, 1440, 1080));
        assert_eq!(place((640, 400), (640, 480)), (0, 40, 640, 400));
        assert_eq!(place((0, 0), (7, 3)), (2, 0, 3, 3));
        assert_eq!(place((640, 480), (0, 0)), (0, 0, 0, 0));
    }

    #[test]
    fn points_reach_both_ends() {
        let place = Place::new((640, 400), (640, 480));
        assert_eq!(place.absolute(0.0, 40.0), (0, 0));
        assert_eq!(place.absolute(639.9, 439.9), (0x7FFF, 0x7FFF));
        assert_eq!(place.absolute(-5.0, 1e9), (0, 0x7FFF));
    }

    #[test]
    fn pictures_are_scaled_and_framed() {
        let mut picture = Surface::new();
        picture.resize(2, 1);
        picture.row_mut(0).copy_from_slice(&[7, 9]);
        let mut pixels = vec![1; 4 * 4];
        Place::new((2, 1), (4, 4)).draw(&picture, &mut pixels, 4);
        assert_eq!(pixels, [0, 0, 0, 0, 7, 7, 9, 9, 7, 7, 9, 9, 0, 0, 0, 0]);
        let mut pixels = vec![1; 2];
        Place::new((2, 1), (2, 1)).draw(&picture, &mut pixels, 2);
        assert_eq!(pixels, [7, 9]);
        Place::new((2, 1), (3, 0)).draw(&picture, &mut [], 3);
    }
}
