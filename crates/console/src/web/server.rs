//! The HTTP side of the web console: who gets in, and the page's files.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use display::{ScreenService, Surface, write_png};
use input::InputBus;

use super::guest::Guest;
use super::session;
use crate::http::{self, Request};
use crate::text_console::TextConsole;
use crate::typist::Typist;
use crate::websocket;

/// Most connections at a time.
const MOST: usize = 64;
/// How long a request, or a page that takes nothing, may pause.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a page may do: load from here and nowhere else. (xterm.js makes style elements.)
const POLICY: &str = "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
     X-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n\
     Cross-Origin-Opener-Policy: same-origin\r\n";

/// The page's files: name, type, contents.
const FILES: &[(&str, &str, &[u8])] = &[
    ("", "text/html; charset=utf-8", include_bytes!("../../assets/index.html")),
    ("console.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/console.js")),
    ("console.css", "text/css; charset=utf-8", include_bytes!("../../assets/console.css")),
    ("xterm.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/xterm/xterm.js")),
    ("xterm.css", "text/css; charset=utf-8", include_bytes!("../../assets/xterm/xterm.css")),
    ("addon-fit.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/xterm/addon-fit.js")),
    ("licence-xterm.txt", "text/plain; charset=utf-8", include_bytes!("../../assets/xterm/LICENSE")),
];

/// What `-display web` says, and what the page shows.
pub struct WebOptions {
    /// The option as typed, for errors.
    pub typed: String,
    /// Address to listen on.
    pub host: String,
    /// Port; 0 for any.
    pub port: u16,
    /// Name of the guest.
    pub name: String,
    /// The screen.
    pub screen: Arc<ScreenService>,
    /// Where keys go.
    pub bus: Arc<InputBus>,
    /// The machine.
    pub guest: Arc<dyn Guest>,
    /// Serial ports and monitors.
    pub consoles: Vec<Arc<TextConsole>>,
}

/// The web console cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// It cannot listen.
    #[error("{typed}: cannot listen on {address}: {source}")]
    Listen {
        /// The option.
        typed: String,
        /// Where.
        address: String,
        /// The system's words.
        source: io::Error,
    },
    /// The host has no random numbers.
    #[error("{typed}: no random numbers for the token in the address")]
    Random {
        /// The option.
        typed: String,
    },
}

/// What the connections share.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) screen: Arc<ScreenService>,
    pub(crate) bus: Arc<InputBus>,
    pub(crate) guest: Arc<dyn Guest>,
    pub(crate) consoles: Vec<Arc<TextConsole>>,
    pub(crate) typist: Typist,
    /// The screen's size as pages know it.
    pub(crate) size: Mutex<(u32, u32)>,
    token: String,
    connections: AtomicUsize,
}

/// A web console that runs; its threads end with the process.
pub struct WebConsole {
    address: SocketAddr,
    token: String,
}

