//! A page's websocket.
//!
//! To the page, binary: `1, compressed, width, height, count` (16 bits each, little-endian), then, as raw deflate when
//! compressed, `count` rectangles `x, y, width, height` and after them their pixels as red, green and blue bytes; or
//! `2, console` and its output. Text: JSON, the first with `hello`, `name`, `consoles`, `layout` and `layouts`, later ones the status.
//!
//! From the page, text: `key CODE 0|1` (a `KeyboardEvent.code`), `abs X Y BUTTONS`, `rel DX DY BUTTONS`,
//! `wheel UP RIGHT`, `layout NAME` (of texts that follow), `text ANYTHING`, `cmd stop|cont|reset|powerdown`, `ack` (a picture was drawn), `plain` (it cannot
//! decompress). Binary: a console's number and input for it. What makes no sense is ignored.
//!
//! At most [`IN_FLIGHT`] pictures are on their way, so a slow page gets fewer of them, and nothing piles up.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use display::{Rect, Surface, Viewer};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use input::{InputEvent, Key, Layout, Leds};

use super::guest::{GuestCommand, GuestStatus};
use super::server::Shared;
use crate::lock;
use crate::pointer::Pointer;
use crate::text_console::Notify;
use crate::websocket::{self, Message, WebSocketError, WebSocketReader, opcode};

/// Pictures that the page has not drawn yet.
const IN_FLIGHT: u32 = 2;
/// Most bytes of a message from the page.
const MESSAGE: usize = 128 * 1024;
/// Most bytes of console output in a message.
const OUTPUT: usize = 16 * 1024;
/// Between looks at the status.
const STATUS: Duration = Duration::from_millis(1000);

/// What the threads of a page share.
struct Page {
    state: Mutex<PageState>,
    wake: Condvar,
}

#[derive(Default)]
struct PageState {
    in_flight: u32,
    plain: bool,
    /// Something has happened since the sender looked.
    news: bool,
    closed: bool,
}

impl Page {
    fn tell(&self, change: impl FnOnce(&mut PageState)) {
        let mut s = lock(&self.state);
        change(&mut s);
        s.news = true;
        drop(s);
        self.wake.notify_all();
    }
}

/// Serves a page until it is closed; `stream` is a websocket already.
pub(crate) fn serve(shared: &Arc<Shared>, stream: &TcpStream) -> Result<(), WebSocketError> {
    let page = Arc::new(Page { state: Mutex::default(), wake: Condvar::new() });
    let weak = Arc::downgrade(&page);
    let notify: Arc<Notify> = Arc::new(move || {
        if let Some(page) = weak.upgrade() {
            page.tell(|_| ());
        }
    });
    shared.consoles.iter().for_each(|c| c.watch(&notify));
    shared.bus.watch_leds(&notify);
    let for_screen = notify.clone();
    let viewer = shared.screen.subscribe(move || for_screen());
    let writer = Arc::new(Mutex::new(stream.try_clone()?));
    let sender = Sender {
        shared: shared.clone(),
        page: page.clone(),
        viewer,
        writer: writer.clone(),
        at: vec![0; shared.consoles.len()],
        last: None,
        leds: Leds::default(),
        _notify: notify,
    };
    let ended = stream.try_clone()?;
    std::thread::Builder::new().name("web-send".into()).spawn(move || {
        if let Err(e) = sender.run() {
            tracing::debug!("web console: {e}");
        }
        let _closed_already = ended.shutdown(std::net::Shutdown::Both);
    })?;
    let result = read_loop(shared, stream, &page, &writer);
    page.tell(|s| s.closed = true);
    result
}

fn read_loop(
    shared: &Shared,
    stream: &TcpStream,
    page: &Page,
    writer: &Mutex<TcpStream>,
) -> Result<(), WebSocketError> {
    let mut reader = WebSocketReader::new(io::BufReader::new(stream.try_clone()?), MESSAGE);
    let mut hands = Hands::new(shared);
    loop {
        match reader.read()? {
            Message::Text(text) => match text.as_str() {
                "ack" => page.tell(|s| s.in_flight = s.in_flight.saturating_sub(1)),
                "plain" => page.tell(|s| s.plain = true),
                text => hands.message(text),
            },
            Message::Binary(bytes) => {
                if let Some((console, bytes)) = bytes.split_first()
                    && let Some(console) = shared.consoles.get(usize::from(*console))
                {
                    console.send(bytes);
                }
            }
            Message::Ping(bytes) => websocket::write_frame(&mut *lock(writer), opcode::PONG, &bytes)?,
            Message::Close => return Ok(()),
        }
    }
}

