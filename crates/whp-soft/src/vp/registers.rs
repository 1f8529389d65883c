//! Registers by name.

use std::sync::atomic::Ordering;

use cpu_x86::bus::Attention;
use cpu_x86::flags::rflags;
use cpu_x86::fpu::MXCSR_MASK;
use cpu_x86::state::{SegReg, TableReg, cr};
use cpu_x86::{Cpu, Seg};
use whp::{
    DeliverabilityNotifications, FpControlStatus, HResult, InternalActivity, InterruptState, PendingEvent,
    PendingInterruption, RegisterName as R, RegisterValue, TableRegister, XmmControlStatus,
};

use super::context::segment;
use super::handle::apic_register;
use super::{Core, Vp, synthetic};
use crate::shared::Shared;

/// IA32_MTRRCAP: 8 variable ranges, fixed ones, write combining.
const MTRR_CAP: u64 = 0x508;

/// The processor's own CPUID result.
pub(super) fn cpuid(cpu: &Cpu, leaf: u32, subleaf: u32) -> [u32; 4] {
    cpu.cpuid_values(leaf, subleaf)
}

fn table(t: &TableReg) -> RegisterValue {
    TableRegister { limit: t.limit, base: t.base }.into()
}

fn xmm(bytes: &[u8; 64]) -> RegisterValue {
    let mut b = [0; 16];
    b.copy_from_slice(&bytes[..16]);
    RegisterValue(u128::from_le_bytes(b))
}

/// Segment registers by name.
fn segment_of(cpu: &Cpu, name: R) -> &SegReg {
    match name {
        R::LDTR => &cpu.ldtr,
        R::TR => &cpu.tr,
        n => &cpu.segs[(n.0 - R::ES.0) as usize % 6],
    }
}

fn segment_mut(cpu: &mut Cpu, name: R) -> &mut SegReg {
    match name {
        R::LDTR => &mut cpu.ldtr,
        R::TR => &mut cpu.tr,
        n => &mut cpu.segs[(n.0 - R::ES.0) as usize % 6],
    }
}

/// The plain 64-bit registers: a place in `Cpu`, by reference of either kind.
macro_rules! plain {
    ($cpu:expr, $name:expr $(, $m:tt)?) => {{
        let (cpu, name) = ($cpu, $name);
        let nth = |first: R, n: u32| (first.0..first.0 + n).contains(&name.0).then(|| (name.0 - first.0) as usize);
        if let Some(i) = nth(R::RAX, 16) {
            Some(&$($m)? cpu.regs[i])
        } else if let Some(i) = nth(R::DR0, 4) {
            Some(&$($m)? cpu.dr[i])
        } else if let Some(i) = nth(R::MSR_MTRR_PHYS_BASE0, 8) {
            Some(&$($m)? cpu.msr.mtrr_phys[2 * i])
        } else if let Some(i) = nth(R::MSR_MTRR_PHYS_MASK0, 8) {
            Some(&$($m)? cpu.msr.mtrr_phys[2 * i + 1])
        } else if let Some(i) = nth(R::MSR_MTRR_FIX64K_00000, 11) {
            Some(&$($m)? cpu.msr.mtrr_fixed[i])
        } else {
            Some(match name {
                R::RIP => &$($m)? cpu.rip,
                R::CR0 => &$($m)? cpu.cr0,
                R::CR2 => &$($m)? cpu.cr2,
                R::CR3 => &$($m)? cpu.cr3,
                R::CR4 => &$($m)? cpu.cr4,
                R::DR6 => &$($m)? cpu.dr[6],
                R::DR7 => &$($m)? cpu.dr[7],
                R::XCR0 => &$($m)? cpu.xcr0,
                R::EFER => &$($m)? cpu.msr.efer,
                R::KERNEL_GS_BASE => &$($m)? cpu.msr.kernel_gs_base,
                R::PAT => &$($m)? cpu.msr.pat,
                R::SYSENTER_CS => &$($m)? cpu.msr.sysenter_cs,
                R::SYSENTER_EIP => &$($m)? cpu.msr.sysenter_eip,
                R::SYSENTER_ESP => &$($m)? cpu.msr.sysenter_esp,
                R::STAR => &$($m)? cpu.msr.star,
                R::LSTAR => &$($m)? cpu.msr.lstar,
                R::CSTAR => &$($m)? cpu.msr.cstar,
                R::SFMASK => &$($m)? cpu.msr.sfmask,
                R::TSC_AUX => &$($m)? cpu.msr.tsc_aux,
                R::SPEC_CTRL => &$($m)? cpu.msr.spec_ctrl,
                R::XSS => &$($m)? cpu.msr.xss,
                R::MSR_IA32_MISC_ENABLE => &$($m)? cpu.msr.misc_enable,
                R::MSR_MTRR_DEF_TYPE => &$($m)? cpu.msr.mtrr_def_type,
                _ => return None,
            })
        }
    }};
}