impl WebConsole {
    /// Listens, and serves on threads of its own.
    ///
    /// # Errors
    /// [`WebError`], which names the option.
    pub fn start(options: WebOptions) -> Result<Self, WebError> {
        let WebOptions { typed, host, port, name, screen, bus, guest, consoles } = options;
        let listen_error =
            |source| WebError::Listen { typed: typed.clone(), address: format!("{host}:{port}"), source };
        let bound = (host.as_str(), port).to_socket_addrs().and_then(|a| TcpListener::bind(&*a.collect::<Vec<_>>()));
        let listener = bound.map_err(&listen_error)?;
        let address = listener.local_addr().map_err(&listen_error)?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| WebError::Random { typed: typed.clone() })?;
        let token: String = random.iter().map(|b| format!("{b:02x}")).collect();
        let shared = Arc::new(Shared {
            name,
            screen,
            typist: Typist::new(bus.clone()),
            bus,
            guest,
            consoles,
            size: Mutex::new((640, 480)),
            token: token.clone(),
            connections: AtomicUsize::new(0),
        });
        let accept = move || accept_loop(&listener, &shared);
        std::thread::Builder::new().name("web".into()).spawn(accept).map_err(listen_error)?;
        Ok(Self { address, token })
    }

    /// The address of the page, with its token.
    pub fn url(&self) -> String {
        let mut shown = self.address;
        if shown.ip().is_unspecified() {
            shown.set_ip(if shown.is_ipv4() { [127, 0, 0, 1].into() } else { IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]) });
        }
        format!("http://{shown}/{}/", self.token)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn accept_loop(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(e) => {
                tracing::debug!("web console: {e}");
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if shared.connections.fetch_add(1, Ordering::SeqCst) >= MOST {
            shared.connections.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let for_thread = shared.clone();
        let serve = move || {
            if let Err(e) = serve(&for_thread, &stream) {
                tracing::debug!("web console: {e}");
            }
            for_thread.connections.fetch_sub(1, Ordering::SeqCst);
        };
        if std::thread::Builder::new().name("web-client".into()).spawn(serve).is_err() {
            shared.connections.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The host part of HOST[:PORT].
fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// What a request gets.
#[derive(Debug, PartialEq, Eq)]
enum Verdict<'a> {
    /// A file or action by its name.
    Serve(&'a str),
    Refuse(&'static str, &'static str),
}

/// Decides about a request.
fn judge<'a>(request: &'a Request, token: &str) -> Verdict<'a> {
    const FORBIDDEN: &str = "403 Forbidden";
    let named = request.field("host").is_some_and(|h| {
        let bare = host(h).trim_start_matches('[').trim_end_matches(']');
        bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
    });
    if !named {
        return Verdict::Refuse(FORBIDDEN, "name the server by its IP address or as localhost\n");
    }
    let ours = |origin: &str| origin.strip_prefix("http://").is_some_and(|o| Some(o) == request.field("host"));
    if request.has("origin") && !request.field("origin").is_some_and(ours) {
        return Verdict::Refuse(FORBIDDEN, "not from this page\n");
    }
    // The page itself may be opened from anywhere by who knows its address; nothing else is loaded by other pages.
    let elsewhere = request.field("sec-fetch-site").is_some_and(|s| s == "cross-site" || s == "same-site");
    if elsewhere && request.field("sec-fetch-mode") != Some("navigate") {
        return Verdict::Refuse(FORBIDDEN, "not from this page\n");
    }
    if request.method != "GET" {
        return Verdict::Refuse("405 Method Not Allowed", "only GET\n");
    }
    let path = request.target.split(['?', '#']).next().unwrap_or_default();
    let (given, name) = path.strip_prefix('/').and_then(|p| p.split_once('/')).unwrap_or(("", ""));
    // Compared as a whole, so that the time says nothing about where they differ.
    let differ = given.bytes().zip(token.bytes()).fold(given.len() != token.len(), |d, (a, b)| d | (a != b));
    if differ {
        return Verdict::Refuse(FORBIDDEN, "open the address that whpx printed, with its token\n");
    }
    Verdict::Serve(name)
}

fn serve(shared: &Arc<Shared>, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut out = stream;
    let text = "text/plain; charset=utf-8";
    let Ok(request) = Request::read(&mut &*stream) else {
        return http::respond(&mut out, "400 Bad Request", text, "", b"");
    };
    let name = match judge(&request, &shared.token) {
        Verdict::Serve(name) => name,
        Verdict::Refuse(status, why) => return http::respond(&mut out, status, text, POLICY, why.as_bytes()),
    };
    match name {
        "ws" => {
            let Ok(answer) = websocket::accept(&request, None) else {
                return http::respond(&mut out, "426 Upgrade Required", text, POLICY, b"");
            };
            io::Write::write_all(&mut out, answer.as_bytes())?;
            stream.set_read_timeout(None)?;
            session::serve(shared, stream).map_err(io::Error::other)
        }
        "screen.png" => {
            let (mut surface, mut png) = (Surface::new(), vec![]);
            shared.screen.source().render(&mut surface);
            match write_png(&surface, &mut png) {
                Ok(()) => http::respond(&mut out, "200 OK", "image/png", POLICY, &png),
                Err(_) => http::respond(&mut out, "503 Service Unavailable", text, POLICY, b"there is no picture\n"),
            }
        }
        _ => match FILES.iter().find(|f| f.0 == name) {
            Some((_, kind, bytes)) => http::respond(&mut out, "200 OK", kind, POLICY, bytes),
            None => http::respond(&mut out, "404 Not Found", text, POLICY, b""),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_in() {
        let judged = |target: &str, fields: &str| {
            let r = Request::read(&mut format!("GET {target} HTTP/1.1\r\n{fields}\r\n").as_bytes()).unwrap();
            match judge(&r, "abcd") {
                Verdict::Serve(name) => name.to_owned(),
                Verdict::Refuse(status, _) => status[..3].to_owned(),
            }
        };
        let local = "Host: 127.0.0.1:8006\r\n";
        assert_eq!(judged("/abcd/", local), "");
        assert_eq!(judged("/abcd/ws?x", local), "ws");
        for host in ["localhost", "LOCALHOST:1", "[::1]:8006", "192.168.1.2:80"] {
            assert_eq!(judged("/abcd/console.js", &format!("Host: {host}\r\n")), "console.js", "{host}");
        }
        for target in ["/", "/abcd", "/abce/", "/abcdx/", "//", "/?abcd/"] {
            assert_eq!(judged(target, local), "403", "{target}");
        }
        for host in
            ["", "Host: example.com:8006\r\n", "Host: 127.0.0.1.example.com\r\n", "Host: a\r\nHost: 127.0.0.1\r\n"]
        {
            assert_eq!(judged("/abcd/", host), "403", "{host}");
        }
        let with = |extra: &str| judged("/abcd/ws", &format!("{local}{extra}"));
        assert_eq!(with("Origin: http://127.0.0.1:8006\r\n"), "ws");
        for origin in ["http://127.0.0.1:8007", "https://127.0.0.1:8006", "http://example.com", "null"] {
            assert_eq!(with(&format!("Origin: {origin}\r\n")), "403", "{origin}");
        }
        assert_eq!(with("Sec-Fetch-Site: cross-site\r\n"), "403");
        assert_eq!(judged("/abcd/", &format!("{local}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n")), "");
    }

    #[test]
    fn the_page_has_what_it_names() {
        let page = std::str::from_utf8(FILES[0].2).unwrap();
        for name in FILES.iter().map(|f| f.0).filter(|n| n.ends_with(".js") || n.ends_with(".css")) {
            assert!(page.contains(&format!("\"{name}\"")), "{name}");
        }
        let script = std::str::from_utf8(FILES[1].2).unwrap();
        for id in script.match_indices("$('").map(|(at, _)| script[at + 3..].split('\'').next().unwrap()) {
            assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
        }
    }
}
