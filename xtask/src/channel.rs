//! One two-way byte stream of a monitor under test (a guest's serial line, the monitor's console): everything that arrives is kept in
//! a log file, and a test waits for strings in it with a time limit.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a wait says that it is still waiting.
const BEAT: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Arrived {
    bytes: Vec<u8>,
    closed: bool,
}

type Shared = Arc<(Mutex<Arrived>, Condvar)>;

/// A stream to and from the process under test.
pub struct Channel {
    name: String,
    log: PathBuf,
    writer: Box<dyn Write + Send>,
    shared: Shared,
    /// Bytes before this have been matched.
    seen: usize,
    quiet: bool,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("name", &self.name).field("seen", &self.seen).finish_non_exhaustive()
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Arrived> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channel {
    /// Starts to read `reader` on a thread of its own. `name` begins each progress line, `log` gets all that arrives.
    pub fn new(
        name: &str,
        log: &Path,
        mut reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
    ) -> Result<Self> {
        let mut file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        let shared = Shared::default();
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            let mut buffer = [0_u8; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                let part = &buffer[..length];
                // A full disk must not end the test: the log is a convenience.
                let _ = file.write_all(part);
                lock(&theirs).bytes.extend_from_slice(part);
                theirs.1.notify_all();
            }
            lock(&theirs).closed = true;
            theirs.1.notify_all();
        });
        Ok(Self { name: name.to_owned(), log: log.to_owned(), writer: Box::new(writer), shared, seen: 0, quiet: false })
    }

    /// Without progress lines (for streams that are polled).
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// The log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Sends text as it is.
    pub fn send(&mut self, text: &str) -> Result<()> {
        let sent = self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush());
        sent.with_context(|| format!("{}: cannot send {text:?}", self.name))
    }

    /// Sends one line.
    pub fn line(&mut self, text: &str) -> Result<()> {
        self.send(&format!("{text}\n"))
    }

    /// Waits until `text` arrives; returns what came before it.
    pub fn expect(&mut self, text: &str, limit: Duration) -> Result<String> {
        self.expect_any(&[text], limit).map(|(_, before)| before)
    }

    /// Waits until one of `texts` arrives; returns which, and what came before it.
    pub fn expect_any(&mut self, texts: &[&str], limit: Duration) -> Result<(usize, String)> {
        let started = Instant::now();
        let mut beat = started;
        loop {
            let found = {
                let arrived = lock(&self.shared);
                let fresh = arrived.bytes.get(self.seen..).unwrap_or_default();
                let first = texts
                    .iter()
                    .enumerate()
                    .filter_map(|(which, text)| Some((find(fresh, text.as_bytes())?, which)))
                    .min();
                if first.is_none() && (arrived.closed || started.elapsed() >= limit) {
                    let end = if arrived.closed { "the line was closed" } else { "no answer" };
                    let tail = last_lines(&arrived.bytes, 6);
                    let seconds = started.elapsed().as_secs();
                    bail!(
                        "{}: {end} after {seconds} s while waiting for {texts:?}; the log is {}; its end:\n{tail}",
                        self.name,
                        self.log.display()
                    );
                }
                if first.is_none() {
                    let wait = Duration::from_millis(200);
                    drop(self.shared.1.wait_timeout(arrived, wait).unwrap_or_else(PoisonError::into_inner));
                }
                first
            };
            if let Some((at, which)) = found {
                let before = String::from_utf8_lossy(&lock(&self.shared).bytes[self.seen..self.seen + at]).into_owned();
                self.seen += at + texts[which].len();
                return Ok((which, before));
            }
            if beat.elapsed() >= BEAT && !self.quiet {
                beat = Instant::now();
                let last = last_lines(&lock(&self.shared).bytes, 1);
                println!(
                    "[{}] {:4} s  {}",
                    self.name,
                    started.elapsed().as_secs(),
                    last.chars().take(100).collect::<String>()
                );
            }
        }
    }

    /// Takes everything that has arrived and was not matched yet.
    pub fn take(&mut self) -> String {
        let arrived = lock(&self.shared);
        let text = String::from_utf8_lossy(&arrived.bytes[self.seen..]).into_owned();
        self.seen = arrived.bytes.len();
        text
    }

    /// What has arrived and was not matched yet; stays.
    pub fn peek(&self) -> String {
        String::from_utf8_lossy(&lock(&self.shared).bytes[self.seen..]).into_owned()
    }

    /// Whether the other side is gone.
    pub fn is_closed(&self) -> bool {
        lock(&self.shared).closed
    }
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len().max(1)).position(|part| part == text)
}

/// The last lines with something on them, without control characters and escape sequences.
fn last_lines(bytes: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(4000)..]).into_owned();
    let plain = strip_escapes(&text);
    let lines: Vec<&str> = plain.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Text without terminal control sequences (ECMA-48 CSI and two-byte escapes).
pub fn strip_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                if chars.next() == Some('[') {
                    let _ = chars.find(|c| ('\u{40}'..='\u{7e}').contains(c));
                }
            }
            '\n' | '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (Channel, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ours = listener.accept().unwrap().0;
        let log = std::env::temp_dir().join(format!("xtask-channel-{}", theirs.local_addr().unwrap().port()));
        (Channel::new("test", &log, ours.try_clone().unwrap(), ours).unwrap(), theirs)
    }

    #[test]
    fn finds_strings_in_order_and_across_reads() {
        let (mut channel, mut peer) = pair();
        peer.write_all(b"booting... whpx lo").unwrap();
        peer.write_all(b"gin: rest").unwrap();
        let limit = Duration::from_secs(5);
        assert_eq!(channel.expect("login: ", limit).unwrap(), "booting... whpx ");
        assert_eq!(channel.expect_any(&["never", "st"], limit).unwrap(), (1, "re".to_owned()));
        channel.line("root").unwrap();
        let mut sent = [0; 5];
        io::Read::read_exact(&mut peer, &mut sent).unwrap();
        assert_eq!(&sent, b"root\n");
        let _ = std::fs::remove_file(channel.log());
    }

    #[test]
    fn a_closed_line_and_a_time_limit_are_errors() {
        let (mut channel, peer) = pair();
        let error = channel.expect("x", Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("no answer"), "{error}");
        drop(peer);
        let error = channel.expect("x", Duration::from_secs(5)).unwrap_err().to_string();
        assert!(error.contains("closed"), "{error}");
        let _ = std::fs::remove_file(channel.log());
    }

    #[test]
    fn escapes_go() {
        assert_eq!(strip_escapes("a\u{1b}[0;1mb\u{1b}[6n\r\nc"), "ab\nc");
    }
}
