//! A browser: request, websocket handshake, frames, and an RFB client in them (`console::audit`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| console::audit::web(data));
