//! The MMU, the TLB, the block cache and the run loop, by small programs.
#![allow(missing_docs)]

mod machine;

use cpu_x86::bus::Attention;
use cpu_x86::state::cr::*;
use cpu_x86::walk::{Request, WalkFault};
use cpu_x86::{AbortKind, Emulated, Exception, Stop, fault::Access, flags::rflags};
use guest_memory::RamBlock;
use iced_x86::code_asm::*;
use machine::*;
use std::sync::atomic::Ordering;

const RAX: usize = 0;
const RCX: usize = 1;
const RSI: usize = 6;
const RDI: usize = 7;

fn ok<T>(r: Result<T, iced_x86::IcedError>) {
    r.map(drop).unwrap();
}

#[test]
fn flat_32_bit_code_runs() {
    let mut m = Machine::flat32();
    m.code(CODE, |a| {
        let mut top = a.create_label();
        ok(a.mov(ecx, 10));
        ok(a.xor(eax, eax));
        ok(a.set_label(&mut top));
        ok(a.add(eax, ecx));
        ok(a.dec(ecx));
        ok(a.jne(top));
        ok(a.mov(dword_ptr(DATA), eax));
        ok(a.hlt());
    });
    m.halts();
    assert_eq!(m.reg(RAX), 55);
    assert_eq!(m.bus.read64(DATA), 55);
    m.retired(2 + 30 + 2);
}

#[test]
fn accessed_and_dirty_bits() {
    let mut m = Machine::long();
    m.code(CODE, |a| {
        ok(a.mov(rax, qword_ptr(DATA)));
        ok(a.hlt());
    });
    m.halts();
    assert_eq!(m.bus.read64(Machine::pte(DATA)) & (A | D), A);
    assert_eq!(m.bus.read64(TABLES) & (A | D), A);
    m.code(CODE, |a| {
        ok(a.mov(qword_ptr(DATA), rax));
        ok(a.hlt());
    });
    m.halts();
    assert_eq!(m.bus.read64(Machine::pte(DATA)) & (A | D), A | D, "although a load made the TLB entry");
    assert_eq!(m.bus.read64(Machine::pte(CODE)) & (A | D), A);
}

#[test]
fn page_fault_error_codes() {
    let store = |a: &mut CodeAssembler| ok(a.mov(byte_ptr(DATA + 5), al));
    let load = |a: &mut CodeAssembler| ok(a.mov(al, byte_ptr(DATA + 5)));
    let mut m = Machine::long();
    m.set_pte(DATA, 0);
    m.code(CODE, load);
    assert_eq!(m.page_fault(), (0, DATA + 5));
    assert_eq!(m.p.cpu.rip, CODE);
    m.code(CODE, store);
    assert_eq!(m.page_fault(), (2, DATA + 5));
    m.set_pte(DATA, DATA | P | U);
    assert_eq!(m.page_fault(), (3, DATA + 5), "WP");
    m.p.cpu.cr0 &= !CR0_WP;
    m.code(CODE, |a| {
        store(a);
        ok(a.hlt());
    });
    m.halts();
    m.p.cpu.cr0 |= CR0_WP;
    m.set_cpl(3);
    m.code(CODE, store);
    assert_eq!(m.page_fault(), (7, DATA + 5));
    m.set_pte(DATA, DATA | P | W);
    m.code(CODE, load);
    assert_eq!(m.page_fault(), (5, DATA + 5));
    m.set_pte(DATA, DATA | P | W | U | 1 << 51);
    assert_eq!(m.page_fault(), (0xD, DATA + 5), "reserved");
    m.set_pte(DATA, DATA | P | W | U | NX);
    m.p.cpu.rip = DATA;
    assert_eq!(m.page_fault(), (0x15, DATA), "NX");
    m.p.cpu.msr.efer &= !EFER_NXE;
    m.p.cpu.rip = CODE;
    m.code(CODE, load);
    assert_eq!(m.page_fault(), (0xD, DATA + 5), "NX is reserved without NXE");
}

