//! What RFB clients send (RFC 6143, section 7.5; the community RFB specification for extensions), bounded.

use std::io::{self, Read};

use display::Rect;

use super::pixel::PixelFormat;

/// Encodings and pseudo-encodings.
pub(crate) mod encoding {
    pub(crate) const RAW: i32 = 0;
    pub(crate) const COPY_RECT: i32 = 1;
    pub(crate) const TIGHT: i32 = 7;
    pub(crate) const ZRLE: i32 = 16;
    /// Quality 0 of ten of JPEG.
    pub(crate) const QUALITY_0: i32 = -32;
    pub(crate) const QUALITY_9: i32 = -23;
    pub(crate) const DESKTOP_SIZE: i32 = -223;
    pub(crate) const CURSOR: i32 = -239;
    pub(crate) const POINTER_MOTION: i32 = -257;
    pub(crate) const EXTENDED_KEY: i32 = -258;
    /// QEMU's, one byte.
    pub(crate) const LED_STATE: i32 = -261;
    /// VMware's, four bytes.
    pub(crate) const VMWARE_LED_STATE: i32 = 0x574D_5668;
    pub(crate) const EXTENDED_DESKTOP_SIZE: i32 = -308;
}

/// Most encodings that are looked at.
const ENCODINGS: usize = 256;
/// Most bytes of clipboard text; it is thrown away.
const CUT_TEXT: u64 = 1 << 20;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClientMessage {
    SetPixelFormat(PixelFormat),
    SetEncodings(Vec<i32>),
    UpdateRequest { incremental: bool, area: Rect },
    Key { down: bool, keysym: u32 },
    ExtendedKey { down: bool, keysym: u32, code: u32 },
    Pointer { buttons: u16, x: u16, y: u16 },
    CutText,
    SetDesktopSize,
}

/// A message that is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("the connection: {0}")]
    Io(#[from] io::Error),
    #[error("RFB: unknown message {0}")]
    Unknown(u8),
    #[error("RFB: {0}")]
    Bad(&'static str),
}

fn bytes<const N: usize>(r: &mut impl Read) -> io::Result<[u8; N]> {
    let mut b = [0; N];
    r.read_exact(&mut b)?;
    Ok(b)
}

fn word(b: &[u8], at: usize) -> u16 {
    b.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_be_bytes)
}

