//! How long it takes from `cancel` to the end of a run: `kick [interpreter|translator] [COUNT]` prints median and 99th
//! percentile in microseconds, for a processor in a loop with calls, loads and stores.
//! `cargo xtask bench kick` runs it.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use cpu_x86::Tier;
use whp::Exit;
use whp_soft::{SoftOptions, SoftPlatform};

#[path = "../tests/conformance/vm.rs"]
#[allow(dead_code, unreachable_pub, missing_docs)]
mod vm;

/// `top: inc rax; mov [rdi], rax; add rcx, [rdi]; lea rdx, [rcx+rax]; call f; jmp top; f: xor rdx, rax; ret`
const LOOP: [u8; 24] = [
    0x48, 0xFF, 0xC0, 0x48, 0x89, 0x07, 0x48, 0x03, 0x0F, 0x48, 0x8D, 0x14, 0x01, 0xE8, 2, 0, 0, 0, 0xEB, 0xEC, 0x48,
    0x31, 0xC2, 0xC3,
];

fn main() {
    let mut args = std::env::args().skip(1);
    let tier = match args.next().as_deref() {
        Some("interpreter") => Tier::Interpreter,
        _ => Tier::Translator,
    };
    let count = args.next().and_then(|n| n.parse().ok()).unwrap_or(2000);
    let platform = SoftPlatform::new(SoftOptions { tier, ..SoftOptions::default() });
    let vm = vm::Vm::new(&platform, 1, vec![]);
    vm.long(0, &LOOP);
    vm.set(0, whp::RegisterName::RDI, 0x8000u64);
    let vp = Arc::clone(&vm.vps[0]);
    let (start, started) = channel::<()>();
    let (end, ended) = channel();
    let runner = std::thread::spawn(move || {
        while started.recv().is_ok() {
            let context = vp.run(None).expect("the processor runs");
            assert_eq!(context.exit, Exit::Canceled);
            if end.send(Instant::now()).is_err() {
                break;
            }
        }
    });
    let mut all: Vec<Duration> = (0..count)
        .map(|n| {
            start.send(()).expect("the runner waits");
            // Not always at the same place of the loop, and past the start of the run.
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_micros(200 + n % 37) {
                std::hint::spin_loop();
            }
            let kicked = Instant::now();
            vm.vps[0].cancel();
            ended.recv().expect("the run ends").saturating_duration_since(kicked)
        })
        .collect();
    drop(start);
    runner.join().expect("the runner ends");
    all.sort_unstable();
    let at = |part: usize| all.get(all.len() * part / 100).map_or(0.0, |d| d.as_secs_f64() * 1e6);
    println!("KICK runs={} median={:.2} p99={:.2} us", all.len(), at(50), at(99));
}
