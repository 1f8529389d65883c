//! A session on a character back end: its own thread reads, edits, runs commands and writes.
//!
//! The back end's threads only raise flags here, so a command may wait for processors or disks without anything
//! else waiting for it. Input stays in the port's queue until the command before it is done; output that the port
//! does not take is kept and goes on when the port says [`CharEvent::Writable`].

use std::sync::{Arc, Condvar, Mutex};

use chardev::{CharError, CharEvent, CharFrontend, CharPort, Chardev};
use vm_core::lock;

use crate::editor::{Action, Candidates, LineEditor};

/// What a session is for.
pub(crate) trait Shell: Send {
    /// Runs a line.
    fn execute(&mut self, line: &str, history: &[String]) -> Answer;
    /// What the last word of `text` can become.
    fn complete(&self, text: &str) -> Candidates;
}

/// The outcome of a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// To print.
    pub(crate) text: String,
    /// The program is about to end: no prompt any more.
    pub(crate) last: bool,
}

/// What the back end said since the session's thread looked.
#[derive(Default)]
struct Flags {
    readable: bool,
    writable: bool,
    opened: bool,
    closed: bool,
    focus: Option<bool>,
    end: bool,
}

#[derive(Default)]
pub(crate) struct Frontend {
    flags: Mutex<Flags>,
    changed: Condvar,
}

impl Frontend {
    fn set(&self, f: impl FnOnce(&mut Flags)) {
        f(&mut lock(&self.flags));
        self.changed.notify_all();
    }

    /// Ends the session.
    pub(crate) fn end(&self) {
        self.set(|f| f.end = true);
    }

    /// Waits until `wanted` gives something.
    fn wait<T>(&self, mut wanted: impl FnMut(&mut Flags) -> Option<T>) -> T {
        let mut flags = lock(&self.flags);
        loop {
            if let Some(found) = wanted(&mut flags) {
                return found;
            }
            flags = self.changed.wait(flags).unwrap_or_else(|e| e.into_inner());
        }
    }
}

impl CharFrontend for Frontend {
    fn notify(&self, event: CharEvent) {
        self.set(|f| match event {
            CharEvent::Readable => f.readable = true,
            CharEvent::Writable => f.writable = true,
            CharEvent::Opened => (f.opened, f.closed) = (true, false),
            CharEvent::Closed => f.closed = true,
            CharEvent::Break => {}
        });
    }

    fn focus_changed(&self, focused: bool) {
        self.set(|f| f.focus = Some(focused));
    }
}

/// Starts a session on `chardev`.
///
/// # Errors
/// When the back end has a user already and is not shared, or the host has no thread.
pub(crate) fn start(
    chardev: &Chardev,
    banner: &'static str,
    prompt: &'static str,
    shell: impl Shell + 'static,
) -> Result<Arc<Frontend>, CharError> {
    let frontend = Arc::new(Frontend::default());
    let port = chardev.attach(frontend.clone())?;
    let own = frontend.clone();
    let run = move || {
        let focused = port.has_focus();
        let editor = LineEditor::new(prompt);
        Session { frontend: own, port, banner, greeted: false, focused, quiet: false, editor, shell }.run();
    };
    let thread = std::thread::Builder::new().name("monitor".into()).spawn(run);
    thread.map_err(|source| CharError::Io {
        label: chardev.label().into(),
        operation: "start",
        target: "the monitor's thread".into(),
        source,
    })?;
    // Input may be waiting from before.
    frontend.notify(CharEvent::Readable);
    Ok(frontend)
}

struct Session<S> {
    frontend: Arc<Frontend>,
    port: CharPort,
    banner: &'static str,
    /// The peer has seen the banner.
    greeted: bool,
    focused: bool,
    /// The last command ends the program.
    quiet: bool,
    editor: LineEditor,
    shell: S,
}

