//! The screen update service: one look at the screen for all front ends, and none when nobody watches.
//!
//! A thread brings one shared picture up to date while there are viewers: at once after what a person did, until the answer is
//! there; often while something changes; seldom on a screen that stands still (a look at an idle screen reads the dirty bits of
//! the video memory, no pixel). What
//! changed is noted for each viewer in tiles of [`TILE_WIDTH`] by [`TILE_HEIGHT`] pixels, which bounds what a slow
//! viewer can pile up; it takes them, with the pixels as they are then, when it can. So a viewer never makes another
//! one, or the guest, wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use crate::{DisplaySource, Rect, Surface};

/// Width of what is noted as changed.
pub const TILE_WIDTH: u32 = 64;
/// Height of what is noted as changed.
pub const TILE_HEIGHT: u32 = 16;

/// Between looks for the answer to what a person did.
const GLANCE: Duration = Duration::from_millis(3);
/// How long after it the answer is looked for.
const ANSWER: Duration = Duration::from_millis(150);
/// From a picture that changed to the next look, while an answer is looked for.
const PROMPT: Duration = Duration::from_millis(16);
/// Between looks while something changes.
const FAST: Duration = Duration::from_millis(33);
/// Between looks at a screen that stands still.
const SLOW: Duration = Duration::from_millis(120);
/// How long it is expected to go on changing.
const LIVELY: Duration = Duration::from_millis(700);

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The changed tiles of a picture.
#[derive(Default)]
struct Tiles {
    width: u32,
    height: u32,
    /// A row of tiles each; bit n is column n, the last bit all columns from there on.
    rows: Vec<u64>,
}

impl Tiles {
    fn columns(x: u32, width: u32) -> u64 {
        let first = (x / TILE_WIDTH).min(63);
        let last = (x.saturating_add(width).saturating_sub(1) / TILE_WIDTH).min(63);
        (u64::MAX << first) & (u64::MAX >> (63 - last))
    }

    fn resize(&mut self, width: u32, height: u32) {
        if (self.width, self.height) != (width, height) {
            (self.width, self.height) = (width, height);
            self.rows = vec![u64::MAX; height.div_ceil(TILE_HEIGHT) as usize];
        }
    }

    fn add(&mut self, r: Rect) {
        let first = (r.y / TILE_HEIGHT) as usize;
        let last = (r.y.saturating_add(r.height).saturating_sub(1) / TILE_HEIGHT) as usize;
        let columns = Self::columns(r.x, r.width);
        self.rows.iter_mut().take(last + 1).skip(first).for_each(|row| *row |= columns);
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.rows.iter().all(|r| *r == 0)
    }

    /// The rectangles, disjoint, and nothing is changed any more.
    fn take(&mut self) -> Vec<Rect> {
        let mut rects: Vec<Rect> = vec![];
        let rows = std::mem::take(&mut self.rows);
        let mut at = 0;
        while let Some(&mask) = rows.get(at) {
            let end = at + rows[at..].iter().take_while(|r| **r == mask).count();
            let y = at as u32 * TILE_HEIGHT;
            let height = (end as u32 * TILE_HEIGHT).min(self.height) - y;
            self.runs(mask, |x, width| rects.push(Rect { x, y, width, height }));
            at = end;
        }
        self.rows = rows;
        self.rows.fill(0);
        rects
    }

    fn runs(&self, mask: u64, mut each: impl FnMut(u32, u32)) {
        let mut bit = 0;
        while bit < 64 && mask >> bit != 0 {
            bit += (mask >> bit).trailing_zeros();
            let ones = (mask >> bit).trailing_ones();
            let x = bit * TILE_WIDTH;
            let end = if bit + ones >= 64 { self.width } else { ((bit + ones) * TILE_WIDTH).min(self.width) };
            if x < end {
                each(x, end - x);
            }
            bit += ones;
        }
    }
}

struct Watcher {
    tiles: Mutex<Tiles>,
    dirty: AtomicBool,
    notify: Box<dyn Fn() + Send + Sync>,
}

