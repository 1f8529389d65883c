//! How fast a tier is: loops in 64-bit mode with paging on, of integer, x87 and MMX instructions. `cargo run --release -p cpu-x86 --example mips
//! [COUNT] [interpreter|translator]`
#![allow(missing_docs)]

#[path = "../tests/machine/mod.rs"]
mod machine;

use std::time::Instant;

use iced_x86::code_asm::*;
use machine::{CODE, DATA, Machine};

/// Register work with a branch every five instructions.
fn registers(a: &mut CodeAssembler) {
    let mut top = a.create_label();
    a.set_label(&mut top).unwrap();
    a.add(rax, rcx).unwrap();
    a.xor(rdx, rax).unwrap();
    a.lea(rbx, qword_ptr(rax + rdx * 2 + 5)).unwrap();
    a.sub(ecx, 1).unwrap();
    a.jne(top).unwrap();
    a.hlt().unwrap();
}

/// Loads, stores, calls: what compiled code looks like.
fn mixed(a: &mut CodeAssembler) {
    let mut top = a.create_label();
    let mut function = a.create_label();
    let mut even = a.create_label();
    a.set_label(&mut top).unwrap();
    a.mov(eax, ecx).unwrap();
    a.and(eax, 0xFF8).unwrap();
    a.mov(rdx, qword_ptr(rsi + rax)).unwrap();
    a.add(rdx, rcx).unwrap();
    a.mov(qword_ptr(rsi + rax), rdx).unwrap();
    a.test(dl, 1).unwrap();
    a.je(even).unwrap();
    a.add(dword_ptr(rdi), 3).unwrap();
    a.set_label(&mut even).unwrap();
    a.call(function).unwrap();
    a.dec(ecx).unwrap();
    a.jne(top).unwrap();
    a.hlt().unwrap();
    a.set_label(&mut function).unwrap();
    a.push(rbp).unwrap();
    a.mov(rbp, rsp).unwrap();
    a.movzx(eax, byte_ptr(rsi + 3)).unwrap();
    a.shl(eax, 3).unwrap();
    a.pop(rbp).unwrap();
    a.ret().unwrap();
}

/// A scalar product of `long double`s.
fn x87(a: &mut CodeAssembler) {
    let mut top = a.create_label();
    a.fninit().unwrap();
    a.fldz().unwrap();
    a.set_label(&mut top).unwrap();
    a.mov(eax, ecx).unwrap();
    a.and(eax, 0xFF0).unwrap();
    a.fld(tbyte_ptr(rsi + rax)).unwrap();
    a.fld(tbyte_ptr(rdi + rax)).unwrap();
    a.fmulp(st1, st0).unwrap();
    a.faddp(st1, st0).unwrap();
    a.dec(ecx).unwrap();
    a.jne(top).unwrap();
    a.hlt().unwrap();
}

/// Conversions to integers as compilers make them, in a function.
fn x87_convert(a: &mut CodeAssembler) {
    let mut top = a.create_label();
    let mut function = a.create_label();
    a.fninit().unwrap();
    a.set_label(&mut top).unwrap();
    a.call(function).unwrap();
    a.dec(ecx).unwrap();
    a.jne(top).unwrap();
    a.hlt().unwrap();
    a.set_label(&mut function).unwrap();
    a.mov(qword_ptr(rdi), rcx).unwrap();
    a.fild(qword_ptr(rdi)).unwrap();
    a.fmul(qword_ptr(rsi)).unwrap();
    a.fnstcw(word_ptr(rdi + 8)).unwrap();
    a.movzx(eax, word_ptr(rdi + 8)).unwrap();
    a.or(ah, 0xC).unwrap();
    a.mov(word_ptr(rdi + 10), ax).unwrap();
    a.fldcw(word_ptr(rdi + 10)).unwrap();
    a.fistp(qword_ptr(rdi + 16)).unwrap();
    a.fldcw(word_ptr(rdi + 8)).unwrap();
    a.mov(rdx, qword_ptr(rdi + 16)).unwrap();
    a.ret().unwrap();
}

/// Sums of words.
fn mmx(a: &mut CodeAssembler) {
    let mut top = a.create_label();
    a.fninit().unwrap();
    a.set_label(&mut top).unwrap();
    a.mov(eax, ecx).unwrap();
    a.and(eax, 0xFF8).unwrap();
    a.movq(mm0, qword_ptr(rsi + rax)).unwrap();
    a.pmaddwd(mm0, qword_ptr(rdi + rax)).unwrap();
    a.paddd(mm1, mm0).unwrap();
    a.movq(qword_ptr(rdi + rax), mm1).unwrap();
    a.dec(ecx).unwrap();
    a.jne(top).unwrap();
    a.emms().unwrap();
    a.hlt().unwrap();
}

/// Assembles a program.
type Program = fn(&mut CodeAssembler);

fn main() {
    let count = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(20_000_000u64);
    let tier = match std::env::args().nth(2).as_deref() {
        Some("translator") => cpu_x86::Tier::Translator,
        Some("check") => cpu_x86::Tier::Check,
        _ => cpu_x86::Tier::Interpreter,
    };
    let programs: [(&str, Program); 5] =
        [("registers", registers), ("mixed", mixed), ("x87", x87), ("x87 convert", x87_convert), ("mmx", mmx)];
    for (name, program) in programs {
        let mut m = Machine::long();
        m.code(CODE, program);
        m.p.set_tier(tier);
        m.p.cpu.cr4 |= cpu_x86::state::cr::CR4_OSFXSR;
        m.p.cpu.update_mode();
        let one = [0, 0, 0, 0, 0, 0, 0, 0x80, 0xFF, 0x3F, 0, 0, 0, 0, 0, 0]; // 1.0
        for at in (DATA..DATA + 0x4000).step_by(16) {
            assert!(m.bus.ram.write(at, &one));
        }
        m.p.cpu.regs[1] = count;
        m.p.cpu.regs[6] = DATA;
        m.p.cpu.regs[7] = DATA + 0x2000;
        let start = Instant::now();
        let stop = m.run();
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{name}: {stop:?} after {:.1} M rounds a second, rax {:#x} rdx {:#x}",
            count as f64 / seconds / 1e6,
            m.reg(0),
            m.reg(2)
        );
    }
}
