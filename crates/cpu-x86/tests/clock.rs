//! RDTSC and RDTSCP where the clock can be read without a call.
#![cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]

mod machine;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use cpu_x86::clock::{GuestCounter, HostClock};
use cpu_x86::state::cr::CR4_TSD;
use cpu_x86::{Exception, Stop, Tier};
use iced_x86::code_asm::*;
use machine::tiers::machine;
use machine::{CODE, DATA, Machine};

const OFFSET: i64 = 5_000_000_000_000;

/// A clock that runs, if the host has what it is made of.
fn with_clock(tier: Tier) -> Option<Machine> {
    let clock = HostClock::default();
    clock.go_on(HostClock::counter()?, 1_000, 1 << 30);
    let mut m = machine(tier);
    m.p.cpu.counter = Some(GuestCounter { clock: Arc::new(clock), offset: Arc::new(AtomicI64::new(OFFSET)) });
    Some(m)
}

/// Reads it RCX times: RSI is how often it went back, R8 the first value, R9 the last.
fn reads(a: &mut CodeAssembler) {
    let (mut top, mut on) = (a.create_label(), a.create_label());
    a.xor(esi, esi).unwrap();
    a.rdtsc().unwrap();
    a.shl(rdx, 32).unwrap();
    a.lea(r8, qword_ptr(rax + rdx)).unwrap();
    a.mov(r9, r8).unwrap();
    a.set_label(&mut top).unwrap();
    a.rdtsc().unwrap();
    a.shl(rdx, 32).unwrap();
    a.or(rax, rdx).unwrap();
    a.cmp(rax, r9).unwrap();
    a.jae(on).unwrap();
    a.inc(esi).unwrap();
    a.set_label(&mut on).unwrap();
    a.mov(r9, rax).unwrap();
    a.dec(rcx).unwrap();
    a.jne(top).unwrap();
    a.hlt().unwrap();
}

#[test]
fn it_is_the_clocks_and_does_not_go_back() {
    let Some(mut m) = with_clock(Tier::Translator) else {
        println!("skipped: the host's counter is not invariant");
        return;
    };
    m.p.cpu.regs[1] = 100_000;
    m.code(CODE, reads);
    let before = m.p.cpu.counter.as_ref().and_then(|c| c.clock.read()).unwrap() + OFFSET as u64;
    m.halts();
    let after = m.p.cpu.counter.as_ref().and_then(|c| c.clock.read());
    assert_eq!(m.reg(6), 0, "times it went back");
    assert!(m.reg(8) >= before && m.reg(9) >= m.reg(8));
    if let Some(after) = after {
        assert!(m.reg(9) <= after + OFFSET as u64);
    }
    assert!(m.p.jit_statistics().handlers < 2, "{:?}", m.p.jit_statistics());
}

#[test]
fn where_it_stands_the_bus_is_asked() {
    let Some(mut m) = with_clock(Tier::Translator) else { return };
    m.p.cpu.counter.as_ref().unwrap().clock.stand();
    m.p.cpu.regs[1] = 100;
    m.code(CODE, reads);
    m.halts();
    assert_eq!((m.reg(8), m.reg(9)), (0, 0), "the test bus's counter");
}

#[test]
fn flags_and_the_processors_number() {
    let Some(mut m) = with_clock(Tier::Translator) else { return };
    m.p.cpu.msr.tsc_aux = 0x1_2345_6789;
    m.p.cpu.regs[1] = u64::MAX;
    m.p.cpu.regs[7] = DATA;
    m.code(CODE, |a| {
        let mut top = a.create_label();
        a.mov(r15d, 30).unwrap();
        a.set_label(&mut top).unwrap();
        a.stc().unwrap();
        a.rdtscp().unwrap();
        a.adc(r12, 0).unwrap();
        a.dec(r15d).unwrap();
        a.jne(top).unwrap();
        a.hlt().unwrap();
    });
    m.halts();
    assert_eq!((m.reg(1), m.reg(12)), (0x2345_6789, 30));
    assert!(m.reg(0) >> 32 == 0 && m.reg(2) >> 32 == 0 && m.reg(2) >= OFFSET as u64 >> 32);
}

#[test]
fn it_can_be_kept_from_outer_rings() {
    let Some(mut m) = with_clock(Tier::Translator) else { return };
    m.p.cpu.cr4 |= CR4_TSD;
    m.p.cpu.update_mode();
    let code = |a: &mut CodeAssembler| {
        a.mov(ecx, 1).unwrap();
        a.mov(eax, 77).unwrap();
        a.rdtsc().unwrap();
        a.hlt().unwrap();
    };
    m.code(CODE, code);
    m.halts();
    m.set_cpl(3);
    m.code(CODE, code);
    for _ in 0..3 {
        m.p.cpu.rip = CODE;
        let stop = m.run();
        assert!(matches!(stop, Stop::Exception(Exception { vector: 13, error: Some(0), .. })), "{stop:?}");
        assert_eq!((m.p.cpu.rip, m.reg(0)), (CODE + 10, 77), "nothing was changed");
    }
}
