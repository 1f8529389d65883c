//! The translator against the interpreter: random blocks (registers, flags, memory, vector registers compared), code that
//! changes while it runs, control flow of all kinds, faults in the middle of blocks.
//!
//! `WHPX_DIFF_SEED` and `WHPX_DIFF_CASES` vary the random blocks. Flags that are undefined are neither compared nor read.
#![cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]

mod machine;
mod random;

use cpu_x86::flags::rflags;
use cpu_x86::fpu::{XCR0_AVX512, supported_xcr0};
use cpu_x86::{Stop, Tier};
use iced_x86::Register as R;
use iced_x86::code_asm::*;
use machine::tiers::{both, env, every, machine};
use machine::{CODE, DATA, DEVICE, Machine, P, U, W};
use random::{COUNTER, POINTERS, Rng};

/// Fills registers and data by `seed`.
fn fill(m: &mut Machine, seed: u64) {
    let mut rng = Rng(seed);
    for n in 0..16 {
        m.p.cpu.regs[n] = rng.value();
        for b in m.p.cpu.fpu.zmm[n][..32].chunks_exact_mut(4) {
            let v = if rng.below(2) == 0 { (rng.below(2000) as f32 / 7.0).to_bits() } else { rng.next() as u32 };
            b.copy_from_slice(&v.to_le_bytes());
        }
    }
    for p in POINTERS {
        // One of them near the end of a page: some accesses cross it.
        let at = if p == R::R9 { 0xF90 } else { 0x800 };
        m.p.cpu.regs[p.number()] = DATA + at;
    }
    m.p.cpu.regs[R::R14.number()] = 8;
    m.p.cpu.regs[R::RBP.number()] = 3;
    m.p.cpu.regs[COUNTER.number()] = 1 + rng.below(4);
    let f = rng.next() & rflags::ARITH;
    m.p.cpu.set_rflags(f);
    let data: Vec<u8> = (0..0x2000).map(|_| rng.next() as u8).collect();
    assert!(m.bus.ram.write(DATA, &data));
}

struct Result {
    stop: Stop,
    regs: [u64; 16],
    rip: u64,
    flags: u64,
    data: Vec<u8>,
}

fn run(m: &mut Machine, code: &[u8], seed: u64) -> Result {
    fill(m, seed);
    m.p.cpu.rip = CODE;
    assert!(m.bus.ram.write(CODE, code));
    m.p.cpu.fpu.mxcsr = 0x1F80;
    let f = &mut *m.p.cpu.fpu;
    (f.fcw, f.fsw, f.ftw) = (0x37F, seed as u16 & 0x7F00, [0, 0xFF, seed as u8][seed as usize % 3]);
    for (n, r) in f.st.iter_mut().enumerate() {
        r[..8].copy_from_slice(&(seed.rotate_left(9 * n as u32) | 1 << 63).to_le_bytes());
        r[8..10].copy_from_slice(&(0x3FF8 + n as u16).to_le_bytes());
    }
    let stop = m.run();
    let mut data = vec![0; 0x2000];
    assert!(m.bus.ram.read(DATA, &mut data));
    let mut regs = [0; 16];
    regs.copy_from_slice(&m.p.cpu.regs[..16]);
    Result { stop, regs, rip: m.p.cpu.rip, flags: m.p.cpu.rflags() & rflags::ARITH, data }
}

#[test]
fn random_blocks_do_what_the_interpreter_does() {
    let plain = random::codes();
    // As often: x87, MMX and AVX-512 among the others.
    let more = || random::stack_codes().into_iter().chain(random::evex_codes());
    let mixed: Vec<_> = more().chain(plain.iter().copied().step_by(4)).collect();
    let (seed, cases) = (env("WHPX_DIFF_SEED", 1), env("WHPX_DIFF_CASES", 3000));
    let (mut a, mut b) = (machine(Tier::Interpreter), machine(Tier::Translator));
    let mut checked = machine(Tier::Check);
    for m in [&mut a, &mut b, &mut checked] {
        m.p.cpu.xcr0 = supported_xcr0() & 0xE7;
    }
    for case in 0..cases {
        let mut rng = Rng(seed << 32 | case);
        let codes = if case % 2 == 0 { &plain } else { &mixed };
        let program = random::program(&mut rng, codes, CODE, 24);
        let (mut code, undefined) = (program.code.clone(), program.undefined);
        code.push(0xF4);
        let (x, y) = (run(&mut a, &code, seed ^ case), run(&mut b, &code, seed ^ case));
        if case % 4 < 2 {
            run(&mut checked, &code, seed ^ case);
        }
        let context = || format!("seed {seed} case {case}\n{}", program.text());
        assert_eq!(x.stop, y.stop, "{}", context());
        assert_eq!(x.rip, y.rip, "{}", context());
        assert_eq!(x.regs.map(|r| format!("{r:x}")), y.regs.map(|r| format!("{r:x}")), "{}", context());
        assert!(x.data == y.data, "memory: {}", context());
        let different = (0..32).filter(|n| a.p.cpu.fpu.zmm[*n] != b.p.cpu.fpu.zmm[*n]).collect::<Vec<_>>();
        assert!(different.is_empty(), "vector registers {different:?}: {}", context());
        assert!(a.p.cpu.fpu == b.p.cpu.fpu, "x87, masks, MXCSR: {}", context());
        if x.stop == Stop::Halt {
            assert_eq!(x.flags & !undefined, y.flags & !undefined, "flags: {}", context());
        }
    }
    let s = b.p.jit_statistics();
    assert!(checked.p.jit_statistics().compared > cases / 8);
    assert!(s.blocks >= cases / 2 && s.handlers * 2 < s.instructions, "{s:?}");
}

