//! A text console: what a serial port or monitor writes is kept, up to a limit, for front ends that come and go.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use chardev::CharPeer;

use crate::lock;

/// Bytes that are kept: what a front end sees first.
const KEPT: usize = 128 * 1024;
/// How often a console that nobody uses any more is noticed.
const LOOK: Duration = Duration::from_secs(60);

/// Called when there is output; must not block.
pub(crate) type Notify = dyn Fn() + Send + Sync;

#[derive(Default)]
struct Output {
    kept: VecDeque<u8>,
    /// All bytes that ever were.
    total: u64,
}

/// See the module's documentation.
pub struct TextConsole {
    name: String,
    peer: CharPeer,
    output: Mutex<Output>,
    watchers: Mutex<Vec<Weak<Notify>>>,
}

impl TextConsole {
    /// Takes over the front end's side of a back end, for the life of the process.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn start(name: &str, peer: CharPeer) -> std::io::Result<Arc<Self>> {
        let console = Arc::new(Self { name: name.into(), peer, output: Mutex::default(), watchers: Mutex::default() });
        let weak = Arc::downgrade(&console);
        let run = move || {
            while let Some(console) = weak.upgrade() {
                let bytes = console.peer.wait(LOOK);
                if !bytes.is_empty() {
                    console.add(&bytes);
                }
            }
        };
        std::thread::Builder::new().name(format!("{name}-console")).spawn(run)?;
        Ok(console)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn add(&self, bytes: &[u8]) {
        {
            let mut o = lock(&self.output);
            o.total += bytes.len() as u64;
            o.kept.extend(bytes);
            let extra = o.kept.len().saturating_sub(KEPT);
            o.kept.drain(..extra);
        }
        let watchers: Vec<_> = lock(&self.watchers).iter().filter_map(Weak::upgrade).collect();
        watchers.iter().for_each(|w| w());
    }

    /// Adds somebody to be told of output, until it is dropped.
    pub(crate) fn watch(&self, notify: &Arc<Notify>) {
        let mut watchers = lock(&self.watchers);
        watchers.retain(|w| w.strong_count() != 0);
        watchers.push(Arc::downgrade(notify));
    }

    /// The output after byte number `from`, as far as it is kept, at most `most` bytes; `from` moves behind it.
    pub(crate) fn read(&self, from: &mut u64, most: usize) -> Vec<u8> {
        let o = lock(&self.output);
        let first = o.total - o.kept.len() as u64;
        let start = ((*from).max(first) - first) as usize;
        let bytes: Vec<u8> = o.kept.iter().skip(start).take(most).copied().collect();
        *from = first + start as u64 + bytes.len() as u64;
        bytes
    }

    /// Sends input.
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.peer.send(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chardev::{CharEvent, CharFrontend, Chardev};
    use std::sync::mpsc;

    struct Nothing;
    impl CharFrontend for Nothing {
        fn notify(&self, _: CharEvent) {}
    }

    #[test]
    fn output_is_kept_and_watched_and_input_arrives() {
        let (chardev, peer) = Chardev::in_memory("c", 64 * 1024, false);
        let port = chardev.attach(Arc::new(Nothing)).unwrap();
        let console = TextConsole::start("c", peer).unwrap();
        let (tx, rx) = mpsc::channel();
        let tx = Mutex::new(tx);
        let notify: Arc<Notify> = Arc::new(move || lock(&tx).send(()).unwrap_or_default());
        console.watch(&notify);
        assert_eq!(port.write(b"hello"), 5);
        rx.recv_timeout(Duration::from_secs(20)).unwrap();
        let mut at = 0;
        assert_eq!((console.read(&mut at, 4), console.read(&mut at, 4)), (b"hell".to_vec(), b"o".to_vec()));
        assert_eq!((at, console.read(&mut at, 4)), (5, vec![]));
        console.add(&[b'x'; KEPT]);
        let mut late = 2;
        assert_eq!((console.read(&mut late, 1), late), (b"x".to_vec(), 6));
        console.send(b"hi");
        let mut b = [0; 4];
        assert_eq!((port.read(&mut b), &b[..2]), (2, &b"hi"[..]));
    }
}
