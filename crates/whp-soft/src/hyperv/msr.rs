//! The synthetic MSRs, as a processor reads and writes them. Those of features that the partition does not have are
//! nobody's: what becomes of them is the client's choice.

use std::sync::atomic::Ordering;

use cpu_x86::MsrAction;
use irqchip::lapic::{Effects, Lapic, reg};
use whp::SyntheticProcessorFeatures as F;

use super::SYNIC_VERSION;
use super::processor::PageMsr;
use super::stimer::{DIRECT, TIMERS};
use super::synic::SOURCES;
use crate::vp::{VpBus, count};

const GUEST_OS_ID: u32 = 0x4000_0000;
const HYPERCALL: u32 = 0x4000_0001;
const VP_INDEX: u32 = 0x4000_0002;
const VP_RUNTIME: u32 = 0x4000_0010;
const TIME_REF_COUNT: u32 = 0x4000_0020;
const REFERENCE_TSC: u32 = 0x4000_0021;
const TSC_FREQUENCY: u32 = 0x4000_0022;
const APIC_FREQUENCY: u32 = 0x4000_0023;
const EOI: u32 = 0x4000_0070;
const ICR: u32 = 0x4000_0071;
const TPR: u32 = 0x4000_0072;
const VP_ASSIST_PAGE: u32 = 0x4000_0073;
const SCONTROL: u32 = 0x4000_0080;
const SVERSION: u32 = 0x4000_0081;
const SIEFP: u32 = 0x4000_0082;
const SIMP: u32 = 0x4000_0083;
const EOM: u32 = 0x4000_0084;
const SINT0: u32 = 0x4000_0090;
const SINT_LAST: u32 = SINT0 + SOURCES as u32 - 1;
const STIMER0_CONFIG: u32 = 0x4000_00B0;
const STIMER_LAST: u32 = STIMER0_CONFIG + 2 * TIMERS as u32 - 1;
const GUEST_IDLE: u32 = 0x4000_00F0;

/// ICR in x2APIC mode.
const X2APIC_ICR: u32 = 0x830;

/// The feature that a register belongs to.
fn feature(msr: u32) -> Option<F> {
    Some(match msr {
        GUEST_OS_ID | HYPERCALL => F::ACCESS_HYPERCALL_REGS,
        VP_INDEX => F::ACCESS_VP_INDEX,
        VP_RUNTIME => F::ACCESS_VP_RUN_TIME_REG,
        TIME_REF_COUNT => F::ACCESS_PARTITION_REFERENCE_COUNTER,
        REFERENCE_TSC => F::ACCESS_PARTITION_REFERENCE_TSC,
        TSC_FREQUENCY | APIC_FREQUENCY => F::ACCESS_FREQUENCY_REGS,
        EOI | ICR | TPR | VP_ASSIST_PAGE => F::ACCESS_INTR_CTRL_REGS,
        SCONTROL..=EOM | SINT0..=SINT_LAST => F::ACCESS_SYNIC_REGS,
        STIMER0_CONFIG..=STIMER_LAST => F::ACCESS_SYNTHETIC_TIMER_REGS,
        GUEST_IDLE => F::ACCESS_GUEST_IDLE_REG,
        _ => return None,
    })
}

fn done(worked: bool) -> MsrAction {
    if worked { MsrAction::Done(0) } else { MsrAction::Fault }
}

