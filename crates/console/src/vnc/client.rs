//! One client: a thread that reads what it sends, and one that sends it what it asked for.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use display::{Rect, ScreenService, Surface, Viewer};
use input::{InputBus, Leds};

use super::keyboard::Keyboard;
use super::message::{ClientMessage, MessageError, encoding};
use super::pixel::{PixelFormat, colour_map};
use super::scroll::{self, Moved, outside};
use super::transport;
use super::update::{Encoders, Update};
use crate::lock;
use crate::pointer::Pointer;

/// How long to wait where what changed is not what the client asked for.
const ELSEWHERE: Duration = Duration::from_millis(50);

/// What a client has told, for the thread that sends.
#[derive(Clone, Copy, Default)]
struct Wishes {
    encoding: i32,
    copy_rect: bool,
    /// Of JPEG.
    quality: Option<u8>,
    desktop_size: bool,
    extended_size: bool,
    extended_keys: bool,
    pointer_motion: bool,
    cursor: bool,
    /// How it wants to hear of the keyboard's lights.
    leds: Option<i32>,
}

struct Session {
    format: PixelFormat,
    wishes: Wishes,
    /// SetEncodings came: say what the server can.
    announce: bool,
    /// The client asked for another size of the screen.
    wants_size: bool,
    /// A colour map is to be sent.
    map: bool,
    /// What is to be sent when it changes, and what whether it does or not.
    request: Option<(Rect, Option<Rect>)>,
    /// The screen's size as the client knows it.
    size: (u32, u32),
    closed: bool,
}

/// A client; shared by its threads and the server.
pub(crate) struct Client {
    session: Mutex<Session>,
    wake: Condvar,
    stream: TcpStream,
    pub(crate) address: String,
    pub(crate) websocket: bool,
}

impl Client {
    pub(crate) fn new(stream: TcpStream, address: String, websocket: bool) -> Arc<Self> {
        let session = Session {
            format: PixelFormat::SERVER,
            wishes: Wishes::default(),
            announce: false,
            wants_size: false,
            map: false,
            request: None,
            size: (0, 0),
            closed: false,
        };
        Arc::new(Self { session: Mutex::new(session), wake: Condvar::new(), stream, address, websocket })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Ends the connection.
    pub(crate) fn disconnect(&self) {
        lock(&self.session).closed = true;
        self.wake.notify_all();
        transport::close(&self.stream);
    }

    /// Tells the sending thread to look.
    pub(crate) fn nudge(&self) {
        // With the lock, so that it is not between looking and waiting.
        drop(lock(&self.session));
        self.wake.notify_all();
    }

    pub(crate) fn set_size(&self, width: u32, height: u32) {
        lock(&self.session).size = (width, height);
    }

    /// Reads messages until the connection ends.
    pub(crate) fn read_loop(
        &self,
        reader: &mut impl Read,
        bus: &Arc<InputBus>,
        screen: &ScreenService,
    ) -> Result<(), MessageError> {
        let mut keyboard = Keyboard::new(bus.clone());
        let mut pointer = Pointer::new(bus.clone());
        loop {
            match ClientMessage::read(reader)? {
                ClientMessage::SetPixelFormat(format) => {
                    let mut s = lock(&self.session);
                    s.map = !format.true_colour;
                    s.format = format;
                }
                ClientMessage::SetEncodings(list) => self.encodings(&list),
                ClientMessage::UpdateRequest { incremental, area } => self.requested(incremental, area),
                ClientMessage::Key { down, keysym } => {
                    keyboard.keysym(keysym, down);
                    screen.expect_change();
                }
                ClientMessage::ExtendedKey { down, keysym, code } => {
                    keyboard.code(code, keysym, down);
                    screen.expect_change();
                }
                ClientMessage::Pointer { buttons, x, y } => {
                    let (size, relative) = {
                        let s = lock(&self.session);
                        (s.size, s.wishes.pointer_motion && !bus.is_absolute())
                    };
                    if relative {
                        pointer.by(i32::from(x) - 0x7FFF, i32::from(y) - 0x7FFF, buttons);
                    } else {
                        pointer.at(x.into(), y.into(), size.0, size.1, buttons);
                    }
                    screen.expect_change();
                }
                ClientMessage::CutText => {}
                ClientMessage::SetDesktopSize => {
                    lock(&self.session).wants_size = true;
                    self.wake.notify_all();
                }
            }
        }
    }

    fn encodings(&self, list: &[i32]) {
        let known = [encoding::TIGHT, encoding::ZRLE, encoding::RAW];
        let mut s = lock(&self.session);
        s.wishes = Wishes {
            encoding: list.iter().copied().find(|e| known.contains(e)).unwrap_or(encoding::RAW),
            copy_rect: list.contains(&encoding::COPY_RECT),
            quality: list
                .iter()
                .find(|e| (encoding::QUALITY_0..=encoding::QUALITY_9).contains(e))
                .map(|e| (e - encoding::QUALITY_0) as u8),
            desktop_size: list.contains(&encoding::DESKTOP_SIZE),
            extended_size: list.contains(&encoding::EXTENDED_DESKTOP_SIZE),
            extended_keys: list.contains(&encoding::EXTENDED_KEY),
            pointer_motion: list.contains(&encoding::POINTER_MOTION),
            cursor: list.contains(&encoding::CURSOR),
            leds: [encoding::LED_STATE, encoding::VMWARE_LED_STATE].into_iter().find(|e| list.contains(e)),
        };
        s.announce = true;
        drop(s);
        self.wake.notify_all();
    }

    fn requested(&self, incremental: bool, area: Rect) {
        let mut s = lock(&self.session);
        let whole = s.request.take().and_then(|r| r.1);
        s.request = Some((area, if incremental { whole } else { Some(area) }));
        drop(s);
        self.wake.notify_all();
    }
}

/// The part of `a` in `b`.
fn meet(a: Rect, b: Rect) -> Option<Rect> {
    let (x, y) = (a.x.max(b.x), a.y.max(b.y));
    let right = a.x.saturating_add(a.width).min(b.x.saturating_add(b.width));
    let bottom = a.y.saturating_add(a.height).min(b.y.saturating_add(b.height));
    (x < right && y < bottom).then(|| Rect { x, y, width: right - x, height: bottom - y })
}

/// What contains both.
fn around(a: Rect, b: Rect) -> Rect {
    let (x, y) = (a.x.min(b.x), a.y.min(b.y));
    let width = (a.x + a.width).max(b.x + b.width) - x;
    Rect { x, y, width, height: (a.y + a.height).max(b.y + b.height) - y }
}

/// The sending side.
pub(crate) struct Sender {
    client: Arc<Client>,
    bus: Arc<InputBus>,
    viewer: Viewer,
    encoders: Encoders,
    /// The user allows pictures that are not exact.
    lossy: bool,
    /// The picture as the client has it, when it has all of it.
    known: Option<Surface>,
    /// What the client was told about the pointer.
    absolute: Option<bool>,
    /// The lights that it knows of.
    leds: Option<Leds>,
    /// The area it asked for last, and what has changed outside it.
    area: Rect,
    elsewhere: Option<Rect>,
}

/// What is to be done now.
struct Job {
    format: PixelFormat,
    wishes: Wishes,
    announce: bool,
    wants_size: bool,
    map: bool,
    area: Rect,
    size: (u32, u32),
}

impl Sender {
    pub(crate) fn new(client: Arc<Client>, bus: Arc<InputBus>, viewer: Viewer, lossy: bool) -> Self {
        let area = Rect { x: 0, y: 0, width: 0, height: 0 };
        let (encoders, known) = (Encoders::new(), None);
        Self { client, bus, viewer, encoders, lossy, known, absolute: None, leds: None, area, elsewhere: None }
    }

