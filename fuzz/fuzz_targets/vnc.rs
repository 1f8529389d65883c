//! A VNC client: handshake and messages (`console::audit`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| console::audit::vnc(data));
