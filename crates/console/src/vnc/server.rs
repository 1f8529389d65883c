//! The listeners of a VNC server, and who is connected.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use display::{RemoteClient, RemoteDisplay, RemoteInfo, ScreenService};
use input::{InputBus, LedWatcher};

use super::client::{Client, Sender};
use super::handshake::{self, Terms};
use super::message::MessageError;
use super::transport::Transport;
use crate::http::Request;
use crate::lock;

/// Most clients at a time, those that have not authenticated included.
const MOST_CLIENTS: usize = 32;
/// After a wrong password.
const PENALTY: Duration = Duration::from_secs(1);

/// What happens to the others when a client wants the screen for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// They are disconnected.
    #[default]
    AllowExclusive,
    /// A client that wants it for itself is refused.
    ForceShared,
    /// Nothing.
    Ignore,
}

/// What `-vnc` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VncOptions {
    /// The option as typed, for errors.
    pub typed: String,
    /// Address or name to listen on; empty: every address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How many ports after it may be tried.
    pub to: u16,
    /// Address and port for websockets.
    pub websocket: Option<(String, u16)>,
    /// Clients need a password, which is to be set in the monitor.
    pub password: bool,
    /// JPEG may be used.
    pub lossy: bool,
    /// See [`Share`].
    pub share: Share,
    /// Name of the screen.
    pub name: String,
}

/// A VNC server cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum VncError {
    /// It cannot listen.
    #[error("{typed}: cannot listen on {address}: {source}")]
    Listen {
        /// The option.
        typed: String,
        /// Where.
        address: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// A thread is missing.
    #[error("{typed}: cannot start a thread: {source}")]
    Thread {
        /// The option.
        typed: String,
        /// The system's words.
        source: std::io::Error,
    },
}

#[derive(Default)]
struct Password {
    text: Option<String>,
    expires: Option<u64>,
}

struct Inner {
    options: VncOptions,
    address: SocketAddr,
    websocket: Option<SocketAddr>,
    screen: Arc<ScreenService>,
    bus: Arc<InputBus>,
    password: Mutex<Password>,
    clients: Mutex<Vec<Weak<Client>>>,
}

/// A VNC server that runs; its threads end with the process.
pub struct VncServer(Arc<Inner>);

fn listen(typed: &str, host: &str, port: u16, to: u16) -> Result<(TcpListener, SocketAddr), VncError> {
    let any = if host.is_empty() { "0.0.0.0" } else { host };
    let bare = any.trim_start_matches('[').trim_end_matches(']');
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for port in port..=port.saturating_add(to) {
        let bound = (bare, port).to_socket_addrs().and_then(|a| TcpListener::bind(a.collect::<Vec<_>>().as_slice()));
        match bound.and_then(|l| l.local_addr().map(|a| (l, a))) {
            Ok(bound) => return Ok(bound),
            Err(e) => last = e,
        }
    }
    Err(VncError::Listen { typed: typed.into(), address: format!("{any}:{port}"), source: last })
}

impl VncServer {
    /// Listens, and serves on threads of its own.
    ///
    /// # Errors
    /// [`VncError`], which names the option.
    pub fn start(options: VncOptions, screen: Arc<ScreenService>, bus: Arc<InputBus>) -> Result<Self, VncError> {
        let typed = options.typed.clone();
        let (plain, address) = listen(&typed, &options.host, options.port, options.to)?;
        let web = options.websocket.as_ref().map(|(host, port)| listen(&typed, host, *port, 0)).transpose()?;
        let websocket = web.as_ref().map(|w| w.1);
        let (password, clients) = (Mutex::default(), Mutex::default());
        let inner = Arc::new(Inner { options, address, websocket, screen, bus, password, clients });
        for (listener, websocket) in [(Some(plain), false), (web.map(|w| w.0), true)] {
            let Some(listener) = listener else { continue };
            let server = inner.clone();
            let thread = std::thread::Builder::new().name("vnc".into());
            let started = thread.spawn(move || server.accept_loop(&listener, websocket));
            started.map_err(|source| VncError::Thread { typed: typed.clone(), source })?;
        }
        Ok(Self(inner))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Where it listens for websockets.
    pub fn websocket_address(&self) -> Option<SocketAddr> {
        self.0.websocket
    }
}

impl Inner {
    fn accept_loop(self: &Arc<Self>, listener: &TcpListener, websocket: bool) {
        loop {
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(e) => {
                    // Too many open files, or a client that is gone already.
                    tracing::debug!("vnc: {e}");
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let mut clients = lock(&self.clients);
            clients.retain(|c| c.strong_count() != 0);
            if clients.len() >= MOST_CLIENTS {
                tracing::warn!("vnc: {peer} is refused: {MOST_CLIENTS} clients are connected already");
                continue;
            }
            let client = Client::new(stream, peer.to_string(), websocket);
            clients.push(Arc::downgrade(&client));
            drop(clients);
            let server = self.clone();
            let serve = move || {
                let result = server.serve(&client);
                client.disconnect();
                if let Err(e) = result {
                    tracing::debug!("vnc: {}: {e}", client.address);
                }
            };
            if let Err(e) = std::thread::Builder::new().name("vnc-client".into()).spawn(serve) {
                tracing::warn!("vnc: {peer}: cannot start a thread: {e}");
            }
        }
    }

    /// The password that lets in now.
    fn password(&self) -> Option<String> {
        let p = lock(&self.password);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        p.text.clone().filter(|t| !t.is_empty() && p.expires.is_none_or(|at| now < at))
    }

    /// A page may connect from this machine, from where it was served by the host it connects to, or from anywhere
    /// when a password protects the screen.
    fn may_connect(&self, request: &Request) -> bool {
        let host_of = |origin: &str| {
            let authority = origin.split_once("://").map_or("", |o| o.1);
            authority.rsplit_once(':').filter(|p| !p.1.contains(']')).map_or(authority, |p| p.0).to_ascii_lowercase()
        };
        let local = |host: &str| {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|a| a.is_loopback())
        };
        let Some(origin) = request.field("origin") else { return !request.has("origin") };
        let (origin, host) = (host_of(origin), request.field("host").map(|h| host_of(&format!("ws://{h}"))));
        // A name that somebody else's server resolves to this machine is neither.
        self.options.password || local(&origin) || host.is_some_and(|h| h == origin && h.parse::<IpAddr>().is_ok())
    }

