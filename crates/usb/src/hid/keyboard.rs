//! Keyboard reports: the boot report of modifiers and six keys.
//!
//! HID 1.11, appendix B.1 and E.6; HID Usage Tables, page 7 (keys) and page 8 (LEDs).

use std::collections::VecDeque;

use input::InputEvent;
use serde::{Deserialize, Serialize};

/// Keys waiting at most.
const MOST: usize = 128;
/// Usages of the eight modifiers, in the order of their bits.
const FIRST_MODIFIER: u8 = 0xE0;
const LAST_MODIFIER: u8 = 0xE7;
/// Usage of "more keys than can be told".
const ROLL_OVER: u8 = 1;

/// The report descriptor.
pub(super) const DESCRIPTOR: &[u8] = &[
    0x05, 0x01, // Usage Page (Generic Desktop)
    0x09, 0x06, // Usage (Keyboard)
    0xA1, 0x01, // Collection (Application)
    0x05, 0x07, //   Usage Page (Keyboard)
    0x19, 0xE0, 0x29, 0xE7, // Usage: the modifiers
    0x15, 0x00, 0x25, 0x01, // Logical 0 to 1
    0x75, 0x01, 0x95, 0x08, 0x81, 0x02, // eight bits, Input (Data, Variable, Absolute)
    0x95, 0x01, 0x75, 0x08, 0x81, 0x01, // a byte, Input (Constant)
    0x95, 0x05, 0x75, 0x01, // five bits
    0x05, 0x08, 0x19, 0x01, 0x29, 0x05, 0x91, 0x02, // LEDs 1 to 5, Output (Data, Variable, Absolute)
    0x95, 0x01, 0x75, 0x03, 0x91, 0x01, // three bits, Output (Constant)
    0x95, 0x06, 0x75, 0x08, // six bytes
    0x15, 0x00, 0x26, 0xFF, 0x00, // Logical 0 to 255
    0x05, 0x07, 0x19, 0x00, 0x29, 0xFF, 0x81, 0x00, // keys, Input (Data, Array)
    0xC0,
];

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Keyboard {
    /// Num, caps, scroll lock, compose, kana.
    pub(super) leds: u8,
    modifiers: u8,
    pressed: Vec<u8>,
    /// Usages that go down or up, one a report so that no keystroke is lost.
    queue: VecDeque<(u8, bool)>,
}

impl Keyboard {
    pub(super) fn is_valid(&self) -> bool {
        self.queue.len() <= MOST && self.pressed.len() <= usize::from(u8::MAX)
    }

    pub(super) fn pending(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn event(&mut self, event: &InputEvent) {
        let InputEvent::Key { key, down } = event else { return };
        let Some(usage) = key.hid() else { return };
        if self.queue.len() >= MOST {
            // The guest does not read. Better all keys up than one that hangs.
            self.queue = self.pressed.iter().map(|k| (*k, false)).collect();
            self.queue.extend((0..8).map(|m| (FIRST_MODIFIER + m, false)));
            self.queue.truncate(MOST);
        } else {
            self.queue.push_back((usage, *down));
        }
    }

    /// Applies the next key that changes anything, and reports.
    pub(super) fn next(&mut self) -> Vec<u8> {
        if let Some((usage, down)) = self.queue.pop_front() {
            match usage {
                FIRST_MODIFIER..=LAST_MODIFIER => {
                    let bit = 1 << (usage - FIRST_MODIFIER);
                    self.modifiers = if down { self.modifiers | bit } else { self.modifiers & !bit };
                }
                _ => {
                    self.pressed.retain(|k| *k != usage);
                    if down {
                        self.pressed.push(usage);
                    }
                }
            }
        }
        self.report()
    }

    pub(super) fn report(&self) -> Vec<u8> {
        let mut report = vec![self.modifiers, 0];
        if self.pressed.len() > 6 {
            report.extend([ROLL_OVER; 6]);
        } else {
            report.extend(&self.pressed);
            report.resize(8, 0);
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use input::Key;

    fn key(k: &mut Keyboard, key: Key, down: bool) {
        k.event(&InputEvent::Key { key, down });
    }

    #[test]
    fn every_key_is_a_report() {
        let mut k = Keyboard::default();
        for (code, down) in [(Key::Shift, true), (Key::A, true), (Key::A, false), (Key::Shift, false)] {
            key(&mut k, code, down);
        }
        assert_eq!(k.next(), [2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(k.next(), [2, 0, 4, 0, 0, 0, 0, 0]);
        assert_eq!(k.next(), [2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(k.next(), [0; 8]);
        assert!(!k.pending());
    }

    #[test]
    fn seven_keys_roll_over() {
        let mut k = Keyboard::default();
        for code in [Key::A, Key::B, Key::C, Key::D, Key::E, Key::F, Key::G] {
            key(&mut k, code, true);
            k.next();
        }
        assert_eq!(k.report(), [0, 0, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn an_overrun_releases_everything() {
        let mut k = Keyboard::default();
        key(&mut k, Key::A, true);
        k.next();
        (0..=MOST).for_each(|_| key(&mut k, Key::B, true));
        while k.pending() {
            k.next();
        }
        assert_eq!(k.report(), [0; 8]);
    }
}
