//! Guest instruction to host instructions, by mnemonic: a change of what is emitted is a change of `golden.txt`.
//! `WHPX_BLESS=1 cargo test -p cpu-x86 golden` writes it anew.

use std::sync::Arc;

use iced_x86::{Decoder, FlowControl, Instruction};

use super::audit::made;
use crate::state::{Cpu, Mode};

/// Pieces of code, each a block (the end of a block follows).
const GUEST: &[&[u8]] = &[
    &[0x48, 0x01, 0xC8],                                                       // add rax, rcx
    &[0x4C, 0x01, 0xE0],                                                       // add rax, r12
    &[0x48, 0x83, 0xEC, 0x18],                                                 // sub rsp, 18h
    &[0x8B, 0x47, 0x10],                                                       // mov eax, [rdi+10h]
    &[0x48, 0x8B, 0x04, 0xCF],                                                 // mov rax, [rdi+rcx*8]
    &[0x4D, 0x8B, 0x65, 0x08],                                                 // mov r12, [r13+8]
    &[0x48, 0x89, 0x07],                                                       // mov [rdi], rax
    &[0x4C, 0x89, 0x67, 0x08],                                                 // mov [rdi+8], r12
    &[0xF0, 0x48, 0x0F, 0xC1, 0x07],                                           // lock xadd [rdi], rax
    &[0x65, 0x48, 0x8B, 0x04, 0x25, 0x28, 0, 0, 0],                            // mov rax, gs:[28h]
    &[0x48, 0x8B, 0x05, 0x10, 0, 0, 0],                                        // mov rax, [rip+10h]
    &[0x48, 0x8D, 0x05, 0x10, 0, 0, 0],                                        // lea rax, [rip+10h]
    &[0x48, 0x39, 0xC8, 0x48, 0x8B, 0x17, 0x74, 0x02],                         // cmp rax, rcx; mov rdx, [rdi]; je
    &[0x55],                                                                   // push rbp
    &[0x5D],                                                                   // pop rbp
    &[0xE8, 0x10, 0, 0, 0],                                                    // call
    &[0xC3],                                                                   // ret
    &[0xFF, 0xE0],                                                             // jmp rax
    &[0x48, 0xF7, 0xF1],                                                       // div rcx
    &[0x66, 0x0F, 0x6F, 0x07],                                                 // movdqa xmm0, [rdi]
    &[0xF2, 0x0F, 0x58, 0xC1],                                                 // addsd xmm0, xmm1
    &[0xF3, 0xA4],                                                             // rep movsb
    &[0x41, 0x57],                                                             // push r15
    &[0x68, 0x44, 0x33, 0x22, 0x11],                                           // push 11223344h
    &[0xC9],                                                                   // leave
    &[0xC2, 0x10, 0],                                                          // ret 10h
    &[0xFF, 0xD0],                                                             // call rax
    &[0xFF, 0x25, 0x10, 0, 0, 0],                                              // jmp [rip+10h]
    &[0xFF, 0x14, 0xC7],                                                       // call [rdi+rax*8]
    &[0x48, 0x85, 0xC0, 0x75, 0xF0],                                           // test rax, rax; jne
    &[0x4D, 0x39, 0xE5, 0x77, 0xF0],                                           // cmp r13, r12; ja
    &[0x48, 0x83, 0x47, 0x08, 0x01],                                           // add qword [rdi+8], 1
    &[0x48, 0x01, 0xC8, 0x48, 0x13, 0x17],                                     // add rax, rcx; adc rdx, [rdi]
    &[0x48, 0x39, 0xC8, 0x0F, 0x94, 0x07],                                     // cmp rax, rcx; sete [rdi]
    &[0x48, 0x39, 0xC8, 0x4C, 0x0F, 0x44, 0xE2],                               // cmp rax, rcx; cmove r12, rdx
    &[0x0F, 0xB6, 0x07],                                                       // movzx eax, byte [rdi]
    &[0x88, 0x27],                                                             // mov [rdi], ah
    &[0x48, 0x0F, 0xAF, 0x07],                                                 // imul rax, [rdi]
    &[0x48, 0xD3, 0xE0],                                                       // shl rax, cl
    &[0x48, 0xF7, 0x37],                                                       // div qword [rdi]
    &[0x48, 0x0F, 0xA3, 0xC8],                                                 // bt rax, rcx
    &[0x48, 0x0F, 0xA3, 0x0F],                                                 // bt [rdi], rcx
    &[0x48, 0x87, 0x07],                                                       // xchg [rdi], rax
    &[0xF0, 0x48, 0x0F, 0xB1, 0x17],                                           // lock cmpxchg [rdi], rdx
    &[0xF0, 0x48, 0x0F, 0xC7, 0x0F],                                           // lock cmpxchg16b [rdi]
    &[0xF3, 0x48, 0x0F, 0xB8, 0xC1],                                           // popcnt rax, rcx
    &[0xC4, 0xE2, 0xFB, 0xF6, 0xC1],                                           // mulx rax, rax, rcx
    &[0x0F, 0xC8],                                                             // bswap eax
    &[0xF2, 0x0F, 0x11, 0x07],                                                 // movsd [rdi], xmm0
    &[0xF2, 0x0F, 0x10, 0x07, 0xF2, 0x0F, 0x59, 0xC1, 0xF2, 0x0F, 0x58, 0xD0], // movsd; mulsd; addsd
    &[0x66, 0x0F, 0x2F, 0xC1, 0x76, 0xF0],                                     // comisd xmm0, xmm1; jbe
    &[0xC5, 0xFD, 0xFE, 0x07],                                                 // vpaddd ymm0, ymm0, [rdi]
    &[0x66, 0x0F, 0x38, 0xDC, 0xC1],                                           // aesenc xmm0, xmm1
    &[0xDD, 0x07],                                                             // fld qword [rdi]
    &[0xD9, 0xE8, 0xDE, 0xC1],                                                 // fld1; faddp
    &[0x0F, 0x31],                                                             // rdtsc
    &[0x0F, 0xA2],                                                             // cpuid
    &[0x9C],                                                                   // pushfq
    &[0xFC],                                                                   // cld
    &[0xFB],                                                                   // sti
    &[0x48, 0xAB],                                                             // stosq
    &[0xA4],                                                                   // movsb
    &[0xAC],                                                                   // lodsb
    &[0xEE],                                                                   // out dx, al
    &[0xDB, 0x2F],                                                             // fld tbyte [rdi]
    &[0xDB, 0x3F],                                                             // fstp tbyte [rdi]
    &[0xDC, 0x04, 0xCF],                                                       // fadd qword [rdi+rcx*8]
    &[0xDB, 0x2F, 0xDB, 0x6F, 0x10, 0xDE, 0xC9, 0xDE, 0xC1],                   // fld; fld; fmulp; faddp
    &[0xDB, 0xF1, 0x76, 0xF0],                                                 // fcomi st0, st1; jbe
    &[0x48, 0x39, 0xC8, 0xDA, 0xC9],                                           // cmp rax, rcx; fcmove st0, st1
    &[0xD9, 0x3F],                                                             // fnstcw [rdi]
    &[0xD9, 0x2F],                                                             // fldcw [rdi]
    &[0xDF, 0xE0],                                                             // fnstsw ax
    &[0xDF, 0x3F],                                                             // fistp qword [rdi]
    &[0x9B],                                                                   // wait
    &[0xDB, 0xE3],                                                             // fninit
    &[0x0F, 0xFE, 0x07],                                                       // paddd mm0, [rdi]
    &[0x0F, 0xFE, 0xC1],                                                       // paddd mm0, mm1
    &[0x0F, 0x7F, 0x07],                                                       // movq [rdi], mm0
    &[0x4C, 0x0F, 0x6E, 0xE0],                                                 // movq mm4, rax
    &[0x0F, 0x77],                                                             // emms
    &[0x66, 0x0F, 0x2D, 0x07],                                                 // cvtpd2pi mm0, [rdi]
    &[0x62, 0xF1, 0x7D, 0x48, 0xFE, 0x07],                                     // vpaddd zmm0, zmm0, [rdi]
    &[0x62, 0xF1, 0x75, 0x49, 0xFE, 0xC2],                                     // vpaddd zmm0{k1}, zmm1, zmm2
    &[0xC5, 0xFC, 0x41, 0xD9],                                                 // kandw k3, k0, k1
    &[0x0F, 0x01, 0xF9],                                                       // rdtscp
    &[0x0F, 0xAE, 0xE8, 0x0F, 0x31],                                           // lfence; rdtsc
];

/// One line for each: what it is, and what it becomes, up to where the slow paths begin.
fn text() -> String {
    let mut cpu = Cpu::new(Arc::default());
    cpu.mode = Mode(Mode::CODE64 | Mode::LONG | Mode::PROTECTED);
    let mut out = String::new();
    for bytes in GUEST {
        let made = made(&cpu, bytes, 0x1000, cpu.mode, false).expect("a translation");
        let guest: Vec<String> = Decoder::with_ip(64, bytes, 0x1000, 0).iter().map(|i| i.to_string()).collect();
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
    let all = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("aes");
    if !all || !is_x86_feature_detected!("popcnt") {
        println!("skipped: the host lacks AVX2, BMI2, AES or POPCNT, and the translator leaves them to handlers");
        return;
    }
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
