//! `-display` and `-vnc`.

use crate::UsageError;
use crate::keyval::{KeyVal, parse_bool};

/// First port of VNC displays, and of the same over websockets.
const VNC_PORT: u16 = 5900;
const WEBSOCKET_PORT: u16 = 5700;

/// Display front end, besides `-vnc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DisplayKind {
    /// None.
    None,
    /// The web console.
    Web(WebSpec),
    /// A window of the desktop; the option as typed, for errors.
    Window(String),
}

/// `-display web`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSpec {
    /// The option as typed, for errors; empty when nobody asked for it.
    pub typed: String,
    /// Address to listen on.
    pub host: String,
    /// Port; 0 for any that is free.
    pub port: u16,
}

impl Default for WebSpec {
    fn default() -> Self {
        Self { typed: String::new(), host: "127.0.0.1".into(), port: 0 }
    }
}

/// What happens when a VNC client wants the screen for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VncShare {
    /// It gets it.
    #[default]
    AllowExclusive,
    /// It is refused.
    ForceShared,
    /// It shares.
    Ignore,
}

/// `-vnc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VncSpec {
    /// The option as typed, for errors.
    pub typed: String,
    /// Address to listen on; empty for all.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How many ports after it may be tried.
    pub to: u16,
    /// Address and port for websockets.
    pub websocket: Option<(String, u16)>,
    /// Clients need a password.
    pub password: bool,
    /// `share=`.
    pub share: VncShare,
    /// JPEG may be used.
    pub lossy: bool,
}

/// Splits HOST:NUMBER, with brackets around an IPv6 address.
fn split_host(text: &str) -> Option<(&str, u16)> {
    let (host, number) = text.rsplit_once(':')?;
    let number = number.parse().ok()?;
    let bare = host.strip_prefix('[').map_or(Some(host), |h| h.strip_suffix(']'))?;
    (bare.len() != host.len() || !host.contains(':')).then_some((bare, number))
}

impl VncSpec {
    /// `-vnc V`, or `-display vnc=V` with the keys in `k`; `None` for `none`.
    fn parse(mut k: KeyVal) -> Result<Option<Self>, UsageError> {
        let address = k.take("vnc").unwrap_or_default();
        if address == "none" {
            k.finish()?;
            return Ok(None);
        }
        if address.starts_with("unix:") {
            return Err(k.error("VNC on a unix socket is not supported; use 127.0.0.1:D"));
        }
        let parsed = split_host(&address).and_then(|(h, d)| Some((h, d, VNC_PORT.checked_add(d)?)));
        let (host, display, port) =
            parsed.ok_or_else(|| k.error("expected none or ADDRESS:DISPLAY, such as 127.0.0.1:0 for port 5900"))?;
        let password = k.take_bool("password")?.unwrap_or(false);
        let share = match k.take_word("share", &["allow-exclusive", "force-shared", "ignore"])? {
            Some("force-shared") => VncShare::ForceShared,
            Some("ignore") => VncShare::Ignore,
            _ => VncShare::AllowExclusive,
        };
        let to = k.take_number("to")?.unwrap_or(display.into());
        let to = u16::try_from(to).ok().and_then(|to| to.checked_sub(display));
        let to = to.ok_or_else(|| k.error("to= must be a display number not below the first"))?;
        let websocket = k.take("websocket").map(|w| Self::websocket(&k, &w, host, display)).transpose()?.flatten();
        let lossy = k.take_bool("lossy")?.unwrap_or(false);
        let (typed, host) = (k.typed.clone(), host.to_owned());
        k.finish()?;
        Ok(Some(Self { typed, host, port, to, websocket, password, lossy, share }))
    }

    fn websocket(k: &KeyVal, v: &str, host: &str, display: u16) -> Result<Option<(String, u16)>, UsageError> {
        let bad = || k.bad("websocket", v, "expected on, off, a port, or ADDRESS:PORT");
        if let Some(on) = parse_bool(v) {
            let port = WEBSOCKET_PORT.checked_add(display).ok_or_else(bad)?;
            return Ok(on.then(|| (host.to_owned(), port)));
        }
        if let Ok(port) = v.parse() {
            return Ok(Some((host.to_owned(), port)));
        }
        split_host(v).map(|(h, p)| Some((h.to_owned(), p))).ok_or_else(bad)
    }
}

/// What the options said so far.
#[derive(Default)]
pub(super) struct Displays {
    kind: Option<DisplayKind>,
    vnc: Option<VncSpec>,
    vnc_given: bool,
}

impl Displays {
    /// `-vnc V`.
    pub(super) fn vnc(&mut self, v: &str) -> Result<(), UsageError> {
        self.vnc = VncSpec::parse(KeyVal::parse("vnc", v, Some("vnc"))?)?;
        self.vnc_given = true;
        Ok(())
    }

