//! An RFB client made of bytes (see `crate::audit`): what it sends goes to the keyboard, the pointer and the encoders.

use std::io::Cursor;
use std::sync::Arc;

use display::{Rect, Surface};
use input::InputBus;

use super::handshake::{self, Terms};
use super::keyboard::Keyboard;
use super::message::{ClientMessage, encoding};
use super::pixel::PixelFormat;
use super::update::{Encoders, Update};
use crate::pointer::Pointer;

const SIZE: (u32, u32) = (40, 24);
/// Updates that are made at most.
const UPDATES: u32 = 16;

/// A connection from its first byte.
pub(crate) fn audit(data: &[u8], bus: &Arc<InputBus>) {
    let mut reader = Cursor::new(data);
    let terms = Terms { password: None, challenge: [7; 16] };
    if handshake::open(&mut reader, &mut Vec::new(), &terms).is_err() {
        return;
    }
    let mut surface = Surface::new();
    surface.resize(SIZE.0, SIZE.1);
    for y in 0..SIZE.1 {
        (0..).zip(surface.row_mut(y)).for_each(|(x, p)| *p = (x * 0x01_0307) ^ (y * y));
    }
    let (mut format, mut kind, mut encoders, mut updates) = (PixelFormat::SERVER, encoding::RAW, Encoders::new(), 0);
    let (mut keyboard, mut pointer) = (Keyboard::new(bus.clone()), Pointer::new(bus.clone()));
    while let Ok(message) = ClientMessage::read(&mut reader) {
        match message {
            ClientMessage::SetPixelFormat(new) => format = new,
            ClientMessage::SetEncodings(list) => {
                kind = list.first().copied().unwrap_or(encoding::RAW);
                encoders.set_quality(list.last().map(|q| *q as u8));
            }
            ClientMessage::UpdateRequest { area, .. } => {
                updates += 1;
                let (x, y) = (area.x % SIZE.0, area.y % SIZE.1);
                let (width, height) = (area.width.clamp(1, SIZE.0 - x), area.height.clamp(1, SIZE.1 - y));
                if updates <= UPDATES {
                    let mut update = Update::new();
                    encoders.add(&mut update, &surface, Rect { x, y, width, height }, kind, &format);
                    assert!(update.finish().len() >= 16, "an update without a rectangle");
                }
            }
            ClientMessage::Key { down, keysym } => keyboard.keysym(keysym, down),
            ClientMessage::ExtendedKey { down, keysym, code } => keyboard.code(code, keysym, down),
            ClientMessage::Pointer { buttons, x, y } => pointer.at(x.into(), y.into(), SIZE.0, SIZE.1, buttons),
            ClientMessage::CutText | ClientMessage::SetDesktopSize => {}
        }
    }
}
