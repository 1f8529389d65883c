//! The server over real sockets, with a client of the test's own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use display::{DisplaySource, Rect, RemoteDisplay, ScreenService, Surface};
use input::{Capabilities, InputBus};

use super::auth;
use super::{Share, VncOptions, VncServer};
use crate::test_input::{Listener, keys};
use crate::websocket::tests::client_frame;

/// A screen to draw on.
struct Paper(Mutex<(Surface, bool)>);

impl DisplaySource for Paper {
    fn render(&self, surface: &mut Surface) -> Vec<Rect> {
        let mut p = self.0.lock().unwrap();
        if !std::mem::take(&mut p.1) && surface.bounds() == p.0.bounds() {
            return vec![];
        }
        surface.clone_from(&p.0);
        surface.bounds().into_iter().collect()
    }

    fn text(&self) -> Option<Vec<String>> {
        None
    }
}

impl Paper {
    fn fill(&self, width: u32, height: u32, colour: u32) {
        let mut p = self.0.lock().unwrap();
        p.0.resize(width, height);
        p.0.pixels.fill(colour);
        p.1 = true;
    }
}

struct Bench {
    server: VncServer,
    paper: Arc<Paper>,
    keys: Listener,
}

fn bench(change: impl Fn(&mut VncOptions)) -> Bench {
    let paper = Arc::new(Paper(Mutex::default()));
    paper.fill(70, 20, 0x11_2233);
    let bus = InputBus::new();
    let keys = Listener::on(&bus, Capabilities { keyboard: true, ..Capabilities::default() });
    let mut options = VncOptions { host: "127.0.0.1".into(), name: "a guest".into(), ..VncOptions::default() };
    change(&mut options);
    Bench { server: VncServer::start(options, ScreenService::new(paper.clone()), bus).unwrap(), paper, keys }
}

struct Viewer(TcpStream);

impl Viewer {
    fn open(bench: &Bench) -> Self {
        let s = TcpStream::connect(bench.server.address()).unwrap();
        s.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(s)
    }

