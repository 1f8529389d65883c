//! The line editor: input bytes in, edited lines and terminal output out.
//!
//! Keys as in readline's Emacs mode, as far as QEMU's monitor has them: Ctrl-A/E/B/F/D/K/U/W/P/N/L, Alt-B/F, the
//! cursor keys, Home, End, Delete, Backspace, Tab, Ctrl-C. Escape sequences: ECMA-48 and VT220. A character typed at
//! the end of the line is echoed as itself and nothing else, so that programs which drive the monitor through a pipe
//! see what they sent. Left out: a line longer than the terminal is wide is not redrawn over several rows.

use std::fmt::Write;

/// What the editor wants done after a byte.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing.
    None,
    /// Run this line.
    Line(String),
    /// Show what the text before the cursor can become: [`LineEditor::complete`].
    Complete(String),
}

/// Completions of the last word before the cursor.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Candidates {
    /// Characters of the word that are typed already.
    pub(crate) typed: usize,
    /// What the whole word can be.
    pub(crate) words: Vec<String>,
}

#[derive(Default, PartialEq)]
enum Escape {
    #[default]
    None,
    Started,
    /// After ESC [ or ESC O, with the parameter digits so far.
    Sequence(Vec<u8>),
}

/// The longest line; what is typed beyond it is refused with a bell.
const LINE_LIMIT: usize = 4095;
/// Lines remembered.
const HISTORY_LIMIT: usize = 200;

/// See the module's documentation.
pub(crate) struct LineEditor {
    prompt: &'static str,
    line: Vec<char>,
    cursor: usize,
    history: Vec<String>,
    /// Place in the history; its length stands for the new line.
    at: usize,
    /// The new line while the history is looked at.
    unfinished: Vec<char>,
    escape: Escape,
    /// Bytes of a character that is not complete yet.
    partial: Vec<u8>,
    after_cr: bool,
    out: String,
}

impl LineEditor {
    pub(crate) fn new(prompt: &'static str) -> Self {
        Self {
            prompt,
            line: Vec::new(),
            cursor: 0,
            history: Vec::new(),
            at: 0,
            unfinished: Vec::new(),
            escape: Escape::None,
            partial: Vec::new(),
            after_cr: false,
            out: String::new(),
        }
    }

    /// The lines entered so far, the oldest first.
    pub(crate) fn history(&self) -> &[String] {
        &self.history
    }

    /// Forgets the line that is being typed (a new peer is there).
    pub(crate) fn clear(&mut self) {
        self.line.clear();
        self.cursor = 0;
        self.at = self.history.len();
        self.escape = Escape::None;
        self.partial.clear();
    }

    /// Prints prompt and line, the cursor in its place.
    pub(crate) fn show(&mut self) {
        self.out += self.prompt;
        self.out.extend(&self.line);
        self.back(self.line.len() - self.cursor);
    }

