//! The console over real sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chardev::{CharEvent, CharFrontend, CharPort, Chardev};
use display::ScreenService;
use input::{Capabilities, InputBus};

use super::{Guest, GuestCommand, GuestStatus, WebConsole, WebOptions};
use crate::NoScreen;
use crate::test_input::{Listener, keys};
use crate::text_console::TextConsole;
use crate::websocket::tests::client_frame;

#[derive(Default)]
struct Machine(Mutex<Vec<GuestCommand>>);

impl Guest for Machine {
    fn status(&self) -> GuestStatus {
        GuestStatus { state: "running", cpus: 3, ..GuestStatus::default() }
    }

    fn command(&self, command: GuestCommand) {
        self.0.lock().unwrap().push(command);
    }
}

struct Nothing;

impl CharFrontend for Nothing {
    fn notify(&self, _: CharEvent) {}
}

struct Bench {
    console: WebConsole,
    machine: Arc<Machine>,
    keys: Listener,
    serial: CharPort,
}

fn bench() -> Bench {
    let bus = InputBus::new();
    let keys = Listener::on(&bus, Capabilities { keyboard: true, ..Capabilities::default() });
    let machine = Arc::new(Machine::default());
    let (chardev, peer) = Chardev::in_memory("serial0", 65536, false);
    let serial = chardev.attach(Arc::new(Nothing)).unwrap();
    let console = WebConsole::start(WebOptions {
        typed: "-display web".into(),
        host: "127.0.0.1".into(),
        port: 0,
        name: "guest".into(),
        screen: ScreenService::new(Arc::new(NoScreen)),
        bus,
        guest: machine.clone(),
        consoles: vec![TextConsole::start("serial0", peer).unwrap()],
    });
    Bench { console: console.unwrap(), machine, keys, serial }
}

impl Bench {
    fn path(&self) -> String {
        self.console.url().splitn(4, '/').nth(3).unwrap().to_owned()
    }

    fn request(&self, target: &str, fields: &str) -> TcpStream {
        let mut s = TcpStream::connect(self.console.address()).unwrap();
        s.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let host = self.console.address();
        s.write_all(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").as_bytes()).unwrap();
        s
    }

    fn get(&self, target: &str) -> String {
        let mut all = vec![];
        self.request(target, "").read_to_end(&mut all).unwrap();
        String::from_utf8_lossy(&all).into_owned()
    }

    fn websocket(&self) -> TcpStream {
        let fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let mut s = self.request(&format!("/{}ws", self.path()), fields);
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            let mut b = [0];
            s.read_exact(&mut b).unwrap();
            head.push(b[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        s
    }
}

/// The next message: opcode and payload.
fn message(s: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    s.read_exact(&mut head).unwrap();
    let len = match head[1] {
        126 => {
            let mut b = [0; 2];
            s.read_exact(&mut b).unwrap();
            u16::from_be_bytes(b).into()
        }
        127 => {
            let mut b = [0; 8];
            s.read_exact(&mut b).unwrap();
            u64::from_be_bytes(b) as usize
        }
        n => usize::from(n),
    };
    let mut payload = vec![0; len];
    s.read_exact(&mut payload).unwrap();
    (head[0] & 0xF, payload)
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(std::time::Instant::now() < end);
        std::thread::yield_now();
    }
}

#[test]
fn files_need_the_token() {
    let b = bench();
    let page = b.get(&format!("/{}", b.path()));
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("console.js") && page.contains("frame-ancestors"));
    assert!(b.get(&format!("/{}xterm.js", b.path())).contains("text/javascript"));
    assert!(b.get(&format!("/{}nothing", b.path())).starts_with("HTTP/1.1 404 "));
    assert!(b.get(&format!("/{}screen.png", b.path())).contains("image/png"));
    assert!(b.get(&format!("/{}ws", b.path())).starts_with("HTTP/1.1 426 "));
    for target in ["/", "/xterm.js", "/00000000000000000000000000000000/"] {
        assert!(b.get(target).starts_with("HTTP/1.1 403 "), "{target}");
    }
}

#[test]
fn a_page_sees_and_does_everything() {
    let b = bench();
    b.serial.write(b"login: ");
    let mut s = b.websocket();
    let (kind, hello) = message(&mut s);
    let hello: serde_json::Value = serde_json::from_slice(&hello).unwrap();
    assert_eq!((kind, &hello["consoles"][0], &hello["name"]), (1, &"serial0".into(), &"guest".into()));
    assert_eq!((&hello["hello"], &hello["layout"]), (&1.into(), &"en-us".into()));
    assert!(hello["layouts"].as_array().unwrap().contains(&"de".into()));
    let (mut output, mut picture, mut status) = (Vec::<u8>::new(), None, String::new());
    while output != b"login: " || picture.is_none() || status.is_empty() {
        match message(&mut s) {
            (2, m) if m[0] == 2 => output.extend(&m[2..]),
            (2, m) if m[0] == 1 => picture = Some(m),
            (_, m) => status = String::from_utf8(m).unwrap(),
        }
    }
    assert_eq!(picture.unwrap()[2..8], [0x80, 2, 0xE0, 1, 1, 0], "640 by 480");
    assert!(status.contains(r#""cpus":3"#) && status.contains(r#""state":"running""#), "{status}");
    for text in
        ["ack", "key KeyA 1", "key KeyA 0", "key Nothing 1", "key ShiftLeft 1", "cmd stop", "cmd fly", "abs 1", "x"]
    {
        s.write_all(&client_frame(0x81, text.as_bytes())).unwrap();
    }
    s.write_all(&client_frame(0x82, b"\0root\r")).unwrap();
    s.write_all(&client_frame(0x82, b"\x09no such console")).unwrap();
    let mut input = [0; 8];
    let n = until(|| Some(b.serial.read(&mut input)).filter(|n| *n != 0));
    assert_eq!(&input[..n], b"root\r");
    assert_eq!(*b.machine.0.lock().unwrap(), [GuestCommand::Stop]);
    drop(s);
    let mut all = keys(&b.keys);
    until(|| {
        all += &keys(&b.keys);
        all.ends_with("-shift").then_some(())
    });
    assert_eq!(all.replace(' ', ""), "+a-a+shift-shift");
}

#[test]
fn random_messages_never_panic() {
    let b = bench();
    let mut random = crate::test_random(0x0BAD_F00D_1234_5678);
    let words = ["key", "abs", "rel", "wheel", "cmd", "ack", "plain", "", "-1", "99999999999", "KeyA", "1", "é", "  "];
    for _ in 0..20 {
        let mut s = b.websocket();
        for _ in 0..100 {
            let text: Vec<_> = (0..random() % 6).map(|_| words[random() as usize % words.len()]).collect();
            let kind = if random().is_multiple_of(4) { 0x82 } else { 0x81 };
            let _may_be_closed = s.write_all(&client_frame(kind, text.join(" ").as_bytes()));
        }
        let junk: Vec<u8> = (0..50).map(|_| random() as u8).collect();
        let _may_be_closed = s.write_all(&junk);
    }
    message(&mut b.websocket());
}