#[test]
fn masked_elements_do_not_fault_and_others_do() {
    if supported_xcr0() & XCR0_AVX512 == 0 {
        println!("skipped: the host has no AVX-512");
        return;
    }
    // At the end of a page: where the next one is missing, is device memory, or is there.
    let next = [0, DEVICE | P | W | U, (DATA + 0x1000) | P | W | U];
    for (next, mask) in next.into_iter().flat_map(|n| [0u64, 0x3, 0x55, 0xFFFF, 0x1_0000, u64::MAX].map(|m| (n, m))) {
        for at in [DATA + 0xF00, DATA + 0xFF0, DATA + 0xFE1, DATA + 0x1000] {
            every(|m| {
                m.p.cpu.xcr0 = supported_xcr0() & 0xE7;
                m.p.cpu.update_mode();
                m.set_pte(DATA + 0x1000, next);
                let data: Vec<u8> = (0..0x2000u32).map(|n| ((n * 7) >> 2) as u8).collect();
                assert!(m.bus.ram.write(DATA, &data));
                m.bus.device_writes.clear();
                m.p.cpu.fpu.k[1] = mask;
                m.p.cpu.regs[7] = at;
                m.code(CODE, |a| {
                    a.mov(rax, qword_ptr(rsp)).unwrap();
                    a.vmovdqu8(ymm1.k1(), ymmword_ptr(rdi)).unwrap();
                    a.vpcmpb(k2.k1(), ymm1, ymmword_ptr(rdi), 0).unwrap();
                    a.kmovq(rdx, k2).unwrap();
                    a.vmovdqu32(zmmword_ptr(rdi).k1(), zmm1).unwrap();
                    a.vpcompressd(ymmword_ptr(rdi).k1(), ymm1).unwrap();
                    a.vpexpandd(ymm3.k1().z(), ymmword_ptr(rdi)).unwrap();
                    a.vpmaskmovd(xmm4, xmm1, xmmword_ptr(rdi)).unwrap();
                    a.hlt().unwrap();
                });
                let stop = m.run();
                let fpu = &m.p.cpu.fpu;
                (stop, fpu.zmm[1], fpu.zmm[3], fpu.zmm[4], fpu.k[2], m.bus.device_writes.clone())
            });
        }
    }
}

#[test]
fn calls_returns_loops_and_indirect_jumps() {
    let m = both(
        |m| m.p.cpu.regs[7] = DATA,
        |a| {
            let (mut f, mut top, mut out) = (a.create_label(), a.create_label(), a.create_label());
            a.mov(ecx, 1000).unwrap();
            a.lea(r12, qword_ptr(f)).unwrap();
            a.set_label(&mut top).unwrap();
            a.call(f).unwrap();
            a.call(r12).unwrap();
            a.mov(qword_ptr(rdi + 8), r12).unwrap();
            a.call(qword_ptr(rdi + 8)).unwrap();
            a.dec(rcx).unwrap();
            a.jne(top).unwrap();
            a.lea(rax, qword_ptr(out)).unwrap();
            a.jmp(rax).unwrap();
            a.ud2().unwrap();
            a.set_label(&mut out).unwrap();
            a.hlt().unwrap();
            a.set_label(&mut f).unwrap();
            a.push(r15).unwrap();
            a.push(rcx).unwrap();
            a.add(r15, 3).unwrap();
            a.pop(rcx).unwrap();
            a.add(qword_ptr(rdi), r15).unwrap();
            a.pop(r14).unwrap();
            a.stc().unwrap();
            a.adc(rdx, r14).unwrap();
            a.ret().unwrap();
        },
    );
    assert!(m.p.jit_statistics().links > 0);
    assert!(m.p.jit_statistics().entries < 200, "it stays in translated code: {:?}", m.p.jit_statistics());
}

