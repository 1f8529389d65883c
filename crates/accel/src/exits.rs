//! Exits that are completed without executing an instruction: the answer is in the exit, the result goes into a few
//! registers and RIP behind the instruction, all in one call.

use whp::{
    AccessHandler, CpuidAccess, Exit, IoPortAccess, MsrAccess, PendingEvent, RegisterName, RegisterValue,
    VirtualProcessor, VpContext, VpException,
};

const TRAP_FLAG: u64 = 1 << 8;
const RESUME_FLAG: u64 = 1 << 16;

/// RIP behind the instruction that exited.
fn next_rip(vp: &VpContext) -> u64 {
    let next = vp.rip.wrapping_add(vp.instruction_length.into());
    let long = vp.efer_lma && vp.cs.attributes >> 13 & 1 != 0;
    if long { next } else { next & 0xFFFF_FFFF }
}

/// Whether [`port`] will do: IN or OUT of one element, and nothing that the end of an instruction has an effect on.
pub(crate) fn is_simple(vp: &VpContext, access: &IoPortAccess) -> bool {
    !access.string_op
        && matches!(access.access_size, 1 | 2 | 4)
        && vp.instruction_length != 0
        && !vp.interrupt_shadow
        && vp.rflags & (TRAP_FLAG | RESUME_FLAG) == 0
}

/// IN or OUT.
pub(crate) fn port(
    processor: &dyn VirtualProcessor,
    vp: &VpContext,
    access: &IoPortAccess,
    handler: &dyn AccessHandler,
) -> whp::Result<()> {
    let size = usize::from(access.access_size).min(4);
    let rip = RegisterValue::from(next_rip(vp));
    if access.is_write {
        handler.port_write(access.port, &access.rax.to_le_bytes()[..size]);
        return processor.set_registers(&[RegisterName::RIP], &[rip]);
    }
    let mut data = [0; 8];
    handler.port_read(access.port, &mut data[..size]);
    let value = u64::from_le_bytes(data);
    let rax = match size {
        1 => access.rax & !0xFF | value,
        2 => access.rax & !0xFFFF | value,
        _ => value,
    };
    processor.set_registers(&[RegisterName::RIP, RegisterName::RAX], &[rip, rax.into()])
}

/// MSRs nobody knows read as zero and ignore writes, as QEMU's WHPX does by default.
pub(crate) fn unknown_msr(processor: &dyn VirtualProcessor, vp: &VpContext, access: &MsrAccess) -> whp::Result<()> {
    let (msr, is_write) = (access.msr_number, access.is_write);
    tracing::trace!(target: "whpx_unsupported_msr_access", "msr={msr:#x} is_write={is_write} rip={:#x}", vp.rip);
    let names = [RegisterName::RIP, RegisterName::RAX, RegisterName::RDX];
    let values = [next_rip(vp).into(), RegisterValue::default(), RegisterValue::default()];
    let count = if access.is_write { 1 } else { 3 };
    processor.set_registers(&names[..count], &values[..count])
}

/// CPUID of a leaf that exits: what the platform would have said, hypervisor leaves too.
pub(crate) fn cpuid(processor: &dyn VirtualProcessor, vp: &VpContext, access: &CpuidAccess) -> whp::Result<()> {
    let names = [RegisterName::RIP, RegisterName::RAX, RegisterName::RBX, RegisterName::RCX, RegisterName::RDX];
    let values = [
        next_rip(vp),
        access.default_result_rax,
        access.default_result_rbx,
        access.default_result_rcx,
        access.default_result_rdx,
    ];
    processor.set_registers(&names, &values.map(RegisterValue::from))
}

/// An exception that exits goes back to the guest.
pub(crate) fn reinject(processor: &dyn VirtualProcessor, vp: &VpContext, exception: &VpException) -> whp::Result<()> {
    let event = PendingEvent::Exception {
        vector: exception.exception_type.into(),
        error_code: exception.error_code_valid.then_some(exception.error_code),
        parameter: exception.exception_parameter,
    };
    // INT3 and INTO are traps: the handler returns behind them.
    let rip = if exception.software_exception { next_rip(vp) } else { vp.rip };
    let names = [RegisterName::RIP, RegisterName::PENDING_EVENT];
    processor.set_registers(&names, &[rip.into(), event.into()])
}

/// Why the guest cannot go on after an exit that nobody asked the platform for.
pub(crate) fn explain(exit: &Exit) -> String {
    let why = match exit {
        Exit::InvalidVpRegisterValue => "the platform found a register value that no processor can have",
        Exit::UnsupportedFeature { .. } => "the guest used a processor feature that the platform does not support",
        Exit::Hypercall { .. }
        | Exit::Rdtsc { .. }
        | Exit::ApicSmiTrap { .. }
        | Exit::ApicInitSipiTrap { .. }
        | Exit::ApicWriteTrap { .. }
        | Exit::SynicSintDeliverable { .. } => "this kind of exit was not asked for",
        Exit::Unknown { .. } => "a kind of exit that this program does not know; a newer version may",
        _ => "this kind of exit has no handler",
    };
    format!("exit {exit:x?}: {why}")
}