    /// `-display V`.
    pub(super) fn display(&mut self, v: &str) -> Result<(), UsageError> {
        let mut k = KeyVal::parse("display", v, Some("type"))?;
        if let Some(rest) = v.strip_prefix("vnc=") {
            let mut k = KeyVal::parse("vnc", rest, Some("vnc"))?;
            k.typed = format!("-display {v}");
            self.vnc = VncSpec::parse(k)?;
            self.vnc_given = true;
            return Ok(());
        }
        let kind = k.take("type").unwrap_or_default();
        match kind.as_str() {
            "none" => self.kind = Some(DisplayKind::None),
            "window" => self.kind = Some(DisplayKind::Window(k.typed.clone())),
            "web" => {
                let mut spec = WebSpec { typed: k.typed.clone(), ..WebSpec::default() };
                if let Some(addr) = k.take("addr") {
                    let (host, port) = split_host(&addr)
                        .filter(|a| !a.0.is_empty())
                        .ok_or_else(|| k.bad("addr", &addr, "expected ADDRESS:PORT, such as 127.0.0.1:8006"))?;
                    (spec.host, spec.port) = (host.to_owned(), port);
                }
                self.kind = Some(DisplayKind::Web(spec));
            }
            _ => {
                let why = "available: none, window, web[,addr=ADDRESS:PORT], vnc=ADDRESS:DISPLAY";
                return Err(k.error(why));
            }
        }
        k.finish()
    }

    /// The front end and the VNC server. Without an option it is the web console, but with `-vnc` or `headless`.
    pub(super) fn finish(self, headless: bool) -> (DisplayKind, Option<VncSpec>) {
        let default = if headless || self.vnc_given { DisplayKind::None } else { DisplayKind::Web(WebSpec::default()) };
        (self.kind.unwrap_or(default), self.vnc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vnc(v: &str) -> Result<Option<VncSpec>, String> {
        let mut d = Displays::default();
        d.vnc(v).map_err(|e| e.0)?;
        Ok(d.finish(false).1)
    }

    #[test]
    fn vnc_displays() {
        let s = vnc("127.0.0.1:1,password=on,websocket=on,share=ignore,to=9").unwrap().unwrap();
        assert_eq!((s.host.as_str(), s.port, s.to, s.password), ("127.0.0.1", 5901, 8, true));
        assert_eq!((s.websocket, s.share), (Some(("127.0.0.1".into(), 5701)), VncShare::Ignore));
        let s = vnc(":0,websocket=8080").unwrap().unwrap();
        assert_eq!((s.host.as_str(), s.port, s.websocket), ("", 5900, Some((String::new(), 8080))));
        let s = vnc("[::1]:2,websocket=[::1]:9").unwrap().unwrap();
        assert_eq!((s.host.as_str(), s.port, s.websocket), ("::1", 5902, Some(("::1".into(), 9))));
        assert!(vnc(":0,lossy=on").unwrap().unwrap().lossy);
        assert_eq!(vnc("none"), Ok(None));
    }

    #[test]
    fn vnc_errors_name_the_option() {
        for bad in
            ["x", "::1:0", "h:99999", ":60000", ":1,to=0", ":0,websocket=maybe", "unix:/x", ":0,sasl=on", "[::1:0"]
        {
            let e = vnc(bad).unwrap_err();
            assert!(e.starts_with(&format!("-vnc {bad}:")), "{e}");
        }
    }

    #[test]
    fn displays() {
        let of = |options: &[&str]| {
            let mut d = Displays::default();
            for o in options {
                d.display(o).map_err(|e| e.0)?;
            }
            Ok::<_, String>(d.finish(false))
        };
        assert_eq!(of(&["none"]).unwrap(), (DisplayKind::None, None));
        assert_eq!(of(&["window"]).unwrap(), (DisplayKind::Window("-display window".into()), None));
        assert_eq!(of(&[]).unwrap(), (DisplayKind::Web(WebSpec::default()), None));
        let (kind, vnc) = of(&["vnc=:3,password=on"]).unwrap();
        assert_eq!((kind, vnc.map(|v| v.port)), (DisplayKind::None, Some(5903)));
        let (kind, _) = of(&["web,addr=127.0.0.1:8006"]).unwrap();
        assert!(matches!(kind, DisplayKind::Web(WebSpec { port: 8006, .. })));
        assert!(of(&["gtk"]).unwrap_err().starts_with("-display gtk: available: none, window, web"));
        assert!(of(&["web,addr=8006"]).unwrap_err().contains("addr=8006"));
        assert!(of(&["web,adr=x:1"]).unwrap_err().contains("did you mean addr?"));
        let headless = Displays::default().finish(true);
        assert_eq!(headless, (DisplayKind::None, None));
    }
}
