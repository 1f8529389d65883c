//! Who gets which event: the most recently activated device that can take it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

use crate::{Key, Layout};

/// A button of a pointing device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MouseButton {
    /// Left.
    Left,
    /// Right.
    Right,
    /// Middle, the wheel pressed.
    Middle,
    /// First side button ("back").
    Side,
    /// Second side button ("forward").
    Extra,
}

/// Something the user did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputEvent {
    /// A key went down or up. A front end may repeat `down` while the key is held.
    Key {
        /// Which key.
        key: Key,
        /// Down or up.
        down: bool,
    },
    /// The pointer moved by so much; right and down are positive.
    RelMove {
        /// To the right.
        dx: i32,
        /// Down.
        dy: i32,
    },
    /// The pointer is at a place of the screen, both axes from 0 to [`InputEvent::ABS_MAX`].
    AbsMove {
        /// From the left.
        x: u16,
        /// From the top.
        y: u16,
    },
    /// A button went down or up.
    Button {
        /// Which button.
        button: MouseButton,
        /// Down or up.
        down: bool,
    },
    /// The wheel turned by so many notches; up (away from the user) and right are positive.
    Wheel {
        /// Up.
        vertical: i32,
        /// Right.
        horizontal: i32,
    },
    /// The pointer events since the last one belong together: report them.
    Sync,
}

impl InputEvent {
    /// The right and lower end of the absolute axes.
    pub const ABS_MAX: u16 = 0x7FFF;
}

/// What a device can take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Keys.
    pub keyboard: bool,
    /// Relative motion, buttons, wheel.
    pub relative: bool,
    /// Absolute positions, buttons, wheel.
    pub absolute: bool,
}

/// The lights of a keyboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leds {
    /// Num lock.
    pub num: bool,
    /// Caps lock.
    pub caps: bool,
    /// Scroll lock.
    pub scroll: bool,
}

/// A device on the bus. Called on the front end's thread with no lock of the bus held.
pub trait InputHandler: Send + Sync {
    /// Takes an event it has the capability for, or [`InputEvent::Sync`].
    fn input(&self, event: &InputEvent);
}

/// Names a registered device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandlerId(u64);

struct Entry {
    id: u64,
    name: String,
    capabilities: Capabilities,
    handler: Weak<dyn InputHandler>,
    leds: Leds,
}

#[derive(Default)]
struct Entries {
    next: u64,
    /// The most recently activated first.
    list: Vec<Entry>,
}

/// See the module's documentation of the crate.
#[derive(Default)]
pub struct InputBus {
    entries: Mutex<Entries>,
    on_press: OnceLock<OnPress>,
    led_watchers: Mutex<Vec<Weak<LedWatcher>>>,
    layout: OnceLock<Layout>,
}

/// Called when lights change: on the guest's thread, perhaps with a device locked, so it may only wake somebody.
pub type LedWatcher = dyn Fn() + Send + Sync;

type OnPress = Box<dyn Fn() + Send + Sync>;

impl InputBus {
    /// A bus with nothing on it.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Has `f` called at each press of a key or button, before the device gets it: once, by whoever builds the machine.
    pub fn on_press(&self, f: impl Fn() + Send + Sync + 'static) {
        assert!(self.on_press.set(Box::new(f)).is_ok(), "the bus has somebody to call already");
    }

    /// Says what layout the guest takes its keyboard for: once, by whoever builds the machine.
    pub fn set_layout(&self, layout: Layout) {
        assert!(self.layout.set(layout).is_ok(), "the bus has a layout already");
    }

