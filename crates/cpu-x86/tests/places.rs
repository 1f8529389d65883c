//! Translated code does not depend on its linear address: the same pages at several addresses, whose neighbours differ; and
//! branches to addresses that are not canonical.
#![cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]

mod machine;

use cpu_x86::Stop;
use iced_x86::code_asm::*;
use machine::tiers::every;
use machine::{DATA, P, TABLES, U, W, assemble};

/// Two physical pages; the first is mapped at both places, the second only behind the first of them.
const FIRST: u64 = 0x20_0000;
const SECOND: u64 = 0x20_1000;
const OTHER: u64 = 0x20_2000;
/// Places.
const A: u64 = 0x50_0000;
const B: u64 = 0x60_0000;

#[test]
fn the_same_page_at_two_places_with_other_neighbours() {
    let m = every(|m| {
        for (at, to) in [(A, FIRST), (A + 0x1000, SECOND), (B, FIRST), (B + 0x1000, OTHER)] {
            m.set_pte(at, to | P | W | U);
        }
        // Reads its own address, a word of the next page, calls into the next page, and goes on there across the boundary.
        let shared = assemble(64, A, |a| {
            let mut here = a.create_label();
            a.lea(rdx, qword_ptr(here)).unwrap();
            a.set_label(&mut here).unwrap();
            a.add(rax, rdx).unwrap();
            a.add(rax, qword_ptr(A + 0x1F00)).unwrap();
            a.call(A + 0x1100).unwrap();
            a.imul_3(rax, rax, 3).unwrap();
            a.jmp(A + 0x1200).unwrap();
        });
        assert!(m.bus.ram.write(FIRST, &shared));
        // ADD RAX, imm32 whose last two bytes are in the next page, which differ; then a return.
        assert!(m.bus.ram.write(FIRST + 0xFFC, &[0x48, 0x05, 0x11, 0x22]));
        for (page, n) in [(SECOND, 5u8), (OTHER, 9)] {
            assert!(m.bus.ram.write(page, &[n, 0, 0xC3]));
            assert!(m.bus.ram.write(page + 0x100, &[0x48, 0x83, 0xC0, n, 0xC3])); // add rax, n; ret
            let back = assemble(64, A + 0x1200, |a| a.jmp(A + 0xFFC).unwrap());
            assert!(m.bus.ram.write(page + 0x200, &back));
            m.bus.write64(page + 0xF00, u64::from(n) << 40);
        }
        m.p.cpu.regs[7] = DATA;
        m.code(0x1_0000, |a| {
            let mut top = a.create_label();
            a.mov(ecx, 3000).unwrap();
            a.xor(eax, eax).unwrap();
            a.set_label(&mut top).unwrap();
            a.call(A).unwrap();
            a.mov(qword_ptr(rdi), rax).unwrap();
            a.call(B).unwrap();
            a.mov(qword_ptr(rdi + 8), rax).unwrap();
            a.mov(ebx, A as u32).unwrap();
            a.call(rbx).unwrap();
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
        });
        m.run()
    });
    assert!(m.p.jit_statistics().entries > 0);
}

#[test]
fn the_second_page_of_a_block_is_remapped() {
    every(|m| {
        m.set_pte(A, FIRST | P | W | U);
        assert!(m.bus.ram.write(FIRST + 0xFFC, &[0x48, 0x05, 0x11, 0x22]));
        for (page, n) in [(SECOND, 5u8), (OTHER, 9)] {
            assert!(m.bus.ram.write(page, &[n, 0, 0xC3]));
        }
        let entry = machine::Machine::pte(A + 0x1000);
        m.bus.write64(entry, SECOND | P | W | U);
        m.p.cpu.flush_page(A + 0x1000);
        m.p.cpu.regs[7] = entry;
        m.p.cpu.regs[6] = SECOND ^ OTHER;
        m.code(0x1_0000, |a| {
            let mut top = a.create_label();
            a.mov(ecx, 500).unwrap();
            a.xor(eax, eax).unwrap();
            a.set_label(&mut top).unwrap();
            for _ in 0..3 {
                a.call(A + 0xFFC).unwrap();
            }
            a.xor(qword_ptr(rdi), rsi).unwrap();
            a.invlpg(byte_ptr(A + 0x1000)).unwrap();
            a.call(A + 0xFFC).unwrap();
            // And its bytes change, by a store through another address.
            a.inc(byte_ptr(SECOND)).unwrap();
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
        });
        m.run()
    });
}

/// The last page of the lower half.
const TOP: u64 = 0x7FFF_FFFF_F000;

/// Code at the end of the lower half that branches out of it, and a loop before it that makes the branch hot.
fn beyond(branch: impl Fn(&mut CodeAssembler, u64)) {
    let m = every(|m| {
        let rights = P | W | U;
        let tables = TABLES + 0x4_0000;
        m.bus.write64(TABLES + 255 * 8, tables | rights);
        m.bus.write64(tables + 511 * 8, (tables + 0x1000) | rights);
        m.bus.write64(tables + 0x1000 + 511 * 8, (tables + 0x2000) | rights);
        m.bus.write64(tables + 0x2000 + 511 * 8, FIRST | rights);
        let code = assemble(64, TOP, |a| {
            let mut out = a.create_label();
            let mut top = a.create_label();
            a.mov(ecx, 200).unwrap();
            a.set_label(&mut top).unwrap();
            a.inc(rax).unwrap();
            a.dec(ecx).unwrap();
            a.je(out).unwrap();
            a.jmp(top).unwrap();
            a.set_label(&mut out).unwrap();
            branch(a, 0x8000_0000_0010);
            a.hlt().unwrap();
        });
        assert!(m.bus.ram.write(FIRST, &code));
        m.p.cpu.flush_tlb(true);
        m.p.cpu.rip = TOP;
        let first = m.run();
        // Once more from the branch itself.
        (first, m.run())
    });
    assert!(matches!(m.last, Some(Stop::Exception(e)) if e.vector == 13), "{:?}", m.last);
    assert!((TOP..TOP + 0x100).contains(&m.p.cpu.rip), "{:#x}", m.p.cpu.rip);
}

#[test]
fn jumps_out_of_the_canonical_addresses_fault_where_they_are() {
    beyond(|a, to| a.jmp(to).unwrap());
}

#[test]
fn calls_out_of_the_canonical_addresses_fault_where_they_are() {
    beyond(|a, to| a.call(to).unwrap());
}

#[test]
fn conditional_jumps_out_of_the_canonical_addresses_fault_where_they_are() {
    beyond(|a, to| {
        a.test(eax, eax).unwrap();
        a.jne(to).unwrap();
    });
}
