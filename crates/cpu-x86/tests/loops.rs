//! Loops of one block, the translator against the interpreter: random strides, sizes, directions and registers; operands
//! that cross pages; pages that are missing, read-only, device memory, or that hold the loop itself, in the middle of it.
//!
//! `WHPX_DIFF_SEED` and `WHPX_DIFF_CASES` vary them.
#![cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]

mod machine;
mod random;

use cpu_x86::flags::rflags::AC;
use cpu_x86::fpu::{XCR0_AVX512, supported_xcr0};
use cpu_x86::state::cr::CR4_SMAP;
use cpu_x86::{Stop, Tier};
use iced_x86::code_asm::*;
use machine::tiers::{env, machine};
use machine::{CODE, DEVICE, Machine, P, U, W};
use random::Rng;

/// The loops walk here; what they reach around it is RAM, too.
const AREA: u64 = 0x40_0000;
const AREA_LEN: usize = 0x40000;
const MIDDLE: u64 = AREA + AREA_LEN as u64 / 2;

/// Pointers; R12 to R15 are not in host registers.
const POINTERS: [AsmRegister64; 6] = [rsi, rdi, rbx, r9, r13, r14];
const STEPS: [i32; 20] = [0, 1, 2, 4, 8, 8, 16, 16, 32, 32, 24, 12, 64, 512, 1000, 1024, -8, -16, -32, -512];

struct Program {
    code: Vec<u8>,
    text: String,
    /// R11 ends it, in steps of this.
    unit: u64,
}

/// Jumps to the loop from a page of its own, which stores in the loop may change.
const ELSEWHERE: u64 = 0x5_0000;

/// One instruction with a memory operand.
fn access(a: &mut CodeAssembler, rng: &mut Rng, m: AsmMemoryOperand) -> Result<(), IcedError> {
    let evex = supported_xcr0() & XCR0_AVX512 != 0;
    match rng.below(if evex { 39 } else { 35 }) {
        0 => a.mov(rax, qword_ptr(m)),
        1 => a.add(rdx, qword_ptr(m)),
        2 => a.movzx(r8d, byte_ptr(m)),
        3 => a.mov(r12, qword_ptr(m)),
        4 => a.xor(r12d, dword_ptr(m)),
        5 => a.mov(qword_ptr(m), rax),
        6 => a.mov(qword_ptr(m), r12),
        7 => a.mov(byte_ptr(m), dl),
        8 => a.add(qword_ptr(m), rdx),
        9 => a.sub(dword_ptr(m), 3),
        10 => a.lock().xadd(qword_ptr(m), r8),
        11 => a.xchg(qword_ptr(m), r12),
        12 => a.movdqu(xmm0, xmmword_ptr(m)),
        13 => a.paddd(xmm1, xmmword_ptr(m)),
        14 => a.movdqa(xmmword_ptr(m), xmm1),
        15 => a.movups(xmmword_ptr(m), xmm0),
        16 => a.vpaddd(ymm2, ymm1, ymmword_ptr(m)),
        17 => a.vmovdqu(ymmword_ptr(m), ymm2),
        18 => a.adc(rax, qword_ptr(m)),
        19 => a.cmp(word_ptr(m), 7),
        20 => a.movsd_2(xmm3, qword_ptr(m)),
        21 => a.not(qword_ptr(m)),
        22 => a.cvtsi2sd(xmm3, qword_ptr(m)),
        23 => a.fld(tbyte_ptr(m)),
        24 => a.fstp(tbyte_ptr(m)),
        25 => a.fld(qword_ptr(m)),
        26 => a.fadd(dword_ptr(m)),
        27 => a.fst(qword_ptr(m)),
        28 => a.fistp(word_ptr(m)),
        29 => a.fild(qword_ptr(m)),
        30 => a.fnstsw(word_ptr(m)),
        31 => a.movq(mm2, qword_ptr(m)),
        32 => a.paddw(mm2, qword_ptr(m)),
        33 => a.movq(qword_ptr(m), mm2),
        35 => a.vpaddd(zmm2.k1(), zmm1, zmmword_ptr(m)),
        36 => a.vmovdqu64(zmmword_ptr(m), zmm2),
        37 => a.vpxorq(zmm17, zmm2, zmmword_ptr(m)),
        38 => a.vpcmpeqd(k1, ymm2, ymmword_ptr(m)),
        _ => a.cmovc(r12, qword_ptr(m)),
    }
}

