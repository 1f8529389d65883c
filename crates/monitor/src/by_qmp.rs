//! Commands of the human monitor that are a QMP command in other words: pointer, saved memory, ring buffers.

use input::{InputEvent, MouseButton};
use serde_json::{Value, json};

use crate::args::{Outcome, expect, failed, usage, words};
use crate::commands::some_words;
use crate::context::Context;
use crate::qmp;

fn run(context: &mut Context, name: &str, args: Value) -> Result<Value, crate::args::CommandError> {
    qmp::call(context, name, args).map_err(failed)
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, crate::args::CommandError> {
    word.parse().map_err(|_| usage(format!("'{word}' is not a number here")))
}

pub(crate) fn mouse_move(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 2, 3)?;
    let n = |i: usize| words.get(i).map_or(Ok(0), |w| number::<i32>(w));
    let (dx, dy, dz) = (n(0)?, n(1)?, n(2)?);
    let bus = context.machine.input();
    let moved = bus.send(&InputEvent::RelMove { dx, dy });
    // The wheel's axis points down here.
    let turned = dz == 0 || bus.send(&InputEvent::Wheel { vertical: dz.saturating_neg(), horizontal: 0 });
    bus.send(&InputEvent::Sync);
    if moved && turned { Ok(String::new()) } else { Err(failed("no mouse takes relative motion")) }
}

pub(crate) fn mouse_button(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 1, 1)?;
    let state: u8 = number(words.first().map(String::as_str).unwrap_or_default())?;
    let bus = context.machine.input();
    for (bit, button) in [(1, MouseButton::Left), (2, MouseButton::Middle), (4, MouseButton::Right)] {
        if (state ^ context.buttons) & bit != 0 {
            bus.send(&InputEvent::Button { button, down: state & bit != 0 });
        }
    }
    bus.send(&InputEvent::Sync);
    context.buttons = state;
    Ok(String::new())
}

pub(crate) fn mouse_set(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 1, 1)?;
    let index: usize = number(words.first().map(String::as_str).unwrap_or_default())?;
    let bus = context.machine.input();
    let found = bus.pointers().get(index).map(|p| p.0);
    bus.activate(found.ok_or_else(|| failed(format!("Mouse at index '{index}' not found")))?);
    Ok(String::new())
}

fn save(context: &mut Context, name: &str, rest: &str) -> Outcome {
    let (from, rest) = context.evaluate(rest)?;
    let (size, rest) = context.evaluate(rest)?;
    let words = words(rest)?;
    expect(&words, 1, 1)?;
    let mut args = json!({"val": from, "size": size, "filename": words.first()});
    if name == "memsave" {
        args["cpu-index"] = context.cpu.into();
    }
    run(context, name, args)?;
    Ok(String::new())
}

pub(crate) fn memsave(context: &mut Context, rest: &str) -> Outcome {
    save(context, "memsave", rest)
}

pub(crate) fn pmemsave(context: &mut Context, rest: &str) -> Outcome {
    save(context, "pmemsave", rest)
}

pub(crate) fn ringbuf_read(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 2, 2)?;
    let size: u32 = number(words.get(1).map(String::as_str).unwrap_or_default())?;
    let text = run(context, "ringbuf-read", json!({"device": words.first(), "size": size}))?;
    // What a terminal would take as a command is shown as a number.
    let shown = |c: char| {
        if c.is_control() && !"\n\t".contains(c) { format!("\\u{:04X}", u32::from(c)) } else { c.into() }
    };
    Ok(text.as_str().unwrap_or_default().chars().map(shown).collect::<String>() + "\n")
}

pub(crate) fn ringbuf_write(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 2, 2)?;
    run(context, "ringbuf-write", json!({"device": words.first(), "data": words.get(1)}))?;
    Ok(String::new())
}

pub(crate) fn system_wakeup(context: &mut Context, rest: &str) -> Outcome {
    some_words(rest, 0, 0)?;
    run(context, "system_wakeup", json!({}))?;
    Ok(String::new())
}
