//! Character back ends: stdio, file, pty, tcp, mux.
