//! Random programs (branches, calls, loops, memory operands, SSE and AVX, faults in the middle) on the host's own
//! processor, by the interpreter and by the translator: registers, flags, vector registers and memory are compared.
//!
//! `WHPX_DIFF_SEED` and `WHPX_DIFF_CASES` vary them. Flags that are undefined are not compared, and none after a fault
//! by the translator, which may leave those out that the program overwrites before it reads them.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(unsafe_code)] // runs machine code

mod machine;
mod native;
mod random;

use cpu_x86::flags::rflags;
use cpu_x86::fpu::{Fpu, supported_xcr0};
use cpu_x86::{Exception, Stop, Tier};
use iced_x86::{Code, Mnemonic, Register as R};
use machine::tiers::{env, machine};
use machine::{Machine, P, TABLES, U, W};
use native::{DATA, DATA_LEN, End, Gprs, Native, PROGRAM};
use random::{COUNTER, INDICES, POINTERS, Rng};

/// Guest-physical addresses of what is at `PROGRAM`, and at `DATA`.
const CODE_AT: u64 = 0x40_0000;
const DATA_AT: u64 = 0x50_0000;
const COMPONENTS: u64 = 7;

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
    let area = fpu.xsave_area(COMPONENTS, false);
    native.xsave_area().fill(0);
    native.xsave_area()[..area.len()].copy_from_slice(&area);
    native.xsave_area()[512] = COMPONENTS as u8;
    native.data().copy_from_slice(data);
    let mut gprs = *start;
    let fault = match native.run(&mut gprs) {
        End::Next | End::Branched => None,
        End::Signal(signal) => Some((signal as u8, native.fault())),
    };
    let mut out = fpu.clone();
    let len = area.len();
    out.load_xsave_area(&native.xsave_area()[..len], COMPONENTS).expect("the host's own area");
    Outcome { fault, gprs, fpu: out, data: native.data().to_vec() }
}

/// The exception as a signal: #DE and #XM, #PF and #GP.
fn signal(vector: u8) -> i32 {
    match vector {
        0 | 19 => libc::SIGFPE,
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
    for n in 0..16 {
        let (h, g) = (&host.fpu.zmm[n][..32], &guest.fpu.zmm[n][..32]);
        if h != g {
            return Err(format!("ymm{n}: host {h:02x?}, guest {g:02x?}"));
        }
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
fn start(rng: &mut Rng) -> (Gprs, Fpu, Vec<u8>) {
    let mut g = Gprs::default();
    let mut fpu = Fpu::default();
    for n in 0..16 {
        g.regs[n] = rng.value();
        for b in fpu.zmm[n][..32].chunks_exact_mut(4) {
            let v = if rng.below(2) == 0 { (rng.below(2000) as f32 / 7.0).to_bits() } else { rng.next() as u32 };
            b.copy_from_slice(&v.to_le_bytes());
        }
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
    (g, fpu, (0..DATA_LEN).map(|_| rng.next() as u8).collect())
}

#[test]
fn random_programs_do_what_the_host_does() {
    if supported_xcr0() & COMPONENTS != COMPONENTS {
        println!("skipped: the host has no AVX");
        return;
    }
    // (What these store or load is the operating system's.)
    use Mnemonic::*;
    let system =
        |c: &Code| matches!(c.mnemonic(), Smsw | Sgdt | Sidt | Sldt | Str | Lsl | Lar | Verr | Verw | Lss | Lfs | Lgs);
    let codes: Vec<Code> = random::codes().into_iter().filter(|c| !system(c)).collect();
    let (seed, cases) = (env("WHPX_DIFF_SEED", 1), env("WHPX_DIFF_CASES", 3000));
    let mut native = Native::lock();
    native.set_xsave_mask(COMPONENTS);
    let (mut slow, mut fast) = (guest(Tier::Interpreter), guest(Tier::Translator));
    let (mut faults, mut ends) = (0, 0);
    for case in 0..cases {
        let mut rng = Rng(seed << 32 ^ case << 8);
        let program = random::program(&mut rng, &codes, PROGRAM, 24);
        let (gprs, fpu, data) = start(&mut rng);
        let host = by_host(&mut native, &program.code, &gprs, &fpu, &data);
        *(if host.fault.is_some() { &mut faults } else { &mut ends }) += 1;
        for (tier, m) in [("interpreter", &mut slow), ("translator", &mut fast)] {
            let guest = by_guest(m, &program.code, &gprs, &fpu, &data);
            let mask = if host.fault.is_some() { 0 } else { rflags::ARITH & !program.undefined };
            if let Err(what) = compare(&host, &guest, mask) {
                panic!("{tier}, seed {seed} case {case}: {what}\n{}", program.text());
            }
        }
    }
    println!("{cases} programs, of which {faults} faulted");
    assert!(faults > cases / 100 && ends > cases / 4, "{faults} faults, {ends} came to their ends");
    let s = fast.p.jit_statistics();
    assert!(s.handlers * 2 < s.instructions, "{s:?}");
}