impl VpBus<'_> {
    /// Whether `msr` is a synthetic register that this guest has.
    pub(crate) fn is_synthetic(&self, msr: u32) -> bool {
        // Whose local APIC is elsewhere, its rate is known elsewhere.
        let elsewhere = msr == APIC_FREQUENCY && !self.shared.has_apic();
        !elsewhere && feature(msr).is_some_and(|f| self.config.synthetic.contains(f))
    }

    /// RDMSR of one of those.
    pub(crate) fn synthetic_read(&mut self, msr: u32) -> MsrAction {
        let shared = self.shared;
        let time = || shared.time.now();
        MsrAction::Done(match msr {
            GUEST_OS_ID => shared.hyperv.guest_os_id(),
            HYPERCALL => shared.hyperv.hypercall(),
            REFERENCE_TSC => shared.hyperv.reference_tsc(),
            VP_INDEX => self.vp.index().into(),
            VP_RUNTIME => self.runtime_ns() / 100,
            TIME_REF_COUNT => shared.reference_time(time()),
            TSC_FREQUENCY => self.config.tsc_hz,
            APIC_FREQUENCY => self.config.apic_hz,
            ICR => self.vp.irq().lapic().map_or(0, |l| l.state().icr),
            TPR => self.vp.irq().lapic().map_or(0, |l| l.state().tpr.into()),
            VP_ASSIST_PAGE => self.vp.irq().hyperv.page_msr(PageMsr::Assist),
            SCONTROL => self.vp.irq().hyperv.synic.control,
            SVERSION => SYNIC_VERSION,
            SIEFP => self.vp.irq().hyperv.page_msr(PageMsr::EventFlags),
            SIMP => self.vp.irq().hyperv.page_msr(PageMsr::Messages),
            EOM => 0,
            SINT0..=SINT_LAST => self.vp.irq().hyperv.sint((msr - SINT0) as usize),
            STIMER0_CONFIG..=STIMER_LAST => {
                let n = msr - STIMER0_CONFIG;
                let (config, count) = self.vp.irq().hyperv.timer((n / 2) as usize);
                if n.is_multiple_of(2) { config } else { count }
            }
            GUEST_IDLE => {
                self.vp.idle();
                0
            }
            _ => return MsrAction::Fault, // EOI
        })
    }

    /// WRMSR of one of those.
    pub(crate) fn synthetic_write(&mut self, msr: u32, value: u64) -> MsrAction {
        let (vp, shared) = (self.vp, self.shared);
        match msr {
            GUEST_OS_ID => {
                vp.outside(|| shared.set_guest_os_id(value));
                MsrAction::Done(0)
            }
            HYPERCALL => done(vp.outside(|| shared.set_hypercall(value))),
            REFERENCE_TSC => done(vp.outside(|| shared.set_reference_tsc(value))),
            VP_ASSIST_PAGE => done(vp.outside(|| vp.set_page_msr(shared, PageMsr::Assist, value))),
            SIEFP => done(vp.outside(|| vp.set_page_msr(shared, PageMsr::EventFlags, value))),
            SIMP => done(vp.outside(|| vp.set_page_msr(shared, PageMsr::Messages, value))),
            SCONTROL => {
                vp.irq().hyperv.synic.control = value;
                vp.look_at_messages(shared);
                MsrAction::Done(0)
            }
            EOM => {
                vp.look_at_messages(shared);
                MsrAction::Done(0)
            }
            SINT0..=SINT_LAST => done(vp.irq().hyperv.synic.set_sint((msr - SINT0) as usize, value)),
            STIMER0_CONFIG..=STIMER_LAST => self.timer_write(msr - STIMER0_CONFIG, value),
            EOI | ICR | TPR => self.apic_msr_write(msr, value),
            _ => MsrAction::Fault,
        }
    }

    fn timer_write(&mut self, n: u32, value: u64) -> MsrAction {
        let config = n.is_multiple_of(2);
        if config && value & DIRECT != 0 && !self.config.synthetic.contains(F::DIRECT_SYNTHETIC_TIMERS) {
            return MsrAction::Fault;
        }
        self.vp.with_timer(self.shared, (n / 2) as usize, |timer, now| {
            if config { timer.set_config(value, now) } else { timer.set_count(value, now) }
        });
        MsrAction::Done(0)
    }

    /// The local APIC's registers that are worth a short cut.
    fn apic_msr_write(&mut self, msr: u32, value: u64) -> MsrAction {
        let low = value as u32;
        if msr == EOI {
            count(&self.vp.counters.apic_eoi);
        }
        let mut fault = msr != ICR && value >> 32 != 0 || msr == TPR && value > 0xFF;
        self.apic(|l: &mut Lapic, now| {
            fault |= !l.enabled();
            match msr {
                _ if fault => Effects::default(),
                EOI => l.mmio_write(reg::EOI, 0, now),
                TPR => l.mmio_write(reg::TPR, low, now),
                _ if l.x2apic() => l.msr_write(X2APIC_ICR, value, now).unwrap_or_else(|_| {
                    fault = true;
                    Effects::default()
                }),
                _ => {
                    l.mmio_write(reg::ICR_HIGH, (value >> 32) as u32, now);
                    l.mmio_write(reg::ICR_LOW, low, now)
                }
            }
        });
        done(!fault)
    }

    /// Time that this processor has run, in ns.
    fn runtime_ns(&self) -> u64 {
        let this_run = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let counters = &self.vp.counters;
        let slept = counters.slept_ns.load(Ordering::Relaxed);
        counters.runtime_ns.load(Ordering::Relaxed).saturating_add(this_run.saturating_sub(slept))
    }
}
