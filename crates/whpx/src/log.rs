//! Where messages go: warnings and errors to standard error, `-d` items to `-D FILE` or standard error.

use std::fs::File;
use std::sync::Mutex;

use cli::DebugLog;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

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
    let mut items = Targets::new();
    for item in &log.items {
        items = match *item {
            "guest_errors" | "unimp" => items.with_target("guest", LevelFilter::DEBUG),
            other => items.with_target(other, LevelFilter::TRACE),
        };
    }
    if let Ok(extra) = std::env::var("WHPX_LOG") {
        for target in extra.split(',').filter(|t| !t.is_empty()) {
            items = items.with_target(target.to_string(), LevelFilter::TRACE);
        }
    }
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
