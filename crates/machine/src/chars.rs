//! Character back ends of the command line, opened; who shares what.

use chardev::{CharConfig, CharKind, CharPeer, Chardev};
use cli::{CharSpec, SerialTarget};

use crate::MachineError;

/// Opened back ends by name.
pub(crate) struct Chars {
    open: Vec<(String, Chardev)>,
    consoles: Vec<(String, CharPeer)>,
}

/// What [`Chars::finish`] gives.
pub(crate) struct Finished {
    pub(crate) chardevs: Vec<(String, Chardev)>,
    pub(crate) consoles: Vec<(String, CharPeer)>,
}

/// Bytes that a text console's front end may lag behind.
const CONSOLE_ROOM: usize = 64 * 1024;

/// Monitors that share the terminal with a serial port, besides those of `-monitor`.
pub(crate) struct Opened {
    /// The back end.
    pub(crate) chardev: Chardev,
    /// A monitor goes on it too (`mon:stdio`).
    pub(crate) with_monitor: bool,
}

impl Chars {
    /// Opens every `-chardev`.
    pub(crate) fn new(specs: &[CharSpec]) -> Result<Self, MachineError> {
        let mut chars = Self { open: Vec::new(), consoles: Vec::new() };
        for spec in specs {
            let chardev = chars.open_spec(&spec.id, spec)?;
            chars.open.push((spec.id.clone(), chardev));
        }
        Ok(chars)
    }

    /// Opens (or finds) the back end of `target`; `None` for `none`.
    pub(crate) fn target(&mut self, label: &str, target: &SerialTarget) -> Result<Option<Opened>, MachineError> {
        let chardev = match target {
            SerialTarget::None => return Ok(None),
            SerialTarget::Chardev(id) => {
                let found = self.open.iter().find(|o| o.0 == *id).map(|o| o.1.clone());
                found.ok_or_else(|| MachineError::Config(format!("chardev '{id}' does not exist")))?
            }
            SerialTarget::Spec(spec) => {
                let chardev = self.open_spec(label, spec)?;
                self.remember(label, chardev)
            }
            SerialTarget::MonStdio => {
                let option = || "-serial mon:stdio".to_string();
                let opened = Chardev::open(label, &CharConfig::mon_stdio());
                let chardev = opened.map_err(|source| MachineError::Char { option: option(), source })?;
                return Ok(Some(Opened { chardev: self.remember(label, chardev), with_monitor: true }));
            }
        };
        Ok(Some(Opened { chardev, with_monitor: false }))
    }

    fn remember(&mut self, label: &str, chardev: Chardev) -> Chardev {
        self.open.push((label.into(), chardev.clone()));
        chardev
    }

    /// Everything that is open, with its name; and the front end's sides of text consoles.
    pub(crate) fn finish(self) -> Finished {
        Finished { chardevs: self.open, consoles: self.consoles }
    }

    fn open_spec(&mut self, label: &str, spec: &CharSpec) -> Result<Chardev, MachineError> {
        if spec.backend == "vc" {
            let (chardev, peer) = Chardev::in_memory(label, CONSOLE_ROOM, spec.mux);
            self.consoles.push((label.into(), peer));
            return Ok(chardev);
        }
        open_spec(label, spec)
    }
}

fn open_spec(label: &str, spec: &CharSpec) -> Result<Chardev, MachineError> {
    let option = if spec.typed.is_empty() { format!("-chardev {}", spec.backend) } else { spec.typed.clone() };
    let config = CharConfig { kind: kind(spec, &option)?, mux: spec.mux, log: None };
    let chardev = Chardev::open(label, &config).map_err(|source| MachineError::Char { option, source })?;
    if spec.backend == "pty" {
        eprintln!("char device redirected to {} (label {label})", chardev.description());
    }
    Ok(chardev)
}

fn kind(spec: &CharSpec, option: &str) -> Result<CharKind, MachineError> {
    let path = || spec.path.clone().unwrap_or_default().into();
    Ok(match spec.backend.as_str() {
        "stdio" => CharKind::Stdio { signal: spec.signal },
        "file" => CharKind::File { path: path(), append: spec.append, input: None },
        "pty" => CharKind::Pty,
        "pipe" => CharKind::Pipe { path: path() },
        "ringbuf" => CharKind::RingBuf { size: spec.size.and_then(|s| usize::try_from(s).ok()).unwrap_or(65536) },
        "socket" if spec.path.is_some() => {
            CharKind::Unix { path: path(), server: spec.server, wait: spec.wait, reconnect: None }
        }
        "socket" => {
            let text = spec.port.clone().unwrap_or_default();
            let port = text.parse().map_err(|_| MachineError::Config(format!("{option}: '{text}' is not a port")))?;
            let host = spec.host.clone().unwrap_or_default();
            CharKind::Tcp { host, port, server: spec.server, wait: spec.wait, nodelay: spec.nodelay, reconnect: None }
        }
        _ => CharKind::Null,
    })
}
