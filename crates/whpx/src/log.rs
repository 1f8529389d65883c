//! Where messages go: warnings and errors to standard error, `-d` items and `-trace` events to `-D FILE` or standard
//! error, events to their own file with `-trace file=`.
//!
//! An item or event is a `tracing` target. What is off costs the test of one static flag at the place of the event.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cli::{DebugLog, Trace, TraceItem};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// What is written at present, and how to change it.
struct Control {
    /// Events that are on.
    events: Mutex<BTreeSet<&'static str>>,
    set_items: Box<dyn Fn(Targets) -> bool + Send + Sync>,
    set_events: Box<dyn Fn(Targets) -> bool + Send + Sync>,
}

static CONTROL: OnceLock<Control> = OnceLock::new();

fn item_targets(items: &[&'static str]) -> Targets {
    items.iter().fold(Targets::new(), |t, item| match *item {
        "guest_errors" => t.with_target("guest", LevelFilter::DEBUG),
        "unimp" => t
            .with_target("guest", LevelFilter::DEBUG)
            .with_target("unassigned_port", LevelFilter::TRACE)
            .with_target("whpx_unsupported_msr_access", LevelFilter::TRACE),
        other => t.with_target(other, LevelFilter::TRACE),
    })
}

fn event_targets(events: &BTreeSet<&'static str>) -> Targets {
    events.iter().fold(Targets::new(), |t, event| t.with_target(*event, LevelFilter::TRACE))
}

/// Switches the events of `pattern` on or off (`-PATTERN` turns the meaning round).
fn apply(events: &mut BTreeSet<&'static str>, pattern: &str) -> Result<(), String> {
    let (found, on) = Trace::select(pattern)?;
    for event in found {
        if on {
            events.insert(event);
        } else {
            events.remove(event);
        }
    }
    Ok(())
}

/// The monitor's way to `-d` and `-trace`.
pub(crate) struct MonitorLog;

impl monitor::LogControl for MonitorLog {
    fn items(&self) -> String {
        crate::help::log_items()
    }

    fn set_items(&self, items: &str) -> Result<(), String> {
        let log = if items == "none" {
            DebugLog::default()
        } else {
            DebugLog::parse_items(items).map_err(|e| e.to_string())?
        };
        for pattern in &log.events {
            self.set_event(pattern, true)?;
        }
        let changed = CONTROL.get().is_some_and(|c| (c.set_items)(item_targets(&log.items)));
        if changed { Ok(()) } else { Err("logging is not set up".into()) }
    }

    fn set_event(&self, pattern: &str, on: bool) -> Result<(), String> {
        let control = CONTROL.get().ok_or("logging is not set up")?;
        let mut events = control.events.lock().unwrap_or_else(PoisonError::into_inner);
        apply(&mut events, &if on { pattern.to_string() } else { format!("-{pattern}") })?;
        (control.set_events)(event_targets(&events));
        Ok(())
    }

    fn events(&self) -> Vec<(&'static str, bool)> {
        let on = CONTROL.get().map(|c| c.events.lock().unwrap_or_else(PoisonError::into_inner).clone());
        Trace::EVENTS.iter().map(|e| (e.0, on.as_ref().is_some_and(|on| on.contains(e.0)))).collect()
    }
}

/// The events that the command line switches on.
fn chosen(log: &DebugLog, trace: &Trace) -> Result<BTreeSet<&'static str>, String> {
    let mut events = BTreeSet::new();
    let mut take = |pattern: &str, option: &str| {
        // Scripts name events of other programs: that is worth a line, not the end.
        if let Err(e) = apply(&mut events, pattern) {
            eprintln!("warning: {option}: {e}");
        }
    };
    log.events.iter().for_each(|pattern| take(pattern, &format!("-d trace:{pattern}")));
    for item in &trace.items {
        match item {
            TraceItem::Pattern(pattern) => take(pattern, &format!("-trace {pattern}")),
            TraceItem::Events(path) => {
                let option = format!("-trace events={}", path.display());
                let text = std::fs::read_to_string(path).map_err(|e| format!("{option}: {e}"))?;
                let lines = text.lines().map(|l| l.split('#').next().unwrap_or_default().trim());
                lines.filter(|l| !l.is_empty()).for_each(|pattern| take(pattern, &option));
            }
        }
    }
    Ok(events)
}

