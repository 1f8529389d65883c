//! How fast the interpreter is: an integer loop in 64-bit mode with paging on. Run it with `--release`.
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

/// Assembles a program.
type Program = fn(&mut CodeAssembler);

fn main() {
    let count = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(20_000_000u64);
    let programs: [(&str, Program); 2] = [("registers", registers), ("mixed", mixed)];
    for (name, program) in programs {
        let mut m = Machine::long();
        m.code(CODE, program);
        m.p.cpu.regs[1] = count;
        m.p.cpu.regs[6] = DATA;
        m.p.cpu.regs[7] = DATA + 0x2000;
        let start = Instant::now();
        let stop = m.run();
        let seconds = start.elapsed().as_secs_f64();
        let retired = m.p.cpu.retired;
        println!("{name}: {stop:?} after {retired} instructions, {:.1} MIPS", retired as f64 / seconds / 1e6);
    }
}
