//! The server side of the WebSocket protocol (RFC 6455): handshake, frames, messages put together, bounded.
//!
//! Left out: extensions (none is offered, reserved bits are an error) and checking the close reason's UTF-8.

use std::io::{self, Read, Write};

use sha1::{Digest, Sha1};

use crate::http::Request;

/// What RFC 6455 section 1.3 appends to a client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Frame types.
pub(crate) mod opcode {
    pub(crate) const CONTINUATION: u8 = 0;
    pub(crate) const TEXT: u8 = 1;
    pub(crate) const BINARY: u8 = 2;
    pub(crate) const CLOSE: u8 = 8;
    pub(crate) const PING: u8 = 9;
    pub(crate) const PONG: u8 = 10;
}

/// A message from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Text(String),
    Binary(Vec<u8>),
    /// To be answered with a pong of the same bytes.
    Ping(Vec<u8>),
    Close,
}

/// The peer does not speak the protocol.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebSocketError {
    #[error("the connection: {0}")]
    Io(#[from] io::Error),
    #[error("websocket: {0}")]
    Protocol(&'static str),
}

use WebSocketError::Protocol;

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - group.len()));
        for n in 0..4 {
            let index = (bits >> (18 - 6 * n) & 63) as usize;
            text.push(if n <= group.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    text
}

/// Whether the request asks for a websocket.
pub(crate) fn is_upgrade(request: &Request) -> bool {
    request.lists("upgrade", "websocket") && request.lists("connection", "upgrade")
}

/// The response to a handshake, with subprotocol `protocol` when the client offers it.
pub(crate) fn accept(request: &Request, protocol: Option<&str>) -> Result<String, WebSocketError> {
    if request.method != "GET" || !is_upgrade(request) {
        return Err(Protocol("no handshake"));
    }
    if request.field("sec-websocket-version") != Some("13") {
        return Err(Protocol("not version 13"));
    }
    let key = request.field("sec-websocket-key").filter(|k| k.len() == 24).ok_or(Protocol("no key"))?;
    let answer = base64(&Sha1::digest(format!("{key}{GUID}")));
    let protocol = protocol.filter(|p| request.lists("sec-websocket-protocol", p));
    let protocol = protocol.map(|p| format!("Sec-WebSocket-Protocol: {p}\r\n")).unwrap_or_default();
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {answer}\r\n{protocol}\r\n"
    ))
}

