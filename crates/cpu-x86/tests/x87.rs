//! x87 and MMX in translated blocks, every tier compared: what `FNSTENV` and `FXSAVE` report afterwards (instruction and data
//! pointers, opcode, tags), faults in the middle, handlers between, control words that unmask, stores to code, loops.
#![cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]

mod machine;

use cpu_x86::Stop;
use cpu_x86::state::cr::CR0_NE;
use iced_x86::code_asm::*;
use machine::tiers::{both, both_at, every};
use machine::{CODE, DATA, DEVICE, Machine, P, U};

fn set(m: &mut Machine) {
    m.p.cpu.cr0 |= CR0_NE;
    m.p.cpu.regs[6] = DATA;
    m.p.cpu.regs[7] = DATA + 0x1000;
    m.p.cpu.regs[13] = DATA + 0x200;
    m.p.cpu.regs[14] = 3;
    for n in 0..64u64 {
        let mut value = [0u8; 16];
        value[..8].copy_from_slice(&((1 << 63 | n << 50) + n * 77).to_le_bytes());
        value[8..10].copy_from_slice(&(0x3FF0 + n as u16).to_le_bytes());
        assert!(m.bus.ram.write(DATA + 0x200 + 16 * n, &value));
        assert!(m.bus.ram.write(DATA + 8 * n, &(1.0 + n as f64 / 3.0).to_le_bytes()));
    }
    // The second page of data lies elsewhere in memory, with nothing behind it.
    for r in &mut m.p.cpu.fpu.st {
        *r = [0; 16];
    }
}

/// What is in the unit goes to memory, which is compared; the registers themselves by the lockstep tier.
fn environment(a: &mut CodeAssembler, at: i32) {
    a.fnstenv(ptr(rdi + at)).unwrap();
}

type Program = fn(&mut CodeAssembler) -> std::result::Result<(), IcedError>;

fn compare(programs: &[(&str, Program)]) {
    for (name, program) in programs {
        println!("{name}");
        both(set, |a| {
            let mut top = a.create_label();
            a.mov(ecx, 20).unwrap();
            a.set_label(&mut top).unwrap();
            program(a).unwrap();
            a.dec(ecx).unwrap();
            a.jne(top).unwrap();
            environment(a, 0x100);
            a.fxsave64(ptr(rdi + 0x200)).unwrap();
            a.hlt().unwrap();
        });
    }
}

#[test]
fn pointers_and_registers_are_the_interpreters() {
    compare(&[
        ("registers only", |a| {
            a.fninit()?;
            a.fld1()?;
            a.fldpi()?;
            a.fmul_2(st0, st1)?;
            a.fsin()?;
            a.nop()
        }),
        ("memory last", |a| {
            a.fld(tbyte_ptr(rsi + 0x200))?;
            a.fadd(qword_ptr(rsi + 8))?;
            a.fstp(qword_ptr(rdi))
        }),
        ("the address register changes afterwards", |a| {
            a.fld(tbyte_ptr(r13 + r14 * 8 + 8))?;
            a.mov(r13, rsi)?;
            a.fstp(tbyte_ptr(rdi + 8))?;
            a.mov(r13d, (DATA + 0x200) as u32)
        }),
        ("popped by the stack", |a| {
            a.push(rax)?;
            a.fild(qword_ptr(rsp))?;
            a.pop(rax)?;
            a.fstp(st0)
        }),
        ("a segment", |a| {
            a.fld(dword_ptr(rsi).fs())?;
            a.fcomp(dword_ptr(rsp))?;
            a.fnstsw(ax)?;
            a.sahf()
        }),
        ("32-bit addresses", |a| {
            a.fld(qword_ptr(esi + 16))?;
            a.fistp(dword_ptr(edi))
        }),
        ("a handler between", |a| {
            a.fld(qword_ptr(rsi))?;
            a.cld()?;
            a.lahf()?;
            a.push(rcx)?;
            a.cpuid()?;
            a.pop(rcx)?;
            a.fstp(qword_ptr(rdi))
        }),
        ("control instructions keep pointers", |a| {
            a.fldz()?;
            a.fnstcw(word_ptr(rdi))?;
            a.fldcw(word_ptr(rdi))?;
            a.fincstp()?;
            a.fdecstp()?;
            a.ffree(st3)?;
            a.fnclex()?;
            a.wait()?;
            a.fstp(st0)
        }),
        ("environments in the middle", |a| {
            a.fld(tbyte_ptr(rsi + 0x210))?;
            a.fldl2t()?;
            a.fnstenv(ptr(rdi + 0x40))?;
            a.fyl2x()?;
            a.fldenv(ptr(rdi + 0x40))?;
            a.fnsave(ptr(rdi + 0x400))?;
            a.frstor(ptr(rdi + 0x400))
        }),
        ("flags", |a| {
            a.fld(qword_ptr(rsi + 8))?;
            a.fld(qword_ptr(rsi + 16))?;
            a.cmp(ecx, 7)?;
            a.fcmovb(st0, st1)?;
            a.fcmovne(st0, st1)?;
            a.adc(rdx, 0)?;
            a.fucomi(st0, st1)?;
            a.adc(rdx, 5)?;
            a.fcomip(st0, st1)?;
            a.setb(al)?;
            a.fstp(st0)
        }),
        ("overflows and underflows of the stack", |a| {
            a.fld1()?;
            a.fld1()?;
            a.fld1()?;
            a.faddp(st1, st0)?;
            a.fstp(st5)?;
            a.fcompp()?;
            a.fnstsw(word_ptr(rdi + 0x30))
        }),
        ("MMX", |a| {
            a.fld1()?;
            a.fld1()?;
            a.movq(mm1, qword_ptr(rsi + rcx * 8))?;
            a.paddw(mm1, qword_ptr(rsi + 0x208))?;
            a.movq(qword_ptr(rdi + rcx * 8 + 0x600), mm1)?;
            a.movd(r12d, mm1)?;
            a.pextrw(r15d, mm1, 2)?;
            a.cvtpi2ps(xmm0, mm1)?;
            a.movq2dq(xmm1, mm1)?;
            a.movdq2q(mm3, xmm0)?;
            a.pshufw(mm2, mm3, 0x1B)?;
            a.cvttps2pi(mm4, qword_ptr(rsi))?;
            a.emms()
        }),
    ]);
}