/// `NAME field=value ...`, one event a line.
struct EventLine;

impl<S, N> FormatEvent<S, N> for EventLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write!(writer, "{} ", event.metadata().target())?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

fn create(option: &str, path: &Path) -> Result<Arc<File>, String> {
    File::create(path).map(Arc::new).map_err(|e| format!("{option}{}: {e}", path.display()))
}

fn writer(file: Option<&Arc<File>>) -> BoxMakeWriter {
    match file {
        Some(file) => BoxMakeWriter::new(file.clone()),
        None => BoxMakeWriter::new(std::io::stderr),
    }
}

/// Installs the subscriber.
///
/// # Errors
/// When a file cannot be made or read; one line.
pub(crate) fn start(log: &DebugLog, trace: &Trace) -> Result<(), String> {
    let warnings = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_filter(LevelFilter::WARN);
    let mut items = item_targets(&log.items);
    if let Ok(extra) = std::env::var("WHPX_LOG") {
        for target in extra.split(',').filter(|t| !t.is_empty()) {
            items = items.with_target(target.to_string(), LevelFilter::TRACE);
        }
    }
    let events = chosen(log, trace)?;
    let log_file = log.file.as_deref().map(|path| create("-D ", path)).transpose()?;
    let trace_file = trace.file.as_deref().map(|path| create("-trace file=", path)).transpose()?;
    let (items, items_handle) = reload::Layer::new(items);
    let (event_filter, events_handle) = reload::Layer::new(event_targets(&events));
    let control = Control {
        events: Mutex::new(events),
        set_items: Box::new(move |new| items_handle.reload(new).is_ok()),
        set_events: Box::new(move |new| events_handle.reload(new).is_ok()),
    };
    let _ = CONTROL.set(control); // set once: the program starts once
    let debug = tracing_subscriber::fmt::layer().without_time().with_ansi(false).with_writer(writer(log_file.as_ref()));
    let traced = tracing_subscriber::fmt::layer()
        .event_format(EventLine)
        .with_ansi(false)
        .with_writer(writer(trace_file.as_ref().or(log_file.as_ref())));
    let registry = tracing_subscriber::registry().with(warnings);
    registry.with(debug.with_filter(items)).with(traced.with_filter(event_filter)).init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }

    /// Every event of the sources is in the lists, and everything in the lists happens somewhere.
    #[test]
    fn lists_are_complete() {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut files);
        let mut used = BTreeSet::new();
        for text in files.iter().map(|f| std::fs::read_to_string(f).unwrap()) {
            for (at, marker) in text.match_indices("target: \"") {
                let name: String = text[at + marker.len()..].chars().take_while(|c| *c != '"').collect();
                if name.bytes().all(|c| c == b'_' || c.is_ascii_alphanumeric()) {
                    used.insert(name);
                }
            }
        }
        let listed: BTreeSet<_> = Trace::EVENTS.iter().map(|e| e.0.to_string()).collect();
        // Log items, and what is always on or only for WHPX_LOG.
        let others = ["guest", "winhvplatform", "winhvemulation"];
        let items: Vec<_> = DebugLog::ITEMS.iter().map(|i| i.0).collect();
        let logged = |name: &str| others.contains(&name) || items.contains(&name);
        let unlisted: Vec<_> = used.iter().filter(|u| !listed.contains(*u) && !logged(u)).collect();
        assert!(unlisted.is_empty(), "events that are in no list: {unlisted:?}");
        let dead: Vec<_> = listed.difference(&used).collect();
        // These two are made of others, and of what `targets` says.
        let made = ["guest_errors", "unimp", "trace:PATTERN"];
        let silent: Vec<_> = items.iter().filter(|i| !made.contains(i) && !used.contains(**i)).collect();
        assert!(silent.is_empty(), "log items that say nothing: {silent:?}");
        assert!(dead.is_empty(), "events that never happen: {dead:?}");
    }
}
