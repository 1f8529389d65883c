//! `query-vnc`, `set_password`, `expire_password`.

use serde_json::{Value, json};

use super::args::Args;
use super::error::{Outcome, QmpError};
use crate::args::CommandError;
use crate::context::Context;
use crate::vnc;

/// Host, port and family of `HOST:PORT`.
fn place(address: &str) -> Value {
    let (host, service) = address.rsplit_once(':').unwrap_or((address, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    json!({"host": host, "service": service, "family": if host.contains(':') { "ipv6" } else { "ipv4" }})
}

pub(super) fn query(c: &mut Context, _: &Args) -> Outcome {
    let Some(server) = c.machine.remote_display() else { return Ok(json!({"enabled": false})) };
    let info = server.info();
    let client = |c: &display::RemoteClient| {
        let mut v = place(&c.address);
        v["websocket"] = c.websocket.into();
        v
    };
    let mut v = place(&info.address);
    v["enabled"] = true.into();
    v["auth"] = info.auth.into();
    v["clients"] = info.clients.iter().map(client).collect();
    Ok(v)
}

fn done(outcome: crate::args::Outcome) -> Outcome {
    match outcome {
        Ok(_) => Ok(json!({})),
        Err(CommandError::Usage(text) | CommandError::Failed(text)) => Err(QmpError::new(text)),
    }
}

pub(super) fn set_password(c: &mut Context, args: &Args) -> Outcome {
    done(vnc::set(c, args.text("password")))
}

pub(super) fn expire_password(c: &mut Context, args: &Args) -> Outcome {
    done(vnc::expire(c, args.text("time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(place("127.0.0.1:5900"), json!({"host": "127.0.0.1", "service": "5900", "family": "ipv4"}));
        assert_eq!(place("[::1]:5900"), json!({"host": "::1", "service": "5900", "family": "ipv6"}));
    }
}
