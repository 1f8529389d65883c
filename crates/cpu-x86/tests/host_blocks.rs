//! Random programs (branches, calls, loops, memory operands, x87, MMX, SSE, AVX and AVX-512, faults in the middle) on the
//! host's own processor, by the interpreter and by the translator: registers, flags, x87, mask and vector registers and
//! memory are compared; between the tiers the x87 pointers, too.
//!
//! `WHPX_DIFF_SEED` and `WHPX_DIFF_CASES` vary them. Flags that are undefined are not compared, and none after a fault
//! by the translator, which may leave those out that the program overwrites before it reads them.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(unsafe_code)] // runs machine code

mod machine;
mod native;
mod random;

use std::collections::BTreeMap;

use cpu_x86::flags::rflags;
use cpu_x86::fpu::{Fpu, XCR0_AVX512, supported_xcr0};
use cpu_x86::state::cr::CR0_NE;
use cpu_x86::{Exception, Stop, Tier};
use iced_x86::{Code, Mnemonic, Register as R};
use machine::tiers::{env, machine};
use machine::{Machine, P, TABLES, U, W};
use native::{DATA, DATA_LEN, End, Gprs, Native, PROGRAM};
use random::{CONTROL_WORD, COUNTER, INDICES, POINTERS, Rng};

/// Guest-physical addresses of what is at `PROGRAM`, and at `DATA`.
const CODE_AT: u64 = 0x40_0000;
const DATA_AT: u64 = 0x50_0000;

/// The components that are loaded and stored around the native run.
fn components() -> u64 {
    supported_xcr0() & 0xE7
}

/// How a run ended, and what it left.
struct Outcome {
    /// The exception's vector and where it was; `None`: it came to its end.
    fault: Option<(u8, u64)>,
    gprs: Gprs,
    fpu: Fpu,
    data: Vec<u8>,
}

/// The same addresses as on the host, nothing else mapped around them.
fn guest(tier: Tier) -> Machine {
    let mut m = machine(tier);
    for (n, (from, to, pages)) in [(PROGRAM, CODE_AT, 1), (DATA, DATA_AT, 2)].into_iter().enumerate() {
        let table = 0x60_0000 + 0x1000 * n as u64;
        m.bus.write64(TABLES + 0x2000 + (from >> 21 & 511) * 8, table | P | W | U);
        for page in 0..pages {
            m.bus.write64(table + (from / 0x1000 + page) % 512 * 8, (to + page * 0x1000) | P | W | U);
        }
    }
    m.p.cpu.cr3 = TABLES;
    m.p.cpu.cr0 |= CR0_NE;
    m.p.cpu.xcr0 = components();
    m.p.cpu.update_mode();
    m.set_cpl(3); // as the host's program
    m
}

fn by_guest(m: &mut Machine, code: &[u8], start: &Gprs, fpu: &Fpu, data: &[u8]) -> Outcome {
    let mut code = code.to_vec();
    code.push(0xF4); // a privileged instruction ends it
    assert!(m.bus.ram.write(CODE_AT, &code) && m.bus.ram.write(DATA_AT, data));
    m.p.cpu.regs[..16].copy_from_slice(&start.regs);
    m.p.cpu.set_rflags(start.rflags);
    *m.p.cpu.fpu = fpu.clone();
    m.p.cpu.rip = PROGRAM;
    let end = PROGRAM + code.len() as u64 - 1;
    let fault = match m.run() {
        Stop::Exception(Exception { vector: 13, .. }) if m.p.cpu.rip == end => None,
        Stop::Exception(e) => Some((e.vector, m.p.cpu.rip)),
        other => panic!("{other:?} at {:#x}", m.p.cpu.rip),
    };
    let mut gprs = Gprs { rflags: m.p.cpu.rflags(), ..Gprs::default() };
    gprs.regs.copy_from_slice(&m.p.cpu.regs[..16]);
    let mut data = vec![0; DATA_LEN];
    assert!(m.bus.ram.read(DATA_AT, &mut data));
    Outcome { fault, gprs, fpu: (*m.p.cpu.fpu).clone(), data }
}

