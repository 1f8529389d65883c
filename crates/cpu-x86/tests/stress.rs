//! What is hard for a translator: code that is written (by itself, another processor, a device), several addresses of one
//! page, changes of the address space, accesses and instructions across pages, locked operations of many processors,
//! debug exceptions, faults inside REP. Each by interpreter, translator and both in lockstep, where one processor is
//! enough.
#![cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]

mod machine;

use std::sync::Arc;
use std::thread;

use cpu_x86::flags::rflags;
use cpu_x86::state::cr::*;
use cpu_x86::{Exception, Stop, Tier};
use guest_memory::{GuestMemory, MapRange, RamBlock};
use iced_x86::code_asm::*;
use machine::tiers::{both, both_at, every, machine};
use machine::{CODE, DATA, Machine, P, RAM, STACK, TABLES, U, W, assemble};

/// A page for subroutines.
const SUB: u64 = 0x5_0000;

// ---- code that is written

#[test]
fn code_written_by_every_kind_of_store() {
    // `sub` is `mov eax, imm32; ret`. Every round writes another number by another kind of store.
    let m = both(
        |m| {
            assert!(m.bus.ram.write(SUB, &[0xB8, 0, 0, 0, 0, 0xC3]));
            (m.p.cpu.regs[6], m.p.cpu.regs[1]) = (SUB + 1, 100);
        },
        |a| {
            let mut top = a.create_label();
            a.mov(r9, rsi).unwrap();
            a.set_label(&mut top).unwrap();
            let check = |a: &mut CodeAssembler| {
                a.call(SUB).unwrap();
                a.imul_3(r15, r15, 31).unwrap();
                a.add(r15, rax).unwrap();
            };
            a.mov(dword_ptr(rsi), ecx).unwrap();
            check(a);
            a.add(byte_ptr(rsi + 1), 3).unwrap();
            check(a);
            a.lock().inc(word_ptr(rsi)).unwrap();
            check(a);
            a.mov(ebx, 77).unwrap();
            a.xchg(dword_ptr(rsi), ebx).unwrap();
            check(a);
            a.movd(xmm1, ecx).unwrap();
            a.movss(dword_ptr(rsi), xmm1).unwrap();
            check(a);
            a.mov(rdi, r9).unwrap();
            a.lea(eax, dword_ptr(rcx + 5)).unwrap();
            a.stosd().unwrap();
            check(a);
            a.mov(r12, rcx).unwrap();
            a.mov(rdi, r9).unwrap();
            a.mov(ecx, 4).unwrap();
            a.lea(rax, ptr(r12 + 9)).unwrap();
            a.rep().stosb().unwrap();
            a.mov(rcx, r12).unwrap();
            check(a);
            // A push whose 8 bytes are code and what is before it.
            a.mov(r10, rsp).unwrap();
            a.lea(rsp, ptr(rsi + 4)).unwrap();
            a.mov(r8, rcx).unwrap();
            a.shl(r8, 32).unwrap();
            a.mov(eax, 0xB8).unwrap();
            a.shl(rax, 24).unwrap();
            a.or(r8, rax).unwrap();
            a.push(r8).unwrap();
            a.mov(rsp, r10).unwrap();
            check(a);
            a.setc(byte_ptr(rsi)).unwrap();
            check(a);
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
        },
    );
    assert_ne!(m.reg(15), 0);
}

#[test]
fn the_next_instruction_is_rewritten() {
    let m = both(
        |m| (m.p.cpu.regs[1], m.p.cpu.regs[7]) = (64, CODE),
        |a| {
            let (mut top, mut patch) = (a.create_label(), a.create_label());
            a.set_label(&mut top).unwrap();
            a.lea(rdi, qword_ptr(patch)).unwrap();
            a.mov(dword_ptr(rdi + 1), ecx).unwrap();
            a.set_label(&mut patch).unwrap();
            a.db(&[0xB8, 0, 0, 0, 0]).unwrap(); // mov eax, imm
            a.add(r15, rax).unwrap();
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
        },
    );
    assert_eq!(m.reg(15), (1..=64).sum::<u64>());
}

#[test]
fn code_across_a_page_rewritten_in_its_second_part() {
    for before in 1..6 {
        // `mov eax, imm32` with its last bytes in the next page.
        let sub = SUB + 0x1000 - before;
        let m = both(
            |m| {
                assert!(m.bus.ram.write(sub, &[0xB8, 0, 0, 0, 0, 0xC3]));
                (m.p.cpu.regs[6], m.p.cpu.regs[1]) = (sub + 1, 50);
            },
            |a| {
                let mut top = a.create_label();
                a.set_label(&mut top).unwrap();
                a.add(byte_ptr(rsi + 3), 1).unwrap();
                a.call(sub).unwrap();
                a.add(r15, rax).unwrap();
                a.dec(ecx).unwrap();
                a.jne(top).unwrap();
                a.hlt().unwrap();
            },
        );
        assert_eq!(m.reg(15), (1..=50u64).sum::<u64>() << 24, "{before} bytes before the border");
    }
}

/// Waits until the quadword at `at` is `r`.
fn spin(a: &mut CodeAssembler, at: u64, r: AsmRegister64) {
    let mut top = a.create_label();
    a.nop().unwrap(); // for a label of the caller's
    a.set_label(&mut top).unwrap();
    a.pause().unwrap();
    a.cmp(qword_ptr(at), r).unwrap();
    a.jne(top).unwrap();
}

const GO: u64 = DATA;
const ACK: u64 = DATA + 0x40;
const GOT: u64 = DATA + 0x80;

