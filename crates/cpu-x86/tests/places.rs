//! Sites of translated code: tables of several pages that follow each other in memory, or do not.
#![cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]

mod machine;

use iced_x86::code_asm::*;
use machine::tiers::every;
use machine::{CODE, P, W};

/// Where the table is mapped.
const ELSEWHERE: u64 = 0x80_0000;

/// Reads a table of eight pages at random: how often its block was translated again.
fn table_of_pages(page: impl Fn(u64) -> u64) -> u64 {
    let m = every(|m| {
        for n in 0..8 {
            m.set_pte(ELSEWHERE + n * 0x1000, (0x40_0000 + page(n) * 0x1000) | P | W);
            m.bus.write64(0x40_0000 + page(n) * 0x1000, n);
        }
        m.p.cpu.regs[1] = 20_000;
        m.p.cpu.regs[6] = ELSEWHERE;
        m.p.cpu.regs[0] = 12345;
        m.code(CODE, |a| {
            let mut top = a.create_label();
            a.set_label(&mut top).unwrap();
            a.imul_3(rax, rax, 0x343FD).unwrap();
            a.add(rax, 0x26_9EC3).unwrap();
            a.mov(rdx, rax).unwrap();
            a.shr(rdx, 13).unwrap();
            a.and(rdx, 0x7FF8).unwrap();
            a.add(r8, qword_ptr(rsi + rdx)).unwrap();
            a.rol(r8, 1).unwrap();
            a.dec(rcx).unwrap();
            a.jne(top).unwrap();
            a.hlt().unwrap();
        });
        m.run()
    });
    m.p.jit_statistics().settled
}

#[test]
fn a_table_of_pages_that_follow_each_other_has_one_site() {
    assert_eq!(table_of_pages(|n| n), 0, "in one piece");
    assert_ne!(table_of_pages(|n| n * 5 % 8), 0, "scattered: asks the TLB in the end");
}
