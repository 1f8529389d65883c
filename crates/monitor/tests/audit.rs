//! `monitor::audit` with a seeded stream of damaged commands; `fuzz/` feeds the same to libFuzzer. `WHPX_FUZZ_SEED` varies the stream.

use monitor::audit::qmp;

const COMMANDS: [&str; 8] = [
    r#"{"execute": "qmp_capabilities"}"#,
    r#"{"execute": "send-key", "arguments": {"keys": [{"type": "qcode", "data": "ret"}]}}"#,
    r#"{'execute': 'blockdev-add', 'arguments': {'driver': 'qcow2', 'node-name': 'n', 'file': {'driver': 'file'}}}"#,
    r#"{"execute": "screendump", "arguments": {"filename": "\u00e9\\\"x"}, "id": [1, 2.5e3, null, true]}"#,
    r#"{"execute": "input-send-event", "arguments": {"events": [{"type": "abs", "data": {"axis": "x", "value": -1}}]}}"#,
    "[[[[[{}]]]]]",
    "true nonsense",
    "\u{1}\u{1f} {}",
];

#[test]
fn seeded_streams() {
    let seed = std::env::var("WHPX_FUZZ_SEED").ok().and_then(|s| s.parse().ok());
    let mut state = seed.unwrap_or(0x2545_F491_4F6C_DD1Du64);
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize
    };
    let (mut values, mut errors) = (0, 0);
    for _ in 0..4000 {
        let mut bytes = vec![];
        for _ in 0..next() % 6 {
            bytes.extend(COMMANDS[next() % COMMANDS.len()].as_bytes());
            bytes.push(b'\n');
        }
        for _ in 0..next() % 5 {
            if bytes.is_empty() {
                break;
            }
            let at = next() % bytes.len();
            match next() % 4 {
                0 => bytes[at] = next() as u8,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"{}[]\"'\\:,\xFF\n"[next() % 11]),
                _ => bytes.truncate(at),
            }
        }
        let (v, e) = qmp(&bytes);
        (values, errors) = (values + v, errors + e);
    }
    assert!(values > 1000 && errors > 1000, "{values} values, {errors} errors: the stream is not what it should be");
}

#[test]
fn deep_and_long_values_are_errors() {
    assert_eq!(qmp(&[b"[".repeat(100_000), b"]".repeat(100_000), b"\n{}\n".to_vec()].concat()), (1, 1));
    assert_eq!(qmp(&[b"{\"a\": \"".to_vec(), vec![b'x'; 3 << 20], b"\"}\n{}\n".to_vec()].concat()), (1, 1));
}