/// Waits for GO to count up, calls `SUB`, reports what it returned, `rounds` times.
fn executor(a: &mut CodeAssembler, rounds: i32) {
    let mut top = a.create_label();
    a.mov(r12d, 1).unwrap();
    a.set_label(&mut top).unwrap();
    spin(a, GO, r12);
    a.xor(eax, eax).unwrap();
    a.cpuid().unwrap(); // serializes, as cross-modifying code must (Intel SDM volume 3, 8.1.3)
    a.call(SUB).unwrap();
    a.mov(qword_ptr(GOT), rax).unwrap();
    a.mov(qword_ptr(ACK), r12).unwrap();
    a.inc(r12).unwrap();
    a.cmp(r12, rounds).unwrap();
    a.jbe(top).unwrap();
    a.hlt().unwrap();
}

/// A processor on shared memory.
fn processor(ram: &Arc<RamBlock>, tier: Tier, n: u64, program: impl FnOnce(&mut CodeAssembler)) -> Machine {
    let mut m = Machine::on(ram.clone(), 64);
    m.start_long();
    assert!(m.p.set_tier(tier));
    m.p.set_translation_threshold(2);
    m.code(CODE + 0x2000 * n, program);
    m.p.cpu.regs[4] = STACK - 0x1000 * n;
    m
}

fn shared() -> Arc<RamBlock> {
    let ram = RamBlock::new("ram", RAM).unwrap();
    Machine::on(ram.clone(), 64).map_long();
    assert!(ram.write(SUB, &[0xB8, 0, 0, 0, 0, 0xC3]));
    ram
}

#[test]
fn code_written_by_another_processor() {
    const ROUNDS: i32 = 400;
    for tier in [Tier::Interpreter, Tier::Translator] {
        let ram = shared();
        let mut a = processor(&ram, tier, 0, |a| executor(a, ROUNDS));
        let mut b = processor(&ram, tier, 1, |a| {
            let (mut top, mut bad) = (a.create_label(), a.create_label());
            a.mov(r12d, 1).unwrap();
            a.set_label(&mut top).unwrap();
            a.mov(dword_ptr(SUB + 1), r12d).unwrap();
            a.mov(qword_ptr(GO), r12).unwrap();
            spin(a, ACK, r12);
            a.cmp(qword_ptr(GOT), r12).unwrap();
            a.jne(bad).unwrap();
            a.inc(r12).unwrap();
            a.cmp(r12, ROUNDS).unwrap();
            a.jbe(top).unwrap();
            a.hlt().unwrap();
            a.set_label(&mut bad).unwrap();
            a.ud2().unwrap();
        });
        thread::scope(|s| {
            let other = s.spawn(|| {
                a.halts();
            });
            let end = b.run();
            assert_eq!(end, Stop::Halt, "{tier:?} round {}: got {}", b.reg(12), b.bus.read64(GOT));
            other.join().unwrap();
        });
    }
}

#[test]
fn code_written_by_a_device_while_it_runs() {
    const ROUNDS: u64 = 400;
    for tier in [Tier::Interpreter, Tier::Translator] {
        let ram = shared();
        let memory = GuestMemory::new();
        memory.set_ranges(vec![MapRange { gpa: 0, len: RAM, block: ram.clone(), offset: 0, readonly: false }]);
        let mut a = processor(&ram, tier, 0, |a| executor(a, ROUNDS as i32));
        thread::scope(|s| {
            let guest = s.spawn(|| a.halts());
            for round in 1..=ROUNDS {
                memory.write(SUB + 1, &(round as u32).to_le_bytes()).unwrap();
                memory.write(GO, &round.to_le_bytes()).unwrap();
                let mut ack = [0; 8];
                while u64::from_le_bytes(ack) != round {
                    thread::yield_now();
                    memory.read(ACK, &mut ack).unwrap();
                }
                memory.read(GOT, &mut ack).unwrap();
                assert_eq!(u64::from_le_bytes(ack), round, "{tier:?}");
            }
            guest.join().unwrap();
        });
    }
}

// ---- address spaces

#[test]
fn one_page_at_three_addresses() {
    // Data and code of the page, written at one address, used at the others.
    const ALIAS: [u64; 3] = [0x80_0000, 0x80_1000, 0x80_2000];
    let m = both(
        |m| {
            for at in ALIAS {
                m.set_pte(at, SUB | P | W | U);
            }
            // lea rax, [rip]; add rax, imm8 at +10; ret: the result says where it ran
            assert!(m.bus.ram.write(SUB, &[0x48, 0x8D, 0x05, 0, 0, 0, 0, 0x48, 0x83, 0xC0, 0, 0xC3]));
            m.p.cpu.regs[1] = 60;
        },
        |a| {
            let mut top = a.create_label();
            a.set_label(&mut top).unwrap();
            for (n, at) in ALIAS.into_iter().enumerate() {
                let other = ALIAS[(n + 1) % 3];
                a.mov(r8, at).unwrap();
                a.mov(r9, other).unwrap();
                a.add(byte_ptr(r8 + 10), 1).unwrap();
                a.call(r9).unwrap();
                a.add(r15, rax).unwrap();
                a.call(r8).unwrap();
                a.add(r15, rax).unwrap();
                a.mov(qword_ptr(r8 + 0x800), r15).unwrap();
                a.xor(r14, qword_ptr(r9 + 0x800)).unwrap();
            }
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
        },
    );
    // Two calls after each of the 180 additions (the number wraps as a signed byte), each to every address twice a round.
    let sum: i64 = (1..=180i64).map(|n| 2 * i64::from(n as u8 as i8)).sum();
    let places: u64 = 60 * 2 * ALIAS.iter().map(|at| at + 7).sum::<u64>();
    assert_eq!(m.reg(15), places.wrapping_add(sum as u64));
}

