//! What monitors may know of and do to a remote display server (VNC), without knowing which one it is: `info vnc`,
//! `query-vnc`, `change vnc password`, `set_password`.

/// A client of a remote display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteClient {
    /// Its address, host and port.
    pub address: String,
    /// It came over a websocket.
    pub websocket: bool,
}

/// The state of a remote display server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteInfo {
    /// Host and port it listens on.
    pub address: String,
    /// The same for websockets.
    pub websocket: Option<String>,
    /// `none` or `vnc`: what clients must prove.
    pub auth: &'static str,
    /// Who is connected.
    pub clients: Vec<RemoteClient>,
}

/// A remote display server.
pub trait RemoteDisplay: Send + Sync {
    /// Where it is and who is there.
    fn info(&self) -> RemoteInfo;

    /// Sets the password (an empty one refuses everybody). `false` when the server was started without
    /// `password=on`.
    fn set_password(&self, password: &str) -> bool;

    /// From when, in seconds since 1970, the password lets nobody in any more; `None`: never.
    fn expire_password(&self, at: Option<u64>) -> bool;
}
