//! The system instructions and event delivery through the run loop, against the Intel SDM's rules.

mod machine;

use cpu_x86::state::cr::*;
use cpu_x86::{Mode, ResetKind, Seg, SegReg, Stop};
use iced_x86::code_asm::*;
use machine::*;

const GDT: u64 = 0x1000;
const IDT: u64 = 0x2000;
const TSS: u64 = 0x3000;
const TSS2: u64 = 0x4000;
const STACK0: u64 = 0x8000;
const STACK3: u64 = 0x9000;
const HANDLER: u64 = 0xA000;

const CODE0: u16 = 0x08;
const DATA0: u16 = 0x10;
const CODE3: u16 = 0x1B;
const DATA3: u16 = 0x23;
const TSS_SEL: u16 = 0x28;
const TSS2_SEL: u16 = 0x38;
const GATE: u16 = 0x48;
/// 64-bit code, ring 0 and 3.
const CODE64: u16 = 0x58;
const CODE64_3: u16 = 0x6B;
const CONFORMING: u16 = 0x70;
const ABSENT: u16 = 0x78;

fn descriptor(base: u32, limit: u32, access: u8, flags: u8) -> u64 {
    u64::from(limit & 0xFFFF)
        | u64::from(base & 0xFF_FFFF) << 16
        | u64::from(access) << 40
        | u64::from(limit >> 16 & 0xF) << 48
        | u64::from(flags) << 52
        | u64::from(base >> 24) << 56
}

fn gate(selector: u16, offset: u64, access: u8, count: u8) -> u64 {
    offset & 0xFFFF
        | u64::from(selector) << 16
        | u64::from(count) << 32
        | u64::from(access) << 40
        | (offset >> 16 & 0xFFFF) << 48
}

fn tables(m: &mut Machine, long: bool) {
    let b = &m.bus;
    let entry = |s: u16, d: u64| b.write64(GDT + u64::from(s & !7), d);
    entry(CODE0, descriptor(0, 0xFFFFF, 0x9A, 0xC));
    entry(DATA0, descriptor(0, 0xFFFFF, 0x92, 0xC));
    entry(CODE3, descriptor(0, 0xFFFFF, 0xFA, 0xC));
    entry(DATA3, descriptor(0, 0xFFFFF, 0xF2, 0xC));
    entry(TSS_SEL, descriptor(TSS as u32, 0x2067, 0x89, 0));
    entry(0x30, 0);
    entry(TSS2_SEL, descriptor(TSS2 as u32, 0x67, 0x89, 0));
    entry(0x40, 0);
    entry(CODE64, descriptor(0, 0xFFFFF, 0x9A, 0xA));
    entry(0x60, descriptor(0, 0xFFFFF, 0xF2, 0xC));
    entry(CODE64_3, descriptor(0, 0xFFFFF, 0xFA, 0xA));
    entry(CONFORMING, descriptor(0x1000, 0x123, 0x9E, 0x4));
    entry(ABSENT, descriptor(0, 0xFFFFF, 0x12, 0xC));
    if long {
        b.write64(TSS + 4, STACK0);
    } else {
        b.write32(TSS + 4, STACK0 as u32);
        b.write32(TSS + 8, DATA0.into());
    }
    b.write64(TSS + 0x64, 0x0068_0000); // I/O map base at 68H
    let cpu = &mut m.p.cpu;
    cpu.gdtr.base = GDT;
    cpu.gdtr.limit = 0x7F;
    cpu.idtr.base = IDT;
    cpu.idtr.limit = 0x7FF;
    if long {
        cpu.idtr.limit = 0xFFF;
    }
    cpu.tr = SegReg { selector: TSS_SEL, base: TSS, limit: 0x2067, attributes: 0x8B };
    b.write64(GDT + u64::from(TSS_SEL), descriptor(TSS as u32, 0x2067, 0x8B, 0));
    cpu.exception_exits = 0;
    cpu.update_mode();
}

/// Every vector's handler is a HLT at `HANDLER + vector`.
fn handlers(m: &mut Machine, dpl: u8) {
    let long = m.p.cpu.mode.has(Mode::LONG);
    for v in 0..64u64 {
        m.bus.ram.write(HANDLER + v, &[0xF4]);
        let access = 0x8E | dpl << 5;
        if long {
            m.bus.write64(IDT + v * 16, gate(CODE64, HANDLER + v, access, 0));
            m.bus.write64(IDT + v * 16 + 8, 0);
        } else {
            m.bus.write64(IDT + v * 8, gate(CODE0, HANDLER + v, access, 0));
        }
    }
}

