//! A front end's pointer on the input bus: absolute positions where a device takes them, motion otherwise.

use std::sync::Arc;

use input::{InputBus, InputEvent, MouseButton};

/// Button bits as RFB has them: left, middle, right, then the wheel up, down, left, right, then side buttons.
const BUTTONS: [(u16, MouseButton); 5] = [
    (1, MouseButton::Left),
    (2, MouseButton::Middle),
    (4, MouseButton::Right),
    (0x80, MouseButton::Side),
    (0x100, MouseButton::Extra),
];
const WHEEL: [(u16, i32, i32); 4] = [(8, 1, 0), (0x10, -1, 0), (0x20, 0, -1), (0x40, 0, 1)];

/// See the module's documentation.
pub(crate) struct Pointer {
    bus: Arc<InputBus>,
    buttons: u16,
    last: Option<(i32, i32)>,
}

/// `at` of `size` pixels on an absolute axis.
fn scaled(at: i32, size: u32) -> u16 {
    let most = i64::from(size.max(2)) - 1;
    (i64::from(at).clamp(0, most) * i64::from(InputEvent::ABS_MAX) / most) as u16
}

impl Pointer {
    pub(crate) fn new(bus: Arc<InputBus>) -> Self {
        Self { bus, buttons: 0, last: None }
    }

    /// The pointer is at `x`, `y` of a screen of `width` by `height`.
    pub(crate) fn at(&mut self, x: i32, y: i32, width: u32, height: u32, buttons: u16) {
        if self.bus.is_absolute() {
            self.bus.send(&InputEvent::AbsMove { x: scaled(x, width), y: scaled(y, height) });
        } else if let Some((old_x, old_y)) = self.last {
            self.motion(x.saturating_sub(old_x), y.saturating_sub(old_y));
        }
        self.last = Some((x, y));
        self.press(buttons);
    }

    /// The pointer has moved by so much.
    pub(crate) fn by(&mut self, dx: i32, dy: i32, buttons: u16) {
        self.last = None;
        self.motion(dx, dy);
        self.press(buttons);
    }

    fn motion(&self, dx: i32, dy: i32) {
        if (dx, dy) != (0, 0) {
            self.bus.send(&InputEvent::RelMove { dx, dy });
        }
    }

    fn press(&mut self, buttons: u16) {
        let changed = buttons ^ std::mem::replace(&mut self.buttons, buttons);
        for (bit, button) in BUTTONS.into_iter().filter(|b| changed & b.0 != 0) {
            self.bus.send(&InputEvent::Button { button, down: buttons & bit != 0 });
        }
        for (_, vertical, horizontal) in WHEEL.into_iter().filter(|w| changed & buttons & w.0 != 0) {
            self.bus.send(&InputEvent::Wheel { vertical, horizontal });
        }
        self.bus.send(&InputEvent::Sync);
    }
}

impl Drop for Pointer {
    /// A button of a front end that is gone does not stay down.
    fn drop(&mut self) {
        if self.buttons != 0 {
            self.press(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_input::Listener;
    use input::Capabilities;

    #[test]
    fn absolute_where_a_tablet_is_and_relative_otherwise() {
        let bus = InputBus::new();
        let mouse = Listener::on(&bus, Capabilities { relative: true, ..Capabilities::default() });
        let mut pointer = Pointer::new(bus.clone());
        pointer.at(10, 10, 640, 480, 0);
        pointer.at(13, 8, 640, 480, 1 | 8);
        assert_eq!(
            mouse.take(),
            [
                InputEvent::Sync,
                InputEvent::RelMove { dx: 3, dy: -2 },
                InputEvent::Button { button: MouseButton::Left, down: true },
                InputEvent::Wheel { vertical: 1, horizontal: 0 },
                InputEvent::Sync,
            ]
        );
        drop(mouse);
        let tablet = Listener::on(&bus, Capabilities { absolute: true, ..Capabilities::default() });
        pointer.at(639, 240, 640, 480, 1);
        pointer.at(-5, 9999, 640, 480, 1);
        drop(pointer);
        let up = InputEvent::Button { button: MouseButton::Left, down: false };
        assert_eq!(
            tablet.take(),
            [
                InputEvent::AbsMove { x: 0x7FFF, y: (240 * 0x7FFF / 479) as u16 },
                InputEvent::Sync,
                InputEvent::AbsMove { x: 0, y: 0x7FFF },
                InputEvent::Sync,
                up,
                InputEvent::Sync,
            ]
        );
    }

    #[test]
    fn a_screen_of_no_size() {
        assert_eq!((scaled(5, 0), scaled(i32::MIN, 1), scaled(i32::MAX, u32::MAX)), (0x7FFF, 0, 0x3FFF));
    }
}