fn program(rng: &mut Rng) -> Program {
    let mut unit = 1;
    let mut make = |rng: &mut Rng| -> Result<CodeAssembler, IcedError> {
        let mut a = CodeAssembler::new(64)?;
        let mut top = a.create_label();
        a.set_label(&mut top)?;
        let pointers: Vec<AsmRegister64> = (0..1 + rng.below(3)).map(|_| POINTERS[rng.below(6) as usize]).collect();
        let index = rng.below(3) == 0;
        for _ in 0..1 + rng.below(5) {
            let p = pointers[rng.below(pointers.len() as u64) as usize];
            let disp = [0, 0, 8, 16, -16, 32, 0x180, 5][rng.below(8) as usize];
            let m = match rng.below(8) {
                0 | 1 if index => p + rcx * [1, 2, 4, 8][rng.below(4) as usize] + disp,
                2 => rbp + disp,
                3 => rsp - 64 + disp,
                4 => qword_ptr(MIDDLE + 0x100),
                _ => p + disp,
            };
            access(&mut a, rng, m)?;
            if rng.below(3) == 0 {
                // In the middle of the round.
                let step = STEPS[rng.below(STEPS.len() as u64) as usize];
                match rng.below(3) {
                    0 => a.add(p, step)?,
                    1 => a.sub(p, step)?,
                    _ => a.lea(p, p + step)?,
                }
            }
            if rng.below(6) == 0 {
                a.imul_2(rdx, rax)?;
            }
        }
        for p in &pointers {
            a.add(*p, STEPS[rng.below(STEPS.len() as u64) as usize])?;
        }
        match rng.below(5) {
            0 => a.dec(rcx)?,
            1 => {
                // Keeps CF, which the next round may read.
                a.lea(rcx, rcx - 1)?;
                a.inc(r10)?;
                a.dec(r10)?;
                a.dec(r11)?;
            }
            2 => {
                unit = 24;
                a.add(r10, 24)?;
                a.cmp(r10, r11)?;
            }
            3 => {
                a.inc(r15)?;
                a.sub(rcx, 1)?;
            }
            _ => {
                a.sub(r11, 1)?;
                a.test(rcx, rcx)?;
                a.dec(rcx)?;
            }
        }
        a.jne(top)?;
        a.hlt()?;
        Ok(a)
    };
    let mut a = make(rng).expect("an assembler");
    let text = a.instructions().iter().map(|i| format!("{i}\n")).collect();
    Program { code: a.assemble(CODE).expect("code"), text, unit }
}

/// What is special about the pages.
fn prepare(m: &mut Machine, unit: u64, seed: u64) {
    let mut rng = Rng(seed);
    for at in (AREA..AREA + AREA_LEN as u64).step_by(0x1000) {
        m.set_pte(at, at | P | W | U);
    }
    let some = |rng: &mut Rng| MIDDLE - 0x4000 + 0x1000 * rng.below(8);
    for _ in 0..rng.below(3) {
        let at = some(&mut rng);
        let entry = match rng.below(5) {
            0 => 0,
            1 => at | P | U,
            2 => DEVICE | P | W | U,
            3 => MIDDLE | P | W | U, // an alias
            _ => ELSEWHERE | P | W | U,
        };
        m.set_pte(at, entry);
    }
    let data: Vec<u8> = (0..AREA_LEN).map(|_| rng.next() as u8).collect();
    assert!(m.bus.ram.write(AREA, &data));
    for n in 0..16 {
        m.p.cpu.regs[n] = rng.value();
        for b in m.p.cpu.fpu.zmm[n][..32].chunks_exact_mut(4) {
            b.copy_from_slice(&(rng.below(2000) as f32 / 7.0).to_bits().to_le_bytes());
        }
    }
    let near = |rng: &mut Rng| MIDDLE - 0x1000 + [0, 0xFF0, 0xFF9, 0x800, 0x120, 3][rng.below(6) as usize];
    for r in [3usize, 6, 7, 9, 13, 14, 5] {
        m.p.cpu.regs[r] = near(&mut rng);
    }
    m.p.cpu.regs[4] = MIDDLE + 0x8000 + 8 * rng.below(4);
    let rounds = [1, 2, 5, 30, 200, 255, 256, 257, 700][rng.below(9) as usize];
    m.p.cpu.regs[1] = rounds;
    m.p.cpu.regs[10] = 0;
    m.p.cpu.regs[11] = rounds * unit;
    let flags = rng.next() & cpu_x86::flags::rflags::ARITH;
    // Now and then as a kernel that copies from and to a program: nothing that is found then may be kept.
    let copies = rng.below(4) == 0;
    m.p.cpu.cr4 = m.p.cpu.cr4 & !CR4_SMAP | if copies { CR4_SMAP } else { 0 };
    m.p.cpu.set_rflags(flags | if copies { AC } else { 0 });
    m.p.cpu.update_mode();
}