impl<S: Shell> Session<S> {
    fn run(mut self) {
        loop {
            let happened = self.frontend.wait(|f| {
                let some = f.readable || f.opened || f.closed || f.focus.is_some() || f.end;
                some.then(|| std::mem::take(f))
            });
            if happened.end {
                return;
            }
            if happened.closed || happened.opened {
                self.editor.clear();
                self.greeted = false;
            }
            if happened.focus == Some(true) {
                self.focus(true);
            }
            self.greet();
            if self.read() == Flow::End {
                return;
            }
            // What came before the switch is echoed before it.
            if happened.focus == Some(false) {
                self.focus(false);
            }
        }
    }

    /// Says hello to a peer that has not seen it: at once, or when a shared terminal first turns to the monitor.
    fn greet(&mut self) {
        if self.focused && !self.greeted && self.port.is_open() {
            self.say_hello();
        }
    }

    fn say_hello(&mut self) {
        (self.greeted, self.focused) = (true, true);
        self.write(self.banner);
        self.prompt();
    }

    fn focus(&mut self, focused: bool) {
        if self.focused == focused {
            return;
        }
        self.focused = focused;
        match (focused, self.greeted) {
            (true, true) => self.prompt(),
            (false, true) => {
                self.write("\n");
            }
            (_, false) => {}
        }
    }

    fn prompt(&mut self) {
        if self.quiet {
            return;
        }
        self.editor.show();
        self.flush_editor();
    }

    fn flush_editor(&mut self) -> Flow {
        let text = self.editor.take_output();
        self.write(&text)
    }

    fn read(&mut self) -> Flow {
        let mut buffer = [0; 256];
        loop {
            let n = self.port.read(&mut buffer);
            if n == 0 {
                return Flow::Go;
            }
            if !self.greeted {
                self.say_hello(); // the focus came and went already
            }
            for byte in buffer.iter().take(n) {
                if self.feed(*byte) == Flow::End {
                    return Flow::End;
                }
            }
            // Echo in one piece: what a script pasted does not become a write a byte.
            if self.flush_editor() == Flow::End {
                return Flow::End;
            }
        }
    }

    fn feed(&mut self, byte: u8) -> Flow {
        match self.editor.feed(byte) {
            Action::None => Flow::Go,
            Action::Complete(text) => {
                let candidates = self.shell.complete(&text);
                self.editor.complete(&candidates);
                Flow::Go
            }
            Action::Line(line) => {
                if self.flush_editor() == Flow::End {
                    return Flow::End;
                }
                let answer = self.shell.execute(&line, self.editor.history());
                self.quiet |= answer.last;
                let flow = self.write(&answer.text);
                self.prompt();
                flow
            }
        }
    }

    /// Writes all of it, however long the port takes.
    fn write(&self, text: &str) -> Flow {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            lock(&self.frontend.flags).writable = false;
            let n = self.port.write(rest);
            rest = rest.get(n..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let end = self.frontend.wait(|f| (f.writable || f.end).then_some(f.end));
            if end {
                return Flow::End;
            }
        }
        Flow::Go
    }
}

/// Whether the session goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Go,
    End,
}

#[cfg(test)]
mod tests {
    use super::*;
    use chardev::CharPeer;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    struct Echo(mpsc::Receiver<()>);
    impl Shell for Echo {
        fn execute(&mut self, line: &str, _history: &[String]) -> Answer {
            match line {
                "long" => Answer { text: format!("{}\n", "0123456789".repeat(2000)), last: false },
                "slow" => {
                    let _ = self.0.recv();
                    Answer { text: "done\n".into(), last: false }
                }
                "quit" => Answer { text: String::new(), last: true },
                other => Answer { text: format!("<{other}>\n"), last: false },
            }
        }

        fn complete(&self, text: &str) -> Candidates {
            Candidates { typed: text.len(), words: vec!["long".into()] }
        }
    }

    fn setup(room: usize, mux: bool) -> (Chardev, CharPeer, mpsc::Sender<()>) {
        let (dev, peer) = Chardev::in_memory("t", room, mux);
        (dev, peer, mpsc::channel().0)
    }

    fn begin(dev: &Chardev) -> (Arc<Frontend>, mpsc::Sender<()>) {
        let (tx, rx) = mpsc::channel();
        (start(dev, "hello\n", "(qemu) ", Echo(rx)).unwrap(), tx)
    }

