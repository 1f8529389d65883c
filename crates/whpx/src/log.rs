//! Where messages go: warnings and errors to standard error, `-d` items to `-D FILE` or standard error.

use std::fs::File;
use std::sync::{Mutex, OnceLock};

use cli::DebugLog;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// What the monitor's `log` command changes the items with.
static CHANGE: OnceLock<Box<dyn Fn(Targets) -> bool + Send + Sync>> = OnceLock::new();

fn targets(items: &[&'static str]) -> Targets {
    items.iter().fold(Targets::new(), |t, item| match *item {
        "guest_errors" => t.with_target("guest", LevelFilter::DEBUG),
        "unimp" => {
            t.with_target("guest", LevelFilter::DEBUG).with_target("whpx_unsupported_msr_access", LevelFilter::DEBUG)
        }
        other => t.with_target(other, LevelFilter::TRACE),
    })
}

/// Changes what is logged, as `log` in the monitor says it: a list of `-d` items, or `none`.
///
/// # Errors
/// For an unknown item; one line.
pub(crate) fn set_items(items: &str) -> Result<(), String> {
    let items = if items == "none" { Vec::new() } else { DebugLog::parse_items(items).map_err(|e| e.to_string())? };
    let changed = CHANGE.get().is_some_and(|change| change(targets(&items)));
    if changed { Ok(()) } else { Err("logging is not set up".into()) }
}

/// Installs the subscriber.
///
/// # Errors
/// When the log file cannot be made; one line.
pub(crate) fn start(_program: &str, log: &DebugLog) -> Result<(), String> {
    let warnings = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_filter(LevelFilter::WARN);
    let mut items = targets(&log.items);
    if let Ok(extra) = std::env::var("WHPX_LOG") {
        for target in extra.split(',').filter(|t| !t.is_empty()) {
            items = items.with_target(target.to_string(), LevelFilter::TRACE);
        }
    }
    let (items, handle) = reload::Layer::new(items);
    let _ = CHANGE.set(Box::new(move |new| handle.reload(new).is_ok())); // set once: the program starts once
    let registry = tracing_subscriber::registry().with(warnings);
    let debug = tracing_subscriber::fmt::layer().without_time().with_ansi(false);
    match &log.file {
        Some(path) => {
            let file = File::create(path).map_err(|e| format!("-D {}: {e}", path.display()))?;
            registry.with(debug.with_writer(Mutex::new(file)).with_filter(items)).init();
        }
        None => registry.with(debug.with_writer(std::io::stderr).with_filter(items)).init(),
    }
    Ok(())
}
