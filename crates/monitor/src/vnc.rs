//! `info vnc`, `change vnc password`, `set_password` and `expire_password`: the remote display's commands.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use display::{RemoteDisplay, RemoteInfo};

use crate::args::{CommandError, Outcome, failed, usage};
use crate::commands::some_words;
use crate::context::Context;

const NO_PASSWORD: &str = "the VNC server was started without password=on";

fn server(context: &Context) -> Result<Arc<dyn RemoteDisplay>, CommandError> {
    context.machine.remote_display().ok_or_else(|| failed("there is no VNC server; start with -vnc"))
}

pub(crate) fn set(context: &Context, password: &str) -> Outcome {
    if server(context)?.set_password(password) { Ok(String::new()) } else { Err(failed(NO_PASSWORD)) }
}

/// `change vnc password SECRET`; the words after `vnc`.
pub(crate) fn change(context: &Context, words: &[String]) -> Outcome {
    match words {
        [what, password] if what == "password" => set(context, password),
        [what] if what == "password" => Err(usage("the password is missing: change vnc password SECRET")),
        _ => Err(usage("only the password of vnc can be changed")),
    }
}

fn is_vnc(protocol: &str) -> Result<(), CommandError> {
    if protocol == "vnc" { Ok(()) } else { Err(failed(format!("'{protocol}': only vnc is there"))) }
}

pub(crate) fn set_password(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 2, 3)?;
    let [protocol, password, connected @ ..] = words.as_slice() else { return Err(usage("missing argument")) };
    is_vnc(protocol)?;
    if connected.first().is_some_and(|c| c != "keep") {
        return Err(failed("clients that are connected are kept"));
    }
    set(context, password)
}

pub(crate) fn expire_password(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 2, 2)?;
    let [protocol, when] = words.as_slice() else { return Err(usage("missing argument")) };
    is_vnc(protocol)?;
    expire(context, when)
}

pub(crate) fn expire(context: &Context, when: &str) -> Outcome {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let at = expiry(when, now).ok_or_else(|| usage("expected now, never, +SECONDS, or seconds since 1970"))?;
    if server(context)?.expire_password(at) { Ok(String::new()) } else { Err(failed(NO_PASSWORD)) }
}

/// `Some(None)`: never.
fn expiry(when: &str, now: u64) -> Option<Option<u64>> {
    match (when, when.strip_prefix('+')) {
        ("never", _) => Some(None),
        ("now", _) => Some(Some(now)),
        (_, Some(seconds)) => seconds.parse::<u64>().ok().map(|s| Some(now.saturating_add(s))),
        _ => when.parse().ok().map(Some),
    }
}

pub(crate) fn info(context: &mut Context, rest: &str) -> Outcome {
    some_words(rest, 0, 0)?;
    Ok(context.machine.remote_display().map_or_else(|| "None\n".into(), |d| show(&d.info())))
}

fn show(info: &RemoteInfo) -> String {
    let mut text = format!("default:\n  Server: {}\n    Auth: {}\n", info.address, info.auth);
    if let Some(websocket) = &info.websocket {
        let _ = writeln!(text, "  Server: {websocket} (websocket)\n    Auth: {}", info.auth); // a String takes it
    }
    for client in &info.clients {
        let kind = if client.websocket { " (websocket)" } else { "" };
        let _ = writeln!(text, "  Client: {}{kind}", client.address);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use display::RemoteClient;

    #[test]
    fn expiry_times() {
        assert_eq!((expiry("never", 5), expiry("now", 5)), (Some(None), Some(Some(5))));
        assert_eq!((expiry("+7", 5), expiry("7", 5), expiry("soon", 5)), (Some(Some(12)), Some(Some(7)), None));
    }

    #[test]
    fn who_is_connected() {
        let clients = vec![RemoteClient { address: "127.0.0.1:9".into(), websocket: true }];
        let info = RemoteInfo { address: "127.0.0.1:5900".into(), websocket: None, auth: "vnc", clients };
        let expected = "default:\n  Server: 127.0.0.1:5900\n    Auth: vnc\n  Client: 127.0.0.1:9 (websocket)\n";
        assert_eq!(show(&info), expected);
    }
}