#[test]
fn a_loop_of_one_block_walks_over_pages() {
    let m = both(set, |a| {
        let mut top = a.create_label();
        a.fninit().unwrap();
        a.fldz().unwrap();
        a.mov(ecx, 700).unwrap();
        a.lea(rsi, qword_ptr(rsi + 0x202)).unwrap();
        a.set_label(&mut top).unwrap();
        a.fld(tbyte_ptr(rsi)).unwrap();
        a.fld(qword_ptr(rdi)).unwrap();
        a.fmulp(st1, st0).unwrap();
        a.faddp(st1, st0).unwrap();
        a.fst(dword_ptr(rdi + 0x800)).unwrap();
        a.add(rsi, 10).unwrap();
        a.add(rdi, 4).unwrap();
        a.sub(ecx, 1).unwrap();
        a.jne(top).unwrap();
        a.mov(rdi, DATA + 0x1800).unwrap();
        environment(a, 0);
        a.fstp(tbyte_ptr(rdi + 0x40)).unwrap();
        a.hlt().unwrap();
    });
    assert!(m.p.jit_statistics().loops > 0);
}

#[test]
fn faults_leave_what_was_there() {
    // Loads and stores that fault in a page that is not there, one that is read-only, or that crosses into one; a device.
    let places = [DATA + 0x5000, DATA + 0x4FFA, DATA + 0x6000, DATA + 0x5FFB, DEVICE + 0x10];
    for at in places {
        for store in [false, true] {
            let m = every(|m| {
                set(m);
                let page = DATA + 0x5000;
                m.set_pte(page, 0);
                m.set_pte(page + 0x1000, (page + 0x1000) | P | U);
                m.p.cpu.regs[3] = at;
                m.code(CODE, |a| {
                    a.fninit().unwrap();
                    a.fld(qword_ptr(rsi)).unwrap();
                    a.fld(qword_ptr(rsi + 8)).unwrap();
                    a.fadd_2(st0, st1).unwrap();
                    if store {
                        a.fstp(tbyte_ptr(rbx)).unwrap();
                    } else {
                        a.fld(tbyte_ptr(rbx)).unwrap();
                    }
                    a.fstp(qword_ptr(rdi + 0x80)).unwrap();
                    a.hlt().unwrap();
                });
                let stop = m.run();
                let f = &*m.p.cpu.fpu;
                let state = (f.fip, f.fcs, f.fdp, f.fds, f.fop, f.fsw, f.ftw, f.st.map(|r| r[..10].to_vec()));
                (stop, state, m.bus.device_writes.clone(), m.bus.device_reads.clone())
            });
            assert!(m.p.jit_statistics().entries > 0);
        }
    }
}

