//! UHCI: schedules in guest memory, registers, input, time (`usb::audit`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usb::audit::feed(usb::audit::Kind::Uhci, data));
