//! The beginning of a connection (RFC 6143, sections 7.1 to 7.3): version, security, initialisation.

use std::io::{Read, Write};

use super::auth::{self, Challenge};
use super::message::MessageError;
use super::pixel::PixelFormat;

const SECURITY_NONE: u8 = 1;
const SECURITY_VNC: u8 = 2;

/// What the server asks for.
pub(crate) struct Terms {
    /// `Some`: VNC Authentication; inside, the password now, if it lets anybody in.
    pub(crate) password: Option<Option<String>>,
    /// Random bytes.
    pub(crate) challenge: Challenge,
}

/// Whether the version has security types as a list (3.7) and a reason for failures (3.8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    V3,
    V7,
    V8,
}

fn bytes<const N: usize>(r: &mut impl Read) -> std::io::Result<[u8; N]> {
    let mut b = [0; N];
    r.read_exact(&mut b)?;
    Ok(b)
}

fn version(r: &mut impl Read) -> Result<Version, MessageError> {
    let b: [u8; 12] = bytes(r)?;
    let minor = b.strip_prefix(b"RFB 003.").and_then(|b| b.strip_suffix(b"\n"));
    let minor = minor.and_then(|m| std::str::from_utf8(m).ok()).and_then(|m| m.parse::<u16>().ok());
    match minor {
        Some(0..7) => Ok(Version::V3),
        Some(7) => Ok(Version::V7),
        Some(_) => Ok(Version::V8),
        None => Err(MessageError::Bad("not a version 3 client")),
    }
}

fn put_reason(out: &mut Vec<u8>, reason: &str) {
    out.extend((reason.len() as u32).to_be_bytes());
    out.extend(reason.as_bytes());
}

/// Up to and with the client's initialisation: whether it wants to share the screen.
pub(crate) fn open(r: &mut impl Read, w: &mut impl Write, terms: &Terms) -> Result<bool, MessageError> {
    w.write_all(b"RFB 003.008\n")?;
    let version = version(r)?;
    let kind = if terms.password.is_some() { SECURITY_VNC } else { SECURITY_NONE };
    if version == Version::V3 {
        w.write_all(&u32::from(kind).to_be_bytes())?;
    } else {
        w.write_all(&[1, kind])?;
        let [chosen] = bytes(r)?;
        if chosen != kind {
            return Err(MessageError::Bad("a security type that was not offered"));
        }
    }
    let good = match &terms.password {
        None => true,
        Some(password) => {
            w.write_all(&terms.challenge)?;
            let answer: Challenge = bytes(r)?;
            let expected = |p: &String| auth::same(&answer, &auth::response(p.as_bytes(), &terms.challenge));
            password.as_ref().is_some_and(expected)
        }
    };
    if kind == SECURITY_VNC || version == Version::V8 {
        let mut result = u32::from(!good).to_be_bytes().to_vec();
        if !good && version == Version::V8 {
            put_reason(&mut result, "Authentication failed");
        }
        w.write_all(&result)?;
    }
    if !good {
        return Err(MessageError::Bad("authentication failed"));
    }
    let [shared] = bytes(r)?;
    Ok(shared != 0)
}

/// The server's initialisation.
pub(crate) fn server_init(width: u16, height: u16, name: &str) -> Vec<u8> {
    let mut b = [width.to_be_bytes(), height.to_be_bytes()].concat();
    b.extend(PixelFormat::SERVER.bytes());
    put_reason(&mut b, name);
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(input: &[u8], password: Option<Option<&str>>) -> (Result<bool, MessageError>, Vec<u8>) {
        let password = password.map(|p| p.map(String::from));
        let terms = Terms { password, challenge: [9; 16] };
        let mut out = vec![];
        let result = open(&mut &input[..], &mut out, &terms);
        (result, out.split_off(12))
    }

    #[test]
    fn three_versions_without_a_password() {
        let (r, out) = run(b"RFB 003.003\n\x01", None);
        assert_eq!((r.unwrap(), out), (true, vec![0, 0, 0, 1]));
        let (r, out) = run(b"RFB 003.007\n\x01\x00", None);
        assert_eq!((r.unwrap(), out), (false, vec![1, 1]));
        let (r, out) = run(b"RFB 003.889\n\x01\x01", None);
        assert_eq!((r.unwrap(), out), (true, vec![1, 1, 0, 0, 0, 0]));
        assert!(run(b"RFB 003.008\n\x02\x01", None).0.is_err());
        assert!(run(b"GET / HTTP/1.1\r\n", None).0.is_err());
    }

    #[test]
    fn passwords() {
        let answer = |p: &str| [&b"RFB 003.008\n\x02"[..], &auth::response(p.as_bytes(), &[9; 16]), &[1]].concat();
        let (r, out) = run(&answer("secret"), Some(Some("secret")));
        assert!(r.unwrap());
        assert_eq!((&out[..2], &out[18..]), (&[1, 2][..], &[0, 0, 0, 0][..]));
        let (r, out) = run(&answer("Secret"), Some(Some("secret")));
        assert!(r.is_err());
        assert_eq!(out[18..22], [0, 0, 0, 1]);
        assert!(out.ends_with(b"Authentication failed"));
        assert!(run(&answer(""), Some(None)).0.is_err(), "no password is set: nobody gets in");
    }
}
