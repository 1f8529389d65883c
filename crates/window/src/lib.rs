//! The guest's screen in a window of the desktop (`-display window`): picture, keyboard, pointer.
//!
//! The event loop has a thread of its own; it looks at the screen through a `display::ScreenService`, like the other front ends, and
//! sends input into the `input::InputBus`. Ctrl-Alt-G takes and gives back the pointer, Ctrl-Alt-F the whole desktop. Left out: several
//! screens, a menu bar, the clipboard, desktops on macOS (whose event loop must have the main thread).

mod app;
mod keyboard;
mod motion;
mod place;

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use display::ScreenService;
use input::InputBus;
use winit::event_loop::EventLoop;

use app::App;

/// A desktop that says nothing for so long is none.
const START: Duration = Duration::from_secs(30);

/// What the window shows and serves.
pub struct WindowOptions {
    /// The option as typed, for errors.
    pub typed: String,
    /// The machine's name, for the title.
    pub name: String,
    /// The screen.
    pub screen: Arc<ScreenService>,
    /// Where input goes.
    pub bus: Arc<InputBus>,
    /// What the machine does now, for the title.
    pub state: Box<dyn Fn() -> String + Send>,
    /// The window was closed.
    pub quit: Box<dyn Fn() + Send>,
}

/// There is no window.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// Nothing to show it on.
    #[error("{option}: there is no desktop (neither DISPLAY nor WAYLAND_DISPLAY is set); use -display web or -vnc")]
    NoDesktop {
        /// The option as typed.
        option: String,
    },
    /// The desktop's own words.
    #[error("{option}: the desktop gives no window: {reason}; use -display web or -vnc")]
    Refused {
        /// The option as typed.
        option: String,
        /// Why.
        reason: String,
    },
}

fn lock<T: ?Sized>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a window can be expected to open here.
pub fn desktop_is_there() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    cfg!(windows) || set("DISPLAY") || set("WAYLAND_DISPLAY")
}

/// Something other than the desktop wakes the event loop.
#[derive(Clone, Copy, Debug)]
enum Wake {
    /// The picture has changed.
    Screen,
}

/// Builds the event loop; it may run on any thread.
fn event_loop() -> Result<EventLoop<Wake>, String> {
    let mut builder = EventLoop::<Wake>::with_user_event();
    #[cfg(windows)]
    winit::platform::windows::EventLoopBuilderExtWindows::with_any_thread(&mut builder, true);
    #[cfg(all(unix, not(target_os = "macos")))]
    winit::platform::x11::EventLoopBuilderExtX11::with_any_thread(&mut builder, true);
    builder.build().map_err(|e| e.to_string())
}

/// Opens the window. It stays until the process ends; closing it calls `quit`.
///
/// # Errors
/// When there is no desktop, or it does not give a window.
pub fn start(options: WindowOptions) -> Result<(), WindowError> {
    let option = options.typed.clone();
    if !desktop_is_there() {
        return Err(WindowError::NoDesktop { option });
    }
    let (tell, told) = sync_channel(1);
    let run = move || match event_loop() {
        Err(reason) => {
            let _ = tell.send(Err(reason)); // nobody waits any more
        }
        Ok(events) => {
            let mut app = App::new(options, &events, tell);
            if let Err(e) = events.run_app(&mut app) {
                tracing::warn!("-display window: {e}");
            }
        }
    };
    let refused = |reason: String| WindowError::Refused { option: option.clone(), reason };
    std::thread::Builder::new().name("window".into()).spawn(run).map_err(|e| refused(e.to_string()))?;
    match told.recv_timeout(START) {
        Ok(result) => result.map_err(refused),
        Err(RecvTimeoutError::Timeout) => Err(refused("no answer".into())),
        Err(RecvTimeoutError::Disconnected) => Err(refused("its thread ended".into())),
    }
}
