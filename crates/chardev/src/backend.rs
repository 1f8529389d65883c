//! The back ends proper: each opens into a first connection (a reader and a writer) and, for those that can have
//! several one after another, a way to the next one. One thread a back end runs them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Weak;
use std::time::Duration;

use crate::config::{CharError, CharKind};
use crate::core::Core;

/// A peer: where input comes from and output goes to.
pub(crate) struct Connection {
    pub(crate) reader: Option<Box<dyn Read + Send>>,
    pub(crate) writer: Option<Box<dyn Write + Send>>,
    /// The end of input means that the peer is gone (a socket), not merely that it has no more input (a file).
    pub(crate) closes: bool,
}

type Next = Box<dyn FnMut() -> Option<Connection> + Send>;

/// An opened back end.
pub(crate) struct Opened {
    pub(crate) first: Option<Connection>,
    pub(crate) next: Option<Next>,
    pub(crate) ring: Option<usize>,
    /// For `info chardev`.
    pub(crate) description: String,
}

impl Opened {
    fn new(description: String, first: Connection) -> Self {
        Self { first: Some(first), next: None, ring: None, description }
    }
}

/// The reader thread: reads the present connection to its end, then goes on to the next one.
pub(crate) fn read_loop(
    core: &Weak<Core>,
    mut reader: Option<Box<dyn Read + Send>>,
    mut closes: bool,
    mut connection: u64,
    mut next: Option<Next>,
) {
    let mut buffer = [0; 4096];
    loop {
        while let Some(r) = &mut reader {
            match r.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    let Some(core) = core.upgrade() else { return };
                    core.feed(buffer.get(..n).unwrap_or(&[]));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    tracing::debug!("chardev: reading ends: {e}");
                    break;
                }
            }
        }
        if closes && let Some(core) = core.upgrade() {
            core.set_closed(connection);
        }
        let Some(n) = next.as_mut().and_then(|n| n()) else { return };
        let Some(core) = core.upgrade() else { return };
        connection = core.set_open(n.writer);
        reader = n.reader;
        closes = n.closes;
    }
}

fn io_error<'a>(
    label: &'a str,
    operation: &'static str,
    target: impl ToString + 'a,
) -> impl FnOnce(io::Error) -> CharError + 'a {
    move |source| CharError::Io { label: label.into(), operation, target: target.to_string(), source }
}

pub(crate) fn open_output(label: &str, path: &Path, append: bool) -> Result<File, CharError> {
    let mut options = OpenOptions::new();
    options.create(true).write(true).append(append).truncate(!append);
    options.open(path).map_err(io_error(label, "open for writing", path.display()))
}

pub(crate) fn open(label: &str, kind: &CharKind) -> Result<Opened, CharError> {
    match kind {
        CharKind::Null => Ok(Opened { first: None, next: None, ring: None, description: "null".into() }),
        CharKind::RingBuf { size } => {
            if !size.is_power_of_two() {
                let reason = format!("size={size} is not a power of two, for example 65536");
                return Err(CharError::Config { label: label.into(), reason });
            }
            Ok(Opened { first: None, next: None, ring: Some(*size), description: "ringbuf".into() })
        }
        CharKind::Stdio { signal } => Ok(Opened::new("stdio".into(), crate::stdio::open(label, *signal)?)),
        CharKind::File { path, append, input } => {
            let writer = open_output(label, path, *append)?;
            let reader = match input {
                Some(p) => Some(File::open(p).map_err(io_error(label, "open", p.display()))?),
                None => None,
            };
            let reader = reader.map(|r| Box::new(r) as Box<dyn Read + Send>);
            let first = Connection { reader, writer: Some(Box::new(writer)), closes: false };
            Ok(Opened::new(format!("file:{}", path.display()), first))
        }
        CharKind::Pipe { path } => open_pipe(label, path),
        #[cfg(unix)]
        CharKind::Pty => crate::pty::open(label),
        #[cfg(not(unix))]
        CharKind::Pty => Err(CharError::Unavailable { label: label.into(), kind: "pty" }),
        CharKind::Tcp { host, port, server: true, wait, nodelay, .. } => {
            tcp_server(label, host, *port, *wait, *nodelay)
        }
        CharKind::Tcp { host, port, nodelay, reconnect, .. } => tcp_client(label, host, *port, *nodelay, *reconnect),
        #[cfg(unix)]
        CharKind::Unix { path, server, wait, reconnect } => unix_socket(label, path, *server, *wait, *reconnect),
        #[cfg(not(unix))]
        CharKind::Unix { .. } => Err(CharError::Unavailable { label: label.into(), kind: "a unix socket" }),
    }
}