#[test]
fn smep_and_smap() {
    let mut m = Machine::long();
    for page in [CODE, STACK - 0x1000] {
        m.set_pte(page, page | P | W);
    }
    m.p.cpu.cr4 |= CR4_SMEP | CR4_SMAP;
    m.p.cpu.update_mode();
    m.code(CODE, |a| {
        ok(a.mov(al, byte_ptr(DATA)));
        ok(a.hlt());
    });
    assert_eq!(m.page_fault(), (1, DATA));
    m.p.cpu.sysflags |= rflags::AC;
    m.p.cpu.update_mode();
    m.halts();
    m.p.cpu.sysflags &= !rflags::AC;
    m.p.cpu.update_mode();
    m.p.cpu.rip = CODE;
    assert_eq!(m.page_fault(), (1, DATA), "the translation made with AC does not serve without");
    m.p.cpu.rip = DATA;
    assert_eq!(m.page_fault(), (0x11, DATA), "SMEP");
    assert_eq!(m.p.cpu.rip, DATA);
}

#[test]
fn large_pages_and_remapping() {
    let mut m = Machine::long();
    m.bus.write64(TABLES + 0x2000 + 5 * 8, 0x60_0000 | P | W | PS);
    m.bus.write64(0x60_1234, 0x77);
    m.bus.write64(0x80_1234, 0x88);
    m.code(CODE, |a| {
        ok(a.mov(rax, qword_ptr(0xA0_1234)));
        ok(a.hlt());
    });
    m.halts();
    assert_eq!(m.reg(RAX), 0x77);
    m.bus.write64(TABLES + 0x2000 + 5 * 8, 0x80_0000 | P | W | PS);
    m.p.cpu.flush_page(0xA0_0000);
    m.p.cpu.rip = CODE;
    m.halts();
    assert_eq!(m.reg(RAX), 0x88, "INVLPG drops the whole large page");
    m.bus.write64(TABLES + 0x2000 + 5 * 8, 0x80_2000 | P | W | PS);
    m.p.cpu.flush_tlb(false);
    m.p.cpu.rip = CODE;
    assert_eq!(m.page_fault().0, 9, "reserved address bits of a large page");
}

#[test]
fn two_level_and_pae_paging() {
    let mut m = Machine::flat32();
    // 4 MiB identity, a 4 KiB page at 4 MiB + 0x1000, and PSE-36 is out of reach of 36 bits.
    m.bus.write32(TABLES, 0x83);
    m.bus.write32(TABLES + 4, (TABLES as u32 + 0x1000) | 3);
    m.bus.write32(TABLES + 0x1004, DATA as u32 | 1);
    m.bus.write32(TABLES + 8, 1 << 21 | 0x83);
    m.bus.write64(DATA + 8, 0x1122);
    m.p.cpu.cr3 = TABLES;
    m.p.cpu.cr4 = CR4_PSE;
    m.p.cpu.cr0 |= CR0_PG;
    m.p.cpu.update_mode();
    m.code(CODE, |a| {
        ok(a.mov(eax, dword_ptr(0x40_1008)));
        ok(a.mov(ecx, dword_ptr(0x80_0000)));
    });
    assert_eq!(m.page_fault(), (9, 0x80_0000));
    assert_eq!(m.reg(RAX), 0x1122);
    m.code(CODE, |a| ok(a.mov(dword_ptr(0x40_1008), eax)));
    assert_eq!(m.page_fault(), (3, 0x40_1008));
    // PAE: 2 MiB identity and a no-execute page.
    m.bus.write64(TABLES + 0x5000, (TABLES + 0x6000) | 1);
    m.bus.write64(TABLES + 0x6000, 0x83);
    m.bus.write64(TABLES + 0x6008, DATA & !0x1F_FFFF | 0x83 | NX);
    m.p.cpu.cr3 = TABLES + 0x5000;
    m.p.cpu.cr4 = CR4_PAE;
    m.p.cpu.msr.efer = EFER_NXE;
    m.p.cpu.update_mode();
    m.code(CODE, |a| {
        ok(a.mov(eax, dword_ptr(0x20_0008 + DATA)));
        ok(a.mov(ecx, 0x20_0000));
        ok(a.jmp(ecx));
    });
    assert_eq!(m.page_fault(), (0x11, 0x20_0000));
    assert_eq!(m.reg(RAX), 0x1122);
    m.code(CODE, |a| ok(a.mov(eax, dword_ptr(0x4000_0000))));
    assert_eq!(m.page_fault(), (0, 0x4000_0000), "PDPTE not present");
}

