//! The Ctrl-A escapes of a multiplexed back end, as QEMU's documentation ("Keys in the character backend
//! multiplexer") lists them. Left out: Ctrl-A s (writing `-snapshot` data back).

use std::collections::VecDeque;
use std::time::Instant;

/// Ctrl-A.
const ESCAPE: u8 = 0x01;

const HELP: &str = "\r\n\
    C-a h    print this help\r\n\
    C-a x    exit emulator\r\n\
    C-a t    toggle console timestamps\r\n\
    C-a b    send break (magic sysrq)\r\n\
    C-a c    switch between console and monitor\r\n\
    C-a C-a  send C-a\r\n";

/// What to do about an input byte.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MuxAction {
    Nothing,
    Pass(u8),
    Break,
    Print(&'static str),
    Next,
    Stamps,
    Quit,
}

#[derive(Default)]
pub(crate) struct MuxFilter {
    escaped: bool,
}

impl MuxFilter {
    pub(crate) fn filter(&mut self, byte: u8) -> MuxAction {
        if !std::mem::take(&mut self.escaped) {
            self.escaped = byte == ESCAPE;
            return if self.escaped { MuxAction::Nothing } else { MuxAction::Pass(byte) };
        }
        match byte {
            b'x' => MuxAction::Quit,
            b'c' => MuxAction::Next,
            b'b' => MuxAction::Break,
            b't' => MuxAction::Stamps,
            b'h' | b'?' => MuxAction::Print(HELP),
            ESCAPE => MuxAction::Pass(ESCAPE),
            _ => MuxAction::Nothing,
        }
    }
}

/// Puts the time since it was made before each line: `[00:01:02.345] `.
pub(crate) struct Stamps {
    since: Instant,
    line_begins: bool,
}

impl Stamps {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), line_begins: true }
    }

    /// Appends `byte` to `out`, after a time where a line begins.
    pub(crate) fn write(&mut self, byte: u8, out: &mut VecDeque<u8>) {
        if std::mem::take(&mut self.line_begins) {
            let ms = self.since.elapsed().as_millis();
            let (s, ms) = (ms / 1000, ms % 1000);
            out.extend(format!("[{:02}:{:02}:{:02}.{ms:03}] ", s / 3600, s / 60 % 60, s % 60).bytes());
        }
        self.line_begins = byte == b'\n';
        out.push_back(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_come_before_lines() {
        let (mut stamps, mut out) = (Stamps::new(), VecDeque::new());
        b"ab\r\nc".iter().for_each(|b| stamps.write(*b, &mut out));
        let text = String::from_utf8(out.into()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), &lines[0][15..], &lines[1][15..]), (2, "ab", "c"), "{text}");
        assert!(text.starts_with("[00:00:0"));
    }

    #[test]
    fn escapes() {
        let mut f = MuxFilter::default();
        let mut all =
            |s: &[u8]| s.iter().map(|b| f.filter(*b)).filter(|a| *a != MuxAction::Nothing).collect::<Vec<_>>();
        assert_eq!(all(b"a\x01"), [MuxAction::Pass(b'a')]);
        assert_eq!(all(b"c\x01x"), [MuxAction::Next, MuxAction::Quit]);
        assert_eq!(all(b"\x01\x01\x01b\x01zx"), [MuxAction::Pass(1), MuxAction::Break, MuxAction::Pass(b'x')]);
    }
}