fn protected() -> Machine {
    let mut m = Machine::flat32();
    tables(&mut m, false);
    handlers(&mut m, 0);
    m
}

fn long() -> Machine {
    let mut m = Machine::long();
    m.p.cpu.segs[Seg::Cs as usize].selector = CODE64;
    tables(&mut m, true);
    handlers(&mut m, 0);
    m
}

fn user(m: &mut Machine) {
    let long = m.p.cpu.mode.has(Mode::LONG);
    m.set_cpl(3);
    m.p.cpu.segs = [SegReg { selector: DATA3, ..data_segment(3) }; 6];
    let code = if long { CODE64_3 } else { CODE3 };
    m.p.cpu.segs[Seg::Cs as usize] = SegReg { selector: code, ..code_segment(if long { 64 } else { 32 }, 3) };
    m.p.cpu.regs[4] = STACK3;
    m.p.cpu.update_mode();
}

fn word(m: &Machine, at: u64) -> u32 {
    m.bus.read64(at) as u32
}

/// Runs to the handler of `vector`.
fn lands(m: &mut Machine, vector: u64) {
    assert_eq!(m.run(), Stop::Halt);
    assert_eq!(m.p.cpu.rip, HANDLER + vector + 1, "handler");
}

/// The error code a fault pushed in protected mode.
fn error32(m: &Machine) -> u32 {
    word(m, m.reg(4))
}

#[test]
fn reset_state() {
    let mut m = Machine::flat32();
    m.p.cpu.fpu.mxcsr = 0x1234;
    m.p.cpu.msr.lstar = 7;
    m.p.cpu.reset(ResetKind::Init);
    let cpu = &m.p.cpu;
    assert_eq!((cpu.rip, cpu.segs[1].base, cpu.segs[1].selector), (0xFFF0, 0xFFFF_0000, 0xF000));
    assert_eq!((cpu.cr0, cpu.rflags(), cpu.dr[7]), (CR0_ET, 2, 0x400));
    assert_eq!((cpu.fpu.mxcsr, cpu.msr.lstar), (0x1234, 7), "INIT keeps these");
    m.p.cpu.reset(ResetKind::PowerOn);
    let cpu = &m.p.cpu;
    assert_eq!((cpu.cr0, cpu.msr.lstar, cpu.xcr0), (0x6000_0010, 0, 1));
    assert_eq!(cpu.msr.pat, 0x0007_0406_0007_0406);
    assert_eq!(cpu.regs[2] as u32, cpu.model.signature());
    m.p.cpu.reset(ResetKind::Sipi(0x9A));
    assert_eq!((m.p.cpu.segs[1].base, m.p.cpu.segs[1].selector, m.p.cpu.rip), (0x9_A000, 0x9A00, 0));
}