#[test]
fn non_canonical_addresses() {
    let mut m = Machine::long();
    let general = |vector| Stop::Exception(Exception { vector, error: Some(0), payload: 0 });
    m.p.cpu.regs[RSI] = 1 << 47;
    m.code(CODE, |a| ok(a.mov(al, byte_ptr(rsi))));
    assert_eq!(m.run(), general(13));
    m.p.cpu.regs[5] = 1 << 47;
    m.code(CODE, |a| ok(a.mov(al, byte_ptr(rbp))));
    assert_eq!(m.run(), general(12));
    m.p.cpu.regs[4] = 1 << 47 | 8;
    m.code(CODE, |a| ok(a.pop(rax)));
    assert_eq!(m.run(), general(12));
}

#[test]
fn a_store_across_pages_stores_all_or_nothing() {
    let mut m = Machine::long();
    m.set_pte(DATA + 0x1000, 0);
    m.bus.write64(DATA + 0xFF8, 0);
    m.p.cpu.regs[RAX] = u64::MAX;
    m.code(CODE, |a| ok(a.mov(qword_ptr(DATA + 0xFFC), rax)));
    assert_eq!(m.page_fault(), (2, DATA + 0x1000));
    assert_eq!(m.bus.read64(DATA + 0xFF8), 0);
    m.set_pte(DATA + 0x1000, 0x50_0000 | P | W);
    m.p.cpu.rip = CODE;
    m.code(CODE, |a| {
        ok(a.mov(qword_ptr(DATA + 0xFFC), rax));
        ok(a.mov(rcx, qword_ptr(DATA + 0xFFC)));
        ok(a.lock().inc(dword_ptr(DATA + 0xFFE)));
        ok(a.hlt());
    });
    m.halts();
    assert_eq!(m.reg(RCX), u64::MAX);
    assert_eq!(m.bus.read64(DATA + 0xFF8), 0x0000_FFFF_0000_0000);
    assert_eq!(m.bus.read64(0x50_0000) as u32, 0xFFFF_0000, "FFFFFFFF + 1, upper half");
}

#[test]
fn segment_limits_and_types() {
    let mut m = Machine::flat32();
    let fault = |vector| Stop::Exception(Exception { vector, error: Some(0), payload: 0 });
    m.p.cpu.segs[3].limit = 0xFFF;
    m.p.cpu.update_mode();
    m.code(CODE, |a| ok(a.mov(eax, dword_ptr(0xFFD))));
    assert_eq!(m.run(), fault(13));
    m.p.cpu.segs[3].limit = 0xFFFF_FFFF;
    m.p.cpu.segs[0].attributes = 0xC091; // read only
    m.p.cpu.update_mode();
    m.code(CODE, |a| ok(a.mov(dword_ptr(DATA).es(), eax)));
    assert_eq!(m.run(), fault(13));
    m.p.cpu.segs[2] = data_segment(0);
    m.p.cpu.segs[2].attributes = 0xC097; // expand down
    m.p.cpu.segs[2].limit = 0xF_FFFF;
    m.p.cpu.update_mode();
    m.code(CODE, |a| ok(a.push(eax)));
    assert_eq!(m.run(), fault(12));
    m.p.cpu.segs[2].limit = 0xFFFF;
    m.p.cpu.segs[1].limit = CODE as u32 + 1;
    m.p.cpu.update_mode();
    m.code(CODE, |a| {
        ok(a.push(eax));
        ok(a.hlt());
        ok(a.nop());
    });
    m.halts();
    assert_eq!(m.run(), fault(13), "past the limit of CS");
    m.p.cpu.rip = CODE;
    m.p.cpu.segs[1].limit = CODE as u32;
    assert_eq!(m.run(), fault(13), "the cached block does not reach past a lower limit");
    assert_eq!(m.p.cpu.rip, CODE + 1);
}

#[test]
fn alignment_check() {
    let mut m = Machine::long();
    m.set_cpl(3);
    m.p.cpu.cr0 |= CR0_AM;
    m.p.cpu.sysflags |= rflags::AC;
    m.p.cpu.update_mode();
    m.code(CODE, |a| {
        ok(a.mov(eax, dword_ptr(DATA + 4)));
        ok(a.mov(eax, dword_ptr(DATA + 2)));
    });
    assert_eq!(m.run(), Stop::Exception(Exception { vector: 17, error: Some(0), payload: 0 }));
    m.retired(1);
}

#[test]
fn code_that_changes_itself() {
    for distance in [0, 0x200] {
        let mut m = Machine::long();
        m.p.cpu.regs[RSI] = CODE + 3 + distance + 1;
        // The immediate of `mov al, 1`, right after the store or further in the page.
        m.code(CODE, |a| {
            ok(a.mov(byte_ptr(rsi), 7));
            ok(a.nops_with_size(distance as usize));
            ok(a.mov(al, 1));
            ok(a.hlt());
        });
        m.halts();
        assert_eq!(m.reg(RAX) as u8, 7, "distance {distance}");
    }
}