    fn get(&mut self, n: usize) -> Vec<u8> {
        let mut b = vec![0; n];
        self.0.read_exact(&mut b).unwrap();
        b
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn without_password(bench: &Bench) -> Self {
        let mut v = Self::open(bench);
        assert_eq!(v.get(12), b"RFB 003.008\n");
        v.put(b"RFB 003.008\n");
        assert_eq!(v.get(2), [1, 1]);
        v.put(&[1]);
        assert_eq!(v.get(4), [0; 4]);
        v.put(&[1]);
        let init = v.get(24);
        assert_eq!((&init[..4], &init[20..]), (&[0, 70, 0, 20][..], &[0, 0, 0, 7][..]));
        assert_eq!(v.get(7), b"a guest");
        v
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }

    fn request(&mut self, incremental: bool) {
        self.put(&[3, incremental.into(), 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
    }

    /// Reads an update of raw rectangles into `surface`; the pseudo-encodings in it.
    fn update(&mut self, surface: &mut Surface) -> Vec<i32> {
        let head = self.get(4);
        assert_eq!(head[..2], [0, 0]);
        let mut pseudo = vec![];
        for _ in 0..u16::from_be_bytes([head[2], head[3]]) {
            let b = self.get(12);
            let [x, y, w, h] = [0, 2, 4, 6].map(|i| u32::from(u16::from_be_bytes([b[i], b[i + 1]])));
            match i32::from_be_bytes(b[8..].try_into().unwrap()) {
                0 => {
                    for y in y..y + h {
                        let row = self.get(w as usize * 4);
                        for (x, p) in (x..).zip(row.chunks(4)) {
                            surface.row_mut(y)[x as usize] = u32::from_le_bytes(p.try_into().unwrap());
                        }
                    }
                }
                kind => {
                    if kind == -308 {
                        assert_eq!(self.get(20)[..4], [1, 0, 0, 0]);
                    }
                    if matches!(kind, -308 | -223) {
                        surface.resize(w, h);
                    }
                    pseudo.push(kind);
                }
            }
        }
        pseudo
    }
}

#[test]
fn pictures_sizes_and_keys() {
    let b = bench(|_| ());
    let mut v = Viewer::without_password(&b);
    let mut s = Surface::new();
    s.resize(70, 20);
    v.put(&[2, 0, 0, 3, 0, 0, 0, 0, 0xFF, 0xFF, 0xFE, 0xCC, 0xFF, 0xFF, 0xFE, 0xFE]); // raw, -308, -258
    v.request(false);
    let mut said = v.update(&mut s);
    said.sort_unstable();
    assert_eq!(said, [-308, -258]);
    while s.pixels.iter().any(|p| *p != 0x11_2233) {
        v.request(true);
        v.update(&mut s);
    }
    b.paper.fill(70, 20, 7);
    v.request(true);
    assert!(v.update(&mut s).is_empty() && s.pixels.iter().all(|p| *p == 7));
    b.paper.fill(130, 33, 9);
    v.request(true);
    assert_eq!(v.update(&mut s), [-308]);
    assert_eq!((s.width, s.height), (130, 33));
    v.request(true);
    v.update(&mut s);
    assert!(s.pixels.iter().all(|p| *p == 9));
    v.put(&[251, 0, 0, 9, 0, 9, 0, 0]);
    v.request(true);
    assert_eq!(v.update(&mut s), [-308], "refused");
    assert_eq!((s.width, s.height), (130, 33));
    v.put(&[4, 1, 0, 0, 0, 0, 0, b'A', 255, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x1C]);
    drop(v);
    let mut all = String::new();
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while !all.contains("-ret") {
        assert!(std::time::Instant::now() < end, "{all}");
        all += &keys(&b.keys);
    }
    assert!(all.replace(' ', "").contains("+shift+a-shift+ret"), "{all}"); // however the events were cut
}

#[test]
fn a_client_that_cannot_resize_sees_a_part() {
    let b = bench(|_| ());
    let mut v = Viewer::without_password(&b);
    let mut s = Surface::new();
    s.resize(70, 20);
    b.paper.fill(200, 10, 5);
    v.request(false);
    while s.pixel(69, 9) != 5 {
        v.update(&mut s);
        v.request(true);
    }
}

#[test]
fn nobody_gets_in_before_a_password_is_set() {
    let b = bench(|o| o.password = true);
    let attempt = |password: &[u8]| {
        let mut v = Viewer::open(&b);
        v.get(12);
        v.put(b"RFB 003.008\n");
        assert_eq!(v.get(2), [1, 2]);
        v.put(&[2]);
        let challenge = v.get(16).try_into().unwrap();
        v.put(&auth::response(password, &challenge));
        v.get(4) == [0; 4]
    };
    assert!(!attempt(b""));
    assert!(b.server.set_password("secret"));
    assert!(!attempt(b"Secret"));
    assert!(attempt(b"secret"));
    b.server.expire_password(Some(1));
    assert!(!attempt(b"secret"));
    assert_eq!(b.server.info().auth, "vnc");
    assert!(!bench(|_| ()).server.set_password("x"), "without password=on");
}

#[test]
fn a_client_of_its_own_sends_others_away() {
    let b = bench(|_| ());
    let mut first = Viewer::without_password(&b);
    let mut second = Viewer::open(&b);
    second.put(b"RFB 003.003\n\x00");
    second.get(12 + 4 + 24 + 7);
    assert!(first.is_closed());
    let shared = bench(|o| o.share = Share::ForceShared);
    let mut refused = Viewer::open(&shared);
    refused.put(b"RFB 003.003\n\x00");
    refused.get(16);
    assert!(refused.is_closed());
}

#[test]
fn websockets_and_where_pages_come_from() {
    let b = bench(|o| o.websocket = Some(("127.0.0.1".into(), 0)));
    let address = b.server.websocket_address().unwrap();
    let open = |origin: &str| {
        let s = TcpStream::connect(address).unwrap();
        s.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut v = Viewer(s);
        let head = format!(
            "GET /websockify HTTP/1.1\r\nHost: {address}\r\n{origin}Upgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        v.put(head.as_bytes());
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(v.get(1));
        }
        (v, String::from_utf8(head).unwrap())
    };
    for origin in ["", "Origin: http://localhost:8000\r\n", "Origin: http://[::1]:1\r\n"] {
        let (mut v, head) = open(origin);
        assert!(head.starts_with("HTTP/1.1 101 "), "{origin}{head}");
        assert_eq!(v.get(14), b"\x82\x0CRFB 003.008\n");
        v.put(&client_frame(0x82, b"RFB 003."));
        v.put(&client_frame(0x89, b"!"));
        v.put(&client_frame(0x82, b"008\n"));
        assert_eq!(v.get(7), [0x8A, 1, b'!', 0x82, 2, 1, 1]);
    }
    for origin in ["http://example.com", "https://127.0.0.1.example.com:80", "null"] {
        assert!(open(&format!("Origin: {origin}\r\n")).1.starts_with("HTTP/1.1 403 "), "{origin}");
    }
}

#[test]
fn random_bytes_close_the_connection_and_nothing_else() {
    let b = bench(|_| ());
    let mut random = crate::test_random(0xDEAD_BEEF_CAFE_F00D);
    for _ in 0..30 {
        let mut v = Viewer::without_password(&b);
        let bytes: Vec<u8> = (0..2000).map(|_| random() as u8).collect();
        let _may_be_closed = v.0.write_all(&bytes);
        v.0.shutdown(std::net::Shutdown::Write).unwrap();
        while !v.is_closed() {}
    }
    Viewer::without_password(&b);
}
