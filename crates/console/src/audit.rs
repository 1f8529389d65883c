//! What clients send, from bytes: RFB handshakes and messages, HTTP requests, websocket frames and the messages in them. Nothing may
//! panic, and nothing that is read without end is kept. `fuzz/` feeds libFuzzer's bytes, `tests/audit.rs` a seeded stream.

use std::io::{Cursor, Read};

use input::InputBus;

use crate::http::Request;
use crate::vnc;
use crate::websocket::{Message, WebSocketReader, accept};

/// A page's messages at most.
const LIMIT: usize = 1 << 16;

/// A VNC client, from its first byte.
pub fn vnc(data: &[u8]) {
    vnc::audit(data, &InputBus::new());
}

/// A browser, or what says it is one: a request, and frames when it is a handshake. They carry an RFB client.
pub fn web(data: &[u8]) {
    let mut stream = Cursor::new(data);
    let Ok(request) = Request::read(&mut stream) else { return };
    let _fields = (request.field("origin"), request.has("host"));
    let _response = accept(&request, Some("binary"));
    frames(stream);
}

/// Websocket frames.
pub fn frames(stream: impl Read) {
    let mut reader = WebSocketReader::new(stream, LIMIT);
    let mut rfb = vec![];
    while let Ok(message) = reader.read() {
        match message {
            Message::Text(text) => assert!(text.len() <= LIMIT, "a message longer than the limit"),
            Message::Binary(bytes) => rfb.extend(bytes),
            Message::Ping(bytes) => assert!(bytes.len() < 126, "a long ping"),
            Message::Close => break,
        }
    }
    vnc(&rfb);
}