/// Input from a page. Keys that are still down are released at the end.
struct Hands<'a> {
    shared: &'a Shared,
    pointer: Pointer,
    down: Vec<Key>,
    /// Of texts.
    layout: Layout,
}

impl<'a> Hands<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, pointer: Pointer::new(shared.bus.clone()), down: vec![], layout: shared.bus.layout() }
    }

    fn message(&mut self, text: &str) {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut numbers = rest.split(' ').map(|n| n.parse::<i32>().ok());
        let mut number = || numbers.next().flatten();
        match word {
            "key" => self.key(rest),
            "abs" => {
                if let (Some(x), Some(y), Some(buttons)) = (number(), number(), number()) {
                    let (width, height) = *lock(&self.shared.size);
                    self.pointer.at(x, y, width, height, buttons as u16);
                }
            }
            "rel" => {
                if let (Some(dx), Some(dy), Some(buttons)) = (number(), number(), number()) {
                    self.pointer.by(dx, dy, buttons as u16);
                }
            }
            "wheel" => {
                if let (Some(vertical), Some(horizontal)) = (number(), number()) {
                    let (vertical, horizontal) = (vertical.clamp(-8, 8), horizontal.clamp(-8, 8));
                    self.shared.bus.send(&InputEvent::Wheel { vertical, horizontal });
                    self.shared.bus.send(&InputEvent::Sync);
                }
            }
            "layout" => self.layout = Layout::named(rest).unwrap_or(self.layout),
            "text" if !self.shared.typist.type_text(rest.into(), self.layout) => {
                tracing::warn!("web console: too much text to type");
            }
            "cmd" => self.command(rest),
            _ => {}
        }
        self.shared.screen.expect_change();
    }

    fn key(&mut self, rest: &str) {
        let Some((code, down)) = rest.split_once(' ') else { return };
        let Some(key) = Key::from_w3c(code) else { return };
        if down == "1" {
            if !self.down.contains(&key) {
                self.down.push(key);
            }
            self.shared.bus.key(key, true);
        } else if self.down.contains(&key) {
            self.down.retain(|k| *k != key);
            self.shared.bus.key(key, false);
        }
    }

    fn command(&self, word: &str) {
        let command = match word {
            "stop" => GuestCommand::Stop,
            "cont" => GuestCommand::Cont,
            "reset" => GuestCommand::Reset,
            "powerdown" => GuestCommand::PowerDown,
            _ => return,
        };
        self.shared.guest.command(command);
    }
}

impl Drop for Hands<'_> {
    fn drop(&mut self) {
        for key in std::mem::take(&mut self.down) {
            self.shared.bus.key(key, false);
        }
    }
}

struct Sender {
    shared: Arc<Shared>,
    page: Arc<Page>,
    viewer: Viewer,
    writer: Arc<Mutex<TcpStream>>,
    /// How far each console's output was sent.
    at: Vec<u64>,
    /// The last status, and when it was.
    last: Option<(Instant, GuestStatus)>,
    /// The lights that the page knows of.
    leds: Leds,
    /// Lives as long as this page is to be told of things.
    _notify: Arc<Notify>,
}

impl Sender {
    fn send(&self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        websocket::write_frame(&mut *lock(&self.writer), kind, bytes)
    }

    fn run(mut self) -> io::Result<()> {
        let consoles: Vec<_> = self.shared.consoles.iter().map(|c| c.name()).collect();
        let (layout, layouts) = (self.shared.bus.layout().name(), Layout::names().collect::<Vec<_>>());
        let hello = serde_json::json!({
            "hello": 1, "name": self.shared.name, "consoles": consoles, "layout": layout, "layouts": layouts,
        });
        self.send(opcode::TEXT, hello.to_string().as_bytes())?;
        loop {
            let (in_flight, plain) = {
                let s = lock(&self.page.state);
                let idle = |s: &mut PageState| !s.news && !s.closed;
                let waited = self.page.wake.wait_timeout_while(s, self.until_status(), idle);
                let mut s = waited.unwrap_or_else(PoisonError::into_inner).0;
                s.news = false;
                if s.closed {
                    return Ok(());
                }
                (s.in_flight, s.plain)
            };
            self.output()?;
            if in_flight < IN_FLIGHT && self.viewer.is_dirty() {
                let update = self.viewer.take();
                let surface = self.viewer.surface();
                *lock(&self.shared.size) = (surface.width, surface.height);
                if !update.rects.is_empty() {
                    lock(&self.page.state).in_flight += 1;
                    let frame = frame(surface, &update.rects, !plain);
                    self.send(opcode::BINARY, &frame)?;
                }
            }
            let leds = self.shared.bus.leds();
            if self.until_status().is_zero() || leds != self.leds {
                self.leds = leds;
                self.status()?;
            }
        }
    }