#[test]
fn an_instruction_across_pages_follows_both() {
    let mut m = Machine::long();
    let at = CODE + 0xFFE;
    m.code(at, |a| {
        ok(a.mov(eax, 0x1111_1111));
        ok(a.hlt());
    });
    m.halts();
    assert_eq!(m.reg(RAX), 0x1111_1111);
    assert!(m.bus.ram.write(CODE + 0x1000, &[0x22]));
    m.p.cpu.rip = at;
    m.halts();
    assert_eq!(m.reg(RAX), 0x1122_2211 & 0xFF00_0000 | 0x11_22_11, "a store to the second page");
    // Another second page.
    let mut page = [0; 0x10];
    m.bus.ram.read(CODE + 0x1000, &mut page);
    page[0] = 0x33;
    m.bus.ram.write(0x50_0000, &page);
    m.set_pte(CODE + 0x1000, 0x50_0000 | P | W | U);
    m.p.cpu.rip = at;
    m.halts();
    assert_eq!(m.reg(RAX), 0x11_33_11 | 0x1100_0000);
    m.set_pte(CODE + 0x1000, 0);
    m.p.cpu.rip = at;
    assert_eq!(m.page_fault(), (0x10, CODE + 0x1000));
}

#[test]
fn code_pages_follow_the_page_tables() {
    let mut m = Machine::long();
    m.code(0x50_0000, |a| {
        ok(a.mov(al, 2));
        ok(a.hlt());
    });
    m.code(CODE, |a| {
        ok(a.mov(al, 1));
        ok(a.hlt());
    });
    m.halts();
    assert_eq!(m.reg(RAX), 1);
    m.set_pte(CODE, 0x50_0000 | P);
    m.p.cpu.rip = CODE;
    m.halts();
    assert_eq!(m.reg(RAX), 2);
}

#[test]
fn string_moves_cross_pages_and_keep_their_progress() {
    let mut m = Machine::long();
    for i in 0..0x3000 / 8 {
        m.bus.write64(DATA + i * 8, i * 0x0101);
    }
    m.set_pte(DATA + 0x12000, 0);
    m.p.cpu.regs[RSI] = DATA + 0xFF8;
    m.p.cpu.regs[RDI] = DATA + 0x10FF0;
    m.p.cpu.regs[RCX] = 0x1800 / 8;
    m.code(CODE, |a| {
        ok(a.rep().movsq());
        ok(a.hlt());
    });
    assert_eq!(m.page_fault(), (2, DATA + 0x12000));
    let done = 0x1010 / 8;
    assert_eq!(m.reg(RCX), 0x1800 / 8 - done);
    assert_eq!(m.reg(RSI), DATA + 0xFF8 + done * 8);
    m.set_pte(DATA + 0x12000, (DATA + 0x12000) | P | W);
    m.halts();
    for i in 0..0x1800 / 8 {
        assert_eq!(m.bus.read64(DATA + 0x10FF0 + i * 8), (i + 0x1FF) * 0x0101);
    }
}

