//! The two queues between a back end's threads and its users, and the handles of both sides.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use crate::backend;
use crate::config::{CharConfig, CharError};
use crate::mux::{MuxAction, MuxFilter, Stamps};

/// Bytes that wait for the writer thread at most.
const OUTPUT_LIMIT: usize = 64 * 1024;
/// Bytes that wait for a user at most.
const INPUT_LIMIT: usize = 16 * 1024;

pub(crate) fn lock<T: ?Sized>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

/// What a user hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CharEvent {
    /// There is input to [`CharPort::read`].
    Readable,
    /// A write that was cut short can go on.
    Writable,
    /// The other side is there.
    Opened,
    /// The other side is gone; output is dropped until it comes back.
    Closed,
    /// The other side sent a break.
    Break,
}

/// A user of a character back end. Called on the back end's threads with no lock of the back end held.
pub trait CharFrontend: Send + Sync {
    /// Something happened. May call the [`CharPort`].
    fn notify(&self, event: CharEvent);
    /// The user got or lost the input focus of a multiplexed back end (Ctrl-A c). Most users do not care.
    fn focus_changed(&self, _focused: bool) {}
}

struct Slot {
    frontend: Arc<dyn CharFrontend>,
    input: VecDeque<u8>,
}

#[derive(Default)]
struct Input {
    slots: Vec<Option<Slot>>,
    focus: usize,
    /// Every user is attached: a shared back end's bytes can be given out.
    started: bool,
}

struct Output {
    queue: VecDeque<u8>,
    limit: usize,
    /// Bytes taken from the queue that are being written.
    in_flight: bool,
    open: bool,
    /// Somebody's write was cut short.
    refused: bool,
    /// Where the bytes go; taken out while a write runs.
    writer: Option<Box<dyn Write + Send>>,
    /// Counts connections, so that a writer of an old one is not put back.
    connection: u64,
    log: Option<std::fs::File>,
    ring: Option<(VecDeque<u8>, usize)>,
    /// Ctrl-A t: the time before each line.
    stamps: Option<Stamps>,
}

impl Output {
    /// Keeps `data` in the ring buffer, the newest bytes of it; whether there is one.
    fn put_in_ring(&mut self, data: &[u8]) -> bool {
        let Some((ring, size)) = &mut self.ring else { return false };
        ring.extend(data);
        let extra = ring.len().saturating_sub(*size);
        ring.drain(..extra);
        true
    }
}

type Quit = Arc<dyn Fn() + Send + Sync>;

pub(crate) struct Core {
    pub(crate) label: String,
    output: Mutex<Output>,
    output_changed: Condvar,
    input: Mutex<Input>,
    input_taken: Condvar,
    mux: Option<Mutex<MuxFilter>>,
    quit: RwLock<Option<Quit>>,
    description: String,
    /// A [`CharPeer`] does the threads' work.
    manual: bool,
}

impl Core {
    fn new(label: &str, mux: bool, manual: bool) -> Self {
        let output = Output {
            queue: VecDeque::new(),
            limit: OUTPUT_LIMIT,
            in_flight: false,
            open: false,
            refused: false,
            writer: None,
            connection: 0,
            log: None,
            ring: None,
            stamps: None,
        };
        Self {
            label: label.into(),
            output: Mutex::new(output),
            output_changed: Condvar::new(),
            input: Mutex::default(),
            input_taken: Condvar::new(),
            mux: mux.then(|| Mutex::new(MuxFilter::default())),
            quit: RwLock::new(None),
            description: String::new(),
            manual,
        }
    }

    fn frontends(&self) -> Vec<Arc<dyn CharFrontend>> {
        lock(&self.input).slots.iter().flatten().map(|s| s.frontend.clone()).collect()
    }

    fn notify_all(&self, event: CharEvent) {
        self.frontends().iter().for_each(|f| f.notify(event));
    }