#[test]
fn code_that_rewrites_its_own_block_and_others() {
    both(
        |m| m.p.cpu.regs[1] = 50,
        |a| {
            let (mut top, mut patch) = (a.create_label(), a.create_label());
            a.set_label(&mut top).unwrap();
            a.lea(rsi, qword_ptr(patch)).unwrap();
            a.add(byte_ptr(rsi + 2), 1).unwrap(); // the immediate, a few instructions later
            a.set_label(&mut patch).unwrap();
            a.db(&[0x83, 0xC0, 0x01]).unwrap(); // add eax, 1
            a.push(rax).unwrap();
            a.pop(rdx).unwrap();
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
        },
    );
}

#[test]
fn code_changed_from_outside_is_seen() {
    let mut m = machine(Tier::Translator);
    let program = |v: i32| {
        move |a: &mut CodeAssembler| {
            let mut top = a.create_label();
            a.mov(ecx, 100).unwrap();
            a.set_label(&mut top).unwrap();
            a.add(eax, v).unwrap();
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
        }
    };
    for v in [1, 2, 3] {
        m.p.cpu.regs[0] = 0;
        m.code(CODE, program(v)); // as a device does: `RamBlock::write` follows the store protocol
        m.halts();
        assert_eq!(m.reg(0), 100 * v as u64);
    }
}

#[test]
fn faults_in_the_middle_leave_what_was_done_before() {
    let m = both(
        |m| {
            m.set_pte(0x4_0000, 0);
            m.p.cpu.regs[6] = 0x4_0000 - 4;
        },
        |a| {
            a.mov(eax, 7).unwrap();
            a.mov(r12, 9u64).unwrap();
            a.cmp(eax, 8).unwrap();
            a.mov(rdx, qword_ptr(rsi)).unwrap();
            a.mov(eax, 1).unwrap();
            a.setb(al).unwrap();
            a.hlt().unwrap();
        },
    );
    assert_eq!((m.reg(0), m.reg(12)), (7, 9));
}

#[test]
fn devices_are_reached_once() {
    let m = both(
        |m| m.p.cpu.regs[6] = DEVICE,
        |a| {
            a.mov(eax, dword_ptr(rsi + 4)).unwrap();
            a.mov(dword_ptr(rsi + 8), eax).unwrap();
            a.xadd(dword_ptr(rsi + 12), eax).unwrap();
            a.hlt().unwrap();
        },
    );
    assert_eq!(m.bus.device_writes.len(), 2);
    assert_eq!(m.bus.device_reads.len(), 2);
}

#[test]
fn divisions_fault_as_they_should() {
    for (low, high, divisor) in [(10, 0, 0), (10, 5, 3), (i64::MIN as u64, u64::MAX, u64::MAX), (100, 0, 7), (1, 2, 3)]
    {
        for signed in [false, true] {
            both(
                |m| (m.p.cpu.regs[0], m.p.cpu.regs[2], m.p.cpu.regs[12]) = (low, high, divisor),
                |a| {
                    if signed {
                        a.idiv(r12).unwrap()
                    } else {
                        a.div(r12).unwrap()
                    }
                    a.test(eax, eax).unwrap(); // the flags were undefined
                    a.hlt().unwrap();
                },
            );
        }
    }
}

#[test]
fn unmasked_vector_exceptions_are_raised() {
    let m = both(
        |m| m.p.cpu.fpu.mxcsr = 0x1D00, // divide by zero and invalid unmasked
        |a| {
            a.pxor(xmm1, xmm1).unwrap();
            a.mov(eax, 1).unwrap();
            a.cvtsi2sd(xmm0, eax).unwrap();
            a.divsd(xmm0, xmm1).unwrap();
            a.hlt().unwrap();
        },
    );
    assert_eq!(m.p.cpu.rip, CODE + 4 + 5 + 4);
}

#[test]
fn code_rewritten_through_another_address_of_its_page() {
    let m = both(
        |m| {
            m.set_pte(0x5_0000, CODE | machine::P | machine::W | machine::U);
            m.p.cpu.regs[1] = 40;
            m.p.cpu.regs[6] = 0x5_0000;
        },
        |a| {
            let mut top = a.create_label();
            a.set_label(&mut top).unwrap();
            a.db(&[0x83, 0xC0, 0x01]).unwrap(); // add eax, 1: at offset 0
            a.add(byte_ptr(rsi + 2), 1).unwrap();
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
        },
    );
    assert_eq!(m.reg(0), (1..=40).sum::<u64>());
}

