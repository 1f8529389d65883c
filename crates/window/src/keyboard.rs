//! Keys by their place on the keyboard (winit's physical keys have the names of the W3C's `KeyboardEvent.code`, but for the two
//! with a logo), and those that are held.

use std::collections::BTreeSet;
use std::sync::Arc;

use input::{InputBus, Key};
use winit::keyboard::{KeyCode, PhysicalKey};

/// What Ctrl-Alt and a letter do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortcut {
    /// G.
    Grab,
    /// F.
    FullScreen,
}

/// The guest's keyboard as the window plays it.
pub(crate) struct Keyboard {
    bus: Arc<InputBus>,
    held: BTreeSet<Key>,
    /// Keys whose release belongs to a shortcut.
    swallowed: BTreeSet<Key>,
}

/// The key at a place; `None` for places that the guest's keyboard does not have.
pub(crate) fn key(physical: PhysicalKey) -> Option<Key> {
    let PhysicalKey::Code(code) = physical else { return None };
    match code {
        KeyCode::SuperLeft => Key::from_w3c("MetaLeft"),
        KeyCode::SuperRight => Key::from_w3c("MetaRight"),
        other => Key::from_w3c(&format!("{other:?}")),
    }
}

impl Keyboard {
    pub(crate) fn new(bus: Arc<InputBus>) -> Self {
        Self { bus, held: BTreeSet::new(), swallowed: BTreeSet::new() }
    }

    /// A key went down or up; a shortcut is not the guest's.
    pub(crate) fn press(&mut self, key: Key, down: bool) -> Option<Shortcut> {
        if !down {
            if !self.swallowed.remove(&key) && self.held.remove(&key) {
                self.bus.key(key, false);
            }
            return None;
        }
        let either = |a: Key, b: Key| self.held.contains(&a) || self.held.contains(&b);
        if either(Key::Ctrl, Key::CtrlR) && either(Key::Alt, Key::AltR) {
            let shortcut = match key {
                Key::G => Some(Shortcut::Grab),
                Key::F => Some(Shortcut::FullScreen),
                _ => None,
            };
            if shortcut.is_some() {
                // A held key repeats; once is enough.
                return shortcut.filter(|_| self.swallowed.insert(key));
            }
        }
        self.held.insert(key);
        self.bus.key(key, true);
        None
    }

    /// The window is no longer in front: nothing stays down.
    pub(crate) fn release_all(&mut self) {
        self.swallowed.clear();
        for key in std::mem::take(&mut self.held).into_iter().rev() {
            self.bus.key(key, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use input::{Capabilities, InputEvent, InputHandler};
    use std::sync::Mutex;

    #[derive(Default)]
    struct Log(Mutex<String>);

    impl InputHandler for Log {
        fn input(&self, event: &InputEvent) {
            if let InputEvent::Key { key, down } = event {
                *self.0.lock().unwrap() += &format!("{}{} ", if *down { '+' } else { '-' }, key.name());
            }
        }
    }

    #[test]
    fn shortcuts_are_kept_from_the_guest() {
        let bus = InputBus::new();
        let log = Arc::new(Log::default());
        let handler: Arc<dyn InputHandler> = log.clone();
        bus.register("log", Capabilities { keyboard: true, ..Default::default() }, Arc::downgrade(&handler));
        let mut keyboard = Keyboard::new(bus);
        assert_eq!(keyboard.press(Key::G, true), None);
        assert_eq!(keyboard.press(Key::G, false), None);
        keyboard.press(Key::Ctrl, true);
        keyboard.press(Key::AltR, true);
        assert_eq!(keyboard.press(Key::G, true), Some(Shortcut::Grab));
        assert_eq!(keyboard.press(Key::G, true), None);
        keyboard.press(Key::G, false);
        assert_eq!(keyboard.press(Key::F, true), Some(Shortcut::FullScreen));
        keyboard.release_all();
        keyboard.press(Key::Ctrl, false);
        assert_eq!(*log.0.lock().unwrap(), "+g -g +ctrl +alt_r -alt_r -ctrl ");
    }

    #[test]
    fn places_have_keys() {
        use KeyCode::{ArrowUp, Backquote, Fn, IntlBackslash, KeyA, NumpadEnter, SuperLeft};
        let key = |code| key(PhysicalKey::Code(code)).map(Key::name);
        assert_eq!([key(KeyA), key(ArrowUp), key(Backquote)], [Some("a"), Some("up"), Some("grave_accent")]);
        assert_eq!(
            [key(SuperLeft), key(NumpadEnter), key(IntlBackslash)],
            [Some("meta_l"), Some("kp_enter"), Some("less")]
        );
        assert_eq!(key(Fn), None);
    }
}