/// Builds a second address space at `root` that maps all as the first, but `SUB` to `sub` and `DATA` to `data`.
fn second_space(m: &Machine, root: u64, sub: u64, data: u64) {
    let mut page = [0; 0x1000];
    for (from, to) in [(0, 0), (0x1000, 0x1000), (0x2000, 0x2000), (0x4000, 0x3000)] {
        assert!(m.bus.ram.read(TABLES + from, &mut page) && m.bus.ram.write(root + to, &page));
    }
    let rights = P | W | U;
    m.bus.write64(root, (root + 0x1000) | rights);
    m.bus.write64(root + 0x1000, (root + 0x2000) | rights);
    m.bus.write64(root + 0x2000, (root + 0x3000) | rights);
    m.bus.write64(root + 0x3000 + (SUB >> 12) * 8, sub | rights);
    m.bus.write64(root + 0x3000 + (DATA >> 12) * 8, data | rights);
}

#[test]
fn a_storm_of_address_spaces() {
    const ROOTS: [u64; 3] = [0x20_0000, 0x21_0000, 0x22_0000];
    for pcid in [false, true] {
        let m = both(
            |m| {
                for (n, root) in ROOTS.into_iter().enumerate() {
                    let (sub, data) = (0x30_0000 + 0x1000 * n as u64, 0x31_0000 + 0x1000 * n as u64);
                    second_space(m, root, sub, data);
                    assert!(m.bus.ram.write(sub, &[0x83, 0xC0, 1 << (2 * n), 0xFF, 0x07, 0xC3])); // add eax, n; inc dword [rdi]; ret
                }
                if pcid {
                    m.p.cpu.cr4 |= CR4_PCIDE;
                    m.p.cpu.update_mode();
                }
                (m.p.cpu.regs[1], m.p.cpu.regs[7]) = (200, DATA);
            },
            |a| {
                let mut top = a.create_label();
                a.set_label(&mut top).unwrap();
                for (n, root) in ROOTS.into_iter().enumerate() {
                    // With PCIDs nothing is dropped.
                    let cr = if pcid { 1 << 63 | root | (n as u64 + 1) } else { root };
                    a.mov(rdx, cr).unwrap();
                    a.mov(cr3, rdx).unwrap();
                    a.call(SUB).unwrap();
                    a.add(r15, qword_ptr(rdi)).unwrap();
                }
                a.dec(ecx).unwrap();
                a.jne(top).unwrap();
                a.hlt().unwrap();
            },
        );
        assert_eq!(m.reg(0), 200 * (1 + 4 + 16), "PCID {pcid}");
        assert_eq!(m.reg(15), 3 * (1..=200u64).sum::<u64>());
        assert_eq!([0u64, 1, 2].map(|n| m.bus.read64(0x31_0000 + 0x1000 * n)), [200; 3]);
    }
}

#[test]
fn a_storm_of_invlpg() {
    // The data page is one of 16 by turns, through its page-table entry, which is in the guest's reach.
    let m = both(
        |m| {
            m.p.cpu.regs[6] = Machine::pte(DATA);
            (m.p.cpu.regs[1], m.p.cpu.regs[7]) = (2000, DATA);
        },
        |a| {
            let mut top = a.create_label();
            a.set_label(&mut top).unwrap();
            a.mov(eax, ecx).unwrap();
            a.and(eax, 15).unwrap();
            a.shl(eax, 12).unwrap();
            a.add(eax, 0x60_0000 + (P | W | U) as i32).unwrap();
            a.mov(qword_ptr(rsi), rax).unwrap();
            a.invlpg(byte_ptr(rdi)).unwrap();
            a.add(qword_ptr(rdi), rcx).unwrap();
            a.push(qword_ptr(rdi)).unwrap();
            a.pop(rdx).unwrap();
            a.xor(r15, rdx).unwrap();
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
        },
    );
    for n in 0..16 {
        let want: u64 = (1..=2000).filter(|c| c % 16 == n).sum();
        assert_eq!(m.bus.read64(0x60_0000 + 0x1000 * n), want);
    }
}

#[test]
fn rights_change_between_two_accesses() {
    // Stores fault where the page was made read-only; the entry of the TLB was made by a store before.
    let m = every(|m| {
        m.p.cpu.regs[6] = Machine::pte(DATA);
        m.p.cpu.regs[7] = DATA;
        m.p.cpu.regs[2] = DATA | P | U;
        m.code(CODE, |a| {
            a.mov(eax, 5).unwrap();
            a.mov(qword_ptr(rdi), rax).unwrap();
            a.mov(qword_ptr(rsi), rdx).unwrap();
            a.invlpg(byte_ptr(rdi)).unwrap();
            a.add(rax, qword_ptr(rdi)).unwrap();
            a.mov(qword_ptr(rdi), rax).unwrap();
            a.hlt().unwrap();
        });
        m.page_fault()
    });
    assert_eq!((m.reg(0), m.bus.read64(DATA)), (10, 5));
}

// ---- across pages

type Emit = fn(&mut CodeAssembler);

