//! Exits that are completed without executing an instruction: the answer is in the exit, the result goes into a few
//! registers and RIP behind the instruction, all in one call.

use whp::{
    AccessHandler, CpuidAccess, Exit, IoPortAccess, MsrAccess, PendingEvent, RegisterName, RegisterValue,
    VirtualProcessor, VpContext, VpException,
};

/// #GP.
pub(crate) const GENERAL_PROTECTION: u8 = 13;

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

/// MSRs nobody knows: they read as zero and ignore writes (`ignore`), or raise #GP(0).
pub(crate) fn unknown_msr(
    processor: &dyn VirtualProcessor,
    vp: &VpContext,
    access: &MsrAccess,
    ignore: bool,
) -> whp::Result<()> {
    let (msr, is_write) = (access.msr_number, access.is_write);
    tracing::trace!(target: "whpx_unsupported_msr_access", "msr={msr:#x} is_write={is_write} rip={:#x}", vp.rip);
    if ignore { msr_done(processor, vp, access, 0) } else { general_protection(processor) }
}

/// RDMSR that read `value`, or WRMSR.
pub(crate) fn msr_done(
    processor: &dyn VirtualProcessor,
    vp: &VpContext,
    access: &MsrAccess,
    value: u64,
) -> whp::Result<()> {
    let names = [RegisterName::RIP, RegisterName::RAX, RegisterName::RDX];
    let values = [next_rip(vp), value & 0xFFFF_FFFF, value >> 32].map(RegisterValue::from);
    let count = if access.is_write { 1 } else { 3 };
    processor.set_registers(&names[..count], &values[..count])
}

/// #GP(0) at the instruction that exited.
pub(crate) fn general_protection(processor: &dyn VirtualProcessor) -> whp::Result<()> {
    let event = PendingEvent::Exception { vector: GENERAL_PROTECTION.into(), error_code: Some(0), parameter: 0 };
    processor.set_registers(&[RegisterName::PENDING_EVENT], &[event.into()])
}

/// With `intercept-msr-gp`: tells which MSR the platform refused, when it was one.
pub(crate) fn note_msr_gp(processor: &dyn VirtualProcessor, vp: &VpContext, exception: &VpException) {
    if exception.exception_type != GENERAL_PROTECTION {
        return;
    }
    let bytes = &exception.instruction_bytes[..usize::from(exception.instruction_byte_count.min(16))];
    let prefixes =
        bytes.iter().take_while(|b| matches!(b, 0x26 | 0x2E | 0x36 | 0x3E | 0x40..=0x4F | 0x64..=0x67 | 0xF2 | 0xF3));
    let (is_write, rip) = match bytes.get(prefixes.count()..) {
        Some([0x0F, 0x30, ..]) => (true, vp.rip),
        Some([0x0F, 0x32, ..]) => (false, vp.rip),
        _ => return,
    };
    let names = [RegisterName::RCX, RegisterName::RAX, RegisterName::RDX];
    let mut v = [RegisterValue::default(); 3];
    if processor.registers(&names, &mut v).is_ok() {
        let [msr, low, high] = v.map(|v| v.u64() & 0xFFFF_FFFF);
        let value = if is_write { format!(" value={:#x}", high << 32 | low) } else { String::new() };
        tracing::warn!(
            "the platform refuses MSR {msr:#x} (is_write={is_write}{value}) at RIP {rip:#x}: #GP for the guest"
        );
    }
}

/// CPUID of a leaf that exits: what the platform would have said as `change` wants it, which gets the leaf and EAX, EBX,
/// ECX, EDX.
pub(crate) fn cpuid(
    processor: &dyn VirtualProcessor,
    vp: &VpContext,
    access: &CpuidAccess,
    change: impl FnOnce(u32, [u32; 4]) -> [u32; 4],
) -> whp::Result<()> {
    let names = [RegisterName::RIP, RegisterName::RAX, RegisterName::RBX, RegisterName::RCX, RegisterName::RDX];
    let own =
        [access.default_result_rax, access.default_result_rbx, access.default_result_rcx, access.default_result_rdx];
    let [eax, ebx, ecx, edx] = change(access.rax as u32, own.map(|r| r as u32)).map(u64::from);
    processor.set_registers(&names, &[next_rip(vp), eax, ebx, ecx, edx].map(RegisterValue::from))
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
