//! `sendkey`: keys pressed together and held for a while, on a thread of their own, one combination after another.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use input::{InputBus, Key};

/// How long keys are held unless told otherwise.
pub(crate) const HOLD: Duration = Duration::from_millis(100);

/// Combinations that wait at most.
const WAITING: usize = 1024;

/// Types what it is told; ends after the last combination when dropped.
pub(crate) struct KeyTyper {
    queue: Option<mpsc::SyncSender<(Vec<Key>, Duration)>>,
}

impl KeyTyper {
    pub(crate) fn new(bus: Arc<InputBus>) -> Self {
        let (queue, jobs) = mpsc::sync_channel::<(Vec<Key>, Duration)>(WAITING);
        let run = move || {
            for (keys, hold) in jobs {
                keys.iter().for_each(|k| {
                    bus.key(*k, true);
                });
                std::thread::sleep(hold);
                keys.iter().rev().for_each(|k| {
                    bus.key(*k, false);
                });
            }
        };
        let thread = std::thread::Builder::new().name("sendkey".into()).spawn(run);
        Self { queue: thread.is_ok().then_some(queue) }
    }

    /// Queues a combination.
    ///
    /// # Errors
    /// When too many wait already, or the host had no thread.
    pub(crate) fn press(&self, keys: Vec<Key>, hold: Duration) -> Result<(), &'static str> {
        let queue = self.queue.as_ref().ok_or("there is no thread to send keys from")?;
        queue.try_send((keys, hold)).map_err(|_| "too many keys are waiting to be sent")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use input::{Capabilities, InputEvent, InputHandler};
    use std::sync::{Mutex, Weak};

    struct Log(Mutex<mpsc::Sender<(Key, bool)>>);
    impl InputHandler for Log {
        fn input(&self, event: &InputEvent) {
            if let InputEvent::Key { key, down } = event {
                self.0.lock().unwrap().send((*key, *down)).unwrap();
            }
        }
    }

    #[test]
    fn combinations_come_one_after_another() {
        let (tx, rx) = mpsc::channel();
        let log: Arc<dyn InputHandler> = Arc::new(Log(Mutex::new(tx)));
        let weak: Weak<dyn InputHandler> = Arc::downgrade(&log);
        let bus = InputBus::new();
        bus.register("log", Capabilities { keyboard: true, ..Default::default() }, weak);
        let typer = KeyTyper::new(bus);
        typer.press(vec![Key::Ctrl, Key::A], Duration::ZERO).unwrap();
        typer.press(vec![Key::B], Duration::ZERO).unwrap();
        drop(typer);
        let got: Vec<_> = (0..6).map(|_| rx.recv_timeout(Duration::from_secs(20)).unwrap()).collect();
        let want = [(Key::Ctrl, true), (Key::A, true), (Key::A, false), (Key::Ctrl, false), (Key::B, true)];
        assert_eq!(got[..5], want);
        assert_eq!(got[5], (Key::B, false));
    }
}