#[test]
fn string_moves_both_ways_go_element_by_element() {
    const AREA: u64 = 0x40_0000;
    // Pages that do not follow each other in physical memory, and one twice.
    const PAGES: [u64; 6] = [0x41_0000, 0x41_2000, 0x41_1000, 0x41_4000, 0x41_2000, 0x41_7000];
    let physical = |at: u64| PAGES[((at - AREA) >> 12) as usize] + (at & 0xFFF);
    let mut m = Machine::long();
    for (n, page) in PAGES.into_iter().enumerate() {
        m.set_pte(AREA + 0x1000 * n as u64, page | P | W);
    }
    let mut state = 1u64;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % n
    };
    for case in 0..600 {
        let (size, down) = (1u64 << below(4), below(2) == 1);
        let count = [below(20), below(300), 3000 / size + below(600)][below(3) as usize].min(0x1800 / size);
        let reach = 0x1800 + 8;
        let place = |r: u64| AREA + if down { reach } else { 0 } + r;
        let from = place(below(0x6000 - 2 * reach));
        // Often close to each other, so that they overlap.
        let near = from + below(40) - 20;
        let to = if below(2) == 0 { near.max(place(0)) } else { place(below(0x6000 - 2 * reach)) };
        let data: Vec<u8> = (0..0x8000).map(|_| below(256) as u8).collect();
        assert!(m.bus.ram.write(0x41_0000, &data));
        let mut expected = data;
        let step = if down { size.wrapping_neg() } else { size };
        for n in 0..count {
            let at = |r: u64, i: u64| (physical(r.wrapping_add(n.wrapping_mul(step)) + i) - 0x41_0000) as usize;
            let element: Vec<u8> = (0..size).map(|i| expected[at(from, i)]).collect();
            (0..size).for_each(|i| expected[at(to, i)] = element[i as usize]);
        }
        (m.p.cpu.regs[RSI], m.p.cpu.regs[RDI], m.p.cpu.regs[RCX]) = (from, to, count);
        m.code(CODE, |a| {
            ok(if down { a.std() } else { a.cld() });
            ok(match size {
                1 => a.rep().movsb(),
                2 => a.rep().movsw(),
                4 => a.rep().movsd(),
                _ => a.rep().movsq(),
            });
            ok(a.hlt());
        });
        m.halts();
        let mut is = vec![0; 0x8000];
        assert!(m.bus.ram.read(0x41_0000, &mut is));
        let different = is.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!(different, None, "case {case}: {from:x} to {to:x}, {count} of {size}, down {down}");
        let end = |r: u64| r.wrapping_add(count.wrapping_mul(step));
        assert_eq!((m.reg(RSI), m.reg(RDI), m.reg(RCX)), (end(from), end(to), 0), "case {case}");
    }
}

#[test]
fn loops_of_single_string_instructions_in_flat_code() {
    // As boot loaders copy.
    for down in [false, true] {
        let mut m = Machine::flat32();
        let (from, to) = (0x40_0FF0, 0x50_0FFD);
        for n in 0..0x100 {
            m.bus.write64(from + 8 * n - 0x400, n.wrapping_mul(0x0102_0304_0506_0708));
        }
        m.code(CODE, |a| {
            let [mut copy, mut convert] = [a.create_label(), a.create_label()];
            ok(a.mov(esi, from as i32));
            ok(a.mov(edi, to));
            ok(a.mov(ecx, 100));
            ok(if down { a.std() } else { a.cld() });
            ok(a.set_label(&mut copy));
            ok(a.movsb());
            ok(a.movsd());
            ok(a.dec(ecx));
            ok(a.jne(copy));
            ok(a.mov(ecx, 50));
            ok(a.set_label(&mut convert));
            ok(a.lodsw());
            ok(a.inc(eax));
            ok(a.stosd());
            ok(a.lodsb());
            ok(a.stosw());
            ok(a.dec(ecx));
            ok(a.jne(convert));
            ok(a.hlt());
        });
        m.p.cpu.regs[RAX] = 0x1234_5678;
        let mut ram = vec![0u8; 0x60_0000];
        assert!(m.bus.ram.read(0, &mut ram));
        let (mut source, mut target, mut sum) = (from as usize, to as usize, 0x1234_5678u32);
        let step = |at: &mut usize, size: usize| {
            let here = *at;
            *at = if down { here - size } else { here + size };
            here
        };
        for _ in 0..100 {
            for size in [1, 4] {
                let (a, b) = (step(&mut source, size), step(&mut target, size));
                let element = ram[a..a + size].to_vec();
                ram[b..b + size].copy_from_slice(&element);
            }
        }
        for _ in 0..50 {
            let a = step(&mut source, 2);
            sum = (sum & 0xFFFF_0000 | u32::from(u16::from_le_bytes([ram[a], ram[a + 1]]))).wrapping_add(1);
            let b = step(&mut target, 4);
            ram[b..b + 4].copy_from_slice(&sum.to_le_bytes());
            let a = step(&mut source, 1);
            sum = sum & 0xFFFF_FF00 | u32::from(ram[a]);
            let b = step(&mut target, 2);
            ram[b..b + 2].copy_from_slice(&(sum as u16).to_le_bytes());
        }
        m.halts();
        let mut is = vec![0u8; ram.len()];
        assert!(m.bus.ram.read(0, &mut is));
        let different = is.iter().zip(&ram).position(|(a, b)| a != b);
        assert_eq!(different, None, "down {down}");
        assert_eq!((m.reg(RSI), m.reg(RDI), m.reg(RAX)), (source as u64, target as u64, u64::from(sum)), "down {down}");
    }
}

