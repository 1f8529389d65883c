//! Looks at the code the translator made, for fuzzing: no guest operand may have stayed as it was.
//!
//! The rule, instruction by instruction of the emitted code (cold parts included): every memory operand is one of
//! - relative to RIP: a site; `[r15+d]`, inside `Cpu`; `[r13+d]`, inside a TLB table or `Fpu`; `[r14]`, a host address or a version counter;
//! - `[base+r13+d]`, a guest register (or R14) plus what its page says;
//!
//! without segment override; R15 is not written and no operand; the host's stack has predicted returns only, which a few
//! instructions handle ([`predicts`]); nothing is privileged, traps, or is no instruction. A change of the register
//! assignment has to change this list.

use std::sync::Arc;

use iced_x86::{Code, Decoder, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::asm::BIAS;
use super::engine::{Common, translatable};
use super::sites::{BYTES, SHARED};
use super::translate::{Made, Room, translate};
use crate::block::{Block, Key, Place, decode_ops};
use crate::fpu::Fpu;
use crate::op::DecodeCx;
use crate::state::{Cpu, Mode};
use crate::tlb::{ENTRIES, Entry, USER};

/// Where the sites seem to be.
const SITES_AT: i32 = 1 << 30;

/// Decodes `bytes` as a block at `rip` and translates it.
pub(super) fn made(cpu: &Cpu, bytes: &[u8], rip: u64, mode: Mode, exact: bool) -> Option<Made> {
    let key = Key { place: Place::default().moved(rip), mode };
    let cx = DecodeCx { mode, rip, features: cpu.model.features };
    let (ops, _) = decode_ops(bytes, cx);
    if ops.is_empty() || !translatable(mode) {
        return None;
    }
    translate(
        cpu,
        &Block::new(key, ops, bytes, None, None),
        Common { sites: SITES_AT, ..Common::default() },
        Room::default(),
        (SHARED, &[]),
        exact,
    )
}

/// Takes arbitrary bytes.
pub struct Fuzz {
    cpu: Cpu,
    info: InstructionInfoFactory,
}

impl Default for Fuzz {
    fn default() -> Self {
        Self { cpu: Cpu::new(Arc::default()), info: InstructionInfoFactory::new() }
    }
}

impl Fuzz {
    /// The first byte chooses mode and address, the others are code. Returns how many memory operands it found in what
    /// was emitted.
    ///
    /// # Panics
    /// When the emitted code breaks the rule above.
    pub fn feed(&mut self, data: &[u8]) -> usize {
        let Some((&choice, code)) = data.split_first() else { return 0 };
        let code = code.get(..crate::block::MAX_BYTES).unwrap_or(code);
        let kind = match choice & 7 {
            0 => Mode::PROTECTED | Mode::CODE32 | Mode::STACK32 | Mode::FLAT,
            1 => Mode::PROTECTED,
            2 => Mode::CODE64 | Mode::LONG | Mode::PROTECTED | Mode::FPU_CHECK,
            3 => Mode::CODE64 | Mode::LONG | Mode::PROTECTED | Mode::USER,
            _ => Mode::CODE64 | Mode::LONG | Mode::PROTECTED,
        };
        let rip = [0, 0x1000, 0xFFFF_F000, 0x7FFF_FFFF_F000, 0xFFFF_FFFF_8000_0000][usize::from(choice >> 3) % 5];
        let Some(made) = made(&self.cpu, code, rip, Mode(kind), choice & 0x80 != 0) else { return 0 };
        match self.audit(&made.code) {
            Ok(found) => found,
            Err(why) => panic!("{code:02x?} at {rip:#x} in mode {kind:#x}: {why}"),
        }
    }

    /// Checks emitted code; how many memory operands it has.
    fn audit(&mut self, code: &[u8]) -> Result<usize, String> {
        let mut found = 0;
        for i in Decoder::with_ip(64, code, 0, 0).iter() {
            found += self.instruction(&i).map_err(|why| format!("`{i}` at {:#x} {why}", i.ip()))?;
        }
        Ok(found)
    }

    fn instruction(&mut self, i: &Instruction) -> Result<usize, &'static str> {
        if i.is_invalid() {
            return Err("is no instruction");
        }
        let call = matches!(i.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
            && !matches!(i.mnemonic(), Mnemonic::Syscall | Mnemonic::Sysenter | Mnemonic::Vmcall | Mnemonic::Vmmcall);
        let jump = matches!(
            i.flow_control(),
            FlowControl::Next
                | FlowControl::UnconditionalBranch
                | FlowControl::ConditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Return
        );
        if i.is_privileged() || !(jump || call) {
            return Err("may not be run");
        }
        if call {
            return if i.op0_kind() == OpKind::Memory { Err("calls through memory") } else { Ok(0) };
        }
        if predicts(i) {
            return Ok(0);
        }
        if i.is_stack_instruction() {
            return Err("uses the host's stack");
        }
        let ours = |r: Register| matches!(r.full_register(), Register::R15 | Register::RSP);
        for n in 0..i.op_count() {
            match i.op_kind(n) {
                OpKind::Register if ours(i.op_register(n)) => return Err("has a register of the translator's"),
                OpKind::Register if i.op_register(n).is_segment_register() => return Err("has a segment register"),
                _ => {}
            }
        }
        let written = |a: OpAccess| !matches!(a, OpAccess::Read | OpAccess::CondRead | OpAccess::None);
        let info = self.info.info(i);
        if info.used_registers().iter().any(|u| ours(u.register()) && written(u.access())) {
            return Err("writes a register of the translator's");
        }
        if matches!(i.mnemonic(), Mnemonic::Lea | Mnemonic::Nop) {
            return Ok(0); // no access
        }
        let operands = info.used_memory();
        for m in operands {
            if matches!(m.segment(), Register::FS | Register::GS) {
                return Err("has a segment base");
            }
            let inside = |len: usize| m.displacement() < len as u64;
            let of_entry = |table: i32| m.displacement().wrapping_sub(table as u64) < size_of::<Entry>() as u64;
            let good = match (m.base(), m.index()) {
                (Register::None, Register::None) if i.is_ip_rel_memory_operand() => {
                    (SITES_AT as usize..SITES_AT as usize + BYTES).contains(&(m.displacement() as usize))
                }
                (Register::R15, Register::None) => m.displacement().wrapping_add(BIAS as u64) < size_of::<Cpu>() as u64,
                (Register::R13, Register::None) => {
                    inside(size_of::<Fpu>().max(ENTRIES * size_of::<Entry>()))
                        || self.cpu.tlb.table(USER).is_some_and(of_entry)
                }
                (Register::R14, Register::None) => m.displacement() == 0,
                (base, Register::R13) => m.scale() == 1 && base.is_gpr64() && !ours(base),
                _ => false,
            };
            if !good {
                return Err("has a memory operand that the translator does not make");
            }
        }
        Ok(operands.len())
    }
}

/// Whether it is one of the instructions that predict returns on the host's stack.
fn predicts(i: &Instruction) -> bool {
    let memory = |base, displacements: &[u64]| {
        i.memory_base() == base
            && i.memory_index() == Register::None
            && (displacements.is_empty() || displacements.contains(&i.memory_displacement64()))
    };
    let state = memory(Register::R15, &[]) && i.memory_displacement64() < size_of::<Cpu>() as u64;
    let stack = i.op0_register() == Register::RSP;
    match i.code() {
        Code::Retnq => true,
        Code::Push_r64 => matches!(i.op0_register(), Register::R13 | Register::R14),
        Code::Cmp_r64_rm64 => stack && state || memory(Register::RSP, &[8]) && i.op0_register() == Register::R14,
        Code::Mov_r64_rm64 => stack && state,
        Code::Lea_r64_m => stack && memory(Register::RSP, &[8, 16]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_guests_write_is_refused_and_what_the_translator_writes_is_not() {
        let mut fuzz = Fuzz::default();
        let bad: [&[u8]; 17] = [
            &[0x48, 0x8B, 0x07],             // mov rax, [rdi]
            &[0x49, 0x8B, 0x46, 0x08],       // mov rax, [r14+8]
            &[0x49, 0x8B, 0x45, 0xF8],       // mov rax, [r13-8]
            &[0x4A, 0x8B, 0x04, 0x68],       // mov rax, [rax+r13*2]
            &[0x65, 0x49, 0x8B, 0x06],       // mov rax, gs:[r14]
            &[0x48, 0x8B, 0x05, 0, 0, 0, 0], // mov rax, [rip]
            &[0xFF, 0x0D, 0, 0, 0, 0],       // dec [rip]
            &[0xA4],                         // movsb
            &[0x50],                         // push rax
            &[0xC2, 0x08, 0],                // ret 8
            &[0x5C],                         // pop rsp
            &[0x48, 0x3B, 0x27],             // cmp rsp, [rdi]
            &[0x4D, 0x01, 0xC7],             // add r15, r8
            &[0x4C, 0x89, 0xF8],             // mov rax, r15
            &[0x0F, 0x05],                   // syscall
            &[0xF4],                         // hlt
            &[0x0F, 0xFF],                   // ud0, and no more
        ];
        for code in bad {
            assert!(fuzz.audit(code).is_err(), "{code:02x?}");
        }
        let good: [(&[u8], usize); 5] = [
            (&[0x49, 0x8B, 0x06], 1),             // mov rax, [r14]
            (&[0x49, 0x8B, 0x47, 0x10], 1),       // mov rax, [r15+10h]
            (&[0x4A, 0x8B, 0x44, 0x2F, 0x10], 1), // mov rax, [rdi+r13+10h]
            (&[0x48, 0x8D, 0x04, 0x4F], 0),       // lea rax, [rdi+rcx*2]
            (&[0xE8, 0, 0, 0, 0], 0),             // call
        ];
        for (code, found) in good {
            assert_eq!(fuzz.audit(code), Ok(found), "{code:02x?}");
        }
    }
}
