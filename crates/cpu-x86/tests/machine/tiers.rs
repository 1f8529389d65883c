//! The same program by interpreter, translator and both in lockstep.

use cpu_x86::Tier;
use cpu_x86::state::cr::*;
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

/// Assembles, runs with both tiers, compares what is left; the machine of the translator.
pub fn both(set: impl Fn(&mut Machine), program: impl Fn(&mut CodeAssembler)) -> Machine {
    let mut result = Vec::new();
    for tier in [Tier::Interpreter, Tier::Check, Tier::Translator] {
        let mut m = machine(tier);
        set(&mut m);
        m.code(CODE, &program);
        let stop = m.run();
        let mut data = vec![0; 0x2000];
        assert!(m.bus.ram.read(DATA, &mut data));
        let data = data.iter().fold(0u64, |h, b| h.rotate_left(7).wrapping_mul(31) ^ u64::from(*b));
        let regs: Vec<_> = m.p.cpu.regs[..16].iter().map(|r| format!("{r:x}")).collect();
        result.push(((stop, m.p.cpu.rip, regs, m.p.cpu.rflags(), data), m));
    }
    let (b, m) = result.pop().unwrap();
    for other in result {
        assert_eq!(other.0, b);
    }
    assert!(m.p.jit_statistics().entries > 0);
    m
}

pub fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}
