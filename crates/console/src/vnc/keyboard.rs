//! An RFB client's keys: those with a key code as they are; keysyms looked up on the guest's keyboard, with Shift and AltGr put right
//! where the client does not send it (vncdotool) or has another layout. Keys still down are released at the end.

use std::sync::Arc;

use input::{InputBus, Key, KeyStroke, Stroke};

/// Keys that are down at most; more than anybody has fingers.
const MOST_DOWN: usize = 32;

/// See the module's documentation.
pub(crate) struct Keyboard {
    bus: Arc<InputBus>,
    /// What is down, and for which keysym (0 for a key that came with its code).
    down: Vec<(u32, Key)>,
}

impl Keyboard {
    pub(crate) fn new(bus: Arc<InputBus>) -> Self {
        Self { bus, down: vec![] }
    }

    fn is_down(&self, key: Key) -> bool {
        self.down.iter().any(|d| d.1 == key)
    }

    fn press(&mut self, keysym: u32, key: Key) {
        if !self.is_down(key) {
            if self.down.len() == MOST_DOWN {
                return;
            }
            self.down.push((keysym, key));
        }
        self.bus.key(key, true);
    }

    fn release(&mut self, key: Key) {
        if self.is_down(key) {
            self.down.retain(|d| d.1 != key);
            self.bus.key(key, false);
        }
    }

    /// A key with its code, or where that is none, with its keysym.
    pub(crate) fn code(&mut self, code: u32, keysym: u32, down: bool) {
        match Key::from_rfb_code(code) {
            Some(key) if down => self.press(0, key),
            Some(key) => self.release(key),
            None => self.keysym(keysym, down),
        }
    }

    /// A keysym.
    pub(crate) fn keysym(&mut self, keysym: u32, down: bool) {
        let held = self.down.iter().find(|d| d.0 == keysym && keysym != 0).map(|d| d.1);
        let stroke = KeyStroke::from_keysym(keysym, self.bus.layout());
        match (stroke, down) {
            (Some(stroke), true) => self.stroke(keysym, stroke),
            // Pressed as one keysym ('a') and released as another ('A').
            (stroke, false) => {
                if let Some(key) = held.or(stroke.map(|s| s.key)) {
                    self.release(key);
                }
            }
            (None, true) => {}
        }
    }

    fn all(&self, keys: &[Key], down: bool) {
        for key in keys {
            self.bus.key(*key, down);
        }
    }

    /// Presses a dead key, which stays down no longer than it takes.
    fn dead(&self, stroke: Stroke) {
        let keys = stroke.keys();
        self.all(&keys, true);
        for key in keys.iter().rev() {
            self.bus.key(*key, false);
        }
    }

    fn stroke(&mut self, keysym: u32, stroke: KeyStroke) {
        let shifts: Vec<Key> = [Key::Shift, Key::ShiftR].into_iter().filter(|k| self.is_down(*k)).collect();
        let shortcut = [Key::Ctrl, Key::CtrlR, Key::Alt, Key::MetaL, Key::MetaR].iter().any(|k| self.is_down(*k));
        if shortcut || self.is_down(stroke.key) {
            return self.press(keysym, stroke.key);
        }
        if let Some(dead) = stroke.dead {
            self.all(&shifts, false);
            self.dead(dead);
            self.all(&shifts, true);
        }
        let altgr = stroke.altgr && !self.is_down(Key::AltR);
        if altgr {
            self.bus.key(Key::AltR, true);
        }
        match stroke.shift {
            Some(true) if shifts.is_empty() => {
                self.bus.key(Key::Shift, true);
                self.press(keysym, stroke.key);
                self.bus.key(Key::Shift, false);
            }
            Some(false) if !shifts.is_empty() => {
                self.all(&shifts, false);
                self.press(keysym, stroke.key);
                self.all(&shifts, true);
            }
            _ => self.press(keysym, stroke.key),
        }
        if altgr {
            self.bus.key(Key::AltR, false);
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        for (_, key) in std::mem::take(&mut self.down) {
            self.bus.key(key, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_input::{Listener, keys};
    use input::Capabilities;

    fn keyboard() -> (Keyboard, Listener) {
        let bus = InputBus::new();
        let listener = Listener::on(&bus, Capabilities { keyboard: true, ..Capabilities::default() });
        (Keyboard::new(bus), listener)
    }

    #[test]
    fn shift_is_put_right() {
        let (mut k, log) = keyboard();
        k.keysym('A' as u32, true);
        k.keysym('A' as u32, false);
        assert_eq!(keys(&log), "+shift +a -shift -a");
        k.keysym(0xFFE1, true);
        k.keysym('B' as u32, true);
        k.keysym('b' as u32, false);
        k.keysym('1' as u32, true);
        k.keysym(0xFFE1, false);
        assert_eq!(keys(&log), "+shift +b -b -shift +1 +shift -shift");
        drop(k);
        assert_eq!(keys(&log), "-1");
    }

    #[test]
    fn keysyms_are_looked_up_on_the_guests_layout() {
        let (mut k, log) = keyboard();
        k.bus.set_layout(input::Layout::named("de").unwrap());
        let mut typed = |keysym| {
            k.keysym(keysym, true);
            k.keysym(keysym, false);
            keys(&log)
        };
        assert_eq!(typed('z' as u32), "+y -y");
        assert_eq!(typed('@' as u32), "+alt_r +q -alt_r -q");
        assert_eq!(typed(0xE4), "+apostrophe -apostrophe");
        assert_eq!(typed(0x20AC), "+alt_r +e -alt_r -e");
        assert_eq!(typed('^' as u32), "+grave_accent -grave_accent +spc -spc");
        assert_eq!(typed(0xFE52), "+grave_accent -grave_accent");
        assert_eq!(typed(0x100_00DC), "+shift +bracket_left -shift -bracket_left");
    }

    #[test]
    fn shortcuts_and_codes_are_left_alone() {
        let (mut k, log) = keyboard();
        k.keysym(0xFFE3, true);
        k.keysym('C' as u32, true);
        k.code(0x9D, 0, true);
        k.code(0, 0xFF0D, true);
        k.code(0, 0, true);
        k.code(0x9D, 0, false);
        k.keysym(0xE9, true);
        k.keysym(0xE9, false);
        assert_eq!(keys(&log), "+ctrl +c +ctrl_r +ret -ctrl_r");
        for code in 1..0x80 {
            k.code(code, 0, true);
        }
        assert_eq!(k.down.len(), MOST_DOWN);
    }
}
