//! QMP text: values out of a stream of bytes, and arguments against every command's list (`monitor::audit`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    monitor::audit::qmp(data);
});
