//! Global pages outlive loads of CR3 for supervisor accesses; others must not, whether they are few or many, data or code.
#![cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]

mod machine;

use cpu_x86::state::cr::*;
use iced_x86::code_asm::*;
use machine::tiers::every;
use machine::{CODE, Machine, P, TABLES, U, W};

const G: u64 = 1 << 8;
const PAGE: u64 = 0x1000;
/// Pages that are elsewhere in each address space.
const AREA: u64 = 0x30_0000;
/// The one with code, behind those with data.
const CALLED: u64 = AREA + 150 * PAGE;
/// One that is called global, though it is not the same in both.
const SHARED: u64 = AREA + 160 * PAGE;
/// The tables of the second address space.
const ROOT: u64 = 0xF0_0000;
/// Where the pages of the area are in each.
const MEMORY: [u64; 2] = [0x60_0000, 0x80_0000];
const ROUNDS: u32 = 5;

/// Everything is global but the area, which each of the two spaces has in other memory.
fn spaces(m: &mut Machine, pcid: bool) {
    for page in 0..machine::RAM >> 12 {
        let at = Machine::pte(page << 12);
        m.bus.write64(at, m.bus.read64(at) | G);
    }
    let mut page = [0; 0x1000];
    for (from, to) in [(0, 0), (0x1000, 0x1000), (0x2000, 0x2000), (0x5000, 0x3000)] {
        assert!(m.bus.ram.read(TABLES + from, &mut page) && m.bus.ram.write(ROOT + to, &page));
    }
    m.bus.write64(ROOT, (ROOT + 0x1000) | P | W | U);
    m.bus.write64(ROOT + 0x1000, (ROOT + 0x2000) | P | W | U);
    m.bus.write64(ROOT + 0x2000 + (AREA >> 21) * 8, (ROOT + 0x3000) | P | W | U);
    for n in 0..170 {
        let at = AREA + n * PAGE;
        let global = if at == SHARED { G } else { 0 };
        let tables = [Machine::pte(at), ROOT + 0x3000 + (at >> 12 & 511) * 8];
        for (space, (entry, memory)) in tables.into_iter().zip(MEMORY).enumerate() {
            // Not for users, or SMEP and SMAP would matter.
            m.bus.write64(entry, (memory + n * PAGE) | P | W | global);
            m.bus.write64(memory + n * PAGE, (n + 1) * 3 + space as u64 * 1000);
        }
    }
    for (space, memory) in MEMORY.into_iter().enumerate() {
        // add rax, imm32; ret
        let code = [0x48, 0x05, 7 + 90 * space as u8, 0, 0, 0, 0xC3];
        assert!(m.bus.ram.write(memory + (CALLED - AREA), &code));
    }
    m.p.cpu.cr4 |= CR4_PGE | if pcid { CR4_PCIDE } else { 0 };
    m.p.cpu.update_mode();
}

/// Reads `pages` of the area in the space that CR3 names, and writes them.
fn visit(a: &mut CodeAssembler, pages: u64, code: bool) {
    let mut next = a.create_label();
    a.mov(rsi, AREA).unwrap();
    a.mov(ecx, pages as u32).unwrap();
    a.set_label(&mut next).unwrap();
    a.add(rax, qword_ptr(rsi)).unwrap();
    a.rol(rax, 5).unwrap();
    a.add(qword_ptr(rsi), rcx).unwrap();
    a.add(rsi, PAGE as i32).unwrap();
    a.dec(ecx).unwrap();
    a.jne(next).unwrap();
    if code {
        a.mov(rdx, CALLED).unwrap();
        a.call(rdx).unwrap();
    }
}

/// The same, computed here.
fn expected(pages: u64, code: bool, rounds: u32) -> u64 {
    let mut memory = [0u64, 1000].map(|more| (0..pages).map(|n| (n + 1) * 3 + more).collect::<Vec<u64>>());
    let mut sum = 0u64;
    for _ in 0..rounds {
        for (space, memory) in memory.iter_mut().enumerate() {
            for (v, counter) in memory.iter_mut().zip((1..=pages).rev()) {
                sum = sum.wrapping_add(*v).rotate_left(5);
                *v = v.wrapping_add(counter);
            }
            if code {
                sum = sum.wrapping_add(7 + 90 * space as u64);
            }
        }
    }
    sum
}

fn root(space: u64, pcid: bool) -> u64 {
    let root = [TABLES, ROOT][space as usize];
    if pcid { 1 << 63 | root | (space + 1) } else { root }
}

/// [`ROUNDS`] times in each of the spaces, RAX being 0 at the start.
fn by_turns(a: &mut CodeAssembler, pcid: bool, in_space: impl Fn(&mut CodeAssembler)) {
    let mut again = a.create_label();
    a.xor(eax, eax).unwrap();
    a.mov(r11d, ROUNDS).unwrap();
    a.set_label(&mut again).unwrap();
    for space in [0, 1] {
        a.mov(rdx, root(space, pcid)).unwrap();
        a.mov(cr3, rdx).unwrap();
        in_space(a);
    }
    a.dec(r11d).unwrap();
    a.jne(again).unwrap();
    a.hlt().unwrap();
}

#[test]
fn pages_of_one_address_space_are_not_found_in_another() {
    for pcid in [false, true] {
        for (pages, code) in [(1, false), (1, true), (20, false), (60, false), (64, false), (65, true), (140, false)] {
            let m = every(|m| {
                spaces(m, pcid);
                m.code(CODE, |a| {
                    by_turns(a, pcid, |a| visit(a, pages, code));
                });
                m.halts();
            });
            assert_eq!(m.p.cpu.regs[0], expected(pages, code, ROUNDS), "{pages} pages, code {code}, PCID {pcid}");
        }
    }
}

