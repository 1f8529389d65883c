//! The programs: from argv to a machine that runs. The only crate that names a platform.

mod accel_options;
mod front_ends;
mod help;
mod identity;
mod log;
pub mod probe;
mod run;
mod tool;
mod windows_cpu;

pub use tool::tool_main;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cli::{Config, Options};
use machine::{ExitReason, Machine, Plan};

/// What went wrong before the machine ran: lines for standard error.
type Errors = Vec<String>;

/// The whole of a `whpx-system-*` program. Errors go to standard error, one line each; the status is 1 then.
pub fn system_main(program: &str) -> ExitCode {
    let args = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned());
    match start(program, args) {
        Ok(code) => code,
        Err(errors) => {
            for e in errors {
                eprintln!("{program}: {e}");
            }
            ExitCode::FAILURE
        }
    }
}

/// SIGINT, SIGTERM and SIGHUP (Ctrl-C and closing the console on Windows) end the machine as `quit` does; a second one
/// ends the process at once.
fn quit_on_signals(handle: &machine::MachineHandle) {
    let handle = handle.clone();
    let asked = AtomicBool::new(false);
    let result = ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            chardev::restore_terminal();
            std::process::exit(1);
        }
        handle.quit(machine::Cause::Signal);
    });
    if let Err(e) = result {
        tracing::warn!("signals end the program at once: {e}");
    }
}

fn lines<E: ToString>(errors: Vec<E>) -> Errors {
    errors.iter().map(ToString::to_string).collect()
}

fn start(program: &str, args: impl Iterator<Item = String>) -> Result<ExitCode, Errors> {
    let options = Options::parse(args).map_err(lines)?;
    let config = Config::new(&options).map_err(lines)?;
    if let Some(topic) = &config.help {
        print!("{}", help::text(program, topic, &config));
        return Ok(ExitCode::SUCCESS);
    }
    log::start(&config.log, &config.trace).map_err(|e| vec![e])?;
    let plan = Plan::new(&config);
    let platform = accel_options::choose(&config);
    let (plan, (platform, accel)) = match (plan, platform) {
        (Ok(plan), Ok(platform)) => (plan, platform),
        (plan, platform) => {
            let mut errors = plan.err().map(lines).unwrap_or_default();
            errors.extend(platform.err().unwrap_or_default());
            return Err(errors);
        }
    };
    let platform = whp_trace::from_env(platform).map_err(|e| vec![e.to_string()])?;
    let machine = Machine::new(plan, &*platform, accel).map_err(|e| vec![e.to_string()])?;
    if let Some(path) = &config.pidfile {
        let text = format!("{}\n", std::process::id());
        std::fs::write(path, text).map_err(|e| vec![format!("-pidfile {}: {e}", path.display())])?;
    }
    let handle = machine.handle();
    let monitors: Result<Vec<_>, _> = handle
        .monitor_backends()
        .iter()
        .map(|b| monitor::Monitor::attach(handle.clone(), &b.chardev, b.mode, Some(Arc::new(log::MonitorLog))))
        .collect();
    let monitors = monitors.map_err(|e| vec![e.to_string()])?;
    front_ends::start(program, &config, &handle).map_err(|e| vec![e])?;
    quit_on_signals(&handle);
    let reason = machine.run();
    drop(monitors);
    chardev::restore_terminal();
    if let Some(path) = &config.pidfile {
        let _ = std::fs::remove_file(path); // gone already is as good
    }
    whp_trace::flush_all();
    // Threads of back ends and processors may stand in system calls; everything that matters is written.
    std::process::exit(match reason {
        ExitReason::Done => 0,
        ExitReason::Status(status) => status.into(),
        ExitReason::GuestDied => 1,
    })
}

/// Shared closure type of the built-in platform's options.
pub(crate) type PerProcessor<T> = Arc<dyn Fn(u32) -> T + Send + Sync>;
