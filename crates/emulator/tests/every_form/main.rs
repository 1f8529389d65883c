//! Every form of every instruction that accesses memory, of every extension that the processor model has, in 16-, 32- and
//! 64-bit code, on a device: completed by [`emulator::Emulator`] (so by `Processor::emulate_one` with the registers that
//! `Needs` says) over somebody else's registers, and compared with the interpreter on RAM: all registers, flags, memory,
//! the exception with its error code and address. What the device sees is compared with a table of rules (`rules.rs`).
//! Operands are also put across two pages, with either one a hole.
//!
//! `WHPX_FORMS` is the number of instances of each form (default 1). Left out: instructions that leave code for good
//! (far branches through valid descriptors, task switches).

#![allow(unreachable_pub)] // a test binary

mod generate;
mod machine;
mod rules;

use std::cell::RefCell;
use std::collections::BTreeMap;

use cpu_x86::fpu::Fpu;
use cpu_x86::{Cpu, Emulated, Exception, Processor, Stop};
use emulator::{Completion, Emulator, Needs};
use iced_x86::{Code, CpuidFeature, Instruction, Mnemonic as M, OpKind, Register};
use whp::{PendingEvent, RegisterName as R, RegisterValue};

use generate::{OFFSET, Rng, accesses_memory, generate};
use machine::{BOUNDARY, Hole, Other, STACK, System, WINDOW, WINDOW_LEN, context, model, processor_state};

/// How an instruction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Done,
    Exception(Exception),
    Other(String),
}

struct Bench {
    ram: System,
    device: System,
    /// On RAM.
    reference: Processor,
    emulator: Emulator,
    other: Other,
    rng: Rng,
    /// AL before the instruction.
    al: u8,
    /// The mask registers before the instruction.
    masks: [u64; 8],
    cases: u64,
    done: u64,
    wrong: Vec<String>,
}

/// Stores a part of the registers' state as one comparable text.
fn state(cpu: &Cpu) -> Vec<(R, Option<RegisterValue>)> {
    let names = (0..18).map(|n| R::RAX.offset(n)).chain((0..8).map(|n| R::ES.offset(n)));
    let more = [R::IDTR, R::GDTR, R::CR0, R::CR2, R::CR3, R::CR4, R::EFER, R::XCR0, R::KERNEL_GS_BASE];
    let rare = [R::DR0, R::DR1, R::DR2, R::DR3, R::DR6, R::DR7, R::PAT, R::TSC_AUX, R::XSS, R::LSTAR, R::SFMASK];
    names.chain(more).chain(rare).map(|n| (n, whp_registers::get(cpu, n))).collect()
}

impl Bench {
    fn new(seed: u64) -> Self {
        let model = model();
        Self {
            ram: System::new(false),
            device: System::new(true),
            reference: Processor::new(model.clone()),
            emulator: Emulator::new(),
            other: Other(RefCell::new(Cpu::new(model)), RefCell::default()),
            rng: Rng(seed),
            al: 0,
            masks: [0; 8],
            cases: 0,
            done: 0,
            wrong: Vec::new(),
        }
    }

