//! Accesses that roam over pages which follow each other in the address space and not in memory: they get runs of pages, and these
//! have to end with the translations that they are made of.
#![cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]

mod machine;
mod random;

use cpu_x86::state::cr::CR4_SMAP;
use cpu_x86::{Stop, Tier};
use guest_memory::RamBlock;
use iced_x86::code_asm::*;
use machine::tiers::machine;
use machine::{CODE, DATA, DEVICE, Machine, P, TABLES, U, W};
use random::Rng;

/// Where the pages are in the address space, and in memory.
const AREA: u64 = 0x30_0000;
const MEMORY: u64 = 0x40_0000;
const PAGE: u64 = 0x1000;
/// Accesses until a run is asked for, several times over.
const ROUNDS: u32 = 60_000;

/// The same with both tiers: what they say, and the statistics of the translator.
fn both<T: PartialEq + std::fmt::Debug>(run: impl Fn(&mut Machine) -> T) -> (T, u64) {
    let [mut a, mut b] = [Tier::Interpreter, Tier::Translator].map(machine);
    let (x, y) = (run(&mut a), run(&mut b));
    assert_eq!(x, y);
    let s = b.p.jit_statistics();
    println!("{} sites got runs, {} blocks translated again", s.ranged, s.settled);
    (y, s.ranged)
}

/// Says it when a site did not ask in time, as on a machine that does something else.
fn ranged(times: u64) {
    if times == 0 {
        println!("the sites were too slow to get runs of pages");
    }
}

/// A random order of numbers.
fn shuffled(count: u64, rng: &mut Rng) -> Vec<u64> {
    let mut v: Vec<u64> = (0..count).collect();
    for n in (1..v.len()).rev() {
        v.swap(n, rng.below(n as u64 + 1) as usize);
    }
    v
}

/// Maps `count` pages of the area to pages of memory in a random order; where each is.
fn scatter(m: &mut Machine, count: u64, seed: u64) -> Vec<u64> {
    let places: Vec<u64> = shuffled(count, &mut Rng(seed)).iter().map(|n| MEMORY + n * PAGE).collect();
    for (n, at) in places.iter().enumerate() {
        m.set_pte(AREA + n as u64 * PAGE, at | P | W | U);
    }
    places
}

