//! The monitors: QEMU's command line for people and scripts, and QMP for programs (`qmp`), on a character back end.
//!
//! A session has its own thread (`session`), edits lines (`editor`, `complete`), and runs commands (`commands`, `info`) on a
//! [`MachineHandle`]. Names, arguments and output are QEMU's. Left out: paging of long output, passwords, migration
//! and snapshots.

mod args;
pub mod audit;
mod by_qmp;
mod commands;
mod complete;
mod context;
mod dump;
mod editor;
mod expr;
mod info;
mod keys;
mod paging;
mod qmp;
mod save_memory;
mod session;
mod vnc;

use std::sync::Arc;

use chardev::{CharError, Chardev};
use cli::MonitorMode;
use machine::MachineHandle;

pub use context::LogControl;

use context::Context;
use editor::Candidates;
use session::{Answer, Frontend, Shell};

const BANNER: &str = concat!("whpx ", env!("CARGO_PKG_VERSION"), " monitor - type 'help' for more information\n");
/// Scripts look for it.
const PROMPT: &str = "(qemu) ";

/// A monitor on a back end; it ends when dropped.
pub struct Monitor(Running);

enum Running {
    Human(Arc<Frontend>),
    Qmp { _session: qmp::QmpSession },
}

impl Monitor {
    /// Puts a monitor for `machine` on `chardev`. `log` is what its `log` command does.
    ///
    /// # Errors
    /// When the back end has a user already and is not shared.
    pub fn attach(
        machine: MachineHandle,
        chardev: &Chardev,
        mode: MonitorMode,
        log: Option<Arc<dyn LogControl>>,
    ) -> Result<Self, CharError> {
        let context = Context::new(machine, log);
        Ok(Self(match mode {
            MonitorMode::Readline => Running::Human(session::start(chardev, BANNER, PROMPT, Commands(context))?),
            MonitorMode::Control { pretty } => Running::Qmp { _session: qmp::start(context, chardev, pretty)? },
        }))
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if let Running::Human(frontend) = &self.0 {
            frontend.end();
        }
    }
}

/// Runs one line as the monitor would and returns what it prints (QMP's `human-monitor-command`).
pub fn run_line(machine: &MachineHandle, line: &str) -> String {
    commands::execute(&mut Context::new(machine.clone(), None), line)
}

struct Commands(Context);

impl Shell for Commands {
    fn execute(&mut self, line: &str, history: &[String]) -> Answer {
        self.0.history = history.to_vec();
        let text = commands::execute(&mut self.0, line);
        Answer { text, last: self.0.quit }
    }

    fn complete(&self, text: &str) -> Candidates {
        complete::complete(&self.0.machine, text)
    }
}