#[test]
fn real_to_protected_to_long() {
    let mut m = long();
    let stage32 = 0x7100u64;
    let stage64 = 0x7200u64;
    let code32 = assemble(32, stage32, |a| {
        a.mov(eax, CR4_PAE as u32).unwrap();
        a.mov(cr4, eax).unwrap();
        a.mov(eax, TABLES as u32).unwrap();
        a.mov(cr3, eax).unwrap();
        a.mov(ecx, 0xC000_0080u32).unwrap();
        a.mov(eax, EFER_LME as u32).unwrap();
        a.xor(edx, edx).unwrap();
        a.wrmsr().unwrap();
        a.mov(eax, (CR0_PG | CR0_PE) as u32).unwrap();
        a.mov(cr0, eax).unwrap();
        a.db(&[0xEA]).unwrap();
        a.dd(&[stage64 as u32]).unwrap();
        a.dw(&[CODE64]).unwrap();
    });
    m.bus.ram.write(stage32, &code32);
    let code64 = assemble(64, stage64, |a| {
        a.mov(ecx, 0xC000_0080u32).unwrap();
        a.rdmsr().unwrap();
        a.mov(rbx, cr0).unwrap();
        a.hlt().unwrap();
    });
    m.bus.ram.write(stage64, &code64);
    m.bus.ram.write(0x600, &[0x7F, 0, 0, 0x10, 0, 0]); // GDTR image: limit 7F, base 1000
    m.p.cpu.reset(ResetKind::PowerOn);
    m.p.cpu.tr.attributes = 0x8B;
    m.p.cpu.segs[1] = SegReg::real(0x700);
    m.p.cpu.update_mode();
    m.code(0, |_| ());
    let code16 = assemble(16, 0, |a| {
        a.lgdt(word_ptr(0x600)).unwrap();
        a.mov(eax, cr0).unwrap();
        a.or(al, 1).unwrap();
        a.mov(cr0, eax).unwrap();
        a.db(&[0x66, 0xEA]).unwrap();
        a.dd(&[stage32 as u32]).unwrap();
        a.dw(&[CODE0]).unwrap();
    });
    m.bus.ram.write(0x7000, &code16);
    m.halts();
    assert!(m.p.cpu.mode.has(Mode::CODE64 | Mode::LONG));
    assert_eq!(m.reg(0), EFER_LME | EFER_LMA);
    assert_eq!(m.reg(3), CR0_PG | CR0_PE | CR0_ET);
    assert_eq!(m.p.cpu.segs[1].selector, CODE64);
    assert_eq!(m.bus.read64(GDT + 8) >> 40 & 1, 1, "accessed");
}

#[test]
fn real_mode_interrupt_and_iret() {
    let mut m = Machine::flat32();
    m.p.cpu.reset(ResetKind::PowerOn);
    m.p.cpu.exception_exits = 0;
    m.p.cpu.segs[1] = SegReg::real(0x100);
    m.p.cpu.regs[4] = 0x400;
    m.p.cpu.update_mode();
    m.bus.write32(0x21 * 4, 0x0200_0010); // 0200:0010
    m.bus.ram.write(0x2010, &[0xFA, 0xF9, 0xCF]); // cli; stc; iret
    m.bus.ram.write(0x1000, &[0xFB, 0xCD, 0x21, 0xF4]); // sti; int 21; hlt
    m.p.cpu.rip = 0;
    m.halts();
    assert_eq!((m.p.cpu.segs[1].selector, m.p.cpu.rip, m.reg(4)), (0x100, 4, 0x400));
    assert_eq!(m.p.cpu.rflags(), 0x202, "CF and IF as pushed");
    assert_eq!(word(&m, 0x3FA), 0x0100_0003);
}

#[test]
fn interrupt_from_user_switches_stacks_and_returns() {
    let mut m = protected();
    user(&mut m);
    m.bus.write64(IDT + 0x30 * 8, gate(CODE0, 0xB000, 0xEE, 0));
    m.bus.ram.write(0xB000, &[0xCF]); // iretd
    m.code(CODE, |a| {
        a.int(0x30).unwrap();
        a.mov(eax, 5).unwrap();
        a.hlt().unwrap(); // #GP at CPL 3
    });
    lands(&mut m, 13);
    assert_eq!(m.reg(0), 5);
    assert_eq!((m.p.cpu.cpl, m.p.cpu.segs[2].selector), (0, DATA0));
    assert_eq!(m.reg(4), STACK0 - 24);
    let frame: Vec<u32> = (0..6).map(|n| word(&m, STACK0 - 24 + 4 * n)).collect();
    assert_eq!(frame, [0, (CODE + 7) as u32, CODE3.into(), 0x1_0002, STACK3 as u32, DATA3.into()]);
}

#[test]
fn software_interrupts_respect_the_gates_privilege() {
    let mut m = protected();
    user(&mut m);
    m.code(CODE, |a| a.int(0x20).unwrap());
    lands(&mut m, 13);
    assert_eq!(error32(&m), 0x20 * 8 + 2);
    let mut m = protected();
    m.bus.write64(IDT + 0x20 * 8, gate(CODE0, 0, 0x0E, 0));
    m.code(CODE, |a| a.int(0x20).unwrap());
    lands(&mut m, 11);
    assert_eq!(error32(&m), 0x20 * 8 + 2);
}

