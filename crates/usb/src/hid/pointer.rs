//! Tablet and mouse reports.
//!
//! HID 1.11, appendix E.10 (mouse) and B.2 (boot mouse); HID Usage Tables, pages 1 and 9. Tablet: buttons, X and Y
//! of 16 bits (0 to 32767), wheel. Mouse: buttons, relative X, Y, wheel; its boot report is the first three bytes.

use std::collections::VecDeque;

use input::{InputEvent, MouseButton};
use serde::{Deserialize, Serialize};

/// Reports waiting at most; later moves are merged into the last.
const MOST: usize = 32;

/// The tablet's report descriptor.
pub(super) const TABLET: &[u8] = &[
    0x05, 0x01, // Usage Page (Generic Desktop)
    0x09, 0x02, // Usage (Mouse)
    0xA1, 0x01, // Collection (Application)
    0x09, 0x01, //   Usage (Pointer)
    0xA1, 0x00, //   Collection (Physical)
    0x05, 0x09, //     Usage Page (Button)
    0x19, 0x01, 0x29, 0x05, // Usage 1 to 5
    0x15, 0x00, 0x25, 0x01, // Logical 0 to 1
    0x95, 0x05, 0x75, 0x01, 0x81, 0x02, // five bits, Input (Data, Variable, Absolute)
    0x95, 0x01, 0x75, 0x03, 0x81, 0x01, // three bits, Input (Constant)
    0x05, 0x01, //     Usage Page (Generic Desktop)
    0x09, 0x30, 0x09, 0x31, // Usage X, Y
    0x15, 0x00, 0x26, 0xFF, 0x7F, // Logical 0 to 32767
    0x35, 0x00, 0x46, 0xFF, 0x7F, // Physical 0 to 32767
    0x75, 0x10, 0x95, 0x02, 0x81, 0x02, // two of 16 bits, Input (Data, Variable, Absolute)
    0x09, 0x38, //     Usage (Wheel)
    0x15, 0x81, 0x25, 0x7F, // Logical -127 to 127
    0x35, 0x00, 0x45, 0x00, // Physical as logical
    0x75, 0x08, 0x95, 0x01, 0x81, 0x06, // one of 8 bits, Input (Data, Variable, Relative)
    0xC0, 0xC0,
];

/// The mouse's report descriptor.
pub(super) const MOUSE: &[u8] = &[
    0x05, 0x01, // Usage Page (Generic Desktop)
    0x09, 0x02, // Usage (Mouse)
    0xA1, 0x01, // Collection (Application)
    0x09, 0x01, //   Usage (Pointer)
    0xA1, 0x00, //   Collection (Physical)
    0x05, 0x09, //     Usage Page (Button)
    0x19, 0x01, 0x29, 0x05, // Usage 1 to 5
    0x15, 0x00, 0x25, 0x01, // Logical 0 to 1
    0x95, 0x05, 0x75, 0x01, 0x81, 0x02, // five bits, Input (Data, Variable, Absolute)
    0x95, 0x01, 0x75, 0x03, 0x81, 0x01, // three bits, Input (Constant)
    0x05, 0x01, //     Usage Page (Generic Desktop)
    0x09, 0x30, 0x09, 0x31, 0x09, 0x38, // Usage X, Y, Wheel
    0x15, 0x81, 0x25, 0x7F, // Logical -127 to 127
    0x75, 0x08, 0x95, 0x03, 0x81, 0x06, // three of 8 bits, Input (Data, Variable, Relative)
    0xC0, 0xC0,
];

/// One state of the pointer. `x`, `y` are a position, or a motion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sample {
    x: i32,
    y: i32,
    wheel: i32,
    buttons: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pointer {
    absolute: bool,
    /// Collects events up to the next Sync.
    now: Sample,
    changed: bool,
    /// What was reported last.
    sent: Sample,
    queue: VecDeque<Sample>,
}

fn bit(button: MouseButton) -> u8 {
    match button {
        MouseButton::Left => 1,
        MouseButton::Right => 2,
        MouseButton::Middle => 4,
        MouseButton::Side => 8,
        MouseButton::Extra => 16,
    }
}

impl Pointer {
    pub(super) fn new(absolute: bool) -> Self {
        let (now, sent) = (Sample::default(), Sample::default());
        Self { absolute, now, changed: false, sent, queue: VecDeque::new() }
    }

    pub(super) fn is_valid(&self, absolute: bool) -> bool {
        self.absolute == absolute && self.queue.len() <= MOST
    }