#[test]
fn locked_increments_of_two_processors_do_not_get_lost() {
    let ram = RamBlock::new("ram", RAM).unwrap();
    let worker = |ram: std::sync::Arc<RamBlock>, code: u64| {
        std::thread::spawn(move || {
            let mut m = Machine::on(ram, 32);
            m.p.cpu.regs[RCX] = 50_000;
            m.code(code, |a| {
                let mut top = a.create_label();
                ok(a.set_label(&mut top));
                ok(a.lock().inc(dword_ptr(DATA)));
                ok(a.lock().add(dword_ptr(DATA + 0x103), 2));
                ok(a.dec(ecx));
                ok(a.jne(top));
                ok(a.hlt());
            });
            m.halts();
        })
    };
    let threads = [worker(ram.clone(), CODE), worker(ram.clone(), CODE + 0x1000)];
    for t in threads {
        t.join().unwrap();
    }
    let mut b = [0; 8];
    ram.read(DATA, &mut b);
    assert_eq!(u64::from_le_bytes(b), 100_000);
    ram.read(DATA + 0x103, &mut b);
    assert_eq!(u64::from_le_bytes(b), 200_000, "misaligned");
}

#[test]
fn compare_exchange_16_bytes() {
    let mut m = Machine::long();
    m.bus.write64(DATA, 1);
    m.bus.write64(DATA + 8, 2);
    m.p.cpu.regs[..4].copy_from_slice(&[1, 20, 2, 10]);
    m.code(CODE, |a| {
        ok(a.lock().cmpxchg16b(xmmword_ptr(DATA)));
        ok(a.hlt());
    });
    m.halts();
    assert_eq!((m.bus.read64(DATA), m.bus.read64(DATA + 8)), (10, 20));
    m.p.cpu.rip = CODE;
    m.halts();
    assert_eq!((m.reg(0), m.reg(2)), (10, 20), "the second time it is not equal");
}

#[test]
fn devices_and_exits() {
    let mut m = Machine::long();
    m.p.cpu.regs[RSI] = DEVICE + 0x20;
    m.code(CODE, |a| {
        ok(a.mov(eax, dword_ptr(rsi)));
        ok(a.mov(word_ptr(rsi + 4), ax));
        ok(a.hlt());
    });
    m.halts();
    assert_eq!(m.reg(RAX), 0x2322_2120);
    assert_eq!(m.bus.device_writes, [(DEVICE + 0x24, vec![0x20, 0x21])]);
    m.p.cpu.rip = CODE;
    m.bus.leave = true;
    let exit = AbortKind::Memory { gpa: DEVICE + 0x20, gva: DEVICE + 0x20, len: 4, access: Access::Read };
    assert_eq!(m.run(), Stop::Access(exit));
    assert_eq!(m.p.cpu.rip, CODE);
    assert_eq!(m.p.cpu.last_instruction.len, 2);
    assert_eq!(m.p.cpu.last_instruction.bytes[..2], [0x8B, 0x06]);
    m.bus.leave = false;
    assert_eq!(m.p.emulate_one(&mut m.bus), Emulated::Done);
    assert_eq!(m.p.cpu.rip, CODE + 2);
    m.bus.leave = true;
    let exit = AbortKind::Memory { gpa: DEVICE + 0x24, gva: DEVICE + 0x24, len: 2, access: Access::Write };
    assert_eq!(m.run(), Stop::Access(exit));
}

#[test]
fn rom_and_no_execute_maps() {
    let mut m = Machine::long();
    m.bus.readonly.push(DATA >> 12);
    m.bus.no_exec.push(DATA >> 12);
    m.code(CODE, |a| {
        ok(a.mov(byte_ptr(DATA + 1), 5));
        ok(a.hlt());
    });
    m.halts();
    assert_eq!(m.bus.device_writes, [(DATA + 1, vec![5])]);
    assert_eq!(m.bus.read64(DATA), 0);
    m.p.cpu.rip = DATA;
    assert!(matches!(m.run(), Stop::Access(AbortKind::Memory { gpa: DATA, access: Access::Fetch, .. })));
    // Code in a device: its bytes are its addresses; at 0x90 a NOP, then 0x91 XCHG EAX, ECX.
    m.p.cpu.regs[RAX] = 1;
    m.p.cpu.rip = DEVICE + 0x90;
    assert_eq!(m.p.step(&mut m.bus), None);
    assert_eq!(m.p.step(&mut m.bus), None);
    assert_eq!((m.p.cpu.rip, m.reg(RCX)), (DEVICE + 0x92, 1));
}