fn by_host(native: &mut Native, code: &[u8], start: &Gprs, fpu: &Fpu, data: &[u8]) -> Outcome {
    native.load_program(code);
    let area = fpu.xsave_area(components(), false);
    native.xsave_area().fill(0);
    native.xsave_area()[..area.len()].copy_from_slice(&area);
    native.xsave_area()[512] = components() as u8;
    native.data().copy_from_slice(data);
    let mut gprs = *start;
    let end = native.run(&mut gprs);
    restore_unit();
    let fault = match end {
        End::Next | End::Branched => None,
        End::Signal(signal) => Some((signal as u8, native.fault())),
    };
    let mut out = fpu.clone();
    let len = area.len();
    out.load_xsave_area(&native.xsave_area()[..len], components()).expect("the host's own area");
    Outcome { fault, gprs, fpu: out, data: native.data().to_vec() }
}

/// After native code ran with the guest's control words.
fn restore_unit() {
    // SAFETY: sets the x87 unit to what Rust code expects.
    unsafe { std::arch::asm!("fninit", "vzeroupper") };
}

/// The exception as a signal: #DE, #MF and #XM, #PF and #GP.
fn signal(vector: u8) -> i32 {
    match vector {
        0 | 16 | 19 => libc::SIGFPE,
        13 | 14 => libc::SIGSEGV,
        other => -i32::from(other),
    }
}

fn compare(host: &Outcome, guest: &Outcome, mask: u64) -> Result<(), String> {
    let fault = guest.fault.map(|(v, at)| (signal(v), at));
    let host_fault = host.fault.map(|(s, at)| (i32::from(s), at));
    if fault != host_fault {
        return Err(format!("end: host {host_fault:x?}, guest {fault:x?}"));
    }
    for (n, (h, g)) in host.gprs.regs.iter().zip(&guest.gprs.regs).enumerate() {
        if h != g {
            return Err(format!("register {n}: host {h:x}, guest {g:x}"));
        }
    }
    if (host.gprs.rflags ^ guest.gprs.rflags) & mask != 0 {
        return Err(format!("flags: host {:x}, guest {:x}, of {mask:x}", host.gprs.rflags, guest.gprs.rflags));
    }
    let evex = components() & XCR0_AVX512 != 0;
    let (registers, bytes) = if evex { (32, 64) } else { (16, 32) };
    for n in 0..registers {
        let (h, g) = (&host.fpu.zmm[n][..bytes], &guest.fpu.zmm[n][..bytes]);
        if h != g {
            return Err(format!("zmm{n}: host {h:02x?}, guest {g:02x?}"));
        }
    }
    if evex && host.fpu.k != guest.fpu.k {
        return Err(format!("masks: host {:x?}, guest {:x?}", host.fpu.k, guest.fpu.k));
    }
    for (n, (h, g)) in host.fpu.st.iter().zip(&guest.fpu.st).enumerate() {
        if h[..10] != g[..10] {
            let (fsw, ftw) = (host.fpu.fsw, host.fpu.ftw);
            return Err(format!("st{n}: host {h:02x?}, guest {g:02x?}, status {fsw:x}, tags {ftw:x}"));
        }
    }
    let control = |f: &Fpu| (f.fcw, f.fsw, f.ftw);
    if control(&host.fpu) != control(&guest.fpu) {
        return Err(format!("x87 control: host {:x?}, guest {:x?}", control(&host.fpu), control(&guest.fpu)));
    }
    if host.fpu.mxcsr != guest.fpu.mxcsr {
        return Err(format!("MXCSR: host {:x}, guest {:x}", host.fpu.mxcsr, guest.fpu.mxcsr));
    }
    match host.data.iter().zip(&guest.data).position(|(h, g)| h != g) {
        Some(at) => Err(format!("memory at +{at:#x}: host {:02x}, guest {:02x}", host.data[at], guest.data[at])),
        None => Ok(()),
    }
}

