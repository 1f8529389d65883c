//! Finds what only moved up or down, for CopyRect (RFC 6143, section 7.7.2): a scrolling text screen is most of what a console does.

use display::{Rect, Surface};

/// Farther than that is no scrolling by a line or two.
const FARTHEST: usize = 96;
/// Fewer rows are sent as they are.
const FEWEST: usize = 32;

/// Rows that moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Where they are now.
    pub(crate) to: Rect,
    /// The row where the first of them was.
    pub(crate) from: u32,
}

/// A row's pixels as one number.
fn sum(row: &[u32]) -> u64 {
    row.iter().fold(row.len() as u64, |h, p| (h.rotate_left(7) ^ u64::from(*p)).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// The longest run of rows of `new` that are rows of `old`, all by as much higher or lower; `None` when it does not pay off.
pub(crate) fn find(old: &Surface, new: &Surface) -> Option<Moved> {
    if (old.width, old.height) != (new.width, new.height) {
        return None;
    }
    let height = new.height as usize;
    let sums = |s: &Surface| (0..s.height).map(|y| sum(s.row(y))).collect::<Vec<u64>>();
    let (before, now) = (sums(old), sums(new));
    let mut best = (0, 0, 0);
    for distance in 1..=FARTHEST.min(height.saturating_sub(1)) {
        for up in [true, false] {
            let (from, to) = if up { (distance, 0) } else { (0, distance) };
            let (mut start, mut changed) = (0, 0);
            for at in 0..=height - distance {
                let same = at < height - distance && before[from + at] == now[to + at];
                if same {
                    // Rows that are equal anyway are no reason.
                    changed += usize::from(before[to + at] != now[to + at]);
                    if changed > best.0 {
                        best = (changed, start, if up { distance as isize } else { -(distance as isize) });
                    }
                } else {
                    (start, changed) = (at + 1, 0);
                }
            }
        }
    }
    let (changed, start, distance) = best;
    if changed < FEWEST {
        return None;
    }
    let (from, to) =
        if distance > 0 { (start + distance as usize, start) } else { (start, start + distance.unsigned_abs()) };
    // Pixels, not sums, decide.
    let rows =
        (0..height - from.max(to)).take_while(|n| old.row((from + n) as u32) == new.row((to + n) as u32)).count();
    let area = Rect { x: 0, y: to as u32, width: new.width, height: rows as u32 };
    (rows >= FEWEST).then_some(Moved { to: area, from: from as u32 })
}

/// What of `r` is above and below `area`, which is as wide as the screen.
pub(crate) fn outside(r: Rect, area: Rect) -> impl Iterator<Item = Rect> {
    let (top, bottom) = (r.y, r.y + r.height);
    let (start, end) = (area.y, area.y + area.height);
    let part = move |a: u32, b: u32| (a < b).then(|| Rect { y: a, height: b - a, ..r });
    [part(top, bottom.min(start)), part(top.max(end), bottom)].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(height: u32, value: impl Fn(u32) -> u32) -> Surface {
        let mut s = Surface::new();
        s.resize(20, height);
        (0..height).for_each(|y| s.row_mut(y).fill(value(y)));
        s
    }

    #[test]
    fn scrolling_up_and_down() {
        let old = lines(200, |y| y + 1);
        let up = lines(200, |y| if y < 184 { y + 17 } else { 0 });
        let whole = |y, height| Rect { x: 0, y, width: 20, height };
        assert_eq!(find(&old, &up), Some(Moved { to: whole(0, 184), from: 16 }));
        assert_eq!(find(&up, &old), Some(Moved { to: whole(16, 184), from: 0 }));
        // A status line stays.
        let part = lines(200, |y| if y < 100 { y + 9 } else { y + 1 });
        assert_eq!(find(&old, &part), Some(Moved { to: whole(0, 100), from: 8 }));
    }

    #[test]
    fn what_does_not_pay_off() {
        let (old, black) = (lines(200, |y| y + 1), lines(200, |_| 0));
        assert_eq!(find(&black, &black), None);
        assert_eq!(find(&old, &old), None);
        assert_eq!(find(&old, &black), None);
        assert_eq!(find(&old, &lines(100, |y| y)), None);
        assert_eq!(find(&Surface::new(), &Surface::new()), None);
    }

    #[test]
    fn the_rest() {
        let r = Rect { x: 3, y: 10, width: 5, height: 20 };
        let of =
            |y, height| outside(r, Rect { x: 0, y, width: 20, height }).map(|r| (r.y, r.height)).collect::<Vec<_>>();
        assert_eq!(of(0, 5), [(10, 20)]);
        assert_eq!(of(15, 5), [(10, 5), (20, 10)]);
        assert_eq!(of(5, 50), []);
    }
}