    /// A peer is there and is written to through `writer`; returns the connection's number.
    pub(crate) fn set_open(&self, writer: Option<Box<dyn Write + Send>>) -> u64 {
        let connection = {
            let mut o = lock(&self.output);
            o.open = true;
            o.writer = writer;
            o.connection += 1;
            o.connection
        };
        self.output_changed.notify_all();
        self.notify_all(CharEvent::Opened);
        connection
    }

    /// The peer of `connection` is gone: what waits for it is dropped.
    pub(crate) fn set_closed(&self, connection: u64) {
        {
            let mut o = lock(&self.output);
            if o.connection != connection || !o.open {
                return;
            }
            o.open = false;
            o.writer = None;
            o.queue.clear();
        }
        self.output_changed.notify_all();
        self.notify_all(CharEvent::Closed);
        self.tell_writable();
    }

    /// Whether output has a place to go.
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.output).open
    }

    fn tell_writable(&self) {
        let refused = std::mem::take(&mut lock(&self.output).refused);
        if refused {
            self.notify_all(CharEvent::Writable);
        }
    }

    fn write(&self, data: &[u8]) -> usize {
        let n = {
            let mut o = lock(&self.output);
            let gone = !o.open;
            o.put_in_ring(data);
            if gone && o.log.is_none() {
                return data.len();
            }
            let n = data.len().min(o.limit.saturating_sub(o.queue.len()));
            let Output { queue, stamps, .. } = &mut *o;
            match stamps {
                Some(stamps) => data.iter().take(n).for_each(|b| stamps.write(*b, queue)),
                None => queue.extend(data.iter().take(n)),
            }
            o.refused |= n < data.len();
            n
        };
        self.output_changed.notify_all();
        n
    }

    /// The writer thread's life: ends with the process, or when nobody holds the back end any more.
    pub(crate) fn write_loop(self: Arc<Self>) {
        loop {
            let (chunk, writer, connection) = {
                let mut o = lock(&self.output);
                while o.queue.is_empty() {
                    if Arc::strong_count(&self) == 1 {
                        return;
                    }
                    let woken = self.output_changed.wait_timeout(o, Duration::from_secs(2));
                    o = woken.unwrap_or_else(|e| e.into_inner()).0;
                }
                o.in_flight = true;
                let chunk: Vec<u8> = o.queue.drain(..).collect();
                (chunk, o.writer.take(), o.connection)
            };
            // The limit counts waiting bytes only: users can go on while these are on their way.
            self.tell_writable();
            let mut failed = false;
            let writer = writer.map(|mut w| {
                failed = w.write_all(&chunk).and_then(|()| w.flush()).is_err();
                w
            });
            let mut o = lock(&self.output);
            if let Some(log) = &mut o.log
                && log.write_all(&chunk).is_err()
            {
                tracing::warn!(chardev = %self.label, "cannot write the log file; logging stops");
                o.log = None;
            }
            if !failed && o.connection == connection && o.open {
                o.writer = writer;
            }
            o.in_flight = false;
            drop(o);
            self.output_changed.notify_all();
            if failed {
                tracing::debug!(chardev = %self.label, "the output's reader is gone");
                self.set_closed(connection);
            }
        }
    }

    /// Waits until [`Chardev::start`]: before that, Ctrl-A c could not reach a user who comes later.
    fn wait_for_start(&self) {
        let mut i = lock(&self.input);
        while !i.started && !self.manual {
            i = self.input_taken.wait(i).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// Takes input from the back end; waits while the user's queue is full.
    pub(crate) fn feed(&self, data: &[u8]) {
        let Some(mux) = &self.mux else {
            self.queue_input(data);
            return;
        };
        self.wait_for_start();
        for &byte in data {
            let action = lock(mux).filter(byte);
            match action {
                MuxAction::Nothing => {}
                MuxAction::Pass(b) => self.queue_input(&[b]),
                MuxAction::Break => self.send_break(),
                MuxAction::Print(text) => {
                    self.write(text.as_bytes());
                }
                MuxAction::Next => self.next_focus(),
                MuxAction::Stamps => {
                    let mut o = lock(&self.output);
                    o.stamps = if o.stamps.is_some() { None } else { Some(Stamps::new()) };
                }
                MuxAction::Quit => self.call_quit(),
            }
        }
        self.tell_readable();
    }

    fn call_quit(&self) {
        self.write(b"whpx: terminated\r\n");
        let quit = self.quit.read().unwrap_or_else(|e| e.into_inner()).clone();
        match quit {
            Some(quit) => quit(),
            None => tracing::warn!(chardev = %self.label, "nothing is set to quit"),
        }
    }

    fn focused(&self) -> Option<Arc<dyn CharFrontend>> {
        let i = lock(&self.input);
        i.slots.get(i.focus)?.as_ref().map(|s| s.frontend.clone())
    }

    pub(crate) fn send_break(&self) {
        if let Some(f) = self.focused() {
            f.notify(CharEvent::Break);
        }
    }

    fn next_focus(&self) {
        let next = {
            let i = lock(&self.input);
            let n = i.slots.len();
            (1..=n).map(|d| (i.focus + d) % n).find(|k| i.slots.get(*k).is_some_and(Option::is_some))
        };
        if let Some(next) = next {
            self.set_focus(next);
        }
    }

    fn set_focus(&self, next: usize) {
        let (old, new) = {
            let mut i = lock(&self.input);
            let user = |k: usize| i.slots.get(k).and_then(Option::as_ref).map(|s| s.frontend.clone());
            let pair = (user(i.focus).filter(|_| i.focus != next), user(next).filter(|_| i.focus != next));
            i.focus = next;
            pair
        };
        if let Some(f) = old {
            f.notify(CharEvent::Readable); // bytes of the same piece of input, before the switch
            f.focus_changed(false);
        }
        if let Some(f) = new {
            f.focus_changed(true);
        }
    }

    fn tell_readable(&self) {
        let frontend = {
            let i = lock(&self.input);
            i.slots.get(i.focus).and_then(Option::as_ref).filter(|s| !s.input.is_empty()).map(|s| s.frontend.clone())
        };
        if let Some(f) = frontend {
            f.notify(CharEvent::Readable);
        }
    }

    /// Queues for the focused user.
    fn queue_input(&self, mut data: &[u8]) {
        while !data.is_empty() {
            let frontend = {
                let mut i = lock(&self.input);
                let target = i.focus;
                if i.slots.is_empty() && !self.manual {
                    // Kept in the peer until somebody is there to take it.
                    drop(self.input_taken.wait_timeout(i, Duration::from_millis(200)));
                    continue;
                }
                let Some(slot) = i.slots.get_mut(target).and_then(Option::as_mut) else { return };
                let room = INPUT_LIMIT.saturating_sub(slot.input.len());
                if room == 0 {
                    if self.manual {
                        return;
                    }
                    let frontend = slot.frontend.clone();
                    drop(i);
                    // Told again outside the lock: a user that missed the first call gets another chance.
                    frontend.notify(CharEvent::Readable);
                    let i = lock(&self.input);
                    drop(self.input_taken.wait_timeout(i, Duration::from_millis(200)));
                    continue;
                }
                let (now, rest) = data.split_at(room.min(data.len()));
                slot.input.extend(now);
                data = rest;
                slot.frontend.clone()
            };
            if self.mux.is_none() {
                frontend.notify(CharEvent::Readable);
            }
        }
    }
}

/// A character back end; clones are the same one.
#[derive(Clone)]
pub struct Chardev {
    pub(crate) core: Arc<Core>,
}

impl Chardev {
    /// Opens the back end `config` under the name `label`. A server with `wait` returns when its first client is
    /// there. Input is given out from the first [`Chardev::attach`] on; that of a multiplexed one from
    /// [`Chardev::start`] on.
    ///
    /// # Errors
    /// [`CharError`].
    pub fn open(label: &str, config: &CharConfig) -> Result<Self, CharError> {
        let opened = backend::open(label, &config.kind)?;
        let mut core = Core::new(label, config.mux, false);
        core.description = opened.description;
        let log = config.log.as_ref().map(|l| backend::open_output(label, &l.path, l.append)).transpose()?;
        let (reader, writer, closes) = opened.first.map_or((None, None, false), |c| (c.reader, c.writer, c.closes));
        {
            let o = core.output.get_mut().unwrap_or_else(|e| e.into_inner());
            o.open = writer.is_some();
            o.writer = writer;
            o.ring = opened.ring.map(|size| (VecDeque::new(), size));
            o.log = log;
        }
        let core = Arc::new(core);
        let for_writer = core.clone();
        spawn(&format!("{label}-out"), move || for_writer.write_loop());
        if reader.is_some() || opened.next.is_some() {
            let weak = Arc::downgrade(&core);
            spawn(&format!("{label}-in"), move || backend::read_loop(&weak, reader, closes, 0, opened.next));
        }
        Ok(Self { core })
    }

    /// A back end in memory whose other side is in this process: tests, text consoles, the web console. No threads;
    /// at most `room` bytes of output wait for the peer.
    pub fn in_memory(label: &str, room: usize, mux: bool) -> (Self, CharPeer) {
        let core = Arc::new(Core::new(label, mux, true));
        {
            let mut o = lock(&core.output);
            o.limit = room;
            o.open = true;
        }
        (Self { core: core.clone() }, CharPeer { core })
    }

    /// The name it was opened under.
    pub fn label(&self) -> &str {
        &self.core.label
    }

    /// What it is connected to, for `info chardev` and `query-chardev`.
    pub fn description(&self) -> &str {
        &self.core.description
    }

    /// Attaches a user. A multiplexed back end takes several; the first one has the input focus.
    ///
    /// # Errors
    /// [`CharError::InUse`].
    pub fn attach(&self, frontend: Arc<dyn CharFrontend>) -> Result<CharPort, CharError> {
        let index = {
            let mut i = lock(&self.core.input);
            if self.core.mux.is_none() && i.slots.iter().any(Option::is_some) {
                return Err(CharError::InUse { label: self.core.label.clone() });
            }
            i.slots.push(Some(Slot { frontend: frontend.clone(), input: VecDeque::new() }));
            i.slots.len() - 1
        };
        if self.core.is_open() {
            frontend.notify(CharEvent::Opened);
        }
        self.core.input_taken.notify_all();
        Ok(CharPort { core: self.core.clone(), index })
    }

    /// Says that every user is attached. A multiplexed back end keeps its input until then; others need no call.
    pub fn start(&self) {
        lock(&self.core.input).started = true;
        self.core.input_taken.notify_all();
    }

    /// Whether the other side is there.
    pub fn is_open(&self) -> bool {
        self.core.is_open()
    }

    /// Whether anybody uses it.
    pub fn has_user(&self) -> bool {
        lock(&self.core.input).slots.iter().any(Option::is_some)
    }

    /// What Ctrl-A x does. Called on the reader thread; must not wait for it.
    pub fn on_quit(&self, quit: impl Fn() + Send + Sync + 'static) {
        *self.core.quit.write().unwrap_or_else(|e| e.into_inner()) = Some(Arc::new(quit));
    }

    /// Waits until all output is written, at most `limit`. `true` when it is.
    pub fn flush(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut o = lock(&self.core.output);
        while !self.core.manual && (o.open || o.log.is_some()) && (o.in_flight || !o.queue.is_empty()) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            o = self.core.output_changed.wait_timeout(o, left).unwrap_or_else(|e| e.into_inner()).0;
        }
        true
    }

    /// Takes up to `max` of the oldest bytes out of a ring buffer (`ringbuf-read`); `None` for other kinds.
    pub fn read_ring(&self, max: usize) -> Option<Vec<u8>> {
        let mut o = lock(&self.core.output);
        let (ring, _) = o.ring.as_mut()?;
        let n = max.min(ring.len());
        Some(ring.drain(..n).collect())
    }

    /// Puts bytes into a ring buffer as its user does (`ringbuf-write`); `false` for other kinds.
    pub fn write_ring(&self, data: &[u8]) -> bool {
        lock(&self.core.output).put_in_ring(data)
    }

    /// Puts bytes in as if the peer had sent them (tests).
    pub fn inject(&self, data: &[u8]) {
        self.core.feed(data);
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) {
    if let Err(e) = std::thread::Builder::new().name(name.into()).spawn(run) {
        tracing::error!("cannot start thread {name}: {e}");
    }
}

/// A user's end of a back end. Dropping it detaches the user.
pub struct CharPort {
    core: Arc<Core>,
    index: usize,
}

impl CharPort {
    /// Queues bytes for output and returns how many were taken; after fewer than all, [`CharEvent::Writable`]
    /// follows. Never blocks.
    pub fn write(&self, data: &[u8]) -> usize {
        self.core.write(data)
    }

    /// Takes up to `buffer.len()` bytes of input; 0 when there are none. Never blocks.
    pub fn read(&self, buffer: &mut [u8]) -> usize {
        let mut i = lock(&self.core.input);
        let Some(slot) = i.slots.get_mut(self.index).and_then(Option::as_mut) else { return 0 };
        let n = buffer.len().min(slot.input.len());
        for (b, byte) in buffer.iter_mut().zip(slot.input.drain(..n)) {
            *b = byte;
        }
        drop(i);
        if n != 0 {
            self.core.input_taken.notify_all();
        }
        n
    }

    /// Whether the other side is there.
    pub fn is_open(&self) -> bool {
        self.core.is_open()
    }

    /// The number of the connection that there is: each has another one.
    pub fn connection(&self) -> Option<u64> {
        let o = lock(&self.core.output);
        o.open.then_some(o.connection)
    }

    /// Takes the input focus of a multiplexed back end.
    pub fn take_focus(&self) {
        self.core.set_focus(self.index);
    }

    /// Whether input goes here now: always, unless the back end is multiplexed.
    pub fn has_focus(&self) -> bool {
        self.core.mux.is_none() || lock(&self.core.input).focus == self.index
    }
}

impl Drop for CharPort {
    fn drop(&mut self) {
        let mut i = lock(&self.core.input);
        let slot = i.slots.get_mut(self.index).and_then(Option::take);
        drop(i);
        drop(slot);
    }
}

/// The other side of [`Chardev::in_memory`].
pub struct CharPeer {
    core: Arc<Core>,
}

impl CharPeer {
    /// Sends input; what finds no room is dropped.
    pub fn send(&self, data: &[u8]) {
        self.core.feed(data);
    }

    /// Takes all output.
    pub fn take(&self) -> Vec<u8> {
        let data = lock(&self.core.output).queue.drain(..).collect();
        self.core.tell_writable();
        data
    }

    /// Takes all output as soon as there is some; nothing after `limit`.
    pub fn wait(&self, limit: Duration) -> Vec<u8> {
        let o = lock(&self.core.output);
        let empty = |o: &mut Output| o.queue.is_empty();
        drop(self.core.output_changed.wait_timeout_while(o, limit, empty).unwrap_or_else(|e| e.into_inner()));
        self.take()
    }

    /// Sends a break.
    pub fn send_break(&self) {
        self.core.send_break();
    }

    /// Goes away or comes back.
    pub fn set_open(&self, open: bool) {
        if open {
            self.core.set_open(None);
        } else {
            let connection = lock(&self.core.output).connection;
            self.core.set_closed(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CharKind, LogFile};
    use std::io::Read;
    use std::sync::mpsc;

    struct Heard(Mutex<mpsc::Sender<CharEvent>>);
    impl CharFrontend for Heard {
        fn notify(&self, event: CharEvent) {
            let _ = lock(&self.0).send(event);
        }
    }

    fn user(dev: &Chardev) -> (CharPort, mpsc::Receiver<CharEvent>) {
        let (tx, rx) = mpsc::channel();
        (dev.attach(Arc::new(Heard(Mutex::new(tx)))).unwrap(), rx)
    }

    fn wait_for(rx: &mpsc::Receiver<CharEvent>, event: CharEvent) {
        while rx.recv_timeout(Duration::from_secs(20)).expect("an event") != event {}
    }

    fn read_all(port: &CharPort, rx: &mpsc::Receiver<CharEvent>, n: usize) -> Vec<u8> {
        let mut got = vec![];
        let mut buffer = [0; 300];
        while got.len() < n {
            match port.read(&mut buffer) {
                0 => wait_for(rx, CharEvent::Readable),
                k => got.extend_from_slice(&buffer[..k]),
            }
        }
        got
    }

    #[test]
    fn a_full_queue_refuses_and_says_when_it_goes_on() {
        let (dev, peer) = Chardev::in_memory("t", 4, false);
        let (port, rx) = user(&dev);
        assert_eq!(port.write(b"abcdef"), 4);
        assert_eq!(peer.take(), b"abcd");
        wait_for(&rx, CharEvent::Writable);
        assert_eq!(port.write(b"ef"), 2);
        peer.set_open(false);
        wait_for(&rx, CharEvent::Closed);
        assert_eq!(port.write(b"lost, nobody is there"), 21);
        assert_eq!(peer.take(), b"");
        assert!(matches!(dev.attach(Arc::new(Heard(Mutex::new(mpsc::channel().0)))), Err(CharError::InUse { .. })));
    }

    #[test]
    fn the_multiplexer_switches_breaks_and_quits() {
        let (dev, peer) = Chardev::in_memory("t", 4096, true);
        let (serial, rx) = user(&dev);
        let (monitor, _keep) = user(&dev);
        let quits = Arc::new(Mutex::new(0));
        let q = quits.clone();
        dev.on_quit(move || *lock(&q) += 1);
        peer.send(b"ls\x01\x01\x01chelp\x01bx\x01c\x01b");
        wait_for(&rx, CharEvent::Break);
        let mut b = [0; 9];
        assert_eq!((serial.read(&mut b), &b[..3]), (3, &b"ls\x01"[..]));
        assert_eq!((monitor.read(&mut b), &b[..5]), (5, &b"helpx"[..]));
        peer.send(b"\x01h\x01x");
        assert!(String::from_utf8(peer.take()).unwrap().contains("C-a x    exit emulator"));
        assert_eq!(*lock(&quits), 1);
        monitor.take_focus();
        peer.send(b"q");
        assert_eq!(monitor.read(&mut b), 1);
    }

    #[test]
    fn file_and_log() {
        let dir = tempfile::tempdir().unwrap();
        let (out, log, input) = (dir.path().join("out"), dir.path().join("log"), dir.path().join("in"));
        std::fs::write(&out, "old ").unwrap();
        let text: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        std::fs::write(&input, &text).unwrap();
        let config = CharConfig {
            kind: CharKind::File { path: out.clone(), append: true, input: Some(input) },
            mux: false,
            log: Some(LogFile { path: log.clone(), append: false }),
        };
        let dev = Chardev::open("f", &config).unwrap();
        let (port, rx) = user(&dev);
        assert_eq!(port.write(b"new"), 3);
        assert!(dev.flush(Duration::from_secs(20)));
        assert_eq!(std::fs::read(&out).unwrap(), b"old new");
        assert_eq!(std::fs::read(&log).unwrap(), b"new");
        assert_eq!(read_all(&port, &rx, text.len()), text, "input is lossless beyond the queue's size");
    }

    #[test]
    fn tcp_server_takes_one_client_after_another() {
        let kind = CharKind::Tcp {
            host: "127.0.0.1".into(),
            port: 0,
            server: true,
            wait: false,
            nodelay: true,
            reconnect: None,
        };
        let dev = Chardev::open("t", &kind.into()).unwrap();
        let (port, rx) = user(&dev);
        assert_eq!(port.write(b"dropped"), 7);
        let address = dev.description().trim_start_matches("tcp:").trim_end_matches(",server=on").to_owned();
        for text in [&b"one"[..], b"two"] {
            let mut client = std::net::TcpStream::connect(&address).unwrap();
            wait_for(&rx, CharEvent::Opened);
            client.write_all(text).unwrap();
            assert_eq!(read_all(&port, &rx, 3), text);
            assert_eq!(port.write(text), 3);
            let mut back = [0; 3];
            client.read_exact(&mut back).unwrap();
            assert_eq!(back, text);
            drop(client);
            wait_for(&rx, CharEvent::Closed);
        }
        let bad = CharKind::Tcp {
            host: "127.0.0.1".into(),
            port: 1,
            server: false,
            wait: false,
            nodelay: false,
            reconnect: None,
        };
        assert!(matches!(Chardev::open("t", &bad.into()), Err(CharError::Io { .. })));
    }

    #[test]
    fn a_shared_back_end_keeps_its_input_until_all_users_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("in");
        std::fs::write(&input, b"\x01cinfo").unwrap();
        let kind = CharKind::File { path: dir.path().join("out"), append: false, input: Some(input) };
        let dev = Chardev::open("m", &CharConfig { kind, mux: true, log: None }).unwrap();
        let (uart, _rx) = user(&dev);
        let (monitor, rx) = user(&dev);
        assert_eq!(uart.read(&mut [0; 8]), 0);
        dev.start();
        assert_eq!(read_all(&monitor, &rx, 4), b"info");
        assert_eq!(uart.read(&mut [0; 8]), 0);
        assert!(monitor.has_focus());
    }

    #[test]
    fn null_and_ring_buffer() {
        let dev = Chardev::open("n", &CharKind::Null.into()).unwrap();
        let (port, _rx) = user(&dev);
        assert_eq!(port.write(&[0; 1 << 20]), 1 << 20);
        let dev = Chardev::open("r", &CharKind::RingBuf { size: 4 }.into()).unwrap();
        let (port, _rx) = user(&dev);
        assert_eq!(port.write(b"abcdefg"), 7);
        assert_eq!(dev.read_ring(2).unwrap(), b"de");
        assert_eq!(dev.read_ring(9).unwrap(), b"fg");
        assert!(dev.write_ring(b"hi"));
        assert_eq!(dev.read_ring(9).unwrap(), b"hi");
        assert!(Chardev::open("r", &CharKind::RingBuf { size: 5 }.into()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn unix_sockets_and_pty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let make = |server| CharKind::Unix { path: path.clone(), server, wait: false, reconnect: None };
        let server = Chardev::open("s", &make(true).into()).unwrap();
        let (a, rx) = user(&server);
        let client = Chardev::open("c", &make(false).into()).unwrap();
        let (b, rx2) = user(&client);
        wait_for(&rx, CharEvent::Opened);
        assert_eq!((a.write(b"ping"), b.write(b"pong")), (4, 4));
        assert_eq!((read_all(&b, &rx2, 4), read_all(&a, &rx, 4)), (b"ping".to_vec(), b"pong".to_vec()));

        let pty = Chardev::open("p", &CharKind::Pty.into()).unwrap();
        let (port, rx) = user(&pty);
        assert_eq!(port.write(b"nobody"), 6);
        assert!(pty.flush(Duration::from_secs(20)));
        let name = pty.description().trim_start_matches("pty:").to_owned();
        let mut terminal = std::fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
        terminal.write_all(b"in").unwrap();
        assert_eq!(read_all(&port, &rx, 2), b"in");
        assert_eq!(port.write(b"out"), 3);
        let mut back = [0; 3];
        terminal.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"out");
    }
}
