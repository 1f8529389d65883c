//! A new pseudo terminal (POSIX `posix_openpt` and friends).
//!
//! While nobody has the terminal side open, output is dropped and the reader looks again a few times a second. Left
//! out on purpose: [`crate::CharEvent::Opened`] and `Closed` for the terminal side's comings and goings.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use crate::backend::{Connection, Opened};
use crate::config::CharError;

struct Master(File);

impl Master {
    /// Whether the terminal side is open.
    fn has_peer(&self) -> bool {
        let mut p = libc::pollfd { fd: self.0.as_raw_fd(), events: 0, revents: 0 };
        // SAFETY: one valid pollfd, and the descriptor is open as long as `self`.
        let n = unsafe { libc::poll(&raw mut p, 1, 0) };
        n >= 0 && p.revents & libc::POLLHUP == 0
    }
}

impl Read for Master {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                // EIO and end of file: the terminal side is closed.
                Ok(0) => {}
                Err(e) if e.raw_os_error() == Some(libc::EIO) => {}
                other => return other,
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Write for Master {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !self.has_peer() {
            return Ok(data.len());
        }
        match self.0.write(data) {
            Err(e) if e.raw_os_error() == Some(libc::EIO) => Ok(data.len()),
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn make() -> io::Result<(File, String)> {
    // SAFETY: plain call; the result is checked before it is owned.
    let fd = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` is open and nobody else owns it.
    let master = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let mut name = [0 as libc::c_char; 128];
    // SAFETY: `fd` stays open as long as `master`; `name` has the length given and is terminated by the call.
    let done = unsafe {
        libc::grantpt(fd) == 0 && libc::unlockpt(fd) == 0 && libc::ptsname_r(fd, name.as_mut_ptr(), name.len()) == 0
    };
    if !done {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: ptsname_r succeeded, so `name` holds a terminated string.
    let path = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
    // Opened once: sets raw mode, and from its closing on the master knows that nobody is there.
    let terminal = std::fs::OpenOptions::new().read(true).write(true).open(&path)?;
    let mut mode = std::mem::MaybeUninit::<libc::termios>::uninit();
    // SAFETY: `mode` is filled by tcgetattr before it is used, on an open descriptor.
    unsafe {
        if libc::tcgetattr(terminal.as_raw_fd(), mode.as_mut_ptr()) == 0 {
            let mut mode = mode.assume_init();
            libc::cfmakeraw(&raw mut mode);
            libc::tcsetattr(terminal.as_raw_fd(), libc::TCSANOW, &raw const mode);
        }
    }
    Ok((master, path))
}

pub(crate) fn open(label: &str) -> Result<Opened, CharError> {
    let error =
        |source| CharError::Io { label: label.into(), operation: "create", target: "a pseudo terminal".into(), source };
    let (master, path) = make().map_err(error)?;
    // The line that scripts look for, in QEMU's words.
    let _ = writeln!(io::stdout(), "char device redirected to {path} (label {label})");
    let reader = Master(master.try_clone().map_err(error)?);
    Ok(Opened {
        first: Some(Connection {
            reader: Some(Box::new(reader)),
            writer: Some(Box::new(Master(master))),
            closes: false,
        }),
        next: None,
        ring: None,
        description: format!("pty:{path}"),
    })
}
