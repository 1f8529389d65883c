//! Standard input and output, with the terminal in raw mode while they are in use.
//!
//! The terminal's mode is put back by [`restore_terminal`]: at the normal end (the binary calls it), on a panic (a
//! hook), and when a signal ends the process (handlers, set only where nobody set one before). On unix, output
//! processing stays on, as QEMU keeps it, so that log lines still start at the left edge.

use std::io::{self, IsTerminal};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::backend::Connection;
use crate::config::CharError;

static TAKEN: AtomicBool = AtomicBool::new(false);
static RAW: AtomicBool = AtomicBool::new(false);

pub(crate) fn open(label: &str, signal: bool) -> Result<Connection, CharError> {
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(CharError::StdioTaken { label: label.into() });
    }
    if io::stdin().is_terminal() {
        make_raw(signal).map_err(|source| CharError::Io {
            label: label.into(),
            operation: "set raw mode on",
            target: "the terminal".into(),
            source,
        })?;
    }
    Ok(Connection { reader: Some(Box::new(io::stdin())), writer: Some(Box::new(io::stdout())), closes: false })
}

/// Puts the terminal back into the mode it was found in; nothing when it was not changed. May be called often.
pub fn restore_terminal() {
    if RAW.swap(false, Ordering::SeqCst)
        && let Err(e) = crossterm::terminal::disable_raw_mode()
    {
        tracing::warn!("cannot restore the terminal: {e}");
    }
}

fn make_raw(signal: bool) -> io::Result<()> {
    #[cfg(unix)]
    posix::remember();
    crossterm::terminal::enable_raw_mode()?;
    RAW.store(true, Ordering::SeqCst);
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore_terminal();
            before(info);
        }));
    });
    #[cfg(unix)]
    {
        posix::adjust(signal);
        posix::handle_signals();
    }
    #[cfg(not(unix))]
    if signal {
        tracing::debug!("signal=on has no effect on this host's consoles");
    }
    Ok(())
}

#[cfg(unix)]
mod posix {
    //! The parts of terminal handling that crossterm does not offer.

    use std::mem::MaybeUninit;
    use std::sync::OnceLock;
    use std::sync::atomic::Ordering;

    static ORIGINAL: OnceLock<libc::termios> = OnceLock::new();

    fn mode() -> Option<libc::termios> {
        let mut t = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: `t` is room for a termios; it is read only when the call says that it was filled.
        unsafe { (libc::tcgetattr(0, t.as_mut_ptr()) == 0).then(|| t.assume_init()) }
    }

    pub(super) fn remember() {
        if let Some(t) = mode() {
            let _ = ORIGINAL.set(t);
        }
    }

    /// Output processing on; the signal keys on when asked for.
    pub(super) fn adjust(signal: bool) {
        let Some(mut t) = mode() else { return };
        t.c_oflag |= libc::OPOST;
        if signal {
            t.c_lflag |= libc::ISIG;
        }
        // SAFETY: `t` is a valid termios for the duration of the call.
        unsafe { libc::tcsetattr(0, libc::TCSANOW, &raw const t) };
    }

    extern "C" fn restore_and_die(signal: libc::c_int) {
        if super::RAW.load(Ordering::SeqCst)
            && let Some(t) = ORIGINAL.get()
        {
            // SAFETY: tcsetattr is async-signal-safe and `t` is never changed once set.
            unsafe { libc::tcsetattr(0, libc::TCSANOW, t) };
        }
        // SAFETY: signal and raise are async-signal-safe; the default action ends the process as it would have.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }

    pub(super) fn handle_signals() {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
            let mut old = MaybeUninit::<libc::sigaction>::zeroed();
            // SAFETY: a null new action only queries; `old` is room for the answer and all zeroes is a valid value.
            let old = unsafe {
                libc::sigaction(signal, std::ptr::null(), old.as_mut_ptr());
                old.assume_init()
            };
            if old.sa_sigaction == libc::SIG_DFL {
                let handler: extern "C" fn(libc::c_int) = restore_and_die;
                // SAFETY: the handler is an `extern "C"` function of the right type that only makes
                // async-signal-safe calls.
                unsafe { libc::signal(signal, handler as *const () as libc::sighandler_t) };
            }
        }
    }
}
