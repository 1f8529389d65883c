//! Exit contexts (`WHV_RUN_VP_EXIT_CONTEXT` of x64, 224 bytes).

use whp::{
    AccessType, CpuidAccess, Exit, ExitContext, ExitReason, IoPortAccess, MemoryAccess, MsrAccess, VpContext,
    VpException,
};

use super::values::{segment_from_abi, segment_to_abi};
use crate::x64::*;

/// `sizeof(WHV_RUN_VP_EXIT_CONTEXT)`.
pub const EXIT_CONTEXT_SIZE: usize = size_of::<WHV_RUN_VP_EXIT_CONTEXT>();

/// As C has it.
pub fn vp_context_to_abi(c: &VpContext) -> WHV_VP_EXIT_CONTEXT {
    let bit = |on: bool, n: u32| u16::from(on) << n;
    let state = u16::from(c.cpl & 3)
        | bit(c.cr0_pe, 2)
        | bit(c.cr0_am, 3)
        | bit(c.efer_lma, 4)
        | bit(c.debug_active, 5)
        | bit(c.interruption_pending, 6)
        | bit(c.interrupt_shadow, 12);
    WHV_VP_EXIT_CONTEXT {
        ExecutionState: WHV_X64_VP_EXECUTION_STATE { AsUINT16: state },
        _bitfield: c.instruction_length & 15 | c.cr8 << 4,
        Cs: segment_to_abi(c.cs),
        Rip: c.rip,
        Rflags: c.rflags,
        ..Default::default()
    }
}

/// From C.
pub fn vp_context_from_abi(c: &WHV_VP_EXIT_CONTEXT) -> VpContext {
    // SAFETY: both views of the union are 16 bits of integers.
    let state = unsafe { c.ExecutionState.AsUINT16 };
    let bit = |n: u32| state >> n & 1 != 0;
    VpContext {
        cpl: (state & 3) as u8,
        cr0_pe: bit(2),
        cr0_am: bit(3),
        efer_lma: bit(4),
        debug_active: bit(5),
        interruption_pending: bit(6),
        interrupt_shadow: bit(12),
        instruction_length: c._bitfield & 15,
        cr8: c._bitfield >> 4,
        cs: segment_from_abi(&c.Cs),
        rip: c.Rip,
        rflags: c.Rflags,
    }
}

fn memory_to_abi(m: &MemoryAccess) -> WHV_MEMORY_ACCESS_CONTEXT {
    let kind = match m.access_type {
        AccessType::Read => 0,
        AccessType::Write => 1,
        AccessType::Execute => 2,
    };
    WHV_MEMORY_ACCESS_CONTEXT {
        InstructionByteCount: m.instruction_byte_count,
        Reserved: [0; 3],
        InstructionBytes: m.instruction_bytes,
        AccessInfo: WHV_MEMORY_ACCESS_INFO {
            AsUINT32: kind | u32::from(m.gpa_unmapped) << 2 | u32::from(m.gva_valid) << 3,
        },
        Gpa: m.gpa,
        Gva: m.gva,
    }
}

fn port_to_abi(p: &IoPortAccess) -> WHV_X64_IO_PORT_ACCESS_CONTEXT {
    let info = u32::from(p.is_write)
        | u32::from(p.access_size & 7) << 1
        | u32::from(p.string_op) << 4
        | u32::from(p.rep_prefix) << 5;
    WHV_X64_IO_PORT_ACCESS_CONTEXT {
        InstructionByteCount: p.instruction_byte_count,
        Reserved: [0; 3],
        InstructionBytes: p.instruction_bytes,
        AccessInfo: WHV_X64_IO_PORT_ACCESS_INFO { AsUINT32: info },
        PortNumber: p.port,
        Reserved2: [0; 3],
        Rax: p.rax,
        Rcx: p.rcx,
        Rsi: p.rsi,
        Rdi: p.rdi,
        Ds: segment_to_abi(p.ds),
        Es: segment_to_abi(p.es),
    }
}

fn exception_to_abi(e: &VpException) -> WHV_VP_EXCEPTION_CONTEXT {
    WHV_VP_EXCEPTION_CONTEXT {
        InstructionByteCount: e.instruction_byte_count,
        Reserved: [0; 3],
        InstructionBytes: e.instruction_bytes,
        ExceptionInfo: WHV_VP_EXCEPTION_INFO {
            AsUINT32: u32::from(e.error_code_valid) | u32::from(e.software_exception) << 1,
        },
        ExceptionType: e.exception_type,
        Reserved2: [0; 3],
        ErrorCode: e.error_code,
        ExceptionParameter: e.exception_parameter,
    }
}

