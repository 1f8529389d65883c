//! What reading the time-stamp counter costs a guest: `rdtsc [interpreter|translator] [COUNT]` prints readings a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cpu_x86::Tier;
use whp::Exit;
use whp_soft::{SoftOptions, SoftPlatform};

#[path = "../tests/conformance/vm.rs"]
#[allow(dead_code, unreachable_pub, missing_docs)]
mod vm;

/// `top: rdtsc; dec rcx; jne top; hlt`
const LOOP: [u8; 8] = [0x0F, 0x31, 0x48, 0xFF, 0xC9, 0x75, 0xF9, 0xF4];

fn main() {
    let mut args = std::env::args().skip(1);
    let tier = match args.next().as_deref() {
        Some("interpreter") => Tier::Interpreter,
        _ => Tier::Translator,
    };
    let count: u64 = args.next().and_then(|n| n.parse().ok()).unwrap_or(20_000_000);
    let platform = SoftPlatform::new(SoftOptions { tier, ..SoftOptions::default() });
    let vm = vm::Vm::new(&platform, 1, vec![]);
    // (The rate of the host's counter is known after a while.)
    std::thread::sleep(Duration::from_millis(150));
    vm.long(0, &LOOP);
    vm.set(0, whp::RegisterName::RCX, count);
    let vp = Arc::clone(&vm.vps[0]);
    let start = Instant::now();
    let exit = vp.run(None).expect("the processor runs").exit;
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(exit, Exit::Halt);
    println!("RDTSC {:.1} M/s, {:.1} ns each", count as f64 / seconds / 1e6, seconds * 1e9 / count as f64);
}
