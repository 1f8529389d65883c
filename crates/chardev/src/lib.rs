//! Character back ends: stdio, file, pipe, pty, tcp and unix sockets, ring buffer, null; and the Ctrl-A multiplexer.
//!
//! A [`Chardev`] is one host-side byte stream. What uses it (a UART, the monitor) is attached and gets a
//! [`CharPort`]: it writes into a bounded queue that a writer thread empties, and takes input out of another bounded
//! queue that a reader thread fills. Neither call blocks. Both directions are lossless while the other side is
//! there: a full output queue refuses bytes and says [`CharEvent::Writable`] when there is room again; a full input
//! queue makes the reader thread wait. Output to a peer that is not there (nobody connected) is dropped.
//!
//! Unsafe code: terminal modes, pseudo terminals and signal handlers are only to be had through libc.
#![allow(unsafe_code)]

mod backend;
mod config;
mod core;
mod mux;
#[cfg(unix)]
mod pty;
mod stdio;

pub use config::{CharConfig, CharError, CharKind, LogFile};
pub use core::{CharEvent, CharFrontend, CharPeer, CharPort, Chardev};
pub use stdio::restore_terminal;