#[test]
fn exceptions_that_are_unmasked() {
    // The control word is loaded again and again; in the end it unmasks the division by zero.
    for unmask in [0x37F, 0x37B, 0x340] {
        let m = every(|m| {
            set(m);
            m.code(CODE, |a| {
                let mut top = a.create_label();
                let mut last = a.create_label();
                a.mov(word_ptr(rdi), 0x37F).unwrap();
                a.mov(ecx, 30).unwrap();
                a.set_label(&mut top).unwrap();
                a.fldcw(word_ptr(rdi)).unwrap();
                a.fld1().unwrap();
                a.fldz().unwrap();
                a.fdivp(st1, st0).unwrap();
                a.fstp(qword_ptr(rdi + 8)).unwrap();
                a.fnclex().unwrap();
                a.cmp(ecx, 2).unwrap();
                a.jne(last).unwrap();
                a.mov(word_ptr(rdi), unmask).unwrap();
                a.set_label(&mut last).unwrap();
                a.dec(ecx).unwrap();
                a.jne(top).unwrap();
                a.hlt().unwrap();
            });
            let stop = m.run();
            let f = &*m.p.cpu.fpu;
            (stop, f.fcw, f.fsw, f.ftw, f.fip, f.fdp, f.fop)
        });
        let masked = unmask & 4 != 0;
        assert_eq!(m.last == Some(Stop::Halt), masked, "{:?}", m.last);
    }
}

#[test]
fn the_control_word_decides_how_it_rounds() {
    for control in [0x37F, 0x77F, 0xB7F, 0xF7F, 0x27F, 0x07F, 0xE7F] {
        both(
            |m| {
                set(m);
                m.p.cpu.fpu.fcw = control;
            },
            |a| {
                a.fld1().unwrap();
                a.fld(tbyte_ptr(rsi + 0x230)).unwrap();
                a.fdivp(st1, st0).unwrap();
                a.fld(st0).unwrap();
                a.fistp(dword_ptr(rdi)).unwrap();
                a.fld(st0).unwrap();
                a.frndint().unwrap();
                a.fstp(tbyte_ptr(rdi + 0x10)).unwrap();
                a.fst(dword_ptr(rdi + 0x20)).unwrap();
                a.fbstp(ptr(rdi + 0x30)).unwrap();
                a.hlt().unwrap();
            },
        );
    }
}

#[test]
fn stores_to_the_own_block() {
    // FISTP overwrites the immediate of an instruction behind it, in each round with another number.
    both(set, |a| {
        let (mut top, mut patch) = (a.create_label(), a.create_label());
        a.mov(r12d, 40).unwrap();
        a.xor(eax, eax).unwrap();
        a.set_label(&mut top).unwrap();
        a.lea(rbx, qword_ptr(patch)).unwrap();
        a.mov(dword_ptr(rdi), r12d).unwrap();
        a.fild(dword_ptr(rdi)).unwrap();
        a.fistp(dword_ptr(rbx + 1)).unwrap();
        a.fld1().unwrap();
        a.set_label(&mut patch).unwrap();
        a.mov(edx, 0x1234_5678).unwrap();
        a.add(eax, edx).unwrap();
        a.fstp(st0).unwrap();
        a.dec(r12d).unwrap();
        a.jne(top).unwrap();
        environment(a, 0x40);
        a.hlt().unwrap();
    });
}

#[test]
fn pointers_after_a_store_to_the_own_block() {
    both(set, |a| {
        let mut patch = a.create_label();
        a.lea(rbx, qword_ptr(patch)).unwrap();
        a.mov(dword_ptr(rbx + 1), 5).unwrap(); // so that the TLB has the page
        a.fild(dword_ptr(rsi)).unwrap();
        a.fistp(dword_ptr(rbx + 1)).unwrap();
        a.set_label(&mut patch).unwrap();
        a.mov(edx, 0x1234_5678).unwrap();
        environment(a, 0x40);
        a.hlt().unwrap();
    });
}

#[test]
fn code_across_pages_and_calls_keeps_the_registers() {
    both_at(CODE + 0xFE0, set, |a| {
        let (mut top, mut f) = (a.create_label(), a.create_label());
        a.fninit().unwrap();
        a.fldz().unwrap();
        a.mov(ecx, 50).unwrap();
        a.set_label(&mut top).unwrap();
        a.fld(qword_ptr(rsi + rcx * 8)).unwrap();
        a.call(f).unwrap();
        a.faddp(st1, st0).unwrap();
        a.dec(ecx).unwrap();
        a.jne(top).unwrap();
        a.fstp(tbyte_ptr(rdi)).unwrap();
        environment(a, 0x40);
        a.hlt().unwrap();
        a.set_label(&mut f).unwrap();
        a.movsd_2(xmm0, qword_ptr(rsi)).unwrap();
        a.mulsd(xmm0, xmm0).unwrap();
        a.movsd_2(qword_ptr(rdi + 0x20), xmm0).unwrap();
        a.fmul(qword_ptr(rdi + 0x20)).unwrap();
        a.fsqrt().unwrap();
        a.ret().unwrap();
    });
}