fn plain(cpu: &Cpu, name: R) -> Option<&u64> {
    plain!(cpu, name)
}

fn plain_mut(cpu: &mut Cpu, name: R) -> Option<&mut u64> {
    plain!(cpu, name, mut)
}

/// Reads a register; `None`: there is none of that name.
pub(super) fn get(vp: &Vp, shared: &Shared, core: &Core, name: R) -> Option<RegisterValue> {
    let cpu = &core.processor.cpu;
    let fpu = &cpu.fpu;
    Some(match name {
        R::RFLAGS => cpu.rflags().into(),
        n if (R::ES.0..=R::TR.0).contains(&n.0) => segment(segment_of(cpu, n)).into(),
        R::IDTR => table(&cpu.idtr),
        R::GDTR => table(&cpu.gdtr),
        R::CR8 => vp.irq().cr8().into(),
        n if (R::XMM0.0..=R::XMM15.0).contains(&n.0) => xmm(&fpu.zmm[(n.0 - R::XMM0.0) as usize & 15]),
        n if (R::FP_MMX0.0..=R::FP_MMX7.0).contains(&n.0) => {
            RegisterValue(u128::from_le_bytes(fpu.st[(n.0 - R::FP_MMX0.0) as usize & 7]))
        }
        R::FP_CONTROL_STATUS => FpControlStatus {
            fp_control: fpu.fcw,
            fp_status: fpu.fsw,
            fp_tag: fpu.ftw,
            last_fp_op: fpu.fop,
            last_fp_rip: fpu.fip,
        }
        .into(),
        R::XMM_CONTROL_STATUS => XmmControlStatus {
            last_fp_rdp: fpu.fdp,
            xmm_status_control: fpu.mxcsr,
            xmm_status_control_mask: MXCSR_MASK,
        }
        .into(),
        R::TSC => vp.tsc_at(shared, shared.time.now()).into(),
        R::TSC_ADJUST => vp.irq().tsc_adjust.into(),
        R::TSC_DEADLINE => vp.irq().lapic.as_ref().map_or(0, |l| l.tsc_deadline()).into(),
        R::TSC_VIRTUAL_OFFSET => (vp.tsc_offset.load(Ordering::Relaxed) as u64).into(),
        R::APIC_BASE => vp.irq().apic_base().into(),
        R::INITIAL_APIC_ID => core.apic_id.into(),
        R::MSR_MTRR_CAP => MTRR_CAP.into(),
        n if (0x3000..=0x303F).contains(&n.0) => apic_register(vp, shared, (n.0 & 0x3F) << 4)?.into(),
        R::PENDING_INTERRUPTION => core.pending_interruption.into(),
        R::INTERRUPT_STATE => {
            InterruptState { interrupt_shadow: cpu.shadow.interrupt, nmi_masked: cpu.shadow.nmi }.into()
        }
        R::PENDING_EVENT => match (vp.irq().ext_int, core.pending_exception) {
            (Some(vector), _) => PendingEvent::ExtInt { vector }.into(),
            (None, event) => event.into(),
        },
        R::DELIVERABILITY_NOTIFICATIONS => {
            let irq = vp.irq();
            DeliverabilityNotifications {
                nmi: irq.window_nmi,
                interrupt: irq.window_interrupt,
                interrupt_priority: irq.window_priority,
                sint: 0,
            }
            .into()
        }
        R::INTERNAL_ACTIVITY_STATE => {
            let irq = vp.irq();
            InternalActivity { startup_suspend: irq.startup_suspend, halt_suspend: irq.halted, idle_suspend: irq.idle }
                .into()
        }
        R::PENDING_DEBUG_EXCEPTION => pending_debug(cpu.pending_db).into(),
        n => match synthetic::get(vp, shared, n) {
            Some(value) => value.into(),
            None => (*plain(cpu, n)?).into(),
        },
    })
}

