//! A client's two directions: a TCP connection as it is, or binary websocket messages on it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::message::MessageError;
use crate::http::Request;
use crate::lock;
use crate::websocket::{self, Message, WebSocketReader, opcode};

/// Most bytes of a websocket message.
const MESSAGE: usize = 2 << 20;
/// How long a handshake may pause.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a client may take nothing before it is given up.
const STUCK: Duration = Duration::from_secs(60);

/// An open connection.
pub(crate) struct Transport {
    pub(crate) reader: Box<dyn Read + Send>,
    pub(crate) writer: Box<dyn Write + Send>,
}

/// Ends a connection from any thread.
pub(crate) fn close(stream: &TcpStream) {
    let _closed_already = stream.shutdown(Shutdown::Both);
}

impl Transport {
    /// Plain RFB.
    pub(crate) fn tcp(stream: &TcpStream) -> io::Result<Self> {
        prepare(stream)?;
        Ok(Self { reader: Box::new(io::BufReader::new(stream.try_clone()?)), writer: Box::new(stream.try_clone()?) })
    }

    /// RFB in a websocket. `origin` says whether a page from there may connect.
    pub(crate) fn websocket(stream: &TcpStream, origin: impl Fn(&Request) -> bool) -> Result<Self, MessageError> {
        prepare(stream)?;
        let mut reader = io::BufReader::new(stream.try_clone()?);
        let request = Request::read(&mut reader).map_err(|_| MessageError::Bad("no websocket handshake"))?;
        let mut writer = stream.try_clone()?;
        if !origin(&request) {
            crate::http::respond(&mut writer, "403 Forbidden", "text/plain", "", b"not from this page\n")?;
            return Err(MessageError::Bad("a web page from elsewhere wants to connect"));
        }
        let answer = websocket::accept(&request, Some("binary"));
        let Ok(answer) = answer else {
            crate::http::respond(&mut writer, "426 Upgrade Required", "text/plain", "", b"this is a websocket\n")?;
            return Err(MessageError::Bad("no websocket handshake"));
        };
        writer.write_all(answer.as_bytes())?;
        let writer = Arc::new(Mutex::new(writer));
        let messages = WebSocketReader::new(reader, MESSAGE);
        Ok(Self {
            reader: Box::new(FromMessages { messages, left: io::Cursor::default(), writer: writer.clone() }),
            writer: Box::new(ToMessages(writer)),
        })
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(STUCK))
}

struct FromMessages<R> {
    messages: WebSocketReader<R>,
    left: io::Cursor<Vec<u8>>,
    writer: Arc<Mutex<TcpStream>>,
}

impl<R: Read> Read for FromMessages<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.left.read(buffer)?;
            if n != 0 || buffer.is_empty() {
                return Ok(n);
            }
            match self.messages.read() {
                Ok(Message::Binary(bytes)) => self.left = io::Cursor::new(bytes),
                Ok(Message::Text(_)) => return Err(io::Error::other("text in a binary websocket")),
                Ok(Message::Ping(bytes)) => {
                    websocket::write_frame(&mut *lock(&self.writer), opcode::PONG, &bytes)?;
                }
                Ok(Message::Close) => return Ok(0),
                Err(websocket::WebSocketError::Io(e)) => return Err(e),
                Err(e) => return Err(io::Error::other(e)),
            }
        }
    }
}

struct ToMessages(Arc<Mutex<TcpStream>>);

impl Write for ToMessages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        websocket::write_frame(&mut *lock(&self.0), opcode::BINARY, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
