//! Front ends over the network: the VNC server and the web console.
//!
//! Each client has threads of its own, so a slow or hostile one holds up nobody: it shares a `display::ScreenService`
//! with the others, sends input into the `input::InputBus`, and what it may queue is bounded. Left out: TLS and SASL
//! (use an SSH tunnel), audio, clipboards of RFB clients.

pub mod audit;
mod http;
mod pointer;
mod text_console;
mod typist;
pub mod vnc;
pub mod web;
mod websocket;

pub use text_console::TextConsole;

use std::sync::{Mutex, MutexGuard, PoisonError};

use display::{DisplaySource, Rect, Surface};

fn lock<T: ?Sized>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a machine without a video card shows: a black screen.
pub struct NoScreen;

impl DisplaySource for NoScreen {
    fn render(&self, surface: &mut Surface) -> Vec<Rect> {
        if surface.resize(640, 480) { surface.bounds().into_iter().collect() } else { vec![] }
    }

    fn text(&self) -> Option<Vec<String>> {
        None
    }
}

/// Random numbers that are the same in every run.
#[cfg(test)]
fn test_random(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed >> 11
    }
}

#[cfg(test)]
mod test_input {
    use std::sync::{Arc, Mutex};

    use input::{Capabilities, InputBus, InputEvent, InputHandler};

    #[derive(Default)]
    struct Log(Mutex<Vec<InputEvent>>);

    impl InputHandler for Log {
        fn input(&self, event: &InputEvent) {
            self.0.lock().unwrap().push(*event);
        }
    }

    /// A device that writes down what it gets.
    pub(crate) struct Listener(Arc<Log>);

    impl Listener {
        pub(crate) fn on(bus: &InputBus, capabilities: Capabilities) -> Self {
            let log = Arc::new(Log::default());
            let handler: Arc<dyn InputHandler> = log.clone();
            bus.register("listener", capabilities, Arc::downgrade(&handler));
            Self(log)
        }

        pub(crate) fn take(&self) -> Vec<InputEvent> {
            std::mem::take(&mut self.0.0.lock().unwrap())
        }
    }

    /// Key events as text: `+shift +a -a`.
    pub(crate) fn keys(listener: &Listener) -> String {
        let word = |e: &InputEvent| match e {
            InputEvent::Key { key, down } => Some(format!("{}{}", if *down { '+' } else { '-' }, key.name())),
            _ => None,
        };
        listener.take().iter().filter_map(word).collect::<Vec<_>>().join(" ")
    }
}