    fn fill_registers(&mut self, i: &Instruction, bits: u32, target: u64) {
        let rng = &mut self.rng;
        let cpu = &mut self.reference.cpu;
        processor_state(cpu, bits);
        let small = matches!(i.mnemonic(), M::Bt | M::Bts | M::Btr | M::Btc);
        for r in &mut cpu.regs[..16] {
            *r = if small { rng.below(0x200) } else { rng.interesting() };
            if bits != 64 {
                *r &= 0xFFFF_FFFF;
            }
        }
        let explicit = i.op_kinds().any(|k| k == OpKind::Memory);
        cpu.regs[6] = target;
        cpu.regs[7] = WINDOW + 0xC00;
        cpu.regs[3] = WINDOW + 0x600;
        cpu.regs[4] = if explicit || !i.is_stack_instruction() { STACK } else { target.max(WINDOW + 0x100) };
        if i.is_stack_instruction() {
            cpu.regs[5] = WINDOW + 0x1A00;
        }
        if i.is_string_instruction() || i.has_rep_prefix() || i.has_repne_prefix() {
            cpu.regs[1] = rng.below(6);
        }
        self.al = cpu.regs[0] as u8;
        // No IF, TF, NT, VM; DF for strings only now and then.
        let direction = u64::from(rng.one_in(4)) << 10;
        cpu.set_rflags(rng.next() & 0x8D5 | direction | 2);
        let mut fpu = Fpu::default();
        for z in &mut fpu.zmm {
            z.chunks_exact_mut(8).for_each(|c| c.copy_from_slice(&rng.interesting().to_le_bytes()));
        }
        if i.is_vsib() {
            let lane = if i.is_vsib64() { 8 } else { 4 };
            for c in fpu.zmm[i.memory_index().number()].chunks_exact_mut(lane) {
                c.copy_from_slice(&rng.below(128).wrapping_sub(64).to_le_bytes()[..lane]);
            }
        }
        fpu.k = std::array::from_fn(|_| rng.next());
        if cpu_x86::fpu::supported_xcr0() & 0xE0 != 0xE0 {
            fpu.k = [0; 8];
            fpu.zmm[16..].fill([0; 64]);
            fpu.zmm.iter_mut().for_each(|z| z[32..].fill(0));
        }
        if cpu_x86::fpu::supported_xcr0() & 4 == 0 {
            fpu.zmm.iter_mut().for_each(|z| z[16..].fill(0));
        }
        for s in &mut fpu.st {
            s[..8].copy_from_slice(&rng.next().to_le_bytes());
            s[7] |= 0x80;
            s[8..10].copy_from_slice(&((0x3FF8 + rng.below(16) as u16) | (rng.next() as u16 & 0x8000)).to_le_bytes());
        }
        (fpu.ftw, fpu.fsw) = (rng.next() as u8 | rng.next() as u8, (rng.below(8) as u16) << 11);
        self.masks = fpu.k;
        *cpu.fpu = fpu;
    }

    fn fill_window(&mut self, i: &Instruction, target: u64) -> Vec<u8> {
        let rng = &mut self.rng;
        let mut window: Vec<u8> = (0..WINDOW_LEN / 8).flat_map(|_| rng.interesting().to_le_bytes()).collect();
        let at = (target - WINDOW) as usize;
        let name = format!("{:?}", i.mnemonic()).to_lowercase();
        if name.contains("rstor") || name == "frstor" {
            let mut other = self.reference.cpu.fpu.clone();
            other.zmm.swap(1, 3);
            let compacted = name.starts_with("xrstors") || rng.one_in(4);
            let area = other.xsave_area(self.reference.cpu.xcr0, compacted);
            window[at..at + area.len()].copy_from_slice(&area);
        } else if rng.one_in(4) || name.contains("ldmxcsr") {
            // Null selectors, and control words that may be loaded.
            window[at..at + 16].fill(0);
            if name.contains("ldmxcsr") {
                window[at..at + 2].copy_from_slice(&[0x80, 0x1F]);
            }
        }
        window
    }

    fn both(&mut self, i: &Instruction, bytes: &[u8], bits: u32, target: u64, hole: Hole) -> [End; 2] {
        self.fill_registers(i, bits, target);
        let window = self.fill_window(i, target);
        self.ram.prepare(bits, bytes, &window, hole);
        self.device.prepare(bits, bytes, &window, hole);
        let cpu = &mut self.reference.cpu;
        {
            let mut other = self.other.0.borrow_mut();
            processor_state(&mut other, bits);
            other.regs[..16].copy_from_slice(&cpu.regs[..16]);
            other.set_rflags(cpu.rflags());
            *other.fpu = (*cpu.fpu).clone();
        }
        self.other.1.borrow_mut().clear();
        let before = self.other.0.borrow();
        let context = context(&before);
        drop(before);
        let expected = match self.reference.emulate_one(&mut self.ram) {
            Emulated::Done => End::Done,
            Emulated::Stop(Stop::Exception(e)) => End::Exception(e),
            Emulated::Stop(other) => End::Other(format!("{other:?}")),
        };
        self.emulator.forget_memory();
        let needs = Needs::of(&context, bytes);
        let got = match self.emulator.complete(&mut self.device, &self.other, &context, needs, 1) {
            Ok(Completion::Done) => self.event(),
            Ok(other) => End::Other(format!("{other:?}")),
            Err(e) => End::Other(e.to_string()),
        };
        [expected, got]
    }

    /// The exception that was left pending.
    fn event(&self) -> End {
        let events = self.other.1.borrow();
        let event = events.iter().find(|e| e.0 == R::PENDING_EVENT).map(|e| e.1.pending_event());
        match event {
            Some(PendingEvent::Exception { vector, error_code, parameter }) => {
                End::Exception(Exception { vector: vector as u8, error: error_code, payload: parameter })
            }
            Some(other) => End::Other(format!("{other:?}")),
            None => End::Done,
        }
    }

