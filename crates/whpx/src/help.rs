//! What `help` prints.

use std::fmt::Write;

use cli::{Config, DebugLog, HelpTopic, Trace};

use crate::accel_options::{ACCELS, PROPS};

/// What `-d help` and the monitor's `log help` say.
pub(crate) fn log_items() -> String {
    table("Log items (comma separated):", DebugLog::ITEMS)
}

fn table(title: &str, rows: &[(&str, &str)]) -> String {
    let mut text = format!("{title}\n");
    let width = rows.iter().map(|r| r.0.len()).max().unwrap_or_default().max(20);
    for (name, help) in rows {
        let _ = writeln!(text, "{name:<width$} {help}"); // a String takes everything
    }
    text
}

/// The text for `topic`.
pub(crate) fn text(program: &str, topic: &HelpTopic, config: &Config) -> String {
    match topic {
        HelpTopic::Options => cli::help_text(program),
        HelpTopic::Version => cli::version_text(program),
        HelpTopic::Machines => machine::machine_help(None),
        HelpTopic::MachineProps(name) => machine::machine_help(Some(name)),
        HelpTopic::Devices => machine::device_help(None),
        HelpTopic::DeviceProps(name) => machine::device_help(Some(name)),
        HelpTopic::Cpus => cpu_x86::model::CpuSpec::help(),
        HelpTopic::Accels => table("Accelerators:", ACCELS),
        HelpTopic::AccelProps(_) => table("whpx options:", PROPS),
        HelpTopic::Chardevs => {
            "Available chardev backend types:\n  file\n  null\n  pipe\n  pty\n  ringbuf\n  socket\n  stdio\n".into()
        }
        HelpTopic::LogItems => log_items(),
        HelpTopic::TraceEvents => table("Trace events:", Trace::EVENTS),
        HelpTopic::FirmwareDirs => {
            let dirs = firmware::search::directories(&config.firmware_dirs);
            dirs.iter().map(|d| format!("{}\n", d.display())).collect()
        }
    }
}
