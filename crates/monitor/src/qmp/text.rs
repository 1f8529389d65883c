//! JSON as QEMU writes it: a space after each colon and comma, which scripts look for; or indented by four spaces.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// `value` on a line of its own, or on several.
pub(crate) fn line(value: &Value, pretty: bool) -> Vec<u8> {
    let mut text = Vec::new();
    let done = if pretty {
        value.serialize(&mut Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    ")))
    } else {
        value.serialize(&mut Serializer::with_formatter(&mut text, Spaced))
    };
    debug_assert!(done.is_ok(), "a Vec takes everything and a Value's keys are strings");
    text.extend(b"\r\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spaces_are_qemus() {
        let v = json!({"return": {}, "id": [1, "a\n"]});
        assert_eq!(line(&v, false), b"{\"id\": [1, \"a\\n\"], \"return\": {}}\r\n");
        assert_eq!(line(&json!({"a": 1}), true), b"{\n    \"a\": 1\n}\r\n");
    }
}
