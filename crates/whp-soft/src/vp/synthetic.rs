//! The synthetic registers (TLFS) by WHP's names. Those of features that the partition does not have are no registers.

use std::sync::atomic::Ordering;

use whp::{HResult, RegisterName as R, SyntheticProcessorFeatures as F};

use super::Vp;
use crate::hyperv::{PageMsr, SYNIC_VERSION};
use crate::shared::Shared;

fn feature(name: R) -> Option<F> {
    Some(match name {
        R::GUEST_OS_ID | R::HYPERCALL => F::ACCESS_HYPERCALL_REGS,
        R::VP_RUNTIME => F::ACCESS_VP_RUN_TIME_REG,
        R::REFERENCE_TSC | R::REFERENCE_TSC_SEQUENCE => F::ACCESS_PARTITION_REFERENCE_TSC,
        R::VP_ASSIST_PAGE => F::ACCESS_INTR_CTRL_REGS,
        n if (R::SINT0.0..=R::EOM.0).contains(&n.0) => F::ACCESS_SYNIC_REGS,
        _ => return None,
    })
}

/// SINTx's number.
fn source(name: R) -> usize {
    name.0.wrapping_sub(R::SINT0.0) as usize
}

/// Reads a synthetic register; `None`: not one of this partition.
pub(super) fn get(vp: &Vp, shared: &Shared, name: R) -> Option<u64> {
    if !shared.config().synthetic.contains(feature(name)?) {
        return None;
    }
    let page = |which| vp.irq().hyperv.page_msr(which);
    Some(match name {
        R::GUEST_OS_ID => shared.hyperv.guest_os_id(),
        R::HYPERCALL => shared.hyperv.hypercall(),
        R::VP_RUNTIME => vp.counters.runtime_ns.load(Ordering::Relaxed) / 100,
        R::REFERENCE_TSC => shared.hyperv.reference_tsc(),
        R::REFERENCE_TSC_SEQUENCE => shared.hyperv.tsc_sequence().into(),
        R::VP_ASSIST_PAGE => page(PageMsr::Assist),
        R::SIEFP => page(PageMsr::EventFlags),
        R::SIMP => page(PageMsr::Messages),
        R::SCONTROL => vp.irq().hyperv.synic.control(),
        R::SVERSION => SYNIC_VERSION,
        R::EOM => 0,
        n => vp.irq().hyperv.sint(source(n)),
    })
}

/// Sets a synthetic register; the processor stands. `false`: not one of this partition.
pub(super) fn set(vp: &Vp, shared: &Shared, name: R, value: u64) -> Result<bool, HResult> {
    if !feature(name).is_some_and(|f| shared.config().synthetic.contains(f)) {
        return Ok(false);
    }
    let valid = match name {
        R::GUEST_OS_ID => {
            shared.set_guest_os_id(value);
            true
        }
        R::HYPERCALL => shared.set_hypercall(value),
        R::VP_RUNTIME => {
            vp.counters.runtime_ns.store(value.saturating_mul(100), Ordering::Relaxed);
            true
        }
        R::REFERENCE_TSC => shared.set_reference_tsc(value),
        R::REFERENCE_TSC_SEQUENCE => {
            shared.set_tsc_sequence(value as u32);
            true
        }
        R::VP_ASSIST_PAGE => vp.set_page_msr(shared, PageMsr::Assist, value),
        R::SIEFP => vp.set_page_msr(shared, PageMsr::EventFlags, value),
        R::SIMP => vp.set_page_msr(shared, PageMsr::Messages, value),
        R::SCONTROL => {
            vp.irq().hyperv.synic.set_control(value);
            vp.look_at_messages(shared);
            true
        }
        R::SVERSION => false,
        R::EOM => {
            vp.look_at_messages(shared);
            true
        }
        n => vp.irq().hyperv.synic.set_sint(source(n), value),
    };
    if valid { Ok(true) } else { Err(HResult::E_INVALIDARG) }
}