fn long(b: &[u8], at: usize) -> u32 {
    b.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn skip(r: &mut impl Read, len: u64) -> io::Result<()> {
    let skipped = io::copy(&mut r.take(len), &mut io::sink())?;
    if skipped == len { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

impl ClientMessage {
    /// Reads the next message; blocks.
    pub(crate) fn read(r: &mut impl Read) -> Result<Self, MessageError> {
        let [kind] = bytes(r)?;
        Ok(match kind {
            0 => {
                let b: [u8; 19] = bytes(r)?;
                let format = b[3..].try_into().ok().and_then(PixelFormat::parse);
                Self::SetPixelFormat(format.ok_or(MessageError::Bad("a pixel format that makes no sense"))?)
            }
            2 => {
                let b: [u8; 3] = bytes(r)?;
                let mut list = vec![];
                for _ in 0..word(&b, 1) {
                    let encoding = i32::from_be_bytes(bytes(r)?);
                    if list.len() < ENCODINGS {
                        list.push(encoding);
                    }
                }
                Self::SetEncodings(list)
            }
            3 => {
                let b: [u8; 9] = bytes(r)?;
                let [x, y, width, height] = [1, 3, 5, 7].map(|at| u32::from(word(&b, at)));
                Self::UpdateRequest { incremental: b[0] != 0, area: Rect { x, y, width, height } }
            }
            4 => {
                let b: [u8; 7] = bytes(r)?;
                Self::Key { down: b[0] != 0, keysym: long(&b, 3) }
            }
            5 => {
                let b: [u8; 5] = bytes(r)?;
                Self::Pointer { buttons: b[0].into(), x: word(&b, 1), y: word(&b, 3) }
            }
            6 => Self::cut_text(r)?,
            251 => {
                let b: [u8; 7] = bytes(r)?;
                skip(r, u64::from(b[5]) * 16)?;
                Self::SetDesktopSize
            }
            255 => Self::qemu(r)?,
            other => return Err(MessageError::Unknown(other)),
        })
    }

    /// Text, or with a negative length the extended clipboard's data.
    fn cut_text(r: &mut impl Read) -> Result<Self, MessageError> {
        let b: [u8; 7] = bytes(r)?;
        let len = u64::from((long(&b, 3) as i32).unsigned_abs());
        if len > CUT_TEXT {
            return Err(MessageError::Bad("too much clipboard text"));
        }
        skip(r, len)?;
        Ok(Self::CutText)
    }

    fn qemu(r: &mut impl Read) -> Result<Self, MessageError> {
        let [kind] = bytes(r)?;
        if kind != 0 {
            return Err(MessageError::Bad("a QEMU message that was not offered"));
        }
        let b: [u8; 10] = bytes(r)?;
        Ok(Self::ExtendedKey { down: word(&b, 0) != 0, keysym: long(&b, 2), code: long(&b, 6) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<ClientMessage, MessageError> {
        ClientMessage::read(&mut &bytes[..])
    }

    #[test]
    fn messages() {
        let format = [&[0, 0, 0, 0][..], &PixelFormat::SERVER.bytes()].concat();
        assert_eq!(read(&format).unwrap(), ClientMessage::SetPixelFormat(PixelFormat::SERVER));
        assert_eq!(
            read(&[2, 0, 0, 2, 0, 0, 0, 16, 0xFF, 0xFF, 0xFF, 0x21]).unwrap(),
            ClientMessage::SetEncodings(vec![encoding::ZRLE, encoding::DESKTOP_SIZE])
        );
        let area = Rect { x: 1, y: 2, width: 0x300, height: 4 };
        assert_eq!(
            read(&[3, 1, 0, 1, 0, 2, 3, 0, 0, 4]).unwrap(),
            ClientMessage::UpdateRequest { incremental: true, area }
        );
        assert_eq!(read(&[4, 1, 0, 0, 0, 0, 0xFF, 0x0D]).unwrap(), ClientMessage::Key { down: true, keysym: 0xFF0D });
        assert_eq!(
            read(&[255, 0, 0, 1, 0, 0, 0, 0x61, 0, 0, 0, 0x1E]).unwrap(),
            ClientMessage::ExtendedKey { down: true, keysym: 0x61, code: 0x1E }
        );
        assert_eq!(read(&[5, 4, 1, 0, 0, 9]).unwrap(), ClientMessage::Pointer { buttons: 4, x: 256, y: 9 });
        assert_eq!(read(&[6, 0, 0, 0, 0, 0, 0, 2, 1, 2]).unwrap(), ClientMessage::CutText);
        assert_eq!(read(&[&[251, 0, 0, 9, 0, 9, 1, 0][..], &[0; 16]].concat()).unwrap(), ClientMessage::SetDesktopSize);
    }

    #[test]
    fn what_is_refused() {
        assert!(matches!(read(&[1]), Err(MessageError::Unknown(1))));
        assert!(matches!(read(&[6, 0, 0, 0, 0x7F, 0, 0, 0]), Err(MessageError::Bad(_))));
        assert!(matches!(read(&[6, 0, 0, 0, 0x80, 0, 0, 0]), Err(MessageError::Bad(_))));
        assert!(matches!(read(&[255, 1, 0, 0]), Err(MessageError::Bad(_))));
        assert!(matches!(read(&[6, 0, 0, 0, 0, 0, 0, 2, 1]), Err(MessageError::Io(_))));
        assert!(matches!(read(&[0; 20]), Err(MessageError::Bad(_))));
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = crate::test_random(0x1234_5678_9ABC_DEF1);
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = (0..random() % 200).map(|_| random() as u8).collect();
            if let Some(first) = bytes.first_mut() {
                *first = [0, 2, 3, 4, 5, 6, 251, 255, *first][random() as usize % 9];
            }
            let mut rest = &bytes[..];
            while ClientMessage::read(&mut rest).is_ok() {}
        }
    }
}
