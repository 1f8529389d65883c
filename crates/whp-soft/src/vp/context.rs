//! Exit contexts.

use cpu_x86::fault::{AbortKind, Access, Exception};
use cpu_x86::state::{LastInstruction, cr};
use cpu_x86::{Cpu, Seg};
use whp::{AccessType, CpuidAccess, Exit, IoPortAccess, MemoryAccess, MsrAccess, VpContext, VpException};

use super::Core;
use whp_registers::segment;

/// The processor at an exit; `length` is of the instruction that exited.
pub(super) fn vp_context(core: &Core, cr8: u64, length: u8) -> VpContext {
    let cpu = &core.processor.cpu;
    VpContext {
        cpl: cpu.cpl,
        cr0_pe: cpu.cr0 & cr::CR0_PE != 0,
        cr0_am: cpu.cr0 & cr::CR0_AM != 0,
        efer_lma: cpu.msr.efer & cr::EFER_LMA != 0,
        debug_active: cpu.dr[7] & 0xFF != 0,
        interruption_pending: core.pending_interruption.pending,
        interrupt_shadow: cpu.shadow.interrupt,
        instruction_length: length,
        cr8: cr8 as u8,
        cs: segment(&cpu.segs[Seg::Cs as usize]),
        rip: cpu.rip,
        rflags: cpu.rflags(),
    }
}

fn bytes(l: &LastInstruction) -> (u8, [u8; 16]) {
    (l.len, l.bytes)
}

/// The exit for an access that was not served, and the length of its instruction. `mapped`: memory is mapped at the
/// address, with other permissions.
pub(super) fn access_exit(cpu: &Cpu, kind: AbortKind, mapped: impl FnOnce(u64) -> bool) -> (Exit, u8) {
    let (instruction_byte_count, instruction_bytes) = bytes(&cpu.last_instruction);
    let exit = match kind {
        AbortKind::Memory { gpa, gva, access, len: _ } => {
            let fetch = access == Access::Fetch;
            Exit::MemoryAccess(MemoryAccess {
                instruction_byte_count: if fetch { 0 } else { instruction_byte_count },
                instruction_bytes: if fetch { [0; 16] } else { instruction_bytes },
                access_type: match access {
                    Access::Read => AccessType::Read,
                    Access::Write => AccessType::Write,
                    Access::Fetch => AccessType::Execute,
                },
                gpa_unmapped: !mapped(gpa),
                gva_valid: true,
                gpa,
                gva,
            })
        }
        AbortKind::Port { port, len, write, string, rep } => Exit::IoPortAccess(IoPortAccess {
            instruction_byte_count,
            instruction_bytes,
            is_write: write,
            access_size: len,
            string_op: string,
            rep_prefix: rep,
            port,
            rax: cpu.r64(0),
            rcx: cpu.r64(1),
            rsi: cpu.r64(6),
            rdi: cpu.r64(7),
            ds: segment(&cpu.segs[Seg::Ds as usize]),
            es: segment(&cpu.segs[Seg::Es as usize]),
        }),
        AbortKind::Msr { msr, write } => {
            Exit::MsrAccess(MsrAccess { is_write: write, msr_number: msr, rax: cpu.r64(0), rdx: cpu.r64(2) })
        }
        AbortKind::Cpuid { default } => Exit::Cpuid(CpuidAccess {
            rax: cpu.r64(0),
            rcx: cpu.r64(1),
            rdx: cpu.r64(2),
            rbx: cpu.r64(3),
            default_result_rax: default[0].into(),
            default_result_rbx: default[1].into(),
            default_result_rcx: default[2].into(),
            default_result_rdx: default[3].into(),
        }),
        // `run` reports no other kind this way.
        _ => Exit::None,
    };
    (exit, instruction_byte_count)
}

/// The same as Windows 10 tells it: a memory access by its guest-physical address alone.
pub(super) fn terse(exit: Exit, length: u8) -> (Exit, u8) {
    match exit {
        Exit::MemoryAccess(m) => {
            let known =
                MemoryAccess { instruction_byte_count: 0, instruction_bytes: [0; 16], gva_valid: false, gva: 0, ..m };
            (Exit::MemoryAccess(known), 0)
        }
        other => (other, length),
    }
}

/// The exit for an exception in the exception exit bitmap.
pub(super) fn exception_exit(cpu: &Cpu, e: Exception) -> (Exit, u8) {
    let (instruction_byte_count, instruction_bytes) = bytes(&cpu.last_instruction);
    let exit = Exit::Exception(VpException {
        instruction_byte_count,
        instruction_bytes,
        error_code_valid: e.error.is_some(),
        software_exception: false,
        exception_type: e.vector,
        error_code: e.error.unwrap_or(0),
        exception_parameter: e.payload,
    });
    (exit, instruction_byte_count)
}