#[test]
fn hardware_interrupt_has_the_ext_bit_in_faults() {
    let mut m = protected();
    m.bus.write64(IDT + 0x20 * 8, gate(CODE0, 0, 0x0E, 0));
    m.bus.interrupt = Some(0x20);
    m.p.cpu.attention.store(1, std::sync::atomic::Ordering::Relaxed);
    m.code(CODE, |a| {
        a.sti().unwrap();
        a.nop().unwrap();
        a.nop().unwrap();
    });
    lands(&mut m, 11);
    assert_eq!(error32(&m), 0x20 * 8 + 3);
    assert_eq!(word(&m, m.reg(4) + 4) as u64, CODE + 2, "one instruction after STI");
}

#[test]
fn double_and_triple_fault() {
    let mut m = protected();
    m.bus.write64(IDT + 13 * 8, 0); // #GP has no gate: #GP while delivering #GP
    m.code(CODE, |a| a.int(0xFF).unwrap());
    m.bus.write64(IDT + 0xFF * 8, 0);
    lands(&mut m, 8);
    assert_eq!(error32(&m), 0);
    let mut m = protected();
    m.p.cpu.idtr.limit = 0;
    m.code(CODE, |a| a.ud2().unwrap());
    assert_eq!(m.run(), Stop::Shutdown);
}

#[test]
fn segment_load_faults() {
    for (selector, vector, error) in [
        (0x80u16, 13, 0x80u32), // past the limit
        (ABSENT, 11, ABSENT.into()),
        (TSS_SEL, 13, TSS_SEL.into()),
        (0x4C, 13, 0x4C), // LDT that is not there
    ] {
        let mut m = protected();
        m.code(CODE, |a| {
            a.mov(eax, u32::from(selector)).unwrap();
            a.mov(ds, ax).unwrap();
        });
        lands(&mut m, vector);
        assert_eq!(error32(&m), error, "{selector:#x}");
        assert_eq!(m.p.cpu.segs[3].selector, 16, "unchanged");
    }
    let mut m = protected();
    m.code(CODE, |a| {
        a.mov(eax, u32::from(DATA3)).unwrap();
        a.mov(ss, ax).unwrap(); // RPL is not CPL
    });
    lands(&mut m, 13);
    assert_eq!(error32(&m), u32::from(DATA3 & !3));
}

#[test]
fn lar_lsl_verr_verw() {
    let mut m = protected();
    m.code(CODE, |a| {
        a.mov(ecx, u32::from(CONFORMING)).unwrap();
        a.lar(eax, ecx).unwrap();
        a.lsl(ebx, ecx).unwrap();
        a.verw(cx).unwrap();
        a.setz(dl).unwrap();
        a.verr(cx).unwrap();
        a.setz(dh).unwrap();
        a.mov(ecx, u32::from(GATE)).unwrap(); // a null descriptor
        a.mov(esi, 7).unwrap();
        a.lsl(esi, ecx).unwrap();
        a.hlt().unwrap();
    });
    m.halts();
    assert_eq!((m.reg(0), m.reg(3)), (0x0040_9E00, 0x123));
    assert_eq!(m.reg(2) & 0xFFFF, 0x0100, "code is readable, not writable");
    assert_eq!((m.reg(6), m.p.cpu.lazy.zf()), (7, false));
}

#[test]
fn call_gate_copies_parameters_and_returns() {
    let mut m = protected();
    user(&mut m);
    m.bus.write64(GDT + u64::from(GATE), gate(CODE0, 0xB000, 0xEC, 2));
    let inner = assemble(32, 0xB000, |a| {
        a.mov(eax, dword_ptr(esp + 8)).unwrap();
        a.mov(ebx, dword_ptr(esp + 12)).unwrap();
        a.mov(ecx, cs).unwrap();
        a.db(&[0xCA, 8, 0]).unwrap(); // retf 8
    });
    m.bus.ram.write(0xB000, &inner);
    m.code(CODE, |a| {
        a.push(0x11).unwrap();
        a.push(0x22).unwrap();
        a.db(&[0x9A]).unwrap();
        a.dd(&[0]).unwrap();
        a.dw(&[GATE | 3]).unwrap();
        a.mov(edx, esp).unwrap();
        a.ud2().unwrap();
    });
    m.p.cpu.segs[3] = data_segment(0); // dropped on the way out
    lands(&mut m, 6);
    assert_eq!((m.reg(0), m.reg(3), m.reg(1) & 0xFFFF), (0x22, 0x11, CODE0.into()));
    assert_eq!(m.reg(2), STACK3);
    assert_eq!((m.p.cpu.segs[3].selector, m.p.cpu.segs[3].attributes), (0, 0));
    assert_eq!(word(&m, STACK0 - 16), u32::from(CODE3));
}