    /// Takes the output since the last call.
    pub(crate) fn take_output(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// Takes a byte of input.
    pub(crate) fn feed(&mut self, byte: u8) -> Action {
        let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
        match std::mem::take(&mut self.escape) {
            Escape::None => {}
            Escape::Started => {
                self.after_escape(byte);
                return Action::None;
            }
            Escape::Sequence(parameters) => {
                self.sequence(parameters, byte);
                return Action::None;
            }
        }
        match byte {
            b'\n' if after_cr => {}
            b'\r' | b'\n' => return Action::Line(self.enter()),
            b'\t' => return Action::Complete(self.line[..self.cursor].iter().collect()),
            0x1B => self.escape = Escape::Started,
            0x00..=0x1F | 0x7F => self.control(byte),
            byte => self.text(byte),
        }
        Action::None
    }

    /// Completes the word before the cursor, or lists what it can become.
    pub(crate) fn complete(&mut self, candidates: &Candidates) {
        let Some(first) = candidates.words.first() else { return };
        let common = candidates.words.iter().fold(first.chars().count(), |n, w| {
            n.min(first.chars().zip(w.chars()).take_while(|(a, b)| a == b).count())
        });
        let added: Vec<char> = first.chars().take(common).skip(candidates.typed).collect();
        let nothing_new = added.is_empty();
        added.into_iter().for_each(|c| self.insert(c));
        if candidates.words.len() == 1 {
            if !first.ends_with('/') {
                self.insert(' ');
            }
        } else if nothing_new {
            self.out += "\n";
            let width = candidates.words.iter().map(|w| w.chars().count()).max().unwrap_or(0) + 2;
            for row in candidates.words.chunks((78 / width).max(1)) {
                let cells: String = row.iter().map(|w| format!("{w:<width$}")).collect();
                self.out += cells.trim_end();
                self.out += "\n";
            }
            self.show();
        }
    }

    fn enter(&mut self) -> String {
        let line: String = self.line.iter().collect();
        if !line.trim().is_empty() && self.history.last() != Some(&line) {
            if self.history.len() == HISTORY_LIMIT {
                self.history.remove(0);
            }
            self.history.push(line.clone());
        }
        self.clear();
        self.out += "\n";
        line
    }

    fn text(&mut self, byte: u8) {
        if byte < 0x80 {
            self.partial.clear();
            return self.insert(byte.into());
        }
        self.partial.push(byte);
        match std::str::from_utf8(&self.partial) {
            Ok(s) => {
                let c = s.chars().next();
                self.partial.clear();
                c.into_iter().for_each(|c| self.insert(c));
            }
            Err(e) if e.error_len().is_none() => {}
            Err(_) => self.partial.clear(),
        }
    }

    fn control(&mut self, byte: u8) {
        match byte {
            0x01 => self.move_to(0),
            0x02 => self.move_to(self.cursor.saturating_sub(1)),
            0x03 => {
                self.out += "^C\n";
                self.clear();
                self.show();
            }
            0x04 => self.remove(self.cursor, self.cursor + 1),
            0x05 => self.move_to(self.line.len()),
            0x06 => self.move_to(self.cursor + 1),
            0x08 | 0x7F => self.remove(self.cursor.saturating_sub(1), self.cursor),
            0x0B => self.remove(self.cursor, self.line.len()),
            0x0C => {
                self.out += "\x1b[H\x1b[2J";
                self.show();
            }
            0x0E => self.recall(self.at + 1),
            0x10 => self.at.checked_sub(1).into_iter().for_each(|at| self.recall(at)),
            0x15 => self.remove(0, self.cursor),
            0x17 => self.remove(self.word_before(), self.cursor),
            _ => {}
        }
    }

    fn after_escape(&mut self, byte: u8) {
        match byte {
            b'[' | b'O' => self.escape = Escape::Sequence(Vec::new()),
            0x1B => self.escape = Escape::Started,
            b'b' => self.move_to(self.word_before()),
            b'f' => {
                let rest = &self.line[self.cursor..];
                let skipped = rest.iter().take_while(|c| c.is_whitespace()).count();
                let word = rest[skipped..].iter().take_while(|c| !c.is_whitespace()).count();
                self.move_to(self.cursor + skipped + word);
            }
            _ => {}
        }
    }

    fn sequence(&mut self, mut parameters: Vec<u8>, byte: u8) {
        match (byte, parameters.as_slice()) {
            (0x20..=0x3F, _) => {
                // Longer than any key's: the rest is swallowed too.
                if parameters.len() < 16 {
                    parameters.push(byte);
                }
                self.escape = Escape::Sequence(parameters);
            }
            (b'A', _) => self.control(0x10),
            (b'B', _) => self.control(0x0E),
            (b'C', _) => self.control(0x06),
            (b'D', _) => self.control(0x02),
            (b'H', _) | (b'~', b"1" | b"7") => self.control(0x01),
            (b'F', _) | (b'~', b"4" | b"8") => self.control(0x05),
            (b'~', b"3") => self.control(0x04),
            _ => {}
        }
    }

    /// Where the word before the cursor starts.
    fn word_before(&self) -> usize {
        let before = &self.line[..self.cursor];
        let spaces = before.iter().rev().take_while(|c| c.is_whitespace()).count();
        let word = before.iter().rev().skip(spaces).take_while(|c| !c.is_whitespace()).count();
        self.cursor - spaces - word
    }

    fn recall(&mut self, at: usize) {
        if at > self.history.len() {
            return;
        }
        if self.at == self.history.len() {
            self.unfinished = self.line.clone();
        }
        self.at = at;
        let line = self.history.get(at).map_or_else(|| std::mem::take(&mut self.unfinished), |l| l.chars().collect());
        self.back(self.cursor);
        self.out.extend(&line);
        self.out += "\x1b[K";
        self.cursor = line.len();
        self.line = line;
    }

    fn insert(&mut self, c: char) {
        if self.line.len() >= LINE_LIMIT {
            self.out += "\x07";
            return;
        }
        self.line.insert(self.cursor, c);
        self.out.extend(&self.line[self.cursor..]);
        self.cursor += 1;
        self.back(self.line.len() - self.cursor);
    }

    fn remove(&mut self, from: usize, to: usize) {
        let to = to.min(self.line.len());
        if from >= to {
            return;
        }
        self.back(self.cursor - from);
        self.line.drain(from..to);
        self.cursor = from;
        self.out.extend(&self.line[from..]);
        self.out += "\x1b[K";
        self.back(self.line.len() - from);
    }

    fn move_to(&mut self, to: usize) {
        let to = to.min(self.line.len());
        if to < self.cursor {
            self.back(self.cursor - to);
        } else {
            self.out.extend(&self.line[self.cursor..to]);
        }
        self.cursor = to;
    }

    fn back(&mut self, n: usize) {
        if n == 1 {
            self.out += "\x08";
        } else if n > 1 {
            let _ = write!(self.out, "\x1b[{n}D"); // writing to a String cannot fail
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(e: &mut LineEditor, keys: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for b in keys.bytes() {
            if let Action::Line(l) = e.feed(b) {
                lines.push(l);
            }
        }
        lines
    }

    fn typed(keys: &str) -> Vec<String> {
        feed(&mut LineEditor::new("> "), keys)
    }

    #[test]
    fn keys_edit() {
        assert_eq!(typed("stpo\x7f\x08op\r"), ["stop"]);
        assert_eq!(typed("ac\x1b[Db\x1b[C\r\n"), ["abc"]);
        assert_eq!(typed("bc\x01a\x05d\n\n"), ["abcd", ""]);
        assert_eq!(typed("xx yy\x17zz\r"), ["xx zz"]);
        assert_eq!(typed("xx yy\x15zz\r"), ["zz"]);
        assert_eq!(typed("abcd\x1b[D\x1b[D\x0b\r"), ["ab"]);
        assert_eq!(typed("abc\x1b[H\x1b[3~\x1b[FX\x1bOHY\r"), ["YbcX"]);
        assert_eq!(typed("info\x03quit\r"), ["quit"]);
        assert_eq!(typed("a é\u{1F600}\x7f\x1bbX\r"), ["a Xé"]);
        assert_eq!(typed("a\u{80}\x1b[99;99Zb\x1b\x1b[Dc\r"), ["a\u{80}cb"]);
    }

    #[test]
    fn broken_input_and_long_lines_are_survived() {
        let mut e = LineEditor::new("> ");
        for _ in 0..3 {
            (0..=255u8).for_each(|b| {
                e.feed(b);
            });
        }
        e.clear();
        let long = "x".repeat(LINE_LIMIT + 10);
        assert_eq!(feed(&mut e, &format!("{long}\r"))[0].len(), LINE_LIMIT);
    }

    #[test]
    fn history_goes_up_and_down_and_keeps_the_new_line() {
        let (up, down) = ("\x1b[A", "\x1b[B");
        assert_eq!(typed(&format!("one\rtwo\rtwo\rthr{up}{up}{up}\r")), ["one", "two", "two", "one"]);
        assert_eq!(typed(&format!("one\rtw{up}{down}{down}o\r")), ["one", "two"]);
        let mut e = LineEditor::new("> ");
        feed(&mut e, "a\r \rb\r");
        assert_eq!(e.history(), ["a", "b"]);
    }

    #[test]
    fn echo_is_what_was_typed() {
        let mut e = LineEditor::new("> ");
        feed(&mut e, "help\r");
        assert_eq!(e.take_output(), "help\n");
        feed(&mut e, "ab\x1b[Dx");
        assert_eq!(e.take_output(), "ab\x08xb\x08");
        feed(&mut e, "\x7f");
        assert_eq!(e.take_output(), "\x08b\x1b[K\x08");
    }

    #[test]
    fn completion_inserts_or_lists() {
        let mut e = LineEditor::new("> ");
        let words = |typed, w: &[&str]| Candidates { typed, words: w.iter().map(|w| w.to_string()).collect() };
        feed(&mut e, "sys");
        assert_eq!(e.feed(b'\t'), Action::Complete("sys".into()));
        e.complete(&words(3, &["system_reset", "system_powerdown"]));
        e.take_output();
        e.complete(&words(7, &["system_reset", "system_powerdown"]));
        assert_eq!(e.take_output(), "\nsystem_reset      system_powerdown\n> system_");
        e.complete(&words(7, &["system_reset"]));
        assert_eq!(feed(&mut e, "\r"), ["system_reset "]);
    }
}