fn cpuid_to_abi(c: &CpuidAccess) -> WHV_X64_CPUID_ACCESS_CONTEXT {
    WHV_X64_CPUID_ACCESS_CONTEXT {
        Rax: c.rax,
        Rcx: c.rcx,
        Rdx: c.rdx,
        Rbx: c.rbx,
        DefaultResultRax: c.default_result_rax,
        DefaultResultRcx: c.default_result_rcx,
        DefaultResultRdx: c.default_result_rdx,
        DefaultResultRbx: c.default_result_rbx,
    }
}

/// As C has it; what an exit does not use is zero.
pub fn exit_to_abi(c: &ExitContext) -> WHV_RUN_VP_EXIT_CONTEXT {
    let mut out = WHV_RUN_VP_EXIT_CONTEXT {
        ExitReason: c.reason().0 as i32,
        VpContext: vp_context_to_abi(&c.vp),
        ..Default::default()
    };
    let u = &mut out.Anonymous;
    match &c.exit {
        Exit::None | Exit::UnrecoverableException | Exit::InvalidVpRegisterValue | Exit::Halt => {}
        Exit::Canceled => u.CancelReason = WHV_RUN_VP_CANCELED_CONTEXT { CancelReason: 0 },
        Exit::MemoryAccess(m) => u.MemoryAccess = memory_to_abi(m),
        Exit::IoPortAccess(p) => u.IoPortAccess = port_to_abi(p),
        Exit::UnsupportedFeature { code, parameter } => {
            u.UnsupportedFeature = WHV_X64_UNSUPPORTED_FEATURE_CONTEXT {
                FeatureCode: *code as i32,
                Reserved: 0,
                FeatureParameter: *parameter,
            }
        }
        Exit::InterruptWindow { kind } => {
            u.InterruptWindow = WHV_X64_INTERRUPTION_DELIVERABLE_CONTEXT { DeliverableType: i32::from(*kind) }
        }
        Exit::ApicEoi { vector } => u.ApicEoi = WHV_X64_APIC_EOI_CONTEXT { InterruptVector: *vector },
        Exit::SynicSintDeliverable { sints } => {
            u.SynicSintDeliverable =
                WHV_SYNIC_SINT_DELIVERABLE_CONTEXT { DeliverableSints: *sints, Reserved1: 0, Reserved2: 0 }
        }
        Exit::MsrAccess(m) => {
            u.MsrAccess = WHV_X64_MSR_ACCESS_CONTEXT {
                AccessInfo: WHV_X64_MSR_ACCESS_INFO { AsUINT32: u32::from(m.is_write) },
                MsrNumber: m.msr_number,
                Rax: m.rax,
                Rdx: m.rdx,
            }
        }
        Exit::Cpuid(a) => u.CpuidAccess = cpuid_to_abi(a),
        Exit::Exception(e) => u.VpException = exception_to_abi(e),
        Exit::Rdtsc { tsc_aux, tsc, reference_time, is_rdtscp } => {
            u.ReadTsc = WHV_X64_RDTSC_CONTEXT {
                TscAux: *tsc_aux,
                VirtualOffset: 0,
                Tsc: *tsc,
                ReferenceTime: *reference_time,
                RdtscInfo: WHV_X64_RDTSC_INFO { AsUINT64: u64::from(*is_rdtscp) },
            }
        }
        Exit::ApicSmiTrap { icr } => u.ApicSmi = WHV_X64_APIC_SMI_CONTEXT { ApicIcr: *icr },
        Exit::Hypercall { rax, rbx, rcx, rdx, r8, rsi, rdi } => {
            u.Hypercall = WHV_HYPERCALL_CONTEXT {
                Rax: *rax,
                Rbx: *rbx,
                Rcx: *rcx,
                Rdx: *rdx,
                R8: *r8,
                Rsi: *rsi,
                Rdi: *rdi,
                ..Default::default()
            }
        }
        Exit::ApicInitSipiTrap { icr } => u.ApicInitSipi = WHV_X64_APIC_INIT_SIPI_CONTEXT { ApicIcr: *icr },
        Exit::ApicWriteTrap { register, value } => {
            u.ApicWrite = WHV_X64_APIC_WRITE_CONTEXT { Type: *register as i32, Reserved: 0, WriteValue: *value }
        }
        Exit::Unknown { data, .. } => u.AsUINT64 = *data,
    }
    out
}