/// Accesses of `[rsi]`, of all kinds.
const ACCESSES: [(&str, Emit); 24] = [
    ("mov load 2", |a| a.mov(ax, word_ptr(rsi)).unwrap()),
    ("mov load 4", |a| a.mov(eax, dword_ptr(rsi)).unwrap()),
    ("mov load 8", |a| a.mov(r12, qword_ptr(rsi)).unwrap()),
    ("movzx", |a| a.movzx(eax, word_ptr(rsi)).unwrap()),
    ("mov store 2", |a| a.mov(word_ptr(rsi), ax).unwrap()),
    ("mov store 4", |a| a.mov(dword_ptr(rsi), eax).unwrap()),
    ("mov store 8", |a| a.mov(qword_ptr(rsi), r12).unwrap()),
    ("mov imm", |a| a.mov(dword_ptr(rsi), 0x1234_5678).unwrap()),
    ("add to", |a| a.add(qword_ptr(rsi), rdx).unwrap()),
    ("adc from", |a| a.adc(rdx, qword_ptr(rsi)).unwrap()),
    ("neg", |a| a.neg(dword_ptr(rsi)).unwrap()),
    ("shl cl", |a| a.shl(qword_ptr(rsi), cl).unwrap()),
    ("bts", |a| a.bts(dword_ptr(rsi), 7).unwrap()),
    ("xchg", |a| a.xchg(qword_ptr(rsi), rdx).unwrap()),
    ("lock xadd", |a| a.lock().xadd(dword_ptr(rsi), edx).unwrap()),
    ("lock cmpxchg", |a| a.lock().cmpxchg(qword_ptr(rsi), rdx).unwrap()),
    ("div", |a| {
        a.xor(edx, edx).unwrap();
        a.or(byte_ptr(rsi), 1).unwrap();
        a.div(qword_ptr(rsi)).unwrap();
    }),
    ("push m", |a| {
        a.push(qword_ptr(rsi)).unwrap();
        a.pop(rax).unwrap();
    }),
    ("pop m", |a| {
        a.push(rdx).unwrap();
        a.pop(qword_ptr(rsi)).unwrap();
    }),
    ("stack", |a| {
        a.mov(r10, rsp).unwrap();
        a.lea(rsp, ptr(rsi + 8)).unwrap();
        a.push(rdx).unwrap();
        a.pop(rax).unwrap();
        a.mov(rsp, r10).unwrap();
    }),
    ("movdqu", |a| {
        a.movdqu(xmm1, xmmword_ptr(rsi)).unwrap();
        a.paddd(xmm1, xmm2).unwrap();
        a.movdqu(xmmword_ptr(rsi), xmm1).unwrap();
    }),
    ("addsd", |a| {
        a.addsd(xmm3, qword_ptr(rsi)).unwrap();
        a.movsd_2(qword_ptr(rsi), xmm2).unwrap();
    }),
    ("vmovdqu ymm", |a| {
        a.vpaddd(ymm2, ymm2, ymmword_ptr(rsi)).unwrap();
        a.vmovdqu(ymmword_ptr(rsi), ymm2).unwrap();
    }),
    ("fld", |a| {
        a.fld(qword_ptr(rsi)).unwrap();
        a.fstp(tbyte_ptr(rsi)).unwrap();
    }),
];

fn filled(m: &mut Machine) {
    let data: Vec<u8> = (0..0x2000u32).map(|n| (n.wrapping_mul(0x9E37_79B1) >> 13) as u8).collect();
    assert!(m.bus.ram.write(DATA, &data));
    for n in [0, 2, 12] {
        m.p.cpu.regs[n] = 0x0123_4567_89AB_CDEF_u64.rotate_left(n as u32);
    }
    for (n, r) in m.p.cpu.fpu.zmm.iter_mut().take(16).enumerate() {
        r[..32].fill(0x3F - n as u8);
    }
    m.p.cpu.fpu.ftw = 0;
}

#[test]
fn operands_at_every_offset_around_a_page_border() {
    for (_, access) in ACCESSES {
        both(
            |m| {
                filled(m);
                (m.p.cpu.regs[6], m.p.cpu.regs[14]) = (DATA + 0xFC0, DATA + 0x1010);
                m.p.cpu.regs[1] = 3;
            },
            |a| {
                let mut top = a.create_label();
                a.set_label(&mut top).unwrap();
                access(a);
                a.inc(rsi).unwrap();
                a.cmp(rsi, r14).unwrap();
                a.jne(top).unwrap();
                a.hlt().unwrap();
            },
        );
    }
}

#[test]
fn operands_into_a_missing_page_change_nothing() {
    for (name, access) in ACCESSES {
        let m = every(|m| {
            filled(m);
            m.set_pte(DATA + 0x1000, 0);
            m.p.cpu.regs[6] = DATA + 0xFFF;
            m.code(CODE, |a| {
                a.inc(r15).unwrap();
                access(a);
                a.ud2().unwrap();
            });
            let fault = m.page_fault();
            assert_eq!(fault.1, DATA + 0x1000, "{name}");
            fault
        });
        let last = m.bus.read64(DATA + 0xFF8) >> 56;
        assert!(name == "div" || last == u64::from((0xFFFu32.wrapping_mul(0x9E37_79B1) >> 13) as u8), "{name}");
    }
}

#[test]
fn instructions_at_every_offset_around_a_page_border() {
    for before in 1..40 {
        let m = both_at(
            CODE + 0x1000 - before,
            |m| (m.p.cpu.regs[1], m.p.cpu.regs[6]) = (30, DATA),
            |a| {
                let (mut top, mut out) = (a.create_label(), a.create_label());
                a.set_label(&mut top).unwrap();
                a.mov(rax, 0x1122_3344_5566_7788u64).unwrap();
                a.add(qword_ptr(rsi + rcx * 8 + 0x400), rax).unwrap();
                a.cmp(ecx, 1).unwrap();
                a.je(out).unwrap();
                a.imul_3(r15, r15, 0x1_0001).unwrap();
                a.add(r15d, dword_ptr(rsi + 0x404)).unwrap();
                a.set_label(&mut out).unwrap();
                a.dec(ecx).unwrap();
                a.jne(top).unwrap();
                a.hlt().unwrap();
            },
        );
        assert_eq!(m.bus.read64(DATA + 0x408), 0x1122_3344_5566_7788);
    }
}

#[test]
fn an_instruction_into_a_missing_page_faults_where_it_is() {
    let m = every(|m| {
        let at = CODE + 0x1000 - 4;
        m.code(at, |a| {
            a.inc(eax).unwrap();
            a.mov(ebx, 0x1234_5678).unwrap();
        });
        m.set_pte(CODE + 0x1000, 0);
        let fault = m.page_fault();
        assert_eq!((m.p.cpu.rip, fault.1), (at + 2, CODE + 0x1000));
        m.set_pte(CODE + 0x1000, (CODE + 0x1000) | P);
        m.bus.ram.write(CODE + 0x1003, &[0xF4]);
        m.halts();
        fault
    });
    assert_eq!((m.reg(0), m.reg(3)), (1, 0x1234_5678));
}

