//! `send-key` and `input-send-event`.

use std::time::Duration;

use input::{InputEvent, Key, MouseButton};
use serde_json::{Value, json};

use super::args::Kind::{Any, Bool, Int, Str, Word};
use super::args::{Args, may, must};
use super::error::{Outcome, QmpError, failed};
use crate::context::Context;
use crate::keys;

/// The longest time that keys are held.
const LONGEST_HOLD: u64 = 60_000;

/// A `KeyValue`: a name, or a number: the PC scan code, with bit 7 for those with prefix 0xE0.
fn key(value: &Value) -> Result<Key, QmpError> {
    let given = Args::object(value.clone(), &[must("type", Word(&["number", "qcode"])), must("data", Any)])?;
    let invalid = || QmpError::new(format!("Parameter 'data' does not accept value {}", given.all()["data"]));
    match (given.text("type"), given.get("data")) {
        ("number", Some(Value::Number(n))) => {
            let n = n.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n <= 0xFF).ok_or_else(invalid)?;
            let code = if n & 0x80 == 0 { n } else { 0xE000 | n & 0x7F };
            Key::from_set1(code).ok_or_else(invalid)
        }
        ("qcode", Some(Value::String(name))) => Key::from_name(name).map_err(|_| invalid()),
        ("number", _) => Err(QmpError::new("Invalid parameter type for 'data', expected: integer")),
        _ => Err(QmpError::new("Invalid parameter type for 'data', expected: string")),
    }
}

pub(super) fn send_key(c: &mut Context, args: &Args) -> Outcome {
    let hold = match args.get("hold-time") {
        None => keys::HOLD,
        Some(_) => Duration::from_millis(args.unsigned("hold-time")?.min(LONGEST_HOLD)),
    };
    let chord = args.list("keys").iter().map(key).collect::<Result<Vec<_>, _>>()?;
    c.keys.press(chord, hold).map_err(failed)?;
    Ok(json!({}))
}

/// The events of one command belong together: all are checked before the first is sent, and reported once.
pub(super) fn send_event(c: &mut Context, args: &Args) -> Outcome {
    if let Some(device) = args.str("device") {
        return Err(QmpError::device_not_found(device));
    }
    let mut position = c.pointer;
    let events = args.list("events").iter().map(|e| event(e, &mut position)).collect::<Result<Vec<_>, _>>()?;
    for event in &events {
        if !c.machine.input().send(event) {
            return Err(QmpError::new(format!("Input handler not found for event type {}", kind(event))));
        }
    }
    c.pointer = position;
    c.machine.input().send(&InputEvent::Sync);
    Ok(json!({}))
}

fn kind(event: &InputEvent) -> &'static str {
    match event {
        InputEvent::Key { .. } => "key",
        InputEvent::RelMove { .. } => "rel",
        InputEvent::AbsMove { .. } => "abs",
        InputEvent::Button { .. } | InputEvent::Wheel { .. } => "btn",
        InputEvent::Sync => "sync",
    }
}

/// `position`: where the pointer is, since an event has one axis only.
fn event(value: &Value, position: &mut (u16, u16)) -> Result<InputEvent, QmpError> {
    let known = [must("type", Word(&["key", "btn", "rel", "abs"])), must("data", Any)];
    let given = Args::object(value.clone(), &known)?;
    let data = given.get("data").cloned().unwrap_or_default();
    match given.text("type") {
        "key" => {
            let data = Args::object(data, &[must("key", Any), must("down", Bool)])?;
            Ok(InputEvent::Key { key: key(data.get("key").unwrap_or(&Value::Null))?, down: data.flag("down") })
        }
        "btn" => {
            let data = Args::object(data, &[must("button", Str), must("down", Bool)])?;
            button(data.text("button"), data.flag("down"))
        }
        kind => {
            let data = Args::object(data, &[must("axis", Word(&["x", "y"])), must("value", Int), may("id", Int)])?;
            let (x, value) = (data.text("axis") == "x", data.int("value").unwrap_or_default());
            if kind == "rel" {
                let n = value.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
                return Ok(InputEvent::RelMove { dx: if x { n } else { 0 }, dy: if x { 0 } else { n } });
            }
            let value = value.clamp(0, InputEvent::ABS_MAX.into()) as u16;
            *(if x { &mut position.0 } else { &mut position.1 }) = value;
            Ok(InputEvent::AbsMove { x: position.0, y: position.1 })
        }
    }
}

fn button(name: &str, down: bool) -> Result<InputEvent, QmpError> {
    // A wheel turns when its "button" goes down.
    let step = i32::from(down);
    let wheel = |vertical, horizontal| Ok(InputEvent::Wheel { vertical, horizontal });
    let button = match name {
        "left" => MouseButton::Left,
        "middle" => MouseButton::Middle,
        "right" => MouseButton::Right,
        "side" => MouseButton::Side,
        "extra" => MouseButton::Extra,
        "wheel-up" => return wheel(step, 0),
        "wheel-down" => return wheel(-step, 0),
        "wheel-left" => return wheel(0, -step),
        "wheel-right" => return wheel(0, step),
        _ => return Err(QmpError::new(format!("Parameter 'button' does not accept value '{name}'"))),
    };
    Ok(InputEvent::Button { button, down })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_and_keys() {
        let mut at = (1, 2);
        let mut one = |v: Value| event(&v, &mut at).map_err(|e| e.desc);
        let abs = |axis: &str, n: i64| json!({"type": "abs", "data": {"axis": axis, "value": n}});
        assert_eq!(one(abs("x", 99)), Ok(InputEvent::AbsMove { x: 99, y: 2 }));
        assert_eq!(one(abs("y", 1 << 40)), Ok(InputEvent::AbsMove { x: 99, y: 0x7FFF }));
        let key = json!({"type": "key", "data": {"down": true, "key": {"type": "number", "data": 0x9C}}});
        assert_eq!(one(key), Ok(InputEvent::Key { key: Key::KpEnter, down: true }));
        let wheel = json!({"type": "btn", "data": {"down": true, "button": "wheel-down"}});
        assert_eq!(one(wheel), Ok(InputEvent::Wheel { vertical: -1, horizontal: 0 }));
        for bad in [
            json!(7),
            json!({"type": "mtt", "data": {}}),
            json!({"type": "btn", "data": {"down": true, "button": "x"}}),
            json!({"type": "key", "data": {"down": true, "key": {"type": "qcode", "data": "nokey"}}}),
            json!({"type": "key", "data": {"down": true, "key": {"type": "number", "data": 1000}}}),
            json!({"type": "rel", "data": {"axis": "z", "value": 1}}),
        ] {
            assert!(one(bad.clone()).is_err(), "{bad}");
        }
    }
}