fn memory_from_abi(m: &WHV_MEMORY_ACCESS_CONTEXT) -> MemoryAccess {
    // SAFETY: both views of the union are 32 bits of integers.
    let info = unsafe { m.AccessInfo.AsUINT32 };
    MemoryAccess {
        instruction_byte_count: m.InstructionByteCount.min(16),
        instruction_bytes: m.InstructionBytes,
        access_type: match info & 3 {
            0 => AccessType::Read,
            1 => AccessType::Write,
            _ => AccessType::Execute,
        },
        gpa_unmapped: info >> 2 & 1 != 0,
        gva_valid: info >> 3 & 1 != 0,
        gpa: m.Gpa,
        gva: m.Gva,
    }
}

fn port_from_abi(p: &WHV_X64_IO_PORT_ACCESS_CONTEXT) -> IoPortAccess {
    // SAFETY: both views of the union are 32 bits of integers.
    let info = unsafe { p.AccessInfo.AsUINT32 };
    IoPortAccess {
        instruction_byte_count: p.InstructionByteCount.min(16),
        instruction_bytes: p.InstructionBytes,
        is_write: info & 1 != 0,
        access_size: (info >> 1 & 7) as u8,
        string_op: info >> 4 & 1 != 0,
        rep_prefix: info >> 5 & 1 != 0,
        port: p.PortNumber,
        rax: p.Rax,
        rcx: p.Rcx,
        rsi: p.Rsi,
        rdi: p.Rdi,
        ds: segment_from_abi(&p.Ds),
        es: segment_from_abi(&p.Es),
    }
}

fn exception_from_abi(e: &WHV_VP_EXCEPTION_CONTEXT) -> VpException {
    // SAFETY: both views of the union are 32 bits of integers.
    let info = unsafe { e.ExceptionInfo.AsUINT32 };
    VpException {
        instruction_byte_count: e.InstructionByteCount.min(16),
        instruction_bytes: e.InstructionBytes,
        error_code_valid: info & 1 != 0,
        software_exception: info & 2 != 0,
        exception_type: e.ExceptionType,
        error_code: e.ErrorCode,
        exception_parameter: e.ExceptionParameter,
    }
}

/// From C; reasons that are not known keep their data.
pub fn exit_from_abi(c: &WHV_RUN_VP_EXIT_CONTEXT) -> ExitContext {
    let reason = ExitReason(c.ExitReason as u32);
    let u = &c.Anonymous;
    // SAFETY: every view is plain integers, and the whole union is initialised (`AsUINT64` covers it).
    let exit = unsafe {
        match reason {
            ExitReason::NONE => Exit::None,
            ExitReason::MEMORY_ACCESS => Exit::MemoryAccess(memory_from_abi(&u.MemoryAccess)),
            ExitReason::X64_IO_PORT_ACCESS => Exit::IoPortAccess(port_from_abi(&u.IoPortAccess)),
            ExitReason::UNRECOVERABLE_EXCEPTION => Exit::UnrecoverableException,
            ExitReason::INVALID_VP_REGISTER_VALUE => Exit::InvalidVpRegisterValue,
            ExitReason::UNSUPPORTED_FEATURE => Exit::UnsupportedFeature {
                code: u.UnsupportedFeature.FeatureCode as u32,
                parameter: u.UnsupportedFeature.FeatureParameter,
            },
            ExitReason::X64_INTERRUPT_WINDOW => Exit::InterruptWindow { kind: u.InterruptWindow.DeliverableType as u8 },
            ExitReason::X64_HALT => Exit::Halt,
            ExitReason::X64_APIC_EOI => Exit::ApicEoi { vector: u.ApicEoi.InterruptVector },
            ExitReason::SYNIC_SINT_DELIVERABLE => {
                Exit::SynicSintDeliverable { sints: u.SynicSintDeliverable.DeliverableSints }
            }
            ExitReason::X64_MSR_ACCESS => Exit::MsrAccess(MsrAccess {
                is_write: u.MsrAccess.AccessInfo.AsUINT32 & 1 != 0,
                msr_number: u.MsrAccess.MsrNumber,
                rax: u.MsrAccess.Rax,
                rdx: u.MsrAccess.Rdx,
            }),
            ExitReason::X64_CPUID => {
                let a = &u.CpuidAccess;
                Exit::Cpuid(CpuidAccess {
                    rax: a.Rax,
                    rcx: a.Rcx,
                    rdx: a.Rdx,
                    rbx: a.Rbx,
                    default_result_rax: a.DefaultResultRax,
                    default_result_rcx: a.DefaultResultRcx,
                    default_result_rdx: a.DefaultResultRdx,
                    default_result_rbx: a.DefaultResultRbx,
                })
            }
            ExitReason::EXCEPTION => Exit::Exception(exception_from_abi(&u.VpException)),
            ExitReason::X64_RDTSC => Exit::Rdtsc {
                tsc_aux: u.ReadTsc.TscAux,
                tsc: u.ReadTsc.Tsc,
                reference_time: u.ReadTsc.ReferenceTime,
                is_rdtscp: u.ReadTsc.RdtscInfo.AsUINT64 & 1 != 0,
            },
            ExitReason::X64_APIC_SMI_TRAP => Exit::ApicSmiTrap { icr: u.ApicSmi.ApicIcr },
            ExitReason::HYPERCALL => {
                let h = &u.Hypercall;
                Exit::Hypercall { rax: h.Rax, rbx: h.Rbx, rcx: h.Rcx, rdx: h.Rdx, r8: h.R8, rsi: h.Rsi, rdi: h.Rdi }
            }
            ExitReason::X64_APIC_INIT_SIPI_TRAP => Exit::ApicInitSipiTrap { icr: u.ApicInitSipi.ApicIcr },
            ExitReason::X64_APIC_WRITE_TRAP => {
                Exit::ApicWriteTrap { register: u.ApicWrite.Type as u32, value: u.ApicWrite.WriteValue }
            }
            ExitReason::CANCELED => Exit::Canceled,
            reason => Exit::Unknown { reason, data: u.AsUINT64 },
        }
    };
    ExitContext { vp: vp_context_from_abi(&c.VpContext), exit }
}