#[test]
fn v86_and_back() {
    for vme in [false, true] {
        let mut m = protected();
        m.p.cpu.cr4 = if vme { CR4_VME } else { 0 };
        m.bus.write64(TSS + 0x64, 0x0100_0000); // I/O map at 100H, redirection map at E0H: all zero
        m.bus.write32(0x21 * 4, 0x0600_0000); // v86 vector 21H: 0600:0000
        m.bus.ram.write(0x6000, &[0xCC]);
        let frame = [0u32, 0x500, 0x2_0002, 0x400, 0x700, 0x1, 0x2, 0x3, 0x4];
        for (n, v) in frame.iter().enumerate() {
            m.bus.write32(STACK + 4 * n as u64, *v);
        }
        m.bus.ram.write(0x5000, &[0xCD, 0x21]);
        m.code(CODE, |a| a.iretd().unwrap());
        if vme {
            // INT3 in the program's own handler goes to the monitor through the IDT, with IOPL 0: its gate has DPL 0.
            lands(&mut m, 13);
            assert_eq!(error32(&m), 3 * 8 + 2);
            assert_eq!(word(&m, STACK0 - 32), 0x600, "CS of the redirected handler");
            assert_eq!(word(&m, 0x7000 + 0x3FA), 0x0500_0002, "frame on the program's stack");
            assert_eq!(word(&m, 0x7000 + 0x3FE) & 0xFFFF, 0x3002, "IOPL 3 and VIF as IF");
        } else {
            lands(&mut m, 13);
            assert_eq!(error32(&m), 0);
            let f: Vec<u32> = (0..9).map(|n| word(&m, STACK0 - 36 + 4 * n)).collect();
            assert_eq!(f, [0, 0x500, 0x3_0002, 0x400, 0x700, 1, 2, 3, 4]);
            assert_eq!(m.p.cpu.segs[4].attributes, 0, "FS is null");
        }
        assert!(!m.p.cpu.mode.has(Mode::V86));
    }
}

#[test]
fn task_switch_by_call_and_iret() {
    let mut m = protected();
    for (offset, v) in [
        (0x20, 0xB000u32),
        (0x24, 2),
        (0x28, 0xAAAA),
        (0x38, 0x7000),
        (0x48, DATA0.into()),
        (0x4C, CODE0.into()),
        (0x50, DATA0.into()),
        (0x54, DATA0.into()),
    ] {
        m.bus.write32(TSS2 + offset, v);
    }
    m.bus.ram.write(0xB000, &[0xCF]); // iretd: back through the link
    m.code(CODE, |a| {
        a.mov(eax, 1).unwrap();
        a.db(&[0x9A]).unwrap();
        a.dd(&[0]).unwrap();
        a.dw(&[TSS2_SEL]).unwrap();
        a.hlt().unwrap();
    });
    m.bus.ram.write(TSS + 0x48, &[0; 0x18]);
    m.halts();
    assert_eq!(m.p.cpu.rip, CODE + 13);
    assert_eq!((m.reg(0), m.p.cpu.tr.selector), (1, TSS_SEL));
    assert_eq!(word(&m, TSS2) & 0xFFFF, u32::from(TSS_SEL), "link");
    assert_eq!(word(&m, TSS2 + 0x28), 0xAAAA);
    assert_eq!(word(&m, TSS2 + 0x20), 0xB001);
    assert_ne!(m.p.cpu.cr0 & CR0_TS, 0);
    assert_eq!(m.bus.read64(GDT + u64::from(TSS2_SEL)) >> 40 & 0xF, 9, "available again");
    assert_eq!(m.bus.read64(GDT + u64::from(TSS_SEL)) >> 40 & 0xF, 0xB);
}

