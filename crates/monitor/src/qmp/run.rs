//! Commands that do something to the whole machine, and to its memory and screen.

use std::path::Path;

use display::{DumpFormat, Surface};
use machine::Cause;
use serde_json::{Value, json};

use super::args::Args;
use super::error::{Outcome, QmpError, failed};
use crate::LogControl;
use crate::context::Context;
use crate::{commands, save_memory};

fn done() -> Outcome {
    Ok(json!({}))
}

pub(super) fn capabilities(_: &mut Context, args: &Args) -> Outcome {
    match args.list("enable").first() {
        Some(Value::String(name)) => Err(QmpError::new(format!("Capability {name} not available"))),
        Some(_) => Err(QmpError::new("Invalid parameter type for 'enable', expected: list of strings")),
        None => done(),
    }
}

pub(super) fn stop(c: &mut Context, _: &Args) -> Outcome {
    c.machine.stop();
    done()
}

pub(super) fn cont(c: &mut Context, _: &Args) -> Outcome {
    c.machine.cont().map_err(failed)?;
    done()
}

pub(super) fn reset(c: &mut Context, _: &Args) -> Outcome {
    c.machine.reset();
    done()
}

pub(super) fn powerdown(c: &mut Context, _: &Args) -> Outcome {
    c.machine.power_button();
    done()
}

pub(super) fn wakeup(c: &mut Context, _: &Args) -> Outcome {
    c.machine.wake().map_err(failed)?;
    done()
}

pub(super) fn quit(c: &mut Context, _: &Args) -> Outcome {
    c.machine.quit(Cause::Quit);
    done()
}

pub(super) fn inject_nmi(c: &mut Context, _: &Args) -> Outcome {
    c.inject_nmi().map_err(failed)?;
    done()
}

pub(super) fn human(c: &mut Context, args: &Args) -> Outcome {
    let line = args.text("command-line");
    let before = c.cpu;
    if let Some(index) = args.get("cpu-index") {
        c.cpu = cpu_index(c, index)?;
    }
    let text = commands::execute(c, line);
    c.cpu = before;
    Ok(text.replace('\n', "\r\n").into())
}

fn cpu_index(c: &Context, index: &Value) -> Result<usize, QmpError> {
    let index = index.as_u64().and_then(|i| usize::try_from(i).ok());
    let bad = || QmpError::new("Parameter 'cpu-index' expects a CPU number");
    index.filter(|i| *i < c.machine.accel().count()).ok_or_else(bad)
}

pub(super) fn screendump(c: &mut Context, args: &Args) -> Outcome {
    let path = Path::new(args.text("filename"));
    let format = match args.str("format") {
        Some(name) => name.parse().map_err(failed)?,
        None => DumpFormat::Ppm,
    };
    if let Some(device) = args.str("device") {
        return Err(QmpError::device_not_found(device));
    }
    if args.int("head").is_some() {
        return Err(QmpError::new("'head' must be specified together with 'device'"));
    }
    let screen = c.machine.screen().ok_or_else(|| QmpError::new("There is no console to take a screendump from"))?;
    let mut surface = Surface::new();
    screen.render(&mut surface);
    display::screendump(&surface, path, format).map_err(failed)?;
    done()
}

pub(super) fn memsave(c: &mut Context, args: &Args) -> Outcome {
    let cpu = args.get("cpu-index").map(|i| cpu_index(c, i)).transpose()?.unwrap_or(0);
    let (from, size) = (args.unsigned("val")?, args.unsigned("size")?);
    save_memory::linear(&c.machine, cpu, from, size, Path::new(args.text("filename"))).map_err(failed)?;
    done()
}

pub(super) fn pmemsave(c: &mut Context, args: &Args) -> Outcome {
    let (from, size) = (args.unsigned("val")?, args.unsigned("size")?);
    save_memory::physical(&c.machine, from, size, Path::new(args.text("filename"))).map_err(failed)?;
    done()
}

fn log(c: &Context) -> Result<&dyn LogControl, QmpError> {
    c.log.as_deref().ok_or_else(|| QmpError::new("tracing cannot be changed in this program"))
}

/// `name` may be a pattern.
pub(super) fn trace_state(c: &mut Context, args: &Args) -> Outcome {
    let (names, _) = cli::Trace::select(args.text("name")).map_err(failed)?;
    let events = log(c)?.events();
    let matching = events.iter().filter(|e| names.contains(&e.0));
    let state = |on: bool| if on { "enabled" } else { "disabled" };
    Ok(matching.map(|(name, on)| json!({"name": name, "state": state(*on)})).collect())
}

pub(super) fn set_trace_state(c: &mut Context, args: &Args) -> Outcome {
    log(c)?.set_event(args.text("name"), args.flag("enable")).map_err(failed)?;
    done()
}

fn chardev<'a>(c: &'a Context, id: &str) -> Result<&'a chardev::Chardev, QmpError> {
    let found = c.machine.chardevs().iter().find(|d| d.0 == id).map(|d| &d.1);
    found.ok_or_else(|| QmpError::new(format!("Device '{id}' not found")))
}

fn no_ring(id: &str) -> QmpError {
    QmpError::new(format!("{id} is not a ringbuf device"))
}

pub(super) fn ringbuf_read(c: &mut Context, args: &Args) -> Outcome {
    let size = usize::try_from(args.unsigned("size")?).unwrap_or(usize::MAX);
    if size == 0 {
        return Err(QmpError::new("size must be greater than zero"));
    }
    let id = args.text("device");
    let bytes = chardev(c, id)?.read_ring(size).ok_or_else(|| no_ring(id))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned().into())
}

pub(super) fn ringbuf_write(c: &mut Context, args: &Args) -> Outcome {
    let id = args.text("device");
    if chardev(c, id)?.write_ring(args.text("data").as_bytes()) { done() } else { Err(no_ring(id)) }
}