#[test]
fn switching_address_spaces_and_dropping_pages_reaches_the_right_code() {
    // The page at 0x5_0000 is one of two by turns; the same call has to find either.
    let m = both(
        |m| {
            for (page, v) in [(0x6_0000u64, 1u8), (0x7_0000, 100)] {
                assert!(m.bus.ram.write(page, &[0x83, 0xC0, v, 0xC3])); // add eax, v; ret
            }
            m.p.cpu.regs[1] = 60;
            m.p.cpu.regs[6] = Machine::pte(0x5_0000);
            m.p.cpu.regs[12] = 0x6_0000 | machine::P;
            m.p.cpu.regs[13] = 0x7_0000 | machine::P;
            m.p.cpu.regs[7] = 0x5_0000;
        },
        |a| {
            let mut top = a.create_label();
            a.set_label(&mut top).unwrap();
            a.mov(qword_ptr(rsi), r12).unwrap();
            a.invlpg(byte_ptr(rdi)).unwrap();
            a.call(rdi).unwrap();
            a.mov(qword_ptr(rsi), r13).unwrap();
            a.mov(rdx, cr3).unwrap();
            a.mov(cr3, rdx).unwrap();
            a.call(rdi).unwrap();
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
        },
    );
    assert_eq!(m.reg(0), 60 * 101);
}

#[test]
fn locked_operations_of_two_processors_do_not_get_lost() {
    const EACH: u64 = 100_000;
    let ram = guest_memory::RamBlock::new("ram", machine::RAM).unwrap();
    Machine::on(ram.clone(), 64).map_long();
    std::thread::scope(|s| {
        for n in 0..2u64 {
            let ram = ram.clone();
            s.spawn(move || {
                let mut m = Machine::on(ram, 64);
                m.start_long();
                assert!(m.p.set_tier(Tier::Translator));
                m.code(CODE + 0x1000 * n, |a| {
                    let mut top = a.create_label();
                    a.set_label(&mut top).unwrap();
                    a.lock().inc(qword_ptr(rdi)).unwrap();
                    a.mov(eax, 1).unwrap();
                    a.lock().xadd(dword_ptr(rdi + 13), eax).unwrap(); // not aligned
                    a.dec(rcx).unwrap();
                    a.jne(top).unwrap();
                    a.hlt().unwrap();
                });
                m.p.cpu.regs[4] -= 0x1000 * n;
                m.p.cpu.regs[7] = DATA;
                m.p.cpu.regs[1] = EACH;
                m.halts();
            });
        }
    });
    let mut b = [0; 24];
    assert!(ram.read(DATA, &mut b));
    assert_eq!(u64::from_le_bytes(b[..8].try_into().unwrap()), 2 * EACH);
    assert_eq!(u32::from_le_bytes(b[13..17].try_into().unwrap()), 2 * EACH as u32);
}

#[test]
fn attention_is_seen_inside_linked_code() {
    let mut m = machine(Tier::Translator);
    m.code(CODE, |a| {
        let mut top = a.create_label();
        a.set_label(&mut top).unwrap();
        a.inc(rax).unwrap();
        a.jmp(top).unwrap();
    });
    let attention = m.p.cpu.attention.clone();
    let (started, wait) = std::sync::mpsc::channel::<()>();
    let kicker = std::thread::spawn(move || {
        wait.recv().unwrap();
        attention.fetch_or(cpu_x86::bus::Attention::LEAVE, std::sync::atomic::Ordering::SeqCst);
    });
    started.send(()).unwrap();
    assert_eq!(m.run(), Stop::Attention);
    kicker.join().unwrap();
    assert_eq!(m.p.cpu.rip, CODE);
}

#[test]
fn flags_survive_a_linked_block_that_was_rewritten() {
    // The block at `then` sets flags first; rewritten, it reads them. What it is linked from does not know.
    let m = both(
        |m| (m.p.cpu.regs[1], m.p.cpu.regs[6]) = (4, CODE + 0x100),
        |a| {
            let (mut top, mut out) = (a.create_label(), a.create_label());
            a.set_label(&mut top).unwrap();
            a.cmp(eax, 77).unwrap(); // CF
            a.jmp(CODE + 0x100).unwrap();
            a.set_label(&mut out).unwrap();
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
            let len = a.assemble(CODE).unwrap().len();
            a.nops_with_size(0x100 - len).unwrap();
            a.xor(edx, edx).unwrap();
            a.mov(word_ptr(rsi), 0xD211).unwrap(); // adc edx, edx
            a.jmp(out).unwrap();
        },
    );
    assert_eq!(m.reg(2), 7);
}
