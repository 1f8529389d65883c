//! What QMP clients send, from bytes, as far as no machine is needed: values out of the stream, commands and their arguments against the
//! table, and the answers' text. Nothing may panic, whatever is kept is bounded. `fuzz/` feeds libFuzzer's bytes, `tests/audit.rs` a
//! seeded stream.

use serde_json::{Map, Value, json};

use crate::qmp;

/// A connection's bytes. How many values and errors came out of them.
pub fn qmp(data: &[u8]) -> (usize, usize) {
    let mut stream = qmp::JsonStream::new();
    let (mut values, mut errors) = (0, 0);
    for item in data.iter().filter_map(|b| stream.feed(*b)) {
        let answer = match item {
            Ok(value) => {
                values += 1;
                answer(value)
            }
            Err(text) => {
                errors += 1;
                json!({ "error": text })
            }
        };
        for pretty in [false, true] {
            let text = qmp::line(&answer, pretty);
            assert!(
                serde_json::from_slice::<Value>(&text).is_ok_and(|v| v == answer),
                "an answer that is not what it says"
            );
        }
    }
    (values, errors)
}

/// The request back, or what is wrong with it.
fn answer(value: Value) -> Value {
    let Value::Object(mut request) = value else { return json!({"error": "no object"}) };
    let name = request.remove("execute");
    let arguments = if let Some(Value::Object(map)) = request.remove("arguments") { map } else { Map::new() };
    match qmp::check(name.as_ref().and_then(Value::as_str).unwrap_or(""), arguments) {
        Ok(arguments) => json!({ "return": arguments }),
        Err(text) => json!({ "error": text }),
    }
}