    pub(super) fn pending(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Takes an event; with `listens` off nothing is queued.
    pub(super) fn event(&mut self, event: &InputEvent, listens: bool) {
        match *event {
            InputEvent::AbsMove { x, y } if self.absolute => {
                (self.now.x, self.now.y) = (x.min(InputEvent::ABS_MAX).into(), y.min(InputEvent::ABS_MAX).into());
            }
            InputEvent::RelMove { dx, dy } if !self.absolute => {
                self.now.x = self.now.x.saturating_add(dx);
                self.now.y = self.now.y.saturating_add(dy);
            }
            InputEvent::Button { button, down } => {
                let before = self.now.buttons;
                self.now.buttons = if down { before | bit(button) } else { before & !bit(button) };
            }
            InputEvent::Wheel { vertical, .. } => self.now.wheel = self.now.wheel.saturating_add(vertical),
            InputEvent::Sync => return self.sync(listens),
            _ => return,
        }
        self.changed = true;
    }

    fn sync(&mut self, listens: bool) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let sample = self.now;
        self.now.wheel = 0;
        if !self.absolute {
            (self.now.x, self.now.y) = (0, 0);
        }
        if !listens {
            return;
        }
        let full = self.queue.len() >= MOST;
        match self.queue.back_mut() {
            // Moves under the same buttons are one move. A full queue loses clicks rather than the last state.
            Some(last) if full || last.buttons == sample.buttons => {
                let add = |a: i32, b: i32| a.saturating_add(b);
                last.x = if self.absolute { sample.x } else { add(last.x, sample.x) };
                last.y = if self.absolute { sample.y } else { add(last.y, sample.y) };
                last.wheel = add(last.wheel, sample.wheel);
                last.buttons = sample.buttons;
            }
            _ => self.queue.push_back(sample),
        }
    }

    /// The next report. Motion that does not fit one report stays for the next.
    pub(super) fn next(&mut self, boot: bool) -> Vec<u8> {
        let absolute = self.absolute;
        if let Some(first) = self.queue.front_mut() {
            let take = |v: &mut i32| {
                let part = (*v).clamp(-127, 127);
                *v -= part;
                part
            };
            let wheel = take(&mut first.wheel);
            let (x, y) = if absolute { (first.x, first.y) } else { (take(&mut first.x), take(&mut first.y)) };
            self.sent = Sample { x, y, wheel, buttons: first.buttons };
            if first.wheel == 0 && (absolute || (first.x, first.y) == (0, 0)) {
                self.queue.pop_front();
            }
        }
        let report = self.encode(&self.sent, boot);
        self.sent.wheel = 0;
        if !absolute {
            (self.sent.x, self.sent.y) = (0, 0);
        }
        report
    }

    /// What was last reported, without motion.
    pub(super) fn current(&self, boot: bool) -> Vec<u8> {
        self.encode(&self.sent, boot)
    }

    fn encode(&self, s: &Sample, boot: bool) -> Vec<u8> {
        let byte = |v: i32| v as i8 as u8;
        if self.absolute {
            let ([x0, x1], [y0, y1]) = ((s.x as u16).to_le_bytes(), (s.y as u16).to_le_bytes());
            return vec![s.buttons, x0, x1, y0, y1, byte(s.wheel)];
        }
        let mut report = vec![s.buttons, byte(s.x), byte(s.y)];
        if !boot {
            report.push(byte(s.wheel));
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(p: &mut Pointer, events: &[InputEvent]) {
        events.iter().chain([&InputEvent::Sync]).for_each(|e| p.event(e, true));
    }

    #[test]
    fn a_tablet_reports_places_clicks_and_wheel() {
        let mut p = Pointer::new(true);
        send(&mut p, &[InputEvent::AbsMove { x: 1, y: 2 }]);
        send(&mut p, &[InputEvent::AbsMove { x: 0x1234, y: 0x7FFF }]);
        send(&mut p, &[InputEvent::Button { button: MouseButton::Left, down: true }]);
        send(&mut p, &[InputEvent::Button { button: MouseButton::Left, down: false }]);
        send(&mut p, &[InputEvent::Wheel { vertical: -1, horizontal: 0 }]);
        assert_eq!(p.next(false), [0, 0x34, 0x12, 0xFF, 0x7F, 0], "moves are merged");
        assert_eq!(p.next(false), [1, 0x34, 0x12, 0xFF, 0x7F, 0]);
        assert_eq!(p.next(false), [0, 0x34, 0x12, 0xFF, 0x7F, 0xFF]);
        assert!(!p.pending());
        assert_eq!(p.current(false), [0, 0x34, 0x12, 0xFF, 0x7F, 0], "the wheel is relative");
    }

    #[test]
    fn a_long_way_takes_several_mouse_reports() {
        let mut p = Pointer::new(false);
        send(&mut p, &[InputEvent::RelMove { dx: 200, dy: -130 }]);
        assert_eq!(p.next(false), [0, 127, 129, 0]);
        assert_eq!(p.next(true), [0, 73, 253]);
        assert!(!p.pending());
    }

    #[test]
    fn a_full_queue_keeps_the_last_state() {
        let mut p = Pointer::new(true);
        for i in 0..200 {
            send(&mut p, &[InputEvent::Button { button: MouseButton::Right, down: i % 2 == 0 }]);
        }
        let mut last = vec![];
        while p.pending() {
            last = p.next(false);
        }
        assert_eq!(last[0], 0);
    }
}
