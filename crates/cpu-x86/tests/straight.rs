//! Straight-line code, the translator against the interpreter: random instructions with pushes, pops, variables of large
//! frames and members of structures, flags that are live across them; bases near the ends of pages; pages that are missing,
//! read-only, device memory, aliases, or that hold code.
//!
//! `WHPX_DIFF_SEED` and `WHPX_DIFF_CASES` vary them.
#![cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]

mod machine;
mod random;

use cpu_x86::{Stop, Tier};
use iced_x86::code_asm::*;
use machine::tiers::{env, machine};
use machine::{CODE, DEVICE, Machine, P, U, W};
use random::Rng;

const AREA: u64 = 0x40_0000;
const AREA_LEN: usize = 0x10000;
const MIDDLE: u64 = AREA + AREA_LEN as u64 / 2;
/// Where a RET goes.
const OUT: u64 = 0x6_0000;
/// Jumps to the code from a page of its own.
const ELSEWHERE: u64 = 0x5_0000;

/// What code uses as bases; R13 and R14 are not in host registers.
const BASES: [AsmRegister64; 6] = [rsp, rdi, rbx, r13, r14, rbp];
const OTHERS: [AsmRegister64; 7] = [rax, rcx, rdx, rsi, r8, r12, r15];

fn one(a: &mut CodeAssembler, rng: &mut Rng) -> Result<(), IcedError> {
    let base = if rng.below(3) == 0 { rsp } else { BASES[rng.below(6) as usize] };
    let disp = [0, 8, 16, 24, -8, -16, 4, 1, 0x38, 0x400, 0x408, 0x410, 0x1C0][rng.below(13) as usize];
    let m = base + disp;
    let r = OTHERS[rng.below(7) as usize];
    let step = [8, 16, -8, 64, -32, 1][rng.below(6) as usize];
    match rng.below(40) {
        0..=4 => a.push(r),
        5 => a.push(base),
        6 => a.push(0x1234_5678),
        7..=10 => a.pop(r),
        11 => a.pop(base),
        12..=14 => a.mov(r, qword_ptr(m)),
        15 => a.mov(base, base),
        16..=18 => a.mov(qword_ptr(m), r),
        19 => a.mov(byte_ptr(m), dl),
        20 => a.movzx(ecx, word_ptr(m)),
        21 => a.mov(dword_ptr(m), 77),
        22 => a.add(qword_ptr(m), r),
        23 => a.sub(r, qword_ptr(m)),
        24 => a.lock().xadd(qword_ptr(m), r),
        25 => a.xadd(qword_ptr(m), base),
        26 => a.add(base, step),
        27 => a.sub(base, step),
        28 => a.lea(base, base + step),
        29 => a.mov(r, base),
        30 => a.cmp(rax, qword_ptr(m)),
        31 => a.adc(rdx, rcx),
        32 => a.sete(byte_ptr(m)),
        33 => a.cmovc(rsi, qword_ptr(m)),
        34 => a.test(rcx, rcx),
        35 => a.mov(r, qword_ptr(base + r12 * 2 + disp)),
        36 => a.prefetcht0(byte_ptr(m)),
        37 => a.shl(rax, cl),
        38 => a.setc(al),
        _ => a.movdqu(xmm1, xmmword_ptr(m)),
    }
}

/// What is in no host register: R13 and R14 as pointers, R12 and R15 as data.
fn in_memory(a: &mut CodeAssembler, rng: &mut Rng) -> Result<(), IcedError> {
    let mut pick = |of: &[AsmRegister64]| of[rng.below(of.len() as u64) as usize];
    let (p, q) = (pick(&[r13, r14]), pick(&[r13, r14, rdi]));
    let (d, s) = (pick(&[r12, r15, r12, r15, rax]), pick(&[r12, r15, r12, r15, rcx]));
    let m = pick(&[r13, r14, r13, r14, rbx, rsp]) + [0, 8, 16, -8, 4, 0x38, 1][rng.below(7) as usize];
    match rng.below(32) {
        0 | 1 => a.mov(d, s),
        2 => a.mov(p, q),
        3 => a.add(p, 8),
        4 => a.lea(p, q + 16),
        5 => a.lea(d, s + rax * 2 + 5),
        6 => a.lea(d, rcx + s * 4 - 7),
        7 | 8 => a.add(d, s),
        9 => a.sbb(d, s),
        10 => a.sub(d, s),
        11 => a.shl(d, cl),
        12 => a.cmovb(d, s),
        13 => a.setb(r12b),
        14 => a.movzx(r15d, r12b),
        15 => a.mov(r12d, r15d),
        16 => a.mov(r15w, r12w),
        17 => a.xchg(r12, r15),
        18 => a.bswap(d),
        19 => a.not(d),
        20..=22 => a.mov(d, qword_ptr(m)),
        23 => a.mov(qword_ptr(m), s),
        24 => a.add(d, qword_ptr(m)),
        25 => a.add(qword_ptr(m), s),
        26 => a.cmp(d, qword_ptr(m)),
        27 => a.mov(r12d, dword_ptr(m)),
        28 => a.push(s),
        29 => a.pop(d),
        30 => a.movzx(r15, byte_ptr(m)),
        _ => a.mov(r12, qword_ptr(p + rdx * 8)),
    }
}

