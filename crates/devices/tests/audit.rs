//! `devices::vga::audit` with a seeded stream; `fuzz/` feeds the same to libFuzzer. `WHPX_FUZZ_SEED` varies the stream.

use devices::vga::VgaModel;
use devices::vga::audit::Audit;

#[test]
fn seeded_streams() {
    let seed = std::env::var("WHPX_FUZZ_SEED").ok().and_then(|s| s.parse().ok());
    let mut state = seed.unwrap_or(0x9E37_79B9_7F4A_7C15u64);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as u8
    };
    for model in [VgaModel::Standard, VgaModel::BochsDisplay] {
        for _ in 0..6 {
            let mut audit = Audit::new(model).unwrap();
            let data: Vec<u8> = (0..8000).map(|_| next()).collect();
            audit.feed(&data);
        }
    }
}