fn open_pipe(label: &str, path: &Path) -> Result<Opened, CharError> {
    let with = |suffix: &str| {
        let mut p = path.as_os_str().to_owned();
        p.push(suffix);
        std::path::PathBuf::from(p)
    };
    // Opened for both directions, so that opening does not wait for the peer and its leaving is not an end of file.
    let both =
        |p: &Path| OpenOptions::new().read(true).write(true).open(p).map_err(io_error(label, "open", p.display()));
    let (input, output) = (with(".in"), with(".out"));
    let (reader, writer) = if input.exists() && output.exists() {
        (both(&input)?, both(&output)?)
    } else {
        let file = both(path)?;
        (file.try_clone().map_err(io_error(label, "duplicate", path.display()))?, file)
    };
    let first = Connection { reader: Some(Box::new(reader)), writer: Some(Box::new(writer)), closes: false };
    Ok(Opened::new(format!("pipe:{}", path.display()), first))
}

fn tcp_connection(stream: TcpStream, nodelay: bool) -> io::Result<Connection> {
    if nodelay {
        stream.set_nodelay(true)?;
    }
    let reader = stream.try_clone()?;
    Ok(Connection { reader: Some(Box::new(reader)), writer: Some(Box::new(stream)), closes: true })
}

/// Runs `attempt` until it works, with a pause after each failure.
fn until_done(pause: Duration, mut attempt: impl FnMut() -> io::Result<Connection>) -> Connection {
    loop {
        match attempt() {
            Ok(c) => return c,
            Err(e) => tracing::debug!("chardev: {e}; will try again"),
        }
        std::thread::sleep(pause);
    }
}

/// A server: the first client now if `wait`, the others as they come.
fn serve(
    label: &str,
    description: String,
    wait: bool,
    mut accept: impl FnMut() -> io::Result<Connection> + Send + 'static,
) -> Result<Opened, CharError> {
    let first = if wait {
        tracing::info!(chardev = label, "waiting for connection on: {description}");
        Some(accept().map_err(io_error(label, "accept on", &description))?)
    } else {
        None
    };
    let next: Next = Box::new(move || Some(until_done(Duration::from_millis(100), &mut accept)));
    Ok(Opened { first, next: Some(next), ring: None, description })
}

/// A client: connects now; with `reconnect` it need not succeed and is tried again.
fn dial(
    label: &str,
    description: String,
    reconnect: Option<u32>,
    mut connect: impl FnMut() -> io::Result<Connection> + Send + 'static,
) -> Result<Opened, CharError> {
    let first = match (connect(), reconnect.filter(|r| *r != 0)) {
        (Ok(c), _) => Some(c),
        (Err(_), Some(_)) => None,
        (Err(e), None) => return Err(io_error(label, "connect to", &description)(e)),
    };
    let next = reconnect.filter(|r| *r != 0).map(|seconds| {
        let pause = Duration::from_secs(seconds.into());
        let mut tried = false;
        Box::new(move || {
            if std::mem::replace(&mut tried, true) {
                std::thread::sleep(pause);
            }
            Some(until_done(pause, &mut connect))
        }) as Next
    });
    Ok(Opened { first, next, ring: None, description })
}

fn tcp_server(label: &str, host: &str, port: u16, wait: bool, nodelay: bool) -> Result<Opened, CharError> {
    let bind = || -> io::Result<TcpListener> {
        if !host.is_empty() {
            return TcpListener::bind((host, port));
        }
        TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))
    };
    let listener = bind().map_err(io_error(label, "listen on", format!("tcp:{host}:{port}")))?;
    let address = listener.local_addr().map_or_else(|_| format!("{host}:{port}"), |a| a.to_string());
    let accept = move || tcp_connection(listener.accept()?.0, nodelay);
    serve(label, format!("tcp:{address},server=on"), wait, accept)
}

fn tcp_client(label: &str, host: &str, port: u16, nodelay: bool, retry: Option<u32>) -> Result<Opened, CharError> {
    let host = if host.is_empty() { "localhost".to_owned() } else { host.to_owned() };
    let description = format!("tcp:{host}:{port}");
    let connect = move || {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
        for address in (host.as_str(), port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, Duration::from_secs(10)) {
                Ok(s) => return tcp_connection(s, nodelay),
                Err(e) => last = e,
            }
        }
        Err(last)
    };
    dial(label, description, retry, connect)
}

#[cfg(unix)]
fn unix_socket(label: &str, path: &Path, server: bool, wait: bool, retry: Option<u32>) -> Result<Opened, CharError> {
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::net::{UnixListener, UnixStream};
    let make = |stream: UnixStream| -> io::Result<Connection> {
        let reader = stream.try_clone()?;
        Ok(Connection { reader: Some(Box::new(reader)), writer: Some(Box::new(stream)), closes: true })
    };
    let description = format!("unix:{}", path.display());
    if !server {
        let path = path.to_owned();
        return dial(label, description, retry, move || make(UnixStream::connect(&path)?));
    }
    // A socket left behind by an earlier run is in the way; nothing else is removed.
    if std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
        std::fs::remove_file(path).map_err(io_error(label, "replace", path.display()))?;
    }
    let listener = UnixListener::bind(path).map_err(io_error(label, "listen on", &description))?;
    serve(label, format!("{description},server=on"), wait, move || make(listener.accept()?.0))
}