// ---- four processors

/// Four processors run a program each until they halt; `program(n)` gets R12 = `EACH`.
fn four(ram: &Arc<RamBlock>, each: u64, program: impl Fn(u64, &mut CodeAssembler) + Sync) {
    thread::scope(|s| {
        for n in 0..4 {
            let program = &program;
            s.spawn(move || {
                let mut m = processor(ram, Tier::Translator, n, |a| {
                    let mut top = a.create_label();
                    a.set_label(&mut top).unwrap();
                    program(n, a);
                    a.dec(r12).unwrap();
                    a.jne(top).unwrap();
                    a.hlt().unwrap();
                });
                m.p.cpu.regs[12] = each;
                m.p.cpu.regs[7] = DATA;
                m.halts();
            });
        }
    });
}

fn read<const N: usize>(ram: &RamBlock, at: u64) -> [u8; N] {
    let mut b = [0; N];
    assert!(ram.read(at, &mut b));
    b
}

#[test]
fn four_processors_hammer_locked_operations() {
    const EACH: u64 = 20_000;
    let ram = shared();
    four(&ram, EACH, |n, a| {
        a.lock().inc(qword_ptr(rdi)).unwrap();
        a.mov(eax, 3).unwrap();
        a.lock().xadd(dword_ptr(rdi + 0x3D), eax).unwrap(); // across lines
        a.lock().add(qword_ptr(rdi + 0x81), 1).unwrap(); // not aligned
        a.lock().add(dword_ptr(rdi + 0xFFE), 1).unwrap(); // across pages
        a.lock().bts(qword_ptr(rdi + 0x100), n as i32).unwrap();
        a.lock().btc(dword_ptr(rdi + 0x108), n as i32 + 8).unwrap();
        // A loop with CMPXCHG.
        let mut again = a.create_label();
        a.mov(rax, qword_ptr(rdi + 0x140)).unwrap();
        a.set_label(&mut again).unwrap();
        a.lea(rdx, ptr(rax + 5)).unwrap();
        a.lock().cmpxchg(qword_ptr(rdi + 0x140), rdx).unwrap();
        a.jne(again).unwrap();
        // The same with 16 bytes.
        let mut again = a.create_label();
        a.mov(rax, qword_ptr(rdi + 0x180)).unwrap();
        a.mov(rdx, qword_ptr(rdi + 0x188)).unwrap();
        a.set_label(&mut again).unwrap();
        a.lea(rbx, ptr(rax + 1)).unwrap();
        a.lea(rcx, ptr(rdx + 2)).unwrap();
        a.lock().cmpxchg16b(xmmword_ptr(rdi + 0x180)).unwrap();
        a.jne(again).unwrap();
        // A spin lock around plain instructions.
        let mut take = a.create_label();
        a.set_label(&mut take).unwrap();
        a.pause().unwrap();
        a.mov(eax, 1).unwrap();
        a.xchg(dword_ptr(rdi + 0x1C0), eax).unwrap();
        a.test(eax, eax).unwrap();
        a.jne(take).unwrap();
        a.inc(qword_ptr(rdi + 0x200)).unwrap();
        a.add(qword_ptr(rdi + 0x240), 2).unwrap();
        a.mov(dword_ptr(rdi + 0x1C0), 0).unwrap();
    });
    let all = 4 * EACH;
    let word = |at| u64::from_le_bytes(read(&ram, DATA + at));
    assert_eq!(word(0), all);
    assert_eq!(u32::from_le_bytes(read(&ram, DATA + 0x3D)), 3 * all as u32);
    assert_eq!(word(0x81), all);
    assert_eq!(u32::from_le_bytes(read(&ram, DATA + 0xFFE)), all as u32);
    assert_eq!((word(0x100), word(0x108)), (0xF, 0), "an even number of changes");
    assert_eq!(word(0x140), 5 * all);
    assert_eq!((word(0x180), word(0x188)), (all, 2 * all));
    assert_eq!((word(0x200), word(0x240)), (all, 2 * all), "the spin lock excludes");
}

#[test]
fn locks_across_a_page_exclude_those_inside_it() {
    // Two processors add to four bytes across the border, two to the half of them that is in the second page.
    const EACH: u64 = 200_000;
    let ram = shared();
    four(&ram, EACH, |n, a| {
        if n % 2 == 0 {
            a.lock().add(dword_ptr(rdi + 0xFFE), 0x1_0000).unwrap();
        } else {
            a.lock().inc(word_ptr(rdi + 0x1000)).unwrap();
        }
    });
    assert_eq!(u32::from_le_bytes(read(&ram, DATA + 0xFFE)), (4 * EACH as u32) << 16);
}

#[test]
fn stores_are_seen_in_order_by_other_processors() {
    // Message passing: data, then flag; the reader sees the flag, then must see the data (x86's memory order).
    const EACH: u64 = 20_000;
    let ram = shared();
    four(&ram, EACH, |n, a| {
        let (data, flag) = (0x40 + 0x200 * (n as i32 / 2), 0xC0 + 0x200 * (n as i32 / 2));
        if n % 2 == 0 {
            a.mov(qword_ptr(rdi + data), r12).unwrap();
            a.mov(qword_ptr(rdi + flag), r12).unwrap();
        } else {
            // Counts down: the data can be newer (smaller) than the flag, never older.
            let mut good = a.create_label();
            a.mov(rax, qword_ptr(rdi + flag)).unwrap();
            a.mov(rdx, qword_ptr(rdi + data)).unwrap();
            a.test(rax, rax).unwrap();
            a.je(good).unwrap();
            a.cmp(rdx, rax).unwrap();
            a.jbe(good).unwrap();
            a.ud2().unwrap();
            a.set_label(&mut good).unwrap();
            a.nop().unwrap();
        }
    });
}