    /// Compares all that is left behind.
    fn differences(&self) -> Vec<String> {
        let (here, other) = (&self.reference.cpu, self.other.0.borrow());
        let mut wrong: Vec<String> = state(here)
            .iter()
            .zip(state(&other))
            .filter(|(a, b)| a.1 != b.1)
            .map(|(a, b)| format!("{:?}: RAM {:x?}, device {:x?}", a.0, a.1, b.1))
            .collect();
        let mut fpu = (*here.fpu).clone();
        // WHP has no place for the selectors of the last x87 instruction (CPUID 7.0:EBX bit 13 on newer processors).
        (fpu.fcs, fpu.fds) = (other.fpu.fcs, other.fpu.fds);
        if fpu != *other.fpu {
            wrong.push(format!("x87 and SIMD: {}", fpu_difference(&fpu, &other.fpu)));
        }
        if self.ram.window() != self.device.window() {
            let (a, b) = (self.ram.window(), self.device.window());
            let at = a.iter().zip(&b).position(|(a, b)| a != b).unwrap_or(0);
            wrong.push(format!("memory at {:#x}: RAM {:02x?}, device {:02x?}", WINDOW + at as u64, a[at], b[at]));
        }
        if self.ram.stack() != self.device.stack() {
            wrong.push("the stack".into());
        }
        wrong
    }

    fn case(&mut self, i: &Instruction, bytes: &[u8], bits: u32, target: u64, hole: Hole) {
        let [expected, got] = self.both(i, bytes, bits, target, hole);
        self.cases += 1;
        let mut wrong = Vec::new();
        if expected != got {
            wrong.push(format!("end: RAM {expected:x?}, device {got:x?}"));
        }
        if matches!(expected, End::Other(_)) {
            return;
        }
        wrong.extend(self.differences());
        let before = self.initial(i, target);
        let touched = rules::touched(i, before);
        if expected == End::Done {
            self.done += 1;
            wrong.extend(rules::complaint(i, touched.as_deref(), &self.device.log));
            let mask = self.masks[i.op_mask().number() % 8];
            wrong.extend(rules::mask_complaint(i, target, mask, &self.device.log));
        } else if let Some([_]) = touched.as_deref()
            && matches!(expected, End::Exception(Exception { vector: 14, .. }))
            && !self.device.log.is_empty()
            && !image(i)
            && !rules::is_pair(i)
        {
            wrong.push(format!("accesses before a page fault: {:x?}", self.device.log));
        }
        if !wrong.is_empty() && self.wrong.len() < 3000 {
            let text = format!("{:?} {bits} bits, {i} {bytes:02x?} at {target:#x} {hole:?}\n    ", i.code());
            self.wrong.push(text + &wrong.join("\n    "));
        }
    }

    /// The address registers before the instruction.
    fn initial(&self, i: &Instruction, target: u64) -> impl Fn(Register) -> u64 + use<> {
        let explicit = i.op_kinds().any(|k| k == OpKind::Memory);
        let stack = if explicit || !i.is_stack_instruction() { STACK } else { target.max(WINDOW + 0x100) };
        let al = u64::from(self.al);
        move |r| match r.full_register() {
            Register::RSI => target,
            Register::RDI => WINDOW + 0xC00,
            Register::RBX => WINDOW + 0x600,
            Register::RSP => stack,
            Register::RBP => WINDOW + 0x1A00,
            Register::RAX => al,
            _ => 0,
        }
    }

    fn finish(self, what: &str) {
        println!("{what}: {} cases, {} of them without exception", self.cases, self.done);
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        self.wrong.iter().for_each(|w| *kinds.entry(w.split(' ').next().unwrap_or("")).or_default() += 1);
        let shown = std::env::var("WHPX_SHOW").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
        self.wrong.iter().take(shown).for_each(|w| println!("{w}\n"));
        assert!(self.wrong.is_empty(), "{} wrong: {kinds:?}", self.wrong.len());
    }
}

/// Images of many registers, whose parts are accesses of their own.
fn image(i: &Instruction) -> bool {
    let size = i.memory_size().size();
    size == 0 || size > 64
}