/// Registers and data; some pointers are near a page's end, or that of the whole area.
fn start(rng: &mut Rng, stack: bool) -> (Gprs, Fpu, Vec<u8>) {
    let mut g = Gprs::default();
    let mut fpu = Fpu::default();
    for n in 0..16 {
        g.regs[n] = rng.value();
    }
    let evex = components() & XCR0_AVX512 != 0;
    let (registers, bytes) = if evex { (32, 64) } else { (16, 32) };
    for r in &mut fpu.zmm[..registers] {
        for b in r[..bytes].chunks_exact_mut(4) {
            let v = if rng.below(2) == 0 { (rng.below(2000) as f32 / 7.0).to_bits() } else { rng.next() as u32 };
            b.copy_from_slice(&v.to_le_bytes());
        }
    }
    if evex {
        fpu.k = std::array::from_fn(|_| rng.value());
    }
    if stack {
        fill_stack(rng, &mut fpu);
    }
    for p in POINTERS {
        let at = match p {
            R::R9 if rng.below(3) == 0 => 0x1F80,
            R::R9 => 0xF90,
            _ => 0x800,
        };
        g.regs[p.number()] = DATA + at;
    }
    (g.regs[INDICES[0].number()], g.regs[INDICES[1].number()]) = (8, 3);
    g.regs[COUNTER.number()] = 1 + rng.below(4);
    g.rflags = 0x202 | rng.next() & rflags::ARITH;
    let mut data: Vec<u8> = (0..DATA_LEN).map(|_| rng.next() as u8).collect();
    if rng.below(4) != 0 {
        // A control word that masks everything.
        let at = 0x800 + CONTROL_WORD as usize;
        data[at..at + 2].copy_from_slice(&(rng.next() as u16 & 0x0F40 | 0x7F).to_le_bytes());
    }
    (g, fpu, data)
}

/// x87 registers: what is ordinary and what is not.
fn fill_stack(rng: &mut Rng, fpu: &mut Fpu) {
    for r in &mut fpu.st {
        let fraction = [1 << 63, rng.next() | 1 << 63, rng.next() | 1 << 63, rng.value()][rng.below(4) as usize];
        let exponent = [0, 0x7FFF, rng.next() as u16 & 0x7FFF, 0x3FFF, 0x4000, 0x3FF0][rng.below(6) as usize];
        r[..8].copy_from_slice(&fraction.to_le_bytes());
        r[8..10].copy_from_slice(&(exponent | (rng.below(2) as u16) << 15).to_le_bytes());
    }
    fpu.ftw = [0, 0xFF, rng.next() as u8, 0x0F][rng.below(4) as usize];
    fpu.fcw = 0x7F | (rng.below(4) as u16) << 10 | [0, 2, 3][rng.below(3) as usize] << 8;
    fpu.fsw = rng.next() as u16 & 0x7F3F;
}