#[cfg(test)]
mod tests {
    use whp::SegmentRegister;

    use super::*;

    fn exits() -> Vec<Exit> {
        let mut bytes = [0; 16];
        bytes.iter_mut().enumerate().for_each(|(i, b)| *b = i as u8 ^ 0x5A);
        let s = SegmentRegister { base: 1, limit: 2, selector: 3, attributes: 4 };
        vec![
            Exit::None,
            Exit::MemoryAccess(MemoryAccess {
                instruction_byte_count: 16,
                instruction_bytes: bytes,
                access_type: AccessType::Execute,
                gpa_unmapped: true,
                gva_valid: true,
                gpa: 0x1234_5678_9ABC,
                gva: u64::MAX,
            }),
            Exit::IoPortAccess(IoPortAccess {
                instruction_byte_count: 2,
                instruction_bytes: bytes,
                is_write: true,
                access_size: 4,
                string_op: true,
                rep_prefix: false,
                port: 0xCF8,
                rax: 1,
                rcx: 2,
                rsi: 3,
                rdi: 4,
                ds: s,
                es: SegmentRegister { base: 9, ..s },
            }),
            Exit::UnrecoverableException,
            Exit::InvalidVpRegisterValue,
            Exit::UnsupportedFeature { code: 1, parameter: 2 },
            Exit::InterruptWindow { kind: 2 },
            Exit::Halt,
            Exit::ApicEoi { vector: 0x31 },
            Exit::SynicSintDeliverable { sints: 5 },
            Exit::MsrAccess(MsrAccess { is_write: true, msr_number: 0xC000_0080, rax: 5, rdx: 6 }),
            Exit::Cpuid(CpuidAccess {
                rax: 1,
                rcx: 2,
                rdx: 3,
                rbx: 4,
                default_result_rax: 5,
                default_result_rcx: 6,
                default_result_rdx: 7,
                default_result_rbx: 8,
            }),
            Exit::Exception(VpException {
                instruction_byte_count: 1,
                instruction_bytes: bytes,
                error_code_valid: true,
                software_exception: true,
                exception_type: 14,
                error_code: 2,
                exception_parameter: 0x8000,
            }),
            Exit::Rdtsc { tsc_aux: 1, tsc: 2, reference_time: 3, is_rdtscp: true },
            Exit::ApicSmiTrap { icr: 7 },
            Exit::Hypercall { rax: 1, rbx: 2, rcx: 3, rdx: 4, r8: 5, rsi: 6, rdi: 7 },
            Exit::ApicInitSipiTrap { icr: 0x500 },
            Exit::ApicWriteTrap { register: 0xF0, value: 1 },
            Exit::Canceled,
            Exit::Unknown { reason: ExitReason(0x7777), data: std::array::from_fn(|i| i as u64) },
        ]
    }

    #[test]
    fn every_exit_survives_the_round_trip() {
        let vp = VpContext {
            cpl: 3,
            cr0_pe: true,
            efer_lma: true,
            interrupt_shadow: true,
            instruction_length: 15,
            cr8: 9,
            rip: 0x1000,
            rflags: 0x202,
            ..VpContext::default()
        };
        for exit in exits() {
            let c = ExitContext { vp, exit };
            assert_eq!(exit_from_abi(&exit_to_abi(&c)), c);
        }
        assert_eq!(EXIT_CONTEXT_SIZE, 224);
        assert_eq!(size_of::<crate::arm64::WHV_RUN_VP_EXIT_CONTEXT>(), 272);
    }
}
