//! Decoder and translator: arbitrary bytes never panic and never leave an operand untranslated (`cpu_x86::jit::audit`).
#![no_main]

use std::cell::RefCell;

use cpu_x86::jit::audit::Fuzz;

thread_local! {
    static FUZZ: RefCell<Fuzz> = RefCell::default();
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    FUZZ.with_borrow_mut(|fuzz| fuzz.feed(data));
});
