//! `console::audit` with a seeded stream; `fuzz/` feeds the same functions to libFuzzer. `WHPX_FUZZ_SEED` varies the stream.

use console::audit;

fn random() -> impl FnMut() -> u64 {
    let mut state =
        std::env::var("WHPX_FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x1234_5678_9ABC_DEF1u64);
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 11
    }
}

/// RFB client messages with random contents, most with a type that is one.
fn messages(next: &mut impl FnMut() -> u64) -> Vec<u8> {
    let mut bytes = b"RFB 003.008\n\x01\x01".to_vec();
    for _ in 0..next() % 40 {
        let (kind, len) =
            [(0u8, 19), (2, 11), (3, 9), (4, 7), (5, 5), (6, 9), (251, 23), (255, 11)][next() as usize % 8];
        bytes.push(kind);
        let start = bytes.len();
        bytes.extend((0..len).map(|_| if next().is_multiple_of(3) { next() as u8 } else { 0 }));
        if kind == 0 && !next().is_multiple_of(4) {
            bytes[start + 3] = [8, 16, 32][next() as usize % 3];
        }
        if kind == 2 {
            bytes[start + 1..start + 3].copy_from_slice(&[0, 2]);
        }
    }
    bytes
}

#[test]
fn seeded_vnc_clients() {
    let mut next = random();
    for round in 0..3000 {
        let mut bytes = messages(&mut next);
        if round % 3 == 0 {
            let at = next() as usize % bytes.len();
            bytes[at] = next() as u8;
        }
        audit::vnc(&bytes);
    }
}

#[test]
fn seeded_requests_and_frames() {
    let mut next = random();
    for round in 0..3000 {
        let mut bytes = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
        let rfb = messages(&mut next);
        for part in rfb.chunks(1 + next() as usize % 120) {
            let masked = part.len().min(125);
            bytes.extend([[0x82, 0x02, 0x80, 0x81, 0x89][next() as usize % 5], 0x80 | masked as u8, 0, 0, 0, 0]);
            bytes.extend(&part[..masked]);
        }
        if round % 2 == 0 {
            let at = next() as usize % bytes.len();
            bytes[at] = next() as u8;
        }
        audit::web(&bytes);
    }
}
