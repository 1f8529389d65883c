//! From bytes to JSON values: commands may come in any pieces, several on a line, or over several lines.
//!
//! QEMU QMP Protocol Specification, section "Transport Considerations" and "QGA Synchronization" (0xFF clears what was
//! begun); RFC 8259 for JSON, with QEMU's extension of 'single quotes'. The text of one value is bounded: of a longer
//! one nothing is kept but its end is found, so that what follows is understood.

use serde_json::Value;

/// Bytes of one value at most.
pub(crate) const LONGEST: usize = 1 << 20;

/// Where in a text the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between values.
    Outside,
    /// In an object or array.
    Nested,
    /// In a string with this quote; the flag: after a backslash.
    String(u8, bool),
    /// In something at the top level that is neither: to the end of the line.
    Scalar,
    /// After an error: to the end of the line.
    Skip,
}

/// What came out of the stream: a value, or what was wrong.
pub(crate) type Item = Result<Value, String>;

/// See the module's documentation.
pub(crate) struct JsonStream {
    place: Place,
    depth: usize,
    text: Vec<u8>,
    too_long: bool,
}

impl JsonStream {
    pub(crate) fn new() -> Self {
        Self { place: Place::Outside, depth: 0, text: Vec::new(), too_long: false }
    }

    /// Takes a byte; gives a value or an error when the byte ended one.
    pub(crate) fn feed(&mut self, byte: u8) -> Option<Item> {
        if byte == 0xFF {
            let begun = !matches!(self.place, Place::Outside | Place::Skip);
            *self = Self::new();
            return begun.then(|| Err("JSON parse error, cleared by byte 0xFF".into()));
        }
        match self.place {
            Place::Outside => self.outside(byte),
            Place::Nested => self.nested(byte),
            Place::String(quote, escaped) => self.string(byte, quote, escaped),
            Place::Scalar => self.scalar(byte),
            Place::Skip => {
                if byte == b'\n' {
                    self.place = Place::Outside;
                }
                None
            }
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.text.len() < LONGEST {
            self.text.push(byte);
        } else if !std::mem::replace(&mut self.too_long, true) {
            self.text = Vec::new();
        }
        if self.too_long {
            self.text.clear();
        }
    }

    fn outside(&mut self, byte: u8) -> Option<Item> {
        match byte {
            // Control characters clear what was begun; nothing was.
            b' ' | 0..0x20 => return None,
            b'{' | b'[' => (self.place, self.depth) = (Place::Nested, 1),
            _ => self.place = Place::Scalar,
        }
        self.keep(byte);
        None
    }

    fn nested(&mut self, byte: u8) -> Option<Item> {
        match byte {
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b'"' | b'\'' => {
                self.place = Place::String(byte, false);
                self.keep(b'"');
                return None;
            }
            _ => {}
        }
        self.keep(byte);
        (self.depth == 0).then(|| self.finish())
    }

    fn string(&mut self, byte: u8, quote: u8, escaped: bool) -> Option<Item> {
        if byte < 0x20 {
            let end_of_line = byte == b'\n';
            *self = Self::new();
            self.place = if end_of_line { Place::Outside } else { Place::Skip };
            return Some(Err("JSON parse error, a string has no end or a control character in it".into()));
        }
        self.place = Place::String(quote, !escaped && byte == b'\\');
        match (byte, escaped) {
            (b'\'', true) => {
                self.text.pop(); // the backslash: JSON itself does not know it before this quote
                self.keep(byte);
            }
            (b'"', false) if quote == b'\'' => {
                self.keep(b'\\');
                self.keep(byte);
            }
            (_, false) if byte == quote => {
                self.place = Place::Nested;
                self.keep(b'"');
            }
            _ => self.keep(byte),
        }
        None
    }

    fn scalar(&mut self, byte: u8) -> Option<Item> {
        if byte == b'\n' {
            return Some(self.finish());
        }
        self.keep(byte);
        None
    }

    fn finish(&mut self) -> Item {
        let done = std::mem::replace(self, Self::new());
        if done.too_long {
            return Err(format!("JSON text too long, the limit is {LONGEST} bytes"));
        }
        serde_json::from_slice(&done.text).map_err(|e| format!("JSON parse error, {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn items(bytes: &[u8]) -> Vec<Item> {
        let mut stream = JsonStream::new();
        bytes.iter().filter_map(|b| stream.feed(*b)).collect()
    }

    fn value(text: &str) -> Value {
        let mut all = items(text.as_bytes());
        assert_eq!(all.len(), 1, "{text}: {all:?}");
        all.remove(0).unwrap()
    }

    #[test]
    fn values_end_where_they_end() {
        let all = items(b"{\"a\":\"}\"}{\"b\":[1,\n{}]}\r\n  [1]");
        assert_eq!(all, [Ok(json!({"a": "}"})), Ok(json!({"b": [1, {}]})), Ok(json!([1]))]);
        assert!(items(b"{\"a\":").is_empty());
    }

    #[test]
    fn quotes_and_escapes() {
        assert_eq!(value(r#"{'a': 'it\'s "x" \\'}"#), json!({"a": "it's \"x\" \\"}));
        assert_eq!(value(r#"{"a": "it's \" } \\"}"#), json!({"a": "it's \" } \\"}));
        assert_eq!(value(r#"{"a": "A\'"}"#), json!({"a": "A'"}));
    }

    #[test]
    fn after_an_error_the_next_command_is_understood() {
        let good = json!({"x": 1});
        for bad in
            ["foo\n", "}\n", "{]", "{\"a\" 1}", "{\"a\n", "{\"a\": \"b\tc\n", "{\"a\": \u{FF}", "{\"a\u{7f}\": }"]
        {
            let mut bytes: Vec<u8> = bad.chars().map(|c| c as u8).collect();
            bytes.extend(b"{\"x\":1}");
            let all = items(&bytes);
            assert_eq!(all.len(), 2, "{bad:?}: {all:?}");
            assert!(all[0].is_err(), "{bad:?}");
            assert_eq!(all[1], Ok(good.clone()), "{bad:?}");
        }
        assert_eq!(items(b"\xFF\xFF{\"x\":1}"), [Ok(good)]);
    }

    #[test]
    fn huge_and_deep_texts_are_one_error() {
        let mut text = b"{\"a\":\"".to_vec();
        text.extend(vec![b'x'; 3 * LONGEST]);
        text.extend(b"\\\"}\"}{}");
        let all = items(&text);
        assert!(all[0].as_ref().unwrap_err().contains("too long"));
        assert_eq!(all[1..], [Ok(json!({}))]);
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000], b"{}".to_vec()].concat();
        let all = items(&deep);
        assert!(all[0].is_err() && all[1] == Ok(json!({})));
        let mut stream = JsonStream::new();
        for _ in 0..4 * LONGEST {
            assert_eq!(stream.feed(b'['), None);
        }
        assert!(stream.text.capacity() <= LONGEST);
    }

    proptest! {
        /// Whatever comes, the parser goes on: after 0xFF it understands again.
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut stream = JsonStream::new();
            bytes.iter().for_each(|b| { stream.feed(*b); });
            stream.feed(0xFF);
            let all: Vec<_> = b"{\"x\":1}".iter().filter_map(|b| stream.feed(*b)).collect();
            prop_assert_eq!(all, vec![Ok(json!({"x": 1}))]);
        }

        /// A valid text comes out as it is, in whatever company.
        #[test]
        fn valid_values(name in "[ -~]{0,20}", number in any::<i64>(), list in proptest::collection::vec(".{0,8}", 0..5)) {
            let v = json!({"execute": name, "n": number, "list": list});
            let text = format!("{v}\n{v:#}");
            prop_assert_eq!(items(text.as_bytes()), vec![Ok(v.clone()), Ok(v)]);
        }
    }
}