#[test]
fn long_mode_frame_is_aligned_and_ist_is_used() {
    let mut m = long();
    user(&mut m);
    m.p.cpu.regs[4] = STACK3 - 3;
    m.bus.write64(TSS + 4, STACK0 + 5);
    m.code(CODE, |a| a.ud2().unwrap());
    lands(&mut m, 6);
    assert_eq!(m.reg(4), STACK0 - 40);
    let f: Vec<u64> = (0..5).map(|n| m.bus.read64(STACK0 - 40 + 8 * n)).collect();
    assert_eq!(f, [CODE, CODE64_3.into(), 0x1_0002, STACK3 - 3, DATA3.into()]);
    assert_eq!((m.p.cpu.cpl, m.p.cpu.segs[2].selector), (0, 0));

    let mut m = long();
    m.bus.write64(TSS + 0x24, 0xC000);
    m.bus.write64(IDT + 6 * 16, gate(CODE64, HANDLER + 6, 0x8E, 1));
    m.code(CODE, |a| a.ud2().unwrap());
    lands(&mut m, 6);
    assert_eq!(m.reg(4), 0xC000 - 40);
    assert_eq!(m.p.cpu.segs[2].selector, 16, "SS stays without a change of privilege");
}

#[test]
fn iretq_to_user_and_null_ss() {
    let mut m = long();
    for (n, v) in [0xB000, u64::from(CODE64_3), 0x3202, STACK3, DATA3.into()].into_iter().enumerate() {
        m.bus.write64(STACK + 8 * n as u64, v);
    }
    m.bus.ram.write(0xB000, &[0x0F, 0x0B]);
    m.code(CODE, |a| a.iretq().unwrap());
    lands(&mut m, 6);
    assert_eq!(m.bus.read64(STACK0 - 40 + 16) & 0x3202, 0x3202);
    // Ring 0 may return to 64-bit code with a null SS.
    let mut m = long();
    for (n, v) in [0xB000, u64::from(CODE64), 2, STACK3, 0].into_iter().enumerate() {
        m.bus.write64(STACK + 8 * n as u64, v);
    }
    m.bus.ram.write(0xB000, &[0xF4]);
    m.code(CODE, |a| a.iretq().unwrap());
    m.halts();
    assert_eq!((m.reg(4), m.p.cpu.segs[2].selector), (STACK3, 0));
}

#[test]
fn syscall_and_sysret() {
    let mut m = long();
    user(&mut m);
    let msr = &mut m.p.cpu.msr;
    msr.efer |= EFER_SCE;
    msr.star = 0x58 << 48 | u64::from(CODE64) << 32;
    msr.lstar = 0xB000;
    msr.sfmask = 0x201;
    m.p.cpu.set_rflags(0x203);
    let kernel = assemble(64, 0xB000, |a| {
        a.mov(r12, cr0).unwrap();
        a.pushfq().unwrap();
        a.pop(r13).unwrap();
        a.sysretq().unwrap();
    });
    m.bus.ram.write(0xB000, &kernel);
    m.code(CODE, |a| {
        a.syscall().unwrap();
        a.ud2().unwrap();
    });
    lands(&mut m, 6);
    assert_eq!((m.reg(1), m.reg(11), m.reg(13)), (CODE + 2, 0x203, 2));
    assert_eq!(m.bus.read64(STACK0 - 32), 0x6B, "CS = STAR[63:48] + 16");
    assert_eq!(m.bus.read64(STACK0 - 8), 0x63);
    m.p.cpu.msr.efer &= !EFER_SCE;
    m.p.cpu.regs[4] = STACK0;
    m.code(CODE, |a| a.syscall().unwrap());
    lands(&mut m, 6);
}

#[test]
fn popf_and_pushf_rules() {
    let mut m = protected();
    user(&mut m);
    m.code(CODE, |a| {
        a.push(0x0024_7ED5).unwrap();
        a.popfd().unwrap();
        a.pushfd().unwrap();
        a.pop(eax).unwrap();
        a.ud2().unwrap();
    });
    // IF and IOPL stay; TF is left out of the image.
    lands(&mut m, 6);
    assert_eq!(m.reg(0), 0x0024_4CD7);
    let mut m = protected();
    user(&mut m);
    m.code(CODE, |a| a.cli().unwrap());
    lands(&mut m, 13);
}

