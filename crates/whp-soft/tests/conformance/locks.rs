//! Locked accesses across two pages that are neighbours for the guest only.

use cpu_x86::Tier;
use whp::*;
use whp_soft::{SoftOptions, SoftPlatform};

use crate::vm::{CODE, Vm};

/// Linear address of the pair of pages, and where they are.
const PAIR: u64 = 0x4000_0000;
const FIRST: u64 = 0x8_0000;
const SECOND: u64 = 0xA_0000;
const OTHER: u64 = 0x3000;

/// `top: lock add dword [rdi], 10001h; dec rcx; jne top; hlt`
const BOTH: [u8; 13] = [0xF0, 0x81, 0x07, 1, 0, 1, 0, 0x48, 0xFF, 0xC9, 0x75, 0xF4, 0xF4];
/// `top: lock inc word [rdi]; dec rcx; jne top; hlt`
const HALF: [u8; 10] = [0xF0, 0x66, 0xFF, 0x07, 0x48, 0xFF, 0xC9, 0x75, 0xF7, 0xF4];

fn four_processors(tier: Tier, each: u64) {
    let v = Vm::new(&SoftPlatform::new(SoftOptions { tier, ..SoftOptions::default() }), 4, vec![]);
    let put = |at: u64, entry: u64| v.load(at, &entry.to_le_bytes());
    for n in 0..4 {
        // Two add to four bytes across the border, one to each half of them, inside its page.
        v.long(n, &BOTH);
        let code = if n < 2 { CODE } else { OTHER };
        let at = PAIR + if n == 3 { 0x1000 } else { 0xFFE };
        v.set(n, RegisterName::RIP, code);
        v.set(n, RegisterName::RDI, at);
        v.set(n, RegisterName::RCX, each);
    }
    v.load(OTHER, &HALF);
    put(0x2_1008, 0x2_4003);
    put(0x2_4000, 0x2_5003);
    put(0x2_5000, FIRST | 3);
    put(0x2_5008, SECOND | 3);
    std::thread::scope(|s| {
        for vp in &v.vps {
            s.spawn(move || {
                loop {
                    match vp.run(None).expect("it runs").exit {
                        Exit::Halt => break,
                        Exit::Canceled => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    let (low, high) = (v.u32(FIRST + 0xFFC) >> 16, v.u32(SECOND) & 0xFFFF);
    assert_eq!((u64::from(low), u64::from(high)), (3 * each, 3 * each), "{tier:?}");
}

#[test]
fn locks_across_pages_that_are_apart_exclude_those_inside_them() {
    four_processors(Tier::Interpreter, 6000);
    four_processors(Tier::Translator, 20_000);
}