    /// The size of the screen now.
    pub(crate) fn begin(&mut self) -> (u32, u32) {
        let _first = self.viewer.take();
        let Surface { width, height, .. } = *self.viewer.surface();
        self.viewer.invalidate(Rect { x: 0, y: 0, width, height });
        (width, height)
    }

    /// Sends updates until the connection ends.
    pub(crate) fn run(mut self, writer: &mut impl Write) {
        while let Some(job) = self.wait() {
            let area = job.area;
            let bytes = self.build(job);
            if bytes.is_empty() {
                // It is still waiting, for something else than what changed.
                let mut s = lock(&self.client.session);
                s.request.get_or_insert((area, None));
                drop(self.client.wake.wait_timeout(s, ELSEWHERE).unwrap_or_else(PoisonError::into_inner));
            } else if writer.write_all(&bytes).and_then(|()| writer.flush()).is_err() {
                break;
            }
        }
        self.client.disconnect();
    }

    /// Waits until there is something to send to a client that asked for it; `None` at the end.
    fn wait(&self) -> Option<Job> {
        let mut s = lock(&self.client.session);
        loop {
            if s.closed {
                return None;
            }
            let news = s.announce && (s.wishes.extended_size || s.wishes.extended_keys || s.wishes.cursor)
                || s.wants_size
                || s.map
                || s.wishes.pointer_motion && self.absolute != Some(self.bus.is_absolute())
                || s.wishes.leds.is_some() && self.leds != Some(self.bus.leds());
            if let Some((area, whole)) = s.request.filter(|r| news || r.1.is_some() || self.viewer.is_dirty()) {
                s.request = None;
                whole.iter().for_each(|r| self.viewer.invalidate(*r));
                return Some(Job {
                    format: s.format,
                    wishes: s.wishes,
                    announce: std::mem::take(&mut s.announce),
                    wants_size: std::mem::take(&mut s.wants_size),
                    map: std::mem::take(&mut s.map),
                    area,
                    size: s.size,
                });
            }
            s = self.client.wake.wait(s).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn build(&mut self, job: Job) -> Vec<u8> {
        let Job { format, wishes, area, .. } = job;
        let mut update = Update::new();
        if self.area != area {
            self.area = area;
            self.elsewhere.take().iter().for_each(|r| self.viewer.invalidate(*r));
        }
        let changed = self.viewer.take();
        let (width, height) = (self.viewer.surface().width, self.viewer.surface().height);
        let resized = (width, height) != job.size && (wishes.desktop_size || wishes.extended_size);
        if resized || wishes.extended_size && (job.announce || job.wants_size) {
            self.client.set_size(width, height);
            if wishes.extended_size {
                let (reason, status) = if job.wants_size { (1, 1) } else { (0, 0) }; // 1: the client; prohibited
                update.extended_size(reason, status, width, height);
            } else {
                update.say(0, width, height, encoding::DESKTOP_SIZE);
            }
        }
        if job.announce && wishes.extended_keys {
            update.say(0, width, height, encoding::EXTENDED_KEY);
        }
        if job.announce && wishes.cursor {
            update.cursor(&format);
        }
        let leds = self.bus.leds();
        if let Some(encoding) = wishes.leds.filter(|_| self.leds != Some(leds)) {
            self.leds = Some(leds);
            update.leds(leds, encoding);
        }
        let absolute = self.bus.is_absolute();
        if wishes.pointer_motion && self.absolute != Some(absolute) {
            self.absolute = Some(absolute);
            update.say(absolute.into(), width, height, encoding::POINTER_MOTION);
        }
        let visible = Rect { x: 0, y: 0, width: job.size.0, height: job.size.1 };
        self.encoders.set_quality(wishes.quality.filter(|_| self.lossy));
        let moved = self.moved(&wishes, &changed.rects);
        if let Some(Moved { to, from }) = moved {
            update.copy(to, from);
        }
        self.remember(resized, &changed.rects, meet(visible, area), &wishes);
        let rest = changed.rects.iter().flat_map(|r| match moved {
            Some(m) => outside(*r, m.to).collect(),
            None => vec![*r],
        });
        for r in rest.collect::<Vec<_>>() {
            if resized {
                self.viewer.invalidate(r); // pixels of a new size follow when the client knows of it
                continue;
            }
            let Some(seen) = meet(r, visible) else { continue };
            let part = meet(seen, area);
            if part != Some(seen) {
                self.elsewhere = Some(self.elsewhere.map_or(seen, |e| around(e, seen)));
            }
            if let Some(part) = part {
                self.encoders.add(&mut update, self.viewer.surface(), part, wishes.encoding, &format);
            }
        }
        let mut bytes = if job.map { colour_map_message() } else { vec![] };
        if !update.is_empty() {
            bytes.extend(update.finish());
        }
        bytes
    }
}

impl Sender {
    /// What only moved since the client's picture.
    fn moved(&self, wishes: &Wishes, changed: &[Rect]) -> Option<Moved> {
        let known = self.known.as_ref().filter(|_| wishes.copy_rect)?;
        // Little that changed is sent faster than looked for.
        let pixels: u32 = changed.iter().map(|r| r.width * r.height).sum();
        let all = known.width * known.height;
        if pixels < all / 3 { None } else { scroll::find(known, self.viewer.surface()) }
    }

    /// Keeps `known` true; `sent` is the part of the screen that the client gets.
    fn remember(&mut self, resized: bool, changed: &[Rect], sent: Option<Rect>, wishes: &Wishes) {
        let now = self.viewer.surface();
        let whole = now.bounds().filter(|b| Some(*b) == sent && !resized && wishes.copy_rect);
        let Some(whole) = whole.filter(|_| self.elsewhere.is_none()) else {
            self.known = None;
            return;
        };
        match &mut self.known {
            Some(known) if (known.width, known.height) == (now.width, now.height) => {
                for r in changed {
                    let columns = r.x as usize..(r.x + r.width) as usize;
                    for y in r.y..r.y + r.height {
                        if let (Some(to), Some(from)) =
                            (known.row_mut(y).get_mut(columns.clone()), now.row(y).get(columns.clone()))
                        {
                            to.copy_from_slice(from);
                        }
                    }
                }
            }
            known => *known = changed.contains(&whole).then(|| now.clone()),
        }
    }
}

fn colour_map_message() -> Vec<u8> {
    let mut b = vec![1, 0, 0, 0, 1, 0];
    b.extend(colour_map().iter().flatten().flat_map(|v| v.to_be_bytes()));
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_meet() {
        let r = |x, y, width, height| Rect { x, y, width, height };
        assert_eq!(meet(r(0, 0, 10, 10), r(5, 5, 10, 10)), Some(r(5, 5, 5, 5)));
        assert_eq!(meet(r(0, 0, 5, 5), r(5, 0, 5, 5)), None);
        assert_eq!(meet(r(0, 0, 5, 5), r(1, 1, u32::MAX, 1)), Some(r(1, 1, 4, 1)));
        assert_eq!(around(r(0, 1, 5, 5), r(7, 0, 1, 1)), r(0, 0, 8, 6));
    }

    #[test]
    fn the_colour_map_has_256_colours() {
        assert_eq!(colour_map_message().len(), 6 + 256 * 6);
    }
}