// ---- debug exceptions

fn debug(bits: u64) -> Stop {
    Stop::Exception(Exception { vector: 1, error: None, payload: bits })
}

fn small_loop(a: &mut CodeAssembler) {
    let mut top = a.create_label();
    a.set_label(&mut top).unwrap();
    a.db(&[0x83, 0xC0, 3]).unwrap(); // add eax, 3
    a.mov(dword_ptr(rsi), eax).unwrap();
    a.mov(edx, dword_ptr(rsi + 8)).unwrap();
    a.dec(ecx).unwrap();
    a.jne(top).unwrap();
    a.hlt().unwrap();
}

#[test]
fn breakpoints_appear_in_code_that_is_already_translated() {
    let m = every(|m| {
        let start = |m: &mut Machine| {
            (m.p.cpu.regs[1], m.p.cpu.regs[6], m.p.cpu.rip) = (20, DATA, CODE);
            m.p.cpu.flush_tlb(true);
        };
        m.code(CODE, small_loop);
        start(m);
        m.halts();

        // An instruction in the middle of the block, by each of the four registers.
        for n in 0..4 {
            start(m);
            m.p.cpu.dr[n] = CODE + 3;
            m.p.cpu.dr[7] = 1 << (2 * n);
            for round in 0..20 {
                assert_eq!(m.run(), debug(1 << n), "round {round}");
                assert_eq!((m.p.cpu.rip, m.reg(1)), (CODE + 3, 20 - round));
                m.p.cpu.sysflags |= rflags::RF;
            }
            assert_eq!(m.run(), Stop::Halt);
        }
        // A store, and a load or store next to it: after the instruction.
        for (at, kind, rip) in [(DATA, 1u64, CODE + 5), (DATA + 8, 3, CODE + 8)] {
            start(m);
            m.p.cpu.dr[2] = at;
            m.p.cpu.dr[7] = 1 << 4 | kind << 24 | 3 << 26;
            m.p.cpu.flush_tlb(true);
            for _ in 0..20 {
                assert_eq!(m.run(), debug(4));
                assert_eq!(m.p.cpu.rip, rip);
            }
            assert_eq!(m.run(), Stop::Halt);
        }
        m.p.cpu.dr[7] = 0;
        start(m);
        m.halts();
    });
    assert_eq!(m.reg(1), 0);
}

#[test]
fn single_steps_through_translated_code() {
    every(|m| {
        m.code(CODE, small_loop);
        (m.p.cpu.regs[1], m.p.cpu.regs[6]) = (20, DATA);
        m.halts();
        (m.p.cpu.regs[1], m.p.cpu.rip) = (4, CODE);
        m.p.cpu.sysflags |= rflags::TF;
        let mut places = Vec::new();
        for _ in 0..4 * 5 {
            assert_eq!(m.run(), debug(1 << 14));
            places.push(m.p.cpu.rip - CODE);
        }
        m.p.cpu.sysflags &= !rflags::TF;
        m.halts();
        (m.p.cpu.regs[1], m.p.cpu.rip) = (4, CODE);
        m.halts();
        places
    });
}

#[test]
fn popf_starts_single_steps_in_the_middle_of_a_block() {
    every(|m| {
        m.code(CODE, |a| {
            a.inc(eax).unwrap();
            a.push(0x102).unwrap();
            a.popfq().unwrap();
            a.inc(eax).unwrap();
            a.inc(eax).unwrap();
            a.hlt().unwrap();
        });
        let first = m.run();
        let at = m.p.cpu.rip;
        (first, at, m.reg(0))
    });
}

// ---- REP

/// Elements that go to a device several at once are the same accesses in the same order, with the same result, wherever
/// the two ends are, across pages, and up to the element that faults.
#[test]
fn elements_of_a_device_at_once_or_one_by_one() {
    const BEHIND: u64 = DATA + 0x8000; // two pages that lead to the device, the next one is not there
    let strings: [(&str, Emit, u64); 8] = [
        ("movsb", |a| a.rep().movsb().unwrap(), 1),
        ("movsw", |a| a.rep().movsw().unwrap(), 2),
        ("movsd", |a| a.rep().movsd().unwrap(), 4),
        ("movsq", |a| a.rep().movsq().unwrap(), 8),
        ("stosb", |a| a.rep().stosb().unwrap(), 1),
        ("stosw", |a| a.rep().stosw().unwrap(), 2),
        ("stosd", |a| a.rep().stosd().unwrap(), 4),
        ("stosq", |a| a.rep().stosq().unwrap(), 8),
    ];
    for (name, string, size) in strings {
        // Source, target, elements; the last ones run into the page that is not there, in both ways.
        let places = [
            (DATA, BEHIND, 300),
            (BEHIND, DATA, 300),
            (BEHIND, BEHIND + 0x800, 300),
            (BEHIND + 8, BEHIND, 300),
            (BEHIND + 0x1000 - 3, BEHIND + 5, 200),
            (DATA + 3, BEHIND + 0x1000 - 100 * size + 1, 200),
            (DATA, BEHIND + 0x2000 - 50 * size, 100),
            (BEHIND + 0x2000 - 50 * size, DATA, 100),
            (BEHIND + 0x2000 - 50 * size + 1, BEHIND, 100),
        ];
        for (from, to, count) in places {
            let run = |at_once: usize, tier: Tier| {
                let mut m = machine(tier);
                m.bus.at_once = at_once;
                let (window, rights) = (0xF000_0000, P | W | U);
                m.set_pte(BEHIND, window | rights);
                m.set_pte(BEHIND + 0x1000, (window + 0x1000) | rights);
                m.set_pte(BEHIND + 0x2000, 0);
                assert!(m.bus.ram.write(DATA, &(0..0x1000u32).map(|n| (n * 7) as u8).collect::<Vec<_>>()));
                m.code(CODE, |a| {
                    string(a);
                    a.hlt().unwrap();
                });
                (m.p.cpu.regs[0], m.p.cpu.regs[1]) = (0x1122_3344_5566_7788, count);
                (m.p.cpu.regs[6], m.p.cpu.regs[7]) = (from, to);
                let end = format!("{:?}", m.run());
                let mut data = vec![0; 0x1000];
                assert!(m.bus.ram.read(DATA, &mut data));
                let pieces = m.bus.pieces;
                ((end, m.p.cpu.regs[..16].to_vec(), m.bus.order, m.bus.device_writes, data), pieces)
            };
            let (expected, none) = run(0, Tier::Interpreter);
            assert_eq!(none, 0);
            for tier in [Tier::Interpreter, Tier::Translator, Tier::Check] {
                for at_once in [1, 7, usize::MAX] {
                    let (got, pieces) = run(at_once, tier);
                    assert!(got == expected, "{name} {from:#x} {to:#x} {at_once} {tier:?}");
                    let device = to >= BEHIND || from >= BEHIND && name.starts_with("movs");
                    assert_eq!(pieces != 0, device, "{name} {from:#x} {to:#x} {at_once} {tier:?}");
                }
            }
        }
    }
}

