//! Registers between the virtual processor and the emulated one.

use cpu_x86::Cpu;
use cpu_x86::fpu::Fpu;
use whp::{InterruptState, PendingInterruption, RegisterName as R, RegisterValue, VpContext};

use super::xstate::Area;
use super::{Needs, Registers};

/// Read for every instruction. RIP, RFLAGS and CS come with the exit.
const BASE: [R; 25] = [
    R::RAX,
    R::RCX,
    R::RDX,
    R::RBX,
    R::RSP,
    R::RBP,
    R::RSI,
    R::RDI,
    R::R8,
    R::R9,
    R::R10,
    R::R11,
    R::R12,
    R::R13,
    R::R14,
    R::R15,
    R::ES,
    R::SS,
    R::DS,
    R::FS,
    R::GS,
    R::CR0,
    R::CR3,
    R::CR4,
    R::EFER,
];

const SYSTEM: [R; 24] = [
    R::LDTR,
    R::TR,
    R::IDTR,
    R::GDTR,
    R::CR2,
    R::DR0,
    R::DR1,
    R::DR2,
    R::DR3,
    R::DR6,
    R::DR7,
    R::KERNEL_GS_BASE,
    R::SYSENTER_CS,
    R::SYSENTER_EIP,
    R::SYSENTER_ESP,
    R::STAR,
    R::LSTAR,
    R::CSTAR,
    R::SFMASK,
    R::PAT,
    R::TSC_AUX,
    R::INTERRUPT_STATE,
    R::PENDING_INTERRUPTION,
    R::INTERNAL_ACTIVITY_STATE,
];

/// Read to be looked at, not part of the processor.
const NOT_WRITTEN: [R; 3] = [R::INTERRUPT_STATE, R::PENDING_INTERRUPTION, R::INTERNAL_ACTIVITY_STATE];

fn fpu_names() -> impl Iterator<Item = R> {
    let xmm = (0..16).map(|n| R::XMM0.offset(n));
    let st = (0..8).map(|n| R::FP_MMX0.offset(n));
    xmm.chain(st).chain([R::FP_CONTROL_STATUS, R::XMM_CONTROL_STATUS])
}

/// The registers as they were before the instruction.
pub(super) struct Loaded {
    names: Vec<R>,
    values: Vec<RegisterValue>,
    area: Option<(Area, Fpu)>,
    cr8: u64,
    shadow: bool,
    pub(super) rflags: u64,
    /// An event that was being delivered.
    pub(super) interruption: PendingInterruption,
}

impl Loaded {
    /// Reads what `needs` says, and puts it into `cpu`.
    pub(super) fn read(registers: &dyn Registers, c: &VpContext, needs: Needs, cpu: &mut Cpu) -> whp::Result<Self> {
        let mut names = BASE.to_vec();
        if needs.system {
            names.extend(SYSTEM);
        }
        if needs.fpu {
            names.extend(fpu_names());
        }
        if needs.extended || needs.xcr0 {
            names.push(R::XCR0);
        }
        if c.interrupt_shadow && !needs.system {
            names.push(R::INTERRUPT_STATE); // it is over after the instruction
        }
        let mut values = vec![RegisterValue::default(); names.len()];
        registers.get(&names, &mut values)?;
        let area = if needs.extended { load_area(registers, cpu)? } else { None };
        for (name, value) in [(R::RIP, c.rip.into()), (R::RFLAGS, c.rflags.into()), (R::CS, c.cs.into())] {
            names.push(name);
            values.push(value);
        }
        cpu.dr = [0; 8];
        cpu.next = None;
        cpu.pending_db = 0;
        cpu.cpl = c.cpl & 3;
        cpu.shadow.nmi = false;
        // WHP has no place for the selectors of the last x87 instruction: none rather than another instruction's.
        (cpu.fpu.fcs, cpu.fpu.fds) = (0, 0);
        let mut interruption = PendingInterruption::default();
        for (name, value) in names.iter().zip(&values) {
            match *name {
                R::INTERRUPT_STATE => cpu.shadow.nmi = value.interrupt_state().nmi_masked,
                R::PENDING_INTERRUPTION => interruption = value.pending_interruption(),
                R::INTERNAL_ACTIVITY_STATE => {}
                name => {
                    let there = whp_registers::set(cpu, name, *value);
                    debug_assert!(there.is_some(), "{name:?} is asked for and not kept");
                }
            }
        }
        Ok(Self { names, values, area, cr8: c.cr8.into(), shadow: c.interrupt_shadow, rflags: c.rflags, interruption })
    }