#[test]
fn the_physical_map_can_change() {
    let mut m = Machine::flat32();
    m.bus.write64(DATA, 5);
    m.code(CODE, |a| {
        ok(a.mov(eax, dword_ptr(DATA)));
        ok(a.hlt());
    });
    m.halts();
    let new = RamBlock::new("new", RAM).unwrap();
    let mut all = vec![0; 0x10_0000];
    m.bus.ram.read(0, &mut all);
    new.write(0, &all);
    new.write(DATA, &[6]);
    m.bus.ram = new;
    m.p.cpu.attention.fetch_or(Attention::FLUSH_TLB, Ordering::SeqCst);
    m.p.cpu.rip = CODE;
    m.halts();
    assert_eq!(m.reg(RAX), 6);
    assert_eq!(m.p.cpu.attention.load(Ordering::SeqCst), 0);
}

#[test]
fn single_step_and_breakpoints() {
    let mut m = Machine::long();
    let db = |bits| Stop::Exception(Exception { vector: 1, error: None, payload: bits });
    m.code(CODE, |a| {
        ok(a.nop());
        ok(a.mov(byte_ptr(DATA), 1));
        ok(a.mov(al, byte_ptr(DATA)));
        ok(a.hlt());
    });
    m.p.cpu.sysflags |= rflags::TF;
    assert_eq!(m.run(), db(1 << 14));
    assert_eq!(m.p.cpu.rip, CODE + 1);
    m.p.cpu.sysflags &= !rflags::TF;
    m.p.cpu.dr[1] = DATA;
    m.p.cpu.dr[7] = 1 << 2 | 1 << 20; // stores
    m.p.cpu.flush_tlb(true);
    assert_eq!(m.run(), db(2));
    m.retired(2);
    assert_eq!(m.run(), Stop::Halt);
    m.p.cpu.dr[0] = CODE + 1;
    m.p.cpu.dr[7] = 1;
    m.p.cpu.rip = CODE;
    assert_eq!(m.run(), db(1));
    assert_eq!(m.p.cpu.rip, CODE + 1);
    m.p.cpu.sysflags |= rflags::RF;
    assert_eq!(m.run(), Stop::Halt, "RF skips it once");
}

#[test]
fn too_long_instructions() {
    let mut m = Machine::long();
    let mut bytes = vec![0x2E; 15];
    bytes.push(0x90);
    m.bus.ram.write(CODE, &bytes);
    m.p.cpu.rip = CODE;
    assert_eq!(m.run(), Stop::Exception(Exception { vector: 13, error: Some(0), payload: 0 }));
    assert_eq!(m.p.cpu.rip, CODE);
    m.p.cpu.rip = CODE + 1;
    assert_eq!(m.p.step(&mut m.bus), None);
}

#[test]
fn attention_leaves_and_windows() {
    let mut m = Machine::long();
    m.code(CODE, |a| {
        let mut top = a.create_label();
        ok(a.set_label(&mut top));
        ok(a.jmp(top));
    });
    let attention = m.p.cpu.attention.clone();
    attention.store(Attention::LEAVE, Ordering::SeqCst);
    assert_eq!(m.run(), Stop::Attention);
    attention.store(Attention::NMI_WINDOW, Ordering::SeqCst);
    assert_eq!(m.run(), Stop::Window);
    m.code(CODE, |a| {
        ok(a.nop());
        ok(a.hlt());
    });
    attention.store(Attention::INTR_WINDOW, Ordering::SeqCst);
    m.halts();
    m.p.cpu.rip = CODE;
    m.p.cpu.sysflags |= rflags::IF;
    m.p.cpu.shadow.interrupt = true;
    assert_eq!(m.run(), Stop::Window);
    assert_eq!(m.p.cpu.rip, CODE + 1, "one instruction after the shadow began");
}

#[test]
fn translate_without_side_effects() {
    let mut m = Machine::long();
    let r = Request { access: Access::Read, user: true, ac: false, update: false };
    let t = m.p.cpu.translate(&mut m.bus, DATA + 3, r).unwrap();
    assert_eq!((t.gpa, t.shift), (DATA + 3, 12));
    assert_eq!(m.bus.read64(Machine::pte(DATA)) & A, 0);
    assert_eq!(m.p.cpu.translate(&mut m.bus, RAM, r), Err(WalkFault::Page(4)));
    assert_eq!(m.p.cpu.translate(&mut m.bus, 1 << 60, r), Err(WalkFault::NonCanonical));
}

