//! HTTP/1.1 requests as far as the web console and websocket handshakes need them (RFC 9112): a request line and
//! header fields, bounded. Left out: bodies, continuation lines, keep-alive (every response closes).

use std::io::{self, Read, Write};

/// Most bytes of a request.
const LIMIT: usize = 16 * 1024;
/// Most header fields.
const FIELDS: usize = 64;

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// As it is in the request line, a query included.
    pub(crate) target: String,
    /// Names in lower case, in order.
    pub(crate) fields: Vec<(String, String)>,
}

/// A request that is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("the connection: {0}")]
    Io(#[from] io::Error),
    #[error("the request is longer than {LIMIT} bytes")]
    TooLong,
    #[error("not an HTTP request")]
    Malformed,
}

impl Request {
    /// Reads a request, not one byte more.
    pub(crate) fn read(stream: &mut impl Read) -> Result<Self, HttpError> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") && !bytes.ends_with(b"\n\n") {
            if bytes.len() == LIMIT {
                return Err(HttpError::TooLong);
            }
            stream.read_exact(&mut byte)?;
            bytes.push(byte[0]);
        }
        Self::parse(std::str::from_utf8(&bytes).map_err(|_| HttpError::Malformed)?).ok_or(HttpError::Malformed)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let token = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_graphic());
        if words.next().is_some() || !token(method) || !target.starts_with('/') || !version.starts_with("HTTP/1.") {
            return None;
        }
        let mut request = Self { method: method.into(), target: target.into(), fields: vec![] };
        for line in lines.take_while(|l| !l.is_empty()) {
            let (name, value) = line.split_once(':')?;
            if !token(name) || request.fields.len() == FIELDS {
                return None;
            }
            request.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(request)
    }

    /// The value of a field, when it is there exactly once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut all = self.fields.iter().filter(|f| f.0 == name);
        let value = all.next().map(|f| f.1.as_str());
        value.filter(|_| all.next().is_none())
    }

    /// A field is there, however often.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|f| f.0 == name)
    }

    /// `word` is in the comma-separated list of a field.
    pub(crate) fn lists(&self, name: &str, word: &str) -> bool {
        let mut values = self.fields.iter().filter(|f| f.0 == name).flat_map(|f| f.1.split(','));
        values.any(|v| v.trim().eq_ignore_ascii_case(word))
    }
}

/// Writes a whole response; the connection is to be closed then.
pub(crate) fn respond(out: &mut impl Write, status: &str, kind: &str, extra: &str, body: &[u8]) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{extra}\r\n",
        body.len()
    );
    out.write_all(head.as_bytes())?;
    out.write_all(body)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, HttpError> {
        Request::read(&mut text.as_bytes())
    }

    #[test]
    fn a_request() {
        let r = read("GET /a?b HTTP/1.1\r\nHost: x:1\r\nConnection: keep-alive, Upgrade\r\nX: 1\r\nx: 2\r\n\r\nrest")
            .unwrap();
        assert_eq!((r.method.as_str(), r.target.as_str(), r.field("host")), ("GET", "/a?b", Some("x:1")));
        assert!(r.lists("connection", "upgrade") && !r.lists("connection", "close"));
        assert_eq!((r.field("x"), r.has("x"), r.has("y")), (None, true, false));
    }

    #[test]
    fn what_is_none() {
        for bad in [
            "GET\r\n\r\n",
            "GET x HTTP/1.1\r\n\r\n",
            "GET / FTP/1\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert!(matches!(read(bad), Err(HttpError::Malformed)), "{bad:?}");
        }
        assert!(matches!(read(&"x".repeat(LIMIT + 9)), Err(HttpError::TooLong)));
        assert!(matches!(read(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65))), Err(HttpError::Malformed)));
        assert!(matches!(read("GET / HTTP/1.1\r\n"), Err(HttpError::Io(_))));
    }
}
