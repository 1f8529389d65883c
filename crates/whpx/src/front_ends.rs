//! `-display` and `-vnc`: front ends for a machine that is built.

use std::sync::Arc;

use cli::{Config, DisplayKind, VncShare, VncSpec, WebSpec};
use console::vnc::{Share, VncOptions, VncServer};
use console::web::{WebConsole, WebOptions};
use console::{NoScreen, TextConsole};
use display::{DisplaySource, ScreenService};
use input::Layout;
use machine::{Cause, MachineHandle};
use window::WindowOptions;

/// Starts what the command line asks for. The error is a line for the user.
pub(crate) fn start(program: &str, config: &Config, machine: &MachineHandle) -> Result<(), String> {
    let consoles: Result<Vec<_>, _> = machine
        .take_text_consoles()
        .into_iter()
        .map(|(name, peer)| {
            // The name of QEMU's default monitor says little to a person.
            let name = if name == "compat_monitor0" { "monitor" } else { name.as_str() };
            TextConsole::start(name, peer)
        })
        .collect();
    let consoles = consoles.map_err(|e| format!("text console: cannot start a thread: {e}"))?;
    if let Some(name) = &config.keyboard_layout {
        let layout = Layout::named(name).ok_or_else(|| {
            let names: Vec<_> = Layout::names().collect();
            format!("-k {name}: unknown keyboard layout; there are {}", names.join(", "))
        })?;
        machine.input().set_layout(layout);
    }
    let source: Arc<dyn DisplaySource> = machine.screen().unwrap_or_else(|| Arc::new(NoScreen));
    let screen = ScreenService::new(source);
    if let Some(spec) = &config.vnc {
        vnc(spec, config, machine, &screen)?;
    }
    if let DisplayKind::Web(spec) = &config.display {
        match web(spec, config, machine, &screen, consoles.clone()) {
            Ok(console) => eprintln!("{program}: web console at {}", console.url()),
            Err(e) if spec.typed.is_empty() => tracing::warn!("no web console: {e}"),
            Err(e) => return Err(e),
        }
    }
    if let DisplayKind::Window(typed) = &config.display {
        window(typed, config, machine, &screen)?;
    }
    // They take what their users write as long as the process lives, whether somebody looks or not.
    std::mem::forget(consoles);
    Ok(())
}

fn vnc(spec: &VncSpec, config: &Config, machine: &MachineHandle, screen: &Arc<ScreenService>) -> Result<(), String> {
    let options = VncOptions {
        typed: spec.typed.clone(),
        host: spec.host.clone(),
        port: spec.port,
        to: spec.to,
        websocket: spec.websocket.clone(),
        password: spec.password,
        lossy: spec.lossy,
        share: match spec.share {
            VncShare::AllowExclusive => Share::AllowExclusive,
            VncShare::ForceShared => Share::ForceShared,
            VncShare::Ignore => Share::Ignore,
        },
        name: config.name.as_ref().map_or("whpx".into(), |n| format!("whpx ({n})")),
    };
    let server = VncServer::start(options, screen.clone(), machine.input().clone()).map_err(|e| e.to_string())?;
    eprintln!("VNC server running on {}", server.address());
    machine.set_remote_display(Arc::new(server));
    Ok(())
}

fn window(typed: &str, config: &Config, machine: &MachineHandle, screen: &Arc<ScreenService>) -> Result<(), String> {
    let (states, quits) = (machine.clone(), machine.clone());
    let options = WindowOptions {
        typed: typed.to_owned(),
        name: config.name.as_ref().map_or("whpx".into(), |n| format!("whpx ({n})")),
        screen: screen.clone(),
        bus: machine.input().clone(),
        state: Box::new(move || states.state().name().to_owned()),
        quit: Box::new(move || quits.quit(Cause::Ui)),
    };
    window::start(options).map_err(|e| e.to_string())
}

fn web(
    spec: &WebSpec,
    config: &Config,
    machine: &MachineHandle,
    screen: &Arc<ScreenService>,
    consoles: Vec<Arc<TextConsole>>,
) -> Result<WebConsole, String> {
    let options = WebOptions {
        typed: if spec.typed.is_empty() { "-display web".into() } else { spec.typed.clone() },
        host: spec.host.clone(),
        port: spec.port,
        name: config.name.clone().unwrap_or_else(|| "whpx".into()),
        screen: screen.clone(),
        bus: machine.input().clone(),
        guest: Arc::new(machine.clone()),
        consoles,
    };
    WebConsole::start(options).map_err(|e| e.to_string())
}
