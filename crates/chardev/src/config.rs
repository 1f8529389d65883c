//! What a character back end is made from, and why it was not made. Independent of the command line's syntax.

use std::io;
use std::path::PathBuf;

/// The kind of back end, with QEMU's options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CharKind {
    /// Output vanishes, no input.
    Null,
    /// The process's standard input and output.
    Stdio {
        /// Ctrl-C and the like signal the process instead of reaching the guest.
        signal: bool,
    },
    /// Output to a file.
    File {
        /// The file, created if absent.
        path: PathBuf,
        /// Keep what is in it.
        append: bool,
        /// Take input from this file.
        input: Option<PathBuf>,
    },
    /// A new pseudo terminal (unix hosts).
    Pty,
    /// A TCP connection.
    Tcp {
        /// Host name or address; empty means all (server) or this host (client).
        host: String,
        /// Port; 0 lets the system choose (server).
        port: u16,
        /// Listen instead of connect.
        server: bool,
        /// As a server: the first client must have connected before the machine starts.
        wait: bool,
        /// Send small pieces at once.
        nodelay: bool,
        /// As a client: seconds to the next try after a lost connection.
        reconnect: Option<u32>,
    },
    /// A unix-domain socket (unix hosts).
    Unix {
        /// Its path.
        path: PathBuf,
        /// Listen instead of connect.
        server: bool,
        /// As a server: the first client must have connected before the machine starts.
        wait: bool,
        /// As a client: seconds to the next try after a lost connection.
        reconnect: Option<u32>,
    },
    /// A named pipe: `path.in` and `path.out` where they exist, else `path` for both directions.
    Pipe {
        /// Its path.
        path: PathBuf,
    },
    /// Output kept in memory, the newest `size` bytes.
    RingBuf {
        /// A power of two.
        size: usize,
    },
}

/// A copy of the output in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// The file, created if absent.
    pub path: PathBuf,
    /// Keep what is in it.
    pub append: bool,
}

/// A back end and what is common to all kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharConfig {
    /// What it is.
    pub kind: CharKind,
    /// Several users share it, switched with Ctrl-A (`mux=on`, `mon:`).
    pub mux: bool,
    /// `logfile=`, `logappend=`.
    pub log: Option<LogFile>,
}

impl From<CharKind> for CharConfig {
    fn from(kind: CharKind) -> Self {
        Self { kind, mux: false, log: None }
    }
}

impl CharConfig {
    /// `mon:stdio`: standard input and output, shared, with Ctrl-C for the guest.
    pub fn mon_stdio() -> Self {
        Self { kind: CharKind::Stdio { signal: false }, mux: true, log: None }
    }
}

/// Why a back end could not be opened or attached to.
#[derive(Debug, thiserror::Error)]
pub enum CharError {
    /// The system refused.
    #[error("chardev {label}: cannot {operation} {target}: {source}")]
    Io {
        /// The back end's name.
        label: String,
        /// What was tried.
        operation: &'static str,
        /// On what.
        target: String,
        /// The system's reason.
        source: io::Error,
    },
    /// This kind does not exist on this host.
    #[error("chardev {label}: {kind} is not available on this host; use tcp instead")]
    Unavailable {
        /// The back end's name.
        label: String,
        /// The kind.
        kind: &'static str,
    },
    /// It has a user already.
    #[error("chardev {label} is already in use; give it mux=on to share it")]
    InUse {
        /// The back end's name.
        label: String,
    },
    /// Only one can have the standard streams.
    #[error("chardev {label}: stdio is already used by another character device; use mon:stdio or mux=on to share it")]
    StdioTaken {
        /// The back end's name.
        label: String,
    },
    /// An option's value is impossible.
    #[error("chardev {label}: {reason}")]
    Config {
        /// The back end's name.
        label: String,
        /// What is wrong and what would be right.
        reason: String,
    },
}