/// The same for ports: up to an element that the bus does not serve, or whose page is not there.
#[test]
fn elements_of_a_port_at_once_or_one_by_one() {
    let strings: [(&str, Emit, u64); 6] = [
        ("insb", |a| a.rep().insb().unwrap(), 1),
        ("insw", |a| a.rep().insw().unwrap(), 2),
        ("insd", |a| a.rep().insd().unwrap(), 4),
        ("outsb", |a| a.rep().outsb().unwrap(), 1),
        ("outsw", |a| a.rep().outsw().unwrap(), 2),
        ("outsd", |a| a.rep().outsd().unwrap(), 4),
    ];
    for (name, string, size) in strings {
        // Address, elements, direction, elements that a port takes.
        let places = [
            (DATA, 300, false, usize::MAX),
            (DATA + 0x1000 - 3, 100, false, usize::MAX),
            (DATA + 0x1000, 100, true, usize::MAX),
            (DATA + 0x2000 - 50 * size, 100, false, usize::MAX),
            (DATA + 0x2000 - 50 * size + 1, 100, false, usize::MAX),
            (DATA, 100, false, 37),
            (DATA + 0x2000, 5, false, usize::MAX),
            (DATA, 0, false, usize::MAX),
        ];
        for (at, count, down, room) in places {
            let run = |at_once: usize, tier: Tier| {
                let mut m = machine(tier);
                (m.bus.at_once, m.bus.port_counter, m.bus.port_room) = (at_once, Some(3), room);
                m.set_pte(DATA + 0x2000, 0);
                assert!(m.bus.ram.write(DATA, &(0..0x2000u32).map(|n| (n * 7) as u8).collect::<Vec<_>>()));
                m.code(CODE, |a| {
                    if down {
                        a.std().unwrap();
                    }
                    string(a);
                    a.hlt().unwrap();
                });
                (m.p.cpu.regs[1], m.p.cpu.regs[2]) = (count, 0x1F0);
                (m.p.cpu.regs[6], m.p.cpu.regs[7]) = (at, at);
                let end = format!("{:?}", m.run());
                let mut data = vec![0; 0x2000];
                assert!(m.bus.ram.read(DATA, &mut data));
                let pieces = m.bus.pieces;
                ((end, m.p.cpu.regs[..16].to_vec(), m.bus.port_counter, m.bus.port_writes, data), pieces)
            };
            let (expected, none) = run(0, Tier::Interpreter);
            assert_eq!(none, 0);
            for tier in [Tier::Interpreter, Tier::Translator, Tier::Check] {
                for at_once in [1, 7, usize::MAX] {
                    let (got, pieces) = run(at_once, tier);
                    assert!(
                        got == expected,
                        "{name} {at:#x} {count} {down} {at_once} {tier:?}: {got:x?} {expected:x?}"
                    );
                    let some = !down && count >= 8;
                    assert_eq!(pieces != 0, some, "{name} {at:#x} {count} {down} {at_once} {tier:?}");
                }
            }
        }
    }
}

/// What is remembered of a device's page ends with its translation and its rights.
#[test]
fn a_device_page_is_walked_again_when_its_translation_was_dropped() {
    const WINDOW: u64 = DATA + 0x8000;
    for tier in [Tier::Interpreter, Tier::Translator] {
        let mut m = machine(tier);
        m.set_pte(WINDOW, 0xF000_0000 | P | W | U);
        let store = |m: &mut Machine| {
            m.code(CODE, |a| {
                a.mov(dword_ptr(WINDOW), 1).unwrap();
                a.mov(dword_ptr(WINDOW), 2).unwrap();
                a.hlt().unwrap();
            });
            m.run()
        };
        assert_eq!(store(&mut m), Stop::Halt);
        m.set_pte(WINDOW, 0xF000_1000 | P | W | U);
        assert_eq!(store(&mut m), Stop::Halt);
        let to: Vec<u64> = m.bus.device_writes.iter().map(|w| w.0).collect();
        assert_eq!(to, [0xF000_0000, 0xF000_0000, 0xF000_1000, 0xF000_1000], "{tier:?}");
        m.set_pte(WINDOW, 0xF000_1000 | P | U); // read-only
        assert!(matches!(store(&mut m), Stop::Exception(e) if e.vector == 14 && e.error == Some(3)), "{tier:?}");
        m.code(CODE, |a| {
            a.mov(eax, dword_ptr(WINDOW)).unwrap();
            a.mov(dword_ptr(WINDOW), eax).unwrap();
        });
        assert!(matches!(m.run(), Stop::Exception(e) if e.vector == 14), "{tier:?}: a load that may is no store");
        // A page of the kernel's is remembered for the kernel only.
        m.set_pte(WINDOW, 0xF000_1000 | P | W);
        assert_eq!(store(&mut m), Stop::Halt);
        m.set_cpl(3);
        assert!(matches!(store(&mut m), Stop::Exception(e) if e.vector == 14 && e.error == Some(7)), "{tier:?}");
    }
}

