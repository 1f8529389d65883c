//! The web console: a page, served by the program itself, with the guest's screen, keyboard, pointer and text consoles.
//!
//! The address has a random token in its path, so that only who was told it gets in; requests must name the server by
//! an IP address or `localhost` (a name that somebody else resolves to it is refused: DNS rebinding), and pages from
//! elsewhere may neither load nor connect (Origin, Sec-Fetch-Site; CORS is never allowed). Left out: TLS (it listens on
//! the loopback address unless told otherwise; use an SSH tunnel), and several users with different rights.

mod guest;
mod server;
mod session;

pub use guest::{Guest, GuestCommand, GuestStatus};
pub use server::{WebConsole, WebError, WebOptions};

#[cfg(test)]
mod tests;