fn fpu_difference(a: &Fpu, b: &Fpu) -> String {
    let mut text = String::new();
    for n in 0..32 {
        if a.zmm[n] != b.zmm[n] {
            text += &format!("zmm{n} {:02x?} {:02x?} ", a.zmm[n], b.zmm[n]);
        }
    }
    for n in 0..8 {
        if a.st[n] != b.st[n] || a.k[n] != b.k[n] {
            text += &format!("st{n} {:02x?} {:02x?} k {:x} {:x} ", a.st[n], b.st[n], a.k[n], b.k[n]);
        }
    }
    let words = |f: &Fpu| (f.fcw, f.fsw, f.ftw, f.fop, f.fip, f.fdp, f.mxcsr, f.fcs, f.fds, f.pkru);
    text + &format!("{:x?} {:x?}", words(a), words(b))
}

/// Says which of the extensions that this test is for the processor model does not have on this host: their forms are left
/// out.
fn tell_what_is_missing() {
    use CpuidFeature as F;
    let features = &model().features;
    let wanted = [F::MMX, F::FXSR, F::SSE, F::SSE2, F::SSE3, F::SSSE3, F::SSE4_1, F::SSE4_2, F::AVX, F::AVX2, F::FMA];
    let more = [F::AVX512F, F::AVX512BW, F::AVX512DQ, F::AVX512VL, F::AVX512_VBMI2, F::AVX512_BF16, F::AVX512_FP16];
    let rest = [F::MOVBE, F::MOVDIRI, F::MOVDIR64B, F::CMPXCHG16B, F::XSAVE, F::XSAVEOPT, F::XSAVEC, F::XSAVES];
    let missing: Vec<_> = wanted.iter().chain(&more).chain(&rest).filter(|f| !features.has(**f)).collect();
    if !missing.is_empty() {
        println!("left out, because the host's processor (or the model) does not have them: {missing:?}");
    }
}

/// Forms of the model's extensions that access memory.
fn forms() -> Vec<Code> {
    let features = &model().features;
    let there = |f: &CpuidFeature| features.has(*f);
    Code::values().filter(|c| c.op_code().is_instruction() && c.cpuid_features().iter().all(there)).collect()
}

fn instances() -> u64 {
    std::env::var("WHPX_FORMS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// Instructions that do not only access memory.
fn left_out(code: Code) -> bool {
    use M::*;
    matches!(
        code.mnemonic(),
        In | Out
            | Int
            | Int1
            | Int3
            | Into
            | Iret
            | Iretd
            | Iretq
            | Sysenter
            | Sysexit
            | Sysret
            | Syscall
            | Hlt
            | Mwait
            | Vmcall
            | Vmmcall
    )
}

fn every_form(bits: u32) {
    tell_what_is_missing();
    let mut bench = Bench::new(0x9E37_79B9 + u64::from(bits));
    let (mut covered, mut uncovered) = (0, BTreeMap::new());
    for code in forms() {
        let info = code.op_code();
        let there = match bits {
            64 => info.mode64(),
            32 => info.mode32(),
            _ => info.mode16(),
        };
        if !there || left_out(code) {
            continue;
        }
        let mut any = false;
        for _ in 0..instances() {
            match generate(&mut bench.rng, code, bits) {
                Ok(Some((i, bytes))) if accesses_memory(&i) => {
                    any = true;
                    bench.case(&i, &bytes, bits, OFFSET, Hole::None);
                    across(&mut bench, &i, &bytes, bits);
                }
                Ok(_) => {}
                Err(kind) => {
                    uncovered.insert(format!("{kind:?}"), code);
                }
            }
        }
        covered += u32::from(any);
    }
    println!("{bits} bits: {covered} forms; operands not covered: {uncovered:?}");
    bench.finish(&format!("{bits} bits"));
}

/// The same with the operand across the page boundary, and with a hole on either side.
fn across(bench: &mut Bench, i: &Instruction, bytes: &[u8], bits: u32) {
    let size = i.memory_size().size() as u64;
    let explicit = (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory);
    if !explicit || i.memory_base() == Register::None || i.is_vsib() {
        return;
    }
    let before = match size {
        0 => 512,
        1 => 1,
        n => 1 + bench.rng.below(n - 1),
    };
    let target = BOUNDARY - before;
    bench.case(i, bytes, bits, target, Hole::None);
    bench.case(i, bytes, bits, target, Hole::First);
    bench.case(i, bytes, bits, target, Hole::Second);
}

#[test]
fn in_64_bit_code() {
    every_form(64);
}

#[test]
fn in_32_bit_code() {
    every_form(32);
}

#[test]
fn in_16_bit_code() {
    every_form(16);
}