    fn serve(self: &Arc<Self>, client: &Arc<Client>) -> Result<(), MessageError> {
        let stream = client.stream();
        let transport = if client.websocket {
            Transport::websocket(stream, |r| self.may_connect(r))?
        } else {
            Transport::tcp(stream)?
        };
        let Transport { mut reader, mut writer } = transport;
        let mut challenge = [0; 16];
        getrandom::fill(&mut challenge).map_err(|_| MessageError::Bad("the host has no random numbers"))?;
        let password = self.options.password.then(|| self.password());
        let terms = Terms { password, challenge };
        let shared = handshake::open(&mut reader, &mut writer, &terms).inspect_err(|e| {
            if self.options.password && matches!(e, MessageError::Bad(_)) {
                std::thread::sleep(PENALTY);
            }
        })?;
        if !shared {
            match self.options.share {
                Share::AllowExclusive => self.disconnect_others(client),
                Share::ForceShared => return Err(MessageError::Bad("the screen is to be shared")),
                Share::Ignore => {}
            }
        }
        let weak = Arc::downgrade(client);
        let viewer = self.screen.subscribe(move || {
            if let Some(client) = weak.upgrade() {
                client.nudge();
            }
        });
        let weak = Arc::downgrade(client);
        let lights: Arc<LedWatcher> = Arc::new(move || {
            if let Some(client) = weak.upgrade() {
                client.nudge();
            }
        });
        self.bus.watch_leds(&lights);
        let mut sender = Sender::new(client.clone(), self.bus.clone(), viewer, self.options.lossy);
        let (width, height) = sender.begin();
        client.set_size(width, height);
        writer.write_all(&handshake::server_init(width as u16, height as u16, &self.options.name))?;
        writer.flush()?;
        stream.set_read_timeout(None)?;
        std::thread::Builder::new().name("vnc-send".into()).spawn(move || sender.run(&mut writer))?;
        client.read_loop(&mut reader, &self.bus, &self.screen)
    }

    fn disconnect_others(&self, client: &Arc<Client>) {
        let all: Vec<_> = lock(&self.clients).iter().filter_map(Weak::upgrade).collect();
        all.iter().filter(|c| !Arc::ptr_eq(c, client)).for_each(|c| c.disconnect());
    }
}

impl RemoteDisplay for VncServer {
    fn info(&self) -> RemoteInfo {
        let clients: Vec<_> = lock(&self.0.clients).iter().filter_map(Weak::upgrade).collect();
        RemoteInfo {
            address: self.0.address.to_string(),
            websocket: self.0.websocket.map(|a| a.to_string()),
            auth: if self.0.options.password { "vnc" } else { "none" },
            clients: clients
                .iter()
                .map(|c| RemoteClient { address: c.address.clone(), websocket: c.websocket })
                .collect(),
        }
    }

    fn set_password(&self, password: &str) -> bool {
        lock(&self.0.password).text = Some(password.into());
        self.0.options.password
    }

    fn expire_password(&self, at: Option<u64>) -> bool {
        lock(&self.0.password).expires = at;
        self.0.options.password
    }
}
