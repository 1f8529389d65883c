//! Types text into the guest as key strokes, slowly enough for a keyboard's queue, on a thread of its own.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use input::{InputBus, Layout, text_to_keys};

/// How long a key is down, and between keys.
const PAUSE: Duration = Duration::from_millis(12);
/// Most characters that wait.
pub(crate) const MOST: usize = 64 * 1024;

/// Ends when dropped, with what it is typing left unfinished.
pub(crate) struct Typist {
    queue: mpsc::SyncSender<(String, Layout)>,
}

impl Typist {
    /// Types into `bus`.
    pub(crate) fn new(bus: Arc<InputBus>) -> Self {
        let (queue, texts) = mpsc::sync_channel::<(String, Layout)>(4);
        let run = move || {
            for (text, layout) in texts {
                for keys in text_to_keys(&text, layout) {
                    for key in &keys {
                        bus.key(*key, true);
                    }
                    std::thread::sleep(PAUSE);
                    for key in keys.iter().rev() {
                        bus.key(*key, false);
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        };
        if let Err(e) = std::thread::Builder::new().name("typist".into()).spawn(run) {
            tracing::error!("cannot start the thread that types: {e}");
        }
        Self { queue }
    }

    /// Queues a text of at most [`MOST`] bytes, for a keyboard of this layout; `false` when it is longer, or too much waits already.
    pub(crate) fn type_text(&self, text: String, layout: Layout) -> bool {
        text.len() <= MOST && self.queue.try_send((text, layout)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_input::{Listener, keys};
    use input::Capabilities;

    #[test]
    fn text_becomes_strokes() {
        let bus = InputBus::new();
        let log = Listener::on(&bus, Capabilities { keyboard: true, ..Capabilities::default() });
        let typist = Typist::new(bus);
        assert!(typist.type_text("aB\n".into(), Layout::default()));
        assert!(!typist.type_text("x".repeat(MOST + 1), Layout::default()));
        let mut all = String::new();
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while !all.ends_with("-ret ") {
            assert!(std::time::Instant::now() < end, "{all}");
            std::thread::yield_now();
            let more = keys(&log);
            all += &if more.is_empty() { more } else { more + " " };
        }
        assert_eq!(all, "+a -a +shift +b -b -shift +ret -ret ");
    }
}