    fn read_until(peer: &CharPeer, end: &str) -> String {
        let limit = Instant::now() + Duration::from_secs(20);
        let mut all = String::new();
        while !all.ends_with(end) {
            assert!(Instant::now() < limit, "got {all:?}, waiting for {end:?}");
            all += &String::from_utf8(peer.take()).unwrap();
            std::thread::yield_now();
        }
        all
    }

    #[test]
    fn greets_echoes_and_answers() {
        let (dev, peer, _) = setup(4096, false);
        let (frontend, _tx) = begin(&dev);
        assert_eq!(read_until(&peer, "(qemu) "), "hello\r\n(qemu) ");
        peer.send(b"abc\r");
        assert_eq!(read_until(&peer, "(qemu) "), "abc\r\n<abc>\r\n(qemu) ");
        peer.send(b"lo\t\r");
        assert!(read_until(&peer, "(qemu) ").starts_with("long \r\n<long >"));
        frontend.end();
        // The session lets go of the back end, which is not shared.
        let limit = Instant::now() + Duration::from_secs(20);
        while let Err(e) = begin_again(&dev) {
            assert!(Instant::now() < limit, "{e}");
            std::thread::yield_now();
        }
    }

    fn begin_again(dev: &Chardev) -> Result<(), CharError> {
        start(dev, "", "", Echo(mpsc::channel().1)).map(|f| f.end())
    }

    #[test]
    fn long_output_is_complete_and_input_waits_for_slow_commands() {
        let (dev, peer, _) = setup(100, false);
        let (_frontend, tx) = begin(&dev);
        read_until(&peer, "(qemu) ");
        peer.send(b"long\rslow\rafter\r");
        let all = read_until(&peer, "slow\r\n");
        assert_eq!(all, format!("long\r\n{}\r\n(qemu) slow\r\n", "0123456789".repeat(2000)));
        peer.send(b"and this\r");
        tx.send(()).unwrap();
        let all = read_until(&peer, "<and this>\r\n(qemu) ");
        assert!(all.starts_with("done\r\n(qemu) after\r\n<after>\r\n(qemu) "), "{all}");
    }

    #[test]
    fn on_a_shared_terminal_it_speaks_when_it_has_the_focus() {
        struct Console;
        impl CharFrontend for Console {
            fn notify(&self, _event: CharEvent) {}
        }
        let (dev, peer, _) = setup(4096, true);
        let console = dev.attach(Arc::new(Console)).unwrap();
        let (_frontend, _tx) = begin(&dev);
        peer.send(b"ls\r");
        console.write(b"login: ");
        peer.send(b"\x01c");
        assert_eq!(read_until(&peer, "(qemu) "), "login: hello\r\n(qemu) ");
        peer.send(b"ab\x01c");
        assert_eq!(read_until(&peer, "\r\n"), "ab\r\n");
        peer.send(b"pwd\r\x01c");
        assert_eq!(read_until(&peer, "ab"), "(qemu) ab");
        peer.send(b"\r");
        assert_eq!(read_until(&peer, "(qemu) "), "\r\n<ab>\r\n(qemu) ");
        let mut b = [0; 16];
        let n = console.read(&mut b);
        assert_eq!(&b[..n], b"ls\rpwd\r");
    }

    #[test]
    fn a_new_peer_is_greeted_and_quit_ends_without_a_prompt() {
        let (dev, peer, _) = setup(4096, false);
        let (_frontend, _tx) = begin(&dev);
        read_until(&peer, "(qemu) ");
        peer.send(b"half a li");
        read_until(&peer, "li");
        peer.set_open(false);
        peer.set_open(true);
        read_until(&peer, "hello\r\n(qemu) ");
        peer.send(b"x\r");
        assert_eq!(read_until(&peer, "(qemu) "), "x\r\n<x>\r\n(qemu) ");
        peer.send(b"quit\rx\r");
        assert_eq!(read_until(&peer, "<x>\r\n"), "quit\r\nx\r\n<x>\r\n");
    }
}