    fn until_status(&self) -> Duration {
        self.last.as_ref().map_or(Duration::ZERO, |l| STATUS.saturating_sub(l.0.elapsed()))
    }

    fn output(&mut self) -> io::Result<()> {
        let shared = self.shared.clone();
        for (n, console) in shared.consoles.iter().enumerate() {
            while let Some(at) = self.at.get_mut(n) {
                let bytes = console.read(at, OUTPUT);
                if bytes.is_empty() {
                    break;
                }
                self.send(opcode::BINARY, &[&[2, n as u8], bytes.as_slice()].concat())?;
            }
        }
        Ok(())
    }

    fn status(&mut self) -> io::Result<()> {
        let (now, s) = (Instant::now(), self.shared.guest.status());
        let (since, old) = self.last.take().unwrap_or_else(|| (now, s.clone()));
        let ms = (now - since).as_millis().max(1) as u64;
        let rate = |new: u64, old: u64| new.saturating_sub(old).saturating_mul(1000) / ms;
        let json = serde_json::json!({
            "state": s.state,
            "cpus": s.cpus,
            "exits": rate(s.exits, old.exits),
            "disk_read": rate(s.disk_read, old.disk_read) >> 10,
            "disk_write": rate(s.disk_write, old.disk_write) >> 10,
            "absolute": self.shared.bus.is_absolute(),
            "leds": { "num": self.leds.num, "caps": self.leds.caps, "scroll": self.leds.scroll },
        });
        self.last = Some((now, s));
        self.send(opcode::TEXT, json.to_string().as_bytes())
    }
}

/// The message of a picture's changed rectangles.
fn frame(surface: &Surface, rects: &[Rect], compress: bool) -> Vec<u8> {
    let rects = rects.get(..rects.len().min(0xFFFF)).unwrap_or(&[]);
    let mut body = vec![];
    for r in rects {
        [r.x, r.y, r.width, r.height].iter().for_each(|v| body.extend((*v as u16).to_le_bytes()));
    }
    for r in rects {
        for row in (r.y..r.y + r.height).map(|y| surface.row(y)) {
            let part = row.get(r.x as usize..(r.x + r.width) as usize).unwrap_or(&[]);
            part.iter().for_each(|p| body.extend([(p >> 16) as u8, (p >> 8) as u8, *p as u8]));
        }
    }
    let mut out = vec![1, compress.into()];
    [surface.width, surface.height, rects.len() as u32].iter().for_each(|v| out.extend((*v as u16).to_le_bytes()));
    if compress {
        let mut encoder = DeflateEncoder::new(out, Compression::fast());
        let _in_memory = encoder.write_all(&body);
        return encoder.finish().unwrap_or_default();
    }
    out.append(&mut body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_picture_decodes_to_the_same_pixels() {
        let mut s = Surface::new();
        s.resize(300, 2);
        s.row_mut(1)[299] = 0x12_3456;
        let r = Rect { x: 298, y: 1, width: 2, height: 1 };
        let expected = [&[0x2A, 1, 1, 0, 2, 0, 1, 0][..], &[0, 0, 0, 0x12, 0x34, 0x56]].concat();
        let plain = frame(&s, &[r], false);
        assert_eq!(plain[..8], [1, 0, 0x2C, 1, 2, 0, 1, 0]);
        assert_eq!(plain[8..], expected);
        let packed = frame(&s, &[r], true);
        let mut body = vec![];
        flate2::read::DeflateDecoder::new(&packed[8..]).read_to_end(&mut body).unwrap();
        assert_eq!((packed[1], body), (1, expected));
    }
}
