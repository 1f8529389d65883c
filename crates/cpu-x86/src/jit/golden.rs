//! Guest instruction to host instructions, by mnemonic: a change of what is emitted is a change of `golden.txt`.
//! `WHPX_BLESS=1 cargo test -p cpu-x86 golden` writes it anew.

use std::sync::Arc;

use iced_x86::{Decoder, FlowControl, Instruction};

use super::engine::Common;
use super::translate::translate;
use crate::block::{Block, Key, Place, decode_ops};
use crate::op::DecodeCx;
use crate::state::{Cpu, Mode};

/// Pieces of code, each a block (the end of a block follows).
const GUEST: &[&[u8]] = &[
    &[0x48, 0x01, 0xC8],                               // add rax, rcx
    &[0x4C, 0x01, 0xE0],                               // add rax, r12
    &[0x48, 0x83, 0xEC, 0x18],                         // sub rsp, 18h
    &[0x8B, 0x47, 0x10],                               // mov eax, [rdi+10h]
    &[0x48, 0x8B, 0x04, 0xCF],                         // mov rax, [rdi+rcx*8]
    &[0x4D, 0x8B, 0x65, 0x08],                         // mov r12, [r13+8]
    &[0x48, 0x89, 0x07],                               // mov [rdi], rax
    &[0x4C, 0x89, 0x67, 0x08],                         // mov [rdi+8], r12
    &[0xF0, 0x48, 0x0F, 0xC1, 0x07],                   // lock xadd [rdi], rax
    &[0x65, 0x48, 0x8B, 0x04, 0x25, 0x28, 0, 0, 0],    // mov rax, gs:[28h]
    &[0x48, 0x8B, 0x05, 0x10, 0, 0, 0],                // mov rax, [rip+10h]
    &[0x48, 0x8D, 0x05, 0x10, 0, 0, 0],                // lea rax, [rip+10h]
    &[0x48, 0x39, 0xC8, 0x48, 0x8B, 0x17, 0x74, 0x02], // cmp rax, rcx; mov rdx, [rdi]; je
    &[0x55],                                           // push rbp
    &[0x5D],                                           // pop rbp
    &[0xE8, 0x10, 0, 0, 0],                            // call
    &[0xC3],                                           // ret
    &[0xFF, 0xE0],                                     // jmp rax
    &[0x48, 0xF7, 0xF1],                               // div rcx
    &[0x66, 0x0F, 0x6F, 0x07],                         // movdqa xmm0, [rdi]
    &[0xF2, 0x0F, 0x58, 0xC1],                         // addsd xmm0, xmm1
    &[0xF3, 0xA4],                                     // rep movsb
];

/// One line for each: what it is, and what it becomes, up to where the slow paths begin.
fn text() -> String {
    let mut cpu = Cpu::new(Arc::default());
    cpu.mode = Mode(Mode::CODE64 | Mode::LONG | Mode::PROTECTED);
    let mut out = String::new();
    for bytes in GUEST {
        let key = Key { place: Place::default(), rip: 0x1000, mode: cpu.mode };
        let cx = DecodeCx { mode: cpu.mode, rip: key.rip, features: cpu.model.features };
        let block = Block::new(key, decode_ops(bytes, cx).0, *bytes, None, None);
        let made = translate(&cpu, &block, Common::default(), 0, false).expect("a translation");
        let guest: Vec<String> = Decoder::with_ip(64, bytes, key.rip, 0).iter().map(|i| i.to_string()).collect();
        let mut host = Vec::new();
        let mut calls = 0;
        for i in Decoder::with_ip(64, &made.code[made.body..], 0, 0).iter().skip(1).collect::<Vec<Instruction>>() {
            host.push(format!("{:?}", i.mnemonic()).to_lowercase());
            calls += usize::from(i.flow_control() == FlowControl::Call);
            // The end of the block, or of the hot part.
            if matches!(i.flow_control(), FlowControl::UnconditionalBranch | FlowControl::IndirectBranch) || calls > 1 {
                break;
            }
        }
        out += &format!("{} => {}: {}\n", guest.join("; "), host.len(), host.join(" "));
    }
    out
}

#[test]
fn golden_instructions() {
    let now = text();
    if std::env::var_os("WHPX_BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/jit/golden.txt"), &now).expect("golden.txt");
        return;
    }
    for (was, is) in include_str!("golden.txt").lines().zip(now.lines()) {
        assert_eq!(was, is);
    }
    assert_eq!(now.lines().count(), GUEST.len());
}