#[test]
fn single_step_and_the_stack_segment_shadow() {
    let mut m = protected();
    m.code(CODE, |a| {
        a.mov(eax, u32::from(DATA0)).unwrap();
        a.push(0x102).unwrap();
        a.popfd().unwrap();
        a.mov(ss, ax).unwrap();
        a.mov(ebx, 1).unwrap();
        a.mov(ecx, 1).unwrap();
    });
    lands(&mut m, 1);
    assert_eq!((m.reg(3), m.reg(1)), (1, 0), "the trap waits for the instruction after MOV SS");
    assert_eq!(m.p.cpu.dr[6] & 0x4000, 0x4000);
    assert_eq!(m.p.cpu.rflags() & 0x100, 0);
}

#[test]
fn debug_registers() {
    let mut m = protected();
    m.code(CODE, |a| {
        a.mov(eax, 0xFFFF_FFFFu32).unwrap();
        a.mov(dr6, eax).unwrap();
        a.mov(eax, 0x2000).unwrap();
        a.mov(dr7, eax).unwrap();
        a.mov(ebx, dr6).unwrap();
    });
    lands(&mut m, 1);
    assert_eq!(m.p.cpu.dr[6], 0xFFFF_EFF0 | 0x2000, "BD");
    assert_eq!(m.p.cpu.dr[7], 0x400, "GD is cleared");
    let mut m = protected();
    m.p.cpu.dr[0] = CODE + 5;
    m.code(CODE, |a| {
        a.mov(eax, 1).unwrap();
        a.mov(dr7, eax).unwrap();
        a.jmp(CODE).unwrap();
    });
    lands(&mut m, 1);
    assert_eq!(m.p.cpu.dr[6] & 0xF, 1);
    assert_eq!(u64::from(word(&m, m.reg(4))), CODE + 5);
}

#[test]
fn control_register_checks() {
    let faults = |f: &dyn Fn(&mut CodeAssembler)| {
        let mut m = long();
        m.code(CODE, |a| f(a));
        lands(&mut m, 13);
    };
    faults(&|a| {
        a.mov(rax, CR0_PG).unwrap();
        a.mov(cr0, rax).unwrap(); // PG without PE
    });
    faults(&|a| {
        a.mov(rax, CR0_PE).unwrap();
        a.mov(cr0, rax).unwrap(); // paging off in 64-bit mode
    });
    faults(&|a| {
        a.mov(rax, 1u64 << 40).unwrap();
        a.mov(cr0, rax).unwrap();
    });
    faults(&|a| {
        a.xor(eax, eax).unwrap();
        a.mov(cr4, rax).unwrap(); // PAE off in long mode
    });
    faults(&|a| {
        a.mov(rax, CR4_PAE | 1 << 14).unwrap();
        a.mov(cr4, rax).unwrap(); // SMXE does not exist
    });
    faults(&|a| {
        a.mov(ecx, 0xC000_0080u32).unwrap();
        a.xor(eax, eax).unwrap();
        a.xor(edx, edx).unwrap();
        a.wrmsr().unwrap(); // LME off with paging on
    });
    faults(&|a| {
        a.mov(ecx, 0x277).unwrap();
        a.mov(eax, 2).unwrap();
        a.xor(edx, edx).unwrap();
        a.wrmsr().unwrap(); // PAT type 2
    });
    faults(&|a| {
        a.mov(ecx, 0xC000_0082u32).unwrap();
        a.xor(eax, eax).unwrap();
        a.mov(edx, 0x8000_0000u32).unwrap();
        a.wrmsr().unwrap(); // not canonical
    });
}

