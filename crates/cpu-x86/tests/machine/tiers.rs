//! The same program by interpreter, translator and both in lockstep.

use cpu_x86::state::cr::*;
use cpu_x86::{Stop, Tier};
use iced_x86::code_asm::CodeAssembler;

use super::{CODE, DATA, Machine};

/// 64-bit code with vector instructions, translated at once.
pub fn machine(tier: Tier) -> Machine {
    let mut m = Machine::long();
    assert!(m.p.set_tier(tier));
    m.p.set_translation_threshold(1);
    m.p.cpu.cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    m.p.cpu.xcr0 = 7;
    m.p.cpu.update_mode();
    m
}

/// Assembles, runs with every tier, compares what is left; the machine of the translator.
pub fn both(set: impl Fn(&mut Machine), program: impl Fn(&mut CodeAssembler)) -> Machine {
    both_at(CODE, set, program)
}

/// The same with the code elsewhere.
pub fn both_at(at: u64, set: impl Fn(&mut Machine), program: impl Fn(&mut CodeAssembler)) -> Machine {
    let m = every(|m| {
        set(m);
        m.code(at, &program);
        m.run()
    });
    assert!(m.p.jit_statistics().entries > 0);
    m
}

/// Does the same with a machine of every tier, compares how it ends and what is left; the machine of the translator.
/// (Flags only after a HLT: at a fault the translator may leave out what the program overwrites before it reads it.)
pub fn every<T: PartialEq + std::fmt::Debug>(run: impl Fn(&mut Machine) -> T) -> Machine {
    let mut result = Vec::new();
    for tier in [Tier::Interpreter, Tier::Check, Tier::Translator] {
        let mut m = machine(tier);
        let end = run(&mut m);
        let mut data = vec![0; 0x2000];
        assert!(m.bus.ram.read(DATA, &mut data));
        let data = data.iter().fold(0u64, |h, b| h.rotate_left(7).wrapping_mul(31) ^ u64::from(*b));
        let regs: Vec<_> = m.p.cpu.regs[..16].iter().map(|r| format!("{r:x}")).collect();
        let flags = if m.last == Some(Stop::Halt) { m.p.cpu.rflags() } else { 0 };
        result.push((tier, (end, format!("{:x}", m.p.cpu.rip), regs, flags, data), m));
    }
    let (_, b, m) = result.pop().unwrap();
    for (tier, a, _) in result {
        assert_eq!(a, b, "{tier:?}, translator");
    }
    m
}

pub fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}