/// Strings, single elements, upwards and downwards.
fn strings(a: &mut CodeAssembler, rng: &mut Rng) -> Result<(), IcedError> {
    let disp = [0, 8, -8, 4, 1, 0x38, 0x400, 0xFF9][rng.below(8) as usize];
    let base = BASES[rng.below(6) as usize];
    match rng.below(32) {
        0 | 1 => a.movsb(),
        2 | 3 => a.movsw(),
        4 | 5 => a.movsd(),
        6 | 7 => a.movsq(),
        8 => a.stosb(),
        9 => a.stosw(),
        10 => a.stosd(),
        11 => a.stosq(),
        12 => a.lodsb(),
        13 => a.lodsw(),
        14 => a.lodsd(),
        15 => a.lodsq(),
        16 => a.std(),
        17..=19 => a.cld(),
        20..=22 => a.lea(rsi, base + disp),
        23 | 24 => a.lea(rdi, base + disp),
        25 => a.mov(qword_ptr(rdi + disp), rax),
        26 => a.cmp(rax, qword_ptr(rsi)),
        27 => a.adc(rax, rcx),
        28 => a.push(rsi),
        29 => a.pop(rax),
        30 => a.setc(al),
        _ => a.mov(r12, rax),
    }
}

fn program(rng: &mut Rng) -> (Vec<u8>, String) {
    let mut a = CodeAssembler::new(64).expect("an assembler");
    let any = [one, in_memory, strings][rng.below(3) as usize];
    for _ in 0..3 + rng.below(20) {
        any(&mut a, rng).expect("an instruction");
    }
    if rng.below(2) == 0 {
        a.mov(qword_ptr(rsp), OUT as i32).expect("a store");
        a.ret().expect("a return");
    } else {
        a.hlt().expect("an end");
    }
    let text = a.instructions().iter().map(|i| format!("{i}\n")).collect();
    (a.assemble(CODE).expect("code"), text)
}

fn prepare(m: &mut Machine, seed: u64) {
    let mut rng = Rng(seed);
    // Pages that follow each other do not in physical memory.
    for at in (AREA..AREA + AREA_LEN as u64).step_by(0x1000) {
        m.set_pte(at, at ^ 0x5000 | P | W | U);
    }
    for _ in 0..rng.below(3) {
        let at = MIDDLE - 0x2000 + 0x1000 * rng.below(4);
        let entry = match rng.below(6) {
            0 => 0,
            1 => at | P | U,
            2 => DEVICE | P | W | U,
            3 => MIDDLE | P | W | U,
            _ => ELSEWHERE | P | W | U, // code has run there
        };
        m.set_pte(at, entry);
    }
    let data: Vec<u8> = (0..AREA_LEN).map(|_| rng.next() as u8).collect();
    assert!(m.bus.ram.write(AREA, &data));
    for n in 0..16 {
        m.p.cpu.regs[n] = rng.value();
    }
    let near = |rng: &mut Rng| {
        let page = MIDDLE - 0x1000 * rng.below(2);
        page + [0, 8, 0x10, 0xFF8, 0xFF9, 0xFC0, 0x800, 0x804, 0xF00, 3][rng.below(10) as usize]
    };
    for r in [4usize, 7, 3, 13, 14, 5] {
        m.p.cpu.regs[r] = near(&mut rng);
    }
    m.p.cpu.regs[12] = rng.below(64);
    m.p.cpu.regs[2] = rng.below(64);
    let flags = rng.next() & cpu_x86::flags::rflags::ARITH;
    m.p.cpu.set_rflags(flags);
}

fn run(m: &mut Machine, code: &[u8], seed: u64) -> (String, Vec<u8>) {
    prepare(m, seed);
    // (As a program it ends with a fault.)
    m.set_cpl(if seed & 3 == 3 { 3 } else { 0 });
    assert!(m.bus.ram.write(CODE, code));
    assert!(m.bus.ram.write(OUT, &[0xF4]));
    m.bus.device_writes.clear();
    m.bus.device_reads.clear();
    m.code(ELSEWHERE, |a| a.jmp(CODE).expect("room"));
    let stop = m.run();
    let mut data = vec![0; AREA_LEN];
    assert!(m.bus.ram.read(AREA, &mut data));
    let mut page = vec![0; 4096];
    assert!(m.bus.ram.read(ELSEWHERE, &mut page));
    data.extend(page);
    let flags = if stop == Stop::Halt { m.p.cpu.rflags() } else { 0 };
    let (writes, reads) = (&m.bus.device_writes, &m.bus.device_reads);
    let xmm = &m.p.cpu.fpu.zmm[1][..16];
    let text = format!(
        "{stop:x?}\nrip {:x} flags {flags:x}\nregs {:x?}\nxmm1 {xmm:x?}\nwrites {writes:x?}\nreads {reads:x?}",
        m.p.cpu.rip,
        &m.p.cpu.regs[..16],
    );
    (text, data)
}

#[test]
fn random_code_does_what_the_interpreter_does() {
    let (seed, cases) = (env("WHPX_DIFF_SEED", 1), env("WHPX_DIFF_CASES", 6000));
    let (mut a, mut b) = (machine(Tier::Interpreter), machine(Tier::Translator));
    let (mut halts, mut blocks) = (0, 0);
    for case in 0..cases {
        // What they store anywhere may destroy the page tables in the long run.
        if case % 1000 == 999 {
            blocks += b.p.jit_statistics().blocks;
            (a, b) = (machine(Tier::Interpreter), machine(Tier::Translator));
        }
        let (code, text) = program(&mut Rng(seed << 32 | case));
        for round in 0..3 {
            let seed = seed ^ case << 8 ^ round;
            let (x, y) = (run(&mut a, &code, seed), run(&mut b, &code, seed));
            halts += u64::from(a.last == Some(Stop::Halt));
            assert_eq!(x.0, y.0, "case {case} round {round}\n{text}");
            let different = x.1.iter().zip(&y.1).position(|(a, b)| a != b);
            assert_eq!(different, None, "memory: case {case} round {round}\n{text}");
        }
    }
    blocks += b.p.jit_statistics().blocks;
    assert!(blocks >= cases && halts > cases / 2, "{blocks}, {halts}");
}