/// Writes a ring through all pages: at offset 16 times the number of each is the address of the next. Returns where it starts.
fn ring(m: &Machine, places: &[u64], seed: u64) -> u64 {
    let order = shuffled(places.len() as u64, &mut Rng(seed ^ 0xABC));
    let inside = |n: u64| 16 * (n % 200);
    for (k, n) in order.iter().enumerate() {
        let next = order[(k + 1) % order.len()];
        m.bus.write64(places[*n as usize] + inside(*n), AREA + next * PAGE + inside(next));
        m.bus.write64(places[*n as usize] + 0xFF0, n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }
    AREA + order[0] * PAGE + inside(order[0])
}

/// Goes through the ring: loads of all kinds, also `across` the ends of pages, and stores that other loads see.
fn chase(a: &mut CodeAssembler, rounds: u32, across: bool) {
    let mut top = a.create_label();
    a.mov(ecx, rounds).unwrap();
    a.set_label(&mut top).unwrap();
    a.mov(rsi, qword_ptr(rsi)).unwrap();
    a.add(rax, qword_ptr(rsi)).unwrap();
    a.mov(rdx, rsi).unwrap();
    a.and(rdx, -4096i32).unwrap();
    a.movzx(r8d, cl).unwrap();
    a.xor(rax, qword_ptr(rdx + r8 + if across { 0xF80 } else { 0xE00 })).unwrap();
    a.movzx(r9d, word_ptr(rdx + 0xFF0)).unwrap();
    a.add(r14, r9).unwrap();
    a.movdqa(xmm0, xmmword_ptr(rdx + 0xFF0)).unwrap();
    a.paddq(xmm1, xmm0).unwrap();
    a.mov(dword_ptr(rdx + 0xF00), ecx).unwrap();
    a.add(r14d, dword_ptr(rdx + 0xF00)).unwrap();
    a.lea(rdx, qword_ptr(rdx + 0xF00)).unwrap();
    a.cmp(dword_ptr(rdx), ecx).unwrap();
    a.adc(rax, 0).unwrap();
    a.dec(ecx).unwrap();
    a.jne(top).unwrap();
}

/// Runs to the breakpoint at its end.
fn breaks(m: &mut Machine) {
    let end = m.run();
    assert!(matches!(end, Stop::Exception(e) if e.vector == 3), "{end:?} at {:#x}", m.p.cpu.rip);
}

/// What is left.
fn state(m: &Machine, count: u64) -> (Vec<u64>, u64) {
    let mut data = vec![0; (count * PAGE) as usize];
    assert!(m.bus.ram.read(MEMORY, &mut data));
    let sum = data.iter().fold(0u64, |h, b| h.rotate_left(7).wrapping_mul(31) ^ u64::from(*b));
    (m.p.cpu.regs[..16].to_vec(), sum)
}

#[test]
fn a_ring_through_scattered_pages() {
    // In one run; in more than a window holds; and next to each other in memory.
    for (count, order) in [(40, true), (1500, true), (2600, true), (40, false)] {
        let (_, times) = both(|m| {
            let places = match order {
                true => scatter(m, count, 5),
                false => (0..count).map(|n| AREA + n * PAGE).collect(),
            };
            let start = ring(m, &places, 7);
            m.p.cpu.regs[6] = start;
            m.code(CODE, |a| {
                chase(a, ROUNDS, true);
                a.movq(r10, xmm1).unwrap();
                a.hlt().unwrap();
            });
            m.halts();
            state(m, count)
        });
        ranged(times);
    }
}

/// Loops by steps that are out of a page soon: many rounds are done without a look at pages, which have to end where the run of pages ends,
/// and where one of them becomes another.
#[test]
fn columns_through_scattered_pages() {
    const PAGES: u64 = 24;
    const BYTES: u64 = PAGES * PAGE;
    // In the whole area, but not the first bytes of it and the last ones.
    let first = |step: i64| if step > 0 { AREA + 24 } else { AREA + BYTES - 40 };
    let rounds = |step: i64| ((BYTES - 64) / step.unsigned_abs()) as u32;
    let columns = |m: &mut Machine, step: i64, rounds: u32, times: u32| {
        m.code(CODE, |a| {
            let [mut outer, mut inner] = [a.create_label(), a.create_label()];
            a.mov(r15d, times).unwrap();
            a.set_label(&mut outer).unwrap();
            a.mov(ecx, rounds).unwrap();
            a.mov(rsi, first(step) as i64).unwrap();
            a.mov(r14, first(step) as i64).unwrap();
            a.set_label(&mut inner).unwrap();
            a.add(rax, qword_ptr(rsi)).unwrap();
            a.movdqu(xmm0, xmmword_ptr(rsi + 3)).unwrap();
            a.paddq(xmm1, xmm0).unwrap();
            a.add(rsi, step as i32).unwrap();
            a.xor(rax, qword_ptr(r14 - 24)).unwrap();
            a.add(r14, step as i32).unwrap();
            a.dec(ecx).unwrap();
            a.jne(inner).unwrap();
            a.rol(rax, 3).unwrap();
            a.dec(r15d).unwrap();
            a.jne(outer).unwrap();
            a.movq(r10, xmm1).unwrap();
            a.hlt().unwrap();
        });
    };
    for (step, seed) in [(512, 1), (1024, 2), (136, 3), (-512, 4), (-1000, 5), (768, 6)] {
        let (_, times) = both(|m| {
            let places = scatter(m, PAGES, seed);
            let mut rng = Rng(seed);
            let data: Vec<u8> = (0..BYTES + PAGE).map(|_| rng.next() as u8).collect();
            assert!(m.bus.ram.write(MEMORY, &data));
            let mut all = Vec::new();
            columns(m, step, rounds(step), 8 * ROUNDS / rounds(step));
            m.halts();
            all.push(m.p.cpu.regs[..16].to_vec());
            // A page becomes another, and then its old self; the code is the same.
            for place in [MEMORY + BYTES, places[9]] {
                m.set_pte(AREA + 9 * PAGE, place | P | W | U);
                m.p.cpu.rip = CODE;
                m.halts();
                all.push(m.p.cpu.regs[..16].to_vec());
            }
            // Out of the pages: not there, and then a device.
            columns(m, step, u32::MAX, 1);
            let beyond = if step > 0 { AREA + BYTES } else { AREA - PAGE };
            m.set_pte(beyond, 0);
            let fault = m.page_fault();
            all.push([m.p.cpu.regs[..16].to_vec(), vec![fault.1, m.p.cpu.rip]].concat());
            m.bus.device_reads.clear();
            m.set_pte(beyond, DEVICE | P | W | U);
            m.set_pte(if step > 0 { beyond + PAGE } else { beyond - PAGE }, 0);
            let fault = m.page_fault();
            all.push([m.p.cpu.regs[..16].to_vec(), vec![fault.1, m.p.cpu.rip]].concat());
            (all, format!("{:x?}", m.bus.device_reads))
        });
        ranged(times);
    }
}

#[test]
fn a_page_that_a_site_had_is_its_own_again() {
    // A site asks 4096 accesses after it began to roam. With a divisor of 4097 pages, the next access is to the page that it had then.
    for (count, seed) in [(17, 1), (17, 2), (241, 3)] {
        let (_, times) = both(|m| {
            let places = scatter(m, count, seed);
            m.p.cpu.regs[6] = ring(m, &places, seed);
            m.code(CODE, |a| {
                chase(a, ROUNDS, false);
                a.movq(r10, xmm1).unwrap();
                a.hlt().unwrap();
            });
            m.halts();
            state(m, count)
        });
        ranged(times);
    }
}

#[test]
fn pages_in_the_middle_are_remapped() {
    let count = 32;
    let (_, times) = both(|m| {
        let places = scatter(m, count, 9);
        let start = ring(m, &places, 11);
        m.p.cpu.regs[6] = start;
        // R12 and R13 are the entries of two pages.
        (m.p.cpu.regs[12], m.p.cpu.regs[13]) = (Machine::pte(AREA + 9 * PAGE), Machine::pte(AREA + 20 * PAGE));
        // The ring goes on in the same way when one is in the other's place; what is read beside it differs.
        for (n, other) in [(9, 20), (20, 9)] {
            m.bus.write64(places[other] + 16 * n as u64, m.bus.read64(places[n] + 16 * n as u64));
        }
        m.code(CODE, |a| {
            let mut again = a.create_label();
            a.mov(r11d, 12).unwrap();
            a.set_label(&mut again).unwrap();
            chase(a, ROUNDS / 3, true);
            for r in [r12, r13] {
                a.mov(r10, qword_ptr(r)).unwrap();
                a.push(r10).unwrap();
            }
            for r in [r12, r13] {
                a.pop(r10).unwrap();
                a.mov(qword_ptr(r), r10).unwrap();
            }
            a.mov(r10, AREA + 9 * PAGE).unwrap();
            a.invlpg(byte_ptr(r10)).unwrap();
            a.mov(r10, AREA + 20 * PAGE).unwrap();
            a.invlpg(byte_ptr(r10)).unwrap();
            a.dec(r11d).unwrap();
            a.jne(again).unwrap();
            a.hlt().unwrap();
        });
        m.halts();
        state(m, count)
    });
    ranged(times);
}

#[test]
fn a_page_in_the_middle_goes_away() {
    let count = 32;
    for cpl in [0, 3] {
        let ((fault, _), times) = both(|m| {
            let places = scatter(m, count, 13);
            m.p.cpu.regs[6] = ring(m, &places, 15);
            let entry = Machine::pte(AREA + 17 * PAGE);
            let code = |a: &mut CodeAssembler| {
                chase(a, ROUNDS, true);
                a.int3().unwrap();
            };
            m.code(CODE, code);
            m.set_cpl(cpl);
            breaks(m);
            m.p.cpu.rip = CODE;
            m.bus.write64(entry, 0);
            m.p.cpu.flush_page(AREA + 17 * PAGE);
            (m.page_fault(), state(m, count))
        });
        assert_eq!((fault.0 & !4, fault.1 & !0xFFF), (0, AREA + 17 * PAGE));
        ranged(times);
    }
}

#[test]
fn what_the_kernel_may_read_the_user_may_not() {
    let count = 32;
    let (fault, times) = both(|m| {
        let places = scatter(m, count, 17);
        for n in 20..count {
            m.set_pte(AREA + n * PAGE, places[n as usize] | P | W);
        }
        let code = |a: &mut CodeAssembler| {
            chase(a, ROUNDS, false);
            a.int3().unwrap();
        };
        // The same code for both: the kernel goes through all pages, the user through those before the kernel's.
        m.p.cpu.regs[6] = ring(m, &places, 19);
        m.code(CODE, code);
        breaks(m);
        m.p.cpu.regs[6] = ring(m, &places[..20], 21);
        m.set_cpl(3);
        m.p.cpu.rip = CODE;
        breaks(m);
        // Behind the MOV that begins it: at the loop itself.
        m.p.cpu.regs[6] = AREA + 20 * PAGE;
        m.p.cpu.rip = CODE + 5;
        m.page_fault()
    });
    assert_eq!(fault, (5, AREA + 20 * PAGE));
    ranged(times);
}

#[test]
fn address_spaces_by_turns() {
    // The same linear pages in two address spaces, in another order of the same memory.
    const ROOT: u64 = 0xF0_0000;
    let count = 32;
    for pcid in [false, true] {
        let (_, times) = both(|m| {
            let mut page = [0; 0x1000];
            let places = scatter(m, count, 23);
            for (from, to) in [(0, 0), (0x1000, 0x1000), (0x2000, 0x2000), (0x5000, 0x3000)] {
                assert!(m.bus.ram.read(TABLES + from, &mut page) && m.bus.ram.write(ROOT + to, &page));
            }
            m.bus.write64(ROOT, (ROOT + 0x1000) | P | W | U);
            m.bus.write64(ROOT + 0x1000, (ROOT + 0x2000) | P | W | U);
            m.bus.write64(ROOT + 0x2000 + (AREA >> 21) * 8, (ROOT + 0x3000) | P | W | U);
            let others: Vec<u64> = (0..count).map(|n| 0xE0_0000 + n * PAGE).collect();
            for (n, at) in others.iter().enumerate() {
                m.bus.write64(ROOT + 0x3000 + ((AREA >> 12 & 511) + n as u64) * 8, at | P | W | U);
            }
            m.p.cpu.regs[12] = ring(m, &places, 25);
            m.p.cpu.regs[13] = ring(m, &others, 27);
            if pcid {
                m.p.cpu.cr4 |= cpu_x86::state::cr::CR4_PCIDE;
                m.p.cpu.update_mode();
            }
            m.code(CODE, |a| {
                let (mut again, mut go) = (a.create_label(), a.create_label());
                a.mov(r11d, 8).unwrap();
                a.set_label(&mut again).unwrap();
                for (n, (root, ring)) in [(TABLES, r12), (ROOT, r13)].into_iter().enumerate() {
                    let root = if pcid { 1 << 63 | root | (n as u64 + 1) } else { root };
                    a.mov(rdx, root).unwrap();
                    a.mov(cr3, rdx).unwrap();
                    a.mov(rsi, ring).unwrap();
                    a.call(go).unwrap();
                }
                a.dec(r11d).unwrap();
                a.jne(again).unwrap();
                a.hlt().unwrap();
                a.set_label(&mut go).unwrap();
                chase(a, ROUNDS / 3, true);
                a.ret().unwrap();
            });
            m.halts();
            state(m, count)
        });
        ranged(times);
    }
}

#[test]
fn runs_end_at_memory_that_cannot_be_shown() {
    // In the middle are a page of a client's memory, and one of a device.
    let count = 32;
    let others = RamBlock::new("other", 0x4000).unwrap();
    let (_, times) = both(|m| {
        let mut places = scatter(m, count, 29);
        assert!(others.fill(0, 0x4000, 0));
        m.bus.others.push((1 << 30, others.clone()));
        m.set_pte(AREA + 11 * PAGE, ((1 << 30) + 2 * PAGE) | P | W | U);
        m.set_pte(AREA + 21 * PAGE, DEVICE | P | W | U);
        places.remove(21);
        places.remove(11);
        // (Of the ring are those before the first of them, the last of which is read across its end.)
        m.p.cpu.regs[6] = ring(m, &places[..11], 31);
        m.code(CODE, |a| {
            let mut again = a.create_label();
            a.mov(r11d, 4).unwrap();
            a.set_label(&mut again).unwrap();
            chase(a, ROUNDS / 2, true);
            a.mov(rbx, AREA + 11 * PAGE + 0x20).unwrap();
            a.add(qword_ptr(rbx), 5).unwrap();
            a.add(rax, qword_ptr(rbx)).unwrap();
            a.add(rax, qword_ptr(rbx + 0x0A * 0x1000)).unwrap();
            a.dec(r11d).unwrap();
            a.jne(again).unwrap();
            a.hlt().unwrap();
        });
        m.halts();
        let mut word = [0; 8];
        assert!(others.read(2 * PAGE + 0x20, &mut word));
        (u64::from_le_bytes(word), state(m, count))
    });
    ranged(times);
}

#[test]
fn user_pages_behind_smap() {
    // With RFLAGS.AC the kernel reads user pages, without it must not.
    let count = 32;
    let (fault, times) = both(|m| {
        let places = scatter(m, count, 33);
        m.p.cpu.cr4 |= CR4_SMAP;
        m.p.cpu.update_mode();
        // The code's own pages are the kernel's.
        for at in [CODE, CODE + PAGE, machine::STACK - PAGE, DATA] {
            m.set_pte(at, at | P | W);
        }
        m.p.cpu.regs[6] = ring(m, &places, 35);
        m.code(CODE, |a| {
            a.stac().unwrap();
            chase(a, ROUNDS, true);
            a.clac().unwrap();
            chase(a, 10, true);
        });
        m.page_fault().0
    });
    assert_eq!(fault, 1);
    ranged(times);
}