#[test]
fn what_ends_global_pages() {
    // INVLPG; CR4.PGE cleared and set; INVPCID of everything.
    for how in 0..3 {
        let m = every(|m| {
            spaces(m, true);
            m.bus.write64(0x3_0000, 0);
            m.bus.write64(0x3_0008, 0);
            m.code(CODE, |a| {
                by_turns(a, true, |a| {
                    match how {
                        0 => {
                            a.mov(rdx, SHARED).unwrap();
                            a.invlpg(byte_ptr(rdx)).unwrap();
                        }
                        1 => {
                            a.mov(rdx, cr4).unwrap();
                            a.btr(rdx, 7u32).unwrap();
                            a.mov(cr4, rdx).unwrap();
                            a.bts(rdx, 7u32).unwrap();
                            a.mov(cr4, rdx).unwrap();
                        }
                        _ => {
                            a.mov(edx, 2).unwrap();
                            a.mov(rsi, 0x3_0000u64).unwrap();
                            a.invpcid(rdx, xmmword_ptr(rsi)).unwrap();
                        }
                    }
                    a.mov(rsi, SHARED).unwrap();
                    a.imul_3(rax, rax, 31).unwrap();
                    a.add(rax, qword_ptr(rsi)).unwrap();
                });
            });
            m.halts();
        });
        let values = [161 * 3, 161 * 3 + 1000];
        let sum = (0..ROUNDS).fold(0u64, |s, _| values.iter().fold(s, |s, v| s.wrapping_mul(31).wrapping_add(*v)));
        assert_eq!(m.p.cpu.regs[0], sum, "{how}");
    }
}

#[test]
fn global_pages_are_found_without_another_walk() {
    // Their entries are gone, and nobody said so: what is remembered is used, as processors do.
    let m = every(|m| {
        spaces(m, true);
        let entry = |space: u64| [Machine::pte(SHARED), ROOT + 0x3000 + (SHARED >> 12 & 511) * 8][space as usize];
        m.code(CODE, |a| {
            a.mov(rsi, SHARED).unwrap();
            a.mov(rax, qword_ptr(rsi)).unwrap();
            for space in [0, 1] {
                a.mov(rdi, entry(space)).unwrap();
                a.mov(qword_ptr(rdi), 0).unwrap();
            }
            a.mov(rdx, root(1, true)).unwrap();
            a.mov(cr3, rdx).unwrap();
            a.add(rax, qword_ptr(rsi)).unwrap();
            a.hlt().unwrap();
        });
        m.halts();
    });
    assert_eq!(m.p.cpu.regs[0], 2 * 161 * 3);
}

#[test]
fn what_the_kernel_drops_users_do_not_find() {
    const X: u64 = AREA + 5 * PAGE;
    // A page, and a large one, with which everything is dropped.
    const LARGE: u64 = 1 << 7;
    for large in [false, true] {
        every(|m| {
            let inside = if large { X & 0x1F_FFFF } else { 0 };
            m.bus.write64(MEMORY[0] + inside, 0x1111);
            m.bus.write64(MEMORY[1] + inside, 0x2222);
            let (entry, size) = if large { (TABLES + 0x2000 + (X >> 21) * 8, LARGE) } else { (Machine::pte(X), 0) };
            let mut sums = Vec::new();
            for round in 0..6 {
                m.p.cpu.regs[7] = entry;
                m.p.cpu.regs[6] = MEMORY[round % 2] | P | W | U | size;
                m.p.cpu.regs[2] = X;
                m.set_cpl(0);
                m.code(CODE + 0x1000, |a| {
                    a.mov(qword_ptr(rdi), rsi).unwrap();
                    a.invlpg(byte_ptr(rdx)).unwrap();
                    a.hlt().unwrap();
                });
                m.halts();
                m.set_cpl(3);
                m.code(CODE, |a| {
                    let (mut next, mut middle) = (a.create_label(), a.create_label());
                    a.mov(rdx, X).unwrap();
                    a.xor(eax, eax).unwrap();
                    a.mov(ecx, 20).unwrap();
                    a.set_label(&mut next).unwrap();
                    a.add(rax, qword_ptr(rdx)).unwrap();
                    a.jmp(middle).unwrap();
                    a.set_label(&mut middle).unwrap();
                    a.dec(ecx).unwrap();
                    a.jne(next).unwrap();
                    a.int3().unwrap();
                });
                m.run();
                sums.push(m.p.cpu.regs[0]);
            }
            assert_eq!(sums, [0x1111 * 20, 0x2222 * 20].repeat(3));
        });
    }
}

#[test]
fn without_pge_no_page_is_global() {
    let m = every(|m| {
        spaces(m, false);
        m.p.cpu.cr4 &= !CR4_PGE;
        m.p.cpu.update_mode();
        m.code(CODE, |a| {
            a.mov(rsi, SHARED).unwrap();
            a.mov(rax, qword_ptr(rsi)).unwrap();
            a.mov(rdx, root(1, false)).unwrap();
            a.mov(cr3, rdx).unwrap();
            a.add(rax, qword_ptr(rsi)).unwrap();
            a.hlt().unwrap();
        });
        m.halts();
    });
    assert_eq!(m.p.cpu.regs[0], 2 * 161 * 3 + 1000);
}
