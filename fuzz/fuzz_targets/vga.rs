//! VGA: ports, window, extended registers, damaged states, with pictures in between (`devices::vga::audit`).
#![no_main]

use devices::vga::{VgaModel, audit::Audit};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let model = if data.first().is_some_and(|b| b & 7 == 7) { VgaModel::BochsDisplay } else { VgaModel::Standard };
    if let Some(mut audit) = Audit::new(model) {
        audit.feed(data.get(1..).unwrap_or(&[]));
    }
});