struct Control {
    watchers: Vec<Weak<Watcher>>,
    /// The thread is there.
    running: bool,
    /// Look often until then.
    lively_until: Instant,
    /// Look for an answer until then.
    prompt_until: Instant,
}

impl Control {
    /// When to look again, of someone who looks at the clock at `now`, looked at `looked`, and saw a change at `changed`.
    fn due(&self, now: Instant, looked: Instant, changed: Instant) -> Instant {
        if now < self.prompt_until {
            (looked + GLANCE).max(changed + PROMPT)
        } else if now < self.lively_until {
            looked + FAST
        } else {
            looked + SLOW
        }
    }
}

/// See the module's documentation. One for a screen, shared by its front ends.
pub struct ScreenService {
    source: Arc<dyn DisplaySource>,
    surface: RwLock<Surface>,
    control: Mutex<Control>,
    hurry: Condvar,
}

impl ScreenService {
    /// The service of `source`. Its thread runs while there are viewers.
    pub fn new(source: Arc<dyn DisplaySource>) -> Arc<Self> {
        let now = Instant::now();
        let control = Control { watchers: vec![], running: false, lively_until: now, prompt_until: now };
        Arc::new(Self { source, surface: RwLock::default(), control: Mutex::new(control), hurry: Condvar::new() })
    }

    /// What is shown.
    pub fn source(&self) -> &Arc<dyn DisplaySource> {
        &self.source
    }

    /// Adds a viewer, for which everything has changed. `notify` is called on the service's thread when something
    /// has changed and must not block.
    pub fn subscribe(self: &Arc<Self>, notify: impl Fn() + Send + Sync + 'static) -> Viewer {
        let notify = Box::new(notify);
        let watcher = Arc::new(Watcher { tiles: Mutex::default(), dirty: AtomicBool::new(true), notify });
        let mut control = lock(&self.control);
        control.watchers.push(Arc::downgrade(&watcher));
        control.lively_until = Instant::now() + LIVELY;
        drop(control);
        // A viewer begins with the picture, and above all the size, of now: nobody may have looked for a while.
        self.look();
        let mut control = lock(&self.control);
        if !control.running {
            let service = self.clone();
            let started = std::thread::Builder::new().name("screen".into()).spawn(move || service.run());
            control.running = started.is_ok();
        }
        drop(control);
        Viewer { service: self.clone(), watcher, surface: Surface::new() }
    }

    /// Something is likely to change soon (a key was pressed): look for it.
    pub fn expect_change(&self) {
        let mut control = lock(&self.control);
        control.prompt_until = Instant::now() + ANSWER;
        control.lively_until = control.prompt_until.max(control.lively_until);
        drop(control);
        self.hurry.notify_all();
    }