/// DR6 bits as the pending-debug-exception register has them: B0 to B3, then single step at bit 4.
fn pending_debug(dr6: u64) -> u64 {
    dr6 & 0xF | (dr6 >> 14 & 1) << 4
}

/// Sets a register; `settle` must follow the last one.
pub(super) fn set(vp: &Vp, shared: &Shared, core: &mut Core, name: R, value: RegisterValue) -> Result<(), HResult> {
    if set_interrupts(vp, shared, core, name, value)? || synthetic::set(vp, shared, name, value.u64())? {
        return Ok(());
    }
    let cpu = &mut core.processor.cpu;
    let v = value.u64();
    match name {
        R::RFLAGS => cpu.set_rflags(v & 0x3F_FFFF),
        n if (R::ES.0..=R::TR.0).contains(&n.0) => {
            let s = value.segment();
            *segment_mut(cpu, n) =
                SegReg { selector: s.selector, base: s.base, limit: s.limit, attributes: s.attributes };
        }
        R::IDTR | R::GDTR => {
            let t = value.table();
            let to = if name == R::IDTR { &mut cpu.idtr } else { &mut cpu.gdtr };
            *to = TableReg { base: t.base, limit: t.limit };
        }
        n if (R::XMM0.0..=R::XMM15.0).contains(&n.0) => {
            cpu.fpu.zmm[(n.0 - R::XMM0.0) as usize & 15][..16].copy_from_slice(&value.bytes());
        }
        n if (R::FP_MMX0.0..=R::FP_MMX7.0).contains(&n.0) => {
            cpu.fpu.st[(n.0 - R::FP_MMX0.0) as usize & 7][..10].copy_from_slice(&value.bytes()[..10]);
        }
        R::FP_CONTROL_STATUS => {
            let f = value.fp_control_status();
            let fpu = &mut cpu.fpu;
            (fpu.fcw, fpu.fsw, fpu.ftw) = (f.fp_control | 0x40, f.fp_status, f.fp_tag);
            (fpu.fop, fpu.fip) = (f.last_fp_op & 0x7FF, f.last_fp_rip);
        }
        R::XMM_CONTROL_STATUS => {
            let x = value.xmm_control_status();
            if x.xmm_status_control & !MXCSR_MASK != 0 {
                return Err(HResult::E_INVALIDARG);
            }
            (cpu.fpu.fdp, cpu.fpu.mxcsr) = (x.last_fp_rdp, x.xmm_status_control);
        }
        R::XCR0 if v & 1 == 0 => return Err(HResult::E_INVALIDARG),
        R::TSC => vp.set_tsc(shared, v, false),
        R::TSC_ADJUST => vp.irq().tsc_adjust = v,
        R::INITIAL_APIC_ID => {
            core.apic_id = value.u32();
            vp.initial_apic_id.store(core.apic_id, Ordering::Relaxed);
        }
        R::MSR_MTRR_CAP => {}
        R::PENDING_DEBUG_EXCEPTION => cpu.pending_db = v & 0xF | (v >> 4 & 1) << 14,
        n => *plain_mut(cpu, n).ok_or(HResult::WHV_E_INVALID_VP_REGISTER_NAME)? = v,
    }
    Ok(())
}

