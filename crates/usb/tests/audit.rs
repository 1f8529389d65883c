//! `usb::audit` with a seeded stream; `fuzz/` feeds the same functions to libFuzzer. `WHPX_FUZZ_SEED` varies the stream.

use usb::audit::{Kind, feed};

/// xorshift64*; half of the bytes are of those that schedules are made of.
fn stream(seed: u64, len: usize) -> Vec<u8> {
    const USUAL: [u8; 8] = [0, 1, 2, 0x10, 0x80, 0x0C, 0x20, 0x0D];
    let mut state = seed;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 24
    };
    let byte = |r: u64| if r & 1 == 0 { USUAL[(r >> 1) as usize & 7] } else { (r >> 8) as u8 };
    (0..len).map(|_| byte(next())).collect()
}

#[test]
fn seeded_streams() {
    let seed = std::env::var("WHPX_FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1u64);
    for kind in [Kind::Ehci, Kind::Uhci, Kind::Xhci] {
        for n in 0..60 {
            feed(kind, &stream(seed.wrapping_mul(0x9E37_79B9).wrapping_add(n * 77 + 1), 6000));
        }
    }
}