    /// The layout that the guest takes its keyboard for, as far as is known: front ends that are told characters look them up on it.
    pub fn layout(&self) -> Layout {
        self.layout.get().copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Adds a device behind those that are there. It leaves by itself when dropped.
    pub fn register(&self, name: &str, capabilities: Capabilities, handler: Weak<dyn InputHandler>) -> HandlerId {
        let mut e = self.lock();
        e.next += 1;
        let id = e.next;
        e.list.retain(|h| h.handler.strong_count() != 0);
        e.list.push(Entry { id, name: name.into(), capabilities, handler, leds: Leds::default() });
        HandlerId(id)
    }

    /// Makes a device the first choice for all it can take (a USB tablet does when the guest configures it).
    pub fn activate(&self, id: HandlerId) {
        let mut e = self.lock();
        if let Some(i) = e.list.iter().position(|h| h.id == id.0) {
            let entry = e.list.remove(i);
            e.list.insert(0, entry);
        }
    }

    /// Makes a device the last choice.
    pub fn deactivate(&self, id: HandlerId) {
        let mut e = self.lock();
        if let Some(i) = e.list.iter().position(|h| h.id == id.0) {
            let entry = e.list.remove(i);
            e.list.push(entry);
        }
    }

    /// The guest has set the lights of a keyboard.
    pub fn set_leds(&self, id: HandlerId, leds: Leds) {
        let changed = |h: &mut Entry| std::mem::replace(&mut h.leds, leds) != leds;
        if !self.lock().list.iter_mut().find(|h| h.id == id.0).is_some_and(changed) {
            return;
        }
        let watchers: Vec<_> = self.watchers().iter().filter_map(Weak::upgrade).collect();
        watchers.iter().for_each(|w| w());
    }

    /// Has `watcher` called, for as long as it lives, when the guest sets lights.
    pub fn watch_leds(&self, watcher: &Arc<LedWatcher>) {
        let mut watchers = self.watchers();
        watchers.retain(|w| w.strong_count() != 0);
        watchers.push(Arc::downgrade(watcher));
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Weak<LedWatcher>>> {
        self.led_watchers.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The lights of the keyboard that keys go to.
    pub fn leds(&self) -> Leds {
        let e = self.lock();
        let mut keyboards = e.list.iter().filter(|h| h.capabilities.keyboard && h.handler.strong_count() != 0);
        keyboards.next().map_or_else(Leds::default, |h| h.leds)
    }

    /// The pointing devices in order, with whether each takes absolute positions (`info mice`).
    pub fn pointers(&self) -> Vec<(HandlerId, String, bool)> {
        let e = self.lock();
        let live = e.list.iter().filter(|h| h.handler.strong_count() != 0);
        live.filter(|h| h.capabilities.relative || h.capabilities.absolute)
            .map(|h| (HandlerId(h.id), h.name.clone(), h.capabilities.absolute))
            .collect()
    }

    /// Whether front ends should send absolute positions: the first pointing device takes them.
    pub fn is_absolute(&self) -> bool {
        self.pointers().first().is_some_and(|p| p.2)
    }

    fn find(&self, wanted: impl Fn(&Capabilities) -> bool) -> Option<Arc<dyn InputHandler>> {
        self.lock().list.iter().filter(|h| wanted(&h.capabilities)).find_map(|h| h.handler.upgrade())
    }

    /// Delivers an event. `false` when nothing takes it.
    pub fn send(&self, event: &InputEvent) -> bool {
        if let (InputEvent::Key { down: true, .. } | InputEvent::Button { down: true, .. }, Some(f)) =
            (event, self.on_press.get())
        {
            f();
        }
        let handler = match event {
            InputEvent::Key { .. } => self.find(|c| c.keyboard),
            InputEvent::RelMove { .. } => self.find(|c| c.relative),
            InputEvent::AbsMove { .. } => self.find(|c| c.absolute),
            InputEvent::Button { .. } | InputEvent::Wheel { .. } => self.find(|c| c.relative || c.absolute),
            InputEvent::Sync => {
                let e = self.lock();
                let all: Vec<_> = e.list.iter().filter_map(|h| h.handler.upgrade()).collect();
                drop(e);
                all.iter().for_each(|h| h.input(event));
                return !all.is_empty();
            }
        };
        if let Some(h) = &handler {
            h.input(event);
        }
        handler.is_some()
    }

    /// Sends a key.
    pub fn key(&self, key: Key, down: bool) -> bool {
        self.send(&InputEvent::Key { key, down })
    }

    /// Presses keys in order and releases them in reverse order, without a pause.
    pub fn chord(&self, keys: &[Key]) {
        keys.iter().for_each(|k| {
            self.key(*k, true);
        });
        keys.iter().rev().for_each(|k| {
            self.key(*k, false);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Log(Mutex<Vec<InputEvent>>);
    impl InputHandler for Log {
        fn input(&self, event: &InputEvent) {
            self.0.lock().unwrap().push(*event);
        }
    }

    #[test]
    fn the_activated_device_comes_first_and_a_dropped_one_is_passed_over() {
        let bus = InputBus::new();
        let (mouse, tablet) = (Arc::new(Log::default()), Arc::new(Log::default()));
        let weak = |l: &Arc<Log>| -> Weak<dyn InputHandler> { Arc::downgrade(&(l.clone() as Arc<dyn InputHandler>)) };
        bus.register("ps2", Capabilities { keyboard: true, relative: true, absolute: false }, weak(&mouse));
        let id = bus.register("tablet", Capabilities { absolute: true, ..Default::default() }, weak(&tablet));
        assert!(!bus.is_absolute());
        let press = InputEvent::Button { button: MouseButton::Left, down: true };
        bus.send(&press);
        bus.activate(id);
        assert!(bus.is_absolute());
        bus.send(&press);
        bus.send(&InputEvent::AbsMove { x: 1, y: 2 });
        bus.send(&InputEvent::RelMove { dx: 1, dy: 2 });
        assert_eq!((mouse.0.lock().unwrap().len(), tablet.0.lock().unwrap().len()), (2, 2));
        drop(tablet);
        assert!(bus.send(&press));
        assert!(!bus.send(&InputEvent::AbsMove { x: 1, y: 2 }));
        assert!(!bus.is_absolute());
    }

    #[test]
    fn watchers_hear_of_lights_that_change() {
        let (bus, log) = (InputBus::new(), Arc::new(Log::default()));
        let handler: Arc<dyn InputHandler> = log.clone();
        let keyboard = Capabilities { keyboard: true, ..Default::default() };
        let id = bus.register("keyboard", keyboard, Arc::downgrade(&handler));
        let count = Arc::new(Mutex::new(0));
        let own = count.clone();
        let watcher: Arc<LedWatcher> = Arc::new(move || *own.lock().unwrap() += 1);
        bus.watch_leds(&watcher);
        let caps = Leds { caps: true, ..Default::default() };
        bus.set_leds(id, caps);
        bus.set_leds(id, caps);
        assert_eq!((*count.lock().unwrap(), bus.leds()), (1, caps));
        drop(watcher);
        bus.set_leds(id, Leds::default());
        assert_eq!(*count.lock().unwrap(), 1);
    }
}