#[test]
fn random_programs_do_what_the_host_does() {
    if supported_xcr0() & 7 != 7 {
        println!("skipped: the host has no AVX");
        return;
    }
    // (What these store or load is the operating system's.)
    use Mnemonic::*;
    let system =
        |c: &Code| matches!(c.mnemonic(), Smsw | Sgdt | Sidt | Sldt | Str | Lsl | Lar | Verr | Verw | Lss | Lfs | Lgs);
    let plain: Vec<Code> = random::codes().into_iter().filter(|c| !system(c)).collect();
    let (stack, evex) = (random::stack_codes(), random::evex_codes());
    // All of one family with some of the others, as compilers mix them.
    let mix = |of: &[Code], every: usize| -> Vec<Code> {
        let others = [&plain, &stack, &evex].into_iter().flat_map(|l| l.iter().step_by(every).copied());
        of.iter().copied().chain(others).collect()
    };
    let lists = [plain.clone(), mix(&stack, 20), mix(&evex, 20), mix(&plain, 1)];
    let (seed, cases) = (env("WHPX_DIFF_SEED", 1), env("WHPX_DIFF_CASES", 3000));
    let mut native = Native::lock();
    native.set_xsave_mask(components());
    let (mut slow, mut fast) = (guest(Tier::Interpreter), guest(Tier::Translator));
    let (mut faults, mut ends) = (0, 0);
    for case in 0..cases {
        let mut rng = Rng(seed << 32 ^ case << 8);
        let list = &lists[case as usize % lists.len()];
        let program = random::program(&mut rng, list, PROGRAM, 24);
        let (gprs, fpu, data) = start(&mut rng, case % 4 != 0);
        let host = by_host(&mut native, &program.code, &gprs, &fpu, &data);
        *(if host.fault.is_some() { &mut faults } else { &mut ends }) += 1;
        let mut pointers = Vec::new();
        for (tier, m) in [("interpreter", &mut slow), ("translator", &mut fast)] {
            let guest = by_guest(m, &program.code, &gprs, &fpu, &data);
            let mask = if host.fault.is_some() { 0 } else { rflags::ARITH & !program.undefined };
            if let Err(what) = compare(&host, &guest, mask) {
                panic!("{tier}, seed {seed} case {case}: {what}\n{}", program.text());
            }
            let f = &guest.fpu;
            pointers.push((f.fip, f.fcs, f.fdp, f.fds, f.fop));
        }
        assert!(pointers[0] == pointers[1], "seed {seed} case {case}: {pointers:x?}\n{}", program.text());
    }
    println!("{cases} programs, of which {faults} faulted");
    assert!(faults > cases / 100 && ends > cases / 4, "{faults} faults, {ends} came to their ends");
    let s = fast.p.jit_statistics();
    assert!(s.handlers * 2 < s.instructions, "{s:?}");
}

#[test]
fn masked_elements_fault_where_the_hosts_do() {
    if supported_xcr0() & XCR0_AVX512 == 0 {
        println!("skipped: the host has no AVX-512");
        return;
    }
    let mut native = Native::lock();
    native.set_xsave_mask(components());
    let (mut slow, mut fast) = (guest(Tier::Interpreter), guest(Tier::Translator));
    let (seed, each) = (env("WHPX_DIFF_SEED", 1), env("WHPX_DIFF_EACH", 6));
    let (mut faults, mut all) = (0, 0);
    let mut wrong = BTreeMap::new();
    for (n, code) in random::evex_codes().into_iter().enumerate() {
        for case in 0..each {
            let mut rng = Rng(seed << 32 ^ (n as u64) << 8 ^ case);
            let Some(program) = random::single(&mut rng, code, PROGRAM) else { continue };
            let (mut gprs, mut fpu, data) = start(&mut rng, false);
            // Operands cross the end of what is there, or are behind it.
            for p in POINTERS {
                gprs.regs[p.number()] = DATA + [0x1FF0, 0x1FC8, 0x2090][rng.below(3) as usize];
            }
            fpu.k = std::array::from_fn(|_| [0, 1 << rng.below(64), rng.below(16), rng.next()][rng.below(4) as usize]);
            let host = by_host(&mut native, &program.code, &gprs, &fpu, &data);
            faults += u64::from(host.fault.is_some());
            all += 1;
            for (tier, m) in [("interpreter", &mut slow), ("translator", &mut fast)] {
                let guest = by_guest(m, &program.code, &gprs, &fpu, &data);
                if let Err(what) = compare(&host, &guest, 0) {
                    let text = format!("{tier}, {what}, masks {:x?}: {}", fpu.k, program.text());
                    wrong.entry(format!("{:?}", code.mnemonic())).or_insert(text);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{all} instructions, of which {faults} faulted");
    assert!(faults > all / 20 && faults < all, "{faults} of {all}");
}