/// The registers that are interrupt state. `false`: not one of them.
fn set_interrupts(vp: &Vp, shared: &Shared, core: &mut Core, name: R, value: RegisterValue) -> Result<bool, HResult> {
    let mut guard = vp.irq();
    let irq = &mut *guard;
    let v = value.u64();
    match name {
        R::CR8 => match &mut irq.lapic {
            Some(lapic) => lapic.set_cr8(v),
            None => irq.cr8 = v & 15,
        },
        R::APIC_BASE => {
            match &mut irq.lapic {
                Some(lapic) => lapic.load_apic_base(v),
                None => irq.apic_base = v,
            }
            vp.request_flush();
        }
        R::TSC_DEADLINE => {
            if let Some(lapic) = &mut irq.lapic {
                lapic.set_tsc_deadline(v);
            }
        }
        R::APIC_TPR => match &mut irq.lapic {
            Some(lapic) => lapic.set_cr8(v >> 4 & 15),
            None => return Err(HResult::WHV_E_INVALID_VP_REGISTER_NAME),
        },
        R::PENDING_INTERRUPTION => core.pending_interruption = value.pending_interruption(),
        R::INTERRUPT_STATE => {
            let s = value.interrupt_state();
            core.processor.cpu.shadow.interrupt = s.interrupt_shadow;
            core.processor.cpu.shadow.nmi = s.nmi_masked;
        }
        R::PENDING_EVENT => match value.pending_event() {
            PendingEvent::ExtInt { vector } => irq.ext_int = Some(vector),
            PendingEvent::Other(_) => return Err(HResult::E_INVALIDARG),
            event => {
                irq.ext_int = None;
                core.pending_exception = event;
            }
        },
        R::DELIVERABILITY_NOTIFICATIONS => {
            let d = value.deliverability_notifications();
            (irq.window_nmi, irq.window_interrupt, irq.window_priority) = (d.nmi, d.interrupt, d.interrupt_priority);
        }
        R::INTERNAL_ACTIVITY_STATE => {
            let a = value.internal_activity();
            (irq.startup_suspend, irq.halted, irq.idle) = (a.startup_suspend, a.halt_suspend, a.idle_suspend);
        }
        _ => return Ok(false),
    }
    if core.pending_interruption.pending && core.pending_interruption.vector > 255 {
        core.pending_interruption = PendingInterruption::default();
        return Err(HResult::E_INVALIDARG);
    }
    vp.refresh(irq);
    vp.arm(shared, irq);
    Ok(true)
}

/// Whether no translation depends on the register. (That it may not be one of them costs microseconds.)
fn leaves_translations(name: R) -> bool {
    let in_row = |first: R, count: u32| (first.0..first.0 + count).contains(&name.0);
    in_row(R::RAX, 18) // the general ones, RIP and RFLAGS
        || in_row(R::XMM0, 16)
        || in_row(R::FP_MMX0, 8)
        || matches!(
            name,
            R::FP_CONTROL_STATUS
                | R::XMM_CONTROL_STATUS
                | R::CR2
                | R::CR8
                | R::PENDING_INTERRUPTION
                | R::PENDING_EVENT
                | R::INTERRUPT_STATE
                | R::DELIVERABILITY_NOTIFICATIONS
                | R::INTERNAL_ACTIVITY_STATE
        )
}

/// After registers were set: everything derived from them.
pub(super) fn settle(core: &mut Core, names: &[R]) {
    let cpu = &mut core.processor.cpu;
    cpu.next = None;
    cpu.cpl = if cpu.cr0 & cr::CR0_PE == 0 {
        0
    } else if cpu.sysflags & rflags::VM != 0 {
        3
    } else {
        cpu.segs[Seg::Ss as usize].dpl()
    };
    if !names.iter().all(|name| leaves_translations(*name)) {
        cpu.attention.fetch_or(Attention::FLUSH_TLB, Ordering::SeqCst);
    }
    cpu.update_mode();
}
