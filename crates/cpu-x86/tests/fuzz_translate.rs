//! Arbitrary bytes into decoder and translator: never a panic, never an operand that was not translated (what is checked
//! is in `jit/audit.rs`); and run as guest code they never do anything to the host. `fuzz/` feeds the first to libFuzzer.
//!
//! `WHPX_DIFF_SEED` and `WHPX_DIFF_CASES` vary the stream.
#![cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
#![allow(unsafe_code)] // looks at the unit of the host

mod machine;
mod random;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cpu_x86::bus::Attention;
use cpu_x86::jit::audit::Fuzz;
use cpu_x86::{Stop, Tier};
use machine::tiers::{env, machine};
use machine::{CODE, DATA, STACK};
use random::Rng;

/// Bytes as a fuzzer makes them after a while: some are random, most begin like instructions.
fn bytes(rng: &mut Rng) -> Vec<u8> {
    const PREFIXES: [u8; 12] = [0x66, 0xF2, 0xF3, 0xF0, 0x65, 0x64, 0x67, 0x48, 0x41, 0x44, 0x4F, 0x2E];
    let mut out = vec![rng.next() as u8];
    let wild = rng.below(4) == 0;
    while out.len() < 2 + rng.below(160) as usize {
        if !wild {
            for _ in 0..rng.below(3) {
                out.push(PREFIXES[rng.below(12) as usize]);
            }
            match rng.below(8) {
                0..=2 => out.push(0x0F),
                3 => out.extend([0x0F, 0x38 | (rng.below(2) as u8 * 2)]),
                4 => out.extend([0xC5, rng.next() as u8]),
                5 => out.extend([0xC4, 0xE0 & rng.next() as u8 | (1 + rng.below(3) as u8), rng.next() as u8]),
                _ => {}
            }
        }
        let n = 1 + rng.below(6);
        out.extend((0..n).map(|_| rng.next() as u8));
    }
    out
}

#[test]
fn arbitrary_bytes_never_leave_an_operand_untranslated() {
    let (seed, cases) = (env("WHPX_DIFF_SEED", 1), env("WHPX_DIFF_CASES", 20_000));
    let mut fuzz = Fuzz::default();
    let mut found = 0;
    for case in 0..cases {
        let data = bytes(&mut Rng(seed << 32 ^ case << 8));
        found += fuzz.feed(&data);
    }
    assert!(found as u64 > cases, "only {found} memory operands were emitted");
}

#[test]
fn valid_programs_never_leave_an_operand_untranslated() {
    let (seed, cases) = (env("WHPX_DIFF_SEED", 1), env("WHPX_DIFF_CASES", 2000));
    let codes: Vec<_> = random::codes().into_iter().chain(random::stack_codes()).chain(random::evex_codes()).collect();
    let mut fuzz = Fuzz::default();
    let mut found = 0;
    for case in 0..cases {
        let mut rng = Rng(seed << 32 ^ case << 8);
        let mut data = vec![rng.next() as u8 | 4];
        data.extend(random::program(&mut rng, &codes, 0x1000, 40).code);
        found += fuzz.feed(&data);
    }
    assert!(found as u64 > 10 * cases, "only {found} memory operands were emitted");
}

/// What Rust code expects of the host's unit: the x87 control word and tags, MXCSR without its flags.
fn unit() -> (u16, u16, u32) {
    let (mut environment, mut mxcsr) = ([0u32; 7], 0u32);
    // SAFETY: stores the environment and MXCSR to local variables; FNSTENV masks exceptions, FLDENV undoes that.
    unsafe {
        std::arch::asm!(
            "fnstenv [{e}]", "fldenv [{e}]", "stmxcsr [{m}]",
            e = in(reg) environment.as_mut_ptr(), m = in(reg) &raw mut mxcsr,
        );
    }
    (environment[0] as u16, environment[2] as u16, mxcsr & !0x3F)
}

#[test]
fn arbitrary_bytes_run_and_the_host_stays_as_it_was() {
    let (seed, cases) = (env("WHPX_DIFF_SEED", 1), env("WHPX_DIFF_CASES", 3000));
    let mut m = machine(Tier::Translator);
    let attention = m.p.cpu.attention.clone();
    let (round, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut ends = [0u64; 3];
    let before = unit();
    std::thread::scope(|s| {
        // What loops is stopped.
        s.spawn(|| {
            let mut last = u64::MAX;
            while !done.load(Ordering::Relaxed) {
                let now = round.load(Ordering::Relaxed);
                if now == last {
                    attention.fetch_or(Attention::LEAVE, Ordering::SeqCst);
                }
                last = now;
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        for case in 0..cases {
            let mut rng = Rng(seed << 32 ^ case << 8);
            let data = bytes(&mut rng);
            if case % 64 == 0 {
                m.map_long(); // in case the page tables were written
            }
            m.set_cpl(3);
            assert!(m.bus.ram.write(CODE, &[0xCC; 0x200]) && m.bus.ram.write(CODE, &data[1..]));
            for r in &mut m.p.cpu.regs[..16] {
                *r = if rng.below(3) == 0 { rng.value() } else { DATA + rng.below(0x2000) };
            }
            m.p.cpu.regs[4] = STACK;
            m.p.cpu.rip = CODE;
            m.p.cpu.set_rflags(0x202);
            m.p.cpu.pending_db = 0;
            m.p.cpu.fpu.mxcsr = 0x1F80;
            m.p.cpu.fpu.fcw = 0x37F;
            attention.fetch_and(!Attention::LEAVE, Ordering::SeqCst);
            round.fetch_add(1, Ordering::Relaxed);
            ends[match m.run() {
                Stop::Exception(_) => 0,
                Stop::Attention => 1,
                _ => 2,
            }] += 1;
            assert_eq!(unit(), before, "{data:02x?}");
        }
        done.store(true, Ordering::Relaxed);
    });
    println!("exceptions, stopped, other: {ends:?}; {:?}", m.p.jit_statistics());
    assert!(ends[0] > cases / 2 && m.p.jit_statistics().entries > cases / 2);
}