#[test]
fn faults_inside_rep_leave_the_progress() {
    let strings: [(&str, Emit, u64); 6] = [
        ("movsb", |a| a.rep().movsb().unwrap(), 1),
        ("movsq", |a| a.rep().movsq().unwrap(), 8),
        ("stosb", |a| a.rep().stosb().unwrap(), 1),
        ("stosd", |a| a.rep().stosd().unwrap(), 4),
        ("cmpsb", |a| a.repe().cmpsb().unwrap(), 1),
        ("scasw", |a| a.repne().scasw().unwrap(), 2),
    ];
    for (name, string, size) in strings {
        for backwards in [false, true] {
            let m = every(|m| {
                let to = if backwards { DATA + 0x1000 + 100 * size } else { DATA + 0x1000 - 100 * size };
                m.set_pte(if backwards { DATA } else { DATA + 0x1000 }, 0);
                m.code(CODE, |a| {
                    a.inc(r15).unwrap();
                    a.cmp(r15, r15).unwrap();
                    if backwards {
                        a.std().unwrap();
                    }
                    string(a);
                    a.inc(r15).unwrap();
                    a.hlt().unwrap();
                });
                (m.p.cpu.regs[1], m.p.cpu.regs[6], m.p.cpu.regs[7]) = (300, 0x7_0000, to);
                m.p.cpu.regs[0] = 0x1234_5678_9ABC_DEF0;
                if name == "scasw" {
                    m.p.cpu.regs[0] = 0xFFFF; // is not found in zeros
                } else if name == "cmpsb" {
                    m.p.cpu.regs[6] = 0x9_0000; // zeros
                }
                let fault = m.page_fault();
                let (rip, left) = (m.p.cpu.rip, m.reg(1));
                // Mended, it goes on.
                m.set_pte(DATA, DATA | P | W | U);
                m.set_pte(DATA + 0x1000, (DATA + 0x1000) | P | W | U);
                m.halts();
                (fault, rip, left)
            });
            assert_eq!((m.reg(1), m.reg(15)), (0, 2), "{name} {backwards}");
        }
    }
}

#[test]
fn rep_rewrites_its_own_instruction_and_what_follows() {
    let m = both(
        |m| {
            // 16 times INC R15.
            let code: Vec<u8> = [0x49, 0xFF, 0xC7].repeat(16);
            assert!(m.bus.ram.write(0x7_0000, &code));
        },
        |a| {
            let mut over = a.create_label();
            a.mov(esi, 0x7_0000).unwrap();
            a.lea(rdi, qword_ptr(over)).unwrap();
            a.mov(ecx, 48).unwrap();
            a.rep().movsb().unwrap();
            a.set_label(&mut over).unwrap();
            a.nops_with_size(48).unwrap();
            a.hlt().unwrap();
        },
    );
    assert_eq!(m.reg(15), 16);
}

#[test]
fn single_string_stores_rewrite_what_follows() {
    const INC_R15: [u8; 3] = [0x49, 0xFF, 0xC7];
    let m = both(
        |m| assert!(m.bus.ram.write(0x7_0000, &INC_R15)),
        |a| {
            let [mut moved, mut stored] = [a.create_label(), a.create_label()];
            a.mov(esi, 0x7_0000).unwrap();
            a.lea(rdi, qword_ptr(moved)).unwrap();
            a.movsb().unwrap();
            a.movsw().unwrap();
            a.set_label(&mut moved).unwrap();
            a.nops_with_size(3).unwrap();
            a.lea(rdi, qword_ptr(stored)).unwrap();
            a.mov(eax, i32::from_le_bytes([INC_R15[0], INC_R15[1], INC_R15[2], 0x90])).unwrap();
            a.stosd().unwrap();
            a.set_label(&mut stored).unwrap();
            a.nops_with_size(4).unwrap();
            a.hlt().unwrap();
        },
    );
    assert_eq!(m.reg(15), 2);
}

// ---- the code buffer

#[test]
fn many_blocks_and_their_links_survive() {
    // 3000 subroutines over many pages, called through a table again and again.
    const SUBS: u64 = 3000;
    let m = both(
        |m| {
            for n in 0..SUBS {
                let at = 0x90_0000 + n * 0x40;
                let code = assemble(64, at, |a| {
                    a.add(eax, n as i32).unwrap();
                    a.mov(dword_ptr(rdi), eax).unwrap();
                    a.ret().unwrap();
                });
                assert!(m.bus.ram.write(at, &code));
                m.bus.write64(0xA0_0000 + n * 8, at);
            }
            m.p.cpu.regs[7] = DATA;
            m.p.cpu.regs[12] = 3;
        },
        |a| {
            let (mut again, mut top) = (a.create_label(), a.create_label());
            a.set_label(&mut again).unwrap();
            a.xor(ecx, ecx).unwrap();
            a.set_label(&mut top).unwrap();
            a.call(qword_ptr(rcx * 8 + 0xA0_0000)).unwrap();
            a.inc(ecx).unwrap();
            a.cmp(ecx, SUBS as i32).unwrap();
            a.jne(top).unwrap();
            a.dec(r12).unwrap();
            a.jne(again).unwrap();
            a.hlt().unwrap();
        },
    );
    assert_eq!(m.reg(0), 3 * (0..SUBS).sum::<u64>());
}