/// A 64-bit interrupt gate for `vector` at `IDT`.
fn gate(m: &Machine, vector: u64, handler: u64) {
    const IDT: u64 = 0x5_0000;
    m.bus.write64(IDT + vector * 16, handler & 0xFFFF | 8 << 16 | 0x8E00 << 32 | (handler & 0xFFFF_0000) << 32);
    m.bus.write64(IDT + vector * 16 + 8, handler >> 32);
}

fn with_tables(m: &mut Machine) {
    // GDT: null, 64-bit code, data.
    m.bus.write64(0x5_2008, 0x00AF_9B00_0000_FFFF);
    m.bus.write64(0x5_2010, 0x00CF_9300_0000_FFFF);
    let cpu = &mut m.p.cpu;
    cpu.gdtr.base = 0x5_2000;
    cpu.gdtr.limit = 0x17;
    cpu.idtr.base = 0x5_0000;
    cpu.idtr.limit = 0xFFF;
    cpu.exception_exits = 0;
}

#[test]
fn a_page_fault_handler_repairs_and_returns() {
    let mut m = Machine::long();
    with_tables(&mut m);
    gate(&m, 14, CODE + 0x800);
    m.set_pte(DATA, 0);
    m.code(CODE + 0x800, |a| {
        ok(a.mov(rbx, cr2));
        ok(a.pop(rcx)); // error code
        ok(a.mov(qword_ptr(Machine::pte(DATA)), (DATA | P | W) as i32));
        ok(a.invlpg(byte_ptr(DATA)));
        ok(a.iretq());
    });
    m.code(CODE, |a| {
        ok(a.mov(byte_ptr(DATA + 7), 9));
        ok(a.hlt());
    });
    m.halts();
    assert_eq!((m.reg(3), m.reg(RCX)), (DATA + 7, 2));
    assert_eq!(m.bus.read64(DATA) >> 56, 9);
    assert_eq!(m.reg(4), STACK);
}

#[test]
fn interrupts_wait_for_the_shadow_and_wake_from_halt() {
    let mut m = Machine::long();
    with_tables(&mut m);
    gate(&m, 0x40, CODE + 0x800);
    m.code(CODE + 0x800, |a| {
        ok(a.mov(rbx, qword_ptr(rsp)));
        ok(a.iretq());
    });
    m.code(CODE, |a| {
        ok(a.sti());
        ok(a.hlt());
        ok(a.cli());
        ok(a.hlt());
    });
    m.bus.interrupt = Some(0x40);
    m.p.cpu.attention.store(Attention::INTR, Ordering::SeqCst);
    m.halts();
    assert_eq!(m.reg(3), CODE + 2, "after HLT, not between STI and HLT");
    assert_eq!(m.p.cpu.rip, CODE + 4, "and CLI keeps the last HLT asleep");
}

#[test]
fn pcids_keep_their_translations_until_told_otherwise() {
    let mut m = Machine::long();
    m.p.cpu.cr4 |= CR4_PCIDE;
    m.p.cpu.update_mode();
    let read = |m: &mut Machine, space: u64, at: u64| {
        m.p.cpu.regs[RSI] = space;
        m.p.cpu.regs[RDI] = at;
        m.code(CODE, |a| {
            ok(a.mov(cr3, rsi));
            ok(a.mov(rax, qword_ptr(rdi)));
            ok(a.hlt());
        });
        m.halts();
        m.reg(RAX)
    };
    m.bus.write64(DATA, 1);
    m.bus.write64(DATA + 0x1000, 2);
    assert_eq!(read(&mut m, TABLES | 1, DATA), 1);
    m.bus.write64(Machine::pte(DATA), (DATA + 0x1000) | P | W);
    assert_eq!(read(&mut m, TABLES | 2, DATA + 0x1000), 2, "another page: the TLB is direct mapped");
    assert_eq!(read(&mut m, TABLES | 1 | 1 << 63, DATA), 1, "stale, as allowed");
    m.p.cpu.flush_pcid(2);
    assert_eq!(read(&mut m, TABLES | 1 | 1 << 63, DATA), 1, "still");
    m.p.cpu.flush_page(DATA);
    assert_eq!(read(&mut m, TABLES | 1 | 1 << 63, DATA), 2);
    m.bus.write64(Machine::pte(DATA), DATA | P | W);
    assert_eq!(read(&mut m, TABLES | 1, DATA), 1, "without bit 63 the load flushes");
}