/// Writes a frame that is a whole message.
pub(crate) fn write_frame(out: &mut impl Write, opcode: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    frame.push(0x80 | opcode);
    match payload.len() {
        n @ 0..126 => frame.push(n as u8),
        n @ 126..0x1_0000 => {
            frame.push(126);
            frame.extend((n as u16).to_be_bytes());
        }
        n => {
            frame.push(127);
            frame.extend((n as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    out.write_all(&frame)?;
    out.flush()
}

/// Takes messages out of a stream.
pub(crate) struct WebSocketReader<R> {
    stream: R,
    limit: usize,
    /// The pieces of a message that is not whole yet, and what it is.
    partial: Option<(u8, Vec<u8>)>,
}

impl<R: Read> WebSocketReader<R> {
    /// Messages of at most `limit` bytes.
    pub(crate) fn new(stream: R, limit: usize) -> Self {
        Self { stream, limit, partial: None }
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// First byte and unmasked payload of the next frame.
    fn frame(&mut self) -> Result<(u8, Vec<u8>), WebSocketError> {
        let [first, second] = self.bytes()?;
        if first & 0x70 != 0 {
            return Err(Protocol("reserved bits"));
        }
        if second & 0x80 == 0 {
            return Err(Protocol("a client's frame must be masked"));
        }
        let len = match second & 0x7F {
            126 => u64::from(u16::from_be_bytes(self.bytes()?)),
            127 => u64::from_be_bytes(self.bytes()?),
            n => n.into(),
        };
        let control = first & 8 != 0;
        if control && (len > 125 || first & 0x80 == 0) {
            return Err(Protocol("a long or fragmented control frame"));
        }
        let held = self.partial.as_ref().map_or(0, |p| p.1.len());
        let len = usize::try_from(len).ok().filter(|n| n.saturating_add(held) <= self.limit);
        let len = len.ok_or(Protocol("the message is too long"))?;
        let mask: [u8; 4] = self.bytes()?;
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload)?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(b, m)| *b ^= m);
        Ok((first, payload))
    }

    /// The next message; blocks.
    pub(crate) fn read(&mut self) -> Result<Message, WebSocketError> {
        loop {
            let (first, payload) = self.frame()?;
            match first & 0xF {
                opcode::CLOSE => return Ok(Message::Close),
                opcode::PING => return Ok(Message::Ping(payload)),
                opcode::PONG => continue,
                opcode::CONTINUATION => {
                    self.partial.as_mut().ok_or(Protocol("a continuation of nothing"))?.1.extend(payload);
                }
                kind @ (opcode::TEXT | opcode::BINARY) if self.partial.is_none() => {
                    self.partial = Some((kind, payload));
                }
                opcode::TEXT | opcode::BINARY => return Err(Protocol("a message inside a message")),
                _ => return Err(Protocol("an unknown frame type")),
            }
            if first & 0x80 != 0
                && let Some((kind, bytes)) = self.partial.take()
            {
                return match kind {
                    opcode::TEXT => {
                        String::from_utf8(bytes).map(Message::Text).map_err(|_| Protocol("text that is not UTF-8"))
                    }
                    _ => Ok(Message::Binary(bytes)),
                };
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A client's frame.
    pub(crate) fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut f = vec![];
        write_frame(&mut f, first & 0xF, payload).unwrap();
        f[0] = first;
        let at = f.len() - payload.len();
        let mask = [1, 2, 3, 4];
        f[1] |= 0x80;
        f[at..].iter_mut().zip(mask.iter().cycle()).for_each(|(b, m)| *b ^= m);
        f.splice(at..at, mask);
        f
    }

    fn reader(bytes: Vec<u8>) -> WebSocketReader<io::Cursor<Vec<u8>>> {
        WebSocketReader::new(io::Cursor::new(bytes), 1000)
    }

    #[test]
    fn handshake_of_the_rfc() {
        let text = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat, binary\r\n\
                    Sec-WebSocket-Version: 13\r\n\r\n";
        let request = Request::read(&mut text.as_bytes()).unwrap();
        let response = accept(&request, Some("binary")).unwrap();
        assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{response}");
        assert!(response.contains("Sec-WebSocket-Protocol: binary\r\n"));
        let old = Request::read(&mut text.replace("13", "8").as_bytes()).unwrap();
        assert!(accept(&old, None).is_err());
        let none = Request::read(&mut text.replace("websocket\r", "h2c\r").as_bytes()).unwrap();
        assert!(accept(&none, None).is_err());
    }

    #[test]
    fn base64_of_rfc_4648() {
        let all = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|s| base64(s.as_bytes()));
        assert_eq!(all, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    #[test]
    fn frames_of_every_length() {
        for len in [0, 1, 125, 126, 127, 999, 1000] {
            let data: Vec<u8> = (0..len).map(|n| n as u8).collect();
            assert_eq!(reader(client_frame(0x82, &data)).read().unwrap(), Message::Binary(data));
        }
        assert!(matches!(reader(client_frame(0x82, &[0; 1001])).read(), Err(Protocol(_))));
        let mut long = vec![];
        write_frame(&mut long, opcode::BINARY, &vec![7; 70_000]).unwrap();
        assert_eq!(long[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    }

    #[test]
    fn fragments_and_control_frames_between_them() {
        let bytes = [
            client_frame(0x01, b"He"),
            client_frame(0x89, b"?"),
            client_frame(0x00, b"ll"),
            client_frame(0x80, b"o"),
            client_frame(0x8A, b""),
            client_frame(0x88, b""),
        ];
        let mut r = reader(bytes.concat());
        assert_eq!(r.read().unwrap(), Message::Ping(b"?".to_vec()));
        assert_eq!(r.read().unwrap(), Message::Text("Hello".into()));
        assert_eq!(r.read().unwrap(), Message::Close);
    }

    #[test]
    fn what_breaks_the_rules() {
        let mut unmasked = vec![];
        write_frame(&mut unmasked, opcode::TEXT, b"x").unwrap();
        let endless: Vec<u8> = (0..20).flat_map(|n| client_frame(if n == 0 { 2 } else { 0 }, &[0; 100])).collect();
        for bad in [
            unmasked,
            client_frame(0xC1, b"x"),
            client_frame(0x80, b"x"),
            client_frame(0x83, b"x"),
            client_frame(0x09, b"x"),
            client_frame(0x89, &[0; 126]),
            client_frame(0x81, &[0xFF]),
            [client_frame(0x01, b"x"), client_frame(0x81, b"y")].concat(),
            endless,
            vec![0x82, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0],
        ] {
            assert!(matches!(reader(bad.clone()).read(), Err(Protocol(_))), "{bad:?}");
        }
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = crate::test_random(0x2545_F491_4F6C_DD1D);
        for round in 0..3000 {
            let mut bytes: Vec<u8> = (0..random() % 300).map(|_| random() as u8).collect();
            if round % 2 == 0 {
                let kinds = [0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x88];
                let frame = |r: u64| client_frame(kinds[r as usize % 7], &r.to_le_bytes()[..(r >> 8) as usize % 9]);
                bytes = (0..20).flat_map(|_| frame(random())).collect();
                let at = random() as usize % bytes.len();
                bytes[at] ^= 1 << (random() % 8);
            }
            let mut r = reader(bytes);
            while r.read().is_ok() {}
        }
    }
}