    /// Writes what is different now in one batch, with `extra` behind it. `done`: the instruction is, so the
    /// interrupt shadow it stood in is over.
    pub(super) fn write(
        &self,
        registers: &dyn Registers,
        cpu: &Cpu,
        cr8: u64,
        done: bool,
        extra: Vec<(R, RegisterValue)>,
    ) -> whp::Result<()> {
        if let Some((area, before)) = &self.area
            && *before != *cpu.fpu
        {
            registers.set_xsave(&area.with(&cpu.fpu))?;
        }
        let mut names = Vec::with_capacity(8);
        let mut values = Vec::with_capacity(8);
        let mut put = |name, value| {
            names.push(name);
            values.push(value);
        };
        for (name, old) in self.names.iter().zip(&self.values).filter(|(n, _)| !NOT_WRITTEN.contains(n)) {
            match whp_registers::get(cpu, *name) {
                Some(new) if !same(*name, new, *old) => put(*name, new),
                _ => {}
            }
        }
        if cr8 != self.cr8 {
            put(R::CR8, cr8.into());
        }
        let nmi_masked = self.nmi_masked();
        if done && self.shadow != cpu.shadow.interrupt || nmi_masked.is_some_and(|m| m != cpu.shadow.nmi) {
            let nmi_masked = match nmi_masked {
                Some(_) => cpu.shadow.nmi,
                None => interrupt_state(registers)?.nmi_masked,
            };
            put(R::INTERRUPT_STATE, InterruptState { interrupt_shadow: cpu.shadow.interrupt, nmi_masked }.into());
        }
        extra.into_iter().for_each(|(name, value)| put(name, value));
        if names.is_empty() { Ok(()) } else { registers.set(&names, &values) }
    }

    /// Whether NMIs were blocked, if it was read.
    fn nmi_masked(&self) -> Option<bool> {
        let i = self.names.iter().position(|n| *n == R::INTERRUPT_STATE)?;
        self.values.get(i).map(|v| v.interrupt_state().nmi_masked)
    }
}

fn interrupt_state(registers: &dyn Registers) -> whp::Result<InterruptState> {
    let mut value = [RegisterValue::default()];
    registers.get(&[R::INTERRUPT_STATE], &mut value)?;
    Ok(value[0].interrupt_state())
}

/// Whether an event waits to be delivered, so that an exception of the instruction would take its place.
pub(super) fn event_pending(registers: &dyn Registers) -> whp::Result<bool> {
    let mut values = [RegisterValue::default(); 2];
    registers.get(&[R::PENDING_INTERRUPTION, R::PENDING_EVENT], &mut values)?;
    Ok(values.iter().any(|v| v.u64() & 1 != 0))
}

/// Equal where it matters: the mask of MXCSR is the host's and no state, and the x87 registers have 80 bits.
fn same(name: R, new: RegisterValue, old: RegisterValue) -> bool {
    match name {
        R::XMM_CONTROL_STATUS => {
            let (new, old) = (new.xmm_control_status(), old.xmm_control_status());
            (new.last_fp_rdp, new.xmm_status_control) == (old.last_fp_rdp, old.xmm_status_control)
        }
        R::FP_CONTROL_STATUS => new.fp_control_status() == old.fp_control_status(),
        n if (R::FP_MMX0.0..R::FP_MMX0.0 + 8).contains(&n.0) => (new.0 ^ old.0) << 48 == 0,
        R::IDTR | R::GDTR => new.table() == old.table(),
        _ => new == old,
    }
}

/// The XSAVE area; platforms without one have no registers that only it holds.
fn load_area(registers: &dyn Registers, cpu: &mut Cpu) -> whp::Result<Option<(Area, Fpu)>> {
    let Some(bytes) = registers.xsave()? else { return Ok(None) };
    let area = Area::new(bytes);
    let fpu =
        area.load().map_err(|why| whp::Error::new(whp::HResult::E_UNEXPECTED, "GetVirtualProcessorXsaveState", why))?;
    *cpu.fpu = fpu.clone();
    Ok(Some((area, fpu)))
}
