//! Registers by name.

use std::sync::atomic::Ordering;

use cpu_x86::bus::Attention;
use cpu_x86::flags::rflags;
use cpu_x86::fpu::MXCSR_MASK;
use cpu_x86::state::cr;
use cpu_x86::{Cpu, Seg};
use whp::{
    DeliverabilityNotifications, HResult, InternalActivity, InterruptState, PendingEvent, PendingInterruption,
    RegisterName as R, RegisterValue,
};

use super::handle::apic_register;
use super::{Core, Vp, synthetic};
use crate::shared::Shared;

/// IA32_MTRRCAP: 8 variable ranges, fixed ones, write combining.
const MTRR_CAP: u64 = 0x508;

/// The processor's own CPUID result.
pub(super) fn cpuid(cpu: &Cpu, leaf: u32, subleaf: u32) -> [u32; 4] {
    cpu.cpuid_values(leaf, subleaf)
}

/// Reads a register; `None`: there is none of that name.
pub(super) fn get(vp: &Vp, shared: &Shared, core: &Core, name: R) -> Option<RegisterValue> {
    let cpu = &core.processor.cpu;
    Some(match name {
        R::CR8 => vp.irq().cr8().into(),
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
            None => whp_registers::get(cpu, n)?,
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
        R::XMM_CONTROL_STATUS if value.xmm_control_status().xmm_status_control & !MXCSR_MASK != 0 => {
            return Err(HResult::E_INVALIDARG);
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
        n => whp_registers::set(cpu, n, value).ok_or(HResult::WHV_E_INVALID_VP_REGISTER_NAME)?,
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
            if vp.behave.is_old() && irq.lapic.is_some() && d.interrupt_priority != 0 {
                return Err(HResult::ERROR_HV_INVALID_PARAMETER);
            }
            (irq.window_nmi, irq.window_interrupt, irq.window_priority) = (d.nmi, d.interrupt, d.interrupt_priority);
        }
        R::INTERNAL_ACTIVITY_STATE => {
            let a = value.internal_activity();
            let stays = vp.behave.is_old() && irq.lapic.is_some() && irq.halted && irq.ext_int.is_some();
            irq.halted = a.halt_suspend || stays;
            (irq.startup_suspend, irq.idle) = (a.startup_suspend, a.idle_suspend);
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