#[test]
fn msrs_and_segment_bases() {
    let mut m = long();
    m.p.cpu.cr4 |= CR4_FSGSBASE;
    m.code(CODE, |a| {
        a.mov(rax, 0x1234_5678_9ABCu64).unwrap();
        a.wrgsbase(rax).unwrap();
        a.mov(ecx, 0xC000_0102u32).unwrap();
        a.mov(eax, 0x4000).unwrap();
        a.xor(edx, edx).unwrap();
        a.wrmsr().unwrap();
        a.swapgs().unwrap();
        a.rdgsbase(rbx).unwrap();
        a.rdmsr().unwrap();
        a.mov(ecx, 0x200).unwrap();
        a.hlt().unwrap();
    });
    m.halts();
    assert_eq!((m.reg(3), m.reg(0), m.reg(2)), (0x4000, 0x5678_9ABC, 0x1234));
    let bus = &mut m.bus;
    let cpu = &mut m.p.cpu;
    assert!(cpu.msr_set(bus, 0x200, 0xC000_0006).is_ok() && cpu.msr_set(bus, 0x200, 2).is_err());
    assert!(cpu.msr_set(bus, 0x201, 1 << 11 | 0xFF_C000_0000).is_ok());
    assert_eq!(cpu.msr_get(bus, 0x200), Ok(0xC000_0006));
    assert!(cpu.msr_set(bus, 0x26F, 0x0606_0505_0404_0100).is_ok());
    assert_eq!(cpu.msr_get(bus, 0x26F), Ok(0x0606_0505_0404_0100));
    assert!(cpu.msr_get(bus, 0x9999).is_err(), "the bus says no");
}

#[test]
fn umip_and_descriptor_tables() {
    let mut m = long();
    m.code(CODE, |a| {
        a.sgdt(fword_ptr(DATA)).unwrap();
        a.sidt(fword_ptr(DATA + 16)).unwrap();
        a.str(eax).unwrap();
        a.hlt().unwrap();
    });
    m.halts();
    assert_eq!((m.bus.read64(DATA), m.bus.read64(DATA + 16)), (GDT << 16 | 0x7F, IDT << 16 | 0xFFF));
    assert_eq!(m.reg(0), u64::from(TSS_SEL));
    user(&mut m);
    m.p.cpu.cr4 |= CR4_UMIP;
    m.code(CODE, |a| a.str(eax).unwrap());
    lands(&mut m, 13);
}

#[test]
fn ltr_and_lldt_in_long_mode() {
    let mut m = long();
    m.bus.write64(GDT + u64::from(TSS2_SEL) + 8, 0xFFFF_8000);
    m.code(CODE, |a| {
        a.mov(eax, u32::from(TSS2_SEL)).unwrap();
        a.ltr(ax).unwrap();
        a.xor(eax, eax).unwrap();
        a.lldt(ax).unwrap();
        a.hlt().unwrap();
    });
    m.halts();
    assert_eq!(m.p.cpu.tr.base, 0xFFFF_8000_0000_4000);
    assert_eq!(m.bus.read64(GDT + u64::from(TSS2_SEL)) >> 40 & 0xF, 0xB, "busy");
    assert!(!m.p.cpu.ldtr.present());
}

#[test]
fn page_fault_in_the_stack_of_a_handler_is_a_double_fault() {
    let mut m = long();
    m.bus.write64(IDT + 8 * 16, gate(CODE64, HANDLER + 8, 0x8E, 1));
    m.bus.write64(TSS + 0x24, 0xC000);
    m.set_pte(STACK - 0x1000, 0);
    m.set_pte(0x50_0000, 0);
    m.p.cpu.regs[4] = STACK - 0x800;
    m.code(CODE, |a| a.mov(eax, dword_ptr(0x50_0000)).unwrap());
    lands(&mut m, 8);
    assert_eq!(m.p.cpu.cr2 & !0xFFF, STACK - 0x1000, "the second fault's address");
    assert_eq!(m.bus.read64(0xC000 - 40), CODE, "RIP of the instruction that faulted first");
}

#[test]
fn compatibility_mode_and_back() {
    let mut m = long();
    m.bus.ram.write(DATA, &[0, 0xB0, 0, 0, 0x08, 0]); // 0008:0000B000
    let compat = assemble(32, 0xB000, |a| {
        a.mov(eax, 0xFFFF_FFFFu32).unwrap();
        a.inc(eax).unwrap();
        a.db(&[0xEA]).unwrap();
        a.dd(&[0xB100]).unwrap();
        a.dw(&[CODE64]).unwrap();
    });
    m.bus.ram.write(0xB000, &compat);
    m.bus.ram.write(0xB100, &[0x48, 0xFF, 0xC8, 0xF4]); // dec rax; hlt
    m.code(CODE, |a| a.db(&[0xFF, 0x2C, 0x25, 0, 0, 3, 0]).unwrap()); // jmp far [30000h]
    m.halts();
    assert_eq!(m.reg(0), u64::MAX);
    assert!(m.p.cpu.mode.has(Mode::CODE64));
}