fn run(m: &mut Machine, program: &Program, seed: u64) -> (String, Vec<u8>) {
    prepare(m, program.unit, seed);
    let fpu = &mut *m.p.cpu.fpu;
    (fpu.fcw, fpu.fsw, fpu.ftw) = (0x37F | (seed as u16 & 3) << 10, seed as u16 & 0x3800, seed as u8);
    fpu.st = [[0x3F; 16]; 8];
    assert!(m.bus.ram.write(CODE, &program.code));
    m.bus.device_writes.clear();
    m.bus.device_reads.clear();
    m.p.cpu.fpu.mxcsr = 0x1F80;
    m.code(ELSEWHERE, |a| a.jmp(CODE).expect("room"));
    let stop = m.run();
    let mut data = vec![0; AREA_LEN];
    assert!(m.bus.ram.read(AREA, &mut data));
    let flags = if stop == Stop::Halt { m.p.cpu.rflags() } else { 0 };
    let vectors: Vec<_> = m.p.cpu.fpu.zmm[..18].iter().map(|z| z[..64].to_vec()).collect();
    let f = &*m.p.cpu.fpu;
    let st: Vec<_> = f.st.iter().map(|r| &r[..10]).collect();
    let x87 = (f.fcw, f.fsw, f.ftw, f.fip, f.fcs, f.fdp, f.fds, f.fop, f.k, st);
    let state = format!(
        "{stop:x?}\nrip {:x} flags {flags:x}\nregs {:x?}\nvectors {vectors:x?}\nx87 {x87:x?}\nwrites {:x?}\nreads {:x?}",
        m.p.cpu.rip,
        &m.p.cpu.regs[..16],
        m.bus.device_writes,
        m.bus.device_reads
    );
    (state, data)
}

#[test]
fn random_loops_do_what_the_interpreter_does() {
    let (seed, cases) = (env("WHPX_DIFF_SEED", 1), env("WHPX_DIFF_CASES", 2000));
    let (mut a, mut b) = (machine(Tier::Interpreter), machine(Tier::Translator));
    for m in [&mut a, &mut b] {
        m.p.cpu.xcr0 = supported_xcr0() & 0xE7;
    }
    let mut ends = [0; 2];
    for case in 0..cases {
        let program = program(&mut Rng(seed << 32 | case));
        // Again with other pages: the loop is translated, its pages are remembered.
        for round in 0..3 {
            let seed = seed ^ case << 8 ^ round;
            let (x, y) = (run(&mut a, &program, seed), run(&mut b, &program, seed));
            ends[usize::from(a.last == Some(Stop::Halt))] += 1;
            assert_eq!(x.0, y.0, "case {case} round {round}\n{}", program.text);
            let different = x.1.iter().zip(&y.1).position(|(a, b)| a != b);
            assert_eq!(different, None, "memory: case {case} round {round}\n{}", program.text);
        }
    }
    let s = b.p.jit_statistics();
    assert!(s.loops >= cases / 2, "{s:?}");
    assert!(ends.iter().all(|n| *n > cases / 4), "{ends:?}");
}

#[test]
fn accesses_that_roam_are_translated_again() {
    // A walk through a ring of addresses that are never twice in the same page: loads, stores, read-modify-writes.
    let both = |tier| {
        let mut m = machine(tier);
        let pages = 32;
        for n in 0..pages {
            let at = AREA + n * 0x1000 + n * 16;
            let next = AREA + ((n + 7) % pages) * 0x1000 + ((n + 7) % pages) * 16;
            m.bus.write64(at, next);
        }
        m.p.cpu.regs[6] = AREA;
        m.p.cpu.regs[0] = 0;
        m.code(CODE, |a| {
            let mut top = a.create_label();
            let mut odd = a.create_label();
            a.mov(ecx, 200_000).unwrap();
            a.set_label(&mut top).unwrap();
            a.mov(rsi, qword_ptr(rsi)).unwrap();
            a.add(rax, qword_ptr(rsi)).unwrap();
            a.mov(qword_ptr(rsi + 0x100), rcx).unwrap();
            a.add(dword_ptr(rsi + 0x200), 3).unwrap();
            a.movdqa(xmm0, xmmword_ptr(rsi + 0x100)).unwrap();
            a.paddq(xmm1, xmm0).unwrap();
            a.test(ecx, 1).unwrap();
            a.jne(odd).unwrap();
            a.xor(rax, qword_ptr(rsi + 0x200)).unwrap();
            a.set_label(&mut odd).unwrap();
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.movq(rdx, xmm1).unwrap();
            a.hlt().unwrap();
        });
        m.halts();
        let mut data = vec![0; 32 * 0x1000];
        assert!(m.bus.ram.read(AREA, &mut data));
        (m.p.cpu.regs[..8].to_vec(), data, m.p.jit_statistics())
    };
    let (a, b) = (both(Tier::Interpreter), both(Tier::Translator));
    assert_eq!(a.0, b.0);
    assert!(a.1 == b.1);
    // Sites roam when fills follow each other fast; on a machine that is very busy they may not have.
    println!("{} blocks translated again", b.2.settled);
}