    fn run(self: Arc<Self>) {
        let mut changed = Instant::now();
        loop {
            let saw = self.look();
            let looked = Instant::now();
            let mut control = lock(&self.control);
            if saw {
                changed = looked;
                control.lively_until = looked + LIVELY;
            }
            control.watchers.retain(|w| w.strong_count() != 0);
            if control.watchers.is_empty() {
                control.running = false;
                return;
            }
            loop {
                let now = Instant::now();
                let wait = control.due(now, looked, changed).saturating_duration_since(now);
                if wait.is_zero() {
                    break;
                }
                // What a person does meanwhile may bring the look nearer.
                control = self.hurry.wait_timeout(control, wait).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Brings the shared picture up to date and tells the viewers. `true` when something changed.
    fn look(&self) -> bool {
        let (rects, width, height) = {
            let mut surface = self.surface.write().unwrap_or_else(PoisonError::into_inner);
            let rects = self.source.render(&mut surface);
            (rects, surface.width, surface.height)
        };
        if rects.is_empty() {
            return false;
        }
        let watchers: Vec<_> = lock(&self.control).watchers.iter().filter_map(Weak::upgrade).collect();
        for watcher in watchers {
            let mut tiles = lock(&watcher.tiles);
            tiles.resize(width, height);
            rects.iter().for_each(|r| tiles.add(*r));
            drop(tiles);
            watcher.dirty.store(true, Ordering::Release);
            (watcher.notify)();
        }
        true
    }
}

/// What has changed since a viewer last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// The picture has another size; everything has changed.
    pub resized: bool,
    /// What changed, disjoint.
    pub rects: Vec<Rect>,
}

/// A front end's view of the screen; it is unsubscribed when dropped.
pub struct Viewer {
    service: Arc<ScreenService>,
    watcher: Arc<Watcher>,
    surface: Surface,
}

impl Viewer {
    /// The picture as of the last [`Viewer::take`].
    pub fn surface(&self) -> &Surface {
        &self.surface
    }

    /// Whether there is something to take.
    pub fn is_dirty(&self) -> bool {
        self.watcher.dirty.load(Ordering::Acquire)
    }

    /// Notes a part of the picture as changed.
    pub fn invalidate(&self, rect: Rect) {
        lock(&self.watcher.tiles).add(rect);
        self.watcher.dirty.store(true, Ordering::Release);
    }

    /// Brings the viewer's surface up to date and says what changed in it.
    pub fn take(&mut self) -> Update {
        self.watcher.dirty.store(false, Ordering::Release);
        let shared = self.service.surface.read().unwrap_or_else(PoisonError::into_inner);
        let rects = {
            let mut tiles = lock(&self.watcher.tiles);
            tiles.resize(shared.width, shared.height);
            tiles.take()
        };
        let resized = self.surface.resize(shared.width, shared.height);
        for r in &rects {
            let (from, to) = (r.x as usize, (r.x + r.width) as usize);
            for y in r.y..r.y + r.height {
                if let (Some(to), Some(from)) = (self.surface.row_mut(y).get_mut(from..to), shared.row(y).get(from..to))
                {
                    to.copy_from_slice(from);
                }
            }
        }
        Update { resized, rects }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A screen that tests draw on.
    struct Paper(Mutex<(Surface, Vec<Rect>)>);

    impl DisplaySource for Paper {
        fn render(&self, surface: &mut Surface) -> Vec<Rect> {
            let mut paper = lock(&self.0);
            if surface.resize(paper.0.width, paper.0.height) {
                paper.1 = paper.0.bounds().into_iter().collect();
            }
            surface.pixels.clone_from(&paper.0.pixels);
            std::mem::take(&mut paper.1)
        }

        fn text(&self) -> Option<Vec<String>> {
            None
        }
    }

    fn paper(width: u32, height: u32) -> Arc<Paper> {
        let mut surface = Surface::new();
        surface.resize(width, height);
        Arc::new(Paper(Mutex::new((surface, vec![]))))
    }

    fn draw(paper: &Paper, r: Rect, colour: u32) {
        let mut p = lock(&paper.0);
        for y in r.y..r.y + r.height {
            p.0.row_mut(y)[r.x as usize..(r.x + r.width) as usize].fill(colour);
        }
        p.1.push(r);
    }

    #[test]
    fn tiles_become_disjoint_rectangles() {
        let mut t = Tiles::default();
        t.resize(100, 40);
        assert_eq!(t.take(), [Rect { x: 0, y: 0, width: 100, height: 40 }]);
        assert!(t.is_empty() && t.take().is_empty());
        t.add(Rect { x: 70, y: 3, width: 1, height: 1 });
        t.add(Rect { x: 0, y: 39, width: 10, height: 9 });
        let (a, b) = (Rect { x: 64, y: 0, width: 36, height: 16 }, Rect { x: 0, y: 32, width: 64, height: 8 });
        assert_eq!(t.take(), [a, b]);
        t.resize(5000, 16);
        assert_eq!(t.take(), [Rect { x: 0, y: 0, width: 5000, height: 16 }]);
        t.add(Rect { x: 4500, y: 0, width: 600, height: 4 });
        assert_eq!(t.take(), [Rect { x: 4032, y: 0, width: 968, height: 16 }]);
        t.add(Rect { x: u32::MAX, y: u32::MAX, width: u32::MAX, height: u32::MAX });
        assert!(t.is_empty());
    }

    #[test]
    fn each_viewer_gets_each_change_once() {
        let paper = paper(200, 100);
        let service = ScreenService::new(paper.clone());
        let (tx, rx) = mpsc::channel();
        let tx = Mutex::new(tx);
        let mut first = service.subscribe(move || lock(&tx).send(()).unwrap_or_default());
        let mut second = service.subscribe(|| ());
        for v in [&mut first, &mut second] {
            assert_eq!(v.take(), Update { resized: true, rects: vec![Rect { x: 0, y: 0, width: 200, height: 100 }] });
        }
        while rx.try_recv().is_ok() {}
        draw(&paper, Rect { x: 130, y: 50, width: 2, height: 1 }, 7);
        rx.recv_timeout(Duration::from_secs(20)).unwrap();
        let tile = Rect { x: 128, y: 48, width: 64, height: 16 };
        assert!(first.is_dirty());
        assert_eq!(first.take(), Update { resized: false, rects: vec![tile] });
        assert_eq!(first.surface().pixel(131, 50), 7);
        assert!(!first.is_dirty() && first.take().rects.is_empty());
        while second.take().rects.is_empty() {
            std::thread::yield_now(); // the service may be about to tell it
        }
        assert_eq!(second.surface().pixel(130, 50), 7);
        first.invalidate(tile);
        assert_eq!(first.take().rects, [tile]);
    }

    #[test]
    fn answers_are_looked_for_at_once_but_pictures_keep_their_distance() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let control = |lively, prompt| Control {
            watchers: vec![],
            running: true,
            lively_until: at(lively),
            prompt_until: at(prompt),
        };
        let due = |c: Control, now, looked, changed| c.due(at(now), at(looked), at(changed)) - start;
        assert_eq!(due(control(0, 0), 1001, 1000, 0), Duration::from_millis(1120));
        assert_eq!(due(control(1500, 0), 1001, 1000, 900), Duration::from_millis(1033));
        assert_eq!(due(control(1500, 1100), 1001, 1000, 900), Duration::from_millis(1003));
        assert_eq!(due(control(1500, 1100), 1001, 1000, 1000), Duration::from_millis(1016));
    }

    #[test]
    fn an_answer_ends_a_long_wait() {
        let paper = paper(64, 16);
        let service = ScreenService::new(paper.clone());
        let (tx, rx) = mpsc::channel();
        let tx = Mutex::new(tx);
        let _viewer = service.subscribe(move || lock(&tx).send(()).unwrap_or_default());
        // Every look after this one is far away.
        lock(&service.control).lively_until = Instant::now();
        draw(&paper, Rect { x: 0, y: 0, width: 1, height: 1 }, 7);
        service.expect_change();
        rx.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(service.source().text(), None);
    }

    #[test]
    fn a_viewer_that_joins_others_begins_with_the_size_of_now() {
        let paper = paper(640, 400);
        let service = ScreenService::new(paper.clone());
        let _first = service.subscribe(|| ());
        lock(&paper.0).0.resize(640, 480);
        let mut second = service.subscribe(|| ());
        assert_eq!((second.take().resized, second.surface().height), (true, 480));
    }

    #[test]
    fn the_thread_ends_with_the_last_viewer() {
        let service = ScreenService::new(paper(10, 10));
        let viewer = service.subscribe(|| ());
        assert!(lock(&service.control).running);
        drop(viewer);
        service.expect_change();
        let end = Instant::now() + Duration::from_secs(20);
        while lock(&service.control).running {
            assert!(Instant::now() < end);
            std::thread::yield_now();
        }
        let mut again = service.subscribe(|| ());
        assert_eq!(again.take().rects.len(), 1);
    }
}
